//! The options of each engine as a record has them, under the names that a document gives them.

use serde_json::{Map, Value, json};

use super::record::Record;
use crate::catalog::Engine;

/// Host time of vLLM before V1, us a step and a sequence. An assumption.
const V0_HOST_US: (f64, f64) = (2500.0, 15.0);
/// Its step, where the record does not say how long sequences may be, tokens. An assumption.
const V0_STEP_TOKENS: u64 = 8192;
/// That of the prototype of 2023 in set 16, read off its decode steps on A100 and H100.
const PROTOTYPE_HOST_US: (f64, f64) = (22_000.0, 350.0);
/// Launch of a kernel by an engine that Python does not slow down: TensorRT-LLM before its PyTorch back end. An assumption.
const COMPILED_LAUNCH_US: f64 = 5.0;

/// The method of speculative decoding, where the record names one.
pub(super) fn speculation(record: &Record) -> Option<String> {
    let given = record.engine_args.as_ref()?.get("speculative_decoding")?;
    if given.is_null() || given == &json!(false) {
        return None;
    }
    Some(given.get("method").and_then(Value::as_str).unwrap_or("unnamed").to_owned())
}

/// Degrees of parallelism under each stack's own names. vLLM counts the GPUs of one attention rank, the others those of all ranks.
pub(super) fn parallel(record: &Record, tp: u32, pp: u32, dp: u32) -> Result<Value, String> {
    let gpus = tp.saturating_mul(dp);
    let experts = record.ep.filter(|ep| *ep > 1);
    let mut own = Map::new();
    let mut config = match record.engine() {
        Some(Engine::Sglang) => {
            if dp > 1 {
                own.insert("enable_dp_attention".into(), json!(true));
                own.insert("dp_size".into(), json!(dp));
            }
            own.extend(experts.map(|ep| ("ep_size".to_owned(), json!(ep))));
            own.extend(record.option_text("moe_a2a_backend").map(|way| ("moe_a2a_backend".to_owned(), json!(way))));
            json!({"tensor_parallel_size": gpus, "sglang": own})
        }
        Some(Engine::Trtllm) => {
            if dp > 1 {
                if tp > 1 {
                    return Err(format!("TensorRT-LLM has attention ranks of one GPU, not of {tp}"));
                }
                own.insert("enable_attention_dp".into(), json!(true));
                // The published scripts (InferenceX) balance ranks: some give a wait, for the first prompts only and not for more of them;
                // the others leave both waits as the framework has them.
                let scripted = record.option_text("from").is_some_and(|from| from.contains("InferenceX"));
                if let Some(steps) = record.option_count("attention_dp_balance_wait_iters") {
                    let balance = json!({"enable_balance": true, "timeout_iters": steps, "batching_wait_iters": 0});
                    own.insert("attention_dp_config".into(), balance);
                } else if scripted {
                    own.insert("attention_dp_config".into(), json!({"enable_balance": true}));
                }
            }
            own.extend(experts.map(|ep| ("moe_expert_parallel_size".to_owned(), json!(ep))));
            json!({"tensor_parallel_size": gpus, "trtllm": own})
        }
        _ => {
            let mut config = json!({"tensor_parallel_size": tp});
            if dp > 1 {
                config["data_parallel_size"] = json!(dp);
            }
            if let Some(ep) = experts {
                if ep != gpus {
                    return Err(format!("vLLM deals experts out over all {gpus} GPUs, not over {ep}"));
                }
                config["enable_expert_parallel"] = json!(true);
            }
            config
        }
    };
    if pp > 1 {
        config["pipeline_parallel_size"] = json!(pp);
    }
    Ok(config)
}

/// Adds what `more` says, within nested options too.
pub(super) fn extend(config: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    for (key, value) in more {
        match (config.get_mut(&key), value) {
            (Some(Value::Object(own)), Value::Object(value)) => own.extend(value),
            (_, value) => drop(config.insert(key, value)),
        }
    }
}

/// Copies options over under the names a document gives them; those of a falsy kind are left out.
fn options(record: &Record, names: &[(&str, &str)]) -> Map<String, Value> {
    let given = record.engine_args.clone().unwrap_or_default();
    let found = names.iter().filter_map(|(theirs, ours)| {
        let value = given.get(*theirs).filter(|value| value.is_number() || value.is_boolean())?;
        Some(((*ours).to_owned(), value.clone()))
    });
    found.collect()
}

/// `longest` is the most tokens that one of its requests comes to.
pub(super) fn vllm(record: &Record, longest: u64) -> Map<String, Value> {
    let mut config = options(
        record,
        &[
            ("max_num_seqs", "max_num_seqs"),
            ("max_num_batched_tokens", "max_num_batched_tokens"),
            ("max_model_len", "max_model_len"),
            ("gpu_memory_utilization", "gpu_memory_utilization"),
            ("block_size", "block_size"),
            ("chunked_prefill", "enable_chunked_prefill"),
            ("async_scheduling", "async_scheduling"),
            ("cuda_graph", "cuda_graphs"),
        ],
    );
    if let Some(tokens) = record.option_count("cuda_graph_max_batch") {
        config.insert("vllm".into(), json!({"max_cudagraph_capture_size": tokens}));
    }
    if let Some(tokens) = record.option_count("kv_cache_tokens") {
        let block = record.option_count("block_size").unwrap_or(16);
        config.insert("num_gpu_blocks_override".into(), json!(tokens / block));
    }
    // Chat models that stop by themselves sample as their generation_config says, with top-p; forced lengths are sampled greedily.
    if record.ignore_eos == Some(false) && record.release().is_some_and(|release| release >= (0, 9)) {
        config.insert("sampling".into(), json!("top_p"));
    }
    let prototype = record.framework_version.as_deref().is_some_and(|version| version.starts_with("2023"));
    if prototype || before_v1(record) {
        v0(record, prototype, longest, &mut config);
    }
    // Batches are formed ahead by default from 0.14.
    let synchronous = prototype || before_v1(record) || record.release().is_some_and(|release| release < (0, 14));
    if synchronous && (!config.contains_key("async_scheduling") || before_v1(record)) {
        config.insert("async_scheduling".into(), json!(false));
    }
    config
}

/// The engine before V1: by its release, or because the record says so of one that had both.
fn before_v1(record: &Record) -> bool {
    let option = |name: &str| record.engine_args.as_ref().and_then(|given| given.get(name));
    let off = |value: &Value| value == &json!(false) || value == &json!(0) || value == &json!("0");
    let named = record.option_text("engine").is_some_and(|engine| engine.eq_ignore_ascii_case("v0"));
    let noted = record.note.as_deref().is_some_and(|note| note.contains("V0 engine"));
    let old = record.release().is_some_and(|release| release < (0, 8));
    old || named || noted || ["VLLM_USE_V1", "use_v1", "v1"].into_iter().filter_map(option).any(off)
}

/// Prompts first, whole and in steps of their own unless it was asked otherwise, and a slow loop on the host, between the 2 and 6 ms at
/// 256 sequences that its developers reported. An assumption.
fn v0(record: &Record, prototype: bool, longest: u64, config: &mut Map<String, Value>) {
    let together = record.option_number("num_scheduler_steps").unwrap_or(1.0).max(1.0);
    let whole = config.get("enable_chunked_prefill") != Some(&json!(true));
    // With prompts cut, several steps at once are not modelled: they share the host's time.
    let shared = if prototype || !whole { together } else { 1.0 };
    let (step_us, sequence_us) = if prototype { PROTOTYPE_HOST_US } else { V0_HOST_US };
    let host = json!({"per_step_us": step_us / shared, "per_sequence_us": sequence_us / shared, "per_new_request_us": 100,
        "per_launch_us": if prototype { 0 } else { 50 }});
    config.insert("host_overhead".into(), host);
    if prototype || !whole {
        config.entry("enable_chunked_prefill").or_insert(json!(false));
        return;
    }
    let own = json!({"vllm": {"version": "0.6", "num_scheduler_steps": together as u32}, "enable_chunked_prefill": false});
    extend(config, own);
    // A step takes as many tokens as the longest sequence that is allowed.
    if !config.contains_key("max_num_batched_tokens") {
        let allowed = record.option_count("max_model_len").unwrap_or(V0_STEP_TOKENS).max(longest);
        config.insert("max_num_batched_tokens".into(), json!(allowed.clamp(2048, 1_048_576)));
    }
}

pub(super) fn sglang(record: &Record) -> Map<String, Value> {
    let mut own = options(record, &[("cuda_graph_max_batch", "cuda_graph_max_bs")]);
    // Batches are formed ahead from 0.4.
    if record.release().is_some_and(|release| release < (0, 4)) {
        own.insert("disable_overlap_schedule".into(), json!(true));
    }
    let mut config = options(
        record,
        &[
            ("max_running_requests", "max_num_seqs"),
            ("chunked_prefill_size", "max_num_batched_tokens"),
            ("chunked_prefill", "enable_chunked_prefill"),
            ("mem_fraction_static", "gpu_memory_utilization"),
            ("cuda_graph", "cuda_graphs"),
        ],
    );
    // Prompts that are not cut are taken whole, however long.
    if record.option_flag("chunked_prefill") == Some(false)
        && let Some(tokens) = record.input.fixed
    {
        config.insert("max_num_batched_tokens".into(), json!((tokens as u64).clamp(16_384, 1_048_576)));
    }
    config.insert("sglang".into(), Value::Object(own));
    config
}

pub(super) fn trtllm(record: &Record) -> Map<String, Value> {
    let mut config = options(record, &[("chunked_prefill", "enable_chunked_prefill"), ("cuda_graph", "cuda_graphs")]);
    let mut own = options(
        record,
        &[
            ("max_batch_size", "max_batch_size"),
            ("max_num_tokens", "max_num_tokens"),
            ("kv_free_gpu_memory_fraction", "free_gpu_memory_fraction"),
        ],
    );
    // Tables of saturated throughput are trtllm-bench's, static batches have no server either.
    let offline = record.load.offline.is_some() || record.load.static_batch.is_some();
    if offline {
        own.insert("preset".into(), json!("bench"));
        if let Some(tokens) = record.input.fixed {
            own.insert("target_input_len".into(), json!(tokens as u64));
        }
        if let Some(tokens) = record.output.fixed {
            own.insert("target_output_len".into(), json!(tokens as u64));
        }
    }
    // A server whose graphs are configured pads to them: the published scripts that state a largest batch say so.
    if let Some(batch) = record.option_count("cuda_graph_max_batch") {
        own.insert("cuda_graph_config".into(), json!({"enable_padding": true, "max_batch_size": batch}));
    }
    config.insert("trtllm".into(), Value::Object(own));
    if record.is_compiled() {
        config.insert(
            "host_overhead".into(),
            json!({"per_step_us": 800, "per_sequence_us": 8, "per_new_request_us": 50, "per_launch_us": COMPILED_LAUNCH_US}),
        );
    }
    config
}

/// One batch, whole prompts in one step, no server in front: its prompts have so many tokens together, the longest sequence so many.
pub(super) fn static_batch(batch: u32, prompts: u64, longest: u64, config: &mut Map<String, Value>) {
    let length = longest.clamp(1, 10_000_000);
    let step = prompts.max(length).clamp(1, 1_048_576);
    let limits = [
        ("max_num_seqs", "max_batch_size", u64::from(batch)),
        ("max_num_batched_tokens", "max_num_tokens", step),
        ("max_model_len", "max_seq_len", length),
    ];
    for (common, trtllm, value) in limits {
        match config.get_mut("trtllm").and_then(Value::as_object_mut) {
            Some(own) => own.insert(trtllm.into(), json!(value)),
            None => config.insert(common.into(), json!(value)),
        };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use super::*;

    fn record(framework: &str, ep: u32, options: &Value) -> Record {
        let engine_args = options.as_object().cloned();
        Record { framework: framework.into(), ep: Some(ep), engine_args, ..Record::default() }
    }

    #[test]
    fn ranks_and_experts_are_named_as_each_stack_names_them() {
        let none = json!({});
        let vllm = parallel(&record("vllm", 8, &none), 2, 1, 4);
        assert_eq!(vllm, Ok(json!({"tensor_parallel_size": 2, "data_parallel_size": 4, "enable_expert_parallel": true})));
        let own = json!({"enable_dp_attention": true, "dp_size": 4, "ep_size": 8, "moe_a2a_backend": "deepep"});
        let sglang = parallel(&record("sglang", 8, &json!({"moe_a2a_backend": "deepep"})), 2, 2, 4);
        assert_eq!(sglang, Ok(json!({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "sglang": own})));
        let balance = json!({"enable_balance": true, "timeout_iters": 60, "batching_wait_iters": 0});
        let own = json!({"enable_attention_dp": true, "attention_dp_config": balance, "moe_expert_parallel_size": 4});
        let trtllm = parallel(&record("trtllm", 4, &json!({"attention_dp_balance_wait_iters": 60})), 1, 1, 4);
        assert_eq!(trtllm, Ok(json!({"tensor_parallel_size": 4, "trtllm": own})));
        let scripted = parallel(&record("trtllm", 1, &json!({"from": "SemiAnalysisAI/InferenceX benchmarks/a_trt.sh"})), 1, 1, 4).unwrap();
        assert_eq!(scripted["trtllm"]["attention_dp_config"], json!({"enable_balance": true}));
        assert!(parallel(&record("trtllm", 1, &none), 2, 1, 4).is_err());
        assert!(parallel(&record("vllm", 4, &none), 2, 1, 4).is_err());
    }

    #[test]
    fn what_is_added_leaves_the_rest_of_a_section() {
        let mut config = json!({"trtllm": {"max_batch_size": 8}}).as_object().cloned().unwrap();
        extend(&mut config, json!({"tensor_parallel_size": 4, "trtllm": {"moe_expert_parallel_size": 4}}));
        let both = json!({"tensor_parallel_size": 4, "trtllm": {"max_batch_size": 8, "moe_expert_parallel_size": 4}});
        assert_eq!(Value::Object(config), both);
    }
}
