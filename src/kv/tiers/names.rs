//! Names of chunks: a slot for each whole chunk of contents that can be asked for, equal for equal contents and everything before them.

use crate::workload::{Segment, SegmentId};

/// Slots of a segment: those of the chunks that end in it.
#[derive(Clone, Copy)]
struct SegmentSlots {
    start: u64,
    first_slot: u32,
    count: u32,
}

pub(super) struct Names {
    /// Tokens in a chunk.
    chunk: u64,
    segments: Vec<Option<SegmentSlots>>,
    /// By slot: prompts that it was a part of, at most 255.
    uses: Vec<u8>,
    spare: Vec<u32>,
}

impl Names {
    /// Chunks of `chunk` tokens, at least 1.
    pub fn new(chunk: u64) -> Names {
        Names { chunk: chunk.max(1), segments: Vec::new(), uses: Vec::new(), spare: Vec::new() }
    }

    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    /// Appends to `chain` the slots of the chunks that end in `segment`, which starts after `start` tokens.
    pub fn chain(&mut self, segment: Segment, start: u64, chain: &mut Vec<u32>) {
        let SegmentId(id) = segment.id;
        if self.segments.len() <= id as usize {
            self.segments.resize(id as usize + 1, None);
        }
        let slots = self.segments[id as usize].unwrap_or_else(|| {
            let count = ((start + u64::from(segment.tokens)) / self.chunk - start / self.chunk) as u32;
            let made = SegmentSlots { start, first_slot: self.uses.len() as u32, count };
            self.uses.resize(self.uses.len() + count as usize, 0);
            self.segments[id as usize] = Some(made);
            made
        });
        chain.extend(slots.first_slot..slots.first_slot + slots.count);
    }

    /// Slots of the chunks that end in a segment; none of one that has not been chained.
    pub fn known(&self, SegmentId(id): SegmentId) -> std::ops::Range<u32> {
        let slots = self.segments.get(id as usize).copied().flatten();
        slots.map_or(0..0, |slots| slots.first_slot..slots.first_slot + slots.count)
    }

    /// Slots of the chunks whose last token lies in tokens `from..to` of a segment; none of one that has not been chained.
    pub fn ending_in(&self, segment: u32, from: u32, to: u32) -> std::ops::Range<u32> {
        let Some(slots) = self.segments.get(segment as usize).copied().flatten() else { return 0..0 };
        let before = slots.start / self.chunk;
        let ends = |offset: u32| ((slots.start + u64::from(offset)) / self.chunk - before) as u32;
        slots.first_slot + ends(from).min(slots.count)..slots.first_slot + ends(to).min(slots.count)
    }

    /// A slot for contents of one request.
    pub fn private(&mut self) -> u32 {
        self.spare.pop().unwrap_or_else(|| {
            self.uses.push(0);
            (self.uses.len() - 1) as u32
        })
    }

    /// Nobody will ask for a private slot any more.
    pub fn give_back(&mut self, slot: u32) {
        self.uses[slot as usize] = 0;
        self.spare.push(slot);
    }

    /// A prompt has it as a part. How many have had.
    pub fn count_use(&mut self, slot: u32) -> u8 {
        let uses = &mut self.uses[slot as usize];
        *uses = uses.saturating_add(1);
        *uses
    }

    pub fn uses(&self, slot: u32) -> u8 {
        self.uses[slot as usize]
    }
}
