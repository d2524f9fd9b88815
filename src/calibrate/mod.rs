//! Factors on the step times from a user's own benchmark: its output is read, the document is replayed, and the factors that bring
//! prediction and measurement closest are found.
//!
//! What is fitted is what a document's `calibration` holds, nothing else: few numbers that many measurements decide. A factor that
//! the benchmark says nothing about stays at 1, and the result says so. Published runs are the business of [`crate::accuracy`].

mod benchmark;
mod fit;
mod search;
mod workload;

pub use benchmark::{Benchmark, Rows, Tool};
pub use fit::{Fit, FitError, Fitted, Options, Progress};
pub use workload::{OverFiles, TRACE, workload};

use serde::Serialize;
use serde_json::{Value, json};

/// What a document's `calibration` can hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Factors {
    /// On every time on the GPUs.
    pub device_time: f64,
    /// On every time on the host.
    pub host_time: f64,
    /// Host time of each request before the engine sees it, ms; absent: the engine's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_request_ms: Option<f64>,
}

impl Default for Factors {
    fn default() -> Factors {
        Factors { device_time: 1.0, host_time: 1.0, per_request_ms: None }
    }
}

impl Factors {
    /// The calibration that a document can name or hold; `source` says where the factors are from.
    pub fn to_json(self, source: &str) -> Value {
        let mut object = json!({"device_time": round(self.device_time), "host_time": round(self.host_time)});
        if let Some(ms) = self.per_request_ms {
            object["per_request_ms"] = json!(round(ms));
        }
        object["source"] = json!(source);
        object
    }
}

/// Four digits: no benchmark gives more.
fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
