//! The same scheduler, step times and load as another simulator give the same means: AISimulate 0.13.0 (the engine of Dynamo's mocker) with
//! its polynomial step times, where a mixed step takes the sum of both. Its results are no measurements of GPUs. No prompt is shared, so
//! the ways in which it differs from the frameworks' prefix caches do not show.
//!
//! Under KV pressure it deviates from SGLang (no `batch_is_full` latch, no weight of `ignore_eos`) and from vLLM (generated tokens that are
//! computed again cost one decode pass). Each deviation is turned on here, and then the two agree. In pages of many tokens two more of its
//! ways with SGLang's memory show: `support/sglang_reference.rs` tells them, and gives the results of both to the last digits.
//!
//! `fixtures/parity/aisimulate.csv` has 216 cases, run with `aisimulate predict` of the Python package 0.13.0.dev on synthetic requests of one
//! length, a closed loop or a constant rate, and polynomial step times; columns are its configuration and the three means that it reported.

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
#[path = "support/sglang_reference.rs"]
mod sglang_reference;

use sglang_reference::{Load, Rules};

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

/// `requests` requests of `input`/`output` tokens by `clients` clients, on a vLLM engine with `blocks` blocks of `block` tokens.
fn closed_loop(
    (clients, requests): (u32, u32),
    (input, output): (u32, u32),
    (blocks, block): (u64, u32),
    cost: Box<dyn CostModel>,
) -> [f64; 3] {
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
    let core = Core::new(limits, Box::new(HashChain::new(blocks, block, true)));
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
    let run = |cost| closed_loop((256, 1024), (1024, 1024), (2048, 64), cost);
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
    let run = |cost| closed_loop((128, 512), (300, 900), (1024, 64), cost);
    assert!(apart(run(Box::new(PromptOnly { timing, prompt: 300 })), published) < 0.002);
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
/// TTFT is 2.5 % and mean TPOT 1.4 % apart, for what `in_pages_two_ways_with_memory_tell_the_rest` shows.
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
    assert!(apart(ours, theirs) > 0.02, "{ours:?}");
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

/// A case of the fixture.
struct Case {
    engine: String,
    input: u32,
    output: u32,
    clients: Option<u32>,
    rate: Option<f64>,
    requests: u32,
    block: u32,
    blocks: u32,
    seats: u32,
    budget: u32,
    theirs: [f64; 3],
}

impl Case {
    fn all(engine: &str) -> Vec<Case> {
        let lines = include_str!("fixtures/parity/aisimulate.csv").lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        let number = |field: &str| field.parse().expect("a number");
        let count = |field: &str| field.parse().expect("a count");
        lines
            .filter(|fields| fields[0] == engine)
            .map(|fields| Case {
                engine: fields[0].into(),
                input: count(fields[1]),
                output: count(fields[2]),
                clients: fields[3].parse().ok(),
                rate: fields[4].parse().ok(),
                requests: count(fields[5]),
                block: count(fields[6]),
                blocks: count(fields[7]),
                seats: count(fields[8]),
                budget: count(fields[9]),
                theirs: [number(fields[10]), number(fields[11]), number(fields[12])],
            })
            .collect()
    }

    fn pool(&self) -> u64 {
        u64::from(self.block) * u64::from(self.blocks)
    }

    /// Not all clients' requests fit into memory at their full length.
    fn is_under_pressure(&self) -> bool {
        let at_once = self.clients.unwrap_or(0).min(self.seats);
        u64::from(at_once) * u64::from(self.input + self.output) > self.pool()
    }

    /// The entry of a document: memory that the other simulator does not lose to vLLM's null block, no latch where memory is short, and
    /// SGLang's chunk as it is always there.
    fn entry(&self) -> String {
        let Case { block, blocks, seats, budget, .. } = self;
        let common = |budget: u32, blocks: u32| {
            format!(
                "
  config:
    max_num_batched_tokens: {budget}
    max_num_seqs: {seats}
    block_size: {block}
    num_gpu_blocks_override: {blocks}
    async_scheduling: false"
            )
        };
        match self.engine.as_str() {
            "vllm" => format!("VLLM{}", common(*budget, blocks + 1)),
            "sglang" => format!("SGLANG{}\n    sglang: {{batch_is_full_latch: {}}}", common(8192, *blocks), !self.is_under_pressure()),
            _ => format!(
                "TRTLLM
  config:
    enable_chunked_prefill: true
    block_size: {block}
    num_gpu_blocks_override: {blocks}
    trtllm: {{max_batch_size: {seats}, max_num_tokens: {budget}, disable_overlap_scheduler: true}}"
            ),
        }
    }

    fn ours(&self) -> [f64; 3] {
        let load = match (self.clients, self.rate) {
            (Some(clients), _) => format!("concurrency: {clients}\n  ignore_eos: {}", !self.is_under_pressure()),
            (None, rate) => {
                format!("inter_arrival_time_dist_config: {{type: Constant, value: {}}}", 1.0 / rate.expect("a rate"))
            }
        };
        simulate_prompts(&self.entry(), self.requests, &load, self.input, self.output)
    }

    fn told(&self) -> String {
        let load = self.clients.map_or_else(|| format!("{}/s", self.rate.unwrap_or_default()), |clients| format!("{clients} clients"));
        let Case { engine, input, output, block, seats, budget, .. } = self;
        format!("{engine} {input}/{output}, {load}, blocks of {block}, {seats} seats, {budget} tokens a step")
    }
}

/// The largest relative distance of the three.
fn apart(ours: [f64; 3], theirs: [f64; 3]) -> f64 {
    ours.into_iter().zip(theirs).map(|(ours, theirs)| (ours / theirs - 1.0).abs()).fold(0.0, f64::max)
}

/// Every case that is further from the other simulator than `most`, told.
fn too_far(cases: &[Case], most: f64, ours: impl Fn(&Case) -> [f64; 3]) -> Vec<String> {
    let far = |case: &Case| {
        let ours = ours(case);
        (apart(ours, case.theirs) > most).then(|| format!("{}: {ours:?} against {:?}", case.told(), case.theirs))
    };
    cases.iter().filter_map(far).collect()
}

const NONE: Vec<String> = Vec::new();

/// Prompts of 32 to 20,000 tokens, replies of 32 to 2048, 1 to 200 clients or 1 to 40 requests a second, 16 to 256 seats, 512 to 16,384 tokens
/// a step.
#[test]
fn vllm_agrees_wherever_memory_is_enough() {
    let cases: Vec<Case> = Case::all("vllm").into_iter().filter(|case| !case.is_under_pressure()).collect();
    assert!(cases.len() > 50);
    assert_eq!(too_far(&cases, 0.01, Case::ours), NONE);
}

/// SGLang by its own rules: latch and weight do nothing here.
#[test]
fn sglang_agrees_wherever_memory_is_enough() {
    let cases: Vec<Case> = Case::all("sglang").into_iter().filter(|case| !case.is_under_pressure()).collect();
    assert!(cases.len() > 50);
    assert_eq!(too_far(&cases, 0.01, Case::ours), NONE);
}

/// The other simulator's TensorRT-LLM cuts prompts wherever the budget ends, as vLLM does. TensorRT-LLM cuts at whole blocks, which tells where
/// the budget is small beside a prompt: 8 % in the mean TTFT at 512 tokens a step. In blocks of one token the difference is gone.
#[test]
fn tensorrt_llm_agrees_but_for_where_it_cuts_prompts() {
    let (cut, cases): (Vec<Case>, Vec<Case>) = Case::all("trtllm").into_iter().partition(|case| case.budget < 4096);
    assert!(cases.len() > 50 && cut.len() == 6);
    assert_eq!(too_far(&cases, 0.01, Case::ours), NONE);
    assert!(too_far(&cut, 0.01, Case::ours).len() >= 3);
    let by_the_token: Vec<Case> = cut.into_iter().map(|case| Case { blocks: case.block * case.blocks, block: 1, ..case }).collect();
    assert_eq!(too_far(&by_the_token, 0.01, Case::ours), NONE);
}

/// By vLLM's own rule the mean TTFT is up to 3.6 % later, since what is computed again is paid for; with the other simulator's charge the two agree.
#[test]
fn undercharged_recomputation_explains_every_case_of_vllm() {
    let cases: Vec<Case> = Case::all("vllm").into_iter().filter(Case::is_under_pressure).collect();
    assert!(cases.len() > 20);
    assert_eq!(too_far(&cases, 0.036, Case::ours), NONE);
    let with_its_charge = |case: &Case| {
        let timing = PolynomialTiming { kv_pool_tokens: case.pool() };
        let cost = Box::new(PromptOnly { timing, prompt: case.input });
        let clients = case.clients.expect("a closed loop");
        closed_loop((clients, case.requests), (case.input, case.output), (u64::from(case.blocks), case.block), cost)
    };
    assert_eq!(too_far(&cases, 0.001, with_its_charge), NONE);
}

/// The reference by the other simulator's rules gives its published means, and by SGLang's rules gives ours. They part in the page that SGLang
/// keeps free for each request it admits, in the slot of the newest token, which the other simulator takes a step before SGLang does (so that
/// requests whose lengths are multiples of a page run out of memory a step earlier), and in what an admission counts. In pages of one token
/// all of it makes 0.3 %, in pages of 64 up to 2.5 %: who is retracted, and when, hangs on single pages.
#[test]
fn in_pages_two_ways_with_memory_tell_the_rest() {
    let cases: Vec<Case> = Case::all("sglang").into_iter().filter(Case::is_under_pressure).collect();
    assert!(cases.len() > 15);
    let reference = |rules: Rules| {
        move |case: &Case| {
            let load = Load {
                input: u64::from(case.input),
                output: u64::from(case.output),
                clients: case.clients.expect("a closed loop") as usize,
                requests: case.requests as usize,
                page: u64::from(case.block),
                pages: u64::from(case.blocks),
                seats: case.seats as usize,
            };
            sglang_reference::simulate(load, rules)
        }
    };
    let sglang = Rules { spare_page: true, slot_a_step_later: true, own_admission: true };
    assert_eq!(too_far(&cases, 1e-4, reference(Rules::default())), NONE);
    for case in &cases {
        let (ours, expected) = (case.ours(), reference(sglang)(case));
        assert!(apart(ours, expected) < 1e-5, "{}: {ours:?} against {expected:?}", case.told());
    }
    assert_eq!(too_far(&cases, 0.035, Case::ours), NONE);
    let small: Vec<Case> = cases.into_iter().filter(|case| case.block == 1).collect();
    assert_eq!(too_far(&small, 0.01, Case::ours), NONE);
}
