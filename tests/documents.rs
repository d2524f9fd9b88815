//! Documents in our own dialect: what is refused, where, and with which advice; and that nothing at all makes the reader fall.

#![allow(clippy::unwrap_used, reason = "a test without its fixtures has to fail")]

use llmperforacle::config::{
    Diagnostic, Document, find_preset, json_schema, locate, presets, read, read_value, set, write_json, write_yaml,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const BASE: &str = "\
schema_version: 1
simulation: {random_seed: 1}
hardware_profile: {node: H100-SXM}
workload:
  total_requests_to_generate: 100
  client_profiles:
  - profile_name: p
    inter_arrival_time_dist_config: {type: Exponential, rate: 2}
    prompt_tokens_dist_config: {type: Constant, value: 100}
    max_output_tokens_dist_config: {type: Constant, value: 100}
frameworks_to_test:
- name: a
  type: VLLM
  config: {model_profile_id: Llama-3.1-8B}
";

#[test]
fn the_base_of_these_tests_is_clean() {
    let read = read(BASE, "base.yaml");
    assert_eq!(read.diagnostics, []);
    assert!(!read.original);
}

/// One change to the base; the only finding: severity (`E` or `W`), line:column, path, parts of message and hint.
#[test]
fn each_fault_is_named_with_place_path_and_advice() {
    let profile = "workload.client_profiles[0]";
    let config = "frameworks_to_test[0].config";
    let mut wrong = Vec::new();
    for (from, to, severity, place, path, message, hint) in [
        // Shape.
        ("random_seed: 1", "random_sead: 1", 'E', "2:14", "simulation.random_sead", "unknown key", "did you mean `random_seed`?"),
        ("random_seed: 1", "rate_scale: 1", 'E', "2:14", "simulation.rate_scale", "unknown key", "it belongs in `workload`"),
        ("random_seed: 1", "colour: 1", 'E', "2:14", "simulation.colour", "unknown key", "known here: max_simulation_time, random_seed"),
        ("random_seed: 1", "random_seed: many", 'E', "2:27", "simulation.random_seed", "should be a whole number, found \"many\"", ""),
        ("random_seed: 1", "random_seed: 1.5", 'E', "2:27", "simulation.random_seed", "should be a whole number, found 1.5", ""),
        ("random_seed: 1", "random_seed: \"1\"", 'E', "2:27", "simulation.random_seed", "found \"1\"", "without quotes"),
        ("random_seed: 1", "random_seed: -1", 'E', "2:27", "simulation.random_seed", "Invalid random_seed: -1", ""),
        (
            "random_seed: 1",
            "max_simulation_time: .inf",
            'E',
            "2:35",
            "simulation.max_simulation_time",
            "Invalid max_simulation_time: inf",
            "finite",
        ),
        (
            "random_seed: 1",
            "max_simulation_time: 0",
            'E',
            "2:35",
            "simulation.max_simulation_time",
            "should be 1e-6-1e7",
            "End of the simulation",
        ),
        (
            "random_seed: 1",
            "comparison: sidewise",
            'E',
            "2:26",
            "simulation.comparison",
            "Unknown comparison: sidewise",
            "known: side_by_side, shared",
        ),
        ("schema_version: 1", "schema_version: 7", 'E', "1:17", "schema_version", "format version 7", "newer program"),
        ("{node: H100-SXM}", "[H100-SXM]", 'E', "3:19", "hardware_profile", "should be a mapping", ""),
        ("name: a", "name: \"\"", 'E', "12:9", "frameworks_to_test[0].name", "name is empty", ""),
        ("  type: VLLM\n", "", 'E', "12:3", "frameworks_to_test[0]", "Missing fields: type", "`type`: The framework."),
        ("type: VLLM", "type: SGLan", 'E', "13:9", "frameworks_to_test[0].type", "Unknown framework type: SGLan", "did you mean `SGLANG`?"),
        (
            "type: Constant, value: 100}\n    max",
            "type: Constnt, value: 1}\n    max",
            'E',
            "9:39",
            "workload.client_profiles[0].prompt_tokens_dist_config.type",
            "Unknown distribution type: Constnt",
            "`Constant`",
        ),
        // Distributions.
        (
            "rate: 2",
            "mean: 2",
            'E',
            "8:63",
            "workload.client_profiles[0].inter_arrival_time_dist_config.mean",
            "`mean` does not apply to Exponential",
            "1/mean",
        ),
        (
            "rate: 2",
            "rate: 0",
            'E',
            "8:63",
            "workload.client_profiles[0].inter_arrival_time_dist_config.rate",
            "Invalid rate: 0 (should be above 0",
            "",
        ),
        (
            "type: Exponential, rate: 2",
            "type: Uniform, low: 3",
            'E',
            "8:37",
            "workload.client_profiles[0].inter_arrival_time_dist_config",
            "`low` is 3 and `high` only 1",
            "exchange",
        ),
        (
            "type: Exponential, rate: 2",
            "type: LogNormal, mean: 30",
            'W',
            "8:37",
            "workload.client_profiles[0].inter_arrival_time_dist_config",
            "taken as the mean of the values",
            "space",
        ),
        (
            "type: Exponential, rate: 2",
            "type: Mixture, components: [{value: 1}], weights: [1, 2]",
            'E',
            "8:88",
            "workload.client_profiles[0].inter_arrival_time_dist_config.weights",
            "2 weights for 1 components",
            "",
        ),
        (
            "type: Exponential, rate: 2",
            "type: Mixture",
            'E',
            "8:37",
            "workload.client_profiles[0].inter_arrival_time_dist_config",
            "needs `components`",
            "",
        ),
        (
            "type: Exponential, rate: 2",
            "type: Quantiles, quantiles: [1, 3, 2]",
            'E',
            "8:73",
            "workload.client_profiles[0].inter_arrival_time_dist_config.quantiles[2]",
            "2 comes after 3",
            "",
        ),
        (
            "type: Exponential, rate: 2",
            "type: Quantiles, quantiles: [1, 3], probabilities: [0, 0.9]",
            'E',
            "8:89",
            "workload.client_profiles[0].inter_arrival_time_dist_config.probabilities",
            "from 0 to 1",
            "",
        ),
        (
            "type: Exponential, rate: 2",
            "type: Normal, std: 1, sigma: 2, mean: 5",
            'E',
            "8:37",
            "workload.client_profiles[0].inter_arrival_time_dist_config",
            "two words for one number",
            "",
        ),
        (
            "type: Exponential, rate: 2",
            "type: Pareto, shape: 0.5",
            'W',
            "8:59",
            "workload.client_profiles[0].inter_arrival_time_dist_config.shape",
            "no finite mean",
            "",
        ),
        (
            "Constant, value: 100}\n    max",
            "Constant, value: -5}\n    max",
            'E',
            "9:56",
            "workload.client_profiles[0].prompt_tokens_dist_config.value",
            "Invalid value: -5",
            "",
        ),
        // Traffic.
        (
            "inter_arrival_time_dist_config: {type: Exponential, rate: 2}\n    ",
            "",
            'E',
            "7:5",
            profile,
            "missing inter_arrival_time_dist_config",
            "`concurrency`",
        ),
        (
            "total_requests_to_generate: 100",
            "concurrency: 4\n  total_duration: 5",
            'W',
            "9:37",
            "workload.client_profiles[0].inter_arrival_time_dist_config",
            "no effect with `concurrency`",
            "",
        ),
        (
            "total_requests_to_generate: 100",
            "preset: chat",
            'E',
            "5:3",
            "workload",
            "`preset` and `client_profiles` each describe",
            "keep one",
        ),
        (
            "total_requests_to_generate: 100\n  ",
            "",
            'E',
            "5:3",
            "workload",
            "Workload missing total_duration",
            "total_requests_to_generate",
        ),
        (
            "total_requests_to_generate: 100",
            "arrival_model: one_generator\n  concurrency: 2\n  total_duration: 9",
            'E',
            "6:16",
            "workload.concurrency",
            "contradict",
            "",
        ),
        (
            "total_requests_to_generate: 100",
            "total_duration: 100\n  load_balancing_strategy: random",
            'W',
            "6:28",
            "workload.load_balancing_strategy",
            "no effect",
            "comparison: shared",
        ),
        (
            "profile_name: p",
            "profile_name: p\n    weight: 2",
            'W',
            "8:13",
            "workload.client_profiles[0].weight",
            "no effect",
            "one_generator",
        ),
        (
            "profile_name: p",
            "profile_name: p\n    conversational_probability: 1.5",
            'E',
            "8:33",
            "workload.client_profiles[0].conversational_probability",
            "should be 0-1",
            "Chance",
        ),
        // Hardware.
        ("{node: H100-SXM}", "{node: ~}", 'E', "3:19", "hardware_profile", "Missing compute_devices", "node"),
        (
            "{node: H100-SXM}",
            "{node: H100-SXM, network_links: [{link_id: l, source_id: gpu0, dest_id: client_node_0, bandwidth_bps: 1e9, latency_s: 0}]}",
            'E',
            "3:76",
            "hardware_profile.network_links[0].source_id",
            "Unknown source device gpu0",
            "a catalog node brings its own links",
        ),
        // Frameworks.
        (
            "{model_profile_id: Llama-3.1-8B}",
            "{model_profile_id: Llama-3.1-8B, max_num_seq: 5}",
            'E',
            "14:44",
            "frameworks_to_test[0].config.max_num_seq",
            "unknown key",
            "`max_num_seqs`",
        ),
        ("{model_profile_id: Llama-3.1-8B}", "{}", 'E', "14:11", config, "Missing model_profile_id", "Llama-3.1-8B"),
        (
            "{model_profile_id: Llama-3.1-8B}",
            "{model_profile_id: Llama-3.1-8B, model: {hidden_size: 4096}}",
            'E',
            "14:51",
            "frameworks_to_test[0].config.model",
            "both name a model",
            "",
        ),
        (
            "{model_profile_id: Llama-3.1-8B}",
            "{model_profile_id: Llama-3.1-8B, gpu_id: gpu0}",
            'E',
            "14:52",
            "frameworks_to_test[0].config.gpu_id",
            "does not name its GPUs",
            "take `gpu_id` out",
        ),
        (
            "{model_profile_id: Llama-3.1-8B}",
            "{model_profile_id: Llama-3.1-8B, timing: {}}",
            'E',
            "14:52",
            "frameworks_to_test[0].config.timing",
            "exactly one",
            "",
        ),
        (
            "{model_profile_id: Llama-3.1-8B}",
            "{model_profile_id: Llama-3.1-8B, tensor_parallel_size: 2, parallelism: {strategy: TP, tp_degree: 4}}",
            'E',
            "14:66",
            "frameworks_to_test[0].config.tensor_parallel_size",
            "differ",
            "",
        ),
        (
            "{model_profile_id: Llama-3.1-8B}",
            "{model_profile_id: Llama-3.1-8B}\n- {name: a, type: vllm, config: {model_profile_id: x}}",
            'E',
            "15:10",
            "frameworks_to_test[1].name",
            "Duplicate framework name: a",
            "",
        ),
        // Metrics.
        (
            "frameworks_to_test:",
            "metrics_config: {percentiles_to_calculate: [50]}\nframeworks_to_test:",
            'E',
            "11:45",
            "metrics_config.percentiles_to_calculate[0]",
            "50 is no fraction",
            "write 0.5 for p50",
        ),
        (
            "frameworks_to_test:",
            "metrics_config: {percentiles_to_calculate: [0.5, 0.5]}\nframeworks_to_test:",
            'E',
            "11:50",
            "metrics_config.percentiles_to_calculate[1]",
            "listed twice",
            "",
        ),
        (
            "total_requests_to_generate: 100",
            "n: 2\n  n_dist_config: {value: 3}\n  total_requests_to_generate: 100",
            'E',
            "5:6",
            "workload.n",
            "both say how many replies",
            "keep one of them",
        ),
        (
            "model_profile_id: Llama-3.1-8B}",
            "model_profile_id: Llama-3.1-8B, mixed_step_cost: fused, timing: {polynomial: {}}}",
            'E',
            "14:61",
            &format!("{config}.mixed_step_cost"),
            "have no fused step",
            "say `sum`",
        ),
    ] {
        assert!(BASE.contains(from), "{from}");
        let read = read(&BASE.replacen(from, to, 1), "x.yaml");
        let [finding] = read.diagnostics.as_slice() else { panic!("{to}: {:#?}", read.diagnostics) };
        let found = format!("{}:{}", finding.line.unwrap_or(0), finding.column.unwrap_or(0));
        let right = (finding.is_error(), found.as_str(), finding.path.as_str()) == (severity == 'E', place, path)
            && finding.message.contains(message)
            && finding.hint.contains(hint)
            && read.document.is_some() == (severity == 'W');
        if !right {
            wrong.push(format!("{to} (expected {place} {path} {message} {hint}): {finding}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn all_faults_are_reported_at_once_from_the_top_down() {
    let text = BASE
        .replace("random_seed: 1", "random_seed: x")
        .replace("rate: 2", "rate: -2")
        .replace("{model_profile_id: Llama-3.1-8B}", "{modle: 1}");
    let lines: Vec<u32> = read(&text, "x.yaml").diagnostics.iter().filter_map(|finding| finding.line).collect();
    assert_eq!(lines, [2, 8, 14]);
}

#[test]
fn a_thousand_faults_are_cut_to_a_readable_list() {
    let many: String = (0..1000).map(|index| format!("nonsense_{index}: 1\n")).collect();
    let read = read(&format!("{BASE}{many}"), "x.yaml");
    assert_eq!(read.diagnostics.len(), 101);
    assert!(read.diagnostics[100].message.contains("900 more"), "{}", read.diagnostics[100]);
}

#[test]
fn yaml_json_and_value_give_the_same_document_and_findings() {
    let yaml = read(BASE, "x.yaml").document.unwrap();
    let json = write_json(&yaml);
    assert_eq!(read(&json, "x.json").document.as_ref(), Some(&yaml));
    assert_eq!(read(&json.replace("  ", "\t"), "").document.as_ref(), Some(&yaml));
    assert_eq!(read_value(&serde_json::to_value(&yaml).unwrap()).document.as_ref(), Some(&yaml));
    let broken = json.replace("\"rate\": 2.0", "\"rate\": -2.0");
    let finding = &read(&broken, "x.json").diagnostics[0];
    assert_eq!(finding.path, "workload.client_profiles[0].inter_arrival_time_dist_config.rate");
    assert!(broken.lines().nth(finding.line.unwrap() as usize - 1).unwrap().contains("\"rate\": -2.0"));
}

#[test]
fn usual_spellings_and_unquoted_words_are_understood() {
    for (spelling, name) in [("vllm", "VLLM"), ("TensorRT-LLM", "TRTLLM"), ("sglang", "SGLANG"), ("Dynama", "DYNAMO")] {
        let read = read(&BASE.replace("type: VLLM", &format!("type: {spelling}")).replace("name: a", "name: 2026"), "x.yaml");
        let document = serde_json::to_value(read.document.unwrap()).unwrap();
        assert_eq!(document["frameworks_to_test"][0]["type"], name);
        assert_eq!(document["frameworks_to_test"][0]["name"], "2026");
    }
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    let document = read(&BASE.replace("to_generate: 100", "to_generate: 1e6"), "x.yaml").document.unwrap();
    assert_eq!(document.workload.total_requests_to_generate, Some(1_000_000));
}

#[test]
fn a_text_that_is_too_long_is_not_looked_at() {
    let read = read(&format!("{BASE}# {}", "x".repeat(llmperforacle::config::MAX_TEXT_BYTES)), "x.yaml");
    assert!(read.document.is_none() && read.diagnostics[0].message.contains("bytes"));
}

#[test]
fn a_value_set_by_path_is_checked_like_any_other() {
    let mut value = serde_json::to_value(read(BASE, "x.yaml").document.unwrap()).unwrap();
    set(&mut value, "frameworks_to_test[0].config.max_num_seqs", "64").unwrap();
    set(&mut value, "metrics_config.slo.ttft_ms", "500").unwrap();
    let document = read_value(&value).document.unwrap();
    assert_eq!(document.frameworks_to_test[0].config.max_num_seqs, Some(64));
    assert_eq!(document.metrics_config.unwrap().slo.unwrap().ttft_ms, Some(500.0));
    set(&mut value, "frameworks_to_test[0].config.max_num_seqz", "64").unwrap();
    assert!(read_value(&value).diagnostics[0].hint.contains("max_num_seqs"));
}

#[test]
fn the_schema_describes_every_key() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let config = &schema["$defs"]["FrameworkConfig"]["properties"]["max_num_seqs"];
    assert_eq!(config["description"], "Most sequences running at once.");
    assert_eq!((&config["minimum"], &config["maximum"]), (&json!(1), &json!(65536)));
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            assert!(property.get("description").is_some(), "{name}.{key} has no description: the form would have no help for it");
        }
    }
}

// ---- nothing falls over ------------------------------------------------------------------------------------

fn all_texts() -> Vec<String> {
    let original = std::fs::read_dir(format!("{}/configs/original", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut texts: Vec<String> = original.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    texts.extend(presets().iter().map(|preset| preset.text.to_string()));
    texts.push(BASE.into());
    texts
}

/// Whatever is accepted means the same after it was written and read again.
fn holds_together(text: &str, name: &str) {
    let read_once = read(text, name);
    assert_eq!(read_once.document.is_none(), read_once.diagnostics.iter().any(|finding| finding.is_error()));
    if let Some(document) = read_once.document {
        for written in [write_yaml(&document), write_json(&document)] {
            let again = read(&written, "");
            assert_eq!(again.document, Some(document.clone()), "{written}\n{:#?}", again.diagnostics);
        }
    }
}

/// A value somewhere in a document.
fn places(value: &Value, path: String, found: &mut Vec<String>) {
    found.push(path.clone());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, child)| places(child, format!("{path}/{key}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, child)| places(child, format!("{path}/{index}"), found)),
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[1]])),
        Just(json!({"type": "Mixture", "components": [{"type": "Normal", "mean": -1e300}]})),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..3.0).prop_map(Value::from),
        (0_u32..100).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["TP", "PP", "TP_PP", "LogNormal", "Quantiles", "shared", "gpu0", "client_node_0", "ParallelVLLM"])
            .prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_text_never_panics(text in "(?s).{0,200}", name in prop::sample::select(vec!["", "x.json", "x.yaml"])) {
        holds_together(&text, name);
    }

    #[test]
    fn random_yaml_like_text_never_panics(text in "[a-c:{}\\[\\]&*!|>'\"#,?\\-\\t \\n0-9.~<_]{0,80}") {
        holds_together(&text, "");
    }

    #[test]
    fn documents_with_a_random_edit_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), cut in 0_usize..20, insert in "[ -~\\n]{0,8}") {
        let texts = all_texts();
        let text = which.get(&texts);
        let mut letters: Vec<char> = text.chars().collect();
        let start = at.index(letters.len());
        let end = (start + cut).min(letters.len());
        letters.splice(start..end, insert.chars());
        holds_together(&letters.into_iter().collect::<String>(), "");
    }

    #[test]
    fn documents_with_random_values_never_panic(which in any::<prop::sample::Index>(), edits in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4)) {
        let documents: Vec<Document> = presets().iter().filter_map(|preset| read(preset.text, "").document).collect();
        let mut value = serde_json::to_value(which.get(&documents)).unwrap();
        for (at, odd) in edits {
            let mut found = Vec::new();
            places(&value, String::new(), &mut found);
            let place = at.get(&found).clone();
            *value.pointer_mut(&place).unwrap() = odd;
        }
        holds_together(&value.to_string(), "x.json");
        let read = read_value(&value);
        prop_assert_eq!(read.document.is_none(), read.diagnostics.iter().any(|finding| finding.is_error()));
    }
}

#[test]
fn the_default_preset_is_the_first() {
    assert_eq!(presets()[0].name, "stacks-h100");
    assert_eq!(find_preset("stacks-h100"), Some(&presets()[0]));
}

/// Findings made after reading, which know only a path, get its place in the text.
#[test]
fn later_findings_find_their_place() {
    let text = "simulation: {}\nhardware_profile:\n  node: H100-SXM\n";
    let mut findings = [Diagnostic::error("hardware_profile.node", "no such node", "")];
    locate(text, "a.yaml", &mut findings);
    assert_eq!((findings[0].line, findings[0].column), (Some(3), Some(9)));
}
