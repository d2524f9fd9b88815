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
    let within = |record: &Encoded| record.encoded_ps.min(run.end_ps).saturating_sub(record.started_ps.max(run.warm_up_ps));
    let busy_ps: u64 = run.encodes.iter().map(within).sum();
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
