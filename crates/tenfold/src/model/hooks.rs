//! Hooks: where a fine-tuning method steps in. Models ask them on their way and know no method; methods implement them.
//! The base computes its own products, so that a method never computes them again.

use super::{Forward, Site, Weight};
use crate::error::Result;
use tenfold_tensor::Tensor;

/// What a method does to a model on its way. Every hook defaults to "leave the base model alone".
pub trait Hooks: Send + Sync {
    /// The present value of a weight that is trained; `None`: the base's own. Heads are always trained.
    fn trained(&self, _weight: &str) -> Option<Tensor> {
        None
    }

    /// What the linear map of a site reads in place of `x` \[tokens, inputs\]; `None`: `x` itself.
    fn before(&self, _forward: &Forward, _site: &Site, _x: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// What becomes of `y` \[tokens, outputs\], which the base computed at a site; `x` is what came there, as it was before
    /// [`Hooks::before`].
    fn after(&self, _forward: &Forward, _site: &Site, _x: &Tensor, y: Tensor) -> Result<Tensor> {
        Ok(y)
    }

    /// What becomes of the word embeddings `x` \[tokens, hidden\] of the tokens `ids`, as they come out of the table.
    fn embed(&self, _forward: &Forward, _ids: &[u32], x: Tensor) -> Result<Tensor> {
        Ok(x)
    }

    /// The table \[vocab_size, hidden\] that makes a language model's logits, in place of `weight`; `None`: that.
    fn vocabulary(&self, _weight: &Weight) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Virtual tokens before every sequence: \[virtual, hidden\].
    fn prompt(&self, _forward: &Forward) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Keys and values that a layer's attention sees besides the sequence: \[prefix, kv_size\] each.
    fn prefix(&self, _forward: &Forward, _layer: usize) -> Result<Option<(Tensor, Tensor)>> {
        Ok(None)
    }

    /// How many keys the prefix has; tokens take the positions behind them.
    fn prefix_len(&self) -> usize {
        0
    }

    /// True if what the head sees does not change in training, so that it can be kept.
    fn leaves_features_alone(&self) -> bool {
        false
    }
}
