//! Attention ranks in lockstep: traces whose times follow by hand from "all ranks' steps begin together and last as long as the slowest",
//! TensorRT-LLM's balancing, what must hold under any load, and documents. A pass with prefill takes 10 ms and one with decode 1 ms.

use llmperforacle::engine::policies::sglang::{Sglang, SglangOptions};
use llmperforacle::engine::policies::trtllm::{Trtllm, TrtllmOptions};
use llmperforacle::engine::policies::vllm::{Vllm, VllmOptions};
use llmperforacle::engine::testing::Lab;
use llmperforacle::engine::{Balance, PrefillDelayer, RankRule};
use llmperforacle::kv::{BlockTree, HashChain, RadixCache, Reuse};
use llmperforacle::metrics::RunResult;
use llmperforacle::sim::NoFiles;

#[path = "support/errors.rs"]
mod errors;
#[path = "support/run.rs"]
mod run;

use errors::errors;

const REUSE: Reuse = Reuse { blocks: true, partial: true, copy: true, whole_context: true };

fn vllm(ranks: u32, blocks: u64) -> Lab {
    let policy = || Box::new(Vllm::new(VllmOptions::default()));
    (1..ranks).fold(Lab::new(policy(), blocks), |lab, _| lab.peer(policy(), Box::new(HashChain::new(blocks, 16, true))))
}

fn sglang(ranks: u32, tokens: u64) -> Lab {
    let policy = || Box::new(Sglang::new(SglangOptions::default()));
    let memory = || Box::new(RadixCache::new(tokens, 1, true));
    (1..ranks).fold(Lab::new(policy(), tokens).memory(memory()), |lab, _| lab.peer(policy(), memory()))
}

fn trtllm(ranks: u32, blocks: u64, balance: Option<Balance>) -> Lab {
    let policy = || Box::new(Trtllm::new(TrtllmOptions::default()));
    let memory = || Box::new(BlockTree::new(blocks, 32, REUSE));
    let lab = (1..ranks).fold(Lab::new(policy(), blocks).memory(memory()), |lab, _| lab.peer(policy(), memory()));
    lab.lockstep(RankRule::FewestRequests, balance)
}

#[test]
fn ranks_step_together() {
    // One request each: both prompts in one step of 10 ms, then decodes side by side.
    let mut lab = vllm(2, 1000);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 3);
    assert_eq!(lab.run(), [(10.0, 12.0), (10.0, 12.0)]);
}

#[test]
fn a_decode_waits_for_the_other_ranks_prompt() {
    // A decodes from 10 to 11; B comes at 10.5 to the other rank, whose prompt takes from 11 to 21: so does A's next token.
    let mut lab = vllm(2, 1000);
    lab.arrive(0.0, 100, 5);
    lab.arrive(10.5, 100, 3);
    assert_eq!(lab.run(), [(10.0, 23.0), (21.0, 23.0)]);
}

#[test]
fn seats_and_kv_are_each_ranks_own() {
    // One seat a rank: A and B are served side by side, C when A's rank is free.
    let mut lab = vllm(2, 1000).limits(|limits| limits.max_num_seqs = 1);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 2);
    assert_eq!(lab.run(), [(10.0, 12.0), (10.0, 12.0), (22.0, 23.0)]);
}

#[test]
fn the_rank_with_the_lowest_score_gets_the_request() {
    // A and B go to ranks 0 and 1. A ends at 10; C goes to its rank.
    let run = |rule| {
        let mut lab = vllm(2, 1000).limits(|limits| limits.max_num_seqs = 1).lockstep(rule, None);
        lab.arrive(0.0, 100, 1);
        lab.arrive(0.0, 100, 20);
        lab.arrive(10.5, 100, 2);
        lab.run()[2]
    };
    // Rank 0 is free: prompt from 11 on, while B decodes along. By turns it is rank 0's turn too.
    assert_eq!(run(RankRule::Score), (21.0, 22.0));
    assert_eq!(run(RankRule::RoundRobin), (21.0, 22.0));
    let turns = |rule| {
        let mut lab = vllm(2, 1000).limits(|limits| limits.max_num_seqs = 1).lockstep(rule, None);
        lab.arrive(0.0, 100, 20);
        lab.arrive(0.0, 100, 1);
        lab.arrive(10.5, 100, 2);
        lab.run()[2]
    };
    // Now rank 1 is free; by turns the request waits behind A on rank 0, which ends after 20 tokens, at 29: 29-39, 40.
    assert_eq!(turns(RankRule::Score), (21.0, 22.0));
    assert_eq!(turns(RankRule::RoundRobin), (39.0, 40.0));
}

/// A of 1000 tokens is on rank 0, B of 100 on rank 1; C of 300 comes at 5, D of 300 at 6, both while A and B are computed. By tokens both go to
/// rank 1 (400 and 700 tokens are fewer than 1000), by requests C to rank 0 and D to rank 1. One seat a rank, all make one token: A and B end
/// at 10, and what waits behind them is computed from 10 on, one after the other.
#[test]
fn sglangs_ranks_are_chosen_by_requests_or_by_tokens() {
    let run = |rule| {
        let mut lab = sglang(2, 10_000).limits(|limits| limits.max_num_seqs = 1).lockstep(rule, None);
        for (at, tokens) in [(0.0, 1000), (0.0, 100), (5.0, 300), (6.0, 300)] {
            lab.arrive(at, tokens, 1);
        }
        lab.run()
    };
    assert_eq!(run(RankRule::FewestTokens), [(10.0, 10.0), (10.0, 10.0), (20.0, 20.0), (30.0, 30.0)]);
    assert_eq!(run(RankRule::FewestRequests), [(10.0, 10.0), (10.0, 10.0), (20.0, 20.0), (20.0, 20.0)]);
}

#[test]
fn balancing_waits_for_ranks_without_prompts_until_it_times_out() {
    // A and B: 0-10. Steps without prompts on every rank count: the one from 10 is the first. C comes at 10.5 to rank 0: at 11, the second
    // time, it waits; the third time, at 12, it is computed all the same, with A's decode: 11 ms. Without balancing at 11.
    let run = |balance, at_ms| {
        let mut lab = trtllm(2, 1000, balance);
        lab.arrive(0.0, 100, 9);
        lab.arrive(0.0, 100, 9);
        lab.arrive(at_ms, 100, 2);
        lab.run()
    };
    let balance = Balance { batching_wait_iters: 0, timeout_iters: 3 };
    assert_eq!(run(Some(balance), 10.5), [(10.0, 28.0), (10.0, 28.0), (23.0, 24.0)]);
    assert_eq!(run(None, 10.5), [(10.0, 28.0), (10.0, 28.0), (22.0, 23.0)]);
    // The cycle ends at 12 whether or not somebody waits: one that comes after that waits for its next end, at 15.
    assert_eq!(run(Some(balance), 12.5), [(10.0, 28.0), (10.0, 28.0), (26.0, 27.0)]);
}

#[test]
fn balancing_waits_for_more_prompts_when_every_rank_has_one() {
    // C and D come to both ranks: two steps of waiting for more, at 11 and 12, then both at 13.
    let mut lab = trtllm(2, 1000, Some(Balance { batching_wait_iters: 2, timeout_iters: 50 }));
    lab.arrive(0.0, 100, 9);
    lab.arrive(0.0, 100, 9);
    lab.arrive(10.5, 100, 2);
    lab.arrive(10.6, 100, 2);
    assert_eq!(lab.run(), [(10.0, 28.0), (10.0, 28.0), (24.0, 25.0), (24.0, 25.0)]);
}

/// `prefill_schedule_interval: 3` with ranks: all count the same steps, those without a prompt too. After 0-10, prompts are computed from 12 on
/// (one that came to rank 0 at 10.5: 11 ms with the decodes) and from 25 on (one that came to rank 1 at 13.5).
#[test]
fn the_cadence_is_the_same_on_every_rank() {
    let run = |prefill_schedule_interval| {
        let options = VllmOptions { prefill_schedule_interval, ..VllmOptions::default() };
        let policy = || Box::new(Vllm::new(options.clone()));
        let mut lab = Lab::new(policy(), 1000).peer(policy(), Box::new(HashChain::new(1000, 16, true)));
        lab.arrive(0.0, 100, 40);
        lab.arrive(0.0, 100, 40);
        lab.arrive(10.5, 100, 1);
        lab.arrive(13.5, 100, 1);
        lab.run().split_off(2)
    };
    assert_eq!(run(3), [(23.0, 23.0), (36.0, 36.0)]);
    // In each step: the first from 11 to 22, the second with the next step.
    assert_eq!(run(1), [(22.0, 22.0), (33.0, 33.0)]);
}

/// Three drafted tokens, all right. A on rank 0 has 1 token at 10 and 5 at 11; B's prompt on rank 1 takes from 11 to 21, when A has 9; at 22
/// they have 13 and 5, at 23 17 and 9.
#[test]
fn drafts_come_out_with_the_step_of_all_ranks() {
    for lab in [vllm(2, 1000), sglang(2, 10_000), trtllm(2, 1000, None)] {
        let mut lab = lab.speculate(&[1.0; 3]);
        lab.arrive(0.0, 128, 17);
        lab.arrive(10.5, 128, 9);
        assert_eq!(lab.run(), [(10.0, 23.0), (21.0, 23.0)]);
    }
}

/// 1 + 3 tokens of a sequence are of its own rank's budget of 8: C comes at 10.5 to A's rank, and has 4 of its tokens from 11 to 22 and 4 from
/// 22 to 33; A has 5, 9, 13 and at 34 17. D on the other rank is computed in one piece from 11 to 22.
#[test]
fn drafts_are_counted_in_the_budget_of_their_rank() {
    let mut lab = vllm(2, 1000).limits(|limits| (limits.max_num_batched_tokens, limits.max_num_seqs) = (8, 4)).speculate(&[1.0; 3]);
    lab.arrive(0.0, 8, 17);
    lab.arrive(0.0, 8, 1);
    lab.arrive(10.5, 8, 1);
    lab.arrive(10.5, 8, 1);
    assert_eq!(lab.run(), [(10.0, 34.0), (10.0, 10.0), (33.0, 33.0), (22.0, 22.0)]);
}

/// Each rank draws for itself: of equal requests that begin together on two ranks, few end in the same step. With 199 tokens after the first
/// in steps of 1 to 4 (mean 1.875), about 106 steps with a standard deviation of 5.
#[test]
fn ranks_draw_on_their_own() {
    let mut lab = vllm(8, 1000).speculate(&[0.5; 3]);
    (0..8).for_each(|_| lab.arrive(0.0, 128, 200));
    let spans = lab.run();
    let mut steps: Vec<f64> = spans.iter().map(|(first, last)| last - first).collect();
    assert!(steps.iter().all(|steps| (80.0..135.0).contains(steps)), "{steps:?}");
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    assert!(steps.len() >= 4, "{steps:?}");
}

/// A small generator of its own, so that cases do not depend on the crate under test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

#[test]
fn every_request_ends_with_all_its_tokens_and_steps_never_overlap() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let ranks = 2 + dice.roll(3) as u32;
        let balance =
            (seed % 2 == 0).then_some(Balance { batching_wait_iters: dice.roll(4) as u32, timeout_iters: 1 + dice.roll(6) as u32 });
        let lab = match seed % 3 {
            0 => vllm(ranks, 20 + dice.roll(40)),
            1 => sglang(ranks, 400 + dice.roll(800)),
            _ => trtllm(ranks, 20 + dice.roll(30), balance),
        };
        let delayer = PrefillDelayer {
            max_delay_passes: 1 + dice.roll(20) as u32,
            low_watermark: (seed % 5 == 0).then_some(dice.roll(1_000_000) as u32),
        };
        let lab = if seed % 6 == 1 { lab.delayer(delayer) } else { lab };
        let overlaps = dice.roll(2) > 0;
        let acceptance = [0.9, 0.5, 0.2];
        let lab = lab.speculate(&acceptance[..dice.roll(4) as usize]);
        let mut lab =
            lab.limits(|limits| (limits.max_num_batched_tokens, limits.max_num_seqs) = (512, 4)).pace(|pace| pace.overlap = overlaps);
        let (mut at, mut outputs) = (0.0, Vec::new());
        for _ in 0..30 {
            at += dice.roll(2000) as f64 / 100.0;
            outputs.push(1 + dice.roll(60) as u32);
            lab.arrive(at, 1 + dice.roll(250) as u32, outputs[outputs.len() - 1]);
        }
        let log = lab.log();
        assert_eq!(log.kv_blocks_at_end, 0, "seed {seed}");
        // Tokens of all ranks come out at the ends of common steps, none of which is shorter than a decode: so no two ends are nearer.
        let mut ends: Vec<f64> = Vec::new();
        for (outcome, output) in log.outcomes.iter().zip(outputs) {
            assert!(outcome.rejected.is_some() || outcome.output_tokens == output, "seed {seed}: {outcome:?}");
            ends.extend([outcome.first_token, outcome.finish].into_iter().flatten().map(|at| at.as_ms()));
        }
        ends.sort_by(f64::total_cmp);
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1] || pair[1] - pair[0] > 1.0 - 1e-6), "seed {seed}: {ends:?}");
    }
}

fn document(kind: &str, hardware: &str, config: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{{hardware}}}
workload:
  total_requests_to_generate: 256
  concurrency: 64
  client_profiles:
  - profile_name: fixed
    prompt_tokens_dist_config: {{type: Constant, value: 1000, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: 200, is_int: true}}
frameworks_to_test:
- name: engine
  type: {kind}
  config: {{{config}}}
"
    )
}

fn simulate(kind: &str, hardware: &str, config: &str) -> RunResult {
    run::simulate(&document(kind, hardware, config), &NoFiles).remove(0)
}

fn number(result: &RunResult, pointer: &str) -> f64 {
    result.summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {:#}", result.summary))
}

const NODE: &str = "node: 8xH200-SXM";
const R1: &str = "model_profile_id: DeepSeek-R1, dtype: fp8_block, max_model_len: 8192";

/// The same eight GPUs: ranks multiply the KV memory, as latent KV is not cut by tensor parallelism, and pay for attention weights in each.
#[test]
fn every_engine_serves_with_ranks() {
    let dp = [
        ("VLLM", "data_parallel_size: 8, enable_expert_parallel: true"),
        ("SGLANG", "tensor_parallel_size: 8, sglang: {enable_dp_attention: true, dp_size: 8, ep_size: 8, moe_a2a_backend: deepep}"),
        (
            "TRTLLM",
            "tensor_parallel_size: 8, trtllm: {enable_attention_dp: true, moe_expert_parallel_size: 8, attention_dp_config: {enable_balance: true}}",
        ),
    ];
    for (kind, config) in dp {
        let ranks = simulate(kind, NODE, &format!("{R1}, {config}"));
        let shared = simulate(kind, NODE, &format!("{R1}, tensor_parallel_size: 8"));
        assert_eq!(number(&ranks, "/requests/successful"), 256.0, "{kind}");
        let (ranks, shared) = (&ranks.info.replicas[0], &shared.info.replicas[0]);
        assert_eq!(ranks.gpus, 8, "{kind}");
        assert_eq!(ranks.single_steps.as_deref(), Some("attention ranks in lockstep"), "{kind}");
        assert!(ranks.memory.weights_bytes > shared.memory.weights_bytes, "{kind}");
        assert!(ranks.kv_blocks > 4 * shared.kv_blocks, "{kind}: {} and {}", ranks.kv_blocks, shared.kv_blocks);
    }
}

/// Weights of a rank: an eighth of the experts, all of the rest. Experts of 58 layers: 256 x 3 x 7168 x 2048 bytes each, over eight.
#[test]
fn experts_are_shared_and_attention_is_repeated() {
    let weights = |config: &str| simulate("VLLM", NODE, &format!("{R1}, {config}")).info.replicas[0].memory.weights_bytes;
    let experts = 58.0 * 256.0 * 3.0 * 7168.0 * 2048.0;
    let (ranks, shared) = (weights("data_parallel_size: 8"), weights("tensor_parallel_size: 8"));
    // What is not experts is at most one eighth on each of the shared ones (some parts are repeated there too), and whole on the ranks.
    assert!(ranks - experts / 8.0 > 5.0 * (shared - experts / 8.0), "{ranks} {shared}");
    assert!(ranks < experts / 8.0 + 30e9, "{ranks}");
    assert_eq!(weights("data_parallel_size: 8, enable_expert_parallel: true"), ranks, "whole or sliced, as many bytes");
}

/// The way to the experts costs more between nodes, and gathering more than all-to-all with many ranks.
#[test]
fn the_way_to_the_experts_costs_more_between_nodes() {
    let tpot = |hardware: &str, backend: &str| {
        let config = format!("{R1}, data_parallel_size: 16, enable_expert_parallel: true, vllm: {{all2all_backend: {backend}}}");
        number(&simulate("VLLM", hardware, &config), "/latency/time_per_output_token_ms/mean")
    };
    let two = "node: 8xH200-SXM, nodes: 2";
    let (gathered, sent) = (tpot(two, "allgather_reducescatter"), tpot(two, "deepep_high_throughput"));
    assert!(gathered > sent, "{gathered} ms gathered, {sent} ms sent");
    // Eight ranks on a node, or each on a node of its own: in each of 58 layers twice 12.5 us and three hops of 3 us in place of the node's 11.9 and
    // 10.9 us, and slower bytes.
    let eight = |hardware: &str| {
        let result = simulate("VLLM", hardware, &format!("{R1}, data_parallel_size: 8, enable_expert_parallel: true"));
        number(&result, "/latency/time_per_output_token_ms/mean")
    };
    let (within, apart) = (eight(NODE), eight("node: H200-SXM, nodes: 8"));
    assert!(apart - within > 58.0 * (2.0 * 0.0215 - 0.0119 - 0.0109), "{within} ms in a node, {apart} ms over eight");
}

/// 32 copies beside DeepSeek's 256 experts over eight GPUs: four more experts on each, and no GPU has more to do than the others, so that large
/// batches are decoded sooner.
#[test]
fn copies_are_paid_in_memory_and_level_the_gpus() {
    let run = |copies: &str| simulate("VLLM", NODE, &format!("{R1}, data_parallel_size: 8, enable_expert_parallel: true{copies}"));
    let (by_number, laid_out, copied) = (run(""), run(", num_redundant_experts: 0"), run(", num_redundant_experts: 32"));
    let weights = |result: &RunResult| result.info.replicas[0].memory.weights_bytes;
    assert_eq!(weights(&laid_out), weights(&by_number));
    let more = weights(&copied) - weights(&by_number);
    assert!((more / (58.0 * 4.0 * 3.0 * 7168.0 * 2048.0) - 1.0).abs() < 0.01, "{more}");
    let tpot = |result: &RunResult| number(result, "/latency/time_per_output_token_ms/mean");
    assert!(tpot(&laid_out) < tpot(&by_number), "{} and {}", tpot(&laid_out), tpot(&by_number));
    assert!(tpot(&copied) < tpot(&by_number), "{} and {}", tpot(&copied), tpot(&by_number));
}

#[test]
fn what_cannot_go_in_ranks_is_refused() {
    let refused = |kind: &str, config: &str, at: &str, says: &str| {
        let found = errors(&document(kind, NODE, config));
        assert!(found.iter().any(|error| error.path.ends_with(at) && error.message.contains(says)), "{config}: {found:#?}");
    };
    refused("VLLM", "model_profile_id: Llama-3.1-8B, data_parallel_size: 2", "data_parallel_size", "no experts");
    refused("VLLM", &format!("{R1}, data_parallel_size: 4, pipeline_parallel_size: 2"), "data_parallel_size", "pipeline");
    refused("SGLANG", &format!("{R1}, data_parallel_size: 8"), "data_parallel_size", "option of vLLM");
    refused("SGLANG", &format!("{R1}, tensor_parallel_size: 8, sglang: {{dp_size: 8}}"), "dp_size", "several engines");
    refused(
        "SGLANG",
        &format!("{R1}, tensor_parallel_size: 8, sglang: {{enable_dp_attention: true, dp_size: 3}}"),
        "tensor_parallel_size",
        "divided",
    );
    refused(
        "TRTLLM",
        &format!("{R1}, tensor_parallel_size: 8, trtllm: {{moe_expert_parallel_size: 3}}"),
        "tensor_parallel_size",
        "divided",
    );
    refused("VLLM", &format!("{R1}, data_parallel_size: 8, num_redundant_experts: 8"), "num_redundant_experts", "not spread");
    let spread = format!("{R1}, data_parallel_size: 8, enable_expert_parallel: true, num_redundant_experts: 12");
    refused("VLLM", &spread, "num_redundant_experts", "evenly");
}

/// With drafts on ranks as without ranks: 1 + 0.8 + 0.64 tokens a step, so that a token takes less than without drafts and more than an ideal
/// 2.44 times less. The drafter's layer has its experts in eighths as well: 256 x 3 x 7168 x 2048 bytes over eight, and what is not
/// experts whole, a seventh of that or less.
#[test]
fn every_engine_drafts_on_ranks() {
    let mtp = "speculative: {method: mtp, num_speculative_tokens: 2, acceptance_rate: 0.8}";
    let dp = [
        ("VLLM", "data_parallel_size: 8, enable_expert_parallel: true"),
        ("SGLANG", "tensor_parallel_size: 8, sglang: {enable_dp_attention: true, dp_size: 8, ep_size: 8, moe_a2a_backend: deepep}"),
        ("TRTLLM", "tensor_parallel_size: 8, trtllm: {enable_attention_dp: true, moe_expert_parallel_size: 8}"),
    ];
    for (kind, config) in dp {
        let plain = simulate(kind, NODE, &format!("{R1}, {config}"));
        let drafted = simulate(kind, NODE, &format!("{R1}, {config}, {mtp}"));
        assert_eq!(number(&drafted, "/requests/successful"), 256.0, "{kind}");
        assert_eq!(drafted.info.replicas[0].single_steps.as_deref(), Some("speculative decoding"), "{kind}");
        let tpot = |result: &RunResult| number(result, "/latency/time_per_output_token_ms/mean");
        let gain = tpot(&plain) / tpot(&drafted);
        assert!((1.2..2.44).contains(&gain), "{kind}: {gain}");
        let accepted = number(&drafted, "/engine/accepted_tokens") / number(&drafted, "/engine/drafted_tokens");
        assert!((accepted - 1.44 / 2.0).abs() < 0.02, "{kind}: {accepted}");
        let weights = |result: &RunResult| result.info.replicas[0].memory.weights_bytes;
        let experts = 256.0 * 3.0 * 7168.0 * 2048.0 / 8.0;
        let layer = weights(&drafted) - weights(&plain);
        assert!(layer > experts && layer < experts + 0.4e9, "{kind}: {layer} bytes, of which {experts} of experts");
    }
}
