//! Pipelines of stages: traces whose times follow by hand from "batch i is on stage s from the later of its end on stage s-1 and the
//! end of batch i-1 on stage s", the closed forms of balanced pipelines, and what must hold under any load.
//!
//! A pass with prefill takes 10 ms and one with decode 1 ms over all stages, in even shares.

use llmperforacle::cost::Transfer;
use llmperforacle::engine::policies::sglang::{Sglang, SglangOptions};
use llmperforacle::engine::policies::trtllm::{Capacity, Trtllm, TrtllmOptions};
use llmperforacle::engine::policies::vllm::{Vllm, VllmOptions};
use llmperforacle::engine::testing::{Lab, Log};
use llmperforacle::kv::{BlockTree, RadixCache, Reuse};
use llmperforacle::units::Time;

const INSTANTLY: Transfer = Transfer { latency_ps: 0, per_token_ps: 0, per_root_token_ps: 0 };

fn vllm(blocks: u64) -> Lab {
    Lab::new(Box::new(Vllm::new(VllmOptions::default())), blocks)
}

#[test]
fn a_single_request_takes_as_long_as_without_stages_but_for_the_transfers() {
    let mut lab = vllm(1000).stages(2, INSTANTLY);
    lab.arrive(0.0, 100, 3);
    assert_eq!(lab.run(), [(10.0, 12.0)]);

    // 5 + (0.1 + 100 x 0.001) + 5, then 0.5 + 0.101 + 0.5.
    let mut lab = vllm(1000).stages(2, Transfer { latency_ps: 100_000_000, per_token_ps: 1_000_000, per_root_token_ps: 0 });
    lab.arrive(0.0, 100, 2);
    assert_eq!(lab.run(), [(10.2, 11.301)]);
}

#[test]
fn requests_that_come_together_travel_together() {
    // vLLM puts all it may into the first batch: the other stage idles.
    let mut lab = vllm(1000).stages(2, INSTANTLY);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 3);
    assert_eq!(lab.run(), [(10.0, 12.0), (10.0, 12.0)]);
}

#[test]
fn an_engine_that_does_not_form_ahead_keeps_all_in_one_batch() {
    // A: 0-5, 5-10; the engine waits for it. B comes at 2 and is seen at 10, with A's decode: 11 ms, 10-15.5, 15.5-21. From then on they
    // travel together, a token a millisecond, and a stage always idles.
    let mut lab = vllm(1000).stages(2, INSTANTLY);
    lab.arrive(0.0, 100, 5);
    lab.arrive(2.0, 100, 5);
    assert_eq!(lab.run(), [(10.0, 24.0), (21.0, 25.0)]);
}

#[test]
fn formed_ahead_a_newcomer_gets_a_batch_of_its_own() {
    // A's decode is formed at 0 and enters when its token is there: 10-10.5, 10.5-11. B is seen at 10, when A decodes already: 10.5-15.5,
    // 15.5-20.5. A's next is behind it: 15.5-16, 20.5-21; then B 20.5-21, 21-21.5, A 21-21.5, 21.5-22, and so on in turns.
    // A: 10, 11, 21, 22, 23. B: 20.5, 21.5, 22.5, 23.5, 24.5.
    let mut lab = vllm(1000).stages(2, INSTANTLY).ahead();
    lab.arrive(0.0, 100, 5);
    lab.arrive(2.0, 100, 5);
    assert_eq!(lab.run(), [(10.0, 23.0), (20.5, 24.5)]);
}

/// Three drafted tokens, all right: 4 a step. Alone 1 at 10, 5 at 11, 9 at 12. Four rows travel where one did: 5 + (0.1 + 0.1) + 5, then 0.5 +
/// 0.104 + 0.5. Formed ahead and in turns as above: A 1, 5, 9 at 10, 11, 21; B 1, 5, 9 at 20.5, 21.5, 22.5.
#[test]
fn drafts_travel_and_come_out_with_their_batch() {
    let mut lab = vllm(1000).stages(2, INSTANTLY).speculate(&[1.0; 3]);
    lab.arrive(0.0, 100, 9);
    assert_eq!(lab.run(), [(10.0, 12.0)]);
    let mut lab =
        vllm(1000).stages(2, Transfer { latency_ps: 100_000_000, per_token_ps: 1_000_000, per_root_token_ps: 0 }).speculate(&[1.0; 3]);
    lab.arrive(0.0, 100, 5);
    assert_eq!(lab.run(), [(10.2, 11.304)]);
    let mut lab = vllm(1000).stages(2, INSTANTLY).ahead().speculate(&[1.0; 3]);
    lab.arrive(0.0, 100, 9);
    lab.arrive(2.0, 100, 9);
    assert_eq!(lab.run(), [(10.0, 21.0), (20.5, 22.5)]);
}

#[test]
fn the_pieces_of_a_prompt_follow_one_another_through_the_stages() {
    // Pieces of 8192: 0-5, 5-10 and 5-10, 10-15.
    let mut lab = vllm(2000).stages(2, INSTANTLY);
    lab.arrive(0.0, 16384, 2);
    assert_eq!(lab.run(), [(15.0, 16.0)]);
}

#[test]
fn a_third_batch_waits_until_one_of_two_has_come_out() {
    // Each prompt fills a step. A: 0-5, 5-10. B: 5-10, 10-15. At 10 C gets what A's decode leaves, 8191 tokens: 11 ms, 10-15.5, 15.5-21.
    // At 15 its last token goes with B's decode: 15.5-21, 21-26.5. Then C decodes alone.
    let mut lab = vllm(2000).stages(2, INSTANTLY);
    for _ in 0..3 {
        lab.arrive(0.0, 8192, 2);
    }
    assert_eq!(lab.run(), [(10.0, 21.0), (15.0, 26.5), (26.5, 27.5)]);
}

#[test]
fn seats_are_counted_over_all_batches() {
    let mut lab = vllm(1000).limits(|limits| limits.max_num_seqs = 1).stages(2, INSTANTLY);
    lab.arrive(0.0, 100, 3);
    lab.arrive(1.0, 100, 3);
    assert_eq!(lab.run(), [(10.0, 12.0), (22.0, 24.0)]);
}

#[test]
fn a_balanced_pipeline_multiplies_throughput_by_the_batches_in_it() {
    // Each batch takes a token every 1 ms, whatever the others do, as long as there are no more batches than stages: m of S batches
    // keep m/S of the GPUs busy, and S - m of S are bubble.
    for stages in [2_u32, 4, 5, 8] {
        for batches in 1..=stages {
            let tokens = 10_000;
            let mut lab = vllm(200_000).stages(stages, INSTANTLY).ahead();
            for batch in 0..batches {
                lab.arrive(f64::from(batch) * 20.0, 100, tokens);
            }
            let spans = lab.run();
            let last = spans.iter().map(|span| span.1).fold(0.0, f64::max);
            let rate = f64::from(batches * tokens) / last;
            let ideal = f64::from(batches);
            assert!((rate / ideal - 1.0).abs() < 0.03, "{stages} stages, {batches} batches: {rate} tokens/ms, not {ideal}");
        }
    }
}

#[test]
fn more_batches_than_stages_wait_for_the_slowest_stage() {
    // SGLang's further micro-batches, TensorRT-LLM's one for the overlap: with three lanes on two stages of 0.5 ms a token takes 1.5 ms,
    // and both stages are always busy. Prompts that fill a step keep the batches apart.
    let mut lab = vllm(200_000).stages(2, INSTANTLY).lanes(3);
    for _ in 0..3 {
        lab.arrive(0.0, 8192, 10_000);
    }
    let spans = lab.run();
    for (first, last) in spans {
        let tpot = (last - first) / 9_999.0;
        assert!((tpot - 1.5).abs() < 0.01, "{tpot}");
    }
}

#[test]
fn more_requests_than_stages_share_the_batches() {
    // Ten one after the other into four stages: never more than four batches, so each token takes 1 ms in steady state.
    let mut lab = vllm(100_000).stages(4, INSTANTLY);
    for request in 0..10 {
        lab.arrive(f64::from(request) * 50.0, 100, 2000);
    }
    let spans = lab.run();
    let last = spans.iter().map(|span| span.1).fold(0.0, f64::max);
    assert!(last < 450.0 + 10.0 + 2000.0 + 10.0 * 11.0, "{last}");
}

fn sglang(options: SglangOptions) -> Lab {
    Lab::new(Box::new(Sglang::new(options)), 10_000).memory(Box::new(RadixCache::new(10_000, 1, true)))
}

fn trtllm(options: TrtllmOptions, blocks: u64) -> Lab {
    let reuse = Reuse { blocks: true, partial: true, copy: true, whole_context: true };
    Lab::new(Box::new(Trtllm::new(options)), blocks).memory(Box::new(BlockTree::new(blocks, 32, reuse)))
}

/// Two micro-batches of one request each and a third request: A 0-5, 5-10; B 5-10, 10-15; A decodes 10-10.5 and 15-15.5 behind B, B
/// 15-15.5, 15.5-16, A 15.5-16, 16-16.5, B 16-16.5, 16.5-17. C is computed when A has ended: 16.5-21.5, 21.5-26.5, and decodes alone.
const ONE_EACH: [(f64, f64); 3] = [(10.0, 16.5), (15.0, 17.0), (26.5, 27.5)];

fn one_each(mut lab: Lab) -> Vec<(f64, f64)> {
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 2);
    lab.run()
}

#[test]
fn sglang_fills_each_micro_batch_to_its_own_limit() {
    let options = SglangOptions { pp_max_micro_batch_size: 1, ..SglangOptions::default() };
    assert_eq!(one_each(sglang(options).stages(2, INSTANTLY)), ONE_EACH);
}

#[test]
fn sglang_stalls_only_the_micro_batch_that_prompts_join() {
    // Prompts that fill a step keep A and B apart: 0-5-10 and 5-10-15. C comes at 12: the engine waits for B, then goes on with B's
    // micro-batch, whose decode stands still behind C's prompt: 15-20, 20-25. A, formed at 10 (10-10.5, 15-15.5), goes on at 15.5: 20-20.5,
    // 25-25.5. At 25 B decodes with C: 25-25.5, 25.5-26, and ends.
    let mut lab = sglang(SglangOptions::default()).stages(2, INSTANTLY);
    lab.arrive(0.0, 4096, 3);
    lab.arrive(0.0, 4096, 2);
    lab.arrive(12.0, 100, 2);
    let lab = lab.limits(|limits| limits.max_num_batched_tokens = 4096);
    assert_eq!(lab.run(), [(10.0, 25.5), (15.0, 26.0), (25.0, 26.0)]);
}

#[test]
fn tensorrt_llm_admits_a_batch_size_for_each_stage_and_fills_micro_batches_with_one() {
    // Three micro-batches, one of them for the overlap; the capacity scheduler admits two times one request.
    let one = |lab: Lab| lab.limits(|limits| (limits.max_num_seqs, limits.chunked_prefill) = (1, false));
    let options = TrtllmOptions { pp_size: 2, ..TrtllmOptions::default() };
    assert_eq!(one_each(one(trtllm(options, 1000)).stages(2, INSTANTLY).lanes(3)), ONE_EACH);
}

/// A small generator of its own, so that cases do not depend on the crate under test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

/// A random load on a pool that is often too small; some clients give up.
fn random(seed: u64, patient: bool) -> (Lab, Vec<u32>) {
    let mut dice = Dice(seed);
    let chunked = dice.roll(4) > 0;
    let (budget, seats) = (64 + dice.roll(400) as u32, 1 + dice.roll(12) as u32);
    let mut lab = vllm(20 + dice.roll(60)).limits(|limits| {
        limits.max_num_batched_tokens = if chunked { budget.max(seats) } else { 1024 };
        limits.max_num_seqs = seats;
        limits.chunked_prefill = chunked;
        limits.reserve_full_prompt = !seed.is_multiple_of(3);
    });
    let mut at = 0.0;
    let mut outputs = Vec::new();
    for _ in 0..30 {
        at += dice.roll(2000) as f64 / 100.0;
        let output = 1 + dice.roll(60) as u32;
        lab.arrive(at, 1 + dice.roll(250) as u32, output);
        let leaves = dice.roll(3) == 0 && !patient;
        let patience = Time::from_ms(at + dice.roll(100) as f64 + 0.5);
        lab.change(|request| request.hangs_up = if leaves { patience } else { Time::NEVER });
        outputs.push(output);
    }
    (lab, outputs)
}

#[test]
fn one_stage_is_an_engine_without_a_pipeline() {
    for seed in 0..200 {
        let plain = |lab: Lab| lab.pace(|pace| (pace.overlap, pace.fast_path) = (false, false));
        let expected: Log = plain(random(seed, false).0).log();
        let staged = random(seed, false).0.stages(1, INSTANTLY).log();
        // A lane tells each gap; an engine without lanes only counts those of one step.
        assert_eq!(Log { gaps_ms: expected.gaps_ms.clone(), ..staged }, expected, "seed {seed}");
    }
}

#[test]
fn every_request_ends_with_all_its_tokens() {
    let mut preemptions = 0;
    for seed in 0..300 {
        let (lab, outputs) = random(seed, true);
        let lab = lab.stages(2 + (seed % 4) as u32, Transfer { latency_ps: 5_000_000, per_token_ps: 1_000, per_root_token_ps: 0 });
        let lab = if seed.is_multiple_of(3) { lab.lanes(1 + (seed % 7) as u16) } else { lab };
        let log = if seed.is_multiple_of(2) { lab.ahead() } else { lab }.log();
        for (outcome, output) in log.outcomes.iter().zip(outputs) {
            if outcome.rejected.is_none() {
                assert_eq!(outcome.output_tokens, output, "seed {seed}");
                assert!(outcome.finish >= outcome.first_token && outcome.first_token.is_some(), "seed {seed}");
            }
            preemptions += outcome.preemptions;
        }
    }
    assert!(preemptions > 100, "{preemptions}: the pools are too large for this test");
}

#[test]
fn every_request_ends_with_all_its_tokens_in_every_engine() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let stages = 2 + dice.roll(3) as u32;
        let lab = match seed % 3 {
            0 => sglang(SglangOptions { pp_max_micro_batch_size: 1 + dice.roll(4) as u32, ..SglangOptions::default() })
                .memory(Box::new(RadixCache::new(400 + dice.roll(800), 1, true))),
            1 => trtllm(
                TrtllmOptions { pp_size: stages, capacity: Capacity::MaxUtilization, ..TrtllmOptions::default() },
                20 + dice.roll(30),
            ),
            _ => trtllm(TrtllmOptions { pp_size: stages, ..TrtllmOptions::default() }, 20 + dice.roll(30)),
        };
        let mut lab = lab.limits(|limits| (limits.max_num_batched_tokens, limits.max_num_seqs) = (512, 6));
        let (mut at, mut outputs) = (0.0, Vec::new());
        for _ in 0..25 {
            at += dice.roll(2000) as f64 / 100.0;
            outputs.push(1 + dice.roll(60) as u32);
            lab.arrive(at, 1 + dice.roll(250) as u32, outputs[outputs.len() - 1]);
        }
        let log = lab.stages(stages, INSTANTLY).lanes((stages + seed as u32 % 2) as u16).log();
        assert_eq!(log.kv_blocks_at_end, 0, "seed {seed}");
        for (outcome, output) in log.outcomes.iter().zip(outputs) {
            assert!(outcome.rejected.is_some() || outcome.output_tokens == output && outcome.finish.is_some(), "seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn clients_that_give_up_end_too() {
    for seed in 0..300 {
        let (lab, _) = random(seed, false);
        let lab = lab.stages(2 + (seed % 4) as u32, INSTANTLY);
        let log = if seed.is_multiple_of(2) { lab.ahead() } else { lab }.log();
        for outcome in &log.outcomes {
            let ends = [outcome.rejected.is_some(), outcome.finish.is_some(), outcome.cancelled.is_some()];
            assert_eq!(ends.iter().filter(|end| **end).count(), 1, "seed {seed}: {outcome:?}");
        }
    }
}
