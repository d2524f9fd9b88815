//! The original project's model database: a JSON object of profiles by model id. Its shapes are read; its FLOP and byte counts are not,
//! because they follow from the shapes (and were wrong for every model with fewer KV heads than heads).

use serde_json::{Map, Value};

use super::model::{MixtureOfExperts, Model};

/// Keys a profile must have, as in the original.
const REQUIRED: [&str; 7] =
    ["parameters", "hidden_size", "num_layers", "num_attention_heads", "num_kv_heads", "intermediate_size", "vocab_size"];
/// Context of a model whose database does not say: the original had no limit.
const UNLIMITED_CONTEXT: u32 = 1 << 20;

/// Reads a model database in the original project's format.
///
/// # Errors
/// Everything that is wrong with any of its models, in words; all models are checked.
pub fn original_models(text: &str) -> Result<Vec<Model>, Vec<String>> {
    let database: Value = serde_json::from_str(text).map_err(|error| vec![format!("not JSON: {error}")])?;
    let Some(profiles) = database.as_object() else {
        return Err(vec!["a model database is an object of profiles by model id".to_owned()]);
    };
    let mut models = Vec::new();
    let mut faults = Vec::new();
    for (name, profile) in profiles {
        match profile.as_object() {
            Some(profile) => match model(name, profile) {
                Ok(model) => models.push(model),
                Err(found) => faults.extend(found.into_iter().map(|fault| format!("Model {name}: {fault}"))),
            },
            None => faults.push(format!("Model {name}: a profile is an object")),
        }
    }
    if faults.is_empty() { Ok(models) } else { Err(faults) }
}

fn model(name: &str, profile: &Map<String, Value>) -> Result<Model, Vec<String>> {
    let mut faults = Vec::new();
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|key| !profile.contains_key(*key)).collect();
    if !missing.is_empty() {
        return Err(vec![format!("missing required fields: {}", missing.join(", "))]);
    }
    let mut whole = |key: &str| match profile.get(key) {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_else(|| {
            faults.push(format!("{key} is {value}, not a whole number"));
            0
        }),
    };
    let (hidden_size, layers) = (whole("hidden_size"), whole("num_layers"));
    let (attention_heads, kv_heads) = (whole("num_attention_heads"), whole("num_kv_heads"));
    let (intermediate_size, vocab_size) = (whole("intermediate_size"), whole("vocab_size"));
    let (experts, experts_per_token) = (whole("num_experts"), whole("num_experts_per_tok"));
    let given_head_dim = whole("head_dim");
    let parameters = profile.get("parameters").and_then(Value::as_f64).unwrap_or(0.0);
    if parameters <= 0.0 {
        faults.push("parameters is not a positive number".to_owned());
    }
    if let Some(bytes) = profile.get("parameter_bytes_fp16").and_then(Value::as_f64)
        && (bytes - 2.0 * parameters).abs() > 1000.0
    {
        faults.push(format!("inconsistent parameter_bytes_fp16 ({bytes} != {})", 2.0 * parameters));
    }
    let head_dim = match given_head_dim {
        0 if attention_heads > 0 => hidden_size / attention_heads,
        given => given,
    };
    let mixture = experts > 0;
    let mut model = Model {
        name: name.to_owned(),
        aliases: Vec::new(),
        layers,
        hidden_size,
        attention_heads,
        kv_heads,
        head_dim,
        intermediate_size: if mixture { 0 } else { intermediate_size },
        gated: true,
        vocab_size,
        tied_embeddings: false,
        max_context: UNLIMITED_CONTEXT,
        moe: mixture.then_some(MixtureOfExperts {
            experts,
            experts_per_token,
            expert_intermediate_size: intermediate_size,
            shared_intermediate_size: 0,
            dense_layers: 0,
        }),
        mla: None,
        sliding_window: None,
        linear: None,
        parameters,
        source: "model database of the document".to_owned(),
    };
    if faults.is_empty() {
        faults = model.faults();
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    // The database does not say whether the feed-forward is gated or the embeddings are tied: the parameter count decides.
    let distance = |model: &Model| (model.parameters_from_shape() as f64 / parameters - 1.0).abs();
    let mut variants = [(true, false), (true, true), (false, false), (false, true)].map(|(gated, tied_embeddings)| Model {
        gated,
        tied_embeddings,
        ..model.clone()
    });
    crate::order::sort_by(&mut variants, |a, b| distance(a).total_cmp(&distance(b)));
    let [nearest, ..] = variants;
    model = nearest;
    Ok(model)
}
