//! `adapter export`: whole models and adapters in folders of their own give the answers of the tuning that was exported.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod cases;

use cases::{Case, cases};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold::adapter::export::{self, Export};
use tenfold::adapter::file::{self, About, BaseModel, Holds};
use tenfold::adapter::{self, Context, Tuning};
use tenfold::model::{self, Batch, Forward, IGNORE, Model, ModelFiles, TaskType};
use tenfold::progress::Silent;
use tenfold_tensor::{Backend, Cpu, Ragged, without_gradients};

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

/// A model of the golden figures, and a batch for it.
struct Place {
    dir: PathBuf,
    backend: Arc<dyn Backend>,
    model: Arc<dyn Model>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(name).join("model")
}

fn place(dir: &Path, task: TaskType) -> Place {
    let backend: Arc<dyn Backend> = Cpu::new();
    Place { dir: dir.to_owned(), model: model::load(dir, task, &backend, None).unwrap(), backend }
}

impl Place {
    fn context(&self) -> Context<'_> {
        Context { model: &*self.model, backend: &self.backend, seed: 3, tokenize: &|_| Ok(vec![5, 6]) }
    }

    /// The method with numbers that training could have left: nothing is the identity.
    fn tuned(&self, Case { method, settings, .. }: &Case) -> Tuning {
        let mut settings = settings.clone();
        for key in ["init_lora_weights", "init_ia3_weights", "init_weights"] {
            if !settings[key].is_null() {
                settings[key] = false.into();
            }
        }
        let tuning = Tuning::new(method, &settings, &self.context(), 3).unwrap();
        for parameter in tuning.parameters() {
            let moved = |(place, x): (usize, f32)| x + 0.01 * ((place % 7) as f32 - 3.0);
            parameter.set(parameter.numbers().unwrap().into_iter().enumerate().map(moved).collect()).unwrap();
        }
        tuning
    }

    fn logits(&self, tuning: &Tuning) -> Vec<f32> {
        let ids: Vec<u32> = (0..9).map(|id| 5 + 3 * id).collect();
        let (ragged, type_ids) = (Ragged::from_lengths([4, 5]), vec![0; ids.len()]);
        let labels = vec![IGNORE; ids.len()].into();
        let decoder = self
            .model
            .decoder_start()
            .map(|start| (vec![start, 7, start, 8, 9], Ragged::from_lengths([2, 3])));
        let batch = Batch { ids, type_ids, ragged, labels, decoder };
        let forward = Forward::evaluation(tuning);
        without_gradients(|| model::logits(&*self.model, &forward, &batch)).unwrap().numbers().unwrap()
    }

    fn write(&self, tuning: &Tuning, folder: &Path) {
        let base = BaseModel { path: Some(self.dir.clone()), ..BaseModel::named("tiny") };
        file::write(folder, tuning, &About::of(tuning, &base, None)).unwrap();
        let labels = ["bad", "so-so", "good"].map(str::to_owned);
        file::write_labels(folder, tuning, &labels).unwrap();
    }

    fn export(&self, adapter: &Path, out: &Path, merged: bool) -> tenfold::Result<Holds> {
        let files = ModelFiles::open(&self.dir)?;
        let what = Export { adapter, model_files: &files, merged };
        export::export(&what, &self.context(), out, &Silent)
    }

    /// The logits of an exported whole model, which nothing is added to.
    fn logits_of_whole(&self, out: &Path) -> Vec<f32> {
        let whole = place(out, self.model.task());
        if self.model.task().is_language_modelling() {
            return whole.logits(&Tuning::untouched(&*whole.model));
        }
        // The head that is stored is the one that starts.
        let probe = adapter::method("linear_probe").unwrap();
        whole.logits(&Tuning::new(probe, &json!({}), &whole.context(), 3).unwrap())
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn close(what: &str, ours: &[f32], expected: &[f32]) {
    let off = ours.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    assert!(ours.len() == expected.len() && off < 1e-4, "{what}: off by {off:e}");
}

#[test]
fn every_method_is_exported_as_what_loads_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(&golden("bert"), TaskType::SequenceClassification);
    for Case { name, method, settings } in cases() {
        let tuning = place.tuned(&Case { name: name.clone(), method, settings });
        let (adapter, out) = (folder.path().join(&name), folder.path().join("out").join(&name));
        std::fs::create_dir_all(folder.path().join("out")).unwrap();
        place.write(&tuning, &adapter);
        let is_peft = method.peft_type.is_some();
        // Nothing pretends to be PEFT's that is not.
        assert_eq!(adapter.join(file::CONFIG).exists(), is_peft, "{}", method.name);
        assert_eq!(adapter.join(file::TENSORS).exists(), is_peft, "{}", method.name);
        let holds = place.export(&adapter, &out, false).unwrap();
        assert_eq!(holds, if is_peft { Holds::Adapter } else { Holds::Model }, "{}", method.name);
        assert!(out.join("load.py").is_file() && out.join(file::ABOUT).is_file());
        let expected = place.logits(&tuning);
        match holds {
            Holds::Model => close(method.name, &place.logits_of_whole(&out), &expected),
            _ => assert_eq!(place.logits(&file::read(&out, &place.context()).unwrap()), expected),
        }
        let merged = folder.path().join("merged").join(&name);
        std::fs::create_dir_all(folder.path().join("merged")).unwrap();
        match (is_peft && !method.mergeable, place.export(&adapter, &merged, true)) {
            (true, outcome) => {
                let fault = outcome.unwrap_err().to_string();
                assert!(fault.contains("cannot be folded") && !merged.exists(), "{fault}");
            }
            (false, outcome) => {
                assert_eq!(outcome.unwrap(), Holds::Model);
                close(method.name, &place.logits_of_whole(&merged), &expected);
            }
        }
    }
    let config = json(&folder.path().join("out/full/config.json"));
    assert_eq!(config["architectures"], json!(["BertForSequenceClassification"]));
    assert_eq!(config["id2label"], json!({"0": "bad", "1": "so-so", "2": "good"}));
    assert_eq!(config["label2id"]["good"], 2);
    assert_eq!(
        (&config["num_labels"], &config["problem_type"]),
        (&json!(3), &json!("single_label_classification"))
    );
    assert_eq!((&config["dtype"], &config["hidden_act"]), (&json!("float32"), &json!("gelu")));
}

#[test]
fn language_models_of_every_kind_are_exported_whole() {
    let folder = tempfile::tempdir().unwrap();
    for (family, task) in [
        ("llama", TaskType::CausalLm),
        ("gpt2", TaskType::CausalLm),
        ("qwen2", TaskType::CausalLm),
        ("t5", TaskType::Seq2SeqLm),
    ] {
        let place = place(&golden(family), task);
        for name in ["full", "lora"] {
            let tuning = place.tuned(&case(name));
            let path = |what: &str| folder.path().join(format!("{family}-{name}-{what}"));
            place.write(&tuning, &path("adapter"));
            assert_eq!(place.export(&path("adapter"), &path("out"), name == "lora").unwrap(), Holds::Model);
            close(&format!("{family} {name}"), &place.logits_of_whole(&path("out")), &place.logits(&tuning));
            assert!(path("out").join("generation_config.json").is_file());
        }
    }
}

#[test]
fn what_exists_is_never_written_over_and_nothing_half_done_stays() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(&golden("bert"), TaskType::SequenceClassification);
    let adapter = folder.path().join("adapter");
    place.write(&place.tuned(&case("full")), &adapter);
    let fault = place.export(&adapter, &adapter, false).unwrap_err().to_string();
    assert!(fault.contains("expected none, or an empty one"), "{fault}");
    // A head of another number of labels than there are names.
    std::fs::write(adapter.join(file::LABELS), "[\"one\"]").unwrap();
    let fault = place.export(&adapter, &folder.path().join("out"), false).unwrap_err().to_string();
    assert!(fault.contains("expected a list of 3 names"), "{fault}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the adapter alone");
}

#[test]
fn a_whole_model_given_as_an_adapter_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(&golden("bert"), TaskType::SequenceClassification);
    let fault = file::read(&golden("bert"), &place.context()).err().unwrap().to_string();
    assert!(fault.contains("give this folder as --model"), "{fault}");
    // The form that was written before: a configuration of PEFT's name for a method that PEFT does not have.
    let tuning = place.tuned(&case("bitfit"));
    place.write(&tuning, folder.path());
    std::fs::rename(folder.path().join(file::CHANGED), folder.path().join(file::TENSORS)).unwrap();
    std::fs::remove_file(folder.path().join(file::ABOUT)).unwrap();
    let config =
        json!({"tenfold_method": "bitfit", "task_type": "SEQ_CLS", "base_model_name_or_path": "tiny"});
    std::fs::write(folder.path().join(file::CONFIG), config.to_string()).unwrap();
    let read = file::read(folder.path(), &place.context()).unwrap();
    assert_eq!(place.logits(&read), place.logits(&tuning));
}
