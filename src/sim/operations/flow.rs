//! The way of a request before and between replicas: into the queue, to a replica, back, and its end.

use std::cmp::Reverse;

use super::{Due, InFlight, Phase, Place, Retry};
use crate::cluster::admission::{Refusal, Ticket};
use crate::cluster::router::queue::QueueOrder;
use crate::engine::{RejectReason, UnderWay};
use crate::sim::Simulation;
use crate::sim::fleet::Engines;
use crate::units::Time;
use crate::workload::Request;

impl Simulation {
    /// A request comes to the router for the first time.
    pub(in crate::sim) fn request_comes(&mut self, request: Request) {
        let Some(operations) = &mut self.operations else { return };
        let id = request.id;
        if self.encode.is_none() {
            // Else it came when it went to the encoders.
            self.recorder.came(&request);
        }
        operations.scalers.iter_mut().for_each(|scaler| scaler.saw_arrival(&request));
        if request.hangs_up != Time::NEVER {
            operations.due.push(Reverse((request.hangs_up, Due::HangUp(id))));
        }
        operations.requests.insert(id, InFlight { request, attempts: 1, kept: 0, place: Place::Away });
        self.enter(id);
    }

    /// A try begins: into the queue, and on if there is room.
    fn enter(&mut self, id: u32) {
        let must_wait = !self.takes_requests();
        let score = if must_wait { self.score(id) } else { 0.0 };
        let Some(operations) = &mut self.operations else { return };
        let Some(entry) = operations.requests.get_mut(&id) else { return };
        if operations.router_down > 0 || (must_wait && !operations.plan.queues) {
            self.turned_away(id, RejectReason::Unavailable);
            return;
        }
        let ticket = Ticket {
            id,
            tenant: operations.admission.tenant_of(entry.request.profile),
            priority: entry.request.priority,
            input_tokens: entry.request.input_tokens + entry.kept,
            score,
        };
        match operations.admission.come(ticket, self.now, must_wait) {
            Ok(()) => {
                entry.place = Place::Queue;
                self.let_in();
                let waiting = self.operations.as_ref().map_or(0, |operations| operations.admission.waiting());
                let log = self.recorder.fleet_log();
                log.queue_peak = log.queue_peak.max(waiting);
            }
            Err(Refusal::QueueFull) => self.turned_away(id, RejectReason::AdmissionQueueFull),
            Err(Refusal::RateLimited) => self.turned_away(id, RejectReason::RateLimited),
        }
    }

    /// By which the router's queue orders a request that comes now.
    fn score(&mut self, id: u32) -> f64 {
        let Some(operations) = &self.operations else { return 0.0 };
        let (Some(order), Some(entry)) = (operations.plan.queue_order, operations.requests.get(&id)) else { return 0.0 };
        let new_tokens = match order {
            QueueOrder::Wspt => {
                let known = self.router.caches_known_by(self.now);
                self.router.new_tokens(&entry.request, self.now, &mut Engines::still(&mut self.replicas).known_by(known))
            }
            _ => 0,
        };
        order.score(entry.request.priority, self.now.as_s(), new_tokens)
    }

    /// Whether there is a replica, or one in each pool, that takes a request.
    fn takes_requests(&self) -> bool {
        if self.router.holds_back() {
            return false;
        }
        let Some(pools) = &self.pools else { return !self.router.available().is_empty() };
        let most = self.operations.as_ref().and_then(|operations| operations.plan.admission.max_in_flight_per_replica);
        let decoding = pools.decode_available();
        let room = most.is_none_or(|most| pools.under_way() < u64::from(most) * decoding as u64);
        decoding > 0 && room && !self.router.available().is_empty()
    }

    /// Sends those that wait to replicas, while there is one that takes them.
    pub(super) fn let_in(&mut self) {
        while self.takes_requests() {
            let Some(operations) = &mut self.operations else { return };
            let Some(ticket) = operations.admission.take_next() else { return };
            let Some(entry) = operations.requests.get_mut(&ticket.id) else { continue };
            let request = attempt(entry, self.now);
            if self.pools.is_some() {
                entry.place = Place::At(0);
                self.let_into_pools(ticket.id, request);
                continue;
            }
            let known = self.router.caches_known_by(self.now);
            let replica = self.router.route(&request, self.now, &mut Engines::still(&mut self.replicas).known_by(known));
            entry.place = Place::At(replica);
            operations.slots[replica].in_flight += 1;
            self.refresh(replica);
            let turned_away = self.replicas[replica].arrive(request, &mut self.recorder);
            self.events.set(replica, self.replicas[replica].next_event().0);
            if turned_away {
                self.left(replica, ticket.id, Some(0));
                if !self.try_later(ticket.id, true) {
                    self.over(ticket.id);
                }
            }
        }
    }

    /// A request goes to the pools, which choose its engines.
    fn let_into_pools(&mut self, id: u32, request: Request) {
        self.at_pools(|pools, floor| pools.deliver(request, floor));
        self.refresh_rooms();
        if self.ended.pop().is_some() {
            // It fits none of them.
            self.left(0, id, Some(0));
            if !self.try_later(id, true) {
                self.over(id);
            }
        }
    }

    /// Where the number of requests at a replica is limited: who has room again, or no more.
    fn refresh_rooms(&mut self) {
        if self.operations.as_ref().is_some_and(|operations| operations.ends_let_in()) {
            (0..self.router_replicas()).for_each(|replica| self.refresh(replica));
        }
    }

    /// After something has happened in pools: requests that ended or cannot be served, room for those that wait, engines that have
    /// finished what they had.
    pub(in crate::sim) fn after_pools(&mut self) {
        let stranded = self.pools.as_mut().map(|pools| pools.take_stranded()).unwrap_or_default();
        if self.operations.is_none() {
            for what in stranded {
                self.recorder.lost(what.request, what.tokens, what.prefilled, false, what.last_token);
                self.recorder.gone(what.request);
                self.ended.push(what.request);
            }
            return;
        }
        for id in std::mem::take(&mut self.ended) {
            self.request_ends(0, id);
        }
        self.refresh_rooms();
        for what in stranded {
            self.lost(Some(0), what);
        }
        self.let_in();
        self.take_drained();
    }

    /// Draining replicas that are empty by now go.
    fn take_drained(&mut self) {
        let Some(operations) = &self.operations else { return };
        let draining = |(replica, slot): (usize, &super::Slot)| match slot.phase {
            Phase::Draining { stop } => Some((replica, stop)),
            _ => None,
        };
        let draining: Vec<(usize, bool)> = operations.slots.iter().enumerate().filter_map(draining).collect();
        for (replica, stop) in draining {
            if self.is_empty(replica) {
                self.drained(replica, stop);
            }
        }
    }

    /// Nothing is at a replica, nor to come.
    pub(super) fn is_empty(&self, replica: usize) -> bool {
        let idle = self.replicas[replica].load() == (0, 0) && self.replicas[replica].next_event() == Time::NEVER;
        idle && self.pools.as_ref().is_none_or(|pools| pools.assigned(replica) == 0)
    }

    /// A request is no longer at a replica. `output_tokens`: what its tenant is charged for, none: what was expected.
    fn left(&mut self, replica: usize, id: u32, output_tokens: Option<u32>) {
        let pooled = self.pools.is_some();
        if !pooled {
            self.router.ended(replica, id, self.now);
        }
        let Some(operations) = &mut self.operations else { return };
        if !pooled {
            // Pools keep their own books.
            operations.slots[replica].in_flight -= 1;
        }
        if let Some(entry) = operations.requests.get_mut(&id) {
            entry.place = Place::Away;
            let tenant = operations.admission.tenant_of(entry.request.profile);
            operations.admission.ended(id, tenant, output_tokens);
            if entry.attempts > 1
                && let Some(retries) = &mut operations.retries
            {
                retries.ended();
            }
        }
        if !pooled {
            self.refresh(replica);
        }
    }

    /// A request's last word: its client has the reply, or knows that there will be none.
    fn over(&mut self, id: u32) {
        let Some(operations) = &mut self.operations else { return };
        operations.requests.remove(&id);
        self.arrival = None;
        self.source.ended(id, self.now);
        self.requests_ended += 1;
    }

    /// A replica tells that a request has ended there, by its last token or by its client's hanging up.
    pub(in crate::sim) fn request_ends(&mut self, replica: usize, id: u32) {
        let Some(operations) = &mut self.operations else { return };
        let Some(entry) = operations.requests.get(&id) else { return };
        let finished = entry.request.hangs_up != self.now;
        let output_tokens = entry.request.output_tokens;
        if finished {
            let cached = self.recorder.cached_tokens(id);
            operations.scalers.iter_mut().for_each(|scaler| scaler.saw_end(&entry.request, cached));
        }
        self.left(replica, id, finished.then_some(output_tokens));
        self.over(id);
    }

    /// After a replica has done something: those that wait may find room, and a draining one may be empty.
    pub(in crate::sim) fn after_events(&mut self, replica: usize) {
        self.let_in();
        let Some(operations) = &self.operations else { return };
        if let Phase::Draining { stop } = operations.slots[replica].phase
            && self.is_empty(replica)
        {
            self.drained(replica, stop);
        }
    }

    /// A request does not get in.
    fn turned_away(&mut self, id: u32, reason: RejectReason) {
        self.recorder.refused(id, reason);
        if let Some(operations) = &mut self.operations
            && let Some(entry) = operations.requests.get_mut(&id)
        {
            // It counted as a retry under way, and no longer does.
            if entry.attempts > 1
                && let Some(retries) = &mut operations.retries
            {
                retries.ended();
            }
            entry.place = Place::Away;
        }
        if !self.try_later(id, true) {
            self.over(id);
        }
    }

    /// What a replica had is lost, or what waited before it.
    pub(super) fn lost(&mut self, from: Option<usize>, what: UnderWay) {
        let id = what.request;
        match from {
            Some(replica) => self.left(replica, id, Some(what.tokens)),
            None => {
                let Some(operations) = &mut self.operations else { return };
                operations.admission.leave(id);
                if let Some(entry) = operations.requests.get_mut(&id) {
                    entry.place = Place::Away;
                    if entry.attempts > 1
                        && let Some(retries) = &mut operations.retries
                    {
                        retries.ended();
                    }
                }
            }
        }
        let Some(operations) = &mut self.operations else { return };
        let keep = operations.retries.as_ref().is_some_and(|retries| retries.spec().keep_tokens);
        if let Some(entry) = operations.requests.get_mut(&id) {
            // Several replies to one prompt have no single place to go on from.
            let keep = keep && entry.request.samples <= 1;
            let kept = if keep { what.tokens.min(entry.request.output_tokens - entry.kept - 1) } else { 0 };
            entry.kept += kept;
            let tokens = if keep { kept } else { what.tokens };
            self.recorder.lost(id, tokens, what.prefilled, keep, what.last_token);
        }
        if !self.try_later(id, false) {
            self.recorder.gone(id);
            self.over(id);
        }
    }

    /// Has a request tried again after a while, if it may be.
    fn try_later(&mut self, id: u32, rejected: bool) -> bool {
        let next = self.next_try(id, rejected);
        if let Some(operations) = &mut self.operations {
            operations.note(Retry { at: self.now, request: id, refused: rejected, next });
        }
        next.is_some()
    }

    /// Number and time of its next try, which is on its way from here on.
    fn next_try(&mut self, id: u32, rejected: bool) -> Option<(u32, Time)> {
        let operations = self.operations.as_mut()?;
        let under_way = operations.requests.len() as u32;
        let retries = operations.retries.as_mut().filter(|retries| !rejected || retries.spec().rejected)?;
        let entry = operations.requests.get_mut(&id)?;
        let begins = self.now + retries.grant(entry.attempts, under_way)?;
        entry.attempts += 1;
        let attempt = entry.attempts;
        operations.due.push(Reverse((begins, Due::Again(id))));
        self.recorder.again(id);
        Some((attempt, begins))
    }

    pub(super) fn again(&mut self, id: u32) {
        if self.operations.as_ref().is_some_and(|operations| operations.requests.contains_key(&id)) {
            self.enter(id);
        }
    }

    /// A client gives up: of a request that a replica has, that one knows.
    pub(super) fn hung_up_outside(&mut self, id: u32) {
        let Some(operations) = &mut self.operations else { return };
        let Some(entry) = operations.requests.get(&id) else { return };
        match entry.place {
            Place::At(_) => return,
            Place::Queue => operations.admission.leave(id),
            Place::Away => {}
        }
        if entry.attempts > 1
            && let Some(retries) = &mut operations.retries
        {
            retries.ended();
        }
        self.recorder.given_up(id, self.now);
        self.over(id);
    }
}

/// The request of a try: it goes on after the tokens kept, which are part of its prompt now.
fn attempt(entry: &InFlight, now: Time) -> Request {
    let mut request = entry.request.clone();
    request.arrival = now;
    if entry.kept > 0 {
        request.input_tokens += entry.kept;
        request.output_tokens -= entry.kept;
        request.max_tokens -= entry.kept;
        // Its end is not the end of the reply that a next turn names, as far as a cache can tell.
        request.output_segment = None;
    }
    request
}
