//! SGLang 0.5.23: prompts first, in batches of their own, while decodes stand still.
//!
//! Rules: `srt/managers/scheduler.py`, `schedule_policy.py`, `mem_cache/prefill_budget.py`. In each iteration a batch of prompts is
//! tried first (`prefill`); only when there is none do the running requests decode. A request is admitted when its prompt and its
//! declared output fit beside what the running ones are expected to take (`expectation`); once memory or seats have failed,
//! nobody is tried again until a request leaves (the `batch_is_full` latch). When decodes run out of memory, those with the fewest
//! output tokens are retracted to the back of the queue. Orders of the queue are in `order`.
//!
//! Left out: hybrid and disaggregated modes, `num_continuous_decode_steps`. Lengths count tokens in
//! flight as made. Where even the last running request does not fit (a prompt in pieces holds the rest), SGLang aborts it;
//! here it is retracted like the others.

mod expectation;
mod order;
mod prefill;
mod priority;

pub use expectation::Expectations;
pub use order::Order;
pub use priority::Priorities;

use std::cmp::Reverse;

use expectation::Expectation;

use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::{JobId, Stage};
use crate::engine::observer::RejectReason;
use crate::engine::policy::{Policy, Steadiness};
use crate::rng::Stream;
use crate::workload::Request;

/// Options of the scheduler. `Limits::max_num_batched_tokens` is `chunked_prefill_size`, `max_num_seqs` is `max_running_requests`.
#[derive(Clone, Debug, PartialEq)]
pub struct SglangOptions {
    pub order: Order,
    /// More urgent requests first, within an order, and at the cost of less urgent ones.
    pub priority: Option<Priorities>,
    /// Prompt tokens of a batch, chunked or not.
    pub max_prefill_tokens: u32,
    /// Factor on the share of declared output that running requests are expected to take.
    pub schedule_conservativeness: f64,
    /// That share: where it starts, and how it falls.
    pub expectations: Expectations,
    /// `SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION`: most output reserved for one request, tokens.
    pub clip: u32,
    /// Most requests of a batch of prompts.
    pub prefill_max_requests: u32,
    /// Kept free for each active request when memory is taken for one that is prefilled elsewhere, tokens.
    pub num_reserved_decode_tokens: u32,
    /// Decodes join batches of prompts.
    pub mixed_chunk: bool,
    /// Rounds of decoding forced after each batch of prompts.
    pub prefill_decode_interval: u32,
    /// `batch_is_full`, without which admission is tried in every iteration.
    pub latch: bool,
    /// The radix cache is on.
    pub caching: bool,
    /// Of a pipeline: most requests of one micro-batch.
    pub pp_max_micro_batch_size: u32,
    /// For the random order.
    pub seed: u64,
}

impl Default for SglangOptions {
    fn default() -> SglangOptions {
        SglangOptions {
            order: Order::Fcfs,
            priority: None,
            max_prefill_tokens: 16384,
            schedule_conservativeness: 1.0,
            expectations: Expectations::default(),
            clip: 4096,
            prefill_max_requests: u32::MAX,
            num_reserved_decode_tokens: 512,
            mixed_chunk: false,
            prefill_decode_interval: 0,
            latch: true,
            caching: true,
            pp_max_micro_batch_size: u32::MAX,
            seed: 0,
        }
    }
}

/// SGLang's scheduler.
pub struct Sglang {
    options: SglangOptions,
    expectation: Expectation,
    /// `batch_is_full`: no admission is tried.
    latched: bool,
    /// Running requests when the last batch was formed.
    running: u32,
    /// The two above of the micro-batches of a pipeline, but for the one being put together.
    latches: Vec<(bool, u32)>,
    lane: usize,
    /// Rounds of decoding still to come before the next batch of prompts.
    rounds: u32,
    random: Stream,
    /// Prompt tokens computed so far.
    prompt_tokens: u64,
}

impl Sglang {
    pub fn new(options: SglangOptions) -> Sglang {
        Sglang {
            expectation: Expectation::new(options.expectations, options.schedule_conservativeness),
            latched: false,
            running: 0,
            latches: Vec::new(),
            lane: 0,
            rounds: 0,
            random: order::stream(options.seed),
            prompt_tokens: 0,
            options,
        }
    }

    /// Each micro-batch of a pipeline has a running batch of its own, and that its own latch.
    fn turn_to(&mut self, lane: u16) {
        let lane = usize::from(lane);
        if lane == self.lane {
            return;
        }
        let most = lane.max(self.lane);
        if self.latches.len() <= most {
            self.latches.resize(most + 1, (false, 0));
        }
        self.latches[self.lane] = (self.latched, self.running);
        (self.latched, self.running) = self.latches[lane];
        self.lane = lane;
    }

    /// Whether there is no place for one more request, in all or in this micro-batch.
    fn is_full(&self, core: &Core) -> bool {
        let of_micro_batch = core.decodes.len() + core.prefilling.len() as u32;
        core.running_len() >= core.limits.max_num_seqs || of_micro_batch >= self.options.pp_max_micro_batch_size
    }

    /// One token for every running request; those that memory does not reach are retracted.
    fn decode(&mut self, core: &mut Core, was_latched: bool) -> Steadiness {
        if core.decodes.is_empty() {
            return Steadiness::OneStep;
        }
        if core.decodes.blocks_needed(1) > core.pool.free() {
            let in_flight = core.running().any(|id| core.jobs[id].stage == Stage::Finishing);
            if in_flight {
                // Requests are about to end; their memory is waited for.
                return Steadiness::OneStep;
            }
            self.retract(core);
            core.schedule_decodes();
            return Steadiness::OneStep;
        }
        core.schedule_decodes();
        let quiet = core.prefilling.is_empty() && (core.waiting.is_empty() || was_latched);
        if quiet { Steadiness::UntilEvent } else { Steadiness::OneStep }
    }

    /// Takes the memory of those with the fewest output tokens, of these those with the longest prompts, until the others fit; by priority
    /// of the least urgent before.
    fn retract(&mut self, core: &mut Core) {
        let mut order: Vec<JobId> = core.running().filter(|&id| core.jobs[id].stage == Stage::Decoding).collect();
        let by_priority = self.options.priority.filter(|rules| rules.retracts);
        order.sort_by_key(|&id| {
            let urgency = by_priority.map(|rules| Reverse(rules.urgency(core, id)));
            (urgency, Reverse(core.decodes.generated(&core.jobs, id)), core.jobs[id].request.input_tokens)
        });
        while let Some(victim) = order.pop() {
            core.preempt(victim);
            if core.waiting.front() == Some(&victim) {
                core.waiting.pop_front();
                core.waiting.push_back(victim);
            }
            if core.decodes.blocks_needed(1) <= core.pool.free() {
                break;
            }
        }
        self.latched = false;
        self.expectation.after_retraction(core);
    }
}

impl Policy for Sglang {
    fn unfit(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        let (prompt, declared) = (u64::from(request.input_tokens), u64::from(request.max_tokens));
        if prompt + declared > core.limits.max_model_len {
            return Some(RejectReason::TooLongForModel);
        }
        let page = u64::from(core.pool.block_size());
        let reach = prompt + u64::from(request.output_tokens) - 1;
        let pool = core.pool.total() * page;
        // The simulation of completion counts all of it after a prompt of whole pages, and keeps a token back.
        let too_long = if request.ignore_eos && !self.options.caching {
            prompt.div_ceil(page) * page + page + declared + 1 >= pool
        } else {
            prompt + declared.min(u64::from(self.options.clip)) + page >= pool
        };
        if core.blocks_for(reach) > core.pool.total() || too_long {
            return Some(RejectReason::TooLongForKvPool);
        }
        if !core.limits.chunked_prefill && prompt > u64::from(core.limits.max_num_batched_tokens) {
            return Some(RejectReason::TooLongForStep);
        }
        None
    }

    fn has_room_for(&self, core: &Core, _id: JobId, blocks: u64) -> bool {
        let active = u64::from(core.running_len()) + u64::from(core.parked());
        let reserved = core.blocks_for(active * u64::from(self.options.num_reserved_decode_tokens));
        blocks + reserved <= core.pool.free()
    }

    fn wants_prompts(&self, core: &Core) -> bool {
        let latched = self.latched && running_batch(core) >= self.running && self.options.latch && !self.preempts();
        let pauses = self.rounds > 0 && !core.decodes.is_empty();
        let may = |&id: &JobId| !core.is_on_its_way(id) && core.lacks_seated_slot(core.jobs[id].request.adapter).is_none();
        !latched && !pauses && (!self.is_full(core) || self.preempts()) && core.waiting.iter().any(may)
    }

    fn computes_prompt_before_replies(&self) -> bool {
        true
    }

    fn form(&mut self, core: &mut Core) -> Steadiness {
        self.turn_to(core.lane());
        let idle_lane = core.has_lanes() && running_batch(core) == 0;
        if running_batch(core) < self.running || idle_lane || !self.options.latch || self.preempts() {
            self.latched = false;
        }
        self.note_arrivals(core);
        let was_idle = core.running_len() == 0 && core.waiting.iter().all(|&id| core.jobs[id].request.arrival > core.last_end);
        if was_idle {
            self.expectation.reset(core);
        }
        // A step in which the latch closes is told apart from those that it holds for.
        let was_latched = self.latched;
        let steadiness = if self.prefill(core) { Steadiness::OneStep } else { self.decode(core, was_latched) };
        self.running = running_batch(core);
        steadiness
    }
}

/// Says what keeps the head of the queue out of the step.
/// Requests of the running batch: all that run, or those of one micro-batch of a pipeline, with the prompts that complete now.
fn running_batch(core: &Core) -> u32 {
    if !core.has_lanes() {
        return core.running_len();
    }
    core.decodes.len() + core.batch.prefills.iter().filter(|piece| piece.completes).count() as u32
}

fn hold_head(core: &mut Core, rule: HoldRule, needed: u64, available: u64) {
    if let Some(&head) = core.waiting.front() {
        core.hold_back(head, rule, needed, available);
    }
}
