//! What the summary counts over requests, in one walk over the columns: they are long, and reading them again for each number would be
//! what a summary costs.

use super::result::{NEVER_PS, REJECT_REASONS, Requests, RunResult, Status};
use super::summary::RequestTimes;

/// Counts over the requests of a run. Where nothing else is said: of those that arrived at or after the warm-up.
#[derive(Default)]
pub(super) struct Tally {
    /// All that count, successful or not.
    pub total: u64,
    pub successful: u64,
    /// Successful ones that meet every target; 0 without targets.
    pub good: u64,
    pub unfinished: u64,
    pub cancelled: u64,
    pub lost: u64,
    pub retried: u64,
    /// By reason, in the order of [`REJECT_REASONS`].
    pub rejected: [u64; REJECT_REASONS.len()],
    /// Of all requests: those that finished after the warm-up, and prompt tokens of those whose first token came out after it.
    pub finished: u64,
    pub input_tokens: u64,
    /// Of all requests; none without any.
    pub last_arrival_ps: Option<u64>,
    /// Of all requests: time in the queue before they were first scheduled, within the window.
    pub waited_ps: u128,
    /// Tokens computed again after a preemption.
    pub recomputed_tokens: u64,
    pub prefixes: Prefixes,
}

/// Of requests that were admitted: what the prefix cache held of them.
#[derive(Default)]
pub(super) struct Prefixes {
    /// Requests by event: of a later turn found, another one found, a later turn not found, another not found.
    pub events: [u64; 4],
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub prefilled_tokens: u64,
}

impl Tally {
    pub fn of(run: &RunResult) -> Tally {
        let (requests, warm_up_ps) = (&run.requests, run.warm_up_ps);
        let rows = requests.len();
        // Slices of one length, so that nothing is checked for each row.
        let (arrival, scheduled, first_token) =
            (&requests.arrival_ps[..rows], &requests.scheduled_ps[..rows], &requests.first_token_ps[..rows]);
        let (finish, cancelled, status) = (&requests.finish_ps[..rows], &requests.cancelled_ps[..rows], &requests.status[..rows]);
        let (input, cached, turn) = (&requests.input_tokens[..rows], &requests.cached_tokens[..rows], &requests.turn[..rows]);
        let (prefilled, preemptions) = (&requests.prefilled_tokens[..rows], &requests.preemptions[..rows]);
        let (attempts, slo) = (&requests.attempts[..rows], run.info.slo.as_ref());
        let in_window = |at_ps: u64| at_ps != NEVER_PS && at_ps > warm_up_ps;
        let mut tally = Tally { last_arrival_ps: arrival.iter().copied().max(), ..Tally::default() };
        for row in 0..rows {
            tally.finished += u64::from(in_window(finish[row]));
            tally.input_tokens += if in_window(first_token[row]) { u64::from(input[row]) } else { 0 };
            // A rejected request does not wait.
            let rejected = status[row] == Status::Rejected as u8;
            let until = if rejected { 0 } else { scheduled[row].min(cancelled[row]).min(run.end_ps) };
            tally.waited_ps += u128::from(until.saturating_sub(arrival[row].max(warm_up_ps)));
            if arrival[row] < warm_up_ps {
                continue;
            }
            tally.total += 1;
            tally.retried += u64::from(attempts[row] > 1);
            if status[row] == Status::Success as u8 {
                tally.successful += 1;
                tally.good += u64::from(slo.is_some_and(|slo| RequestTimes::of(requests, row).meet(slo)));
            } else {
                tally.add_failure(requests, row);
            }
            if preemptions[row] > 0 {
                let once = u64::from(input[row].saturating_sub(cached[row]));
                tally.recomputed_tokens += prefilled[row].saturating_sub(once);
            }
            if scheduled[row] != NEVER_PS {
                let prefixes = &mut tally.prefixes;
                prefixes.events[event(cached[row], turn[row])] += 1;
                prefixes.prompt_tokens += u64::from(input[row]);
                prefixes.cached_tokens += u64::from(cached[row]);
                prefixes.prefilled_tokens += prefilled[row];
            }
        }
        tally
    }

    fn add_failure(&mut self, requests: &Requests, row: usize) {
        let status = requests.status[row];
        self.unfinished += u64::from(status == Status::Unfinished as u8);
        self.cancelled += u64::from(status == Status::Cancelled as u8);
        self.lost += u64::from(status == Status::Lost as u8);
        for (count, (reason, _)) in self.rejected.iter_mut().zip(REJECT_REASONS) {
            *count += u64::from(requests.reject_reason[row] == reason as u8 + 1);
        }
    }
}

/// Words of the original project for what the prefix cache held of a request.
pub(super) const EVENTS: [&str; 4] = ["CONVERSATIONAL_HIT", "CROSS_REQUEST_HIT", "CONVERSATIONAL_MISS_UNEXPECTED_PROMPT", "MISS_FULL"];

/// Place among [`EVENTS`] of a request that was admitted.
pub(super) fn event(cached_tokens: u32, turn: u16) -> usize {
    2 * usize::from(cached_tokens == 0) + usize::from(turn == 0)
}

/// Of every successful request that counts: a time, by its arrival, the three later instants and how many tokens followed the first.
pub(super) fn times<'a>(run: &RunResult, room: &'a mut Vec<f64>, time: impl Fn(u64, [u64; 3], u32) -> Option<f64>) -> &'a mut [f64] {
    let (requests, rows) = (&run.requests, run.requests.len());
    let (arrival, scheduled, first) = (&requests.arrival_ps[..rows], &requests.scheduled_ps[..rows], &requests.first_token_ps[..rows]);
    let (finish, status, output) = (&requests.finish_ps[..rows], &requests.status[..rows], &requests.output_tokens[..rows]);
    room.clear();
    let counts = |row: &usize| arrival[*row] >= run.warm_up_ps && status[*row] == Status::Success as u8;
    let of = |row: usize| time(arrival[row], [scheduled[row], first[row], finish[row]], output[row].saturating_sub(1));
    room.extend((0..rows).filter(counts).filter_map(of));
    room
}
