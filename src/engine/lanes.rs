//! The decoding sequences of a pipeline by the batch they travel in. A request that decodes stays in the lane in which its prompt was
//! completed until it ends or loses its KV; the queue, unfinished prompts and the KV pool belong to all lanes. Policies see one lane at
//! a time: that of the batch being put together. An engine without a pipeline has one lane.

use super::core::Core;
use super::decodes::Decodes;
use super::job::JobId;
use crate::units::Time;

/// Decoding sequences that take their steps together.
pub(super) struct Lane {
    decodes: Decodes,
    paused: Vec<JobId>,
    stalled: Vec<(Time, u32)>,
    stopping: Vec<JobId>,
    last_end: Time,
    last_decode_end: Time,
}

/// The lanes that are not at work; the current one's place holds an empty one.
#[derive(Default)]
pub(super) struct Lanes {
    parked: Vec<Lane>,
    current: u16,
}

impl Core {
    /// Makes `lanes` lanes of this engine, which has not seen a request yet.
    pub(super) fn open_lanes(&mut self, lanes: u16) {
        let block_size = self.pool.block_size();
        let lane = |number| Lane {
            decodes: Decodes::of_lane(block_size, number),
            paused: Vec::new(),
            stalled: Vec::new(),
            stopping: Vec::new(),
            last_end: Time::ZERO,
            last_decode_end: Time::ZERO,
        };
        self.lanes = Lanes { parked: (0..lanes).map(lane).collect(), current: 0 };
    }

    /// Whether sequences take turns, as in a pipeline.
    pub(super) fn has_lanes(&self) -> bool {
        self.lanes.parked.len() > 1
    }

    /// The lane of the batch being put together.
    pub(super) fn lane(&self) -> u16 {
        self.lanes.current
    }

    /// From now on the core shows this lane.
    pub(super) fn switch_to(&mut self, lane: u16) {
        if lane == self.lanes.current {
            return;
        }
        let current = usize::from(self.lanes.current);
        self.swap_with(current);
        self.swap_with(usize::from(lane));
        self.lanes.current = lane;
    }

    fn swap_with(&mut self, index: usize) {
        let Some(lane) = self.lanes.parked.get_mut(index) else { return };
        std::mem::swap(&mut lane.decodes, &mut self.decodes);
        std::mem::swap(&mut lane.paused, &mut self.paused);
        std::mem::swap(&mut lane.stopping, &mut self.stopping);
        std::mem::swap(&mut lane.stalled, &mut self.stalled);
        std::mem::swap(&mut lane.last_end, &mut self.last_end);
        std::mem::swap(&mut lane.last_decode_end, &mut self.last_decode_end);
    }

    /// The decoding sequences of a lane.
    pub(super) fn decodes_of(&self, lane: u16) -> &Decodes {
        match self.lanes.parked.get(usize::from(lane)) {
            Some(parked) if lane != self.lanes.current => &parked.decodes,
            _ => &self.decodes,
        }
    }

    /// When the last batch of a lane ended, or will.
    pub(super) fn last_end_of(&self, lane: u16) -> Time {
        match self.lanes.parked.get(usize::from(lane)) {
            Some(parked) if lane != self.lanes.current => parked.last_end,
            _ => self.last_end,
        }
    }
}
