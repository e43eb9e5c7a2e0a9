//! Snapshots: all that a run needs to go on with the same bits, in one file.

use super::optimizer::Optimizer;
use super::trainer::Training;
use crate::adapter::Tuning;
use crate::error::{Error, Result};
use crate::model::checkpoint::{self, HostTensor};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenfold_tensor::Backend;

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
    for (number, parameter) in tuning.parameters().iter().enumerate() {
        put("parameter", number, parameter.numbers()?);
    }
    for (number, (first, second)) in optimizer.moments(backend)?.into_iter().enumerate() {
        put("first_moment", number, first);
        put("second_moment", number, second);
    }
    for (number, numbers) in best.unwrap_or_default().iter().enumerate() {
        put("best", number, numbers.clone());
    }
    let text = serde_json::to_string(training).unwrap_or_else(|error| unreachable!("plain values: {error}"));
    checkpoint::write_tensors(path, &tensors, &BTreeMap::from([(STATE.to_owned(), text)]))
}

/// Reads the snapshot for a tuning; none if there is no file. A file that does not fit is an error.
pub(super) fn read(path: &Path, tuning: &Tuning) -> Result<Option<Snapshot>> {
    if !path.exists() {
        return Ok(None);
    }
    let (mut tensors, metadata) = checkpoint::read_tensors_and_metadata(path)?;
    let fault = |place: &str, expected: String| {
        Error::malformed(path, place, expected, "something else; delete the file to start this trial anew")
    };
    let training: Training = (metadata.get(STATE))
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| fault(STATE, "the state of a training run".into()))?;
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
