//! Bad documents as people write them, for each stack: every complaint has a place in the text, a path and advice.

use llmperforacle::config::{self, Diagnostic};
use llmperforacle::sim::{self, NoFiles};

/// What is said of a document, with places in its text.
fn complaints(text: &str) -> Vec<Diagnostic> {
    let read = config::read(text, "document.yaml");
    let Some(document) = read.document else { return read.diagnostics };
    let mut found = match sim::plan(&document, &NoFiles) {
        Ok(plan) => plan.warnings,
        Err(errors) => errors,
    };
    config::locate(text, "document.yaml", &mut found);
    found.into_iter().chain(read.diagnostics).collect()
}

fn document(hardware: &str, stack: &str, model: &str, options: &str) -> String {
    format!(
        "simulation: {{random_seed: 1}}\nhardware_profile: {{node: {hardware}}}\nworkload: {{preset: chat, total_requests_to_generate: 5}}\n\
         frameworks_to_test:\n- name: a\n  type: {stack}\n  config: {{model_profile_id: {model}{options}}}\n"
    )
}

/// One entry with a fault, and a part of the path that is to be blamed.
const FAULTS: [(&str, &str, &str, &str, &str); 31] = [
    ("H100-SXM", "VLMM", "Llama-3.1-8B", "", "type"),
    ("H100-SXM", "VLLM", "Llama-3.1-9B", "", "model_profile_id"),
    ("H1000", "VLLM", "Llama-3.1-8B", "", "hardware_profile.node"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", max_num_sequences: 4", "max_num_sequences"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", max_num_batched_tokens: 8k", "max_num_batched_tokens"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", max_num_batched_tokens: -1", "max_num_batched_tokens"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", max_num_batched_tokens: 99999999999999999999", "max_num_batched_tokens"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", max_num_seqs: 1.5", "max_num_seqs"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", max_num_seqs: 100, max_num_batched_tokens: 50", "max_num_seqs"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", gpu_memory_utilization: 95", "gpu_memory_utilization"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", enable_prefix_caching: maybe", "enable_prefix_caching"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", speculative: eagle", "speculative"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", kv_cache_dtype: int4", "kv_cache_dtype"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", vllm: {version: 0.10}", "vllm.version"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", vllm: {version: 0.8, performance_mode: throughput}", "vllm.performance_mode"),
    ("H100-SXM", "VLLM", "Llama-3.1-8B", ", vllm: {long_prefill_token_threshold_adaptive: true}", "threshold_adaptive"),
    ("8xH100-SXM", "VLLM", "Llama-3.1-8B", ", tensor_parallel_size: 3", "tensor_parallel_size"),
    ("8xH100-SXM", "VLLM", "Llama-3.1-8B", ", tensor_parallel_size: 16", "tensor_parallel_size"),
    ("H100-SXM", "SGLANG", "Llama-3.1-70B", "", "frameworks_to_test[0]"),
    ("H100-SXM", "SGLANG", "Llama-3.1-8B", ", sglang: {schedule_polcy: lpm}", "sglang.schedule_polcy"),
    ("H100-SXM", "SGLANG", "Llama-3.1-8B", ", sglang: {schedule_policy: lmp}", "sglang.schedule_policy"),
    ("H100-SXM", "SGLANG", "Llama-3.1-8B", ", sglang: {retraction_policy: priority}", "sglang.retraction_policy"),
    // SGLang's server does not start with a chunk that is no multiple of its page.
    ("H100-SXM", "SGLANG", "Llama-3.1-8B", ", sglang: {chunked_prefill_size: 32, page_size: 64}", "sglang.chunked_prefill_size"),
    ("H100-SXM", "SGLANG", "Llama-3.1-8B", ", max_num_batched_tokens: 100, block_size: 64", "config.max_num_batched_tokens"),
    ("H100-SXM", "TRTLLM", "Llama-3.1-8B", ", sglang: {schedule_policy: lpm}", "sglang"),
    ("H100-SXM", "TRTLLM", "Llama-3.1-8B", ", trtllm: {context_chunking_policy: EQUAL_PROGRESS}", "trtllm.context_chunking_policy"),
    ("H100-SXM", "TRTLLM", "Llama-3.1-8B", ", trtllm: {max_util_for_resume: 0.5}", "trtllm.max_util_for_resume"),
    ("H100-SXM", "TRTLLM", "Llama-3.1-8B", ", trtllm: {target_input_len: 5}", "trtllm.target_input_len"),
    ("H100-SXM", "TRTLLM", "Llama-3.1-8B", ", trtllm: {preset: bench}", "trtllm.target_input_len"),
    // Pieces are whole blocks of 32: none fits into such a step, and prompts would wait for ever.
    (
        "H100-SXM",
        "TRTLLM",
        "Llama-3.1-8B",
        ", enable_chunked_prefill: true, max_num_seqs: 4, trtllm: {max_num_tokens: 16}",
        "trtllm.max_num_tokens",
    ),
    ("H100-SXM", "DYNAMO", "Llama-3.1-8B", ", dynamo: {router_mode: kvv}", "dynamo.router_mode"),
];

#[test]
fn every_complaint_has_place_path_and_advice() {
    for (hardware, stack, model, options, blamed) in FAULTS {
        let found = complaints(&document(hardware, stack, model, options));
        assert!(found.iter().any(|complaint| complaint.path.contains(blamed)), "{stack}{options}: {found:#?}");
        for complaint in found {
            assert!(
                complaint.line.is_some() && !complaint.hint.is_empty() && !complaint.path.is_empty(),
                "{stack}{options}: {complaint:#?}"
            );
        }
    }
}

#[test]
fn what_is_no_document_has_place_and_advice() {
    let no_entries = document("H100-SXM", "VLLM", "Llama-3.1-8B", "")
        .replace("\n- name: a\n  type: VLLM\n  config: {model_profile_id: Llama-3.1-8B}", " []");
    let texts = [
        "",
        "# nothing",
        "hello",
        "- a",
        "a: [1,2",
        "a: {b: 1",
        "a:\n\tb: 1",
        "a: 'x",
        "a: 1\na: 2\n",
        "{\"a\": ",
        "{\"a\": 1e}",
        &no_entries,
    ];
    for text in texts {
        let found = complaints(text);
        assert!(!found.is_empty(), "{text:?}");
        for complaint in found {
            assert!(complaint.line.is_some() && !complaint.hint.is_empty(), "{text:?}: {complaint:#?}");
        }
    }
}

/// Versions look like numbers, and need no quotes.
#[test]
fn versions_are_read_with_and_without_quotes() {
    for (stack, options) in [
        ("VLLM", "vllm: {version: 0.9}"),
        ("VLLM", "vllm: {version: \"0.11\"}"),
        ("VLLM", "vllm: {version: 0.11}"),
        ("TRTLLM", "trtllm: {version: 1.2}"),
    ] {
        let found = complaints(&document("H100-SXM", stack, "Llama-3.1-8B", &format!(", {options}")));
        assert!(!found.iter().any(Diagnostic::is_error), "{options}: {found:#?}");
    }
}
