//! A GPU's data sheet, and the links between GPUs of a node.

use serde::{Deserialize, Serialize};

/// Data sheet of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Catalog name, such as `H100-SXM`.
    pub name: String,
    /// Other names that find it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Dense bf16 (or, on devices without it, fp16) peak, FLOP/s.
    pub bf16_flops: f64,
    /// Dense fp8 peak, FLOP/s; absent where the device has none.
    pub fp8_flops: Option<f64>,
    /// Dense fp4 peak, FLOP/s; absent where the device has none.
    #[serde(default)]
    pub fp4_flops: Option<f64>,
    /// Dense int8 peak, OP/s; absent where the device has none or no sheet gives it.
    #[serde(default)]
    pub int8_flops: Option<f64>,
    /// Memory that CUDA (or its like) reports as usable, bytes: what its users' tools print, one or two percent below the sheet.
    pub memory_bytes: f64,
    /// Memory bandwidth, bytes/s.
    pub memory_bytes_per_s: f64,
    /// Thermal design power, W; absent where the maker does not say.
    pub tdp_w: Option<f64>,
    pub interconnect: Interconnect,
    /// Devices that the interconnect joins in one node.
    pub devices_per_node: u32,
    /// Network card of each device in its usual servers (DGX, HGX and the like), Gbit/s one way; absent where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic_gbps: Option<f64>,
    /// Key of the constants in configs/calibration that it uses, its own or those of a device of the same architecture.
    /// Absent: typical efficiencies.
    pub calibration: Option<String>,
    /// How well the sheet is sourced.
    pub sheet_confidence: SheetConfidence,
    /// Where the numbers are from.
    pub source: String,
}

impl Device {
    /// A narrower format is never slower than a wider one.
    pub fn faster_formats_are_faster(&self) -> bool {
        let fp8 = self.fp8_flops.unwrap_or(self.bf16_flops);
        self.bf16_flops > 0.0
            && fp8 >= self.bf16_flops
            && self.fp4_flops.is_none_or(|fp4| fp4 >= fp8)
            && self.int8_flops.is_none_or(|int8| int8 >= self.bf16_flops)
    }
}

/// How well a data sheet is sourced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SheetConfidence {
    /// The maker's pages, or files that cite them.
    High,
    /// Secondary sources.
    Medium,
    /// No source was found.
    Low,
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

/// Some devices of one kind in one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// As written, such as `8xH100-SXM`.
    pub name: String,
    pub devices: u32,
    pub device: Device,
}
