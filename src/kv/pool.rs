//! The block pool: vLLM's free queue with content hashes.
//!
//! A physical block matters only by what it holds, so blocks have no numbers here. Contents that another request may look
//! up have a *slot* each; all others are counted. The free queue is vLLM's: blocks without contents come first, then
//! cached ones in the order in which they were freed, and allocation takes from the front, forgetting what was there.
//!
//! Left out: vLLM keeps several blocks for the same hash when two requests compute it at the same time, and finds the
//! second when the first is evicted. Here the second is a block that nobody finds.

use super::cache::Evicted;
use std::collections::{BTreeMap, BTreeSet};

use crate::workload::Segment;

/// Slots that are not worth a sweep.
const FIRST_SWEEP: usize = 1 << 15;

/// Stands for "no node" and "no slot".
pub(super) const NONE: u32 = u32::MAX;

/// A place where the contents of one full block can be found.
#[derive(Clone, Copy)]
struct Slot {
    /// Requests that hold the block.
    refs: u32,
    /// Its entry in the free queue when it is cached and nobody holds it. With `refs == 0` and no entry, the contents are gone.
    node: u32,
}

const ABSENT: Slot = Slot { refs: 0, node: NONE };

/// An entry of the free queue: one block with a slot, or `count` cached blocks that nobody will look up.
#[derive(Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    count: u32,
    slot: u32,
}

/// Slots of a segment: those of the blocks that end in it.
#[derive(Clone, Copy)]
struct SegmentSlots {
    first_slot: u32,
    count: u32,
}

/// Pool of KV blocks with a prefix cache.
pub struct BlockPool {
    block_size: u32,
    caching: bool,
    total: u64,
    /// Free blocks without contents: taken first.
    blank: u64,
    /// Free blocks with contents.
    cached: u64,
    nodes: Vec<Node>,
    spare_nodes: Vec<u32>,
    first: u32,
    last: u32,
    slots: Vec<Slot>,
    spare_slots: Vec<u32>,
    /// Private slots whose owner has ended: given back when the block is evicted.
    orphans: BTreeSet<u32>,
    /// By number: of all segments there are, a replica among many sees few.
    segments: BTreeMap<u32, SegmentSlots>,
    /// First slots of ranges that were swept, by their length.
    spare_ranges: BTreeMap<u32, Vec<u32>>,
    /// Number of slots at which the next sweep pays.
    sweep_at: usize,
    /// Grows whenever more blocks may be free or found than before.
    epoch: u64,
    evictions: Option<Evictions>,
}

/// What was evicted, and what each slot stands for.
#[derive(Default)]
struct Evictions {
    /// By slot: segment, and offset of the block's last token in it; `NONE` for contents of one request.
    names: Vec<(u32, u32)>,
    kept: Vec<Evicted>,
}

impl BlockPool {
    /// A pool of `total` blocks of `block_size` tokens (at least 1), all free. Without `caching` nothing is ever found again.
    pub fn new(total: u64, block_size: u32, caching: bool) -> BlockPool {
        BlockPool {
            block_size: block_size.max(1),
            caching,
            total,
            blank: total,
            cached: 0,
            nodes: Vec::new(),
            spare_nodes: Vec::new(),
            first: NONE,
            last: NONE,
            slots: Vec::new(),
            spare_slots: Vec::new(),
            orphans: BTreeSet::new(),
            segments: BTreeMap::new(),
            spare_ranges: BTreeMap::new(),
            sweep_at: FIRST_SWEEP,
            epoch: 0,
            evictions: None,
        }
    }

    /// From now on keeps what is evicted. Before any slot is made.
    pub fn keep_evicted(&mut self) {
        self.evictions = Some(Evictions::default());
    }

    /// Appends what was evicted since the last call.
    pub fn take_evicted(&mut self, evicted: &mut Vec<Evicted>) {
        if let Some(evictions) = &mut self.evictions {
            evicted.append(&mut evictions.kept);
        }
    }

    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    pub fn caching(&self) -> bool {
        self.caching
    }

    /// Blocks in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Free blocks without contents.
    pub fn blank(&self) -> u64 {
        self.blank
    }

    /// Blocks that can be allocated now: those without contents and those whose contents nobody holds.
    pub fn free(&self) -> u64 {
        self.blank + self.cached
    }

    /// Changes whenever an allocation that failed before might succeed now.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Blocks that `tokens` tokens fill, the last one perhaps partly.
    pub fn blocks_for(&self, tokens: u64) -> u64 {
        tokens.div_ceil(u64::from(self.block_size))
    }

    /// Takes `count` free blocks, evicting the longest freed contents. False, and nothing taken, when there are too few.
    pub fn allocate(&mut self, count: u64) -> bool {
        if count > self.free() {
            return false;
        }
        let blanks = count.min(self.blank);
        self.blank -= blanks;
        let mut left = count - blanks;
        self.cached -= left;
        while left > 0 {
            let index = self.first;
            let node = &mut self.nodes[index as usize];
            let taken = left.min(u64::from(node.count));
            node.count -= taken as u32;
            left -= taken;
            let (slot, used_up) = (node.slot, node.count == 0);
            if let Some(evictions) = &mut self.evictions {
                let name = evictions.names.get(slot as usize).filter(|(segment, _)| *segment != NONE);
                evictions.kept.push(match name {
                    Some(&(segment, last)) => Evicted::Tokens { segment, from: last, to: last + 1 },
                    None => Evicted::Unnamed(taken * u64::from(self.block_size)),
                });
            }
            if used_up {
                self.unlink(index);
                if slot != NONE {
                    self.forget(slot);
                }
            }
        }
        true
    }

    /// Takes back `count` blocks whose contents cannot be used (partly filled, or caching is off).
    pub fn free_blank(&mut self, count: u64) {
        self.blank += count;
        self.epoch += 1;
        debug_assert!(self.free() <= self.total, "more blocks free than there are");
    }

    /// Appends `count` cached blocks that nobody will look up to the free queue.
    pub fn free_unnamed(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        self.epoch += 1;
        self.cached += u64::from(count);
        // Two such runs side by side are one.
        if self.last != NONE && self.nodes[self.last as usize].slot == NONE {
            let node = &mut self.nodes[self.last as usize];
            if let Some(sum) = node.count.checked_add(count) {
                node.count = sum;
                return;
            }
        }
        self.append(count, NONE);
    }

    /// Whether the contents of `slot` are in memory, held or free.
    pub(super) fn present(&self, slot: u32) -> bool {
        let slot = &self.slots[slot as usize];
        slot.refs > 0 || slot.node != NONE
    }

    /// Whether the contents of `slot` are in memory and nobody holds them, so that holding them uses up a free block.
    pub(super) fn present_and_free(&self, slot: u32) -> bool {
        self.slots[slot as usize].node != NONE
    }

    /// Holds the block of a slot that is present.
    pub(super) fn hold(&mut self, slot: u32) {
        let node = self.slots[slot as usize].node;
        if node != NONE {
            self.unlink(node);
            self.cached -= 1;
            self.slots[slot as usize].node = NONE;
        }
        self.slots[slot as usize].refs += 1;
    }

    /// Names a block just allocated. False when these contents are in memory already: the block then stays without a name.
    pub(super) fn name(&mut self, slot: u32) -> bool {
        if self.present(slot) {
            return false;
        }
        self.slots[slot as usize].refs = 1;
        self.epoch += 1;
        true
    }

    /// Lets go of a held block; the last holder appends it to the free queue.
    pub(super) fn release(&mut self, slot: u32) {
        let refs = &mut self.slots[slot as usize].refs;
        debug_assert!(*refs > 0, "a block was released twice");
        *refs -= 1;
        if *refs == 0 {
            self.append_named(slot);
        }
    }

    /// Lets go of a held block whose contents nobody will look up any more. True when it is free to be counted as unnamed.
    pub(super) fn release_unnamed(&mut self, slot: u32) -> bool {
        let refs = &mut self.slots[slot as usize].refs;
        debug_assert!(*refs > 0, "a block was released twice");
        *refs -= 1;
        *refs == 0
    }

    /// Appends a block that was held without a name under a name. False when these contents are in memory already.
    pub(super) fn append_if_absent(&mut self, slot: u32) -> bool {
        if self.present(slot) {
            return false;
        }
        self.append_named(slot);
        true
    }

    /// A slot for contents of one request only.
    pub(super) fn private_slot(&mut self) -> u32 {
        if let Some(slot) = self.spare_slots.pop() {
            return slot;
        }
        self.slots.push(ABSENT);
        (self.slots.len() - 1) as u32
    }

    /// Gives a private slot back: at once, or when its block is evicted.
    pub(super) fn abandon(&mut self, slot: u32) {
        if self.present(slot) {
            self.orphans.insert(slot);
        } else {
            self.spare_slots.push(slot);
        }
    }

    /// Leading tokens of a prompt with these segments in memory, in full blocks.
    pub(super) fn leading(&self, segments: &[Segment]) -> u64 {
        let mut blocks = 0;
        let (size, mut end) = (u64::from(self.block_size), 0);
        for segment in segments {
            end += u64::from(segment.tokens);
            let Some(&SegmentSlots { first_slot, count }) = self.segments.get(&segment.id.0) else { break };
            let found = (first_slot..first_slot + count).take_while(|&slot| self.present(slot)).count() as u64;
            blocks += found;
            if found < end / size - (end - u64::from(segment.tokens)) / size {
                break;
            }
        }
        blocks * size
    }

    /// Appends to `chain` the slots of the blocks that end in `segment`, which starts after `start` tokens.
    pub(super) fn chain_segment(&mut self, segment: Segment, start: u64, chain: &mut Vec<u32>) {
        let SegmentSlots { first_slot, count } = self.segment_slots(segment, start);
        chain.extend(first_slot..first_slot + count);
    }

    fn segment_slots(&mut self, segment: Segment, start: u64) -> SegmentSlots {
        if let Some(&known) = self.segments.get(&segment.id.0) {
            return known;
        }
        let size = u64::from(self.block_size);
        let count = ((start + u64::from(segment.tokens)) / size - start / size) as u32;
        let first_slot = self.spare_ranges.get_mut(&count).and_then(Vec::pop).unwrap_or_else(|| {
            let first_slot = self.slots.len() as u32;
            self.slots.resize(self.slots.len() + count as usize, ABSENT);
            first_slot
        });
        let made = SegmentSlots { first_slot, count };
        self.segments.insert(segment.id.0, made);
        if let Some(evictions) = &mut self.evictions {
            let end = (first_slot + count) as usize;
            evictions.names.resize(evictions.names.len().max(end), (NONE, 0));
            let last = |block: usize| ((start / size + block as u64 + 1) * size - 1 - start) as u32;
            let names = evictions.names[first_slot as usize..end].iter_mut().enumerate();
            names.for_each(|(block, name)| *name = (segment.id.0, last(block)));
        }
        made
    }

    /// Whether enough slots have been made since the last sweep for another to pay.
    pub(super) fn wants_sweep(&self) -> bool {
        self.slots.len() >= self.sweep_at
    }

    /// Gives the slots of segments back of which nothing is in memory, except those in `chains`. Nothing that can be asked changes.
    pub(super) fn sweep<'a>(&mut self, chains: impl Iterator<Item = &'a [u32]>) {
        let mut in_chain = vec![false; self.slots.len()];
        for &slot in chains.flatten() {
            in_chain[slot as usize] = true;
        }
        let mut left = 0;
        let (slots, spare) = (&self.slots, &mut self.spare_ranges);
        self.segments.retain(|_, segment| {
            let range = segment.first_slot as usize..(segment.first_slot + segment.count) as usize;
            let used = |slot: usize| in_chain[slot] || slots[slot].refs > 0 || slots[slot].node != NONE;
            let kept = segment.count == 0 || range.clone().any(used);
            if kept {
                left += range.len();
            } else {
                spare.entry(segment.count).or_default().push(segment.first_slot);
            }
            kept
        });
        // A sweep looks at every slot: the next one comes when as many have been made as are in use.
        self.sweep_at = (self.slots.len() + left).max(FIRST_SWEEP);
    }

    #[cfg(test)]
    pub(super) fn never_sweep(&mut self) {
        self.sweep_at = usize::MAX;
    }

    #[cfg(test)]
    pub(super) fn sweep_next_time(&mut self) {
        self.sweep_at = 0;
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    fn append_named(&mut self, slot: u32) {
        self.epoch += 1;
        self.cached += 1;
        let node = self.append(1, slot);
        self.slots[slot as usize].node = node;
    }

    fn forget(&mut self, slot: u32) {
        self.slots[slot as usize] = ABSENT;
        if !self.orphans.is_empty() && self.orphans.remove(&slot) {
            self.spare_slots.push(slot);
        }
    }

    fn append(&mut self, count: u32, slot: u32) -> u32 {
        let node = Node { previous: self.last, next: NONE, count, slot };
        let index = match self.spare_nodes.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        if self.last == NONE {
            self.first = index;
        } else {
            self.nodes[self.last as usize].next = index;
        }
        self.last = index;
        index
    }

    fn unlink(&mut self, index: u32) {
        let Node { previous, next, .. } = self.nodes[index as usize];
        if previous == NONE {
            self.first = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next == NONE {
            self.last = previous;
        } else {
            self.nodes[next as usize].previous = previous;
        }
        self.spare_nodes.push(index);
    }
}
