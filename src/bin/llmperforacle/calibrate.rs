//! `calibrate`: factors on the step times from a benchmark of one's own.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use llmperforacle::calibrate::{Benchmark, Fit, FitError, Fitted, Options};
use llmperforacle::config;
use serde_json::{Map, Value, json};

use crate::input::{Input, change, read_document, tell};
use crate::output::{Failure, out, write_file};

const SLICE: u64 = 100_000;
const BAR: u64 = 1000;

#[derive(Args)]
pub struct Arguments {
    /// Output of the benchmark: `vllm bench serve --save-result`, SGLang's `bench_serving --output-file`, AIPerf's
    /// profile_export_aiperf.json or profile_export.jsonl.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The document that describes what was measured; `-` is standard input. Absent: made of the benchmark's own words and
    /// --device.
    #[arg(value_name = "DOCUMENT")]
    document: Option<PathBuf>,
    /// The entry that was measured. Absent: the only one, or the only one of the benchmark's framework.
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Replay the benchmark's own requests (its lengths, rate, concurrency) instead of the document's workload.
    #[arg(long)]
    own_requests: bool,
    /// Fit the host time of a request before the engine sees it too.
    #[arg(long)]
    per_request: bool,
    /// Change a value of the document first, as for `run`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE", value_parser = crate::run::assignment)]
    set: Vec<(String, String)>,
    /// Where to write the calibration.
    #[arg(long, short, value_name = "FILE", default_value = "calibration.json")]
    output: PathBuf,
    /// Print the fit as JSON.
    #[arg(long)]
    json: bool,
    /// Without a document: the GPU, such as H100-SXM (`llmperforacle list devices`).
    #[arg(long, value_name = "NAME", conflicts_with = "document")]
    device: Option<String>,
    /// Without a document: GPUs that share each layer.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "document")]
    tp: u32,
    /// Without a document: VLLM, SGLANG or TRTLLM. Absent: the one whose tool wrote the file.
    #[arg(long, value_name = "TYPE", conflicts_with = "document")]
    framework: Option<String>,
    /// Without a document: the model, instead of the one that the file names.
    #[arg(long, value_name = "NAME", conflicts_with = "document")]
    model: Option<String>,
}

pub fn calibrate(arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.from.display().to_string();
    let text = fs::read_to_string(&arguments.from).map_err(|error| Failure::Message(format!("cannot read {name}: {error}")))?;
    let benchmark = Benchmark::read(&text).map_err(|why| Failure::Message(format!("{name}: {why}")))?;
    let tool = benchmark.tool.name();
    let input = match &arguments.document {
        Some(path) => read_document(path)?,
        None => made_of(&benchmark, arguments).map_err(Failure::Message)?,
    };
    let input = change(input, &arguments.set)?;
    tell(&input.name, &input.warnings);
    let options = Options {
        entry: arguments.entry.clone(),
        per_request: arguments.per_request,
        own_requests: arguments.own_requests || arguments.document.is_none(),
    };
    let failed = |error: FitError| match error {
        FitError::Document(found) => {
            tell(&input.name, &found);
            Failure::Explained
        }
        FitError::Benchmark(why) => Failure::Message(format!("{name}: {why}")),
    };
    let mut fit = Fit::new(&input.document, benchmark, Box::new(input.files.clone()), &options).map_err(failed)?;
    let bar = ProgressBar::with_draw_target(Some(BAR), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/1000") {
        bar.set_style(style);
    }
    loop {
        let progress = fit.advance(SLICE).map_err(failed)?;
        bar.set_position((progress.fraction * BAR as f64) as u64);
        bar.set_message(format!("{} simulations", progress.simulations));
        if progress.done {
            break;
        }
    }
    bar.finish_and_clear();
    let fitted = fit.finish();
    let file_name = arguments.from.file_name().map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned());
    let source = format!("fitted to {file_name} ({tool})");
    let calibration = fitted.factors.to_json(&source);
    write_file(&arguments.output, |file| writeln!(file, "{calibration:#}"))?;
    if arguments.json {
        out(&format!("{:#}\n", fitted.to_json(&source)))?;
    } else {
        out(&table(&fitted, &calibration, &source))?;
    }
    let file = arguments.output.display();
    eprintln!("Wrote {file}. Name it in the document, as a path from there: config: {{calibration: {{file: {file}}}}}");
    Ok(())
}

/// A document out of what the benchmark says of itself; its workload is put in by the fit.
fn made_of(benchmark: &Benchmark, arguments: &Arguments) -> Result<Input, String> {
    use llmperforacle::calibrate::Tool;
    let device = arguments.device.as_deref().ok_or("give the document that describes what was measured, or the GPU: --device H100-SXM")?;
    let framework = match (arguments.framework.as_deref(), benchmark.tool) {
        (Some(given), _) => given,
        (None, Tool::VllmBenchServe) => "VLLM",
        (None, Tool::SglangBenchServing) => "SGLANG",
        (None, Tool::AiPerf | Tool::AiPerfRecords) => return Err("AIPerf measures any framework: say which, --framework VLLM".to_owned()),
    };
    let model = arguments.model.as_deref().or(benchmark.model.as_deref());
    let model = model.ok_or("the file does not name the model: say which, --model Llama-3.1-8B")?;
    let gpus = arguments.tp.max(1);
    let node = if gpus == 1 { device.to_owned() } else { format!("{gpus}x{device}") };
    let value = json!({
        "simulation": {"random_seed": 1},
        "hardware_profile": {"node": node},
        // Anything that is valid: the benchmark's own requests take its place.
        "workload": {"preset": "chat"},
        "frameworks_to_test": [
            {"name": "measured", "type": framework, "config": {"model_profile_id": model, "tensor_parallel_size": gpus}},
        ],
    });
    let read = config::read_value(&value);
    let words = read.diagnostics.iter().map(ToString::to_string).collect::<Vec<String>>().join("; ");
    let document = read.document.ok_or(words)?;
    let files = crate::input::FilesBeside::default();
    Ok(Input { name: "the document made of the benchmark".to_owned(), text: String::new(), document, warnings: Vec::new(), files })
}

fn table(fitted: &Fitted, calibration: &Value, source: &str) -> String {
    let mut text = format!("{}: {source}, {} simulations\n\n", fitted.entry, fitted.simulations);
    for (key, value) in calibration.as_object().into_iter().flat_map(Map::iter).filter(|(_, value)| value.is_number()) {
        let _ = writeln!(text, "  {key:<15} {value}");
    }
    for words in &fitted.held {
        let _ = writeln!(text, "  {words}");
    }
    let _ = writeln!(text, "\n{:<16}{:>12}{:>12}{:>9}{:>12}{:>9}", "metric", "measured", "factors 1", "error", "fitted", "error");
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let percent = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:+.1} %", 100.0 * value));
    for (before, after) in fitted.before.iter().zip(&fitted.after) {
        let _ = writeln!(
            text,
            "{:<16}{:>12}{:>12}{:>9}{:>12}{:>9}",
            before.name,
            number(Some(before.measured)),
            number(before.predicted),
            percent(before.error()),
            number(after.predicted),
            percent(after.error())
        );
    }
    let (before, after) = fitted.errors();
    let _ = writeln!(text, "\nroot mean square error: {:.1} % before, {:.1} % after", 100.0 * before, 100.0 * after);
    for note in &fitted.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}
