//! Benchmarks of one's own: each tool's file is read for what it says, and a fit finds the factors that a benchmark was made with.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::calibrate::{Benchmark, Fit, FitError, Fitted, Options, Tool, workload};
use llmperforacle::config::{self, Document};
use llmperforacle::metrics::{RequestTimes, RunResult};
use llmperforacle::sim::{self, NoFiles, Simulation};
use serde_json::{Value, json};

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/benchmarks/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn measured(benchmark: &Benchmark) -> Vec<(&str, f64)> {
    benchmark.measured.iter().map(|(name, value)| (name.as_str(), value.as_f64().unwrap())).collect()
}

#[test]
fn vllm_bench_serve() {
    let read = Benchmark::read(&fixture("vllm_bench_serve.json")).unwrap();
    assert_eq!((read.tool, read.requests, read.concurrency), (Tool::VllmBenchServe, Some(198), Some(16)));
    assert_eq!((read.mean_input_tokens, read.mean_output_tokens), (Some(1000.0), Some(128.0)));
    assert_eq!(read.request_rate, Some(f64::INFINITY));
    let said = measured(&read);
    for expected in [
        ("ttft_mean_ms", 210.5),
        ("ttft_p50_ms", 180.25),
        ("ttft_p99_ms", 610.0),
        ("tpot_p50_ms", 12.25),
        ("e2e_mean_ms", 1800.0),
        ("output_tok_s", 412.1),
        ("req_s", 3.2195),
    ] {
        assert!(said.contains(&expected), "{expected:?} is not in {said:?}");
    }
    assert!(!said.iter().any(|(name, _)| name.contains("std")), "a spread is no prediction: {said:?}");
    assert!(read.notes.iter().any(|note| note.contains("2 requests failed")), "{:?}", read.notes);
}

#[test]
fn vllm_bench_serve_with_its_requests() {
    let read = Benchmark::read(&fixture("vllm_bench_serve_detailed.json")).unwrap();
    let rows = read.rows.as_ref().unwrap();
    // The fourth failed. TPOT is the time after the first token over the tokens after it, though a chunk held two.
    assert_eq!(rows.ttft_ms, [50.0, 100.0, 200.0]);
    assert_eq!(rows.sent_s, [0.0, 0.5, 1.25]);
    assert!((rows.tpot_ms[0] - 10.0).abs() < 1e-9 && rows.tpot_ms[1].is_nan() && (rows.tpot_ms[2] - 20.0).abs() < 1e-9);
    assert!((rows.e2e_ms[2] - 240.0).abs() < 1e-9);
    let (_, trace) = workload(&read).unwrap();
    assert_eq!(trace.lines().collect::<Vec<&str>>(), ["arrival_s,input_tokens,output_tokens", "0,100,5", "0.5,200,1", "1.25,300,3"]);
}

#[test]
fn sglang_bench_serving_takes_the_last_run() {
    // Python writes an unbounded rate as a bare Infinity, which is no JSON.
    let read = Benchmark::read(&fixture("sglang_bench_serving.jsonl")).unwrap();
    assert_eq!((read.tool, read.requests, read.request_rate, read.concurrency), (Tool::SglangBenchServing, Some(128), Some(4.0), None));
    let said = measured(&read);
    for expected in [("ttft_p50_ms", 90.0), ("tpot_mean_ms", 11.0), ("e2e_p50_ms", 1480.0), ("itl_p95_ms", 12.0), ("output_tok_s", 496.5)] {
        assert!(said.contains(&expected), "{expected:?} is not in {said:?}");
    }
    assert!(read.notes[0].contains("2 runs"), "{:?}", read.notes);
    let (own, trace) = workload(&read).unwrap();
    assert_eq!(trace.lines().count(), 129);
    assert!(trace.lines().skip(1).all(|row| row.ends_with(",1024,128")), "{trace}");
    assert!(own.get("concurrency").is_none());
}

#[test]
fn aiperf_calls_tpot_inter_token_latency() {
    let read = Benchmark::read(&fixture("profile_export_aiperf.json")).unwrap();
    assert_eq!((read.tool, read.requests, read.concurrency), (Tool::AiPerf, Some(50), Some(10)));
    assert_eq!(read.model.as_deref(), Some("Qwen/Qwen3-8B"));
    let said = measured(&read);
    for expected in [("ttft_mean_ms", 120.0), ("tpot_p99_ms", 21.0), ("e2e_p50_ms", 1990.0), ("output_tok_s", 500.0), ("req_s", 5.0)] {
        assert!(said.contains(&expected), "{expected:?} is not in {said:?}");
    }
}

#[test]
fn aiperf_request_by_request() {
    let read = Benchmark::read(&fixture("profile_export.jsonl")).unwrap();
    assert_eq!((read.tool, read.requests), (Tool::AiPerfRecords, Some(2)));
    let said = measured(&read);
    // 192 tokens and 2 requests from the first second to the third.
    for expected in [("ttft_mean_ms", 200.0), ("tpot_p50_ms", 11.0), ("e2e_mean_ms", 1250.0), ("output_tok_s", 96.0), ("req_s", 1.0)] {
        assert!(said.contains(&expected), "{expected:?} is not in {said:?}");
    }
    assert!(read.notes[0].contains("1 requests failed"), "{:?}", read.notes);
}

#[test]
fn what_is_no_benchmark_is_said() {
    let refused = |text: &str, words: &[&str]| {
        let why = Benchmark::read(text).unwrap_err();
        words.iter().for_each(|word| assert!(why.contains(word), "`{word}` is not in: {why}"));
    };
    refused("", &["JSON"]);
    refused("{\"a\": 1, \"b\": 2}", &["a, b", "vllm bench serve", "AIPerf"]);
    refused("arrival_s,input_tokens\n0,1\n", &["line 1"]);
    refused("[1, 2]", &["no object"]);
    refused("{\"mean_ttft_ms\": 1.0}", &["completed", "missing"]);
    refused("{\"mean_ttft_ms\": 0.0, \"completed\": 0}", &["no request was completed"]);
    refused("{\"request_throughput\": 3, \"completed\": 4}", &["without TTFT"]);
    refused("{\"request_latency\": {\"unit\": \"fortnights\", \"avg\": 1}}", &["request_latency", "fortnights"]);
}

// ---- the loop closed: a benchmark of known factors -----------------------------------------------------------

const HOST_BOUND: &str = "
simulation: {random_seed: 5}
hardware_profile: {node: H100-SXM}
workload:
  total_requests_to_generate: 120
  concurrency: 12
  client_profiles:
  - profile_name: chat
    inter_arrival_time_dist_config: {type: Exponential, rate: 100}
    prompt_tokens_dist_config: {type: Uniform, low: 100, high: 1500, is_int: true}
    max_output_tokens_dist_config: {type: Uniform, low: 20, high: 200, is_int: true}
frameworks_to_test:
- name: engine
  type: VLLM
  config: {model_profile_id: Llama-3.1-8B, async_scheduling: false}
";

fn document(text: &str) -> Document {
    let read = config::read(text, "test.yaml");
    read.document.unwrap_or_else(|| panic!("{:?}", read.diagnostics))
}

fn with_factors(text: &str, calibration: Value) -> Document {
    let mut json = serde_json::to_value(document(text)).unwrap();
    json["frameworks_to_test"][0]["config"]["calibration"] = calibration;
    config::read_value(&json).document.unwrap()
}

fn run(document: &Document) -> RunResult {
    let plan = sim::plan(document, &NoFiles).unwrap();
    let mut simulation = Simulation::new(&plan.runs[0]).unwrap();
    while !simulation.advance(1 << 20).done {}
    simulation.finish()
}

fn statistics(mut values: Vec<f64>) -> (f64, f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let tails = llmperforacle::metrics::quantiles(&mut values, &[0.5, 0.99]);
    (mean, tails[0], tails[1])
}

/// Times as a client sees them, ms.
fn seen(run: &RunResult) -> (Vec<f64>, Vec<f64>) {
    let requests = &run.requests;
    let ttft = (0..requests.len()).map(|row| (requests.first_token_ps[row] - requests.sent_ps[row]) as f64 / 1e9).collect();
    let tpot = (0..requests.len()).filter_map(|row| RequestTimes::of(requests, row).tpot_ms).collect();
    (ttft, tpot)
}

fn vllm_output(run: &RunResult) -> String {
    let (ttft, tpot) = seen(run);
    let (ttft, tpot) = (statistics(ttft), statistics(tpot));
    let total = |column: &[u32]| column.iter().map(|&tokens| u64::from(tokens)).sum::<u64>();
    json!({
        "completed": run.requests.len(),
        "total_input_tokens": total(&run.requests.input_tokens),
        "total_output_tokens": total(&run.requests.output_tokens),
        "request_rate": "inf",
        "max_concurrency": 12,
        "output_throughput": total(&run.requests.output_tokens) as f64 / (run.end_ps as f64 * 1e-12),
        "mean_ttft_ms": ttft.0, "median_ttft_ms": ttft.1, "p99_ttft_ms": ttft.2,
        "mean_tpot_ms": tpot.0, "median_tpot_ms": tpot.1, "p99_tpot_ms": tpot.2,
    })
    .to_string()
}

fn aiperf_output(run: &RunResult) -> String {
    let (ttft, tpot) = seen(run);
    let (ttft, tpot) = (statistics(ttft), statistics(tpot));
    json!({
        "request_count": {"unit": "requests", "avg": run.requests.len()},
        "request_latency": {"unit": "ms", "avg": 1.0},
        "time_to_first_token": {"unit": "ms", "avg": ttft.0, "p50": ttft.1, "p99": ttft.2},
        "inter_token_latency": {"unit": "us", "avg": tpot.0 * 1e3, "p50": tpot.1 * 1e3, "p99": tpot.2 * 1e3},
    })
    .to_string()
}

fn fit(text: &str, output: &str, options: &Options) -> Fitted {
    let mut fit = Fit::new(&document(text), Benchmark::read(output).unwrap(), Box::new(NoFiles), options).unwrap();
    // Small slices: a fit is done piece by piece in a worker.
    for _ in 0..1_000_000 {
        if fit.advance(500).unwrap().done {
            break;
        }
    }
    fit.finish()
}

fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found / expected - 1.0).abs() <= tolerance, "{found} is not {expected}");
}

#[test]
fn the_factors_of_a_benchmark_are_recovered() {
    for (device, host) in [(1.3, 0.6), (0.85, 2.5), (1.0, 1.0)] {
        let truth = run(&with_factors(HOST_BOUND, json!({"device_time": device, "host_time": host})));
        for output in [vllm_output(&truth), aiperf_output(&truth)] {
            let fitted = fit(HOST_BOUND, &output, &Options::default());
            near(fitted.factors.device_time, device, 0.02);
            near(fitted.factors.host_time, host, 0.05);
            let (before, after) = fitted.errors();
            assert!(after < 0.01 && after <= before, "{before} {after}");
            assert!(fitted.held.is_empty(), "{:?}", fitted.held);
        }
    }
}

#[test]
fn the_host_time_of_a_request_is_recovered_beside_them() {
    // At a rate (in a closed loop every time moves every other), with prompts long and short, so that the three can be told apart, and few at once: then all is smooth.
    let open = HOST_BOUND
        .replace("  concurrency: 12\n", "")
        .replace("rate: 100", "rate: 0.2")
        .replace("high: 1500", "high: 7000")
        .replace("generate: 120", "generate: 300");
    let truth = run(&with_factors(&open, json!({"device_time": 1.1, "host_time": 1.5, "per_request_ms": 40.0})));
    let fitted = fit(&open, &vllm_output(&truth), &Options { per_request: true, ..Options::default() });
    // Device and host time take each other's place within some percent; what they predict together does not move.
    near(fitted.factors.device_time, 1.1, 0.06);
    assert!((1.1..2.0).contains(&fitted.factors.host_time), "{:?}", fitted.factors);
    near(fitted.factors.per_request_ms.unwrap(), 40.0, 0.1);
    let (before, after) = fitted.errors();
    assert!(before > 0.1 && after < 0.01, "{before} {after}");
}

#[test]
fn a_host_that_is_hidden_is_left_alone_and_said() {
    // Batches formed ahead, long steps: the host's time is behind the GPU's, and a request's API time is nothing beside its queue.
    let hidden = HOST_BOUND
        .replace(", async_scheduling: false", "")
        .replace("Llama-3.1-8B", "Qwen3-32B")
        .replace("concurrency: 12", "concurrency: 48");
    let truth = run(&with_factors(&hidden, json!({"device_time": 1.25})));
    let fitted = fit(&hidden, &vllm_output(&truth), &Options::default());
    near(fitted.factors.device_time, 1.25, 0.02);
    assert_eq!(fitted.factors.host_time, 1.0);
    assert!(fitted.held.iter().any(|words| words.starts_with("host_time")), "{:?}", fitted.held);
}

#[test]
fn a_fitted_calibration_is_one_that_a_document_takes() {
    let truth = run(&with_factors(HOST_BOUND, json!({"device_time": 1.4, "host_time": 0.8})));
    let fitted = fit(HOST_BOUND, &vllm_output(&truth), &Options::default());
    let again = run(&with_factors(HOST_BOUND, fitted.factors.to_json("a test")));
    let throughput = |run: &RunResult| run.summary["throughput"]["output_tokens_per_second"].as_f64().unwrap();
    near(throughput(&again), throughput(&truth), 0.005);
}

#[test]
fn other_requests_than_the_benchmarks_are_noted_and_its_own_can_be_taken() {
    let truth = run(&document(HOST_BOUND));
    let fewer = HOST_BOUND.replace("total_requests_to_generate: 120", "total_requests_to_generate: 40");
    let output = vllm_output(&truth);
    let fitted = fit(&fewer, &output, &Options::default());
    assert!(fitted.notes.iter().any(|note| note.contains("40 requests in the document, 120 in the benchmark")), "{:?}", fitted.notes);
    let own = fit(&fewer, &output, &Options { own_requests: true, ..Options::default() });
    assert!(!own.notes.iter().any(|note| note.contains("in the document")), "{:?}", own.notes);
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let output = vllm_output(&run(&document(HOST_BOUND)));
    let refused =
        |text: &str, options: &Options| match Fit::new(&document(text), Benchmark::read(&output).unwrap(), Box::new(NoFiles), options) {
            Ok(_) => panic!("it was taken"),
            Err(FitError::Benchmark(why)) => why,
            Err(FitError::Document(found)) => found[0].to_string(),
        };
    let named = Options { entry: Some("nobody".to_owned()), ..Options::default() };
    assert!(refused(HOST_BOUND, &named).contains("there are: engine"));
    let two = format!("{HOST_BOUND}- name: other\n  type: VLLM\n  config: {{model_profile_id: Llama-3.1-8B}}\n");
    assert!(refused(&two, &Options::default()).contains("which entry was measured? The document has: engine, other"));
    let fixed = HOST_BOUND.replace("async_scheduling: false", "timing: {fixed: {prefill_ms: 10, decode_ms: 5}}");
    assert!(refused(&fixed, &Options::default()).contains("config.timing"));
}
