//! `stream_interval`: tokens go to the client in bunches. The first one goes at once, then every so many, and whatever is left when the
//! reply ends. When a token is *made* does not change, so neither do first token, last token and TPOT; the gaps between outputs do.

use super::core::Core;
use super::job::{JobId, Stage};
use crate::units::Time;

/// When tokens go out. Which tokens do is known only sequence by sequence, so steps are taken one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bunches {
    /// Tokens in a bunch, at least 2.
    pub interval: u32,
    /// Bunches end at multiples of the interval (TensorRT-LLM: 1, N, 2N ...), not so many after the first token (1, 1 + N, 1 + 2N ...).
    pub at_multiples: bool,
}

impl Bunches {
    /// What goes out at `end` of the step formed: gaps since the output before, to `gaps`, and tokens beyond one for each gap and each first
    /// token. `first` are the sequences whose first token comes out, `completed` those whose prompt (or prompt and reply so far) is computed.
    pub(super) fn let_out(&self, core: &mut Core, first: &[JobId], completed: &[JobId], end: Time, gaps: &mut Vec<u64>) -> u32 {
        gaps.clear();
        let mut beyond = 0;
        let decodes = core.batch.decodes;
        let decoding = |id: &JobId| {
            let job = &core.jobs[*id];
            decodes && job.stage == Stage::Decoding && job.left == u64::MAX && !core.stopping.contains(id)
        };
        let members: Vec<JobId> = core.running().filter(decoding).collect();
        for &id in members.iter().chain(completed) {
            let is_member = core.jobs[id].stage == Stage::Decoding;
            let made = 1 + if is_member { core.decodes.generated(&core.jobs, id) } else { core.jobs[id].generated };
            let job = &mut core.jobs[id];
            if job.request.max_tokens == 0 || job.leg.is_prefill() {
                continue;
            }
            if first.contains(&id) {
                (job.sent, job.last_output) = (made, end);
                continue;
            }
            if job.sent == 0 {
                // Its first token came from elsewhere.
                (job.sent, job.last_output) = (made - 1, job.last_token);
            }
            let bunch = made - job.sent;
            let full = if self.at_multiples { made / self.interval > job.sent / self.interval } else { bunch >= self.interval };
            if full || made >= job.request.output_tokens {
                gaps.push((end - job.last_output).0);
                beyond += bunch - 1;
                (job.sent, job.last_output) = (made, end);
            }
        }
        beyond
    }
}
