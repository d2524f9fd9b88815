//! vLLM's own rules for an entry: what its options default to and what it refuses.

use super::plan::KvPlan;
use super::{Parts, Rules};
use crate::catalog::{Engine, FrameworkDefaults, VersionDefaults, version_defaults};
use crate::config::Diagnostic;
use crate::config::schema::{SpeculativeMethod, VllmSchedulingPolicy, VllmVersion};
use crate::cost::Graphs;
use crate::cost::states::{blocks_per_sequence, unified_block};
use crate::engine::policies::vllm::VllmOptions;
use crate::engine::{Limits, PolicySpec};

/// The version that an entry names, unless it is the one that the defaults are of.
fn version(parts: &Parts<'_>) -> Result<Option<(FrameworkDefaults, &'static VersionDefaults)>, Diagnostic> {
    let Some(version) = parts.config.vllm.as_ref().and_then(|own| own.version).filter(|version| *version != VllmVersion::V0_33) else {
        return Ok(None);
    };
    let missing = || Diagnostic::error(parts.at("vllm.version"), "no defaults are known for this version and device", "leave it out");
    version_defaults(Engine::Vllm, &parts.device, version.name()).map(Some).ok_or_else(missing)
}

/// Share of blocks that the version keeps free at admission.
pub(super) fn watermark(parts: &Parts<'_>) -> f64 {
    version(parts).ok().flatten().map_or(0.0, |(_, found)| found.watermark)
}

/// Limits, graphs, policy and KV memory of a vLLM engine.
pub(super) fn rules(parts: &Parts<'_>, defaults: &FrameworkDefaults, warnings: &mut Vec<Diagnostic>) -> Result<Rules, Diagnostic> {
    let config = parts.config;
    let earlier = version(parts)?;
    let own = config.vllm.clone().unwrap_or_default();
    let (defaults, earlier) = match &earlier {
        Some((defaults, earlier)) => (defaults, Some(*earlier)),
        None => (defaults, None),
    };
    if let Some(earlier) = earlier {
        let message = format!("defaults of vLLM {}; not traced: {}", earlier.version, earlier.not_traced);
        warnings.push(Diagnostic::warning(parts.at("vllm.version"), message, "state what you know of the run beside it"));
    }
    let kv_bytes = parts.kv_dtype.kv_bytes().unwrap_or(2.0);
    let block_size = unified_block(&parts.model, parts.tp, kv_bytes, config.block_size.unwrap_or(defaults.block_size));
    let chunked = config.enable_chunked_prefill.unwrap_or(defaults.chunked_prefill);
    let context = u64::from(parts.model.max_context);
    let max_model_len = config.max_model_len.unwrap_or(context);

    // As vLLM: the defaults of one follow the other.
    let mut budget_tokens = config.max_num_batched_tokens.unwrap_or(defaults.max_num_batched_tokens);
    if !chunked && u64::from(budget_tokens) < max_model_len {
        if config.max_num_batched_tokens.is_some() {
            let message = format!(
                "{budget_tokens} is less than max_model_len ({max_model_len}): without chunked prefill longer requests are turned away"
            );
            warnings.push(Diagnostic::warning(parts.at("max_num_batched_tokens"), message, "raise it, or set max_model_len"));
        } else {
            budget_tokens = u32::try_from(max_model_len).unwrap_or(u32::MAX);
        }
    }
    let max_num_seqs = match config.max_num_seqs {
        Some(seqs) if seqs > budget_tokens => {
            let message = format!("max_num_seqs ({seqs}) is above max_num_batched_tokens ({budget_tokens})");
            return Err(Diagnostic::error(
                parts.at("max_num_seqs"),
                message,
                "vLLM refuses this: every sequence needs a token in each step",
            ));
        }
        Some(seqs) => seqs,
        None => defaults.max_num_seqs.min(budget_tokens),
    };

    let graphs = if config.cuda_graphs.unwrap_or(true) {
        let largest = own.max_cudagraph_capture_size.unwrap_or(defaults.max_capture_tokens.min(max_num_seqs.saturating_mul(2)));
        match earlier {
            Some(earlier) => Graphs::vllm(largest, earlier.capture_step_above_256, earlier.mixed_graphs),
            None => Graphs::of(Engine::Vllm, largest),
        }
    } else {
        Graphs::none()
    };
    if config.enable_cross_request_caching == Some(false) && config.enable_prefix_caching.unwrap_or(defaults.prefix_caching) {
        let message = "vLLM cannot share within a conversation only: prefixes are shared across requests too";
        warnings.push(Diagnostic::warning(
            parts.at("enable_cross_request_caching"),
            message,
            "set enable_prefix_caching: false to share nothing",
        ));
    }
    let caching = parts.caching(config.enable_prefix_caching.unwrap_or(defaults.prefix_caching), warnings);
    let beside = blocks_per_sequence(&parts.model);
    if own.num_scheduler_steps.is_some_and(|steps| steps > 1) {
        let beside = [
            (chunked, "chunked prefill"),
            (config.speculative.is_some(), "speculative decoding"),
            (parts.degrees.pp > 1, "a pipeline of stages"),
            (parts.degrees.ranks > 1, "attention ranks"),
        ];
        if let Some((_, what)) = beside.into_iter().find(|(there, _)| *there) {
            let message = format!("several steps scheduled at once are modelled without {what}");
            return Err(Diagnostic::error(parts.at("vllm.num_scheduler_steps"), message, "take one of the two out"));
        }
    }
    let options = VllmOptions {
        priority: own.scheduling_policy == Some(VllmSchedulingPolicy::Priority),
        adaptive_threshold: own.long_prefill_token_threshold_adaptive.unwrap_or(false),
        prefill_schedule_interval: own.prefill_schedule_interval.unwrap_or(1),
        max_num_active_seqs: own.max_num_active_seqs.unwrap_or(u32::MAX),
        drops_last_block: config
            .speculative
            .as_ref()
            .is_some_and(|own| matches!(own.method, SpeculativeMethod::Eagle | SpeculativeMethod::Mtp)),
        scheduler_steps: own.num_scheduler_steps.unwrap_or(1),
        prompts_first: earlier.is_some_and(|earlier| earlier.prefill_first) && !chunked,
        max_num_queued_reqs: own.max_num_queued_reqs,
        max_num_queued_tokens: own.max_num_queued_tokens,
    };
    Ok(Rules {
        policy: PolicySpec::Vllm(options),
        limits: Limits {
            max_num_batched_tokens: budget_tokens,
            max_num_seqs,
            max_model_len,
            chunked_prefill: chunked,
            long_prefill_token_threshold: config.long_prefill_token_threshold.or(config.prefill_chunk_size).unwrap_or(0),
            reserve_full_prompt: config.scheduler_reserve_full_isl.unwrap_or(earlier.is_none_or(|earlier| earlier.reserve_full_prompt)),
            watermark_blocks: 0,
            speculative_tokens: 0,
        },
        graphs,
        block_size,
        // vLLM's null block holds nothing; the memory budget has left it out already.
        blocks: config.num_gpu_blocks_override.map(|given| given.saturating_sub(1)),
        utilization: config.gpu_memory_utilization.or(defaults.gpu_memory_utilization),
        kv: Box::new(move |blocks, block_size| KvPlan::HashChain { blocks, block_size, caching, beside }),
        overlap: config.async_scheduling.unwrap_or(earlier.is_none_or(|earlier| earlier.async_scheduling)),
    })
}
