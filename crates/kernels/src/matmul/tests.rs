//! Products of every form against plain loops, and against themselves on any number of threads.

use super::*;
use crate::elements::tests::stored;
use crate::elements::{Format, quantize};
use crate::testing::{
    assert_close, assert_gradient, assert_same_bits_on_any_threads, dot, on_every_level, values,
};

/// All combinations of transposition, storage, bias and accumulation for one shape.
fn check_shape(m: usize, n: usize, k: usize) {
    let (a, b, bias, before) = (values(1, m * k), values(2, k * n), values(3, n), values(4, m * n));
    let [a16, b16] = [&a, &b].map(|x| quantize(Format::Bf16, x).unwrap());
    for case in 0..16 {
        let storage = |x, narrow| match case & 4 {
            0 => Elements::F32(x),
            _ => Elements::new(Format::Bf16, x.len(), narrow),
        };
        let a = Matrix { elements: storage(&a, &a16), rows: m, cols: k, transposed: case & 1 != 0 };
        let b = Matrix { elements: storage(&b, &b16), rows: k, cols: n, transposed: case & 2 != 0 };
        let (bias, accumulate) = ((case & 8 != 0).then_some(&bias[..]), case & 8 == 0 && case & 1 == 0);
        let (mut got, mut want) = (before.clone(), before.clone());
        matmul(0.7, a, b, bias, accumulate, &mut got);
        reference::matmul(0.7, a, b, bias, accumulate, &mut want);
        let tolerance = 1e-6 * (1.0 + (k as f32).sqrt());
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert!((g - w).abs() <= tolerance, "{m}x{n}x{k} case {case} at {i}: {g} {w}");
        }
    }
}

#[test]
fn matches_the_reference() {
    on_every_level(|| {
        for (m, n, k) in [(0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (1, 2, 384), (32, 2, 40), (2, 33, 7)] {
            check_shape(m, n, k);
        }
        for (m, n, k) in [(8, 48, 16), (17, 50, 257), (100, 8, 64), (100, 64, 8), (8, 96, 300), (16, 130, 5)]
        {
            check_shape(m, n, k);
        }
        for (m, n, k) in [(64, 4, 100), (61, 67, 63), (130, 100, 40), (1, 300, 60), (40, 1, 60)] {
            check_shape(m, n, k);
        }
    });
}

/// A frozen weight [out, in] of every format, whose tiles begin anywhere in its blocks: forward and input gradient.
#[test]
fn every_format_matches_the_reference() {
    let (outputs, inputs) = (70, 768);
    for format in Format::ALL {
        let bytes = stored(format, outputs * inputs);
        let elements = Elements::new(format, outputs * inputs, &bytes);
        let largest = elements.to_f32().iter().fold(1f32, |largest, x| largest.max(x.abs()));
        let weight = Matrix::new(elements, outputs, inputs);
        for (rows, weight) in [1, 20, 50].into_iter().flat_map(|rows| [(rows, weight.t()), (rows, weight)]) {
            let x = values(1, rows * weight.rows);
            let x = Matrix::f32(&x, rows, weight.rows);
            let mut want = vec![0.0; rows * weight.cols];
            reference::matmul(1.0, x, weight, None, false, &mut want);
            on_every_level(|| {
                let mut got = vec![0.0; rows * weight.cols];
                matmul(1.0, x, weight, None, false, &mut got);
                assert_close(&got, &want, 3e-5 * largest);
            });
        }
    }
}

#[test]
fn large_sums_and_sides_go_through_all_blocks() {
    check_shape(20, 9, 5000);
    check_shape(700, 5, 2100);
    check_shape(5, 700, 2100);
}

#[test]
fn nan_and_infinity_stay_where_they_belong() {
    let (mut a, b) = (values(1, 9 * 20), values(2, 20 * 50));
    (a[20], a[40]) = (f32::NAN, f32::INFINITY);
    let mut out = vec![0.0; 9 * 50];
    matmul(1.0, Matrix::f32(&a, 9, 20), Matrix::f32(&b, 20, 50), None, false, &mut out);
    for (i, v) in out.iter().enumerate() {
        assert_eq!(v.is_nan(), i / 50 == 1, "at {i}");
        assert_eq!(v.is_infinite(), i / 50 == 2, "at {i}");
    }
}

/// A row's result is the same alone, among others and in either role; AVX2 and AVX-512 agree.
#[test]
fn an_element_does_not_depend_on_its_place() {
    let (m, n, k) = (70, 100, 600);
    let (a, b) = (values(1, m * k), values(2, k * n));
    let blocks = quantize(Format::Q4_0, &b).unwrap();
    let forms = [Elements::F32(&b), Elements::new(Format::Q4_0, b.len(), &blocks)];
    let forms = forms.into_iter().flat_map(|elements| [(elements, false), (elements, true)]);
    let product = |rows: usize, (elements, transposed): (Elements, bool)| {
        let mut out = vec![0.0; rows * n];
        let b = Matrix { elements, rows: k, cols: n, transposed };
        matmul(1.0, Matrix::f32(&a[..rows * k], rows, k), b, None, false, &mut out);
        out
    };
    let mut all = Vec::new();
    on_every_level(|| {
        for form in forms.clone() {
            let whole = product(m, form);
            for rows in [1, 2, 5, 8, 9, 17, 33] {
                assert!(product(rows, form) == whole[..rows * n], "{rows} rows, transposed {}", form.1);
            }
            all.push(whole);
        }
    });
    if all.len() == 12 {
        assert!(all[4..8] == all[8..12], "AVX2 and AVX-512 differ");
    }
}

/// The backward of a product is two products, which is how the engine takes it.
#[test]
fn products_are_the_gradients_of_the_product() {
    let (m, n, k) = (3, 4, 5);
    let (a, b, dy) = (values(1, m * k), values(2, k * n), values(3, m * n));
    let (mut da, mut db) = (vec![0.0; m * k], vec![0.0; k * n]);
    matmul(1.0, Matrix::f32(&dy, m, n), Matrix::f32(&b, k, n).t(), None, false, &mut da);
    matmul(1.0, Matrix::f32(&a, m, k).t(), Matrix::f32(&dy, m, n), None, false, &mut db);
    let loss = |a: &[f32], b: &[f32]| {
        let mut out = vec![0.0; m * n];
        reference::matmul(1.0, Matrix::f32(a, m, k), Matrix::f32(b, k, n), None, false, &mut out);
        dot(&out, &dy)
    };
    assert_gradient(&a, &da, |a| loss(a, &b));
    assert_gradient(&b, &db, |b| loss(&a, b));
}

#[test]
fn alpha_zero_keeps_the_bias() {
    let (a, b) = (values(1, 6), values(2, 6));
    let mut out = vec![9.0; 4];
    matmul(0.0, Matrix::f32(&a, 2, 3), Matrix::f32(&b, 3, 2), Some(&[1.0, 2.0]), false, &mut out);
    assert_close(&out, &[1.0, 2.0, 1.0, 2.0], 0.0);
}

#[test]
fn threads_do_not_matter() {
    let many = [(200, 120, 300), (333, 8, 400), (8, 384, 700), (700, 100, 8), (3, 600, 500)];
    for (m, n, k) in many.into_iter().chain([(1, 700, 512), (2, 530, 512), (1, 544, 500)]) {
        assert_same_bits_on_any_threads(|| {
            let (a, b) = (values(1, m * k), values(2, k * n));
            let blocks = quantize(Format::Q8_0, &b).unwrap();
            let forms = [Elements::F32(&b), Elements::new(Format::Q8_0, b.len(), &blocks)];
            let mut all = Vec::new();
            for case in 0..8 {
                let a = Matrix { elements: Elements::F32(&a), rows: m, cols: k, transposed: case & 1 != 0 };
                let b = Matrix { elements: forms[case / 4], rows: k, cols: n, transposed: case & 2 != 0 };
                let mut out = vec![0.0; m * n];
                matmul(1.0, a, b, Some(&values(3, n)), false, &mut out);
                all.extend(out);
            }
            all
        });
    }
}

/// Whatever is done for few rows: a row is the same alone, among a few and among many.
#[test]
fn a_row_has_the_same_bits_in_any_company() {
    const MANY: usize = 30;
    on_every_level(|| {
        for (n, k) in [(16, 8), (3, 40), (37, 384), (70, 768), (150, 13), (16, 1600)] {
            let (x, bias, before) = (values(1, MANY * k), values(2, n), values(3, MANY * n));
            for format in Format::ALL.into_iter().filter(|format| format.bytes(k).is_some()) {
                let bytes = stored(format, n * k);
                let weight = Matrix::new(Elements::new(format, n * k, &bytes), n, k).t();
                for (bias, accumulate) in [(None, false), (Some(&bias[..]), false), (Some(&bias[..]), true)] {
                    let product = |rows: usize| {
                        let mut out = before[..rows * n].to_vec();
                        matmul(0.7, Matrix::f32(&x[..rows * k], rows, k), weight, bias, accumulate, &mut out);
                        out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                    };
                    let many = product(MANY);
                    for rows in 1..10 {
                        assert!(product(rows) == many[..rows * n], "{rows}x{n}x{k} {}", format.name());
                    }
                }
            }
        }
    });
}
