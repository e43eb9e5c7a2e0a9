//! Starts of LoRA that take the weight apart: PiSSA and OLoRA (`init_lora_weights`).
//!
//! `W = (W − s · B₀ A₀) + s · B₀ A₀`, s LoRA's factor: A and B start at A₀ and B₀, the rest is frozen. The identity at step 0. PiSSA
//! (Meng et al. 2024, arXiv:2404.02948): B₀ A₀ · s is the best approximation of W of rank r, each side with the roots of the
//! singular values. OLoRA (Büyükakyüz 2024, arXiv:2406.01775): B₀ the first r columns of Q and A₀ the first r rows of R in W = Q R.
//!
//! PEFT writes the rest into the base. Here the base stays as it is: `− s · B₀ A₀` is a second update of frozen numbers, counted as
//! such (`Class::Shared`), over frozen weights of any format. An adapter's file holds A and B alone, as PEFT's does: A₀ and B₀ are worked
//! out again from the base, so that it fits the very base that it was trained over.

use super::lora::Update;
use super::svd;
use crate::error::Result;
use crate::model::Linear;
use tenfold_tensor::{Class, Tensor};

/// How A and B start from the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Pissa,
    Olora,
}

/// What is taken off the base.
pub(super) struct Taken {
    /// A₀: \[r, in\].
    a: Tensor,
    /// B₀: \[out, r\].
    b: Tensor,
}

impl Start {
    /// The start of that name in PEFT's `init_lora_weights`.
    pub(super) fn named(name: &str) -> Option<Start> {
        match name.to_lowercase().as_str() {
            "pissa" => Some(Start::Pissa),
            "olora" => Some(Start::Olora),
            _ => None,
        }
    }

    /// Sets A and B to A₀ and B₀ of the map's weight, and keeps these.
    pub(super) fn apply(self, linear: &Linear, update: &Update) -> Result<Taken> {
        let (inputs, outputs, r) = (linear.site.inputs, linear.site.outputs, update.a.shape()[0]);
        let backend = linear.weight.tensor.backend();
        let (a, b) = match backend.holds_numbers() {
            false => (vec![0.0; r * inputs], vec![0.0; outputs * r]),
            true => {
                let numbers = linear.weight.tensor.numbers()?;
                let weight = svd::Matrix::new(&numbers, [outputs, inputs], linear.site.fan_in_fan_out);
                match self {
                    Start::Pissa => pissa(&weight, r, f64::from(update.scale)),
                    Start::Olora => olora(&weight, r),
                }
            }
        };
        update.a.set(a.clone())?;
        update.b.set(b.clone())?;
        let frozen = |shape: [usize; 2], numbers| Tensor::new(backend, Class::Shared, &shape, numbers);
        Ok(Taken { a: frozen([r, inputs], a)?, b: frozen([outputs, r], b)? })
    }
}

impl Taken {
    /// `y − scale · B₀ A₀ x`.
    pub(super) fn take_from(&self, x: &Tensor, y: Tensor, scale: f32) -> Result<Tensor> {
        Ok(y.add_linear(&x.linear(&self.a, None)?, &self.b, -scale)?)
    }

    /// The numbers of A₀ and B₀.
    pub(super) fn numbers(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok((self.a.numbers()?, self.b.numbers()?))
    }
}

/// √(S / s) V and U √(S / s) of the r largest singular values.
fn pissa(weight: &svd::Matrix, r: usize, scale: f64) -> (Vec<f32>, Vec<f32>) {
    let triplets = svd::largest(weight, r);
    let [outputs, inputs] = weight.extents();
    let (mut a, mut b) = (vec![0.0; r * inputs], vec![0.0; outputs * r]);
    for (k, triplet) in triplets.iter().enumerate() {
        let root = (triplet.value / scale).sqrt();
        for (a, v) in a[k * inputs..].iter_mut().zip(&triplet.right) {
            *a = (root * v) as f32;
        }
        for (b, u) in b[k..].iter_mut().step_by(r).zip(&triplet.left) {
            *b = (root * u) as f32;
        }
    }
    (a, b)
}

/// The first r rows of R and columns of Q, with the diagonal of R above zero.
fn olora(weight: &svd::Matrix, r: usize) -> (Vec<f32>, Vec<f32>) {
    let [outputs, inputs] = weight.extents();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for column in 0..r.min(inputs).min(outputs) {
        basis.push(svd::orthonormal(weight.column(column), &basis).0);
    }
    let (mut a, mut b) = (vec![0.0; r * inputs], vec![0.0; outputs * r]);
    for (k, q) in basis.iter().enumerate() {
        let row = weight.transposed_times(q);
        // Below the diagonal R is zero but for rounding.
        for (column, (a, x)) in a[k * inputs..].iter_mut().zip(&row).enumerate() {
            *a = if column < k { 0.0 } else { *x as f32 };
        }
        for (b, q) in b[k..].iter_mut().step_by(r).zip(q) {
            *b = *q as f32;
        }
    }
    (a, b)
}
