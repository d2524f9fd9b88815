//! Priorities (`enable_priority_scheduling`): more urgent requests first, and a waiting one may take the seat and the memory of less urgent
//! running ones (`PrefillAdder.preempt_to_schedule`).

use std::cmp::Reverse;

use super::Sglang;
use super::prefill::Room;
use crate::engine::core::Core;
use crate::engine::job::{JobId, Stage};

/// What `enable_priority_scheduling` turns on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// `schedule_low_priority_values_first`: 1 is more urgent than 2.
    pub low_values_first: bool,
    /// Not `disable_priority_preemption`: running requests can lose their seats.
    pub preempts: bool,
    /// `priority_scheduling_preemption_threshold`: only those that are less urgent by more than this.
    pub threshold: u32,
    /// `retraction_policy: priority`: when decodes run out of memory, the least urgent lose theirs first.
    pub retracts: bool,
}

impl Default for Priorities {
    fn default() -> Priorities {
        Priorities { low_values_first: false, preempts: true, threshold: 10, retracts: false }
    }
}

impl Priorities {
    /// Larger is more urgent.
    pub(super) fn urgency(&self, core: &Core, id: JobId) -> i64 {
        let value = i64::from(core.jobs[id].request.priority);
        if self.low_values_first { -value } else { value }
    }
}

impl Sglang {
    /// Whether running requests can be preempted for waiting ones. Admission is then tried in every iteration: no latch.
    pub(super) fn preempts(&self) -> bool {
        self.options.priority.is_some_and(|rules| rules.preempts)
    }

    /// Takes the least urgent running requests out of the batch, of equals the newest first, until what they were expected to take yet covers
    /// what `head` lacks; one at least. False, and nothing done, when those that are less urgent by more than the threshold do not cover it.
    /// The others are added to `set_aside`: they go back to the queue when the batch has been put together.
    pub(super) fn preempt_for(&self, core: &mut Core, room: &mut Room, head: JobId, set_aside: &mut Vec<JobId>) -> bool {
        let Some(rules) = self.options.priority.filter(|rules| rules.preempts) else { return false };
        let mut running: Vec<JobId> = core.running().filter(|&id| core.jobs[id].stage == Stage::Decoding).collect();
        crate::order::sort_by_key(&mut running, |&id| (rules.urgency(core, id), Reverse(core.jobs[id].admission)));
        let extend = core.jobs[head].target() - core.cached(head).tokens;
        let wanted = extend + u64::from(core.jobs[head].request.max_tokens.min(self.options.clip));
        let mut lacking = wanted as f64 - (room.memory(core) as f64 - room.expected);
        let mut victims = Vec::new();
        for id in running {
            if rules.urgency(core, head) - rules.urgency(core, id) <= i64::from(rules.threshold) {
                break;
            }
            lacking -= self.share(core, id);
            victims.push(id);
            if lacking <= 0.0 {
                break;
            }
        }
        if victims.is_empty() || lacking > 0.0 {
            return false;
        }
        for id in victims {
            room.expected -= self.share(core, id);
            core.preempt(id);
            if core.waiting.front() == Some(&id) {
                core.waiting.pop_front();
                set_aside.push(id);
            }
        }
        true
    }

    /// Tokens that a running request is expected to make yet.
    fn share(&self, core: &Core, id: JobId) -> f64 {
        let left = f64::from(self.remaining(core, id));
        if core.jobs[id].request.ignore_eos { left } else { left * self.expectation.ratio(core) }
    }
}
