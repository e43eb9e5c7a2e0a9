//! Causal decoders: one model, in which the families differ as their [`Plan`]s say.
//!
//! A block is `x + attention(norm(x))`, then `x + feed_forward(norm(x))`, or both beside each other.

mod block;
mod gemma;
mod gpt2;
mod gpt_neox;
mod llama;
mod phi3;
mod plan;
mod rope;

use super::config::Config;
use super::head::{Head, TaskType, Vocabulary};
use super::layer::{Linear, Norm, Role, Weight};
use super::weights::Loader;
use super::{Batch, Extents, Family, Forward, Model, Wanted, last_tokens, own_tokens};
use crate::error::Result;
use block::Block;
pub(super) use plan::{FeedForward, Plan, Projections};
pub(super) use rope::Stretch;
use std::sync::Arc;
use tenfold_tensor::{Ragged, Tensor};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "llama",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(llama::llama(config)?, config, task, loader),
    },
    Family {
        name: "mistral",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(llama::mistral(config)?, config, task, loader),
    },
    Family {
        name: "qwen2",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(llama::qwen2(config)?, config, task, loader),
    },
    Family {
        name: "qwen3",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(llama::qwen3(config)?, config, task, loader),
    },
    Family {
        name: "smollm3",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(llama::smollm3(config)?, config, task, loader),
    },
    Family {
        name: "gemma",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(gemma::gemma(config)?, config, task, loader),
    },
    Family {
        name: "gemma2",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(gemma::gemma2(config)?, config, task, loader),
    },
    Family {
        name: "gemma3_text",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(gemma::gemma3(config)?, config, task, loader),
    },
    Family {
        name: "phi3",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(phi3::phi3(config)?, config, task, loader),
    },
    Family {
        name: "gpt2",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(gpt2::gpt2(config)?, config, task, loader),
    },
    Family {
        name: "gpt_neox",
        task: TaskType::CausalLm,
        load: |config, task, loader| load(gpt_neox::gpt_neox(config)?, config, task, loader),
    },
];

/// What a decoder of Llama's house computes: llama, mistral, qwen2 or qwen3; `None` for others.
pub(super) fn plan_of_house(config: &Config) -> Result<Option<Plan>> {
    let plan = match config.model_type()?.as_str() {
        "llama" => llama::llama(config)?,
        "mistral" => llama::mistral(config)?,
        "qwen2" => llama::qwen2(config)?,
        "qwen3" => llama::qwen3(config)?,
        _ => return Ok(None),
    };
    plan.check(config)?;
    Ok(Some(plan))
}

/// A decoder.
struct Decoder {
    plan: Arc<Plan>,
    task: TaskType,
    word_embeddings: Weight,
    position_embeddings: Option<Weight>,
    blocks: Vec<Arc<Block>>,
    norm: Norm,
    /// Where logits come from, if not from the word embeddings.
    output_embeddings: Option<(Weight, Option<Weight>)>,
    head: Head,
}

fn load(mut plan: Plan, config: &Config, task: TaskType, loader: &Loader) -> Result<Arc<dyn Model>> {
    if task == TaskType::QuestionAnswering && ["llama", "qwen2", "qwen3", "smollm3"].contains(&plan.family) {
        // What Transformers calls the model in this one class.
        plan.prefix = "transformer";
    }
    let plan = Arc::new(plan);
    if task == TaskType::Seq2SeqLm {
        return Err(config.fault(
            "model_type",
            "an encoder-decoder such as \"t5\" for SEQ_2_SEQ_LM",
            plan.family,
        ));
    }
    plan.check(config)?;
    let (hidden, vocab) = (plan.hidden_size, plan.vocab_size);
    let table = |name: &str, rows| loader.matrix(format!("{}.{name}.weight", plan.prefix), rows, hidden);
    let positions = plan.names.positions.map(|name| table(name, plan.max_positions));
    let head_name = format!("{}.weight", plan.names.output_embeddings);
    // A table of its own counts where the checkpoint has one, whatever the configuration says, as in Transformers; a
    // configuration that says that there is one must have it.
    let own = loader.has(&head_name) || !plan.tied;
    let output = (task == TaskType::CausalLm && own).then(|| -> Result<_> {
        let weight = loader.matrix(head_name, vocab, hidden)?;
        let bias =
            plan.output_bias.then(|| loader.vector(format!("{}.bias", plan.names.output_embeddings), vocab));
        Ok((weight, bias.transpose()?))
    });
    Ok(Arc::new(Decoder {
        task,
        word_embeddings: table(plan.names.embeddings, vocab)?,
        position_embeddings: positions.transpose()?,
        blocks: (0..plan.layers.len())
            .map(|number| Ok(Arc::new(Block::load(&plan, loader, number)?)))
            .collect::<Result<_>>()?,
        norm: plan.norm(loader, &format!("{}.{}", plan.prefix, plan.names.final_norm), hidden)?,
        output_embeddings: output.transpose()?,
        head: plan.head(task, loader),
        plan: plan.clone(),
    }))
}

impl Decoder {
    fn embed(&self, forward: &Forward, batch: &Batch) -> Result<(Tensor, Ragged)> {
        let mut words = forward.words(&self.word_embeddings, &batch.ids)?;
        if self.plan.embedding_scale != 1.0 {
            words = words.scale(self.plan.embedding_scale)?;
        }
        let (mut x, ragged) = forward.embed(words, &batch.ragged)?;
        if let Some(table) = &self.position_embeddings {
            x = x.add(&forward.weight(table).select_rows(&forward.positions(&ragged))?)?;
        }
        Ok((forward.over(&ragged).dropout(x, self.plan.dropout.embedding)?, ragged))
    }
}

impl Model for Decoder {
    fn family(&self) -> &'static str {
        self.plan.family
    }

    fn task(&self) -> TaskType {
        self.task
    }

    fn extents(&self) -> Extents {
        Extents {
            hidden_size: self.plan.hidden_size,
            num_layers: self.plan.layers.len(),
            num_attention_heads: self.plan.heads,
            num_key_value_heads: self.plan.kv_heads,
            kv_size: self.plan.kv_heads * self.plan.head_dim,
            vocab_size: self.plan.vocab_size,
            max_positions: self.plan.max_positions,
            token_types: usize::MAX,
            num_submodules: 1,
        }
    }

    fn module_name(&self, role: Role) -> Option<&'static str> {
        self.plan.module_name(role)
    }

    fn linears(&self) -> Vec<&Linear> {
        self.blocks.iter().flat_map(|block| block.linears()).collect()
    }

    fn weights(&self) -> Vec<&Weight> {
        let blocks = self.blocks.iter().flat_map(|block| block.weights());
        let output =
            self.output_embeddings.iter().flat_map(|(weight, bias)| [weight].into_iter().chain(bias));
        let mut weights: Vec<&Weight> =
            ([&self.word_embeddings].into_iter().chain(&self.position_embeddings))
                .chain(blocks)
                .chain(self.norm.weights())
                .chain(output)
                .collect();
        weights.sort_by(|a, b| a.name.cmp(&b.name));
        weights
    }

    fn word_embeddings(&self) -> &Weight {
        &self.word_embeddings
    }

    fn head(&self) -> &Head {
        &self.head
    }

    fn vocabulary(&self) -> Option<Vocabulary<'_>> {
        let (weight, bias) = match &self.output_embeddings {
            Some((weight, bias)) => (weight, bias.as_ref()),
            None => (&self.word_embeddings, None),
        };
        let softcap = self.plan.final_softcap;
        (self.task == TaskType::CausalLm).then_some(Vocabulary { weight, bias, softcap, scale: 1.0 })
    }

    fn hidden_states(&self, forward: &Forward, batch: &Batch, wanted: &Wanted) -> Result<Tensor> {
        let (mut x, ragged) = self.embed(forward, batch)?;
        let positions = forward.positions(&ragged);
        let backend = x.backend().clone();
        let angles = self.plan.ropes.iter().map(|rope| rope.angles(&backend, &positions));
        let angles: Vec<[Tensor; 2]> = angles.collect::<Result<_>>()?;
        let reach = match wanted {
            Wanted::Pooled => Some(ragged.lengths().map(|length| length.min(1)).collect()),
            Wanted::Last(reach) => Some(reach.clone()),
            Wanted::All => None,
        };
        let chosen = reach.map(|reach| last_tokens(&ragged, &reach));
        for (number, block) in self.blocks.iter().enumerate() {
            let last = number + 1 == self.blocks.len();
            // The last block computes no other tokens than are wanted.
            let chosen = chosen.clone().filter(|_| last);
            let angles = block.rope().map(|rope| angles[rope].clone());
            let (block, ragged) = (block.clone(), ragged.clone());
            x = forward.block(&[x], move |forward, inputs| {
                block.run(forward, number, (&inputs[0], &ragged), chosen.as_ref(), angles.as_ref())
            })?;
        }
        if let (true, Some((rows, _))) = (self.blocks.is_empty(), &chosen) {
            x = x.select_rows(rows)?;
        }
        let x = forward.norm(&self.norm, &x)?;
        if chosen.is_some() { Ok(x) } else { own_tokens(&x, batch, &ragged) }
    }
}
