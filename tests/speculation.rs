//! Speculative decoding against its closed form, against steps counted by hand, and through documents.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::config;
use llmperforacle::engine::policies::vllm::Vllm;
use llmperforacle::engine::speculation::mean_tokens_per_step;
use llmperforacle::engine::testing::{Lab, Log};
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::NoFiles;
use proptest::prelude::*;

#[path = "support/run.rs"]
mod run;

fn vllm(blocks: u64, acceptance: &[f64]) -> Lab {
    Lab::new(Box::new(Vllm::default()), blocks).speculate(acceptance)
}

/// Prefill 10 ms, a verification 1 ms. Nine tokens: one from the prefill, then two steps of 1 + 3.
#[test]
fn certain_drafts_come_out_in_full() {
    let mut lab = vllm(1000, &[1.0; 3]);
    lab.arrive(0.0, 128, 9);
    assert_eq!(lab.run(), [(10.0, 12.0)]);
}

/// Ten tokens: the third step needs only its own token, and drafts no more than is wanted.
#[test]
fn no_token_comes_out_beyond_the_last() {
    let mut lab = vllm(1000, &[1.0; 3]);
    lab.arrive(0.0, 128, 10);
    let log: Log = lab.log();
    assert_eq!(log.outcomes[0].output_tokens, 10);
    assert_eq!(log.steps, 1 + 3);
}

#[test]
fn drafts_that_are_never_right_change_nothing() {
    let serve = |acceptance: &[f64]| {
        let mut lab = vllm(300, acceptance);
        (0..40).for_each(|i| lab.arrive(f64::from(i) * 3.0, 100 + i, 50 + i));
        lab.run()
    };
    assert_eq!(serve(&[0.0, 1.0]), serve(&[]));
}

/// 0.8 and 0.5 give 1 + 0.8 + 0.4 = 2.2 tokens a step; 22,000 tokens take about 10,000 steps. The number accepted in a step has a
/// standard deviation of 0.75, so the mean of 10,000 lies within 0.03 of 1.2 with four standard deviations.
#[test]
fn the_mean_is_that_of_the_closed_form() {
    assert!((mean_tokens_per_step(&[0.8, 0.5]) - 2.2).abs() < 1e-12);
    let mut lab = vllm(10_000, &[0.8, 0.5]);
    lab.arrive(0.0, 16, 22_001);
    let (first, last) = lab.run()[0];
    let tokens_per_step = 22_000.0 / (last - first);
    assert!((tokens_per_step - 2.2).abs() < 0.03, "{tokens_per_step}");
}

/// A pool that is too small for all: tokens beyond the step's own are not accepted where no block is free, and nothing gets lost.
#[test]
fn a_full_pool_accepts_fewer() {
    let mut lab = vllm(20, &[1.0; 4]);
    lab.arrive(0.0, 128, 100);
    lab.arrive(0.0, 128, 100);
    let log = lab.log();
    assert!(log.outcomes.iter().all(|outcome| outcome.output_tokens == 100 && outcome.finish.is_some()));
    assert!(log.peak_kv_blocks <= 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_request_ends_with_all_its_tokens(
        requests in prop::collection::vec((0u32..200, 1u32..300, 1u32..80), 1..30),
        acceptance in prop::collection::vec(0.0f64..=1.0, 1..5),
        blocks in 24u64..80,
        overlap: bool,
    ) {
        let mut lab = vllm(blocks, &acceptance).pace(|pace| pace.overlap = overlap);
        let mut at = 0.0;
        for (gap, input, output) in &requests {
            at += f64::from(*gap) / 10.0;
            lab.arrive(at, *input, *output);
        }
        let log = lab.log();
        for (outcome, (_, _, output)) in log.outcomes.iter().zip(&requests) {
            prop_assert!(outcome.rejected.is_some() || outcome.output_tokens == *output);
        }
        prop_assert!(log.peak_kv_blocks <= blocks);
        prop_assert!(log.kv_blocks_at_end == 0);
    }
}

fn serve(engine: &str, concurrency: u32, speculative: &str) -> RunResult {
    let document = format!(
        "
simulation: {{random_seed: 1}}
hardware_profile: {{node: H100-SXM}}
workload:
  concurrency: {concurrency}
  total_requests_to_generate: {}
  client_profiles:
  - profile_name: a
    weight: 1
    prompt_tokens_dist_config: {{type: Constant, value: 512, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 200, is_int: true}}
frameworks_to_test:
- name: engine
  type: {engine}
  config: {{model_profile_id: Llama-3.1-8B, {speculative}}}
",
        concurrency * 2
    );
    run::simulate(&document, &NoFiles).remove(0)
}

fn tpot_ms(run: &RunResult) -> f64 {
    run.summary["latency"]["time_per_output_token_ms"]["mean"].as_f64().unwrap()
}

/// Alone, a decode step reads the weights whatever it computes, so four rows cost little more than one and the gain comes near the
/// tokens of a step; an 8B model's EAGLE layer is a small part of it. In a large batch the rows cost time, and the gain shrinks.
#[test]
fn speculation_pays_most_when_alone() {
    const EAGLE: &str = "speculative: {method: eagle, num_speculative_tokens: 3, acceptance_rate: 0.8}";
    let mean = mean_tokens_per_step(&[0.8; 3]);
    for engine in ["VLLM", "TRTLLM"] {
        let gain = |concurrency| tpot_ms(&serve(engine, concurrency, "")) / tpot_ms(&serve(engine, concurrency, EAGLE));
        let (alone, crowded) = (gain(1), gain(128));
        assert!(alone > 0.6 * mean && alone < mean, "{engine}: {alone} of {mean}");
        assert!(crowded < alone, "{engine}: {crowded} in a batch of 128, {alone} alone");
    }
}

/// 0.9^1 + ... + 0.9^4 accepted of 4 drafted: 3.0951 of 4 (the last steps of a reply want fewer).
#[test]
fn the_result_tells_of_drafts() {
    let run = serve("VLLM", 4, "speculative: {method: mtp, num_speculative_tokens: 4, acceptance_rate: 0.9}");
    let engine = &run.summary["engine"];
    assert_eq!(engine["single_steps"], "speculative decoding");
    let share = engine["accepted_tokens"].as_f64().unwrap() / engine["drafted_tokens"].as_f64().unwrap();
    assert!((share - 3.0951 / 4.0).abs() < 0.04, "{share}");
}

#[test]
fn a_draft_model_takes_memory() {
    let blocks = |speculative: &str| serve("VLLM", 1, speculative).kv_blocks_total;
    let alone = blocks("");
    let ngram = blocks("speculative: {method: ngram, num_speculative_tokens: 3, acceptance_rate: 0.5}");
    let drafted = blocks("speculative: {method: draft_model, draft_model: Llama-3.2-1B, num_speculative_tokens: 3, acceptance_rate: 0.5}");
    assert_eq!(ngram, alone);
    // Weights of 1.24 billion parameters in 16 bit, and 32 KiB of KV a token beside the 128 KiB of the 8B model.
    let share = drafted as f64 / alone as f64;
    assert!((0.72..0.8).contains(&share), "{share}");
}

#[test]
fn what_is_missing_is_said() {
    let read = config::read(
        "
simulation: {}
hardware_profile: {node: H100-SXM}
workload: {preset: chat}
frameworks_to_test:
- {name: a, type: VLLM, config: {model_profile_id: Llama-3.1-8B, speculative: {method: draft_model, num_speculative_tokens: 3}}}
- {name: b, type: VLLM, config: {model_profile_id: Llama-3.1-8B, speculative: {method: ngram, num_speculative_tokens: 3, acceptance: [0.5]}}}
",
        "document.yaml",
    );
    let messages: Vec<_> = read.diagnostics.iter().map(|found| found.message.as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:#?}");
}
