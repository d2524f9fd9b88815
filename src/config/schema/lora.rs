//! LoRA adapters, as documents write them: which ones requests ask for, and the options that stacks have for them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// LoRA adapters that requests ask for: `count` alike ones, or a list. A conversation keeps its adapter. KV computed with one adapter is
/// never found by requests of another.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraWorkload {
    /// Adapters, all of `rank`. A trace that names adapters says itself how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub count: Option<u32>,
    /// The adapters one by one, instead of `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10000))]
    pub adapters: Option<Vec<LoraAdapter>>,
    /// Rank of adapters that do not say. Absent means 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub rank: Option<u32>,
    /// Weights that adapters change, where they do not say. Absent: those of attention (`q_proj`, `k_proj`, `v_proj`, `o_proj`; of latent
    /// attention `q_a_proj`, `q_b_proj`, or `q_proj` where queries are not compressed, `kv_a_proj_with_mqa`, `kv_b_proj`, `o_proj`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 11))]
    pub target_modules: Option<Vec<LoraModule>>,
    /// How often each is asked for: `uniform`, or `zipf`, the k-th with weight `1 / k^zipf_exponent`. Absent means uniform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub popularity: Option<LoraPopularity>,
    /// Exponent of `zipf`. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub zipf_exponent: Option<f64>,
    /// Share of requests that ask for the model as it is. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub base_share: Option<f64>,
}

/// One adapter.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraAdapter {
    /// Its name, unique; traces name adapters by it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Absent: the common `rank`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub rank: Option<u32>,
    /// Absent: the common ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 11))]
    pub target_modules: Option<Vec<LoraModule>>,
    /// How often it is asked for, relative to the others, instead of `popularity`. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub weight: Option<f64>,
}

/// A weight matrix of a layer that an adapter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoraModule {
    QProj,
    KProj,
    VProj,
    QAProj,
    QBProj,
    KvAProjWithMqa,
    KvBProj,
    OProj,
    GateProj,
    UpProj,
    DownProj,
}

impl LoraModule {
    /// Those of attention, ordinary or latent; no model has both.
    pub const ATTENTION: [LoraModule; 8] = [
        LoraModule::QProj,
        LoraModule::KProj,
        LoraModule::VProj,
        LoraModule::QAProj,
        LoraModule::QBProj,
        LoraModule::KvAProjWithMqa,
        LoraModule::KvBProj,
        LoraModule::OProj,
    ];
    /// Those of the network behind it.
    pub const MLP: [LoraModule; 3] = [LoraModule::GateProj, LoraModule::UpProj, LoraModule::DownProj];

    pub fn all() -> Vec<LoraModule> {
        [&LoraModule::ATTENTION[..], &LoraModule::MLP].concat()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoraPopularity {
    Uniform,
    Zipf,
}

/// Where adapters lie that are not in host memory: a disk, or a store across the network.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraStorage {
    /// How fast an adapter is read into host memory, GB/s. Absent means 1: an NVMe disk and the parsing of the file; an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e4))]
    pub bandwidth_gb_s: Option<f64>,
    /// Time before the first byte, ms. Absent means 20, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub latency_ms: Option<f64>,
}

/// SGLang's `--lora-eviction-policy`: which adapter leaves the GPU for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoraEvictionPolicy {
    Lru,
    Fifo,
}

/// TensorRT-LLM's `lora_config`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrtllmLoraConfig {
    /// Largest rank. Absent means 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub max_lora_rank: Option<u32>,
    /// Adapters of the largest rank that the cache on the GPU holds; of smaller ones it holds more. Absent: `peft_cache_config` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_loras: Option<u32>,
    /// The same of the cache in host memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_cpu_loras: Option<u32>,
}

/// TensorRT-LLM's `peft_cache_config`: sizes of the caches, where `lora_config` does not say how many adapters they hold.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeftCacheConfig {
    /// Share of the GPU memory left beside the weights that the cache gets. Absent means 0.02.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 0.9))]
    pub device_cache_percent: Option<f64>,
    /// Host memory for adapters, bytes. Absent means 1 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub host_cache_size: Option<u64>,
}
