//! Layers that keep a state of constant size for each sequence in place of KV: linear attention and state spaces.
//!
//! A head keeps a matrix of `state_dim` x `head_dim`; keys and queries are shared by groups of heads. Families differ in their products and
//! in whether a short convolution goes before:
//!
//! | kind | families | products | rule of the state |
//! |---|---|---|---|
//! | gated delta net (arXiv:2412.06464) | Qwen3-Next, Qwen3.5 | q, k, v, gate in one; two scalars a head | delta rule |
//! | Kimi delta attention (arXiv:2510.26692) | Kimi Linear | q, k, v; two gates by a low rank; a scalar a head | delta rule |
//! | Mamba-2 (arXiv:2405.21060) | Nemotron-H, Granite 4, Falcon-H1, Bamba | gate, x, B, C, step size in one | decay |
//! | Mamba (arXiv:2312.00752) | Jamba | gate and x; B, C and step size from x | decay |
//! | lightning attention (arXiv:2401.04658) | MiniMax-Text-01, M1 | q, k, v in one; output gate | decay |

use serde::{Deserialize, Serialize};

use super::model::Model;

/// Which recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearKind {
    GatedDeltaNet,
    KimiDelta,
    Mamba2,
    Mamba1,
    Lightning,
}

/// The layers of a hybrid model that have no KV, and how many have what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearLayers {
    pub kind: LinearKind,
    /// Layers with such a state.
    pub layers: u32,
    /// Layers with attention and KV. Together with `layers` more than the model's where both are in one layer (Falcon-H1).
    pub attention_layers: u32,
    /// Layers with a feed-forward, dense or of experts: fewer than the model's where those are layers of their own (Nemotron-H).
    pub feed_forward_layers: u32,
    /// Heads, each with a state of `state_dim` x `head_dim` values.
    pub heads: u32,
    pub head_dim: u32,
    /// Heads of keys and queries (groups of B and C).
    pub key_heads: u32,
    pub state_dim: u32,
    /// Tokens that the convolution before it sees; 0 without one.
    #[serde(default)]
    pub conv_kernel: u32,
    /// Rank of the gates (Kimi) or of the step size (Mamba).
    #[serde(default)]
    pub rank: u32,
    /// The layers with attention gate their output, with a product as wide as the query's.
    #[serde(default)]
    pub attention_gate: bool,
    /// The model's config.json asks for a state in 32 bit.
    #[serde(default)]
    pub float32_state: bool,
}

impl LinearLayers {
    /// Width of values and output, all heads.
    fn width(&self) -> u64 {
        u64::from(self.heads) * u64::from(self.head_dim)
    }

    /// Width of keys, and of queries.
    fn key_width(&self) -> u64 {
        u64::from(self.key_heads) * u64::from(self.state_dim)
    }

    /// Products of one layer on one of `tp` GPUs: outputs and inputs. Heads are cut over the GPUs, key heads repeated where there are fewer.
    pub fn products(&self, hidden: u32, tp: u32) -> Vec<(u64, u64)> {
        let hidden = u64::from(hidden);
        let heads = u64::from(self.heads.div_ceil(tp));
        let width = heads * u64::from(self.head_dim);
        let keys = u64::from(self.key_heads.div_ceil(tp)) * u64::from(self.state_dim);
        let (rank, state) = (u64::from(self.rank), u64::from(self.state_dim));
        match self.kind {
            LinearKind::GatedDeltaNet => vec![(2 * keys + 2 * width, hidden), (2 * heads, hidden), (hidden, width)],
            LinearKind::KimiDelta => {
                vec![(2 * keys + width, hidden), (heads, hidden), (2 * rank, hidden), (width, rank), (width, rank), (hidden, width)]
            }
            LinearKind::Mamba2 => vec![(2 * width + 2 * keys + heads, hidden), (hidden, width)],
            LinearKind::Mamba1 => vec![(2 * width, hidden), (rank + 2 * state, width), (width, rank), (hidden, width)],
            LinearKind::Lightning => vec![(2 * keys + width, hidden), (width, hidden), (hidden, width)],
        }
    }

    /// Channels of the convolution, all GPUs together.
    pub fn conv_channels(&self) -> u64 {
        match (self.conv_kernel, self.kind) {
            (0, _) => 0,
            (_, LinearKind::Mamba1) => self.width(),
            _ => self.width() + 2 * self.key_width(),
        }
    }

    /// Weights of one layer: products, convolution, and what each head or channel has of its own.
    pub fn parameters(&self, hidden: u32) -> u64 {
        let products: u64 = self.products(hidden, 1).iter().map(|(outputs, inputs)| outputs * inputs).sum();
        let own = match self.kind {
            LinearKind::Mamba1 => self.width() * (u64::from(self.state_dim) + 3),
            LinearKind::Mamba2 => self.width() + 3 * u64::from(self.heads),
            LinearKind::Lightning => self.width(),
            LinearKind::GatedDeltaNet | LinearKind::KimiDelta => u64::from(self.head_dim) + 2 * u64::from(self.heads),
        };
        products + self.conv_channels() * u64::from(self.conv_kernel) + own
    }

    /// Values of one layer's recurrent state of a sequence on one of `tp` GPUs.
    pub fn state_values_per_rank(&self, tp: u32) -> u64 {
        u64::from(self.heads.div_ceil(tp)) * u64::from(self.head_dim) * u64::from(self.state_dim)
    }

    /// Values of one layer's convolution state of a sequence on one of `tp` GPUs: the last tokens but one of each channel.
    pub fn conv_values_per_rank(&self, tp: u32) -> u64 {
        self.conv_channels_per_rank(tp) * u64::from(self.conv_kernel.saturating_sub(1))
    }

    /// Channels of the convolution on one of `tp` GPUs.
    pub fn conv_channels_per_rank(&self, tp: u32) -> u64 {
        let width = u64::from(self.heads.div_ceil(tp)) * u64::from(self.head_dim);
        match (self.conv_kernel, self.kind) {
            (0, _) => 0,
            (_, LinearKind::Mamba1) => width,
            _ => width + 2 * u64::from(self.key_heads.div_ceil(tp)) * u64::from(self.state_dim),
        }
    }

    /// The delta rule: what the state holds for a key is subtracted before the new value is added.
    pub fn has_delta_rule(&self) -> bool {
        matches!(self.kind, LinearKind::GatedDeltaNet | LinearKind::KimiDelta)
    }

    /// Contradictions in words.
    pub(super) fn faults(&self, model: &Model) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, value) in [
            ("layers", self.layers),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
            ("key_heads", self.key_heads),
            ("state_dim", self.state_dim),
        ] {
            if value == 0 || value > 1 << 20 {
                faults.push(format!("{name} of the layers with linear attention is {value}, which no model has"));
            }
        }
        if self.attention_layers == 0 {
            faults.push("no layer has attention with KV: models of states alone are not modelled".to_owned());
        }
        if self.layers.max(self.attention_layers).max(self.feed_forward_layers) > model.layers {
            faults.push(format!(
                "{} layers with linear attention, {} with attention and {} with a feed-forward among {}",
                self.layers, self.attention_layers, self.feed_forward_layers, model.layers
            ));
        }
        if self.key_heads > 0 && !self.heads.is_multiple_of(self.key_heads) {
            faults.push(format!("{} heads of linear attention cannot share {} keys evenly", self.heads, self.key_heads));
        }
        faults
    }
}

impl Model {
    /// Layers with attention, whose KV grows with the context.
    pub fn attention_layers(&self) -> u32 {
        self.linear.map_or(self.layers, |linear| linear.attention_layers)
    }

    /// Layers with a feed-forward, dense or of experts.
    pub fn feed_forward_layers(&self) -> u32 {
        self.linear.map_or(self.layers, |linear| linear.feed_forward_layers)
    }

    /// Halves of layers with a norm before: attention (or a state, or both in one) and feed-forward.
    pub fn sublayers(&self) -> u32 {
        let mixers = self.linear.map_or(self.layers, |linear| (linear.attention_layers + linear.layers).min(self.layers));
        mixers + self.feed_forward_layers()
    }

    /// Products whose results the GPUs of a group add up: one of each kind of layer, the feed-forward's last.
    pub fn reductions(&self) -> u32 {
        self.attention_layers() + self.linear.map_or(0, |linear| linear.layers) + self.feed_forward_layers()
    }
}
