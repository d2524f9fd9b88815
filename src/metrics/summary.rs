//! The summary document: the original project's keys first and in its order, ours after.
//!
//! Two populations, never mixed in one number: latency, goodput and the request counts are about the *requests* that arrived
//! at or after the warm-up; throughput, engine and utilisation are about the *window* from the warm-up to the end, whoever
//! the work was for. A ratio that is not defined (nothing to divide by) is null. What each key means: `metrics::definitions`.

use serde_json::{Map, Value, json};

use super::counters::Counters;
use super::result::{NEVER_PS, REJECT_REASONS, Requests, RunResult};
use super::run_info::{MemoryBudget, ReplicaInfo};
use super::statistics::{PERCENTILES, describe, describe_histogram_ms};
use super::tally::{EVENTS, Prefixes, Tally, event, times};
use crate::config::schema::ServiceLevelObjective;
use crate::engine::ledger::{HIT_CAUSES, MISS_CAUSES};
use crate::object::object;
use crate::units::PS_PER_S;

/// Sums a run up.
pub fn summary(run: &RunResult) -> Value {
    let percentiles: &[f64] = if run.info.percentiles.is_empty() { &PERCENTILES } else { &run.info.percentiles };
    let tally = Tally::of(run);
    let window_s = run.end_ps.saturating_sub(run.warm_up_ps) as f64 / PS_PER_S as f64;
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| document.insert(key.into(), value);
    put("simulation", simulation(run, &tally));
    put("requests", requests(run, &tally));
    put("throughput", throughput(run, &tally, window_s));
    let goodput = run.info.slo.as_ref().map(|slo| goodput(slo, &tally, window_s));
    put("latency", latency(run, percentiles));
    put("gpu_utilization", gpu_utilization(run));
    put("prefix_caching", prefix_caching(run, &tally.prefixes));
    put("name", json!(run.name));
    put("goodput", goodput.unwrap_or(Value::Null));
    put("engine", engine(run, &tally));
    put("utilisation", utilisation(run));
    put("waits", waits(run));
    put("disaggregation", super::handovers::section(run));
    put("encode", super::encodes::section(run));
    put("memory", memory(run));
    put("kv_tiers", super::tiers::section(run, window_s));
    put("swap", super::tiers::swap(run, window_s));
    put("lora", super::lora::section(run, window_s));
    put("energy", super::economics::energy(run));
    put("cost", super::economics::cost(run, &tally));
    put("operations", super::operations::operations(run));
    put("provenance", provenance(run));
    Value::Object(document)
}

/// Rows of the summary: requests that arrived at or after the warm-up.
pub(super) fn counted_rows(run: &RunResult) -> impl Iterator<Item = usize> + '_ {
    (0..run.requests.len()).filter(|&row| run.requests.arrival_ps[row] >= run.warm_up_ps)
}

/// A ratio, or null when it is not defined.
pub(super) fn ratio(part: f64, whole: f64) -> Value {
    if whole > 0.0 { json!(part / whole) } else { Value::Null }
}

fn seconds(ps: u64) -> f64 {
    ps as f64 / PS_PER_S as f64
}

/// Time between two instants, ms; none where one of them never was.
fn span_ms(from: u64, to: u64) -> Option<f64> {
    (from != NEVER_PS && to != NEVER_PS).then(|| to.saturating_sub(from) as f64 / 1e9)
}

/// The same for each of `gaps` gaps; none without any.
fn per_gap_ms(from: u64, to: u64, gaps: u32) -> Option<f64> {
    if gaps > 0 { span_ms(from, to).map(|span| span / gaps as f64) } else { None }
}

/// Per-request times, ms, of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestTimes {
    /// Arrival to first token, queueing included.
    pub ttft_ms: Option<f64>,
    /// `(E2E - TTFT) / (output tokens - 1)`; none with a single token.
    pub tpot_ms: Option<f64>,
    /// Arrival to last token.
    pub e2e_ms: Option<f64>,
    /// Arrival to first scheduled.
    pub queue_ms: Option<f64>,
}

impl RequestTimes {
    pub fn of(requests: &Requests, row: usize) -> RequestTimes {
        let (arrival, first, finish) = (requests.arrival_ps[row], requests.first_token_ps[row], requests.finish_ps[row]);
        let gaps = requests.output_tokens[row].saturating_sub(1);
        RequestTimes {
            ttft_ms: span_ms(arrival, first),
            tpot_ms: per_gap_ms(first, finish, gaps),
            e2e_ms: span_ms(arrival, finish),
            queue_ms: span_ms(arrival, requests.scheduled_ps[row]),
        }
    }

    /// Whether every target that is given is met. A single token has no TPOT to miss.
    pub fn meet(&self, slo: &ServiceLevelObjective) -> bool {
        let within = |value: Option<f64>, target: Option<f64>| target.is_none_or(|target| value.is_some_and(|value| value <= target));
        within(self.ttft_ms, slo.ttft_ms) && within(self.tpot_ms.or(Some(0.0)), slo.tpot_ms) && within(self.e2e_ms, slo.e2e_ms)
    }
}

fn simulation(run: &RunResult, tally: &Tally) -> Value {
    let last_arrival_ps = tally.last_arrival_ps;
    object!({
        "total_duration_s": seconds(run.end_ps),
        "warm_up_duration_s": seconds(run.warm_up_ps),
        "effective_duration_s": seconds(run.end_ps.saturating_sub(run.warm_up_ps)),
        "last_arrival_s": last_arrival_ps.map(seconds),
        "drain_duration_s": last_arrival_ps.map(|last| seconds(run.end_ps.saturating_sub(last))),
    })
}

fn requests(run: &RunResult, tally: &Tally) -> Value {
    let reasons: Map<String, Value> =
        REJECT_REASONS.iter().zip(tally.rejected).map(|((_, word), count)| ((*word).into(), json!(count))).collect();
    object!({
        "total": tally.total,
        "successful": tally.successful,
        "failed": tally.total - tally.successful,
        "success_rate": ratio(tally.successful as f64, tally.total as f64),
        "unfinished": tally.unfinished,
        "cancelled": tally.cancelled,
        "lost": tally.lost,
        "retried": tally.retried,
        "rejected": reasons,
        "in_warm_up": run.requests.len() as u64 - tally.total,
    })
}

fn throughput(run: &RunResult, tally: &Tally, window_s: f64) -> Value {
    let (finished, input_tokens, arrived) = (tally.finished as f64, tally.input_tokens as f64, tally.total as f64);
    let output_tokens = run.counters.iter().map(|counters| counters.output_tokens).sum::<u64>() as f64;
    let arrivals_s = tally.last_arrival_ps.map_or(0.0, |last| seconds(last.saturating_sub(run.warm_up_ps)));
    let gpus = gpus(run) as f64;
    object!({
        "requests_per_second": ratio(finished, window_s),
        "output_tokens_per_second": ratio(output_tokens, window_s),
        "input_tokens_per_second": ratio(input_tokens, window_s),
        "total_tokens_per_second": ratio(input_tokens + output_tokens, window_s),
        "offered_requests_per_second": ratio(arrived, arrivals_s),
        "requests_per_second_per_gpu": ratio(finished, window_s * gpus),
        "output_tokens_per_second_per_gpu": ratio(output_tokens, window_s * gpus),
        "total_tokens_per_second_per_gpu": ratio(input_tokens + output_tokens, window_s * gpus),
    })
}

fn latency(run: &RunResult, percentiles: &[f64]) -> Value {
    let mut room = Vec::with_capacity(run.requests.len());
    object!({
        "time_to_first_token_ms": describe(times(run, &mut room, |arrival, [_, first, _], _| span_ms(arrival, first)), percentiles),
        "time_per_output_token_ms": describe(times(run, &mut room, |_, [_, first, last], gaps| per_gap_ms(first, last, gaps)), percentiles),
        "end_to_end_latency_ms": describe(times(run, &mut room, |arrival, [_, _, last], _| span_ms(arrival, last)), percentiles),
        "inter_token_latency_ms": describe_histogram_ms(&run.inter_token, percentiles),
        "queue_time_ms": describe(times(run, &mut room, |arrival, [scheduled, ..], _| span_ms(arrival, scheduled)), percentiles),
    })
}

fn goodput(slo: &ServiceLevelObjective, tally: &Tally, window_s: f64) -> Value {
    object!({
        "slo": slo,
        "good_requests": tally.good,
        "share": ratio(tally.good as f64, tally.total as f64),
        "requests_per_second": ratio(tally.good as f64, window_s),
    })
}

/// The event of a request in the original project's words; none before it is admitted.
pub fn prefix_cache_event(requests: &Requests, row: usize) -> Option<&'static str> {
    if requests.scheduled_ps[row] == NEVER_PS {
        return None;
    }
    Some(EVENTS[event(requests.cached_tokens[row], requests.turn[row])])
}

fn prefix_caching(run: &RunResult, prefixes: &Prefixes) -> Value {
    let Prefixes { events: [conversational, cross, lost, missed], prompt_tokens, cached_tokens, prefilled_tokens } = *prefixes;
    let prompts_done = conversational + cross + lost + missed;
    let hits = conversational + cross;
    object!({
        "overall_hit_rate": ratio(hits as f64, prompts_done as f64),
        "conversational_hit_rate": ratio(conversational as f64, (conversational + lost) as f64),
        "cross_request_hit_rate": ratio(cross as f64, (cross + missed) as f64),
        "event_counts": object!({
            "CONVERSATIONAL_HIT": conversational,
            "CROSS_REQUEST_HIT": cross,
            "MISS_FULL": missed,
            "FULL_HIT_NO_PREFILL_NEEDED": 0,
            "CONVERSATIONAL_MISS_UNEXPECTED_PROMPT": lost,
        }),
        "average_cached_prefix_length": ratio(cached_tokens as f64, hits as f64),
        "average_tokens_prefilled": ratio(prefilled_tokens as f64, prompts_done as f64),
        "prefill_reduction_ratio": ratio(cached_tokens as f64, prompt_tokens as f64),
        "total_tokens_saved": cached_tokens,
        "cross_request_hits": cross,
        "conversational_hits": conversational,
        "by_tier": super::tiers::tokens(run, &["gpu", "host", "disk", "remote"], |found| &found.by_tier),
        "hits_by_cause": super::tiers::tokens(run, &HIT_CAUSES, |found| &found.hits),
        "misses_by_cause": super::tiers::tokens(run, &MISS_CAUSES, |found| &found.misses),
    })
}

fn engine(run: &RunResult, tally: &Tally) -> Value {
    let sum = |of: fn(&Counters) -> u64| run.counters.iter().map(of).sum::<u64>();
    let steps = sum(|c| c.steps) as f64;
    let step_ps = sum(|c| c.step_ps) as f64;
    let wide = |of: fn(&Counters) -> u128| run.counters.iter().map(of).sum::<u128>() as f64;
    let window_ps = run.end_ps.saturating_sub(run.warm_up_ps) as f64;
    let peak = run.counters.iter().map(|c| c.kv_blocks_peak).sum::<u64>();
    object!({
        "replicas": replicas(run),
        "gpus": gpus(run),
        "steps": sum(|c| c.steps),
        "single_steps": run.info.replicas.iter().find_map(|replica| replica.single_steps.clone()),
        "decode_only_steps": sum(|c| c.decode_only_steps),
        "mean_step_ms": ratio(step_ps / 1e9, steps),
        "mean_decode_batch": ratio(sum(|c| c.decode_tokens) as f64, steps),
        "mean_tokens_per_step": ratio((sum(|c| c.decode_tokens) + sum(|c| c.drafted_tokens) + sum(|c| c.prefill_tokens)) as f64, steps),
        "mean_running": ratio(wide(|c| c.running_ps), window_ps),
        "mean_waiting": ratio(tally.waited_ps as f64, window_ps),
        "prefill_tokens": sum(|c| c.prefill_tokens),
        "output_tokens": sum(|c| c.output_tokens),
        "padded_tokens": sum(|c| c.padded_tokens),
        "wasted_tokens": sum(|c| c.wasted_tokens),
        "drafted_tokens": sum(|c| c.drafted_tokens),
        "accepted_tokens": sum(|c| c.accepted_tokens),
        "preemptions": sum(|c| c.preemptions),
        "recomputed_tokens": tally.recomputed_tokens,
        "kv_blocks": object!({
            "total": run.kv_blocks_total,
            "peak": peak,
            "peak_share": ratio(peak as f64, run.kv_blocks_total as f64),
        }),
    })
}

fn replicas(run: &RunResult) -> usize {
    run.info.replicas.len().max(run.counters.len())
}

fn gpus(run: &RunResult) -> u64 {
    let encoders = run.info.encode_pool.as_ref().map_or(0, |pool| u64::from(pool.gpus));
    run.info.replicas.iter().map(|replica| u64::from(replica.gpus)).sum::<u64>() + encoders
}

/// Each replica that is described, with what it did (nothing, when it never got a request).
fn described(run: &RunResult) -> impl Iterator<Item = (usize, &ReplicaInfo, Counters)> {
    run.info.replicas.iter().enumerate().map(|(i, info)| (i, info, run.counters.get(i).cloned().unwrap_or_default()))
}

/// The original's section, which it always left empty: share of the window in which the GPUs of a replica worked.
fn gpu_utilization(run: &RunResult) -> Value {
    let window_ps = run.end_ps.saturating_sub(run.warm_up_ps) as f64;
    described(run)
        .map(|(i, _, counters)| (format!("replica_{i}"), ratio(counters.device_ps as f64, window_ps + counters.before_window_ps as f64)))
        .collect::<Map<_, _>>()
        .into()
}

fn utilisation(run: &RunResult) -> Value {
    let window_ps = run.end_ps.saturating_sub(run.warm_up_ps);
    let (mut flops, mut possible_flops, mut bytes, mut possible_bytes) = (0.0, 0.0, 0.0, 0.0);
    // GPU-ps by where they went; idle is what is left of the window.
    let mut split = [0.0; 5];
    let mut gpu_ps = 0.0;
    for (_, info, counters) in described(run) {
        let work = &info.work;
        // The step under way when the warm-up ended is counted whole, in a window that is longer by its beginning.
        let window_ps = window_ps + counters.before_window_ps;
        let tokens = (counters.decode_tokens + counters.drafted_tokens + counters.prefill_tokens) as f64;
        let pairs = (counters.context_tokens + counters.prefill_pairs) as f64;
        if work.peak_flops > 0.0 {
            flops += tokens * work.flops_per_token
                + counters.output_tokens as f64 * work.flops_per_sampled_token
                + pairs * work.flops_per_attention_pair;
            possible_flops += work.peak_flops * seconds(window_ps);
        }
        if work.peak_memory_bytes_per_s > 0.0 {
            bytes +=
                counters.steps as f64 * work.weight_bytes_per_step + (counters.context_tokens as f64 + tokens) * work.kv_bytes_per_token;
            bytes += counters.decode_tokens as f64 * work.state_bytes_per_sequence;
            possible_bytes += work.peak_memory_bytes_per_s * seconds(window_ps);
        }
        let gpus = f64::from(info.gpus);
        let parts = [counters.gemm_ps, counters.attention_ps, counters.communication_ps, counters.other_ps, counters.host_ps()];
        for (sum, part) in split.iter_mut().zip(parts) {
            *sum += part as f64 * gpus;
        }
        gpu_ps += window_ps as f64 * gpus;
    }
    let [gemm, attention, communication, other, host] = split;
    let idle = (gpu_ps - split.iter().sum::<f64>()).max(0.0);
    object!({
        "compute": ratio(flops, possible_flops),
        "memory_bandwidth": ratio(bytes, possible_bytes),
        "time": object!({
            "gemm": ratio(gemm, gpu_ps),
            "attention": ratio(attention, gpu_ps),
            "communication": ratio(communication, gpu_ps),
            "other": ratio(other, gpu_ps),
            "host": ratio(host, gpu_ps),
            "idle": ratio(idle, gpu_ps),
        }),
    })
}

/// One object for each different budget.
fn waits(run: &RunResult) -> Value {
    let window_ps = run.end_ps.saturating_sub(run.warm_up_ps) as f64;
    let window_ps = run.counters.iter().map(|counters| window_ps + counters.before_window_ps as f64).sum();
    super::waits::section(&run.counters, window_ps)
}

fn memory(run: &RunResult) -> Value {
    let mut seen: Vec<&ReplicaInfo> = Vec::new();
    for info in &run.info.replicas {
        if !seen.iter().any(|other| other.entry == info.entry) {
            seen.push(info);
        }
    }
    let of = |info: &ReplicaInfo| {
        let MemoryBudget {
            total_bytes,
            usable_bytes,
            weights_bytes,
            activations_bytes,
            other_bytes,
            graphs_bytes,
            libraries_bytes,
            states_bytes,
            kv_bytes,
        } = info.memory;
        let unused_bytes = (total_bytes - weights_bytes - activations_bytes - other_bytes - states_bytes - kv_bytes).max(0.0);
        let mut told = object!({
            "entry": info.entry,
            "gpu_total_bytes": total_bytes,
            "usable_bytes": usable_bytes,
            "weights_bytes": weights_bytes,
            "activations_bytes": activations_bytes,
            "other_bytes": other_bytes,
            "graphs_bytes": graphs_bytes,
            "libraries_bytes": libraries_bytes,
            "unused_bytes": unused_bytes,
            "kv_bytes": kv_bytes,
            "kv_blocks_per_replica": info.kv_blocks,
            "kv_tokens_per_replica": info.kv_blocks * u64::from(info.block_tokens),
        });
        if states_bytes > 0.0 {
            told["states_bytes"] = states_bytes.into();
        }
        told
    };
    seen.into_iter().map(of).collect()
}

fn provenance(run: &RunResult) -> Value {
    let mut stacks: Vec<Value> = Vec::new();
    for info in &run.info.replicas {
        let stack = object!({"entry": info.entry, "framework": info.framework, "model": info.model, "device": info.device, "gpus_per_replica": info.gpus});
        if !stacks.contains(&stack) {
            stacks.push(stack);
        }
    }
    object!({
        "engine_version": env!("CARGO_PKG_VERSION"),
        "seed": run.info.seed,
        "confidence": run.info.confidence,
        "stacks": stacks,
    })
}
