//! SGLang's prefill delayer on two attention ranks: traces derived by hand from `prefill_delayer.py`. A pass with prompts takes 10 ms, one
//! with decodes 1 ms; a step lasts as long as on the slower rank; requests go to the ranks in turn.

use llmperforacle::engine::policies::sglang::{Sglang, SglangOptions};
use llmperforacle::engine::testing::Lab;
use llmperforacle::engine::{HoldRule, PrefillDelayer};
use llmperforacle::kv::RadixCache;
use llmperforacle::sim::NoFiles;

#[path = "support/errors.rs"]
mod errors;
#[path = "support/run.rs"]
mod run;

fn ranks(rule: Option<PrefillDelayer>) -> Lab {
    let policy = || Box::new(Sglang::new(SglangOptions::default()));
    let memory = || Box::new(RadixCache::new(1000, 1, true));
    let lab = Lab::new(policy(), 1000).memory(memory()).peer(policy(), memory());
    rule.into_iter().fold(lab, Lab::delayer)
}

fn passes(max_delay_passes: u32) -> Option<PrefillDelayer> {
    Some(PrefillDelayer { max_delay_passes, low_watermark: None })
}

/// A and B compute together, 0 to 10. C comes at 12.5 to the first rank and waits from 13 on; D comes at 15.5 to the second, and at 16 both
/// have one: 16 to 26, and C's second token at 27. A and B have seven tokens at 16 and 33 more from 26 on. Without the delayer C is computed
/// from 13 to 23 and D from 23 to 33: A has four tokens at 13, one at 33 and 35 more; B four, one at 23, and the others after 33.
#[test]
fn prompts_wait_until_every_rank_has_some() {
    let run = |rule| {
        let mut lab = ranks(rule);
        lab.arrive(0.0, 100, 40);
        lab.arrive(0.0, 100, 40);
        lab.arrive(12.5, 100, 2);
        lab.arrive(15.5, 100, 2);
        lab.run()
    };
    assert_eq!(run(passes(30)), [(10.0, 59.0), (10.0, 59.0), (26.0, 27.0), (26.0, 27.0)]);
    assert_eq!(run(None), [(10.0, 68.0), (10.0, 68.0), (23.0, 33.0), (33.0, 34.0)]);
}

/// Nobody comes to the second rank. With three passes C waits at 13 and at 14 and is computed at 15, to 25; with one pass it never waits.
#[test]
fn in_the_last_pass_prompts_wait_no_more() {
    let run = |rule| {
        let mut lab = ranks(rule);
        lab.arrive(0.0, 100, 40);
        lab.arrive(0.0, 100, 40);
        lab.arrive(12.5, 100, 2);
        lab.log()
    };
    let ended = |rule, row: usize| run(rule).outcomes[row].finish.map(llmperforacle::units::Time::as_ms);
    assert_eq!((ended(passes(3), 0), ended(passes(3), 1), ended(passes(3), 2)), (Some(59.0), Some(58.0), Some(26.0)));
    assert_eq!(ended(passes(1), 2), Some(24.0));
    let held: Vec<_> = run(passes(3)).held.iter().map(|(held, ps)| (held.request, held.rule, *ps)).collect();
    assert_eq!(held, [(2, HoldRule::Ranks, 2_000_000_000)]);
}

/// At 13 the rank with C holds the 103 or 104 tokens of A, of 1000: below a watermark of 0.2 nobody waits, above one of 0.05 C does.
#[test]
fn with_memory_to_spare_nobody_waits() {
    let first = |low_watermark| {
        let mut lab = ranks(Some(PrefillDelayer { max_delay_passes: 3, low_watermark: Some(low_watermark) }));
        lab.arrive(0.0, 100, 40);
        lab.arrive(0.0, 100, 40);
        lab.arrive(12.5, 100, 2);
        lab.run()[2].0
    };
    assert_eq!((first(200_000), first(50_000)), (23.0, 25.0));
}

/// Passes of an idle engine are used up at once: a request alone does not wait.
#[test]
fn an_idle_engine_does_not_wait() {
    let mut lab = ranks(passes(30));
    lab.arrive(0.0, 100, 2);
    assert_eq!(lab.run(), [(10.0, 11.0)]);
}

/// Two seats a rank, and two prompts on each at first. When one of each ends at 14, one seat is free, fewer than the two of that batch: the
/// first time that is passed over, and E and F are computed from 14 to 24. When they end at 26, G and H wait for both seats: C and D have five
/// tokens at 14 and 35 more from 24 on, to 59.
#[test]
fn prompts_wait_for_as_many_seats_as_a_batch_has_had() {
    let mut lab = ranks(passes(30)).limits(|limits| limits.max_num_seqs = 2);
    (0..2).for_each(|_| lab.arrive(0.0, 50, 5));
    (0..2).for_each(|_| lab.arrive(0.0, 50, 40));
    (0..2).for_each(|_| lab.arrive(1.0, 50, 3));
    (0..2).for_each(|_| lab.arrive(20.0, 50, 1));
    let expected = [(10.0, 14.0), (10.0, 14.0), (10.0, 59.0), (10.0, 59.0), (24.0, 26.0), (24.0, 26.0), (69.0, 69.0), (69.0, 69.0)];
    assert_eq!(lab.run(), expected);
}

fn document(sglang: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: 8xH200-SXM}}
workload:
  total_requests_to_generate: 400
  client_profiles:
  - profile_name: fixed
    inter_arrival_time_dist_config: {{type: Exponential, rate: 8}}
    prompt_tokens_dist_config: {{type: Constant, value: 1000, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 200, is_int: true}}
frameworks_to_test:
- name: engine
  type: SGLANG
  config: {{model_profile_id: DeepSeek-R1, dtype: fp8_block, tensor_parallel_size: 8, sglang: {{{sglang}}}}}
"
    )
}

/// At 8 requests a second hardly two prompts meet in a step by chance, and in 30 decode steps three or so gather: fewer steps stop the decodes,
/// and prompts wait longer.
#[test]
fn the_delayer_trades_first_tokens_for_decodes() {
    let result = |more: &str| {
        let result = run::simulate(&document(&format!("enable_dp_attention: true, dp_size: 8, ep_size: 8{more}")), &NoFiles).remove(0);
        let number = |pointer: &str| result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).expect(pointer);
        assert_eq!(number("/requests/successful"), 400.0);
        let steps = number("/engine/steps") - number("/engine/decode_only_steps");
        (steps, number("/latency/time_to_first_token_ms/mean"), number("/waits/held_back/ranks"))
    };
    let (plain, delayed) = (result(""), result(", enable_prefill_delayer: true"));
    assert!(plain.0 > 1.5 * delayed.0 && delayed.1 > plain.1, "{plain:?} {delayed:?}");
    assert!(plain.2 == 0.0 && delayed.2 > 0.0, "{plain:?} {delayed:?}");
    assert_eq!(result(", enable_prefill_delayer: true, prefill_delayer_max_delay_passes: 1").2, 0.0);
}

#[test]
fn the_delayer_is_refused_without_ranks_and_without_the_overlap_schedule() {
    let refused = |sglang: &str, says: &str| {
        let found = errors::errors(&document(sglang));
        let there = |error: &llmperforacle::config::Diagnostic| {
            error.path.ends_with("sglang.enable_prefill_delayer") && error.message.contains(says)
        };
        assert!(found.iter().any(there), "{sglang}: {found:#?}");
    };
    refused("enable_prefill_delayer: true", "attention ranks");
    refused("enable_dp_attention: true, dp_size: 8, enable_prefill_delayer: true, disable_overlap_schedule: true", "overlap");
}
