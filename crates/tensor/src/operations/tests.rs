//! The operations on the fast backend against plain loops, and recomputation against keeping everything.

use crate::{
    Activation, Attention, Backend, Cayley, Class, Cpu, Error, Param, Ragged, Reference, RelativeBias,
    Result, RowCache, Tensor, Usage, Vectors, random, recompute, without_gradients,
};
use std::sync::Arc;

type Loss = dyn Fn(&Arc<dyn Backend>, &[Tensor]) -> Result<Tensor>;

fn numbers(key: u64, len: usize) -> Vec<f32> {
    random::uniform(key, len, 1.0)
}

fn frozen(backend: &Arc<dyn Backend>, key: u64, shape: &[usize]) -> Result<Tensor> {
    Tensor::new(backend, Class::Base, shape, numbers(key, shape.iter().product()))
}

fn params(backend: &Arc<dyn Backend>, shapes: &[&[usize]]) -> Result<Vec<Param>> {
    let param = |(i, shape): (usize, &&[usize])| {
        Param::new(backend, format!("p{i}"), shape, numbers(100 + i as u64, shape.iter().product()))
    };
    shapes.iter().enumerate().map(param).collect()
}

/// The loss, and the gradients of parameters of these shapes.
fn run(backend: &Arc<dyn Backend>, shapes: &[&[usize]], loss: &Loss) -> Result<Vec<Vec<f32>>> {
    let params = params(backend, shapes)?;
    let tensors: Vec<Tensor> = params.iter().map(Param::tensor).collect();
    let value = loss(backend, &tensors)?;
    drop(tensors);
    let mut found = vec![value.numbers()?];
    value.backward(0.5)?;
    for param in &params {
        found.push(param.gradient()?.expect("everything trained has a gradient"));
    }
    Ok(found)
}

/// Any result as a scalar that weighs its numbers differently.
fn scalar(backend: &Arc<dyn Backend>, x: &Tensor) -> Result<Tensor> {
    let (rows, cols) = (x.rows(), x.cols());
    let x = x.linear(&frozen(backend, 77, &[3, cols])?, None)?;
    let labels: Vec<u32> = (0..rows).map(|row| row as u32 % 3).collect();
    x.cross_entropy(&labels, 0.0)
}

#[track_caller]
fn both_agree(shapes: &[&[usize]], loss: &Loss) {
    let got = run(&Cpu::new(), shapes, loss).unwrap();
    let want = run(&Reference::new(), shapes, loss).unwrap();
    for (which, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_eq!(got.len(), want.len());
        let largest = want.iter().fold(1e-3f32, |top, w| top.max(w.abs()));
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() <= 3e-5 * largest, "result {which} at {i}: {g} {w}");
        }
        assert!(want.iter().any(|w| *w != 0.0), "result {which} says nothing");
    }
}

#[test]
fn norms_rotations_gates_and_caps_agree() {
    both_agree(&[&[6, 12], &[12]], &|b, t| scalar(b, &t[0].rms_norm(&t[1], 1e-6, 1.0)?));
    both_agree(&[&[6, 12], &[4]], &|b, t| scalar(b, &t[0].rms_norm(&t[1], 1e-6, 0.0)?));
    both_agree(&[&[6, 16]], &|b, t| {
        let angles = numbers(3, 18);
        let [cos, sin] = [f32::cos, f32::sin].map(|f| angles.iter().map(|a| f(*a)).collect());
        let [cos, sin] = [cos, sin].map(|numbers| Tensor::new(b, Class::Base, &[6, 3], numbers));
        scalar(b, &t[0].rotary(&cos?, &sin?, 8)?)
    });
    both_agree(&[&[5, 7], &[5, 7]], &|b, t| scalar(b, &t[0].gated(Activation::Silu, &t[1])?));
    // The same tensor on both sides, and both gradients onto one.
    both_agree(&[&[5, 7]], &|b, t| scalar(b, &t[0].gated(Activation::GeluTanh, &t[0])?));
    both_agree(&[&[5, 7]], &|b, t| scalar(b, &t[0].softcap(0.6)?));
}

#[test]
fn columns_and_transposed_weights_agree() {
    both_agree(&[&[4, 12]], &|b, t| {
        let q = t[0].select_grouped_columns(6, 0, 2)?;
        let k = t[0].select_grouped_columns(6, 2, 2)?;
        assert_eq!(q.shape(), [4, 4]);
        scalar(b, &q.gated(Activation::Silu, &k)?.add(&t[0].select_columns(8, 4)?)?)
    });
    both_agree(&[&[4, 6], &[6, 5], &[5]], &|b, t| scalar(b, &t[0].linear_transposed(&t[1], Some(&t[2]))?));
    let b = Cpu::new();
    let (x, weight) = (frozen(&b, 1, &[3, 4]).unwrap(), frozen(&b, 2, &[4, 5]).unwrap());
    let turned: Vec<f32> = (0..20).map(|i| numbers(2, 20)[i % 4 * 5 + i / 4]).collect();
    let turned = Tensor::new(&b, Class::Base, &[5, 4], turned).unwrap();
    let [got, want] =
        [x.linear_transposed(&weight, None), x.linear(&turned, None)].map(|y| y.unwrap().numbers().unwrap());
    assert_eq!(got, want);
    assert!(x.linear_transposed(&turned, None).is_err());
}

#[test]
fn the_loss_over_a_vocabulary_is_the_cross_entropy_of_its_logits() {
    let labels: Vec<u32> = (0..7).map(|row| row * 5 % 11).collect();
    let shapes: [&[usize]; 3] = [&[7, 6], &[11, 6], &[11]];
    let whole = |softcap: Option<f32>, labels: Vec<u32>| {
        move |_: &Arc<dyn Backend>, t: &[Tensor]| {
            let logits = t[0].linear(&t[1], Some(&t[2]))?;
            softcap.map_or(Ok(logits.clone()), |c| logits.softcap(c))?.cross_entropy(&labels, 0.0)
        }
    };
    for softcap in [None, Some(0.9)] {
        let labels = labels.clone();
        let want = run(&Reference::new(), &shapes, &whole(softcap, labels.clone())).unwrap();
        let chunked = move |_: &Arc<dyn Backend>, t: &[Tensor]| {
            let loss = t[0].linear_cross_entropy(&t[1], Some(&t[2]), softcap, &labels)?;
            let each = t[0].linear_log_probabilities(&t[1], Some(&t[2]), softcap, &labels)?.numbers()?;
            let mean = -each.iter().sum::<f32>() / 7.0;
            assert!((mean - loss.numbers()?[0]).abs() < 1e-6);
            Ok(loss)
        };
        for backend in [Cpu::new(), Reference::new()] {
            let got = run(&backend, &shapes, &chunked).unwrap();
            for (got, want) in got.iter().zip(&want) {
                assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?} {want:?}");
            }
        }
    }
}

#[test]
fn many_chunks_of_logits_give_what_one_gives() {
    // 16 MB are 53 rows of 79,000 classes.
    let (rows, classes) = (120, 79_000);
    let backend = Cpu::new();
    let labels: Vec<u32> = (0..rows as u32).map(|row| row * 631 % classes as u32).collect();
    let shapes: [&[usize]; 2] = [&[rows, 4], &[classes, 4]];
    let all = labels.clone();
    let want =
        run(&backend, &shapes, &move |_, t| t[0].linear(&t[1], None)?.cross_entropy(&all, 0.0)).unwrap();
    backend.ledger().reset_peak();
    let got =
        run(&backend, &shapes, &move |_, t| t[0].linear_cross_entropy(&t[1], None, None, &labels)).unwrap();
    let peak = backend.ledger().peak().total();
    assert!(peak < (rows * classes * 4) as u64, "the logits were there whole: {peak}");
    for (got, want) in got.iter().zip(&want) {
        let largest = want.iter().fold(0.0f32, |top, w| top.max(w.abs()));
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5 * largest));
    }
}

fn attention() -> Attention {
    Attention {
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        scale: 0.4,
        causal: true,
        window: None,
        softcap: None,
        dropout: None,
    }
}

#[test]
fn attention_with_window_cap_and_bias_agrees() {
    let ragged = Ragged::from_lengths([5, 0, 9]);
    let shapes: [&[usize]; 6] = [&[14, 32], &[14, 16], &[14, 16], &[2, 16], &[2, 16], &[11, 4]];
    for (window, softcap) in [(None, None), (Some(3), Some(0.8))] {
        let attention = Attention { window, softcap, ..attention() };
        let ragged = ragged.clone();
        both_agree(&shapes, &move |b, t| {
            let bias = RelativeBias { table: t[5].clone(), first: -10 };
            let prefix = Some((&t[3], &t[4]));
            scalar(b, &t[0].attention(&attention, &t[1], &t[2], prefix, Some(&bias), [&ragged, &ragged])?)
        });
    }
}

#[test]
fn attention_refuses_what_does_not_fit() {
    let backend = Cpu::new();
    let [q, k] = [frozen(&backend, 1, &[6, 32]).unwrap(), frozen(&backend, 2, &[6, 16]).unwrap()];
    let ragged = Ragged::from_lengths([6]);
    let attend = |attention: &Attention, bias: Option<&RelativeBias>, keys: &Ragged| {
        q.attention(attention, &k, &k, None, bias, [&ragged, keys])
    };
    let bias = |rows: usize, first| RelativeBias { table: frozen(&backend, 3, &[rows, 4]).unwrap(), first };
    assert!(attend(&attention(), Some(&bias(6, -5)), &ragged).is_ok());
    assert!(attend(&attention(), Some(&bias(6, -4)), &ragged).is_err());
    assert!(attend(&attention(), Some(&bias(5, -5)), &ragged).is_err());
    let both_ways = Attention { causal: false, ..attention() };
    assert!(attend(&both_ways, Some(&bias(6, -5)), &ragged).is_err());
    assert!(attend(&both_ways, Some(&bias(11, -5)), &ragged).is_ok());
    assert!(attend(&Attention { window: Some(0), ..attention() }, None, &ragged).is_err());
    assert!(attend(&Attention { window: Some(2), ..both_ways }, None, &ragged).is_err());
    assert!(attend(&Attention { softcap: Some(0.0), ..attention() }, None, &ragged).is_err());
    let short = |lengths: &[usize], room| Ragged::with_room(lengths.iter().copied(), room);
    assert!(attend(&attention(), None, &short(&[6], 6)).is_ok());
    assert!(attend(&attention(), None, &short(&[7], 6)).is_err());
    assert!(attend(&attention(), None, &short(&[6], 7)).is_err());
}

#[test]
fn tokens_over_a_cache_give_what_all_give_at_once() {
    let (tokens, room) = (7, 9);
    for backend in [Cpu::new(), Reference::new()] {
        let [q, k, v] =
            [(1, 32), (2, 16), (3, 16)].map(|(key, cols)| frozen(&backend, key, &[tokens, cols]).unwrap());
        let attention = Attention { window: Some(4), ..attention() };
        let dense = Ragged::from_lengths([tokens]);
        let all = q.attention(&attention, &k, &v, None, None, [&dense, &dense]).unwrap().numbers().unwrap();
        // Two sequences side by side, the second one token behind.
        let mut caches = [0; 2].map(|_| RowCache::new(&backend, 2 * room, 16).unwrap());
        for step in 0..tokens {
            let now: Vec<u32> = (0..2).map(|i| step.saturating_sub(i) as u32).collect();
            let at: Vec<u32> = now.iter().zip([0, room as u32]).map(|(now, start)| start + now).collect();
            for (cache, rows) in caches.iter_mut().zip([&k, &v]) {
                cache.write(&rows.select_rows(&now).unwrap(), &at).unwrap();
            }
            let [keys, values] = caches.each_ref().map(RowCache::tensor);
            let lengths = Ragged::with_room(now.iter().map(|now| *now as usize + 1), room);
            let queries = Ragged::from_lengths([1, 1]);
            let query = q.select_rows(&now).unwrap();
            let got = query.attention(&attention, &keys, &values, None, None, [&queries, &lengths]).unwrap();
            let want: Vec<f32> =
                now.iter().flat_map(|now| &all[*now as usize * 32..][..32]).copied().collect();
            assert_eq!(got.numbers().unwrap(), want, "step {step}");
        }
    }
}

/// Six layers that each keep several times their input; the second one nests.
fn layers(backend: &Arc<dyn Backend>, params: &[Param], again: bool) -> Result<Tensor> {
    let mut x = params[0].tensor();
    for layer in 0..6 {
        let (weight, inner) = (params[1].clone(), params[2].clone());
        let block = move |inputs: &[Tensor]| {
            let x = &inputs[0];
            let row = |position| crate::Row { sequence: 3, position };
            let rows = (0..x.rows() as u32).map(row).collect();
            let dropout = crate::Dropout { probability: 0.1, key: 9, stream: layer, rows };
            let wide = x.linear(&weight.tensor(), None)?.activation(Activation::Gelu)?.dropout(dropout)?;
            let inner = inner.clone();
            let narrow = move |inputs: &[Tensor]| {
                inputs[0].gated(Activation::Silu, &inputs[0])?.linear(&inner.tensor(), None)
            };
            let narrow = if again && layer == 1 { recompute(&[wide], narrow)? } else { narrow(&[wide])? };
            x.add(&narrow)
        };
        x = if again { recompute(&[x], block)? } else { block(&[x])? };
    }
    scalar(backend, &x)
}

fn train(again: bool) -> Result<(Vec<Vec<f32>>, Usage, Usage)> {
    let backend = Cpu::new();
    let params = params(&backend, &[&[300, 20], &[200, 20], &[20, 200]])?;
    backend.ledger().reset_peak();
    let loss = layers(&backend, &params, again)?;
    let mut found = vec![loss.numbers()?];
    loss.backward(1.0)?;
    for param in &params {
        found.extend(param.gradient()?);
        param.clear_gradient();
    }
    Ok((found, backend.ledger().peak(), backend.ledger().now()))
}

#[test]
fn recomputing_costs_less_memory_and_changes_no_bit() {
    let (kept, kept_peak, kept_now) = train(false).unwrap();
    let (again, peak, now) = train(true).unwrap();
    assert_eq!(kept.len(), 4);
    for (kept, again) in kept.iter().zip(&again) {
        assert!(kept.iter().zip(again).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    assert!(peak.total() * 2 < kept_peak.total(), "{peak:?} {kept_peak:?}");
    assert_eq!(now, kept_now, "everything was freed");
}

#[test]
fn recomputing_reaches_what_a_block_captures_and_leaves_the_frozen_alone() {
    let loss = |again: bool| {
        move |b: &Arc<dyn Backend>, t: &[Tensor]| {
            let base = frozen(b, 5, &[4, 6])?;
            // Computed once outside, used by two blocks; the first block's input is frozen.
            let shared = t[0].activation(Activation::Tanh)?;
            let mut x = base;
            for _ in 0..2 {
                let shared = shared.clone();
                let block = move |inputs: &[Tensor]| inputs[0].add(&shared)?.activation(Activation::Gelu);
                x = if again { recompute(&[x], block)? } else { block(&[x])? };
            }
            scalar(b, &x)
        }
    };
    let backend = Cpu::new();
    let shapes: [&[usize]; 1] = [&[4, 6]];
    assert_eq!(run(&backend, &shapes, &loss(true)).unwrap(), run(&backend, &shapes, &loss(false)).unwrap());

    let x = frozen(&backend, 1, &[4, 6]).unwrap();
    let y = recompute(std::slice::from_ref(&x), |inputs| inputs[0].scale(2.0)).unwrap();
    assert!(y.trace().is_none(), "nothing trained, nothing to walk");
    let param = Param::new(&backend, "p", &[4, 6], numbers(2, 24)).unwrap();
    let y = without_gradients(|| recompute(&[param.tensor()], |inputs| inputs[0].scale(2.0))).unwrap();
    assert!(y.trace().is_none(), "nothing is recorded");
}

#[test]
fn a_callers_error_comes_through_both_passes() {
    let backend = Cpu::new();
    let param = Param::new(&backend, "p", &[1, 1], vec![1.0]).unwrap();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let own = || Error::within("the caller's own");
    assert!(matches!(recompute(&[param.tensor()], move |_| Err(own())), Err(Error::Within(_))));
    let y = recompute(&[param.tensor()], move |inputs| {
        let first = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        if first { inputs[0].scale(2.0) } else { Err(own()) }
    });
    let error = y.unwrap().backward(1.0).unwrap_err();
    assert_eq!(error.to_string(), "the caller's own");
}

/// A norm and a gate leave no numbers behind but their inputs, which two trained maps ask for again.
#[test]
fn cheap_results_are_not_kept() {
    let backend = Cpu::new();
    let rows = 4096;
    let kept = |norms: bool| {
        let params = params(&backend, &[&[rows, 64], &[64, 64], &[64, 64], &[64]]).unwrap();
        let [x, gate, up, weight] = [0, 1, 2, 3].map(|i| params[i].tensor());
        let before = backend.ledger().now().total();
        let x = x.scale(1.0).unwrap();
        let normed = if norms { x.rms_norm(&weight, 1e-6, 0.0).unwrap() } else { x.scale(2.0).unwrap() };
        let (gate, up) = (normed.linear(&gate, None).unwrap(), normed.linear(&up, None).unwrap());
        let inner = gate.gated(Activation::Silu, &up).unwrap();
        let loss = scalar(&backend, &inner.linear(&params[1].tensor(), None).unwrap()).unwrap();
        drop((x, normed, gate, up, inner));
        let kept = backend.ledger().now().total() - before;
        loss.backward(1.0).unwrap();
        assert!(params[..3].iter().all(|param| param.gradient().unwrap().is_some()));
        kept
    };
    let bytes = (rows * 64 * 4) as u64;
    let [with_norm, without] = [kept(true), kept(false)];
    // Of the norm its input and one number a row; without it the scaled rows in its input's place.
    assert!(with_norm < 4 * bytes && with_norm - without <= 2 * 4 * rows as u64, "{with_norm} {without}");
}

/// Holds gradients on the reference backend to differences of the value.
#[track_caller]
fn slopes_agree(shapes: &[&[usize]], loss: &Loss) {
    let backend = Reference::new();
    let found = run(&backend, shapes, loss).unwrap();
    let params = params(&backend, shapes).unwrap();
    let value = || {
        let tensors: Vec<Tensor> = params.iter().map(Param::tensor).collect();
        without_gradients(|| loss(&backend, &tensors)).unwrap().numbers().unwrap()[0]
    };
    let step = 1e-2;
    for (param, gradient) in params.iter().zip(&found[1..]) {
        let numbers = param.numbers().unwrap();
        for (place, gradient) in gradient.iter().enumerate() {
            let at = |change: f32| {
                let mut moved = numbers.clone();
                moved[place] += change;
                param.set(moved).unwrap();
                f64::from(value())
            };
            let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
            // The gradients are those of half the value.
            let off = (2.0 * f64::from(*gradient) - slope).abs();
            assert!(off < 4e-3 * (1.0 + slope.abs()), "{} at {place}: {gradient} {slope}", param.name());
        }
        param.set(numbers).unwrap();
    }
}

#[test]
fn orthonormality_agrees_and_vanishes_for_unit_vectors() {
    for vectors in [Vectors::Rows, Vectors::Columns] {
        let loss = move |_: &Arc<dyn Backend>, t: &[Tensor]| t[0].orthonormality_error(vectors);
        both_agree(&[&[5, 7]], &loss);
        slopes_agree(&[&[3, 4]], &loss);
        let backend = Cpu::new();
        let unit = Param::new(&backend, "unit", &[2, 2], vec![0.0, 1.0, -1.0, 0.0]).unwrap();
        let error = unit.tensor().orthonormality_error(vectors).unwrap();
        assert_eq!(error.numbers().unwrap(), [0.0]);
        error.backward(1.0).unwrap();
        assert_eq!(unit.gradient().unwrap().unwrap(), [0.0; 4]);
    }
}

#[test]
fn products_with_blocks_agree() {
    both_agree(&[&[4, 6], &[6, 3]], &|b, t| scalar(b, &t[0].block_linear(&t[1])?));
    slopes_agree(&[&[4, 6], &[6, 3]], &|b, t| scalar(b, &t[0].block_linear(&t[1])?));
    for kind in [Cayley::Exact, Cayley::Series(5)] {
        let loss =
            move |b: &Arc<dyn Backend>, t: &[Tensor]| scalar(b, &t[0].block_linear(&t[1].cayley(kind, 3)?)?);
        both_agree(&[&[4, 6], &[2, 3]], &loss);
        slopes_agree(&[&[4, 6], &[2, 3]], &loss);
    }
    let backend = Cpu::new();
    let (x, blocks) = (frozen(&backend, 1, &[2, 6]).unwrap(), frozen(&backend, 2, &[6, 2]).unwrap());
    let (y, x, blocks) = (
        x.block_linear(&blocks).unwrap().numbers().unwrap(),
        x.numbers().unwrap(),
        blocks.numbers().unwrap(),
    );
    let want = x[6 + 4] * blocks[9] + x[6 + 5] * blocks[11];
    assert!((y[6 + 5] - want).abs() < 1e-6, "{y:?}");
}

#[test]
fn transposed_columns_and_replaced_rows_agree() {
    for (a, b) in [(2, 5), (5, 2), (1, 4)] {
        both_agree(&[&[3, a * b]], &move |backend, t| scalar(backend, &t[0].transpose_columns(a)?));
        let backend = Cpu::new();
        let x =
            Tensor::new(&backend, Class::Base, &[1, a * b], (0..a * b).map(|i| i as f32).collect()).unwrap();
        let y = x.transpose_columns(a).unwrap().numbers().unwrap();
        let want: Vec<f32> = (0..b).flat_map(|j| (0..a).map(move |i| (i * b + j) as f32)).collect();
        assert_eq!(y, want);
    }
    let replaced = |b: &Arc<dyn Backend>, t: &[Tensor]| scalar(b, &t[0].replace_rows(&t[1], &[4, 0])?);
    both_agree(&[&[5, 3], &[2, 3]], &replaced);
    slopes_agree(&[&[5, 3], &[2, 3]], &replaced);
    let backend = Cpu::new();
    let (x, rows) = (frozen(&backend, 1, &[5, 3]).unwrap(), frozen(&backend, 2, &[2, 3]).unwrap());
    assert!(x.replace_rows(&rows, &[5, 0]).is_err() && x.replace_rows(&rows, &[1]).is_err());
}
