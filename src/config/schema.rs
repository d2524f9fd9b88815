//! The document a user edits, as types. Everything else about documents follows from this file: the JSON Schema
//! (`llmperforacle schema`), the validator's keys and ranges, the form's labels and help, the editor's completion.
//!
//! A doc comment here is the help text that a user reads. Units stand in the names. No defaults are filled in here:
//! an absent key stays `None`, so a document can be written back as short as it was read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An experiment: which requests, on which hardware, served by which stacks.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of this document's format. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1))]
    pub schema_version: Option<u32>,
    /// A title of your own, shown above the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub title: Option<String>,
    /// How long, with which seed, and how the entries are compared.
    pub simulation: SimulationSection,
    /// Path of a model database in the original project's format. The twelve models of that database are built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_characteristics_db_path: Option<String>,
    /// The virtual hardware.
    pub hardware_profile: HardwareProfile,
    /// The requests.
    pub workload: Workload,
    /// The serving stacks to compare, one entry each.
    #[schemars(length(min = 1, max = 64))]
    pub frameworks_to_test: Vec<FrameworkEntry>,
    /// What to report and where to write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_config: Option<MetricsConfig>,
}

/// Length, seed and mode of the simulation.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulationSection {
    /// End of the simulation, s. Requests still unfinished then are reported as unfinished. Absent: run until every request has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e7))]
    pub max_simulation_time: Option<f64>,
    /// Seed of every random stream. The same document and seed give the same bits everywhere. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 9007199254740991_u64))]
    pub random_seed: Option<u64>,
    /// Level of detail of the original project. Accepted and without effect: there is one level, the exact one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lod: Option<LevelOfDetail>,
    /// `side_by_side`: every entry serves the same requests on its own copy of the hardware (default).
    /// `shared`: all entries share one stream of requests through a load balancer (default for documents of the original project).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    SideBySide,
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LevelOfDetail {
    High,
    Medium,
    Low,
}

// ---- hardware ----------------------------------------------------------------------------------------------

/// The virtual hardware: either a catalog node (`node`, `nodes`) or a list of devices and links.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardwareProfile {
    /// A node of the catalog, such as `8xH100-SXM` (eight GPUs joined by NVLink) or `H100-SXM` (one GPU).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How many such nodes. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub nodes: Option<u32>,
    /// Devices, one by one (the original project's form).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub compute_devices: Option<Vec<ComputeDevice>>,
    /// Links between devices (the original project's form).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_links: Option<Vec<NetworkLink>>,
    /// Read by the original project and never used there; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_devices: Option<Vec<serde_json::Value>>,
}

/// One device. `device` names a catalog device; numbers given here replace the catalog's.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComputeDevice {
    /// Name of this device in the document, unique.
    pub device_id: String,
    /// `GPU` or `CPU`; a CPU runs no model. Absent means GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["GPU", "CPU", null]))]
    pub device_type: Option<String>,
    /// A device of the catalog, such as `H100-SXM`, whose calibration is used. Absent: guessed from the numbers, with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Peak dense rate by precision (`fp16`, `bf16`, `fp8`, `int8`), TFLOP/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_tflops: Option<BTreeMap<String, f64>>,
    /// Memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e9, max = 1e14))]
    pub memory_capacity_bytes: Option<f64>,
    /// Memory bandwidth, GB/s (1e9 bytes a second, despite the name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1e6))]
    pub memory_gbps: Option<f64>,
    /// Streaming multiprocessors. No effect on results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub processing_units: Option<u32>,
}

/// A link from one device to another.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkLink {
    /// Name of the link.
    pub link_id: String,
    /// Device id, or `client_node_0` for the clients.
    pub source_id: String,
    /// Device id, or `client_node_0` for the clients.
    pub dest_id: String,
    /// Bandwidth, **bits** per second.
    #[schemars(range(min = 1.0, max = 1e16))]
    pub bandwidth_bps: f64,
    /// Latency, s.
    #[schemars(range(min = 0.0, max = 60.0))]
    pub latency_s: f64,
    /// Also joins the two the other way round. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bidirectional: Option<bool>,
}

// ---- workload ----------------------------------------------------------------------------------------------

/// The requests: a preset, a trace file, or client profiles.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// A named workload of the catalog (`llmperforacle list presets`), the base that other keys here change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Replay of a recorded trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceReplay>,
    /// No new request starts at or after this time, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e7))]
    pub total_duration: Option<f64>,
    /// Stop after this many requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub total_requests_to_generate: Option<u64>,
    /// Kinds of client. Each is a process of its own and their rates add; in a document of the original project
    /// one generator draws the profile of the next request by `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub client_profiles: Option<Vec<ClientProfile>>,
    /// Meaning of `client_profiles`: `independent` or, as in the original project, `one_generator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_model: Option<ArrivalModel>,
    /// Closed loop: this many clients, each sending its next request when its last one has ended.
    /// Replaces `inter_arrival_time_dist_config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub concurrency: Option<u32>,
    /// Multiplies the rate of all arrivals: 2 sends them twice as fast. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub rate_scale: Option<f64>,
    /// Seed of the workload alone; absent: the simulation's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 9007199254740991_u64))]
    pub random_seed: Option<u64>,
    /// Size of a prompt on the network, bytes a token. Absent means 2 in a document of the original project, else 0 (no upload).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub bytes_per_token_estimate_for_network: Option<f64>,
    /// A conversation ends at this many turns. Absent means 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_turns_per_session: Option<u32>,
    /// Chance that a conversation goes on after a follow-up. Absent means 0.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub continue_probability: Option<f64>,
    /// A follow-up's prompt holds the whole conversation so far. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulate_conversational_tokens: Option<bool>,
    /// How requests are spread over entries in `comparison: shared`. Absent means round_robin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing_strategy: Option<LoadBalancing>,
    /// Weights by entry name for `weighted_random`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework_weights: Option<BTreeMap<String, f64>>,
    /// Give requests token contents, so that equal prefixes can be cached across requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_prompt_tokens: Option<bool>,
    /// Shared prefixes, drawn by weight for each request (needs `generate_prompt_tokens`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_patterns: Option<PrefixPatterns>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalModel {
    Independent,
    OneGenerator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancing {
    RoundRobin,
    Random,
    LeastLoaded,
    WeightedRandom,
    SessionAffinity,
}

/// Replay of a recorded trace file, read as it is.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceReplay {
    /// The file: a path beside the document, or the name of a file dropped on the page.
    pub path: String,
    /// Absent: recognised from the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TraceFormat>,
    /// Replay at most this many requests, from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub max_requests: Option<u64>,
    /// Spread arrivals that share a coarse time stamp over its step, uniformly at random and in file order (absent: true for Mooncake
    /// traces, whose step is 3 s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_within_step: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// `TIMESTAMP,ContextTokens,GeneratedTokens`
    AzureCsv,
    /// One JSON object a line: `timestamp` (ms), `input_length`, `output_length`, `hash_ids` (blocks of 512 tokens)
    MooncakeJsonl,
    /// `arrival_s,input_tokens,output_tokens`
    PlainCsv,
}

/// One kind of client.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientProfile {
    /// Name, shown in client ids.
    pub profile_name: String,
    /// With `arrival_model: one_generator`, the chance that the next request is of this profile, relative to the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub weight: Option<f64>,
    /// Time between two requests of this profile, s. `Exponential` makes a Poisson process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inter_arrival_time_dist_config: Option<Distribution>,
    /// Prompt length, tokens; in a follow-up, the new user input.
    pub prompt_tokens_dist_config: Distribution,
    /// Output length, tokens.
    pub max_output_tokens_dist_config: Distribution,
    /// Chance that a first request opens a conversation. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub conversational_probability: Option<f64>,
    /// Think time between a reply and the next turn, s. Absent means a constant 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_up_inter_arrival_time_dist_config: Option<Distribution>,
    /// Chance that the reply is streamed. No effect on any metric. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub streaming_response_probability: Option<f64>,
    /// Priority, used by engines whose policy is `priority` (smaller is more urgent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_priority_dist_config: Option<Distribution>,
    /// In some documents of the original project; without effect there and here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_type_dist_config: Option<serde_json::Value>,
    /// In some documents of the original project; without effect there and here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_pattern: Option<serde_json::Value>,
    /// Every request of this profile starts with the same text of this many tokens (a system prompt), part of the prompt length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000000))]
    pub shared_prefix_tokens: Option<u64>,
}

/// A random number. Which of the parameters apply depends on `type`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Absent means Constant.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DistributionKind>,
    /// Round half to even, then at least 1. Absent means false. Token counts are always rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_int: Option<bool>,
    /// Constant: the value (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Exponential: 1/mean (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Uniform: lower bound (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Uniform: upper bound (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Normal, LogNormal: mean (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Normal: standard deviation (another word for `sigma`, and stronger).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
    /// Normal, LogNormal: standard deviation (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// LogNormal: whether `mean` and `sigma` are of the value or of its logarithm. Absent: of the value when mean > 20
    /// (exp(20) is no token count), of the logarithm otherwise, with a warning that says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<LogNormalSpace>,
    /// Pareto, Weibull, Gamma: shape (default 1; Gamma 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<f64>,
    /// Pareto, Weibull, Gamma: scale (default 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Mixture: the parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<Distribution>>,
    /// Mixture: their weights (default equal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
    /// Quantiles: rising values, the first the smallest and the last the largest possible, interpolated linearly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Vec<f64>>,
    /// Quantiles: the probability of each of them, rising from 0 to 1 (default evenly spaced).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<Vec<f64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DistributionKind {
    Constant,
    /// Another name of Constant.
    Fixed,
    Exponential,
    Uniform,
    Normal,
    LogNormal,
    Pareto,
    Weibull,
    Gamma,
    Mixture,
    Quantiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogNormalSpace {
    Value,
    Log,
}

/// Shared prefixes, drawn by weight.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixPatterns {
    /// The patterns.
    pub patterns: Vec<PrefixPattern>,
}

/// `system`, `few_shot` or `instruction` with a name of the original project's list, `random`, or `mixed` with components.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixPattern {
    /// What the prefix is.
    #[serde(rename = "type")]
    pub kind: PrefixKind,
    /// One of the original project's named prefixes, such as `helpful_assistant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Chance of this pattern, relative to the others. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub weight: Option<f64>,
    /// Length of the prefix, tokens; absent: that of the named prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000000))]
    pub tokens: Option<u64>,
    /// Parts of a mixed prefix, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<PrefixPattern>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrefixKind {
    #[default]
    Random,
    System,
    FewShot,
    Instruction,
    Mixed,
}

// ---- frameworks --------------------------------------------------------------------------------------------

/// One serving stack under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameworkEntry {
    /// Name of this entry, unique.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The framework. Usual spellings (`vllm`, `TensorRT-LLM`, `Dynama`) are understood.
    #[serde(rename = "type")]
    pub kind: FrameworkKind,
    /// Receives requests (in `comparison: shared`), is simulated (in `side_by_side`). Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_target_for_workload: Option<bool>,
    /// Its options.
    pub config: FrameworkConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FrameworkKind {
    #[serde(rename = "VLLM")]
    Vllm,
    #[serde(rename = "ParallelVLLM")]
    ParallelVllm,
    #[serde(rename = "SGLANG")]
    Sglang,
    #[serde(rename = "TRTLLM")]
    Trtllm,
    #[serde(rename = "DYNAMO")]
    Dynamo,
}

/// Options of a serving stack, named as the stack names them. Absent: the stack's own default for this GPU.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameworkConfig {
    /// A model of the catalog (`llmperforacle list models`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_profile_id: Option<String>,
    /// A model given by its Hugging Face `config.json`, inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<serde_json::Value>,
    /// Device of a single-GPU entry (with `compute_devices`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_id: Option<String>,
    /// GPUs that share each layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub tensor_parallel_size: Option<u32>,
    /// The original project's way to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Parallelism>,
    /// Most sequences running at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_num_seqs: Option<u32>,
    /// Token budget of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub max_num_batched_tokens: Option<u32>,
    /// Longest prompt plus output, tokens. Absent: the model's context length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000000))]
    pub max_model_len: Option<u64>,
    /// Cut long prompts over several steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_chunked_prefill: Option<bool>,
    /// Longest chunk of one prompt in a step, tokens; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1048576))]
    pub long_prefill_token_threshold: Option<u32>,
    /// Reuse the KV blocks of equal prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_prefix_caching: Option<bool>,
    /// Tokens in a KV block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub block_size: Option<u32>,
    /// Share of the GPU's memory the engine may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub gpu_memory_utilization: Option<f64>,
    /// Size of the KV pool in blocks, instead of what the memory budget gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub num_gpu_blocks_override: Option<u64>,
    /// Form the next batch while this one runs, so that host time is hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub async_scheduling: Option<bool>,
    /// Admit a prompt only when its whole KV fits, not just its first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_reserve_full_isl: Option<bool>,
    /// Share of KV blocks kept free at admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub watermark: Option<f64>,
    /// Replay decode steps as CUDA graphs, padded to the captured sizes. False is `--enforce-eager`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda_graphs: Option<bool>,
    /// Type of the weights: `bf16`, `fp16`, `fp8` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Type of the KV cache: `auto` (as the weights), `fp8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_dtype: Option<String>,
    /// Step times other than the calibrated cost model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Host time of a step. Absent: the built-in assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_overhead: Option<HostOverhead>,
    // Keys of the original project.
    /// Longest chunk of one prompt, tokens (the original project's name of `long_prefill_token_threshold`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub prefill_chunk_size: Option<u32>,
    /// Share prefixes across requests, not only within a conversation (the original project's switch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_cross_request_caching: Option<bool>,
    /// The original project's prefix store; accepted, without effect: blocks are cached as vLLM does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_prefix_cache_length: Option<u64>,
    /// The original project's prefix store; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefix_cache_size: Option<u64>,
    /// The original project's prefix store; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_eviction_policy: Option<String>,
    /// The original project's prefix store; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_prefix_tokens: Option<bool>,
    /// The original project's polling period; accepted, without effect: nothing polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_iteration_delay_s: Option<f64>,
    /// Size of a streamed token on the network, bytes; accepted, without effect on any metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_token_estimate_for_network: Option<f64>,
    /// Level of detail; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lod: Option<LevelOfDetail>,
}

/// Step times other than the calibrated cost model's: for tests and for parity with other simulators. One of the parts.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// A fixed time for a pass with prefill and one for a pass with decode; a mixed pass takes their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<FixedTiming>,
    /// The polynomial of Dynamo's mocker (AISimulate 0.13): a mixed pass takes the sum of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polynomial: Option<PolynomialTiming>,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedTiming {
    /// Time of a pass with prefill, ms.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub prefill_ms: f64,
    /// Time of a pass with decode, ms.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub decode_ms: f64,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolynomialTiming {}

/// Host time of a step: `a + b * sequences + c * new requests`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostOverhead {
    /// `a`, µs a step.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub per_step_us: f64,
    /// `b`, µs a sequence of the step.
    #[schemars(range(min = 0.0, max = 1e5))]
    pub per_sequence_us: f64,
    /// `c`, µs a request that is new in the step.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub per_new_request_us: f64,
    /// Time a request spends in the API server and the tokenizer, added before it reaches the scheduler, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e5))]
    pub per_request_api_ms: Option<f64>,
}

/// Parallelism in the original project's words.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parallelism {
    /// `TP`: GPUs share each layer; `PP`: each holds some of the layers; `TP_PP`: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["None", "TP", "PP", "TP_PP", null]))]
    pub strategy: Option<String>,
    /// Devices, stage by stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_ids: Option<Vec<String>>,
    /// GPUs that share each layer. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub tp_degree: Option<u32>,
    /// Stages that hold a part of the layers each. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub pp_stages: Option<u32>,
    /// Accepted, without effect: the engine splits batches between stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub num_microbatches_per_request: Option<u32>,
}

// ---- metrics -----------------------------------------------------------------------------------------------

/// What to report and where to write it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Percentiles of the latency tables, as fractions. Absent means 0.5, 0.9, 0.95, 0.99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub percentiles_to_calculate: Option<Vec<f64>>,
    /// Requests that arrive before are left out of the summary (not of the CSV), s. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e7))]
    pub warm_up_duration_s: Option<f64>,
    /// Where the command writes the summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_summary_json_path: Option<String>,
    /// Where the command writes one row a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_requests_csv_path: Option<String>,
    /// Targets a request has to meet, all of them, to count as goodput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<ServiceLevelObjective>,
    /// In some documents of the original project; without effect there and here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// In some documents of the original project; without effect there and here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_percentiles: Option<serde_json::Value>,
    /// In some documents of the original project; without effect there and here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_token_stats: Option<serde_json::Value>,
}

/// Targets of a request.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceLevelObjective {
    /// Time to first token, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub ttft_ms: Option<f64>,
    /// Time per output token, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub tpot_ms: Option<f64>,
    /// End to end, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub e2e_ms: Option<f64>,
}
