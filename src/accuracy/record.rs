//! A published run as one JSON object a line.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::catalog::Engine;

/// One published run. Keys that do not bear on a replay (`quality`, `corrected` …) are not read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Record {
    pub id: String,
    pub set: String,
    pub source: String,
    /// Why not to validate against this run; absent for most.
    pub skip: Option<String>,
    /// `vllm`, `sglang`, `trtllm`, `other`.
    pub framework: String,
    pub framework_version: Option<String>,
    /// Hugging Face id.
    pub model: Option<String>,
    /// Its `config.json`, for a model that the catalog does not have.
    #[serde(alias = "hf_config")]
    pub model_config: Option<Value>,
    pub weights_dtype: Option<String>,
    pub kv_dtype: Option<String>,
    pub gpu: Option<String>,
    pub gpu_actual: Option<String>,
    /// Numbers of the card measured where `gpu` is only the nearest: `mem_gb`, `mem_gbs`, `bf16_tflops_dense` …
    pub gpu_override: Option<BTreeMap<String, Value>>,
    pub num_gpus: Option<u32>,
    pub tp: Option<u32>,
    pub pp: Option<u32>,
    /// Attention data-parallel ranks inside one engine.
    pub dp: Option<u32>,
    pub ep: Option<u32>,
    /// Independent engines.
    pub replicas: Option<u32>,
    /// Not null: prefill and decode on GPUs of their own.
    pub disaggregated: Option<Value>,
    pub load: Load,
    pub num_requests: Option<u64>,
    pub input: Lengths,
    pub output: Lengths,
    pub prefix: Option<Prefix>,
    pub prefix_caching: Option<bool>,
    /// Options as the framework names them.
    pub engine_args: Option<Map<String, Value>>,
    pub ignore_eos: Option<bool>,
    /// Metric to value, units in the names.
    pub measured: Map<String, Value>,
    /// Keys that were filled in without the source saying so.
    pub assumed: Vec<String>,
    pub note: Option<String>,
}

/// How requests come in: exactly one of these.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Load {
    pub poisson: Option<Rate>,
    pub constant: Option<Rate>,
    pub closed: Option<Closed>,
    /// All at time 0.
    pub offline: Option<Value>,
    pub static_batch: Option<StaticBatch>,
    pub trace: Option<TraceFile>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Rate {
    /// Infinite (`"inf"`) is all at once.
    #[serde(deserialize_with = "rate")]
    pub rate_rps: f64,
}

fn rate<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(from)?;
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|rate| *rate > 0.0).ok_or_else(|| serde::de::Error::custom(format!("{value} is no rate")))
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Closed {
    pub concurrency: u32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct StaticBatch {
    pub batch: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TraceFile {
    pub file: Option<String>,
}

/// Token counts: one of the forms.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lengths {
    pub fixed: Option<f64>,
    pub uniform: Option<Range>,
    /// A CSV beside the record, in the order of the requests.
    pub file: Option<String>,
    /// Rescale the file's column to this mean.
    pub mean: Option<f64>,
    pub quantiles: Option<Quantiles>,
    pub mean_only: Option<f64>,
    /// Cap, with `mean_only`.
    pub max: Option<f64>,
    pub unknown: Option<bool>,
}

/// Both ends included.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Range {
    pub min: f64,
    pub max: f64,
}

/// Values at probabilities, linear between.
#[derive(Clone, Debug, Deserialize)]
pub struct Quantiles {
    pub p: Vec<f64>,
    pub v: Vec<f64>,
}

/// Prompts that recur.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Prefix {
    pub distinct_prompts: Option<u32>,
    pub shared_prefix_tokens: Option<u32>,
    pub groups: Option<u32>,
    /// The cache was filled by an earlier stage.
    pub warm: Option<bool>,
}

impl Record {
    /// The engine that serves, if it is one that is simulated.
    pub fn engine(&self) -> Option<Engine> {
        match self.framework.trim().to_ascii_lowercase().as_str() {
            "vllm" => Some(Engine::Vllm),
            "sglang" => Some(Engine::Sglang),
            // NIM serves with TensorRT-LLM where it is not said otherwise.
            "trtllm" | "trt-llm" | "tensorrt-llm" | "tensorrt_llm" | "nim" => Some(Engine::Trtllm),
            _ => None,
        }
    }

    /// An option of the engine as a whole number.
    pub fn option_count(&self, name: &str) -> Option<u64> {
        self.option_number(name).filter(|number| *number >= 1.0).map(|number| number as u64)
    }

    pub fn option_number(&self, name: &str) -> Option<f64> {
        self.engine_args.as_ref()?.get(name)?.as_f64()
    }

    pub fn option_flag(&self, name: &str) -> Option<bool> {
        self.engine_args.as_ref()?.get(name)?.as_bool()
    }

    pub fn option_text(&self, name: &str) -> Option<&str> {
        self.engine_args.as_ref()?.get(name)?.as_str()
    }

    /// TensorRT-LLM's compiled engines: before 1.0, where that back end is named, and of NIM where no version is.
    pub(super) fn is_compiled(&self) -> bool {
        if let Some(backend) = self.option_text("backend") {
            return !backend.eq_ignore_ascii_case("pytorch");
        }
        let names = [Some(&self.framework), self.framework_version.as_ref(), Some(&self.set), Some(&self.id), Some(&self.source)];
        let mut words = names.into_iter().flatten().flat_map(|name| name.split(|c: char| !c.is_alphanumeric()));
        match self.release() {
            Some(release) => release < (1, 0),
            None => words.any(|word| word.eq_ignore_ascii_case("nim")),
        }
    }

    /// Major and minor number of the framework's version, where it has numbers.
    pub(super) fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.framework_version.as_deref()?.trim_start_matches('v').split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// Whether a key (or one below it) was filled in without the source saying so.
    pub fn is_assumed(&self, key: &str) -> bool {
        self.assumed.iter().any(|assumed| assumed == key)
    }
}

/// Keys whose value is a text, and those whose value is a count: how they are written varies.
const TEXTS: [&str; 9] = ["id", "set", "source", "framework", "framework_version", "model", "weights_dtype", "kv_dtype", "gpu"];
const COUNTS: [&str; 7] = ["num_gpus", "tp", "pp", "dp", "ep", "replicas", "num_requests"];

/// Reads records, one a line; a line that is none gives its number and why. Null is as good as absent.
pub fn records(text: &str) -> Vec<Result<Record, String>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |line: &str| -> Result<Record, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let named = value.get("id").and_then(Value::as_str).map(|id| format!("{id}: ")).unwrap_or_default();
        serde_json::from_value(usual(without_nulls(value))).map_err(|error| format!("{named}{error}"))
    };
    lines.map(|(index, line)| read(line).map_err(|why| format!("line {}: {why}", index + 1))).collect()
}

/// Texts that are written as numbers and whole numbers that are written otherwise, as they should be.
fn usual(mut value: Value) -> Value {
    for key in TEXTS {
        if let Some(text) = value.get_mut(key).filter(|text| text.is_number()) {
            *text = Value::String(text.to_string());
        }
    }
    for key in COUNTS {
        if let Some(count) = value.get_mut(key) {
            let number = count.as_f64().or_else(|| count.as_str()?.trim().parse().ok());
            if let Some(number) = number.filter(|number| !count.is_u64() && number.fract() == 0.0 && (0.0..1e12).contains(number)) {
                *count = Value::from(number as u64);
            }
        }
    }
    value
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}
