//! vLLM's own rules for an entry: what its options default to and what it refuses.

use super::plan::KvPlan;
use super::tiers::pcie_gb_s;
use super::{Parts, Rules};
use crate::catalog::{Engine, FrameworkDefaults, VersionDefaults, version_defaults};
use crate::config::Diagnostic;
use crate::config::schema::{
    SpeculativeMethod, VllmConfig, VllmPerformanceMode, VllmPreemptionMode, VllmSchedulingPolicy, VllmUsageContext, VllmVersion,
};
use crate::cost::Graphs;
use crate::cost::states::{blocks_per_sequence, unified_block};
use crate::engine::policies::vllm::VllmOptions;
use crate::engine::{Limits, PolicySpec, SwapSpec};
use crate::units::Time;

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

/// `get_batch_defaults`: tokens and sequences of a step, by who runs the engine and what for.
fn batch_defaults(
    parts: &Parts<'_>,
    own: &VllmConfig,
    defaults: &FrameworkDefaults,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(u32, u32), Diagnostic> {
    let mut tokens = defaults.max_num_batched_tokens;
    if own.usage_context == Some(VllmUsageContext::LlmClass) {
        match defaults.max_num_batched_tokens_llm_class {
            Some(of_class) => tokens = of_class,
            None => {
                let message = format!("has no effect: vLLM {} has the same defaults for both", defaults.version);
                warnings.push(Diagnostic::warning(parts.at("vllm.usage_context"), message, "take it out"));
            }
        }
    }
    if own.performance_mode != Some(VllmPerformanceMode::Throughput) {
        return Ok((tokens, defaults.max_num_seqs));
    }
    if own.version.is_some_and(|version| version != VllmVersion::V0_33) {
        let message = format!("vLLM {} has no such mode", defaults.version);
        let hint = "take it out, or say `max_num_batched_tokens` and `max_num_seqs`";
        return Err(Diagnostic::error(parts.at("vllm.performance_mode"), message, hint));
    }
    Ok((tokens.saturating_mul(2), defaults.max_num_seqs.saturating_mul(2)))
}

/// Host memory to swap to, GiB for each GPU: 0.6's default.
const SWAP_SPACE: f64 = 4.0;

/// How the scheduler of 0.6 swaps, where a block has so many bytes on each GPU: over PCIe, in both directions alike.
pub(super) fn swap(parts: &Parts<'_>, block_bytes: f64, tiers: bool) -> Result<Option<SwapSpec>, Diagnostic> {
    let own = parts.config.vllm.clone().unwrap_or_default();
    let beside = [
        (parts.config.enable_chunked_prefill == Some(true), "chunked prefill"),
        (parts.degrees.pp > 1, "a pipeline of stages"),
        (parts.degrees.ranks > 1, "attention ranks"),
        (tiers, "tiers of KV"),
    ];
    let what = beside.into_iter().find_map(|(there, what)| there.then_some(what));
    match (own.preemption_mode, what) {
        (Some(VllmPreemptionMode::Swap), Some(what)) => {
            let message = format!("swapping is modelled without {what}");
            Err(Diagnostic::error(parts.at("vllm.preemption_mode"), message, "take one of the two out"))
        }
        (Some(VllmPreemptionMode::Recompute), _) | (_, Some(_)) => Ok(None),
        (mode, None) => {
            let gib = own.swap_space.unwrap_or(SWAP_SPACE);
            let factor = parts.config.calibration.as_ref().and_then(|own| own.tier_rate).unwrap_or(1.0);
            Ok(Some(SwapSpec {
                blocks: (gib * (1_u64 << 30) as f64 / block_bytes) as u64,
                block_ps: Time::from_s(block_bytes / (pcie_gb_s(parts) * factor * 1e9)).0,
                singles: mode.is_some(),
            }))
        }
    }
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
    let before_v1 = earlier.is_some_and(|earlier| earlier.prefill_first);
    // FlashMLA's blocks, which V1 takes for models with latent attention.
    let block = if parts.model.mla.is_some() && !before_v1 { 64 } else { defaults.block_size };
    let block_size = unified_block(&parts.model, parts.tp, kv_bytes, config.block_size.unwrap_or(block));
    let chunked = config.enable_chunked_prefill.unwrap_or(defaults.chunked_prefill);
    let context = u64::from(parts.model.max_context);
    let max_model_len = config.max_model_len.unwrap_or(context);

    // As vLLM: the defaults of one follow the other.
    let (default_tokens, default_seqs) = batch_defaults(parts, &own, defaults, warnings)?;
    let mut budget_tokens = config.max_num_batched_tokens.unwrap_or(default_tokens);
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
        None => default_seqs.min(budget_tokens),
    };

    let graphs = if config.cuda_graphs.unwrap_or(true) {
        // Two batches' worth: of as many sequences as there may be, each with the tokens drafted for it.
        let per_sequence = config.speculative.as_ref().map_or(1, |own| own.num_speculative_tokens.saturating_add(1));
        let most = max_num_seqs.saturating_mul(2).saturating_mul(per_sequence);
        let largest = own.max_cudagraph_capture_size.unwrap_or(defaults.max_capture_tokens.min(most));
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
    if chunked && own.scheduler_delay_factor.is_some_and(|factor| factor > 0.0) {
        let message = "the delay factor is modelled without chunked prefill";
        return Err(Diagnostic::error(parts.at("vllm.scheduler_delay_factor"), message, "take one of the two out"));
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
        delay_factor: (own.scheduler_delay_factor.unwrap_or(0.0) * 1e6) as u64,
        swap: None,
        prompts_first: before_v1 && !chunked,
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
        kv: Box::new(move |blocks, block_size| KvPlan::HashChain { blocks, block_size, caching, beside, merges: before_v1 }),
        overlap: config.async_scheduling.unwrap_or(earlier.is_none_or(|earlier| earlier.async_scheduling)),
    })
}

#[cfg(test)]
mod tests {
    use crate::config;
    use crate::sim::entry::testing;
    use crate::sim::{self, NoFiles};

    fn document(device: &str, options: &str) -> String {
        format!(
            "simulation: {{random_seed: 1}}\nhardware_profile: {{node: 1x{device}}}\nworkload: {{preset: chat, total_requests_to_generate: 1}}\n\
             frameworks_to_test: [{{name: a, type: VLLM, config: {{model_profile_id: Llama-3.1-8B, max_model_len: 4096, {options}}}}}]\n"
        )
    }

    /// Tokens and sequences of a step.
    fn limits(device: &str, options: &str) -> (u32, u32) {
        testing::limits(&document(device, &format!("vllm: {{{options}}}")))
    }

    /// `get_batch_defaults` of 0.33: by GPU, by who runs the engine, and in throughput mode.
    #[test]
    fn batch_defaults_follow_gpu_usage_and_mode() {
        let offline = "usage_context: llm_class";
        for (device, server, class) in [
            ("A100-SXM-80GB", (2048, 256), (8192, 256)),
            ("L40S", (2048, 256), (8192, 256)),
            ("H100-SXM", (8192, 1024), (16384, 1024)),
            ("H200-SXM", (8192, 1024), (16384, 1024)),
            ("B200", (16384, 1024), (16384, 1024)),
            ("MI300X", (16384, 1024), (16384, 1024)),
        ] {
            let twice = |(tokens, seqs)| (2 * tokens, 2 * seqs);
            assert_eq!(limits(device, "usage_context: server, performance_mode: balanced"), server, "{device}");
            assert_eq!(limits(device, ""), server, "{device}");
            assert_eq!(limits(device, offline), class, "{device}");
            assert_eq!(limits(device, "performance_mode: throughput"), twice(server), "{device}");
            assert_eq!(limits(device, &format!("{offline}, performance_mode: throughput")), twice(class), "{device}");
        }
    }

    /// Published runs used the defaults of their version.
    #[test]
    fn earlier_versions_have_their_own_batch_defaults() {
        for version in ["0.8", "0.9", "0.11"] {
            let of = |device: &str, rest: &str| limits(device, &format!("version: \"{version}\"{rest}"));
            assert_eq!(of("H100-SXM", ""), (8192, 1024), "{version}");
            assert_eq!(of("B200", ""), (8192, 1024), "{version}");
            assert_eq!(of("A100-SXM-80GB", ""), (2048, 256), "{version}");
            assert_eq!(of("H100-SXM", ", usage_context: llm_class"), (16384, 1024), "{version}");
        }
        // 0.6 does not look at the GPU, and without chunked prefill a step holds the longest request.
        assert_eq!(limits("H100-SXM", "version: \"0.6\""), (4096, 256));
        assert_eq!(limits("A100-SXM-80GB", "version: \"0.6\""), (4096, 256));
    }

    #[test]
    fn a_mode_of_another_version_is_refused() {
        let read = config::read(&document("H100-SXM", "vllm: {version: \"0.11\", performance_mode: throughput}"), "");
        let errors = sim::plan(&read.document.expect("a document"), &NoFiles).err().unwrap_or_default();
        assert!(errors.iter().any(|error| error.path.ends_with("vllm.performance_mode") && !error.hint.is_empty()), "{errors:#?}");
    }

    /// Latent attention's kernels want blocks of 64 tokens.
    #[test]
    fn blocks_are_larger_for_latent_attention() {
        let block = |model: &str, options: &str| {
            let text = document("H200-SXM", options).replace("Llama-3.1-8B", model);
            let plan = sim::plan(&config::read(&text, "").document.expect("a document"), &NoFiles);
            plan.unwrap_or_else(|errors| panic!("{errors:#?}")).runs[0].info.replicas[0].block_tokens
        };
        assert_eq!(block("Llama-3.1-8B", ""), 16);
        assert_eq!(block("DeepSeek-V2-Lite", ""), 64);
        assert_eq!(block("DeepSeek-V2-Lite", "block_size: 32"), 32);
    }

    /// Captured are batches up to twice as many sequences as there may be, each with the tokens drafted for it, and up to 512 tokens.
    #[test]
    fn drafted_tokens_count_for_captured_sizes() {
        let graphs = |options: &str| {
            let read = config::read(&document("H100-SXM", options), "");
            let plan = sim::plan(&read.document.expect("a document"), &NoFiles).unwrap_or_else(|errors| panic!("{errors:#?}"));
            plan.runs[0].info.replicas[0].memory.graphs_bytes / (10.0 * f64::from(1 << 20))
        };
        // 1, 2, 4, 8, 16, 24, 32; with three drafted 40 ... 128 too.
        assert_eq!(graphs("max_num_seqs: 16"), 7.0);
        assert_eq!(graphs("max_num_seqs: 16, speculative: {method: ngram, num_speculative_tokens: 3, acceptance_rate: 0.5}"), 19.0);
        assert_eq!(graphs("max_num_seqs: 1024, speculative: {method: ngram, num_speculative_tokens: 3, acceptance_rate: 0.5}"), 51.0);
    }
}
