//! The cross-entropy of what is to be said of rows: of labels, of the first and last token of an answer, of tokens; the squared
//! error of a number. As Transformers computes them, but that a row may weigh more or less than one.

use super::Objective;
use crate::error::Result;
use crate::model::Forward;
use crate::train::rows::Rows;
use crate::train::source::Source;
use tenfold_tensor::Tensor;

/// The mean over labels, each times its row's weight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CrossEntropy {
    /// The share of each label that is spread over all (Szegedy et al. 2016); tokens and answers are not smoothed.
    pub label_smoothing_factor: f32,
}

impl Objective for CrossEntropy {
    fn weight(&self, rows: &Rows, picks: &[usize]) -> f64 {
        rows.label_weight(picks)
    }

    fn mean(&self, source: &Source, forward: &Forward, picks: &[usize]) -> Result<Tensor> {
        Ok(source.weighted_loss(forward, picks, self.label_smoothing_factor)?.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Tuning;
    use crate::model::tokenizer::Encoding;
    use crate::model::{Model, TaskType, load_random};
    use crate::train::Target;
    use serde_json::json;
    use std::sync::Arc;
    use tenfold_tensor::{Backend, Cpu, without_gradients};

    fn model(task: TaskType) -> (tempfile::TempDir, Arc<dyn Model>) {
        let folder = tempfile::tempdir().unwrap();
        let config = match task {
            TaskType::Seq2SeqLm => {
                json!({"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1,
                "num_heads": 2, "vocab_size": 16})
            }
            _ => {
                json!({"model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
                "num_attention_heads": 2, "vocab_size": 16, "max_position_embeddings": 32, "tie_word_embeddings": true})
            }
        };
        let path = folder.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let backend: Arc<dyn Backend> = Cpu::new();
        let model = load_random(&path, task, 1, &backend, None).unwrap();
        (folder, model)
    }

    /// Three rows of a language model with 1, 2 and 3 labels.
    fn rows(task: TaskType) -> Rows {
        let encoding = |row: u32| {
            let ids: Vec<u32> = (0..4 + row).map(|place| (3 * place + row) % 16).collect();
            Encoding { type_ids: vec![0; ids.len()], ids, truncated: false }
        };
        let target = |row: u32| match task {
            TaskType::Seq2SeqLm => Target::Answer { start: 0, ids: (0..=row).map(|id| id + 2).collect() },
            _ => Target::Next((0..4 + row).map(|place| place >= 3).collect()),
        };
        Rows::of((0..3).map(encoding).collect(), (0..3).map(target).collect())
    }

    fn mean(model: &dyn Model, rows: &Rows, picks: &[usize]) -> f64 {
        let tuning = Tuning::untouched(model);
        let forward = Forward::evaluation(&tuning);
        let source = Source::new(model, rows);
        let loss = without_gradients(|| CrossEntropy::default().mean(&source, &forward, picks)).unwrap();
        f64::from(loss.numbers().unwrap()[0])
    }

    #[test]
    fn a_rows_weight_counts_its_labels_as_often() {
        for task in [TaskType::CausalLm, TaskType::Seq2SeqLm] {
            let ((_folder, model), plain) = (model(task), rows(task));
            let weighted = plain.clone().weighing(vec![2.0, 0.5, 2.0]);
            assert_eq!(CrossEntropy::default().weight(&plain, &[0, 1, 2]), 6.0);
            assert_eq!(CrossEntropy::default().weight(&weighted, &[0, 1, 2]), 2.0 + 1.0 + 6.0);
            let alone = [0, 1, 2].map(|row| mean(&*model, &plain, &[row]));
            let expected = (2.0 * alone[0] + 0.5 * 2.0 * alone[1] + 2.0 * 3.0 * alone[2]) / 9.0;
            let found = mean(&*model, &weighted, &[0, 1, 2]);
            assert!((found - expected).abs() < 1e-5 * expected, "{task:?}: {found} {expected}");
            // A row by itself has the same mean whatever it weighs; rows that weigh 1 have the very bits of rows without weights.
            assert_eq!(mean(&*model, &weighted, &[1]), alone[1]);
            let ones = plain.clone().weighing(vec![1.0; 3]);
            assert_eq!(mean(&*model, &ones, &[2, 0, 1]), mean(&*model, &plain, &[2, 0, 1]));
        }
    }
}
