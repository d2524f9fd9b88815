//! Operation of a fleet, as documents write it: how many replicas when, what breaks, who is let in, what is tried again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// ---- how many replicas -----------------------------------------------------------------------------------------

/// What a new replica does before it serves. No framework publishes such times: the defaults are assumptions.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartupConfig {
    /// Until its GPUs are there, s; not paid yet. Absent means 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub provision_s: Option<f64>,
    /// Bandwidth at which a replica reads its weights, GB/s. Absent means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1e5))]
    pub weights_gb_per_s: Option<f64>,
    /// Compiling and capturing CUDA graphs, s. Absent means 40.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub compile_s: Option<f64>,
    /// First passes, s. Absent means 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub warm_up_s: Option<f64>,
}

/// Dynamo's planner. Options are named as Dynamo names them.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannerConfig {
    /// What it is after: `throughput` (full replicas) and `latency` (idle ones) by fixed thresholds, `sla` by `ttft_ms` and `itl_ms`.
    /// Absent means throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimization_target: Option<PlannerTarget>,
    /// Target of the time to first token, ms (`sla`). Absent means 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1e7))]
    pub ttft_ms: Option<f64>,
    /// Target of the time between tokens, ms (`sla`). Absent means 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1e7))]
    pub itl_ms: Option<f64>,
    /// Scale by what replicas have queued. Absent means true for the easy targets (which cannot do without), false for `sla`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_load_scaling: Option<bool>,
    /// Scale by predicted traffic (`sla`). Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_throughput_scaling: Option<bool>,
    /// Time between two decisions by load, s. Absent means 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.1, max = 1e6))]
    pub load_adjustment_interval: Option<f64>,
    /// Time between two predictions, s. Absent means 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.1, max = 1e6))]
    pub throughput_adjustment_interval: Option<f64>,
    /// A replica goes only if the rest would still be within this share of the targets, % (`sla`). Absent means 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub load_scaling_down_sensitivity: Option<f64>,
    /// How traffic is predicted (`sla`). Absent means arima.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_predictor: Option<LoadPredictor>,
    /// Predict the logarithm of one plus the load. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_predictor_log1p: Option<bool>,
    /// Kalman filter: variance of the level from one interval to the next. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e12))]
    pub kalman_q_level: Option<f64>,
    /// Kalman filter: variance of the trend. Absent means 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e12))]
    pub kalman_q_trend: Option<f64>,
    /// Kalman filter: variance of what is seen. Absent means 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e12))]
    pub kalman_r: Option<f64>,
    /// Most GPUs of the entry. Absent means 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub max_gpu_budget: Option<u32>,
    /// Fewest replicas. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub min_endpoint: Option<u32>,
    /// Most replicas that one prediction adds or removes. Absent means 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_delta: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlannerTarget {
    #[default]
    Throughput,
    Latency,
    Sla,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadPredictor {
    Constant,
    #[default]
    Arima,
    Kalman,
}

/// A threshold scaler: Kubernetes' HorizontalPodAutoscaler with an average-value metric, as KEDA sets it up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoscalerConfig {
    /// What is measured.
    pub metric: ScalerMetric,
    /// What one replica should have of it.
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub target: f64,
    /// Fewest replicas. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub min_replicas: Option<u32>,
    /// Most replicas.
    #[schemars(range(min = 1, max = 10000))]
    pub max_replicas: u32,
    /// Time between two decisions, s. Absent means 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.1, max = 1e6))]
    pub interval_s: Option<f64>,
    /// Share by which the average may differ from the target without a change. Absent means 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub tolerance: Option<f64>,
    /// How fast up. Absent: at once, by 4 replicas or 100 % in 15 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingSpeed>,
    /// How fast down. Absent: to the most that was wanted in the last 300 s, then at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingSpeed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScalerMetric {
    /// Requests that have not ended, those before the replicas included.
    InFlight,
    /// Requests that wait, in engines and before them.
    Waiting,
    /// Share of the KV memory in use, 0 to 1.
    KvCacheUsage,
    /// Requests a second that came since the last decision.
    RequestsPerSecond,
}

/// How fast replicas are added or removed.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingSpeed {
    /// The most cautious recommendation of so long counts, s. Absent means 0 going up, 300 going down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub stabilization_window_s: Option<f64>,
    /// Limits on the speed. Absent: Kubernetes' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub policies: Option<Vec<ScalingPolicy>>,
    /// Which of the limits counts. Absent means max.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingPolicy {
    /// What `value` is.
    #[serde(rename = "type")]
    pub kind: ScalingPolicyKind,
    /// Replicas, or % of them.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub value: f64,
    /// In so long, s.
    #[schemars(range(min = 0.1, max = 1e6))]
    pub period_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScalingPolicyKind {
    Replicas,
    Percent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelectPolicy {
    /// The largest change.
    #[default]
    Max,
    /// The smallest change.
    Min,
    /// No change.
    Disabled,
}

// ---- what breaks -------------------------------------------------------------------------------------------------

/// Failures: at given times, at random times, or both. Every entry meets the same ones.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultsConfig {
    /// Failures at given times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10000))]
    pub events: Option<Vec<FaultConfig>>,
    /// Every GPU fails at random: its replica is gone, with all requests and KV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<RandomFaults>,
    /// Every node fails at random, with all replicas that have a GPU on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<RandomFaults>,
    /// The way to every replica fails at random: requests there are lost, its KV stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<RandomFaults>,
    /// The router fails at random: all requests are lost, none is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<RandomFaults>,
    /// GPUs of a node. Replicas fill nodes in order. Absent means 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub gpus_per_node: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig {
    /// When, s.
    #[schemars(range(min = 0.0, max = 1e7))]
    pub at_s: f64,
    /// What fails.
    pub kind: FaultKind,
    /// Which one, from 0: a GPU or node of the entry, else a replica. Absent means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000000))]
    pub index: Option<u32>,
    /// Until it is repaired, s; a replica then starts again. Absent: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1e7))]
    pub duration_s: Option<f64>,
    /// Of `slow`: factor on the time of every step on the GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub factor: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    Gpu,
    Node,
    /// The way to a replica.
    Link,
    Router,
    /// A replica is slow.
    Slow,
    /// A replica is taken down in an orderly way: it finishes what it has.
    Drain,
}

/// Times between failures and to repairs, both exponential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomFaults {
    /// Mean time from repair to failure, of one of them, h.
    #[schemars(range(min = 1e-4, max = 1e9))]
    pub mtbf_h: f64,
    /// Mean time to repair, s.
    #[schemars(range(min = 1e-2, max = 1e9))]
    pub mttr_s: f64,
}

/// Second tries of requests that were lost or turned away.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetriesConfig {
    /// Tries of a request in all. Absent means 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: Option<u32>,
    /// Wait before the second try, ms, give or take a fifth. Absent means 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e7))]
    pub initial_backoff_ms: Option<f64>,
    /// Factor on the wait from try to try. Absent means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 100.0))]
    pub backoff_multiplier: Option<f64>,
    /// Longest wait, ms. Absent means 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e8))]
    pub max_backoff_ms: Option<f64>,
    /// Share of the requests under way that may be retries. Absent means 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub budget: Option<f64>,
    /// Retries under way that are allowed whatever the share. Absent means 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000000))]
    pub min_concurrency: Option<u32>,
    /// Try requests that were turned away (a full queue, no replica) again too. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<bool>,
    /// Go on after the tokens that have come out, as Dynamo's request migration does, not from the start. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_tokens: Option<bool>,
}

// ---- who is let in -----------------------------------------------------------------------------------------------

/// The queue before the replicas.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Most requests at a replica that have not ended; others wait before the replicas. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_in_flight_per_replica: Option<u32>,
    /// Most requests that wait before the replicas; others are turned away (HTTP 429). Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10000000))]
    pub max_queue: Option<u32>,
    /// Who goes next: `fcfs`, `priority` (the smallest number first) or `fair` between tenants. Absent means fcfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<AdmissionOrder>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdmissionOrder {
    #[default]
    Fcfs,
    Priority,
    /// The tenant that has been served least, tokens of output counting twice (virtual token counters).
    Fair,
}

/// Who sends requests, for fairness and limits.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// Its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// Names of the client profiles that are its own.
    #[schemars(length(min = 1, max = 64))]
    pub profiles: Vec<String>,
    /// Its share of the service, relative to the others (`admission.order: fair`). Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-3, max = 1e6))]
    pub weight: Option<f64>,
    /// Most of its requests that wait before the replicas (`admission.order: fair`). Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10000000))]
    pub max_queue: Option<u32>,
    /// Most requests a second; more are turned away (HTTP 429). Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub requests_per_second: Option<f64>,
    /// Requests that may come at once before that limit counts. Absent means 1 s worth, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1e9))]
    pub burst: Option<f64>,
}
