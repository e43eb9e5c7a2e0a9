//! Attention: for every query of every head, its scores over the keys that it sees.

use crate::ExampleDevice;
use crate::arithmetic::{cap_slope, capped, log_sum_exp};
use crate::memory::numbers;
use std::sync::Arc;
use tenfold_tensor::backend::{
    AttentionGradients, AttentionInputs, AttentionOps, AttentionShape, Buffer, Result,
};

/// A query of one head.
struct Query {
    /// Number of its head among all heads of all queries.
    place: usize,
    /// Row among the queries, and head.
    row: usize,
    head: usize,
    /// The keys that it sees.
    keys: Vec<Key>,
}

/// A key that a query sees.
struct Key {
    in_prefix: bool,
    /// Where its numbers begin: among all keys, or in the prefix.
    first: usize,
    /// Number of the bias in its table.
    bias: Option<usize>,
    /// What dropout multiplies its probability with.
    kept: f64,
}

/// All queries, with what they see.
fn queries(shape: &AttentionShape) -> Vec<Query> {
    let (form, mut all) = (&shape.form, Vec::new());
    for sequence in 0..shape.queries.sequences() {
        let (rows, keys) = (shape.queries.span(sequence), shape.keys.span(sequence));
        // The queries are the last tokens of a causal sequence, the first of any other.
        let skipped = if form.causal { keys.len() - rows.len() } else { 0 };
        for (number, row) in rows.enumerate() {
            let place = (number + skipped) as isize;
            for head in 0..form.heads {
                let seen = |at: isize| {
                    let behind = place - at;
                    !form.causal || (behind >= 0 && form.window.is_none_or(|window| behind < window as isize))
                };
                let key = |at: isize| {
                    let in_prefix = at < 0;
                    let within = if in_prefix { at + shape.prefix_len as isize } else { at } as usize;
                    let key_row = if in_prefix { within } else { keys.start + within };
                    let key_head = head / (form.heads / form.kv_heads);
                    let element = shape.dropout_element(head, within, in_prefix);
                    let kept = form.dropout.as_ref().map_or(1.0, |dropout| dropout.keep_scale(row, element));
                    Key {
                        in_prefix,
                        first: (key_row * form.kv_heads + key_head) * form.head_dim,
                        bias: shape.bias_first.map(|first| (at - place - first) as usize * form.heads + head),
                        kept: f64::from(kept),
                    }
                };
                let places = -(shape.prefix_len as isize)..keys.len() as isize;
                let keys = places.filter(|at| seen(*at)).map(key).collect();
                all.push(Query { place: row * form.heads + head, row, head, keys });
            }
        }
    }
    all
}

/// The numbers of the inputs.
struct Inputs {
    query: Arc<Vec<f32>>,
    /// Keys and values: the sequences' own, and the prefix's.
    keys: [Arc<Vec<f32>>; 2],
    values: [Arc<Vec<f32>>; 2],
    bias: Option<Arc<Vec<f32>>>,
}

impl Inputs {
    fn of(inputs: &AttentionInputs) -> Inputs {
        let (prefix_key, prefix_value) = inputs.prefix.unzip();
        let both =
            |own: &Buffer, prefix: Option<&Buffer>| [numbers(own), prefix.map(numbers).unwrap_or_default()];
        Inputs {
            query: numbers(inputs.query),
            keys: both(inputs.key, prefix_key),
            values: both(inputs.value, prefix_value),
            bias: inputs.bias.map(numbers),
        }
    }

    /// The capped score before the bias.
    fn score(&self, shape: &AttentionShape, query: &Query, key: &Key) -> f64 {
        let form = &shape.form;
        let q = &self.query[query.place * form.head_dim..][..form.head_dim];
        let k = &self.keys[usize::from(key.in_prefix)][key.first..][..form.head_dim];
        capped(f64::from(form.scale) * dot(q, k), form.softcap)
    }

    fn bias(&self, key: &Key) -> f64 {
        self.bias.as_ref().zip(key.bias).map_or(0.0, |(table, at)| f64::from(table[at]))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Adds `factor` times `x` onto numbers from `first` on.
fn add(sums: &mut [f64], first: usize, factor: f64, x: &[f32]) {
    sums[first..].iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * f64::from(*x));
}

impl AttentionOps for ExampleDevice {
    fn attention(&self, shape: &AttentionShape, inputs: AttentionInputs) -> Result<(Buffer, Buffer)> {
        self.note("attention");
        let (inputs, width) = (Inputs::of(&inputs), shape.form.head_dim);
        let mut y = vec![0.0; inputs.query.len()];
        let mut lses = vec![0.0; shape.queries.rows() * shape.form.heads];
        for query in queries(shape) {
            let score = |key: &Key| inputs.score(shape, &query, key) + inputs.bias(key);
            let scores: Vec<f64> = query.keys.iter().map(score).collect();
            let lse = log_sum_exp(scores.iter().copied());
            for (key, score) in query.keys.iter().zip(scores) {
                let value = &inputs.values[usize::from(key.in_prefix)][key.first..][..width];
                add(&mut y, query.place * width, (score - lse).exp() * key.kept, value);
            }
            lses[query.row * shape.form.heads + query.head] = lse;
        }
        Ok((self.result(y), self.result(lses)))
    }

    fn attention_gradient(
        &self,
        shape: &AttentionShape,
        inputs: AttentionInputs,
        saved: (&Buffer, &Buffer),
        dy: &Buffer,
        bias_wanted: bool,
    ) -> Result<AttentionGradients> {
        self.note("attention_gradient");
        let (has_prefix, inputs, width) = (inputs.prefix.is_some(), Inputs::of(&inputs), shape.form.head_dim);
        let (y, lse, dy) = (numbers(saved.0), numbers(saved.1), numbers(dy));
        let zeros = |like: &Arc<Vec<f32>>| vec![0.0; like.len()];
        let mut dquery = zeros(&inputs.query);
        let mut dkeys = inputs.keys.each_ref().map(zeros);
        let mut dvalues = inputs.values.each_ref().map(zeros);
        let mut dbias = inputs.bias.as_ref().map(zeros);
        for query in queries(shape) {
            let first = query.place * width;
            let (q, dy) = (&inputs.query[first..][..width], &dy[first..][..width]);
            let delta = dot(&y[first..][..width], dy);
            for key in &query.keys {
                let side = usize::from(key.in_prefix);
                let [k, v] = [&inputs.keys, &inputs.values].map(|rows| &rows[side][key.first..][..width]);
                let score = inputs.score(shape, &query, key);
                let probability = (score + inputs.bias(key) - f64::from(lse[query.place])).exp();
                let dscore = probability * (dot(dy, v) * key.kept - delta);
                if let Some((sums, at)) = dbias.as_mut().zip(key.bias) {
                    sums[at] += dscore;
                }
                let dproduct = dscore * cap_slope(score, shape.form.softcap) * f64::from(shape.form.scale);
                add(&mut dquery, first, dproduct, k);
                add(&mut dkeys[side], key.first, dproduct, q);
                add(&mut dvalues[side], key.first, probability * key.kept, dy);
            }
        }
        let ([dkey, prefix_key], [dvalue, prefix_value]) = (dkeys, dvalues);
        Ok(AttentionGradients {
            query: self.result(dquery),
            key: self.result(dkey),
            value: self.result(dvalue),
            prefix: has_prefix.then(|| (self.result(prefix_key), self.result(prefix_value))),
            bias: dbias.filter(|_| bias_wanted).map(|sums| self.result(sums)),
        })
    }
}
