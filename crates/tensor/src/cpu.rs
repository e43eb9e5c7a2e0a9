//! The fast backend: vectorised kernels on the threads of rayon's current pool.

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
use tenfold_kernels::activation::{self, Activation};
use tenfold_kernels::adamw::{self, AdamW};
use tenfold_kernels::attention::Gradients as AttentionOutputs;
use tenfold_kernels::dropout::{self, Dropout};
use tenfold_kernels::matmul::{Matrix, matmul};
use tenfold_kernels::rotary::{self, Turn};
use tenfold_kernels::{
    attention, cross_entropy, elementwise, embedding, gated, layer_norm, rms_norm, softcap,
};

/// The processor's vector units, with an account of memory of its own.
pub struct Cpu {
    memory: Memory,
}

impl Cpu {
    /// A backend whose ledger is empty.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Arc<dyn crate::Backend> {
        Arc::new(Cpu { memory: Memory::new() })
    }
}

implement_backend!(Cpu, "cpu");
