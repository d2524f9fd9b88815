//! An entry with a prefill pool and a decode pool as a document describes it: engines, GPUs, network, and the order in which KV moves.
//! What happens in a run is in `pools`.

use super::entry::{self, Context};
use super::fleet::{self, Group};
use super::operations;
use crate::catalog::{Device, Engine};
use crate::cluster::RouterSpec;
use crate::cluster::network::{Connector, Fabric, FabricSpec, KvRoute, Placement};
use crate::cluster::router::Rule;
use crate::config::Diagnostic;
use crate::config::schema::{
    ConditionalConfig, ConditionalPolicy, DisaggregationConfig, FirstTokenFrom, FrameworkConfig, FrameworkEntry, FrameworkKind,
    NetworkConfig, PoolConfig, TransferConfig, TransferConnector, TransferOrder,
};
use crate::units::Time;

/// Which comes first, a prompt or the memory for it in the decode pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Pull,
    Push,
}

/// When the client gets the first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Prefill,
    Seat,
    Decode,
}

/// When prompts are computed by the decode pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Conditional {
    pub by_length: bool,
    pub by_load: bool,
    pub max_length: u32,
    pub max_ratio: f64,
    pub busy_requests: u32,
}

/// Two pools as planned. The replicas of the prefill pool come first.
#[derive(Clone, Debug)]
pub(super) struct PoolsPlan {
    pub prefill_replicas: usize,
    pub decode_router: RouterSpec,
    pub order: Order,
    pub first_token: Moment,
    pub route: KvRoute,
    pub fabric: Fabric,
    /// First GPU of each replica.
    pub first_gpu: Vec<u32>,
    /// The decode pool keeps prefixes, and what it has of a prompt is not moved.
    pub reuses_on_decode: bool,
    pub conditional: Option<Conditional>,
    /// How long KV is kept that nobody fetches; none: for ever.
    pub lease: Option<Time>,
    /// The decode engine renews the lease as long as it is there.
    pub renews_leases: bool,
    /// GPUs of a node.
    pub per_node: u32,
}

/// Rate of a card where no server of the GPU is known, Gbit/s. An assumption.
pub(super) const USUAL_NIC_GBPS: f64 = 100.0;
/// From card to card under one leaf, and more over a spine, µs. Assumptions: RDMA over a switch takes 2 to 4 µs, a switch well under one.
pub(super) const LEAF_US: f64 = 3.0;
pub(super) const SPINE_US: f64 = 1.0;
/// Nodes of a scalable unit of NVIDIA's DGX SuperPOD.
pub(super) const NODES_PER_LEAF: u32 = 32;

/// How long a prefill engine keeps KV that nobody fetches, s: vLLM's NIXL connector grants 30 and renews them by heartbeats of the decode
/// engine (`kv_lease_duration`; docs/design/nixl_kv_cache_lease.md), TensorRT-LLM cancels what was not sent in 60
/// (`kv_transfer_timeout_ms`).
const VLLM_LEASE_S: f64 = 30.0;
const TRTLLM_LEASE_S: f64 = 60.0;

/// The pools that an entry is.
pub(super) fn group(
    context: &Context<'_>,
    entry: &FrameworkEntry,
    wanted: &DisaggregationConfig,
    path: &str,
    errors: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) -> Option<Group> {
    let at = format!("{path}.config.disaggregation");
    if entry.replicas.is_some() {
        let hint = "say `replicas` in each pool";
        errors.push(Diagnostic::error(format!("{path}.replicas"), "the pools say how many engines there are", hint));
    }
    if !context.hardware.is_nodes() {
        let hint = "say `node:`, such as `node: 8xH100-SXM`; a pool may have a `device` of its own";
        errors.push(Diagnostic::error(&at, "pools are placed on catalog nodes, and the hardware lists single devices", hint));
        return None;
    }
    let mut pool = |config: &PoolConfig, name: &str| {
        let entry = pool_entry(entry, config);
        let device = match &config.device {
            Some(wanted) => match context.catalog.device(wanted) {
                Ok(device) => Some(device.clone()),
                Err(unknown) => {
                    errors.push(Diagnostic::error(format!("{at}.{name}.device"), unknown.to_string(), "see `llmperforacle list gpus`"));
                    return None;
                }
            },
            None => None,
        };
        let plan = entry::replica_on(context, &entry, device.as_ref(), path, errors, warnings)?;
        Some((plan, config.device.is_some(), format!("{at}.{name}")))
    };
    let (prefill, decode) = (pool(&wanted.prefill, "prefill"), pool(&wanted.decode, "decode"));
    let ((prefill, own, prefill_path), (mut decode, other, decode_path)) = (prefill?, decode?);
    let scale = operations::plan::scale_of_pools(entry, wanted, [&prefill, &decode], path, warnings).map_err(|error| errors.push(error));
    let scale = scale.ok()?;
    let (prefills, decodes) = (scale.pools[0].most, scale.pools[1].most);
    let engine = prefill.engine();
    if prefill.is_pipeline() || decode.is_pipeline() {
        let hint = "use more of `tensor_parallel_size` in the pools";
        errors.push(Diagnostic::error(&at, "pipelines of stages are not modelled in pools", hint));
        return None;
    }
    let transfer = wanted.transfer.clone().unwrap_or_default();
    let order = match transfer.order {
        Some(TransferOrder::Pull) => Order::Pull,
        Some(TransferOrder::Push) => Order::Push,
        None if engine == Engine::Sglang => Order::Push,
        None => Order::Pull,
    };
    let first_token = match transfer.first_token {
        Some(FirstTokenFrom::Prefill) => Moment::Prefill,
        Some(FirstTokenFrom::Seat) => Moment::Seat,
        Some(FirstTokenFrom::Decode) => Moment::Decode,
        None if engine == Engine::Vllm => Moment::Decode,
        None => Moment::Seat,
    };
    if first_token == Moment::Decode && engine != Engine::Vllm {
        let message = "only vLLM's decode engines compute the last token of a prompt again";
        errors.push(Diagnostic::error(format!("{at}.transfer.first_token"), message, "say `seat` or `prefill`"));
        return None;
    }
    let lease_s = match engine {
        Engine::Vllm => Some(VLLM_LEASE_S),
        Engine::Trtllm => Some(TRTLLM_LEASE_S),
        Engine::Sglang => None,
    };
    let leased = transfer.lease_s.map(|_| "lease_s").or(transfer.lease_renewed.map(|_| "lease_renewed"));
    if let (Order::Push, Some(key)) = (order, leased) {
        let message = "has no effect: KV that is pushed is not kept for anybody";
        errors.push(Diagnostic::error(format!("{at}.transfer.{key}"), message, "say `order: pull`, or take it out"));
        return None;
    }
    let lease = transfer.lease_s.or(lease_s).filter(|_| order == Order::Pull).map(Time::from_s);
    let mut prefill = prefill;
    let said = |config: &FrameworkConfig| {
        config.host_overhead.as_ref().is_some_and(|host| host.per_request_api_ms.is_some())
            || config.calibration.as_ref().is_some_and(|own| own.per_request_ms.is_some())
    };
    if entry.kind != FrameworkKind::Dynamo && !said(&entry.config) {
        // A proxy sends every request to one server after the other, each of which reads its text, or to both at once.
        let (servers, readers) = if order == Order::Pull { (3, 2) } else { (2, 1) };
        prefill.api_time = Time(prefill.api_time.0.saturating_mul(servers));
        prefill.api_time_per_token = Time(prefill.api_time_per_token.0.saturating_mul(readers));
    }
    match engine {
        // Decode servers keep no radix tree.
        Engine::Sglang => decode.keep_no_prefixes(),
        // Its examples turn the overlap scheduler of context servers off.
        Engine::Trtllm => prefill.form_after_the_last(),
        Engine::Vllm => {}
    }
    let block = prefill.info.block_tokens;
    let route = KvRoute::new(connector(engine, &transfer), prefill.kv_shape, prefill.info.gpus, decode.info.gpus, block);
    let separate = transfer.separate_nodes.unwrap_or(false) || own || other;
    let per_node = prefill.node_gpus.max(decode.node_gpus);
    let mut placement = Placement::new(per_node);
    let mut first_gpu: Vec<u32> = (0..prefills).map(|_| placement.take(prefill.info.gpus)).collect();
    if separate {
        placement.next_node();
    }
    first_gpu.extend((0..decodes).map(|_| placement.take(decode.info.gpus)));
    if let Some(nodes) = context.hardware.nodes_given().filter(|nodes| placement.nodes() > *nodes) {
        let message = format!("the pools take {} nodes, and the hardware has {nodes}", placement.nodes());
        errors.push(Diagnostic::error(&at, message, "say more `nodes`, or leave `nodes` out to have as many as are needed"));
        return None;
    }
    let fabric = fabric(&context.hardware.network(), [&prefill.device, &decode.device], per_node, placement.nodes());
    let conditional = match &wanted.conditional {
        Some(_) if entry.kind != FrameworkKind::Dynamo => {
            let message = "only Dynamo chooses by request whether a prompt is computed elsewhere";
            errors.push(Diagnostic::error(format!("{at}.conditional"), message, "say `type: DYNAMO`, or take it out"));
            return None;
        }
        given => given.as_ref().map(conditional),
    };
    let decode_router = match &wanted.decode.router {
        Some(config) => RouterSpec::of_config(config, decodes, block, &format!("{decode_path}.router")),
        None => Ok(RouterSpec::new(Rule::RoundRobin)),
    };
    let router = match &wanted.prefill.router {
        Some(config) => RouterSpec::of_config(config, prefills, block, &format!("{prefill_path}.router")).map(Some),
        None => fleet::router(entry, prefills, block, path),
    };
    let router = router.map(|router| router.map(|router| router.before(prefill.limits().max_num_batched_tokens, prefill.has_tiers())));
    let (router, decode_router) = match (router, decode_router) {
        (Ok(router), Ok(decode_router)) => (router, decode_router),
        (router, decode_router) => {
            errors.extend(router.err().into_iter().chain(decode_router.err()));
            return None;
        }
    };
    let prefill_path = if wanted.prefill.router.is_some() { &prefill_path } else { path };
    let routers =
        [(router.as_ref(), &prefill, format!("{prefill_path}.router")), (Some(&decode_router), &decode, format!("{decode_path}.router"))];
    for (router, replica, path) in routers {
        if let Some(error) = router.and_then(|router| fleet::weighs_what_there_is(router, replica, &path).err()) {
            errors.push(error);
            return None;
        }
    }
    if decode_router.queue().is_some() {
        let message = "requests wait before the prefill pool, not between the pools";
        errors.push(Diagnostic::error(format!("{decode_path}.router.kv.router_queue_threshold"), message, "say it of the prefill pool"));
        return None;
    }
    if decode_router.snapshot_interval > Time::ZERO {
        let hint = "leave it out, or choose a policy that looks at no engine";
        let message = "what the decode pool's router knows of engines is never old";
        errors.push(Diagnostic::error(format!("{decode_path}.router.snapshot_interval_ms"), message, hint));
        return None;
    }
    let reuses_on_decode = engine == Engine::Vllm;
    prefill.info.role = "prefill".to_owned();
    decode.info.role = "decode".to_owned();
    let prefill_replicas = prefills as usize;
    let mut replicas = vec![prefill; prefill_replicas];
    replicas.extend(vec![decode; decodes as usize]);
    let pools = PoolsPlan {
        prefill_replicas,
        decode_router,
        order,
        first_token,
        route,
        fabric,
        first_gpu,
        reuses_on_decode,
        conditional,
        lease,
        renews_leases: transfer.lease_renewed.unwrap_or(engine == Engine::Vllm),
        per_node,
    };
    Some(Group {
        replicas,
        router: Some(router.unwrap_or_else(|| RouterSpec::new(Rule::RoundRobin))),
        pools: Some(pools),
        scale,
        encode: None,
    })
}

/// The entry as one pool's engines see it.
fn pool_entry(entry: &FrameworkEntry, pool: &PoolConfig) -> FrameworkEntry {
    let mut entry = entry.clone();
    let config = &mut entry.config;
    if let Some(tp) = pool.tensor_parallel_size {
        config.tensor_parallel_size = Some(tp);
        config.parallelism = None;
    }
    config.max_num_seqs = pool.max_num_seqs.or(config.max_num_seqs);
    config.max_num_batched_tokens = pool.max_num_batched_tokens.or(config.max_num_batched_tokens);
    config.gpu_memory_utilization = pool.gpu_memory_utilization.or(config.gpu_memory_utilization);
    config.num_gpu_blocks_override = pool.num_gpu_blocks_override.or(config.num_gpu_blocks_override);
    entry
}

fn connector(engine: Engine, transfer: &TransferConfig) -> Connector {
    let mut connector = match (transfer.connector, engine) {
        (None, _) => Connector::of(engine),
        (Some(TransferConnector::Mooncake), Engine::Sglang) => Connector::SGLANG_MOONCAKE,
        (Some(TransferConnector::Mooncake), _) => Connector::VLLM_MOONCAKE,
        (Some(TransferConnector::Nixl), _) => Connector::NIXL,
    };
    connector.latency = transfer.latency_ms.map_or(connector.latency, Time::from_ms);
    connector.network_efficiency = transfer.efficiency.unwrap_or(connector.network_efficiency);
    connector
}

/// The network of the pools' nodes. Nodes of two kinds meet at the slower of their cards.
pub(super) fn fabric(network: &NetworkConfig, devices: [&Device; 2], gpus_per_node: u32, nodes: u32) -> Fabric {
    let slower = |of: fn(&Device) -> f64| devices.iter().map(|device| of(device)).fold(f64::INFINITY, f64::min);
    let nic_gbps = network.nic_gbps.unwrap_or_else(|| slower(|device| device.nic_gbps.unwrap_or(USUAL_NIC_GBPS)));
    let spec = FabricSpec {
        nodes,
        gpus_per_node,
        port: slower(|device| device.interconnect.bytes_per_s) as u64,
        port_is_pcie: devices.iter().any(|device| device.interconnect.name.starts_with("PCIe")),
        nics_per_node: network.nics_per_node.unwrap_or(gpus_per_node),
        nic: (nic_gbps * 1e9 / 8.0) as u64,
        rail_optimised: network.rail_optimized.unwrap_or(true),
        nodes_per_leaf: network.nodes_per_leaf.unwrap_or(NODES_PER_LEAF),
        oversubscription: network.oversubscription.unwrap_or(1.0),
        port_latency: Time::from_us(devices[0].interconnect.latency_us),
        leaf_latency: Time::from_us(network.latency_us.unwrap_or(LEAF_US)),
        spine_latency: Time::from_us(network.spine_latency_us.unwrap_or(SPINE_US)),
    };
    Fabric::new(spec)
}

fn conditional(config: &ConditionalConfig) -> Conditional {
    let policy = config.policy.unwrap_or_default();
    Conditional {
        by_length: policy != ConditionalPolicy::PrefillLoad,
        by_load: policy != ConditionalPolicy::IslBounding,
        max_length: config.max_local_prefill_length.unwrap_or(2048),
        max_ratio: config.max_local_prefill_ratio.unwrap_or(0.7),
        busy_requests: config.busy_requests.unwrap_or(1),
    }
}
