//! What a run leaves behind: columns, ready to be drawn, written or transferred.

use serde::Serialize;

use super::counters::Counters;
use super::fleet_log::FleetLog;
use super::handovers::Handovers;
use super::histogram::Histogram;
use super::run_info::RunInfo;
use super::step_log::StepLog;
use crate::engine::RejectReason;
use crate::kv::TierUse;
use crate::workload::Request;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum Status {
    /// Still waiting or running at the end of the simulation.
    Unfinished = 0,
    Success = 1,
    /// Can never fit: longer than the model's context, or than the whole KV pool.
    Rejected = 2,
    /// Given up by its client: a time-out or a cancellation.
    Cancelled = 3,
    /// Its replica failed, and it was not tried again.
    Lost = 4,
}

/// In a column of instants: it never happened.
pub const NEVER_PS: u64 = u64::MAX;
/// In the session column: none.
pub const NO_SESSION: u32 = u32::MAX;
/// In the id column, while requests are being recorded: nothing has been told of this row.
const UNKNOWN: u32 = u32::MAX;
/// Rows added together: columns grow in long strokes.
const ROWS_AT_ONCE: usize = 256;

/// Applies a method to every column.
macro_rules! each_column {
    ($requests:expr, $column:ident => $action:expr) => {{
        let Requests {
            id,
            profile,
            session,
            turn,
            status,
            input_tokens,
            max_tokens,
            output_tokens,
            sent_ps,
            arrival_ps,
            scheduled_ps,
            first_token_ps,
            finish_ps,
            cancelled_ps,
            cached_tokens,
            lower_tier_tokens,
            prefilled_tokens,
            preemptions,
            replica,
            reject_reason,
            // Hashed only where requests are tried again.
            attempts: _,
            lost_tokens: _,
        } = $requests;
        each_column!(@apply $column => $action; id profile session turn status input_tokens max_tokens output_tokens sent_ps arrival_ps
            scheduled_ps first_token_ps finish_ps cancelled_ps cached_tokens lower_tier_tokens prefilled_tokens preemptions replica reject_reason);
    }};
    (@apply $column:ident => $action:expr; $($name:ident)*) => {
        $({ let $column = $name; $action; })*
    };
}

/// One row a request, as columns of equal length, in order of arrival. Times in ps; `u64::MAX` where it never happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    pub id: Vec<u32>,
    pub profile: Vec<u16>,
    /// `u32::MAX` for none.
    pub session: Vec<u32>,
    pub turn: Vec<u16>,
    /// A [`Status`].
    pub status: Vec<u8>,
    pub input_tokens: Vec<u32>,
    /// Declared output (`max_tokens`).
    pub max_tokens: Vec<u32>,
    /// Produced so far.
    pub output_tokens: Vec<u32>,
    pub sent_ps: Vec<u64>,
    pub arrival_ps: Vec<u64>,
    /// First scheduled.
    pub scheduled_ps: Vec<u64>,
    pub first_token_ps: Vec<u64>,
    pub finish_ps: Vec<u64>,
    /// Given up by its client.
    pub cancelled_ps: Vec<u64>,
    /// Prompt tokens found in the prefix cache at first admission.
    pub cached_tokens: Vec<u32>,
    /// Of those, brought up from tiers below the GPU.
    pub lower_tier_tokens: Vec<u32>,
    /// Tokens computed as prefill, recomputation included.
    pub prefilled_tokens: Vec<u64>,
    pub preemptions: Vec<u32>,
    /// Index of the replica that served it.
    pub replica: Vec<u16>,
    /// 0 unless rejected, else the reason's number plus 1: see [`Requests::reject_reason`].
    pub reject_reason: Vec<u8>,
    /// Tries, where requests can be tried again; 0 where they cannot.
    pub attempts: Vec<u8>,
    /// Tokens of tries that were lost.
    pub lost_tokens: Vec<u32>,
}

impl Requests {
    pub fn len(&self) -> usize {
        self.id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// Why row `row` was rejected, in the word used in summary and CSV.
    pub fn reject_reason(&self, row: usize) -> Option<&'static str> {
        REJECT_REASONS.iter().find(|(reason, _)| *reason as u8 + 1 == self.reject_reason[row]).map(|(_, word)| *word)
    }

    pub(super) fn reserve(&mut self, rows: usize) {
        each_column!(self, column => column.reserve(rows));
        self.attempts.reserve(rows);
        self.lost_tokens.reserve(rows);
    }

    /// Makes sure that `row` is there; rows are requests by id. Makes many at once: what is left over is dropped at the end.
    #[inline]
    pub(super) fn make_row(&mut self, row: usize) {
        if self.len() <= row {
            self.make_rows(row);
        }
    }

    #[inline(never)]
    fn make_rows(&mut self, row: usize) {
        self.resize((row + 1).max(self.len() + ROWS_AT_ONCE));
    }

    #[inline]
    pub(super) fn arrive(&mut self, replica: u16, request: &Request) {
        let row = request.id as usize;
        self.make_row(row);
        self.id[row] = request.id;
        self.profile[row] = request.profile;
        self.session[row] = request.session.unwrap_or(NO_SESSION);
        self.turn[row] = request.turn;
        self.input_tokens[row] = request.input_tokens;
        self.max_tokens[row] = request.max_tokens;
        self.sent_ps[row] = request.sent.0;
        self.arrival_ps[row] = request.arrival.0;
        self.replica[row] = replica;
    }

    /// More rows of which nothing is known.
    fn resize(&mut self, rows: usize) {
        let (bytes, halves, words, none) = (&[0; ROWS_AT_ONCE], &[0; ROWS_AT_ONCE], &[0; ROWS_AT_ONCE], &[UNKNOWN; ROWS_AT_ONCE]);
        let (wide, never) = (&[0; ROWS_AT_ONCE], &[NEVER_PS; ROWS_AT_ONCE]);
        lengthen(&mut self.id, rows, none);
        lengthen(&mut self.profile, rows, halves);
        lengthen(&mut self.session, rows, none);
        lengthen(&mut self.turn, rows, halves);
        lengthen(&mut self.status, rows, bytes);
        lengthen(&mut self.input_tokens, rows, words);
        lengthen(&mut self.max_tokens, rows, words);
        lengthen(&mut self.output_tokens, rows, words);
        lengthen(&mut self.sent_ps, rows, never);
        lengthen(&mut self.arrival_ps, rows, never);
        lengthen(&mut self.scheduled_ps, rows, never);
        lengthen(&mut self.first_token_ps, rows, never);
        lengthen(&mut self.finish_ps, rows, never);
        lengthen(&mut self.cancelled_ps, rows, never);
        lengthen(&mut self.cached_tokens, rows, words);
        lengthen(&mut self.lower_tier_tokens, rows, words);
        lengthen(&mut self.prefilled_tokens, rows, wide);
        lengthen(&mut self.preemptions, rows, words);
        lengthen(&mut self.replica, rows, halves);
        lengthen(&mut self.reject_reason, rows, bytes);
        lengthen(&mut self.attempts, rows, bytes);
        lengthen(&mut self.lost_tokens, rows, words);
    }

    /// Takes out the rows of requests that were drawn from the source but never reached a replica.
    pub(super) fn drop_unknown(&mut self) {
        let told = self.id.iter().rposition(|&id| id != UNKNOWN).map_or(0, |last| last + 1);
        each_column!(self, column => column.truncate(told));
        self.attempts.truncate(told);
        self.lost_tokens.truncate(told);
        if !self.id.contains(&UNKNOWN) {
            return;
        }
        let known: Vec<bool> = self.id.iter().map(|&id| id != UNKNOWN).collect();
        each_column!(self, column => {
            let mut known = known.iter();
            column.retain(|_| *known.next().unwrap_or(&true));
        });
        let keep = |row: &mut usize| {
            *row += 1;
            known[*row - 1]
        };
        let mut row = 0;
        self.attempts.retain(|_| keep(&mut row));
        row = 0;
        self.lost_tokens.retain(|_| keep(&mut row));
    }
}

/// Makes a column longer by copies of a stroke of blank rows, which is quicker than row by row.
fn lengthen<T: Copy>(column: &mut Vec<T>, rows: usize, blank: &[T; ROWS_AT_ONCE]) {
    while column.len() < rows {
        let more = (rows - column.len()).min(ROWS_AT_ONCE);
        column.extend_from_slice(&blank[..more]);
    }
}

/// The words for the reasons, in the order they are reported.
pub const REJECT_REASONS: [(RejectReason, &str); 8] = [
    (RejectReason::TooLongForModel, "too_long_for_model"),
    (RejectReason::TooLongForKvPool, "too_long_for_kv_pool"),
    (RejectReason::TooLongForStep, "too_long_for_step"),
    (RejectReason::QueueFull, "queue_full"),
    (RejectReason::AdmissionQueueFull, "admission_queue_full"),
    (RejectReason::RateLimited, "rate_limited"),
    (RejectReason::Unavailable, "unavailable"),
    (RejectReason::NoSwapSpace, "no_swap_space"),
];

/// Time series on bins of equal width, from time 0. Gauges are samples at the *end* of each bin; counters are sums over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub bin_ps: u64,
    /// Sequences running, of all replicas.
    pub running: Vec<u32>,
    pub waiting: Vec<u32>,
    /// KV blocks in use (referenced; cached blocks that could be evicted are not counted).
    pub kv_blocks_used: Vec<u64>,
    pub arrivals: Vec<u32>,
    pub finished: Vec<u32>,
    pub output_tokens: Vec<u64>,
    /// Prompt tokens computed.
    pub prefill_tokens: Vec<u64>,
    pub preemptions: Vec<u32>,
    /// Energy above idle of all GPUs, fJ.
    pub energy_fj: Vec<u128>,
}

/// Everything one entry of `frameworks_to_test` (or the shared group of them) leaves behind.
#[derive(Clone, Debug, Default)]
pub struct RunResult {
    pub name: String,
    /// The summary document: the original project's keys first, in its order, ours after (see metrics::summary).
    pub summary: serde_json::Value,
    pub requests: Requests,
    pub series: Series,
    /// KV blocks of all replicas.
    pub kv_blocks_total: u64,
    /// End of the simulation, ps.
    pub end_ps: u64,
    /// The summary starts here, ps.
    pub warm_up_ps: u64,
    /// By replica.
    pub counters: Vec<Counters>,
    /// Gaps between consecutive tokens of one request, pooled, ps.
    pub inter_token: Histogram,
    pub info: RunInfo,
    /// What was moved from one pool of engines to another.
    pub handovers: Handovers,
    /// Images encoded by a pool of encoders, in the order in which they were ready.
    pub encodes: Vec<super::encodes::Encoded>,
    /// Steps kept for a trace; empty unless they were asked for.
    pub steps: StepLog,
    /// By replica: what its KV tiers have done, warm-up included. Empty without tiers.
    pub tiers: Vec<Vec<TierUse>>,
    /// What happened to the fleet.
    pub fleet: FleetLog,
}

impl RunResult {
    /// Power of all GPUs in each bin of the series, W, idle ones included and those that are not there left out; none when one's power is not
    /// known.
    pub fn power_w(&self) -> Option<Vec<f64>> {
        let idle_mw = self.info.replicas.iter().map(|info| info.power.map(|power| power.idle_mw)).collect::<Option<Vec<u64>>>()?;
        let all_mw: u64 = idle_mw.iter().sum();
        if self.info.replicas.is_empty() {
            return None;
        }
        // 1 fJ a ps is 1 mW. The last bin may reach beyond the end of the simulation.
        let bin_ps = self.series.bin_ps;
        let width = |bin: usize| bin_ps.min(self.end_ps.saturating_sub(bin as u64 * bin_ps)).max(1) as f64;
        let idle = |bin: usize| {
            if !self.fleet.kept {
                return all_mw as f64;
            }
            let from_ps = bin as u64 * bin_ps;
            let to_ps = from_ps.saturating_add(width(bin) as u64);
            let there = |(replica, &mw): (usize, &u64)| mw as f64 * self.fleet.paid_ps(replica, from_ps, to_ps) as f64 / width(bin);
            idle_mw.iter().enumerate().map(there).sum()
        };
        let watts = |(bin, &energy_fj): (usize, &u128)| (idle(bin) + energy_fj as f64 / width(bin)) / 1e3;
        Some(self.series.energy_fj.iter().enumerate().map(watts).collect())
    }

    /// A hash of every column, series and counter: equal on every platform for equal results. Names, versions, steps
    /// kept for a trace and the summary (which follows from the rest) are left out.
    pub fn hash(&self) -> u64 {
        let mut hash = Hash::default();
        each_column!(&self.requests, column => {
            hash.word(column.len() as u64);
            column.iter().for_each(|&value| hash.word(value));
        });
        if self.requests.attempts.iter().any(|&attempts| attempts > 0) {
            self.requests.attempts.iter().for_each(|&value| hash.word(value));
            self.requests.lost_tokens.iter().for_each(|&value| hash.word(value));
        }
        let s = &self.series;
        hash.word(s.bin_ps);
        for column in [&s.running, &s.waiting, &s.arrivals, &s.finished, &s.preemptions] {
            column.iter().for_each(|&value| hash.word(value));
        }
        for column in [&s.kv_blocks_used, &s.output_tokens, &s.prefill_tokens] {
            column.iter().for_each(|&value| hash.word(value));
        }
        s.energy_fj.iter().flat_map(|&energy| [energy as u64, (energy >> 64) as u64]).for_each(|word| hash.word(word));
        self.counters.iter().for_each(|counters| counters.words().into_iter().for_each(|word| hash.word(word)));
        self.inter_token.words().for_each(|word| hash.word(word));
        self.tiers.iter().flatten().flat_map(|tier| tier.history.words()).for_each(|word| hash.word(word));
        [self.kv_blocks_total, self.end_ps, self.warm_up_ps].into_iter().for_each(|word| hash.word(word));
        hash.0
    }
}

/// FNV-1a over 64-bit words instead of bytes, with a rotation so that high bits reach low ones.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn word(&mut self, word: impl Into<u64>) {
        self.0 = (self.0.rotate_left(29) ^ word.into()).wrapping_mul(0x0000_0100_0000_01b3);
    }
}
