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
    for command in ["run", "validate", "generate-config", "schema", "list", "bench"] {
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
    assert_refused(&call(&["run", "missing.yaml"], &dir), 1, &["missing.yaml", "No such file"]);
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
    assert_eq!(stdout(&good), "✓ Configuration is valid: good.yaml\n");
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
