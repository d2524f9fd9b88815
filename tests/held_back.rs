//! Which rule held the next request back, worked out by hand from vLLM's rules: prefill pass 10 ms, decode pass 1 ms, blocks of 16
//! tokens, budget 8192.

use llmperforacle::engine::HoldRule;
use llmperforacle::engine::policies::vllm::Vllm;
use llmperforacle::engine::testing::Lab;

/// (request, rule, needed, available, ms) of everything that was held back.
fn held(lab: Lab) -> Vec<(u32, HoldRule, u64, u64, f64)> {
    lab.log().held.iter().map(|(h, ps)| (h.request, h.rule, h.needed, h.available, *ps as f64 / 1e9)).collect()
}

fn vllm(blocks: u64) -> Lab {
    Lab::new(Box::new(Vllm::default()), blocks)
}

#[test]
fn no_seat_is_free_until_the_first_ends() {
    let mut lab = vllm(1000).limits(|limits| limits.max_num_seqs = 1);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 50, 1);
    assert_eq!(held(lab), [(1, HoldRule::Seats, 1, 0, 12.0)]);
}

/// g1 of the scheduler's traces: request 2 waits while request 1 takes what is left of two steps' budget (10 ms, then 11 ms mixed).
#[test]
fn the_budget_is_used_up_by_those_before() {
    let mut lab = vllm(100_000);
    lab.arrive(0.0, 6144, 3);
    lab.arrive(0.0, 10240, 2);
    lab.arrive(0.0, 3072, 2);
    assert_eq!(held(lab), [(2, HoldRule::Budget, 3072, 0, 21.0)]);
}

/// 100 tokens fill 7 of 10 blocks; 64 tokens need 4.
#[test]
fn the_pool_has_too_few_blocks() {
    let mut lab = vllm(10);
    lab.arrive(0.0, 100, 3);
    lab.arrive(0.0, 64, 1);
    assert_eq!(held(lab), [(1, HoldRule::KvBlocks, 4, 3, 12.0)]);
}

/// Without chunked prefill a prompt of 5000 does not fit into the 8192 - 4000 that are left.
#[test]
fn a_prompt_that_may_not_be_cut_waits_for_a_step_of_its_own() {
    let mut lab = vllm(100_000).limits(|limits| limits.chunked_prefill = false);
    lab.arrive(0.0, 4000, 1);
    lab.arrive(0.0, 5000, 1);
    assert_eq!(held(lab), [(1, HoldRule::WholePrompt, 5000, 4192, 10.0)]);
}

/// Two of 128 tokens in 20 blocks: full at 33 tokens each, 42 ms. The newer one loses its 10 blocks in a step of 1 ms, then needs
/// 11 blocks for 161 tokens (8 of them found again, but free), until the other ends at 73 ms.
#[test]
fn after_a_preemption_the_pool_is_too_full() {
    let mut lab = vllm(20);
    lab.arrive(0.0, 128, 64);
    lab.arrive(0.0, 128, 64);
    let held = held(lab);
    assert_eq!(held[0], (1, HoldRule::Preemption, 0, 0, 1.0));
    assert!(held[1..].iter().all(|h| (h.0, h.1, h.2) == (1, HoldRule::KvBlocks, 11)), "{held:?}");
    assert_eq!(held[1..].iter().map(|h| h.4).sum::<f64>(), 30.0);
}
