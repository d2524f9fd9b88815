//! What a simulated run says for each metric that a record states.

use serde_json::{Map, Value};

use super::experiment::Experiment;
use super::record::Record;
use crate::cost::PowerModel;
use crate::metrics::{NEVER_PS, RunResult, Status};

/// One metric: what was measured and what is predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The record's name for it, unit included.
    pub name: String,
    pub measured: f64,
    /// Absent when this is not simulated.
    pub predicted: Option<f64>,
    /// `mean` or `median` where the record does not say which it is and the nearer one was taken.
    pub statistic: Option<&'static str>,
}

impl Comparison {
    /// Signed, relative: +0.1 is predicted a tenth too high.
    pub fn error(&self) -> Option<f64> {
        self.predicted.filter(|_| self.measured != 0.0).map(|predicted| predicted / self.measured - 1.0)
    }

    /// Quantity without statistic and unit: `ttft`, `tpot`, `throughput` …
    pub fn quantity(&self) -> &'static str {
        match self.name.split('_').next().unwrap_or_default() {
            "ttft" => "ttft",
            "tpot" => "tpot",
            "itl" => "itl",
            "e2e" => "e2e",
            "output" | "total" | "req" | "tok" | "input" => "throughput",
            "power" => "power",
            "energy" => "energy",
            _ => "other",
        }
    }
}

/// Times of the requests that count, ms, each sorted.
struct Times {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    e2e: Vec<f64>,
}

/// Every metric the record states, in its order.
pub fn compare(record: &Record, experiment: &Experiment, run: &RunResult) -> Vec<Comparison> {
    compare_by(&record.measured, experiment, run)
}

/// Metrics of a benchmark that counts at the client and leaves nothing out, under the names that records have.
pub fn compare_with(measured: &Map<String, Value>, run: &RunResult) -> Vec<Comparison> {
    compare_by(measured, &Experiment::default(), run)
}

fn compare_by(measured: &Map<String, Value>, experiment: &Experiment, run: &RunResult) -> Vec<Comparison> {
    let times = times(experiment, run);
    let rates = Rates::of(experiment, run);
    let numbers = measured.iter().filter_map(|(name, value)| value.as_f64().map(|measured| (name, measured)));
    numbers
        .map(|(name, measured)| {
            let (predicted, statistic) = predict(name, measured, &times, &rates, run);
            Comparison { name: name.clone(), measured, predicted, statistic }
        })
        .collect()
}

fn predict(name: &str, measured: f64, times: &Times, rates: &Rates, run: &RunResult) -> (Option<f64>, Option<&'static str>) {
    let rate = match name {
        "output_tok_s" => rates.output,
        "total_tok_s" => rates.input.zip(rates.output).map(|(input, output)| input + output),
        "input_tok_s" => rates.input,
        "req_s" => rates.requests,
        "tok_s_per_gpu" | "output_tok_s_per_gpu" => rates.output.map(|rate| rate / rates.gpus),
        "total_tok_s_per_gpu" => rates.input.zip(rates.output).map(|(input, output)| (input + output) / rates.gpus),
        "batch_mean" => rates.batch,
        "power_avg_w" => rates.power.map(|[mean, _]| mean),
        "power_avg_frac_tdp" => rates.power.filter(|_| rates.limit_w > 0.0).map(|[mean, _]| mean / rates.limit_w),
        "power_peak_frac_tdp" => rates.power.filter(|_| rates.limit_w > 0.0).map(|[_, peak]| peak / rates.limit_w),
        "energy_per_token_j" => rates.power.zip(rates.output).filter(|(_, output)| *output > 0.0).map(|([mean, _], output)| mean / output),
        _ => None,
    };
    if rate.is_some() {
        return (rate, None);
    }
    let Some(rest) = name.strip_suffix("_ms").or_else(|| name.strip_suffix("_s")) else { return (None, None) };
    let factor = if name.ends_with("_ms") { 1.0 } else { 1e-3 };
    let (quantity, statistic) = rest.split_once('_').unwrap_or((rest, ""));
    let of = |statistic: &str| -> Option<f64> {
        let list = match quantity {
            "ttft" => &times.ttft,
            "tpot" => &times.tpot,
            "e2e" => &times.e2e,
            "itl" => return inter_token(run, statistic),
            _ => return None,
        };
        match statistic {
            "mean" => (!list.is_empty()).then(|| list.iter().sum::<f64>() / list.len() as f64),
            _ => quantile(list, fraction(statistic)?),
        }
    };
    if statistic.is_empty() {
        // Mean or median is not said: either may be meant.
        let candidates = [("mean", of("mean")), ("median", of("p50"))];
        let near = |value: f64| (value / measured - 1.0).abs();
        let found = candidates.into_iter().filter_map(|(name, value)| Some((name, value?)));
        return match found.min_by(|a, b| near(a.1).total_cmp(&near(b.1))) {
            Some((name, value)) => (Some(value * factor), Some(name)),
            None => (None, None),
        };
    }
    (of(statistic).map(|value| value * factor), None)
}

/// `p50`, `median`, `p99`.
fn fraction(statistic: &str) -> Option<f64> {
    match statistic {
        "median" => Some(0.5),
        "min" => Some(0.0),
        "max" => Some(1.0),
        _ => statistic.strip_prefix('p')?.parse::<f64>().ok().map(|percent| percent / 100.0).filter(|share| (0.0..=1.0).contains(share)),
    }
}

fn inter_token(run: &RunResult, statistic: &str) -> Option<f64> {
    const MS: f64 = 1e-9;
    match statistic {
        "mean" => run.inter_token.mean().map(|ps| ps * MS),
        _ => run.inter_token.quantile(fraction(statistic)?).map(|ps| ps * MS),
    }
}

/// Linear between order statistics, as numpy does it.
fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = fraction * last as f64;
    let below = place as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}

/// Rows that count: successful, after the warm-up, and not of the ramp that the source left out.
fn counted<'a>(experiment: &'a Experiment, run: &'a RunResult) -> impl Iterator<Item = usize> + 'a {
    let requests = &run.requests;
    (experiment.left_out.min(requests.len().saturating_sub(1))..requests.len())
        .filter(|&row| requests.status[row] == Status::Success as u8 && requests.arrival_ps[row] >= run.warm_up_ps)
}

fn times(experiment: &Experiment, run: &RunResult) -> Times {
    let requests = &run.requests;
    let mut times = Times { ttft: Vec::new(), tpot: Vec::new(), e2e: Vec::new() };
    for row in counted(experiment, run) {
        let from = if experiment.at_server { requests.arrival_ps[row] } else { requests.sent_ps[row] };
        let (first, last, tokens) = (requests.first_token_ps[row], requests.finish_ps[row], requests.output_tokens[row]);
        if first == NEVER_PS || last == NEVER_PS {
            continue;
        }
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
        times.ttft.push(ms(from, first));
        times.e2e.push(ms(from, last));
        if tokens > 1 {
            times.tpot.push(ms(first, last) / f64::from(tokens - 1));
        }
    }
    for list in [&mut times.ttft, &mut times.tpot, &mut times.e2e] {
        list.sort_unstable_by(f64::total_cmp);
    }
    times
}

/// Tokens and requests a second.
struct Rates {
    output: Option<f64>,
    input: Option<f64>,
    requests: Option<f64>,
    batch: Option<f64>,
    /// Of all GPUs, W: mean, and the highest bin; and the power limit of all.
    power: Option<[f64; 2]>,
    limit_w: f64,
    gpus: f64,
}

impl Rates {
    fn of(experiment: &Experiment, run: &RunResult) -> Rates {
        let gpus = f64::from(experiment.gpus.max(1));
        if let Some(batch) = experiment.steady_batch {
            return Rates::steady(batch as usize, run, gpus);
        }
        let throughput = |key: &str| run.summary["throughput"][key].as_f64();
        Rates {
            output: throughput("output_tokens_per_second"),
            input: throughput("input_tokens_per_second"),
            requests: throughput("requests_per_second"),
            batch: run.summary["engine"]["mean_running"].as_f64(),
            power: power(run, 0, run.end_ps),
            limit_w: limit_w(run),
            gpus,
        }
    }

    /// From when `batch` requests have their first token until all but `batch` have ended.
    fn steady(batch: usize, run: &RunResult, gpus: f64) -> Rates {
        let none = Rates { output: None, input: None, requests: None, batch: None, power: None, limit_w: limit_w(run), gpus };
        let requests = &run.requests;
        let sorted = |column: &[u64]| {
            let mut column: Vec<u64> = column.iter().copied().filter(|time| *time != NEVER_PS).collect();
            column.sort_unstable();
            column
        };
        let (firsts, ends) = (sorted(&requests.first_token_ps), sorted(&requests.finish_ps));
        let place = ends.len().checked_sub(batch + 1);
        let (Some(&from), Some(&to)) = (firsts.get(batch.saturating_sub(1)), place.and_then(|place| ends.get(place))) else { return none };
        if to <= from {
            return none;
        }
        let (mut tokens, mut held) = (0.0, 0.0);
        for row in 0..requests.len() {
            let (first, last) = (requests.first_token_ps[row], requests.finish_ps[row]);
            if first == NEVER_PS || last == NEVER_PS {
                continue;
            }
            // A reply's tokens come evenly between its first and its last.
            let inside = last.min(to).saturating_sub(first.max(from)) as f64;
            held += inside;
            tokens += if last > first { inside / (last - first) as f64 * f64::from(requests.output_tokens[row]) } else { 0.0 };
        }
        let window = (to - from) as f64;
        Rates { output: Some(tokens / (window * 1e-12)), batch: Some(held / window), power: power(run, from, to), ..none }
    }
}

/// Power limit of all GPUs, W; 0 where one's is not known.
fn limit_w(run: &RunResult) -> f64 {
    let limit = |power: PowerModel| (power.idle_mw + power.span_mw) as f64 / 1e3;
    run.info.replicas.iter().map(|info| info.power.map(limit)).sum::<Option<f64>>().unwrap_or(0.0)
}

/// Power of all GPUs from `from` to `to`, W: mean and highest bin. Bins that the window cuts count with their share.
fn power(run: &RunResult, from: u64, to: u64) -> Option<[f64; 2]> {
    let bin_ps = run.series.bin_ps.max(1);
    let (mut energy, mut span, mut peak) = (0.0, 0.0, 0.0_f64);
    for (bin, watts) in run.power_w()?.into_iter().enumerate() {
        let start = bin as u64 * bin_ps;
        let inside = start.saturating_add(bin_ps).min(to).saturating_sub(start.max(from)) as f64;
        if inside > 0.0 {
            energy += watts * inside;
            span += inside;
            peak = peak.max(watts);
        }
    }
    (span > 0.0).then_some([energy / span, peak])
}

/// A metric's measured value, where it is a number.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}
