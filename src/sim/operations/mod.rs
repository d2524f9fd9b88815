//! A run in operation: replicas that come, go and fail, requests that wait before them, are lost and tried again.
//!
//! One more source of events beside arrivals and replicas; at one instant it comes after both. Rules are `cluster`'s; here is what
//! they do to a run. A replica's failure is its horizon, so that nothing it would have done later is told.

mod failures;
mod flow;
pub(super) mod plan;
mod scaling;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::Simulation;
use crate::cluster::admission::Admission;
use crate::cluster::faults::{Inventory, Schedule};
use crate::cluster::planner::Startup;
use crate::cluster::retries::Retries;
use crate::engine::FULL_SPEED;
use crate::metrics::{FleetEvent, FleetEventKind, FleetSize, TenantLog};
use crate::units::Time;
use crate::workload::Request;
use plan::OperationsPlan;
use scaling::Scaler;

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    Starting,
    Serving,
    /// Finishes what it has, then is taken away for good (`stop`) or for a time.
    Draining {
        stop: bool,
    },
    /// Failed, or taken down for a time.
    Down,
}

/// A place for a replica.
#[derive(Clone, Debug)]
struct Slot {
    phase: Phase,
    /// Pieces of its hardware that are broken, and orders to take it down.
    broken: u32,
    taken_down: u32,
    unreachable: u32,
    slowdown: u32,
    in_flight: u32,
    /// Starts so far: a start-up that was called off is known by it.
    starts: u32,
    paid_since: Option<u64>,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queue,
    At(usize),
    /// With its client, until it is tried again.
    Away,
}

/// A request that has come and not ended.
#[derive(Clone, Debug)]
struct InFlight {
    request: Request,
    attempts: u32,
    /// Tokens of earlier tries that stay.
    kept: u32,
    place: Place,
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A start-up is over: replica and number of the start.
    Started(u32, u32),
    /// A request is tried again.
    Again(u32),
    /// The client of a request gives up, if no replica has it.
    HangUp(u32),
    /// A scaler looks.
    Scale(u32),
}

/// What became of a try that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub at: Time,
    pub request: u32,
    /// It did not get in; else it was lost.
    pub refused: bool,
    /// Number of the next try and when it begins; none: the request was given up.
    pub next: Option<(u32, Time)>,
}

/// Retries kept for somebody who looks at one moment.
const RETRIES_KEPT: usize = 24;

/// Everything about the operation of a run.
pub(super) struct Operations {
    plan: OperationsPlan,
    schedule: Schedule,
    retries: Option<Retries>,
    admission: Admission,
    scalers: Vec<Scaler>,
    slots: Vec<Slot>,
    router_down: u32,
    requests: BTreeMap<u32, InFlight>,
    due: BinaryHeap<Reverse<(Time, Due)>>,
    /// The latest; kept only when asked for.
    tried_again: Option<VecDeque<Retry>>,
}

impl Operations {
    fn new(plan: &OperationsPlan, seed: u64) -> Operations {
        let gpus: u32 = plan.gpus.iter().sum();
        let inventory = Inventory { gpus, nodes: plan.nodes(), replicas: plan.gpus.len() as u32 };
        let serves: Vec<bool> = plan.pools.iter().flat_map(|pool| (0..pool.most).map(|index| index < pool.initial)).collect();
        let slot = |index: usize| Slot {
            phase: if serves[index] { Phase::Serving } else { Phase::Stopped },
            broken: 0,
            taken_down: 0,
            unreachable: 0,
            slowdown: FULL_SPEED,
            in_flight: 0,
            starts: 0,
            paid_since: serves[index].then_some(0),
        };
        let mut operations = Operations {
            schedule: Schedule::new(&plan.faults, inventory, seed),
            retries: plan.retries.map(|spec| Retries::new(spec, seed)),
            admission: Admission::new(plan.admission.clone()),
            scalers: plan.scalers.iter().filter_map(Scaler::new).collect(),
            slots: (0..plan.gpus.len()).map(slot).collect(),
            router_down: 0,
            requests: BTreeMap::new(),
            due: BinaryHeap::new(),
            tried_again: None,
            plan: plan.clone(),
        };
        for (which, scaler) in operations.scalers.iter().enumerate() {
            operations.due.push(Reverse((scaler.next(), Due::Scale(which as u32))));
        }
        operations
    }

    /// Keeps the latest retries.
    pub(super) fn watch(&mut self) {
        self.tried_again = Some(VecDeque::new());
    }

    /// The latest retries, when they are kept.
    pub(super) fn tried_again(&self) -> Vec<Retry> {
        self.tried_again.iter().flatten().copied().collect()
    }

    fn note(&mut self, retry: Retry) {
        if let Some(kept) = &mut self.tried_again {
            if kept.len() == RETRIES_KEPT {
                kept.pop_front();
            }
            kept.push_back(retry);
        }
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Time {
        self.due.peek().map_or(Time::NEVER, |Reverse((at, _))| *at).min(self.schedule.next())
    }

    /// Whether the end of one request may send another one to any replica.
    pub(super) fn ends_let_in(&self) -> bool {
        self.plan.admission.max_in_flight_per_replica.is_some() || self.plan.router_queue
    }

    /// Requests that no replica has, and something may still become of.
    pub(super) fn has_hope(&self, now: Time) -> bool {
        if self.requests.values().all(|request| matches!(request.place, Place::At(_))) {
            return false;
        }
        let away = self.requests.values().any(|request| request.place == Place::Away || request.request.hangs_up != Time::NEVER);
        let alive = |replica: usize, slot: &Slot| slot.phase != Phase::Stopped && !self.plan.doomed(replica, now);
        let served =
            |range: std::ops::Range<usize>| self.slots[range.clone()].iter().enumerate().any(|(at, slot)| alive(range.start + at, slot));
        away || self.plan.ranges().all(served)
    }

    fn startup(&self, replica: usize) -> Startup {
        self.plan.startup.get(replica).copied().unwrap_or_default()
    }

    /// Of these replicas, those that are there or on their way, those that will go left out.
    fn expected(&self, replicas: std::ops::Range<usize>) -> u32 {
        self.slots[replicas].iter().filter(|slot| !matches!(slot.phase, Phase::Stopped | Phase::Draining { stop: true })).count() as u32
    }

    /// States of the replicas, and whether those of some pool are all out of service.
    fn size(&self, now: Time) -> FleetSize {
        let mut size = self.size_of(0..self.slots.len(), now);
        size.out_of_service = self.plan.ranges().any(|range| self.size_of(range, now).serving == 0);
        size
    }

    fn size_of(&self, replicas: std::ops::Range<usize>, now: Time) -> FleetSize {
        let mut size = FleetSize { at_ps: now.0, ..FleetSize::default() };
        for slot in &self.slots[replicas] {
            match slot.phase {
                Phase::Stopped => {}
                Phase::Starting => size.starting += 1,
                Phase::Serving if slot.unreachable == 0 => size.serving += 1,
                Phase::Draining { .. } => size.draining += 1,
                Phase::Serving | Phase::Down => size.down += 1,
            }
        }
        size.out_of_service = size.serving == 0;
        size
    }
}

impl Simulation {
    /// Sets the operation up, where there is any.
    pub(super) fn begin_operations(&mut self) {
        let Some(plan) = self.plan.operations.clone() else { return };
        let operations = Operations::new(&plan, self.plan.source.seed);
        self.recorder.expect_operations();
        let log = self.recorder.fleet_log();
        log.kept = true;
        log.paid = vec![Vec::new(); plan.gpus.len()];
        log.size(operations.size(Time::ZERO));
        if plan.pools.len() > 1 {
            log.pools = plan.ranges().map(|range| vec![operations.size_of(range, Time::ZERO)]).collect();
        }
        log.tenants = plan
            .admission
            .tenants
            .iter()
            .enumerate()
            .map(|(index, tenant)| {
                let owned = plan.admission.tenant_of.iter().enumerate().filter(|(_, of)| usize::from(**of) == index);
                TenantLog { name: tenant.name.clone(), weight: tenant.weight, profiles: owned.map(|(profile, _)| profile as u16).collect() }
            })
            .collect();
        self.operations = Some(Box::new(operations));
        for replica in 0..plan.gpus.len() {
            self.foresee(replica);
            self.refresh(replica);
        }
    }

    /// Does what is due now in the operation.
    pub(super) fn operate(&mut self) {
        if self.router.next_news() <= self.now {
            self.router.hear(self.now);
            return self.let_in();
        }
        let Some(operations) = &mut self.operations else { return };
        if operations.schedule.next() <= self.now {
            if let Some(event) = operations.schedule.take() {
                self.fault(event);
            }
            return;
        }
        let Some(Reverse((_, due))) = operations.due.pop() else { return };
        match due {
            Due::Started(replica, start) => self.started(replica as usize, start),
            Due::Again(id) => self.again(id),
            Due::HangUp(id) => self.hung_up_outside(id),
            Due::Scale(which) => self.scale(which as usize),
        }
    }

    /// The end of the run: what is still outside, and the last of the bills.
    pub(super) fn close_operations(&mut self) {
        let Some(operations) = &self.operations else { return };
        for (id, request) in &operations.requests {
            if !matches!(request.place, Place::At(_)) {
                self.recorder.still_waits(*id);
            }
        }
        for (replica, slot) in operations.slots.iter().enumerate() {
            if let Some(since) = slot.paid_since {
                self.recorder.fleet_log().paid[replica].push((since, u64::MAX));
            }
        }
    }

    /// Tells the router whether the replica takes requests.
    fn refresh(&mut self, replica: usize) {
        let Some(operations) = &self.operations else { return };
        let slot = &operations.slots[replica];
        let takes = slot.phase == Phase::Serving && slot.unreachable == 0 && operations.router_down == 0;
        let most = operations.plan.admission.max_in_flight_per_replica;
        match &mut self.pools {
            Some(pools) if replica >= pools.prefill_replicas() => pools.set_decode_available(replica, takes),
            Some(pools) => {
                let room = most.is_none_or(|most| pools.assigned(replica) < most);
                self.router.set_available(replica, takes && room);
            }
            None => {
                let room = most.is_none_or(|most| slot.in_flight < most);
                self.router.set_available(replica, takes && room);
            }
        }
    }

    fn log(&mut self, kind: FleetEventKind, replica: Option<usize>, before: u32, value: u32, reason: &'static str) {
        let pool = replica.and_then(|replica| Some(self.operations.as_ref()?.plan.pool_of(replica)));
        self.log_of(kind, replica, pool, (before, value), reason);
    }

    /// A scaler asks for `value` replicas of a pool that has `before`.
    fn log_decision(&mut self, pool: usize, before: u32, value: u32, reason: &'static str) {
        self.log_of(FleetEventKind::Decision, None, Some(pool), (before, value), reason);
    }

    fn log_of(
        &mut self,
        kind: FleetEventKind,
        replica: Option<usize>,
        pool: Option<usize>,
        (before, value): (u32, u32),
        reason: &'static str,
    ) {
        let Some(operations) = &self.operations else { return };
        let size = operations.size(self.now);
        let sizes: Vec<FleetSize> = operations.plan.ranges().map(|range| operations.size_of(range, self.now)).collect();
        let log = self.recorder.fleet_log();
        let pool = pool.filter(|_| !log.pools.is_empty());
        let event = FleetEvent {
            at_ps: self.now.0,
            kind,
            replica: replica.map(|index| index as u16),
            pool: pool.map(|pool| pool as u8),
            before,
            value,
            reason,
        };
        log.event(event);
        log.size(size);
        log.sizes_of_pools(&sizes);
    }
}
