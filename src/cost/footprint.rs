//! How much work a step is, for utilisation: operations and bytes, without any efficiency.

use super::linear::state_bytes_per_layer;
use super::rates::Arithmetic;
use crate::catalog::{Device, Engine, Model};

/// Work of a step, per GPU of the tensor-parallel group, and the peaks to hold it against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Footprint {
    /// Operations of the layers' products for a token.
    pub flops_per_token: f64,
    /// Operations of the LM head for a sampled row.
    pub flops_per_sampled_row: f64,
    /// Operations of attention for each pair of a token and one that it looks at, all layers (windows not taken into account).
    pub flops_per_pair: f64,
    /// Bytes of weights a step reads, experts as if one token were computed.
    pub weight_bytes: f64,
    /// Bytes of KV of a token of context.
    pub kv_bytes_per_token: f64,
    /// Bytes of constant state that a decoding sequence reads and writes in a step.
    pub state_bytes: f64,
    /// Peak rate of the unit that multiplies the weights, FLOP/s.
    pub peak_flops: f64,
    /// Memory bandwidth, bytes/s.
    pub peak_bytes_per_s: f64,
    pub gpus: u32,
    bytes_per_weight: f64,
}

impl Footprint {
    pub(super) fn new(model: &Model, device: &Device, engine: Engine, tp: u32, arithmetic: &Arithmetic, kv_bytes: f64) -> Footprint {
        let gpus = f64::from(tp);
        let head = model.vocab_size as f64 * f64::from(model.hidden_size);
        let layer_weights = model.active_parameters() as f64 - head;
        // A pair costs a product with the key and one with the value.
        let pair_width = match model.mla {
            None => 2.0 * f64::from(model.head_dim),
            Some(mla) => f64::from(mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim),
        };
        Footprint {
            flops_per_token: 2.0 * layer_weights / gpus,
            flops_per_sampled_row: 2.0 * head / gpus,
            flops_per_pair: 2.0 * pair_width * f64::from(model.attention_heads) * f64::from(model.attention_layers()) / gpus,
            weight_bytes: (layer_weights * arithmetic.weight_bytes + 2.0 * head) / gpus,
            kv_bytes_per_token: model.kv_values_per_layer_per_rank(tp) as f64 * kv_bytes * f64::from(model.attention_layers()),
            state_bytes: model.linear.map_or(0.0, |linear| 2.0 * f64::from(linear.layers) * state_bytes_per_layer(engine, &linear, tp)),
            peak_flops: arithmetic.peak_flops,
            peak_bytes_per_s: device.memory_bytes_per_s,
            gpus: tp,
            bytes_per_weight: arithmetic.weight_bytes,
        }
    }

    /// Of each GPU when the model lies over `stages` stages of such groups: the mean.
    #[must_use]
    pub fn over(self, stages: u32) -> Footprint {
        let share = f64::from(stages.max(1));
        Footprint {
            flops_per_token: self.flops_per_token / share,
            flops_per_sampled_row: self.flops_per_sampled_row / share,
            flops_per_pair: self.flops_per_pair / share,
            weight_bytes: self.weight_bytes / share,
            kv_bytes_per_token: self.kv_bytes_per_token / share,
            state_bytes: self.state_bytes / share,
            gpus: self.gpus * stages.max(1),
            ..self
        }
    }

    /// Of each GPU when `ranks` such groups compute requests of their own and share the routed experts.
    #[must_use]
    pub fn among(self, model: &Model, ranks: u32) -> Footprint {
        let share = f64::from(ranks.max(1));
        let routed = model.moe.map_or(0.0, |moe| {
            let all = f64::from(model.expert_layers()) * model.routed_expert_parameters() as f64 * self.bytes_per_weight;
            all * f64::from(moe.experts_per_token) / f64::from(moe.experts) / f64::from(self.gpus)
        });
        Footprint {
            flops_per_token: self.flops_per_token / share,
            flops_per_sampled_row: self.flops_per_sampled_row / share,
            flops_per_pair: self.flops_per_pair / share,
            weight_bytes: self.weight_bytes - routed * (1.0 - 1.0 / share),
            kv_bytes_per_token: self.kv_bytes_per_token / share,
            state_bytes: self.state_bytes / share,
            gpus: self.gpus * ranks.max(1),
            ..self
        }
    }

    /// Bytes that a weight of the layers takes in memory.
    pub fn bytes_per_weight(&self) -> f64 {
        self.bytes_per_weight
    }
}
