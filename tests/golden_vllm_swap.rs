//! Swapping in vLLM 0.6 (`preemption_mode`, `swap_space`): micro-traces derived by hand from `_schedule_default`, `_preempt` and
//! `_schedule_swapped`. Prefill pass 10 ms, decode pass 1 ms, blocks of 16 tokens; a block moves in 0.5 ms, before its step.

use llmperforacle::engine::policies::vllm::VllmOptions;
use llmperforacle::engine::policies::vllm_v0::VllmV0;
use llmperforacle::engine::testing::{Lab, Log};
use llmperforacle::engine::{HoldRule, RejectReason, SwapSpec, Swapped};
use llmperforacle::kv::HashChain;

/// Without prefix cache: so many blocks on the GPU and in host memory.
fn v0(blocks: u64, host: u64, singles: bool, scheduler_steps: u32) -> Lab {
    let swap = Some(SwapSpec { blocks: host, block_ps: 500_000_000, singles });
    let policy = VllmV0::new(VllmOptions { prompts_first: true, scheduler_steps, swap, ..VllmOptions::default() });
    let memory = HashChain::new(blocks, 16, false);
    Lab::new(Box::new(policy), blocks).memory(Box::new(memory)).limits(|limits| limits.chunked_prefill = false)
}

fn first_and_last(log: &Log, row: usize) -> (f64, f64) {
    let ms = |at: Option<llmperforacle::units::Time>| at.map_or(f64::NAN, llmperforacle::units::Time::as_ms);
    (ms(log.outcomes[row].first_token), ms(log.outcomes[row].finish))
}

fn moved(request: u32, blocks: u64, out: bool) -> Swapped {
    Swapped { request, blocks, out }
}

/// 20 blocks, 8 for each prompt; both take one at the 1st and the 17th decode step. At the 33rd, at 42 ms, none is free: the newest goes, ten
/// blocks in 5 ms, and the step ends at 48. The first has 30 steps more, to 78, and with 11 blocks and then 12 leaves fewer than the 11 that
/// the other wants. That comes back at 78 in 5 ms, decodes in the same step, to 84, and 30 times more: no token is computed again.
#[test]
fn the_newest_is_swapped_out_and_comes_back_without_computing_again() {
    let mut lab = v0(20, 100, true, 1);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    let log = lab.log();
    assert_eq!(first_and_last(&log, 0), (10.0, 78.0));
    assert_eq!(first_and_last(&log, 1), (10.0, 114.0));
    assert_eq!((log.outcomes[1].preemptions, log.outcomes[1].prefilled_tokens, log.outcomes[1].output_tokens), (1, 128, 64));
    assert_eq!(log.swapped, [(42.0, moved(1, 10, true)), (78.0, moved(1, 10, false))]);
    // From its 33rd token to its 34th.
    assert_eq!(log.gaps_ms, [42.0]);
    assert_eq!(log.kv_blocks_at_end, 0);
}

/// The same with the default mode: a request with one reply is computed again, as it is without anywhere to swap to.
#[test]
fn a_single_reply_is_computed_again_by_default() {
    let mut lab = v0(20, 100, false, 1);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    let log = lab.log();
    assert_eq!((first_and_last(&log, 0), first_and_last(&log, 1)), ((10.0, 73.0), (10.0, 113.0)));
    assert_eq!((log.outcomes[1].prefilled_tokens, log.swapped.len()), (128 + 161, 0));
}

/// While one is swapped out no prompt is taken: a third of 16 tokens, which comes at 45 and for which there is room all along, waits until
/// the second is back, at 84, and its prompt then takes until 94, the second standing still.
#[test]
fn no_prompt_is_taken_while_one_is_swapped_out() {
    let mut lab = v0(20, 100, true, 1);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    lab.arrive(45.0, 16, 1);
    let log = lab.log();
    assert_eq!(first_and_last(&log, 0), (10.0, 78.0));
    assert_eq!(first_and_last(&log, 1), (10.0, 124.0));
    assert_eq!(first_and_last(&log, 2), (94.0, 94.0));
    // From the step formed at 48 to the end of the one in which the other comes back.
    let held: Vec<_> = log.held.iter().map(|(held, ps)| (held.request, held.rule, held.needed, *ps)).collect();
    assert_eq!(held, [(2, HoldRule::Swapped, 1, 36_000_000_000)]);
}

/// Ten blocks, three prompts of three. At the first decode, at 10, three blocks are wanted and one is there: C goes with three blocks, and the
/// step ends at 12.5. A and B take two more at 27.5. At 43.5 they want two again: B goes with five, and the step ends at 47, in which nobody
/// comes back. Then four are free: C, first out, comes back (1.5 ms, its next token taking the fourth block), to 49.5. B wants six, which are
/// there when A has ended, at 54.5: 2.5 ms and a step, to 58, and 6 steps more. C has 8 tokens at 58.
#[test]
fn first_out_is_first_in_and_nobody_comes_back_in_a_step_that_throws_out() {
    let mut lab = v0(10, 100, true, 1);
    (0..3).for_each(|_| lab.arrive(0.0, 48, 40));
    let log = lab.log();
    assert_eq!([0, 1, 2].map(|row| first_and_last(&log, row)), [(10.0, 54.5), (10.0, 64.0), (10.0, 90.0)]);
    let expected = [(10.0, moved(2, 3, true)), (43.5, moved(1, 5, true)), (47.0, moved(2, 3, false)), (54.5, moved(1, 5, false))];
    assert_eq!(log.swapped, expected);
    assert_eq!(log.gaps_ms, [39.5, 14.5]);
}

/// One block of watermark is kept when somebody comes back: at 47 C wants four and the one that is kept, and four are free. A ends at 53. C
/// comes back to 55.5; B, with six, C's next block and the one kept, finds seven. C ends at 93.5; then B: 3.5 ms, and 6 steps more.
#[test]
fn the_watermark_is_kept_when_somebody_comes_back() {
    let mut lab = v0(10, 100, true, 1).limits(|limits| limits.watermark_blocks = 1);
    (0..3).for_each(|_| lab.arrive(0.0, 48, 40));
    let log = lab.log();
    assert_eq!([0, 1, 2].map(|row| first_and_last(&log, row)), [(10.0, 53.0), (10.0, 103.0), (10.0, 93.5)]);
}

/// The one that goes at 42 wants 11 blocks of host memory, one for its next token among them. With ten it ends, and the other goes on as if it
/// had never been there.
#[test]
fn without_room_to_swap_to_a_request_ends() {
    let run = |host| {
        let mut lab = v0(20, host, true, 1);
        lab.arrive(0.0, 128, 64);
        lab.arrive(0.0, 128, 64);
        lab.log()
    };
    let log = run(10);
    assert_eq!((log.outcomes[1].rejected, log.outcomes[1].finish), (Some(RejectReason::NoSwapSpace), None));
    assert_eq!((first_and_last(&log, 0), log.swapped.len(), log.kv_blocks_at_end), ((10.0, 73.0), 0, 0));
    assert_eq!(run(11).outcomes[1].rejected, None);
}

/// By default the replies to one prompt are swapped together. 14 blocks, four for A and for each of two replies; at 10 three are wanted and
/// two are there: both replies go, eight blocks in 4 ms, and A's step ends at 15. They want ten, and at most nine are free until A ends, at 77.
/// Eight blocks in 4 ms and a step: 82, and 38 steps more.
#[test]
fn replies_to_one_prompt_are_swapped_together() {
    let mut lab = v0(14, 100, false, 1);
    lab.arrive(0.0, 64, 64);
    lab.arrive(0.0, 64, 40);
    lab.change(|request| request.samples = 2);
    let log = lab.log();
    assert_eq!((first_and_last(&log, 0), first_and_last(&log, 1)), ((10.0, 77.0), (10.0, 120.0)));
    assert_eq!((log.outcomes[1].prefilled_tokens, log.outcomes[1].output_tokens), (2 * 64, 2 * 40));
    let (out, back) = (moved(1, 4, true), moved(1, 4, false));
    assert_eq!(log.swapped, [(10.0, out), (10.0, out), (77.0, back), (77.0, back)]);
}

/// Two replies that together outgrow all 20 blocks throw themselves out, and want 22 to come back: never, and the request ends.
#[test]
fn what_can_never_come_back_ends() {
    let mut lab = v0(20, 100, false, 1);
    lab.arrive(0.0, 128, 64);
    lab.change(|request| request.samples = 2);
    lab.arrive(60.0, 16, 1);
    let log = lab.log();
    assert_eq!((log.outcomes[0].rejected, log.kv_blocks_at_end), (Some(RejectReason::TooLongForKvPool), 0));
    assert_eq!(log.outcomes[1].output_tokens, 1);
}

/// Eight steps at once with five blocks, as without swapping: at 26 A takes the last one and B goes with two (1 ms), 17 tokens made; A's
/// windows end at 35, 43 and 51. For B's next window three blocks are wanted, and two are free, A's next one among them, until A ends. It comes
/// back in 1 ms with its first window, to 60, and has all 40 with its third, at 76.
#[test]
fn a_window_waits_for_what_is_moved_before_it() {
    let mut lab = v0(5, 100, true, 8);
    lab.arrive(0.0, 16, 40);
    lab.arrive(0.0, 16, 40);
    let log = lab.log();
    assert_eq!((first_and_last(&log, 0), first_and_last(&log, 1)), ((10.0, 51.0), (10.0, 76.0)));
    assert_eq!(log.swapped, [(26.0, moved(1, 2, true)), (51.0, moved(1, 2, false))]);
}

/// A client that gives up while its request is in host memory: what it had there is free again, and prompts are taken.
#[test]
fn a_client_gives_up_while_its_request_is_swapped_out() {
    let mut lab = v0(20, 11, true, 1);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    lab.change(|request| request.hangs_up = llmperforacle::units::Time::from_ms(50.5));
    lab.arrive(51.0, 16, 1);
    let log = lab.log();
    assert_eq!((log.outcomes[1].cancelled.is_some(), log.outcomes[1].output_tokens), (true, 33));
    // Let go at 51, when the prompt can be taken: to 61.
    assert_eq!(first_and_last(&log, 2), (61.0, 61.0));
    assert_eq!(log.kv_blocks_at_end, 0);
}

/// A prompt may fill a whole step: with recomputation a request must fit into a step with its reply, swapped it need not.
#[test]
fn what_is_swapped_need_not_fit_into_a_step_with_its_reply() {
    let run = |singles| {
        let mut lab = v0(1000, 1000, singles, 1).limits(|limits| limits.max_num_batched_tokens = 128);
        lab.arrive(0.0, 128, 8);
        lab.log().outcomes[0].rejected
    };
    assert_eq!((run(false), run(true)), (Some(RejectReason::TooLongForStep), None));
}
