//! The same scheduler, step times and load as another simulator give the same means: AISimulate 0.13.0 (the engine of Dynamo's mocker) with
//! its polynomial step times, where a mixed step takes the sum of both. Its results are no measurements of GPUs. No prompt is shared, so
//! the ways in which it differs from the frameworks' prefix caches do not show.

use llmperforacle::sim::NoFiles;

#[path = "support/run.rs"]
mod run;

/// 16,384 blocks of 64 tokens, and the null block, which the other simulator does not have.
const VLLM: &str = "VLLM
  config:
    max_num_batched_tokens: 8192
    max_num_seqs: 256
    block_size: 64
    num_gpu_blocks_override: 16385
    async_scheduling: false";

/// The same pool in pages of one token.
const SGLANG: &str = "SGLANG
  config:
    max_num_batched_tokens: 8192
    max_num_seqs: 256
    block_size: 1
    num_gpu_blocks_override: 1048576
    async_scheduling: false";

/// In its blocks of 32 tokens, and with chunked contexts, as the other simulator has it.
fn trtllm(blocks: u64) -> String {
    format!(
        "TRTLLM
  config:
    enable_chunked_prefill: true
    num_gpu_blocks_override: {blocks}
    trtllm: {{max_batch_size: 256, max_num_tokens: 8192, disable_overlap_scheduler: true}}"
    )
}

/// Every 1/15 s.
const CONSTANT_RATE: &str = "inter_arrival_time_dist_config: {type: Constant, value: 0.06666666666666667}";

/// The mean TTFT and TPOT, ms, and the output throughput, tokens/s, for prompts of 1024 tokens. `load` is a number of clients or a key
/// of the client's profile.
fn simulate(engine: &str, requests: u32, load: &str, output: u32) -> [f64; 3] {
    let (closed, open) = if load.starts_with("inter") { ("", load) } else { (load, "") };
    let text = format!(
        "
simulation: {{random_seed: 1}}
hardware_profile: {{node: 8xH200-SXM}}
workload:
  total_requests_to_generate: {requests}
  {closed}
  client_profiles:
  - profile_name: synthetic
    {open}
    prompt_tokens_dist_config: {{type: Constant, value: 1024, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: {output}, is_int: true}}
frameworks_to_test:
- name: engine
  type: {engine}
    model_profile_id: Qwen3-32B
    tensor_parallel_size: 4
    timing: {{polynomial: {{}}}}
"
    );
    let summary = run::simulate(&text, &NoFiles).remove(0).summary;
    let keys = ["/latency/time_to_first_token_ms/mean", "/latency/time_per_output_token_ms/mean", "/throughput/output_tokens_per_second"];
    keys.map(|key| summary.pointer(key).and_then(serde_json::Value::as_f64).expect(key))
}

fn agree(ours: [f64; 3], theirs: [f64; 3]) {
    for (what, (ours, theirs)) in ["TTFT", "TPOT", "throughput"].iter().zip(ours.into_iter().zip(theirs)) {
        let error = ours / theirs - 1.0;
        assert!(error.abs() <= 0.01, "{what}: {ours} against {theirs}, {:.2} %", 100.0 * error);
    }
}

/// Its `poly_dense_vllm`: 64 clients, 4096 requests.
#[test]
fn a_closed_loop_agrees() {
    agree(simulate(VLLM, 4096, "concurrency: 64", 128), [166.448_676_556, 18.618_235_032, 3_236.033_747_871]);
}

/// Its `poly_rate_vllm`: 15 requests a second at even distances, 2048 requests.
#[test]
fn a_constant_rate_agrees() {
    agree(simulate(VLLM, 2048, CONSTANT_RATE, 128), [43.323_432_683, 13.889_796_159, 1_908.762_840_623]);
}

/// Its `poly_dense_sglang`.
#[test]
fn sglang_agrees_in_a_closed_loop() {
    agree(simulate(SGLANG, 4096, "concurrency: 64", 128), [761.116_131, 13.874_218_346, 3_246.745_704_878]);
}

/// Its `poly_rate_sglang`.
#[test]
fn sglang_agrees_at_a_constant_rate() {
    agree(simulate(SGLANG, 2048, CONSTANT_RATE, 128), [36.093_074_671, 13.821_881_452, 1_908.842_695_381]);
}

/// Its `poly_dense_trtllm`.
#[test]
fn tensorrt_llm_agrees_in_a_closed_loop() {
    agree(simulate(&trtllm(32_768), 4096, "concurrency: 64", 128), [166.448_676_556, 18.618_235_032, 3_236.033_747_871]);
}

/// Its `poly_rate_trtllm`.
#[test]
fn tensorrt_llm_agrees_at_a_constant_rate() {
    agree(simulate(&trtllm(32_768), 2048, CONSTANT_RATE, 128), [43.323_432_683, 13.889_796_159, 1_908.762_840_623]);
}

/// 256 clients, 1024/1024 tokens, room for 64 requests: admission by reservation decides. How many requests it ran was not kept; 1,024
/// follows from the mean TTFT, which grows with them, so that TPOT and throughput are the check here.
#[test]
fn tensorrt_llm_agrees_under_kv_pressure() {
    agree(simulate(&trtllm(4096), 1024, "concurrency: 256", 1024), [87_835.0, 32.4, 1966.0]);
}
