//! Arithmetic on slices for Tenfold: forward, backward, plain-loop reference and tests of one operation per file.
//!
//! All matrices are row-major `f32` slices unless a function says otherwise. Callers check shapes; here only
//! slice lengths are asserted.
//!
//! **Threads.** Work runs on rayon's *current* pool (`ThreadPool::install` chooses it) and stays on the calling
//! thread when that pool has one thread or the job is small. No pool is ever built here.
//!
//! **Determinism.** On one instruction set the same inputs give the same bits for any number of threads: work is
//! split over outputs, and sums over rows go through chunks of a fixed size that are added in a fixed order.
//!
//! **Instruction sets.** AVX-512, AVX2 with FMA, or what the compilation target guarantees ("scalar"), chosen at
//! run time: see [`simd_level`].

// A kernel's slices are its arguments; structs around them would only move the list.
#![allow(clippy::too_many_arguments)]

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod cayley;
pub mod cross_entropy;
pub mod dropout;
pub mod elements;
pub mod elementwise;
pub mod embedding;
pub mod gated;
pub mod layer_norm;
pub mod matmul;
pub mod ragged;
pub mod random;
pub mod rms_norm;
pub mod rotary;
pub mod softcap;

mod math;
mod parallel;
mod simd;
#[cfg(test)]
mod testing;

pub use elements::{Elements, Format};
pub use simd::{Level, simd_level, with_simd_level};
