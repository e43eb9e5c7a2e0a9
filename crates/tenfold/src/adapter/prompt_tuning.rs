//! Prompt tuning: trained virtual tokens before every sequence.
//!
//! `embeddings = [P; words]`, P \[num_virtual_tokens, hidden\].
//! Paper: Lester et al. 2021, arXiv:2104.08691. Parameters: num_virtual_tokens · hidden. Not the
//! identity at step 0; not mergeable. P starts normal (PEFT's "RANDOM"), at words drawn from the
//! vocabulary ("SAMPLE_VOCAB", which the paper found better), or at the words of a text ("TEXT").
//! As in PEFT the head sees the first token of the longer sequence, which is a virtual one.

use super::settings::{ANY, Allowed};
use super::virtual_tokens::{self, KEY};
use super::{Adapter, Context, Method, refuse, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tenfold_tensor::{Param, Tensor, random};

pub(super) const METHOD: Method = Method {
    name: "prompt_tuning",
    title: "Prompt tuning",
    summary: "trained virtual tokens before every sequence",
    source: "Lester et al. 2021, arXiv:2104.08691",
    peft_type: Some("PROMPT_TUNING"),
    mergeable: false,
    learning_rates: &[3e-3, 1e-2, 3e-2, 1e-1],
    harmless: &[],
    settings: &[
        ("num_virtual_tokens", Allowed::Whole(1, ANY)),
        ("prompt_tuning_init", Allowed::Word(&["RANDOM", "SAMPLE_VOCAB", "TEXT"])),
        ("prompt_tuning_init_text", Allowed::Text),
        ("tokenizer_name_or_path", Allowed::Text),
    ],
    defaults: || to_value(&PromptTuning::default()),
    build: |settings, context| Ok(Box::new(Prompt::new(settings, context)?)),
};

/// Settings, under PEFT's names. PEFT has no default for `num_virtual_tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PromptTuning {
    num_virtual_tokens: usize,
    prompt_tuning_init: Start,
    prompt_tuning_init_text: Option<String>,
    tokenizer_name_or_path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Start {
    Random,
    SampleVocab,
    Text,
}

impl Default for PromptTuning {
    fn default() -> PromptTuning {
        PromptTuning {
            num_virtual_tokens: 20,
            prompt_tuning_init: Start::Random,
            prompt_tuning_init_text: None,
            tokenizer_name_or_path: None,
        }
    }
}

struct Prompt {
    settings: PromptTuning,
    keys: Map<String, Value>,
    prompt: Param,
}

impl Prompt {
    fn new(value: &Value, context: &Context) -> Result<Prompt> {
        let settings: PromptTuning = settings(&METHOD, value)?;
        let tokens = virtual_tokens::check_count(&METHOD, context.model, settings.num_virtual_tokens)?;
        let extents = context.model.extents();
        let tokens = tokens * extents.num_submodules;
        let shape = [tokens, extents.hidden_size];
        let prompt = match settings.prompt_tuning_init {
            Start::Random => context.normal(KEY, &shape, 1.0)?,
            Start::SampleVocab => at_words(context, &shape, &sample(context, tokens))?,
            Start::Text => at_words(context, &shape, &words_of(&settings, context)?)?,
        };
        Ok(Prompt { settings, keys: virtual_tokens::config_keys(context.model), prompt })
    }
}

fn sample(context: &Context, tokens: usize) -> Vec<u32> {
    let order =
        random::permutation(context.key("prompt_embeddings.vocabulary"), context.model.extents().vocab_size);
    order.into_iter().take(tokens).map(|id| id as u32).collect()
}

fn words_of(settings: &PromptTuning, context: &Context) -> Result<Vec<u32>> {
    let key = "prompt_tuning_init_text";
    let expected = "a text of at least one word, with prompt_tuning_init = \"TEXT\"";
    let Some(text) = &settings.prompt_tuning_init_text else {
        return Err(refuse(&METHOD, key, expected, "nothing"));
    };
    let ids = (context.tokenize)(text)?;
    if ids.is_empty() {
        return Err(refuse(&METHOD, key, expected, format!("\"{text}\"")));
    }
    Ok(ids)
}

/// The embeddings of words, repeated until the prompt is full.
fn at_words(context: &Context, shape: &[usize], ids: &[u32]) -> Result<Param> {
    let ids: Vec<u32> = ids.iter().copied().cycle().take(shape[0]).collect();
    let numbers = context.model.word_embeddings().tensor.select_rows(&ids)?.numbers()?;
    Ok(Param::new(context.backend, KEY, shape, numbers)?)
}

impl Hooks for Prompt {
    fn prompt(&self, _forward: &Forward) -> Result<Option<Tensor>> {
        virtual_tokens::first(self.prompt.tensor(), self.settings.num_virtual_tokens).map(Some)
    }
}

impl Adapter for Prompt {
    fn parameters(&self) -> Vec<Param> {
        vec![self.prompt.clone()]
    }

    fn config(&self) -> Result<Map<String, Value>> {
        Ok(to_map(&self.settings).into_iter().chain(self.keys.clone()).collect())
    }

    fn key(&self, weight: &str) -> String {
        format!("base_model.{weight}")
    }
}
