//! Attention of every form against plain loops, finite differences, and any number of threads.

use super::*;
use crate::dropout::Row;
use crate::testing::{
    assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
};

/// q, k, v, prefix_k, prefix_v.
type Inputs = [Vec<f32>; 5];

/// An attention that owns what it is made of.
#[derive(Clone)]
struct Form {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    window: Option<usize>,
    softcap: Option<f32>,
    /// Bias table, and its first distance.
    bias: Option<(Vec<f32>, isize)>,
    queries: Vec<usize>,
    keys: Vec<usize>,
    /// Rows between the sequences of the keys, if those are in a cache.
    room: Option<usize>,
    prefix_len: usize,
    /// Probability.
    dropout: Option<f32>,
    /// The number of the first sequence.
    sequence: usize,
}

impl Form {
    /// Every token asked for.
    fn new(heads: [usize; 3], keys: &[usize]) -> Form {
        let [heads, kv_heads, head_dim] = heads;
        let (queries, keys) = (keys.to_vec(), keys.to_vec());
        Form {
            heads,
            kv_heads,
            head_dim,
            causal: false,
            window: None,
            softcap: None,
            bias: None,
            queries,
            keys,
            room: None,
            prefix_len: 0,
            dropout: None,
            sequence: 0,
        }
    }

    fn asked(self, at_most: usize) -> Form {
        Form { queries: self.keys.iter().map(|len| (*len).min(at_most)).collect(), ..self }
    }

    fn prefix(self, prefix_len: usize) -> Form {
        Form { prefix_len, ..self }
    }

    /// A bias for every distance there is.
    fn biased(self) -> Form {
        let longest = self.keys.iter().copied().max().unwrap_or(0);
        let first = -((longest + self.prefix_len) as isize);
        let table = values(8, (2 * longest + self.prefix_len) * self.heads);
        Form { bias: Some((table, first)), ..self }
    }

    fn shape(&self) -> AttentionShape {
        let keys = self.keys.iter().copied();
        let keys = match self.room {
            None => Ragged::from_lengths(keys),
            Some(room) => Ragged::with_room(keys, room),
        };
        let rows = (self.queries.iter().enumerate()).flat_map(|(number, length)| {
            let sequence = (self.sequence + number) as u32;
            (0..*length as u32).map(move |position| Row { sequence, position })
        });
        let rows = rows.collect();
        AttentionShape {
            form: Attention {
                heads: self.heads,
                kv_heads: self.kv_heads,
                head_dim: self.head_dim,
                scale: 1.0 / (self.head_dim as f32).sqrt(),
                causal: self.causal,
                window: self.window,
                softcap: self.softcap,
                dropout: self.dropout.map(|probability| Dropout { probability, key: 5, stream: 1, rows }),
            },
            queries: Ragged::from_lengths(self.queries.iter().copied()),
            keys,
            prefix_len: self.prefix_len,
            bias_first: self.bias.as_ref().map(|(_, first)| *first),
        }
    }

    fn operands<'a>(&'a self, [q, k, v, prefix_k, prefix_v]: &'a Inputs) -> Operands<'a> {
        let bias = self.bias.as_ref().map_or(&[][..], |(table, _)| table);
        Operands { q, k, v, prefix_k, prefix_v, bias }
    }

    fn inputs(&self) -> Inputs {
        let tokens: usize = self.queries.iter().sum();
        let keys = self.room.map_or(self.keys.iter().sum(), |room| room * self.keys.len());
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let prefix = self.prefix_len * narrow;
        let sizes = [tokens * wide, keys * narrow, keys * narrow, prefix, prefix];
        std::array::from_fn(|i| values(i as u64 + 1, sizes[i]).iter().map(|v| v * 2.0).collect())
    }

    /// out and lse.
    fn run(&self, x: &Inputs, plain: bool) -> [Vec<f32>; 2] {
        let mut result = [vec![f32::NAN; x[0].len()], vec![f32::NAN; x[0].len() / self.head_dim]];
        let [out, lse] = &mut result;
        let f = if plain { reference::forward } else { forward };
        f(&self.shape(), self.operands(x), out, lse);
        result
    }

    /// Of the inputs, and of the bias.
    fn gradients(&self, x: &Inputs, [out, lse]: &[Vec<f32>; 2], dout: &[f32], plain: bool) -> Vec<Vec<f32>> {
        let mut result: Inputs = std::array::from_fn(|i| vec![f32::NAN; x[i].len()]);
        let mut dbias = self.bias.as_ref().map(|(table, _)| vec![f32::NAN; table.len()]);
        let [dq, dk, dv, dprefix_k, dprefix_v] = &mut result;
        let g = Gradients { dq, dk, dv, dprefix_k, dprefix_v, dbias: dbias.as_deref_mut() };
        let f = if plain { reference::backward } else { backward };
        f(&self.shape(), self.operands(x), out, lse, dout, g);
        result.into_iter().chain([dbias.unwrap_or_default()]).collect()
    }
}

/// What each form is tried as.
fn variants(form: Form) -> Vec<Form> {
    let dropout = Some(0.2);
    let causal = Form { causal: true, ..form.clone() };
    vec![
        form.clone(),
        Form { dropout, ..form.clone() },
        form.clone().biased(),
        Form { softcap: Some(1.5), ..causal.clone() },
        Form { dropout, softcap: Some(1.5), ..causal.clone().biased() },
        Form { window: Some(1), ..causal.clone() },
        Form { window: Some(70), dropout, ..causal.clone().biased() },
        Form { window: Some(250), room: Some(1000), ..causal.clone() },
        causal,
    ]
}

fn forms() -> Vec<Form> {
    let forms = [
        Form::new([2, 2, 32], &[5, 0, 65, 1]),
        Form::new([4, 2, 16], &[3, 17]).prefix(5),
        Form::new([4, 2, 16], &[3, 17, 0]).prefix(5).asked(1),
        Form::new([3, 1, 20], &[9]).prefix(1),
        Form::new([1, 1, 3], &[300]).prefix(250),
        Form::new([2, 1, 64], &[70, 300]),
        Form::new([2, 1, 64], &[70, 300]).asked(70),
        Form::new([8, 2, 32], &[500, 1, 260]).asked(1),
        Form::new([6, 3, 4], &[530]),
        Form::new([1, 1, 8], &[4]).prefix(2).asked(0),
        Form::new([1, 1, 8], &[]).prefix(2),
    ];
    forms.into_iter().flat_map(variants).collect()
}

#[test]
fn matches_the_reference() {
    for form in forms() {
        let x = form.inputs();
        let want = form.run(&x, true);
        let dout = values(9, x[0].len());
        let want_gradients = form.gradients(&x, &want, &dout, true);
        on_every_level(|| {
            let got = form.run(&x, false);
            (0..2).for_each(|i| assert_close(&got[i], &want[i], 5e-6));
            let got = form.gradients(&x, &want, &dout, false);
            (0..6).for_each(|i| assert_close(&got[i], &want_gradients[i], 3e-5));
        });
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let form = Form { causal: true, ..Form::new([1, 1, 4], &[500]) };
    let mut x = form.inputs();
    x[0].iter_mut().for_each(|q| *q *= 200.0);
    let got = form.run(&x, false);
    assert_close(&got[0], &form.run(&x, true)[0], 5e-4);
}

#[test]
fn a_query_has_the_same_bits_alone_and_among_others() {
    // One token after the other over a cache, as in generation, against all of them at once.
    for window in [None, Some(100)] {
        let all = Form { causal: true, window, softcap: Some(9.0), ..Form::new([4, 2, 32], &[520]) };
        let x = all.inputs();
        on_every_level(|| {
            let [whole, _] = all.run(&x, false);
            for last in [1, 17, 240, 241, 520] {
                let one = Form { queries: vec![1], keys: vec![last], room: Some(520), ..all.clone() };
                let mut alone = x.clone();
                alone[0] = x[0][(last - 1) * 128..last * 128].to_vec();
                assert_eq!(one.run(&alone, false)[0], whole[(last - 1) * 128..last * 128], "token {last}");
            }
        });
    }
}

#[test]
fn blocks_outside_the_window_are_not_touched() {
    let form = Form { causal: true, window: Some(3), ..Form::new([1, 1, 8], &[900]) };
    let mut x = form.inputs();
    // Poison in three whole blocks of keys, seen last by query 721.
    let blocks = 8 * 3 * KEYS;
    x[1][..blocks].fill(f32::NAN);
    x[2][..blocks].fill(f32::NAN);
    let result = form.run(&x, false);
    let clean = 8 * 768;
    assert!(result[0][clean..].iter().all(|v| v.is_finite()) && result[0][8 * 721].is_nan());
    let got = form.gradients(&x, &result, &vec![1.0; x[0].len()], false);
    assert!(got.iter().take(3).all(|d| d[clean..].iter().all(|v| v.is_finite())));
}

#[test]
fn reference_backward_is_the_gradient() {
    let small = Form { queries: vec![2, 1], ..Form::new([2, 1, 3], &[3, 1]) };
    let dropout = Some(0.3);
    let causal = Form { causal: true, ..small.clone() };
    let forms = [
        small.clone(),
        small.biased(),
        causal.clone().prefix(2).biased(),
        Form { window: Some(2), softcap: Some(1.2), room: Some(4), ..causal.clone().prefix(1).biased() },
        Form { dropout, ..causal.prefix(1) },
    ];
    for form in forms {
        let x = form.inputs();
        let dout = values(9, x[0].len());
        let got = form.gradients(&x, &form.run(&x, true), &dout, true);
        for i in 0..5 {
            assert_gradient(&x[i], &got[i], |moved| {
                let mut x = x.clone();
                x[i] = moved.to_vec();
                dot(&form.run(&x, true)[0], &dout)
            });
        }
        if let Some((table, first)) = &form.bias {
            assert_gradient(table, &got[5], |table| {
                let form = Form { bias: Some((table.to_vec(), *first)), ..form.clone() };
                dot(&form.run(&x, true)[0], &dout)
            });
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let dropout = Some(0.1);
    let lengths: Vec<usize> = (0..12).map(|i| i * i).collect();
    let many = Form { causal: true, dropout, ..Form::new([6, 3, 32], &lengths).prefix(7).biased() };
    let long = Form { causal: true, ..Form::new([2, 1, 16], &[1100]).prefix(1).biased() };
    let window = Form { window: Some(300), softcap: Some(2.0), ..long.clone() };
    for form in [many, long, window] {
        let x = form.inputs();
        let dout = values(9, x[0].len());
        assert_same_bits_on_any_threads(|| {
            let result = form.run(&x, false);
            let gradients = form.gradients(&x, &result, &dout, false);
            [result.to_vec(), gradients].concat().concat()
        });
    }
}

#[test]
fn a_sequence_meets_the_same_mask_whatever_is_beside_it() {
    let lengths = [70, 3, 260];
    for causal in [true, false] {
        let form = Form { causal, dropout: Some(0.3), ..Form::new([4, 2, 8], &lengths).prefix(5) };
        let x = form.inputs();
        let whole = form.run(&x, false);
        let mut first = 0;
        for (sequence, length) in lengths.into_iter().enumerate() {
            let alone = Form { queries: vec![length], keys: vec![length], sequence, ..form.clone() };
            let cut =
                |numbers: &[f32], width: usize| numbers[first * width..(first + length) * width].to_vec();
            let [q, k, v, pk, pv] = &x;
            let own = [cut(q, 32), cut(k, 16), cut(v, 16), pk.clone(), pv.clone()];
            assert_eq!(alone.run(&own, false)[0], cut(&whole[0], 32), "sequence {sequence}");
            let other = Form { sequence: sequence + 1, ..alone };
            assert_ne!(other.run(&own, false)[0], cut(&whole[0], 32), "sequence {sequence}");
            first += length;
        }
    }
}
