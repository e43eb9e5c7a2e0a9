//! Byte accounting: who holds how much, now and at the peak.

use std::sync::{Arc, Mutex, PoisonError};

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Frozen weights of the base model, memory-mapped ones included.
    Base,
    /// Frozen numbers that a method adds, which all its sites share.
    Shared,
    /// Trained numbers.
    Trainable,
    /// Gradients of trained numbers.
    Gradients,
    /// What the optimizer remembers between steps.
    Optimizer,
    /// What the forward pass keeps.
    Activations,
    /// What the backward pass needs for a moment.
    Workspace,
}

impl Class {
    /// All classes, in the order of [`Usage::bytes`].
    pub const ALL: [Class; 7] = [
        Class::Base,
        Class::Shared,
        Class::Trainable,
        Class::Gradients,
        Class::Optimizer,
        Class::Activations,
        Class::Workspace,
    ];

    /// The name used in records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Class::Base => "base",
            Class::Shared => "shared",
            Class::Trainable => "trainable",
            Class::Gradients => "gradients",
            Class::Optimizer => "optimizer",
            Class::Activations => "activations",
            Class::Workspace => "workspace",
        }
    }
}

/// Bytes by class at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, in the order of [`Class::ALL`].
    pub bytes: [u64; 7],
}

impl Usage {
    /// Bytes of all classes.
    pub fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// Class and bytes, in the order of [`Class::ALL`].
    pub fn by_class(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().zip(self.bytes)
    }
}

/// The account of one backend.
#[derive(Debug)]
pub struct Ledger(Mutex<State>);

#[derive(Debug)]
struct State {
    now: Usage,
    peak: Usage,
    phase: Class,
}

impl Ledger {
    /// An empty account; results of operations are booked as activations at first.
    #[allow(clippy::new_ret_no_self, reason = "reservations share their ledger")]
    pub fn new() -> Arc<Ledger> {
        let state = State { now: Usage::default(), peak: Usage::default(), phase: Class::Activations };
        Arc::new(Ledger(Mutex::new(state)))
    }

    /// Bytes held now.
    pub fn now(&self) -> Usage {
        self.with(|state| state.now)
    }

    /// Bytes held when their sum was largest, since the start or the last [`Ledger::reset_peak`].
    pub fn peak(&self) -> Usage {
        self.with(|state| state.peak)
    }

    /// Starts looking for a peak anew.
    pub fn reset_peak(&self) {
        self.with(|state| state.peak = state.now);
    }

    /// The class of buffers that operations make from here on; returns the one before.
    pub fn set_phase(&self, phase: Class) -> Class {
        self.with(|state| std::mem::replace(&mut state.phase, phase))
    }

    /// Enters `bytes` for as long as the reservation lives, under the ledger's phase where no class is given.
    pub fn reserve(self: &Arc<Ledger>, class: Option<Class>, bytes: u64) -> Reservation {
        let class = self.with(|state| {
            let class = class.unwrap_or(state.phase);
            state.now.bytes[class as usize] += bytes;
            if state.now.total() > state.peak.total() {
                state.peak = state.now;
            }
            class
        });
        Reservation { ledger: self.clone(), class, bytes }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bytes that are in the ledger for as long as this lives; made by [`Ledger::reserve`].
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    class: Class,
    bytes: u64,
}

impl Reservation {
    /// Books the same bytes under another class.
    pub fn reclassify(&mut self, class: Class) {
        self.ledger.with(|state| {
            state.now.bytes[self.class as usize] -= self.bytes;
            state.now.bytes[class as usize] += self.bytes;
        });
        self.class = class;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.with(|state| state.now.bytes[self.class as usize] -= self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_remembers_the_largest_moment_by_class() {
        let ledger = Ledger::new();
        let base = ledger.reserve(Some(Class::Base), 100);
        {
            let _activation = ledger.reserve(None, 50);
            ledger.set_phase(Class::Workspace);
            let mut gradient = ledger.reserve(None, 20);
            gradient.reclassify(Class::Gradients);
            assert_eq!(ledger.now().bytes, [100, 0, 0, 20, 0, 50, 0]);
        }
        assert_eq!(ledger.now().total(), 100);
        assert_eq!(ledger.peak().bytes, [100, 0, 0, 0, 0, 50, 20]);
        drop(base);
        ledger.reset_peak();
        assert_eq!(ledger.peak().total(), 0);
    }
}
