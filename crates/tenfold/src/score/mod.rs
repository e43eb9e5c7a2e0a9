//! What answers are worth: the scores of tasks, as their publishers and lm-evaluation-harness compute them.
//!
//! Pure functions, each with its source, unit and direction. Where a score is not defined (no rows, unequal numbers
//! of predictions and labels, a constant where there must be variance) it is `None`, never a number that looks like
//! one. `tests/golden_scores.py` holds them to scikit-learn, SciPy, sacreBLEU, rouge_score and lm-evaluation-harness.

mod answer;
mod argmax;
mod bleu;
mod choice;
mod correlation;
mod exact_match;
mod filter;
mod labels;
mod likelihood;
mod mmlu;
pub(crate) mod python;
mod rouge;
mod scoring;
mod squad;
mod sums;
mod super_glue;

pub use answer::{exact, f1_of_words, normalized};
pub use argmax::argmax;
pub use bleu::{BleuCounts, bleu, tokenize_13a};
pub use choice::{acc, acc_bytes, acc_mutual_info, acc_norm};
pub use correlation::{pearson, spearman};
pub use exact_match::ExactMatch;
pub use filter::{Filter, apply};
pub use labels::{
    LabelScores, accuracy, balanced_accuracy, each_label, f1, f1_macro, f1_macro_of, f1_micro, matthews,
};
pub use likelihood::{bits_per_byte, count_bytes, count_words, perplexity, weighted_perplexity};
pub use mmlu::{Mmlu, mmlu, mmlu_category};
pub use rouge::{Rouge, rouge_l, rouge_lsum, rouge_n};
pub use scoring::{Direction, Kind, SCORINGS, Scoring, scoring, usual};
pub use squad::{ExactF1, Squad2, Squad2Row, squad1, squad2, squad2_row};
pub(crate) use sums::{Sums, dot};
pub use super_glue::{MultiRc, average, multirc, record};

/// Mean of what each row is worth; `None` for no rows.
fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
    (count > 0.0).then(|| sum / count)
}
