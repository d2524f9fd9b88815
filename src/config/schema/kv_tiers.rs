//! Tiers of KV below the GPU, the same keys for every engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// KV below the GPU: contents that the GPU's memory has no room for are kept in host memory, on a disk or in a remote store, and come
/// back when a prompt asks for them. Absent options: the engine's own (vLLM's offloading connector, SGLang's HiCache, TensorRT-LLM's host
/// cache, Dynamo's KVBM).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvTiersConfig {
    /// Host memory, over each GPU's own PCIe link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<KvTier>,
    /// A local disk (NVMe), which the GPUs of an engine share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<KvTier>,
    /// A store over the network, which the GPUs of an engine share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<KvTier>,
    /// When contents go down: `write_through` (when they have been computed), `write_through_selective` (when `write_threshold` prompts have
    /// had them), `write_back` (when the tier above evicts them). Absent: TensorRT-LLM writes back, the others write through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_policy: Option<KvWritePolicy>,
    /// `write_through_selective`: prompts that must have had contents. Absent means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub write_threshold: Option<u8>,
    /// How contents come up: the step waits for all of them (`serial`), computes layer by layer behind them (`layers`), or the request
    /// waits outside of the batch (`fetch`, vLLM only). Absent: vLLM fetches, SGLang loads by layers, TensorRT-LLM in series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<KvLoad>,
    /// SGLang: contents on disk or in the remote store begin to come up to host memory when the request arrives. Its turn in the queue
    /// takes what is there (`best_effort`), waits for all (`wait_complete`) or for 1 s and 0.25 s a thousand tokens (`timeout`).
    /// Absent means timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<KvPrefetch>,
    /// Tokens that move and are kept as one: a multiple of the engine's blocks. Absent: a block, at least 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub chunk_tokens: Option<u32>,
}

/// One tier.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvTier {
    /// Size for one engine with all of its GPUs, GB (1e9 bytes). Absent, for SGLang's host memory: twice the GPUs' KV memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1e7))]
    pub size_gb: Option<f64>,
    /// Rate of reading, and of writing unless said, GB/s: of host memory for each GPU, of a disk or remote store for the engine. Absent: host
    /// 12, 25 or 50 by the generation of PCIe (3, 4, 5), disk 7 (writing 5), remote 12.5. Assumptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1e4))]
    pub bandwidth_gb_s: Option<f64>,
    /// Rate of writing, GB/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1e4))]
    pub write_bandwidth_gb_s: Option<f64>,
    /// Time before the first byte of a transfer, µs. Absent: host 10, disk 80, remote 500. Assumptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e7))]
    pub latency_us: Option<f64>,
    /// `write_policy` of this tier alone. Absent: the common one; Dynamo's disk takes what two prompts have had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_policy: Option<KvWritePolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvWritePolicy {
    WriteThrough,
    WriteThroughSelective,
    WriteBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvLoad {
    Serial,
    Layers,
    Fetch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvPrefetch {
    BestEffort,
    WaitComplete,
    Timeout,
}

impl KvTiersConfig {
    /// The tiers given, the nearest first, with their names.
    pub fn given(&self) -> impl Iterator<Item = (usize, &'static str, &KvTier)> {
        let all = [(0, "host", &self.host), (1, "disk", &self.disk), (2, "remote", &self.remote)];
        all.into_iter().filter_map(|(kind, name, tier)| tier.as_ref().map(|tier| (kind, name, tier)))
    }
}
