//! What is foreseen of memory is what training takes: every method, recomputed or not, on models of each kind.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod cases;

use cases::{Case, cases};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold::adapter::{Context, Method, Tuning};
use tenfold::bench::{self, GenerateRequest, InferRequest, Loads, RowShape, TrainRequest, Tuned};
use tenfold::bytes::Bytes;
use tenfold::error::Error;
use tenfold::model::tokenizer::Encoding;
use tenfold::model::{self, Model, TaskType};
use tenfold::train::{self, CrossEntropy, Features, Rows, Source, Subject, Target, TrainSettings, Trainer};
use tenfold_tensor::{Backend, Class, Cpu, Dtype, Meta, Usage};

/// Wide enough that memory is recycled, which it is not for small results.
fn configuration(family: &str) -> Value {
    match family {
        "t5" => json!({
            "model_type": "t5", "vocab_size": 300, "d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2,
            "num_heads": 4, "decoder_start_token_id": 0, "pad_token_id": 0, "dropout_rate": 0.1,
        }),
        "qwen2" => json!({
            "model_type": "qwen2", "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
            "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
            "tie_word_embeddings": true, "hidden_act": "silu",
        }),
        bert => json!({
            "model_type": bert, "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 4,
            "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 128,
            "type_vocab_size": 2, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
            "pad_token_id": 1,
        }),
    }
}

struct Place {
    _folder: tempfile::TempDir,
    config: PathBuf,
    task: TaskType,
}

fn place(family: &str) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, configuration(family).to_string()).unwrap();
    let task = model::usual_task(&config).unwrap();
    Place { _folder: folder, config, task }
}

impl Place {
    fn load(&self, backend: &Arc<dyn Backend>, dtype: Dtype) -> Arc<dyn Model> {
        model::load_random(&self.config, self.task, 3, backend, dtype).unwrap()
    }

    fn rows(&self) -> Rows {
        let row = |row: usize| {
            let ids: Vec<u32> = (0..24 + row as u32).map(|place| (place * 7 + row as u32) % 300).collect();
            let target = match self.task {
                TaskType::CausalLm => Target::Next(vec![true; ids.len()]),
                TaskType::Seq2SeqLm => Target::Answer { start: 0, ids: ids[..9].to_vec() },
                _ => Target::Label(row as u32 % 2),
            };
            (Encoding { type_ids: vec![0; ids.len()], ids, truncated: false }, target)
        };
        let (encodings, targets) = (0..8).map(row).unzip();
        Rows::of(encodings, targets)
    }
}

/// Language models have no head to probe with, and T5 has no biases.
fn trains_something(family: &str, method: &Method) -> bool {
    !matches!((family, method.name), ("t5" | "qwen2", "linear_probe") | ("t5", "bitfit"))
}

fn lora() -> Case {
    cases().into_iter().find(|case| case.name == "lora").unwrap()
}

/// The account of a real run.
fn taken(place: &Place, case: &Case, train: &TrainSettings, dtype: Dtype) -> Usage {
    let backend = Cpu::new();
    let model = place.load(&backend, dtype);
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &|_| Ok(vec![5, 6]) };
    let tuning = Tuning::new(case.method, &case.settings, &context, 2).unwrap();
    let rows = place.rows().longest(8);
    let forward = model::Forward::evaluation(&tuning);
    let source =
        Source::new(&*model, &rows).cache_features(&forward, &Features::default(), || Ok(())).unwrap();
    let trainer = Trainer {
        backend: backend.clone(),
        tuning: &tuning,
        objective: &CrossEntropy { label_smoothing_factor: train.label_smoothing_factor },
        settings: train,
        learning_rate: 1e-3,
        seed: 0,
        train: &source,
        looks: None,
        stops: &[],
        snapshot: None,
        snapshot_every: std::time::Duration::MAX,
        go_on: &|| Ok(()),
        on_step: &|_| {},
    };
    let losses = trainer.first_steps(2).unwrap().losses;
    assert!(losses.iter().all(|loss| loss.is_finite() && *loss > 0.0), "{losses:?}");
    backend.ledger().peak()
}

fn foreseen(place: &Place, case: &Case, train: &TrainSettings, dtype: Dtype) -> Usage {
    let model = place.load(&Meta::new(), dtype);
    train::foresee(&subject(&*model, case, &place.rows()), train).unwrap()
}

fn subject<'a>(model: &'a dyn Model, case: &'a Case, rows: &'a Rows) -> Subject<'a> {
    let Case { method, settings, .. } = case;
    Subject { model, method, settings, labels: 2, rows, tokenize: &|_| Ok(vec![5, 6]), keeps_base: true }
}

fn settings(recomputes: bool) -> TrainSettings {
    let train = TrainSettings { batch_size: 8, num_train_epochs: 2.0, ..TrainSettings::default() };
    TrainSettings { gradient_checkpointing: recomputes, ..train }
}

#[test]
fn the_dry_account_is_that_of_the_processor_to_the_byte() {
    for family in ["roberta", "t5", "qwen2"] {
        let place = place(family);
        for method in cases().iter().filter(|case| trains_something(family, case.method)) {
            for recomputes in [false, true] {
                let train = settings(recomputes);
                let (dry, real) =
                    (foreseen(&place, method, &train, Dtype::F32), taken(&place, method, &train, Dtype::F32));
                assert_eq!(dry, real, "{family} {} {recomputes}", method.name);
            }
        }
        let train = TrainSettings { batch_size: 4, gradient_accumulation_steps: 2, ..settings(false) };
        let lora = &lora();
        let (dry, real) =
            (foreseen(&place, lora, &train, Dtype::Q8_0), taken(&place, lora, &train, Dtype::Q8_0));
        // The run's passes are of rows as they come, those foreseen of the longest; memory is lent again accordingly.
        assert!(dry.total().abs_diff(real.total()) * 50 <= real.total(), "{dry:?} {real:?}");
        assert_eq!(dry.bytes[Class::Base as usize], real.bytes[Class::Base as usize]);
    }
}

#[test]
fn a_limit_leads_to_smaller_passes_then_to_recomputation_then_to_a_refusal() {
    let place = place("roberta");
    let lora = &lora();
    let (model, rows) = (place.load(&Meta::new(), Dtype::F32), place.rows());
    let subject = subject(&*model, lora, &rows);
    let needs = |train: &TrainSettings| train::total(&train::foresee(&subject, train).unwrap());
    let fit = |limit: u64| train::fit(&subject, &settings(false), Bytes(limit));
    let tokens: usize = (0..8).map(|row| rows.tokens(row)).sum();
    let whole = needs(&settings(false));
    let fitted = fit(whole).unwrap();
    assert_eq!(fitted.train, TrainSettings { pass_tokens: Some(tokens), ..settings(false) });
    assert_eq!(fitted.changed, None);
    let fitted = fit(whole - 1).unwrap();
    assert_eq!(fitted.train, TrainSettings { pass_tokens: Some(tokens / 2), ..settings(false) });
    assert!(fitted.changed.unwrap().contains("each pass holds"));
    let longest = rows.tokens(rows.len() - 1);
    let single = needs(&TrainSettings { pass_tokens: Some(longest), ..settings(false) });
    let fitted = fit(single).unwrap();
    assert!(fitted.train.pass_tokens < Some(2 * longest) && !fitted.train.gradient_checkpointing);
    let again = needs(&TrainSettings { pass_tokens: Some(longest), ..settings(true) });
    assert!(again < single && single < whole, "{again} {single} {whole}");
    let fitted = fit(again).unwrap();
    assert!(fitted.train.pass_tokens < Some(2 * longest) && fitted.train.gradient_checkpointing);
    assert!(fitted.changed.unwrap().contains("computed again"));
    match fit(train::PROCESS_BYTES).unwrap_err() {
        error @ Error::Memory { .. } => {
            let words = error.to_string();
            for expected in ["base ", "activations ", "weights = \"nf4\"", "train.max_length"] {
                assert!(words.contains(expected), "{words}");
            }
        }
        other => panic!("{other}"),
    }
}

#[test]
fn random_weights_are_functions_of_seed_and_name() {
    let place = place("roberta");
    let numbers = |seed: u64| {
        let model = model::load_random(&place.config, place.task, seed, &Cpu::new(), Dtype::F32).unwrap();
        let weights = model.weights();
        let of =
            |end: &str| weights.iter().find(|w| w.name.ends_with(end)).unwrap().tensor.numbers().unwrap();
        [
            of("layer.0.output.dense.weight"),
            of("layer.1.output.dense.weight"),
            of("query.bias"),
            of("LayerNorm.weight"),
        ]
    };
    let [a, b, bias, norm] = numbers(1);
    assert_eq!(numbers(1)[0], a);
    assert!(numbers(2)[0] != a && a != b);
    assert!(bias.iter().all(|x| *x == 0.0) && norm.iter().all(|x| *x == 1.0));
    let deviation = (a.iter().map(|x| x * x).sum::<f32>() / a.len() as f32).sqrt();
    assert!((deviation - 0.02).abs() < 0.001, "{deviation}");
}

#[test]
fn the_bench_measures_every_family_and_a_full_tuning_drops_the_base() {
    for family in ["bert", "t5", "qwen2"] {
        let place = place(family);
        let request = TrainRequest {
            tuned: tuned(&place.config, "full"),
            sequence: 20,
            target_sequence: 6,
            steps: 3,
            train: TrainSettings { batch_size: 4, ..TrainSettings::default() },
        };
        let report = bench::train(&request).unwrap();
        // A third step may be lent other buffers than the two that were foreseen.
        let [real, dry] =
            [&report.memory_by_class, &report.foreseen_by_class].map(|c| c.values().sum::<u64>());
        assert!(dry.abs_diff(real) * 50 <= real, "{family}: {dry} {real}");
        assert_eq!((report.memory_by_class["base"], report.foreseen_by_class["base"]), (0, 0));
        assert_eq!(report.tokens_per_step, if family == "t5" { 4 * 26 } else { 4 * 20 });
        assert_eq!((report.step_seconds.len(), report.losses.len()), (1, 3));
        assert!(report.tokens_per_second.best > 0.0);
        assert!(report.fraction_of_matmul_rate > 0.0 && report.fraction_of_matmul_rate < 1.5);
        let none = TrainRequest { sequence: 0, ..request };
        assert!(bench::train(&none).is_err());
    }
}

fn tuned(config: &Path, method: &str) -> Tuned {
    Tuned {
        base: bench::Base::Drawn(config.to_owned()),
        task: None,
        weights: Some(Dtype::F32),
        device: tenfold::device::usual(),
        method: Some(method.into()),
        settings: serde_json::Map::new(),
        seed: 0,
    }
}

#[test]
fn the_products_of_a_step_are_those_that_its_arithmetic_asks_for() {
    let place = place("bert");
    let operations = |method: &str| {
        let train = TrainSettings { batch_size: 4, ..TrainSettings::default() };
        let tuned = tuned(&place.config, method);
        let request = TrainRequest { tuned, sequence: 20, target_sequence: 1, steps: 1, train };
        let report = bench::matmul(&request).unwrap();
        report.f32.iter().map(|t| t.count as f64 * t.seconds * t.operations_per_second).sum::<f64>()
    };
    // Two products train nothing, the third is that of a weight's gradient: frozen weights do without it.
    let (full, lora) = (operations("full"), operations("lora"));
    assert!(lora < 0.8 * full, "{lora} {full}");
}

#[test]
fn passes_and_answers_are_timed_with_a_method_on() {
    let (bert, qwen2) = (place("bert"), place("qwen2"));
    let rows = RowShape { rows: 3, sequence: 8, target_sequence: 1 };
    let loads = Loads { clients: vec![3], rates: vec![1000.0], servers: 2, requests: 20, ..Loads::default() };
    let tuned_bert = tuned(&bert.config, "lora");
    let request = InferRequest { tuned: tuned_bert, merged: true, rows, passes: 2, loads: loads.clone() };
    let report = bench::infer(&request).unwrap();
    assert_eq!((report.pass_seconds.len(), report.tokens_per_pass), (2, 24));
    let counts: Vec<u64> = report.loads.iter().map(|load| load.latency_seconds.unwrap().count).collect();
    assert_eq!(counts, [20, 20]);
    assert!(report.loads.iter().all(|load| load.next_token_seconds.is_none() && load.achieved_rate > 0.0));
    let none = Loads { rates: vec![0.0], ..loads.clone() };
    let error = bench::infer(&InferRequest { loads: none, ..request.clone() }).unwrap_err().to_string();
    assert!(error.contains("rate: expected 0.001 to 1,000,000 requests a second, found 0"), "{error}");
    assert!(bench::infer(&InferRequest { tuned: tuned(&bert.config, "prompt_tuning"), ..request }).is_err());
    let request = GenerateRequest {
        tuned: tuned(&qwen2.config, "lora"),
        merged: false,
        prompts: 2,
        prompt_tokens: 5,
        new_tokens: 3,
        repetitions: 2,
        loads: Loads { clients: vec![1], rates: Vec::new(), servers: 1, ..loads },
    };
    let report = bench::generate(&request).unwrap();
    assert_eq!((report.first_token_seconds.len(), report.rest_seconds.len()), (2, 2));
    let counts = [report.first_token, report.next_token, report.whole].map(|times| times.unwrap().count);
    assert_eq!(counts, [2, 4, 2]);
    let [first, next, whole] = [
        report.loads[0].first_token_seconds,
        report.loads[0].next_token_seconds,
        report.loads[0].latency_seconds,
    ]
    .map(Option::unwrap);
    assert_eq!((first.count, next.count, whole.count), (20, 40, 20));
    assert!(first.mean < whole.mean && (first.mean + 2.0 * next.mean) / whole.mean < 1.01);
    assert!(report.new_tokens_per_second.best > 0.0);
    assert!(bench::generate(&GenerateRequest { tuned: tuned(&bert.config, "lora"), ..request }).is_err());
}
