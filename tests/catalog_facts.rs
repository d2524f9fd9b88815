//! The catalog against facts that stand outside it: data sheets, published parameter counts, KV sizes worked by hand, and config.json files
//! of a dozen families.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::catalog::{Model, SheetConfidence, builtin};
use serde_json::{Value, json};

/// tests/fixtures/hardware.csv: data sheets as vendors' pages and files that cite them give them, the source in the last column.
#[test]
fn data_sheets_are_the_published_ones() {
    let mut rows = 0;
    // Where sources differ, what the catalog took and why is in its own source field.
    let differs = [
        // 100 GB/s with the bridge; without one, PCIe.
        ("A30", "link"),
        // 7.7 TB/s of the calibration's files, 8 TB/s on the sheet.
        ("B200", "bandwidth"),
        // 12,600 or 14,000 dense TFLOP/s by source; int8 was cut on the Ultra.
        ("B300", "fp4"),
        ("B300", "int8"),
        ("GB300", "int8"),
    ];
    for line in include_str!("fixtures/hardware.csv").lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let device = builtin().device(cells[0]).unwrap();
        assert_eq!(device.name, cells[0]);
        let number = |i: usize| cells[i].parse::<f64>().ok();
        let bf16 = number(2).or(number(1));
        let facts = [
            ("bf16", bf16.map(|x| x * 1e12), Some(device.bf16_flops), 0.005),
            ("fp8", number(3).map(|x| x * 1e12), device.fp8_flops, 0.005),
            ("int8", number(4).map(|x| x * 1e12), device.int8_flops, 0.005),
            ("fp4", number(5).map(|x| x * 1e12), device.fp4_flops, 0.005),
            ("bandwidth", number(7).map(|x| x * 1e9), Some(device.memory_bytes_per_s), 0.005),
            // PCIe is given before or after its coding.
            ("link", number(8).map(|x| x * 1e9), Some(device.interconnect.bytes_per_s), 0.04),
            ("power", number(9), device.tdp_w, 0.005),
        ];
        for (what, sheet, ours, within) in facts {
            let Some(sheet) = sheet else { continue };
            if differs.contains(&(cells[0], what)) {
                continue;
            }
            let ours = ours.unwrap_or_else(|| panic!("{}: no {what}, {sheet} on the sheet", cells[0]));
            assert!((ours / sheet - 1.0).abs() <= within, "{}: {what} is {ours}, {sheet} on the sheet", cells[0]);
        }
        // What CUDA reports as usable is below the sheet's gigabytes, binary or decimal.
        let sheet_gb = number(6).unwrap();
        assert!(
            (0.9 * sheet_gb * 1e9..=sheet_gb * (1_u64 << 30) as f64).contains(&device.memory_bytes),
            "{}: {}",
            cells[0],
            device.memory_bytes
        );
        if cells[10] == "low" {
            assert_eq!(device.sheet_confidence, SheetConfidence::Low, "{}", cells[0]);
        }
        rows += 1;
    }
    assert!(rows >= 30, "{rows} devices");
}

#[test]
fn every_device_names_its_source_and_a_usual_node() {
    for device in &builtin().devices {
        assert!(device.source.len() > 10, "{}", device.name);
        let node = builtin().node(&format!("{}x{}", device.devices_per_node, device.name)).unwrap();
        assert_eq!(node.devices, device.devices_per_node);
        assert!(device.interconnect.latency_us > 0.0 && device.interconnect.bytes_per_s >= 10e9, "{}", device.name);
    }
}

#[test]
fn links_are_the_published_ones() {
    // One direction, GB/s: NVLink 2 to 5 (half of the advertised 300, 600, 900 and 1800), Infinity Fabric, PCIe before coding.
    for (device, name, gb_per_s) in [
        ("V100-SXM2-32GB", "NVLink2", 150.0),
        ("A100-SXM-80GB", "NVLink3", 300.0),
        ("H100-SXM", "NVLink4", 450.0),
        ("H200-SXM", "NVLink4", 450.0),
        ("B200", "NVLink5", 900.0),
        ("MI300X", "Infinity Fabric", 448.0),
        ("L40S", "PCIe4", 32.0),
        ("RTX-PRO-6000", "PCIe5", 64.0),
    ] {
        let link = &builtin().device(device).unwrap().interconnect;
        assert_eq!((link.name.as_str(), link.bytes_per_s / 1e9), (name, gb_per_s), "{device}");
    }
}

#[test]
fn parameter_counts_are_the_published_ones_within_one_percent() {
    // Model cards and papers, in 1e9. Not the catalog's own column.
    let published = [
        ("Llama2-7B", 6.74),
        ("Llama2-13B", 13.02),
        ("Llama2-70B", 68.98),
        ("Llama3-8B", 8.03),
        ("Llama-3.1-8B", 8.03),
        ("Llama-3.1-70B", 70.55),
        ("Llama-3.1-405B", 405.85),
        ("Llama-3.2-1B", 1.236),
        ("Llama-3.2-3B", 3.213),
        ("Mistral-7B-v0.3", 7.25),
        ("Mistral-Nemo-12B", 12.25),
        ("Mistral-Small-24B", 23.57),
        ("Mistral-Large-123B", 122.6),
        ("Mixtral-8x7B", 46.7),
        ("Mixtral-8x22B", 140.6),
        ("Qwen2.5-0.5B", 0.494),
        ("Qwen2.5-7B", 7.62),
        ("Qwen2.5-14B", 14.77),
        ("Qwen2.5-32B", 32.76),
        ("Qwen2.5-72B", 72.71),
        ("Qwen3-8B", 8.19),
        ("Qwen3-14B", 14.77),
        ("Qwen3-32B", 32.76),
        ("Qwen3-30B-A3B", 30.53),
        ("Qwen3-235B-A22B", 235.1),
        ("DeepSeek-V3", 671.0),
        ("DeepSeek-V2-Lite", 15.7),
        ("gpt-oss-20b", 20.91),
        ("gpt-oss-120b", 116.83),
        ("Gemma2-9B", 9.24),
        ("Gemma2-27B", 27.23),
        ("Phi-4", 14.66),
        ("GPT-3-175B", 175.0),
        ("Yi-34B", 34.39),
    ];
    for (name, billions) in published {
        let count = builtin().model(name).unwrap().parameters_from_shape() as f64 / 1e9;
        assert!((count / billions - 1.0).abs() < 0.01, "{name}: {count}, {billions} published");
    }
}

#[test]
fn kv_bytes_per_token_are_those_worked_by_hand() {
    // 2 (key, value) x layers x KV heads x width x 2 bytes; latent attention: layers x (512 + 64) x 2.
    for (name, bytes) in [
        ("Llama2-7B", 524_288),      // 2 x 32 x 32 x 128 x 2
        ("Llama2-70B", 327_680),     // 2 x 80 x 8 x 128 x 2
        ("Llama-3.1-8B", 131_072),   // 2 x 32 x 8 x 128 x 2
        ("Llama-3.1-405B", 516_096), // 2 x 126 x 8 x 128 x 2
        ("Mixtral-8x7B", 131_072),   // 2 x 32 x 8 x 128 x 2
        ("Qwen2.5-7B", 57_344),      // 2 x 28 x 4 x 128 x 2
        ("Qwen3-32B", 262_144),      // 2 x 64 x 8 x 128 x 2
        ("Qwen3-30B-A3B", 98_304),   // 2 x 48 x 4 x 128 x 2
        ("Gemma2-27B", 376_832),     // 2 x 46 x 16 x 128 x 2
        ("gpt-oss-120b", 73_728),    // 2 x 36 x 8 x 64 x 2
        ("DeepSeek-V3", 70_272),     // 61 x 576 x 2
        ("GPT-3-175B", 4_718_592),   // 2 x 96 x 96 x 128 x 2
        ("CodeLlama-34B", 196_608),  // 2 x 48 x 8 x 128 x 2
        ("GLM-4-9B", 40_960),        // 2 x 40 x 2 x 128 x 2
    ] {
        let model = builtin().model(name).unwrap();
        assert_eq!(2 * model.kv_values_per_layer() * u64::from(model.layers), bytes, "{name}");
    }
}

/// Layers, KV values a layer, and parameters (1e9, published) of a config.json.
fn read(config: Value, layers: u32, kv_values: u64, billions: f64) -> Model {
    let model = Model::from_hf_config(&config, "m").unwrap_or_else(|faults| panic!("{config}: {faults:?}"));
    assert_eq!((model.layers, model.kv_values_per_layer()), (layers, kv_values), "{config}");
    let count = model.parameters_from_shape() as f64 / 1e9;
    assert!((count / billions - 1.0).abs() < 0.015, "{config}: {count}, {billions} published");
    model
}

#[test]
fn config_files_of_many_families_are_read() {
    // Shapes from the models' public config.json files, shortened to the keys that matter; counts from the model cards.
    read(
        json!({"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "vocab_size": 32768, "max_position_embeddings": 32768, "sliding_window": null}),
        32,
        2048,
        7.25,
    );
    read(
        json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32, "num_hidden_layers": 36,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": false}),
        36,
        2048,
        8.19,
    );
    read(
        json!({"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
        "num_experts_per_tok": 8, "num_attention_heads": 32, "num_hidden_layers": 48, "num_key_value_heads": 4, "head_dim": 128,
        "vocab_size": 151936, "max_position_embeddings": 40960, "decoder_sparse_step": 1, "mlp_only_layers": [], "tie_word_embeddings": false}),
        48,
        1024,
        30.53,
    );
    let oss = read(
        json!({"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_attention_heads": 64, "num_hidden_layers": 36,
        "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 128, "experts_per_token": 4, "vocab_size": 201088,
        "max_position_embeddings": 131072, "sliding_window": 128, "tie_word_embeddings": false}),
        36,
        1024,
        116.83,
    );
    assert_eq!(oss.sliding_window.map(|window| (window.tokens, window.layers)), Some((128, 18)));
    // A multimodal config keeps the decoder in a part of its own; five layers in six look back 1024 tokens.
    let gemma = read(
        json!({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360,
        "num_attention_heads": 16, "num_hidden_layers": 48, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 262208,
        "max_position_embeddings": 131072, "sliding_window": 1024, "sliding_window_pattern": 6}}),
        48,
        4096,
        11.77,
    );
    assert_eq!(gemma.sliding_window.map(|window| window.layers), Some(40));
    read(
        json!({"model_type": "phi3", "hidden_size": 5120, "intermediate_size": 17920, "num_attention_heads": 40, "num_hidden_layers": 40,
        "num_key_value_heads": 10, "vocab_size": 100352, "max_position_embeddings": 16384, "tie_word_embeddings": false, "sliding_window": null}),
        40,
        2560,
        14.66,
    );
    read(
        json!({"model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 128,
        "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 1, "num_attention_heads": 96, "num_hidden_layers": 46,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151552, "max_position_embeddings": 131072, "tie_word_embeddings": false}),
        46,
        2048,
        106.9,
    );
    read(
        json!({"model_type": "kimi_k2", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 384,
        "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_attention_heads": 64,
        "num_key_value_heads": 64, "num_hidden_layers": 61, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 163840, "max_position_embeddings": 131072}),
        61,
        576,
        1026.0,
    );
    read(
        json!({"model_type": "minimax_m2", "hidden_size": 3072, "intermediate_size": 1536, "num_local_experts": 256, "num_experts_per_tok": 8,
        "num_attention_heads": 48, "num_hidden_layers": 62, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 200064,
        "max_position_embeddings": 196608, "tie_word_embeddings": false}),
        62,
        2048,
        228.7,
    );
    let opt = read(
        json!({"model_type": "opt", "hidden_size": 5120, "ffn_dim": 20480, "num_attention_heads": 40, "num_hidden_layers": 40, "vocab_size": 50272,
        "max_position_embeddings": 2048}),
        40,
        10_240,
        12.85,
    );
    assert!(!opt.gated && opt.tied_embeddings);
    read(
        json!({"model_type": "gpt2", "n_embd": 1600, "n_head": 25, "n_layer": 48, "n_positions": 1024, "vocab_size": 50257}),
        48,
        3200,
        1.557,
    );
    read(
        json!({"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "num_hidden_layers": 32, "multi_query": true,
        "new_decoder_architecture": false, "vocab_size": 65024}),
        32,
        128,
        6.92,
    );
    read(
        json!({"model_type": "falcon", "hidden_size": 8192, "num_attention_heads": 128, "num_kv_heads": 8, "num_hidden_layers": 60,
        "new_decoder_architecture": true, "vocab_size": 65024}),
        60,
        1024,
        41.3,
    );
    read(
        json!({"model_type": "cohere", "hidden_size": 8192, "intermediate_size": 22528, "num_attention_heads": 64, "num_key_value_heads": 64,
        "num_hidden_layers": 40, "vocab_size": 256000, "max_position_embeddings": 8192}),
        40,
        16_384,
        34.98,
    );
}

#[test]
fn encoders_and_hybrids_are_refused_in_words() {
    let refused = |config: Value| Model::from_hf_config(&config, "m").unwrap_err().join("\n");
    assert!(refused(json!({"model_type": "bert", "hidden_size": 768})).contains("encoder"));
    assert!(refused(json!({"model_type": "t5", "is_encoder_decoder": true})).contains("encoder"));
    let hybrid = json!({"model_type": "qwen3", "hidden_size": 2048, "intermediate_size": 5120, "num_attention_heads": 16, "num_hidden_layers": 48,
        "vocab_size": 151936, "max_position_embeddings": 262144, "linear_num_value_heads": 32});
    assert!(refused(hybrid).contains("linear attention"));
    let missing = refused(json!({"model_type": "llama", "hidden_size": 4096}));
    for key in ["num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings", "intermediate_size"] {
        assert!(missing.contains(&format!("{key} is missing")), "{key} in {missing}");
    }
}
