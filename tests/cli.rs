//! The command as a user meets it: output, messages, exit codes.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Short enough for a test, in this project's own dialect.
const SMALL: &str = "
schema_version: 1
simulation: {random_seed: 3}
hardware_profile: {node: H100-SXM}
workload:
  total_requests_to_generate: 50
  client_profiles:
  - profile_name: chat
    inter_arrival_time_dist_config: {type: Exponential, rate: 5}
    prompt_tokens_dist_config: {type: Constant, value: 300, is_int: true}
    max_output_tokens_dist_config: {type: Constant, value: 20, is_int: true}
frameworks_to_test:
- name: one
  type: VLLM
  config: {model_profile_id: Llama-3.1-8B}
";

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmperforacle"));
    command.args(arguments).current_dir(folder).env_remove("RUST_BACKTRACE");
    command
}

fn call(arguments: &[&str], folder: &Path) -> Output {
    command(arguments, folder).output().unwrap()
}

/// Calls with a text as standard input.
fn feed(arguments: &[&str], folder: &Path, input: &str) -> Output {
    let mut child = command(arguments, folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input closes it, which is no fault of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A fresh folder in cargo's directory for tests.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Fails with `code`, prints nothing of a result, and says everything in `words` without a backtrace.
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let said = stdout(output) + &stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    for word in ["panicked", "RUST_BACKTRACE", "stack backtrace", "Simulation completed"] {
        assert!(!said.contains(word), "{said}");
    }
}

#[test]
fn version_and_help() {
    let dir = folder("version");
    let version = call(&["--version"], &dir);
    assert_eq!(stdout(&version), format!("LLMPerfOracle, version {}\n", env!("CARGO_PKG_VERSION")));
    assert!(version.status.success());
    let help = call(&["--help"], &dir);
    assert!(help.status.success());
    for command in ["run", "validate", "generate-config", "schema", "link", "open", "list", "bench"] {
        assert!(stdout(&help).contains(command), "{command}");
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let dir = folder("usage");
    assert_refused(&call(&["run"], &dir), 2, &["FILE"]);
    assert_refused(&call(&["fly"], &dir), 2, &["fly"]);
    assert_refused(&call(&["run", "a.yaml", "--set", "nonsense"], &dir), 2, &["path=value"]);
    assert_refused(&call(&["run", "a.yaml", "--format", "yaml"], &dir), 2, &["recognised by itself"]);
    assert_refused(&call(&["run", "a.yaml", "--seed", "-1"], &dir), 2, &["-1"]);
}

#[test]
fn bad_input_is_named_with_its_place() {
    let dir = folder("bad_input");
    assert_refused(&call(&["run", "missing.yaml"], &dir), 1, &["missing.yaml", "No such file", "list presets"]);
    assert_refused(&call(&["run", "chat-h10"], &dir), 1, &["chat-h10", "did you mean `chat-h100`?"]);
    assert_refused(&call(&["run", "."], &dir), 1, &["it is a directory"]);
    std::fs::write(dir.join("latin1.yaml"), b"title: caf\xe9\n").unwrap();
    assert_refused(&call(&["run", "latin1.yaml"], &dir), 1, &["latin1.yaml", "UTF-8"]);

    let bad_key = SMALL.replace("total_requests_to_generate", "total_request_to_generate");
    std::fs::write(dir.join("key.yaml"), bad_key).unwrap();
    assert_refused(
        &call(&["run", "key.yaml"], &dir),
        1,
        &["key.yaml:6:3: workload.total_request_to_generate", "total_requests_to_generate"],
    );

    let bad_number = SMALL.replace(", rate: 5", ", rate: fast");
    assert_refused(&feed(&["run", "-"], &dir, &bad_number), 1, &["<stdin>:9:", "rate", "fast"]);
    assert_refused(&feed(&["run", "-"], &dir, "{ \"a\": "), 1, &["<stdin>:1:"]);
    assert_refused(&feed(&["run", "-", "--set", "workload.rate_scale=-2"], &dir, SMALL), 1, &["workload.rate_scale", "-2"]);
}

#[test]
fn validate_counts_errors() {
    let dir = folder("validate");
    std::fs::write(dir.join("good.yaml"), SMALL).unwrap();
    std::fs::write(dir.join("bad.yaml"), SMALL.replace(", rate: 5", ", rate: -5").replace("value: 300", "value: many")).unwrap();
    let good = call(&["validate", "good.yaml"], &dir);
    assert!(good.status.success());
    assert!(stdout(&good).starts_with("✓ Configuration is valid: good.yaml\nMemory of H100-SXM"), "{}", stdout(&good));
    // A line of 60 characters, and what they stand for.
    let bar = stdout(&good).lines().nth(2).unwrap().trim().len();
    assert_eq!(bar, 62);
    assert!(stdout(&good).contains("W weights 15.0") && stdout(&good).contains("KV blocks of 16 tokens"));
    let both = call(&["validate", "good.yaml", "bad.yaml"], &dir);
    assert_eq!(both.status.code(), Some(1));
    assert!(stdout(&both).contains("✗ Configuration has 2 errors:\nbad.yaml:9:"), "{}", stdout(&both));
}

#[test]
fn generate_config_writes_where_it_is_told() {
    let dir = folder("generate");
    let piped = call(&["generate-config"], &dir);
    assert!(stdout(&piped).contains("frameworks_to_test:"));
    assert!(std::fs::read_dir(&dir).unwrap().next().is_none(), "a pipe gets the text, and no file is made");

    let file = call(&["generate-config", "--preset", "chat-h100", "-o", "new/chat.json"], &dir);
    assert_eq!(stdout(&file), "Generated example configuration at new/chat.json\n");
    let text = std::fs::read_to_string(dir.join("new/chat.json")).unwrap();
    assert!(serde_json::from_str::<Value>(&text).unwrap()["frameworks_to_test"].is_array());
    assert!(call(&["validate", "new/chat.json"], &dir).status.success());
    assert_refused(&call(&["generate-config", "--preset", "chatt"], &dir), 1, &["chatt", "chat-h100"]);
}

#[test]
fn schema_and_lists_are_readable_by_programs() {
    let dir = folder("lists");
    let schema: Value = serde_json::from_slice(&call(&["schema"], &dir).stdout).unwrap();
    assert!(schema["properties"]["workload"].is_object());
    for (what, name) in [("models", "Llama-3.1-8B"), ("gpus", "H100-SXM"), ("presets", "chat-h100")] {
        let rows: Value = serde_json::from_slice(&call(&["list", what, "--json"], &dir).stdout).unwrap();
        assert!(rows.as_array().unwrap().iter().any(|row| row["name"] == name), "{what}: {name}");
        assert!(stdout(&call(&["list", what], &dir)).lines().any(|line| line.starts_with(name)));
    }
    let frameworks: Value = serde_json::from_slice(&call(&["list", "frameworks", "--json"], &dir).stdout).unwrap();
    assert!(frameworks.as_array().unwrap().iter().any(|row| row["type"] == "VLLM" && row["status"] == "available"));
}

/// `llmperforacle schema | head -1`.
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = command(&["schema"], &folder("pipe")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "");
    assert!(output.status.success());
}

/// The original project's quick start dies after 57 simulated seconds; here it ends with every request served but those still
/// under way at 300 s.
#[test]
fn generate_config_piped_into_run_works_out_of_the_box() {
    let dir = folder("quick_start");
    let text = stdout(&call(&["generate-config"], &dir));
    let run = feed(&["run", "-"], &dir, &text);
    assert!(run.status.success(), "{}", stderr(&run));
    let said = stdout(&run);
    let after =
        |head: &str| said.lines().find_map(|line| line.strip_prefix(head)).unwrap_or_else(|| panic!("no {head} in {said}")).to_string();
    assert!(said.contains("\nSimulation completed!\n"));
    assert!(after("Total requests: ").parse::<u64>().unwrap() > 2000);
    assert!(after("Success rate: ").trim_end_matches('%').parse::<f64>().unwrap() > 95.0);
    assert!(after("Throughput: ").trim_end_matches(" tokens/s").parse::<f64>().unwrap() > 100.0);
    // The files that its metrics_config names.
    let summary: Value = serde_json::from_slice(&std::fs::read(dir.join("experiments/results/summary.json")).unwrap()).unwrap();
    let rows = std::fs::read_to_string(dir.join("experiments/results/requests.csv")).unwrap().lines().count() as u64 - 1;
    assert_eq!(rows, summary["requests"]["total"].as_u64().unwrap() + summary["requests"]["in_warm_up"].as_u64().unwrap());
}

fn summary_of(arguments: &[&str], dir: &Path, input: &str) -> Value {
    let run = feed(&[&["run", "-", "--format", "json"], arguments].concat(), dir, input);
    assert!(run.status.success(), "{}", stderr(&run));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn options_of_run_do_what_they_say() {
    let dir = folder("options");
    let plain = summary_of(&[], &dir, SMALL);
    assert_eq!(plain["requests"]["successful"], 50);
    assert_eq!(plain["provenance"]["seed"], 3);
    // Step by step, the same to the last digit.
    assert_eq!(summary_of(&["--no-fast-path"], &dir, SMALL), plain);
    let seeded = summary_of(&["--seed", "4"], &dir, SMALL);
    assert_eq!(seeded["provenance"]["seed"], 4);
    assert_ne!(seeded["simulation"]["last_arrival_s"], plain["simulation"]["last_arrival_s"]);
    let fewer = summary_of(&["--set", "workload.total_requests_to_generate=7", "--set", "frameworks_to_test[0].name=other"], &dir, SMALL);
    assert_eq!((&fewer["requests"]["total"], &fewer["name"]), (&Value::from(7), &Value::from("other")));

    // The original's options for the input's format and the log are accepted, and said to be needless.
    let old = feed(&["run", "-", "-f", "yaml", "-l", "INFO"], &dir, SMALL);
    assert!(old.status.success() && stderr(&old).contains("recognised by itself"), "{}", stderr(&old));
    assert!(std::fs::read_dir(&dir).unwrap().next().is_none(), "nothing is written unasked");
}

#[test]
fn several_documents_and_entries() {
    let dir = folder("several");
    let second = "- name: two\n  type: VLLM\n  config: {model_profile_id: Llama-3.1-8B, max_num_seqs: 1}\n";
    std::fs::write(dir.join("a.yaml"), SMALL).unwrap();
    std::fs::write(dir.join("b.yaml"), format!("{SMALL}{second}")).unwrap();
    let run = call(&["run", "a.yaml", "b.yaml", "--out", "results"], &dir);
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(stdout(&run).contains("Total requests (two): 50"), "{}", stdout(&run));
    let header = stdout(&run)
        .lines()
        .rfind(|line| line.trim_start().starts_with("one"))
        .unwrap()
        .split_whitespace()
        .map(String::from)
        .collect::<Vec<_>>();
    assert_eq!(header, ["one", "two"]);
    let summary: Value = serde_json::from_slice(&std::fs::read(dir.join("results/b/summary.json")).unwrap()).unwrap();
    // The same requests, one at a time, wait longer.
    let queued = |name: &str| summary["runs"][name]["latency"]["queue_time_ms"]["mean"].as_f64().unwrap();
    assert!(queued("two") > queued("one"));
    assert_eq!(std::fs::read_to_string(dir.join("results/b/requests.csv")).unwrap().lines().count(), 101);
    assert_eq!(std::fs::read_to_string(dir.join("results/a/requests.csv")).unwrap().lines().count(), 51);

    let targets = "metrics_config: {output_summary_json_path: same.json}\n";
    for name in ["a.yaml", "b.yaml"] {
        std::fs::write(dir.join(name), format!("{SMALL}{targets}")).unwrap();
    }
    assert_refused(&call(&["run", "a.yaml", "b.yaml"], &dir), 1, &["a.yaml", "b.yaml", "same.json"]);
}

#[test]
fn traces_lie_beside_their_document() {
    let dir = folder("trace");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    std::fs::write(dir.join("sub/t.csv"), "arrival_s,input_tokens,output_tokens\n0.5,100,10\n1.5,200,20\n").unwrap();
    let (before, rest) = SMALL.split_once("workload:\n").unwrap();
    let entries = rest.split_once("frameworks_to_test:").unwrap().1;
    let document = |path: &str| format!("{before}workload:\n  trace: {{path: {path}}}\nframeworks_to_test:{entries}");
    std::fs::write(dir.join("sub/doc.yaml"), document("t.csv")).unwrap();
    std::fs::write(dir.join("doc.yaml"), document("t.csv")).unwrap();
    let run = call(&["run", "sub/doc.yaml", "--format", "json"], &dir);
    assert!(run.status.success(), "{}", stderr(&run));
    assert_eq!(serde_json::from_slice::<Value>(&run.stdout).unwrap()["requests"]["successful"], 2);
    assert_refused(&call(&["run", "doc.yaml"], &dir), 1, &["workload.trace", "t.csv"]);
    std::fs::write(dir.join("t.csv"), "arrival_s,input_tokens,output_tokens\n0.5,many,10\n").unwrap();
    assert_refused(&call(&["run", "doc.yaml"], &dir), 1, &["workload.trace.path", "line 2", "many"]);
}

#[test]
fn a_link_opens_as_the_document_it_was_made_of() {
    let dir = folder("link");
    let link = stdout(&feed(&["link", "-"], &dir, SMALL));
    assert!(link.starts_with("v1."), "{link}");
    let opened = call(&["open", link.trim()], &dir);
    assert_eq!(summary_of(&[], &dir, &stdout(&opened)), summary_of(&[], &dir, SMALL));
    let whole = stdout(&feed(&["link", "-", "--page", "https://example.org/play/"], &dir, SMALL));
    assert_eq!(whole, format!("https://example.org/play/#{link}"));
    assert_eq!(stdout(&call(&["open", whole.trim()], &dir)), stdout(&opened));
    let json = call(&["open", link.trim(), "-o", "doc.json"], &dir);
    assert!(json.status.success() && call(&["validate", "doc.json"], &dir).status.success());
    assert_refused(&call(&["open", "v1.AAAA"], &dir), 1, &["Error: "]);
    assert_refused(&call(&["open", "v9.AAAA"], &dir), 1, &["v9"]);
}

#[test]
fn bench_tells_time_and_memory_of_fleets() {
    let dir = folder("bench-fleet");
    let fleet = ["bench", "--fleet", "--json", "--requests", "300", "--replicas", "1,3", "--router", "round_robin,kv"];
    let done = call(&fleet, &dir);
    let rows: Value = serde_json::from_slice(&done.stdout).unwrap();
    let cases: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["traffic"].as_str().unwrap(), row["router"].as_str().unwrap(), row["replicas"].as_u64().unwrap()))
        .collect();
    assert_eq!(cases.len(), 8);
    assert_eq!((cases[0], cases[7]), (("conversations", "round_robin", 1), ("poisson", "kv", 3)));
    for row in rows.as_array().unwrap() {
        assert_eq!(row["requests"].as_u64(), Some(300), "{row}");
        assert!(row["us_a_request"].as_f64().unwrap() > 0.0, "{row}");
        assert!(!cfg!(target_os = "linux") || row["peak_mib"].as_u64().unwrap() > 1, "{row}");
    }
    // One replica is the same run whatever is in front of it.
    assert_eq!(rows[0]["hash"], rows[2]["hash"]);
    assert_ne!(rows[1]["hash"], rows[3]["hash"]);
    assert_refused(&call(&["bench", "--fleet", "--router", "tarot"], &dir), 2, &["tarot", "round_robin"]);
    assert_refused(&call(&["bench", "--replicas", "3"], &dir), 2, &["--fleet"]);
}

#[test]
fn bench_reports_its_cases() {
    let dir = folder("bench");
    let bench = call(&["bench", "--case", "closed-loop", "--json", "--repeat", "1"], &dir);
    let rows: Value = serde_json::from_slice(&bench.stdout).unwrap();
    let row = &rows.as_array().unwrap()[0];
    assert_eq!((&row["name"], &row["requests"], &row["successful"]), (&"closed-loop".into(), &131_072.into(), &131_072.into()));
    let rate = row["requests"].as_f64().unwrap() / row["cpu_s"].as_f64().unwrap();
    assert!((row["requests_per_cpu_s"].as_f64().unwrap() / rate - 1.0).abs() < 1e-9);
    assert_refused(
        &call(&["bench", "--case", "warp"], &dir),
        1,
        &["closed-loop, closed-loop-trtllm, closed-loop-sglang, poisson, azure-conversation"],
    );
}

#[test]
fn explain_shows_a_moment_or_says_why_not() {
    let folder = folder("explain");
    let shown = feed(&["explain", "-", "--at", "2.5", "--entry", "one", "--json"], &folder, SMALL);
    assert!(shown.status.success(), "{}", stderr(&shown));
    let json: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    assert_eq!((json[0]["run"].as_str(), json[0]["at_s"].as_f64()), (Some("one"), Some(2.5)));
    let text = stdout(&feed(&["explain", "-", "--at", "2500ms"], &folder, SMALL));
    assert!(text.starts_with("one at 2.500000 s\n") && text.contains("Replica 0: one (VLLM, Llama-3.1-8B on H100-SXM)"), "{text}");
    for (arguments, word) in [
        (["--at", "1000"], "the simulation ends at"),
        (["--at", "-1"], "--at"),
        (["--at=soon", "--json"], "write it as seconds"),
        (["--at=1", "--entry=two"], "there is no run `two`; there are: one"),
    ] {
        let refused = feed(&[&["explain", "-"], &arguments[..]].concat(), &folder, SMALL);
        assert!(!refused.status.success() && stderr(&refused).contains(word), "{arguments:?}: {}", stderr(&refused));
    }
}

#[test]
fn calibrate_writes_what_a_document_can_name() {
    let dir = folder("calibrate");
    std::fs::write(dir.join("small.yaml"), SMALL).unwrap();
    let bench = concat!(
        r#"{"completed": 50, "total_input_tokens": 15000, "total_output_tokens": 1000, "request_rate": 5, "model_id": "Llama-3.1-8B", "#,
        r#""mean_ttft_ms": 40.0, "median_ttft_ms": 39.0, "p99_ttft_ms": 60.0, "mean_tpot_ms": 9.0, "median_tpot_ms": 9.0, "p99_tpot_ms": 10.0}"#
    );
    std::fs::write(dir.join("bench.json"), bench).unwrap();
    let done = call(&["calibrate", "--from", "bench.json", "small.yaml", "--output", "own.json"], &dir);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stdout(&done).contains("device_time") && stdout(&done).contains("tpot_mean_ms"), "{}", stdout(&done));
    let own: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("own.json")).unwrap()).unwrap();
    assert!(own["device_time"].as_f64().unwrap() > 1.0 && own["source"].as_str().unwrap().contains("bench.json"), "{own}");

    // Named in the document, it brings the prediction to the measured 9 ms.
    let named = SMALL.replace("{model_profile_id: Llama-3.1-8B}", "{model_profile_id: Llama-3.1-8B, calibration: {file: own.json}}");
    std::fs::write(dir.join("named.yaml"), named).unwrap();
    let run = call(&["run", "named.yaml", "--format", "json"], &dir);
    let printed: Value = serde_json::from_str(&stdout(&run)).unwrap();
    let text = printed.to_string();
    let found = find(&printed, "time_per_output_token_ms").unwrap_or_else(|| panic!("{text}"));
    let mean = found["mean"].as_f64().unwrap();
    assert!((mean / 9.0 - 1.0).abs() < 0.05, "{mean}");

    // Without a document: the benchmark's own words and a device.
    let made = call(&["calibrate", "--from", "bench.json", "--device", "H100-SXM", "--json"], &dir);
    assert!(made.status.success(), "{}", stderr(&made));
    let printed: Value = serde_json::from_str(&stdout(&made)).unwrap();
    assert!(printed["metrics"].as_array().unwrap().len() == 6 && dir.join("calibration.json").exists(), "{printed}");

    assert_refused(&call(&["calibrate", "--from", "small.yaml", "small.yaml"], &dir), 1, &["small.yaml", "no JSON", "vllm bench serve"]);
    assert_refused(&call(&["calibrate", "--from", "bench.json"], &dir), 1, &["--device"]);
}

/// The first value of a key, however deep.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|inner| find(inner, key))),
        Value::Array(list) => list.iter().find_map(|inner| find(inner, key)),
        _ => None,
    }
}
