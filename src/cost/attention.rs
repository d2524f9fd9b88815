//! Attention of decodes and of prompts, one layer at a time, on one GPU.
//!
//! Decode: `t = launch + per_octave * log2(1 + s/128) + KV/(memory * bandwidth) + 4 n h d/bandwidth + per_head n g`, with n sequences of
//! mean context s, h query and g KV heads a GPU. KV is always read from memory: between two uses of a layer's KV lie the weights of all
//! other layers, so nothing of it stays in the L2 cache. The logarithm is taken at the middle of a cell of the mean context, eighths
//! of an octave wide, which makes the time affine in the summed context inside a cell; it errs by at most per_octave/16 (0.1 us a layer).
//!
//! Prompt: pieces of C new tokens behind K old ones share a launch, `t = launch + ((F/compute + IO/memory)^3 + serial^3)^(1/3)`, F four
//! h d times the pairs of tokens that look at each other (own triangle and cached part, both at the same efficiency), IO the
//! bytes of queries, outputs and KV, and serial the time one row of tiles takes along the longest piece's keys.

use super::rates::US;
use crate::catalog::calibration::{DecodeAttentionConstants, MlaDecodeConstants, MlaPrefillConstants, PrefillAttentionConstants};
use crate::catalog::{Device, Dtype, Model};
use crate::math::{cbrt, exp2, log2, saturating_product, sqrt};

/// Instructions that unpack and scale a value of 4-bit KV, and the rate of vector units in relation to the bf16 peak. Assumptions.
const UNPACK: f64 = 1.5;
const VECTOR_RATE: f64 = 1.0 / 64.0;

/// Bytes that reading a value of KV is worth: those it takes, and for 4-bit formats the time to unpack it beside, as a 2-norm.
pub fn bytes_to_read(dtype: Dtype, bytes: f64, device: &Device) -> f64 {
    match dtype {
        Dtype::Nvfp4 => {
            let unpacking = UNPACK / (device.bf16_flops * VECTOR_RATE) * device.memory_bytes_per_s;
            sqrt(bytes * bytes + unpacking * unpacking)
        }
        _ => bytes,
    }
}

/// Decode attention of one layer, in the form both kinds of attention share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeLayer {
    pub launch_us: f64,
    pub per_octave_us: f64,
    pub per_sequence_us: f64,
    /// Time for each token of context, us.
    pub per_context_us: f64,
}

impl DecodeLayer {
    /// Grouped-query attention.
    pub fn grouped(model: &Model, tp: u32, device: &Device, kv_bytes: f64, c: &DecodeAttentionConstants) -> DecodeLayer {
        let bandwidth = device.memory_bytes_per_s;
        let heads = f64::from(model.attention_heads.div_ceil(tp));
        let values = model.kv_values_per_layer_per_rank(tp) as f64;
        DecodeLayer {
            launch_us: c.launch_us,
            per_octave_us: c.per_octave_us,
            per_sequence_us: 4.0 * heads * f64::from(model.head_dim) / bandwidth * US
                + c.per_head_ns * 1e-3 * f64::from(model.kv_heads_per_rank(tp)),
            per_context_us: values * kv_bytes / (bandwidth * c.memory.min(1.0)) * US,
        }
    }

    /// Latent attention: every head reads the same compressed KV; reading and computing overlap as a 2-norm.
    pub fn latent(model: &Model, tp: u32, device: &Device, kv_bytes: f64, c: &MlaDecodeConstants) -> DecodeLayer {
        let heads = f64::from(model.attention_heads.div_ceil(tp));
        let values = model.kv_values_per_layer() as f64;
        let rank = model.mla.map_or(0.0, |mla| f64::from(mla.kv_lora_rank));
        let read_us = values * kv_bytes / (device.memory_bytes_per_s * c.memory.min(1.0)) * US;
        let compute_us = 2.0 * heads * (values + rank) / (device.bf16_flops * c.compute.min(1.0)) * US;
        DecodeLayer {
            launch_us: c.launch_us,
            per_octave_us: c.per_octave_us,
            per_sequence_us: c.per_sequence_ns * 1e-3,
            per_context_us: sqrt(read_us * read_us + compute_us * compute_us),
        }
    }
}

/// A range of mean contexts in which decode attention is affine in the summed context.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    /// The mean context is below this, tokens.
    below: u64,
    /// Time of all layers that depends on neither the batch nor the context, us.
    fixed_us: f64,
    /// Time of all layers for each sequence, us.
    per_sequence_us: f64,
    /// Time of all layers for each token of context, ps.
    context_ps: u64,
}

/// Decode attention of all layers, by the mean context.
#[derive(Clone, Debug)]
pub struct DecodeAttention {
    cells: Vec<Cell>,
    /// The cell that was asked for last: the next one asked for is near.
    latest: usize,
}

/// What a decode batch costs in one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeAttentionCost {
    pub fixed_ps: u64,
    pub context_ps: u64,
    /// Sum of contexts at which the cell ends.
    pub valid_below_context: u64,
}

/// Last grid line, tokens of mean context: longer than any model's context.
const LONGEST: u64 = 1 << 27;

impl DecodeAttention {
    /// `factor` multiplies all times.
    pub fn new(model: &Model, layer: DecodeLayer, factor: f64) -> DecodeAttention {
        let window = model.sliding_window.map_or(u64::MAX, |window| u64::from(window.tokens));
        let windowed = model.sliding_window.map_or(0, |window| window.layers);
        let (full, windowed) = (f64::from(model.attention_layers() - windowed), f64::from(windowed));
        // Lines at 128 (2^(i/8) - 1), rounded to whole tokens, and one where windows fill.
        let mut lines: Vec<u64> =
            (1..).map(|i| (128.0 * (exp2(f64::from(i) / 8.0) - 1.0) + 0.5) as u64).take_while(|line| *line < LONGEST).collect();
        if window < LONGEST {
            lines.push(window);
        }
        lines.push(u64::MAX);
        lines.sort_unstable();
        lines.dedup();
        let octaves = |context: f64| log2(1.0 + context / 128.0);
        let mut from = 0_u64;
        let cells = lines
            .into_iter()
            .map(|below| {
                let middle = (octaves(from as f64) + octaves(below.min(2 * LONGEST) as f64)) / 2.0;
                let filled = from >= window;
                let (windowed_octaves, windowed_context, sloped) =
                    if filled { (octaves(window as f64).min(middle), window as f64, full) } else { (middle, 0.0, full + windowed) };
                let layer_us = |octaves: f64| layer.launch_us + layer.per_octave_us * octaves;
                from = below;
                Cell {
                    below,
                    fixed_us: factor * (full * layer_us(middle) + windowed * layer_us(windowed_octaves)),
                    per_sequence_us: factor
                        * ((full + windowed) * layer.per_sequence_us + windowed * windowed_context * layer.per_context_us),
                    context_ps: (factor * sloped * layer.per_context_us * US + 0.5) as u64,
                }
            })
            .collect();
        DecodeAttention { cells, latest: 0 }
    }

    /// Cost of `sequences` (at least 1) decodes with `context` tokens in all.
    pub fn cost(&mut self, sequences: u32, context: u64) -> DecodeAttentionCost {
        let sequences = sequences.max(1);
        let mean = context / u64::from(sequences);
        let starts_by = |index: usize| index == 0 || self.cells[index - 1].below <= mean;
        if !(starts_by(self.latest) && mean < self.cells[self.latest].below) {
            self.latest = self.cells.partition_point(|cell| cell.below <= mean).min(self.cells.len() - 1);
        }
        let cell = &self.cells[self.latest];
        DecodeAttentionCost {
            fixed_ps: ((cell.fixed_us + f64::from(sequences) * cell.per_sequence_us) * US + 0.5) as u64,
            context_ps: cell.context_ps,
            valid_below_context: saturating_product(cell.below, u64::from(sequences)),
        }
    }
}

/// Prompt attention of one layer with or without a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillAttention {
    launch_us: f64,
    /// Time for each pair of tokens, us.
    pair_us: f64,
    /// Length at which half of the rate is reached.
    half_length: f64,
    /// Time for each new token, us: its query, output and KV.
    new_token_us: f64,
    /// Time for each old token whose KV is read, us.
    old_token_us: f64,
    serial_us: f64,
    full_layers: f64,
    windowed_layers: f64,
    window: f64,
}

/// Pieces of one step, added up.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    us: f64,
    longest: f64,
}

impl PrefillAttention {
    /// Grouped-query attention.
    pub fn grouped(model: &Model, tp: u32, device: &Device, kv_bytes: f64, c: &PrefillAttentionConstants) -> PrefillAttention {
        let bandwidth = device.memory_bytes_per_s * c.memory.min(1.0);
        let heads = f64::from(model.attention_heads.div_ceil(tp));
        let head_dim = f64::from(model.head_dim);
        let kv_values = model.kv_values_per_layer_per_rank(tp) as f64;
        let base = PrefillAttention {
            launch_us: c.launch_us,
            pair_us: 4.0 * heads * head_dim / (device.bf16_flops * c.compute.min(1.0)) * US,
            half_length: c.half_length,
            new_token_us: (4.0 * heads * head_dim + 2.0 * kv_values) / bandwidth * US,
            old_token_us: kv_values * kv_bytes / bandwidth * US,
            serial_us: c.serial_ns_per_token * 1e-3,
            full_layers: 0.0,
            windowed_layers: 0.0,
            window: 0.0,
        };
        base.with_layers(model)
    }

    /// Latent attention with keys and values expanded: a pair costs 2 (d_qk + d_v) h operations. Expanding the cached part
    /// again for each chunk is left out.
    pub fn latent(model: &Model, tp: u32, device: &Device, kv_bytes: f64, c: &MlaPrefillConstants) -> PrefillAttention {
        let bandwidth = device.memory_bytes_per_s * c.memory.min(1.0);
        let heads = f64::from(model.attention_heads.div_ceil(tp));
        let widths = model.mla.map_or(0.0, |mla| f64::from(mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim));
        let base = PrefillAttention {
            launch_us: c.launch_us,
            pair_us: 2.0 * heads * widths / (device.bf16_flops * c.compute.min(1.0)) * US,
            half_length: 0.0,
            new_token_us: 4.0 * heads * widths / bandwidth * US,
            old_token_us: model.kv_values_per_layer() as f64 * kv_bytes / bandwidth * US,
            serial_us: 0.0,
            full_layers: 0.0,
            windowed_layers: 0.0,
            window: 0.0,
        };
        base.with_layers(model)
    }

    fn with_layers(mut self, model: &Model) -> PrefillAttention {
        let windowed = model.sliding_window.map_or(0, |window| window.layers);
        self.full_layers = f64::from(model.attention_layers() - windowed);
        self.windowed_layers = f64::from(windowed);
        self.window = model.sliding_window.map_or(f64::INFINITY, |window| f64::from(window.tokens));
        self
    }

    /// Time of all layers for pieces of (new, past) tokens, us; 0 without pieces.
    pub fn us(&self, pieces: impl Iterator<Item = (f64, f64)>) -> f64 {
        let (mut full, mut windowed, mut any) = (Work::default(), Work::default(), false);
        for (new, past) in pieces {
            any = true;
            self.add(&mut full, new, past, new * past + new * new / 2.0, new + past);
            if self.windowed_layers > 0.0 {
                let seen = past.min(self.window);
                // Queries that do not yet fill the window see a growing part of it, the others all of it.
                let growing = (self.window - seen).min(new);
                let pairs = growing * seen + growing * growing / 2.0 + (new - growing) * self.window;
                self.add(&mut windowed, new, seen, pairs, (new + seen).min(self.window));
            }
        }
        if !any {
            return 0.0;
        }
        let full_us = self.full_layers * self.layer_us(full);
        if self.windowed_layers > 0.0 { full_us + self.windowed_layers * self.layer_us(windowed) } else { full_us }
    }

    fn add(&self, work: &mut Work, new: f64, past: f64, pairs: f64, longest: f64) {
        work.us +=
            pairs * self.pair_us * (1.0 + self.half_length / (new + past).max(1.0)) + new * self.new_token_us + past * self.old_token_us;
        work.longest = work.longest.max(longest);
    }

    fn layer_us(&self, work: Work) -> f64 {
        let serial = self.serial_us * work.longest;
        self.launch_us + cbrt(work.us * work.us * work.us + serial * serial * serial)
    }
}
