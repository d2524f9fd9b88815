//! Requests that leave before their last token: their clients give up, nothing will ever have room for them, or the simulation ends.

use super::{JobId, Observer, Replica, Stage, Time};
use crate::engine::observer::RejectReason;

impl Replica {
    /// Tells of the requests whose clients have given up and which are still here, before this replica is no more.
    pub fn tell_hung_up(&mut self, observer: &mut impl Observer) {
        for id in std::mem::take(&mut self.hang_ups.pending) {
            let tokens = self.tokens_out(id);
            self.report_cancelled(id, tokens, observer);
        }
    }

    /// The next client gives up.
    pub(in crate::engine) fn take_hang_up(&mut self, ended: &mut Vec<u32>) {
        let request = self.hang_ups.take(&mut self.core.jobs);
        ended.extend(request.filter(|&id| self.samples.is_first_to_hang_up(id)));
    }

    /// Lets go of the requests whose clients have given up.
    pub(super) fn drop_hung_up(&mut self, observer: &mut impl Observer) {
        if !self.hang_ups.pending.is_empty() {
            self.drop_pending(observer);
        }
    }

    #[inline(never)]
    fn drop_pending(&mut self, observer: &mut impl Observer) {
        for id in std::mem::take(&mut self.hang_ups.pending) {
            let tokens = self.tokens_out(id);
            self.report_cancelled(id, tokens, observer);
            self.forget(id);
        }
    }

    /// A request is nowhere in this engine any more.
    fn forget(&mut self, id: JobId) {
        for flight in &mut self.flights {
            for list in [&mut flight.first_tokens, &mut flight.completed, &mut flight.finishing] {
                list.retain(|&other| other != id);
            }
            flight.pieces.retain(|&(other, _)| other != id);
        }
        self.policy.forget(id);
        self.core.drop_job(id);
    }

    /// Tells of the requests that have ended without their reply. Of several replies to a prompt the others end with the first that does.
    #[inline(never)]
    pub(super) fn end_failed(&mut self, observer: &mut impl Observer, ended: &mut Vec<u32>) {
        let mut failed = std::mem::take(&mut self.core.failed);
        while let Some(&(first, reason)) = failed.first() {
            let request = self.core.jobs[first].request.id;
            let mut family = self.jobs_here();
            family.extend(failed.iter().map(|&(id, _)| id));
            family.retain(|&id| self.core.jobs[id].request.id == request);
            failed.retain(|(id, _)| !family.contains(id));
            for id in family {
                let tokens = self.tokens_out(id);
                if self.samples.ended(request, tokens, self.core.jobs[id].prefilled).is_some() {
                    observer.rejected(self.index, request, self.core.now, reason);
                    ended.push(request);
                }
                self.forget(id);
            }
        }
    }

    pub(super) fn report_cancelled(&mut self, id: JobId, tokens: u32, observer: &mut impl Observer) {
        let job = &self.core.jobs[id];
        if !job.leg.is_prefill()
            && let Some((tokens, prefilled)) = self.samples.ended(job.request.id, tokens, job.prefilled)
        {
            observer.cancelled(self.index, job.request.id, job.request.hangs_up, tokens, prefilled);
        }
    }

    /// Tokens of a request that have come out, when a batch is being formed: of each run in flight, the last step has not ended.
    pub(super) fn tokens_out(&self, id: JobId) -> u32 {
        let in_flight: u64 = self.flights.iter().map(|flight| flight.yields(&self.core.jobs[id], id, 1)).sum();
        self.tokens_scheduled(id).saturating_sub(in_flight as u32)
    }

    /// Tokens of a request that have come out or are in flight.
    pub(super) fn tokens_scheduled(&self, id: JobId) -> u32 {
        match self.core.jobs[id].stage {
            Stage::Decoding => self.core.decodes_of(self.core.jobs[id].lane).generated(&self.core.jobs, id),
            _ => self.core.jobs[id].generated,
        }
    }

    /// Nothing runs and nothing could be scheduled: no later event would change that, so the head of the queue is turned away
    /// rather than left to hang. A policy that keeps its promises never gets here.
    pub(in crate::engine) fn turn_away_the_stuck(&mut self, now: Time, observer: &mut impl Observer) {
        if !self.flights.is_empty() || self.core.running_len() > 0 || self.core.parked > 0 {
            return;
        }
        if let Some(id) = self.core.waiting.pop_front() {
            debug_assert!(false, "a request that fits was not admitted by an idle engine");
            let request = self.core.jobs[id].request.id;
            if self.samples.ended(request, 0, 0).is_some() {
                observer.rejected(self.index, request, now, RejectReason::TooLongForKvPool);
            }
            self.core.jobs.remove(id);
            if !self.core.waiting.is_empty() {
                self.form_at = now;
            }
        }
    }

    /// Reports what is still here when the simulation ends.
    pub fn close(&self, observer: &mut impl Observer) {
        if let Some(group) = &self.lockstep {
            group.close(observer);
        }
        let core = &self.core;
        let tiers = core.pool.tiers();
        if !tiers.is_empty() {
            observer.tiers(self.index, tiers);
        }
        let leaving = self.flights.iter().flat_map(|flight| &flight.finishing).copied();
        let leaving = leaving.filter(|&id| core.jobs[id].stage == Stage::Leaving);
        let mut samples = self.samples.clone();
        for id in core.waiting.iter().copied().chain(core.swapped()).chain(core.running_everywhere()).chain(leaving) {
            let job = &core.jobs[id];
            if job.leg.is_prefill() {
                continue;
            }
            // Tokens in flight at the end have not come out.
            let in_flight: u64 = self.flights.iter().map(|flight| flight.yields(job, id, flight.undone)).sum();
            let generated = self.tokens_scheduled(id).saturating_sub(in_flight as u32);
            let Some((generated, prefilled)) = samples.ended(job.request.id, generated, job.prefilled) else { continue };
            if job.hung_up {
                observer.cancelled(self.index, job.request.id, job.request.hangs_up, generated, prefilled);
                continue;
            }
            observer.unfinished(job.request.id, generated, prefilled);
        }
    }
}
