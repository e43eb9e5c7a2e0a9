//! One tensor on its way into a GGUF file: rows in ggml's order, numbers in the format of the file.

use crate::error::{Error, Result};
use crate::model::checkpoint::View;
use crate::model::ggml::{self, Order};
use crate::model::gguf::{GgmlType, Tensor};
use std::path::Path;
use tenfold_tensor::{Dtype, quantize};

/// A tensor that is going to be written.
pub(super) struct Planned {
    pub(super) view: View,
    /// The heads whose rows llama.cpp has in another order.
    pub(super) heads: Option<usize>,
    pub(super) format: GgmlType,
}

/// Numbers that are brought into a format at a time: whole blocks of every format.
const PIECE: usize = 1 << 20;

impl Planned {
    /// What the file's header says about it.
    pub(super) fn described(&self) -> Tensor {
        Tensor { dtype: self.format, shape: self.view.shape.clone() }
    }

    /// Hands its bytes to `put`, piece by piece; `file`, where it comes from, and `name` are for errors.
    pub(super) fn write(
        &self,
        file: &Path,
        name: &str,
        mut put: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let fault = |expected: String, found: String| Error::malformed(file, name, expected, found);
        let turned = match self.heads {
            None => None,
            Some(heads) => Some(ggml::reordered(&self.view, heads, Order::Neighbours).ok_or_else(|| {
                fault(
                    format!("rows of {heads} heads of an even width"),
                    format!("shape {:?}", self.view.shape),
                )
            })?),
        };
        let view = turned.as_ref().unwrap_or(&self.view);
        let bytes = view.bytes();
        let mut pieces = bytes.chunks(view.piece_bytes(PIECE));
        if ggml::dtype(self.format) == view.dtype {
            return pieces.try_for_each(put);
        }
        let format = engine(self.format);
        for piece in pieces {
            let written = quantize(format, &view.dtype.to_f32(piece)).ok_or_else(|| {
                let expected = format!("finite numbers within the range of {}", format.name());
                fault(expected, "others".into())
            })?;
            put(&written)?;
        }
        Ok(())
    }
}

/// ggml's format as the engine's.
fn engine(format: GgmlType) -> Dtype {
    match format {
        GgmlType::F32 => Dtype::F32,
        GgmlType::F16 => Dtype::F16,
        GgmlType::BF16 => Dtype::Bf16,
        GgmlType::Q8_0 => Dtype::Q8_0,
        GgmlType::Q4_0 => Dtype::Q4_0,
        GgmlType::Q4_1 => Dtype::Q4_1,
        GgmlType::Q4_K => Dtype::Q4K,
        GgmlType::Q6_K => Dtype::Q6K,
    }
}
