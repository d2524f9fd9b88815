//! Matrix products: weights (n x k) against m tokens.
//!
//! `t = launch + ((F/compute * (1 + half_k/k))^norm + (B/memory)^norm)^(1/norm) + (input_pass*m*k + output_pass*m*n)/bandwidth`
//! with F = 2mnk over the peak rate and B the bytes of weights, input and output over the bandwidth. All efficiencies are at
//! most 1 and a p-norm is at least its larger part, so a product is never faster than the roofline at 100 %.

use super::rates::{Arithmetic, US};
use crate::catalog::calibration::GemmConstants;
use crate::math::p_norm;

/// Products of one number format on one device.
#[derive(Clone, Debug)]
pub struct Gemm {
    pub arithmetic: Arithmetic,
    pub bandwidth: f64,
    pub constants: GemmConstants,
}

impl Gemm {
    /// Time of one product of `tokens` rows with weights of `outputs` x `inputs`, us.
    pub fn us(&self, tokens: f64, outputs: f64, inputs: f64) -> f64 {
        let c = &self.constants;
        let flops = 2.0 * tokens * outputs * inputs;
        let values = tokens * (inputs + outputs);
        let bytes =
            outputs * inputs * self.arithmetic.weight_bytes + 2.0 * values + 2.0 * self.arithmetic.input_copy_bytes * tokens * inputs;
        let compute_us = flops / (self.arithmetic.peak_flops * c.compute.min(1.0)) * (1.0 + c.half_k / inputs) * US;
        let memory_us = bytes / (self.bandwidth * c.memory.min(1.0)) * US;
        let pass_us = tokens * (c.input_pass * inputs + c.output_pass * outputs) / self.bandwidth * US;
        c.launch_us + p_norm(compute_us, memory_us, c.norm) + pass_us
    }
}
