//! The document a user edits, as types. Everything else about documents follows from this file: the JSON Schema
//! (`llmperforacle schema`), the validator's keys and ranges, the form's labels and help, the editor's completion.
//!
//! A doc comment here is the help text that a user reads. Units stand in the names. No defaults are filled in here:
//! an absent key stays `None`, so a document can be written back as short as it was read.

mod disaggregation;
mod economics;
mod encoder;
mod frameworks;
mod hardware;
mod kv_tiers;
mod lora;
mod operations;
mod router;
mod sglang;
mod speculative;
mod trtllm;
mod vllm;
mod workload;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use disaggregation::*;
pub use economics::*;
pub use encoder::*;
pub use frameworks::*;
pub use hardware::*;
pub use kv_tiers::*;
pub use lora::*;
pub use operations::*;
pub use router::*;
pub use sglang::*;
pub use speculative::*;
pub use trtllm::*;
pub use vllm::*;
pub use workload::*;

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
    /// Failures of GPUs, nodes, links and routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<FaultsConfig>,
    /// Second tries of requests that were lost or turned away. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetriesConfig>,
    /// The queue before the replicas. Absent: requests go to a replica at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionConfig>,
    /// Who sends the requests. Absent: one tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub tenants: Option<Vec<TenantConfig>>,
    /// What to report and where to write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_config: Option<MetricsConfig>,
    /// Prices of GPU hours and electricity's emissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub economics: Option<Economics>,
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
