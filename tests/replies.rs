//! Several replies to one prompt (`n`) and bunches of tokens (`stream_interval`), from a document: what is computed once, what is told of the
//! request, and that nothing else changes.

use llmperforacle::metrics::{RunResult, Status};
use llmperforacle::sim::NoFiles;

#[path = "support/run.rs"]
mod run;

/// vLLM, SGLang and TensorRT-LLM on one H100, with `more` in the workload.
fn simulate(more: &str) -> Vec<RunResult> {
    simulate_with(more, "")
}

/// The same with `option` in every entry's config.
fn simulate_with(more: &str, option: &str) -> Vec<RunResult> {
    let mut text = format!(
        "
simulation: {{random_seed: 3}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 60
  {more}
  client_profiles:
  - profile_name: p
    inter_arrival_time_dist_config: {{type: Exponential, rate: 3}}
    prompt_tokens_dist_config: {{type: Uniform, low: 200, high: 1800, is_int: true}}
    max_output_tokens_dist_config: {{type: Uniform, low: 10, high: 200, is_int: true}}
frameworks_to_test:
"
    );
    for kind in ["VLLM", "SGLANG", "TRTLLM"] {
        text += &format!("- {{name: {kind}, type: {kind}, config: {{model_profile_id: Llama-3.1-8B{option}}}}}\n");
    }
    run::simulate(&text, &NoFiles)
}

fn sum(column: &[u32]) -> u64 {
    column.iter().map(|&tokens| u64::from(tokens)).sum()
}

#[test]
fn one_reply_is_the_same_as_not_saying() {
    for (said, unsaid) in simulate("n: 1").iter().zip(&simulate("")) {
        assert_eq!(said.hash(), unsaid.hash());
    }
}

#[test]
fn four_replies_share_a_prompt() {
    for (four, one) in simulate("n: 4").iter().zip(&simulate("")) {
        let (r, alone) = (&four.requests, &one.requests);
        assert!(r.status.iter().all(|&status| status == Status::Success as u8), "{}", four.name);
        assert_eq!(r.input_tokens, alone.input_tokens);
        assert_eq!(sum(&r.output_tokens), 4 * sum(&alone.output_tokens));
        // Tokens that came out are those of the requests.
        assert_eq!(four.counters.iter().map(|counters| counters.output_tokens).sum::<u64>(), sum(&r.output_tokens));
        let (computed, input) = (r.prefilled_tokens.iter().sum::<u64>(), sum(&r.input_tokens));
        // Each further reply computes at most a block of 32 tokens (a few more replies are deferred, and find as much).
        assert!(computed > input && computed <= input + 60 * 4 * 32, "{}: {computed} of {input}", four.name);
        for row in 0..r.len() {
            assert!(r.first_token_ps[row] < r.finish_ps[row]);
        }
    }
}

#[test]
fn how_many_are_drawn_does_not_depend_on_the_engine() {
    let runs = simulate("n_dist_config: {type: Uniform, low: 1, high: 6, is_int: true}");
    let alone = simulate("");
    let replies = |run: &RunResult| -> Vec<u32> {
        // Requests arrive in the same order.
        run.requests.output_tokens.iter().zip(&alone[0].requests.output_tokens).map(|(all, one)| all / one).collect()
    };
    let drawn = replies(&runs[0]);
    assert!((1..=6).all(|n| drawn.contains(&n)) && drawn.iter().all(|n| (1..=6).contains(n)), "{drawn:?}");
    assert_eq!(replies(&runs[1]), drawn);
    assert_eq!(replies(&runs[2]), drawn);
}

/// Bunches of 8: rows of requests stay as they are; there is one gap for each bunch, and the gaps of a request add up to the same time.
#[test]
fn bunches_change_only_the_gaps() {
    for (bunched, single) in simulate_with("", ", stream_interval: 8").iter().zip(&simulate("")) {
        assert_eq!(bunched.requests, single.requests, "{}", bunched.name);
        assert_eq!(bunched.series.output_tokens.iter().sum::<u64>(), single.series.output_tokens.iter().sum::<u64>());
        let bunches = |tokens: u32| match bunched.name.as_str() {
            // 1, 8, 16 ... and the last.
            "TRTLLM" => u64::from(tokens / 8) + u64::from(!tokens.is_multiple_of(8)),
            // 1, 9, 17 ... and the last.
            _ => u64::from((tokens - 1).div_ceil(8)),
        };
        let gaps: u64 = bunched.requests.output_tokens.iter().map(|&tokens| bunches(tokens)).sum();
        assert_eq!(bunched.inter_token.count(), gaps, "{}", bunched.name);
        let span = |run: &RunResult| run.inter_token.mean().expect("gaps") * run.inter_token.count() as f64;
        assert!((span(bunched) / span(single) - 1.0).abs() < 1e-9);
        assert_eq!(bunched.summary.pointer("/engine/single_steps").and_then(|why| why.as_str()), Some("tokens in bunches"));
    }
}
