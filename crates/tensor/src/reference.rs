//! The oracle of the tests: the same operations as plain loops with 64-bit sums.

use crate::backend::{
    AttentionGradients, AttentionInputs, AttentionShape, LinearLoss, LinearLossGradients, MatMul,
    NormGradients,
};
use crate::buffer::{Buffer, Dtype, Mapped};
use crate::error::Result;
use crate::host::{
    Host, Memory, attention_parameters, attention_slices, elements, implement_backend, read, write,
};
use crate::linear_loss::{Kernels, linear_loss};
use crate::memory::{Class, Ledger};
use std::sync::Arc;
use tenfold_kernels::activation::{Activation, reference as activation};
use tenfold_kernels::adamw::{AdamW, reference as adamw};
use tenfold_kernels::attention::Gradients as AttentionOutputs;
use tenfold_kernels::attention::reference as attention;
use tenfold_kernels::cross_entropy::reference as cross_entropy;
use tenfold_kernels::dropout::{Dropout, reference as dropout};
use tenfold_kernels::elementwise::reference as elementwise;
use tenfold_kernels::embedding::reference as embedding;
use tenfold_kernels::gated::reference as gated;
use tenfold_kernels::layer_norm::reference as layer_norm;
use tenfold_kernels::matmul::{Matrix, reference::matmul};
use tenfold_kernels::rms_norm::reference as rms_norm;
use tenfold_kernels::rotary::{Turn, reference as rotary};
use tenfold_kernels::softcap::reference as softcap;

/// Plain loops: slow, and easy to believe.
pub struct Reference {
    memory: Memory,
}

impl Reference {
    /// A backend whose ledger is empty.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Arc<dyn crate::Backend> {
        Arc::new(Reference { memory: Memory::new() })
    }
}

implement_backend!(Reference, "reference");
