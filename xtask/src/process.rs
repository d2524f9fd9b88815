//! Running other programs: steps that say what they do and how long it took, logs, time limits, failures with a hint.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What went wrong and what the reader can do about it.
#[derive(Debug)]
pub struct Failure {
    pub what: String,
    pub hint: String,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { what: what.into(), hint: hint.into() }
    }

    pub fn file(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Failure::new(format!("cannot {action} {}: {error}", path.display()), "check the path, its permissions and the free disk space")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if !self.hint.is_empty() {
            write!(f, "\nwhat to do: {}", self.hint)?;
        }
        Ok(())
    }
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where this crate keeps tools, logs and the built page. Cargo's own output may be elsewhere: see [`cargo_target_dir`].
pub fn work_dir() -> PathBuf {
    root().join("target")
}

/// Where cargo puts what it builds.
pub fn cargo_target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").or_else(|| std::env::var_os("CARGO_BUILD_TARGET_DIR")) {
        Some(dir) => root().join(dir),
        None => work_dir(),
    }
}

pub fn say(line: &str) {
    println!("{line}");
    // A line that announces minutes of work must be seen before them; nothing is lost if standard output is closed.
    let _ = std::io::stdout().flush();
}

/// Runs one step and prints its outcome with the time it took. `work` returns a value and a few words on how it went.
pub fn step<T>(title: &str, work: impl FnOnce() -> Outcome<(T, String)>) -> Outcome<T> {
    let start = Instant::now();
    let (value, note) = work()?;
    say(&format!("{title}: {note} ({})", seconds(start.elapsed())));
    Ok(value)
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A finished program: how it ended and everything it printed (empty when it printed straight to the terminal).
pub struct Finished {
    pub status: ExitStatus,
    pub output: String,
    pub log: PathBuf,
}

/// Where a program's output goes.
#[derive(Clone, Copy, PartialEq)]
pub enum Output {
    /// To the log, and to nobody unless it fails.
    Log,
    /// To the terminal when there is one (a long build shows its progress), else to the log.
    TerminalOrLog,
}

/// Runs `command` to its end with no standard input, at most for `limit`.
pub fn finish(command: &mut Command, log_name: &str, output: Output, limit: Duration) -> Outcome<Finished> {
    let log = work_dir().join("logs").join(format!("{log_name}.log"));
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).map_err(|error| Failure::file("create", dir, &error))?;
    }
    let to_terminal = output == Output::TerminalOrLog && std::io::stderr().is_terminal();
    command.current_dir_if_unset().stdin(Stdio::null());
    let file = File::create(&log).map_err(|error| Failure::file("write", &log, &error))?;
    if !to_terminal {
        let second = file.try_clone().map_err(|error| Failure::file("write", &log, &error))?;
        command.stdout(file).stderr(second);
    }
    let program = display(command.get_program());
    let mut child = command.spawn().map_err(|error| {
        Failure::new(format!("cannot start `{program}`: {error}"), format!("install {program}, or put its directory on PATH"))
    })?;
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() > limit => {
                kill_tree(child.id());
                let _ = child.wait();
                return Err(Failure::new(
                    format!("`{}` was ended after {}{}", line(command), seconds(limit), tail(&log)),
                    "run it by hand to see where it hangs",
                ));
            }
            Ok(None) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(Failure::new(format!("lost `{program}`: {error}"), "run the command again")),
        }
    };
    let output = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Ok(Finished { status, output, log })
}

/// As [`finish`], but a bad exit status is a failure that shows the end of what the program printed.
pub fn succeed(command: &mut Command, log_name: &str, output: Output, limit: Duration, hint: &str) -> Outcome<String> {
    let finished = finish(command, log_name, output, limit)?;
    if finished.status.success() {
        return Ok(finished.output);
    }
    Err(Failure::new(format!("`{}` failed ({}){}", line(command), finished.status, tail(&finished.log)), hint))
}

/// What `program args` prints on standard output, when it can be run and succeeds.
pub fn ask(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The first of `names` that is an executable file on PATH.
pub fn find_on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let suffix = std::env::consts::EXE_SUFFIX;
    names.iter().find_map(|name| std::env::split_paths(&path).map(|dir| dir.join(format!("{name}{suffix}"))).find(|file| file.is_file()))
}

/// The end of a log, ready to follow a message.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 60;
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let cut = lines.len().saturating_sub(LINES);
    let start = if cut > 0 { format!("… {cut} lines before these are in {}\n", log.display()) } else { String::new() };
    format!(":\n{start}{}", lines[cut..].join("\n"))
}

fn line(command: &Command) -> String {
    let mut words = vec![display(command.get_program())];
    words.extend(command.get_args().map(display));
    words.join(" ")
}

fn display(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// Ends a process and all that it started: a test runner that is only killed itself leaves its browser behind.
fn kill_tree(id: u32) {
    let table = ask("ps", &["-e", "-o", "pid=,ppid="]).unwrap_or_default();
    let pairs: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|row| {
            let mut numbers = row.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut doomed = vec![id];
    let mut next = 0;
    while let Some(&parent) = doomed.get(next) {
        doomed.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    let ids: Vec<String> = doomed.iter().map(u32::to_string).collect();
    let mut arguments = vec!["-9"];
    arguments.extend(ids.iter().map(String::as_str));
    let _ = Command::new("kill").args(arguments).stderr(Stdio::null()).status();
}

trait InRoot {
    fn current_dir_if_unset(&mut self) -> &mut Self;
}

impl InRoot for Command {
    fn current_dir_if_unset(&mut self) -> &mut Self {
        if self.get_current_dir().is_none() {
            self.current_dir(root());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_program_over_its_limit_is_ended_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 98765 & echo $!; wait"]);
        let failure = finish(&mut command, "test-limit", Output::Log, Duration::from_millis(300)).err().unwrap();
        assert!(failure.what.contains("was ended after 0.3 s"), "{failure}");
        let child = fs::read_to_string(work_dir().join("logs/test-limit.log")).unwrap();
        assert_eq!(ask("ps", &["-o", "stat=", "-p", child.trim()]).filter(|state| !state.starts_with('Z')), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_bad_exit_shows_the_output_and_the_hint() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let failure = succeed(&mut command, "test-exit", Output::Log, Duration::from_secs(10), "try harder").unwrap_err().to_string();
        for part in ["exit status: 3", "out\nerr", "what to do: try harder"] {
            assert!(failure.contains(part), "{part} is missing in: {failure}");
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = finish(&mut Command::new("no-such-program"), "test-missing", Output::Log, Duration::from_secs(1)).err().unwrap();
        assert!(failure.to_string().contains("install no-such-program"), "{failure}");
    }
}
