//! Snapshots: all that a run needs to go on with the same bits, in one file, which carries its own hash.

use super::optimizer::Optimizer;
use super::trainer::Training;
use crate::adapter::{NamedTensor, Tuning};
use crate::data::hexadecimal;
use crate::error::{Error, Result};
use crate::model::checkpoint::{self, HostTensor};
use crate::plain_file;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenfold_tensor::{Backend, Param};

/// Numbers of all parameters, in their order.
type Numbers = Vec<Vec<f32>>;

/// What a tuning is at one step.
pub(super) struct Weights {
    parameters: Numbers,
    /// What the method remembers besides.
    state: Vec<NamedTensor>,
}

impl Weights {
    pub(super) fn of(tuning: &Tuning) -> Result<Weights> {
        let parameters = Param::numbers_of(&tuning.parameters())?;
        Ok(Weights { parameters, state: tuning.adapter().state()? })
    }

    /// Puts them back.
    pub(super) fn restore(self, tuning: &Tuning, backend: &Arc<dyn Backend>) -> Result<()> {
        for (parameter, numbers) in tuning.parameters().iter().zip(self.parameters) {
            parameter.set(numbers)?;
        }
        let state = self.state.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        tuning.adapter().set_state(state, backend)
    }
}

/// A run as it was left.
pub(super) struct Snapshot {
    training: Training,
    weights: Weights,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    best: Option<Weights>,
}

impl Snapshot {
    /// Puts everything back; returns how the run stands and its best weights.
    pub(super) fn resume(
        self,
        tuning: &Tuning,
        optimizer: &mut Optimizer,
        backend: &Arc<dyn Backend>,
    ) -> Result<(Training, Option<Weights>)> {
        self.weights.restore(tuning, backend)?;
        optimizer.resume(backend, self.training.step as u64, self.moments)?;
        Ok((self.training, self.best))
    }
}

/// Writes a snapshot, whole or not at all.
pub(super) fn write(
    path: &Path,
    training: &Training,
    tuning: &Tuning,
    optimizer: &Optimizer,
    best: Option<&Weights>,
    backend: &dyn Backend,
) -> Result<()> {
    let mut tensors = BTreeMap::new();
    let mut put = |kind: &str, name: &dyn Display, data: Vec<f32>| {
        tensors.insert(format!("{kind}.{name}"), HostTensor { shape: vec![data.len()], data });
    };
    for (number, (first, second)) in optimizer.moments(backend)?.into_iter().enumerate() {
        put("first_moment", &number, first);
        put("second_moment", &number, second);
    }
    for ([kind, state], weights) in [(NOW, Some(&Weights::of(tuning)?)), (BEST, best)] {
        let Some(weights) = weights else { continue };
        for (number, numbers) in weights.parameters.iter().enumerate() {
            put(kind, &number, numbers.clone());
        }
        for tensor in &weights.state {
            put(state, &tensor.name, tensor.numbers.clone());
        }
    }
    let text = serde_json::to_string(training).unwrap_or_else(|error| unreachable!("plain values: {error}"));
    let sha256 = hash(&text, &tensors);
    let metadata = BTreeMap::from([(STATE.to_owned(), text), (HASH.to_owned(), sha256)]);
    checkpoint::write_tensors(path, &tensors, &metadata)
}

/// Reads the snapshot for a tuning; none if there is no file. A file that does not fit is an error.
pub(super) fn read(path: &Path, tuning: &Tuning) -> Result<Option<Snapshot>> {
    match plain_file::open_own(path, std::fs::OpenOptions::new().read(true)) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    }
    let (mut tensors, metadata) = checkpoint::read_tensors_and_metadata(path)?;
    let fault = |place: &str, expected: String| Error::malformed(path, place, expected, "something else");
    let text = metadata.get(STATE).map_or("", String::as_str);
    if metadata.get(HASH).is_none_or(|stated| *stated != hash(text, &tensors)) {
        return Err(fault(HASH, "the hash of what the file holds".into()));
    }
    let training: Training =
        serde_json::from_str(text).map_err(|_| fault(STATE, "the state of a training run".into()))?;
    let lengths: Vec<usize> = tuning.parameters().iter().map(|parameter| parameter.len()).collect();
    let mut all = |kind: &str| -> Result<Numbers> {
        (lengths.iter().enumerate())
            .map(|(number, len)| {
                let name = format!("{kind}.{number}");
                let found = tensors.remove(&name).filter(|tensor| tensor.data.len() == *len);
                Ok(found.ok_or_else(|| fault(&name, format!("{len} numbers")))?.data)
            })
            .collect()
    };
    let moments = all("first_moment")?.into_iter().zip(all("second_moment")?).collect();
    let (now, best) = (all(NOW[0])?, all(BEST[0]).ok());
    let weights = Weights { parameters: now, state: state_of(&tensors, NOW[1]) };
    let best = best.map(|parameters| Weights { parameters, state: state_of(&tensors, BEST[1]) });
    Ok(Some(Snapshot { training, weights, moments, best }))
}

/// What a method remembers, out of the tensors of one kind.
fn state_of(tensors: &BTreeMap<String, HostTensor>, kind: &str) -> Vec<NamedTensor> {
    let own = tensors.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(kind)?.strip_prefix('.')?.to_owned();
        Some(NamedTensor { name, shape: tensor.shape.clone(), numbers: tensor.data.clone() })
    });
    own.collect()
}

/// Names of the parameters and of the method's state at the last step.
const NOW: [&str; 2] = ["parameter", "state"];
/// Names of both at the best step so far.
const BEST: [&str; 2] = ["best", "best_state"];

const STATE: &str = "training";
const HASH: &str = "sha256";

/// A damaged number would train on to a wrong result without a word.
fn hash(state: &str, tensors: &BTreeMap<String, HostTensor>) -> String {
    let mut hash = Sha256::new();
    hash.update((state.len() as u64).to_le_bytes());
    hash.update(state);
    for (name, tensor) in tensors {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((tensor.data.len() as u64).to_le_bytes());
        for numbers in tensor.data.chunks(1 << 14) {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            hash.update(bytes);
        }
    }
    hexadecimal(&hash.finalize())
}

/// When to write: after a while, and never for more than a twentieth of the time.
pub(super) struct Pace {
    shortest: Duration,
    wait: Duration,
    last: Instant,
}

impl Pace {
    pub(super) fn new(shortest: Duration) -> Pace {
        Pace { shortest, wait: shortest, last: Instant::now() }
    }

    pub(super) fn keep(&mut self, write: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.last.elapsed() < self.wait {
            return Ok(());
        }
        let start = Instant::now();
        write()?;
        self.wait = self.shortest.max(start.elapsed() * 20);
        self.last = Instant::now();
        Ok(())
    }
}
