//! T5 and T5 1.1, Flan among them (Raffel et al. 2020, arXiv:1910.10683; gated feed-forward: Shazeer 2020,
//! arXiv:2002.05202): an encoder and a decoder with root mean square norms before each part, no biases, unscaled
//! scores, and positions by a relative bias that all layers of a stack share.

mod plan;

use super::config::Config;
use super::head::{Head, TaskType, Vocabulary};
use super::layer::{Linear, Norm, Role, Weight};
use super::relative::{Buckets, Relative};
use super::weights::Loader;
use super::{Batch, Extents, Family, Forward, Model, Wanted, last_tokens, own_tokens};
use crate::error::Result;
use plan::Plan;
use std::sync::Arc;
use tenfold_tensor::{Activation, Attention, Ragged, RelativeBias, Tensor};

pub(super) const FAMILIES: &[Family] = &[Family { name: "t5", task: TaskType::Seq2SeqLm, load }];

/// An encoder-decoder.
struct T5 {
    plan: Plan,
    task: TaskType,
    word_embeddings: Weight,
    encoder: Stack,
    /// Absent where tokens are classified.
    decoder: Option<Stack>,
    /// Where logits come from, if not from the word embeddings.
    output_embeddings: Option<Weight>,
    head: Head,
}

struct Stack {
    relative: Relative,
    layers: Vec<Arc<Layer>>,
    norm: Norm,
}

struct Layer {
    own: SubLayer,
    cross: Option<SubLayer>,
    feed_forward_norm: Norm,
    inner: Vec<Linear>,
    down: Linear,
    attention: Attention,
    activation: Activation,
    dropout: f32,
}

/// An attention with the norm before it.
struct SubLayer {
    norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

fn load(config: &Config, task: TaskType, loader: &Loader) -> Result<Arc<dyn Model>> {
    if task == TaskType::CausalLm {
        return Err(config.fault(
            "model_type",
            "a decoder for CAUSAL_LM; an encoder-decoder for SEQ_2_SEQ_LM",
            "t5",
        ));
    }
    let plan = Plan::read(config)?;
    if plan.buckets < 4 || plan.max_distance <= plan.buckets {
        let found = format!("{} and {}", plan.buckets, plan.max_distance);
        return Err(config.fault(
            "relative_attention_num_buckets",
            "4 or more, below the largest distance",
            found,
        ));
    }
    // As Transformers names the parts of the whole model for each task.
    let prefix = match task {
        TaskType::SequenceClassification | TaskType::TokenClassification => "transformer.",
        _ => "",
    };
    let decodes = task != TaskType::TokenClassification;
    let stack = |name: &str, decodes| Stack::load(&plan, loader, &format!("{prefix}{name}"), decodes);
    // A table of its own counts where there is one, whatever the configuration says.
    let own = task == TaskType::Seq2SeqLm && loader.has("lm_head.weight");
    let output = own.then(|| loader.matrix("lm_head.weight".into(), plan.vocab_size, plan.hidden_size));
    Ok(Arc::new(T5 {
        task,
        word_embeddings: loader.matrix(
            format!("{prefix}shared.weight"),
            plan.vocab_size,
            plan.hidden_size,
        )?,
        encoder: stack("encoder", false)?,
        decoder: decodes.then(|| stack("decoder", true)).transpose()?,
        output_embeddings: output.transpose()?,
        head: plan.head(task, loader),
        plan,
    }))
}

impl Stack {
    fn load(plan: &Plan, loader: &Loader, path: &str, decodes: bool) -> Result<Stack> {
        let buckets =
            Buckets { count: plan.buckets, max_distance: plan.max_distance, bidirectional: !decodes };
        let table = format!("{path}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        let count = if decodes { plan.num_decoder_layers } else { plan.num_layers };
        let layer = |number| Layer::load(plan, loader, &format!("{path}.block.{number}.layer"), decodes);
        Ok(Stack {
            relative: Relative::load(loader, table, buckets, plan.heads)?,
            layers: (0..count).map(|number| Ok(Arc::new(layer(number)?))).collect::<Result<_>>()?,
            norm: loader.rms_norm(&format!("{path}.final_layer_norm"), plan.hidden_size, plan.eps, 0.0)?,
        })
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let layers = self.layers.iter().flat_map(|layer| layer.weights());
        [self.relative.weight()].into_iter().chain(layers).chain(self.norm.weights())
    }
}

impl Layer {
    fn load(plan: &Plan, loader: &Loader, path: &str, decodes: bool) -> Result<Layer> {
        let (hidden, inner) = (plan.hidden_size, plan.intermediate_size);
        let norm =
            |place: usize| loader.rms_norm(&format!("{path}.{place}.layer_norm"), hidden, plan.eps, 0.0);
        let sub_layer = |place: usize, module: &str| -> Result<SubLayer> {
            let wide = plan.heads * plan.head_dim;
            let linear = |name: &str, role, extents| {
                loader.linear(format!("{path}.{place}.{module}.{name}"), role, extents, false)
            };
            Ok(SubLayer {
                norm: norm(place)?,
                query: linear("q", Role::Query, [hidden, wide])?,
                key: linear("k", Role::Key, [hidden, wide])?,
                value: linear("v", Role::Value, [hidden, wide])?,
                output: linear("o", Role::AttentionOutput, [wide, hidden])?,
            })
        };
        let last = if decodes { 2 } else { 1 };
        let linear = |name: &str, role, extents| {
            loader.linear(format!("{path}.{last}.DenseReluDense.{name}"), role, extents, false)
        };
        let inner_maps: &[(&str, Role)] = match plan.gated {
            true => &[("wi_0", Role::FeedForwardGate), ("wi_1", Role::FeedForwardUp)],
            false => &[("wi", Role::FeedForwardUp)],
        };
        Ok(Layer {
            own: sub_layer(0, "SelfAttention")?,
            cross: decodes.then(|| sub_layer(1, "EncDecAttention")).transpose()?,
            feed_forward_norm: norm(last)?,
            inner: inner_maps
                .iter()
                .map(|(name, role)| linear(name, *role, [hidden, inner]))
                .collect::<Result<_>>()?,
            down: linear("wo", Role::FeedForwardDown, [inner, hidden])?,
            attention: Attention {
                heads: plan.heads,
                kv_heads: plan.heads,
                head_dim: plan.head_dim,
                scale: 1.0,
                causal: decodes,
                window: None,
                softcap: None,
                dropout: None,
            },
            activation: plan.activation,
            dropout: plan.dropout,
        })
    }

    /// An encoder's layer over all tokens.
    fn encode(&self, forward: &Forward, x: &Tensor, ragged: &Ragged, bias: &RelativeBias) -> Result<Tensor> {
        let forward = &forward.over(ragged);
        let normed = forward.norm(&self.own.norm, x)?;
        let [query, key, value] = [&self.own.query, &self.own.key, &self.own.value];
        let query = forward.linear(query, &normed)?;
        let (key, value) = (forward.linear(key, &normed)?, forward.linear(value, &normed)?);
        let attention = self.attention(forward);
        let attended = query.attention(&attention, &key, &value, None, Some(bias), [ragged, ragged])?;
        let x = self.out(forward, &self.own.output, &attended)?.add(x)?;
        self.feed_forward(forward, &x)
    }

    /// A decoder's layer: what becomes of the tokens `x`, or of those `chosen`, which see all before them and `source`.
    fn decode(
        &self,
        forward: &Forward,
        number: usize,
        (x, ragged): (&Tensor, &Ragged),
        chosen: Option<&(Vec<u32>, Ragged)>,
        source: Option<(&Tensor, &Ragged)>,
        bias: &RelativeBias,
    ) -> Result<Tensor> {
        let choose = |x: &Tensor| -> Result<Tensor> {
            match chosen {
                None => Ok(x.clone()),
                Some((rows, _)) => Ok(x.select_rows(rows)?),
            }
        };
        let queries = chosen.map_or(ragged, |(_, queries)| queries);
        let over_all = forward.over(ragged);
        let forward = &chosen.map_or_else(|| over_all.clone(), |(rows, _)| over_all.at(rows));
        let normed = forward.norm(&self.own.norm, x)?;
        let query = forward.linear(&self.own.query, &choose(&normed)?)?;
        let (key, value) =
            (over_all.linear(&self.own.key, &normed)?, over_all.linear(&self.own.value, &normed)?);
        let (key, value, keys) = forward.remember(number, key, value, ragged)?;
        let prefix = forward.prefix(number)?;
        let prefix = prefix.as_ref().map(|(key, value)| (key, value));
        let attention = self.attention(forward);
        let attended = query.attention(&attention, &key, &value, prefix, Some(bias), [queries, &keys])?;
        let mut x = self.out(forward, &self.own.output, &attended)?.add(&choose(x)?)?;
        if let Some(cross) = &self.cross {
            let query = forward.linear(&cross.query, &forward.norm(&cross.norm, &x)?)?;
            let (key, value, keys) = forward.once(number, || match source {
                None => unreachable!("a pass without a source goes on from one that had it"),
                Some((source, ragged)) => {
                    let forward = forward.over(ragged);
                    let (key, value) =
                        (forward.linear(&cross.key, source)?, forward.linear(&cross.value, source)?);
                    Ok((key, value, ragged.clone()))
                }
            })?;
            let attention = Attention { causal: false, ..self.attention(forward) };
            let attended = query.attention(&attention, &key, &value, None, None, [queries, &keys])?;
            x = self.out(forward, &cross.output, &attended)?.add(&x)?;
        }
        self.feed_forward(forward, &x)
    }

    fn attention(&self, forward: &Forward) -> Attention {
        Attention { dropout: forward.mask(self.dropout), ..self.attention.clone() }
    }

    fn out(&self, forward: &Forward, map: &Linear, x: &Tensor) -> Result<Tensor> {
        forward.dropout(forward.linear(map, x)?, self.dropout)
    }

    fn feed_forward(&self, forward: &Forward, x: &Tensor) -> Result<Tensor> {
        let normed = forward.norm(&self.feed_forward_norm, x)?;
        let first = forward.linear(&self.inner[0], &normed)?;
        let inner = match self.inner.get(1) {
            Some(up) => first.gated(self.activation, &forward.linear(up, &normed)?)?,
            None => first.activation(self.activation)?,
        };
        self.out(forward, &self.down, &forward.dropout(inner, self.dropout)?).and_then(|fed| Ok(fed.add(x)?))
    }

    fn linears(&self) -> Vec<&Linear> {
        let attentions = [&self.own].into_iter().chain(&self.cross);
        let attentions = attentions.flat_map(|part| [&part.query, &part.key, &part.value, &part.output]);
        attentions.chain(&self.inner).chain([&self.down]).collect()
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let norms = [&self.own.norm, &self.feed_forward_norm].into_iter();
        let norms = norms.chain(self.cross.iter().map(|cross| &cross.norm)).flat_map(Norm::weights);
        norms.chain(self.linears().into_iter().flat_map(Linear::weights))
    }
}

impl T5 {
    fn words(&self, forward: &Forward, ids: &[u32]) -> Result<Tensor> {
        forward.words(&self.word_embeddings, ids)
    }

    fn encode(&self, forward: &Forward, batch: &Batch) -> Result<(Tensor, Ragged)> {
        let (x, ragged) = forward.embed(self.words(forward, &batch.ids)?, &batch.ragged)?;
        let over_all = forward.over(&ragged);
        let mut x = over_all.dropout(x, self.plan.dropout)?;
        let RelativeBias { table, first } = self.encoder.relative.table(forward, &ragged)?;
        for layer in &self.encoder.layers {
            let (layer, ragged) = (layer.clone(), ragged.clone());
            x = forward.block(&[x, table.clone()], move |forward, inputs| {
                let bias = RelativeBias { table: inputs[1].clone(), first };
                layer.encode(forward, &inputs[0], &ragged, &bias)
            })?;
        }
        let x = over_all.dropout(forward.norm(&self.encoder.norm, &x)?, self.plan.dropout)?;
        Ok((x, ragged))
    }

    fn decode(
        &self,
        forward: &Forward,
        decoder: &Stack,
        (ids, ragged): (&[u32], &Ragged),
        source: Option<(Tensor, Ragged)>,
        chosen: Option<(Vec<u32>, Ragged)>,
    ) -> Result<Tensor> {
        let over_all = forward.over(ragged);
        let mut x = over_all.dropout(self.words(forward, ids)?, self.plan.dropout)?;
        let wanted = chosen.as_ref().map_or_else(|| over_all.clone(), |(rows, _)| over_all.at(rows));
        let RelativeBias { table, first } = decoder.relative.table(forward, ragged)?;
        for (number, layer) in decoder.layers.iter().enumerate() {
            let last = number + 1 == decoder.layers.len();
            let chosen = chosen.clone().filter(|_| last);
            let (layer, ragged) = (layer.clone(), ragged.clone());
            let source_ragged = source.as_ref().map(|(_, ragged)| ragged.clone());
            let inputs: Vec<Tensor> =
                [x, table.clone()].into_iter().chain(source.as_ref().map(|(x, _)| x.clone())).collect();
            x = forward.block(&inputs, move |forward, inputs| {
                let bias = RelativeBias { table: inputs[1].clone(), first };
                let source = inputs.get(2).zip(source_ragged.as_ref());
                layer.decode(forward, number, (&inputs[0], &ragged), chosen.as_ref(), source, &bias)
            })?;
        }
        wanted.dropout(forward.norm(&decoder.norm, &x)?, self.plan.dropout)
    }

    /// What the decoder reads where no answer is given: the sequence itself, one place later.
    fn shifted(&self, batch: &Batch) -> Vec<u32> {
        let mut ids = batch.ids.clone();
        for (start, length) in batch.ragged.starts().iter().zip(batch.ragged.lengths()) {
            if length > 0 {
                ids[*start..start + length].rotate_right(1);
                ids[*start] = self.plan.start_id;
            }
        }
        ids
    }

    /// The row of each sequence's last end token, or of its last token where it has none.
    fn ends(&self, batch: &Batch) -> Vec<u32> {
        let sequences = batch.ragged.starts().iter().zip(batch.ragged.lengths());
        let end = |(start, length): (&usize, usize)| {
            let own = &batch.ids[*start..start + length];
            (start + own.iter().rposition(|id| *id == self.plan.end_id).unwrap_or(length - 1)) as u32
        };
        sequences.filter(|(_, length)| *length > 0).map(end).collect()
    }
}

impl Model for T5 {
    fn family(&self) -> &'static str {
        "t5"
    }

    fn task(&self) -> TaskType {
        self.task
    }

    fn extents(&self) -> Extents {
        Extents {
            hidden_size: self.plan.hidden_size,
            num_layers: if self.decoder.is_some() {
                self.plan.num_decoder_layers
            } else {
                self.plan.num_layers
            },
            num_attention_heads: self.plan.heads,
            num_key_value_heads: self.plan.heads,
            kv_size: self.plan.heads * self.plan.head_dim,
            vocab_size: self.plan.vocab_size,
            // Distances beyond the largest share a bucket: no sequence is too long.
            max_positions: 1 << 20,
            token_types: usize::MAX,
            num_submodules: if self.task == TaskType::Seq2SeqLm { 2 } else { 1 },
        }
    }

    fn module_name(&self, role: Role) -> Option<&'static str> {
        match role {
            Role::Query => Some("q"),
            Role::Key => Some("k"),
            Role::Value => Some("v"),
            Role::AttentionOutput => Some("o"),
            Role::FeedForwardGate => self.plan.gated.then_some("wi_0"),
            Role::FeedForwardUp => Some(if self.plan.gated { "wi_1" } else { "wi" }),
            Role::FeedForwardDown => Some("wo"),
            _ => None,
        }
    }

    fn linears(&self) -> Vec<&Linear> {
        let stacks = [&self.encoder].into_iter().chain(&self.decoder);
        stacks.flat_map(|stack| &stack.layers).flat_map(|layer| layer.linears()).collect()
    }

    fn weights(&self) -> Vec<&Weight> {
        let stacks = [&self.encoder].into_iter().chain(&self.decoder).flat_map(Stack::weights);
        let tables = [&self.word_embeddings].into_iter().chain(&self.output_embeddings);
        let mut weights: Vec<&Weight> = tables.chain(stacks).collect();
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
        let weight = self.output_embeddings.as_ref().unwrap_or(&self.word_embeddings);
        let scale =
            if self.plan.scales_outputs { (self.plan.hidden_size as f32).sqrt().recip() } else { 1.0 };
        (self.task == TaskType::Seq2SeqLm).then_some(Vocabulary { weight, bias: None, softcap: None, scale })
    }

    fn tied_embeddings(&self) -> Vec<&'static str> {
        let is_tied = self.output_embeddings.is_none() && self.task == TaskType::Seq2SeqLm;
        let decoder = self.decoder.as_ref().map(|_| "decoder.embed_tokens");
        ["encoder.embed_tokens"].into_iter().chain(decoder).chain(is_tied.then_some("lm_head")).collect()
    }

    fn decoder_start(&self) -> Option<u32> {
        (self.task == TaskType::Seq2SeqLm).then_some(self.plan.start_id)
    }

    fn hidden_states(&self, forward: &Forward, batch: &Batch, wanted: &Wanted) -> Result<Tensor> {
        let source = if forward.goes_on() { None } else { Some(self.encode(forward, batch)?) };
        let Some(decoder) = &self.decoder else {
            return match source {
                Some((x, ragged)) => own_tokens(&x, batch, &ragged),
                None => unreachable!("tokens are classified in one pass"),
            };
        };
        if let Some((ids, ragged)) = &batch.decoder {
            let chosen = match wanted {
                Wanted::Last(reach) => Some(last_tokens(ragged, reach)),
                Wanted::All | Wanted::Pooled => None,
            };
            return self.decode(forward, decoder, (ids, ragged), source, chosen);
        }
        let ids = self.shifted(batch);
        let x = self.decode(forward, decoder, (&ids, &batch.ragged), source, None)?;
        if *wanted == Wanted::Pooled { Ok(x.select_rows(&self.ends(batch))?) } else { Ok(x) }
    }
}
