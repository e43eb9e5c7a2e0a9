//! From a checkpoint's tensors to frozen weights in the format the study asks for.

use super::checkpoint::{self, Checkpoint, View};
use super::layer::{Linear, Norm, NormKind, Role, Site, Weight};
use crate::error::{Error, Result};
use std::sync::Arc;
use tenfold_tensor::{Backend, Class, Dtype, Mapped, Tensor};

/// Reads named weights of one checkpoint for one backend.
pub struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    backend: Arc<dyn Backend>,
    dtype: Dtype,
}

impl<'a> Loader<'a> {
    /// `dtype` is the format in which matrices are kept; vectors are always f32.
    pub fn new(checkpoint: &'a Checkpoint, backend: &Arc<dyn Backend>, dtype: Dtype) -> Loader<'a> {
        Loader { checkpoint, backend: backend.clone(), dtype }
    }

    /// `path.weight` \[outputs, inputs\] and, with a bias, `path.bias` of a linear map.
    pub fn linear(&self, path: String, role: Role, [inputs, outputs]: [usize; 2], bias: bool) -> Result<Linear> {
        let weight = self.matrix(format!("{path}.weight"), outputs, inputs)?;
        let bias = bias.then(|| self.vector(format!("{path}.bias"), outputs)).transpose()?;
        Ok(Linear { site: Site { path, role, inputs, outputs, fan_in_fan_out: false }, weight, bias })
    }

    /// The same for a weight that is stored \[inputs, outputs\].
    pub fn conv1d(&self, path: String, role: Role, [inputs, outputs]: [usize; 2]) -> Result<Linear> {
        let weight = self.matrix(format!("{path}.weight"), inputs, outputs)?;
        let bias = Some(self.vector(format!("{path}.bias"), outputs)?);
        Ok(Linear { site: Site { path, role, inputs, outputs, fan_in_fan_out: true }, weight, bias })
    }

    /// `path.weight` and `path.bias` of a layer norm.
    pub fn layer_norm(&self, path: &str, width: usize, eps: f32) -> Result<Norm> {
        let weight = self.vector(format!("{path}.weight"), width)?;
        let bias = self.vector(format!("{path}.bias"), width)?;
        Ok(Norm { weight, kind: NormKind::Layer(bias), eps })
    }

    /// `path.weight` of a root mean square norm.
    pub fn rms_norm(&self, path: &str, width: usize, eps: f32, offset: f32) -> Result<Norm> {
        let weight = self.vector(format!("{path}.weight"), width)?;
        Ok(Norm { weight, kind: NormKind::Rms { offset }, eps })
    }

    /// A matrix \[rows, cols\] in the loader's format.
    pub fn matrix(&self, name: String, rows: usize, cols: usize) -> Result<Weight> {
        let shape = [rows, cols];
        let view = self.view(&name, &shape)?;
        let tensor = match (self.dtype, view.dtype) {
            (Dtype::F32, checkpoint::Dtype::F32) => self.mapped(view, Dtype::F32, &shape)?,
            (Dtype::Bf16, checkpoint::Dtype::BF16) => self.mapped(view, Dtype::Bf16, &shape)?,
            (Dtype::F32, _) => Tensor::new(&self.backend, Class::Base, &shape, view.to_f32())?,
            (Dtype::Bf16, _) => {
                let narrow = view.to_f32().into_iter().map(to_bf16).collect();
                Tensor::bf16(&self.backend, &shape, narrow)?
            }
        };
        Ok(Weight { name, tensor })
    }

    /// A vector \[len\] in f32.
    pub fn vector(&self, name: String, len: usize) -> Result<Weight> {
        let view = self.view(&name, &[len])?;
        let tensor = match view.dtype {
            checkpoint::Dtype::F32 => self.mapped(view, Dtype::F32, &[len])?,
            _ => Tensor::new(&self.backend, Class::Base, &[len], view.to_f32())?,
        };
        Ok(Weight { name, tensor })
    }

    /// Whether the checkpoint has a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.get(name).is_some()
    }

    /// Weight and bias of a head's layer, where the checkpoint has them.
    pub fn stored_head(&self, path: &str) -> [Option<(Vec<usize>, Vec<f32>)>; 2] {
        ["weight", "bias"].map(|part| self.stored(&format!("{path}.{part}")))
    }

    /// Shape and numbers of a tensor that may be absent.
    fn stored(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let view = self.checkpoint.get(name)?;
        let numbers = view.to_f32();
        Some((view.shape, numbers))
    }

    /// A tensor of that shape, all numbers: one that is none would make every result one that is none.
    fn view(&self, name: &str, shape: &[usize]) -> Result<View> {
        let view = self.checkpoint.require(name, shape)?;
        match view.first_not_finite() {
            None => Ok(view),
            Some(place) => {
                let found = format!("an infinite one, or none, at place {place}");
                Err(Error::malformed(self.checkpoint.file(), name, "finite numbers", found))
            }
        }
    }

    fn mapped(&self, view: View, dtype: Dtype, shape: &[usize]) -> Result<Tensor> {
        let mapped = Mapped { map: view.map, range: view.range, dtype };
        Ok(Tensor::mapped(&self.backend, shape, mapped)?)
    }
}

/// The nearest bf16, ties to even; not-a-numbers stay so.
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for (x, expected) in [(1.0, 0x3f80), (257.0 / 256.0, 0x3f80), (259.0 / 256.0, 0x3f82), (-2.0, 0xc000)]
        {
            assert_eq!(to_bf16(x), expected, "{x}");
        }
        assert_eq!(to_bf16(f32::INFINITY), 0x7f80);
        assert!(f32::from_bits(u32::from(to_bf16(f32::NAN)) << 16).is_nan());
    }
}
