//! Sections of the summary about where prompts were found: tokens by tier and by cause, and what the tiers below the GPU did.

use serde_json::{Map, Value, json};

use super::counters::{FoundTokens, SwapCounters};
use super::result::RunResult;
use super::summary::ratio;
use crate::kv::TierUse;
use crate::object::object;
use crate::units::PS_PER_S;

/// Names of the tiers, by [`TierUse::kind`].
const TIERS: [&str; 3] = ["host", "disk", "remote"];

/// Sums over all replicas under their words.
pub(super) fn tokens(run: &RunResult, words: &[&str], of: fn(&FoundTokens) -> &[u64]) -> Value {
    let sum = |place: usize| run.counters.iter().map(|counters| of(&counters.found)[place]).sum::<u64>();
    words.iter().enumerate().map(|(place, word)| ((*word).to_owned(), json!(sum(place)))).collect::<Map<_, _>>().into()
}

/// How full a tier was at the end of each bin of the series, over all replicas, from 0 to 1; none where nobody has such a tier.
pub fn occupancy(run: &RunResult, name: &str) -> Option<Vec<f64>> {
    let kind = TIERS.iter().position(|tier| *tier == name)?;
    let uses: Vec<&TierUse> = run.tiers.iter().flatten().filter(|tier| tier.kind == kind).collect();
    let tokens = |tier: &TierUse, chunks: u64| chunks as f64 * f64::from(tier.chunk_tokens);
    let capacity: f64 = uses.iter().map(|tier| tokens(tier, tier.capacity)).sum();
    let share = |bin: usize| {
        let end_ps = (bin as u64 + 1).saturating_mul(run.series.bin_ps);
        uses.iter().map(|tier| tokens(tier, tier.history.at(end_ps))).sum::<f64>() / capacity.max(1.0)
    };
    (!uses.is_empty()).then(|| (0..run.series.running.len()).map(share).collect())
}

/// What was swapped out to host memory and back; null where nothing was.
pub(super) fn swap(run: &RunResult, window_s: f64) -> Value {
    let sum = |of: fn(&SwapCounters) -> u64| run.counters.iter().map(|counters| of(&counters.swap)).sum::<u64>();
    let bytes = |of: fn(&SwapCounters) -> u64| {
        let each = run.counters.iter().zip(&run.info.replicas).map(|(counters, info)| {
            // Each GPU moves its part of a block.
            of(&counters.swap) as f64 * f64::from(info.block_tokens) * info.work.kv_bytes_per_token * f64::from(info.gpus)
        });
        each.sum::<f64>()
    };
    let (out, preemptions) = (sum(|swap| swap.out), run.counters.iter().map(|counters| counters.preemptions).sum::<u64>());
    if out == 0 && sum(|swap| swap.back) == 0 {
        return Value::Null;
    }
    let waited_s = run.counters.iter().map(|counters| counters.kv_wait_ps as f64 / PS_PER_S as f64).sum::<f64>();
    object!({
        "preemptions_by_swap": out,
        "preemptions_by_recompute": preemptions.saturating_sub(out),
        "swapped_in": sum(|swap| swap.back),
        "bytes_out": bytes(|swap| swap.blocks_out),
        "bytes_in": bytes(|swap| swap.blocks_back),
        "step_wait_share": ratio(waited_s, window_s * run.counters.len() as f64),
    })
}

/// What each tier did; null without tiers.
pub(super) fn section(run: &RunResult, window_s: f64) -> Value {
    if run.tiers.is_empty() {
        return Value::Null;
    }
    let mut section = Map::new();
    for (kind, name) in TIERS.iter().enumerate() {
        let uses: Vec<&TierUse> = run.tiers.iter().flatten().filter(|tier| tier.kind == kind).collect();
        if uses.is_empty() {
            continue;
        }
        let tokens = |of: fn(&TierUse) -> u64| uses.iter().map(|tier| of(tier) * u64::from(tier.chunk_tokens)).sum::<u64>();
        let seconds = |of: fn(&TierUse) -> u64| uses.iter().map(|tier| of(tier) as f64 / PS_PER_S as f64).sum::<f64>();
        let capacity = tokens(|tier| tier.capacity);
        section.insert(
            (*name).to_owned(),
            object!({
                "capacity_tokens": capacity,
                "held_tokens": tokens(|tier| tier.held),
                "peak_share": tokens(|tier| tier.peak) as f64 / capacity.max(1) as f64,
                "read_tokens": tokens(|tier| tier.read),
                "written_tokens": tokens(|tier| tier.written),
                "evicted_tokens": tokens(|tier| tier.evicted),
                "read_s": seconds(|tier| tier.read_ps),
                "write_s": seconds(|tier| tier.write_ps),
            }),
        );
    }
    let waited_s = run.counters.iter().map(|counters| counters.kv_wait_ps as f64 / PS_PER_S as f64).sum::<f64>();
    let all_s = window_s * run.counters.len() as f64;
    section.insert("step_wait_share".to_owned(), if all_s > 0.0 { json!(waited_s / all_s) } else { Value::Null });
    section.into()
}
