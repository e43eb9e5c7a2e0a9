//! Damaged and malicious model and adapter folders: an error that names the file, never a panic.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Extents, Fixture};
use serde_json::{Value, json};
use std::path::Path;
use tenfold::adapter::{Context, file};
use tenfold::model::{self, Forward, TaskType, tokenizer::Tokenizer};
use tenfold::train::{Rows, Source, Target};
use tenfold_tensor::{Backend, Cpu, Dtype, random};

const WEIGHTS: &str = "model/model.safetensors";
const QUERY: &str = "bert.encoder.layer.0.attention.self.query.weight";
const KEY: &str = "bert.encoder.layer.0.attention.self.key.weight";

/// A safetensors file with its header changed.
fn with_header(file: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &file[8 + length..]].concat()
}

/// A file with its tensor data's bytes changed from a place on.
fn with_data(file: &[u8], place: usize, bytes: &[u8]) -> Vec<u8> {
    let start = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize + place;
    [&file[..start], bytes, &file[start + bytes.len()..]].concat()
}

#[test]
fn weights_that_are_not_what_they_should_be_are_refused() {
    let fixture = Fixture::new();
    let good = fixture.read(WEIGHTS);
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut cases: Vec<(String, Vec<u8>, &str)> = [0, 4, 8, 100, 8 + header, good.len() / 2, good.len() - 1]
        .into_iter()
        .map(|length| (format!("cut to {length} bytes"), good[..length].to_vec(), "expected"))
        .collect();
    let huge = |length: u64| [&length.to_le_bytes(), &good[8..]].concat();
    let mut add = |what: &str, bytes: Vec<u8>, word| cases.push((what.into(), bytes, word));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    add("a pointer to it", pointer.to_vec(), "git lfs pull");
    add("what torch.save writes", b"PK\x03\x04\0\0\0\0\0\0".to_vec(), "a zip archive");
    add("one byte too many", [&good[..], b"x"].concat(), "up to the file's last byte");
    add("a header of u64::MAX bytes", huge(u64::MAX), "one of 18446744073709551615");
    add("a header of i64::MAX bytes", huge(i64::MAX as u64), "a header of at most");
    let header = |change: &dyn Fn(&mut Value)| with_header(&good, change);
    add(
        "overlapping tensors",
        header(&|h| h[QUERY]["data_offsets"] = h[KEY]["data_offsets"].clone()),
        "overlap",
    );
    add(
        "offsets outside",
        header(&|h| h[QUERY]["data_offsets"] = json!([0, 1u64 << 60])),
        "data_offsets within",
    );
    add("offsets backwards", header(&|h| h[QUERY]["data_offsets"] = json!([64, 0])), "data_offsets within");
    add("negative offsets", header(&|h| h[QUERY]["data_offsets"] = json!([-64, 0])), QUERY);
    add(
        "a shape without end",
        header(&|h| h[QUERY]["shape"] = json!([1u64 << 62, 1u64 << 62])),
        "memory can hold",
    );
    add(
        "another shape",
        header(&|h| h[QUERY]["shape"] = json!([8, 32])),
        "expected shape [16, 16], found shape [8, 32]",
    );
    add("another type", header(&|h| h[QUERY]["dtype"] = json!("I64")), "for I64 of shape [16, 16]");
    add("no known type", header(&|h| h[QUERY]["dtype"] = json!("F99")), "F99");
    add("a missing tensor", header(&|h| rename(h, QUERY, "x")), QUERY);
    add("no tensors", [&2u64.to_le_bytes()[..], b"{}"].concat(), "expected");
    add("not a number", with_data(&good, 0, &f32::NAN.to_le_bytes()), "expected finite numbers");
    add("infinite", with_data(&good, 64, &f32::INFINITY.to_le_bytes()), "expected finite numbers");
    for (what, bytes, word) in cases {
        fixture.write(WEIGHTS, bytes);
        fixture.short_run("a").is_refused(&what, &[WEIGHTS, word]);
    }
    fixture.write(WEIGHTS, good);
    fixture.short_run("a").done();
}

fn rename(header: &mut Value, from: &str, to: &str) {
    let tensor = header.as_object_mut().unwrap().remove(from).unwrap();
    header[to] = tensor;
}

#[test]
fn configurations_that_make_no_model_are_refused() {
    let fixture = Fixture::new();
    let name = "model/config.json";
    let good = fixture.read(name);
    let with = |key: &str, value: Value| {
        let mut config: Value = serde_json::from_slice(&good).unwrap();
        config[key] = value;
        config.to_string().into_bytes()
    };
    let cases = [
        ("cut", good[..good.len() / 2].to_vec(), name),
        ("empty", Vec::new(), name),
        ("a list", b"[]".to_vec(), name),
        ("another family", with("model_type", json!("gpt9")), "one of bert"),
        ("no heads", with("num_attention_heads", json!(0)), "num_attention_heads"),
        ("heads that do not divide", with("num_attention_heads", json!(3)), "num_attention_heads"),
        ("no width", with("hidden_size", json!(0)), "hidden_size"),
        ("negative width", with("hidden_size", json!(-16)), name),
        ("huge width", with("hidden_size", json!(1u64 << 62)), "hidden_size"),
        ("other width", with("hidden_size", json!(32)), WEIGHTS),
        ("huge vocabulary", with("vocab_size", json!(u64::MAX)), "vocab_size"),
        ("no vocabulary", with("vocab_size", json!(0)), "vocab_size"),
        ("huge inner width", with("intermediate_size", json!(1u64 << 60)), "intermediate_size"),
        ("endless layers", with("num_hidden_layers", json!(u64::MAX)), name),
        ("too many layers", with("num_hidden_layers", json!(9000)), "encoder.layer.2"),
        ("no positions", with("max_position_embeddings", json!(0)), name),
        ("impossible dropout", with("hidden_dropout_prob", json!(2.0)), "hidden_dropout_prob"),
        ("unknown activation", with("hidden_act", json!("sine")), "hidden_act"),
        ("negative epsilon", with("layer_norm_eps", json!(-1.0)), "layer_norm_eps"),
        ("a word for a number", with("hidden_size", json!("wide")), "hidden_size"),
        ("a decoder", with("is_decoder", json!(true)), "is_decoder"),
        ("pruned heads", with("pruned_heads", json!({"0": [1]})), "pruned_heads"),
        ("quantised weights", with("quantization_config", json!({"quant_method": "gptq"})), "found \"gptq\""),
        ("fewer layers than the weights", with("num_hidden_layers", json!(1)), "num_hidden_layers = 1"),
        (
            "a pointer to it",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            "git lfs pull",
        ),
        ("a web page", b"<!DOCTYPE html><html><body>Not found</body></html>".to_vec(), "an HTML page"),
    ];
    for (what, bytes, word) in cases {
        fixture.write(name, bytes);
        fixture.short_run("a").is_refused(what, &[word, "expected"]);
    }
    fixture.write(name, b"{\"model_type\": \"\xff\"}");
    fixture.short_run("a").is_refused("not UTF-8", &[name, "UTF-8"]);
}

#[test]
fn tokenizers_that_do_not_fit_are_refused() {
    let fixture = Fixture::new();
    let name = "model/tokenizer.json";
    let good = fixture.read(name);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut tokenizer: Value = serde_json::from_slice(&good).unwrap();
        change(&mut tokenizer);
        tokenizer.to_string().into_bytes()
    };
    let decoder = String::from_utf8(good.clone()).unwrap().find("\"cleanup\"").unwrap();
    let template = json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 7}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 7}}, {"Sequence": {"id": "B", "type_id": 7}}],
        "special_tokens": {}});
    let cases = [
        ("cut", good[..good.len() / 2].to_vec()),
        // Here the library panics.
        ("cut within the decoder", good[..decoder].to_vec()),
        ("empty", Vec::new()),
        ("a list", b"[]".to_vec()),
        ("nothing in it", b"{}".to_vec()),
        ("not UTF-8", b"\xff\xfe{}".to_vec()),
        ("deeply nested", "[".repeat(200_000).into_bytes()),
        ("another kind of model", with(&|t| t["model"]["type"] = json!("Magic"))),
        ("no words", with(&|t| (t["model"]["vocab"], t["added_tokens"]) = (json!({}), json!([])))),
        ("more words than embeddings", with(&|t| t["model"]["vocab"]["film"] = json!(4_000_000_000u32))),
        ("an unknown token that is none", with(&|t| t["model"]["unk_token"] = json!("?"))),
        ("a special token that is none", with(&|t| t["post_processor"]["cls"] = json!(["[CLS]", 999]))),
        ("a type that is none", with(&|t| t["post_processor"] = template.clone())),
    ];
    fixture.write("train.tsv", "text\tlabel\n".to_owned() + &"zebra crossing\tgood\nfilm\tbad\n".repeat(20));
    for (what, bytes) in cases {
        fixture.write(name, bytes);
        fixture.short_run("a").is_refused(what, &[name, "expected"]);
    }
}

/// An adapter as a short run leaves it.
fn adapter(fixture: &Fixture) -> String {
    fixture.short_run("run").done();
    fixture.copy(&format!("{}/adapter", fixture.only_trial("run")), "adapter");
    fixture.write("texts.txt", "a good film\nwe slept\n");
    "adapter".into()
}

#[test]
fn half_written_and_malicious_adapters_are_refused() {
    let fixture = Fixture::new();
    let folder = adapter(&fixture);
    let (config, tensors) = (format!("{folder}/{}", file::CONFIG), format!("{folder}/{}", file::TENSORS));
    let (good_config, good_tensors) = (fixture.read(&config), fixture.read(&tensors));
    let with = |key: &str, value: Value| {
        let mut config: Value = serde_json::from_slice(&good_config).unwrap();
        config[key] = value;
        config.to_string().into_bytes()
    };
    let eval = || fixture.run(&["eval", "--model", "model", "--adapter", &folder, "--texts", "texts.txt"]);
    let inspect = || fixture.run(&["adapter", "inspect", &folder]);
    assert_eq!(eval().done().stdout.lines().count(), 2);
    inspect().done();

    for (what, bytes) in [
        ("cut", &good_config[..good_config.len() / 2]),
        ("empty", b""),
        ("a list", b"[]"),
        ("not UTF-8", b"\xff"),
    ] {
        fixture.write(&config, bytes);
        inspect().is_refused(what, &[&config]);
        eval().is_refused(what, &[&config]);
    }
    for (what, bytes, word) in [
        ("an unknown method", with("peft_type", json!("MAGIC")), "MAGIC"),
        ("a method that is a number", with("peft_type", json!(3)), "peft_type"),
        ("a setting of another kind", with("r", json!("many")), file::CONFIG),
        ("a negative rank", with("r", json!(-1)), file::CONFIG),
        ("a huge rank", with("r", json!(1u64 << 60)), file::CONFIG),
        ("another rank", with("r", json!(4)), file::TENSORS),
        ("modules that are not there", with("target_modules", json!(["nowhere"])), "target_modules"),
        ("no regular expression", with("target_modules", json!("(")), "regular expression"),
        ("a huge regular expression", with("target_modules", json!("(a{999}){999}")), "regular expression"),
        ("an unknown setting", with("use_magic", json!(true)), "use_magic"),
        (
            "a setting of PEFT's",
            with("use_bdlora", json!(true)),
            "use_bdlora = true: BD-LoRA: PEFT has this setting",
        ),
        ("a type of PEFT's", with("peft_type", json!("LOHA")), "LOHA (LoHa) is not supported: PEFT has it"),
        (
            "a type like one of ours",
            with("peft_type", json!("GRALORA")),
            "GRALORA (GraLoRA) is not supported",
        ),
        ("another task", with("task_type", json!("CAUSAL_LM")), "CAUSAL_LM"),
        (
            "hidden states",
            with("task_type", json!("FEATURE_EXTRACTION")),
            "task_type FEATURE_EXTRACTION is not",
        ),
        ("a task that is a number", with("task_type", json!(1)), "the name of a task type"),
    ] {
        fixture.write(&config, bytes);
        eval().is_refused(what, &[word]);
    }
    // A head tells what an adapter without a task type is for.
    fixture.write(&config, with("task_type", Value::Null));
    assert_eq!(eval().done().stdout.lines().count(), 2);
    // What PEFT passes over is passed over too, and told.
    fixture.write(&config, with("alpha_pattern", json!({"nowhere": 3})));
    let told = eval().done().stderr;
    assert!(
        told.contains("alpha_pattern: \"nowhere\": none of the modules")
            && told.contains("PEFT passes over it too"),
        "{told}"
    );
    fixture.write(&config, &good_config);

    let lora = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight";
    for (what, bytes) in [
        ("cut", good_tensors[..good_tensors.len() - 5].to_vec()),
        ("empty", Vec::new()),
        ("a header without end", [&[0xff; 8], &good_tensors[8..]].concat()),
        ("a name that is not there", with_header(&good_tensors, |header| rename(header, lora, "x"))),
        ("not a number", with_data(&good_tensors, 0, &f32::NAN.to_le_bytes())),
    ] {
        fixture.write(&tensors, bytes);
        eval().is_refused(what, &[&tensors, "expected"]);
    }
    // Of a model that is twice as wide.
    let wide = Fixture::of(&Extents { hidden: 32, ..Extents::default() });
    adapter(&wide);
    fixture.copy(wide.path("adapter").to_str().unwrap(), "wide");
    let ended = fixture.run(&["eval", "--model", "model", "--adapter", "wide", "--texts", "texts.txt"]);
    let words =
        ["wide/adapter_model.safetensors", "expected [8, 16], found [8, 32]; the adapter was trained over"];
    ended.is_refused(
        "another model",
        &[words[0], words[1], "is this model (bert of 2 layers, 16 wide) another?"],
    );
    let pickled = format!("{folder}/adapter_model.bin");
    fixture.write(&tensors, &good_tensors);
    fixture.write(&pickled, b"pickle");
    eval().done();
    std::fs::remove_file(fixture.path(&tensors)).unwrap();
    eval().is_refused("pickled tensors", &["adapter_model.bin", "save_file"]);
    inspect().is_refused("pickled tensors", &["adapter_model.bin", "save_file"]);
    std::fs::remove_file(fixture.path(&pickled)).unwrap();
    for name in [&config, &tensors] {
        fixture.write(&config, &good_config);
        fixture.write(&tensors, &good_tensors);
        std::fs::remove_file(fixture.path(name)).unwrap();
        inspect().is_refused("a missing file", &[name]);
        eval().is_refused("a missing file", &[name]);
    }
}

/// Flips, overwrites or cuts at places that a key decides; the first bytes, where a header is, more often than others.
fn damaged(good: &[u8], number: u64) -> Vec<u8> {
    let random =
        |stream: u64, below: usize| (random::mix(random::mix(11, number), stream) % below as u64) as usize;
    let mut bytes = good.to_vec();
    for stroke in 0..1 + random(0, 3) as u64 {
        let within = if random(4 * stroke + 1, 2) == 0 { good.len().min(2048) } else { good.len() };
        let place = random(4 * stroke + 2, within).min(bytes.len() - 1);
        match random(4 * stroke + 3, 5) {
            0 => bytes[place] ^= 1 << random(4 * stroke + 4, 8),
            1 => bytes[place] = random(4 * stroke + 4, 256) as u8,
            2 => bytes[place] = b"0123456789[]{},:\"-.e"[random(4 * stroke + 4, 20)],
            3 => bytes.truncate(place.max(1)),
            _ => drop(bytes.splice(place..place, *b"9999999999")),
        }
    }
    bytes
}

/// The whole way of `tenfold eval`, in this process.
fn evaluate(folder: &Path) -> tenfold::Result<Vec<f32>> {
    let backend: std::sync::Arc<dyn Backend> = Cpu::new();
    let model = model::load(&folder.join("model"), TaskType::SequenceClassification, &backend, Dtype::F32)?;
    let tokenizer = Tokenizer::from_dir(&folder.join("model"))?;
    let tokenize = |text: &str| tokenizer.words(text);
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &tokenize };
    let tuning = file::read(&folder.join("adapter"), &context)?;
    let encoding = tokenizer.encode("a good film!", None, model.extents().max_positions)?;
    let rows = Rows::of(vec![encoding], vec![Target::Label(0)]);
    let source = Source::new(&*model, &rows);
    Ok(source.logits(&Forward::evaluation(&tuning), &[0])?.numbers()?)
}

/// Whatever comes of it, it is an answer or an error that has words.
#[test]
fn files_damaged_anywhere_never_panic() {
    let fixture = Fixture::new();
    adapter(&fixture);
    evaluate(&fixture.path("")).unwrap();
    for (name, times) in [
        ("model/model.safetensors", 400),
        ("model/config.json", 400),
        ("model/tokenizer.json", 300),
        ("adapter/adapter_model.safetensors", 400),
        ("adapter/adapter_config.json", 400),
    ] {
        let good = fixture.read(name);
        for number in 0..times {
            fixture.write(name, damaged(&good, number));
            if let Err(error) = evaluate(&fixture.path("")) {
                assert!(!error.to_string().is_empty());
            }
        }
        fixture.write(name, good);
    }
}
