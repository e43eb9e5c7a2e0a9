//! What can go wrong in the engine.

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Operands whose shapes do not fit each other.
    #[error("{operation}: expected {expected}, found {found}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// What would fit.
        expected: String,
        /// What came.
        found: String,
    },
    /// An index outside the table it points into.
    #[error("{operation}: index {index} is outside 0..{bound}")]
    Index {
        /// The operation.
        operation: &'static str,
        /// The index.
        index: usize,
        /// One past the largest valid index.
        bound: usize,
    },
}
