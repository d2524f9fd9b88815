//! The order in which waiting requests are tried (`schedule_policy.py`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Sglang;
use crate::engine::core::Core;
use crate::engine::job::JobId;
use crate::rng::{Purpose, Stream};
use crate::workload::SegmentId;

/// Queues longer than this are served in order of arrival under `lpm` and `hrrn`.
const MOST_MATCHED: usize = 128;
/// `lpm`: a request of which the tree has no more than this may wait for one before it in the queue ...
const FEW_FOUND: u64 = 32;
/// ... with which it shares at least this much, tokens.
const MUCH_SHARED: u64 = 32;

/// `schedule_policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Fcfs,
    /// Longest cached prefix first.
    Lpm,
    /// Longest declared output first.
    Lof,
    /// Fewest prompt tokens left to compute first.
    ShortestPrefillFirst,
    Random,
    /// By the tree, depth first: of several branches the one with more waiting requests first.
    DfsWeight,
    /// Highest response ratio first: prompt tokens computed for others since it arrived, over those it has left to compute.
    Hrrn,
}

pub(super) fn stream(seed: u64) -> Stream {
    Stream::new(seed, Purpose::QueueOrder, 0)
}

impl Sglang {
    /// Puts the queue in order. Requests equal in rank keep theirs.
    pub(super) fn order(&mut self, core: &mut Core) {
        match self.options.order {
            Order::Fcfs => {}
            Order::Lpm | Order::Hrrn if core.waiting.len() > MOST_MATCHED => {}
            Order::Lpm => {
                let mut shared = BTreeSet::new();
                sort(core, |core, id| {
                    let found = core.cached(id).tokens;
                    if found <= FEW_FOUND && waits_for_another(core, id, &mut shared) {
                        return (true, Reverse(0));
                    }
                    (false, Reverse(found))
                });
            }
            Order::Lof => sort(core, |core, id| Reverse(core.jobs[id].request.max_tokens)),
            Order::ShortestPrefillFirst => sort(core, |core, id| core.jobs[id].target() - core.cached(id).tokens),
            Order::DfsWeight => by_weight(core),
            Order::Hrrn => self.by_response_ratio(core),
            Order::Random => {
                for end in (1..core.waiting.len()).rev() {
                    let other = self.random.below(end as u64 + 1) as usize;
                    core.waiting.swap(end, other);
                }
            }
        }
        if let Some(rules) = self.options.priority {
            sort(core, |core, id| Reverse(rules.urgency(core, id)));
        }
    }
}

/// The branches taken on the way to a node: weight, heavier first, and age.
type Branches = Vec<(Reverse<u32>, u64)>;

/// Where a request ends in the tree, and the weights of the nodes on the way: requests that wait below each.
fn by_weight(core: &mut Core) {
    let ids: Vec<JobId> = core.waiting.iter().copied().collect();
    for &id in &ids {
        core.cached(id);
    }
    // Looking up a request may split the nodes of those before it, so paths are read when all are looked up.
    let paths: Vec<Vec<u64>> = ids.iter().map(|&id| core.pool.path(id)).collect();
    let mut weights: BTreeMap<u64, u32> = BTreeMap::new();
    for &node in paths.iter().flatten() {
        *weights.entry(node).or_default() += 1;
    }
    let mut ranked: Vec<(Branches, JobId)> = paths
        .iter()
        .zip(&ids)
        .map(|(path, &id)| {
            let steps = path.iter().map(|node| (Reverse(weights.get(node).copied().unwrap_or(0)), *node));
            // Those that end at a node come after all below it.
            (steps.chain([(Reverse(0), u64::MAX)]).collect(), id)
        })
        .collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    core.waiting.clear();
    core.waiting.extend(ranked.into_iter().map(|(_, id)| id));
}

impl Sglang {
    /// Notes of requests that have come since the last batch how many prompt tokens had been computed by then.
    pub(super) fn note_arrivals(&self, core: &mut Core) {
        if self.options.order != Order::Hrrn {
            return;
        }
        for index in (0..core.waiting.len()).rev() {
            let job = &mut core.jobs[core.waiting[index]];
            if job.arrival_note == u64::MAX {
                job.arrival_note = self.prompt_tokens;
            }
        }
    }

    fn by_response_ratio(&self, core: &mut Core) {
        let ids: Vec<JobId> = core.waiting.iter().copied().collect();
        let ratio = |core: &mut Core, id: JobId| {
            let left = core.jobs[id].target() - core.cached(id).tokens;
            (self.prompt_tokens.saturating_sub(core.jobs[id].arrival_note), left)
        };
        let mut ranked: Vec<((u64, u64), JobId)> = ids.into_iter().map(|id| (ratio(core, id), id)).collect();
        let cross = |waited: u64, left: u64| u128::from(waited) * u128::from(left);
        ranked
            .sort_by(|((waited, left), _), ((other_waited, other_left), _)| cross(*other_waited, *left).cmp(&cross(*waited, *other_left)));
        core.waiting.clear();
        core.waiting.extend(ranked.into_iter().map(|(_, id)| id));
    }
}

fn sort<K: Ord>(core: &mut Core, mut rank: impl FnMut(&mut Core, JobId) -> K) {
    let ids: Vec<JobId> = core.waiting.iter().copied().collect();
    let mut ranked: Vec<(K, JobId)> = ids.into_iter().map(|id| (rank(core, id), id)).collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    core.waiting.clear();
    core.waiting.extend(ranked.into_iter().map(|(_, id)| id));
}

/// Whether a request shares enough with one before it that will be computed; else it is one of these itself.
fn waits_for_another(core: &Core, id: JobId, shared: &mut BTreeSet<SegmentId>) -> bool {
    let segments = &core.jobs[id].request.segments;
    let common = segments.iter().take_while(|segment| shared.contains(&segment.id));
    if common.map(|segment| u64::from(segment.tokens)).sum::<u64>() >= MUCH_SHARED {
        return true;
    }
    shared.extend(segments.iter().map(|segment| segment.id));
    false
}
