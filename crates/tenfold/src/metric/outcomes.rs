//! A method's answers on one test set, from all of its seeds: the score, its interval, and what paired tests compare.

use crate::record::{Answers, Test};
use crate::score::{Direction, Scoring};
use crate::statistics::{self, Estimate, Resampled, Rows, Runs, contributions};
use std::sync::OnceLock;

/// The same rows answered by the runs of one method.
#[derive(Debug)]
pub struct Outcomes {
    scoring: &'static Scoring,
    runs: Vec<Answers>,
    /// The score of each run.
    values: Vec<f64>,
    /// What each row is worth, where the score is the mean of that.
    worths: Option<Runs>,
    /// The others' draws: of the rows that others share, and of rows of their own.
    drawn: [OnceLock<Option<Resampled>>; 2],
    by_row: OnceLock<Option<Runs>>,
}

impl Outcomes {
    /// Of one method's tests on the same rows, by rising seed. `None` without any, if they are of different numbers of
    /// rows, or if the score of one is not defined.
    pub fn new(scoring: &'static Scoring, tests: &[&Test]) -> Option<Outcomes> {
        Outcomes::of_answers(scoring, tests.iter().map(|test| test.answers.clone()).collect())
    }

    /// The same of answers by themselves.
    pub fn of_answers(scoring: &'static Scoring, runs: Vec<Answers>) -> Option<Outcomes> {
        let rows = runs.first()?.len();
        if rows == 0 || runs.iter().any(|run| run.len() != rows) {
            return None;
        }
        let values = runs.iter().map(|run| scoring.score(run)).collect::<Option<_>>()?;
        let worths: Option<Vec<Vec<f64>>> = runs.iter().map(|run| scoring.worths(run)).collect();
        let worths = worths.and_then(|worths| Runs::new(&worths));
        Some(Outcomes { scoring, runs, values, worths, drawn: Default::default(), by_row: OnceLock::new() })
    }

    /// How they are scored.
    pub fn scoring(&self) -> &'static Scoring {
        self.scoring
    }

    /// The score of each run.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Mean over seeds.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// Mean over seeds with its interval over seeds and rows; without one where drawing rows leaves the score undefined
    /// or always the same.
    pub fn estimate(&self) -> Estimate {
        if let Some(worths) = &self.worths {
            return statistics::score(worths);
        }
        let estimate = self.drawn(Rows::Same).map(Resampled::estimate);
        let bounded = estimate.filter(|e| e.low != e.high);
        bounded.unwrap_or(Estimate { n: self.values.len(), ..Estimate::exact(self.mean()) })
    }

    /// Any function of the two means with its interval; `None` where it is not finite.
    pub fn combined(&self, other: &Outcomes, rows: Rows, f: impl Fn(f64, f64) -> f64) -> Option<Estimate> {
        if let (Some(a), Some(b)) = (&self.worths, &other.worths) {
            return statistics::combined(a, b, rows, f);
        }
        self.drawn(Rows::Same)?.combined(other.drawn(rows)?, rows, f)
    }

    /// What part of `best`'s score is kept on the same rows; `None` if these are not as many or it is not finite.
    pub fn kept_of(&self, best: &Outcomes) -> Option<Estimate> {
        let paired = self.runs[0].len() == best.runs[0].len();
        paired.then(|| self.combined(best, Rows::Same, |own, best| self.scoring.kept(own, best))).flatten()
    }

    /// What each row is worth, where the score is the mean of that: what may be exchanged between methods.
    pub fn worths(&self) -> Option<&Runs> {
        self.worths.as_ref()
    }

    /// What each row adds to the score, for paired tests; more is better, whatever the score's direction.
    pub fn by_row(&self) -> Option<&Runs> {
        let sign = if self.scoring.direction == Direction::Lower { -1.0 } else { 1.0 };
        let found =
            || contributions(self.runs.len(), self.runs[0].len(), |s, rows| Some(sign * self.of(s, rows)?));
        self.worths.as_ref().or_else(|| self.by_row.get_or_init(found).as_ref())
    }

    fn drawn(&self, rows: Rows) -> Option<&Resampled> {
        let place = usize::from(rows == Rows::Own);
        let (seeds, count, range) = (self.runs.len(), self.runs[0].len(), self.scoring.range);
        let draw = || Resampled::of(seeds, count, range, rows, |seed, picks| self.of(seed, picks));
        self.drawn[place].get_or_init(draw).as_ref()
    }

    fn of(&self, seed: usize, rows: &[u32]) -> Option<f64> {
        self.scoring.score(&self.runs[seed].select(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Score;
    use crate::score::scoring;
    use crate::statistics::SplitMix;

    fn tests(answers: Vec<Answers>) -> Vec<Test> {
        let score = Score { examples: 0, loss: 0.0, value: None };
        let test = |answers| Test { domain: "here".into(), metric: String::new(), answers, score, cut: 0 };
        answers.into_iter().map(test).collect()
    }

    /// Predictions that are right in so many of a hundred rows, of unequal labels.
    fn labelled(right: u64, seed: u64) -> Answers {
        let mut random = SplitMix::new(seed);
        let labels: Vec<u32> = (0..400).map(|i| u32::from(i % 3 > 0)).collect();
        let flip = |label: &u32, random: &mut SplitMix| {
            if random.below(100) < right as usize { *label } else { 1 - label }
        };
        let predictions = labels.iter().map(|label| flip(label, &mut random)).collect();
        Answers::Labels { labels, predictions }
    }

    fn outcomes(metric: &str, runs: Vec<Answers>) -> Option<Outcomes> {
        let tests = tests(runs);
        Outcomes::new(scoring(metric).unwrap(), &tests.iter().collect::<Vec<_>>())
    }

    #[test]
    fn every_score_of_labels_has_an_interval_around_it_and_is_kept_of_itself() {
        for metric in ["accuracy", "f1", "f1_macro", "matthews", "accuracy_f1"] {
            let found = outcomes(metric, vec![labelled(80, 1), labelled(80, 2), labelled(80, 3)]).unwrap();
            let e = found.estimate();
            let (low, high) = (e.low.unwrap(), e.high.unwrap());
            assert!(low < found.mean() && found.mean() < high && high - low < 0.3, "{metric}: {e:?}");
            assert_eq!((e.value, e.n), (found.mean(), 3));
            let kept = found.kept_of(&found).unwrap();
            assert_eq!((kept.low, kept.high), (Some(1.0), Some(1.0)));
            assert!((found.by_row().unwrap().mean() - found.mean()).abs() < 1e-9, "{metric}");
        }
    }

    #[test]
    fn of_perplexity_less_is_better_and_its_rows_say_so() {
        let nats = |each: f64| Answers::Nats {
            nats: (0..50).map(|i| each + f64::from(i % 5) * 0.1).collect(),
            counts: vec![1; 50],
        };
        let (good, bad) = (outcomes("perplexity", vec![nats(1.0)]), outcomes("perplexity", vec![nats(2.0)]));
        let (good, bad) = (good.unwrap(), bad.unwrap());
        assert!(bad.kept_of(&good).unwrap().value < 0.5);
        assert!(good.by_row().unwrap().mean() > bad.by_row().unwrap().mean());
    }

    #[test]
    fn what_no_draw_can_move_has_no_interval_and_unequal_rows_no_score() {
        let faultless = outcomes("matthews", vec![labelled(100, 1)]).unwrap();
        assert_eq!((faultless.mean(), faultless.estimate().low), (1.0, None));
        assert!(outcomes("accuracy", vec![Answers::Worths(vec![1.0])]).is_none());
        let unequal = vec![Answers::Worths(vec![1.0]), Answers::Worths(vec![1.0, 0.0])];
        assert!(outcomes("exact_match", unequal).is_none());
        assert!(outcomes("accuracy", vec![]).is_none());
    }
}
