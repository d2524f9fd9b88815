//! Routers in front of replicas, and Dynamo's orchestration, as documents write them. What they mean is in `cluster::router`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How requests are spread over the replicas of an entry.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    /// The rule. Absent means `round_robin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RouterPolicy>,
    /// What the router knows of load (`kv`: of what caches hold) is as old as the last full period of this, ms. Absent or 0: it knows the
    /// present (`vllm_dp`: 100 ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 600_000.0))]
    pub snapshot_interval_ms: Option<f64>,
    /// Time until the router learns that a prompt is computed or a request has ended, and of KV events, ms. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 600_000.0))]
    pub event_delay_ms: Option<f64>,
    /// `weighted`: a weight for each replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
    /// `prefix_hash`: leading tokens that decide. Absent means 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub prefix_tokens: Option<u32>,
    /// `cache_aware`: share of the prompt that must match for the prefix to decide. Absent means 0.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cache_threshold: Option<f64>,
    /// `cache_aware`: requests between the most and the least loaded replica above which load decides. Absent means 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_abs_threshold: Option<u32>,
    /// `cache_aware`: and their ratio. Absent means 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub balance_rel_threshold: Option<f64>,
    /// `cache_aware`: time between two evictions from the router's index, s. Absent means 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1e6))]
    pub eviction_interval_s: Option<f64>,
    /// `cache_aware`: tokens that the router remembers for each replica. Absent means 2^24 (2^26 characters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tree_tokens: Option<u64>,
    /// `kv`: Dynamo's options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvRouterConfig>,
    /// `scorers`: weight of the shortest queue. Absent means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub queue_scorer: Option<f64>,
    /// `scorers`: weight of the free share of KV memory. Absent means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub kv_cache_utilization_scorer: Option<f64>,
    /// `scorers`: weight of the share of the prompt that is cached. Absent means 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub prefix_cache_scorer: Option<f64>,
    /// `scorers`: weight of the request's LoRA adapter: 1 where it runs, 0.8 where there is room for one more, 0.6 where it waits, else 0. With
    /// `workload.lora`. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub lora_affinity_scorer: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterPolicy {
    /// One after the other.
    RoundRobin,
    /// Any, all alike.
    Random,
    /// Any, by `weights`.
    Weighted,
    /// The one with the fewest requests in flight.
    LeastLoaded,
    /// The better of two at random.
    PowerOfTwo,
    /// Conversations stay where they began.
    SessionAffinity,
    /// By a consistent hash of the prompt's beginning.
    PrefixHash,
    /// SGLang's router: the best match of the prompt's beginning while load is balanced.
    CacheAware,
    /// Dynamo's router: the least sum of prefill and decode blocks.
    Kv,
    /// The Gateway API's weighted scorers, as llm-d uses them.
    Scorers,
    /// vLLM's internal balancer of data-parallel engines.
    VllmDp,
}

/// Options of Dynamo's KV router, named as Dynamo names them.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvRouterConfig {
    /// Blocks of credit for a block that is cached. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub overlap_score_credit: Option<f64>,
    /// How fast the credit falls with prefill queued beyond the least there is. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub overlap_score_credit_decay: Option<f64>,
    /// Blocks of credit for a block in host memory (with `kv_tiers`). Absent means 0.75.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub router_host_cache_hit_weight: Option<f64>,
    /// Blocks of credit for a block on disk or in a remote store (with `kv_tiers`). Absent means 0.25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub router_disk_cache_hit_weight: Option<f64>,
    /// Requests wait in the router while every worker has more prompt tokens in flight than this times its `max_num_batched_tokens`.
    /// Absent: they never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub router_queue_threshold: Option<f64>,
    /// Who of those that wait goes next. Absent means `fcfs`. A request's priority counts as seconds (`fcfs`, `lcfs`) or adds to its
    /// weight (`wspt`); the larger is the more urgent, and a negative one counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_queue_policy: Option<RouterQueuePolicy>,
    /// Weight of prefill against decode. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub prefill_load_scale: Option<f64>,
    /// Blocks that a request in flight counts for, whatever its length. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub decode_active_request_weight: Option<f64>,
    /// 0 takes the least cost; above, replicas are drawn with weight exp(-(cost - least) / ((most - least) * temperature)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub router_temperature: Option<f64>,
    /// Engines tell what they hold; else the router takes what it routed in the last `router_ttl_secs` as cached. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_kv_events: Option<bool>,
    /// Without KV events, how long a routed prompt counts as cached, s. Absent means 120.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1e6))]
    pub router_ttl_secs: Option<f64>,
    /// Count the blocks of requests in flight. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_track_active_blocks: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterQueuePolicy {
    /// First come, first served.
    #[default]
    Fcfs,
    /// Last come, first served.
    Lcfs,
    /// The fewest tokens to compute first, by weight.
    Wspt,
}

/// NVIDIA Dynamo: which engine its workers run and how its frontend routes. Workers take every option of their engine.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DynamoConfig {
    /// The workers' engine. Absent means `vllm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<DynamoBackend>,
    /// Absent means `round_robin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_mode: Option<DynamoRouterMode>,
    /// With `router_mode: kv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvRouterConfig>,
    /// Time until the router learns that a prompt is computed or a request has ended, and of KV events, ms. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 600_000.0))]
    pub event_delay_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DynamoBackend {
    #[default]
    Vllm,
    Sglang,
    Trtllm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DynamoRouterMode {
    #[default]
    RoundRobin,
    Random,
    PowerOfTwoChoices,
    LeastLoaded,
    Kv,
}
