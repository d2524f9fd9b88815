//! Documents with LoRA adapters: memory by closed form, what more places are good for, what is refused where.

use llmperforacle::catalog::builtin;
use llmperforacle::config::schema::LoraModule;
use llmperforacle::config::{self, Diagnostic};
use llmperforacle::cost::LoraLayers;
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{self, NoFiles};

#[path = "support/run.rs"]
mod run;

/// Requests for eight adapters of rank 16, all alike popular.
fn document(kind: &str, model: &str, lora: &str, config: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: 8xH200-SXM}}
workload:
  total_requests_to_generate: 120
  lora: {{count: 8, rank: 16, popularity: uniform{lora}}}
  client_profiles:
  - profile_name: fixed
    inter_arrival_time_dist_config: {{type: Exponential, rate: 20}}
    prompt_tokens_dist_config: {{type: Constant, value: 500, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 100, is_int: true}}
frameworks_to_test:
- name: engine
  type: {kind}
  config: {{{model}, {config}}}
"
    )
}

const LLAMA: &str = "model_profile_id: Llama-3.1-8B, max_model_len: 4096";

const R1: &str = "model_profile_id: DeepSeek-R1, dtype: fp8_block, tensor_parallel_size: 8, max_model_len: 4096";

/// A and B of the five products of latent attention, by the sides that one of eight GPUs has: 7168 + 1536 and 7168 + 576 on every GPU, 1536 + 24576/8,
/// 512 + 32768/8, 16384/8 + 7168: 34,880 for each rank and layer. What has the same input is one kernel: four a layer, for A and for B.
#[test]
fn latent_attention_has_products_of_its_own() {
    let catalog = builtin();
    let layers = LoraLayers::new(catalog.model("DeepSeek-V3").expect("a model"), 8, &LoraModule::ATTENTION, 2);
    assert_eq!(layers.gpu_bytes(16), 34_880.0 * 61.0 * 16.0 * 2.0);
    assert_eq!(layers.file_bytes(16), (8704.0 + 7744.0 + 26_112.0 + 33_280.0 + 23_552.0) * 61.0 * 16.0 * 2.0);
    assert_eq!((layers.kernels, layers.tensors), (2 * 4 * 61, 2 * 5 * 61));
    // Queries that are not compressed: 2048 + 3072, 2048 + 576, 512 + 4096, 2048 + 2048.
    let lite = LoraLayers::new(catalog.model("DeepSeek-V2-Lite").expect("a model"), 1, &LoraModule::ATTENTION, 2);
    assert_eq!(lite.gpu_bytes(1), 16_448.0 * 27.0 * 2.0);
    assert_eq!((lite.kernels, lite.tensors), (2 * 3 * 27, 2 * 4 * 27));
}

/// vLLM and SGLang serve adapters of models with latent attention; every step with one takes longer.
#[test]
fn adapters_of_latent_attention_are_served() {
    let config = [("VLLM", "vllm: {max_loras: 8}"), ("SGLANG", "sglang: {max_loras_per_batch: 9}")];
    for (kind, options) in config {
        let run = |text: &str| run::simulate(text, &NoFiles).remove(0);
        let text = document(kind, R1, "", options);
        let with = run(&text);
        let without = run(&text.replace("  lora: {count: 8, rank: 16, popularity: uniform}\n", "").replace(&format!(", {options}"), ""));
        let number =
            |result: &RunResult, pointer: &str| result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
        assert_eq!(number(&with, "/engine/output_tokens"), 12_000.0, "{kind}");
        assert_eq!(with.counters.iter().map(|counters| counters.adapters.loads).sum::<u64>(), 8, "{kind}: each once");
        let tpot = "/latency/time_per_output_token_ms/mean";
        assert!(number(&with, tpot) > number(&without, tpot), "{kind}");
    }
}

fn simulate(kind: &str, config: &str) -> RunResult {
    run::simulate(&document(kind, LLAMA, "", config), &NoFiles).remove(0)
}

/// A and B of seven products, sums of their sides 8192 + 5120 + 5120 + 8192 + 3 x 18432 = 81,920, times rank 16, 32 layers and two bytes: 83.9 MB a
/// place. A block of 16 tokens is 2 MiB, so seven places more are 280 blocks.
#[test]
fn a_place_takes_the_memory_of_its_rank() {
    let blocks = |places: u32| simulate("VLLM", &format!("vllm: {{max_loras: {places}}}")).info.replicas[0].kv_blocks;
    let fewer = blocks(1) - blocks(8);
    assert!((279..=281).contains(&fewer), "{fewer}");
}

/// With a place for each nobody waits for one; with one place the eight take turns. The tokens are the same.
#[test]
fn more_places_keep_fewer_out() {
    for (kind, few, all) in [
        ("VLLM", "vllm: {max_loras: 1, max_cpu_loras: 8}", "vllm: {max_loras: 8}"),
        ("SGLANG", "sglang: {max_loras_per_batch: 2}", "sglang: {max_loras_per_batch: 9}"),
        ("TRTLLM", "trtllm: {lora_config: {max_lora_rank: 16, max_loras: 1}}", "trtllm: {lora_config: {max_lora_rank: 16, max_loras: 8}}"),
    ] {
        let number = |result: &RunResult, pointer: &str| {
            result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{kind}: no {pointer}"))
        };
        let (few, all) = (simulate(kind, few), simulate(kind, all));
        let (out, ttft) = ("/waits/held_back/adapter_slots", "/latency/time_to_first_token_ms/mean");
        assert_eq!(number(&all, out), 0.0, "{kind}");
        assert!(number(&few, out) > 0.3, "{kind}: {}", number(&few, out));
        assert!(number(&few, ttft) > 2.0 * number(&all, ttft), "{kind}");
        for result in [&few, &all] {
            assert_eq!(number(result, "/engine/output_tokens"), 120.0 * 100.0, "{kind}");
        }
        assert!(number(&few, "/lora/evictions") > number(&all, "/lora/evictions"), "{kind}");
    }
}

#[test]
fn what_is_not_modelled_with_adapters_is_refused_where_it_stands() {
    let refused = |kind: &str, model: &str, lora: &str, config: &str, says: &str| {
        let read = config::read(&document(kind, model, lora, config), "");
        let mut found: Vec<Diagnostic> = read.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        if let Some(document) = read.document.filter(|_| found.is_empty()) {
            found.extend(sim::plan(&document, &NoFiles).err().unwrap_or_default());
        }
        assert!(found.iter().any(|error| error.message.contains(says) && !error.path.is_empty()), "{model} {config}: {found:#?}");
    };
    refused("TRTLLM", R1, "", "trtllm: {lora_config: {max_loras: 8}}", "latent");
    refused("VLLM", R1, "", "vllm: {version: 0.9, max_loras: 8}", "latent");
    refused("VLLM", R1, ", target_modules: [q_b_proj, k_proj]", "vllm: {max_loras: 8}", "does not have");
    refused("VLLM", LLAMA, ", target_modules: [kv_b_proj]", "vllm: {max_loras: 8}", "does not have");
    refused(
        "VLLM",
        "model_profile_id: Qwen3-30B-A3B, max_model_len: 4096",
        ", target_modules: [up_proj]",
        "vllm: {max_loras: 8}",
        "experts",
    );
    refused("VLLM", LLAMA, "", "vllm: {max_lora_rank: 8}", "above the largest rank");
    refused("VLLM", LLAMA, "", "vllm: {max_lora_rank: 17}", "no kernels");
    refused("TRTLLM", LLAMA, "", "trtllm: {lora_config: {max_lora_rank: 8}}", "above the largest rank");
    refused("SGLANG", LLAMA, "", "sglang: {max_loras_per_batch: 8, max_loaded_loras: 4}", "fewer than");
    refused("SGLANG", LLAMA, "", "disaggregation: {prefill: {replicas: 1}, decode: {replicas: 1}}", "pools");
    refused("TRTLLM", LLAMA, "", "disaggregation: {prefill: {replicas: 1}, decode: {replicas: 1}}", "pools");
}

/// Four engines with places for two of eight adapters each: who goes where its adapter is finds it on the GPU more often.
#[test]
fn a_router_that_weighs_adapters_finds_them_on_the_gpu() {
    let found = |scorers: &str| {
        let text = document("VLLM", LLAMA, "", "vllm: {max_loras: 2, max_cpu_loras: 8}")
            .replace("  type: VLLM", &format!("  type: VLLM\n  replicas: 4\n  router: {{policy: scorers{scorers}}}"));
        let run = run::simulate(&text, &NoFiles).remove(0);
        let loads: u64 = run.counters.iter().map(|counters| counters.adapters.loads).sum();
        loads
    };
    let (without, with) = (found(""), found(", lora_affinity_scorer: 4"));
    assert!(with * 2 < without, "{with} {without}");
}

#[test]
fn weighing_adapters_that_nobody_asks_for_is_refused() {
    let text = document("VLLM", LLAMA, "", "max_num_seqs: 8");
    let text = text
        .replace("  lora: {count: 8, rank: 16, popularity: uniform}\n", "")
        .replace("  type: VLLM", "  type: VLLM\n  replicas: 2\n  router: {policy: scorers, lora_affinity_scorer: 1}");
    let read = config::read(&text, "document");
    let errors = sim::plan(&read.document.expect("a document"), &NoFiles).expect_err("refused");
    assert!(errors.iter().any(|error| error.path == "frameworks_to_test[0].router.lora_affinity_scorer"), "{errors:?}");
}
