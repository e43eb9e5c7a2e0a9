//! Generation against computing every answer anew for every token: each family, each method, alone and in batches.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenfold::adapter::{Context, Tuning, file};
use tenfold::generate::{FinishReason, Generated, Generator, Memory, Sampling, Watch};
use tenfold::model::{self, Batch, Forward, Labels, Model, TaskType, Wanted};
use tenfold::score::argmax;
use tenfold_tensor::{Backend, Cpu, Dtype, Ragged, without_gradients};

const NEW: usize = 6;

fn families() -> Vec<PathBuf> {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny");
    let folders = std::fs::read_dir(tiny).unwrap().map(|entry| entry.unwrap().path());
    let speaks = |home: &PathBuf| {
        let config = std::fs::read_to_string(home.join("model/config.json")).unwrap();
        // Ropes that change with the length turn cached keys otherwise than new ones, as in Transformers.
        let changes = ["\"longrope\"", "\"dynamic\""].iter().any(|kind| config.contains(kind));
        let names = ["ForCausalLM", "LMHeadModel", "ForConditionalGeneration"];
        !changes && names.iter().any(|name| config.contains(name))
    };
    let mut folders: Vec<PathBuf> = folders.filter(speaks).collect();
    folders.sort();
    assert!(folders.len() >= 5, "{folders:?}");
    folders
}

fn task(home: &Path) -> TaskType {
    model::usual_task(&home.join("model")).unwrap()
}

struct Tiny {
    home: PathBuf,
    backend: Arc<dyn Backend>,
    model: Arc<dyn Model>,
}

impl Tiny {
    fn load(home: &Path) -> Tiny {
        let backend = Cpu::new();
        let model = model::load(&home.join("model"), task(home), &backend, Dtype::F32).unwrap();
        Tiny { home: home.to_owned(), backend, model }
    }

    fn family(name: &str) -> Tiny {
        let home = families().into_iter().find(|home| home.ends_with(name)).unwrap();
        Tiny::load(&home)
    }

    fn untouched(&self) -> Tuning {
        Tuning::untouched(&*self.model)
    }

    /// The base model, and every trained adapter that is there for it, merged too where that can be.
    fn tunings(&self) -> Vec<(String, Tuning)> {
        let context =
            Context { model: &*self.model, backend: &self.backend, seed: 0, tokenize: &|_| Ok(vec![5]) };
        let mut tunings = vec![("base".to_owned(), self.untouched())];
        let folders = std::fs::read_dir(&self.home).unwrap().map(|entry| entry.unwrap().path());
        let mut folders: Vec<PathBuf> = folders.map(|folder| folder.join("trained")).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
            let name = format!("{}", folder.strip_prefix(&self.home).unwrap().display());
            let tuning = file::read(&folder, &context).unwrap();
            if let Some(merged) = tuning.merged(&*self.model, &self.backend).unwrap() {
                tunings.push((format!("{name}, merged"), merged));
            }
            tunings.push((name, tuning));
        }
        tunings
    }

    /// Three prompts of different lengths.
    fn prompts(&self) -> Vec<Vec<u32>> {
        let vocabulary = self.model.extents().vocab_size as u32;
        [(9u32, 3u32), (7, 11), (14, 5)]
            .map(|(length, step)| (0..length).map(|at| 2 + (at * step + length) % (vocabulary - 2)).collect())
            .into()
    }

    fn generate(&self, tuning: &Tuning, sampling: &Sampling, prompts: &[Vec<u32>]) -> Vec<Generated> {
        let generator = Generator::new(&*self.model, tuning, sampling, &[], &letters).unwrap();
        generator.generate(prompts, &mut ()).unwrap()
    }

    /// The likeliest answer, the whole sequence computed anew for each token.
    fn recomputed(&self, tuning: &Tuning, prompt: &[u32]) -> Vec<u32> {
        let (forward, start) = (Forward::evaluation(tuning), self.model.decoder_start());
        let mut answer = Vec::new();
        for _ in 0..NEW {
            let (ids, decoder) = match start {
                Some(start) => (prompt.to_vec(), Some([&[start], answer.as_slice()].concat())),
                None => ([prompt, &answer].concat(), None),
            };
            let batch = Batch {
                type_ids: vec![0; ids.len()],
                ragged: Ragged::from_lengths([ids.len()]),
                ids,
                labels: Labels::none(),
                decoder: decoder.map(|ids| (ids.clone(), Ragged::from_lengths([ids.len()]))),
            };
            let logits = without_gradients(|| {
                let hidden = self.model.hidden_states(&forward, &batch, &Wanted::Last(vec![1])).unwrap();
                self.model.vocabulary().unwrap().logits(&forward, &hidden).unwrap()
            });
            answer.push(argmax(&logits.numbers().unwrap()).unwrap() as u32);
        }
        answer
    }
}

/// A letter for each id.
fn letters(ids: &[u32]) -> tenfold::Result<String> {
    Ok(ids.iter().map(|id| char::from(b'a' + (id % 26) as u8)).collect())
}

fn greedy() -> Sampling {
    Sampling { max_new_tokens: NEW, ..Sampling::default() }
}

fn sampled(seed: u64) -> Sampling {
    Sampling { do_sample: true, temperature: 1.5, top_k: 0, seed, ..greedy() }
}

fn ids(generated: &[Generated]) -> Vec<Vec<u32>> {
    generated.iter().map(|generated| generated.ids.clone()).collect()
}

#[test]
fn a_cache_changes_no_answer_of_any_family_with_any_method_alone_or_in_a_batch() {
    let (mut all, mut changed) = (0, 0);
    for home in families() {
        let tiny = Tiny::load(&home);
        let (prompts, mut answers) = (tiny.prompts(), Vec::new());
        for (name, tuning) in tiny.tunings() {
            let about = format!("{} with {name}", home.display());
            let expected: Vec<Vec<u32>> =
                prompts.iter().map(|prompt| tiny.recomputed(&tuning, prompt)).collect();
            assert_eq!(ids(&tiny.generate(&tuning, &greedy(), &prompts)), expected, "{about}");
            for (prompt, expected) in prompts.iter().zip(&expected) {
                let alone = tiny.generate(&tuning, &greedy(), std::slice::from_ref(prompt));
                assert_eq!(ids(&alone), std::slice::from_ref(expected), "{about}");
            }
            answers.push(expected);
        }
        let tuned = answers.len() > 1;
        answers.sort();
        answers.dedup();
        all += usize::from(tuned);
        changed += usize::from(answers.len() > 1);
    }
    // Adapters of five steps do not move every family's likeliest words, but those of most.
    assert!(
        all > 5 && 2 * changed > all,
        "methods change answers of {changed} families in {all}: were they on?"
    );
}

#[test]
fn an_answer_that_is_finished_leaves_the_others_alone() {
    for name in ["llama", "t5"] {
        let tiny = Tiny::family(name);
        let (tuning, prompts) = (tiny.untouched(), tiny.prompts());
        let whole = ids(&tiny.generate(&tuning, &sampled(3), &prompts));
        // The second token of one answer ends all answers that come to it.
        let end = whole[1][1];
        let sampling = sampled(3);
        let ends = [end];
        let generator = Generator::new(&*tiny.model, &tuning, &sampling, &ends, &letters).unwrap();
        let cut = generator.generate(&prompts, &mut ()).unwrap();
        for (cut, whole) in cut.iter().zip(&whole) {
            let length = whole.iter().position(|id| *id == end).map_or(NEW, |at| at + 1);
            let (reason, said) = match whole.contains(&end) {
                true => (FinishReason::Eos, length - 1),
                false => (FinishReason::Length, length),
            };
            assert_eq!((cut.ids.as_slice(), cut.finish_reason), (&whole[..length], reason), "{name}");
            assert_eq!(cut.text, letters(&whole[..said]).unwrap());
        }
        assert!(cut.iter().any(|cut| cut.ids.len() < NEW) && cut.iter().any(|cut| cut.ids.len() == NEW));
    }
}

#[test]
fn a_seed_decides_an_answer_whatever_the_batch_and_the_threads() {
    let with_threads = |threads, work: &(dyn Fn() -> Vec<Vec<u32>> + Sync)| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    };
    for name in ["llama", "gpt2", "t5"] {
        let tiny = Tiny::family(name);
        let (tuning, prompts) = (tiny.untouched(), tiny.prompts());
        let all = |seed| ids(&tiny.generate(&tuning, &sampled(seed), &prompts));
        let expected = all(1);
        let one = with_threads(1, &|| ids(&tiny.generate(&tiny.untouched(), &sampled(1), &prompts)));
        let two = with_threads(2, &|| ids(&tiny.generate(&tiny.untouched(), &sampled(1), &prompts)));
        assert_eq!((&one, &two), (&expected, &expected), "{name}");
        for (prompt, expected) in prompts.iter().zip(&expected) {
            let alone = tiny.generate(&tuning, &sampled(1), std::slice::from_ref(prompt));
            assert_eq!(ids(&alone), std::slice::from_ref(expected), "{name}");
        }
        assert_ne!(all(2), expected, "{name}");
    }
}

#[test]
fn a_memory_changes_no_answer_of_a_conversation() {
    let tiny = Tiny::family("qwen3");
    for (name, tuning) in tiny.tunings() {
        let sampling = greedy();
        let generator = Generator::new(&*tiny.model, &tuning, &sampling, &[], &letters).unwrap();
        let mut memory = Memory::default();
        let mut said = tiny.prompts()[0].clone();
        // Goes on from the answer; then takes back some of it; then begins anew.
        for turn in 0..4 {
            let prompt = vec![said.clone()];
            let fresh = ids(&generator.generate(&prompt, &mut ()).unwrap());
            let gone_on = ids(&generator.go_on(&mut memory, &prompt, &mut ()).unwrap());
            assert_eq!(gone_on, fresh, "{name}, turn {turn}");
            said.extend(&fresh[0]);
            match turn {
                1 => said.truncate(said.len() - 4),
                2 => said = tiny.prompts()[1].clone(),
                _ => {}
            }
            said.push(7);
        }
    }
}

#[derive(Default)]
struct Listener {
    said: [String; 3],
    pieces: usize,
    most: usize,
}

impl Watch for Listener {
    fn piece(&mut self, prompt: usize, piece: &str) -> tenfold::Result<()> {
        self.said[prompt].push_str(piece);
        self.pieces += 1;
        Ok(())
    }

    fn go_on(&self) -> bool {
        self.pieces < self.most
    }
}

#[test]
fn pieces_add_up_to_the_texts_and_who_has_enough_gets_what_there_is() {
    let tiny = Tiny::family("llama");
    let (tuning, sampling) = (tiny.untouched(), sampled(5));
    let generator = Generator::new(&*tiny.model, &tuning, &sampling, &[], &letters).unwrap();
    for (most, tokens, reason) in [(100, NEW, FinishReason::Length), (6, 2, FinishReason::Interrupted)] {
        let mut listener = Listener { most, ..Listener::default() };
        let generated = generator.generate(&tiny.prompts(), &mut listener).unwrap();
        for (generated, said) in generated.iter().zip(&listener.said) {
            assert_eq!((&generated.text, generated.ids.len()), (said, tokens));
            assert_eq!(generated.finish_reason, reason);
        }
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_computed() {
    let tiny = Tiny::family("gpt2");
    let tuning = tiny.untouched();
    let words = |sampling: &Sampling, prompts: &[Vec<u32>]| {
        let generator = Generator::new(&*tiny.model, &tuning, sampling, &[], &letters);
        generator.and_then(|generator| generator.generate(prompts, &mut ())).unwrap_err().to_string()
    };
    let most = tiny.model.extents().max_positions;
    let long = words(&Sampling { max_new_tokens: most, ..greedy() }, &[vec![3]]);
    assert!(long.contains("prompt 1") && long.contains(&format!("at most {most} tokens")), "{long}");
    assert!(words(&greedy(), &[vec![3], vec![]]).contains("prompt 2: expected a token or more"));
    let bad = words(&Sampling { temperature: -1.0, top_p: 2.0, ..greedy() }, &[vec![3]]);
    assert!(bad.contains("temperature") && bad.contains("top_p"), "{bad}");
}
