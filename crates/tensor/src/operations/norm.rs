//! Normalisation of rows.

use super::linear::sum_onto;
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::host::{Host, Kernels, kernel, read};
use crate::kept::Recipe;
use crate::tensor::Tensor;

/// Gradients of a layer norm.
pub struct NormGradients {
    /// Of the input.
    pub input: Buffer,
    /// Of the weight, if it was asked for.
    pub weight: Option<Buffer>,
    /// Of the bias, if it was asked for.
    pub bias: Option<Buffer>,
}

/// What a device does for normalisations of rows of `weight.len()` numbers.
pub trait NormOps {
    /// Layer norm; returns the result, and means and reciprocal deviations \[rows\].
    fn layer_norm(
        &self,
        x: &Buffer,
        weight: &Buffer,
        bias: &Buffer,
        eps: f32,
    ) -> Result<(Buffer, Buffer, Buffer)>;
    /// Its gradients; `affine` says whether weight and bias want theirs.
    fn layer_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        statistics: (&Buffer, &Buffer),
        dy: &Buffer,
        affine: (bool, bool),
    ) -> Result<NormGradients>;
    /// RMS norm with `offset + weight` as factors; returns the result and the reciprocal of each row's root mean square
    /// \[rows\].
    fn rms_norm(&self, x: &Buffer, weight: &Buffer, eps: f32, offset: f32) -> Result<(Buffer, Buffer)>;
    /// Its gradients with respect to `x`, and to `weight` if `affine`.
    fn rms_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        offset: f32,
        rrms: &Buffer,
        dy: &Buffer,
        affine: bool,
    ) -> Result<(Buffer, Option<Buffer>)>;
}

impl<K: Kernels> NormOps for Host<K> {
    fn layer_norm(
        &self,
        x: &Buffer,
        weight: &Buffer,
        bias: &Buffer,
        eps: f32,
    ) -> Result<(Buffer, Buffer, Buffer)> {
        let rows = x.len() / weight.len();
        let (mut mean, mut deviation) = (self.fresh(rows), self.fresh(rows));
        let y = self.filled(x.len(), |y| {
            let (x, weight, bias) = (read(x), read(weight), read(bias));
            kernel!(K, layer_norm::forward)(x, weight, bias, eps, y, &mut mean, &mut deviation);
        });
        Ok((y, self.result(mean), self.result(deviation)))
    }

    fn layer_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        statistics: (&Buffer, &Buffer),
        dy: &Buffer,
        affine: (bool, bool),
    ) -> Result<NormGradients> {
        let [mut dweight, mut dbias] =
            [affine.0, affine.1].map(|wanted| wanted.then(|| self.fresh(weight.len())));
        let input = self.filled(x.len(), |dx| {
            let (mean, deviation) = (read(statistics.0), read(statistics.1));
            let (dw, db) = (dweight.as_deref_mut(), dbias.as_deref_mut());
            let (x, weight, dy) = (read(x), read(weight), read(dy));
            kernel!(K, layer_norm::backward)(x, weight, mean, deviation, dy, dx, dw, db);
        });
        let [weight, bias] = [dweight, dbias].map(|d| d.map(|d| self.result(d)));
        Ok(NormGradients { input, weight, bias })
    }

    fn rms_norm(&self, x: &Buffer, weight: &Buffer, eps: f32, offset: f32) -> Result<(Buffer, Buffer)> {
        let mut rrms = self.unwritten(x.len() / weight.len());
        let y = self.filled(x.len(), |y| {
            kernel!(K, rms_norm::forward)(read(x), read(weight), eps, offset, y, &mut rrms);
        });
        Ok((y, self.result(rrms)))
    }

    fn rms_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        offset: f32,
        rrms: &Buffer,
        dy: &Buffer,
        affine: bool,
    ) -> Result<(Buffer, Option<Buffer>)> {
        let mut dweight = affine.then(|| self.unwritten(weight.len()));
        let dx = self.filled(x.len(), |dx| {
            let (x, weight, dweight) = (read(x), read(weight), dweight.as_deref_mut());
            kernel!(K, rms_norm::backward)(x, weight, offset, read(rrms), read(dy), dx, dweight);
        });
        Ok((dx, dweight.map(|dweight| self.result(dweight))))
    }
}

impl Tensor {
    /// Layer norm (Ba et al. 2016) of every row: \[rows, cols\], weight and bias \[cols\].
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
        for operand in [self, weight, bias] {
            operand.require_f32("layer_norm")?;
        }
        let cols = self.cols();
        let fits = weight.len() == cols && bias.len() == cols;
        let found = || format!("{} and {}", weight.len(), bias.len());
        check("layer_norm", fits, || format!("weight and bias of {cols}"), found)?;
        let backend = self.backend();
        let (y, mean, deviation) = backend.layer_norm(self.buffer(), weight.buffer(), bias.buffer(), eps)?;
        let [x_trace, w_trace, b_trace] = [self, weight, bias].map(|operand| operand.trace().clone());
        let inputs = [&x_trace.clone(), &w_trace.clone(), &b_trace.clone()];
        let again = [self, weight, bias].map(|operand| operand.buffer().clone());
        let (x, weight) = (self.buffer().clone(), weight.buffer().clone());
        let y = Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            let affine = (w_trace.is_some(), b_trace.is_some());
            let d = gradients.backend.layer_norm_gradient(&x, &weight, (&mean, &deviation), &dy, affine)?;
            for (trace, gradient) in [(w_trace, d.weight), (b_trace, d.bias), (x_trace, Some(d.input))] {
                if let Some(gradient) = gradient {
                    gradients.compute(&trace, |backend, onto| sum_onto(backend, gradient, onto))?;
                }
            }
            Ok(())
        });
        let recipe = Recipe::new(move |backend| {
            let [x, weight, bias] = &again;
            Ok(backend.layer_norm(x, weight, bias, eps)?.0)
        });
        Ok(y.by(recipe))
    }

    /// `x / rms(x) · (offset + weight)` (Zhang and Sennrich 2019), eps inside the root; the offset is 1 for Gemma and 0
    /// elsewhere. A row is `weight.len()` numbers: \[tokens, heads · head_dim\] with a weight \[head_dim\] norms
    /// every head alone. -> shape of self. Keeps one number a row besides its input.
    pub fn rms_norm(&self, weight: &Tensor, eps: f32, offset: f32) -> Result<Tensor> {
        self.require_f32("rms_norm")?;
        weight.require_f32("rms_norm")?;
        let (cols, width) = (self.cols(), weight.len());
        let fits = width > 0 && cols.is_multiple_of(width);
        check("rms_norm", fits, || format!("a weight whose length divides {cols}"), || width.to_string())?;
        let backend = self.backend();
        let (y, rrms) = backend.rms_norm(self.buffer(), weight.buffer(), eps, offset)?;
        let (x_trace, w_trace) = (self.trace().clone(), weight.trace().clone());
        let inputs = [&x_trace.clone(), &w_trace.clone()];
        let (x, weight) = (self.buffer().clone(), weight.buffer().clone());
        let again = [x.clone(), weight.clone()];
        let y = Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            let affine = w_trace.is_some();
            let (dx, dweight) =
                gradients.backend.rms_norm_gradient(&x, &weight, offset, &rrms, &dy, affine)?;
            if let Some(dweight) = dweight {
                gradients.compute(&w_trace, |backend, onto| sum_onto(backend, dweight, onto))?;
            }
            gradients.compute(&x_trace, |backend, onto| sum_onto(backend, dx, onto))
        });
        Ok(y.by(Recipe::new(move |backend| Ok(backend.rms_norm(&again[0], &again[1], eps, offset)?.0))))
    }
}
