//! Tensors, reverse-mode differentiation over coarse operations, and the backend seam of Tenfold.
//!
//! Above this crate nobody sees a slice: a model computes with [`Tensor`]s, a [`Backend`] does the
//! arithmetic. [`Cpu`] is the fast one; [`Reference`] computes the same with plain loops and
//! 64-bit sums and is what tests compare with; [`Meta`] computes nothing and books all the same, so that
//! memory is known before it is needed. A device of another kind implements [`backend`]'s traits in a crate of its own.

mod autograd;
pub mod backend;
mod buffer;
mod cache;
mod cpu;
pub mod error;
mod host;
mod indices;
mod kept;
mod linear_loss;
pub mod memory;
mod meta;
mod operations;
mod param;
mod products;
pub mod random;
mod recycle;
mod reference;
mod tensor;

pub use autograd::{recompute, without_gradients};
pub use backend::{
    Activation, AdamW, AdamWUpdate, Attention, Backend, Buffer, Class, Dropout, Dtype, Error, Ledger, Mapped,
    Ragged, Result, Row, Usage,
};
pub use cache::RowCache;
pub use cpu::Cpu;
pub use host::Host;
pub use indices::{Indices, ToIndices};
pub use meta::Meta;
pub use operations::attention::RelativeBias;
pub use operations::orthonormality::Vectors;
pub use param::Param;
pub use products::{Prepared, Product, Tally};
pub use reference::Reference;
pub use tenfold_kernels::cayley::Cayley;
pub use tenfold_kernels::elements::{first_unfit, nf4_tables, quantize};
pub use tenfold_kernels::simd_level;
pub use tensor::Tensor;
