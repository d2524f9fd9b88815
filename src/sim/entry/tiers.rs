//! Tiers of KV below an entry's GPUs: the document's, with what the engine's own option would have.
//!
//! Sources: SGLang 0.5.23 (HiCache: host memory of twice the device's, write-through, load-back by layers, prefetch from 256 tokens on
//! within 1 s and 0.25 s a thousand tokens), TensorRT-LLM (`host_cache_size`: what is evicted is copied, what comes back moves), vLLM's
//! offloading connector (write-through, requests wait for their KV), Dynamo's KVBM (down to the disk only what is asked for again).
//! Rates and latencies are assumptions: about 80 % of a PCIe x16 link, an NVMe disk of the fourth generation, a network of 100 Gbit/s.

use super::{Parts, ReplicaPlan};
use crate::catalog::Engine;
use crate::config::Diagnostic;
use crate::config::schema::{FrameworkKind, KvLoad, KvPrefetch, KvTier, KvTiersConfig, KvWritePolicy, SglangWritePolicy};
use crate::engine::PolicySpec;
use crate::kv::tiers::{Patience, Prefetch, Rate};
use crate::kv::{LoadBack, Tier, Tiers, WritePolicy};
use crate::sim::hardware::Hardware;
use crate::units::Time;

const GIB_IN_GB: f64 = (1_u64 << 30) as f64 / 1e9;
/// Fewest tokens of a chunk.
const LEAST_CHUNK: u32 = 16;
/// `hicache_ratio`: host memory over the device's KV memory.
const HICACHE_RATIO: f64 = 2.0;
/// `write_through_selective`: uses.
const THRESHOLD: u8 = 2;
/// Fewest tokens that HiCache prefetches.
const PREFETCH_TOKENS: u64 = 256;

/// The pool that tiers are below.
pub(super) struct Pool {
    pub blocks: u64,
    pub block_size: u32,
    /// KV of a token on one GPU, bytes.
    pub token_bytes: f64,
}

/// The tiers of an entry, if it has any.
pub(super) fn tiers(parts: &Parts<'_>, kind: FrameworkKind, pool: &Pool) -> Result<Option<Tiers>, Diagnostic> {
    let own;
    let (given, at) = match &parts.config.kv_tiers {
        Some(given) => (given, parts.at("kv_tiers")),
        None => {
            let Some((found, at)) = own_words(parts, pool) else { return Ok(None) };
            own = found;
            (&own, at)
        }
    };
    if parts.degrees.pp > 1 {
        return Err(Diagnostic::error(at, "tiers below a pipeline of stages are not modelled", "take them out, or share layers instead"));
    }
    let dynamo = kind == FrameworkKind::Dynamo;
    let chunk_tokens = given.chunk_tokens.unwrap_or(pool.block_size * LEAST_CHUNK.div_ceil(pool.block_size));
    if !chunk_tokens.is_multiple_of(pool.block_size) {
        let message = format!("a chunk of {chunk_tokens} tokens is no multiple of a block of {}", pool.block_size);
        return Err(Diagnostic::error(format!("{at}.chunk_tokens"), message, "make it one"));
    }
    let common = given.write_policy.unwrap_or(match parts.engine {
        Engine::Trtllm => KvWritePolicy::WriteBack,
        _ => KvWritePolicy::WriteThrough,
    });
    let policy = |kind: usize, tier: &KvTier| {
        let selective = dynamo && kind == 1 && given.write_policy.is_none();
        let common = if selective { KvWritePolicy::WriteThroughSelective } else { common };
        match tier.write_policy.unwrap_or(common) {
            KvWritePolicy::WriteThrough => WritePolicy::Through,
            KvWritePolicy::WriteThroughSelective => WritePolicy::Selective(given.write_threshold.unwrap_or(THRESHOLD)),
            KvWritePolicy::WriteBack => WritePolicy::Back,
        }
    };
    let gpus = f64::from(parts.tp);
    let mut tiers = Vec::new();
    for (kind, name, tier) in given.given() {
        let (rank_bytes, bytes) = (pool.token_bytes * f64::from(chunk_tokens), pool.token_bytes * f64::from(chunk_tokens) * gpus);
        let device_gb = pool.blocks as f64 * f64::from(pool.block_size) * pool.token_bytes * gpus / 1e9;
        let size_gb = tier.size_gb.unwrap_or(HICACHE_RATIO * device_gb);
        let chunks = (size_gb * 1e9 / bytes) as u64;
        if chunks == 0 {
            let message = format!("{size_gb} GB hold not one chunk of {chunk_tokens} tokens ({:.3} GB)", bytes / 1e9);
            return Err(Diagnostic::error(format!("{at}.{name}.size_gb"), message, "make it larger"));
        }
        let (read_gb_s, write_gb_s, latency_us) = match kind {
            0 => (pcie_gb_s(parts), pcie_gb_s(parts), 10.0),
            1 => (7.0, 5.0, 80.0),
            _ => (12.5, 12.5, 500.0),
        };
        let factor = parts.config.calibration.as_ref().and_then(|own| own.tier_rate).unwrap_or(1.0);
        let read_gb_s = tier.bandwidth_gb_s.unwrap_or(read_gb_s) * factor;
        let write_gb_s = tier.write_bandwidth_gb_s.or(tier.bandwidth_gb_s).unwrap_or(write_gb_s) * factor;
        // Every GPU has a link to the host; a disk and the network serve all of them.
        let moved = if kind == 0 { rank_bytes } else { bytes };
        let latency = Time::from_us(tier.latency_us.unwrap_or(latency_us));
        let rate = |gb_s: f64| Rate { chunk_ps: Time::from_s(moved / (gb_s * 1e9)).0.max(1), latency };
        tiers.push(Tier { kind, chunks, read: rate(read_gb_s), write: rate(write_gb_s), policy: policy(kind, tier) });
    }
    let load = given.load.unwrap_or(match parts.engine {
        Engine::Vllm => KvLoad::Fetch,
        Engine::Sglang => KvLoad::Layers,
        Engine::Trtllm => KvLoad::Serial,
    });
    let patience = match given.prefetch.unwrap_or(KvPrefetch::Timeout) {
        KvPrefetch::BestEffort => Patience::BestEffort,
        KvPrefetch::WaitComplete => Patience::Complete,
        KvPrefetch::Timeout => Patience::Timeout { base: Time::from_s(1.0), per_token: Time::from_us(250.0) },
    };
    let prefetches = parts.engine == Engine::Sglang && given.host.is_some() && tiers.len() > 1;
    Ok(Some(Tiers {
        chunk_tokens,
        tiers,
        load: match load {
            KvLoad::Serial => LoadBack::Serial,
            KvLoad::Layers => LoadBack::Layers(parts.model.attention_layers()),
            KvLoad::Fetch => LoadBack::Fetch,
        },
        exclusive: parts.engine == Engine::Trtllm && common == KvWritePolicy::WriteBack,
        promotes: !dynamo && parts.engine != Engine::Trtllm,
        prefetch: prefetches.then_some(Prefetch { patience, least_tokens: PREFETCH_TOKENS }),
    }))
}

/// What PCIe moves in one direction, GB/s, by the generation that the device's other link belongs to.
pub(super) fn pcie_gb_s(parts: &Parts<'_>) -> f64 {
    match parts.device.interconnect.name.as_str() {
        "NVLink4" | "NVLink5" | "PCIe5" => 50.0,
        "NVLink2" | "PCIe3" => 12.0,
        _ => 25.0,
    }
}

/// Tiers as an engine's own options ask for them, and where.
fn own_words(parts: &Parts<'_>, pool: &Pool) -> Option<(KvTiersConfig, String)> {
    let host = |size_gb: Option<f64>| Some(KvTier { size_gb, ..KvTier::default() });
    if let (Engine::Vllm, Some(own)) = (parts.engine, &parts.config.vllm) {
        let tiers = KvTiersConfig { host: host(Some(own.kv_offloading_size? * GIB_IN_GB)), ..KvTiersConfig::default() };
        return Some((tiers, parts.at("vllm.kv_offloading_size")));
    }
    if let (Engine::Trtllm, Some(own)) = (parts.engine, &parts.config.trtllm) {
        // In bytes, for each GPU.
        let size_gb = own.host_cache_size? as f64 * f64::from(parts.tp) / 1e9;
        return Some((KvTiersConfig { host: host(Some(size_gb)), ..KvTiersConfig::default() }, parts.at("trtllm.host_cache_size")));
    }
    let own = parts.config.sglang.as_ref().filter(|own| parts.engine == Engine::Sglang && own.enable_hierarchical_cache == Some(true))?;
    let gpus = f64::from(parts.tp);
    let device_gb = pool.blocks as f64 * f64::from(pool.block_size) * pool.token_bytes * gpus / 1e9;
    // `hicache_size` is of each GPU's process.
    let size_gb = own.hicache_size.filter(|gb| *gb > 0.0).map(|gb| gb * gpus);
    let size_gb = size_gb.unwrap_or(own.hicache_ratio.unwrap_or(HICACHE_RATIO) * device_gb);
    let write_policy = own.hicache_write_policy.map(|policy| match policy {
        SglangWritePolicy::WriteThrough => KvWritePolicy::WriteThrough,
        SglangWritePolicy::WriteThroughSelective => KvWritePolicy::WriteThroughSelective,
        SglangWritePolicy::WriteBack => KvWritePolicy::WriteBack,
    });
    let tiers = KvTiersConfig { host: host(Some(size_gb)), write_policy, ..KvTiersConfig::default() };
    Some((tiers, parts.at("sglang.enable_hierarchical_cache")))
}

/// Host memory of a node for each of its GPUs, GB, where the document does not say: DGX A100 (80 GB), H100 and B200 have 2 TB and more for
/// eight. An assumption for other servers.
const HOST_GB_PER_GPU: f64 = 256.0;

/// Why the host tiers of the engines of a node cannot be, where its memory is given; a warning where it is assumed.
pub(in crate::sim) fn host_memory(
    replicas: &[ReplicaPlan],
    hardware: &Hardware<'_>,
    path: &str,
    warnings: &mut Vec<Diagnostic>,
) -> Option<Diagnostic> {
    if let Some(error) = swap_space(replicas, hardware, path) {
        return Some(error);
    }
    let replica =
        replicas.iter().find(|replica| replica.tiers.as_ref().is_some_and(|tiers| tiers.tiers.iter().any(|tier| tier.kind == 0)))?;
    let tiers = replica.tiers.as_ref()?;
    let chunks: u64 = tiers.tiers.iter().filter(|tier| tier.kind == 0).map(|tier| tier.chunks).sum();
    let each_gb = chunks as f64 * f64::from(tiers.chunk_tokens) * replica.kv_shape.bytes_per_token() / 1e9;
    let gpus = replica.info.gpus.max(1);
    // A node is filled before the next one is begun.
    let (node_gpus, given) = (replica.node_gpus.max(gpus), hardware.host_memory_gb());
    let engines = (node_gpus / gpus).min(replicas.len() as u32).max(1);
    let room_gb = given.unwrap_or(HOST_GB_PER_GPU * f64::from(node_gpus));
    let wanted_gb = each_gb * f64::from(engines);
    if wanted_gb <= room_gb {
        return None;
    }
    let what = format!("{engines} host tiers of {each_gb:.0} GB on a node");
    let at = format!("{path}.config");
    if given.is_some() {
        let message = format!("{what}, which has {room_gb:.0} GB of memory");
        return Some(Diagnostic::error(at, message, "lower the tier's size, or raise `hardware_profile.host_memory_gb`"));
    }
    let message = format!("{what}, which is taken to have {room_gb:.0} GB of memory");
    warnings.push(Diagnostic::warning(at, message, "say `hardware_profile.host_memory_gb`, or lower the tier's size"));
    None
}

/// Why an engine would not start with its `swap_space`: vLLM gives it no more than 70 % of its host's memory (`verify_with_parallel_config`).
fn swap_space(replicas: &[ReplicaPlan], hardware: &Hardware<'_>, path: &str) -> Option<Diagnostic> {
    let swap_of = |replica: &ReplicaPlan| match &replica.policy {
        PolicySpec::Vllm(options) => options.swap,
        _ => None,
    };
    let (replica, swap) = replicas.iter().find_map(|replica| Some((replica, swap_of(replica)?)))?;
    let (info, gpus) = (&replica.info, f64::from(replica.info.gpus));
    let gb = swap.blocks as f64 * f64::from(info.block_tokens) * info.work.kv_bytes_per_token * gpus / 1e9;
    let room_gb = hardware.host_memory_gb().unwrap_or(HOST_GB_PER_GPU * f64::from(replica.node_gpus.max(info.gpus)));
    (gb > 0.7 * room_gb).then(|| {
        let message = format!("{gb:.0} GB to swap to are more than 70 % of the host's {room_gb:.0} GB: vLLM does not start");
        Diagnostic::error(format!("{path}.config.vllm.swap_space"), message, "lower it, or raise `hardware_profile.host_memory_gb`")
    })
}
