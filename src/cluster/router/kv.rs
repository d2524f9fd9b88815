//! Dynamo's KV-aware router (`dynamo-kv-router` 1.6.1, `scheduling/selector/reference.rs`): the replica with the least cost in blocks.
//!
//! What the router routed is an upper bound on what engines hold, since it forgets nothing of theirs that was not evicted. With KV
//! events the true holdings matter: the cheapest replica by the bound is asked, and its cost corrected, until the cheapest one
//! is true. That finds the same replica as asking all.

use std::collections::BTreeMap;

use super::Fleet;
use super::prefix_index::PrefixIndex;
use super::ready::Ready;
use super::signals::any;
use crate::math;
use crate::rng::Stream;
use crate::units::Time;
use crate::workload::{Request, Segment, SegmentId};

/// Credit of a block that is in host memory, and on disk.
const HOST_CREDIT: f64 = 0.75;
const DISK_CREDIT: f64 = 0.25;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvOptions {
    pub overlap_score_credit: f64,
    pub overlap_score_credit_decay: f64,
    pub prefill_load_scale: f64,
    pub decode_active_request_weight: f64,
    pub temperature: f64,
    pub kv_events: bool,
    pub ttl: Time,
    pub track_active_blocks: bool,
    /// Tokens in a block of the engines.
    pub block_size: u32,
}

impl Default for KvOptions {
    fn default() -> KvOptions {
        KvOptions {
            overlap_score_credit: 1.0,
            overlap_score_credit_decay: 0.0,
            prefill_load_scale: 1.0,
            decode_active_request_weight: 0.0,
            temperature: 0.0,
            kv_events: true,
            ttl: Time::from_s(120.0),
            track_active_blocks: true,
            block_size: 16,
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
        let credit = self.overlap_score_credit * decay * terms.device_hit + HOST_CREDIT * terms.host_hit + DISK_CREDIT * terms.disk_hit;
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

/// The router's books.
#[derive(Debug)]
pub struct KvRouter {
    options: KvOptions,
    index: PrefixIndex,
    sent: BTreeMap<u32, Sent>,
    prefill_tokens: Vec<u64>,
    /// Tokens of prompts in flight, equal contents once.
    active_tokens: Vec<u64>,
    requests: Vec<u32>,
    costs: Vec<f64>,
    best: Vec<u32>,
    known: Vec<u32>,
}

impl KvRouter {
    pub fn new(options: KvOptions, replicas: usize) -> KvRouter {
        let ttl = if options.kv_events { Time::NEVER } else { options.ttl };
        KvRouter {
            options,
            index: PrefixIndex::new(replicas, ttl),
            sent: BTreeMap::new(),
            prefill_tokens: vec![0; replicas],
            active_tokens: vec![0; replicas],
            requests: vec![0; replicas],
            costs: vec![0.0; replicas],
            best: Vec::new(),
            known: Vec::new(),
        }
    }

    fn terms(&self, request: &Request, replica: usize, cached_tokens: u64, least_prefill: u64) -> Terms {
        let block = f64::from(self.options.block_size);
        let overlap = self.index.overlap(replica);
        let new_active = u64::from(request.input_tokens - overlap.active.min(request.input_tokens));
        Terms {
            active_prefill_tokens: self.prefill_tokens[replica] as f64,
            prompt_tokens: f64::from(request.input_tokens),
            device_hit: (cached_tokens / u64::from(self.options.block_size)) as f64,
            excess_prefill: (self.prefill_tokens[replica] - least_prefill) as f64 / block,
            potential_decode: if self.options.track_active_blocks {
                ((self.active_tokens[replica] + new_active) as f64 / block).ceil()
            } else {
                0.0
            },
            active_requests: f64::from(self.requests[replica]),
            ..Terms::default()
        }
    }

    pub fn forget(&mut self, replica: usize) {
        self.index.forget_all(replica);
    }

    pub fn choose(&mut self, request: &Request, now: Time, fleet: &mut dyn Fleet, ready: &Ready, stream: &mut Stream) -> usize {
        self.index.look_up(request, now);
        let least_prefill = ready.list().iter().map(|&replica| self.prefill_tokens[replica as usize]).min().unwrap_or(0);
        self.costs.fill(f64::INFINITY);
        for replica in ready.list().iter().map(|&replica| replica as usize) {
            let cached = u64::from(self.index.overlap(replica).cached);
            self.costs[replica] = self.options.cost(&self.terms(request, replica, cached, least_prefill));
        }
        self.known.clear();
        let (chosen, cached) = if self.options.temperature > 0.0 {
            self.draw(request, least_prefill, fleet, ready, stream)
        } else {
            self.cheapest(request, least_prefill, fleet, stream)
        };
        self.book(request, chosen, cached, now);
        chosen
    }

    /// The tokens of the prompt that the replica holds: by its own word with KV events. Corrects the books.
    fn cached(&mut self, request: &Request, replica: usize, fleet: &mut dyn Fleet) -> u64 {
        let bound = u64::from(self.index.overlap(replica).cached);
        if bound == 0 || !self.options.kv_events {
            return bound;
        }
        let there = fleet.held(replica, request).unwrap_or(bound).min(bound);
        if there / u64::from(self.options.block_size) < bound / u64::from(self.options.block_size) {
            self.index.correct(request, replica, there);
        }
        there
    }

    fn cheapest(&mut self, request: &Request, least_prefill: u64, fleet: &mut dyn Fleet, stream: &mut Stream) -> (usize, u64) {
        loop {
            let mut least = f64::INFINITY;
            self.best.clear();
            for (replica, &cost) in self.costs.iter().enumerate() {
                if cost < least {
                    least = cost;
                    self.best.clear();
                }
                if cost == least {
                    self.best.push(replica as u32);
                }
            }
            let chosen = any(&self.best, stream);
            let cached = self.cached(request, chosen, fleet);
            let cost = self.options.cost(&self.terms(request, chosen, cached, least_prefill));
            if cost <= self.costs[chosen] || self.known.contains(&(chosen as u32)) {
                return (chosen, cached);
            }
            self.known.push(chosen as u32);
            self.costs[chosen] = cost;
        }
    }

    fn draw(&mut self, request: &Request, least_prefill: u64, fleet: &mut dyn Fleet, ready: &Ready, stream: &mut Stream) -> (usize, u64) {
        let mut cached = vec![0; self.costs.len()];
        for replica in ready.list().iter().map(|&replica| replica as usize) {
            cached[replica] = self.cached(request, replica, fleet);
            self.costs[replica] = self.options.cost(&self.terms(request, replica, cached[replica], least_prefill));
        }
        let weights = super::turns::Weighted::new(&weights(&self.costs, self.options.temperature));
        let chosen = weights.choose(stream);
        (chosen, cached[chosen])
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
            self.prefill_tokens[sent.replica as usize] -= u64::from(std::mem::take(&mut sent.prefill_tokens));
        }
    }

    pub fn ended(&mut self, id: u32, now: Time) {
        let Some(sent) = self.sent.remove(&id) else { return };
        let replica = sent.replica as usize;
        self.prefill_tokens[replica] -= u64::from(sent.prefill_tokens);
        self.active_tokens[replica] -= self.index.ended(&sent.segments, replica) + u64::from(sent.private_tokens);
        self.requests[replica] -= 1;
        if let Some(reply) = sent.reply {
            self.index.replied(reply, replica, now);
        }
    }
}
