//! Reference figures of Transformers and PEFT: logits, losses, gradients, training, files.
//!
//! The figures are in `tests/golden`, or in the folder that TENFOLD_GOLDEN names (same layout).

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold::adapter::{self, Context, Tuning, file};
use tenfold::model::checkpoint::{Checkpoint, HostTensor, read_tensors};
use tenfold::model::{self, Batch, Forward, Model};
use tenfold::train::{Optimizer, TrainSettings};
use tenfold_tensor::{Backend, Cpu, Dtype, Param, Ragged, Reference, without_gradients};

/// The methods whose figures are held here, with the folder's name.
const METHODS: &[&str] =
    &["lora", "lora-rs", "lora-all-bias", "ia3", "prefix_tuning", "prompt_tuning", "p_tuning"];

fn golden() -> PathBuf {
    match std::env::var_os("TENFOLD_GOLDEN") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    }
}

/// The tiny BERT, its batch without the padding, and its figures.
struct Tiny {
    backend: Arc<dyn Backend>,
    model: Arc<dyn Model>,
    batch: Batch,
    figures: BTreeMap<String, HostTensor>,
}

fn tiny(backend: Arc<dyn Backend>) -> Tiny {
    let home = golden().join("tiny/bert");
    let figures = read_tensors(&home.join("base.safetensors")).unwrap();
    let model = model::load(&home.join("model"), &backend, Dtype::F32).unwrap();
    Tiny { batch: batch(&figures), backend, model, figures }
}

fn batch(figures: &BTreeMap<String, HostTensor>) -> Batch {
    let (ids, mask) = (&figures["input_ids"], &figures["attention_mask"]);
    let columns = ids.shape[1];
    let real = |row: &[f32]| row.iter().filter(|mask| **mask != 0.0).count();
    let kept = ids.data.iter().zip(&mask.data).filter(|(_, mask)| **mask != 0.0);
    let ids: Vec<u32> = kept.map(|(id, _)| *id as u32).collect();
    Batch {
        type_ids: vec![0; ids.len()],
        ids,
        ragged: Ragged::from_lengths(mask.data.chunks(columns).map(real)),
        labels: figures
            .get("labels")
            .map_or(Vec::new(), |labels| labels.data.iter().map(|x| *x as u32).collect()),
    }
}

impl Tiny {
    fn context(&self) -> Context<'_> {
        Context { model: &*self.model, backend: &self.backend, seed: 0, tokenize: &|_| Ok(vec![5]) }
    }

    fn start(&self, method: &str) -> Tuning {
        let method = adapter::method(method).unwrap();
        Tuning::new(method, &(method.defaults)(), &self.context(), 3).unwrap()
    }

    fn logits(&self, tuning: &Tuning) -> Vec<f32> {
        let forward = Forward::evaluation(tuning);
        let logits = without_gradients(|| {
            self.model.head(&forward, &self.model.features(&forward, &self.batch).unwrap())
        });
        logits.unwrap().numbers().unwrap()
    }

    /// Leaves gradients behind and returns the loss.
    fn loss(&self, tuning: &Tuning) -> f32 {
        let forward = Forward::evaluation(tuning);
        let features = self.model.features(&forward, &self.batch).unwrap();
        let logits = self.model.head(&forward, &features).unwrap();
        let loss = logits.cross_entropy(&self.batch.labels, 0.0).unwrap();
        let number = loss.numbers().unwrap()[0];
        loss.backward(1.0).unwrap();
        number
    }

    /// The losses of five AdamW steps, as the figures were made.
    fn five_steps(&self, tuning: &Tuning) -> Vec<f32> {
        let settings = TrainSettings::default();
        let mut optimizer = Optimizer::new(&self.backend, tuning.parameters(), &settings).unwrap();
        (0..5)
            .map(|_| {
                let loss = self.loss(tuning);
                optimizer.step(1e-2).unwrap();
                loss
            })
            .collect()
    }
}

/// Largest difference, relative to the largest magnitude of what is expected.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-6f32, |largest, x| largest.max(x.abs()));
    found.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

#[track_caller]
fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let difference = difference(found, expected);
    assert!(
        difference <= tolerance,
        "{what}: off by {difference:e}, {tolerance:e} is allowed\n{found:?}\n{expected:?}"
    );
}

/// A key's bias adds the same to all scores of a query, which softmax does not see: its gradient is
/// zero but for rounding, and its largest entry is no measure of anything.
#[track_caller]
fn close_gradient(what: &str, found: &[f32], expected: &[f32]) {
    if what.ends_with("key.bias") || what.ends_with("key.base_layer.bias") {
        assert!(found.iter().chain(expected).all(|x| x.abs() < 1e-7), "{what}: {found:?}");
    } else {
        close(what, found, expected, 1e-3);
    }
}

fn backends() -> [Arc<dyn Backend>; 2] {
    [Cpu::new(), Reference::new()]
}

/// Our name for a parameter in PEFT's own naming of a live model ("raw", "grad.").
fn our_name(theirs: &str) -> String {
    let plain = theirs.replace(".default", "").replace(".modules_to_save", "").replace(".base_layer", "");
    let inner =
        plain.strip_prefix("base_model.model.").or(plain.strip_prefix("base_model.")).unwrap_or(&plain);
    if plain.contains("lora_") || plain.contains("ia3_l") || plain.starts_with("prompt_encoder") {
        return plain;
    }
    inner.to_owned()
}

fn find<'a>(parameters: &'a [Param], theirs: &str) -> Option<&'a Param> {
    let name = our_name(theirs);
    let find = |name: &str| parameters.iter().find(|parameter| parameter.name() == name);
    // PEFT keeps plain prompts in an embedding, too; its file and we call them by what they are.
    let plain = || if name == "prompt_encoder.embedding.weight" { find("prompt_embeddings") } else { None };
    find(&name).or_else(plain)
}

#[test]
fn golden_base_logits_loss_and_every_gradient() {
    for backend in backends() {
        let tiny = tiny(backend);
        let full = tiny.start("full");
        close("logits", &tiny.logits(&full), &tiny.figures["logits"].data, 1e-4);
        close("loss", &[tiny.loss(&full)], &tiny.figures["loss"].data, 1e-4);
        let parameters = full.parameters();
        let mut checked = 0;
        for (name, expected) in
            tiny.figures.iter().filter_map(|(name, x)| Some((name.strip_prefix("grad.")?, x)))
        {
            let parameter = parameters.iter().find(|parameter| parameter.name() == name).expect(name);
            close_gradient(name, &parameter.gradient().unwrap().unwrap(), &expected.data);
            checked += 1;
        }
        assert_eq!(checked, parameters.len());
    }
}

#[test]
fn golden_full_fine_tuning_losses() {
    for backend in backends() {
        let tiny = tiny(backend);
        close("losses", &tiny.five_steps(&tiny.start("full")), &tiny.figures["full.losses"].data, 1e-4);
    }
}

#[test]
fn golden_adapters_of_peft_load_and_give_its_logits_and_gradients() {
    for backend in backends() {
        let tiny = tiny(backend);
        for method in METHODS {
            let home = golden().join("tiny/bert").join(method);
            let figures = read_tensors(&home.join("figures.safetensors")).unwrap();
            let tuning = file::read(&home.join("trained"), &tiny.context()).unwrap();
            close(method, &tiny.logits(&tuning), &figures["logits"].data, 1e-4);
            close(method, &[tiny.loss(&tuning)], &figures["loss"].data, 1e-4);
            let parameters = tuning.parameters();
            for (name, expected) in
                figures.iter().filter_map(|(name, x)| Some((name.strip_prefix("grad.")?, x)))
            {
                if name.contains("original_module") {
                    continue;
                }
                match find(&parameters, name) {
                    Some(parameter) if *method != "p_tuning" || !name.starts_with("prompt_encoder") => {
                        let gradient = parameter.gradient().unwrap().unwrap();
                        close_gradient(&format!("{method} {name}"), &gradient, &expected.data);
                    }
                    // The file of P-tuning holds no network any more.
                    _ => assert_eq!(
                        (*method, name.starts_with("prompt_encoder")),
                        ("p_tuning", true),
                        "{name}"
                    ),
                }
            }
            if let Some(merged) = figures.get("merged.logits") {
                let merge = tuning.merged(&*tiny.model, &tiny.backend).unwrap().expect(method);
                close(method, &tiny.logits(&merge), &merged.data, 1e-4);
            }
        }
    }
}

/// The method of a golden folder as PEFT started it, its encoder included.
fn initial(tiny: &Tiny, method: &str) -> Tuning {
    let home = golden().join("tiny/bert").join(method).join("initial");
    let raw = read_tensors(&home.join("raw.safetensors")).unwrap();
    let tuning = if method == "p_tuning" {
        let method = adapter::method("p_tuning").unwrap();
        let mut settings = (method.defaults)();
        settings["num_virtual_tokens"] = 5.into();
        settings["encoder_hidden_size"] = 16.into();
        Tuning::new(method, &settings, &tiny.context(), 3).unwrap()
    } else {
        file::read(&home, &tiny.context()).unwrap()
    };
    let parameters = tuning.parameters();
    for (name, tensor) in raw.iter().filter(|(name, _)| !name.contains("original_module")) {
        if let Some(parameter) = find(&parameters, name) {
            parameter.set(tensor.data.clone()).unwrap();
        }
    }
    tuning
}

#[test]
fn golden_training_of_every_method() {
    for backend in backends() {
        let tiny = tiny(backend);
        for method in METHODS {
            let home = golden().join("tiny/bert").join(method);
            let figures = read_tensors(&home.join("figures.safetensors")).unwrap();
            let tuning = initial(&tiny, method);
            close(method, &tiny.five_steps(&tuning), &figures["losses"].data, 1e-4);
            close(method, &tiny.logits(&tuning), &figures["logits"].data, 1e-3);
            if *method == "p_tuning" {
                tiny.loss(&tuning);
                let gradients = figures.iter().filter_map(|(name, x)| Some((name.strip_prefix("grad.")?, x)));
                for (name, expected) in gradients.filter(|(name, _)| name.starts_with("prompt_encoder")) {
                    let gradient = find(&tuning.parameters(), name).expect(name).gradient().unwrap().unwrap();
                    close_gradient(name, &gradient, &expected.data);
                }
            }
        }
    }
}

#[test]
fn golden_files_are_those_that_peft_writes() {
    let tiny = tiny(Cpu::new());
    let folder = tempfile::tempdir().unwrap();
    for method in METHODS {
        let home = golden().join("tiny/bert").join(method).join("trained");
        let ours = folder.path().join(method);
        file::write(&ours, &file::read(&home, &tiny.context()).unwrap(), "tiny").unwrap();
        let mut theirs = read_tensors(&home.join(file::TENSORS)).unwrap();
        theirs.retain(|name, _| !name.contains(".original_module.") && !name.contains(".modules_to_save."));
        assert_eq!(read_tensors(&ours.join(file::TENSORS)).unwrap(), theirs, "{method}");
        let config = |path: &Path| -> serde_json::Value {
            serde_json::from_str(&std::fs::read_to_string(path.join(file::CONFIG)).unwrap()).unwrap()
        };
        let (ours, theirs) = (config(&ours), config(&home));
        for (key, value) in ours.as_object().unwrap() {
            let names = ["base_model_name_or_path", "modules_to_save"];
            if !names.contains(&key.as_str()) && !theirs[key].is_null() {
                assert_eq!(*value, theirs[key], "{method} {key}");
            }
        }
    }
}

/// The folder of all-MiniLM-L6-v2, if TENFOLD_MODEL names it or the cache holds it.
fn minilm() -> Option<PathBuf> {
    match std::env::var_os("TENFOLD_MODEL") {
        Some(folder) => Some(folder.into()),
        None => model::store::cached("all-minilm-l6-v2"),
    }
}

#[test]
fn golden_minilm_hidden_states_and_pooler() {
    let Some(folder) = minilm() else {
        eprintln!(
            "skipped: all-MiniLM-L6-v2 is not in the cache; `tenfold model pull all-minilm-l6-v2` brings it"
        );
        return;
    };
    let figures = read_tensors(&golden().join("real/all-minilm-l6-v2.safetensors")).unwrap();
    let batch = batch(&figures);
    for (dtype, tolerance) in [(Dtype::F32, 1e-3), (Dtype::Bf16, 3e-2)] {
        let backend = Cpu::new();
        let bert = model::bert::Bert::open(&folder, &backend, dtype).unwrap();
        let method = adapter::method("full").unwrap();
        let method = if dtype == Dtype::F32 { method } else { adapter::method("linear_probe").unwrap() };
        let context = Context { model: &bert, backend: &backend, seed: 0, tokenize: &|_| Ok(Vec::new()) };
        let tuning = Tuning::new(method, &(method.defaults)(), &context, 2).unwrap();
        let forward = Forward::evaluation(&tuning);
        let (hidden, ragged) = without_gradients(|| bert.hidden_states(&forward, &batch)).unwrap();
        let pooled = without_gradients(|| bert.features(&forward, &batch)).unwrap();
        let expected = &figures["last_hidden_state"];
        let (rows, width) = (expected.shape[1], expected.shape[2]);
        let real: Vec<f32> = (ragged.lengths().enumerate())
            .flat_map(|(i, length)| expected.data[i * rows * width..(i * rows + length) * width].to_vec())
            .collect();
        close("hidden states", &hidden.numbers().unwrap(), &real, tolerance);
        close("pooler", &pooled.numbers().unwrap(), &figures["pooler_output"].data, tolerance);
    }
    assert!(Checkpoint::open(&folder).unwrap().names().count() > 100);
}
