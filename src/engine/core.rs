//! The state of one replica between steps, and the moves a scheduling policy is made of: admit, schedule, preempt.
//! Every rule about *which* of them when belongs to a policy; when steps start and end belongs to `replica`.

use std::collections::VecDeque;

use super::decodes::Decodes;
use super::held::{HeldBack, HoldRule};
use super::job::{Arena, Job, JobId, Leg, Stage};
use super::lanes::Lanes;
use super::ledger::{Causes, HitCause, Ledger};
use super::lora::Adapters;
use super::observer::{Found, RejectReason, Swapped};
use super::swap::Swap;
use crate::cost::Prefill;
use crate::kv::{Hit, KvCache, Stride};
use crate::units::Time;
use crate::workload::Request;

/// Limits of an engine, the same for every policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Token budget of a step.
    pub max_num_batched_tokens: u32,
    /// Most sequences running at once.
    pub max_num_seqs: u32,
    /// Longest prompt plus output, tokens.
    pub max_model_len: u64,
    /// Prompts may be cut over several steps.
    pub chunked_prefill: bool,
    /// Longest piece of one prompt in a step, tokens; 0 is no limit.
    pub long_prefill_token_threshold: u32,
    /// Admit a prompt only when the KV of all of it fits.
    pub reserve_full_prompt: bool,
    /// Blocks kept free at admission.
    pub watermark_blocks: u64,
    /// Tokens drafted for each decoding sequence in a step; 0 without speculative decoding.
    pub speculative_tokens: u32,
}

/// What a policy has put together for the next step.
#[derive(Debug, Default)]
pub struct Batch {
    /// Every decoding sequence gets its token.
    pub decodes: bool,
    /// Pieces of prompts, and whose.
    pub prefills: Vec<Prefill>,
    pub prefill_jobs: Vec<JobId>,
    /// Decoding sequences left out of this step for want of budget.
    pub starved: Vec<JobId>,
    /// Images encoded in this step: whose, and how many.
    pub encoded: Vec<(JobId, u32)>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        !self.decodes && self.prefills.is_empty()
    }

    fn clear(&mut self) {
        self.decodes = false;
        self.prefills.clear();
        self.prefill_jobs.clear();
        self.starved.clear();
        self.encoded.clear();
    }
}

/// Something that happened to a request while a batch was put together.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    Scheduled {
        request: u32,
        cached_tokens: u32,
    },
    /// The first admission of a prompt that shares nothing with others: in place of the two events around this one.
    ScheduledAlone {
        request: u32,
        prompt_tokens: u32,
    },
    /// Each admission, the first one too.
    Found {
        request: u32,
        found: Found,
    },
    Preempted {
        request: u32,
    },
    /// To host memory, which is a preemption too, or back.
    Swapped(Swapped),
}

/// State of one replica.
pub struct Core {
    pub limits: Limits,
    pub jobs: Arena,
    /// Requests without KV, in the order in which they are tried.
    pub waiting: VecDeque<JobId>,
    /// Admitted requests whose prompt is not complete, in order of admission.
    pub prefilling: Vec<JobId>,
    pub decodes: Decodes,
    pub pool: Box<dyn KvCache>,
    /// Of the pool, which does not change: tokens in a block, blocks beside those of tokens, whether there are tiers below, and
    /// whether it wants to hear of steps.
    block: Stride,
    beside: u64,
    pub(super) tiered: bool,
    pub(super) pool_hears: bool,
    /// The batch being put together.
    pub batch: Batch,
    /// Where the engine encodes images itself.
    pub(super) encoder: Option<super::encoder::Encoder>,
    /// Of a rank: no prompt may be computed in it, so that all ranks compute theirs together.
    pub(super) prompts_wait: bool,
    /// Decoding sequences whose next token comes later than a step after the last one.
    pub paused: Vec<JobId>,
    /// Decoding sequences that steps without decodes have passed over: when their last token came out, and how many of them.
    pub(super) stalled: Vec<(Time, u32)>,
    /// Decoding sequences whose end-of-sequence token is in flight: the scheduler does not know yet, so they take part in one step
    /// more, for nothing.
    pub(super) stopping: Vec<JobId>,
    /// What happened since the last step.
    pub events: Vec<Event>,
    /// Why the head of the queue is not in the batch being put together; none when the queue is empty.
    pub held_back: Option<HeldBack>,
    /// Requests that hold KV and neither wait nor run.
    pub(super) parked: u32,
    running: RunningList,
    pub(super) lanes: Lanes,
    /// The request being preempted has taken the block of its next token already.
    with_next_block: bool,
    admissions: u64,
    /// When the batch is being formed.
    pub now: Time,
    pub(super) ledger: Ledger,
    /// None without LoRA adapters.
    pub(super) lora: Option<Box<Adapters>>,
    /// Requests in host memory.
    pub(super) swap: Swap,
    /// Requests that have lost their KV and their place, and end without their reply.
    pub(super) failed: Vec<(JobId, RejectReason)>,
    /// Waiting requests that hold blocks for KV that is on its way or has come.
    pub fetched: u32,
    /// Blocks taken for later steps of a run that is not in flight yet.
    pub(super) blocks_ahead: u64,
    /// End of the last batch formed: when the tokens before the next batch come out.
    pub last_end: Time,
    /// End of the last step in which sequences decoded.
    pub(super) last_decode_end: Time,
}

impl Core {
    pub fn new(limits: Limits, pool: Box<dyn KvCache>) -> Core {
        Core {
            limits,
            jobs: Arena::default(),
            waiting: VecDeque::new(),
            prefilling: Vec::new(),
            decodes: Decodes::new(pool.block_size()),
            block: Stride::new(pool.block_size()),
            beside: pool.beside(),
            tiered: pool.has_tiers(),
            pool_hears: pool.hears_of_steps(),
            pool,
            batch: Batch::default(),
            encoder: None,
            prompts_wait: false,
            paused: Vec::new(),
            stalled: Vec::new(),
            stopping: Vec::new(),
            events: Vec::new(),
            held_back: None,
            parked: 0,
            running: RunningList::default(),
            lanes: Lanes::default(),
            with_next_block: false,
            admissions: 0,
            now: Time::ZERO,
            ledger: Ledger::default(),
            lora: None,
            swap: Swap::default(),
            failed: Vec::new(),
            fetched: 0,
            blocks_ahead: 0,
            last_end: Time::ZERO,
            last_decode_end: Time::ZERO,
        }
    }

    /// Requests admitted and not ended, those whose last token is in flight included.
    pub fn running_len(&self) -> u32 {
        self.running.live as u32
    }

    /// Nobody waits and nobody runs.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running_len() == 0 && self.swapped_len() == 0
    }

    /// Requests that hold KV for or from another replica, and neither wait nor run.
    pub fn parked(&self) -> u32 {
        self.parked
    }

    /// Running requests in order of admission. Of a pipeline: without those that decode in other batches, which are in flight.
    pub fn running(&self) -> impl Iterator<Item = JobId> + '_ {
        self.running_everywhere().filter(|&id| self.is_at_hand(id))
    }

    /// Running requests of all lanes, in order of admission.
    pub(super) fn running_everywhere(&self) -> impl DoubleEndedIterator<Item = JobId> + '_ {
        self.running.list.iter().copied().filter(|&id| id != VACANT)
    }

    fn is_at_hand(&self, id: JobId) -> bool {
        let job = &self.jobs[id];
        job.stage != Stage::Decoding || job.lane == self.lane()
    }

    /// Blocks of the pool that an owner of `tokens` tokens holds.
    #[inline(always)]
    pub fn blocks_for(&self, tokens: u64) -> u64 {
        if tokens == 0 { 0 } else { self.block.covering(tokens) + self.beside }
    }

    /// It is `now`, as far as the pool is concerned.
    #[inline(always)]
    pub(super) fn pool_at(&mut self, now: Time) {
        if self.tiered {
            self.pool.at(now);
        }
    }

    /// Whether a waiting request has to be fetched for before it can be admitted, by what the last lookup found.
    pub fn fetches(&self, id: JobId) -> bool {
        self.tiered && self.jobs[id].computed == 0 && self.pool.fetches(id)
    }

    /// Why this request can never be served, if so.
    #[inline]
    pub fn unfit(&self, request: &Request) -> Option<RejectReason> {
        let prompt = u64::from(request.input_tokens);
        let with_reply = prompt + u64::from(request.output_tokens);
        if prompt + u64::from(request.max_tokens) > self.limits.max_model_len {
            return Some(RejectReason::TooLongForModel);
        }
        // The last token is sampled and never computed.
        if self.blocks_for(with_reply - 1) > self.pool.total() {
            return Some(RejectReason::TooLongForKvPool);
        }
        // A preempted request computes its reply again, so uncut it must fit with it.
        if !self.limits.chunked_prefill && with_reply - 1 > u64::from(self.limits.max_num_batched_tokens) {
            return Some(RejectReason::TooLongForStep);
        }
        None
    }

    /// Puts a request at the end of the queue.
    #[inline]
    pub fn enqueue(&mut self, request: Request) -> JobId {
        let id = self.open(request);
        self.waiting.push_back(id);
        id
    }

    /// A request without KV that is not in the queue yet.
    #[inline(always)]
    pub(super) fn open(&mut self, request: Request) -> JobId {
        let id = self.jobs.insert(Job {
            request,
            leg: Leg::Whole,
            stage: Stage::Waiting,
            computed: 0,
            generated: 0,
            joined: u64::MAX,
            lane: 0,
            left: 0,
            ends_at: 0,
            admission: 0,
            position: 0,
            prefilled: 0,
            hung_up: false,
            was_scheduled: false,
            last_token: Time::ZERO,
            sent: 0,
            last_output: Time::ZERO,
            arrival_note: u64::MAX,
            encoded: 0,
        });
        self.pool.open(id, &self.jobs[id].request);
        id
    }

    /// A request becomes the newest running one.
    pub(super) fn take_seat(&mut self, id: JobId) {
        self.admissions += 1;
        self.jobs[id].admission = self.admissions;
        self.jobs[id].position = self.running.push(id);
        self.seat_adapter(self.jobs[id].request.adapter);
    }

    /// A running request is one no more.
    #[inline(always)]
    pub(super) fn leave_seat(&mut self, id: JobId) {
        self.running.remove(self.jobs[id].position);
        self.running.compact(&mut self.jobs);
        self.unseat_adapter(self.jobs[id].request.adapter);
    }

    /// Starts a new batch.
    pub(super) fn clear_batch(&mut self) {
        self.batch.clear();
        self.held_back = None;
        self.ledger.next_batch();
    }

    /// A policy says which rule keeps a waiting request out of the batch, what it would have needed and what was there.
    pub fn hold_back(&mut self, id: JobId, rule: HoldRule, needed: u64, available: u64) {
        // Those behind a head without a place for its adapter have reasons of their own.
        if self.held_back.is_some_and(|held| held.rule == HoldRule::AdapterSlots) {
            return;
        }
        self.held_back = Some(HeldBack { request: self.jobs[id].request.id, rule, needed, available });
    }

    /// What the prefix cache holds of a waiting request's prompt. At least one token is left to compute.
    pub fn cached(&mut self, id: JobId) -> Hit {
        if self.jobs[id].computed > 0 {
            // Fetched for, and its own already.
            return Hit { tokens: self.jobs[id].computed, free_blocks: 0 };
        }
        let limit = self.jobs[id].target() - 1;
        self.pool.lookup(id, limit)
    }

    /// The same, less the last of the blocks found.
    pub fn cached_but_last_block(&mut self, id: JobId) -> Hit {
        let hit = self.cached(id);
        if self.jobs[id].computed > 0 || hit.tokens == 0 { hit } else { self.pool.lookup(id, hit.tokens - 1) }
    }

    /// Admits the first waiting request with `cached` tokens found in the prefix cache. The caller has seen that they are there,
    /// and schedules at least one token right after.
    pub fn admit_front(&mut self, cached: u64) -> Option<JobId> {
        self.admit_at(0, cached)
    }

    /// Like `admit_front`, for the waiting request at `index`.
    pub fn admit_at(&mut self, index: usize, cached: u64) -> Option<JobId> {
        let id = if index == 0 { self.waiting.pop_front() } else { self.waiting.remove(index) }?;
        self.admissions += 1;
        let job = &mut self.jobs[id];
        // One that has been fetched for holds its blocks already.
        if job.computed > 0 {
            self.fetched -= 1;
        } else if cached > 0 || self.tiered {
            self.pool.acquire(id, cached);
        }
        job.computed = cached;
        job.stage = Stage::Prefilling;
        job.admission = self.admissions;
        job.position = self.running.push(id);
        let adapter = job.request.adapter;
        if cached == 0 && !job.was_scheduled && job.request.segments.is_empty() {
            job.was_scheduled = true;
            self.events.push(Event::ScheduledAlone { request: job.request.id, prompt_tokens: job.request.input_tokens });
        } else {
            self.tell_admission(id, cached);
        }
        self.prefilling.push(id);
        self.seat_adapter(adapter);
        self.admit_adapter(adapter);
        Some(id)
    }

    /// Has it told what the admission of a request found.
    fn tell_admission(&mut self, id: JobId, cached: u64) {
        let job = &mut self.jobs[id];
        let mut causes = Causes::default();
        if job.was_scheduled {
            causes.hits[HitCause::Readmission as usize] = cached as u32;
        } else {
            causes = self.ledger.admitted(&job.request, cached, self.pool.granule());
        }
        let found = Found { cached: cached as u32, below: self.pool.below(id), again: job.was_scheduled, causes };
        self.events.push(Event::Found { request: job.request.id, found });
        if !job.was_scheduled {
            job.was_scheduled = true;
            self.events.push(Event::Scheduled { request: job.request.id, cached_tokens: cached as u32 });
        }
    }

    /// Has `cached` tokens of the waiting request at `index`, which a lookup has just found, brought up from lower tiers: it holds
    /// their blocks from now on, and may be admitted when all are there.
    pub fn fetch_at(&mut self, index: usize, cached: u64) {
        let Some(&id) = self.waiting.get(index) else { return };
        self.pool.acquire(id, cached);
        self.jobs[id].computed = cached;
        self.fetched += 1;
    }

    /// Whether a waiting request waits for contents on their way.
    pub fn is_on_its_way(&self, id: JobId) -> bool {
        self.tiered && self.pool.ready_at(id) > self.now
    }

    /// Says so of the head of the queue.
    pub fn hold_back_on_its_way(&mut self, id: JobId) {
        let left = self.pool.ready_at(id).since(self.now);
        self.hold_back(id, HoldRule::KvLoad, left.0.div_ceil(1_000_000), 0);
    }

    /// Schedules `tokens` (at least 1) more of a prompt. False, and nothing done, when its blocks are not to be had.
    #[inline]
    pub fn schedule_prefill(&mut self, id: JobId, tokens: u32) -> bool {
        let job = &mut self.jobs[id];
        let after = job.computed + u64::from(tokens);
        if !self.pool.grow(id, job.computed, after) {
            return false;
        }
        let completes = after == job.target();
        self.batch.prefills.push(Prefill { new_tokens: tokens, past_tokens: job.computed as u32, completes });
        self.batch.prefill_jobs.push(id);
        let before = job.computed;
        job.computed = after;
        job.prefilled += u64::from(tokens);
        self.encode_images(id, before, after);
        true
    }

    /// Tokens that a decoding sequence computes in a step: one, and those drafted for it.
    pub fn tokens_per_decode(&self) -> u32 {
        self.limits.speculative_tokens + 1
    }

    /// Tokens that all decoding sequences compute in a step.
    pub fn decode_tokens(&self) -> u32 {
        self.decodes.len().saturating_mul(self.tokens_per_decode())
    }

    /// A decoding sequence gets up to `drafted` tokens beyond the one of the step that has been scheduled: no more than it wants, and
    /// none whose block is not to be had. Returns how many.
    pub(super) fn accept(&mut self, id: JobId, drafted: u32) -> u32 {
        let computed = self.decodes.computed(&self.jobs, id) + 1;
        let wanted = (self.jobs[id].ends_at - self.decodes.clock() - 1).min(u64::from(drafted)) as u32;
        let room = (self.blocks_for(computed) - self.beside) * u64::from(self.block.tokens()) - computed;
        let blocks = self.blocks_for(computed + u64::from(wanted)) - self.blocks_for(computed);
        let accepted = if self.pool.allocate(blocks) { wanted } else { wanted.min(room as u32) };
        if accepted > 0 {
            self.decodes.accept(&mut self.jobs, id, accepted);
        }
        accepted
    }

    /// Schedules one token for every decoding sequence. False, and nothing done, when their blocks are not to be had.
    #[inline]
    pub fn schedule_decodes(&mut self) -> bool {
        if self.decodes.is_empty() || !self.pool.allocate(self.decodes.blocks_needed(1)) {
            return false;
        }
        self.batch.decodes = true;
        true
    }

    /// Like `schedule_decodes`, when the caller has taken the blocks one by one. `starved` members wait for the next step.
    pub fn schedule_decodes_taken(&mut self, starved: Vec<JobId>) {
        for &id in &starved {
            self.decodes.leave(&mut self.jobs, id);
            self.pause(id);
        }
        self.batch.starved = starved;
        self.batch.decodes = !self.decodes.is_empty();
    }

    /// Those left out of the batch are decoding sequences again, but for those whose end is in flight.
    pub(super) fn rejoin_starved(&mut self) {
        for id in std::mem::take(&mut self.batch.starved) {
            if !self.stopping.contains(&id) {
                self.decodes.join(&mut self.jobs, id);
            }
        }
    }

    /// The newest running request, those whose last token is in flight included; of a pipeline, the newest that does not decode in
    /// another batch.
    pub fn newest_running(&self) -> Option<JobId> {
        self.running_everywhere().rev().find(|&id| self.is_at_hand(id))
    }

    /// Takes a running request's KV and puts it at the front of the queue; its tokens will be computed again. One whose last token
    /// is in flight leaves the running requests for good.
    pub fn preempt(&mut self, id: JobId) {
        match self.jobs[id].stage {
            Stage::Decoding if self.stopping.contains(&id) => {
                self.stop(id, false);
                return self.evict_finishing(id);
            }
            Stage::Decoding => {
                self.decodes.leave(&mut self.jobs, id);
                self.pause(id);
                self.paused.retain(|&paused| paused != id);
            }
            Stage::Prefilling => self.prefilling.retain(|&other| other != id),
            Stage::Finishing => return self.evict_finishing(id),
            Stage::Waiting | Stage::Leaving | Stage::Swapped | Stage::Parked => return,
        }
        let job = &mut self.jobs[id];
        self.pool.preempt(id, job.computed + u64::from(self.with_next_block), &job.request);
        job.computed = 0;
        job.encoded = 0;
        job.stage = Stage::Waiting;
        self.events.push(Event::Preempted { request: job.request.id });
        self.leave_seat(id);
        self.waiting.push_front(id);
    }

    /// Like `preempt`, for a request that the batch being put together holds already. Returns its tokens in it.
    pub fn preempt_from_batch(&mut self, id: JobId) -> u32 {
        let tokens = match self.batch.prefill_jobs.iter().position(|&other| other == id) {
            Some(place) => {
                self.batch.prefill_jobs.remove(place);
                self.batch.encoded.retain(|(other, _)| *other != id);
                let tokens = self.batch.prefills.remove(place).new_tokens;
                self.jobs[id].prefilled -= u64::from(tokens);
                tokens
            }
            None => {
                // The block of its next token has been taken, and goes with the others.
                self.with_next_block = true;
                self.tokens_per_decode()
            }
        };
        self.preempt(id);
        self.with_next_block = false;
        tokens
    }

    fn evict_finishing(&mut self, id: JobId) {
        let job = &mut self.jobs[id];
        self.pool.preempt(id, job.computed + u64::from(self.with_next_block), &job.request);
        job.computed = 0;
        job.stage = Stage::Leaving;
        self.events.push(Event::Preempted { request: job.request.id });
        self.leave_seat(id);
    }

    /// A sequence whose end-of-sequence token is in flight leaves the decodes, after a `wasted` step or without one.
    pub(super) fn stop(&mut self, id: JobId, wasted: bool) {
        self.stopping.retain(|&other| other != id);
        self.paused.retain(|&other| other != id);
        if self.jobs[id].left == u64::MAX {
            self.decodes.leave(&mut self.jobs, id);
        }
        let job = &mut self.jobs[id];
        job.stage = Stage::Finishing;
        job.generated = job.request.output_tokens;
        // The wasted step yields no token.
        job.left -= u64::from(wasted);
    }

    /// A decoding sequence misses steps from now on: remembers when its latest token comes out.
    pub(super) fn pause(&mut self, id: JobId) {
        if !self.paused.contains(&id) {
            self.jobs[id].last_token = self.unstall(id);
            self.paused.push(id);
        }
    }

    /// Steps without decodes may have passed over a sequence that leaves the decodes: it is counted no more. When its last token came out.
    fn unstall(&mut self, id: JobId) -> Time {
        if self.stalled.is_empty() {
            return self.last_end;
        }
        let job = &self.jobs[id];
        let last_token = if job.joined == self.decodes.clock() { job.last_token } else { self.last_decode_end };
        if let Some((_, count)) = self.stalled.iter_mut().find(|(at, _)| *at == last_token) {
            *count -= 1;
        }
        last_token
    }

    /// The batch passes over all decoding sequences.
    pub(super) fn stall(&mut self) {
        let known: u32 = self.stalled.iter().map(|(_, count)| count).sum();
        let fresh = self.decodes.len().saturating_sub(known + self.paused.len() as u32);
        if fresh > 0 {
            self.stalled.push((self.last_end, fresh));
        }
    }

    /// Takes a request out wherever it is and frees what it holds.
    pub(super) fn drop_job(&mut self, id: JobId) {
        match self.jobs[id].stage {
            Stage::Waiting => {
                if let Some(place) = self.waiting.iter().position(|&other| other == id) {
                    self.waiting.remove(place);
                }
                self.fetched -= u32::from(self.jobs[id].computed > 0);
            }
            Stage::Prefilling => self.prefilling.retain(|&other| other != id),
            Stage::Decoding => {
                let lane = self.lane();
                self.switch_to(self.jobs[id].lane);
                self.decodes.leave(&mut self.jobs, id);
                self.jobs[id].stage = Stage::Finishing;
                if !self.paused.contains(&id) && !self.stopping.contains(&id) {
                    self.unstall(id);
                }
                self.paused.retain(|&other| other != id);
                self.stopping.retain(|&other| other != id);
                self.switch_to(lane);
            }
            Stage::Swapped => self.drop_swapped(id),
            Stage::Finishing | Stage::Leaving | Stage::Parked => {}
        }
        self.end(id);
    }

    /// Ends a running request whose last token has come out.
    pub(super) fn end(&mut self, id: JobId) {
        let job = &mut self.jobs[id];
        self.pool.end(id, job.computed, &job.request);
        match job.stage {
            Stage::Waiting | Stage::Leaving | Stage::Swapped => {}
            Stage::Parked => self.parked -= 1,
            Stage::Prefilling | Stage::Decoding | Stage::Finishing => self.leave_seat(id),
        }
        self.jobs.remove(id);
    }
}

const VACANT: JobId = JobId::MAX;

/// Running requests in order of admission; leaving costs O(1) amortised.
#[derive(Default)]
struct RunningList {
    list: Vec<JobId>,
    live: usize,
}

impl RunningList {
    fn push(&mut self, id: JobId) -> usize {
        self.list.push(id);
        self.live += 1;
        self.list.len() - 1
    }

    fn remove(&mut self, position: usize) {
        self.list[position] = VACANT;
        self.live -= 1;
        while self.list.last() == Some(&VACANT) {
            self.list.pop();
        }
    }

    #[inline(always)]
    fn compact(&mut self, jobs: &mut Arena) {
        if self.list.len() > 2 * self.live + 32 {
            self.compact_now(jobs);
        }
    }

    #[inline(never)]
    fn compact_now(&mut self, jobs: &mut Arena) {
        self.list.retain(|&id| id != VACANT);
        for (position, &id) in self.list.iter().enumerate() {
            jobs[id].position = position;
        }
    }
}
