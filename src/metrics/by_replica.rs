//! Load of each replica over time, worked out of the requests' columns when somebody wants to see it: nothing is kept for it while a run
//! is on, so that a thousand replicas cost a run nothing.

use super::result::{NEVER_PS, RunResult};

/// Means over equal bins from time 0, `bins` values for each replica in turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByReplica {
    pub bin_ps: u64,
    pub bins: usize,
    /// Requests from their first step to their last token; pauses by preemption are counted in.
    pub running: Vec<f64>,
    /// From arrival to the first step.
    pub waiting: Vec<f64>,
    /// Tokens of running requests' prompts and replies so far, a shared prefix counted for each.
    pub tokens: Vec<f64>,
    /// By replica: requests, prompt tokens, of which were cached, output tokens.
    pub requests: Vec<u64>,
    pub prompt_tokens: Vec<u64>,
    pub cached_tokens: Vec<u64>,
    pub output_tokens: Vec<u64>,
}

/// A stretch of time on a replica.
struct Stay {
    replica: usize,
    from_ps: u64,
    to_ps: u64,
}

impl ByReplica {
    pub fn new(run: &RunResult, bins: usize) -> ByReplica {
        let bins = bins.max(1);
        let count = run.info.replicas.len().max(run.counters.len()).max(1);
        let mut found = ByReplica {
            bin_ps: run.end_ps.div_ceil(bins as u64).max(1),
            bins,
            running: vec![0.0; count * bins],
            waiting: vec![0.0; count * bins],
            tokens: vec![0.0; count * bins],
            requests: vec![0; count],
            prompt_tokens: vec![0; count],
            cached_tokens: vec![0; count],
            output_tokens: vec![0; count],
        };
        let requests = &run.requests;
        let known = |ps: u64| if ps == NEVER_PS { run.end_ps } else { ps.min(run.end_ps) };
        for row in 0..requests.len() {
            let replica = (requests.replica[row] as usize).min(count - 1);
            let end = known(requests.finish_ps[row].min(requests.cancelled_ps[row]));
            let (prompt, output) = (f64::from(requests.input_tokens[row]), f64::from(requests.output_tokens[row]));
            found.requests[replica] += 1;
            found.prompt_tokens[replica] += u64::from(requests.input_tokens[row]);
            found.cached_tokens[replica] += u64::from(requests.cached_tokens[row]);
            if requests.reject_reason[row] > 0 {
                continue;
            }
            let started = known(requests.scheduled_ps[row]).min(end);
            found.stay(&Stay { replica, from_ps: requests.arrival_ps[row], to_ps: started }, |found, place, share, _| {
                found.waiting[place] += share;
            });
            let mut serve = |replica: usize, from_ps: u64, to_ps: u64, first: f64, last: f64| {
                found.stay(&Stay { replica, from_ps, to_ps }, |found, place, share, progress| {
                    found.running[place] += share;
                    found.tokens[place] += share * (first + (last - first) * progress);
                });
            };
            // In pools, the prompt is computed on one replica and the reply on another.
            match run.handovers.of(requests.id[row]) {
                Some(handover) => {
                    let decoder = (handover.decode_replica as usize).min(count - 1);
                    serve(replica, started, known(handover.arrived_ps), prompt, prompt);
                    serve(decoder, known(handover.seated_ps), end, prompt, prompt + output);
                    found.output_tokens[decoder] += u64::from(requests.output_tokens[row]);
                    if decoder != replica {
                        found.requests[decoder] += 1;
                    }
                }
                None => {
                    serve(replica, started, end, prompt, prompt + output);
                    found.output_tokens[replica] += u64::from(requests.output_tokens[row]);
                }
            }
        }
        found
    }

    /// Calls with each bin that the stay touches: its place, the share of the bin it fills, and how far the stay has come in its middle.
    fn stay(&mut self, stay: &Stay, mut add: impl FnMut(&mut ByReplica, usize, f64, f64)) {
        if stay.to_ps <= stay.from_ps {
            return;
        }
        let (bin_ps, bins) = (self.bin_ps, self.bins);
        let last = ((stay.to_ps - 1) / bin_ps).min(bins as u64 - 1);
        for bin in stay.from_ps / bin_ps..=last {
            let from = stay.from_ps.max(bin * bin_ps);
            let to = stay.to_ps.min((bin + 1) * bin_ps);
            let share = (to - from) as f64 / bin_ps as f64;
            let middle = (from + to) as f64 / 2.0;
            let progress = (middle - stay.from_ps as f64) / (stay.to_ps - stay.from_ps) as f64;
            add(self, stay.replica * bins + bin as usize, share, progress);
        }
    }
}
