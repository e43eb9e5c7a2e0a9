//! The tape: every operation that something trained flows into leaves how to walk it backwards.

use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::error::Result;
use crate::memory::Class;
use crate::param::Cell;
use crate::tensor::Tensor;
use std::cell::Cell as Flag;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

thread_local! {
    static RECORDING: Flag<bool> = const { Flag::new(true) };
    /// Whether something trained was used while nothing was recorded.
    static TRAINED: Flag<bool> = const { Flag::new(false) };
}

/// Runs `work` without leaving traces: nothing is kept for a backward pass. For evaluation.
pub fn without_gradients<T>(work: impl FnOnce() -> T) -> T {
    set_recording(false, work)
}

/// Runs `block` without keeping what it computes; the backward pass runs it once more, recording, and walks that
/// (activation checkpointing, Chen et al. 2016). Gradients are those of `block(inputs)`, to the bit.
///
/// `block` must compute the same both times: random numbers come from counters, parameters must not change before the
/// backward pass. Blocks may lie within blocks. A caller's own error travels as [`Error::Within`](crate::Error::Within).
pub fn recompute(
    inputs: &[Tensor],
    block: impl Fn(&[Tensor]) -> Result<Tensor> + Send + 'static,
) -> Result<Tensor> {
    if !recording() {
        return block(inputs);
    }
    let before = TRAINED.replace(false);
    let result = without_gradients(|| block(inputs));
    let trained = TRAINED.replace(before);
    let result = result?;
    if !trained || result.trace().is_some() {
        return Ok(result);
    }
    let inputs = inputs.to_vec();
    let trace = Trace::operation(move |dy, gradients| {
        let ledger = gradients.backend.ledger();
        let phase = ledger.set_phase(Class::Activations);
        let again = set_recording(true, || block(&inputs));
        ledger.set_phase(phase);
        // What was just recorded has the highest numbers of all: the walk that called this goes on with it.
        gradients.give(again?.trace(), dy)
    });
    let (backend, shape) = (result.backend().clone(), result.shape().to_vec());
    Ok(Tensor::assemble(backend, result.into_buffer(), shape, Some(trace)))
}

fn set_recording<T>(on: bool, work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(on));
    work()
}

pub(crate) fn recording() -> bool {
    RECORDING.get()
}

/// Whether an operation on something `trained` is to be recorded; remembers that it came by if not.
pub(crate) fn records(trained: bool) -> bool {
    if trained && !recording() {
        TRAINED.set(true);
    }
    trained && recording()
}

/// What an operation does with the gradient of its result: it hands one to each traced input.
/// It owns what it saved, so that memory is freed as the backward pass goes.
type Backward = Box<dyn FnOnce(Arc<Buffer>, &mut Gradients) -> Result<()> + Send>;

/// A place in the graph. Numbers grow in the order of the forward pass, so that walking them
/// downwards meets every result before its inputs.
pub(crate) struct Trace {
    number: u64,
    origin: Origin,
}

enum Origin {
    Leaf(Arc<Cell>),
    Operation(Mutex<Option<Backward>>),
}

impl Trace {
    pub(crate) fn operation(
        backward: impl FnOnce(Arc<Buffer>, &mut Gradients) -> Result<()> + Send + 'static,
    ) -> Arc<Trace> {
        Trace::new(Origin::Operation(Mutex::new(Some(Box::new(backward)))))
    }

    pub(crate) fn leaf(cell: Arc<Cell>) -> Arc<Trace> {
        Trace::new(Origin::Leaf(cell))
    }

    fn new(origin: Origin) -> Arc<Trace> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Trace { number: NEXT.fetch_add(1, Ordering::Relaxed), origin })
    }
}

/// Gradients that wait for their operation's turn.
pub(crate) struct Gradients<'a> {
    pub(crate) backend: &'a dyn Backend,
    waiting: BTreeMap<u64, (Arc<Trace>, Arc<Buffer>)>,
}

impl Gradients<'_> {
    /// Adds a gradient that is already there.
    pub(crate) fn give(&mut self, target: &Option<Arc<Trace>>, gradient: Arc<Buffer>) -> Result<()> {
        let Some(trace) = target else { return Ok(()) };
        let sum = match self.take(trace) {
            None => gradient,
            Some(sum) => Arc::new(match Arc::try_unwrap(sum) {
                Ok(mut sum) => {
                    self.backend.add_assign(&mut sum, &gradient)?;
                    sum
                }
                Err(sum) => self.backend.add(&sum, &gradient)?,
            }),
        };
        self.put(trace, sum);
        Ok(())
    }

    /// Adds a gradient that `compute` works out, onto what is there where it alone holds that.
    /// Does nothing if nobody wants this gradient.
    pub(crate) fn compute(
        &mut self,
        target: &Option<Arc<Trace>>,
        compute: impl FnOnce(&dyn Backend, Option<Buffer>) -> Result<Buffer>,
    ) -> Result<()> {
        let Some(trace) = target else { return Ok(()) };
        let sum = match self.take(trace).map(Arc::try_unwrap) {
            None => compute(self.backend, None)?,
            Some(Ok(sum)) => compute(self.backend, Some(sum))?,
            Some(Err(shared)) => {
                let mut sum = compute(self.backend, None)?;
                self.backend.add_assign(&mut sum, &shared)?;
                sum
            }
        };
        self.put(trace, Arc::new(sum));
        Ok(())
    }

    fn take(&mut self, trace: &Arc<Trace>) -> Option<Arc<Buffer>> {
        match &trace.origin {
            Origin::Leaf(cell) => cell.gradient().take(),
            Origin::Operation(_) => self.waiting.remove(&trace.number).map(|(_, gradient)| gradient),
        }
    }

    fn put(&mut self, trace: &Arc<Trace>, mut gradient: Arc<Buffer>) {
        match &trace.origin {
            Origin::Leaf(cell) => {
                if let Some(own) = Arc::get_mut(&mut gradient) {
                    own.reclassify(Class::Gradients);
                }
                *cell.gradient() = Some(gradient);
            }
            Origin::Operation(_) => {
                self.waiting.insert(trace.number, (trace.clone(), gradient));
            }
        }
    }
}

/// Walks the graph from `root`, whose gradient is `gradient`, down to the lowest trained leaf.
pub(crate) fn backward(backend: &dyn Backend, root: Arc<Trace>, gradient: Buffer) -> Result<()> {
    let before = backend.ledger().set_phase(Class::Workspace);
    let outcome = walk(backend, root, gradient);
    backend.ledger().set_phase(before);
    outcome
}

fn walk(backend: &dyn Backend, root: Arc<Trace>, gradient: Buffer) -> Result<()> {
    let mut gradients = Gradients { backend, waiting: BTreeMap::new() };
    gradients.put(&root, Arc::new(gradient));
    drop(root);
    while let Some((_, (trace, gradient))) = gradients.waiting.pop_last() {
        let Origin::Operation(backward) = &trace.origin else { continue };
        let backward = backward.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(trace);
        if let Some(backward) = backward {
            backward(gradient, &mut gradients)?;
        }
    }
    Ok(())
}
