//! The cache by runs against one that keeps every block on its own.

use crate::kv::KvView;
use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::rng::{Purpose, Stream};
use crate::units::Time;
use crate::workload::{Segment, SegmentId};

const SIZE: u64 = 16;

/// Contents of a full block: the segment that it ends in (or its only owner), and which block of the request it is.
type Name = (bool, u32, u64);

/// A request's blocks, one by one.
#[derive(Default)]
struct Owner {
    /// Of leading blocks, as far as they have names.
    names: Vec<Name>,
    shared: usize,
    /// Whether each is held under its name.
    held: Vec<bool>,
    with_reply: bool,
}

/// vLLM's block pool as its source has it: a queue of single blocks.
struct Plain {
    blank: u64,
    /// Those free, in the order in which they are taken; `None` can be found by nobody.
    queue: VecDeque<Option<Name>>,
    /// Holders of named blocks in memory.
    refs: BTreeMap<Name, u32>,
    owners: Vec<Owner>,
    serial: u32,
    evicted: Vec<Option<Name>>,
}

fn names(request: &Request, with_reply: bool) -> Vec<Name> {
    let reply = request.output_segment.filter(|_| with_reply).map(|id| Segment { id, tokens: request.output_tokens });
    let mut end = 0;
    let mut names = Vec::new();
    for segment in request.segments.iter().copied().chain(reply) {
        let first = end / SIZE;
        end += u64::from(segment.tokens);
        names.extend((first..end / SIZE).map(|block| (true, segment.id.0, block)));
    }
    names
}

impl Plain {
    fn new(blocks: u64, owners: usize) -> Plain {
        let mut all = Vec::new();
        all.resize_with(owners, Owner::default);
        Plain { blank: blocks, queue: VecDeque::new(), refs: BTreeMap::new(), owners: all, serial: 0, evicted: Vec::new() }
    }

    fn free(&self) -> u64 {
        self.blank + self.queue.len() as u64
    }

    fn allocate(&mut self, count: u64) -> bool {
        if count > self.free() {
            return false;
        }
        let blanks = count.min(self.blank);
        self.blank -= blanks;
        for _ in blanks..count {
            let name = self.queue.pop_front().unwrap();
            self.evicted.push(name);
            if let Some(name) = name {
                self.refs.remove(&name);
            }
        }
        true
    }

    fn open(&mut self, owner: usize, request: &Request) {
        let names = names(request, false);
        self.owners[owner] = Owner { shared: names.len(), names, ..Owner::default() };
    }

    fn held(&self, request: &Request) -> u64 {
        names(request, false).iter().take_while(|name| self.refs.contains_key(name)).count() as u64 * SIZE
    }

    fn lookup(&self, owner: usize, limit: u64) -> (u64, u64) {
        let there = self.owners[owner].names.iter().take((limit / SIZE) as usize).map_while(|name| self.refs.get(name));
        there.fold((0, 0), |(found, free), &refs| (found + SIZE, free + u64::from(refs == 0)))
    }

    fn acquire(&mut self, owner: usize, tokens: u64) {
        for at in 0..(tokens / SIZE) as usize {
            let name = self.owners[owner].names[at];
            self.queue.retain(|&free| free != Some(name));
            *self.refs.get_mut(&name).unwrap() += 1;
            self.owners[owner].held.push(true);
        }
    }

    fn grow(&mut self, owner: usize, from: u64, to: u64) -> bool {
        if !self.allocate(to.div_ceil(SIZE) - from.div_ceil(SIZE)) {
            return false;
        }
        let Owner { names, held, .. } = &mut self.owners[owner];
        while held.len() < names.len().min((to / SIZE) as usize) {
            let name = names[held.len()];
            held.push(!self.refs.contains_key(&name));
            self.refs.entry(name).or_insert(1);
        }
        true
    }

    fn with_reply(&mut self, owner: usize, request: &Request) {
        let owner = &mut self.owners[owner];
        if request.output_segment.is_some() && !std::mem::replace(&mut owner.with_reply, true) {
            owner.names = names(request, true);
            owner.shared = owner.names.len();
        }
    }

    fn let_go(&mut self, owner: usize, computed: u64, keep: usize) {
        let full = (computed / SIZE) as usize;
        self.blank += computed.div_ceil(SIZE) - full as u64;
        for at in (0..full).rev() {
            let Owner { names, held, .. } = &self.owners[owner];
            let name = names.get(at).copied();
            match (name, held.get(at)) {
                (Some(name), Some(true)) => {
                    let refs = self.refs.get_mut(&name).unwrap();
                    *refs -= 1;
                    if *refs == 0 {
                        if at >= keep {
                            self.refs.remove(&name);
                        }
                        self.queue.push_back(Some(name).filter(|_| at < keep));
                    }
                }
                (Some(name), None) if at < keep && !self.refs.contains_key(&name) => {
                    self.refs.insert(name, 0);
                    self.queue.push_back(Some(name));
                }
                _ => self.queue.push_back(None),
            }
        }
    }

    fn end(&mut self, owner: usize, computed: u64, request: &Request) {
        self.with_reply(owner, request);
        self.let_go(owner, computed, self.owners[owner].shared);
        self.owners[owner] = Owner::default();
    }

    fn preempt(&mut self, owner: usize, computed: u64, request: &Request) {
        self.with_reply(owner, request);
        while self.owners[owner].names.len() < (computed / SIZE) as usize {
            self.serial += 1;
            let name = (false, self.serial, 0);
            self.owners[owner].names.push(name);
        }
        self.let_go(owner, computed, self.owners[owner].names.len());
        self.owners[owner].held.clear();
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

/// What a run of evictions was, block by block.
fn by_block(evicted: &[Evicted], names: &BTreeMap<u32, u64>) -> Vec<Option<Name>> {
    let mut blocks = Vec::new();
    for what in evicted {
        match *what {
            Evicted::Unnamed(tokens) => blocks.extend((0..tokens / SIZE).map(|_| None)),
            Evicted::Tokens { segment, to, .. } => blocks.push(Some((true, segment, (names[&segment] + u64::from(to)) / SIZE - 1))),
        }
    }
    blocks
}

/// One under way in both caches.
struct UnderWay {
    request: Request,
    conversation: Option<usize>,
    computed: u64,
}

fn run(seed: u64, blocks: u64, turns: u32) {
    const OWNERS: usize = 8;
    let mut stream = Stream::new(seed, Purpose::Routing, 0);
    let mut cache = HashChain::new(blocks, SIZE as u32, true);
    cache.keep_evicted();
    cache.keep_events();
    let mut view = KvView::default();
    let mut plain = Plain::new(blocks, OWNERS);
    let shared = [Segment { id: SegmentId(0), tokens: 75 }, Segment { id: SegmentId(1), tokens: 128 }];
    let mut conversations: Vec<Vec<Segment>> = Vec::new();
    let mut starts = BTreeMap::new();
    let mut under_way: Vec<Option<UnderWay>> = Vec::new();
    under_way.resize_with(OWNERS, || None);
    let mut next_segment = 2;
    let mut most = (0, 0);
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
                assert_eq!(cache.held(&request), plain.held(&request), "turn {id}");
                cache.open(owner as u32, &request);
                plain.open(owner, &request);
                under_way[owner] = Some(UnderWay { request, conversation: same.filter(|_| follows), computed: 0 });
            }
            Some(UnderWay { request, computed: computed @ 0, .. }) => {
                let limit = u64::from(request.input_tokens) - 1;
                let hit = cache.lookup(owner as u32, limit);
                assert_eq!((hit.tokens, hit.free_blocks), plain.lookup(owner, limit), "turn {id}");
                cache.acquire(owner as u32, hit.tokens);
                plain.acquire(owner, hit.tokens);
                *computed = hit.tokens.max(1);
                let there = cache.grow(owner as u32, hit.tokens, *computed);
                assert_eq!(there, plain.grow(owner, hit.tokens, *computed));
                *computed = if there { *computed } else { hit.tokens };
            }
            Some(UnderWay { request, computed, conversation }) => {
                let prompt = u64::from(request.input_tokens);
                let whole = prompt + u64::from(request.output_tokens) - 1;
                let what = stream.below(10);
                let to = if what < 6 { *computed + stream.below(1 + (whole - *computed).min(200)) } else { whole };
                let decodes = *computed >= prompt;
                let there = if decodes {
                    let count = to.div_ceil(SIZE) - computed.div_ceil(SIZE);
                    let there = cache.allocate(count);
                    assert_eq!(there, plain.allocate(count), "turn {id}");
                    there
                } else {
                    let to = to.min(prompt);
                    let there = cache.grow(owner as u32, *computed, to);
                    assert_eq!(there, plain.grow(owner, *computed, to), "turn {id}");
                    there
                };
                if there {
                    *computed = if decodes { to } else { to.min(prompt) };
                }
                if *computed == whole {
                    cache.end(owner as u32, *computed, request);
                    plain.end(owner, *computed, request);
                    if let (Some(at), Some(reply)) = (*conversation, request.output_segment) {
                        conversations[at].push(Segment { id: reply, tokens: request.output_tokens });
                    }
                    under_way[owner] = None;
                } else if !there || what == 9 {
                    cache.preempt(owner as u32, *computed, request);
                    plain.preempt(owner, *computed, request);
                    *computed = 0;
                }
            }
        }
        assert_eq!((cache.free(), cache.blank()), (plain.free(), plain.blank), "turn {id}");
        // Who has heard all knows what asking tells.
        cache.take_events().for_each(|event| view.hear(event));
        for asked in &conversations {
            assert_eq!(view.leading(asked, SIZE as u32), cache.pool.leading(asked), "turn {id}");
        }
        let mut evicted = Vec::new();
        cache.take_evicted(&mut evicted);
        let named = |name: &Option<Name>| name.filter(|name| name.0);
        let of_plain: Vec<_> = plain.evicted.drain(..).map(|name| named(&name)).collect();
        assert_eq!(by_block(&evicted, &starts), of_plain, "turn {id}");
        let (runs, records) = cache.pool.entries();
        most = (most.0.max(runs), most.1.max(records));
    }
    // What has been forgotten is not kept: by far fewer entries than segments and blocks have passed.
    assert!(most.0 as u64 <= blocks && most.1 as u64 <= blocks + 100 && next_segment > 3 * most.1 as u32, "{most:?} of {next_segment}");
}

#[test]
fn runs_of_blocks_fare_as_single_blocks() {
    for seed in 0..40 {
        run(seed, 60 + 20 * (seed % 10), 3000);
    }
}
