//! Evaluations of language models: texts weighed side by side against each by itself, and evaluations that are stopped.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tenfold::adapter::{Context, Tuning, file};
use tenfold::data::language::{Question, Sequence};
use tenfold::eval::{self, Asker, Continuation, Evaluation, Identity, TaskResult, Weigher};
use tenfold::model::tokenizer::Tokenizer;
use tenfold::model::{self, Batch, Forward, IGNORE, Model};
use tenfold::progress::{Event, Progress, Silent};
use tenfold::score;
use tenfold::task::Task;
use tenfold::train::{Asked, Rows, Source};
use tenfold::{Error, Result};
use tenfold_tensor::{Cpu, Dtype, Ragged, without_gradients};

fn home(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(name)
}

fn load(name: &str) -> Arc<dyn Model> {
    let dir = home(name).join("model");
    model::load(&dir, model::usual_task(&dir).unwrap(), &Cpu::new(), Dtype::F32).unwrap()
}

/// The base as it is, and with every adapter that was trained for it.
fn tunings(name: &str, model: &dyn Model) -> Vec<Tuning> {
    let backend = Cpu::new();
    let context = Context { model, backend: &backend, seed: 0, tokenize: &|_| Ok(vec![5]) };
    let folders = std::fs::read_dir(home(name)).unwrap().map(|entry| entry.unwrap().path().join("trained"));
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    folders.sort();
    let trained = folders.iter().map(|folder| file::read(folder, &context).unwrap());
    std::iter::once(Tuning::untouched(model)).chain(trained).collect()
}

/// Sum of ln p, each label by itself in one pass over one sequence.
fn alone(model: &dyn Model, tuning: &Tuning, text: &Continuation) -> f64 {
    let (ids, labels, decoder) = match model.decoder_start() {
        None => {
            let ids = [text.context.as_slice(), &text.tokens].concat();
            let mut labels = vec![IGNORE; text.context.len() - 1];
            labels.extend(&text.tokens);
            (ids[..ids.len() - 1].to_vec(), labels, None)
        }
        Some(start) => {
            let shifted: Vec<u32> =
                std::iter::once(start).chain(text.tokens.iter().copied()).take(text.tokens.len()).collect();
            let ragged = Ragged::from_lengths([shifted.len()]);
            (text.context.clone(), text.tokens.clone(), Some((shifted, ragged)))
        }
    };
    let batch = Batch {
        type_ids: vec![0; ids.len()],
        ragged: Ragged::from_lengths([ids.len()]),
        ids,
        labels: labels.into(),
        decoder,
    };
    let forward = Forward::evaluation(tuning);
    let logs = without_gradients(|| model::log_probabilities(model, &forward, &batch)).unwrap();
    logs.iter().map(|log| f64::from(*log)).sum()
}

#[test]
fn texts_weigh_the_same_side_by_side_as_each_by_itself_in_every_family_with_every_method() {
    for name in ["llama", "gpt2", "gpt_neox", "qwen3", "gemma3", "t5"] {
        let model = load(name);
        // Beginnings in common of any length, the same input with several ends, a text within another.
        let context =
            |length: u32, step: u32| (0..length).map(|at| 3 + (at * step) % 40).collect::<Vec<u32>>();
        let mut texts = Vec::new();
        for (length, step) in [(1, 1), (9, 3), (9, 3), (12, 3), (5, 7), (2, 7)] {
            for tokens in [vec![7], vec![8], vec![7, 9, 4], vec![7, 9, 5]] {
                texts.push(Continuation { context: context(length, step), tokens });
            }
        }
        for tuning in tunings(name, &*model) {
            let weighed = Weigher::new(&*model, &tuning).unwrap().weigh(&texts, || Ok(())).unwrap();
            for (text, likelihood) in texts.iter().zip(&weighed) {
                let expected = alone(&*model, &tuning, text);
                let off = (likelihood.log_likelihood - expected).abs();
                assert!(off < 1e-4, "{name}, {}: {off} at {text:?}", tuning.method().name);
            }
            let by_chance = weighed.iter().filter(|likelihood| likelihood.is_greedy).count();
            assert!(by_chance < weighed.len(), "{name}");
        }
    }
}

#[test]
fn what_a_model_has_no_room_for_is_cut_at_its_beginning_and_nothing_is_no_text() {
    let model = load("llama");
    let tuning = Tuning::untouched(&*model);
    let weigher = Weigher::new(&*model, &tuning).unwrap();
    let room = weigher.room();
    let long: Vec<u32> = (0..room as u32 + 20).map(|at| 3 + at % 50).collect();
    let text = |context: &[u32]| Continuation { context: context.to_vec(), tokens: vec![5, 6] };
    let cut = &long[long.len() - (room - 1)..];
    let weighed = weigher.weigh(&[text(&long), text(cut)], || Ok(())).unwrap();
    assert_eq!(weighed[0], weighed[1]);
    assert_eq!([&long[..], cut].map(|context| weigher.cut(&text(context))), [21, 0]);
    for (context, tokens) in [(vec![], vec![1]), (vec![1], vec![]), (vec![1], vec![3; room + 1])] {
        assert!(weigher.weigh(&[Continuation { context, tokens }], || Ok(())).is_err());
    }
    let stopped = weigher.weigh(&[text(&long)], || Err(Error::Interrupted));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

/// A tokenizer of 96 words, "w0" and so on, for the tiny models.
fn tokenizer(folder: &Path) -> Tokenizer {
    let words: Vec<String> = (0..96).map(|id| format!("\"w{id}\": {id}")).collect();
    let json = format!(
        "{{\"version\": \"1.0\", \"model\": {{\"type\": \"WordLevel\", \"unk_token\": \"w0\", \"vocab\": {{{}}}}}, \
         \"pre_tokenizer\": {{\"type\": \"WhitespaceSplit\"}}}}",
        words.join(", ")
    );
    std::fs::write(folder.join("tokenizer.json"), json).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), "{\"bos_token\": \"w1\", \"eos_token\": \"w2\"}")
        .unwrap();
    Tokenizer::from_dir(folder).unwrap()
}

const CHOICES: &str = "name = \"words\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\noutput_type = \"multiple_choice\"\n\
    metric = \"acc\"\nfurther_metrics = [\"acc_norm\", \"acc_mutual_info\", \"f1_macro\"]\nnum_fewshot = 2\n\
    doc_to_text = \"{{q}}\"\ndoc_to_choice = [\"w7\", \"w8 w9\", \"w10\"]\ndoc_to_target = \"{{gold}}\"\n\
    [[domains]]\nname = \"one\"\ntrain = \"train.jsonl\"\ntest = \"test.jsonl\"\n";
const TEXTS: &str = "name = \"texts\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\noutput_type = \"loglikelihood_rolling\"\n\
    metric = \"word_perplexity\"\nfurther_metrics = [\"bits_per_byte\"]\ndoc_to_target = \"{{q}} {{q}}\"\n\
    [[domains]]\nname = \"one\"\ntest = \"test.jsonl\"\n";
const ANSWERS: &str = "name = \"answers\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\noutput_type = \"generate_until\"\n\
    metric = \"exact_match\"\nfurther_metrics = [\"bleu\", \"rouge_l\"]\ndoc_to_text = \"{{q}}\"\ndoc_to_target = \"w{{gold}}\"\n\
    max_gen_toks = 4\n[[domains]]\nname = \"one\"\ntest = \"test.jsonl\"\n";

fn tasks(folder: &Path) -> Vec<Task> {
    let row =
        |i: usize| format!("{{\"q\": \"w{} w{} w{}\", \"gold\": {}}}\n", i % 50, i % 7, 3 + i % 11, i % 3);
    let rows = |count: usize| (0..count).map(row).collect::<String>();
    std::fs::write(folder.join("train.jsonl"), rows(30)).unwrap();
    std::fs::write(folder.join("test.jsonl"), rows(150)).unwrap();
    [CHOICES, TEXTS, ANSWERS]
        .map(|text| {
            let path = folder.join("task.toml");
            std::fs::write(&path, text).unwrap();
            Task::load(path.to_str().unwrap()).unwrap()
        })
        .into()
}

/// Asks to stop after so many questions whether to.
struct Impatient(AtomicUsize);

impl Progress for Impatient {
    fn event(&self, _event: Event) {}

    fn stop_requested(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

struct Told(std::sync::Mutex<Vec<String>>);

impl Progress for Told {
    fn event(&self, event: Event) {
        if let Event::Note(note) = event {
            self.0.lock().unwrap().push(note);
        }
    }
}

fn evaluate(
    task: &Task,
    folder: &Path,
    out: &Path,
    progress: &dyn Progress,
    skip: bool,
) -> Result<TaskResult> {
    let model = load("llama");
    let tuning = Tuning::untouched(&*model);
    let tokenizer = tokenizer(folder);
    let identity = Identity {
        model: "tiny".into(),
        model_sha256: "0".into(),
        weights: "f32".into(),
        adapter: None,
        adapter_sha256: None,
        merged: false,
    };
    let evaluation =
        Evaluation { task, num_fewshot: None, limit: None, skip_malformed: skip, out: Some(out), identity };
    evaluation.run(&Asker { model: &*model, tuning: &tuning, tokenizer: &tokenizer }, progress)
}

fn written(result: &TaskResult) -> [Vec<u8>; 2] {
    let folder = result.folder.as_ref().unwrap();
    ["samples/one.jsonl", "results.json"].map(|name| std::fs::read(folder.join(name)).unwrap())
}

#[test]
fn an_evaluation_that_was_stopped_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for task in tasks(folder.path()) {
        let [whole, stopped] = [1, 2].map(|run| folder.path().join(format!("{}-{run}", task.name)));
        let result = evaluate(&task, folder.path(), &whole, &Silent, false).unwrap();
        assert_eq!(result.domains[0].rows, 150);
        let mut stops = 0;
        for questions in [2, 5, 20] {
            let impatient = Impatient(AtomicUsize::new(questions));
            match evaluate(&task, folder.path(), &stopped, &impatient, false) {
                Err(Error::Interrupted) => stops += 1,
                other => drop(other.unwrap()),
            }
            // A line that was being written when the machine went down.
            let hash = result.folder.as_ref().unwrap().file_name().unwrap();
            let samples = stopped.join(&task.name).join(hash).join("samples/one.jsonl");
            let mut half = std::fs::read(&samples).unwrap();
            half.truncate(half.len().saturating_sub(9));
            std::fs::write(&samples, half).unwrap();
        }
        assert!(stops > 0, "{}", task.name);
        let again = evaluate(&task, folder.path(), &stopped, &Silent, false).unwrap();
        assert!(written(&again) == written(&result), "{}", task.name);
        // An answer that was changed is not believed.
        let samples = again.folder.as_ref().unwrap().join("samples/one.jsonl");
        let mut bytes = std::fs::read(&samples).unwrap();
        let place = bytes.iter().rposition(|byte| byte.is_ascii_digit()).unwrap();
        bytes[place] ^= 1;
        std::fs::write(&samples, bytes).unwrap();
        let again = evaluate(&task, folder.path(), &stopped, &Silent, false).unwrap();
        assert!(written(&again) == written(&result), "{}", task.name);
    }
}

#[test]
fn other_questions_have_a_folder_of_their_own_and_malformed_rows_are_told_of_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let task = &tasks(folder.path())[0];
    let out = folder.path().join("out");
    let before = evaluate(task, folder.path(), &out, &Silent, false).unwrap();
    let answers = written(&before);
    // The same rows, put to the model in another way.
    std::fs::write(
        folder.path().join("task.toml"),
        CHOICES.replace("num_fewshot", "target_delimiter = \"\"\nnum_fewshot"),
    )
    .unwrap();
    let apart = Task::load(folder.path().join("task.toml").to_str().unwrap()).unwrap();
    assert_ne!(evaluate(&apart, folder.path(), &out, &Silent, false).unwrap().folder, before.folder);
    let mut rows = std::fs::read_to_string(folder.path().join("test.jsonl")).unwrap();
    rows.push_str("{\"q\": \"w3\", \"gold\": 9}\n");
    std::fs::write(folder.path().join("test.jsonl"), rows.replacen("w0 w0", "w1 w0", 1)).unwrap();
    let error = evaluate(task, folder.path(), &out, &Silent, false).unwrap_err().to_string();
    assert!(error.contains("line 151, doc_to_target") && error.contains("1 of 151 rows"), "{error}");
    let told = Told(std::sync::Mutex::default());
    let after = evaluate(task, folder.path(), &out, &told, true).unwrap();
    assert_eq!((after.domains[0].rows, after.domains[0].malformed.len()), (150, 1));
    assert!(told.0.lock().unwrap()[0].contains("line 151"));
    assert_ne!(after.folder, before.folder);
    assert!(written(&before) == answers);
    let [samples, results] = written(&after);
    assert!(String::from_utf8(results).unwrap().contains("line 151"));
    assert_eq!(samples.iter().filter(|byte| **byte == b'\n').count(), 151);
}

#[test]
fn prompts_that_a_model_has_no_room_for_are_counted_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let model = load("llama");
    let tuning = Tuning::untouched(&*model);
    let room = Weigher::new(&*model, &tuning).unwrap().room();
    let [choices, texts, answers] = <[Task; 3]>::try_from(tasks(folder.path())).unwrap();
    let row = |words: usize| format!("{{\"q\": \"{}\", \"gold\": 1}}\n", vec!["w5"; words].join(" "));
    let rows: String = (0..40).map(|i| row(if i % 20 == 7 { room + 9 } else { 3 })).collect();
    std::fs::write(folder.path().join("test.jsonl"), rows).unwrap();
    std::fs::write(folder.path().join("train.jsonl"), row(2).repeat(3)).unwrap();
    // A text of any length is weighed whole, in windows.
    for (task, cut) in [(&choices, 2), (&texts, 0), (&answers, 2)] {
        let out = folder.path().join("out");
        // The second time, from what was kept.
        for _ in 0..2 {
            let told = Told(std::sync::Mutex::default());
            let result = evaluate(task, folder.path(), &out, &told, false).unwrap();
            assert_eq!(result.domains[0].cut, cut, "{}", task.name);
            let told = told.0.into_inner().unwrap();
            let expected = "one: 2 of 40 prompts are longer than the model's window";
            assert_eq!(told.iter().filter(|note| note.starts_with(expected)).count(), cut / 2, "{told:?}");
            let [samples, _] = written(&result);
            let samples = String::from_utf8(samples).unwrap();
            assert_eq!(samples.lines().filter(|line| line.contains("\"cut\":")).count(), cut);
        }
    }
    // In a study the same question comes alone.
    let question = |words: usize| Question::Choice {
        contexts: vec![vec!["w5"; words].join(" ")],
        choices: vec!["w7".into(), "w8 w9".into()],
        golds: vec![0],
        answers: Vec::new(),
        references: Vec::new(),
    };
    let sequence = Sequence { ids: vec![5, 5, 7], labelled: vec![false, false, true] };
    let way = Arc::new(choices.questions().unwrap().clone());
    let asked = Asked {
        tokenizer: Arc::new(tokenizer(folder.path())),
        // The last token of a text is not read: the second has room with one choice and not with the other.
        rows: [2, room, room - 1, room + 50].map(|length| (way.clone(), question(length))).into(),
    };
    let rows = Rows::sequences(vec![sequence; 4], None).asked_as(asked);
    let rows = rows.scored_by(score::scoring("accuracy").unwrap());
    let scored = eval::score(&tuning, &Source::new(&*model, &rows), || Ok(())).unwrap();
    assert_eq!((scored.cut, scored.test("one", "accuracy").cut), (2, 2));
}
