//! The requests, as documents write them. No rules beyond shape and range: those are in `validate`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Replaces `inter_arrival_time_dist_config`, or a trace's times: its rows are then sent in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub concurrency: Option<u32>,
    /// Multiplies the rate of all arrivals: 2 sends them twice as fast. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub rate_scale: Option<f64>,
    /// Rates that change with time, such as a day's. Absent: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_over_time: Option<RateOverTime>,
    /// Seed of the workload alone; absent: the simulation's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 9007199254740991_u64))]
    pub random_seed: Option<u64>,
    /// Size of a prompt on the network, bytes a token. Absent means 2 in a document of the original project, else 0 (no upload).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub bytes_per_token_estimate_for_network: Option<f64>,
    /// Replies run to their length whatever the model says (`ignore_eos`). Absent means as benchmark clients do: true for lengths drawn
    /// here, false for a trace or with `declared_max_tokens_dist_config`. Engines that reserve by expectation (SGLang) look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
    /// The limit that requests declare (`max_tokens`), tokens; replies that are shorter end by an end-of-sequence token. Engines
    /// that reserve, reserve by this. A draw below the reply's length is raised to it. Absent: the reply's length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_max_tokens_dist_config: Option<Distribution>,
    /// Replies asked for to each prompt (`n`), all of the reply's length. Engines share the prompt between them. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub n: Option<u32>,
    /// The same, drawn for each request, at most 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_dist_config: Option<Distribution>,
    /// Images in prompts, for models that see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesConfig>,
    /// A client gives up a request that has not ended this long after sending it, s. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e7))]
    pub client_timeout_s: Option<f64>,
    /// Clients that change their mind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// LoRA adapters that requests ask for. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<super::LoraWorkload>,
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

/// Images in prompts. Prompt lengths count their tokens, as those of Azure's multimodal trace do: a prompt has no more images than fit into it
/// beside one token of text. They stand at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    /// Images of a request.
    pub per_request_dist_config: Distribution,
    /// Prompt tokens of an image, after the encoder has merged its patches. LLaVA-1.5 takes 576 for each image, Qwen2.5-VL one for 28 x 28 pixels:
    /// 1,296 for 1,008 x 1,008.
    #[schemars(range(min = 1, max = 1000000))]
    pub tokens_per_image: u32,
}

/// A factor on the rate of all arrivals that changes linearly from point to point.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateOverTime {
    /// In order of time, the first at 0. Two points at one time are a step.
    #[schemars(length(min = 1, max = 1000))]
    pub points: Vec<RatePoint>,
    /// Repeat after this long, s; from the last point the factor goes back to the first one's. Absent: the last factor stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1e7))]
    pub period_s: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RatePoint {
    /// When, s.
    #[schemars(range(min = 0.0, max = 1e7))]
    pub at_s: f64,
    /// The rate then, over the profiles' own.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub factor: f64,
}

/// Requests that their client cancels.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    /// Chance that a request is cancelled, unless it has ended before.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f64,
    /// Time from sending to the cancellation, s.
    pub after_s_dist_config: Distribution,
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
    /// Priority, used by engines that schedule by it: smaller is more urgent for vLLM, larger for SGLang unless it says otherwise.
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
