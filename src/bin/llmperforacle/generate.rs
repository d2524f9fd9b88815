//! `generate-config`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use llmperforacle::config::{self, Format, presets};

use crate::output::{Failure, out, write_file};

#[derive(Args)]
pub struct Arguments {
    /// Which preset (`llmperforacle list presets`); absent: the original project's quick start.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Where to write it; `-` is standard output. Absent: standard output when that is piped, else example_config.yaml (or .json).
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Absent: by the ending of the file's name, else YAML.
    #[arg(long, short, value_enum)]
    format: Option<DocumentFormat>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DocumentFormat {
    Yaml,
    Json,
}

pub fn generate_config(arguments: &Arguments) -> Result<(), Failure> {
    let named_json = arguments.output.as_deref().and_then(Path::extension).is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let json = arguments.format.map_or(named_json, |format| format == DocumentFormat::Json);
    let format = if json { Format::Json } else { Format::Yaml };
    let Some(text) = config::generate_config(arguments.preset.as_deref(), format) else {
        let names: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
        let name = arguments.preset.as_deref().unwrap_or_default();
        return Err(Failure::Message(format!("there is no preset `{name}`; there are {}", names.join(", "))));
    };
    let path = match &arguments.output {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(path.clone()),
        None if std::io::stdout().is_terminal() => Some(PathBuf::from(if json { "example_config.json" } else { "example_config.yaml" })),
        None => None,
    };
    match path {
        None => out(&text),
        Some(path) => {
            write_file(&path, |file| std::io::Write::write_all(file, text.as_bytes()))?;
            out(&format!("Generated example configuration at {}\n", path.display()))
        }
    }
}
