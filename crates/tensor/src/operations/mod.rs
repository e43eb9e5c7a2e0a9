//! The operations of tensors: forward and backward side by side, with what they ask of a device and what the host
//! backends give.

pub(crate) mod attention;
pub(crate) mod blocks;
pub(crate) mod elementwise;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod norm;
pub(crate) mod optimizer;
pub(crate) mod orthonormality;
pub(crate) mod rotary;
pub(crate) mod rows;
#[cfg(test)]
mod tests;
