//! What one tier holds: chunks under their slots and chunks that nobody will ask for, least recently used first.

use crate::kv::free_queue::{Free, FreeQueue, NONE};
use crate::units::Time;

/// A chunk, or some that have no name, that made room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    Named(u32),
    Run(u32),
}

pub(super) struct Shelf {
    /// Chunks.
    capacity: u64,
    queue: FreeQueue,
    /// By slot: its entry in the queue, and when its copy is complete.
    entries: Vec<u32>,
    ready: Vec<Time>,
    /// Most chunks ever held.
    pub peak: u64,
    pub evicted: u64,
}

impl Shelf {
    /// Room for `capacity` chunks (at least 1).
    pub fn new(capacity: u64) -> Shelf {
        Shelf { capacity: capacity.max(1), queue: FreeQueue::new(), entries: Vec::new(), ready: Vec::new(), peak: 0, evicted: 0 }
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn used(&self) -> u64 {
        self.queue.blocks()
    }

    /// When a chunk's copy is complete, if it is here or on its way.
    pub fn ready(&self, slot: u32) -> Option<Time> {
        let entry = *self.entries.get(slot as usize)?;
        (entry != NONE).then(|| self.ready[slot as usize])
    }

    /// A chunk has been used.
    pub fn touch(&mut self, slot: u32) {
        if self.ready(slot).is_some() {
            self.queue.remove(self.entries[slot as usize]);
            self.entries[slot as usize] = self.queue.append(slot);
        }
    }

    /// A chunk that is not here comes, complete at `ready`. What made room for it is appended to `gone`.
    pub fn put(&mut self, slot: u32, ready: Time, gone: &mut Vec<Gone>) {
        self.make_room(1, gone);
        if self.entries.len() <= slot as usize {
            self.entries.resize(slot as usize + 1, NONE);
            self.ready.resize(slot as usize + 1, Time::ZERO);
        }
        self.entries[slot as usize] = self.queue.append(slot);
        self.ready[slot as usize] = ready;
        self.peak = self.peak.max(self.used());
    }

    /// Chunks without names come.
    pub fn put_run(&mut self, count: u64, gone: &mut Vec<Gone>) {
        let kept = count.min(self.capacity);
        self.make_room(kept, gone);
        self.evicted += count - kept;
        if kept > 0 {
            self.queue.append_run(u32::try_from(kept).unwrap_or(u32::MAX), NONE, 0);
        }
        self.peak = self.peak.max(self.used());
    }

    pub fn remove(&mut self, slot: u32) {
        if self.ready(slot).is_some() {
            self.queue.remove(std::mem::replace(&mut self.entries[slot as usize], NONE));
        }
    }

    fn make_room(&mut self, count: u64, gone: &mut Vec<Gone>) {
        while self.used() + count > self.capacity {
            let Some((taken, what, _)) = self.queue.take(self.used() + count - self.capacity) else { break };
            self.evicted += u64::from(taken);
            gone.push(match what {
                Free::Named(slot) => {
                    self.entries[slot as usize] = NONE;
                    Gone::Named(slot)
                }
                Free::Run { .. } => Gone::Run(taken),
            });
        }
    }
}
