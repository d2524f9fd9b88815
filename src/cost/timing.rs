//! Step times that come from a formula and not from a GPU: for golden traces and for parity with other simulators.

use super::model::{CostModel, DecodeCost, Prefill, StepCost, StepParts};
use crate::units::Time;

fn step(device: Time) -> StepCost {
    let device_ps = device.0.max(1);
    StepCost { device_ps, parts: StepParts { other_ps: device_ps, ..StepParts::default() }, ..StepCost::default() }
}

/// A fixed time for a pass with prefill and one for a pass with decode; a mixed pass takes their sum, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedTiming {
    pub prefill: Time,
    pub decode: Time,
}

impl FixedTiming {
    /// The share of one of `stages` stages of a pipeline: even, to the picosecond.
    pub fn stage(&self, index: u32, stages: u32) -> FixedTiming {
        let (index, stages) = (u64::from(index), u64::from(stages.max(1)));
        let share = |time: Time| Time(time.0 / stages + u64::from(index < time.0 % stages));
        FixedTiming { prefill: share(self.prefill), decode: share(self.decode) }
    }
}

impl CostModel for FixedTiming {
    fn decode(&mut self, _sequences: u32, _context: u64) -> DecodeCost {
        DecodeCost { fixed: step(self.decode), context_ps: 0, valid_below_context: u64::MAX }
    }

    fn mixed(&mut self, _prefills: &[Prefill], sequences: u32, _context: u64) -> StepCost {
        step(if sequences == 0 { self.prefill } else { self.prefill + self.decode })
    }
}

/// The polynomial of Dynamo's mocker (AISimulate 0.13): with T prompt tokens computed in the pass and u the share of the KV pool
/// that decodes use, `prefill = 4.209989e-7 T^2 + 1.518344e-2 T + 16.50142` ms and
/// `decode = max(1, -25.74 u^2 + 54.01 u + 5.74)` ms; a mixed pass takes the sum.
///
/// The decode time is no affine function of the context, so an answer holds for one context only and every step is taken singly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolynomialTiming {
    /// Size of the KV pool, tokens.
    pub kv_pool_tokens: u64,
}

impl PolynomialTiming {
    fn prefill_ms(tokens: u64) -> f64 {
        let t = tokens as f64;
        if tokens == 0 { 0.0 } else { 4.209989e-7 * t * t + 1.518344e-2 * t + 16.50142 }
    }

    fn decode_ms(&self, context: u64) -> f64 {
        let used = (context as f64 / self.kv_pool_tokens.max(1) as f64).min(1.0);
        (-25.74 * used * used + 54.01 * used + 5.74).max(1.0)
    }
}

impl CostModel for PolynomialTiming {
    fn decode(&mut self, _sequences: u32, context: u64) -> DecodeCost {
        DecodeCost { fixed: step(Time::from_ms(self.decode_ms(context))), context_ps: 0, valid_below_context: context.saturating_add(1) }
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        let tokens = prefills.iter().map(|piece| u64::from(piece.new_tokens)).sum();
        let decode_ms = if sequences == 0 { 0.0 } else { self.decode_ms(context) };
        step(Time::from_ms(Self::prefill_ms(tokens) + decode_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Prefill = Prefill { new_tokens: 1000, past_tokens: 0, completes: true };

    #[test]
    fn fixed_times_add_in_a_mixed_pass() {
        let mut timing = FixedTiming { prefill: Time::from_ms(10.0), decode: Time::from_ms(1.0) };
        assert_eq!(timing.mixed(&[PIECE], 0, 0).device_ps, Time::from_ms(10.0).0);
        assert_eq!(timing.mixed(&[PIECE, PIECE], 3, 900).device_ps, Time::from_ms(11.0).0);
        let decode = timing.decode(3, 900);
        assert_eq!((decode.fixed.device_ps, decode.context_ps, decode.valid_below_context), (Time::from_ms(1.0).0, 0, u64::MAX));
    }

    #[test]
    fn polynomial_gives_the_published_values() {
        let mut timing = PolynomialTiming { kv_pool_tokens: 1_000_000 };
        // By hand: 0.4209989 + 15.18344 + 16.50142 and, at half the pool, -6.435 + 27.005 + 5.74.
        assert_eq!(timing.mixed(&[PIECE], 0, 0).device_ps, Time::from_ms(32.1058589).0);
        assert_eq!(timing.decode(8, 500_000).fixed.device_ps, Time::from_ms(26.31).0);
        assert_eq!(timing.mixed(&[PIECE], 8, 500_000).device_ps, Time::from_ms(32.1058589 + 26.31).0);
        // One step later the answer is another one, and the model says so.
        assert_eq!(timing.decode(8, 500_000).valid_below_context, 500_001);
    }
}
