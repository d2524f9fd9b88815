//! A GPU's data sheet, and the links between GPUs of a node.

use serde::{Deserialize, Serialize};

/// Data sheet of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Catalog name, such as `H100-SXM`.
    pub name: String,
    /// Dense bf16/fp16 peak, FLOP/s.
    pub bf16_flops: f64,
    /// Dense fp8 peak, FLOP/s; absent where the device has none.
    pub fp8_flops: Option<f64>,
    pub memory_bytes: f64,
    pub memory_bytes_per_s: f64,
    /// Thermal design power, W.
    pub tdp_w: f64,
    pub interconnect: Interconnect,
    /// Key of its constants in configs/calibration; absent: uncalibrated, typical efficiencies of its class are used.
    pub calibration: Option<String>,
    /// Where the numbers are from.
    pub source: String,
}

/// How GPUs of one node reach each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interconnect {
    /// `NVLink4`, `PCIe4` …
    pub name: String,
    /// One direction, per GPU, bytes/s.
    pub bytes_per_s: f64,
    pub latency_us: f64,
}
