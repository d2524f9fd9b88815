//! Arithmetic of a run of steps whose durations grow evenly. No loops over steps: sums are closed forms, searches halve.

use crate::math::small_sum_of_ramp;

/// `steps` steps back to back from `start_ps`; step i (from 0) lasts `first_ps + i * increment_ps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    pub start_ps: u64,
    pub first_ps: u64,
    pub increment_ps: u64,
    pub steps: u64,
}

/// Sum of `first + i * increment` for i from 0 to `terms - 1`.
#[inline]
pub fn sum_of_ramp(first: u64, increment: u64, terms: u64) -> u128 {
    match small_sum_of_ramp(first, increment, terms) {
        Some(sum) => sum as u128,
        None => wide_sum_of_ramp(first, increment, terms),
    }
}

#[inline(never)]
fn wide_sum_of_ramp(first: u64, increment: u64, terms: u64) -> u128 {
    match narrow_pairs(terms) {
        Some(pairs) => first as u128 * terms as u128 + increment as u128 * pairs as u128,
        None => first as u128 * terms as u128 + (increment as u128).saturating_mul(pairs(terms)),
    }
}

/// 0 + 1 + … + (n - 1).
pub fn pairs(n: u64) -> u128 {
    match narrow_pairs(n) {
        Some(pairs) => pairs as u128,
        None => n as u128 * (n as u128 - 1) / 2,
    }
}

/// The same where it fits 64 bits, whose products are many times faster.
fn narrow_pairs(n: u64) -> Option<u64> {
    (n < 1 << 32).then(|| n * n.saturating_sub(1) / 2)
}

impl Ramp {
    /// When the first `n` steps are over.
    #[inline]
    pub fn end_of(&self, n: u64) -> u64 {
        if let Some(sum) = small_sum_of_ramp(self.first_ps, self.increment_ps, n) {
            return self.start_ps.saturating_add(sum);
        }
        narrow(self.start_ps as u128 + sum_of_ramp(self.first_ps, self.increment_ps, n))
    }

    /// When all of them are over.
    pub fn end(&self) -> u64 {
        self.end_of(self.steps)
    }

    /// How many steps are over at `t`, one that ends exactly then included.
    pub fn steps_by(&self, t: u64) -> u64 {
        if t < self.start_ps {
            return 0;
        }
        let (mut over, mut not_over) = (0, self.steps + 1);
        while not_over - over > 1 {
            let middle = over + (not_over - over) / 2;
            if self.end_of(middle) <= t {
                over = middle;
            } else {
                not_over = middle;
            }
        }
        over
    }
}

/// Into 64 bits; what does not fit is the largest number.
pub fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn closed_forms_equal_the_walk(start_ps in 0u64..1000, first_ps in 1u64..100, increment_ps in 0u64..10, steps in 1u64..40, t in 0u64..6000) {
            let ramp = Ramp { start_ps, first_ps, increment_ps, steps };
            let mut now = start_ps;
            let mut over_by_t = 0;
            for i in 0..steps {
                prop_assert_eq!(ramp.end_of(i), now);
                now += first_ps + i * increment_ps;
                over_by_t += u64::from(now <= t);
            }
            prop_assert_eq!(ramp.end(), now);
            prop_assert_eq!(ramp.steps_by(t), over_by_t);
        }
    }
}
