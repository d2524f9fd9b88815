//! `bench --fleet`: what a request costs, in time and memory, by the size of a fleet and its router.

use llmperforacle::config::schema::{DynamoConfig, DynamoRouterMode, FrameworkKind, RouterConfig, RouterPolicy};
use llmperforacle::config::{self, Document};
use llmperforacle::sim::{self, NoFiles, Simulation};
use serde_json::{Value, json};

use crate::bench::FleetArguments;
use crate::clock::{Reading, Stopwatch, forget_peak_memory, peak_memory};
use crate::input::tell;
use crate::output::{Failure, out};

/// Routers by name: round robin, power of two and prefix hash in front of vLLM, and Dynamo's.
pub const ROUTERS: [&str; 4] = ["round_robin", "power_of_two", "prefix_hash", "kv"];

/// Name and document of the traffic.
pub const TRAFFIC: [(&str, &str); 2] = [
    ("conversations", include_str!("../../../configs/bench/fleet.yaml")),
    ("poisson", include_str!("../../../configs/bench/fleet-poisson.yaml")),
];

pub fn bench(arguments: &FleetArguments, as_json: bool, fast_path: bool) -> Result<(), Failure> {
    let mut report = Vec::new();
    if !as_json {
        let heads = ["traffic", "router", "replicas", "requests", "cpu_s", "us_a_request", "peak_mib"];
        out(&format!(
            "{:<14} {:<13} {:>8} {:>9} {:>8} {:>12} {:>9}\n",
            heads[0], heads[1], heads[2], heads[3], heads[4], heads[5], heads[6]
        ))?;
    }
    for (traffic, text) in TRAFFIC.iter().filter(|(name, _)| arguments.traffic.as_deref().is_none_or(|wanted| wanted == *name)) {
        for router in ROUTERS.iter().filter(|name| arguments.router.is_empty() || arguments.router.iter().any(|wanted| wanted == *name)) {
            for &replicas in &arguments.replicas {
                let document = document(text, router, replicas, arguments.requests)?;
                forget_peak_memory();
                let (reading, requests, hash) = measure(traffic, &document, fast_path)?;
                let peak_mib = peak_memory().map(|bytes| bytes >> 20);
                let us = reading.cpu_s * 1e6 / requests.max(1) as f64;
                if as_json {
                    report.push(json!({
                        "traffic": traffic,
                        "router": router,
                        "replicas": replicas,
                        "requests": requests,
                        "cpu_s": reading.cpu_s,
                        "wall_s": reading.wall_s,
                        "us_a_request": us,
                        "peak_mib": peak_mib,
                        "hash": format!("{hash:016x}"),
                    }));
                } else {
                    let peak = peak_mib.map_or("-".into(), |mib| mib.to_string());
                    let cpu_s = reading.cpu_s;
                    out(&format!("{traffic:<14} {router:<13} {replicas:>8} {requests:>9} {cpu_s:>8.3} {us:>12.2} {peak:>9}\n"))?;
                }
            }
        }
    }
    if as_json { out(&format!("{:#}\n", Value::Array(report))) } else { Ok(()) }
}

/// The traffic's document with a fleet in it, at a rate that grows with it.
fn document(text: &str, router: &str, replicas: u32, requests: u64) -> Result<Document, Failure> {
    let mut document =
        config::read(text, "fleet.yaml").document.ok_or_else(|| Failure::Message("the fleet's document cannot be read".into()))?;
    document.workload.rate_scale = Some(f64::from(replicas));
    document.workload.total_requests_to_generate = Some(requests);
    for entry in &mut document.frameworks_to_test {
        entry.replicas = Some(replicas);
        entry.config.dynamo = None;
        let policy = match router {
            "kv" => {
                entry.kind = FrameworkKind::Dynamo;
                entry.config.dynamo = Some(DynamoConfig { router_mode: Some(DynamoRouterMode::Kv), ..DynamoConfig::default() });
                continue;
            }
            "power_of_two" => RouterPolicy::PowerOfTwo,
            "prefix_hash" => RouterPolicy::PrefixHash,
            _ => RouterPolicy::RoundRobin,
        };
        entry.kind = FrameworkKind::Vllm;
        entry.router = (replicas > 1).then(|| RouterConfig { policy: Some(policy), ..RouterConfig::default() });
    }
    Ok(document)
}

/// Planning, simulating and summing up, once.
fn measure(name: &str, document: &Document, fast_path: bool) -> Result<(Reading, u64, u64), Failure> {
    let explain = |diagnostics: Vec<config::Diagnostic>| {
        tell(name, &diagnostics);
        Failure::Explained
    };
    let watch = Stopwatch::start();
    let plan = sim::plan(document, &NoFiles).map_err(explain)?;
    let mut run = plan.runs.into_iter().next().ok_or_else(|| Failure::Message(format!("{name}: nothing to run")))?;
    run.fast_path &= fast_path;
    let mut simulation = Simulation::new(&run).map_err(explain)?;
    while !simulation.advance(u64::MAX).done {}
    let result = simulation.finish();
    Ok((watch.read(), result.requests.len() as u64, result.hash()))
}
