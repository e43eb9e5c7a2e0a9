//! Scores as functions of sums over rows: what is resampled, left out or exchanged are rows, and sums follow at once.

use super::labels::{Counts, IN_PLACE};
use crate::record::Answers;
use std::collections::HashMap;

/// Runs of one method on the same rows, whose scores follow from sums over rows.
pub trait Sums: Sync + Send + std::fmt::Debug {
    /// How many rows there are.
    fn rows(&self) -> usize;

    /// How many sums there are.
    fn width(&self) -> usize;

    /// Adds the rows from `start` on to `sums`, each as often as its weight says.
    fn add(&self, start: usize, weights: &[f64], sums: &mut [f64]);

    /// The same sums of each run by itself, in an order that all methods on the same rows share; a longer list goes on
    /// where a shorter one ends. `None` where the runs have none that could be set beside those of another method.
    fn by_run(&self, sums: &[f64]) -> Option<Vec<Vec<f64>>>;

    /// The same of one row alone.
    fn of_row(&self, row: usize) -> Option<Vec<Vec<f64>>> {
        let mut sums = vec![0.0; self.width()];
        self.add(row, &[1.0], &mut sums);
        self.by_run(&sums)
    }

    /// The score of a run by its own sums; `None` where it is not defined.
    fn score(&self, of_run: &[f64]) -> Option<f64>;

    /// The score of each run; `None` where one is not defined.
    fn scores(&self, sums: &[f64]) -> Option<Vec<f64>> {
        self.by_run(sums)?.iter().map(|of_run| self.score(of_run)).collect()
    }
}

/// Sum of products, in an order that depends on the length alone.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (a, b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.0.iter().zip(b.0) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a.1.iter().zip(b.1).map(|(a, b)| a * b).sum::<f64>()
}

/// Runs of which each row adds a few numbers to as many sums.
#[derive(Debug)]
pub(super) struct Columns {
    /// What each row adds, each different column once.
    columns: Vec<Vec<f64>>,
    /// For each run, which columns are its own.
    of_run: Vec<Vec<usize>>,
    score: fn(&[f64]) -> Option<f64>,
}

impl Columns {
    /// From `runs[run][sum][row]`; `None` if they are of different numbers of rows.
    pub(super) fn new(runs: Vec<Vec<Vec<f64>>>, score: fn(&[f64]) -> Option<f64>) -> Option<Columns> {
        let rows = runs.first()?.first()?.len();
        let (mut columns, mut of_run) = (Vec::<Vec<f64>>::new(), Vec::new());
        for run in runs {
            let mut own = Vec::new();
            for column in run {
                if column.len() != rows {
                    return None;
                }
                let place = columns.iter().position(|known| *known == column).unwrap_or(columns.len());
                if place == columns.len() {
                    columns.push(column);
                }
                own.push(place);
            }
            of_run.push(own);
        }
        Some(Columns { columns, of_run, score })
    }
}

impl Sums for Columns {
    fn rows(&self) -> usize {
        self.columns[0].len()
    }

    fn width(&self) -> usize {
        self.columns.len()
    }

    fn add(&self, start: usize, weights: &[f64], sums: &mut [f64]) {
        for (sum, column) in sums.iter_mut().zip(&self.columns) {
            *sum += dot(&column[start..start + weights.len()], weights);
        }
    }

    fn by_run(&self, sums: &[f64]) -> Option<Vec<Vec<f64>>> {
        Some(self.of_run.iter().map(|own| own.iter().map(|place| sums[*place]).collect()).collect())
    }

    fn score(&self, of_run: &[f64]) -> Option<f64> {
        (self.score)(of_run).filter(|value| value.is_finite())
    }
}

/// Runs whose answers are labels: rows to which all runs say the same are one pattern, and only patterns are counted.
#[derive(Debug)]
pub(super) struct Labelled {
    /// The pattern of each row.
    pattern: Vec<u32>,
    /// For each pattern and each run, the true label and the predicted one.
    said: Vec<(u32, u32)>,
    runs: usize,
    /// One above the highest label.
    labels: usize,
    score: fn(&[Counts]) -> Option<f64>,
}

impl Labelled {
    /// `None` for answers of another kind or of different numbers of rows, or labels that are too large to count by.
    pub(super) fn new(runs: &[&Answers], score: fn(&[Counts]) -> Option<f64>) -> Option<Labelled> {
        let rows = runs.first()?.len();
        let (mut pattern, mut said): (Vec<u32>, Vec<Vec<(u32, u32)>>) = (vec![0; rows], vec![Vec::new()]);
        let mut highest = 0;
        for run in runs {
            let Answers::Labels { labels, predictions } = run else { return None };
            if labels.len() != rows || predictions.len() != rows {
                return None;
            }
            let (mut known, mut longer) = (HashMap::new(), Vec::new());
            for (pattern, answer) in
                pattern.iter_mut().zip(labels.iter().copied().zip(predictions.iter().copied()))
            {
                highest = highest.max(answer.0).max(answer.1);
                *pattern = *known.entry((*pattern, answer)).or_insert_with(|| {
                    longer.push([&said[*pattern as usize][..], &[answer]].concat());
                    longer.len() as u32 - 1
                });
            }
            said = longer;
        }
        (highest < IN_PLACE).then(|| Labelled {
            pattern,
            said: said.concat(),
            runs: runs.len(),
            labels: highest as usize + 1,
            score,
        })
    }
}

/// Sums that are kept of each label: rows that are right, predicted to have it, and have it.
const OF_LABEL: usize = 3;

impl Sums for Labelled {
    fn rows(&self) -> usize {
        self.pattern.len()
    }

    fn width(&self) -> usize {
        self.said.len() / self.runs
    }

    fn add(&self, start: usize, weights: &[f64], sums: &mut [f64]) {
        for (pattern, weight) in self.pattern[start..].iter().zip(weights) {
            sums[*pattern as usize] += weight;
        }
    }

    fn by_run(&self, sums: &[f64]) -> Option<Vec<Vec<f64>>> {
        let mut by_run = vec![vec![0.0; OF_LABEL * self.labels]; self.runs];
        for (weight, said) in sums.iter().zip(self.said.chunks(self.runs)) {
            add_pattern(said, *weight, &mut by_run);
        }
        Some(by_run)
    }

    fn of_row(&self, row: usize) -> Option<Vec<Vec<f64>>> {
        let mut by_run = vec![vec![0.0; OF_LABEL * self.labels]; self.runs];
        let first = self.pattern[row] as usize * self.runs;
        add_pattern(&self.said[first..first + self.runs], 1.0, &mut by_run);
        Some(by_run)
    }

    fn score(&self, of_run: &[f64]) -> Option<f64> {
        let counts = |of: &[f64]| Counts { right: of[0], predicted: of[1], standing: of[2] };
        let counts: Vec<Counts> = of_run.chunks(OF_LABEL).map(counts).collect();
        (self.score)(&counts).filter(|value| value.is_finite())
    }
}

fn add_pattern(said: &[(u32, u32)], weight: f64, by_run: &mut [Vec<f64>]) {
    for ((label, predicted), of_run) in said.iter().zip(by_run) {
        let (label, predicted) = (OF_LABEL * *label as usize, OF_LABEL * *predicted as usize);
        of_run[predicted + 1] += weight;
        of_run[label + 2] += weight;
        if label == predicted {
            of_run[label] += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SCORINGS;
    use super::*;
    use crate::statistics::SplitMix;

    fn answers(random: &mut SplitMix, rows: usize) -> [Answers; 4] {
        let mut labels = |n: usize| -> Vec<u32> { (0..n).map(|_| random.below(3) as u32).collect() };
        let labelled = Answers::Labels { labels: labels(rows), predictions: labels(rows) };
        let judged = Answers::Judged {
            labels: (0..rows).map(|row| labels(row % 4)).collect(),
            predictions: (0..rows).map(|row| labels(row % 4)).collect(),
        };
        let mut numbers = || -> Vec<f64> { (0..rows).map(|_| random.uniform()).collect() };
        let nats = Answers::Nats { nats: numbers(), counts: (0..rows as u64).map(|row| row % 7).collect() };
        let answerable = (0..rows).map(|row| row % 3 > 0).collect();
        let matches = Answers::Matches { exact: numbers(), f1: numbers(), answerable };
        [labelled, judged, nats, matches]
    }

    #[test]
    fn sums_of_rows_that_repeat_score_as_the_rows_do() {
        let mut random = SplitMix::new(1);
        let (one, other) = (answers(&mut random, 40), answers(&mut random, 40));
        let picks: Vec<u32> = (0..40).map(|_| random.below(40) as u32).collect();
        let mut weights = vec![0.0; 40];
        picks.iter().for_each(|row| weights[*row as usize] += 1.0);
        let mut met = 0;
        for scoring in SCORINGS {
            for (one, other) in one.iter().zip(&other) {
                let Some(sums) = scoring.sums(&[one, other]) else { continue };
                let mut of_rows = vec![0.0; sums.width()];
                sums.add(0, &weights[..16], &mut of_rows);
                sums.add(16, &weights[16..], &mut of_rows);
                let wanted = [one, other].map(|run| scoring.score(&run.select(&picks)).unwrap());
                for (found, wanted) in sums.scores(&of_rows).unwrap().iter().zip(wanted) {
                    assert!((found - wanted).abs() < 1e-12, "{}: {found} {wanted}", scoring.name);
                }
                met += 1;
            }
        }
        assert_eq!(met, 6 + 5 + 3 + 2);
    }
}
