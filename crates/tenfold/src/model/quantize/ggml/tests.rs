//! Tests of writing GGUF files: folders whose figures are known, files of files, and what is refused.

use super::*;
use crate::adapter::Tuning;
use crate::model::checkpoint::{HostTensor, read_tensors, write_tensors};
use crate::model::{Batch, Forward, Labels, TaskType, Wanted, load, logits, usual_task};
use crate::progress::Silent;
use serde_json::{Value as Json, json};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use tenfold_tensor::{Cpu, Ragged, without_gradients};

fn write(dir: &Path, format: Dtype, out: &Path, progress: &dyn Progress) -> Result<Written> {
    super::write(&ModelFiles::open(dir)?, format, out, progress)
}

/// Blank, "a", "b", and the blank before an "a": the smallest vocabulary of SentencePiece's kind.
fn pieces() -> Json {
    let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "\u{2581}": 3, "a": 4, "b": 5, "\u{2581}a": 6});
    let added = ["<unk>", "<s>", "</s>"].iter().enumerate().map(|(id, token)| {
        json!({"id": id, "content": token, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false})
    });
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "vocab": vocab,
            "merges": [["\u{2581}", "a"]]}})
}

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(name).join("model")
}

/// A copy of a tiny model with a tokenizer and another configuration, and room for what is written.
fn folder(name: &str, change: impl FnOnce(&mut Json)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: String| fs::write(folder.path().join(name), content).unwrap();
    fs::copy(tiny(name).join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let mut config = serde_json::from_slice(&fs::read(tiny(name).join("config.json")).unwrap()).unwrap();
    change(&mut config);
    put("config.json", config.to_string());
    match config["model_type"].as_str() {
        Some("bert") => put("vocab.txt", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "c"].join("\n")),
        _ => {
            put("tokenizer.json", pieces().to_string());
            put("tokenizer_config.json", r#"{"bos_token": "<s>", "eos_token": "</s>"}"#.into());
        }
    }
    folder
}

fn written(dir: &Path, format: Dtype) -> PathBuf {
    let out = dir.join(format!("{}.gguf", format.name()));
    write(dir, format, &out, &Silent).unwrap();
    out
}

fn fault(dir: &Path, format: Dtype, out: &str) -> String {
    let error = write(dir, format, &dir.join(out), &Silent).unwrap_err().to_string();
    assert!(!dir.join(out).exists(), "{error}");
    error
}

fn states(dir: &Path) -> Vec<f32> {
    states_in(dir, Dtype::F32)
}

/// What the model, kept in a format, says of two short texts: logits, or the states that a head would read.
fn states_in(dir: &Path, format: Dtype) -> Vec<f32> {
    let model = load(dir, usual_task(dir).unwrap(), &Cpu::new(), format).unwrap();
    let ids: Vec<u32> = (0..24).map(|i| i * 13 % 96).collect();
    let ragged = Ragged::from_lengths([15, 9]);
    let batch = Batch { type_ids: vec![0; ids.len()], ids, ragged, labels: Labels::none(), decoder: None };
    let tuning = Tuning::untouched(&*model);
    let forward = Forward::evaluation(&tuning);
    let states = without_gradients(|| match model.task() {
        TaskType::CausalLm => logits(&*model, &forward, &batch),
        _ => model.hidden_states(&forward, &batch, &Wanted::Pooled),
    });
    states.unwrap().numbers().unwrap()
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().fold(0f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

#[test]
fn folders_compute_the_same_from_a_gguf_file() {
    for name in ["llama", "llama-linear", "mistral", "qwen2", "qwen2-yarn", "qwen3", "bert"] {
        let folder = folder(name, |config| {
            config["sliding_window"] = Json::Null;
        });
        let plain = states(folder.path());
        assert_eq!(states(&written(folder.path(), Dtype::F32)), plain, "{name}");
        for (format, most) in [(Dtype::F16, 2e-3), (Dtype::Bf16, 2e-2), (Dtype::Q8_0, 0.03)] {
            let off = apart(&plain, &states(&written(folder.path(), format)));
            assert!(off > 0.0 && off < most, "{name} in {}: {off}", format.name());
        }
        for format in [Dtype::Q4_0, Dtype::Q4_1] {
            let [of_folder, of_file] =
                [folder.path(), &written(folder.path(), format)].map(|dir| states_in(dir, format));
            assert_eq!(of_folder, of_file, "{name} in {}", format.name());
        }
    }
}

/// Each frequency has a divisor of its own there, which is rounded once.
#[test]
fn llama_3s_rope_becomes_divisors() {
    let folder = folder("llama-llama3", |_| ());
    let (out, plain) = (written(folder.path(), Dtype::F32), states(folder.path()));
    let off = apart(&plain, &states(&out));
    assert!(off < 1e-6, "{off}");
    let file = Gguf::open(&out).unwrap();
    let divisors = file.require("rope_freqs.weight", &[4]).unwrap();
    let divisors = ggml::dtype(divisors.dtype).to_f32(divisors.bytes());
    assert!(
        divisors.is_sorted() && divisors[0] < 8.0 && divisors[3] == 8.0,
        "slow pairs by the factor: {divisors:?}"
    );
    let unstretched = self::folder("llama-llama3", |config| {
        config["rope_parameters"] =
            json!({"rope_type": "default", "rope_theta": config["rope_parameters"]["rope_theta"]});
    });
    assert!(apart(&plain, &states(unstretched.path())) > 1e-5, "the stretch matters here");
}

#[test]
fn biases_of_llama_are_turned_as_their_rows_are() {
    let folder = folder("llama", |config| {
        config["attention_bias"] = true.into();
        config["mlp_bias"] = true.into();
    });
    let path = folder.path().join("model.safetensors");
    let mut tensors = read_tensors(&path).unwrap();
    let weights: Vec<(String, usize)> = tensors
        .iter()
        .filter(|(name, _)| name.contains("_proj"))
        .map(|(name, weight)| (name.clone(), weight.shape[0]))
        .collect();
    for (name, rows) in weights {
        let data = (0..rows).map(|row| row as f32 / rows as f32 - 0.4).collect();
        tensors.insert(name.replace(".weight", ".bias"), HostTensor { shape: vec![rows], data });
    }
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
    assert_eq!(states(&written(folder.path(), Dtype::F32)), states(folder.path()));
}

#[test]
fn a_file_of_a_folder_says_what_llama_cpp_needs() {
    let folder = folder("llama", |_| ());
    let out = folder.path().join("x.gguf");
    let report = write(folder.path(), Dtype::Q4_1, &out, &Silent).unwrap();
    // 14 matrices and the embeddings; two norms of each block and the last one.
    let counts: Vec<_> =
        report.formats.iter().map(|(format, [tensors, _])| (format.as_str(), *tensors)).collect();
    assert_eq!(counts, [("F32", 5), ("Q4_1", 15)]);
    assert_eq!(
        report.bytes_before,
        read_tensors(&folder.path().join("model.safetensors"))
            .unwrap()
            .values()
            .map(|tensor| 4 * tensor.data.len())
            .sum::<usize>()
    );
    let file = Gguf::open(&out).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.string("general.architecture").unwrap(), "llama");
    for (key, expected) in [
        ("general.file_type", 3),
        ("general.quantization_version", 2),
        ("llama.attention.head_count_kv", 2),
        ("llama.rope.dimension_count", 8),
        ("llama.block_count", 2),
        ("tokenizer.ggml.eos_token_id", 2),
    ] {
        assert_eq!(metadata.u32(key).unwrap(), expected, "{key}");
    }
    assert_eq!(metadata.strings("tokenizer.ggml.tokens").unwrap().len(), 96);
    assert!(file.get("output.weight").is_none(), "the output is the table of embeddings");
    let again = folder.path().join("y.gguf");
    write(folder.path(), Dtype::Q4_1, &again, &Silent).unwrap();
    assert_eq!(fs::read(&out).unwrap(), fs::read(&again).unwrap());
}

#[test]
fn small_tables_of_bert_stay_as_they_are() {
    let folder = folder("bert", |_| ());
    let file = Gguf::open(&written(folder.path(), Dtype::Q8_0)).unwrap();
    let format = |name: &str| file.get(name).unwrap().dtype;
    for name in ["position_embd.weight", "token_types.weight", "token_embd_norm.weight", "blk.0.attn_q.bias"]
    {
        assert_eq!(format(name), GgmlType::F32, "{name}");
    }
    for name in ["token_embd.weight", "blk.1.ffn_down.weight", "cls.weight"] {
        assert_eq!(format(name), GgmlType::Q8_0, "{name}");
    }
    let classifier =
        read_tensors(&tiny("bert").join("model.safetensors")).unwrap()["classifier.bias"].data.clone();
    let stored = file.get("cls.output.bias").unwrap();
    assert_eq!(ggml::dtype(stored.dtype).to_f32(stored.bytes()), classifier);
}

#[test]
fn a_gguf_file_keeps_its_metadata_and_what_is_in_the_format_already() {
    let folder = folder("llama", |_| ());
    let first = written(folder.path(), Dtype::Q8_0);
    let [same, less] = [Dtype::Q8_0, Dtype::Q4_0].map(|format| {
        let out = folder.path().join(format!("of-{}.gguf", format.name()));
        write(&first, format, &out, &Silent).unwrap();
        out
    });
    assert_eq!(fs::read(&same).unwrap(), fs::read(&first).unwrap());
    let [first, less] = [&first, &less].map(|path| Gguf::open(path).unwrap());
    let others = |gguf: &Gguf| {
        let rest = gguf.metadata().iter().filter(|(key, _)| *key != "general.file_type");
        rest.map(|(key, value)| (key.to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(others(&first), others(&less));
    assert_eq!(less.metadata().u32("general.file_type").unwrap(), 2);
    let [before, after] = [&first, &less].map(|gguf| gguf.require("blk.0.attn_q.weight", &[32, 32]).unwrap());
    let quantised = tenfold_tensor::quantize(Dtype::Q4_0, &ggml::dtype(before.dtype).to_f32(before.bytes()));
    assert_eq!(
        (after.dtype, after.bytes()),
        (GgmlType::Q4_0, quantised.unwrap().as_slice()),
        "rows in ggml's order"
    );
    let [before, after] = [&first, &less].map(|gguf| gguf.require("output_norm.weight", &[32]).unwrap());
    assert_eq!(before.bytes(), after.bytes());
}

#[test]
fn what_a_gguf_file_has_no_place_for_is_refused_before_anything_is_written() {
    let plain = |name: &str| folder(name, |_| ());
    let of = |name: &str, key: &'static str, value: Json| folder(name, move |config| config[key] = value);
    let rope = |kind: Json| of("llama", "rope_parameters", kind);
    for (folder, expected) in [
        (plain("gemma"), "the family gemma as a GGUF file is not supported: llama, mistral"),
        (plain("mistral"), "sliding_window 4 in a GGUF file"),
        (plain("llama-dynamic"), "the rope_type dynamic in a GGUF file"),
        (of("llama-classes", "tie_word_embeddings", true.into()), "score.weight in a GGUF file"),
        (of("llama", "hidden_act", "gelu".into()), "hidden_act: expected \"silu\", as ggml's llama has it"),
        (of("bert", "hidden_act", "relu".into()), "hidden_act: expected \"gelu\""),
        (of("qwen3", "attention_bias", true.into()), "attention_bias: expected false"),
        (rope(json!({"rope_type": "yarn", "factor": 4.0, "beta_fast": 16})), "yarn with settings of its own"),
        (
            rope(json!({"rope_type": "default", "partial_rotary_factor": 0.5})),
            "partial_rotary_factor: expected 1, or none",
        ),
        (of("llama", "vocab_size", 95.into()), "model.embed_tokens.weight"),
        (of("llama", "num_hidden_layers", 1.into()), "model.layers.1."),
        (of("llama", "num_hidden_layers", 3.into()), "model.layers.2."),
    ] {
        let error = fault(folder.path(), Dtype::Q8_0, "x.gguf");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let llama = plain("llama");
    let error = fault(llama.path(), Dtype::Nf4, "x.gguf");
    assert!(error.contains("in nf4 is not supported: ggml has no such format; write to a folder"), "{error}");
    fs::remove_file(llama.path().join("tokenizer.json")).unwrap();
    assert!(fault(llama.path(), Dtype::F16, "x.gguf").contains("tokenizer: expected tokenizer.json"));
    let bert = plain("bert");
    let out = bert.path().join("x.gguf");
    fs::write(&out, "mine").unwrap();
    let error = write(bert.path(), Dtype::F16, &out, &Silent).unwrap_err().to_string();
    assert!(error.contains("--out: expected a file that is yet to be written"), "{error}");
    assert_eq!(fs::read(&out).unwrap(), b"mine");
}

#[test]
fn a_number_that_a_format_cannot_hold_is_named_and_nothing_is_left() {
    let folder = folder("qwen3", |_| ());
    let path = folder.path().join("model.safetensors");
    let mut tensors = read_tensors(&path).unwrap();
    tensors.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().data[7] = f32::NAN;
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let before = fs::read_dir(folder.path()).unwrap().count();
    let error = fault(folder.path(), Dtype::Q4_0, "x.gguf");
    assert!(
        error.contains("blk.1.ffn_up.weight: expected finite numbers within the range of q4_0"),
        "{error}"
    );
    tensors.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().data[7] = -3.4e38;
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
    for (format, name) in [(Dtype::Bf16, "bf16"), (Dtype::F16, "f16"), (Dtype::Q8_0, "q8_0")] {
        let error = fault(folder.path(), format, "x.gguf");
        let told = format!("range of {name}; take f32, which holds them, found -3.4e38");
        assert!(error.contains("blk.1.ffn_up.weight: ") && error.contains(&told), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
}

/// Wants to stop once it has seen so many bytes written.
struct Impatient(AtomicUsize);

impl Progress for Impatient {
    fn event(&self, event: Event) {
        if let Event::Advanced { done, .. } = event {
            self.0.store(done as usize, Ordering::Relaxed);
        }
    }

    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 5_000
    }
}

#[test]
fn one_who_stops_it_finds_no_half_a_file() {
    let folder = folder("llama", |_| ());
    let before = fs::read_dir(folder.path()).unwrap().count();
    let impatient = Impatient(AtomicUsize::new(0));
    let outcome = write(folder.path(), Dtype::F32, &folder.path().join("x.gguf"), &impatient);
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    assert!(impatient.stop_requested());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
}

/// The real model, where it is at hand: the same bits and the same ids.
#[test]
fn all_minilm_l6_v2_is_the_same_from_a_gguf_file() {
    let Some(dir) = crate::model::store::at_hand("all-minilm-l6-v2") else {
        eprintln!("not run: all-minilm-l6-v2 is neither in TENFOLD_MODEL nor in the cache");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.gguf");
    write(&dir, Dtype::F32, &out, &Silent).unwrap();
    assert_eq!(states(&out), states(&dir));
    let [own, theirs] = [&dir, &out].map(|dir| ModelFiles::open(dir).unwrap().tokenizer().unwrap());
    let golden = include_str!("../../../../tests/golden/real/all-minilm-l6-v2.json");
    let golden: Json = serde_json::from_str(golden).unwrap();
    for text in golden["texts"].as_array().unwrap() {
        let text = text.as_str().unwrap();
        assert_eq!(own.encode(text, Some(text), 512).unwrap(), theirs.encode(text, Some(text), 512).unwrap());
    }
}
