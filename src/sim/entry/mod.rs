//! One entry of `frameworks_to_test` made ready to run: its model, its GPUs, its engine's limits and memory, its step times.

mod lora;
mod parallel;
mod plan;
mod sglang;
mod speculation;
mod states;
#[cfg(test)]
mod testing;
mod tiers;
mod trtllm;
mod vllm;

use std::sync::Arc;

pub use plan::ReplicaPlan;
pub(super) use tiers::host_memory;

use parallel::Degrees;
use plan::{DraftingPlan, KvPlan, TimingPlan};
use speculation::Drafting;

use super::hardware::Hardware;
use crate::catalog::{Catalog, Confidence, Device, Dtype, Engine, HostTime, Model, framework_defaults, hf};
use crate::cluster::network::KvShape;
use crate::config::Diagnostic;
use crate::config::schema::{Economics, FrameworkConfig, FrameworkEntry, FrameworkKind, MixedStepCost, Sampling};
use crate::cost::EXPERT_SKEW;
use crate::cost::memory::{Drafter, MemorySpec};
use crate::cost::transfer::Hop;
use crate::cost::{Calibrated, CalibratedSpec, CannotModel, FixedTiming, Graphs, Network, PolynomialTiming, PowerModel};
use crate::engine::{Bunches, Limits, PolicySpec};
use crate::metrics::{MemoryBudget, ReplicaInfo, Work};
use crate::units::Time;
use crate::workload::Adapter;

/// Whether a framework can be simulated.
pub fn is_modelled(framework: FrameworkKind) -> bool {
    framework == FrameworkKind::Dynamo || engine_of(framework).is_some()
}

/// The engine that serves for a framework; `None` for one that is not modelled yet.
fn engine_of(framework: FrameworkKind) -> Option<Engine> {
    match framework {
        FrameworkKind::Vllm | FrameworkKind::ParallelVllm => Some(Engine::Vllm),
        FrameworkKind::Trtllm => Some(Engine::Trtllm),
        FrameworkKind::Sglang => Some(Engine::Sglang),
        FrameworkKind::Dynamo => None,
    }
}

fn not_modelled(path: &str, framework: FrameworkKind) -> Diagnostic {
    let message = format!("{} is not modelled yet", framework_name(framework));
    Diagnostic::error(path, message, "see `llmperforacle list frameworks`")
}

/// A framework's name as documents write it.
fn framework_name(framework: FrameworkKind) -> &'static str {
    match framework {
        FrameworkKind::Vllm => "VLLM",
        FrameworkKind::ParallelVllm => "ParallelVLLM",
        FrameworkKind::Sglang => "SGLANG",
        FrameworkKind::Trtllm => "TRTLLM",
        FrameworkKind::Dynamo => "DYNAMO",
    }
}

/// How far step times can be trusted, as results name it.
fn confidence_name(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Measured => "measured",
        Confidence::Borrowed => "borrowed",
        Confidence::Datasheet => "datasheet",
    }
}

/// GPUs of compute capability 10.x.
const DATA_CENTRE_BLACKWELL: [&str; 4] = ["B200", "GB200", "B300", "GB300"];

/// What entries are made from.
pub(super) struct Context<'a> {
    pub catalog: &'a Catalog,
    pub hardware: &'a Hardware<'a>,
    /// Models of the document's own database, which go before the catalog's.
    pub models: &'a [Model],
    pub economics: &'a Economics,
    /// LoRA adapters that requests ask for.
    pub adapters: &'a [Adapter],
}

/// Makes an entry ready to run. All that stands in the way is appended to `errors`, and then there is no plan.
pub(super) fn replica(
    context: &Context<'_>,
    entry: &FrameworkEntry,
    path: &str,
    errors: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) -> Option<ReplicaPlan> {
    replica_on(context, entry, None, path, errors, warnings)
}

/// As `replica`, on GPUs of a kind of its own.
pub(super) fn replica_on(
    context: &Context<'_>,
    entry: &FrameworkEntry,
    own: Option<&Device>,
    path: &str,
    errors: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) -> Option<ReplicaPlan> {
    let config = &entry.config;
    let before = errors.len();
    let engine = engine_of(entry.worker_kind());
    if engine.is_none() {
        errors.push(not_modelled(&format!("{path}.type"), entry.worker_kind()));
    }
    let model = model(context, config, path).map_err(|error| errors.push(error)).ok();
    let degrees = Degrees::of(engine, config, path).map_err(|error| errors.push(error)).ok();
    let placed = degrees.and_then(|degrees| {
        let (ids, at) = gpu_ids(config, path);
        if let Some(device) = own {
            let hops = context.hardware.hops(&[], degrees.stages(), device, &at, warnings);
            return Some((device.clone(), hops));
        }
        let ids = degrees.working(ids, &at, warnings);
        let device = context.hardware.device_for(&ids, degrees.groups(), &at, warnings).map_err(|error| errors.push(error)).ok()?;
        let hops = context.hardware.hops(&ids, degrees.stages(), &device, &at, warnings);
        Some((device, hops))
    });
    let dtype = weights_dtype(config, path).map_err(|error| errors.push(error)).ok();
    let (engine, model, degrees, (device, hops), dtype) = (engine?, model?, degrees?, placed?, dtype?);
    let cache_text = config.kv_cache_dtype.as_deref().filter(|text| *text != "auto");
    // Quantised weights leave the cache in 16 bit unless it is asked for.
    let cache_default = if dtype.weight_bytes() < 2.0 { Dtype::Bf16 } else { dtype };
    let kv_dtype = dtype_of_cache(cache_text, cache_default, &format!("{path}.config.kv_cache_dtype"), errors)?;
    errors.extend(no_such_cache(engine, &model, &device, kv_dtype, &format!("{path}.config.kv_cache_dtype")));
    if errors.len() > before {
        return None;
    }
    let network = context.hardware.network_of(&device, degrees.tp.saturating_mul(degrees.ranks), own.is_some());
    let device = Device { tdp_w: context.economics.gpu_power_w.or(device.tdp_w), ..device };
    let (usd_per_gpu_hour, price_source) = price(context, &device);
    let adapters = context.adapters;
    let parts = Parts { config, path, engine, adapters, model, device, tp: degrees.tp, degrees, hops, network, dtype, kv_dtype };
    match parts.plan(entry, context.catalog, warnings) {
        Ok(mut plan) => {
            plan.info.usd_per_gpu_hour = usd_per_gpu_hour;
            plan.info.price_source = price_source;
            plan.node_gpus = own.map_or(context.hardware.node_gpus(), |device| device.devices_per_node);
            Some(plan)
        }
        Err(error) => {
            errors.push(error);
            None
        }
    }
}

/// What an hour of a GPU costs: the document's price, else the catalog's offer; and where it is from.
pub(super) fn price(context: &Context<'_>, device: &Device) -> (Option<f64>, String) {
    match (context.economics.usd_per_gpu_hour, context.catalog.gpu_hour(device)) {
        (Some(given), _) => (Some(given), "given in the document".to_owned()),
        (None, Some(offer)) => (Some(offer.usd), format!("{}, {}", offer.source, offer.as_of)),
        (None, None) => (None, format!("no price of {} is known: give economics.usd_per_gpu_hour", device.name)),
    }
}

/// What an engine's own rules make of an entry.
struct Rules {
    policy: PolicySpec,
    /// `watermark_blocks` is filled in when the pool's size is known.
    limits: Limits,
    graphs: Graphs,
    block_size: u32,
    /// Blocks that requests can have, where the document says so; else the memory budget does.
    blocks: Option<u64>,
    /// Share of memory, in the engine's own sense.
    utilization: Option<f64>,
    /// The KV memory, given its blocks and their size.
    kv: Box<dyn Fn(u64, u32) -> KvPlan>,
    overlap: bool,
}

/// An entry with everything it names looked up.
struct Parts<'a> {
    config: &'a FrameworkConfig,
    path: &'a str,
    engine: Engine,
    adapters: &'a [Adapter],
    model: Model,
    device: Device,
    /// GPUs that share each layer.
    tp: u32,
    degrees: Degrees,
    /// What joins the stages.
    hops: Vec<Hop>,
    /// How GPUs that share layers lie on nodes.
    network: Network,
    dtype: Dtype,
    kv_dtype: Dtype,
}

impl Parts<'_> {
    fn at(&self, key: &str) -> String {
        format!("{}.config.{key}", self.path)
    }

    /// The engine's rules decide on limits, graphs, policy and KV memory; the rest is common.
    fn plan(self, entry: &FrameworkEntry, catalog: &Catalog, warnings: &mut Vec<Diagnostic>) -> Result<ReplicaPlan, Diagnostic> {
        self.check_pipeline()?;
        self.check_ranks()?;
        self.check_states()?;
        let defaults = framework_defaults(self.engine, &self.device, self.tp)
            .ok_or_else(|| Diagnostic::error(self.path, "no defaults are known for this engine and device", "please report this"))?;
        let rules = match self.engine {
            Engine::Trtllm => trtllm::rules(&self, &defaults, warnings)?,
            Engine::Sglang => sglang::rules(&self, &defaults, warnings)?,
            Engine::Vllm => vllm::rules(&self, &defaults, warnings)?,
        };
        let own = self.config.calibration.clone().unwrap_or_default();
        let drafting = Drafting::of(&self, catalog)?;
        let lora = lora::lora(&self, self.adapters)?;
        let mut host = scaled(self.host(defaults.host), own.host_time.unwrap_or(1.0));
        host.per_launch_us *= own.launch_time.unwrap_or(1.0);
        if let Some(ms) = own.per_request_ms {
            (host.per_request_api_ms, host.per_prompt_token_api_us) = (ms, 0.0);
        }
        let spec = CalibratedSpec {
            device: self.device.clone(),
            model: self.model.clone(),
            engine: self.engine,
            part: self.part(),
            tp: self.tp,
            dtype: self.dtype,
            kv_dtype: self.kv_dtype,
            graphs: rules.graphs.clone(),
            host,
            sorts_logits: self.config.sampling == Some(Sampling::TopP),
            mixed_steps_add: self.config.mixed_step_cost == Some(MixedStepCost::Sum),
            device_time: own.device_time.unwrap_or(1.0),
            expert_skew: own.expert_skew.unwrap_or(EXPERT_SKEW),
        };
        let calibrated = Calibrated::new(catalog, &spec).map_err(|error| cannot_model(self.path, self.config, &error))?;

        let memory_spec = MemorySpec {
            engine: self.engine,
            device: &self.device,
            model: &self.model,
            part: self.part(),
            tp: self.tp,
            dtype: self.dtype,
            kv_dtype: self.kv_dtype,
            utilization: rules.utilization,
            max_num_batched_tokens: rules.limits.max_num_batched_tokens,
            max_num_seqs: rules.limits.max_num_seqs,
            block_size: rules.block_size,
            graphs: &rules.graphs,
            states: self.state_options(rules.limits.max_num_seqs, warnings),
            adapter_bytes_per_layer: lora.as_ref().map_or(0.0, |lora| lora.bytes_per_layer),
            drafter: drafting.as_ref().and_then(|drafting| {
                drafting.drafter.as_ref().map(|model| Drafter {
                    model,
                    shares_embedding: drafting.shares_embedding,
                    embedding_apart: false,
                })
            }),
        };
        let token_bytes = crate::cost::memory::kv_bytes_per_token(&memory_spec);
        let memory = self.memory(&memory_spec);
        let blocks = match (&memory, rules.blocks) {
            (_, Some(given)) => given,
            (Ok(memory), None) => memory.blocks,
            (Err(error), None) => return Err(Diagnostic::error(self.path, error.to_string(), error.changes.join(", or "))),
        };
        let beside = if self.engine == Engine::Vllm { crate::cost::states::blocks_per_sequence(&self.model) } else { 0 };
        let capacity = blocks.saturating_sub(beside) * u64::from(rules.block_size);
        if capacity == 0 {
            return Err(Diagnostic::error(self.path, "no KV block is left for requests", "give the engine more memory"));
        }
        let tiers = tiers::tiers(&self, entry.kind, &tiers::Pool { blocks, block_size: rules.block_size, token_bytes })?;
        let (mut limits, mut policy) = (rules.limits, rules.policy);
        if let PolicySpec::Vllm(options) = &mut policy
            && (options.prompts_first || self.config.vllm.as_ref().is_some_and(|own| own.preemption_mode.is_some()))
        {
            options.swap = vllm::swap(&self, token_bytes * f64::from(rules.block_size), tiers.is_some())?;
        }
        if limits.max_model_len > capacity {
            if self.config.max_model_len.is_some() {
                let max_model_len = limits.max_model_len;
                let message = format!(
                    "the KV pool holds {capacity} tokens, fewer than max_model_len ({max_model_len}): longer requests are turned away"
                );
                warnings.push(Diagnostic::warning(self.at("max_model_len"), message, "lower it, or give the engine more memory"));
            }
            limits.max_model_len = capacity;
        }
        limits.watermark_blocks = (self.config.watermark.unwrap_or_else(|| vllm::watermark(&self)) * blocks as f64) as u64;
        if self.engine == Engine::Sglang {
            let given = limits.max_num_seqs;
            limits.max_num_seqs =
                sglang::max_running_requests(&self, capacity, limits.max_model_len).unwrap_or((given / self.degrees.ranks).max(1));
            if let PolicySpec::Sglang(options) = &mut policy {
                options.pp_max_micro_batch_size = sglang::micro_batch(&self, limits.max_num_seqs);
            }
        }
        let slots = memory.as_ref().map_or(u64::MAX, |memory| memory.state_slots);
        limits.max_num_seqs = self.seats_with_states(limits.max_num_seqs, slots, blocks, warnings)?;
        limits.speculative_tokens = drafting.as_ref().map_or(0, Drafting::tokens);
        let drafting = drafting.map(|drafting| DraftingPlan {
            drafter: drafting
                .drafter
                .filter(|_| self.config.timing.is_none())
                .map(|model| Box::new(CalibratedSpec { model, ..spec.clone() })),
            acceptance: drafting.acceptance,
        });
        if let Some(spec) = drafting.as_ref().and_then(|drafting| drafting.drafter.as_deref()) {
            let at = self.at("speculative");
            Calibrated::new(catalog, spec)
                .map_err(|error| Diagnostic::error(at, format!("the drafter: {error}"), "choose another drafter"))?;
        }
        let (timing, confidence) = self.timing(spec, &calibrated, capacity)?;
        let ranks = self.ranks();
        let pipeline = self.pipeline(catalog, &timing, rules.overlap)?;
        let bunches = self
            .config
            .stream_interval
            .filter(|&interval| interval > 1)
            .map(|interval| Bunches { interval, at_multiples: self.engine == Engine::Trtllm });
        let footprint = &calibrated.footprint().over(self.degrees.pp).among(&self.model, self.degrees.ranks);
        let info = ReplicaInfo {
            entry: entry.name.clone(),
            framework: framework_name(entry.kind).to_owned(),
            model: self.model.name.clone(),
            device: self.device.name.clone(),
            gpus: self.degrees.gpus(),
            kv_blocks: blocks * u64::from(self.degrees.ranks),
            role: String::new(),
            block_tokens: rules.block_size,
            single_steps: single_steps(&limits, self.degrees, bunches.is_some(), &policy),
            work: Work {
                flops_per_token: footprint.flops_per_token,
                flops_per_sampled_token: footprint.flops_per_sampled_row,
                flops_per_attention_pair: footprint.flops_per_pair,
                weight_bytes_per_step: footprint.weight_bytes,
                kv_bytes_per_token: footprint.kv_bytes_per_token,
                state_bytes_per_sequence: footprint.state_bytes,
                peak_flops: footprint.peak_flops,
                peak_memory_bytes_per_s: footprint.peak_bytes_per_s,
            },
            power: catalog.power_of(&self.device).and_then(|shares| PowerModel::new(&self.model, &self.device, shares, footprint)),
            usd_per_gpu_hour: None,
            price_source: String::new(),
            memory: memory.map_or_else(
                |_| MemoryBudget::default(),
                |memory| MemoryBudget {
                    total_bytes: memory.total,
                    usable_bytes: memory.total - memory.unused,
                    weights_bytes: memory.weights,
                    activations_bytes: memory.activations,
                    other_bytes: memory.graphs + memory.rest,
                    graphs_bytes: memory.graphs,
                    libraries_bytes: memory.rest,
                    states_bytes: memory.states,
                    kv_bytes: memory.kv_bytes,
                },
            ),
        };
        Ok(ReplicaPlan {
            policy,
            limits,
            kv: (rules.kv)(blocks, rules.block_size),
            tiers,
            overlap: rules.overlap,
            timing,
            pipeline,
            ranks,
            drafting,
            lora,
            bunches,
            encoder: None,
            hidden_size: self.model.hidden_size,
            info,
            api_time: Time::from_ms(host.per_request_api_ms),
            api_time_per_token: Time::from_us(host.per_prompt_token_api_us),
            confidence,
            kv_shape: KvShape::new(&self.model, self.kv_dtype.kv_bytes().unwrap_or(2.0)),
            node_gpus: 1,
            device: self.device,
        })
    }

    fn host(&self, default: HostTime) -> HostTime {
        // Step times given by hand leave nothing to the host.
        let default = if self.config.timing.is_some() { HostTime::default() } else { default };
        self.config.host_overhead.as_ref().map_or(default, |given| HostTime {
            per_step_us: given.per_step_us,
            per_sequence_us: given.per_sequence_us,
            per_new_request_us: given.per_new_request_us,
            per_launch_us: given.per_launch_us.unwrap_or(default.per_launch_us),
            per_request_api_ms: given.per_request_api_ms.unwrap_or(default.per_request_api_ms),
            per_prompt_token_api_us: match (given.per_prompt_token_api_us, given.per_request_api_ms) {
                (Some(us), _) => us,
                // Who says what the API server takes has said all of it.
                (None, Some(_)) => 0.0,
                (None, None) => default.per_prompt_token_api_us,
            },
        })
    }

    fn timing(&self, spec: CalibratedSpec, calibrated: &Calibrated, kv_pool_tokens: u64) -> Result<(TimingPlan, String), Diagnostic> {
        let Some(timing) = &self.config.timing else {
            return Ok((TimingPlan::Calibrated(Arc::new(spec)), confidence_name(calibrated.confidence()).to_owned()));
        };
        match (&timing.fixed, &timing.polynomial) {
            (Some(fixed), None) => {
                let timing = FixedTiming { prefill: Time::from_ms(fixed.prefill_ms), decode: Time::from_ms(fixed.decode_ms) };
                Ok((TimingPlan::Fixed(timing), "step times given in the document".to_owned()))
            }
            (None, Some(_)) => {
                Ok((TimingPlan::Polynomial(PolynomialTiming { kv_pool_tokens }), "the polynomial of Dynamo's mocker".to_owned()))
            }
            _ => Err(Diagnostic::error(self.at("timing"), "wants exactly one of fixed and polynomial", "keep one of the two")),
        }
    }
}

/// Why no run of equal steps is taken at once.
fn single_steps(limits: &Limits, degrees: Degrees, bunches: bool, policy: &PolicySpec) -> Option<String> {
    let waits = matches!(policy, PolicySpec::Trtllm(options) if options.batch_wait_timeout > Time::ZERO);
    if matches!(policy, PolicySpec::Vllm(options) if options.scheduler_steps > 1) {
        return Some("several steps scheduled at once".to_owned());
    }
    match (limits.speculative_tokens, degrees.pp) {
        (0, _) if degrees.ranks > 1 => Some("attention ranks in lockstep".to_owned()),
        (0, 1) if waits => Some("batches that wait for new requests".to_owned()),
        (0, 1) => bunches.then(|| "tokens in bunches".to_owned()),
        (0, _) => Some("a pipeline of stages".to_owned()),
        _ => Some("speculative decoding".to_owned()),
    }
}

/// Host times multiplied by a factor.
fn scaled(host: HostTime, factor: f64) -> HostTime {
    HostTime {
        per_step_us: host.per_step_us * factor,
        per_sequence_us: host.per_sequence_us * factor,
        per_new_request_us: host.per_new_request_us * factor,
        per_launch_us: host.per_launch_us * factor,
        per_request_api_ms: host.per_request_api_ms,
        // The tokenizer's is in the prompt's length, not in the framework's loop.
        per_prompt_token_api_us: host.per_prompt_token_api_us,
    }
}

fn model(context: &Context<'_>, config: &FrameworkConfig, path: &str) -> Result<Model, Diagnostic> {
    match (&config.model_profile_id, &config.model) {
        (Some(_), Some(_)) => {
            Err(Diagnostic::error(format!("{path}.config.model"), "is given beside model_profile_id", "keep one of the two"))
        }
        (Some(name), None) => {
            if let Some(own) = context.models.iter().find(|model| model.name == *name) {
                return Ok(own.clone());
            }
            context.catalog.model(name).cloned().map_err(|unknown| {
                let at = format!("{path}.config.model_profile_id");
                Diagnostic::error(at, format!("Unknown model profile: {name} ({unknown})"), "see `llmperforacle list models`")
            })
        }
        (None, Some(shape)) => Model::from_hf_config(shape, "model").map_err(|faults| {
            let at = format!("{path}.config.model");
            Diagnostic::error(at, faults.join("; "), "give the config.json of a decoder-only model as it is")
        }),
        (None, None) => {
            let at = format!("{path}.config");
            Err(Diagnostic::error(at, "Missing model_profile_id in framework config", "name a model, such as `Llama-3.1-8B`"))
        }
    }
}

/// What the cost model refuses, at the option that asks for it.
fn cannot_model(path: &str, config: &FrameworkConfig, error: &CannotModel) -> Diagnostic {
    let (key, hint) = match error {
        CannotModel::KvDtype { .. } => ("kv_cache_dtype", "use bf16 or fp8"),
        CannotModel::HeadsNotDivisible { .. } | CannotModel::AcrossNodes { .. } | CannotModel::UnevenOverNodes { .. } => {
            ("tensor_parallel_size", "choose another number of GPUs for each layer")
        }
        CannotModel::NoConstants { .. } | CannotModel::Model { .. } => ("model_profile_id", "choose another model or GPU"),
    };
    let given = match key {
        "kv_cache_dtype" => config.kv_cache_dtype.is_some(),
        "tensor_parallel_size" => config.tensor_parallel_size.is_some(),
        _ => config.model_profile_id.is_some(),
    };
    let place = if given { format!("{path}.config.{key}") } else { path.to_owned() };
    Diagnostic::error(place, error.to_string(), hint)
}

/// The devices an entry names, and where.
fn gpu_ids(config: &FrameworkConfig, path: &str) -> (Vec<String>, String) {
    let parallel = config.parallelism.as_ref().and_then(|parallelism| parallelism.gpu_ids.clone()).unwrap_or_default();
    if !parallel.is_empty() {
        return (parallel, format!("{path}.config.parallelism.gpu_ids"));
    }
    match &config.gpu_id {
        Some(id) => (vec![id.clone()], format!("{path}.config.gpu_id")),
        None if config.tensor_parallel_size.is_none() && config.pipeline_parallel_size.is_some() => {
            (Vec::new(), format!("{path}.config.pipeline_parallel_size"))
        }
        None => (Vec::new(), format!("{path}.config.tensor_parallel_size")),
    }
}

/// The weights' format: what the entry says, else what an inline `config.json` says, else 16 bit.
fn weights_dtype(config: &FrameworkConfig, path: &str) -> Result<Dtype, Diagnostic> {
    let shipped = match (&config.dtype, &config.model) {
        (None, Some(shape)) => hf::weights_dtype(shape)
            .map_err(|fault| Diagnostic::error(format!("{path}.config.model"), fault, "say the format by `dtype`"))?,
        _ => None,
    };
    dtype(config.dtype.as_deref(), shipped.unwrap_or(Dtype::Bf16), &format!("{path}.config.dtype"))
}

fn dtype(text: Option<&str>, default: Dtype, path: &str) -> Result<Dtype, Diagnostic> {
    let Some(text) = text else { return Ok(default) };
    Dtype::parse(text).ok_or_else(|| Diagnostic::error(path, format!("unknown data type {text}"), "for example bf16, fp16, fp8"))
}

/// Why the engine keeps no KV of this format on this GPU. nvfp4: data-centre Blackwell (compute capability 10.x), where all three read it
/// natively; of other boards with a 4-bit unit SGLang alone. Latent KV stays in 8 bit or more.
fn no_such_cache(engine: Engine, model: &Model, device: &Device, kv_dtype: Dtype, path: &str) -> Option<Diagnostic> {
    if kv_dtype != Dtype::Nvfp4 {
        return None;
    }
    let workstation = device.fp4_flops.is_some() && device.name.starts_with("RTX");
    let data_centre = DATA_CENTRE_BLACKWELL.iter().any(|name| device.name.starts_with(name));
    let why = if model.mla.is_some() {
        format!("{} keeps no latent KV as nvfp4", engine.label())
    } else if !(data_centre || workstation && engine == Engine::Sglang) {
        format!("{} keeps no KV as nvfp4 on {}", engine.label(), device.name)
    } else {
        return None;
    };
    Some(Diagnostic::error(path, why, "use auto, bf16 or fp8, or a B200, GB200, B300 or GB300"))
}

fn dtype_of_cache(text: Option<&str>, default: Dtype, path: &str, errors: &mut Vec<Diagnostic>) -> Option<Dtype> {
    match dtype(text, default, path) {
        Ok(found) if found.kv_bytes().is_some() => Some(found),
        Ok(found) => {
            errors.push(Diagnostic::error(path, format!("no engine keeps KV as {}", found.name()), "use auto, bf16 or fp8"));
            None
        }
        Err(error) => {
            errors.push(error);
            None
        }
    }
}
