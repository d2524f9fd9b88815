//! Many replicas behind a router: every request ends once under every rule, fast and single steps agree, and known queueing results.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{self, NoFiles};

#[path = "support/plan.rs"]
mod plan;

fn plan(text: &str) -> Result<sim::Plan, Vec<String>> {
    plan::plan(text, &NoFiles)
}

fn run(text: &str, fast_path: bool) -> RunResult {
    plan::ended(&plan(text).unwrap().runs[0], fast_path).finish()
}

const ROUTERS: [&str; 20] = [
    "{policy: round_robin}",
    "{policy: random}",
    "{policy: weighted, weights: [1, 2, 3, 4]}",
    "{policy: least_loaded}",
    "{policy: least_loaded, snapshot_interval_ms: 500}",
    "{policy: power_of_two}",
    "{policy: power_of_two, event_delay_ms: 300}",
    "{policy: session_affinity}",
    "{policy: prefix_hash, prefix_tokens: 100}",
    "{policy: cache_aware, balance_abs_threshold: 4}",
    "{policy: kv}",
    "{policy: kv, kv: {use_kv_events: false, router_ttl_secs: 5}, event_delay_ms: 20}",
    "{policy: kv, event_delay_ms: 400}",
    "{policy: kv, snapshot_interval_ms: 250}",
    "{policy: kv, kv: {router_temperature: 0.5, overlap_score_credit_decay: 0.5, decode_active_request_weight: 2}}",
    "{policy: kv, kv: {router_queue_threshold: 0.2, router_queue_policy: wspt}}",
    "{policy: kv, event_delay_ms: 30, kv: {router_queue_threshold: 0.3, router_queue_policy: lcfs}}",
    "{policy: scorers}",
    "{policy: scorers, snapshot_interval_ms: 200}",
    "{policy: vllm_dp}",
];

/// Conversations with shared beginnings on four small engines, closed loop or open.
fn shared_prefixes(router: &str, closed: bool, kind: &str) -> String {
    let load = if closed { "concurrency: 24" } else { "arrival_model: one_generator" };
    let cancels = if closed { "cancellation: {probability: 0.1, after_s_dist_config: {type: Exponential, rate: 1}}" } else { "" };
    let arrivals = if closed { "" } else { "inter_arrival_time_dist_config: {type: Exponential, rate: 30}" };
    format!(
        "
simulation: {{random_seed: 5}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 400
  {load}
  {cancels}
  generate_prompt_tokens: true
  prefix_patterns:
    patterns:
    - {{type: system, name: a, tokens: 700, weight: 2}}
    - {{type: system, name: b, tokens: 900, weight: 1}}
    - {{type: system, name: c, tokens: 500, weight: 1}}
  client_profiles:
  - profile_name: chat
    conversational_probability: 0.6
    {arrivals}
    prompt_tokens_dist_config: {{type: Uniform, low: 1000, high: 1800}}
    max_output_tokens_dist_config: {{type: Uniform, low: 1, high: 120}}
frameworks_to_test:
- name: fleet
  type: {kind}
  replicas: 4
  router: {router}
  config: {{model_profile_id: Llama-3.1-8B, num_gpu_blocks_override: 900, max_model_len: 12000}}
"
    )
}

#[test]
fn every_request_ends_once_and_single_steps_agree() {
    for kind in ["VLLM", "TRTLLM", "SGLANG"] {
        for closed in [true, false] {
            for router in ROUTERS {
                let text = shared_prefixes(router, closed, kind);
                let fast = run(&text, true);
                let requests = &fast.summary["requests"];
                let ended = ["successful", "failed"].iter().filter_map(|key| requests[*key].as_u64()).sum::<u64>();
                assert_eq!((fast.requests.len(), ended), (400, 400), "{kind} {closed} {router}: {requests}");
                let made: u64 = fast.requests.output_tokens.iter().map(|&tokens| u64::from(tokens)).sum();
                let told: u64 = fast.counters.iter().map(|counters| counters.output_tokens).sum();
                // Tokens in flight when a client gave up come out for nobody.
                assert!(made == told || closed && made < told, "{kind} {router}: {made} tokens of requests, {told} of replicas");
                let mut slow = run(&text, false);
                assert_eq!(fast.requests.finish_ps, slow.requests.finish_ps, "{kind} {closed} {router}");
                assert_eq!(fast.requests.replica, slow.requests.replica, "{kind} {closed} {router}");
                slow.summary["simulation"] = fast.summary["simulation"].clone();
                assert_eq!(fast.summary, slow.summary, "{kind} {closed} {router}");
            }
        }
    }
}

/// Single-server queues: one sequence at a time, a fixed prefill, exponential lengths of decode.
fn queues(router: &str, replicas: u32, load: f64) -> RunResult {
    let (mean_s, requests) = (0.1, 200_000);
    let rate = load * f64::from(replicas) / mean_s;
    let mut text = String::new();
    write!(
        text,
        "
simulation: {{random_seed: 11}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: {requests}
  client_profiles:
  - profile_name: queue
    inter_arrival_time_dist_config: {{type: Exponential, rate: {rate}}}
    prompt_tokens_dist_config: {{type: Constant, value: 16}}
    max_output_tokens_dist_config: {{type: Exponential, rate: 0.001}}
frameworks_to_test:
- name: queue
  type: VLLM
  replicas: {replicas}
  router: {router}
  config:
    model_profile_id: Llama-3.1-8B
    max_num_seqs: 1
    async_scheduling: false
    max_model_len: 100000
    num_gpu_blocks_override: 20000
    timing: {{fixed: {{prefill_ms: 0.0, decode_ms: 0.1}}}}
"
    )
    .unwrap();
    run(&text, true)
}

/// Mean number in a queue, those served included, by Little's law, over the second half.
fn mean_number(run: &RunResult, replicas: u32) -> f64 {
    let requests = &run.requests;
    let half = requests.len() / 2;
    let in_system: u64 = (half..requests.len()).map(|row| requests.finish_ps[row] - requests.arrival_ps[row]).sum();
    let span = requests.arrival_ps[requests.len() - 1] - requests.arrival_ps[half];
    in_system as f64 / span as f64 / f64::from(replicas)
}

/// Random splitting makes M/M/1 queues: rho / (1 - rho) in each.
#[test]
fn random_splitting_makes_independent_queues() {
    let found = mean_number(&queues("{policy: random}", 20, 0.8), 20);
    assert!((found / 4.0 - 1.0).abs() < 0.06, "{found} in a queue, M/M/1 says 4");
}

/// Two choices of many (Mitzenmacher; Vvedenskaya et al. 1996): the share of queues with at least i is rho^(2^i - 1).
#[test]
fn two_choices_reach_their_fixed_point() {
    let rho: f64 = 0.9;
    let expected: f64 = (1..8u32).map(|i| (0..(1u32 << i) - 1).map(|_| rho).product::<f64>()).sum();
    let found = mean_number(&queues("{policy: power_of_two}", 100, rho), 100);
    assert!((found / expected - 1.0).abs() < 0.06, "{found} in a queue, the fixed point says {expected}");
}

/// The shortest queue is between one common queue, M/M/N, and N queues apart.
#[test]
fn the_shortest_queue_is_near_the_common_one() {
    let (servers, rho) = (8u32, 0.9f64);
    let offered = f64::from(servers) * rho;
    let (mut term, mut sum) = (1.0, 0.0);
    for k in 0..servers {
        sum += term;
        term *= offered / f64::from(k + 1);
    }
    let waits = term / (1.0 - rho) / (sum + term / (1.0 - rho));
    let common = (offered + waits * rho / (1.0 - rho)) / f64::from(servers);
    let found = mean_number(&queues("{policy: least_loaded}", servers, rho), servers);
    assert!(found > common * 0.97 && found < common * 1.35, "{found} in a queue, M/M/{servers} says {common}");
    let blind = mean_number(&queues("{policy: least_loaded, snapshot_interval_ms: 2000}", servers, rho), servers);
    assert!(blind > 3.0 * found, "herds: {blind} with old knowledge, {found} with new");
}

#[test]
fn routers_that_see_prefixes_hit_more() {
    let hits = |router: &str| {
        let run = run(&shared_prefixes(router, true, "VLLM"), true);
        let cached: u64 = run.requests.cached_tokens.iter().map(|&tokens| u64::from(tokens)).sum();
        cached as f64 / run.requests.input_tokens.iter().map(|&tokens| f64::from(tokens)).sum::<f64>()
    };
    let blind = hits("{policy: round_robin}");
    for router in ["{policy: cache_aware}", "{policy: kv}", "{policy: scorers}", "{policy: session_affinity}"] {
        let seeing = hits(router);
        assert!(seeing > 1.2 * blind, "{router}: {seeing} against {blind}");
    }
}

fn entry(hardware: &str, entry: &str) -> Result<sim::Plan, Vec<String>> {
    plan(&format!(
        "
simulation: {{random_seed: 1}}
hardware_profile: {hardware}
workload: {{preset: chat, total_requests_to_generate: 50}}
frameworks_to_test:
- {{name: it, {entry}}}
"
    ))
}

#[test]
fn replicas_count_their_gpus() {
    let planned = entry("{node: 2xH100-SXM}", "type: VLLM, replicas: 3, config: {model_profile_id: Llama-3.1-8B, tensor_parallel_size: 2}");
    let run = plan::ended(&planned.unwrap().runs[0], true).finish();
    assert_eq!((run.name.as_str(), &run.summary["engine"]["replicas"], &run.summary["engine"]["gpus"]), ("it", &3.into(), &6.into()));
    assert_eq!(run.counters.len(), 3);
    let devices = "{compute_devices: [{device_id: a, device: H100-SXM}, {device_id: b, device: H100-SXM}]}";
    let errors = entry(devices, "type: VLLM, replicas: 3, config: {model_profile_id: Llama-3.1-8B, gpu_id: a}").unwrap_err();
    assert!(errors[0].starts_with("frameworks_to_test[0].replicas: 3 replicas of 1 GPUs need 3 GPUs"), "{errors:?}");
}

#[test]
fn options_without_meaning_are_refused() {
    for (given, at) in [
        ("type: VLLM, replicas: 2, router: {policy: random, weights: [1, 1]}, config: {model_profile_id: Llama-3.1-8B}", "router.weights"),
        ("type: VLLM, replicas: 2, router: {policy: weighted, weights: [1]}, config: {model_profile_id: Llama-3.1-8B}", "router.weights"),
        (
            "type: VLLM, replicas: 2, router: {policy: kv, snapshot_interval_ms: 5, kv: {use_kv_events: false}}, config: {model_profile_id: Llama-3.1-8B}",
            "snapshot",
        ),
        ("type: VLLM, config: {model_profile_id: Llama-3.1-8B, dynamo: {router_mode: kv}}", "config.dynamo"),
        ("type: DYNAMO, router: {policy: kv}, config: {model_profile_id: Llama-3.1-8B}", "router: Dynamo"),
        ("type: DYNAMO, config: {model_profile_id: Llama-3.1-8B, dynamo: {kv: {overlap_score_credit: 2}}}", "dynamo.kv"),
    ] {
        let errors = entry("{node: H100-SXM}", given).unwrap_err();
        assert!(errors.iter().any(|error| error.contains(at)), "{given}: {errors:?}");
    }
}

/// Dynamo over one worker is that worker; over several, each router mode runs.
#[test]
fn dynamo_runs_its_workers() {
    let finish = |text: &str| plan::ended(&entry("{node: H100-SXM}", text).unwrap().runs[0], true).finish();
    for (backend, kind) in [("vllm", "VLLM"), ("trtllm", "TRTLLM"), ("sglang", "SGLANG")] {
        let alone = finish(&format!("type: {kind}, config: {{model_profile_id: Llama-3.1-8B}}"));
        let dynamo = finish(&format!("type: DYNAMO, config: {{model_profile_id: Llama-3.1-8B, dynamo: {{backend: {backend}}}}}"));
        assert_eq!(alone.requests.finish_ps, dynamo.requests.finish_ps);
        assert_eq!(dynamo.info.replicas[0].framework, "DYNAMO");
        for mode in ["round_robin", "random", "power_of_two_choices", "least_loaded", "kv"] {
            let config = format!("config: {{model_profile_id: Llama-3.1-8B, dynamo: {{backend: {backend}, router_mode: {mode}}}}}");
            let run = finish(&format!("type: Dynama, replicas: 3, {config}"));
            assert_eq!(run.summary["requests"]["successful"], 50, "{mode}");
        }
    }
}

/// Two prompts with 1,600 tokens in common, a second apart: the second follows the first where the router has heard of them by then, and
/// else goes where it falls, since nobody has load.
#[test]
fn kv_events_are_heard_after_their_delay() {
    for kind in ["VLLM", "TRTLLM", "SGLANG"] {
        let cached = |delay: &str, seed: u32| {
            let text = format!(
                "
simulation: {{random_seed: {seed}}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 2
  client_profiles:
  - profile_name: alike
    inter_arrival_time_dist_config: {{type: Constant, value: 1}}
    shared_prefix_tokens: 1600
    prompt_tokens_dist_config: {{type: Constant, value: 1700}}
    max_output_tokens_dist_config: {{type: Constant, value: 2}}
frameworks_to_test:
- name: fleet
  type: {kind}
  replicas: 4
  router: {{policy: kv{delay}}}
  config: {{model_profile_id: Llama-3.1-8B}}
"
            );
            let run = run(&text, true);
            (run.requests.replica[0] == run.requests.replica[1], run.requests.cached_tokens[1])
        };
        let seeds = || 1..=8;
        // The first reply ends within 200 ms.
        for heard in ["", ", event_delay_ms: 500", ", snapshot_interval_ms: 300"] {
            assert!(seeds().all(|seed| matches!(cached(heard, seed), (true, 1568..))), "{kind}{heard}");
        }
        for unheard in [", event_delay_ms: 5000", ", snapshot_interval_ms: 60000"] {
            let together = seeds().filter(|&seed| cached(unheard, seed).0).count();
            assert!(together < 6, "{kind}{unheard}: {together} of 8 on the same of four");
        }
    }
}
