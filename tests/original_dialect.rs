//! Documents of the original project: accepted with their meaning, and with warnings that say what was done.

#![allow(clippy::unwrap_used, reason = "a test without its fixtures has to fail")]

use llmperforacle::config::schema::{ArrivalModel, Comparison, DistributionKind, LogNormalSpace};
use llmperforacle::config::{Document, Format, Read, Severity, find_preset, generate_config, read, read_value, write_json, write_yaml};

fn read_file(name: &str) -> Read {
    let path = format!("{}/configs/original/{name}", env!("CARGO_MANIFEST_DIR"));
    read(&std::fs::read_to_string(path).unwrap(), name)
}

fn accepted(name: &str) -> (Document, Vec<String>) {
    let read = read_file(name);
    assert!(read.original, "{name}");
    let errors: Vec<_> = read.diagnostics.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    (read.document.unwrap(), read.diagnostics.iter().map(ToString::to_string).collect())
}

const RUNNABLE: [&str; 6] =
    ["conversations.yaml", "cross-request.yaml", "tensor-parallel.yaml", "six-profiles.yaml", "pipeline.yaml", "minimal.json"];

#[test]
fn the_meaning_is_spelled_out_in_the_document() {
    for name in RUNNABLE {
        let (document, warnings) = accepted(name);
        assert_eq!(document.schema_version, Some(1), "{name}");
        assert_eq!(document.simulation.comparison, Some(Comparison::Shared), "{name}");
        assert_eq!(document.workload.arrival_model, Some(ArrivalModel::OneGenerator), "{name}");
        assert_eq!(document.workload.bytes_per_token_estimate_for_network, Some(2.0), "{name}");
        assert!(
            document.frameworks_to_test.iter().all(|entry| entry.config.max_num_seqs.is_some_and(|count| count == 256 || count == 512))
        );
        assert!(warnings.iter().any(|warning| warning.contains("read as a document of the original project")), "{name}: {warnings:#?}");
    }
}

#[test]
fn the_translation_is_written_and_read_again_without_change() {
    for name in RUNNABLE {
        let (document, _) = accepted(name);
        for (text, file_name) in [(write_yaml(&document), "x.yaml"), (write_json(&document), "x.json")] {
            let again = read(&text, file_name);
            assert!(!again.original, "{name}: the translation is in our own dialect");
            assert_eq!(again.document.as_ref(), Some(&document), "{name}: {:#?}", again.diagnostics);
        }
        let value = serde_json::to_value(&document).unwrap();
        assert_eq!(read_value(&value).document.as_ref(), Some(&document), "{name}");
    }
}

/// Each of these is a quirk of the original's documents, with what is said about it and where.
#[test]
fn every_quirk_has_a_warning_at_its_place() {
    for (name, place, part) in [
        ("conversations.yaml", "5:3: simulation.lod: ", "no effect"),
        ("conversations.yaml", "15:56: hardware_profile.network_links[0].dest_id: ", "`framework_entry_0` is no device"),
        ("conversations.yaml", "23:70: workload.client_profiles[0].inter_arrival_time_dist_config.mean: ", "does not apply to Exponential"),
        ("conversations.yaml", "24:58: workload.client_profiles[0].prompt_tokens_dist_config: ", "mean of the values"),
        ("conversations.yaml", "25:38: workload.client_profiles[0].max_output_tokens_dist_config: ", "`sigma` is ignored"),
        ("conversations.yaml", "43:7: frameworks_to_test[0].config.prefix_eviction_policy: ", "no effect"),
        ("conversations.yaml", "48:3: metrics_config.log_level: ", "no effect"),
        ("six-profiles.yaml", "26:58: workload.client_profiles[0].prompt_tokens_dist_config: ", "mean of the logarithm"),
        ("six-profiles.yaml", "26:58: workload.client_profiles[0].prompt_tokens_dist_config: ", "17 others likewise"),
        (
            "six-profiles.yaml",
            "72:7: frameworks_to_test[0].config.scheduling_policy: ",
            "unknown key `scheduling_policy`: ignored (2 places)",
        ),
        ("tensor-parallel.yaml", "19:7: workload.client_profiles[0].turn_type_dist_config: ", "no effect"),
        ("tensor-parallel.yaml", "27:3: metrics_config.compute_percentiles: ", "no effect"),
        ("pipeline.yaml", "43:13: frameworks_to_test[2].config: ", "no gpu_id: taken as `gpu0`"),
        ("cross-request.yaml", "30:122: frameworks_to_test[0].config.store_prefix_tokens: ", "no effect"),
    ] {
        let (_, warnings) = accepted(name);
        assert!(
            warnings.iter().any(|warning| warning.starts_with(place) && warning.contains(part)),
            "{name} {place}{part}:\n{warnings:#?}"
        );
    }
}

#[test]
fn numbers_and_words_have_pyyamls_values() {
    let (document, _) = accepted("conversations.yaml");
    let device = &document.hardware_profile.compute_devices.as_ref().unwrap()[0];
    assert_eq!(device.memory_capacity_bytes, Some(80e9));
    assert_eq!(device.memory_gbps, Some(2039.0));
    let link = &document.hardware_profile.network_links.as_ref().unwrap()[0];
    assert_eq!((link.bandwidth_bps, link.latency_s, link.bidirectional), (10e9, 1e-4, Some(true)));
    assert_eq!(document.workload.accumulate_conversational_tokens, Some(true));
}

#[test]
fn lognormal_has_both_its_meanings() {
    let space = |document: &Document, profile: usize| {
        let profiles = document.workload.client_profiles.as_ref().unwrap();
        let distribution = &profiles[profile].prompt_tokens_dist_config;
        assert_eq!(distribution.kind, Some(DistributionKind::LogNormal));
        distribution.space
    };
    assert_eq!(space(&accepted("conversations.yaml").0, 0), Some(LogNormalSpace::Value));
    assert_eq!(space(&accepted("six-profiles.yaml").0, 3), Some(LogNormalSpace::Log));
}

#[test]
fn generate_config_writes_a_document_that_runs() {
    for (format, name) in [(Format::Yaml, "x.yaml"), (Format::Json, "x.json")] {
        let read = read(&generate_config(None, format).unwrap(), name);
        assert!(read.original);
        let document = read.document.unwrap();
        let profile = &document.workload.client_profiles.as_ref().unwrap()[0];
        // What the original's generate-config says.
        assert_eq!((document.simulation.max_simulation_time, document.simulation.random_seed), (Some(300.0), Some(42)));
        assert_eq!((document.workload.total_duration, document.workload.random_seed), (Some(300.0), Some(123)));
        assert_eq!(profile.inter_arrival_time_dist_config.as_ref().unwrap().rate, Some(10.0));
        assert_eq!(profile.prompt_tokens_dist_config.space, Some(LogNormalSpace::Value));
        assert_eq!(document.frameworks_to_test[0].config.model_profile_id.as_deref(), Some("Llama2-7B"));
        assert_eq!(document.frameworks_to_test[0].config.max_num_batched_tokens, Some(4096));
    }
    assert_eq!(generate_config(Some("no-such-preset"), Format::Yaml), None);
}

#[test]
fn fragments_and_the_other_dialect_are_refused_in_one_sentence() {
    for (name, fields, word) in [
        ("fragment-hardware.yaml", "simulation, workload, frameworks_to_test", "memory_capacity_gb"),
        ("fragment-workload.yaml", "simulation, hardware_profile, frameworks_to_test", "active_profiles"),
    ] {
        let read = read_file(name);
        assert!(read.document.is_none());
        assert_eq!(read.diagnostics.len(), 1, "{name}");
        assert_eq!(read.diagnostics[0].message, format!("Missing top-level fields: {fields}"));
        assert!(read.diagnostics[0].hint.contains(word), "{}", read.diagnostics[0].hint);
    }
}

/// Keys of ours may be added to a document of the original without turning its defaults into ours; a version or a form of ours
/// makes it one of ours.
#[test]
fn the_rule_that_tells_the_dialects_apart() {
    let base = find_preset("original-quickstart").unwrap().text;
    let with = |from: &str, to: &str| {
        assert!(base.contains(from));
        read(&base.replacen(from, to, 1), "x.yaml")
    };
    assert!(with("metrics_config:", "metrics_config:\n  slo: {ttft_ms: 500}").original);
    assert!(with("      mean: 50", "      mean: 50\n      space: value").original);
    let side_by_side = with("simulation:", "simulation:\n  comparison: side_by_side");
    assert!(side_by_side.original);
    assert_eq!(side_by_side.document.unwrap().simulation.comparison, Some(Comparison::SideBySide));
    let ours = with("simulation:", "schema_version: 1\nsimulation:");
    assert!(!ours.original);
    assert_eq!(ours.document.unwrap().workload.arrival_model, None);
    assert!(!with("  - device_id: gpu0", "  - device: H100-SXM\n    device_id: gpu0").original);
}

/// The original's own messages, where its validator has one.
#[test]
fn faults_have_the_originals_messages() {
    let base = find_preset("original-quickstart").unwrap().text;
    for (from, to, place, message) in [
        ("max_simulation_time: 300", "max_simulation_time: -1", "2:24", "Invalid max_simulation_time: -1"),
        ("total_duration: 300", "total_duration: 0", "", "Invalid total_duration: 0"),
        ("type: VLLM", "type: XLLM", "", "Unknown framework type: XLLM"),
        ("gpu_id: gpu0", "gpu_id: gpu7", "", "VLLM gpu_id 'gpu7' not found in hardware"),
        ("model_profile_id: Llama2-7B", "block_size: 16", "", "the key `block_size` is there twice"),
        ("    model_profile_id: Llama2-7B\n", "", "", "Missing model_profile_id in framework config"),
        ("block_size: 16", "block_size: 300", "", "Invalid block_size: 300 (should be 1-256)"),
        ("max_num_seqs: 256", "max_num_seqs: 0", "", "Invalid max_num_seqs: 0"),
        ("source_id: client_node_0", "source_id: nobody", "", "Link client_to_server: Unknown source device nobody"),
        ("memory_gbps: 2000", "memory_gbps: ~", "", "Device gpu0 missing fields: memory_gbps"),
        ("memory_capacity_bytes: 80000000000", "memory_capacity_bytes: 80", "", "Invalid memory_capacity_bytes: 80"),
        ("fp16: 312", "bf17: 312", "", "Device gpu0: Missing fp16 in peak_tflops"),
        ("peak_tflops:\n      fp16: 312\n      int8: 624", "peak_tflops: 312", "", "peak_tflops should be a mapping"),
        ("is_target_for_workload: true", "is_target_for_workload: false", "", "No frameworks marked as workload targets"),
        (
            "inter_arrival_time_dist_config:\n      type: Exponential\n      rate: 10.0\n    ",
            "",
            "",
            "Client profile 0 missing inter_arrival_time_dist_config",
        ),
        ("gpu_id: gpu0", "parallelism: {strategy: TP, tp_degree: 2, gpu_ids: [gpu0]}", "", "TP degree 2 doesn't match GPU count 1"),
        ("gpu_id: gpu0", "parallelism: {strategy: EP, gpu_ids: [gpu0]}", "", "Invalid parallelism strategy: EP"),
        (
            "gpu_id: gpu0",
            "parallelism: {strategy: TP_PP, tp_degree: 2, pp_stages: 2, gpu_ids: [gpu0]}",
            "",
            "TP_PP expects 4 GPUs (tp=2 * pp=2), got 1",
        ),
        ("type: VLLM", "type: ParallelVLLM", "", "ParallelVLLM missing parallelism config"),
    ] {
        assert!(base.contains(from), "{from}");
        let read = read(&base.replacen(from, to, 1), "x.yaml");
        let errors: Vec<_> = read.diagnostics.iter().filter(|finding| finding.is_error()).collect();
        assert!(errors.iter().any(|error| error.message.contains(message)), "{to}: {errors:#?}");
        assert!(errors.iter().all(|error| error.line.is_some() && error.column.is_some()), "{to}: {errors:#?}");
        if let Some((line, column)) = place.split_once(':') {
            assert_eq!((errors[0].line, errors[0].column), (line.parse().ok(), column.parse().ok()), "{to}");
        }
        assert_eq!(errors.len(), 1, "one fault, one error: {errors:#?}");
        assert!(read.document.is_none());
    }
}
