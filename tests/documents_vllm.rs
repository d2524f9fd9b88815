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

/// Step times by hand and 20 blocks: the second of two requests of 128 and 64 tokens lacks memory at its 33rd decode with ten blocks, which
/// go to the host and come back. A block of 16 tokens is 2 MiB, on an H100 moved at 50 GB/s.
#[test]
fn blocks_move_at_the_rate_of_the_host_link() {
    let config = |own: &str| {
        let timing = "timing: {fixed: {prefill_ms: 10, decode_ms: 1}}";
        let document =
            document(&format!("    num_gpu_blocks_override: 21\n    watermark: 0\n    {timing}\n    vllm: {{version: \"0.6\"{own}}}"));
        let document = document.replace("value: 100,", "value: 128,").replace("value: 201,", "value: 64,");
        document.replace("total_requests_to_generate: 4\n  concurrency: 1", "total_requests_to_generate: 2\n  concurrency: 2")
    };
    let result = |own: &str| run::simulate(&config(own), &NoFiles).remove(0);
    let swapped = result(", preemption_mode: swap");
    let number = |pointer: &str| swapped.summary.pointer(pointer).and_then(serde_json::Value::as_f64).expect(pointer);
    let block = 16.0 * 131_072.0;
    assert_eq!(
        (number("/swap/preemptions_by_swap"), number("/swap/preemptions_by_recompute"), number("/swap/swapped_in")),
        (1.0, 0.0, 1.0)
    );
    assert_eq!((number("/swap/bytes_out"), number("/swap/bytes_in")), (10.0 * block, 10.0 * block));
    let moved_s = 20.0 * block / 50e9;
    let waited_s = number("/swap/step_wait_share") * number("/simulation/effective_duration_s");
    assert!((waited_s - moved_s).abs() < 1e-9, "{waited_s} s, not {moved_s} s");
    // The first ends after 10 ms and 63 steps, the other after 31 more: neither computes anything twice.
    let ended_ms = number("/latency/end_to_end_latency_ms/max");
    let expected_ms = 10.0 + 63.0 + 31.0 + moved_s * 1e3;
    assert!((ended_ms - expected_ms).abs() < 1e-3, "{ended_ms}, not {expected_ms}");
    // Computed again it takes a prefill pass, which yields a token: nine steps' time more.
    let again = result("");
    assert_eq!(again.summary.pointer("/swap"), Some(&serde_json::Value::Null));
    let again_ms = again.summary.pointer("/latency/end_to_end_latency_ms/max").and_then(serde_json::Value::as_f64).expect("a latency");
    assert!((again_ms - 113.0).abs() < 1e-3, "{again_ms}");
    // Ten blocks and one for the next token: 22 MiB.
    let lacks = result(", preemption_mode: swap, swap_space: 0.02");
    assert_eq!(lacks.summary.pointer("/requests/rejected/no_swap_space"), Some(&serde_json::json!(1)));
}

#[test]
fn swapping_is_refused_where_it_is_not_modelled() {
    let refused = |config: &str, at: &str, says: &str| {
        let found = errors(&document(config));
        assert!(found.iter().any(|error| error.path.ends_with(at) && error.message.contains(says)), "{config}: {found:#?}");
    };
    refused("    vllm: {swap_space: 4}", "vllm.swap_space", "before V1");
    refused("    vllm: {version: \"0.8\", preemption_mode: swap}", "vllm.preemption_mode", "before V1");
    let swap = "    vllm: {version: \"0.6\", preemption_mode: swap}";
    refused(&format!("{swap}\n    enable_chunked_prefill: true"), "vllm.preemption_mode", "chunked prefill");
    refused(&format!("{swap}\n    pipeline_parallel_size: 2"), "vllm.preemption_mode", "pipeline");
    refused(&format!("{swap}\n    kv_tiers: {{host: {{size_gb: 10}}}}"), "vllm.preemption_mode", "tiers");
    refused("    vllm: {version: \"0.6\", swap_space: -1}", "vllm.swap_space", "");
    // Two GPUs have 512 GB of host memory where nothing is said: 70 % of it are 358 GB, and 333 GiB as many.
    refused("    vllm: {version: \"0.6\", swap_space: 334}", "vllm.swap_space", "70 %");
    assert!(errors(&document("    vllm: {version: \"0.6\", swap_space: 333}")).is_empty());
}

#[test]
fn the_delay_factor_is_of_0_6_without_chunked_prefill() {
    let refused = |config: &str, says: &str| {
        let found = errors(&document(config));
        let there = |error: &Diagnostic| error.path.ends_with("vllm.scheduler_delay_factor") && error.message.contains(says);
        assert!(found.iter().any(there), "{config}: {found:#?}");
    };
    refused("    vllm: {scheduler_delay_factor: 0.5}", "before V1");
    refused("    vllm: {version: \"0.6\", scheduler_delay_factor: 0.5}\n    enable_chunked_prefill: true", "chunked prefill");
    assert!(errors(&document("    vllm: {version: \"0.6\", scheduler_delay_factor: 0.5}")).is_empty());
}
