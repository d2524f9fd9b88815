//! Decode steps that are scheduled together (vLLM 0.6, `num_scheduler_steps`): nothing is seen, and no token comes out, before the last of
//! them ends. The host schedules once, before the first; sequences that end on the way compute on for nothing.

use super::job::JobId;
use super::lora::AdapterUse;
use super::observer::StepRun;
use super::replica::Pace;
use super::run::Run;
use crate::cost::StepCost;
use crate::units::Time;

/// The steps of the window being put in flight.
pub(super) struct Window {
    /// Steps of a window, at least 2.
    pub(super) steps: u32,
    /// Of the one being formed; none where it has prompts.
    pub(super) runs: Vec<Run>,
}

impl Window {
    /// None for engines that schedule each step.
    pub(super) fn of(steps: u32) -> Option<Box<Window>> {
        (steps > 1).then(|| Box::new(Window { steps, runs: Vec::new() }))
    }

    /// Steps from `start` on: each a run by itself, and all of them as one run of one step.
    pub(super) fn form(
        &mut self,
        pace: &Pace,
        start: Time,
        (sequences, context): (u32, u64),
        mut cost: impl FnMut(u32, u64) -> StepCost,
    ) -> Run {
        self.runs.clear();
        let mut at = start;
        let mut whole = StepCost::default();
        for step in 0..self.steps {
            let mut of_step = cost(sequences, context + u64::from(step) * u64::from(sequences));
            if step > 0 {
                of_step.host_ps = 0;
            }
            let run = Run::new(pace, true, at, of_step, 0, 1);
            at += Time(run.duration_ps);
            whole.host_ps += of_step.host_ps;
            whole.add_device(&of_step, 1);
            self.runs.push(run);
        }
        let mut run = Run::new(pace, true, start, whole, 0, 1);
        run.duration_ps = (at - start).0;
        run
    }

    /// Tells of every step what is told of all of them, whose tokens come out with the last. `more` are the tokens that each sequence has
    /// beyond its first one, of those that have any.
    pub(super) fn tell(&self, all: &StepRun<'_>, more: &[(JobId, u32)], mut tell: impl FnMut(&StepRun<'_>)) {
        let steps_ps: u64 = self.runs.iter().map(|run| run.duration_ps).sum();
        // The first waits for KV and adapters on their way.
        let waited_ps = all.first_duration_ps.saturating_sub(steps_ps);
        for (step, run) in (0u32..).zip(&self.runs) {
            let (is_first, is_last) = (step == 0, step + 1 == self.steps);
            let alone = if step > 0 { all.decode_sequences - more.len() as u32 } else { 0 };
            tell(&StepRun {
                start: if is_first { run.start } else { run.start + Time(waited_ps) },
                first_duration_ps: run.duration_ps + if is_first { waited_ps } else { 0 },
                first_device_ps: run.cost.device_ps,
                first_parts: run.cost.parts,
                first_context: all.first_context + u64::from(step) * u64::from(all.decode_sequences),
                padded_tokens: run.cost.padded_tokens,
                eager: run.cost.eager,
                kv_wait_ps: if is_first { all.kv_wait_ps } else { 0 },
                adapters: if is_first { all.adapters } else { AdapterUse { adapters: all.adapters.adapters, ..AdapterUse::default() } },
                wasted_sequences: alone + more.iter().filter(|(_, tokens)| *tokens < step).count() as u32,
                first_tokens: if is_last { all.first_tokens } else { 0 },
                bunched_tokens: if is_last { all.bunched_tokens } else { 0 },
                other_gaps_ps: if is_last { all.other_gaps_ps } else { &[] },
                stalled_gaps: if is_last { all.stalled_gaps } else { &[] },
                ..*all
            });
        }
    }
}
