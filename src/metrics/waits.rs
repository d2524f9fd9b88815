//! Who waited for what, summed over the steps of one replica: the queue's head for the rule that held it back, decoding sequences
//! for steps that computed prompts. Integers only, so that a run of steps adds up to the same as its steps one by one.

use serde_json::{Map, Value, json};

use super::counters::Counters;
use crate::engine::{HoldRule, StepRun};
use crate::math::product;
use crate::object::object;

/// What was waited for after the warm-up, in steps that *end* after it, counted whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Time in which the head of the queue was held back, ps, by [`HoldRule`].
    pub held_ps: [u64; HoldRule::ALL.len()],
    /// Steps without prompts launched kernel by kernel, not replayed from a CUDA graph. Not in the hash: it follows from the batches.
    pub eager_decode_steps: u64,
    /// Steps that computed prompts beside decodes, and their durations, ps.
    pub mixed_steps: u64,
    pub mixed_ps: u64,
    /// Steps that computed prompts alone, and their durations, ps.
    pub prefill_only_steps: u64,
    pub prefill_only_ps: u64,
    /// Sequences that decoded times duration, ps: in steps without prompts, and in mixed ones.
    pub decoding_alone_ps: u128,
    pub decoding_mixed_ps: u128,
    /// Decoding sequences left out of a step that computed something else, times its duration, ps.
    pub decoding_stopped_ps: u128,
}

impl Waits {
    /// Adds `steps` steps of a run that take `step_ps` in all.
    pub(super) fn add(&mut self, run: &StepRun<'_>, steps: u64, step_ps: u64) {
        if let Some(held) = run.held_back {
            self.held_ps[held.rule as usize] += step_ps;
        }
        let sequence_ps = product(u64::from(run.decode_sequences), step_ps);
        match (run.prefill_tokens, run.decode_sequences) {
            (0, _) => {
                self.decoding_alone_ps += sequence_ps;
                self.eager_decode_steps += if run.eager { steps } else { 0 };
            }
            (_, 0) => {
                self.prefill_only_steps += steps;
                self.prefill_only_ps += step_ps;
            }
            _ => {
                self.mixed_steps += steps;
                self.mixed_ps += step_ps;
                self.decoding_mixed_ps += sequence_ps;
            }
        }
        if run.stopped_decodes > 0 {
            self.decoding_stopped_ps += product(u64::from(run.stopped_decodes), step_ps);
        }
    }

    /// Time in which the head of the queue was held back by `rule`, ps.
    pub fn held_by(&self, rule: HoldRule) -> u64 {
        self.held_ps[rule as usize]
    }

    /// Everything in it as numbers, for a hash. A rule that never held anybody back leaves no trace, so that rules can be added.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        let held = (0u64..).zip(self.held_ps).filter(|&(_, ps)| ps > 0).flat_map(|(rule, ps)| [rule, ps]);
        let narrow = [self.mixed_steps, self.mixed_ps, self.prefill_only_steps, self.prefill_only_ps];
        let wide = [self.decoding_alone_ps, self.decoding_mixed_ps, self.decoding_stopped_ps];
        held.chain(narrow).chain(wide.into_iter().flat_map(|wide| [wide as u64, (wide >> 64) as u64]))
    }
}

/// The summary's section: means and shares over all replicas of a run, whose windows add up to `window_ps`.
pub(super) fn section(counters: &[Counters], window_ps: f64) -> Value {
    let sum = |of: fn(&Counters) -> u128| counters.iter().map(of).sum::<u128>() as f64;
    let ratio = |part: f64, whole: f64| if whole > 0.0 { json!(part / whole) } else { Value::Null };
    let steps = sum(|c| c.steps.into());
    let decode_only = sum(|c| c.decode_only_steps.into());
    let (mixed, mixed_ps) = (sum(|c| c.waits.mixed_steps.into()), sum(|c| c.waits.mixed_ps.into()));
    let (alone, alone_ps) = (sum(|c| c.waits.prefill_only_steps.into()), sum(|c| c.waits.prefill_only_ps.into()));
    let decode_only_ps = sum(|c| c.step_ps.into()) - mixed_ps - alone_ps;
    let tokens = sum(|c| c.decode_tokens.into());
    let a_token = |ps: f64| ratio(ps / 1e9, tokens);
    let held = HoldRule::ALL.map(|rule| {
        let ps = counters.iter().map(|c| u128::from(c.waits.held_by(rule))).sum::<u128>() as f64;
        (rule.word().to_owned(), ratio(ps, window_ps))
    });
    object!({
        "held_back": held.into_iter().collect::<Map<String, Value>>(),
        "per_token_ms": object!({
            "decode_only": a_token(sum(|c| c.waits.decoding_alone_ps)),
            "mixed": a_token(sum(|c| c.waits.decoding_mixed_ps)),
            "stopped": a_token(sum(|c| c.waits.decoding_stopped_ps)),
        }),
        "steps": object!({
            "decode_only": ratio(decode_only, steps),
            "eager_decode_only": ratio(sum(|c| c.waits.eager_decode_steps.into()), decode_only),
            "mixed": ratio(mixed, steps),
            "prefill_only": ratio(alone, steps),
        }),
        "mean_step_ms": object!({
            "decode_only": ratio(decode_only_ps / 1e9, decode_only),
            "mixed": ratio(mixed_ps / 1e9, mixed),
            "prefill_only": ratio(alone_ps / 1e9, alone),
        }),
    })
}
