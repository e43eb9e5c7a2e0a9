//! What the machine tells about itself: memory, energy, processor time, and what else runs on it.

pub mod disturbance;
pub mod energy;
pub mod gpu;
pub mod machine;
pub mod memory;
mod powercap;

pub use powercap::POWERCAP;
