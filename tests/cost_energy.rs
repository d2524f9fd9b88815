//! The power model against measured power: the rows it was fitted on and rows of models it has not seen, and its bounds everywhere.
//!
//! tests/fixtures/ml-energy-power.csv: ML.ENERGY v3 (ml-energy/leaderboard at 0cd52dab, vLLM 0.11.1, bf16). Prompt lengths are not
//! published: chats are taken to have contexts of 600 tokens and 0.3 prompt tokens for each that comes out, reasoning 6000 and 0.05.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::catalog::{Dtype, Engine, builtin};
use llmperforacle::cost::{Calibrated, CalibratedSpec, CostModel, PowerModel, StepParts, StepWork};

#[path = "support/spec.rs"]
mod spec;

fn spec(device: &str, model: &str, tp: u32, dtype: Dtype) -> CalibratedSpec {
    spec::spec(builtin().device(device).unwrap(), builtin().model(model).unwrap(), Engine::Vllm, tp, dtype)
}

fn model_of(spec: &CalibratedSpec) -> (Calibrated, Option<PowerModel>) {
    let cost = Calibrated::new(builtin(), spec).unwrap();
    let power = PowerModel::new(&spec.model, &spec.device, builtin().power_of(&spec.device).unwrap(), cost.footprint());
    (cost, power)
}

struct Row {
    device: String,
    gpus: u32,
    model: String,
    chat: bool,
    batch: f64,
    tokens_per_s: f64,
    power_w: f64,
    j_per_token: f64,
    fitted: bool,
}

fn rows() -> Vec<Row> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: usize| cells[i].parse::<f64>().unwrap();
        Row {
            device: cells[0].into(),
            gpus: number(1) as u32,
            model: cells[2].into(),
            chat: cells[3] == "1",
            batch: number(4),
            tokens_per_s: number(5),
            power_w: number(6),
            j_per_token: number(7),
            fitted: cells[8] == "fit",
        }
    };
    include_str!("fixtures/ml-energy-power.csv").lines().skip(1).map(row).collect()
}

/// Power in a step that takes as long as was measured; the time in collectives is the cost model's.
fn predicted_w(row: &Row) -> f64 {
    let (mut cost, power) = model_of(&spec(&row.device, &row.model, row.gpus, Dtype::Bf16));
    let batch = row.batch.round() as u32;
    let (context, prompt) = if row.chat { (600, 0.3) } else { (6000, 0.05) };
    let duration_ps = (row.batch / row.tokens_per_s * 1e12) as u64;
    let parts = cost.decode(batch, u64::from(batch) * context).fixed.parts;
    let power = power.unwrap();
    let ramp = power.ramp(&StepWork {
        steps: 1,
        first_duration_ps: duration_ps,
        first_device_ps: duration_ps,
        first_parts: parts,
        decode_sequences: batch,
        first_context: u64::from(batch) * context,
        prefill_tokens: (row.batch * prompt) as u64,
        sampled_rows: batch,
        ..StepWork::default()
    });
    (power.idle_mw as f64 + ramp.of_step(0) as f64 / duration_ps as f64) / 1e3
}

/// Mean and 90th percentile of the absolute error, and how many rows.
fn errors(device: &str, fitted: bool) -> (f64, f64, usize) {
    let rows = rows();
    let of = rows.iter().filter(|row| row.device == device && row.fitted == fitted);
    let mut errors: Vec<f64> = of.map(|row| (predicted_w(row) / row.power_w - 1.0).abs()).collect();
    errors.sort_by(f64::total_cmp);
    (errors.iter().sum::<f64>() / errors.len() as f64, errors[errors.len() * 9 / 10], errors.len())
}

#[test]
fn power_is_near_what_was_measured() {
    for (device, fitted, mean_within, p90_within, rows) in [
        ("H100-SXM", true, 0.08, 0.15, 53),
        ("H100-SXM", false, 0.08, 0.15, 24),
        ("B200", true, 0.12, 0.32, 58),
        ("B200", false, 0.13, 0.32, 24),
    ] {
        let (mean, p90, count) = errors(device, fitted);
        println!("{device} {}: {count} rows, mean {:.1} %, p90 {:.1} %", if fitted { "fit" } else { "check" }, mean * 100.0, p90 * 100.0);
        assert_eq!(count, rows);
        assert!(mean <= mean_within && p90 <= p90_within, "{device} {fitted}: mean {mean}, p90 {p90}");
    }
}

#[test]
fn the_published_energy_per_token_is_power_over_rate() {
    // So an error of power is one of energy per token, at the measured rate.
    for row in rows() {
        let error = row.power_w / row.tokens_per_s / row.j_per_token - 1.0;
        assert!(error.abs() < 0.02, "{} {} {}: {error}", row.device, row.model, row.batch);
    }
}

#[test]
fn splitwise_decodes_and_prompts_on_a100() {
    // Splitwise, Llama-2-70B on 8 x A100: decode of one sequence 44.9 ms at 43.5 % of the limit; prompts of 2048 tokens 274 ms at 98.9 %.
    let (_, power) = model_of(&spec("A100-SXM-80GB", "Llama2-70B", 8, Dtype::Bf16));
    let power = power.unwrap();
    let share = |work: &StepWork| {
        let watts = (power.idle_mw as f64 + power.ramp(work).of_step(0) as f64 / work.first_duration_ps as f64) / 1e3;
        watts / (8.0 * 400.0)
    };
    let step =
        |ms: f64| StepWork { steps: 1, first_duration_ps: (ms * 1e9) as u64, first_device_ps: (ms * 1e9) as u64, ..StepWork::default() };
    let decode = share(&StepWork { decode_sequences: 1, first_context: 600, sampled_rows: 1, ..step(44.9) });
    assert!((decode / 0.435 - 1.0).abs() < 0.12, "{decode}");
    let prompt = share(&StepWork { prefill_tokens: 2048, prefill_pairs: 2048 * 2049 / 2, sampled_rows: 1, ..step(274.2) });
    assert!((prompt / 0.989 - 1.0).abs() < 0.15, "{prompt}");
}

#[test]
fn every_device_stays_between_idle_and_its_limit() {
    for device in &builtin().devices {
        for (model, dtype) in [("Llama-3.1-8B", Dtype::Bf16), ("Mixtral-8x7B", Dtype::Fp8), ("DeepSeek-V3", Dtype::Fp8)] {
            let (mut cost, power) = model_of(&spec(&device.name, model, 1, dtype));
            let Some(power) = power else {
                assert!(device.tdp_w.is_none(), "{}", device.name);
                continue;
            };
            let limit_w = device.tdp_w.unwrap();
            let mut before = 0.0;
            for batch in [1_u32, 8, 64, 256, 1024, 4096] {
                for context in [1_u64, 1000, 100_000, 1_000_000] {
                    let context = u64::from(batch) * context;
                    let answer = cost.decode(batch, context);
                    let device_ps = answer.fixed.device_ps + answer.context_ps * context;
                    let ramp = power.ramp(&StepWork {
                        steps: 1,
                        first_duration_ps: device_ps + answer.fixed.host_ps,
                        first_device_ps: device_ps,
                        first_parts: StepParts { ..answer.fixed.parts },
                        decode_sequences: batch,
                        first_context: context,
                        sampled_rows: batch,
                        ..StepWork::default()
                    });
                    let idle_w = power.idle_mw as f64 / 1e3;
                    let watts = idle_w + ramp.of_step(0) as f64 / (device_ps + answer.fixed.host_ps) as f64 / 1e3;
                    assert!(watts >= idle_w && watts <= limit_w * 1.000_001, "{} {model} {batch} {context}: {watts} W", device.name);
                    if context == u64::from(batch) * 1000 {
                        // Energy of a step grows with the batch.
                        let joules = ramp.of_step(0) as f64;
                        assert!(joules >= before, "{} {model}", device.name);
                        before = joules;
                    }
                }
            }
        }
    }
}

#[test]
fn half_the_bytes_draw_less_and_a_busy_step_more_than_a_waiting_one() {
    let work = |duration_ps| StepWork {
        steps: 1,
        first_duration_ps: duration_ps,
        first_device_ps: 5_000_000_000,
        decode_sequences: 4,
        first_context: 4000,
        sampled_rows: 4,
        ..StepWork::default()
    };
    let energy = |dtype| model_of(&spec("H100-SXM", "Llama-3.1-8B", 1, dtype)).1.unwrap().ramp(&work(10_000_000_000)).of_step(0);
    assert!(energy(Dtype::Fp8) < energy(Dtype::Bf16));
    let power = model_of(&spec("H100-SXM", "Llama-3.1-8B", 1, Dtype::Bf16)).1.unwrap();
    let watts = |duration_ps: u64| power.ramp(&work(duration_ps)).of_step(0) as f64 / duration_ps as f64;
    assert!((watts(10_000_000_000) * 2.0 / watts(5_000_000_000) - 1.0).abs() < 1e-9, "twice the time, half the power above idle");
}
