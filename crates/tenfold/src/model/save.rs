//! A whole model with other numbers than its files have, as the Hugging Face folder of one of Transformers' task classes:
//! config.json, safetensors, the settings of generation. Every number is f32, as it was trained and judged.

use super::beside::{copy_generation, special};
use super::checkpoint::{Dtype, Entry, INDEX, TensorFile, WEIGHTS};
use super::config::Config;
use super::source::{Random, Source};
use super::weights::Loader;
use super::{CONFIG, Model, ModelFiles, TaskType, family};
use crate::atomic;
use crate::error::{Error, Result};
use crate::progress::{Event, Job, Progress};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tenfold_tensor::Meta;

/// The bytes of tensors that one file holds at most, if each fits.
const LARGEST_FILE: usize = 5_000_000_000;

/// What Transformers calls the classes of a family: `<stem>ForSequenceClassification`.
const STEMS: &[(&str, &str)] = &[
    ("bert", "Bert"),
    ("distilbert", "DistilBert"),
    ("gemma", "Gemma"),
    ("gemma2", "Gemma2"),
    ("gemma3_text", "Gemma3"),
    ("gpt2", "GPT2"),
    ("gpt_neox", "GPTNeoX"),
    ("llama", "Llama"),
    ("mistral", "Mistral"),
    ("mpnet", "MPNet"),
    ("phi3", "Phi3"),
    ("qwen2", "Qwen2"),
    ("qwen3", "Qwen3"),
    ("roberta", "Roberta"),
    ("smollm3", "SmolLM3"),
    ("t5", "T5"),
];

/// What is written.
pub(crate) struct Whole<'a> {
    /// The model, for the names of its weights.
    pub model: &'a dyn Model,
    /// Its files.
    pub files: &'a ModelFiles,
    /// Names and shapes of the head's weights.
    pub head: Vec<(String, Vec<usize>)>,
    /// What the outputs of a classifier's head are called; none of a head that foretells a number.
    pub labels: Vec<String>,
}

/// A tensor as it is written.
struct Part {
    name: String,
    shape: Vec<usize>,
    /// Whether rows become columns on the way: bitsandbytes keeps a Conv1D as a linear map.
    turned: bool,
}

impl Part {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }

    fn entry(&self) -> Entry {
        Entry { name: self.name.clone(), dtype: Dtype::F32, shape: self.shape.clone() }
    }
}

/// Writes the model into `folder`. `numbers` gives those of each tensor by its name, which are asked for one at a time.
pub(crate) fn write(
    folder: &Path,
    whole: &Whole,
    numbers: &mut dyn FnMut(&str) -> Result<Vec<f32>>,
    progress: &dyn Progress,
) -> Result<()> {
    let config = whole.files.config()?;
    let parts = parts(whole, &config)?;
    let mut keys = config_keys(whole, &config)?;
    if let Some(gguf) = whole.files.gguf()? {
        for (name, _, id) in special(gguf.metadata())? {
            if ["bos_token", "eos_token", "pad_token"].contains(&name) {
                keys.insert(format!("{name}_id"), id.into());
            }
        }
    }
    write_weights(folder, &parts, numbers, progress)?;
    put(folder, CONFIG, &Value::Object(keys))?;
    if whole.model.task().is_language_modelling() { copy_generation(whole.files, folder) } else { Ok(()) }
}

/// All weights of the model and its head, in the order of their names.
fn parts(whole: &Whole, config: &Config) -> Result<Vec<Part>> {
    let (source, backend) = (Source::Random(Random::new(config, 0)?), Meta::new());
    let loader = Loader::new(&source, &backend, None);
    // As Transformers has the model, whatever a file makes of its linear maps.
    let usual = (family(config)?.load)(config, whole.model.task(), &loader)?;
    let usual: BTreeMap<&str, bool> =
        usual.linears().into_iter().map(|l| (l.weight.name.as_str(), l.site.fan_in_fan_out)).collect();
    let linears = whole.model.linears();
    let here: BTreeMap<&str, bool> =
        linears.iter().map(|l| (l.weight.name.as_str(), l.site.fan_in_fan_out)).collect();
    let own = whole.model.weights().into_iter().map(|weight| {
        let name = weight.name.as_str();
        let turned = usual.get(name).zip(here.get(name)).is_some_and(|(usual, here)| usual != here);
        let mut shape = weight.tensor.shape().to_vec();
        if turned {
            shape.reverse();
        }
        Part { name: name.to_owned(), shape, turned }
    });
    let head = whole.head.iter().map(|(name, shape)| Part {
        name: name.clone(),
        shape: shape.clone(),
        turned: false,
    });
    let mut parts: Vec<Part> = own.chain(head).collect();
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

/// The keys of config.json.
fn config_keys(whole: &Whole, config: &Config) -> Result<Map<String, Value>> {
    let task = whole.model.task();
    let mut keys = config.keys().clone();
    for key in ["quantization_config", "auto_map"] {
        keys.remove(key);
    }
    let class = class(whole.model.family(), task).ok_or_else(|| Error::Unsupported {
        what: format!("writing a model of the family {} for {}", whole.model.family(), task.name()),
        why: "Transformers has no class for it".into(),
    })?;
    keys.insert("architectures".into(), json!([class]));
    // The second is what versions before 4.56 look for.
    for key in ["dtype", "torch_dtype"] {
        keys.insert(key.into(), "float32".into());
    }
    // Versions before 5 look for it here.
    if let Some(base) = keys.get("rope_parameters").and_then(|rope| rope.get("rope_theta")).cloned() {
        keys.insert("rope_theta".into(), base);
    }
    if let (Some(vocabulary), TaskType::CausalLm) = (whole.model.vocabulary(), task) {
        let tied = vocabulary.weight.name == whole.model.word_embeddings().name;
        keys.insert("tie_word_embeddings".into(), tied.into());
    }
    if task == TaskType::SequenceClassification {
        let is_number = whole.labels.len() < 2;
        let kind = if is_number { "regression" } else { "single_label_classification" };
        let labels: Vec<&str> =
            if is_number { vec!["LABEL_0"] } else { whole.labels.iter().map(String::as_str).collect() };
        let numbered = || labels.iter().enumerate();
        keys.insert(
            "id2label".into(),
            numbered().map(|(id, label)| (id.to_string(), json!(label))).collect(),
        );
        keys.insert(
            "label2id".into(),
            numbered().map(|(id, label)| ((*label).to_owned(), json!(id))).collect(),
        );
        keys.insert("num_labels".into(), labels.len().into());
        keys.insert("problem_type".into(), kind.into());
    }
    Ok(keys)
}

/// The name of Transformers' class; `None` where it has none that we know of.
fn class(family: &str, task: TaskType) -> Option<String> {
    let (_, stem) = STEMS.iter().find(|(known, _)| *known == family)?;
    let end = match (family, task) {
        ("gpt2", TaskType::CausalLm) => "LMHeadModel",
        ("gemma3_text", TaskType::SequenceClassification) => "TextForSequenceClassification",
        (_, TaskType::SequenceClassification) => "ForSequenceClassification",
        (_, TaskType::TokenClassification) => "ForTokenClassification",
        (_, TaskType::QuestionAnswering) => "ForQuestionAnswering",
        (_, TaskType::CausalLm) => "ForCausalLM",
        (_, TaskType::Seq2SeqLm) => "ForConditionalGeneration",
    };
    Some(format!("{stem}{end}"))
}

/// All tensors, in one file or several.
fn write_weights(
    folder: &Path,
    parts: &[Part],
    numbers: &mut dyn FnMut(&str) -> Result<Vec<f32>>,
    progress: &dyn Progress,
) -> Result<()> {
    let total = parts.iter().map(Part::bytes).sum::<usize>();
    let (job, title) = (Job::new(), "writing the whole model".to_owned());
    progress.event(Event::Started { job, title, unit: "bytes", total: Some(total as u64) });
    let files = files(parts);
    let (mut done, mut index) = (0, Map::new());
    for (number, parts) in files.iter().enumerate() {
        let file_name = match files.len() {
            1 => WEIGHTS.to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        index.extend(parts.iter().map(|part| (part.name.clone(), json!(file_name))));
        let mut file = TensorFile::create(&folder.join(&file_name), parts.iter().map(Part::entry).collect())?;
        for part in *parts {
            if progress.stop_requested() {
                return Err(Error::Interrupted);
            }
            let mut values = numbers(&part.name)?;
            if part.turned {
                // As it is here, a row has as many numbers as the written tensor has rows.
                values = turn(&values, part.shape[0]);
            }
            let bytes: Vec<u8> = values.iter().flat_map(|number| number.to_le_bytes()).collect();
            file.put(&part.name, &bytes)?;
            done += bytes.len();
            progress.event(Event::Advanced { job, done: done as u64, note: part.name.clone() });
        }
        file.finish()?;
    }
    if files.len() > 1 {
        put(folder, INDEX, &json!({"metadata": {"total_size": total}, "weight_map": index}))?;
    }
    progress.event(Event::Finished { job, note: String::new() });
    Ok(())
}

/// The tensors of each file, in order: a file ends before the tensor that would make it too large.
fn files(parts: &[Part]) -> Vec<&[Part]> {
    let (mut files, mut start, mut size) = (Vec::new(), 0, 0);
    for (place, part) in parts.iter().enumerate() {
        if size > 0 && size + part.bytes() > LARGEST_FILE {
            files.push(&parts[start..place]);
            (start, size) = (place, 0);
        }
        size += part.bytes();
    }
    files.push(&parts[start..]);
    files
}

/// Rows of `cols` numbers become columns.
fn turn(numbers: &[f32], cols: usize) -> Vec<f32> {
    let rows = numbers.len() / cols.max(1);
    (0..cols).flat_map(|col| (0..rows).map(move |row| numbers[row * cols + col])).collect()
}

fn put(folder: &Path, name: &str, content: &Value) -> Result<()> {
    atomic::write(&folder.join(name), format!("{content:#}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FAMILIES;

    #[test]
    fn transformers_has_a_class_for_what_every_family_is_used_for() {
        for family in FAMILIES.iter().copied().flatten() {
            assert!(class(family.name, family.task).is_some(), "{}", family.name);
        }
        assert_eq!(class("gpt2", TaskType::CausalLm).as_deref(), Some("GPT2LMHeadModel"));
        assert_eq!(class("t5", TaskType::Seq2SeqLm).as_deref(), Some("T5ForConditionalGeneration"));
    }
}
