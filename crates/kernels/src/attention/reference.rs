//! Attention in plain loops with f64 sums.

use super::{AttentionShape, Gradients, Key, Operands};

/// See [`super::forward`].
pub fn forward(p: &AttentionShape, operands: Operands, out: &mut [f32], lse: &mut [f32]) {
    p.check(&operands);
    let Operands { q, k, v, prefix_k, prefix_v, bias } = operands;
    let (keys, values) = (Side::of(p, k, prefix_k), Side::of(p, v, prefix_v));
    every_query(p, |query, seen| {
        let row_q = row(q, query.at(p), p.form.head_dim);
        let scores: Vec<f64> =
            seen.iter().map(|key| query.score(p, bias, dot(row_q, keys.row(&query, *key)), *key).0).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let l = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
        lse[query.at(p)] = l as f32;
        for d in 0..p.form.head_dim {
            let one = |(s, key): (&f64, &Key)| {
                (s - l).exp() * query.kept(p, *key) * values.row(&query, *key)[d] as f64
            };
            out[query.at(p) * p.form.head_dim + d] = scores.iter().zip(seen).map(one).sum::<f64>() as f32;
        }
    });
}

/// See [`super::backward`].
pub fn backward(
    p: &AttentionShape,
    operands: Operands,
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    gradients: Gradients,
) {
    p.check(&operands);
    let Operands { q, k, v, prefix_k, prefix_v, bias } = operands;
    let (keys, values) = (Side::of(p, k, prefix_k), Side::of(p, v, prefix_v));
    let mut dq = vec![0.0f64; q.len()];
    let mut dkeys = [vec![0.0f64; k.len()], vec![0.0f64; prefix_k.len()]];
    let mut dvalues = [vec![0.0f64; k.len()], vec![0.0f64; prefix_k.len()]];
    let mut dbias = vec![0.0f64; bias.len()];
    every_query(p, |query, seen| {
        let at = query.at(p);
        let (row_q, dy) = (row(q, at, p.form.head_dim), row(dout, at, p.form.head_dim));
        let delta = dot(row(out, at, p.form.head_dim), dy);
        for &key in seen {
            let (row_k, row_v) = (keys.row(&query, key), values.row(&query, key));
            let factor = query.kept(p, key);
            let (score, slope) = query.score(p, bias, dot(row_q, row_k), key);
            let probability = (score - lse[at] as f64).exp();
            let dscore = probability * (dot(dy, row_v) * factor - delta);
            if let Some(cell) = query.bias_cell(p, key) {
                dbias[cell] += dscore;
            }
            let ds = dscore * slope * p.form.scale as f64;
            let (in_prefix, first) = keys.at(&query, key);
            for d in 0..p.form.head_dim {
                dq[at * p.form.head_dim + d] += ds * row_k[d] as f64;
                dkeys[in_prefix as usize][first + d] += ds * row_q[d] as f64;
                dvalues[in_prefix as usize][first + d] += probability * factor * dy[d] as f64;
            }
        }
    });
    let [dk, dprefix_k] = dkeys;
    let [dv, dprefix_v] = dvalues;
    let g = gradients;
    let all = [(dq, g.dq), (dk, g.dk), (dv, g.dv), (dprefix_k, g.dprefix_k), (dprefix_v, g.dprefix_v)];
    for (sums, out) in all.into_iter().chain(g.dbias.map(|out| (dbias, out))) {
        out.iter_mut().zip(sums).for_each(|(o, s)| *o = s as f32);
    }
}

/// One head's query of a sequence.
struct Query {
    sequence: usize,
    /// Within the sequence.
    number: usize,
    head: usize,
    /// Row among all queries.
    token: usize,
}

impl Query {
    /// Its row among the heads of all queries.
    fn at(&self, p: &AttentionShape) -> usize {
        self.token * p.form.heads + self.head
    }

    /// The score, and the slope of the cap there, from the product of query and key.
    fn score(&self, p: &AttentionShape, bias: &[f32], product: f64, key: Key) -> (f64, f64) {
        let scaled = p.form.scale as f64 * product;
        let tanh = p.form.softcap.map(|c| (scaled / c as f64).tanh());
        let capped = p.form.softcap.zip(tanh).map_or(scaled, |(c, t)| c as f64 * t);
        let bias = self.bias_cell(p, key).map_or(0.0, |cell| bias[cell] as f64);
        (capped + bias, tanh.map_or(1.0, |t| 1.0 - t * t))
    }

    /// Where the bias of this query and a key stands in the table.
    fn bias_cell(&self, p: &AttentionShape, key: Key) -> Option<usize> {
        let first = p.bias_first?;
        let j = match key {
            Key::Prefix(t) => t as isize - p.prefix_len as isize,
            Key::Own(t) => t as isize,
        };
        Some((j - self.place(p) - first) as usize * p.form.heads + self.head)
    }

    fn place(&self, p: &AttentionShape) -> isize {
        let fewer = p.keys.lengths[self.sequence] - p.queries.lengths[self.sequence];
        (self.number + if p.form.causal { fewer } else { 0 }) as isize
    }

    /// Whether it sees a key at that place; the prefix stands at -prefix_len..-1.
    fn sees(&self, p: &AttentionShape, place: isize) -> bool {
        let behind = self.place(p) - place;
        !p.form.causal || (behind >= 0 && p.form.window.is_none_or(|window| behind < window as isize))
    }

    fn kept(&self, p: &AttentionShape, key: Key) -> f64 {
        let element = match key {
            Key::Prefix(t) => p.dropout_element(self.head, t, true),
            Key::Own(t) => p.dropout_element(self.head, t, false),
        };
        p.form.dropout.as_ref().map_or(1.0, |d| d.keep_scale(self.token, element) as f64)
    }
}

/// Keys or values with their prefix.
struct Side<'a> {
    p: &'a AttentionShape,
    own: &'a [f32],
    prefix: &'a [f32],
}

impl<'a> Side<'a> {
    fn of(p: &'a AttentionShape, own: &'a [f32], prefix: &'a [f32]) -> Self {
        Side { p, own, prefix }
    }

    /// Whether a key stands in the prefix, and where its numbers start there or among the sequences' own.
    fn at(&self, query: &Query, key: Key) -> (bool, usize) {
        let p = self.p;
        let (in_prefix, row) = match key {
            Key::Prefix(t) => (true, t),
            Key::Own(t) => (false, p.keys.starts[query.sequence] + t),
        };
        (in_prefix, (row * p.form.kv_heads + query.head / (p.form.heads / p.form.kv_heads)) * p.form.head_dim)
    }

    fn row(&self, query: &Query, key: Key) -> &'a [f32] {
        let (in_prefix, first) = self.at(query, key);
        &(if in_prefix { self.prefix } else { self.own })[first..first + self.p.form.head_dim]
    }
}

/// Calls `f` for every query with the keys it sees.
fn every_query(p: &AttentionShape, mut f: impl FnMut(Query, &[Key])) {
    for (sequence, (&start, queries)) in p.queries.starts().iter().zip(p.queries.lengths()).enumerate() {
        for number in 0..queries {
            for head in 0..p.form.heads {
                let query = Query { sequence, number, head, token: start + number };
                let prefix =
                    (0..p.prefix_len).map(|key| (Key::Prefix(key), key as isize - p.prefix_len as isize));
                let own = (0..p.keys.lengths[sequence]).map(|key| (Key::Own(key), key as isize));
                let seen = prefix.chain(own).filter(|(_, place)| query.sees(p, *place)).map(|(key, _)| key);
                let seen: Vec<Key> = seen.collect();
                f(query, &seen);
            }
        }
    }
}

fn row(x: &[f32], index: usize, width: usize) -> &[f32] {
    &x[index * width..(index + 1) * width]
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum()
}
