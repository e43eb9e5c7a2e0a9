//! What a backward pass holds on to of a result: its numbers, or how to work them out again from what is held anyway.
//!
//! A norm's result is a product of two things that the norm's own gradient needs, a gated one likewise; linear maps that
//! are trained need it once more. To hold it would be a third of all that a block of a decoder holds; to compute it
//! anew is nothing beside a product of matrices.

use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::error::Result;
use std::sync::{Arc, Mutex, PoisonError};

type Compute = dyn Fn(&dyn Backend) -> Result<Buffer> + Send + Sync;

/// A result that can be computed again.
pub(crate) struct Recipe {
    compute: Box<Compute>,
    /// The numbers, from when they are first asked for again until the last that holds the recipe is done.
    numbers: Mutex<Option<Arc<Buffer>>>,
}

impl Recipe {
    /// `compute` gives the same numbers whenever it is called, and holds nothing that the operation's backward pass does not.
    pub(crate) fn new(
        compute: impl Fn(&dyn Backend) -> Result<Buffer> + Send + Sync + 'static,
    ) -> Arc<Recipe> {
        Arc::new(Recipe { compute: Box::new(compute), numbers: Mutex::new(None) })
    }

    fn numbers(&self, backend: &dyn Backend) -> Result<Arc<Buffer>> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(numbers) = &*numbers {
            return Ok(numbers.clone());
        }
        Ok(numbers.insert(Arc::new((self.compute)(backend)?)).clone())
    }
}

/// The numbers of a tensor, for later.
pub(crate) enum Kept {
    Numbers(Arc<Buffer>),
    Recipe(Arc<Recipe>),
}

impl Kept {
    pub(crate) fn numbers(&self, backend: &dyn Backend) -> Result<Arc<Buffer>> {
        match self {
            Kept::Numbers(numbers) => Ok(numbers.clone()),
            Kept::Recipe(recipe) => recipe.numbers(backend),
        }
    }
}
