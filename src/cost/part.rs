//! Which part of a model a group of GPUs works on: the stages of a pipeline, the experts of a group of attention ranks.
//!
//! Layers over stages, with r left over when they do not divide: vLLM gives one more to the r stages before the last (the ends hold the
//! embedding and the LM head), SGLang to the last r, TensorRT-LLM to the first r (`get_pp_indices` of the first two, `pp_layers` of the third).

use super::network::Network;
use crate::catalog::{Engine, LinearLayers, MixtureOfExperts, Model, SlidingWindow};

/// What a stage holds beside its layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The embedding: the first stage.
    pub embedding: bool,
    /// The LM head, and with it sampling: the last stage.
    pub head: bool,
    /// Stages of the pipeline; 1 without one.
    pub stages: u32,
    /// Attention ranks with KV and requests of their own that share the experts; 1 without attention data parallelism.
    pub ranks: u32,
    /// GPUs over which whole experts are spread; 1 when each GPU has a slice of every expert.
    pub ep: u32,
    /// Copies of popular experts beside them, laid out by load; none when experts lie by number.
    pub redundant_experts: Option<u32>,
    /// How its GPUs lie on nodes.
    pub network: Network,
    /// Tokens go to the experts' GPUs one by one (DeepEP), not to all of them.
    pub all_to_all: bool,
}

impl Part {
    /// A model that is in one piece.
    pub const WHOLE: Part = Part {
        embedding: true,
        head: true,
        stages: 1,
        ranks: 1,
        ep: 1,
        redundant_experts: None,
        network: Network::ONE_NODE,
        all_to_all: false,
    };
}

/// Layers of each of `stages` stages, in order; they add up to `layers`.
pub fn layers_of_stages(engine: Engine, layers: u32, stages: u32) -> Vec<u32> {
    let stages = stages.max(1);
    let (each, left_over) = (layers / stages, layers % stages);
    let gets_more = |stage: u32| match engine {
        Engine::Vllm => stage + 1 < stages && stage + 1 + left_over >= stages,
        Engine::Sglang => stage + left_over >= stages,
        Engine::Trtllm => stage < left_over,
    };
    (0..stages).map(|stage| each + u32::from(gets_more(stage))).collect()
}

/// The stages of a model: each a model of its own layers, and what it holds beside them. Dense layers of a mixture of experts come first;
/// layers with a window, with a state or with KV are spread evenly.
pub fn stages(engine: Engine, model: &Model, stages: u32) -> Vec<(Model, Part)> {
    let counts = layers_of_stages(engine, model.layers, stages);
    let last = counts.len() - 1;
    let mut before = 0;
    let mut found = Vec::with_capacity(counts.len());
    for (index, layers) in counts.into_iter().enumerate() {
        let after = before + layers;
        let spread = |some: u32, upto: u32| u64::from(some) * u64::from(upto) / u64::from(model.layers.max(1));
        let evenly = |some: u32| (spread(some, after) - spread(some, before)) as u32;
        // Hybrid models have their dense layers among the others.
        let first = |some: u32| some.min(after) - some.min(before);
        let dense = |moe: MixtureOfExperts| if model.linear.is_some() { evenly(moe.dense_layers) } else { first(moe.dense_layers) };
        let part = Model {
            layers,
            moe: model.moe.map(|moe| MixtureOfExperts { dense_layers: dense(moe), ..moe }),
            sliding_window: model.sliding_window.map(|window| SlidingWindow { layers: evenly(window.layers), ..window }),
            linear: model.linear.map(|linear| LinearLayers {
                layers: evenly(linear.layers),
                attention_layers: evenly(linear.attention_layers),
                feed_forward_layers: evenly(linear.feed_forward_layers),
                ..linear
            }),
            ..model.clone()
        };
        found.push((part, Part { embedding: index == 0, head: index == last, stages: last as u32 + 1, ..Part::WHOLE }));
        before = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_left_over_go_where_each_engine_puts_them() {
        // 80 layers over 6 stages: 13 each, 2 left over. Over 4: even.
        assert_eq!(layers_of_stages(Engine::Vllm, 80, 6), [13, 13, 13, 14, 14, 13]);
        assert_eq!(layers_of_stages(Engine::Sglang, 80, 6), [13, 13, 13, 13, 14, 14]);
        assert_eq!(layers_of_stages(Engine::Trtllm, 80, 6), [14, 14, 13, 13, 13, 13]);
        // 61 layers of DeepSeek over two stages: the first takes one more in vLLM, as there is none between.
        assert_eq!(layers_of_stages(Engine::Vllm, 61, 2), [31, 30]);
        for engine in Engine::ALL {
            assert_eq!(layers_of_stages(engine, 80, 4), [20; 4]);
            for (layers, count) in [(61, 8), (126, 16), (7, 7), (32, 3)] {
                assert_eq!(layers_of_stages(engine, layers, count).iter().sum::<u32>(), layers);
            }
        }
    }

    #[test]
    fn stages_add_up_to_the_model() {
        for model in &crate::catalog::builtin().models {
            for count in [1, 2, 3, 4] {
                let parts = stages(Engine::Vllm, model, count);
                let sum = |of: fn(&Model) -> u64| parts.iter().map(|(part, _)| of(part)).sum::<u64>();
                assert_eq!(sum(Model::layer_parameters), model.layer_parameters(), "{} over {count}", model.name);
                let windows = sum(|part| part.sliding_window.map_or(0, |window| u64::from(window.layers)));
                assert_eq!(windows, model.sliding_window.map_or(0, |window| u64::from(window.layers)), "{} over {count}", model.name);
                let ends: Vec<(bool, bool)> = parts.iter().map(|(_, part)| (part.embedding, part.head)).collect();
                assert_eq!((ends[0].0, ends[ends.len() - 1].1), (true, true));
                assert_eq!(ends.iter().filter(|end| end.0).count() + ends.iter().filter(|end| end.1).count(), 2);
            }
        }
    }
}
