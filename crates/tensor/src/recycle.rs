//! Memory of results that are gone, kept for the ones to come: fresh pages from the system cost more than many an
//! operation, and a training step asks for the same sizes again and again.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Below this many floats the system's allocator reuses memory well enough by itself.
const SMALL: usize = 1 << 12;
/// Sizes to an octave: an eighth of a buffer may stay unused, and batches of nearly one size share buffers.
const SIZES: usize = 8;

/// Memory of so many floats, or the mere account of it.
pub trait Floats: Default + Send + Sync + 'static {
    /// Whether there is memory.
    const ARE_THERE: bool;
    /// `len` zeros and no room behind them.
    fn fresh(len: usize) -> Self;
    /// These numbers.
    fn of(numbers: Vec<f32>) -> Self;
    /// Makes them `len`, within their room; they may then hold anything.
    fn reuse(&mut self, len: usize);
    /// How many there are.
    fn len(&self) -> usize;
    /// How many there is room for.
    fn room(&self) -> usize;
    /// The numbers; none where there is no memory.
    fn numbers(&self) -> &[f32];
    /// The same, to be written to.
    fn numbers_mut(&mut self) -> &mut [f32];
}

impl Floats for Vec<f32> {
    const ARE_THERE: bool = true;

    fn fresh(len: usize) -> Vec<f32> {
        vec![0.0; len]
    }

    fn of(numbers: Vec<f32>) -> Vec<f32> {
        numbers
    }

    fn reuse(&mut self, len: usize) {
        self.resize(len, 0.0);
        if cfg!(debug_assertions) {
            self.fill(ANYTHING);
        }
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn room(&self) -> usize {
        self.capacity()
    }

    fn numbers(&self) -> &[f32] {
        self
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        self
    }
}

/// What unwritten results hold in tests, so that a kernel that leaves some out does not pass.
const ANYTHING: f32 = f32::NAN;

/// Floats that are not there: their account alone.
#[derive(Debug, Default)]
pub struct Absent {
    len: usize,
    room: usize,
}

impl Floats for Absent {
    const ARE_THERE: bool = false;

    fn fresh(len: usize) -> Absent {
        Absent { len, room: len }
    }

    fn of(numbers: Vec<f32>) -> Absent {
        Absent::fresh(numbers.len())
    }

    fn reuse(&mut self, len: usize) {
        self.len = len;
    }

    fn len(&self) -> usize {
        self.len
    }

    fn room(&self) -> usize {
        self.room
    }

    fn numbers(&self) -> &[f32] {
        &[]
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        &mut []
    }
}

/// Buffers in use and buffers that wait. Together they never exceed the most that was in use at once, so keeping them
/// does not raise the peak.
#[derive(Debug, Default)]
pub(crate) struct Recycler<F: Floats>(Mutex<State<F>>);

#[derive(Debug, Default)]
struct State<F: Floats> {
    /// The longest unused first.
    waiting: VecDeque<F>,
    waiting_floats: usize,
    used_floats: usize,
    most_used_floats: usize,
}

impl<F: Floats> Recycler<F> {
    /// `len` floats that hold anything: whoever asks writes them all.
    pub(crate) fn take(self: &Arc<Recycler<F>>, len: usize) -> Lent<F> {
        if len < SMALL {
            let mut floats = F::fresh(len);
            floats.reuse(len);
            return Lent::from(floats);
        }
        let waiting = self.state().take(len);
        let mut floats = waiting.unwrap_or_else(|| F::fresh(rounded(len)));
        floats.reuse(len);
        Lent { floats, home: Some(self.clone()) }
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The size that `len` floats are given.
fn rounded(len: usize) -> usize {
    let octave = 1 << len.ilog2();
    len.next_multiple_of((octave / SIZES).max(1))
}

impl<F: Floats> State<F> {
    /// The smallest waiting buffer that holds `len` floats and is at most half as large again; books `len` floats as
    /// used whether there is one or not.
    fn take(&mut self, len: usize) -> Option<F> {
        let fits = |floats: &F| floats.room() >= len && floats.room() <= len + len / 2;
        let candidates = self.waiting.iter().enumerate().filter(|(_, floats)| fits(floats));
        let best = candidates.min_by_key(|(_, floats)| floats.room()).map(|(place, _)| place);
        let found = best.and_then(|place| self.waiting.remove(place));
        self.waiting_floats -= found.as_ref().map_or(0, F::room);
        self.used_floats += found.as_ref().map_or(rounded(len), F::room);
        self.most_used_floats = self.most_used_floats.max(self.used_floats);
        self.forget_what_exceeds();
        found
    }

    fn give_back(&mut self, floats: F) {
        self.used_floats = self.used_floats.saturating_sub(floats.room());
        self.waiting_floats += floats.room();
        self.waiting.push_back(floats);
        self.forget_what_exceeds();
    }

    fn forget_what_exceeds(&mut self) {
        while self.used_floats + self.waiting_floats > self.most_used_floats
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.waiting_floats -= oldest.room();
        }
    }
}

/// Floats that go back to where they came from.
#[derive(Debug)]
pub(crate) struct Lent<F: Floats> {
    floats: F,
    home: Option<Arc<Recycler<F>>>,
}

impl<F: Floats> Lent<F> {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.floats.len()
    }

    /// Bytes that are held, those behind the last number included.
    pub(crate) fn bytes(&self) -> usize {
        4 * if self.home.is_some() { self.floats.room() } else { self.floats.len() }
    }
}

impl<F: Floats> From<F> for Lent<F> {
    fn from(floats: F) -> Lent<F> {
        Lent { floats, home: None }
    }
}

impl<F: Floats> Deref for Lent<F> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.floats.numbers()
    }
}

impl<F: Floats> DerefMut for Lent<F> {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.floats.numbers_mut()
    }
}

impl<F: Floats> Drop for Lent<F> {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.state().give_back(std::mem::take(&mut self.floats));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 100_000;

    #[test]
    fn memory_comes_back_to_whoever_asks_for_nearly_as_much() {
        let recycler = Arc::new(Recycler::<Vec<f32>>::default());
        let first = recycler.take(LEN);
        let place = first.as_ptr();
        drop(first);
        let again = recycler.take(LEN - 500);
        assert_eq!((again.as_ptr(), again.len()), (place, LEN - 500));
        assert_ne!(recycler.take(LEN).as_ptr(), place, "it is in use");
        drop(again);
        assert_ne!(recycler.take(LEN / 2).as_ptr(), place, "too large to be spent on half");
    }

    #[test]
    fn what_waits_and_what_is_used_stay_below_the_most_that_was_used() {
        let recycler = Arc::new(Recycler::<Vec<f32>>::default());
        drop([LEN, LEN, LEN].map(|len| recycler.take(len)));
        let held = |state: &State<Vec<f32>>| state.used_floats + state.waiting_floats;
        let most = 3 * rounded(LEN);
        assert_eq!(held(&recycler.state()), most);
        let other = recycler.take(2 * LEN);
        assert!(held(&recycler.state()) <= most, "old sizes make room for new ones");
        drop(other);
        let small = [LEN / 4; 20].map(|len| recycler.take(len));
        let most = recycler.state().most_used_floats;
        assert!(held(&recycler.state()) <= most);
        drop(small);
        assert_eq!(recycler.state().used_floats, 0);
    }

    #[test]
    fn an_eighth_is_wasted_at_most() {
        for len in [SMALL, SMALL + 1, LEN, 3 * LEN + 7, (1 << 20) - 1] {
            assert!(rounded(len) >= len && rounded(len) - len <= len / 8, "{len} {}", rounded(len));
        }
    }
}
