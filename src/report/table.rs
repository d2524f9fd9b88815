//! Several runs side by side, for a terminal.

use serde_json::Value;

use crate::metrics::{RunResult, definition};

/// Rows of the table: keys of the summary, those of a latency with its statistic. A row that is null or zero in every run
/// and marked optional is left out.
const ROWS: &[Row] = &[
    Row::always("requests.total", ""),
    Row::optional("requests.unfinished", ""),
    Row::optional("requests.cancelled", ""),
    Row::optional("requests.rejected.too_long_for_model", ""),
    Row::optional("requests.rejected.too_long_for_kv_pool", ""),
    Row::optional("requests.rejected.too_long_for_step", ""),
    Row::optional("requests.rejected.queue_full", ""),
    Row::optional("requests.rejected.no_swap_space", ""),
    Row::always("requests.success_rate", ""),
    Row::always("simulation.effective_duration_s", ""),
    Row::always("throughput.requests_per_second", ""),
    Row::always("throughput.output_tokens_per_second", ""),
    Row::always("throughput.total_tokens_per_second_per_gpu", ""),
    Row::optional("goodput.requests_per_second", ""),
    Row::optional("goodput.share", ""),
    Row::always("latency.time_to_first_token_ms", "p50"),
    Row::always("latency.time_to_first_token_ms", "p99"),
    Row::always("latency.time_per_output_token_ms", "p50"),
    Row::always("latency.time_per_output_token_ms", "p99"),
    Row::always("latency.inter_token_latency_ms", "p99"),
    Row::always("latency.end_to_end_latency_ms", "p50"),
    Row::always("latency.end_to_end_latency_ms", "p99"),
    Row::optional("latency.queue_time_ms", "p99"),
    Row::optional("disaggregation.memory_wait_ms", "p99"),
    Row::optional("disaggregation.exposed_transfer_ms", "p50"),
    Row::optional("disaggregation.exposed_transfer_ms", "p99"),
    Row::optional("requests.lost", ""),
    Row::optional("operations.failures", ""),
    Row::optional("operations.lost_attempts", ""),
    Row::optional("operations.retried_successful", ""),
    Row::optional("operations.replicas", "mean"),
    Row::optional("operations.gpu_hours", ""),
    Row::always("engine.mean_decode_batch", ""),
    Row::always("engine.kv_blocks.peak_share", ""),
    Row::optional("engine.preemptions", ""),
    Row::optional("engine.recomputed_tokens", ""),
    Row::optional("prefix_caching.prefill_reduction_ratio", ""),
    Row::optional("utilisation.compute", ""),
    Row::optional("utilisation.memory_bandwidth", ""),
    Row::optional("utilisation.time.host", ""),
    Row::optional("utilisation.time.idle", ""),
    Row::optional("energy.mean_power_w", ""),
    Row::optional("energy.joules_per_output_token", ""),
    Row::optional("energy.kwh_per_day", ""),
    Row::optional("energy.gco2_per_million_output_tokens", ""),
    Row::optional("cost.usd_per_hour", ""),
    Row::optional("cost.usd_per_million_output_tokens", ""),
    Row::optional("cost.usd_per_million_input_tokens", ""),
];

struct Row {
    key: &'static str,
    statistic: &'static str,
    optional: bool,
}

impl Row {
    const fn always(key: &'static str, statistic: &'static str) -> Row {
        Row { key, statistic, optional: false }
    }

    const fn optional(key: &'static str, statistic: &'static str) -> Row {
        Row { key, statistic, optional: true }
    }

    fn value<'a>(&self, summary: &'a Value) -> Option<&'a Value> {
        let mut value = summary;
        for key in self.key.split('.').chain((!self.statistic.is_empty()).then_some(self.statistic)) {
            value = value.get(key)?;
        }
        Some(value)
    }
}

/// The headline numbers, a column for each run.
pub fn table(runs: &[RunResult]) -> String {
    let mut lines: Vec<Vec<String>> = vec![std::iter::once(String::new()).chain(runs.iter().map(|run| run.name.clone())).collect()];
    for row in ROWS {
        let values: Vec<Option<f64>> = runs.iter().map(|run| row.value(&run.summary).and_then(Value::as_f64)).collect();
        if row.optional && values.iter().all(|value| value.is_none_or(|value| value == 0.0)) {
            continue;
        }
        let (label, unit) = definition(row.key).map_or((row.key, ""), |d| (d.label, d.unit));
        let shown = match unit {
            "share" => "%",
            // Counts speak for themselves.
            "requests" | "tokens" | "sequences" | "blocks" => "",
            unit => unit,
        };
        let head = [label, row.statistic].join(" ");
        let head = if shown.is_empty() { head.trim_end().to_string() } else { format!("{} [{shown}]", head.trim_end()) };
        lines.push(std::iter::once(head).chain(values.into_iter().map(|value| cell(value, unit))).collect());
    }
    align(&lines)
}

fn cell(value: Option<f64>, unit: &str) -> String {
    let Some(value) = value else { return "–".to_string() };
    match unit {
        "share" => format!("{:.1}", value * 100.0),
        "requests" | "tokens" | "blocks" if value.fract() == 0.0 => format!("{value:.0}"),
        _ if value == 0.0 || value.abs() >= 1000.0 => format!("{value:.0}"),
        _ if value.abs() >= 100.0 => format!("{value:.1}"),
        _ if value.abs() >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<String>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
