//! The command line. Reads files, shows progress, prints and writes; what a document means and what comes of it is the library's.

mod accuracy;
mod bench;
mod bench_fleet;
mod calibrate;
mod clock;
mod explain;
mod generate;
mod input;
mod link;
mod list;
mod output;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use output::{Failure, out};

/// Keeps what a run has given back for the next one: of a sweep, a comparison, replications.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Predicts how LLM serving stacks perform: a discrete-event simulator.
#[derive(Parser)]
#[command(name = "LLMPerfOracle", bin_name = "llmperforacle", about, disable_version_flag = true, arg_required_else_help = true)]
#[command(after_help = "A first run: llmperforacle generate-config | llmperforacle run -")]
struct Arguments {
    /// Print the version.
    #[arg(long, short = 'V')]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Simulate experiments and print the results.
    Run(run::Arguments),
    /// Show one moment of a run: the step under way, its batch and cost, the queue, and what held it back.
    Explain(explain::Arguments),
    /// Say what is wrong with documents, without running them.
    Validate {
        /// Documents, YAML or JSON; `-` is standard input, and the name of a preset stands for itself where there is no such file.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Write an example document.
    GenerateConfig(generate::Arguments),
    /// Print the JSON Schema of documents.
    Schema,
    /// Print a document's share link, which holds the whole experiment.
    Link(link::LinkArguments),
    /// Turn a share link back into a document.
    Open(link::OpenArguments),
    /// List what documents can name.
    List {
        #[arg(value_enum)]
        what: list::What,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Replay published measurements and print predicted against measured.
    Accuracy(accuracy::Arguments),
    /// Fit factors on the step times to the output of a benchmark of your own.
    Calibrate(calibrate::Arguments),
    /// Measure how many requests a second of CPU time the simulator does.
    Bench(bench::Arguments),
}

/// Format of what `run` prints.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Table,
    Json,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Explained) => ExitCode::FAILURE,
        Err(Failure::Message(message)) => {
            eprintln!("Error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<(), Failure> {
    if arguments.version {
        return out(&format!("LLMPerfOracle, version {}\n", env!("CARGO_PKG_VERSION")));
    }
    match arguments.command {
        Some(Command::Run(arguments)) => run::run(&arguments),
        Some(Command::Explain(arguments)) => explain::explain(&arguments),
        Some(Command::Validate { files }) => run::validate(&files),
        Some(Command::GenerateConfig(arguments)) => generate::generate_config(&arguments),
        Some(Command::Schema) => out(&format!("{:#}\n", llmperforacle::config::json_schema())),
        Some(Command::Link(arguments)) => link::link(&arguments),
        Some(Command::Open(arguments)) => link::open(&arguments),
        Some(Command::List { what, json }) => list::list(what, json),
        Some(Command::Accuracy(arguments)) => accuracy::accuracy(&arguments),
        Some(Command::Calibrate(arguments)) => calibrate::calibrate(&arguments),
        Some(Command::Bench(arguments)) => bench::bench(&arguments),
        None => Err(Failure::Message("no command given; `llmperforacle --help` lists them".into())),
    }
}
