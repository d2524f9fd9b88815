//! A fleet in operation: replicas that come, go and fail, requests that wait, are lost and tried again, tenants, planners.

#![allow(clippy::unwrap_used)]

use llmperforacle::metrics::{FleetEventKind, RunResult, Status};
use llmperforacle::sim::{self, NoFiles, Simulation};

#[path = "support/plan.rs"]
mod plan;

fn plan(text: &str) -> Result<sim::Plan, Vec<String>> {
    plan::plan(text, &NoFiles)
}

/// Takes the first run of a document to its end.
fn ended(text: &str, fast_path: bool) -> Simulation {
    plan::ended(&plan(text).unwrap().runs[0], fast_path)
}

fn run_as(text: &str, fast_path: bool) -> RunResult {
    ended(text, fast_path).finish()
}

fn run(text: &str) -> RunResult {
    run_as(text, true)
}

/// Engines whose step with prefill takes 100 ms and whose decode step takes 10 ms, whatever is in it.
fn fixed(rate: f64, requests: u32, output: u32, entry: &str, top: &str) -> String {
    format!(
        "
simulation: {{random_seed: 3}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: {requests}
  client_profiles:
  - profile_name: steady
    inter_arrival_time_dist_config: {{type: Constant, value: {}}}
    prompt_tokens_dist_config: {{type: Constant, value: 64}}
    max_output_tokens_dist_config: {{type: Constant, value: {output}}}
frameworks_to_test:
- name: fleet
  type: VLLM
  {entry}
  config:
    model_profile_id: Llama-3.1-8B
    async_scheduling: false
    timing: {{fixed: {{prefill_ms: 100, decode_ms: 10}}}}
    host_overhead: {{per_step_us: 0, per_sequence_us: 0, per_new_request_us: 0, per_request_api_ms: 0}}
{top}
",
        1.0 / rate
    )
}

fn count(run: &RunResult, status: Status) -> usize {
    run.requests.status.iter().filter(|&&found| found == status as u8).count()
}

fn events(run: &RunResult, kind: FleetEventKind) -> Vec<(f64, Option<u16>)> {
    run.fleet.events.iter().filter(|event| event.kind == kind).map(|event| (event.at_ps as f64 / 1e12, event.replica)).collect()
}

/// One request, 64 tokens in and 20 out, at 1 s; the GPU fails at 1.155 s: the first token is out at 1.1 s, five more by 1.15 s.
#[test]
fn a_failure_loses_the_request_and_a_retry_starts_over() {
    let entry = "startup: {provision_s: 0, weights_gb_per_s: 1e5, compile_s: 0, warm_up_s: 1}";
    let faults = "faults: {events: [{at_s: 1.155, kind: gpu, duration_s: 2}]}";
    let lost = run(&fixed(1.0, 1, 20, entry, faults));
    assert_eq!((count(&lost, Status::Lost), lost.requests.attempts[0], lost.requests.lost_tokens[0]), (1, 1, 6));
    assert_eq!(lost.requests.output_tokens[0], 0);
    // Tokens of the failed try were made, and counted as such.
    assert_eq!(lost.counters[0].output_tokens, 6);

    let retries = format!("{faults}\nretries: {{initial_backoff_ms: 10000, max_backoff_ms: 10000}}");
    let again = run(&fixed(1.0, 1, 20, entry, &retries));
    assert_eq!((count(&again, Status::Success), again.requests.attempts[0], again.requests.lost_tokens[0]), (1, 2, 6));
    // Tried again within a fifth of 10 s after the failure; its times start at its arrival.
    let first = again.requests.first_token_ps[0] as f64 / 1e12;
    assert!((1.155 + 8.0 + 0.1..=1.155 + 12.0 + 0.1).contains(&first), "{first}");
    assert_eq!(again.requests.arrival_ps[0], 1_000_000_000_000);
    assert_eq!(again.requests.finish_ps[0] - again.requests.first_token_ps[0], 19 * 10_000_000_000);
    assert_eq!(again.counters[0].output_tokens, 26);
    // Repaired at 3.155 s, its weights (16 GB at 100 TB/s) and a second later.
    assert_eq!(events(&again, FleetEventKind::Failed), [(1.155, Some(0))]);
    let back = events(&again, FleetEventKind::Serving)[0].0;
    assert!((4.155..4.156).contains(&back), "{back}");
}

/// The same with the six tokens kept: 14 more come out, and the gap between the sixth and the seventh is one of the gaps.
#[test]
fn migration_goes_on_after_the_tokens_that_came_out() {
    let entry = "replicas: 2";
    let top = "faults: {events: [{at_s: 1.155, kind: gpu}]}\nretries: {initial_backoff_ms: 0, keep_tokens: true}";
    let run = run(&fixed(1.0, 1, 20, entry, top));
    assert_eq!((count(&run, Status::Success), run.requests.attempts[0], run.requests.lost_tokens[0]), (1, 2, 0));
    assert_eq!((run.requests.output_tokens[0], run.requests.replica[0]), (20, 1));
    assert_eq!(run.requests.first_token_ps[0], 1_100_000_000_000);
    // Prefill of 70 tokens to 1.255 s, then 13 steps.
    assert_eq!(run.requests.finish_ps[0], 1_385_000_000_000);
    assert_eq!((run.counters[0].output_tokens, run.counters[1].output_tokens), (6, 14));
    assert_eq!(run.requests.prefilled_tokens[0], 64 + 70);
    assert_eq!(run.inter_token.count(), 19);
}

#[test]
fn a_slow_replica_takes_its_factor_from_step_to_step() {
    // Slow from the start: prefill 200 ms, then 19 steps of 20 ms.
    let run = run(&fixed(1.0, 1, 20, "replicas: 1", "faults: {events: [{at_s: 0, kind: slow, factor: 2}]}"));
    assert_eq!(run.requests.first_token_ps[0], 1_200_000_000_000);
    assert_eq!(run.requests.finish_ps[0], 1_580_000_000_000);
}

/// Ten requests at once for one seat and a queue of two: one runs, two wait, seven are turned away.
#[test]
fn a_full_queue_turns_away() {
    let run = run(&fixed(1e4, 10, 20, "replicas: 1", "admission: {max_in_flight_per_replica: 1, max_queue: 2}"));
    assert_eq!((count(&run, Status::Success), count(&run, Status::Rejected)), (3, 7));
    assert_eq!(run.summary["requests"]["rejected"]["admission_queue_full"], 7);
    // One after the other: 290 ms each from the first arrival on.
    let ends: Vec<u64> = run.requests.finish_ps.iter().copied().filter(|&at| at != u64::MAX).collect();
    assert_eq!((ends[1] - ends[0], ends[2] - ends[1]), (290_000_000_000, 290_000_000_000));
}

#[test]
fn without_a_router_nobody_is_let_in() {
    // Requests at 1, 2, … 6 s; the router is down from 2.5 to 4.5 s, and at 2.5 s nothing is under way.
    let run = run(&fixed(1.0, 6, 20, "replicas: 2", "faults: {events: [{at_s: 2.5, kind: router, duration_s: 2}]}"));
    assert_eq!((count(&run, Status::Success), run.summary["requests"]["rejected"]["unavailable"].as_u64()), (4, Some(2)));
    // The third is under way when the router fails at 3.1 s.
    let text = fixed(1.0, 6, 20, "replicas: 2", "faults: {events: [{at_s: 3.1, kind: router, duration_s: 0.5}]}");
    let run = self::run(&text);
    assert_eq!((count(&run, Status::Lost), count(&run, Status::Success)), (1, 5));
}

#[test]
fn a_drained_replica_finishes_what_it_has() {
    let top = "faults: {events: [{at_s: 0.9, kind: drain, duration_s: 3}]}";
    let entry = "replicas: 2\n  startup: {weights_gb_per_s: 1e5, compile_s: 0.5, warm_up_s: 0}";
    let run = run(&fixed(4.0, 40, 20, entry, top));
    assert_eq!(count(&run, Status::Success), 40);
    assert_eq!(run.summary["operations"]["lost_attempts"], 0);
    let (down, back) = (events(&run, FleetEventKind::TakenDown)[0], events(&run, FleetEventKind::Serving)[0]);
    // Its second request came at 0.75 s and takes 290 ms.
    assert_eq!(down, (1.04, Some(0)));
    assert!((4.4..4.41).contains(&back.0), "{back:?}");
    // Nothing went there in between.
    let there = (0..40).filter(|&row| run.requests.replica[row] == 0).map(|row| run.requests.arrival_ps[row] as f64 / 1e12);
    assert!(there.clone().all(|at| at <= 0.9 || at >= 4.4), "{:?}", there.collect::<Vec<_>>());
}

/// 4 requests a second, 12 from 100 s to 200 s, then 4 again; one replica should have 2 a second.
fn step_load(most: u32) -> String {
    format!(
        "
simulation: {{random_seed: 3}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_duration: 700
  rate_over_time: {{points: [{{at_s: 0, factor: 1}}, {{at_s: 100, factor: 1}}, {{at_s: 100, factor: 3}}, {{at_s: 200, factor: 3}}, {{at_s: 200, factor: 1}}]}}
  client_profiles:
  - profile_name: steady
    inter_arrival_time_dist_config: {{type: Constant, value: 0.25}}
    prompt_tokens_dist_config: {{type: Constant, value: 64}}
    max_output_tokens_dist_config: {{type: Constant, value: 20}}
frameworks_to_test:
- name: fleet
  type: VLLM
  replicas: 2
  autoscaler: {{metric: requests_per_second, target: 2, max_replicas: {most}}}
  startup: {{provision_s: 10, weights_gb_per_s: 1e5, compile_s: 5, warm_up_s: 5}}
  config:
    model_profile_id: Llama-3.1-8B
    timing: {{fixed: {{prefill_ms: 100, decode_ms: 10}}}}
"
    )
}

#[test]
fn the_scaler_follows_a_step_and_does_not_flap() {
    let run = run(&step_load(10));
    let decisions: Vec<(f64, u32, u32)> = run
        .fleet
        .events
        .iter()
        .filter(|event| event.kind == FleetEventKind::Decision)
        .map(|event| (event.at_ps as f64 / 1e12, event.before, event.value))
        .collect();
    // It looks every 15 s: at 105 s it sees 5 s of the higher rate, (10 * 4 + 5 * 12) / 15 = 6.67 a second, hence 4; at 120 s all of
    // it. Down five minutes after the last 15 s that had the higher rate, which end at 195 s; the mixed ones at 210 s want 4.
    assert_eq!(decisions.iter().map(|&(at, ..)| at).collect::<Vec<_>>(), [105.0, 120.0, 495.0, 510.0], "{decisions:?}");
    assert_eq!(decisions.iter().map(|&(_, before, after)| (before, after)).collect::<Vec<_>>(), [(2, 4), (4, 6), (6, 4), (4, 2)]);
    // Serving 20 s after the decisions.
    let serving: Vec<f64> = events(&run, FleetEventKind::Serving).iter().map(|(at, _)| *at).collect();
    assert!(serving.len() == 4 && serving.iter().zip([125.0, 125.0, 140.0, 140.0]).all(|(at, due)| (at - due).abs() < 0.01));
    assert_eq!(count(&run, Status::Success), run.requests.len());
    // Two replicas all the time; two from 115 s to 510 s and two from 130 s to 495 s, each paid from the end of its provisioning.
    let paid_s = 2.0 * run.end_ps as f64 / 1e12 + 2.0 * (510.0 - 115.0) + 2.0 * (495.0 - 130.0);
    let hours = run.summary["operations"]["gpu_hours"].as_f64().unwrap();
    assert!((hours * 3600.0 - paid_s).abs() < 4.0, "{} {paid_s}", hours * 3600.0);
    let usd = run.summary["cost"]["usd_per_hour"].as_f64().unwrap() * run.end_ps as f64 / 3.6e15;
    let per_gpu_hour = run.summary["cost"]["usd_per_gpu_hour"].as_f64().unwrap();
    assert!((usd / per_gpu_hour - hours).abs() < 1e-9 * hours);
}

#[test]
fn the_largest_number_of_replicas_is_never_exceeded() {
    let run = run(&step_load(5));
    assert!(run.fleet.sizes.iter().all(|size| size.serving + size.starting + size.draining <= 5));
    assert_eq!(run.fleet.sizes.iter().map(|size| size.serving).max(), Some(5));
}

/// Two days of ten minutes, between 2 and 18 requests a second, under Dynamo's planner.
fn days(planner: &str) -> String {
    format!(
        "
simulation: {{random_seed: 8}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_duration: 1200
  rate_over_time: {{points: [{{at_s: 0, factor: 0.2}}, {{at_s: 300, factor: 1.8}}], period_s: 600}}
  client_profiles:
  - profile_name: chat
    inter_arrival_time_dist_config: {{type: Exponential, rate: 10}}
    prompt_tokens_dist_config: {{type: Uniform, low: 500, high: 1500}}
    max_output_tokens_dist_config: {{type: Uniform, low: 100, high: 300}}
frameworks_to_test:
- name: fleet
  type: DYNAMO
  planner: {planner}
  startup: {{provision_s: 5, weights_gb_per_s: 10, compile_s: 5, warm_up_s: 1}}
  config: {{model_profile_id: Llama-3.1-8B, num_gpu_blocks_override: 1500, max_model_len: 4096}}
"
    )
}

fn mean_serving(run: &RunResult, from_s: f64, to_s: f64) -> f64 {
    run.fleet.serving((from_s * 1e12) as u64, (to_s * 1e12) as u64).0
}

#[test]
fn dynamos_planner_follows_the_day_within_its_budget() {
    for planner in [
        "{max_gpu_budget: 6}",
        "{optimization_target: latency, max_gpu_budget: 6}",
        "{optimization_target: sla, ttft_ms: 400, itl_ms: 20, load_predictor: constant, throughput_adjustment_interval: 30, max_gpu_budget: 6}",
        "{optimization_target: sla, ttft_ms: 400, itl_ms: 20, load_predictor: kalman, enable_load_scaling: true, \
         throughput_adjustment_interval: 30, max_gpu_budget: 6}",
    ] {
        let run = run(&days(planner));
        assert_eq!(count(&run, Status::Success), run.requests.len(), "{planner}");
        let most = run.fleet.sizes.iter().map(|size| size.serving + size.starting + size.draining).max().unwrap();
        assert!((2..=6).contains(&most), "{planner}: {most}");
        // More replicas about the peaks at 300 s and 900 s than about the trough at 600 s.
        let (peaks, trough) =
            ((mean_serving(&run, 250.0, 450.0) + mean_serving(&run, 850.0, 1050.0)) / 2.0, mean_serving(&run, 560.0, 700.0));
        assert!(peaks > trough + 0.2, "{planner}: {peaks} {trough}");
        // No more changes than a day of this shape asks for, twice, and some room for noise.
        let changes = run.fleet.scale_ups + run.fleet.scale_downs;
        assert!((4..=100).contains(&changes), "{planner}: {changes}");
    }
}

/// 2 requests a second, 18 from 300 s to 600 s, then 2 again. The targets need more replicas from the step on, and one again when it is over.
#[test]
fn dynamos_planner_follows_a_step_and_comes_back() {
    let day = "{points: [{at_s: 0, factor: 0.2}, {at_s: 300, factor: 1.8}], period_s: 600}";
    let step = "{points: [{at_s: 0, factor: 0.2}, {at_s: 300, factor: 0.2}, {at_s: 300, factor: 1.8}, {at_s: 600, factor: 1.8}, {at_s: 600, factor: 0.2}]}";
    for planner in [
        "{max_gpu_budget: 6}",
        "{optimization_target: sla, ttft_ms: 400, itl_ms: 20, load_predictor: constant, throughput_adjustment_interval: 30, max_gpu_budget: 6}",
    ] {
        let text = days(planner);
        assert!(text.contains(day));
        let run = run(&text.replace(day, step));
        assert_eq!(count(&run, Status::Success), run.requests.len(), "{planner}");
        let (before, during, after) =
            (mean_serving(&run, 150.0, 300.0), mean_serving(&run, 400.0, 600.0), mean_serving(&run, 950.0, 1150.0));
        assert!(during > before + 0.5, "{planner}: {before} before, {during} during");
        assert!((after - before).abs() < 0.3, "{planner}: {before} before, {after} after");
        // The first replica more after the step is decided when a first interval has seen it, and not before.
        let decided = run.fleet.events.iter().filter(|event| event.kind == FleetEventKind::Decision && event.value > event.before);
        let first_s = decided.map(|event| event.at_ps as f64 / 1e12).find(|&at_s| at_s > 150.0);
        assert!(first_s.is_some_and(|at_s| at_s > 300.0 && at_s <= 365.0), "{planner}: {first_s:?}");
    }
}

/// Everything that can go wrong at random, on three engines.
fn storm(kind: &str, seed: u64, faults: &str, top: &str) -> String {
    format!(
        "
simulation: {{random_seed: {seed}}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 250
  generate_prompt_tokens: true
  client_profiles:
  - profile_name: chat
    conversational_probability: 0.4
    inter_arrival_time_dist_config: {{type: Exponential, rate: 25}}
    prompt_tokens_dist_config: {{type: Uniform, low: 300, high: 1500}}
    max_output_tokens_dist_config: {{type: Uniform, low: 1, high: 200}}
  - profile_name: batch
    inter_arrival_time_dist_config: {{type: Exponential, rate: 5}}
    prompt_tokens_dist_config: {{type: Uniform, low: 1000, high: 3000}}
    max_output_tokens_dist_config: {{type: Uniform, low: 50, high: 400}}
frameworks_to_test:
- name: fleet
  type: {kind}
  replicas: 4
  router: {{policy: kv}}
  startup: {{provision_s: 0.1, weights_gb_per_s: 100, compile_s: 0.2, warm_up_s: 0.1}}
  config: {{model_profile_id: Llama-3.1-8B, num_gpu_blocks_override: 900, max_model_len: 12000}}
faults: {faults}
retries: {{max_attempts: 4, initial_backoff_ms: 50, budget: 0.5}}
{top}
"
    )
}

fn outcome(text: &str, fast_path: bool) -> RunResult {
    let simulation = ended(text, fast_path);
    assert_eq!(simulation.kv_blocks_used(), 0, "blocks have leaked");
    simulation.finish()
}

const HARD: &str = "{gpu: {mtbf_h: 0.002, mttr_s: 0.5}, node: {mtbf_h: 0.01, mttr_s: 0.3}, gpus_per_node: 2}";
const ALL: &str = "{gpu: {mtbf_h: 0.004, mttr_s: 0.5}, link: {mtbf_h: 0.003, mttr_s: 0.2}, router: {mtbf_h: 0.004, mttr_s: 0.2}, \
                   events: [{at_s: 2, kind: slow, index: 1, factor: 3, duration_s: 2}, {at_s: 3, kind: drain, index: 2, duration_s: 1}]}";
const LIMITS: &str =
    "admission: {max_in_flight_per_replica: 16, max_queue: 40, order: fair}\ntenants: [{name: b, profiles: [batch], weight: 2}]";

#[test]
fn under_random_faults_every_request_ends_once_and_tokens_are_conserved() {
    let mut failures = 0;
    for kind in ["VLLM", "SGLANG", "TRTLLM"] {
        for seed in 0..4 {
            let run = outcome(&storm(kind, seed, HARD, ""), true);
            assert_eq!(run.requests.len(), 250);
            assert_eq!(count(&run, Status::Unfinished), 0, "{kind} {seed}");
            for row in 0..250 {
                let done = run.requests.status[row] == Status::Success as u8;
                assert_eq!(done, run.requests.finish_ps[row] != u64::MAX, "{kind} {seed} {row}");
                assert!(run.requests.attempts[row] >= 1 && run.requests.attempts[row] <= 4);
                assert!(!done || run.requests.prefilled_tokens[row] + u64::from(run.requests.cached_tokens[row]) >= 300);
            }
            // What came out was delivered or is known to be lost.
            let made: u64 = run.counters.iter().map(|counters| counters.output_tokens).sum();
            let kept: u64 = run.requests.output_tokens.iter().chain(&run.requests.lost_tokens).map(|&tokens| u64::from(tokens)).sum();
            assert_eq!(made, kept, "{kind} {seed}");
            failures += run.fleet.failures;
        }
    }
    assert!(failures > 20, "{failures}");
}

#[test]
fn single_steps_agree_under_everything_that_can_go_wrong() {
    for (kind, seed) in [("VLLM", 1), ("SGLANG", 2), ("TRTLLM", 3)] {
        let text = storm(kind, seed, ALL, LIMITS);
        let (fast, single) = (outcome(&text, true), outcome(&text, false));
        assert_eq!(fast.hash(), single.hash(), "{kind}");
        assert_eq!(fast.fleet, single.fleet, "{kind}");
        assert!(fast.fleet.failures > 0);
        assert_eq!(count(&fast, Status::Unfinished), 0);
    }
}

/// A tenant that floods and one that does not: taking turns by service, the small one waits much less than first come, first served.
#[test]
fn fairness_protects_the_small_tenant() {
    let text = |order: &str| {
        let workload = "
simulation: {random_seed: 3}
hardware_profile: {node: H100-SXM}
workload:
  total_duration: 60
  client_profiles:
  - profile_name: flood
    inter_arrival_time_dist_config: {type: Exponential, rate: 40}
    prompt_tokens_dist_config: {type: Constant, value: 200}
    max_output_tokens_dist_config: {type: Constant, value: 50}
  - profile_name: trickle
    inter_arrival_time_dist_config: {type: Exponential, rate: 2}
    prompt_tokens_dist_config: {type: Constant, value: 200}
    max_output_tokens_dist_config: {type: Constant, value: 50}
frameworks_to_test:
- name: fleet
  type: VLLM
  config: {model_profile_id: Llama-3.1-8B, timing: {fixed: {prefill_ms: 20, decode_ms: 10}}}
tenants: [{name: big, profiles: [flood]}, {name: small, profiles: [trickle]}]
";
        format!("{workload}admission: {{max_in_flight_per_replica: 8, order: {order}}}\n")
    };
    let ttft = |run: &RunResult, tenant: usize| run.summary["operations"]["tenants"][tenant]["mean_ttft_ms"].as_f64().unwrap();
    let (fcfs, fair) = (run(&text("fcfs")), run(&text("fair")));
    assert!(ttft(&fair, 1) < 0.1 * ttft(&fcfs, 1), "{} {}", ttft(&fair, 1), ttft(&fcfs, 1));
    assert!(ttft(&fair, 0) > 0.8 * ttft(&fcfs, 0));
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_place() {
    for (entry, top, at) in [
        ("replicas: 9\n  autoscaler: {metric: waiting, target: 4, max_replicas: 8}", "", "frameworks_to_test[0].replicas"),
        ("autoscaler: {metric: waiting, target: 4, min_replicas: 5, max_replicas: 2}", "", "frameworks_to_test[0].autoscaler.min_replicas"),
        ("planner: {ttft_ms: 100}", "", "frameworks_to_test[0].planner.ttft_ms"),
        ("planner: {max_gpu_budget: 1, min_endpoint: 2}", "", "frameworks_to_test[0].planner.max_gpu_budget"),
        ("planner: {}\n  autoscaler: {metric: waiting, target: 4, max_replicas: 2}", "", "frameworks_to_test[0].autoscaler"),
        ("replicas: 2", "faults: {events: [{at_s: 1, kind: slow}]}", "faults.events[0]"),
        ("replicas: 2", "faults: {events: [{at_s: 1, kind: gpu, factor: 2}]}", "faults.events[0].factor"),
        ("replicas: 2", "admission: {order: fair}", "admission.order"),
        ("replicas: 2", "tenants: [{name: a, profiles: [nobody]}]", "tenants[0].profiles[0]"),
        ("replicas: 2", "tenants: [{name: a, profiles: [steady], weight: 2}]", "tenants[0].weight"),
        ("replicas: 2", "tenants: [{name: a, profiles: [steady], burst: 2}]", "tenants[0].burst"),
    ] {
        let errors = plan(&fixed(1.0, 1, 20, entry, top)).err().unwrap_or_default();
        assert!(errors.iter().any(|error| error.starts_with(&format!("{at}: "))), "{entry} {top}: {errors:?}");
    }
}

/// What says nothing about a run is said to say nothing.
#[test]
fn what_has_no_effect_is_told() {
    let warned = |entry: &str, top: &str| -> Vec<String> {
        plan(&fixed(1.0, 1, 20, entry, top)).unwrap().warnings.into_iter().map(|warning| warning.path).collect()
    };
    let startup = "startup: {compile_s: 1}";
    assert!(warned(startup, "").contains(&"frameworks_to_test[0].startup".to_owned()));
    let scaled = format!("{startup}\n  autoscaler: {{metric: in_flight, target: 4, max_replicas: 2}}");
    for (entry, top) in [(scaled.as_str(), ""), (startup, "faults: {events: []}")] {
        assert!(!warned(entry, top).iter().any(|path| path.ends_with("startup")), "{entry}");
    }
    let twice = "tenants: [{name: a, profiles: [steady]}, {name: a, profiles: [steady]}]";
    let errors = plan(&fixed(1.0, 1, 20, "replicas: 1", twice)).unwrap_err();
    assert!(errors[0].starts_with("tenants[1].name"), "{errors:?}");
}
