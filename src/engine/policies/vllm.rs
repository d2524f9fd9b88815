//! vLLM V1 (0.33): running requests first, in order of admission, then the queue; mixed batches, chunked prefill, the
//! full-prompt admission gate, preemption with recomputation, first come first served or by priority.
//!
//! Rules: `vllm/v1/core/sched/scheduler.py`, `schedule()`. There is no prefill phase and no decode phase: every step tries to
//! close the gap between the tokens a request has and those computed, within the step's token budget.
//!
//! A request whose last token is in flight can lose its KV like any other; it ends all the same. What is modelled and what is left
//! out: docs/frameworks.md.

use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::{JobId, Stage};
use crate::engine::observer::RejectReason;
use crate::engine::policy::{Policy, Steadiness};
use crate::engine::swap::SwapSpec;
use crate::workload::Request;

/// Options of vLLM's scheduler beside the limits that every engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VllmOptions {
    /// `--scheduling-policy priority`: smaller numbers first; the largest loses its KV first.
    pub priority: bool,
    /// `long_prefill_token_threshold_adaptive`: the threshold is at least the budget over the number of requests.
    pub adaptive_threshold: bool,
    /// `prefill_schedule_interval`: prompts are computed in every so many steps only, while others decode. At least 1.
    pub prefill_schedule_interval: u32,
    /// `max_num_active_seqs`: most running requests, where it is below `max_num_seqs`.
    pub max_num_active_seqs: u32,
    /// Drafting by EAGLE or MTP: the last cached block is computed again, as the drafter wants its hidden states.
    pub drops_last_block: bool,
    /// The scheduler before V1, without chunked prefill (`vllm_v0`): it looks at what stands below and at nothing else here.
    pub prompts_first: bool,
    /// `num_scheduler_steps` of that scheduler: decode steps that it schedules at once. At least 1.
    pub scheduler_steps: u32,
    /// `scheduler_delay_factor` of that scheduler, millionths: prompts wait for so long, times the last batch of prompts, while others run.
    pub delay_factor: u64,
    /// Of that scheduler: who loses its KV may have it swapped to host memory, not computed again.
    pub swap: Option<SwapSpec>,
    /// `max_num_queued_reqs`: a request that finds as many waiting is turned away.
    pub max_num_queued_reqs: Option<u32>,
    /// `max_num_queued_tokens`: one that would bring the waiting prompts above this is turned away.
    pub max_num_queued_tokens: Option<u64>,
}

impl Default for VllmOptions {
    fn default() -> VllmOptions {
        VllmOptions {
            priority: false,
            adaptive_threshold: false,
            prefill_schedule_interval: 1,
            max_num_active_seqs: u32::MAX,
            drops_last_block: false,
            prompts_first: false,
            scheduler_steps: 1,
            delay_factor: 0,
            swap: None,
            max_num_queued_reqs: None,
            max_num_queued_tokens: None,
        }
    }
}

impl VllmOptions {
    /// Whether the queue is too full for one more request.
    pub(super) fn refuses(&self, core: &Core, request: &Request) -> bool {
        let queued_tokens = || core.waiting.iter().map(|&id| u64::from(core.jobs[id].request.input_tokens)).sum::<u64>();
        self.max_num_queued_reqs.is_some_and(|most| core.waiting.len() as u64 >= u64::from(most))
            || self.max_num_queued_tokens.is_some_and(|most| queued_tokens() + u64::from(request.input_tokens) > most)
    }
}

/// vLLM's scheduler.
#[derive(Default)]
pub struct Vllm {
    options: VllmOptions,
    /// The head of the queue that could not be admitted, and the pool's epoch then: no use in trying before it changes.
    blocked: Option<(JobId, u32, u64)>,
    /// Blocks that it asked for.
    needed: u64,
    cadence: Cadence,
}

/// When prompts may be computed under `prefill_schedule_interval`.
#[derive(Default)]
struct Cadence {
    /// Decode clock at which they may be next.
    next: u64,
    /// The last step in which they might left some over: capacity is short, and waiting would not help.
    left_over: bool,
}

impl Cadence {
    /// Whether prompts may be computed in the step being formed. Steps in which there is nothing to compute count as well.
    fn opens(&mut self, core: &Core, interval: u32) -> bool {
        let clock = core.decodes.clock();
        let interval = u64::from(interval.max(1));
        if core.decodes.is_empty() {
            // This step does not move the decode clock.
            self.next = clock + interval - 1;
            return true;
        }
        let open = self.left_over || (clock >= self.next && (clock - self.next).is_multiple_of(interval));
        if open {
            self.next = clock + interval;
        }
        open
    }

    /// Steps until prompts may be computed again, when they may not be now.
    fn steps_to_next(&self, core: &Core, interval: u32) -> u64 {
        let clock = core.decodes.clock();
        let interval = u64::from(interval.max(1));
        if clock < self.next { self.next - clock } else { interval - (clock - self.next) % interval }
    }
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
        if self.options.priority {
            by_priority(core);
        }
        let open = self.cadence.opens(core, self.options.prefill_schedule_interval);
        let rules = Rules { threshold: self.threshold(core), priority: self.options.priority, prefill: open };
        let mut budget = core.limits.max_num_batched_tokens;
        let preempted = rules.schedule_running(core, &mut budget);
        if preempted {
            // What was taken goes to running requests first; the queue waits for the next step.
            if let Some(&head) = core.waiting.front() {
                core.hold_back(head, HoldRule::Preemption, 0, 0);
            }
            self.cadence.left_over |= open;
            return Steadiness::OneStep;
        }
        if !open {
            if let Some(&head) = core.waiting.front() {
                let steps = self.cadence.steps_to_next(core, self.options.prefill_schedule_interval);
                core.hold_back(head, HoldRule::Interval, steps, 0);
            }
            let nothing_to_open_for = core.waiting.is_empty() && core.prefilling.is_empty() && core.batch.starved.is_empty();
            return if nothing_to_open_for { Steadiness::UntilEvent } else { Steadiness::OneStep };
        }
        let stop = self.admit(core, &mut budget, &rules);
        let unfinished = core.batch.prefills.iter().any(|piece| !piece.completes) || core.prefilling.len() > core.batch.prefills.len();
        self.cadence.left_over = unfinished || !core.waiting.is_empty();
        if core.batch.prefills.is_empty() && core.prefilling.is_empty() && core.batch.starved.is_empty() && stop == Stop::UntilEvent {
            Steadiness::UntilEvent
        } else {
            Steadiness::OneStep
        }
    }

    fn refuses(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        self.options.refuses(core, request).then_some(RejectReason::QueueFull)
    }
}

/// Puts the queue in order of priority, then arrival.
fn by_priority(core: &mut Core) {
    let jobs = &core.jobs;
    let rank = |&id: &JobId| (jobs[id].request.priority, jobs[id].request.arrival, jobs[id].request.id);
    if !core.waiting.iter().is_sorted_by_key(rank) {
        core.waiting.make_contiguous().sort_by_key(rank);
    }
}

impl Vllm {
    pub fn new(options: VllmOptions) -> Vllm {
        Vllm { options, ..Vllm::default() }
    }

    /// Longest piece of one prompt in this step; 0 is no limit. It protects others, so it does not hold for a lone request.
    fn threshold(&self, core: &Core) -> u32 {
        let requests = core.running_len() + core.waiting.len() as u32;
        match core.limits.long_prefill_token_threshold {
            0 => 0,
            _ if requests <= 1 => 0,
            threshold if self.options.adaptive_threshold => threshold.max(core.limits.max_num_batched_tokens / requests),
            threshold => threshold,
        }
    }

    /// Admits from the head of the queue until the budget, the seats or the blocks run out: those first whose KV has been fetched, then
    /// the others. Requests whose KV is on its way are passed over.
    fn admit(&mut self, core: &mut Core, budget: &mut u32, rules: &Rules) -> Stop {
        if core.fetched > 0 {
            self.admit_of(core, budget, rules, true).and_then(|()| self.admit_of(core, budget, rules, false))
        } else {
            self.admit_of(core, budget, rules, false)
        }
        .err()
        .unwrap_or(Stop::UntilEvent)
    }

    fn admit_of(&mut self, core: &mut Core, budget: &mut u32, rules: &Rules, fetched: bool) -> Result<(), Stop> {
        let mut index = 0;
        while let Some(&id) = core.waiting.get(index) {
            if core.is_on_its_way(id) {
                if index == 0 {
                    core.hold_back_on_its_way(id);
                }
            } else if (!fetched || core.jobs[id].computed > 0) && self.admit_one(core, index, budget, rules)? {
                continue;
            }
            index += 1;
        }
        Ok(())
    }

    /// Admits the waiting request at `index`. False when it stays in the queue until its KV has come or its adapter has a place.
    fn admit_one(&mut self, core: &mut Core, index: usize, budget: &mut u32, rules: &Rules) -> Result<bool, Stop> {
        let head = core.waiting[index];
        if core.running_len() >= core.limits.max_num_seqs.min(self.options.max_num_active_seqs) {
            core.hold_back(head, HoldRule::Seats, 1, 0);
            return Err(Stop::UntilEvent);
        }
        if *budget == 0 {
            core.hold_back(head, HoldRule::Budget, core.jobs[head].target(), 0);
            return Err(Stop::Budget);
        }
        if lacks_adapter_slot(core, head, index) {
            return Ok(false);
        }
        let request = core.jobs[head].request.id;
        if self.blocked.is_some_and(|blocked| blocked == (head, request, core.pool.epoch())) {
            core.hold_back(head, HoldRule::KvBlocks, self.needed, core.pool.free());
            return Err(Stop::UntilEvent);
        }
        let cached = if self.options.drops_last_block { core.cached_but_last_block(head) } else { core.cached(head) };
        let target = core.jobs[head].target();
        let uncached = (target - cached.tokens) as u32;
        let whole = cap(uncached, rules.threshold);
        let wanted = core.cut_before_image(head, cached.tokens, whole);
        if wanted == 0 {
            core.hold_back(head, HoldRule::Budget, u64::from(core.jobs[head].request.images.tokens), 0);
            return Err(Stop::Budget);
        }
        let fetches = core.fetches(head);
        if !core.limits.chunked_prefill && wanted > *budget && !fetches {
            core.hold_back(head, HoldRule::WholePrompt, u64::from(wanted), u64::from(*budget));
            return Err(Stop::Budget);
        }
        let tokens = wanted.min(*budget);
        let reach = if core.limits.reserve_full_prompt || fetches { target } else { cached.tokens + u64::from(tokens) };
        let needed = core.blocks_for(reach) - core.blocks_for(cached.tokens) + cached.free_blocks;
        // The watermark keeps room for those that run; an idle engine needs none.
        let needed = needed + if core.running_len() > 0 { core.limits.watermark_blocks } else { 0 };
        let needed = needed + if fetches && core.fetched > 0 { owed(core) } else { 0 };
        if needed > core.pool.free() {
            self.blocked = Some((head, request, core.pool.epoch()));
            self.needed = needed;
            core.hold_back(head, HoldRule::KvBlocks, self.needed, core.pool.free());
            return Err(Stop::UntilEvent);
        }
        self.blocked = None;
        if fetches {
            core.fetch_at(index, cached.tokens);
            let waits = core.is_on_its_way(head);
            if waits && index == 0 {
                core.hold_back_on_its_way(head);
            }
            return Ok(!waits);
        }
        if let Some(id) = core.admit_at(index, cached.tokens) {
            let scheduled = core.schedule_prefill(id, tokens);
            debug_assert!(scheduled, "the gate let in a prompt whose blocks are not there");
            *budget -= tokens;
        }
        Ok(true)
    }
}

/// Whether the batch has as many LoRA adapters as it may and not that of the waiting request at `index`, which is then passed over.
pub(super) fn lacks_adapter_slot(core: &mut Core, id: JobId, index: usize) -> bool {
    let Some(taken) = core.lacks_adapter_slot(core.jobs[id].request.adapter) else { return false };
    if index == 0 {
        core.hold_back(id, HoldRule::AdapterSlots, taken + 1, taken);
    }
    true
}

fn cap(tokens: u32, threshold: u32) -> u32 {
    if threshold > 0 { tokens.min(threshold) } else { tokens }
}

/// Blocks that prompts still need whose KV is on its way or has come and that have not been admitted: two of them must not wait for each
/// other's.
fn owed(core: &Core) -> u64 {
    let fetched = core.waiting.iter().map(|&id| &core.jobs[id]).filter(|job| job.computed > 0);
    fetched.map(|job| core.blocks_for(job.target()) - core.blocks_for(job.computed)).sum()
}

/// What holds for the running requests in one step.
struct Rules {
    /// Longest piece of one prompt; 0 is no limit.
    threshold: u32,
    /// The largest priority loses its KV first, not the newest.
    priority: bool,
    /// Prompts may be computed.
    prefill: bool,
}

impl Rules {
    /// Gives running requests their tokens. True when one had to be preempted.
    fn schedule_running(&self, core: &mut Core, budget: &mut u32) -> bool {
        // Decodes are older than unfinished prompts almost always, and blocks suffice almost always; then order does not matter.
        let decodes = core.decode_tokens();
        let in_order = core.prefilling.first().is_none_or(|&first| core.decodes.all_older_than(core.jobs[first].admission));
        if !in_order || decodes > *budget || !self.blocks_suffice(core, *budget - decodes) {
            return self.schedule_running_in_order(core, budget);
        }
        core.schedule_decodes();
        *budget -= decodes;
        for index in 0..core.prefilling.len() {
            let id = core.prefilling[index];
            let tokens = self.wanted(core, id).min(*budget);
            if tokens > 0 && core.schedule_prefill(id, tokens) {
                *budget -= tokens;
            }
        }
        false
    }

    /// Tokens an unfinished prompt asks for in this step.
    fn wanted(&self, core: &Core, id: JobId) -> u32 {
        if !self.prefill {
            return 0;
        }
        let job = &core.jobs[id];
        core.cut_before_image(id, job.computed, cap((job.target() - job.computed) as u32, self.threshold))
    }

    fn blocks_suffice(&self, core: &Core, mut budget: u32) -> bool {
        let mut needed = core.decodes.blocks_needed(1);
        for &id in &core.prefilling {
            let tokens = self.wanted(core, id).min(budget);
            budget -= tokens;
            let computed = core.jobs[id].computed;
            needed += core.blocks_for(computed + u64::from(tokens)) - core.blocks_for(computed);
        }
        needed <= core.pool.free()
    }

    /// The rule itself: one request after the other, preempting when blocks run out.
    fn schedule_running_in_order(&self, core: &mut Core, budget: &mut u32) -> bool {
        let mut turn = Turn::default();
        let order: Vec<JobId> = core.running().collect();
        let mut stopped = false;
        for id in order {
            let (blocks, tokens) = match core.jobs[id].stage {
                Stage::Waiting | Stage::Swapped | Stage::Finishing | Stage::Leaving | Stage::Parked => continue,
                Stage::Decoding if stopped || *budget == 0 => {
                    turn.starved.push(id);
                    continue;
                }
                Stage::Decoding => (u64::from(core.decodes.needs_block(&core.jobs, id)), core.tokens_per_decode().min(*budget)),
                Stage::Prefilling => {
                    let tokens = self.wanted(core, id).min(*budget);
                    if stopped || tokens == 0 {
                        continue;
                    }
                    let computed = core.jobs[id].computed;
                    (core.blocks_for(computed + u64::from(tokens)) - core.blocks_for(computed), tokens)
                }
            };
            if !self.make_room(core, id, blocks, &mut turn, budget) {
                stopped = true;
                continue;
            }
            if core.jobs[id].stage == Stage::Decoding {
                core.pool.allocate(blocks);
            } else {
                core.schedule_prefill(id, tokens);
            }
            *budget -= tokens;
            turn.scheduled.push(id);
        }
        core.schedule_decodes_taken(turn.starved);
        turn.preempted
    }

    /// Preempts until `blocks` are free. False when the request lost its own.
    fn make_room(&self, core: &mut Core, id: JobId, blocks: u64, turn: &mut Turn, budget: &mut u32) -> bool {
        while core.pool.free() < blocks {
            let victim = if self.priority { least_important(core) } else { core.newest_running() }.unwrap_or(id);
            turn.preempted = true;
            turn.starved.retain(|&other| other != victim);
            if let Some(place) = turn.scheduled.iter().position(|&other| other == victim) {
                turn.scheduled.remove(place);
                // Its tokens of this step are free for others.
                *budget += core.preempt_from_batch(victim);
            } else {
                core.preempt(victim);
            }
            if victim == id {
                return false;
            }
        }
        true
    }
}

/// How far the running requests have got in a step.
#[derive(Default)]
struct Turn {
    scheduled: Vec<JobId>,
    starved: Vec<JobId>,
    preempted: bool,
}

/// The running request of the largest priority number, the latest of those. Clocks of servers tell any two arrivals apart; here the later
/// number is the later one, and of several replies to one request the one admitted last, or two of equal rank could throw each other out
/// for ever.
fn least_important(core: &Core) -> Option<JobId> {
    let rank = |id: JobId| (core.jobs[id].request.priority, core.jobs[id].request.arrival, core.jobs[id].request.id);
    core.running().reduce(|least, id| if rank(id) >= rank(least) { id } else { least })
}
