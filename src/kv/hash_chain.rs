//! vLLM's prefix cache: full blocks are found by the hash of everything up to their end, and evicted in the order in which
//! they were freed. Of equal contents V1 keeps every block that somebody computed, and finds the oldest; 0.6 keeps one.

use super::cache::{Evicted, Hit, KvCache};
use super::events::KvEvent;
use super::holding::Holding;
use super::pool::BlockPool;
use crate::workload::Request;

/// A block pool and what each owner holds of it.
pub struct HashChain {
    pool: BlockPool,
    holdings: Vec<Holding>,
}

impl HashChain {
    /// `blocks` blocks of `block_size` tokens (at least 1), all free. Without `caching` nothing is ever found again.
    pub fn new(blocks: u64, block_size: u32, caching: bool) -> HashChain {
        HashChain { pool: BlockPool::new(blocks, block_size, caching), holdings: Vec::new() }
    }

    /// Every request holds `blocks` blocks more for a state of constant size, as vLLM's hybrid models do. Without a prefix cache only.
    #[must_use]
    pub fn with_states(mut self, blocks: u64) -> HashChain {
        self.pool.hold_beside(blocks);
        self
    }

    /// Keeps contents in one block only, as vLLM did before V1.
    #[must_use]
    pub fn merging(mut self) -> HashChain {
        self.pool.merge();
        self
    }
}

impl KvCache for HashChain {
    fn block_size(&self) -> u32 {
        self.pool.block_size()
    }

    fn total(&self) -> u64 {
        self.pool.total()
    }

    fn free(&self) -> u64 {
        self.pool.free()
    }

    fn epoch(&self) -> u64 {
        self.pool.epoch()
    }

    fn allocate(&mut self, count: u64) -> bool {
        self.pool.allocate(count)
    }

    fn open(&mut self, owner: u32, request: &Request) {
        let owner = owner as usize;
        if self.holdings.len() <= owner {
            self.holdings.resize_with(owner + 1, Holding::default);
        }
        if !(request.segments.is_empty() && self.holdings[owner].is_blank()) {
            self.holdings[owner] = Holding::new(&mut self.pool, request);
        }
    }

    fn lookup(&mut self, owner: u32, limit: u64) -> Hit {
        let holding = &self.holdings[owner as usize];
        if holding.is_blank() {
            return Hit::default();
        }
        let (blocks, free_blocks) = holding.lookup(&self.pool, self.pool.full_blocks(limit));
        Hit { tokens: blocks * u64::from(self.pool.block_size()), free_blocks }
    }

    fn held(&self, request: &Request) -> u64 {
        self.pool.leading(&request.segments)
    }

    fn acquire(&mut self, owner: u32, tokens: u64) {
        let blocks = self.pool.full_blocks(tokens);
        self.holdings[owner as usize].acquire(&mut self.pool, blocks);
    }

    fn grow(&mut self, owner: u32, from: u64, to: u64) -> bool {
        self.holdings[owner as usize].grow(&mut self.pool, from, to)
    }

    fn end(&mut self, owner: u32, computed: u64, request: &Request) {
        self.holdings[owner as usize].end(&mut self.pool, computed, request);
    }

    fn preempt(&mut self, owner: u32, computed: u64, request: &Request) {
        self.holdings[owner as usize].preempt(&mut self.pool, computed, request);
    }

    fn blocks_for(&self, tokens: u64) -> u64 {
        self.pool.blocks_for(tokens)
    }

    fn beside(&self) -> u64 {
        self.pool.beside()
    }

    fn granule(&self) -> u64 {
        if self.pool.caching() { u64::from(self.pool.block_size()) } else { 0 }
    }

    fn blank(&self) -> u64 {
        self.pool.blank()
    }

    fn keep_events(&mut self) {
        self.pool.events = Some(Vec::new());
    }

    fn take_events(&mut self) -> std::vec::IntoIter<KvEvent> {
        self.pool.events.as_mut().map(std::mem::take).unwrap_or_default().into_iter()
    }

    fn keep_evicted(&mut self) {
        self.pool.keep_evicted();
    }

    fn take_evicted(&mut self, evicted: &mut Vec<Evicted>) {
        self.pool.take_evicted(evicted);
    }
}

#[cfg(test)]
mod tests;
