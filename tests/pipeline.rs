//! Pipelines of stages: traces whose times follow by hand from "batch i is on stage s from the later of its end on stage s-1 and the
//! end of batch i-1 on stage s", the closed forms of balanced pipelines, and what must hold under any load.
//!
//! A pass with prefill takes 10 ms and one with decode 1 ms over all stages, in even shares.

use llmperforacle::cost::Transfer;
use llmperforacle::engine::policies::vllm::{Vllm, VllmOptions};
use llmperforacle::engine::testing::{Lab, Log};
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
fn a_second_batch_fills_the_first_stage() {
    // A: 0-5, 5-10. B is formed on arrival, as there is room for two: 5-10, 10-15. A decodes: 10-10.5, waits for B, 15-15.5.
    // B: 15-15.5, 15.5-16. A: 15.5-16, 16-16.5, and so on, each a token a millisecond.
    let mut lab = vllm(1000).stages(2, INSTANTLY);
    lab.arrive(0.0, 100, 5);
    lab.arrive(2.0, 100, 5);
    assert_eq!(lab.run(), [(10.0, 18.5), (15.0, 19.0)]);
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
    // A: 0-5, 5-10. B: 5-10, 10-15. C arrives at 3, joins the batch formed at 10, with A's decode: 11 ms, 10-15.5, 15.5-21.
    // A's tokens: 10, 21. B's decode is formed at 15: 15.5-16, 21-21.5. C: 21, then with A no more (ended): 21-21.5, 21.5-22.
    let mut lab = vllm(1000).stages(2, INSTANTLY);
    lab.arrive(0.0, 100, 2);
    lab.arrive(2.0, 100, 2);
    lab.arrive(3.0, 100, 2);
    assert_eq!(lab.run(), [(10.0, 21.0), (15.0, 21.5), (21.0, 22.0)]);
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
            let tokens = 4000;
            let mut lab = vllm(100_000).stages(stages, INSTANTLY);
            for batch in 0..batches {
                lab.arrive(f64::from(batch) * 0.001, 100, tokens);
            }
            let spans = lab.run();
            let last = spans.iter().map(|span| span.1).fold(0.0, f64::max);
            let rate = f64::from(batches * tokens) / last;
            let ideal = f64::from(batches);
            assert!((rate / ideal - 1.0).abs() < 0.01, "{stages} stages, {batches} batches: {rate} tokens/ms, not {ideal}");
        }
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
        assert_eq!(random(seed, false).0.stages(1, INSTANTLY).log(), expected, "seed {seed}");
    }
}

#[test]
fn every_request_ends_with_all_its_tokens() {
    let mut preemptions = 0;
    for seed in 0..300 {
        let (lab, outputs) = random(seed, true);
        let log = lab.stages(2 + (seed % 4) as u32, Transfer { latency_ps: 5_000_000, per_token_ps: 1_000, per_root_token_ps: 0 }).log();
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
fn clients_that_give_up_end_too() {
    for seed in 0..300 {
        let (lab, _) = random(seed, false);
        let log = lab.stages(2 + (seed % 4) as u32, INSTANTLY).log();
        for outcome in &log.outcomes {
            let ends = [outcome.rejected.is_some(), outcome.finish.is_some(), outcome.cancelled.is_some()];
            assert_eq!(ends.iter().filter(|end| **end).count(), 1, "seed {seed}: {outcome:?}");
        }
    }
}
