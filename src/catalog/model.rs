//! A decoder model's shape.

use serde::{Deserialize, Serialize};

/// Shape of a decoder-only transformer, as its Hugging Face `config.json` gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    pub layers: u32,
    pub hidden_size: u32,
    pub attention_heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    /// Width of the feed-forward layer (of one expert, for a mixture of experts).
    pub intermediate_size: u32,
    /// Gated (SwiGLU, three matrices) or plain (two).
    pub gated: bool,
    pub vocab_size: u32,
    /// Input and output embedding are one matrix.
    pub tied_embeddings: bool,
    /// Longest context, tokens.
    pub max_context: u32,
    /// Experts in a layer; 0 for a dense model.
    #[serde(default)]
    pub experts: u32,
    #[serde(default)]
    pub experts_per_token: u32,
    /// Published parameter count.
    pub parameters: f64,
    /// Where the numbers are from.
    pub source: String,
}
