//! TensorRT-LLM's own rules for an entry: defaults of trtllm-serve and of trtllm-bench.
//!
//! trtllm-bench sizes its engine by `bench/build/tuning.py`: as many requests of the mean length as fit into the KV memory, at most 4096,
//! rounded up, and for each its share of prompt tokens in a step.

use super::plan::KvPlan;
use super::{Parts, Rules};
use crate::catalog::FrameworkDefaults;
use crate::config::Diagnostic;
use crate::config::schema::{CapacitySchedulerPolicy, ContextChunkingPolicy, TrtllmConfig, TrtllmPreset, TrtllmVersion};
use crate::cost::memory::{MemorySpec, kv_bytes_per_token};
use crate::cost::{Graphs, Part, StateOptions, weight_bytes_per_rank};
use crate::engine::policies::trtllm::{Capacity, Chunking, TrtllmOptions};
use crate::engine::{Limits, PolicySpec};
use crate::kv::Reuse;
use crate::units::Time;

/// Tokens that pieces of a prompt are multiples of where layers look back over a window.
const WINDOWED_CHUNK: u32 = 256;

/// Limits, graphs, policy and KV memory of a TensorRT-LLM engine.
pub(super) fn rules(parts: &Parts<'_>, defaults: &FrameworkDefaults, warnings: &mut Vec<Diagnostic>) -> Result<Rules, Diagnostic> {
    let config = parts.config;
    let own = config.trtllm.clone().unwrap_or_default();
    let bench = own.preset == Some(TrtllmPreset::Bench);
    let block_size = own.tokens_per_block.or(config.block_size).unwrap_or(defaults.block_size);
    let chunked = config.enable_chunked_prefill.unwrap_or(defaults.chunked_prefill);
    let max_model_len = own.max_seq_len.or(config.max_model_len).unwrap_or(u64::from(parts.model.max_context));
    let utilization = own.free_gpu_memory_fraction.or(config.gpu_memory_utilization).or(defaults.gpu_memory_utilization);

    let (seats, tokens) = if bench {
        tuned(parts, &own, utilization.unwrap_or(0.9), block_size, chunked)?
    } else {
        (defaults.max_num_seqs, defaults.max_num_batched_tokens)
    };
    let max_num_seqs = own.max_batch_size.or(config.max_num_seqs).unwrap_or(seats);
    let max_num_batched_tokens = own.max_num_tokens.or(config.max_num_batched_tokens).unwrap_or(tokens);
    if !chunked && u64::from(max_num_batched_tokens) < max_model_len && config.max_model_len.or(own.max_seq_len).is_some() {
        let message = format!("prompts of more than {max_num_batched_tokens} tokens are turned away: they are not cut over several steps");
        warnings.push(Diagnostic::warning(parts.at("max_model_len"), message, "set enable_chunked_prefill: true, or raise max_num_tokens"));
    }

    if chunked && max_num_batched_tokens < block_size {
        let key = if config.max_num_batched_tokens.is_some() { "max_num_batched_tokens" } else { "trtllm.max_num_tokens" };
        let message =
            format!("a step of {max_num_batched_tokens} tokens holds no block of {block_size}: no piece of a prompt would ever fit");
        return Err(Diagnostic::error(parts.at(key), message, "raise it to a block or more"));
    }

    let graphs = own.cuda_graph_config.clone().unwrap_or_default();
    let largest = graphs.max_batch_size.unwrap_or(if bench { max_num_seqs } else { defaults.max_capture_tokens }).min(max_num_seqs);
    let graphs = match config.cuda_graphs {
        Some(false) => Graphs::none(),
        _ => Graphs::trtllm(largest, graphs.enable_padding.unwrap_or(bench)),
    };
    let caching = own.enable_block_reuse.or(config.enable_prefix_caching).unwrap_or(defaults.prefix_caching);
    let caching = parts.caching(caching, warnings);
    if config.enable_cross_request_caching == Some(false) && caching {
        let message = "TensorRT-LLM cannot share within a conversation only: prefixes are shared across requests too";
        let hint = "set enable_prefix_caching: false to share nothing";
        warnings.push(Diagnostic::warning(parts.at("enable_cross_request_caching"), message, hint));
    }
    let options = options(&own, parts, second_scheduler(&own, parts, warnings))?;
    if parts.degrees.ranks > 1 && options.batch_wait_iters == 0 && own.batch_wait_timeout_iters.unwrap_or(0) > 0 {
        let message = "TensorRT-LLM's prompts do not wait for company with attention ranks";
        warnings.push(Diagnostic::warning(parts.at("trtllm.batch_wait_timeout_iters"), message, "`attention_dp_config` has them wait"));
    }
    let reuse = Reuse {
        blocks: caching,
        partial: own.enable_partial_reuse.unwrap_or(true),
        copy: own.copy_on_partial_reuse.unwrap_or(true),
        whole_context: !options.v2,
    };
    Ok(Rules {
        policy: PolicySpec::Trtllm(options),
        limits: Limits {
            max_num_batched_tokens,
            max_num_seqs,
            max_model_len,
            chunked_prefill: chunked,
            long_prefill_token_threshold: 0,
            reserve_full_prompt: true,
            watermark_blocks: 0,
            speculative_tokens: 0,
        },
        graphs,
        block_size,
        blocks: config.num_gpu_blocks_override,
        utilization,
        kv: Box::new(move |blocks, block_size| KvPlan::BlockTree { blocks, block_size, reuse }),
        overlap: own.disable_overlap_scheduler.map_or(config.async_scheduling.unwrap_or(true), |disabled| !disabled),
    })
}

/// Whether the second scheduler serves. Where the main branch is to choose (`use_kv_cache_manager_v2: auto`), it does for these families of
/// models, unless another capacity policy is asked for than the one it has.
fn second_scheduler(own: &TrtllmConfig, parts: &Parts<'_>, warnings: &mut Vec<Diagnostic>) -> bool {
    if let (Some(_), _) | (None, None | Some(TrtllmVersion::V1_2)) = (own.use_kv_cache_manager_v2, own.version) {
        return own.use_kv_cache_manager_v2.unwrap_or(false);
    }
    let inline = parts.config.model.as_ref().and_then(|shape| shape.get("model_type")).and_then(serde_json::Value::as_str);
    let name = inline.unwrap_or(&parts.model.name).to_ascii_lowercase().replace('_', "-");
    let families = ["llama", "codellama", "gpt-oss", "gemma3", "gemma-3", "gemma4", "gemma-4", "deepseek-v4"];
    let chosen = parts.model.linear.is_some() || families.iter().any(|family| name.starts_with(family));
    let keeps = own.capacity_scheduler_policy.filter(|policy| *policy != CapacitySchedulerPolicy::MaxUtilization);
    if chosen && keeps.is_some() {
        let message = "the first scheduler serves: the second, which the main branch chooses for this model, has MAX_UTILIZATION only";
        warnings.push(Diagnostic::warning(
            parts.at("trtllm.capacity_scheduler_policy"),
            message,
            "leave it out, or say `use_kv_cache_manager_v2: false`",
        ));
    }
    chosen && keeps.is_none()
}

fn options(own: &TrtllmConfig, parts: &Parts<'_>, v2: bool) -> Result<TrtllmOptions, Diagnostic> {
    let default = TrtllmOptions::default();
    let batch_wait_timeout = Time::from_ms(own.batch_wait_timeout_ms.unwrap_or(0.0));
    if batch_wait_timeout > Time::ZERO && (parts.degrees.ranks > 1 || parts.degrees.pp > 1 || parts.config.disaggregation.is_some()) {
        let message = "waiting before each batch is not modelled with attention ranks, a pipeline or pools";
        return Err(Diagnostic::error(parts.at("trtllm.batch_wait_timeout_ms"), message, "take one of the two out"));
    }
    Ok(TrtllmOptions {
        capacity: match own.capacity_scheduler_policy {
            _ if v2 => Capacity::MaxUtilization,
            None | Some(CapacitySchedulerPolicy::GuaranteedNoEvict) => Capacity::GuaranteedNoEvict,
            Some(CapacitySchedulerPolicy::MaxUtilization) => Capacity::MaxUtilization,
            Some(CapacitySchedulerPolicy::StaticBatch) => Capacity::StaticBatch,
        },
        v2,
        chunking: match own.context_chunking_policy {
            None | Some(ContextChunkingPolicy::FirstComeFirstServed) => Chunking::FirstComeFirstServed,
            Some(ContextChunkingPolicy::EqualProgress) => Chunking::EqualProgress,
            Some(ContextChunkingPolicy::ForceChunk) => Chunking::ForceChunk,
        },
        prefix_aware: own.enable_prefix_aware_scheduling.unwrap_or(default.prefix_aware),
        max_util_for_resume: own.max_util_for_resume.unwrap_or(default.max_util_for_resume),
        // Not with attention ranks, which have a wait of their own.
        batch_wait_iters: own.batch_wait_timeout_iters.filter(|_| parts.degrees.ranks == 1).unwrap_or(default.batch_wait_iters),
        batch_wait_max_tokens_ratio: own.batch_wait_max_tokens_ratio.unwrap_or(default.batch_wait_max_tokens_ratio),
        batch_wait_timeout,
        pp_size: parts.degrees.pp,
        chunk_unit: if parts.model.sliding_window.is_some() { WINDOWED_CHUNK } else { 0 },
    })
}

/// trtllm-bench's batch size and step size.
fn tuned(parts: &Parts<'_>, own: &TrtllmConfig, fraction: f64, block_size: u32, chunked: bool) -> Result<(u32, u32), Diagnostic> {
    let (Some(input), Some(output)) = (own.target_input_len, own.target_output_len) else {
        // Nothing is left to choose: validation has seen to it.
        return Ok((64, 2048));
    };
    let weights = weight_bytes_per_rank(&parts.model, parts.tp, parts.dtype);
    let token = kv_bytes_per_token(&MemorySpec {
        engine: parts.engine,
        device: &parts.device,
        model: &parts.model,
        part: Part::WHOLE,
        tp: parts.tp,
        dtype: parts.dtype,
        kv_dtype: parts.kv_dtype,
        utilization: None,
        max_num_batched_tokens: 1,
        max_num_seqs: 1,
        block_size,
        graphs: &Graphs::none(),
        adapter_bytes_per_layer: 0.0,
        drafter: None,
        states: StateOptions::default(),
    });
    // A GPU holds a stage's share of both.
    let stages = f64::from(parts.degrees.pp);
    let requests = (parts.device.memory_bytes - weights / stages) * fraction / (token / stages * (f64::from(input) + f64::from(output)));
    if requests < 1.0 {
        let message = "trtllm-bench refuses this: not one request of the mean length fits into the KV memory";
        return Err(Diagnostic::error(parts.at("trtllm.preset"), message, "use more GPUs"));
    }
    let (seats, tokens) = tuned_sizes(requests, stages, f64::from(input), f64::from(output));
    // Uncut, the longest prompt must fit beside a full batch.
    Ok((seats, if chunked { tokens } else { tokens.max(input.saturating_add(seats)) }))
}

/// `finetune_setting`: batch and step size for a KV memory of so many requests.
fn tuned_sizes(requests: f64, stages: f64, input: f64, output: f64) -> (u32, u32) {
    let up = |value: f64, unit: u32| ((value / f64::from(unit)) as u32 + u32::from(value % f64::from(unit) > 0.0)) * unit;
    let batch = requests.min(4096.0) / stages;
    let tokens = (batch * (1.0 + input / output)).min(32768.0);
    let seats = match batch {
        batch if batch < 256.0 => up(batch, 32).max(64),
        batch if batch < 1024.0 => up(batch, 128),
        batch => up(batch, 256),
    };
    let step = match tokens {
        tokens if tokens < 4096.0 => up(tokens, 256).max(2048),
        tokens if tokens < 8192.0 => up(tokens, 512),
        tokens => up(tokens, 1024),
    };
    (seats, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bench_sizes_are_rounded_as_trtllm_bench_rounds_them() {
        // By hand: 100.2 requests of 1000/1000 -> 128 seats, 200.4 tokens -> at least 2048.
        assert_eq!(tuned_sizes(100.2, 1.0, 1000.0, 1000.0), (128, 2048));
        // 20 -> at least 64; 20 * (1 + 2048/128) = 340 -> 2048.
        assert_eq!(tuned_sizes(20.0, 1.0, 2048.0, 128.0), (64, 2048));
        // 300 -> 384; 300 * (1 + 2048/128) = 5100 -> 5120.
        assert_eq!(tuned_sizes(300.0, 1.0, 2048.0, 128.0), (384, 5120));
        // 1025 -> 1280; 1025 * 9 = 9225 -> 10240 in steps of 1024.
        assert_eq!(tuned_sizes(1025.0, 1.0, 1024.0, 128.0), (1280, 10240));
        // The first over two stages: 50.1 each -> at least 64.
        assert_eq!(tuned_sizes(100.2, 2.0, 1000.0, 1000.0), (64, 2048));
        // Capped at 4096 requests and 32768 tokens.
        assert_eq!(tuned_sizes(1e6, 1.0, 1024.0, 128.0), (4096, 32768));
    }
}
