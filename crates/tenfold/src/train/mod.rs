//! Training: from a tuning as it starts to one that has learned.

mod diverged;
mod features;
mod foresee;
mod joined;
mod objective;
mod optimizer;
mod order;
mod rows;
mod schedule;
mod settings;
mod snapshot;
mod source;
mod trainer;

pub use features::Features;
pub use foresee::{Fitted, PROCESS_BYTES, SMALL_ACTIVATIONS, Subject, fit, foresee, products, total};
pub use joined::{Joined, Part, Whole};
pub use objective::{CrossEntropy, Objective};
pub use optimizer::Optimizer;
pub use order::Order;
pub use rows::{Asked, Rows, Target};
pub use schedule::Schedule;
pub(crate) use settings::MOST;
pub use settings::TrainSettings;
pub use source::{EVALUATION_BATCH, Source};
pub use trainer::{Looks, Progressed, Trainer, Training};
