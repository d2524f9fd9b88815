//! Defaults of the serving frameworks that depend on the GPU, from configs/frameworks.json.

use serde::{Deserialize, Serialize};

use super::{Device, Engine, builtin};

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frameworks {
    pub engines: Vec<EngineDefaults>,
}

/// One engine's section.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineDefaults {
    pub engine: Engine,
    /// The version whose defaults these are.
    pub version: String,
    pub source: String,
    /// The first row whose condition the device meets applies.
    pub by_device: Vec<DeviceRow>,
    /// Share of memory: of the total (vLLM), or of what is left beside the weights (TensorRT-LLM). SGLang computes its own.
    pub gpu_memory_utilization: Option<f64>,
    pub block_size: u32,
    pub chunked_prefill: bool,
    pub prefix_caching: bool,
    pub host: HostTime,
    /// What earlier versions did otherwise.
    #[serde(default)]
    pub versions: Vec<VersionDefaults>,
}

/// What a version of an engine did otherwise than the one described. Published runs used the defaults of their version.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionDefaults {
    pub version: String,
    pub source: String,
    /// What is not known for certain.
    pub not_traced: String,
    /// Prompts first in steps of their own (V0), not mixed with decodes.
    pub prefill_first: bool,
    pub by_device: Vec<DeviceRow>,
    pub gpu_memory_utilization: f64,
    pub chunked_prefill: bool,
    pub prefix_caching: bool,
    pub async_scheduling: bool,
    /// Admission wants room for the whole prompt.
    pub reserve_full_prompt: bool,
    /// Share of blocks kept free at admission.
    pub watermark: f64,
    /// Distance of captured sizes above 256 tokens.
    pub capture_step_above_256: u32,
    /// Steps with prefill are captured too.
    pub mixed_graphs: bool,
}

/// Defaults of devices with at least this much memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRow {
    /// Nominal memory, GiB.
    pub min_memory_gib: f64,
    /// Devices it does not hold for, by the start of their name.
    #[serde(default)]
    pub except: Vec<String>,
    pub max_num_batched_tokens: u32,
    /// vLLM's for a program that runs the engine itself (`LLM` class), where it is another than the server's.
    #[serde(default)]
    pub max_num_batched_tokens_llm_class: Option<u32>,
    pub max_num_seqs: u32,
    /// Largest batch that is captured as a CUDA graph, tokens; SGLang's is smaller below four GPUs.
    pub max_capture_tokens: u32,
    #[serde(default)]
    pub max_capture_tokens_below_tp4: Option<u32>,
}

/// Time on the host for one step, `per_step_us + per_sequence_us * sequences + per_new_request_us * new`. No framework publishes
/// such figures: these are assumptions, and every result shows them as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTime {
    pub per_step_us: f64,
    pub per_sequence_us: f64,
    pub per_new_request_us: f64,
    /// One kernel launched outside a CUDA graph, the framework's own work for it included.
    pub per_launch_us: f64,
    /// API server and tokenizer, a request, before it reaches the scheduler.
    pub per_request_api_ms: f64,
    /// The tokenizer, a token of the prompt.
    pub per_prompt_token_api_us: f64,
}

/// What an engine does on a device unless told otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameworkDefaults {
    pub engine: Engine,
    pub version: String,
    pub max_num_batched_tokens: u32,
    pub max_num_batched_tokens_llm_class: Option<u32>,
    pub max_num_seqs: u32,
    pub max_capture_tokens: u32,
    pub gpu_memory_utilization: Option<f64>,
    pub block_size: u32,
    pub chunked_prefill: bool,
    pub prefix_caching: bool,
    pub host: HostTime,
    pub source: String,
}

/// Defaults of an engine on a device with `tp` GPUs; `None` only when configs/frameworks.json lacks the engine.
pub fn framework_defaults(engine: Engine, device: &Device, tp: u32) -> Option<FrameworkDefaults> {
    let section = builtin().frameworks.engines.iter().find(|section| section.engine == engine)?;
    let row = row_of(&section.by_device, device)?;
    let small = row.max_capture_tokens_below_tp4.filter(|_| tp < 4);
    Some(defaults_of(section, row, small))
}

/// Defaults of a version of an engine and what it did otherwise; `None` for one that is not known.
pub fn version_defaults(engine: Engine, device: &Device, version: &str) -> Option<(FrameworkDefaults, &'static VersionDefaults)> {
    let section = builtin().frameworks.engines.iter().find(|section| section.engine == engine)?;
    let found = section.versions.iter().find(|other| other.version == version)?;
    let mut defaults = defaults_of(section, row_of(&found.by_device, device)?, None);
    defaults.version.clone_from(&found.version);
    defaults.source.clone_from(&found.source);
    defaults.gpu_memory_utilization = Some(found.gpu_memory_utilization);
    defaults.chunked_prefill = found.chunked_prefill;
    defaults.prefix_caching = found.prefix_caching;
    Some((defaults, found))
}

fn row_of<'a>(rows: &'a [DeviceRow], device: &Device) -> Option<&'a DeviceRow> {
    let gib = device.memory_bytes / f64::from(1 << 30);
    rows.iter().find(|row| gib >= row.min_memory_gib && !row.except.iter().any(|prefix| device.name.starts_with(prefix.as_str())))
}

fn defaults_of(section: &EngineDefaults, row: &DeviceRow, max_capture_tokens: Option<u32>) -> FrameworkDefaults {
    FrameworkDefaults {
        engine: section.engine,
        version: section.version.clone(),
        max_num_batched_tokens: row.max_num_batched_tokens,
        max_num_batched_tokens_llm_class: row.max_num_batched_tokens_llm_class,
        max_num_seqs: row.max_num_seqs,
        max_capture_tokens: max_capture_tokens.unwrap_or(row.max_capture_tokens),
        gpu_memory_utilization: section.gpu_memory_utilization,
        block_size: section.block_size,
        chunked_prefill: section.chunked_prefill,
        prefix_caching: section.prefix_caching,
        host: section.host,
        source: section.source.clone(),
    }
}
