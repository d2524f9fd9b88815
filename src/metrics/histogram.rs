//! A histogram with logarithmic buckets that takes a whole run of steps at once.

use super::ramp::{pairs, sum_of_ramp};
use crate::math::{product, saturating_product, times as multiplied};

/// Buckets in each factor of two: relative width 1/256 to 1/512.
const BUCKETS_PER_OCTAVE: u64 = 1 << OCTAVE_BITS;
const OCTAVE_BITS: u32 = 8;

/// Counts of durations in ps. Count, sum, smallest and largest are exact; quantiles are within one bucket (1/256).
///
/// Adding a ramp leaves exactly what adding its values one by one leaves: all sums are integers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Grown on demand: bucket b holds the values from `lower(b)` up to `lower(b + 1)`.
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    /// Saturates at the largest number rather than wrap (gaps of weeks, by the million).
    sum_of_squares: u128,
    smallest: u64,
    largest: u64,
}

fn bucket_of(value: u64) -> u64 {
    let shift = (u64::BITS - (value | BUCKETS_PER_OCTAVE).leading_zeros()) - 1 - OCTAVE_BITS;
    BUCKETS_PER_OCTAVE * shift as u64 + (value >> shift)
}

/// Smallest value of a bucket, wide because the one after the last does not fit 64 bits.
fn lower(bucket: u64) -> u128 {
    if bucket < 2 * BUCKETS_PER_OCTAVE {
        return bucket as u128;
    }
    let shift = bucket / BUCKETS_PER_OCTAVE - 1;
    ((bucket - BUCKETS_PER_OCTAVE * shift) as u128) << shift
}

impl Histogram {
    /// Adds `value_ps`, `times` times.
    pub fn add(&mut self, value_ps: u64, times: u64) {
        self.add_ramp(value_ps, 0, 1, times);
    }

    /// Adds the `terms` values `first_ps + i * increment_ps`, each `times` times.
    pub fn add_ramp(&mut self, first_ps: u64, increment_ps: u64, terms: u64, times: u64) {
        if terms == 0 || times == 0 {
            return;
        }
        let last_ps = first_ps.saturating_add(saturating_product(increment_ps, terms - 1));
        self.smallest = if self.count == 0 { first_ps } else { self.smallest.min(first_ps) };
        self.largest = self.largest.max(last_ps);
        self.count += terms * times;
        self.sum += multiplied(sum_of_ramp(first_ps, increment_ps, terms), times);
        let squares = if last_ps < 1 << 40 && terms < 1 << 20 && times < 1 << 26 {
            // Nothing of it can reach 128 bits: the upper half stays below 36 bits.
            let sum = small_sum_of_squares(first_ps, increment_ps, terms);
            product(sum as u64, times) + (u128::from((sum >> 64) as u64 * times) << 64)
        } else {
            sum_of_squares(first_ps, increment_ps, terms).saturating_mul(times as u128)
        };
        self.sum_of_squares = self.sum_of_squares.saturating_add(squares);

        let last_bucket = bucket_of(last_ps);
        if self.counts.len() as u64 <= last_bucket {
            self.counts.resize(last_bucket as usize + 1, 0);
        }
        let mut done = 0;
        let mut bucket = bucket_of(first_ps);
        while bucket < last_bucket {
            // Terms below the bucket's upper end, the ones already placed included. That end is at most the last value.
            let below = (lower(bucket + 1) as u64 - first_ps).div_ceil(increment_ps);
            self.counts[bucket as usize] += (below - done) * times;
            done = below;
            bucket = bucket_of(first_ps + below * increment_ps);
        }
        self.counts[last_bucket as usize] += (terms - done) * times;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean, ps; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Population standard deviation, ps; `None` when empty.
    pub fn standard_deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        let variance = self.sum_of_squares as f64 / self.count as f64 - mean * mean;
        Some(crate::math::sqrt(variance.max(0.0)))
    }

    pub fn smallest(&self) -> Option<u64> {
        (self.count > 0).then_some(self.smallest)
    }

    pub fn largest(&self) -> Option<u64> {
        (self.count > 0).then_some(self.largest)
    }

    /// The quantile `fraction` (0 to 1), ps, interpolated linearly between ranks as numpy does; values are taken to lie
    /// evenly in their bucket. `None` when empty.
    pub fn quantile(&self, fraction: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = fraction.clamp(0.0, 1.0) * (self.count - 1) as f64;
        let below = rank as u64;
        let above = (below + 1).min(self.count - 1);
        let (low, high) = (self.value_at(below), self.value_at(above));
        Some(low + (high - low) * (rank - below as f64))
    }

    /// The value of a rank, from 0.
    fn value_at(&self, rank: u64) -> f64 {
        let mut before = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            if rank < before + count {
                let (low, high) = (lower(bucket as u64) as f64, lower(bucket as u64 + 1) as f64);
                let place = ((rank - before) as f64 + 0.5) / count as f64;
                return (low + (high - low) * place).clamp(self.smallest as f64, self.largest as f64);
            }
            before += count;
        }
        self.largest as f64
    }

    /// Everything in it as numbers, for a hash.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        let halves = |wide: u128| [wide as u64, (wide >> 64) as u64];
        [self.count, self.smallest, self.largest]
            .into_iter()
            .chain(halves(self.sum))
            .chain(halves(self.sum_of_squares))
            .chain(self.counts.iter().copied())
    }
}

/// Of values below 2^40 and fewer than 2^20 terms.
fn small_sum_of_squares(first: u64, increment: u64, terms: u64) -> u128 {
    let fixed = product(first, first * terms);
    if terms == 1 {
        return fixed;
    }
    let (pairs, squares) = (terms * (terms - 1), terms * (terms - 1) * (2 * terms - 1) / 6);
    fixed + product(first, increment * pairs) + multiplied(product(increment, increment), squares)
}

fn sum_of_squares(first: u64, increment: u64, terms: u64) -> u128 {
    let squares = if terms < 1 << 20 {
        // Fits 64 bits, whose division is many times faster.
        (terms * (terms - 1) * (2 * terms - 1) / 6) as u128
    } else {
        let n = terms as u128;
        n.saturating_mul(n - 1).saturating_mul(2 * n - 1) / 6
    };
    let (first, increment, n) = (first as u128, increment as u128, terms as u128);
    let fixed = (first * first).saturating_mul(n);
    let mixed = (first * increment).saturating_mul(2 * pairs(terms));
    fixed.saturating_add(mixed).saturating_add((increment * increment).saturating_mul(squares))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_tile_the_numbers_and_are_narrow() {
        let last = bucket_of(u64::MAX);
        for bucket in 0..=last {
            let (low, high) = (lower(bucket), lower(bucket + 1));
            assert_eq!(bucket_of(low as u64), bucket);
            assert_eq!(bucket_of((high - 1) as u64), bucket);
            assert!(high - low == 1 || (high - low) as f64 / low as f64 <= 1.0 / 256.0);
        }
        assert_eq!(lower(last + 1), 1u128 << 64);
    }

    #[test]
    fn a_single_value_is_its_own_every_statistic() {
        let mut histogram = Histogram::default();
        histogram.add(7_123_456_789, 3);
        for fraction in [0.0, 0.5, 0.99, 1.0] {
            assert_eq!(histogram.quantile(fraction), Some(7_123_456_789.0));
        }
        assert_eq!(histogram.mean(), Some(7_123_456_789.0));
        assert_eq!(histogram.standard_deviation(), Some(0.0));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    fn numpy_linear(sorted: &[u64], fraction: f64) -> f64 {
        let rank = fraction * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[rank.floor() as usize] as f64, sorted[rank.ceil() as usize] as f64);
        low + (high - low) * (rank - rank.floor())
    }

    proptest! {
        #[test]
        fn a_ramp_equals_its_values_one_by_one(
            first in prop_oneof![0u64..2000, 0u64..20_000_000_000],
            increment in prop_oneof![Just(0u64), 0u64..100, 0u64..1_000_000_000],
            terms in 1u64..300, times in 1u64..20,
        ) {
            let (mut whole, mut single) = (Histogram::default(), Histogram::default());
            whole.add(5_000, 2);
            single.add(5_000, 2);
            whole.add_ramp(first, increment, terms, times);
            for i in 0..terms {
                for _ in 0..times {
                    single.add(first + i * increment, 1);
                }
            }
            prop_assert_eq!(whole, single);
        }

        #[test]
        fn quantiles_are_numpys_within_a_bucket(mut values in prop::collection::vec(1u64..1_000_000_000_000, 1..200), fraction in 0.0f64..=1.0) {
            let mut histogram = Histogram::default();
            for &value in &values {
                histogram.add(value, 1);
            }
            values.sort_unstable();
            let exact = numpy_linear(&values, fraction);
            let estimate = histogram.quantile(fraction).unwrap();
            prop_assert!((estimate / exact - 1.0).abs() <= 1.0 / 256.0, "{} for {}", estimate, exact);
            let mean = values.iter().map(|&v| v as f64).sum::<f64>() / values.len() as f64;
            prop_assert!((histogram.mean().unwrap() / mean - 1.0).abs() < 1e-12);
        }
    }
}
