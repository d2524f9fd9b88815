//! Models over several nodes: tensor parallelism that leaves a node, what it costs and what it needs, from documents.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::config::{self, Diagnostic};
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{self, NoFiles};

#[path = "support/run.rs"]
mod run;

fn document(hardware: &str, kind: &str, config: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{{hardware}}}
workload:
  total_requests_to_generate: 2
  concurrency: 1
  client_profiles:
  - profile_name: fixed
    prompt_tokens_dist_config: {{type: Constant, value: 1000, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 50, is_int: true}}
frameworks_to_test:
- name: engine
  type: {kind}
  config: {{{config}}}
"
    )
}

fn simulate(hardware: &str, kind: &str, config: &str) -> RunResult {
    run::simulate(&document(hardware, kind, config), &NoFiles).remove(0)
}

fn errors(hardware: &str, config: &str) -> Vec<Diagnostic> {
    let read = config::read(&document(hardware, "VLLM", config), "");
    let mut found: Vec<Diagnostic> = read.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    if let Some(document) = read.document.filter(|_| found.is_empty()) {
        found.extend(sim::plan(&document, &NoFiles).err().unwrap_or_default());
    }
    found
}

fn tpot(result: &RunResult) -> f64 {
    let summary = serde_json::to_value(&result.summary).unwrap();
    summary.pointer("/latency/time_per_output_token_ms/mean").and_then(serde_json::Value::as_f64).unwrap()
}

const TP16: &str = "model_profile_id: Llama-3.1-405B, tensor_parallel_size: 16, max_model_len: 8192";

/// Llama-3.1-405B in bf16 over two nodes of eight H100. A GPU reads 50.6 GB of weights a token: at least 15.1 ms at 3350 GB/s. Its 252 all-reduces of
/// 32 KiB take 47 us each (15.3 in a node, 31 for there and back between nodes) and so 12 ms; a stage's eight GPUs share each layer for twice the weights.
#[test]
fn sixteen_gpus_of_two_nodes_share_a_model() {
    let sixteen = simulate("node: 8xH100-SXM, nodes: 2", "VLLM", TP16);
    let stages = TP16.replace("tensor_parallel_size: 16", "tensor_parallel_size: 8, pipeline_parallel_size: 2");
    let stages = simulate("node: 8xH100-SXM, nodes: 2", "VLLM", &stages);
    let reductions = 252.0 * 0.0463;
    let floor = 50.6e9 / 3350e9 * 1e3 + reductions;
    assert!(tpot(&sixteen) > floor && tpot(&sixteen) < 1.35 * floor, "{} ms, at least {floor}", tpot(&sixteen));
    assert!(tpot(&sixteen) < tpot(&stages), "{} ms over sixteen, {} ms over two stages", tpot(&sixteen), tpot(&stages));
    // A sixteenth of 405.85 G parameters, two bytes each, and of a second copy of the K and V matrices of eight KV heads.
    let replica = &sixteen.info.replicas[0];
    let weights = 2.0 * (405.85e9 + 126.0 * 2.0 * 8.0 * 128.0 * 16_384.0) / 16.0;
    assert!((replica.memory.weights_bytes / weights - 1.0).abs() < 1e-3, "{}", replica.memory.weights_bytes);
    assert_eq!(replica.gpus, 16);
    assert!(sixteen.info.confidence.contains("borrowed"), "{}", sixteen.info.confidence);
}

/// The document's network counts: fewer or slower adapters, and more from card to card, take longer; by the latency's share when that is all there is.
#[test]
fn the_network_of_the_document_counts() {
    let with = |network: &str| tpot(&simulate(&format!("node: 8xH100-SXM, nodes: 2, network: {{{network}}}"), "VLLM", TP16));
    let usual = with("");
    assert!((with("nic_gbps: 400, nics_per_node: 8, latency_us: 3") - usual).abs() < 1e-12);
    // Two hops a pass of card to card on 252 all-reduces, and one of the logits' all-gather: 505 times 10 us more.
    let slow = with("latency_us: 13");
    assert!((slow - usual - 505.0 * 0.010).abs() < 0.01, "{usual} ms, {slow} ms");
    let (one_card, slow_cards) = (with("nics_per_node: 1"), with("nic_gbps: 50"));
    assert!((one_card / slow_cards - 1.0).abs() < 1e-9 && one_card > usual, "{usual}, {one_card}, {slow_cards} ms");
}

/// Placement: eight GPUs in one node, in two of four, or one in each of eight. The fewer share a node, the more goes by network.
#[test]
fn ranks_that_share_a_node_are_faster() {
    let config = "model_profile_id: Llama-3.1-70B, tensor_parallel_size: 8, max_model_len: 8192";
    for kind in ["VLLM", "SGLANG", "TRTLLM"] {
        let times: Vec<f64> = [("8xH100-SXM", 1), ("4xH100-SXM", 2), ("2xH100-SXM", 4), ("H100-SXM", 8)]
            .into_iter()
            .map(|(node, nodes)| tpot(&simulate(&format!("node: {node}, nodes: {nodes}"), kind, config)))
            .collect();
        assert!(times[1] > times[0] && times[2] > times[1], "{kind}: {times:?}");
        // One a node: three hops a pass, nothing in the node. Still slower than all in one.
        assert!(times[3] > times[0], "{kind}: {times:?}");
    }
}

/// Experts on sixteen GPUs of two nodes: with tensor parallelism their results are summed over all; as attention ranks tokens travel.
#[test]
fn experts_are_spread_over_nodes() {
    let deepseek = "model_profile_id: DeepSeek-R1, dtype: fp8, max_model_len: 8192";
    let hardware = "node: 8xH100-SXM, nodes: 2";
    let tp = simulate(hardware, "SGLANG", &format!("{deepseek}, tensor_parallel_size: 16, sglang: {{ep_size: 16}}"));
    let dp = format!("{deepseek}, tensor_parallel_size: 16, sglang: {{ep_size: 16, enable_dp_attention: true, dp_size: 16}}");
    let dp = simulate(hardware, "SGLANG", &dp);
    for result in [&tp, &dp] {
        assert_eq!(result.info.replicas[0].gpus, 16);
        // 653 G routed parameters of 8 bit over sixteen GPUs, and what every GPU has of the rest.
        assert!(result.info.replicas[0].memory.weights_bytes > 653e9 / 16.0);
    }
    // One H200 node holds it too; there nothing goes by network.
    let one = simulate("node: 8xH200-SXM", "SGLANG", &format!("{deepseek}, tensor_parallel_size: 8, sglang: {{ep_size: 8}}"));
    assert!(tpot(&tp) > 0.5 * tpot(&one), "{} over two nodes, {} on one", tpot(&tp), tpot(&one));
}

#[test]
fn what_does_not_lie_evenly_or_has_no_nodes_is_refused() {
    let says = |hardware: &str, config: &str, text: &str| {
        let found = errors(hardware, &format!("model_profile_id: Llama-3.1-70B, {config}"));
        assert!(found.iter().any(|error| error.message.contains(text)), "{hardware}: {found:#?}");
    };
    says("node: 8xH100-SXM", "tensor_parallel_size: 16", "needs 16 GPUs and the hardware has 8");
    says("node: 3xH100-SXM, nodes: 3", "tensor_parallel_size: 8", "spread evenly over 3 nodes");
    let listed: Vec<String> = (0..16).map(|id| format!("{{device_id: g{id}, device: H100-SXM}}")).collect();
    says(&format!("compute_devices: [{}]", listed.join(", ")), "tensor_parallel_size: 16", "say `nodes:`");
}

/// Two stages on listed GPUs without a link between them are joined as the GPU's servers join them, with a warning, and not by a link of 1 ms; one that
/// the document gives is the one that each token takes.
#[test]
fn no_link_has_a_latency_that_nobody_gave() {
    let stages = "model_profile_id: Llama-3.1-8B, pipeline_parallel_size: 2, max_model_len: 4096";
    let config = "model_profile_id: Llama-3.1-8B, parallelism: {strategy: PP, gpu_ids: [a, b], pp_stages: 2}, max_model_len: 4096";
    let listed = "compute_devices: [{device_id: a, device: H100-SXM}, {device_id: b, device: H100-SXM}]";
    let linked = |latency_s: f64| {
        let link = format!("{{link_id: l, source_id: a, dest_id: b, bandwidth_bps: 3.6e12, latency_s: {latency_s}}}");
        tpot(&simulate(&format!("{listed}, network_links: [{link}]"), "VLLM", config))
    };
    let (unsaid, node) = (tpot(&simulate(listed, "VLLM", config)), tpot(&simulate("node: 8xH100-SXM", "VLLM", stages)));
    assert!((unsaid / node - 1.0).abs() < 0.01, "{unsaid} ms, {node} ms in a node");
    let (slow, none) = (linked(1e-3), linked(0.0));
    assert!(slow - unsaid > 0.9, "{slow} ms, without links {unsaid} ms");
    assert!(slow - none > 0.99, "{slow} ms, with no latency {none} ms");
    let read = config::read(&document(listed, "VLLM", config), "");
    let warnings = sim::plan(&read.document.expect("a document"), &NoFiles).expect("a plan").warnings;
    assert!(warnings.iter().any(|warning| warning.message.contains("network_links")), "{warnings:?}");
}
