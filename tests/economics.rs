//! Energy and money of whole runs: against published energy per token, and by the document's own prices.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::config;
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{NoFiles, plan};
use serde_json::{Value, json};

#[path = "support/run.rs"]
mod run;

/// Chats of 200 tokens in and 500 out, with so many clients at a time.
fn document(node: &str, model: &str, tp: u32, clients: u32, economics: Value) -> Value {
    let constant = |value: u32| json!({"type": "Constant", "value": value, "is_int": true});
    json!({
        "simulation": {"random_seed": 1},
        "hardware_profile": {"node": node},
        "economics": economics,
        "workload": {"total_requests_to_generate": clients * 4, "concurrency": clients, "client_profiles": [{"profile_name": "chat",
            "prompt_tokens_dist_config": constant(200), "max_output_tokens_dist_config": constant(500)}]},
        "frameworks_to_test": [{"name": "a", "type": "VLLM",
            "config": {"model_profile_id": model, "tensor_parallel_size": tp, "max_num_seqs": clients, "enable_prefix_caching": false}}],
    })
}

fn run(document: &Value) -> RunResult {
    run::simulate(&document.to_string(), &NoFiles).remove(0)
}

fn at(run: &RunResult, pointer: &str) -> f64 {
    run.summary.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer}"))
}

#[test]
fn energy_per_token_is_near_the_published() {
    // ML.ENERGY v3, H100, vLLM 0.11.1; its prompts' lengths are not published, so 200 tokens are an assumption.
    for (model, tp, clients, joules) in [
        ("Llama-3.1-8B", 1, 8, 0.4548),
        ("Llama-3.1-8B", 1, 64, 0.11858),
        ("Llama-3.1-8B", 1, 256, 0.07664),
        ("Llama-3.1-70B", 4, 8, 3.75871),
        ("Llama-3.1-70B", 4, 128, 0.56337),
    ] {
        let run = run(&document("8xH100-SXM", model, tp, clients, json!({})));
        let ours = at(&run, "/energy/joules_per_output_token");
        println!(
            "{model} x {clients}: {ours:.4} J, {joules} published ({:+.1} %), {:.0} W, step {:.2} ms",
            (ours / joules - 1.0) * 100.0,
            at(&run, "/energy/mean_power_w"),
            at(&run, "/engine/mean_step_ms")
        );
        assert!((ours / joules - 1.0).abs() < 0.4, "{model} x {clients}: {ours}, {joules} published");
        let power = run.power_w().unwrap();
        let (idle, limit) = (0.115 * 700.0 * f64::from(tp), 700.0 * f64::from(tp));
        assert!(power.iter().all(|watts| (idle - 1e-6..=limit + 1e-6).contains(watts)), "{power:?}");
    }
}

#[test]
fn the_document_sets_price_grid_and_overhead_and_none_of_them_changes_the_run() {
    let plain = run(&document("H100-SXM", "Llama-3.1-8B", 1, 8, json!({})));
    let priced = json!({"usd_per_gpu_hour": 2.0, "gco2_per_kwh": 50.0, "pue": 1.25});
    let priced = run(&document("H100-SXM", "Llama-3.1-8B", 1, 8, priced));
    assert_eq!(plain.hash(), priced.hash());
    assert_eq!((at(&plain, "/cost/usd_per_hour"), at(&priced, "/cost/usd_per_hour")), (2.95, 2.0));
    let ratio = |pointer| at(&priced, pointer) / at(&plain, pointer);
    assert!((ratio("/cost/usd_per_million_output_tokens") - 2.0 / 2.95).abs() < 1e-12);
    assert!((ratio("/energy/kwh_per_day") - 1.25).abs() < 1e-12);
    assert!((ratio("/energy/gco2") - 1.25 * 50.0 / 481.0).abs() < 1e-12);
    assert_eq!(at(&plain, "/energy/total_j"), at(&priced, "/energy/total_j"));
    // A lower power limit bounds the power.
    let capped = run(&document("H100-SXM", "Llama-3.1-8B", 1, 8, json!({"gpu_power_w": 300.0})));
    assert!(at(&capped, "/energy/mean_power_w") <= 300.0);
}

#[test]
fn an_unknown_grid_is_refused_with_those_there_are() {
    let read = config::read_value(&document("H100-SXM", "Llama-3.1-8B", 1, 8, json!({"grid": "swden"})));
    let errors = plan(&read.document.unwrap(), &NoFiles).unwrap_err();
    assert_eq!(errors[0].path, "economics.grid");
    assert!(errors[0].to_string().contains("sweden"), "{}", errors[0]);
    let both = config::read_value(&document("H100-SXM", "Llama-3.1-8B", 1, 8, json!({"grid": "sweden", "gco2_per_kwh": 1.0})));
    assert!(plan(&both.document.unwrap(), &NoFiles).is_err());
}

/// The chart of power and the summary's energy are the same: GPUs of replicas that are not there draw nothing, idle ones their idle power.
#[test]
fn stopped_replicas_draw_nothing_in_the_chart_either() {
    let text = include_str!("../configs/presets/autoscaling-h100@1.yaml");
    for run in run::simulate(text, &NoFiles) {
        let power = run.power_w().unwrap();
        let bin_ps = run.series.bin_ps;
        let width = |bin: usize| bin_ps.min(run.end_ps.saturating_sub(bin as u64 * bin_ps)) as f64 * 1e-12;
        let joules: f64 = power.iter().enumerate().map(|(bin, watts)| watts * width(bin)).sum();
        assert!(
            (joules / at(&run, "/energy/total_j") - 1.0).abs() < 0.01,
            "{}: {joules} J, {} told",
            run.name,
            at(&run, "/energy/total_j")
        );
        // The scaled fleets are not always whole, so this was not all the same.
        let there: u64 = (0..run.info.replicas.len()).map(|replica| run.fleet.paid_ps(replica, 0, run.end_ps)).sum();
        assert_eq!(there < run.info.replicas.len() as u64 * run.end_ps, run.name != "six replicas", "{}", run.name);
    }
}
