//! What fits into a GPU's memory: weights, activations, graphs, and the KV blocks in what is left, by each engine's own rule.
//!
//! vLLM: KV = utilization * total - weights - activations - rest - graphs, and one block is never used (the null block).
//! SGLang: KV = total - rest - weights - reserve, with a reserve for activations and graphs by its own formula.
//! TensorRT-LLM: KV = fraction * (total - rest - weights - activations).
//!
//! Weights follow from the shape. Activations, graphs and the rest are estimates, told apart in the result.

use super::graphs::Graphs;
use super::part::Part;
use super::shapes::{splits_evenly, weight_bytes_of_part};
use super::states::{self, StateOptions};
use crate::catalog::{Device, Dtype, Engine, Model, builtin};

const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;
/// Memory of CUDA and its libraries beyond the framework's tensors, on one GPU and in a group (NCCL's buffers). Assumptions.
const REST_ALONE: f64 = 0.25 * GIB;
const REST_IN_GROUP: f64 = 1.0 * GIB;
/// Memory of one captured graph. An assumption: logs of vLLM report 0.4 to 0.9 GiB for its 51 to 67 sizes.
const GRAPH: f64 = 10.0 * MIB;
/// Graphs of prefill batches that SGLang counts 8 MB each for. An assumption that gives its published static fractions within 0.005.
const SGLANG_PREFILL_GRAPHS: f64 = 56.0;

/// What is to be fitted.
#[derive(Clone, Debug)]
pub struct MemorySpec<'a> {
    pub engine: Engine,
    pub device: &'a Device,
    pub model: &'a Model,
    /// The model is a stage of a pipeline, with these ends of it.
    pub part: Part,
    pub tp: u32,
    pub dtype: Dtype,
    pub kv_dtype: Dtype,
    /// vLLM: share of the total; TensorRT-LLM: share of what is left; SGLang: its static fraction, absent for its own formula.
    pub utilization: Option<f64>,
    /// Token budget of a step (SGLang: its chunk).
    pub max_num_batched_tokens: u32,
    pub max_num_seqs: u32,
    pub block_size: u32,
    pub graphs: &'a Graphs,
    /// Memory that LoRA adapters take for each layer, bytes.
    pub adapter_bytes_per_layer: f64,
    /// A model that drafts tokens beside it, with weights and KV of its own.
    pub drafter: Option<Drafter<'a>>,
    /// Of SGLang's pool of states, for models that have them.
    pub states: StateOptions,
}

/// What drafts tokens for speculative decoding.
#[derive(Clone, Copy, Debug)]
pub struct Drafter<'a> {
    pub model: &'a Model,
    /// It uses the embedding and the LM head of the model it drafts for.
    pub shares_embedding: bool,
    /// The embedding is on another stage, so that one which shares has a copy.
    pub embedding_apart: bool,
}

/// Memory of one GPU, bytes. The parts and `kv_bytes` add up to at most `total`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryBudget {
    pub total: f64,
    /// Of the model, of what drafts for it, and of LoRA adapters.
    pub weights: f64,
    /// Largest working set of a step. Estimated.
    pub activations: f64,
    /// Captured graphs. Estimated.
    pub graphs: f64,
    /// CUDA, NCCL and the like. Assumed.
    pub rest: f64,
    /// Left free on purpose (1 - utilization, or SGLang's reserve beyond activations and graphs).
    pub unused: f64,
    /// States of constant size kept apart from the KV, and how many.
    pub states: f64,
    pub state_slots: u64,
    /// The KV pool, whole blocks. In vLLM states lie in it.
    pub kv_bytes: f64,
    /// KV of one token on one GPU.
    pub kv_bytes_per_token: f64,
    /// Blocks that requests can use.
    pub blocks: u64,
}

/// The model leaves no room for KV.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{model} does not fit on {tp} x {device}: {weights:.1} GiB of weights, {other:.1} GiB of activations, graphs and libraries, of {allowed:.1} GiB \
     that the engine may use{}",
    if changes.is_empty() { String::new() } else { format!("; it would fit with {}", changes.join(", or ")) }
)]
pub struct DoesNotFit {
    pub model: String,
    pub device: String,
    pub tp: u32,
    /// GiB a GPU.
    pub weights: f64,
    /// GiB a GPU.
    pub other: f64,
    /// GiB a GPU.
    pub allowed: f64,
    /// The smallest change of each kind that makes it fit, such as `tensor_parallel_size: 2`.
    pub changes: Vec<String>,
}

impl MemoryBudget {
    /// # Errors
    /// Not even one block of KV fits; says what would help.
    pub fn new(spec: &MemorySpec<'_>) -> Result<MemoryBudget, DoesNotFit> {
        let budget = Self::fill(spec);
        if budget.blocks > 0 {
            return Ok(budget);
        }
        Err(DoesNotFit {
            model: spec.model.name.clone(),
            device: spec.device.name.clone(),
            tp: spec.tp,
            weights: budget.weights / GIB,
            other: (budget.activations + budget.graphs + budget.rest) / GIB,
            allowed: (budget.total - budget.unused) / GIB,
            changes: changes(spec),
        })
    }

    /// The parts, with whatever number of blocks comes out (0 when nothing is left).
    fn fill(spec: &MemorySpec<'_>) -> MemoryBudget {
        let total = spec.device.memory_bytes;
        let weights = weight_bytes_of_part(spec.model, spec.part, spec.tp, spec.dtype)
            + drafter_weight_bytes(spec)
            + spec.adapter_bytes_per_layer * f64::from(spec.model.layers);
        let activations = activation_bytes(spec);
        let graphs = GRAPH * f64::from(spec.graphs.count());
        let rest = if spec.tp * spec.part.stages * spec.part.ranks > 1 { REST_IN_GROUP } else { REST_ALONE };
        let room = match spec.engine {
            Engine::Vllm => total * spec.utilization.unwrap_or(0.92) - weights - activations - rest - graphs,
            Engine::Sglang => {
                let static_share = spec.utilization.unwrap_or_else(|| sglang_static_fraction(spec));
                let free = total - rest;
                free - weights - free * (1.0 - static_share)
            }
            Engine::Trtllm => {
                // Graphs are captured afterwards, out of what is left over.
                spec.utilization.unwrap_or(0.9) * (total - rest - weights - activations)
            }
        };
        let kv_bytes_per_token = kv_bytes_per_token(spec);
        let block = kv_bytes_per_token * f64::from(spec.block_size.max(1)) * states::filled_up(spec);
        let (state_slots, states) = states::pool(spec, room);
        let whole = ((room - states).max(0.0) / block) as u64;
        let blocks = if spec.engine == Engine::Vllm { whole.saturating_sub(1) } else { whole };
        let kv_bytes = whole as f64 * block;
        let unused = match spec.engine {
            Engine::Vllm => total * (1.0 - spec.utilization.unwrap_or(0.92)),
            _ => (total - weights - activations - graphs - rest - room.max(0.0)).max(0.0),
        };
        MemoryBudget { total, weights, activations, graphs, rest, unused, states, state_slots, kv_bytes, kv_bytes_per_token, blocks }
    }
}

fn drafter_weight_bytes(spec: &MemorySpec<'_>) -> f64 {
    let Some(drafter) = spec.drafter else { return 0.0 };
    // Attention ranks share its experts too. One that shares the ends has none of its own, or the embedding alone.
    let own_ends = !drafter.shares_embedding;
    let part = Part { embedding: own_ends || drafter.embedding_apart, head: own_ends, ranks: spec.part.ranks, ..Part::WHOLE };
    weight_bytes_of_part(drafter.model, part, spec.tp, spec.dtype)
}

/// KV of one token on one GPU, bytes. Layers with a window are counted like the others: their pools are not modelled apart.
pub fn kv_bytes_per_token(spec: &MemorySpec<'_>) -> f64 {
    let of = |model: &Model| model.kv_values_per_layer_per_rank(spec.tp) as f64 * f64::from(model.attention_layers());
    let values = of(spec.model) + spec.drafter.map_or(0.0, |drafter| of(drafter.model));
    values * spec.kv_dtype.kv_bytes().unwrap_or(2.0)
}

/// Working set of the largest step: the widest layer for the whole token budget, or the logits of every sequence (16 bit, a 32-bit copy
/// and its softmax). The two never live at once.
fn activation_bytes(spec: &MemorySpec<'_>) -> f64 {
    let model = spec.model;
    let share = |size: u32| f64::from(size.div_ceil(spec.tp));
    let hidden = f64::from(model.hidden_size);
    let dense = share(model.intermediate_size) * model.feed_forward_matrices() as f64;
    let experts = model.moe.map_or(0.0, |moe| {
        let width = share(moe.expert_intermediate_size) * model.feed_forward_matrices() as f64;
        f64::from(moe.experts_per_token) * (width + 2.0 * hidden)
            + share(moe.shared_intermediate_size) * model.feed_forward_matrices() as f64
    });
    let attention = share(model.attention_heads) * f64::from(model.head_dim) * 2.0 + model.kv_values_per_layer_per_rank(spec.tp) as f64;
    let layer = 2.0 * f64::from(spec.max_num_batched_tokens) * (4.0 * hidden + dense.max(experts).max(attention));
    let logits = f64::from(u32::from(spec.part.head)) * f64::from(spec.max_num_seqs) * f64::from(model.vocab_size) * 10.0;
    layer.max(logits)
}

/// SGLang's `mem_fraction_static`: what it does not reserve for activations and graphs (arg_groups/memory_hook.py of 0.5.23).
fn sglang_static_fraction(spec: &MemorySpec<'_>) -> f64 {
    let memory_mb = spec.device.memory_bytes / MIB;
    let chunk = f64::from(spec.max_num_batched_tokens.max(2048));
    let prefill_graphs = if spec.model.mla.is_some() { 1536.0 } else { 8.0 * SGLANG_PREFILL_GRAPHS };
    let mut reserve = 512.0
        + 1.5 * chunk
        + 1024.0 * f64::from(spec.tp * spec.part.ranks * spec.part.stages) / 8.0
        + 2.0 * f64::from(spec.graphs.largest())
        + prefill_graphs;
    if spec.part.ranks > 1 {
        let graphs = f64::from(spec.graphs.largest());
        reserve += if graphs > 300.0 { 4.5 } else { 3.0 } * graphs * f64::from(spec.part.ranks);
    }
    if memory_mb > 60.0 * 1024.0 {
        reserve = reserve.max(10_240.0);
    }
    // Kept to three places.
    let thousandths = ((memory_mb - reserve) / memory_mb).max(0.0) * 1000.0 + 0.5;
    f64::from(thousandths as u32) / 1000.0
}

/// The device with the least memory on which it fits, graphs as they are; one with the same link where there is a choice.
fn larger_device(spec: &MemorySpec<'_>) -> Option<&'static Device> {
    let fits = |device: &&Device| MemoryBudget::fill(&MemorySpec { device, ..spec.clone() }).blocks > 0;
    let larger = |device: &&Device| device.memory_bytes > spec.device.memory_bytes && device.devices_per_node >= spec.tp;
    let other_link = |device: &Device| device.interconnect.name != spec.device.interconnect.name;
    let least = |a: &&Device, b: &&Device| a.memory_bytes.total_cmp(&b.memory_bytes).then(other_link(a).cmp(&other_link(b)));
    builtin().devices.iter().filter(larger).filter(fits).min_by(least)
}

/// The smallest change of each kind that leaves room for KV.
fn changes(spec: &MemorySpec<'_>) -> Vec<String> {
    let fits = |changed: &MemorySpec<'_>| MemoryBudget::fill(changed).blocks > 0;
    let mut changes = Vec::new();
    let wider = (spec.tp + 1..=spec.device.devices_per_node).filter(|tp| splits_evenly(spec.model, *tp));
    let node = spec.device.devices_per_node;
    let mut over_nodes = [2, 4].into_iter().filter(|nodes| node * nodes > spec.tp && splits_evenly(spec.model, node * nodes));
    if let Some(tp) = wider.into_iter().find(|tp| fits(&MemorySpec { tp: *tp, ..spec.clone() })) {
        changes.push(format!("tensor_parallel_size: {tp}"));
    } else if let Some(nodes) = over_nodes.find(|nodes| fits(&MemorySpec { tp: node * nodes, ..spec.clone() })) {
        changes.push(format!("tensor_parallel_size: {} on nodes: {nodes}", node * nodes));
    }
    let smaller = [Dtype::Fp8, Dtype::Int4].into_iter().filter(|dtype| dtype.weight_bytes() < spec.dtype.weight_bytes());
    if let Some(dtype) = smaller.into_iter().find(|dtype| fits(&MemorySpec { dtype: *dtype, ..spec.clone() })) {
        changes.push(format!("dtype: {}", dtype.name()));
    }
    let most = 0.97;
    if spec.utilization.is_some_and(|now| now < most) && fits(&MemorySpec { utilization: Some(most), ..spec.clone() }) {
        changes.push(format!("gpu_memory_utilization: {most}"));
    }
    let tokens = 512;
    if spec.max_num_batched_tokens > tokens && fits(&MemorySpec { max_num_batched_tokens: tokens, ..spec.clone() }) {
        changes.push(format!("max_num_batched_tokens: {tokens}"));
    }
    let halves = std::iter::successors(Some(spec.max_num_seqs / 2), |seqs| Some(seqs / 2)).take_while(|seqs| *seqs > 0);
    if let Some(seqs) = halves.into_iter().find(|seqs| fits(&MemorySpec { max_num_seqs: *seqs, ..spec.clone() })) {
        changes.push(format!("max_num_seqs: {seqs}"));
    }
    if let Some(device) = larger_device(spec).filter(|device| fits(&MemorySpec { device, ..spec.clone() })) {
        changes.push(format!("{} in place of {}", device.name, spec.device.name));
    }
    changes
}
