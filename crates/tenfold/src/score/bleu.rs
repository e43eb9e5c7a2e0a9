//! BLEU of a corpus (Papineni et al., ACL 2002) as sacreBLEU computes it by default (Post, WMT 2018): tokenization 13a,
//! case kept, exponential smoothing.

use super::python;
use regex::Regex;
use std::collections::HashMap;
use std::iter::Sum;
use std::sync::LazyLock;

const ORDERS: usize = 4;

/// The steps of mteval-v13a: symbols apart; full stop and comma apart unless between digits; dash apart after a digit.
static STEPS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"([\{-\~\[-` -\&\(-\+:-@/])", " $1 "),
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ]
    .into_iter()
    .filter_map(|(pattern, by)| Some((Regex::new(pattern).ok()?, by)))
    .collect()
});

/// All that BLEU needs to know of segments: these add up, so that rows can be drawn anew without reading them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BleuCounts {
    correct: [u64; ORDERS],
    total: [u64; ORDERS],
    hypothesis: u64,
    reference: u64,
}

impl BleuCounts {
    /// Counts of one segment against its references; `None` without one.
    pub fn of(hypothesis: &str, references: &[&str]) -> Option<BleuCounts> {
        let hypothesis = tokenize_13a(hypothesis);
        let references: Vec<String> = references.iter().map(|text| tokenize_13a(text)).collect();
        let words: Vec<&str> = hypothesis.split(' ').filter(|word| !word.is_empty()).collect();
        let others: Vec<Vec<&str>> =
            references.iter().map(|text| text.split(' ').filter(|word| !word.is_empty()).collect()).collect();
        // The reference whose length is nearest; of two, the shorter.
        let reference = others.iter().map(Vec::len).min_by_key(|n| (n.abs_diff(words.len()), *n))?;
        let mut counts = BleuCounts {
            hypothesis: words.len() as u64,
            reference: reference as u64,
            ..BleuCounts::default()
        };
        for order in 1..=ORDERS {
            let mut most: HashMap<&[&str], u64> = HashMap::new();
            for other in &others {
                for (gram, count) in grams(other, order) {
                    let best = most.entry(gram).or_default();
                    *best = count.max(*best);
                }
            }
            for (gram, count) in grams(&words, order) {
                counts.total[order - 1] += count;
                counts.correct[order - 1] += count.min(most.get(gram).copied().unwrap_or(0));
            }
        }
        Some(counts)
    }

    /// BLEU of all segments counted, 0 to 100, higher is better; 0 where no word is right.
    pub fn score(&self) -> f64 {
        if self.correct.iter().all(|count| *count == 0) {
            return 0.0;
        }
        let (mut smoothing, mut logarithms) = (1.0, 0.0);
        for (correct, total) in self.correct.iter().zip(&self.total) {
            // No n-gram so long was said: sacreBLEU's logarithm of 0 makes the score 0.
            if *total == 0 {
                return 0.0;
            }
            let precision = if *correct == 0 {
                smoothing *= 2.0;
                100.0 / (smoothing * *total as f64)
            } else {
                100.0 * *correct as f64 / *total as f64
            };
            logarithms += precision.ln();
        }
        let lengths = self.reference as f64 / self.hypothesis as f64;
        let brevity = if lengths > 1.0 { (1.0 - lengths).exp() } else { 1.0 };
        brevity * (logarithms / ORDERS as f64).exp()
    }
}

impl Sum for BleuCounts {
    fn sum<I: Iterator<Item = BleuCounts>>(all: I) -> BleuCounts {
        all.fold(BleuCounts::default(), |mut sum, one| {
            for order in 0..ORDERS {
                sum.correct[order] += one.correct[order];
                sum.total[order] += one.total[order];
            }
            sum.hypothesis += one.hypothesis;
            sum.reference += one.reference;
            sum
        })
    }
}

/// BLEU of (hypothesis, references) of every segment, 0 to 100, higher is better. `None` for no segments or one without
/// a reference.
pub fn bleu(segments: &[(&str, &[&str])]) -> Option<f64> {
    let counts: Option<Vec<BleuCounts>> =
        segments.iter().map(|(text, others)| BleuCounts::of(text, others)).collect();
    counts.filter(|counts| !counts.is_empty()).map(|counts| counts.into_iter().sum::<BleuCounts>().score())
}

/// A segment's words as mteval-v13a cuts them, one space between each two.
pub fn tokenize_13a(segment: &str) -> String {
    let segment = segment.trim_end_matches(python::is_space);
    let mut line = segment.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (escape, meant) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        line = line.replace(escape, meant);
    }
    line = format!(" {line} ");
    for (pattern, by) in STEPS.iter() {
        line = pattern.replace_all(&line, *by).into_owned();
    }
    python::split(&line).collect::<Vec<_>>().join(" ")
}

fn grams<'a, 'w>(words: &'a [&'w str], order: usize) -> HashMap<&'a [&'w str], u64> {
    let mut counts = HashMap::new();
    for gram in words.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_13a_is_there() {
        assert_eq!(STEPS.len(), 4);
        assert_eq!(
            tokenize_13a("Hi, \"you\"; 1,000.5 (10-year)... &amp;lt;"),
            "Hi , \" you \" ; 1,000.5 ( 10 - year ) . . . <"
        );
    }

    #[test]
    fn segments_add_up_and_nothing_has_no_score() {
        let segments: [(&str, &[&str]); 2] =
            [("the cat sat on the mat", &["the cat sat on a mat"]), ("it is so", &["it is not so"])];
        let parts: Vec<BleuCounts> = segments.iter().map(|(h, r)| BleuCounts::of(h, r).unwrap()).collect();
        assert_eq!(Some(parts.into_iter().sum::<BleuCounts>().score()), bleu(&segments));
        assert_eq!((bleu(&[]), bleu(&[("a", &[])])), (None, None));
        assert_eq!(bleu(&[("", &["a"])]), Some(0.0));
    }
}
