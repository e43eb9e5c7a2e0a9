//! The formats of numbers in GGUF files that Tenfold reads.

use tenfold_tensor::Dtype;

/// A format of ggml, by its name there. Formats in blocks store a row's numbers in blocks of a fixed count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, non_camel_case_types)]
pub enum GgmlType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ4_NL,
    IQ4_XS,
    BF16,
}

impl GgmlType {
    /// All of them.
    pub const ALL: [GgmlType; 16] = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::BF16,
        GgmlType::Q8_0,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q2_K,
        GgmlType::Q3_K,
        GgmlType::Q4_K,
        GgmlType::Q5_K,
        GgmlType::Q6_K,
        GgmlType::Q8_K,
        GgmlType::IQ4_NL,
        GgmlType::IQ4_XS,
    ];

    /// The number in files, ggml's name, and the engine's format with the same bytes.
    fn described(self) -> (u32, &'static str, Dtype) {
        match self {
            GgmlType::F32 => (0, "F32", Dtype::F32),
            GgmlType::F16 => (1, "F16", Dtype::F16),
            GgmlType::Q4_0 => (2, "Q4_0", Dtype::Q4_0),
            GgmlType::Q4_1 => (3, "Q4_1", Dtype::Q4_1),
            GgmlType::Q5_0 => (6, "Q5_0", Dtype::Q5_0),
            GgmlType::Q5_1 => (7, "Q5_1", Dtype::Q5_1),
            GgmlType::Q8_0 => (8, "Q8_0", Dtype::Q8_0),
            GgmlType::Q2_K => (10, "Q2_K", Dtype::Q2K),
            GgmlType::Q3_K => (11, "Q3_K", Dtype::Q3K),
            GgmlType::Q4_K => (12, "Q4_K", Dtype::Q4K),
            GgmlType::Q5_K => (13, "Q5_K", Dtype::Q5K),
            GgmlType::Q6_K => (14, "Q6_K", Dtype::Q6K),
            GgmlType::Q8_K => (15, "Q8_K", Dtype::Q8K),
            GgmlType::IQ4_NL => (20, "IQ4_NL", Dtype::Iq4Nl),
            GgmlType::IQ4_XS => (23, "IQ4_XS", Dtype::Iq4Xs),
            GgmlType::BF16 => (30, "BF16", Dtype::Bf16),
        }
    }

    /// The format's number in files.
    pub fn id(self) -> u32 {
        self.described().0
    }

    /// The format of that number, if it is one of these.
    pub fn from_id(id: u32) -> Option<GgmlType> {
        Self::ALL.into_iter().find(|format| format.id() == id)
    }

    /// "Q4_K".
    pub fn name(self) -> &'static str {
        self.described().1
    }

    /// The engine's format with the same bytes.
    pub fn dtype(self) -> Dtype {
        self.described().2
    }

    /// How many numbers a block holds.
    pub fn block_len(self) -> usize {
        self.dtype().block_len()
    }

    /// Bytes of a tensor of that shape; `None` if its rows are no whole blocks or no memory could hold it.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        let cols = shape.last().copied().unwrap_or(1);
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        self.dtype().bytes(shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?)
    }
}

/// What ggml calls a number that is none of [`GgmlType`]'s, for errors.
pub(super) fn foreign_name(id: u32) -> Option<&'static str> {
    Some(match id {
        9 => "Q8_1",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ggml's own table (`GGML_QUANT_SIZES`): name, number, numbers and bytes of a block.
    #[test]
    fn blocks_have_ggmls_sizes() {
        for (name, id, numbers, bytes) in [
            ("F32", 0, 1, 4),
            ("F16", 1, 1, 2),
            ("Q4_0", 2, 32, 18),
            ("Q4_1", 3, 32, 20),
            ("Q5_0", 6, 32, 22),
            ("Q5_1", 7, 32, 24),
            ("Q8_0", 8, 32, 34),
            ("Q2_K", 10, 256, 84),
            ("Q3_K", 11, 256, 110),
            ("Q4_K", 12, 256, 144),
            ("Q5_K", 13, 256, 176),
            ("Q6_K", 14, 256, 210),
            ("Q8_K", 15, 256, 292),
            ("IQ4_NL", 20, 32, 18),
            ("IQ4_XS", 23, 256, 136),
            ("BF16", 30, 1, 2),
        ] {
            let format = GgmlType::from_id(id).unwrap();
            assert_eq!(
                (format.name(), format.block_len(), format.bytes(&[3, numbers])),
                (name, numbers, Some(3 * bytes))
            );
        }
        assert_eq!(GgmlType::from_id(9), None);
        assert_eq!(GgmlType::Q5_0.bytes(&[2, 33]), None);
    }
}
