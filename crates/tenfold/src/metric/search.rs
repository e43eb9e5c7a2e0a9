//! What the search of a method tried, what that cost, and what the method took.

use super::Evidence;
use crate::record::{Candidate, Outcome, Role, Trained};
use serde::Serialize;

/// The search of one method, judged on validation rows alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Searched {
    /// Every candidate, by rising learning rate.
    pub tried: Vec<Tried>,
    /// Optimizer steps of all candidates, a candidate that was trained on from rung to rung counted once.
    pub steps: u64,
    /// Real tokens that passed through training.
    pub tokens: u64,
    /// Seconds of training, beside other trials on the same machine.
    pub seconds: f64,
}

/// One candidate, as far as it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// What was tried.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The last rung that it was trained to, from 0.
    pub rung: usize,
    /// Optimizer steps by then.
    pub steps: usize,
    /// The task's score on the validation rows; none if it failed or the score is not defined.
    pub score: Option<f64>,
    /// The loss on the validation rows, in nats.
    pub loss: Option<f64>,
    /// Whether the method took it.
    pub chosen: bool,
}

/// The search of a method; `None` if it has none.
pub fn searched(evidence: &Evidence, method: &str) -> Option<Searched> {
    let chosen = evidence.method(method).and_then(|facts| facts.chosen.as_ref());
    let mut last: Vec<(&Candidate, usize, Option<&Trained>)> = Vec::new();
    for record in evidence.records.iter().filter(|record| record.trial.method == method) {
        let Role::Search { candidate, rung } = &record.trial.role else { continue };
        let run = match &record.outcome {
            Outcome::Trained(run) => Some(&**run),
            _ => None,
        };
        match last.iter_mut().find(|(other, ..)| *other == candidate) {
            Some(known) if known.1 < *rung => *known = (candidate, *rung, run),
            Some(_) => {}
            None => last.push((candidate, *rung, run)),
        }
    }
    last.sort_by(|(a, ..), (b, ..)| {
        a.learning_rate.total_cmp(&b.learning_rate).then_with(|| a.to_string().cmp(&b.to_string()))
    });
    let runs = || last.iter().filter_map(|(_, _, run)| *run);
    let tried = |(candidate, rung, run): &(&Candidate, usize, Option<&Trained>)| {
        let look = run.and_then(|run| run.validation.iter().find(|look| look.step == run.best_step));
        Tried {
            candidate: (*candidate).clone(),
            rung: *rung,
            steps: run.map_or(0, |run| run.steps),
            score: look.and_then(|look| look.score.value),
            loss: look.map(|look| look.score.loss),
            chosen: chosen == Some(*candidate),
        }
    };
    (!last.is_empty()).then(|| Searched {
        tried: last.iter().map(tried).collect(),
        steps: runs().map(|run| run.steps as u64).sum(),
        tokens: runs().map(|run| run.tokens).sum(),
        seconds: runs().map(|run| run.seconds).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;

    #[test]
    fn a_candidate_that_went_on_is_counted_once_as_far_as_it_came() {
        let world = World::new();
        let mut evidence = world.evidence();
        let mut records = Vec::new();
        let run = |steps: usize| {
            let mut trained = evidence.main("lora")[0].1.clone();
            (trained.steps, trained.tokens, trained.seconds) = (steps, 10 * steps as u64, steps as f64);
            Outcome::Trained(Box::new(trained))
        };
        let base = evidence.records.iter().find(|record| record.trial.method == "lora").unwrap();
        let rate = |learning_rate| Candidate { learning_rate, settings: serde_json::Map::new() };
        for (learning_rate, rung, outcome) in [
            (1e-2, 0, run(4)),
            (1e-3, 1, run(12)),
            (1e-3, 0, run(4)),
            (1e-1, 0, Outcome::Failed { reason: "NaN".into() }),
        ] {
            let mut record = base.clone();
            record.trial.role = Role::Search { candidate: rate(learning_rate), rung };
            record.outcome = outcome;
            records.push(record);
        }
        let place = evidence.study.methods.iter().position(|method| method.name == "lora").unwrap();
        evidence.study.methods[place].chosen = Some(rate(1e-3));
        let evidence = Evidence::new(evidence.study.clone(), &records);
        let found = searched(&evidence, "lora").unwrap();
        assert_eq!((found.steps, found.tokens, found.seconds), (16, 160, 16.0));
        let tried: Vec<_> = found
            .tried
            .iter()
            .map(|t| (t.candidate.learning_rate, t.rung, t.score.is_some(), t.chosen))
            .collect();
        assert_eq!(tried, [(1e-3, 1, true, true), (1e-2, 0, true, false), (1e-1, 0, false, false)]);
        assert_eq!(searched(&evidence, "ia3"), None);
    }
}
