//! What holds for the options of every stack: they belong to that stack's entries, and may not contradict the common options that say
//! the same in other words.

use super::super::node::join_key;
use super::super::schema::FrameworkConfig;
use super::Findings;

/// Options of another stack than the entry's. `stack` is its name, `kind` its type in documents.
pub(super) fn of_another_stack(path: &str, stack: &str, kind: &str, findings: &mut Findings) {
    let message = format!("these are options of {stack}, and this entry is another stack");
    findings.error(path, message, format!("take them out, or say `type: {kind}`"));
}

/// Common options that come from vLLM's scheduler and that `stack` has nothing like.
pub(super) fn without_effect(stack: &str, config: &FrameworkConfig, path: &str, findings: &mut Findings) {
    let given = [
        ("long_prefill_token_threshold", config.long_prefill_token_threshold.is_some_and(|tokens| tokens > 0)),
        ("prefill_chunk_size", config.prefill_chunk_size.is_some()),
        ("scheduler_reserve_full_isl", config.scheduler_reserve_full_isl.is_some()),
        ("watermark", config.watermark.is_some_and(|share| share > 0.0)),
    ];
    for (key, _) in given.iter().filter(|(_, given)| *given) {
        findings.warning(join_key(path, key), format!("`{key}` has no effect: {stack} has no such rule"), "take it out");
    }
}

/// The same option in the stack's word and in the common one, and whether the two say different things.
pub(super) fn two_words(pairs: &[(&str, &str, bool)], path: &str, findings: &mut Findings) {
    for (key, common, _) in pairs.iter().filter(|(_, _, differ)| *differ) {
        let message = format!("`{key}` and `{common}` say different things in two words for one option");
        findings.error(join_key(path, key), message, "keep one of them");
    }
}

pub(super) fn differs<T: PartialEq>(own: Option<T>, common: Option<T>) -> bool {
    matches!((own, common), (Some(own), Some(common)) if own != common)
}
