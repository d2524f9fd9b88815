//! Tiers of KV below the GPU: host memory, a disk, a remote store. A companion of any KV memory, whose own rules stay as they are.
//!
//! Contents go down in whole chunks: when they have been computed (write-through), when they have been used a number of times
//! (selective), or when the tier above gives them up (write-back). A prompt is looked up on the GPU first and, where that ends, chunk by
//! chunk in the tiers; what is found there takes new blocks on the GPU and time on the way. Every transfer occupies the link it goes
//! over: chunks follow one another, and a chunk is found only when its copy is complete. Each tier evicts what was used least recently,
//! the last chunk of a prompt first.
//!
//! Left out: copies in flight do not keep the blocks they come from; a copy that has begun goes on when its request is gone.

mod channel;
mod copies;
mod history;
mod names;
mod options;
mod shelf;
#[cfg(test)]
mod tests;

use super::cache::{Below, Evicted, Hit, KvCache};
use super::events::KvEvent;
use crate::units::Time;
use crate::workload::{Request, Segment};
use channel::Channel;
pub use channel::Rate;
pub use history::History;
use names::Names;
pub use options::{LoadBack, Patience, Prefetch, Tier, TierUse, Tiers, WritePolicy};
use shelf::Shelf;

/// Most tiers below the GPU.
pub const MOST: usize = 3;

struct Level {
    tier: Tier,
    shelf: Shelf,
    history: History,
    read: Channel,
    write: Channel,
}

/// What one owner has to do with tiers.
#[derive(Default)]
struct Holding {
    /// Slots of its leading chunks, as far as they have names.
    chain: Vec<u32>,
    /// How many of `chain` others can have as well.
    shared: usize,
    reply_chained: bool,
    context: u64,
    /// Chunks that have been seen to since it was admitted.
    stored: u64,
    found: Found,
    below: Below,
    /// When what it waits for is there.
    ready: Time,
}

/// What a lookup found.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Tokens on the GPU that are used.
    device: u64,
    /// With what comes from below.
    tokens: u64,
}

/// Transfers of the batch being formed.
#[derive(Default)]
struct Moves {
    /// First chunk begins, last one is through.
    load: Option<(Time, Time)>,
    /// Blocks to be overwritten have been copied.
    copied: Time,
}

/// KV memory with tiers below it.
pub struct Tiered {
    device: Box<dyn KvCache>,
    tiers: Tiers,
    levels: Vec<Level>,
    names: Names,
    holdings: Vec<Holding>,
    now: Time,
    moves: Moves,
    /// Waiting owners and until when.
    waits: Vec<(Time, u32)>,
    /// Chunks whose blocks on the GPU are being filled, and until when.
    arriving: std::collections::BTreeMap<u32, Time>,
    /// Private slots whose owners have ended, with a copy in some tier.
    orphans: std::collections::BTreeSet<u32>,
    evicted: Vec<Evicted>,
    /// Tokens evicted without a name that do not make a chunk yet.
    odd_tokens: u64,
}

impl Tiered {
    /// `device` with `tiers` below it.
    pub fn new(mut device: Box<dyn KvCache>, tiers: Tiers) -> Tiered {
        let level = |tier: &Tier| Level {
            tier: *tier,
            shelf: Shelf::new(tier.chunks),
            history: History::default(),
            read: Channel::new(tier.read),
            write: Channel::new(tier.write),
        };
        let levels: Vec<Level> = tiers.tiers.iter().take(MOST).map(level).collect();
        if levels.first().is_some_and(|level| level.tier.policy == WritePolicy::Back) {
            device.keep_evicted();
        }
        Tiered {
            device,
            levels,
            names: Names::new(u64::from(tiers.chunk_tokens)),
            tiers,
            holdings: Vec::new(),
            now: Time::ZERO,
            moves: Moves::default(),
            waits: Vec::new(),
            arriving: std::collections::BTreeMap::new(),
            orphans: std::collections::BTreeSet::new(),
            evicted: Vec::new(),
            odd_tokens: 0,
        }
    }

    fn writes_back(&self) -> bool {
        self.levels.first().is_some_and(|level| level.tier.policy == WritePolicy::Back)
    }

    /// Chunks of a prompt that has just arrived begin to come up to the nearest tier from those below it.
    fn prefetch(&mut self, owner: u32, holding: &mut Holding, limit: u64) {
        let Some(prefetch) = self.tiers.prefetch else { return };
        let hit = self.device.lookup(owner, limit);
        let chunk = self.names.chunk();
        let first = hit.tokens / chunk;
        let found = self.walk(&holding.chain, first, limit, MOST);
        let below: Vec<u32> = holding.chain[first as usize..(first + found) as usize]
            .iter()
            .copied()
            .filter(|&slot| self.level_of(slot, MOST).is_some_and(|level| level > 0))
            .collect();
        if (below.len() as u64) * chunk < prefetch.least_tokens || below.is_empty() {
            return;
        }
        let mut there = self.now;
        for (place, &slot) in below.iter().enumerate() {
            if let Some((_, _, end)) = self.bring(slot, 1, place == 0) {
                there = there.max(end);
            }
        }
        let until = match prefetch.patience {
            Patience::BestEffort => return,
            Patience::Complete => there,
            Patience::Timeout { base, per_token } => {
                let tokens = below.len() as u64 * chunk;
                there.min(self.now + base + Time(per_token.0.saturating_mul(tokens)))
            }
        };
        self.wait(owner, holding, until);
    }

    fn wait(&mut self, owner: u32, holding: &mut Holding, until: Time) {
        if until > self.now {
            holding.ready = until;
            let now = self.now;
            self.waits.retain(|&(until, _)| until > now);
            self.arriving.retain(|_, until| *until > now);
            self.waits.push((until, owner));
        }
    }

    fn chain_reply(&mut self, holding: &mut Holding, request: &Request) {
        if let Some(id) = request.output_segment
            && !std::mem::replace(&mut holding.reply_chained, true)
        {
            let segment = Segment { id, tokens: request.output_tokens };
            holding.chain.truncate(holding.shared);
            self.names.chain(segment, u64::from(request.input_tokens), &mut holding.chain);
            holding.shared = holding.chain.len();
        }
    }

    fn with<T>(&mut self, owner: u32, work: impl FnOnce(&mut Tiered, &mut Holding) -> T) -> T {
        let mut holding = std::mem::take(&mut self.holdings[owner as usize]);
        let result = work(self, &mut holding);
        self.holdings[owner as usize] = holding;
        result
    }

    /// When the chunks of an owner's first `tokens` tokens are all on the GPU.
    fn arrived(&self, holding: &Holding, tokens: u64) -> Time {
        let chunks = (tokens / self.names.chunk()).min(holding.chain.len() as u64) as usize;
        if self.arriving.is_empty() {
            return Time::ZERO;
        }
        holding.chain[..chunks].iter().filter_map(|slot| self.arriving.get(slot)).copied().max().unwrap_or(Time::ZERO)
    }
}

impl KvCache for Tiered {
    fn block_size(&self) -> u32 {
        self.device.block_size()
    }

    fn total(&self) -> u64 {
        self.device.total()
    }

    fn free(&self) -> u64 {
        self.device.free()
    }

    fn epoch(&self) -> u64 {
        self.device.epoch()
    }

    fn allocate(&mut self, count: u64) -> bool {
        let there = self.device.allocate(count);
        self.drain();
        there
    }

    fn open(&mut self, owner: u32, request: &Request) {
        self.device.open(owner, request);
        if self.holdings.len() <= owner as usize {
            self.holdings.resize_with(owner as usize + 1, Holding::default);
        }
        let mut holding = Holding { context: u64::from(request.input_tokens), ..Holding::default() };
        let mut start = 0;
        for segment in &request.segments {
            self.names.chain(*segment, start, &mut holding.chain);
            start += u64::from(segment.tokens);
        }
        holding.shared = holding.chain.len();
        self.prefetch(owner, &mut holding, u64::from(request.input_tokens) - 1);
        self.holdings[owner as usize] = holding;
    }

    fn lookup(&mut self, owner: u32, limit: u64) -> Hit {
        let hit = self.device.lookup(owner, limit);
        let chunk = self.names.chunk();
        let first = hit.tokens / chunk;
        let found = self.walk(&self.holdings[owner as usize].chain, first, limit, self.in_reach());
        let reach = (first + found) * chunk;
        if found == 0 || reach <= hit.tokens {
            self.holdings[owner as usize].found = Found { device: hit.tokens, tokens: hit.tokens };
            return hit;
        }
        // Blocks that serve in part give way to whole ones from below.
        let whole = hit.tokens / u64::from(self.block_size()) * u64::from(self.block_size());
        let hit = if whole < hit.tokens { self.device.lookup(owner, whole) } else { hit };
        self.holdings[owner as usize].found = Found { device: hit.tokens, tokens: reach };
        let taken = self.blocks_for(reach) - self.blocks_for(hit.tokens);
        Hit { tokens: reach, free_blocks: hit.free_blocks + taken }
    }

    fn acquire(&mut self, owner: u32, tokens: u64) {
        self.with(owner, |cache, holding| {
            let Found { device, tokens: found } = std::mem::take(&mut holding.found);
            let device = if tokens == found { device } else { tokens };
            holding.stored = 0;
            holding.below = Below::default();
            holding.ready = Time::ZERO;
            cache.waits.retain(|&(_, other)| other != owner);
            cache.device.acquire(owner, device);
            let chunk = cache.names.chunk();
            let chunks = (tokens / chunk).min(holding.chain.len() as u64);
            // Last chunk first, so that it is the first to go.
            for &slot in holding.chain[..chunks as usize].iter().rev() {
                for level in &mut cache.levels {
                    level.shelf.touch(slot);
                }
            }
            if tokens > device {
                let first = device / chunk;
                for position in first..chunks {
                    let slot = holding.chain[position as usize];
                    let Some((from, start, end)) = cache.bring(slot, 0, position == first) else { continue };
                    let new = ((position + 1) * chunk - device.max(position * chunk)) as u32;
                    holding.below[cache.levels[from].tier.kind.min(MOST - 1)] += new;
                    if cache.tiers.load == LoadBack::Fetch {
                        cache.arriving.insert(slot, end);
                    } else {
                        let (begun, through) = cache.moves.load.unwrap_or((start, end));
                        cache.moves.load = Some((begun.min(start), through.max(end)));
                    }
                }
                let there = cache.device.grow(owner, device, tokens);
                debug_assert!(there, "contents were found below with no blocks to bring them up to");
                cache.device.loaded(owner, tokens);
            }
            cache.drain();
            if cache.tiers.load == LoadBack::Fetch {
                let until = cache.arrived(holding, tokens);
                cache.wait(owner, holding, until);
            }
        });
    }

    fn grow(&mut self, owner: u32, from: u64, to: u64) -> bool {
        let there = self.device.grow(owner, from, to);
        self.drain();
        there
    }

    fn end(&mut self, owner: u32, computed: u64, request: &Request) {
        self.with(owner, |cache, holding| {
            cache.waits.retain(|&(_, other)| other != owner);
            cache.chain_reply(holding, request);
            cache.store(holding, computed);
            for &slot in &holding.chain[holding.shared..] {
                if cache.is_nowhere(slot) {
                    cache.names.give_back(slot);
                } else {
                    cache.orphans.insert(slot);
                }
            }
            *holding = Holding::default();
        });
        self.device.end(owner, computed, request);
        self.drain();
    }

    fn preempt(&mut self, owner: u32, computed: u64, request: &Request) {
        self.with(owner, |cache, holding| {
            cache.chain_reply(holding, request);
            if !cache.writes_back() {
                // What nobody else has, the request itself will ask for.
                while (holding.chain.len() as u64) < computed / cache.names.chunk() {
                    let slot = cache.names.private();
                    holding.chain.push(slot);
                }
            }
            cache.store(holding, computed);
        });
        self.device.preempt(owner, computed, request);
        self.drain();
    }

    fn reserve(&mut self, owner: u32, tokens: u64) {
        self.device.reserve(owner, tokens);
    }

    fn promised(&self) -> u64 {
        self.device.promised()
    }

    fn path(&self, owner: u32) -> Vec<u64> {
        self.device.path(owner)
    }

    fn first_new_block(&mut self, owner: u32) -> Option<u64> {
        self.device.first_new_block(owner)?;
        let context = self.holdings[owner as usize].context;
        let chunk = self.names.chunk();
        let first = self.device.lookup(owner, context / chunk * chunk).tokens / chunk;
        let chain = &self.holdings[owner as usize].chain;
        let position = first + self.walk(chain, first, context, self.in_reach());
        if (position + 1) * chunk > context { None } else { chain.get(position as usize).map(|&slot| u64::from(slot)) }
    }

    fn hears_of_steps(&self) -> bool {
        true
    }

    fn computed(&mut self, owner: u32, tokens: u64, completes: bool) {
        self.device.computed(owner, tokens, completes);
        self.with(owner, |cache, holding| cache.store(holding, tokens));
        self.drain();
    }

    fn read(&mut self, owner: u32) {
        self.device.read(owner);
    }

    fn awaits_reading(&self) -> bool {
        self.device.awaits_reading()
    }

    fn prepare(&mut self, count: u64) {
        self.device.prepare(count);
        self.drain();
    }

    fn held(&self, request: &Request) -> u64 {
        self.device.held(request)
    }

    /// As of the last thing that happened here.
    fn held_below(&self, request: &Request, device: u64) -> Below {
        let chunk = self.names.chunk();
        let (mut below, mut start, mut position) = (Below::default(), 0, 0);
        for segment in &request.segments {
            let end = start + u64::from(segment.tokens);
            let known = self.names.known(segment.id);
            for (index, place) in (start / chunk..end / chunk).enumerate() {
                debug_assert_eq!(position, place);
                position = place + 1;
                if position * chunk <= device {
                    continue;
                }
                let slot = known.clone().nth(index);
                let Some(level) = slot.and_then(|slot| self.level_of(slot, MOST)) else { return below };
                let new = position * chunk - device.max(place * chunk);
                below[self.levels[level].tier.kind.min(MOST - 1)] += new as u32;
            }
            start = end;
        }
        below
    }

    fn loaded(&mut self, owner: u32, tokens: u64) {
        self.device.loaded(owner, tokens);
    }

    fn granule(&self) -> u64 {
        self.device.granule()
    }

    fn blank(&self) -> u64 {
        self.device.blank()
    }

    fn keep_evicted(&mut self) {
        self.device.keep_evicted();
    }

    fn has_tiers(&self) -> bool {
        true
    }

    fn at(&mut self, now: Time) {
        self.levels.iter_mut().for_each(|level| level.history.change(self.now, level.shelf.used()));
        self.now = now;
    }

    fn keep_events(&mut self) {
        self.device.keep_events();
    }

    fn take_events(&mut self) -> std::vec::IntoIter<KvEvent> {
        self.device.take_events()
    }

    fn spare(&self) -> u64 {
        if self.writes_back() { self.device.blank() } else { self.device.free() }
    }

    fn delay(&mut self, start: Time, span_ps: u64) -> u64 {
        let Moves { load, copied } = std::mem::take(&mut self.moves);
        let begins = start.max(copied);
        let plain = start + Time(span_ps);
        let end = match (load, self.tiers.load) {
            (None, _) | (_, LoadBack::Fetch) => begins + Time(span_ps),
            (Some((_, through)), LoadBack::Serial) => begins.max(through) + Time(span_ps),
            (Some((begun, through)), LoadBack::Layers(layers)) => {
                // Layer i of n is computed when it has arrived, by its share of the transfer, and the one before it is done; the
                // latest end is that of the first or of the last layer to arrive.
                let layers = u64::from(layers.max(1));
                let first = begun + Time(through.since(begun).0 / layers);
                let last = through + Time(span_ps / layers);
                (begins.max(first) + Time(span_ps)).max(last)
            }
        };
        end.since(plain).0
    }

    fn below(&self, owner: u32) -> Below {
        self.holdings[owner as usize].below
    }

    fn fetches(&self, owner: u32) -> bool {
        if self.tiers.load != LoadBack::Fetch {
            return false;
        }
        let holding = &self.holdings[owner as usize];
        holding.found.tokens > holding.found.device || self.arrived(holding, holding.found.device) > self.now
    }

    fn ready_at(&self, owner: u32) -> Time {
        self.holdings[owner as usize].ready
    }

    fn next_ready(&self, now: Time) -> Time {
        self.waits.iter().map(|&(until, _)| until).filter(|&until| until > now).min().unwrap_or(Time::NEVER)
    }

    fn tiers(&self) -> Vec<TierUse> {
        let of = |level: &Level| TierUse {
            kind: level.tier.kind,
            chunk_tokens: self.tiers.chunk_tokens,
            capacity: level.shelf.capacity(),
            held: level.shelf.used(),
            peak: level.shelf.peak,
            evicted: level.shelf.evicted,
            read: level.read.chunks,
            written: level.write.chunks,
            read_ps: level.read.busy_ps,
            write_ps: level.write.busy_ps,
            history: {
                let mut history = level.history.clone();
                history.change(self.now, level.shelf.used());
                history
            },
        };
        self.levels.iter().map(of).collect()
    }
}
