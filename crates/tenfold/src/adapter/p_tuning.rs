//! P-tuning: virtual tokens that a small network makes out of trained embeddings.
//!
//! `embeddings = [MLP(E); words]`, MLP = Linear, ReLU, Linear, ReLU, Linear.
//! Paper: Liu et al. 2021, arXiv:2103.10385 (there with an LSTM, and virtual tokens anywhere in the
//! text; PEFT recommends the MLP and puts them first, so do we). Parameters: tokens · hidden and the
//! MLP. Not the identity at step 0; not mergeable. Starts as torch starts its modules. The file
//! holds the network's output alone, so a loaded adapter has no network any more.

use super::prompt_tuning::{NAME, check_virtual_tokens, virtual_token_keys};
use super::{Adapter, Context, Method, NamedTensor, refuse, settings, take, to_map, to_value};
use crate::error::Result;
use crate::model::Forward;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Activation, Backend, Param, Tensor, without_gradients};

pub(super) const METHOD: Method = Method {
    name: "p_tuning",
    title: "P-tuning",
    summary: "virtual tokens out of a small trained network",
    source: "Liu et al. 2021, arXiv:2103.10385",
    peft_type: Some("P_TUNING"),
    mergeable: false,
    learning_rates: &[3e-4, 1e-3, 3e-3, 5e-3],
    harmless: &[],
    defaults: || to_value(&PTuning::default()),
    build: |settings, context| Ok(Box::new(PromptEncoder::new(settings, context)?)),
};

/// Settings, under PEFT's names. PEFT has no default for the first two.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PTuning {
    num_virtual_tokens: usize,
    encoder_hidden_size: usize,
    encoder_reparameterization_type: String,
    /// PEFT ignores both for the MLP.
    encoder_num_layers: usize,
    encoder_dropout: f64,
}

impl Default for PTuning {
    fn default() -> PTuning {
        PTuning {
            num_virtual_tokens: 20,
            encoder_hidden_size: 128,
            encoder_reparameterization_type: "MLP".into(),
            encoder_num_layers: 2,
            encoder_dropout: 0.0,
        }
    }
}

struct PromptEncoder {
    settings: PTuning,
    keys: Map<String, Value>,
    source: Source,
}

enum Source {
    /// Embeddings, and weight and bias of each layer.
    Network { embedding: Param, layers: Vec<(Param, Param)> },
    /// What a network made once.
    Output(Param),
}

impl PromptEncoder {
    fn new(value: &Value, context: &Context) -> Result<PromptEncoder> {
        let settings: PTuning = settings(&METHOD, value)?;
        if settings.encoder_reparameterization_type != "MLP" {
            let found = &settings.encoder_reparameterization_type;
            return Err(refuse(&METHOD, "encoder_reparameterization_type", "\"MLP\"", found));
        }
        if settings.encoder_hidden_size == 0 {
            return Err(refuse(&METHOD, "encoder_hidden_size", "at least 1", 0));
        }
        let tokens = check_virtual_tokens(&METHOD, context.model, settings.num_virtual_tokens)?;
        let (hidden, inner) = (context.model.extents().hidden_size, settings.encoder_hidden_size);
        let embedding = context.normal("prompt_encoder.embedding.weight", &[tokens, hidden], 1.0)?;
        let layers = [(0, hidden, inner), (2, inner, inner), (4, inner, hidden)]
            .into_iter()
            .map(|(place, inputs, outputs)| {
                let name = |part| format!("prompt_encoder.mlp_head.{place}.{part}");
                let weight = context.kaiming_uniform(&name("weight"), &[outputs, inputs], inputs)?;
                Ok((weight, context.kaiming_uniform(&name("bias"), &[outputs], inputs)?))
            })
            .collect::<Result<_>>()?;
        let keys = virtual_token_keys(context.model);
        Ok(PromptEncoder { settings, keys, source: Source::Network { embedding, layers } })
    }

    /// The virtual tokens \[tokens, hidden\].
    fn encode(&self) -> Result<Tensor> {
        match &self.source {
            Source::Output(prompt) => Ok(prompt.tensor()),
            Source::Network { embedding, layers } => {
                let mut x = embedding.tensor();
                for (place, (weight, bias)) in layers.iter().enumerate() {
                    if place > 0 {
                        x = x.activation(Activation::Relu)?;
                    }
                    x = x.linear(&weight.tensor(), Some(&bias.tensor()))?;
                }
                Ok(x)
            }
        }
    }
}

impl Adapter for PromptEncoder {
    fn prompt(&self, _forward: &Forward) -> Result<Option<Tensor>> {
        self.encode().map(Some)
    }

    fn parameters(&self) -> Vec<Param> {
        match &self.source {
            Source::Output(prompt) => vec![prompt.clone()],
            Source::Network { embedding, layers } => {
                let layers = layers.iter().flat_map(|(weight, bias)| [weight.clone(), bias.clone()]);
                [embedding.clone()].into_iter().chain(layers).collect()
            }
        }
    }

    fn config(&self) -> Result<Map<String, Value>> {
        Ok(to_map(&self.settings).into_iter().chain(self.keys.clone()).collect())
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let output = without_gradients(|| self.encode())?;
        Ok(vec![NamedTensor {
            name: NAME.into(),
            shape: output.shape().to_vec(),
            numbers: output.numbers()?,
        }])
    }

    fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        let shape = without_gradients(|| self.encode())?.shape().to_vec();
        self.source = Source::Output(Param::new(backend, NAME, &shape, take(tensors, NAME, &shape)?)?);
        Ok(())
    }

    fn key(&self, weight: &str) -> String {
        format!("base_model.{weight}")
    }
}
