//! From a source's tensors to frozen weights in the format the study asks for.

use super::checkpoint::{self, Checkpoint};
use super::layer::{Linear, Norm, NormKind, Role, Site, Weight};
use super::source::{Found, Source};
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tenfold_tensor::{Backend, Dtype, Mapped, Tensor};

/// Reads named weights of one source for one backend. For a backend that holds no numbers it reads none: names, shapes
/// and formats are all it looks at.
pub struct Loader<'a> {
    source: &'a Source,
    backend: Arc<dyn Backend>,
    dtype: Option<Dtype>,
    /// The names that were asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Loader<'a> {
    /// `dtype` is the format in which matrices are kept, linear maps and embeddings alike; by default each as the file has
    /// it. Vectors are always f32, and so are matrices whose rows are no whole blocks of the format.
    pub fn new(source: &'a Source, backend: &Arc<dyn Backend>, dtype: Option<Dtype>) -> Loader<'a> {
        Loader { source, backend: backend.clone(), dtype, asked: RefCell::default() }
    }

    /// `path.weight` \[outputs, inputs\] and, with a bias, `path.bias` of a linear map.
    pub fn linear(
        &self,
        path: String,
        role: Role,
        [inputs, outputs]: [usize; 2],
        bias: bool,
    ) -> Result<Linear> {
        let weight = self.matrix(format!("{path}.weight"), outputs, inputs)?;
        let bias = bias.then(|| self.vector(format!("{path}.bias"), outputs)).transpose()?;
        Ok(Linear { site: Site { path, role, inputs, outputs, fan_in_fan_out: false }, weight, bias })
    }

    /// The same for a weight that is stored \[inputs, outputs\], unless the file has a linear map in the module's place, as
    /// bitsandbytes and llama.cpp do.
    pub fn conv1d(&self, path: String, role: Role, [inputs, outputs]: [usize; 2]) -> Result<Linear> {
        if self.source.stored(&format!("{path}.weight")).is_some_and(|view| view.is_linear_map()) {
            return self.linear(path, role, [inputs, outputs], true);
        }
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

    /// A matrix \[rows, cols\] in the loader's format, from the file as it is where it is kept so there.
    pub fn matrix(&self, name: String, rows: usize, cols: usize) -> Result<Weight> {
        let tensor = self.tensor(&name, &[rows, cols], self.dtype)?;
        Ok(Weight { name, tensor })
    }

    /// A vector \[len\] in f32.
    pub fn vector(&self, name: String, len: usize) -> Result<Weight> {
        let tensor = self.tensor(&name, &[len], Some(Dtype::F32))?;
        Ok(Weight { name, tensor })
    }

    /// The checkpoint that tensors come from, and its names that nothing has asked for. `None` where tensors are drawn.
    pub fn unused(&self) -> Option<(&Checkpoint, Vec<&str>)> {
        let Source::Checkpoint(checkpoint) = self.source else { return None };
        let checkpoint: &Checkpoint = checkpoint;
        let asked = self.asked.borrow();
        let used: BTreeSet<&str> =
            asked.iter().filter_map(|name| checkpoint.find(name)).map(|(stored, _)| stored).collect();
        Some((checkpoint, checkpoint.names().filter(|name| !used.contains(name)).collect()))
    }

    /// Whether the source has a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.source.has(name)
    }

    /// Weight and bias of a head's layer, where the source has them.
    pub fn stored_head(&self, path: &str) -> [Option<(Vec<usize>, Vec<f32>)>; 2] {
        ["weight", "bias"].map(|part| {
            let name = format!("{path}.{part}");
            let view = self.source.stored(&name)?;
            self.asked.borrow_mut().insert(name);
            let numbers = match self.backend.holds_numbers() {
                true => view.to_f32(),
                false => vec![0.0; view.shape.iter().product()],
            };
            Some((view.shape, numbers))
        })
    }

    /// A tensor in a format, by default in that of the file; rows that are no whole blocks of it are kept in f32.
    fn tensor(&self, name: &str, shape: &[usize], dtype: Option<Dtype>) -> Result<Tensor> {
        let found = self.source.require(name, shape)?;
        self.asked.borrow_mut().insert(name.to_owned());
        let own = match &found {
            Found::Stored(view) => stored(view.dtype),
            Found::Drawn(_) => None,
        };
        let (dtype, cols) = (dtype.or(own).unwrap_or(Dtype::F32), shape.last().copied().unwrap_or(1));
        let dtype = if cols.is_multiple_of(dtype.block_len()) { dtype } else { Dtype::F32 };
        if !self.backend.holds_numbers() {
            // Zeros that nobody reads are pages that the system never gives.
            let bytes = dtype.bytes(shape.iter().product()).unwrap_or_default();
            return Ok(Tensor::frozen(&self.backend, shape, dtype, vec![0; bytes])?);
        }
        match found {
            Found::Stored(view) if own == Some(dtype) => {
                self.source.check_finite(name)?;
                Ok(match view.place() {
                    Some((map, range)) => {
                        let mapped = Mapped { map: map.clone(), range: range.clone(), dtype };
                        Tensor::mapped(&self.backend, shape, mapped)?
                    }
                    None => Tensor::frozen(&self.backend, shape, dtype, view.bytes().into_owned())?,
                })
            }
            found => {
                self.source.check_finite(name)?;
                let tensor = Tensor::quantized(&self.backend, shape, dtype, found.to_f32());
                tensor.map_err(|fault| match fault {
                    tenfold_tensor::Error::Quantize { number, .. } => {
                        out_of_range(self.source.file(), name, dtype, number)
                    }
                    fault => fault.into(),
                })
            }
        }
    }
}

/// Refuses to make an infinite number of a finite one.
pub(super) fn out_of_range(file: &Path, name: &str, format: Dtype, number: f32) -> Error {
    let advice = if number.is_finite() { "; take f32, which holds them" } else { "" };
    let expected = format!("finite numbers within the range of {}{advice}", format.name());
    Error::malformed(file, name, expected, format!("{number:e}"))
}

/// The format of the engine that a file's type is.
fn stored(dtype: checkpoint::Dtype) -> Option<Dtype> {
    match dtype {
        checkpoint::Dtype::F32 => Some(Dtype::F32),
        checkpoint::Dtype::F16 => Some(Dtype::F16),
        checkpoint::Dtype::BF16 => Some(Dtype::Bf16),
        checkpoint::Dtype::Blocks(format) => Some(format),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::{HostTensor, WEIGHTS, write_tensors};
    use std::collections::BTreeMap;
    use tenfold_tensor::Cpu;

    /// A folder with matrices `even` \[2, 64\] and `odd` \[2, 40\] and a vector `bias` \[64\].
    fn folder(scale: f32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tensor = |shape: &[usize]| {
            let len: usize = shape.iter().product();
            let data = (0..len).map(|i| scale * ((i * 37 % 101) as f32 / 50.0 - 1.0)).collect();
            HostTensor { shape: shape.to_vec(), data }
        };
        let tensors = [("even", tensor(&[2, 64])), ("odd", tensor(&[2, 40])), ("bias", tensor(&[64]))]
            .map(|(n, t)| (n.into(), t));
        write_tensors(&folder.path().join(WEIGHTS), &BTreeMap::from(tensors), &BTreeMap::new()).unwrap();
        folder
    }

    #[test]
    fn matrices_of_whole_blocks_are_quantised_and_all_else_stays_f32() {
        let (folder, backend) = (folder(1.0), Cpu::new());
        let source = Source::Checkpoint(Checkpoint::open(folder.path()).unwrap().into());
        let plain = Loader::new(&source, &backend, Some(Dtype::F32)).matrix("even".into(), 2, 64).unwrap();
        let plain = plain.tensor.numbers().unwrap();
        for (dtype, error) in
            [(Dtype::Q8_0, 0.005), (Dtype::Q4_0, 0.14), (Dtype::Nf4, 0.17), (Dtype::Bf16, 0.004)]
        {
            let loader = Loader::new(&source, &backend, Some(dtype));
            let even = loader.matrix("even".into(), 2, 64).unwrap().tensor;
            assert_eq!(even.dtype(), dtype);
            let numbers = even.numbers().unwrap();
            assert_ne!(numbers, plain);
            assert!(numbers.iter().zip(&plain).all(|(a, b)| (a - b).abs() <= error), "{dtype:?}");
            let odd = loader.matrix("odd".into(), 2, 40).unwrap().tensor;
            assert_eq!(odd.dtype(), if dtype == Dtype::Bf16 { dtype } else { Dtype::F32 });
            assert_eq!(loader.vector("bias".into(), 64).unwrap().tensor.dtype(), Dtype::F32);
        }
    }

    #[test]
    fn numbers_beyond_a_format_are_refused_by_name() {
        let (folder, backend) = (folder(1e9), Cpu::new());
        let source = Source::Checkpoint(Checkpoint::open(folder.path()).unwrap().into());
        let loader = Loader::new(&source, &backend, Some(Dtype::Q8_0));
        let fault = loader.matrix("even".into(), 2, 64).err().unwrap().to_string();
        let told =
            "even: expected finite numbers within the range of q8_0; take f32, which holds them, found -1e9";
        assert!(fault.ends_with(told), "{fault}");
        // bf16 reaches as far as f32 but for the last half step.
        for (number, fits) in [(3.389e38, true), (3.4e38, false)] {
            let (folder, backend) = (self::folder(number), Cpu::new());
            let source = Source::Checkpoint(Checkpoint::open(folder.path()).unwrap().into());
            let loader = Loader::new(&source, &backend, Some(Dtype::Bf16));
            match loader.matrix("even".into(), 2, 64) {
                Ok(weight) => {
                    assert!(fits && weight.tensor.numbers().unwrap().iter().all(|number| number.is_finite()));
                }
                Err(fault) => {
                    let told =
                        format!("within the range of bf16; take f32, which holds them, found -{number:e}");
                    assert!(!fits && fault.to_string().ends_with(&told), "{fault}");
                }
            }
        }
    }

    #[test]
    fn without_numbers_none_are_read_but_shapes_are_held_to() {
        let (folder, backend) = (folder(f32::NAN), tenfold_tensor::Meta::new());
        let source = Source::Checkpoint(Checkpoint::open(folder.path()).unwrap().into());
        assert!(Loader::new(&source, &Cpu::new(), Some(Dtype::F32)).matrix("even".into(), 2, 64).is_err());
        let loader = Loader::new(&source, &backend, Some(Dtype::Q8_0));
        let even = loader.matrix("even".into(), 2, 64).unwrap().tensor;
        assert_eq!((even.dtype(), even.shape()), (Dtype::Q8_0, &[2, 64][..]));
        assert_eq!(backend.ledger().now().total(), 2 * 2 * 34);
        assert!(loader.matrix("even".into(), 64, 2).is_err() && loader.vector("none".into(), 2).is_err());
    }
}
