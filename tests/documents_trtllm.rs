//! Documents with TensorRT-LLM entries: presets, options in two words, options of another stack.

use llmperforacle::config::{self, Diagnostic};
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{self, NoFiles, Simulation};

#[path = "support/run.rs"]
mod run;

fn document(kind: &str, config: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 200
  concurrency: 100
  client_profiles:
  - profile_name: fixed
    prompt_tokens_dist_config: {{type: Constant, value: 1000, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 100, is_int: true}}
frameworks_to_test:
- name: engine
  type: {kind}
  config: {{model_profile_id: Llama-3.1-8B, {config}}}
"
    )
}

fn findings(kind: &str, config: &str) -> Vec<Diagnostic> {
    config::read(&document(kind, config), "").diagnostics
}

fn run(config: &str) -> RunResult {
    run::simulate(&document("TRTLLM", config), &NoFiles).remove(0)
}

fn number(result: &RunResult, pointer: &str) -> f64 {
    result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {:#}", result.summary))
}

/// `serve` leaves 65 to 127 sequences without graphs; `bench` pads them, and its smaller steps delay the first token less at the start.
#[test]
fn presets_choose_limits_and_graphs() {
    let seats = "num_gpu_blocks_override: 20000";
    let serve = run(seats);
    assert_eq!(run(&format!("{seats}, trtllm: {{preset: serve}}")).hash(), serve.hash());
    let bench = run(&format!("{seats}, trtllm: {{preset: bench, target_input_len: 1000, target_output_len: 100}}"));
    let tpot = |result: &RunResult| number(result, "/latency/time_per_output_token_ms/mean");
    assert_ne!(bench.hash(), serve.hash());
    // The same limits with padding differ from serve by graphs alone: decode steps of 100 sequences get faster.
    let padded = run(&format!("{seats}, trtllm: {{cuda_graph_config: {{enable_padding: true}}}}"));
    assert!(tpot(&padded) < tpot(&serve), "{} {}", tpot(&padded), tpot(&serve));
    // Sixteen sequences at a time: an exact size, so that padding changes nothing.
    let few = format!("{seats}, trtllm: {{max_batch_size: 16}}");
    let padded_few = format!("{seats}, trtllm: {{max_batch_size: 16, cuda_graph_config: {{enable_padding: true, max_batch_size: 16}}}}");
    assert_eq!(tpot(&run(&few)), tpot(&run(&padded_few)));
}

/// KV memory grows in proportion to the fraction: 0.9 and 0.45 of the same rest.
#[test]
fn kv_memory_is_a_share_of_what_is_left() {
    let blocks = |fraction: f64| {
        let read = config::read(&document("TRTLLM", &format!("trtllm: {{free_gpu_memory_fraction: {fraction}}}")), "");
        let plan = sim::plan(&read.document.expect("a document"), &NoFiles).expect("a plan");
        let simulation = Simulation::new(&plan.runs[0]).expect("a simulation");
        simulation.finish().info.replicas[0].kv_blocks
    };
    let (most, half) = (blocks(0.9), blocks(0.45));
    assert!(most.abs_diff(2 * half) <= 1, "{most} {half}");
    // 0.9 of 80 GiB less 16.06 GB of weights are 14,986 blocks of 4 MiB (32 tokens of 128 KiB); with 4 GiB for the largest step and
    // the libraries, 14,065.
    assert!((14_065..14_986).contains(&most), "{most}");
}

#[test]
fn an_option_in_two_words_that_differ_is_an_error() {
    let found = findings("TRTLLM", "max_num_seqs: 64, trtllm: {max_batch_size: 128}");
    assert!(found[0].is_error() && found[0].path.ends_with("trtllm.max_batch_size"), "{found:?}");
    assert_eq!(findings("TRTLLM", "max_num_seqs: 64, trtllm: {max_batch_size: 64}"), []);
    let found = findings("TRTLLM", "async_scheduling: true, trtllm: {disable_overlap_scheduler: true}");
    assert!(found[0].is_error() && found[0].path.ends_with("disable_overlap_scheduler"), "{found:?}");
}

#[test]
fn options_of_another_stack_are_an_error() {
    let found = findings("VLLM", "trtllm: {preset: serve}");
    assert!(found[0].is_error() && found[0].path.ends_with("config.trtllm"), "{found:?}");
}

#[test]
fn what_has_no_effect_is_said() {
    for (config, key) in [
        ("watermark: 0.01", "watermark"),
        ("long_prefill_token_threshold: 512", "long_prefill_token_threshold"),
        ("trtllm: {context_chunking_policy: EQUAL_PROGRESS}", "context_chunking_policy"),
        ("trtllm: {max_util_for_resume: 0.9}", "max_util_for_resume"),
        ("trtllm: {version: \"1.2\", max_util_for_resume: 0.9}", "max_util_for_resume"),
        ("trtllm: {batch_wait_timeout_iters: 3}", "batch_wait_timeout_iters"),
        ("trtllm: {target_input_len: 100}", "target_input_len"),
        ("cuda_graphs: false, trtllm: {cuda_graph_config: {enable_padding: true}}", "cuda_graph_config"),
    ] {
        let found = findings("TRTLLM", config);
        assert!(found.len() == 1 && !found[0].is_error() && found[0].path.ends_with(key), "{config}: {found:?}");
    }
}

/// The main branch chooses the second scheduler for Llama, and the first for Qwen; the release the first; and what is said goes first.
#[test]
fn the_main_branch_chooses_its_scheduler_by_the_model() {
    let seats = "max_num_seqs: 64, num_gpu_blocks_override: 2000";
    let (first, second) = ("use_kv_cache_manager_v2: false", "use_kv_cache_manager_v2: true");
    let hash = |model: &str, options: &str| {
        let text = document("TRTLLM", &format!("{seats}, trtllm: {{{options}}}")).replace("Llama-3.1-8B", model);
        run::simulate(&text, &NoFiles).remove(0).hash()
    };
    for model in ["Llama-3.1-8B", "Qwen3-8B"] {
        assert_ne!(hash(model, first), hash(model, second), "the two differ under this load");
        assert_eq!(hash(model, "version: \"1.2\""), hash(model, first));
        assert_eq!(hash(model, &format!("version: main, {first}")), hash(model, first));
    }
    assert_eq!(hash("Llama-3.1-8B", "version: main"), hash("Llama-3.1-8B", second));
    assert_eq!(hash("Qwen3-8B", "version: main"), hash("Qwen3-8B", first));
    // Of a model with states beside its attention too.
    let hybrid = |options: &str| {
        let text = document("TRTLLM", &format!("max_num_seqs: 64, num_gpu_blocks_override: 2000, trtllm: {{{options}}}"));
        run::simulate(&text.replace("Llama-3.1-8B", "Nemotron-H-8B"), &NoFiles).remove(0).hash()
    };
    assert_eq!(hybrid("version: main"), hybrid(second));
    assert_ne!(hybrid("version: main"), hybrid(first));
    // The second has one capacity policy.
    assert_eq!(hash("Llama-3.1-8B", "version: main, capacity_scheduler_policy: GUARANTEED_NO_EVICT"), hash("Llama-3.1-8B", first));
}

/// A wait before each batch slows everything down, and the result says why it is taken step by step.
#[test]
fn a_wait_before_each_batch_is_felt_and_said() {
    let waiting = run("trtllm: {batch_wait_timeout_ms: 20}");
    assert_eq!(waiting.summary["engine"]["single_steps"], "batches that wait for new requests");
    assert!(number(&waiting, "/latency/time_per_output_token_ms/mean") > 20.0);
    let apart = "trtllm: {batch_wait_timeout_ms: 20}, pipeline_parallel_size: 2";
    let read = config::read(&document("TRTLLM", apart).replace("H100-SXM", "2xH100-SXM"), "").document.expect("a document");
    let refused = sim::plan(&read, &NoFiles).expect_err("not over a pipeline");
    assert!(refused.iter().any(|finding| finding.path.ends_with("batch_wait_timeout_ms")), "{refused:?}");
}

#[test]
fn contradictions_are_errors() {
    let v2 = "trtllm: {use_kv_cache_manager_v2: true, capacity_scheduler_policy: GUARANTEED_NO_EVICT}";
    assert!(findings("TRTLLM", v2)[0].is_error());
    let found = findings("TRTLLM", "trtllm: {preset: bench}");
    assert!(found.len() == 2 && found.iter().all(Diagnostic::is_error), "{found:?}");
    assert_eq!(findings("TRTLLM", "trtllm: {preset: bench, max_batch_size: 256, max_num_tokens: 4096}"), []);
}
