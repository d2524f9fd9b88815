//! Which model of the catalog a record's model has the shape of, and in what format its weights are.

use serde_json::{Value, json};

use super::record::Record;
use crate::catalog;

/// Endings of names of quantised and tuned copies, which have the shape of their original.
const COPIES: [&str; 28] = [
    "-FP8-dynamic",
    "-FP8-KV",
    "-FP8",
    "-NVFP4",
    "-FP4",
    "-MXFP4",
    "-AWQ-INT4",
    "-AWQ",
    "-GPTQ-Int4",
    "-GPTQ-Int8",
    "-GPTQ",
    "-INT4",
    "-INT8",
    "-W4A16",
    "-W8A8",
    "-quantized.w4a16",
    "-quantized.w8a8",
    "-BF16",
    "-bf16",
    "-v1.1",
    "-v2",
    "-2507",
    "-Instruct",
    "-Thinking",
    "-Chat",
    "-hf",
    "-it",
    "-HF",
];

/// Releases with the layers of an earlier one. That of DeepSeek with sparse attention is taken as the one without: a context of a few
/// thousand tokens is read whole by both.
const RELEASES: [(&str, &str); 10] = [
    ("MiniMax-M2.", "MiniMax-M2"),
    ("GLM-4.6", "GLM-4.5"),
    ("GLM-4.7", "GLM-4.5"),
    ("Kimi-K2", "Kimi-K2"),
    ("DeepSeek-V3", "DeepSeek-V3"),
    ("DeepSeek-R1-0528-Qwen3-8B", "Qwen3-8B"),
    ("DeepSeek-R1-Distill", ""),
    ("DeepSeek-R1", "DeepSeek-V3"),
    ("Llama-2-70b-chat", "Llama2-70B"),
    ("Qwen3-30B-A3B", "Qwen3-30B-A3B"),
];

/// The model as a document has it: one of the catalog, else the `config.json` that the record brings along.
pub(super) fn model(record: &Record) -> Result<(&'static str, Value), String> {
    let given = record.model_config.as_ref().filter(|config| config.is_object());
    let Some(name) = record.model.as_deref() else {
        return given.map(|config| ("model", config.clone())).ok_or_else(|| "no model is named".to_owned());
    };
    match (shape(name), given) {
        (Some(shape), _) => Ok(("model_profile_id", json!(shape))),
        (None, Some(config)) => Ok(("model", config.clone())),
        // The document says what is wrong with it, and what is near.
        (None, None) => Ok(("model_profile_id", json!(name))),
    }
}

/// The name under which the catalog has the model's shape.
fn shape(model: &str) -> Option<String> {
    let known = |name: &str| catalog::builtin().model(name).is_ok();
    let mut name = model.trim();
    loop {
        if known(name) {
            return Some(name.to_owned());
        }
        let lower = name.to_ascii_lowercase();
        let Some(ending) = COPIES.iter().find(|ending| lower.ends_with(&ending.to_ascii_lowercase())) else { break };
        name = &name[..name.len() - ending.len()];
    }
    let bare = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    if known(&bare) {
        return Some(bare);
    }
    let (_, original) = RELEASES.iter().find(|(start, _)| bare.starts_with(&start.to_ascii_lowercase()))?;
    known(original).then(|| (*original).to_owned())
}

/// The weights' format. Models that their makers publish in blockwise fp8 are taken as such, not the copies that others have made.
pub(super) fn weights(record: &Record) -> Option<&'static str> {
    let model = record.model.as_deref().unwrap_or_default().to_ascii_lowercase();
    let of = |parts: &[&str]| parts.iter().any(|part| model.contains(part));
    let blockwise = of(&["deepseek", "minimax", "kimi"]) && !of(&["distill"]) || model.starts_with("qwen/") && model.contains("-fp8");
    Some(match record.weights_dtype.as_deref()?.to_ascii_lowercase().as_str() {
        "bf16" | "bfloat16" => "bf16",
        "fp16" | "float16" | "half" => "fp16",
        "fp8" if blockwise => "fp8_block",
        "fp8_block" => "fp8_block",
        "fp8" => "fp8",
        "mxfp4" => "mxfp4",
        "fp4" if of(&["gpt-oss"]) => "mxfp4",
        "nvfp4" | "fp4" => "nvfp4",
        "int4" | "awq" | "gptq" | "w4a16" => "int4",
        "int8" | "w8a8" => "int8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(model: &str) -> Record {
        Record { model: Some(model.into()), weights_dtype: Some("fp8".into()), ..Record::default() }
    }

    #[test]
    fn copies_and_later_releases_have_the_shape_of_their_original() {
        for (name, original) in [
            ("nvidia/Llama-3.3-70B-Instruct-FP4", "Llama-3.3-70B"),
            ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "Llama-3.3-70B"),
            ("MiniMaxAI/MiniMax-M2.5", "MiniMax-M2"),
            ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", "Qwen3-30B-A3B"),
            ("nvidia/DeepSeek-R1-0528-FP4-v2", "DeepSeek-V3"),
            ("deepseek-ai/DeepSeek-V3.2", "DeepSeek-V3"),
            ("amd/Llama-2-70b-chat-hf-WMXFP4", "Llama2-70B"),
            ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "Llama-3.3-70B"),
        ] {
            let found = shape(name).and_then(|found| catalog::builtin().model(&found).ok());
            assert_eq!(found.map(|model| model.name.as_str()), Some(original), "{name}");
        }
        assert_eq!(shape("somebody/never-heard-of-it-70B"), None);
        assert_eq!(shape("deepseek-ai/DeepSeek-R1-Distill-Nobody-9B"), None);
    }

    #[test]
    fn only_makers_own_eight_bit_models_are_blockwise() {
        for name in ["Qwen/Qwen3-235B-A22B-FP8", "deepseek-ai/DeepSeek-R1", "MiniMaxAI/MiniMax-M2.5"] {
            assert_eq!(weights(&named(name)), Some("fp8_block"), "{name}");
        }
        for name in ["nvidia/Llama-3.3-70B-Instruct-FP8", "meta-llama/Llama-3.3-70B-Instruct", "zai-org/GLM-4.5-FP8"] {
            assert_eq!(weights(&named(name)), Some("fp8"), "{name}");
        }
    }

    #[test]
    fn an_unknown_model_is_read_from_its_config() {
        let config = json!({"model_type": "llama"});
        let record = Record { model_config: Some(config.clone()), ..named("somebody/new") };
        assert_eq!(model(&record), Ok(("model", config)));
        assert_eq!(model(&named("somebody/new")), Ok(("model_profile_id", json!("somebody/new"))));
        assert!(model(&Record::default()).is_err());
    }
}
