//! Constants fitted to measured kernels, one file a GPU in configs/calibration. What the constants mean is told in src/cost.

use serde::{Deserialize, Serialize};

use super::dtype::Dtype;
use super::linear::LinearKind;

/// A serving engine whose kernels were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Vllm,
    Sglang,
    Trtllm,
}

impl Engine {
    pub const ALL: [Engine; 3] = [Engine::Vllm, Engine::Sglang, Engine::Trtllm];

    /// As its makers write it.
    pub fn label(self) -> &'static str {
        match self {
            Engine::Vllm => "vLLM",
            Engine::Sglang => "SGLang",
            Engine::Trtllm => "TensorRT-LLM",
        }
    }
}

/// How a number was come by. The weakest input of a result decides; a later variant is weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Kernels of this device, engine and format were measured.
    Measured,
    /// Those of another engine, format or device of the same architecture were.
    Borrowed,
    /// Data sheet and typical efficiencies.
    Datasheet,
}

/// Median and 95th percentile of the fit's absolute error, percent; absent for constants that were not fitted directly.
pub type FitError = Option<[f64; 2]>;

/// One GPU's constants.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Key of the file.
    pub system: String,
    /// Catalog name of the device that was measured; absent: typical of many.
    pub device: Option<String>,
    pub source: String,
    /// The peaks that the efficiencies are relative to.
    pub reference: Reference,
    /// What is left of the compute rates when a GPU works for seconds instead of a benchmark's milliseconds; absent: all.
    #[serde(default)]
    pub sustained: Option<Sustained>,
    pub gemm: Vec<GemmConstants>,
    pub decode_attention: Vec<DecodeAttentionConstants>,
    pub prefill_attention: Vec<PrefillAttentionConstants>,
    pub all_reduce: Vec<AllReduceConstants>,
    pub nccl: Vec<NcclConstants>,
    pub moe: Vec<MoeConstants>,
    pub mla_decode: Vec<MlaDecodeConstants>,
    pub mla_prefill: Vec<MlaPrefillConstants>,
    /// Layers with a state of constant size.
    pub linear: Vec<LinearConstants>,
    /// Fits that were left out, each with its reason.
    pub dropped: Vec<String>,
}

/// Data-sheet peaks that a calibration's efficiencies are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    pub bf16_flops: f64,
    pub fp8_flops: Option<f64>,
    pub fp4_flops: Option<f64>,
    pub memory_bytes_per_s: f64,
    pub link_bytes_per_s: f64,
}

/// How far power and heat lower the clocks under steady load.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sustained {
    /// Factor on every compute rate, above 0 and at most 1.
    pub compute: f64,
    pub source: String,
}

/// A matrix product: src/cost/gemm.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GemmConstants {
    pub engine: Engine,
    pub version: String,
    pub dtype: Dtype,
    /// Share of the peak rate reached by large products.
    pub compute: f64,
    /// Share of the memory bandwidth reached by thin products.
    pub memory: f64,
    pub launch_us: f64,
    /// Inner dimension at which half of `compute` is reached.
    pub half_k: f64,
    /// Exponent that joins compute and memory.
    pub norm: f64,
    /// Extra passes over the input, bytes a value.
    pub input_pass: f64,
    /// Extra passes over the output, bytes a value.
    pub output_pass: f64,
    pub error_percent: FitError,
}

/// Attention of decodes: src/cost/attention.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeAttentionConstants {
    pub engine: Engine,
    pub version: String,
    pub kv_dtype: Dtype,
    pub launch_us: f64,
    /// Time for each doubling of 1 + context/128.
    pub per_octave_us: f64,
    /// Share of the memory bandwidth reached.
    pub memory: f64,
    /// Time for each sequence and KV head.
    pub per_head_ns: f64,
    pub error_percent: FitError,
}

/// Attention of prompts: src/cost/attention.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillAttentionConstants {
    pub engine: Engine,
    pub version: String,
    pub attention_dtype: Dtype,
    pub kv_dtype: Dtype,
    pub launch_us: f64,
    /// Share of the bf16 peak reached on the causal half.
    pub compute: f64,
    /// Length at which half of `compute` is reached.
    pub half_length: f64,
    /// Floor that grows with the length: one row of tiles after another.
    pub serial_ns_per_token: f64,
    /// Share of the memory bandwidth reached.
    pub memory: f64,
    pub error_percent: FitError,
}

/// Whether a kernel is replayed from a CUDA graph or launched from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaunchMode {
    Graph,
    Eager,
}

/// The engine's all-reduce: src/cost/collective.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllReduceConstants {
    pub engine: Engine,
    pub version: String,
    pub mode: LaunchMode,
    pub gpus: u32,
    pub latency_us: f64,
    /// Payload bytes a rank over time, GB/s.
    pub gb_per_s: f64,
    /// Time for each square root of a megabyte.
    pub sqrt_us: f64,
    pub error_percent: FitError,
}

/// A collective of NCCL, same form.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NcclConstants {
    pub operation: NcclOperation,
    pub gpus: u32,
    pub latency_us: f64,
    pub gb_per_s: f64,
    pub sqrt_us: f64,
    pub error_percent: FitError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NcclOperation {
    AllReduce,
    AllGather,
    ReduceScatter,
    #[serde(rename = "alltoall")]
    AllToAll,
}

/// Experts of a layer as one fused kernel, routing as skewed as in src/cost/moe.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoeConstants {
    pub engine: Engine,
    pub version: String,
    pub dtype: Dtype,
    pub launch_us: f64,
    pub compute: f64,
    /// The unit that multiplies, where it is not that of the weights' format: 8 bit for 4-bit weights on Blackwell.
    #[serde(default)]
    pub activations: Option<Dtype>,
    pub memory: f64,
    /// Rows of 16 that an active expert is padded by.
    pub padding: f64,
    /// Share of the memory bandwidth reached by activations.
    pub activation_memory: f64,
    pub per_expert_ns: f64,
    pub error_percent: FitError,
}

/// Latent attention of decodes: src/cost/attention.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlaDecodeConstants {
    pub engine: Engine,
    pub version: String,
    pub kv_dtype: Dtype,
    pub launch_us: f64,
    pub per_octave_us: f64,
    pub memory: f64,
    pub compute: f64,
    pub per_sequence_ns: f64,
    pub error_percent: FitError,
}

/// Latent attention of prompts: src/cost/attention.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlaPrefillConstants {
    pub engine: Engine,
    pub version: String,
    pub kv_dtype: Dtype,
    pub launch_us: f64,
    pub compute: f64,
    pub memory: f64,
    pub error_percent: FitError,
}

/// Layers with a state of constant size: src/cost/linear.rs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearConstants {
    pub engine: Engine,
    pub version: String,
    pub kind: LinearKind,
    pub decode_launch_us: f64,
    /// Share of the memory bandwidth reached by decodes.
    pub decode_memory: f64,
    pub launch_us: f64,
    /// Share of the bf16 peak reached by prompts.
    pub compute: f64,
    /// Share of the memory bandwidth reached by prompts.
    pub memory: f64,
    /// Floor that grows with the length: one chunk after another.
    pub serial_ns_per_token: f64,
    /// Of decodes.
    pub error_percent: FitError,
    pub prompt_error_percent: FitError,
}

/// The entry of this engine, else that of the next one in the order vLLM, SGLang, TensorRT-LLM, which is then borrowed.
pub fn pick<T>(rows: &[T], engine: Engine, engine_of: impl Fn(&T) -> Engine, fits: impl Fn(&T) -> bool) -> Option<(&T, Confidence)> {
    let own = rows.iter().find(|row| engine_of(row) == engine && fits(row)).map(|row| (row, Confidence::Measured));
    own.or_else(|| {
        Engine::ALL
            .iter()
            .find_map(|other| rows.iter().find(|row| engine_of(row) == *other && fits(row)))
            .map(|row| (row, Confidence::Borrowed))
    })
}
