//! Planners and scalers at work: what they see, and how their decisions are carried out.

use std::cmp::Reverse;

use super::plan::{ScalerPlan, StepMeter};
use super::{Due, Phase};
use crate::cluster::planner::{Decision, DynamoPlanner, Threshold, Traffic, WorkerLoad};
use crate::config::schema::ScalerMetric;
use crate::metrics::FleetEventKind;
use crate::sim::Simulation;
use crate::units::Time;
use crate::workload::Request;

/// A planner or scaler, with what it has seen since it looked last.
pub(super) enum Scaler {
    Dynamo { planner: Box<DynamoPlanner>, meter: StepMeter, next_load: Time, next_throughput: Time, recent: Seen, period: Seen },
    Threshold { scaler: Threshold, metric: ScalerMetric, next: Time, recent: Seen },
}

/// Requests that came and ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    since: Time,
    arrived: u64,
    input_tokens: u64,
    ended: u64,
    output_tokens: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
}

impl Seen {
    fn traffic(&self, now: Time) -> Traffic {
        let mean = |sum: u64, count: u64| if count > 0 { sum as f64 / count as f64 } else { 0.0 };
        Traffic {
            requests: self.arrived as f64,
            duration_s: now.since(self.since).as_s(),
            input_tokens: mean(self.input_tokens, self.arrived),
            output_tokens: mean(self.output_tokens, self.ended),
            hit_rate: mean(self.cached_tokens, self.prompt_tokens),
        }
    }

    fn begin(now: Time) -> Seen {
        Seen { since: now, ..Seen::default() }
    }
}

impl Scaler {
    pub fn new(plan: &ScalerPlan) -> Scaler {
        match plan {
            ScalerPlan::Dynamo { spec, capability, engine } => Scaler::Dynamo {
                planner: Box::new(DynamoPlanner::new(spec.clone(), *capability)),
                meter: StepMeter::new(engine),
                next_load: spec.load_interval,
                next_throughput: spec.throughput_interval,
                recent: Seen::default(),
                period: Seen::default(),
            },
            ScalerPlan::Threshold { spec, metric } => {
                let scaler = Threshold::new(spec.clone());
                Scaler::Threshold { next: scaler.interval(), scaler, metric: *metric, recent: Seen::default() }
            }
        }
    }

    /// When it looks next.
    pub fn next(&self) -> Time {
        match self {
            Scaler::Dynamo { next_load, next_throughput, .. } => (*next_load).min(*next_throughput),
            Scaler::Threshold { next, .. } => *next,
        }
    }

    fn seen(&mut self) -> impl Iterator<Item = &mut Seen> {
        match self {
            Scaler::Dynamo { recent, period, .. } => [Some(recent), Some(period)],
            Scaler::Threshold { recent, .. } => [Some(recent), None],
        }
        .into_iter()
        .flatten()
    }

    pub fn saw_arrival(&mut self, request: &Request) {
        for seen in self.seen() {
            seen.arrived += 1;
            seen.input_tokens += u64::from(request.input_tokens);
        }
    }

    pub fn saw_end(&mut self, request: &Request, cached_tokens: u32) {
        for seen in self.seen() {
            seen.ended += 1;
            seen.output_tokens += u64::from(request.output_tokens);
            seen.prompt_tokens += u64::from(request.input_tokens);
            seen.cached_tokens += u64::from(cached_tokens);
        }
    }
}

impl Simulation {
    /// The scaler looks and decides.
    pub(super) fn scale(&mut self) {
        let now = self.now;
        let Some(operations) = &mut self.operations else { return };
        let expected = operations.expected();
        let ready: Vec<usize> = (0..operations.slots.len()).filter(|&replica| operations.slots[replica].phase == Phase::Serving).collect();
        let outside = operations.requests.values().filter(|entry| entry.place == super::Place::Queue);
        let outside_tokens: u64 = outside.map(|entry| u64::from(entry.request.input_tokens)).sum();
        let before = operations.admission.waiting();
        let Some(scaler) = &mut operations.scaler else { return };
        let decision = match scaler {
            Scaler::Dynamo { planner, meter, next_load, next_throughput, recent, period } => {
                let mut decision = None;
                if *next_load <= now {
                    *next_load = now + planner.spec().load_interval;
                    // What waits before the replicas is spread over them.
                    let share = outside_tokens / (ready.len() as u64).max(1);
                    let load = |&replica: &usize| {
                        let backlog = self.replicas[replica].backlog();
                        WorkerLoad {
                            queued_prefill: backlog.queued_prefill + share,
                            scheduled_kv: backlog.held_kv,
                            queued_kv: backlog.queued_kv,
                        }
                    };
                    let loads: Vec<WorkerLoad> = ready.iter().map(load).collect();
                    let traffic = recent.traffic(now);
                    if traffic.output_tokens > 0.0 {
                        planner.observe(&traffic);
                        *recent = Seen::begin(now);
                    }
                    decision = Some(planner.react(&loads, expected, meter)).filter(|decision| decision.replicas.is_some());
                }
                if *next_throughput <= now {
                    *next_throughput = now + planner.spec().throughput_interval;
                    let predicted = planner.predict(&period.traffic(now), expected, meter);
                    *period = Seen::begin(now);
                    decision = decision.or(Some(predicted));
                }
                decision
            }
            Scaler::Threshold { scaler, metric, next, recent } => {
                *next = now + scaler.interval();
                let here = |of: &dyn Fn(usize) -> f64| ready.iter().map(|&replica| of(replica)).sum::<f64>();
                let total = match metric {
                    ScalerMetric::InFlight => {
                        here(&|replica| {
                            let (waiting, running) = self.replicas[replica].load();
                            f64::from(waiting + running)
                        }) + f64::from(before)
                    }
                    ScalerMetric::Waiting => here(&|replica| f64::from(self.replicas[replica].load().0)) + f64::from(before),
                    ScalerMetric::KvCacheUsage => here(&|replica| {
                        let engine = &self.replicas[replica];
                        engine.kv_blocks_used() as f64 / engine.kv_blocks_total().max(1) as f64
                    }),
                    ScalerMetric::RequestsPerSecond => {
                        let traffic = recent.traffic(now);
                        traffic.requests / traffic.duration_s.max(1e-9)
                    }
                };
                *recent = Seen::begin(now);
                Some(scaler.decide(now, expected, total))
            }
        };
        let next = scaler.next();
        operations.due.push(Reverse((next, Due::Scale)));
        if let Some(Decision { replicas: Some(wanted), reason }) = decision {
            self.scale_to(expected, wanted, reason);
        }
    }

    fn scale_to(&mut self, expected: u32, wanted: u32, reason: &'static str) {
        let Some(operations) = &mut self.operations else { return };
        let slots = &mut operations.slots;
        if wanted > expected {
            let free = (0..slots.len()).filter(|&replica| slots[replica].phase == Phase::Stopped && slots[replica].broken == 0);
            let chosen: Vec<usize> = free.take((wanted - expected) as usize).collect();
            if chosen.is_empty() {
                return;
            }
            self.recorder.fleet_log().scale_ups += 1;
            self.log(FleetEventKind::Decision, None, expected, wanted, reason);
            for replica in chosen {
                let Some(operations) = &mut self.operations else { return };
                let startup = operations.startup(replica);
                operations.slots[replica].paid_since = Some((self.now + startup.provision).0);
                self.start(replica, startup.total(), "scaled up");
            }
            return;
        }
        // Those that do not serve yet go first, then the youngest.
        let rank = |phase: Phase| match phase {
            Phase::Starting => Some(0),
            Phase::Down => Some(1),
            Phase::Serving => Some(2),
            Phase::Draining { stop: false } => Some(3),
            Phase::Draining { stop: true } | Phase::Stopped => None,
        };
        let mut order: Vec<(u8, Reverse<usize>)> =
            slots.iter().enumerate().filter_map(|(replica, slot)| Some((rank(slot.phase)?, Reverse(replica)))).collect();
        order.sort_unstable();
        order.truncate((expected - wanted) as usize);
        self.recorder.fleet_log().scale_downs += 1;
        self.log(FleetEventKind::Decision, None, expected, wanted, reason);
        for (rank, Reverse(replica)) in order {
            if rank < 2 { self.stopped(replica) } else { self.drain(replica, true, "scaled down") }
        }
    }
}
