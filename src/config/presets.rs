//! Documents and workloads that come with the program, from `configs/presets`.
//!
//! A preset never changes once it is published, since links name it and hold only the differences: an improved one gets the
//! next number in its file name (`chat-h100@2.yaml`) and the old one stays.

use super::node::join_key;
use super::schema::Workload;
use super::{Diagnostic, Document, check, json_schema, names, read, yaml};

/// A document to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Name without the number, such as `chat-h100`.
    pub name: &'static str,
    /// Number of this version of it, from 1.
    pub version: u32,
    pub title: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// The document, as YAML.
    pub text: &'static str,
}

macro_rules! preset {
    ($name:literal, $version:literal, $title:literal, $description:literal) => {
        Preset {
            name: $name,
            version: $version,
            title: $title,
            description: $description,
            text: include_str!(concat!("../../configs/presets/", $name, "@", $version, ".yaml")),
        }
    };
}

/// The first is the one that the page opens with.
static PRESETS: [Preset; 19] = [
    preset!(
        "stacks-h100",
        2,
        "Four serving stacks on four H100",
        "The same conversations on Llama-3.1-8B, four replicas of one GPU each: vLLM behind its data-parallel balancer, SGLang behind its cache-aware router, TensorRT-LLM in turn, Dynamo's KV router over vLLM. A turn is cheap where the conversation's KV already is."
    ),
    preset!(
        "chat-h100",
        1,
        "Chat on one H100: how much prefill in a step?",
        "Chat traffic on Llama-3.1-8B, 18 requests a second. A large token budget a step starts new replies at once and makes running ones stutter; a small one keeps them even and lets the new ones queue."
    ),
    preset!(
        "summarisation-h100",
        1,
        "Summaries of papers, the step budget's choice",
        "Long prompts, short replies, eight a second. The larger step budget halves the wait for the first token and costs every running reply a pause."
    ),
    preset!(
        "conversations-h100",
        1,
        "Conversations with a shared system prompt, prefix cache on and off",
        "Each turn repeats the whole conversation. With the prefix cache, only the new text is computed."
    ),
    preset!(
        "pauses-h100",
        1,
        "Conversations with long pauses, with and without KV in host memory",
        "People read for most of a minute before they answer, and by then the GPU has given their KV to others. Kept in host memory or on a disk, it comes back in milliseconds instead of being computed."
    ),
    preset!(
        "pools-h100",
        1,
        "Prefill and decode together or apart, on the same eight H100",
        "Long prompts on Llama-3.1-70B, three a second, two engines of four GPUs. Together, every prompt makes running replies stutter; apart, replies are even and prompts queue for half of the GPUs. Dynamo computes prompts in the decode engine when the other one is busy."
    ),
    preset!(
        "autoscaling-h100",
        1,
        "A day in forty minutes, fixed and scaled fleets",
        "Traffic swings by a factor of eight. Six replicas all the time, a threshold scaler and Dynamo's planner that follow it: fewer GPU-hours, and who comes while a replica loads its weights waits."
    ),
    preset!(
        "failures-h100",
        1,
        "A fault drill on four replicas",
        "One replica dies for a minute, another is slow for one, a third is drained. Lost requests are tried again; a router that looks at the load notices the slow one, one that deals in turn does not."
    ),
    preset!(
        "planned-pools-h100",
        1,
        "Prefill and decode pools that follow the load, and a failure",
        "Traffic rises sixfold and falls again. Two engines in each pool all the time, and Dynamo's planner, which gives each pool what it needs within eight GPUs. Halfway a prefill engine dies; what it had is tried again."
    ),
    preset!(
        "images-h100",
        1,
        "Prompts with images: encoded by the engines, or before them",
        "One to four images of 1,296 tokens in a prompt. Engines that encode for themselves stop replies for it; an encoder on a GPU of its own does not, and one engine less is left."
    ),
    preset!(
        "bursty-code-h100",
        1,
        "Code completion in bursts",
        "Requests come in bursts with long prompts and a few tokens of reply. The tail of the time to first token tells how a burst is worked off."
    ),
    preset!(
        "kv-pressure-a100",
        1,
        "Too little KV memory, requests are preempted",
        "Long replies fill the KV pool. With fewer blocks, requests queue, are thrown out and computed again."
    ),
    preset!(
        "closed-loop-h100",
        1,
        "Closed loop of 64 clients, 1,024 tokens in and 128 out",
        "The benchmark's usual shape: each of 64 clients sends its next request when it has its reply."
    ),
    preset!(
        "llama70b-4xh100",
        1,
        "Llama 3.1 70B on four H100, tensor parallel",
        "Four GPUs share every layer and exchange results twice a layer. Chat traffic, two token budgets."
    ),
    preset!(
        "llama-405b-pp",
        1,
        "Llama 3.1 405B: two nodes in bf16 or one in fp8",
        "In bf16 the model fills two nodes of eight H100, as two stages of a pipeline; in fp8 it fits into one. Two stages double the memory and, with enough requests, the throughput, but not the speed of a single reply."
    ),
    preset!(
        "deepseek-r1-ep",
        1,
        "DeepSeek R1 on eight H200: shared attention or ranks of it",
        "Tensor parallelism keeps the same latent KV on all eight GPUs; attention ranks keep eight times as many requests, and wait for one another in every layer of experts."
    ),
    preset!(
        "deepseek-v3-mtp",
        1,
        "DeepSeek V3 on eight H200: attention ranks with and without MTP",
        "The model's own further layer drafts a token for each sequence, which 85 of 100 times is right. Every rank verifies two rows a sequence in steps that all ranks take together."
    ),
    preset!(
        "original-quickstart",
        1,
        "The original project's quick start",
        "The example that the original project's generate-config writes: Llama2-7B on one GPU of 312 TFLOP/s, ten short requests a second."
    ),
    preset!(
        "lora-h100",
        1,
        "32 LoRA adapters on one H100: how many together?",
        "Chat on Llama-3.1-8B with 32 adapters, a few of which get most requests. With few places on the GPU, requests wait for one and adapters come and go; with many, steps compute more different adapters."
    ),
];

/// Versions that newer ones replaced. Links name them for ever.
static SUPERSEDED: [Preset; 1] = [preset!(
    "stacks-h100",
    1,
    "Three serving stacks on one H100",
    "vLLM, SGLang and TensorRT-LLM with their own defaults serve the same chat traffic on Llama-3.1-8B, 18 requests a second. They compute alike; what differs is who waits for whom."
)];

/// Newest version of every preset.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// Every version of every preset, newest first.
pub fn preset_versions() -> impl Iterator<Item = &'static Preset> {
    PRESETS.iter().chain(&SUPERSEDED)
}

/// A preset's entry by name, `chat-h100` (the newest) or `chat-h100@1`.
pub fn find_preset(name: &str) -> Option<&'static Preset> {
    let (name, version) = name.split_once('@').map_or((name, None), |(name, version)| (name, Some(version)));
    let matches = |preset: &&Preset| preset.name == name && version.is_none_or(|version| version == preset.version.to_string());
    preset_versions().find(matches)
}

/// A preset's document by name.
pub fn preset(name: &str) -> Option<Document> {
    read(find_preset(name)?.text, "preset.yaml").document
}

// ---- workloads ---------------------------------------------------------------------------------------------

/// A named workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadPreset {
    pub name: &'static str,
    /// The workload section, as YAML; its comments name the sources.
    pub text: &'static str,
}

macro_rules! workload_preset {
    ($name:literal) => {
        WorkloadPreset { name: $name, text: include_str!(concat!("../../configs/presets/workloads/", $name, ".yaml")) }
    };
}

static WORKLOADS: [WorkloadPreset; 6] = [
    workload_preset!("chat"),
    workload_preset!("code"),
    workload_preset!("long-context-chat"),
    workload_preset!("rag"),
    workload_preset!("reasoning"),
    workload_preset!("summarisation"),
];

/// Names that `workload.preset` takes.
pub fn workload_presets() -> &'static [WorkloadPreset] {
    &WORKLOADS
}

/// A named workload by name.
pub fn workload_preset(name: &str) -> Option<Workload> {
    let preset = workload_presets().iter().find(|preset| preset.name == name)?;
    let node = yaml::parse(preset.text).ok()?;
    let schema = json_schema();
    let (json, faults) = check::check_as(&node, schema, schema.get("properties")?.get("workload")?, check::UnknownKeys::Refuse);
    if faults.is_empty() { crate::from_json::from_value(json).ok() } else { None }
}

/// The workload with its preset, if it names one, filled in: keys given beside `preset` replace the preset's. Whoever says
/// when to stop (`total_duration`, `total_requests_to_generate`) takes the preset's own end away.
pub fn resolve_workload(given: &Workload) -> Result<Workload, Diagnostic> {
    let Some(name) = &given.preset else { return Ok(given.clone()) };
    let Some(mut base) = workload_preset(name) else {
        return Err(unknown_workload(name));
    };
    if given.total_duration.is_some() || given.total_requests_to_generate.is_some() {
        base.total_duration = None;
        base.total_requests_to_generate = None;
    }
    let merged = || {
        let mut json = serde_json::to_value(&base).ok()?;
        let over = serde_json::to_value(Workload { preset: None, ..given.clone() }).ok()?;
        for (key, value) in over.as_object()? {
            json.as_object_mut()?.insert(key.clone(), value.clone());
        }
        crate::from_json::from_value(json).ok()
    };
    merged().ok_or_else(|| {
        Diagnostic::error("workload", format!("the workload cannot be laid over the preset {name}"), "please report this document")
    })
}

/// The error for a name that is none.
pub(super) fn unknown_workload(name: &str) -> Diagnostic {
    let known = || workload_presets().iter().map(|preset| preset.name);
    let hint = names::did_you_mean(name, known()).unwrap_or_else(|| format!("known: {}", known().collect::<Vec<_>>().join(", ")));
    Diagnostic::error(join_key("workload", "preset"), format!("Unknown workload preset: {name}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Distribution;

    #[test]
    fn every_preset_reads_cleanly_and_has_its_title() {
        for preset in preset_versions() {
            let read = read(preset.text, "preset.yaml");
            let warnings_allowed = preset.name == "original-quickstart";
            assert!(warnings_allowed || read.diagnostics.is_empty(), "{}: {:#?}", preset.name, read.diagnostics);
            let document = read.document.unwrap_or_else(|| panic!("{}: {:#?}", preset.name, read.diagnostics));
            assert!(warnings_allowed || document.title.as_deref() == Some(preset.title), "{}", preset.name);
            assert_eq!(find_preset(&format!("{}@{}", preset.name, preset.version)), Some(preset));
        }
        assert_eq!(find_preset("chat-h100@9"), None);
    }

    /// Mean of a quantile table under linear interpolation.
    fn mean(distribution: &Distribution) -> f64 {
        let values = distribution.quantiles.as_deref().unwrap();
        let probabilities = distribution.probabilities.as_deref().unwrap();
        let weight = |i: usize| (probabilities[i + 1] - probabilities[i]) * (values[i] + values[i + 1]) / 2.0;
        (0..values.len() - 1).map(weight).sum()
    }

    #[test]
    fn workloads_have_the_mean_lengths_of_their_traces() {
        // Means of the traces themselves, not of the tables.
        for (name, input, output) in [
            ("chat", 1155.0, 211.0),
            ("code", 2048.0, 27.9),
            ("long-context-chat", 12035.0, 343.0),
            ("summarisation", 2588.0, 291.0),
            ("rag", 15325.0, 149.0),
            ("reasoning", 1274.0, 1521.0),
        ] {
            let workload = workload_preset(name).unwrap();
            let profile = &workload.client_profiles.unwrap()[0];
            let input_error = mean(&profile.prompt_tokens_dist_config) / input - 1.0;
            let output_error = mean(&profile.max_output_tokens_dist_config) / output - 1.0;
            assert!(input_error.abs() < 0.04 && output_error.abs() < 0.04, "{name}: {input_error:.3} {output_error:.3}");
        }
        assert_eq!(workload_presets().len(), 6);
    }

    #[test]
    fn keys_beside_a_preset_replace_its_own() {
        let given = Workload { preset: Some("chat".into()), total_duration: Some(60.0), rate_scale: Some(2.0), ..Workload::default() };
        let resolved = resolve_workload(&given).unwrap();
        let base = workload_preset("chat").unwrap();
        assert_eq!(resolved, Workload { total_duration: Some(60.0), rate_scale: Some(2.0), total_requests_to_generate: None, ..base });
        assert!(resolve_workload(&Workload { preset: Some("chatt".into()), ..Workload::default() }).unwrap_err().hint.contains("`chat`"));
    }
}
