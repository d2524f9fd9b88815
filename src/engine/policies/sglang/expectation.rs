//! `new_token_ratio`: the share of their declared output that running requests are expected to take. It starts high, falls with each
//! decode step, and is estimated anew when the expectation was wrong and a request had to be retracted.

use crate::engine::core::Core;
use crate::engine::job::Stage;

/// How the ratio moves while all goes well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectations {
    /// `SGLANG_INIT_NEW_TOKEN_RATIO`, at a conservativeness of 1.
    pub initial: f64,
    /// `SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR`: the floor, as a share of the initial ratio.
    pub floor: f64,
    /// `SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS`: decode steps from the initial ratio to the floor.
    pub steps: u32,
}

impl Default for Expectations {
    fn default() -> Expectations {
        Expectations { initial: 0.7, floor: 0.14, steps: 600 }
    }
}

/// Output tokens that each survivor of a retraction is granted beyond what it has.
const MARGIN: u64 = 20;

/// The ratio as a function of the decode clock, so that it is the same however many steps are taken at once.
pub(super) struct Expectation {
    initial: f64,
    floor: f64,
    /// What a decode step takes off.
    decay: f64,
    /// The ratio when the decode clock stood at `since`.
    base: f64,
    since: u64,
}

impl Expectation {
    pub(super) fn new(rules: Expectations, conservativeness: f64) -> Expectation {
        let initial = (rules.initial * conservativeness).min(1.0);
        let floor = rules.floor * initial;
        Expectation { initial, floor, decay: (initial - floor) / f64::from(rules.steps.max(1)), base: initial, since: 0 }
    }

    pub(super) fn ratio(&self, core: &Core) -> f64 {
        match core.decodes.clock().saturating_sub(self.since) {
            0 => self.base,
            steps => (self.base - self.decay * steps as f64).max(self.floor),
        }
    }

    /// The engine was idle.
    pub(super) fn reset(&mut self, core: &Core) {
        self.base = self.initial;
        self.since = core.decodes.clock();
    }

    /// The decode step being formed does not lower the ratio.
    pub(super) fn skip_step(&mut self, core: &Core) {
        if core.decodes.clock() < self.since {
            return;
        }
        self.base = self.ratio(core);
        self.since = core.decodes.clock() + 1;
    }

    /// Requests were retracted: what the others have made by now tells what they will make.
    pub(super) fn after_retraction(&mut self, core: &Core) {
        let (mut made, mut declared, mut count) = (0, 0, 0);
        for id in core.running().filter(|&id| core.jobs[id].stage == Stage::Decoding) {
            made += u64::from(core.decodes.generated(&core.jobs, id));
            declared += u64::from(core.jobs[id].request.max_tokens);
            count += 1;
        }
        self.base = ((made + MARGIN * count) as f64 / (declared + 1) as f64).min(1.0);
        self.since = core.decodes.clock() + u64::from(count > 0);
    }
}
