//! Attention over ragged sequences; of the seq × seq scores only the log-sum-exp is kept.

use super::elementwise::{check_cap, check_mask};
use super::linear::sum_onto;
use crate::backend::{AttentionInputs, AttentionShape, Ragged};
use crate::error::{Result, check};
use crate::tensor::Tensor;
use std::sync::Arc;
use tenfold_kernels::dropout::Dropout;

/// How an attention attends.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads` (grouped-query attention, Ainslie et al. 2023).
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Factor of the scores, usually 1 / √head_dim.
    pub scale: f32,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// How many tokens of its sequence a query sees at most: its own and those before it (sliding window, Beltagy
    /// et al. 2020). Only with `causal`; a prefix is always seen.
    pub window: Option<usize>,
    /// Scaled scores become c · tanh(score / c) (Gemma 2).
    pub softcap: Option<f32>,
    /// Dropout on the probabilities; its rows are the queries.
    pub dropout: Option<Dropout>,
}

/// What is added to scores by distance (Raffel et al. 2020).
#[derive(Debug, Clone)]
pub struct RelativeBias {
    /// \[distances, heads\]; gradient flows into it.
    pub table: Tensor,
    /// The distance, key's place - query's place, that its first row belongs to.
    pub first: isize,
}

impl Attention {
    /// Query \[queries, heads · head_dim\], key and value \[keys, kv_heads · head_dim\] ->
    /// \[queries, heads · head_dim\]. A sequence may have fewer queries than keys: those of the tokens whose
    /// results are wanted, its last ones if causal, its first otherwise. The keys and values of `prefix`
    /// \[prefix, kv_heads · head_dim\] are seen by every query of every sequence, within its window if there is one. `keys` may have room
    /// ([`Ragged::with_room`]).
    ///
    /// `bias` adds `table[j - i - first][head]` to the scaled, capped score of the query at place i and the key at place
    /// j; a prefix stands at the places -prefix..-1.
    pub fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        prefix: Option<(&Tensor, &Tensor)>,
        bias: Option<&RelativeBias>,
        [queries, keys]: [&Ragged; 2],
    ) -> Result<Tensor> {
        self.check(query, key, value, prefix, [queries, keys])?;
        if let Some(dropout) = &self.dropout {
            check_mask("attention", dropout, query)?;
        }
        let prefix_len = prefix.map_or(0, |(key, _)| key.rows());
        if let Some(bias) = bias {
            self.check_bias(bias, prefix_len, [queries, keys])?;
        }
        let backend = query.backend();
        let shape = AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.scale,
            causal: self.causal,
            window: self.window,
            softcap: self.softcap,
            bias_first: bias.map_or(0, |bias| bias.first),
            queries: queries.clone(),
            keys: keys.clone(),
            prefix_len,
            dropout: self.dropout.clone(),
        };
        let table = bias.map(|bias| bias.table.buffer().clone());
        let inputs = AttentionInputs {
            query: query.buffer(),
            key: key.buffer(),
            value: value.buffer(),
            prefix: prefix.map(|(key, value)| (&**key.buffer(), &**value.buffer())),
            bias: table.as_deref(),
        };
        let (y, lse) = backend.attention(&shape, inputs)?;
        let kept = [query, key, value].map(Tensor::keep);
        let kept_prefix = prefix.map(|(key, value)| (key.buffer().clone(), value.buffer().clone()));
        let trace = |tensor: Option<&Tensor>| tensor.and_then(|tensor| tensor.trace().clone());
        let (prefix_key, prefix_value) = prefix.unzip();
        let traces = [Some(query), Some(key), Some(value), prefix_key, prefix_value].map(trace);
        let bias_trace = trace(bias.map(|bias| &bias.table));
        let inputs: Vec<_> = traces.iter().chain([&bias_trace]).cloned().collect();
        // The backward pass needs the result too: both hold one buffer.
        let y = Arc::new(y);
        let result = y.clone();
        let inputs: Vec<_> = inputs.iter().collect();
        Ok(Tensor::shared_result(backend, &inputs, y, query.shape().to_vec(), move |dy, gradients| {
            let (backend, wanted) = (gradients.backend, bias_trace.is_some());
            let [query, key, value] = kept.map(|operand| operand.numbers(backend));
            let inputs = AttentionInputs {
                query: &*query?,
                key: &*key?,
                value: &*value?,
                prefix: kept_prefix.as_ref().map(|(key, value)| (&**key, &**value)),
                bias: table.as_deref(),
            };
            let d = backend.attention_gradient(&shape, inputs, (&result, &lse), &dy, wanted)?;
            let (prefix_key, prefix_value) = d.prefix.unzip();
            let found = [Some(d.query), Some(d.key), Some(d.value), prefix_key, prefix_value, d.bias];
            for (trace, gradient) in traces.into_iter().chain([bias_trace]).zip(found) {
                if let Some(gradient) = gradient {
                    gradients.compute(&trace, |backend, onto| sum_onto(backend, gradient, onto))?;
                }
            }
            Ok(())
        }))
    }

    fn check(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        prefix: Option<(&Tensor, &Tensor)>,
        [queries, keys]: [&Ragged; 2],
    ) -> Result<()> {
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let window = self.window.is_none_or(|window| window > 0 && self.causal);
        check("attention", window, || "a window only if causal, above 0".into(), || format!("{self:?}"))?;
        check_cap("attention", self.softcap)?;
        let grouped = self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        let found = || format!("{} and {}", self.heads, self.kv_heads);
        check("attention", grouped, || "heads that kv_heads divides".into(), found)?;
        let prefix_cols = prefix.into_iter().flat_map(|(key, value)| [(key, narrow), (value, narrow)]);
        for (tensor, cols) in [(query, wide), (key, narrow), (value, narrow)].into_iter().chain(prefix_cols) {
            tensor.require_f32("attention")?;
            let fits = tensor.cols() == cols;
            check("attention", fits, || format!("[_, {cols}]"), || format!("{:?}", tensor.shape()))?;
        }
        if let Some((key, value)) = prefix {
            let fits = key.rows() == value.rows();
            check("attention", fits, || "a prefix of one length".into(), || format!("{key:?}, {value:?}"))?;
        }
        queries.check("attention", query.rows())?;
        for tensor in [key, value] {
            keys.check_room("attention", tensor.rows())?;
        }
        let fewer = |(queries, keys): (usize, usize)| queries <= keys || !self.causal;
        let fewer =
            queries.sequences() == keys.sequences() && queries.lengths().zip(keys.lengths()).all(fewer);
        let found = || format!("queries {queries:?}, keys {keys:?}");
        check(
            "attention",
            fewer,
            || "the same sequences, if causal none with more queries than keys".into(),
            found,
        )
    }

    /// Refuses a bias that does not reach over all distances between a query and a key it sees.
    fn check_bias(
        &self,
        bias: &RelativeBias,
        prefix_len: usize,
        [queries, keys]: [&Ragged; 2],
    ) -> Result<()> {
        bias.table.require_f32("attention")?;
        let (distances, heads) = (bias.table.rows() as isize, bias.table.cols());
        check(
            "attention",
            heads == self.heads,
            || format!("a bias [_, {}]", self.heads),
            || heads.to_string(),
        )?;
        let places = queries.lengths().zip(keys.lengths()).filter(|(queries, _)| *queries > 0);
        for (queries, keys) in places {
            let [queries, keys] = [queries as isize, keys as isize];
            let (first_place, last_place) =
                if self.causal { (keys - queries, keys - 1) } else { (0, queries - 1) };
            let nearest_key = match self.window {
                Some(window) => (last_place + 1 - window as isize).max(-(prefix_len as isize)),
                _ => -(prefix_len as isize),
            };
            let (low, high) =
                (nearest_key - last_place, if self.causal { 0 } else { keys - 1 - first_place });
            let fits = bias.first <= low && high < bias.first + distances;
            let found = || format!("{} to {}", bias.first, bias.first + distances - 1);
            check("attention", fits, || format!("a bias for the distances {low} to {high}"), found)?;
        }
        Ok(())
    }
}
