//! Keys and values of tokens that went through a model already, so that the next token costs one token.

use super::Extents;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tenfold_tensor::{Backend, Ragged, RowCache, Tensor, ToIndices};

/// What a model remembers of some sequences, each with room for as many tokens.
pub struct Cache {
    layers: Vec<[RowCache; 2]>,
    fixed: BTreeMap<usize, (Tensor, Tensor, Ragged)>,
    lengths: Vec<usize>,
    /// What the lengths are when the pass that is under way is through all layers.
    next: Vec<usize>,
    room: usize,
}

impl Cache {
    /// For `sequences` sequences of at most `room` tokens (virtual ones included) in a model of these extents.
    pub fn new(
        backend: &Arc<dyn Backend>,
        extents: &Extents,
        sequences: usize,
        room: usize,
    ) -> Result<Arc<Mutex<Cache>>> {
        let rows =
            sequences.checked_mul(room).filter(|rows| *rows <= u32::MAX as usize).ok_or_else(|| {
                Error::malformed("generation", "room", "fewer tokens", format!("{sequences} × {room}"))
            })?;
        let layer = || -> Result<[RowCache; 2]> {
            let rows = || Ok::<_, Error>(RowCache::new(backend, rows, extents.kv_size)?);
            Ok([rows()?, rows()?])
        };
        let layers = (0..extents.num_layers).map(|_| layer()).collect::<Result<_>>()?;
        let cache = Cache {
            layers,
            fixed: BTreeMap::new(),
            lengths: vec![0; sequences],
            next: vec![0; sequences],
            room,
        };
        Ok(Arc::new(Mutex::new(cache)))
    }

    /// Tokens remembered of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tokens that each sequence has room for.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Counts the tokens, virtual ones included, that a pass wrote on its way through all layers.
    pub fn advance(&mut self) {
        self.lengths.clone_from(&self.next);
    }

    /// Forgets the last `by\[i\]` tokens of each sequence.
    pub fn forget(&mut self, by: &[usize]) {
        self.lengths.iter_mut().zip(by).for_each(|(length, by)| *length = length.saturating_sub(*by));
        self.next.clone_from(&self.lengths);
    }

    /// Writes a layer's new keys and values \[tokens, kv_size\] behind the old ones; gives all, and where they lie.
    pub(super) fn extend(
        &mut self,
        layer: usize,
        key: &Tensor,
        value: &Tensor,
        ragged: &Ragged,
    ) -> Result<(Tensor, Tensor, Ragged)> {
        let lengths: Vec<usize> =
            self.lengths.iter().zip(ragged.lengths()).map(|(before, more)| before + more).collect();
        if let Some(length) = lengths.iter().find(|length| **length > self.room) {
            let expected = format!("at most {} tokens of a sequence", self.room);
            return Err(Error::malformed("generation", "length", expected, length.to_string()));
        }
        let at: Vec<u32> = (self.lengths.iter().zip(ragged.lengths()).enumerate())
            .flat_map(|(sequence, (before, more))| {
                let first = sequence * self.room + before;
                first as u32..(first + more) as u32
            })
            .collect();
        let at = at.to_indices(key.backend())?;
        let [keys, values] = &mut self.layers[layer];
        keys.write(key, &at)?;
        values.write(value, &at)?;
        self.next.clone_from(&lengths);
        Ok((keys.tensor(), values.tensor(), Ragged::with_room(lengths, self.room)))
    }

    /// A layer's keys and values that no later pass changes.
    pub(super) fn once(
        &mut self,
        layer: usize,
        compute: impl FnOnce() -> Result<(Tensor, Tensor, Ragged)>,
    ) -> Result<(Tensor, Tensor, Ragged)> {
        if let Some(known) = self.fixed.get(&layer) {
            return Ok(known.clone());
        }
        let computed = compute()?;
        self.fixed.insert(layer, computed.clone());
        Ok(computed)
    }
}
