//! Number formats of weights and KV.

use serde::{Deserialize, Serialize};

/// Number format of weights, as serving engines offer them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    Bf16,
    Fp16,
    /// fp8 with one scale a tensor (or a channel).
    Fp8,
    /// fp8 with one fp32 scale for each block of 128 x 128 weights (DeepSeek's way).
    Fp8Block,
    Int8,
    /// 4-bit integers with an fp16 scale and a 4-bit zero for each group of 128 weights (AWQ, GPTQ); computed in 16 bit.
    Int4,
    /// 4-bit floats with an 8-bit scale for each 32 weights; computed in 16 bit.
    Mxfp4,
    /// 4-bit floats with an 8-bit scale for each 16 weights; computed in 4 bit where the device can, else in 16 bit.
    Nvfp4,
}

impl Dtype {
    pub const ALL: [Dtype; 8] =
        [Dtype::Bf16, Dtype::Fp16, Dtype::Fp8, Dtype::Fp8Block, Dtype::Int8, Dtype::Int4, Dtype::Mxfp4, Dtype::Nvfp4];

    /// Bytes a weight takes, its share of the scales included.
    pub fn weight_bytes(self) -> f64 {
        match self {
            Dtype::Bf16 | Dtype::Fp16 => 2.0,
            Dtype::Fp8 | Dtype::Int8 => 1.0,
            Dtype::Fp8Block => 1.0 + 4.0 / (128.0 * 128.0),
            Dtype::Int4 => 0.5 + 2.5 / 128.0,
            Dtype::Mxfp4 => 0.5 + 1.0 / 32.0,
            Dtype::Nvfp4 => 0.5 + 1.0 / 16.0,
        }
    }

    /// Bytes a value of KV takes; `None` where no engine keeps KV in this format.
    pub fn kv_bytes(self) -> Option<f64> {
        match self {
            Dtype::Bf16 | Dtype::Fp16 => Some(2.0),
            Dtype::Fp8 | Dtype::Int8 => Some(1.0),
            Dtype::Nvfp4 => Some(0.5 + 1.0 / 16.0),
            Dtype::Fp8Block | Dtype::Int4 | Dtype::Mxfp4 => None,
        }
    }

    /// Reads the usual spellings: `bf16`, `bfloat16`, `float16`, `fp8_e4m3`, `awq` …
    pub fn parse(text: &str) -> Option<Dtype> {
        let lower = text.to_ascii_lowercase().replace('-', "_");
        Some(match lower.as_str() {
            "bf16" | "bfloat16" => Dtype::Bf16,
            "fp16" | "float16" | "half" => Dtype::Fp16,
            "fp8" | "fp8_e4m3" | "fp8_e5m2" | "float8" => Dtype::Fp8,
            "fp8_block" | "fp8_blockwise" | "block_fp8" => Dtype::Fp8Block,
            "int8" | "w8a8" => Dtype::Int8,
            "int4" | "awq" | "gptq" | "w4a16" => Dtype::Int4,
            "mxfp4" => Dtype::Mxfp4,
            "nvfp4" | "fp4" | "fp4_e2m1" => Dtype::Nvfp4,
            _ => return None,
        })
    }

    /// The name a document uses.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Bf16 => "bf16",
            Dtype::Fp16 => "fp16",
            Dtype::Fp8 => "fp8",
            Dtype::Fp8Block => "fp8_block",
            Dtype::Int8 => "int8",
            Dtype::Int4 => "int4",
            Dtype::Mxfp4 => "mxfp4",
            Dtype::Nvfp4 => "nvfp4",
        }
    }
}
