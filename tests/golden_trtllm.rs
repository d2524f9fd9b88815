//! Micro-traces whose outcome follows from TensorRT-LLM's rules by hand: prefill pass 10 ms, decode pass 1 ms, mixed pass 11 ms,
//! blocks of 32 tokens, budget 8192, prompts uncut unless a test says so. Each test names the rule.

use llmperforacle::engine::policies::trtllm::{Capacity, Chunking, Trtllm, TrtllmOptions};
use llmperforacle::engine::testing::{Lab, Outcome};
use llmperforacle::engine::{HoldRule, RejectReason};
use llmperforacle::kv::{BlockTree, Reuse};
use llmperforacle::units::Time;
use llmperforacle::workload::{Segment, SegmentId};

/// An engine with `blocks` blocks and its default options, changed.
fn engine(blocks: u64, change: impl FnOnce(&mut TrtllmOptions)) -> Lab {
    let mut options = TrtllmOptions::default();
    change(&mut options);
    let reuse = Reuse { whole_context: !options.v2, ..Reuse::default() };
    let lab = Lab::new(Box::new(Trtllm::new(options)), blocks).memory(Box::new(BlockTree::new(blocks, 32, reuse)));
    lab.limits(|limits| limits.chunked_prefill = false)
}

fn trtllm(blocks: u64) -> Lab {
    engine(blocks, |_| {})
}

fn segment(id: u32, tokens: u32) -> Segment {
    Segment { id: SegmentId(id), tokens }
}

fn ms(value: f64) -> Option<Time> {
    Some(Time::from_ms(value))
}

fn times(outcomes: &[Outcome]) -> Vec<(Option<Time>, Option<Time>)> {
    outcomes.iter().map(|outcome| (outcome.first_token, outcome.finish)).collect()
}

/// g1: without chunking a prompt longer than the step is invalid. The third prompt (3072) does not fit beside the first (6144), and
/// runs mixed with its first decode step.
#[test]
fn g1_a_prompt_longer_than_the_step_is_rejected() {
    let mut lab = trtllm(100_000);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 10240, 2);
    lab.arrive(0.0, 3072, 2);
    let outcomes = lab.log().outcomes;
    assert_eq!(outcomes[1].rejected, Some(RejectReason::TooLongForStep));
    assert_eq!(times(&outcomes), [(ms(10.0), ms(22.0)), (None, None), (ms(21.0), ms(22.0))]);
}

/// g1 with chunked contexts: 2048 tokens of the second fit at first, then 8160 (8191 in whole blocks), then the last 32 with the third.
#[test]
fn g1_chunked_as_the_budget_allows() {
    let mut lab = trtllm(100_000).limits(|limits| limits.chunked_prefill = true);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 10240, 2);
    lab.arrive(0.0, 3072, 2);
    assert_eq!(lab.run(), [(10.0, 32.0), (32.0, 33.0), (32.0, 33.0)]);
}

/// g2, chunked: the rest of the second prompt and all of the third run with the first one's decode.
#[test]
fn g2_a_mixed_step_holds_decode_chunk_and_new_prompt() {
    let mut lab = trtllm(100_000).limits(|limits| limits.chunked_prefill = true);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 7168, 2);
    lab.arrive(0.0, 1024, 2);
    assert_eq!(lab.run(), [(10.0, 22.0), (21.0, 22.0), (21.0, 22.0)]);
}

/// g2nc: not chunked, a context that does not fit ends the walk: 7168 and 1024 beside a decode are one token too many.
#[test]
fn g2nc_a_context_that_does_not_fit_ends_the_walk() {
    let mut lab = trtllm(100_000);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 7168, 2);
    lab.arrive(0.0, 1024, 2);
    assert_eq!(lab.run(), [(10.0, 32.0), (21.0, 32.0), (32.0, 33.0)]);
}

/// g3: ten blocks; each request reserves six to its completion, so the second waits for the end of the first.
#[test]
fn g3_the_second_waits_for_the_reservation_of_the_first() {
    let mut lab = trtllm(10);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    assert_eq!(lab.run(), [(10.0, 73.0), (83.0, 146.0)]);
}

/// g4: all but the last prompt token are found: 31 blocks and 31 tokens of the next; one context pass is always run.
#[test]
fn g4_a_full_hit_computes_the_last_token() {
    let mut lab = trtllm(100_000);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(100.0, 1024, 2, &[segment(0, 1024)]);
    let log = lab.log();
    assert_eq!(log.outcomes[1].cached_tokens, 1023);
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish), (ms(110.0), ms(111.0)));
}

/// g5: of two equal prompts the second is deferred for one step. Then the 31 full blocks before the last token are there (the partly
/// filled one only when the first ends), and 32 tokens are computed in a mixed step.
#[test]
fn g5_equal_prompts_are_deferred() {
    let mut lab = trtllm(100_000);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    let log = lab.log();
    assert_eq!([log.outcomes[0].cached_tokens, log.outcomes[1].cached_tokens], [0, 992]);
    assert_eq!(times(&log.outcomes), [(ms(10.0), ms(21.0)), (ms(21.0), ms(22.0))]);
    assert_eq!(log.held.iter().map(|(held, ps)| (held.rule, *ps)).collect::<Vec<_>>(), [(HoldRule::Deferral, Time::from_ms(10.0).0)]);
    // Without prefix awareness both are computed side by side, and nothing is shared.
    let mut lab = engine(100_000, |options| options.prefix_aware = false);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    let log = lab.log();
    assert_eq!(log.outcomes[1].cached_tokens, 0);
    assert_eq!(times(&log.outcomes), [(ms(10.0), ms(11.0)); 2]);
}

/// Four replies to one prompt: three are deferred until the first has computed it, then find its 32 full blocks and compute the 16 tokens
/// left of it each beside the first's decode (11 ms), and end a step after it. In the last step of the first all hold 33 blocks, of which
/// 32 are shared.
#[test]
fn replies_are_deferred_until_the_first_has_computed_their_prompt() {
    let mut lab = trtllm(100_000);
    lab.arrive(0.0, 1040, 3);
    lab.change(|request| request.samples = 4);
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(ms(10.0), ms(23.0))]);
    let outcome = &log.outcomes[0];
    assert_eq!((outcome.output_tokens, outcome.prefilled_tokens, outcome.cached_tokens), (12, 1040 + 3 * 16, 0));
    assert_eq!((log.peak_kv_blocks, log.kv_blocks_at_end), (33 + 3, 0));
}

/// g6: 36 of 40 blocks each: one after the other, and nothing is computed twice.
#[test]
fn g6_nothing_is_paused() {
    let mut lab = trtllm(40);
    lab.arrive(0.0, 128, 1024);
    lab.arrive(0.0, 128, 1024);
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(ms(10.0), ms(1033.0)), (ms(1043.0), ms(2066.0))]);
    assert!(log.outcomes.iter().all(|outcome| outcome.preemptions == 0 && outcome.prefilled_tokens == 128));
}

/// g6 under MAX_UTILIZATION: with 640 tokens each the pool is full; the newest is paused, resumes when the first has ended, finds
/// the four blocks that the first did not take (last ones first) and computes 513 tokens again in one pass.
#[test]
fn g6_the_newest_is_paused_under_max_utilization() {
    for v2 in [false, true] {
        let mut lab = engine(40, |options| {
            options.capacity = Capacity::MaxUtilization;
            options.v2 = v2;
        });
        lab.arrive(0.0, 128, 1024);
        lab.arrive(0.0, 128, 1024);
        let outcomes = lab.log().outcomes;
        assert_eq!((outcomes[0].first_token, outcomes[0].finish), (ms(10.0), ms(1033.0)));
        assert_eq!((outcomes[1].first_token, outcomes[1].finish), (ms(10.0), ms(1033.0 + 10.0 + 510.0)), "v2: {v2}");
        assert_eq!((outcomes[1].preemptions, outcomes[1].prefilled_tokens), (1, 128 + 513));
    }
}

/// g7: 50 blocks hold two requests of 20 blocks to completion. The third starts at 531, when the first ends (10 + 10 decodes + a mixed
/// step + 500 decodes), the fourth at 552.
#[test]
fn g7_two_at_a_time() {
    let mut lab = trtllm(50);
    for arrival in [0.0, 20.0, 40.0, 60.0] {
        lab.arrive(arrival, 128, 512);
    }
    assert_eq!(lab.run(), [(10.0, 531.0), (31.0, 552.0), (542.0, 1063.0), (563.0, 1074.0)]);
}

/// g8: 128 blocks hold six. Each start costs those before it a mixed step: the first ends at 10 + 511 + 5 * 10 + 0 = 571, and the others
/// start as seats fall free, 20 or 21 ms apart.
#[test]
fn g8_six_at_a_time() {
    let mut lab = trtllm(128);
    for arrival in 0..12 {
        lab.arrive(f64::from(arrival) * 20.0, 128, 512);
    }
    let relative: Vec<(f64, f64)> =
        lab.run().iter().enumerate().map(|(index, &(first, last))| (first - index as f64 * 20.0, last - index as f64 * 20.0)).collect();
    let expected = [
        (10.0, 571.0),
        (11.0, 572.0),
        (11.0, 572.0),
        (11.0, 572.0),
        (11.0, 572.0),
        (11.0, 572.0),
        (462.0, 1023.0),
        (463.0, 1014.0),
        (463.0, 1004.0),
        (463.0, 994.0),
        (463.0, 984.0),
        (463.0, 974.0),
    ];
    assert_eq!(relative, expected);
}

/// Completion reservation goes by the declared `max_tokens`, not by the reply's length: 16 of 20 blocks for a reply of 64 tokens.
#[test]
fn what_is_declared_is_reserved() {
    let run = |declared: u32| {
        let mut lab = trtllm(20);
        lab.arrive(0.0, 128, 64);
        lab.change(|request| {
            request.max_tokens = declared;
            request.ignore_eos = declared == 64;
        });
        lab.arrive(0.0, 128, 64);
        lab.run()
    };
    assert_eq!(run(384), [(10.0, 73.0), (83.0, 146.0)]);
    assert_eq!(run(64), [(10.0, 73.0), (10.0, 73.0)]);
}

/// Headroom: a newcomer must leave the blocks that running requests have yet to take, free though they are.
#[test]
fn a_newcomer_leaves_what_running_requests_will_need() {
    let run = |blocks: u64| {
        let mut lab = trtllm(blocks);
        lab.arrive(0.0, 128, 64); // 6 blocks in the end, 4 now
        lab.arrive(1.0, 128, 96); // 7 blocks in the end
        lab.log()
    };
    assert_eq!(run(13).outcomes[1].first_token, ms(21.0));
    let waits = run(12);
    assert_eq!(waits.outcomes[1].first_token, ms(83.0));
    let (held, _) = waits.held[0];
    assert_eq!((held.rule, held.needed, held.available), (HoldRule::KvBlocks, 7, 6));
}

/// A deferred request is passed over: the one behind it runs in the same step.
#[test]
fn a_deferred_request_is_passed_over() {
    let mut lab = trtllm(100_000);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive(0.0, 512, 2);
    assert_eq!(lab.run(), [(10.0, 21.0), (21.0, 22.0), (10.0, 21.0)]);
}

/// Uncut, nothing overtakes a context that does not fit, even what would.
#[test]
fn nothing_overtakes_a_context_that_does_not_fit() {
    let mut lab = trtllm(100_000);
    lab.arrive(0.0, 6144, 2);
    lab.arrive(0.0, 4096, 2);
    lab.arrive(0.0, 1000, 2);
    assert_eq!(lab.run(), [(10.0, 21.0), (21.0, 22.0), (21.0, 22.0)]);
}

/// The budget counts the tokens computed: what is found costs nothing of it.
#[test]
fn tokens_found_cost_no_budget() {
    let mut lab = trtllm(100_000);
    lab.arrive_with(0.0, 8000, 1, &[segment(0, 8000)]);
    lab.arrive(20.0, 8000, 1);
    lab.arrive_with(20.0, 8000, 1, &[segment(0, 8000)]); // 7999 found, 1 to compute
    assert_eq!(lab.run(), [(10.0, 10.0), (30.0, 30.0), (30.0, 30.0)]);
}

/// STATIC_BATCH admits when nothing generates any more.
#[test]
fn a_static_batch_runs_to_its_end() {
    let mut lab = engine(100_000, |options| options.capacity = Capacity::StaticBatch);
    lab.arrive(0.0, 100, 10);
    lab.arrive(0.0, 100, 3);
    lab.arrive(5.0, 100, 2);
    assert_eq!(lab.run(), [(10.0, 19.0), (10.0, 12.0), (29.0, 30.0)]);
}

/// Partial reuse: of a shared beginning of 100 tokens, three blocks are shared and four tokens copied; without it, only the blocks.
#[test]
fn a_partly_matching_block_is_copied() {
    let run = |partial: bool| {
        let reuse = Reuse { partial, ..Reuse::default() };
        let mut lab = trtllm(100).memory(Box::new(BlockTree::new(100, 32, reuse)));
        for arrival in [0.0, 20.0, 40.0] {
            lab.arrive_with(arrival, 160, 1, &[segment(0, 100)]);
        }
        lab.log().outcomes.iter().map(|outcome| outcome.cached_tokens).collect::<Vec<_>>()
    };
    assert_eq!(run(true), [0, 100, 100]);
    assert_eq!(run(false), [0, 96, 96]);
}

/// Context chunking: the first takes all it can; equal progress completes both together; a forced chunk is one block.
#[test]
fn windows_make_larger_units() {
    let run = |unit: u32, budget: u32, prompt: u32| {
        let mut lab = engine(100_000, |options| options.chunk_unit = unit).limits(|limits| {
            limits.chunked_prefill = true;
            limits.max_num_batched_tokens = budget;
        });
        lab.arrive(0.0, prompt, 1);
        lab.run()
    };
    // 1150 tokens in steps of 600: 576 and 574 in blocks of 32; 512, 512 and 126 in units of 256.
    assert_eq!(run(0, 600, 1150), [(20.0, 20.0)]);
    assert_eq!(run(256, 600, 1150), [(30.0, 30.0)]);
    // A step that no unit fits into goes by blocks: 128, 128 and 44.
    assert_eq!(run(256, 128, 300), [(30.0, 30.0)]);
}

#[test]
fn chunking_policies_share_the_step_differently() {
    let run = |chunking: Chunking, budget: u32, prompt: u32| {
        let mut lab = engine(100_000, |options| options.chunking = chunking);
        lab = lab.limits(|limits| {
            limits.chunked_prefill = true;
            limits.max_num_batched_tokens = budget;
        });
        lab.arrive(0.0, prompt, 1);
        lab.arrive(0.0, prompt, 1);
        lab.run()
    };
    assert_eq!(run(Chunking::FirstComeFirstServed, 128, 128), [(10.0, 10.0), (20.0, 20.0)]);
    assert_eq!(run(Chunking::EqualProgress, 128, 128), [(20.0, 20.0), (20.0, 20.0)]);
    // 64 tokens in two blocks, though all of both prompts would fit.
    assert_eq!(run(Chunking::ForceChunk, 8192, 64), [(20.0, 20.0), (20.0, 20.0)]);
    assert_eq!(run(Chunking::FirstComeFirstServed, 8192, 64), [(10.0, 10.0), (10.0, 10.0)]);
}

/// V2 makes blocks findable piece by piece, V1 when the context is complete (and defers a request that would need them).
#[test]
fn v2_shares_pieces_of_a_context_under_way() {
    let run = |v2: bool| {
        let lab = engine(100_000, |options| options.v2 = v2);
        let mut lab = lab.limits(|limits| {
            limits.chunked_prefill = true;
            limits.max_num_batched_tokens = 768;
        });
        lab.arrive_with(0.0, 1024, 1, &[segment(0, 1024)]);
        lab.arrive_with(5.0, 1024, 1, &[segment(0, 1024)]);
        let outcomes = lab.log().outcomes;
        (outcomes[0].finish, outcomes[1].finish, outcomes[1].cached_tokens)
    };
    // 768 and 256 tokens; V2's second prompt finds the first 768 and computes its 256 beside them.
    assert_eq!(run(true), (ms(20.0), ms(20.0), 768));
    assert_eq!(run(false), (ms(20.0), ms(30.0), 1023));
}

/// V2 starts nothing while more than `max_util_for_resume` of the blocks is held: 19 of 20 are 0.95.
#[test]
fn v2_starts_nothing_above_the_utilization_for_resume() {
    let run = |max_util_for_resume: f64| {
        let mut lab = engine(20, |options| {
            options.v2 = true;
            options.max_util_for_resume = max_util_for_resume;
        });
        lab.arrive(0.0, 600, 8);
        lab.arrive(5.0, 16, 2);
        lab.run()
    };
    assert_eq!(run(0.95), [(10.0, 27.0), (21.0, 22.0)]);
    assert_eq!(run(0.9), [(10.0, 17.0), (27.0, 28.0)]);
}

/// Contexts wait for company while something generates, at most as many steps as `batch_wait_timeout_iters` says, or until there are
/// enough tokens.
#[test]
fn contexts_wait_for_company() {
    let run = |ratio: f64| {
        let mut lab = engine(100_000, |options| {
            options.batch_wait_iters = 5;
            options.batch_wait_max_tokens_ratio = ratio;
        });
        lab.arrive(0.0, 100, 30);
        lab.arrive(3.0, 100, 2);
        lab.run()[1].0
    };
    assert_eq!(run(0.5), 15.0 + 11.0);
    // 101 tokens are 1 % of 8192 and more.
    assert_eq!(run(0.01), 21.0);
}

/// Steps that contexts have waited are not forgotten when nothing generates meanwhile (`batch_wait_iters_count`): with 5 steps, the second
/// waits at 10, 11 and 12, and when the first has ended at 13 nothing generates, so it runs. The third comes while that one decodes: at 24
/// and 25 it waits, and at 26 it runs with it.
#[test]
fn steps_waited_are_remembered() {
    let mut lab = engine(100_000, |options| {
        options.batch_wait_iters = 5;
        options.batch_wait_max_tokens_ratio = 0.5;
    });
    lab.arrive(0.0, 100, 4);
    lab.arrive(3.0, 100, 30);
    lab.arrive(23.5, 100, 2);
    // The second: token 1 at 23, 2 to 4 at 24 to 26, 5 at 37 with the third's prompt, 25 more.
    assert_eq!(lab.run(), [(10.0, 13.0), (23.0, 62.0), (37.0, 38.0)]);
}

/// `batch_wait_timeout_ms` 5, at most 3 sequences: each batch waits 5 ms unless 3 new requests come, also while something generates. The first
/// two are computed at 5-15; until 20 the third has come: 20-31 with their second tokens; 36-37 the last ones.
#[test]
fn batches_wait_by_the_clock() {
    let waiting = |most: u32| {
        let lab = engine(100_000, |options| options.batch_wait_timeout = Time::from_ms(5.0));
        lab.limits(|limits| (limits.max_num_seqs, limits.chunked_prefill) = (most, false))
    };
    let mut lab = waiting(3);
    lab.arrive(0.0, 100, 3);
    lab.arrive(2.0, 100, 3);
    lab.arrive(9.0, 100, 2);
    assert_eq!(lab.run(), [(15.0, 37.0), (15.0, 37.0), (31.0, 37.0)]);
    // As many as a batch holds are not waited for longer.
    let mut lab = waiting(2);
    lab.arrive(0.0, 100, 2);
    lab.arrive(2.0, 100, 2);
    assert_eq!(lab.run(), [(12.0, 18.0), (12.0, 18.0)]);
    // Formed ahead, a batch waits while the one before runs: only what is left of the wait is felt, nothing of it behind a prompt.
    let mut lab = waiting(3).pace(|pace| pace.overlap = true);
    lab.arrive(0.0, 100, 3);
    assert_eq!(lab.run(), [(15.0, 20.0 + 1.0)]);
}

/// The overlap scheduler costs a reply that ends by its end token one more decode slot; one that ends by its length none.
#[test]
fn overlap_wastes_a_slot_for_an_end_of_sequence() {
    let run = |declared: u32| {
        let mut lab = trtllm(100).pace(|pace| pace.overlap = true);
        lab.arrive(0.0, 100, 3);
        lab.change(|request| request.max_tokens = declared);
        let log = lab.log();
        (log.outcomes[0].finish, log.wasted_sequences)
    };
    assert_eq!(run(3), (ms(12.0), 0));
    assert_eq!(run(9), (ms(12.0), 1));
}

/// What can never fit is turned away with a reason: by what it declares where that is reserved, else by what it reaches.
#[test]
fn what_can_never_fit_is_rejected() {
    let run = |capacity: Capacity| {
        let mut lab = engine(10, |options| options.capacity = capacity);
        lab.arrive(0.0, 160, 2);
        lab.change(|request| request.max_tokens = 161);
        lab.log().outcomes[0].clone()
    };
    assert_eq!(run(Capacity::GuaranteedNoEvict).rejected, Some(RejectReason::TooLongForKvPool));
    assert_eq!(run(Capacity::MaxUtilization).finish, ms(11.0));
    // Uncut, a request that may be paused must fit into a step with its reply.
    let mut lab = engine(1000, |options| options.capacity = Capacity::MaxUtilization);
    lab.arrive(0.0, 8000, 194);
    assert_eq!(lab.log().outcomes[0].rejected, Some(RejectReason::TooLongForStep));
}
