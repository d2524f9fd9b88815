//! Planners and scalers at work: what they see, and how their decisions are carried out.

use std::cmp::Reverse;
use std::ops::Range;

use super::plan::{ScalerPlan, StepMeter};
use super::{Due, Phase};
use crate::cluster::planner::{Decision, DynamoPlanner, PoolPlanner, Threshold, Traffic, WorkerLoad};
use crate::config::schema::ScalerMetric;
use crate::sim::Simulation;
use crate::units::Time;
use crate::workload::Request;

/// A planner or scaler, with what it has seen since it looked last.
pub(super) enum Scaler {
    Dynamo { planner: Planner, meters: Vec<StepMeter>, next_load: Time, next_throughput: Time, recent: Seen, period: Seen },
    Threshold { scaler: Threshold, metric: ScalerMetric, pool: usize, next: Time, recent: Seen },
}

/// Dynamo's planner, of one pool or of prefill and decode.
pub(super) enum Planner {
    One(Box<DynamoPlanner>),
    Two(Box<PoolPlanner>),
}

/// What is decided about a pool.
type Decided = Vec<(usize, Decision)>;

impl Planner {
    fn observe(&mut self, traffic: &Traffic) {
        match self {
            Planner::One(planner) => planner.observe(traffic),
            Planner::Two(planner) => planner.observe(traffic),
        }
    }

    fn react(&mut self, loads: &[Vec<WorkerLoad>], expected: &[u32], meters: &mut [StepMeter]) -> Decided {
        match (self, loads, expected, meters) {
            (Planner::One(planner), [loads, ..], &[expected, ..], [meter, ..]) => vec![(0, planner.react(loads, expected, meter))],
            (Planner::Two(planner), [one, two, ..], &[first, second, ..], [meter, other, ..]) => {
                planner.react([one, two], [first, second], [meter, other]).into_iter().enumerate().collect()
            }
            _ => Vec::new(),
        }
    }

    fn predict(&mut self, traffic: &Traffic, expected: &[u32], meters: &mut [StepMeter]) -> Decided {
        match (self, expected, meters) {
            (Planner::One(planner), &[expected, ..], [meter, ..]) => vec![(0, planner.predict(traffic, expected, meter))],
            (Planner::Two(planner), &[first, second, ..], [meter, other, ..]) => {
                planner.predict(traffic, [first, second], [meter, other]).into_iter().enumerate().collect()
            }
            _ => Vec::new(),
        }
    }
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
    /// None for a planner of no pools.
    pub fn new(plan: &ScalerPlan) -> Option<Scaler> {
        match plan {
            ScalerPlan::Dynamo { specs, workers } => {
                let planners = specs.iter().zip(workers).map(|(spec, (capability, _))| DynamoPlanner::new(spec.clone(), *capability));
                let mut planners: Vec<DynamoPlanner> = planners.collect();
                let (next_load, next_throughput) = (specs.first()?.load_interval, specs.first()?.throughput_interval);
                let last = planners.pop()?;
                let planner = match planners.pop() {
                    Some(first) => Planner::Two(Box::new(PoolPlanner::new([first, last]))),
                    None => Planner::One(Box::new(last)),
                };
                let meters = workers.iter().map(|(_, engine)| StepMeter::new(engine)).collect();
                Some(Scaler::Dynamo { planner, meters, next_load, next_throughput, recent: Seen::default(), period: Seen::default() })
            }
            ScalerPlan::Threshold { spec, metric, pool } => {
                let scaler = Threshold::new(spec.clone());
                Some(Scaler::Threshold { next: scaler.interval(), scaler, metric: *metric, pool: *pool, recent: Seen::default() })
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
    /// A scaler looks and decides.
    pub(super) fn scale(&mut self, which: usize) {
        let now = self.now;
        let Some(operations) = &mut self.operations else { return };
        let ranges: Vec<Range<usize>> = operations.plan.ranges().collect();
        let expected: Vec<u32> = ranges.iter().map(|range| operations.expected(range.clone())).collect();
        let serves = |replica: &usize| operations.slots[*replica].phase == Phase::Serving;
        let ready: Vec<Vec<usize>> = ranges.iter().map(|range| range.clone().filter(serves).collect()).collect();
        let outside = operations.requests.values().filter(|entry| entry.place == super::Place::Queue);
        let outside_tokens: u64 = outside.map(|entry| u64::from(entry.request.input_tokens)).sum();
        let before = operations.admission.waiting();
        let spec = match &operations.plan.scalers.get(which) {
            Some(ScalerPlan::Dynamo { specs, .. }) => specs.first().map(|spec| (spec.load_interval, spec.throughput_interval)),
            _ => None,
        };
        let Some(scaler) = operations.scalers.get_mut(which) else { return };
        let mut decided = Decided::new();
        match scaler {
            Scaler::Dynamo { planner, meters, next_load, next_throughput, recent, period } => {
                let (load_interval, throughput_interval) = spec.unwrap_or((Time::NEVER, Time::NEVER));
                if *next_load <= now {
                    *next_load = now + load_interval;
                    let mut loads = Vec::new();
                    for (pool, ready) in ready.iter().enumerate() {
                        // What waits before the replicas is spread over those that compute prompts.
                        let share = if pool == 0 { outside_tokens / (ready.len() as u64).max(1) } else { 0 };
                        let load = |&replica: &usize| {
                            let backlog = self.replicas[replica].backlog();
                            WorkerLoad {
                                queued_prefill: backlog.queued_prefill + share,
                                scheduled_kv: backlog.held_kv,
                                queued_kv: backlog.queued_kv,
                            }
                        };
                        loads.push(ready.iter().map(load).collect());
                    }
                    let traffic = recent.traffic(now);
                    if traffic.output_tokens > 0.0 {
                        planner.observe(&traffic);
                        *recent = Seen::begin(now);
                    }
                    decided = planner.react(&loads, &expected, meters);
                    decided.retain(|(_, decision)| decision.replicas.is_some());
                }
                if *next_throughput <= now {
                    *next_throughput = now + throughput_interval;
                    let predicted = planner.predict(&period.traffic(now), &expected, meters);
                    *period = Seen::begin(now);
                    if decided.is_empty() {
                        decided = predicted;
                    }
                }
            }
            Scaler::Threshold { scaler, metric, pool, next, recent } => {
                *next = now + scaler.interval();
                let pool = *pool;
                // Requests that wait before the replicas are for those that they go to first.
                let before = if pool == 0 { f64::from(before) } else { 0.0 };
                let here = |of: &dyn Fn(usize) -> f64| ready[pool].iter().map(|&replica| of(replica)).sum::<f64>();
                let total = match metric {
                    ScalerMetric::InFlight => {
                        here(&|replica| {
                            let (waiting, running) = self.replicas[replica].load();
                            f64::from(waiting + running)
                        }) + before
                    }
                    ScalerMetric::Waiting => here(&|replica| f64::from(self.replicas[replica].load().0)) + before,
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
                decided.push((pool, scaler.decide(now, expected[pool], total)));
            }
        }
        let next = scaler.next();
        operations.due.push(Reverse((next, Due::Scale(which as u32))));
        for (pool, decision) in decided {
            if let Decision { replicas: Some(wanted), reason } = decision {
                self.scale_to(pool, expected[pool], wanted, reason);
            }
        }
    }

    fn scale_to(&mut self, pool: usize, expected: u32, wanted: u32, reason: &'static str) {
        let Some(operations) = &mut self.operations else { return };
        let Some(places) = operations.plan.ranges().nth(pool) else { return };
        let slots = &mut operations.slots;
        if wanted > expected {
            let free = places.filter(|&replica| slots[replica].phase == Phase::Stopped && slots[replica].broken == 0);
            let chosen: Vec<usize> = free.take((wanted - expected) as usize).collect();
            if chosen.is_empty() {
                return;
            }
            self.recorder.fleet_log().scale_ups += 1;
            self.log_decision(pool, expected, wanted, reason);
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
            places.filter_map(|replica| Some((rank(slots[replica].phase)?, Reverse(replica)))).collect();
        order.sort_unstable();
        order.truncate((expected - wanted) as usize);
        self.recorder.fleet_log().scale_downs += 1;
        self.log_decision(pool, expected, wanted, reason);
        for (rank, Reverse(replica)) in order {
            if rank < 2 { self.stopped(replica) } else { self.drain(replica, true, "scaled down") }
        }
    }
}
