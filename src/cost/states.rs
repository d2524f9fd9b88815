//! Memory of constant states, one a sequence, by each engine's rule.
//!
//! vLLM keeps them in the pool of KV blocks: a block of tokens is made as large as a layer's state, and a sequence holds one block for each
//! group of as many layers with states as there are layers with attention (`_get_kv_cache_groups`, `HybridAttentionMambaModelConfig`).
//! SGLang has a pool of its own: `mamba_full_memory_ratio` of what the KV gets, or `max_mamba_cache_size` states; requests run while a state
//! is free. TensorRT-LLM reserves a state for each of `max_batch_size` requests. None keeps states of earlier requests here: prefixes are
//! not found again in models with states.

use super::linear::state_bytes_per_layer;
use super::memory::MemorySpec;
use crate::catalog::{Engine, LinearLayers, Model};

/// SGLang's share of states, in relation to the KV's.
pub const STATE_RATIO: f64 = 0.9;

/// What a document says of SGLang's pool of states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StateOptions {
    /// States in all.
    pub slots: Option<u32>,
    /// Their memory in relation to the KV's.
    pub ratio: f64,
}

impl Default for StateOptions {
    fn default() -> StateOptions {
        StateOptions { slots: None, ratio: STATE_RATIO }
    }
}

/// State of one sequence in all layers on one GPU, bytes.
pub fn state_bytes(engine: Engine, model: &Model, tp: u32) -> f64 {
    model.linear.map_or(0.0, |linear| f64::from(linear.layers) * state_bytes_per_layer(engine, &linear, tp))
}

/// Layers that share a block in vLLM: as many as of the rarer kind, or of the other where it is less than a quarter more.
fn layers_of_group(linear: &LinearLayers) -> u32 {
    let (few, many) = (linear.layers.min(linear.attention_layers).max(1), linear.layers.max(linear.attention_layers));
    if f64::from(many) < 1.25 * f64::from(few) { many } else { few }
}

/// Pages of a block of KV: layers with attention, filled up to whole groups.
fn pages_of_block(linear: &LinearLayers) -> u32 {
    linear.attention_layers.next_multiple_of(layers_of_group(linear))
}

/// vLLM: tokens in a block, at least those asked for, so that a layer's KV of a block takes as much as a layer's state. In steps of 16, of 64
/// with latent attention.
pub fn unified_block(model: &Model, tp: u32, bytes_per_value: f64, asked: u32) -> u32 {
    let Some(linear) = &model.linear else { return asked };
    let unit = if model.mla.is_some() { 64.0 } else { 16.0 };
    let token = model.kv_values_per_layer_per_rank(tp) as f64 * bytes_per_value;
    let units = state_bytes_per_layer(Engine::Vllm, linear, tp) / (unit * token);
    let whole = units as u32;
    ((whole + u32::from(f64::from(whole) < units)) * unit as u32).max(asked)
}

/// vLLM: blocks that a sequence holds for its states.
pub fn blocks_per_sequence(model: &Model) -> u64 {
    model.linear.map_or(0, |linear| {
        let groups = linear.layers.div_ceil(layers_of_group(&linear));
        u64::from(groups.div_ceil(pages_of_block(&linear) / layers_of_group(&linear)))
    })
}

/// Bytes of a block of KV over those of its layers with attention: what fills groups up.
pub(super) fn filled_up(spec: &MemorySpec<'_>) -> f64 {
    match (&spec.model.linear, spec.engine) {
        (Some(linear), Engine::Vllm) => f64::from(pages_of_block(linear)) / f64::from(linear.attention_layers.max(1)),
        _ => 1.0,
    }
}

/// States kept apart from the KV, and their bytes, out of `room` for both.
pub(super) fn pool(spec: &MemorySpec<'_>, room: f64) -> (u64, f64) {
    let one = state_bytes(spec.engine, spec.model, spec.tp);
    if one == 0.0 {
        return (0, 0.0);
    }
    let slots = match (spec.engine, spec.states.slots) {
        (Engine::Vllm, _) => 0,
        (Engine::Sglang, None) => (room.max(0.0) * spec.states.ratio / (1.0 + spec.states.ratio) / one) as u64,
        (_, Some(slots)) => u64::from(slots),
        (Engine::Trtllm, None) => u64::from(spec.max_num_seqs),
    };
    (slots, slots as f64 * one)
}
