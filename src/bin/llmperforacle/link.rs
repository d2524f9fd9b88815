//! `link` and `open`: a document as a link of the page, and back.

use std::path::{Path, PathBuf};

use clap::Args;
use llmperforacle::config::{self, link};
use serde_json::Value;

use crate::input::{read_document, tell};
use crate::output::{Failure, out, write_file};

#[derive(Args)]
pub struct LinkArguments {
    /// Document, YAML or JSON; `-` is standard input, and the name of a preset stands for itself where there is no such file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Address of the page, to print a whole address. Absent: only the part after its `#`.
    #[arg(long, value_name = "URL")]
    page: Option<String>,
}

#[derive(Args)]
pub struct OpenArguments {
    /// A share link, or the part after its `#`.
    #[arg(value_name = "LINK")]
    link: String,
    /// Where to write the document, as JSON when the name ends in .json, else as YAML. Absent: standard output, as YAML.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn link(arguments: &LinkArguments) -> Result<(), Failure> {
    let input = read_document(&arguments.file)?;
    tell(&input.name, &input.warnings);
    let fragment = link::encode(&input.document, &Value::Null).map_err(|error| Failure::Message(error.to_string()))?;
    match &arguments.page {
        Some(page) => out(&format!("{}#{fragment}\n", page.split('#').next().unwrap_or_default())),
        None => out(&format!("{fragment}\n")),
    }
}

pub fn open(arguments: &OpenArguments) -> Result<(), Failure> {
    let shared = link::decode(&arguments.link).map_err(|error| Failure::Message(error.to_string()))?;
    tell("link", &shared.diagnostics);
    let document = shared.document.ok_or(Failure::Explained)?;
    match arguments.output.as_deref().filter(|path| *path != Path::new("-")) {
        None => out(&config::write_yaml(&document)),
        Some(path) => {
            let json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
            let text = if json { config::write_json(&document) } else { config::write_yaml(&document) };
            write_file(path, |file| std::io::Write::write_all(file, text.as_bytes()))?;
            out(&format!("Wrote {}\n", path.display()))
        }
    }
}
