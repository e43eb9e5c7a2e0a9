//! Names that other programs have for what a study says: those of Hugging Face's Trainer and PEFT, LLaMA-Factory, Unsloth
//! and Axolotl, and the words that people use. They are hints in error messages alone; no alias is accepted.

use super::config::{Probing, Search, SmallData, Study};
use crate::train::TrainSettings;
use serde::Serialize;
use serde_json::Value;

/// Where a study says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// This key of the study.
    Key(&'static str),
    /// The learning rate of a method.
    Rate,
    /// This setting of a method.
    Setting(&'static str),
    /// Somewhere else, in these words.
    Words(&'static str),
}

use Place::{Key, Rate, Setting, Words};

const ALIASES: &[(&[&str], Place)] = &[
    (
        &["epochs", "epoch", "num_epochs", "n_epochs", "max_epochs", "train_epochs"],
        Key("train.num_train_epochs"),
    ),
    (&["steps", "max_train_steps", "num_steps", "total_steps"], Key("train.max_steps")),
    (&["lr", "learning_rate", "rate", "peak_lr", "max_lr"], Rate),
    (
        &[
            "per_device_train_batch_size",
            "per_gpu_train_batch_size",
            "train_batch_size",
            "micro_batch_size",
            "batch",
        ],
        Key("train.batch_size"),
    ),
    (
        &[
            "gradient_accumulation",
            "grad_accum",
            "grad_accumulation_steps",
            "accumulation_steps",
            "accumulate_grad_batches",
        ],
        Key("train.gradient_accumulation_steps"),
    ),
    (
        &[
            "max_seq_length",
            "max_seq_len",
            "max_sequence_length",
            "sequence_len",
            "seq_len",
            "cutoff_len",
            "block_size",
            "model_max_length",
            "context_length",
        ],
        Key("train.max_length"),
    ),
    (&["warmup", "num_warmup_steps"], Key("train.warmup_steps")),
    (&["warmup_proportion", "warmup_fraction"], Key("train.warmup_ratio")),
    (&["scheduler", "lr_scheduler", "schedule", "lr_schedule"], Key("train.lr_scheduler_type")),
    (&["grad_clip", "gradient_clipping", "max_norm", "clip_grad_norm"], Key("train.max_grad_norm")),
    (&["wd", "decay"], Key("train.weight_decay")),
    (&["beta1"], Key("train.adam_beta1")),
    (&["beta2"], Key("train.adam_beta2")),
    (&["eps", "epsilon", "adam_eps"], Key("train.adam_epsilon")),
    (&["label_smoothing"], Key("train.label_smoothing_factor")),
    (&["use_gradient_checkpointing", "activation_checkpointing"], Key("train.gradient_checkpointing")),
    (&["patience", "early_stopping"], Key("train.early_stopping_patience")),
    (
        &["train_on_responses_only", "train_on_inputs", "mask_prompt", "completion_only_loss"],
        Key("train.train_on"),
    ),
    (&["seed", "random_seed", "random_state"], Key("seeds")),
    (
        &["model_name_or_path", "base_model", "base_model_name_or_path", "model_id", "pretrained_model"],
        Key("model"),
    ),
    (&["dataset", "dataset_name", "data", "train_file", "data_path"], Key("task")),
    (&["max_samples", "max_train_samples", "num_train_samples", "limit"], Key("train_rows")),
    (&["max_eval_samples"], Key("validation_rows")),
    (&["max_predict_samples", "max_test_samples"], Key("test_rows")),
    (
        &[
            "quantization",
            "quantization_bit",
            "load_in_4bit",
            "load_in_8bit",
            "dtype",
            "torch_dtype",
            "bf16",
            "fp16",
        ],
        Key("weights"),
    ),
    (&["num_workers", "jobs", "n_jobs"], Key("workers")),
    (&["trials", "n_trials", "num_trials"], Key("search.candidates")),
    (&["rank", "lora_rank", "lora_r", "lora_dim"], Setting("r")),
    (&["alpha", "lora_alpha"], Setting("lora_alpha")),
    (&["dropout", "lora_dropout"], Setting("lora_dropout")),
    (&["lora_target", "lora_target_modules", "target", "targets", "modules"], Setting("target_modules")),
    (&["rslora"], Setting("use_rslora")),
    (
        &["virtual_tokens", "prompt_length", "prefix_length", "pre_seq_len", "num_tokens"],
        Setting("num_virtual_tokens"),
    ),
    (&["hidden_size", "prefix_hidden_size"], Setting("encoder_hidden_size")),
    (&["output_dir", "out", "out_dir"], Words("the run's folder is the option --out")),
    (
        &["finetuning_type", "method", "peft_type", "adapter"],
        Words("every method is a table, such as [methods.lora]"),
    ),
    (
        &["optim", "optimizer"],
        Words(
            "every method is trained with AdamW; its settings are train.adam_beta1, train.adam_beta2, train.adam_epsilon and train.weight_decay",
        ),
    ),
];

/// What was most likely meant by a key of the study that does not exist; `section` is empty, or ends in a dot: "train.".
pub(super) fn of_study(section: &str, key: &str) -> Option<String> {
    let Some(place) = place(key) else {
        return elsewhere(key).filter(|path| *path != format!("{section}{key}")).map(|path| meant(&path));
    };
    Some(match place {
        Key(path) => meant(path),
        Rate => meant("methods.<method>.learning_rate"),
        Setting(name) => meant(&format!("methods.<method>.{name}")),
        Words(words) => words.to_owned(),
    })
}

/// What was most likely meant by a setting that a method does not have; `settings` are those that it has.
pub(super) fn of_method(settings: &[&str], key: &str) -> Option<String> {
    match place(key) {
        Some(Setting(name)) if settings.contains(&name) => return Some(meant(name)),
        Some(Rate) => return Some(meant("learning_rate")),
        Some(Key(path)) => return Some(meant(path)),
        _ => {}
    }
    elsewhere(key).map(|path| meant(&path))
}

fn meant(path: &str) -> String {
    format!("did you mean \"{path}\"?")
}

fn place(key: &str) -> Option<Place> {
    let key = key.to_lowercase().replace('-', "_");
    ALIASES.iter().find(|(names, _)| names.contains(&key.as_str())).map(|(_, place)| *place)
}

/// The key of this name in whichever table of a study has one.
fn elsewhere(key: &str) -> Option<String> {
    fn has(table: impl Serialize, key: &str) -> bool {
        serde_json::to_value(table)
            .is_ok_and(|table| matches!(&table, Value::Object(keys) if keys.contains_key(key)))
    }
    let found = |section: &str, has: bool| has.then(|| format!("{section}{key}"));
    found("train.", has(TrainSettings::default(), key))
        .or_else(|| found("", has(Study::default(), key)))
        .or_else(|| found("search.", has(Search::default(), key)))
        .or_else(|| found("small_data.", has(SmallData::default(), key)))
        .or_else(|| found("probe.", has(Probing::default(), key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::METHODS;

    #[test]
    fn every_alias_leads_to_something_that_there_is_and_none_hides_a_key_of_a_study() {
        for (names, place) in ALIASES {
            match place {
                Key(path) => {
                    let (_, key) = path.rsplit_once('.').unwrap_or(("", path));
                    assert_eq!(elsewhere(key).as_deref(), Some(*path));
                    // Words that small_data or probe have as well are meant for training.
                    let own = |name: &str| elsewhere(name).filter(|path| !path.contains('.'));
                    assert!(names.iter().all(|name| own(name).is_none()), "{names:?}");
                }
                Setting(name) => assert!(
                    METHODS.iter().any(|method| method.settings.iter().any(|(known, _)| known == name)),
                    "{name}"
                ),
                Rate | Words(_) => {}
            }
        }
    }

    #[test]
    fn an_alias_and_a_key_of_another_table_are_hints() {
        assert_eq!(of_study("", "batch_size").as_deref(), Some("did you mean \"train.batch_size\"?"));
        assert_eq!(of_study("train.", "seeds").as_deref(), Some("did you mean \"seeds\"?"));
        assert_eq!(
            of_study("train.", "learning-rate").as_deref(),
            Some("did you mean \"methods.<method>.learning_rate\"?")
        );
        assert_eq!(of_method(&["r"], "lora_rank").as_deref(), Some("did you mean \"r\"?"));
        assert_eq!(of_method(&[], "epochs").as_deref(), Some("did you mean \"train.num_train_epochs\"?"));
        assert_eq!(of_method(&["r"], "beauty"), None);
    }
}
