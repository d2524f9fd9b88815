//! One serving replica in time: when batches are formed, how long they run, when their tokens come out, and the fast path.
//!
//! Blocking engines form a batch when the last one has ended. Overlapping engines keep two in flight: batch n+1 is formed when
//! batch n starts, so host time hides behind device time and an arrival may wait up to one step longer.
//!
//! The fast path: while the policy says that nothing changes, k decode-only steps are taken at once. Their cost is affine in
//! the sum of contexts, in integers, so the jump ends on the same picosecond as k single steps.

mod outage;

pub use outage::{Backlog, UnderWay};

use std::collections::VecDeque;

use super::bunches::Bunches;
use super::core::{Core, Event};
use super::handover::{Handovers, News};
use super::hang_ups::HangUps;
use super::job::{Job, JobId, Leg, Stage};
use super::lockstep::Lockstep;
use super::observer::{Observer, StepRun};
use super::pipeline::Pipeline;
use super::policy::{Policy, Steadiness};
use super::probe::Probe;
use super::run::Run;
use super::samples::Samples;
use super::speculation::Speculation;
use crate::cost::{CostModel, StepCost};
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

/// Batches in flight: one, or a run of equal decode-only ones.
struct Flight {
    end: Time,
    /// The lane of a pipeline that it serves.
    lane: u16,
    /// When the last step starts on the device.
    last_step_start: Time,
    /// Decode clock before it and after it, and how many of its steps end after the horizon.
    clock: u64,
    clock_after: u64,
    undone: u64,
    first_tokens: Vec<JobId>,
    /// Prefills that complete: each yields a token at the end.
    completed: Vec<JobId>,
    finishing: Vec<JobId>,
    /// Drafted tokens accepted in its (single) step, by sequence.
    accepted: Vec<(JobId, u32)>,
    /// Pieces of prompts whose KV goes to another replica: tokens computed with it.
    pieces: Vec<(JobId, u64)>,
}

impl Flight {
    /// Tokens that its last `steps` steps yield for a job.
    fn yields(&self, job: &Job, id: JobId, steps: u64) -> u64 {
        let decoding = job.lane == self.lane && job.joined < self.clock_after && self.clock < job.left;
        if steps == 0 {
            0
        } else if self.completed.contains(&id) {
            1
        } else if decoding {
            let accepted = self.accepted.iter().find(|(other, _)| *other == id).map_or(0, |(_, tokens)| *tokens);
            steps.min(self.clock_after - self.clock) + u64::from(accepted)
        } else {
            0
        }
    }
}

/// A run that has been formed and not put in flight.
struct PutOff {
    /// Its first step.
    run: Run,
    formed: Time,
    /// Steps formed from then on are not of it.
    bound: Time,
    idle: bool,
    sequences: u32,
    context: u64,
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
    flights: VecDeque<Flight>,
    spare_flights: Vec<Flight>,
    pub(super) form_at: Time,
    gaps: Vec<u64>,
    stalled_gaps: Vec<(u64, u32)>,
    probe: Option<Probe>,
    prefilled: Option<Vec<u32>>,
    /// Runs are put off, see [`Replica::put_runs_off`].
    puts_off: bool,
    put_off: Option<PutOff>,
    pub(super) hang_ups: HangUps,
    samples: Samples,
    speculation: Option<Speculation>,
    bunches: Option<Bunches>,
    /// Thousandths of a step's time on the GPUs: 1000 at full speed.
    slowdown: u32,
    pub(super) handovers: Handovers,
    /// The other ranks of a group in lockstep, which this one leads.
    pub(super) lockstep: Option<Box<Lockstep>>,
}

impl Replica {
    pub fn new(index: u16, core: Core, policy: Box<dyn Policy>, cost: Box<dyn CostModel>, pace: Pace) -> Replica {
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
            puts_off: false,
            put_off: None,
            hang_ups: HangUps::default(),
            samples: Samples::default(),
            speculation: None,
            bunches: None,
            slowdown: FULL_SPEED,
            handovers: Handovers::default(),
            lockstep: None,
        }
    }

    /// Has sequences gain drafted tokens; `limits.speculative_tokens` says how many are drafted.
    pub fn speculate(&mut self, speculation: Speculation) {
        self.speculation = Some(speculation);
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
        let Some(PutOff { mut run, formed, bound, idle, sequences, context }) = self.put_off.take() else { return };
        run.extend(&mut self.core, limit.min(bound), self.pace.overlap, idle);
        self.launch(run, formed, sequences, context, observer);
    }

    /// Remembers the step under way at a moment.
    pub fn watch(&mut self, at: Time) {
        self.puts_off = false;
        self.probe = Some(Probe::new(at));
    }

    /// What a watch has found.
    pub fn probe(&self) -> Option<&Probe> {
        self.probe.as_ref()
    }

    /// When something happens next here, unless a request arrives before; [`Time::NEVER`] when idle.
    pub fn next_event(&self) -> Time {
        if let Some(group) = &self.lockstep {
            return group.next_event(self);
        }
        self.flights.front().map_or(Time::NEVER, |flight| flight.end).min(self.form_at).min(self.hang_ups.next())
    }

    /// Requests waiting and running.
    pub fn load(&self) -> (u32, u32) {
        let Some(group) = &self.lockstep else { return self.own_load() };
        (group.sum(self, |rank| u64::from(rank.own_load().0)) as u32, group.sum(self, |rank| u64::from(rank.own_load().1)) as u32)
    }

    /// Of this rank.
    pub(super) fn own_load(&self) -> (u32, u32) {
        (self.core.waiting.len() as u32 + self.handovers.unseated(), self.core.running_len())
    }

    /// KV blocks that requests hold now.
    pub fn kv_blocks_used(&self) -> u64 {
        self.lockstep.as_ref().map_or(self.core.pool.used(), |group| group.sum(self, |rank| rank.core.pool.used()))
    }

    /// Leading tokens in memory of a prompt that is not here yet, where the cache can say.
    pub fn held(&self, request: &Request) -> Option<u64> {
        if self.lockstep.is_some() {
            return None;
        }
        self.core.pool.held(request)
    }

    /// From now on keeps whose first token has come out, for `take_prefilled`.
    pub fn keep_prefilled(&mut self) {
        self.prefilled = Some(Vec::new());
    }

    /// Requests whose first token came out in the last `process`.
    pub fn take_prefilled(&mut self) -> impl Iterator<Item = u32> + '_ {
        self.prefilled.iter_mut().flat_map(|ids| ids.drain(..))
    }

    /// KV blocks of the pool.
    pub fn kv_blocks_total(&self) -> u64 {
        self.lockstep.as_ref().map_or(self.core.pool.total(), |group| group.sum(self, |rank| rank.core.pool.total()))
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
        self.core.pool.at(now);
        if request.samples > 1 {
            let jobs = self.samples.open(request, self.policy.computes_prompt_before_replies());
            jobs.into_iter().for_each(|job| self.enqueue(job));
        } else {
            self.enqueue(request);
        }
        if self.has_room_for_a_batch() && self.form_at > now {
            self.form_at = now;
        }
        false
    }

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
        match self.flights.front() {
            Some(flight) if flight.end <= self.form_at.min(hang_up) => self.finish_flight(observer, ended),
            _ if hang_up <= self.form_at => {
                self.settle(hang_up, observer);
                self.take_hang_up(ended);
            }
            _ if self.put_off.is_some() => self.settle(Time::NEVER, observer),
            _ if self.puts_off => self.form(hang_up, observer),
            _ => self.form(limit.min(hang_up), observer),
        }
        self.hang_ups.settle(&self.core.jobs);
    }

    /// Tells of the requests whose clients have given up and which are still here, before this replica is no more.
    pub fn tell_hung_up(&mut self, observer: &mut impl Observer) {
        for id in std::mem::take(&mut self.hang_ups.pending) {
            let tokens = self.tokens_out(id);
            self.report_cancelled(id, tokens, observer);
        }
    }

    /// The next client gives up.
    pub(super) fn take_hang_up(&mut self, ended: &mut Vec<u32>) {
        let request = self.hang_ups.take(&mut self.core.jobs);
        ended.extend(request.filter(|&id| self.samples.is_first_to_hang_up(id)));
    }

    /// When the batch in flight longest comes out.
    pub(super) fn flight_end(&self) -> Time {
        self.flights.front().map_or(Time::NEVER, |flight| flight.end)
    }

    /// Of a rank: puts the next batch together. Its decodes and their context, if there is anything in it; whether somebody was preempted.
    pub(super) fn form_batch(&mut self, now: Time, observer: &mut impl Observer) -> (Option<(u32, u64)>, bool) {
        self.core.now = now;
        self.core.pool.at(now);
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

    /// Of a rank: cost of the batch put together, in a group that computes `rows` tokens in all.
    pub(super) fn batch_cost(&mut self, rows: u64, sequences: u32, context: u64) -> StepCost {
        self.cost.of_group(rows);
        if self.core.batch.prefills.is_empty() {
            return self.cost.decode(sequences, context).at(context);
        }
        self.cost.mixed(&self.core.batch.prefills, sequences, context)
    }

    /// Lets go of the requests whose clients have given up.
    fn drop_hung_up(&mut self, observer: &mut impl Observer) {
        for id in std::mem::take(&mut self.hang_ups.pending) {
            let tokens = self.tokens_out(id);
            self.report_cancelled(id, tokens, observer);
            for flight in &mut self.flights {
                for list in [&mut flight.first_tokens, &mut flight.completed, &mut flight.finishing] {
                    list.retain(|&other| other != id);
                }
                flight.pieces.retain(|&(other, _)| other != id);
            }
            self.policy.forget(id);
            self.core.drop_job(id);
        }
    }

    fn report_cancelled(&mut self, id: JobId, tokens: u32, observer: &mut impl Observer) {
        let job = &self.core.jobs[id];
        if !job.leg.is_prefill()
            && let Some((tokens, prefilled)) = self.samples.ended(job.request.id, tokens, job.prefilled)
        {
            observer.cancelled(self.index, job.request.id, job.request.hangs_up, tokens, prefilled);
        }
    }

    /// Tokens of a request that have come out, when a batch is being formed: of each run in flight, the last step has not ended.
    fn tokens_out(&self, id: JobId) -> u32 {
        let in_flight: u64 = self.flights.iter().map(|flight| flight.yields(&self.core.jobs[id], id, 1)).sum();
        self.tokens_scheduled(id).saturating_sub(in_flight as u32)
    }

    /// Tokens of a request that have come out or are in flight.
    fn tokens_scheduled(&self, id: JobId) -> u32 {
        match self.core.jobs[id].stage {
            Stage::Decoding => self.core.decodes_of(self.core.jobs[id].lane).generated(&self.core.jobs, id),
            _ => self.core.jobs[id].generated,
        }
    }

    /// Tokens come out, ended requests leave.
    pub(super) fn finish_flight(&mut self, observer: &mut impl Observer, ended: &mut Vec<u32>) {
        let Some(mut flight) = self.flights.pop_front() else { return };
        for &id in flight.first_tokens.iter().filter(|&&id| !self.core.jobs[id].hung_up && !self.core.jobs[id].leg.is_prefill()) {
            let request = self.core.jobs[id].request.id;
            if !self.samples.is_first_token(request) {
                continue;
            }
            observer.first_token(request, flight.end);
            if let Some(prefilled) = &mut self.prefilled {
                prefilled.push(request);
            }
        }
        self.core.pool.at(flight.end);
        for &id in &flight.completed {
            self.core.pool.read(id);
            self.core.ledger.computed(&self.core.jobs[id].request);
        }
        for &(id, computed) in flight.pieces.iter().filter(|(id, _)| !self.core.jobs[*id].hung_up) {
            let request = self.core.jobs[id].request.id;
            self.handovers.news.push(News::Computed { request, job: id, computed });
        }
        if self.pipeline.is_some() {
            self.core.switch_to(flight.lane);
        }
        for &id in &flight.finishing {
            if self.core.stopping.contains(&id) {
                self.core.stop(id, false);
            }
            let job = &self.core.jobs[id];
            let request = job.request.id;
            let mut replies = None;
            if job.hung_up {
                self.hang_ups.pending.retain(|&other| other != id);
                self.report_cancelled(id, job.generated, observer);
            } else if job.leg.is_prefill() {
                self.park_prefilled(id);
                continue;
            } else {
                replies = self.samples.prompt_computed(request, job.prefilled);
                if replies.is_none()
                    && let Some((tokens, prefilled)) = self.samples.ended(request, job.generated, job.prefilled)
                {
                    observer.finished(self.index, request, flight.end, tokens, prefilled);
                    ended.push(request);
                }
            }
            self.core.ledger.replied(&self.core.jobs[id].request);
            self.core.end(id);
            replies.into_iter().flatten().for_each(|reply| self.enqueue(reply));
        }
        if self.form_at == Time::NEVER {
            self.form_at = self.next_formation(flight.end);
        }
        flight.first_tokens.clear();
        flight.completed.clear();
        flight.finishing.clear();
        flight.accepted.clear();
        flight.pieces.clear();
        self.spare_flights.push(flight);
    }

    /// When the next batch is to be formed, at `now` or later; [`Time::NEVER`] while the pipeline is full.
    pub(super) fn next_formation(&self, now: Time) -> Time {
        if let Some(pipeline) = &self.pipeline {
            return if self.flights.len() < pipeline.depth() && self.next_lane(false).is_some() { now } else { Time::NEVER };
        }
        let depth = if self.pace.overlap { 2 } else { 1 };
        match self.flights.back() {
            _ if self.flights.len() >= depth => Time::NEVER,
            Some(last) => last.last_step_start.max(now),
            None if self.core.waiting.is_empty() && self.core.running_len() == 0 && !self.handovers.wait_for_a_batch() => Time::NEVER,
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
        self.core.pool.at(now);
        self.drop_hung_up(observer);
        let mut lane = self.next_lane(false);
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
            let preempted = self.core.events.iter().any(|event| matches!(event, Event::Preempted { .. }));
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

        if let Some(pipeline) = &mut self.pipeline {
            // Decodes want the tokens of their lane's last batch.
            let input = if self.core.batch.decodes { self.core.last_end } else { now };
            let passage = pipeline.pass(now, input, &self.core.batch, sequences, context);
            self.launch(Run::through(&passage), now, sequences, context, observer);
            return;
        }
        let mut run = if self.core.batch.prefills.is_empty() {
            let cost = self.cost.decode(sequences, context).slowed(self.slowdown);
            let increment_ps = cost.context_ps * u64::from(sequences);
            let valid_steps = match cost.valid_below_context {
                u64::MAX => u64::MAX,
                below => below.saturating_sub(context).div_ceil(u64::from(sequences)),
            };
            Run::new(&self.pace, idle, start, cost.at(context), increment_ps, valid_steps)
        } else {
            let cost = self.cost.mixed(&self.core.batch.prefills, sequences, context).slowed(self.slowdown);
            Run::new(&self.pace, idle, start, cost, 0, 1)
        };
        run.wait(self.core.pool.delay(run.start, run.duration_ps));
        // What is told to other replicas may bring something here that nobody knew of when `limit` was set.
        let pauses = !self.handovers.news.is_empty()
            || self.core.pool.awaits_reading()
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
            let limit = limit.min(self.core.pool.next_ready(now));
            let first = run;
            run.extend(&mut self.core, limit, self.pace.overlap, idle);
            if self.puts_off && run.steps > 1 {
                self.put_off = Some(PutOff { run: first, formed: now, bound: limit, idle, sequences, context });
                // When the batch after it would be formed.
                self.form_at = run.start + Time(run.span(if self.pace.overlap { run.steps - 1 } else { run.steps }));
                return;
            }
        }
        self.launch(run, now, sequences, context, observer);
    }

    /// Puts a run in flight and moves the scheduler's view to its end.
    pub(super) fn launch(&mut self, run: Run, now: Time, sequences: u32, context: u64, observer: &mut impl Observer) {
        let core = &mut self.core;
        let end = run.start + Time(run.span(run.steps));
        let done = run.steps_ending_by(self.pace.horizon);
        let mut flight = self.spare_flights.pop().unwrap_or_else(|| Flight {
            end,
            lane: 0,
            last_step_start: end,
            clock: 0,
            clock_after: 0,
            undone: 0,
            first_tokens: Vec::new(),
            completed: Vec::new(),
            finishing: Vec::new(),
            accepted: Vec::new(),
            pieces: Vec::new(),
        });
        flight.end = end;
        flight.lane = core.lane();
        flight.last_step_start =
            if run.steps == 1 { run.start + Time(run.exposed_start_ps) } else { run.start + Time(run.span(run.steps - 1)) };
        flight.clock = core.decodes.clock();
        flight.clock_after = flight.clock + if core.batch.decodes { run.steps } else { 0 };
        flight.undone = run.steps - done;

        // Tokens whose predecessor is more than this step away.
        self.gaps.clear();
        if core.batch.decodes {
            let starved = &core.batch.starved;
            let jobs = &core.jobs;
            let gaps = &mut self.gaps;
            let first_tokens = &mut flight.first_tokens;
            let stopping = &core.stopping;
            core.paused.retain(|&id| {
                let resumes = !starved.contains(&id);
                if resumes && jobs[id].generated == 0 {
                    first_tokens.push(id);
                } else if resumes && !stopping.contains(&id) {
                    gaps.push((end - jobs[id].last_token).0);
                }
                !resumes
            });
        }
        self.stalled_gaps.clear();
        if core.batch.decodes {
            let groups = core.stalled.drain(..).filter(|(_, count)| *count > 0);
            self.stalled_gaps.extend(groups.map(|(last_token, count)| ((end - last_token).0, count)));
        }
        let stalled: u32 = self.stalled_gaps.iter().map(|(_, count)| count).sum();
        // Sequences that decode beyond an end of which the scheduler does not know yet.
        let stopping = &core.stopping;
        let wasted = if core.batch.decodes { stopping.iter().filter(|id| !core.batch.starved.contains(id)).count() as u32 } else { 0 };
        let mut regular_gaps = sequences - self.gaps.len() as u32 - flight.first_tokens.len() as u32 - stalled - wasted;
        if self.pipeline.is_some() {
            // The lane's last tokens are older than the batch that came out before this one.
            let gap = (end - core.last_end).0;
            self.gaps.resize(self.gaps.len() + regular_gaps as usize, gap);
            regular_gaps = 0;
        }

        if let (Some(speculation), true) = (&mut self.speculation, core.batch.decodes) {
            let is_member = |&id: &JobId| {
                let job = &core.jobs[id];
                job.stage == Stage::Decoding && job.left == u64::MAX && !core.stopping.contains(&id)
            };
            let members: Vec<JobId> = core.running().filter(is_member).collect();
            for id in members {
                let tokens = core.accept(id, speculation.accepted());
                if tokens > 0 {
                    flight.accepted.push((id, tokens));
                    // They come out with the step's own token.
                    self.gaps.extend(std::iter::repeat_n(0, tokens as usize));
                }
            }
        }
        let accepted_tokens = flight.accepted.iter().map(|(_, tokens)| tokens).sum();

        core.pool.at(end);
        let mut prefill_tokens = 0;
        let mut prefill_pairs = 0;
        for (piece, &id) in core.batch.prefills.iter().zip(&core.batch.prefill_jobs) {
            let new = u64::from(piece.new_tokens);
            prefill_tokens += new;
            core.pool.computed(id, u64::from(piece.past_tokens) + new, piece.completes);
            prefill_pairs += new * u64::from(piece.past_tokens) + new * (new + 1) / 2;
            if piece.completes {
                flight.completed.push(id);
                let job = &core.jobs[id];
                if job.leg == Leg::SilentPrefill || job.request.max_tokens == 0 {
                    // Sampled, and never seen by anybody: the latter computes a prompt for several replies.
                } else if job.generated == 0 {
                    flight.first_tokens.push(id);
                } else {
                    self.gaps.push((end - job.last_token).0);
                }
            } else if core.jobs[id].leg.is_prefill() {
                flight.pieces.push((id, u64::from(piece.past_tokens) + new));
            }
        }

        let mut bunched_tokens = 0;
        if let Some(bunches) = self.bunches {
            bunched_tokens = bunches.let_out(core, &flight.first_tokens, &flight.completed, end, &mut self.gaps);
            self.stalled_gaps.clear();
            regular_gaps = 0;
        }

        if done > 0 {
            let used = core.pool.used();
            let decodes = &core.decodes;
            // Blocks of the first step are taken already; those of later steps are not.
            let first_blocks = if core.batch.decodes && run.steps > 1 { decodes.blocks_needed(1) } else { 0 };
            let steps = run.steps;
            let steps_told = StepRun {
                replica: self.index,
                start: run.start,
                steps: done,
                first_duration_ps: run.duration_ps,
                duration_increment_ps: run.duration_increment_ps,
                first_device_ps: run.cost.device_ps,
                device_increment_ps: run.device_increment_ps,
                first_parts: run.cost.parts,
                decode_sequences: sequences,
                first_context: context,
                prefill_tokens,
                prefill_pairs,
                padded_tokens: run.cost.padded_tokens,
                eager: run.cost.eager,
                kv_wait_ps: run.kv_wait_ps,
                stopped_decodes: core.decodes.len() - sequences + core.batch.starved.len() as u32,
                held_back: core.held_back,
                first_tokens: flight.first_tokens.len() as u32,
                regular_gaps,
                bunched_tokens,
                drafted_tokens: (sequences - wasted) * core.limits.speculative_tokens,
                accepted_tokens,
                wasted_sequences: wasted,
                other_gaps_ps: &self.gaps,
                stalled_gaps: &self.stalled_gaps,
                running: core.running_len(),
                waiting: core.waiting.len() as u32,
                kv_blocks_after: &|i| match (i, steps) {
                    (0, _) | (_, 1) => used,
                    _ => used + decodes.blocks_needed(i) - first_blocks,
                },
            };
            observer.steps(&steps_told);
            if let Some(probe) = &mut self.probe {
                probe.see(core, &steps_told);
            }
        }

        if core.batch.decodes {
            if run.steps > 1 {
                let later = core.decodes.blocks_needed(run.steps) - core.decodes.blocks_needed(1);
                let there = core.pool.allocate(later);
                debug_assert!(there, "a run was made longer than its blocks allow");
            }
            core.decodes.advance(run.steps);
        }
        core.rejoin_starved();
        // The end that the batch before yields will be known when the next one is formed.
        while let Some(&id) = core.stopping.first() {
            let decoded = core.batch.decodes && core.jobs[id].left == u64::MAX;
            core.stop(id, decoded);
        }
        if core.batch.decodes {
            core.last_decode_end = end;
        } else if !core.decodes.is_empty() {
            core.stall();
        }
        for &id in &flight.completed {
            let job = &mut core.jobs[id];
            job.generated += 1;
            job.last_token = end;
            if job.generated >= job.request.output_tokens {
                flight.finishing.push(id);
                if job.request.ends_by_eos() && self.pace.overlap {
                    core.decodes.join(&mut core.jobs, id);
                    core.stopping.push(id);
                } else {
                    job.stage = Stage::Finishing;
                }
            } else {
                core.decodes.join(&mut core.jobs, id);
            }
        }
        if !flight.completed.is_empty() {
            let jobs = &core.jobs;
            core.prefilling.retain(|&id| jobs[id].stage == Stage::Prefilling);
        }
        while let Some(id) = core.decodes.pop_ended(&core.jobs) {
            // One that stops at its first token has been seen to above.
            if core.stopping.contains(&id) {
                continue;
            }
            flight.finishing.push(id);
            if core.jobs[id].request.ends_by_eos() && self.pace.overlap {
                core.stopping.push(id);
            } else {
                core.decodes.leave(&mut core.jobs, id);
                core.jobs[id].stage = Stage::Finishing;
            }
        }
        core.last_end = end;
        self.flights.push_back(flight);
        self.form_at = self.next_formation(now);
    }

    fn report_events(&mut self, now: Time, observer: &mut impl Observer) {
        for event in self.core.events.drain(..) {
            match event {
                Event::Scheduled { request, cached_tokens } => {
                    if self.samples.is_first_admission(request) {
                        observer.scheduled(request, now, cached_tokens);
                    }
                }
                Event::Found { request, found } => observer.found(self.index, request, now, &found),
                Event::Preempted { request } => observer.preempted(self.index, request, now),
            }
        }
    }

    /// Nothing runs and nothing could be scheduled: no later event would change that, so the head of the queue is turned away
    /// rather than left to hang. A policy that keeps its promises never gets here.
    pub(super) fn turn_away_the_stuck(&mut self, now: Time, observer: &mut impl Observer) {
        if !self.flights.is_empty() || self.core.running_len() > 0 || self.core.parked > 0 {
            return;
        }
        if let Some(id) = self.core.waiting.pop_front() {
            debug_assert!(false, "a request that fits was not admitted by an idle engine");
            let request = self.core.jobs[id].request.id;
            if self.samples.ended(request, 0, 0).is_some() {
                observer.rejected(self.index, request, now, super::observer::RejectReason::TooLongForKvPool);
            }
            self.core.jobs.remove(id);
            if !self.core.waiting.is_empty() {
                self.form_at = now;
            }
        }
    }

    /// Reports what is still here when the simulation ends.
    pub fn close(&self, observer: &mut impl Observer) {
        if let Some(group) = &self.lockstep {
            group.close(observer);
        }
        let core = &self.core;
        let tiers = core.pool.tiers();
        if !tiers.is_empty() {
            observer.tiers(self.index, tiers);
        }
        let leaving = self.flights.iter().flat_map(|flight| &flight.finishing).copied();
        let leaving = leaving.filter(|&id| core.jobs[id].stage == Stage::Leaving);
        let mut samples = self.samples.clone();
        for id in core.waiting.iter().copied().chain(core.running_everywhere()).chain(leaving) {
            let job = &core.jobs[id];
            if job.leg.is_prefill() {
                continue;
            }
            // Tokens in flight at the end have not come out.
            let in_flight: u64 = self.flights.iter().map(|flight| flight.yields(job, id, flight.undone)).sum();
            let generated = self.tokens_scheduled(id).saturating_sub(in_flight as u32);
            let Some((generated, prefilled)) = samples.ended(job.request.id, generated, job.prefilled) else { continue };
            if job.hung_up {
                observer.cancelled(self.index, job.request.id, job.request.hangs_up, generated, prefilled);
                continue;
            }
            observer.unfinished(job.request.id, generated, prefilled);
        }
    }
}
