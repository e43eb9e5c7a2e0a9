//! Studies: which methods to compare, on which model and data, and how to run that to its end.

mod aliases;
mod answers;
mod asking;
mod benchmarks;
mod candidates;
mod check;
mod child;
mod conclude;
mod config;
mod domains;
mod earlier;
mod elapsed;
mod kept;
mod naming;
mod overlay;
mod paths;
mod plan;
mod probe;
mod recommended;
mod run;
mod runner;
mod search;
mod session;
mod single;
mod space;
mod store;
mod trial;

pub use answers::Answers;
pub use conclude::Conclusion;
pub use config::{MethodSettings, Picked, Probing, Search, SmallData, Strategy, Study, format_of_weights};
pub use probe::probe;
pub use run::{Documents, Finished, Options, run};
pub use single::{Single, default_learning_rate, train};
