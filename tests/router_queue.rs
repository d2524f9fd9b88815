//! Dynamo's queue before its KV router: when requests wait, and who goes next, by hand.

#![allow(clippy::unwrap_used)]

use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{self, Files};

#[path = "support/plan.rs"]
mod plan;

/// Four prompts of 600, 1000, 700 and 800 tokens, 10 ms apart, with one token each.
const TRACE: &str = "arrival_s,input_tokens,output_tokens\n0,600,1\n0.01,1000,1\n0.02,700,1\n0.03,800,1\n";

struct Trace;

impl Files for Trace {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(TRACE.as_bytes().to_vec())
    }
}

fn document(replicas: u32, dynamo: &str, rest: &str) -> String {
    format!(
        "
simulation: {{random_seed: 1}}
hardware_profile: {{node: H100-SXM}}
workload: {{trace: {{path: trace.csv, format: plain_csv}}}}
{rest}
frameworks_to_test:
- name: queue
  type: DYNAMO
  replicas: {replicas}
  config:
    model_profile_id: Llama-3.1-8B
    max_num_batched_tokens: 2048
    async_scheduling: false
    timing: {{fixed: {{prefill_ms: 100, decode_ms: 1}}}}
    dynamo: {dynamo}
"
    )
}

fn plan(text: &str) -> Result<sim::Plan, Vec<String>> {
    plan::plan(text, &Trace)
}

fn run(text: &str, fast_path: bool) -> RunResult {
    plan::ended(&plan(text).unwrap().runs[0], fast_path).finish()
}

/// When each first token came out, ms.
fn first_tokens(text: &str) -> Vec<f64> {
    let result = run(text, true);
    assert_eq!(result.summary["requests"]["successful"], 4, "{}", result.summary["requests"]);
    assert_eq!(result.requests.first_token_ps, run(text, false).requests.first_token_ps);
    result.requests.first_token_ps.iter().map(|&ps| ps as f64 / 1e9).collect()
}

/// A worker is busy above 0.25 * 2048 = 512 tokens. The first prompt goes at once and makes it so; each of the others is let in when the one
/// before is computed, 100 ms later. Without a threshold they are all at the engine, which takes the three together.
#[test]
fn the_order_is_the_queues() {
    let with = |order: &str| document(1, &format!("{{router_mode: kv, kv: {{router_queue_threshold: 0.25{order}}}}}"), "");
    assert_eq!(first_tokens(&with("")), [100.0, 200.0, 300.0, 400.0]);
    assert_eq!(first_tokens(&with(", router_queue_policy: fcfs")), [100.0, 200.0, 300.0, 400.0]);
    assert_eq!(first_tokens(&with(", router_queue_policy: lcfs")), [100.0, 400.0, 300.0, 200.0]);
    assert_eq!(first_tokens(&with(", router_queue_policy: wspt")), [100.0, 400.0, 200.0, 300.0]);
    let without = first_tokens(&document(1, "{router_mode: kv}", ""));
    assert_eq!(without[..3], [100.0, 200.0, 200.0]);
}

/// 0.35 * 2048 = 716.8 tokens: 600 and 700 do not make a worker busy, 1000 does. The second worker takes the 1000; the third prompt finds the
/// first worker free enough, and the fourth finds it at 1300.
#[test]
fn one_worker_below_the_threshold_is_enough() {
    let text = |threshold: f64| document(2, &format!("{{router_mode: kv, kv: {{router_queue_threshold: {threshold}}}}}"), "");
    let result = run(&text(0.35), true);
    let requests = &result.requests;
    assert_ne!(requests.replica[0], requests.replica[1]);
    assert_eq!(requests.replica[2], requests.replica[0]);
    // The fourth is let in when the first is computed at 100 ms: that leaves 700 there. The engine takes it with the third.
    let first_tokens: Vec<u64> = requests.first_token_ps.iter().map(|&ps| ps / 1_000_000_000).collect();
    assert_eq!(first_tokens, [100, 110, 200, 200]);
    assert_eq!(requests.replica[3], requests.replica[0]);
    // A threshold that is never reached changes nothing.
    let free = run(&document(2, "{router_mode: kv}", ""), true);
    assert_eq!(run(&text(900.0), true).requests.first_token_ps, free.requests.first_token_ps);
}

/// The router hears 7 ms late that a prompt is computed.
#[test]
fn late_news_let_in_late() {
    let text = document(1, "{router_mode: kv, event_delay_ms: 7, kv: {router_queue_threshold: 0.25}}", "");
    assert_eq!(first_tokens(&text), [100.0, 207.0, 314.0, 421.0]);
}

/// The document's own queue before the replicas is the same queue: its limit counts, and two orders are refused.
#[test]
fn it_is_one_queue_with_that_of_the_document() {
    let dynamo = "{router_mode: kv, kv: {router_queue_threshold: 0.25}}";
    let result = run(&document(1, dynamo, "admission: {max_queue: 2}"), true);
    assert_eq!(result.summary["requests"]["successful"], 3, "{}", result.summary["requests"]);
    let wspt = "{router_mode: kv, kv: {router_queue_threshold: 0.25, router_queue_policy: wspt}}";
    let errors = plan(&document(1, wspt, "admission: {order: priority}")).unwrap_err();
    assert!(errors.iter().any(|error| error.starts_with("admission.order")), "{errors:?}");
    let errors = plan(&document(1, "{router_mode: kv, kv: {router_queue_policy: wspt}}", "")).unwrap_err();
    assert!(errors.iter().any(|error| error.contains("router_queue_policy")), "{errors:?}");
}
