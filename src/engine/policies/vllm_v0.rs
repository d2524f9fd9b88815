//! vLLM's scheduler before V1 (0.6), without chunked prefill: prompts first, whole and in batches of their own, while decodes stand still.
//!
//! Rules: `vllm/core/scheduler.py` of 0.6, `_schedule_default`. The queue is tried first, in order of arrival, until budget, seats or
//! blocks run out; only when no prompt was taken do the running requests decode. When a decode finds no block, the newest running request
//! loses its KV and goes to the front of the queue, to be computed again as a prompt with its reply so far.
//!
//! With `num_scheduler_steps` above 1 a decode is scheduled for so many steps at once: each sequence takes the blocks of all of them, its
//! own end notwithstanding, and is passed over by nobody until they are done. A prompt is still one step.
//!
//! Left out: swapping to host memory (of groups of several sequences only), the delay factor.

use super::vllm::VllmOptions;
use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::{JobId, Stage};
use crate::engine::observer::RejectReason;
use crate::engine::policy::{Policy, Steadiness};
use crate::workload::Request;

/// vLLM's scheduler of 0.6.
pub struct VllmV0 {
    options: VllmOptions,
}

impl VllmV0 {
    pub fn new(options: VllmOptions) -> VllmV0 {
        VllmV0 { options }
    }
}

impl Policy for VllmV0 {
    fn form(&mut self, core: &mut Core) -> Steadiness {
        let passed_over = admit(core);
        if !core.batch.prefills.is_empty() {
            return Steadiness::OneStep;
        }
        let mut preempted = false;
        if self.options.scheduler_steps > 1 {
            take_slots(core, u64::from(self.options.scheduler_steps));
        }
        while core.decodes.blocks_needed(1) > core.pool.free() {
            let Some(newest) = core.newest_running() else { break };
            core.preempt(newest);
            preempted = true;
        }
        core.schedule_decodes();
        // Free blocks only grow fewer, and seats stay taken, until somebody ends.
        // Nor does that change whom a place for an adapter is found for, but what is told of it.
        if preempted || passed_over { Steadiness::OneStep } else { Steadiness::UntilEvent }
    }

    fn refuses(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        self.options.refuses(core, request).then_some(RejectReason::QueueFull)
    }

    fn steps_together(&self) -> u32 {
        self.options.scheduler_steps
    }

    /// What is preempted is computed again in one piece, beside the watermark, however far its reply has come.
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
        (most > u64::from(core.limits.max_num_batched_tokens)).then_some(RejectReason::TooLongForStep)
    }
}

/// `_schedule_running` with lookahead slots: in order of admission each sequence wants as many free blocks as its next `steps` tokens
/// touch, the one that it is in included; for one that lacks them the newest behind it lose their KV, or at last itself.
fn take_slots(core: &mut Core, steps: u64) {
    let block = u64::from(core.pool.block_size());
    let running: Vec<JobId> = core.running().collect();
    let (mut taken, mut left) = (0, running.len());
    for (index, &id) in running.iter().enumerate() {
        if index >= left {
            return;
        }
        // One whose last token is in flight wants none.
        if core.jobs[id].stage != Stage::Decoding {
            continue;
        }
        let computed = core.decodes.computed(&core.jobs, id);
        let touched = (computed + steps - 1) / block - computed / block + 1;
        while touched > core.pool.free().saturating_sub(taken) && left > index {
            left -= 1;
            core.preempt(running[left]);
        }
        taken += core.blocks_for(computed + steps) - core.blocks_for(computed);
    }
}

/// `_schedule_prefills`: whole prompts from the head of the queue. True when somebody was passed over for want of a place for an adapter.
fn admit(core: &mut Core) -> bool {
    let mut budget = u64::from(core.limits.max_num_batched_tokens);
    let mut index = 0;
    while let Some(&head) = core.waiting.get(index) {
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
