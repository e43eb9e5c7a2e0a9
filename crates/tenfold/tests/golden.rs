//! Reference figures of Transformers and PEFT: logits, losses, gradients, training, files; for every folder of
//! `tests/golden/tiny` and every method of ours that has figures there.
//!
//! The figures are in `tests/golden`, or in the folder that TENFOLD_GOLDEN names (same layout).

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold::adapter::file::{About, BaseModel};
use tenfold::adapter::{self, Context, ParameterGroup, Step, Tuning, file};
use tenfold::generate::{Generator, Sampling};
use tenfold::model::checkpoint::{Checkpoint, HostTensor, read_tensors};
use tenfold::model::{self, Batch, Forward, IGNORE, Model, TaskType, Wanted};
use tenfold::train::{Optimizer, TrainSettings};
use tenfold_example_backend::ExampleDevice;
use tenfold_tensor::{
    Backend, Cpu, Dropout, Dtype, Param, Ragged, Reference, Row, random, without_gradients,
};

/// The folders of methods whose figures are held here. Not every family has all.
const METHODS: &[&str] = &[
    "lora",
    "lora-rs",
    "lora-all-bias",
    "lora-dora",
    "lora-dora-all",
    "lora-pissa",
    "lora-olora",
    "adalora",
    "lokr",
    "lokr-both",
    "oft",
    "oft-neumann",
    "trainable_tokens",
    "vera",
    "ia3",
    "ln_tuning",
    "prefix_tuning",
    "prompt_tuning",
    "p_tuning",
];

fn golden() -> PathBuf {
    match std::env::var_os("TENFOLD_GOLDEN") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    }
}

/// A tiny model, its batch without the padding, and its figures.
struct Tiny {
    home: PathBuf,
    name: String,
    backend: Arc<dyn Backend>,
    model: Arc<dyn Model>,
    batch: Batch,
    figures: BTreeMap<String, HostTensor>,
    labels: usize,
}

/// The folder of every family.
fn homes() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(golden().join("tiny")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("model").is_dir()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "no figures in {}", golden().display());
    folders
}

/// What figures are held against: the processor, its oracle, and a device of another crate.
const BACKENDS: [fn() -> Arc<dyn Backend>; 3] = [Cpu::new, Reference::new, || ExampleDevice::new()];

/// Every family, on every backend.
fn families() -> impl Iterator<Item = Tiny> {
    homes().into_iter().flat_map(|home| BACKENDS.map(|backend| tiny(&home, backend())))
}

fn tiny(home: &Path, backend: Arc<dyn Backend>) -> Tiny {
    tiny_as(home, backend, Dtype::F32)
}

fn tiny_as(home: &Path, backend: Arc<dyn Backend>, dtype: Dtype) -> Tiny {
    let figures = read_tensors(&home.join("base.safetensors")).unwrap();
    let text = std::fs::read_to_string(home.join("model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let task = match config["architectures"][0].as_str().unwrap() {
        name if name.ends_with("ForSequenceClassification") => TaskType::SequenceClassification,
        name if name.ends_with("ForTokenClassification") => TaskType::TokenClassification,
        name if name.ends_with("ForQuestionAnswering") => TaskType::QuestionAnswering,
        name if name.ends_with("ForConditionalGeneration") => TaskType::Seq2SeqLm,
        name if name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel") => TaskType::CausalLm,
        other => panic!("{other}"),
    };
    Tiny {
        name: home.file_name().unwrap().to_string_lossy().into_owned(),
        home: home.to_owned(),
        model: model::load(&home.join("model"), task, &backend, dtype).unwrap(),
        batch: batch(&figures, task),
        labels: match figures.get("logits") {
            Some(logits) if !task.is_language_modelling() => logits.shape[logits.shape.len() - 1],
            _ => 2,
        },
        backend,
        figures,
    }
}

/// How many tokens of each row are real.
fn lengths(figures: &BTreeMap<String, HostTensor>) -> Vec<usize> {
    let mask = &figures["attention_mask"];
    mask.data.chunks(mask.shape[1]).map(|row| row.iter().filter(|mask| **mask != 0.0).count()).collect()
}

/// The first numbers of each row of a table.
fn cut(table: &HostTensor, lengths: &[usize]) -> Vec<f32> {
    let rows = table.data.chunks(table.shape[1..].iter().product());
    let width: usize = table.shape[2..].iter().product();
    rows.zip(lengths).flat_map(|(row, length)| row[..length * width].to_vec()).collect()
}

fn label(number: f32) -> u32 {
    if number < 0.0 { IGNORE } else { number as u32 }
}

fn batch(figures: &BTreeMap<String, HostTensor>, task: TaskType) -> Batch {
    let lengths = lengths(figures);
    let ids: Vec<u32> = cut(&figures["input_ids"], &lengths).into_iter().map(|id| id as u32).collect();
    let plain = |name: &str| figures[name].data.iter().map(|x| label(*x)).collect::<Vec<u32>>();
    let mut decoder = None;
    let labels = match task {
        TaskType::SequenceClassification => figures.get("labels").map_or(Vec::new(), |_| plain("labels")),
        TaskType::TokenClassification => cut(&figures["labels"], &lengths).into_iter().map(label).collect(),
        TaskType::QuestionAnswering => {
            let (starts, ends) = (plain("start_positions"), plain("end_positions"));
            starts.into_iter().zip(ends).flat_map(|(start, end)| [start, end]).collect()
        }
        TaskType::CausalLm => {
            // Transformers takes the labels of a row one place later; the last place foretells nothing.
            let rows = figures["labels"].data.chunks(figures["labels"].shape[1]).zip(&lengths);
            rows.flat_map(|(row, length)| {
                row[1..*length].iter().map(|x| label(*x)).chain([IGNORE]).collect::<Vec<u32>>()
            })
            .collect()
        }
        TaskType::Seq2SeqLm => {
            let answers = answers(figures);
            let ids = answers.iter().flat_map(|ids| [0].into_iter().chain(ids[..ids.len() - 1].to_vec()));
            let ragged = Ragged::from_lengths(answers.iter().map(Vec::len));
            decoder = Some((ids.collect(), ragged));
            answers.concat()
        }
    };
    let ragged = Ragged::from_lengths(lengths);
    Batch { type_ids: vec![0; ids.len()], ids, ragged, labels: labels.into(), decoder }
}

/// The labels of each row of an encoder-decoder.
fn answers(figures: &BTreeMap<String, HostTensor>) -> Vec<Vec<u32>> {
    let rows = figures["labels"].data.chunks(figures["labels"].shape[1]);
    rows.map(|row| row.iter().filter(|x| **x >= 0.0).map(|x| *x as u32).collect()).collect()
}

impl Tiny {
    fn sequences(&self) -> usize {
        self.batch.ragged.sequences()
    }

    fn context(&self) -> Context<'_> {
        Context { model: &*self.model, backend: &self.backend, seed: 0, tokenize: &|_| Ok(vec![5]) }
    }

    fn start(&self, method: &str) -> Tuning {
        let method = adapter::method(method).unwrap();
        Tuning::new(method, &(method.defaults)(), &self.context(), self.labels).unwrap()
    }

    /// The methods that have figures here, each with its folder.
    fn methods(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let folders = METHODS.iter().map(|method| (*method, self.home.join(method)));
        folders.filter(|(_, folder)| folder.is_dir())
    }

    fn logits(&self, tuning: &Tuning) -> Vec<f32> {
        let forward = Forward::evaluation(tuning);
        let logits = without_gradients(|| model::logits(&*self.model, &forward, &self.batch));
        logits.unwrap().numbers().unwrap()
    }

    /// The figures' logits where they mean something.
    fn expected_logits(&self, figures: &BTreeMap<String, HostTensor>, name: &str) -> Vec<f32> {
        if let (Some(starts), Some(ends)) = (figures.get("start_logits"), figures.get("end_logits")) {
            let lengths = lengths(&self.figures);
            let pairs = cut(starts, &lengths).into_iter().zip(cut(ends, &lengths));
            return pairs.flat_map(|(start, end)| [start, end]).collect();
        }
        let logits = &figures[name];
        match self.model.task() {
            TaskType::SequenceClassification => logits.data.clone(),
            TaskType::Seq2SeqLm => {
                cut(logits, &answers(&self.figures).iter().map(Vec::len).collect::<Vec<usize>>())
            }
            _ => {
                // Virtual tokens come first, and have logits too.
                let extra = logits.shape[1] - self.figures["input_ids"].shape[1];
                let (row, width) = (logits.shape[1] * logits.shape[2], logits.shape[2]);
                let rows = logits.data.chunks(row).map(|row| row[extra * width..].to_vec());
                let shape = vec![logits.shape[0], logits.shape[1] - extra, width];
                cut(&HostTensor { shape, data: rows.flatten().collect() }, &lengths(&self.figures))
            }
        }
    }

    /// Leaves gradients behind and returns the loss.
    fn loss(&self, tuning: &Tuning) -> f32 {
        self.loss_of(tuning, Forward::evaluation(tuning))
    }

    fn loss_of(&self, tuning: &Tuning, forward: Forward) -> f32 {
        tuning.parameters().iter().for_each(Param::clear_gradient);
        let mut loss = model::loss(&*self.model, &forward, &self.batch, 0.0).unwrap().mean;
        if let Some(penalty) = tuning.penalty().unwrap() {
            loss = loss.add(&penalty).unwrap();
        }
        let number = loss.numbers().unwrap()[0];
        loss.backward(1.0).unwrap();
        number
    }

    /// The losses of five AdamW steps, as the figures were made: weight decay is on everything trained.
    fn five_steps(&self, tuning: &Tuning, figures: &BTreeMap<String, HostTensor>) -> Vec<f32> {
        let settings = TrainSettings::default();
        let groups = tuning.parameter_groups();
        // PEFT trains no head with some methods: the figures have gradients of what they train.
        let all = tuning.parameters();
        let trained: Vec<&str> =
            gradients(figures).filter_map(|(name, _)| Some(find(&all, name)?.name())).collect();
        let as_trained = |ParameterGroup { mut parameters, learning_rate_factor, .. }| {
            parameters.retain(|parameter: &Param| trained.contains(&parameter.name()));
            ParameterGroup { parameters, learning_rate_factor, decays: true }
        };
        let groups = groups.into_iter().map(as_trained).collect();
        let optimizer = Optimizer::new(&self.backend, groups, &settings).unwrap();
        // No gradient is that long: the figures were made without clipping.
        let mut optimizer = optimizer.clip(1e9);
        (0..5)
            .map(|number| {
                let (loss, step) = (self.loss(tuning), Step { number, steps: 5 });
                tuning.adapter().on_gradients(&step).unwrap();
                let gradient_scale = optimizer.step(1e-2).unwrap();
                tuning.adapter().after_step(&step, gradient_scale.as_ref()).unwrap();
                loss
            })
            .collect()
    }

    fn about(&self, what: &str) -> String {
        format!("{} {what} on {}", self.name, self.backend.name())
    }
}

/// Largest difference, relative to the largest magnitude of what is expected.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest(expected)
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(1e-12f32, |largest, x| largest.max(x.abs()))
}

#[track_caller]
fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let difference = difference(found, expected);
    assert!(
        difference <= tolerance,
        "{what}: off by {difference:e}, {tolerance:e} is allowed\n{found:?}\n{expected:?}"
    );
}

/// The gradients of a file, by PEFT's or Transformers' names.
fn gradients(figures: &BTreeMap<String, HostTensor>) -> impl Iterator<Item = (&str, &HostTensor)> {
    figures.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("grad.")?, tensor)))
}

/// A key's bias adds the same to all scores of a query, which softmax does not see: where nothing else acts on keys
/// its gradient is zero but for rounding, and its largest entry is no measure of anything.
#[track_caller]
fn close_gradient(what: &str, found: &[f32], expected: &[f32], all: &BTreeMap<String, HostTensor>) {
    let noise = 1e-6 * gradients(all).fold(0f32, |most, (_, tensor)| most.max(largest(&tensor.data)));
    if largest(expected) <= noise {
        assert!(largest(found) <= noise, "{what}: {found:?}");
    } else {
        close(what, found, expected, 1e-3);
    }
}

/// Whether a parameter of a trained model is not in its adapter's file, or not as it was trained: the file of P-tuning holds
/// no network any more, that of AdaLoRA no triplets that were pruned, which the loss still counts.
fn is_left_out(method: &str, name: &str) -> bool {
    match method {
        "p_tuning" => name.starts_with("prompt_encoder"),
        "adalora" => name.contains("lora_"),
        _ => false,
    }
}

/// Holds the gradients that the last loss left behind to the figures, of the parameters that are `wanted`.
#[track_caller]
fn close_gradients(
    about: &impl Fn(&str) -> String,
    tuning: &Tuning,
    figures: &BTreeMap<String, HostTensor>,
    wanted: impl Fn(&str) -> bool,
) {
    let own = gradients(figures).filter(|(name, _)| !name.contains("original_module"));
    for (name, expected) in own.filter(|(name, _)| wanted(name)) {
        let parameter = find(&tuning.parameters(), name).unwrap_or_else(|| panic!("{}", about(name))).clone();
        let gradient = parameter.gradient().unwrap().unwrap();
        close_gradient(&about(name), &gradient, &expected.data, figures);
    }
}

/// Our name for a parameter in PEFT's own naming of a live model ("raw", "grad.").
fn our_name(theirs: &str) -> String {
    let plain = theirs.replace(".default", "").replace(".modules_to_save", "").replace(".base_layer", "");
    let plain = plain.replace(".ln_tuning_layers", "");
    let plain = plain.replace("lora_magnitude_vector.weight", "lora_magnitude_vector");
    let inner =
        plain.strip_prefix("base_model.model.").or(plain.strip_prefix("base_model.")).unwrap_or(&plain);
    if plain.contains("lora_")
        || plain.contains("lokr_")
        || plain.contains("oft_R")
        || plain.contains("trainable_tokens_delta")
        || plain.contains("vera_lambda")
        || plain.contains("ia3_l")
        || plain.starts_with("prompt_encoder")
    {
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

fn base(tiny: &Tiny) {
    let full = tiny.start("full");
    let expected = tiny.expected_logits(&tiny.figures, "logits");
    close(&tiny.about("logits"), &tiny.logits(&full), &expected, 1e-4);
    close(&tiny.about("loss"), &[tiny.loss(&full)], &tiny.figures["loss"].data, 1e-4);
    let parameters = full.parameters();
    let mut checked = 0;
    for (name, expected) in gradients(&tiny.figures) {
        let parameter = parameters.iter().find(|parameter| parameter.name() == name);
        let parameter = parameter.unwrap_or_else(|| panic!("{}", tiny.about(name)));
        let found = parameter.gradient().unwrap().unwrap_or_else(|| vec![0.0; parameter.len()]);
        close_gradient(&tiny.about(name), &found, &expected.data, &tiny.figures);
        checked += 1;
    }
    assert_eq!(checked, parameters.len(), "{}", tiny.about("parameters"));
}

#[test]
fn golden_base_logits_loss_and_every_gradient() {
    families().for_each(|tiny| base(&tiny));
}

fn recomputed_blocks(tiny: &Tiny) {
    let full = tiny.start("full");
    let bits = |forward: Forward| {
        let loss = tiny.loss_of(&full, forward).to_bits();
        let gradients = full.parameters().into_iter().map(|parameter| parameter.gradient().unwrap());
        let gradients: Vec<u32> = gradients.flatten().flatten().map(f32::to_bits).collect();
        (loss, gradients)
    };
    let picks: Vec<usize> = (0..tiny.sequences()).collect();
    let kept = bits(Forward::training(&full, 7, &picks));
    let recomputed = bits(Forward::training(&full, 7, &picks).recomputing(true));
    assert!(kept == recomputed, "{}", tiny.about("recomputed"));
}

#[test]
fn golden_recomputed_blocks_change_no_bit() {
    families().for_each(|tiny| recomputed_blocks(&tiny));
}

fn full_fine_tuning(tiny: &Tiny) {
    let losses = tiny.five_steps(&tiny.start("full"), &tiny.figures);
    close(&tiny.about("losses"), &losses, &tiny.figures["full.losses"].data, 1e-4);
}

#[test]
fn golden_full_fine_tuning_losses() {
    families().for_each(|tiny| full_fine_tuning(&tiny));
}

fn adapters(tiny: &Tiny) {
    for (method, home) in tiny.methods() {
        let about = |what: &str| tiny.about(&format!("{method} {what}"));
        let figures = read_tensors(&home.join("figures.safetensors")).unwrap();
        let tuning = file::read(&home.join("trained"), &tiny.context()).unwrap();
        let expected = tiny.expected_logits(&figures, "logits");
        close(&about("logits"), &tiny.logits(&tuning), &expected, 1e-4);
        let loss = tiny.loss(&tuning);
        if method != "adalora" {
            close(&about("loss"), &[loss], &figures["loss"].data, 1e-4);
        }
        close_gradients(&about, &tuning, &figures, |name| !is_left_out(method, name));
        if figures.contains_key("merged.logits") {
            let merge = tuning.merged(&*tiny.model, &tiny.backend).unwrap().expect(method);
            let expected = tiny.expected_logits(&figures, "merged.logits");
            close(&about("merged"), &tiny.logits(&merge), &expected, 1e-4);
        }
    }
}

#[test]
fn golden_adapters_of_peft_load_and_give_its_logits_and_gradients() {
    families().for_each(|tiny| adapters(&tiny));
}

/// The method of a golden folder as PEFT started it, its encoder included.
fn initial(tiny: &Tiny, method: &str) -> Tuning {
    let home = tiny.home.join(method).join("initial");
    let raw = read_tensors(&home.join("raw.safetensors")).unwrap();
    let tuning = if method == "p_tuning" {
        let method = adapter::method("p_tuning").unwrap();
        let mut settings = (method.defaults)();
        settings["num_virtual_tokens"] = 5.into();
        settings["encoder_hidden_size"] = 16.into();
        Tuning::new(method, &settings, &tiny.context(), tiny.labels).unwrap()
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

/// Whether five steps of DoRA come to the figures, from a start that differs from PEFT's in the last places of some numbers, or
/// for `nudge` 0 in none. With T5 they stand on an edge: AdamW makes whole steps of gradients next to nothing, and by such a
/// change the logits end 1e-4 or 2e-2 from PEFT's.
fn dora_agrees(tiny: &Tiny, method: &str, nudge: u64, figures: &BTreeMap<String, HostTensor>) -> bool {
    let tuning = initial(tiny, method);
    for parameter in tuning.parameters().iter().filter(|_| nudge > 0) {
        let draws = random::uniform(random::key(nudge, parameter.name()), parameter.len(), 1.5);
        // −1, 0 or 1 units in the last place.
        let moved = |(x, draw): (f32, f32)| {
            let places = if x == 0.0 { 0 } else { draw.round() as i32 };
            f32::from_bits(x.to_bits().wrapping_add_signed(places))
        };
        let moved = parameter.numbers().unwrap().into_iter().zip(draws).map(moved).collect();
        parameter.set(moved).unwrap();
    }
    let losses = tiny.five_steps(&tuning, figures);
    let logits = difference(&tiny.logits(&tuning), &tiny.expected_logits(figures, "logits"));
    difference(&losses, &figures["losses"].data) <= 1e-4 && logits <= 1e-3
}

fn training(tiny: &Tiny) {
    for (method, home) in tiny.methods() {
        let about = |what: &str| tiny.about(&format!("{method} {what}"));
        let figures = read_tensors(&home.join("figures.safetensors")).unwrap();
        if method.starts_with("lora-dora") && tiny.name.starts_with("t5") {
            let agrees = |nudge| dora_agrees(tiny, method, nudge, &figures);
            assert!((0..8).any(agrees), "{}", about("losses and logits"));
            continue;
        }
        let tuning = initial(tiny, method);
        close(&about("losses"), &tiny.five_steps(&tuning, &figures), &figures["losses"].data, 1e-4);
        // The bias of a head for answers adds the same to all places of a sequence, which the loss does not see: its
        // gradient is rounding, of which AdamW makes whole steps, and so its logits are no measure of anything.
        if tiny.model.task() != TaskType::QuestionAnswering {
            let expected = tiny.expected_logits(&figures, "logits");
            close(&about("logits"), &tiny.logits(&tuning), &expected, 1e-3);
        }
        if method == "adalora" {
            close(&about("loss"), &[tiny.loss(&tuning)], &figures["loss"].data, 1e-4);
        }
        tiny.loss(&tuning);
        close_gradients(&about, &tuning, &figures, |name| is_left_out(method, name));
    }
}

#[test]
fn golden_training_of_every_method() {
    families().for_each(|tiny| training(&tiny));
}

/// Each word of a greedy answer is the likeliest one after the words before it, which the cache remembers.
fn answers_over_a_cache(tiny: &Tiny) {
    if tiny.model.task() != TaskType::CausalLm {
        return;
    }
    let (base, new) = (Tuning::untouched(&*tiny.model), 3);
    let sampling = Sampling { max_new_tokens: new, ..Sampling::default() };
    let generator = Generator::new(&*tiny.model, &base, &sampling, &[], &|_| Ok(String::new())).unwrap();
    let room = tiny.model.extents().max_positions - new;
    let mut ids = tiny.batch.ids[..room.min(5)].to_vec();
    let answer = generator.generate(&[ids.clone()], &mut ()).unwrap().remove(0).ids;
    assert_eq!(answer.len(), new, "{}", tiny.about("answer"));
    for id in answer {
        let ragged = Ragged::from_lengths([ids.len()]);
        let (type_ids, labels) = (vec![0; ids.len()], vec![IGNORE; ids.len()].into());
        let batch = Batch { type_ids, ids: ids.clone(), ragged, labels, decoder: None };
        let logits = model::logits(&*tiny.model, &Forward::evaluation(&base), &batch).unwrap();
        let last = logits.numbers().unwrap()[(ids.len() - 1) * logits.cols()..].to_vec();
        assert!(last[id as usize] >= largest_of(&last) - 1e-4, "{}", tiny.about("answer"));
        ids.push(id);
    }
}

fn largest_of(numbers: &[f32]) -> f32 {
    numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

#[test]
fn golden_answers_over_a_cache() {
    families().for_each(|tiny| answers_over_a_cache(&tiny));
}

/// The loss is the mean of what each label costs.
fn log_probabilities(tiny: &Tiny) {
    if tiny.model.task().is_language_modelling() {
        let base = Tuning::untouched(&*tiny.model);
        let each = model::log_probabilities(&*tiny.model, &Forward::evaluation(&base), &tiny.batch).unwrap();
        let mean = -each.iter().sum::<f32>() / each.len() as f32;
        close(&tiny.about("log-probabilities"), &[mean], &tiny.figures["loss"].data, 1e-4);
    }
}

#[test]
fn golden_log_probabilities() {
    families().for_each(|tiny| log_probabilities(&tiny));
}

/// Weights that are frozen as bf16 give what they give on the processor.
fn frozen_weights(home: &Path, backend: Arc<dyn Backend>) {
    let [expected, found] = [Cpu::new(), backend].map(|backend| {
        let tiny = tiny_as(home, backend, Dtype::Bf16);
        let speaks = tiny.model.task().is_language_modelling();
        tiny.logits(&if speaks { Tuning::untouched(&*tiny.model) } else { tiny.start("linear_probe") })
    });
    close(&format!("{} in bf16", home.display()), &found, &expected, 1e-4);
}

/// What no figure asks for gives what it gives on the oracle: the tiny models drop nothing, and cap nothing that is learnt
/// from but in attention and in the loss over a vocabulary.
fn beyond_figures(backend: Arc<dyn Backend>) {
    let [expected, found] = [Reference::new(), backend].map(|backend| {
        let numbers = (0..20).map(|i| (i * 7 % 11) as f32 / 3.0 - 1.5).collect();
        let x = Param::new(&backend, "x", &[4, 5], numbers).unwrap();
        let rows = (0..4).map(|position| Row { sequence: 2, position }).collect();
        let dropout = Dropout { probability: 0.3, key: 1, stream: 2, rows };
        let y = x.tensor().dropout(dropout).unwrap().softcap(0.9).unwrap();
        let loss = y.cross_entropy(&[4, 0, 1, 2], 0.1).unwrap();
        let number = loss.numbers().unwrap();
        loss.backward(0.7).unwrap();
        [number, x.gradient().unwrap().unwrap()].concat()
    });
    close("a mask and a cap", &found, &expected, 1e-6);
}

/// The methods that the traits of a backend ask for, read off their text; those with a body of their own are left out.
fn methods_of_a_backend() -> BTreeSet<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tensor/src");
    let operations =
        std::fs::read_dir(sources.join("operations")).unwrap().map(|entry| entry.unwrap().path());
    let mut methods = BTreeSet::new();
    for file in operations.chain([sources.join("backend.rs")]) {
        let (text, mut inside) = (std::fs::read_to_string(file).unwrap(), false);
        for line in text.lines() {
            match line.strip_prefix("    fn ") {
                Some(signature) if inside && !line.ends_with('{') => {
                    methods.insert(signature.split('(').next().unwrap().to_owned());
                }
                _ if line.starts_with("pub trait ") && line.contains("Ops") => inside = true,
                _ if line == "pub trait Backend:" => inside = true,
                _ if line == "}" => inside = false,
                _ => {}
            }
        }
    }
    methods
}

#[test]
fn golden_figures_ask_a_device_of_another_crate_for_all_that_it_can_do() {
    let device = ExampleDevice::new();
    for family in ["bert", "gemma2", "gpt2", "qwen3", "t5"] {
        let home = golden().join("tiny").join(family);
        let tiny = tiny(&home, device.clone());
        for check in [
            base,
            recomputed_blocks,
            full_fine_tuning,
            adapters,
            training,
            answers_over_a_cache,
            log_probabilities,
        ] {
            check(&tiny);
        }
        frozen_weights(&home, device.clone());
    }
    beyond_figures(device.clone());
    let (asked, methods) = (device.asked(), methods_of_a_backend());
    assert!(methods.len() > 35, "{methods:?}");
    let missing: Vec<&String> = methods.iter().filter(|method| !asked.contains(method.as_str())).collect();
    assert!(missing.is_empty(), "no figure asks for {missing:?}");
    assert_eq!((device.buffers(), device.ledger().now().total()), (0, 0), "all memory was given back");
}

#[test]
fn golden_files_are_those_that_peft_writes() {
    let folder = tempfile::tempdir().unwrap();
    for tiny in families().filter(|tiny| tiny.backend.name() == "cpu") {
        for (method, home) in tiny.methods() {
            let about = tiny.about(method);
            let home = home.join("trained");
            let ours = folder.path().join(&tiny.name).join(method);
            let tuning = file::read(&home, &tiny.context()).unwrap();
            file::write(&ours, &tuning, &About::of(&tuning, &BaseModel::named("tiny"), None)).unwrap();
            let mut theirs = read_tensors(&home.join(file::TENSORS)).unwrap();
            theirs
                .retain(|name, _| !name.contains(".original_module.") && !name.contains(".modules_to_save."));
            let mut written = read_tensors(&ours.join(file::TENSORS)).unwrap();
            if method == "trainable_tokens" {
                // A head stands in our file alone.
                written.retain(|name, _| name.contains("trainable_tokens"));
            }
            assert_eq!(written, theirs, "{about}");
            let config = |path: &Path| -> serde_json::Value {
                serde_json::from_str(&std::fs::read_to_string(path.join(file::CONFIG)).unwrap()).unwrap()
            };
            let (ours, theirs) = (config(&ours), config(&home));
            for (key, value) in ours.as_object().unwrap() {
                let names = ["base_model_name_or_path", "modules_to_save"];
                if !names.contains(&key.as_str()) && !theirs[key].is_null() {
                    assert_eq!(*value, theirs[key], "{about} {key}");
                }
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
    let batch = batch(&figures, TaskType::SequenceClassification);
    for (dtype, tolerance) in [(Dtype::F32, 1e-3), (Dtype::Bf16, 3e-2)] {
        let backend = Cpu::new();
        let task = TaskType::SequenceClassification;
        let bert = model::load(&folder, task, &backend, dtype).unwrap();
        let method = if dtype == Dtype::F32 { "full" } else { "linear_probe" };
        let method = adapter::method(method).unwrap();
        let context = Context { model: &*bert, backend: &backend, seed: 0, tokenize: &|_| Ok(Vec::new()) };
        let tuning = Tuning::new(method, &(method.defaults)(), &context, 2).unwrap();
        let forward = Forward::evaluation(&tuning);
        let states = |wanted| without_gradients(|| bert.hidden_states(&forward, &batch, &wanted)).unwrap();
        let (hidden, pooled) = (states(Wanted::All), states(Wanted::Pooled));
        let expected = &figures["last_hidden_state"];
        let real = cut(expected, &lengths(&figures));
        close("hidden states", &hidden.numbers().unwrap(), &real, tolerance);
        close("pooler", &pooled.numbers().unwrap(), &figures["pooler_output"].data, tolerance);
    }
    assert!(Checkpoint::open(&folder).unwrap().names().count() > 100);
}
