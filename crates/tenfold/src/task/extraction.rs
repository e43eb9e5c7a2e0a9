//! How answers are found in passages, in the terms of Transformers' question-answering scripts.

use serde::{Deserialize, Serialize};

/// The keys of a task with `output_type = "extractive"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extraction {
    /// Tokens that a window of a long passage repeats of the one before it.
    pub doc_stride: usize,
    /// Likeliest first tokens, and likeliest last ones, that are looked at in each window.
    pub n_best_size: usize,
    /// Tokens of an answer at the most.
    pub max_answer_length: usize,
    /// By how much "no answer" must be likelier than the best answer, as a difference of logits, to be the answer.
    pub null_score_diff_threshold: f64,
    /// Whether a passage may hold no answer (SQuAD 2.0).
    #[serde(skip)]
    pub unanswerable: bool,
}

impl Default for Extraction {
    fn default() -> Extraction {
        Extraction {
            doc_stride: 128,
            n_best_size: 20,
            max_answer_length: 30,
            null_score_diff_threshold: 0.0,
            unanswerable: false,
        }
    }
}

impl Extraction {
    /// The keys in a task file.
    pub(super) const KEYS: [&str; 4] =
        ["doc_stride", "n_best_size", "max_answer_length", "null_score_diff_threshold"];
}
