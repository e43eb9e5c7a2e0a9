//! The oracle of the tests: the same operations as plain loops with 64-bit sums.

use crate::host::{Host, Kernels};

/// Plain loops: slow, and easy to believe.
pub type Reference = Host<Plain>;

/// The references of the kernels.
#[derive(Default)]
pub struct Plain;

impl Kernels for Plain {
    type Floats = Vec<f32>;
    const NAME: &'static str = "reference";
    const FAST: bool = false;
}
