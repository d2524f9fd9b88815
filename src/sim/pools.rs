//! A prefill pool and a decode pool at work: which engines a request goes through, when its KV moves, and what the engines are told.
//!
//! *Pull*: prefill first; its KV is kept there; an engine of the decode pool takes memory and fetches it. *Push*: an engine of the decode pool
//! takes memory first; then the prompt is computed, and each chunk of KV is sent while the next is computed. What engines do with
//! the legs is in `engine::handover`, what moving takes in `cluster::network`; how documents are read is in `disaggregation`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::disaggregation::{Conditional, Moment, Order, PoolsPlan};
use super::fleet::Engines;
use crate::cluster::network::{Transfers, kv_transfer};
use crate::cluster::{Router, Tournament};
use crate::engine::{FirstToken, JobId, News, Observer, RejectReason, Replica};
use crate::metrics::{Handover, Recorder};
use crate::units::Time;
use crate::workload::Request;

/// What the pools work with, and share with the event loop.
pub(super) struct Floor<'a> {
    pub replicas: &'a mut [Replica],
    pub events: &'a mut Tournament,
    pub recorder: &'a mut Recorder,
    /// Spreads requests over the prefill pool.
    pub router: &'a mut Router,
    pub now: Time,
    /// Requests that have ended.
    pub ended: &'a mut Vec<u32>,
}

impl Floor<'_> {
    fn refresh(&mut self, replica: usize) {
        self.events.set(replica, self.replicas[replica].next_event().0);
    }
}

/// A request on its way from one pool to the other.
struct Way {
    request: Request,
    prefill: usize,
    prefill_job: Option<JobId>,
    /// Number among all replicas; none before one is chosen.
    decode: Option<usize>,
    decode_job: Option<JobId>,
    prefilled_at: Time,
    prefilled_tokens: u64,
    /// Leading tokens that need not be moved.
    cached: u64,
    /// Leading tokens whose transfer has begun.
    sent: u64,
    /// Transfers under way.
    open: u32,
    record: Handover,
}

/// Both pools of a run.
pub(super) struct Pools {
    plan: PoolsPlan,
    decode_router: Router,
    transfers: Transfers,
    ways: BTreeMap<u32, Way>,
    /// The request that each transfer is for; numbers of ended ones are used again.
    transfer_of: Vec<u32>,
    spare: Vec<u32>,
    hang_ups: BinaryHeap<Reverse<(Time, u32)>>,
    done: Vec<u32>,
    news: Vec<News>,
}

impl Pools {
    pub(super) fn new(plan: &PoolsPlan, replicas: &mut [Replica], seed: u64) -> Pools {
        let decode = &mut replicas[plan.prefill_replicas..];
        if plan.reuses_on_decode {
            decode.iter_mut().for_each(Replica::reuse_handed_over);
        }
        let decode_router = Router::new(&plan.decode_router, decode.len(), seed);
        if decode_router.listens_for_prefills() {
            decode.iter_mut().for_each(Replica::keep_prefilled);
        }
        Pools {
            transfers: Transfers::new(plan.fabric.clone()),
            plan: plan.clone(),
            decode_router,
            ways: BTreeMap::new(),
            transfer_of: Vec::new(),
            spare: Vec::new(),
            hang_ups: BinaryHeap::new(),
            done: Vec::new(),
            news: Vec::new(),
        }
    }

    /// Replicas that the run's own router knows: the prefill pool.
    pub(super) fn prefill_replicas(&self) -> usize {
        self.plan.prefill_replicas
    }

    /// When something happens next between the pools.
    pub(super) fn next(&self) -> Time {
        self.transfers.next().min(self.hang_ups.peek().map_or(Time::NEVER, |Reverse((at, _))| *at))
    }

    /// A request arrives.
    pub(super) fn deliver(&mut self, request: Request, floor: &mut Floor<'_>) {
        if let Some(decode) = self.plan.conditional.and_then(|rule| self.local(rule, &request, floor)) {
            return self.arrive(decode, request, floor);
        }
        let prefill = floor.router.route(&request, floor.now, &mut Engines::still(&mut floor.replicas[..self.plan.prefill_replicas]));
        let sampled = self.plan.first_token != Moment::Decode;
        if sampled && request.output_tokens == 1 {
            // The prefill engine makes all of its reply.
            return self.arrive(prefill, request, floor);
        }
        floor.recorder.arrived(prefill as u16, &request);
        if let Some(reason) = self.unfit(prefill, &request, floor) {
            floor.recorder.rejected(prefill as u16, request.id, floor.now, reason);
            floor.router.ended(prefill, request.id, floor.now);
            floor.ended.push(request.id);
            return;
        }
        if request.hangs_up != Time::NEVER {
            self.hang_ups.push(Reverse((request.hangs_up, request.id)));
        }
        let id = request.id;
        let mut way = Way {
            request,
            prefill,
            prefill_job: None,
            decode: None,
            decode_job: None,
            prefilled_at: Time::NEVER,
            prefilled_tokens: 0,
            cached: 0,
            sent: 0,
            open: 0,
            record: Handover::default(),
        };
        match self.plan.order {
            Order::Pull => self.start_prefill(&mut way, floor),
            Order::Push => self.offer(&mut way, floor),
        }
        self.ways.insert(id, way);
    }

    /// A whole request goes to one engine.
    fn arrive(&mut self, replica: usize, request: Request, floor: &mut Floor<'_>) {
        let id = request.id;
        if floor.replicas[replica].arrive(request, floor.recorder) {
            self.left(replica, id, floor);
            floor.ended.push(id);
        }
        floor.refresh(replica);
    }

    /// The decode engine that computes the prompt itself, when the policy says so.
    fn local(&mut self, rule: Conditional, request: &Request, floor: &mut Floor<'_>) -> Option<usize> {
        let first = self.plan.prefill_replicas;
        let decode = &mut floor.replicas[first..];
        let chosen = self.decode_router.route(request, floor.now, &mut Engines::still(decode));
        let cached = decode[chosen].held(request).unwrap_or(0);
        let left = u64::from(request.input_tokens).saturating_sub(cached);
        let short = left < u64::from(rule.max_length) && (left as f64) < rule.max_ratio * f64::from(request.input_tokens);
        // The least busy prefill engine is taken for the one that would get it.
        let least = floor.replicas[..first].iter().map(|replica| replica.load()).map(|(waiting, running)| waiting + running).min();
        let busy = least.unwrap_or(0) >= rule.busy_requests;
        if (rule.by_length && short) || (rule.by_load && busy) {
            return Some(first + chosen);
        }
        self.decode_router.ended(chosen, request.id, floor.now);
        None
    }

    fn unfit(&self, prefill: usize, request: &Request, floor: &Floor<'_>) -> Option<RejectReason> {
        let leg = Request { output_tokens: 1, max_tokens: 1, ..request.clone() };
        let decode = floor.replicas.get(self.plan.prefill_replicas);
        floor.replicas[prefill].unfit(&leg).or_else(|| decode.and_then(|decode| decode.unfit(request)))
    }

    fn start_prefill(&mut self, way: &mut Way, floor: &mut Floor<'_>) {
        let counts = self.plan.first_token != Moment::Decode;
        way.prefill_job = Some(floor.replicas[way.prefill].prefill(&way.request, counts, floor.now));
        floor.refresh(way.prefill);
    }

    fn offer(&mut self, way: &mut Way, floor: &mut Floor<'_>) {
        let first = self.plan.prefill_replicas;
        let decode = first + self.decode_router.route(&way.request, floor.now, &mut Engines::still(&mut floor.replicas[first..]));
        let job = floor.replicas[decode].offer(way.request.clone(), self.plan.first_token != Moment::Decode, floor.now);
        way.decode = Some(decode);
        way.decode_job = Some(job);
        way.record.decode_replica = decode as u16;
        way.record.offered_ps = floor.now.0;
        floor.refresh(decode);
    }

    /// A replica has been at work: what ended there, and what its legs have to say.
    pub(super) fn worked(&mut self, replica: usize, floor: &mut Floor<'_>) {
        let prefilled: Vec<u32> = floor.replicas[replica].take_prefilled().collect();
        for request in prefilled {
            match replica.checked_sub(self.plan.prefill_replicas) {
                None => floor.router.prefilled(replica, request, floor.now),
                Some(decode) => self.decode_router.prefilled(decode, request, floor.now),
            }
        }
        for at in 0..floor.ended.len() {
            self.left(replica, floor.ended[at], floor);
        }
        if !floor.replicas[replica].has_news() {
            return;
        }
        let mut news = std::mem::take(&mut self.news);
        news.extend(floor.replicas[replica].take_news());
        for told in news.drain(..) {
            let request = match told {
                News::Computed { request, .. } | News::Prefilled { request, .. } => request,
                News::Granted { request, .. } | News::Seated { request, .. } => request,
            };
            let Some(mut way) = self.ways.remove(&request) else { continue };
            if self.follow(&mut way, told, floor) {
                self.ways.insert(request, way);
            }
        }
        self.news = news;
    }

    /// What follows from a leg's news. False when the request has left the way between the pools.
    fn follow(&mut self, way: &mut Way, told: News, floor: &mut Floor<'_>) -> bool {
        match told {
            News::Computed { computed, .. } => {
                if self.plan.order == Order::Push {
                    let block = u64::from(self.plan.route.block.max(1));
                    self.send(way, computed / block * block, floor.now);
                }
            }
            News::Prefilled { prefilled, .. } => {
                way.prefilled_at = floor.now;
                way.prefilled_tokens = prefilled;
                way.record.prefilled_ps = floor.now.0;
                if self.plan.first_token == Moment::Prefill {
                    floor.recorder.first_token(way.request.id, floor.now);
                }
                floor.router.prefilled(way.prefill, way.request.id, floor.now);
                match self.plan.order {
                    Order::Pull => self.offer(way, floor),
                    Order::Push => {
                        self.send(way, self.all_of(way), floor.now);
                        self.complete(way, floor);
                    }
                }
            }
            News::Granted { cached, .. } => {
                way.cached = cached;
                way.record.granted_ps = floor.now.0;
                match self.plan.order {
                    Order::Pull => {
                        self.send(way, self.all_of(way), floor.now);
                        self.complete(way, floor);
                    }
                    Order::Push => self.start_prefill(way, floor),
                }
            }
            News::Seated { .. } => {
                way.record.seated_ps = floor.now.0;
                floor.recorder.handed_over(way.request.id, &way.record);
                return false;
            }
        }
        true
    }

    fn all_of(&self, way: &Way) -> u64 {
        kv_transfer::tokens_moved(u64::from(way.request.input_tokens), self.plan.route.block)
    }

    /// Starts to move the KV of the first `until` tokens, but for what is there or on its way.
    fn send(&mut self, way: &mut Way, until: u64, now: Time) {
        let (Some(decode), from) = (way.decode, way.sent.max(way.cached)) else { return };
        if until <= from {
            return;
        }
        let transfer = self.spare.pop().unwrap_or_else(|| {
            self.transfer_of.push(0);
            self.transfer_of.len() as u32 - 1
        });
        self.transfer_of[transfer as usize] = way.request.id;
        let (source, target) = (self.plan.first_gpu[way.prefill], self.plan.first_gpu[decode]);
        self.transfers.start(now, transfer, &self.plan.route, until - from, source, target);
        way.sent = until;
        way.open += 1;
        way.record.bytes += self.plan.route.bytes(until - from);
        way.record.sent_ps = way.record.sent_ps.min(now.0);
    }

    /// When all KV has arrived: the decode engine has it, the prefill engine need not keep it.
    fn complete(&mut self, way: &mut Way, floor: &mut Floor<'_>) {
        let (Some(decode), Some(decode_job), Some(prefill_job)) = (way.decode, way.decode_job, way.prefill_job) else { return };
        if way.open > 0 || way.prefilled_at == Time::NEVER {
            return;
        }
        let first = match self.plan.first_token {
            Moment::Prefill => FirstToken::Given(way.prefilled_at),
            Moment::Seat => FirstToken::Seat,
            Moment::Decode => FirstToken::Decode,
        };
        way.record.arrived_ps = floor.now.0;
        floor.replicas[decode].receive(decode_job, first, way.prefilled_tokens, floor.now);
        floor.replicas[way.prefill].release(prefill_job, floor.now);
        way.prefill_job = None;
        floor.router.ended(way.prefill, way.request.id, floor.now);
        floor.refresh(decode);
        floor.refresh(way.prefill);
    }

    /// Does what happens between the pools now, at [`Pools::next`].
    pub(super) fn process(&mut self, floor: &mut Floor<'_>) {
        while let Some(&Reverse((at, request))) = self.hang_ups.peek()
            && at <= floor.now
        {
            self.hang_ups.pop();
            self.cancel(request, floor);
        }
        let mut done = std::mem::take(&mut self.done);
        self.transfers.process(floor.now, &mut done);
        for transfer in done.drain(..) {
            self.spare.push(transfer);
            let request = self.transfer_of[transfer as usize];
            if let Some(mut way) = self.ways.remove(&request) {
                way.open -= 1;
                self.complete(&mut way, floor);
                self.ways.insert(request, way);
            }
        }
        self.done = done;
    }

    /// A client gives a request up. One that has a seat in the decode pool is that engine's business.
    fn cancel(&mut self, request: u32, floor: &mut Floor<'_>) {
        let Some(way) = self.ways.remove(&request) else { return };
        let prefilled = self.prefilled_so_far(&way, floor.replicas);
        floor.recorder.cancelled(way.prefill as u16, request, way.request.hangs_up, self.tokens_out(&way), prefilled);
        for transfer in 0..self.transfer_of.len() as u32 {
            if self.transfer_of[transfer as usize] == request && !self.spare.contains(&transfer) {
                self.transfers.stop(floor.now, transfer);
                self.spare.push(transfer);
            }
        }
        if let Some(job) = way.prefill_job {
            floor.replicas[way.prefill].give_up(job, floor.now);
            floor.router.ended(way.prefill, request, floor.now);
            floor.refresh(way.prefill);
        }
        if let (Some(decode), Some(job)) = (way.decode, way.decode_job) {
            floor.replicas[decode].give_up(job, floor.now);
            self.decode_router.ended(decode - self.plan.prefill_replicas, request, floor.now);
            floor.refresh(decode);
        }
        floor.ended.push(request);
    }

    /// Tokens that the client has of a request between the pools.
    fn tokens_out(&self, way: &Way) -> u32 {
        u32::from(self.plan.first_token == Moment::Prefill && way.prefilled_at != Time::NEVER)
    }

    fn prefilled_so_far(&self, way: &Way, replicas: &[Replica]) -> u64 {
        way.prefill_job.map_or(way.prefilled_tokens, |job| replicas[way.prefill].prefilled(job))
    }

    /// A whole request has left an engine.
    fn left(&mut self, replica: usize, request: u32, floor: &mut Floor<'_>) {
        match replica.checked_sub(self.plan.prefill_replicas) {
            None => floor.router.ended(replica, request, floor.now),
            Some(decode) => self.decode_router.ended(decode, request, floor.now),
        }
    }

    /// Tells of the requests between the pools when the run ends, and of the network.
    pub(super) fn close(&self, replicas: &[Replica], recorder: &mut Recorder) {
        for way in self.ways.values() {
            recorder.unfinished(way.request.id, self.tokens_out(way), self.prefilled_so_far(way, replicas));
        }
        recorder.links(self.transfers.flows().links());
    }
}
