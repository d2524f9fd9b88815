//! `explain`: one moment of a run.

use std::path::PathBuf;

use clap::Args;
use llmperforacle::config::Diagnostic;
use llmperforacle::report;
use llmperforacle::sim::Inspection;
use llmperforacle::units::Time;
use serde_json::Value;

use crate::input::{change, read_document, tell};
use crate::output::{Failure, out};

const SLICE: u64 = 100_000;

#[derive(Args)]
pub struct Arguments {
    /// A document, YAML or JSON; `-` is standard input, and the name of a preset stands for itself where there is no such file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The moment, simulated seconds from the start: `12.5`, `12.5s` or `12500ms`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Time,
    /// Only the run of this name; all of them otherwise.
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Change a value first, as for `run`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE", value_parser = crate::run::assignment)]
    set: Vec<(String, String)>,
    /// Of attention ranks: the one whose step is shown, from 0. Without it the first that computes anything.
    #[arg(long, value_name = "R")]
    rank: Option<usize>,
    /// As JSON, every rank included.
    #[arg(long)]
    json: bool,
}

fn moment(text: &str) -> Result<Time, String> {
    let (number, unit_s) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(Time::from_s(value * unit_s)),
        _ => Err("write it as seconds from the start, such as 12.5 or 12500ms".into()),
    }
}

pub fn explain(arguments: &Arguments) -> Result<(), Failure> {
    let input = change(read_document(&arguments.file)?, &arguments.set)?;
    tell(&input.name, &input.warnings);
    let explained = |diagnostics: Vec<Diagnostic>| {
        tell(&input.name, &diagnostics);
        Failure::Explained
    };
    let plan = input.plan().map_err(explained)?;
    tell(&input.name, &plan.warnings);
    let names: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
    if let Some(entry) = &arguments.entry
        && !names.contains(&entry.as_str())
    {
        return Err(Failure::Message(format!("there is no run `{entry}`; there are: {}", names.join(", "))));
    }
    let mut moments = Vec::new();
    let mut nothing = Vec::new();
    for run in plan.runs.iter().filter(|run| arguments.entry.as_ref().is_none_or(|entry| *entry == run.name)) {
        let mut inspection = Inspection::new(run, arguments.at).map_err(explained)?;
        while !inspection.advance(SLICE) {}
        match inspection.moment() {
            Ok(moment) => moments.push(moment),
            Err(why) => nothing.push(format!("{}: {why}", run.name)),
        }
    }
    // A run that has ended is worth a word beside others that have not.
    if moments.is_empty() {
        return Err(Failure::Message(nothing.join("; ")));
    }
    let most = moments.iter().flat_map(|moment| &moment.replicas).map(|replica| replica.ranks.len()).max().unwrap_or(0);
    if arguments.rank.is_some_and(|rank| rank >= most) {
        return Err(Failure::Message(match most {
            0 => "no run has attention ranks: leave --rank out".to_owned(),
            _ => format!("there is no such rank: they are 0 to {}", most - 1),
        }));
    }
    nothing.iter().for_each(|why| eprintln!("Note: {why}"));
    if arguments.json {
        let all: Vec<Value> = moments.iter().map(report::moment_json).collect();
        return out(&format!("{:#}\n", Value::Array(all)));
    }
    out(&moments.iter().map(|moment| report::moment_text(moment, arguments.rank)).collect::<Vec<String>>().join("\n"))
}
