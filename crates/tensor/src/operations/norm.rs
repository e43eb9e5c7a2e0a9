//! Normalisation of rows.

use super::linear::sum_onto;
use crate::error::{Result, check};
use crate::tensor::Tensor;

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
        let (x, weight) = (self.buffer().clone(), weight.buffer().clone());
        Ok(Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            let affine = (w_trace.is_some(), b_trace.is_some());
            let d = gradients.backend.layer_norm_gradient(&x, &weight, (&mean, &deviation), &dy, affine)?;
            for (trace, gradient) in [(w_trace, d.weight), (b_trace, d.bias), (x_trace, Some(d.input))] {
                if let Some(gradient) = gradient {
                    gradients.compute(&trace, |backend, onto| sum_onto(backend, gradient, onto))?;
                }
            }
            Ok(())
        }))
    }
}
