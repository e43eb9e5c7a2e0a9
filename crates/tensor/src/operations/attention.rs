//! Attention over ragged sequences; of the seq × seq scores only the log-sum-exp is kept.

use super::linear::sum_onto;
use crate::backend::{AttentionInputs, AttentionShape, Ragged};
use crate::error::{Result, check};
use crate::tensor::Tensor;
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
    /// Dropout on the probabilities.
    pub dropout: Option<Dropout>,
}

impl Attention {
    /// Query \[queries, heads · head_dim\], key and value \[keys, kv_heads · head_dim\] ->
    /// \[queries, heads · head_dim\]. A sequence may have fewer queries than keys: those of the tokens whose
    /// results are wanted, its last ones if causal. The keys and values of `prefix`
    /// \[prefix, kv_heads · head_dim\] are seen by every query of every sequence.
    pub fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        prefix: Option<(&Tensor, &Tensor)>,
        [queries, keys]: [&Ragged; 2],
    ) -> Result<Tensor> {
        self.check(query, key, value, prefix, [queries, keys])?;
        let backend = query.backend();
        let shape = AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.scale,
            causal: self.causal,
            queries: queries.clone(),
            keys: keys.clone(),
            prefix_len: prefix.map_or(0, |(key, _)| key.rows()),
            dropout: self.dropout,
        };
        let saved = [query, key, value].map(|tensor| tensor.buffer().clone());
        let saved_prefix = prefix.map(|(key, value)| (key.buffer().clone(), value.buffer().clone()));
        let inputs = AttentionInputs {
            query: &saved[0],
            key: &saved[1],
            value: &saved[2],
            prefix: saved_prefix.as_ref().map(|(key, value)| (&**key, &**value)),
        };
        let (y, lse) = backend.attention(&shape, inputs)?;
        let prefix_traces = prefix.map_or((None, None), |(k, v)| (k.trace().clone(), v.trace().clone()));
        let [q, k, v] = [query, key, value].map(|tensor| tensor.trace().clone());
        let traces = [&q.clone(), &k.clone(), &v.clone(), &prefix_traces.0.clone(), &prefix_traces.1.clone()];
        // The backward pass needs the result too: both hold one buffer.
        let y = std::sync::Arc::new(y);
        let result = y.clone();
        Ok(Tensor::shared_result(backend, &traces, y, query.shape().to_vec(), move |dy, gradients| {
            let inputs = AttentionInputs {
                query: &saved[0],
                key: &saved[1],
                value: &saved[2],
                prefix: saved_prefix.as_ref().map(|(key, value)| (&**key, &**value)),
            };
            let d = gradients.backend.attention_gradient(&shape, inputs, (&result, &lse), &dy)?;
            let (dprefix_k, dprefix_v) = d.prefix.map_or((None, None), |(k, v)| (Some(k), Some(v)));
            let targets = [
                (q, Some(d.query)),
                (k, Some(d.key)),
                (v, Some(d.value)),
                (prefix_traces.0, dprefix_k),
                (prefix_traces.1, dprefix_v),
            ];
            for (trace, gradient) in targets {
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
        for (tensor, ragged) in [(query, queries), (key, keys), (value, keys)] {
            ragged.check("attention", tensor.rows())?;
        }
        let fewer = queries.sequences() == keys.sequences()
            && queries.lengths().zip(keys.lengths()).all(|(queries, keys)| queries <= keys);
        let found = || format!("queries {queries:?}, keys {keys:?}");
        check("attention", fewer, || "the same sequences, none with more queries than keys".into(), found)
    }
}
