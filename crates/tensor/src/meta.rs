//! The backend without numbers, as PyTorch's `meta` device: it books what [`Cpu`](crate::Cpu) books, and computes nothing.
//!
//! It is the same host backend over memory that is not there, so that both accounts are equal by construction.

use crate::backend::{Backend, LinearLoss, MatMul};
use crate::host::{Host, Kernels};
use crate::products::Tally;
use crate::recycle::Absent;
use std::sync::Arc;

/// Buffers without storage, and the account of what they would take. What is read from them is 0.
pub type Meta = Host<Nothing>;

/// No kernels, but counts of the matrix products that there would be.
#[derive(Default)]
pub struct Nothing {
    tally: Arc<Tally>,
}

impl Meta {
    /// A backend that also counts the matrix products that [`Cpu`](crate::Cpu) would compute.
    pub fn tallying(tally: &Arc<Tally>) -> Arc<dyn Backend> {
        Host::over(Nothing { tally: tally.clone() })
    }
}

impl Kernels for Nothing {
    type Floats = Absent;
    const NAME: &'static str = "meta";
    const FAST: bool = true;

    fn count(&self, product: &MatMul) {
        self.tally.matmul(product);
    }

    fn count_loss(&self, loss: &LinearLoss, wanted: [bool; 3]) {
        self.tally.linear_loss(loss, wanted);
    }
}
