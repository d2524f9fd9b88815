//! Clients that give up: when, and what that does to a replica. The client's clock decides that a request is cancelled; the engine
//! hears of it at once and lets go of the request when it forms its next batch, tokens in flight included.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::job::{Arena, JobId};
use crate::units::Time;

/// When clients will give up, soonest first.
#[derive(Default)]
pub struct HangUps {
    /// Instant, request and its job. Requests that have ended stay until they come up.
    due: BinaryHeap<Reverse<(Time, u32, JobId)>>,
    /// Requests given up whose jobs the engine still has.
    pub pending: Vec<JobId>,
}

impl HangUps {
    pub fn expect(&mut self, at: Time, request: u32, id: JobId) {
        if at != Time::NEVER {
            self.due.push(Reverse((at, request, id)));
        }
    }

    /// When the next client gives up, as of the last [`HangUps::settle`]; [`Time::NEVER`] when none will.
    pub fn next(&self) -> Time {
        self.due.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at)
    }

    /// Forgets those whose requests have ended.
    pub fn settle(&mut self, jobs: &Arena) {
        while let Some(&Reverse((_, request, id))) = self.due.peek() {
            if jobs[id].request.id == request && !jobs[id].hung_up {
                return;
            }
            self.due.pop();
        }
    }

    /// The client that gives up next does so: its request and job.
    pub fn take(&mut self, jobs: &mut Arena) -> Option<u32> {
        let Reverse((_, request, id)) = self.due.pop()?;
        jobs[id].hung_up = true;
        self.pending.push(id);
        Some(request)
    }
}
