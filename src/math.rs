//! Ground floor: the transcendental functions, from libm and nowhere else.
//!
//! std's `ln`, `exp` and `powf` call the platform's C library natively and a port of it in wasm, and the two
//! differ in the last bit. Clippy's `disallowed-methods` keeps the std ones out of the crate.

pub use libm::{cbrt, cos, exp, exp2, expm1, lgamma, log as ln, log1p as ln_1p, log2, log10, pow, sin, sqrt, tanh};

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
    fn p_norm_is_a_smooth_maximum() {
        assert_eq!(p_norm(0.0, 0.0, 2.0), 0.0);
        assert!((p_norm(3.0, 4.0, 2.0) - 5.0).abs() < 1e-12);
        assert_eq!(p_norm(0.0, 7.0, 1.5), 7.0);
        assert!(p_norm(1.0, 1.0, 3.5) > 1.0 && p_norm(1.0, 1.0, 3.5) < 1.25);
        assert!((p_norm(1e200, 1e200, 2.0) / (1e200 * sqrt(2.0)) - 1.0).abs() < 1e-12);
    }
}
