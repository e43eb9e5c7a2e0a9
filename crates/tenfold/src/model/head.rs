//! What a model is asked for, and the small networks that answer: the heads of Hugging Face's task classes.

use super::{Forward, Weight};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use tenfold_tensor::{Activation, Tensor};

/// What a model is asked for; the names are PEFT's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskType {
    /// One label for each sequence.
    #[serde(rename = "SEQ_CLS")]
    SequenceClassification,
    /// One label for each token.
    #[serde(rename = "TOKEN_CLS")]
    TokenClassification,
    /// Where an answer starts and ends in a text.
    #[serde(rename = "QUESTION_ANS")]
    QuestionAnswering,
    /// The next token of each place.
    #[serde(rename = "CAUSAL_LM")]
    CausalLm,
    /// The next token of an answer to each sequence.
    #[serde(rename = "SEQ_2_SEQ_LM")]
    Seq2SeqLm,
}

impl TaskType {
    /// All of them.
    pub const ALL: [TaskType; 5] = [
        TaskType::SequenceClassification,
        TaskType::TokenClassification,
        TaskType::QuestionAnswering,
        TaskType::CausalLm,
        TaskType::Seq2SeqLm,
    ];

    /// PEFT's name: "SEQ_CLS".
    pub fn name(self) -> &'static str {
        match self {
            TaskType::SequenceClassification => "SEQ_CLS",
            TaskType::TokenClassification => "TOKEN_CLS",
            TaskType::QuestionAnswering => "QUESTION_ANS",
            TaskType::CausalLm => "CAUSAL_LM",
            TaskType::Seq2SeqLm => "SEQ_2_SEQ_LM",
        }
    }

    /// The task type of that name.
    pub fn named(name: &str) -> Result<TaskType> {
        let found = TaskType::ALL.into_iter().find(|task| task.name() == name);
        found.ok_or_else(|| Error::unknown("task type", name, TaskType::ALL.iter().map(|task| task.name())))
    }

    /// Whether answers are words of the model's own vocabulary, so that no head is added.
    pub fn is_language_modelling(self) -> bool {
        matches!(self, TaskType::CausalLm | TaskType::Seq2SeqLm)
    }
}

/// A head: layers that are trained from nothing, whatever the method.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// From what the model puts out to logits. The last one's width is that of the labels.
    pub layers: Vec<HeadLayer>,
}

/// Dropout, a linear map, an activation.
#[derive(Debug, Clone)]
pub struct HeadLayer {
    /// Module path: "classifier", "classifier.dense".
    pub path: String,
    /// Width of its input.
    pub inputs: usize,
    /// Width of its output; `None`: the number of labels.
    pub outputs: Option<usize>,
    /// Whether it has a bias.
    pub bias: bool,
    /// On its input.
    pub dropout: f32,
    /// On its output.
    pub activation: Option<Activation>,
    /// Deviation of the normal distribution that its weight is drawn from; a bias starts at 0.
    pub deviation: f32,
    /// Weight and bias that came with the checkpoint, each \[its shape\] and numbers.
    pub stored: [Option<(Vec<usize>, Vec<f32>)>; 2],
}

/// Numbers-to-be of a task's head.
#[derive(Debug, Clone)]
pub struct HeadWeight {
    /// Name as Hugging Face's model has it: "classifier.weight".
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Its numbers, if the checkpoint holds a head of that shape.
    pub stored: Option<Vec<f32>>,
    /// Else: deviation of the normal distribution it is drawn from (0: zeros).
    pub deviation: f32,
}

impl HeadLayer {
    fn weight(&self) -> String {
        format!("{}.weight", self.path)
    }

    fn bias(&self) -> Option<String> {
        self.bias.then(|| format!("{}.bias", self.path))
    }

    fn weights(&self, labels: usize) -> impl Iterator<Item = HeadWeight> {
        let outputs = self.outputs.unwrap_or(labels);
        let part = |place: usize, name: String, shape: Vec<usize>, deviation: f32| {
            let stored = self.stored[place].as_ref().filter(|(stored, _)| *stored == shape);
            HeadWeight { name, stored: stored.map(|(_, numbers)| numbers.clone()), shape, deviation }
        };
        let weight = part(0, self.weight(), vec![outputs, self.inputs], self.deviation);
        let bias = self.bias().map(|name| part(1, name, vec![outputs], 0.0));
        [Some(weight), bias].into_iter().flatten()
    }
}

impl Head {
    /// Its weights, for a task with so many labels.
    pub fn weights(&self, labels: usize) -> Vec<HeadWeight> {
        self.layers.iter().flat_map(|layer| layer.weights(labels)).collect()
    }

    /// The modules that hold it, each once: "classifier". PEFT saves them whole (`modules_to_save`).
    pub fn modules(&self) -> Vec<&str> {
        let mut modules: Vec<&str> =
            self.layers.iter().map(|layer| layer.path.split('.').next().unwrap_or(&layer.path)).collect();
        modules.dedup();
        modules
    }

    /// The name of the weight whose rows are the labels.
    pub fn last_weight(&self) -> Option<String> {
        self.layers.last().map(HeadLayer::weight)
    }

    /// \[rows, hidden\] -> \[rows, labels\]. The pass is on these rows.
    pub fn logits(&self, forward: &Forward, features: &Tensor) -> Result<Tensor> {
        let mut x = features.clone();
        for layer in &self.layers {
            x = forward.dropout(x, layer.dropout)?;
            let weight = forward.head_weight(&layer.weight())?;
            let bias = layer.bias().map(|name| forward.head_weight(&name)).transpose()?;
            x = x.linear(&weight, bias.as_ref())?;
            if let Some(activation) = layer.activation {
                x = x.activation(activation)?;
            }
        }
        Ok(x)
    }
}

/// Where a language model's logits come from: `softcap(scale · x · weightᵀ + bias)`.
pub struct Vocabulary<'a> {
    /// \[vocab_size, hidden\]; often the word embeddings themselves.
    pub weight: &'a Weight,
    /// \[vocab_size\].
    pub bias: Option<&'a Weight>,
    /// c of c · tanh(logit / c).
    pub softcap: Option<f32>,
    /// On the hidden states before.
    pub scale: f32,
}

impl Vocabulary<'_> {
    /// The hidden states as the weight meets them.
    fn scaled(&self, hidden: &Tensor) -> Result<Tensor> {
        if self.scale == 1.0 { Ok(hidden.clone()) } else { Ok(hidden.scale(self.scale)?) }
    }

    /// Logits of chosen rows: \[rows, hidden\] -> \[rows, vocab_size\].
    pub fn logits(&self, forward: &Forward, hidden: &Tensor) -> Result<Tensor> {
        let bias = self.bias.map(|bias| forward.weight(bias));
        let logits = self.scaled(hidden)?.linear(&forward.vocabulary(self.weight)?, bias.as_ref())?;
        Ok(match self.softcap {
            Some(cap) => logits.softcap(cap)?,
            None => logits,
        })
    }

    /// Mean cross-entropy of rows against one label each, in nats.
    pub fn loss(&self, forward: &Forward, hidden: &Tensor, labels: &[u32]) -> Result<Tensor> {
        let bias = self.bias.map(|bias| forward.weight(bias));
        let weight = forward.vocabulary(self.weight)?;
        Ok(self.scaled(hidden)?.linear_cross_entropy(&weight, bias.as_ref(), self.softcap, labels)?)
    }

    /// ln p of one label for each row.
    pub fn log_probabilities(&self, forward: &Forward, hidden: &Tensor, labels: &[u32]) -> Result<Vec<f32>> {
        let bias = self.bias.map(|bias| forward.weight(bias));
        let weight = forward.vocabulary(self.weight)?;
        let hidden = self.scaled(hidden)?;
        Ok(hidden.linear_log_probabilities(&weight, bias.as_ref(), self.softcap, labels)?.numbers()?)
    }
}
