//! The serving stacks, as documents write them. No rules beyond shape and range: those are in `validate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AutoscalerConfig, DisaggregationConfig, DynamoBackend, DynamoConfig, EncoderConfig, KvTiersConfig, LevelOfDetail, LoraStorage,
    PlannerConfig, RouterConfig, SglangConfig, SpeculativeConfig, StartupConfig, TrtllmConfig, VllmConfig,
};

/// One serving stack under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameworkEntry {
    /// Name of this entry, unique.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The framework. Usual spellings (`vllm`, `TensorRT-LLM`, `Dynama`) are understood.
    #[serde(rename = "type")]
    pub kind: FrameworkKind,
    /// Receives requests (in `comparison: shared`), is simulated (in `side_by_side`). Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_target_for_workload: Option<bool>,
    /// Identical engines, each on GPUs of its own, behind one router. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub replicas: Option<u32>,
    /// How requests are spread over the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterConfig>,
    /// Dynamo's planner decides how many replicas there are; `replicas` is how many it starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planner: Option<PlannerConfig>,
    /// A threshold scaler decides how many replicas there are; `replicas` is how many it starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<AutoscalerConfig>,
    /// What a new replica does before it serves: one that is added, or that comes back after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<StartupConfig>,
    /// Its options.
    pub config: FrameworkConfig,
}

impl FrameworkEntry {
    /// The stack whose engine serves: Dynamo's workers run one of the others.
    pub fn worker_kind(&self) -> FrameworkKind {
        if self.kind != FrameworkKind::Dynamo {
            return self.kind;
        }
        match self.config.dynamo.as_ref().and_then(|dynamo| dynamo.backend).unwrap_or_default() {
            DynamoBackend::Vllm => FrameworkKind::Vllm,
            DynamoBackend::Sglang => FrameworkKind::Sglang,
            DynamoBackend::Trtllm => FrameworkKind::Trtllm,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FrameworkKind {
    #[serde(rename = "VLLM")]
    Vllm,
    #[serde(rename = "ParallelVLLM")]
    ParallelVllm,
    #[serde(rename = "SGLANG")]
    Sglang,
    #[serde(rename = "TRTLLM")]
    Trtllm,
    #[serde(rename = "DYNAMO")]
    Dynamo,
}

/// Options of a serving stack, named as the stack names them. Absent: the stack's own default for this GPU.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameworkConfig {
    /// A model of the catalog (`llmperforacle list models`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_profile_id: Option<String>,
    /// A model given by its Hugging Face `config.json`, inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<serde_json::Value>,
    /// Device of a single-GPU entry (with `compute_devices`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_id: Option<String>,
    /// GPUs that share each layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub tensor_parallel_size: Option<u32>,
    /// Stages, each with some of the layers, that batches pass through one after the other. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub pipeline_parallel_size: Option<u32>,
    /// vLLM: engines with requests and KV of their own, each of `tensor_parallel_size` GPUs, that share the experts of every layer and go in
    /// lockstep. Absent means 1. (For models without experts say `replicas`; SGLang and TensorRT-LLM have words of their own.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub data_parallel_size: Option<u32>,
    /// vLLM: whole experts are spread over all GPUs; else each GPU has a slice of every expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_expert_parallel: Option<bool>,
    /// Experts that GPUs hold once more where whole experts are spread over them (expert load balancing: vLLM's `num_redundant_experts`, SGLang's
    /// `ep_num_redundant_experts`, TensorRT-LLM's `num_slots` beyond the experts): the most popular get copies, and all are laid out so that GPUs
    /// have alike much to do, as popularity is known before. 0 lays them out without copies. Absent: experts lie by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1024))]
    pub num_redundant_experts: Option<u32>,
    /// The original project's way to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Parallelism>,
    /// Most sequences running at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_num_seqs: Option<u32>,
    /// Token budget of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub max_num_batched_tokens: Option<u32>,
    /// Longest prompt plus output, tokens. Absent: the model's context length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000000))]
    pub max_model_len: Option<u64>,
    /// Cut long prompts over several steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_chunked_prefill: Option<bool>,
    /// Longest chunk of one prompt in a step, tokens; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1048576))]
    pub long_prefill_token_threshold: Option<u32>,
    /// Reuse the KV blocks of equal prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_prefix_caching: Option<bool>,
    /// Tokens in a KV block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub block_size: Option<u32>,
    /// Share of the GPU's memory the engine may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub gpu_memory_utilization: Option<f64>,
    /// Size of the KV pool in blocks, instead of what the memory budget gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub num_gpu_blocks_override: Option<u64>,
    /// Form the next batch while this one runs, so that host time is hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub async_scheduling: Option<bool>,
    /// Admit a prompt only when its whole KV fits, not just its first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_reserve_full_isl: Option<bool>,
    /// Share of KV blocks kept free at admission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub watermark: Option<f64>,
    /// Replay decode steps as CUDA graphs, padded to the captured sizes. False is `--enforce-eager`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda_graphs: Option<bool>,
    /// Type of the weights: `bf16`, `fp16`, `fp8` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Type of the KV cache: `auto` (as the weights), `fp8`; `nvfp4` on B200, GB200, B300 and GB300 (SGLang: RTX PRO 6000 and 5090 too).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_dtype: Option<String>,
    /// How tokens are chosen: `greedy` (absent means this) or `top_p`, which sorts every row of logits and costs time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// What a step with prompts and decodes takes: `fused` (absent means this) is one pass over the tokens of both, `sum` the pass of the
    /// prompts and then that of the decodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed_step_cost: Option<MixedStepCost>,
    /// Tokens that go to the client at once: the first one goes alone, then they come in bunches of this many (TensorRT-LLM: at multiples of
    /// it). Changes the gaps between outputs (ITL) and nothing else. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub stream_interval: Option<u32>,
    /// Step times other than the calibrated cost model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Host time of a step. Absent: the built-in assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_overhead: Option<HostOverhead>,
    /// Factors on the model's step times, where a benchmark of one's own shows that they are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<OwnCalibration>,
    /// KV below the GPU: host memory, disk, remote store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_tiers: Option<KvTiersConfig>,
    /// Speculative decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculative: Option<SpeculativeConfig>,
    /// Where LoRA adapters lie that are not in host memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_storage: Option<LoraStorage>,
    /// Options of SGLang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sglang: Option<SglangConfig>,
    /// Options of TensorRT-LLM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trtllm: Option<TrtllmConfig>,
    /// Options of vLLM that no other stack has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vllm: Option<VllmConfig>,
    /// Options of NVIDIA Dynamo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamo: Option<DynamoConfig>,
    /// Prompts and tokens on GPUs of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disaggregation: Option<DisaggregationConfig>,
    /// How images are encoded (`workload.images`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<EncoderConfig>,
    // Keys of the original project.
    /// Longest chunk of one prompt, tokens (the original project's name of `long_prefill_token_threshold`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub prefill_chunk_size: Option<u32>,
    /// Share prefixes across requests, not only within a conversation (the original project's switch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_cross_request_caching: Option<bool>,
    /// The original project's prefix store; accepted, without effect: blocks are cached as vLLM does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_prefix_cache_length: Option<u64>,
    /// The original project's prefix store; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefix_cache_size: Option<u64>,
    /// The original project's prefix store; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_eviction_policy: Option<String>,
    /// The original project's prefix store; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_prefix_tokens: Option<bool>,
    /// The original project's polling period; accepted, without effect: nothing polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_iteration_delay_s: Option<f64>,
    /// Size of a streamed token on the network, bytes; accepted, without effect on any metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_token_estimate_for_network: Option<f64>,
    /// Level of detail; accepted, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lod: Option<LevelOfDetail>,
}

/// Step times other than the calibrated cost model's: for tests and for parity with other simulators. One of the parts.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// A fixed time for a pass with prefill and one for a pass with decode; a mixed pass takes their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<FixedTiming>,
    /// The polynomial of Dynamo's mocker (AISimulate 0.13): a mixed pass takes the sum of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polynomial: Option<PolynomialTiming>,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedTiming {
    /// Time of a pass with prefill, ms.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub prefill_ms: f64,
    /// Time of a pass with decode, ms.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub decode_ms: f64,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolynomialTiming {}

/// Host time of a step: `a + b * sequences + c * new requests`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostOverhead {
    /// `a`, µs a step.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub per_step_us: f64,
    /// `b`, µs a sequence of the step.
    #[schemars(range(min = 0.0, max = 1e5))]
    pub per_sequence_us: f64,
    /// `c`, µs a request that is new in the step.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub per_new_request_us: f64,
    /// Time to launch one kernel outside a CUDA graph, the framework's own work for it included, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e5))]
    pub per_launch_us: Option<f64>,
    /// Time a request spends in the API server and the tokenizer, added before it reaches the scheduler, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e5))]
    pub per_request_api_ms: Option<f64>,
    /// Time of the tokenizer for each token of the prompt, added there too, µs. Absent: the built-in one, or 0 beside `per_request_api_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e4))]
    pub per_prompt_token_api_us: Option<f64>,
}

/// What a step with prompts and decodes takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MixedStepCost {
    Fused,
    Sum,
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    Greedy,
    TopP,
}

/// A correction of the step times by measurements of one's own: factors, or a file that holds them.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnCalibration {
    /// A JSON file with the keys below, instead of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Factor on every time on the GPUs: 1.1 is a tenth slower. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 100.0))]
    pub device_time: Option<f64>,
    /// Factor on every time on the host but that of the API server and the tokenizer. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub host_time: Option<f64>,
    /// Factor on the time of launching a kernel without a CUDA graph, beside `host_time`. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub launch_time: Option<f64>,
    /// How popular experts are: that of rank r is chosen with a probability proportional to r^-x; 0 is even. Absent means 0.7, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 4.0))]
    pub expert_skew: Option<f64>,
    /// Factor on the rates of all `kv_tiers`. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub tier_rate: Option<f64>,
    /// Host time of each request before the engine sees it (HTTP, tokenizer), ms, instead of the built-in assumption. Not changed by
    /// `host_time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 60000.0))]
    pub per_request_ms: Option<f64>,
    /// Where the factors are from. No effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Parallelism in the original project's words.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parallelism {
    /// `TP`: GPUs share each layer; `PP`: each holds some of the layers; `TP_PP`: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["None", "TP", "PP", "TP_PP", null]))]
    pub strategy: Option<String>,
    /// Devices, stage by stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_ids: Option<Vec<String>>,
    /// GPUs that share each layer. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub tp_degree: Option<u32>,
    /// Stages that hold a part of the layers each. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub pp_stages: Option<u32>,
    /// Accepted, without effect: requests are not cut into microbatches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub num_microbatches_per_request: Option<u32>,
}
