//! The encoder of images, as documents write it. What it means is in `sim::encode`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How images of prompts are encoded: by each engine in its own steps, or by a pool of encoders that hands embeddings on.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Device time of an image, ms. Absent: from `vit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub time_per_image_ms: Option<f64>,
    /// A vision transformer, whose work gives the time of an image. Absent, without `time_per_image_ms`: that of Qwen2-VL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vit: Option<VitConfig>,
    /// vLLM: embeddings that a step may make, tokens. Absent: `max_num_batched_tokens`, or one image where that is larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub max_num_encoder_input_tokens: Option<u32>,
    /// vLLM: embeddings that may be kept until their prompts have been computed, tokens. Absent: as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub encoder_cache_size: Option<u32>,
    /// Encoders on GPUs of their own. Absent: the engines encode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<EncodePoolConfig>,
}

/// A vision transformer. An image of n patches takes `2 n parameters + 4 n^2 layers hidden_size` floating-point operations, at half of the
/// device's 16-bit peak (an assumption), and no less than reading the weights takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Parameters, billions. Qwen2-VL: 0.675.
    #[schemars(range(min = 1e-4, max = 1e3))]
    pub parameters_b: f64,
    /// Layers. Qwen2-VL: 32.
    #[schemars(range(min = 1, max = 1000))]
    pub layers: u32,
    /// Width. Qwen2-VL: 1280.
    #[schemars(range(min = 1, max = 100000))]
    pub hidden_size: u32,
    /// Patches that become one token of the prompt. Absent means 4 (2 x 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub patches_per_token: Option<u32>,
}

/// A pool of encoders. A request's images are encoded one after the other by one of them, first come first served; then their embeddings (16 bits a
/// value) go over one network card to the engine, and the request to the router.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodePoolConfig {
    /// Encoders, one GPU each. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub replicas: Option<u32>,
    /// A GPU of the catalog other than the hardware's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}
