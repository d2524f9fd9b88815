//! The blocks that can be found: a tree of blocks under the contents before them, the queue of those that nobody holds, and the indices
//! by which contents are looked up. What an owner holds is its parent module's matter.

use std::collections::BTreeMap;

use crate::kv::cache::Evicted;
use crate::kv::events::KvEvent;
use crate::kv::free_queue::{Free, FreeQueue, NONE};
use crate::workload::{Segment, SegmentId};

/// The block before the first one.
pub(super) const ROOT: u32 = NONE;

/// What a stored block holds, as far as lookups can tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// Position among the blocks of its prompt.
    pub position: u32,
    pub tokens: u32,
    /// Its slot, when it is full and ends in a segment.
    pub slot: Option<u32>,
    /// The other segments in it, and how many of its leading tokens lie in each and those before it.
    pub parts: Vec<(SegmentId, u32)>,
}

/// A block that can be found, or could be until one before it was evicted.
struct Block {
    refs: u32,
    /// Its entry in the free queue while nobody holds it.
    entry: u32,
    /// The number it was stored under; changes whenever what it stands for does.
    stamp: u64,
    in_tree: bool,
    parent: u32,
    first_child: u32,
    next: u32,
    previous: u32,
    /// Runs of blocks that follow it and cannot be found.
    runs: u32,
    contents: Contents,
}

/// Slots of a segment: those of the full blocks that end in it.
#[derive(Clone, Copy)]
struct SegmentSlots {
    first_slot: u32,
    first_position: u32,
    count: u32,
}

/// Where a block is looked up by a part of its contents: segment, position, leading tokens in common, whether it goes on, stamp.
type PartKey = (u32, u32, u32, bool, u64);

pub(super) struct Tree {
    block_size: u32,
    blocks: Vec<Block>,
    spare: Vec<u32>,
    slots: Vec<u32>,
    segments: BTreeMap<u32, SegmentSlots>,
    parts: BTreeMap<PartKey, u32>,
    queue: FreeQueue,
    /// Free blocks that have never held anything.
    blank: u64,
    stamps: u64,
    pub epoch: u64,
    /// By slot, where somebody wants to know of blocks: segment, and offset of the block's last token in it.
    names: Option<Vec<(u32, u32)>>,
    evicted: Option<Vec<Evicted>>,
    events: Option<Vec<KvEvent>>,
}

impl Tree {
    pub fn new(blocks: u64, block_size: u32) -> Tree {
        Tree {
            block_size,
            blocks: Vec::new(),
            spare: Vec::new(),
            slots: Vec::new(),
            segments: BTreeMap::new(),
            parts: BTreeMap::new(),
            queue: FreeQueue::new(),
            blank: blocks,
            stamps: 0,
            epoch: 0,
            names: None,
            evicted: None,
            events: None,
        }
    }

    /// Free blocks without contents.
    pub fn blank(&self) -> u64 {
        self.blank
    }

    /// From now on keeps what is evicted. Before any slot is made.
    pub fn keep_evicted(&mut self) {
        self.names.get_or_insert_default();
        self.evicted = Some(Vec::new());
    }

    /// From now on keeps what becomes and ceases to be findable. Before any slot is made.
    pub fn keep_events(&mut self) {
        self.names.get_or_insert_default();
        self.events = Some(Vec::new());
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> std::vec::IntoIter<KvEvent> {
        self.events.as_mut().map(std::mem::take).unwrap_or_default().into_iter()
    }

    /// The block in a slot can be found, or no longer.
    fn tell(&mut self, stored: bool, slot: u32) {
        if let (Some(events), Some(names)) = (&mut self.events, &self.names) {
            let (segment, last) = names[slot as usize];
            events.push(KvEvent { stored, segment, from: last, to: last + 1 });
        }
    }

    /// Appends what was evicted since the last call.
    pub fn take_evicted(&mut self, evicted: &mut Vec<Evicted>) {
        if let Some(kept) = &mut self.evicted {
            evicted.append(kept);
        }
    }

    pub fn free(&self) -> u64 {
        self.blank + self.queue.blocks()
    }

    /// Takes free blocks, the longest free first; what they held is forgotten, with all that follows it.
    pub fn allocate(&mut self, count: u64) -> bool {
        if count > self.free() {
            return false;
        }
        let blanks = count.min(self.blank);
        self.blank -= blanks;
        let mut left = count - blanks;
        while left > 0 {
            let Some((taken, what, used_up)) = self.queue.take(left) else { return false };
            left -= u64::from(taken);
            if let (Some(kept), Some(names)) = (&mut self.evicted, &self.names) {
                let slot = if let Free::Named(id) = what { self.blocks[id as usize].contents.slot } else { None };
                kept.push(match slot.map(|slot| names[slot as usize]) {
                    Some((segment, last)) => Evicted::Tokens { segment, from: last, to: last + 1 },
                    None => Evicted::Unnamed(u64::from(taken) * u64::from(self.block_size)),
                });
            }
            match what {
                Free::Named(id) => {
                    self.remove(id);
                    self.recycle(id);
                }
                Free::Run { parent, parent_stamp } if used_up => self.drop_run(parent, parent_stamp),
                Free::Run { .. } => {}
            }
        }
        true
    }

    /// Takes back blocks whose contents nobody can use.
    pub fn free_blank(&mut self, count: u64) {
        self.blank += count;
        self.epoch += 1;
    }

    /// Takes back blocks that nobody will look up, which follow a block of the tree (`None`: none that is still there).
    pub fn free_run(&mut self, count: u32, follows: Option<(u32, u64)>) {
        if count == 0 {
            return;
        }
        self.epoch += 1;
        let (parent, stamp) = follows.unwrap_or((NONE, 0));
        self.queue.append_run(count, parent, stamp);
    }

    pub fn refs(&self, id: u32) -> u32 {
        self.blocks[id as usize].refs
    }

    pub fn in_tree(&self, id: u32) -> bool {
        self.blocks[id as usize].in_tree
    }

    pub fn stamp(&self, id: u32) -> u64 {
        self.blocks[id as usize].stamp
    }

    pub fn tokens(&self, id: u32) -> u32 {
        self.blocks[id as usize].contents.tokens
    }

    /// Nothing follows it.
    pub fn is_leaf(&self, id: u32) -> bool {
        let block = &self.blocks[id as usize];
        block.first_child == NONE && block.runs == 0
    }

    /// The block stored under this stamp, while it can be found.
    pub fn found(&self, id: u32, stamp: u64) -> bool {
        self.blocks.get(id as usize).is_some_and(|block| block.in_tree && block.stamp == stamp)
    }

    /// Holds a block that can be found.
    pub fn hold(&mut self, id: u32) {
        let block = &mut self.blocks[id as usize];
        block.refs += 1;
        if block.entry != NONE {
            self.queue.remove(block.entry);
            block.entry = NONE;
        }
    }

    /// Lets go of a held block.
    pub fn release(&mut self, id: u32) {
        let block = &mut self.blocks[id as usize];
        debug_assert!(block.refs > 0, "a block was released twice");
        block.refs -= 1;
        if block.refs > 0 {
            return;
        }
        self.epoch += 1;
        if block.in_tree {
            block.entry = self.queue.append(id);
        } else {
            self.queue.append_run(1, NONE, 0);
            self.recycle(id);
        }
    }

    /// Takes a free leaf for other contents: it is the caller's, and no block of the tree any more.
    pub fn take_leaf(&mut self, id: u32) {
        self.queue.remove(self.blocks[id as usize].entry);
        self.remove(id);
        self.recycle(id);
    }

    /// Stores a block, held once, after `parent`.
    pub fn store(&mut self, parent: u32, contents: Contents) -> u32 {
        let block = Block {
            refs: 1,
            entry: NONE,
            stamp: 0,
            in_tree: false,
            parent: ROOT,
            first_child: NONE,
            next: NONE,
            previous: NONE,
            runs: 0,
            contents,
        };
        let id = match self.spare.pop() {
            Some(id) => {
                self.blocks[id as usize] = block;
                id
            }
            None => {
                self.blocks.push(block);
                (self.blocks.len() - 1) as u32
            }
        };
        self.attach(id, parent);
        id
    }

    /// Puts a block that cannot be found (any more) into the tree after `parent`.
    pub fn attach(&mut self, id: u32, parent: u32) {
        self.epoch += 1;
        self.stamps += 1;
        let stamp = self.stamps;
        let sibling = if parent == ROOT { NONE } else { std::mem::replace(&mut self.blocks[parent as usize].first_child, id) };
        if sibling != NONE {
            self.blocks[sibling as usize].previous = id;
        }
        let block = &mut self.blocks[id as usize];
        block.stamp = stamp;
        block.in_tree = true;
        block.parent = parent;
        block.next = sibling;
        block.previous = NONE;
        if let Some(slot) = block.contents.slot {
            self.slots[slot as usize] = id;
        }
        for key in part_keys(&block.contents, stamp) {
            self.parts.insert(key, id);
        }
        if let Some(slot) = block.contents.slot {
            self.tell(true, slot);
        }
    }

    /// A run of blocks that nobody will look up follows this one.
    pub fn add_run(&mut self, id: u32) -> (u32, u64) {
        let block = &mut self.blocks[id as usize];
        block.runs += 1;
        (id, block.stamp)
    }

    /// The run is gone.
    pub fn drop_run(&mut self, parent: u32, stamp: u64) {
        if let Some(block) = self.blocks.get_mut(parent as usize)
            && block.stamp == stamp
        {
            block.runs -= 1;
        }
    }

    /// The block in a slot.
    pub fn in_slot(&self, slot: u32) -> Option<u32> {
        Some(self.slots[slot as usize]).filter(|&id| id != NONE)
    }

    /// The stored block with exactly these leading tokens, the last of them in `segment`, and no more.
    pub fn exactly(&self, segment: SegmentId, position: u32, tokens: u32) -> Option<u32> {
        let SegmentId(segment) = segment;
        self.parts.range((segment, position, tokens, false, 0)..(segment, position, tokens, true, 0)).next().map(|(_, &id)| id)
    }

    /// Among the blocks at `position` with tokens of `segment`, one with the longest common beginning, at most `limit` tokens: its
    /// length and the block. Of several, the one with the least beyond it, then the one stored first.
    pub fn longest(&self, segment: SegmentId, position: u32, slot: Option<u32>, limit: u32) -> Option<(u32, u32)> {
        let SegmentId(segment) = segment;
        let in_slot = slot.and_then(|slot| self.in_slot(slot));
        let all = (segment, position, 0, false, 0)..=(segment, position, u32::MAX, true, u64::MAX);
        let most = self.parts.range(all).next_back().map(|(key, _)| key.2);
        let best = most.max(in_slot.map(|_| self.block_size))?.min(limit);
        let tightest = self.parts.range((segment, position, best, false, 0)..=(segment, position, u32::MAX, true, u64::MAX)).next();
        tightest.map(|(_, &id)| id).or(in_slot).map(|id| (best, id))
    }

    /// Whether the full block at `position`, which ends in this segment, can be found.
    pub fn has(&self, segment: Segment, position: u64) -> bool {
        let SegmentId(id) = segment.id;
        let Some(slots) = self.segments.get(&id) else { return false };
        let offset = (position as u32).checked_sub(slots.first_position).filter(|&offset| offset < slots.count);
        offset.is_some_and(|offset| self.in_slot(slots.first_slot + offset).is_some())
    }

    /// The slot of the full block at `position`, which ends in this segment, which starts after `start` tokens.
    pub fn slot(&mut self, segment: Segment, start: u64, position: u64) -> Option<u32> {
        let SegmentSlots { first_slot, first_position, count } = self.segment_slots(segment, start);
        let offset = (position as u32).checked_sub(first_position).filter(|&offset| offset < count)?;
        Some(first_slot + offset)
    }

    fn segment_slots(&mut self, segment: Segment, start: u64) -> SegmentSlots {
        let SegmentId(id) = segment.id;
        if let Some(&known) = self.segments.get(&id) {
            return known;
        }
        let size = u64::from(self.block_size);
        let first_position = (start / size) as u32;
        let count = ((start + u64::from(segment.tokens)) / size) as u32 - first_position;
        let made = SegmentSlots { first_slot: self.slots.len() as u32, first_position, count };
        self.slots.resize(self.slots.len() + count as usize, NONE);
        if let Some(names) = &mut self.names {
            let last = |block: u64| ((u64::from(first_position) + block + 1) * size - 1 - start) as u32;
            names.extend((0..u64::from(count)).map(|block| (id, last(block))));
        }
        self.segments.insert(id, made);
        made
    }

    /// Takes a block and all that follow it out of the tree: none of them can be found any more.
    fn remove(&mut self, id: u32) {
        let Block { in_tree, parent, next, previous, .. } = self.blocks[id as usize];
        if !in_tree {
            return;
        }
        if previous != NONE {
            self.blocks[previous as usize].next = next;
        } else if parent != ROOT {
            self.blocks[parent as usize].first_child = next;
        }
        if next != NONE {
            self.blocks[next as usize].previous = previous;
        }
        let mut below = vec![id];
        while let Some(id) = below.pop() {
            let block = &mut self.blocks[id as usize];
            block.in_tree = false;
            let stamp = std::mem::take(&mut block.stamp);
            block.runs = 0;
            block.parent = ROOT;
            let mut child = std::mem::replace(&mut block.first_child, NONE);
            if let Some(slot) = block.contents.slot {
                self.slots[slot as usize] = NONE;
            }
            for key in part_keys(&block.contents, stamp) {
                self.parts.remove(&key);
            }
            if let Some(slot) = block.contents.slot {
                self.tell(false, slot);
            }
            while child != NONE {
                below.push(child);
                child = self.blocks[child as usize].next;
            }
        }
    }

    fn recycle(&mut self, id: u32) {
        self.spare.push(id);
    }
}

fn part_keys(contents: &Contents, stamp: u64) -> impl Iterator<Item = PartKey> + use<> {
    let (position, tokens, parts) = (contents.position, contents.tokens, contents.parts.clone());
    parts.into_iter().map(move |(SegmentId(segment), extent)| (segment, position, extent, extent < tokens, stamp))
}
