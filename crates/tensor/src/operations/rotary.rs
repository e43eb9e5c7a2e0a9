//! Rotary position embeddings.

use super::linear::sum_onto;
use crate::backend::Turn;
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::host::{Host, Kernels, kernel, read};
use crate::tensor::Tensor;

/// What a device does for rotary embeddings.
pub trait RotaryOps {
    /// Turns the heads of `rows` rows by their angles, `cos` and `sin` \[rows, rotated / 2\]: number `i` of a head with
    /// number `i + rotated / 2`, for `i` below `rotated / 2`. Turning back is the gradient of turning forward.
    fn rotary(
        &self,
        x: &Buffer,
        cos: &Buffer,
        sin: &Buffer,
        rows: usize,
        head_dim: usize,
        turn: Turn,
    ) -> Result<Buffer>;
}

impl<K: Kernels> RotaryOps for Host<K> {
    fn rotary(
        &self,
        x: &Buffer,
        cos: &Buffer,
        sin: &Buffer,
        rows: usize,
        head_dim: usize,
        turn: Turn,
    ) -> Result<Buffer> {
        Ok(self.filled(x.len(), |y| {
            kernel!(K, rotary::apply)(read(x), read(cos), read(sin), rows, head_dim, turn, y);
        }))
    }
}

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
