//! vLLM's prefix cache: full blocks are found by the hash of everything up to their end, and evicted in the order in which
//! they were freed.

use super::cache::{Evicted, Hit, KvCache};
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
        if self.pool.wants_sweep() {
            self.pool.sweep(self.holdings.iter().map(Holding::chain));
        }
        self.holdings[owner] = Holding::new(&mut self.pool, request);
    }

    fn lookup(&mut self, owner: u32, limit: u64) -> Hit {
        let size = u64::from(self.pool.block_size());
        let (blocks, free_blocks) = self.holdings[owner as usize].lookup(&self.pool, limit / size);
        Hit { tokens: blocks * size, free_blocks }
    }

    fn held(&self, request: &Request) -> Option<u64> {
        Some(self.pool.leading(&request.segments))
    }

    fn acquire(&mut self, owner: u32, tokens: u64) {
        let blocks = tokens / u64::from(self.pool.block_size());
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

    fn granule(&self) -> u64 {
        if self.pool.caching() { u64::from(self.pool.block_size()) } else { 0 }
    }

    fn blank(&self) -> u64 {
        self.pool.blank()
    }

    fn keep_evicted(&mut self) {
        self.pool.keep_evicted();
    }

    fn take_evicted(&mut self, evicted: &mut Vec<Evicted>) {
        self.pool.take_evicted(evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};
    use crate::units::Time;
    use crate::workload::{Segment, SegmentId};

    /// A conversation's turn: all its earlier segments, and a reply that the next turn contains.
    fn turn(id: u32, segments: &[Segment], reply: SegmentId, output_tokens: u32) -> Request {
        let input_tokens = segments.iter().map(|segment| segment.tokens).sum();
        Request {
            id,
            profile: 0,
            session: None,
            turn: 0,
            sent: Time::ZERO,
            arrival: Time::ZERO,
            input_tokens,
            output_tokens,
            max_tokens: output_tokens,
            ignore_eos: true,
            hangs_up: Time::NEVER,
            samples: 1,
            priority: 0,
            segments: segments.into(),
            output_segment: Some(reply),
        }
    }

    /// Sweeping the slots at every turn changes no answer, and keeps their number to a few pools.
    #[test]
    fn sweeping_changes_nothing_but_memory() {
        let (mut swept, mut plain) = (HashChain::new(200, 16, true), HashChain::new(200, 16, true));
        plain.pool.never_sweep();
        let mut stream = Stream::new(4, Purpose::Routing, 0);
        let mut conversations: Vec<Vec<Segment>> = Vec::new();
        let mut under_way: Vec<Option<(Request, u64, usize)>> = vec![None, None, None];
        let mut next = 0;
        let mut name = || {
            next += 1;
            SegmentId(next - 1)
        };
        for id in 0..4000 {
            swept.pool.sweep_next_time();
            let owner = (id % 3) as usize;
            if let Some((request, computed, at)) = under_way[owner].take() {
                for cache in [&mut swept, &mut plain] {
                    cache.end(owner as u32, computed, &request);
                }
                conversations[at].push(Segment { id: request.output_segment.unwrap(), tokens: request.output_tokens });
            }
            let at = stream.below(6) as usize;
            if under_way.iter().flatten().any(|(_, _, other)| *other == at) {
                continue;
            }
            if at >= conversations.len() || conversations[at].iter().map(|segment| segment.tokens).sum::<u32>() > 600 {
                conversations.resize_with(conversations.len().max(at + 1), Vec::new);
                conversations[at].clear();
            }
            conversations[at].push(Segment { id: name(), tokens: 1 + stream.below(100) as u32 });
            let request = turn(id, &conversations[at], name(), 1 + stream.below(60) as u32);
            let mut answers = [Default::default(); 2];
            let end = u64::from(request.input_tokens + request.output_tokens);
            for (cache, answer) in [&mut swept, &mut plain].into_iter().zip(&mut answers) {
                let held = cache.held(&request);
                cache.open(owner as u32, &request);
                let hit = cache.lookup(owner as u32, u64::from(request.input_tokens) - 1);
                cache.acquire(owner as u32, hit.tokens);
                let grown = cache.grow(owner as u32, hit.tokens, end);
                *answer = (held, hit.tokens, hit.free_blocks, grown, cache.free());
                if !grown {
                    cache.end(owner as u32, hit.tokens, &request);
                }
            }
            assert_eq!(answers[0], answers[1], "turn {id}");
            if answers[0].3 {
                under_way[owner] = Some((request, end, at));
            } else {
                conversations[at].push(Segment { id: request.output_segment.unwrap(), tokens: request.output_tokens });
            }
        }
        assert!(swept.pool.slots() < 2000, "{} slots", swept.pool.slots());
        assert!(plain.pool.slots() > 10_000, "{} slots", plain.pool.slots());
    }
}
