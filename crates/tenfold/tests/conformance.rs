//! What every method of the registry promises. A new method edits no test file.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod cases;

use cases::{Case, cases};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tenfold::adapter::file::{About, BaseModel};
use tenfold::adapter::{self, Context, METHODS, Tuning, file};
use tenfold::model::tokenizer::Encoding;
use tenfold::model::{self, Forward, Model, TaskType};
use tenfold::train::{CrossEntropy, Features, Looks, Rows, Source, Target, TrainSettings, Trainer, Training};
use tenfold::{Error, eval};
use tenfold_tensor::{Backend, Cpu, Dtype, random};

struct Place {
    backend: Arc<dyn Backend>,
    model: Arc<dyn Model>,
    rows: Rows,
}

fn place() -> Place {
    place_of(Dtype::F32)
}

fn place_of(dtype: Dtype) -> Place {
    let backend = Cpu::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny/bert/model");
    let model = model::load(&folder, TaskType::SequenceClassification, &backend, dtype).unwrap();
    // Rows whose label is what their third word says: something to learn.
    let row = |row: usize| -> Encoding {
        let words = random::permutation(row as u64, 90).into_iter().map(|word| word as u32 + 3);
        let ids: Vec<u32> = words.take(6 + row % 9).collect();
        Encoding { type_ids: vec![0; ids.len()], ids, truncated: false }
    };
    let encodings: Vec<Encoding> = (0..192).map(row).collect();
    let labels = encodings.iter().map(|encoding| Target::Label(u32::from(encoding.ids[2] > 48))).collect();
    Place { backend, model, rows: Rows::of(encodings, labels) }
}

impl Place {
    fn context(&self) -> Context<'_> {
        Context { model: &*self.model, backend: &self.backend, seed: 7, tokenize: &|_| Ok(vec![5, 6]) }
    }

    fn tuning(&self, Case { method, settings, .. }: &Case) -> Tuning {
        let mut settings = settings.clone();
        if method.name == "lora" {
            settings["lora_dropout"] = 0.1.into();
        }
        Tuning::new(method, &settings, &self.context(), 2).unwrap()
    }

    fn train(
        &self,
        tuning: &Tuning,
        snapshot: Option<PathBuf>,
        stop_after: usize,
    ) -> tenfold::Result<Training> {
        let settings = TrainSettings {
            batch_size: 64,
            num_train_epochs: 4.0,
            early_stopping_patience: 3,
            ..TrainSettings::default()
        };
        let forward = Forward::evaluation(tuning);
        let source = || {
            Source::new(&*self.model, &self.rows).cache_features(&forward, &Features::default(), || Ok(()))
        };
        let steps = AtomicUsize::new(0);
        let go_on =
            || if steps.load(Ordering::Relaxed) < stop_after { Ok(()) } else { Err(Error::Interrupted) };
        let validation = source()?;
        let score = || Ok(eval::score(tuning, &validation, go_on)?.score);
        let trainer = Trainer {
            backend: self.backend.clone(),
            tuning,
            objective: &CrossEntropy { label_smoothing_factor: settings.label_smoothing_factor },
            settings: &settings,
            learning_rate: 5e-3,
            seed: 3,
            train: &source()?,
            looks: Some(Looks { scoring: self.rows.scoring(), score: &score }),
            stops: &[],
            snapshot,
            snapshot_every: Duration::ZERO,
            go_on: &go_on,
            on_step: &|_| {
                steps.fetch_add(1, Ordering::Relaxed);
            },
        };
        trainer.run()
    }

    fn logits(&self, tuning: &Tuning) -> Vec<f32> {
        let source = Source::new(&*self.model, &self.rows);
        let all: Vec<usize> = (0..self.rows.len()).collect();
        source.logits(&Forward::evaluation(tuning), &all).unwrap().numbers().unwrap()
    }
}

fn bits(tuning: &Tuning) -> Vec<u32> {
    let numbers = tuning.parameters().into_iter().flat_map(|parameter| parameter.numbers().unwrap());
    numbers.map(f32::to_bits).collect()
}

fn losses(training: &Training) -> Vec<u32> {
    training.losses.iter().map(|loss| loss.to_bits()).collect()
}

/// Features are kept for each row, whatever batch it came in: that is true only if the batch leaves no trace.
#[test]
fn a_row_has_the_same_bits_in_any_batch() {
    let place = place();
    for method in cases() {
        let tuning = place.tuning(&method);
        let source = Source::new(&*place.model, &place.rows);
        let forward = Forward::evaluation(&tuning);
        let all: Vec<usize> = (0..place.rows.len()).collect();
        for size in [1, 7, 50] {
            let parts =
                all.chunks(size).map(|picks| source.logits(&forward, picks).unwrap().numbers().unwrap());
            let parts: Vec<u32> = parts.flatten().map(f32::to_bits).collect();
            let whole: Vec<u32> = place.logits(&tuning).into_iter().map(f32::to_bits).collect();
            assert!(parts == whole, "{} in batches of {size}", method.name);
        }
    }
}

#[test]
fn training_has_the_same_bits_on_one_and_two_threads() {
    for method in cases() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let place = place();
                let tuning = place.tuning(&method);
                let training = place.train(&tuning, None, usize::MAX).unwrap();
                (losses(&training), bits(&tuning))
            })
        };
        assert_eq!(run(1), run(2), "{}", method.name);
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for method in cases() {
        let place = place();
        let undisturbed = place.tuning(&method);
        let expected = place.train(&undisturbed, None, usize::MAX).unwrap();
        let snapshot = folder.path().join(&method.name);
        for stop_after in [1, 4] {
            let outcome = place.train(&place.tuning(&method), Some(snapshot.clone()), stop_after);
            assert!(matches!(outcome, Err(Error::Interrupted)), "{}", method.name);
            assert!(snapshot.exists());
        }
        let resumed = place.tuning(&method);
        let training = place.train(&resumed, Some(snapshot), usize::MAX).unwrap();
        assert_eq!(losses(&training), losses(&expected), "{}", method.name);
        assert_eq!(bits(&resumed), bits(&undisturbed), "{}", method.name);
        assert_eq!(
            resumed.adapter().state().unwrap(),
            undisturbed.adapter().state().unwrap(),
            "{}",
            method.name
        );
        assert_eq!(resumed.tensors().unwrap(), undisturbed.tensors().unwrap(), "{}", method.name);
    }
}

#[test]
fn training_learns_and_leaves_the_base_alone() {
    for method in cases() {
        let place = place();
        let before: Vec<Vec<f32>> =
            place.model.weights().iter().map(|weight| weight.tensor.numbers().unwrap()).collect();
        let tuning = place.tuning(&method);
        let training = place.train(&tuning, None, usize::MAX).unwrap();
        let (first, last) = (training.losses[0], training.losses[training.losses.len() - 1]);
        assert!(last < first, "{}: {first} -> {last}", method.name);
        let after: Vec<Vec<f32>> =
            place.model.weights().iter().map(|weight| weight.tensor.numbers().unwrap()).collect();
        assert!(before == after, "{} changed the shared base", method.name);
    }
}

#[test]
fn files_and_merged_weights_give_the_same_logits() {
    let folder = tempfile::tempdir().unwrap();
    for method in cases() {
        let place = place();
        let tuning = place.tuning(&method);
        place.train(&tuning, None, usize::MAX).unwrap();
        let expected = place.logits(&tuning);
        let path = folder.path().join(&method.name);
        let about = About::of(&tuning, &BaseModel::named("tiny"), None);
        file::write(&path, &tuning, &about).unwrap();
        assert_eq!(place.logits(&file::read(&path, &place.context()).unwrap()), expected, "{}", method.name);
        let merged = tuning.merged(&*place.model, &place.backend).unwrap();
        assert_eq!(merged.is_some(), method.method.mergeable, "{}", method.name);
        if let Some(merged) = merged {
            let off =
                place.logits(&merged).iter().zip(&expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
            assert!(off < 1e-4, "{}: merged off by {off:e}", method.name);
        }
        let source = Source::new(&*place.model, &place.rows);
        assert!(eval::score(&tuning, &source, || Ok(())).unwrap().score.loss.is_finite());
    }
}

#[test]
fn methods_step_in_over_quantized_weights() {
    for method in cases().iter().filter(|case| case.method.mergeable) {
        let place = place_of(Dtype::Q8_0);
        let tuning = place.tuning(method);
        place.train(&tuning, None, usize::MAX).unwrap();
        let (expected, merged) =
            (place.logits(&tuning), tuning.merged(&*place.model, &place.backend).unwrap());
        let merged = place.logits(&merged.unwrap());
        let off = merged.iter().zip(&expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off < 1e-4, "{}: merged off by {off:e}", method.name);
    }
}

#[test]
fn every_parameter_is_in_one_group() {
    let place = place();
    for method in cases() {
        let tuning = place.tuning(&method);
        let mut names: Vec<String> =
            tuning.parameters().iter().map(|parameter| parameter.name().to_owned()).collect();
        let own = tuning.adapter().parameters().len() + tuning.names().count();
        assert_eq!(names.len(), own, "{}", method.name);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), own, "{}", method.name);
        for group in tuning.parameter_groups() {
            for parameter in group.parameters {
                let name = parameter.name();
                let without = ["bias", "LayerNorm", "prompt_"].iter().any(|part| name.contains(part));
                let network = name.contains("_head") && name.ends_with("weight");
                assert_eq!(group.decays, !without || network, "{} {name}", method.name);
            }
        }
    }
}

#[test]
fn settings_that_a_method_does_not_have_are_refused_by_name() {
    for method in METHODS {
        let given = serde_json::json!({"no_such_setting": 1});
        let error = adapter::resolve(method, given.as_object().unwrap()).unwrap_err().to_string();
        assert!(error.contains("no_such_setting"), "{error}");
    }
}
