//! The fast path and single steps leave the same bits behind, on random engines under random load; and whatever the load,
//! blocks and tokens are conserved and every request ends.

use proptest::prelude::*;

use llmperforacle::cost::{CostModel, DecodeCost, PowerModel, Prefill, StepCost, StepParts};
use llmperforacle::engine::policies::trtllm::{Capacity, Chunking, TrtllmOptions};
use llmperforacle::engine::policies::vllm::VllmOptions;
use llmperforacle::engine::{Bunches, Core, Limits, LoraSpec, Pace, PolicySpec, Replica, SwapSpec};
use llmperforacle::kv::{BlockTree, HashChain, KvCache, LoadBack, Reuse};
use llmperforacle::metrics::{Recorder, RunResult, Status};
use llmperforacle::units::Time;
use llmperforacle::workload::Request;

#[path = "support/engines.rs"]
mod engines;

/// An affine cost with a coefficient that changes on a grid of mean contexts, as a calibrated one does.
#[derive(Clone, Debug)]
struct Affine {
    fixed_ps: u64,
    sequence_ps: u64,
    context_ps: u64,
    host_ps: u64,
    grid: u64,
}

impl CostModel for Affine {
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost {
        let n = u64::from(sequences);
        let cell = context / n / self.grid;
        let device_ps = self.fixed_ps + n * self.sequence_ps + cell * 1000;
        DecodeCost {
            fixed: StepCost {
                device_ps,
                host_ps: self.host_ps + n * 50_000,
                // Eager: launches are the slower side while contexts are short.
                launch_ps: if sequences % 2 == 1 { self.fixed_ps + self.fixed_ps / 2 } else { 0 },
                parts: StepParts { gemm_ps: device_ps, ..StepParts::default() },
                padded_tokens: 3,
                eager: sequences % 2 == 1,
            },
            context_ps: self.context_ps,
            valid_below_context: (cell + 1) * self.grid * n,
        }
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        let tokens: u64 = prefills.iter().map(|piece| u64::from(piece.new_tokens)).sum();
        let device_ps = self.fixed_ps + (tokens + u64::from(sequences)) * self.sequence_ps + context * self.context_ps;
        StepCost {
            device_ps,
            host_ps: self.host_ps + prefills.len() as u64 * 100_000,
            launch_ps: self.host_ps / 2,
            parts: StepParts { gemm_ps: device_ps, ..StepParts::default() },
            padded_tokens: 0,
            eager: false,
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    policy: PolicySpec,
    /// TensorRT-LLM: reuse blocks in part, and by copying them.
    partial: (bool, bool),
    limits: Limits,
    block_size: u32,
    blocks: u64,
    caching: bool,
    overlap: bool,
    horizon: Time,
    cost: Affine,
    requests: Vec<Draft>,
    /// `stream_interval`.
    bunch: Option<u32>,
    /// Blocks that each request holds for a state of constant size (without a prefix cache).
    beside: u64,
    /// Tiers below the KV memory.
    below: Option<engines::Below>,
    lora: Option<LoraSpec>,
}

/// Gap before it in us, prompt, output, shared prefix (group, tokens), declared limit beyond the output, us until the client
/// gives up, priority, replies.
type Draft = (u32, u32, u32, Option<(u32, u32)>, u32, Option<u32>, i32, u32);

/// vLLM with any options.
fn vllm() -> impl Strategy<Value = PolicySpec> {
    let scheduler = (any::<bool>(), prop::bool::weighted(0.25));
    let swap = prop::option::of((0u64..200, 0u64..500_000_000, any::<bool>()));
    ((scheduler, swap), any::<bool>(), prop_oneof![3 => Just(1u32), 1 => 2u32..6], 1u32..20, prop::option::of(1u32..10)).prop_map(
        |(((priority, prompts_first), swap), adaptive_threshold, prefill_schedule_interval, max_num_active_seqs, max_num_queued_reqs)| {
            PolicySpec::Vllm(VllmOptions {
                drops_last_block: prefill_schedule_interval % 2 == 0 && !prompts_first,
                priority: priority && !prompts_first,
                prompts_first,
                scheduler_steps: if prompts_first { prefill_schedule_interval } else { 1 },
                delay_factor: if prompts_first && adaptive_threshold { 1_500_000 } else { 0 },
                swap: swap.filter(|_| prompts_first).map(|(blocks, block_ps, singles)| SwapSpec { blocks, block_ps, singles }),
                adaptive_threshold,
                prefill_schedule_interval,
                max_num_active_seqs,
                max_num_queued_reqs,
                max_num_queued_tokens: max_num_queued_reqs.map(|requests| u64::from(requests) * 200),
            })
        },
    )
}

/// TensorRT-LLM with any options.
fn trtllm() -> impl Strategy<Value = PolicySpec> {
    let capacity =
        prop_oneof![4 => Just(Capacity::GuaranteedNoEvict), 2 => Just(Capacity::MaxUtilization), 1 => Just(Capacity::StaticBatch)];
    let chunking = prop_oneof![Just(Chunking::FirstComeFirstServed), Just(Chunking::EqualProgress), Just(Chunking::ForceChunk)];
    let waits = (prop_oneof![3 => Just(0u32), 1 => 1u32..6], 0.0f64..1.0);
    (capacity, prop::bool::weighted(0.25), chunking, any::<bool>(), 0.3f64..1.0, waits).prop_map(
        |(capacity, v2, chunking, prefix_aware, max_util_for_resume, (batch_wait_iters, batch_wait_max_tokens_ratio))| {
            PolicySpec::Trtllm(TrtllmOptions {
                pp_size: 1,
                chunk_unit: 0,
                capacity,
                v2,
                chunking,
                prefix_aware,
                max_util_for_resume,
                batch_wait_iters,
                batch_wait_max_tokens_ratio,
                // Then every step is taken by itself; what must hold of any engine must hold.
                batch_wait_timeout: Time::from_us(if batch_wait_iters == 3 { 1500.0 } else { 0.0 }),
            })
        },
    )
}

/// How engines bring contents up: vLLM lets the request wait, TensorRT-LLM the step.
fn case(policy: impl Strategy<Value = PolicySpec>, fetches: bool) -> impl Strategy<Value = Case> {
    let load = prop_oneof![Just(LoadBack::Serial), (1u32..40).prop_map(LoadBack::Layers)];
    let load = (load, any::<bool>()).prop_map(move |(load, fetch)| if fetches && fetch { LoadBack::Fetch } else { load });
    // vLLM makes places, TensorRT-LLM counts ranks.
    let lora = engines::adapters(!fetches, false);
    (plain_case(policy), engines::below(load, false), lora).prop_map(|(case, below, lora)| {
        let below = below.filter(|_| !swaps(&case));
        Case { below, lora, ..case }
    })
}

/// Requests that fit by themselves into memory that is too small for all of them.
fn swapping() -> impl Strategy<Value = Case> {
    let policy = (1u32..4, 0u64..500_000_000, any::<bool>(), 0u64..400).prop_map(|(scheduler_steps, block_ps, singles, blocks)| {
        let swap = Some(SwapSpec { blocks, block_ps, singles });
        PolicySpec::Vllm(VllmOptions { prompts_first: true, scheduler_steps, swap, ..VllmOptions::default() })
    });
    (plain_case(policy), 200u64..400).prop_map(|(mut case, tokens)| {
        case.blocks = tokens / u64::from(case.block_size) + case.limits.watermark_blocks;
        (case.beside, case.limits.chunked_prefill) = (0, false);
        case.limits.max_num_batched_tokens = 600;
        case.requests.iter_mut().for_each(|request| {
            (request.0, request.1, request.5) = (request.0 / 10, request.1 % 100 + 1, None);
        });
        case
    })
}

fn swaps(case: &Case) -> bool {
    matches!(&case.policy, PolicySpec::Vllm(options) if options.swap.is_some())
}

fn plain_case(policy: impl Strategy<Value = PolicySpec>) -> impl Strategy<Value = Case> {
    let limits = (16u32..600, 1u32..16, any::<bool>(), prop_oneof![Just(0u32), 8u32..200], any::<bool>(), 0u64..3).prop_map(
        |(budget, seats, chunked_prefill, long_prefill_token_threshold, reserve_full_prompt, watermark_blocks)| Limits {
            speculative_tokens: 0,
            max_num_batched_tokens: budget,
            max_num_seqs: seats,
            max_model_len: 2000,
            chunked_prefill,
            long_prefill_token_threshold: if chunked_prefill { long_prefill_token_threshold } else { 0 },
            reserve_full_prompt,
            watermark_blocks,
        },
    );
    let cost = (1_000u64..10_000_000, 0u64..200_000, 0u64..3_000, prop_oneof![Just(0u64), 100_000u64..20_000_000], 8u64..300)
        .prop_map(|(fixed_ps, sequence_ps, context_ps, host_ps, grid)| Affine { fixed_ps, sequence_ps, context_ps, host_ps, grid });
    let request = (
        prop_oneof![Just(0u32), 0u32..20, 0u32..3000],
        1u32..300,
        1u32..200,
        prop::option::of((0u32..4, 1u32..150)),
        prop_oneof![Just(0u32), 1u32..50],
        prop_oneof![3 => Just(None), 1 => (0u32..30_000).prop_map(Some)],
        0i32..3,
        prop_oneof![4 => Just(1u32), 1 => 2u32..5],
    );
    let shape = (
        prop_oneof![Just(1u32), Just(4u32), Just(16u32)],
        8u64..120,
        any::<bool>(),
        any::<bool>(),
        prop_oneof![2 => Just(0u64), 1 => 1u64..8],
    );
    let horizon = prop_oneof![4 => Just(Time::NEVER), 1 => (1u64..5_000_000_000).prop_map(Time)];
    let bunch = prop_oneof![4 => Just(None), 1 => (2u32..9).prop_map(Some)];
    (policy, any::<(bool, bool)>(), limits, cost, shape, horizon, bunch, prop::collection::vec(request, 1..40)).prop_map(
        |(policy, partial, limits, cost, (block_size, blocks, caching, overlap, beside), horizon, bunch, requests)| Case {
            policy,
            partial,
            limits,
            block_size,
            blocks: blocks * 16 / u64::from(block_size),
            caching,
            overlap,
            horizon,
            cost,
            requests,
            bunch,
            beside,
            below: None,
            lora: None,
        },
    )
}

fn requests(case: &Case) -> Vec<Request> {
    let requests = engines::requests(case.requests.iter().map(
        |&(gap_us, input_tokens, output_tokens, prefix, undeclared, patience_us, priority, samples)| engines::Draft {
            gap_us,
            input_tokens,
            output_tokens,
            prefix,
            undeclared,
            patience_us,
            ignore_eos: undeclared == 0,
            priority,
            samples,
        },
    ));
    engines::with_adapters(requests, case.lora.as_ref())
}

fn memory(case: &Case) -> Box<dyn KvCache> {
    let memory = plain_memory(case);
    match &case.below {
        Some(below) if case.caching => below.under(memory),
        _ => memory,
    }
}

fn plain_memory(case: &Case) -> Box<dyn KvCache> {
    match &case.policy {
        PolicySpec::Trtllm(options) => {
            let reuse = Reuse { blocks: case.caching, partial: case.partial.0, copy: case.partial.1, whole_context: !options.v2 };
            Box::new(BlockTree::new(case.blocks, case.block_size, reuse))
        }
        policy => {
            let memory = HashChain::new(case.blocks, case.block_size, case.caching).with_states(case.beside);
            let before_v1 = matches!(policy, PolicySpec::Vllm(options) if options.prompts_first);
            Box::new(if before_v1 { memory.merging() } else { memory })
        }
    }
}

fn run(case: &Case, fast_path: bool) -> (RunResult, u64, u64) {
    let mut core = Core::new(case.limits.clone(), memory(case));
    if let Some(lora) = &case.lora {
        core.serve_adapters(lora.clone());
    }
    let pace = Pace { overlap: case.overlap, fast_path, horizon: case.horizon };
    let cost = engines::cost_of_adapters(Box::new(case.cost.clone()), case.lora.as_ref());
    let mut replica = Replica::new(0, core, case.policy.build(), cost, pace);
    if let Some(interval) = case.bunch {
        replica.bunch(Bunches { interval, at_multiples: case.caching });
    }
    // Bounded in some steps: a run may cross the limit.
    let power = PowerModel {
        idle_mw: 80_000,
        span_mw: 400_000,
        busy_mw: 350_000,
        token_fj: 90_000_000,
        context_fj: 40_000,
        ..PowerModel::default()
    };
    let recorder = Recorder::new(Time::ZERO, None).with_power(vec![Some(power)]);
    engines::drive(replica, recorder, requests(case), case.horizon)
}

fn ends_and_conserves(case: &Case) -> Result<(), TestCaseError> {
    let (result, blocks_used, _) = run(case, true);
    prop_assert_eq!(blocks_used, 0, "blocks leaked");
    let r = &result.requests;
    prop_assert_eq!(r.len(), case.requests.len());
    for row in 0..r.len() {
        engines::ends(&result, row, case.requests[row].2, case.requests[row].7, case.caching)?;
    }
    // Every token comes out once, in a bunch or not.
    let failed = |row: usize| r.status[row] == Status::Rejected as u8 && r.scheduled_ps[row] != u64::MAX;
    prop_assert!(swaps(case) || !(0..r.len()).any(failed));
    if r.status.iter().all(|&status| status != Status::Cancelled as u8) && !(0..r.len()).any(failed) {
        let told: u64 = r.output_tokens.iter().map(|&tokens| u64::from(tokens)).sum();
        prop_assert_eq!(result.counters.iter().map(|counters| counters.output_tokens).sum::<u64>(), told);
    }
    let (never_pauses, passes_over) = match &case.policy {
        PolicySpec::Trtllm(options) => {
            (!options.v2 && options.capacity != Capacity::MaxUtilization, options.prefix_aware || case.limits.chunked_prefill)
        }
        _ => (false, false),
    };
    if never_pauses {
        prop_assert!(r.preemptions.iter().all(|&preemptions| preemptions == 0));
    }
    // Others pass those whose adapter has no place.
    if passes_over || case.lora.is_some() || case.below.as_ref().is_some_and(|below| case.caching && below.fetches()) {
        return Ok(());
    }
    if matches!(&case.policy, PolicySpec::Vllm(options) if options.priority) {
        // By priority: nobody is admitted while a more important request waits that has come before.
        for a in 0..r.len() {
            for b in 0..r.len() {
                let both = r.status[a] == 1 && r.status[b] == 1;
                let first = (case.requests[a].6, a) < (case.requests[b].6, b) && r.arrival_ps[a] < r.scheduled_ps[b];
                prop_assert!(!both || !first || r.scheduled_ps[a] <= r.scheduled_ps[b]);
            }
        }
        return Ok(());
    }
    // First come, first served: without preemption nobody is admitted before an earlier one.
    let served: Vec<u64> = (0..r.len()).filter(|&row| r.status[row] == 1).map(|row| r.scheduled_ps[row]).collect();
    prop_assert!(served.is_sorted());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_equals_single_steps_to_the_bit(case in case(vllm(), true)) {
        engines::equals_single_steps(|fast_path| run(&case, fast_path))?;
    }

    #[test]
    fn the_fast_path_equals_single_steps_under_tensorrt_llm(case in case(trtllm(), false)) {
        engines::equals_single_steps(|fast_path| run(&case, fast_path))?;
    }

    /// Of those swapped out, the whole way: tight memory, nobody gives up, room on the host.
    #[test]
    fn what_is_swapped_out_comes_back(mut case in swapping()) {
        case.horizon = Time::NEVER;
        engines::equals_single_steps(|fast_path| run(&case, fast_path))?;
        ends_and_conserves(&case)?;
        let (result, ..) = run(&case, true);
        let swap = &result.counters[0].swap;
        prop_assert!(swap.out <= result.counters[0].preemptions);
        let r = &result.requests;
        if r.status.iter().all(|&status| status == Status::Success as u8) {
            prop_assert_eq!((swap.out, swap.blocks_out), (swap.back, swap.blocks_back));
            let singles = matches!(&case.policy, PolicySpec::Vllm(options) if options.swap.is_some_and(|spec| spec.singles));
            let computed_once = (0..r.len()).all(|row| {
                r.prefilled_tokens[row] <= u64::from(r.input_tokens[row]) * u64::from(case.requests[row].7)
            });
            prop_assert!(!singles || case.overlap || computed_once);
        }
    }

    #[test]
    fn every_request_ends_and_everything_is_conserved(mut case in case(vllm(), true)) {
        case.horizon = Time::NEVER;
        ends_and_conserves(&case)?;
    }

    #[test]
    fn every_request_ends_and_everything_is_conserved_under_tensorrt_llm(mut case in case(trtllm(), false)) {
        case.horizon = Time::NEVER;
        ends_and_conserves(&case)?;
    }
}
