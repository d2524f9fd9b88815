//! Images that a pool of encoders encoded before their requests went to the engines. Empty in other runs.

use serde_json::{Value, json};

use super::result::RunResult;
use super::statistics::{PERCENTILES, describe};

/// A request's stay with the encoders. Instants in ps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    pub request: u32,
    pub images: u32,
    pub arrived_ps: u64,
    pub started_ps: u64,
    /// Its last image was encoded.
    pub encoded_ps: u64,
    /// Its embeddings were with the engines.
    pub ready_ps: u64,
}

/// The pool, for the bill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodePool {
    /// One an encoder.
    pub gpus: u32,
    pub device: String,
    pub usd_per_gpu_hour: Option<f64>,
    /// None where the device's power limit is not known.
    pub power: Option<EncoderPower>,
}

/// What one encoder draws, W.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EncoderPower {
    pub idle_w: f64,
    pub encoding_w: f64,
    pub limit_w: f64,
}

impl EncodePool {
    /// Limit of all encoders, W; 0 where it is not known.
    pub(super) fn limit_w(&self) -> f64 {
        self.power.map_or(0.0, |power| f64::from(self.gpus) * power.limit_w)
    }

    /// Power of all encoders, W: mean over the window, and the part of it that they draw idle.
    pub(super) fn power_w(&self, run: &RunResult) -> Option<(f64, f64)> {
        let EncoderPower { idle_w, encoding_w, .. } = self.power?;
        let (gpus, window) = (f64::from(self.gpus), run.end_ps.saturating_sub(run.warm_up_ps) as f64);
        let encoding = if window > 0.0 { busy_ps(run) as f64 / window } else { 0.0 };
        let idle = gpus * idle_w;
        Some((idle + encoding * (encoding_w - idle_w), idle))
    }
}

/// Time that encoders took in the window for requests that went on to engines, ps.
fn busy_ps(run: &RunResult) -> u64 {
    let within = |record: &Encoded| record.encoded_ps.min(run.end_ps).saturating_sub(record.started_ps.max(run.warm_up_ps));
    run.encodes.iter().map(within).sum()
}

/// The section of the summary; null where no image was encoded.
pub(super) fn section(run: &RunResult) -> Value {
    let images: u64 = run.counters.iter().map(|counters| counters.images).sum();
    let pool = &run.info.encode_pool;
    if run.encodes.is_empty() && images == 0 && pool.is_none() {
        return Value::Null;
    }
    let percentiles: &[f64] = if run.info.percentiles.is_empty() { &PERCENTILES } else { &run.info.percentiles };
    let counted: Vec<&Encoded> = run.encodes.iter().filter(|record| record.arrived_ps >= run.warm_up_ps).collect();
    let times = |of: fn(&Encoded) -> u64| {
        let mut values: Vec<f64> = counted.iter().map(|record| of(record) as f64 / 1e9).collect();
        describe(&mut values, percentiles)
    };
    let window_ps = run.end_ps.saturating_sub(run.warm_up_ps);
    let gpus = pool.as_ref().map_or(0, |pool| pool.gpus);
    let busy_ps = busy_ps(run);
    let engine_ps: u64 = run.counters.iter().map(|counters| counters.encoding_ps).sum();
    json!({
        "images": images + counted.iter().map(|record| u64::from(record.images)).sum::<u64>(),
        "encoders": gpus,
        "wait_ms": times(|record| record.started_ps - record.arrived_ps),
        "time_ms": times(|record| record.encoded_ps - record.started_ps),
        "transfer_ms": times(|record| record.ready_ps - record.encoded_ps),
        "utilization": (gpus > 0 && window_ps > 0).then(|| busy_ps as f64 / (window_ps as f64 * f64::from(gpus))),
        "engine_time_s": engine_ps as f64 / 1e12,
    })
}
