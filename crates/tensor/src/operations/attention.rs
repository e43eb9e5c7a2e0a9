//! Attention over ragged sequences; of the seq × seq scores only the log-sum-exp is kept.

use super::elementwise::{check_cap, check_mask};
use super::linear::sum_onto;
use crate::backend::{Attention, AttentionShape, Ragged};
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::host::{Host, Kernels, kernel, read};
use crate::tensor::Tensor;
use std::sync::Arc;
use tenfold_kernels::attention::{Gradients, Operands};

/// Operands of an attention: query \[queries, heads · head_dim\], key and value \[keys, kv_heads · head_dim\], and the
/// prefix \[prefix_len, kv_heads · head_dim\].
#[derive(Clone, Copy)]
pub struct AttentionInputs<'a> {
    /// Queries.
    pub query: &'a Buffer,
    /// Keys.
    pub key: &'a Buffer,
    /// Values.
    pub value: &'a Buffer,
    /// Keys and values of the prefix, if there is one.
    pub prefix: Option<(&'a Buffer, &'a Buffer)>,
    /// What is added to capped scores by distance and head, \[distances, heads\], if anything is.
    pub bias: Option<&'a Buffer>,
}

/// Gradients of an attention, in the shapes of its inputs.
pub struct AttentionGradients {
    /// Of the queries.
    pub query: Buffer,
    /// Of the keys.
    pub key: Buffer,
    /// Of the values.
    pub value: Buffer,
    /// Of the prefix's keys and values, if there is one.
    pub prefix: Option<(Buffer, Buffer)>,
    /// Of the bias, if it was asked for.
    pub bias: Option<Buffer>,
}

/// What a device does for attention.
pub trait AttentionOps {
    /// The result \[queries, heads · head_dim\] and the log-sum-exp of each query's scores \[queries, heads\].
    fn attention(&self, shape: &AttentionShape, inputs: AttentionInputs) -> Result<(Buffer, Buffer)>;
    /// Its gradients; `saved` is what [`AttentionOps::attention`] returned, `bias_wanted` whether the bias wants one.
    fn attention_gradient(
        &self,
        shape: &AttentionShape,
        inputs: AttentionInputs,
        saved: (&Buffer, &Buffer),
        dy: &Buffer,
        bias_wanted: bool,
    ) -> Result<AttentionGradients>;
}

impl<K: Kernels> AttentionOps for Host<K> {
    fn attention(&self, shape: &AttentionShape, inputs: AttentionInputs) -> Result<(Buffer, Buffer)> {
        let mut lse = self.unwritten(shape.queries.rows() * shape.form.heads);
        let y = self.filled(inputs.query.len(), |y| {
            kernel!(K, attention::forward)(shape, operands(&inputs), y, &mut lse);
        });
        Ok((y, self.result(lse)))
    }

    fn attention_gradient(
        &self,
        shape: &AttentionShape,
        inputs: AttentionInputs,
        saved: (&Buffer, &Buffer),
        dy: &Buffer,
        bias_wanted: bool,
    ) -> Result<AttentionGradients> {
        let like = |buffer: &Buffer| self.unwritten(buffer.len());
        let [mut dq, mut dk, mut dv] = [inputs.query, inputs.key, inputs.value].map(like);
        let (mut dprefix_k, mut dprefix_v) = inputs.prefix.map(|(k, v)| (like(k), like(v))).unzip();
        let mut dbias = inputs.bias.filter(|_| bias_wanted).map(like);
        if Self::COMPUTES {
            let gradients = Gradients {
                dq: &mut dq,
                dk: &mut dk,
                dv: &mut dv,
                dprefix_k: dprefix_k.as_deref_mut().unwrap_or_default(),
                dprefix_v: dprefix_v.as_deref_mut().unwrap_or_default(),
                dbias: dbias.as_deref_mut(),
            };
            let (y, lse, dy) = (read(saved.0), read(saved.1), read(dy));
            kernel!(K, attention::backward)(shape, operands(&inputs), y, lse, dy, gradients);
        }
        let [query, key, value] = [dq, dk, dv].map(|d| self.result(d));
        let prefix = dprefix_k.zip(dprefix_v).map(|(k, v)| (self.result(k), self.result(v)));
        Ok(AttentionGradients { query, key, value, prefix, bias: dbias.map(|d| self.result(d)) })
    }
}

/// The numbers of the inputs; empty where there are none.
fn operands<'a>(inputs: &AttentionInputs<'a>) -> Operands<'a> {
    let (prefix_k, prefix_v) = inputs.prefix.map(|(k, v)| (read(k), read(v))).unwrap_or_default();
    let [q, k, v] = [inputs.query, inputs.key, inputs.value].map(read);
    Operands { q, k, v, prefix_k, prefix_v, bias: inputs.bias.map(read).unwrap_or_default() }
}

/// What is added to scores by distance (Raffel et al. 2020).
#[derive(Debug, Clone)]
pub struct RelativeBias {
    /// \[distances, heads\]; gradient flows into it.
    pub table: Tensor,
    /// The distance, key's place - query's place, that its first row belongs to.
    pub first: isize,
}

/// Refuses unless the sequences have `rows` rows together and no room between them.
pub(super) fn check_ragged(operation: &'static str, ragged: &Ragged, rows: usize) -> Result<()> {
    check_room(operation, ragged, if ragged.is_dense() { rows } else { usize::MAX })
}

/// Refuses unless the sequences take `rows` rows together, none of them more than its room.
fn check_room(operation: &'static str, ragged: &Ragged, rows: usize) -> Result<()> {
    let fits = ragged.is_apart() && ragged.rows() == rows;
    let expected = || format!("{} rows for {} sequences", ragged.rows(), ragged.sequences());
    check(operation, fits, expected, || format!("{rows} rows for {:?}", ragged.lengths().collect::<Vec<_>>()))
}

impl Tensor {
    /// Attention of self as queries \[queries, heads · head_dim\] over `key` and `value`
    /// \[keys, kv_heads · head_dim\] -> \[queries, heads · head_dim\]. A sequence may have fewer queries than keys:
    /// those of the tokens whose results are wanted, its last ones if causal, its first otherwise. The keys and values of
    /// `prefix` \[prefix, kv_heads · head_dim\] are seen by every query of every sequence, within its window if there is
    /// one. `keys` may have room ([`Ragged::with_room`]).
    ///
    /// `bias` adds `table[j - i - first][head]` to the scaled, capped score of the query at place i and the key at place
    /// j; a prefix stands at the places -prefix..-1.
    pub fn attention(
        &self,
        form: &Attention,
        key: &Tensor,
        value: &Tensor,
        prefix: Option<(&Tensor, &Tensor)>,
        bias: Option<&RelativeBias>,
        [queries, keys]: [&Ragged; 2],
    ) -> Result<Tensor> {
        let query = self;
        let prefix_len = prefix.map_or(0, |(key, _)| key.rows());
        let shape = AttentionShape {
            form: form.clone(),
            queries: queries.clone(),
            keys: keys.clone(),
            prefix_len,
            bias_first: bias.map(|bias| bias.first),
        };
        check_inputs(&shape, query, key, value, prefix)?;
        if let Some(bias) = bias {
            check_bias(&shape, bias)?;
        }
        let backend = query.backend();
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
}

fn check_inputs(
    shape: &AttentionShape,
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    prefix: Option<(&Tensor, &Tensor)>,
) -> Result<()> {
    let AttentionShape { form, queries, keys, .. } = shape;
    if let Some(dropout) = &form.dropout {
        check_mask("attention", dropout, query)?;
    }
    let (wide, narrow) = (form.heads * form.head_dim, form.kv_heads * form.head_dim);
    let window = form.window.is_none_or(|window| window > 0 && form.causal);
    check("attention", window, || "a window only if causal, above 0".into(), || format!("{form:?}"))?;
    check_cap("attention", form.softcap)?;
    let grouped = form.kv_heads > 0 && form.heads.is_multiple_of(form.kv_heads);
    let found = || format!("{} and {}", form.heads, form.kv_heads);
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
    check_ragged("attention", queries, query.rows())?;
    for tensor in [key, value] {
        check_room("attention", keys, tensor.rows())?;
    }
    let fewer = |(queries, keys): (usize, usize)| queries <= keys || !form.causal;
    let fewer = queries.sequences() == keys.sequences() && queries.lengths().zip(keys.lengths()).all(fewer);
    let found = || format!("queries {queries:?}, keys {keys:?}");
    check(
        "attention",
        fewer,
        || "the same sequences, if causal none with more queries than keys".into(),
        found,
    )
}

/// Refuses a bias that does not reach over all distances between a query and a key it sees.
fn check_bias(shape: &AttentionShape, bias: &RelativeBias) -> Result<()> {
    bias.table.require_f32("attention")?;
    let (form, prefix_len) = (&shape.form, shape.prefix_len as isize);
    let (distances, heads) = (bias.table.rows() as isize, bias.table.cols());
    check("attention", heads == form.heads, || format!("a bias [_, {}]", form.heads), || heads.to_string())?;
    let places = shape.queries.lengths().zip(shape.keys.lengths()).filter(|(queries, _)| *queries > 0);
    for (queries, keys) in places {
        let [queries, keys] = [queries as isize, keys as isize];
        let (first_place, last_place) =
            if form.causal { (keys - queries, keys - 1) } else { (0, queries - 1) };
        let nearest_key = match form.window {
            Some(window) => (last_place + 1 - window as isize).max(-prefix_len),
            _ => -prefix_len,
        };
        let (low, high) = (nearest_key - last_place, if form.causal { 0 } else { keys - 1 - first_place });
        let fits = bias.first <= low && high < bias.first + distances;
        let found = || format!("{} to {}", bias.first, bias.first + distances - 1);
        check("attention", fits, || format!("a bias for the distances {low} to {high}"), found)?;
    }
    Ok(())
}
