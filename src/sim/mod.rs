//! The clock that drives workload and engines, one run at a time; progress and cancel. What a document means is decided in `plan`.
//!
//! Replicas run ahead of the clock between arrivals and are looked at only when something happens to them: the next event is the
//! earliest of the next arrival and each replica's own next event, arrivals first, then the lower replica number.

mod disaggregation;
mod encode;
mod entry;
mod fleet;
mod hardware;
mod moment;
mod operations;
pub mod plan;
mod pools;
pub mod sensitivity;

pub use entry::is_modelled;
pub use moment::{Inspection, Moment, NoMoment, ReplicaMoment};
pub use operations::Retry;
pub use plan::{Files, NoFiles, Plan, RunPlan, plan};

use crate::cluster::{Router, Tournament};
use crate::config::Diagnostic;
use crate::cost::SharedCosts;
use crate::engine::Replica;
use crate::metrics::{Recorder, RunResult};
use crate::units::Time;
use crate::workload::{self, Request, Source};
use encode::{Encode, Out};
use fleet::Engines;
use pools::{Floor, Pools};

/// How far a simulation has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub done: bool,
    /// From 0 to 1, by requests or by simulated time, whichever is further.
    pub fraction: f64,
    pub simulated_s: f64,
    pub requests_ended: u64,
}

/// Requests that arrive at the same instant and are taken in by one unit of work.
const MOST_AT_ONCE: usize = 64;

/// One run of a plan, advanced in slices.
pub struct Simulation {
    plan: RunPlan,
    source: Box<dyn Source>,
    /// The source's next arrival; none after anything by which it may have changed.
    arrival: Option<Time>,
    /// Replies make requests.
    waits_for_replies: bool,
    /// What the source said before it made a request.
    planned_warnings: Vec<Diagnostic>,
    router: Router,
    /// Where prompts and tokens are made by engines of their own.
    pools: Option<Pools>,
    /// Encoders of images before the router.
    encode: Option<Encode>,
    replicas: Vec<Replica>,
    /// When something happens next at each.
    events: Tournament,
    recorder: Recorder,
    /// Replicas that come and go, faults, queues before replicas; none where nothing of it is asked for.
    operations: Option<Box<operations::Operations>>,
    /// Nothing but arrivals and replicas makes events.
    plain: bool,
    horizon: Time,
    now: Time,
    requests_ended: u64,
    ended: Vec<u32>,
    done: bool,
}

impl Simulation {
    /// Sets a run up. Fails only where `plan` would have failed: a plan that was made can be run.
    pub fn new(plan: &RunPlan) -> Result<Simulation, Vec<Diagnostic>> {
        let source = workload::source(&plan.source)?;
        let horizon = plan.max_simulation_time_s.map_or(Time::NEVER, Time::from_s);
        let mut costs = SharedCosts::default();
        let replicas = plan.replicas.iter().enumerate().map(|(index, replica)| {
            let together = (plan.replicas.len() > 1).then_some(&mut costs);
            replica.build_beside(index as u16, plan.source.seed, plan.fast_path, horizon, together)
        });
        let mut replicas = replicas.collect::<Result<Vec<Replica>, Diagnostic>>().map_err(|found| vec![found])?;
        let pools = plan.pools.as_ref().map(|pools| Pools::new(pools, &mut replicas, plan.source.seed));
        let routed = pools.as_ref().map_or(replicas.len(), Pools::prefill_replicas);
        let router = Router::new(&plan.router, routed, plan.source.seed);
        if router.listens_for_prefills() {
            replicas[..routed].iter_mut().for_each(Replica::keep_prefilled);
        }
        if router.hears_of_caches_late() {
            replicas[..routed].iter_mut().for_each(Replica::keep_kv_events);
        }
        if replicas.len() > 1 && pools.is_none() && plan.operations.is_none() {
            // Else arrivals at all the others would cut every run of one. In operation every run is cut where something may fail.
            replicas.iter_mut().for_each(Replica::put_runs_off);
        }
        let plain = pools.is_none() && plan.operations.is_none() && plan.encode.is_none() && !router.looks();
        let mut simulation = Simulation {
            plain,
            operations: None,
            encode: plan.encode.as_ref().map(Encode::new),
            router,
            pools,
            events: Tournament::new(replicas.len(), Time::NEVER.0),
            recorder: Recorder::new(Time::from_s(plan.warm_up_s), source.expected_requests())
                .with_power(plan.info.replicas.iter().map(|replica| replica.power).collect()),
            plan: plan.clone(),
            planned_warnings: source.warnings(),
            arrival: None,
            waits_for_replies: source.waits_for_replies(),
            source,
            replicas,
            horizon,
            now: Time::ZERO,
            requests_ended: 0,
            ended: Vec::new(),
            done: false,
        };
        if simulation.encode.is_some() {
            simulation.recorder.expect_operations();
        }
        simulation.begin_operations();
        Ok(simulation)
    }

    /// Keeps the steps that run at some time from `from` to `to` in the result, for a trace. Call it before `advance`.
    pub fn keep_steps(&mut self, from: Time, to: Time) {
        self.recorder.keep_steps(from, to);
    }

    /// Does about `budget` units of work (an arrival, a step or a run of steps each) and returns.
    pub fn advance(&mut self, budget: u64) -> Progress {
        for _ in 0..budget {
            if self.done || !self.step() {
                self.done = true;
                break;
            }
        }
        self.progress()
    }

    /// The next event; false when there is none before the end.
    fn step(&mut self) -> bool {
        let arrival = self.next_arrival();
        if self.plain {
            return self.plain_step(arrival);
        }
        // What comes out of the encoders comes to the router as what comes from clients does.
        let encode = self.encode.as_ref().map_or(Time::NEVER, Encode::next);
        let arrival = arrival.min(encode);
        let (event, replica) = self.events.first();
        let (due, lets_in) = match &self.operations {
            Some(operations) => (operations.next().min(self.router.next_news()), operations.ends_let_in()),
            None => (Time::NEVER, false),
        };
        let waits = self.waits_for_replies || lets_in;
        let look = self.router.next_snapshot(arrival.min(due), waits);
        let between = self.pools.as_ref().map_or(Time::NEVER, Pools::next);
        let nothing_else = arrival.min(between) == Time::NEVER && event == Time::NEVER.0;
        // KV kept for nobody matters to those that wait for memory.
        let lease = self.pools.as_ref().map_or(Time::NEVER, Pools::next_lease_end);
        let next = arrival.min(Time(event)).min(between).min(lease).min(due);
        if next == Time::NEVER || next > self.horizon {
            return false;
        }
        let hope = || self.operations.as_ref().is_some_and(|operations| operations.has_hope(self.now));
        let waits_for_memory = || lease != Time::NEVER && self.replicas.iter().any(|replica| replica.load() != (0, 0));
        if nothing_else && !hope() && !waits_for_memory() {
            return false;
        }
        let between = between.min(lease);
        if look <= next {
            let (router, mut engines) = self.router_and_engines(look);
            router.snapshot(look, &mut engines);
            return true;
        }
        debug_assert!(next >= self.now, "time went back");
        self.now = next;
        if encode == next {
            self.at_encoders();
        } else if arrival == next {
            self.take_in();
        } else if between == next {
            self.at_pools(Pools::process);
            self.after_pools();
        } else if event > next.0 {
            self.operate();
        } else {
            // Where a reply or another pool makes a request, no replica may run past the next event of another.
            let others = waits || self.pools.is_some();
            let limit = if others { arrival.min(Time(self.events.least_beside(replica))).min(between) } else { arrival };
            self.run(replica, limit.min(look).min(due));
        }
        self.take_leave();
        true
    }

    #[inline(always)]
    fn next_arrival(&mut self) -> Time {
        match self.arrival {
            Some(known) => known,
            None => *self.arrival.insert(self.source.next_arrival().unwrap_or(Time::NEVER)),
        }
    }

    /// The same where there are only arrivals and replicas.
    fn plain_step(&mut self, arrival: Time) -> bool {
        let (event, replica) = self.events.first();
        let next = arrival.min(Time(event));
        if next == Time::NEVER || next > self.horizon {
            return false;
        }
        debug_assert!(next >= self.now, "time went back");
        self.now = next;
        if arrival == next {
            // Those that arrive together, as long as none of them is turned away.
            for _ in 0..MOST_AT_ONCE {
                self.arrival = None;
                let Some(request) = self.source.take() else { break };
                self.route(request);
                if !self.ended.is_empty() || self.next_arrival() > next {
                    break;
                }
            }
        } else {
            // Where a reply makes a request, no replica may run past the next event of another.
            let limit = if self.waits_for_replies { arrival.min(Time(self.events.least_beside(replica))) } else { arrival };
            self.run(replica, limit);
        }
        self.take_leave();
        true
    }

    /// A replica does what happens next at it.
    fn run(&mut self, replica: usize, limit: Time) {
        self.replicas[replica].process(limit, &mut self.recorder, &mut self.ended);
        self.events.set(replica, self.replicas[replica].next_event().0);
        if self.pools.is_some() {
            self.at_pools(|pools, floor| pools.worked(replica, floor));
            return self.after_pools();
        }
        for id in self.replicas[replica].take_prefilled() {
            self.router.prefilled(replica, id, self.now);
        }
        if self.operations.is_some() {
            for id in std::mem::take(&mut self.ended) {
                self.request_ends(replica, id);
            }
            return self.after_events(replica);
        }
        for &id in &self.ended {
            self.router.ended(replica, id, self.now);
        }
    }

    /// Something between the pools, where there are pools.
    fn at_pools<R>(&mut self, work: impl FnOnce(&mut Pools, &mut Floor<'_>) -> R) -> Option<R> {
        let pools = self.pools.as_mut()?;
        let mut floor = Floor {
            replicas: &mut self.replicas,
            events: &mut self.events,
            recorder: &mut self.recorder,
            router: &mut self.router,
            now: self.now,
            ended: &mut self.ended,
        };
        Some(work(pools, &mut floor))
    }

    /// Replicas that the run's own router knows: all, or the prefill pool.
    fn router_replicas(&self) -> usize {
        self.pools.as_ref().map_or(self.replicas.len(), Pools::prefill_replicas)
    }

    /// Tells the source of the requests that have ended.
    #[inline(always)]
    fn take_leave(&mut self) {
        if !self.ended.is_empty() {
            self.tell_of_ends();
        }
    }

    #[inline(never)]
    fn tell_of_ends(&mut self) {
        self.arrival = None;
        for id in self.ended.drain(..) {
            self.source.ended(id, self.now);
            self.requests_ended += 1;
        }
    }

    /// The router, and the engines behind it as of `now`.
    fn router_and_engines(&mut self, now: Time) -> (&mut Router, Engines<'_>) {
        let Simulation { router, replicas, events, recorder, pools, .. } = self;
        let engines = match pools {
            Some(pools) => Engines::still(&mut replicas[..pools.prefill_replicas()]),
            None => Engines::settling(replicas, events, recorder, now),
        };
        let known = router.caches_known_by(now);
        (router, engines.known_by(known))
    }

    /// A request comes from its client: to the encoders, if it has images for them, or to the router.
    fn take_in(&mut self) {
        self.arrival = None;
        let Some(request) = self.source.take() else { return };
        if let Some(encode) = &mut self.encode {
            self.recorder.came(&request);
            if request.images.count > 0 {
                return encode.take(request, self.now);
            }
        }
        self.deliver(request);
    }

    /// Something happens at the encoders.
    #[inline(never)]
    fn at_encoders(&mut self) {
        match self.encode.as_mut().and_then(|encode| encode.process(self.now)) {
            Some(Out::Ready(request, record)) => {
                self.recorder.encoded(record);
                self.deliver(request);
            }
            Some(Out::GivenUp(id)) => {
                self.recorder.given_up(id, self.now);
                self.ended.push(id);
            }
            None => {}
        }
    }

    // Inlined, since a request is large to hand on.
    #[inline(always)]
    fn deliver(&mut self, request: Request) {
        if self.operations.is_some() {
            return self.request_comes(request);
        }
        if self.pools.is_some() {
            self.at_pools(|pools, floor| pools.deliver(request, floor));
            return;
        }
        self.route(request);
    }

    #[inline(always)]
    fn route(&mut self, request: Request) {
        let id = request.id;
        let (router, mut engines) = self.router_and_engines(self.now);
        let replica = router.route(&request, request.arrival, &mut engines);
        if self.replicas[replica].arrive(request, &mut self.recorder) {
            self.router.ended(replica, id, self.now);
            self.ended.push(id);
        }
        self.events.set(replica, self.replicas[replica].next_event().0);
    }

    /// What had to be changed in the requests given out so far (lengths cut, prompts lengthened), beyond what the plan has said.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let said = &self.planned_warnings;
        self.source.warnings().into_iter().filter(|warning| !said.contains(warning)).collect()
    }

    fn progress(&self) -> Progress {
        let by_requests = self.source.expected_requests().map_or(0.0, |expected| self.requests_ended as f64 / expected.max(1) as f64);
        let by_time = self.plan.expected_duration_s.map_or(0.0, |duration| self.now.as_s() / duration);
        let fraction = if self.done { 1.0 } else { by_requests.max(by_time).min(1.0) };
        Progress { done: self.done, fraction, simulated_s: self.now.as_s(), requests_ended: self.requests_ended }
    }

    /// KV blocks that requests hold now, in all replicas.
    pub fn kv_blocks_used(&self) -> u64 {
        self.replicas.iter().map(Replica::kv_blocks_used).sum()
    }

    /// Requests whose KV a prefill engine keeps although nobody will fetch it.
    pub fn kv_leases(&self) -> usize {
        self.pools.as_ref().map_or(0, Pools::leases)
    }

    /// Whether something is still to happen.
    fn has_more(&mut self) -> bool {
        self.source.next_arrival().is_some()
            || self.encode.as_ref().is_some_and(|encode| encode.next() != Time::NEVER)
            || self.replicas.iter().any(|replica| replica.next_event() != Time::NEVER)
            || self.pools.as_ref().is_some_and(|pools| pools.next() != Time::NEVER)
            || self.operations.as_ref().is_some_and(|operations| operations.has_hope(self.now))
    }

    /// The result so far: complete when `advance` said done, else as if the simulation ended now.
    ///
    /// A run ends with its last event, or at `max_simulation_time` when requests were still under way (or due) then.
    pub fn finish(mut self) -> RunResult {
        let settled = if self.done { Time::NEVER } else { self.now + Time(1) };
        for replica in &mut self.replicas {
            replica.settle(settled, &mut self.recorder);
            replica.close(&mut self.recorder);
        }
        if let Some(pools) = &self.pools {
            pools.close(&self.replicas, &mut self.recorder);
        }
        self.close_operations();
        if let Some(encode) = &self.encode {
            encode.inside().for_each(|id| self.recorder.still_waits(id));
        }
        let more = self.has_more();
        let end = if self.done && more { self.horizon } else { self.now };
        self.recorder.finish(self.plan.info, end)
    }
}
