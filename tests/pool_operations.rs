//! Prefill and decode pools in operation: engines that fail, drain and are scaled, leases, retries, admission. Times are worked out by hand with
//! fixed passes and a known network; what holds whatever happens is held against random fleets and faults.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::metrics::{FleetEventKind, RunResult, Status};
use llmperforacle::sim::{self, NoFiles};
use proptest::prelude::*;

#[path = "support/plan.rs"]
mod plan;

fn plan(text: &str) -> Result<sim::RunPlan, Vec<String>> {
    plan::plan(text, &NoFiles).map(|mut plan| plan.runs.remove(0))
}

fn run(text: &str) -> RunResult {
    plan::ended(&plan(text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}")), true).finish()
}

/// Requests of 1600 tokens in and 20 out, `every_s` apart. Prefill takes 10 ms, a decode step 1 ms; over 10 Gb/s cards KV takes 27 ms.
fn document(requests: u32, every_s: f64, pools: &str, entry: &str, top: &str) -> String {
    format!(
        "
simulation: {{random_seed: 3}}
hardware_profile: {{node: 8xH100-SXM, network: {{nic_gbps: 10}}}}
workload:
  total_requests_to_generate: {requests}
  client_profiles:
  - profile_name: a
    inter_arrival_time_dist_config: {{type: Constant, value: {every_s}}}
    prompt_tokens_dist_config: {{type: Constant, value: 1600}}
    max_output_tokens_dist_config: {{type: Constant, value: 20}}
frameworks_to_test:
- name: apart
  type: VLLM
  {entry}
  config:
    model_profile_id: Llama-3.1-8B
    tensor_parallel_size: 8
    timing: {{fixed: {{prefill_ms: 10, decode_ms: 1}}}}
    async_scheduling: false
    host_overhead: {{per_step_us: 0, per_sequence_us: 0, per_new_request_us: 0, per_request_api_ms: 0}}
    disaggregation: {pools}
{top}
"
    )
}

const AT_ONCE: &str = "startup: {provision_s: 0, weights_gb_per_s: 1e5, compile_s: 0, warm_up_s: 0.5}";

fn count(run: &RunResult, status: Status) -> usize {
    run.requests.status.iter().filter(|&&found| found == status as u8).count()
}

fn decisions(run: &RunResult) -> Vec<(f64, Option<u8>, u32, u32)> {
    let events = run.fleet.events.iter().filter(|event| event.kind == FleetEventKind::Decision);
    events.map(|event| (event.at_ps as f64 / 1e12, event.pool, event.before, event.value)).collect()
}

/// A request arrives at 40 s, its prompt is there at 40.010 s; 10 ms into its transfer the decode engine (GPUs 8 to 15) fails. Its KV stays
/// with the prefill engine until the lease of 30 s ends.
#[test]
fn a_decode_engine_fails_during_a_transfer() {
    let fault = "faults: {events: [{at_s: 40.02, kind: gpu, index: 9, duration_s: 1}]}";
    let alone = document(1, 40.0, "{prefill: {}, decode: {}}", AT_ONCE, fault);
    let simulation = plan::ended(&plan(&alone).unwrap(), true);
    // Blocks of 16 tokens, and the run does not wait for the lease to end: nobody else wants the memory.
    assert_eq!((simulation.kv_blocks_used(), simulation.kv_leases()), (100, 1));
    let lost = simulation.finish();
    assert_eq!((count(&lost, Status::Lost), lost.requests.attempts[0], lost.requests.lost_tokens[0]), (1, 1, 0));
    assert!(lost.end_ps < 45_000_000_000_000);

    // The next request comes after the lease has ended, and finds all memory free.
    let simulation = plan::ended(&plan(&alone.replace("total_requests_to_generate: 1", "total_requests_to_generate: 2")).unwrap(), true);
    assert_eq!((simulation.kv_blocks_used(), simulation.kv_leases()), (0, 0));
    let run = simulation.finish();
    assert_eq!((count(&run, Status::Lost), count(&run, Status::Success)), (1, 1));
    assert_eq!(run.summary["disaggregation"]["leases_ended"], 1);

    // Tried again while the engine is away: nobody is there. Tried again afterwards: a prompt that shares nothing is computed anew.
    let again = run_with_retry(&alone, 100.0);
    assert_eq!((count(&again, Status::Rejected), again.requests.attempts[0]), (1, 2));
    let again = run_with_retry(&alone, 10_000.0);
    assert_eq!((count(&again, Status::Success), again.requests.attempts[0], again.requests.output_tokens[0]), (1, 2, 20));
    assert_eq!(again.requests.prefilled_tokens[0], 3200);
    assert_eq!(again.summary["operations"]["lost_prefill_tokens"], 1600);
    assert_eq!(again.summary["disaggregation"]["requests"], 1);
}

fn run_with_retry(text: &str, wait_ms: f64) -> RunResult {
    run(&format!("{text}\nretries: {{initial_backoff_ms: {wait_ms}, max_backoff_ms: {wait_ms}, max_attempts: 2}}\n"))
}

/// The prefill engine fails while it computes, or while its KV is fetched: what was computed is lost, and another engine computes it all again.
#[test]
fn a_prefill_engine_fails() {
    for at_s in [40.005, 40.02] {
        let top = format!("faults: {{events: [{{at_s: {at_s}, kind: gpu, index: 7}}]}}\nretries: {{initial_backoff_ms: 0}}");
        let run = run(&document(1, 40.0, "{prefill: {replicas: 2}, decode: {}}", AT_ONCE, &top));
        assert_eq!((count(&run, Status::Success), run.requests.attempts[0], run.requests.replica[0]), (1, 2, 1), "{at_s}");
        assert_eq!((run.requests.prefilled_tokens[0], run.requests.output_tokens[0]), (3200, 20));
        assert_eq!(run.fleet.events.iter().filter(|event| event.kind == FleetEventKind::Failed).count(), 1);
        // The first try was given up at the failure, and the second takes its usual time.
        let first = run.requests.first_token_ps[0] as f64 / 1e12;
        let transfer = 0.0004 + 3e-6 + 101.0 * 64.0 * 23e-9 + 1616.0 * 16_384.0 / (0.7735 * 1.25e9);
        assert!((first - (at_s + 0.010 + transfer + 0.001)).abs() < 1e-5, "{first}");
    }
}

/// A seated request is lost with its decode engine; with `keep_tokens` the next try computes prompt and tokens and goes on.
#[test]
fn a_seated_request_goes_on_elsewhere() {
    // The first token is out at 40.0391 s, one every millisecond after it.
    let fault = "faults: {events: [{at_s: 40.0455, kind: gpu, index: 8}]}\nretries: {initial_backoff_ms: 0, keep_tokens: true}";
    let run = run(&document(1, 40.0, "{prefill: {}, decode: {replicas: 2}}", AT_ONCE, fault));
    assert_eq!((count(&run, Status::Success), run.requests.attempts[0], run.requests.output_tokens[0]), (1, 2, 20));
    let kept = run.counters[1].output_tokens;
    assert!((5..=7).contains(&kept), "{kept}");
    assert_eq!(run.counters[2].output_tokens, 20 - kept);
    assert_eq!(run.inter_token.count(), 19);
    assert_eq!(run.requests.lost_tokens[0], 0);
}

/// The pause of a request that goes on elsewhere begins with the latest token that came out, also in the middle of a run of steps taken at
/// once: the gaps between its tokens add up to the time from the first to the last.
#[test]
fn a_pause_begins_with_the_latest_token() {
    for (overlap, fault_s) in [(false, 40.0455), (true, 40.0455), (false, 40.0517), (true, 40.0517)] {
        let fault = format!(
            "faults: {{events: [{{at_s: {fault_s}, kind: gpu, index: 8}}]}}\nretries: {{initial_backoff_ms: 0, keep_tokens: true}}"
        );
        let text = document(1, 40.0, "{prefill: {}, decode: {replicas: 2}}", AT_ONCE, &fault);
        let run = run(&text.replace("async_scheduling: false", &format!("async_scheduling: {overlap}")));
        assert_eq!((count(&run, Status::Success), run.requests.attempts[0], run.inter_token.count()), (1, 2, 19));
        let gaps_ps = run.inter_token.mean().unwrap() * 19.0;
        let time_ps = (run.requests.finish_ps[0] - run.requests.first_token_ps[0]) as f64;
        assert!((gaps_ps - time_ps).abs() < 1000.0, "{overlap}, {fault_s}: {gaps_ps} {time_ps}");
    }
}

/// A prefill engine that is told to drain keeps its KV until it has been fetched, and only then goes.
#[test]
fn a_drained_prefill_engine_waits_for_its_kv_to_be_fetched() {
    let drain = "faults: {events: [{at_s: 40.005, kind: drain, index: 0, duration_s: 5}]}";
    let run = run(&document(2, 40.0, "{prefill: {}, decode: {}}", AT_ONCE, drain));
    assert_eq!(count(&run, Status::Success), 2);
    let down = run.fleet.events.iter().find(|event| event.kind == FleetEventKind::TakenDown).unwrap();
    let arrived = run.handovers.of(0).unwrap().arrived_ps;
    assert_eq!((down.at_ps, down.replica, down.pool), (arrived, Some(0), Some(0)));
    assert_eq!(run.summary["operations"]["pools"][0]["min"], 0);
    assert_eq!(run.summary["operations"]["pools"][1]["min"], 1);
    // 5 s without a prefill engine, less 5 ms and 28 ms, and half a second and 16 GB of weights at 100 TB/s to start.
    let out = run.summary["operations"]["without_service_s"].as_f64().unwrap();
    assert!((out - 5.5).abs() < 0.01, "{out}");
}

/// Stragglers: a slow decode engine takes its factor; a slow prefill engine too.
#[test]
fn slow_engines_take_their_factor() {
    let at = |top: &str| {
        let run = run(&document(1, 40.0, "{prefill: {}, decode: {}}", AT_ONCE, top));
        let times = &run.requests;
        (times.first_token_ps[0] - times.arrival_ps[0], times.finish_ps[0] - times.first_token_ps[0])
    };
    let (ttft, rest) = at("");
    let slow = at("faults: {events: [{at_s: 0, kind: slow, index: 0, factor: 3}]}");
    assert_eq!(slow, (ttft + 20_000_000_000, rest));
    let slow = at("faults: {events: [{at_s: 0, kind: slow, index: 1, factor: 3}]}");
    assert_eq!(slow, (ttft + 2_000_000_000, 3 * rest));
}

/// One request at each engine and a queue of two: of ten at once, one goes in, two wait, seven are turned away.
#[test]
fn requests_wait_before_the_pools() {
    let top = "admission: {max_in_flight_per_replica: 1, max_queue: 2}";
    let run = run(&document(10, 1e-5, "{prefill: {}, decode: {}}", "", top));
    assert_eq!((count(&run, Status::Success), count(&run, Status::Rejected)), (3, 7));
    // The second goes in when the first has left the decode engine.
    let scheduled = &run.requests.scheduled_ps;
    let done: Vec<usize> = (0..10).filter(|&row| run.requests.status[row] == Status::Success as u8).collect();
    assert!(done.windows(2).all(|pair| scheduled[pair[1]] >= run.requests.finish_ps[pair[0]]));
}

/// Without renewal a lease ends although somebody waits: with one seat's memory and long replies, the second request waits longer than 5 ms.
#[test]
fn a_lease_that_is_not_renewed_ends_while_its_request_waits() {
    let pools = "{prefill: {}, decode: {num_gpu_blocks_override: 105}, transfer: {lease_s: 0.03, lease_renewed: false}}";
    let short = run(&document(2, 0.001, pools, "", ""));
    assert_eq!((count(&short, Status::Success), count(&short, Status::Lost)), (1, 1));
    assert_eq!(short.summary["disaggregation"]["leases_ended"], 1);
    let renewed = run(&document(2, 0.001, &pools.replace("lease_renewed: false", "lease_renewed: true"), "", ""));
    assert_eq!((count(&renewed, Status::Success), &renewed.summary["disaggregation"]["leases_ended"]), (2, &serde_json::json!(0)));
}

/// Engines of one GPU: a prefill engine computes a prompt in 100 ms (10 a second), a decode engine has 8 seats and makes 100 tokens in a second
/// (8 a second). 25 requests a second want 3 and 4 of them, 5 want one each.
fn scaled(planner: &str, pools: &str) -> String {
    format!(
        "
simulation: {{random_seed: 3}}
hardware_profile: {{node: 8xH100-SXM}}
workload:
  total_duration: 200
  rate_over_time: {{points: [{{at_s: 0, factor: 5}}, {{at_s: 95, factor: 5}}, {{at_s: 95, factor: 1}}]}}
  client_profiles:
  - profile_name: steady
    inter_arrival_time_dist_config: {{type: Constant, value: 0.2}}
    prompt_tokens_dist_config: {{type: Constant, value: 1000}}
    max_output_tokens_dist_config: {{type: Constant, value: 100}}
frameworks_to_test:
- name: apart
  type: DYNAMO
  {planner}
  startup: {{provision_s: 1, weights_gb_per_s: 1e5, compile_s: 0, warm_up_s: 0}}
  config:
    model_profile_id: Llama-3.1-8B
    max_num_seqs: 8
    timing: {{fixed: {{prefill_ms: 100, decode_ms: 10}}}}
    host_overhead: {{per_step_us: 0, per_sequence_us: 0, per_new_request_us: 0, per_request_api_ms: 0}}
    disaggregation: {pools}
"
    )
}

#[test]
fn the_planner_scales_both_pools_by_the_predicted_traffic() {
    let planner = |budget: u32| {
        format!(
            "planner: {{optimization_target: sla, load_predictor: constant, throughput_adjustment_interval: 30, max_gpu_budget: {budget}}}"
        )
    };
    let run = run(&scaled(&planner(8), "{prefill: {}, decode: {}}"));
    // At 120 s the last 30 s had 5 s of 25 and 25 s of 5 a second: 8.33, hence 1 and 2; at 150 s 5 a second.
    let expected = [(30.0, Some(0), 1, 3), (30.0, Some(1), 1, 4), (120.0, Some(0), 3, 1), (120.0, Some(1), 4, 2), (150.0, Some(1), 2, 1)];
    assert_eq!(decisions(&run), expected);
    assert_eq!(count(&run, Status::Success), run.requests.len());
    // Five GPUs for seven: floor(3 * 5 / 7) and the rest.
    let tight = self::run(&scaled(&planner(5), "{prefill: {}, decode: {}}"));
    assert_eq!(decisions(&tight)[..2], [(30.0, Some(0), 1, 2), (30.0, Some(1), 1, 3)]);
}

/// The easy target: the decode pool grows when an engine has more KV than memory, the prefill pool when prompts of a whole context wait.
#[test]
fn the_planner_scales_pools_by_load() {
    let planner = "planner: {optimization_target: throughput, max_gpu_budget: 6}";
    let run = run(&scaled(planner, "{prefill: {}, decode: {num_gpu_blocks_override: 300}}"));
    let decided = decisions(&run);
    // 15 requests a second are more than one prefill engine computes; those decoding want up to 25 * 69 blocks of 300.
    assert!(decided.iter().any(|&(_, pool, before, after)| pool == Some(1) && after == before + 1), "{decided:?}");
    // One up or down at a time, and nothing while a replica starts.
    assert!(decided.iter().all(|&(_, _, before, after)| before.abs_diff(after) == 1), "{decided:?}");
    let pools = run.summary["operations"]["pools"].as_array().unwrap();
    let most: u64 = pools.iter().map(|pool| pool["max"].as_u64().unwrap()).sum();
    assert!(most <= 6, "{pools:?}");
    assert_eq!(count(&run, Status::Success), run.requests.len());
}

/// A threshold scaler for one pool alone: 25 requests a second, 10 for each prefill engine.
#[test]
fn a_pool_may_have_a_scaler_of_its_own() {
    let pools = "{prefill: {autoscaler: {metric: requests_per_second, target: 10, max_replicas: 5}}, decode: {replicas: 4}}";
    let run = run(&scaled("", pools));
    assert_eq!(decisions(&run)[0], (15.0, Some(0), 1, 3));
    assert!(decisions(&run).iter().all(|&(_, pool, ..)| pool == Some(0)));
    assert_eq!(run.summary["operations"]["pools"][1]["max"], 4);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |text: &str, what: &str| {
        let errors = plan(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(errors.iter().any(|error| error.contains(what)), "{errors:?}");
    };
    let scaler = "autoscaler: {metric: in_flight, target: 4, max_replicas: 2}";
    refused(&scaled(scaler, "{prefill: {}, decode: {}}"), "each pool has a scaler");
    refused(&scaled("planner: {}", &format!("{{prefill: {{{scaler}}}, decode: {{}}}}")), "beside `planner`");
    refused(&scaled("planner: {max_gpu_budget: 1}", "{prefill: {}, decode: {}}"), "max_gpu_budget");
    refused(&scaled("planner: {max_gpu_budget: 4}", "{prefill: {replicas: 4}, decode: {}}"), "1 to 3");
    refused(&scaled("", "{prefill: {}, decode: {}, transfer: {order: push, lease_s: 3}}"), "lease_s");
}

/// Random pools with random faults, retries, queues and planners.
fn fleet() -> impl Strategy<Value = String> {
    let engine = prop_oneof![Just("VLLM"), Just("SGLANG"), Just("TRTLLM"), Just("DYNAMO")];
    let order = prop_oneof![Just("push"), Just("pull")];
    let first = prop_oneof![Just("prefill"), Just("seat"), Just("decode")];
    let kind = prop_oneof![Just("gpu"), Just("node"), Just("link"), Just("router"), Just("slow"), Just("drain")];
    let faults = prop::collection::vec((kind, 0_u32..6, 0.0_f64..0.5, prop::option::of(0.001_f64..0.3)), 1..6);
    let retries = prop_oneof![
        Just(""),
        Just("retries: {initial_backoff_ms: 5, budget: 1}"),
        Just("retries: {initial_backoff_ms: 1, keep_tokens: true, max_attempts: 6, budget: 1}")
    ];
    let admission = prop_oneof![Just(""), Just("admission: {max_in_flight_per_replica: 3}"), Just("admission: {max_queue: 4}")];
    let planner = prop_oneof![
        Just(""),
        Just("planner: {optimization_target: latency, load_adjustment_interval: 0.1, max_gpu_budget: 7}"),
        Just(
            "planner: {optimization_target: sla, load_predictor: constant, throughput_adjustment_interval: 0.15, max_gpu_budget: 9, ttft_ms: 30}"
        )
    ];
    let conditional = prop_oneof![Just(""), Just("conditional: {policy: isl_or_load, max_local_prefill_length: 300, busy_requests: 3}, ")];
    let load = (1_u32..40, 0.001_f64..0.02, 1_u32..900, 1_u32..60, prop::option::of(0.005_f64..0.3));
    let pools = (1_u32..3, 1_u32..3, 60_u64..400, 60_u64..400, prop_oneof![Just(0.0), Just(0.01), Just(30.0)], any::<bool>());
    let options = (order, first, conditional, retries, admission, planner);
    (engine, options, faults, load, pools, (any::<bool>(), 0_u64..1000)).prop_map(
        |(engine, (order, first, conditional, retries, admission, planner), faults, load, pools, (overlap, seed))| {
            let (requests, gap_s, input, output, gives_up) = load;
            let (prefills, decodes, prefill_blocks, decode_blocks, lease_s, renewed) = pools;
            let conditional = if engine == "DYNAMO" { conditional } else { "" };
            let lease = if order == "pull" { format!(", lease_s: {lease_s}, lease_renewed: {renewed}") } else { String::new() };
            let (prefill_blocks, decode_blocks) =
                if engine == "SGLANG" { (prefill_blocks * 16 + 600, decode_blocks * 16 + 600) } else { (prefill_blocks, decode_blocks) };
            let cancel = gives_up.map_or(String::new(), |after| format!("client_timeout_s: {after}, "));
            let (prefills, decodes) = if planner.is_empty() { (prefills, decodes) } else { (1, 1) };
            let event = |(kind, index, at, lasts): &(&str, u32, f64, Option<f64>)| {
                let lasts = lasts.map_or(String::new(), |lasts| format!(", duration_s: {lasts}"));
                let index = if *kind == "router" { String::new() } else { format!(", index: {index}") };
                let factor = if *kind == "slow" { ", factor: 3" } else { "" };
                format!("{{at_s: {at}, kind: {kind}{index}{lasts}{factor}}}")
            };
            let events: Vec<String> = faults.iter().map(event).collect();
            format!(
                "
simulation: {{random_seed: {seed}}}
hardware_profile: {{node: 8xH100-SXM, network: {{nic_gbps: 20}}}}
workload: {{total_requests_to_generate: {requests}, {cancel}client_profiles: [{{profile_name: a, shared_prefix_tokens: 64, \
             inter_arrival_time_dist_config: {{type: Exponential, rate: {rate}}}, \
             prompt_tokens_dist_config: {{type: Uniform, low: 65, high: {high}}}, \
             max_output_tokens_dist_config: {{type: Uniform, low: 1, high: {longest}}}}}]}}
frameworks_to_test:
- name: engine
  type: {engine}
  {planner}
  startup: {{provision_s: 0.01, weights_gb_per_s: 1e5, compile_s: 0.01, warm_up_s: 0}}
  config:
    model_profile_id: Llama-3.1-8B
    timing: {{fixed: {{prefill_ms: 10, decode_ms: 1}}}}
    async_scheduling: {overlap}
    disaggregation:
      {conditional_line}
      prefill: {{replicas: {prefills}, num_gpu_blocks_override: {prefill_blocks}}}
      decode: {{replicas: {decodes}, num_gpu_blocks_override: {decode_blocks}}}
      transfer: {{order: {order}, first_token: {first}, separate_nodes: true{lease}}}
faults: {{events: [{events}]}}
{retries}
{admission}
",
                rate = 1.0 / gap_s,
                high = 66 + input,
                longest = output + 1,
                conditional_line = conditional.trim_end().trim_end_matches(','),
                events = events.join(", "),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_global_rejects: 8000, ..ProptestConfig::default() })]

    /// Whatever breaks: every request ends once, its tokens come from steps, memory is free or leased at the end, jumps change nothing.
    #[test]
    fn pools_conserve_tokens_and_blocks_under_faults(document in fleet()) {
        let Ok(plan) = plan(&document) else { return Err(TestCaseError::reject("a document that cannot be run")) };
        let simulation = plan::ended(&plan, true);
        let (held, leases) = (simulation.kv_blocks_used(), simulation.kv_leases());
        let run = simulation.finish();
        let requests = &run.requests;
        let of = |status: Status| count(&run, status);
        let (good, open) = (of(Status::Success), of(Status::Unfinished));
        prop_assert_eq!(good + open + of(Status::Cancelled) + of(Status::Rejected) + of(Status::Lost), requests.len());
        // Only before a fleet that is gone for good does anybody wait for ever.
        let waits_for_ever = document.contains("admission") && run.fleet.failures + run.fleet.events.iter()
            .filter(|event| event.kind == FleetEventKind::TakenDown).count() as u64 > 0;
        prop_assert!(open == 0 || waits_for_ever, "{} open: {}", open, document);
        prop_assert!(held == 0 || leases > 0, "{} blocks are held at the end: {}", held, document);
        let (mut out, mut lost) = (0, 0);
        for row in 0..requests.len() {
            out += u64::from(requests.output_tokens[row]);
            lost += u64::from(requests.lost_tokens[row]);
            if requests.status[row] == Status::Success as u8 {
                prop_assert_eq!(requests.output_tokens[row], requests.max_tokens[row], "{}", document);
                prop_assert!(requests.prefilled_tokens[row] + u64::from(requests.cached_tokens[row]) >= u64::from(requests.input_tokens[row]));
                prop_assert!(requests.arrival_ps[row] < requests.first_token_ps[row]);
                prop_assert!(requests.first_token_ps[row] <= requests.finish_ps[row]);
            }
        }
        // Every token that anybody has came out of a step; others were made for tries that were lost and clients that had gone.
        let counted: u64 = run.counters.iter().map(|counters| counters.output_tokens).sum();
        prop_assert!(counted >= out, "{counted} tokens of steps for {out}: {document}");
        prop_assert_eq!(lost, run.fleet.lost_tokens);
        if run.fleet.lost_attempts == 0 && of(Status::Cancelled) == 0 {
            prop_assert_eq!(counted, out, "{}", document);
        }
        let singly = plan::ended(&plan, false).finish();
        prop_assert_eq!(&run.requests, &singly.requests, "{}", document);
        prop_assert_eq!(&run.handovers, &singly.handovers);
        prop_assert_eq!(&run.counters, &singly.counters);
        prop_assert_eq!(&run.inter_token, &singly.inter_token);
        prop_assert_eq!(&run.fleet, &singly.fleet);
    }
}
