//! Tensors, reverse-mode differentiation over coarse operations, and the backend seam of Tenfold.

pub mod error;

pub use error::{Error, Result};
