//! What separates runs: counters and findings of runs worked out by hand, and findings of made-up summaries.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::metrics::RunResult;
use llmperforacle::report::why;
use llmperforacle::sim::Files;
use serde_json::{Value, json};

#[path = "support/run.rs"]
mod run;

struct Trace(&'static str);

impl Files for Trace {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.into())
    }
}

/// Prefill pass 10 ms, decode pass 1 ms, a mixed pass takes both; every batch is formed when the one before has ended.
fn runs(entries: &str, trace: &'static str) -> Vec<RunResult> {
    let document = format!(
        "simulation: {{random_seed: 1}}\nhardware_profile: {{node: H100-SXM}}\nworkload: {{trace: {{path: trace.csv}}}}\nframeworks_to_test:\n{entries}"
    );
    run::simulate(&document, &Trace(trace))
}

fn entry(name: &str, more: &str) -> String {
    let config = "model_profile_id: Llama-3.1-8B, async_scheduling: false, timing: {fixed: {prefill_ms: 10, decode_ms: 1}}";
    format!("- {{name: {name}, type: VLLM, config: {{{config}, {more}}}}}\n")
}

const G1: &str = "TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.0000000,6144,3
2023-11-16 18:15:46.0000000,10240,2
2023-11-16 18:15:46.0000000,3072,2
";

fn close(summary: &Value, pointer: &str, expected: f64) {
    let found = summary.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer}"));
    assert!((found - expected).abs() < 1e-12 * expected.max(1.0), "{pointer}: {found}, not {expected}");
}

/// Steps: 0-10 ms prompts alone; 10-21 and 21-32 a decode beside prompts, the third request held back by the budget until 21;
/// 32-33 two decodes. Four tokens are decoded.
#[test]
fn the_waits_of_a_trace_by_hand() {
    let run = runs(&entry("engine", "max_num_batched_tokens: 8192"), G1).remove(0);
    let s = &run.summary;
    close(s, "/waits/held_back/budget", 21.0 / 33.0);
    close(s, "/waits/held_back/kv_blocks", 0.0);
    close(s, "/waits/per_token_ms/mixed", 22.0 / 4.0);
    close(s, "/waits/per_token_ms/decode_only", 2.0 / 4.0);
    close(s, "/waits/per_token_ms/stopped", 0.0);
    close(s, "/waits/steps/mixed", 0.5);
    close(s, "/waits/steps/prefill_only", 0.25);
    close(s, "/waits/mean_step_ms/mixed", 11.0);
    close(s, "/waits/mean_step_ms/prefill_only", 10.0);
    close(s, "/waits/mean_step_ms/decode_only", 1.0);

    let findings = why(&["engine"], &[s]);
    let told: Vec<(&str, String)> = findings.iter().map(|f| (f.id, f.text())).collect();
    assert_eq!(told[0], ("decode_in_mixed_steps", "Replies spent time in steps that also computed prompts, per token: 5.50 ms.".into()));
    assert_eq!(told[1].0, "held_by_budget");
    assert!(told[1].1.ends_with("not cut: 63.6 %."), "{}", told[1].1);
    assert_eq!(told.len(), 2);
}

/// With one seat the three are served one after the other: 12 + 22 (two pieces of 10 ms, one more token 1 ms: 21) + 11 ms.
#[test]
fn what_separates_a_wide_engine_from_a_narrow_one() {
    let entries = entry("wide", "max_num_batched_tokens: 8192") + &entry("narrow", "max_num_batched_tokens: 8192, max_num_seqs: 1");
    let runs = runs(&entries, G1);
    // 6144/3: 10 + 2 ms. 10240/2: 20 + 1 ms. 3072/2: 10 + 1 ms. Held back by the seat until the third starts at 33 ms of 44.
    close(&runs[1].summary, "/waits/held_back/seats", 33.0 / 44.0);
    close(&runs[1].summary, "/waits/per_token_ms/mixed", 0.0);
    let findings = why(&["wide", "narrow"], &[&runs[0].summary, &runs[1].summary]);
    let by_id = |id: &str| findings.iter().find(|f| f.id == id).unwrap_or_else(|| panic!("no {id}"));
    assert_eq!(by_id("decode_in_mixed_steps").entry, 0);
    assert_eq!(by_id("held_by_seats").entry, 1);
    assert!(by_id("held_by_seats").text().ends_with("wide 0.0 %, narrow 75.0 %."));
    assert!(findings.windows(2).all(|pair| pair[0].weight >= pair[1].weight));
}

#[test]
fn equal_runs_are_not_separated_and_unknown_numbers_are_not_made_up() {
    let summary = |host: Value| json!({"utilisation": {"time": {"host": host}}});
    assert!(why(&["a", "b"], &[&summary(json!(0.2)), &summary(json!(0.2))]).is_empty());
    assert!(why(&["a", "b"], &[&summary(json!(0.2)), &summary(json!(0.205))]).is_empty());
    assert!(why(&["a"], &[&json!({})]).is_empty());
    assert!(why(&[], &[]).is_empty());
    assert!(why(&["a", "b"], &[&summary(json!(0.3)), &summary(Value::Null)]).is_empty());
    let found = why(&["a", "b", "c"], &[&summary(json!(0.3)), &summary(Value::Null), &summary(json!(0.1))]);
    assert_eq!(found[0].text(), "GPUs waited for the host to schedule or to read tokens: a 30.0 %, b unknown, c 10.0 %.");
}
