//! `bench`: requests a second of CPU time, on a handful of experiments.

use std::path::{Path, PathBuf};

use clap::Args;
use llmperforacle::config;
use llmperforacle::sim::{self, Files, Simulation};
use serde_json::{Value, json};

use crate::bench_fleet;
use crate::clock::{Reading, Stopwatch};
use crate::input::tell;
use crate::output::{Failure, out};

/// Name, what it is, and the document.
const CASES: &[(&str, &str, &str)] = &[
    (
        "closed-loop",
        "131,072 requests of 1,024/128 tokens, 64 clients in a closed loop",
        include_str!("../../../configs/bench/closed-loop.yaml"),
    ),
    ("closed-loop-trtllm", "the same on TensorRT-LLM", include_str!("../../../configs/bench/closed-loop-trtllm.yaml")),
    ("closed-loop-sglang", "the same on SGLang", include_str!("../../../configs/bench/closed-loop-sglang.yaml")),
    ("poisson", "100,000 requests of 500/250 tokens, 10 a second", include_str!("../../../configs/bench/poisson.yaml")),
    (
        "azure-conversation",
        "Azure 2023 conversation trace, 19,366 requests",
        include_str!("../../../configs/bench/azure-conversation.yaml"),
    ),
];

#[derive(Args)]
pub struct Arguments {
    /// One case only: closed-loop, closed-loop-trtllm, closed-loop-sglang, poisson or azure-conversation.
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    #[arg(long)]
    json: bool,
    /// Runs of each case; the fastest counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Take every decode step singly.
    #[arg(long)]
    no_fast_path: bool,
    /// Fleets instead: by traffic, router and number of replicas.
    #[arg(long)]
    fleet: bool,
    #[command(flatten)]
    fleets: FleetArguments,
    /// The Azure trace, when it is not where the repository keeps it.
    #[arg(long, value_name = "FILE", default_value = "tests/fixtures/traces/azure_2023_conv.csv.gz")]
    trace: PathBuf,
}

/// Which fleets.
#[derive(Args)]
pub struct FleetArguments {
    /// Numbers of replicas, with --fleet.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,10,100,1000", value_parser = clap::value_parser!(u32).range(1..=4096), requires = "fleet")]
    pub replicas: Vec<u32>,
    /// Routers, with --fleet: round_robin, power_of_two, prefix_hash, kv. All of them when not given.
    #[arg(long, value_delimiter = ',', value_parser = bench_fleet::ROUTERS, requires = "fleet")]
    pub router: Vec<String>,
    /// Requests of each case, with --fleet.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000), requires = "fleet")]
    pub requests: u64,
    /// Traffic, with --fleet: conversations (that share a system prompt) or poisson. Both when not given.
    #[arg(long, value_parser = bench_fleet::TRAFFIC.map(|(name, _)| name), requires = "fleet")]
    pub traffic: Option<String>,
}

/// One case, measured.
struct Measured {
    requests: u64,
    successful: u64,
    best: Reading,
    hash: u64,
}

/// The one file that a case names, wherever it is.
struct OneFile<'a>(&'a Path);

impl Files for OneFile<'_> {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.0).map_err(|error| format!("cannot read {}: {error}", self.0.display()))
    }
}

pub fn bench(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.fleet {
        return bench_fleet::bench(&arguments.fleets, arguments.json, !arguments.no_fast_path);
    }
    let chosen: Vec<_> = CASES.iter().filter(|(name, ..)| arguments.case.as_deref().is_none_or(|case| case == *name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|(name, ..)| *name).collect();
        return Err(Failure::Message(format!("there is no such case; there are {}", names.join(", "))));
    }
    let mut report = Vec::new();
    if !arguments.json {
        out(&format!("{:<20} {:>9} {:>9} {:>20}\n", "case", "requests", "cpu_s", "requests_per_cpu_s"))?;
    }
    for (name, what, text) in chosen {
        if text.contains("trace:") && !arguments.trace.is_file() {
            eprintln!("{name}: left out, since there is no {}; name the trace with --trace", arguments.trace.display());
            continue;
        }
        let measured = measure(name, text, arguments)?;
        let rate = measured.requests as f64 / measured.best.cpu_s.max(1e-9);
        if arguments.json {
            report.push(as_json(name, what, &measured, rate));
        } else {
            out(&format!("{name:<20} {:>9} {:>9.4} {rate:>20.0}\n", measured.requests, measured.best.cpu_s))?;
        }
    }
    if arguments.json { out(&format!("{:#}\n", Value::Array(report))) } else { Ok(()) }
}

fn as_json(name: &str, what: &str, measured: &Measured, rate: f64) -> Value {
    json!({
        "name": name,
        "description": what,
        "requests": measured.requests,
        "successful": measured.successful,
        "cpu_s": measured.best.cpu_s,
        "wall_s": measured.best.wall_s,
        "requests_per_cpu_s": rate,
        "hash": format!("{:016x}", measured.hash),
    })
}

/// Times planning, simulating and summing up: everything but reading the document and writing the results.
fn measure(name: &str, text: &str, arguments: &Arguments) -> Result<Measured, Failure> {
    let explain = |diagnostics: &[config::Diagnostic]| {
        tell(name, diagnostics);
        Failure::Explained
    };
    let read = config::read(text, "case.yaml");
    let document = read.document.as_ref().ok_or_else(|| explain(&read.diagnostics))?;
    let mut best: Option<Measured> = None;
    for _ in 0..arguments.repeat {
        let watch = Stopwatch::start();
        let plan = sim::plan(document, &OneFile(&arguments.trace)).map_err(|diagnostics| explain(&diagnostics))?;
        let mut run = plan.runs.into_iter().next().ok_or_else(|| Failure::Message(format!("{name}: nothing to run")))?;
        run.fast_path &= !arguments.no_fast_path;
        let mut simulation = Simulation::new(&run).map_err(|diagnostics| explain(&diagnostics))?;
        while !simulation.advance(u64::MAX).done {}
        let result = simulation.finish();
        let reading = watch.read();
        let requests = result.requests.len() as u64;
        let successful = result.summary.pointer("/requests/successful").and_then(Value::as_u64).unwrap_or(0);
        if best.as_ref().is_none_or(|best| reading.cpu_s < best.best.cpu_s) {
            best = Some(Measured { requests, successful, best: reading, hash: result.hash() });
        }
    }
    best.ok_or_else(|| Failure::Message(format!("{name}: never run")))
}
