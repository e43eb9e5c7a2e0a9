//! How to train: the `[train]` table of a study, under Hugging Face's names.

use super::schedule::Schedule;
use crate::bytes::Bytes;
use crate::data::language::{Overlong, TrainOn};
use serde::{Deserialize, Serialize};

/// Counts above this are slips; and no product of two of them is too large for the machine's numbers.
pub(crate) const MOST: usize = 1_000_000_000;

/// Each epoch of a run has an entry in its plan.
const MOST_EPOCHS: f64 = 1e6;

/// Settings of a training run. The learning rate belongs to the method, not here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// Passes over the training rows; 0.5 is half a pass. The steps of the last, partial pass are rounded up.
    pub num_train_epochs: f64,
    /// Optimizer steps at the most; 0: as many as the epochs have.
    pub max_steps: usize,
    /// Rows in each batch.
    pub batch_size: usize,
    /// Batches for each optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Tokens that go through the model at a time, one row at the least: a batch of more takes several passes, whose
    /// gradients add up to the batch's. None: a batch is one pass, unless what it keeps for its gradients is more than
    /// [`SMALL_ACTIVATIONS`](super::SMALL_ACTIVATIONS) and a quarter of all else in memory; then as many as that holds.
    pub pass_tokens: Option<usize>,
    /// Whether blocks are computed again in the backward pass instead of kept: less memory, a third more work.
    pub gradient_checkpointing: bool,
    /// Memory that the process of one trial may take, the shared base counted: if it foresees more,
    /// passes are made smaller and blocks recomputed, with as many rows to a step. None: 90 % of what the machine, or the
    /// process's control group, has.
    pub memory_limit: Option<Bytes>,
    /// Tokens of a row at the most, special tokens included.
    pub max_length: usize,
    /// Language tasks: which tokens count in the loss.
    pub train_on: TrainOn,
    /// Language tasks: what becomes of rows of more tokens than `max_length`.
    pub overlong: Overlong,
    /// Tokens of each batch at the most, which then holds as many rows as fit in place of `batch_size`; 0: not
    /// counted. No row sees another: batches are ragged.
    pub max_tokens: usize,
    /// Whether batches that count tokens hold rows of like length.
    pub group_by_length: bool,
    /// How the learning rate goes.
    pub lr_scheduler_type: Schedule,
    /// Share of the steps in which the learning rate rises from 0; not used where `warmup_steps` is above 0.
    pub warmup_ratio: f64,
    /// Steps in which the learning rate rises from 0; 0: as many as `warmup_ratio` says.
    pub warmup_steps: usize,
    /// AdamW's decoupled weight decay, on everything trained but biases, norms and virtual tokens.
    pub weight_decay: f64,
    /// AdamW's β₁.
    pub adam_beta1: f64,
    /// AdamW's β₂.
    pub adam_beta2: f64,
    /// AdamW's ε.
    pub adam_epsilon: f64,
    /// Norm to which the gradient of a step is clipped; 0: not clipped.
    pub max_grad_norm: f32,
    /// Share of each label that is spread over all labels.
    pub label_smoothing_factor: f32,
    /// Looks at the validation split in each epoch.
    pub evaluations_per_epoch: usize,
    /// Looks without a better score after which training stops; the best weights are kept.
    /// 0: train to the end and keep the last.
    pub early_stopping_patience: usize,
}

impl Default for TrainSettings {
    fn default() -> TrainSettings {
        TrainSettings {
            num_train_epochs: 3.0,
            max_steps: 0,
            batch_size: 32,
            gradient_accumulation_steps: 1,
            pass_tokens: None,
            gradient_checkpointing: false,
            memory_limit: None,
            max_length: 128,
            train_on: TrainOn::default(),
            overlong: Overlong::default(),
            max_tokens: 0,
            group_by_length: false,
            lr_scheduler_type: Schedule::Linear,
            warmup_ratio: 0.06,
            warmup_steps: 0,
            weight_decay: 0.01,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            label_smoothing_factor: 0.0,
            evaluations_per_epoch: 1,
            early_stopping_patience: 0,
        }
    }
}

impl TrainSettings {
    /// One line for each value that makes no sense.
    pub fn faults(&self) -> Vec<String> {
        const COUNT: &str = "1 to 1,000,000,000";
        const SHARE: &str = "0 or more, below 1";
        let share = |x: f64| (0.0..1.0).contains(&x);
        let count = |x: usize| (1..=MOST).contains(&x);
        let of_count = |key, x: usize| (key, count(x), COUNT, x.to_string());
        let of_share = |key, x: f64| (key, share(x), SHARE, x.to_string());
        let pass_tokens = self.pass_tokens.unwrap_or(1);
        [
            (
                "num_train_epochs",
                self.num_train_epochs > 0.0 && self.num_train_epochs <= MOST_EPOCHS,
                "a number above 0, 1,000,000 at the most",
                self.num_train_epochs.to_string(),
            ),
            of_count("batch_size", self.batch_size),
            of_count("gradient_accumulation_steps", self.gradient_accumulation_steps),
            (
                "pass_tokens",
                count(pass_tokens),
                "1 to 1,000,000,000, or left out: as many as memory allows",
                pass_tokens.to_string(),
            ),
            ("max_length", self.max_length >= 3, "at least 3", self.max_length.to_string()),
            (
                "max_tokens",
                self.max_tokens == 0 || self.max_tokens >= self.max_length,
                "0, or max_length or more",
                self.max_tokens.to_string(),
            ),
            of_share("warmup_ratio", self.warmup_ratio),
            ("warmup_steps", self.warmup_steps <= MOST, "0 to 1,000,000,000", self.warmup_steps.to_string()),
            (
                "weight_decay",
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "0 or more",
                self.weight_decay.to_string(),
            ),
            of_share("adam_beta1", self.adam_beta1),
            of_share("adam_beta2", self.adam_beta2),
            ("adam_epsilon", self.adam_epsilon > 0.0, "a number above 0", self.adam_epsilon.to_string()),
            ("max_grad_norm", self.max_grad_norm >= 0.0, "0 or more", self.max_grad_norm.to_string()),
            (
                "label_smoothing_factor",
                share(self.label_smoothing_factor.into()),
                SHARE,
                self.label_smoothing_factor.to_string(),
            ),
            of_count("evaluations_per_epoch", self.evaluations_per_epoch),
        ]
        .into_iter()
        .filter(|(_, fine, ..)| !fine)
        .map(|(key, _, expected, found)| format!("train.{key}: expected {expected}, found {found}"))
        .collect()
    }

    /// Optimizer steps in one epoch over `rows` rows, where batches count rows.
    pub fn steps_per_epoch(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows_per_step()).max(1)
    }

    /// Steps in which the learning rate rises, of `steps` in all; a share of them is rounded up, as Transformers'
    /// `TrainingArguments.get_warmup_steps` does.
    pub fn warmup(&self, steps: usize) -> usize {
        match self.warmup_steps {
            0 => (self.warmup_ratio * steps as f64).ceil() as usize,
            stated => stated,
        }
    }

    /// Rows that each optimizer step sees, but for an epoch's last.
    pub fn rows_per_step(&self) -> usize {
        self.batch_size * self.gradient_accumulation_steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_steps_take_the_place_of_the_ratio() {
        let settings = TrainSettings { warmup_ratio: 0.25, ..TrainSettings::default() };
        // math.ceil(num_training_steps * warmup_ratio), worked out by Python.
        for (ratio, steps, expected) in [
            (0.25, 10, 3),
            (0.06, 100, 6),
            (0.06, 101, 7),
            (0.06, 1, 1),
            (0.1, 30, 3),
            (0.07, 100, 8),
            (0.0, 9, 0),
        ] {
            let settings = TrainSettings { warmup_ratio: ratio, ..TrainSettings::default() };
            assert_eq!(settings.warmup(steps), expected, "{ratio} of {steps}");
        }
        assert_eq!(TrainSettings { warmup_steps: 7, ..settings }.warmup(10), 7);
    }
}
