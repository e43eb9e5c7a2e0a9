//! The fast backend: vectorised kernels on the threads of rayon's current pool.

use crate::host::{Host, Kernels};

/// The processor's vector units, with an account of memory of its own.
pub type Cpu = Host<Fast>;

/// The kernels as they are.
#[derive(Default)]
pub struct Fast;

impl Kernels for Fast {
    type Floats = Vec<f32>;
    const NAME: &'static str = "cpu";
    const FAST: bool = true;
}
