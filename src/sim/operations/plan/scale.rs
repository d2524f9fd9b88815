//! What a document says about the number of replicas, what decides on it, and how long one takes to start.

use super::{PoolSize, Scale, ScalerPlan};
use crate::cluster::planner::dynamo::Role;
use crate::cluster::planner::threshold::{Limit, Policy, Select, Speed};
use crate::cluster::planner::{Capability, DynamoSpec, PredictorSpec, Startup, Target, ThresholdSpec};
use crate::config::Diagnostic;
use crate::config::schema::{
    AutoscalerConfig, DisaggregationConfig, Document, FrameworkEntry, LoadPredictor, PlannerConfig, PlannerTarget, ScalingPolicyKind,
    ScalingSpeed, SelectPolicy, StartupConfig,
};
use crate::sim::entry::ReplicaPlan;
use crate::units::Time;

/// Assumed: no framework publishes start-up times.
pub(in crate::sim) const PROVISION_S: f64 = 30.0;
pub(in crate::sim) const WEIGHTS_GB_PER_S: f64 = 2.0;
pub(in crate::sim) const COMPILE_S: f64 = 40.0;
pub(in crate::sim) const WARM_UP_S: f64 = 5.0;

/// What an entry says about the number of its replicas.
pub(in crate::sim) fn scale(
    entry: &FrameworkEntry,
    replica: &ReplicaPlan,
    path: &str,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Scale, Diagnostic> {
    let startup = startup(entry.startup.as_ref(), replica);
    let scaler = match (&entry.planner, &entry.autoscaler) {
        (Some(_), Some(_)) => {
            return Err(Diagnostic::error(format!("{path}.autoscaler"), "is given beside `planner`", "keep one of the two"));
        }
        (Some(planner), None) => Some(dynamo(planner, &[(replica, Role::Aggregated)], &format!("{path}.planner"), warnings)?),
        (None, Some(autoscaler)) => Some(threshold(autoscaler, 0, &format!("{path}.autoscaler"))?),
        (None, None) => None,
    };
    let pool = pool_size(entry.replicas, scaler.as_ref(), 0, &format!("{path}.replicas"))?;
    Ok(Scale { pools: vec![pool], startup: vec![startup; pool.most as usize], scalers: scaler.into_iter().collect() })
}

/// What an entry says about the numbers of replicas of its prefill and its decode pool.
pub(in crate::sim) fn scale_of_pools(
    entry: &FrameworkEntry,
    wanted: &DisaggregationConfig,
    replicas: [&ReplicaPlan; 2],
    path: &str,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Scale, Diagnostic> {
    if entry.autoscaler.is_some() {
        let hint = "say it in `disaggregation.prefill` or `disaggregation.decode`";
        return Err(Diagnostic::error(format!("{path}.autoscaler"), "each pool has a scaler of its own", hint));
    }
    let configs = [("prefill", &wanted.prefill), ("decode", &wanted.decode)];
    let mut scale = Scale::default();
    if let Some(planner) = &entry.planner {
        let workers = [(replicas[0], Role::Prefill), (replicas[1], Role::Decode)];
        scale.scalers.push(dynamo(planner, &workers, &format!("{path}.planner"), warnings)?);
    }
    for (pool, (name, config)) in configs.into_iter().enumerate() {
        let at = format!("{path}.config.disaggregation.{name}");
        if let Some(autoscaler) = &config.autoscaler {
            if entry.planner.is_some() {
                return Err(Diagnostic::error(format!("{at}.autoscaler"), "is given beside `planner`", "keep one of the two"));
            }
            scale.scalers.push(threshold(autoscaler, pool, &format!("{at}.autoscaler"))?);
        }
        let scaler = scale.scalers.iter().find(|scaler| match scaler {
            ScalerPlan::Dynamo { .. } => true,
            ScalerPlan::Threshold { pool: of, .. } => *of == pool,
        });
        let size = pool_size(config.replicas, scaler, pool, &format!("{at}.replicas"))?;
        scale.pools.push(size);
        scale.startup.extend(vec![startup(entry.startup.as_ref(), replicas[pool]); size.most as usize]);
    }
    Ok(scale)
}

/// How many replicas a pool starts with and may have; `at` is where the document gives the first.
fn pool_size(given: Option<u32>, scaler: Option<&ScalerPlan>, pool: usize, at: &str) -> Result<PoolSize, Diagnostic> {
    let (least, most) = match scaler {
        None => {
            let count = given.unwrap_or(1);
            return Ok(PoolSize { initial: count, most: count });
        }
        Some(ScalerPlan::Threshold { spec, .. }) => (spec.min_replicas, spec.max_replicas),
        Some(ScalerPlan::Dynamo { specs, workers }) => {
            // What the other pools' fewest replicas leave of the budget.
            let others = specs.iter().zip(workers).enumerate().filter(|(other, _)| *other != pool);
            let taken: u32 = others.map(|(_, (spec, (capability, _)))| spec.min_replicas * capability.gpus).sum();
            let (spec, (capability, _)) = (&specs[pool], &workers[pool]);
            (spec.min_replicas, spec.max_gpus.unwrap_or(0).saturating_sub(taken) / capability.gpus.max(1))
        }
    };
    let initial = given.unwrap_or(least);
    if !(least..=most).contains(&initial) {
        let message = format!("{initial} replicas to start with, where there may be {least} to {most}");
        return Err(Diagnostic::error(at, message, "start within the limits"));
    }
    Ok(PoolSize { initial, most })
}

fn startup(given: Option<&StartupConfig>, replica: &ReplicaPlan) -> Startup {
    let given = given.cloned().unwrap_or_default();
    let weights = replica.info.memory.weights_bytes * f64::from(replica.info.gpus);
    Startup {
        provision: Time::from_s(given.provision_s.unwrap_or(PROVISION_S)),
        load: Time::from_s(weights / (given.weights_gb_per_s.unwrap_or(WEIGHTS_GB_PER_S) * 1e9)),
        compile: Time::from_s(given.compile_s.unwrap_or(COMPILE_S)),
        warm_up: Time::from_s(given.warm_up_s.unwrap_or(WARM_UP_S)),
    }
}

fn dynamo(
    given: &PlannerConfig,
    workers: &[(&ReplicaPlan, Role)],
    path: &str,
    warnings: &mut Vec<Diagnostic>,
) -> Result<ScalerPlan, Diagnostic> {
    let target = match given.optimization_target.unwrap_or_default() {
        PlannerTarget::Throughput => Target::Throughput,
        PlannerTarget::Latency => Target::Latency,
        PlannerTarget::Sla => Target::Sla,
    };
    let easy = target != Target::Sla;
    if easy {
        let idle = [
            ("ttft_ms", given.ttft_ms.is_some()),
            ("itl_ms", given.itl_ms.is_some()),
            ("throughput_adjustment_interval", given.throughput_adjustment_interval.is_some()),
            ("load_scaling_down_sensitivity", given.load_scaling_down_sensitivity.is_some()),
            ("load_predictor", given.load_predictor.is_some()),
            ("load_predictor_log1p", given.load_predictor_log1p.is_some()),
            ("max_delta", given.max_delta.is_some()),
        ];
        if let Some((key, _)) = idle.into_iter().find(|(_, given)| *given) {
            let message = "has no effect on a target of fixed thresholds";
            return Err(Diagnostic::error(format!("{path}.{key}"), message, "say `optimization_target: sla`, or take it out"));
        }
        if given.enable_throughput_scaling == Some(true) || given.enable_load_scaling == Some(false) {
            let message = "the targets throughput and latency scale by load alone";
            return Err(Diagnostic::error(path, message, "say `optimization_target: sla`, or take the switches out"));
        }
    }
    let kalman = [given.kalman_q_level, given.kalman_q_trend, given.kalman_r];
    let predictor = match given.load_predictor.unwrap_or_default() {
        LoadPredictor::Constant => PredictorSpec::Constant,
        LoadPredictor::Arima => PredictorSpec::Arima,
        LoadPredictor::Kalman => {
            PredictorSpec::Kalman { q_level: kalman[0].unwrap_or(1.0), q_trend: kalman[1].unwrap_or(0.1), r: kalman[2].unwrap_or(10.0) }
        }
    };
    if kalman.iter().any(Option::is_some) && given.load_predictor != Some(LoadPredictor::Kalman) {
        let hint = "say `load_predictor: kalman`, or take them out";
        return Err(Diagnostic::error(path, "`kalman_…` has no effect on another predictor", hint));
    }
    let spec = DynamoSpec {
        target,
        role: Role::Aggregated,
        ttft_ms: given.ttft_ms.unwrap_or(500.0),
        itl_ms: given.itl_ms.unwrap_or(50.0),
        load_interval: Time::from_s(given.load_adjustment_interval.unwrap_or(5.0)),
        throughput_interval: Time::from_s(given.throughput_adjustment_interval.unwrap_or(180.0)),
        load_scaling: easy || given.enable_load_scaling.unwrap_or(false),
        throughput_scaling: !easy && given.enable_throughput_scaling.unwrap_or(true),
        sensitivity: given.load_scaling_down_sensitivity.unwrap_or(80.0) / 100.0,
        predictor,
        log1p: given.load_predictor_log1p.unwrap_or(false),
        max_gpus: Some(given.max_gpu_budget.unwrap_or(8)),
        min_replicas: given.min_endpoint.unwrap_or(1),
        max_step: given.max_delta.unwrap_or(8),
    };
    if !spec.load_scaling && !spec.throughput_scaling {
        return Err(Diagnostic::error(path, "both ways to scale are off", "enable one of them"));
    }
    if spec.load_scaling && spec.throughput_scaling && spec.load_interval >= spec.throughput_interval {
        let message = "is not shorter than throughput_adjustment_interval";
        return Err(Diagnostic::error(format!("{path}.load_adjustment_interval"), message, "the loop by load is the fast one"));
    }
    let gpus: u32 = workers.iter().map(|(replica, _)| replica.info.gpus.max(1)).sum();
    if spec.max_gpus.is_some_and(|most| most / gpus < spec.min_replicas) {
        let each = if workers.len() > 1 { " in each pool" } else { "" };
        let message =
            format!("{} replicas{each} of {gpus} GPUs do not fit in a budget of {} GPUs", spec.min_replicas, spec.max_gpus.unwrap_or(0));
        return Err(Diagnostic::error(format!("{path}.max_gpu_budget"), message, "raise it, or lower min_endpoint"));
    }
    if !easy && workers.iter().any(|(replica, _)| replica.is_pipelined()) {
        let message = "the planner is told the step time of an engine without stages: that of all layers in a row";
        warnings.push(Diagnostic::warning(path, message, ""));
    }
    let capability = |replica: &ReplicaPlan| {
        let limits = replica.limits();
        Capability {
            gpus: replica.info.gpus.max(1),
            max_kv_tokens: replica.info.kv_blocks * u64::from(replica.info.block_tokens),
            max_num_batched_tokens: limits.max_num_batched_tokens,
            max_num_seqs: limits.max_num_seqs,
            context_length: limits.max_model_len,
        }
    };
    Ok(ScalerPlan::Dynamo {
        specs: workers.iter().map(|&(_, role)| DynamoSpec { role, ..spec.clone() }).collect(),
        workers: workers.iter().map(|(replica, _)| (capability(replica), Box::new((*replica).clone()))).collect(),
    })
}

fn threshold(given: &AutoscalerConfig, pool: usize, path: &str) -> Result<ScalerPlan, Diagnostic> {
    let min_replicas = given.min_replicas.unwrap_or(1);
    if min_replicas > given.max_replicas {
        let message = format!("{min_replicas} is more than max_replicas, {}", given.max_replicas);
        return Err(Diagnostic::error(format!("{path}.min_replicas"), message, "lower it"));
    }
    let spec = ThresholdSpec {
        target: given.target,
        tolerance: given.tolerance.unwrap_or(0.1),
        interval: Time::from_s(given.interval_s.unwrap_or(15.0)),
        min_replicas,
        max_replicas: given.max_replicas,
        up: speed(given.scale_up.as_ref(), Speed::up()),
        down: speed(given.scale_down.as_ref(), Speed::down()),
    };
    Ok(ScalerPlan::Threshold { spec, metric: given.metric, pool })
}

fn speed(given: Option<&ScalingSpeed>, own: Speed) -> Speed {
    let Some(given) = given else { return own };
    let policy = |policy: &crate::config::schema::ScalingPolicy| Policy {
        limit: match policy.kind {
            ScalingPolicyKind::Replicas => Limit::Replicas(policy.value as u32),
            ScalingPolicyKind::Percent => Limit::Percent(policy.value),
        },
        period: Time::from_s(policy.period_s),
    };
    Speed {
        window: given.stabilization_window_s.map_or(own.window, Time::from_s),
        policies: given.policies.as_ref().map_or(own.policies, |policies| policies.iter().map(policy).collect()),
        select: match given.select_policy.unwrap_or_default() {
            SelectPolicy::Max => Select::Max,
            SelectPolicy::Min => Select::Min,
            SelectPolicy::Disabled => Select::Disabled,
        },
    }
}

/// Warns of start-up times that no replica of the entry takes.
pub(in crate::sim) fn unused_startup(document: &Document, entry: &FrameworkEntry, path: &str, warnings: &mut Vec<Diagnostic>) {
    let pools = entry.config.disaggregation.as_ref();
    let scaled = pools.is_some_and(|pools| pools.prefill.autoscaler.is_some() || pools.decode.autoscaler.is_some());
    let starts = scaled || entry.planner.is_some() || entry.autoscaler.is_some() || document.faults.is_some();
    if entry.startup.is_some() && !starts {
        let message = "has no effect: all replicas are there from the start, and none fails";
        warnings.push(Diagnostic::warning(format!("{path}.startup"), message, "say `planner`, `autoscaler` or `faults`, or take it out"));
    }
}
