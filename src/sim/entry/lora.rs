//! LoRA adapters of an entry: room for them on the GPU and in host memory by each stack's own options, and what bringing them there takes.
//!
//! Sources: vLLM (`max_loras` places made for `max_lora_rank` in every layer that can have an adapter, `max_cpu_loras` in host memory, least
//! recently used goes), SGLang (`max_loras_per_batch` places for the largest rank in the layers that adapters change; all in host memory
//! from the start, up to `max_loaded_loras`), TensorRT-LLM (caches counted in ranks: `max_loras` times `max_lora_rank`, or
//! `peft_cache_config`; read on first use). Times are those of the bytes over PCIe and from storage, and of one call for every tensor.

use super::Parts;
use super::tiers::pcie_gb_s;
use crate::catalog::Engine;
use crate::config::Diagnostic;
use crate::config::schema::{LoraEvictionPolicy, LoraModule, VllmVersion};
use crate::cost::{LoraLayers, weight_bytes_per_rank};
use crate::engine::{AdapterEviction, AdapterLoad, LoraSpec};
use crate::units::Time;
use crate::workload::Adapter;

/// The call that copies one tensor of an adapter to the GPU. An assumption.
const COPY_US: f64 = 5.0;
/// Storage, where the document does not say: its rate and its latency. Assumptions.
const STORAGE_GB_S: f64 = 1.0;
const STORAGE_MS: f64 = 20.0;
/// Ranks that vLLM takes for `max_lora_rank`.
const VLLM_RANKS: [u32; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];

/// Adapters of an entry.
#[derive(Clone, Debug)]
pub(super) struct LoraPlan {
    pub spec: LoraSpec,
    pub kernels: LoraKernels,
    /// Memory of the places on one GPU for one layer, bytes.
    pub bytes_per_layer: f64,
}

/// What is computed for adapters in every step that has one.
#[derive(Clone, Debug)]
pub(super) struct LoraKernels {
    pub modules: Vec<LoraModule>,
    pub per_product: u64,
}

/// An engine's room, in its own words.
struct Room {
    /// Largest rank, and where the document says it or would.
    max_rank: u32,
    rank_key: &'static str,
    gpu_places: u64,
    host_places: u64,
    eviction: AdapterEviction,
    modules: Vec<LoraModule>,
}

/// Room and times for the adapters that requests ask for; `None` where they ask for none.
pub(super) fn lora(parts: &Parts<'_>, adapters: &[Adapter]) -> Result<Option<LoraPlan>, Diagnostic> {
    if adapters.is_empty() {
        return Ok(None);
    }
    let at = "workload.lora";
    if let Some(why) = no_latent_adapters(parts) {
        let message = format!("{why} serves no adapters of {}, whose attention is latent", parts.model.name);
        return Err(Diagnostic::error(at, message, "use a model with ordinary attention, or take `workload.lora` out"));
    }
    for adapter in adapters.iter().filter(|adapter| adapter.modules != LoraModule::ATTENTION) {
        if let Some(foreign) = adapter.modules.iter().find(|module| LoraLayers::new(&parts.model, 1, &[**module], 1).tensors == 0)
            && (parts.model.moe.is_none() || LoraModule::ATTENTION.contains(foreign))
        {
            let message =
                format!("adapter {} changes {}, which {} does not have", adapter.name, serde_json::json!(foreign), parts.model.name);
            let hint = "latent attention has q_a_proj, q_b_proj, kv_a_proj_with_mqa, kv_b_proj and o_proj, other attention q_proj, k_proj, v_proj and o_proj";
            return Err(Diagnostic::error(format!("{at}.target_modules"), message, hint));
        }
    }
    let attention = |module: &LoraModule| LoraModule::ATTENTION.contains(module);
    if parts.model.moe.is_some() && !adapters.iter().all(|adapter| adapter.modules.iter().all(attention)) {
        let message = format!("adapters on the experts of {} are not modelled", parts.model.name);
        return Err(Diagnostic::error(format!("{at}.target_modules"), message, "name weights of attention only, such as q_proj"));
    }
    if parts.config.disaggregation.is_some() && parts.engine != Engine::Vllm {
        let message = format!("adapters on pools of prefill and decode engines of {} are not modelled", parts.engine.label());
        return Err(Diagnostic::error(parts.at("disaggregation"), message, "serve them by engines that do both"));
    }
    let room = match parts.engine {
        Engine::Vllm => vllm(parts)?,
        Engine::Sglang => sglang(parts, adapters)?,
        Engine::Trtllm => trtllm(parts, adapters),
    };
    if let Some(larger) = adapters.iter().find(|adapter| adapter.rank > room.max_rank) {
        let message = format!("adapter {} has rank {}, above the largest rank of {}", larger.name, larger.rank, room.max_rank);
        return Err(Diagnostic::error(parts.at(room.rank_key), message, format!("set it to {} or more", larger.rank)));
    }
    let by_rank = parts.engine == Engine::Trtllm;
    if let Some(larger) = adapters.iter().find(|adapter| by_rank && u64::from(adapter.rank) > room.gpu_places) {
        let message =
            format!("the cache on the GPU holds {} ranks, fewer than adapter {} has ({})", room.gpu_places, larger.name, larger.rank);
        return Err(Diagnostic::error(parts.at("trtllm.lora_config.max_loras"), message, "give the cache more room"));
    }
    let storage = parts.config.lora_storage.clone().unwrap_or_default();
    let latency = Time::from_ms(storage.latency_ms.unwrap_or(STORAGE_MS));
    let read_bytes_per_s = storage.bandwidth_gb_s.unwrap_or(STORAGE_GB_S) * 1e9;
    // Every GPU of a group copies its part, and every stage the layers it has.
    let stage = crate::catalog::Model { layers: parts.model.layers.div_ceil(parts.degrees.pp.max(1)), ..parts.model.clone() };
    let load = |adapter: &Adapter| {
        let copied = LoraLayers::new(&stage, parts.tp, &adapter.modules, 0);
        let whole = LoraLayers::new(&parts.model, parts.tp, &adapter.modules, 0);
        AdapterLoad {
            places: if by_rank { u64::from(adapter.rank) } else { 1 },
            rank: if parts.engine == Engine::Vllm { room.max_rank } else { adapter.rank },
            to_gpu: Time::from_s(copied.gpu_bytes(adapter.rank) / (pcie_gb_s(parts) * 1e9))
                + Time::from_us(COPY_US * copied.tensors as f64),
            to_host: latency + Time::from_s(whole.file_bytes(adapter.rank) / read_bytes_per_s),
        }
    };
    let one_layer = LoraLayers::new(&crate::catalog::Model { layers: 1, ..parts.model.clone() }, parts.tp, &room.modules, 0);
    let place_rank = if by_rank { 1 } else { room.max_rank };
    Ok(Some(LoraPlan {
        bytes_per_layer: room.gpu_places as f64 * one_layer.gpu_bytes(place_rank),
        spec: LoraSpec {
            adapters: adapters.iter().map(load).collect(),
            gpu_places: room.gpu_places,
            host_places: room.host_places,
            eviction: room.eviction,
            base_takes_place: parts.engine == Engine::Sglang,
            inclusive: !by_rank,
            on_host_at_start: !by_rank,
        },
        // vLLM sets the values between A and B to zero by a kernel of its own.
        kernels: LoraKernels { modules: room.modules, per_product: if parts.engine == Engine::Vllm { 3 } else { 2 } },
    }))
}

/// Who serves no adapters of the model, whose attention is latent: vLLM does from 0.11 on (its pull request 23971), SGLang does (22323 and 25001), for
/// TensorRT-LLM nothing says so.
fn no_latent_adapters(parts: &Parts<'_>) -> Option<String> {
    let version = parts.config.vllm.as_ref().and_then(|own| own.version);
    match parts.engine {
        _ if parts.model.mla.is_none() => None,
        Engine::Sglang => None,
        Engine::Vllm => version.filter(|version| *version < VllmVersion::V0_11).map(|version| format!("vLLM {}", version.name())),
        Engine::Trtllm => Some("TensorRT-LLM".to_owned()),
    }
}

/// Places in host memory, no fewer than on the GPU.
fn at_least(given: u32, least: u32, key: &str, least_key: &str, parts: &Parts<'_>) -> Result<u64, Diagnostic> {
    if given < least {
        let message = format!("{given} adapters in host memory are fewer than {least_key} ({least})");
        return Err(Diagnostic::error(parts.at(key), message, "what is on the GPU is in host memory too: raise it"));
    }
    Ok(u64::from(given))
}

fn vllm(parts: &Parts<'_>) -> Result<Room, Diagnostic> {
    let own = parts.config.vllm.clone().unwrap_or_default();
    let max_rank = own.max_lora_rank.unwrap_or(16);
    if !VLLM_RANKS.contains(&max_rank) {
        let known: Vec<String> = VLLM_RANKS.iter().map(u32::to_string).collect();
        let message = format!("vLLM has no kernels for a max_lora_rank of {max_rank}");
        return Err(Diagnostic::error(parts.at("vllm.max_lora_rank"), message, format!("use one of {}", known.join(", "))));
    }
    let max_loras = own.max_loras.unwrap_or(1);
    Ok(Room {
        max_rank,
        rank_key: "vllm.max_lora_rank",
        gpu_places: u64::from(max_loras),
        host_places: at_least(own.max_cpu_loras.unwrap_or(max_loras), max_loras, "vllm.max_cpu_loras", "max_loras", parts)?,
        eviction: AdapterEviction::Lru,
        modules: LoraModule::all(),
    })
}

fn sglang(parts: &Parts<'_>, adapters: &[Adapter]) -> Result<Room, Diagnostic> {
    let own = parts.config.sglang.clone().unwrap_or_default();
    let per_batch = own.max_loras_per_batch.unwrap_or(8);
    let loaded = match own.max_loaded_loras {
        Some(given) => at_least(given, per_batch, "sglang.max_loaded_loras", "max_loras_per_batch", parts)?,
        None => u64::MAX,
    };
    Ok(Room {
        max_rank: own.max_lora_rank.unwrap_or_else(|| adapters.iter().map(|adapter| adapter.rank).max().unwrap_or(1)),
        rank_key: "sglang.max_lora_rank",
        gpu_places: u64::from(per_batch),
        host_places: loaded,
        eviction: match own.lora_eviction_policy {
            Some(LoraEvictionPolicy::Fifo) => AdapterEviction::Fifo,
            _ => AdapterEviction::Lru,
        },
        modules: union(adapters),
    })
}

fn trtllm(parts: &Parts<'_>, adapters: &[Adapter]) -> Room {
    let own = parts.config.trtllm.clone().unwrap_or_default();
    let (lora, cache) = (own.lora_config.unwrap_or_default(), own.peft_cache_config.unwrap_or_default());
    let max_rank = lora.max_lora_rank.unwrap_or(64);
    let mut modules = union(adapters);
    // Query, key and value have adapters together or not at all.
    let together = [LoraModule::QProj, LoraModule::KProj, LoraModule::VProj];
    if modules.iter().any(|module| together.contains(module)) {
        modules.extend(together);
        modules.sort_unstable();
        modules.dedup();
    }
    let rank_bytes = LoraLayers::new(&parts.model, parts.tp, &modules, 0).gpu_bytes(1) / f64::from(parts.degrees.pp.max(1));
    let ranks_in = |bytes: f64| (bytes.max(0.0) / rank_bytes.max(1.0)) as u64;
    let weights = weight_bytes_per_rank(&parts.model, parts.tp, parts.dtype) / f64::from(parts.degrees.pp.max(1));
    let places = |count: Option<u32>, bytes: f64| count.map_or_else(|| ranks_in(bytes), |count| u64::from(count) * u64::from(max_rank));
    Room {
        max_rank,
        rank_key: "trtllm.lora_config.max_lora_rank",
        gpu_places: places(lora.max_loras, cache.device_cache_percent.unwrap_or(0.02) * (parts.device.memory_bytes - weights)),
        host_places: places(lora.max_cpu_loras, cache.host_cache_size.unwrap_or(1 << 30) as f64),
        eviction: AdapterEviction::Lru,
        modules,
    }
}

/// Weights that some adapter changes.
fn union(adapters: &[Adapter]) -> Vec<LoraModule> {
    let mut modules: Vec<LoraModule> = adapters.iter().flat_map(|adapter| adapter.modules.iter().copied()).collect();
    modules.sort_unstable();
    modules.dedup();
    modules
}
