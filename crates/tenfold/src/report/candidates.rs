//! Which methods a purpose may choose among, in its order, and which it leaves out and why.
//!
//! No method is left out for a figure that happens to be low: the data must show that it is worse than allowed, or
//! something that decides must be missing.

use super::purpose::{Cost, Purpose};
use crate::metric::{Application, Findings, Kept, MethodFacts, applications, better_form};
use crate::statistics::{Judgement, Verdict};
use crate::words::list;
use serde::Serialize;

/// A cost counts at most this many times the lowest.
const HIGHEST_RATIO: f64 = 10.0;

/// A method that a purpose does not choose among.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excluded {
    /// Its name in the study.
    pub method: String,
    /// What kept it out.
    pub cause: Cause,
    /// Why, for people: "it has no score (failed: the loss became NaN)".
    pub why: String,
}

/// What keeps a method from being chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It has no score.
    NoScore,
    /// A figure that decides is missing, or was measured on a disturbed machine.
    NoFigure,
    /// The data show that it is worse than the best by more than is allowed.
    Worse,
    /// The data do not show that it is better than always giving the same answer, while others are.
    NoBetterThanConstant,
    /// It misses a response-time target of the study.
    MissesTarget,
}

/// A method that may be recommended.
pub(super) struct Candidate<'a> {
    pub facts: &'a MethodFacts,
    /// What decides: less is better.
    penalty: f64,
    /// By how much its score is worse than the best one.
    shortfall: f64,
}

/// What a purpose chooses among.
pub(super) struct Field<'a> {
    /// The best first.
    pub candidates: Vec<Candidate<'a>>,
    /// The others, in the study's order.
    pub excluded: Vec<Excluded>,
    /// The costs that decide: those for which any method has a figure and, of several costs, none has a disturbed one; all of
    /// the purpose's if there are none.
    pub costs: Vec<Cost>,
    /// How much worse than the best score a method may be.
    pub allowed: f64,
    /// What to know of the figures that decide: sentences.
    pub notes: Vec<String>,
}

impl<'a> Field<'a> {
    pub(super) fn of(findings: &'a Findings, purpose: Purpose) -> Field<'a> {
        let mut field = Field {
            candidates: Vec::new(),
            excluded: Vec::new(),
            costs: Vec::new(),
            allowed: purpose.allowed(findings),
            notes: Vec::new(),
        };
        let scored = field.scored(findings);
        field.choose_costs(findings, purpose, &scored);
        let admitted: Vec<&MethodFacts> =
            scored.into_iter().filter(|facts| field.admits(findings, purpose, facts)).collect();
        let admitted = field.keeping_targets(findings, purpose, admitted);
        field.rank(findings, purpose, admitted);
        let place = |method: &str| findings.methods().iter().position(|facts| facts.name == method);
        field.excluded.sort_by_key(|excluded| place(&excluded.method));
        field
    }

    fn exclude(&mut self, facts: &MethodFacts, cause: Cause, why: String) {
        self.excluded.push(Excluded { method: facts.name.clone(), cause, why });
    }

    fn scored(&mut self, findings: &'a Findings) -> Vec<&'a MethodFacts> {
        let mut scored = Vec::new();
        for facts in findings.methods() {
            match findings.estimate(&facts.name, "accuracy", "accuracy") {
                Some(_) => scored.push(facts),
                None => {
                    let why = findings.why_missing(&facts.name, "accuracy", "accuracy");
                    self.exclude(facts, Cause::NoScore, format!("no score ({why})"));
                }
            }
        }
        scored
    }

    /// A cost that no method has a figure for cannot decide beside others, nor can one that other work disturbed for some:
    /// what is left is the same for all methods. Alone it leaves nothing to choose by, or those that have a clean figure.
    fn choose_costs(&mut self, findings: &Findings, purpose: Purpose, scored: &[&MethodFacts]) {
        let has_figure =
            |cost: &Cost| scored.iter().any(|facts| cost.deciding(findings, &facts.name).is_some());
        let is_alone = purpose.costs().len() == 1;
        let known =
            |cost: &Cost| has_figure(cost) && (is_alone || disturbed(findings, *cost, scored).is_empty());
        let (costs, missing): (Vec<Cost>, Vec<Cost>) = purpose.costs().iter().partition(|cost| known(cost));
        if costs.is_empty() {
            self.costs = missing;
            return;
        }
        self.costs = costs;
        let Some(first) = scored.first().filter(|_| !missing.is_empty()) else { return };
        let each = missing.iter().map(|cost| match disturbed(findings, *cost, scored).as_slice() {
            some if has_figure(cost) => {
                format!("{} (other work disturbed it for {})", cost.words(), list(some))
            }
            _ => cost.why_none(findings, &first.name),
        });
        let mut reasons: Vec<String> = each.collect();
        reasons.dedup();
        self.notes.push(format!("These costs are left out of the choice: {}.", list(&reasons)));
    }

    fn admits(&mut self, findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> bool {
        let name = facts.name.as_str();
        if let Some(cost) = self.costs.iter().find(|cost| cost.deciding(findings, name).is_none()) {
            self.exclude(facts, Cause::NoFigure, cost.why_none(findings, name));
            return false;
        }
        if !purpose.costs().is_empty()
            && let Some(why) = no_better_than_constant(findings, name)
        {
            self.exclude(facts, Cause::NoBetterThanConstant, why);
            return false;
        }
        if purpose.asks_for_a_good_score()
            && let Some(against) = against_best(findings, name, self.allowed)
            && against.verdict == Verdict::Inferior
        {
            let why = worse_than_best(findings, &against);
            self.exclude(facts, Cause::Worse, why);
            return false;
        }
        true
    }

    /// Without those that are shown to miss a target of the study's own; for the quickest answers, also without those that
    /// miss it under a heavier load that the study states, if any method does not.
    fn keeping_targets(
        &mut self,
        findings: &Findings,
        purpose: Purpose,
        admitted: Vec<&'a MethodFacts>,
    ) -> Vec<&'a MethodFacts> {
        let misses = |facts: &MethodFacts, strict: bool| {
            targets(findings, &facts.name).into_iter().find_map(|target| match target.kept {
                Kept::Never if !target.disturbed => Some(format!("it misses {}", target.application.words())),
                Kept::UpTo(load) if strict && !target.disturbed => {
                    Some(format!("it keeps to {} only up to {load}", target.application.words()))
                }
                _ => None,
            })
        };
        let strict =
            purpose == Purpose::Latency && admitted.iter().any(|facts| misses(facts, true).is_none());
        let mut kept = Vec::new();
        for facts in admitted {
            match misses(facts, strict) {
                None => kept.push(facts),
                Some(why) => self.exclude(facts, Cause::MissesTarget, why),
            }
        }
        kept
    }

    fn rank(&mut self, findings: &Findings, purpose: Purpose, admitted: Vec<&'a MethodFacts>) {
        let scoring = findings.standing.scoring;
        let best = findings.standing.best().map_or(f64::NAN, |place| findings.standing.means[place]);
        let costs = |facts: &&MethodFacts| -> Vec<f64> {
            self.costs.iter().filter_map(|cost| cost.deciding(findings, &facts.name)).collect()
        };
        let all: Vec<Vec<f64>> = admitted.iter().map(costs).collect();
        let lowest: Vec<f64> = (0..self.costs.len())
            .map(|k| all.iter().map(|costs| costs[k]).fold(f64::INFINITY, f64::min))
            .collect();
        let candidate = |(facts, costs): (&'a MethodFacts, &Vec<f64>)| {
            let score = findings.estimate(&facts.name, "accuracy", "accuracy").map_or(f64::NAN, |e| e.value);
            let shortfall = scoring.shortfall(best, score);
            let penalty = match (purpose, costs.first()) {
                (Purpose::Balanced, Some(_)) => geometric_mean_ratio(costs, &lowest),
                (_, Some(cost)) => *cost,
                (_, None) => shortfall,
            };
            Candidate { facts, penalty, shortfall }
        };
        self.candidates = admitted.into_iter().zip(&all).map(candidate).collect();
        self.candidates
            .sort_by(|a, b| a.penalty.total_cmp(&b.penalty).then(a.shortfall.total_cmp(&b.shortfall)));
    }
}

/// The titles of the methods whose figure of a cost other work disturbed.
fn disturbed<'a>(findings: &Findings, cost: Cost, scored: &[&'a MethodFacts]) -> Vec<&'a str> {
    let is_disturbed = |facts: &&&MethodFacts| {
        cost.of(findings, &facts.name).is_some() && cost.deciding(findings, &facts.name).is_none()
    };
    scored.iter().filter(is_disturbed).map(|facts| facts.title.as_str()).collect()
}

/// What the data say of a method against the one with the best score; `None` for that one itself.
pub(super) fn against_best(findings: &Findings, method: &str, allowed: f64) -> Option<Judgement> {
    let best = &findings.standing.methods[findings.standing.best()?];
    findings.standing.judged(method, best, allowed)
}

fn worse_than_best(findings: &Findings, against: &Judgement) -> String {
    let unit = findings.standing.scoring.unit.of_difference();
    let worse = super::format::interval(unit, &against.lead.map(|lead| -lead)).unwrap_or_default();
    format!("worse than the best by {worse}")
}

/// Why a method does not qualify beside a constant answer, if others do.
fn no_better_than_constant(findings: &Findings, method: &str) -> Option<String> {
    let baseline = findings.evidence.baseline()?;
    let any = findings.methods().iter().any(|facts| baseline.is_beaten_by(&facts.name));
    (any && !baseline.is_beaten_by(method))
        .then(|| format!("no score shown to be better than {}", baseline.words(findings.evidence)))
}

/// A response-time target of the study's own, and how a method keeps to it.
pub(super) struct Target<'a> {
    pub application: &'a Application,
    pub kept: Kept,
    /// True if the machine was disturbed meanwhile: then it decides nothing.
    pub disturbed: bool,
}

/// The study's own targets, in its order.
pub(super) fn targets<'a>(findings: &'a Findings, method: &str) -> Vec<Target<'a>> {
    let known = applications();
    let loads = findings.evidence.probe(method).map_or(&[][..], |probe| &probe.loads);
    let better: Vec<_> = better_form(loads).collect();
    let own = findings.evidence.study.applications.iter();
    own.filter(|own| !known.contains(own))
        .map(|application| {
            let figure = findings.figure(method, "response_time", &format!("for_{}", application.name));
            let disturbed = figure.is_some_and(|figure| figure.disturbed.is_some());
            Target { application, kept: application.kept(&better), disturbed }
        })
        .collect()
}

fn geometric_mean_ratio(costs: &[f64], lowest: &[f64]) -> f64 {
    let logs = costs
        .iter()
        .zip(lowest)
        .map(|(cost, low)| if *low <= 0.0 { 0.0 } else { (cost / low).clamp(1.0, HIGHEST_RATIO).ln() });
    (logs.sum::<f64>() / costs.len() as f64).exp()
}

/// What was left out, in sentences: methods that were left out for the same reason stand in one.
pub(super) fn sentences(findings: &Findings, field: &Field) -> Vec<String> {
    let worse = |excluded: &&Excluded| excluded.cause == Cause::Worse;
    let title = |excluded: &Excluded| super::title(findings, &excluded.method).to_owned();
    let mut said: Vec<(&str, Vec<String>)> = Vec::new();
    for excluded in field.excluded.iter().filter(|excluded| !worse(excluded)) {
        match said.iter_mut().find(|(why, _)| *why == excluded.why) {
            Some((_, methods)) => methods.push(title(excluded)),
            None => said.push((&excluded.why, vec![title(excluded)])),
        }
    }
    let of = |(why, methods): (&str, Vec<String>)| {
        let are = crate::words::be(methods.len());
        format!("{} {are} not considered: {why}.", list(&methods))
    };
    let mut sentences: Vec<String> = said.into_iter().map(of).collect();
    let worse: Vec<String> = field
        .excluded
        .iter()
        .filter(worse)
        .map(|excluded| {
            format!("{} ({})", title(excluded), excluded.why.trim_start_matches("worse than the best by "))
        })
        .collect();
    if !worse.is_empty() {
        let allowed = findings.standing.scoring.unit.of_difference().write(field.allowed);
        sentences.push(format!(
            "The data show these to be worse than the best score by more than the {allowed} allowed, so they are not \
             considered (95 % interval of the loss): {}.",
            list(&worse)
        ));
    }
    sentences
}
