//! Layer normalisation (Ba, Kiros and Hinton 2016), with the biased variance.

use crate::math::{sum, sum2};
use crate::parallel::{self, SUM_ROWS, Shared};
use crate::simd::{level, simd_fn};

simd_fn! {
    fn forward_row(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) -> (f32, f32) {
        let scale = 1.0 / x.len() as f32;
        let mean = sum(x, |v| v) * scale;
        let variance = sum(x, |v| (v - mean) * (v - mean)) * scale;
        let rstd = 1.0 / (variance + eps).sqrt();
        for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = (x - mean) * rstd * w + b;
        }
        (mean, rstd)
    }
}

simd_fn! {
    fn backward_row(x: &[f32], weight: &[f32], mean: f32, rstd: f32, dy: &[f32], dx: &mut [f32]) {
        // dx holds g = dy * weight first: dx = rstd * (g - mean(g) - xhat * mean(g * xhat)).
        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(weight) {
            *dx = dy * w;
        }
        let scale = 1.0 / x.len() as f32;
        let of_g = sum(dx, |g| g) * scale;
        let of_g_xhat = sum2(dx, x, |g, x| g * (x - mean)) * rstd * scale;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = (*dx - of_g - (x - mean) * rstd * of_g_xhat) * rstd;
        }
    }
}

simd_fn! {
    fn parameter_row(x: &[f32], mean: f32, rstd: f32, dy: &[f32], dweight: &mut [f32], dbias: &mut [f32]) {
        for (((dw, db), x), dy) in dweight.iter_mut().zip(dbias).zip(x).zip(dy) {
            *dw += dy * ((x - mean) * rstd);
            *db += dy;
        }
    }
}

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias` for each row of `x` `[rows, cols]`.
///
/// `weight` and `bias` are `[cols]`; `mean` and `rstd = 1 / sqrt(variance + eps)` `[rows]` are kept for the backward.
pub fn forward(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let (rows, cols) = (mean.len(), weight.len());
    assert_eq!((x.len(), y.len()), (rows * cols, rows * cols), "input and output are rows x cols");
    assert_eq!((bias.len(), rstd.len()), (cols, rows), "bias is [cols], rstd is [rows]");
    let level = level();
    let (means, rstds) = (Shared::new(mean), Shared::new(rstd));
    parallel::rows(y, cols, |first, y| {
        for (i, y) in y.chunks_exact_mut(cols).enumerate() {
            let row = first + i;
            let (m, r) = forward_row(level, &x[row * cols..][..cols], weight, bias, eps, y);
            // SAFETY: `row < rows`, and every row belongs to one task.
            unsafe { (means.slice(row..row + 1)[0], rstds.slice(row..row + 1)[0]) = (m, r) };
        }
    });
}

/// Gradients of [`forward`] from its input and saved `mean` and `rstd`, all written.
///
/// `dx[rows, cols]` always, `dweight[cols]` and `dbias[cols]` (sums over rows) where asked for.
pub fn backward(
    x: &[f32],
    weight: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
    dbias: Option<&mut [f32]>,
) {
    let (rows, cols) = (mean.len(), weight.len());
    assert_eq!((x.len(), dy.len(), dx.len()), (rows * cols, rows * cols, rows * cols), "rows x cols");
    assert_eq!(rstd.len(), rows, "rstd is [rows]");
    let wanted = dweight.is_some() || dbias.is_some();
    // Both sums run together, dweight then dbias, in blocks of the same fixed rows.
    let mut sums = vec![0.0; if wanted { 2 * cols } else { 0 }];
    let blocks = rows.div_ceil(SUM_ROWS);
    let mut partials = vec![0.0; blocks * sums.len()];
    let (dxs, parts, width, level) = (Shared::new(dx), Shared::new(&mut partials), sums.len(), level());
    parallel::tasks(blocks, parallel::worthwhile(rows * cols), |block| {
        // SAFETY: each block has its own partial sums.
        let partial = unsafe { parts.slice(block * width..(block + 1) * width) };
        let (dweight, dbias) = partial.split_at_mut(width / 2);
        for row in block * SUM_ROWS..((block + 1) * SUM_ROWS).min(rows) {
            let range = row * cols..(row + 1) * cols;
            // SAFETY: each row belongs to one block.
            let dx = unsafe { dxs.slice(range.clone()) };
            let (x, dy) = (&x[range.clone()], &dy[range]);
            backward_row(level, x, weight, mean[row], rstd[row], dy, dx);
            if wanted {
                parameter_row(level, x, mean[row], rstd[row], dy, dweight, dbias);
            }
        }
    });
    parallel::combine(&partials, &mut sums);
    if let Some(dweight) = dweight {
        dweight.copy_from_slice(&sums[..cols]);
    }
    if let Some(dbias) = dbias {
        dbias.copy_from_slice(&sums[cols..]);
    }
}

/// Plain loops, f64 sums.
pub mod reference {
    /// See [`super::forward`].
    pub fn forward(
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        eps: f32,
        y: &mut [f32],
        mean: &mut [f32],
        rstd: &mut [f32],
    ) {
        let cols = weight.len();
        for row in 0..mean.len() {
            let x = &x[row * cols..][..cols];
            let m = x.iter().map(|v| *v as f64).sum::<f64>() / cols as f64;
            let variance = x.iter().map(|v| (*v as f64 - m).powi(2)).sum::<f64>() / cols as f64;
            let r = 1.0 / (variance + eps as f64).sqrt();
            for j in 0..cols {
                y[row * cols + j] = ((x[j] as f64 - m) * r * weight[j] as f64 + bias[j] as f64) as f32;
            }
            (mean[row], rstd[row]) = (m as f32, r as f32);
        }
    }

    /// See [`super::backward`].
    pub fn backward(
        x: &[f32],
        weight: &[f32],
        mean: &[f32],
        rstd: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dweight: Option<&mut [f32]>,
        dbias: Option<&mut [f32]>,
    ) {
        let cols = weight.len();
        let (mut dw, mut db) = (vec![0.0f64; cols], vec![0.0f64; cols]);
        for row in 0..mean.len() {
            let (m, r) = (mean[row] as f64, rstd[row] as f64);
            let at = |j: usize| {
                let (x, dy) = (x[row * cols + j] as f64, dy[row * cols + j] as f64);
                ((x - m) * r, dy, dy * weight[j] as f64)
            };
            let of_g = (0..cols).map(|j| at(j).2).sum::<f64>() / cols as f64;
            let of_g_xhat = (0..cols).map(|j| at(j).2 * at(j).0).sum::<f64>() / cols as f64;
            for j in 0..cols {
                let (xhat, dy, g) = at(j);
                dx[row * cols + j] = (r * (g - of_g - xhat * of_g_xhat)) as f32;
                dw[j] += dy * xhat;
                db[j] += dy;
            }
        }
        for (sums, out) in [(dw, dweight), (db, dbias)] {
            if let Some(out) = out {
                out.iter_mut().zip(sums).for_each(|(o, s)| *o = s as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
    };

    const EPS: f32 = 1e-5;

    type Forward = fn(&[f32], &[f32], &[f32], f32, &mut [f32], &mut [f32], &mut [f32]);

    fn run(f: Forward, rows: usize, x: &[f32], w: &[f32], b: &[f32]) -> [Vec<f32>; 3] {
        let mut out = [vec![0.0; x.len()], vec![0.0; rows], vec![0.0; rows]];
        let [y, mean, rstd] = &mut out;
        f(x, w, b, EPS, y, mean, rstd);
        out
    }

    #[test]
    fn matches_the_reference() {
        on_every_level(|| {
            for (rows, cols) in [(0, 4), (1, 1), (3, 7), (150, 384)] {
                let (x, w, b) = (values(1, rows * cols), values(2, cols), values(3, cols));
                let got = run(forward, rows, &x, &w, &b);
                let want = run(reference::forward, rows, &x, &w, &b);
                (0..3).for_each(|i| assert_close(&got[i], &want[i], 2e-6));
                let dy = values(4, x.len());
                let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![5.0; cols], vec![5.0; cols]);
                let (mut dx2, mut dw2, mut db2) = (dx.clone(), dw.clone(), db.clone());
                let [_, mean, rstd] = &want;
                backward(&x, &w, mean, rstd, &dy, &mut dx, Some(&mut dw), Some(&mut db));
                reference::backward(&x, &w, mean, rstd, &dy, &mut dx2, Some(&mut dw2), Some(&mut db2));
                assert_close(&dx, &dx2, 2e-6);
                assert_close(&dw, &dw2, 5e-6);
                assert_close(&db, &db2, 5e-6);
                backward(&x, &w, mean, rstd, &dy, &mut dx, None, None);
                assert_close(&dx, &dx2, 2e-6);
            }
        });
    }

    #[test]
    fn reference_backward_is_the_gradient() {
        let (rows, cols) = (3, 6);
        let (x, w, b) = (values(1, rows * cols), values(2, cols), values(3, cols));
        let dy = values(4, x.len());
        let [_, mean, rstd] = run(reference::forward, rows, &x, &w, &b);
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; cols], vec![0.0; cols]);
        reference::backward(&x, &w, &mean, &rstd, &dy, &mut dx, Some(&mut dw), Some(&mut db));
        let loss = |x: &[f32], w: &[f32], b: &[f32]| dot(&run(reference::forward, rows, x, w, b)[0], &dy);
        assert_gradient(&x, &dx, |x| loss(x, &w, &b));
        assert_gradient(&w, &dw, |w| loss(&x, w, &b));
        assert_gradient(&b, &db, |b| loss(&x, &w, b));
    }

    #[test]
    fn threads_do_not_matter() {
        assert_same_bits_on_any_threads(|| {
            let (rows, cols) = (301, 200);
            let (x, w, b) = (values(1, rows * cols), values(2, cols), values(3, cols));
            let [y, mean, rstd] = run(forward, rows, &x, &w, &b);
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; cols], vec![0.0; cols]);
            backward(&x, &w, &mean, &rstd, &y, &mut dx, Some(&mut dw), Some(&mut db));
            [y, dx, dw, db].concat()
        });
    }
}
