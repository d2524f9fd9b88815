//! A decoder model's shape, and what follows from the shape alone: parameter counts and bytes of KV.

use serde::{Deserialize, Serialize};

use super::linear::LinearLayers;

/// Shape of a decoder-only transformer, as its Hugging Face `config.json` gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    /// Other names that find it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    pub layers: u32,
    pub hidden_size: u32,
    pub attention_heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    /// Width of the dense feed-forward layers; 0 when every layer is a mixture of experts.
    pub intermediate_size: u32,
    /// Gated (SwiGLU, three matrices) or plain (two).
    pub gated: bool,
    pub vocab_size: u32,
    /// Input and output embedding are one matrix.
    pub tied_embeddings: bool,
    /// Longest context, tokens.
    pub max_context: u32,
    /// Absent for a dense model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe: Option<MixtureOfExperts>,
    /// Multi-head latent attention; absent for the usual multi-head or grouped-query attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mla: Option<LatentAttention>,
    /// Layers that look back over a window only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<SlidingWindow>,
    /// Layers with a state of constant size in place of KV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<LinearLayers>,
    /// Published parameter count.
    pub parameters: f64,
    /// Where the numbers are from.
    pub source: String,
}

/// The expert layers of a mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureOfExperts {
    /// Routed experts in a layer.
    pub experts: u32,
    pub experts_per_token: u32,
    /// Width of one routed expert.
    pub expert_intermediate_size: u32,
    /// Width of all shared experts together; 0 for none.
    #[serde(default)]
    pub shared_intermediate_size: u32,
    /// Layers with a dense feed-forward instead of experts.
    #[serde(default)]
    pub dense_layers: u32,
}

/// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): one compressed KV vector a token, shared by all heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentAttention {
    /// Rank of the query's compression; 0 when the query is not compressed.
    pub q_lora_rank: u32,
    pub kv_lora_rank: u32,
    pub qk_nope_head_dim: u32,
    pub qk_rope_head_dim: u32,
    pub v_head_dim: u32,
}

/// Some layers look back over `tokens` tokens only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlidingWindow {
    pub tokens: u32,
    /// How many of the layers.
    pub layers: u32,
}

impl Model {
    /// Matrices of a feed-forward layer.
    pub fn feed_forward_matrices(&self) -> u64 {
        if self.gated { 3 } else { 2 }
    }

    /// Layers with a dense feed-forward.
    pub fn dense_layers(&self) -> u32 {
        self.moe.map_or(self.feed_forward_layers(), |moe| moe.dense_layers)
    }

    /// Layers with experts.
    pub fn expert_layers(&self) -> u32 {
        self.feed_forward_layers().saturating_sub(self.dense_layers())
    }

    /// Weights of one layer's attention.
    pub fn attention_parameters(&self) -> u64 {
        let hidden = u64::from(self.hidden_size);
        let heads = u64::from(self.attention_heads);
        match self.mla {
            None => {
                let (kv_heads, head_dim) = (u64::from(self.kv_heads), u64::from(self.head_dim));
                let gate = u64::from(self.linear.is_some_and(|linear| linear.attention_gate)) * heads;
                hidden * head_dim * (2 * heads + gate + 2 * kv_heads)
            }
            Some(mla) => {
                let (q_rank, kv_rank) = (u64::from(mla.q_lora_rank), u64::from(mla.kv_lora_rank));
                let (nope, rope, value) = (u64::from(mla.qk_nope_head_dim), u64::from(mla.qk_rope_head_dim), u64::from(mla.v_head_dim));
                let query = if q_rank == 0 { hidden * heads * (nope + rope) } else { q_rank * (hidden + heads * (nope + rope)) };
                query + hidden * (kv_rank + rope) + kv_rank * heads * (nope + value) + heads * value * hidden
            }
        }
    }

    /// Weights of one dense feed-forward layer.
    pub fn dense_feed_forward_parameters(&self) -> u64 {
        self.feed_forward_matrices() * u64::from(self.hidden_size) * u64::from(self.intermediate_size)
    }

    /// Weights of the routed experts of one layer.
    pub fn routed_expert_parameters(&self) -> u64 {
        self.moe.map_or(0, |moe| {
            u64::from(moe.experts) * self.feed_forward_matrices() * u64::from(self.hidden_size) * u64::from(moe.expert_intermediate_size)
        })
    }

    /// Weights of the router and the shared experts of one layer.
    pub fn router_and_shared_parameters(&self) -> u64 {
        self.moe.map_or(0, |moe| {
            u64::from(self.hidden_size) * (u64::from(moe.experts) + self.feed_forward_matrices() * u64::from(moe.shared_intermediate_size))
        })
    }

    /// Weights of the embedding matrices (one when tied, two otherwise).
    pub fn embedding_parameters(&self) -> u64 {
        let one = u64::from(self.vocab_size) * u64::from(self.hidden_size);
        if self.tied_embeddings { one } else { 2 * one }
    }

    /// All weights but the embeddings and the norms.
    pub fn layer_parameters(&self) -> u64 {
        u64::from(self.attention_layers()) * self.attention_parameters()
            + self.linear.map_or(0, |linear| u64::from(linear.layers) * linear.parameters(self.hidden_size))
            + u64::from(self.dense_layers()) * self.dense_feed_forward_parameters()
            + u64::from(self.expert_layers()) * (self.routed_expert_parameters() + self.router_and_shared_parameters())
    }

    /// Parameter count from the shape (biases and position tables left out: under 0.2 % in every model of the catalog).
    pub fn parameters_from_shape(&self) -> u64 {
        let norms = (u64::from(self.sublayers()) + 1) * u64::from(self.hidden_size);
        self.layer_parameters() + self.embedding_parameters() + norms
    }

    /// Weights a token meets: all of a dense model, the chosen experts of a mixture; the embedding lookup left out.
    pub fn active_parameters(&self) -> u64 {
        let unused = self.moe.map_or(0, |moe| {
            let per_expert = self.feed_forward_matrices() * u64::from(self.hidden_size) * u64::from(moe.expert_intermediate_size);
            u64::from(self.expert_layers()) * u64::from(moe.experts.saturating_sub(moe.experts_per_token)) * per_expert
        });
        self.layer_parameters() - unused + u64::from(self.vocab_size) * u64::from(self.hidden_size)
    }

    /// Values of KV kept for a token in one layer, over all GPUs and without replication.
    pub fn kv_values_per_layer(&self) -> u64 {
        match self.mla {
            None => 2 * u64::from(self.kv_heads) * u64::from(self.head_dim),
            Some(mla) => u64::from(mla.kv_lora_rank) + u64::from(mla.qk_rope_head_dim),
        }
    }

    /// Values of KV kept for a token in one layer on each of `tp` GPUs. Heads are replicated once there are fewer than GPUs
    /// (as vLLM, SGLang and TensorRT-LLM do); latent KV is one head, so every GPU holds all of it.
    pub fn kv_values_per_layer_per_rank(&self, tp: u32) -> u64 {
        match self.mla {
            None => 2 * u64::from(self.kv_heads_per_rank(tp)) * u64::from(self.head_dim),
            Some(_) => self.kv_values_per_layer(),
        }
    }

    /// KV heads on each of `tp` GPUs, at least one.
    pub fn kv_heads_per_rank(&self, tp: u32) -> u32 {
        self.kv_heads.div_ceil(tp.max(1)).max(1)
    }

    /// Contradictions in the shape, in words; empty when it is sound.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let positive = [
            ("layers", self.layers),
            ("hidden_size", self.hidden_size),
            ("attention_heads", self.attention_heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_context", self.max_context),
        ];
        for (name, value) in positive {
            if value == 0 || value > 1 << 27 {
                faults.push(format!("{name} is {value}, which no model has"));
            }
        }
        if self.kv_heads > self.attention_heads || (self.kv_heads > 0 && !self.attention_heads.is_multiple_of(self.kv_heads)) {
            faults.push(format!("{} attention heads cannot share {} KV heads evenly", self.attention_heads, self.kv_heads));
        }
        match self.moe {
            None if self.intermediate_size == 0 => faults.push("intermediate_size is 0 and there are no experts".to_owned()),
            Some(moe) => {
                if moe.experts == 0
                    || moe.experts_per_token == 0
                    || moe.experts_per_token > moe.experts
                    || moe.expert_intermediate_size == 0
                {
                    faults.push(format!(
                        "{} of {} experts of width {} make no mixture",
                        moe.experts_per_token, moe.experts, moe.expert_intermediate_size
                    ));
                }
                if moe.dense_layers > self.feed_forward_layers() || (moe.dense_layers > 0 && self.intermediate_size == 0) {
                    faults.push(format!(
                        "{} dense layers of width {} among {} layers",
                        moe.dense_layers, self.intermediate_size, self.layers
                    ));
                }
            }
            None => {}
        }
        if let Some(window) = self.sliding_window
            && (window.tokens == 0 || window.layers > self.attention_layers())
        {
            faults.push(format!("{} of {} layers with a window of {} tokens", window.layers, self.layers, window.tokens));
        }
        faults.extend(self.linear.iter().flat_map(|linear| linear.faults(self)));
        faults
    }
}
