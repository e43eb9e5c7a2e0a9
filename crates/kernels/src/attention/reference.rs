//! Attention in plain loops with f64 sums.

use super::{Attention, Gradients};

/// See [`super::forward`].
pub fn forward(
    p: &Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    prefix_k: &[f32],
    prefix_v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    p.check(q, k, v, prefix_k, prefix_v);
    let (keys, values) = (Side::of(p, k, prefix_k), Side::of(p, v, prefix_v));
    every_query(p, |token, head, sequence, visible| {
        let query = row(q, token * p.heads + head, p.head_dim);
        let scores: Vec<f64> =
            (0..visible).map(|t| p.scale as f64 * dot(query, keys.row(sequence, head, t))).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let l = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
        lse[token * p.heads + head] = l as f32;
        for d in 0..p.head_dim {
            let one = |t: usize| {
                (scores[t] - l).exp() * kept(p, token, head, t) * values.row(sequence, head, t)[d] as f64
            };
            out[(token * p.heads + head) * p.head_dim + d] = (0..visible).map(one).sum::<f64>() as f32;
        }
    });
}

/// See [`super::backward`].
pub fn backward(
    p: &Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    prefix_k: &[f32],
    prefix_v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    gradients: Gradients,
) {
    p.check(q, k, v, prefix_k, prefix_v);
    let (keys, values) = (Side::of(p, k, prefix_k), Side::of(p, v, prefix_v));
    let mut dq = vec![0.0f64; q.len()];
    let mut dkeys = [vec![0.0f64; k.len()], vec![0.0f64; prefix_k.len()]];
    let mut dvalues = [vec![0.0f64; k.len()], vec![0.0f64; prefix_k.len()]];
    every_query(p, |token, head, sequence, visible| {
        let at = token * p.heads + head;
        let (query, dy) = (row(q, at, p.head_dim), row(dout, at, p.head_dim));
        let delta = dot(row(out, at, p.head_dim), dy);
        for t in 0..visible {
            let (key, value) = (keys.row(sequence, head, t), values.row(sequence, head, t));
            let factor = kept(p, token, head, t);
            let probability = (p.scale as f64 * dot(query, key) - lse[at] as f64).exp();
            let ds = probability * (dot(dy, value) * factor - delta) * p.scale as f64;
            let (in_prefix, first) = keys.at(sequence, head, t);
            for d in 0..p.head_dim {
                dq[at * p.head_dim + d] += ds * key[d] as f64;
                dkeys[in_prefix as usize][first + d] += ds * query[d] as f64;
                dvalues[in_prefix as usize][first + d] += probability * factor * dy[d] as f64;
            }
        }
    });
    let [dk, dprefix_k] = dkeys;
    let [dv, dprefix_v] = dvalues;
    let g = gradients;
    let all = [(dq, g.dq), (dk, g.dk), (dv, g.dv), (dprefix_k, g.dprefix_k), (dprefix_v, g.dprefix_v)];
    for (sums, out) in all {
        out.iter_mut().zip(sums).for_each(|(o, s)| *o = s as f32);
    }
}

/// Keys or values with their prefix.
struct Side<'a> {
    p: &'a Attention<'a>,
    own: &'a [f32],
    prefix: &'a [f32],
}

impl<'a> Side<'a> {
    fn of(p: &'a Attention, own: &'a [f32], prefix: &'a [f32]) -> Self {
        Side { p, own, prefix }
    }

    /// Whether key `t` stands in the prefix, and where its numbers start there or among the sequences' own.
    fn at(&self, sequence: usize, head: usize, t: usize) -> (bool, usize) {
        let p = self.p;
        let kv_head = head / (p.heads / p.kv_heads);
        let in_prefix = t < p.prefix_len;
        let token = if in_prefix { t } else { p.key_offsets[sequence] + t - p.prefix_len };
        (in_prefix, (token * p.kv_heads + kv_head) * p.head_dim)
    }

    fn row(&self, sequence: usize, head: usize, t: usize) -> &'a [f32] {
        let (in_prefix, first) = self.at(sequence, head, t);
        &(if in_prefix { self.prefix } else { self.own })[first..first + self.p.head_dim]
    }
}

/// Calls `f(token, head, sequence, visible keys)` for every query.
fn every_query(p: &Attention, mut f: impl FnMut(usize, usize, usize, usize)) {
    for sequence in 0..p.sequences() {
        let tokens = p.tokens(sequence);
        for token in tokens.clone() {
            for head in 0..p.heads {
                let keys = p.prefix_len + p.key_tokens(sequence).len();
                let visible = p.visible(token, &tokens, keys);
                f(token, head, sequence, visible);
            }
        }
    }
}

fn kept(p: &Attention, token: usize, head: usize, key: usize) -> f64 {
    p.dropout.map_or(1.0, |d| d.keep_scale(p.dropout_index(token, head, key)) as f64)
}

fn row(x: &[f32], index: usize, width: usize) -> &[f32] {
    &x[index * width..(index + 1) * width]
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum()
}
