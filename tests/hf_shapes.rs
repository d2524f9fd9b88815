//! Shapes of public models' config.json, shortened to the keys that matter, against the parameters that their makers publish: families
//! beyond those of tests/catalog_facts.rs, and those that are refused in words.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::catalog::Model;
use serde_json::{Value, json};

/// Reads a shape and holds it against KV values a layer and published parameters, 1e9.
fn read(config: &Value, kv_values: u64, billions: f64) -> Model {
    let model = Model::from_hf_config(config, "m").unwrap_or_else(|faults| panic!("{config}: {faults:?}"));
    assert_eq!(model.kv_values_per_layer(), kv_values, "{config}");
    let count = model.parameters_from_shape() as f64 / 1e9;
    assert!((count / billions - 1.0).abs() < 0.01, "{config}: {count}, {billions} published");
    model
}

fn window(model: &Model) -> Option<(u32, u32)> {
    model.sliding_window.map(|window| (window.tokens, window.layers))
}

#[test]
fn dense_families_are_read() {
    // SmolLM3-3B.
    read(
        &json!({"model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16, "num_key_value_heads": 4,
        "num_hidden_layers": 36, "vocab_size": 128256, "max_position_embeddings": 65536, "tie_word_embeddings": true}),
        1024,
        3.08,
    );
    // OLMo-7B-hf and Olmo-3-7B: three layers in four look back 4096 tokens.
    read(
        &json!({"model_type": "olmo", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32,
        "vocab_size": 50304, "max_position_embeddings": 2048}),
        8192,
        6.89,
    );
    let types: Vec<&str> = (0..32).map(|layer| if layer % 4 == 3 { "full_attention" } else { "sliding_attention" }).collect();
    let olmo3 = read(
        &json!({"model_type": "olmo3", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": 32,
        "num_hidden_layers": 32, "vocab_size": 100278, "max_position_embeddings": 65536, "sliding_window": 4096, "layer_types": types,
        "tie_word_embeddings": false}),
        8192,
        7.30,
    );
    assert_eq!(window(&olmo3), Some((4096, 24)));
    // Seed-OSS-36B.
    read(
        &json!({"model_type": "seed_oss", "hidden_size": 5120, "intermediate_size": 27648, "num_attention_heads": 80, "num_key_value_heads": 8,
        "head_dim": 128, "num_hidden_layers": 64, "vocab_size": 155136, "max_position_embeddings": 524288, "tie_word_embeddings": false}),
        2048,
        36.15,
    );
    // Hunyuan-7B and ERNIE-4.5-0.3B.
    read(
        &json!({"model_type": "hunyuan_v1_dense", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 32, "vocab_size": 128167, "max_position_embeddings": 262144,
        "tie_word_embeddings": true}),
        2048,
        7.5,
    );
    read(
        &json!({"model_type": "ernie4_5", "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 2,
        "head_dim": 128, "num_hidden_layers": 18, "vocab_size": 103424, "max_position_embeddings": 131072, "tie_word_embeddings": true}),
        512,
        0.36,
    );
    // EXAONE-4.0-32B, whose pattern is in letters.
    let exaone = read(
        &json!({"model_type": "exaone4", "hidden_size": 5120, "intermediate_size": 27392, "num_attention_heads": 40, "num_key_value_heads": 8,
        "num_hidden_layers": 64, "vocab_size": 102400, "max_position_embeddings": 131072, "sliding_window": 4096, "sliding_window_pattern": "LLLG",
        "tie_word_embeddings": false}),
        2048,
        32.0,
    );
    assert_eq!(window(&exaone), Some((4096, 48)));
    // Baichuan2-7B, Qwen-7B (whose intermediate_size is gate and value together), ChatGLM3-6B and MiniCPM-2B.
    read(
        &json!({"model_type": "baichuan", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32,
        "vocab_size": 125696, "model_max_length": 4096, "tie_word_embeddings": false}),
        8192,
        7.51,
    );
    read(
        &json!({"model_type": "qwen", "hidden_size": 4096, "intermediate_size": 22016, "num_attention_heads": 32, "num_hidden_layers": 32,
        "kv_channels": 128, "vocab_size": 151936, "seq_length": 8192, "tie_word_embeddings": false}),
        8192,
        7.72,
    );
    read(
        &json!({"model_type": "chatglm", "hidden_size": 4096, "ffn_hidden_size": 13696, "num_attention_heads": 32, "num_layers": 28,
        "kv_channels": 128, "multi_query_attention": true, "multi_query_group_num": 2, "padded_vocab_size": 65024, "seq_length": 8192}),
        512,
        6.24,
    );
    read(
        &json!({"model_type": "minicpm", "hidden_size": 2304, "intermediate_size": 5760, "num_attention_heads": 36, "num_key_value_heads": 36,
        "num_hidden_layers": 40, "vocab_size": 122753, "max_position_embeddings": 4096, "tie_word_embeddings": true}),
        4608,
        2.72,
    );
    // InternLM3-8B.
    read(
        &json!({"model_type": "internlm3", "hidden_size": 4096, "intermediate_size": 10240, "num_attention_heads": 32, "num_key_value_heads": 2,
        "head_dim": 128, "num_hidden_layers": 48, "vocab_size": 128512, "max_position_embeddings": 32768, "tie_word_embeddings": false}),
        512,
        8.80,
    );
}

#[test]
fn families_with_two_matrices_are_read() {
    // Minitron-8B, AFM-4.5B, Apertus-8B.
    let nemotron = read(
        &json!({"model_type": "nemotron", "hidden_size": 4096, "intermediate_size": 16384, "num_attention_heads": 48, "num_key_value_heads": 8,
        "head_dim": 128, "num_hidden_layers": 32, "vocab_size": 256000, "max_position_embeddings": 4096, "tie_word_embeddings": false}),
        2048,
        8.27,
    );
    assert!(!nemotron.gated);
    read(
        &json!({"model_type": "arcee", "hidden_size": 2560, "intermediate_size": 18432, "num_attention_heads": 20, "num_key_value_heads": 4,
        "head_dim": 128, "num_hidden_layers": 36, "vocab_size": 128004, "max_position_embeddings": 65536, "tie_word_embeddings": false}),
        1024,
        4.62,
    );
    read(
        &json!({"model_type": "apertus", "hidden_size": 4096, "intermediate_size": 21504, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": 32, "vocab_size": 131072, "max_position_embeddings": 65536, "tie_word_embeddings": false}),
        2048,
        8.05,
    );
    // MPT-7B, GPT-J-6B, StarCoder.
    let mpt = read(
        &json!({"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32, "expansion_ratio": 4, "max_seq_len": 2048, "vocab_size": 50432,
        "attn_config": {"alibi": true, "attn_impl": "torch"}}),
        8192,
        6.65,
    );
    assert!(mpt.tied_embeddings);
    read(
        &json!({"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_layer": 28, "n_positions": 2048, "n_inner": null, "vocab_size": 50400,
        "tie_word_embeddings": false}),
        8192,
        6.05,
    );
    read(
        &json!({"model_type": "gpt_bigcode", "n_embd": 6144, "n_head": 48, "n_layer": 40, "n_inner": 24576, "n_positions": 8192, "vocab_size": 49152,
        "multi_query": true}),
        256,
        15.5,
    );
}

#[test]
fn mixtures_are_read() {
    // DBRX keeps attention and feed-forward in parts of their own.
    let dbrx = read(
        &json!({"model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32768, "vocab_size": 100352,
        "attn_config": {"kv_n_heads": 8, "clip_qkv": 8}, "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
        "tie_word_embeddings": false}),
        2048,
        131.6,
    );
    assert_eq!(dbrx.moe.map(|moe| (moe.experts, moe.experts_per_token)), Some((16, 4)));
    // Granite-3.1-3B-A800M, Phi-3.5-MoE, dots.llm1.
    read(
        &json!({"model_type": "granitemoe", "hidden_size": 1536, "intermediate_size": 512, "num_attention_heads": 24, "num_key_value_heads": 8,
        "num_hidden_layers": 32, "num_local_experts": 40, "num_experts_per_tok": 8, "vocab_size": 49155, "max_position_embeddings": 131072,
        "tie_word_embeddings": true}),
        1024,
        3.3,
    );
    read(
        &json!({"model_type": "phimoe", "hidden_size": 4096, "intermediate_size": 6400, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": 32, "num_local_experts": 16, "num_experts_per_tok": 2, "vocab_size": 32064, "max_position_embeddings": 131072,
        "tie_word_embeddings": false}),
        2048,
        41.9,
    );
    read(
        &json!({"model_type": "dots1", "hidden_size": 4096, "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_attention_heads": 32,
        "num_key_value_heads": 32, "head_dim": 128, "num_hidden_layers": 62, "n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6,
        "first_k_dense_replace": 1, "vocab_size": 152064, "max_position_embeddings": 32768, "tie_word_embeddings": false}),
        8192,
        142.8,
    );
    // ERNIE-4.5-21B-A3B: the first layer is dense. Hunyuan-A13B gives a number for each layer.
    let ernie = read(
        &json!({"model_type": "ernie4_5_moe", "hidden_size": 2560, "intermediate_size": 12288, "moe_intermediate_size": 1536,
        "num_attention_heads": 20, "num_key_value_heads": 4, "head_dim": 128, "num_hidden_layers": 28, "moe_num_experts": 64, "moe_k": 6,
        "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_end_index": 27, "moe_layer_interval": 1, "vocab_size": 103424,
        "max_position_embeddings": 131072, "tie_word_embeddings": true}),
        1024,
        21.8,
    );
    assert_eq!(ernie.moe.map(|moe| (moe.dense_layers, moe.shared_intermediate_size)), Some((1, 3072)));
    let list = |value: u32| vec![value; 32];
    read(
        &json!({"model_type": "hunyuan_v1_moe", "hidden_size": 4096, "intermediate_size": 3072, "moe_intermediate_size": list(3072),
        "moe_topk": list(8), "num_shared_expert": list(1), "num_experts": 64, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "num_hidden_layers": 32, "vocab_size": 128167, "max_position_embeddings": 32768, "tie_word_embeddings": true}),
        2048,
        80.4,
    );
    // Llama 4: Scout has experts in every layer, Maverick in every other one; three layers in four look back over a chunk.
    let llama4 = |experts: u32, step: u32| {
        json!({"model_type": "llama4", "text_config": {"model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
        "intermediate_size_mlp": 16384, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 48,
        "num_local_experts": experts, "num_experts_per_tok": 1, "interleave_moe_layer_step": step, "attention_chunk_size": 8192,
        "no_rope_layers": [], "vocab_size": 202048, "max_position_embeddings": 1048576, "tie_word_embeddings": false}})
    };
    let scout = read(&llama4(16, 1), 2048, 107.8);
    assert_eq!((scout.dense_layers(), window(&scout)), (0, Some((8192, 36))));
    let maverick = read(&llama4(128, 2), 2048, 400.7);
    assert_eq!((maverick.dense_layers(), maverick.expert_layers()), (24, 24));
}

#[test]
fn what_is_not_modelled_is_refused_in_words() {
    let refused = |config: Value, text: &str| {
        let faults = Model::from_hf_config(&config, "m").unwrap_err().join("; ");
        assert!(faults.contains(text), "{config}: {faults}");
    };
    refused(json!({"model_type": "mamba2", "hidden_size": 4096, "num_hidden_layers": 64}), "states alone");
    refused(json!({"model_type": "longcat_flash", "hidden_size": 6144, "num_layers": 28}), "two attentions a layer");
    refused(json!({"model_type": "step3_vl", "text_config": {"model_type": "step3_text", "hidden_size": 7168}}), "factorised");
    refused(json!({"model_type": "nemotron-nas", "hidden_size": 8192, "block_configs": []}), "differ from layer to layer");
    refused(json!({"model_type": "deepseek_v32", "hidden_size": 7168, "index_topk": 2048}), "indexer");
    refused(json!({"model_type": "something_new", "hidden_size": 4096}), "\"something_new\" is not known; known are llama");
    // Layers that are not alike are told by their key.
    refused(
        json!({"model_type": "hunyuan_v1_moe", "hidden_size": 4096, "intermediate_size": 3072, "moe_intermediate_size": [3072, 4096], "num_experts": 64,
        "moe_topk": 8, "num_attention_heads": 32, "num_hidden_layers": 2, "vocab_size": 128167, "max_position_embeddings": 32768}),
        "moe_intermediate_size differs from layer to layer",
    );
}
