//! Rotary position embeddings.

use super::linear::sum_onto;
use crate::error::{Result, check};
use crate::tensor::Tensor;
use tenfold_kernels::rotary::Turn;

impl Tensor {
    /// Rotary embedding (Su et al. 2021) in the halves convention of Hugging Face (`rotate_half`): turns the first
    /// 2 · cos.cols() numbers of each head of `head_dim` of \[rows, heads · head_dim\]. `cos` and `sin`
    /// \[rows, rotated / 2\] hold each row's own angles and get no gradient.
    pub fn rotary(&self, cos: &Tensor, sin: &Tensor, head_dim: usize) -> Result<Tensor> {
        for operand in [self, cos, sin] {
            operand.require_f32("rotary")?;
        }
        let (rows, cols, half) = (self.rows(), self.cols(), cos.cols());
        let heads = head_dim > 0 && cols.is_multiple_of(head_dim);
        check("rotary", heads, || format!("whole heads of {head_dim}"), || format!("{:?}", self.shape()))?;
        for angles in [cos, sin] {
            let fits = angles.rows() == rows && angles.cols() == half && half <= head_dim / 2;
            let expected = || format!("angles [{rows}, at most {}]", head_dim / 2);
            check("rotary", fits, expected, || format!("{:?} and {:?}", cos.shape(), sin.shape()))?;
        }
        let backend = self.backend();
        let y = backend.rotary(self.buffer(), cos.buffer(), sin.buffer(), rows, head_dim, Turn::Forward)?;
        let (x, cos, sin) = (self.trace().clone(), cos.buffer().clone(), sin.buffer().clone());
        Ok(Tensor::result(backend, &[&x.clone()], y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&x, |backend, onto| {
                sum_onto(backend, backend.rotary(&dy, &cos, &sin, rows, head_dim, Turn::Back)?, onto)
            })
        }))
    }
}
