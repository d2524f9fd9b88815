//! What an operator does to a replica from outside: it fails, is cut off, is slow, is asked what it has.
//!
//! A failure is known before it comes: the replica's horizon is set to it, so that nothing that ends later is told to the observer.

use super::{Replica, Stage, Time};

/// A request that has not ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    pub request: u32,
    /// Tokens that have come out.
    pub tokens: u32,
    /// Prompt tokens computed, or in a step under way.
    pub prefilled: u64,
    /// About when the latest token of the batch came out.
    pub last_token: Time,
}

/// Work that a replica has before it, tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Of prompts that wait and have never run, and of what is left of those under way.
    pub queued_prefill: u64,
    /// KV that requests hold.
    pub held_kv: u64,
    /// KV of requests that were thrown out and wait, and of those that wait for memory with a prompt computed elsewhere.
    pub queued_kv: u64,
}

impl Replica {
    /// Nothing that ends after this instant is told from now on.
    pub fn set_horizon(&mut self, horizon: Time) {
        self.pace.horizon = horizon;
    }

    /// Steps formed from now on take so many thousandths of their time on the GPUs. Not for an engine with stages.
    pub fn slow_down(&mut self, thousandths: u32) {
        self.slowdown = thousandths.max(1);
    }

    /// The moment that is being watched.
    pub fn watched(&self) -> Option<Time> {
        self.probe.as_ref().map(super::Probe::at)
    }

    /// Requests that have not ended, those given up by their clients left out, as of `now`, before which all steps under way were
    /// formed. In order of their numbers.
    pub fn under_way(&self, now: Time) -> Vec<UnderWay> {
        let on_the_device = self.flights.iter().find(|flight| flight.end > now);
        let before = on_the_device.map_or(self.core.last_end, |flight| flight.step_started_by(now)).min(now);
        let mut told: Vec<UnderWay> = Vec::new();
        for id in self.jobs_here().into_iter().filter(|&id| !self.core.jobs[id].hung_up) {
            let job = &self.core.jobs[id];
            told.push(UnderWay {
                request: job.request.id,
                tokens: self.tokens_out_by(id, now),
                prefilled: job.prefilled,
                last_token: before,
            });
        }
        // Several replies to one prompt are one request.
        crate::order::sort_by_key(&mut told, |what| what.request);
        told.dedup_by(|next, what| {
            let same = next.request == what.request;
            if same {
                what.tokens += next.tokens;
                what.prefilled += next.prefilled;
            }
            same
        });
        told
    }

    /// Tokens of a request that have come out by `now`. An overlapping engine forms a step when the one before it starts, so of a run
    /// in flight the last step may not have started, and then the one before it has not ended.
    fn tokens_out_by(&self, id: super::JobId, now: Time) -> u32 {
        let job = &self.core.jobs[id];
        let to_come = |flight: &super::flight::Flight| match flight.end > now {
            true => flight.yields(job, id, 1 + u64::from(flight.last_step_start > now)),
            false => 0,
        };
        self.tokens_scheduled(id).saturating_sub(self.flights.iter().map(|flight| to_come(flight)).sum::<u64>() as u32)
    }

    pub(super) fn jobs_here(&self) -> Vec<super::JobId> {
        let core = &self.core;
        let leaving = self.flights.iter().flat_map(|flight| &flight.finishing).copied();
        let leaving = leaving.filter(|&id| core.jobs[id].stage == Stage::Leaving);
        core.waiting.iter().copied().chain(core.swapped()).chain(core.running_everywhere()).chain(leaving).collect()
    }

    /// Every client is cut off at `now`: the engine lets go of all requests when it forms its next batch, and tells the observer that
    /// they were cancelled. Returns what they were like.
    pub fn abort(&mut self, now: Time) -> Vec<UnderWay> {
        let told = self.under_way(now);
        for id in self.jobs_here() {
            if !self.core.jobs[id].hung_up {
                self.core.jobs[id].hung_up = true;
                self.hang_ups.pending.push(id);
            }
        }
        self.hang_ups.settle(&self.core.jobs);
        if self.form_at == Time::NEVER && self.flights.is_empty() && !told.is_empty() {
            self.form_at = now;
        }
        told
    }

    /// What is to be done here.
    pub fn backlog(&self) -> Backlog {
        let core = &self.core;
        let mut backlog = Backlog { held_kv: core.pool.used() * u64::from(core.pool.block_size()), ..Backlog::default() };
        for &id in &core.waiting {
            let job = &core.jobs[id];
            if job.was_scheduled {
                backlog.queued_kv += job.target();
            } else {
                backlog.queued_prefill += job.target();
            }
        }
        backlog.queued_kv += core.swapped().map(|id| core.jobs[id].target()).sum::<u64>();
        backlog.queued_kv += self.handovers.offered().map(|id| core.jobs[id].target()).sum::<u64>();
        for &id in &core.prefilling {
            backlog.queued_prefill += core.jobs[id].target().saturating_sub(core.jobs[id].computed);
        }
        backlog
    }
}
