//! SGLang's own options against the common options that say the same in other words.

use super::super::node::join_key;
use super::super::schema::{FrameworkConfig, FrameworkKind, SglangConfig, SglangRetractionPolicy, SglangSchedulePolicy};
use super::Findings;
use super::own_options::{differs, of_another_stack, two_words, without_effect};

pub(super) fn sglang(kind: FrameworkKind, config: &FrameworkConfig, config_path: &str, findings: &mut Findings) {
    if kind == FrameworkKind::Sglang {
        without_effect("SGLang", config, config_path, findings);
    }
    let Some(own) = &config.sglang else { return };
    let path = join_key(config_path, "sglang");
    if !matches!(kind, FrameworkKind::Sglang | FrameworkKind::Dynamo) {
        of_another_stack(&path, "SGLang", "SGLANG", findings);
        return;
    }
    common_words(config, own, &path, findings);
    let by_length = matches!(own.schedule_policy, None | Some(SglangSchedulePolicy::Fcfs | SglangSchedulePolicy::Lof));
    if own.enable_priority_scheduling == Some(true) && !by_length {
        let message = "priorities go with `fcfs` and `lof` only, as in SGLang";
        findings.error(join_key(&path, "enable_priority_scheduling"), message, "take `schedule_policy` out, or this");
    }
    priorities(own, &path, findings);
    let delayer = [
        ("prefill_delayer_max_delay_passes", own.prefill_delayer_max_delay_passes.is_some()),
        ("prefill_delayer_token_usage_low_watermark", own.prefill_delayer_token_usage_low_watermark.is_some()),
    ];
    for (key, _) in delayer.iter().filter(|(_, given)| *given && own.enable_prefill_delayer != Some(true)) {
        let message = format!("`{key}` has no effect without `enable_prefill_delayer: true`");
        findings.warning(join_key(&path, key), message, "set it, or take this out");
    }
    if own.enable_prefill_delayer == Some(true) && own.enable_dp_attention != Some(true) {
        let message = "the prefill delayer is modelled for attention ranks";
        findings.error(join_key(&path, "enable_prefill_delayer"), message, "say `enable_dp_attention: true` and `dp_size`, or take it out");
    }
    if own.enable_prefill_delayer == Some(true) && own.disable_overlap_schedule == Some(true) {
        let message = "the prefill delayer goes with the overlap schedule only, as in SGLang";
        findings.error(join_key(&path, "enable_prefill_delayer"), message, "take `disable_overlap_schedule` out, or this");
    }
    let hicache = [
        ("hicache_ratio", own.hicache_ratio.is_some()),
        ("hicache_size", own.hicache_size.is_some()),
        ("hicache_write_policy", own.hicache_write_policy.is_some()),
    ];
    for (key, _) in hicache.iter().filter(|(_, given)| *given && own.enable_hierarchical_cache != Some(true)) {
        let message = format!("`{key}` has no effect without `enable_hierarchical_cache: true`");
        findings.warning(join_key(&path, key), message, "set it, or take this out");
    }
}

/// What goes with priorities only.
fn priorities(own: &SglangConfig, path: &str, findings: &mut Findings) {
    if own.enable_priority_scheduling == Some(true) {
        return;
    }
    if own.retraction_policy == Some(SglangRetractionPolicy::Priority) {
        let message = "retraction by priority goes with priority scheduling only, as in SGLang";
        findings.error(join_key(path, "retraction_policy"), message, "say `enable_priority_scheduling: true`");
    }
    let given = [
        ("schedule_low_priority_values_first", own.schedule_low_priority_values_first.is_some()),
        ("priority_scheduling_preemption_threshold", own.priority_scheduling_preemption_threshold.is_some()),
        ("disable_priority_preemption", own.disable_priority_preemption.is_some()),
    ];
    for (key, _) in given.iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` has no effect without `enable_priority_scheduling: true`");
        findings.warning(join_key(path, key), message, "set it, or take this out");
    }
}

/// The same said in SGLang's words and in the common ones.
fn common_words(config: &FrameworkConfig, own: &SglangConfig, path: &str, findings: &mut Findings) {
    let pairs = [
        ("max_running_requests", "max_num_seqs", differs(own.max_running_requests, config.max_num_seqs)),
        ("chunked_prefill_size", "max_num_batched_tokens", differs(own.chunked_prefill_size, config.max_num_batched_tokens)),
        ("mem_fraction_static", "gpu_memory_utilization", differs(own.mem_fraction_static, config.gpu_memory_utilization)),
        ("page_size", "block_size", differs(own.page_size, config.block_size)),
        ("disable_radix_cache", "enable_prefix_caching", differs(own.disable_radix_cache.map(|off| !off), config.enable_prefix_caching)),
        ("disable_overlap_schedule", "async_scheduling", differs(own.disable_overlap_schedule.map(|off| !off), config.async_scheduling)),
    ];
    two_words(&pairs, path, findings);
}
