//! Micro-traces with LoRA adapters whose outcome follows from each stack's rules by hand: prefill pass 10 ms, decode pass 1 ms, mixed pass
//! 11 ms, blocking engines. Copying an adapter to the GPU takes 2 ms, reading it from storage 50 ms; adapters cost nothing else here.

use llmperforacle::engine::policies::sglang::{Sglang, SglangOptions};
use llmperforacle::engine::policies::trtllm::{Capacity, Trtllm, TrtllmOptions};
use llmperforacle::engine::policies::vllm::Vllm;
use llmperforacle::engine::policies::vllm_v0::VllmV0;
use llmperforacle::engine::testing::Lab;
use llmperforacle::engine::{AdapterEviction, AdapterLoad, HoldRule, LoraSpec, Policy};
use llmperforacle::kv::{BlockTree, RadixCache, Reuse};
use llmperforacle::units::Time;

fn load(places: u64) -> AdapterLoad {
    AdapterLoad { places, rank: 16, to_gpu: Time::from_ms(2.0), to_host: Time::from_ms(50.0) }
}

/// `count` adapters of one place each, all in host memory.
fn adapters(count: usize, gpu_places: u64) -> LoraSpec {
    LoraSpec {
        adapters: vec![load(1); count],
        gpu_places,
        host_places: u64::MAX,
        eviction: AdapterEviction::Lru,
        base_takes_place: false,
        inclusive: true,
        on_host_at_start: true,
    }
}

fn lab(policy: Box<dyn Policy>, spec: LoraSpec) -> Lab {
    Lab::new(policy, 10_000).adapters(spec)
}

fn vllm(spec: LoraSpec) -> Lab {
    lab(Box::new(Vllm::default()), spec)
}

fn sglang(spec: LoraSpec) -> Lab {
    let policy = Sglang::new(SglangOptions::default());
    lab(Box::new(policy), spec).memory(Box::new(RadixCache::new(160_000, 1, true)))
}

fn trtllm(capacity: Capacity, spec: LoraSpec) -> Lab {
    let policy = Trtllm::new(TrtllmOptions { capacity, ..TrtllmOptions::default() });
    let memory = BlockTree::new(10_000, 16, Reuse::default());
    lab(Box::new(policy), spec).memory(Box::new(memory))
}

/// Requests of 128 tokens, all at 0: adapter and reply.
fn at_once(mut lab: Lab, requests: &[(u16, u32)]) -> Lab {
    for &(adapter, output) in requests {
        lab.arrive(0.0, 128, output);
        lab.change(|request| request.adapter = adapter);
    }
    lab
}

/// Requests of one token each, 100 ms apart, by adapter.
fn one_by_one(mut lab: Lab, adapters: &[u16]) -> Vec<f64> {
    for (index, &adapter) in adapters.iter().enumerate() {
        lab.arrive(100.0 * index as f64, 128, 1);
        lab.change(|request| request.adapter = adapter);
    }
    lab.run().into_iter().enumerate().map(|(index, (first, _))| first - 100.0 * index as f64).collect()
}

/// `max_loras: 1`. The second request's adapter has no place; the scan goes on and the third, of the first's adapter, enters. The second
/// waits until nobody of the first adapter is in the batch, and for the copy.
#[test]
fn vllm_passes_over_whom_a_place_lacks_and_scans_on() {
    let log = at_once(vllm(adapters(2, 1)), &[(1, 3), (2, 2), (1, 2)]).log();
    let times: Vec<(f64, f64)> = log.outcomes.iter().map(|o| (o.first_token.unwrap().as_ms(), o.finish.unwrap().as_ms())).collect();
    assert_eq!(times, [(12.0, 14.0), (26.0, 27.0), (12.0, 13.0)]);
    // Two copies, the second in place of the first; three admissions, none of which found its adapter there.
    let used = log.adapters;
    assert_eq!((used.loads, used.reads, used.evictions, used.admitted, used.found, used.adapters), (2, 0, 1, 3, 0, 1));
    assert_eq!(used.wait_ps, Time::from_ms(4.0).0);
    // From the first step's formation until the second request is admitted at 14 ms.
    let held = &log.held[0];
    assert_eq!((held.0.request, held.0.rule, held.0.needed, held.0.available), (1, HoldRule::AdapterSlots, 2, 1));
    assert_eq!((log.held.len(), held.1), (1, Time::from_ms(14.0).0));
}

/// Requests without adapter need no place.
#[test]
fn vllm_serves_the_plain_model_beside_a_full_house() {
    assert_eq!(at_once(vllm(adapters(1, 1)), &[(1, 3), (0, 2)]).run(), [(12.0, 14.0), (12.0, 13.0)]);
}

/// Places are for the step, not for good: with `max_loras: 2` three adapters take turns, and two are served together.
#[test]
fn vllm_runs_as_many_adapters_together_as_there_are_places() {
    // 1 and 2: two copies, 14 ms. At 15 ms the second ends and the third enters: mixed pass and copy, 13 ms, and 1 ms more.
    let times = at_once(vllm(adapters(3, 2)), &[(1, 3), (2, 2), (3, 2)]).run();
    assert_eq!(times, [(14.0, 28.0), (14.0, 15.0), (28.0, 29.0)]);
}

/// vLLM before V1 counts the adapters of all that run and passes over as well.
#[test]
fn vllm_before_v1_passes_over_too() {
    // Prompts first: 1 and 3 enter together. They decode at 13 and 14 ms.
    let times = at_once(lab(Box::new(VllmV0::new(Default::default())), adapters(2, 1)), &[(1, 3), (2, 2), (1, 2)]).run();
    assert_eq!(times, [(12.0, 14.0), (26.0, 27.0), (12.0, 13.0)]);
}

/// 1 and 2 are copied, 1 is there, 3 takes the place of 2, which no step has needed for longest, and 2 that of 1.
#[test]
fn the_least_recently_used_adapter_leaves() {
    assert_eq!(one_by_one(vllm(adapters(3, 2)), &[1, 2, 1, 3, 2]), [12.0, 12.0, 10.0, 12.0, 12.0]);
}

/// `lora_eviction_policy: fifo`: 3 takes the place of 1, which came first, and 2 is still there.
#[test]
fn first_in_first_out_on_request() {
    let spec = LoraSpec { eviction: AdapterEviction::Fifo, base_takes_place: true, ..adapters(3, 2) };
    assert_eq!(one_by_one(sglang(spec), &[1, 2, 1, 3, 2]), [12.0, 12.0, 10.0, 12.0, 10.0]);
}

/// `max_cpu_loras: 2`: 1 and 2 are in host memory from the start. 3 is read in place of 1, then 1 in place of 2; 3 is in host memory still.
#[test]
fn what_is_not_in_host_memory_is_read_from_storage() {
    let spec = LoraSpec { host_places: 2, ..adapters(3, 1) };
    assert_eq!(one_by_one(vllm(spec), &[3, 1, 3]), [62.0, 62.0, 12.0]);
}

/// What leaves host memory leaves the GPU too, though it had a place there: 1 is read again.
#[test]
fn host_memory_holds_what_the_gpu_holds() {
    // Host memory for two; 1, 2, 3 in turn with two places: 3 throws 1 out of both.
    let spec = LoraSpec { host_places: 2, ..adapters(3, 2) };
    assert_eq!(one_by_one(vllm(spec.clone()), &[1, 2, 3, 1]), [12.0, 12.0, 62.0, 62.0]);
    // TensorRT-LLM's caches know nothing of each other, and nothing is read beforehand.
    let apart = LoraSpec { inclusive: false, on_host_at_start: false, gpu_places: 3, ..spec };
    assert_eq!(one_by_one(trtllm(Capacity::GuaranteedNoEvict, apart), &[1, 2, 3, 1]), [62.0, 62.0, 62.0, 10.0]);
}

/// `max_loras_per_batch: 2`, of which the plain model takes one while somebody runs without adapter: the second adapter waits.
#[test]
fn sglang_counts_the_plain_model_as_one() {
    let spec = LoraSpec { base_takes_place: true, ..adapters(2, 2) };
    assert_eq!(at_once(sglang(spec.clone()), &[(0, 3), (1, 3), (2, 2)]).run(), [(12.0, 14.0), (12.0, 14.0), (26.0, 27.0)]);
    // Without it, both adapters are in the batch.
    assert_eq!(at_once(sglang(spec), &[(1, 3), (1, 3), (2, 2)]).run(), [(14.0, 16.0), (14.0, 16.0), (14.0, 15.0)]);
}

/// Passing over does not close the latch: the request after enters in the same batch.
#[test]
fn sglang_passes_over_and_goes_on() {
    let spec = LoraSpec { base_takes_place: true, ..adapters(2, 1) };
    assert_eq!(at_once(sglang(spec), &[(1, 3), (2, 2), (1, 2)]).run(), [(12.0, 14.0), (26.0, 27.0), (12.0, 13.0)]);
}

/// Pages for 64 ranks: 32 are claimed, 64 do not fit and are passed over, 32 do.
#[test]
fn trtllm_counts_pages_and_passes_over_where_nothing_is_paused() {
    let spec = LoraSpec { adapters: vec![load(32), load(64), load(32)], inclusive: false, ..adapters(3, 64) };
    let requests = [(1, 3), (2, 2), (3, 2)];
    // Two copies, then the second request's when both others have ended.
    let times = at_once(trtllm(Capacity::GuaranteedNoEvict, spec.clone()), &requests).run();
    assert_eq!(times, [(14.0, 16.0), (28.0, 29.0), (14.0, 15.0)]);
    // MAX_UTILIZATION stops at the first that does not fit: one after the other.
    let times = at_once(trtllm(Capacity::MaxUtilization, spec), &requests).run();
    assert_eq!(times, [(12.0, 14.0), (26.0, 27.0), (39.0, 40.0)]);
}

/// Adapters of one batch never throw each other out, whatever the order in which they are needed: two places, two adapters, one copy each.
#[test]
fn a_batch_keeps_its_adapters() {
    let log = at_once(vllm(adapters(2, 2)), &[(2, 40), (1, 40)]).log();
    assert_eq!((log.adapters.loads, log.adapters.evictions, log.adapters.adapters), (2, 0, 2));
}

/// Two stages: every stage fetches its own layers, so the batch enters 2 ms later; decode-only batches wait for nothing.
#[test]
fn a_pipeline_fetches_before_its_first_stage() {
    let mut lab = vllm(adapters(1, 1)).stages(2, Default::default());
    lab.arrive(0.0, 128, 3);
    lab.change(|request| request.adapter = 1);
    assert_eq!(lab.run(), [(12.0, 14.0)]);
}
