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
    /// Numbers that cannot be brought into a format.
    #[error(
        "quantize: expected finite numbers within the range of {dtype}, found {number:e} at place {place}"
    )]
    Quantize {
        /// The format.
        dtype: &'static str,
        /// One that the format cannot hold.
        number: f32,
        /// Its place among them.
        place: usize,
    },
    /// An operand whose number format the operation cannot take.
    #[error("{operation}: {found} operands are not supported here, {expected} was expected")]
    Dtype {
        /// The operation.
        operation: &'static str,
        /// What would fit.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// A caller's own error on its way through [`recompute`](crate::recompute).
    #[error(transparent)]
    Within(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Carries an error of the caller's own through the engine.
    pub fn within(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Within(error.into())
    }
}

/// Refuses with [`Error::Shape`] unless `fits`; the words are made only when needed.
pub(crate) fn check(
    operation: &'static str,
    fits: bool,
    expected: impl FnOnce() -> String,
    found: impl FnOnce() -> String,
) -> Result<()> {
    if fits { Ok(()) } else { Err(Error::Shape { operation, expected: expected(), found: found() }) }
}
