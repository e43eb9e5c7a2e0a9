//! A method's answers on one test set, from all of its seeds: the score, its interval, and what paired tests compare.

use crate::record::{Answers, Test};
use crate::score::{Direction, Scoring, Sums};
use crate::statistics::{
    self, Estimate, Permutation, Permuted, Picked, Resampled, Rows, Runs, contributions, regroup_seeds,
    swap_answers, swap_rows, swap_sums,
};
use std::sync::{Arc, OnceLock};

/// The same rows answered by the runs of one method.
#[derive(Debug)]
pub struct Outcomes {
    scoring: &'static Scoring,
    rows: usize,
    /// The score of each run.
    values: Vec<f64>,
    sample: Sample,
    drawn: OnceLock<Option<Resampled>>,
    by_row: OnceLock<Option<Runs>>,
}

/// What is drawn anew.
#[derive(Debug)]
enum Sample {
    /// What each row is worth, where the score is the mean of that.
    Mean(Runs),
    /// What each row adds to sums, where the score is a function of these.
    Sums(Box<dyn Sums>),
    /// Whole answers, of any other score, and the same by rows.
    Answers(Arc<Vec<Answers>>, Box<dyn Sums>),
}

impl Outcomes {
    /// Of one method's tests on the same rows, by rising seed. `None` without any, if they are of different numbers of
    /// rows, or if the score of one is not defined.
    pub fn new(scoring: &'static Scoring, tests: &[&Test]) -> Option<Outcomes> {
        let runs: Vec<&Answers> = tests.iter().map(|test| &test.answers).collect();
        Outcomes::of_runs(scoring, &runs)
    }

    /// The same of answers by themselves.
    pub fn of_answers(scoring: &'static Scoring, runs: Vec<Answers>) -> Option<Outcomes> {
        Outcomes::of_runs(scoring, &runs.iter().collect::<Vec<_>>())
    }

    fn of_runs(scoring: &'static Scoring, runs: &[&Answers]) -> Option<Outcomes> {
        let rows = runs.first()?.len();
        if rows == 0 || runs.iter().any(|run| run.len() != rows) {
            return None;
        }
        let values = runs.iter().map(|run| scoring.score(run)).collect::<Option<_>>()?;
        let sample = Sample::of(scoring, runs)?;
        Some(Outcomes { scoring, rows, values, sample, drawn: OnceLock::new(), by_row: OnceLock::new() })
    }

    /// Draws the rows of several methods once for all of them, so that it need not be done for each.
    pub fn draw_together(outcomes: &[&Outcomes]) {
        let means: Vec<&Runs> = outcomes.iter().filter_map(|of| of.worths()).collect();
        Runs::draw_together(&means);
        let unknown = |of: &&&Outcomes| of.worths().is_none() && of.drawn.get().is_none();
        let others: Vec<&Outcomes> = outcomes.iter().filter(unknown).copied().collect();
        let alike = |a: &&Outcomes, b: &&Outcomes| a.rows == b.rows && a.scoring.name == b.scoring.name;
        for alike in others.chunk_by(alike) {
            let samples: Vec<&dyn Sums> = alike.iter().map(|of| of.sums()).collect();
            let drawn = Resampled::together(&samples, alike[0].scoring.range);
            // Whoever was faster drew the same.
            alike.iter().zip(drawn).for_each(|(of, drawn)| drop(of.drawn.set(drawn)));
        }
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
    /// or always the same, or for one row.
    pub fn estimate(&self) -> Estimate {
        if let Some(worths) = self.worths() {
            return statistics::score(worths);
        }
        let estimate = self.drawn().map(Resampled::estimate);
        estimate.unwrap_or(Estimate { n: self.values.len(), ..Estimate::exact(self.mean()) })
    }

    /// How many rows were answered.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// By how much it is better than the other on the same rows, with the paired bootstrap's interval (BCa; seeds and
    /// rows both drawn anew); `None` if the rows differ in number or draws leave a score undefined.
    pub fn ahead_of(&self, other: &Outcomes) -> Option<Estimate> {
        if self.rows() != other.rows() {
            return None;
        }
        if let (Some(a), Some(b)) = (self.worths(), other.worths()) {
            let sign = if self.scoring.direction == Direction::Lower { -1.0 } else { 1.0 };
            return Some(statistics::difference(a, b)?.map(|x| sign * x));
        }
        self.combined(other, Rows::Same, |own, other| self.scoring.shortfall(own, other))
    }

    /// Permutation tests against the other on the same rows, whatever the score, not corrected for many pairs; `None`
    /// if the rows differ in number.
    pub fn permuted(&self, other: &Outcomes) -> Option<Permuted> {
        Outcomes::permuted_pairs(&[self, other], &[(0, 1)]).pop()?
    }

    /// The same of many pairs, which meet the same arrangements.
    pub fn permuted_pairs(outcomes: &[&Outcomes], pairs: &[(usize, usize)]) -> Vec<Option<Permuted>> {
        let samples: Vec<&dyn Sums> = outcomes.iter().map(|of| of.sums()).collect();
        let of_sums = |(a, b): &(usize, usize)| {
            let is_sum = |place: &usize| matches!(outcomes[*place].sample, Sample::Sums(_));
            is_sum(a) && is_sum(b) && outcomes[*a].rows == outcomes[*b].rows
        };
        let exchanged: Vec<(usize, usize)> = pairs.iter().copied().filter(of_sums).collect();
        let mut exchanged = swap_sums(&samples, &exchanged).into_iter();
        let one = |pair: &(usize, usize)| {
            let (a, b) = (outcomes[pair.0], outcomes[pair.1]);
            let rows = match (a.worths(), b.worths()) {
                (Some(a), Some(b)) => swap_rows(a, b)?,
                _ if of_sums(pair) => exchanged.next()??,
                _ => a.swapped(b)?,
            };
            Some(Permuted::new(rows, regroup_seeds(&a.values, &b.values)?))
        };
        pairs.iter().map(one).collect()
    }

    /// The score with whole answers exchanged, of as many runs as both have.
    fn swapped(&self, other: &Outcomes) -> Option<Permutation> {
        let (Sample::Answers(own, _), Sample::Answers(others, _)) = (&self.sample, &other.sample) else {
            return None;
        };
        let rows = u32::try_from(self.rows).ok().filter(|rows| rows.checked_mul(2).is_some())?;
        if self.rows != other.rows {
            return None;
        }
        let runs = own.iter().zip(others.iter());
        let both: Vec<Answers> =
            runs.map(|(own, other)| own.clone().and(other.clone())).collect::<Option<_>>()?;
        let unlike = |row: &u32| both.iter().any(|both| both.select(&[*row]) != both.select(&[*row + rows]));
        let unlike: Vec<u32> = (0..rows).filter(unlike).collect();
        let mean = |picks: &[u32]| -> Option<f64> {
            let sum: f64 =
                both.iter().map(|both| self.scoring.score(&both.select(picks))).sum::<Option<f64>>()?;
            Some(sum / both.len() as f64)
        };
        let difference = |swapped: &[bool]| {
            let (mut own, mut theirs): (Vec<u32>, Vec<u32>) = (0..rows).map(|row| (row, row + rows)).unzip();
            for (row, _) in unlike.iter().zip(swapped).filter(|(_, swapped)| **swapped) {
                std::mem::swap(&mut own[*row as usize], &mut theirs[*row as usize]);
            }
            Some(mean(&own)? - mean(&theirs)?)
        };
        let scale = self.mean().abs().max(other.mean().abs());
        swap_answers(unlike.len(), 2 * self.rows * both.len(), scale, difference)
    }

    /// Any function of the two means with its interval; `None` where it is not finite.
    pub fn combined(&self, other: &Outcomes, rows: Rows, f: impl Fn(f64, f64) -> f64) -> Option<Estimate> {
        if let (Some(a), Some(b)) = (self.worths(), other.worths()) {
            return statistics::combined(a, b, rows, f);
        }
        self.drawn()?.combined(other.drawn()?, rows, f)
    }

    /// What part of `best`'s score is kept on the same rows; `None` if these are not as many or it is not finite.
    pub fn kept_of(&self, best: &Outcomes) -> Option<Estimate> {
        let paired = self.rows() == best.rows();
        paired.then(|| self.combined(best, Rows::Same, |own, best| self.scoring.kept(own, best))).flatten()
    }

    /// What each row adds to the score, for paired tests; more is better, whatever the score's direction.
    pub fn by_row(&self) -> Option<&Runs> {
        let (lowest, highest) = self.scoring.range;
        let (sign, range) = match self.scoring.direction {
            Direction::Lower => (-1.0, (-highest, -lowest)),
            _ => (1.0, (lowest, highest)),
        };
        let found = || Some(contributions(self.sums(), sign)?.within(range));
        self.worths().or_else(|| self.by_row.get_or_init(found).as_ref())
    }

    fn worths(&self) -> Option<&Runs> {
        match &self.sample {
            Sample::Mean(runs) => Some(runs),
            _ => None,
        }
    }

    fn sums(&self) -> &dyn Sums {
        match &self.sample {
            Sample::Mean(runs) => runs,
            Sample::Sums(sums) | Sample::Answers(_, sums) => &**sums,
        }
    }

    fn drawn(&self) -> Option<&Resampled> {
        let draw = || Resampled::of_sums(self.sums(), self.scoring.range);
        self.drawn.get_or_init(draw).as_ref()
    }
}

impl Sample {
    fn of(scoring: &'static Scoring, runs: &[&Answers]) -> Option<Sample> {
        let worths: Option<Vec<Vec<f64>>> = runs.iter().map(|run| scoring.worths(run)).collect();
        if let Some(runs) = worths.and_then(|worths| Runs::new(&worths)) {
            return Some(Sample::Mean(runs));
        }
        if let Some(sums) = scoring.sums(runs) {
            return Some(Sample::Sums(sums));
        }
        let answers: Arc<Vec<Answers>> = Arc::new(runs.iter().map(|run| (*run).clone()).collect());
        let picked = answers.clone();
        let score = move |run: usize, rows: &[u32]| scoring.score(&picked[run].select(rows));
        let by_rows = Picked::new(runs.len(), runs[0].len(), score)?;
        Some(Sample::Answers(answers, Box::new(by_rows)))
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
            assert_eq!((kept.value, kept.low, kept.high), (1.0, None, None));
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
    fn whole_answers_are_drawn_where_they_are_many_and_count_a_row_once_for_all_seeds() {
        // Of accuracy both ways must say the same, but for the draws.
        let run = |right, seed| labelled(right, seed);
        let (a, b) = ([run(80, 1), run(80, 2), run(80, 3)], [run(78, 4), run(78, 5), run(78, 6)]);
        let of = |runs: &[Answers; 3]| outcomes("accuracy", runs.to_vec()).unwrap();
        let rows = of(&a).permuted(&of(&b)).unwrap().rows;
        let whole = swap_sums(&[of(&a).sums(), of(&b).sums()], &[(0, 1)])[0].unwrap();
        assert!((whole.p - rows.p).abs() < 0.01 && whole.p > 0.001 && !whole.exact, "{whole:?} {rows:?}");
        // Seeds that all say the same are no more evidence than one.
        let thrice = |answers: &Answers| outcomes("matthews", vec![answers.clone(); 3]).unwrap();
        let one = |answers: &Answers| outcomes("matthews", vec![answers.clone()]).unwrap();
        let three = thrice(&a[0]).permuted(&thrice(&b[0])).unwrap();
        assert_eq!(three.rows.p, one(&a[0]).permuted(&one(&b[0])).unwrap().rows.p);
        assert!(
            one(&a[0]).permuted(&outcomes("matthews", vec![run(80, 1).select(&[1, 2])]).unwrap()).is_none()
        );
    }

    #[test]
    fn what_no_draw_can_move_has_no_interval_and_unequal_rows_no_score() {
        let faultless = outcomes("matthews", vec![labelled(100, 1)]).unwrap();
        assert_eq!((faultless.mean(), faultless.estimate().low), (1.0, None));
        let same = faultless.ahead_of(&faultless).unwrap();
        assert_eq!((same.value, same.low, faultless.permuted(&faultless).unwrap().p), (0.0, None, 1.0));
        // Of a mean of rows the binomial bound is left; of one row nothing.
        let faultless = outcomes("accuracy", vec![labelled(100, 1)]).unwrap();
        assert!(
            faultless.estimate().low.unwrap() > 0.99
                && faultless.ahead_of(&faultless).unwrap().low < Some(0.0)
        );
        for metric in ["accuracy", "f1"] {
            let one =
                outcomes(metric, vec![labelled(100, 1).select(&[1]), labelled(100, 1).select(&[1])]).unwrap();
            assert_eq!((one.estimate().low, one.estimate().high, one.estimate().n), (None, None, 2));
        }
        assert!(outcomes("f1", vec![Answers::Worths(vec![1.0])]).is_none());
        let unequal = vec![Answers::Worths(vec![1.0]), Answers::Worths(vec![1.0, 0.0])];
        assert!(outcomes("exact_match", unequal).is_none());
        assert!(outcomes("accuracy", vec![]).is_none());
    }
}
