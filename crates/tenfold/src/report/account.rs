//! What `recommendation.json` says of every method besides the advice: what it took, what finding that cost, and how it
//! stands to the others.

use crate::adapter::{self, Method};
use crate::metric::{Findings, MethodFacts, Searched, searched};
use crate::record::Candidate;
use crate::statistics::{Basis, Judgement};
use serde::Serialize;

/// One method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// Its name in the study.
    pub method: String,
    /// Its learning rate, and what else the search found for it.
    pub took: Option<Candidate>,
    /// The adapter of its seed that did best on the validation rows, below the run's folder.
    pub adapter: Option<String>,
    /// What loads it.
    pub loads: &'static str,
    /// The search, and what it cost; none where the study states what the method takes.
    pub search: Option<Searched>,
    /// The letters of its group: methods that share one cannot be told apart.
    pub group: Option<String>,
    /// What so many seeds can carry.
    pub basis: Basis,
    /// What the data say of it against full fine-tuning, at the study's margin.
    pub against_full: Option<Judgement>,
}

impl Account {
    /// The account of a method.
    pub(super) fn of(findings: &Findings, facts: &MethodFacts) -> Account {
        Account {
            method: facts.name.clone(),
            took: facts.chosen.clone(),
            adapter: facts.adapter.clone(),
            loads: adapter::method(&facts.kind).map_or("", Method::loads),
            search: searched(findings.evidence, &facts.name),
            group: findings.standing.letters(&facts.name),
            basis: Basis::of(findings.evidence.main(&facts.name).len()),
            against_full: findings.against_full(&facts.name),
        }
    }
}
