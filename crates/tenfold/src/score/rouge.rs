//! ROUGE (Lin, 2004) as Google's rouge_score computes it, its stemmer off.

use std::collections::{BTreeSet, HashMap};

/// Precision, recall and their harmonic mean, 0 to 1, higher is better.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Rouge {
    /// Share of the prediction that the reference has too.
    pub precision: f64,
    /// Share of the reference that the prediction has too.
    pub recall: f64,
    /// F1 of both.
    pub f1: f64,
}

impl Rouge {
    fn of(shared: usize, prediction: usize, reference: usize) -> Rouge {
        let share = |whole: usize| shared as f64 / whole.max(1) as f64;
        let (precision, recall) = (share(prediction), share(reference));
        let f1 = if shared > 0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        Rouge { precision, recall, f1 }
    }
}

/// ROUGE-1, ROUGE-2 …: n-grams that both have, as often as both have them. All 0 where either has none, as for `n` = 0.
pub fn rouge_n(prediction: &str, reference: &str, n: usize) -> Rouge {
    if n == 0 {
        return Rouge::default();
    }
    let (prediction, reference) = (words(prediction), words(reference));
    let mut left: HashMap<&[String], usize> = HashMap::new();
    for gram in reference.windows(n) {
        *left.entry(gram).or_default() += 1;
    }
    let mut take = |gram: &&[String]| {
        let count = left.get_mut(*gram).filter(|count| **count > 0);
        count.map(|count| *count -= 1).is_some()
    };
    let shared = prediction.windows(n).filter(|gram| take(gram)).count();
    Rouge::of(shared, prediction.windows(n).len(), reference.windows(n).len())
}

/// ROUGE-L: the longest common subsequence of the words.
pub fn rouge_l(prediction: &str, reference: &str) -> Rouge {
    let (prediction, reference) = (words(prediction), words(reference));
    Rouge::of(subsequence(&reference, &prediction).len(), prediction.len(), reference.len())
}

/// ROUGE-Lsum: of every sentence of the reference the words that a longest common subsequence with any sentence of the
/// prediction holds, none counted more often than both texts have it. Sentences are lines.
pub fn rouge_lsum(prediction: &str, reference: &str) -> Rouge {
    let sentences = |text: &str| text.split('\n').map(words).collect::<Vec<_>>();
    let (prediction, reference) = (sentences(prediction), sentences(reference));
    let count = |text: &[Vec<String>]| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        text.iter().flatten().for_each(|word| *counts.entry(word.clone()).or_default() += 1);
        counts
    };
    let (mut left, mut left_of_reference) = (count(&prediction), count(&reference));
    let mut shared = 0;
    for sentence in &reference {
        let held: BTreeSet<usize> =
            prediction.iter().flat_map(|other| subsequence(sentence, other)).collect();
        for word in held.into_iter().map(|place| &sentence[place]) {
            let both = left.get_mut(word).zip(left_of_reference.get_mut(word));
            if let Some((a, b)) = both.filter(|(a, b)| **a > 0 && **b > 0) {
                *a -= 1;
                *b -= 1;
                shared += 1;
            }
        }
    }
    let total = |text: &[Vec<String>]| text.iter().map(Vec::len).sum();
    Rouge::of(shared, total(&prediction), total(&reference))
}

/// Runs of a to z and 0 to 9 in lower case; all else only parts them.
fn words(text: &str) -> Vec<String> {
    let plain = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit());
    text.to_lowercase().split(plain).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Places in `reference` of a longest common subsequence: of several, the one that rouge_score walks back to.
fn subsequence(reference: &[String], other: &[String]) -> Vec<usize> {
    #[derive(Clone, Copy)]
    enum Step {
        Both,
        Other,
        Reference,
    }
    let width = other.len();
    let mut steps = Vec::with_capacity(reference.len() * width);
    let mut above = vec![0u32; width + 1];
    for word in reference {
        let mut row = vec![0u32; width + 1];
        for (j, candidate) in other.iter().enumerate() {
            let (length, step) = if word == candidate {
                (above[j] + 1, Step::Both)
            } else if row[j] > above[j + 1] {
                (row[j], Step::Other)
            } else {
                (above[j + 1], Step::Reference)
            };
            row[j + 1] = length;
            steps.push(step);
        }
        above = row;
    }
    let (mut i, mut j, mut places) = (reference.len(), width, Vec::new());
    while i > 0 && j > 0 {
        match steps[(i - 1) * width + j - 1] {
            Step::Both => {
                (i, j) = (i - 1, j - 1);
                places.push(i);
            }
            Step::Other => j -= 1,
            Step::Reference => i -= 1,
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_words_count_as_often_as_both_have_them() {
        let found = rouge_n("the the cat", "The cat!", 1);
        assert_eq!((found.precision, found.recall, found.f1), (2.0 / 3.0, 1.0, 0.8));
        assert_eq!(rouge_n("a b", "a b", 3), Rouge::default());
        assert_eq!(rouge_n("a b", "a b", 0), Rouge::default());
        assert_eq!(rouge_l("a x b", "a b y").f1, 2.0 / 3.0);
        assert_eq!(rouge_l("", "a"), Rouge::default());
    }

    #[test]
    fn sentences_are_lines() {
        // Lin's example: the union over both sentences of the prediction holds w1 w2 w3 w5, of five.
        assert_eq!(rouge_lsum("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "w1 w2 w3 w4 w5").recall, 0.8);
    }
}
