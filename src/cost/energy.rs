//! Energy of steps: power of a GPU between idle and its limit, from how busy its units are.
//!
//! `P = limit * min(1, idle + busy * k + compute * F/peak + memory * B/bandwidth + link * c)` with k the share of the step in kernels
//! (collectives left out), c that in collectives, F and B the rates of operations and bytes. The shares are in configs/power.json.
//!
//! Every term times the step's duration is a sum of counts, so energy is kept in whole femtojoules (1 ps at 1 mW) that count for count
//! add up the same in one jump as step by step; the bound is `min` of two numbers that both grow evenly over a run of steps.

use super::footprint::Footprint;
use super::model::StepParts;
use crate::catalog::economics::PowerShares;
use crate::catalog::{Device, Model};
use crate::math::{exp, ln_1p, product};

/// Femtojoules in a joule.
pub const FJ_PER_J: f64 = 1e15;

/// Routed experts, whose weights are read as far as tokens meet them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routed {
    pub experts: f64,
    pub experts_per_token: f64,
    /// Energy of reading every expert of every layer, fJ.
    pub all_fj: f64,
}

/// What the GPUs of one replica draw, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PowerModel {
    /// Between steps, mW.
    pub idle_mw: u64,
    /// From idle to the limit, mW.
    pub span_mw: u64,
    /// Above idle while kernels run, and while collectives do, mW.
    pub busy_mw: u64,
    pub link_mw: u64,
    /// For each token computed, and each row of the LM head, fJ.
    pub token_fj: u64,
    pub sampled_fj: u64,
    /// For each pair of tokens that attention looks at, fJ.
    pub pair_fj: u64,
    /// For each step: reading the weights, routed experts left out, fJ.
    pub step_fj: u64,
    /// For each token of context that is read or written, fJ.
    pub context_fj: u64,
    /// For each decoding sequence: its state of constant size, read and written, fJ.
    pub state_fj: u64,
    pub routed: Option<Routed>,
}

/// What a run of steps with the same batch does. Step i (from 0) has `first_device_ps + i * device_increment_ps` on the device, lasts
/// `first_duration_ps + i * duration_increment_ps` and reads `first_context + i * decode_sequences` tokens of context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepWork {
    pub steps: u64,
    pub first_duration_ps: u64,
    pub duration_increment_ps: u64,
    pub first_device_ps: u64,
    pub device_increment_ps: u64,
    pub first_parts: StepParts,
    pub decode_sequences: u32,
    pub first_context: u64,
    pub prefill_tokens: u64,
    pub prefill_pairs: u64,
    pub padded_tokens: u32,
    /// Rows of the LM head in each step.
    pub sampled_rows: u32,
}

/// Energy above idle of consecutive steps: step i (from 0) takes `min(drawn + i * drawn_increment, most + i * most_increment)` fJ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnergyRamp {
    drawn: u128,
    drawn_increment: u128,
    most: u128,
    most_increment: u128,
}

impl EnergyRamp {
    /// Energy of step i, fJ.
    pub fn of_step(&self, i: u64) -> u128 {
        let at = |first: u128, increment: u128| first.saturating_add(increment.saturating_mul(u128::from(i)));
        at(self.drawn, self.drawn_increment).min(at(self.most, self.most_increment))
    }

    /// Energy of the first `steps` steps, fJ. The two lines cross at most once.
    pub fn of_first(&self, steps: u64) -> u128 {
        match steps {
            0 => 0,
            1 => self.drawn.min(self.most),
            _ => self.of_first_narrow(steps).unwrap_or_else(|| self.of_first_wide(steps)),
        }
    }

    /// The same where all numbers but the sums fit 64 bits.
    fn of_first_narrow(&self, steps: u64) -> Option<u128> {
        let narrow = |wide: u128| u64::try_from(wide).ok().filter(|&narrow| narrow < 1 << 62);
        let drawn = (narrow(self.drawn)?, narrow(self.drawn_increment)?);
        let most = (narrow(self.most)?, narrow(self.most_increment)?);
        let ((low, low_up), (high, high_up)) = if drawn.0 <= most.0 { (drawn, most) } else { (most, drawn) };
        if steps >= 1 << 31 {
            return None;
        }
        let pairs = |n: u64| n * n.saturating_sub(1) / 2;
        let sum = |first: u64, up: u64, steps: u64, pairs: u64| product(first, steps) + product(up, pairs);
        // Where the lower line stays the lower one.
        if low_up <= high_up || product(low_up - high_up, steps - 1) <= u128::from(high - low) {
            return Some(sum(low, low_up, steps, pairs(steps)));
        }
        let before = ((high - low) / (low_up - high_up)).saturating_add(1).min(steps);
        Some(sum(low, low_up, before, pairs(before)) + sum(high, high_up, steps - before, pairs(steps) - pairs(before)))
    }

    fn of_first_wide(&self, steps: u64) -> u128 {
        let drawn_first = self.drawn <= self.most;
        let (low, low_up, high, high_up) = if drawn_first {
            (self.drawn, self.drawn_increment, self.most, self.most_increment)
        } else {
            (self.most, self.most_increment, self.drawn, self.drawn_increment)
        };
        // The line that starts lower is the smaller one up to and including step `last`.
        let before = if low_up > high_up {
            u64::try_from((high - low) / (low_up - high_up)).map_or(steps, |last| last.saturating_add(1).min(steps))
        } else {
            steps
        };
        let sum = |first: u128, up: u128, from: u64, to: u64| {
            let pairs = |n: u64| u128::from(n) * u128::from(n.saturating_sub(1)) / 2;
            first.saturating_mul(u128::from(to - from)).saturating_add(up.saturating_mul(pairs(to) - pairs(from)))
        };
        sum(low, low_up, 0, before).saturating_add(sum(high, high_up, before, steps))
    }
}

impl PowerModel {
    /// The model of a replica; none where the device's power limit is not known.
    pub fn new(model: &Model, device: &Device, shares: &PowerShares, footprint: &Footprint) -> Option<PowerModel> {
        let limit_w = device.tdp_w? * f64::from(footprint.gpus);
        if footprint.peak_flops <= 0.0 || footprint.peak_bytes_per_s <= 0.0 {
            return None;
        }
        let whole = |value: f64| (value + 0.5) as u64;
        let flop_fj = shares.compute * limit_w / footprint.peak_flops * FJ_PER_J;
        let byte_fj = shares.memory * limit_w / footprint.peak_bytes_per_s * FJ_PER_J;
        let (weight_bytes, routed) = match model.moe {
            None => (footprint.weight_bytes, None),
            Some(moe) => {
                // The footprint counts the experts of one token.
                let all = f64::from(model.expert_layers()) * model.routed_expert_parameters() as f64;
                let all_bytes = all * footprint.bytes_per_weight() / f64::from(footprint.gpus);
                let (experts, per_token) = (f64::from(moe.experts), f64::from(moe.experts_per_token));
                let routed = Routed { experts, experts_per_token: per_token, all_fj: all_bytes * byte_fj };
                ((footprint.weight_bytes - all_bytes * per_token / experts).max(0.0), Some(routed))
            }
        };
        let idle_mw = whole(shares.idle * limit_w * 1e3);
        Some(PowerModel {
            idle_mw,
            span_mw: whole(limit_w * 1e3).saturating_sub(idle_mw),
            busy_mw: whole(shares.busy * limit_w * 1e3),
            link_mw: whole(shares.link * limit_w * 1e3),
            token_fj: whole(footprint.flops_per_token * flop_fj),
            sampled_fj: whole(footprint.flops_per_sampled_row * flop_fj),
            pair_fj: whole(footprint.flops_per_pair * flop_fj),
            step_fj: whole(weight_bytes * byte_fj),
            context_fj: whole(footprint.kv_bytes_per_token * byte_fj),
            state_fj: whole(footprint.state_bytes * byte_fj),
            routed,
        })
    }

    /// Energy above idle of a run of steps.
    pub fn ramp(&self, work: &StepWork) -> EnergyRamp {
        let communication_ps = work.first_parts.communication_ps.min(work.first_device_ps);
        let decodes = u64::from(work.decode_sequences);
        let tokens = work.prefill_tokens + decodes + u64::from(work.padded_tokens);
        let drawn = product(self.busy_mw, work.first_device_ps - communication_ps)
            + product(self.link_mw, communication_ps)
            + u128::from(self.step_fj)
            + self.routed_fj(work)
            + product(tokens, self.token_fj)
            + product(tokens + work.first_context, self.context_fj)
            + product(decodes, self.state_fj)
            + product(u64::from(work.sampled_rows), self.sampled_fj)
            + product(work.prefill_pairs + work.first_context, self.pair_fj);
        let (drawn_increment, most_increment) = if work.steps == 1 {
            (0, 0)
        } else {
            let context_fj = product(decodes, self.context_fj) + product(decodes, self.pair_fj);
            (product(self.busy_mw, work.device_increment_ps) + context_fj, product(self.span_mw, work.duration_increment_ps))
        };
        EnergyRamp { drawn, drawn_increment, most: product(self.span_mw, work.first_duration_ps), most_increment }
    }

    /// Reading the experts that balanced routing meets with the step's tokens, fJ.
    fn routed_fj(&self, work: &StepWork) -> u128 {
        let Some(routed) = self.routed else { return 0 };
        let tokens = work.prefill_tokens as f64 + f64::from(work.decode_sequences);
        let rows = tokens * routed.experts_per_token;
        let met = (1.0 - exp(rows * ln_1p(-1.0 / routed.experts))).min(rows / routed.experts);
        (routed.all_fj * met + 0.5) as u128
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_closed_form_is_the_sum_of_the_steps(
            drawn in 0u64..1000, drawn_increment in 0u64..30, most in 0u64..1000, most_increment in 0u64..30, steps in 0u64..80
        ) {
            let [drawn, drawn_increment, most, most_increment] = [drawn, drawn_increment, most, most_increment].map(u128::from);
            let ramp = EnergyRamp { drawn, drawn_increment, most, most_increment };
            prop_assert_eq!(ramp.of_first(steps), (0..steps).map(|i| ramp.of_step(i)).sum::<u128>());
            prop_assert_eq!(ramp.of_first_wide(steps), ramp.of_first(steps));
        }
    }
}
