//! One tensor on its way into a GGUF file: rows in ggml's order, numbers in the format of the file.

use super::Change;
use crate::error::{Error, Result};
use crate::model::checkpoint::View;
use crate::model::ggml::{self, Layout};
use crate::model::gguf::{GgmlType, Tensor};
use crate::model::weights::out_of_range;
use std::path::Path;
use tenfold_tensor::{first_unfit, quantize};

/// A tensor that is going to be written.
pub(super) struct Planned {
    pub(super) view: View,
    /// How llama.cpp stores it.
    pub(super) layout: Layout,
    pub(super) format: GgmlType,
    /// What the format asked for has to do with it.
    pub(super) change: Change,
}

/// Numbers that are brought into a format at a time: whole blocks of every format.
const PIECE: usize = 1 << 20;

impl Planned {
    /// What the file's header says about it.
    pub(super) fn described(&self) -> Tensor {
        let mut shape = self.view.shape.clone();
        if self.layout == Layout::LinearMap && !self.view.is_linear_map() {
            shape.reverse();
        }
        Tensor { dtype: self.format, shape }
    }

    /// Hands its bytes to `put`, piece by piece; `file`, where it comes from, and `name` are for errors.
    pub(super) fn write(
        &self,
        file: &Path,
        name: &str,
        mut put: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let fault = |expected: String, found: String| Error::malformed(file, name, expected, found);
        let view = self.layout.stored(&self.view).ok_or_else(|| {
            let expected = format!("rows that llama.cpp's order is known of ({:?})", self.layout);
            fault(expected, format!("shape {:?}", self.view.shape))
        })?;
        let bytes = view.bytes();
        let mut pieces = bytes.chunks(view.piece_bytes(PIECE));
        if ggml::dtype(self.format) == view.dtype {
            return pieces.try_for_each(put);
        }
        let format = self.format.dtype();
        for piece in pieces {
            let numbers = view.dtype.to_f32(piece);
            let written = quantize(format, &numbers).ok_or_else(|| {
                let number = first_unfit(format, &numbers).map_or(f32::NAN, |(_, number)| number);
                out_of_range(file, name, format, number)
            })?;
            put(&written)?;
        }
        Ok(())
    }
}
