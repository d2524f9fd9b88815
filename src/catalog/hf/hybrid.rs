//! Hybrid families: which layers have a state in place of KV, and its shape, in the words of each family's `config.json`.

use serde_json::Value;

use super::Keys;
use crate::catalog::linear::{LinearKind, LinearLayers};

/// Families some of whose layers have linear attention or a state space.
pub(super) const HYBRIDS: [&str; 13] = [
    "qwen3_next",
    "qwen3_5",
    "qwen3_5_text",
    "qwen3_5_moe",
    "qwen3_5_moe_text",
    "kimi_linear",
    "minimax",
    "minimax_text_01",
    "minimax_m1",
    "nemotron_h",
    "granitemoehybrid",
    "falcon_h1",
    "jamba",
];

/// Whether this model of a hybrid family has experts.
pub(super) fn has_experts(keys: &Keys<'_>, family: &str) -> bool {
    let number = |key: &str| keys.object.get(key).and_then(Value::as_u64).unwrap_or(0);
    match family {
        "nemotron_h" => pattern(keys).contains('E'),
        "falcon_h1" | "qwen3_5" | "qwen3_5_text" => false,
        "granitemoehybrid" => number("num_local_experts") > 0,
        _ => HYBRIDS.contains(&family),
    }
}

/// Layers of a hybrid mixture that have a dense feed-forward instead of experts; `None` where the usual keys say it.
pub(super) fn dense_layers(keys: &mut Keys<'_>, family: &str, layers: u32) -> Option<u32> {
    match family {
        "nemotron_h" => Some(pattern(keys).matches('-').count() as u32),
        "jamba" => {
            let period = keys.optional(&["expert_layer_period"]).unwrap_or(2).max(1);
            let offset = keys.optional(&["expert_layer_offset"]).unwrap_or(1);
            Some(layers - every(layers, period, offset))
        }
        _ => None,
    }
}

/// Layers `offset`, `offset + period` …
fn every(layers: u32, period: u32, offset: u32) -> u32 {
    (0..layers).filter(|layer| layer % period == offset % period).count() as u32
}

/// Nemotron-H's layers: M for Mamba-2, * for attention, - for a dense feed-forward, E for experts.
fn pattern<'a>(keys: &Keys<'a>) -> &'a str {
    keys.object.get("hybrid_override_pattern").and_then(Value::as_str).unwrap_or("")
}

/// How many entries of a list under `key` are `name`, or begin so.
fn counted(keys: &Keys<'_>, key: &str, name: &str) -> Option<u32> {
    let list = keys.object.get(key)?.as_array()?;
    Some(list.iter().filter(|entry| entry.as_str().is_some_and(|entry| entry.starts_with(name))).count() as u32)
}

/// The layers with a state; `None` for families that have none.
pub(super) fn linear_of(keys: &mut Keys<'_>, family: &str, layers: u32, hidden: u32) -> Option<LinearLayers> {
    if !HYBRIDS.contains(&family) {
        for key in ["layers_block_type", "linear_num_value_heads", "ssm_cfg", "mamba_d_state", "num_ssm_heads"] {
            if keys.object.contains_key(key) {
                keys.faults.push(format!("{key}: layers with linear attention or state spaces are not known of model_type \"{family}\""));
            }
        }
        return None;
    }
    let float32_state = keys.object.get("mamba_ssm_dtype").and_then(Value::as_str) == Some("float32");
    let common = LinearLayers {
        kind: LinearKind::Mamba2,
        layers: 0,
        attention_layers: 0,
        feed_forward_layers: layers,
        heads: 0,
        head_dim: 0,
        key_heads: 0,
        state_dim: 0,
        conv_kernel: 0,
        rank: 0,
        attention_gate: false,
        float32_state,
    };
    let split = |full: u32| LinearLayers { layers: layers.saturating_sub(full), attention_layers: full, ..common };
    Some(match family {
        "qwen3_next" | "qwen3_5" | "qwen3_5_text" | "qwen3_5_moe" | "qwen3_5_moe_text" => {
            let full = counted(keys, "layer_types", "full_attention")
                .unwrap_or_else(|| layers / keys.optional(&["full_attention_interval"]).unwrap_or(4).max(1));
            LinearLayers {
                kind: LinearKind::GatedDeltaNet,
                heads: keys.required(&["linear_num_value_heads"]),
                head_dim: keys.required(&["linear_value_head_dim"]),
                key_heads: keys.required(&["linear_num_key_heads"]),
                state_dim: keys.required(&["linear_key_head_dim"]),
                conv_kernel: keys.required(&["linear_conv_kernel_dim"]),
                attention_gate: keys.flag("attn_output_gate", true),
                ..split(full)
            }
        }
        "kimi_linear" => kimi(keys, split(0)),
        "minimax" | "minimax_text_01" | "minimax_m1" => {
            let full = counted(keys, "layer_types", "full_attention").or_else(|| {
                let list = keys.object.get("attn_type_list")?.as_array()?;
                Some(list.iter().filter(|kind| kind.as_u64() == Some(1)).count() as u32)
            });
            let full = full.unwrap_or_else(|| {
                keys.faults.push("attn_type_list is missing: which layers have linear attention".to_owned());
                layers
            });
            let heads = keys.required(&["num_attention_heads"]);
            let width = keys.optional(&["head_dim"]).unwrap_or(hidden / heads.max(1));
            LinearLayers { kind: LinearKind::Lightning, heads, head_dim: width, key_heads: heads, state_dim: width, ..split(full) }
        }
        "nemotron_h" => {
            let pattern = pattern(keys);
            if pattern.len() as u32 != layers {
                keys.faults.push(format!("hybrid_override_pattern has {} layers, num_hidden_layers is {layers}", pattern.len()));
            }
            let count = |letter: char| pattern.matches(letter).count() as u32;
            LinearLayers {
                heads: keys.required(&["mamba_num_heads"]),
                head_dim: keys.required(&["mamba_head_dim"]),
                key_heads: keys.required(&["n_groups", "mamba_n_groups"]),
                state_dim: keys.required(&["ssm_state_size", "mamba_d_state"]),
                conv_kernel: keys.required(&["conv_kernel", "mamba_d_conv"]),
                layers: count('M'),
                attention_layers: count('*'),
                feed_forward_layers: count('-') + count('E'),
                ..common
            }
        }
        "jamba" => {
            let period = keys.optional(&["attn_layer_period"]).unwrap_or(8).max(1);
            let offset = keys.optional(&["attn_layer_offset"]).unwrap_or(4);
            let expand = keys.optional(&["mamba_expand"]).unwrap_or(2);
            let rank = match keys.object.get("mamba_dt_rank") {
                Some(Value::Number(_)) => keys.required(&["mamba_dt_rank"]),
                _ => hidden.div_ceil(16),
            };
            LinearLayers {
                kind: LinearKind::Mamba1,
                heads: hidden.saturating_mul(expand),
                head_dim: 1,
                key_heads: 1,
                state_dim: keys.optional(&["mamba_d_state"]).unwrap_or(16),
                conv_kernel: keys.optional(&["mamba_d_conv"]).unwrap_or(4),
                rank,
                ..split(every(layers, period, offset))
            }
        }
        // Granite 4 and Falcon-H1.
        _ => {
            let expand = keys.optional(&["mamba_expand"]).unwrap_or(2);
            let heads = keys.required(&["mamba_n_heads"]);
            let width = keys.optional(&["mamba_d_ssm"]).unwrap_or(hidden.saturating_mul(expand));
            let head_dim = match keys.object.get("mamba_d_head") {
                Some(Value::Number(_)) => keys.required(&["mamba_d_head"]),
                _ => width / heads.max(1),
            };
            let full = if family == "falcon_h1" { layers } else { counted(keys, "layer_types", "attention").unwrap_or(0) };
            LinearLayers {
                heads,
                head_dim,
                key_heads: keys.required(&["mamba_n_groups"]),
                state_dim: keys.required(&["mamba_d_state"]),
                conv_kernel: keys.required(&["mamba_d_conv"]),
                layers: if family == "falcon_h1" { layers } else { layers.saturating_sub(full) },
                attention_layers: full,
                ..common
            }
        }
    })
}

/// Kimi Linear keeps the shape in a part of its own; both gates go by the width of a head.
fn kimi(keys: &mut Keys<'_>, common: LinearLayers) -> LinearLayers {
    let Some(Value::Object(own)) = keys.object.get("linear_attn_config") else {
        keys.faults.push("linear_attn_config is missing".to_owned());
        return common;
    };
    let count = |key: &str| own.get(key).and_then(Value::as_array).map_or(0, |list| list.len() as u32);
    let (layers, attention_layers) = (count("kda_layers"), count("full_attn_layers"));
    let mut part = Keys { object: own, faults: Vec::new() };
    let (heads, head_dim) = (part.required(&["num_heads"]), part.required(&["head_dim"]));
    let conv_kernel = part.optional(&["short_conv_kernel_size"]).unwrap_or(4);
    let faults = part.faults;
    keys.faults.extend(faults);
    LinearLayers {
        kind: LinearKind::KimiDelta,
        layers,
        attention_layers,
        heads,
        head_dim,
        key_heads: heads,
        state_dim: head_dim,
        conv_kernel,
        rank: head_dim,
        float32_state: true,
        ..common
    }
}
