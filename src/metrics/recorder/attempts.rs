//! Requests that are tried more than once: what a lost try leaves behind, and rows of requests that no replica has.

use std::collections::{BTreeMap, BTreeSet};

use super::Recorder;
use crate::engine::RejectReason;
use crate::metrics::fleet_log::FleetLog;
use crate::metrics::result::{NEVER_PS, Status};
use crate::units::Time;

/// What the tries before the present one have left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    /// Tokens that came out and stay.
    pub tokens: u32,
    pub prefilled: u64,
    /// When the last of them came out, while the next has not.
    pub last_token_ps: Option<u64>,
}

/// Of all requests that have been lost at least once.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    carried: BTreeMap<u32, Carried>,
    /// Requests that were cut off from a replica, whose engine has not let go of them: replica and request.
    cut_off: BTreeSet<(u16, u32)>,
    /// The rows are made before a replica is known.
    rows_first: bool,
    pub log: FleetLog,
}

impl Attempts {
    pub fn carried(&self, id: u32) -> Carried {
        self.carried.get(&id).copied().unwrap_or_default()
    }

    /// The first token of a later try: the gap to the last one of the try before, if its tokens stay.
    pub fn resumes(&mut self, id: u32, at: Time) -> Option<u64> {
        let carried = self.carried.get_mut(&id)?;
        carried.last_token_ps.take().map(|last| at.0.saturating_sub(last))
    }

    /// The engine tells that a request was cancelled which was lost before.
    pub fn was_cut_off(&mut self, replica: u16, id: u32) -> bool {
        self.cut_off.remove(&(replica, id))
    }

    pub fn rows_first(&self) -> bool {
        self.rows_first
    }
}

impl Recorder {
    /// Rows are made by [`Recorder::came`], before a replica is known.
    pub fn expect_operations(&mut self) {
        self.attempts.rows_first = true;
    }

    /// A request has come; which replica will have it is not known yet.
    pub fn came(&mut self, request: &crate::workload::Request) {
        self.timeline.arrival(request.arrival.0);
        self.requests.arrive(0, request);
        self.requests.attempts[request.id as usize] = 1;
    }

    /// A try is lost: its tokens are kept for the next, or were for nothing.
    pub fn lost(&mut self, id: u32, tokens: u32, prefilled: u64, keep: bool, last_token: Time) {
        let row = self.row(id);
        let carried = self.attempts.carried.entry(id).or_default();
        carried.prefilled += prefilled;
        if keep && tokens > 0 {
            carried.tokens += tokens;
            carried.last_token_ps = Some(last_token.0);
        }
        if carried.tokens == 0 {
            self.requests.first_token_ps[row] = NEVER_PS;
        }
        if !keep {
            self.requests.lost_tokens[row] += tokens;
        }
        self.requests.scheduled_ps[row] = if carried.tokens == 0 { NEVER_PS } else { self.requests.scheduled_ps[row] };
        self.attempts.log.lost_tokens += u64::from(if keep { 0 } else { tokens });
        self.attempts.log.lost_prefill_tokens += prefilled;
        self.attempts.log.lost_attempts += 1;
    }

    /// The engine of this replica will tell that the request was cancelled, and that is known already.
    pub fn cut_off(&mut self, replica: u16, id: u32) {
        self.attempts.cut_off.insert((replica, id));
    }

    /// The engine of this replica is gone: nothing more is told by it.
    pub fn forget_cut_off(&mut self, replica: u16) {
        self.attempts.cut_off.retain(|(of, _)| *of != replica);
    }

    /// It is tried again.
    pub fn again(&mut self, id: u32) {
        let row = self.row(id);
        self.requests.attempts[row] = self.requests.attempts[row].saturating_add(1);
        self.requests.status[row] = Status::Unfinished as u8;
        self.requests.reject_reason[row] = 0;
    }

    /// It was lost and is not tried again.
    pub fn gone(&mut self, id: u32) {
        let row = self.row(id);
        let carried = self.attempts.carried(id);
        self.requests.status[row] = Status::Lost as u8;
        self.requests.output_tokens[row] = carried.tokens;
        self.requests.prefilled_tokens[row] = carried.prefilled;
    }

    /// Its client gave up while no replica had it.
    pub fn given_up(&mut self, id: u32, at: Time) {
        let row = self.row(id);
        let carried = self.attempts.carried(id);
        self.requests.status[row] = Status::Cancelled as u8;
        self.requests.cancelled_ps[row] = at.0;
        self.requests.output_tokens[row] = carried.tokens;
        self.requests.prefilled_tokens[row] = carried.prefilled;
    }

    /// It was turned away before any replica had it.
    pub fn refused(&mut self, id: u32, reason: RejectReason) {
        let row = self.row(id);
        let carried = self.attempts.carried(id);
        self.requests.status[row] = Status::Rejected as u8;
        self.requests.reject_reason[row] = reason as u8 + 1;
        self.requests.output_tokens[row] = carried.tokens;
        self.requests.prefilled_tokens[row] = carried.prefilled;
    }

    /// Still without a replica when the simulation ended.
    pub fn still_waits(&mut self, id: u32) {
        let row = self.row(id);
        let carried = self.attempts.carried(id);
        self.requests.output_tokens[row] = carried.tokens;
        self.requests.prefilled_tokens[row] = carried.prefilled;
    }

    /// Prompt tokens of a request that were found in a cache.
    pub fn cached_tokens(&self, id: u32) -> u32 {
        self.requests.cached_tokens.get(id as usize).copied().unwrap_or(0)
    }

    /// What happens to the fleet.
    pub fn fleet_log(&mut self) -> &mut FleetLog {
        &mut self.attempts.log
    }
}
