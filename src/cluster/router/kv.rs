//! Dynamo's KV-aware router (`dynamo-kv-router` 1.6.1, `scheduling/selector/reference.rs`): the replica with the least cost in blocks.
//!
//! What the router routed is an upper bound on what engines hold, since it forgets nothing of theirs that was not evicted. Replicas are
//! looked at in the order of a lower bound of their cost, made of their load and of the longest overlap that they can have; whoever
//! is cheap enough by the router's books is asked what it holds. The search ends when no bound is below the least cost found, which is
//! after a few replicas where few have the prompt or most have it: the replica is the same as by scoring all (`scores`).

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::Fleet;
use super::prefix_index::{Overlap, PrefixIndex};
use super::queue::KvQueue;
use super::ready::Ready;
use crate::cluster::tournament::Tournament;
use crate::kv::Held;
use crate::math;
use crate::rng::Stream;
use crate::units::Time;
use crate::workload::{Request, Segment, SegmentId};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvOptions {
    pub overlap_score_credit: f64,
    pub overlap_score_credit_decay: f64,
    /// Credit of a block that is in host memory, and of one on disk or in a remote store.
    pub host_cache_hit_weight: f64,
    pub disk_cache_hit_weight: f64,
    pub prefill_load_scale: f64,
    pub decode_active_request_weight: f64,
    pub temperature: f64,
    pub kv_events: bool,
    pub ttl: Time,
    pub track_active_blocks: bool,
    /// Tokens in a block of the engines.
    pub block_size: u32,
    /// The engines have tiers below the GPU.
    pub lower_tiers: bool,
    /// What engines tell is old when it is heard.
    pub late: bool,
    pub queue: Option<KvQueue>,
}

impl Default for KvOptions {
    fn default() -> KvOptions {
        KvOptions {
            overlap_score_credit: 1.0,
            overlap_score_credit_decay: 0.0,
            host_cache_hit_weight: 0.75,
            disk_cache_hit_weight: 0.25,
            prefill_load_scale: 1.0,
            decode_active_request_weight: 0.0,
            temperature: 0.0,
            kv_events: true,
            ttl: Time::from_s(120.0),
            track_active_blocks: true,
            block_size: 16,
            lower_tiers: false,
            late: false,
            queue: None,
        }
    }
}

/// What the cost of one replica for one request is made of, in blocks unless said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// Prompt tokens there that are not computed yet, tokens.
    pub active_prefill_tokens: f64,
    /// Prompt length of the request, tokens.
    pub prompt_tokens: f64,
    pub device_hit: f64,
    pub host_hit: f64,
    pub disk_hit: f64,
    /// Prefill there beyond the least of all replicas.
    pub excess_prefill: f64,
    /// Blocks of requests in flight there, this one included.
    pub potential_decode: f64,
    pub active_requests: f64,
}

impl KvOptions {
    /// The cost: `p * max(0, prefill - credit) + decode + a * active requests`.
    pub fn cost(&self, terms: &Terms) -> f64 {
        let block = f64::from(self.block_size);
        let raw_prefill = (terms.active_prefill_tokens + terms.prompt_tokens) / block;
        let request_blocks = (terms.prompt_tokens / block).ceil();
        let decay = 1.0 / (1.0 + self.overlap_score_credit_decay * terms.excess_prefill / request_blocks.max(1.0));
        let below = self.host_cache_hit_weight * terms.host_hit + self.disk_cache_hit_weight * terms.disk_hit;
        let credit = self.overlap_score_credit * decay * terms.device_hit + below;
        self.prefill_load_scale * (raw_prefill - credit).max(0.0)
            + terms.potential_decode
            + self.decode_active_request_weight * terms.active_requests
    }
}

/// The chances of the replicas at a temperature: `exp(-(cost - least) / ((most - least) * temperature))`, not normalised. None for an
/// infinite cost.
pub fn weights(costs: &[f64], temperature: f64) -> Vec<f64> {
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = costs.iter().copied().filter(|cost| cost.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let weight = |&cost: &f64| match cost.is_finite() {
        false => 0.0,
        true if most <= least => 1.0,
        true => math::exp(-(cost - least) / ((most - least) * temperature)),
    };
    costs.iter().map(weight).collect()
}

/// What was sent where and has not ended.
#[derive(Debug)]
struct Sent {
    replica: u32,
    prefill_tokens: u32,
    /// Tokens of the prompt that nobody else has.
    private_tokens: u32,
    segments: Box<[Segment]>,
    /// Identity of prompt plus reply, for the next turn.
    reply: Option<Segment>,
}

/// A segment with as many holders is looked up by going through them.
const FEW_HOLDERS: usize = 32;

/// The router's books.
#[derive(Debug)]
pub struct KvRouter {
    options: KvOptions,
    index: PrefixIndex,
    sent: FxHashMap<u32, Sent>,
    prefill_tokens: Vec<u64>,
    /// Tokens of prompts in flight, equal contents once.
    active_tokens: Vec<u64>,
    requests: Vec<u32>,
    /// Replicas that take requests by the cost of their load (see `load`), as the bits of a number that is not negative.
    order: BTreeSet<(u64, u32)>,
    /// The key of each in `order`, if it takes requests.
    keys: Vec<Option<u64>>,
    /// With a queue: the least prefill of those that take requests, which have the others at `u64::MAX`.
    prefills: Option<Tournament>,
}

/// A replica's cost for a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    pub replica: u32,
    pub terms: Terms,
    pub cost: f64,
}

/// The search for the least cost: ties go to the first replica from a random place on.
struct Search {
    offset: u32,
    replicas: u32,
    cost: f64,
    rank: u32,
    found: Option<(usize, u64)>,
}

impl Search {
    fn rank(&self, replica: usize) -> u32 {
        (replica as u32 + self.replicas - self.offset) % self.replicas
    }

    /// Whether a cost of at least this can be the least.
    fn may_be(&self, cost: f64, replica: usize) -> bool {
        cost < self.cost || cost == self.cost && self.rank(replica) < self.rank
    }

    fn offer(&mut self, cost: f64, replica: usize, cached: u64) {
        if self.found.is_none() || self.may_be(cost, replica) {
            (self.cost, self.rank, self.found) = (cost, self.rank(replica), Some((replica, cached)));
        }
    }
}

/// What the costs of all replicas for a request have in common.
struct Query<'a> {
    request: &'a Request,
    now: Time,
    least_prefill: u64,
}

impl KvRouter {
    pub fn new(options: KvOptions, replicas: usize) -> KvRouter {
        let ttl = if options.kv_events { Time::NEVER } else { options.ttl };
        KvRouter {
            options,
            index: PrefixIndex::new(replicas, ttl),
            sent: FxHashMap::default(),
            prefill_tokens: vec![0; replicas],
            active_tokens: vec![0; replicas],
            requests: vec![0; replicas],
            order: (0..replicas as u32).map(|replica| (0, replica)).collect(),
            keys: vec![Some(0); replicas],
            prefills: options.queue.map(|_| Tournament::new(replicas, 0)),
        }
    }

    /// Engines tell what they hold.
    pub fn is_told(&self) -> bool {
        self.options.kv_events
    }

    /// Every replica has more prefill in flight than the queue's threshold allows.
    pub fn all_busy(&self) -> bool {
        match (&self.prefills, self.options.queue) {
            (Some(prefills), Some(queue)) => queue.is_busy(prefills.first().0),
            _ => false,
        }
    }

    /// Tokens of a prompt to compute at the replica that has most of it: what the queue goes by. Only holders of its beginning are asked.
    pub fn new_tokens(&self, request: &Request, now: Time, fleet: &mut dyn Fleet, ready: &Ready) -> u64 {
        let (_, holders) = self.index.few_holders(&request.segments, usize::MAX);
        let cached = |replica: &u32| {
            let overlap = self.index.overlap_of(&request.segments, *replica as usize, now);
            self.effective(self.held(request, *replica as usize, overlap, fleet))
        };
        let most = holders.iter().filter(|&&replica| ready.is(replica as usize)).map(cached).max().unwrap_or(0);
        u64::from(request.input_tokens).saturating_sub(most)
    }

    /// The cost of a replica's load, in tokens: what every cost there is at least, but for what the request itself adds.
    fn load(&self, replica: usize) -> f64 {
        let active = if self.options.track_active_blocks { self.active_tokens[replica] as f64 } else { 0.0 };
        let requests = f64::from(self.options.block_size) * f64::from(self.requests[replica]);
        self.options.prefill_load_scale * self.prefill_tokens[replica] as f64
            + active
            + self.options.decode_active_request_weight * requests
    }

    fn reorder(&mut self, replica: usize) {
        if let Some(prefills) = &mut self.prefills
            && self.keys[replica].is_some()
        {
            prefills.set(replica, self.prefill_tokens[replica]);
        }
        if let Some(before) = self.keys[replica] {
            let key = self.load(replica).to_bits();
            if key != before {
                self.order.remove(&(before, replica as u32));
                self.order.insert((key, replica as u32));
                self.keys[replica] = Some(key);
            }
        }
    }

    pub fn set_available(&mut self, replica: usize, available: bool) {
        let key = self.load(replica).to_bits();
        if let Some(before) = self.keys[replica].take() {
            self.order.remove(&(before, replica as u32));
        }
        if available {
            self.order.insert((key, replica as u32));
            self.keys[replica] = Some(key);
        }
        if let Some(prefills) = &mut self.prefills {
            prefills.set(replica, if available { self.prefill_tokens[replica] } else { u64::MAX });
        }
    }

    fn terms(&self, query: &Query<'_>, replica: usize, overlap: Overlap, held: Held) -> Terms {
        let block = f64::from(self.options.block_size);
        let input_tokens = query.request.input_tokens;
        let new_active = u64::from(input_tokens - overlap.active.min(input_tokens));
        Terms {
            active_prefill_tokens: self.prefill_tokens[replica] as f64,
            prompt_tokens: f64::from(input_tokens),
            device_hit: (held.device / u64::from(self.options.block_size)) as f64,
            host_hit: f64::from(held.below[0] / self.options.block_size),
            disk_hit: f64::from((held.below[1] + held.below[2]) / self.options.block_size),
            excess_prefill: self.prefill_tokens[replica].saturating_sub(query.least_prefill) as f64 / block,
            potential_decode: if self.options.track_active_blocks {
                ((self.active_tokens[replica] + new_active) as f64 / block).ceil()
            } else {
                0.0
            },
            active_requests: f64::from(self.requests[replica]),
        }
    }

    pub fn forget(&mut self, replica: usize) {
        self.index.forget_all(replica);
    }

    fn query<'a>(&self, request: &'a Request, now: Time, ready: &Ready) -> Query<'a> {
        let least_prefill = if self.options.overlap_score_credit_decay > 0.0 {
            ready.list().iter().map(|&replica| self.prefill_tokens[replica as usize]).min().unwrap_or(0)
        } else {
            // It is of no consequence then.
            0
        };
        Query { request, now, least_prefill }
    }

    /// The costs of all replicas that take requests.
    pub fn scores(&self, request: &Request, now: Time, fleet: &mut dyn Fleet, ready: &Ready) -> Vec<Score> {
        let query = self.query(request, now, ready);
        let score = |&replica: &u32| {
            let overlap = self.index.overlap_of(&request.segments, replica as usize, now);
            let terms = self.terms(&query, replica as usize, overlap, self.held(request, replica as usize, overlap, fleet));
            Score { replica, terms, cost: self.options.cost(&terms) }
        };
        ready.list().iter().map(score).collect()
    }

    pub fn choose(&mut self, request: &Request, now: Time, fleet: &mut dyn Fleet, ready: &Ready, stream: &mut Stream) -> usize {
        let (chosen, cached) = if self.options.temperature > 0.0 {
            let scores = self.scores(request, now, fleet, ready);
            let costs: Vec<f64> = scores.iter().map(|score| score.cost).collect();
            let drawn = super::turns::Weighted::new(&weights(&costs, self.options.temperature)).choose(stream);
            let Score { replica, terms, .. } = scores[drawn];
            let tokens = |blocks: f64| blocks as u64 * u64::from(self.options.block_size);
            let below = [tokens(terms.host_hit) as u32, tokens(terms.disk_hit) as u32, 0];
            (replica as usize, self.effective(Held { device: tokens(terms.device_hit), below }))
        } else {
            let offset = stream.below(self.keys.len() as u64) as u32;
            self.cheapest(&self.query(request, now, ready), offset, fleet)
        };
        self.book(request, chosen, cached, now);
        chosen
    }

    /// The tokens of the prompt that the replica holds: by its own word with KV events.
    fn held(&self, request: &Request, replica: usize, overlap: Overlap, fleet: &mut dyn Fleet) -> Held {
        let bound = u64::from(overlap.cached);
        let whole = Held { device: bound, ..Held::default() };
        if bound == 0 || !self.options.kv_events {
            return whole;
        }
        fleet.held(replica, request).map_or(whole, |held| held.at_most(bound))
    }

    /// Tokens that count as cached: those below the GPU by their weights, as Dynamo rounds them.
    fn effective(&self, held: Held) -> u64 {
        let [host, disk, remote] = held.below.map(f64::from);
        held.device + (self.options.host_cache_hit_weight * host + self.options.disk_cache_hit_weight * (disk + remote) + 0.5) as u64
    }

    /// At most the cost with so many tokens of overlap, wherever they are: terms with all of them on the GPU are given.
    fn least_cost(&self, terms: Terms) -> f64 {
        let there = self.options.cost(&terms);
        if !self.options.lower_tiers {
            return there;
        }
        let below = |host_hit, disk_hit| self.options.cost(&Terms { device_hit: 0.0, host_hit, disk_hit, ..terms });
        there.min(below(terms.device_hit, 0.0)).min(below(0.0, terms.device_hit))
    }

    /// Looks at one replica: at its own word only if it may be the cheapest. Corrects the books.
    fn visit(&mut self, query: &Query<'_>, replica: usize, search: &mut Search, fleet: &mut dyn Fleet) {
        let overlap = self.index.overlap_of(&query.request.segments, replica, query.now);
        let bound = u64::from(overlap.cached);
        let all = Held { device: bound, ..Held::default() };
        if search.may_be(self.least_cost(self.terms(query, replica, overlap, all)), replica) {
            let there = self.held(query.request, replica, overlap, fleet);
            let cost = self.options.cost(&self.terms(query, replica, overlap, there));
            let block = u64::from(self.options.block_size);
            // Old news say nothing of what has come since.
            if !self.options.late && there.tokens() / block < bound / block {
                self.index.correct(query.request, replica, there.tokens());
            }
            search.offer(cost, replica, self.effective(there));
        }
    }

    fn cheapest(&mut self, query: &Query<'_>, offset: u32, fleet: &mut dyn Fleet) -> (usize, u64) {
        let replicas = self.keys.len() as u32;
        let mut search = Search { offset, replicas, cost: f64::INFINITY, rank: u32::MAX, found: None };
        // Nobody but the holders of the first segment that few hold has more than what is before it.
        let (before, few) = self.index.few_holders(&query.request.segments, FEW_HOLDERS);
        for replica in few {
            if self.keys[replica as usize].is_some() {
                self.visit(query, replica as usize, &mut search, fleet);
            }
        }
        // Those without load, from the random place on: the cost of one of them is at least that of one with the whole overlap.
        let most = Overlap { cached: before, active: before };
        let idle = self.least_cost(self.idle_terms(query, most));
        for from_offset in [true, false] {
            let range = if from_offset { offset..replicas } else { 0..offset };
            let mut next = range.start;
            while let Some(&(_, replica)) = self.order.range((0, next)..(0, range.end)).next() {
                next = replica + 1;
                if !search.may_be(idle, replica as usize) {
                    break;
                }
                self.visit(query, replica as usize, &mut search, fleet);
            }
        }
        let mut next = (0, u32::MAX);
        while let Some(&(key, replica)) = self.order.range((std::ops::Bound::Excluded(next), std::ops::Bound::Unbounded)).next() {
            next = (key, replica);
            if self.bound(query, f64::from_bits(key), before) > search.cost {
                break;
            }
            self.visit(query, replica as usize, &mut search, fleet);
        }
        search.found.unwrap_or((0, 0))
    }

    /// The terms of a replica without load.
    fn idle_terms(&self, query: &Query<'_>, overlap: Overlap) -> Terms {
        let block = f64::from(self.options.block_size);
        let tokens = query.request.input_tokens;
        let decode = if self.options.track_active_blocks { (f64::from(tokens - overlap.active.min(tokens)) / block).ceil() } else { 0.0 };
        Terms {
            prompt_tokens: f64::from(tokens),
            device_hit: f64::from(overlap.cached / self.options.block_size),
            potential_decode: decode,
            ..Terms::default()
        }
    }

    /// At most the cost of a replica with this load and at most so many tokens of overlap, with room for rounding.
    fn bound(&self, query: &Query<'_>, load: f64, overlap: u32) -> f64 {
        let block = f64::from(self.options.block_size);
        let tokens = f64::from(query.request.input_tokens);
        let decode = if self.options.track_active_blocks { (tokens - f64::from(overlap)).max(0.0) } else { 0.0 };
        let mut credit = self.options.overlap_score_credit;
        if self.options.lower_tiers {
            credit = credit.max(self.options.host_cache_hit_weight).max(self.options.disk_cache_hit_weight);
        }
        let credit = credit * f64::from(overlap / self.options.block_size);
        let cost = (load + self.options.prefill_load_scale * tokens + decode) / block - self.options.prefill_load_scale * credit;
        cost - 1e-9 * (load + tokens + credit + 1.0) * (1.0 + self.options.prefill_load_scale)
    }

    fn book(&mut self, request: &Request, replica: usize, cached: u64, now: Time) {
        // A second try, of whose first end the router has not heard yet.
        self.ended(request.id, now);
        let alone = self.index.sent(&request.segments, replica, now);
        let shared: u32 = request.segments.iter().map(|segment| segment.tokens).sum();
        let private_tokens = request.input_tokens.saturating_sub(shared);
        let prefill_tokens = request.input_tokens.saturating_sub(u32::try_from(cached).unwrap_or(u32::MAX));
        self.prefill_tokens[replica] += u64::from(prefill_tokens);
        self.active_tokens[replica] += alone + u64::from(private_tokens);
        self.requests[replica] += 1;
        self.reorder(replica);
        let reply = request.output_segment.map(|id: SegmentId| Segment { id, tokens: request.output_tokens });
        let sent = Sent { replica: replica as u32, prefill_tokens, private_tokens, segments: request.segments.clone(), reply };
        self.sent.insert(request.id, sent);
    }

    /// Nothing is in flight by the books.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        let none = |counts: &[u64]| counts.iter().all(|&count| count == 0);
        self.sent.is_empty() && none(&self.prefill_tokens) && none(&self.active_tokens) && self.requests.iter().all(|&count| count == 0)
    }

    /// The prompt is computed.
    pub fn prefilled(&mut self, id: u32) {
        if let Some(sent) = self.sent.get_mut(&id) {
            let replica = sent.replica as usize;
            self.prefill_tokens[replica] -= u64::from(std::mem::take(&mut sent.prefill_tokens));
            self.reorder(replica);
        }
    }

    pub fn ended(&mut self, id: u32, now: Time) {
        let Some(sent) = self.sent.remove(&id) else { return };
        let replica = sent.replica as usize;
        self.prefill_tokens[replica] -= u64::from(sent.prefill_tokens);
        self.active_tokens[replica] -= self.index.ended(&sent.segments, replica) + u64::from(sent.private_tokens);
        self.requests[replica] -= 1;
        self.reorder(replica);
        if let Some(reply) = sent.reply {
            self.index.replied(reply, replica, now);
        }
    }
}
