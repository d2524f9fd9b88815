//! How results move with their assumptions: directions, sizes, and what is no assumption.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::config::{self, Document};
use llmperforacle::metrics::RunResult;
use llmperforacle::report::{Varied, sensitivity_json, sensitivity_text};
use llmperforacle::sim::sensitivity::ASSUMPTIONS;
use llmperforacle::sim::{self, NoFiles, Simulation};

fn document(entry: &str) -> Document {
    let text = format!(
        "simulation: {{random_seed: 1}}\nhardware_profile: {{node: H100-SXM}}\nworkload: {{concurrency: 8, total_requests_to_generate: 80, \
         client_profiles: [{{profile_name: a, prompt_tokens_dist_config: {{type: Constant, value: 300, is_int: true}}, \
         max_output_tokens_dist_config: {{type: Constant, value: 100, is_int: true}}}}]}}\nframeworks_to_test:\n- {entry}\n"
    );
    let read = config::read(&text, "t.yaml");
    read.document.unwrap_or_else(|| panic!("{:?}", read.diagnostics))
}

fn run(document: &Document) -> Vec<RunResult> {
    let plan = sim::plan(document, &NoFiles).unwrap();
    let of = |run| {
        let mut simulation = Simulation::new(run).unwrap();
        while !simulation.advance(1 << 20).done {}
        simulation.finish()
    };
    plan.runs.iter().map(of).collect()
}

fn varied(document: &Document) -> Vec<Varied> {
    let mut varied = Vec::new();
    for assumption in ASSUMPTIONS {
        for factor in assumption.factors {
            if let Some(changed) = assumption.changed(document, factor) {
                varied.push(Varied { assumption: assumption.name, factor, runs: run(&changed) });
            }
        }
    }
    varied
}

#[test]
fn each_assumption_moves_what_it_should_and_the_range_holds_the_result() {
    let document = document("{name: a, type: VLLM, config: {model_profile_id: Llama-3.2-1B, async_scheduling: false}}");
    let (base, varied) = (run(&document), varied(&document));
    let names: Vec<&str> = varied.iter().map(|variant| variant.assumption).collect();
    assert_eq!(names.iter().filter(|name| **name == "host time").count(), 2);
    assert!(!names.contains(&"rates of KV tiers") && !names.contains(&"start-up times"), "{names:?}");
    let told = sensitivity_json(&base, &varied);
    let all: Vec<&str> = told[0]["metrics"].as_array().unwrap().iter().filter_map(|metric| metric["name"].as_str()).collect();
    assert_eq!(all, ["TTFT median", "TTFT p99", "TPOT median", "end-to-end median", "output"]);
    let tpot = told[0]["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "TPOT median").unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert!(number(&tpot["low"]) < number(&tpot["value"]) && number(&tpot["value"]) < number(&tpot["high"]));
    let of = |name: &str, factor: f64| {
        let found = tpot["by"].as_array().unwrap().iter().find(|each| each["assumption"] == name && each["factor"] == factor).unwrap();
        number(&found["value"]) / number(&tpot["value"])
    };
    // A synchronous step is its device time and its host time: 1 ms and 10 us a sequence beside about 1 ms of weights. Together the two
    // factors account for all of it: twice the host time adds what a tenth of the device time leaves.
    let (host, device) = (of("host time", 2.0) - 1.0, 10.0 * (of("device time", 1.1) - 1.0));
    assert!(host > 0.2 && device > 0.2, "{host} {device}");
    assert!((host + device - 1.0).abs() < 0.05, "{host} {device}");
    // Steps that only decode are replayed from a graph: no launches, and no experts to be skewed.
    assert!((of("launches without a graph", 1.5) - 1.0).abs() < 0.02);
    assert!((of("skew of experts", 1.5) - 1.0).abs() < 1e-9);
    let text = sensitivity_text(&base, &varied);
    assert!(text.contains("TPOT median") && text.contains("host time x 2"), "{text}");
}

#[test]
fn more_even_experts_read_more_weights() {
    let document = document("{name: a, type: VLLM, config: {model_profile_id: Qwen3-30B-A3B}}");
    let skew = ASSUMPTIONS.iter().find(|assumption| assumption.name == "skew of experts").unwrap();
    let throughput = |factor| {
        let runs = run(&skew.changed(&document, factor).unwrap());
        runs[0].summary["throughput"]["output_tokens_per_second"].as_f64().unwrap()
    };
    assert!(throughput(1.5) > 1.02 * throughput(0.5));
}

#[test]
fn what_a_document_states_is_no_assumption() {
    let stated = document(
        "{name: a, type: VLLM, config: {model_profile_id: Llama-3.2-1B, host_overhead: {per_step_us: 1, per_sequence_us: 1, \
         per_new_request_us: 1, per_launch_us: 5}, calibration: {device_time: 1.2, expert_skew: 0.5}}}",
    );
    assert!(ASSUMPTIONS.iter().all(|assumption| assumption.changed(&stated, 2.0).is_none()));
    let fixed = document("{name: a, type: VLLM, config: {model_profile_id: Llama-3.2-1B, timing: {fixed: {prefill_ms: 5, decode_ms: 5}}}}");
    assert!(ASSUMPTIONS.iter().all(|assumption| assumption.changed(&fixed, 2.0).is_none()));
    let tiered = document("{name: a, type: VLLM, config: {model_profile_id: Llama-3.2-1B, kv_tiers: {host: {size_gb: 20}}}}");
    let scaled = document(
        "{name: a, type: VLLM, autoscaler: {metric: in_flight, target: 8, max_replicas: 2}, config: {model_profile_id: Llama-3.2-1B}}",
    );
    let rests = |document: &Document, name: &str| ASSUMPTIONS.iter().any(|each| each.name == name && each.changed(document, 2.0).is_some());
    assert!(rests(&tiered, "rates of KV tiers") && !rests(&tiered, "start-up times"));
    assert!(rests(&scaled, "start-up times") && !rests(&scaled, "rates of KV tiers"));
    let timed = document(
        "{name: a, type: VLLM, autoscaler: {metric: in_flight, target: 8, max_replicas: 2}, startup: {provision_s: 1, compile_s: 1, warm_up_s: 1, \
         weights_gb_per_s: 2}, config: {model_profile_id: Llama-3.2-1B}}",
    );
    assert!(!rests(&timed, "start-up times"));
}
