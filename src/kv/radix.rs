//! SGLang's prefix cache: a radix tree of token ranges (`mem_cache/radix_cache.py` of 0.5.23).
//!
//! A node holds a run of tokens, whole pages of them. What a prompt has in common with the tree is found from the root on, and a node
//! that matches in part is split there. Requests lock the path to where they stand; what nobody locks can be evicted, whole nodes at
//! a time, leaves first, in the order of an [`Eviction`] policy. A context is inserted when its results are read (a piece of one
//! when the next batch is formed), a reply when its request ends; what the tree had already is freed then. A retracted request's
//! own memory is freed without being inserted.
//!
//! Contents are told apart by segment and offset, never by token: since a segment stands for everything before it too, the last
//! token of a node's first page names the node. Text that occurs nowhere else is one run, whatever its length.
//!
//! Hits, by which lfu and slru go, are counted as 0.5.23 does: one for each request that inserts a node, when it first does. Earlier versions count
//! pieces of prompts differently, and some nothing at all.

mod tree;

use super::cache::{Evicted, Hit, KvCache};
use super::events::KvEvent;
use crate::workload::Request;
pub use tree::Eviction;
use tree::{PRIVATE, Piece, ROOT, Tree};

/// What one owner holds: a locked path in the tree, and pages of its own for the tokens after it.
#[derive(Debug, Default)]
struct Holding {
    /// Its tokens, prompt and reply.
    key: Vec<Piece>,
    /// Where its locked path ends, and how many tokens that is.
    node: u32,
    locked: u64,
    /// What the last lookup found.
    found: u32,
    /// Of its request.
    priority: i32,
    /// Leading tokens that it has put into the tree since it was admitted.
    inserted: u64,
    /// Context computed and to be inserted when its results are read; 0 is none.
    unread: u64,
}

/// KV memory with SGLang's radix tree.
pub struct RadixCache {
    page: u32,
    caching: bool,
    total: u64,
    /// Pages without contents.
    blank: u64,
    tree: Tree,
    holdings: Vec<Holding>,
    serial: u64,
    /// Owners whose context is to be inserted when its results are read.
    unread: u32,
    epoch: u64,
}

impl RadixCache {
    /// `pages` pages of `page` tokens (at least 1), all free. Without `caching` nothing is ever found again.
    pub fn new(pages: u64, page: u32, caching: bool) -> RadixCache {
        let page = page.max(1);
        RadixCache {
            page,
            caching,
            total: pages,
            blank: pages,
            tree: Tree::new(page, Eviction::Lru),
            holdings: Vec::new(),
            serial: 0,
            unread: 0,
            epoch: 0,
        }
    }

    /// With another policy than LRU: a cache that holds nothing yet.
    #[must_use]
    pub fn evicting(self, order: Eviction) -> RadixCache {
        RadixCache { tree: Tree::new(self.page, order), ..self }
    }

    fn size(&self) -> u64 {
        u64::from(self.page)
    }

    /// Puts an owner's first `tokens` tokens, rounded down to pages, into the tree and moves its lock there. Pages that the tree had
    /// already are freed.
    fn insert(&mut self, holding: &mut Holding, tokens: u64, keep_locked: bool) {
        let size = self.size();
        let tokens = tokens / size * size;
        let (node, there) = self.tree.insert(&holding.key, tokens, holding.inserted, holding.priority);
        holding.inserted = holding.inserted.max(tokens);
        let double = there.max(holding.locked).min(tokens) - holding.locked;
        self.blank += double / size;
        if keep_locked {
            self.tree.touch(node);
            self.tree.lock(node);
        }
        self.tree.unlock(holding.node);
        holding.node = if keep_locked { node } else { ROOT };
        holding.locked = if keep_locked { tokens } else { 0 };
        self.epoch += 1;
    }

    /// A prompt is worth more than the reply behind it, where that counts.
    fn prefer_prompt(&mut self, holding: &Holding, prompt: u32, computed: u64) {
        let size = self.size();
        let prompt = u64::from(prompt) / size * size;
        if self.tree.order() == Eviction::Priority && prompt > 0 && prompt < computed / size * size {
            self.tree.insert(&holding.key, prompt, prompt, holding.priority.saturating_add(1));
        }
    }

    /// Evicts at least the missing pages, and `least` in all if any is missing.
    fn make_room(&mut self, count: u64, least: u64) {
        if self.blank < count {
            self.blank += self.tree.evict(least.max(count - self.blank));
        }
    }

    /// Takes the context that an owner has yet to insert; 0 is none.
    fn forget(&mut self, holding: &mut Holding) -> u64 {
        self.unread -= u32::from(holding.unread > 0);
        std::mem::take(&mut holding.unread)
    }

    /// Does something with an owner's holding and the rest of the cache at once.
    fn with<T>(&mut self, owner: u32, work: impl FnOnce(&mut RadixCache, &mut Holding) -> T) -> T {
        let mut holding = std::mem::take(&mut self.holdings[owner as usize]);
        let result = work(self, &mut holding);
        self.holdings[owner as usize] = holding;
        result
    }
}

/// What of a prompt others may share.
fn key_of(request: &Request) -> Vec<Piece> {
    request.segments.iter().map(|segment| Piece { content: u64::from(segment.id.0), from: 0, tokens: segment.tokens }).collect()
}

impl KvCache for RadixCache {
    fn block_size(&self) -> u32 {
        self.page
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn free(&self) -> u64 {
        self.blank + self.tree.evictable()
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn allocate(&mut self, count: u64) -> bool {
        if count > self.free() {
            return false;
        }
        // SGLang evicts as much as a decode step takes, here what it lacks: less by at most a step's pages, and the same
        // however many steps are taken at once.
        self.make_room(count, 0);
        self.blank -= count;
        true
    }

    fn open(&mut self, owner: u32, request: &Request) {
        let owner = owner as usize;
        if self.holdings.len() <= owner {
            self.holdings.resize_with(owner + 1, Holding::default);
        }
        let holding = &mut self.holdings[owner];
        holding.key.clear();
        (holding.priority, holding.inserted) = (request.priority, 0);
        (holding.node, holding.locked, holding.found, holding.unread) = (ROOT, 0, ROOT, 0);
        if !self.caching {
            return;
        }
        holding.key.extend(key_of(request));
        let shared: u64 = request.segments.iter().map(|segment| u64::from(segment.tokens)).sum();
        match request.output_segment {
            Some(id) if shared == u64::from(request.input_tokens) => {
                holding.key.push(Piece { content: u64::from(id.0), from: 0, tokens: request.output_tokens });
            }
            _ => {
                self.serial += 1;
                holding.key.push(Piece { content: PRIVATE + self.serial, from: 0, tokens: u32::MAX });
            }
        }
    }

    fn lookup(&mut self, owner: u32, limit: u64) -> Hit {
        if !self.caching {
            return Hit::default();
        }
        self.with(owner, |cache, holding| {
            let limit = limit / cache.size() * cache.size();
            let (node, tokens) = cache.tree.visit(&holding.key, limit);
            holding.found = node;
            Hit { tokens, free_blocks: cache.tree.unlocked_pages(node) }
        })
    }

    fn path(&self, owner: u32) -> Vec<u64> {
        self.tree.path(self.holdings[owner as usize].found)
    }

    fn acquire(&mut self, owner: u32, tokens: u64) {
        self.with(owner, |cache, holding| {
            if tokens > 0 {
                cache.tree.lock(holding.found);
                holding.node = holding.found;
                holding.locked = tokens;
            }
        });
    }

    fn prepare(&mut self, count: u64) {
        self.make_room(count, count);
    }

    fn grow(&mut self, _owner: u32, from: u64, to: u64) -> bool {
        self.allocate(self.blocks_for(to) - self.blocks_for(from))
    }

    fn hears_of_steps(&self) -> bool {
        true
    }

    fn computed(&mut self, owner: u32, tokens: u64, completes: bool) {
        if !self.caching {
            return;
        }
        self.with(owner, |cache, holding| {
            if completes {
                holding.unread = tokens;
                cache.unread += 1;
            } else {
                cache.insert(holding, tokens, true);
            }
        });
    }

    fn read(&mut self, owner: u32) {
        self.with(owner, |cache, holding| {
            let tokens = cache.forget(holding);
            if tokens > 0 {
                cache.insert(holding, tokens, true);
            }
        });
    }

    fn awaits_reading(&self) -> bool {
        self.unread > 0
    }

    fn end(&mut self, owner: u32, computed: u64, request: &Request) {
        self.with(owner, |cache, holding| {
            let owned = cache.blocks_for(computed) - holding.locked / cache.size();
            cache.forget(holding);
            if !cache.caching || computed == 0 {
                cache.blank += owned;
                cache.tree.unlock(holding.node);
            } else {
                cache.blank += cache.blocks_for(computed) - computed / cache.size();
                cache.insert(holding, computed, false);
                cache.prefer_prompt(holding, request.input_tokens, computed);
            }
            (holding.node, holding.locked) = (ROOT, 0);
            cache.epoch += 1;
        });
    }

    fn loaded(&mut self, owner: u32, tokens: u64) {
        self.with(owner, |cache, holding| cache.insert(holding, tokens, true));
    }

    fn granule(&self) -> u64 {
        if self.caching { self.size() } else { 0 }
    }

    fn blank(&self) -> u64 {
        self.blank
    }

    fn held(&self, request: &Request) -> u64 {
        if self.caching { self.tree.leading(&key_of(request)) } else { 0 }
    }

    fn keep_events(&mut self) {
        self.tree.events = Some(Vec::new());
    }

    fn take_events(&mut self) -> std::vec::IntoIter<KvEvent> {
        self.tree.events.as_mut().map(std::mem::take).unwrap_or_default().into_iter()
    }

    fn keep_evicted(&mut self) {
        self.tree.evicted = Some(Vec::new());
    }

    fn take_evicted(&mut self, evicted: &mut Vec<Evicted>) {
        let pieces = self.tree.evicted.iter_mut().flat_map(|pieces| pieces.drain(..));
        evicted.extend(pieces.map(|piece| match piece.content {
            segment if segment < PRIVATE => Evicted::Tokens { segment: segment as u32, from: piece.from, to: piece.from + piece.tokens },
            _ => Evicted::Unnamed(u64::from(piece.tokens)),
        }));
    }

    fn preempt(&mut self, owner: u32, computed: u64, _request: &Request) {
        self.with(owner, |cache, holding| {
            cache.blank += cache.blocks_for(computed) - holding.locked / cache.size();
            cache.tree.unlock(holding.node);
            cache.forget(holding);
            (holding.node, holding.locked, holding.inserted) = (ROOT, 0, 0);
            cache.epoch += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Time;
    use crate::workload::{Segment, SegmentId};

    /// Two requests of one priority, each a page of prompt and a page of reply: under `priority` both replies go before the prompts, since
    /// those count one more; under lru all of the first goes before the second.
    #[test]
    fn prompts_are_worth_more_than_replies() {
        let order = |eviction| {
            let mut cache = RadixCache::new(4, 16, true).evicting(eviction);
            cache.keep_evicted();
            for owner in 0..2 {
                let request = Request {
                    segments: [Segment { id: SegmentId(2 * owner), tokens: 16 }].into_iter().collect(),
                    output_segment: Some(SegmentId(2 * owner + 1)),
                    ..Request::new(owner, Time::ZERO, 16, 17)
                };
                cache.open(owner, &request);
                assert_eq!(cache.lookup(owner, 15).tokens, 0);
                cache.acquire(owner, 0);
                assert!(cache.grow(owner, 0, 16));
                cache.computed(owner, 16, true);
                cache.read(owner);
                assert!(cache.grow(owner, 16, 32));
                cache.end(owner, 32, &request);
            }
            let mut evicted = Vec::new();
            for _ in 0..4 {
                assert!(cache.allocate(1));
            }
            cache.take_evicted(&mut evicted);
            let segment = |what: &Evicted| if let Evicted::Tokens { segment, .. } = what { *segment } else { u32::MAX };
            evicted.iter().map(segment).collect::<Vec<u32>>()
        };
        assert_eq!(order(Eviction::Lru), [1, 0, 3, 2]);
        assert_eq!(order(Eviction::Priority), [1, 3, 0, 2]);
    }
}
