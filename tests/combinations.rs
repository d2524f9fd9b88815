//! Options that meet: attention ranks with KV tiers below them and with bunches of tokens, several replies to one prompt over a pipeline. Every
//! request ends with all its tokens, each option still does what it does alone, and the same document gives the same bits.

use llmperforacle::metrics::{RunResult, Status};
use llmperforacle::sim::NoFiles;

#[path = "support/run.rs"]
mod run;

/// Conversations, so that prompts are found again; `n` replies to each.
fn document(kind: &str, config: &str, n: u32) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 3}}
hardware_profile: {{node: 8xH200-SXM}}
workload:
  total_requests_to_generate: 150
  n: {n}
  client_profiles:
  - profile_name: chat
    inter_arrival_time_dist_config: {{type: Exponential, rate: 20}}
    prompt_tokens_dist_config: {{type: Uniform, low: 200, high: 1500, is_int: true}}
    max_output_tokens_dist_config: {{type: Uniform, low: 5, high: 120, is_int: true}}
    conversational_probability: 0.6
    follow_up_inter_arrival_time_dist_config: {{type: Constant, value: 0.5}}
frameworks_to_test:
- name: engine
  type: {kind}
  config: {{{config}}}
"
    )
}

fn serve(kind: &str, config: &str, n: u32) -> RunResult {
    let text = document(kind, config, n);
    let result = run::simulate(&text, &NoFiles).remove(0);
    assert_eq!(result.hash(), run::simulate(&text, &NoFiles).remove(0).hash(), "{kind} {config}: not the same twice");
    let r = &result.requests;
    assert!(r.status.iter().all(|&status| status == Status::Success as u8), "{kind} {config}: somebody is left");
    for row in 0..r.status.len() {
        assert!(
            r.arrival_ps[row] <= r.scheduled_ps[row]
                && r.scheduled_ps[row] < r.first_token_ps[row]
                && r.first_token_ps[row] <= r.finish_ps[row]
        );
    }
    result
}

fn number(result: &RunResult, pointer: &str) -> f64 {
    result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("no {pointer}"))
}

/// Each stack's words for four attention ranks.
const RANKS: [(&str, &str); 3] = [
    ("VLLM", "model_profile_id: Qwen3-30B-A3B, data_parallel_size: 4"),
    ("SGLANG", "model_profile_id: Qwen3-30B-A3B, tensor_parallel_size: 4, sglang: {enable_dp_attention: true, dp_size: 4}"),
    (
        "TRTLLM",
        "model_profile_id: Qwen3-30B-A3B, tensor_parallel_size: 4, enable_chunked_prefill: true, trtllm: {enable_attention_dp: true}",
    ),
];

/// With little memory on the GPUs, what ranks find in host memory is computed once less.
#[test]
fn ranks_have_tiers_below_them() {
    for (kind, ranks) in RANKS {
        let blocks = match kind {
            "VLLM" => 1000,
            "SGLANG" => 16_000,
            _ => 500,
        };
        let small = format!("{ranks}, num_gpu_blocks_override: {blocks}");
        let without = serve(kind, &small, 1);
        let with = serve(kind, &format!("{small}, kv_tiers: {{host: {{size_gb: 100}}}}"), 1);
        let computed = |result: &RunResult| result.requests.prefilled_tokens.iter().sum::<u64>();
        assert!(computed(&with) < computed(&without), "{kind}: {} against {}", computed(&with), computed(&without));
        // Turns come in another order when replies end at other times.
        let sorted = |result: &RunResult| {
            let mut tokens = result.requests.output_tokens.clone();
            tokens.sort_unstable();
            tokens
        };
        assert_eq!(sorted(&with), sorted(&without), "{kind}");
    }
}

/// Bunches change the gaps and nothing else, with ranks too.
#[test]
fn ranks_let_tokens_out_in_bunches() {
    for (kind, ranks) in RANKS {
        let (one, eight) = (serve(kind, ranks, 1), serve(kind, &format!("{ranks}, stream_interval: 8"), 1));
        assert_eq!(one.requests.first_token_ps, eight.requests.first_token_ps, "{kind}");
        assert_eq!(one.requests.finish_ps, eight.requests.finish_ps, "{kind}");
        let gap = |result: &RunResult| number(result, "/latency/inter_token_latency_ms/mean");
        assert!(gap(&eight) > 4.0 * gap(&one), "{kind}: {} against {}", gap(&eight), gap(&one));
    }
}

/// Three replies over two stages: all their tokens, and their prompt computed once but for what each recomputes of it.
#[test]
fn replies_to_one_prompt_go_through_a_pipeline() {
    for kind in ["VLLM", "SGLANG", "TRTLLM"] {
        let config = "model_profile_id: Llama-3.1-8B, pipeline_parallel_size: 2, enable_chunked_prefill: true";
        let (one, three) = (serve(kind, config, 1), serve(kind, config, 3));
        let tokens = |result: &RunResult| result.requests.output_tokens.iter().map(|&tokens| u64::from(tokens)).sum::<u64>();
        // A conversation's later prompts hold the first reply alone, so both serve the same prompts.
        assert_eq!(tokens(&three), 3 * tokens(&one), "{kind}");
        let computed = |result: &RunResult| result.requests.prefilled_tokens.iter().sum::<u64>();
        let replies = 3 * one.requests.status.len() as u64;
        assert!(computed(&three) <= computed(&one) + replies * 64, "{kind}: {} against {}", computed(&three), computed(&one));
    }
}
