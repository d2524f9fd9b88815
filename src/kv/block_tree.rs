//! TensorRT-LLM's block reuse: a tree of blocks, found by the tokens in them and before them.
//!
//! The rules (kvCacheManager.cpp): of a prompt only the tokens before its last one are looked up, block by block; where no block
//! matches in full, the one with the longest common beginning is used in part: taken over when it is a free leaf, else copied into a
//! new block. Full blocks of a prompt can be found once its context is computed, all blocks of a request, its last partly filled
//! one included, once it has ended. Free blocks are taken in the order in which they were freed, the last block of a request
//! first, so that leaves go before what they follow; a block evicted before those that follow it takes them out of the tree.
//!
//! Contents are told apart by segment, not by token, and what belongs to one request alone is counted in runs: nothing is kept for
//! each token. Left out: retention priorities (all alike, as by default).

mod tree;

use super::cache::{Evicted, Hit, KvCache};
use super::events::KvEvent;
use crate::workload::{Request, Segment};
use tree::{Contents, ROOT, Tree};

use super::free_queue::NONE;

/// How a block tree differs between TensorRT-LLM's two managers, and what its options switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// `enable_block_reuse`.
    pub blocks: bool,
    /// `enable_partial_reuse`.
    pub partial: bool,
    /// `copy_on_partial_reuse`: else only free leaves serve in part.
    pub copy: bool,
    /// V1: the blocks of a whole prompt are taken with its first piece, and found when all of it is computed. V2: piece by piece.
    pub whole_context: bool,
}

impl Default for Reuse {
    fn default() -> Reuse {
        Reuse { blocks: true, partial: true, copy: true, whole_context: true }
    }
}

/// A segment in a prompt.
#[derive(Clone, Copy, Debug)]
struct Span {
    segment: Segment,
    start: u64,
}

impl Span {
    fn end(&self) -> u64 {
        self.start + u64::from(self.segment.tokens)
    }
}

/// What one owner holds. How many blocks follows from its computed tokens; only what can be found is kept here.
#[derive(Debug, Default)]
struct Holding {
    spans: Vec<Span>,
    /// Tokens to compute before the next one can be sampled.
    context: u64,
    /// The blocks of the whole context are taken.
    taken: bool,
    /// For each leading block, the block of the tree it is, or `NONE` for one that equals a block stored by another.
    path: Vec<u32>,
    /// After a pause: the blocks that held it, and their stamps.
    before: Vec<(u32, u64)>,
    /// The block of the tree that its other blocks follow.
    tail: Option<(u32, u64)>,
    /// Tokens it was admitted for.
    reserved: u64,
    reply_known: bool,
}

impl Holding {
    /// Tokens that others may share.
    fn shared(&self) -> u64 {
        self.spans.last().map_or(0, Span::end)
    }

    /// Nothing of it can be found or is shared: all its blocks are a number.
    fn is_private(&self) -> bool {
        self.spans.is_empty() && self.before.is_empty() && self.path.is_empty() && self.tail.is_none()
    }

    /// The span that holds the token before `end`.
    fn span_before(&self, end: u64) -> Option<&Span> {
        let next = self.spans.partition_point(|span| span.end() < end);
        self.spans.get(next).filter(|span| span.start < end)
    }
}

/// KV memory with TensorRT-LLM's block reuse.
pub struct BlockTree {
    block_size: u32,
    reuse: Reuse,
    total: u64,
    tree: Tree,
    holdings: Vec<Holding>,
    /// Sum over owners of blocks held, a shared block once for each.
    held: u64,
    /// Sum over owners of the blocks they were admitted for.
    reserved: u64,
}

impl BlockTree {
    /// `blocks` blocks of `block_size` tokens (at least 1), all free.
    pub fn new(blocks: u64, block_size: u32, reuse: Reuse) -> BlockTree {
        let block_size = block_size.max(1);
        BlockTree { block_size, reuse, total: blocks, tree: Tree::new(blocks, block_size), holdings: Vec::new(), held: 0, reserved: 0 }
    }

    fn size(&self) -> u64 {
        u64::from(self.block_size)
    }

    /// Blocks of an owner with `computed` tokens.
    fn owned(&self, holding: &Holding, computed: u64) -> u64 {
        self.blocks_for(if holding.taken { computed.max(holding.context) } else { computed })
    }

    /// The tree's block with these contents: full, at `position` of the owner's prompt.
    fn full(&mut self, holding: &Holding, position: u64) -> Option<u32> {
        let end = (position + 1) * self.size();
        match holding.span_before(end) {
            Some(span) => self.tree.slot(span.segment, span.start, position).and_then(|slot| self.tree.in_slot(slot)),
            None => {
                let &(id, stamp) = holding.before.get(position as usize)?;
                (self.tree.found(id, stamp) && self.tree.tokens(id) == self.block_size).then_some(id)
            }
        }
    }

    /// The tree's block with the longest common beginning, at most `limit` tokens, at `position` of the owner's prompt.
    fn part(&mut self, holding: &Holding, position: u64, limit: u32) -> Option<(u32, u32)> {
        let start = position * self.size();
        if let Some(&(id, stamp)) = holding.before.get(position as usize)
            && self.tree.found(id, stamp)
            && start + u64::from(self.tree.tokens(id)) > holding.shared()
        {
            // It ends in what nobody else has.
            return Some((self.tree.tokens(id).min(limit), id));
        }
        let in_block = holding.spans.iter().rev().filter(|span| span.start < start + u64::from(limit));
        for span in in_block {
            let end = span.end().min(start + u64::from(limit));
            if end <= start {
                break;
            }
            let slot = self.tree.slot(span.segment, span.start, position);
            let found = self.tree.longest(span.segment.id, position as u32, slot, (end - start) as u32);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// What the tree holds of an owner's first `limit` tokens: full blocks, how many of them are free, and a block that serves in part.
    fn find(&mut self, holding: &Holding, limit: u64, mut each: impl FnMut(&mut Tree, u32)) -> (u64, u64, Option<(u32, u32)>) {
        let (mut blocks, mut free) = (0, 0);
        if !self.reuse.blocks {
            return (0, 0, None);
        }
        while (blocks + 1) * self.size() <= limit {
            let Some(id) = self.full(holding, blocks) else { break };
            free += u64::from(self.tree.refs(id) == 0);
            each(&mut self.tree, id);
            blocks += 1;
        }
        let left = (limit - blocks * self.size()).min(self.size()) as u32;
        let part = if self.reuse.partial && left > 0 { self.part(holding, blocks, left) } else { None };
        let part = part.filter(|&(_, id)| self.reuse.copy || (self.tree.refs(id) == 0 && self.tree.is_leaf(id)));
        (blocks, free, part)
    }

    /// Makes the blocks of an owner's first `tokens` tokens findable: the full ones, with `last` a partly filled one too, with
    /// `private` also those that only the owner itself can ask for.
    fn store(&mut self, holding: &mut Holding, tokens: u64, last: bool, private: bool) {
        let size = self.size();
        let blocks = if last { tokens.div_ceil(size) } else { tokens / size };
        let named = if private { blocks } else { blocks.min(holding.shared().div_ceil(size)) };
        let mut parent = ROOT;
        for position in 0..named {
            let held = holding.path.get(position as usize).copied().unwrap_or(NONE);
            if held != NONE && self.tree.in_tree(held) {
                parent = held;
                continue;
            }
            let in_block = (tokens - position * size).min(size) as u32;
            let contents = self.contents(holding, position, in_block);
            let there = match contents.slot {
                Some(slot) => self.tree.in_slot(slot),
                None if in_block < self.block_size => contents
                    .parts
                    .last()
                    .filter(|(_, extent)| *extent == in_block)
                    .and_then(|&(segment, _)| self.tree.exactly(segment, position as u32, in_block)),
                None => None,
            };
            let id = match there {
                Some(equal) => {
                    parent = equal;
                    NONE
                }
                None if held != NONE => {
                    self.tree.attach(held, parent);
                    parent = held;
                    held
                }
                None => {
                    parent = self.tree.store(parent, contents);
                    parent
                }
            };
            match holding.path.get_mut(position as usize) {
                // A block that another holder keeps under its own name stays what it is here.
                Some(_) if held != NONE => {}
                Some(place) => *place = id,
                None => holding.path.push(id),
            }
        }
        let follows = holding.tail.filter(|&(id, stamp)| self.tree.found(id, stamp));
        if blocks > named && parent != ROOT && follows.is_none() {
            holding.tail = Some(self.tree.add_run(parent));
        }
    }

    fn contents(&mut self, holding: &Holding, position: u64, tokens: u32) -> Contents {
        let start = position * self.size();
        let end = start + u64::from(tokens);
        let first = holding.spans.partition_point(|span| span.end() <= start);
        let spans = holding.spans.iter().skip(first).take_while(|span| span.start < end);
        let mut parts: Vec<_> = spans.clone().map(|span| (span.segment.id, (span.end().min(end) - start) as u32)).collect();
        let mut slot = None;
        if tokens == self.block_size
            && let Some(span) = spans.last().filter(|span| span.end() >= end)
        {
            slot = self.tree.slot(span.segment, span.start, position);
            parts.pop();
        }
        Contents { position: position as u32, tokens, slot, parts }
    }

    /// The reply's contents, once, when a later turn will contain them.
    fn name_reply(holding: &mut Holding, request: &Request) {
        if let Some(id) = request.output_segment
            && !std::mem::replace(&mut holding.reply_known, true)
        {
            let segment = Segment { id, tokens: request.output_tokens };
            holding.spans.push(Span { segment, start: u64::from(request.input_tokens) });
        }
    }

    /// Lets go of all blocks, the last one first.
    fn release(&mut self, holding: &mut Holding, owned: u64) {
        self.held -= owned;
        if !self.reuse.blocks {
            self.tree.free_blank(owned);
            return;
        }
        let rest = owned - holding.path.len() as u64;
        match holding.tail.take() {
            Some(follows) if rest > 0 => self.tree.free_run(rest as u32, Some(follows)),
            Some((parent, stamp)) => self.tree.drop_run(parent, stamp),
            None => self.tree.free_run(rest as u32, None),
        }
        for id in std::mem::take(&mut holding.path).into_iter().rev() {
            if id == NONE { self.tree.free_run(1, None) } else { self.tree.release(id) }
        }
    }

    fn unreserve(&mut self, holding: &mut Holding) {
        self.reserved -= self.blocks_for(std::mem::take(&mut holding.reserved));
    }

    /// Does something with an owner's holding and the rest of the cache at once.
    fn with<T>(&mut self, owner: u32, work: impl FnOnce(&mut BlockTree, &mut Holding) -> T) -> T {
        let mut holding = std::mem::take(&mut self.holdings[owner as usize]);
        let result = work(self, &mut holding);
        self.holdings[owner as usize] = holding;
        result
    }
}

impl KvCache for BlockTree {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn free(&self) -> u64 {
        self.tree.free()
    }

    fn epoch(&self) -> u64 {
        self.tree.epoch
    }

    fn allocate(&mut self, count: u64) -> bool {
        let there = self.tree.allocate(count);
        self.held += if there { count } else { 0 };
        there
    }

    fn open(&mut self, owner: u32, request: &Request) {
        let owner = owner as usize;
        if self.holdings.len() <= owner {
            self.holdings.resize_with(owner + 1, Holding::default);
        }
        let mut start = 0;
        let spans = request.segments.iter().filter(|_| self.reuse.blocks).map(|&segment| {
            let span = Span { segment, start };
            start = span.end();
            span
        });
        let holding = &mut self.holdings[owner];
        debug_assert!(holding.is_private() && !holding.taken, "an owner that has not ended was opened again");
        holding.spans.extend(spans);
        holding.context = u64::from(request.input_tokens);
    }

    fn lookup(&mut self, owner: u32, limit: u64) -> Hit {
        if self.holdings[owner as usize].is_private() {
            return Hit::default();
        }
        self.with(owner, |cache, holding| {
            let (blocks, free, part) = cache.find(holding, limit, |_, _| {});
            let tokens = blocks * cache.size() + part.map_or(0, |(tokens, _)| u64::from(tokens));
            Hit { tokens, free_blocks: free + u64::from(part.is_some()) }
        })
    }

    fn acquire(&mut self, owner: u32, tokens: u64) {
        if tokens == 0 {
            return;
        }
        self.with(owner, |cache, holding| {
            let mut path = Vec::new();
            let (_, _, part) = cache.find(holding, tokens, |tree, id| {
                tree.hold(id);
                path.push(id);
            });
            holding.path = path;
            cache.held += cache.blocks_for(tokens);
            if !tokens.is_multiple_of(cache.size())
                && let Some((_, id)) = part
            {
                if cache.tree.refs(id) == 0 && cache.tree.is_leaf(id) {
                    cache.tree.take_leaf(id);
                } else {
                    let there = cache.tree.allocate(1);
                    debug_assert!(there, "a partly matching block was acquired with no block to copy it to");
                }
            }
        });
    }

    fn grow(&mut self, owner: u32, from: u64, to: u64) -> bool {
        let holding = &self.holdings[owner as usize];
        let before = self.owned(holding, from);
        let whole = self.reuse.whole_context && !holding.taken;
        let after = if whole { self.blocks_for(to.max(holding.context)) } else { self.owned(holding, to) };
        if !self.tree.allocate(after - before) {
            return false;
        }
        self.held += after - before;
        self.holdings[owner as usize].taken |= whole;
        true
    }

    fn end(&mut self, owner: u32, computed: u64, request: &Request) {
        let holding = &self.holdings[owner as usize];
        if holding.is_private() && request.output_segment.is_none() {
            let owned = self.owned(holding, computed);
            self.held -= owned;
            self.reserved -= self.blocks_for(holding.reserved);
            if self.reuse.blocks {
                self.tree.free_run(owned as u32, None)
            } else {
                self.tree.free_blank(owned)
            }
            let holding = &mut self.holdings[owner as usize];
            (holding.taken, holding.reserved, holding.reply_known) = (false, 0, false);
            return;
        }
        self.with(owner, |cache, holding| {
            let owned = cache.owned(holding, computed);
            if cache.reuse.blocks {
                Self::name_reply(holding, request);
                cache.store(holding, computed, true, false);
            }
            cache.release(holding, owned);
            cache.unreserve(holding);
            *holding = Holding::default();
        });
    }

    fn preempt(&mut self, owner: u32, computed: u64, request: &Request) {
        self.with(owner, |cache, holding| {
            let owned = cache.owned(holding, computed);
            if cache.reuse.blocks {
                Self::name_reply(holding, request);
                cache.store(holding, computed, true, true);
                let stamped = |&id: &u32| if id == NONE { (NONE, 0) } else { (id, cache.tree.stamp(id)) };
                holding.before = holding.path.iter().map(stamped).collect();
            }
            cache.release(holding, owned);
            cache.unreserve(holding);
            holding.taken = false;
            holding.context = holding.context.max(computed + 1);
        });
    }

    fn reserve(&mut self, owner: u32, tokens: u64) {
        self.reserved += self.blocks_for(tokens);
        self.holdings[owner as usize].reserved = tokens;
    }

    fn promised(&self) -> u64 {
        self.reserved.saturating_sub(self.held)
    }

    fn first_new_block(&mut self, owner: u32) -> Option<u64> {
        if self.holdings[owner as usize].is_private() {
            return None;
        }
        self.with(owner, |cache, holding| {
            let (blocks, _, _) = cache.find(holding, holding.context / cache.size() * cache.size(), |_, _| {});
            let end = (blocks + 1) * cache.size();
            if end > holding.context {
                return None;
            }
            let span = holding.span_before(end)?;
            cache.tree.slot(span.segment, span.start, blocks).map(u64::from)
        })
    }

    fn loaded(&mut self, owner: u32, tokens: u64) {
        self.with(owner, |cache, holding| cache.store(holding, tokens, false, false));
    }

    fn granule(&self) -> u64 {
        match (self.reuse.blocks, self.reuse.partial) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.size(),
        }
    }

    fn blank(&self) -> u64 {
        self.tree.blank()
    }

    fn held(&self, request: &Request) -> u64 {
        let (mut found, mut start) = (0, 0);
        for &segment in &request.segments {
            let end = start + u64::from(segment.tokens);
            while (found + 1) * self.size() <= end {
                if !self.tree.has(segment, found) {
                    return found * self.size();
                }
                found += 1;
            }
            start = end;
        }
        found * self.size()
    }

    fn keep_events(&mut self) {
        self.tree.keep_events();
    }

    fn take_events(&mut self) -> std::vec::IntoIter<KvEvent> {
        self.tree.take_events()
    }

    fn keep_evicted(&mut self) {
        self.tree.keep_evicted();
    }

    fn take_evicted(&mut self, evicted: &mut Vec<Evicted>) {
        self.tree.take_evicted(evicted);
    }

    fn hears_of_steps(&self) -> bool {
        true
    }

    fn computed(&mut self, owner: u32, tokens: u64, completes: bool) {
        if !self.reuse.blocks || (self.reuse.whole_context && !completes) || self.holdings[owner as usize].is_private() {
            return;
        }
        // The last token of a context is left out, as in a lookup.
        let tokens = if completes { tokens - 1 } else { tokens };
        self.with(owner, |cache, holding| cache.store(holding, tokens, false, false));
    }
}
