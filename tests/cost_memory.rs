//! The memory budget against figures that engines print and projects publish.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::catalog::{Dtype, Engine, builtin, framework_defaults};
use llmperforacle::cost::{DoesNotFit, Graphs, MemoryBudget, MemorySpec, Part, StateOptions};

const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Clone, Copy)]
struct Case {
    engine: Engine,
    device: &'static str,
    model: &'static str,
    tp: u32,
    dtype: Dtype,
}

fn budget_with(case: &Case, change: impl FnOnce(&mut MemorySpec)) -> Result<MemoryBudget, DoesNotFit> {
    let catalog = builtin();
    let device = catalog.device(case.device).unwrap();
    let defaults = framework_defaults(case.engine, device, case.tp).unwrap();
    let graphs = Graphs::of(case.engine, defaults.max_capture_tokens);
    let mut spec = MemorySpec {
        engine: case.engine,
        device,
        model: catalog.model(case.model).unwrap(),
        part: Part::WHOLE,
        tp: case.tp,
        dtype: case.dtype,
        kv_dtype: Dtype::Bf16,
        utilization: defaults.gpu_memory_utilization,
        max_num_batched_tokens: defaults.max_num_batched_tokens,
        max_num_seqs: defaults.max_num_seqs,
        block_size: defaults.block_size,
        graphs: &graphs,
        adapter_bytes_per_layer: 0.0,
        drafter: None,
        states: StateOptions::default(),
    };
    change(&mut spec);
    MemoryBudget::new(&spec)
}

fn budget(engine: Engine, device: &'static str, model: &'static str, tp: u32) -> MemoryBudget {
    budget_with(&Case { engine, device, model, tp, dtype: Dtype::Bf16 }, |_| ()).unwrap()
}

#[test]
fn weights_are_what_engines_report_on_loading() {
    // vLLM logs "model weights take 14.99 GiB" for Llama-3.1-8B; a 70B is 70.55e9 parameters of two bytes, cut in eight.
    let alone = budget(Engine::Vllm, "H100-SXM", "Llama-3.1-8B", 1);
    assert!((alone.weights / GIB - 14.96).abs() < 0.05, "{}", alone.weights / GIB);
    let eighth = budget(Engine::Vllm, "H100-SXM", "Llama-3.1-70B", 8);
    assert!((eighth.weights / GIB - 16.43).abs() < 0.05, "{}", eighth.weights / GIB);
}

#[test]
fn parts_and_pool_fill_the_memory_and_nothing_more() {
    for engine in Engine::ALL {
        for tp in [1, 2, 4, 8] {
            let budget = budget(engine, "H100-SXM", "Qwen2.5-32B", tp);
            let sum = budget.weights + budget.activations + budget.graphs + budget.rest + budget.unused + budget.kv_bytes;
            let block = budget.kv_bytes_per_token * 32.0;
            // SGLang's reserve already covers activations and graphs, whatever they are.
            assert!(sum <= budget.total + 1.0, "{engine:?} {tp}: {sum} of {}", budget.total);
            assert!(sum >= budget.total - block - 1.0, "{engine:?} {tp}: {sum} of {}", budget.total);
        }
    }
}

#[test]
fn engines_differ_by_their_base_as_documented() {
    // On 80 GB with some 16 GB of weights the rules leave about 55, 50 and 55 GiB.
    let [vllm, sglang, trtllm] =
        [Engine::Vllm, Engine::Sglang, Engine::Trtllm].map(|engine| budget(engine, "H100-SXM", "Llama-3.1-8B", 1).kv_bytes / GIB);
    assert!((53.0..58.0).contains(&vllm), "{vllm}");
    assert!((48.0..52.5).contains(&sglang), "{sglang}");
    assert!((53.0..58.0).contains(&trtllm), "{trtllm}");
}

#[test]
fn a_real_engines_block_count_is_met() {
    // vLLM 0.19 on an RTX 4090, Llama-3.1-8B, utilisation 0.9, 2048 tokens a step: 2588 blocks (LLMServingSim's calibration).
    let case = Case { engine: Engine::Vllm, device: "RTX-4090", model: "Llama-3.1-8B", tp: 1, dtype: Dtype::Bf16 };
    let blocks = budget_with(&case, |spec| spec.utilization = Some(0.9)).unwrap().blocks as f64;
    assert!((blocks / 2588.0 - 1.0).abs() < 0.06, "{blocks} blocks");
}

#[test]
fn kv_heads_are_replicated_beyond_their_number() {
    // Qwen2.5-7B has four KV heads: eight GPUs hold one each, twice as much KV in all as four do.
    let of = |tp| {
        budget_with(&Case { engine: Engine::Vllm, device: "H100-SXM", model: "Llama-3.1-70B", tp, dtype: Dtype::Bf16 }, |_| ())
            .unwrap()
            .kv_bytes_per_token
    };
    assert_eq!(of(8), 80.0 * 2.0 * 128.0 * 2.0);
    assert_eq!(of(4), 2.0 * of(8));
    let latent = |tp| {
        budget_with(&Case { engine: Engine::Sglang, device: "H200-SXM", model: "DeepSeek-V2-Lite", tp, dtype: Dtype::Bf16 }, |_| ())
            .unwrap()
            .kv_bytes_per_token
    };
    assert_eq!(latent(1), 27.0 * 576.0 * 2.0);
    assert_eq!(latent(2), latent(1));
}

#[test]
fn what_does_not_fit_says_the_smallest_change_that_does() {
    let case = Case { engine: Engine::Vllm, device: "H100-SXM", model: "Llama-3.1-70B", tp: 1, dtype: Dtype::Bf16 };
    let refused = budget_with(&case, |_| ()).unwrap_err();
    assert_eq!(
        refused.changes,
        ["tensor_parallel_size: 2", "dtype: fp8", "B200 in place of H100-SXM"].map(str::to_owned).to_vec(),
        "{refused}"
    );
    assert!(refused.to_string().contains("131.4 GiB of weights"), "{refused}");
    // Each of them does fit.
    assert!(budget_with(&Case { dtype: Dtype::Fp8, ..case }, |_| ()).is_ok());
    assert!(budget_with(&Case { tp: 2, ..case }, |_| ()).is_ok());
}

#[test]
fn more_memory_is_more_blocks_and_wider_kv_fewer() {
    let case = |dtype| Case { engine: Engine::Vllm, device: "H100-SXM", model: "Llama-3.1-8B", tp: 1, dtype };
    let base = budget_with(&case(Dtype::Bf16), |_| ()).unwrap().blocks;
    assert!(budget_with(&case(Dtype::Fp8), |_| ()).unwrap().blocks > base);
    let fp8_kv = budget_with(&case(Dtype::Bf16), |spec| spec.kv_dtype = Dtype::Fp8).unwrap().blocks;
    assert!(fp8_kv.abs_diff(2 * base) <= 3, "{fp8_kv} and twice {base}");
    assert!(budget_with(&case(Dtype::Bf16), |spec| spec.max_num_batched_tokens = 65_536).unwrap().blocks < base);
}

#[test]
fn pools_of_real_engines_are_met() {
    // vLLM 0.15.1 on H100s, utilisation 0.9, 2048 tokens and 128 sequences a step, as its logs were published with the runs
    // (inference-sim/training): tokens of KV of the whole group.
    for (model, tp, tokens) in [("Llama2-70B", 4, 501_712.0), ("Mixtral-8x7B", 2, 440_176.0), ("CodeLlama-34B", 2, 425_648.0)] {
        let case = Case { engine: Engine::Vllm, device: "H100-SXM", model, tp, dtype: Dtype::Bf16 };
        let budget = budget_with(&case, |spec| {
            (spec.utilization, spec.max_num_batched_tokens, spec.max_num_seqs) = (Some(0.9), 2048, 128);
        });
        let budget = budget.unwrap();
        let ours = budget.blocks as f64 * budget.kv_bytes / budget.kv_bytes_per_token / (budget.blocks + 1) as f64;
        assert!((ours / tokens - 1.0).abs() < 0.06, "{model}: {ours}, {tokens} in the log");
    }
}

#[test]
fn fewer_sequences_and_a_larger_gpu_are_offered_where_they_help() {
    // 6 million sequences need more for their logits than the GPU has.
    let case = Case { engine: Engine::Vllm, device: "L4", model: "Llama-3.2-1B", tp: 1, dtype: Dtype::Bf16 };
    let refused = budget_with(&case, |spec| spec.max_num_seqs = 65_536).unwrap_err();
    let seqs = refused.changes.iter().find_map(|change| change.strip_prefix("max_num_seqs: ")).unwrap().parse::<u32>().unwrap();
    assert!(budget_with(&case, |spec| spec.max_num_seqs = seqs).is_ok());
    let larger = refused.changes.iter().find_map(|change| change.strip_suffix(" in place of L4")).unwrap();
    let memory = |name: &str| builtin().device(name).unwrap().memory_bytes;
    assert!(memory(larger) > memory("L4"));
}

/// `mem_fraction_static` as SGLang 0.5.23 computes it, from its formula with what it captures by default. Its reserve is taken of all free memory
/// before loading, so weights and KV together are that share.
#[test]
fn sglang_keeps_its_static_fractions() {
    for (device, tp, fraction) in [
        ("A100-SXM-80GB", 1, 0.830),
        ("H100-SXM", 1, 0.830),
        ("H100-SXM", 8, 0.812),
        ("H200-SXM", 1, 0.903),
        ("B200", 1, 0.854),
        ("L40S", 1, 0.843),
    ] {
        let budget = budget(Engine::Sglang, device, "Llama-3.1-8B", tp);
        let share = (budget.weights + budget.kv_bytes) / (budget.total - budget.rest);
        assert!((share - fraction).abs() <= 0.005, "{device} x {tp}: {share}");
        // It is kept to three places; a token of KV is nothing beside it.
        assert!((share * 1000.0 - (share * 1000.0).round()).abs() < 0.01, "{device} x {tp}: {share}");
    }
}
