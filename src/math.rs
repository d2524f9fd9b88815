//! Ground floor: the transcendental functions, from libm and nowhere else.
//!
//! std's `ln`, `exp` and `powf` call the platform's C library natively and a port of it in wasm, and the two
//! differ in the last bit. Clippy's `disallowed-methods` keeps the std ones out of the crate.

pub use libm::{cbrt, cos, exp, exp2, expm1, lgamma, log as ln, log1p as ln_1p, log2, log10, pow, sin, sqrt, tanh};

/// The product of two numbers, exact. In wasm, where a 128-bit product is a function call, a 64-bit one where that suffices.
#[inline(always)]
pub fn product(a: u64, b: u64) -> u128 {
    if !cfg!(target_arch = "wasm32") {
        return u128::from(a) * u128::from(b);
    }
    if a.leading_zeros() + b.leading_zeros() >= u64::BITS { u128::from(a * b) } else { product_by_halves(a, b) }
}

/// From products of 32 bits each.
fn product_by_halves(a: u64, b: u64) -> u128 {
    const HALF: u64 = u32::MAX as u64;
    let ((a_high, a_low), (b_high, b_low)) = ((a >> 32, a & HALF), (b >> 32, b & HALF));
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 32);
    let other = a_low * b_high + (middle & HALF);
    let high = a_high * b_high + (middle >> 32) + (other >> 32);
    (u128::from(high) << 64) | u128::from((other << 32) | (low & HALF))
}

/// A product that stays at the largest number; quick where both are below 2^32.
#[inline(always)]
pub fn saturating_product(a: u64, b: u64) -> u64 {
    if (a | b) >> 32 == 0 { a * b } else { a.saturating_mul(b) }
}

/// A sum times a number; what does not fit is the largest number.
#[inline(always)]
pub fn times(sum: u128, by: u64) -> u128 {
    match u64::try_from(sum) {
        Ok(narrow) => product(narrow, by),
        Err(_) => sum.saturating_mul(u128::from(by)),
    }
}

/// Sum of `first + i * increment` for i from 0 to `terms - 1`, where it is sure to fit 64 bits: in picoseconds, steps of up to seventeen
/// seconds and half a million of them.
#[inline(always)]
pub fn small_sum_of_ramp(first: u64, increment: u64, terms: u64) -> Option<u64> {
    let fits = first < 1 << 44 && increment < 1 << 24 && terms < 1 << 19;
    fits.then(|| first * terms + increment * (terms * terms.saturating_sub(1) / 2))
}

/// The p-norm of two non-negative numbers, `(a^p + b^p)^(1/p)`: a smooth maximum for p > 1.
///
/// Scaled by the larger one, so it neither overflows nor falls below `max(a, b)`.
pub fn p_norm(a: f64, b: f64, p: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large <= 0.0 {
        return 0.0;
    }
    let ratio = small / large;
    large * pow(1.0 + pow(ratio, p), 1.0 / p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_sums_are_exact_wherever_they_are_computed() {
        for a in [0, 1, 3, 0xffff_ffff, 1 << 32, u64::MAX] {
            for b in [0, 1, 7, 0xffff_ffff, 1 << 32, u64::MAX] {
                let expected = u128::from(a) * u128::from(b);
                assert_eq!((product(a, b), product_by_halves(a, b)), (expected, expected));
                assert_eq!(saturating_product(a, b), a.saturating_mul(b));
                assert_eq!(times(expected, b), expected.saturating_mul(u128::from(b)));
                assert_eq!(times(u128::from(a), b), expected);
            }
        }
        let largest = [(1 << 44) - 1, (1 << 24) - 1, (1 << 19) - 1];
        let sum = |[first, increment, terms]: [u64; 3]| {
            (0..terms).map(|i| u128::from(first) + u128::from(i) * u128::from(increment)).sum::<u128>()
        };
        assert_eq!(small_sum_of_ramp(largest[0], largest[1], largest[2]).map(u128::from), Some(sum(largest)));
        assert_eq!(small_sum_of_ramp(5, 2, 4), Some(5 + 7 + 9 + 11));
        assert_eq!(small_sum_of_ramp(5, 2, 0), Some(0));
        assert_eq!(small_sum_of_ramp(1 << 44, 0, 1), None);
    }

    #[test]
    fn p_norm_is_a_smooth_maximum() {
        assert_eq!(p_norm(0.0, 0.0, 2.0), 0.0);
        assert!((p_norm(3.0, 4.0, 2.0) - 5.0).abs() < 1e-12);
        assert_eq!(p_norm(0.0, 7.0, 1.5), 7.0);
        assert!(p_norm(1.0, 1.0, 3.5) > 1.0 && p_norm(1.0, 1.0, 3.5) < 1.25);
        assert!((p_norm(1e200, 1e200, 2.0) / (1e200 * sqrt(2.0)) - 1.0).abs() < 1e-12);
    }
}
