//! One direction of a link between two tiers: transfers follow one another, each at the link's full rate. Several at once take as
//! long in all as they would sharing it.

use crate::units::Time;

/// What a transfer costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Time of one chunk, ps, at least 1.
    pub chunk_ps: u64,
    /// Time before the first chunk of a transfer.
    pub latency: Time,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Channel {
    rate: Rate,
    free_at: Time,
    /// Time spent on transfers, ps.
    pub busy_ps: u64,
    pub chunks: u64,
}

impl Channel {
    pub fn new(rate: Rate) -> Channel {
        Channel { rate, ..Channel::default() }
    }

    /// When everything sent so far is through.
    pub fn free_at(&self) -> Time {
        self.free_at
    }

    /// Sends `chunks` chunks (at least 1) that are there at `at`, behind everything sent before. When the first begins and the last is
    /// through. The first of a transfer waits for the latency as well.
    pub fn send(&mut self, at: Time, chunks: u64, first: bool) -> (Time, Time) {
        let start = at.max(self.free_at);
        let latency_ps = if first { self.rate.latency.0 } else { 0 };
        let ps = latency_ps.saturating_add(self.rate.chunk_ps.saturating_mul(chunks));
        self.busy_ps = self.busy_ps.saturating_add(ps);
        self.chunks += chunks;
        self.free_at = start + Time(ps);
        (start, self.free_at)
    }
}
