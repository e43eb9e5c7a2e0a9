//! How long the sequences are, and what became of rows that are too long.

use super::Sequence;
use std::fmt;

/// Lengths of a set of sequences, and the rows that were cut or left out. Its `Display` fits 80 columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LengthReport {
    /// Rows as they came.
    pub rows: usize,
    /// Rows whose prompt was cut or, of chats, whose oldest turns were left out.
    pub cut: usize,
    /// Rows left out because they were too long.
    pub overlong: usize,
    /// Rows left out because no token of theirs would count in the loss.
    pub unlabelled: usize,
    /// Tokens of each sequence.
    pub tokens: Spread,
    /// Tokens of each sequence that count in the loss.
    pub labelled: Spread,
    pub(super) histogram: Vec<(usize, usize)>,
}

/// How numbers are spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spread {
    /// How many numbers.
    pub count: usize,
    /// Their sum.
    pub sum: usize,
    /// The smallest.
    pub min: usize,
    /// Half of the numbers are at most this.
    pub median: usize,
    /// 95 of 100 are at most this.
    pub p95: usize,
    /// The largest.
    pub max: usize,
}

/// Columns that the longest bar of the histogram takes.
const BAR: usize = 40;

impl LengthReport {
    /// The lengths of `sequences`; the counts of rows are the caller's to set.
    pub(super) fn of(sequences: &[Sequence]) -> LengthReport {
        let tokens: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
        LengthReport {
            labelled: Spread::of(sequences.iter().map(Sequence::labels).collect()),
            histogram: histogram(&tokens),
            tokens: Spread::of(tokens),
            ..LengthReport::default()
        }
    }
}

impl Spread {
    fn of(mut numbers: Vec<usize>) -> Spread {
        numbers.sort_unstable();
        // Nearest rank: the smallest number that `percent` of all do not exceed.
        let rank = |percent: usize| {
            let rank = (numbers.len() * percent).div_ceil(100).max(1);
            numbers.get(rank - 1).copied().unwrap_or_default()
        };
        Spread {
            count: numbers.len(),
            sum: numbers.iter().sum(),
            min: rank(0),
            median: rank(50),
            p95: rank(95),
            max: rank(100),
        }
    }
}

/// Counts of lengths up to each power of two, from the first that holds any to the last.
fn histogram(lengths: &[usize]) -> Vec<(usize, usize)> {
    let up_to = |length: usize| length.max(1).next_power_of_two();
    let (Some(min), Some(max)) = (lengths.iter().min(), lengths.iter().max()) else { return Vec::new() };
    let mut bins = vec![(up_to(*min), 0)];
    while bins[bins.len() - 1].0 < up_to(*max) {
        bins.push((bins[bins.len() - 1].0 * 2, 0));
    }
    for length in lengths {
        bins[(up_to(*length) / up_to(*min)).ilog2() as usize].1 += 1;
    }
    bins
}

impl fmt::Display for LengthReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{} rows, {} sequences", self.rows, self.tokens.count)?;
        let share = |count: usize| 100.0 * count as f64 / self.rows.max(1) as f64;
        for (what, count) in [
            ("cut before what is learnt", self.cut),
            ("left out, too long", self.overlong),
            ("left out, nothing to learn", self.unlabelled),
        ] {
            if count > 0 {
                writeln!(f, "  {what:<28} {count:>10} ({:.1} %)", share(count))?;
            }
        }
        writeln!(f, "{:<10}{:>14}{:>9}{:>9}{:>9}{:>9}", "", "all", "min", "median", "p95", "max")?;
        for (what, spread) in [("tokens", &self.tokens), ("labelled", &self.labelled)] {
            let Spread { sum, min, median, p95, max, .. } = spread;
            writeln!(f, "{what:<10}{sum:>14}{min:>9}{median:>9}{p95:>9}{max:>9}")?;
        }
        let most = self.histogram.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
        for (up_to, count) in &self.histogram {
            let bar = "#".repeat((count * BAR).div_ceil(most));
            writeln!(f, "  to {up_to:>9} {count:>10} {bar}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(tokens: usize, labels: usize) -> Sequence {
        Sequence { ids: vec![0; tokens], labelled: (0..tokens).map(|i| i >= tokens - labels).collect() }
    }

    #[test]
    fn ranks_are_the_nearest_and_the_picture_fits_eighty_columns() {
        let sequences: Vec<Sequence> = (1..=100).map(|n| sequence(n * 1_000, n)).collect();
        let report = LengthReport { rows: 103, cut: 1, overlong: 2, ..LengthReport::of(&sequences) };
        let Spread { count, sum, min, median, p95, max } = report.labelled;
        assert_eq!((count, sum, min, median, p95, max), (100, 5050, 1, 50, 95, 100));
        let text = report.to_string();
        assert!(text.starts_with("103 rows, 100 sequences\n"), "{text}");
        assert!(text.contains("left out, too long                    2 (1.9 %)"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(report.histogram.iter().map(|(_, count)| count).sum::<usize>(), 100);
        assert_eq!(report.histogram.first(), Some(&(1024, 1)));
        assert_eq!(report.histogram.last(), Some(&(131_072, 35)));
    }

    #[test]
    fn no_sequences_are_no_trouble() {
        assert!(LengthReport::of(&[]).to_string().starts_with("0 rows"));
    }
}
