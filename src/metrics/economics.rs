//! Energy and money of a run's window: the summary's two sections.
//!
//! Energy is that of the GPUs alone, times the document's overhead of the building. The step under way when the warm-up ended is
//! counted whole, in a window that is longer by its beginning, as utilisation does.

use serde_json::{Value, json};

use super::encodes::EncodePool;
use super::result::RunResult;
use super::run_info::ReplicaInfo;
use super::tally::Tally;
use crate::cost::energy::FJ_PER_J;
use crate::object::object;
use crate::units::PS_PER_S;

const J_PER_KWH: f64 = 3.6e6;
const S_PER_HOUR: f64 = 3600.0;

fn ratio(part: Option<f64>, whole: f64) -> Value {
    part.filter(|_| whole > 0.0).map_or(Value::Null, |part| json!(part / whole))
}

fn window_ps(run: &RunResult) -> u64 {
    run.end_ps.saturating_sub(run.warm_up_ps)
}

fn window_s(run: &RunResult) -> f64 {
    window_ps(run) as f64 / PS_PER_S as f64
}

fn output_tokens(run: &RunResult) -> f64 {
    run.counters.iter().map(|counters| counters.output_tokens).sum::<u64>() as f64
}

/// Power of all GPUs, W, mean over the window, and the part of it that they draw idle; none when one's power is not known.
fn power_w(run: &RunResult) -> Option<(f64, f64)> {
    let encoders = run.info.encode_pool.as_ref();
    let (mut total, mut idle) = encoders.map_or(Some((0.0, 0.0)), |pool| pool.power_w(run))?;
    for (index, info) in run.info.replicas.iter().enumerate() {
        let power = info.power?;
        let (energy_fj, before_ps) = run.counters.get(index).map_or((0, 0), |counters| (counters.energy_fj, counters.before_window_ps));
        let span_s = (window_ps(run) as f64 + before_ps as f64) / PS_PER_S as f64;
        // GPUs that are not there draw nothing.
        let paid = match window_ps(run) {
            0 => 1.0,
            window => run.fleet.paid_ps(index, run.warm_up_ps, run.end_ps) as f64 / window as f64,
        };
        let idle_w = power.idle_mw as f64 / 1e3 * paid;
        total += idle_w + if span_s > 0.0 { energy_fj as f64 / FJ_PER_J / span_s } else { 0.0 };
        idle += idle_w;
    }
    (!run.info.replicas.is_empty()).then_some((total, idle))
}

pub(super) fn energy(run: &RunResult) -> Value {
    let overhead = run.info.economics.pue;
    let grid = run.info.economics.gco2_per_kwh;
    let power = power_w(run);
    let energy_j = power.map(|(watts, _)| watts * window_s(run));
    let with_overhead = energy_j.map(|joules| joules * overhead);
    let gco2 = with_overhead.map(|joules| joules / J_PER_KWH * grid);
    let limit_w = run.info.replicas.iter().map(|info| info.power.map_or(0.0, |p| (p.idle_mw + p.span_mw) as f64 / 1e3)).sum::<f64>();
    let limit_w = limit_w + run.info.encode_pool.as_ref().map_or(0.0, EncodePool::limit_w);
    object!({
        "total_j": energy_j,
        "mean_power_w": power.map(|(watts, _)| watts),
        "mean_power_w_per_gpu": ratio(power.map(|(watts, _)| watts), gpus(run)),
        "share_of_limit": ratio(power.map(|(watts, _)| watts), limit_w),
        "idle_share": power.map_or(Value::Null, |(watts, idle)| ratio(Some(idle), watts)),
        "joules_per_output_token": ratio(energy_j, output_tokens(run)),
        "kwh_per_day": power.map(|(watts, _)| watts * overhead * 24.0 / 1e3),
        "pue": overhead,
        "grid": run.info.economics.grid,
        "gco2_per_kwh": grid,
        "gco2": gco2,
        "gco2_per_million_output_tokens": ratio(gco2.map(|grams| grams * 1e6), output_tokens(run)),
    })
}

fn gpus(run: &RunResult) -> f64 {
    let encoders = run.info.encode_pool.as_ref().map_or(0.0, |pool| f64::from(pool.gpus));
    encoders + run.info.replicas.iter().map(|info| f64::from(info.gpus)).sum::<f64>()
}

/// The bill: every GPU of the run for every hour of the window that it is there, busy or not.
pub(super) fn cost(run: &RunResult, tally: &Tally) -> Value {
    let window = window_ps(run).max(1) as f64;
    // Of the window's hours, those that are paid for.
    let share = |replica: usize| run.fleet.paid_ps(replica, run.warm_up_ps, run.end_ps) as f64 / window;
    let share = |replica: usize| if run.fleet.kept { share(replica) } else { 1.0 };
    let hourly = |(index, info): (usize, &ReplicaInfo)| info.usd_per_gpu_hour.map(|usd| usd * f64::from(info.gpus) * share(index));
    let replicas = || run.info.replicas.iter().enumerate();
    // Encoders are paid for all the time.
    let encoders = run
        .info
        .encode_pool
        .as_ref()
        .map_or((0.0, Some(0.0)), |pool| (f64::from(pool.gpus), pool.usd_per_gpu_hour.map(|usd| usd * f64::from(pool.gpus))));
    let per_hour: Option<f64> = replicas().map(hourly).sum::<Option<f64>>().filter(|_| !run.info.replicas.is_empty());
    let per_hour = per_hour.and_then(|usd| Some(usd + encoders.1?));
    let paid_gpus: f64 = replicas().map(|(index, info)| f64::from(info.gpus) * share(index)).sum::<f64>() + encoders.0;
    let bill = per_hour.map(|usd| usd * window_s(run) / S_PER_HOUR);
    let (input_tokens, finished) = (tally.input_tokens as f64, tally.finished as f64);
    let million = bill.map(|usd| usd * 1e6);
    let mut sources: Vec<&str> = run.info.replicas.iter().map(|info| info.price_source.as_str()).collect();
    sources.dedup();
    object!({
        "usd_per_hour": per_hour,
        "usd_per_gpu_hour": ratio(per_hour, paid_gpus),
        "usd_per_million_output_tokens": ratio(million, output_tokens(run)),
        "usd_per_million_input_tokens": ratio(million, input_tokens),
        "usd_per_million_tokens": ratio(million, output_tokens(run) + input_tokens),
        "usd_per_thousand_requests": ratio(bill.map(|usd| usd * 1e3), finished),
        "price_source": sources.join("; "),
    })
}
