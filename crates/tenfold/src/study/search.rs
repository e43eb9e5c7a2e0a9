//! Which learning rate a method takes: the one given, or the best of its search.

use super::config::Study;
use crate::record::{Outcome, Record, Role, Score};
use std::collections::BTreeMap;

/// The learning rate of every method that has one by now.
pub(super) fn learning_rates(study: &Study, records: &[Record]) -> BTreeMap<String, f64> {
    let rate = |(name, method): (&String, &super::MethodSettings)| {
        let found =
            || best(records.iter().filter(|record| record.trial.method == *name).filter_map(searched));
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

/// The most accurate one. Rates within one standard error of it count as equally accurate (Breiman et al. 1984,
/// "Classification and Regression Trees", 3.4.3); of these the one with the lowest loss is taken.
fn best(found: impl Iterator<Item = (Score, f64)>) -> Option<f64> {
    let found: Vec<(Score, f64)> = found.collect();
    let (top, _) = found.iter().max_by(|(a, _), (b, _)| a.accuracy.total_cmp(&b.accuracy))?;
    let error = (top.accuracy * (1.0 - top.accuracy) / top.examples.max(1) as f64).sqrt();
    let equal = found.iter().filter(|(score, _)| score.accuracy >= top.accuracy - error);
    equal.min_by(|(a, _), (b, _)| a.loss.total_cmp(&b.loss)).map(|(_, rate)| *rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(accuracy: f64, loss: f64) -> Score {
        Score { examples: 400, loss, accuracy }
    }

    #[test]
    fn among_rates_that_are_as_accurate_the_lowest_loss_decides() {
        // One standard error of 80 % over 400 rows is 2 points.
        let found = [(score(0.80, 0.9), 1e-2), (score(0.79, 0.5), 3e-3), (score(0.77, 0.1), 1e-3)];
        assert_eq!(best(found.into_iter()), Some(3e-3));
        assert_eq!(best([].into_iter()), None);
    }
}
