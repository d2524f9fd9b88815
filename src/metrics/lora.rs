//! Section of the summary about LoRA adapters.

use serde_json::{Value, json};

use super::counters::AdapterCounters;
use super::result::RunResult;
use super::summary::ratio;
use crate::units::PS_PER_S;

/// What adapters did after the warm-up, over all replicas; null where no step had one.
pub(super) fn section(run: &RunResult, window_s: f64) -> Value {
    let sum = |of: fn(&AdapterCounters) -> u128| run.counters.iter().map(|counters| of(&counters.adapters)).sum::<u128>();
    let batch_ps = sum(|adapters| adapters.batch_ps);
    if batch_ps == 0 {
        return Value::Null;
    }
    let step_ps: u128 = run.counters.iter().map(|counters| u128::from(counters.step_ps)).sum();
    let count = |of: fn(&AdapterCounters) -> u128| sum(of) as u64;
    let waited_s = sum(|adapters| u128::from(adapters.wait_ps)) as f64 / PS_PER_S as f64;
    json!({
        "loads": count(|adapters| u128::from(adapters.loads)),
        "storage_reads": count(|adapters| u128::from(adapters.reads)),
        "evictions": count(|adapters| u128::from(adapters.evictions)),
        "hit_rate": ratio(sum(|adapters| u128::from(adapters.found)) as f64, sum(|adapters| u128::from(adapters.admitted)) as f64),
        "mean_adapters_in_batch": ratio(batch_ps as f64, step_ps as f64),
        "step_wait_share": ratio(waited_s, window_s * run.counters.len() as f64),
    })
}
