//! The routed experts of a layer as one fused kernel, weights cut over the GPUs (tensor parallel).
//!
//! With T tokens, k experts each, E experts of width I a GPU: rows = T k; experts met by balanced routing
//! active = min(rows, E (1 - (1 - 1/E)^rows));
//!
//! `t = launch + ((F (1 + 16 padding active/rows)/compute)^2 + (W/memory)^2)^(1/2) + A/activation_memory + per_expert active`
//!
//! with F the products over the peak rate, W the bytes of the active experts and A those of activations over the bandwidth.

use super::rates::{Arithmetic, US};
use crate::catalog::calibration::MoeConstants;
use crate::math::{exp, ln_1p, p_norm};

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
    /// Matrices of an expert: three when gated.
    pub matrices: f64,
}

impl Experts {
    /// Experts of a layer that at least one of the tokens chooses, under balanced routing.
    pub fn active(&self, tokens: f64) -> f64 {
        let rows = tokens * self.experts_per_token;
        let missed = exp(rows * ln_1p(-1.0 / self.experts));
        (self.experts * (1.0 - missed)).min(rows)
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
        let flops = 2.0 * self.matrices * rows * self.hidden * self.width;
        let compute_us = flops * (1.0 + 16.0 * c.padding * active / rows) / (self.arithmetic.peak_flops * c.compute.min(1.0)) * US;
        let weights_us = self.weight_bytes(tokens) / (self.bandwidth * c.memory.min(1.0)) * US;
        let activations_us = rows * (2.0 * self.hidden + self.matrices * self.width) * 2.0 / (self.bandwidth * c.activation_memory) * US;
        c.launch_us + p_norm(compute_us, weights_us, 2.0) + activations_us + c.per_expert_ns * 1e-3 * active
    }
}
