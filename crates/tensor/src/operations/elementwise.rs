//! Sums, scales, activations and dropout.

use super::linear::sum_onto;
use crate::backend::{Activation, Dropout};
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::host::{Host, Kernels, kernel, read, read_number, write};
use crate::kept::Recipe;
use crate::tensor::Tensor;
use std::sync::Arc;

/// What a device does with each number alone, or with each column. Results have the shape of their first operand where
/// nothing else is said.
pub trait ElementwiseOps {
    /// `a + b`.
    fn add(&self, a: &Buffer, b: &Buffer) -> Result<Buffer>;
    /// `a += b`.
    fn add_assign(&self, a: &mut Buffer, b: &Buffer) -> Result<()>;
    /// `alpha · x`.
    fn scale(&self, x: &Buffer, alpha: f32) -> Result<Buffer>;
    /// `x` times the one number of `factor`, in the memory of `x`.
    fn scale_by(&self, x: Buffer, factor: &Buffer) -> Result<Buffer>;
    /// Every row times `l`: \[rows, cols\], \[cols\] -> \[rows, cols\].
    fn scale_columns(&self, x: &Buffer, l: &Buffer) -> Result<Buffer>;
    /// Gradient of [`ElementwiseOps::scale_columns`] with respect to `l`: \[cols\].
    fn scale_columns_gradient(&self, x: &Buffer, l: &Buffer, dy: &Buffer) -> Result<Buffer>;
    /// The activation of every element.
    fn activation(&self, kind: Activation, x: &Buffer) -> Result<Buffer>;
    /// Its gradient, from the input.
    fn activation_gradient(&self, kind: Activation, x: &Buffer, dy: &Buffer) -> Result<Buffer>;
    /// `kind(gate) · up` of every element.
    fn gated(&self, kind: Activation, gate: &Buffer, up: &Buffer) -> Result<Buffer>;
    /// Its gradients with respect to `gate` and `up`, from both.
    fn gated_gradient(
        &self,
        kind: Activation,
        gate: &Buffer,
        up: &Buffer,
        dy: &Buffer,
    ) -> Result<(Buffer, Buffer)>;
    /// `c · tanh(x / c)` of every element.
    fn softcap(&self, x: &Buffer, c: f32) -> Result<Buffer>;
    /// Its gradient, from the result.
    fn softcap_gradient(&self, y: &Buffer, c: f32, dy: &Buffer) -> Result<Buffer>;
    /// Counter-based dropout of `dropout.rows.len()` rows ([`Dropout::keep_scale`]); applied to the gradient it is its own
    /// backward.
    fn dropout(&self, dropout: &Dropout, x: &Buffer) -> Result<Buffer>;
}

impl<K: Kernels> ElementwiseOps for Host<K> {
    fn add(&self, a: &Buffer, b: &Buffer) -> Result<Buffer> {
        Ok(self.filled(a.len(), |y| kernel!(K, elementwise::add)(read(a), read(b), y)))
    }

    fn add_assign(&self, a: &mut Buffer, b: &Buffer) -> Result<()> {
        if Self::COMPUTES {
            kernel!(K, elementwise::add_assign)(write(a), read(b));
        }
        Ok(())
    }

    fn scale(&self, x: &Buffer, alpha: f32) -> Result<Buffer> {
        Ok(self.filled(x.len(), |y| kernel!(K, elementwise::scale)(read(x), alpha, y)))
    }

    fn scale_by(&self, mut x: Buffer, factor: &Buffer) -> Result<Buffer> {
        // Most factors are 1: the whole batch in one pass.
        if Self::COMPUTES && read_number(factor) != 1.0 {
            kernel!(K, elementwise::scale_assign)(write(&mut x), read_number(factor));
        }
        Ok(x)
    }

    fn scale_columns(&self, x: &Buffer, l: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len(), |y| kernel!(K, elementwise::scale_columns)(read(x), read(l), y)))
    }

    fn scale_columns_gradient(&self, x: &Buffer, l: &Buffer, dy: &Buffer) -> Result<Buffer> {
        Ok(self.filled(l.len(), |dl| {
            kernel!(K, elementwise::scale_columns_backward)(read(x), read(l), read(dy), None, Some(dl));
        }))
    }

    fn activation(&self, kind: Activation, x: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len(), |y| kernel!(K, activation::forward)(kind, read(x), y)))
    }

    fn activation_gradient(&self, kind: Activation, x: &Buffer, dy: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len(), |dx| kernel!(K, activation::backward)(kind, read(x), read(dy), dx)))
    }

    fn gated(&self, kind: Activation, gate: &Buffer, up: &Buffer) -> Result<Buffer> {
        Ok(self.filled(gate.len(), |y| kernel!(K, gated::forward)(kind, read(gate), read(up), y)))
    }

    fn gated_gradient(
        &self,
        kind: Activation,
        gate: &Buffer,
        up: &Buffer,
        dy: &Buffer,
    ) -> Result<(Buffer, Buffer)> {
        let mut dup = self.unwritten(up.len());
        let dgate = self.filled(gate.len(), |dgate| {
            kernel!(K, gated::backward)(kind, read(gate), read(up), read(dy), dgate, &mut dup);
        });
        Ok((dgate, self.result(dup)))
    }

    fn softcap(&self, x: &Buffer, c: f32) -> Result<Buffer> {
        Ok(self.filled(x.len(), |y| kernel!(K, softcap::forward)(read(x), c, y)))
    }

    fn softcap_gradient(&self, y: &Buffer, c: f32, dy: &Buffer) -> Result<Buffer> {
        Ok(self.filled(y.len(), |dx| kernel!(K, softcap::backward)(read(y), c, read(dy), dx)))
    }

    fn dropout(&self, dropout: &Dropout, x: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len(), |y| kernel!(K, dropout::apply)(dropout, read(x), y)))
    }
}

impl Tensor {
    /// `self + other`, of one shape.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        self.require_f32("add")?;
        other.require_f32("add")?;
        let fits = self.shape() == other.shape();
        check("add", fits, || format!("{:?}", self.shape()), || format!("{:?}", other.shape()))?;
        let backend = self.backend();
        let y = backend.add(self.buffer(), other.buffer())?;
        let (a, b) = (self.trace().clone(), other.trace().clone());
        Ok(Tensor::result(
            backend,
            &[&a.clone(), &b.clone()],
            y,
            self.shape().to_vec(),
            move |dy, gradients| {
                gradients.give(&a, dy.clone())?;
                gradients.give(&b, dy)
            },
        ))
    }

    /// `alpha · self`.
    pub fn scale(&self, alpha: f32) -> Result<Tensor> {
        self.require_f32("scale")?;
        let backend = self.backend();
        let y = backend.scale(self.buffer(), alpha)?;
        let x = self.trace().clone();
        Ok(Tensor::result(backend, &[&x.clone()], y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&x, |backend, onto| sum_onto(backend, backend.scale(&dy, alpha)?, onto))
        }))
    }

    /// Every row times `l`: \[rows, cols\], \[cols\] -> \[rows, cols\].
    pub fn scale_columns(&self, l: &Tensor) -> Result<Tensor> {
        self.require_f32("scale_columns")?;
        l.require_f32("scale_columns")?;
        let cols = self.cols();
        check("scale_columns", l.len() == cols, || format!("{cols} factors"), || l.len().to_string())?;
        let backend = self.backend();
        let y = backend.scale_columns(self.buffer(), l.buffer())?;
        let (x_trace, l_trace) = (self.trace().clone(), l.trace().clone());
        let kept = l_trace.is_some().then(|| self.keep());
        let factors = l.buffer().clone();
        let inputs = [&x_trace.clone(), &l_trace.clone()];
        // What is held for the factors' gradient gives the result again.
        let again = l_trace.is_some().then(|| (self.keep(), factors.clone()));
        let y = Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            if let Some(x) = kept {
                let x = x.numbers(gradients.backend)?;
                gradients.compute(&l_trace, |backend, onto| {
                    sum_onto(backend, backend.scale_columns_gradient(&x, &factors, &dy)?, onto)
                })?;
            }
            gradients.compute(&x_trace, |backend, onto| {
                sum_onto(backend, backend.scale_columns(&dy, &factors)?, onto)
            })
        });
        Ok(match again {
            None => y,
            Some((x, factors)) => {
                y.by(Recipe::new(move |backend| backend.scale_columns(&*x.numbers(backend)?, &factors)))
            }
        })
    }

    /// The activation of every element.
    pub fn activation(&self, kind: Activation) -> Result<Tensor> {
        self.require_f32("activation")?;
        let backend = self.backend();
        let y = backend.activation(kind, self.buffer())?;
        let (x, saved, again) = (self.trace().clone(), self.buffer().clone(), self.buffer().clone());
        let y = Tensor::result(backend, &[&x.clone()], y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&x, |backend, onto| {
                sum_onto(backend, backend.activation_gradient(kind, &saved, &dy)?, onto)
            })
        });
        Ok(y.by(Recipe::new(move |backend| backend.activation(kind, &again))))
    }

    /// `kind(self) · up`, elementwise (SwiGLU, GEGLU; Shazeer 2020).
    pub fn gated(&self, kind: Activation, up: &Tensor) -> Result<Tensor> {
        self.require_f32("gated")?;
        up.require_f32("gated")?;
        let fits = self.shape() == up.shape();
        check("gated", fits, || format!("{:?}", self.shape()), || format!("{:?}", up.shape()))?;
        let backend = self.backend();
        let y = backend.gated(kind, self.buffer(), up.buffer())?;
        let (gate_trace, up_trace) = (self.trace().clone(), up.trace().clone());
        let inputs = [&gate_trace.clone(), &up_trace.clone()];
        let (gate, up) = (self.buffer().clone(), up.buffer().clone());
        let again = [gate.clone(), up.clone()];
        let y = Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            let (dgate, dup) = gradients.backend.gated_gradient(kind, &gate, &up, &dy)?;
            drop((gate, up, dy));
            gradients.compute(&gate_trace, |backend, onto| sum_onto(backend, dgate, onto))?;
            gradients.compute(&up_trace, |backend, onto| sum_onto(backend, dup, onto))
        });
        Ok(y.by(Recipe::new(move |backend| backend.gated(kind, &again[0], &again[1]))))
    }

    /// `c · tanh(self / c)`, elementwise: logits within ±c (Gemma 2). `c` is positive.
    pub fn softcap(&self, c: f32) -> Result<Tensor> {
        self.require_f32("softcap")?;
        check_cap("softcap", Some(c))?;
        let backend = self.backend();
        let y = Arc::new(backend.softcap(self.buffer(), c)?);
        let (x, saved) = (self.trace().clone(), y.clone());
        Ok(Tensor::shared_result(backend, &[&x.clone()], y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&x, |backend, onto| {
                sum_onto(backend, backend.softcap_gradient(&saved, c, &dy)?, onto)
            })
        }))
    }

    /// Zeros some elements and scales the others up so that the expectation stays. Saves nothing:
    /// the mask is a function of what each row is of, as `dropout.rows` says.
    pub fn dropout(&self, dropout: Dropout) -> Result<Tensor> {
        self.require_f32("dropout")?;
        check_mask("dropout", &dropout, self)?;
        let backend = self.backend();
        let y = backend.dropout(&dropout, self.buffer())?;
        let x = self.trace().clone();
        Ok(Tensor::result(backend, &[&x.clone()], y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&x, |backend, onto| sum_onto(backend, backend.dropout(&dropout, &dy)?, onto))
        }))
    }
}

/// Refuses a mask of other rows than the tensor's.
pub(super) fn check_mask(operation: &'static str, dropout: &Dropout, x: &Tensor) -> Result<()> {
    let (rows, found) = (x.rows(), dropout.rows.len());
    check(operation, rows == found, || format!("a mask of {rows} rows"), || format!("{found} rows"))
}

/// Refuses a cap that is not positive.
pub(super) fn check_cap(operation: &'static str, softcap: Option<f32>) -> Result<()> {
    let fits = softcap.is_none_or(|c| c > 0.0);
    check(operation, fits, || "a cap above 0".into(), || format!("{softcap:?}"))
}
