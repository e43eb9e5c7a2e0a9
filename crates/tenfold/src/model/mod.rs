//! Base models: where they come from, their weights, their words.

pub mod catalog;
pub mod checkpoint;
pub mod store;
pub mod tokenizer;
