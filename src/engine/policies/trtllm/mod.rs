//! TensorRT-LLM's PyTorch backend (main of autumn 2026): which requests may hold KV (capacity), then which of them run in this step
//! (micro-batch); generation before contexts, in one mixed batch.
//!
//! Rules: `_torch/pyexecutor/scheduler/scheduler.py` (V1, here and in `chunking`), `scheduler_v2.py` (V2, in `v2`). V1 by default
//! admits a request only when the blocks of its prompt and its whole declared `max_tokens` are left over by all before it, so that
//! nothing is ever paused; under MAX_UTILIZATION it asks for the blocks of the next step only and pauses the newest when they run out.
//!
//! Left out: encoders, beams, draft tokens, two-step lookahead (only pipelines use it). After a pause nothing is admitted in
//! that step; TensorRT-LLM still tries the requests that it deferred before the paused one.

mod chunking;
mod v2;

use std::collections::BTreeSet;

pub use chunking::Chunking;

use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::{JobId, Stage};
use crate::engine::observer::RejectReason;
use crate::engine::policy::{Policy, Steadiness};
use crate::units::Time;
use crate::workload::Request;

/// `capacity_scheduler_policy`: which requests may hold KV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capacity {
    /// Those whose prompt and declared output fit beside all running ones'.
    #[default]
    GuaranteedNoEvict,
    /// Those whose next step fits; the newest is paused when blocks run out.
    MaxUtilization,
    /// As the first, and only when nothing runs.
    StaticBatch,
}

/// Options of the scheduler.
#[derive(Clone, Debug, PartialEq)]
pub struct TrtllmOptions {
    pub capacity: Capacity,
    /// The V2 scheduler, which always behaves as MAX_UTILIZATION.
    pub v2: bool,
    /// How prompts are cut, where `Limits::chunked_prefill` says that they are.
    pub chunking: Chunking,
    /// `enable_prefix_aware_scheduling`: let a request wait for the context that makes its next block.
    pub prefix_aware: bool,
    /// V2: no request (re)starts while more than this share of the blocks is held.
    pub max_util_for_resume: f64,
    /// `batch_wait_timeout_iters`: steps that contexts wait for company, and the share of the token budget that is enough of it.
    pub batch_wait_iters: u32,
    pub batch_wait_max_tokens_ratio: f64,
    /// `batch_wait_timeout_ms`: how long a batch waits until `max_batch_size` new requests have come.
    pub batch_wait_timeout: Time,
    /// Stages: the capacity scheduler admits that many times `max_batch_size`, and each micro-batch holds that once.
    pub pp_size: u32,
    /// Tokens that pieces of a prompt are multiples of, all but the last; 0: a block.
    pub chunk_unit: u32,
}

impl Default for TrtllmOptions {
    fn default() -> TrtllmOptions {
        TrtllmOptions {
            capacity: Capacity::GuaranteedNoEvict,
            v2: false,
            chunking: Chunking::FirstComeFirstServed,
            prefix_aware: true,
            max_util_for_resume: 0.95,
            batch_wait_iters: 0,
            batch_wait_max_tokens_ratio: 0.0,
            batch_wait_timeout: Time::ZERO,
            pp_size: 1,
            chunk_unit: 0,
        }
    }
}

/// TensorRT-LLM's scheduler.
pub struct Trtllm {
    options: TrtllmOptions,
    /// The head of the queue that could not be admitted, and the pool's epoch then: no use in trying before it changes.
    blocked: Option<(JobId, u32, u64)>,
    /// Blocks that it asked for.
    needed: u64,
    /// Steps that contexts have waited for company.
    waited: u32,
}

/// Why the walk through contexts stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Nothing is left, or what is left cannot enter until a request ends.
    UntilEvent,
    /// The step is full, or what waits may enter the next one.
    Step,
}

/// What is left of a step.
struct Room {
    tokens: u32,
    requests: u32,
}

impl Trtllm {
    pub fn new(options: TrtllmOptions) -> Trtllm {
        Trtllm { options, blocked: None, needed: 0, waited: 0 }
    }

    /// Most requests running at once.
    fn seats(&self, core: &Core) -> u32 {
        core.limits.max_num_seqs.saturating_mul(self.options.pp_size.max(1))
    }

    /// Tokens that pieces of a prompt are multiples of.
    fn unit(&self, core: &Core) -> u32 {
        // A step too small for a unit would never compute one.
        let most = core.limits.max_num_batched_tokens;
        if (1..=most).contains(&self.options.chunk_unit) { self.options.chunk_unit } else { core.pool.block_size() }
    }

    /// Whether a request can lose its KV to another.
    fn pauses(&self) -> bool {
        self.options.v2 || self.options.capacity == Capacity::MaxUtilization
    }
}

impl Policy for Trtllm {
    fn unfit(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        let (prompt, reply) = (u64::from(request.input_tokens), u64::from(request.output_tokens));
        let declared = prompt + u64::from(request.max_tokens);
        if declared > core.limits.max_model_len {
            return Some(RejectReason::TooLongForModel);
        }
        let reach = if self.pauses() { prompt + reply - 1 } else { declared };
        if core.blocks_for(reach) > core.pool.total() {
            return Some(RejectReason::TooLongForKvPool);
        }
        // Uncut, a prompt must fit into a step; a paused one with what it has generated.
        let context = if self.pauses() { prompt + reply - 1 } else { prompt };
        if !core.limits.chunked_prefill && context > u64::from(core.limits.max_num_batched_tokens) {
            return Some(RejectReason::TooLongForStep);
        }
        None
    }

    fn has_room_for(&self, core: &Core, id: JobId, blocks: u64) -> bool {
        if self.pauses() { blocks <= core.pool.free() } else { core.blocks_for(declared(core, id)) <= self.available(core) }
    }

    fn reserves(&self, core: &Core, id: JobId) -> Option<u64> {
        (!self.pauses()).then(|| declared(core, id))
    }

    fn awaits_company(&self, core: &Core) -> Option<(Time, u32)> {
        (self.options.batch_wait_timeout > Time::ZERO).then_some((self.options.batch_wait_timeout, core.limits.max_num_seqs))
    }

    fn form(&mut self, core: &mut Core) -> Steadiness {
        let mut room = Room { tokens: core.limits.max_num_batched_tokens, requests: core.limits.max_num_seqs };
        let paused = generation(core, &mut room, self.pauses());
        if self.contexts_wait(core, &room) {
            hold_head(core, HoldRule::Interval, 0, 0);
            return Steadiness::OneStep;
        }
        if paused {
            hold_head(core, HoldRule::Preemption, 0, 0);
        }
        let stop = match (self.options.v2, core.limits.chunked_prefill) {
            (true, _) => self.v2_contexts(core, &mut room, paused),
            (false, true) => self.chunked_contexts(core, &mut room, paused),
            (false, false) if paused => Stop::Step,
            (false, false) => self.whole_contexts(core, &mut room),
        };
        let quiet = core.batch.prefills.is_empty() && core.prefilling.is_empty() && core.batch.starved.is_empty();
        // The count of steps waited changes with every step.
        let counts = self.options.batch_wait_iters > 0 && !core.waiting.is_empty();
        if quiet && !paused && !counts && stop == Stop::UntilEvent { Steadiness::UntilEvent } else { Steadiness::OneStep }
    }
}

impl Trtllm {
    /// Admits whole prompts in order until one does not fit into the step or into memory.
    fn whole_contexts(&mut self, core: &mut Core, room: &mut Room) -> Stop {
        let mut producing = BTreeSet::new();
        let mut index = 0;
        loop {
            let Some(id) = (match self.next_candidate(core, &mut index, &mut producing, &[]) {
                Ok(candidate) => candidate,
                Err(stop) => return stop,
            }) else {
                return Stop::UntilEvent;
            };
            let hit = core.cached(id);
            let tokens = (core.jobs[id].target() - hit.tokens) as u32;
            if self.claim(core, id, hit.tokens, hit.free_blocks, core.pool.free()).is_none() {
                self.block(core, index);
                return Stop::UntilEvent;
            }
            if room.requests == 0 {
                hold(core, id, HoldRule::Seats, 1, 0);
                return Stop::Step;
            }
            if tokens > room.tokens {
                hold(core, id, HoldRule::WholePrompt, u64::from(tokens), u64::from(room.tokens));
                return Stop::Step;
            }
            self.start(core, index, hit.tokens);
            core.schedule_prefill(id, tokens);
            room.tokens -= tokens;
            room.requests -= 1;
        }
    }

    /// The next waiting request from `index` on that need not be deferred: `None` when there is none, an error when none may enter.
    /// `chosen`: those that will be admitted in this step.
    fn next_candidate(
        &self,
        core: &mut Core,
        index: &mut usize,
        producing: &mut BTreeSet<u64>,
        chosen: &[(JobId, u64)],
    ) -> Result<Option<JobId>, Stop> {
        let defers = self.options.prefix_aware && !self.options.v2 && self.options.capacity != Capacity::StaticBatch;
        while let Some(&id) = core.waiting.get(*index) {
            if core.running_len() >= self.seats(core) {
                hold(core, id, HoldRule::Seats, 1, 0);
                return Err(Stop::UntilEvent);
            }
            if self.options.capacity == Capacity::StaticBatch && !self.options.v2 && core.running_len() as usize > core.prefilling.len() {
                hold(core, id, HoldRule::Latch, 0, 0);
                return Err(Stop::UntilEvent);
            }
            let request = core.jobs[id].request.id;
            if self.blocked == Some((id, request, core.pool.epoch())) {
                hold(core, id, HoldRule::KvBlocks, self.needed, self.available(core));
                return Err(Stop::UntilEvent);
            }
            // Its next block is being made by a context in flight: it is there a step later.
            if defers
                && let Some(block) = core.pool.first_new_block(id)
                && !producing.insert(block)
            {
                hold(core, id, HoldRule::Deferral, 0, 0);
                *index += 1;
                continue;
            }
            // Nobody's adapter leaves for another's request. Where nothing is promised, the walk stops there.
            if let Some((needed, left)) = core.lacks_adapter_places(core.jobs[id].request.adapter, chosen) {
                hold(core, id, HoldRule::AdapterSlots, needed, left);
                if self.pauses() {
                    return Err(Stop::UntilEvent);
                }
                *index += 1;
                continue;
            }
            return Ok(Some(id));
        }
        Ok(None)
    }

    /// Blocks that a request claims when it starts, if `free` and what is promised to others leave them.
    fn claim(&mut self, core: &Core, id: JobId, cached: u64, cached_free: u64, free: u64) -> Option<u64> {
        let job = &core.jobs[id];
        let shared = cached.div_ceil(u64::from(core.pool.block_size())) - cached_free;
        let reach = if self.pauses() { job.target() } else { declared(core, id) };
        let blocks = core.blocks_for(reach) - shared;
        let promised = if self.pauses() { 0 } else { core.pool.promised() };
        self.needed = blocks;
        (blocks + promised <= free).then_some(blocks)
    }

    /// Free blocks that are promised to nobody.
    fn available(&self, core: &Core) -> u64 {
        core.pool.free() - if self.pauses() { 0 } else { core.pool.promised().min(core.pool.free()) }
    }

    /// Remembers that the waiting request at `index` waits for memory.
    fn block(&mut self, core: &mut Core, index: usize) {
        let available = self.available(core);
        if let Some(&id) = core.waiting.get(index) {
            hold(core, id, HoldRule::KvBlocks, self.needed, available);
        }
        self.blocked = match core.waiting.front() {
            Some(&id) if index == 0 => Some((id, core.jobs[id].request.id, core.pool.epoch())),
            _ => None,
        };
    }

    fn start(&mut self, core: &mut Core, index: usize, cached: u64) {
        self.blocked = None;
        if let Some(id) = core.admit_at(index, cached)
            && !self.pauses()
        {
            let tokens = declared(core, id);
            core.pool.reserve(id, tokens);
        }
    }

    /// Whether the contexts of this step stand back for others to come.
    fn contexts_wait(&mut self, core: &mut Core, room: &Room) -> bool {
        if core.prompts_wait {
            return true;
        }
        // Steps without generation or without contexts are not counted, and do not end the count.
        if self.options.batch_wait_iters == 0 || core.decodes.is_empty() {
            return false;
        }
        let generation = core.limits.max_num_batched_tokens - room.tokens;
        let enough = (self.options.batch_wait_max_tokens_ratio * f64::from(core.limits.max_num_batched_tokens)) as u64;
        let contexts = self.waiting_tokens(core, enough);
        if contexts == 0 {
            return false;
        }
        if contexts + u64::from(generation) >= enough || self.waited >= self.options.batch_wait_iters {
            self.waited = 0;
            return false;
        }
        self.waited += 1;
        true
    }

    /// Tokens of the contexts that could run now, counted no further than `enough`.
    fn waiting_tokens(&mut self, core: &mut Core, enough: u64) -> u64 {
        let mut tokens: u64 = core.prefilling.iter().map(|&id| core.jobs[id].target() - core.jobs[id].computed).sum();
        let mut free = core.pool.free();
        let seats = self.seats(core).saturating_sub(core.running_len());
        for index in 0..core.waiting.len().min(seats as usize) {
            let id = core.waiting[index];
            let hit = core.cached(id);
            let Some(blocks) = self.claim(core, id, hit.tokens, hit.free_blocks, free) else { break };
            if tokens >= enough || (self.options.capacity == Capacity::StaticBatch && !self.options.v2) {
                break;
            }
            free -= blocks;
            tokens += core.jobs[id].target() - hit.tokens;
        }
        tokens
    }
}

/// Says what keeps a waiting request out of the step; the first one that stays out is told of.
fn hold(core: &mut Core, id: JobId, rule: HoldRule, needed: u64, available: u64) {
    if core.held_back.is_none() {
        core.hold_back(id, rule, needed, available);
    }
}

fn hold_head(core: &mut Core, rule: HoldRule, needed: u64, available: u64) {
    if let Some(&head) = core.waiting.front() {
        hold(core, head, rule, needed, available);
    }
}

/// Tokens a request may reach.
fn declared(core: &Core, id: JobId) -> u64 {
    let request = &core.jobs[id].request;
    u64::from(request.input_tokens) + u64::from(request.max_tokens)
}

/// Gives every sequence its token, as far as the step and, where requests can be paused, memory go. True when one was paused.
fn generation(core: &mut Core, room: &mut Room, pauses: bool) -> bool {
    let (decodes, tokens) = (core.decodes.len(), core.decode_tokens());
    if tokens <= room.tokens && decodes <= room.requests && (!pauses || core.decodes.blocks_needed(1) <= core.pool.free()) {
        core.schedule_decodes();
        room.tokens -= tokens;
        room.requests -= decodes;
        return false;
    }
    let mut paused = false;
    let mut starved = Vec::new();
    let order: Vec<JobId> = core.running().collect();
    for id in order {
        if core.jobs[id].stage != Stage::Decoding {
            continue;
        }
        if room.tokens == 0 || room.requests == 0 {
            starved.push(id);
            continue;
        }
        let block = u64::from(core.decodes.needs_block(&core.jobs, id));
        while core.pool.free() < block {
            // The newest loses its memory, perhaps this one itself.
            let victim = core.newest_running().unwrap_or(id);
            core.preempt(victim);
            paused = true;
            if victim == id {
                break;
            }
        }
        if core.jobs[id].stage == Stage::Decoding {
            core.pool.allocate(block);
            room.tokens -= core.tokens_per_decode().min(room.tokens);
            room.requests -= 1;
        }
    }
    starved.retain(|&id| core.jobs[id].stage == Stage::Decoding);
    core.schedule_decodes_taken(starved);
    paused
}
