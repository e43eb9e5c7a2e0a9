//! A step's gradients do not depend on how its rows are cut into passes: dropout's masks are functions of rows and tokens.
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tenfold::adapter::{self, Context, Tuning};
use tenfold::data::language::Sequence;
use tenfold::model::tokenizer::Encoding;
use tenfold::model::{self, Forward, Model, TaskType};
use tenfold::train::{Rows, Source, Target};
use tenfold_tensor::{Backend, Cpu};

/// Keys of configurations that state a probability of dropout.
const DROPOUTS: [&str; 9] = [
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "attention_dropout",
    "dropout_rate",
    "classifier_dropout",
    "attn_pdrop",
    "embd_pdrop",
    "resid_pdrop",
    "dropout",
];

/// A family's tiny model with a dropout of 0.3 wherever it has one.
fn load(family: &str, task: TaskType, backend: &Arc<dyn Backend>) -> Arc<dyn Model> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(family).join("model");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = folder.path().join("config.json");
    let mut keys: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    for key in DROPOUTS {
        if keys.get(key).is_some() {
            keys[key] = json!(0.3);
        }
    }
    std::fs::write(&config, keys.to_string()).unwrap();
    model::load(folder.path(), task, backend, None).unwrap()
}

/// Seven rows of unlike lengths.
fn rows(task: TaskType, model: &dyn Model) -> Rows {
    const LENGTHS: [usize; 7] = [3, 9, 2, 6, 11, 4, 5];
    let words =
        |row: usize| -> Vec<u32> { (0..LENGTHS[row]).map(|i| (5 + row * 7 + i * 3) as u32 % 40).collect() };
    if task.is_language_modelling() {
        let sequence = |row: usize| {
            let ids = words(row);
            let given = 1 + row % 2;
            Sequence { labelled: (0..ids.len()).map(|place| place >= given).collect(), ids }
        };
        return Rows::sequences((0..7).map(sequence).collect(), model.decoder_start());
    }
    let target = |row: usize| match task {
        TaskType::TokenClassification => {
            let label = |place: usize| if place % 3 == 1 { model::IGNORE } else { (row + place) as u32 % 2 };
            Target::Tokens((0..LENGTHS[row]).map(label).collect())
        }
        TaskType::QuestionAnswering => Target::Span([0, LENGTHS[row] as u32 - 1]),
        _ => Target::Label(row as u32 % 2),
    };
    let encoding = |row| Encoding { ids: words(row), type_ids: vec![0; LENGTHS[row]], truncated: false };
    Rows::of((0..7).map(encoding).collect(), (0..7).map(target).collect())
}

/// The gradients of all parameters, of a step over these passes, as a trainer adds them up.
fn gradients(
    tuning: &Tuning,
    source: &Source,
    passes: &[&[usize]],
    (key, recomputes): (u64, bool),
) -> Vec<Vec<f32>> {
    let labels: usize = passes.iter().map(|picks| source.rows().label_count(picks)).sum();
    for picks in passes {
        let forward = Forward::training(tuning, key, picks).recomputing(recomputes);
        let loss = source.loss(&forward, picks, 0.0).unwrap();
        loss.mean.backward(loss.labels as f32 / labels as f32).unwrap();
    }
    let own = |parameter: tenfold_tensor::Param| {
        let gradient = parameter.gradient().unwrap().unwrap_or_else(|| vec![0.0; parameter.len()]);
        parameter.clear_gradient();
        gradient
    };
    tuning.parameters().into_iter().map(own).collect()
}

/// The distance of two lists of gradients, in shares of the length of the first.
fn distance(one: &[Vec<f32>], other: &[Vec<f32>]) -> f64 {
    let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let both = one.iter().flatten().zip(other.iter().flatten());
    let apart = squares(&mut both.map(|(a, b)| f64::from(*a) - f64::from(*b)));
    apart / squares(&mut one.iter().flatten().map(|x| f64::from(*x)))
}

#[test]
fn a_step_has_the_same_gradients_however_its_rows_are_cut_into_passes() {
    use TaskType::{CausalLm, QuestionAnswering, Seq2SeqLm, SequenceClassification, TokenClassification};
    let lora = json!({"lora_dropout": 0.3, "target_modules": "all-linear", "init_lora_weights": false});
    let virtual_tokens = json!({"num_virtual_tokens": 3});
    for (family, task) in [
        ("bert", SequenceClassification),
        ("bert", TokenClassification),
        ("bert", QuestionAnswering),
        ("llama", CausalLm),
        ("llama", SequenceClassification),
        ("gpt2", CausalLm),
        ("t5", Seq2SeqLm),
        ("t5", SequenceClassification),
    ] {
        let backend: Arc<dyn Backend> = Cpu::new();
        let model = load(family, task, &backend);
        let rows = rows(task, &*model);
        let source = Source::new(&*model, &rows);
        let context = Context { model: &*model, backend: &backend, seed: 1, tokenize: &|_| Ok(vec![5]) };
        for (name, changed) in [
            ("lora", &lora),
            ("full", &json!({})),
            ("prompt_tuning", &virtual_tokens),
            ("prefix_tuning", &virtual_tokens),
        ] {
            let about = format!("{family}, {task:?}, {name}");
            let method = adapter::method(name).unwrap();
            let mut settings = (method.defaults)();
            settings.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
            let Ok(tuning) = Tuning::new(method, &settings, &context, 2) else {
                assert!(name != "lora" && name != "full", "{about}");
                continue;
            };
            let whole: &[&[usize]] = &[&[0, 1, 2, 3, 4, 5, 6]];
            let one = gradients(&tuning, &source, whole, (7, false));
            let alone: Vec<Vec<usize>> = (0..7).rev().map(|row| vec![row]).collect();
            let alone: Vec<&[usize]> = alone.iter().map(Vec::as_slice).collect();
            for passes in [&alone, &[&[4, 0][..], &[6, 1, 2], &[5, 3]][..]] {
                for recomputes in [false, true] {
                    let found = distance(&one, &gradients(&tuning, &source, passes, (7, recomputes)));
                    assert!(found < 1e-5, "{about}, {passes:?}: {found:e}");
                }
            }
            // Another key has other masks: there was dropout.
            let other = distance(&one, &gradients(&tuning, &source, whole, (8, false)));
            assert!(other > 1e-2, "{about}: {other:e}");
        }
    }
}
