//! An objective outside of the library: a pairwise preference loss trains as cross-entropy does.
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tenfold::adapter::{self, Context, Tuning};
use tenfold::model::tokenizer::Encoding;
use tenfold::model::{self, Forward, IGNORE, Model, TaskType, Wanted};
use tenfold::train::{Objective, Rows, Source, Target, TrainSettings, Trainer};
use tenfold_tensor::{Backend, Class, Cpu, Tensor};

/// −ln σ(β (ln p(chosen) − ln p(rejected))) of pairs, each a row of an even number that is preferred to the one behind it. Of
/// ln p the mean over tokens is taken, and there is no reference (SimPO, Meng et al. 2024, without its margin).
struct Preference {
    beta: f32,
}

impl Preference {
    /// The mean cross-entropy of each sequence of a pass.
    fn losses(source: &Source, forward: &Forward, picks: &[usize]) -> tenfold::Result<Vec<Tensor>> {
        let batch = source.rows().batch(picks);
        let hidden = source.model().hidden_states(forward, &batch, &Wanted::All)?;
        let labels = batch.labels.ids()?;
        let sequences = batch.ragged.starts().iter().zip(batch.ragged.lengths());
        sequences
            .map(|(start, length)| {
                let own = (*start..start + length).filter(|place| labels[*place] != IGNORE);
                let (rows, labels): (Vec<u32>, Vec<u32>) =
                    own.map(|place| (place as u32, labels[place])).unzip();
                source.model().vocabulary().unwrap().loss(forward, &hidden.select_rows(&rows)?, &labels)
            })
            .collect()
    }
}

impl Objective for Preference {
    fn weight(&self, _: &Rows, picks: &[usize]) -> f64 {
        picks.len() as f64 / 2.0
    }

    fn mean(&self, source: &Source, forward: &Forward, picks: &[usize]) -> tenfold::Result<Tensor> {
        let losses = Preference::losses(source, forward, picks)?;
        let of = |row: usize| &losses[picks.iter().position(|pick| *pick == row).unwrap()];
        let beta = Tensor::new(losses[0].backend(), Class::Activations, &[2, 1], vec![self.beta, 0.0])?;
        let mut sum: Option<Tensor> = None;
        for row in picks.iter().copied().filter(|row| row.is_multiple_of(2)) {
            let ahead = of(row + 1).add(&of(row).scale(-1.0)?)?;
            let one = ahead.reshape(&[1, 1])?.linear(&beta, None)?.cross_entropy(&[0], 0.0)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&one)?,
                None => one,
            });
        }
        Ok(sum.unwrap().scale(2.0 / picks.len() as f32)?)
    }
}

fn rows() -> Rows {
    let row = |row: u32| {
        let ids: Vec<u32> =
            (0..6).map(|place| 3 + (5 * (row / 2) + place * place + row % 2 * 11) % 90).collect();
        Encoding { type_ids: vec![0; ids.len()], ids, truncated: false }
    };
    let next = || Target::Next((0..6).map(|place| place >= 2).collect());
    Rows::of((0..8).map(row).collect(), (0..8).map(|_| next()).collect())
}

#[test]
fn a_preference_loss_joins_as_an_objective() {
    let backend: Arc<dyn Backend> = Cpu::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny/llama/model");
    let model: Arc<dyn Model> = model::load(&folder, TaskType::CausalLm, &backend, None).unwrap();
    let method = adapter::method("lora").unwrap();
    let context = Context { model: &*model, backend: &backend, seed: 1, tokenize: &|_| Ok(vec![5, 6]) };
    let tuning = Tuning::new(method, &(method.defaults)(), &context, 2).unwrap();
    let (rows, objective) = (rows(), Preference { beta: 2.0 });
    let settings =
        TrainSettings { batch_size: 8, num_train_epochs: 30.0, max_steps: 30, ..TrainSettings::default() };
    let source = Source::new(&*model, &rows);
    let trainer = Trainer {
        backend: backend.clone(),
        tuning: &tuning,
        objective: &objective,
        settings: &settings,
        learning_rate: 1e-2,
        seed: 1,
        train: &source,
        looks: None,
        stops: &[],
        snapshot: None,
        snapshot_every: Duration::MAX,
        go_on: &|| Ok(()),
        on_step: &|_| {},
    };
    let losses = trainer.run().unwrap().losses;
    assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
    let forward = Forward::evaluation(&tuning);
    let all: Vec<usize> = (0..rows.len()).collect();
    let losses = Preference::losses(&source, &forward, &all).unwrap();
    for pair in losses.chunks_exact(2) {
        let [chosen, rejected] = [&pair[0], &pair[1]].map(|loss| loss.numbers().unwrap()[0]);
        assert!(chosen < rejected, "{chosen} {rejected}");
    }
}
