//! `run` and `validate`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use llmperforacle::config::Diagnostic;
use llmperforacle::metrics::RunResult;
use llmperforacle::report;
use llmperforacle::sim::{self, Simulation};
use llmperforacle::units::Time;
use serde_json::{Map, Value};

use crate::OutputFormat;
use crate::input::{Input, Unreadable, change, finding, read_document, tell};
use crate::output::{Failure, out, write_file};

/// Work between two looks at the progress bar.
const SLICE: u64 = 20_000;
/// Steps of a progress bar.
const BAR: u64 = 1000;

#[derive(Args)]
pub struct Arguments {
    /// Documents, YAML or JSON; `-` is standard input, and the name of a preset stands for itself where there is no such file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change a value first, such as `workload.rate_scale=2` or `frameworks_to_test[0].config.max_num_seqs=64`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Seed of every random stream, instead of the document's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write summary.json and requests.csv into this folder (a folder in it for each document, when there are several), not
    /// where the document says.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What to print.
    #[arg(long, value_parser = output_format, default_value = "table", value_name = "table|json")]
    format: OutputFormat,
    /// Write a trace of the requests, steps and KV memory that ui.perfetto.dev opens.
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
    /// The stretch of simulated seconds that the trace shows, such as `10..12.5`; all of it otherwise.
    #[arg(long, value_name = "FROM..TO", value_parser = stretch, requires = "perfetto")]
    window: Option<(Time, Time)>,
    /// Run again with each assumption changed (host time, launches, skew of experts, tiers, start-up; device time by a tenth), and say how far
    /// the results move.
    #[arg(long)]
    sensitivity: bool,
    /// Take every decode step singly. Slow; the results are the same to the last bit.
    #[arg(long)]
    no_fast_path: bool,
    /// The original project's option for the document's format.
    #[arg(short = 'f', hide = true, value_name = "yaml|json")]
    input_format: Option<String>,
    /// The original project's option.
    #[arg(short = 'l', long, hide = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

fn stretch(text: &str) -> Result<(Time, Time), String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    match ends {
        Some((from, to)) if 0.0 <= from && from < to => Ok((Time::from_s(from), Time::from_s(to))),
        _ => Err("write it as seconds from..to, such as 10..12.5".into()),
    }
}

pub fn assignment(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("write it as path=value, such as workload.rate_scale=2")?;
    Ok((path.trim().to_string(), value.to_string()))
}

fn output_format(text: &str) -> Result<OutputFormat, String> {
    match text {
        "table" => Ok(OutputFormat::Table),
        "json" => Ok(OutputFormat::Json),
        "yaml" => Err("this is the format of what is printed, table or json; that of the document is recognised by itself".into()),
        _ => Err("table or json".into()),
    }
}

/// What came of one document.
struct Outcome {
    input: Input,
    runs: Vec<RunResult>,
    /// With `--sensitivity`, the same with one assumption changed.
    varied: Vec<report::Varied>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let talk = arguments.format == OutputFormat::Table;
    if arguments.input_format.is_some() {
        eprintln!("Note: -f is not needed: the format of a document is recognised by itself. --format sets what is printed.");
    }
    if arguments.log_level.is_some() {
        eprintln!("Note: -l has no effect: there is no log.");
    }
    let inputs = arguments.files.iter().map(|path| prepare(path, arguments, talk)).collect::<Result<Vec<Input>, Failure>>()?;
    let targets: Vec<Targets> = inputs.iter().zip(&arguments.files).map(|(input, path)| Targets::of(input, path, arguments)).collect();
    refuse_collisions(&inputs, &targets)?;
    if arguments.perfetto.is_some() && inputs.len() > 1 {
        return Err(Failure::Message("--perfetto writes the trace of one document; run them one by one".into()));
    }

    let mut outcomes = Vec::new();
    for (input, targets) in inputs.into_iter().zip(&targets) {
        let outcome = simulate(input, arguments, talk)?;
        targets.write(&outcome.runs)?;
        write_trace(&outcome, arguments)?;
        if talk {
            out(&closing(&outcome))?;
            if arguments.sensitivity {
                out(&report::sensitivity_text(&outcome.runs, &outcome.varied))?;
            }
        }
        outcomes.push(outcome);
    }
    if talk { Ok(()) } else { out(&format!("{:#}\n", as_json(&outcomes))) }
}

fn prepare(path: &Path, arguments: &Arguments, talk: bool) -> Result<Input, Failure> {
    if talk {
        out(&format!("Loading configuration from {}...\n", path.display()))?;
    }
    let input = read_document(path)?;
    let mut changes = arguments.set.clone();
    if let Some(seed) = arguments.seed {
        changes.push(("simulation.random_seed".into(), seed.to_string()));
        if input.document.workload.random_seed.is_some() {
            changes.push(("workload.random_seed".into(), seed.to_string()));
        }
    }
    let input = change(input, &changes)?;
    tell(&input.name, &input.warnings);
    Ok(input)
}

fn simulate(input: Input, arguments: &Arguments, talk: bool) -> Result<Outcome, Failure> {
    let plan = input.plan().map_err(|diagnostics| {
        tell(&input.name, &diagnostics);
        Failure::Explained
    })?;
    tell(&input.name, &plan.warnings);
    if plan.runs.is_empty() {
        return Err(Failure::Message(format!("{}: there is nothing to run", input.name)));
    }
    if talk {
        out("Starting simulation...\n")?;
    }
    let mut runs = Vec::new();
    for mut run in plan.runs {
        run.fast_path &= !arguments.no_fast_path;
        let bar = progress_bar(&run.name);
        let mut simulation = Simulation::new(&run).map_err(|diagnostics| {
            tell(&input.name, &diagnostics);
            Failure::Explained
        })?;
        if arguments.perfetto.is_some() {
            let (from, to) = arguments.window.unwrap_or((Time::ZERO, Time::NEVER));
            simulation.keep_steps(from, to);
        }
        loop {
            let progress = simulation.advance(SLICE);
            bar.set_position((progress.fraction * BAR as f64) as u64);
            if progress.done {
                break;
            }
        }
        bar.finish_and_clear();
        tell(&input.name, &simulation.warnings());
        runs.push(simulation.finish());
    }
    let varied = if arguments.sensitivity { vary(&input)? } else { Vec::new() };
    Ok(Outcome { input, runs, varied })
}

/// The document again for each assumption and factor.
fn vary(input: &Input) -> Result<Vec<report::Varied>, Failure> {
    let mut varied = Vec::new();
    for assumption in sim::sensitivity::ASSUMPTIONS {
        for factor in assumption.factors {
            let Some(document) = assumption.changed(&input.document, factor) else { continue };
            let fail = |diagnostics: Vec<Diagnostic>| {
                tell(&input.name, &diagnostics);
                Failure::Explained
            };
            let plan = input.plan_of(&document).map_err(fail)?;
            let mut runs = Vec::new();
            for run in &plan.runs {
                let mut simulation = Simulation::new(run).map_err(fail)?;
                while !simulation.advance(SLICE).done {}
                runs.push(simulation.finish());
            }
            varied.push(report::Varied { assumption: assumption.name, factor, runs });
        }
    }
    Ok(varied)
}

fn write_trace(outcome: &Outcome, arguments: &Arguments) -> Result<(), Failure> {
    let Some(path) = &arguments.perfetto else { return Ok(()) };
    let mut notes = Vec::new();
    write_file(path, |file| {
        notes = report::perfetto(&outcome.runs, file)?;
        Ok(())
    })?;
    notes.iter().for_each(|note| eprintln!("Note: {note}. A shorter stretch: --window FROM..TO"));
    eprintln!("Wrote {}: open it at ui.perfetto.dev", path.display());
    Ok(())
}

/// Only on a terminal; a pipe gets no progress.
fn progress_bar(name: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(BAR), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:40}] {percent} %") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(name.to_string());
    bar
}

/// The original project's closing lines, one set a run, and the table.
fn closing(outcome: &Outcome) -> String {
    let mut text = "\nSimulation completed!\n".to_string();
    for run in &outcome.runs {
        let number = |pointer: &str| run.summary.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
        let of = if outcome.runs.len() > 1 { format!(" ({})", run.name) } else { String::new() };
        text.push_str(&format!("Total requests{of}: {}\n", number("/requests/total")));
        text.push_str(&format!("Success rate{of}: {:.1}%\n", number("/requests/success_rate") * 100.0));
        text.push_str(&format!("Throughput{of}: {:.1} tokens/s\n", number("/throughput/output_tokens_per_second")));
    }
    format!("{text}\n{}{}", report::table(&outcome.runs), why(&outcome.runs))
}

/// What separates the runs, a line for each finding.
fn why(runs: &[RunResult]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let summaries: Vec<&Value> = runs.iter().map(|run| &run.summary).collect();
    let findings = report::why(&names, &summaries);
    if findings.is_empty() {
        return String::new();
    }
    let lines: String = findings.iter().map(|finding| format!("  {}\n    {}\n", finding.title, finding.text())).collect();
    format!("\n{}\n{lines}", if runs.len() > 1 { "What separates them" } else { "What it waited for" })
}

fn with_sensitivity(outcome: &Outcome) -> Value {
    let mut summary = report::summary(&outcome.runs);
    if !outcome.varied.is_empty() {
        summary["sensitivity"] = report::sensitivity_json(&outcome.runs, &outcome.varied);
    }
    summary
}

fn as_json(outcomes: &[Outcome]) -> Value {
    match outcomes {
        [outcome] if outcome.varied.is_empty() => report::summary(&outcome.runs),
        [outcome] => with_sensitivity(outcome),
        _ => {
            let by_file: Map<String, Value> =
                outcomes.iter().map(|outcome| (outcome.input.name.clone(), with_sensitivity(outcome))).collect();
            Value::Object([("documents".to_string(), Value::Object(by_file))].into_iter().collect())
        }
    }
}

/// Files that a document's results go to.
struct Targets {
    summary: Option<PathBuf>,
    requests: Option<PathBuf>,
}

impl Targets {
    /// `--out` stands before what the document says, which is relative to the working directory as in the original project.
    fn of(input: &Input, path: &Path, arguments: &Arguments) -> Targets {
        if let Some(folder) = &arguments.out {
            let folder = if arguments.files.len() > 1 { folder.join(path.file_stem().unwrap_or_default()) } else { folder.clone() };
            return Targets { summary: Some(folder.join("summary.json")), requests: Some(folder.join("requests.csv")) };
        }
        let config = input.document.metrics_config.as_ref();
        Targets {
            summary: config.and_then(|config| config.output_summary_json_path.as_ref()).map(PathBuf::from),
            requests: config.and_then(|config| config.output_requests_csv_path.as_ref()).map(PathBuf::from),
        }
    }

    fn write(&self, runs: &[RunResult]) -> Result<(), Failure> {
        if let Some(path) = &self.summary {
            write_file(path, |file| writeln!(file, "{:#}", report::summary(runs)))?;
            eprintln!("Wrote {}", path.display());
        }
        if let Some(path) = &self.requests {
            write_file(path, |file| report::requests_csv(runs, file))?;
            eprintln!("Wrote {}", path.display());
        }
        Ok(())
    }
}

/// Two documents must not write over each other's results.
fn refuse_collisions(inputs: &[Input], targets: &[Targets]) -> Result<(), Failure> {
    let mut owners: BTreeMap<&Path, &str> = BTreeMap::new();
    for (input, target) in inputs.iter().zip(targets) {
        for path in [&target.summary, &target.requests].into_iter().flatten() {
            if let Some(other) = owners.insert(path, &input.name) {
                let path = path.display();
                let name = &input.name;
                return Err(Failure::Message(format!(
                    "{other} and {name} would both write {path}; run them one by one, or give --out and files of different names"
                )));
            }
        }
    }
    Ok(())
}

pub fn validate(files: &[PathBuf]) -> Result<(), Failure> {
    let mut valid = true;
    for path in files {
        let mut memory = String::new();
        let (name, findings) = match read_document(path) {
            Ok(input) => match input.plan() {
                Ok(plan) => {
                    memory = plan.runs.iter().map(|run| report::memory_text(run.replicas())).collect();
                    (input.name, [input.warnings, plan.warnings].concat())
                }
                Err(errors) => (input.name, [errors, input.warnings].concat()),
            },
            Err(Unreadable::Document { name, findings }) => (name, findings),
            Err(unreadable) => return Err(unreadable.into()),
        };
        let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = findings.into_iter().partition(Diagnostic::is_error);
        if errors.is_empty() {
            out(&format!("✓ Configuration is valid: {name}\n{memory}"))?;
        } else {
            valid = false;
            let plural = if errors.len() == 1 { "error" } else { "errors" };
            let list: String = errors.iter().map(|error| finding(&name, error) + "\n").collect();
            out(&format!("✗ Configuration has {} {plural}:\n{list}", errors.len()))?;
        }
        tell(&name, &warnings);
    }
    if valid { Ok(()) } else { Err(Failure::Explained) }
}
