//! Images in prompts: encoded by the engine under vLLM's two budgets, or by a pool of encoders before the router. Times by hand, with passes of 100 ms
//! and 10 ms and 30 ms for an image.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::metrics::{RunResult, Status};
use llmperforacle::sim::{self, NoFiles};

#[path = "support/plan.rs"]
mod plan;

fn plan(text: &str) -> Result<sim::Plan, Vec<String>> {
    plan::plan(text, &NoFiles)
}

fn run_as(text: &str, fast_path: bool) -> RunResult {
    let simulation = plan::ended(&plan(text).unwrap().runs[0], fast_path);
    assert_eq!(simulation.kv_blocks_used(), 0);
    simulation.finish()
}

fn run(text: &str) -> RunResult {
    let fast = run_as(text, true);
    let singly = run_as(text, false);
    assert_eq!((&fast.requests, &fast.encodes, &fast.counters), (&singly.requests, &singly.encodes, &singly.counters));
    fast
}

/// Prompts of 1200 tokens with two images of 500, `every_s` apart; 20 tokens out.
fn document(kind: &str, requests: u32, every_s: f64, config: &str, top: &str) -> String {
    format!(
        "
simulation: {{random_seed: 3}}
hardware_profile: {{node: 8xH100-SXM}}
workload:
  total_requests_to_generate: {requests}
  images: {{per_request_dist_config: {{type: Constant, value: 2}}, tokens_per_image: 500}}
  client_profiles:
  - profile_name: a
    inter_arrival_time_dist_config: {{type: Constant, value: {every_s}}}
    prompt_tokens_dist_config: {{type: Constant, value: 1200}}
    max_output_tokens_dist_config: {{type: Constant, value: 20}}
frameworks_to_test:
- name: sees
  type: {kind}
  config:
    model_profile_id: Llama-3.1-8B
    max_num_batched_tokens: 2048
    timing: {{fixed: {{prefill_ms: 100, decode_ms: 10}}}}
    async_scheduling: false
    host_overhead: {{per_step_us: 0, per_sequence_us: 0, per_new_request_us: 0, per_request_api_ms: 0}}
    {config}
{top}
"
    )
}

fn ttft_ms(run: &RunResult, row: usize) -> f64 {
    (run.requests.first_token_ps[row] - run.requests.arrival_ps[row]) as f64 / 1e9
}

const OWN: &str = "encoder: {time_per_image_ms: 30}";

#[test]
fn an_engine_encodes_in_the_step_of_an_images_first_token() {
    for kind in ["VLLM", "SGLANG"] {
        let text = document(kind, 1, 1.0, OWN, "");
        let text = if kind == "SGLANG" {
            text.replace("    async_scheduling: false\n    ", "    ")
                .replace("max_num_batched_tokens: 2048", "sglang: {disable_overlap_schedule: true}")
        } else {
            text
        };
        let run = run(&text);
        assert!((ttft_ms(&run, 0) - 160.0).abs() < 1e-6, "{kind} {}", ttft_ms(&run, 0));
        assert_eq!((run.counters[0].images, run.counters[0].encoding_ps), (2, 60_000_000_000));
        assert_eq!(run.summary["encode"]["images"], 2);
        assert_eq!(run.summary["encode"]["engine_time_s"], 0.06);
    }
}

/// Budget or cache for one image: the first step ends before the second image (700 tokens), the next computes the rest.
#[test]
fn vllm_cuts_a_prompt_before_an_image_that_has_no_room() {
    for bound in ["max_num_encoder_input_tokens: 500", "encoder_cache_size: 700"] {
        let run = run(&document("VLLM", 1, 1.0, &format!("encoder: {{time_per_image_ms: 30, {bound}}}"), ""));
        assert!((ttft_ms(&run, 0) - 260.0).abs() < 1e-6, "{bound} {}", ttft_ms(&run, 0));
        assert_eq!((run.counters[0].images, run.counters[0].prefill_tokens), (2, 1200));
    }
}

/// A step of 400 tokens, smaller than an image: 400 tokens with the first image; 300 to its end, since its embeddings leave no room for the
/// second; 400 with that one; the last 100.
#[test]
fn embeddings_are_kept_until_their_image_has_been_computed() {
    let run = run(&document("VLLM", 1, 1.0, OWN, "").replace("tokens: 2048", "tokens: 400"));
    assert!((ttft_ms(&run, 0) - (130.0 + 100.0 + 130.0 + 100.0)).abs() < 1e-6, "{}", ttft_ms(&run, 0));
    assert_eq!(run.counters[0].steps - run.counters[0].decode_only_steps, 4);
}

/// Room for three images. The first request starts alone; of the two behind it the second one enters with one image in the step of the first.
#[test]
fn a_step_shares_its_encoder_budget() {
    let config = "encoder: {time_per_image_ms: 30, max_num_encoder_input_tokens: 1500}";
    let run = run(&document("VLLM", 3, 1e-9, config, "").replace("2048", "4096"));
    // 160 ms; a decode and 1200 and 700 tokens with three images, 200 ms; decodes and 500 tokens with the last image, 140 ms.
    for (row, expected) in [160.0, 360.0, 500.0].into_iter().enumerate() {
        assert!((ttft_ms(&run, row) - expected).abs() < 1e-3, "{row}: {}", ttft_ms(&run, row));
    }
}

/// One encoder, three requests at once: 60 ms each, one after the other; 8 MB of embeddings over a 400 Gb/s card.
#[test]
fn a_pool_encodes_first_come_first_served() {
    let run = run(&document("VLLM", 3, 1e-9, "encoder: {time_per_image_ms: 30, pool: {}}", ""));
    let sent = 0.003 + 2.0 * 500.0 * 2.0 * 4096.0 / 50e9 * 1e3;
    for (row, record) in run.encodes.iter().enumerate() {
        let ms = |from: u64, to: u64| (to - from) as f64 / 1e9;
        assert_eq!((record.request as usize, record.images), (row, 2));
        assert!((ms(record.arrived_ps, record.started_ps) - 60.0 * row as f64).abs() < 1e-3);
        assert!((ms(record.started_ps, record.encoded_ps) - 60.0).abs() < 1e-9);
        assert!((ms(record.encoded_ps, record.ready_ps) - sent).abs() < 1e-6, "{sent}");
    }
    // The first is there at 60 ms, and its times begin at its arrival.
    assert!((ttft_ms(&run, 0) - (160.0 + sent)).abs() < 1e-3, "{}", ttft_ms(&run, 0));
    assert_eq!(run.counters[0].images, 0);
    assert_eq!(run.summary["encode"]["images"], 6);
    let encoding = 0.18 / (run.end_ps as f64 / 1e12);
    assert!((run.summary["encode"]["utilization"].as_f64().unwrap() - encoding).abs() < 1e-9);
    // Two GPUs are paid for.
    let alone = run_as(&document("VLLM", 3, 1e-9, OWN, ""), true);
    let (both, one) = (run.summary["cost"]["usd_per_hour"].as_f64().unwrap(), alone.summary["cost"]["usd_per_hour"].as_f64().unwrap());
    assert!((both / one - 2.0).abs() < 1e-9, "{both} {one}");

    let three = self::run(&document("VLLM", 3, 1e-9, "encoder: {time_per_image_ms: 30, pool: {replicas: 3}}", ""));
    assert!(three.encodes.iter().all(|record| record.started_ps == record.arrived_ps));
}

/// Clients that give up leave the pool: the first while its images are encoded, the others while they wait, and nobody encodes those.
#[test]
fn clients_give_up_before_their_images_are_encoded() {
    let text = document("VLLM", 3, 1e-9, "encoder: {time_per_image_ms: 30, pool: {}}", "");
    let run = run(&text.replace("  images:", "  client_timeout_s: 0.05\n  images:"));
    assert!(run.requests.status.iter().all(|&status| status == Status::Cancelled as u8));
    assert!(run.encodes.is_empty());
    assert_eq!(run.counters.iter().map(|counters| counters.steps).sum::<u64>(), 0);
}

/// Encode, prefill and decode apart, behind a queue, with a failure: whoever is encoded goes on, and everybody ends once.
#[test]
fn encoders_stand_before_pools_in_operation() {
    let config = "encoder: {time_per_image_ms: 30, pool: {replicas: 2}}\n    disaggregation: {prefill: {}, decode: {}}";
    let top = "faults: {events: [{at_s: 0.4, kind: gpu, index: 1, duration_s: 0.1}]}\nadmission: {max_in_flight_per_replica: 4}\n\
               retries: {budget: 1, max_attempts: 10}";
    let text = document("VLLM", 12, 0.03, config, top)
        .replace("  type: VLLM", "  type: VLLM\n  startup: {weights_gb_per_s: 1e5, compile_s: 0, warm_up_s: 0}");
    let run = run(&text);
    assert!(run.requests.status.iter().all(|&status| status == Status::Success as u8), "{:?}", run.requests.status);
    assert_eq!(run.encodes.len(), 12);
    assert!(run.requests.attempts.iter().any(|&attempts| attempts > 1));
    assert!(run.requests.output_tokens.iter().all(|&tokens| tokens == 20));
}

/// Qwen2-VL's encoder on an H100 (989.4 TFLOP/s): 1296 tokens are 5184 patches, `2 * 5184 * 0.675e9 + 4 * 5184^2 * 32 * 1280` operations at half the peak.
#[test]
fn the_time_of_an_image_follows_from_the_transformer() {
    let text = document("VLLM", 1, 1.0, "", "")
        .replace("value: 2}, tokens_per_image: 500", "value: 1}, tokens_per_image: 1296")
        .replace("value: 1200", "value: 1400");
    let run = run(&text);
    let flops = 2.0 * 5184.0 * 0.675e9 + 4.0 * 5184.0 * 5184.0 * 32.0 * 1280.0;
    let peak = llmperforacle::catalog::builtin().device("H100-SXM").unwrap().bf16_flops;
    let expected = 100.0 + flops / (0.5 * peak) * 1e3;
    assert!((ttft_ms(&run, 0) - expected).abs() < 1e-6, "{} {expected}", ttft_ms(&run, 0));
    assert!((22.0..25.0).contains(&(expected - 100.0)));
}

#[test]
fn prompts_have_room_for_their_images_and_options_for_an_effect() {
    // Three images of 500 in 1200 tokens: two.
    let text = document("VLLM", 1, 1.0, OWN, "");
    assert_eq!(run(&text.replace("value: 2}, tokens", "value: 3}, tokens")).counters[0].images, 2);
    let plain = text.replace("  images: {per_request_dist_config: {type: Constant, value: 2}, tokens_per_image: 500}\n", "");
    let warned = plan(&plain).unwrap().warnings;
    assert!(warned.iter().any(|warning| warning.path.ends_with("config.encoder")), "{warned:?}");
    let refused = |text: &str, what: &str| {
        let errors = plan(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(errors.iter().any(|error| error.contains(what)), "{errors:?}");
    };
    refused(&text.replace("ms: 30", "ms: 30, vit: {parameters_b: 1, layers: 2, hidden_size: 64}"), "encoder.vit");
    refused(&text.replace("ms: 30", "ms: 30, encoder_cache_size: 600, pool: {}"), "encoder_cache_size");
    refused(
        &text.replace("type: VLLM", "type: TRTLLM").replace("ms: 30", "ms: 30, max_num_encoder_input_tokens: 600"),
        "max_num_encoder_input_tokens",
    );
    refused(&text.replace("ms: 30", "ms: 30, pool: {device: none}"), "pool.device");
    refused(&text.replace("random_seed: 3", "random_seed: 3, comparison: shared"), "workload.images");
}

/// 0.18 s of images on one H100 of the pool, idle for the rest: shares of its limit as in configs/power.json, half of the peak while it encodes.
#[test]
fn the_energy_of_a_pool_is_counted() {
    let run = run(&document("VLLM", 3, 1e-9, "encoder: {time_per_image_ms: 30, pool: {replicas: 2}}", ""));
    let seconds = run.end_ps as f64 / 1e12;
    let catalog = llmperforacle::catalog::builtin();
    let device = catalog.device("H100-SXM").unwrap();
    let (shares, limit_w) = (catalog.power_of(device).unwrap(), device.tdp_w.unwrap());
    let engine = run.info.replicas[0].power.unwrap().idle_mw as f64 / 1e3 * seconds + run.counters[0].energy_fj as f64 / 1e15;
    let encoding_w = (shares.busy + 0.5 * shares.compute).min(1.0 - shares.idle) * limit_w;
    let pool = 2.0 * shares.idle * limit_w * seconds + 0.18 * encoding_w;
    let energy = &run.summary["energy"];
    let close = |key: &str, expected: f64| {
        let found = energy[key].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-6, "{key}: {found} {expected}");
    };
    close("total_j", engine + pool);
    close("mean_power_w_per_gpu", (engine + pool) / seconds / 3.0);
    close("share_of_limit", (engine + pool) / seconds / (3.0 * limit_w));
}

/// Faults and scalers are the engines'. What asks for them on the pool is refused at its place.
#[test]
fn a_pool_of_encoders_neither_fails_nor_scales() {
    let refused = |config: &str, top: &str, path: &str| {
        let text = document("VLLM", 1, 1.0, config, top);
        let errors = plan(&text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(errors.iter().any(|error| error.starts_with(path)), "{errors:?}");
    };
    let at = "frameworks_to_test[0].config.encoder.pool";
    for key in ["autoscaler", "planner", "faults", "drain"] {
        refused(&format!("encoder: {{pool: {{{key}: {{}}}}}}"), "", &format!("{at}.{key}"));
    }
    refused("encoder: {pool: {}}", "faults: {events: [{at_s: 1, kind: encoder}]}", "faults.events[0].kind");
    // The GPU after the engine's is the encoder's: the event does nothing, and says so.
    let beyond = document("VLLM", 1, 1.0, "encoder: {pool: {}}", "faults: {events: [{at_s: 1, kind: gpu, index: 1}]}");
    let warned = plan(&beyond).unwrap().warnings;
    assert!(warned.iter().any(|warning| warning.path == "faults.events[0].index"), "{warned:?}");
}
