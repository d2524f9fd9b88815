//! Documents with pipelines: step times against closed forms, layers and memory of the stages, what is refused.

use llmperforacle::metrics::RunResult;
use llmperforacle::sim::NoFiles;

#[path = "support/errors.rs"]
mod errors;
#[path = "support/run.rs"]
mod run;

use errors::errors;

fn document(hardware: &str, concurrency: u32, tokens: (u32, u32), config: &str) -> String {
    let (input, output) = tokens;
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{{hardware}}}
workload:
  total_requests_to_generate: {}
  concurrency: {concurrency}
  client_profiles:
  - profile_name: fixed
    prompt_tokens_dist_config: {{type: Constant, value: {input}, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: {output}, is_int: true}}
frameworks_to_test:
- name: engine
  type: VLLM
  config: {{{config}}}
",
        4 * concurrency
    )
}

fn simulate(hardware: &str, concurrency: u32, tokens: (u32, u32), config: &str) -> RunResult {
    run::simulate(&document(hardware, concurrency, tokens, config), &NoFiles).remove(0)
}

fn number(result: &RunResult, pointer: &str) -> f64 {
    result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {:#}", result.summary))
}

fn tpot(result: &RunResult) -> f64 {
    number(result, "/latency/time_per_output_token_ms/mean")
}

const FIXED: &str = "model_profile_id: Llama-3.1-8B, num_gpu_blocks_override: 100000, timing: {fixed: {prefill_ms: 40, decode_ms: 8}}";

/// One request takes as long as without stages: each of four stages a fourth of 8 ms, one after the other.
#[test]
fn alone_a_token_takes_the_sum_of_the_stages() {
    let alone = simulate("node: 4xH100-SXM", 1, (100, 50), &format!("{FIXED}, pipeline_parallel_size: 4"));
    assert!((tpot(&alone) - 8.0).abs() < 1e-9, "{}", tpot(&alone));
    assert!((number(&alone, "/latency/time_to_first_token_ms/mean") - 40.0).abs() < 1e-6);
}

/// Calibrated: with one request, TPOT is the sum over stages of their parts plus three transfers. The whole model's layers take the same
/// time in stages as in one piece, so what is left over is launches that are not shared and the transfers: more than nothing, less than
/// a tenth. Without a pipeline on the same GPU the model is the same.
#[test]
fn a_calibrated_pipeline_adds_transfers_to_the_time_of_one_gpu() {
    let model = "model_profile_id: Llama-3.1-8B, max_model_len: 4096, async_scheduling: false";
    let one = tpot(&simulate("node: H100-SXM", 1, (500, 100), model));
    let four = tpot(&simulate("node: 4xH100-SXM", 1, (500, 100), &format!("{model}, pipeline_parallel_size: 4")));
    assert!(four > one && four < 1.1 * one, "{one} ms alone, {four} ms over four stages");
    // Stages on four machines: three network hops of 20 us in place of NVLink's 7, and slower bytes.
    let apart = tpot(&simulate("node: H100-SXM, nodes: 4", 1, (500, 100), &format!("{model}, pipeline_parallel_size: 4")));
    assert!(apart - four > 3.0 * (20.0 - 12.0) * 1e-3 && apart - four < 0.2, "{four} ms in a node, {apart} ms over four");
}

/// Weights of a stage: 16 of 32 layers of 218.1 M parameters and one of the two embeddings of 525.3 M, two bytes each.
#[test]
fn each_stage_holds_its_layers_and_its_end() {
    let two = simulate("node: 2xH100-SXM", 1, (100, 10), "model_profile_id: Llama-3.1-8B, pipeline_parallel_size: 2");
    let weights = two.info.replicas[0].memory.weights_bytes;
    let expected = 2.0 * (16.0 * 218_103_808.0 + 525_336_576.0);
    assert!((weights / expected - 1.0).abs() < 1e-4, "{weights} bytes, not {expected}");
    assert_eq!(two.info.replicas[0].gpus, 2);
    // Half the layers' KV on a GPU that holds half the weights: more than twice the tokens of one GPU.
    let one = simulate("node: H100-SXM", 1, (100, 10), "model_profile_id: Llama-3.1-8B");
    let (one, two) = (one.info.replicas[0].kv_blocks, two.info.replicas[0].kv_blocks);
    assert!(two > 2 * one && two < 3 * one, "{one} blocks on one GPU, {two} on two");
}

/// 405B in bf16 is 812 GB: eight H100 of 80 GB do not hold it; two nodes do, as stages or with every layer shared.
#[test]
fn a_model_too_large_for_a_node_fits_on_two() {
    let text = |tp: u32, pp: u32| {
        document(
            "node: 8xH100-SXM, nodes: 2",
            4,
            (100, 10),
            &format!("model_profile_id: Llama-3.1-405B, tensor_parallel_size: {tp}, pipeline_parallel_size: {pp}"),
        )
    };
    assert!(errors(&text(8, 1)).iter().any(|error| error.message.contains("does not fit")), "{:?}", errors(&text(8, 1)));
    assert_eq!(errors(&text(8, 2)), []);
    assert_eq!(errors(&text(16, 1)), []);
}

#[test]
fn what_cannot_be_run_over_a_pipeline_is_refused_where_it_stands() {
    let refused = |config: &str, at: &str, says: &str| {
        let found = errors(&document("node: 8xH100-SXM, nodes: 8", 1, (100, 10), &format!("model_profile_id: Llama-3.1-8B, {config}")));
        assert!(found.iter().any(|error| error.path.ends_with(at) && error.message.contains(says)), "{config}: {found:#?}");
    };
    refused("pipeline_parallel_size: 33", "pipeline_parallel_size", "Cannot have more PP stages (33) than model layers (32)");
    refused("parallelism: {strategy: PP, pp_stages: 2, gpu_ids: []}, pipeline_parallel_size: 4", "pipeline_parallel_size", "differ");
    refused("pipeline_parallel_size: 2, timing: {polynomial: {}}", "timing", "no stages");
    refused("tensor_parallel_size: 8, pipeline_parallel_size: 9", "tensor_parallel_size", "needs 72 GPUs and the hardware has 64");
}

/// vLLM drafts beside its last stage; SGLang and TensorRT-LLM start with no such engine.
#[test]
fn vllm_alone_drafts_over_a_pipeline() {
    let drafts = |method: &str| {
        format!(
            "model_profile_id: Llama-3.1-8B, max_model_len: 4096, pipeline_parallel_size: 2, \
             speculative: {{{method}, num_speculative_tokens: 3, acceptance_rate: 0.7}}"
        )
    };
    for kind in ["SGLANG", "TRTLLM"] {
        let text = document("node: 2xH100-SXM", 1, (100, 10), &drafts("method: ngram")).replace("type: VLLM", &format!("type: {kind}"));
        let found = errors(&text);
        assert!(found.iter().any(|error| error.path.ends_with("speculative") && error.message.contains("pipeline")), "{found:#?}");
    }
    // Nothing is drafted on the GPU: as much KV as without. A 1B model of 1.24 billion parameters beside the last stage, and its 32 KiB of KV a
    // token beside the stage's 64: blocks that are two thirds as many, less the weights' room.
    let run = |config: &str| simulate("node: 2xH100-SXM", 1, (500, 2000), config);
    let plain = run("model_profile_id: Llama-3.1-8B, max_model_len: 4096, pipeline_parallel_size: 2");
    let looked_up = run(&drafts("method: ngram"));
    let drafted = run(&drafts("method: draft_model, draft_model: Llama-3.2-1B"));
    let blocks = |result: &llmperforacle::metrics::RunResult| result.info.replicas[0].kv_blocks as f64;
    assert_eq!(blocks(&looked_up), blocks(&plain));
    let share = blocks(&drafted) / blocks(&plain);
    assert!((0.60..0.667).contains(&share), "{share}");
    // 1 + 0.7 + 0.49 + 0.343 = 2.533 tokens a step of little more time; a drafted step has the draft model's time, too.
    let gain = |result| tpot(&plain) / tpot(result);
    assert!((2.0..2.6).contains(&gain(&looked_up)), "{}", gain(&looked_up));
    assert!(gain(&drafted) < gain(&looked_up) && gain(&drafted) > 1.2, "{}", gain(&drafted));
}

/// Every engine serves over stages, and vLLM hides its host behind the batches formed ahead.
#[test]
fn every_engine_has_a_pipeline() {
    let config = "model_profile_id: Llama-3.1-8B, pipeline_parallel_size: 2, max_model_len: 8192";
    for kind in ["VLLM", "SGLANG", "TRTLLM"] {
        let text = document("node: 2xH100-SXM", 32, (500, 50), config).replace("type: VLLM", &format!("type: {kind}"));
        let result = run::simulate(&text, &NoFiles).remove(0);
        assert_eq!(number(&result, "/requests/successful"), 128.0, "{kind}");
        assert_eq!(result.info.replicas[0].single_steps.as_deref(), Some("a pipeline of stages"), "{kind}");
    }
    // 2 ms on the host before each step, or behind the one under way.
    let config = format!("{config}, host_overhead: {{per_step_us: 2000, per_sequence_us: 0, per_new_request_us: 0}}");
    let exposed = tpot(&simulate("node: 2xH100-SXM", 1, (100, 50), &format!("{config}, async_scheduling: false")));
    let hidden = tpot(&simulate("node: 2xH100-SXM", 1, (100, 50), &config));
    assert!((exposed - hidden - 2.0).abs() < 1e-6, "{exposed} ms exposed, {hidden} ms hidden");
}

/// The original project's documents with stages are run, each with its links.
#[test]
fn the_original_projects_pipelines_run() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/configs/original/pipeline.yaml")).expect("a document");
    let results = run::simulate(&text, &NoFiles);
    assert_eq!(results.len(), 1, "they share one workload");
    let replicas = &results[0].info.replicas;
    assert_eq!(replicas.iter().map(|replica| replica.gpus).collect::<Vec<_>>(), [2, 4]);
    assert!(replicas.iter().all(|replica| replica.single_steps.as_deref() == Some("a pipeline of stages")));
    let [total, served] = ["/requests/total", "/requests/successful"].map(|count| number(&results[0], count));
    assert!(total > 100.0 && served == total, "{served} of {total}");
}
