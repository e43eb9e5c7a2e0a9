//! Tenfold: which fine-tuning method for this model, this data and this hardware.
//!
//! The modules stand in the order in which data flows through them; a module uses only what stands
//! above it.
//!
//! ```text
//! study.toml -> Study -> Trial* -> data + model + adapter -> train -> evaluate + measure -> Record -> report
//! ```

mod atomic;
pub mod bytes;
pub mod error;
mod first_bytes;
mod guard;
pub mod histogram;
mod jinja;
mod lock;
mod new_folder;
pub mod plain_file;
pub mod progress;
pub mod record;
pub mod unfinished;
mod unit;
pub mod words;

pub mod score;
mod seal;

pub mod statistics;

pub mod data;
pub mod task;

pub mod model;

pub mod device;

pub mod adapter;

pub mod meter;

pub mod load;

pub mod train;

pub mod generate;

pub mod eval;

pub mod bench;

pub mod metric;

pub mod report;

pub mod study;

pub use error::{Error, Result};
