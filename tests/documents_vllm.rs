//! Documents with vLLM's own options, against closed forms, and what is refused.

use llmperforacle::config::Diagnostic;
use llmperforacle::sim::NoFiles;

#[path = "support/errors.rs"]
mod errors;
#[path = "support/run.rs"]
mod run;

use errors::errors;

/// One request after the other, of 100 tokens and 201 in reply; the host takes 2 ms before each step.
fn document(config: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: 2xH100-SXM}}
workload:
  total_requests_to_generate: 4
  concurrency: 1
  client_profiles:
  - profile_name: fixed
    prompt_tokens_dist_config: {{type: Constant, value: 100, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 201, is_int: true}}
frameworks_to_test:
- name: engine
  type: VLLM
  config:
    model_profile_id: Llama-3.1-8B
    max_model_len: 4096
    host_overhead: {{per_step_us: 2000, per_sequence_us: 0, per_new_request_us: 0}}
{config}
"
    )
}

/// 200 tokens after the first in 20 windows of ten steps: nine of ten times 2 ms are saved. In windows of seven there are 29, the last with 3
/// steps for nothing.
#[test]
fn steps_scheduled_together_share_the_hosts_time() {
    let number = |config: &str, pointer: &str| {
        let result = run::simulate(&document(config), &NoFiles).remove(0);
        result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("no {pointer}"))
    };
    let (tpot, gap) = ("/latency/time_per_output_token_ms/mean", "/latency/inter_token_latency_ms/p50");
    let near = |value: f64, expected: f64| assert!((value / expected - 1.0).abs() < 0.02, "{value}, not {expected}");
    let together = |steps: u32| format!("    vllm: {{version: \"0.6\", num_scheduler_steps: {steps}}}");
    let one = "    vllm: {version: \"0.6\"}";
    let alone = number(one, tpot);
    near(number(one, gap), alone);
    let ten = &together(10);
    assert!((alone - number(ten, tpot) - 1.8).abs() < 1e-6, "{alone} {}", number(ten, tpot));
    near(number(ten, gap), 10.0 * (alone - 1.8));
    near(number(ten, "/engine/steps"), 4.0 * 201.0);
    let seven = &together(7);
    near(number(seven, tpot), (203.0 * (alone - 2.0) + 29.0 * 2.0) / 200.0);
    assert_eq!(number(seven, "/engine/wasted_tokens"), 4.0 * 3.0);
}

#[test]
fn steps_together_are_refused_where_they_are_not_modelled() {
    let refused = |config: &str, says: &str| {
        let found = errors(&document(config));
        let there = |error: &Diagnostic| error.path.ends_with("vllm.num_scheduler_steps") && error.message.contains(says);
        assert!(found.iter().any(there), "{config}: {found:#?}");
    };
    refused("    vllm: {num_scheduler_steps: 8}", "before V1");
    let six = "    vllm: {version: \"0.6\", num_scheduler_steps: 8}";
    refused(&format!("{six}\n    enable_chunked_prefill: true"), "chunked prefill");
    refused(&format!("{six}\n    speculative: {{method: ngram, num_speculative_tokens: 2, acceptance_rate: 0.5}}"), "speculative decoding");
    refused(&format!("{six}\n    pipeline_parallel_size: 2"), "pipeline");
}
