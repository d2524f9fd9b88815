//! The cache by runs against a pool of numbered blocks, as vLLM has it.

use crate::kv::KvView;
use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::rng::{Purpose, Stream};
use crate::units::Time;
use crate::workload::{Segment, SegmentId};

const SIZE: u64 = 16;

/// The hash of a full block: whether others can have it, the segment that it ends in or else the request, and which block of the prompt
/// and reply it is.
type Hash = (bool, u32, u64);

/// A request's blocks, one by one.
#[derive(Default)]
struct Owner {
    id: u32,
    /// Of what others can have as well.
    hashes: Vec<Hash>,
    /// Its blocks in order: the block table.
    table: Vec<usize>,
    /// Those of it that have been given their hashes.
    hashed: usize,
}

/// vLLM's block pool: blocks with numbers, the free ones in a list, and for each hash the blocks that have it, oldest first.
struct Plain {
    /// By block.
    hash: Vec<Option<Hash>>,
    refs: Vec<u32>,
    free: VecDeque<usize>,
    by_hash: BTreeMap<Hash, Vec<usize>>,
    owners: Vec<Owner>,
    /// As before V1: a block whose contents are in memory gives way when it is full.
    merges: bool,
    /// Hashes that no block has any more, in order of eviction; `None` where nobody else can have it.
    evicted: Vec<Option<Hash>>,
}

fn hashes(request: &Request) -> Vec<Hash> {
    let reply = request.output_segment.map(|id| Segment { id, tokens: request.output_tokens });
    let mut end = 0;
    let mut hashes = Vec::new();
    for segment in request.segments.iter().copied().chain(reply) {
        let first = end / SIZE;
        end += u64::from(segment.tokens);
        hashes.extend((first..end / SIZE).map(|block| (true, segment.id.0, block)));
    }
    hashes
}

impl Plain {
    fn new(blocks: u64, owners: usize, merges: bool) -> Plain {
        let mut all = Vec::new();
        all.resize_with(owners, Owner::default);
        let blocks = blocks as usize;
        Plain {
            hash: vec![None; blocks],
            refs: vec![0; blocks],
            free: (0..blocks).collect(),
            by_hash: BTreeMap::new(),
            owners: all,
            merges,
            evicted: Vec::new(),
        }
    }

    fn blank(&self) -> u64 {
        self.free.iter().filter(|&&block| self.hash[block].is_none()).count() as u64
    }

    /// The block that a lookup finds.
    fn found(&self, hash: &Hash) -> Option<usize> {
        self.by_hash.get(hash).and_then(|blocks| blocks.first()).copied()
    }

    /// Of leading blocks with these hashes.
    fn leading(&self, hashes: &[Hash]) -> u64 {
        hashes.iter().take_while(|hash| self.found(hash).is_some()).count() as u64 * SIZE
    }

    fn take(&mut self, owner: usize) {
        let block = self.free.pop_front().unwrap();
        if let Some(hash) = self.hash[block].take() {
            let blocks = self.by_hash.get_mut(&hash).unwrap();
            blocks.retain(|&other| other != block);
            if blocks.is_empty() {
                self.by_hash.remove(&hash);
                self.evicted.push(Some(hash).filter(|hash| hash.0));
            }
        }
        self.refs[block] = 1;
        self.owners[owner].table.push(block);
    }

    fn touch(&mut self, block: usize) {
        if self.refs[block] == 0 {
            self.free.retain(|&other| other != block);
        }
        self.refs[block] += 1;
    }

    fn release(&mut self, block: usize) {
        self.refs[block] -= 1;
        if self.refs[block] == 0 {
            // Blocks without a hash are used next.
            match self.hash[block] {
                None => self.free.push_front(block),
                Some(_) => self.free.push_back(block),
            }
        }
    }

    fn open(&mut self, owner: usize, request: &Request) {
        self.owners[owner] = Owner { id: request.id, hashes: hashes(request), ..Owner::default() };
    }

    fn hash_of(&self, owner: usize, block: usize) -> Hash {
        let Owner { id, hashes, .. } = &self.owners[owner];
        hashes.get(block).copied().unwrap_or((false, *id, block as u64))
    }

    fn lookup(&self, owner: usize, limit: u64) -> (u64, u64) {
        let found = (0..(limit / SIZE) as usize).map_while(|at| self.found(&self.hash_of(owner, at)));
        found.fold((0, 0), |(found, free), block| (found + SIZE, free + u64::from(self.refs[block] == 0)))
    }

    fn acquire(&mut self, owner: usize, tokens: u64) {
        for at in 0..(tokens / SIZE) as usize {
            let block = self.found(&self.hash_of(owner, at)).unwrap();
            self.touch(block);
            self.owners[owner].table.push(block);
        }
        self.owners[owner].hashed = (tokens / SIZE) as usize;
    }

    /// Blocks for `to` computed tokens; those that are full are found from now on.
    fn grow(&mut self, owner: usize, to: u64) -> bool {
        let (blocks, full) = (to.div_ceil(SIZE) as usize, (to / SIZE) as usize);
        if blocks - self.owners[owner].table.len() > self.free.len() {
            return false;
        }
        if self.merges {
            for at in self.owners[owner].hashed..full {
                let Some(found) = self.found(&self.hash_of(owner, at)) else { break };
                self.touch(found);
                match self.owners[owner].table.get(at).copied() {
                    Some(block) => {
                        self.release(block);
                        self.owners[owner].table[at] = found;
                    }
                    None => self.owners[owner].table.push(found),
                }
                self.owners[owner].hashed += 1;
            }
        }
        while self.owners[owner].table.len() < blocks {
            self.take(owner);
        }
        for at in self.owners[owner].hashed..full {
            let (hash, block) = (self.hash_of(owner, at), self.owners[owner].table[at]);
            self.hash[block] = Some(hash);
            self.by_hash.entry(hash).or_default().push(block);
        }
        self.owners[owner].hashed = full;
        true
    }

    fn preempt(&mut self, owner: usize) {
        self.owners[owner].hashed = 0;
        for block in std::mem::take(&mut self.owners[owner].table).into_iter().rev() {
            self.release(block);
        }
    }

    /// The free queue behind the blank blocks: what others can have, and whether it is what a lookup finds.
    fn queue(&self) -> Vec<Option<(Hash, bool)>> {
        let cached = self.free.iter().filter_map(|&block| Some((block, self.hash[block]?)));
        cached.map(|(block, hash)| hash.0.then_some((hash, self.found(&hash) == Some(block)))).collect()
    }
}

/// A conversation's turn: all its earlier segments, and a reply that the next turn contains.
fn turn(id: u32, segments: &[Segment], private: u32, reply: Option<SegmentId>, output_tokens: u32) -> Request {
    Request {
        segments: segments.into(),
        output_segment: reply,
        ..Request::new(id, Time::ZERO, segments.iter().map(|segment| segment.tokens).sum::<u32>() + private, output_tokens)
    }
}

/// The hash of the block that ends with a segment's token before `to`.
fn hash_at(starts: &BTreeMap<u32, u64>, segment: u32, to: u32) -> Hash {
    (true, segment, (starts[&segment] + u64::from(to)) / SIZE - 1)
}

/// What a run of evictions was, block by block.
fn by_block(evicted: &[Evicted], starts: &BTreeMap<u32, u64>) -> Vec<Option<Hash>> {
    let mut blocks = Vec::new();
    for what in evicted {
        match *what {
            Evicted::Unnamed(tokens) => blocks.extend((0..tokens / SIZE).map(|_| None)),
            Evicted::Tokens { segment, to, .. } => blocks.push(Some(hash_at(starts, segment, to))),
        }
    }
    blocks
}

/// One under way in both caches.
struct UnderWay {
    request: Request,
    conversation: Option<usize>,
    computed: u64,
    /// Tokens known when it was opened or preempted: computed again as a prompt.
    known: u64,
}

/// The most further copies there were at once.
fn run(seed: u64, blocks: u64, turns: u32, merges: bool) -> u32 {
    const OWNERS: usize = 8;
    let mut stream = Stream::new(seed, Purpose::Routing, 0);
    let cache = HashChain::new(blocks, SIZE as u32, true);
    let mut cache = if merges { cache.merging() } else { cache };
    cache.keep_evicted();
    cache.keep_events();
    let mut view = KvView::default();
    let mut plain = Plain::new(blocks, OWNERS, merges);
    let shared = [Segment { id: SegmentId(0), tokens: 75 }, Segment { id: SegmentId(1), tokens: 128 }];
    let mut conversations: Vec<Vec<Segment>> = Vec::new();
    let mut starts = BTreeMap::new();
    let mut under_way: Vec<Option<UnderWay>> = Vec::new();
    under_way.resize_with(OWNERS, || None);
    let mut next_segment = 2;
    let (mut most, mut copies) = ((0, 0), 0);
    for id in 0..turns {
        let owner = stream.below(OWNERS as u64) as usize;
        match &mut under_way[owner] {
            None => {
                let conversation = stream.below(12) as usize;
                let same = Some(conversation);
                let busy = under_way.iter().flatten().any(|other| other.conversation == same);
                conversations.resize_with(conversations.len().max(conversation + 1), Vec::new);
                let segments = &mut conversations[conversation];
                if !busy && segments.iter().map(|segment| segment.tokens).sum::<u32>() > 500 {
                    segments.clear();
                }
                if segments.is_empty() {
                    segments.push(shared[stream.below(2) as usize]);
                }
                let mut segments = segments.clone();
                // Some repeat what another is computing word for word.
                if !busy {
                    segments.push(Segment { id: SegmentId(next_segment), tokens: 1 + stream.below(100) as u32 });
                    conversations[conversation].clone_from(&segments);
                }
                let follows = !busy && stream.below(4) > 0;
                let private = if follows { 0 } else { stream.below(50) as u32 };
                let reply = follows.then_some(SegmentId(next_segment + 1));
                next_segment += 2;
                let request = turn(id, &segments, private, reply, 1 + stream.below(70) as u32);
                let mut start = 0;
                for segment in segments.iter().chain(&reply.map(|id| Segment { id, tokens: request.output_tokens })) {
                    starts.insert(segment.id.0, start);
                    start += u64::from(segment.tokens);
                }
                let prompt = Request { output_segment: None, ..request.clone() };
                assert_eq!(cache.held(&request), plain.leading(&hashes(&prompt)), "turn {id}");
                cache.open(owner as u32, &request);
                plain.open(owner, &request);
                let known = u64::from(request.input_tokens);
                under_way[owner] = Some(UnderWay { request, conversation: same.filter(|_| follows), computed: 0, known });
            }
            Some(UnderWay { known, computed: computed @ 0, .. }) => {
                let limit = *known - 1;
                let hit = cache.lookup(owner as u32, limit);
                assert_eq!((hit.tokens, hit.free_blocks), plain.lookup(owner, limit), "turn {id}");
                cache.acquire(owner as u32, hit.tokens);
                plain.acquire(owner, hit.tokens);
                *computed = hit.tokens.max(1);
                let there = cache.grow(owner as u32, hit.tokens, *computed);
                assert_eq!(there, plain.grow(owner, *computed));
                *computed = if there { *computed } else { hit.tokens };
            }
            Some(UnderWay { request, computed, conversation, known }) => {
                let prompt = u64::from(request.input_tokens);
                let whole = prompt + u64::from(request.output_tokens) - 1;
                let what = stream.below(10);
                let to = if what < 6 { *computed + stream.below(1 + (whole - *computed).min(200)) } else { whole };
                let decodes = *computed >= *known;
                let there = if decodes {
                    let count = to.div_ceil(SIZE) - computed.div_ceil(SIZE);
                    let there = cache.allocate(count);
                    assert_eq!(there, plain.grow(owner, to), "turn {id}");
                    there
                } else {
                    let to = to.min(*known);
                    let there = cache.grow(owner as u32, *computed, to);
                    assert_eq!(there, plain.grow(owner, to), "turn {id}");
                    there
                };
                if there {
                    *computed = if decodes { to } else { to.min(*known) };
                }
                if *computed == whole {
                    cache.end(owner as u32, *computed, request);
                    plain.preempt(owner);
                    if let (Some(at), Some(reply)) = (*conversation, request.output_segment) {
                        conversations[at].push(Segment { id: reply, tokens: request.output_tokens });
                    }
                    under_way[owner] = None;
                } else if !there || what == 9 {
                    cache.preempt(owner as u32, *computed, request);
                    plain.preempt(owner);
                    *known = (*known).max(*computed + 1);
                    *computed = 0;
                }
            }
        }
        assert_eq!((cache.free(), cache.blank()), (plain.free.len() as u64, plain.blank()), "turn {id}");
        let queue: Vec<_> =
            cache.pool.queue().into_iter().map(|named| named.map(|(segment, to, first)| (hash_at(&starts, segment, to), first))).collect();
        assert_eq!(queue, plain.queue(), "turn {id}");
        // Who has heard all knows what asking tells.
        cache.take_events().for_each(|event| view.hear(event));
        for asked in &conversations {
            let prompt = turn(0, asked, 1, None, 1);
            assert_eq!(cache.pool.leading(asked), plain.leading(&hashes(&prompt)), "turn {id}");
            assert_eq!(view.leading(asked, SIZE as u32), cache.pool.leading(asked), "turn {id}");
        }
        let mut evicted = Vec::new();
        cache.take_evicted(&mut evicted);
        assert_eq!(by_block(&evicted, &starts), std::mem::take(&mut plain.evicted), "turn {id}");
        let (runs, records) = cache.pool.entries();
        copies = copies.max(cache.pool.copied());
        most = (most.0.max(runs), most.1.max(records));
    }
    // What has been forgotten is not kept: by far fewer entries than segments and blocks have passed.
    assert!(most.0 as u64 <= blocks && most.1 as u64 <= blocks + 100 && next_segment > 3 * most.1 as u32, "{most:?} of {next_segment}");
    copies
}

/// Usage, hits, the whole free queue and what is evicted, after every operation.
#[test]
fn runs_of_blocks_fare_as_single_blocks() {
    let most = (0..24).map(|seed| run(seed, 60 + 20 * (seed % 10), 3000, false));
    assert!(most.max() > Some(10), "hardly any block had a copy");
}

#[test]
fn merged_blocks_fare_as_single_blocks() {
    assert!((0..8).all(|seed| run(seed, 60 + 20 * (seed % 10), 3000, true) == 0));
}
