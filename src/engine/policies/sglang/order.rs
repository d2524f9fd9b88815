//! The order in which waiting requests are tried (`schedule_policy.py`).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Sglang;
use crate::engine::core::Core;
use crate::engine::job::JobId;
use crate::rng::{Purpose, Stream};
use crate::workload::SegmentId;

/// Queues longer than this are served in order of arrival under `lpm`.
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
}

pub(super) fn stream(seed: u64) -> Stream {
    Stream::new(seed, Purpose::QueueOrder, 0)
}

impl Sglang {
    /// Puts the queue in order. Requests equal in rank keep theirs.
    pub(super) fn order(&mut self, core: &mut Core) {
        match self.options.order {
            Order::Fcfs => {}
            Order::Lpm if core.waiting.len() > MOST_MATCHED => {}
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
            Order::Random => {
                for end in (1..core.waiting.len()).rev() {
                    let other = self.random.below(end as u64 + 1) as usize;
                    core.waiting.swap(end, other);
                }
            }
        }
        if self.options.priority {
            sort(core, |core, id| core.jobs[id].request.priority);
        }
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
