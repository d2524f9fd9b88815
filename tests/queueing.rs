//! The whole simulator against closed forms of queueing theory: documents in, summaries out.

use serde_json::{Value, json};

use llmperforacle::config::{self, Document};
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{NoFiles, Simulation, plan};

#[path = "support/run.rs"]
mod run;

fn document(value: &Value) -> Document {
    let read = config::read(&value.to_string(), "test.json");
    assert!(!read.diagnostics.iter().any(config::Diagnostic::is_error), "{:?}", read.diagnostics);
    read.document.expect("a document without errors")
}

fn run(value: &Value) -> Vec<RunResult> {
    run::simulate(&value.to_string(), &NoFiles)
}

/// A server for one request at a time, with `output` tokens each: the first comes with the prompt after `prefill_ms`, each
/// other takes 1 ms.
fn single_server(rate: f64, prefill_ms: f64, output: &Value, requests: u64) -> Value {
    json!({
        "simulation": {"random_seed": 11},
        "hardware_profile": {"node": "H100-SXM"},
        "workload": {
            "total_requests_to_generate": requests,
            "client_profiles": [{
                "profile_name": "poisson",
                "inter_arrival_time_dist_config": {"type": "Exponential", "rate": rate},
                "prompt_tokens_dist_config": {"type": "Constant", "value": 100},
                "max_output_tokens_dist_config": output,
            }],
        },
        "frameworks_to_test": [{"name": "server", "type": "VLLM", "config": {
            "model_profile_id": "Llama-3.1-8B",
            "max_num_seqs": 1,
            "async_scheduling": false,
            "timing": {"fixed": {"prefill_ms": prefill_ms, "decode_ms": 1.0}},
        }}],
    })
}

/// Seconds from arrival to admission, mean over requests.
fn mean_wait_s(result: &RunResult) -> f64 {
    let r = &result.requests;
    let waits = (0..r.len()).map(|row| (r.scheduled_ps[row] - r.arrival_ps[row]) as f64 * 1e-12);
    waits.sum::<f64>() / r.len() as f64
}

#[test]
fn constant_service_waits_as_m_d_1() {
    let service = 0.010;
    for load in [0.3, 0.6, 0.8] {
        let result = &run(&single_server(load / service, 10.0, &json!({"type": "Constant", "value": 1}), 200_000))[0];
        let expected = load * service / (2.0 * (1.0 - load));
        let error = mean_wait_s(result) / expected - 1.0;
        assert!(error.abs() < 0.04, "load {load}: {error}");
    }
}

#[test]
fn exponential_service_waits_as_m_m_1() {
    // Output n ~ Exponential(100): n - 1 decode steps of 1 ms and no time for the prompt.
    let output = json!({"type": "Exponential", "rate": 0.01});
    let result = &run(&single_server(6.0, 0.0, &output, 200_000))[0];
    // Rounding to whole tokens moves the moments a little: Pollaczek-Khinchine with the lengths that were drawn.
    let services: Vec<f64> = result.requests.output_tokens.iter().map(|&n| f64::from(n - 1) * 1e-3).collect();
    let n = services.len() as f64;
    let (mean, square) = (services.iter().sum::<f64>() / n, services.iter().map(|s| s * s).sum::<f64>() / n);
    assert!((mean / 0.0995 - 1.0).abs() < 0.02, "mean service {mean}");
    assert!((square / (2.0 * mean * mean) - 1.0).abs() < 0.03, "an exponential's second moment");
    let load = 6.0 * mean;
    let expected = 6.0 * square / (2.0 * (1.0 - load));
    let error = mean_wait_s(result) / expected - 1.0;
    assert!(error.abs() < 0.06, "{error}");
}

/// Little's law: what is in the system on average is the arrival rate times the time each spends there.
#[test]
fn littles_law_holds_for_the_gauges() {
    let result = &run(&json!({
        "simulation": {"random_seed": 3},
        "hardware_profile": {"node": "H100-SXM"},
        "workload": {
            "total_requests_to_generate": 30_000,
            "client_profiles": [{
                "profile_name": "chat",
                "inter_arrival_time_dist_config": {"type": "Exponential", "rate": 20.0},
                "prompt_tokens_dist_config": {"type": "Uniform", "low": 50, "high": 1500},
                "max_output_tokens_dist_config": {"type": "Exponential", "rate": 0.005},
            }],
        },
        "frameworks_to_test": [{"name": "engine", "type": "VLLM", "config": {"model_profile_id": "Llama-3.1-8B"}}],
    }))[0];
    let (r, s) = (&result.requests, &result.series);
    let time_in_system: f64 = (0..r.len()).map(|row| (r.finish_ps[row] - r.arrival_ps[row]) as f64).sum();
    let by_requests = time_in_system / result.end_ps as f64;
    let by_gauges = (0..s.running.len()).map(|bin| f64::from(s.running[bin] + s.waiting[bin])).sum::<f64>() / s.running.len() as f64;
    assert!((by_gauges / by_requests - 1.0).abs() < 0.05, "{by_gauges} in the gauges, {by_requests} by the requests");
}

/// Two entries side by side serve the same requests.
#[test]
fn entries_are_compared_on_the_same_requests() {
    let mut value = single_server(20.0, 10.0, &json!({"type": "Exponential", "rate": 0.05}), 2000);
    let mut other = value["frameworks_to_test"][0].clone();
    other["name"] = json!("two seats");
    other["config"]["max_num_seqs"] = json!(2);
    value["frameworks_to_test"].as_array_mut().expect("a list").push(other);
    let results = run(&value);
    assert_eq!(results[0].requests.arrival_ps, results[1].requests.arrival_ps);
    assert_eq!(results[0].requests.output_tokens, results[1].requests.output_tokens);
    assert_ne!(results[0].requests.finish_ps, results[1].requests.finish_ps);
}

/// Shared by four servers in turn, each gets a quarter and the result does not depend on the fast path.
#[test]
fn replicas_share_one_stream() {
    let mut value = single_server(200.0, 10.0, &json!({"type": "Constant", "value": 5}), 4000);
    value["simulation"]["comparison"] = json!("shared");
    let entry = value["frameworks_to_test"][0].clone();
    let entries = (0..4).map(|index| {
        let mut entry = entry.clone();
        entry["name"] = json!(format!("replica {index}"));
        entry
    });
    value["frameworks_to_test"] = entries.collect();
    let result = &run(&value)[0];
    for replica in 0..4 {
        assert_eq!(result.requests.replica.iter().filter(|&&r| r == replica).count(), 1000);
    }
}

/// What would never end is refused, and says what would end it.
#[test]
fn an_endless_experiment_is_refused() {
    // The reader of documents refuses it before: this one is made by hand.
    let mut endless = document(&single_server(20.0, 10.0, &json!({"type": "Constant", "value": 5}), 10));
    endless.workload.total_requests_to_generate = None;
    let errors = plan(&endless, &NoFiles).expect_err("no end in sight");
    assert!(errors.len() == 1 && errors[0].message.contains("nothing ends") && errors[0].hint.contains("max_simulation_time"));
}

/// The time that requests arrive in, cut short: what is left over is reported, with the tokens that came out.
#[test]
fn what_is_under_way_at_the_end_is_unfinished() {
    let mut value = single_server(50.0, 10.0, &json!({"type": "Constant", "value": 100}), 1000);
    value["simulation"]["max_simulation_time"] = json!(2.05);
    let result = &run(&value)[0];
    assert_eq!(result.end_ps, 2_050_000_000_000);
    let requests = &result.summary["requests"];
    let (total, done, unfinished) = (&requests["total"], &requests["successful"], &requests["unfinished"]);
    assert_eq!(total.as_u64(), Some(done.as_u64().unwrap_or(0) + unfinished.as_u64().unwrap_or(0)));
    // The first comes after 34 ms and each takes 109 ms, so 18 are done after 2.0 s, and the 19th has its first tokens at 2.05 s.
    assert_eq!(done.as_u64(), Some(18));
    let under_way = (0..result.requests.len()).find(|&row| result.requests.status[row] == 0).expect("one is on its way");
    assert!((1..100).contains(&result.requests.output_tokens[under_way]));
}

/// An inline config.json says how its weights are stored: half the bytes leave more room for KV.
#[test]
fn a_quantised_config_is_taken_as_such() {
    let blocks = |quantisation: Value| {
        let mut value = single_server(20.0, 10.0, &json!({"type": "Constant", "value": 5}), 10);
        let config = &mut value["frameworks_to_test"][0]["config"];
        config.as_object_mut().expect("a map").remove("model_profile_id");
        config["model"] = json!({
            "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
            "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 8192, "quantization_config": quantisation,
        });
        run(&value)[0].kv_blocks_total
    };
    assert!(blocks(json!({"quant_method": "fp8"})) > blocks(Value::Null));
}

/// Prompts that had to be lengthened are told of, once they are.
#[test]
fn changed_requests_are_told_of() {
    let mut value = single_server(20.0, 10.0, &json!({"type": "Constant", "value": 5}), 10);
    value["workload"]["client_profiles"][0]["shared_prefix_tokens"] = json!(200);
    value["workload"]["client_profiles"][0]["prompt_tokens_dist_config"] = json!({"type": "Uniform", "low": 150, "high": 400});
    let plan = plan(&document(&value), &NoFiles).expect("a plan");
    let mut simulation = Simulation::new(&plan.runs[0]).expect("a planned run");
    assert!(simulation.warnings().is_empty());
    assert!(simulation.advance(u64::MAX).done);
    assert!(simulation.warnings().iter().any(|warning| warning.message.contains("lengthened")));
}
