//! The device's memory: numbers by the place that they were given. A real device would hold addresses of its own here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tenfold_tensor::backend::{Buffer, IndexBuffer};

/// All numbers that the device holds.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Places>);

#[derive(Default)]
struct Places {
    next: u64,
    numbers: HashMap<u64, Arc<Vec<f32>>>,
}

/// What a buffer of this device is made around: its place in the memory, free again when the buffer is gone.
pub(crate) struct Place {
    memory: Arc<Memory>,
    number: u64,
}

impl Memory {
    /// Takes numbers in.
    pub(crate) fn put(self: &Arc<Memory>, numbers: Vec<f32>) -> Place {
        let mut places = self.places();
        let number = places.next;
        places.next += 1;
        places.numbers.insert(number, Arc::new(numbers));
        Place { memory: self.clone(), number }
    }

    pub(crate) fn count(&self) -> usize {
        self.places().numbers.len()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.memory.places().numbers.remove(&self.number);
    }
}

fn place(buffer: &Buffer) -> &Place {
    buffer.storage().expect("a buffer of this device")
}

/// The numbers of a buffer.
pub(crate) fn numbers(buffer: &Buffer) -> Arc<Vec<f32>> {
    let Place { memory, number } = place(buffer);
    memory.places().numbers[number].clone()
}

/// The number of a buffer of one.
pub(crate) fn number(buffer: &Buffer) -> f32 {
    numbers(buffer)[0]
}

/// Replaces the numbers of a buffer.
pub(crate) fn write(buffer: &mut Buffer, numbers: Vec<f32>) {
    assert_eq!(buffer.len(), numbers.len(), "a buffer keeps its length");
    let Place { memory, number } = place(buffer);
    memory.places().numbers.insert(*number, Arc::new(numbers));
}

/// The indices of a buffer.
pub(crate) fn indices(buffer: &IndexBuffer) -> &[u32] {
    buffer.storage::<Vec<u32>>().expect("indices of this device")
}
