//! A small device for Tenfold in a crate of its own.
//!
//! It is written with the public parts of `tenfold-tensor` alone, to be read by whoever writes a backend for a real
//! device, and passes the same tests against Transformers and PEFT as the processor's backend does. What it shows:
//!
//! - buffers hold no numbers but places in the memory of the device, and that memory is given back with the buffer;
//! - numbers come and go by `upload` and `download` only; losses, norms and factors stay on the device;
//! - every buffer's bytes stand in the ledger, as many as the device takes: here four for every number, frozen ones too,
//!   since it keeps no format but f32.
//!
//! Its arithmetic is plain loops with sums in f64. It also notes which operations it was asked for, so that a test can say
//! that it has met all of them.

mod arithmetic;
mod attention;
mod memory;
mod operations;

use memory::{Memory, numbers};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tenfold_tensor::backend::{Backend, Buffer, Class, Dtype, Elements, IndexBuffer, Ledger, Mapped, Result};

/// The device.
pub struct ExampleDevice {
    ledger: Arc<Ledger>,
    memory: Arc<Memory>,
    asked: Mutex<BTreeSet<&'static str>>,
}

impl ExampleDevice {
    /// A device whose memory is empty.
    #[allow(clippy::new_ret_no_self, reason = "a backend is shared by all that it computes")]
    pub fn new() -> Arc<ExampleDevice> {
        Arc::new(ExampleDevice { ledger: Ledger::new(), memory: Arc::default(), asked: Mutex::default() })
    }

    /// The methods of its traits that were called so far, by name.
    pub fn asked(&self) -> BTreeSet<&'static str> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many buffers its memory holds now.
    pub fn buffers(&self) -> usize {
        self.memory.count()
    }

    fn note(&self, method: &'static str) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(method);
    }

    /// Numbers as a new buffer of such a class, of the ledger's phase if none.
    fn keep(&self, class: Option<Class>, numbers: Vec<f32>) -> Buffer {
        self.keep_as(class, Dtype::F32, numbers)
    }

    /// The same for numbers that came in a format.
    fn keep_as(&self, class: Option<Class>, dtype: Dtype, numbers: Vec<f32>) -> Buffer {
        let (len, reservation) = (numbers.len(), self.ledger.reserve(class, 4 * numbers.len() as u64));
        Buffer::new(self.memory.put(numbers), len, dtype, reservation)
    }

    /// The result of an operation.
    fn result(&self, numbers: impl IntoIterator<Item = f64>) -> Buffer {
        self.keep(None, numbers.into_iter().map(|number| number as f32).collect())
    }
}

impl Backend for ExampleDevice {
    fn name(&self) -> &'static str {
        self.note("name");
        "example"
    }

    fn ledger(&self) -> &Arc<Ledger> {
        self.note("ledger");
        &self.ledger
    }

    fn upload(&self, class: Class, numbers: Vec<f32>) -> Result<Buffer> {
        self.note("upload");
        Ok(self.keep(Some(class), numbers))
    }

    fn upload_indices(&self, indices: &[u32]) -> Result<IndexBuffer> {
        self.note("upload_indices");
        let reservation = self.ledger.reserve(None, size_of_val(indices) as u64);
        Ok(IndexBuffer::new(indices.to_vec(), indices.len(), reservation))
    }

    fn upload_frozen(&self, class: Class, dtype: Dtype, len: usize, bytes: Vec<u8>) -> Result<Buffer> {
        self.note("upload_frozen");
        Ok(self.keep_as(Some(class), dtype, Elements::new(dtype, len, &bytes).to_f32()))
    }

    fn map(&self, class: Class, len: usize, mapped: Mapped) -> Result<Buffer> {
        self.note("map");
        let bytes = &mapped.map[mapped.range.clone()];
        Ok(self.keep_as(Some(class), mapped.dtype, Elements::new(mapped.dtype, len, bytes).to_f32()))
    }

    fn download(&self, buffers: &[&Buffer]) -> Result<Vec<Vec<f32>>> {
        self.note("download");
        Ok(buffers.iter().map(|buffer| numbers(buffer).to_vec()).collect())
    }

    fn zeros(&self, class: Class, len: usize) -> Result<Buffer> {
        self.note("zeros");
        Ok(self.keep(Some(class), vec![0.0; len]))
    }
}
