//! A look into one replica at one moment: the step under way then, whose tokens it computes, and who waits. Sees and changes
//! nothing; a step in the middle of a run of equal ones is worked out from the run.

use super::core::Core;
use super::held::HeldBack;
use super::job::{JobId, Stage};
use super::observer::StepRun;
use crate::cost::StepParts;
use crate::units::Time;

/// Waiting requests that a snapshot names; the others are counted.
pub const QUEUE_SHOWN: usize = 20;

/// What a request does in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Computes `new` tokens of its prompt (after a preemption: of prompt and reply so far) behind `past` ones.
    Prefill { new: u32, past: u32, completes: bool },
    /// Computes one token of its reply and samples the next.
    Decode,
    /// Runs and gets nothing in this step.
    LeftOut,
}

/// A running request in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub request: u32,
    pub doing: Doing,
    /// Tokens in KV at the end of the step.
    pub context: u64,
    /// Tokens of the reply made before the step.
    pub generated: u32,
}

/// A waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub request: u32,
    pub arrival: Time,
    /// Tokens to compute before its next one: the prompt, after a preemption also the reply so far.
    pub tokens: u64,
    /// It has run before and lost its KV.
    pub preempted: bool,
    /// Its KV is in host memory: nothing has to be computed again.
    pub swapped: bool,
}

/// One step of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub replica: u16,
    pub start: Time,
    pub end: Time,
    /// Where its time goes; `host_ps` is what the device waits for.
    pub parts: StepParts,
    /// Of an attention rank: time that it waits for slower ones, ps.
    pub waits_for_ranks_ps: u64,
    /// Prefills in batch order, then decodes and those left out in order of admission.
    pub members: Vec<Member>,
    /// Rows that CUDA-graph padding adds.
    pub padded_tokens: u32,
    /// Launched kernel by kernel, not replayed from a CUDA graph.
    pub eager: bool,
    /// Pairs of tokens that attention looks at.
    pub attention_pairs: u64,
    /// The first [`QUEUE_SHOWN`] in the queue when the batch was formed, and how many there were.
    pub queue: Vec<Waiting>,
    pub waiting: u32,
    pub held_back: Option<HeldBack>,
    pub kv_blocks_used: u64,
    pub kv_blocks_total: u64,
    /// Limits of the engine: tokens a step, sequences.
    pub max_num_batched_tokens: u32,
    pub max_num_seqs: u32,
}

/// Waits for the steps under way at one moment.
#[derive(Clone, Debug)]
pub struct Probe {
    at: Time,
    of_rank: bool,
    found: Vec<Snapshot>,
    last_end: Time,
}

impl Probe {
    /// Looks for steps that start at `at` or before and end after it.
    pub fn at(&self) -> Time {
        self.at
    }

    pub fn new(at: Time) -> Probe {
        Probe { at, of_rank: false, found: Vec::new(), last_end: Time::ZERO }
    }

    /// For an attention rank, whose steps last as long as those of the slowest.
    pub(super) fn of_rank(at: Time) -> Probe {
        Probe { of_rank: true, ..Probe::new(at) }
    }

    /// Steps under way at the moment: none when the engine was idle, several when it has several in flight at once.
    pub fn found(&self) -> &[Snapshot] {
        &self.found
    }

    /// End of the latest step that ended before.
    pub fn last_end(&self) -> Time {
        self.last_end
    }

    /// Looks at steps about to be put in flight, before the engine's state moves on.
    pub(super) fn see(&mut self, core: &Core, run: &StepRun<'_>) {
        let end_of = |steps: u64| run.start + Time(span_ps(run, steps));
        if run.start > self.at {
            return;
        }
        let end = end_of(run.steps);
        if end <= self.at {
            self.last_end = self.last_end.max(end);
            return;
        }
        // The last step that starts at the moment or before.
        let (mut low, mut high) = (0, run.steps - 1);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if end_of(middle) <= self.at { low = middle } else { high = middle - 1 }
        }
        let mut snapshot = snapshot(core, run, low, end_of(low), end_of(low + 1));
        if self.of_rank {
            // Its own host time, and what it waited for KV, stand in what it was told of; the rest is for the others.
            let all_ps = snapshot.parts.host_ps;
            snapshot.parts.host_ps = all_ps.min(run.first_parts.host_ps + run.kv_wait_ps + run.adapters.wait_ps);
            snapshot.waits_for_ranks_ps = all_ps - snapshot.parts.host_ps;
        }
        self.found.push(snapshot);
    }
}

/// Time that the first `steps` steps of a run take, ps.
fn span_ps(run: &StepRun<'_>, steps: u64) -> u64 {
    let triangle = u128::from(steps) * u128::from(steps.saturating_sub(1)) / 2;
    let span = u128::from(steps) * u128::from(run.first_duration_ps) + triangle * u128::from(run.duration_increment_ps);
    u64::try_from(span).unwrap_or(u64::MAX)
}

/// Step number `index` of a run, from 0.
fn snapshot(core: &Core, run: &StepRun<'_>, index: u64, start: Time, end: Time) -> Snapshot {
    let growth_ps = index * run.device_increment_ps;
    let device_ps = run.first_device_ps + growth_ps;
    let parts = StepParts {
        attention_ps: run.first_parts.attention_ps + growth_ps,
        host_ps: end.since(start).0.saturating_sub(device_ps),
        ..run.first_parts
    };
    let context = run.first_context + index * u64::from(run.decode_sequences);
    Snapshot {
        replica: run.replica,
        start,
        end,
        parts,
        waits_for_ranks_ps: 0,
        members: members(core, index),
        padded_tokens: run.padded_tokens,
        eager: run.eager,
        attention_pairs: run.prefill_pairs + context,
        queue: core.swapped().chain(core.waiting.iter().copied()).take(QUEUE_SHOWN).map(|id| waiting(core, id)).collect(),
        waiting: run.waiting,
        held_back: run.held_back,
        kv_blocks_used: (run.kv_blocks_after)(index + 1),
        kv_blocks_total: core.pool.total(),
        max_num_batched_tokens: core.limits.max_num_batched_tokens,
        max_num_seqs: core.limits.max_num_seqs,
    }
}

fn members(core: &Core, index: u64) -> Vec<Member> {
    let prefills = core.batch.prefills.iter().zip(&core.batch.prefill_jobs).map(|(piece, &id)| Member {
        request: core.jobs[id].request.id,
        doing: Doing::Prefill { new: piece.new_tokens, past: piece.past_tokens, completes: piece.completes },
        context: u64::from(piece.past_tokens) + u64::from(piece.new_tokens),
        generated: core.jobs[id].generated,
    });
    let others = core.running().filter(|id| !core.batch.prefill_jobs.contains(id)).filter_map(|id| {
        let job = &core.jobs[id];
        let request = job.request.id;
        match job.stage {
            Stage::Decoding if core.batch.decodes && !core.batch.starved.contains(&id) => Some(Member {
                request,
                doing: Doing::Decode,
                context: core.decodes.computed(&core.jobs, id) + index + 1,
                generated: core.decodes.generated(&core.jobs, id) + index as u32,
            }),
            // Those starved have left the decodes for this step: what they have stands in the job.
            Stage::Decoding if core.batch.starved.contains(&id) => {
                Some(Member { request, doing: Doing::LeftOut, context: job.computed, generated: job.generated })
            }
            Stage::Decoding => Some(Member {
                request,
                doing: Doing::LeftOut,
                context: core.decodes.computed(&core.jobs, id),
                generated: core.decodes.generated(&core.jobs, id),
            }),
            Stage::Prefilling => Some(Member { request, doing: Doing::LeftOut, context: job.computed, generated: job.generated }),
            // A request whose last token is in flight takes no part any more.
            Stage::Waiting | Stage::Swapped | Stage::Finishing | Stage::Leaving | Stage::Parked => None,
        }
    });
    prefills.chain(others).collect()
}

fn waiting(core: &Core, id: JobId) -> Waiting {
    let job = &core.jobs[id];
    Waiting {
        request: job.request.id,
        arrival: job.request.arrival,
        tokens: job.target(),
        preempted: job.was_scheduled,
        swapped: job.stage == Stage::Swapped,
    }
}
