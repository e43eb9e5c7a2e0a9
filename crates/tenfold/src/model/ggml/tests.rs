//! Tests of reading GGUF files in ggml's words.

use super::*;

#[test]
fn names_are_translated_with_their_block() {
    let name =
        |architecture: &str, theirs: &str| Architecture::named(architecture).unwrap().our_name(theirs, 13);
    assert_eq!(
        name("llama", "blk.12.attn_q.weight").as_deref(),
        Some("model.layers.12.self_attn.q_proj.weight")
    );
    assert_eq!(name("llama", "output.weight").as_deref(), Some("lm_head.weight"));
    assert_eq!(name("bert", "token_embd_norm.bias").as_deref(), Some("bert.embeddings.LayerNorm.bias"));
    for (theirs, why) in [
        ("attn_q.weight", "a block's tensor without its block"),
        ("blk.0.ssm_in.weight", "another architecture's"),
        ("blk.13.attn_q.weight", "a block beyond the last"),
        ("blk.01.attn_q.weight", "another spelling of a block's number"),
        ("blk.0.attn_q.scale", "no weight and no bias"),
    ] {
        assert_eq!(name("llama", theirs), None, "{why}");
    }
    for architecture in ["llama", "gemma2", "phi3", "gpt2", "gptneox", "bert"] {
        let all: Vec<_> = tensors(architecture, 2).collect();
        assert!(all.iter().any(|(theirs, _)| theirs == "blk.1.ffn_up.bias"));
        assert!(all.iter().all(|(theirs, ours)| name(architecture, theirs).as_ref() == Some(ours)));
    }
}

fn column(rows: &[u8]) -> View {
    View::of(Dtype::U8, vec![rows.len(), 1], rows.to_vec())
}

#[test]
fn rows_of_two_heads_go_into_halves_and_back() {
    let (view, layout) = (column(&[0, 2, 1, 3, 4, 6, 5, 7]), Layout::Neighbours { heads: 2 });
    let halves = layout.restored(&view).unwrap();
    assert_eq!(*halves.bytes(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(layout.stored(&halves).unwrap().bytes(), view.bytes());
    assert!(Layout::Neighbours { heads: 3 }.restored(&view).is_none());
    assert!(Layout::Neighbours { heads: 8 }.restored(&view).is_none(), "heads of one row");
}

#[test]
fn queries_keys_and_values_go_head_by_head_and_back() {
    // Two heads of two rows: q0 q0 q1 q1, k0 k0 k1 k1, v0 v0 v1 v1.
    let (view, layout) = (column(&[0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]), Layout::ByPart { heads: 2 });
    let by_head = layout.restored(&view).unwrap();
    assert_eq!(*by_head.bytes(), [0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23]);
    assert_eq!(layout.stored(&by_head).unwrap().bytes(), view.bytes());
}

#[test]
fn only_the_tensors_that_llama_cpp_changes_are_changed() {
    for (architecture, tensor, layout) in [
        ("llama", "blk.0.attn_k.bias", Layout::Neighbours { heads: 2 }),
        ("smollm3", "blk.3.attn_q.weight", Layout::Neighbours { heads: 4 }),
        ("qwen2", "blk.0.attn_q.weight", Layout::Same),
        ("gemma", "blk.0.attn_norm.weight", Layout::PlusOne),
        ("gemma3", "blk.0.attn_q_norm.weight", Layout::PlusOne),
        ("gemma2", "output_norm.weight", Layout::PlusOne),
        ("gemma2", "blk.0.ffn_up.weight", Layout::Same),
        ("phi3", "blk.0.attn_qkv.weight", Layout::Same),
        ("gpt2", "blk.0.attn_qkv.weight", Layout::LinearMap),
        ("gpt2", "blk.0.attn_qkv.bias", Layout::Same),
        ("gpt2", "output.weight", Layout::Same),
        ("gptneox", "blk.0.attn_qkv.bias", Layout::ByPart { heads: 4 }),
    ] {
        assert_eq!(Layout::of(architecture, tensor, [4, 2]), layout, "{architecture} {tensor}");
    }
}

/// Files made by `tests/ggml_families.py`: each with the logits that Transformers has for two sequences.
mod files {
    use super::*;
    use crate::adapter::Tuning;
    use crate::model::checkpoint::read_tensors;
    use crate::model::gguf::{Array, Tensor, Value, write};
    use crate::model::{Batch, Forward, Labels, ModelFiles, TaskType, load, logits, quantize, usual_task};
    use crate::progress::Silent;
    use std::path::{Path, PathBuf};
    use tenfold_tensor::{Cpu, Dtype, Meta, Ragged, without_gradients};

    const NAMES: [&str; 12] = [
        "llama",
        "qwen2",
        "qwen3",
        "smollm3",
        "gemma",
        "gemma2",
        "gemma3",
        "phi3",
        "phi3-partial",
        "gpt2",
        "gptneox",
        "gptneox-serial",
    ];

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf").join(name)
    }

    fn files(dir: &Path) -> ModelFiles {
        ModelFiles::open(dir).unwrap()
    }

    /// What there is to know about a file and its tokenizer.
    fn notes(file: &Path) -> Vec<String> {
        let files = files(file);
        let mut notes = files.load(TaskType::CausalLm, &Meta::new(), None).unwrap().notes;
        notes.extend(files.tokenizer().unwrap().notes().iter().cloned());
        notes
    }

    fn file(name: &str) -> PathBuf {
        golden(&format!("{name}.gguf"))
    }

    /// The logits of a model for the sequences that the figures are of.
    fn logits_of(model: &Path, name: &str) -> Vec<f32> {
        let figures = read_tensors(&golden(&format!("{name}.safetensors"))).unwrap();
        let ids = &figures["input_ids"];
        let ragged = Ragged::from_lengths(vec![ids.shape[1]; ids.shape[0]]);
        let ids: Vec<u32> = ids.data.iter().map(|id| *id as u32).collect();
        let batch =
            Batch { type_ids: vec![0; ids.len()], ids, ragged, labels: Labels::none(), decoder: None };
        let model = load(model, TaskType::CausalLm, &Cpu::new(), None).unwrap();
        let tuning = Tuning::untouched(&*model);
        let states = without_gradients(|| logits(&*model, &Forward::evaluation(&tuning), &batch));
        states.unwrap().numbers().unwrap()
    }

    #[track_caller]
    fn check(found: &[f32], name: &str, about: &str) {
        let figures = read_tensors(&golden(&format!("{name}.safetensors"))).unwrap();
        let expected = &figures["logits"].data;
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(off < 2e-4, "{name} {about}: logits off by {off:e}");
    }

    #[test]
    fn every_architecture_computes_what_transformers_does() {
        for name in NAMES {
            assert_eq!(usual_task(&file(name)).unwrap(), TaskType::CausalLm);
            check(&logits_of(&file(name), name), name, "as it is");
            let model = load(&file(name), TaskType::CausalLm, &Cpu::new(), None).unwrap();
            assert_eq!(
                model.word_embeddings().tensor.dtype(),
                Dtype::Q5_0,
                "{name}: rows are looked up in blocks"
            );
            assert_eq!(notes(&file(name)), Vec::<String>::new());
        }
    }

    #[test]
    fn a_file_written_anew_computes_the_same() {
        for name in NAMES {
            let folder = tempfile::tempdir().unwrap();
            let [plain, again] = [folder.path().join("folder"), folder.path().join("again.gguf")];
            let written = quantize::quantize(&files(&file(name)), Dtype::F32, &plain, &Silent).unwrap();
            assert!(written.changed > 0 && written.kept.is_empty(), "{name}: {written:?}");
            check(&logits_of(&plain, name), name, "as a folder");
            quantize::quantize(&files(&file(name)), Dtype::F32, &again, &Silent).unwrap();
            check(&logits_of(&again, name), name, "as a file in f32");
        }
    }

    /// The file of a name with some keys changed, or removed where there is no value.
    fn changed(folder: &Path, name: &str, changes: &[(&str, Option<Value>)]) -> PathBuf {
        let gguf = Gguf::open(&file(name)).unwrap();
        let mut metadata: BTreeMap<String, Value> =
            gguf.metadata().iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        for (key, value) in changes {
            match value {
                Some(value) => metadata.insert(key.to_string(), value.clone()),
                None => metadata.remove(*key),
            };
        }
        let described = |name: &str| {
            let view = gguf.get(name).unwrap();
            (name.to_owned(), Tensor { dtype: view.dtype, shape: view.shape })
        };
        let tensors: BTreeMap<String, Tensor> = gguf.names().map(described).collect();
        let path = folder.join("changed.gguf");
        let put = |name: &str, out: &mut dyn std::io::Write| {
            out.write_all(gguf.get(name).unwrap().bytes()).map_err(Error::io("write", "changed"))
        };
        write(&path, &metadata, &tensors, put).unwrap();
        path
    }

    fn number(number: u32) -> Option<Value> {
        Some(Value::U32(number))
    }

    fn text(text: &str) -> Option<Value> {
        Some(Value::String(text.into()))
    }

    #[test]
    fn keys_that_contradict_the_tensors_or_change_the_result_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, key: &str, value: Option<Value>| {
            let path = changed(folder.path(), name, &[(key, value)]);
            load(&path, TaskType::CausalLm, &Cpu::new(), None).err().map(|error| error.to_string())
        };
        for (name, key, value, expected) in [
            ("llama", "llama.rope.dimension_count", number(4), "expected 8, the width of a head"),
            ("llama", "llama.vocab_size", number(95), "expected 96, the rows of token_embd.weight, found 95"),
            ("llama", "llama.block_count", number(1), "expected a tensor that an llama model of 1 blocks"),
            ("llama", "llama.block_count", number(3), "model.layers.2."),
            ("llama", "llama.attention.head_count", number(2), "expected 16, the width of a head"),
            ("llama", "llama.attention.head_count_kv", number(4), "self_attn.k_proj.weight"),
            ("llama", "llama.attention.key_length", number(16), "llama.rope.dimension_count"),
            ("llama", "llama.attention.value_length", number(4), "llama.rope.dimension_count"),
            ("llama", "llama.expert_count", number(8), "llama.expert_count = 8 is not supported"),
            ("llama", "llama.attention.sliding_window", number(9), "llama.attention.sliding_window = 9"),
            ("llama", "llama.attention.causal", Some(Value::Bool(false)), "expected true, found false"),
            ("llama", "llama.pooling_type", number(1), "a text is judged by its last token"),
            ("llama", "llama.logit_scale", Some(Value::F32(0.5)), "llama.logit_scale = 0.5"),
            ("llama", "llama.rope.scaling.type", text("linear"), "none beside the tensor rope_freqs.weight"),
            (
                "qwen2",
                "qwen2.rope.scaling.type",
                text("longrope"),
                "rope.scaling.type: expected none, linear",
            ),
            ("qwen2", "qwen2.rope.scaling.yarn_ext_factor", Some(Value::F32(0.5)), "expected 1, found 0.5"),
            (
                "qwen3",
                "qwen3.attention.value_length",
                number(8),
                "expected 16, as attention.key_length, found 8",
            ),
            ("phi3", "phi3.rope.dimension_count", number(7), "an even number up to 8"),
            ("gpt2", "gpt2.context_length", number(32), "expected 64, the rows of position_embd.weight"),
            ("gptneox", "gptneox.attention.head_count_kv", number(2), "expected 4, as attention.head_count"),
            (
                "gemma3",
                "gemma3.attention.sliding_window_pattern",
                Some(Value::Array(Array::Bool(vec![true]))),
                "a truth value for each of 7 blocks",
            ),
            (
                "llama",
                "general.architecture",
                text("mamba"),
                "the architecture \"mamba\" is not supported: known are llama, qwen2",
            ),
            ("llama", "general.type", text("adapter"), "general.type: expected \"model\", found \"adapter\""),
            ("llama", "llama.attention.layer_norm_rms_epsilon", None, "layer_norm_rms_epsilon"),
        ] {
            let error = of(name, key, value).unwrap_or_else(|| panic!("{key} of {name} is accepted"));
            assert!(error.contains(expected), "{key}: {error}");
        }
        for (name, key, value) in [
            ("llama", "llama.expert_count", number(0)),
            ("llama", "llama.attention.causal", Some(Value::Bool(true))),
            ("llama", "llama.rope.scaling.type", text("none")),
            ("llama", "llama.attention.head_count_kv", Some(Value::Array(Array::I32(vec![2, 2])))),
            ("qwen2", "qwen2.pooling_type", number(3)),
            ("qwen2", "qwen2.residual_scale", Some(Value::F32(1.0))),
            ("llama", "general.type", None),
        ] {
            assert_eq!(of(name, key, value), None, "{key} changes nothing");
        }
    }

    /// What a key says must show in the logits: none is read and then forgotten.
    #[test]
    fn keys_that_are_read_change_the_result() {
        let folder = tempfile::tempdir().unwrap();
        for (name, key, value) in [
            ("llama", "llama.rope.freq_base", Some(Value::F32(10_000.0))),
            ("llama", "llama.attention.layer_norm_rms_epsilon", Some(Value::F32(0.1))),
            ("qwen2", "qwen2.rope.scaling.factor", Some(Value::F32(8.0))),
            ("qwen2", "qwen2.rope.scaling.yarn_beta_fast", Some(Value::F32(0.05))),
            ("qwen2", "qwen2.rope.scaling.yarn_beta_slow", Some(Value::F32(0.01))),
            ("qwen2", "qwen2.rope.scaling.original_context_length", number(64)),
            ("gemma2", "gemma2.attn_logit_softcapping", None),
            ("gemma2", "gemma2.final_logit_softcapping", Some(Value::F32(0.0))),
            ("gemma2", "gemma2.attention.sliding_window", number(3)),
            ("gemma3", "gemma3.attention.sliding_window_pattern", number(2)),
            ("gemma3", "gemma3.rope.scaling.factor", Some(Value::F32(2.0))),
            ("gemma3", "gemma3.rope.freq_base_swa", Some(Value::F32(100.0))),
            ("gemma3", "gemma3.attention.sliding_window", number(0)),
            ("phi3", "phi3.rope.scaling.attn_factor", Some(Value::F32(2.0))),
            ("phi3", "phi3.rope.scaling.original_context_length", number(32)),
            ("phi3", "phi3.attention.sliding_window", number(0)),
            ("phi3-partial", "phi3.rope.dimension_count", number(8)),
            ("gptneox", "gptneox.use_parallel_residual", Some(Value::Bool(false))),
            ("gptneox", "gptneox.rope.dimension_count", number(8)),
        ] {
            let before = logits_of(&file(name), name);
            let after = logits_of(&changed(folder.path(), name, &[(key, value)]), name);
            assert!(before != after, "{key}");
        }
    }

    #[test]
    fn keys_that_nobody_knows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = changed(folder.path(), "llama", &[("llama.mood", text("bright"))]);
        let notes = notes(&path);
        assert!(notes.len() == 1 && notes[0].contains("llama.mood = \"bright\" is not known"), "{notes:?}");
    }

    #[test]
    fn quantizing_says_what_it_did_and_refuses_to_do_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.gguf");
        // Blocks of 64 do not fit rows of 32 and 48.
        let narrow = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny/gpt2-scaled/model");
        let fault = quantize::quantize(&files(&narrow), Dtype::Nf4, &folder.path().join("nf4"), &Silent);
        let fault = fault.unwrap_err().to_string();
        assert!(
            fault.contains("rows must be a multiple of 64 numbers") && fault.contains("c_attn"),
            "{fault}"
        );
        assert!(!folder.path().join("nf4").exists());
        let written = quantize::quantize(&files(&file("llama")), Dtype::Q4_0, &out, &Silent).unwrap();
        let kept: Vec<_> = written.kept.iter().map(|(why, names)| (*why, names.len())).collect();
        // Two blocks of seven matrices and the table; two norms of each block, the last one, and the divisors.
        assert_eq!((written.changed + written.already, kept), (15, vec![(quantize::Kept::Vector, 6)]));
        assert!(written.changed > 0 && written.already > 0);
        let again = quantize::quantize(&files(&out), Dtype::Q4_0, &folder.path().join("again.gguf"), &Silent)
            .unwrap();
        assert_eq!((again.changed, again.already), (0, 15));
    }
}
