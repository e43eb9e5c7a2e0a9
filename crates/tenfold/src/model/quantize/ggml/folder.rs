//! A Hugging Face folder in ggml's words: Llama, Mistral, Qwen 2 and 3, BERT.
//!
//! Keys come from the plan that the model itself is built by, so that a family's defaults stand in one place; what the
//! plan has and ggml's architecture has not is refused.

use super::tensor::Planned;
use super::{Change, Content, Kept, Target};
use crate::error::{Error, Result};
use crate::model::checkpoint::{Checkpoint, Dtype, View};
use crate::model::config::Config;
use crate::model::decoder::{self, FeedForward, Projections, Stretch};
use crate::model::ggml::{self, Layout};
use crate::model::gguf::{GgmlType, Value};
use crate::model::tokenizer;
use crate::model::{CONFIG, ModelFiles, TaskType, config, encoder};
use crate::progress::{Event, Progress};
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tenfold_tensor::{Activation, Meta};

/// What the model in a folder becomes.
pub(super) fn content(files: &ModelFiles, target: Target, progress: &dyn Progress) -> Result<Content> {
    let (dir, config) = (files.dir(), files.config()?);
    let family = config.model_type()?;
    let described = match family.as_str() {
        "bert" => Described::bert(dir, &config)?,
        _ => match decoder::plan_of_house(&config)? {
            Some(plan) => Described::decoder(&config, &plan)?,
            None => {
                return Err(Error::Unsupported {
                    what: format!("{}: the family {family} as a GGUF file", config.file().display()),
                    why: "llama, mistral, qwen2, qwen3 and bert are written; write to a folder instead"
                        .into(),
                });
            }
        },
    };
    // Reads no numbers, but every name and shape.
    files.load(described.task, &Meta::new(), None)?;
    let mut metadata = tokenizer::to_ggml(files.folder(), described.vocab_size)?;
    let named = dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    metadata.extend(named.map(|name| ("general.name".to_owned(), Value::String(name))));
    metadata.extend(target.metadata());
    let tensors = described.tensors(&*files.checkpoint()?, target, progress)?;
    metadata.extend(described.keys);
    Ok(Content { source: dir.to_owned(), metadata, tensors })
}

/// What ggml is told beside the weights.
struct Described {
    architecture: &'static str,
    keys: BTreeMap<String, Value>,
    task: TaskType,
    blocks: usize,
    vocab_size: usize,
    /// Heads of queries and of keys.
    heads: [usize; 2],
    /// Whether the output is the table of word embeddings.
    tied: bool,
    /// Divisors of the rotary frequencies, where each has its own.
    divisors: Option<Vec<f32>>,
}

/// Keys below an architecture's name.
struct Keys {
    architecture: &'static str,
    keys: BTreeMap<String, Value>,
}

impl Keys {
    fn new(architecture: &'static str) -> Keys {
        let general = [("general.architecture", architecture), ("general.type", "model")];
        let keys = general.map(|(key, value)| (key.to_owned(), Value::String(value.to_owned())));
        Keys { architecture, keys: keys.into() }
    }

    fn put(&mut self, key: &str, value: Value) {
        self.keys.insert(format!("{}.{key}", self.architecture), value);
    }

    fn extents(&mut self, extents: &[(&str, usize)]) {
        for (key, extent) in extents {
            // A configuration's extents are below a million.
            self.put(key, Value::U32(*extent as u32));
        }
    }
}

impl Described {
    fn decoder(config: &Config, plan: &decoder::Plan) -> Result<Described> {
        let architecture = if plan.family == "mistral" { "llama" } else { plan.family };
        check(config, plan, architecture)?;
        let mut keys = Keys::new(architecture);
        keys.extents(&[
            ("vocab_size", plan.vocab_size),
            ("context_length", plan.max_positions),
            ("embedding_length", plan.hidden_size),
            ("block_count", plan.layers.len()),
            ("feed_forward_length", plan.intermediate_size),
            ("attention.head_count", plan.heads),
            ("attention.head_count_kv", plan.kv_heads),
            ("attention.key_length", plan.head_dim),
            ("attention.value_length", plan.head_dim),
            ("rope.dimension_count", plan.head_dim),
        ]);
        keys.put("attention.layer_norm_rms_epsilon", Value::F32(plan.eps));
        let divisors = rope(config, plan, &mut keys)?;
        Ok(Described {
            architecture,
            keys: keys.keys,
            task: TaskType::CausalLm,
            blocks: plan.layers.len(),
            vocab_size: plan.vocab_size,
            heads: [plan.heads, plan.kv_heads],
            tied: config.or("tie_word_embeddings", false)?,
            divisors,
        })
    }

    fn bert(dir: &Path, config: &Config) -> Result<Described> {
        let plan = encoder::plan_of_bert(config)?;
        config.refuse_unless(
            plan.activation == Activation::Gelu,
            "hidden_act",
            "\"gelu\", as ggml's bert has it",
        )?;
        let mut keys = Keys::new("bert");
        keys.extents(&[
            ("vocab_size", plan.vocab_size),
            ("context_length", plan.positions),
            ("embedding_length", plan.hidden_size),
            ("block_count", plan.num_layers),
            ("feed_forward_length", plan.intermediate_size),
            ("attention.head_count", plan.heads),
        ]);
        keys.put("attention.layer_norm_epsilon", Value::F32(plan.eps));
        keys.put("attention.causal", Value::Bool(false));
        keys.put("pooling_type", Value::U32(pooling(dir)?));
        keys.keys.insert("tokenizer.ggml.token_type_count".into(), Value::U32(plan.token_types as u32));
        Ok(Described {
            architecture: "bert",
            keys: keys.keys,
            // The classification of tokens can do without a pooler.
            task: TaskType::TokenClassification,
            blocks: plan.num_layers,
            vocab_size: plan.vocab_size,
            heads: [plan.heads; 2],
            tied: false,
            divisors: None,
        })
    }

    /// The tensors by ggml's names.
    fn tensors(
        &self,
        checkpoint: &Checkpoint,
        target: Target,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, Planned>> {
        let mut seen = BTreeSet::new();
        let mut tensors = BTreeMap::new();
        for (theirs, ours) in ggml::tensors(self.architecture, self.blocks) {
            let Some((stored, view)) = checkpoint.find(&ours) else { continue };
            seen.insert(stored);
            if self.tied && theirs == "output.weight" {
                continue;
            }
            let change = target.change(&theirs, &view.shape, view.dtype);
            let format = if let Change::Kept(_) = change { GgmlType::F32 } else { target.ggml };
            let layout = Layout::of(self.architecture, &theirs, self.heads);
            tensors.insert(theirs, Planned { view: view.clone(), layout, format, change });
        }
        self.account_for(checkpoint, checkpoint.names().filter(|name| !seen.contains(name)), progress)?;
        if let Some(divisors) = &self.divisors {
            let bytes = divisors.iter().flat_map(|divisor| divisor.to_le_bytes()).collect();
            let view = View::of(Dtype::F32, vec![divisors.len()], bytes);
            let change = Change::Kept(Kept::Vector);
            tensors.insert(
                ggml::FACTORS.into(),
                Planned { view, layout: Layout::Same, format: GgmlType::F32, change },
            );
        }
        Ok(tensors)
    }

    /// Says what is left out, and refuses what the model needs.
    fn account_for<'a>(
        &self,
        checkpoint: &Checkpoint,
        left: impl Iterator<Item = &'a str>,
        progress: &dyn Progress,
    ) -> Result<()> {
        for name in left {
            // Constants that older versions of Transformers stored.
            if name.ends_with("position_ids") || name.ends_with("rotary_emb.inv_freq") {
                continue;
            }
            if self.architecture == "bert" && name.starts_with("cls.") {
                progress.event(Event::Note(format!(
                    "{name} is left out: ggml's bert has no head for pretraining"
                )));
                continue;
            }
            return Err(Error::Unsupported {
                what: format!("{}: {name} in a GGUF file", checkpoint.file().display()),
                why: format!("ggml's architecture {} has no place for it", self.architecture),
            });
        }
        Ok(())
    }
}

/// Refuses what the plan computes and ggml's architecture does not.
fn check(config: &Config, plan: &decoder::Plan, architecture: &str) -> Result<()> {
    let silu = plan.activation == Activation::Silu;
    config.refuse_unless(silu, "hidden_act", &format!("\"silu\", as ggml's {architecture} has it"))?;
    if let Some(window) = plan
        .layers
        .iter()
        .filter_map(|layer| layer.window)
        .min()
        .filter(|window| *window < plan.max_positions)
    {
        return Err(Error::Unsupported {
            what: format!("{}: sliding_window {window} in a GGUF file", config.file().display()),
            why: format!(
                "ggml's {architecture} sees all tokens; a max_position_embeddings of at most {window} would mean the same"
            ),
        });
    }
    let biased = matches!(plan.projections, Projections::Separate { bias: true });
    config.refuse_unless(
        !(biased && architecture == "qwen3"),
        "attention_bias",
        "false, as ggml's qwen3 has it",
    )?;
    let biased = matches!(plan.feed_forward, FeedForward::Gated { bias: true });
    config.refuse_unless(!biased || architecture == "llama", "mlp_bias", "false")
}

/// The keys of the rotary positions, and the divisors of their frequencies where each has its own.
fn rope(config: &Config, plan: &decoder::Plan, keys: &mut Keys) -> Result<Option<Vec<f32>>> {
    let [rope] = plan.ropes.as_slice() else {
        return Err(config.fault("rope_parameters", "one for all layers", plan.ropes.len()));
    };
    let refuse = |what: &str| Error::Unsupported {
        what: format!("{}: {what} in a GGUF file", config.file().display()),
        why: "rope_type default, linear, yarn with its usual settings, and llama3 are written".into(),
    };
    if rope.rotated != plan.head_dim {
        return Err(refuse("a partial_rotary_factor below 1"));
    }
    keys.put("rope.freq_base", Value::F32(rope.theta as f32));
    let mut scaling = |kind: &str, factor: f64| {
        keys.put("rope.scaling.type", Value::String(kind.into()));
        keys.put("rope.scaling.factor", Value::F32(factor as f32));
    };
    match &rope.stretch {
        Stretch::None => Ok(None),
        Stretch::Linear { factor } => {
            scaling("linear", *factor);
            Ok(None)
        }
        Stretch::Yarn { factor, original, fast, slow, truncate, attention } => {
            let usual = if *factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
            if (*fast, *slow, *truncate) != (32.0, 1.0, true) || (attention - usual).abs() > 1e-6 {
                return Err(refuse("yarn with settings of its own"));
            }
            scaling("yarn", *factor);
            keys.put("rope.scaling.original_context_length", Value::U32(*original as u32));
            Ok(None)
        }
        Stretch::Llama3 { .. } => Ok(Some(rope.divisors())),
        Stretch::Long { short, long, attention, .. } if short == long && *attention == 1.0 => {
            Ok(Some(rope.divisors()))
        }
        Stretch::Long { .. } => Err(refuse("longrope")),
        Stretch::Dynamic { .. } => Err(refuse("the rope_type dynamic")),
    }
}

/// llama.cpp's number of how Sentence Transformers makes one vector of a text; 0 where nothing is said.
fn pooling(dir: &Path) -> Result<u32> {
    let file = dir.join("1_Pooling").join(CONFIG);
    let settings = if file.is_file() { config::object_of(&file)? } else { Map::new() };
    let on = |key: &str| settings.get(key).and_then(serde_json::Value::as_bool).unwrap_or_default();
    let known =
        [("pooling_mode_mean_tokens", 1), ("pooling_mode_cls_token", 2), ("pooling_mode_lasttoken", 3)];
    Ok(known.into_iter().find(|(key, _)| on(key)).map_or(0, |(_, number)| number))
}
