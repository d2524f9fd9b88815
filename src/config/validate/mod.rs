//! What a document says, beyond its shape: names that must exist, keys that contradict each other, numbers that make no sense
//! together. Messages are the original project's where it has one. Catalog names and memory are checked when a run is planned.

pub mod distribution;
mod frameworks;
mod hardware;
mod kv_tiers;
mod lora;
mod own_options;
mod sglang;
mod speculative;
mod trtllm;
mod vllm;
mod workload;

use std::collections::BTreeSet;

use super::node::{join_index, join_key};
use super::schema::{Comparison, Document};
use super::{Diagnostic, check::readable};

/// Name of the clients' end of a link.
pub const CLIENT: &str = "client_node_0";
/// The original project's name for the servers' end of a link, whatever entry serves.
pub const ANY_ENTRY: &str = "framework_entry_0";

/// Every finding about a document whose shape is right.
pub fn validate(document: &Document) -> Vec<Diagnostic> {
    let mut findings = Findings::default();
    simulation(document, &mut findings);
    hardware::hardware(document, &mut findings);
    workload::workload(document, &mut findings);
    frameworks::frameworks(document, &mut findings);
    lora::lora(document, &mut findings);
    metrics(document, &mut findings);
    findings.list
}

/// Collects findings.
#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Diagnostic>,
}

impl Findings {
    pub fn error(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.list.push(Diagnostic::error(path, message, hint));
    }

    pub fn warning(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.list.push(Diagnostic::warning(path, message, hint));
    }

    /// An error for each name that is there a second time. `key` is where an entry keeps its name.
    fn unique<'a>(&mut self, list_path: &str, key: &str, what: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                self.error(
                    join_key(&join_index(list_path, index), key),
                    format!("Duplicate {what}: {name}"),
                    "give each a name of its own",
                );
            }
        }
    }
}

fn shared(document: &Document) -> bool {
    document.simulation.comparison == Some(Comparison::Shared)
}

fn simulation(document: &Document, findings: &mut Findings) {
    if let (Some(end), Some(arrivals_end)) = (document.simulation.max_simulation_time, document.workload.total_duration)
        && arrivals_end > end
    {
        let message = format!(
            "requests arrive for {} s, but the simulation ends after {} s: later ones are never sent",
            readable(arrivals_end),
            readable(end)
        );
        findings.warning("workload.total_duration", message, "raise simulation.max_simulation_time or leave it out");
    }
}

fn metrics(document: &Document, findings: &mut Findings) {
    let Some(metrics) = &document.metrics_config else { return };
    let path = "metrics_config.percentiles_to_calculate";
    let percentiles = metrics.percentiles_to_calculate.as_deref().unwrap_or_default();
    for (index, value) in percentiles.iter().enumerate() {
        if !(0.0..=1.0).contains(value) {
            let message = format!("{value} is no fraction between 0 and 1");
            let hint = if *value <= 100.0 && *value > 1.0 { format!("write {} for p{value}", value / 100.0) } else { String::new() };
            findings.error(join_index(path, index), message, hint);
        }
        if percentiles.get(..index).unwrap_or_default().contains(value) {
            findings.error(join_index(path, index), format!("the percentile {value} is listed twice"), "keep one of them");
        }
    }
    let ends = [document.simulation.max_simulation_time, document.workload.total_duration];
    if let (Some(warm_up), Some(end)) = (metrics.warm_up_duration_s, ends.into_iter().flatten().reduce(f64::min))
        && warm_up >= end
    {
        let message = format!("no request arrives after the warm-up of {} s: the summary will be empty", readable(warm_up));
        findings.warning("metrics_config.warm_up_duration_s", message, format!("choose less than {}", readable(end)));
    }
}
