//! What training makes small: a loss of rows, as the passes of a step add it up.

mod cross_entropy;

pub use cross_entropy::CrossEntropy;

use super::rows::Rows;
use super::source::Source;
use crate::error::Result;
use crate::model::Forward;
use tenfold_tensor::Tensor;

/// A loss that a tuning is trained by. A step goes over its rows in passes; the step's loss is the mean of theirs by what
/// their rows weigh, and its gradient is that mean's, however the step is cut.
///
/// A further objective is one file below `train/objective/`: what rows it needs beside those of a pass (pairs, a reference's
/// answers) it holds itself.
pub trait Objective: Send + Sync {
    /// What the rows `picks` weigh together, a number above 0: for a mean over labels their number, times the rows' weights.
    fn weight(&self, rows: &Rows, picks: &[usize]) -> f64;

    /// The mean loss of the rows `picks` by these weights: a scalar on the tape, in the unit of
    /// [`Scoring::loss_unit`](crate::score::Scoring::loss_unit).
    fn mean(&self, source: &Source, forward: &Forward, picks: &[usize]) -> Result<Tensor>;
}
