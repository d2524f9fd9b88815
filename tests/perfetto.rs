//! The trace against the rules of the "Trace Event Format" that importers check: known phases, finite times, complete events that do
//! not overlap on a track, async begins and ends that nest. Against the errors that Perfetto's own importer counts (`support/importer.rs`). And
//! against the run that it draws.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "support/importer.rs"]
mod importer;

use std::collections::BTreeMap;

use llmperforacle::metrics::RunResult;
use llmperforacle::report::perfetto;
use llmperforacle::sim::{NoFiles, Simulation};
use llmperforacle::units::Time;
use llmperforacle::{config, sim};
use serde_json::Value;

fn run(fast_path: bool, from: f64, to: f64) -> Vec<RunResult> {
    let document = config::preset("kv-pressure-a100").unwrap();
    let plan = sim::plan(&document, &NoFiles).unwrap();
    let run = |run: &sim::RunPlan| {
        let mut run = run.clone();
        run.fast_path = fast_path;
        let mut simulation = Simulation::new(&run).unwrap();
        simulation.keep_steps(Time::from_s(from), Time::from_s(to));
        while !simulation.advance(1000).done {}
        simulation.finish()
    };
    plan.runs.iter().take(2).map(run).collect()
}

fn trace(runs: &[RunResult]) -> (Value, Vec<String>) {
    let mut text = Vec::new();
    let notes = perfetto(runs, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let errors = importer::import(&text);
    assert!(errors.is_empty(), "{} errors, first {:#?}", errors.len(), &errors[..errors.len().min(3)]);
    (serde_json::from_str(&text).unwrap(), notes)
}

fn events(trace: &Value) -> &[Value] {
    trace["traceEvents"].as_array().unwrap()
}

fn of<'a>(trace: &'a Value, phase: &'a str) -> impl Iterator<Item = &'a Value> {
    events(trace).iter().filter(move |event| event["ph"] == phase)
}

/// Every event has what importers demand: known phases, whole numbers for process and thread, finite times that do not run backwards on a
/// counter, complete events that do not overlap on a track, async events that nest. The number of processes.
fn check(trace: &Value) -> usize {
    let mut open: BTreeMap<(String, String), Vec<(String, f64)>> = BTreeMap::new();
    let mut track_ends: BTreeMap<(u64, u64), f64> = BTreeMap::new();
    let mut counted: BTreeMap<(u64, String), f64> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for event in events(trace) {
        let pid = event["pid"].as_u64().unwrap();
        let name = event["name"].as_str().unwrap().to_owned();
        let phase = event["ph"].as_str().unwrap();
        let ts = event["ts"].as_f64();
        assert!(!name.is_empty() && (phase == "M" || ts.is_some_and(|ts| ts.is_finite() && ts >= 0.0)), "{event}");
        match phase {
            "M" if name == "process_name" => assert!(names.insert(pid, event["args"]["name"].clone()).is_none(), "two names"),
            "M" => assert!(name == "thread_name" && event["args"]["name"].is_string() && event["tid"].is_u64()),
            "X" => {
                let end = track_ends.entry((pid, event["tid"].as_u64().unwrap())).or_insert(0.0);
                let (ts, duration) = (ts.unwrap(), event["dur"].as_f64().unwrap());
                // Picoseconds survive as fractions of microseconds; a double holds them to a tenth at this size.
                assert!(duration > 0.0 && duration.is_finite() && ts >= *end - 1e-6, "{event}");
                *end = ts + duration;
            }
            "C" => {
                let last = counted.entry((pid, name)).or_insert(0.0);
                let value = event["args"]["value"].as_f64().unwrap();
                assert!(ts.unwrap() >= *last && value.is_finite() && value >= 0.0, "{event}");
                *last = ts.unwrap();
            }
            "b" => {
                let key = (event["cat"].to_string(), event["id"].to_string());
                assert!(!event["cat"].is_null() && !event["id"].is_null(), "{event}");
                let inside = open.entry(key).or_default();
                assert!(inside.last().is_none_or(|(_, start)| *start <= ts.unwrap()));
                inside.push((name, ts.unwrap()));
            }
            "e" => {
                let key = (event["cat"].to_string(), event["id"].to_string());
                let (begun, start) = open.get_mut(&key).and_then(Vec::pop).unwrap_or_else(|| panic!("ends and never began: {event}"));
                assert!(begun == name && start <= ts.unwrap(), "{event}");
            }
            other => panic!("{other}"),
        }
        assert!(names.contains_key(&pid), "a process without a name");
    }
    assert!(open.values().all(Vec::is_empty), "begun and never ended");
    names.len()
}

#[test]
fn every_event_keeps_the_rules_of_the_format() {
    let runs = run(true, 5.0, 25.0);
    let (trace, notes) = trace(&runs);
    assert!(notes.is_empty());
    assert_eq!(check(&trace), 4, "two runs, each with its requests and one replica");
}

/// Attention ranks that draft, stages, and steps scheduled several at once are drawn by the same rules.
#[test]
fn engines_that_take_steps_in_other_ways_keep_the_rules_too() {
    for entry in [
        "type: VLLM, config: {model_profile_id: DeepSeek-R1, dtype: fp8_block, max_model_len: 8192, data_parallel_size: 8, \
         speculative: {method: mtp, num_speculative_tokens: 2, acceptance_rate: 0.8}}",
        "type: VLLM, config: {model_profile_id: Llama-3.1-8B, pipeline_parallel_size: 2, max_model_len: 8192}",
        "type: VLLM, config: {model_profile_id: Llama-3.1-8B, max_model_len: 8192, vllm: {version: \"0.6\", num_scheduler_steps: 10}}",
    ] {
        let text = format!(
            "simulation: {{random_seed: 1}}\nhardware_profile: {{node: 8xH200-SXM}}\n\
             workload: {{preset: chat, total_requests_to_generate: 60}}\nframeworks_to_test: [{{name: \"größer, ⚡\", {entry}}}]\n"
        );
        let read = config::read(&text, "");
        let document = read.document.unwrap_or_else(|| panic!("{:#?}", read.diagnostics));
        let plan = sim::plan(&document, &NoFiles).unwrap();
        let mut simulation = Simulation::new(&plan.runs[0]).unwrap();
        simulation.keep_steps(Time::ZERO, Time::from_s(1e6));
        while !simulation.advance(1000).done {}
        let result = simulation.finish();
        let steps = result.summary["engine"]["steps"].as_f64().unwrap();
        let (trace, _) = trace(&[result]);
        assert_eq!(check(&trace), 2, "{entry}");
        assert_eq!(of(&trace, "X").count() as f64, steps, "{entry}");
    }
}

/// The checker finds what Perfetto counts as errors, each by the name of its statistic.
#[test]
fn faults_are_found() {
    let first = |events: &str| {
        let errors = importer::import(&format!("{{\"traceEvents\":[{events}]}}"));
        errors.first().map(|error| error.split(':').next().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    let slice = |ts: &str, dur: &str| format!(r#"{{"ph":"X","name":"a","pid":1,"tid":1,"ts":{ts},"dur":{dur}}}"#);
    let pair = |a: (&str, &str), b: (&str, &str)| first(&[slice(a.0, a.1), slice(b.0, b.1)].join(","));
    assert_eq!(pair(("0.0", "1.5"), ("1.5", "2.0")), "");
    // 0.6 and 1.6 ns are rounded to 1 and 2: the slice ends at 3, after the next one begins (2.2 ns, rounded to 2).
    assert_eq!(pair(("0.0006", "0.0016"), ("0.0022", "2.0")), "slice_spill_overlapping_complete_event");
    // One within another is no error to it.
    assert_eq!(pair(("0", "9"), ("1", "2")), "");
    assert_eq!(first(&slice("0", "null")), "json_parser_failure");
    assert_eq!(first(&slice("0", "-1")), "slice_negative_duration");
    assert_eq!(first(&slice("null", "1")), "json_tokenizer_failure");
    assert_eq!(first(&slice("-1", "1")), "trace_sorter_negative_timestamp_dropped");
    assert_eq!(first(r#"{"name":"no phase"}"#), "json_tokenizer_failure");
    assert_eq!(first(r#"{"ph":"C","name":"a","pid":1,"ts":0,"args":{}}"#), "json_parser_failure");
    assert_eq!(first(r#"{"ph":"C","name":"a","pid":1,"ts":0,"args":{"value":null}}"#), "json_parser_failure");
    assert_eq!(first(r#"{"ph":"M","name":"process_name","pid":1,"args":{"name":""}}"#), "json_parser_failure");
    assert_eq!(first(r#"{"ph":"b","name":"a","cat":"c","pid":1,"ts":0}"#), "json_parser_failure");
    assert_eq!(first(r#"{"ph":"b","name":"a","cat":"c","id":"1","pid":1,"ts":0}"#), "never ended");
    assert_eq!(first(r#"{"ph":"e","name":"a","cat":"c","id":"1","pid":1,"ts":0}"#), "an end without a begin");
}

#[test]
fn a_slice_a_step_a_track_a_request() {
    let runs = run(true, 0.0, 1e6);
    let (trace, _) = trace(&runs);
    let steps: f64 = runs.iter().map(|run| run.summary["engine"]["steps"].as_f64().unwrap()).sum();
    assert_eq!(of(&trace, "X").count() as f64, steps);
    let requests: usize = runs.iter().map(|run| run.requests.len()).sum();
    let whole = of(&trace, "b").filter(|event| event["name"].as_str().unwrap().starts_with("req_")).count();
    assert_eq!(whole, requests);
    let busy_us: f64 = of(&trace, "X").map(|event| event["dur"].as_f64().unwrap()).sum();
    let counted_us = runs.iter().map(|run| run.counters[0].step_ps as f64 / 1e6).sum::<f64>();
    assert!((busy_us - counted_us).abs() < 1e-6 * counted_us, "{busy_us} {counted_us}");
}

#[test]
fn steps_taken_singly_draw_the_same_slices() {
    let slices = |fast: bool| {
        let (trace, _) = trace(&run(fast, 10.0, 12.0));
        of(&trace, "X").map(|e| (e["pid"].clone(), e["ts"].clone(), e["dur"].clone(), e["name"].clone())).collect::<Vec<_>>()
    };
    let fast = slices(true);
    let single = slices(false);
    // A run of steps that reaches into the stretch is drawn whole.
    assert!(single.len() > 50 && single.iter().all(|slice| fast.contains(slice)));
}
