//! Micro-traces whose outcome follows from SGLang's rules by hand: prefill pass 10 ms, decode pass 1 ms, pages of one token, chunks of 8192.
//! Each test names the rule.

use llmperforacle::engine::HoldRule;
use llmperforacle::engine::policies::sglang::{Expectations, Order, Priorities, Sglang, SglangOptions};
use llmperforacle::engine::testing::{Lab, Log, Outcome};
use llmperforacle::kv::RadixCache;
use llmperforacle::units::Time;
use llmperforacle::workload::{Segment, SegmentId};

/// An engine with a pool of `tokens` and its default options, changed.
fn engine(tokens: u64, change: impl FnOnce(&mut SglangOptions)) -> Lab {
    let mut options = SglangOptions::default();
    change(&mut options);
    let memory = RadixCache::new(tokens, 1, options.caching);
    Lab::new(Box::new(Sglang::new(options)), tokens).memory(Box::new(memory))
}

fn sglang(tokens: u64) -> Lab {
    engine(tokens, |_| {})
}

/// A request that may end before its declared limit, as production traffic does: only a share of it is reserved.
fn arrive_guessed(lab: &mut Lab, at_ms: f64, input: u32, output: u32) {
    lab.arrive(at_ms, input, output);
    lab.change(|request| request.ignore_eos = false);
}

fn segment(id: u32, tokens: u32) -> Segment {
    Segment { id: SegmentId(id), tokens }
}

fn times(outcomes: &[Outcome]) -> Vec<(f64, f64)> {
    let ms = |at: Option<Time>| at.map_or(f64::NAN, Time::as_ms);
    outcomes.iter().map(|outcome| (ms(outcome.first_token), ms(outcome.finish))).collect()
}

fn rules(log: &Log) -> Vec<HoldRule> {
    let mut rules: Vec<HoldRule> = log.held.iter().map(|(held, _)| held.rule).collect();
    rules.dedup();
    rules
}

/// g1: prompts are served in batches of their own, cut at 8192 tokens, one cut prompt at a time; decodes wait.
#[test]
fn g1_prompts_first_one_chunked_request() {
    let mut lab = sglang(1 << 20);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 10240, 2);
    lab.arrive(0.0, 3072, 2);
    assert_eq!(lab.run(), [(10.0, 32.0), (20.0, 31.0), (30.0, 31.0)]);
}

/// g2: the rest of the second prompt (5120) and the third (1024) share a batch.
#[test]
fn g2_the_rest_of_a_chunked_prompt_leaves_room_for_another() {
    let mut lab = sglang(1 << 20);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 7168, 2);
    lab.arrive(0.0, 1024, 2);
    assert_eq!(lab.run(), [(10.0, 22.0), (20.0, 21.0), (20.0, 21.0)]);
}

/// g3: the second needs 128 + 64 + 1 = 193 tokens, and 320 - 193 = 127 are not expected to be taken.
#[test]
fn g3_admission_reserves_the_declared_output() {
    let mut lab = sglang(320);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    assert_eq!(lab.run(), [(10.0, 73.0), (83.0, 146.0)]);
}

/// g4: all of an equal prompt but its last token is found.
#[test]
fn g4_a_cached_prompt_computes_its_last_token() {
    let mut lab = sglang(1 << 20);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(100.0, 1024, 2, &[segment(0, 1024)]);
    let outcomes = lab.log().outcomes;
    assert_eq!([outcomes[0].cached_tokens, outcomes[1].cached_tokens], [0, 1023]);
    assert_eq!(times(&outcomes), [(10.0, 11.0), (110.0, 111.0)]);
}

/// g5: equal prompts in one batch do not share: a prompt is found when its results have been read.
#[test]
fn g5_equal_prompts_of_one_batch_do_not_share() {
    let mut lab = sglang(1 << 20);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    let outcomes = lab.log().outcomes;
    assert_eq!([outcomes[0].cached_tokens, outcomes[1].cached_tokens], [0, 0]);
    assert_eq!(times(&outcomes), [(10.0, 11.0), (10.0, 11.0)]);
}

/// Four replies to one prompt: a request that makes no token computes the prompt until 10 ms; then four find 1023 tokens of it and compute
/// the last in a second batch, and decode twice. When that batch has been read the prompt goes into the tree, where its last token is
/// too: 1024 tokens are shared, and each has two of its own.
#[test]
fn replies_wait_until_their_prompt_is_computed() {
    let mut lab = sglang(1 << 14);
    lab.arrive(0.0, 1024, 3);
    lab.change(|request| request.samples = 4);
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(20.0, 22.0)]);
    let outcome = &log.outcomes[0];
    assert_eq!((outcome.output_tokens, outcome.prefilled_tokens, outcome.cached_tokens), (12, 1024 + 4, 0));
    assert_eq!((log.peak_kv_blocks, log.kv_blocks_at_end), (1024 + 4 * 2, 0));
}

/// g6: each reserves 1153 of 1280 tokens: one after the other, and nothing is computed twice.
#[test]
fn g6_one_after_the_other() {
    let mut lab = sglang(1280);
    lab.arrive(0.0, 128, 1024);
    lab.arrive(0.0, 128, 1024);
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(10.0, 1033.0), (1043.0, 2066.0)]);
    assert!(log.outcomes.iter().all(|outcome| outcome.preemptions == 0 && outcome.prefilled_tokens == 128));
}

/// g7, without `ignore_eos`. At 40 ms the first two hold 148 + 138 tokens and are expected to take (501 + 491) * (0.7 - 20 * 0.602 / 600)
/// = 684.6 * ... = 674.5 more: of 1600 tokens 639.5 are left, and the third needs 641. The latch closes until the first ends (1 + 10 + 501
/// decode steps and a stall of 10 ms: 531 ms). Then the third needs 641 of 971 - 10 * 0.187, and leaves too little for the fourth, which
/// waits for the second (10 steps and a stall later, 551 ms).
#[test]
fn g7_the_latch_holds_until_a_request_leaves() {
    let mut lab = sglang(1600);
    for at_ms in [0.0, 20.0, 40.0, 60.0] {
        arrive_guessed(&mut lab, at_ms, 128, 512);
    }
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(10.0, 531.0), (30.0, 551.0), (541.0, 1062.0), (561.0, 1072.0)]);
    assert_eq!(rules(&log), [HoldRule::KvBlocks, HoldRule::Latch, HoldRule::KvBlocks, HoldRule::Latch]);
    assert!(log.outcomes.iter().all(|outcome| outcome.preemptions == 0));
}

/// g7 without the latch: the first two take two tokens in each step, of which the first had been expected, and the ratio falls by 0.602 / 600:
/// k steps after 40 ms 1314 - 2k - (992 - 2k) * (0.7 - (20 + k) * 0.602 / 600) tokens are left, 640.9 for k = 4 and 641.2 for k = 5. So the
/// third, which needs less than that to be 641, enters at 45 ms, and when memory runs out it has the fewest output tokens.
#[test]
fn g7_without_the_latch_the_ratio_lets_the_third_in() {
    let mut lab = engine(1600, |options| options.latch = false);
    for at_ms in [0.0, 20.0, 40.0] {
        arrive_guessed(&mut lab, at_ms, 128, 512);
    }
    let log = lab.log();
    assert_eq!(times(&log.outcomes)[2].0, 55.0);
    let preemptions: Vec<u32> = log.outcomes.iter().map(|outcome| outcome.preemptions).collect();
    assert_eq!(preemptions, [0, 0, 1]);
}

/// g8: a cascade of retractions: everybody is served in the end, and nobody finds more than its own prompt again.
#[test]
fn g8_a_cascade_of_retractions_ends() {
    let mut lab = sglang(4096);
    for index in 0..12 {
        arrive_guessed(&mut lab, 20.0 * f64::from(index), 128, 512);
    }
    let log = lab.log();
    assert!(log.outcomes.iter().all(|outcome| outcome.output_tokens == 512 && outcome.finish.is_some()));
    assert!(log.outcomes.iter().any(|outcome| outcome.preemptions > 0));
    assert!(log.peak_kv_blocks <= 4096);
}

/// Retraction: pool 100, prompts of 20, outputs of 40, no `ignore_eos`, both at 0. The first needs 61 < 100. The second needs 61 and
/// 100 - 20 - (40 + 1) = 39 are left: it waits for the latch? No: nothing is released, so it waits for the end of the first.
/// With `schedule_conservativeness` 0.1 and the second at 12 ms, the first holds 22 tokens and is expected to take 37 * 0.0698 = 2.6
/// more: 75.4 are left, 61 fit. Both are in decode from 22 ms on with 23 and 20 tokens in memory (first: out 3; second: out 1). Each
/// step takes two tokens: 100 - 42 = 58, so 29 steps fit. At 51 ms (out 32 and 30) the second has fewer output tokens and is retracted;
/// it finds its prompt again. The first has 8 steps left and ends at 59 ms.
#[test]
fn the_one_with_the_fewest_output_tokens_is_retracted() {
    let mut lab = engine(100, |options| options.schedule_conservativeness = 0.1);
    arrive_guessed(&mut lab, 0.0, 20, 40);
    arrive_guessed(&mut lab, 12.0, 20, 40);
    let log = lab.log();
    // First: prefill to 10, decodes to 12 (out 3), stall to 22, 29 steps to 51 (out 32), 8 more: 59.
    assert_eq!((log.outcomes[0].first_token, log.outcomes[0].finish), (Some(Time::from_ms(10.0)), Some(Time::from_ms(59.0))));
    assert_eq!([log.outcomes[0].preemptions, log.outcomes[1].preemptions], [0, 1]);
    // Second: out 30 at 51 (1 + 29). Ratio after retraction (32 + 20) / 41 > 1 -> 1: it needs 50 - 20 + 10 + 1 = 41 tokens; at 51 the
    // first still decodes, at 52 it is tried: used 52, of which nothing is its own; expected 7 * 1; free 100 - 53 = 47 less its own
    // prompt in the tree (20) and 7: 20 < 41. Latched until 59; then prefill of 30 tokens to 69 (token 31) and 9 steps to 78.
    assert_eq!(log.outcomes[1].finish, Some(Time::from_ms(78.0)));
    assert_eq!(log.outcomes[1].prefilled_tokens, 20 + 30);
}

/// Small prompts that wait together are computed in one batch, within the chunk: four of 100 at once; a fifth that comes meanwhile in the
/// next batch, beside the rest of nobody's.
#[test]
fn small_prompts_are_admitted_together() {
    let mut lab = sglang(1 << 20);
    for at_ms in [0.0, 0.0, 0.0, 0.0, 5.0] {
        lab.arrive(at_ms, 100, 1);
    }
    assert_eq!(lab.run(), [(10.0, 10.0), (10.0, 10.0), (10.0, 10.0), (10.0, 10.0), (20.0, 20.0)]);
}

/// `new_token_ratio` after a retraction: (output so far + 20 for each survivor) / (declared + 1). Pool 1000, conservativeness 0.1, no latch,
/// two of 100 + 600 at 0 and 12 ms: 202 tokens at 22 ms, two more with each step, all taken at 421. The second (400 out) is retracted; the
/// first has 402: (402 + 20) / 601 = 0.7022. At 426, four decays of 0.0602 / 600 later, it holds 506 tokens, and is expected to take
/// 193 * 0.7018 = 135.4 of its 193 more: 358.6 of 494 are left. A short prompt of 10 that declares 347 needs 358 and enters; with 348 it
/// does not, then or a step later, when one token less is free and 0.7 less expected. (Without the new estimate the ratio would be 0.03
/// and either would enter.)
#[test]
fn the_ratio_is_estimated_anew_after_a_retraction() {
    let first_token_of = |declared: u32| {
        let mut lab = engine(1000, |options| {
            (options.schedule_conservativeness, options.latch, options.order) = (0.1, false, Order::ShortestPrefillFirst);
        });
        arrive_guessed(&mut lab, 0.0, 100, 600);
        arrive_guessed(&mut lab, 12.0, 100, 600);
        arrive_guessed(&mut lab, 425.5, 10, declared);
        let log = lab.log();
        let preemptions: Vec<u32> = log.outcomes.iter().map(|outcome| outcome.preemptions).collect();
        assert_eq!(preemptions[..2], [0, 1]);
        log.outcomes[2].first_token.expect("it is served").as_ms()
    };
    assert_eq!(first_token_of(347), 436.0);
    assert!(first_token_of(348) > 450.0);
}

/// `SGLANG_INIT_NEW_TOKEN_RATIO`, `SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR`, `SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS`: 0.8, a floor of 0.8 * 0.25 = 0.2 and
/// 300 steps, so each step takes off 0.002. Pool 1000, no latch, 100 + 500 at 0. At 210 ms the first has made 201 of 500 in 200 steps; the
/// ratio is 0.8 - 200 * 0.002 = 0.4, so 299 * 0.4 = 119.6 more are expected, and of 1000 - 300 tokens 580.4 are left. 100 + 479 + 1 = 580
/// fit at 210 ms. One more, 581, would not, then or at 211 (699 - 298 * 0.398 = 580.396); after k steps 700 - k - (299 - k) * (0.4 - 0.002 k) =
/// 580.4 - k + 0.998 k - 0.002 k^2 are left, which falls with k until the floor is reached, and so does what is free: it enters when the
/// first has ended, at 509 ms. With SGLang's own values the ratio would be 0.7 - 200 * 0.602 / 600 = 0.499, 550.7 would be left and
/// neither would enter.
#[test]
fn the_ratio_starts_falls_and_ends_as_told() {
    let first_token_of = |declared: u32, expectations: Expectations| {
        let mut lab = engine(1000, |options| (options.latch, options.expectations) = (false, expectations));
        arrive_guessed(&mut lab, 0.0, 100, 500);
        arrive_guessed(&mut lab, 209.5, 100, declared);
        lab.log().outcomes[1].first_token.expect("it is served").as_ms()
    };
    let told = Expectations { initial: 0.8, floor: 0.25, steps: 300 };
    assert_eq!(first_token_of(479, told), 220.0);
    assert_eq!(first_token_of(480, told), 519.0);
    assert_eq!(first_token_of(479, Expectations::default()), 519.0);
    // At the floor after 100 steps: 299 * 0.2 = 59.8, and 640.2 are left.
    let soon = Expectations { initial: 0.8, floor: 0.25, steps: 100 };
    assert_eq!([first_token_of(539, soon), first_token_of(540, soon)], [220.0, 519.0]);
}

/// `SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION` of 10: 50 + 10 + 1 tokens are asked for a prompt of 50 that declares 100, and 10 for one that
/// runs or is admitted, beside a page. Pool 200: three enter one batch, which leave 139, 78 and 17, and the fourth waits until they have ended.
/// With SGLang's own 4096 each asks for 151, and of 200 - 50 - 101 = 49 the second gets nothing until the first has ended.
#[test]
fn no_more_than_the_clip_is_reserved_for_one() {
    let first_tokens = |clip: u32| {
        let mut lab = engine(200, |options| options.clip = clip);
        for _ in 0..4 {
            lab.arrive(0.0, 50, 100);
            lab.change(|request| request.output_tokens = 2);
        }
        times(&lab.log().outcomes).into_iter().map(|(first, _)| first).collect::<Vec<f64>>()
    };
    // Three at once, a step of decoding, and the last.
    assert_eq!(first_tokens(10), [10.0, 10.0, 10.0, 21.0]);
    assert_eq!(first_tokens(4096), [10.0, 21.0, 32.0, 43.0]);
}

/// The last prompt token may not be found, so of a prompt in pages of 64 that is cached in full the last page is computed.
#[test]
fn pages_round_hits_down() {
    let memory = RadixCache::new(1 << 14, 64, true);
    let mut lab = Lab::new(Box::new(Sglang::new(SglangOptions::default())), 1 << 14).memory(Box::new(memory));
    lab.arrive_with(0.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(100.0, 1024, 2, &[segment(0, 1024)]);
    lab.arrive_with(200.0, 1100, 2, &[segment(0, 1024)]);
    let cached: Vec<u32> = lab.log().outcomes.iter().map(|outcome| outcome.cached_tokens).collect();
    assert_eq!(cached, [0, 960, 1024]);
}

/// In pages of 64 a decode step takes a page only where the KV held is a multiple of 64, and retraction waits for that step. Six pages: the first
/// request (64/200) takes its pages at its decode steps 1, 65, 129 and 193. The second (64/110) is admitted at 70, after 60 of them, since
/// 64 + 110 + 64 < 4 * 64 - 139 * 0.091; its steps begin at 80 and take pages at 1 and 65. Its step 69 would be the first's 129th, a seventh page:
/// with 69 tokens to the first's 129 it is retracted, at 148. It waits for the first, which ends at 10 + 10 + 199, and computes its tokens again
/// but for the prompt's page (219 to 229), the 70th among them; 40 are left. Had a token's slot been taken at once, it would end at 270.
#[test]
fn pages_are_taken_at_their_boundaries() {
    let memory = RadixCache::new(6, 64, true);
    let options = SglangOptions { expectations: Expectations { initial: 0.1, ..Expectations::default() }, ..SglangOptions::default() };
    let mut lab = Lab::new(Box::new(Sglang::new(options)), 6).memory(Box::new(memory));
    arrive_guessed(&mut lab, 0.0, 64, 200);
    arrive_guessed(&mut lab, 69.5, 64, 110);
    assert_eq!(lab.run(), [(10.0, 219.0), (80.0, 269.0)]);
}

/// Seats close the latch too; it opens when a request leaves, and both waiting ones are tried.
#[test]
fn seats_are_given_when_somebody_leaves() {
    let mut lab = sglang(1 << 20).limits(|limits| limits.max_num_seqs = 2);
    lab.arrive(0.0, 100, 5);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 100, 2);
    // 0-10 both; 10-12 decodes, the second ends at 12; the third 12-22, then a common step to 23.
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(10.0, 24.0), (10.0, 12.0), (22.0, 23.0)]);
    assert_eq!(rules(&log), [HoldRule::Seats, HoldRule::Latch]);
}

/// `max_prefill_tokens` ends a batch once it is used up: the request that does so is still in it (`budget_state` looks before the next).
#[test]
fn the_second_budget_ends_a_batch() {
    let mut lab = engine(1 << 20, |options| options.max_prefill_tokens = 1000);
    lab.arrive(0.0, 600, 2);
    lab.arrive(0.0, 500, 2);
    lab.arrive(0.0, 2000, 2);
    // 400 of 1000 are left when the second comes, none when the third does.
    assert_eq!(lab.run(), [(10.0, 21.0), (10.0, 21.0), (20.0, 21.0)]);
}

/// Without pieces a prompt must be shorter than what is left of it, unless it is alone in its batch.
#[test]
fn without_pieces_the_second_budget_must_reach() {
    let mut lab = engine(1 << 20, |options| options.max_prefill_tokens = 1000).limits(|limits| limits.chunked_prefill = false);
    lab.arrive(0.0, 600, 2);
    lab.arrive(0.0, 400, 2);
    lab.arrive(0.0, 2000, 2);
    // 400 are left for 400: not in the first batch. Then 400 alone (2000 > 600), then 2000 alone.
    assert_eq!(lab.run(), [(10.0, 31.0), (20.0, 31.0), (30.0, 31.0)]);
}

/// `prefill_max_requests`: two to a batch, whatever the tokens; the latch stays open, so the third and the fourth follow in the next batch and no
/// decode comes between. A prompt in pieces counts: its last piece (1808 of 10000) leaves one place.
#[test]
fn a_batch_takes_so_many_prompts() {
    let mut lab = engine(1 << 20, |options| options.prefill_max_requests = 2);
    for _ in 0..5 {
        lab.arrive(0.0, 100, 2);
    }
    assert_eq!(lab.run(), [(10.0, 31.0), (10.0, 31.0), (20.0, 31.0), (20.0, 31.0), (30.0, 31.0)]);
    let mut lab = engine(1 << 20, |options| options.prefill_max_requests = 2);
    lab.arrive(0.0, 10_000, 2);
    lab.arrive(0.0, 100, 2);
    lab.arrive(0.0, 100, 2);
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(20.0, 31.0), (20.0, 31.0), (30.0, 31.0)]);
    assert!(!rules(&log).contains(&HoldRule::Latch));
}

/// Without the cache and with `ignore_eos` the simulation of completion counts all of a declared output, whatever the clip, a page beside the
/// prompt, and keeps more than one token free: 200 - 51 - 147 = 2 will do, 200 - 51 - 148 = 1 never, and the request is rejected on arrival.
#[test]
fn what_can_never_complete_is_rejected() {
    let rejected = |declared: u32| {
        let mut lab = engine(200, |options| (options.clip, options.caching) = (10, false));
        lab.arrive(0.0, 50, declared);
        lab.change(|request| request.output_tokens = 2);
        lab.log().outcomes[0].rejected.is_some()
    };
    assert_eq!([rejected(147), rejected(148)], [false, true]);
}

/// Mixed chunk: decodes ride with prompts and count against the chunk.
#[test]
fn mixed_chunk_lets_decodes_ride() {
    let mut lab = engine(1 << 20, |options| options.mixed_chunk = true);
    lab.arrive(0.0, 100, 10);
    lab.arrive(11.0, 8192, 2);
    // 0-10, 10-11; the second is cut at 8191 (one decode rides): 11-22 mixed, 22-33 mixed for its last token, then decodes.
    // First: token 1 at 10, 2 at 11, 3 at 22, 4 at 33, then 6 more: 39. Second: 33, 34.
    assert_eq!(lab.run(), [(10.0, 39.0), (33.0, 34.0)]);
}

/// `prefill_decode_interval`: so many decode rounds after each batch of prompts.
#[test]
fn rounds_of_decoding_after_each_batch() {
    let mut lab = engine(1 << 20, |options| options.prefill_decode_interval = 3);
    lab.arrive(0.0, 100, 10);
    lab.arrive(5.0, 100, 2);
    // 0-10 first prompt; three rounds to 13; 13-23 the second; three rounds: the second ends at 24.
    assert_eq!(lab.run(), [(10.0, 29.0), (23.0, 24.0)]);
}

/// `lpm`: the longest cached prefix goes first.
#[test]
fn lpm_serves_the_longest_cached_prefix_first() {
    let mut lab = engine(1 << 20, |options| options.order = Order::Lpm).limits(|limits| limits.max_num_seqs = 1);
    lab.arrive_with(0.0, 500, 1, &[segment(0, 500)]);
    lab.arrive_with(1.0, 300, 1, &[segment(1, 300)]);
    lab.arrive_with(2.0, 600, 1, &[segment(0, 500)]);
    // At 10 the third has 500 tokens in the tree, the second none.
    assert_eq!(lab.run(), [(10.0, 10.0), (30.0, 30.0), (20.0, 20.0)]);
}

/// `lpm`: of those that share a prefix which is not cached yet, one goes and the others wait to find it.
/// More than 128 waiting requests are served in order of arrival: nobody is looked up for so many.
#[test]
fn lpm_serves_long_queues_in_order_of_arrival() {
    let cached_one_of = |queued: u32| {
        let mut lab = engine(1 << 20, |options| options.order = Order::Lpm).limits(|limits| limits.max_num_seqs = 1);
        lab.arrive_with(0.0, 500, 1, &[segment(0, 500)]);
        for other in 1..queued {
            lab.arrive_with(1.0, 100, 1, &[segment(other, 100)]);
        }
        lab.arrive_with(2.0, 600, 1, &[segment(0, 500)]);
        lab.run().last().copied()
    };
    // At 10, of 128 waiting ones the last goes first, since its prompt is cached; of 129 it does not, and at 20 there are 128.
    assert_eq!(cached_one_of(128), Some((20.0, 20.0)));
    assert_eq!(cached_one_of(129), Some((30.0, 30.0)));
}

#[test]
fn lpm_lets_one_of_equal_prefixes_go_ahead() {
    let mut lab = engine(1 << 20, |options| options.order = Order::Lpm).limits(|limits| limits.max_num_seqs = 2);
    lab.arrive_with(0.0, 500, 1, &[segment(0, 400)]);
    lab.arrive_with(0.0, 500, 1, &[segment(0, 400)]);
    lab.arrive_with(0.0, 500, 1, &[segment(1, 400)]);
    // The second is put behind the third; the first and the third go, then the second finds 400 tokens.
    let outcomes = lab.log().outcomes;
    assert_eq!(times(&outcomes), [(10.0, 10.0), (20.0, 20.0), (10.0, 10.0)]);
    assert_eq!(outcomes[1].cached_tokens, 400);
}

/// `lof`: the longest declared output first; `shortest-prefill-first`: the fewest prompt tokens.
#[test]
fn orders_by_length() {
    let run = |order| {
        let mut lab = engine(1 << 20, |options| options.order = order).limits(|limits| limits.max_num_seqs = 1);
        lab.arrive(0.0, 10, 1);
        lab.arrive(1.0, 300, 1);
        lab.arrive(2.0, 100, 2);
        lab.run().into_iter().map(|(first, _)| first).collect::<Vec<_>>()
    };
    assert_eq!(run(Order::Lof), [10.0, 31.0, 20.0]);
    assert_eq!(run(Order::ShortestPrefillFirst), [10.0, 31.0, 20.0]);
    assert_eq!(run(Order::Fcfs), [10.0, 20.0, 30.0]);
}

/// An engine with priorities.
fn by_priority(tokens: u64, change: impl FnOnce(&mut Priorities)) -> Lab {
    let mut rules = Priorities::default();
    change(&mut rules);
    engine(tokens, |options| options.priority = Some(rules))
}

fn arrive_urgent(lab: &mut Lab, at_ms: f64, input: u32, output: u32, priority: i32) {
    lab.arrive(at_ms, input, output);
    lab.change(|request| request.priority = priority);
}

/// More urgent requests first: larger values, or smaller ones where they say so.
#[test]
fn priority_goes_first() {
    let run = |low_values_first| {
        let mut lab = by_priority(1 << 20, |rules| rules.low_values_first = low_values_first).limits(|limits| limits.max_num_seqs = 1);
        lab.arrive(0.0, 10, 1);
        arrive_urgent(&mut lab, 1.0, 10, 1, 5);
        arrive_urgent(&mut lab, 2.0, 10, 1, 1);
        lab.run()
    };
    assert_eq!(run(false), [(10.0, 10.0), (20.0, 20.0), (30.0, 30.0)]);
    assert_eq!(run(true), [(10.0, 10.0), (30.0, 30.0), (20.0, 20.0)]);
}

/// Seats are taken from those that are less urgent by more than the threshold: two seats, two running from 10 ms on (priorities 0 and 3,
/// 50 tokens each). At 12 ms one of priority 11 is seen (11 - 0 > 10): the first loses its seat, goes to the back of the queue and waits.
/// 12-22 prefill; it ends at 24 (token 3). The first is computed again, prompt and three tokens, at 24-34 but for its 100 prompt tokens
/// that the tree has: token 4 at 34, and 46 decodes: 80. The second: tokens 1 to 3 by 12, 4 and 5 at 23 and 24, stalled to 34, 45 more: 79.
#[test]
fn an_urgent_request_takes_a_seat() {
    let mut lab = by_priority(1 << 20, |_| {}).limits(|limits| limits.max_num_seqs = 2);
    arrive_urgent(&mut lab, 0.0, 100, 50, 0);
    arrive_urgent(&mut lab, 0.0, 100, 50, 3);
    arrive_urgent(&mut lab, 11.5, 100, 3, 11);
    let log = lab.log();
    assert_eq!(times(&log.outcomes), [(10.0, 80.0), (10.0, 79.0), (22.0, 24.0)]);
    let preemptions: Vec<u32> = log.outcomes.iter().map(|outcome| outcome.preemptions).collect();
    assert_eq!(preemptions, [1, 0, 0]);
    // 102 tokens had been computed; of the 103 to compute, the tree has the prompt.
    assert_eq!(log.outcomes[0].prefilled_tokens, 100 + 3);
}

/// A difference of the threshold itself is not enough; nor is any where preemption is off. The third waits for a seat: at 59 ms both end.
#[test]
fn a_small_difference_or_a_switch_preempts_nobody() {
    for (urgency, preempts) in [(10, true), (1000, false)] {
        let mut lab = by_priority(1 << 20, |rules| rules.preempts = preempts).limits(|limits| limits.max_num_seqs = 2);
        arrive_urgent(&mut lab, 0.0, 100, 50, 0);
        arrive_urgent(&mut lab, 0.0, 100, 50, 3);
        arrive_urgent(&mut lab, 11.5, 100, 3, urgency);
        assert_eq!(lab.run(), [(10.0, 59.0), (10.0, 59.0), (69.0, 71.0)], "{urgency}");
    }
}

/// Of equals the newest goes first, and as many go as cover what the urgent one lacks: 500 tokens, four seats, four of 60 + 40 from 10 ms on.
/// At 12 ms they hold 62 each and are expected to take 37 each: 500 - 248 - 148 = 104 are left. One of 120 + 60 lacks 76: three victims
/// cover it (37 * 3 = 111). The oldest goes on.
#[test]
fn as_many_are_preempted_as_the_urgent_one_lacks() {
    let mut lab = by_priority(500, |_| {}).limits(|limits| limits.max_num_seqs = 4);
    for _ in 0..4 {
        arrive_urgent(&mut lab, 0.0, 60, 40, 0);
    }
    arrive_urgent(&mut lab, 11.5, 120, 60, 20);
    let log = lab.log();
    let preemptions: Vec<u32> = log.outcomes.iter().map(|outcome| outcome.preemptions).collect();
    assert_eq!(preemptions, [0, 1, 1, 1, 0]);
    assert_eq!(log.outcomes[4].first_token, Some(Time::from_ms(22.0)));
}

/// Memory alone preempts nobody, as seats decide whether it is tried: with seats to spare the urgent one waits for its turn at the head.
#[test]
fn want_of_memory_preempts_nobody() {
    let mut lab = by_priority(320, |_| {});
    arrive_urgent(&mut lab, 0.0, 128, 64, 0);
    arrive_urgent(&mut lab, 5.0, 128, 64, 0);
    arrive_urgent(&mut lab, 15.0, 128, 64, 100);
    // As g3: the first from 10 to 73; then the urgent one, 83 to 146, then the other.
    assert_eq!(lab.run(), [(10.0, 73.0), (156.0, 219.0), (83.0, 146.0)]);
}

/// `retraction_policy: priority`: the case of `the_one_with_the_fewest_output_tokens_is_retracted` with the first less urgent than the
/// second. At 51 ms it is the first (32 tokens out) that loses its KV; by length it would be the second (30).
#[test]
fn the_least_urgent_is_retracted() {
    let run = |retracts| {
        let mut rules = Priorities { retracts, ..Priorities::default() };
        rules.preempts = false;
        let mut lab = engine(100, |options| (options.schedule_conservativeness, options.priority) = (0.1, Some(rules)));
        arrive_guessed(&mut lab, 0.0, 20, 40);
        arrive_guessed(&mut lab, 12.0, 20, 40);
        lab.change(|request| request.priority = 1);
        let outcomes = lab.log().outcomes;
        (outcomes[0].preemptions, outcomes[1].preemptions, outcomes[0].finish.map(Time::as_ms), outcomes[1].finish.map(Time::as_ms))
    };
    assert_eq!(run(false), (0, 1, Some(59.0), Some(78.0)));
    // The second has 10 steps left at 51 and ends at 61; the first, 12 tokens short, then computes 32 tokens (its prompt is found) to
    // 71, and 7 more: 78.
    assert_eq!(run(true), (1, 0, Some(78.0), Some(61.0)));
}

/// Without a radix cache and with `ignore_eos` completion is simulated. Pool 200: the first (10 in, 100 out) and the second (50 in, 20 out)
/// would not fit by the sum 60 + 120 + 2 < 200? They would: 11 + 100 and 71 make 182. A third (10 in, 20 out) needs 31 > 18 by the sum; by
/// completion: 200 - 70 = 130 free after prompts; when the second and third end, 20 steps of 3 have taken 60, 70 are left, and 50 + 10
/// of their prompts come back: 130 against 80 steps of the first. It is admitted at once.
#[test]
fn without_a_cache_completion_is_simulated() {
    let run = |caching| {
        let mut lab = engine(200, |options| options.caching = caching);
        lab.arrive(0.0, 10, 100);
        lab.arrive(0.0, 50, 20);
        lab.arrive(0.0, 10, 20);
        lab.run()
    };
    assert_eq!(run(false), [(10.0, 109.0), (10.0, 29.0), (10.0, 29.0)]);
    // By the sum the third waits for the end of the second at 29, and its batch stalls the first.
    assert_eq!(run(true), [(10.0, 119.0), (10.0, 29.0), (39.0, 58.0)]);
}

/// The overlap scheduler reads results a step late: a prompt that arrives while the next step is being formed does not find the one
/// before it.
#[test]
fn under_overlap_results_are_read_a_step_late() {
    let run = |at_ms| {
        let mut lab = sglang(1 << 20).pace(|pace| pace.overlap = true);
        lab.arrive_with(0.0, 1024, 20, &[segment(0, 1024)]);
        lab.arrive_with(at_ms, 1024, 2, &[segment(0, 1024)]);
        lab.log().outcomes[1].cached_tokens
    };
    // The batch that starts at 10 is formed when the first starts: the second cannot be in it unless it is there by then.
    assert_eq!(run(0.0), 0);
    assert_eq!(run(5.0), 1023);
}

/// `dfs-weight`: the branch of the tree with more waiting requests goes first, and of equal ones the older. At 20 ms one waits for the
/// second prompt's branch and two for the first's; when one of these has gone, each branch has one.
#[test]
fn dfs_weight_serves_the_heavier_branch_first() {
    let run = |order| {
        let mut lab = engine(1 << 20, |options| options.order = order).limits(|limits| limits.max_num_seqs = 1);
        lab.arrive_with(0.0, 500, 1, &[segment(0, 400)]);
        lab.arrive_with(0.0, 500, 1, &[segment(1, 400)]);
        lab.arrive_with(12.0, 500, 1, &[segment(1, 400)]);
        lab.arrive_with(12.0, 500, 1, &[segment(0, 400)]);
        lab.arrive_with(12.0, 500, 1, &[segment(0, 400)]);
        // In no branch: after all that are in one.
        lab.arrive(12.0, 500, 1);
        lab.run().into_iter().map(|(first, _)| first).collect::<Vec<_>>()
    };
    assert_eq!(run(Order::DfsWeight), [10.0, 20.0, 50.0, 30.0, 40.0, 60.0]);
    assert_eq!(run(Order::Fcfs), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
}

/// `hrrn`: prompt tokens computed since a request came, over its own. Three come while 1000 tokens are computed, whose ratios at 10 ms are 0.
/// When the first has computed 100 tokens they are 100 / 300 and 100 / 50; when the short one has gone, 150 / 300 for the long one and 0 for
/// one that has just come, however short it is.
#[test]
fn hrrn_weighs_waiting_against_length() {
    let run = |order| {
        let mut lab = engine(1 << 20, |options| options.order = order).limits(|limits| limits.max_num_seqs = 1);
        lab.arrive(0.0, 1000, 1);
        lab.arrive(1.0, 100, 1);
        lab.arrive(1.0, 300, 1);
        lab.arrive(1.0, 50, 1);
        lab.arrive(21.0, 10, 1);
        lab.run().into_iter().map(|(first, _)| first).collect::<Vec<_>>()
    };
    assert_eq!(run(Order::Hrrn), [10.0, 20.0, 40.0, 30.0, 50.0]);
    assert_eq!(run(Order::ShortestPrefillFirst), [10.0, 30.0, 50.0, 20.0, 40.0]);
}
