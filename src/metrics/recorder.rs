//! Listens to the engines of one run and keeps what the summary, the CSV and the charts need.
//!
//! The engine may report a stretch of steps in one go or step by step: everything kept here comes out equal to the bit.

mod attempts;

use attempts::Attempts;

use super::counters::{Counters, tokens_of_first_step};
use super::encodes::Encoded;
use super::handovers::{Handover, Handovers};
use super::histogram::Histogram;
use super::ramp::Ramp;
use super::result::{Requests, RunResult, Status};
use super::run_info::RunInfo;
use super::step_log::StepLog;
use super::summary::summary;
use super::timeline::{Gauges, StepsTold, Timeline};
use crate::cost::{PowerModel, StepWork};
use crate::engine::{Found, Observer, RejectReason, StepRun, Swapped};
use crate::kv::TierUse;
use crate::order::sort_by_key;
use crate::units::Time;
use crate::workload::Request;

/// What is remembered of a replica.
#[derive(Clone, Debug, Default)]
struct Replica {
    counters: Counters,
    /// State after its last step, and when that ended.
    last: Gauges,
    last_end_ps: u64,
    /// It has requests that had not ended when the simulation did.
    unfinished: bool,
}

/// The observer of a run.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    warm_up_ps: u64,
    requests: Requests,
    /// Gaps between tokens of one request, of tokens that came out after the warm-up.
    inter_token: Histogram,
    timeline: Timeline,
    replicas: Vec<Replica>,
    /// By replica; of one without, no energy is counted.
    power: Vec<Option<PowerModel>>,
    /// Kept only when asked for.
    steps: Option<StepLog>,
    /// By replica: what its KV tiers have done. Empty without tiers.
    tiers: Vec<Vec<TierUse>>,
    handovers: Handovers,
    encodes: Vec<Encoded>,
    attempts: Attempts,
}

impl Recorder {
    /// `warm_up`: what the summary leaves out (requests that arrive before, steps that end before).
    /// `expected_requests`: how many rows to make room for.
    pub fn new(warm_up: Time, expected_requests: Option<u64>) -> Recorder {
        let mut recorder = Recorder { warm_up_ps: warm_up.0, ..Recorder::default() };
        // Only a hint, and one that a document controls: reserve at most a million rows ahead.
        recorder.requests.reserve(expected_requests.unwrap_or(0).min(1 << 20) as usize);
        recorder
    }

    /// Keeps the steps that run at some time from `from` to `to`, for a trace.
    pub fn keep_steps(&mut self, from: Time, to: Time) {
        self.steps = Some(StepLog::new(from, to));
    }

    /// Counts energy too.
    pub fn with_power(mut self, power: Vec<Option<PowerModel>>) -> Recorder {
        self.power = power;
        self
    }

    /// A request has a seat in the decode pool.
    pub fn handed_over(&mut self, request: u32, record: &Handover) {
        self.handovers.records.push(Handover { request, ..*record });
    }

    /// The images of a request are encoded, and their embeddings where they are wanted.
    pub fn encoded(&mut self, record: Encoded) {
        self.encodes.push(record);
    }

    /// KV that was kept for somebody is freed: nobody has fetched it in time.
    pub fn lease_ended(&mut self) {
        self.handovers.leases_ended += 1;
    }

    /// What the links of the network have carried when the run ends.
    pub fn links(&mut self, carried: impl Iterator<Item = (u64, u64)>) {
        // The busiest by share of its rate.
        self.handovers.busiest_link = carried.max_by(|a, b| (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1))));
    }

    /// Ends the run at `end` and sums it up. Requests that have not ended must have been reported as unfinished.
    pub fn finish(mut self, info: RunInfo, end: Time) -> RunResult {
        for replica in &self.replicas {
            // A replica with a backlog goes on with it; any other is idle after its last step.
            if replica.unfinished {
                self.timeline.hold(replica.last, replica.last_end_ps, end.0);
            }
        }
        self.requests.drop_unknown();
        sort_by_key(&mut self.handovers.records, |record| record.request);
        let mut result = RunResult {
            name: info.name.clone(),
            summary: serde_json::Value::Null,
            requests: self.requests,
            series: self.timeline.finish(end.0),
            kv_blocks_total: info.replicas.iter().map(|replica| replica.kv_blocks).sum(),
            end_ps: end.0,
            warm_up_ps: self.warm_up_ps,
            counters: self.replicas.into_iter().map(|replica| replica.counters).collect(),
            inter_token: self.inter_token,
            handovers: self.handovers,
            encodes: self.encodes,
            steps: self.steps.unwrap_or_default(),
            tiers: self.tiers,
            fleet: self.attempts.log,
            info,
        };
        result.summary = summary(&result);
        result
    }

    #[inline]
    fn replica(&mut self, replica: u16) -> &mut Replica {
        let index = replica as usize;
        if self.replicas.len() <= index {
            self.make_replicas(index);
        }
        &mut self.replicas[index]
    }

    #[inline(never)]
    fn make_replicas(&mut self, index: usize) {
        self.replicas.resize_with(index + 1, Replica::default);
    }

    /// Tokens of the present try, on top of what earlier ones have left.
    #[inline]
    fn produced(&mut self, row: usize, output_tokens: u32, prefilled_tokens: u64) {
        let carried = self.attempts.carried(row as u32);
        self.requests.output_tokens[row] = carried.tokens + output_tokens;
        self.requests.prefilled_tokens[row] = carried.prefilled + prefilled_tokens;
    }

    fn row(&mut self, id: u32) -> usize {
        let row = id as usize;
        self.requests.make_row(row);
        row
    }
}

impl Observer for Recorder {
    fn arrived(&mut self, replica: u16, request: &Request) {
        self.replica(replica);
        if self.attempts.rows_first() {
            self.requests.replica[request.id as usize] = replica;
            return;
        }
        self.timeline.arrival(request.arrival.0);
        self.requests.arrive(replica, request);
    }

    #[inline]
    fn scheduled(&mut self, id: u32, at: Time, cached_tokens: u32) {
        let row = self.row(id);
        self.requests.scheduled_ps[row] = at.0;
        self.requests.cached_tokens[row] = cached_tokens;
    }

    fn found(&mut self, replica: u16, id: u32, _at: Time, found: &Found) {
        let row = self.row(id);
        if !found.again {
            self.requests.lower_tier_tokens[row] = found.below.iter().sum();
        }
        if self.requests.arrival_ps[row] >= self.warm_up_ps {
            self.replica(replica).counters.found.add(found);
        }
    }

    fn found_nothing(&mut self, replica: u16, id: u32, _at: Time, prompt_tokens: u32) {
        let row = self.row(id);
        if self.requests.arrival_ps[row] >= self.warm_up_ps {
            self.replica(replica).counters.found.misses[0] += u64::from(prompt_tokens);
        }
    }

    fn tiers(&mut self, replica: u16, tiers: Vec<TierUse>) {
        let index = usize::from(replica);
        if self.tiers.len() <= index {
            self.tiers.resize_with(index + 1, Vec::new);
        }
        self.tiers[index] = tiers;
    }

    fn preempted(&mut self, replica: u16, id: u32, at: Time) {
        let row = self.row(id);
        self.requests.preemptions[row] += 1;
        self.timeline.preemption(at.0);
        let counted = u64::from(at.0 > self.warm_up_ps);
        self.replica(replica).counters.preemptions += counted;
    }

    fn swapped(&mut self, replica: u16, at: Time, swapped: &Swapped) {
        if at.0 > self.warm_up_ps {
            self.replica(replica).counters.swap.add(swapped);
        }
    }

    fn first_token(&mut self, id: u32, at: Time) {
        if let Some(gap_ps) = self.attempts.resumes(id, at) {
            if at.0 > self.warm_up_ps {
                self.inter_token.add(gap_ps, 1);
            }
            return;
        }
        let row = self.row(id);
        self.requests.first_token_ps[row] = at.0;
    }

    fn finished(&mut self, _replica: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64) {
        let row = self.row(id);
        self.requests.status[row] = Status::Success as u8;
        self.requests.finish_ps[row] = at.0;
        self.produced(row, output_tokens, prefilled_tokens);
        self.timeline.finish_of_request(at.0);
    }

    fn cancelled(&mut self, replica: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64) {
        if self.attempts.was_cut_off(replica, id) {
            return;
        }
        let row = self.row(id);
        self.requests.status[row] = Status::Cancelled as u8;
        self.requests.cancelled_ps[row] = at.0;
        self.produced(row, output_tokens, prefilled_tokens);
    }

    fn rejected(&mut self, _replica: u16, id: u32, _at: Time, reason: RejectReason) {
        let row = self.row(id);
        self.requests.status[row] = Status::Rejected as u8;
        self.requests.reject_reason[row] = reason as u8 + 1;
    }

    fn unfinished(&mut self, id: u32, output_tokens: u32, prefilled_tokens: u64) {
        let row = self.row(id);
        self.produced(row, output_tokens, prefilled_tokens);
        let replica = self.requests.replica[row];
        self.replica(replica).unfinished = true;
    }

    fn steps(&mut self, run: &StepRun<'_>) {
        debug_assert!(
            run.steps == 1
                || (run.prefill_tokens == 0 && run.first_tokens == 0 && run.other_gaps_ps.is_empty() && run.stalled_gaps.is_empty())
        );
        let ramp =
            Ramp { start_ps: run.start.0, first_ps: run.first_duration_ps, increment_ps: run.duration_increment_ps, steps: run.steps };
        let end_ps = ramp.end();
        let skipped = if ramp.start_ps >= self.warm_up_ps { 0 } else { ramp.steps_by(self.warm_up_ps) };
        let first_ps = run.first_duration_ps + skipped * run.duration_increment_ps;
        self.inter_token.add_ramp(first_ps, run.duration_increment_ps, run.steps - skipped, run.regular_gaps as u64);
        if skipped == 0 {
            for &gap_ps in run.other_gaps_ps {
                self.inter_token.add(gap_ps, 1);
            }
            for &(gap_ps, count) in run.stalled_gaps {
                self.inter_token.add(gap_ps, u64::from(count));
            }
        }
        if let Some(steps) = &mut self.steps {
            steps.add(run);
        }
        let energy = self.power.get(usize::from(run.replica)).and_then(Option::as_ref).map(|power| power.ramp(&work_of(run)));
        let all_fj = energy.map_or(0, |energy| energy.of_first(run.steps));
        let energy_fj = all_fj - if skipped == 0 { 0 } else { energy.map_or(0, |energy| energy.of_first(skipped)) };
        let told = StepsTold {
            running: run.running,
            waiting: run.waiting,
            kv_blocks_after: run.kv_blocks_after,
            output_tokens: tokens_of_first_step(run),
            prefill_tokens: run.prefill_tokens,
            energy: energy.as_ref(),
        };
        self.timeline.steps(&ramp, end_ps, &told, all_fj);

        let kv_blocks = (run.kv_blocks_after)(run.steps);
        let before_window_ps = match skipped {
            0 => self.warm_up_ps.saturating_sub(ramp.start_ps),
            _ if skipped == run.steps => 0,
            _ => self.warm_up_ps.saturating_sub(ramp.end_of(skipped)),
        };
        let replica = self.replica(run.replica);
        replica.counters.before_window_ps += before_window_ps;
        replica.counters.add(run, skipped);
        replica.counters.energy_fj += energy_fj;
        replica.counters.kv_blocks_peak = replica.counters.kv_blocks_peak.max(kv_blocks);
        replica.last = Gauges { running: run.running, waiting: run.waiting, kv_blocks };
        replica.last_end_ps = end_ps;
    }
}

/// What a run of steps does, as the power model asks for it.
fn work_of(run: &StepRun<'_>) -> StepWork {
    StepWork {
        steps: run.steps,
        first_duration_ps: run.first_duration_ps,
        duration_increment_ps: run.duration_increment_ps,
        first_device_ps: run.first_device_ps,
        device_increment_ps: run.device_increment_ps,
        first_parts: run.first_parts,
        decode_sequences: run.decode_sequences,
        first_context: run.first_context,
        prefill_tokens: run.prefill_tokens,
        prefill_pairs: run.prefill_pairs,
        padded_tokens: run.padded_tokens,
        sampled_rows: run.decode_sequences + run.first_tokens,
    }
}
