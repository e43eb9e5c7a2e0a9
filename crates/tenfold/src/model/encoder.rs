//! Bidirectional encoders with post-layer norms, of which BERT (Devlin et al. 2019) is the first: one model, in which
//! RoBERTa (Liu et al. 2019), DistilBERT (Sanh et al. 2019) and MPNet (Song et al. 2020) differ as [`Plan`] says.

mod plan;

use super::config::Config;
use super::head::{Head, TaskType, Vocabulary};
use super::layer::{Linear, Norm, Role, Weight};
use super::relative::{Buckets, Relative};
use super::weights::Loader;
use super::{Batch, Extents, Family, Forward, Model, Wanted, own_tokens};
use crate::error::Result;
pub(super) use plan::Plan;
use std::sync::Arc;
use tenfold_tensor::{Activation, Attention, Ragged, RelativeBias, Tensor};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "bert",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(plan::bert(config)?, config, task, loader),
    },
    Family {
        name: "roberta",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(plan::roberta(config)?, config, task, loader),
    },
    Family {
        name: "distilbert",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(plan::distilbert(config)?, config, task, loader),
    },
    Family {
        name: "mpnet",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(plan::mpnet(config)?, config, task, loader),
    },
];

/// What a BERT computes.
pub(super) fn plan_of_bert(config: &Config) -> Result<Plan> {
    plan::bert(config)
}

/// An encoder.
struct Encoder {
    plan: Plan,
    task: TaskType,
    word_embeddings: Weight,
    position_embeddings: Weight,
    token_type_embeddings: Option<Weight>,
    embedding_norm: Norm,
    relative: Option<Relative>,
    layers: Vec<Arc<Layer>>,
    pooler: Option<Linear>,
    head: Head,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
    attention: Attention,
    attention_dropout: f32,
    activation: Activation,
    dropout: f32,
    output_dropout: f32,
}

fn load(plan: Plan, config: &Config, task: TaskType, loader: &Loader) -> Result<Arc<dyn Model>> {
    if task.is_language_modelling() {
        let expected = "a family with a decoder for CAUSAL_LM or SEQ_2_SEQ_LM";
        return Err(config.fault("model_type", expected, plan.family));
    }
    let hidden = plan.hidden_size;
    let divides = hidden.is_multiple_of(plan.heads);
    config.refuse_unless(divides, "num_attention_heads", "a divisor of the hidden size")?;
    if plan.first_position >= plan.positions {
        return Err(config.fault("max_position_embeddings", "room for tokens", plan.positions));
    }
    let path = |module: &str| format!("{}.{module}", plan.family);
    let table = |name: &str, rows| loader.matrix(path(&format!("embeddings.{name}.weight")), rows, hidden);
    let types = (plan.token_types > 0).then(|| table("token_type_embeddings", plan.token_types));
    let pooled = plan.pooler && task == TaskType::SequenceClassification;
    let pooler = pooled.then(|| loader.linear(path("pooler.dense"), Role::Pooler, [hidden, hidden], true));
    let relative = plan.relative.map(|buckets| {
        let name = path("encoder.relative_attention_bias.weight");
        // Distances up to 128, whatever the configuration: Transformers has them as a default of a function.
        let buckets = Buckets { count: buckets, max_distance: 128, bidirectional: true };
        Relative::load(loader, name, buckets, plan.heads)
    });
    Ok(Arc::new(Encoder {
        task,
        word_embeddings: table("word_embeddings", plan.vocab_size)?,
        position_embeddings: table("position_embeddings", plan.positions)?,
        token_type_embeddings: types.transpose()?,
        embedding_norm: loader.layer_norm(&path("embeddings.LayerNorm"), hidden, plan.eps)?,
        relative: relative.transpose()?,
        layers: (0..plan.num_layers)
            .map(|i| Ok(Arc::new(Layer::load(&plan, loader, i)?)))
            .collect::<Result<_>>()?,
        pooler: pooler.transpose()?,
        head: plan.head(task, loader),
        plan,
    }))
}

impl Layer {
    fn load(plan: &Plan, loader: &Loader, number: usize) -> Result<Layer> {
        let (hidden, inner, names) = (plan.hidden_size, plan.intermediate_size, &plan.names);
        let path = |module: &str| format!("{}.{}.{number}.{module}", plan.family, plan.layers);
        let linear = |module: &str, role, extents| loader.linear(path(module), role, extents, true);
        let norm = |module: &str| loader.layer_norm(&path(module), hidden, plan.eps);
        let square = [hidden, hidden];
        let head_dim = hidden / plan.heads;
        Ok(Layer {
            query: linear(names.query, Role::Query, square)?,
            key: linear(names.key, Role::Key, square)?,
            value: linear(names.value, Role::Value, square)?,
            attention_output: linear(names.attention_output, Role::AttentionOutput, square)?,
            attention_norm: norm(names.attention_norm)?,
            up: linear(names.up, Role::FeedForwardUp, [hidden, inner])?,
            down: linear(names.down, Role::FeedForwardDown, [inner, hidden])?,
            output_norm: norm(names.output_norm)?,
            attention: Attention {
                heads: plan.heads,
                kv_heads: plan.heads,
                head_dim,
                scale: (head_dim as f32).sqrt().recip(),
                causal: false,
                window: None,
                softcap: None,
                dropout: None,
            },
            attention_dropout: plan.attention_dropout,
            activation: plan.activation,
            dropout: plan.dropout,
            output_dropout: plan.output_dropout,
        })
    }

    /// What becomes of the tokens `wanted`, which see `all` tokens.
    fn run(
        &self,
        forward: &Forward,
        number: usize,
        wanted: (&Tensor, &Ragged),
        all: (&Tensor, &Ragged),
        bias: Option<&RelativeBias>,
    ) -> Result<Tensor> {
        let (forward, over_all) = (&forward.over(wanted.1), forward.over(all.1));
        let query = forward.linear(&self.query, wanted.0)?;
        let key = over_all.linear(&self.key, all.0)?;
        let value = over_all.linear(&self.value, all.0)?;
        let attention = Attention { dropout: forward.mask(self.attention_dropout), ..self.attention.clone() };
        let prefix = forward.prefix(number)?;
        let prefix = prefix.as_ref().map(|(key, value)| (key, value));
        let attended = query.attention(&attention, &key, &value, prefix, bias, [wanted.1, all.1])?;
        let attended = forward.linear(&self.attention_output, &attended)?;
        let attended = forward.dropout(attended, self.output_dropout)?;
        let x = forward.norm(&self.attention_norm, &attended.add(wanted.0)?)?;
        let inner = forward.linear(&self.up, &x)?.activation(self.activation)?;
        let outer = forward.dropout(forward.linear(&self.down, &inner)?, self.dropout)?;
        forward.norm(&self.output_norm, &outer.add(&x)?)
    }

    fn linears(&self) -> [&Linear; 6] {
        [&self.query, &self.key, &self.value, &self.attention_output, &self.up, &self.down]
    }
}

impl Encoder {
    fn embed(&self, forward: &Forward, batch: &Batch) -> Result<(Tensor, Ragged)> {
        let words = forward.words(&self.word_embeddings, &batch.ids)?;
        let (words, ragged) = forward.embed(words, &batch.ragged)?;
        let first = self.plan.first_position as u32;
        let positions: Vec<u32> = forward.positions(&ragged).iter().map(|place| first + place).collect();
        let mut x = words.add(&forward.weight(&self.position_embeddings).select_rows(&positions)?)?;
        if let Some(table) = &self.token_type_embeddings {
            x = x.add(&forward.weight(table).select_rows(&types(batch, &ragged))?)?;
        }
        let x = forward.norm(&self.embedding_norm, &x)?;
        Ok((forward.over(&ragged).dropout(x, self.plan.dropout)?, ragged))
    }
}

/// Segments of all rows: virtual tokens are of the first, as PEFT has them.
fn types(batch: &Batch, ragged: &Ragged) -> Vec<u32> {
    let own = batch.ragged.starts().iter().zip(batch.ragged.lengths());
    (ragged.lengths().zip(own))
        .flat_map(|(longer, (start, length))| {
            let own = batch.type_ids[*start..start + length].iter().copied();
            std::iter::repeat_n(0, longer - length).chain(own)
        })
        .collect()
}

impl Model for Encoder {
    fn family(&self) -> &'static str {
        self.plan.family
    }

    fn task(&self) -> TaskType {
        self.task
    }

    fn extents(&self) -> Extents {
        Extents {
            hidden_size: self.plan.hidden_size,
            num_layers: self.plan.num_layers,
            num_attention_heads: self.plan.heads,
            num_key_value_heads: self.plan.heads,
            kv_size: self.plan.hidden_size,
            vocab_size: self.plan.vocab_size,
            max_positions: self.plan.positions - self.plan.first_position,
            token_types: if self.plan.token_types == 0 { usize::MAX } else { self.plan.token_types },
            num_submodules: 1,
        }
    }

    fn module_name(&self, role: Role) -> Option<&'static str> {
        let names = &self.plan.names;
        let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
        match role {
            Role::Query => Some(last(names.query)),
            Role::Key => Some(last(names.key)),
            Role::Value => Some(last(names.value)),
            Role::AttentionOutput => Some(names.attention_output),
            Role::FeedForwardUp => Some(names.up),
            Role::FeedForwardDown => Some(names.down_target),
            Role::Pooler => self.pooler.is_some().then_some("pooler.dense"),
            _ => None,
        }
    }

    fn linears(&self) -> Vec<&Linear> {
        self.layers.iter().flat_map(|layer| layer.linears()).chain(&self.pooler).collect()
    }

    fn weights(&self) -> Vec<&Weight> {
        let embeddings = [&self.word_embeddings, &self.position_embeddings];
        let norms = self.layers.iter().flat_map(|layer| [&layer.attention_norm, &layer.output_norm]);
        let norms = [&self.embedding_norm].into_iter().chain(norms).flat_map(Norm::weights);
        let relative = self.relative.iter().map(Relative::weight);
        let linears = self.linears().into_iter().flat_map(Linear::weights);
        let mut weights: Vec<&Weight> = (embeddings.into_iter().chain(&self.token_type_embeddings))
            .chain(norms)
            .chain(relative)
            .chain(linears)
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
        None
    }

    fn hidden_states(&self, forward: &Forward, batch: &Batch, wanted: &Wanted) -> Result<Tensor> {
        let (mut x, ragged) = self.embed(forward, batch)?;
        let bias = self.relative.as_ref().map(|relative| relative.table(forward, &ragged)).transpose()?;
        let bias = bias.map(|bias| (bias.table, bias.first));
        for (number, layer) in self.layers.iter().enumerate() {
            let last = number + 1 == self.layers.len();
            // The last layer computes first tokens alone where no others are wanted.
            let chosen = (last && *wanted == Wanted::Pooled).then(|| first_tokens(&ragged));
            let first = bias.as_ref().map(|(_, first)| *first);
            let (layer, all) = (layer.clone(), ragged.clone());
            let inputs: Vec<Tensor> =
                [x].into_iter().chain(bias.as_ref().map(|(table, _)| table.clone())).collect();
            x = forward.block(&inputs, move |forward, inputs| {
                let bias = first.map(|first| RelativeBias { table: inputs[1].clone(), first });
                let all = (&inputs[0], &all);
                match &chosen {
                    None => layer.run(forward, number, all, all, bias.as_ref()),
                    Some((rows, ragged)) => {
                        let wanted = inputs[0].select_rows(rows)?;
                        layer.run(forward, number, (&wanted, ragged), all, bias.as_ref())
                    }
                }
            })?;
        }
        match wanted {
            Wanted::Pooled if self.layers.is_empty() => {
                self.pool(forward, &x.select_rows(&first_tokens(&ragged).0)?)
            }
            Wanted::Pooled => self.pool(forward, &x),
            Wanted::All => own_tokens(&x, batch, &ragged),
            Wanted::Last(_) => Err(crate::Error::unknown("hidden state", "last tokens", ["pooled", "all"])),
        }
    }
}

impl Encoder {
    fn pool(&self, forward: &Forward, first_tokens: &Tensor) -> Result<Tensor> {
        match &self.pooler {
            Some(pooler) => Ok(forward.linear(pooler, first_tokens)?.activation(Activation::Tanh)?),
            None => Ok(first_tokens.clone()),
        }
    }
}

/// The first row of each sequence, and where these lie among themselves.
fn first_tokens(ragged: &Ragged) -> (Vec<u32>, Ragged) {
    let rows: Vec<u32> = ragged.starts().iter().map(|row| *row as u32).collect();
    let ones = Ragged::from_lengths(rows.iter().map(|_| 1));
    (rows, ones)
}
