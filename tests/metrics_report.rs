//! Summary, CSV and table of a small run whose every number can be worked out by hand.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::config::schema::ServiceLevelObjective;
use llmperforacle::cost::{PowerModel, StepParts};
use llmperforacle::engine::{Observer, RejectReason, StepRun};
use llmperforacle::metrics::{Handover, MemoryBudget, Recorder, ReplicaInfo, RunEconomics, RunInfo, RunResult, Work, columns, definitions};
use llmperforacle::report::{metrics_reference, requests_csv, summary, table};
use llmperforacle::units::Time;
use llmperforacle::workload::Request;
use serde_json::Value;

fn s(seconds: f64) -> Time {
    Time::from_s(seconds)
}

fn request(id: u32, arrival_s: f64, input_tokens: u32, output_tokens: u32, session: Option<u32>, turn: u16) -> Request {
    Request { session, turn, sent: s(arrival_s - 0.5), ..Request::new(id, s(arrival_s), input_tokens, output_tokens) }
}

fn step(start_s: f64, duration_s: f64, steps: u64, decodes: u32, prefill: u64, first_tokens: u32) -> StepRun<'static> {
    let duration_ps = s(duration_s).0;
    StepRun {
        replica: 0,
        start: s(start_s),
        steps,
        first_duration_ps: duration_ps,
        duration_increment_ps: 0,
        first_device_ps: duration_ps / 4 * 3,
        device_increment_ps: 0,
        first_parts: StepParts {
            gemm_ps: duration_ps / 2,
            attention_ps: duration_ps / 4,
            host_ps: duration_ps / 4,
            ..StepParts::default()
        },
        decode_sequences: decodes,
        first_context: if decodes > 0 { 100 } else { 0 },
        prefill_tokens: prefill,
        prefill_pairs: prefill * (prefill + 1) / 2,
        encoded_images: 0,
        encoding_ps: 0,
        padded_tokens: 1,
        eager: false,
        kv_wait_ps: 0,
        adapters: Default::default(),
        stopped_decodes: 0,
        held_back: None,
        wasted_sequences: 0,
        drafted_tokens: 0,
        accepted_tokens: 0,
        first_tokens,
        regular_gaps: decodes,
        bunched_tokens: 0,
        other_gaps_ps: &[],
        stalled_gaps: &[],
        running: decodes.max(first_tokens),
        waiting: 0,
        kv_blocks_after: &|_| 30,
    }
}

/// Warm-up 10 s, end 60 s. Requests:
/// 0 arrives in the warm-up (5 s), ends at 12 s; 1 arrives at 20 s, waits 1 s, first token at 22 s, 5 tokens, ends at 26 s;
/// 2 (turn 1 of 1's conversation, 60 of 100 tokens cached) arrives at 30 s, one token at 31 s;
/// 3 is rejected; 4 arrives at 40 s, is preempted once and unfinished.
fn run() -> RunResult {
    // 100 W idle, 200 W more in kernels, at most 300 W in all.
    let power = PowerModel { idle_mw: 100_000, span_mw: 200_000, busy_mw: 200_000, ..PowerModel::default() };
    let mut r = Recorder::new(s(10.0), Some(5)).with_power(vec![Some(power)]);
    r.arrived(0, &request(0, 5.0, 10, 2, None, 0));
    r.scheduled(0, s(5.0), 0);
    r.steps(&step(5.0, 6.0, 1, 0, 10, 1));
    r.first_token(0, s(11.0));
    r.steps(&step(11.0, 1.0, 1, 1, 0, 0));
    r.finished(0, 0, s(12.0), 2, 10);
    r.arrived(0, &request(1, 20.0, 100, 5, Some(1), 0));
    r.scheduled(1, s(21.0), 0);
    r.steps(&step(21.0, 1.0, 1, 0, 100, 1));
    r.first_token(1, s(22.0));
    r.steps(&step(22.0, 1.0, 4, 1, 0, 0));
    r.finished(0, 1, s(26.0), 5, 100);
    r.arrived(0, &request(2, 30.0, 100, 1, Some(1), 1));
    r.scheduled(2, s(30.0), 60);
    r.steps(&step(30.0, 1.0, 1, 0, 40, 1));
    r.first_token(2, s(31.0));
    r.finished(0, 2, s(31.0), 1, 40);
    r.arrived(0, &request(3, 35.0, 1_000_000, 5, None, 0));
    r.rejected(0, 3, s(35.0), RejectReason::TooLongForModel);
    r.arrived(0, &request(4, 40.0, 100, 50, None, 0));
    r.scheduled(4, s(40.0), 0);
    r.steps(&step(40.0, 2.0, 1, 0, 100, 1));
    r.first_token(4, s(42.0));
    r.preempted(0, 4, s(42.0));
    r.unfinished(4, 1, 250);
    // Request 1's KV went to a second engine: memory after 2 ms, 3 ms on the way, of which 1 ms while its prompt was computed.
    let ps = |ms: u64| ms * 1_000_000_000;
    r.handed_over(
        1,
        &Handover {
            decode_replica: 1,
            offered_ps: ps(22_000),
            granted_ps: ps(22_002),
            prefilled_ps: ps(22_004),
            sent_ps: ps(22_003),
            arrived_ps: ps(22_006),
            seated_ps: ps(22_010),
            bytes: 640,
            ..Handover::default()
        },
    );
    r.links([(10, 100), (6_000, 1_000), (0, 1)].into_iter());
    let work = Work {
        flops_per_token: 10.0,
        flops_per_sampled_token: 5.0,
        flops_per_attention_pair: 2.0,
        weight_bytes_per_step: 100.0,
        kv_bytes_per_token: 1.0,
        state_bytes_per_sequence: 0.0,
        peak_flops: 1000.0,
        peak_memory_bytes_per_s: 50.0,
    };
    let replica = ReplicaInfo {
        entry: "=vllm".into(),
        single_steps: None,
        framework: "VLLM".into(),
        model: "m".into(),
        device: "H100".into(),
        gpus: 2,
        role: String::new(),
        kv_blocks: 40,
        block_tokens: 16,
        work,
        memory: MemoryBudget { total_bytes: 80e9, ..MemoryBudget::default() },
        power: Some(power),
        usd_per_gpu_hour: Some(3.0),
        price_source: "a test".into(),
    };
    let info = RunInfo {
        encode_pool: None,
        name: "=vllm".into(),
        percentiles: vec![0.5, 0.999],
        slo: Some(ServiceLevelObjective { ttft_ms: Some(1500.0), ..ServiceLevelObjective::default() }),
        profiles: vec!["chat, \"long\"".into()],
        seed: 7,
        confidence: "calibrated".into(),
        economics: RunEconomics { grid: "here".into(), gco2_per_kwh: 100.0, pue: 1.5 },
        replicas: vec![replica],
    };
    r.finish(info, s(60.0))
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| value.get(key).unwrap_or_else(|| panic!("no {key} of {path}")))
}

#[test]
fn the_summary_is_what_a_pencil_gives() {
    let run = run();
    let close = |path: &str, expected: f64| {
        let value = at(&run.summary, path).as_f64().unwrap_or_else(|| panic!("{path}: {}", at(&run.summary, path)));
        assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{path}: {value}, not {expected}");
    };
    close("simulation.total_duration_s", 60.0);
    close("simulation.effective_duration_s", 50.0);
    close("simulation.drain_duration_s", 20.0);
    close("requests.total", 4.0);
    close("requests.successful", 2.0);
    close("requests.failed", 2.0);
    close("requests.success_rate", 0.5);
    close("requests.unfinished", 1.0);
    close("requests.rejected.too_long_for_model", 1.0);
    close("requests.in_warm_up", 1.0);
    // Requests 0, 1 and 2 end in the window; so do the first tokens of 0, 1, 2 and 4.
    close("throughput.requests_per_second", 3.0 / 50.0);
    close("throughput.output_tokens_per_second", (2.0 + 5.0 + 1.0 + 1.0) / 50.0);
    close("throughput.input_tokens_per_second", 310.0 / 50.0);
    close("throughput.output_tokens_per_second_per_gpu", 9.0 / 100.0);
    close("throughput.offered_requests_per_second", 4.0 / 30.0);
    close("latency.time_to_first_token_ms.mean", 1500.0);
    close("latency.time_to_first_token_ms.std", 500.0);
    close("latency.time_to_first_token_ms.p50", 1500.0);
    assert_eq!(at(&run.summary, "latency.time_to_first_token_ms")["p99.9"], 1999.0);
    close("latency.time_per_output_token_ms.count", 1.0);
    close("disaggregation.requests", 1.0);
    close("disaggregation.bytes", 640.0);
    close("disaggregation.memory_wait_ms.mean", 2.0);
    close("disaggregation.transfer_ms.mean", 3.0);
    close("disaggregation.exposed_transfer_ms.mean", 2.0);
    close("disaggregation.seat_wait_ms.mean", 4.0);
    // The link that was busiest by its rate: 6000 of 1000 a second in 60 s.
    close("disaggregation.busiest_link_share", 0.1);
    close("latency.time_per_output_token_ms.p50", 1000.0);
    close("latency.end_to_end_latency_ms.max", 6000.0);
    close("latency.inter_token_latency_ms.count", 5.0);
    close("latency.inter_token_latency_ms.p50", 1000.0);
    close("latency.queue_time_ms.max", 1000.0);
    close("prefix_caching.prefill_reduction_ratio", 60.0 / 300.0);
    close("prefix_caching.conversational_hit_rate", 1.0);
    close("prefix_caching.overall_hit_rate", 1.0 / 3.0);
    close("goodput.share", 0.25);
    close("goodput.requests_per_second", 1.0 / 50.0);
    close("engine.steps", 9.0);
    close("engine.decode_only_steps", 5.0);
    // Request 1 waits 1 s.
    close("engine.mean_waiting", 1.0 / 50.0);
    close("engine.preemptions", 1.0);
    close("engine.recomputed_tokens", 150.0);
    close("engine.kv_blocks.peak_share", 0.75);
    // Of the 50 s, 15 s are steps: 6 + 1 + 1 + 4 + 1 + 2; the one that straddles the warm-up counts whole.
    // The step from 5 to 11 s is counted whole, so the window is 55 s long here.
    close("utilisation.time.gemm", 7.5 / 55.0);
    close("utilisation.time.host", 3.75 / 55.0);
    close("utilisation.time.idle", 40.0 / 55.0);
    let tokens = 5.0 + 250.0;
    let pairs = (100.0 + 400.0 + 6.0) + (55.0 + 5050.0 + 820.0 + 5050.0);
    close("utilisation.compute", (tokens * 10.0 + 9.0 * 5.0 + pairs * 2.0) / (1000.0 * 55.0));
    close("utilisation.memory_bandwidth", (9.0 * 100.0 + 506.0 + tokens) / (50.0 * 55.0));
    close("provenance.seed", 7.0);
    // Kernels run three quarters of the 15 s of steps: 2,250 J above idle in 55 s.
    let watts = 100.0 + 2250.0 / 55.0;
    close("energy.mean_power_w", watts);
    close("energy.mean_power_w_per_gpu", watts / 2.0);
    close("energy.share_of_limit", watts / 300.0);
    close("energy.idle_share", 100.0 / watts);
    close("energy.total_j", watts * 50.0);
    close("energy.joules_per_output_token", watts * 50.0 / 9.0);
    close("energy.kwh_per_day", watts * 1.5 * 24.0 / 1000.0);
    close("energy.gco2", watts * 50.0 * 1.5 / 3.6e6 * 100.0);
    close("energy.gco2_per_million_output_tokens", watts * 50.0 * 1.5 / 3.6e6 * 100.0 / 9.0 * 1e6);
    // Two GPUs at 3 USD an hour, for 50 s.
    let bill = 6.0 * 50.0 / 3600.0;
    close("cost.usd_per_hour", 6.0);
    close("cost.usd_per_million_output_tokens", bill / 9.0 * 1e6);
    close("cost.usd_per_million_input_tokens", bill / 310.0 * 1e6);
    close("cost.usd_per_million_tokens", bill / 319.0 * 1e6);
    close("cost.usd_per_thousand_requests", bill / 3.0 * 1e3);
}

#[test]
fn power_over_time_adds_up_to_the_energy() {
    let run = run();
    let power = run.power_w().unwrap();
    let bin_s = run.series.bin_ps as f64 / 1e12;
    let widths = (0..power.len()).map(|bin| (60.0 - bin as f64 * bin_s).min(bin_s));
    let joules: f64 = power.iter().zip(widths).map(|(watts, s)| watts * s).sum();
    // The step that straddles the warm-up is in the series whole too; 15 s of steps at 150 W above idle.
    assert!((joules - (60.0 * 100.0 + 2250.0)).abs() < 1e-6, "{joules}");
    assert!(power.iter().all(|watts| (100.0..=300.0 + 1e-9).contains(watts)));
}

#[test]
fn an_empty_run_has_a_summary_without_numbers_that_mean_nothing() {
    let run = Recorder::new(Time::ZERO, None).finish(RunInfo::default(), Time::ZERO);
    assert_eq!(at(&run.summary, "requests.total"), 0);
    assert!(at(&run.summary, "requests.success_rate").is_null());
    assert!(at(&run.summary, "throughput.requests_per_second").is_null());
    assert_eq!(at(&run.summary, "latency.time_to_first_token_ms").to_string(), "{\"count\":0}");
    let mut csv = Vec::new();
    requests_csv(&[run], &mut csv).unwrap();
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 1);
}

#[test]
fn the_originals_keys_come_first_and_in_its_order() {
    let keys: Vec<String> = run().summary.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys[..6], ["simulation", "requests", "throughput", "latency", "gpu_utilization", "prefix_caching"]);
    let start_with = |section: &str, expected: &[&str]| {
        let keys: Vec<String> = run().summary[section].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys[..expected.len()], *expected);
    };
    start_with("simulation", &["total_duration_s", "warm_up_duration_s", "effective_duration_s"]);
    start_with("requests", &["total", "successful", "failed", "success_rate"]);
    start_with("throughput", &["requests_per_second", "output_tokens_per_second"]);
    start_with("latency", &["time_to_first_token_ms", "time_per_output_token_ms", "end_to_end_latency_ms"]);
    start_with("prefix_caching", &["overall_hit_rate", "conversational_hit_rate", "cross_request_hit_rate", "event_counts"]);
    let header: Vec<&str> = columns().iter().map(|column| column.name).collect();
    assert_eq!(
        header[..16].join(","),
        "request_id,client_id,session_id,prompt_tokens,max_output_tokens,output_tokens,arrival_time,first_token_time,completion_time,status,\
         ttft_ms,tpot_ms,e2e_latency_ms,prefix_cache_event,cached_prefix_length,tokens_actually_prefilled"
    );
}

/// Every number of the summary is defined, and every definition is of something in the summary.
#[test]
fn the_table_of_metrics_and_the_summary_cover_each_other() {
    fn leaves(value: &Value, path: String, out: &mut Vec<String>) {
        match value {
            Value::Object(object) if !object.is_empty() => {
                for (key, value) in object {
                    leaves(value, if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, out);
                }
            }
            _ => out.push(path),
        }
    }
    let mut result = run();
    // Sections that are null in a run without operations and without images.
    result.info.encode_pool = Some(Default::default());
    result.fleet.kept = true;
    // And those that are null without LoRA adapters and without swapping.
    result.counters[0].adapters.batch_ps = 1;
    result.counters[0].swap.out = 1;
    let summary = llmperforacle::metrics::summary(&result);
    let mut paths = Vec::new();
    leaves(&summary, String::new(), &mut paths);
    let covers = |key: &str, path: &str| path == key || path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    for path in &paths {
        assert!(definitions().iter().any(|d| covers(d.key, path)), "{path} is not defined");
    }
    for definition in definitions() {
        assert!(paths.iter().any(|path| covers(definition.key, path)), "{} is not in the summary", definition.key);
    }
}

#[test]
fn rows_read_back_as_what_happened() {
    let mut text = Vec::new();
    requests_csv(&[run()], &mut text).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let cell = |row: usize, name: &str| rows[row][header.iter().position(|h| h == name).unwrap()].to_string();
    assert_eq!(rows.len(), 5);
    assert_eq!(cell(0, "request_id"), "req_1");
    assert_eq!(cell(0, "session_id"), "");
    assert_eq!(cell(1, "session_id"), "sess_2");
    assert_eq!(cell(2, "client_id"), "client_chat, \"long\"_2");
    assert_eq!(cell(1, "arrival_time"), "20.0");
    assert_eq!(cell(1, "ttft_ms"), "2000.0");
    assert_eq!(cell(1, "tpot_ms"), "1000.0");
    assert_eq!(cell(2, "tpot_ms"), "");
    assert_eq!(["decode_replica", "kv_memory_wait_ms", "kv_transfer_ms", "kv_bytes"].map(|name| cell(1, name)), ["1", "2.0", "3.0", "640"]);
    assert_eq!(["decode_replica", "kv_memory_wait_ms", "kv_transfer_ms", "kv_bytes"].map(|name| cell(2, name)), ["", "", "", ""]);
    assert_eq!(cell(2, "prefix_cache_event"), "CONVERSATIONAL_HIT");
    assert_eq!(cell(3, "status"), "REJECTED");
    assert_eq!(cell(3, "reject_reason"), "too_long_for_model");
    assert_eq!(cell(3, "completion_time"), "");
    assert_eq!(cell(4, "status"), "PENDING");
    assert_eq!(cell(4, "preemptions"), "1");
    assert_eq!(cell(1, "queue_time_ms"), "1000.0");
    // A name that a spreadsheet would run is defused.
    assert_eq!(cell(0, "entry"), "'=vllm");
}

#[test]
fn several_runs_stand_side_by_side() {
    let mut other = run();
    other.name = "second".into();
    let runs = [run(), other];
    let text = table(&runs);
    let row = text.lines().find(|line| line.starts_with("TTFT p50 [ms]")).unwrap();
    assert_eq!(row.split_whitespace().skip(3).collect::<Vec<_>>(), ["1500", "1500"]);
    assert!(text.lines().next().unwrap().ends_with("=vllm  second"), "{text}");
    assert_eq!(summary(&runs)["runs"]["second"]["requests"]["total"], 4);
    assert_eq!(summary(&runs[..1])["requests"]["total"], 4);
}

/// `BLESS=1 cargo test` writes the file.
#[test]
fn the_reference_in_docs_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, metrics_reference()).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap_or_default() == metrics_reference(), "run: BLESS=1 cargo test --test metrics_report");
}
