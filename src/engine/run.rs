//! A run of steps: how long they take, and how many of them can be taken at once. The arithmetic of the fast path; when a run is formed
//! and what comes of it is in `replica`.

use super::core::Core;
use super::pipeline::Passage;
use super::replica::Pace;
use crate::cost::StepCost;
use crate::math::small_sum_of_ramp;
use crate::units::Time;

/// Steps about to be put in flight: one, or several with the same batch.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) start: Time,
    pub(super) steps: u64,
    pub(super) cost: StepCost,
    pub(super) duration_ps: u64,
    pub(super) duration_increment_ps: u64,
    pub(super) device_increment_ps: u64,
    /// Steps that this cost holds for.
    valid_steps: u64,
    /// Host time at the start that nothing hides.
    pub(super) exposed_start_ps: u64,
    /// Part of the duration in which the step waits for KV on its way.
    pub(super) kv_wait_ps: u64,
}

impl Run {
    /// One step, that goes through the stages of a pipeline.
    pub(super) fn through(passage: &Passage) -> Run {
        Run {
            start: passage.start,
            steps: 1,
            cost: passage.cost,
            duration_ps: (passage.end - passage.start).0,
            duration_increment_ps: 0,
            device_increment_ps: 0,
            valid_steps: 1,
            exposed_start_ps: 0,
            kv_wait_ps: 0,
        }
    }

    pub(super) fn new(pace: &Pace, idle: bool, start: Time, mut cost: StepCost, device_increment_ps: u64, valid_steps: u64) -> Run {
        let (device, host) = (cost.device_ps, cost.host_ps);
        // With nothing to hide behind, scheduling comes before device time; kernels are launched beside it in any case.
        let serial = !pace.overlap || idle;
        let (before, beside) = if serial { (host, cost.launch_ps) } else { (0, host + cost.launch_ps) };
        let host_bound = beside > device;
        let duration_ps = before + device.max(beside);
        cost.parts.host_ps = duration_ps - device;
        let duration_increment_ps = if host_bound { 0 } else { device_increment_ps };
        // A host-bound run ends where the device becomes the slower one.
        let until_switch = if host_bound && device_increment_ps > 0 { (beside - device).div_ceil(device_increment_ps) } else { u64::MAX };
        Run {
            start,
            steps: 1,
            cost,
            duration_ps,
            duration_increment_ps,
            device_increment_ps,
            valid_steps: until_switch.min(valid_steps),
            exposed_start_ps: if serial { host } else { 0 },
            kv_wait_ps: 0,
        }
    }

    /// The step waits for KV on its way, and for LoRA adapters: it is longer, and no other is like it.
    pub(super) fn wait(&mut self, kv_wait_ps: u64, adapters_ps: u64) {
        if kv_wait_ps + adapters_ps > 0 {
            self.duration_ps += kv_wait_ps + adapters_ps;
            self.duration_increment_ps = 0;
            self.kv_wait_ps = kv_wait_ps;
            self.valid_steps = 1;
        }
    }

    /// Time that the first `steps` steps take, ps.
    #[inline]
    pub(super) fn span(&self, steps: u64) -> u64 {
        small_sum_of_ramp(self.duration_ps, self.duration_increment_ps, steps).unwrap_or_else(|| self.wide_span(steps))
    }

    #[inline(never)]
    fn wide_span(&self, steps: u64) -> u64 {
        let triangle = u128::from(steps) * u128::from(steps.saturating_sub(1)) / 2;
        let span = u128::from(steps) * u128::from(self.duration_ps) + triangle * u128::from(self.duration_increment_ps);
        u64::try_from(span).unwrap_or(u64::MAX)
    }

    /// Largest number of steps in `0..=limit` whose span is at most `time_ps`.
    #[inline]
    fn steps_within(&self, time_ps: u64, limit: u64) -> u64 {
        let (mut low, mut high) = (0, limit.min(time_ps / self.duration_ps.max(1)));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.span(middle) <= time_ps { low = middle } else { high = middle - 1 }
        }
        low
    }

    #[inline]
    pub(super) fn steps_ending_by(&self, horizon: Time) -> u64 {
        if self.start + Time(self.span(self.steps)) <= horizon {
            return self.steps;
        }
        if self.start > horizon { 0 } else { self.steps_within(horizon.since(self.start).0, self.steps) }
    }

    /// Makes the run as long as nothing intervenes: no last token, no lack of a block, no arrival before a step is formed.
    pub(super) fn extend(&mut self, core: &mut Core, limit: Time, overlap: bool, idle: bool) {
        // The first step after an idle time takes longer than the others.
        if overlap && idle {
            return;
        }
        let Some(to_end) = core.decodes.steps_to_next_end(&core.jobs) else { return };
        let mut most = to_end.min(self.valid_steps);
        if most <= 1 {
            return;
        }
        let free = core.pool.spare() + core.blocks_ahead + core.decodes.blocks_needed(1);
        most = core.decodes.steps_within(free, most);
        // Step i is formed when it starts (blocking) or when step i-1 starts (overlapping); it must be before `limit`.
        if limit != Time::NEVER {
            let before_limit = limit.since(self.start).0;
            let starting_before = if before_limit == 0 { 0 } else { self.steps_within(before_limit - 1, most) + 1 };
            most = most.min(if overlap { starting_before + 1 } else { starting_before });
        }
        self.steps = most.max(1);
    }
}
