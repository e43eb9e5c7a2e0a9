//! Every method of the registry at its defaults, and with settings under which it does something else.

use serde_json::{Value, json};
use tenfold::adapter::{METHODS, Method};

/// A method with settings.
pub struct Case {
    /// "lora", "lora use_dora".
    pub name: String,
    /// The line of the registry.
    pub method: &'static Method,
    /// Its settings, all of them.
    pub settings: Value,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let others = [
        ("lora", json!({"use_dora": true, "loraplus_lr_ratio": 4.0})),
        ("lora", json!({"init_lora_weights": "pissa"})),
        ("lora", json!({"init_lora_weights": "OLoRA", "r": 4})),
        ("adalora", json!({"init_r": 6, "target_r": 3, "tfinal": 1, "deltaT": 2})),
        ("lokr", json!({"r": 2, "decompose_both": true, "decompose_factor": 4})),
        ("oft", json!({"block_share": true, "use_cayley_neumann": false, "oft_block_size": 8})),
    ];
    let case = |method: &'static Method, given: &Value| {
        let (mut name, mut settings) = (method.name.to_owned(), (method.defaults)());
        for (key, value) in given.as_object().into_iter().flatten() {
            name += &format!(" {key}");
            settings[key] = value.clone();
        }
        if method.name == "trainable_tokens" {
            settings["token_indices"] = json!((3..60).collect::<Vec<u32>>());
        }
        Case { name, method, settings }
    };
    let of_method = |method: &'static Method| {
        let others = others.iter().filter(|(name, _)| *name == method.name);
        let others: Vec<Case> = others.map(|(_, given)| case(method, given)).collect();
        [case(method, &json!({}))].into_iter().chain(others)
    };
    METHODS.iter().flat_map(of_method).collect()
}
