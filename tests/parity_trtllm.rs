//! Parity with AISimulate 0.13 (Dynamo's mocker) on its TensorRT-LLM cases: its polynomial step times, a mixed pass as the sum of both, its
//! blocks of 32 tokens and its chunked contexts. Expected numbers are what it printed. None of these prompts is shared, so that the
//! ways in which it differs from TensorRT-LLM (whole prompts found in the cache, equal prompts in one pass) do not show.

use llmperforacle::config;
use llmperforacle::sim::{self, Files, Simulation};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("no file {path}"))
    }
}

/// Mean TTFT and TPOT in ms, output tokens a second.
fn run(requests: u32, load: &str, output: u32, blocks: u64) -> [f64; 3] {
    let arrivals = if load.starts_with("inter") { load } else { "" };
    let closed = if arrivals.is_empty() { load } else { "" };
    let text = format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: 8xH200-SXM}}
workload:
  total_requests_to_generate: {requests}
  {closed}
  client_profiles:
  - profile_name: fixed
    {arrivals}
    prompt_tokens_dist_config: {{type: Constant, value: 1024, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: {output}, is_int: true}}
frameworks_to_test:
- name: trtllm
  type: TRTLLM
  config:
    model_profile_id: Qwen3-32B
    tensor_parallel_size: 4
    enable_chunked_prefill: true
    num_gpu_blocks_override: {blocks}
    timing: {{polynomial: {{}}}}
    trtllm: {{max_batch_size: 256, max_num_tokens: 8192, disable_overlap_scheduler: true}}
"
    );
    let read = config::read(&text, "parity.yaml");
    let document = read.document.unwrap_or_else(|| panic!("{:#?}", read.diagnostics));
    let plan = sim::plan(&document, &NoFiles).expect("a plan");
    let mut simulation = Simulation::new(&plan.runs[0]).expect("a simulation");
    while !simulation.advance(u64::MAX).done {}
    let summary = simulation.finish().summary;
    let keys = ["/latency/time_to_first_token_ms/mean", "/latency/time_per_output_token_ms/mean", "/throughput/output_tokens_per_second"];
    keys.map(|key| summary.pointer(key).and_then(serde_json::Value::as_f64).expect(key))
}

fn agree(ours: [f64; 3], theirs: [f64; 3], share: f64) {
    for ((ours, theirs), what) in ours.into_iter().zip(theirs).zip(["TTFT", "TPOT", "throughput"]) {
        assert!((ours / theirs - 1.0).abs() < share, "{what}: {ours} against {theirs}");
    }
}

#[test]
fn a_closed_loop_of_64_clients_agrees() {
    agree(run(4096, "concurrency: 64", 128, 32768), [166.448_676_555_176_1, 18.618_235_032_084_65, 3_236.033_747_871_440_5], 0.01);
}

#[test]
fn a_constant_rate_agrees() {
    let rate = "inter_arrival_time_dist_config: {type: Constant, value: 0.0666666666666666667}";
    agree(run(2048, rate, 128, 32768), [43.323_432_682_665_71, 13.889_796_158_552_748, 1_908.762_840_622_673_4], 0.01);
}

/// 256 clients, 1024/1024 tokens, room for 64 requests: admission by reservation decides. How many requests it ran was not kept; 1,024
/// follows from the mean TTFT, which grows with them, so that TPOT and throughput are the check here.
#[test]
fn a_closed_loop_under_kv_pressure_agrees() {
    agree(run(1024, "concurrency: 256", 1024, 4096), [87_835.0, 32.4, 1966.0], 0.01);
}
