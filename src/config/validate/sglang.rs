//! SGLang's own options against the common options that say the same in other words.

use super::super::node::join_key;
use super::super::schema::{FrameworkConfig, FrameworkKind, SglangConfig};
use super::Findings;

pub(super) fn sglang(kind: FrameworkKind, config: &FrameworkConfig, config_path: &str, findings: &mut Findings) {
    if kind == FrameworkKind::Sglang {
        without_effect(config, config_path, findings);
    }
    let Some(own) = &config.sglang else { return };
    let path = join_key(config_path, "sglang");
    if !matches!(kind, FrameworkKind::Sglang | FrameworkKind::Dynamo) {
        findings.error(path, "these are options of SGLang, and this entry is another stack", "take them out, or say `type: SGLANG`");
        return;
    }
    two_words(config, own, &path, findings);
}

/// Common options that SGLang has nothing like.
fn without_effect(config: &FrameworkConfig, path: &str, findings: &mut Findings) {
    let given = [
        ("long_prefill_token_threshold", config.long_prefill_token_threshold.is_some_and(|tokens| tokens > 0)),
        ("prefill_chunk_size", config.prefill_chunk_size.is_some()),
        ("scheduler_reserve_full_isl", config.scheduler_reserve_full_isl.is_some()),
        ("watermark", config.watermark.is_some_and(|share| share > 0.0)),
    ];
    for (key, _) in given.iter().filter(|(_, given)| *given) {
        findings.warning(join_key(path, key), format!("`{key}` has no effect: SGLang has no such rule"), "take it out");
    }
}

/// The same said in SGLang's words and in the common ones.
fn two_words(config: &FrameworkConfig, own: &SglangConfig, path: &str, findings: &mut Findings) {
    let pairs = [
        ("max_running_requests", "max_num_seqs", differs(own.max_running_requests, config.max_num_seqs)),
        ("chunked_prefill_size", "max_num_batched_tokens", differs(own.chunked_prefill_size, config.max_num_batched_tokens)),
        ("mem_fraction_static", "gpu_memory_utilization", differs(own.mem_fraction_static, config.gpu_memory_utilization)),
        ("page_size", "block_size", differs(own.page_size, config.block_size)),
        ("disable_radix_cache", "enable_prefix_caching", differs(own.disable_radix_cache.map(|off| !off), config.enable_prefix_caching)),
        ("disable_overlap_schedule", "async_scheduling", differs(own.disable_overlap_schedule.map(|off| !off), config.async_scheduling)),
    ];
    for (key, common, _) in pairs.iter().filter(|(_, _, differs)| *differs) {
        let message = format!("`{key}` and `{common}` say different things in two words for one option");
        findings.error(join_key(path, key), message, "keep one of them");
    }
}

fn differs<T: PartialEq>(own: Option<T>, common: Option<T>) -> bool {
    matches!((own, common), (Some(own), Some(common)) if own != common)
}
