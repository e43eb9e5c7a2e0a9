//! What the head sees of each row, computed once for all trials whose method leaves that alone.

use super::rows::Rows;
use crate::error::Result;
use crate::model::tokenizer::Encoding;
use crate::model::{Forward, Model, Wanted};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tenfold_tensor::without_gradients;

/// The features of rows seen so far: those of one base model.
#[derive(Default)]
pub struct Features(Mutex<HashMap<Encoding, Arc<[f32]>>>);

impl Features {
    /// The features of the rows `picks`, one after the other. `forward`'s method must leave features alone.
    ///
    /// A trial that asks meanwhile waits: it most likely asks for the same.
    pub(super) fn of(
        &self,
        model: &dyn Model,
        forward: &Forward,
        rows: &Rows,
        picks: &[usize],
    ) -> Result<Vec<f32>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown: Vec<usize> =
            picks.iter().copied().filter(|row| !known.contains_key(rows.encoding(*row))).collect();
        if !unknown.is_empty() {
            let computed =
                without_gradients(|| model.hidden_states(forward, &rows.batch(&unknown), &Wanted::Pooled))?;
            let width = computed.cols();
            for (row, numbers) in unknown.iter().zip(computed.numbers()?.chunks_exact(width)) {
                known.insert(rows.encoding(*row).clone(), numbers.into());
            }
        }
        Ok(picks.iter().flat_map(|row| known[rows.encoding(*row)].iter().copied()).collect())
    }
}
