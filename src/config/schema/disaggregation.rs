//! Prefill and decode on GPUs of their own, and the network between them, as documents write them. What they mean is in `sim::pools` and
//! `cluster::network`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AutoscalerConfig, RouterConfig};

/// Prompts are computed by one pool of engines, and tokens are made by another, to which KV is moved. In place of the entry's `replicas`
/// and `tensor_parallel_size`; all other options of the entry hold for both pools unless a pool has its own.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisaggregationConfig {
    /// Engines that compute prompts.
    pub prefill: PoolConfig,
    /// Engines that make tokens.
    pub decode: PoolConfig,
    /// How KV is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferConfig>,
    /// Which prompts are computed by the decode pool all the same. Absent: none. Dynamo only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional: Option<ConditionalConfig>,
}

/// Engines of one pool.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Engines. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub replicas: Option<u32>,
    /// GPUs of each. Absent: the entry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub tensor_parallel_size: Option<u32>,
    /// A GPU of the catalog other than the hardware's, in nodes of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Most sequences running at once in each engine. Absent: the entry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_num_seqs: Option<u32>,
    /// Token budget of a step. Absent: the entry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub max_num_batched_tokens: Option<u32>,
    /// Share of the GPU's memory the engine may use. Absent: the entry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub gpu_memory_utilization: Option<f64>,
    /// Size of the KV pool in blocks. Absent: the entry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub num_gpu_blocks_override: Option<u64>,
    /// How requests are spread over the pool. Absent: as the entry's router (Dynamo: its router mode) for prefill, round robin for decode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterConfig>,
    /// A threshold scaler of this pool; `replicas` is how many it starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<AutoscalerConfig>,
}

/// How KV goes from the prefill pool to the decode pool.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferConfig {
    /// Absent: `nixl` (vLLM, TensorRT-LLM), `mooncake` (SGLang).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<TransferConnector>,
    /// Absent: `pull` (vLLM, TensorRT-LLM), `push` (SGLang).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<TransferOrder>,
    /// When the client gets the first token. Absent: `decode` (vLLM), `seat` (SGLang, TensorRT-LLM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<FirstTokenFrom>,
    /// Fixed time of a transfer, ms. Absent: as measured for the connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 60_000.0))]
    pub latency_ms: Option<f64>,
    /// Share of the network's line rate that KV gets. Absent: as measured for the connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub efficiency: Option<f64>,
    /// How long the prefill engine keeps KV that is not fetched, s (`pull`); then it is freed, and the request is lost if it still waits for
    /// it. Absent: vLLM 30, renewed; TensorRT-LLM 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub lease_s: Option<f64>,
    /// The decode engine renews the lease as long as it is there, as vLLM's does by heartbeats. Absent: true for vLLM, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_renewed: Option<bool>,
    /// The pools share no node, so that all KV goes over the network. Absent means false: engines fill nodes one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separate_nodes: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferConnector {
    /// Each block of each layer is a piece of its own.
    Nixl,
    /// Neighbouring blocks travel as one piece.
    Mooncake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferOrder {
    /// The prompt is computed first; then the decode engine takes memory and fetches the KV, which is kept for it.
    Pull,
    /// The decode engine takes memory first; then the prompt is computed, and each chunk is sent while the next one is computed.
    Push,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstTokenFrom {
    /// When the prefill engine has computed it.
    Prefill,
    /// When its KV has arrived and the request has its seat among the decoding ones.
    Seat,
    /// The decode engine computes it in its first step with the request.
    Decode,
}

/// Conditional disaggregation, as Dynamo has it: a prompt is computed by the decode engine that will serve it when the policy says so.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionalConfig {
    /// Absent means `isl_bounding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ConditionalPolicy>,
    /// Local when fewer tokens than this are to be computed … Absent means 2048.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100000000))]
    pub max_local_prefill_length: Option<u32>,
    /// … and they are a smaller share of the prompt than this. Absent means 0.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.1))]
    pub max_local_prefill_ratio: Option<f64>,
    /// The prefill engine that would get the prompt is busy when as many requests as this are at it. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub busy_requests: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConditionalPolicy {
    /// Short ones by what is left to compute.
    #[default]
    IslBounding,
    /// Those whose prefill engine is busy.
    PrefillLoad,
    /// Either.
    IslOrLoad,
}

/// The network between nodes, and how nodes hang on it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Rate of a network card, Gbit/s one way. Absent: the usual one of the GPU's servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.1, max = 100_000.0))]
    pub nic_gbps: Option<f64>,
    /// Cards of a node, shared evenly by its GPUs. Absent: one a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub nics_per_node: Option<u32>,
    /// Cards of equal place in their nodes share a leaf switch. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rail_optimized: Option<bool>,
    /// Nodes under one leaf (on rails: under one set of leaves). Absent means 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub nodes_per_leaf: Option<u32>,
    /// What hangs below a leaf over what goes up from it. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub oversubscription: Option<f64>,
    /// From card to card under one leaf, µs. Absent means 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub latency_us: Option<f64>,
    /// More when a spine lies between, µs. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub spine_latency_us: Option<f64>,
}
