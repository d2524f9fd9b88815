//! A model on a device as an engine has it by default, for the cost model.

use llmperforacle::catalog::{Device, Dtype, Engine, Model, framework_defaults};
use llmperforacle::cost::{CalibratedSpec, Graphs, Part};

/// In one piece, with KV in 16 bit and nothing changed by a document.
pub fn spec(device: &Device, model: &Model, engine: Engine, tp: u32, dtype: Dtype) -> CalibratedSpec {
    let defaults = framework_defaults(engine, device, tp).unwrap();
    CalibratedSpec {
        device: device.clone(),
        model: model.clone(),
        engine,
        part: Part::WHOLE,
        tp,
        dtype,
        kv_dtype: Dtype::Bf16,
        graphs: Graphs::of(engine, defaults.max_capture_tokens),
        host: defaults.host,
        sorts_logits: false,
        mixed_steps_add: false,
        device_time: 1.0,
        expert_skew: 0.7,
    }
}
