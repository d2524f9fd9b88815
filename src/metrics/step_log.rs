//! Steps kept one run of equal ones after the other, for traces: only those of a stretch of time, and only so many.

use super::ramp::Ramp;
use crate::cost::StepParts;
use crate::engine::{HoldRule, StepRun};
use crate::units::Time;

/// Runs of steps kept at most: about 50 MB.
pub const MOST_RUNS: usize = 400_000;

/// Steps with the same batch, as they were told.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedSteps {
    pub replica: u16,
    pub start_ps: u64,
    pub steps: u64,
    pub first_duration_ps: u64,
    pub duration_increment_ps: u64,
    /// Of the first step.
    pub parts: StepParts,
    pub decode_sequences: u32,
    pub prefill_tokens: u64,
    pub padded_tokens: u32,
    pub running: u32,
    pub waiting: u32,
    pub held_back: Option<HoldRule>,
    /// KV blocks in use once the first and once the last of them are scheduled.
    pub kv_blocks: (u64, u64),
}

impl LoggedSteps {
    /// When step `index` starts, ps; with `steps` as index, when the last one ends.
    pub fn start_of(&self, index: u64) -> u64 {
        let Self { start_ps, first_duration_ps, duration_increment_ps, steps, .. } = *self;
        let ramp = Ramp { start_ps, first_ps: first_duration_ps, increment_ps: duration_increment_ps, steps };
        ramp.end_of(index)
    }
}

/// The steps of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepLog {
    /// From and to, ps.
    window_ps: (u64, u64),
    pub runs: Vec<LoggedSteps>,
    /// There were more than can be kept, from this instant on, ps.
    pub cut_at_ps: Option<u64>,
}

impl StepLog {
    /// Keeps the steps that run at some time from `from` to `to`.
    pub fn new(from: Time, to: Time) -> StepLog {
        StepLog { window_ps: (from.0, to.0), ..StepLog::default() }
    }

    /// From and to, ps.
    pub fn window_ps(&self) -> (u64, u64) {
        self.window_ps
    }

    pub(super) fn add(&mut self, run: &StepRun<'_>) {
        let logged = LoggedSteps {
            replica: run.replica,
            start_ps: run.start.0,
            steps: run.steps,
            first_duration_ps: run.first_duration_ps,
            duration_increment_ps: run.duration_increment_ps,
            parts: run.first_parts,
            decode_sequences: run.decode_sequences,
            prefill_tokens: run.prefill_tokens,
            padded_tokens: run.padded_tokens,
            running: run.running,
            waiting: run.waiting,
            held_back: run.held_back.map(|held| held.rule),
            kv_blocks: ((run.kv_blocks_after)(1), (run.kv_blocks_after)(run.steps)),
        };
        let (from, to) = self.window_ps;
        if logged.start_ps >= to || logged.start_of(run.steps) <= from {
            return;
        }
        if self.runs.len() < MOST_RUNS {
            self.runs.push(logged);
        } else {
            self.cut_at_ps = Some(self.cut_at_ps.map_or(logged.start_ps, |cut| cut.min(logged.start_ps)));
        }
    }
}
