//! The block pool: vLLM's free queue with content hashes.
//!
//! A physical block matters only by what it holds, so blocks have no numbers here. Contents that another request may look up have a
//! *place*, a number of a block within a segment; all others are counted. The free queue is vLLM's: blocks without contents come first,
//! then cached ones in the order in which they were freed, and allocation takes from the front, forgetting what was there.
//!
//! Blocks side by side that fare alike are one *run*: a request frees its blocks last one first, and so they are taken again. A segment
//! of a thousand blocks costs as much as one of ten, and memory grows with the prompts that are remembered, not with their blocks.
//!
//! Two requests may compute the same contents. The pool of V1 keeps both blocks under one hash, which is for `copies`; that of 0.6 gives the
//! second back and lets its owner hold the first (`merges`).

mod copies;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::cache::Evicted;
use super::events::KvEvent;
use super::stride::Stride;
use crate::workload::Segment;

/// Stands for "no run", "no record" and "no segment".
const NONE: u32 = u32::MAX;

/// Neighbouring blocks of one segment in memory, held by as many requests each; or, without a record, cached blocks that nobody will look
/// up (from 0 on). Those that nobody holds are one entry of the free queue, of which the last block is taken first.
#[derive(Clone, Copy)]
struct Run {
    record: u32,
    from: u32,
    to: u32,
    refs: u32,
    /// Neighbours in the free queue.
    previous: u32,
    next: u32,
    /// The next run of the segment, further on.
    after: u32,
    /// 0 for blocks that a lookup finds; else these are further copies of such blocks, and among copies the earlier has the smaller number.
    copy: u32,
}

impl Run {
    fn blocks(&self) -> u32 {
        self.to - self.from
    }
}

/// What is known of a segment.
#[derive(Clone, Copy)]
struct Record {
    /// Its number; `NONE` for contents of one request only.
    segment: u32,
    /// Tokens before it, modulo the block size.
    phase: u32,
    /// Requests here whose prompts contain it.
    users: u32,
    /// Its first run.
    first: u32,
}

/// Part of a segment's blocks that are all in one run, or all absent (`NONE`).
#[derive(Clone, Copy)]
struct Piece {
    from: u32,
    to: u32,
    run: u32,
}

/// Pool of KV blocks with a prefix cache.
pub struct BlockPool {
    block: Stride,
    caching: bool,
    /// Blocks that an owner holds beside those of its tokens.
    beside: u64,
    total: u64,
    /// Free blocks without contents: taken first.
    blank: u64,
    /// Free blocks with contents.
    cached: u64,
    runs: Vec<Run>,
    spare_runs: Vec<u32>,
    /// Ends of the free queue.
    first: u32,
    last: u32,
    records: Vec<Record>,
    spare_records: Vec<u32>,
    /// By number: of all segments there are, a replica among many sees few.
    by_segment: FxHashMap<u32, u32>,
    pieces: Vec<Piece>,
    /// By record, as far as there ever were any: runs of further copies, by number and place.
    copies: Vec<VecDeque<u32>>,
    /// Runs in `copies`.
    copied: u32,
    /// The number given last.
    last_copy: u32,
    /// Contents are in one block only.
    merges: bool,
    /// Grows whenever more blocks may be free or found than before.
    epoch: u64,
    evicted: Option<Vec<Evicted>>,
    /// What has become findable and what no longer is, where somebody wants to know.
    pub(super) events: Option<Vec<KvEvent>>,
}

impl BlockPool {
    /// A pool of `total` blocks of `block_size` tokens (at least 1), all free. Without `caching` nothing is ever found again.
    pub fn new(total: u64, block_size: u32, caching: bool) -> BlockPool {
        BlockPool {
            block: Stride::new(block_size),
            caching,
            beside: 0,
            total,
            blank: total,
            cached: 0,
            runs: Vec::new(),
            spare_runs: Vec::new(),
            first: NONE,
            last: NONE,
            records: Vec::new(),
            spare_records: Vec::new(),
            by_segment: FxHashMap::default(),
            pieces: Vec::new(),
            copies: Vec::new(),
            copied: 0,
            last_copy: 0,
            merges: false,
            epoch: 0,
            evicted: None,
            events: None,
        }
    }

    /// From now on keeps what is evicted.
    pub fn keep_evicted(&mut self) {
        self.evicted = Some(Vec::new());
    }

    /// Appends what was evicted since the last call.
    pub fn take_evicted(&mut self, evicted: &mut Vec<Evicted>) {
        if let Some(kept) = &mut self.evicted {
            evicted.append(kept);
        }
    }

    pub fn block_size(&self) -> u32 {
        self.block.tokens()
    }

    /// Blocks that so many tokens fill.
    #[inline(always)]
    pub fn full_blocks(&self, tokens: u64) -> u64 {
        self.block.within(tokens)
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
    #[inline(always)]
    pub fn free(&self) -> u64 {
        self.blank + self.cached
    }

    /// Changes whenever an allocation that failed before might succeed now.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Every owner holds so many blocks more, from its first token on: states of constant size. Only without a prefix cache.
    pub fn hold_beside(&mut self, blocks: u64) {
        self.beside = if self.caching { 0 } else { blocks };
    }

    /// Blocks that an owner holds beside those of its tokens.
    pub fn beside(&self) -> u64 {
        self.beside
    }

    /// Blocks that an owner of `tokens` tokens holds, the last one perhaps partly full.
    #[inline(always)]
    pub fn blocks_for(&self, tokens: u64) -> u64 {
        if tokens == 0 { 0 } else { self.block.covering(tokens) + self.beside }
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
            let run = &mut self.runs[index as usize];
            let taken = left.min(u64::from(run.blocks())) as u32;
            run.to -= taken;
            left -= u64::from(taken);
            let run = *run;
            if self.copied > 0 {
                self.evict_copies(index, taken);
                continue;
            }
            self.tell_evicted(run.record, run.to, run.to + taken);
            if run.blocks() == 0 {
                self.unlink(index);
                self.drop_run(index);
            }
        }
        true
    }

    /// Blocks of a segment can be found, or no longer.
    fn tell(&mut self, stored: bool, record: u32, from: u32, to: u32) {
        let size = self.block_size();
        let Some(events) = &mut self.events else { return };
        let Some(&Record { segment, phase, .. }) = self.records.get(record as usize).filter(|record| record.segment != NONE) else {
            return;
        };
        let last = |block: u32| (block + 1) * size - 1 - phase;
        if from < to {
            events.push(KvEvent { stored, segment, from: last(from), to: last(to - 1) + 1 });
        }
    }

    /// Blocks of a segment have been evicted, last one first, and nobody finds them any more.
    fn tell_evicted(&mut self, record: u32, from: u32, to: u32) {
        self.tell(false, record, from, to);
        let Some(evicted) = &mut self.evicted else { return };
        let size = self.block.tokens();
        match self.records.get(record as usize) {
            Some(&Record { segment, phase, .. }) if segment != NONE => evicted.extend((from..to).rev().map(|block| {
                let last = (block + 1) * size - 1 - phase;
                Evicted::Tokens { segment, from: last, to: last + 1 }
            })),
            _ => evicted.extend((from..to).map(|_| Evicted::Unnamed(u64::from(size)))),
        }
    }

    /// Contents are in one block only, as in vLLM's pool before V1.
    pub fn merge(&mut self) {
        self.merges = true;
    }

    pub(super) fn merges(&self) -> bool {
        self.merges
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
        if self.last != NONE && self.runs[self.last as usize].record == NONE {
            let run = &mut self.runs[self.last as usize];
            if let Some(sum) = run.to.checked_add(count) {
                run.to = sum;
                return;
            }
        }
        let run = self.new_run(NONE, 0, count, 0);
        self.append(run);
    }

    /// The record of a segment that starts after `start` tokens, for one more request whose prompt contains it, and how many blocks end in
    /// it. None of which no block ends.
    pub(super) fn open(&mut self, segment: Segment, start: u64) -> Option<(u32, u32)> {
        let size = u64::from(self.block_size());
        let count = ((start + u64::from(segment.tokens)) / size - start / size) as u32;
        if count == 0 {
            return None;
        }
        let known = self.by_segment.get(&segment.id.0).copied();
        let record = known.unwrap_or_else(|| {
            let record = self.new_record(segment.id.0, (start % size) as u32);
            self.by_segment.insert(segment.id.0, record);
            record
        });
        self.records[record as usize].users += 1;
        Some((record, count))
    }

    /// A record for contents of one request only.
    pub(super) fn open_private(&mut self) -> u32 {
        let record = self.new_record(NONE, 0);
        self.records[record as usize].users = 1;
        record
    }

    /// A request has ended whose prompt contains it. What is in memory of it stays there.
    pub(super) fn close(&mut self, record: u32) {
        self.records[record as usize].users -= 1;
        self.forget_if_gone(record);
    }

    /// Leading blocks of the first `limit` of a segment that are in memory, and how many of them nobody holds, so that holding them uses
    /// up free blocks.
    pub(super) fn leading_blocks(&self, record: u32, limit: u32) -> (u32, u32) {
        let (mut found, mut free) = (0, 0);
        let mut index = self.records[record as usize].first;
        while index != NONE && found < limit {
            let run = &self.runs[index as usize];
            if run.from != found {
                break;
            }
            let blocks = run.to.min(limit) - found;
            found += blocks;
            free += if run.refs == 0 { blocks } else { 0 };
            index = run.after;
        }
        (found, free)
    }

    /// Leading tokens of a prompt with these segments in memory, in full blocks.
    pub(super) fn leading(&self, segments: &[Segment]) -> u64 {
        let mut blocks = 0;
        let (size, mut end) = (u64::from(self.block_size()), 0);
        for segment in segments {
            let before = end / size;
            end += u64::from(segment.tokens);
            let count = (end / size - before) as u32;
            if count == 0 {
                continue;
            }
            let Some(&record) = self.by_segment.get(&segment.id.0) else { break };
            let (found, _) = self.leading_blocks(record, count);
            blocks += u64::from(found);
            if found < count {
                break;
            }
        }
        blocks * size
    }

    /// Holds blocks that are in memory.
    pub(super) fn hold(&mut self, record: u32, from: u32, to: u32) {
        for at in 0..self.cut(record, from, to) {
            let Piece { run, .. } = self.pieces[at];
            debug_assert!(run != NONE, "a block was held that is not in memory");
            if self.runs[run as usize].refs == 0 {
                self.unlink(run);
                self.cached -= u64::from(self.runs[run as usize].blocks());
            }
            self.runs[run as usize].refs += 1;
        }
        self.join(record);
    }

    /// Holds those blocks that are in memory; how many.
    pub(super) fn hold_found(&mut self, record: u32, from: u32, to: u32) -> u64 {
        self.cut(record, from, to);
        let found: Vec<Piece> = self.pieces.iter().copied().filter(|piece| piece.run != NONE).collect();
        found.iter().for_each(|piece| self.hold(record, piece.from, piece.to));
        found.iter().map(|piece| u64::from(piece.to - piece.from)).sum()
    }

    /// Names blocks just allocated. Tells which of them are copies of what is in memory already, and their number.
    pub(super) fn name(&mut self, record: u32, from: u32, to: u32, mut double: impl FnMut(u32, u32, u32)) {
        for at in 0..self.cut(record, from, to) {
            let Piece { from, to, run } = self.pieces[at];
            if run == NONE {
                self.add_run(record, from, to, 1);
                self.tell(true, record, from, to);
                self.epoch += 1;
            } else if !self.merges {
                let copies = self.add_copies(record, from, to, 1);
                double(from, to, self.runs[copies as usize].copy);
            }
        }
        self.join(record);
    }

    /// Lets go of held blocks, last one first; the last holder appends each to the free queue.
    pub(super) fn release(&mut self, record: u32, from: u32, to: u32) {
        for at in (0..self.cut(record, from, to)).rev() {
            let Piece { run, .. } = self.pieces[at];
            if self.let_go(run) {
                self.append_free(run);
            }
        }
        self.join(record);
    }

    /// Lets go of held blocks, last one first, whose contents nobody will look up any more.
    pub(super) fn release_unnamed(&mut self, record: u32, from: u32, to: u32) {
        if self.copied > 0 {
            // Other copies may be found where these were.
            return self.release(record, from, to);
        }
        for at in (0..self.cut(record, from, to)).rev() {
            let Piece { run, from, to } = self.pieces[at];
            if self.let_go(run) {
                self.tell(false, record, from, to);
                self.drop_run(run);
                self.free_unnamed(to - from);
            }
        }
        self.join(record);
    }

    /// Appends blocks that were held without a name to the free queue, last one first, under a name.
    pub(super) fn append_named(&mut self, record: u32, from: u32, to: u32) {
        for at in (0..self.cut(record, from, to)).rev() {
            let Piece { from, to, run } = self.pieces[at];
            let run = if run == NONE {
                self.tell(true, record, from, to);
                self.add_run(record, from, to, 0)
            } else if self.merges {
                self.free_blank(u64::from(to - from));
                continue;
            } else {
                self.add_copies(record, from, to, 0)
            };
            self.append_free(run);
        }
        self.join(record);
    }

    /// A run that nobody holds any more.
    fn append_free(&mut self, run: u32) {
        self.epoch += 1;
        self.cached += u64::from(self.runs[run as usize].blocks());
        self.append(run);
    }

    /// One holder fewer; whether it was the last.
    fn let_go(&mut self, run: u32) -> bool {
        let refs = &mut self.runs[run as usize].refs;
        debug_assert!(*refs > 0, "a block was released twice");
        *refs = refs.saturating_sub(1);
        *refs == 0
    }

    /// Splits `from..to` of a segment into pieces, and runs so that none reaches beyond. How many pieces there are now.
    fn cut(&mut self, record: u32, from: u32, to: u32) -> usize {
        self.pieces.clear();
        let mut place = from;
        let mut index = self.records[record as usize].first;
        while index != NONE && place < to {
            let run = self.runs[index as usize];
            if run.to > place {
                if run.from >= to {
                    break;
                }
                if run.from < place {
                    index = self.split(index, place);
                    continue;
                }
                if run.from > place {
                    self.pieces.push(Piece { from: place, to: run.from, run: NONE });
                }
                if run.to > to {
                    self.split(index, to);
                }
                place = run.to.min(to);
                self.pieces.push(Piece { from: run.from, to: place, run: index });
            }
            index = self.runs[index as usize].after;
        }
        if place < to {
            self.pieces.push(Piece { from: place, to, run: NONE });
        }
        self.pieces.len()
    }

    /// Splits a run in two; the second part.
    fn split(&mut self, index: u32, at: u32) -> u32 {
        let run = self.runs[index as usize];
        let second = self.new_run(run.record, at, run.to, run.refs);
        self.runs[second as usize].after = run.after;
        let first = &mut self.runs[index as usize];
        first.to = at;
        first.after = second;
        if run.refs == 0 {
            // The last blocks are taken first.
            self.insert_before(index, second);
        }
        second
    }

    /// Makes neighbouring runs of a segment that fare alike one, which changes nothing else.
    fn join(&mut self, record: u32) {
        let mut index = self.records[record as usize].first;
        while index != NONE {
            let run = self.runs[index as usize];
            if run.after == NONE {
                return;
            }
            let later = self.runs[run.after as usize];
            let in_turn = run.refs > 0 || later.next == index;
            if run.to == later.from && run.refs == later.refs && in_turn {
                if later.refs == 0 {
                    self.unlink(run.after);
                }
                self.spare_runs.push(run.after);
                let joined = &mut self.runs[index as usize];
                joined.to = later.to;
                joined.after = later.after;
            } else {
                index = run.after;
            }
        }
    }

    fn new_run(&mut self, record: u32, from: u32, to: u32, refs: u32) -> u32 {
        let run = Run { record, from, to, refs, previous: NONE, next: NONE, after: NONE, copy: 0 };
        put(&mut self.runs, &mut self.spare_runs, run)
    }

    /// A new run at its place among those of the segment, of which none overlaps it.
    fn add_run(&mut self, record: u32, from: u32, to: u32, refs: u32) -> u32 {
        let added = self.new_run(record, from, to, refs);
        self.insert_run(added);
        added
    }

    fn insert_run(&mut self, added: u32) {
        let Run { record, from, .. } = self.runs[added as usize];
        let mut before = NONE;
        let mut index = self.records[record as usize].first;
        while index != NONE && self.runs[index as usize].from < from {
            (before, index) = (index, self.runs[index as usize].after);
        }
        self.runs[added as usize].after = index;
        if before == NONE {
            self.records[record as usize].first = added;
        } else {
            self.runs[before as usize].after = added;
        }
    }

    /// Forgets a run that is in no queue.
    fn drop_run(&mut self, dropped: u32) {
        let Run { record, after, .. } = self.runs[dropped as usize];
        self.spare_runs.push(dropped);
        if record == NONE {
            return;
        }
        let first = self.records[record as usize].first;
        if first == dropped {
            self.records[record as usize].first = after;
            return self.forget_if_gone(record);
        }
        let mut before = first;
        while self.runs[before as usize].after != dropped {
            before = self.runs[before as usize].after;
        }
        self.runs[before as usize].after = after;
    }

    fn new_record(&mut self, segment: u32, phase: u32) -> u32 {
        put(&mut self.records, &mut self.spare_records, Record { segment, phase, users: 0, first: NONE })
    }

    /// Forgets a segment of which nothing is in memory, unless a request here may still make it.
    fn forget_if_gone(&mut self, record: u32) {
        let Record { segment, users, first, .. } = self.records[record as usize];
        if users == 0 && first == NONE {
            self.spare_records.push(record);
            if segment != NONE {
                self.by_segment.remove(&segment);
            }
        }
    }

    fn append(&mut self, index: u32) {
        self.link(self.last, index);
        self.link(index, NONE);
    }

    fn insert_before(&mut self, index: u32, added: u32) {
        self.link(self.runs[index as usize].previous, added);
        self.link(added, index);
    }

    fn unlink(&mut self, index: u32) {
        let Run { previous, next, .. } = self.runs[index as usize];
        self.link(previous, next);
    }

    /// Makes one run follow another; `NONE` is what lies before the first and after the last.
    fn link(&mut self, before: u32, after: u32) {
        match before {
            NONE => self.first = after,
            before => self.runs[before as usize].next = after,
        }
        match after {
            NONE => self.last = before,
            after => self.runs[after as usize].previous = before,
        }
    }

    /// The blocks of the free queue with contents, in order: the segment and the token behind the block's last where anybody can look it up,
    /// and whether it is the block that is found.
    #[cfg(test)]
    pub(super) fn queue(&self) -> Vec<Option<(u32, u32, bool)>> {
        let (mut blocks, mut index) = (Vec::new(), self.first);
        while index != NONE {
            let run = self.runs[index as usize];
            let record = self.records.get(run.record as usize).filter(|record| record.segment != NONE);
            let end = |block: u32| record.map(|record| (record.segment, (block + 1) * self.block_size() - record.phase, run.copy == 0));
            blocks.extend((run.from..run.to).rev().map(end));
            index = run.next;
        }
        blocks
    }

    /// Runs of further copies.
    #[cfg(test)]
    pub(super) fn copied(&self) -> u32 {
        self.copied
    }

    /// Runs and records in use.
    #[cfg(test)]
    pub(super) fn entries(&self) -> (usize, usize) {
        (self.runs.len() - self.spare_runs.len(), self.records.len() - self.spare_records.len())
    }
}

/// Puts a thing where one has gone, or at the end. Where.
fn put<T>(all: &mut Vec<T>, spare: &mut Vec<u32>, thing: T) -> u32 {
    match spare.pop() {
        Some(index) => {
            all[index as usize] = thing;
            index
        }
        None => {
            all.push(thing);
            (all.len() - 1) as u32
        }
    }
}
