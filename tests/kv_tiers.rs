//! Tiers below the GPU: times of load-back, write-back and prefetch worked out by hand, each engine by its own rule, and documents that ask
//! for them.
//!
//! A prefill pass takes 10 ms, a decode pass 1 ms. Reading a chunk of 16 tokens from host memory takes 0.25 ms, writing one as long.

use llmperforacle::config;
use llmperforacle::engine::policies::sglang::{Sglang, SglangOptions};
use llmperforacle::engine::policies::trtllm::{Trtllm, TrtllmOptions};
use llmperforacle::engine::policies::vllm::Vllm;
use llmperforacle::engine::testing::Lab;
use llmperforacle::engine::{Found, Policy};
use llmperforacle::kv::tiers::{Patience, Prefetch, Rate};
use llmperforacle::kv::{BlockTree, HashChain, KvCache, LoadBack, RadixCache, Reuse, Tier, Tiered, Tiers, WritePolicy};
use llmperforacle::metrics::{RunResult, occupancy};
use llmperforacle::sim::NoFiles;
use llmperforacle::units::Time;
use llmperforacle::workload::{Segment, SegmentId};

#[path = "support/run.rs"]
mod run;

fn tier(kind: usize, chunks: u64, chunk_ms: f64, policy: WritePolicy) -> Tier {
    let rate = Rate { chunk_ps: Time::from_ms(chunk_ms).0, latency: Time::ZERO };
    Tier { kind, chunks, read: rate, write: rate, policy }
}

fn tiers(chunk_tokens: u32, tiers: Vec<Tier>, load: LoadBack) -> Tiers {
    Tiers { chunk_tokens, tiers, load, exclusive: false, promotes: true, prefetch: None }
}

/// Prompts of 1024 tokens with replies of 2: contents, and when.
fn lab(policy: Box<dyn Policy>, memory: Box<dyn KvCache>, tiers: Tiers, arrivals: &[(f64, u32)]) -> Lab {
    let mut lab = Lab::new(policy, 0).memory(Box::new(Tiered::new(memory, tiers)));
    for &(at_ms, contents) in arrivals {
        lab.arrive_with(at_ms, 1024, 2, &[Segment { id: SegmentId(contents), tokens: 1024 }]);
    }
    lab
}

fn first_tokens(lab: Lab) -> Vec<f64> {
    lab.run().iter().map(|(first, _)| *first).collect()
}

/// vLLM, 80 blocks of 16. The second prompt takes the 16 blank blocks and 49 of the first one's, its last ones. When the first comes again, 15
/// blocks are on the GPU, and of the 63 that may be found 48 come from the host: 12 ms, which the request waits outside of the batch.
#[test]
fn vllm_fetches_before_the_request_is_admitted() {
    let memory = || Box::new(HashChain::new(80, 16, true));
    let host = || vec![tier(0, 1000, 0.25, WritePolicy::Through)];
    let twice = [(0.0, 0), (100.0, 1), (200.0, 0)];
    let lab_of = |load| lab(Box::<Vllm>::default(), memory(), tiers(16, host(), load), &twice);
    assert_eq!(first_tokens(lab_of(LoadBack::Fetch)), [10.0, 110.0, 222.0]);
    let log = lab_of(LoadBack::Fetch).log();
    assert_eq!(log.outcomes[2].cached_tokens, 1008);
    // In series the batch waits as long.
    assert_eq!(first_tokens(lab_of(LoadBack::Serial)), [10.0, 110.0, 222.0]);
    // Of others who decode only the second way of waiting takes time: one that makes 40 tokens from 195 ms on.
    let with_another = |load| {
        let mut lab = lab(Box::<Vllm>::default(), Box::new(HashChain::new(90, 16, true)), tiers(16, host(), load), &twice[..2]);
        lab.arrive(195.0, 16, 40);
        lab.arrive_with(206.0, 1024, 2, &[Segment { id: SegmentId(0), tokens: 1024 }]);
        lab.run()[2].1
    };
    // 205 first token, then 39 steps of 1 ms, one of which computes a prompt for 10 ms more.
    assert_eq!(with_another(LoadBack::Fetch), 254.0);
    assert!(with_another(LoadBack::Serial) > 260.0);
}

/// SGLang, 80 pages of 16. A node goes as a whole, so all 63 pages come from the host in 15.75 ms; with 32 layers the step ends when its last
/// layer has arrived and been computed: 15.75 + 10 / 32.
#[test]
fn sglang_computes_layer_by_layer_behind_the_load() {
    let policy = || Box::new(Sglang::new(SglangOptions::default()));
    let memory = || Box::new(RadixCache::new(80, 16, true));
    let host = || vec![tier(0, 1000, 0.25, WritePolicy::Through)];
    let twice = [(0.0, 0), (100.0, 1), (200.0, 0)];
    assert_eq!(first_tokens(lab(policy(), memory(), tiers(16, host(), LoadBack::Layers(32)), &twice))[2], 216.0625);
    assert_eq!(first_tokens(lab(policy(), memory(), tiers(16, host(), LoadBack::Serial), &twice))[2], 225.75);
    // A link ten times as fast hides behind all but the first layer: 1.575 / 32 + 10.
    let fast = vec![tier(0, 1000, 0.025, WritePolicy::Through)];
    let first = first_tokens(lab(policy(), memory(), tiers(16, fast, LoadBack::Layers(32)), &twice))[2];
    assert!((first - (210.0 + 1.575 / 32.0)).abs() < 1e-6, "{first}");
}

/// TensorRT-LLM, 40 blocks of 32, half a millisecond each. The first request leaves 33 blocks and 7 blank ones. The second prompt takes 25 of
/// the 33, which are copied down first: 12.5 ms; its reply one more.
/// The first again: 7 blocks on the GPU, 24 come up in 12 ms while 25 of the second's go down in 12.5.
#[test]
fn tensorrt_llm_copies_down_what_it_evicts() {
    let memory = Box::new(BlockTree::new(40, 32, Reuse::default()));
    let host = vec![tier(0, 1000, 0.5, WritePolicy::Back)];
    let tiers = Tiers { exclusive: true, promotes: false, ..tiers(32, host, LoadBack::Serial) };
    let lab = lab(Box::new(Trtllm::new(TrtllmOptions::default())), memory, tiers, &[(0.0, 0), (100.0, 1), (200.0, 0)]);
    assert_eq!(first_tokens(lab), [10.0, 122.5, 222.5]);
}

/// vLLM's blocks written back: the second prompt takes 16 blank blocks and 48 of the first one's, copied in 12 ms. The first again: 48 chunks come up in
/// 12 ms, while of the second's blocks 47 and then one more go down, in 12 ms as well.
#[test]
fn blocks_of_a_hash_chain_are_written_back_under_their_names() {
    let host = vec![tier(0, 1000, 0.25, WritePolicy::Back)];
    let memory = Box::new(HashChain::new(80, 16, true));
    let lab = lab(Box::<Vllm>::default(), memory, tiers(16, host, LoadBack::Serial), &[(0.0, 0), (100.0, 1), (200.0, 0)]);
    let log = lab.log();
    assert_eq!(log.outcomes[2].cached_tokens, 1008);
    let first: Vec<f64> = log.outcomes.iter().filter_map(|outcome| outcome.first_token).map(Time::as_ms).collect();
    assert_eq!(first, [10.0, 122.0, 222.0]);
}

/// What two prompts have had goes down; the first time nothing does.
#[test]
fn selective_writes_wait_for_a_second_use() {
    let memory = Box::new(HashChain::new(80, 16, true));
    let host = vec![tier(0, 1000, 0.25, WritePolicy::Selective(2))];
    let visits = [(0.0, 0), (100.0, 1), (200.0, 0), (300.0, 2), (400.0, 0)];
    let log = lab(Box::<Vllm>::default(), memory, tiers(16, host, LoadBack::Serial), &visits).log();
    let found: Vec<u32> = log.outcomes.iter().map(|outcome| outcome.cached_tokens).collect();
    assert_eq!(found, [0, 0, 240, 0, 1008]);
}

/// The host holds 64 chunks, a disk the rest at half a millisecond each. The prompt that comes again is on the disk only: 63 chunks are there
/// after 31.5 ms, and then go up in 15.75 ms behind the layers.
#[test]
fn prefetch_waits_as_long_as_it_may() {
    let first = |patience: Option<Patience>| {
        let below = vec![tier(0, 64, 0.25, WritePolicy::Through), tier(1, 1000, 0.5, WritePolicy::Through)];
        let prefetch = patience.map(|patience| Prefetch { patience, least_tokens: 256 });
        let tiers = Tiers { prefetch, ..tiers(16, below, LoadBack::Layers(32)) };
        let memory = Box::new(RadixCache::new(80, 16, true));
        let lab = lab(Box::new(Sglang::new(SglangOptions::default())), memory, tiers, &[(0.0, 0), (100.0, 1), (200.0, 0)]);
        first_tokens(lab)[2]
    };
    assert_eq!(first(Some(Patience::Complete)), 247.5625);
    // Nothing has arrived when its turn comes.
    assert_eq!(first(Some(Patience::BestEffort)), 210.0);
    // 10 ms and 10 us a token: 20.08 ms for 1008 tokens, in which 40 chunks arrive, which go up in 10 ms: 10 + 10 / 32.
    let timeout = Patience::Timeout { base: Time::from_ms(10.0), per_token: Time::from_us(10.0) };
    assert_eq!(first(Some(timeout)), 230.3925);
    // Without prefetch the disk is read when its turn comes, chunk after chunk up to the GPU: 31.5 + 0.25, and the last layer's 10 / 32.
    assert_eq!(first(None), 232.0625);
}

/// The tokens found below are told of, and by cause they are what they are on the GPU.
#[test]
fn what_is_found_is_told_by_tier_and_cause() {
    let found = Found { cached: 100, below: [60, 0, 0], ..Found::default() };
    assert_eq!(found.below.iter().sum::<u32>(), 60);
    let document = document("VLLM", "num_gpu_blocks_override: 400, kv_tiers: {host: {size_gb: 50}}");
    let result = served(&document);
    let number = |pointer: &str| result.summary.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{pointer}"));
    let caching = |key: &str| number(&format!("/prefix_caching/{key}"));
    let by_tier: u64 = ["gpu", "host", "disk", "remote"].iter().map(|tier| caching(&format!("by_tier/{tier}"))).sum();
    let causes = ["earlier_turn", "shared_prefix", "equal_prompt", "same_step", "readmission"];
    let by_cause: u64 = causes.iter().map(|cause| caching(&format!("hits_by_cause/{cause}"))).sum();
    assert_eq!(by_tier, by_cause);
    assert!(caching("by_tier/host") > 0 && caching("hits_by_cause/earlier_turn") > 0);
    // Hits and misses of first admissions are all prompt tokens.
    let misses: u64 =
        ["never_seen", "evicted", "under_way", "last_block"].iter().map(|cause| caching(&format!("misses_by_cause/{cause}"))).sum();
    let prompts: u64 = result.requests.input_tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    assert_eq!(by_cause - caching("hits_by_cause/readmission") + misses, prompts);
    let lower: u64 = result.requests.lower_tier_tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    assert!(lower <= caching("by_tier/host") && lower > 0);
    assert!(number("/kv_tiers/host/read_tokens") >= caching("by_tier/host"));
}

fn served(document: &str) -> RunResult {
    run::simulate(document, &NoFiles).remove(0)
}

/// Conversations with pauses on a small KV memory.
fn document(kind: &str, options: &str) -> String {
    format!(
        "schema_version: 1
simulation: {{random_seed: 3}}
hardware_profile: {{node: H100-SXM}}
workload:
  total_requests_to_generate: 300
  max_turns_per_session: 6
  continue_probability: 0.9
  client_profiles:
  - profile_name: agent
    inter_arrival_time_dist_config: {{type: Exponential, rate: 2}}
    prompt_tokens_dist_config: {{type: LogNormal, space: value, mean: 400, sigma: 200, is_int: true}}
    max_output_tokens_dist_config: {{type: LogNormal, space: value, mean: 60, sigma: 30, is_int: true}}
    shared_prefix_tokens: 200
    conversational_probability: 1
    follow_up_inter_arrival_time_dist_config: {{type: LogNormal, space: value, mean: 8, sigma: 8}}
frameworks_to_test:
- name: engine
  type: {kind}
  config: {{model_profile_id: Llama-3.1-8B, {options}}}
"
    )
}

#[test]
fn a_host_tier_saves_prompt_tokens_under_every_engine() {
    for (kind, blocks, own) in [
        ("VLLM", "num_gpu_blocks_override: 500", "vllm: {kv_offloading_size: 40}"),
        ("SGLANG", "num_gpu_blocks_override: 8000", "sglang: {enable_hierarchical_cache: true, hicache_size: 40}"),
        ("TRTLLM", "num_gpu_blocks_override: 250", "trtllm: {host_cache_size: 40000000000}"),
    ] {
        let saved = |options: &str| {
            let result = served(&document(kind, options));
            let saved = result.requests.cached_tokens.iter().map(|&tokens| u64::from(tokens)).sum::<u64>();
            (saved, result.summary["kv_tiers"]["host"]["capacity_tokens"].as_u64())
        };
        let (bare, none) = saved(blocks);
        assert_eq!(none, None);
        let (tiered, capacity) = saved(&format!("{blocks}, {own}"));
        assert!(tiered > bare + bare / 10, "{kind}: {tiered} with a host tier, {bare} without");
        // 128 KiB a token: 40 GB are 305,175 tokens, 40 GiB 327,680.
        let expected = if kind == "VLLM" { 327_680 } else { 305_175 };
        assert!(capacity.is_some_and(|tokens| tokens <= expected && tokens > expected - 64), "{kind}: {capacity:?}");
        let (same, _) = saved(&format!("{blocks}, kv_tiers: {{host: {{size_gb: 40}}}}"));
        assert!(same > bare, "{kind}");
    }
}

/// A tier that never has to evict only fills, up to what the summary says it holds in the end; one that is too small is full from some bin on.
#[test]
fn how_full_a_tier_is_over_time() {
    let told = |size_gb: f64| {
        let options = format!("num_gpu_blocks_override: 500, kv_tiers: {{host: {{size_gb: {size_gb}}}}}");
        let result = served(&document("VLLM", &options));
        assert_eq!(occupancy(&result, "disk"), None);
        let over_time = occupancy(&result, "host").unwrap();
        assert_eq!(over_time.len(), result.series.running.len());
        let host = result.summary["kv_tiers"]["host"].clone();
        (over_time, move |key: &str| host[key].as_f64().unwrap())
    };
    let (large, host) = told(40.0);
    assert_eq!(host("evicted_tokens"), 0.0);
    assert!(large.is_sorted() && large[0] < 0.01, "{large:?}");
    assert_eq!(large.last().copied(), Some(host("held_tokens") / host("capacity_tokens")));
    assert_eq!(large.last().copied(), Some(host("peak_share")));
    let (small, host) = told(1.0);
    assert!(host("evicted_tokens") > 0.0);
    let full = small.iter().position(|share| *share == 1.0).unwrap();
    assert!(full > 0 && small[full..].iter().all(|share| *share == 1.0), "{small:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let finding = |kind: &str, options: &str| {
        let read = config::read(&document(kind, options), "");
        read.diagnostics.into_iter().find(|finding| finding.is_error()).map(|finding| finding.path).unwrap_or_default()
    };
    let at = |key: &str| format!("frameworks_to_test[0].config.{key}");
    assert_eq!(finding("VLLM", "kv_tiers: {host: {size_gb: 10}}"), "");
    assert_eq!(finding("VLLM", "kv_tiers: {}"), at("kv_tiers"));
    assert_eq!(finding("VLLM", "kv_tiers: {host: {}}"), at("kv_tiers.host"));
    assert_eq!(finding("SGLANG", "kv_tiers: {host: {}}"), "");
    assert_eq!(finding("VLLM", "kv_tiers: {host: {size_gb: 10}}, enable_prefix_caching: false"), at("kv_tiers"));
    assert_eq!(finding("VLLM", "kv_tiers: {host: {size_gb: 10}, prefetch: timeout}"), at("kv_tiers.prefetch"));
    assert_eq!(finding("SGLANG", "kv_tiers: {host: {size_gb: 10}, load: fetch}"), at("kv_tiers.load"));
    assert_eq!(finding("TRTLLM", "kv_tiers: {host: {size_gb: 10}}, trtllm: {host_cache_size: 1000000000}"), at("trtllm.host_cache_size"));
}

/// Eight engines of one GPU with 300 GB each want 2.4 TB of a node's memory: a warning where 2 TB are assumed, an error where they are given, nothing
/// when there is more, or fewer engines.
#[test]
fn host_tiers_fit_into_their_node() {
    let planned = |replicas: u32, more: &str| {
        let text = format!(
            "
simulation: {{random_seed: 1}}
hardware_profile: {{node: 8xH100-SXM{more}}}
workload: {{preset: chat, total_requests_to_generate: 1}}
frameworks_to_test:
- name: engine
  type: VLLM
  replicas: {replicas}
  config: {{model_profile_id: Llama-3.1-8B, kv_tiers: {{host: {{size_gb: 300}}}}}}
"
        );
        let read = llmperforacle::config::read(&text, "tiers.yaml");
        let document = read.document.unwrap_or_else(|| panic!("{:?}", read.diagnostics));
        llmperforacle::sim::plan(&document, &llmperforacle::sim::NoFiles)
    };
    let says = |replicas: u32, more: &str| {
        let warnings = planned(replicas, more).unwrap().warnings;
        warnings.iter().any(|warning| warning.message.contains("host tiers") && warning.path == "frameworks_to_test[0].config")
    };
    assert!(says(8, "") && !says(6, ""));
    assert!(!says(8, ", host_memory_gb: 3000"));
    let errors = planned(8, ", host_memory_gb: 2000").unwrap_err();
    assert!(errors[0].message.contains("8 host tiers of 300 GB"), "{errors:?}");
}
