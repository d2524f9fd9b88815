//! How long KV takes from the GPUs that computed it to those that decode with it: which bytes, in which pieces, and what the software
//! that moves them costs.
//!
//! A transfer takes `latency + descriptors * post + bytes / (efficiency * bandwidth)` when nobody else is on its links. Each decode
//! rank fetches the heads it needs from prefill ranks that have them; where there are fewer heads than ranks, each head goes to every
//! rank that keeps a copy.
//!
//! Sources of the constants are given with them. What is fitted was fitted on the smallest and the largest of the published transfers; those
//! in between check it (`tests/kv_transfer.rs`).

use crate::catalog::{Engine, Model};
use crate::units::Time;

/// The software that moves KV.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connector {
    /// From the request for a transfer to its first byte, and from the last one until the scheduler knows. Fixed.
    pub latency: Time,
    /// Share of the network's line rate that KV gets.
    pub network_efficiency: f64,
    /// Share of the interconnect's rate that KV gets within a node.
    pub node_efficiency: f64,
    /// Time to post one descriptor (a contiguous piece of memory), by network and within a node. Posted one after the other by each rank.
    pub network_post: Time,
    pub node_post: Time,
    /// Neighbouring blocks travel as one piece: a descriptor a layer, not one a block.
    pub merges_blocks: bool,
}

/// Share of an interconnect's rate that KV gets, and the time to post a descriptor there: 7,500 tokens of Llama-3.1-8B, K and V of 32 layers
/// apart, took 20 ms over NVLink in blocks of 16 tokens and 8 ms in blocks of 128 (LMCache blog, 2025-04-11): 26,400 more descriptors
/// are 12 ms, and 983 MB take the 6.3 ms that are left, 0.35 of 450 GB/s.
const NODE_EFFICIENCY: f64 = 0.35;
const NODE_POST_NS: u64 = 455;
/// Posting to a network card costs a twentieth (vLLM issue 55434).
const NETWORK_POST_NS: u64 = 23;

impl Connector {
    /// Mooncake under vLLM 0.11 (Qwen3-8B, TP 8, H800, 8 x 25 GB/s): 0.54 ms at 128 tokens, 31.65 ms at 32,768. The blocks of a fresh
    /// server are neighbours, so a descriptor is a layer's.
    pub const VLLM_MOONCAKE: Connector = Connector {
        latency: Time(400_000_000),
        network_efficiency: 0.7735,
        node_efficiency: NODE_EFFICIENCY,
        network_post: Time(NETWORK_POST_NS * 1000),
        node_post: Time(NODE_POST_NS * 1000),
        merges_blocks: true,
    };
    /// NIXL, which vLLM and TensorRT-LLM use by default: as Mooncake, and each block is a descriptor. The latency and the share of the
    /// line rate are assumed to be Mooncake's under vLLM.
    pub const NIXL: Connector = Connector { merges_blocks: false, ..Connector::VLLM_MOONCAKE };
    /// Mooncake under SGLang (Qwen3-235B, TP 8, H20, 8 x 25 GB/s): 2.07 ms at 128 tokens, 76.78 ms at 32,768.
    pub const SGLANG_MOONCAKE: Connector =
        Connector { latency: Time(1_775_000_000), network_efficiency: 0.8413, ..Connector::VLLM_MOONCAKE };

    /// The one that an engine uses unless told otherwise.
    pub fn of(engine: Engine) -> Connector {
        match engine {
            Engine::Vllm | Engine::Trtllm => Connector::NIXL,
            Engine::Sglang => Connector::SGLANG_MOONCAKE,
        }
    }
}

/// KV of a model as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvShape {
    pub layers: u32,
    /// KV heads; 1 for latent KV, which every rank holds whole.
    pub heads: u32,
    /// Pieces of memory apart that a layer has for a token and a head: K and V, or one latent.
    pub parts: u32,
    /// Bytes of a head's KV for a token and a layer, all parts.
    pub head_bytes: f64,
}

impl KvShape {
    /// `bytes_per_value` is that of the KV's number format.
    pub fn new(model: &Model, bytes_per_value: f64) -> KvShape {
        let heads = if model.mla.is_some() { 1 } else { model.kv_heads.max(1) };
        KvShape {
            layers: model.attention_layers(),
            heads,
            parts: if model.mla.is_some() { 1 } else { 2 },
            head_bytes: model.kv_values_per_layer() as f64 / f64::from(heads) * bytes_per_value,
        }
    }

    /// Bytes of a token over all layers and heads, each counted once.
    pub fn bytes_per_token(&self) -> f64 {
        self.head_bytes * f64::from(self.heads) * f64::from(self.layers)
    }
}

/// What one prefill rank sends to one decode rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub from: u32,
    pub to: u32,
    pub heads: u32,
}

/// The heads that rank `rank` of `tp` keeps: a range, at least one.
fn heads_of(rank: u32, tp: u32, heads: u32) -> std::ops::Range<u32> {
    let first = (u64::from(rank) * u64::from(heads) / u64::from(tp)) as u32;
    let end = (u64::from(rank + 1) * u64::from(heads) / u64::from(tp)) as u32;
    first..end.max(first + 1)
}

/// Who sends which heads to whom, when `prefill_tp` ranks have them and `decode_tp` ranks want them. Copies of a head are taken in turns.
pub fn pieces(heads: u32, prefill_tp: u32, decode_tp: u32) -> Vec<Piece> {
    let (prefill_tp, decode_tp) = (prefill_tp.max(1), decode_tp.max(1));
    let mut pieces: Vec<Piece> = Vec::new();
    for to in 0..decode_tp {
        for head in heads_of(to, decode_tp, heads) {
            let holders = (0..prefill_tp).filter(|&rank| heads_of(rank, prefill_tp, heads).contains(&head));
            let copies = holders.clone().count().max(1);
            let wanted = (0..to).filter(|&rank| heads_of(rank, decode_tp, heads).contains(&head)).count();
            let from = holders.clone().nth(wanted % copies).unwrap_or(0);
            match pieces.iter_mut().find(|piece| piece.from == from && piece.to == to) {
                Some(piece) => piece.heads += 1,
                None => pieces.push(Piece { from, to, heads: 1 }),
            }
        }
    }
    pieces
}

/// Tokens whose KV moves when `tokens` are computed: whole blocks, with that of the token that comes next. So the vLLM rows of the
/// published transfers say (20, 38, 74 … MiB for 128, 256, 512 … tokens of 144 KiB); engines with blocks of one token move what there is.
pub fn tokens_moved(tokens: u64, block: u32) -> u64 {
    if block <= 1 { tokens } else { (tokens + 1).next_multiple_of(u64::from(block)) }
}

/// Descriptors that the busiest decode rank posts for `tokens` tokens.
pub fn descriptors(connector: &Connector, shape: &KvShape, pieces: &[Piece], tokens: u64, block: u32) -> u64 {
    let ranks = pieces.iter().map(|piece| piece.to).max().map_or(0, |last| last + 1);
    let most = (0..ranks).map(|rank| pieces.iter().filter(|piece| piece.to == rank).count()).max().unwrap_or(0);
    let blocks = if connector.merges_blocks { 1 } else { tokens.div_ceil(u64::from(block.max(1))) };
    most as u64 * blocks * u64::from(shape.layers) * u64::from(shape.parts)
}
