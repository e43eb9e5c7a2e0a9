use super::*;
use crate::adapter::Tuning;
use crate::model::gguf;
use crate::model::source::Source;
use crate::model::weights::Loader;
use crate::model::{self, Batch, CONFIG, Forward, Labels, TaskType, Wanted};
use crate::progress::Silent;
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use tenfold_tensor::{Cpu, Ragged, without_gradients};

fn write(dir: &Path, format: Dtype, out: &Path, progress: &dyn Progress) -> Result<Written> {
    super::write(&ModelFiles::open(dir)?, format, out, progress)
}

/// The models of all golden folders.
fn models() -> Vec<PathBuf> {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny");
    let mut models: Vec<PathBuf> =
        fs::read_dir(tiny).unwrap().map(|entry| entry.unwrap().path().join("model")).collect();
    models.retain(|model| model.is_dir());
    models.sort();
    assert!(models.len() > 30);
    models
}

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(name).join("model")
}

fn numbers(checkpoint: &Checkpoint) -> BTreeMap<String, (Vec<usize>, Vec<u32>)> {
    let bits = |name: &str| {
        let view = checkpoint.get(name).unwrap();
        (view.shape.clone(), view.to_f32().into_iter().map(f32::to_bits).collect())
    };
    checkpoint.names().map(|name| (name.to_owned(), bits(name))).collect()
}

fn config(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join(CONFIG)).unwrap()).unwrap()
}

#[test]
fn every_family_in_f32_is_what_it_was() {
    let home = tempfile::tempdir().unwrap();
    for (number, model) in models().iter().enumerate() {
        let out = home.path().join(number.to_string());
        let written = write(model, Dtype::F32, &out, &Silent).unwrap();
        let [before, after] = [model, &out].map(|folder| Checkpoint::open(folder).unwrap());
        assert_eq!(numbers(&before), numbers(&after), "{}", model.display());
        assert_eq!(written.formats["F32"], [before.names().count(), written.bytes_before]);
        let (mut before, after) = (config(model), config(&out));
        before["torch_dtype"] = "float32".into();
        assert_eq!(before, after);
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), models().len(), "nothing else is left");
}

#[test]
fn halves_are_those_that_the_engine_makes() {
    let home = tempfile::tempdir().unwrap();
    for (format, name) in [(Dtype::F16, "float16"), (Dtype::Bf16, "bfloat16")] {
        let out = home.path().join(name);
        write(&model("llama"), format, &out, &Silent).unwrap();
        let (before, after) = (Checkpoint::open(&model("llama")).unwrap(), Checkpoint::open(&out).unwrap());
        for name in before.names() {
            let expected = tenfold_tensor::quantize(format, &before.get(name).unwrap().to_f32()).unwrap();
            let found = after.get(name).unwrap();
            assert_eq!(*found.bytes(), expected, "{name}");
            assert_eq!(found.shape, before.get(name).unwrap().shape);
        }
        assert_eq!((&config(&out)["dtype"], &config(&out)["torch_dtype"]), (&name.into(), &name.into()));
    }
}

/// What is in 4 bits is, read again, what a loader makes of the original; the rest is the original.
#[test]
fn every_family_in_nf4_is_what_the_engine_makes_of_it() {
    let (home, backend) = (tempfile::tempdir().unwrap(), Cpu::new());
    let mut refused = Vec::new();
    for (number, folder) in models().iter().enumerate() {
        let about = folder.display();
        let out = home.path().join(number.to_string());
        let written = match write(folder, Dtype::Nf4, &out, &Silent) {
            Ok(written) => written,
            // Rows of 32 and 48 numbers are no whole blocks of 64, and T5's widest maps are never quantized.
            Err(error) => {
                assert!(
                    error.to_string().contains("rows must be a multiple of 64") && !out.exists(),
                    "{error}"
                );
                let name = folder.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
                refused.push(name);
                continue;
            }
        };
        let [before, after] = [folder, &out].map(|folder| Checkpoint::open(folder).unwrap());
        assert!(before.names().eq(after.names()), "{about}");
        let [before, after] = [before, after].map(|checkpoint| Source::Checkpoint(checkpoint.into()));
        let [made, read] = [&before, &after].map(|source| Loader::new(source, &backend, Some(Dtype::Nf4)));
        let skipped = config(&out)["quantization_config"]["llm_int8_skip_modules"].clone();
        let mut four_bit = 0;
        let Source::Checkpoint(checkpoint) = &after else { unreachable!() };
        for name in checkpoint.names() {
            let view = checkpoint.get(name).unwrap();
            let own = before.stored(name).unwrap();
            let skipped = skipped
                .as_array()
                .unwrap()
                .iter()
                .any(|module| *name == format!("{}.weight", module.as_str().unwrap()));
            assert_eq!(skipped, view.shape.len() == 2 && !view.is_linear_map(), "{about} {name}");
            if !view.is_linear_map() {
                assert_eq!(view.to_f32(), own.to_f32(), "{about} {name}");
                continue;
            }
            four_bit += 1;
            let &[rows, cols] = view.shape.as_slice() else { panic!("{about} {name}") };
            if view.shape != own.shape || about.to_string().contains("gpt2") {
                let turned: Vec<f32> =
                    (0..rows * cols).map(|i| own.to_f32()[i % cols * rows + i / cols]).collect();
                assert_eq!(
                    *view.bytes(),
                    tenfold_tensor::quantize(Dtype::Nf4, &turned).unwrap(),
                    "{about} {name}"
                );
                continue;
            }
            let [made, read] =
                [&made, &read].map(|loader| loader.matrix(name.into(), rows, cols).unwrap().tensor);
            assert_eq!((made.dtype(), read.dtype()), (Dtype::Nf4, Dtype::Nf4));
            assert_eq!(made.numbers().unwrap(), read.numbers().unwrap(), "{about} {name}");
            let made = tenfold_tensor::quantize(Dtype::Nf4, &own.to_f32()).unwrap();
            assert_eq!(*view.bytes(), made, "{about} {name}");
        }
        assert_eq!(written.formats.get("nf4").map_or(0, |count| count[0]), four_bit);
        assert!(four_bit > 0, "{about}");
    }
    assert_eq!(
        refused,
        ["gpt2-scaled", "t5", "t5-answer", "t5-classes", "t5-gated", "t5-three", "t5-tokens"]
    );
}

/// Last hidden states of a few tokens.
fn hidden(folder: &Path, dtype: impl Into<Option<Dtype>>) -> Vec<f32> {
    let task = model::usual_task(folder).unwrap();
    let model = model::load(folder, task, &Cpu::new(), dtype).unwrap();
    let ids = vec![5, 17, 60, 3, 3, 41];
    let batch = Batch {
        type_ids: vec![0; ids.len()],
        ragged: Ragged::from_lengths([ids.len()]),
        labels: Labels::none(),
        decoder: None,
        ids,
    };
    let tuning = Tuning::untouched(&*model);
    let forward = Forward::evaluation(&tuning);
    without_gradients(|| model.hidden_states(&forward, &batch, &Wanted::All)).unwrap().numbers().unwrap()
}

/// GPT-2's weights lie the other way round in bitsandbytes' files alone, squares among them.
#[test]
fn conv1d_turns_into_a_linear_map_and_back() {
    let home = tempfile::tempdir().unwrap();
    let [four_bit, plain, again] = ["four_bit", "plain", "again"].map(|name| home.path().join(name));
    write(&model("gpt2"), Dtype::Nf4, &four_bit, &Silent).unwrap();
    write(&four_bit, Dtype::F32, &plain, &Silent).unwrap();
    write(&four_bit, Dtype::Nf4, &again, &Silent).unwrap();
    let open = |folder: &Path| Checkpoint::open(folder).unwrap();
    let name = "transformer.h.0.mlp.c_proj.weight";
    let shapes = [&model("gpt2"), &four_bit, &plain].map(|folder| open(folder).get(name).unwrap().shape);
    assert_eq!(shapes, [[128, 32], [32, 128], [128, 32]]);
    assert!(!config(&plain).as_object().unwrap().contains_key("quantization_config"));
    assert_eq!(fs::read(four_bit.join(WEIGHTS)).unwrap(), fs::read(again.join(WEIGHTS)).unwrap());
    let (stored, widened) = (hidden(&four_bit, None), hidden(&plain, None));
    assert!(stored.iter().zip(&widened).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_ne!(widened, hidden(&model("gpt2"), None));
}

/// Who says that a weight is no matrix is believed: it stays one row.
#[test]
fn what_is_no_matrix_is_not_turned() {
    let home = tempfile::tempdir().unwrap();
    let [four_bit, out] = ["four_bit", "out"].map(|name| home.path().join(name));
    write(&model("gpt2"), Dtype::Nf4, &four_bit, &Silent).unwrap();
    let mut bytes = fs::read(four_bit.join(WEIGHTS)).unwrap();
    let state = b"\"nf4\",\"shape\":[32,128]";
    let places: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place..].starts_with(state)).collect();
    assert_eq!(places.len(), 2);
    for place in places {
        bytes[place..place + state.len()].copy_from_slice(b"\"nf4\",\"shape\":[4096]  ");
    }
    fs::write(four_bit.join(WEIGHTS), bytes).unwrap();
    write(&four_bit, Dtype::F32, &out, &Silent).unwrap();
    let shape = |name: &str| Checkpoint::open(&out).unwrap().get(name).unwrap().shape;
    assert_eq!(shape("transformer.h.0.mlp.c_proj.weight"), [4096]);
    assert_eq!(shape("transformer.h.0.mlp.c_fc.weight"), [32, 128]);
    assert!(model::load(&out, TaskType::CausalLm, &Cpu::new(), None).is_err());
}

#[test]
fn a_folder_in_four_bits_computes_as_the_original_does_in_them() {
    let home = tempfile::tempdir().unwrap();
    for name in ["llama", "bert", "phi3", "gpt_neox"] {
        let out = home.path().join(name);
        write(&model(name), Dtype::Nf4, &out, &Silent).unwrap();
        assert_eq!(hidden(&out, None), hidden(&model(name), Dtype::Nf4), "{name}");
        assert_ne!(hidden(&out, None), hidden(&model(name), None), "{name}");
    }
}

#[test]
fn shards_are_written_and_read_and_each_is_as_large_as_it_may_be() {
    let home = tempfile::tempdir().unwrap();
    let [whole, shards, again] = ["whole", "shards", "again"].map(|name| home.path().join(name));
    write(&model("llama"), Dtype::F32, &whole, &Silent).unwrap();
    write_in_files_of(20_000, &ModelFiles::open(&model("llama")).unwrap(), Dtype::F32, &shards, &Silent)
        .unwrap();
    write(&shards, Dtype::F32, &again, &Silent).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(shards.join(INDEX)).unwrap()).unwrap();
    let files: std::collections::BTreeSet<&str> =
        index["weight_map"].as_object().unwrap().values().map(|file| file.as_str().unwrap()).collect();
    assert!(files.len() > 3);
    assert_eq!(files.first().unwrap(), &format!("model-00001-of-{:05}.safetensors", files.len()));
    let sizes = files.iter().map(|file| fs::metadata(shards.join(file)).unwrap().len());
    assert!(sizes.into_iter().all(|size| size < 22_000));
    let tensors = numbers(&Checkpoint::open(&shards).unwrap());
    assert_eq!(
        index["metadata"]["total_size"],
        tensors.values().map(|(_, bits)| 4 * bits.len()).sum::<usize>()
    );
    assert_eq!(tensors, numbers(&Checkpoint::open(&whole).unwrap()));
    assert_eq!(fs::read(whole.join(WEIGHTS)).unwrap(), fs::read(again.join(WEIGHTS)).unwrap());
}

#[test]
fn other_files_come_along_and_those_of_old_weights_do_not() {
    let home = tempfile::tempdir().unwrap();
    let [from, out] = ["from", "out"].map(|name| home.path().join(name));
    fs::create_dir_all(from.join("1_Pooling")).unwrap();
    fs::create_dir_all(from.join("onnx")).unwrap();
    for entry in fs::read_dir(model("llama")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, from.join(path.file_name().unwrap())).unwrap();
    }
    let words = [
        "tokenizer.json",
        "merges.txt",
        "spiece.model",
        "chat_template.jinja",
        "LICENSE",
        "1_Pooling/config.json",
    ];
    let weights = ["pytorch_model.bin", "onnx/model.onnx", "model.safetensors.sha256", INDEX, ".hidden.json"];
    for name in words.iter().chain(&weights) {
        fs::write(from.join(name), name).unwrap();
    }
    write(&from, Dtype::Bf16, &out, &Silent).unwrap();
    assert!(words.iter().all(|name| fs::read_to_string(out.join(name)).unwrap() == *name));
    assert!(weights.iter().all(|name| !out.join(name).exists()) && !out.join("onnx").exists());
    assert!(out.join("generation_config.json").exists());
}

#[test]
fn what_cannot_be_is_told_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let fault = |from: &Path, format| write(from, format, &out, &Silent).unwrap_err().to_string();
    let words = fault(&model("llama"), Dtype::Q4_0);
    assert!(words.contains("q4_0") && words.contains(".gguf"), "{words}");
    assert!(fault(&home.path().join("none"), Dtype::F32).contains("config.json"));
    fs::create_dir(&out).unwrap();
    write(&model("llama"), Dtype::F32, &out, &Silent).unwrap();
    assert!(fault(&model("llama"), Dtype::F32).contains("one with files in it"));
    assert!(write(&model("llama"), Dtype::F32, &out.join(CONFIG), &Silent).is_err(), "a file is in the way");
    // Numbers that half precision has not.
    let wide = home.path().join("wide");
    fs::create_dir(&wide).unwrap();
    fs::copy(model("llama").join(CONFIG), wide.join(CONFIG)).unwrap();
    let mut tensors = model::checkpoint::read_tensors(&model("llama").join(WEIGHTS)).unwrap();
    tensors.get_mut("model.norm.weight").unwrap().data[3] = 1e6;
    model::checkpoint::write_tensors(&wide.join(WEIGHTS), &tensors, &BTreeMap::new()).unwrap();
    let halves = home.path().join("halves");
    let words = write(&wide, Dtype::F16, &halves, &Silent).unwrap_err().to_string();
    assert!(words.contains("model.norm.weight: expected finite numbers within the range of f16"), "{words}");
    assert!(words.ends_with("take f32, which holds them, found 1e6"), "{words}");
    // And one that would round to infinity in bfloat16, whose exponent is that of f32.
    tensors.get_mut("model.norm.weight").unwrap().data[3] = -3.4e38;
    model::checkpoint::write_tensors(&wide.join(WEIGHTS), &tensors, &BTreeMap::new()).unwrap();
    let words = write(&wide, Dtype::Bf16, &halves, &Silent).unwrap_err().to_string();
    assert!(words.contains("model.norm.weight: expected finite numbers within the range of bf16"), "{words}");
    assert!(words.ends_with("take f32, which holds them, found -3.4e38"), "{words}");
    let mut names: Vec<_> =
        fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["out", "wide"]);
}

/// Asks to stop after so many events.
struct Impatient(AtomicUsize);

impl Progress for Impatient {
    fn event(&self, _: Event) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn a_wish_to_stop_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let progress = Impatient(AtomicUsize::new(5));
    let stopped = write(&model("llama"), Dtype::F32, &home.path().join("out"), &progress);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

/// A GGUF file with the golden Llama's numbers under ggml's names, its rows as they come, and a few words.
fn gguf_file(path: &Path) {
    use gguf::{Array, GgmlType, Tensor, Value};
    let tensors = model::checkpoint::read_tensors(&model("llama").join(WEIGHTS)).unwrap();
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let ggml_name =
        |name: &str| names.iter().fold(name.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs));
    let quantised = |shape: &[usize], data: &[f32]| match shape {
        [_, _] => (GgmlType::Q4_1, tenfold_tensor::quantize(Dtype::Q4_1, data).unwrap()),
        _ => (GgmlType::F32, tenfold_tensor::quantize(Dtype::F32, data).unwrap()),
    };
    let contents: BTreeMap<String, (Vec<usize>, GgmlType, Vec<u8>)> = (tensors.into_iter())
        .map(|(name, tensor)| {
            let (dtype, bytes) = quantised(&tensor.shape, &tensor.data);
            (ggml_name(&name), (tensor.shape, dtype, bytes))
        })
        .collect();
    let letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    let words = ["<unk>", "<s>", "</s>", "\u{2581}"].map(str::to_owned).into_iter();
    let words = words.chain(letters).chain(["ab".into(), "abc".into(), "\u{2581}ab".into()]);
    let words: Vec<String> = words.chain((33..96).map(|i| format!("[{i}]"))).collect();
    let kinds = [2, 3, 3].into_iter().chain([1; 93]).collect();
    let number = Value::U32;
    let metadata = [
        ("general.architecture", Value::String("llama".into())),
        ("llama.embedding_length", number(32)),
        ("llama.block_count", number(2)),
        ("llama.feed_forward_length", number(64)),
        ("llama.attention.head_count", number(4)),
        ("llama.attention.head_count_kv", number(2)),
        ("llama.context_length", number(64)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(5000.0)),
        ("tokenizer.ggml.model", Value::String("llama".into())),
        ("tokenizer.ggml.tokens", Value::Array(Array::Strings(words))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds))),
        ("tokenizer.ggml.scores", Value::Array(Array::F32((0..96).map(|i| -(i as f32)).collect()))),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
        ("tokenizer.ggml.unknown_token_id", number(0)),
        (
            "tokenizer.chat_template",
            Value::String("{% for m in messages %}{{ bos_token + m.content }}{% endfor %}".into()),
        ),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    let described = |(name, (shape, dtype, _)): (&String, &(Vec<usize>, GgmlType, Vec<u8>))| {
        (name.clone(), Tensor { dtype: *dtype, shape: shape.clone() })
    };
    let tensors = contents.iter().map(described).collect();
    let put = |name: &str, file: &mut dyn std::io::Write| {
        file.write_all(&contents[name].2).map_err(crate::Error::io("write", path))
    };
    gguf::write(path, &metadata, &tensors, put).unwrap();
}

#[test]
fn a_gguf_file_becomes_a_folder_of_the_same_model() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("model.gguf");
    gguf_file(&file);
    for format in [Dtype::F32, Dtype::Bf16, Dtype::Nf4] {
        let out = home.path().join(format.name());
        let written = write(&file, format, &out, &Silent).unwrap();
        let rest = if format == Dtype::Bf16 { "BF16" } else { "F32" };
        assert_eq!(written.formats[rest][0], if format == Dtype::Nf4 { 18 } else { 20 });
        // In bf16 the norms are rounded too, which the engine keeps in f32.
        let (ours, theirs) = (hidden(&out, None), hidden(&file, format));
        let off = ours.iter().zip(&theirs).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off <= if format == Dtype::Bf16 { 0.03 } else { 0.0 }, "{format:?}: {off}");
        let found = config(&out);
        assert_eq!(found["architectures"], json!(["LlamaForCausalLM"]));
        assert_eq!(
            (&found["rope_theta"], &found["rope_parameters"]["rope_theta"]),
            (&json!(5000.0), &json!(5000.0))
        );
        assert_eq!((&found["bos_token_id"], &found["eos_token_id"]), (&json!(1), &json!(2)));
        let [theirs, ours] = [&file, &out].map(|model| ModelFiles::open(model).unwrap().tokenizer().unwrap());
        let text = "abc cab</s> ab";
        assert_eq!(ours.encode(text, None, 64).unwrap(), theirs.encode(text, None, 64).unwrap());
        assert_eq!((ours.bos_id(), ours.eos_ids()), (theirs.bos_id(), theirs.eos_ids()));
        let messages = [crate::data::language::Message::new("user", "ab")];
        let [theirs, ours] = [&file, &out].map(|model| {
            let template = ModelFiles::open(model).unwrap().chat_template().unwrap().unwrap();
            template.render(&messages, None, true).unwrap()
        });
        assert_eq!((ours.as_str(), &ours), ("<s>ab", &theirs));
    }
}
