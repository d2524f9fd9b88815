//! One serving replica in time: when batches are formed, how long they run, when their tokens come out, and the fast path.
//!
//! Blocking engines form a batch when the last one has ended. Overlapping engines keep two in flight: batch n+1 is formed when
//! batch n starts, so host time hides behind device time and an arrival may wait up to one step longer.
//!
//! The fast path: while the policy says that nothing changes, k decode-only steps are taken at once. Their cost is affine in
//! the sum of contexts, in integers, so the jump ends on the same picosecond as k single steps.

mod departures;
mod flight;
mod outage;
mod seen;

pub use outage::{Backlog, UnderWay};

use std::collections::VecDeque;

use flight::Flight;

use super::bunches::Bunches;
use super::company::Company;
use super::core::{Core, Event};
use super::encoder::Encoder;
use super::handover::{Handovers, News};
use super::hang_ups::HangUps;
use super::job::{Job, JobId, Leg, Stage};
use super::lockstep::Lockstep;
use super::lora::AdapterSeats;
use super::observer::{Observer, StepRun};
use super::pipeline::Pipeline;
use super::policy::{Policy, Steadiness};
use super::probe::Probe;
use super::run::Run;
use super::samples::Samples;
use super::speculation::Speculation;
use super::windows::Window;
use crate::cost::{AdapterMix, CostModel, Group, StepCost};
use crate::kv::{Held, KvLog};
use crate::units::Time;
use crate::workload::Request;

/// How a replica runs, beside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Form the next batch while this one runs.
    pub overlap: bool,
    /// Take runs of equal steps at once.
    pub fast_path: bool,
    /// Nothing after this instant happens.
    pub horizon: Time,
}

/// A run that has been formed and not put in flight.
#[derive(Clone, Copy)]
struct PutOff {
    /// Its first step.
    run: Run,
    formed: Time,
    /// Steps formed from then on are not of it.
    bound: Time,
    idle: bool,
    sequences: u32,
    context: u64,
    /// Blocks that all of it takes beyond its first step's.
    later_blocks: u64,
}

/// Thousandths of the time that a step takes when nothing is wrong.
pub const FULL_SPEED: u32 = 1000;

/// One serving replica.
pub struct Replica {
    index: u16,
    pub(super) pace: Pace,
    pub(super) core: Core,
    pub(super) policy: Box<dyn Policy>,
    cost: Box<dyn CostModel>,
    /// In place of `cost`, for an engine with stages.
    pipeline: Option<Pipeline>,
    /// Boxed, since they are moved more often than looked at.
    flights: VecDeque<Box<Flight>>,
    #[allow(clippy::vec_box, reason = "boxes that go back and forth between the two")]
    spare_flights: Vec<Box<Flight>>,
    pub(super) form_at: Time,
    gaps: Vec<u64>,
    stalled_gaps: Vec<(u64, u32)>,
    pub(super) probe: Option<Probe>,
    prefilled: Option<Vec<u32>>,
    /// What the cache has told, where a router hears it late.
    pub(super) kv_log: Option<Box<KvLog>>,
    /// Runs are put off, see [`Replica::put_runs_off`].
    puts_off: bool,
    put_off: Option<PutOff>,
    pub(super) hang_ups: HangUps,
    samples: Samples,
    speculation: Option<Speculation>,
    bunches: Option<Bunches>,
    /// Decode steps are scheduled several at once.
    window: Option<Box<Window>>,
    /// Batches wait for new requests; each step is then taken by itself.
    company: Option<Company>,
    /// Thousandths of a step's time on the GPUs: 1000 at full speed.
    slowdown: u32,
    pub(super) handovers: Handovers,
    /// The other ranks of a group in lockstep, which this one leads.
    pub(super) lockstep: Option<Box<Lockstep>>,
}

impl Replica {
    pub fn new(index: u16, core: Core, policy: Box<dyn Policy>, cost: Box<dyn CostModel>, mut pace: Pace) -> Replica {
        let company = policy.awaits_company(&core).map(|(timeout, most)| Company::new(timeout, most));
        let window = Window::of(policy.steps_together());
        pace.fast_path &= company.is_none() && window.is_none();
        Replica {
            index,
            pace,
            core,
            policy,
            cost,
            pipeline: None,
            flights: VecDeque::new(),
            spare_flights: Vec::new(),
            form_at: Time::NEVER,
            gaps: Vec::new(),
            stalled_gaps: Vec::new(),
            probe: None,
            prefilled: None,
            kv_log: None,
            puts_off: false,
            put_off: None,
            hang_ups: HangUps::default(),
            samples: Samples::default(),
            speculation: None,
            bunches: None,
            window,
            company,
            slowdown: FULL_SPEED,
            handovers: Handovers::default(),
            lockstep: None,
        }
    }

    /// Has sequences gain drafted tokens; `limits.speculative_tokens` says how many are drafted.
    pub fn speculate(&mut self, speculation: Speculation) {
        self.speculation = Some(speculation);
    }

    /// Encodes the images of prompts. Not for an engine with stages.
    pub fn encode(&mut self, encoder: Encoder) {
        self.core.encoder = Some(encoder);
    }

    /// Lets tokens go to the clients in bunches.
    pub fn bunch(&mut self, bunches: Bunches) {
        self.bunches = Some(bunches);
    }

    /// Serves with a pipeline of stages: a replica that has not seen a request yet. Steps are taken one by one.
    #[must_use]
    pub fn with_pipeline(mut self, pipeline: Pipeline) -> Replica {
        self.core.open_lanes(pipeline.lanes());
        self.pace.overlap = pipeline.forms_ahead();
        self.pace.fast_path = false;
        self.pipeline = Some(pipeline);
        self
    }

    /// From now on a run of steps is put in flight only when something depends on it: it has come to its last step, a request arrives
    /// here, or somebody looks. So arrivals elsewhere do not cut it. Whoever asks for more than `next_event`, or changes anything by
    /// other ways than `arrive` and `process`, calls `settle` before.
    pub fn put_runs_off(&mut self) {
        self.puts_off = true;
    }

    /// Puts the steps formed before `limit` in flight.
    pub fn settle(&mut self, limit: Time, observer: &mut impl Observer) {
        let Some(PutOff { mut run, formed, bound, idle, sequences, context, .. }) = self.put_off.take() else { return };
        run.extend(&mut self.core, limit.min(bound), self.pace.overlap, idle);
        self.launch(run, formed, sequences, context, observer);
    }

    /// Takes the blocks of the steps formed before `limit`, so that what is in memory can be looked at, and leaves the run as it is. Where
    /// blocks have tiers below them it is put in flight.
    pub fn take_blocks(&mut self, limit: Time, observer: &mut impl Observer) {
        let Some(PutOff { mut run, bound, idle, later_blocks, .. }) = self.put_off else { return };
        if self.core.pool.blank() >= later_blocks {
            // Whenever they are taken, nothing has to make room for them.
        } else if self.core.tiered {
            self.settle(limit, observer);
        } else {
            run.extend(&mut self.core, limit.min(bound), self.pace.overlap, idle);
            let needed = self.core.decodes.blocks_needed(run.steps) - self.core.decodes.blocks_needed(1);
            let there = self.core.pool.allocate(needed - self.core.blocks_ahead);
            debug_assert!(there, "a run was made longer than its blocks allow");
            self.core.blocks_ahead = needed;
        }
    }

    /// When something happens next here, unless a request arrives before; [`Time::NEVER`] when idle.
    #[inline]
    pub fn next_event(&self) -> Time {
        if let Some(group) = &self.lockstep {
            return group.next_event(self);
        }
        self.flights.front().map_or(Time::NEVER, |flight| flight.end).min(self.form_at).min(self.hang_ups.next())
    }

    /// A request reaches this replica. True when it was turned away, which ends it.
    pub fn arrive(&mut self, request: Request, observer: &mut impl Observer) -> bool {
        if let Some(mut group) = self.lockstep.take() {
            let ended = group.arrive(self, request, observer);
            self.lockstep = Some(group);
            return ended;
        }
        let now = request.arrival;
        self.settle(now, observer);
        observer.arrived(self.index, &request);
        let unfit = self.policy.unfit(&self.core, &request);
        if let Some(reason) = unfit.or_else(|| self.policy.refuses(&self.core, &request)) {
            observer.rejected(self.index, request.id, now, reason);
            return true;
        }
        self.core.pool_at(now);
        if request.samples > 1 {
            let jobs = self.samples.open(request, self.policy.computes_prompt_before_replies());
            jobs.into_iter().for_each(|job| self.enqueue(job));
        } else {
            self.enqueue(request);
        }
        let enough = self.company.as_mut().is_some_and(|company| company.arrives(now));
        let is_awaited = self.company.as_ref().is_some_and(Company::is_awaited);
        if enough || !is_awaited && self.has_room_for_a_batch() && self.form_at > now {
            self.form_at = now;
        }
        false
    }

    #[inline(always)]
    fn enqueue(&mut self, request: Request) {
        let (at, request_id) = (request.hangs_up, request.id);
        let id = self.core.enqueue(request);
        self.hang_ups.expect(at, request_id, id);
    }

    /// Nothing keeps the next batch from being formed but that nobody wants one. While batches are in flight, an engine waits for the first
    /// to come out, be there room in its pipeline: it has filled that with what there was, and sees what is new afterwards.
    pub(super) fn has_room_for_a_batch(&self) -> bool {
        self.flights.is_empty()
    }

    /// Does what happens at `next_event`. `limit` is the next instant at which a request may arrive here: steps formed at or
    /// after it are not looked at yet (without meaning where runs are put off). Ended requests are appended to `ended`.
    pub fn process(&mut self, limit: Time, observer: &mut impl Observer, ended: &mut Vec<u32>) {
        if let Some(mut group) = self.lockstep.take() {
            group.process(self, observer, ended);
            self.lockstep = Some(group);
            return;
        }
        let hang_up = self.hang_ups.next();
        let logged_at = self.kv_log.is_some().then(|| self.next_event());
        match self.flights.front().map(|flight| flight.end) {
            Some(end) if end <= self.form_at.min(hang_up) => self.finish_flight(observer, ended),
            _ if hang_up <= self.form_at => {
                self.settle(hang_up, observer);
                self.take_hang_up(ended);
            }
            _ if self.waits_for_company() => {}
            _ if self.put_off.is_some() => self.settle(Time::NEVER, observer),
            _ if self.puts_off => self.form(hang_up, observer),
            _ => self.form(limit.min(hang_up), observer),
        }
        if !self.core.failed.is_empty() {
            self.end_failed(observer, ended);
        }
        self.hang_ups.settle(&self.core.jobs);
        if let Some(at) = logged_at {
            self.log_kv(at);
        }
    }

    /// Whether the batch that is due waits for new requests.
    fn waits_for_company(&mut self) -> bool {
        let until = self.company.as_mut().and_then(|company| company.put_off(self.form_at));
        self.form_at = until.unwrap_or(self.form_at);
        until.is_some()
    }

    /// When the batch in flight longest comes out.
    pub(super) fn flight_end(&self) -> Time {
        self.flights.front().map_or(Time::NEVER, |flight| flight.end)
    }

    /// Of a rank: puts the next batch together. Its decodes and their context, if there is anything in it; whether somebody was preempted.
    pub(super) fn form_batch(&mut self, now: Time, observer: &mut impl Observer) -> (Option<(u32, u64)>, bool) {
        self.core.now = now;
        self.core.pool_at(now);
        self.drop_hung_up(observer);
        self.core.clear_batch();
        self.seat_ready(now, observer);
        self.policy.form(&mut self.core);
        self.grant_memory();
        let preempted = self.core.events.iter().any(|event| matches!(event, Event::Preempted { .. }));
        self.report_events(now, observer);
        if self.core.batch.is_empty() {
            self.core.rejoin_starved();
            return (None, preempted);
        }
        let sequences = if self.core.batch.decodes { self.core.decodes.len() } else { 0 };
        let context = if sequences > 0 { self.core.decodes.next_context() } else { 0 };
        (Some((sequences, context)), preempted)
    }

    /// Of a rank: cost of the batch put together, in a group that computes so much in all.
    pub(super) fn batch_cost(&mut self, group: Group, mix: AdapterMix, sequences: u32, context: u64) -> StepCost {
        self.cost.of_group(group);
        self.cost.of_adapters(mix);
        if self.core.batch.prefills.is_empty() {
            return self.cost.decode(sequences, context).at(context);
        }
        self.cost.mixed(&self.core.batch.prefills, sequences, context).with_encoding(self.core.encoding_ps())
    }

    /// When the next batch is to be formed, at `now` or later; [`Time::NEVER`] while the pipeline is full.
    #[inline]
    pub(super) fn next_formation(&self, now: Time) -> Time {
        if let Some(pipeline) = &self.pipeline {
            return if self.flights.len() < pipeline.depth() && self.next_lane(false).is_some() { now } else { Time::NEVER };
        }
        let depth = if self.pace.overlap { 2 } else { 1 };
        match self.flights.back() {
            _ if self.flights.len() >= depth => Time::NEVER,
            Some(last) => last.last_step_start.max(now),
            None if self.core.is_empty() && !self.handovers.wait_for_a_batch() => Time::NEVER,
            None => now,
        }
    }

    /// The lane of a pipeline whose batch is formed next: of those without a batch in flight, the one whose sequences have waited longest,
    /// else an idle one if there is anything new (unless `not_idle`); else, ahead, the one whose batch comes out first.
    fn next_lane(&self, not_idle: bool) -> Option<u16> {
        let pipeline = self.pipeline.as_ref()?;
        let in_flight = |lane: u16| self.flights.iter().filter(|flight| flight.lane == lane).count();
        let decoding = |lane: u16| !self.core.decodes_of(lane).is_empty();
        let free = || (0..pipeline.lanes()).filter(|&lane| in_flight(lane) == 0);
        let new = self.handovers.wait_for_a_batch() || !self.core.waiting.is_empty() || !self.core.prefilling.is_empty();
        free()
            .filter(|&lane| decoding(lane))
            .min_by_key(|&lane| (self.core.last_end_of(lane), lane))
            .or_else(|| free().next().filter(|_| new && !not_idle))
            .or_else(|| {
                let first = self.flights.front().map(|flight| flight.lane).filter(|_| pipeline.forms_ahead());
                first.filter(|&lane| in_flight(lane) == 1 && (decoding(lane) || new))
            })
    }

    /// Forms the next batch, or the next run of equal ones.
    fn form(&mut self, limit: Time, observer: &mut impl Observer) {
        let now = self.form_at;
        self.core.now = now;
        self.core.pool_at(now);
        self.drop_hung_up(observer);
        let mut lane = if self.pipeline.is_some() { self.next_lane(false) } else { None };
        let (steadiness, preempted) = loop {
            if let Some(lane) = lane {
                self.core.switch_to(lane);
            } else if self.pipeline.is_some() {
                self.form_at = Time::NEVER;
                return;
            }
            self.core.clear_batch();
            self.seat_ready(now, observer);
            let steadiness = self.policy.form(&mut self.core);
            self.grant_memory();
            let preempted = !self.core.failed.is_empty() || self.core.events.iter().any(|event| matches!(event, Event::Preempted { .. }));
            self.report_events(now, observer);
            // What is new may not enter an idle lane; those that decode go on.
            let other = if self.core.batch.is_empty() { self.next_lane(true) } else { None };
            if other.is_none() || other == lane {
                break (steadiness, preempted);
            }
            self.core.rejoin_starved();
            lane = other;
        };
        if self.core.batch.is_empty() {
            self.core.rejoin_starved();
            if preempted && self.flights.is_empty() {
                // The step went to those that lost their KV; the next one begins at once.
                return;
            }
            let idle = self.flights.is_empty() && !self.core.waiting.is_empty();
            self.form_at = if idle { self.core.pool.next_ready(now) } else { Time::NEVER };
            if self.form_at == Time::NEVER {
                self.turn_away_the_stuck(now, observer);
            }
            return;
        }
        let idle = self.flights.is_empty();
        let start = self.flights.back().map_or(now, |flight| flight.end);
        let sequences = if self.core.batch.decodes { self.core.decodes.len() } else { 0 };
        let context = if sequences > 0 { self.core.decodes.next_context() } else { 0 };

        let (mix, fetch) = self.core.fetch_adapters(self.core.batch.decodes);
        if let Some(pipeline) = &mut self.pipeline {
            // Decodes want the tokens of their lane's last batch.
            let input = if self.core.batch.decodes { self.core.last_end } else { now };
            pipeline.of_adapters(mix, fetch);
            let rows = (sequences, self.core.tokens_per_decode());
            let passage = pipeline.pass(now, input, &self.core.batch, rows, context);
            self.launch(Run::through(&passage), now, sequences, context, observer);
            return;
        }
        if self.core.lora.is_some() {
            self.cost.of_adapters(mix);
        }
        let (cost_model, slowdown) = (&mut self.cost, self.slowdown);
        let mut run = if let (Some(window), true) = (&mut self.window, self.core.batch.prefills.is_empty()) {
            let of_step = |sequences, context| cost_model.decode(sequences, context).slowed(slowdown).at(context);
            window.form(&self.pace, start, (sequences, context), of_step)
        } else if self.core.batch.prefills.is_empty() {
            let cost = self.cost.decode(sequences, context).slowed(self.slowdown);
            let increment_ps = cost.context_ps * u64::from(sequences);
            let valid_steps = match cost.valid_below_context {
                u64::MAX => u64::MAX,
                below => below.saturating_sub(context).div_ceil(u64::from(sequences)),
            };
            Run::new(&self.pace, idle, start, cost.at(context), increment_ps, valid_steps)
        } else {
            let cost = self.cost.mixed(&self.core.batch.prefills, sequences, context).with_encoding(self.core.encoding_ps());
            let cost = cost.slowed(self.slowdown);
            Run::new(&self.pace, idle, start, cost, 0, 1)
        };
        let kv_wait_ps = if self.core.tiered { self.core.pool.delay(run.start, run.duration_ps) } else { 0 };
        run.wait(kv_wait_ps + self.core.take_swap_ps(), fetch.0);
        // What is told to other replicas may bring something here that nobody knew of when `limit` was set.
        let pauses = !self.handovers.news.is_empty()
            || (self.core.pool_hears && self.core.pool.awaits_reading())
            || !self.core.paused.is_empty()
            || !self.core.stalled.is_empty()
            || !self.core.batch.starved.is_empty();
        let ending_before = self.flights.back().is_some_and(|flight| !flight.finishing.is_empty());
        if self.pace.fast_path
            && self.speculation.is_none()
            && self.bunches.is_none()
            && steadiness == Steadiness::UntilEvent
            && self.core.batch.prefills.is_empty()
            && !pauses
            && !ending_before
        {
            let limit = if self.core.tiered { limit.min(self.core.pool.next_ready(now)) } else { limit };
            run.extend(&mut self.core, limit, self.pace.overlap, idle);
            if self.puts_off && run.steps > 1 {
                let mut first = run;
                first.steps = 1;
                let later_blocks = self.core.decodes.blocks_needed(run.steps) - self.core.decodes.blocks_needed(1);
                self.put_off = Some(PutOff { run: first, formed: now, bound: limit, idle, sequences, context, later_blocks });
                // When the batch after it would be formed.
                self.form_at = run.start + Time(run.span(if self.pace.overlap { run.steps - 1 } else { run.steps }));
                return;
            }
        }
        self.launch(run, now, sequences, context, observer);
    }

    fn report_events(&mut self, now: Time, observer: &mut impl Observer) {
        for event in self.core.events.drain(..) {
            match event {
                Event::Scheduled { request, cached_tokens } => {
                    if self.samples.is_first_admission(request) {
                        observer.scheduled(request, now, cached_tokens);
                    }
                }
                Event::ScheduledAlone { request, prompt_tokens } => {
                    if self.samples.is_first_admission(request) {
                        observer.scheduled(request, now, 0);
                    }
                    observer.found_nothing(self.index, request, now, prompt_tokens);
                }
                Event::Found { request, found } => observer.found(self.index, request, now, &found),
                Event::Preempted { request } => observer.preempted(self.index, request, now),
                Event::Swapped(swapped) => observer.swapped(self.index, now, &swapped),
            }
        }
    }
}
