//! An entry as a group of replicas behind a router: how many, on which hardware, and by which rule requests are spread.

use super::disaggregation::PoolsPlan;
use super::encode::EncodePlan;
use super::entry::ReplicaPlan;
use super::hardware::Hardware;
use super::operations::plan::Scale;
use crate::cluster::router::signals::Signal;
use crate::cluster::{Fleet, RouterSpec, Tournament};
use crate::config::Diagnostic;
use crate::config::schema::{FrameworkEntry, FrameworkKind, KvRouterConfig, RouterConfig};
use crate::engine::{AdapterSeats, Replica};
use crate::kv::Held;
use crate::metrics::Recorder;
use crate::units::Time;
use crate::workload::Request;

/// Replicas behind one router.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub replicas: Vec<ReplicaPlan>,
    /// Absent: as the workload's load balancing says.
    pub router: Option<RouterSpec>,
    /// The replicas are two pools.
    pub pools: Option<PoolsPlan>,
    /// How many of the replicas there are when.
    pub scale: Scale,
    /// Images are encoded before the router.
    pub encode: Option<EncodePlan>,
}

/// The group that an entry is, given one of its replicas.
pub(super) fn group(
    entry: &FrameworkEntry,
    replica: ReplicaPlan,
    hardware: &Hardware<'_>,
    path: &str,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Group, Diagnostic> {
    let scale = super::operations::plan::scale(entry, &replica, path, warnings)?;
    let count = scale.most();
    let gpus = u64::from(replica.info.gpus) * u64::from(count);
    if let Some(devices) = hardware.listed_devices().filter(|devices| gpus > *devices && count > 1) {
        let message = format!("{count} replicas of {} GPUs need {gpus} GPUs, and the hardware lists {devices}", replica.info.gpus);
        return Err(Diagnostic::error(format!("{path}.replicas"), message, "list more compute_devices, or say `node:` instead"));
    }
    let block = replica.info.block_tokens;
    let dynamo = entry.config.dynamo.clone().unwrap_or_default();
    let router =
        router(entry, count, block, path)?.map(|router| router.before(replica.limits().max_num_batched_tokens, replica.has_tiers()));
    if let Some(router) = &router {
        weighs_what_there_is(router, &replica, &format!("{path}.router"))?;
    }
    if count == 1 && entry.router.is_some() {
        let message = "there is one replica, so nothing is routed";
        warnings.push(Diagnostic::warning(format!("{path}.router"), message, "say `replicas:`"));
    }
    let (kv, at) = match (&dynamo.kv, entry.router.as_ref().and_then(|router| router.kv.as_ref())) {
        (Some(kv), _) => (kv.clone(), format!("{path}.config.dynamo")),
        (None, Some(kv)) => (kv.clone(), format!("{path}.router")),
        (None, None) => (KvRouterConfig::default(), path.to_owned()),
    };
    let events = kv.use_kv_events.unwrap_or(true);
    let by_kv = router.as_ref().is_some_and(|router| matches!(router.rule, crate::cluster::router::Rule::Kv(_)));
    if by_kv && events && count > 1 && !replica.tells_what_it_holds() {
        let message = "a group of attention ranks tells no router what it holds: what was routed there counts as cached";
        warnings.push(Diagnostic::warning(&at, message, "say `use_kv_events: false` to let it count for a time only"));
    }
    let late = router.as_ref().is_some_and(|router| router.event_delay.max(router.snapshot_interval) > Time::ZERO);
    if by_kv && events && count > 1 && late && replica.has_tiers() {
        let message = "the router hears late of KV on the GPU only: what tiers below hold it knows at once";
        warnings.push(Diagnostic::warning(&at, message, "leave the delay out to compare with tiers"));
    }
    Ok(Group { replicas: vec![replica; count as usize], router, pools: None, scale, encode: None })
}

/// The rule by which an entry spreads requests over `count` engines with blocks of `block` tokens; none where there is nothing to choose
/// and nothing is said.
pub(super) fn router(entry: &FrameworkEntry, count: u32, block: u32, path: &str) -> Result<Option<RouterSpec>, Diagnostic> {
    let dynamo = entry.config.dynamo.clone().unwrap_or_default();
    Ok(match (entry.kind, &entry.router) {
        (FrameworkKind::Dynamo, Some(_)) => {
            let hint = "say `config.dynamo.router_mode`";
            return Err(Diagnostic::error(format!("{path}.router"), "Dynamo's frontend is the router", hint));
        }
        (FrameworkKind::Dynamo, None) => Some(RouterSpec::of_dynamo(&dynamo, count, block, &format!("{path}.config.dynamo"))?),
        (_, Some(config)) => Some(RouterSpec::of_config(config, count, block, &format!("{path}.router"))?),
        (_, None) if count > 1 => Some(RouterSpec::of_config(&RouterConfig::default(), count, block, path)?),
        (_, None) => None,
    })
}

/// Weighing adapters that nobody asks for would have no effect.
pub(super) fn weighs_what_there_is(router: &RouterSpec, replica: &ReplicaPlan, path: &str) -> Result<(), Diagnostic> {
    if router.weighs_adapters() && !replica.serves_adapters() {
        let message = "has no effect: no request asks for an adapter";
        return Err(Diagnostic::error(format!("{path}.lora_affinity_scorer"), message, "say `workload.lora`, or take it out"));
    }
    Ok(())
}

/// Replicas as a router sees them.
pub(super) struct Engines<'a> {
    replicas: &'a mut [Replica],
    /// Where what is looked at takes its steps up to an instant first.
    settling: Option<(&'a mut Tournament, &'a mut Recorder, Time)>,
    /// Caches are known by what they had told by then; none where they are asked.
    known: Option<Time>,
}

impl<'a> Engines<'a> {
    /// Engines that put no runs off.
    pub(super) fn still(replicas: &'a mut [Replica]) -> Engines<'a> {
        Engines { replicas, settling: None, known: None }
    }

    /// Engines that do, as of `now`; `events` are theirs.
    pub(super) fn settling(replicas: &'a mut [Replica], events: &'a mut Tournament, recorder: &'a mut Recorder, now: Time) -> Engines<'a> {
        Engines { replicas, settling: Some((events, recorder, now)), known: None }
    }

    /// Whose caches are known by what they had told by `known`, if that is given.
    #[must_use]
    pub(super) fn known_by(mut self, known: Option<Time>) -> Engines<'a> {
        self.known = known;
        self
    }

    fn settled(&mut self, replica: usize) -> &Replica {
        let engine = &mut self.replicas[replica];
        if let Some((events, recorder, now)) = &mut self.settling {
            engine.settle(*now, *recorder);
            events.set(replica, engine.next_event().0);
        }
        engine
    }
}

impl Fleet for Engines<'_> {
    fn signal(&mut self, replica: usize) -> Signal {
        let engine = self.settled(replica);
        let (waiting, running) = engine.load();
        Signal { waiting, running, kv_usage: engine.kv_blocks_used() as f64 / engine.kv_blocks_total().max(1) as f64 }
    }

    fn adapters(&mut self, replica: usize, told: &mut AdapterSeats) {
        self.settled(replica).adapters(told);
    }

    fn held(&mut self, replica: usize, request: &Request) -> Option<Held> {
        if let Some(known) = self.known {
            self.settled(replica);
            return self.replicas[replica].held_as_of(request, known);
        }
        let engine = &mut self.replicas[replica];
        if let Some((events, recorder, now)) = &mut self.settling {
            engine.take_blocks(*now, *recorder);
            events.set(replica, engine.next_event().0);
        }
        engine.held(request)
    }
}
