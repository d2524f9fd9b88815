//! Options of vLLM that no other stack has, under vLLM's names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of vLLM, named as its engine arguments. Absent: the version's default.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VllmConfig {
    /// How tokens of data-parallel ranks reach the experts. Absent means gathered on every GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all2all_backend: Option<All2AllBackend>,
    /// Whose defaults. Absent: 0.33. 0.6 without chunked prefill, its default, computes prompts first, in steps of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VllmVersion>,
    /// Who runs the engine: `server` (the API server) or `llm_class` (a program of its own, which computes more tokens in a step by default:
    /// 16384 where the server has 8192, 8192 where it has 2048). Absent means server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_context: Option<VllmUsageContext>,
    /// `throughput` doubles the defaults of `max_num_batched_tokens` and `max_num_seqs`. Absent means balanced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_mode: Option<VllmPerformanceMode>,
    /// 0.6 without chunked prefill: decode steps that one call of the scheduler is good for. Arrivals and ends are seen, and tokens come
    /// out, when the last is done. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub num_scheduler_steps: Option<u32>,
    /// 0.6 without chunked prefill: while others run, prompts wait until the first to come has waited for so many times the duration of the last
    /// batch of prompts. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub scheduler_delay_factor: Option<f64>,
    /// 0.6 without chunked prefill: what becomes of the KV of a request that has to make room. Absent: that of requests with several replies
    /// is swapped, any other is computed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemption_mode: Option<VllmPreemptionMode>,
    /// 0.6 without chunked prefill: host memory to swap KV to, GiB for each GPU. Absent means 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1e6))]
    pub swap_space: Option<f64>,
    /// Order of the queue, and who loses its KV first: `fcfs` (the newest) or `priority` (the largest priority number). Absent means fcfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<VllmSchedulingPolicy>,
    /// `long_prefill_token_threshold` is at least the step's budget over the number of requests. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_prefill_token_threshold_adaptive: Option<bool>,
    /// While others decode, prompts are computed in every so many steps only. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub prefill_schedule_interval: Option<u32>,
    /// Largest batch captured as a CUDA graph, tokens. Absent: the version's, and at most twice what `max_num_seqs` sequences compute in a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_cudagraph_capture_size: Option<u32>,
    /// Most running requests. Absent: `max_num_seqs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_num_active_seqs: Option<u32>,
    /// A request that finds as many waiting is turned away (HTTP 503). Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub max_num_queued_reqs: Option<u32>,
    /// A request that would bring the waiting prompts above as many tokens is turned away (HTTP 503). Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000000_u64))]
    pub max_num_queued_tokens: Option<u64>,
    /// Host memory for KV, GiB, of all GPUs of the engine (the offloading connector); `kv_tiers` says the same and more. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1e6))]
    pub kv_offloading_size: Option<f64>,
    /// Different LoRA adapters in one step, each with a place on the GPU for `max_lora_rank`. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_loras: Option<u32>,
    /// Adapters kept in host memory, no fewer than `max_loras`. Absent: as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_cpu_loras: Option<u32>,
    /// Largest rank of an adapter; every adapter takes the memory and the time of this rank. Absent means 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub max_lora_rank: Option<u32>,
}

/// Versions whose defaults are known, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum VllmVersion {
    #[serde(rename = "0.6")]
    V0_6,
    #[serde(rename = "0.8")]
    V0_8,
    #[serde(rename = "0.9")]
    V0_9,
    #[serde(rename = "0.11")]
    V0_11,
    #[serde(rename = "0.33")]
    V0_33,
}

impl VllmVersion {
    /// As documents write it.
    pub fn name(self) -> &'static str {
        match self {
            VllmVersion::V0_6 => "0.6",
            VllmVersion::V0_8 => "0.8",
            VllmVersion::V0_9 => "0.9",
            VllmVersion::V0_11 => "0.11",
            VllmVersion::V0_33 => "0.33",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VllmUsageContext {
    Server,
    LlmClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VllmPerformanceMode {
    Balanced,
    Throughput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VllmPreemptionMode {
    Recompute,
    Swap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VllmSchedulingPolicy {
    Fcfs,
    Priority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum All2AllBackend {
    AllgatherReducescatter,
    DeepepHighThroughput,
    DeepepLowLatency,
}
