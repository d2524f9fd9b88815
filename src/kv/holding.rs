//! What one request holds in the pool.

use super::pool::BlockPool;
use crate::workload::{Request, Segment};

/// Leading blocks of a request that end in one segment, or that are its own.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Of the segment, in the pool.
    record: u32,
    /// Blocks of the request before them, and with them.
    start: u32,
    end: u32,
}

/// The blocks of one request, from the first token on. How many it owns follows from its computed tokens
/// (`blocks_for(computed)`) and is not kept here; only the names of blocks that can be found again are.
#[derive(Default, Debug)]
pub struct Holding {
    /// The leading full blocks, as far as they can have names, in order.
    chain: Vec<Span>,
    /// How many blocks of `chain` belong to segments; the rest are private to this request, made when it was preempted.
    shared: u32,
    /// Leading blocks that it holds under their names. Some are copies of contents that were in memory when it computed them: `from..to`
    /// and the copy's number, in order.
    named: u32,
    doubles: Vec<(u32, u32, u32)>,
    /// The reply's blocks are in `chain`.
    reply_chained: bool,
}

impl Holding {
    /// As of a request that has just arrived and shares nothing.
    pub fn is_blank(&self) -> bool {
        self.chain.is_empty() && self.named == 0 && self.doubles.is_empty() && !self.reply_chained
    }

    /// For a request that has just arrived.
    pub fn new(pool: &mut BlockPool, request: &Request) -> Holding {
        let mut holding = Holding::default();
        if pool.caching() {
            holding.chain.reserve_exact(request.segments.len());
            let mut start = 0;
            for segment in &request.segments {
                holding.chain_segment(pool, *segment, start);
                start += u64::from(segment.tokens);
            }
        }
        holding
    }

    fn chain_segment(&mut self, pool: &mut BlockPool, segment: Segment, start: u64) {
        if let Some((record, blocks)) = pool.open(segment, start) {
            self.chain.push(Span { record, start: self.shared, end: self.shared + blocks });
            self.shared += blocks;
        }
    }

    /// Blocks that can have names.
    fn chained(&self) -> u32 {
        self.chain.last().map_or(0, |span| span.end)
    }

    /// Leading blocks in memory, at most `limit`, and how many of them nobody holds.
    pub fn lookup(&self, pool: &BlockPool, limit: u64) -> (u64, u64) {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let (mut found, mut free) = (0, 0);
        for span in self.chain.iter().take_while(|span| span.start < limit) {
            let most = span.end.min(limit) - span.start;
            let (here, free_here) = pool.leading_blocks(span.record, most);
            found += u64::from(here);
            free += u64::from(free_here);
            if here < most {
                break;
            }
        }
        (found, free)
    }

    /// Holds the first `count` blocks, which a lookup has just found.
    pub fn acquire(&mut self, pool: &mut BlockPool, count: u64) {
        let count = count as u32;
        for span in self.chain.iter().take_while(|span| span.start < count) {
            pool.hold(span.record, 0, span.end.min(count) - span.start);
        }
        self.named += count;
    }

    /// Takes the blocks that growing from `from` to `to` computed tokens needs, and names those that are now full.
    /// False, and nothing taken, when there are too few.
    pub fn grow(&mut self, pool: &mut BlockPool, from: u64, to: u64) -> bool {
        let count = pool.blocks_for(to) - pool.blocks_for(from);
        if pool.merges() {
            return self.grow_merging(pool, count, to);
        }
        if !pool.allocate(count) {
            return false;
        }
        if !self.chain.is_empty() {
            self.name(pool, to);
        }
        true
    }

    /// The same in a pool that has contents in one block only: of what is in memory nothing is taken.
    fn grow_merging(&mut self, pool: &mut BlockPool, count: u64, to: u64) -> bool {
        if count > pool.free() {
            return false;
        }
        let full = u32::try_from(pool.full_blocks(to)).unwrap_or(u32::MAX).min(self.chained());
        let mut found = 0;
        for span in self.chain.iter().filter(|span| span.end > self.named && span.start < full) {
            found += pool.hold_found(span.record, self.named.max(span.start) - span.start, full.min(span.end) - span.start);
        }
        // A block that it has filled since may be among them.
        pool.free_blank(found.saturating_sub(count));
        let there = pool.allocate(count.saturating_sub(found));
        self.name(pool, to);
        there
    }

    /// Names the blocks that are full with `to` computed tokens.
    fn name(&mut self, pool: &mut BlockPool, to: u64) {
        let full = u32::try_from(pool.full_blocks(to)).unwrap_or(u32::MAX).min(self.chained());
        if full > self.named {
            let first = self.chain.partition_point(|span| span.end <= self.named);
            for span in self.chain[first..].iter().take_while(|span| span.start < full) {
                let doubles = &mut self.doubles;
                pool.name(span.record, self.named.max(span.start) - span.start, full.min(span.end) - span.start, |from, to, copy| {
                    doubles.push((span.start + from, span.start + to, copy));
                });
            }
            self.named = full;
        }
    }

    /// The request has ended with `computed` tokens in memory: frees everything, last block first. With an output segment,
    /// the next turn can find the reply's blocks too.
    pub fn end(&mut self, pool: &mut BlockPool, computed: u64, request: &Request) {
        if self.is_blank() && request.output_segment.is_none() {
            let owned = pool.blocks_for(computed);
            let full = if pool.caching() { pool.full_blocks(computed) } else { 0 };
            pool.free_blank(owned - full);
            pool.free_unnamed(full as u32);
            return;
        }
        self.chain_reply(pool, request);
        self.free_blocks(pool, computed, self.shared);
        for span in &self.chain {
            pool.close(span.record);
        }
        *self = Holding::default();
    }

    /// The request is preempted with `computed` tokens in memory: frees everything, last block first, under names, so that
    /// it can find again what is not overwritten.
    pub fn preempt(&mut self, pool: &mut BlockPool, computed: u64, request: &Request) {
        if pool.caching() {
            self.chain_reply(pool, request);
            let full = u32::try_from(pool.full_blocks(computed)).unwrap_or(u32::MAX);
            if full > self.chained() {
                match self.chain.last_mut() {
                    Some(own) if own.start == self.shared => own.end = full,
                    _ => self.chain.push(Span { record: pool.open_private(), start: self.shared, end: full }),
                }
            }
        }
        self.free_blocks(pool, computed, self.chained());
        self.named = 0;
        self.doubles.clear();
    }

    /// Adds the blocks of the reply, once, when a later turn will contain it.
    fn chain_reply(&mut self, pool: &mut BlockPool, request: &Request) {
        if let (Some(id), true) = (request.output_segment, pool.caching())
            && !self.reply_chained
        {
            debug_assert_eq!(self.chained(), self.shared, "a request with a reply segment has no private blocks");
            self.chain_segment(pool, Segment { id, tokens: request.output_tokens }, u64::from(request.input_tokens));
            self.reply_chained = true;
        }
    }

    /// Frees `blocks_for(computed)` blocks, last first. Full blocks keep their names up to position `keep`.
    fn free_blocks(&mut self, pool: &mut BlockPool, computed: u64, keep: u32) {
        let owned = pool.blocks_for(computed);
        if !pool.caching() {
            pool.free_blank(owned);
            return;
        }
        let full = pool.full_blocks(computed);
        pool.free_blank(owned - full);
        let chained = u64::from(self.chained()).min(full);
        pool.free_unnamed((full - chained) as u32);
        let mut end = chained as u32;
        for span in self.chain.iter().rev() {
            while end > span.start {
                let last = end - 1;
                // As far back as all fare like the last one.
                let mut start = span.start;
                let mut edge = |at: u32| start = if at < end { start.max(at) } else { start };
                edge(keep);
                edge(self.named);
                self.doubles.iter().for_each(|&(from, to, _)| {
                    edge(from);
                    edge(to);
                });
                let double = self.doubles.iter().find(|&&(from, to, _)| from <= last && last < to);
                let (from, to) = (start - span.start, end - span.start);
                match double {
                    Some(&(_, _, copy)) => pool.release_copies(span.record, from, to, copy),
                    None if last < self.named && last < keep => pool.release(span.record, from, to),
                    None if last < self.named => pool.release_unnamed(span.record, from, to),
                    None if last < keep => pool.append_named(span.record, from, to),
                    None => pool.free_unnamed(to - from),
                }
                end = start;
            }
        }
    }
}
