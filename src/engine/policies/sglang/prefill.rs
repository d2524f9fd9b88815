//! The batch of prompts: who is admitted, and with how many tokens (`PrefillAdder`).

use super::{Sglang, hold_head};
use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::{JobId, Stage};

/// What is left while a batch of prompts is put together. Tokens.
pub(super) struct Room {
    page: u64,
    /// `rem_input_tokens` and `rem_chunk_tokens`.
    input: u64,
    chunk: u64,
    /// Of the batch's own prompts, in whole pages.
    claimed: u64,
    /// Kept free for the batch's requests, a page each: the allocator may round up once more.
    spare: u64,
    /// What running requests and those just admitted are expected to take yet.
    pub(super) expected: f64,
}

impl Room {
    fn ceil(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.page) * self.page
    }

    /// Memory not claimed by this batch.
    pub(super) fn memory(&self, core: &Core) -> u64 {
        (core.pool.free() * self.page).saturating_sub(self.claimed)
    }

    /// `_update_prefill_budget`.
    fn take(&mut self, tokens: u64, output: u64) {
        let tokens = self.ceil(tokens);
        self.input = self.input.saturating_sub(tokens);
        self.chunk = self.chunk.saturating_sub(tokens);
        self.claimed += tokens;
        self.spare += self.page;
        self.expected += (output + self.page) as f64;
    }

    /// Most tokens of a prompt that is continued: as many as nobody is expected to take, or a whole piece where all of it is
    /// spoken for, since only what is computed can be given back (`available_chunk_tokens`).
    fn next_piece(&self, core: &Core) -> u64 {
        let unclaimed = (self.memory(core) as f64 - self.expected).max(0.0) as u64 / self.page * self.page;
        let most = if unclaimed > 0 { self.chunk.min(unclaimed) } else { self.chunk };
        most.min(self.memory(core))
    }
}

/// A request in the completion-order simulation: tokens it will make yet, tokens it holds.
type State = (f64, u64);

impl Sglang {
    /// Puts a batch of prompts together. False when there is none.
    pub(super) fn prefill(&mut self, core: &mut Core) -> bool {
        let under_way = core.prefilling.first().copied();
        if under_way.is_none() && (self.latched || core.waiting.is_empty()) {
            hold_head(core, HoldRule::Latch, 0, 0);
            return false;
        }
        if self.rounds > 0 && !core.decodes.is_empty() {
            hold_head(core, HoldRule::Interval, u64::from(self.rounds), 0);
            self.rounds -= 1;
            return false;
        }
        if under_way.is_none() && self.is_full(core) && !self.preempts() {
            self.latched = true;
            hold_head(core, HoldRule::Seats, 1, 0);
            return false;
        }
        let mixed = if self.options.mixed_chunk { u64::from(core.decodes.len()) } else { 0 };
        let chunk = if core.limits.chunked_prefill { u64::from(core.limits.max_num_batched_tokens) } else { u64::MAX };
        let mut room = Room {
            page: u64::from(core.pool.block_size()),
            input: u64::from(self.options.max_prefill_tokens).saturating_sub(mixed),
            chunk: chunk.saturating_sub(mixed),
            claimed: 0,
            spare: 0,
            expected: mixed as f64 + self.expected(core),
        };
        let mut batch: Vec<(JobId, u32)> = Vec::new();
        let mut complete = true;
        if let Some(id) = under_way {
            let left = core.jobs[id].target() - core.jobs[id].computed;
            let most = left.min(room.next_piece(core));
            let piece = if most < left { most / room.page * room.page } else { most };
            complete = piece == left;
            if piece == 0 {
                hold_head(core, HoldRule::ChunkUnderWay, left, 0);
                return false;
            }
            room.take(piece, if complete { self.declared(core, id) } else { 0 });
            batch.push((id, piece as u32));
        }
        if !complete {
            hold_head(core, HoldRule::ChunkUnderWay, 1, 0);
        } else if !core.waiting.is_empty() && !self.latched {
            self.order(core);
            let mut set_aside = Vec::new();
            self.admit(core, &mut room, &mut batch, &mut set_aside);
            core.waiting.extend(set_aside);
        }
        if batch.is_empty() {
            return false;
        }
        // Memory is taken once it is known who is in the batch: nobody's prefix is evicted for another's prompt.
        core.pool.prepare(room.claimed / room.page);
        for (id, tokens) in batch {
            self.prompt_tokens += u64::from(tokens);
            let scheduled = core.schedule_prefill(id, tokens);
            debug_assert!(scheduled, "a prompt was admitted whose memory is not there");
        }
        if self.options.mixed_chunk && core.schedule_decodes() {
            self.expectation.skip_step(core);
        }
        self.rounds = self.options.prefill_decode_interval;
        true
    }

    /// Admits from the head of the queue until one is not accepted.
    fn admit(&mut self, core: &mut Core, room: &mut Room, batch: &mut Vec<(JobId, u32)>, set_aside: &mut Vec<JobId>) {
        let mut states: Option<Vec<State>> = None;
        let mut full = false;
        let mut index = 0;
        while let Some(&head) = core.waiting.get(index) {
            // The prompt that was continued, or decodes that ride, may have used it up.
            if room.input == 0 {
                return hold_head(core, HoldRule::Budget, room.page, 0);
            }
            if core.is_on_its_way(head) {
                if index == 0 {
                    core.hold_back_on_its_way(head);
                }
                index += 1;
                continue;
            }
            // Passed over; the others are tried, and the latch stays open.
            if let Some(taken) = core.lacks_seated_slot(core.jobs[head].request.adapter) {
                if index == 0 {
                    core.hold_back(head, HoldRule::AdapterSlots, taken + 1, taken);
                }
                index += 1;
                continue;
            }
            // Once the batch has been full, each further request must take its place from another.
            full |= self.is_full(core);
            if full {
                if !self.preempt_for(core, room, head, set_aside) {
                    self.latched = true;
                    return hold_head(core, HoldRule::Seats, 1, 0);
                }
                states = None;
            }
            // The other ranks have nothing to compute with it; the latch stays open.
            if core.prompts_wait {
                return hold_head(core, HoldRule::Ranks, 0, 0);
            }
            // The batch is full and not the engine: the next one goes on, and the latch stays open.
            if batch.len() >= self.options.prefill_max_requests as usize {
                return hold_head(core, HoldRule::Seats, 1, 0);
            }
            let hit = core.cached(head);
            let extend = core.jobs[head].target() - hit.tokens;
            let output = u64::from(self.remaining(core, head));
            let memory = room.memory(core).saturating_sub(hit.free_blocks * room.page);
            let alone = core.running_len() == 0;
            let fits = if core.jobs[head].request.ignore_eos && !self.options.caching {
                self.fits_to_completion(core, room, batch, head, &mut states)
            } else {
                let needed = extend + output + room.page;
                (needed as f64) < memory as f64 - room.expected
            };
            // One that was retracted and is alone now has nothing to wait for.
            let is_back_alone = alone && core.jobs[head].was_scheduled && room.ceil(extend) <= memory;
            if !fits && !is_back_alone {
                self.latched = !alone;
                let available = (memory as f64 - room.expected).max(0.0) as u64;
                return hold_head(core, HoldRule::KvBlocks, (extend + output + room.page).div_ceil(room.page), available / room.page);
            }
            let whole = room.ceil(extend);
            // A prompt in pieces stops at the budget of pieces; only whole ones are held to what is left of the other.
            if !core.limits.chunked_prefill && whole >= room.input && !batch.is_empty() {
                return hold_head(core, HoldRule::Budget, whole, room.input);
            }
            let (tokens, output) =
                if whole <= room.chunk { (extend, self.declared(core, head)) } else { (room.chunk / room.page * room.page, 0) };
            if tokens == 0 {
                return hold_head(core, HoldRule::Budget, whole, room.chunk);
            }
            if core.admit_at(index, hit.tokens).is_none() {
                return;
            }
            room.take(tokens, output);
            batch.push((head, tokens as u32));
            let memory = room.memory(core);
            if memory == 0 || memory as f64 <= room.expected {
                self.latched = !core.waiting.is_empty();
                return hold_head(core, HoldRule::KvBlocks, 1, 0);
            }
            if room.input == 0 || room.chunk < room.page {
                return hold_head(core, HoldRule::Budget, room.page, room.chunk.min(room.input));
            }
        }
    }

    /// Tokens that running requests are expected to make yet.
    fn expected(&self, core: &Core) -> f64 {
        let (mut certain, mut guessed) = (0, 0);
        for id in core.running().filter(|&id| core.jobs[id].stage == Stage::Decoding) {
            let left = u64::from(self.remaining(core, id));
            if core.jobs[id].request.ignore_eos { certain += left } else { guessed += left }
        }
        certain as f64 + guessed as f64 * self.expectation.ratio(core)
    }

    /// Output tokens counted for a request of the batch being put together: all that it declared, those it has made before it was
    /// retracted too.
    fn declared(&self, core: &Core, id: JobId) -> u64 {
        u64::from(core.jobs[id].request.max_tokens.min(self.options.clip))
    }

    /// Output tokens a request may make yet.
    pub(super) fn remaining(&self, core: &Core, id: JobId) -> u32 {
        core.jobs[id].request.max_tokens.saturating_sub(generated(core, id)).min(self.options.clip)
    }

    /// `add_one_req_ignore_eos`: lets the requests end in the order of what they have left to make, and looks whether memory reaches.
    fn fits_to_completion(&self, core: &Core, room: &Room, batch: &[(JobId, u32)], head: JobId, states: &mut Option<Vec<State>>) -> bool {
        let state = |id: JobId| -> Option<State> {
            let job = &core.jobs[id];
            let share = if job.request.ignore_eos { 1.0 } else { self.expectation.ratio(core) };
            let made = generated(core, id);
            let left = f64::from(job.request.max_tokens) * share - f64::from(made);
            (left > 0.0).then_some((left, u64::from(job.request.input_tokens) + u64::from(made)))
        };
        let states = states.get_or_insert_with(|| {
            let running = core.running().filter(|&id| core.jobs[id].stage == Stage::Decoding);
            running.chain(batch.iter().map(|&(id, _)| id)).filter_map(state).collect()
        });
        states.extend(state(head));
        states.sort_by(|a, b| a.0.total_cmp(&b.0));
        let prompt = room.ceil(core.jobs[head].target()) + room.page;
        let memory = room.memory(core) as f64;
        let mut free = memory - (room.spare + prompt) as f64;
        if free < 0.0 || memory - room.expected < prompt as f64 {
            return false;
        }
        let mut left = states.len() as f64;
        for &(tokens, held) in states.iter() {
            // One token is kept back for each.
            if free - tokens * left <= left {
                return false;
            }
            free += held as f64;
            left -= 1.0;
        }
        true
    }
}

/// Output tokens of a request so far.
fn generated(core: &Core, id: JobId) -> u32 {
    match core.jobs[id].stage {
        Stage::Decoding => core.decodes.generated(&core.jobs, id),
        _ => core.jobs[id].generated,
    }
}
