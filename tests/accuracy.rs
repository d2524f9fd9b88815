//! The committed report against the present program: replays of the built-in records must give what docs/accuracy.md and
//! configs/accuracy.json say. `UPDATE_ACCURACY=1` writes both anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use llmperforacle::accuracy::{self, Factors, Replayed};
use llmperforacle::sim::Files;
use serde_json::Value;

/// A prediction may move by so much before the committed report counts as stale.
const MOVED: f64 = 0.02;

struct Truth;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Files for Truth {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(root().join("configs/truth").join(path)).map_err(|error| error.to_string())
    }
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn replays(factors: Factors) -> Vec<Replayed> {
    let records: Vec<_> = accuracy::records(&text("configs/truth/runs.jsonl")).into_iter().map(Result::unwrap).collect();
    let half = records.len() / 2;
    std::thread::scope(|scope| {
        let replay =
            |part: &[accuracy::Record]| -> Vec<Replayed> { part.iter().map(|record| accuracy::replay(record, &Truth, factors)).collect() };
        let (first, second) = records.split_at(half);
        let first = scope.spawn(move || replay(first));
        let second = replay(second);
        let mut all = first.join().unwrap();
        all.extend(second);
        all
    })
}

/// Replays by the program as it is.
fn present() -> &'static [Replayed] {
    static RUNS: OnceLock<Vec<Replayed>> = OnceLock::new();
    RUNS.get_or_init(|| replays(Factors::default()))
}

#[test]
fn the_committed_report_is_that_of_the_program() {
    let runs = present();
    let compact = accuracy::compact(runs);
    if std::env::var_os("UPDATE_ACCURACY").is_some() {
        let varied: Vec<(&str, Vec<Replayed>)> = accuracy::VARIANTS.iter().map(|(name, factors)| (*name, replays(*factors))).collect();
        let varied: Vec<accuracy::Variant<'_>> = varied.iter().map(|(name, runs)| (*name, runs.as_slice())).collect();
        std::fs::write(root().join("docs/accuracy.md"), accuracy::markdown(runs, &varied)).unwrap();
        std::fs::write(root().join("configs/accuracy.json"), format!("{compact}\n")).unwrap();
    }
    let committed: Value = serde_json::from_str(&text("configs/accuracy.json")).unwrap();
    let page = text("docs/accuracy.md");
    let advice = "run UPDATE_ACCURACY=1 cargo test --test accuracy and commit docs/accuracy.md and configs/accuracy.json";
    let now = compact["runs"].as_array().unwrap();
    for old in committed["runs"].as_array().unwrap() {
        let id = old["id"].as_str().unwrap();
        let new = now.iter().find(|run| run["id"] == old["id"]).unwrap_or_else(|| panic!("{id} is replayed no more: {advice}"));
        assert_eq!(old["confidence"], new["confidence"], "{id}: {advice}");
        for (was, is) in old["metrics"].as_array().unwrap().iter().zip(new["metrics"].as_array().unwrap()) {
            let moved = is[1].as_f64().unwrap() / was[1].as_f64().unwrap() - 1.0;
            assert!(was[0] == is[0] && moved.abs() <= MOVED, "{id} {}: {} was {}; {advice}", is[0], is[1], was[1]);
            assert!(page.contains(&format!("| {id} |")), "{id} is not in docs/accuracy.md: {advice}");
        }
    }
}

#[test]
fn no_run_is_left_out_in_silence() {
    for run in present() {
        let compared = run.metrics.iter().any(|metric| metric.predicted.is_some());
        assert!(compared || run.reason.is_some(), "{} has neither a prediction nor a reason", run.id);
        assert!(!run.metrics.is_empty(), "{} lists no metric", run.id);
    }
}

#[test]
fn errors_stay_below_what_the_readme_promises() {
    let report = accuracy::report(present());
    let check = &report["summary"]["by_use"]["check"];
    let median = |quantity: &str| check[quantity]["median"].as_f64().unwrap();
    assert!(median("tpot") < 0.08, "TPOT {}", median("tpot"));
    assert!(median("throughput") < 0.08, "throughput {}", median("throughput"));
    assert!(median("ttft") < 0.25, "TTFT {}", median("ttft"));
}

/// What README.md says of the check sets, from the report.
#[test]
fn the_readme_says_what_the_report_says() {
    let report = accuracy::report(present());
    let check = &report["summary"]["by_use"]["check"];
    let percent = |quantity: &str, statistic: &str| format!("{:.0}", 100.0 * check[quantity][statistic].as_f64().unwrap());
    let engine =
        |name: &str| format!("{:.0} %", 100.0 * report["summary"]["checks_by_framework"][name]["tpot"]["median"].as_f64().unwrap());
    let wanted = [
        format!(
            "{} % for time per output token, {} % for throughput and {} % for time to first token; the 90th percentiles are {}, {} and {} %",
            percent("tpot", "median"),
            percent("throughput", "median"),
            percent("ttft", "median"),
            percent("tpot", "p90"),
            percent("throughput", "p90"),
            percent("ttft", "p90")
        ),
        format!("time per output token by stack: vLLM {}, SGLang {}, TensorRT-LLM {}", engine("vllm"), engine("sglang"), engine("trtllm")),
    ];
    let readme = text("README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for sentence in wanted {
        assert!(readme.contains(&sentence), "README.md should say: {sentence}");
    }
}
