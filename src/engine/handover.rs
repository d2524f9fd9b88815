//! Requests whose KV goes to another replica or comes from one.
//!
//! A *prefill leg* is computed here up to its first token; then its KV is kept, without a seat, until it is released. A *decode leg* is
//! offered here with KV that others compute: memory is taken for it as soon as there is some, in order of offering; once the KV has
//! arrived it takes a seat and decodes. What the replicas have to tell each other is kept as news for whoever moves the KV; when and how
//! that happens is not known here.

use std::collections::VecDeque;

use super::core::Core;
use super::job::{JobId, Leg, Stage};
use super::observer::{Observer, RejectReason};
use super::replica::Replica;
use crate::units::Time;
use crate::workload::Request;

/// When the client gets the first token of a request that is prefilled elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstToken {
    /// It had it from the prefill replica, at this instant.
    Given(Time),
    /// It was computed there and comes out when the request takes its seat here.
    Seat,
    /// Not computed yet: the KV of the last prompt token is missing, and the first decode step makes both.
    Decode,
}

/// What happened to a leg, by the number of its job and its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The KV of the first `computed` tokens of a prefill leg is there.
    Computed { request: u32, job: JobId, computed: u64 },
    /// All of a prefill leg is there and its first token has been sampled; `prefilled` prompt tokens were computed for it.
    Prefilled { request: u32, job: JobId, prefilled: u64 },
    /// A decode leg has its memory; `cached` leading tokens are in it already.
    Granted { request: u32, job: JobId, cached: u64 },
    /// A decode leg has a seat.
    Seated { request: u32, job: JobId },
}

/// Legs of one replica.
#[derive(Default)]
pub(super) struct Handovers {
    /// Decode legs without memory.
    offered: VecDeque<JobId>,
    /// Decode legs whose KV is here, without a seat.
    ready: VecDeque<JobId>,
    /// Decode legs with memory whose KV is not here.
    arriving: u32,
    /// What is cached of a decode leg's prompt is not moved again.
    reuse: bool,
    pub(super) news: Vec<News>,
}

impl Handovers {
    /// Decode legs that have no seat.
    pub(super) fn unseated(&self) -> u32 {
        self.offered.len() as u32 + self.ready.len() as u32 + self.arriving
    }

    /// Decode legs without memory.
    pub(super) fn offered(&self) -> impl Iterator<Item = JobId> + '_ {
        self.offered.iter().copied()
    }

    /// A batch is worth forming for them.
    pub(super) fn wait_for_a_batch(&self) -> bool {
        !self.offered.is_empty() || !self.ready.is_empty()
    }
}

impl Core {
    /// A running request keeps its KV and gives its seat up.
    fn park(&mut self, id: JobId) {
        self.leave_seat(id);
        self.jobs[id].stage = Stage::Parked;
        self.parked += 1;
    }

    /// A parked request takes a seat, and decodes from the next batch on. Its gap, or first token, is that of a sequence that resumes.
    fn seat(&mut self, id: JobId, last_token: Time) {
        self.parked -= 1;
        self.take_seat(id);
        self.admit_adapter(self.jobs[id].request.adapter);
        self.jobs[id].last_token = last_token;
        self.decodes.join(&mut self.jobs, id);
        self.paused.push(id);
    }
}

impl Replica {
    /// What of decode legs' prompts is in the prefix cache need not be moved.
    pub fn reuse_handed_over(&mut self) {
        self.handovers.reuse = true;
    }

    /// Why this replica could never serve a request, if so.
    pub fn unfit(&self, request: &Request) -> Option<RejectReason> {
        self.policy.unfit(&self.core, request)
    }

    /// The prompt of a request is to be computed here, and its KV to be kept until [`Replica::release`]. The first token counts as output
    /// of this replica when `counts`. The request must fit.
    pub fn prefill(&mut self, request: &Request, counts: bool, now: Time) -> JobId {
        let leg = Request { arrival: now, output_tokens: 1, max_tokens: 1, hangs_up: Time::NEVER, output_segment: None, ..request.clone() };
        let id = self.core.enqueue(leg);
        self.core.jobs[id].leg = if counts { Leg::Prefill } else { Leg::SilentPrefill };
        self.wake(now);
        id
    }

    /// A request that others prefill is to be decoded here. With its first token `sampled` there, the KV of the whole prompt is moved; else
    /// all but the last token's, which is computed here. The request must fit.
    pub fn offer(&mut self, request: Request, sampled: bool, now: Time) -> JobId {
        let id = self.core.open(request);
        let job = &mut self.core.jobs[id];
        job.leg = Leg::Decode;
        job.was_scheduled = true;
        job.generated = u32::from(sampled);
        self.handovers.offered.push_back(id);
        self.wake(now);
        id
    }

    /// All KV of a decode leg is here. `prefilled` prompt tokens were computed for it elsewhere.
    pub fn receive(&mut self, id: JobId, first: FirstToken, prefilled: u64, now: Time) {
        let job = &mut self.core.jobs[id];
        job.prefilled += prefilled;
        job.last_token = match first {
            FirstToken::Given(at) => at,
            FirstToken::Seat | FirstToken::Decode => Time::NEVER,
        };
        let computed = job.computed;
        self.core.pool.computed(id, computed, true);
        self.core.pool.read(id);
        self.handovers.arriving -= 1;
        self.handovers.ready.push_back(id);
        self.wake(now);
    }

    /// The KV of a prefill leg has been fetched.
    pub fn release(&mut self, id: JobId, now: Time) {
        self.core.end(id);
        self.wake(now);
    }

    /// A leg without a seat here is given up at `now`: a decode leg at once, a prefill leg as soon as no batch has it.
    pub fn give_up(&mut self, id: JobId, now: Time) {
        let handovers = &mut self.handovers;
        match (self.core.jobs[id].leg, self.core.jobs[id].stage) {
            (Leg::Decode, stage) => {
                handovers.offered.retain(|&other| other != id);
                let before = handovers.ready.len();
                handovers.ready.retain(|&other| other != id);
                handovers.arriving -= u32::from(stage == Stage::Parked && handovers.ready.len() == before);
                self.core.drop_job(id);
            }
            (_, Stage::Parked) => self.core.end(id),
            _ => {
                self.core.jobs[id].hung_up = true;
                self.hang_ups.pending.push(id);
            }
        }
        self.wake(now);
    }

    /// Prompt tokens computed so far for a leg.
    pub fn prefilled(&self, id: JobId) -> u64 {
        self.core.jobs[id].prefilled
    }

    /// What happened to legs since this was asked last, in order.
    pub fn take_news(&mut self) -> std::vec::Drain<'_, News> {
        self.handovers.news.drain(..)
    }

    pub fn has_news(&self) -> bool {
        !self.handovers.news.is_empty()
    }

    /// A batch is formed at `now` if the engine stands still.
    fn wake(&mut self, now: Time) {
        if self.has_room_for_a_batch() && self.form_at > now {
            self.form_at = now;
        }
    }

    /// A prefill leg's last step has ended.
    pub(super) fn park_prefilled(&mut self, id: JobId) {
        self.core.park(id);
        let job = &self.core.jobs[id];
        self.handovers.news.push(News::Prefilled { request: job.request.id, job: id, prefilled: job.prefilled });
    }

    /// Before a batch is formed: decode legs whose KV is here take their seats.
    pub(super) fn seat_ready(&mut self, now: Time, observer: &mut impl Observer) {
        if !self.handovers.ready.is_empty() {
            self.seat_those_ready(now, observer);
        }
    }

    #[inline(never)]
    fn seat_those_ready(&mut self, now: Time, observer: &mut impl Observer) {
        let mut index = 0;
        while let Some(&id) = self.handovers.ready.get(index)
            && self.core.running_len() < self.core.limits.max_num_seqs
        {
            // Passed over, like one in the queue.
            if self.core.lacks_decode_slot(self.core.jobs[id].request.adapter) {
                index += 1;
                continue;
            }
            self.handovers.ready.remove(index);
            let job = &self.core.jobs[id];
            let (request, hangs_up, given) = (job.request.id, job.request.hangs_up, job.last_token);
            if job.generated > 0 && given == Time::NEVER {
                observer.first_token(request, now);
            }
            self.core.seat(id, given.min(now));
            self.hang_ups.expect(hangs_up, request, id);
            self.handovers.news.push(News::Seated { request, job: id });
        }
    }

    /// After a batch is formed, when it has taken its blocks: memory for decode legs, first come first served, those passed over whose LoRA
    /// adapter has no place in the batch (vLLM looks at adapters before it takes memory). None while a request that
    /// lost its KV waits for some.
    pub(super) fn grant_memory(&mut self) {
        if !self.handovers.offered.is_empty() {
            self.grant_memory_to_offered();
        }
    }

    #[inline(never)]
    fn grant_memory_to_offered(&mut self) {
        let core = &mut self.core;
        if core.swapped_len() > 0 || core.waiting.iter().any(|&id| core.jobs[id].was_scheduled) {
            return;
        }
        let mut index = 0;
        while let Some(&id) = self.handovers.offered.get(index) {
            if core.lacks_adapter_slot(core.jobs[id].request.adapter).is_some() {
                index += 1;
                continue;
            }
            let goal = core.jobs[id].target() - 1;
            let hit = if self.handovers.reuse { core.pool.lookup(id, goal) } else { Default::default() };
            let needed = core.blocks_for(goal) - core.blocks_for(hit.tokens) + hit.free_blocks;
            if !self.policy.has_room_for(core, id, needed) {
                return;
            }
            core.pool.acquire(id, hit.tokens);
            if let Some(tokens) = self.policy.reserves(core, id) {
                core.pool.reserve(id, tokens);
            }
            if !core.pool.grow(id, hit.tokens, goal) {
                debug_assert!(false, "memory was granted that is not there");
                return;
            }
            let job = &mut core.jobs[id];
            job.computed = goal;
            job.stage = Stage::Parked;
            core.parked += 1;
            self.handovers.offered.remove(index);
            self.handovers.arriving += 1;
            self.handovers.news.push(News::Granted { request: job.request.id, job: id, cached: hit.tokens });
        }
    }
}
