//! What one request holds in the pool.

use super::pool::BlockPool;
use crate::workload::{Request, Segment};

/// The blocks of one request, from the first token on. How many it owns follows from its computed tokens
/// (`blocks_for(computed)`) and is not kept here; only the names of blocks that can be found again are.
#[derive(Default, Debug)]
pub struct Holding {
    /// Slots of the leading full blocks, as far as they can have names.
    chain: Vec<u32>,
    /// How many of `chain` belong to segments; the rest are private to this request, made when it was preempted.
    shared: usize,
    /// For each leading block held, whether it is held under its slot in `chain` (or is a double of contents held elsewhere).
    named: Vec<bool>,
    /// The reply's slots are in `chain`.
    reply_chained: bool,
}

impl Holding {
    /// For a request that has just arrived: finds the slots of its segments.
    pub fn new(pool: &mut BlockPool, request: &Request) -> Holding {
        let mut chain = Vec::new();
        if pool.caching() {
            let mut start = 0;
            for segment in &request.segments {
                pool.chain_segment(*segment, start, &mut chain);
                start += u64::from(segment.tokens);
            }
        }
        Holding { shared: chain.len(), chain, named: Vec::new(), reply_chained: false }
    }

    /// The slots that it may name.
    pub fn chain(&self) -> &[u32] {
        &self.chain
    }

    /// Leading blocks in memory, at most `limit`, and how many of them nobody holds.
    pub fn lookup(&self, pool: &BlockPool, limit: u64) -> (u64, u64) {
        let mut found = 0;
        let mut free = 0;
        for &slot in self.chain.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            if !pool.present(slot) {
                break;
            }
            found += 1;
            free += u64::from(pool.present_and_free(slot));
        }
        (found, free)
    }

    /// Holds the first `count` blocks, which a lookup has just found.
    pub fn acquire(&mut self, pool: &mut BlockPool, count: u64) {
        for &slot in &self.chain[..count as usize] {
            pool.hold(slot);
            self.named.push(true);
        }
    }

    /// Takes the blocks that growing from `from` to `to` computed tokens needs, and names those that are now full.
    /// False, and nothing taken, when there are too few.
    pub fn grow(&mut self, pool: &mut BlockPool, from: u64, to: u64) -> bool {
        if !pool.allocate(pool.blocks_for(to) - pool.blocks_for(from)) {
            return false;
        }
        let full = (to / u64::from(pool.block_size())) as usize;
        for position in self.named.len()..full.min(self.chain.len()) {
            let named = pool.name(self.chain[position]);
            self.named.push(named);
        }
        true
    }

    /// The request has ended with `computed` tokens in memory: frees everything, last block first. With an output segment,
    /// the next turn can find the reply's blocks too.
    pub fn end(&mut self, pool: &mut BlockPool, computed: u64, request: &Request) {
        self.chain_reply(pool, request);
        self.free_blocks(pool, computed, self.shared);
        for &slot in &self.chain[self.shared..] {
            pool.abandon(slot);
        }
        *self = Holding::default();
    }

    /// The request is preempted with `computed` tokens in memory: frees everything, last block first, under names, so that
    /// it can find again what is not overwritten.
    pub fn preempt(&mut self, pool: &mut BlockPool, computed: u64, request: &Request) {
        if pool.caching() {
            self.chain_reply(pool, request);
            let full = (computed / u64::from(pool.block_size())) as usize;
            while self.chain.len() < full {
                self.chain.push(pool.private_slot());
            }
        }
        self.free_blocks(pool, computed, self.chain.len());
        self.named.clear();
    }

    /// Adds the slots of the reply, once, when a later turn will contain it.
    fn chain_reply(&mut self, pool: &mut BlockPool, request: &Request) {
        if let (Some(id), true) = (request.output_segment, pool.caching())
            && !self.reply_chained
        {
            debug_assert_eq!(self.chain.len(), self.shared, "a request with a reply segment has no private slots");
            pool.chain_segment(Segment { id, tokens: request.output_tokens }, u64::from(request.input_tokens), &mut self.chain);
            self.shared = self.chain.len();
            self.reply_chained = true;
        }
    }

    /// Frees `blocks_for(computed)` blocks, last first. Full blocks keep their names up to position `keep`.
    fn free_blocks(&mut self, pool: &mut BlockPool, computed: u64, keep: usize) {
        let owned = pool.blocks_for(computed);
        if !pool.caching() {
            pool.free_blank(owned);
            return;
        }
        let full = computed / u64::from(pool.block_size());
        pool.free_blank(owned - full);
        let chained = self.chain.len().min(full as usize);
        pool.free_unnamed((full as usize - chained) as u32);
        for position in (0..chained).rev() {
            let slot = self.chain[position];
            let unnamed = match (self.named.get(position), position < keep) {
                (Some(true), true) => {
                    pool.release(slot);
                    false
                }
                (Some(true), false) => pool.release_unnamed(slot),
                (Some(false), _) | (None, false) => true,
                (None, true) => !pool.append_if_absent(slot),
            };
            pool.free_unnamed(u32::from(unnamed));
        }
    }
}
