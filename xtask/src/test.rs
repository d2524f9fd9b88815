//! `cargo xtask test`: every check there is, with one verdict.
//!
//! A check that cannot run has failed, with a reason; so has a suite in which no test ran. Nothing is left out in silence.

use crate::manifest::Manifest;
use crate::process::{self, Failure, Outcome, Output, finish, say, seconds, tail};
use crate::toolchain::{self, Browser};
use crate::{dist, server, site, usage};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Long enough for a cold compile on a slow machine, short enough that a hang is seen.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// Where `dist` is served: most static hosts give a project a path, not a host name.
const SUB_PATH: &str = "some/path";
const WASM_PACKAGE: &str = "llmperforacle-wasm";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    Native,
    Wasm,
    Page,
}

impl Part {
    /// The named parts in their order; all of them when none is named.
    pub fn parse(arguments: &[String]) -> Outcome<Vec<Part>> {
        let all = [("native", Part::Native), ("wasm", Part::Wasm), ("page", Part::Page)];
        if let Some(unknown) = arguments.iter().find(|argument| !all.iter().any(|(name, _)| name == argument)) {
            return Err(usage(&format!("test has no part `{unknown}`")));
        }
        Ok(all
            .into_iter()
            .filter(|(name, _)| arguments.is_empty() || arguments.iter().any(|argument| argument == name))
            .map(|found| found.1)
            .collect())
    }
}

/// What a check counted. `ignored` tests are shown and change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

const ONE: Count = Count { passed: 1, failed: 0, ignored: 0 };

/// The counts so far and the names of what failed.
#[derive(Default)]
struct Verdict {
    total: Count,
    failures: Vec<String>,
}

pub fn run(parts: &[Part]) -> Outcome<ExitCode> {
    let start = Instant::now();
    let mut verdict = Verdict::default();
    for part in parts {
        say(&format!("\n{part:?}"));
        match part {
            Part::Native => native(&mut verdict),
            Part::Wasm => wasm(&mut verdict),
            Part::Page => page(&mut verdict),
        }
    }
    say(&format!("\nall checks took {}", seconds(start.elapsed())));
    for failure in &verdict.failures {
        say(&format!("FAILED {failure}"));
    }
    say(&format!("{} passed, {} failed", verdict.total.passed, verdict.total.failed));
    Ok(if verdict.total.failed == 0 && verdict.total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Verdict {
    /// Runs a check and books its result. Returns what it made, if it could be made.
    fn check<T>(&mut self, name: &str, work: impl FnOnce() -> Outcome<(T, Count, String)>) -> Option<T> {
        let start = Instant::now();
        let (made, count, note) = match work() {
            Ok((made, count, note)) => (Some(made), count, note),
            Err(failure) => (None, Count { failed: 1, ..Count::default() }, format!("\n{failure}")),
        };
        self.total.passed += count.passed;
        self.total.failed += count.failed;
        let mark = if count.failed == 0 { "ok    " } else { "FAILED" };
        let ignored = if count.ignored > 0 { format!(", {} ignored", count.ignored) } else { String::new() };
        let counts = if count == ONE || count == Count::default() {
            String::new()
        } else {
            format!(", {} passed, {} failed{ignored}", count.passed, count.failed)
        };
        let note = if note.is_empty() || note.starts_with('\n') { note } else { format!(", {note}") };
        say(&format!("  {mark} {name} ({}){counts}{note}", seconds(start.elapsed())));
        if count.failed > 0 {
            self.failures.push(name.to_string());
        }
        made
    }

    /// A check that a program passes by succeeding.
    fn program(&mut self, name: &str, command: &mut Command, hint: &str) {
        self.check(name, || process::succeed(command, &log_name(name), Output::Log, LIMIT, hint).map(|_| ((), ONE, String::new())));
    }

    /// A check that counts tests in what a program prints.
    fn suite(&mut self, name: &str, command: &mut Command, read: fn(&str) -> Count) {
        self.check(name, || {
            let finished = finish(command, &log_name(name), Output::Log, LIMIT)?;
            let count = judge(read(&finished.output), finished.status.success());
            let note = match count {
                Count { failed: 0, .. } => String::new(),
                Count { passed: 0, .. } if finished.status.success() => "\nno test ran".to_string(),
                _ => format!("\n{}", tail(&finished.log).trim_start_matches([':', '\n'])),
            };
            Ok(((), count, note))
        });
    }

    /// A tool or file that later checks need. It counts only when it cannot be had.
    fn need<T>(&mut self, name: &str, get: impl FnOnce() -> Outcome<(T, String)>) -> Option<T> {
        self.check(name, || get().map(|(made, note)| (made, Count::default(), note)))
    }
}

/// A suite fails when it says so, when its runner does, and when it ran nothing.
fn judge(count: Count, success: bool) -> Count {
    if count.failed == 0 && (!success || count.passed == 0) { Count { failed: 1, ..count } } else { count }
}

fn log_name(check: &str) -> String {
    format!("test-{}", check.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = toolchain::command("cargo");
    command.args(arguments);
    command
}

fn native(verdict: &mut Verdict) {
    verdict.need("rustfmt", || toolchain::rust_component("fmt", "rustfmt").map(|note| ((), note)));
    verdict.need("clippy", || toolchain::rust_component("clippy", "clippy").map(|note| ((), note)));
    verdict.program("formatting", &mut cargo(&["fmt", "--all", "--check"]), "run `cargo fmt --all`");
    let mut clippy = cargo(&["clippy", "--workspace", "--exclude", WASM_PACKAGE, "--all-targets", "--", "-D", "warnings"]);
    verdict.program("lints", &mut clippy, "correct what clippy names above");
    verdict.suite("cargo test", &mut cargo(&["test", "--workspace", "--exclude", WASM_PACKAGE, "--no-fail-fast"]), rust_tests);
    let mut doc = cargo(&["doc", "--workspace", "--exclude", WASM_PACKAGE, "--no-deps"]);
    verdict.program("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"), "correct the links and tags that rustdoc names above");
}

fn wasm(verdict: &mut Verdict) {
    let Some(manifest) = manifest(verdict) else { return };
    if verdict.need("wasm32 target", || toolchain::wasm_target().map(|note| ((), note))).is_none() {
        return;
    }
    verdict.need("clippy", || toolchain::rust_component("clippy", "clippy").map(|note| ((), note)));
    let mut clippy = cargo(&["clippy", "-p", WASM_PACKAGE, "--target", toolchain::WASM, "--all-targets", "--", "-D", "warnings"]);
    verdict.program("lints for wasm32", &mut clippy, "correct what clippy names above");
    let tools = [
        verdict.need("wasm-bindgen", || toolchain::wasm_bindgen(&manifest.tools).map(|note| ((), note))),
        verdict.need("wasm-pack", || toolchain::wasm_pack(&manifest.tools).map(|note| ((), note))),
    ];
    if tools.contains(&None) {
        return;
    }
    let pack = |arguments: &[&str]| {
        let mut command = toolchain::command("wasm-pack");
        // As a person would: from the crate's directory, where webdriver.json is.
        command.current_dir(process::root().join(&manifest.build.crate_dir)).args(["test", "--mode", "no-install"]).args(arguments);
        command.env("WASM_BINDGEN_TEST_TIMEOUT", "120").env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60");
        command
    };
    if verdict.need("Node", || toolchain::node().map(|note| ((), note))).is_some() {
        verdict.suite("wasm tests in Node", &mut pack(&["--node"]), rust_tests);
    }
    if let Some(Browser { driver, .. }) = verdict.need("Chromium", toolchain::browser) {
        // Where a suite does not choose: the browser's page, then its worker. The same tests then run there as in Node.
        for (place, switch) in [("page", "WASM_BINDGEN_USE_BROWSER"), ("worker", "WASM_BINDGEN_USE_DEDICATED_WORKER")] {
            let mut chrome = pack(&["--headless", "--chrome", "--chromedriver"]);
            chrome.arg(&driver).env(switch, "1");
            verdict.suite(&format!("wasm tests in Chromium's {place}"), &mut chrome, rust_tests);
        }
    }
}

fn page(verdict: &mut Verdict) {
    let www = process::root().join("www");
    let Some(manifest) = manifest(verdict) else { return };
    if verdict.need("Node", || toolchain::node().map(|note| ((), note))).is_none() {
        return;
    }
    let packages = verdict.need("packages of www", || toolchain::www_packages().map(|note| ((), note)));
    // Before the types: tsc reads the declarations that wasm-bindgen writes.
    let built = verdict.check("build", || site::build(&manifest).map(|()| ((), ONE, String::new())));
    if packages.is_some() {
        let mut tsc = Command::new("node");
        tsc.arg(www.join("node_modules/typescript/bin/tsc")).args(["-p", "www"]);
        verdict.program("types", &mut tsc, "correct what tsc names above");
    }
    scripts(verdict, "unit tests of the page", &www.join("js"), &[]);
    if built.is_none() {
        return;
    }
    let wasm_opt = verdict.need("wasm-opt", || toolchain::wasm_opt(&manifest.tools));
    if wasm_opt.is_some_and(|program| program.is_none()) {
        return;
    }
    let distributed = verdict.check("dist and its size budget", || dist::write(&manifest).map(|table| ((), ONE, format!("\n{table}"))));
    let Some(Browser { browser, .. }) = verdict.need("Chromium", toolchain::browser) else { return };
    let mut browse = |name: &str, mounts: Vec<site::Mount>, tests: &Path| {
        let below = mounts.iter().find(|mount| mount.at == SUB_PATH).map_or(String::new(), |mount| format!("{}/", mount.at));
        let serving = verdict.need(&format!("server for {name}"), || {
            let listener = server::bind(0).map_err(|error| Failure::new(format!("no port: {error}"), "check the loopback interface"))?;
            server::serve(mounts, listener).map(|running| (format!("{}{below}", running.url), running.url))
        });
        if let Some(url) = serving {
            let environment = [("SITE_URL", url.into()), ("CHROMIUM", browser.clone().into_os_string())];
            scripts(verdict, name, tests, &environment);
        }
    };
    browse("journeys in Chromium", site::mounts(&manifest), &www.join("e2e"));
    if distributed.is_some() {
        let smoke = www.join("e2e/dist");
        browse("dist in Chromium", vec![site::Mount { at: SUB_PATH, dir: dist::directory() }], &smoke);
    }
}

fn manifest(verdict: &mut Verdict) -> Option<Manifest> {
    verdict.need("wasm-pack.toml", || Manifest::read(&process::root()).map(|manifest| (manifest, String::new())))
}

/// Runs the `*.test.js` and `*.test.mjs` files of a directory with Node's test runner. Those of `e2e/dist` run only when it is named itself.
fn scripts(verdict: &mut Verdict, name: &str, dir: &Path, environment: &[(&str, std::ffi::OsString)]) {
    let files = match test_files(dir) {
        Ok(files) => files,
        Err(failure) => {
            verdict.check::<()>(name, || Err(failure));
            return;
        }
    };
    let mut node = Command::new("node");
    // One at a time: each may start a browser and a simulation, and there may be two cores.
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).args(files).envs(environment.iter().cloned());
    verdict.suite(name, &mut node, node_tests);
}

fn test_files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(current) = open.pop() {
        let entries = std::fs::read_dir(&current).map_err(|error| Failure::file("list", &current, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| Failure::file("list", &current, &error))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && name != "dist" {
                open.push(path);
            } else if name.ends_with(".test.js") || name.ends_with(".test.mjs") {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::new(format!("no test in {}", dir.display()), "tests are files named *.test.js or *.test.mjs"));
    }
    files.sort();
    Ok(files)
}

/// Sums the closing lines of Rust's test harness and of wasm-bindgen's, which prints the same.
fn rust_tests(output: &str) -> Count {
    let lines = output.lines().filter(|line| line.trim_start().starts_with("test result: "));
    lines.fold(Count::default(), |sum, line| {
        let number = |label: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| word.trim_end_matches(';') == label);
            at.and_then(|at| words.get(at.checked_sub(1)?)?.parse::<u64>().ok()).unwrap_or(0)
        };
        Count { passed: sum.passed + number("passed"), failed: sum.failed + number("failed"), ignored: sum.ignored + number("ignored") }
    })
}

/// Reads the summary of Node's test runner. A cancelled test has failed.
fn node_tests(output: &str) -> Count {
    let number = |label: &str| {
        let found =
            output.lines().rev().find_map(|line| line.trim_start_matches(['ℹ', '#', ' ']).strip_prefix(label)?.trim().parse::<u64>().ok());
        found.unwrap_or(0)
    };
    Count { passed: number("pass "), failed: number("fail ") + number("cancelled "), ignored: number("skipped ") + number("todo ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parse = |text: &str| Part::parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>());
        assert_eq!(parse("").unwrap(), [Part::Native, Part::Wasm, Part::Page]);
        assert_eq!(parse("page native").unwrap(), [Part::Native, Part::Page]);
        assert!(parse("native webb").is_err());
    }

    #[test]
    fn rust_results_are_summed() {
        let output = "running 2 tests\ntest a ... ok\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
            \x20  Doc-tests x\ntest result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(rust_tests(output), Count { passed: 5, failed: 4, ignored: 1 });
        assert_eq!(rust_tests("no tests to run!"), Count::default());
    }

    #[test]
    fn node_results_are_read_in_both_formats() {
        let spec = "✔ pass 99\nℹ tests 4\nℹ suites 0\nℹ pass 2\nℹ fail 1\nℹ cancelled 1\nℹ skipped 3\nℹ todo 0\nℹ duration_ms 5\n";
        assert_eq!(node_tests(spec), Count { passed: 2, failed: 2, ignored: 3 });
        assert_eq!(node_tests("# tests 2\n# pass 2\n# fail 0\n"), Count { passed: 2, failed: 0, ignored: 0 });
    }

    #[test]
    fn a_suite_without_tests_or_with_a_bad_exit_has_failed() {
        let count = |passed, failed| Count { passed, failed, ignored: 0 };
        assert_eq!(judge(count(3, 0), true), count(3, 0));
        assert_eq!(judge(count(0, 0), true), count(0, 1));
        assert_eq!(judge(count(3, 0), false), count(3, 1));
        assert_eq!(judge(count(3, 2), false), count(3, 2));
    }

    #[test]
    fn a_failed_check_is_counted_and_named() {
        let mut verdict = Verdict::default();
        verdict.check("good", || Ok(((), ONE, String::new())));
        verdict.check("bad", || Err::<((), Count, String), _>(Failure::new("no", "do")));
        verdict.need("tool", || Ok(((), String::new())));
        assert_eq!(verdict.total, Count { passed: 1, failed: 1, ignored: 0 });
        assert_eq!(verdict.failures, ["bad"]);
    }
}
