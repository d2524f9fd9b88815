//! Micro-traces whose outcome follows from vLLM's rules by hand: prefill pass 10 ms, decode pass 1 ms, mixed pass 11 ms,
//! blocks of 16 tokens, budget 8192. Each test names the rule.

use llmperforacle::engine::testing::{Lab, Outcome};
use llmperforacle::engine::{
    Bunches, RejectReason,
    policies::vllm::{Vllm, VllmOptions},
    policies::vllm_v0::VllmV0,
};
use llmperforacle::kv::HashChain;
use llmperforacle::units::Time;
use llmperforacle::workload::{Segment, SegmentId};

/// A vLLM engine with 100,000 blocks and options of its own.
fn vllm_with(options: VllmOptions) -> Lab {
    Lab::new(Box::new(Vllm::new(options)), 100_000)
}

/// A vLLM engine with `blocks` blocks besides the null block.
fn vllm(blocks: u64) -> Lab {
    Lab::new(Box::new(Vllm::default()), blocks)
}

fn segment(id: u32, tokens: u32) -> Segment {
    Segment { id: SegmentId(id), tokens }
}

fn ms(value: f64) -> Option<Time> {
    Some(Time::from_ms(value))
}

/// g1: the budget cuts the second prompt; running requests are served before the queue.
#[test]
fn g1_the_budget_cuts_the_last_prompt() {
    let mut lab = vllm(100_000);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 10240, 2);
    lab.arrive(0.0, 3072, 2);
    assert_eq!(lab.run(), [(10.0, 32.0), (32.0, 33.0), (32.0, 33.0)]);
}

/// g2: a chunk left over and a new prompt share a mixed step with a decode.
#[test]
fn g2_a_mixed_step_holds_decode_chunk_and_new_prompt() {
    let mut lab = vllm(100_000);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 7168, 2);
    lab.arrive(0.0, 1024, 2);
    assert_eq!(lab.run(), [(10.0, 22.0), (21.0, 22.0), (21.0, 22.0)]);
}

/// g3: out of blocks, the newest loses its KV; it resumes with what was not overwritten and computes the rest as a prefill.
#[test]
fn g3_the_newest_is_preempted_and_recomputed() {
    let mut lab = vllm(20);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    let log = lab.log();
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(73.0)));
    // 33 tokens generated when the pool is full; 161 tokens known, 128 of them still cached at 73 ms: 33 computed again in one
    // 10 ms pass that yields token 34, then 30 decode steps.
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish), (ms(10.0), ms(113.0)));
    assert_eq!(log.outcomes[1].preemptions, 1);
    assert_eq!(log.outcomes[1].prefilled_tokens, 128 + 33);
}

/// g4: a full hit leaves the last block to compute, since the last token must be computed to be sampled from.
#[test]
fn g4_a_full_hit_computes_the_last_block() {
    let mut lab = vllm(100_000);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(100.0, 1024, 2, &[segment(0, 1024)]);
    let log = lab.log();
    assert_eq!(log.outcomes[1].cached_tokens, 1008);
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish), (ms(110.0), ms(111.0)));
}

/// Drafting by MTP or EAGLE the last cached block is computed again: of 1024 tokens of an equal prompt 63 blocks can be found, 1008 tokens, and
/// 62 of them are used. One that is cached in no more than one block finds nothing.
#[test]
fn mtp_computes_the_last_cached_block_again() {
    let run = |drops_last_block, tokens| {
        let mut lab = vllm_with(VllmOptions { drops_last_block, ..VllmOptions::default() });
        lab.arrive_with(0.0, tokens, 2, &[segment(0, tokens)]);
        lab.arrive_with(100.0, tokens, 2, &[segment(0, tokens)]);
        let outcome = lab.log().outcomes.swap_remove(1);
        (outcome.cached_tokens, outcome.prefilled_tokens)
    };
    assert_eq!(run(false, 1024), (1008, 16));
    assert_eq!(run(true, 1024), (992, 32));
    assert_eq!(run(true, 31), (0, 31));
}

/// g5: blocks can be found as soon as they are allocated, by a later request of the same step.
#[test]
fn g5_equal_prompts_share_within_a_step() {
    let mut lab = vllm(100_000);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    let log = lab.log();
    assert_eq!([log.outcomes[0].cached_tokens, log.outcomes[1].cached_tokens], [0, 1008]);
    assert_eq!([log.outcomes[0].finish, log.outcomes[1].finish], [ms(11.0), ms(11.0)]);
}

/// Four replies to one prompt are four requests: in the step in which they enter the first computes 1024 tokens and each other finds 63
/// blocks of 16 and computes the last. One first token, at 10 ms; each reply ends with two decode steps. 64 + 3 blocks hold the prompt, and
/// each reply takes one more.
#[test]
fn replies_to_one_prompt_share_its_full_blocks() {
    let mut lab = vllm(100_000);
    lab.arrive(0.0, 1024, 3);
    lab.change(|request| request.samples = 4);
    let log = lab.log();
    let [outcome] = log.outcomes.as_slice() else { panic!("{:?}", log.outcomes) };
    assert_eq!((outcome.first_token, outcome.finish), (ms(10.0), ms(12.0)));
    assert_eq!((outcome.output_tokens, outcome.prefilled_tokens, outcome.cached_tokens), (12, 1024 + 3 * 16, 0));
    assert_eq!((log.peak_kv_blocks, log.kv_blocks_at_end), (64 + 3 + 4, 0));
}

/// Without the prefix cache each reply computes the prompt, and what does not fit into the step's budget follows: 8192 tokens are eight
/// of nine prompts, of which one reply has its first token a step later.
#[test]
fn replies_without_a_cache_compute_the_prompt_each() {
    let memory = HashChain::new(100_000, 16, false);
    let mut lab = vllm(100_000).memory(Box::new(memory));
    lab.arrive(0.0, 1024, 3);
    lab.change(|request| request.samples = 9);
    let log = lab.log();
    // Eight end with decodes at 21 (mixed) and 22 ms, the ninth at 23 ms.
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(23.0)));
    assert_eq!((log.outcomes[0].output_tokens, log.outcomes[0].prefilled_tokens), (27, 9 * 1024));
    assert_eq!(log.peak_kv_blocks, 9 * 65);
}

/// g6: recomputation after preemption is a prefill of everything not cached, generated tokens included.
#[test]
fn g6_generated_tokens_are_recomputed_as_a_prefill() {
    let mut lab = vllm(80);
    lab.arrive(0.0, 128, 1024);
    lab.arrive(0.0, 128, 1024);
    let log = lab.log();
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(1033.0)));
    // Both hold 40 blocks (640 tokens) when the second is preempted with 641 tokens known; the first then overwrites 32 of its
    // 40 blocks, last ones first, so 128 tokens are left and 513 are computed again: 10 ms for token 514, 510 decodes.
    assert_eq!(log.outcomes[1].prefilled_tokens, 128 + 513);
    assert_eq!(log.outcomes[1].finish, ms(1033.0 + 10.0 + 510.0));
}

/// g7: 100 blocks, four prompts that each stretch a step to 11 ms: at 71 ms they have 32, 21, 11 and 1 tokens, and k steps later hold
/// 38 + ceil(k / 16) + ceil((k - 11) / 16) + ceil((k - 5) / 16) + ceil((k - 15) / 16) blocks. At k = 252 the second lacks its block and the
/// fourth loses its 24 with 253 tokens made; 24 are not free before somebody leaves. At k = 380 the second lacks one again, and the third
/// loses its 33 with 391 made, and is first in the queue. The first ends at k = 480, 551 ms. By then all of the fourth's blocks are
/// overwritten, and 13 of the third's, last ones first: it finds 20 (320 tokens). Both are computed beside the second's decode, to 562 ms:
/// 519 - 320 and 381 tokens. They lack 10, 120 and 258 tokens then.
#[test]
fn g7_the_newest_are_preempted_and_come_back_in_one_step() {
    let mut lab = vllm(100);
    for at_ms in [0.0, 20.0, 40.0, 60.0] {
        lab.arrive(at_ms, 128, 512);
    }
    let log = lab.log();
    let times: Vec<_> = log.outcomes.iter().map(|outcome| (outcome.first_token, outcome.finish)).collect();
    assert_eq!(times, [(10.0, 551.0), (31.0, 572.0), (51.0, 682.0), (71.0, 820.0)].map(|(first, last)| (ms(first), ms(last))));
    let computed: Vec<_> = log.outcomes.iter().map(|outcome| (outcome.preemptions, outcome.prefilled_tokens)).collect();
    assert_eq!(computed, [(0, 128), (0, 128), (1, 128 + 199), (1, 128 + 381)]);
    assert_eq!((log.peak_kv_blocks, log.kv_blocks_at_end), (100, 0));
}

/// g8: a cascade of preemptions: twelve prompts, 20 ms apart, in 256 blocks. The values are those of a separate step-by-step account of the
/// rules, made without this engine: free blocks in the order in which they were left, last blocks of a request first, and before all others
/// those that are not full; the newest loses its own; the queue's head enters when the KV of all it has fits.
#[test]
fn g8_a_cascade_of_preemptions() {
    let mut lab = vllm(256);
    for index in 0..12 {
        lab.arrive(20.0 * f64::from(index), 128, 512);
    }
    let log = lab.log();
    let expected = [
        (10.0, 631.0, 0, 128),
        (31.0, 652.0, 0, 128),
        (51.0, 672.0, 0, 128),
        (71.0, 692.0, 0, 128),
        (91.0, 712.0, 0, 128),
        (111.0, 722.0, 0, 128),
        (131.0, 763.0, 1, 292),
        (151.0, 851.0, 1, 599),
        (171.0, 913.0, 1, 537),
        (191.0, 974.0, 1, 486),
        (211.0, 1021.0, 2, 461),
        (231.0, 1063.0, 1, 407),
    ];
    for (outcome, (first, last, preemptions, computed)) in log.outcomes.iter().zip(expected) {
        assert_eq!((outcome.first_token, outcome.finish), (ms(first), ms(last)));
        assert_eq!((outcome.preemptions, outcome.prefilled_tokens, outcome.output_tokens), (preemptions, computed, 512));
    }
    assert_eq!((log.outcomes.len(), log.kv_blocks_at_end), (12, 0));
}

/// The gate: a prompt enters only when the KV of all of it fits, though only its first chunk is taken.
#[test]
fn the_gate_wants_room_for_the_whole_prompt() {
    let run = |gate: bool| {
        let mut lab = vllm(640).limits(|limits| {
            limits.reserve_full_prompt = gate;
            limits.max_num_batched_tokens = 1024;
        });
        lab.arrive(0.0, 1024, 101); // 70 blocks in the end
        lab.arrive(1.0, 10_000, 2); // 625 blocks: not beside the first
        lab.log().outcomes
    };
    let gated = run(true);
    assert_eq!(gated[0].finish, ms(110.0));
    assert_eq!(gated[1].first_token, ms(110.0 + 10.0 * 10.0));
    let ungated = run(false);
    assert!(ungated[1].first_token < gated[1].first_token || ungated[1].preemptions > 0);
}

/// Head-of-line blocking: a small request does not overtake one that waits for blocks.
#[test]
fn nothing_overtakes_a_blocked_head() {
    let mut lab = vllm(100);
    lab.arrive(0.0, 800, 50); // 54 blocks in the end
    lab.arrive(1.0, 1000, 2); // 63 blocks: waits
    lab.arrive(2.0, 16, 2); // would fit
    assert_eq!(lab.run(), [(10.0, 59.0), (69.0, 70.0), (69.0, 70.0)]);
}

/// Without chunking a prompt larger than what is left of the budget ends the queue's turn.
#[test]
fn without_chunking_a_prompt_waits_for_a_whole_budget() {
    let mut lab = vllm(100_000).limits(|limits| limits.chunked_prefill = false);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 7168, 2);
    lab.arrive(0.0, 1024, 2);
    // Step 2 holds a decode, so 8191 tokens are left: 7168 fit, 1024 more (8192) do not.
    assert_eq!(lab.run(), [(10.0, 32.0), (21.0, 32.0), (32.0, 33.0)]);
}

/// What can never fit is turned away with a reason, and nothing hangs.
#[test]
fn what_can_never_fit_is_rejected() {
    let mut lab = vllm(10).limits(|limits| limits.max_model_len = 1000);
    lab.arrive(0.0, 990, 11);
    lab.arrive(0.0, 150, 12);
    lab.arrive(0.0, 150, 11);
    let outcomes = lab.log().outcomes;
    assert_eq!(outcomes[0].rejected, Some(RejectReason::TooLongForModel));
    assert_eq!(outcomes[1].rejected, Some(RejectReason::TooLongForKvPool));
    assert_eq!(outcomes[2].finish, ms(20.0));
    let mut uncut = vllm(1000).limits(|limits| limits.chunked_prefill = false);
    uncut.arrive(0.0, 8200, 2);
    assert_eq!(uncut.log().outcomes[0].rejected, Some(RejectReason::TooLongForStep));
}

/// A long prompt is cut by the threshold, so a short one gets its share of the same step.
#[test]
fn the_long_prefill_threshold_leaves_room_for_others() {
    let mut lab = vllm(100_000).limits(|limits| limits.long_prefill_token_threshold = 2048);
    lab.arrive(0.0, 8192, 2);
    lab.arrive(0.0, 512, 2);
    // Chunks of 2048 in a step of 10 ms and a mixed one of 11 ms; then the long one is alone, and a lone request is not cut.
    assert_eq!(lab.run(), [(31.0, 32.0), (10.0, 21.0)]);
}

/// Seats: `max_num_seqs` bounds the running requests.
#[test]
fn seats_are_bounded() {
    let mut lab = vllm(100_000).limits(|limits| limits.max_num_seqs = 1);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 1);
    assert_eq!(lab.run(), [(10.0, 12.0), (22.0, 22.0)]);
}

/// Overlapping: a batch is formed when the one before it starts, so an arrival may wait for one more step.
#[test]
fn an_overlapping_engine_lets_an_arrival_wait_a_step_longer() {
    let run = |overlap: bool| {
        let mut lab = vllm(100_000).pace(|pace| pace.overlap = overlap);
        lab.arrive(0.0, 100, 20);
        lab.arrive(12.5, 100, 1);
        lab.run()
    };
    // Blocking: steps end at 10, 11, 12, 13; the batch formed at 13 holds the prompt and takes 11 ms.
    assert_eq!(run(false)[1], (24.0, 24.0));
    // Overlapping: at 13 the batch that starts then was formed at 12; the next one, from 14, holds the prompt.
    assert_eq!(run(true)[1], (25.0, 25.0));
}

/// One request of 100 tokens and a reply of 3, with a declared limit of `max_tokens`, and one that waits for its seat.
fn with_one_seat(overlap: bool, max_tokens: u32) -> Lab {
    let mut lab = vllm(100_000).pace(|pace| pace.overlap = overlap).limits(|limits| limits.max_num_seqs = 1);
    lab.arrive(0.0, 100, 3);
    lab.change(|request| request.max_tokens = max_tokens);
    lab.arrive(0.0, 100, 1);
    lab
}

/// An end of sequence is known when its step's tokens are read: an overlapping engine has formed the next batch by then, and the
/// sequence is in it. An end by length is certain beforehand and wastes nothing.
#[test]
fn an_end_of_sequence_wastes_a_step_of_an_overlapping_engine() {
    // Formed at 0, 0, 10, 11: prefill to 10, tokens 2 and 3 at 11 and 12; the fourth batch, 12 to 13, is for nothing.
    // The seat is free at 12, and the batch formed then runs from 13.
    let eos = with_one_seat(true, 10).log();
    assert_eq!((eos.outcomes[0].first_token, eos.outcomes[0].finish, eos.outcomes[0].output_tokens), (ms(10.0), ms(12.0), 3));
    assert_eq!((eos.outcomes[1].finish, eos.steps, eos.wasted_sequences), (ms(23.0), 5, 1));
    // By length: nothing is left to form at 11; the batch formed at 12 starts at once.
    let length = with_one_seat(true, 3).log();
    assert_eq!((length.outcomes[1].finish, length.steps, length.wasted_sequences), (ms(22.0), 4, 0));
    // A blocking engine reads the token before it forms the next batch.
    let blocking = with_one_seat(false, 10).log();
    assert_eq!((blocking.outcomes[1].finish, blocking.steps, blocking.wasted_sequences), (ms(22.0), 4, 0));
}

/// The wasted step computes a token, and so may take a block.
#[test]
fn a_wasted_step_takes_a_block_like_any_other() {
    let run = |max_tokens| {
        let mut lab = vllm(100).pace(|pace| pace.overlap = true);
        lab.arrive(0.0, 15, 2); // 16 tokens computed: one block
        lab.change(|request| request.max_tokens = max_tokens);
        lab.log().peak_kv_blocks
    };
    assert_eq!([run(2), run(9)], [1, 2]);
}

/// A reply that ends at its first token wastes a decode too.
#[test]
fn an_end_of_sequence_at_the_first_token() {
    let mut lab = vllm(100).pace(|pace| pace.overlap = true);
    lab.arrive(0.0, 50, 1);
    lab.change(|request| request.max_tokens = 8);
    let log = lab.log();
    assert_eq!((log.outcomes[0].finish, log.steps, log.wasted_sequences), (ms(10.0), 2, 1));
}

/// A client that gives up a waiting request takes it out of the queue; those behind it move up.
#[test]
fn a_waiting_request_times_out() {
    let mut lab = vllm(100_000).limits(|limits| limits.max_num_seqs = 1);
    lab.arrive(0.0, 100, 20);
    lab.arrive(0.0, 100, 5);
    lab.change(|request| request.hangs_up = Time::from_ms(15.5));
    lab.arrive(0.0, 100, 1);
    let log = lab.log();
    let given_up = &log.outcomes[1];
    assert_eq!((given_up.cancelled, given_up.first_token, given_up.output_tokens, given_up.prefilled_tokens), (ms(15.5), None, 0, 0));
    assert_eq!((log.outcomes[2].finish, log.steps), (ms(39.0), 21));
}

/// A running request is let go when the next batch is formed: tokens in flight are thrown away, its seat and KV are free.
#[test]
fn a_running_request_times_out() {
    let run = |overlap: bool| {
        let mut lab = vllm(100_000).pace(|pace| pace.overlap = overlap).limits(|limits| limits.max_num_seqs = 1);
        lab.arrive(0.0, 100, 1000);
        lab.change(|request| request.hangs_up = Time::from_ms(20.5));
        lab.arrive(0.0, 100, 1);
        let log = lab.log();
        assert_eq!((log.outcomes[0].cancelled, log.outcomes[0].finish, log.outcomes[0].first_token), (ms(20.5), None, ms(10.0)));
        (log.outcomes[0].output_tokens, log.outcomes[1].finish)
    };
    // Tokens came out at 10, 11 … 21; at 21 the engine forms the second prompt's batch, which runs at once.
    assert_eq!(run(false), (12, ms(31.0)));
    // The step from 21 to 22 was formed at 20: it runs, and its token is thrown away.
    assert_eq!(run(true), (12, ms(32.0)));
}

/// What a client gives up makes room in the KV pool.
#[test]
fn a_time_out_frees_blocks() {
    let mut lab = vllm(10);
    lab.arrive(0.0, 100, 40); // 9 blocks in the end
    lab.change(|request| request.hangs_up = Time::from_ms(15.5));
    lab.arrive(0.0, 100, 1); // 7 blocks: waits for them
    assert_eq!(lab.log().outcomes[1].finish, ms(26.0));
}

/// A reply that ends in time ends well, even at the last instant; and nothing happens at a time-out that nobody waits for.
#[test]
fn a_reply_in_time_is_no_time_out() {
    let mut lab = vllm(100);
    lab.arrive(0.0, 100, 2);
    lab.change(|request| request.hangs_up = Time::from_ms(11.0));
    lab.arrive(0.0, 100, 2);
    lab.change(|request| request.hangs_up = Time::from_ms(10.9));
    let log = lab.log();
    assert_eq!((log.outcomes[0].finish, log.outcomes[0].cancelled), (ms(11.0), None));
    assert_eq!((log.outcomes[1].finish, log.outcomes[1].cancelled), (None, ms(10.9)));
}

/// Cached blocks are given up in the order in which they were freed, last blocks of a request first.
#[test]
fn eviction_is_least_recently_freed_first() {
    let mut lab = vllm(16);
    lab.arrive_with(0.0, 96, 1, &[segment(0, 96)]); // 6 blocks, freed at 10
    lab.arrive_with(20.0, 96, 1, &[segment(1, 96)]); // 6 blocks, freed at 30
    lab.arrive_with(40.0, 128, 1, &[segment(2, 128)]); // 8 blocks: 4 blank, then the last 4 of the first
    lab.arrive_with(60.0, 96, 1, &[segment(1, 96)]); // all but its last block, which evicts one more of the first
    lab.arrive_with(80.0, 96, 1, &[segment(0, 96)]); // one of its blocks is left
    let cached: Vec<u32> = lab.log().outcomes.iter().map(|outcome| outcome.cached_tokens).collect();
    assert_eq!(cached, [0, 0, 0, 80, 16]);
}

/// What a lookup found of each prompt.
fn cached(lab: Lab) -> Vec<u32> {
    lab.log().outcomes.iter().map(|outcome| outcome.cached_tokens).collect()
}

/// V1 merges no blocks: the last block of an equal prompt, computed again because a token must be, is a second block of the same hash.
/// Of 8 blocks the first request leaves 1 and 2, its last block first in the queue; the second touches 1 and fills 3, so the queue is 2, 3, 1
/// behind five blanks. The third takes those and 2. Block 3 still has the hash: the fourth finds both blocks.
#[test]
fn a_block_computed_again_is_found_when_the_first_is_gone() {
    let mut lab = vllm(8);
    lab.arrive_with(0.0, 32, 1, &[segment(0, 32)]);
    lab.arrive_with(20.0, 32, 1, &[segment(0, 32)]);
    lab.arrive_with(40.0, 96, 1, &[segment(1, 96)]);
    lab.arrive_with(60.0, 48, 1, &[segment(0, 32)]);
    assert_eq!(cached(lab), [0, 16, 0, 32]);
}

/// A lookup finds the oldest block of a hash, though it is free and a younger one is held: the hit takes a free block. The second request
/// holds blocks 1 and 3, and 4 when it decodes; the third, in the same step, finds 1 and 2 and fills 5.
#[test]
fn the_oldest_of_equal_blocks_is_found_even_if_a_younger_one_is_held() {
    let mut lab = vllm(100);
    lab.arrive_with(0.0, 32, 1, &[segment(0, 32)]);
    lab.arrive_with(20.0, 32, 2, &[segment(0, 32)]);
    lab.arrive_with(25.0, 48, 1, &[segment(0, 32)]);
    let log = lab.log();
    assert_eq!((log.outcomes[2].cached_tokens, log.outcomes[2].first_token), (32, ms(41.0)));
    assert_eq!((log.peak_kv_blocks, log.kv_blocks_at_end), (5, 0));
}

/// Evicting a block takes that block from its hash and leaves the others, held ones too. Of 8 blocks the second request holds 1, 3 and 4
/// when the third takes the four blanks and 2, the oldest of its hash. Later the fourth finds 1 and 3, both held by the second.
#[test]
fn a_held_block_is_found_when_the_older_one_of_its_hash_is_evicted() {
    let mut lab = vllm(8);
    lab.arrive_with(0.0, 32, 1, &[segment(0, 32)]);
    lab.arrive_with(20.0, 32, 40, &[segment(0, 32)]);
    lab.arrive_with(25.0, 80, 1, &[segment(1, 80)]);
    lab.arrive_with(60.0, 48, 1, &[segment(0, 32)]);
    assert_eq!(cached(lab), [0, 16, 0, 32]);
}

/// Prompts computed side by side in chunks of 32 tokens: the second finds what the first computes in the first step (two blocks, 1 and 2),
/// then runs ahead: it fills blocks 3 to 8 of the prompt a step before the first fills its own. It ends first, at 30 ms, with 12 blocks
/// in use. Of 16 blocks 14 have been used; the third takes the two blanks and the second's six. The first's own six are still found.
#[test]
fn prompts_computed_side_by_side_leave_two_blocks_of_each_hash() {
    let mut lab = vllm(16).limits(|limits| limits.long_prefill_token_threshold = 32);
    lab.arrive_with(0.0, 128, 1, &[segment(0, 128)]);
    lab.arrive_with(0.0, 128, 1, &[segment(0, 128)]);
    lab.arrive_with(60.0, 128, 1, &[segment(1, 128)]);
    lab.arrive_with(80.0, 144, 1, &[segment(0, 128)]);
    let log = lab.log();
    let found: Vec<u32> = log.outcomes.iter().map(|outcome| outcome.cached_tokens).collect();
    assert_eq!(found, [0, 32, 0, 128]);
    assert_eq!([log.outcomes[0].finish, log.outcomes[1].finish], [ms(40.0), ms(30.0)]);
    assert_eq!(log.peak_kv_blocks, 12);
}

/// Drafting by MTP, two blocks of an equal prompt of four are computed again. Of 10 blocks the third request takes the four blanks and the
/// first ones of the last two hashes; the fourth finds all four and uses three.
#[test]
fn mtp_leaves_two_blocks_of_the_last_two_hashes() {
    let mut lab =
        vllm_with(VllmOptions { drops_last_block: true, ..VllmOptions::default() }).memory(Box::new(HashChain::new(10, 16, true)));
    lab.arrive_with(0.0, 64, 1, &[segment(0, 64)]);
    lab.arrive_with(20.0, 64, 1, &[segment(0, 64)]);
    lab.arrive_with(40.0, 96, 1, &[segment(1, 96)]);
    lab.arrive_with(60.0, 80, 1, &[segment(0, 64)]);
    assert_eq!(cached(lab), [0, 32, 0, 48]);
}

/// Three replies to a prompt of two blocks leave one block of the first hash and three of the second. Of 6 the next request takes the two
/// blanks and the two older ones; the third is found.
#[test]
fn each_reply_leaves_a_block_of_the_last_hash() {
    let mut lab = vllm(6);
    lab.arrive_with(0.0, 32, 1, &[segment(0, 32)]);
    lab.change(|request| request.samples = 3);
    lab.arrive_with(20.0, 64, 1, &[segment(1, 64)]);
    lab.arrive_with(40.0, 48, 1, &[segment(0, 32)]);
    assert_eq!(cached(lab), [0, 0, 32]);
}

/// Before V1 a full block gave way to the one that had its contents. Two requests with equal prompts of two blocks, the second computed while
/// the first waits to decode: it finds block 1 and must compute the last token, but keeps block 2 of the first; with one more each when they
/// decode, four are in use. A pool that merges nothing has five.
#[test]
fn v0_keeps_one_block_of_a_hash() {
    let run = |memory: HashChain| {
        let policy = VllmV0::new(VllmOptions { prompts_first: true, ..VllmOptions::default() });
        let mut lab = Lab::new(Box::new(policy), 0).memory(Box::new(memory));
        lab.arrive_with(0.0, 32, 3, &[segment(0, 32)]);
        lab.arrive_with(5.0, 32, 2, &[segment(0, 32)]);
        let log = lab.log();
        assert_eq!([log.outcomes[0].cached_tokens, log.outcomes[1].cached_tokens], [0, 16]);
        assert_eq!([log.outcomes[0].finish, log.outcomes[1].finish], [ms(22.0), ms(21.0)]);
        (log.peak_kv_blocks, log.kv_blocks_at_end)
    };
    assert_eq!(run(HashChain::new(8, 16, true).merging()), (4, 0));
    assert_eq!(run(HashChain::new(8, 16, true)), (5, 0));
}

/// The outcome of a request says everything: no field is left over.
#[test]
fn a_lone_request_is_fully_accounted_for() {
    let mut lab = vllm(100);
    lab.arrive(5.0, 100, 10);
    let log = lab.log();
    let expected = Outcome {
        first_token: ms(15.0),
        finish: ms(24.0),
        cached_tokens: 0,
        prefilled_tokens: 100,
        output_tokens: 10,
        preemptions: 0,
        rejected: None,
        cancelled: None,
    };
    assert_eq!(log.outcomes, [expected]);
    assert_eq!(log.steps, 10);
    // 109 tokens are computed: the last one is sampled only.
    assert_eq!(log.peak_kv_blocks, 7);
}

/// Under `priority`, the queue goes by priority and then by arrival.
#[test]
fn the_queue_goes_by_priority() {
    let mut lab = vllm_with(VllmOptions { priority: true, ..VllmOptions::default() }).limits(|limits| limits.max_num_seqs = 1);
    for (at_ms, priority) in [(0.0, 0), (1.0, 5), (2.0, 1), (3.0, 1)] {
        lab.arrive(at_ms, 100, 1);
        lab.change(|request| request.priority = priority);
    }
    assert_eq!(lab.run(), [(10.0, 10.0), (40.0, 40.0), (20.0, 20.0), (30.0, 30.0)]);
}

/// Two requests, the first one less important, in a pool of `blocks`; the second has `prompt` tokens and arrives at 5 ms.
fn less_important_first(blocks: u64, prompt: u32) -> Lab {
    let mut lab = Lab::new(Box::new(Vllm::new(VllmOptions { priority: true, ..VllmOptions::default() })), blocks);
    lab.arrive(0.0, 128, 64);
    lab.change(|request| request.priority = 5);
    lab.arrive(5.0, prompt, 64);
    lab
}

/// Under `priority`, the victim is the largest priority number, be it the very request that lacks a block; the step ends there, and
/// the next one begins at once.
#[test]
fn the_least_important_loses_its_blocks() {
    let log = less_important_first(20, 128).log();
    // Both have 10 blocks at 52 ms, when the first has 33 tokens and lacks its eleventh. The second goes on alone, takes two of the 10
    // blocks left behind, last ones first, and ends 63 steps after its first token at 21.
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish, log.outcomes[1].preemptions), (ms(21.0), ms(84.0), 0));
    // 161 tokens known, 128 cached: 33 computed again in a pass that yields token 34, then 30 steps.
    assert_eq!((log.outcomes[0].finish, log.outcomes[0].preemptions, log.outcomes[0].prefilled_tokens), (ms(124.0), 1, 128 + 33));
}

/// Under `priority`, a victim may be in the batch already: it comes out of it, with the block it had just taken.
#[test]
fn a_victim_comes_out_of_the_batch() {
    let log = less_important_first(21, 129).log();
    // At 52 ms both lack their eleventh block; the first takes the last free one, then loses everything to the second, which takes that
    // block and, later, one more of the ten: 144 tokens stay cached.
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish, log.outcomes[1].preemptions), (ms(21.0), ms(84.0), 0));
    assert_eq!((log.outcomes[0].finish, log.outcomes[0].preemptions, log.outcomes[0].prefilled_tokens), (ms(124.0), 1, 128 + 17));
    // Ten each; the eleventh is given back before the step starts.
    assert_eq!(log.peak_kv_blocks, 20);
}

/// The newest of the running requests loses its KV even when its last token is in flight; it ends all the same.
#[test]
fn a_request_whose_last_token_is_in_flight_can_be_the_victim() {
    let mut lab = vllm(20).pace(|pace| pace.overlap = true);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 33); // its last token comes at 42, in the step formed before the first lacks its eleventh block
    let log = lab.log();
    assert_eq!((log.outcomes[0].finish, log.outcomes[0].preemptions), (ms(73.0), 0));
    assert_eq!((log.outcomes[1].finish, log.outcomes[1].preemptions, log.outcomes[1].output_tokens), (ms(42.0), 1, 33));
}

/// `prefill_schedule_interval: 3`: while others decode, prompts are computed in every third step.
#[test]
fn prompts_wait_for_their_step_of_the_cadence() {
    let mut lab = vllm_with(VllmOptions { prefill_schedule_interval: 3, ..VllmOptions::default() });
    lab.arrive(0.0, 100, 40);
    lab.arrive(10.5, 100, 1);
    lab.arrive(12.5, 100, 1);
    // Steps: 0-10 open, 10-11 and 11-12 closed, 12-23 open, two closed, 25-36 open.
    let times = lab.run();
    assert_eq!(times[1..], [(23.0, 23.0), (36.0, 36.0)]);
}

/// A step that leaves prompts over is followed by another that computes them; and nobody waits when nobody decodes.
#[test]
fn the_cadence_yields_to_a_full_queue_and_to_an_idle_engine() {
    let options = VllmOptions { prefill_schedule_interval: 3, ..VllmOptions::default() };
    let mut full = vllm_with(options.clone()).limits(|limits| limits.max_num_batched_tokens = 100);
    full.arrive(0.0, 50, 40);
    full.arrive(10.5, 150, 1); // 99 tokens in the step from 12, 51 in the one from 23
    assert_eq!(full.run()[1], (34.0, 34.0));
    let mut idle = vllm_with(options);
    idle.arrive(0.0, 100, 1);
    idle.arrive(10.0, 100, 1);
    assert_eq!(idle.run(), [(10.0, 10.0), (20.0, 20.0)]);
}

/// `long_prefill_token_threshold_adaptive`: at least the budget over the number of requests.
#[test]
fn the_adaptive_threshold_is_a_share_of_the_budget() {
    let run = |adaptive_threshold| {
        let mut lab = vllm_with(VllmOptions { adaptive_threshold, ..VllmOptions::default() })
            .limits(|limits| limits.long_prefill_token_threshold = 512);
        lab.arrive(0.0, 8192, 2);
        lab.arrive(0.0, 512, 2);
        lab.run()
    };
    // 4096 of the long prompt in each of two steps.
    assert_eq!(run(true), [(21.0, 22.0), (10.0, 21.0)]);
    // 512 in each of two steps, and the rest once it is alone.
    assert_eq!(run(false), [(31.0, 32.0), (10.0, 21.0)]);
}

/// Queue limits: what finds too many requests, or too many tokens, waiting is turned away on arrival.
#[test]
fn a_full_queue_turns_away() {
    let run = |options: VllmOptions, second: u32| {
        let mut lab = vllm_with(options).limits(|limits| limits.max_num_seqs = 1);
        lab.arrive(0.0, 100, 3); // runs until 12
        lab.arrive(1.0, 100, 1); // waits
        lab.arrive(2.0, second, 1);
        lab.arrive(13.0, 50, 1);
        let outcomes = lab.log().outcomes;
        assert_eq!((outcomes[1].finish, outcomes[3].rejected), (ms(22.0), None));
        outcomes[2].rejected
    };
    assert_eq!(run(VllmOptions { max_num_queued_reqs: Some(1), ..VllmOptions::default() }, 1), Some(RejectReason::QueueFull));
    let tokens = |most| VllmOptions { max_num_queued_tokens: Some(most), ..VllmOptions::default() };
    assert_eq!(run(tokens(150), 51), Some(RejectReason::QueueFull));
    assert_eq!(run(tokens(150), 50), None);
}

/// `max_num_active_seqs` bounds the running requests below `max_num_seqs`.
#[test]
fn active_requests_are_bounded() {
    let mut lab = vllm_with(VllmOptions { max_num_active_seqs: 1, ..VllmOptions::default() });
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 1);
    assert_eq!(lab.run(), [(10.0, 12.0), (22.0, 22.0)]);
}

/// The watermark keeps blocks free for those that run; an idle engine has nobody to keep them for.
#[test]
fn the_watermark_holds_while_something_runs() {
    let mut lab = vllm(10).limits(|limits| limits.watermark_blocks = 5);
    lab.arrive(0.0, 100, 2); // 7 blocks
    lab.arrive(1.0, 40, 1); // 3 blocks are there, but not 8
    assert_eq!(lab.run(), [(10.0, 11.0), (21.0, 21.0)]);
}

/// `stream_interval` 4 of ten tokens, made from 10 to 19 ms: the first goes out at once, then the 5th, the 9th and, at the end, the 10th.
/// Bunches that end at multiples go out with the 4th, the 8th and the 10th. Six tokens go beside another either way.
#[test]
fn tokens_go_out_in_bunches() {
    let run = |at_multiples| {
        let mut lab = vllm(100_000).bunch(Bunches { interval: 4, at_multiples });
        lab.arrive(0.0, 100, 10);
        lab.log()
    };
    let after_the_first = run(false);
    assert_eq!((after_the_first.gaps_ms.as_slice(), after_the_first.bunched_tokens), ([4.0, 4.0, 1.0].as_slice(), 6));
    let at_multiples = run(true);
    assert_eq!((at_multiples.gaps_ms.as_slice(), at_multiples.bunched_tokens), ([3.0, 4.0, 2.0].as_slice(), 6));
    assert_eq!(after_the_first.outcomes, at_multiples.outcomes);
    assert_eq!((after_the_first.outcomes[0].first_token, after_the_first.outcomes[0].finish), (ms(10.0), ms(19.0)));
}

/// A prompt that comes at 12.5 ms stretches the step of the fifth token to 11 ms: the bunch waits for it. Its own bunches count from its own
/// first token, at 24 ms.
#[test]
fn a_bunch_waits_for_a_stretched_step() {
    let mut lab = vllm(100_000).bunch(Bunches { interval: 4, at_multiples: false });
    lab.arrive(0.0, 100, 6);
    lab.arrive(12.5, 100, 5);
    let log = lab.log();
    // First: 1 at 10, 5 at 24, 6 at 25. Second: 1 at 24, 5 at 28.
    assert_eq!(log.gaps_ms, [14.0, 1.0, 4.0]);
    assert_eq!(log.bunched_tokens, 3 + 3);
}

/// The scheduler of 0.6 without chunked prefill, without prefix cache.
fn v0(blocks: u64) -> Lab {
    let policy = VllmV0::new(VllmOptions { prompts_first: true, ..VllmOptions::default() });
    let memory = HashChain::new(blocks, 16, false);
    Lab::new(Box::new(policy), blocks).memory(Box::new(memory)).limits(|limits| limits.chunked_prefill = false)
}

/// g1: a prompt longer than the budget is turned away; 6144 and 3072 do not fit into one step of 8192, so two steps of prompts follow each
/// other before anybody decodes.
#[test]
fn v0_g1_computes_whole_prompts_first() {
    let mut lab = v0(100_000);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 10240, 2);
    lab.arrive(0.0, 3072, 2);
    let log = lab.log();
    assert_eq!(log.outcomes[1].rejected, Some(RejectReason::TooLongForStep));
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(22.0)));
    assert_eq!((log.outcomes[2].first_token, log.outcomes[2].finish), (ms(20.0), ms(21.0)));
}

/// g2: nothing overtakes the second prompt, which does not fit beside the first; with the third it fills the next step.
#[test]
fn v0_g2_nothing_overtakes_a_prompt_that_does_not_fit() {
    let mut lab = v0(100_000);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 7168, 2);
    lab.arrive(0.0, 1024, 2);
    assert_eq!(lab.run(), [(10.0, 22.0), (20.0, 21.0), (20.0, 21.0)]);
}

/// Decodes stand still while a prompt that came at 11.5 ms is computed, from 12 to 22 ms.
#[test]
fn v0_prompts_stall_decodes() {
    let mut lab = v0(100_000);
    lab.arrive(0.0, 100, 5);
    lab.arrive(11.5, 100, 2);
    assert_eq!(lab.run(), [(10.0, 24.0), (22.0, 23.0)]);
}

/// g3: 20 blocks, 8 for each prompt; both take one at the 1st and the 17th decode step. At the 33rd none is free: the second is preempted
/// with 33 tokens made, and waits for 11 blocks until the first has ended (63 steps after 10 ms). Its 161 tokens are one prompt of 10 ms, which
/// yields the 34th; 30 steps follow.
#[test]
fn v0_g3_the_newest_is_preempted_and_computed_again_as_a_prompt() {
    let mut lab = v0(20);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    let log = lab.log();
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(73.0)));
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish), (ms(10.0), ms(113.0)));
    assert_eq!((log.outcomes[1].preemptions, log.outcomes[1].prefilled_tokens), (1, 128 + 161));
}

/// One block of watermark: of 17 blocks, two prompts of 8 leave one, and the second would take that one too if it were not kept.
#[test]
fn v0_the_watermark_is_kept_at_admission() {
    let run = |blocks| {
        let mut lab = v0(blocks).limits(|limits| limits.watermark_blocks = 1);
        lab.arrive(0.0, 128, 1);
        lab.arrive(0.0, 128, 1);
        lab.run()
    };
    assert_eq!(run(17), [(10.0, 10.0), (10.0, 10.0)]);
    assert_eq!(run(16), [(10.0, 10.0), (20.0, 20.0)]);
}

/// `scheduler_delay_factor` 0.5: the last batch of prompts took 10 ms, so that prompts wait for more than 5. B comes at 11.5 and is computed from
/// 17 on, when C, which came at 14, has waited for 3; C then from 27 on. Without it B is computed at 12, and C at 22. A has eight tokens at 17,
/// or three at 12, and the rest from 37 or 32 on. One that comes at 12 has waited for 5 at 17, no more, and is computed from 18 on.
#[test]
fn v0_prompts_wait_for_a_share_of_the_last_prompts_time() {
    let run = |delay_factor, at_ms| {
        let policy = VllmV0::new(VllmOptions { prompts_first: true, delay_factor, ..VllmOptions::default() });
        let memory = Box::new(HashChain::new(1000, 16, false));
        let mut lab = Lab::new(Box::new(policy), 1000).memory(memory).limits(|limits| limits.chunked_prefill = false);
        lab.arrive(0.0, 100, 30);
        lab.arrive(at_ms, 100, 1);
        lab.arrive(14.0, 100, 1);
        lab.run()
    };
    assert_eq!(run(500_000, 11.5), [(10.0, 59.0), (27.0, 27.0), (37.0, 37.0)]);
    assert_eq!(run(0, 11.5), [(10.0, 59.0), (22.0, 22.0), (32.0, 32.0)]);
    assert_eq!(run(500_000, 12.0)[1], (28.0, 28.0));
}

/// `num_scheduler_steps: n`.
fn v0_together(steps: u32, blocks: u64) -> Lab {
    let policy = VllmV0::new(VllmOptions { prompts_first: true, scheduler_steps: steps, ..VllmOptions::default() });
    let memory = HashChain::new(blocks, 16, false);
    Lab::new(Box::new(policy), blocks).memory(Box::new(memory)).limits(|limits| limits.chunked_prefill = false)
}

/// Four steps at once: one token at 10, four more at 14, and the sixth at 18, for which the other three steps from 14 on are wasted.
#[test]
fn v0_tokens_come_out_when_all_steps_of_a_window_are_done() {
    let mut lab = v0_together(4, 1000);
    lab.arrive(0.0, 128, 6);
    let log = lab.log();
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(18.0)));
    assert_eq!(log.outcomes[0].output_tokens, 6);
    assert_eq!((log.steps, log.wasted_sequences), (1 + 8, 3));
    assert_eq!((&log.gaps_ms[..], log.bunched_tokens), (&[4.0, 4.0][..], 3));
}

/// B comes at 10.5 and is seen when A's window ends, at 14: its prompt takes until 24, and A's second window from 24 to 28.
#[test]
fn v0_arrivals_wait_for_the_end_of_a_window() {
    let mut lab = v0_together(4, 1000);
    lab.arrive(0.0, 128, 9);
    lab.arrive(10.5, 128, 1);
    let log = lab.log();
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(28.0)));
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish), (ms(24.0), ms(24.0)));
    // A: 4 ms to the first window's tokens, 14 to the second's.
    assert_eq!(log.gaps_ms, [4.0]);
}

/// Eight steps at once with five blocks of 16; both prompts of 16 take one. At 10 and 18 each wants one free block for the 8 slots that it
/// touches, and takes a new one at 10: three free, then one. At 26 with 32 tokens A takes the last one, B lacks it and loses its two: 17
/// tokens made. Its 33 tokens want 3 blocks, and A's next windows leave 2: it waits until A ends with its window at 50 (1 + 5 x 8 tokens, the
/// last one too many). Then 10 ms for the 18th, and three windows for 22 more, to 84.
#[test]
fn v0_a_window_takes_the_blocks_of_all_its_steps() {
    let mut lab = v0_together(8, 5);
    lab.arrive(0.0, 16, 40);
    lab.arrive(0.0, 16, 40);
    let log = lab.log();
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (ms(10.0), ms(50.0)));
    assert_eq!((log.outcomes[1].first_token, log.outcomes[1].finish), (ms(10.0), ms(84.0)));
    assert_eq!((log.outcomes[0].preemptions, log.outcomes[1].preemptions), (0, 1));
    // Four blocks are too few for it alone: after 55 tokens it would touch one block beside three of its own and the next.
    let mut lab = v0_together(8, 4);
    lab.arrive(0.0, 16, 40);
    assert_eq!(lab.log().outcomes[0].rejected, Some(RejectReason::TooLongForKvPool));
}
