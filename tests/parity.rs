//! The same scheduler, step times and load as another simulator give the same means: AISimulate 0.13.0 (the engine of Dynamo's mocker) with
//! its polynomial step times, where a mixed step takes the sum of both. Its results are no measurements of GPUs.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::{config, sim};

struct NoFiles;

impl sim::Files for NoFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("there is no {path}"))
    }
}

/// The mean TTFT and TPOT, ms, and the output throughput, tokens/s, of a vLLM engine with 16,384 blocks of 64 tokens (and the null
/// block, which the other simulator does not have), a budget of 8192 tokens and 256 sequences, for prompts of 1024 and replies of 128;
/// of SGLang the same with pages of one token.
fn simulate(engine: &str, load: &str, arrivals: &str) -> [f64; 3] {
    let (block_size, blocks) = if engine == "SGLANG" { (1, 1 << 20) } else { (64, 16_385) };
    let text = format!(
        "
simulation: {{random_seed: 1}}
hardware_profile: {{node: 8xH200-SXM}}
workload:
  {load}
  client_profiles:
  - profile_name: synthetic
    {arrivals}
    prompt_tokens_dist_config: {{value: 1024}}
    max_output_tokens_dist_config: {{value: 128}}
frameworks_to_test:
- name: engine
  type: {engine}
  config:
    model_profile_id: Qwen3-32B
    tensor_parallel_size: 4
    max_num_batched_tokens: 8192
    max_num_seqs: 256
    block_size: {block_size}
    num_gpu_blocks_override: {blocks}
    async_scheduling: false
    timing: {{polynomial: {{}}}}
"
    );
    let read = config::read(&text, "parity.yaml");
    let document = read.document.unwrap_or_else(|| panic!("{:#?}", read.diagnostics));
    let plan = sim::plan(&document, &NoFiles).unwrap();
    let mut simulation = sim::Simulation::new(&plan.runs[0]).unwrap();
    while !simulation.advance(10_000).done {}
    let summary = simulation.finish().summary;
    let number = |key: &str| summary.pointer(key).and_then(serde_json::Value::as_f64).unwrap();
    [
        number("/latency/time_to_first_token_ms/mean"),
        number("/latency/time_per_output_token_ms/mean"),
        number("/throughput/output_tokens_per_second"),
    ]
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
    let ours = simulate("VLLM", "concurrency: 64\n  total_requests_to_generate: 4096", "conversational_probability: 0");
    agree(ours, [166.448_676_556, 18.618_235_032, 3_236.033_747_871]);
}

/// Its `poly_rate_vllm`: 15 requests a second at even distances, 2048 requests.
#[test]
fn a_constant_rate_agrees() {
    let ours = simulate("VLLM", "total_requests_to_generate: 2048", "inter_arrival_time_dist_config: {value: 0.06666666666666667}");
    agree(ours, [43.323_432_683, 13.889_796_159, 1_908.762_840_623]);
}

/// Its `poly_dense_sglang`.
#[test]
fn sglang_agrees_in_a_closed_loop() {
    let ours = simulate("SGLANG", "concurrency: 64\n  total_requests_to_generate: 4096", "conversational_probability: 0");
    agree(ours, [761.116_131, 13.874_218_346, 3_246.745_704_878]);
}

/// Its `poly_rate_sglang`.
#[test]
fn sglang_agrees_at_a_constant_rate() {
    let ours = simulate("SGLANG", "total_requests_to_generate: 2048", "inter_arrival_time_dist_config: {value: 0.06666666666666667}");
    agree(ours, [36.093_074_671, 13.821_881_452, 1_908.842_695_381]);
}
