//! Batches in flight: what happens when one is put on the device, and when its tokens come out.
//!
//! A run is told to the observer when it starts, since all of it is known by then; what ends requests waits for its end.

use super::{Core, Job, JobId, KvLog, Leg, News, Observer, Replica, Run, Stage, StepRun, Time};

/// Batches in flight: one, or a run of equal decode-only ones.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) end: Time,
    /// The lane of a pipeline that it serves.
    pub(super) lane: u16,
    /// When the last step starts on the device.
    pub(super) last_step_start: Time,
    /// When the tokens before those of its last step came out, and before those of the step before that one (of one step: the same).
    pub(super) last_steps: [Time; 2],
    /// Decode clock before it and after it, and how many of its steps end after the horizon.
    pub(super) clock: u64,
    pub(super) clock_after: u64,
    pub(super) undone: u64,
    pub(super) first_tokens: Vec<JobId>,
    /// Prefills that complete: each yields a token at the end.
    pub(super) completed: Vec<JobId>,
    pub(super) finishing: Vec<JobId>,
    /// Tokens beyond the first of its (single) step, by sequence: drafted ones that were accepted, or those of a window of steps.
    pub(super) accepted: Vec<(JobId, u32)>,
    /// Pieces of prompts whose KV goes to another replica: tokens computed with it.
    pub(super) pieces: Vec<(JobId, u64)>,
}

impl Flight {
    /// Tokens that its last `steps` steps yield for a job.
    pub(super) fn yields(&self, job: &Job, id: JobId, steps: u64) -> u64 {
        let decoding = job.lane == self.lane && job.joined < self.clock_after && self.clock < job.left;
        if steps == 0 {
            0
        } else if self.completed.contains(&id) {
            1
        } else if decoding {
            let accepted = self.accepted.iter().find(|(other, _)| *other == id).map_or(0, |(_, tokens)| *tokens);
            steps.min(self.clock_after - self.clock) + u64::from(accepted)
        } else {
            0
        }
    }

    /// Start of its step under way at `now`, before which all its steps were formed: the last one, or the one before when the last has not
    /// begun yet. A run of many steps tells the same as each of them alone.
    pub(super) fn step_started_by(&self, now: Time) -> Time {
        let [last, before] = self.last_steps;
        if last <= now { last } else { before }
    }

    fn clear(&mut self) {
        self.first_tokens.clear();
        self.completed.clear();
        self.finishing.clear();
        self.accepted.clear();
        self.pieces.clear();
    }
}

/// Takes the `later` blocks of a run's steps after the first, each when its step is formed, and takes down what that evicts.
fn allocate_in_turn(core: &mut Core, log: &mut KvLog, run: &Run, later: u64, overlap: bool) -> bool {
    let first = core.decodes.blocks_needed(1);
    let (mut taken, mut there) = (0, true);
    for step in 1..run.steps {
        let needed = core.decodes.blocks_needed(step + 1) - first - taken;
        if needed > 0 {
            there &= core.pool.allocate(needed);
            taken += needed;
            let formed = run.start + Time(run.span(if overlap { step - 1 } else { step }));
            log.add(formed, core.pool.take_events());
        }
    }
    there && taken == later
}

impl Replica {
    /// Puts a run in flight and moves the scheduler's view to its end.
    pub(in crate::engine) fn launch(&mut self, run: Run, now: Time, sequences: u32, context: u64, observer: &mut impl Observer) {
        let core = &mut self.core;
        let end = run.start + Time(run.span(run.steps));
        let done = run.steps_ending_by(self.pace.horizon);
        let mut flight = self.spare_flights.pop().unwrap_or_default();
        flight.end = end;
        flight.lane = core.lane();
        (flight.last_step_start, flight.last_steps) = if run.steps == 1 {
            (run.start + Time(run.exposed_start_ps), [run.start; 2])
        } else {
            let last_steps = [1, 2].map(|back| run.start + Time(run.span(run.steps - back)));
            (last_steps[0], last_steps)
        };
        flight.clock = core.decodes.clock();
        flight.clock_after = flight.clock + if core.batch.decodes { run.steps } else { 0 };
        flight.undone = run.steps - done;

        // Tokens whose predecessor is more than this step away.
        self.gaps.clear();
        if core.batch.decodes && !core.paused.is_empty() {
            let starved = &core.batch.starved;
            let jobs = &core.jobs;
            let gaps = &mut self.gaps;
            let first_tokens = &mut flight.first_tokens;
            let stopping = &core.stopping;
            core.paused.retain(|&id| {
                let resumes = !starved.contains(&id);
                if resumes && jobs[id].generated == 0 {
                    first_tokens.push(id);
                } else if resumes && !stopping.contains(&id) {
                    gaps.push((end - jobs[id].last_token).0);
                }
                !resumes
            });
        }
        self.stalled_gaps.clear();
        if core.batch.decodes && !core.stalled.is_empty() {
            let groups = core.stalled.drain(..).filter(|(_, count)| *count > 0);
            self.stalled_gaps.extend(groups.map(|(last_token, count)| ((end - last_token).0, count)));
        }
        let stalled: u32 = self.stalled_gaps.iter().map(|(_, count)| count).sum();
        // Sequences that decode beyond an end of which the scheduler does not know yet.
        let stopping = &core.stopping;
        let wasted = if core.batch.decodes { stopping.iter().filter(|id| !core.batch.starved.contains(id)).count() as u32 } else { 0 };
        let mut regular_gaps = sequences - self.gaps.len() as u32 - flight.first_tokens.len() as u32 - stalled - wasted;
        if self.pipeline.is_some() {
            // The lane's last tokens are older than the batch that came out before this one.
            let gap = (end - core.last_end).0;
            self.gaps.resize(self.gaps.len() + regular_gaps as usize, gap);
            regular_gaps = 0;
        }

        let mut accepted_tokens = 0;
        let decodes = self.core.batch.decodes;
        if let Some(mut speculation) = self.speculation.take_if(|_| decodes) {
            // Drafted tokens that are accepted come out with the step's own token.
            accepted_tokens = self.gain(&mut flight, || speculation.accepted());
            self.gaps.extend(std::iter::repeat_n(0, accepted_tokens as usize));
            self.speculation = Some(speculation);
        }
        let window = self.window.take_if(|_| decodes);
        let mut bunched_tokens = 0;
        if let Some(window) = &window {
            // What came before came out when this window began.
            let gap = (end - self.core.last_end).0;
            self.gaps.resize(self.gaps.len() + regular_gaps as usize, gap);
            regular_gaps = 0;
            bunched_tokens = self.gain(&mut flight, || window.steps - 1);
        }
        let core = &mut self.core;

        core.pool_at(end);
        let mut prefill_tokens = 0;
        let mut prefill_pairs = 0;
        for (piece, &id) in core.batch.prefills.iter().zip(&core.batch.prefill_jobs) {
            let new = u64::from(piece.new_tokens);
            prefill_tokens += new;
            if core.pool_hears {
                core.pool.computed(id, u64::from(piece.past_tokens) + new, piece.completes);
            }
            prefill_pairs += new * u64::from(piece.past_tokens) + new * (new + 1) / 2;
            if piece.completes {
                flight.completed.push(id);
                let job = &core.jobs[id];
                if job.leg == Leg::SilentPrefill || job.request.max_tokens == 0 {
                    // Sampled, and never seen by anybody: the latter computes a prompt for several replies.
                } else if job.generated == 0 {
                    flight.first_tokens.push(id);
                } else {
                    self.gaps.push((end - job.last_token).0);
                }
            } else if core.jobs[id].leg.is_prefill() {
                flight.pieces.push((id, u64::from(piece.past_tokens) + new));
            }
        }

        if let Some(bunches) = self.bunches {
            bunched_tokens = bunches.let_out(core, &flight.first_tokens, &flight.completed, end, &mut self.gaps);
            self.stalled_gaps.clear();
            regular_gaps = 0;
        }

        let adapters = core.take_adapter_use();
        if done > 0 {
            let used = core.pool.used() - core.blocks_ahead;
            let decodes = &core.decodes;
            // Blocks of the first step are taken already; those of later steps are not.
            let first_blocks = if core.batch.decodes && run.steps > 1 { decodes.blocks_needed(1) } else { 0 };
            let steps = run.steps;
            let steps_told = StepRun {
                replica: self.index,
                start: run.start,
                steps: done,
                first_duration_ps: run.duration_ps,
                duration_increment_ps: run.duration_increment_ps,
                first_device_ps: run.cost.device_ps,
                device_increment_ps: run.device_increment_ps,
                first_parts: run.cost.parts,
                decode_sequences: sequences,
                first_context: context,
                prefill_tokens,
                prefill_pairs,
                encoded_images: core.images_in_batch(),
                encoding_ps: core.encoding_ps(),
                padded_tokens: run.cost.padded_tokens,
                eager: run.cost.eager,
                kv_wait_ps: run.kv_wait_ps,
                adapters,
                stopped_decodes: core.decodes.len() - sequences + core.batch.starved.len() as u32,
                held_back: core.held_back,
                first_tokens: flight.first_tokens.len() as u32,
                regular_gaps,
                bunched_tokens,
                drafted_tokens: (sequences - wasted) * core.limits.speculative_tokens,
                accepted_tokens,
                wasted_sequences: wasted,
                other_gaps_ps: &self.gaps,
                stalled_gaps: &self.stalled_gaps,
                running: core.running_len(),
                waiting: core.waiting.len() as u32 + core.swapped_len(),
                kv_blocks_after: &|i| match (i, steps) {
                    (0, _) | (_, 1) => used,
                    _ => used + decodes.blocks_needed(i) - first_blocks,
                },
            };
            let mut tell = |told: &StepRun<'_>| {
                observer.steps(told);
                if let Some(probe) = &mut self.probe {
                    probe.see(core, told);
                }
            };
            match &window {
                Some(window) => window.tell(&steps_told, &flight.accepted, tell),
                None => tell(&steps_told),
            }
        }

        if window.is_some() {
            self.window = window;
        }
        self.log_kv(now);
        self.move_on(&run, end, &mut flight);
        self.flights.push_back(flight);
        self.form_at = self.next_formation(now);
    }

    /// Decoding sequences get up to so many tokens more with the step's own. How many that is in all.
    fn gain(&mut self, flight: &mut Flight, mut of_each: impl FnMut() -> u32) -> u32 {
        let core = &mut self.core;
        let is_member = |&id: &JobId| {
            let job = &core.jobs[id];
            job.stage == Stage::Decoding && job.left == u64::MAX && !core.stopping.contains(&id)
        };
        let members: Vec<JobId> = core.running().filter(is_member).collect();
        let mut gained = 0;
        for id in members {
            let tokens = core.accept(id, of_each());
            if tokens > 0 {
                flight.accepted.push((id, tokens));
                gained += tokens;
            }
        }
        gained
    }

    /// Moves the scheduler's view to the end of a run.
    fn move_on(&mut self, run: &Run, end: Time, flight: &mut Flight) {
        let core = &mut self.core;
        if core.batch.decodes {
            if run.steps > 1 {
                let later = core.decodes.blocks_needed(run.steps) - core.decodes.blocks_needed(1);
                let later = later - std::mem::take(&mut core.blocks_ahead);
                let there = match &mut self.kv_log {
                    None => core.pool.allocate(later),
                    Some(log) => allocate_in_turn(core, log, run, later, self.pace.overlap),
                };
                debug_assert!(there, "a run was made longer than its blocks allow");
            }
            core.decodes.advance(run.steps);
        }
        if !core.batch.starved.is_empty() {
            core.rejoin_starved();
        }
        // The end that the batch before yields will be known when the next one is formed.
        while let Some(&id) = core.stopping.first() {
            let decoded = core.batch.decodes && core.jobs[id].left == u64::MAX;
            core.stop(id, decoded);
        }
        if core.batch.decodes {
            core.last_decode_end = end;
        } else if !core.decodes.is_empty() {
            core.stall();
        }
        for &id in &flight.completed {
            let job = &mut core.jobs[id];
            job.generated += 1;
            job.last_token = end;
            if job.generated >= job.request.output_tokens {
                flight.finishing.push(id);
                if job.request.ends_by_eos() && self.pace.overlap {
                    core.decodes.join(&mut core.jobs, id);
                    core.stopping.push(id);
                } else {
                    job.stage = Stage::Finishing;
                }
            } else {
                core.decodes.join(&mut core.jobs, id);
            }
        }
        if !flight.completed.is_empty() {
            let jobs = &core.jobs;
            core.prefilling.retain(|&id| jobs[id].stage == Stage::Prefilling);
        }
        while let Some(id) = core.decodes.pop_ended(&core.jobs) {
            // One that stops at its first token has been seen to above.
            if core.stopping.contains(&id) {
                continue;
            }
            flight.finishing.push(id);
            if core.jobs[id].request.ends_by_eos() && self.pace.overlap {
                core.stopping.push(id);
            } else {
                core.decodes.leave(&mut core.jobs, id);
                core.jobs[id].stage = Stage::Finishing;
            }
        }
        core.last_end = end;
    }

    /// Tokens come out, ended requests leave.
    pub(in crate::engine) fn finish_flight(&mut self, observer: &mut impl Observer, ended: &mut Vec<u32>) {
        let Some(mut flight) = self.flights.pop_front() else { return };
        for &id in flight.first_tokens.iter().filter(|&&id| !self.core.jobs[id].hung_up && !self.core.jobs[id].leg.is_prefill()) {
            let request = self.core.jobs[id].request.id;
            if !self.samples.is_first_token(request) {
                continue;
            }
            observer.first_token(request, flight.end);
            if let Some(prefilled) = &mut self.prefilled {
                prefilled.push(request);
            }
        }
        self.core.pool_at(flight.end);
        for &id in &flight.completed {
            if self.core.pool_hears {
                self.core.pool.read(id);
            }
            self.core.ledger.computed(&self.core.jobs[id].request);
        }
        for &(id, computed) in flight.pieces.iter().filter(|(id, _)| !self.core.jobs[*id].hung_up) {
            let request = self.core.jobs[id].request.id;
            self.handovers.news.push(News::Computed { request, job: id, computed });
        }
        if self.pipeline.is_some() {
            self.core.switch_to(flight.lane);
        }
        for &id in &flight.finishing {
            if self.core.stopping.contains(&id) {
                self.core.stop(id, false);
            }
            let job = &self.core.jobs[id];
            let request = job.request.id;
            let mut replies = None;
            if job.hung_up {
                self.hang_ups.pending.retain(|&other| other != id);
                self.report_cancelled(id, job.generated, observer);
            } else if job.leg.is_prefill() {
                self.park_prefilled(id);
                continue;
            } else {
                replies = self.samples.prompt_computed(request, job.prefilled);
                if replies.is_none()
                    && let Some((tokens, prefilled)) = self.samples.ended(request, job.generated, job.prefilled)
                {
                    observer.finished(self.index, request, flight.end, tokens, prefilled);
                    ended.push(request);
                }
            }
            self.core.ledger.replied(&self.core.jobs[id].request);
            self.core.end(id);
            replies.into_iter().flatten().for_each(|reply| self.enqueue(reply));
        }
        if self.form_at == Time::NEVER {
            self.form_at = self.next_formation(flight.end);
        }
        flight.clear();
        self.spare_flights.push(flight);
    }
}
