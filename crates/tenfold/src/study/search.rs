//! Which learning rate a method takes: the one given, or the best of its search.

use super::config::Study;
use crate::record::{Outcome, Record, Role, Score};
use crate::score::Scoring;
use std::collections::BTreeMap;

/// The learning rate of every method that has one by now.
pub(super) fn learning_rates(study: &Study, records: &[Record], scoring: &Scoring) -> BTreeMap<String, f64> {
    let rate = |(name, method): (&String, &super::MethodSettings)| {
        let found = || {
            best(scoring, records.iter().filter(|record| record.trial.method == *name).filter_map(searched))
        };
        Some((name.clone(), method.learning_rate.or_else(found)?))
    };
    study.methods.iter().filter_map(rate).collect()
}

/// What a trial of the search came to on the validation rows, and its learning rate.
fn searched(record: &Record) -> Option<(Score, f64)> {
    let (Role::Search { learning_rate }, Outcome::Trained(trained)) = (&record.trial.role, &record.outcome)
    else {
        return None;
    };
    let look = trained.validation.iter().find(|look| look.step == trained.best_step)?;
    Some((look.score, *learning_rate))
}

/// The one with the best score. Rates within one standard error of it count as equally good (Breiman et al. 1984,
/// "Classification and Regression Trees", 3.4.3); of these the one with the lowest loss is taken.
///
/// Where no rate has a score that is defined, the loss alone decides.
fn best(scoring: &Scoring, found: impl Iterator<Item = (Score, f64)>) -> Option<f64> {
    let found: Vec<(Score, f64)> = found.collect();
    let better = |a: &Score, b: &Score| scoring.is_better(a.value, b.value);
    let (top, _) = found.iter().reduce(|top, next| if better(&next.0, &top.0) { next } else { top })?;
    let is_equal = |score: &Score| match (top.value, score.value) {
        (Some(best), Some(value)) => {
            scoring.shortfall(best, value) <= scoring.rough_error(best, top.examples)
        }
        (best, _) => best.is_none(),
    };
    let equal = found.iter().filter(|(score, _)| is_equal(score));
    equal.min_by(|(a, _), (b, _)| a.loss.total_cmp(&b.loss)).map(|(_, rate)| *rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::scoring;

    fn score(value: f64, loss: f64) -> Score {
        Score { examples: 400, loss, value: Some(value) }
    }

    #[test]
    fn among_rates_that_are_as_good_the_lowest_loss_decides() {
        let accuracy = scoring("accuracy").unwrap();
        // One standard error of 80 % over 400 rows is 2 points.
        let found = [(score(0.80, 0.9), 1e-2), (score(0.79, 0.5), 3e-3), (score(0.77, 0.1), 1e-3)];
        assert_eq!(best(accuracy, found.into_iter()), Some(3e-3));
        assert_eq!(best(accuracy, [].into_iter()), None);
        let undefined = [
            (Score { value: None, ..score(0.0, 0.3) }, 1e-2),
            (Score { value: None, ..score(0.0, 0.2) }, 1e-3),
        ];
        assert_eq!(best(accuracy, undefined.into_iter()), Some(1e-3));
        let found = [(score(30.0, 3.4), 1e-2), (score(20.0, 3.0), 1e-3)];
        assert_eq!(best(scoring("perplexity").unwrap(), found.into_iter()), Some(1e-3));
    }
}
