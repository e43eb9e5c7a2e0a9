//! What the machine tells about itself: memory, energy, processor time.

pub mod energy;
pub mod machine;
pub mod memory;
