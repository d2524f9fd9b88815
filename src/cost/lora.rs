//! What LoRA adapters add to a step: for each product that they change, a kernel that multiplies every row by its adapter's A (hidden to
//! rank) and one that multiplies the result by its B (rank to hidden) and adds it to the output, for all adapters of the batch at once.
//!
//! Rows of an adapter are few and ranks are small, so these kernels are bound by memory or by their launch. Each takes a launch, and all
//! together the longer of the time to move their bytes and of the time to multiply, at shares of the peaks that are assumptions: those of
//! other small kernels. (Published: Punica and S-LoRA find such kernels bound by memory in decode.)

use super::model::{AdapterMix, CostModel, DecodeCost, Group, Prefill, StepCost};
use super::rates::US;
use crate::catalog::{Device, Model};
use crate::config::schema::LoraModule;

/// Share of the memory bandwidth, and launch, as of element-wise kernels (`calibrated`). Assumptions.
const MEMORY: f64 = 0.8;
const LAUNCH_US: f64 = 3.0;
/// Share of the 16-bit peak that the grouped products reach at most. An assumption.
const ARITHMETIC: f64 = 0.5;
/// Bytes of a weight or an activation, and of the values between A and B, which stay in 32 bit.
const SIXTEEN_BIT: f64 = 2.0;
const BETWEEN: f64 = 4.0;

/// Products of a model's layers that adapters change, on one of the GPUs that share each layer. Numbers are sums over the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoraLayers {
    /// Kernels of a step.
    pub kernels: u64,
    /// Numbers in A and B for each unit of rank.
    pub weights_per_rank: f64,
    /// The same of the whole adapter, as a file holds it.
    pub file_weights_per_rank: f64,
    /// Tensors of an adapter.
    pub tensors: u64,
    /// Values between A and B for each row and unit of rank.
    between: f64,
    /// Values read before A and read and written after B, for each row.
    row_values: f64,
}

/// A product with an adapter: its whole width in and out, those of one GPU, and how often a layer has it.
type Product = (LoraModule, f64, f64, f64, f64, f64);

impl LoraLayers {
    /// `kernels_per_product`: 2, or 3 where the values between are set to zero by a kernel of their own. Of a model with experts, attention's
    /// products only.
    pub fn new(model: &Model, tp: u32, modules: &[LoraModule], kernels_per_product: u64) -> LoraLayers {
        let hidden = f64::from(model.hidden_size);
        let share = f64::from(tp.max(1));
        let heads = f64::from(model.attention_heads);
        let wide = f64::from(model.intermediate_size);
        let dense = if model.moe.is_some() { 0.0 } else { 1.0 };
        // Split by columns: every GPU has all of A and its part of B. Split by rows: the other way round. What compresses is on every GPU.
        let columns = |module, inputs: f64, outputs: f64, times| (module, inputs, outputs, inputs, outputs / share, times);
        let rows = |module, inputs: f64, outputs: f64, times| (module, inputs, outputs, inputs / share, outputs, times);
        let whole = |module, inputs: f64, outputs: f64, times| (module, inputs, outputs, inputs, outputs, times);
        // Products with the same input are one group. Which of attention's a model has is in the last number.
        let (query, ordinary, compressed, latent) = match model.mla {
            None => (1.0, 1.0, 0.0, 0.0),
            Some(mla) if mla.q_lora_rank == 0 => (1.0, 0.0, 0.0, 1.0),
            Some(_) => (0.0, 0.0, 1.0, 1.0),
        };
        let head = f64::from(model.head_dim);
        let (query_head, value_head, q_rank, kv_rank, latent_kv, expanded) = model.mla.map_or((head, head, 0.0, 0.0, 0.0, 0.0), |mla| {
            let (nope, rope, value) = (f64::from(mla.qk_nope_head_dim), f64::from(mla.qk_rope_head_dim), f64::from(mla.v_head_dim));
            let kv_rank = f64::from(mla.kv_lora_rank);
            (nope + rope, value, f64::from(mla.q_lora_rank), kv_rank, kv_rank + rope, nope + value)
        });
        let kv = f64::from(model.kv_heads) * head;
        let kv_here = f64::from(model.kv_heads_per_rank(tp)) * head;
        let groups: [&[Product]; 6] = [
            &[
                columns(LoraModule::QProj, hidden, heads * query_head, query),
                (LoraModule::KProj, hidden, kv, hidden, kv_here, ordinary),
                (LoraModule::VProj, hidden, kv, hidden, kv_here, ordinary),
                whole(LoraModule::QAProj, hidden, q_rank, compressed),
                whole(LoraModule::KvAProjWithMqa, hidden, latent_kv, latent),
            ],
            &[columns(LoraModule::QBProj, q_rank, heads * query_head, compressed)],
            // Absorbed into queries and outputs in decode, where SGLang adds its part by as many products.
            &[columns(LoraModule::KvBProj, kv_rank, heads * expanded, latent)],
            &[rows(LoraModule::OProj, heads * value_head, hidden, 1.0)],
            &[columns(LoraModule::GateProj, hidden, wide, dense), columns(LoraModule::UpProj, hidden, wide, dense)],
            &[rows(LoraModule::DownProj, wide, hidden, dense)],
        ];
        let mut layers = LoraLayers::default();
        let count = f64::from(model.layers);
        for group in groups {
            let mut input: f64 = 0.0;
            for &(_, whole_in, whole_out, inputs, outputs, times) in group.iter().filter(|(module, ..)| modules.contains(module)) {
                layers.weights_per_rank += count * times * (inputs + outputs);
                layers.file_weights_per_rank += count * times * (whole_in + whole_out);
                layers.tensors += 2 * u64::from(model.layers) * u64::from(times > 0.0);
                layers.between += count * times;
                layers.row_values += count * times * 2.0 * outputs;
                input = input.max(times * inputs);
            }
            layers.row_values += count * input;
            layers.kernels += u64::from(model.layers) * kernels_per_product * u64::from(input > 0.0);
        }
        layers
    }

    /// Bytes of an adapter on one GPU.
    pub fn gpu_bytes(&self, rank: u32) -> f64 {
        SIXTEEN_BIT * self.weights_per_rank * f64::from(rank)
    }

    /// Bytes of an adapter's file.
    pub fn file_bytes(&self, rank: u32) -> f64 {
        SIXTEEN_BIT * self.file_weights_per_rank * f64::from(rank)
    }
}

/// Device times of adapters on one kind of GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraCost {
    pub layers: LoraLayers,
    pub bytes_per_s: f64,
    pub flops: f64,
    /// Launch of a kernel by the host, where no graph is replayed.
    pub per_launch_us: f64,
    /// Factor on device times.
    pub device_time: f64,
}

impl LoraCost {
    pub fn new(layers: LoraLayers, device: &Device, per_launch_us: f64, device_time: f64) -> LoraCost {
        LoraCost { layers, bytes_per_s: device.memory_bytes_per_s, flops: device.bf16_flops, per_launch_us, device_time }
    }

    /// Time of a step's kernels on the device, ps.
    pub fn device_ps(&self, mix: AdapterMix) -> u64 {
        if mix.rows == 0 {
            return 0;
        }
        let (rows, rank_rows, ranks) = (mix.rows as f64, mix.rank_rows as f64, mix.ranks as f64);
        let layers = &self.layers;
        let bytes = SIXTEEN_BIT * (layers.weights_per_rank * ranks + layers.row_values * rows) + 2.0 * BETWEEN * layers.between * rank_rows;
        let flops = 2.0 * layers.weights_per_rank * rank_rows;
        let work_us = (bytes / (MEMORY * self.bytes_per_s)).max(flops / (ARITHMETIC * self.flops)) * US;
        let us = (layers.kernels as f64 * LAUNCH_US + work_us) * self.device_time;
        (us * US + 0.5) as u64
    }
}

/// A cost model whose steps compute adapters as well.
pub struct WithAdapters {
    model: Box<dyn CostModel>,
    lora: LoraCost,
    mix: AdapterMix,
}

impl WithAdapters {
    pub fn new(model: Box<dyn CostModel>, lora: LoraCost) -> WithAdapters {
        WithAdapters { model, lora, mix: AdapterMix::default() }
    }

    fn add(&self, step: &mut StepCost) {
        let ps = self.lora.device_ps(self.mix);
        step.device_ps += ps;
        step.parts.gemm_ps += ps;
        if step.eager && ps > 0 {
            step.launch_ps += self.lora.layers.kernels * (self.lora.per_launch_us * US + 0.5) as u64;
        }
    }
}

impl CostModel for WithAdapters {
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost {
        let mut cost = self.model.decode(sequences, context);
        self.add(&mut cost.fixed);
        cost
    }

    fn of_group(&mut self, group: Group) {
        self.model.of_group(group);
    }

    fn of_adapters(&mut self, mix: AdapterMix) {
        self.mix = mix;
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        let mut cost = self.model.mixed(prefills, sequences, context);
        self.add(&mut cost);
        cost
    }
}
