//! What a document can name, and documents to start from.

use llmperforacle::catalog::{Confidence, builtin};
use llmperforacle::config::schema::FrameworkKind;
use llmperforacle::config::{self, Document};
use llmperforacle::metrics::definitions;
use llmperforacle::sim::is_modelled;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::js::{self, Thrown};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Catalog {
    models: Vec<ModelInfo>,
    devices: Vec<DeviceInfo>,
    nodes: Vec<String>,
    frameworks: Vec<FrameworkInfo>,
    presets: Vec<PresetInfo>,
    workloads: Vec<WorkloadInfo>,
    definitions: Vec<DefinitionInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelInfo {
    name: String,
    parameters: f64,
    layers: u32,
    max_context: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceInfo {
    name: String,
    memory_gb: f64,
    bf16_tflops: f64,
    memory_gb_per_s: f64,
    /// Its own kernels were measured, or those of its architecture.
    calibrated: bool,
}

#[derive(Serialize)]
struct FrameworkInfo {
    kind: &'static str,
    label: &'static str,
    available: bool,
}

#[derive(Serialize)]
struct PresetInfo {
    name: String,
    title: &'static str,
    description: &'static str,
    document: Option<Document>,
}

#[derive(Serialize)]
struct WorkloadInfo {
    name: &'static str,
    title: &'static str,
    /// Mean lengths, sources and arrivals, in words.
    about: String,
    workload: Option<config::schema::Workload>,
}

#[derive(Serialize)]
struct DefinitionInfo {
    key: &'static str,
    label: &'static str,
    unit: &'static str,
    definition: &'static str,
    formula: &'static str,
}

/// What a document can name, and documents to start from.
#[wasm_bindgen(unchecked_return_type = "Catalog")]
pub fn catalog() -> Thrown<JsValue> {
    let builtin = builtin();
    let models = builtin.models.iter().map(|model| ModelInfo {
        name: model.name.clone(),
        parameters: model.parameters,
        layers: model.layers,
        max_context: model.max_context,
    });
    let devices = builtin.devices.iter().map(|device| DeviceInfo {
        name: device.name.clone(),
        memory_gb: device.memory_bytes / 1e9,
        bf16_tflops: device.bf16_flops / 1e12,
        memory_gb_per_s: device.memory_bytes_per_s / 1e9,
        calibrated: builtin.calibration_of(device).is_some_and(|(_, confidence)| confidence != Confidence::Datasheet),
    });
    let presets = config::presets().iter().map(|preset| PresetInfo {
        name: format!("{}@{}", preset.name, preset.version),
        title: preset.title,
        description: preset.description,
        document: config::preset(preset.name),
    });
    let workloads = config::workload_presets().iter().map(|preset| WorkloadInfo {
        name: preset.name,
        title: opening_title(preset.text),
        about: opening_comment(preset.text),
        workload: config::workload_preset(preset.name),
    });
    let definitions = definitions().iter().map(|row| DefinitionInfo {
        key: row.key,
        label: row.label,
        unit: row.unit,
        definition: row.definition,
        formula: row.formula,
    });
    js::to_object(&Catalog {
        models: models.collect(),
        devices: devices.collect(),
        nodes: builtin.node_names(),
        frameworks: frameworks(),
        presets: presets.collect(),
        workloads: workloads.collect(),
        definitions: definitions.collect(),
    })
}

/// The comment that a workload's file opens with, in one line.
fn opening_comment(text: &str) -> String {
    text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The first words of that comment.
fn opening_title(text: &'static str) -> &'static str {
    text.trim_start_matches(['#', ' ']).split(':').next().unwrap_or_default()
}

fn frameworks() -> Vec<FrameworkInfo> {
    let kinds = [
        ("VLLM", "vLLM", FrameworkKind::Vllm),
        ("ParallelVLLM", "vLLM, several GPUs", FrameworkKind::ParallelVllm),
        ("SGLANG", "SGLang", FrameworkKind::Sglang),
        ("TRTLLM", "TensorRT-LLM", FrameworkKind::Trtllm),
        ("DYNAMO", "NVIDIA Dynamo", FrameworkKind::Dynamo),
    ];
    kinds.into_iter().map(|(kind, label, framework)| FrameworkInfo { kind, label, available: is_modelled(framework) }).collect()
}
