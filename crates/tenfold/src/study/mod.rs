//! Studies: which methods to compare, on which model and data, and how to run that to its end.

mod asking;
mod benchmarks;
mod candidates;
mod check;
mod child;
mod conclude;
mod config;
mod domains;
mod elapsed;
mod kept;
mod naming;
mod overlay;
mod paths;
mod plan;
mod probe;
mod run;
mod seal;
mod search;
mod session;
mod single;
mod space;
mod store;
mod trial;

pub use conclude::Conclusion;
pub use config::{MethodSettings, Picked, Probing, Search, SmallData, Strategy, Study, format_of_weights};
pub use probe::probe;
pub use run::{Finished, Options, run};
pub use single::{Single, train};
