//! The catalog against published figures: parameter counts, KV sizes, data sheets, and names however they are written.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::catalog::hf::weights_dtype;
use llmperforacle::catalog::{Confidence, Dtype, Engine, Model, builtin, framework_defaults, original_models};
use serde_json::json;

#[test]
fn shapes_give_the_published_parameter_counts_within_one_percent() {
    let models = &builtin().models;
    assert!(models.len() >= 40, "{} models", models.len());
    for model in models {
        assert_eq!(model.faults(), Vec::<String>::new(), "{}", model.name);
        let ratio = model.parameters_from_shape() as f64 / model.parameters;
        assert!(
            (0.99..1.01).contains(&ratio),
            "{}: {} from the shape, {} published",
            model.name,
            model.parameters_from_shape(),
            model.parameters
        );
    }
}

#[test]
fn kv_sizes_of_the_original_projects_models_are_right() {
    // 4 * kv_heads * head_dim bytes a token and layer in 16 bit, from the models' own configs.
    let expected = [
        ("Llama2-7B", 16_384),
        ("Llama2-13B", 20_480),
        ("Llama3-8B", 4096),
        ("Llama3-70B", 4096),
        ("Mistral-7B-v0.3", 4096),
        ("Mixtral-8x7B", 4096),
        ("Qwen2.5-7B", 2048),
        ("Qwen2.5-32B", 4096),
        ("Qwen2.5-72B", 4096),
        ("Gemma2-9B", 8192),
        ("Gemma2-27B", 8192),
        ("GPT-3-175B", 49_152),
    ];
    for (name, bytes) in expected {
        let model = builtin().model(name).unwrap();
        assert_eq!(model.name, name);
        assert_eq!(2 * model.kv_values_per_layer(), bytes, "{name}");
    }
    // DeepSeek-V3: 576 latent values, on every GPU. KV heads are replicated when GPUs outnumber them.
    assert_eq!(builtin().model("DeepSeek-R1").unwrap().kv_values_per_layer_per_rank(8), 576);
    assert_eq!(builtin().model("Qwen2.5-7B").unwrap().kv_values_per_layer_per_rank(7), 2 * 128);
}

#[test]
fn mixtures_activate_the_published_share() {
    // Mixtral 12.9e9 (arXiv:2401.04088), DeepSeek-V3 37e9 (arXiv:2412.19437), Qwen3-30B-A3B 3.3e9, gpt-oss-120b 5.1e9 (model cards,
    // which leave out the embedding or not).
    for (name, published) in [("Mixtral-8x7B", 12.9e9), ("DeepSeek-V3", 37e9), ("Qwen3-30B-A3B", 3.3e9), ("gpt-oss-120b", 5.1e9)] {
        let active = builtin().model(name).unwrap().active_parameters() as f64;
        assert!((0.9..1.1).contains(&(active / published)), "{name}: {active}");
    }
}

#[test]
fn names_are_found_however_they_are_written() {
    let catalog = builtin();
    let name = |written: &str| catalog.model(written).unwrap().name.clone();
    assert_eq!(name("meta-llama/Llama-3.1-8B-Instruct"), "Llama-3.1-8B");
    assert_eq!(name("meta-llama/Meta-Llama-3-8B"), "Llama3-8B");
    assert_eq!(name("meta-llama/Llama-2-70b-hf"), "Llama2-70B");
    assert_eq!(name("mistralai/Mixtral-8x7B-v0.1"), "Mixtral-8x7B");
    assert_eq!(name("codellama/CodeLlama-34b-Instruct-hf"), "CodeLlama-34B");
    assert_eq!(name("google/gemma-2-9b-it"), "Gemma2-9B");
    assert_eq!(name("qwen/qwen3-32b"), "Qwen3-32B");
    assert_eq!(name("DeepSeek-R1-Distill-Llama-70B"), "Llama-3.3-70B");
    let unknown = catalog.model("Lama3-8B").unwrap_err();
    assert_eq!(unknown.near[0], "Llama3-8B");
    assert!(unknown.to_string().contains("Llama3-8B"));
    let device = |written: &str| catalog.device(written).unwrap().name.clone();
    assert_eq!(device("H100 SXM 80GB"), "H100-SXM");
    assert_eq!(device("rtx pro 6000 blackwell server"), "RTX-PRO-6000");
    assert_eq!(catalog.device("H100-SMX").unwrap_err().near[0], "H100-SXM");
}

#[test]
fn every_name_is_unambiguous() {
    let catalog = builtin();
    for model in &catalog.models {
        for name in std::iter::once(&model.name).chain(&model.aliases) {
            assert_eq!(catalog.model(name).unwrap().name, model.name, "{name}");
        }
    }
    for device in &catalog.devices {
        for name in std::iter::once(&device.name).chain(&device.aliases) {
            assert_eq!(catalog.device(name).unwrap().name, device.name, "{name}");
        }
    }
}

#[test]
fn nodes_are_a_count_and_a_device() {
    let catalog = builtin();
    let node = catalog.node("8xH100-SXM").unwrap();
    assert_eq!((node.devices, node.device.name.as_str()), (8, "H100-SXM"));
    assert_eq!(node.device.interconnect.bytes_per_s, 450e9);
    // An x inside a device's name is no count.
    assert_eq!(catalog.node("RTX-4090").unwrap().devices, 1);
    assert_eq!(catalog.node("2xRTX-PRO-6000").unwrap().devices, 2);
    assert!(catalog.node("0xH100-SXM").is_err());
    assert_eq!(catalog.node("8xH100-SMX").unwrap_err().near[0], "8xH100-SXM");
    for name in catalog.node_names() {
        catalog.node(&name).unwrap();
    }
}

#[test]
fn data_sheets_are_complete_and_plausible() {
    let catalog = builtin();
    assert!(catalog.devices.len() >= 25);
    for device in &catalog.devices {
        let name = &device.name;
        assert!(device.faster_formats_are_faster(), "{name}");
        // Between the operations a byte of a Volta and those of the newest boards.
        let ridge = device.bf16_flops / device.memory_bytes_per_s;
        assert!((30.0..600.0).contains(&ridge), "{name}: {ridge} FLOP a byte");
        // The whole memory is read in 15 (V100) to 90 ms (L4): a figure in the wrong unit would show.
        let sweep_ms = device.memory_bytes / device.memory_bytes_per_s * 1e3;
        assert!((15.0..90.0).contains(&sweep_ms), "{name}: {sweep_ms} ms");
        assert!(!device.source.is_empty());
        let (calibration, confidence) = catalog.calibration_of(device).unwrap();
        if confidence == Confidence::Measured {
            let reference = calibration.reference;
            assert_eq!(reference.memory_bytes_per_s, device.memory_bytes_per_s, "{name}");
            assert_eq!(reference.bf16_flops, device.bf16_flops, "{name}");
            assert_eq!(reference.fp8_flops, device.fp8_flops, "{name}");
            assert_eq!(reference.link_bytes_per_s, device.interconnect.bytes_per_s, "{name}");
        }
    }
    // Dense figures of NVIDIA's data sheets.
    assert_eq!(catalog.device("A100-SXM-80GB").unwrap().bf16_flops, 312e12);
    assert_eq!(catalog.device("H100-SXM").unwrap().memory_bytes_per_s, 3.35e12);
}

#[test]
fn calibration_efficiencies_stay_below_one() {
    let share = |value: f64| value > 0.0 && value <= 1.0;
    for file in &builtin().calibrations {
        for row in &file.gemm {
            assert!(share(row.compute) && share(row.memory) && row.launch_us > 0.0, "{}: {row:?}", file.system);
        }
        for row in &file.decode_attention {
            assert!(share(row.memory) && row.launch_us > 0.0 && row.per_octave_us >= 0.0, "{}: {row:?}", file.system);
        }
        for row in &file.prefill_attention {
            assert!(share(row.compute) && share(row.memory), "{}: {row:?}", file.system);
        }
        for row in &file.moe {
            assert!(share(row.compute) && share(row.memory), "{}: {row:?}", file.system);
        }
        for row in &file.mla_decode {
            assert!(share(row.compute) && share(row.memory), "{}: {row:?}", file.system);
        }
        for row in &file.all_reduce {
            // With reduction in the switch each GPU still sends and receives its payload once.
            assert!(row.gb_per_s * 1e9 <= file.reference.link_bytes_per_s, "{}: {row:?}", file.system);
        }
    }
}

#[test]
fn defaults_follow_the_frameworks_own_tables() {
    let catalog = builtin();
    let tokens = |engine, device: &str, tp| {
        let defaults = framework_defaults(engine, catalog.device(device).unwrap(), tp).unwrap();
        (defaults.max_num_batched_tokens, defaults.max_num_seqs, defaults.max_capture_tokens)
    };
    // vLLM 0.33.0, API server: by memory, and the A100 among the small ones whatever its memory.
    assert_eq!(tokens(Engine::Vllm, "A100-SXM-80GB", 1), (2048, 256, 512));
    assert_eq!(tokens(Engine::Vllm, "L40S", 1), (2048, 256, 512));
    assert_eq!(tokens(Engine::Vllm, "H100-SXM", 1), (8192, 1024, 512));
    assert_eq!(tokens(Engine::Vllm, "B200", 1), (16_384, 1024, 1024));
    assert_eq!(tokens(Engine::Vllm, "MI300X", 1), (16_384, 1024, 512));
    // SGLang 0.5.23.
    assert_eq!(tokens(Engine::Sglang, "H100-SXM", 1), (8192, 2048, 256));
    assert_eq!(tokens(Engine::Sglang, "H100-SXM", 4), (8192, 2048, 512));
    assert_eq!(tokens(Engine::Sglang, "A100-SXM-40GB", 1), (4096, 2048, 32));
    assert_eq!(tokens(Engine::Sglang, "RTX-4090", 1), (4096, 2048, 48));
    assert_eq!(tokens(Engine::Sglang, "T4", 1), (2048, 2048, 8));
    assert_eq!(tokens(Engine::Trtllm, "B200", 1), (8192, 2048, 128));
}

#[test]
fn a_hugging_face_config_gives_the_catalogs_shape() {
    let same = |config: serde_json::Value, name: &str| {
        let read = Model::from_hf_config(&config, name).unwrap();
        let known = builtin().model(name).unwrap();
        let shape = |model: &Model| Model { aliases: Vec::new(), parameters: 0.0, source: String::new(), ..model.clone() };
        assert_eq!(shape(&read), shape(known));
    };
    same(
        json!({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32,
            "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}),
        "Llama-3.1-8B",
    );
    same(
        json!({"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_hidden_layers": 28,
            "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 32768, "sliding_window": 131072, "use_sliding_window": false,
            "tie_word_embeddings": false}),
        "Qwen2.5-7B",
    );
    same(
        json!({"model_type": "gemma2", "head_dim": 256, "hidden_size": 3584, "intermediate_size": 14336, "num_attention_heads": 16,
            "num_hidden_layers": 42, "num_key_value_heads": 8, "vocab_size": 256000, "max_position_embeddings": 8192, "sliding_window": 4096}),
        "Gemma2-9B",
    );
    same(
        json!({"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_experts_per_tok": 2,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "vocab_size": 32000, "max_position_embeddings": 32768,
            "sliding_window": null, "tie_word_embeddings": false}),
        "Mixtral-8x7B",
    );
    same(
        json!({"model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
            "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1, "num_attention_heads": 128,
            "num_key_value_heads": 128, "head_dim": 128, "num_hidden_layers": 61, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 129280, "max_position_embeddings": 163840}),
        "DeepSeek-V3",
    );
}

#[test]
fn a_config_that_is_not_understood_is_refused_with_every_reason() {
    let faults = Model::from_hf_config(&json!({"model_type": "retnet", "hidden_size": "big", "vocab_size": 1000}), "M").unwrap_err();
    let all = faults.join("\n");
    for expected in ["\"retnet\" is not known", "hidden_size is \"big\"", "num_hidden_layers is missing", "num_attention_heads is missing"]
    {
        assert!(all.contains(expected), "{expected} in {all}");
    }
    assert!(Model::from_hf_config(&json!([]), "M").is_err());
    let uneven = json!({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 5, "vocab_size": 32000, "max_position_embeddings": 4096});
    assert!(Model::from_hf_config(&uneven, "M").unwrap_err()[0].contains("cannot share 5 KV heads"));
}

#[test]
fn the_original_projects_database_is_read() {
    let profile = json!({"parameters": 46_700_000_000_u64, "hidden_size": 4096, "num_layers": 32, "num_attention_heads": 32, "num_kv_heads": 8,
        "intermediate_size": 14336, "vocab_size": 32000, "num_experts": 8, "num_experts_per_tok": 2, "kv_cache_bytes_per_token_per_layer": 16384,
        "prefill_op_stats": {"flops_per_token": 28e9, "memory_bytes_per_token": 93.4e6}});
    let models = original_models(&json!({"Mine": profile}).to_string()).unwrap();
    let known = builtin().model("Mixtral-8x7B").unwrap();
    assert_eq!((models[0].name.as_str(), models[0].moe, models[0].gated), ("Mine", known.moe, true));
    assert_eq!(models[0].kv_values_per_layer(), known.kv_values_per_layer());

    let faults = original_models(&json!({"A": {"parameters": 7e9}, "B": 3}).to_string()).unwrap_err().join("\n");
    assert!(faults.contains("Model A: missing required fields: hidden_size") && faults.contains("Model B"));
    assert!(original_models("{").unwrap_err()[0].contains("not JSON"));
}

#[test]
fn formats_have_their_published_sizes() {
    // 4 bits and their share of the scales: AWQ's groups of 128, MXFP4's of 32, NVFP4's of 16.
    assert_eq!([Dtype::Int4, Dtype::Mxfp4, Dtype::Nvfp4].map(|dtype| 8.0 * dtype.weight_bytes()), [4.15625, 4.25, 4.5]);
    assert_eq!(Dtype::parse("BFloat16"), Some(Dtype::Bf16));
    assert_eq!(Dtype::parse("fp8-e4m3"), Some(Dtype::Fp8));
    assert_eq!(Dtype::parse("fp12"), None);
    for dtype in Dtype::ALL {
        assert_eq!(Dtype::parse(dtype.name()), Some(dtype));
    }
}

#[test]
fn the_documented_kernel_errors_are_those_of_the_constants() {
    let document = include_str!("../docs/cost-model.md");
    for file in builtin().calibrations.iter().filter(|file| file.device.is_some()) {
        let device = file.device.as_deref().unwrap();
        for row in file.gemm.iter().filter(|row| row.dtype == Dtype::Bf16) {
            let [median, p95] = row.error_percent.unwrap();
            let start = format!("| {device} | {} {} | {median:.1} / {p95:.0} |", row.engine.label(), row.version);
            assert!(document.contains(&start), "docs/cost-model.md lacks {start}");
        }
    }
}

#[test]
fn a_hugging_face_config_names_its_number_format() {
    let of = |config: serde_json::Value| weights_dtype(&config).unwrap();
    assert_eq!(of(json!({"torch_dtype": "bfloat16"})), Some(Dtype::Bf16));
    assert_eq!(of(json!({})), None);
    assert_eq!(
        of(json!({"torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}})),
        Some(Dtype::Fp8Block)
    );
    assert_eq!(of(json!({"quantization_config": {"quant_method": "awq", "bits": 4}})), Some(Dtype::Int4));
    assert_eq!(of(json!({"quantization_config": {"quant_method": "mxfp4"}})), Some(Dtype::Mxfp4));
    assert!(weights_dtype(&json!({"quantization_config": {"quant_method": "aqlm"}})).unwrap_err().contains("aqlm"));
}
