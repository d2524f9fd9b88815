//! A model from its Hugging Face `config.json`. What the reader does not understand is refused, not guessed.

mod hybrid;

use serde_json::{Map, Value};

use super::dtype::Dtype;
use super::model::{LatentAttention, MixtureOfExperts, Model, SlidingWindow};

/// Families whose layers are the usual attention and gated feed-forward: the shape is in the common keys.
const DENSE: [&str; 26] = [
    "llama",
    "mistral",
    "ministral",
    "qwen",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "granite",
    "olmo",
    "olmo2",
    "olmo3",
    "exaone",
    "exaone4",
    "glm",
    "glm4",
    "chatglm",
    "baichuan",
    "minicpm",
    "smollm3",
    "seed_oss",
    "ernie4_5",
    "hunyuan_v1_dense",
    "mimo",
];
/// Families whose feed-forward has two matrices, up and down, and those that tie their embeddings unless they say otherwise.
const PLAIN: [&str; 13] =
    ["gpt2", "gptj", "gpt_bigcode", "opt", "falcon", "bloom", "mpt", "gpt_neox", "phi", "starcoder2", "nemotron", "arcee", "apertus"];
const GATED_OTHERS: [&str; 5] = ["cohere", "cohere2", "internlm2", "internlm3", "stablelm"];
const TIED: [&str; 9] = ["gpt2", "gpt_bigcode", "opt", "falcon", "bloom", "mpt", "cohere", "cohere2", "starcoder2"];
/// Families that read a text and write none, or read it with an encoder.
const ENCODERS: [&str; 12] =
    ["bert", "roberta", "xlm-roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert", "t5", "mt5", "bart", "whisper"];
/// Families with experts.
const MIXTURES: [&str; 18] = [
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "deepseek_v2",
    "deepseek_v3",
    "kimi_k2",
    "gpt_oss",
    "glm4_moe",
    "minimax_m2",
    "olmoe",
    "dbrx",
    "dots1",
    "granitemoe",
    "phimoe",
    "ernie4_5_moe",
    "hunyuan_v1_moe",
    "llama4",
    "llama4_text",
];
/// Families that are understood and not modelled, and what stands in the way.
const NOT_MODELLED: [(&str, &str); 13] = [
    ("mamba", "models of states alone"),
    ("mamba2", "models of states alone"),
    ("falcon_mamba", "models of states alone"),
    ("rwkv", "models of states alone"),
    ("zamba2", "attention blocks that layers share"),
    ("longcat_flash", "two attentions a layer and experts that compute nothing"),
    ("step3", "queries factorised over two matrices"),
    ("step3_text", "queries factorised over two matrices"),
    ("nemotron-nas", "blocks that differ from layer to layer"),
    ("deepseek_v32", "attention to the tokens that an indexer chooses"),
    ("glm_moe_dsa", "attention to the tokens that an indexer chooses"),
    ("gemma3n_text", "embeddings in every layer"),
    ("gemma4_text", "embeddings in every layer"),
];

/// Number format of the weights a Hugging Face `config.json` describes: its `quantization_config`, else its `torch_dtype` or `dtype`;
/// `None` when it has neither.
///
/// # Errors
/// A quantisation that is not known, in words.
pub fn weights_dtype(config: &Value) -> Result<Option<Dtype>, String> {
    let text = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).map(str::to_ascii_lowercase);
    let Some(quantisation) = config.get("quantization_config").filter(|value| !value.is_null()) else {
        return match text(config, "torch_dtype").or_else(|| text(config, "dtype")) {
            None => Ok(None),
            // Checkpoints in 32 bit are served in 16 bit by every engine.
            Some(name) if name == "float32" => Ok(Some(Dtype::Bf16)),
            Some(name) => Dtype::parse(&name).map(Some).ok_or_else(|| format!("torch_dtype \"{name}\" is not known")),
        };
    };
    let method = text(quantisation, "quant_method").unwrap_or_default();
    let bits = quantisation.get("bits").and_then(Value::as_u64);
    let algorithm = text(quantisation, "quant_algo").unwrap_or_default();
    let found = match (method.as_str(), algorithm.as_str(), bits) {
        ("fp8", _, _) if quantisation.get("weight_block_size").is_some_and(|size| !size.is_null()) => Dtype::Fp8Block,
        ("fp8" | "fbgemm_fp8", _, _) | ("modelopt", "fp8", _) => Dtype::Fp8,
        ("awq" | "gptq", _, Some(4) | None) => Dtype::Int4,
        ("gptq", _, Some(8)) => Dtype::Int8,
        ("mxfp4", _, _) => Dtype::Mxfp4,
        ("modelopt", "nvfp4", _) | ("modelopt_fp4", _, _) => Dtype::Nvfp4,
        _ => {
            return Err(format!(
                "quantization_config of {quantisation} is not known: say dtype instead ({})",
                Dtype::ALL.map(Dtype::name).join(", ")
            ));
        }
    };
    Ok(Some(found))
}

/// Reads keys of one object and collects what is wrong with them.
struct Keys<'a> {
    object: &'a Map<String, Value>,
    faults: Vec<String>,
}

impl Keys<'_> {
    /// A whole number under the first of the keys that is there and not null.
    fn optional(&mut self, keys: &[&str]) -> Option<u32> {
        let (key, value) = keys.iter().find_map(|key| self.object.get(*key).filter(|value| !value.is_null()).map(|value| (*key, value)))?;
        // Some families give a number for each layer.
        let value = match value.as_array().map(Vec::as_slice) {
            Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => first,
            Some(_) => {
                self.faults.push(format!("{key} differs from layer to layer, which is not modelled"));
                return None;
            }
            None => value,
        };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Some(number),
            None => {
                self.faults.push(format!("{key} is {value}, not a whole number"));
                None
            }
        }
    }

    fn required(&mut self, keys: &[&str]) -> u32 {
        let faults_before = self.faults.len();
        let found = self.optional(keys);
        if found.is_none() && self.faults.len() == faults_before {
            self.faults.push(format!("{} is missing", keys[0]));
        }
        found.unwrap_or(0)
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.object.get(key) {
            None | Some(Value::Null) => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.faults.push(format!("{key} is {other}, not true or false"));
                default
            }
        }
    }
}

impl Model {
    /// Reads a Hugging Face `config.json` of a decoder of the families of Llama, Mistral, Qwen, Gemma, Phi, GLM, Command R,
    /// Falcon, MPT, OPT, GPT-2, Mixtral, DeepSeek, gpt-oss, Llama 4, DBRX and their like, and of hybrids: Qwen3-Next, Kimi Linear, MiniMax-Text-01, Nemotron-H, Granite 4, Falcon-H1
    /// and Jamba. Parameters are counted from the shape.
    ///
    /// # Errors
    /// Every key that is missing, wrong or not understood, in words.
    pub fn from_hf_config(config: &Value, name: &str) -> Result<Model, Vec<String>> {
        let Some(object) = config.as_object() else {
            return Err(vec!["a model's config.json is an object with keys such as hidden_size".to_owned()]);
        };
        // Multimodal models keep the decoder's shape in a part of its own.
        if let Some(text) = object.get("text_config").filter(|text| text.is_object()) {
            return Model::from_hf_config(text, name);
        }
        let flat = flattened(object);
        let mut keys = Keys { object: &flat, faults: Vec::new() };
        let family = object.get("model_type").and_then(Value::as_str).unwrap_or("");
        let known_hybrid = hybrid::HYBRIDS.contains(&family);
        let mixture = MIXTURES.contains(&family) || hybrid::has_experts(&keys, family);
        let plain = PLAIN.contains(&family) || family == "nemotron_h";
        if ENCODERS.contains(&family) || keys.flag("is_encoder_decoder", false) {
            return Err(vec![format!("\"{family}\" has an encoder: only models that are decoders alone are simulated")]);
        }
        if let Some((_, what)) = NOT_MODELLED.iter().find(|(name, _)| *name == family) {
            return Err(vec![format!("\"{family}\" has {what}, which is not modelled")]);
        }
        if !mixture && !plain && !known_hybrid && !DENSE.contains(&family) && !GATED_OTHERS.contains(&family) {
            let what = if family.is_empty() { "model_type is missing".to_owned() } else { format!("model_type \"{family}\" is not known") };
            keys.faults.push(format!(
                "{what}; known are {}",
                [DENSE.as_slice(), GATED_OTHERS.as_slice(), PLAIN.as_slice(), MIXTURES.as_slice(), hybrid::HYBRIDS.as_slice()]
                    .concat()
                    .join(", ")
            ));
        }

        let layers = keys.required(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"]);
        let hidden_size = keys.required(&["hidden_size", "n_embd", "d_model"]);
        let attention_heads = keys.required(&["num_attention_heads", "n_head", "n_heads"]);
        let kv_heads = match family {
            "falcon" => falcon_kv_heads(&mut keys, attention_heads),
            "gpt_bigcode" if keys.flag("multi_query", true) => 1,
            _ => keys.optional(&["num_key_value_heads", "multi_query_group_num", "kv_n_heads"]).unwrap_or(attention_heads),
        };
        let head_dim = keys.optional(&["head_dim", "kv_channels"]);
        let head_dim = match head_dim {
            Some(given) => given,
            None if attention_heads > 0 && hidden_size.is_multiple_of(attention_heads) => hidden_size / attention_heads,
            None => {
                keys.faults.push(format!("head_dim is missing and hidden_size {hidden_size} is no multiple of {attention_heads} heads"));
                0
            }
        };
        let vocab_size = keys.required(&["vocab_size", "padded_vocab_size"]);
        let context_keys = ["max_position_embeddings", "n_positions", "seq_length", "model_max_length", "max_seq_len"];
        let max_context = if matches!(family, "falcon" | "bloom") {
            // Their first configs leave out the 2048 tokens they were trained on.
            keys.optional(&context_keys).unwrap_or(2048)
        } else {
            keys.required(&context_keys)
        };
        let tied_embeddings = keys.flag("tie_word_embeddings", family.starts_with("gemma") || TIED.contains(&family));
        let moe = if mixture { mixture_of(&mut keys, family, layers) } else { None };
        let intermediate_size = match moe {
            Some(moe) if moe.dense_layers == 0 => 0,
            // The width of its gate and its value together.
            _ if family == "qwen" => keys.required(&["intermediate_size"]) / 2,
            _ if family == "mpt" => keys.optional(&["expansion_ratio"]).unwrap_or(4).saturating_mul(hidden_size),
            Some(_) if family.starts_with("llama4") => keys.required(&["intermediate_size_mlp"]),
            _ if matches!(family, "gpt2" | "gptj" | "gpt_bigcode" | "falcon" | "bloom") => {
                keys.optional(&["n_inner", "ffn_hidden_size"]).unwrap_or(hidden_size.saturating_mul(4))
            }
            // Granite's dense hybrids use their shared expert alone.
            None if family == "granitemoehybrid" => keys.required(&["shared_intermediate_size"]),
            _ => keys.required(&["intermediate_size", "ffn_hidden_size", "ffn_dim"]),
        };
        let mla = keys.optional(&["kv_lora_rank"]).map(|kv_lora_rank| LatentAttention {
            q_lora_rank: keys.optional(&["q_lora_rank"]).unwrap_or(0),
            kv_lora_rank,
            qk_nope_head_dim: keys.required(&["qk_nope_head_dim"]),
            qk_rope_head_dim: keys.required(&["qk_rope_head_dim"]),
            v_head_dim: keys.required(&["v_head_dim"]),
        });
        let sliding_window = window_of(&mut keys, family, layers);
        let linear = hybrid::linear_of(&mut keys, family, layers, hidden_size);

        let mut model = Model {
            name: name.to_owned(),
            aliases: Vec::new(),
            layers,
            hidden_size,
            attention_heads,
            kv_heads,
            head_dim,
            intermediate_size,
            gated: !plain,
            vocab_size,
            tied_embeddings,
            max_context,
            moe,
            mla,
            sliding_window,
            linear,
            parameters: 0.0,
            source: "config.json".to_owned(),
        };
        let mut faults = keys.faults;
        if faults.is_empty() {
            faults = model.faults();
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        model.parameters = model.parameters_from_shape() as f64;
        Ok(model)
    }
}

/// An object with the keys of its parts, where families keep the shape of attention and feed-forward in parts of their own.
fn flattened(object: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = object.clone();
    for part in ["attn_config", "ffn_config"].iter().filter_map(|part| object.get(*part)?.as_object()) {
        for (key, value) in part {
            if !flat.contains_key(key) {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    flat
}

/// Falcon shares one KV head in its first design and counts them in its second.
fn falcon_kv_heads(keys: &mut Keys<'_>, attention_heads: u32) -> u32 {
    if keys.flag("new_decoder_architecture", false) {
        keys.optional(&["num_kv_heads"]).unwrap_or(attention_heads)
    } else if keys.flag("multi_query", true) {
        1
    } else {
        attention_heads
    }
}

fn mixture_of(keys: &mut Keys<'_>, family: &str, layers: u32) -> Option<MixtureOfExperts> {
    let experts = keys.required(&["num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"]);
    let chosen = ["num_experts_per_tok", "experts_per_token", "moe_topk", "num_experts_per_token", "moe_k", "moe_top_k"];
    let experts_per_token = keys.required(&chosen);
    let expert_intermediate_size = match keys.optional(&["moe_intermediate_size"]) {
        Some(size) => size,
        None => keys.required(&["intermediate_size", "ffn_hidden_size"]),
    };
    let llama4 = family.starts_with("llama4");
    let counts = ["n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"];
    let shared_experts = keys.optional(&counts).unwrap_or(u32::from(llama4));
    let shared_intermediate_size =
        match keys.optional(&["shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size"]) {
            Some(size) => size,
            None => shared_experts.saturating_mul(expert_intermediate_size),
        };
    // Every n-th layer has experts: Qwen and DeepSeek both allow it, none of their published models uses it.
    let stride = keys.optional(&["decoder_sparse_step", "moe_layer_freq"]).unwrap_or(1);
    if stride != 1 {
        keys.faults.push(format!("{family}: experts in every {stride}th layer only are not modelled"));
    }
    let of_hybrid = hybrid::dense_layers(keys, family, layers);
    let mut dense_layers = of_hybrid.unwrap_or_else(|| keys.optional(&["first_k_dense_replace", "moe_layer_start_index"]).unwrap_or(0));
    if llama4 {
        dense_layers = layers - layers / keys.optional(&["interleave_moe_layer_step"]).unwrap_or(1).max(1);
    }
    if let Some(only) = keys.object.get("mlp_only_layers").and_then(Value::as_array) {
        dense_layers += only.len() as u32;
    }
    Some(MixtureOfExperts {
        experts,
        experts_per_token,
        expert_intermediate_size,
        shared_intermediate_size,
        dense_layers: dense_layers.min(layers),
    })
}

/// Which layers look back over a window. Families say it in three ways: a list of layer types, a pattern, or one switch for all.
fn window_of(keys: &mut Keys<'_>, family: &str, layers: u32) -> Option<SlidingWindow> {
    if family.starts_with("llama4") {
        return chunks_of(keys, layers);
    }
    let tokens = keys.optional(&["sliding_window"])?;
    // Qwen keeps the number and switches it off beside it.
    if family.starts_with("qwen") && !keys.flag("use_sliding_window", false) {
        return None;
    }
    let windowed = if let Some(types) = keys.object.get("layer_types").and_then(Value::as_array) {
        types.iter().filter(|kind| kind.as_str() == Some("sliding_attention")).count() as u32
    } else if let Some(pattern) = keys.object.get("sliding_window_pattern").and_then(Value::as_str) {
        // Local and global layers, such as LLLG.
        let local = pattern.matches('L').count() as u64;
        (u64::from(layers) * local / (pattern.len() as u64).max(1)) as u32
    } else if let Some(pattern) = keys.optional(&["sliding_window_pattern", "_sliding_window_pattern"]).filter(|pattern| *pattern > 0) {
        layers - layers / pattern
    } else {
        match family {
            "gemma2" | "gpt_oss" => layers.div_ceil(2),
            "gemma3_text" => layers - layers / 6,
            _ => layers,
        }
    };
    (windowed > 0).then_some(SlidingWindow { tokens, layers: windowed })
}

/// Llama 4's layers with rotary embeddings look back to where their chunk begins: at most a chunk, which is taken for a window.
fn chunks_of(keys: &mut Keys<'_>, layers: u32) -> Option<SlidingWindow> {
    let tokens = keys.optional(&["attention_chunk_size"])?;
    let rotary = match keys.object.get("no_rope_layers").and_then(Value::as_array).filter(|list| !list.is_empty()) {
        Some(list) => list.iter().filter(|rotary| rotary.as_u64() == Some(1)).count() as u32,
        None => layers - layers / keys.optional(&["no_rope_layer_interval"]).unwrap_or(4).max(1),
    };
    (rotary > 0).then_some(SlidingWindow { tokens, layers: rotary.min(layers) })
}
