//! Documents with SGLang entries: options that go together, and options that reach the scheduler.

use llmperforacle::config::{self, Diagnostic};
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::NoFiles;

#[path = "support/run.rs"]
mod run;

/// 60 requests at once, of two priorities, on an engine with few seats.
fn document(config: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 60
  client_profiles:
  - profile_name: fixed
    inter_arrival_time_dist_config: {{type: Exponential, rate: 100}}
    prompt_tokens_dist_config: {{type: Constant, value: 1000, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 200, is_int: true}}
    user_priority_dist_config: {{type: Uniform, low: 0, high: 100, is_int: true}}
frameworks_to_test:
- name: engine
  type: SGLANG
  config: {{model_profile_id: Llama-3.1-8B, max_num_seqs: 8, {config}}}
"
    )
}

fn findings(config: &str) -> Vec<Diagnostic> {
    config::read(&document(config), "").diagnostics
}

fn run(config: &str) -> RunResult {
    run::simulate(&document(config), &NoFiles).remove(0)
}

#[test]
fn what_goes_with_priorities_is_said() {
    let found = findings("sglang: {retraction_policy: priority}");
    assert!(found[0].is_error() && found[0].path.ends_with("sglang.retraction_policy"), "{found:?}");
    for key in
        ["schedule_low_priority_values_first: true", "priority_scheduling_preemption_threshold: 5", "disable_priority_preemption: true"]
    {
        let found = findings(&format!("sglang: {{{key}}}"));
        assert!(found.len() == 1 && !found[0].is_error(), "{key}: {found:?}");
        assert_eq!(findings(&format!("sglang: {{enable_priority_scheduling: true, retraction_policy: priority, {key}}}")), []);
    }
}

/// Preemption is for those that are more urgent by more than the threshold: none at 100, most of all at 0.
#[test]
fn the_threshold_decides_how_many_lose_their_seat() {
    let preemptions = |rules: &str| {
        let result = run(&format!("sglang: {{enable_priority_scheduling: true, {rules}}}"));
        result.requests.preemptions.iter().sum::<u32>()
    };
    let by_threshold =
        ["0", "10", "50", "100"].map(|threshold| preemptions(&format!("priority_scheduling_preemption_threshold: {threshold}")));
    assert!(by_threshold.is_sorted_by(|a, b| a > b) && by_threshold[3] == 0, "{by_threshold:?}");
    assert_eq!(preemptions("disable_priority_preemption: true"), 0);
    assert_eq!(preemptions("priority_scheduling_preemption_threshold: 10"), preemptions("schedule_policy: fcfs"));
}

/// Conversations come back to what they had: evicting what was visited last, or the newest, loses more of it than evicting what was not visited for
/// longest.
#[test]
fn the_radix_trees_policy_reaches_it() {
    let cached = |policy: &str| {
        let document = format!(
            "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 600
  max_turns_per_session: 12
  continue_probability: 0.85
  client_profiles:
  - profile_name: agent
    inter_arrival_time_dist_config: {{type: Exponential, rate: 0.4}}
    prompt_tokens_dist_config: {{type: LogNormal, space: value, mean: 1600, sigma: 800, is_int: true}}
    max_output_tokens_dist_config: {{type: LogNormal, space: value, mean: 180, sigma: 140, is_int: true}}
    shared_prefix_tokens: 1000
    conversational_probability: 0.9
    follow_up_inter_arrival_time_dist_config: {{type: LogNormal, space: value, mean: 8, sigma: 12}}
frameworks_to_test:
- name: engine
  type: SGLANG
  config: {{model_profile_id: Llama-3.1-8B, num_gpu_blocks_override: 60000, sglang: {{{policy}}}}}
"
        );
        let result = run::simulate(&document, &NoFiles).remove(0);
        result.requests.cached_tokens.iter().map(|&tokens| u64::from(tokens)).sum::<u64>()
    };
    let lru = cached("");
    assert_eq!(cached("radix_eviction_policy: lru"), lru);
    for policy in ["mru", "filo"] {
        let other = cached(&format!("radix_eviction_policy: {policy}"));
        assert!(other < lru, "{policy}: {other}, lru: {lru}");
    }
    for policy in ["lfu", "slru"] {
        assert_ne!(cached(&format!("radix_eviction_policy: {policy}")), lru, "{policy}");
    }
    // A conversation's leaf is as old as its last turn.
    assert_eq!(cached("radix_eviction_policy: fifo"), lru);
    // Nobody has a priority here, but replies go before prompts, and the next turn asks for both.
    let priority = cached("radix_eviction_policy: priority");
    assert!(priority < lru, "priority: {priority}, lru: {lru}");
}

#[test]
fn a_way_to_choose_among_ranks_wants_ranks() {
    let document = config::read(&document("sglang: {load_balance_method: total_tokens}"), "").document.expect("a document");
    let plan = llmperforacle::sim::plan(&document, &NoFiles).expect("a plan");
    assert!(plan.warnings.iter().any(|found| found.path.ends_with("sglang.load_balance_method")), "{:?}", plan.warnings);
}
