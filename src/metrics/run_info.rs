//! What the summary needs to know of a run beyond what happened in it. Plain data: filled in by whoever set the run up.

use crate::config::schema::ServiceLevelObjective;
use crate::cost::PowerModel;

/// Description of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunInfo {
    /// Encoders of images, where they have GPUs of their own.
    pub encode_pool: Option<super::encodes::EncodePool>,
    /// Name of the entry (or of the shared group).
    pub name: String,
    /// Percentiles of the latency tables, as fractions. Empty: 0.5, 0.9, 0.95, 0.99.
    pub percentiles: Vec<f64>,
    /// Targets of goodput; none: no goodput is reported.
    pub slo: Option<ServiceLevelObjective>,
    /// Names of the client profiles, by `Request::profile`.
    pub profiles: Vec<String>,
    pub seed: u64,
    /// How far the step times can be trusted, in words: `calibrated`, `uncalibrated`, a fixed timing …
    pub confidence: String,
    pub economics: RunEconomics,
    /// One for each replica number the engines report.
    pub replicas: Vec<ReplicaInfo>,
}

/// One replica: an engine on its GPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaInfo {
    /// Name of the entry it belongs to.
    pub entry: String,
    /// Such as `VLLM`.
    pub framework: String,
    pub model: String,
    pub device: String,
    pub gpus: u32,
    /// `prefill` or `decode`; empty for an engine that does both.
    pub role: String,
    pub kv_blocks: u64,
    /// Tokens in a KV block.
    pub block_tokens: u32,
    /// Why every step is taken singly; none when runs of equal decode steps are taken at once. The result is the same either way.
    pub single_steps: Option<String>,
    pub work: Work,
    pub memory: MemoryBudget,
    /// What its GPUs draw; none where the device's power limit is not known.
    pub power: Option<PowerModel>,
    /// Price of each of its GPUs, USD an hour, and where it is from.
    pub usd_per_gpu_hour: Option<f64>,
    pub price_source: String,
}

/// What the electricity is like.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEconomics {
    /// Its name, or that the document gives the number.
    pub grid: String,
    pub gco2_per_kwh: f64,
    /// Energy of the building over that of the GPUs.
    pub pue: f64,
}

impl Default for RunEconomics {
    fn default() -> RunEconomics {
        RunEconomics { grid: String::new(), gco2_per_kwh: 0.0, pue: 1.0 }
    }
}

/// Work of a step and what the replica could do at best: the utilisations are one over the other. Of all GPUs of the replica
/// together. A peak of 0 means unknown: the utilisation is then left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// FLOP of all matrix products with weights for one token, the LM head left out.
    pub flops_per_token: f64,
    /// FLOP of the LM head for one sampled token.
    pub flops_per_sampled_token: f64,
    /// FLOP of attention for one pair of tokens (query and key), all layers and heads.
    pub flops_per_attention_pair: f64,
    /// Bytes of weights read in a step.
    pub weight_bytes_per_step: f64,
    /// Bytes of KV of one token of context, all layers.
    pub kv_bytes_per_token: f64,
    /// Bytes of constant state that a decoding sequence reads and writes in a step.
    pub state_bytes_per_sequence: f64,
    /// FLOP/s.
    pub peak_flops: f64,
    /// Bytes/s.
    pub peak_memory_bytes_per_s: f64,
}

/// Where the memory of one GPU goes, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryBudget {
    pub total_bytes: f64,
    /// Share of the total that the engine may use.
    pub usable_bytes: f64,
    pub weights_bytes: f64,
    pub activations_bytes: f64,
    /// CUDA graphs, contexts, communication buffers: the two below.
    pub other_bytes: f64,
    pub graphs_bytes: f64,
    pub libraries_bytes: f64,
    /// States of constant size that lie beside the KV.
    pub states_bytes: f64,
    pub kv_bytes: f64,
}
