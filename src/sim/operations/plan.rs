//! From a document's words to the operation of a run: defaults are filled in, and what cannot be honoured is refused.

mod scale;

use crate::cluster::RouterSpec;
use crate::cluster::admission::{AdmissionSpec, Order, TenantSpec};
use crate::cluster::faults::{FaultSpec, Renewal, Scripted, Unit};
use crate::cluster::planner::{Capability, DynamoSpec, Startup, StepTime, ThresholdSpec};
use crate::cluster::retries::RetrySpec;
use crate::cluster::router::queue::{KvQueue, QueueOrder};
use crate::config::Diagnostic;
use crate::config::schema::{AdmissionOrder, Document, FaultConfig, FaultKind, RandomFaults, ScalerMetric, Workload};
use crate::cost::{CostModel, Prefill};
use crate::sim::entry::ReplicaPlan;
use crate::sim::fleet::Group;
use crate::units::Time;

pub(in crate::sim) use scale::{COMPILE_S, PROVISION_S, WARM_UP_S, WEIGHTS_GB_PER_S, scale, scale_of_pools, unused_startup};

const GPUS_PER_NODE: u32 = 8;

/// What decides on the number of replicas.
#[derive(Clone, Debug)]
pub(in crate::sim) enum ScalerPlan {
    /// Of all pools: one, or prefill and decode.
    Dynamo { specs: Vec<DynamoSpec>, workers: Vec<(Capability, Box<ReplicaPlan>)> },
    /// Of one pool.
    Threshold { spec: ThresholdSpec, metric: ScalerMetric, pool: usize },
}

/// How many replicas a pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sim) struct PoolSize {
    pub initial: u32,
    /// Most that there can be: so many places there are.
    pub most: u32,
}

/// How many replicas an entry has, and what decides on it.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Scale {
    /// In the order of their replicas: one, or prefill and decode.
    pub pools: Vec<PoolSize>,
    pub scalers: Vec<ScalerPlan>,
    /// Of each replica.
    pub startup: Vec<Startup>,
}

impl Scale {
    /// Entries without scalers behind one load balancer.
    pub fn join(&mut self, other: &Scale) {
        let all = self.pools.iter().chain(&other.pools);
        let joined =
            all.fold(PoolSize::default(), |sum, pool| PoolSize { initial: sum.initial + pool.initial, most: sum.most + pool.most });
        self.pools = vec![joined];
        self.startup.extend_from_slice(&other.startup);
    }

    /// Places for replicas in all pools.
    pub fn most(&self) -> u32 {
        self.pools.iter().map(|pool| pool.most).sum()
    }
}

/// The operation of a run.
#[derive(Clone, Debug)]
pub(in crate::sim) struct OperationsPlan {
    /// GPUs of each replica, and the nodes it stands on: first and last.
    pub gpus: Vec<u32>,
    nodes: Vec<(u32, u32)>,
    /// Pools of replicas, in order.
    pub pools: Vec<PoolSize>,
    pub startup: Vec<Startup>,
    pub scalers: Vec<ScalerPlan>,
    pub faults: FaultSpec,
    pub retries: Option<RetrySpec>,
    pub admission: AdmissionSpec,
    /// Requests may wait before the replicas.
    pub queues: bool,
    /// The router holds requests back while the replicas are busy; the order of its queue, unless the document says another.
    pub router_queue: bool,
    pub queue_order: Option<QueueOrder>,
}

impl OperationsPlan {
    pub fn nodes(&self) -> u32 {
        self.nodes.iter().map(|(_, last)| last + 1).max().unwrap_or(0)
    }

    /// The replicas of each pool.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.pools.iter().scan(0, |first, pool| {
            let range = *first..*first + pool.most as usize;
            *first = range.end;
            Some(range)
        })
    }

    /// The pool that a replica belongs to.
    pub fn pool_of(&self, replica: usize) -> usize {
        self.ranges().position(|range| range.contains(&replica)).unwrap_or(0)
    }

    /// Whether the replica goes down with this piece of hardware.
    pub fn stands_on(&self, replica: usize, unit: Unit) -> bool {
        match unit {
            Unit::Gpu(gpu) => {
                let first: u32 = self.gpus[..replica].iter().sum();
                (first..first + self.gpus[replica]).contains(&gpu)
            }
            Unit::Node(node) => (self.nodes[replica].0..=self.nodes[replica].1).contains(&node),
            _ => false,
        }
    }

    /// The replica, or the way to it, is broken for good by now.
    pub fn doomed(&self, replica: usize, now: Time) -> bool {
        let hits = |unit: Unit| match unit {
            Unit::Link(other) | Unit::Drain(other) => other as usize == replica,
            Unit::Router => true,
            Unit::Slow { .. } => false,
            _ => self.stands_on(replica, unit),
        };
        let for_good = |event: &&Scripted| event.lasts == Time::NEVER && event.at <= now;
        self.faults.scripted.iter().filter(for_good).any(|event| hits(event.unit))
    }
}

/// Step times of an engine, for a planner.
pub(in crate::sim) struct StepMeter {
    cost: Option<Box<dyn CostModel>>,
    overlap: bool,
}

impl StepMeter {
    pub fn new(engine: &ReplicaPlan) -> StepMeter {
        StepMeter { cost: engine.step_costs().ok(), overlap: engine.overlaps() }
    }
}

impl StepTime for StepMeter {
    fn step_ms(&mut self, prefill: f64, sequences: f64, kv: f64) -> f64 {
        let Some(cost) = &mut self.cost else { return 0.0 };
        let (new, sequences, kv) = ((prefill + 0.5) as u32, (sequences + 0.5) as u32, kv.max(1.0) as u64);
        let step = if new > 0 {
            cost.mixed(&[Prefill { new_tokens: new, past_tokens: 0, completes: true }], sequences, if sequences > 0 { kv } else { 0 })
        } else {
            cost.decode(sequences.max(1), kv).at(kv)
        };
        let ps = if self.overlap { step.device_ps.max(step.host_ps) } else { step.device_ps + step.host_ps };
        Time(ps).as_ms()
    }
}

/// The operation of a run with these replicas; none where the document asks for nothing of it.
pub(in crate::sim) fn operations(
    document: &Document,
    workload: &Workload,
    group: &Group,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Option<OperationsPlan>, Diagnostic> {
    let Group { replicas, scale, .. } = group;
    let asked = document.faults.is_some() || document.retries.is_some() || document.admission.is_some() || document.tenants.is_some();
    let queue = group.router.as_ref().and_then(RouterSpec::queue);
    if !asked && scale.scalers.is_empty() && queue.is_none() {
        return Ok(None);
    }
    let gpus: Vec<u32> = replicas.iter().map(|replica| replica.info.gpus.max(1)).collect();
    let given = document.faults.as_ref().and_then(|faults| faults.gpus_per_node);
    let nodes = match &group.pools {
        None => placed(&gpus, given.unwrap_or(GPUS_PER_NODE)),
        Some(pools) => {
            if given.is_some() {
                let message = "has no effect on pools, which stand on the nodes of the hardware";
                warnings.push(Diagnostic::warning("faults.gpus_per_node", message, "take it out"));
            }
            let node = |gpu: u32| gpu / pools.per_node.max(1);
            pools.first_gpu.iter().zip(&gpus).map(|(&first, &count)| (node(first), node(first + count - 1))).collect()
        }
    };
    let mut plan = OperationsPlan {
        nodes,
        pools: scale.pools.clone(),
        startup: scale.startup.clone(),
        scalers: scale.scalers.clone(),
        faults: FaultSpec::default(),
        retries: document.retries.as_ref().map(retries),
        admission: admission(document, workload, queue)?,
        queues: document.admission.is_some() || queue.is_some(),
        router_queue: queue.is_some(),
        queue_order: queue.map(|queue| queue.order).filter(|_| document.admission.as_ref().is_none_or(|given| given.order.is_none())),
        gpus,
    };
    plan.faults = faults(document, &plan, replicas, warnings)?;
    Ok(Some(plan))
}

/// First and last node of each replica: they fill nodes in order, and one that fits on a node is not spread over two.
fn placed(gpus: &[u32], per_node: u32) -> Vec<(u32, u32)> {
    let mut next = 0;
    let place = |&count: &u32| {
        let left = per_node - next % per_node;
        if count > left && left < per_node {
            next += left;
        }
        let first = next / per_node;
        next += count;
        (first, (next - 1) / per_node)
    };
    gpus.iter().map(place).collect()
}

fn retries(given: &crate::config::schema::RetriesConfig) -> RetrySpec {
    let own = RetrySpec::default();
    RetrySpec {
        max_attempts: given.max_attempts.unwrap_or(own.max_attempts),
        initial_backoff: given.initial_backoff_ms.map_or(own.initial_backoff, Time::from_ms),
        multiplier: given.backoff_multiplier.unwrap_or(own.multiplier),
        max_backoff: given.max_backoff_ms.map_or(own.max_backoff, Time::from_ms),
        budget: given.budget.unwrap_or(own.budget),
        min_concurrency: given.min_concurrency.unwrap_or(own.min_concurrency),
        rejected: given.rejected.unwrap_or(own.rejected),
        keep_tokens: given.keep_tokens.unwrap_or(own.keep_tokens),
    }
}

fn admission(document: &Document, workload: &Workload, queue: Option<KvQueue>) -> Result<AdmissionSpec, Diagnostic> {
    let given = document.admission.clone().unwrap_or_default();
    let order = match given.order {
        None if queue.is_some() => Order::Score,
        None | Some(AdmissionOrder::Fcfs) => Order::Fcfs,
        Some(AdmissionOrder::Priority) => Order::Priority,
        Some(AdmissionOrder::Fair) => Order::Fair,
    };
    if let (Some(_), Some(queue)) = (given.order, queue)
        && queue.order != QueueOrder::Fcfs
    {
        let message = "the router's queue has an order already: `router_queue_policy`";
        return Err(Diagnostic::error("admission.order", message, "say one of the two"));
    }
    let profiles: Vec<&str> = workload.client_profiles.iter().flatten().map(|profile| profile.profile_name.as_str()).collect();
    let mut tenants = Vec::new();
    let mut tenant_of: Vec<Option<u16>> = vec![None; profiles.len()];
    for (index, tenant) in document.tenants.iter().flatten().enumerate() {
        let path = format!("tenants[{index}]");
        if tenants.iter().any(|other: &TenantSpec| other.name == tenant.name) {
            let message = format!("another tenant is called `{}` already", tenant.name);
            return Err(Diagnostic::error(format!("{path}.name"), message, "give it another name, or put the profiles of both in one"));
        }
        for (at, name) in tenant.profiles.iter().enumerate() {
            let at = format!("{path}.profiles[{at}]");
            let Some(profile) = profiles.iter().position(|known| known == name) else {
                let hint = if profiles.is_empty() {
                    "a trace has no client profiles".to_owned()
                } else {
                    format!("profiles: {}", profiles.join(", "))
                };
                return Err(Diagnostic::error(at, format!("no client profile is called `{name}`"), hint));
            };
            if tenant_of[profile].replace(index as u16).is_some() {
                return Err(Diagnostic::error(at, format!("`{name}` belongs to another tenant already"), "keep it with one"));
            }
        }
        let fair = order == Order::Fair;
        for (key, given) in [("weight", tenant.weight.is_some()), ("max_queue", tenant.max_queue.is_some())] {
            if given && !fair {
                let message = "has no effect: tenants share one queue";
                return Err(Diagnostic::error(format!("{path}.{key}"), message, "say `admission: {order: fair}`, or take it out"));
            }
        }
        if tenant.burst.is_some() && tenant.requests_per_second.is_none() {
            let message = "has no effect without a limit on the rate";
            return Err(Diagnostic::error(format!("{path}.burst"), message, "say `requests_per_second`, or take it out"));
        }
        tenants.push(TenantSpec {
            name: tenant.name.clone(),
            weight: tenant.weight.unwrap_or(1.0),
            max_queue: tenant.max_queue,
            rate: tenant.requests_per_second.map(|rate| (rate, tenant.burst.unwrap_or(rate.max(1.0)))),
        });
    }
    let rest = tenants.len() as u16;
    if document.tenants.is_none() || tenant_of.iter().any(Option::is_none) {
        let name = if tenants.is_empty() { "all" } else { "others" };
        tenants.push(TenantSpec { name: name.to_owned(), weight: 1.0, max_queue: None, rate: None });
    }
    if given.max_in_flight_per_replica.is_none() && order != Order::Fcfs && queue.is_none() {
        let message = "has no effect: nothing waits before the replicas while they take everything";
        return Err(Diagnostic::error("admission.order", message, "say `max_in_flight_per_replica`"));
    }
    Ok(AdmissionSpec {
        max_in_flight_per_replica: given.max_in_flight_per_replica,
        max_queue: given.max_queue,
        order,
        tenants,
        tenant_of: tenant_of.into_iter().map(|tenant| tenant.unwrap_or(rest)).collect(),
    })
}

fn faults(
    document: &Document,
    plan: &OperationsPlan,
    replicas: &[ReplicaPlan],
    warnings: &mut Vec<Diagnostic>,
) -> Result<FaultSpec, Diagnostic> {
    let Some(given) = &document.faults else { return Ok(FaultSpec::default()) };
    let random = |given: &Option<RandomFaults>| given.as_ref().map(|it| Renewal { mtbf_s: it.mtbf_h * 3600.0, mttr_s: it.mttr_s });
    let mut scripted = Vec::new();
    for (index, event) in given.events.iter().flatten().enumerate() {
        scripted.extend(fault(event, &format!("faults.events[{index}]"), plan, replicas, warnings)?);
    }
    Ok(FaultSpec { scripted, gpu: random(&given.gpu), node: random(&given.node), link: random(&given.link), router: random(&given.router) })
}

fn fault(
    event: &FaultConfig,
    path: &str,
    plan: &OperationsPlan,
    replicas: &[ReplicaPlan],
    warnings: &mut Vec<Diagnostic>,
) -> Result<Option<Scripted>, Diagnostic> {
    let index = event.index.unwrap_or(0);
    if event.kind == FaultKind::Router && event.index.is_some() {
        return Err(Diagnostic::error(format!("{path}.index"), "there is one router", "take it out"));
    }
    match (event.kind == FaultKind::Slow, event.factor) {
        (true, None) => return Err(Diagnostic::error(path, "does not say how slow", "say `factor: 2` for twice the time")),
        (false, Some(_)) => return Err(Diagnostic::error(format!("{path}.factor"), "is for `kind: slow`", "take it out")),
        _ => {}
    }
    let (unit, count, what) = match event.kind {
        FaultKind::Gpu => (Unit::Gpu(index), plan.gpus.iter().sum(), "GPUs"),
        FaultKind::Node => (Unit::Node(index), plan.nodes(), "nodes"),
        FaultKind::Link => (Unit::Link(index), plan.gpus.len() as u32, "replicas"),
        FaultKind::Router => (Unit::Router, 1, "router"),
        FaultKind::Drain => (Unit::Drain(index), plan.gpus.len() as u32, "replicas"),
        FaultKind::Slow => {
            let thousandths = (event.factor.unwrap_or(1.0) * 1000.0 + 0.5) as u32;
            (Unit::Slow { replica: index, thousandths }, plan.gpus.len() as u32, "replicas")
        }
    };
    if index >= count {
        let name = replicas.first().map_or("", |replica| replica.info.entry.as_str());
        let message = format!("does nothing to {name}, which has {count} {what}, numbered from 0");
        warnings.push(Diagnostic::warning(format!("{path}.index"), message, "choose a smaller number"));
        return Ok(None);
    }
    if replicas.get(index as usize).is_some_and(ReplicaPlan::has_ranks) {
        let message = "faults of engines with attention ranks are not modelled";
        return Err(Diagnostic::error(path, message, "take the event out, or the ranks"));
    }
    if event.kind == FaultKind::Slow && replicas.get(index as usize).is_some_and(ReplicaPlan::is_pipelined) {
        let message = "slow replicas with stages are not modelled";
        return Err(Diagnostic::error(path, message, "use tensor parallelism alone, or take the event out"));
    }
    Ok(Some(Scripted { at: Time::from_s(event.at_s), unit, lasts: event.duration_s.map_or(Time::NEVER, Time::from_s) }))
}

#[cfg(test)]
mod tests {
    use super::placed;

    #[test]
    fn replicas_fill_nodes_without_straddling() {
        assert_eq!(placed(&[4, 4, 4], 8), [(0, 0), (0, 0), (1, 1)]);
        assert_eq!(placed(&[2, 4, 4, 2], 8), [(0, 0), (0, 0), (1, 1), (1, 1)]);
        assert_eq!(placed(&[16, 1], 8), [(0, 1), (2, 2)]);
        assert_eq!(placed(&[3, 3, 3], 8), [(0, 0), (0, 0), (1, 1)]);
    }
}
