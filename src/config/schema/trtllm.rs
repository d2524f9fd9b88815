//! Options of TensorRT-LLM that no other stack has, under the names of its `llm_args`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of TensorRT-LLM's PyTorch backend, named as its `llm_args` name them. Absent: the default of the preset.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrtllmConfig {
    /// LoRA adapters that its caches hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_config: Option<super::TrtllmLoraConfig>,
    /// Sizes of the caches for LoRA adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peft_cache_config: Option<super::PeftCacheConfig>,
    /// Each GPU of `tensor_parallel_size` computes the attention of requests of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_attention_dp: Option<bool>,
    /// When attention ranks compute their prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_dp_config: Option<AttentionDpConfig>,
    /// GPUs over which whole experts are spread. Absent means 1: each GPU has a slice of every expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub moe_expert_parallel_size: Option<u32>,
    /// Whose choices: `1.2` (the release) or `main` (autumn 2026, which chooses the second scheduler by the model). Absent means 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<TrtllmVersion>,
    /// Whose defaults: `serve` (trtllm-serve, the default) or `bench` (trtllm-bench: it chooses its batch and step size by the KV memory and
    /// the mean lengths, and pads batches to the sizes of CUDA graphs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<TrtllmPreset>,
    /// `bench`: mean prompt length that batch and step size are chosen for, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub target_input_len: Option<u32>,
    /// `bench`: mean reply length that batch and step size are chosen for, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub target_output_len: Option<u32>,
    /// Most requests in a step (`max_num_seqs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_batch_size: Option<u32>,
    /// Most tokens in a step (`max_num_batched_tokens`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub max_num_tokens: Option<u32>,
    /// Longest prompt plus output, tokens (`max_model_len`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000000))]
    pub max_seq_len: Option<u64>,
    /// Share of the memory left beside the weights and the largest step that KV gets (`gpu_memory_utilization`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub free_gpu_memory_fraction: Option<f64>,
    /// Tokens in a KV block (`block_size`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub tokens_per_block: Option<u32>,
    /// Reuse the blocks of equal prefixes (`enable_prefix_caching`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_block_reuse: Option<bool>,
    /// Reuse the first tokens of a block of which the rest differs. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_partial_reuse: Option<bool>,
    /// Copy a block that others use or that others follow, so as to reuse its first tokens; else only free last blocks serve. Absent means
    /// true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_on_partial_reuse: Option<bool>,
    /// Host memory for KV, bytes for each GPU: what is evicted goes there; `kv_tiers` says the same and more. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000000, max = 1000000000000000_u64))]
    pub host_cache_size: Option<u64>,
    /// Form a batch only when the one before it has ended (the opposite of `async_scheduling`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_overlap_scheduler: Option<bool>,
    /// Which requests may hold KV: those whose prompt and declared output fit beside all others' (the default), those whose next step fits
    /// (the newest is paused when blocks run out), or a whole batch at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_scheduler_policy: Option<CapacitySchedulerPolicy>,
    /// How prompts are cut under `enable_chunked_prefill`. Absent means first come, first served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_chunking_policy: Option<ContextChunkingPolicy>,
    /// Order of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_queue_policy: Option<WaitingQueuePolicy>,
    /// Let a request wait for a running one that computes the blocks it shares. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_prefix_aware_scheduling: Option<bool>,
    /// The second scheduler and KV manager, which pause as under MAX_UTILIZATION. Absent means false in release 1.2; the main branch chooses it
    /// for Llama, GPT-OSS, Gemma 3 and hybrid models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_kv_cache_manager_v2: Option<bool>,
    /// Second scheduler: nothing starts or resumes while more than this share of the KV blocks is held. Absent means 0.95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub max_util_for_resume: Option<f64>,
    /// Time that each batch waits until as many new requests have come as a batch may hold, ms. What runs waits too. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 60000.0))]
    pub batch_wait_timeout_ms: Option<f64>,
    /// Steps that prompts wait for others while something generates. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub batch_wait_timeout_iters: Option<u32>,
    /// Share of `max_num_tokens` at which waiting prompts are enough. Absent means 0: they never wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub batch_wait_max_tokens_ratio: Option<f64>,
    /// Which batches are replayed as CUDA graphs (switched off by `cuda_graphs: false`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda_graph_config: Option<CudaGraphConfig>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrtllmVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "main")]
    Main,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrtllmPreset {
    Serve,
    Bench,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CapacitySchedulerPolicy {
    GuaranteedNoEvict,
    MaxUtilization,
    StaticBatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContextChunkingPolicy {
    FirstComeFirstServed,
    EqualProgress,
    ForceChunk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WaitingQueuePolicy {
    Fcfs,
}

/// CUDA graphs of batches that only generate.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CudaGraphConfig {
    /// Pad a batch to the next captured size; else only batches of exactly a captured size are replayed. Absent: off with `serve`, on with
    /// `bench`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_padding: Option<bool>,
    /// Largest captured batch. Absent: 128 with `serve`, `max_batch_size` with `bench`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_batch_size: Option<u32>,
}

/// When attention ranks compute their prompts.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttentionDpConfig {
    /// Prompts wait until every rank has some. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_balance: Option<bool>,
    /// Steps that they wait at most for ranks without. Absent means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub timeout_iters: Option<u32>,
    /// Steps that they wait for more of them, when every rank has some and generates. Absent means 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100000))]
    pub batching_wait_iters: Option<u32>,
}
