//! The cost model fitted to measured kernels: every operation of a step with its shape on one GPU of the tensor-parallel group.
//!
//! A layer is: add + norm, QKV product, rotary embedding with the KV write, attention, output product, all-reduce, add + norm, gate and
//! up product, activation, down product, all-reduce (experts in place of the last three products in a mixture). Around the
//! layers: embedding, and LM head, all-gather and sampling for the rows that are sampled. A mixed step runs one product over
//! the tokens of prompts and decodes together; attention runs once for the prompts and once for the decodes. On request it is charged as
//! two passes, as simulators do that know no fused step.

use super::attention::{DecodeAttention, DecodeLayer, PrefillAttention, bytes_to_read};
use super::collective::Collective;
use super::error::CannotModel;
use super::exchange::Exchange;
use super::footprint::Footprint;
use super::gemm::Gemm;
use super::graphs::Graphs;
use super::linear::LinearScan;
use super::model::{CostModel, DecodeCost, Group, Prefill, StepCost, StepParts};
use super::moe::{Experts, Uneven};
use super::part::Part;
use super::rates::{Arithmetic, Lookup, US};
use super::shapes::{Product, check_split, products, quantises_experts_only};
use crate::catalog::calibration::{LaunchMode, MoeConstants, PrefillAttentionConstants};
use crate::catalog::{Catalog, Confidence, Device, Dtype, Engine, HostTime, Model};

/// Share of the memory bandwidth that element-wise kernels reach, and their launch: AIConfigurator's formula, not a measurement.
const ELEMENTWISE_MEMORY: f64 = 0.8;
const ELEMENTWISE_LAUNCH_US: f64 = 3.0;
/// Kernels of a layer's routed experts when each is launched by the host: choice of experts, two of sorting, two products, activation, sum.
const EXPERT_KERNELS: u64 = 7;
/// Kernels around the layers: embedding, LM head, last norm.
const OUTER_KERNELS: u64 = 3;
/// Kernels of sampling (temperature, softmax, sort or top-k, draw) and passes over the fp32 logits. An assumption.
const SAMPLING_KERNELS: u64 = 4;
const SAMPLING_PASSES: f64 = 3.0;
/// The same when logits are sorted for top-p or top-k: 36 us a row of 128,256 on an H100, by the inter-token times of published set 11
/// (Llama 8B and 70B, batches of 64 to 512), whose models sample with their own top-p.
const SORTING_PASSES: f64 = 190.0;
/// Steps with more rows than this are computed anew each time; all others are remembered.
const REMEMBERED_ROWS: usize = 1 << 17;

/// What is to be modelled.
#[derive(Clone, Debug)]
pub struct CalibratedSpec {
    pub device: Device,
    pub model: Model,
    pub engine: Engine,
    /// The model is a stage of a pipeline, with these ends of it.
    pub part: Part,
    /// GPUs that share each layer.
    pub tp: u32,
    /// Format of the layers' weights. Embeddings and LM head stay in 16 bit, as engines leave them.
    pub dtype: Dtype,
    pub kv_dtype: Dtype,
    /// Captured sizes; [`Graphs::none`] launches every kernel from the host.
    pub graphs: Graphs,
    pub host: HostTime,
    /// Sampling cuts the distribution (top-p, top-k), which sorts the logits; else it takes the greatest.
    pub sorts_logits: bool,
    /// A mixed step takes the time of a step with its prompts and one with its decodes, not that of one pass over both.
    pub mixed_steps_add: bool,
    /// Factor on every device time, from a measurement of one's own; 1 without one.
    pub device_time: f64,
    /// Exponent of the experts' popularity; `EXPERT_SKEW` unless a document has another one.
    pub expert_skew: f64,
}

/// Cost that depends only on the number of rows: everything in the layers but attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowsCost {
    gemm_ps: u64,
    communication_ps: u64,
    other_ps: u64,
}

impl RowsCost {
    fn and(self, other: RowsCost) -> RowsCost {
        RowsCost {
            gemm_ps: self.gemm_ps + other.gemm_ps,
            communication_ps: self.communication_ps + other.communication_ps,
            other_ps: self.other_ps + other.other_ps,
        }
    }
}

/// Not computed yet.
const UNKNOWN: RowsCost = RowsCost { gemm_ps: u64::MAX, communication_ps: 0, other_ps: 0 };

/// The calibrated cost model.
#[derive(Clone, Debug)]
pub struct Calibrated {
    model: Model,
    part: Part,
    engine: Engine,
    tp: u32,
    bandwidth: f64,
    graphs: Graphs,
    host: HostTime,
    device_time: f64,
    sorts_logits: bool,
    mixed_steps_add: bool,
    products: Vec<Product>,
    gemm: Gemm,
    gemm_16bit: Gemm,
    experts: Option<Experts>,
    /// Of attention ranks that share experts: the way there and back, their rows in the step, and what both cost by rows.
    exchange: Option<Exchange>,
    group_rows: u64,
    shared: Vec<RowsCost>,
    /// Only the experts are quantised.
    experts_only: bool,
    decode_attention: DecodeAttention,
    prefill_attention: PrefillAttention,
    /// Layers with a state in place of KV.
    linear: Option<LinearScan>,
    /// Captured, eager.
    all_reduce: [Option<Collective>; 2],
    /// Kernels of all layers but those of attention, and of everything around the layers.
    kernels: u64,
    all_gather: Option<Collective>,
    confidence: Confidence,
    calibration_source: String,
    footprint: Footprint,
    /// By rows, captured and eager.
    rows: [Vec<RowsCost>; 2],
    /// By sampled rows.
    sampled: Vec<RowsCost>,
    /// By sequences that decode: the step without attention to contexts.
    decodes: Vec<Option<StepCost>>,
}

impl Calibrated {
    /// # Errors
    /// A combination that no engine runs or that has no constants.
    pub fn new(catalog: &Catalog, spec: &CalibratedSpec) -> Result<Calibrated, CannotModel> {
        let CalibratedSpec { device, model, engine, tp, dtype, kv_dtype, .. } = spec;
        let (engine, tp, dtype, kv_dtype) = (*engine, (*tp).max(1), *dtype, *kv_dtype);
        check_split(model, device, tp, &spec.part.network)?;
        let kv_bytes = kv_dtype.kv_bytes().ok_or(CannotModel::KvDtype { dtype: kv_dtype.name() })?;
        let mut lookup = Lookup::new(catalog, device, engine)?;
        let bandwidth = device.memory_bytes_per_s;
        let sheet = device;
        let device = &lookup.sustained(device);

        let sixteen = Arithmetic::of(device, Dtype::Bf16);
        let mut constants = lookup.gemm(&sixteen)?.clone();
        constants.compute = lookup.eased(constants.compute);
        let gemm_16bit = Gemm { arithmetic: sixteen, bandwidth, constants };
        let arithmetic = Arithmetic::of(device, dtype);
        let mut constants = lookup.gemm(&arithmetic)?.clone();
        constants.compute = lookup.eased(constants.compute);
        let gemm = Gemm { arithmetic, bandwidth, constants };

        let ep = spec.part.ep.max(1);
        let experts = match model.moe {
            None => None,
            Some(moe) => Some(Experts {
                arithmetic: arithmetic.with_unit_of(device, lookup.moe(dtype)?.activations),
                bandwidth,
                constants: {
                    let own = lookup.moe(dtype)?.clone();
                    MoeConstants { compute: lookup.eased(own.compute), ..own }
                },
                experts: f64::from(moe.experts + spec.part.redundant_experts.unwrap_or(0)) / f64::from(ep),
                experts_per_token: f64::from(moe.experts_per_token) / f64::from(ep),
                hidden: f64::from(model.hidden_size),
                width: f64::from(moe.expert_intermediate_size.div_ceil((tp * spec.part.ranks).div_ceil(ep))),
                skew: spec.expert_skew,
                matrices: model.feed_forward_matrices() as f64,
                uneven: match spec.part.redundant_experts {
                    None => Uneven::new(moe.experts, ep, spec.expert_skew),
                    Some(copies) => Uneven::laid_out(moe.experts, copies, ep, spec.expert_skew),
                },
            }),
        };
        let read = bytes_to_read(kv_dtype, kv_bytes, device);
        let (layer, prefill_attention) = match model.mla {
            None => (DecodeLayer::grouped(model, tp, device, read, lookup.decode_attention(kv_dtype)?), {
                let own = lookup.prefill_attention(kv_dtype)?.clone();
                let constants = PrefillAttentionConstants { compute: lookup.eased(own.compute), ..own };
                PrefillAttention::grouped(model, tp, device, read, &constants)
            }),
            Some(_) => (
                DecodeLayer::latent(model, tp, device, kv_bytes, lookup.mla_decode(kv_dtype)?),
                PrefillAttention::latent(model, tp, device, kv_bytes, lookup.mla_prefill(kv_dtype)?),
            ),
        };
        let decode_attention = DecodeAttention::new(model, layer, spec.device_time);
        let linear = match &model.linear {
            None => None,
            Some(layers) => Some(LinearScan::new(layers, tp, device, engine, lookup.linear(layers.kind)?)),
        };

        let network = &spec.part.network;
        let mut collective = |mode| -> Result<Option<Collective>, CannotModel> {
            if tp == 1 {
                return Ok(None);
            }
            let found = Collective::all_reduce(lookup.calibration(), engine, mode, tp, device, network);
            let missing = || CannotModel::NoConstants { device: device.name.clone(), what: "all-reduce".to_owned() };
            let (collective, confidence) = found.ok_or_else(missing)?;
            lookup.confidence = lookup.confidence.max(confidence);
            Ok(Some(collective))
        };
        let all_reduce = [collective(LaunchMode::Graph)?, collective(LaunchMode::Eager)?];
        let all_gather =
            if tp == 1 { None } else { Collective::all_gather(lookup.calibration(), tp, device, network).map(|(found, _)| found) };

        let exchange = match spec.part.ranks {
            0 | 1 => None,
            _ => {
                let missing = || CannotModel::NoConstants { device: device.name.clone(), what: "collectives of experts".to_owned() };
                Some(Exchange::new(lookup.calibration(), device, model, &spec.part, tp).ok_or_else(missing)?)
            }
        };
        let products = products(model, tp);
        let experts_only = quantises_experts_only(model, dtype);
        let kernels = kernels(model, tp, &products, &arithmetic, experts_only, experts.as_ref());
        Ok(Calibrated {
            model: model.clone(),
            part: spec.part,
            engine,
            tp,
            bandwidth,
            graphs: spec.graphs.clone(),
            host: spec.host,
            device_time: spec.device_time,
            sorts_logits: spec.sorts_logits,
            mixed_steps_add: spec.mixed_steps_add,
            products,
            kernels,
            footprint: Footprint::new(model, sheet, engine, tp, &Arithmetic::of(sheet, dtype), kv_bytes),
            gemm,
            gemm_16bit,
            experts,
            exchange,
            group_rows: 0,
            shared: Vec::new(),
            experts_only,
            decode_attention,
            prefill_attention,
            linear,
            all_reduce,
            all_gather,
            confidence: lookup.confidence,
            calibration_source: lookup.calibration().source.clone(),
            rows: [Vec::new(), Vec::new()],
            sampled: Vec::new(),
            decodes: Vec::new(),
        })
    }

    /// How well founded the times are: the weakest constant decides. Host time is an assumption in every case.
    pub fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// Where the constants are from.
    pub fn source(&self) -> &str {
        &self.calibration_source
    }

    /// Counts for utilisation.
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    fn elementwise_us(&self, bytes: f64) -> f64 {
        bytes / (ELEMENTWISE_MEMORY * self.bandwidth) * US + ELEMENTWISE_LAUNCH_US
    }

    /// Time to launch every kernel of a step from the host, with so many launches of attention a layer; 0 when a graph is replayed.
    fn launch_ps(&self, captured: bool, attentions: u64) -> u64 {
        let kernels = self.kernels + attentions * u64::from(self.model.attention_layers());
        if captured { 0 } else { kernels * ps(self.host.per_launch_us) }
    }

    /// Everything in the layers but attention, for so many rows.
    fn rows_cost(&mut self, rows: u32, captured: bool) -> RowsCost {
        let table = usize::from(!captured);
        let index = rows as usize;
        if index >= REMEMBERED_ROWS {
            return self.compute_rows(rows, captured);
        }
        if index >= self.rows[table].len() {
            self.rows[table].resize((index + 1).next_power_of_two(), UNKNOWN);
        }
        if self.rows[table][index] == UNKNOWN {
            self.rows[table][index] = self.compute_rows(rows, captured);
        }
        self.rows[table][index]
    }

    fn compute_rows(&self, rows: u32, captured: bool) -> RowsCost {
        let tokens = f64::from(rows);
        let layers = f64::from(self.model.attention_layers());
        let hidden = f64::from(self.model.hidden_size);

        let mut gemm_us = 0.0;
        for product in &self.products {
            let gemm = if product.sixteen_bit || self.experts_only { &self.gemm_16bit } else { &self.gemm };
            gemm_us += product.layers * gemm.us(tokens, product.outputs, product.inputs);
        }
        if let (Some(experts), None) = (&self.experts, &self.exchange) {
            gemm_us += f64::from(self.model.expert_layers()) * experts.us(tokens);
        }

        // Each add + norm reads two and writes two rows; the activation reads gate and up and writes their product.
        let norm_us = self.elementwise_us(8.0 * hidden * tokens);
        let width = f64::from(self.model.intermediate_size.div_ceil(self.tp));
        let activation_us = self.elementwise_us(2.0 * self.model.feed_forward_matrices() as f64 * width * tokens);
        let heads = f64::from(self.model.attention_heads.div_ceil(self.tp)) * f64::from(self.model.head_dim);
        let kv = self.model.kv_values_per_layer_per_rank(self.tp) as f64;
        let rotary_us = self.elementwise_us(2.0 * (2.0 * heads + 2.0 * kv) * tokens);
        let embedding_us = if self.part.embedding { self.elementwise_us(4.0 * hidden * tokens) } else { 0.0 };
        let other_us = layers * (2.0 * norm_us + rotary_us + self.latent_us(tokens))
            + f64::from(self.model.dense_layers()) * activation_us
            + f64::from(self.model.expert_layers()) * self.routing_us(tokens)
            + embedding_us
            + self.linear.map_or(0.0, |linear| self.linear_us(&linear, norm_us, tokens));

        // After attention and after the feed-forward, but for experts that ranks share.
        let reductions = self.model.reductions() - if self.exchange.is_some() { self.model.expert_layers() } else { 0 };
        let reduced = f64::from(reductions);
        let communication_us =
            self.all_reduce[usize::from(!captured)].map_or(0.0, |collective| reduced * collective.us(2.0 * hidden * tokens));
        let ps = |us: f64| ps(us * self.device_time);
        RowsCost { gemm_ps: ps(gemm_us), communication_ps: ps(communication_us), other_ps: ps(other_us) }
    }

    /// The experts that ranks share, for the rows of all of them, and the way there and back.
    fn shared_cost(&mut self) -> RowsCost {
        let nothing = RowsCost { gemm_ps: 0, communication_ps: 0, other_ps: 0 };
        let rows = self.group_rows.max(1);
        let index = usize::try_from(rows).unwrap_or(usize::MAX);
        if let Some(found) = self.shared.get(index).filter(|found| **found != UNKNOWN) {
            return *found;
        }
        let (Some(experts), Some(exchange)) = (&self.experts, &self.exchange) else { return nothing };
        let layers = f64::from(self.model.expert_layers());
        let time = |us: f64| ps(layers * us * self.device_time);
        let cost = RowsCost { gemm_ps: time(experts.us(rows as f64)), communication_ps: time(exchange.us(rows as f64)), other_ps: 0 };
        if index < REMEMBERED_ROWS {
            if index >= self.shared.len() {
                self.shared.resize((index + 1).next_power_of_two(), UNKNOWN);
            }
            self.shared[index] = cost;
        }
        cost
    }

    /// Norms of the compressed query and KV of latent attention.
    fn latent_us(&self, tokens: f64) -> f64 {
        self.model.mla.map_or(0.0, |mla| self.elementwise_us(4.0 * f64::from(mla.q_lora_rank + mla.kv_lora_rank) * tokens))
    }

    /// Norms that layers with a state add, and the gated norm of their output.
    fn linear_us(&self, linear: &LinearScan, norm_us: f64, tokens: f64) -> f64 {
        let norms = f64::from(self.model.sublayers()) - 2.0 * f64::from(self.model.attention_layers());
        let layers = self.model.linear.map_or(0.0, |layers| f64::from(layers.layers));
        norms * norm_us + layers * self.elementwise_us(6.0 * linear.width * tokens)
    }

    /// Choice of the experts from the router's outputs, where the measured kernels do not hold it; activation and sum of the shared experts.
    fn routing_us(&self, tokens: f64) -> f64 {
        let Some(moe) = self.model.moe else { return 0.0 };
        let choice_us = if self.engine == Engine::Sglang { self.elementwise_us(2.0 * f64::from(moe.experts) * tokens) } else { 0.0 };
        if moe.shared_intermediate_size == 0 {
            return choice_us;
        }
        let width = f64::from(moe.shared_intermediate_size.div_ceil(self.tp));
        let activation_us = self.elementwise_us(2.0 * self.model.feed_forward_matrices() as f64 * width * tokens);
        choice_us + activation_us + self.elementwise_us(6.0 * f64::from(self.model.hidden_size) * tokens)
    }

    /// LM head, all-gather of the logits and sampling, for so many sampled rows.
    fn sampled_cost(&mut self, rows: u32) -> RowsCost {
        let index = rows as usize;
        if index >= REMEMBERED_ROWS {
            return self.compute_sampled(rows);
        }
        if index >= self.sampled.len() {
            self.sampled.resize((index + 1).next_power_of_two(), UNKNOWN);
        }
        if self.sampled[index] == UNKNOWN {
            self.sampled[index] = self.compute_sampled(rows);
        }
        self.sampled[index]
    }

    fn compute_sampled(&self, rows: u32) -> RowsCost {
        if rows == 0 || !self.part.head {
            return RowsCost { gemm_ps: 0, communication_ps: 0, other_ps: 0 };
        }
        let rows = f64::from(rows);
        let vocab = f64::from(self.model.vocab_size);
        let gemm_us = self.gemm_16bit.us(rows, f64::from(self.model.vocab_size.div_ceil(self.tp)), f64::from(self.model.hidden_size));
        let communication_us = self.all_gather.map_or(0.0, |collective| collective.us(2.0 * rows * vocab));
        let ps = |us: f64| ps(us * self.device_time);
        let passes = if self.sorts_logits { SORTING_PASSES } else { SAMPLING_PASSES };
        let passes_us = self.elementwise_us(passes * 4.0 * rows * vocab);
        RowsCost {
            gemm_ps: ps(gemm_us),
            communication_ps: ps(communication_us),
            other_ps: ps(passes_us + (SAMPLING_KERNELS - 1) as f64 * ELEMENTWISE_LAUNCH_US),
        }
    }

    /// A step in which so many sequences decode, without attention to contexts.
    fn decode_but_attention(&mut self, sequences: u32) -> StepCost {
        let index = sequences as usize;
        if let Some(Some(known)) = self.decodes.get(index) {
            return *known;
        }
        let launch = self.graphs.launch(sequences, true);
        let rows = self.rows_cost(launch.rows, launch.captured).and(self.shared_cost());
        let sampled = self.sampled_cost(sequences);
        let states_ps = self.linear.map_or(0, |linear| ps(linear.decode_us(f64::from(sequences)) * self.device_time));
        let step = Calibrated::step(rows, sampled, states_ps, self.host_ps(sequences, 0), launch.rows - sequences);
        let step = StepCost { eager: !launch.captured, launch_ps: self.launch_ps(launch.captured, 1), ..step };
        // Where ranks share experts, the rows of the others count too.
        if self.exchange.is_none() && index < REMEMBERED_ROWS {
            if index >= self.decodes.len() {
                self.decodes.resize((index + 1).next_power_of_two(), None);
            }
            self.decodes[index] = Some(step);
        }
        step
    }

    fn host_ps(&self, sequences: u32, new_requests: u32) -> u64 {
        let host = &self.host;
        ps(host.per_step_us + host.per_sequence_us * f64::from(sequences) + host.per_new_request_us * f64::from(new_requests))
    }

    /// The prompts' pass and then the decodes', put together by the host as one step.
    fn sum_of_passes(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        let decode = self.decode(sequences, context).at(context);
        let mut step = self.mixed(prefills, 0, 0);
        step.add_device(&decode, 1);
        step.padded_tokens += decode.padded_tokens;
        step.eager |= decode.eager;
        step.host_ps = self.host_ps(sequences + prefills.len() as u32, prefills.len() as u32);
        step
    }

    fn step(rows: RowsCost, sampled: RowsCost, attention_ps: u64, host_ps: u64, padded_tokens: u32) -> StepCost {
        let parts = StepParts {
            gemm_ps: rows.gemm_ps + sampled.gemm_ps,
            attention_ps,
            communication_ps: rows.communication_ps + sampled.communication_ps,
            other_ps: rows.other_ps + sampled.other_ps,
            host_ps: 0,
        };
        StepCost {
            device_ps: parts.gemm_ps + parts.attention_ps + parts.communication_ps + parts.other_ps,
            host_ps,
            launch_ps: 0,
            parts,
            padded_tokens,
            eager: false,
        }
    }
}

impl CostModel for Calibrated {
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost {
        let sequences = sequences.max(1);
        let mut fixed = self.decode_but_attention(sequences);
        let attention = self.decode_attention.cost(sequences, context);
        fixed.device_ps += attention.fixed_ps;
        fixed.parts.attention_ps += attention.fixed_ps;
        DecodeCost { fixed, context_ps: attention.context_ps, valid_below_context: attention.valid_below_context }
    }

    fn of_group(&mut self, group: Group) {
        self.group_rows = group.rows(1);
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        if self.mixed_steps_add && sequences > 0 {
            return self.sum_of_passes(prefills, sequences, context);
        }
        let new: u64 = prefills.iter().map(|piece| u64::from(piece.new_tokens)).sum();
        let completed = prefills.iter().filter(|piece| piece.completes).count() as u32;
        let tokens = u32::try_from(new + u64::from(sequences)).unwrap_or(u32::MAX);
        let launch = self.graphs.launch(tokens, false);
        let rows = self.rows_cost(launch.rows, launch.captured).and(self.shared_cost());
        let sampled = self.sampled_cost(sequences + completed);
        let pieces =
            prefills.iter().filter(|piece| piece.new_tokens > 0).map(|piece| (f64::from(piece.new_tokens), f64::from(piece.past_tokens)));
        // Attention stays outside the graphs of mixed batches, but its kernels are queued ahead while long products run.
        let mut attention_ps = ps(self.prefill_attention.us(pieces) * self.device_time);
        if let Some(linear) = &self.linear {
            let pieces = prefills.iter().map(|piece| f64::from(piece.new_tokens)).filter(|new| *new > 0.0);
            attention_ps += ps(linear.prefill_us(pieces) * self.device_time);
            attention_ps += if sequences > 0 { ps(linear.decode_us(f64::from(sequences)) * self.device_time) } else { 0 };
        }
        if sequences > 0 {
            let decode = self.decode_attention.cost(sequences, context);
            attention_ps += decode.fixed_ps + decode.context_ps * context;
        }
        let host_ps = self.host_ps(sequences + prefills.len() as u32, prefills.len() as u32);
        let step = Calibrated::step(rows, sampled, attention_ps, host_ps, launch.rows - tokens);
        let launch_ps = self.launch_ps(launch.captured, 1 + u64::from(sequences > 0));
        StepCost { eager: !launch.captured, launch_ps, ..step }
    }
}

/// Kernels of a step that the host launches without a graph, attention left out: two norms, rotary embedding and KV write, the products
/// with the quantisation of their inputs, activation, collectives; norms and a copy more with latent attention; the experts'.
fn kernels(model: &Model, tp: u32, products: &[Product], arithmetic: &Arithmetic, experts_only: bool, experts: Option<&Experts>) -> u64 {
    let layers = u64::from(model.attention_layers());
    let quantises = arithmetic.input_copy_bytes > 0.0;
    let product = |product: &Product| product.layers as u64 * (1 + u64::from(quantises && !experts_only && !product.sixteen_bit));
    let collectives = if tp > 1 { 2 } else { 0 };
    let latent = if model.mla.is_some() { 3 } else { 0 };
    let of_experts = experts.map_or(0, |experts| EXPERT_KERNELS + if experts.arithmetic.input_copy_bytes > 0.0 { 2 } else { 0 });
    let of_shared = if model.moe.is_some_and(|moe| moe.shared_intermediate_size > 0) { 2 } else { 0 };
    // Norm, convolution, recurrence and gated norm of a layer with a state, and the norm and all-reduce of feed-forwards elsewhere.
    let linear = model.linear.map_or(0, |linear| {
        let other = u64::from(model.sublayers()).saturating_sub(2 * layers + u64::from(linear.layers));
        u64::from(linear.layers) * (4 + u64::from(tp > 1)) + other * (1 + u64::from(tp > 1))
    });
    layers * (4 + collectives + latent)
        + products.iter().map(product).sum::<u64>()
        + linear
        + u64::from(model.dense_layers())
        + u64::from(model.expert_layers()) * (of_experts + of_shared)
        + OUTER_KERNELS
        + SAMPLING_KERNELS
}

/// Microseconds to whole picoseconds.
fn ps(us: f64) -> u64 {
    (us * US + 0.5) as u64
}
