//! A fleet in operation: replicas that come, go and fail, requests that wait, are lost and tried again, tenants, planners.

#![allow(clippy::unwrap_used)]

use llmperforacle::config;
use llmperforacle::metrics::{FleetEventKind, RunResult, Status};
use llmperforacle::sim::{self, NoFiles, Simulation};

fn plan(text: &str) -> Result<sim::Plan, Vec<String>> {
    let read = config::read(text, "operations.yaml");
    let told = |list: &[config::Diagnostic]| list.iter().map(|d| format!("{}: {}", d.path, d.message)).collect::<Vec<_>>();
    let document = read.document.ok_or_else(|| told(&read.diagnostics))?;
    sim::plan(&document, &NoFiles).map_err(|errors| told(&errors))
}

fn run_as(text: &str, fast_path: bool) -> RunResult {
    let mut plan = plan(text).unwrap();
    plan.runs[0].fast_path = fast_path;
    let mut simulation = Simulation::new(&plan.runs[0]).unwrap();
    let mut slices = 0;
    while !simulation.advance(1 << 16).done {
        slices += 1;
        assert!(slices < 2000, "the run does not end");
    }
    simulation.finish()
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
