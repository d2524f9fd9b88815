//! Swapping (vLLM 0.6): who loses its KV memory has it copied to the host and back, in place of having it computed again.
//!
//! What moves in a step moves before its kernels start, over the link between host and GPU, one way after the other: the step is so much
//! longer. The blocks' contents are found again by the prefix cache like those of a request that has ended. Who is swapped out, and when it
//! comes back, is the policy's business.

use std::collections::VecDeque;

use super::core::{Core, Event};
use super::job::{JobId, Stage};
use super::observer::{RejectReason, Swapped};

/// How an engine swaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapSpec {
    /// Blocks of host memory.
    pub blocks: u64,
    /// Time in which every GPU moves its part of a block, one way, ps.
    pub block_ps: u64,
    /// Requests with one reply are swapped too, not only those with several.
    pub singles: bool,
}

/// Requests in host memory.
#[derive(Debug, Default)]
pub(super) struct Swap {
    /// In the order in which they come back, with their tokens in memory. Replies to one prompt that left together stand side by side.
    queue: VecDeque<(JobId, u64)>,
    /// Blocks of host memory in use.
    used: u64,
    /// Time that the blocks moved since the last step take, ps.
    ps: u64,
}

impl Swap {
    /// Blocks of host memory are free again.
    fn free(&mut self, blocks: u64) {
        self.used -= blocks;
        debug_assert!(self.used == 0 || !self.queue.is_empty(), "blocks of host memory leaked");
    }
}

impl Core {
    /// Requests in host memory, in the order in which they come back.
    pub(super) fn swapped(&self) -> impl Iterator<Item = JobId> + '_ {
        self.swap.queue.iter().map(|&(id, _)| id)
    }

    /// How many there are.
    pub fn swapped_len(&self) -> u32 {
        self.swap.queue.len() as u32
    }

    /// How long the blocks moved since this was asked last take, ps.
    pub(super) fn take_swap_ps(&mut self) -> u64 {
        std::mem::take(&mut self.swap.ps)
    }

    /// Whether a sequence decodes, its end not being in flight.
    fn goes_on(&self, id: JobId) -> bool {
        self.jobs[id].stage == Stage::Decoding && !self.stopping.contains(&id)
    }

    /// Whether a running sequence would be swapped out: those of requests with several replies that have not ended, unless all are.
    pub fn is_swapped_by(&self, spec: &SwapSpec, id: JobId) -> bool {
        let request = self.jobs[id].request.id;
        let here = || self.waiting.iter().copied().chain(self.running()).filter(|&other| self.jobs[other].request.id == request);
        self.goes_on(id) && (spec.singles || here().count() > 1)
    }

    /// Moves a running sequence to host memory, and with it the other replies to its prompt. Where there is too little room they end,
    /// which is less than what vLLM does: it stops altogether.
    pub fn swap_out(&mut self, spec: &SwapSpec, id: JobId) {
        let request = self.jobs[id].request.id;
        let group: Vec<JobId> = self.running().filter(|&other| self.jobs[other].request.id == request && self.goes_on(other)).collect();
        // Room for the next token is asked for, and not taken.
        let wanted: u64 = group.iter().map(|&id| self.blocks_for(self.decodes.computed(&self.jobs, id) + 1)).sum();
        let fits = self.swap.used + wanted <= spec.blocks;
        for id in group {
            self.decodes.leave(&mut self.jobs, id);
            self.pause(id);
            self.paused.retain(|&paused| paused != id);
            let job = &mut self.jobs[id];
            let tokens = std::mem::take(&mut job.computed);
            self.pool.preempt(id, tokens, &job.request);
            self.events.push(Event::Preempted { request });
            job.stage = if fits { Stage::Swapped } else { Stage::Leaving };
            self.leave_seat(id);
            if fits {
                self.swap.used += self.move_blocks(spec, request, tokens, true);
                self.swap.queue.push_back((id, tokens));
            } else {
                self.failed.push((id, RejectReason::NoSwapSpace));
            }
        }
    }

    fn move_blocks(&mut self, spec: &SwapSpec, request: u32, tokens: u64, out: bool) -> u64 {
        let blocks = self.blocks_for(tokens);
        self.swap.ps = self.swap.ps.saturating_add(blocks.saturating_mul(spec.block_ps));
        self.events.push(Event::Swapped(Swapped { request, blocks, out }));
        blocks
    }

    /// Replies to one prompt from place `index` of those swapped out on: how many come back together, and the blocks that they want, with
    /// those of their next `steps` tokens.
    pub(super) fn group_at(&mut self, index: usize, steps: u64) -> Option<(usize, u64)> {
        let request = self.jobs[self.swap.queue.get(index)?.0].request.id;
        let (mut members, mut wanted) = (0, 0);
        while let Some(&(id, tokens)) = self.swap.queue.get(index + members)
            && self.jobs[id].request.id == request
        {
            let hit = self.pool.lookup(id, tokens);
            wanted += self.blocks_for(tokens + steps) - self.blocks_for(hit.tokens) + hit.free_blocks;
            members += 1;
        }
        Some((members, wanted))
    }

    /// LoRA adapter of the request at place `index` of those swapped out.
    pub(super) fn swapped_adapter(&self, index: usize) -> u16 {
        self.swap.queue.get(index).map_or(0, |&(id, _)| self.jobs[id].request.adapter)
    }

    /// Brings the request at place `index` of those swapped out back: it decodes in the batch being put together. Its tokens in memory. The
    /// caller has seen that there is room.
    pub(super) fn swap_in(&mut self, spec: &SwapSpec, index: usize) -> u64 {
        let Some((id, tokens)) = self.swap.queue.remove(index) else { return 0 };
        let hit = self.pool.lookup(id, tokens);
        self.pool.acquire(id, hit.tokens);
        let there = self.pool.grow(id, hit.tokens, tokens);
        debug_assert!(there, "a request was swapped in whose blocks are not there");
        self.take_seat(id);
        let request = self.jobs[id].request.id;
        let blocks = self.move_blocks(spec, request, tokens, false);
        self.swap.free(blocks);
        self.jobs[id].computed = tokens;
        self.decodes.join(&mut self.jobs, id);
        self.paused.push(id);
        tokens
    }

    /// The first `members` of those swapped out can never come back.
    pub(super) fn give_up_swapped(&mut self, members: usize) {
        for _ in 0..members {
            let Some((id, tokens)) = self.swap.queue.pop_front() else { return };
            self.swap.free(self.blocks_for(tokens));
            self.jobs[id].stage = Stage::Leaving;
            self.failed.push((id, RejectReason::TooLongForKvPool));
        }
    }

    /// A request in host memory leaves the engine.
    pub(super) fn drop_swapped(&mut self, id: JobId) {
        if let Some(place) = self.swap.queue.iter().position(|&(other, _)| other == id)
            && let Some((_, tokens)) = self.swap.queue.remove(place)
        {
            self.swap.free(self.blocks_for(tokens));
        }
    }
}
