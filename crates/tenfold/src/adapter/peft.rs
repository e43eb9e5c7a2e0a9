//! The types and settings of Hugging Face PEFT 0.21 that this version does not have: who asks for one of them is told so,
//! and not asked whether another was meant.

/// `peft_type` and the method's name in papers.
const TYPES: &[(&str, &str)] = &[
    ("MULTITASK_PROMPT_TUNING", "multitask prompt tuning"),
    ("ADAMSS", "AdaMSS"),
    ("ADAPTION_PROMPT", "LLaMA-Adapter"),
    ("ARROW", "Arrow"),
    ("BEFT", "BEFT"),
    ("BOFT", "BOFT"),
    ("BONE", "Bone"),
    ("C3A", "C³A"),
    ("CARTRIDGE", "Cartridges"),
    ("CPT", "CPT"),
    ("DEFT", "DEFT"),
    ("DELORA", "DeLoRA"),
    ("DORA", "DoRA"),
    ("FOURIERFT", "FourierFT"),
    ("FROD", "FRoD"),
    ("GLORA", "GLoRA"),
    ("GRALORA", "GraLoRA"),
    ("HIRA", "HiRA"),
    ("HRA", "HRA"),
    ("LILY", "Lily"),
    ("LOHA", "LoHa"),
    ("MISS", "MiSS"),
    ("OSF", "OSF"),
    ("PEANUT", "PEANuT"),
    ("POLY", "Poly"),
    ("PSOFT", "PSOFT"),
    ("PVERA", "PVeRA"),
    ("RANDLORA", "RandLoRA"),
    ("ROAD", "RoAd"),
    ("SHADOW", "Shadow"),
    ("SHIRA", "SHiRA"),
    ("SUPERTUNING", "SuperTuning"),
    ("TINYLORA", "TinyLoRA"),
    ("UNILORA", "Uni-LoRA"),
    ("VBLORA", "VB-LoRA"),
    ("WAVEFT", "WaveFT"),
    ("XLORA", "X-LoRA"),
];

/// Settings of PEFT's LoRA, and what each asks for.
const LORA: &[(&str, &str)] = &[
    ("alora_invocation_tokens", "activated LoRA"),
    ("arrow_config", "Arrow"),
    ("corda_config", "CorDA"),
    ("ensure_weight_tying", "updates of tied weights"),
    ("eva_config", "EVA"),
    ("kasa_config", "KaSA"),
    ("layer_replication", "replicated layers"),
    ("loftq_config", "LoftQ"),
    ("lora_bias", "a bias of the update"),
    ("lora_ga_config", "LoRA-GA"),
    ("megatron_config", "Megatron"),
    ("megatron_core", "Megatron"),
    ("modules_to_save", "modules trained whole besides the head"),
    ("monteclora_config", "MonteCLoRA"),
    ("qalora_group_size", "QALoRA"),
    ("runtime_config", "PEFT's settings of a running process"),
    ("target_parameters", "updates of bare parameters"),
    ("trainable_token_indices", "trainable tokens"),
    ("use_bdlora", "BD-LoRA"),
    ("use_qalora", "QALoRA"),
    ("velora_config", "VeLoRA"),
];

/// Settings of PEFT's other methods that are here too.
const OTHERS: &[(&str, &str)] = &[
    ("modules_to_save", "modules trained whole besides the head"),
    ("tokenizer_kwargs", "settings of a tokenizer of its own"),
];

/// Keys that PEFT's configurations have and that a study does not set: they follow from the model and the task.
const DERIVED: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",
    "inference_mode",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
    "token_dim",
];

/// What a `peft_type` that PEFT has and this version does not is called, whether it is written as PEFT does or as a study
/// would name the method.
pub(super) fn type_of(name: &str) -> Option<&'static str> {
    let name = name.to_uppercase().replace('-', "_");
    TYPES.iter().find(|(known, _)| *known == name || known.replace('_', "") == name).map(|(_, title)| *title)
}

/// Why a setting of PEFT's method of that type is none here; `None` if PEFT does not have it either.
pub(super) fn setting(peft_type: Option<&str>, key: &str) -> Option<String> {
    let known = match peft_type? {
        "LORA" => LORA,
        _ => OTHERS,
    };
    if let Some((_, asks)) = known.iter().find(|(known, _)| *known == key) {
        return Some(format!("{asks}: PEFT has this setting, this version does not support it"));
    }
    DERIVED.contains(&key).then(|| "it follows from the model and the task, and is not set".to_owned())
}

/// What is likely meant by a setting's name that other libraries have for it.
pub(super) fn alias(key: &str) -> Option<&'static str> {
    Some(match key {
        "rank" | "lora_r" | "lora_rank" => "r",
        "alpha" => "lora_alpha",
        "dropout" => "lora_dropout",
        "targets" | "lora_target_modules" => "target_modules",
        "rslora" | "use_rs_lora" => "use_rslora",
        "init_weights" | "init" => "init_lora_weights",
        "num_tokens" | "prompt_length" | "prefix_length" | "virtual_tokens" => "num_virtual_tokens",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::METHODS;

    #[test]
    fn what_is_here_is_not_told_as_missing() {
        for method in METHODS {
            assert!(method.peft_type.is_none_or(|kind| type_of(kind).is_none()), "{}", method.name);
            for (key, _) in method.settings {
                assert_eq!(setting(method.peft_type, key), None, "{}, {key}", method.name);
            }
        }
        assert_eq!(
            [type_of("gralora"), type_of("XLORA"), type_of("lora")],
            [Some("GraLoRA"), Some("X-LoRA"), None]
        );
        assert!(setting(Some("LORA"), "use_bdlora").is_some_and(|words| words.starts_with("BD-LoRA")));
        assert_eq!([setting(Some("LORA"), "rr"), setting(None, "use_bdlora")], [None, None]);
    }
}
