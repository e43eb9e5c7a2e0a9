//! Tensors, reverse-mode differentiation over coarse operations, and the backend seam of Tenfold.
//!
//! Above this crate nobody sees a slice: a model computes with [`Tensor`]s, a [`Backend`] does the
//! arithmetic. [`Cpu`] is the fast one; [`Reference`] computes the same with plain loops and
//! 64-bit sums and is what tests compare with; [`Dry`] computes nothing and books all the same, so that
//! memory is known before it is needed.

mod autograd;
pub mod backend;
mod buffer;
mod cache;
mod cpu;
mod dry;
pub mod error;
mod host;
mod kept;
mod linear_loss;
pub mod memory;
mod operations;
mod param;
mod products;
pub mod random;
mod recycle;
mod reference;
mod tensor;

pub use autograd::{recompute, without_gradients};
pub use backend::{Backend, Ragged};
pub use buffer::{Buffer, Dtype, Mapped};
pub use cache::RowCache;
pub use cpu::Cpu;
pub use dry::Dry;
pub use error::{Error, Result};
pub use memory::{Class, Ledger, Usage};
pub use operations::attention::{Attention, RelativeBias};
pub use operations::orthonormality::Vectors;
pub use param::Param;
pub use products::{Prepared, Product, Tally};
pub use reference::Reference;
pub use tenfold_kernels::activation::Activation;
pub use tenfold_kernels::adamw::AdamW;
pub use tenfold_kernels::cayley::Cayley;
pub use tenfold_kernels::dropout::{Dropout, Row};
pub use tenfold_kernels::elements::{first_unfit, nf4_tables, quantize};
pub use tenfold_kernels::simd_level;
pub use tensor::Tensor;
