//! Prefill and decode pools: times worked out by hand with fixed passes (prefill 10 ms, decode 1 ms) and a known network, and what holds for
//! every request whatever happens.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::metrics::{RunResult, Status};
use llmperforacle::sim;
use proptest::prelude::*;

mod support {
    pub mod run;
}

/// Runs a document's only entry.
fn run(document: &str) -> RunResult {
    support::run::simulate(document, &sim::NoFiles).remove(0)
}

/// Llama-3.1-8B on two nodes of eight H100 with 400 Gb/s cards, one engine of eight GPUs in each pool; requests by `workload`.
fn document(kind: &str, pools: &str, config: &str, workload: &str) -> String {
    format!(
        "
simulation: {{random_seed: 3}}
hardware_profile: {{node: 8xH100-SXM, network: {{latency_us: 3}}}}
workload: {workload}
frameworks_to_test:
- name: engine
  type: {kind}
  config:
    model_profile_id: Llama-3.1-8B
    timing: {{fixed: {{prefill_ms: 10, decode_ms: 1}}}}
    async_scheduling: false
    disaggregation: {pools}
{config}
"
    )
}

const ONE_EACH: &str = "{prefill: {tensor_parallel_size: 8}, decode: {tensor_parallel_size: 8}}";

fn fixed(requests: u32, every_s: f64, input: u32, output: u32) -> String {
    format!(
        "{{total_requests_to_generate: {requests}, client_profiles: [{{profile_name: a, inter_arrival_time_dist_config: {{type: Constant, value: {every_s}}}, \
         prompt_tokens_dist_config: {{type: Constant, value: {input}}}, max_output_tokens_dist_config: {{type: Constant, value: {output}}}}}]}}"
    )
}

fn ms(ps: u64) -> f64 {
    ps as f64 / 1e9
}

/// What one transfer alone takes over the cards, ms: fixed, posting, bytes.
fn transfer_ms(latency_ms: f64, efficiency: f64, descriptors: f64, tokens: f64) -> f64 {
    let bytes_per_rank = tokens * 131_072.0 / 8.0;
    latency_ms + 0.003 + descriptors * 23e-6 + bytes_per_rank / (efficiency * 50e9) * 1e3
}

/// vLLM pulls after the prefill and computes the last prompt token again: TTFT = prefill + transfer + a decode step.
#[test]
fn vllm_pulls() {
    let run = run(&document("VLLM", ONE_EACH, "", &fixed(1, 1.0, 1600, 4)));
    let arrival = ms(run.requests.arrival_ps[0]);
    // 1601 tokens are 101 blocks of 16; 32 layers, K and V.
    let moved = transfer_ms(0.4, 0.7735, 101.0 * 64.0, 1616.0);
    let first = ms(run.requests.first_token_ps[0]) - arrival;
    assert!((first - (10.0 + moved + 1.0)).abs() < 1e-3, "{first} for {}", 11.0 + moved);
    assert!((ms(run.requests.finish_ps[0]) - arrival - (10.0 + moved + 4.0)).abs() < 1e-3);
    assert_eq!((run.requests.output_tokens[0], run.requests.prefilled_tokens[0]), (4, 1600));
    let handover = run.handovers.of(0).unwrap();
    assert_eq!(handover.bytes, 1616 * 131_072);
    assert!((handover.transfer_ms().unwrap() - moved).abs() < 1e-3);
    assert_eq!((handover.memory_wait_ms(), handover.seat_wait_ms()), (Some(0.0), Some(0.0)));
    assert_eq!(run.summary["engine"]["output_tokens"], 4);
    assert_eq!(run.summary["latency"]["inter_token_latency_ms"]["count"], 3);
}

/// SGLang reserves first, and sends the first chunk of 8192 tokens while the second is computed; the first token comes with the last KV.
#[test]
fn sglang_pushes_by_chunk() {
    let run = run(&document("SGLANG", ONE_EACH, "", &fixed(1, 1.0, 12_000, 4)));
    let arrival = ms(run.requests.arrival_ps[0]);
    // One piece a layer and part: 64 descriptors. The first chunk's transfer (about 5 ms) hides behind the second pass.
    let moved = transfer_ms(1.775, 0.8413, 64.0, 12_000.0 - 8192.0);
    let first = ms(run.requests.first_token_ps[0]) - arrival;
    assert!((first - (20.0 + moved)).abs() < 1e-3, "{first} for {}", 20.0 + moved);
    // Three more tokens of a step each.
    assert!((ms(run.requests.finish_ps[0]) - arrival - (20.0 + moved + 3.0)).abs() < 1e-3);
    let handover = run.handovers.of(0).unwrap();
    assert_eq!(handover.bytes, 12_000 * 131_072);
    assert!((handover.exposed_ms().unwrap() - moved).abs() < 1e-3);
    assert!((handover.transfer_ms().unwrap() - (10.0 + moved)).abs() < 1e-3);
    assert_eq!(run.summary["engine"]["output_tokens"], 4);
}

/// A chunk that takes longer to send than the next takes to compute is waited for: on 10 Gb/s cards two chunks go over the same link.
#[test]
fn chunks_queue_on_a_slow_link() {
    let document = document("SGLANG", ONE_EACH, "", &fixed(1, 1.0, 12_000, 4)).replace("latency_us: 3", "latency_us: 3, nic_gbps: 10");
    let run = run(&document);
    let first = ms(run.requests.first_token_ps[0]) - ms(run.requests.arrival_ps[0]);
    // All bytes from the end of the first pass on, one fixed time: the second chunk's hides behind the first chunk's bytes.
    let all = 10.0 + 1.775 + 0.003 + 64.0 * 23e-6 + 12_000.0 * 16_384.0 / (0.8413 * 1.25e9) * 1e3;
    assert!((first - all).abs() < 1e-3, "{first} for {all}");
}

/// TensorRT-LLM pulls; the token of the context server comes out when the KV has arrived. The gap to the second is one step.
#[test]
fn tensorrt_llm_pulls() {
    let run = run(&document("TRTLLM", ONE_EACH, "", &fixed(1, 1.0, 1600, 4)));
    let moved = transfer_ms(0.4, 0.7735, 51.0 * 64.0, 1632.0);
    let first = ms(run.requests.first_token_ps[0]) - ms(run.requests.arrival_ps[0]);
    assert!((first - (10.0 + moved)).abs() < 1e-3, "{first} for {}", 10.0 + moved);
    assert!((ms(run.requests.finish_ps[0] - run.requests.first_token_ps[0]) - 3.0).abs() < 1e-3);
    assert_eq!(run.summary["engine"]["output_tokens"], 4);
}

/// A first token that the prefill engine gives out comes before the transfer, and the gap to the second contains it.
#[test]
fn a_token_given_early_leaves_the_transfer_in_the_next_gap() {
    let pools = "{prefill: {tensor_parallel_size: 8}, decode: {tensor_parallel_size: 8}, transfer: {first_token: prefill}}";
    let run = run(&document("TRTLLM", pools, "", &fixed(1, 1.0, 1600, 2)));
    let first = ms(run.requests.first_token_ps[0]) - ms(run.requests.arrival_ps[0]);
    assert_eq!(first, 10.0);
    let gap = run.summary["latency"]["inter_token_latency_ms"]["max"].as_f64().unwrap();
    let moved = transfer_ms(0.4, 0.7735, 51.0 * 64.0, 1632.0);
    assert!((gap - (moved + 1.0)).abs() < 1e-3, "{gap}");
}

/// Pools of one node move KV over NVLink; ranks of two sizes: four prefill ranks feed two decode ranks.
#[test]
fn a_node_of_its_own_and_other_group_sizes() {
    let pools = "{prefill: {tensor_parallel_size: 4}, decode: {tensor_parallel_size: 2}}";
    let run = run(&document("VLLM", pools, "", &fixed(1, 1.0, 1600, 4)));
    let handover = run.handovers.of(0).unwrap();
    assert_eq!(handover.bytes, 1616 * 131_072);
    // Each decode rank takes a quarter of all KV from each of two prefill ranks: its port carries half, at 0.35 of 450 GB/s; it posts for both.
    let bytes = 1616.0 * 131_072.0 / 2.0 / (0.35 * 450e9) * 1e3;
    let posts = 2.0 * 101.0 * 64.0 * 455e-6;
    let latency = 0.4 + 4.4e-3;
    let moved = handover.transfer_ms().unwrap();
    assert!((moved - (latency + posts + bytes)).abs() < 2e-3, "{moved} for {}", latency + posts + bytes);
}

/// The decode pool holds one request at a time: the second waits for memory with its KV kept by the prefill engine.
#[test]
fn memory_is_waited_for() {
    let pools = "{prefill: {tensor_parallel_size: 8}, decode: {tensor_parallel_size: 8, num_gpu_blocks_override: 130}}";
    let run = run(&document("VLLM", pools, "    max_model_len: 2000\n    enable_prefix_caching: false", &fixed(2, 0.001, 1600, 40)));
    let second = run.handovers.of(1).unwrap();
    let first_ends = run.requests.finish_ps[0];
    assert_eq!(second.granted_ps, first_ends);
    assert!(second.memory_wait_ms().unwrap() > 20.0);
    assert_eq!(run.requests.status, [Status::Success as u8; 2]);
}

/// Twelve requests within 0.24 s for two adapters, each of 400 tokens at 1 ms. With two places all decode together, and have ended some 0.4 s after
/// the last has come. With one place in each pool those of the second adapter do not decode before the first's first reply has ended.
#[test]
fn a_decode_leg_waits_for_a_place_for_its_adapter() {
    let last_ends_ms = |places: u32| {
        let options =
            format!("    max_model_len: 2000\n    enable_prefix_caching: false\n    vllm: {{max_loras: {places}, max_cpu_loras: 2}}");
        let workload = fixed(12, 0.02, 100, 400).replacen('{', "{lora: {count: 2, rank: 16, popularity: uniform}, ", 1);
        let run = run(&document("VLLM", ONE_EACH, &options, &workload));
        assert_eq!(run.requests.status, [Status::Success as u8; 12]);
        ms(run.requests.finish_ps.iter().copied().max().unwrap_or(0))
    };
    let (one, two) = (last_ends_ms(1), last_ends_ms(2));
    assert!((640.0..720.0).contains(&two), "{two}");
    assert!(one > 820.0, "{one}");
}

/// SGLang's decode pool of 4000 tokens holds 1600 for the first, so 2400 are left, less at most 40 that it makes. The second needs 1600 and what is
/// reserved for the first: 512 (SGLang's own) and 700 are there at once, 1000 are not until the first has ended.
#[test]
fn tokens_are_reserved_for_those_that_decode() {
    let granted = |own: &str| {
        let pools = "{prefill: {tensor_parallel_size: 8}, decode: {tensor_parallel_size: 8, num_gpu_blocks_override: 4000}}";
        let run = run(&document("SGLANG", pools, &format!("    enable_prefix_caching: false\n{own}"), &fixed(2, 0.001, 1600, 40)));
        assert_eq!(run.requests.status, [Status::Success as u8; 2]);
        (run.handovers.of(1).unwrap().granted_ps, run.requests.arrival_ps[1], run.requests.finish_ps[0])
    };
    for own in ["", "    sglang: {num_reserved_decode_tokens: 700}"] {
        let (at, arrival, first_ends) = granted(own);
        assert!(at >= arrival && at < first_ends, "{own}: {at}");
    }
    let (at, _, first_ends) = granted("    sglang: {num_reserved_decode_tokens: 1000}");
    assert_eq!(at, first_ends);
}

/// What the decode engine's prefix cache holds is not moved again.
#[test]
fn cached_blocks_stay_where_they_are() {
    let workload = fixed(2, 1.0, 1600, 4).replace("profile_name: a,", "profile_name: a, shared_prefix_tokens: 1600,");
    let run = run(&document("VLLM", ONE_EACH, "", &workload));
    assert!(run.handovers.of(1).unwrap().bytes < run.handovers.of(0).unwrap().bytes / 10);
}

/// Short prompts are computed where they are decoded: nothing is handed over, and the time is an aggregated engine's.
#[test]
fn dynamo_computes_short_prompts_where_they_are_decoded() {
    let pools = "{prefill: {tensor_parallel_size: 8}, decode: {tensor_parallel_size: 8}, conditional: {max_local_prefill_ratio: 1.1}}";
    let short = run(&document("DYNAMO", pools, "", &fixed(1, 1.0, 2047, 4)));
    assert_eq!(short.handovers.records.len(), 0);
    assert_eq!(short.requests.replica, [1]);
    assert_eq!(ms(short.requests.first_token_ps[0] - short.requests.arrival_ps[0]), 10.0);
    let long = run(&document("DYNAMO", pools, "", &fixed(1, 1.0, 2048, 4)));
    assert_eq!((long.handovers.records.len(), long.requests.replica[0]), (1, 0));
    // A prompt of which nothing is cached is all of itself, more than a share of 0.7.
    let whole = run(&document("DYNAMO", &pools.replace("1.1", "0.7"), "", &fixed(1, 1.0, 2047, 4)));
    assert_eq!(whole.handovers.records.len(), 1);
}

/// Two prompts 1 ms apart: the first is at the prefill engine when the second arrives.
#[test]
fn dynamo_computes_prompts_itself_while_prefill_is_busy() {
    let pools = "{prefill: {tensor_parallel_size: 8}, decode: {tensor_parallel_size: 8}, conditional: {policy: prefill_load}}";
    let run = run(&document("DYNAMO", pools, "", &fixed(2, 0.001, 3000, 4)));
    assert_eq!(run.requests.replica, [0, 1]);
    assert_eq!(run.handovers.records.len(), 1);
}

/// What pools cannot do is an error that names its place.
#[test]
fn what_pools_cannot_do_is_refused() {
    let refused = |document: &str, place: &str| {
        let read = llmperforacle::config::read(document, "test.yaml");
        let errors = match read.document {
            Some(parsed) => sim::plan(&parsed, &sim::NoFiles).err().unwrap_or_else(|| panic!("accepted: {document}")),
            None => read.diagnostics,
        };
        assert!(errors.iter().any(|error| error.path.contains(place) && !error.hint.is_empty()), "{errors:?}");
    };
    let of = |kind: &str, more: &str, config: &str| {
        let pools = format!("{{prefill: {{tensor_parallel_size: 8}}, decode: {{tensor_parallel_size: 8}}{more}}}");
        document(kind, &pools, config, &fixed(1, 1.0, 100, 4))
    };
    let right = of("VLLM", "", "");
    refused(&of("VLLM", ", conditional: {}", ""), "disaggregation.conditional");
    refused(&of("SGLANG", ", transfer: {first_token: decode}", ""), "transfer.first_token");
    refused(&right.replace("random_seed: 3", "random_seed: 3, comparison: shared"), "disaggregation");
    refused(&right.replace("  type: VLLM", "  type: VLLM\n  replicas: 2"), "replicas");
    refused(&right.replace("network:", "nodes: 1, network:"), "disaggregation");
    refused(&right.replace("total_requests_to_generate: 1", "total_requests_to_generate: 1, n: 2"), "disaggregation");
    refused(&of("VLLM", "", "    pipeline_parallel_size: 2").replace("size: 8", "size: 4"), "disaggregation");
    refused(&right.replace("decode: {", "decode: {device: nothing, "), "decode.device");
}

/// Random fleets: lengths, pools, memory, engines, orders, clients that give up, an end in the middle.
fn fleet() -> impl Strategy<Value = String> {
    let engine = prop_oneof![Just("VLLM"), Just("SGLANG"), Just("TRTLLM"), Just("DYNAMO")];
    let order = prop_oneof![Just("push"), Just("pull")];
    let first = prop_oneof![Just("prefill"), Just("seat"), Just("decode")];
    let conditional = prop_oneof![
        Just(""),
        Just("conditional: {policy: isl_or_load, max_local_prefill_length: 300, busy_requests: 3}, "),
        Just("conditional: {policy: prefill_load}, ")
    ];
    let sizes = (1_u32..4, 1_u32..4, 60_u64..400, 60_u64..400, 1_u32..3, 1_u32..3);
    let load = (1_u32..40, 0.0_f64..0.02, 1_u32..900, 1_u32..60, prop::option::of(0.005_f64..0.3), prop::option::of(0.01_f64..0.3));
    let engine_options = (any::<bool>(), any::<bool>(), 0_u64..1000, prop::option::of(1_u32..4));
    (engine, order, first, conditional, sizes, load, engine_options).prop_map(
        |(engine, order, first, conditional, sizes, load, options)| {
            let (prefills, decodes, prefill_blocks, decode_blocks, prefill_tp, decode_tp) = sizes;
            let (requests, gap_s, input, output, gives_up, ends) = load;
            let (overlap, own_limit, seed, adapters) = options;
            // Three adapters and fewer places.
            let adapters = adapters.filter(|_| matches!(engine, "VLLM" | "DYNAMO"));
            let lora = if adapters.is_some() { "lora: {count: 3, rank: 16}, " } else { "" };
            let places = adapters.map_or(String::new(), |places| format!("vllm: {{max_loras: {places}, max_cpu_loras: 3}}"));
            let conditional = if engine == "DYNAMO" { conditional } else { "" };
            // SGLang counts pages of one token.
            let (prefill_blocks, decode_blocks) =
                if engine == "SGLANG" { (prefill_blocks * 16 + 600, decode_blocks * 16 + 600) } else { (prefill_blocks, decode_blocks) };
            let cancel = gives_up.map_or(String::new(), |after| format!("client_timeout_s: {after}, "));
            let end = ends.map_or(String::new(), |end| format!(", max_simulation_time: {end}"));
            let seats = if own_limit { "max_num_seqs: 3, " } else { "" };
            format!(
                "
simulation: {{random_seed: {seed}{end}}}
hardware_profile: {{node: 8xH100-SXM, network: {{nic_gbps: 20}}}}
workload: {{total_requests_to_generate: {requests}, {lora}{cancel}client_profiles: [{{profile_name: a, shared_prefix_tokens: 64, \
             inter_arrival_time_dist_config: {{type: Exponential, rate: {rate}}}, \
             prompt_tokens_dist_config: {{type: Uniform, low: 65, high: {high}}}, \
             max_output_tokens_dist_config: {{type: Uniform, low: 1, high: {longest}}}}}]}}
frameworks_to_test:
- name: engine
  type: {engine}
  config:
    model_profile_id: Llama-3.1-8B
    timing: {{fixed: {{prefill_ms: 10, decode_ms: 1}}}}
    async_scheduling: {overlap}
    max_model_len: 900
    {places}
    disaggregation:
      {{prefill: {{replicas: {prefills}, tensor_parallel_size: {prefill_tp}, num_gpu_blocks_override: {prefill_blocks}}}, {conditional}\
             decode: {{replicas: {decodes}, tensor_parallel_size: {decode_tp}, {seats}num_gpu_blocks_override: {decode_blocks}}}, \
             transfer: {{order: {order}, first_token: {first}, separate_nodes: {overlap}}}}}
",
                rate = 1.0 / gap_s.max(0.001),
                high = 65 + input,
                longest = output + 1,
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 6000, ..ProptestConfig::default() })]

    /// Tokens and blocks are conserved; every request ends or is told as unfinished; jumps change nothing.
    #[test]
    fn nothing_is_lost_between_the_pools(document in fleet()) {
        let read = llmperforacle::config::read(&document, "test.yaml");
        let Some(parsed) = read.document else { panic!("{document} {:?}", read.diagnostics) };
        let Ok(plan) = sim::plan(&parsed, &sim::NoFiles) else { return Err(TestCaseError::reject("a document that cannot be run")) };
        let mut plan = plan.runs[0].clone();
        let serve = |plan: &sim::RunPlan| {
            let mut simulation = sim::Simulation::new(plan).unwrap();
            while !simulation.advance(1000).done {}
            let held = simulation.kv_blocks_used();
            (held, simulation.finish())
        };
        let (held, run) = serve(&plan);
        let requests = &run.requests;
        let of = |status: Status| requests.status.iter().filter(|found| **found == status as u8).count();
        let (good, lost) = (of(Status::Success), of(Status::Unfinished));
        prop_assert_eq!(good + lost + of(Status::Cancelled) + of(Status::Rejected), requests.len());
        if !document.contains("max_simulation_time") {
            prop_assert_eq!(lost, 0, "{}", document);
            prop_assert_eq!(held, 0, "blocks are still held at the end: {}", document);
        }
        let mut out = 0;
        for row in 0..requests.len() {
            out += u64::from(requests.output_tokens[row]);
            if requests.status[row] == Status::Success as u8 {
                prop_assert_eq!(requests.output_tokens[row], requests.max_tokens[row]);
                prop_assert!(requests.prefilled_tokens[row] + u64::from(requests.cached_tokens[row]) >= u64::from(requests.input_tokens[row]));
                prop_assert!(requests.arrival_ps[row] < requests.first_token_ps[row]);
                prop_assert!(requests.first_token_ps[row] <= requests.finish_ps[row]);
                if let Some(handover) = run.handovers.of(requests.id[row]) {
                    prop_assert!(handover.prefilled_ps <= handover.arrived_ps && handover.granted_ps <= handover.arrived_ps);
                    prop_assert!(handover.arrived_ps <= handover.seated_ps && handover.seated_ps < requests.finish_ps[row]);
                }
            }
        }
        // Every token of every request came out of a step, once: those of steps, but for tokens that cancelled clients never saw.
        let counted: u64 = run.counters.iter().map(|counters| counters.output_tokens).sum();
        prop_assert!(counted >= out || lost > 0, "{counted} tokens of steps for {out}: {document}");
        if of(Status::Cancelled) + lost == 0 {
            prop_assert_eq!(counted, out, "{}", document);
        }
        plan.fast_path = false;
        let (_, singly) = serve(&plan);
        prop_assert_eq!(&run.requests, &singly.requests, "{}", document);
        prop_assert_eq!(&run.handovers, &singly.handovers);
        prop_assert_eq!(&run.counters, &singly.counters);
        prop_assert_eq!(&run.inter_token, &singly.inter_token);
    }
}
