//! `list`: what documents can name.

use clap::ValueEnum;
use llmperforacle::catalog::{Device, Model, builtin};
use llmperforacle::config::schema::FrameworkKind;
use llmperforacle::config::{presets, workload_presets};
use llmperforacle::sim::is_modelled;
use serde_json::{Value, json};

use crate::output::{Failure, out};

#[derive(Clone, Copy, ValueEnum)]
pub enum What {
    Models,
    Gpus,
    Frameworks,
    Presets,
}

const FRAMEWORKS: [(FrameworkKind, &str); 5] = [
    (FrameworkKind::Vllm, "vLLM"),
    (FrameworkKind::ParallelVllm, "vLLM over several GPUs, as the original project writes it"),
    (FrameworkKind::Sglang, "SGLang"),
    (FrameworkKind::Trtllm, "TensorRT-LLM"),
    (FrameworkKind::Dynamo, "NVIDIA Dynamo"),
];

pub fn list(what: What, as_json: bool) -> Result<(), Failure> {
    let rows = match what {
        What::Models => models(),
        What::Gpus => gpus(),
        What::Frameworks => frameworks(),
        What::Presets => presets_and_workloads(),
    };
    if as_json { out(&format!("{:#}\n", Value::Array(rows))) } else { out(&columns(&rows)) }
}

fn models() -> Vec<Value> {
    let row = |model: &Model| {
        json!({
            "name": model.name,
            "parameters_e9": rounded(model.parameters / 1e9),
            "layers": model.layers,
            "hidden_size": model.hidden_size,
            "heads": model.attention_heads,
            "kv_heads": model.kv_heads,
            "experts": model.moe.map_or(0, |moe| moe.experts),
            "max_context": model.max_context,
        })
    };
    builtin().models.iter().map(row).collect()
}

fn gpus() -> Vec<Value> {
    let row = |device: &Device| {
        let confidence = builtin().calibration_of(device).map(|(_, confidence)| confidence);
        json!({
            "name": device.name,
            "memory_gb": rounded(device.memory_bytes / 1e9),
            "memory_gb_per_s": rounded(device.memory_bytes_per_s / 1e9),
            "bf16_tflops": rounded(device.bf16_flops / 1e12),
            "fp8_tflops": device.fp8_flops.map(|flops| rounded(flops / 1e12)),
            "tdp_w": device.tdp_w,
            "interconnect": device.interconnect.name,
            "in_a_node": device.devices_per_node,
            "step_times": confidence,
        })
    };
    builtin().devices.iter().map(row).collect()
}

/// To one decimal: these are for reading.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn frameworks() -> Vec<Value> {
    let row = |(kind, label): (FrameworkKind, &str)| {
        let status = if is_modelled(kind) { "available" } else { "not modelled yet" };
        json!({"type": kind, "status": status, "framework": label})
    };
    FRAMEWORKS.into_iter().map(row).collect()
}

fn presets_and_workloads() -> Vec<Value> {
    let documents = presets().iter().map(|preset| json!({"name": preset.name, "kind": "document", "title": preset.title}));
    let workloads =
        workload_presets().iter().map(|preset| json!({"name": preset.name, "kind": "workload", "title": "for workload.preset"}));
    documents.chain(workloads).collect()
}

/// Aligned columns under the keys of the first row.
fn columns(rows: &[Value]) -> String {
    let Some(keys) = rows.first().and_then(Value::as_object).map(|row| row.keys().cloned().collect::<Vec<_>>()) else {
        return String::new();
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_string(),
        other => other.to_string(),
    };
    let mut lines = vec![keys.clone()];
    lines.extend(rows.iter().map(|row| keys.iter().map(|key| text(&row[key.as_str()])).collect()));
    let width = |column: usize| lines.iter().map(|line: &Vec<String>| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..keys.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_string() + "\n"
    };
    lines.iter().map(line).collect()
}
