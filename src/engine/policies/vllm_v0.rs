//! vLLM's scheduler before V1 (0.6), without chunked prefill: prompts first, whole and in batches of their own, while decodes stand still.
//!
//! Rules: `vllm/core/scheduler.py` of 0.6, `_schedule_default`. The queue is tried first, in order of arrival, until budget, seats or
//! blocks run out; only when no prompt was taken do the running requests decode. When a decode finds no block, the newest running request
//! loses its KV and goes to the front of the queue, to be computed again as a prompt with its reply so far.
//!
//! Left out: swapping to host memory (of groups of several sequences only), `num_scheduler_steps`, the delay factor.

use super::vllm::VllmOptions;
use crate::engine::core::Core;
use crate::engine::held::HoldRule;
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

    /// What is preempted is computed again in one piece, beside the watermark, however far its reply has come.
    fn unfit(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        let most = u64::from(request.input_tokens) + u64::from(request.output_tokens) - 1;
        if u64::from(request.input_tokens) + u64::from(request.max_tokens) > core.limits.max_model_len {
            return Some(RejectReason::TooLongForModel);
        }
        if core.blocks_for(most) + core.limits.watermark_blocks > core.pool.total() {
            return Some(RejectReason::TooLongForKvPool);
        }
        (most > u64::from(core.limits.max_num_batched_tokens)).then_some(RejectReason::TooLongForStep)
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
