//! SGLang's own rules for an entry: what its options default to (server_args.py, arg_groups/memory_hook.py of 0.5.23).

use super::plan::KvPlan;
use super::{DATA_CENTRE_BLACKWELL, Parts, Rules};
use crate::catalog::{Engine, FrameworkDefaults};
use crate::config::Diagnostic;
use crate::config::schema::{SglangConfig, SglangEvictionPolicy, SglangRetractionPolicy, SglangSchedulePolicy};
use crate::cost::Graphs;
use crate::engine::policies::sglang::{Expectations, Order, Priorities, SglangOptions};
use crate::engine::{Limits, PolicySpec};
use crate::kv::Eviction;

/// Limits, graphs, policy and KV memory of an SGLang engine.
pub(super) fn rules(parts: &Parts<'_>, defaults: &FrameworkDefaults, warnings: &mut Vec<Diagnostic>) -> Result<Rules, Diagnostic> {
    let config = parts.config;
    let own = config.sglang.clone().unwrap_or_default();
    let overlap = own.disable_overlap_schedule.map(|off| !off).or(config.async_scheduling);
    let stages = parts.degrees.pp > 1;
    if stages && overlap == Some(true) {
        let message = "SGLang turns its overlap schedule off over a pipeline";
        warnings.push(Diagnostic::warning(parts.at("pipeline_parallel_size"), message, "take the option out"));
    }
    if !stages && own.pp_max_micro_batch_size.or(own.pp_async_batch_depth).is_some() {
        let message = "options of a pipeline have no effect: there is one stage";
        warnings.push(Diagnostic::warning(parts.at("sglang"), message, "say `pipeline_parallel_size`"));
    }
    if own.num_reserved_decode_tokens.is_some() && config.disaggregation.is_none() {
        let message = "has no effect: no other engine computes prompts for this one";
        warnings.push(Diagnostic::warning(parts.at("sglang.num_reserved_decode_tokens"), message, "say `disaggregation`, or take it out"));
    }
    let default = SglangOptions::default();
    let caching = own.disable_radix_cache.map(|off| !off).or(config.enable_prefix_caching).unwrap_or(defaults.prefix_caching);
    let caching = parts.caching(caching, warnings);
    if config.enable_cross_request_caching == Some(false) && caching {
        let message = "SGLang cannot share within a conversation only: prefixes are shared across requests too";
        let hint = "set enable_prefix_caching: false to share nothing";
        warnings.push(Diagnostic::warning(parts.at("enable_cross_request_caching"), message, hint));
    }
    let eviction = eviction(&own);
    if own.load_balance_method.is_some() && parts.degrees.ranks <= 1 {
        let message = "has no effect: there are no attention ranks";
        warnings.push(Diagnostic::warning(
            parts.at("sglang.load_balance_method"),
            message,
            "say `enable_dp_attention: true` and `dp_size`",
        ));
    }
    if eviction != Eviction::Lru && !caching {
        let message = "has no effect: nothing is kept of earlier prompts";
        warnings.push(Diagnostic::warning(parts.at("sglang.radix_eviction_policy"), message, "take it out"));
    }
    let max_num_seqs = own.max_running_requests.or(config.max_num_seqs).unwrap_or(defaults.max_num_seqs);
    // SGLang's default attention kernels there (trtllm_mha) want pages of 64 tokens.
    let page = if DATA_CENTRE_BLACKWELL.iter().any(|name| parts.device.name.starts_with(name)) { 64 } else { defaults.block_size };
    let page = own.page_size.or(config.block_size).unwrap_or(page);
    let chunked = config.enable_chunked_prefill.unwrap_or(defaults.chunked_prefill);
    // Each attention rank takes its share of a chunk.
    let chunk = (own.chunked_prefill_size.or(config.max_num_batched_tokens).unwrap_or(defaults.max_num_batched_tokens)
        / parts.degrees.ranks)
        .max(1);
    if chunked && !chunk.is_multiple_of(page) {
        let key = if config.max_num_batched_tokens.is_some() { "max_num_batched_tokens" } else { "sglang.chunked_prefill_size" };
        let message = format!("pieces of {chunk} tokens are not whole pages of {page}");
        let hint = "SGLang refuses this: choose a multiple of the page for every rank, or another `page_size`";
        return Err(Diagnostic::error(parts.at(key), message, hint));
    }
    Ok(Rules {
        policy: PolicySpec::Sglang(SglangOptions {
            order: match own.schedule_policy {
                None | Some(SglangSchedulePolicy::Fcfs) => Order::Fcfs,
                Some(SglangSchedulePolicy::Lpm) => Order::Lpm,
                Some(SglangSchedulePolicy::Lof) => Order::Lof,
                Some(SglangSchedulePolicy::ShortestPrefillFirst) => Order::ShortestPrefillFirst,
                Some(SglangSchedulePolicy::Random) => Order::Random,
                Some(SglangSchedulePolicy::DfsWeight) => Order::DfsWeight,
                Some(SglangSchedulePolicy::Hrrn) => Order::Hrrn,
            },
            priority: priorities(&own),
            max_prefill_tokens: own.max_prefill_tokens.unwrap_or(default.max_prefill_tokens),
            // Three tenths of it with attention ranks.
            schedule_conservativeness: own.schedule_conservativeness.unwrap_or(default.schedule_conservativeness)
                * if parts.degrees.ranks > 1 { 0.3 } else { 1.0 },
            expectations: Expectations {
                initial: own.init_new_token_ratio.unwrap_or(default.expectations.initial),
                floor: own.min_new_token_ratio_factor.unwrap_or(default.expectations.floor),
                steps: own.new_token_ratio_decay_steps.unwrap_or(default.expectations.steps),
            },
            clip: own.clip_max_new_tokens_estimation.unwrap_or(default.clip),
            prefill_max_requests: own.prefill_max_requests.unwrap_or(default.prefill_max_requests),
            num_reserved_decode_tokens: own.num_reserved_decode_tokens.unwrap_or(default.num_reserved_decode_tokens),
            mixed_chunk: own.enable_mixed_chunk.unwrap_or(default.mixed_chunk),
            prefill_decode_interval: own.prefill_decode_interval.unwrap_or(default.prefill_decode_interval),
            latch: own.batch_is_full_latch.unwrap_or(default.latch),
            caching,
            // Set when the number of running requests is known.
            pp_max_micro_batch_size: default.pp_max_micro_batch_size,
            seed: default.seed,
        }),
        limits: Limits {
            max_num_batched_tokens: chunk,
            max_num_seqs,
            max_model_len: config.max_model_len.unwrap_or(u64::from(parts.model.max_context)),
            chunked_prefill: chunked,
            long_prefill_token_threshold: 0,
            reserve_full_prompt: true,
            watermark_blocks: 0,
            speculative_tokens: 0,
        },
        graphs: if config.cuda_graphs.unwrap_or(true) {
            Graphs::of(Engine::Sglang, own.cuda_graph_max_bs.unwrap_or(defaults.max_capture_tokens).min(max_num_seqs))
        } else {
            Graphs::none()
        },
        block_size: page,
        blocks: config.num_gpu_blocks_override,
        utilization: own.mem_fraction_static.or(config.gpu_memory_utilization).or(defaults.gpu_memory_utilization),
        kv: Box::new(move |blocks, block_size| KvPlan::Radix { pages: blocks, page: block_size, caching, eviction }),
        overlap: overlap.unwrap_or(true) && !stages,
    })
}

fn eviction(own: &SglangConfig) -> Eviction {
    match own.radix_eviction_policy {
        None | Some(SglangEvictionPolicy::Lru) => Eviction::Lru,
        Some(SglangEvictionPolicy::Mru) => Eviction::Mru,
        Some(SglangEvictionPolicy::Fifo) => Eviction::Fifo,
        Some(SglangEvictionPolicy::Filo) => Eviction::Filo,
        Some(SglangEvictionPolicy::Priority) => Eviction::Priority,
        Some(SglangEvictionPolicy::Lfu) => Eviction::Lfu,
        Some(SglangEvictionPolicy::Slru) => Eviction::Slru,
    }
}

fn priorities(own: &SglangConfig) -> Option<Priorities> {
    let default = Priorities::default();
    own.enable_priority_scheduling.unwrap_or(false).then(|| Priorities {
        low_values_first: own.schedule_low_priority_values_first.unwrap_or(default.low_values_first),
        preempts: !own.disable_priority_preemption.unwrap_or(!default.preempts),
        threshold: own.priority_scheduling_preemption_threshold.unwrap_or(default.threshold),
        retracts: own.retraction_policy == Some(SglangRetractionPolicy::Priority),
    })
}

/// `max_running_requests` unless given: 512 for each multiple of the longest context that the pool holds, from 2048 to 4096, and no more
/// than half the pool's tokens.
pub(super) fn max_running_requests(parts: &Parts<'_>, pool_tokens: u64, max_model_len: u64) -> Option<u32> {
    let own = parts.config.sglang.as_ref().and_then(|own| own.max_running_requests);
    if own.or(parts.config.max_num_seqs).is_some() {
        return None;
    }
    let by_context = (512 * pool_tokens / max_model_len.max(1)).clamp(2048, 4096);
    Some(by_context.min(pool_tokens / 2).max(1) as u32)
}

/// Of a pipeline: most requests of one micro-batch, given those of the engine.
pub(super) fn micro_batch(parts: &Parts<'_>, max_running_requests: u32) -> u32 {
    let own = parts.config.sglang.as_ref().and_then(|own| own.pp_max_micro_batch_size);
    match parts.degrees.pp {
        0 | 1 => u32::MAX,
        stages => own.unwrap_or((max_running_requests / stages).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::entry::testing;

    /// Tokens of a step and most running requests.
    fn limits(options: &str) -> (u32, u32) {
        let text = format!(
            "simulation: {{random_seed: 1}}\nhardware_profile: {{node: 8xH200-SXM}}\nworkload: {{preset: chat, total_requests_to_generate: 1}}\n\
             frameworks_to_test: [{{name: a, type: SGLANG, config: {{{options}}}}}]\n"
        );
        testing::limits(&text)
    }

    /// 512 for each longest context that the pool holds, from 2048 to 4096, no more than half the pool's tokens.
    #[test]
    fn running_requests_follow_the_pool() {
        let running = |pool: u32, context: u32| {
            limits(&format!("model_profile_id: Llama-3.1-8B, num_gpu_blocks_override: {pool}, max_model_len: {context}")).1
        };
        assert_eq!(running(1_000_000, 4096), 4096);
        assert_eq!(running(1_000_000, 131_072), 3906);
        assert_eq!(running(100_000, 131_072), 2048);
        assert_eq!(running(3000, 2000), 1500);
        assert_eq!(limits("model_profile_id: Llama-3.1-8B, num_gpu_blocks_override: 3000, sglang: {max_running_requests: 7}").1, 7);
    }

    /// Attention ranks share a chunk.
    #[test]
    fn each_rank_takes_its_part_of_a_chunk() {
        let model = "model_profile_id: DeepSeek-R1, dtype: fp8_block, max_model_len: 8192, tensor_parallel_size: 8";
        assert_eq!(limits(model).0, 8192);
        assert_eq!(limits(&format!("{model}, sglang: {{enable_dp_attention: true, dp_size: 8}}")).0, 1024);
    }
}
