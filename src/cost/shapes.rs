//! The shapes of a model's operations and weights on one GPU of a tensor-parallel group.

use super::error::CannotModel;
use super::network::Network;
use super::part::Part;
use crate::catalog::{Device, Dtype, Model};

/// A dense product of one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub outputs: f64,
    pub inputs: f64,
    /// How many of the layers have it.
    pub layers: f64,
    /// Stays in 16 bit when weights are quantised (routers).
    pub sixteen_bit: bool,
}

/// Whether heads divide over `tp` GPUs: query heads evenly, KV heads evenly or replicated evenly.
pub(super) fn splits_evenly(model: &Model, tp: u32) -> bool {
    model.attention_heads.is_multiple_of(tp)
        && (model.kv_heads.is_multiple_of(tp) || tp.is_multiple_of(model.kv_heads))
        && model.linear.is_none_or(|linear| linear.heads.is_multiple_of(tp))
}

/// Whether `tp` GPUs of this device can share the model's layers.
pub(super) fn check_split(model: &Model, device: &Device, tp: u32, network: &Network) -> Result<(), CannotModel> {
    let faults = model.faults();
    if !faults.is_empty() {
        return Err(CannotModel::Model { model: model.name.clone(), faults });
    }
    let (within, nodes) = network.spread(tp);
    if within > device.devices_per_node {
        let link = device.interconnect.name.clone();
        return Err(CannotModel::AcrossNodes { device: device.name.clone(), link, tp, limit: device.devices_per_node });
    }
    if !tp.is_multiple_of(nodes) {
        return Err(CannotModel::UnevenOverNodes { tp, nodes });
    }
    if !splits_evenly(model, tp) {
        let possible = (1..=tp.max(device.devices_per_node)).filter(|tp| splits_evenly(model, *tp)).collect();
        return Err(CannotModel::HeadsNotDivisible { model: model.name.clone(), heads: model.attention_heads, tp, possible });
    }
    Ok(())
}

/// The dense products of the layers on one of `tp` GPUs.
pub(super) fn products(model: &Model, tp: u32) -> Vec<Product> {
    let share = |size: u32| f64::from(size.div_ceil(tp));
    let hidden = f64::from(model.hidden_size);
    let (layers, dense, sparse) = (f64::from(model.attention_layers()), f64::from(model.dense_layers()), f64::from(model.expert_layers()));
    let product = |outputs: f64, inputs: f64, layers: f64| Product { outputs, inputs, layers, sixteen_bit: false };
    let up = (model.feed_forward_matrices() - 1) as f64;
    let mut products = match model.mla {
        None => {
            let head_dim = f64::from(model.head_dim);
            let heads = share(model.attention_heads);
            let queries = if model.linear.is_some_and(|linear| linear.attention_gate) { 2.0 * heads } else { heads };
            vec![
                product((queries + 2.0 * f64::from(model.kv_heads_per_rank(tp))) * head_dim, hidden, layers),
                product(hidden, heads * head_dim, layers),
            ]
        }
        Some(mla) => {
            let heads = share(model.attention_heads);
            let query = heads * f64::from(mla.qk_nope_head_dim + mla.qk_rope_head_dim);
            let (q_rank, kv_rank) = (f64::from(mla.q_lora_rank), f64::from(mla.kv_lora_rank));
            let compressed_kv = kv_rank + f64::from(mla.qk_rope_head_dim);
            let mut list = if mla.q_lora_rank == 0 {
                vec![product(query, hidden, layers), product(compressed_kv, hidden, layers)]
            } else {
                // The two compressions are one product.
                vec![product(q_rank + compressed_kv, hidden, layers), product(query, q_rank, layers)]
            };
            list.push(product(heads * f64::from(mla.qk_nope_head_dim + mla.v_head_dim), kv_rank, layers));
            list.push(product(hidden, heads * f64::from(mla.v_head_dim), layers));
            list
        }
    };
    if let Some(linear) = model.linear {
        let of_one = linear.products(model.hidden_size, tp);
        products.extend(of_one.into_iter().map(|(outputs, inputs)| product(outputs as f64, inputs as f64, f64::from(linear.layers))));
    }
    if dense > 0.0 {
        products.push(product(up * share(model.intermediate_size), hidden, dense));
        products.push(product(hidden, share(model.intermediate_size), dense));
    }
    if let Some(moe) = model.moe {
        products.push(Product { outputs: f64::from(moe.experts), inputs: hidden, layers: sparse, sixteen_bit: true });
        if moe.shared_intermediate_size > 0 {
            products.push(product(up * share(moe.shared_intermediate_size), hidden, sparse));
            products.push(product(hidden, share(moe.shared_intermediate_size), sparse));
        }
    }
    products
}

/// Whether a format covers the routed experts only: models published in mxfp4 keep the rest in 16 bit.
pub(super) fn quantises_experts_only(model: &Model, dtype: Dtype) -> bool {
    dtype == Dtype::Mxfp4 && model.moe.is_some()
}

/// Bytes of weights that each of `tp` GPUs holds of a model in one piece.
pub fn weight_bytes_per_rank(model: &Model, tp: u32, dtype: Dtype) -> f64 {
    weight_bytes_of_part(model, Part::WHOLE, tp, dtype)
}

/// Bytes of weights that each of `tp` GPUs holds of a part, whose layers are the model's. Embeddings and LM head are cut by vocabulary and
/// stay in 16 bit, as do routers; where the two are one matrix, both ends of a pipeline have a copy.
pub fn weight_bytes_of_part(model: &Model, part: Part, tp: u32, dtype: Dtype) -> f64 {
    let sixteen = Dtype::Bf16.weight_bytes();
    let size = |product: &Product| {
        let bytes = if product.sixteen_bit || quantises_experts_only(model, dtype) { sixteen } else { dtype.weight_bytes() };
        product.layers * product.outputs * product.inputs * bytes
    };
    let dense: f64 = products(model, tp).iter().map(size).sum();
    let copies = model.moe.map_or(0.0, |moe| f64::from(part.redundant_experts.unwrap_or(0)) / f64::from(moe.experts));
    let parameters = f64::from(model.expert_layers()) * model.routed_expert_parameters() as f64 * (1.0 + copies);
    let experts = parameters * dtype.weight_bytes() / f64::from(tp * part.ranks);
    let one = f64::from(model.vocab_size) * f64::from(model.hidden_size);
    let matrices = if part.embedding && part.head && model.tied_embeddings { 1 } else { u32::from(part.embedding) + u32::from(part.head) };
    dense + experts + f64::from(matrices) * one * sixteen / f64::from(tp)
}
