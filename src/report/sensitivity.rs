//! How results move with their assumptions: a range for each number, and what each assumption alone does.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::metrics::RunResult;

/// Runs of the same document with one assumption multiplied by a factor.
pub struct Varied {
    pub assumption: &'static str,
    pub factor: f64,
    pub runs: Vec<RunResult>,
}

/// What is looked at: name, unit, and where the summary has it.
pub const SENSITIVITY_METRICS: [(&str, &str, &str); 5] = [
    ("TTFT median", "ms", "/latency/time_to_first_token_ms/p50"),
    ("TTFT p99", "ms", "/latency/time_to_first_token_ms/p99"),
    ("TPOT median", "ms", "/latency/time_per_output_token_ms/p50"),
    ("end-to-end median", "ms", "/latency/end_to_end_latency_ms/p50"),
    ("output", "tokens/s", "/throughput/output_tokens_per_second"),
];

fn value(run: &RunResult, pointer: &str) -> Option<f64> {
    run.summary.pointer(pointer).and_then(Value::as_f64)
}

/// A number of one run with every variant's.
struct Moved {
    base: f64,
    /// By variant, in their order.
    then: Vec<f64>,
}

fn moved(base: &RunResult, index: usize, varied: &[Varied], pointer: &str) -> Option<Moved> {
    let then = varied.iter().map(|variant| value(variant.runs.get(index)?, pointer)).collect::<Option<Vec<f64>>>()?;
    Some(Moved { base: value(base, pointer)?, then })
}

/// `[{run, metrics: [{name, unit, value, low, high, by: [{assumption, factor, value}]}]}]`.
pub fn sensitivity_json(runs: &[RunResult], varied: &[Varied]) -> Value {
    let of = |(index, run): (usize, &RunResult)| {
        let metrics = SENSITIVITY_METRICS.iter().filter_map(|(name, unit, pointer)| {
            let Moved { base, then } = moved(run, index, varied, pointer)?;
            let by: Vec<Value> = varied
                .iter()
                .zip(&then)
                .map(|(variant, then)| json!({"assumption": variant.assumption, "factor": variant.factor, "value": then}))
                .collect();
            let low = then.iter().copied().fold(base, f64::min);
            let high = then.iter().copied().fold(base, f64::max);
            Some(json!({"name": name, "unit": unit, "value": base, "low": low, "high": high, "by": by}))
        });
        json!({"run": run.name, "metrics": metrics.collect::<Vec<Value>>()})
    };
    runs.iter().enumerate().map(of).collect()
}

/// The same for a terminal: each number with its range, and below it what moved it by a percent or more.
pub fn sensitivity_text(runs: &[RunResult], varied: &[Varied]) -> String {
    let mut text = String::from("\nHow the assumptions move it (one at a time)\n");
    for (index, run) in runs.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {}", run.name);
        for (name, unit, pointer) in SENSITIVITY_METRICS {
            let Some(Moved { base, then }) = moved(run, index, varied, pointer) else { continue };
            let low = then.iter().copied().fold(base, f64::min);
            let high = then.iter().copied().fold(base, f64::max);
            let _ = writeln!(text, "    {name}: {base:.1} {unit} ({low:.1} to {high:.1})");
            let percent = |then: f64| if base == 0.0 { 0.0 } else { (then / base - 1.0) * 100.0 };
            for (variant, then) in varied.iter().zip(then).filter(|(_, then)| percent(*then).abs() >= 1.0) {
                let _ = writeln!(text, "      {} x {}: {:+.0} %", variant.assumption, variant.factor, percent(then));
            }
        }
    }
    text
}
