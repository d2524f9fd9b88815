//! `cargo bench`: the experiments of `llmperforacle bench` as a whole, then the parts that their time goes to.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up should stop")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use llmperforacle::config::schema::{FrameworkKind, RouterConfig, RouterPolicy};
use llmperforacle::config::{self, Document};
use llmperforacle::cost::StepParts;
use llmperforacle::engine::policies::trtllm::TrtllmOptions;
use llmperforacle::engine::testing::Lab;
use llmperforacle::engine::{Observer, PolicySpec, StepRun};
use llmperforacle::kv::{BlockTree, Reuse};
use llmperforacle::metrics::{Histogram, Recorder, RunInfo};
use llmperforacle::report::requests_csv;
use llmperforacle::sim::{self, Files, Simulation};
use llmperforacle::units::Time;
use llmperforacle::workload::Request;

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/traces/azure_2023_conv.csv.gz");

struct Trace;

impl Files for Trace {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(TRACE).map_err(|error| error.to_string())
    }
}

fn document(text: &str) -> Document {
    config::read(text, "case.yaml").document.unwrap()
}

fn simulate(document: &Document) -> u64 {
    let plan = sim::plan(document, &Trace).unwrap();
    let mut simulation = Simulation::new(&plan.runs[0]).unwrap();
    while !simulation.advance(u64::MAX).done {}
    simulation.finish().requests.len() as u64
}

fn experiments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("experiment");
    group.sample_size(10);
    let cases = [
        ("closed-loop", include_str!("../configs/bench/closed-loop.yaml")),
        ("closed-loop-trtllm", include_str!("../configs/bench/closed-loop-trtllm.yaml")),
        ("closed-loop-sglang", include_str!("../configs/bench/closed-loop-sglang.yaml")),
        ("poisson", include_str!("../configs/bench/poisson.yaml")),
        ("azure-conversation", include_str!("../configs/bench/azure-conversation.yaml")),
    ];
    for (name, text) in cases {
        let document = document(text);
        group.throughput(Throughput::Elements(simulate(&document)));
        group.bench_function(name, |bencher| bencher.iter(|| simulate(black_box(&document))));
    }
    group.finish();
}

/// What a request costs in fleets of 1, 10, 100 and 1,000 replicas, by router.
fn fleets(criterion: &mut Criterion) {
    const REQUESTS: u64 = 50_000;
    let mut group = criterion.benchmark_group("fleet");
    group.sample_size(10);
    group.throughput(Throughput::Elements(REQUESTS));
    for policy in [RouterPolicy::RoundRobin, RouterPolicy::PowerOfTwo, RouterPolicy::PrefixHash, RouterPolicy::Kv] {
        for replicas in [1, 10, 100, 1000] {
            let mut document = document(include_str!("../configs/bench/fleet.yaml"));
            document.workload.rate_scale = Some(f64::from(replicas));
            document.workload.total_requests_to_generate = Some(REQUESTS);
            let entry = &mut document.frameworks_to_test[0];
            entry.kind = FrameworkKind::Vllm;
            entry.config.dynamo = None;
            entry.replicas = Some(replicas);
            entry.router = Some(RouterConfig { policy: Some(policy), ..RouterConfig::default() });
            group.bench_function(format!("{policy:?}, {replicas}"), |bencher| bencher.iter(|| simulate(black_box(&document))));
        }
    }
    group.finish();
}

fn request(id: u32) -> Request {
    Request::new(id, Time::from_ms(f64::from(id) * 100.0), 500, 250)
}

/// Ten decode steps of 64 sequences.
fn ten_steps(start: Time) -> StepRun<'static> {
    StepRun {
        replica: 0,
        start,
        steps: 10,
        first_duration_ps: 9_000_000_000,
        duration_increment_ps: 2_000_000,
        first_device_ps: 8_900_000_000,
        device_increment_ps: 2_000_000,
        first_parts: StepParts { gemm_ps: 7_000_000_000, attention_ps: 1_900_000_000, ..StepParts::default() },
        decode_sequences: 64,
        first_context: 64_000,
        prefill_tokens: 0,
        prefill_pairs: 0,
        encoded_images: 0,
        encoding_ps: 0,
        padded_tokens: 0,
        eager: false,
        kv_wait_ps: 0,
        adapters: Default::default(),
        stopped_decodes: 0,
        held_back: None,
        wasted_sequences: 0,
        drafted_tokens: 0,
        accepted_tokens: 0,
        first_tokens: 0,
        regular_gaps: 64,
        bunched_tokens: 0,
        other_gaps_ps: &[],
        stalled_gaps: &[],
        running: 64,
        waiting: 0,
        kv_blocks_after: &|steps| 4000 + steps,
    }
}

fn recorded(requests: u32) -> Recorder {
    let mut recorder = Recorder::new(Time::ZERO, Some(u64::from(requests)));
    for id in 0..requests {
        let request = request(id);
        let at = request.arrival;
        recorder.arrived(0, &request);
        recorder.scheduled(id, at, 0);
        recorder.first_token(id, at + Time::from_ms(20.0 + f64::from(id % 97)));
        recorder.steps(&ten_steps(at));
        recorder.finished(0, id, at + Time::from_ms(2000.0 + f64::from(id % 89)), 250, 500);
    }
    recorder
}

fn parts(criterion: &mut Criterion) {
    const REQUESTS: u32 = 20_000;
    let end = Time::from_ms(f64::from(REQUESTS) * 100.0 + 3000.0);
    let mut group = criterion.benchmark_group("metrics");
    group.bench_function("histogram: ramp of 100 steps", |bencher| {
        let mut histogram = Histogram::default();
        bencher.iter(|| histogram.add_ramp(black_box(9_000_000_000), 1_000_000, 100, 64));
    });
    group.throughput(Throughput::Elements(u64::from(REQUESTS)));
    group.bench_function("record a request and ten steps", |bencher| bencher.iter(|| recorded(black_box(REQUESTS))));
    group.bench_function("summarise", |bencher| {
        bencher.iter_batched(|| recorded(REQUESTS), |recorder| recorder.finish(RunInfo::default(), end), BatchSize::LargeInput);
    });
    let result = recorded(REQUESTS).finish(RunInfo::default(), end);
    group.bench_function("hash", |bencher| bencher.iter(|| black_box(&result).hash()));
    let results = [result];
    group.bench_function("requests.csv", |bencher| bencher.iter(|| requests_csv(&results, std::io::sink())));
    group.finish();

    let mut group = criterion.benchmark_group("engine");
    const JOBS: u32 = 10_000;
    group.throughput(Throughput::Elements(u64::from(JOBS)));
    let loaded = || {
        let mut lab = Lab::new(PolicySpec::Vllm(Default::default()).build(), 50_000);
        (0..JOBS).for_each(|id| lab.arrive(f64::from(id) * 10.0, 512, 128 + id % 64));
        lab
    };
    group.bench_function("vLLM, fixed step times", |bencher| bencher.iter_batched(loaded, Lab::log, BatchSize::LargeInput));
    let trtllm = || {
        let policy = PolicySpec::Trtllm(TrtllmOptions::default()).build();
        let mut lab = Lab::new(policy, 50_000).memory(Box::new(BlockTree::new(50_000, 32, Reuse::default())));
        (0..JOBS).for_each(|id| lab.arrive(f64::from(id) * 10.0, 512, 128 + id % 64));
        lab
    };
    group.bench_function("TensorRT-LLM, fixed step times", |bencher| bencher.iter_batched(trtllm, Lab::log, BatchSize::LargeInput));
    group.finish();
}

criterion_group!(benches, parts, experiments, fleets);
criterion_main!(benches);
