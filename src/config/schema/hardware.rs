//! The virtual hardware, as documents write it. No rules beyond shape and range: those are in `validate`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NetworkConfig;

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
    /// Memory of a node's host, GB, which host tiers of KV must fit into. Absent: 256 for each GPU of the node (an assumption), and too large tiers are
    /// a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1e6))]
    pub host_memory_gb: Option<f64>,
    /// The network between nodes. KV takes it from one pool to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkConfig>,
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
