//! vLLM V1 (0.33): running requests first, in order of admission, then the queue; mixed batches, chunked prefill, the
//! full-prompt admission gate, preemption of the newest with recomputation.
//!
//! Rules: `vllm/v1/core/sched/scheduler.py`, `schedule()`. There is no prefill phase and no decode phase: every step tries to
//! close the gap between the tokens a request has and those computed, within the step's token budget.
//!
//! Left out: priorities, LoRA, encoders, remote KV, speculative tokens. A request whose last token is in flight can lose its KV like
//! any other; it ends all the same.

use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::{JobId, Stage};
use crate::engine::policy::{Policy, Steadiness};

/// vLLM's scheduler.
#[derive(Default)]
pub struct Vllm {
    /// The head of the queue that could not be admitted, and the pool's epoch then: no use in trying before it changes.
    blocked: Option<(JobId, u32, u64)>,
    /// Blocks that it asked for.
    needed: u64,
}

/// Why admission stopped.
#[derive(PartialEq)]
enum Stop {
    /// The queue is empty, or its head cannot enter until a request ends.
    UntilEvent,
    /// The step's budget is used up.
    Budget,
}

impl Policy for Vllm {
    fn form(&mut self, core: &mut Core) -> Steadiness {
        let mut budget = core.limits.max_num_batched_tokens;
        let preempted = schedule_running(core, &mut budget);
        if preempted {
            // What was taken goes to running requests first; the queue waits for the next step.
            if let Some(&head) = core.waiting.front() {
                core.hold_back(head, HoldRule::Preemption, 0, 0);
            }
            return Steadiness::OneStep;
        }
        let stop = self.admit(core, &mut budget);
        if core.batch.prefills.is_empty() && core.prefilling.is_empty() && core.batch.starved.is_empty() && stop == Stop::UntilEvent {
            Steadiness::UntilEvent
        } else {
            Steadiness::OneStep
        }
    }
}

impl Vllm {
    /// Admits from the head of the queue until the budget, the seats or the blocks run out.
    fn admit(&mut self, core: &mut Core, budget: &mut u32) -> Stop {
        while let Some(&head) = core.waiting.front() {
            if core.running_len() >= core.limits.max_num_seqs {
                core.hold_back(head, HoldRule::Seats, 1, 0);
                return Stop::UntilEvent;
            }
            if *budget == 0 {
                core.hold_back(head, HoldRule::Budget, core.jobs[head].target(), 0);
                return Stop::Budget;
            }
            let request = core.jobs[head].request.id;
            if self.blocked == Some((head, request, core.pool.epoch())) {
                core.hold_back(head, HoldRule::KvBlocks, self.needed, core.pool.free());
                return Stop::UntilEvent;
            }
            let cached = core.cached(head);
            let target = core.jobs[head].target();
            let uncached = (target - cached.tokens) as u32;
            let wanted = cap(uncached, core.limits.long_prefill_token_threshold);
            if !core.limits.chunked_prefill && wanted > *budget {
                core.hold_back(head, HoldRule::WholePrompt, u64::from(wanted), u64::from(*budget));
                return Stop::Budget;
            }
            let tokens = wanted.min(*budget);
            let reach = if core.limits.reserve_full_prompt { target } else { cached.tokens + u64::from(tokens) };
            let needed = core.pool.blocks_for(reach) - core.pool.blocks_for(cached.tokens) + cached.free_blocks;
            if needed + core.limits.watermark_blocks > core.pool.free() {
                self.blocked = Some((head, request, core.pool.epoch()));
                self.needed = needed + core.limits.watermark_blocks;
                core.hold_back(head, HoldRule::KvBlocks, self.needed, core.pool.free());
                return Stop::UntilEvent;
            }
            self.blocked = None;
            let Some(id) = core.admit_front(cached.tokens) else { return Stop::UntilEvent };
            let scheduled = core.schedule_prefill(id, tokens);
            debug_assert!(scheduled, "the gate let in a prompt whose blocks are not there");
            *budget -= tokens;
        }
        Stop::UntilEvent
    }
}

fn cap(tokens: u32, threshold: u32) -> u32 {
    if threshold > 0 { tokens.min(threshold) } else { tokens }
}

/// Gives running requests their tokens. True when one had to be preempted.
fn schedule_running(core: &mut Core, budget: &mut u32) -> bool {
    // Decodes are older than unfinished prompts almost always, and blocks suffice almost always; then order does not matter.
    let decodes = core.decodes.len();
    let in_order = core.prefilling.first().is_none_or(|&first| core.decodes.all_older_than(core.jobs[first].admission));
    if !in_order || decodes > *budget || !blocks_suffice(core, *budget - decodes) {
        return schedule_running_in_order(core, budget);
    }
    core.schedule_decodes();
    *budget -= decodes;
    for index in 0..core.prefilling.len() {
        let id = core.prefilling[index];
        let tokens = wanted(core, id).min(*budget);
        if tokens > 0 && core.schedule_prefill(id, tokens) {
            *budget -= tokens;
        }
    }
    false
}

/// Tokens an unfinished prompt asks for in this step.
fn wanted(core: &Core, id: JobId) -> u32 {
    let job = &core.jobs[id];
    cap((job.target() - job.computed) as u32, core.limits.long_prefill_token_threshold)
}

fn blocks_suffice(core: &Core, mut budget: u32) -> bool {
    let mut needed = core.decodes.blocks_needed(1);
    for &id in &core.prefilling {
        let tokens = wanted(core, id).min(budget);
        budget -= tokens;
        let computed = core.jobs[id].computed;
        needed += core.pool.blocks_for(computed + u64::from(tokens)) - core.pool.blocks_for(computed);
    }
    needed <= core.pool.free()
}

/// The rule itself: one request after the other, preempting the newest when blocks run out.
fn schedule_running_in_order(core: &mut Core, budget: &mut u32) -> bool {
    let mut preempted = false;
    let mut starved = Vec::new();
    let order: Vec<JobId> = core.running().collect();
    let mut stopped = false;
    for id in order {
        match core.jobs[id].stage {
            Stage::Waiting | Stage::Finishing | Stage::Leaving => {}
            Stage::Decoding if stopped || *budget == 0 => starved.push(id),
            Stage::Decoding => {
                let block = u64::from(core.decodes.needs_block(&core.jobs, id));
                match make_room(core, id, block) {
                    Room::Made(took) => {
                        preempted |= took;
                        core.pool.allocate(block);
                        *budget -= 1;
                    }
                    Room::LostItself => {
                        preempted = true;
                        stopped = true;
                    }
                }
            }
            Stage::Prefilling => {
                let tokens = wanted(core, id).min(*budget);
                if stopped || tokens == 0 {
                    continue;
                }
                let computed = core.jobs[id].computed;
                let blocks = core.pool.blocks_for(computed + u64::from(tokens)) - core.pool.blocks_for(computed);
                match make_room(core, id, blocks) {
                    Room::Made(took) => {
                        preempted |= took;
                        core.schedule_prefill(id, tokens);
                        *budget -= tokens;
                    }
                    Room::LostItself => {
                        preempted = true;
                        stopped = true;
                    }
                }
            }
        }
    }
    core.schedule_decodes_taken(starved);
    preempted
}

enum Room {
    /// The blocks are there; true when somebody lost theirs for it.
    Made(bool),
    /// The request was the newest itself.
    LostItself,
}

/// Preempts the newest running requests until `blocks` are free.
fn make_room(core: &mut Core, id: JobId, blocks: u64) -> Room {
    let mut took = false;
    while core.pool.free() < blocks {
        let victim = core.newest_running().unwrap_or(id);
        core.preempt(victim);
        took = true;
        if victim == id {
            return Room::LostItself;
        }
    }
    Room::Made(took)
}
