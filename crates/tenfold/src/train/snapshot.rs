//! Snapshots: all that a run needs to go on with the same bits, in one file, which carries its own hash.

use super::optimizer::Optimizer;
use super::trainer::Training;
use crate::adapter::Tuning;
use crate::data::hexadecimal;
use crate::error::{Error, Result};
use crate::model::checkpoint::{self, HostTensor};
use crate::plain_file;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenfold_tensor::{Backend, Param};

/// Numbers of all parameters, in their order.
type Numbers = Vec<Vec<f32>>;

/// A run as it was left.
pub(super) struct Snapshot {
    training: Training,
    parameters: Numbers,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
    best: Option<Numbers>,
}

impl Snapshot {
    /// Puts everything back; returns how the run stands and its best weights.
    pub(super) fn resume(
        self,
        tuning: &Tuning,
        optimizer: &mut Optimizer,
        backend: &Arc<dyn Backend>,
    ) -> Result<(Training, Option<Numbers>)> {
        for (parameter, numbers) in tuning.parameters().iter().zip(self.parameters) {
            parameter.set(numbers)?;
        }
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
    best: Option<&[Vec<f32>]>,
    backend: &dyn Backend,
) -> Result<()> {
    let mut tensors = BTreeMap::new();
    let mut put = |kind: &str, number: usize, data: Vec<f32>| {
        tensors.insert(format!("{kind}.{number}"), HostTensor { shape: vec![data.len()], data });
    };
    for (number, numbers) in Param::numbers_of(&tuning.parameters())?.into_iter().enumerate() {
        put("parameter", number, numbers);
    }
    for (number, (first, second)) in optimizer.moments(backend)?.into_iter().enumerate() {
        put("first_moment", number, first);
        put("second_moment", number, second);
    }
    for (number, numbers) in best.unwrap_or_default().iter().enumerate() {
        put("best", number, numbers.clone());
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
    let parameters = all("parameter")?;
    let moments = all("first_moment")?.into_iter().zip(all("second_moment")?).collect();
    let best = all("best").ok();
    Ok(Some(Snapshot { training, parameters, moments, best }))
}

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
