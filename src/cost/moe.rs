//! The routed experts of a layer as one fused kernel, weights cut over the GPUs (tensor parallel).
//!
//! With T tokens, k experts each, E experts of width I a GPU: rows = T k, of which `active` experts are met;
//!
//! `t = launch + ((F (1 + 16 padding active/rows)/compute)^2 + (W/memory)^2)^(1/2) + A/activation_memory + per_expert active`
//!
//! Experts are not equally popular: they are met as if the r-th most popular were chosen with a probability proportional to r^-0.7,
//! `active = sum of 1 - (1 - p_r)^rows`. Few tokens then meet fewer experts than even routing would. The exponent is an assumption; the count is
//! within an eighth that of the skewed routing (power law of exponent 1.2) with which the kernels were measured, whose rows the constants fit.
//!
//! In the formula, F stands for the products over the peak rate, W the bytes of the active experts and A those of activations over the bandwidth.

use super::rates::{Arithmetic, US};
use crate::catalog::calibration::MoeConstants;
use crate::math::{exp, ln, ln_1p, p_norm};

/// How the popularity of experts falls with their rank. An assumption: even routing would be 0.
pub const EXPERT_SKEW: f64 = 0.7;

/// The expert layers of one model on one device.
#[derive(Clone, Debug)]
pub struct Experts {
    pub arithmetic: Arithmetic,
    pub bandwidth: f64,
    pub constants: MoeConstants,
    pub experts: f64,
    pub experts_per_token: f64,
    pub hidden: f64,
    /// Width of one expert's share on one GPU.
    pub width: f64,
    /// Exponent of the experts' popularity.
    pub skew: f64,
    /// Matrices of an expert: three when gated.
    pub matrices: f64,
}

impl Experts {
    /// Experts of a layer that at least one of the tokens chooses.
    pub fn active(&self, tokens: f64) -> f64 {
        let rows = tokens * self.experts_per_token;
        let weight = |rank: u32| exp(-self.skew * ln(f64::from(rank)));
        let total: f64 = (1..=self.count()).map(weight).sum();
        let met: f64 = (1..=self.count()).map(|rank| 1.0 - exp(rows * ln_1p(-(weight(rank) / total).min(1.0 - 1e-12)))).sum();
        // Experts of one token are distinct.
        met.max(self.experts_per_token.min(rows)).min(rows)
    }

    fn count(&self) -> u32 {
        (self.experts as u32).max(1)
    }

    /// Bytes of expert weights one layer reads on one GPU.
    pub fn weight_bytes(&self, tokens: f64) -> f64 {
        self.active(tokens) * self.matrices * self.hidden * self.width * self.arithmetic.weight_bytes
    }

    /// Time of the experts of one layer, us.
    pub fn us(&self, tokens: f64) -> f64 {
        let c = &self.constants;
        let rows = tokens * self.experts_per_token;
        let active = self.active(tokens);
        let compute = c.compute.min(1.0);
        let flops = 2.0 * self.matrices * rows * self.hidden * self.width;
        let compute_us = flops * (1.0 + 16.0 * c.padding * active / rows) / (self.arithmetic.peak_flops * compute) * US;
        let weights_us = self.weight_bytes(tokens) / (self.bandwidth * c.memory.min(1.0)) * US;
        let activations_us = rows * (2.0 * self.hidden + self.matrices * self.width) * 2.0 / (self.bandwidth * c.activation_memory) * US;
        c.launch_us + p_norm(compute_us, weights_us, 2.0) + activations_us + c.per_expert_ns * 1e-3 * active
    }
}
