//! Tensors of a file that a model has no use for: harmless, worth a note, or a sign that configuration and weights are of
//! two models.

use super::TaskType;
use super::config::Config;
use super::weights::Loader;
use crate::error::{Error, Result};
use crate::words::{count, list};
use std::collections::BTreeSet;

/// Last parts of names of constants that older versions of Transformers stored, and of a bias that T5's first files have
/// and no version reads.
const CONSTANTS: &[&str] = &[
    "position_ids",
    "token_type_ids",
    "rotary_emb.inv_freq",
    "attn.bias",
    "attn.masked_bias",
    "attention.bias",
    "attention.masked_bias",
    "EncDecAttention.relative_attention_bias.weight",
];

/// First parts of names of heads, each for another task or for pretraining.
const HEADS: &[&str] = &[
    "classification_head",
    "classifier",
    "cls",
    "embed_out",
    "lm_head",
    "pooler",
    "pre_classifier",
    "qa_outputs",
    "score",
    "v_head",
    "vocab_layer_norm",
    "vocab_projector",
    "vocab_transform",
];

/// Keys that say how many layers there are.
const LAYERS: &[&str] = &["num_hidden_layers", "n_layer", "n_layers", "num_layers"];

/// Notes that are named; the others are counted.
const NAMED: usize = 3;

/// Refuses a file with tensors of layers that the configuration does not have or has otherwise, and notes others that
/// nothing uses.
pub(super) fn check(config: &Config, task: TaskType, loader: &Loader) -> Result<Vec<String>> {
    let Some((checkpoint, unused)) = loader.unused() else { return Ok(Vec::new()) };
    let family = config.model_type()?;
    let encodes_alone = family == "t5" && task == TaskType::TokenClassification;
    let harmless = |name: &str| {
        constant(name) || head(name) || duplicate(&family, name) || (encodes_alone && in_decoder(name))
    };
    let unused: Vec<&str> = unused.into_iter().filter(|name| !harmless(name)).collect();
    let (of_layers, others): (Vec<&str>, Vec<&str>) =
        unused.into_iter().partition(|name| layer(name).is_some());
    if let Some(first) = of_layers.first() {
        let known = checkpoint.names().filter(|name| !of_layers.contains(name));
        let expected = expected(config, first, known);
        let found = format!("{} that the model has no use for", count(of_layers.len(), "tensor"));
        return Err(Error::malformed(checkpoint.file(), *first, expected, found));
    }
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let mut named: Vec<String> = others.iter().take(NAMED).map(|name| (*name).to_owned()).collect();
    if others.len() > NAMED {
        named.push(format!("{} more", others.len() - NAMED));
    }
    let file = checkpoint.file().display();
    Ok(vec![format!("{file}: nothing uses {}, which a {family} does not have", list(&named))])
}

/// What the configuration would have to say for the tensor to be of use.
fn expected<'a>(config: &Config, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let stated = |key: &str| Some(format!("{key} = {} in the configuration", config.keys().get(key)?));
    let layers: BTreeSet<(&str, usize)> = known.filter_map(layer).collect();
    let beyond = layer(name).filter(|layer| !layers.contains(layer));
    if beyond.is_some() {
        let decoders = in_decoder(name).then(|| stated("num_decoder_layers")).flatten();
        let key = decoders.or_else(|| LAYERS.iter().find_map(|key| stated(key)));
        let key = key.unwrap_or_else(|| "as the configuration has it".into());
        return format!(
            "no layers but those of the model ({key}); correct the number, or leave the other layers' tensors out"
        );
    }
    let keys = ["attention_bias", "mlp_bias"].into_iter().filter_map(stated);
    let bias = name.ends_with(".bias").then(|| keys.collect::<Vec<_>>().join(", "));
    let said = bias.filter(|said| !said.is_empty()).map_or(String::new(), |said| format!(" ({said})"));
    format!("nothing that the configuration does not provide for{said}; one of both is of another model")
}

fn constant(name: &str) -> bool {
    CONSTANTS.iter().any(|constant| {
        name.strip_suffix(constant).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// Whether a tensor is of a head, below whatever prefix; what a list of layers has inside is none.
fn head(name: &str) -> bool {
    let path = layer(name).map_or(name, |(path, _)| path);
    path.split('.').any(|part| HEADS.contains(&part))
}

/// Whether a tensor is stored a second time.
fn duplicate(family: &str, name: &str) -> bool {
    let name = name.strip_prefix("transformer.").unwrap_or(name);
    family == "t5" && ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"].contains(&name)
}

fn in_decoder(name: &str) -> bool {
    name.split('.').take(2).any(|part| part == "decoder")
}

/// The path before a tensor's first number, and the number: that of a layer in a list.
fn layer(name: &str) -> Option<(&str, usize)> {
    let mut at = 0;
    for part in name.split('.') {
        if let Ok(number) = part.parse() {
            return Some((name[..at].trim_end_matches('.'), number));
        }
        at += part.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::{HostTensor, WEIGHTS, read_tensors, write_tensors};
    use crate::model::{CONFIG, load, load_random};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use tenfold_tensor::{Cpu, Meta};

    const TASK: TaskType = TaskType::CausalLm;

    fn llama() -> Value {
        json!({"model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 2, "vocab_size": 16, "max_position_embeddings": 32, "tie_word_embeddings": true})
    }

    /// A folder with the model of a configuration.
    fn folder(config: &Value, task: TaskType) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), config);
        let model = load_random(&folder.path().join(CONFIG), task, 0, &Cpu::new(), None).unwrap();
        let tensor = |weight: &&crate::model::Weight| {
            let (shape, data) = (weight.tensor.shape().to_vec(), weight.tensor.numbers().unwrap());
            (weight.name.clone(), HostTensor { shape, data })
        };
        let tensors: BTreeMap<_, _> = model.weights().iter().map(tensor).collect();
        write_tensors(&folder.path().join(WEIGHTS), &tensors, &BTreeMap::new()).unwrap();
        folder
    }

    fn write_config(folder: &Path, config: &Value) {
        fs::write(folder.join(CONFIG), config.to_string()).unwrap();
    }

    fn add(folder: &Path, names: &[&str]) {
        let file = folder.join(WEIGHTS);
        let mut tensors = read_tensors(&file).unwrap();
        for name in names {
            tensors.insert((*name).to_owned(), HostTensor { shape: vec![2], data: vec![1.0; 2] });
        }
        write_tensors(&file, &tensors, &BTreeMap::new()).unwrap();
    }

    fn notes(folder: &Path, task: TaskType) -> Result<Vec<String>> {
        Ok(crate::model::ModelFiles::open(folder)?.load(task, &Meta::new(), None)?.notes)
    }

    #[test]
    fn layers_beyond_those_of_the_configuration_are_refused_by_its_key() {
        let folder = folder(&llama(), TASK);
        load(folder.path(), TASK, &Cpu::new(), None).unwrap();
        let mut one = llama();
        one["num_hidden_layers"] = 1.into();
        write_config(folder.path(), &one);
        let error = load(folder.path(), TASK, &Cpu::new(), None).err().unwrap().to_string();
        let expected = "model.layers.1.input_layernorm.weight: expected no layers but those of the model \
                        (num_hidden_layers = 1 in the configuration)";
        assert!(error.contains(expected) && error.contains("found 9 tensors"), "{error}");
    }

    #[test]
    fn biases_that_the_configuration_denies_are_refused() {
        let folder = folder(&llama(), TASK);
        let mut without = llama();
        without["attention_bias"] = false.into();
        write_config(folder.path(), &without);
        add(folder.path(), &["model.layers.0.self_attn.q_proj.bias"]);
        let error = load(folder.path(), TASK, &Cpu::new(), None).err().unwrap().to_string();
        assert!(error.contains("model.layers.0.self_attn.q_proj.bias: expected nothing"), "{error}");
        assert!(error.contains("(attention_bias = false in the configuration)"), "{error}");
    }

    #[test]
    fn constants_heads_and_duplicates_say_nothing_and_others_are_noted() {
        let folder = folder(&llama(), TASK);
        add(
            folder.path(),
            &[
                "model.layers.0.self_attn.rotary_emb.inv_freq",
                "score.weight",
                "v_head.summary.weight",
                "lm_head.bias",
            ],
        );
        assert!(notes(folder.path(), TASK).unwrap().is_empty());
        add(folder.path(), &["extra.a", "extra.b", "extra.c", "extra.d"]);
        let notes = notes(folder.path(), TASK).unwrap();
        assert!(
            notes.len() == 1 && notes[0].contains("nothing uses extra.a, extra.b, extra.c and 1 more"),
            "{notes:?}"
        );
    }

    #[test]
    fn what_a_task_leaves_out_of_a_whole_model_is_no_fault() {
        let t5 = json!({"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2,
            "vocab_size": 16});
        let folder = folder(&t5, TaskType::Seq2SeqLm);
        add(folder.path(), &["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"]);
        for task in [TaskType::Seq2SeqLm, TaskType::SequenceClassification, TaskType::TokenClassification] {
            assert_eq!(notes(folder.path(), task).unwrap(), Vec::<String>::new(), "{task:?}");
        }
        let mut fewer = t5.clone();
        fewer["num_decoder_layers"] = 1.into();
        write_config(folder.path(), &fewer);
        add(folder.path(), &["decoder.block.1.layer.0.layer_norm.weight"]);
        let error = notes(folder.path(), TaskType::Seq2SeqLm).unwrap_err().to_string();
        assert!(error.contains("num_decoder_layers = 1"), "{error}");
    }

    #[test]
    fn a_configuration_that_ties_nothing_needs_a_table_of_its_own() {
        let mut untied = llama();
        untied.as_object_mut().unwrap().remove("tie_word_embeddings");
        let folder = folder(&llama(), TASK);
        write_config(folder.path(), &untied);
        let error = load(folder.path(), TASK, &Cpu::new(), None).err().unwrap().to_string();
        assert!(error.contains("lm_head.weight"), "{error}");
    }
}
