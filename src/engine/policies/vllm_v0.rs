//! vLLM's scheduler before V1 (0.6), without chunked prefill: prompts first, whole and in batches of their own, while decodes stand still.
//!
//! Rules: `vllm/core/scheduler.py` of 0.6, `_schedule_default`. The queue is tried first, in order of arrival, until budget, seats or
//! blocks run out; only when no prompt was taken do the running requests decode. When a decode finds no block, the newest running request
//! loses its KV and goes to the front of the queue, to be computed again as a prompt with its reply so far; or it is swapped out to host
//! memory (`preemption_mode`: requests of several replies by default, all of them with `swap`). While anybody is swapped out no prompt is
//! taken; after a decode step in which nobody lost KV those swapped out come back, first out first, and decode in that very step.
//!
//! With `num_scheduler_steps` above 1 a decode is scheduled for so many steps at once: each sequence takes the blocks of all of them, its
//! own end notwithstanding, and is passed over by nobody until they are done. A prompt is still one step.
//!
//! With `scheduler_delay_factor` prompts wait, while others run, until the one that came first has waited for so many times the duration of
//! the last batch of prompts.

use super::vllm::VllmOptions;
use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::{JobId, Stage};
use crate::engine::observer::RejectReason;
use crate::engine::policy::{Policy, Steadiness};
use crate::units::Time;
use crate::workload::Request;

/// vLLM's scheduler of 0.6.
pub struct VllmV0 {
    options: VllmOptions,
    delay: Delay,
}

/// What `_passed_delay` knows.
#[derive(Default)]
struct Delay {
    /// When the last batch was formed, and whether it had prompts.
    last: Time,
    prompts: bool,
    /// How long after the last batch of prompts the next one was formed, ps.
    latency_ps: u64,
}

impl VllmV0 {
    pub fn new(options: VllmOptions) -> VllmV0 {
        VllmV0 { options, delay: Delay::default() }
    }
}

impl Policy for VllmV0 {
    fn form(&mut self, core: &mut Core) -> Steadiness {
        let passed_over = self.admit(core);
        self.delay.prompts |= !core.batch.prefills.is_empty();
        if !core.batch.prefills.is_empty() {
            return Steadiness::OneStep;
        }
        let steps = u64::from(self.options.scheduler_steps);
        let (mut taken, mut moved) = (0, false);
        if steps > 1 {
            (taken, moved) = self.take_slots(core, steps);
        }
        while core.decodes.blocks_needed(1) > core.pool.free() {
            let Some(newest) = core.newest_running() else { break };
            self.preempt(core, newest);
            moved = true;
        }
        if !moved && core.swapped_len() > 0 {
            moved = self.bring_back(core, taken.max(core.decodes.blocks_needed(1)), steps);
        }
        core.schedule_decodes();
        // Free blocks only grow fewer, and seats stay taken, until somebody ends: who waits in host memory waits on.
        // Nor does that change whom a place for an adapter is found for, but what is told of it.
        if moved || passed_over { Steadiness::OneStep } else { Steadiness::UntilEvent }
    }

    fn refuses(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        self.options.refuses(core, request).then_some(RejectReason::QueueFull)
    }

    fn steps_together(&self) -> u32 {
        self.options.scheduler_steps
    }

    /// What is preempted comes back, or is computed again in one piece, beside the watermark, however far its reply has come.
    fn unfit(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        let most = u64::from(request.input_tokens) + u64::from(request.output_tokens) - 1;
        if u64::from(request.input_tokens) + u64::from(request.max_tokens) > core.limits.max_model_len {
            return Some(RejectReason::TooLongForModel);
        }
        // Alone, it must find the blocks of several steps and one more, as below.
        let steps = u64::from(self.options.scheduler_steps);
        let ahead = if steps > 1 { core.blocks_for(most + steps) + 1 } else { 0 };
        if ahead.max(core.blocks_for(most) + core.limits.watermark_blocks) > core.pool.total() {
            return Some(RejectReason::TooLongForKvPool);
        }
        let again = if self.options.swap.is_some_and(|spec| spec.singles) { u64::from(request.input_tokens) } else { most };
        (again > u64::from(core.limits.max_num_batched_tokens)).then_some(RejectReason::TooLongForStep)
    }
}

impl VllmV0 {
    /// `_preempt`.
    fn preempt(&self, core: &mut Core, id: JobId) {
        match &self.options.swap {
            Some(spec) if core.is_swapped_by(spec, id) => core.swap_out(spec, id),
            _ => core.preempt(id),
        }
    }

    /// `_schedule_running` with lookahead slots: in order of admission each sequence wants as many free blocks as its next `steps` tokens
    /// touch, the one that it is in included; for one that lacks them the newest behind it lose their KV, or at last itself. The blocks
    /// spoken for, and whether somebody has lost its own.
    fn take_slots(&self, core: &mut Core, steps: u64) -> (u64, bool) {
        let block = u64::from(core.pool.block_size());
        let running: Vec<JobId> = core.running().collect();
        let of = |core: &Core, id: JobId| match core.jobs[id].stage {
            Stage::Decoding => {
                let computed = core.decodes.computed(&core.jobs, id);
                core.blocks_for(computed + steps) - core.blocks_for(computed)
            }
            _ => 0,
        };
        let (mut taken, mut left) = (0, running.len());
        for (index, &id) in running.iter().enumerate() {
            if index >= left {
                break;
            }
            // One whose last token is in flight wants none, nor does one that has left with another reply to its prompt.
            if core.jobs[id].stage != Stage::Decoding {
                continue;
            }
            let computed = core.decodes.computed(&core.jobs, id);
            let touched = (computed + steps - 1) / block - computed / block + 1;
            while touched > core.pool.free().saturating_sub(taken) && left > index {
                left -= 1;
                self.preempt(core, running[left]);
                taken = running[..index].iter().map(|&id| of(core, id)).sum();
            }
            taken += of(core, id);
        }
        (taken, left < running.len())
    }

    /// `_schedule_swapped`: whom there is room for beside the `taken` blocks of those that run, first out first. True when somebody comes
    /// back or never can: with nobody running, no room will ever come.
    fn bring_back(&self, core: &mut Core, mut taken: u64, steps: u64) -> bool {
        let Some(spec) = &self.options.swap else { return false };
        let (mut index, mut moved) = (0, false);
        while let Some((members, wanted)) = core.group_at(index, steps) {
            let running = core.running_len() + members as u32;
            let fits = wanted + core.limits.watermark_blocks + taken <= core.pool.free();
            if !fits || running > core.limits.max_num_seqs || core.decodes.len() + members as u32 > core.limits.max_num_batched_tokens {
                if core.running_len() > 0 || index > 0 {
                    break;
                }
                core.give_up_swapped(members);
                moved = true;
                continue;
            }
            if core.lacks_seated_slot(core.swapped_adapter(index)).is_some() {
                index += members;
                continue;
            }
            for _ in 0..members {
                let tokens = core.swap_in(spec, index);
                taken += core.blocks_for(tokens + steps) - core.blocks_for(tokens);
            }
            moved = true;
        }
        moved
    }
}

impl VllmV0 {
    /// How long the first to come of those waiting from place `index` on must wait, and how long it has, microseconds; none when it has.
    fn delays(&self, core: &Core, index: usize) -> Option<(u64, u64)> {
        if self.options.delay_factor == 0 {
            return None;
        }
        let earliest = core.waiting.iter().skip(index).map(|&id| core.jobs[id].request.arrival).min()?;
        let waited = u128::from(core.now.since(earliest).0) * 1_000_000;
        let needed = u128::from(self.delay.latency_ps) * u128::from(self.options.delay_factor);
        (waited <= needed).then_some(((needed / 1_000_000_000_000) as u64, (waited / 1_000_000_000_000) as u64))
    }

    /// `_schedule_prefills`: whole prompts from the head of the queue. True when somebody was passed over for want of a place for an adapter.
    fn admit(&mut self, core: &mut Core) -> bool {
        if core.swapped_len() > 0 {
            if let Some(&head) = core.waiting.front() {
                core.hold_back(head, HoldRule::Swapped, u64::from(core.swapped_len()), 0);
            }
            return false;
        }
        if std::mem::replace(&mut self.delay.prompts, false) {
            self.delay.latency_ps = core.now.since(self.delay.last).0;
        }
        self.delay.last = core.now;
        let others_run = core.running_len() > 0;
        let mut budget = u64::from(core.limits.max_num_batched_tokens);
        let mut index = 0;
        while let Some(&head) = core.waiting.get(index) {
            if let Some((needed, waited)) = self.delays(core, index).filter(|_| others_run) {
                core.hold_back(head, HoldRule::Delay, needed, waited);
                return true;
            }
            if core.running_len() >= core.limits.max_num_seqs {
                core.hold_back(head, HoldRule::Seats, 1, 0);
                break;
            }
            let cached = core.cached(head);
            let target = core.jobs[head].target();
            let tokens = target - cached.tokens;
            if tokens > budget {
                core.hold_back(head, HoldRule::WholePrompt, tokens, budget);
                break;
            }
            let needed = core.blocks_for(target) - core.blocks_for(cached.tokens) + cached.free_blocks;
            let needed = needed + core.limits.watermark_blocks;
            if needed > core.pool.free() {
                core.hold_back(head, HoldRule::KvBlocks, needed, core.pool.free());
                break;
            }
            // The adapters of all that run count, whether this step has them or not; whose finds no place is passed over.
            if let Some(taken) = core.lacks_seated_slot(core.jobs[head].request.adapter) {
                if index == 0 {
                    core.hold_back(head, HoldRule::AdapterSlots, taken + 1, taken);
                }
                index += 1;
                continue;
            }
            let Some(id) = core.admit_at(index, cached.tokens) else { break };
            let scheduled = core.schedule_prefill(id, tokens as u32);
            debug_assert!(scheduled, "a prompt was admitted whose blocks are not there");
            budget -= tokens;
        }
        index > 0
    }
}
