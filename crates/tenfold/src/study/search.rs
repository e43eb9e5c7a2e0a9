//! The search: how many candidates each rung takes, how far it trains them, which of them go on, and which one a method
//! is compared with.
//!
//! A grid and a random search have one rung. Successive halving (Jamieson and Talwalkar 2016, "Non-stochastic Best Arm
//! Identification and Hyperparameter Optimization") trains all candidates a little, keeps one in `eta`, trains these
//! `eta` times as far, and so on; the last rung ends where a grid's candidates would. The learning rate's schedule is that
//! of the whole training on every rung, so that who goes on to the next rung goes on from where it stands.

use super::config::{Search, Strategy, Study};
use crate::record::{Candidate, Outcome, Record, Role, Score};
use crate::score::Scoring;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The candidates that each rung takes; the first takes all.
pub(super) fn entrants(search: &Search) -> Vec<usize> {
    match search.strategy {
        Strategy::Grid | Strategy::Random => vec![search.candidates],
        Strategy::SuccessiveHalving => {
            let fewer = |count: &usize| Some(count / search.eta).filter(|fewer| *fewer > 0);
            std::iter::successors(Some(search.candidates), fewer).collect()
        }
    }
}

/// What part of the whole training each rung ends after: 9 is a ninth.
pub(super) fn parts(search: &Search) -> Vec<usize> {
    let rungs = entrants(search).len();
    (0..rungs).map(|rung| search.eta.saturating_pow((rungs - 1 - rung) as u32)).collect()
}

/// The step at which each rung ends, by its part of a whole training of so many.
pub(super) fn stops(parts: &[usize], steps: usize) -> Vec<usize> {
    parts.iter().map(|part| steps.div_ceil((*part).max(1))).collect()
}

/// The steps of a whole training with which the search of a method stays within its budget; none where the study's
/// epochs decide.
pub(super) fn whole_training(search: &Search) -> Option<usize> {
    let parts = parts(search);
    let cost = |steps: usize| {
        let (mut before, mut sum) = (0, 0);
        for (count, stop) in entrants(search).into_iter().zip(stops(&parts, steps)) {
            sum += count * (stop - before);
            before = stop;
        }
        sum
    };
    // Dearer with every step: the first that is too dear is looked for between one that is not and one that is.
    let (mut fits, mut dear) = (0, search.budget + 1);
    while dear - fits > 1 {
        let middle = fits + (dear - fits) / 2;
        *(if cost(middle) <= search.budget { &mut fits } else { &mut dear }) = middle;
    }
    (search.budget > 0).then_some(fits)
}

/// The best `count` candidates of each method after a rung: by score, then by loss, then in the order they had.
pub(super) fn promoted(
    field: &BTreeMap<String, Vec<Candidate>>,
    records: &[Record],
    scoring: &Scoring,
    rung: usize,
    count: usize,
) -> BTreeMap<String, Vec<Candidate>> {
    let of = |(name, candidates): (&String, &Vec<Candidate>)| {
        let mut found = scored(name, candidates, records, rung);
        found.sort_by(|(a, _), (b, _)| order(scoring, a, b));
        (name.clone(), found.into_iter().take(count).map(|(_, candidate)| candidate).collect())
    };
    field.iter().map(of).collect()
}

/// What each method is compared with: as the study states it, or the best of all `candidates` of its search, of those
/// that came furthest. A method without either is left out.
pub(super) fn chosen(
    study: &Study,
    candidates: &BTreeMap<String, Vec<Candidate>>,
    records: &[Record],
    scoring: &Scoring,
) -> BTreeMap<String, Candidate> {
    let last = entrants(&study.search).len() - 1;
    let of = |(name, method): (&String, &super::MethodSettings)| {
        let candidate = match candidates.get(name) {
            Some(candidates) => best(scoring, furthest(name, candidates.clone(), records, last))?,
            None => Candidate { learning_rate: method.learning_rate?, settings: serde_json::Map::new() },
        };
        Some((name.clone(), candidate))
    };
    study.methods.iter().filter_map(of).collect()
}

/// What came as far as the last rung; where all that did failed in it, what came as far as the one before.
fn furthest(
    method: &str,
    mut candidates: Vec<Candidate>,
    records: &[Record],
    last: usize,
) -> Vec<(Score, Candidate)> {
    for rung in (0..=last).rev() {
        let found = scored(method, &candidates, records, rung);
        let left = candidates.len();
        candidates.retain(|candidate| !failed(method, candidate, records, rung));
        if !found.is_empty() || candidates.len() == left {
            return found;
        }
    }
    Vec::new()
}

fn failed(method: &str, wanted: &Candidate, records: &[Record], rung: usize) -> bool {
    records.iter().any(|record| {
        let trial = (&record.trial.role, &record.outcome);
        record.trial.method == method
            && matches!(trial, (Role::Search { candidate, rung: at }, Outcome::Failed { .. })
                if candidate == wanted && *at == rung)
    })
}

/// What trials of a rung came to on the validation rows, in the candidates' order.
fn scored(
    method: &str,
    candidates: &[Candidate],
    records: &[Record],
    rung: usize,
) -> Vec<(Score, Candidate)> {
    let score = |wanted: &Candidate| {
        records.iter().filter(|record| record.trial.method == method).find_map(|record| {
            match (&record.trial.role, &record.outcome) {
                (Role::Search { candidate, rung: at }, Outcome::Trained(trained))
                    if candidate == wanted && *at == rung =>
                {
                    let look = trained.validation.iter().find(|look| look.step == trained.best_step)?;
                    Some((look.score, candidate.clone()))
                }
                _ => None,
            }
        })
    };
    candidates.iter().filter_map(score).collect()
}

/// The one with the best score. Those within one standard error of it count as equally good; of these the one with the
/// lowest loss is taken.
///
/// Where no candidate has a score that is defined, the loss alone decides.
fn best(scoring: &Scoring, found: Vec<(Score, Candidate)>) -> Option<Candidate> {
    let better = |a: &Score, b: &Score| scoring.is_better(a.value, b.value);
    let (top, _) = found.iter().reduce(|top, next| if better(&next.0, &top.0) { next } else { top })?;
    let is_equal = |score: &Score| match (top.value, score.value) {
        (Some(best), Some(value)) => scoring.is_alike(best, value, top.examples),
        (best, _) => best.is_none(),
    };
    let equal = found.iter().filter(|(score, _)| is_equal(score));
    equal.min_by(|(a, _), (b, _)| a.loss.total_cmp(&b.loss)).map(|(_, candidate)| candidate.clone())
}

/// The better score first, of equal ones the lower loss.
fn order(scoring: &Scoring, a: &Score, b: &Score) -> Ordering {
    let ahead = |a: &Score, b: &Score| scoring.is_better(a.value, b.value);
    ahead(b, a).cmp(&ahead(a, b)).then(a.loss.total_cmp(&b.loss))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::score::scoring;

    fn score(value: f64, loss: f64) -> Score {
        Score { examples: 400, loss, value: Some(value) }
    }

    fn rate(learning_rate: f64) -> Candidate {
        Candidate { learning_rate, settings: serde_json::Map::new() }
    }

    fn halving(candidates: usize, eta: usize, budget: usize) -> Search {
        Search { strategy: Strategy::SuccessiveHalving, candidates, eta, budget, ..Search::default() }
    }

    #[test]
    fn among_rates_that_are_as_good_the_lowest_loss_decides() {
        let accuracy = scoring("accuracy").unwrap();
        // One standard error of 80 % over 400 rows is 2 points.
        let found =
            [(score(0.80, 0.9), rate(1e-2)), (score(0.79, 0.5), rate(3e-3)), (score(0.77, 0.1), rate(1e-3))];
        assert_eq!(best(accuracy, found.to_vec()), Some(rate(3e-3)));
        assert_eq!(best(accuracy, Vec::new()), None);
        let undefined = [
            (Score { value: None, ..score(0.0, 0.3) }, rate(1e-2)),
            (Score { value: None, ..score(0.0, 0.2) }, rate(1e-3)),
        ];
        assert_eq!(best(accuracy, undefined.to_vec()), Some(rate(1e-3)));
        let found = [(score(30.0, 3.4), rate(1e-2)), (score(20.0, 3.0), rate(1e-3))];
        assert_eq!(best(scoring("perplexity").unwrap(), found.to_vec()), Some(rate(1e-3)));
    }

    #[test]
    fn where_the_last_rung_came_to_nothing_the_one_before_decides() {
        let world = World::new();
        let base = world.records.iter().find(|record| record.trial.method == "lora").unwrap();
        let at = |learning_rate, rung, failed: bool| {
            let mut record = base.clone();
            record.trial.role = Role::Search { candidate: rate(learning_rate), rung };
            if failed {
                record.outcome = Outcome::Failed { reason: "NaN".into() };
            }
            record
        };
        let mut records = vec![at(1e-3, 0, false), at(1e-2, 0, false), at(1e-1, 0, true), at(1e-2, 1, false)];
        let candidates = [1e-3, 1e-2, 1e-1].map(rate).to_vec();
        let found = |records: &[Record], last| -> Vec<f64> {
            let found = furthest("lora", candidates.clone(), records, last);
            found.into_iter().map(|(_, candidate)| candidate.learning_rate).collect()
        };
        assert_eq!((found(&records, 0), found(&records, 1)), (vec![1e-3, 1e-2], vec![1e-2]));
        // A rung that was not run yet is not one that failed.
        assert_eq!(found(&records, 2), [0.0; 0]);
        records.push(at(1e-2, 2, true));
        assert_eq!(found(&records, 2), [0.0; 0]);
        records.retain(|record| record.trial.role != Role::Search { candidate: rate(1e-2), rung: 1 });
        records.push(at(1e-2, 1, true));
        assert_eq!(found(&records, 1), [1e-3]);
    }

    #[test]
    fn one_in_eta_goes_on_and_is_trained_eta_times_as_far() {
        let search = halving(9, 3, 0);
        assert_eq!(entrants(&search), [9, 3, 1]);
        assert_eq!(stops(&parts(&search), 81), [9, 27, 81]);
        assert_eq!(stops(&parts(&search), 4), [1, 2, 4]);
        assert_eq!(entrants(&halving(16, 2, 0)), [16, 8, 4, 2, 1]);
        assert_eq!(entrants(&halving(1, 2, 0)), [1]);
        let grid = Search { candidates: 4, ..Search::default() };
        assert_eq!((entrants(&grid), stops(&parts(&grid), 50)), (vec![4], vec![50]));
    }

    #[test]
    fn a_budget_is_used_up_as_far_as_whole_steps_go_and_never_passed() {
        // 9·9 + 3·18 + 1·54 steps.
        assert_eq!(whole_training(&halving(9, 3, 189)), Some(81));
        assert_eq!(whole_training(&halving(9, 3, 188)), Some(80));
        assert_eq!(whole_training(&halving(9, 3, 0)), None);
        let grid = Search { candidates: 4, budget: 103, ..Search::default() };
        assert_eq!(whole_training(&grid), Some(25));
    }
}
