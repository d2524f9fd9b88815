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
use crate::engine::{FirstToken, JobId, News, Observer, RejectReason, Replica, UnderWay};
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
    open: Vec<u32>,
    record: Handover,
}

impl Way {
    /// The prompt is still to be computed by the prefill engine, or its KV is still there.
    fn needs_prefill(&self) -> bool {
        self.prefill_job.is_some() || self.prefilled_at == Time::NEVER
    }

    /// The request is lost with this engine.
    fn needs(&self, replica: usize) -> bool {
        self.decode == Some(replica) || (self.prefill == replica && self.needs_prefill())
    }
}

/// KV at a prefill engine that nobody will fetch, until its lease runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Orphan {
    until: Time,
    replica: usize,
    job: JobId,
    /// Of the engine: a new one in its place knows nothing of it.
    epoch: u32,
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
    /// Requests whose leases run out while their KV waits to be fetched, where leases are not renewed.
    leases: BinaryHeap<Reverse<(Time, u32)>>,
    orphans: BinaryHeap<Reverse<Orphan>>,
    /// By replica: requests that it has or is to have, leases included.
    assigned: Vec<u32>,
    /// By replica: engines that have stood in this place before.
    epochs: Vec<u32>,
    /// Requests that no engine can serve any more.
    stranded: Vec<UnderWay>,
    done: Vec<u32>,
    news: Vec<News>,
}

impl Pools {
    pub(super) fn new(plan: &PoolsPlan, replicas: &mut [Replica], seed: u64) -> Pools {
        let count = replicas.len();
        let decode = &mut replicas[plan.prefill_replicas..];
        let decode_router = Router::new(&plan.decode_router, decode.len(), seed);
        decode.iter_mut().for_each(|replica| Pools::prepare(plan, &decode_router, replica));
        Pools {
            transfers: Transfers::new(plan.fabric.clone()),
            plan: plan.clone(),
            decode_router,
            ways: BTreeMap::new(),
            transfer_of: Vec::new(),
            spare: Vec::new(),
            hang_ups: BinaryHeap::new(),
            leases: BinaryHeap::new(),
            orphans: BinaryHeap::new(),
            assigned: vec![0; count],
            epochs: vec![0; count],
            stranded: Vec::new(),
            done: Vec::new(),
            news: Vec::new(),
        }
    }

    /// A fresh engine of the decode pool is told how to work there.
    fn prepare(plan: &PoolsPlan, router: &Router, replica: &mut Replica) {
        if plan.reuses_on_decode {
            replica.reuse_handed_over();
        }
        if router.listens_for_prefills() {
            replica.keep_prefilled();
        }
        if router.hears_of_caches_late() {
            replica.keep_kv_events();
        }
    }

    /// A fresh engine stands in this place now; what the one before had has been [cut off](Pools::cut).
    pub(super) fn renewed(&mut self, replica: usize, engine: &mut Replica) {
        self.epochs[replica] += 1;
        self.assigned[replica] = 0;
        if let Some(decode) = replica.checked_sub(self.plan.prefill_replicas) {
            Pools::prepare(&self.plan, &self.decode_router, engine);
            self.decode_router.forget(decode);
        }
    }

    /// Whether an engine of the decode pool takes requests from now on.
    pub(super) fn set_decode_available(&mut self, replica: usize, available: bool) {
        if let Some(decode) = replica.checked_sub(self.plan.prefill_replicas) {
            self.decode_router.set_available(decode, available);
        }
    }

    /// Engines of the decode pool that take requests.
    pub(super) fn decode_available(&self) -> usize {
        self.decode_router.available().len()
    }

    /// Requests that the replica has or is to have.
    pub(super) fn assigned(&self, replica: usize) -> u32 {
        self.assigned[replica]
    }

    /// Requests in both pools: between them, and with the decode pool.
    pub(super) fn under_way(&self) -> u64 {
        let between = self.ways.values().filter(|way| way.decode.is_none()).count() as u64;
        between + self.assigned[self.plan.prefill_replicas..].iter().map(|&count| u64::from(count)).sum::<u64>()
    }

    /// Requests that cannot be served any more since this was asked last.
    pub(super) fn take_stranded(&mut self) -> Vec<UnderWay> {
        std::mem::take(&mut self.stranded)
    }

    /// Requests whose KV is kept for nobody.
    pub(super) fn leases(&self) -> usize {
        self.orphans.len()
    }

    /// When the next lease of such KV runs out.
    pub(super) fn next_lease_end(&self) -> Time {
        self.orphans.peek().map_or(Time::NEVER, |Reverse(orphan)| orphan.until)
    }

    /// Replicas that the run's own router knows: the prefill pool.
    pub(super) fn prefill_replicas(&self) -> usize {
        self.plan.prefill_replicas
    }

    /// When something happens next between the pools, the end of leases of KV for nobody left out.
    pub(super) fn next(&self) -> Time {
        let first = |heap: &BinaryHeap<Reverse<(Time, u32)>>| heap.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        self.transfers.next().min(first(&self.hang_ups)).min(first(&self.leases))
    }

    /// Forgets the clocks of requests that are no longer between the pools.
    fn settle(&mut self) {
        for heap in [&mut self.hang_ups, &mut self.leases] {
            while heap.peek().is_some_and(|Reverse((_, request))| !self.ways.contains_key(request)) {
                heap.pop();
            }
        }
    }

    /// A request arrives.
    pub(super) fn deliver(&mut self, request: Request, floor: &mut Floor<'_>) {
        if let Some(decode) = self.plan.conditional.and_then(|rule| self.local(rule, &request, floor)) {
            return self.arrive(decode, request, floor);
        }
        let known = floor.router.caches_known_by(floor.now);
        let prefill = &mut floor.replicas[..self.plan.prefill_replicas];
        let prefill = floor.router.route(&request, floor.now, &mut Engines::still(prefill).known_by(known));
        let sampled = self.plan.first_token != Moment::Decode;
        if sampled && request.output_tokens == 1 {
            // The prefill engine makes all of its reply.
            return self.arrive(prefill, request, floor);
        }
        floor.recorder.arrived(prefill as u16, &request);
        self.assigned[prefill] += 1;
        if let Some(reason) = self.unfit(prefill, &request, floor) {
            floor.recorder.rejected(prefill as u16, request.id, floor.now, reason);
            self.left(prefill, request.id, floor);
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
            open: Vec::new(),
            record: Handover::default(),
        };
        match self.plan.order {
            Order::Pull => self.start_prefill(&mut way, floor),
            // Both pools take requests when one is let in.
            Order::Push => self.offer(&mut way, floor),
        }
        self.ways.insert(id, way);
    }

    /// A whole request goes to one engine.
    fn arrive(&mut self, replica: usize, request: Request, floor: &mut Floor<'_>) {
        let id = request.id;
        self.assigned[replica] += 1;
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
        let known = self.decode_router.caches_known_by(floor.now);
        let chosen = self.decode_router.route(request, floor.now, &mut Engines::still(decode).known_by(known));
        let cached = decode[chosen].held(request).map_or(0, |held| held.device);
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
        let known = self.decode_router.caches_known_by(floor.now);
        let engines = &mut Engines::still(&mut floor.replicas[first..]).known_by(known);
        let decode = first + self.decode_router.route(&way.request, floor.now, engines);
        let job = floor.replicas[decode].offer(way.request.clone(), self.plan.first_token != Moment::Decode, floor.now);
        self.assigned[decode] += 1;
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
            return self.settle();
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
        self.settle();
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
                    Order::Pull if self.decode_router.available().is_empty() => {
                        let what = self.let_go(way, None, floor);
                        self.stranded.push(what);
                        return false;
                    }
                    Order::Pull => {
                        if let Some(lease) = self.plan.lease.filter(|_| !self.plan.renews_leases) {
                            self.leases.push(Reverse((floor.now + lease, way.request.id)));
                        }
                        self.offer(way, floor);
                    }
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
        way.open.push(transfer);
        way.record.bytes += self.plan.route.bytes(until - from);
        way.record.sent_ps = way.record.sent_ps.min(now.0);
    }

    /// When all KV has arrived: the decode engine has it, the prefill engine need not keep it.
    fn complete(&mut self, way: &mut Way, floor: &mut Floor<'_>) {
        let (Some(decode), Some(decode_job), Some(prefill_job)) = (way.decode, way.decode_job, way.prefill_job) else { return };
        if !way.open.is_empty() || way.prefilled_at == Time::NEVER {
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
        self.left(way.prefill, way.request.id, floor);
        floor.refresh(decode);
        floor.refresh(way.prefill);
    }

    /// Does what happens between the pools now, at [`Pools::next`] or [`Pools::next_lease_end`].
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
                way.open.retain(|&other| other != transfer);
                self.complete(&mut way, floor);
                self.ways.insert(request, way);
            }
        }
        self.done = done;
        self.end_leases(floor);
        self.settle();
    }

    /// KV that was kept for too long is no more, and who waited for it is lost.
    fn end_leases(&mut self, floor: &mut Floor<'_>) {
        while let Some(&Reverse((at, request))) = self.leases.peek()
            && at <= floor.now
        {
            self.leases.pop();
            let waits = self.ways.get(&request).is_some_and(|way| way.prefill_job.is_some());
            if let Some(mut way) = self.ways.remove(&request).filter(|_| waits) {
                floor.recorder.lease_ended();
                let what = self.let_go(&mut way, None, floor);
                self.stranded.push(what);
            }
        }
        while let Some(&Reverse(orphan)) = self.orphans.peek()
            && orphan.until <= floor.now
        {
            self.orphans.pop();
            if self.epochs[orphan.replica] == orphan.epoch {
                floor.recorder.lease_ended();
                floor.replicas[orphan.replica].release(orphan.job, floor.now);
                self.assigned[orphan.replica] -= 1;
                floor.refresh(orphan.replica);
            }
        }
    }

    /// A client gives a request up. One that has a seat in the decode pool is that engine's business.
    fn cancel(&mut self, request: u32, floor: &mut Floor<'_>) {
        let Some(mut way) = self.ways.remove(&request) else { return };
        let what = self.let_go(&mut way, None, floor);
        floor.recorder.cancelled(way.prefill as u16, request, way.request.hangs_up, what.tokens, what.prefilled);
        floor.ended.push(request);
    }

    /// The engine fails or cannot be reached: requests on their way between the pools that need it are lost. What it has beside them is
    /// its own to tell.
    pub(super) fn cut(&mut self, replica: usize, floor: &mut Floor<'_>) -> Vec<UnderWay> {
        let hit: Vec<u32> = self.ways.iter().filter(|(_, way)| way.needs(replica)).map(|(&request, _)| request).collect();
        let mut lost = Vec::new();
        for request in hit {
            if let Some(mut way) = self.ways.remove(&request) {
                lost.push(self.let_go(&mut way, Some(replica), floor));
            }
        }
        self.settle();
        lost
    }

    /// Whole or seated requests are lost with an engine.
    pub(super) fn lost_at(&mut self, replica: usize, request: u32, floor: &mut Floor<'_>) {
        self.left(replica, request, floor);
    }

    /// When KV that is kept for a request goes, whose decode engine was there until `now`: a lease from the end of its prefill, or two
    /// thirds of one from the last heartbeat, of which there are six a lease (vLLM's NIXL connector).
    fn lease_end(&self, lease: Time, way: &Way, now: Time) -> Time {
        let first = way.prefilled_at + lease;
        let interval = (lease.0 / 6).max(1);
        let last_beat = Time(way.prefilled_at.0 + now.since(way.prefilled_at).0 / interval * interval);
        if self.plan.renews_leases { first.max(last_beat + Time(lease.0 / 3 * 2)) } else { first }
    }

    /// Both engines let go of a request between the pools. When the decode engine is `gone`, nobody tells the prefill engine, and KV kept
    /// there under a lease stays until that runs out.
    fn let_go(&mut self, way: &mut Way, gone: Option<usize>, floor: &mut Floor<'_>) -> UnderWay {
        let (request, now) = (way.request.id, floor.now);
        let what = UnderWay {
            request,
            tokens: self.tokens_out(way),
            prefilled: self.prefilled_so_far(way, floor.replicas),
            last_token: way.prefilled_at.min(now),
        };
        for transfer in way.open.drain(..) {
            self.transfers.stop(now, transfer);
            self.spare.push(transfer);
        }
        if way.needs_prefill() {
            self.left(way.prefill, request, floor);
        }
        if let Some(job) = way.prefill_job.take() {
            let keeps = gone.is_some() && gone == way.decode && way.prefilled_at != Time::NEVER;
            match self.plan.lease.filter(|_| keeps && gone != Some(way.prefill)) {
                Some(lease) => {
                    let epoch = self.epochs[way.prefill];
                    let until = self.lease_end(lease, way, now).max(now);
                    self.orphans.push(Reverse(Orphan { until, replica: way.prefill, job, epoch }));
                    self.assigned[way.prefill] += 1;
                }
                None => floor.replicas[way.prefill].give_up(job, now),
            }
            floor.refresh(way.prefill);
        }
        if let (Some(decode), Some(job)) = (way.decode, way.decode_job.take()) {
            floor.replicas[decode].give_up(job, now);
            self.left(decode, request, floor);
            floor.refresh(decode);
        }
        what
    }

    /// Tokens that the client has of a request between the pools.
    fn tokens_out(&self, way: &Way) -> u32 {
        u32::from(self.plan.first_token == Moment::Prefill && way.prefilled_at != Time::NEVER)
    }

    fn prefilled_so_far(&self, way: &Way, replicas: &[Replica]) -> u64 {
        way.prefill_job.map_or(way.prefilled_tokens, |job| replicas[way.prefill].prefilled(job))
    }

    /// A request has left an engine, one way or another.
    fn left(&mut self, replica: usize, request: u32, floor: &mut Floor<'_>) {
        self.assigned[replica] = self.assigned[replica].saturating_sub(1);
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
