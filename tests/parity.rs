//! The same scheduler, step times and load as another simulator give the same means: AISimulate 0.13.0 (the engine of Dynamo's mocker) with
//! its polynomial step times, where a mixed step takes the sum of both. Its results are no measurements of GPUs. No prompt is shared, so
//! the ways in which it differs from the frameworks' prefix caches do not show.
//!
//! Under KV pressure it deviates from SGLang (no `batch_is_full` latch, no weight of `ignore_eos`) and from vLLM (generated tokens that are
//! computed again cost one decode pass). Each deviation is turned on here, and then the two agree.

use llmperforacle::cost::{CostModel, DecodeCost, PolynomialTiming, Prefill, StepCost};
use llmperforacle::engine::policies::vllm::Vllm;
use llmperforacle::engine::testing::Log;
use llmperforacle::engine::{Core, Limits, Pace, Replica};
use llmperforacle::kv::HashChain;
use llmperforacle::sim::NoFiles;
use llmperforacle::units::Time;
use llmperforacle::workload::{Request, Segment, SegmentId};

#[path = "support/run.rs"]
mod run;

/// 16,384 blocks of 64 tokens, and the null block, which the other simulator does not have.
const VLLM: &str = "VLLM
  config:
    max_num_batched_tokens: 8192
    max_num_seqs: 256
    block_size: 64
    num_gpu_blocks_override: 16385
    async_scheduling: false";

/// The same pool in pages of one token.
const SGLANG: &str = "SGLANG
  config:
    max_num_batched_tokens: 8192
    max_num_seqs: 256
    block_size: 1
    num_gpu_blocks_override: 1048576
    async_scheduling: false";

/// In its blocks of 32 tokens, and with chunked contexts, as the other simulator has it.
fn trtllm(blocks: u64) -> String {
    format!(
        "TRTLLM
  config:
    enable_chunked_prefill: true
    num_gpu_blocks_override: {blocks}
    trtllm: {{max_batch_size: 256, max_num_tokens: 8192, disable_overlap_scheduler: true}}"
    )
}

/// Every 1/15 s.
const CONSTANT_RATE: &str = "inter_arrival_time_dist_config: {type: Constant, value: 0.06666666666666667}";

/// The mean TTFT and TPOT, ms, and the output throughput, tokens/s, for prompts of 1024 tokens. `load` is a number of clients or a key
/// of the client's profile.
fn simulate(engine: &str, requests: u32, load: &str, output: u32) -> [f64; 3] {
    simulate_prompts(engine, requests, load, 1024, output)
}

/// The same for prompts of `input` tokens.
fn simulate_prompts(engine: &str, requests: u32, load: &str, input: u32, output: u32) -> [f64; 3] {
    let (closed, open) = if load.starts_with("inter") { ("", load) } else { (load, "") };
    let text = format!(
        "
simulation: {{random_seed: 1}}
hardware_profile: {{node: 8xH200-SXM}}
workload:
  total_requests_to_generate: {requests}
  {closed}
  client_profiles:
  - profile_name: synthetic
    {open}
    prompt_tokens_dist_config: {{type: Constant, value: {input}, is_int: true}}
    max_output_tokens_dist_config: {{type: Constant, value: {output}, is_int: true}}
frameworks_to_test:
- name: engine
  type: {engine}
    model_profile_id: Qwen3-32B
    tensor_parallel_size: 4
    timing: {{polynomial: {{}}}}
"
    );
    let summary = run::simulate(&text, &NoFiles).remove(0).summary;
    let keys = ["/latency/time_to_first_token_ms/mean", "/latency/time_per_output_token_ms/mean", "/throughput/output_tokens_per_second"];
    keys.map(|key| summary.pointer(key).and_then(serde_json::Value::as_f64).expect(key))
}

fn agree(ours: [f64; 3], theirs: [f64; 3]) {
    for (what, (ours, theirs)) in ["TTFT", "TPOT", "throughput"].iter().zip(ours.into_iter().zip(theirs)) {
        let error = ours / theirs - 1.0;
        assert!(error.abs() <= 0.01, "{what}: {ours} against {theirs}, {:.2} %", 100.0 * error);
    }
}

/// Its `poly_dense_vllm`: 64 clients, 4096 requests.
#[test]
fn a_closed_loop_agrees() {
    agree(simulate(VLLM, 4096, "concurrency: 64", 128), [166.448_676_556, 18.618_235_032, 3_236.033_747_871]);
}

/// Its `poly_rate_vllm`: 15 requests a second at even distances, 2048 requests.
#[test]
fn a_constant_rate_agrees() {
    agree(simulate(VLLM, 2048, CONSTANT_RATE, 128), [43.323_432_683, 13.889_796_159, 1_908.762_840_623]);
}

/// Its `poly_dense_sglang`.
#[test]
fn sglang_agrees_in_a_closed_loop() {
    agree(simulate(SGLANG, 4096, "concurrency: 64", 128), [761.116_131, 13.874_218_346, 3_246.745_704_878]);
}

/// Its `poly_rate_sglang`.
#[test]
fn sglang_agrees_at_a_constant_rate() {
    agree(simulate(SGLANG, 2048, CONSTANT_RATE, 128), [36.093_074_671, 13.821_881_452, 1_908.842_695_381]);
}

/// Its `poly_dense_trtllm`.
#[test]
fn tensorrt_llm_agrees_in_a_closed_loop() {
    agree(simulate(&trtllm(32_768), 4096, "concurrency: 64", 128), [166.448_676_556, 18.618_235_032, 3_236.033_747_871]);
}

/// Its `poly_rate_trtllm`.
#[test]
fn tensorrt_llm_agrees_at_a_constant_rate() {
    agree(simulate(&trtllm(32_768), 2048, CONSTANT_RATE, 128), [43.323_432_683, 13.889_796_159, 1_908.762_840_623]);
}

/// 256 clients, 1024/1024 tokens, room for 64 requests: admission by reservation decides. How many requests it ran was not kept; 1,024
/// follows from the mean TTFT, which grows with them, so that TPOT and throughput are the check here.
#[test]
fn tensorrt_llm_agrees_under_kv_pressure() {
    agree(simulate(&trtllm(4096), 1024, "concurrency: 256", 1024), [87_835.0, 32.4, 1966.0]);
}

/// 256 clients, 1024/1024 tokens, room for 64 requests that have ended: its `kv pressure` case (1,024 requests).
const PRESSURE: [f64; 3] = [61_148.0, 44.0, 2211.0];

/// vLLM's own rule is within 1 %: what is computed again takes 0.7 % longer.
#[test]
fn vllm_agrees_under_kv_pressure() {
    let engine = VLLM.replace("16385", "2049");
    agree(simulate(&engine, 1024, "concurrency: 256", 1024), PRESSURE);
}

/// The other simulator's charge for what is computed again after a preemption: prompt tokens as a prefill, generated ones as one decode.
struct PromptOnly {
    timing: PolynomialTiming,
    prompt: u32,
}

impl CostModel for PromptOnly {
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost {
        self.timing.decode(sequences, context)
    }

    fn mixed(&mut self, prefills: &[Prefill], mut sequences: u32, mut context: u64) -> StepCost {
        let mut charged = Vec::new();
        for piece in prefills {
            let reach = piece.past_tokens + piece.new_tokens;
            let tokens = reach.min(self.prompt) - piece.past_tokens.min(self.prompt);
            if tokens > 0 {
                charged.push(Prefill { new_tokens: tokens, ..*piece });
            }
            if piece.completes && reach > self.prompt {
                sequences += 1;
                context += u64::from(reach);
            }
        }
        if charged.is_empty() {
            self.timing.decode(sequences, context).at(context)
        } else {
            self.timing.mixed(&charged, sequences, context)
        }
    }
}

/// `requests` requests of `input`/`output` tokens by `clients` clients, on a vLLM engine with `blocks` blocks of 64 tokens.
fn closed_loop((clients, requests): (u32, u32), (input, output): (u32, u32), blocks: u64, cost: Box<dyn CostModel>) -> [f64; 3] {
    let limits = Limits {
        max_num_batched_tokens: 8192,
        max_num_seqs: 256,
        max_model_len: 131_072,
        chunked_prefill: true,
        long_prefill_token_threshold: 0,
        reserve_full_prompt: true,
        watermark_blocks: 0,
        speculative_tokens: 0,
    };
    let core = Core::new(limits, Box::new(HashChain::new(blocks, 64, true)));
    let pace = Pace { overlap: false, fast_path: true, horizon: Time::NEVER };
    let mut replica = Replica::new(0, core, Box::new(Vllm::default()), cost, pace);
    let mut arrivals = Vec::new();
    let (mut log, mut ended, mut now) = (Log::default(), Vec::new(), Time::ZERO);
    let mut due = clients;
    loop {
        for _ in 0..due.min(requests - arrivals.len() as u32) {
            let id = arrivals.len() as u32;
            arrivals.push(now);
            let request =
                Request { segments: [Segment { id: SegmentId(id), tokens: input }].into(), ..Request::new(id, now, input, output) };
            assert!(!replica.arrive(request, &mut log), "turned away");
        }
        if replica.next_event() == Time::NEVER {
            break;
        }
        now = replica.next_event();
        ended.clear();
        replica.process(Time::NEVER, &mut log, &mut ended);
        due = ended.len() as u32;
    }
    let count = f64::from(requests);
    let times = |id: usize| log.outcomes[id].first_token.zip(log.outcomes[id].finish).expect("it ended");
    let ttft: f64 = (0..arrivals.len()).map(|id| times(id).0.as_ms() - arrivals[id].as_ms()).sum();
    let tpot: f64 = (0..arrivals.len()).map(|id| (times(id).1.as_ms() - times(id).0.as_ms()) / f64::from(output - 1)).sum();
    [ttft / count, tpot / count, f64::from(output) * count / now.as_ms() * 1000.0]
}

/// With generated tokens computed again for the price of a decode, the rest of the difference goes too.
#[test]
fn undercharged_recomputation_explains_vllm_under_kv_pressure() {
    let timing = PolynomialTiming { kv_pool_tokens: 131_072 };
    let run = |cost| closed_loop((256, 1024), (1024, 1024), 2048, cost);
    let (ours, theirs) = (run(Box::new(timing)), run(Box::new(PromptOnly { timing, prompt: 1024 })));
    for ((ours, theirs), published) in ours.into_iter().zip(theirs).zip(PRESSURE) {
        assert!((theirs / published - 1.0).abs() < 0.001, "{theirs} against {published}");
        assert!((ours / published - 1.0).abs() > 2.0 * (theirs / published - 1.0).abs(), "{ours} {theirs} {published}");
    }
}

/// The same at short prompts and long replies, where most of what is lost was generated: 300/900 tokens, 128 clients, 512 requests, 1024
/// blocks of 64. vLLM's own rule takes 2.3 % longer to the first token than the other simulator says, all but 1 % of it for that charge.
#[test]
fn undercharged_recomputation_explains_short_prompts_too() {
    let published = [5_326.240_812, 45.981_038_959, 2_251.474_264_843];
    let timing = PolynomialTiming { kv_pool_tokens: 65_536 };
    let run = |cost| closed_loop((128, 512), (300, 900), 1024, cost);
    agree(run(Box::new(PromptOnly { timing, prompt: 300 })), published);
    let ours = run(Box::new(timing));
    assert!((1.015..1.03).contains(&(ours[0] / published[0])) && (1.005..1.015).contains(&(ours[1] / published[1])), "{ours:?}");
}

/// Two more cases of it, run with aisimulate-core 0.13.0: 512/1024 tokens, 128 clients, 512 requests, room for 1024 blocks of 64; and
/// 2000/500, 64 clients, 300 requests, room for 4096 blocks of 16. More is computed again in the first, 0.9 % in the mean TTFT.
#[test]
fn vllm_agrees_under_kv_pressure_at_other_lengths() {
    let small = VLLM.replace("16385", "1025");
    agree(simulate_prompts(&small, 512, "concurrency: 128", 512, 1024), [22_241.333, 46.519_648, 1_691.770_928]);
    let long = VLLM.replace("16385", "4097").replace("block_size: 64", "block_size: 16");
    agree(simulate_prompts(&long, 300, "concurrency: 64", 2000, 500), [19_639.089_920, 38.166_584, 758.957_827]);
}

/// The same loads for SGLang, with the two deviations and 65,536 pages of one token.
#[test]
fn sglang_agrees_under_kv_pressure_at_other_lengths() {
    let engine = SGLANG.replace("1048576", "65536\n    sglang: {batch_is_full_latch: false}");
    let load = |clients| format!("concurrency: {clients}\n  ignore_eos: false");
    agree(simulate_prompts(&engine, 512, &load(128), 512, 1024), [35_842.350_267, 40.103_295, 1_548.276_170]);
    agree(simulate_prompts(&engine, 300, &load(64), 2000, 500), [22_097.909_945, 35.760_366, 734.639_251]);
}

/// And in pages of 64 tokens, without the latch and the weight: 1024/1024 and 2000/500 agree. At 512/1024, where three times as many run, mean
/// TTFT is 2.5 % and mean TPOT 1.4 % apart: half of that is the page that SGLang keeps free for each request it admits, and which the other
/// simulator does not; the rest is not explained.
#[test]
fn sglang_agrees_under_kv_pressure_in_pages_but_for_many_short_requests() {
    let engine = |pages: u32| {
        let own = format!("{pages}\n    sglang: {{batch_is_full_latch: false}}");
        SGLANG.replace("block_size: 1\n", "block_size: 64\n").replace("1048576", &own)
    };
    let load = |clients| format!("concurrency: {clients}\n  ignore_eos: false");
    agree(simulate_prompts(&engine(2048), 1024, &load(256), 1024, 1024), [70_178.595_238, 43.331_445, 2_066.706_617]);
    agree(simulate_prompts(&engine(1024), 300, &load(64), 2000, 500), [23_215.647_894, 35.740_113, 717.224_208]);
    let theirs = [36_841.554_518, 39.922_243_917, 1_524.153_270];
    let ours = simulate_prompts(&engine(1024), 512, &load(128), 512, 1024);
    let apart: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| (ours / theirs - 1.0).abs()).collect();
    assert!(apart[0] < 0.03 && apart[1] < 0.015 && apart[2] < 0.01, "{apart:?}");
}

/// Without the latch and without the weight of `ignore_eos`, SGLang's case of the same load agrees too.
#[test]
fn sglang_agrees_under_kv_pressure_with_two_deviations() {
    let engine = SGLANG.replace("1048576", "131072\n    sglang: {batch_is_full_latch: false}");
    let load = "concurrency: 256\n  ignore_eos: false";
    agree(simulate(&engine, 1024, load, 1024), [68_974.0, 44.1, 2076.0]);
    // With its own rules SGLang keeps the declared output free and retracts nobody: fewer run, and each of them faster.
    let [ttft, tpot, throughput] = simulate(&SGLANG.replace("1048576", "131072"), 1024, "concurrency: 256", 1024);
    assert!(ttft > 80_000.0 && tpot < 33.0 && throughput < 2000.0, "{ttft} {tpot} {throughput}");
}
