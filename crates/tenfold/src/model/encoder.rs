//! Bidirectional encoders with post-layer norms, of which BERT (Devlin et al. 2019) is the first: one model, in which
//! RoBERTa (Liu et al. 2019), DistilBERT (Sanh et al. 2019) and MPNet (Song et al. 2020) differ as [`Plan`] says.

use super::config::Config;
use super::head::{Head, HeadLayer, TaskType, Vocabulary};
use super::layer::{Linear, Norm, Role, Weight};
use super::relative::{Buckets, Relative};
use super::weights::Loader;
use super::{Batch, Extents, Family, Forward, Model, Wanted, own_tokens};
use crate::error::Result;
use std::sync::Arc;
use tenfold_tensor::{Activation, Attention, Ragged, RelativeBias, Tensor};

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "bert",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(bert(config)?, config, task, loader),
    },
    Family {
        name: "roberta",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(roberta(config)?, config, task, loader),
    },
    Family {
        name: "distilbert",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(distilbert(config)?, config, task, loader),
    },
    Family {
        name: "mpnet",
        task: TaskType::SequenceClassification,
        load: |config, task, loader| load(mpnet(config)?, config, task, loader),
    },
];

/// All that decides what an encoder computes, and what its parts are called.
struct Plan {
    family: &'static str,
    hidden_size: usize,
    heads: usize,
    intermediate_size: usize,
    num_layers: usize,
    vocab_size: usize,
    /// Rows of the table of positions, and the row of a sequence's first token.
    positions: usize,
    first_position: usize,
    token_types: usize,
    activation: Activation,
    eps: f32,
    dropout: f32,
    /// Behind attention's output.
    output_dropout: f32,
    attention_dropout: f32,
    /// Buckets of a relative-position bias shared by all layers.
    relative: Option<usize>,
    /// Path of the list of layers, below the family's prefix.
    layers: &'static str,
    names: Names,
    pooler: bool,
    head: HeadPlan,
    initializer_range: f32,
}

/// Names of the modules of a layer.
struct Names {
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attention_output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
    /// As methods target the last map: as a suffix it may meet others too, which is what PEFT's defaults do.
    down_target: &'static str,
}

/// The head for the classification of sequences: an inner layer, if there is one, and dropouts.
struct HeadPlan {
    inner: Option<(&'static str, Activation, f32)>,
    outer: &'static str,
    dropout: f32,
    /// For tokens and for answers.
    token_dropout: f32,
    answer_dropout: f32,
}

const BERT_NAMES: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
    down_target: "output.dense",
};

fn bert(config: &Config) -> Result<Plan> {
    let position = config.optional::<String>("position_embedding_type")?;
    let absolute = position.is_none_or(|kind| kind == "absolute");
    config.refuse_unless(absolute, "position_embedding_type", "\"absolute\"")?;
    let dropout = config.probability("hidden_dropout_prob", 0.1)?;
    let classifier = config.optional("classifier_dropout")?.unwrap_or(dropout);
    config.refuse_unless((0.0..1.0).contains(&classifier), "classifier_dropout", "a probability below 1")?;
    Ok(Plan {
        family: "bert",
        hidden_size: config.extent("hidden_size")?,
        heads: config.extent("num_attention_heads")?,
        intermediate_size: config.extent("intermediate_size")?,
        num_layers: config.extent("num_hidden_layers")?,
        vocab_size: config.extent("vocab_size")?,
        positions: config.extent("max_position_embeddings")?,
        first_position: 0,
        token_types: config.optional_extent("type_vocab_size")?.unwrap_or(2),
        activation: config.activation("hidden_act", "gelu")?,
        eps: config.small("layer_norm_eps", 1e-12)?,
        dropout,
        output_dropout: dropout,
        attention_dropout: config.probability("attention_probs_dropout_prob", 0.1)?,
        relative: None,
        layers: "encoder.layer",
        names: BERT_NAMES,
        pooler: true,
        head: HeadPlan {
            inner: None,
            outer: "classifier",
            dropout: classifier,
            token_dropout: classifier,
            answer_dropout: 0.0,
        },
        initializer_range: config.small("initializer_range", 0.02)?,
    })
}

fn roberta(config: &Config) -> Result<Plan> {
    let plan = bert(config)?;
    let classifier = plan.head.dropout;
    Ok(Plan {
        family: "roberta",
        // Rows up to the padding's own are never used: positions are counted from behind it (fairseq's custom).
        first_position: config.or("pad_token_id", 1usize)? + 1,
        eps: config.small("layer_norm_eps", 1e-12)?,
        pooler: false,
        head: HeadPlan {
            inner: Some(("classifier.dense", Activation::Tanh, classifier)),
            outer: "classifier.out_proj",
            ..plan.head
        },
        ..plan
    })
}

fn distilbert(config: &Config) -> Result<Plan> {
    let dropout = config.probability("dropout", 0.1)?;
    Ok(Plan {
        family: "distilbert",
        hidden_size: config.extent("dim")?,
        heads: config.extent("n_heads")?,
        intermediate_size: config.extent("hidden_dim")?,
        num_layers: config.extent("n_layers")?,
        vocab_size: config.extent("vocab_size")?,
        positions: config.extent("max_position_embeddings")?,
        first_position: 0,
        token_types: 0,
        activation: config.activation("activation", "gelu")?,
        eps: 1e-12,
        dropout,
        output_dropout: 0.0,
        attention_dropout: config.probability("attention_dropout", 0.1)?,
        relative: None,
        layers: "transformer.layer",
        names: Names {
            query: "attention.q_lin",
            key: "attention.k_lin",
            value: "attention.v_lin",
            attention_output: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            up: "ffn.lin1",
            down: "ffn.lin2",
            output_norm: "output_layer_norm",
            down_target: "lin2",
        },
        pooler: false,
        head: HeadPlan {
            inner: Some(("pre_classifier", Activation::Relu, 0.0)),
            outer: "classifier",
            dropout: config.probability("seq_classif_dropout", 0.2)?,
            token_dropout: dropout,
            answer_dropout: config.probability("qa_dropout", 0.1)?,
        },
        initializer_range: config.small("initializer_range", 0.02)?,
    })
}

fn mpnet(config: &Config) -> Result<Plan> {
    let plan = bert(config)?;
    let dropout = plan.dropout;
    Ok(Plan {
        family: "mpnet",
        // Behind row 1, whatever the configuration calls padding.
        first_position: 2,
        token_types: 0,
        relative: Some(config.optional_extent("relative_attention_num_buckets")?.unwrap_or(32)),
        names: Names {
            query: "attention.attn.q",
            key: "attention.attn.k",
            value: "attention.attn.v",
            attention_output: "attention.attn.o",
            attention_norm: "attention.LayerNorm",
            ..BERT_NAMES
        },
        pooler: false,
        head: HeadPlan {
            inner: Some(("classifier.dense", Activation::Tanh, dropout)),
            outer: "classifier.out_proj",
            dropout,
            token_dropout: dropout,
            answer_dropout: 0.0,
        },
        ..plan
    })
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

impl Plan {
    fn head(&self, task: TaskType, loader: &Loader) -> Head {
        let layer = |path: &str, outputs, dropout, activation| HeadLayer {
            path: path.into(),
            inputs: self.hidden_size,
            outputs,
            bias: true,
            dropout,
            activation,
            deviation: self.initializer_range,
            stored: loader.stored_head(path),
        };
        let head = &self.head;
        let layers = match task {
            TaskType::TokenClassification => vec![layer("classifier", None, head.token_dropout, None)],
            TaskType::QuestionAnswering => vec![layer("qa_outputs", Some(2), head.answer_dropout, None)],
            _ => {
                let inner = head.inner.map(|(path, activation, dropout)| {
                    layer(path, Some(self.hidden_size), dropout, Some(activation))
                });
                inner.into_iter().chain([layer(head.outer, None, head.dropout, None)]).collect()
            }
        };
        Head { layers }
    }
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
        let query = forward.linear(&self.query, wanted.0)?;
        let key = forward.linear(&self.key, all.0)?;
        let value = forward.linear(&self.value, all.0)?;
        let attention = Attention { dropout: forward.mask(self.attention_dropout), ..self.attention.clone() };
        let prefix = forward.prefix(number)?;
        let prefix = prefix.as_ref().map(|(key, value)| (key, value));
        let attended = attention.attend(&query, &key, &value, prefix, bias, [wanted.1, all.1])?;
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
        let words = forward.weight(&self.word_embeddings).select_rows(&batch.ids)?;
        let (words, ragged) = forward.embed(words, &batch.ragged)?;
        let first = self.plan.first_position as u32;
        let positions: Vec<u32> = forward.positions(&ragged).iter().map(|place| first + place).collect();
        let mut x = words.add(&forward.weight(&self.position_embeddings).select_rows(&positions)?)?;
        if let Some(table) = &self.token_type_embeddings {
            x = x.add(&forward.weight(table).select_rows(&types(batch, &ragged))?)?;
        }
        let x = forward.norm(&self.embedding_norm, &x)?;
        Ok((forward.dropout(x, self.plan.dropout)?, ragged))
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
