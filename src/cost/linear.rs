//! Layers with a state of constant size (linear attention, state spaces), one layer at a time, on one GPU: short convolution and recurrence.
//!
//! Decode: `t = launch + n B/(memory * bandwidth)` with n sequences and B the bytes of a sequence's state, read and written, and of its convolution's:
//! nothing depends on the context.
//!
//! Prompts: chunks of 64 tokens, `t = launch + (W^3 + serial^3)^(1/3)`, `W = F/(compute * peak) + B/(memory * bandwidth)`, linear in the tokens. F counts
//! for each token and head 4 d_k d_v (the state's update and its use) and 2 * 64 (d_k + d_v) (inside the chunk); B are the rows in and out of
//! the convolution and, for each piece, its state; serial is the time one chunk after the other takes along the longest piece. What the delta
//! rule adds to F lies in `compute`, which was fitted on kernels with it: families with mere decay are charged the same, on the slow side.
//! Mamba's first version has no chunks and works on the vector units, at a sixteenth of the rate (an assumption).

use super::rates::US;
use crate::catalog::calibration::LinearConstants;
use crate::catalog::{Device, Engine, LinearKind, LinearLayers};
use crate::math::cbrt;

/// Tokens of a chunk.
const CHUNK: f64 = 64.0;
/// Rate of matrix units over that of vector units.
const VECTOR: f64 = 16.0;

/// All layers with a state, on one GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearScan {
    layers: f64,
    decode_launch_us: f64,
    decode_sequence_us: f64,
    launch_us: f64,
    token_us: f64,
    piece_us: f64,
    serial_us: f64,
    /// Channels in and out of the convolution, for element-wise passes.
    pub width: f64,
}

/// Bytes of a value of the recurrent state: 16 bit in vLLM and TensorRT-LLM unless the model's config.json asks for 32, always 32 in SGLang.
pub fn state_value_bytes(engine: Engine, linear: &LinearLayers) -> f64 {
    if engine == Engine::Sglang || linear.float32_state { 4.0 } else { 2.0 }
}

/// State of a sequence in one layer on one of `tp` GPUs, bytes: the recurrence's and, in 16 bit, the convolution's.
pub fn state_bytes_per_layer(engine: Engine, linear: &LinearLayers, tp: u32) -> f64 {
    linear.state_values_per_rank(tp) as f64 * state_value_bytes(engine, linear) + 2.0 * linear.conv_values_per_rank(tp) as f64
}

impl LinearScan {
    pub fn new(linear: &LinearLayers, tp: u32, device: &Device, engine: Engine, c: &LinearConstants) -> LinearScan {
        let heads = f64::from(linear.heads.div_ceil(tp));
        let (head_dim, state_dim) = (f64::from(linear.head_dim), f64::from(linear.state_dim));
        let channels = match linear.conv_channels_per_rank(tp) {
            0 => heads * head_dim + 2.0 * f64::from(linear.key_heads.div_ceil(tp)) * state_dim,
            channels => channels as f64,
        };
        let state = state_bytes_per_layer(engine, linear, tp);
        let flops = match linear.kind {
            LinearKind::Mamba1 => VECTOR * 4.0 * heads * head_dim * state_dim,
            _ => heads * (4.0 * head_dim * state_dim + 2.0 * CHUNK * (head_dim + state_dim)),
        };
        let bandwidth = |share: f64| device.memory_bytes_per_s * share.min(1.0);
        LinearScan {
            layers: f64::from(linear.layers),
            decode_launch_us: c.decode_launch_us,
            decode_sequence_us: (2.0 * state + 4.0 * channels) / bandwidth(c.decode_memory) * US,
            launch_us: c.launch_us,
            token_us: (flops / (device.bf16_flops * c.compute.min(1.0)) + 4.0 * channels / bandwidth(c.memory)) * US,
            piece_us: 2.0 * state / bandwidth(c.memory) * US,
            serial_us: c.serial_ns_per_token * 1e-3,
            width: heads * head_dim,
        }
    }

    /// Time of all layers for a step that decodes `sequences`, us.
    pub fn decode_us(&self, sequences: f64) -> f64 {
        self.layers * (self.decode_launch_us + sequences * self.decode_sequence_us)
    }

    /// Time of all layers for pieces of so many new tokens, us; 0 without pieces.
    pub fn prefill_us(&self, pieces: impl Iterator<Item = f64>) -> f64 {
        let (mut work, mut longest) = (0.0, 0.0_f64);
        for new in pieces {
            work += self.piece_us + new * self.token_us;
            longest = longest.max(new);
        }
        let serial = self.serial_us * longest;
        if longest > 0.0 { self.layers * (self.launch_us + cbrt(work * work * work + serial * serial * serial)) } else { 0.0 }
    }
}
