//! The summary's section on the fleet's operation: replicas over time, what was paid, lost, tried again, and tenants.

use serde_json::Value;

use super::fleet_log::{FleetEvent, serving};
use super::result::{RunResult, Status};
use super::summary::{RequestTimes, counted_rows};
use crate::object::object;
use crate::units::PS_PER_S;

/// Events that the summary names; it counts the others.
const MOST_TOLD: usize = 200;
const PS_PER_HOUR: f64 = 3600.0 * PS_PER_S as f64;

pub(super) fn operations(run: &RunResult) -> Value {
    let fleet = &run.fleet;
    if !fleet.kept {
        return Value::Null;
    }
    let (from, to) = (run.warm_up_ps, run.end_ps);
    let (mean, least, most) = fleet.serving(from, to);
    let succeeded = |row: usize| run.requests.status[row] == Status::Success as u8;
    let retried = counted_rows(run).filter(|&row| succeeded(row) && run.requests.attempts[row] > 1).count();
    let late = run
        .info
        .slo
        .as_ref()
        .map(|slo| counted_rows(run).filter(|&row| succeeded(row) && !RequestTimes::of(&run.requests, row).meet(slo)).count());
    let (tenants, fairness) = tenants(run);
    object!({
        "replicas": object!({ "mean": mean, "min": least, "max": most }),
        "pools": pools(run),
        "scaling": object!({ "up": fleet.scale_ups, "down": fleet.scale_downs }),
        "gpu_hours": gpu_hours(run),
        "failures": fleet.failures,
        "without_service_s": fleet.without_service_ps(from, to) as f64 / PS_PER_S as f64,
        "lost_attempts": fleet.lost_attempts,
        "lost_tokens": fleet.lost_tokens,
        "lost_prefill_tokens": fleet.lost_prefill_tokens,
        "retried_successful": retried,
        "late": late,
        "queue_peak": fleet.queue_peak,
        "tenants": tenants,
        "fairness": fairness,
        "events": fleet.events.iter().take(MOST_TOLD).map(event).collect::<Vec<Value>>(),
        "more_events": fleet.more_events + fleet.events.len().saturating_sub(MOST_TOLD) as u64,
    })
}

const POOLS: [&str; 2] = ["prefill", "decode"];

/// Serving replicas of each pool; empty where there are no pools.
fn pools(run: &RunResult) -> Vec<Value> {
    let told = |(sizes, role): (&Vec<_>, &&str)| {
        let (mean, least, most) = serving(sizes, run.warm_up_ps, run.end_ps);
        object!({ "role": role, "mean": mean, "min": least, "max": most })
    };
    run.fleet.pools.iter().zip(&POOLS).map(told).collect()
}

fn event(event: &FleetEvent) -> Value {
    object!({
        "at_s": event.at_ps as f64 / PS_PER_S as f64,
        "kind": event.kind,
        "replica": event.replica,
        "pool": event.pool.and_then(|pool| POOLS.get(usize::from(pool))),
        "before": event.before,
        "value": event.value,
        "reason": event.reason,
        "sentence": event.sentence(),
    })
}

/// GPU-hours paid for in the window.
pub(super) fn gpu_hours(run: &RunResult) -> f64 {
    let encoders = run.info.encode_pool.as_ref().map_or(0, |pool| pool.gpus);
    let paid = |(replica, gpus): (usize, u32)| f64::from(gpus) * run.fleet.paid_ps(replica, run.warm_up_ps, run.end_ps) as f64;
    run.info.replicas.iter().map(|info| info.gpus).enumerate().map(paid).sum::<f64>() / PS_PER_HOUR
        + f64::from(encoders) * run.end_ps.saturating_sub(run.warm_up_ps) as f64 / PS_PER_HOUR
}

fn tenants(run: &RunResult) -> (Vec<Value>, Option<f64>) {
    let logs = &run.fleet.tenants;
    if logs.len() < 2 {
        return (Vec::new(), None);
    }
    let mut list = Vec::new();
    let mut service = Vec::new();
    for tenant in logs {
        let rows = || counted_rows(run).filter(|&row| tenant.profiles.contains(&run.requests.profile[row]));
        let of = |status: Status| rows().filter(move |&row| run.requests.status[row] == status as u8);
        let sum = |column: &[u32]| of(Status::Success).map(|row| u64::from(column[row])).sum::<u64>();
        let (input, output) = (sum(&run.requests.input_tokens), sum(&run.requests.output_tokens));
        let successful = of(Status::Success).count();
        let ttft: f64 = of(Status::Success).filter_map(|row| RequestTimes::of(&run.requests, row).ttft_ms).sum();
        list.push(object!({
            "name": tenant.name,
            "weight": tenant.weight,
            "requests": rows().count(),
            "successful": successful,
            "rejected": of(Status::Rejected).count(),
            "input_tokens": input,
            "output_tokens": output,
            "mean_ttft_ms": (successful > 0).then(|| ttft / successful as f64),
        }));
        service.push((input as f64 + 2.0 * output as f64) / tenant.weight);
    }
    (list, jain(&service))
}

/// Jain's index of fairness; none when nobody had anything.
fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::jain;

    #[test]
    fn jains_index_by_hand() {
        assert_eq!(jain(&[3.0, 3.0, 3.0]), Some(1.0));
        assert_eq!(jain(&[5.0, 0.0]), Some(0.5));
        assert!((jain(&[1.0, 2.0, 3.0]).unwrap() - 36.0 / 42.0).abs() < 1e-12);
        assert_eq!(jain(&[0.0, 0.0]), None);
    }
}
