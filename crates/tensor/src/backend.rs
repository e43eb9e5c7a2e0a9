//! The seam: everything that a device must be able to do.
//!
//! Operations are coarse and work on whole buffers. Shapes and indices are checked above the seam; an implementation may
//! rely on them. A device implements [`Backend`], which moves numbers, and the traits of operations that it asks for; each
//! stands beside the tensor operations that it serves. All types in their signatures are here, so that the author of a
//! device needs this crate alone; `crates/example-backend` is a small device in a crate of its own.
//!
//! A device makes buffers with [`Buffer::new`] around a storage of its own kind, and enters their bytes into its account
//! with [`Ledger::reserve`]. Numbers that decide nothing on the host stay on the device: losses, norms and factors are
//! buffers of one number, ids and labels are [`IndexBuffer`]s, and nothing is read back but by [`Backend::download`].

pub use crate::buffer::{Buffer, Dtype, IndexBuffer, Mapped};
pub use crate::error::{Error, Result};
pub use crate::memory::{Class, Ledger, Reservation, Usage};
pub use crate::operations::attention::{AttentionGradients, AttentionInputs, AttentionOps};
pub use crate::operations::elementwise::ElementwiseOps;
pub use crate::operations::linear::{LinearOps, MatMul};
pub use crate::operations::loss::{LinearLoss, LinearLossGradients, LossOps};
pub use crate::operations::norm::{NormGradients, NormOps};
pub use crate::operations::optimizer::{AdamWUpdate, OptimizerOps};
pub use crate::operations::rotary::RotaryOps;
pub use crate::operations::rows::RowOps;
use std::sync::Arc;
pub use tenfold_kernels::activation::Activation;
pub use tenfold_kernels::adamw::AdamW;
pub use tenfold_kernels::attention::{Attention, AttentionShape};
pub use tenfold_kernels::dropout::{Dropout, Row};
pub use tenfold_kernels::elements::Elements;
pub use tenfold_kernels::ragged::Ragged;
pub use tenfold_kernels::rotary::Turn;

/// A device. All numbers that operations produce are f32.
pub trait Backend:
    LinearOps
    + ElementwiseOps
    + NormOps
    + RotaryOps
    + RowOps
    + AttentionOps
    + LossOps
    + OptimizerOps
    + Send
    + Sync
{
    /// Name for records: "cpu", "reference", "meta".
    fn name(&self) -> &'static str;
    /// Whether its buffers hold numbers; if not ([`Meta`](crate::Meta)), nobody need read any for it.
    fn holds_numbers(&self) -> bool {
        true
    }
    /// The account of this backend's memory.
    fn ledger(&self) -> &Arc<Ledger>;

    /// Copies numbers in.
    fn upload(&self, class: Class, numbers: Vec<f32>) -> Result<Buffer>;
    /// Copies indices in, booked under the ledger's phase.
    fn upload_indices(&self, indices: &[u32]) -> Result<IndexBuffer>;
    /// Takes `len` frozen numbers in as bytes of any format; [`Tensor::frozen`](crate::Tensor::frozen) has checked that
    /// they are as many as the format wants. [`Elements`] reads them.
    fn upload_frozen(&self, class: Class, dtype: Dtype, len: usize, bytes: Vec<u8>) -> Result<Buffer>;
    /// Takes `len` frozen numbers from a file, without a copy where the device can; checked likewise.
    fn map(&self, class: Class, len: usize, mapped: Mapped) -> Result<Buffer>;
    /// Copies the numbers of several buffers out at once, those of each in a vector of its own; frozen formats are
    /// widened. A device waits here for all that it was asked to compute.
    fn download(&self, buffers: &[&Buffer]) -> Result<Vec<Vec<f32>>>;
    /// `len` zeros.
    fn zeros(&self, class: Class, len: usize) -> Result<Buffer>;
}

/// Copies the numbers of one buffer out.
pub(crate) fn download_one(backend: &dyn Backend, buffer: &Buffer) -> Result<Vec<f32>> {
    Ok(backend.download(&[buffer])?.pop().unwrap_or_default())
}
