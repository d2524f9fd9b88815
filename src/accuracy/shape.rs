//! Which model of the catalog a record's model has the shape of, and in what format its weights are.

use serde_json::{Value, json};

use super::record::Record;
use crate::catalog::{self, Dtype};

/// Endings of names of quantised and tuned copies, which have the shape of their original.
const COPIES: [&str; 32] = [
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
    "-Preview",
    "-bnb-4bit",
    "-dynamic",
    "-Block",
];

/// Releases with the layers of an earlier one. That of DeepSeek with sparse attention is taken as the one without: a context of a few
/// thousand tokens is read whole by both.
const RELEASES: [(&str, &str); 13] = [
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
    ("Qwen3-Coder-30B-A3B", "Qwen3-30B-A3B"),
    ("vicuna-7b", "Llama2-7B"),
    ("vicuna-13b", "Llama2-13B"),
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

/// The weights' format, as a document names it; none where neither the record nor the model's name says it.
///
/// # Errors
/// A format that is not known.
pub(super) fn weights(record: &Record) -> Result<Option<&'static str>, String> {
    let model = record.model.as_deref().unwrap_or_default().to_ascii_lowercase();
    let of = |parts: &[&str]| parts.iter().any(|part| model.contains(part));
    let stated = record.weights_dtype.as_deref().unwrap_or("unknown").trim().to_ascii_lowercase().replace('-', "_");
    let format = match stated.as_str() {
        "unknown" | "auto" | "" => match () {
            () if of(&["nvfp4", "-fp4"]) => "nvfp4",
            () if of(&["mxfp4", "gpt-oss"]) => "mxfp4",
            () if of(&["awq", "gptq", "w4a16", "int4"]) => "int4",
            () if of(&["w8a8", "int8"]) => "int8",
            () if of(&["fp8"]) => "fp8",
            () => return Ok(None),
        },
        "e4m3" | "float8_e4m3fn" | "fp8_dynamic" | "fp8_w8a8" | "w8a8_fp8" | "fp8_tensor" | "fp8_channel" | "mxfp8" => "fp8",
        "w8a8_int8" | "int8_w8a8" | "smoothquant" => "int8",
        "int4_awq" | "awq_int4" | "int4_gptq" | "gptq_int4" | "int4_wo" | "w4a8" => "int4",
        "w4a16_mxfp4" | "w4a8_mxfp4_mxfp8" | "mxfp4_moe" => "mxfp4",
        other => Dtype::parse(other).map(Dtype::name).ok_or_else(|| format!("weights_dtype {other:?} is not known"))?,
    };
    // Models that their makers publish in blockwise fp8 are taken as such, not the copies that others have made.
    let blockwise = of(&["deepseek", "minimax", "kimi"]) && !of(&["distill"]) || model.starts_with("qwen/") && model.contains("-fp8");
    Ok(Some(match format {
        "fp8" if blockwise => "fp8_block",
        "nvfp4" if stated == "fp4" && of(&["gpt-oss"]) => "mxfp4",
        other => other,
    }))
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
            assert_eq!(weights(&named(name)), Ok(Some("fp8_block")), "{name}");
        }
        for name in ["nvidia/Llama-3.3-70B-Instruct-FP8", "meta-llama/Llama-3.3-70B-Instruct", "zai-org/GLM-4.5-FP8"] {
            assert_eq!(weights(&named(name)), Ok(Some("fp8")), "{name}");
        }
    }

    #[test]
    fn formats_are_known_by_their_other_names_or_by_the_models() {
        let of = |dtype: &str, model: &str| weights(&Record { weights_dtype: Some(dtype.into()), ..named(model) });
        for (dtype, model, format) in [
            ("FP8", "a/b", "fp8"),
            ("fp8_e4m3", "a/b", "fp8"),
            ("fp8-block", "a/b", "fp8_block"),
            ("W8A8-INT8", "a/b", "int8"),
            ("bfloat16", "a/b", "bf16"),
            ("gptq", "a/b", "int4"),
            ("fp4", "openai/gpt-oss-120b", "mxfp4"),
            ("fp4", "nvidia/Llama-3.3-70B-Instruct-FP4", "nvfp4"),
            ("unknown", "Qwen/Qwen2.5-72B-Instruct-AWQ", "int4"),
            ("unknown", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "fp8"),
        ] {
            assert_eq!(of(dtype, model), Ok(Some(format)), "{dtype} {model}");
        }
        assert_eq!(of("unknown", "meta-llama/Llama-3.1-8B"), Ok(None));
        assert!(of("int3", "a/b").is_err_and(|why| why.contains("int3")));
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
