//! Options of SGLang that no other stack has, under the names of its server arguments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of SGLang, named as its server arguments. Absent: SGLang's default for this GPU.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SglangConfig {
    /// Order in which waiting requests are tried. Absent means fcfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_policy: Option<SglangSchedulePolicy>,
    /// Which leaf of the radix tree is evicted first: the one not visited for longest (lru) or visited last (mru), the oldest (fifo) or the newest
    /// (filo), the one with the smallest priority of its requests, the one that the fewest requests had (lfu), or one that only one request had
    /// before any other (slru). Absent means lru.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radix_eviction_policy: Option<SglangEvictionPolicy>,
    /// With `enable_dp_attention`: which attention rank gets a request, in turn, the one with the fewest requests, or the one with the fewest tokens
    /// in memory and in waiting prompts. Absent means round_robin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balance_method: Option<SglangLoadBalance>,
    /// With `enable_dp_attention`: prompts wait until every attention rank has some, as they stop the decodes of all. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_prefill_delayer: Option<bool>,
    /// Prefill delayer: the step in which prompts wait no more for those of other ranks. Absent means 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub prefill_delayer_max_delay_passes: Option<u32>,
    /// Prefill delayer: nobody waits while less than this share of the KV memory is in use on a rank with prompts. Absent: they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub prefill_delayer_token_usage_low_watermark: Option<f64>,
    /// More urgent requests first (`user_priority_dist_config` of the workload, larger is more urgent), also at the cost of running ones. Absent
    /// means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_priority_scheduling: Option<bool>,
    /// Priorities: 1 is more urgent than 2. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_low_priority_values_first: Option<bool>,
    /// Priorities: a running request loses its seat to a waiting one that is more urgent by more than this. Absent means 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub priority_scheduling_preemption_threshold: Option<u32>,
    /// Priorities: they order the queue and nobody loses a seat. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_priority_preemption: Option<bool>,
    /// Who loses its KV when decodes run out of memory: `length` (the fewest output tokens) or `priority` (the least urgent). Absent means
    /// length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retraction_policy: Option<SglangRetractionPolicy>,
    /// Longest piece of a batch of prompts, tokens (`max_num_batched_tokens`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub chunked_prefill_size: Option<u32>,
    /// Most prompt tokens of a batch, cut or not. Absent means 16384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub max_prefill_tokens: Option<u32>,
    /// Most requests of a batch of prompts. Absent: no limit but the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub prefill_max_requests: Option<u32>,
    /// Of a decode pool: tokens kept free for each of its requests when memory is taken for another. Absent means 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub num_reserved_decode_tokens: Option<u32>,
    /// Most requests running at once (`max_num_seqs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_running_requests: Option<u32>,
    /// How much of the declared output of running requests is held free: 1 is 70 % of it, and less with every step that goes well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub schedule_conservativeness: Option<f64>,
    /// `SGLANG_INIT_NEW_TOKEN_RATIO`: the share of the declared output that is held free for a running request at first, times
    /// `schedule_conservativeness` and no more than 1. Absent means 0.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub init_new_token_ratio: Option<f64>,
    /// `SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR`: what is left of that share when it has fallen as far as it does. Absent means 0.14.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_new_token_ratio_factor: Option<f64>,
    /// `SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS`: steps of decoding in which it falls so far. Absent means 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub new_token_ratio_decay_steps: Option<u32>,
    /// `SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION`: most output that is held free for one request, tokens. Absent means 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub clip_max_new_tokens_estimation: Option<u32>,
    /// Decodes join batches of prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_mixed_chunk: Option<bool>,
    /// Rounds of decoding forced after each batch of prompts. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100000))]
    pub prefill_decode_interval: Option<u32>,
    /// After a refusal try nobody until a request leaves, as SGLang does. False tries in every iteration, as AISimulate does: no option of
    /// SGLang's, but a way to see what the rule costs. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_is_full_latch: Option<bool>,
    /// Reuse nothing (the opposite of `enable_prefix_caching`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_radix_cache: Option<bool>,
    /// Tokens in a page of KV (`block_size`). Absent means 64 on Blackwell's data-centre GPUs, else 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub page_size: Option<u32>,
    /// Share of the memory for weights and KV (`gpu_memory_utilization`). Absent: SGLang's formula.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub mem_fraction_static: Option<f64>,
    /// States that sequences can have, for models whose layers keep one each (linear attention, Mamba). Absent: by `max_running_requests`
    /// where it is given, else by `mamba_full_memory_ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_mamba_cache_size: Option<u32>,
    /// Memory of such states in relation to that of the KV. Absent means 0.9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 100.0))]
    pub mamba_full_memory_ratio: Option<f64>,
    /// Largest batch of decodes captured as a CUDA graph. Absent: by the memory of the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub cuda_graph_max_bs: Option<u32>,
    /// Attention in `dp_size` ranks with requests and KV of their own, over the GPUs of `tensor_parallel_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_dp_attention: Option<bool>,
    /// Ranks of attention. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub dp_size: Option<u32>,
    /// GPUs over which whole experts are spread. Absent means 1: each GPU has a slice of every expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub ep_size: Option<u32>,
    /// How ranks' tokens reach the experts: gathered on every GPU, or one by one. Absent means none (gathered).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe_a2a_backend: Option<MoeA2aBackend>,
    /// Of a pipeline: most requests of one micro-batch. Absent: `max_running_requests` over the stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub pp_max_micro_batch_size: Option<u32>,
    /// Of a pipeline: micro-batches beyond one a stage. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub pp_async_batch_depth: Option<u32>,
    /// Form a batch only when the one before it has ended (the opposite of `async_scheduling`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_overlap_schedule: Option<bool>,
    /// Keep KV in host memory too (HiCache); `kv_tiers` says the same and more. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_hierarchical_cache: Option<bool>,
    /// HiCache: host memory over the KV memory of the GPU. Absent means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub hicache_ratio: Option<f64>,
    /// HiCache: host memory for each GPU, GB, instead of the ratio; 0 is none said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub hicache_size: Option<f64>,
    /// HiCache: when contents go down. Absent means write_through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hicache_write_policy: Option<SglangWritePolicy>,
    /// Different LoRA adapters in one batch, the model without one counted as one; each has a place on the GPU. Absent means 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_loras_per_batch: Option<u32>,
    /// Adapters kept in host memory, no fewer than `max_loras_per_batch`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_loaded_loras: Option<u32>,
    /// Which adapter leaves the GPU for another. Absent means lru.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_eviction_policy: Option<super::LoraEvictionPolicy>,
    /// Largest rank of an adapter, for which places on the GPU are made. Absent: the largest of those asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub max_lora_rank: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SglangWritePolicy {
    WriteThrough,
    WriteThroughSelective,
    WriteBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SglangSchedulePolicy {
    Fcfs,
    Lpm,
    Lof,
    ShortestPrefillFirst,
    Random,
    DfsWeight,
    Hrrn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SglangEvictionPolicy {
    Lru,
    Mru,
    Fifo,
    Filo,
    Priority,
    Lfu,
    Slru,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SglangLoadBalance {
    RoundRobin,
    TotalRequests,
    TotalTokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SglangRetractionPolicy {
    Length,
    Priority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MoeA2aBackend {
    None,
    Deepep,
}
