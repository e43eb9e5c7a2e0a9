//! The operations of tensors, forward and backward side by side.

pub(crate) mod attention;
mod blocks;
mod elementwise;
mod linear;
mod loss;
mod norm;
pub(crate) mod orthonormality;
mod rotary;
mod rows;
#[cfg(test)]
mod tests;
