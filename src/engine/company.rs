//! Waiting by the clock before a batch is formed (TensorRT-LLM's `batch_wait_timeout_ms`): an engine that has fetched fewer new requests than it
//! may take waits for more of them, whatever runs meanwhile. What it does with them is its policy's affair.

use crate::units::Time;

/// How long batches wait, and how they stand.
pub(super) struct Company {
    timeout: Time,
    /// New requests that are enough.
    most: u32,
    /// Requests that have come since the last batch was formed.
    new: u32,
    /// End of the wait under way; [`Time::NEVER`] when there is none.
    until: Time,
}

impl Company {
    pub fn new(timeout: Time, most: u32) -> Company {
        Company { timeout, most, new: 0, until: Time::NEVER }
    }

    /// A request comes. True when a batch is being waited for and these are enough.
    pub fn arrives(&mut self, now: Time) -> bool {
        self.new += 1;
        let enough = self.is_awaited() && self.new >= self.most;
        if enough {
            self.until = now;
        }
        enough
    }

    pub fn is_awaited(&self) -> bool {
        self.until != Time::NEVER
    }

    /// A batch is due at `form_at`: when it is formed instead, if it waits.
    pub fn put_off(&mut self, form_at: Time) -> Option<Time> {
        if self.until <= form_at || self.new >= self.most {
            (self.new, self.until) = (0, Time::NEVER);
            return None;
        }
        self.until = Time(form_at.0.saturating_add(self.timeout.0));
        Some(self.until)
    }
}
