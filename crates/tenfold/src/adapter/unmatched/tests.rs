//! Each kind of name that matches nothing, on tiny models.

use super::*;
use crate::adapter::{Context, method, resolve};
use crate::model::{self, TaskType};
use serde_json::json;
use std::path::Path;
use tenfold_tensor::Cpu;

/// What is told of the settings given for a method on a tiny model.
fn told(family: &str, task: TaskType, name: &str, given: &Value) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(family).join("model");
    let backend = Cpu::new();
    let model = model::load(&folder, task, &backend, None).unwrap();
    let method = method(name).unwrap();
    let settings = resolve(method, given.as_object().unwrap()).unwrap();
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &|_| Ok(vec![5]) };
    let tuning = Tuning::new(method, &settings, &context, 2).unwrap();
    let found = entries(&settings, &tuning, &*model).unwrap();
    let words = |Entry { key, entry, fault }| fault.map(|fault: Fault| format!("{key}: {entry}: {fault}"));
    found.into_iter().filter_map(words).collect()
}

#[test]
fn every_entry_that_matches_nothing_is_told_with_what_may_be_meant() {
    let llama = |name, given: Value| told("llama", TaskType::CausalLm, name, &given);
    for (name, given, expected) in [
        (
            "lora",
            json!({"target_modules": ["q_proj", "lm_head"]}),
            "target_modules: \"lm_head\": a module of this model that methods cannot step in at",
        ),
        (
            "lora",
            json!({"target_modules": ["q_proj", "valu_proj"]}),
            "target_modules: \"valu_proj\": no module of this model has this name",
        ),
        (
            "lora",
            json!({"target_modules": ["q_proj", "v_prj"]}),
            "\"v_prj\": no module of this model has this name: did you mean \"v_proj\"?",
        ),
        (
            "lora",
            json!({"target_modules": ["q_proj", "self_atn.v_proj"]}),
            "did you mean \"self_attn.v_proj\"?",
        ),
        (
            "lora",
            json!({"exclude_modules": ["foo"]}),
            "exclude_modules: \"foo\": no module of this model has this name",
        ),
        ("lora", json!({"exclude_modules": ".*foo"}), "exclude_modules: \".*foo\": no module"),
        (
            "lora",
            json!({"alpha_pattern": {"foo_proj": 64}}),
            "alpha_pattern: \"foo_proj\": none of the modules that target_modules chooses matches",
        ),
        (
            "lora",
            json!({"rank_pattern": {"k_proj": 2}}),
            "rank_pattern: \"k_proj\": none of the modules that target_modules chooses matches",
        ),
        (
            "lora",
            json!({"layers_to_transform": [0, 7]}),
            "layers_to_transform: 7: no module of target_modules stands in this layer; they stand in layers 0 to 1",
        ),
        (
            "lora",
            json!({"layers_to_transform": [0], "layers_pattern": ["layers", "blok"]}),
            "layers_pattern: \"blok\": no list of layers has this name",
        ),
        ("lora", json!({"layers_pattern": "layers"}), "layers_pattern: \"layers\": no effect"),
        ("lora", json!({"bias": "all"}), "bias: \"all\": nothing to train: this model has no biases"),
        (
            "ia3",
            json!({"target_modules": ["k_proj", "v_proj"], "feedforward_modules": ["down_proj"]}),
            "feedforward_modules: \"down_proj\": none of the modules that target_modules chooses matches",
        ),
        (
            "prompt_tuning",
            json!({"prompt_tuning_init_text": "a good film"}),
            "prompt_tuning_init_text: \"a good film\": no effect",
        ),
        (
            "prompt_tuning",
            json!({"tokenizer_name_or_path": "elsewhere"}),
            "tokenizer_name_or_path: \"elsewhere\": no effect",
        ),
        ("prefix_tuning", json!({"encoder_hidden_size": 8}), "encoder_hidden_size: 8: no effect"),
        ("p_tuning", json!({"encoder_num_layers": 5}), "encoder_num_layers: 5: no effect"),
        ("p_tuning", json!({"encoder_dropout": 0.5}), "encoder_dropout: 0.5: no effect"),
    ] {
        let told = llama(name, given.clone());
        assert!(told.len() == 1 && told[0].contains(expected), "{given}: {told:?}");
    }
}

#[test]
fn feed_forward_modules_are_named_as_peft_wants_them() {
    let given = json!({"target_modules": ["k_proj", "mlp.down_proj"], "feedforward_modules": ["down_proj"]});
    let told = told("llama", TaskType::CausalLm, "ia3", &given);
    assert!(
        told.len() == 1
            && told[0].contains("one of target_modules in the same words: k_proj and mlp.down_proj"),
        "{told:?}"
    );
}

#[test]
fn what_matches_is_not_told() {
    let llama = |name, given: Value| told("llama", TaskType::CausalLm, name, &given);
    let bert = |name, given: Value| told("bert", TaskType::SequenceClassification, name, &given);
    let none: Vec<String> = Vec::new();
    for given in [
        json!({}),
        json!({"target_modules": ["q_proj", "self_attn.v_proj"], "exclude_modules": ["lm_head", "embed_tokens"]}),
        json!({"target_modules": "all-linear", "exclude_modules": "model.layers.0.*"}),
        json!({"target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": ["layers"]}),
        json!({"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {".*v_proj": 4}}),
    ] {
        assert_eq!(llama("lora", given.clone()), none, "{given}");
    }
    assert_eq!(bert("lora", json!({"bias": "lora_only", "exclude_modules": ["classifier"]})), none);
    assert_eq!(
        bert(
            "ia3",
            json!({"target_modules": ["key", "output.dense"], "feedforward_modules": ["output.dense"]})
        ),
        none
    );
    // What is left of the usual choice is no fault of who excludes some of it.
    assert_eq!(bert("ia3", json!({"exclude_modules": ["output.dense"]})), none);
    assert_eq!(llama("prefix_tuning", json!({"encoder_hidden_size": 8, "prefix_projection": true})), none);
    assert_eq!(llama("p_tuning", json!({"encoder_hidden_size": 8})), none);
}

#[test]
fn the_key_that_leaves_no_module_is_the_one_that_is_blamed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny/llama/model");
    let backend = Cpu::new();
    let model = model::load(&folder, TaskType::CausalLm, &backend, None).unwrap();
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &|_| Ok(vec![5]) };
    for (given, expected) in [
        (json!({"target_modules": ["foo"]}), "target_modules: expected modules of this model (q_proj,"),
        (json!({"exclude_modules": ".*_proj"}), "exclude_modules: expected to leave some of the modules"),
        (
            json!({"layers_to_transform": [0], "layers_pattern": "layer"}),
            "layers_pattern: expected the name of a list of layers (layers), found [\"layer\"]",
        ),
        (
            json!({"layers_to_transform": [7]}),
            "layers_to_transform: expected layers 0 to 1, counted from 0, found [7]",
        ),
    ] {
        let method = method("lora").unwrap();
        let settings = resolve(method, given.as_object().unwrap()).unwrap();
        let fault = Tuning::new(method, &settings, &context, 2).err().unwrap().to_string();
        assert!(fault.contains(expected), "{given}: {fault}");
    }
}

#[test]
fn bitfit_on_a_model_without_biases_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny/llama-classes/model");
    let backend = Cpu::new();
    let model = model::load(&folder, TaskType::SequenceClassification, &backend, None).unwrap();
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &|_| Ok(vec![5]) };
    let fault = Tuning::new(method("bitfit").unwrap(), &json!({}), &context, 2).err().unwrap().to_string();
    assert!(fault.contains("expected a model with biases, found llama, which has none"), "{fault}");
}
