//! What failures, repairs and orders to go down do to replicas and requests.

use std::cmp::Reverse;

use super::{Due, Phase, Place};
use crate::cluster::faults::{FaultEvent, Unit};
use crate::engine::{FULL_SPEED, UnderWay};
use crate::metrics::FleetEventKind;
use crate::sim::Simulation;
use crate::units::Time;

impl Simulation {
    pub(super) fn fault(&mut self, event: FaultEvent) {
        let Some(operations) = &self.operations else { return };
        let replicas = 0..operations.slots.len();
        match event.unit {
            Unit::Gpu(_) | Unit::Node(_) => {
                let hit: Vec<usize> = replicas.filter(|&replica| operations.plan.stands_on(replica, event.unit)).collect();
                let reason = if matches!(event.unit, Unit::Gpu(_)) { "a GPU" } else { "a node" };
                for replica in hit {
                    if event.fails { self.hardware_fails(replica, reason) } else { self.hardware_is_back(replica) }
                }
            }
            Unit::Link(replica) => self.link(replica as usize, event.fails),
            Unit::Drain(replica) => self.take_down(replica as usize, event.fails),
            Unit::Slow { replica, thousandths } => {
                let factor = if event.fails { thousandths } else { FULL_SPEED };
                if let Some(operations) = &mut self.operations
                    && let Some(slot) = operations.slots.get_mut(replica as usize)
                {
                    let before = slot.slowdown;
                    slot.slowdown = factor;
                    self.replicas[replica as usize].slow_down(factor);
                    self.log(FleetEventKind::Slowed, Some(replica as usize), before, factor, "");
                }
            }
            Unit::Router => self.router_fault(event.fails),
        }
        // Whoever was let go may have made room, and whoever is back takes requests.
        self.let_in();
    }

    /// Nothing that the replica does after the next failure of its hardware is told.
    pub(super) fn foresee(&mut self, replica: usize) {
        let Some(operations) = &self.operations else { return };
        let next = operations.schedule.next_failure(|unit| operations.plan.stands_on(replica, unit));
        self.replicas[replica].set_horizon(next.min(self.horizon));
    }

    fn hardware_fails(&mut self, replica: usize, reason: &'static str) {
        let Some(operations) = &mut self.operations else { return };
        let slot = &mut operations.slots[replica];
        slot.broken += 1;
        if slot.broken > 1 || slot.phase == Phase::Stopped {
            return;
        }
        if matches!(slot.phase, Phase::Down) {
            return;
        }
        let goes = slot.phase == Phase::Draining { stop: true };
        slot.phase = Phase::Down;
        self.recorder.fleet_log().failures += 1;
        self.refresh(replica);
        let mut under_way = self.cut_pools(replica);
        let here = self.replicas[replica].under_way(self.now);
        self.lost_in_pools(replica, &here);
        under_way.extend(here);
        self.replicas[replica].tell_hung_up(&mut self.recorder);
        self.recorder.forget_cut_off(replica as u16);
        self.replace(replica);
        self.log(FleetEventKind::Failed, Some(replica), 0, under_way.len() as u32, reason);
        for what in under_way {
            self.lost(Some(replica), what);
        }
        if goes {
            self.stopped(replica);
        }
    }

    /// An empty replica in the place of one that is gone with its memory.
    pub(super) fn replace(&mut self, replica: usize) {
        let Some(operations) = &self.operations else { return };
        let slot = &operations.slots[replica];
        let seed = self.plan.source.seed.wrapping_add(u64::from(slot.starts));
        // What could be built once can be built again.
        if let Ok(mut fresh) = self.plan.replicas[replica].build(replica as u16, seed, self.plan.fast_path, self.horizon) {
            if let Some(at) = self.replicas[replica].watched() {
                fresh.watch(at);
            }
            let first = replica < self.router_replicas();
            if first && self.router.listens_for_prefills() {
                fresh.keep_prefilled();
            }
            if first && self.router.hears_of_caches_late() {
                fresh.keep_kv_events();
            }
            fresh.slow_down(slot.slowdown);
            if let Some(pools) = &mut self.pools {
                pools.renewed(replica, &mut fresh);
            }
            self.replicas[replica] = fresh;
            if first {
                self.router.forget(replica);
            }
        }
        self.events.set(replica, self.replicas[replica].next_event().0);
        self.foresee(replica);
    }

    fn hardware_is_back(&mut self, replica: usize) {
        let Some(operations) = &mut self.operations else { return };
        let slot = &mut operations.slots[replica];
        slot.broken = slot.broken.saturating_sub(1);
        self.come_back(replica);
    }

    /// Starts a replica that is down for no reason any more.
    fn come_back(&mut self, replica: usize) {
        let Some(operations) = &mut self.operations else { return };
        let slot = &operations.slots[replica];
        if slot.phase == Phase::Down && slot.broken == 0 && slot.taken_down == 0 {
            let startup = operations.startup(replica);
            self.start(replica, startup.total().since(startup.provision), "repaired");
        }
    }

    /// Begins a start-up that takes so long.
    pub(super) fn start(&mut self, replica: usize, takes: Time, reason: &'static str) {
        let Some(operations) = &mut self.operations else { return };
        let slot = &mut operations.slots[replica];
        slot.phase = Phase::Starting;
        slot.starts += 1;
        operations.due.push(Reverse((self.now + takes, Due::Started(replica as u32, slot.starts))));
        self.log(FleetEventKind::Starting, Some(replica), 0, 0, reason);
    }

    pub(super) fn started(&mut self, replica: usize, start: u32) {
        let Some(operations) = &mut self.operations else { return };
        let slot = &mut operations.slots[replica];
        if slot.phase != Phase::Starting || slot.starts != start {
            return;
        }
        slot.phase = Phase::Serving;
        self.foresee(replica);
        self.refresh(replica);
        self.log(FleetEventKind::Serving, Some(replica), 0, 0, "");
        self.let_in();
    }

    fn link(&mut self, replica: usize, fails: bool) {
        let Some(operations) = &mut self.operations else { return };
        let Some(slot) = operations.slots.get_mut(replica) else { return };
        slot.unreachable = if fails { slot.unreachable + 1 } else { slot.unreachable.saturating_sub(1) };
        let (first, last) = (fails && slot.unreachable == 1, !fails && slot.unreachable == 0);
        let there = !matches!(slot.phase, Phase::Stopped | Phase::Down | Phase::Starting);
        self.refresh(replica);
        if first && there {
            self.recorder.fleet_log().failures += 1;
            let lost = self.cut_off(replica);
            self.log(FleetEventKind::CutOff, Some(replica), 0, lost.len() as u32, "its link");
            for what in lost {
                self.lost(Some(replica), what);
            }
        } else if last && there {
            self.log(FleetEventKind::Reconnected, Some(replica), 0, 0, "");
        }
    }

    /// The clients of a replica's requests hear no more of it; it lets go of them.
    fn cut_off(&mut self, replica: usize) -> Vec<UnderWay> {
        let mut lost = self.cut_pools(replica);
        let here = self.replicas[replica].abort(self.now);
        self.lost_in_pools(replica, &here);
        for what in &here {
            self.recorder.cut_off(replica as u16, what.request);
        }
        self.events.set(replica, self.replicas[replica].next_event().0);
        lost.extend(here);
        lost
    }

    /// Requests on their way between pools are lost with a replica.
    fn cut_pools(&mut self, replica: usize) -> Vec<UnderWay> {
        self.at_pools(|pools, floor| pools.cut(replica, floor)).unwrap_or_default()
    }

    /// So are those that the replica itself has.
    fn lost_in_pools(&mut self, replica: usize, lost: &[UnderWay]) {
        self.at_pools(|pools, floor| lost.iter().for_each(|what| pools.lost_at(replica, what.request, floor)));
    }

    fn router_fault(&mut self, fails: bool) {
        let Some(operations) = &mut self.operations else { return };
        operations.router_down = if fails { operations.router_down + 1 } else { operations.router_down.saturating_sub(1) };
        let (first, last) = (fails && operations.router_down == 1, !fails && operations.router_down == 0);
        let replicas = operations.slots.len();
        (0..replicas).for_each(|replica| self.refresh(replica));
        if last {
            self.log(FleetEventKind::RouterBack, None, 0, 0, "");
        }
        if !first {
            return;
        }
        self.recorder.fleet_log().failures += 1;
        let mut lost: Vec<(Option<usize>, UnderWay)> = Vec::new();
        for replica in 0..replicas {
            lost.extend(self.cut_off(replica).into_iter().map(|what| (Some(replica), what)));
        }
        if let Some(operations) = &self.operations {
            let queued = operations.requests.iter().filter(|(_, entry)| entry.place == Place::Queue);
            lost.extend(queued.map(|(id, _)| (None, UnderWay { request: *id, tokens: 0, prefilled: 0, last_token: self.now })));
        }
        self.log(FleetEventKind::RouterFailed, None, 0, lost.len() as u32, "");
        for (from, what) in lost {
            self.lost(from, what);
        }
    }

    fn take_down(&mut self, replica: usize, down: bool) {
        let Some(operations) = &mut self.operations else { return };
        let Some(slot) = operations.slots.get_mut(replica) else { return };
        slot.taken_down = if down { slot.taken_down + 1 } else { slot.taken_down.saturating_sub(1) };
        match slot.phase {
            Phase::Serving if down => self.drain(replica, false, "an order"),
            Phase::Starting if down => {
                slot.phase = Phase::Down;
                self.log(FleetEventKind::TakenDown, Some(replica), 0, 0, "an order");
            }
            Phase::Draining { stop: false } if slot.taken_down == 0 => {
                slot.phase = Phase::Serving;
                self.refresh(replica);
                self.log(FleetEventKind::Serving, Some(replica), 0, 0, "the order is off");
            }
            Phase::Down if slot.taken_down == 0 => self.come_back(replica),
            _ => {}
        }
    }

    /// No new requests; what is there is finished.
    pub(super) fn drain(&mut self, replica: usize, stop: bool, reason: &'static str) {
        let Some(operations) = &mut self.operations else { return };
        operations.slots[replica].phase = Phase::Draining { stop };
        self.refresh(replica);
        self.log(FleetEventKind::Draining, Some(replica), 0, 0, reason);
        if self.is_empty(replica) {
            self.drained(replica, stop);
        }
    }

    /// A draining replica is empty.
    pub(super) fn drained(&mut self, replica: usize, stop: bool) {
        self.replace(replica);
        if stop {
            self.stopped(replica);
        } else if let Some(operations) = &mut self.operations {
            operations.slots[replica].phase = Phase::Down;
            self.log(FleetEventKind::TakenDown, Some(replica), 0, 0, "an order");
            self.come_back(replica);
        }
    }

    /// Its GPUs are given back.
    pub(super) fn stopped(&mut self, replica: usize) {
        let Some(operations) = &mut self.operations else { return };
        let slot = &mut operations.slots[replica];
        slot.phase = Phase::Stopped;
        if let Some(since) = slot.paid_since.take() {
            self.recorder.fleet_log().paid[replica].push((since, self.now.0.max(since)));
        }
        self.log(FleetEventKind::Stopped, Some(replica), 0, 0, "");
    }
}
