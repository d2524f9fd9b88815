//! Documents and the files they name.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use llmperforacle::config::{self, Diagnostic, Document, MAX_TEXT_BYTES};
use llmperforacle::sim::{self, Files, Plan};

use crate::output::Failure;

/// A document and where it came from.
pub struct Input {
    /// As the user named it.
    pub name: String,
    pub text: String,
    pub document: Document,
    pub warnings: Vec<Diagnostic>,
    pub files: FilesBeside,
}

/// Why there is no document.
pub enum Unreadable {
    /// The file cannot be had, in words.
    File(String),
    /// What is wrong in it.
    Document { name: String, findings: Vec<Diagnostic> },
}

impl From<Unreadable> for Failure {
    /// Tells what is wrong.
    fn from(unreadable: Unreadable) -> Failure {
        match unreadable {
            Unreadable::File(message) => Failure::Message(message),
            Unreadable::Document { name, findings } => {
                tell(&name, &findings);
                Failure::Explained
            }
        }
    }
}

/// Reads `path`, or standard input for `-`, or the preset of that name where there is no such file.
pub fn read_document(path: &Path) -> Result<Input, Unreadable> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "<stdin>".to_string() } else { path.display().to_string() };
    let text = match read_text(path, is_stdin) {
        Ok(text) => text,
        Err(why) => preset_text(path).ok_or_else(|| Unreadable::File(format!("cannot read {name}: {why}{}", advice(path))))?,
    };
    let read = config::read(&text, &name);
    let Some(document) = read.document else {
        return Err(Unreadable::Document { name, findings: read.diagnostics });
    };
    let folder = if is_stdin { PathBuf::new() } else { path.parent().unwrap_or(Path::new("")).to_path_buf() };
    let files = FilesBeside { folder, model_database: document.model_characteristics_db_path.clone() };
    Ok(Input { name, text, document, warnings: read.diagnostics, files })
}

/// The document of a preset, where no file has its name.
fn preset_text(path: &Path) -> Option<String> {
    let name = path.to_str().filter(|_| !path.exists())?;
    config::find_preset(name).map(|preset| preset.text.to_owned())
}

/// What else the name of a file that is not there may have meant.
fn advice(path: &Path) -> String {
    if path.exists() || path == Path::new("-") {
        return String::new();
    }
    let names = config::presets().iter().map(|preset| preset.name);
    let near = config::did_you_mean(&path.to_string_lossy(), names);
    format!("\n    {}", near.unwrap_or_else(|| "give a file, or the name of a preset (`llmperforacle list presets`)".to_owned()))
}

fn read_text(path: &Path, is_stdin: bool) -> Result<String, String> {
    // One byte more than the reader takes, so that it can say what is wrong without swallowing an endless stream.
    let limit = MAX_TEXT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let outcome = if is_stdin {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    outcome.map_err(|error| if path.is_dir() { "it is a directory".to_string() } else { error.to_string() })?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_string())
}

impl Input {
    /// Makes the document ready to run; findings have their places in the text.
    pub fn plan(&self) -> Result<Plan, Vec<Diagnostic>> {
        self.plan_of(&self.document)
    }

    /// Another version of the document made ready, with the same files.
    pub fn plan_of(&self, document: &Document) -> Result<Plan, Vec<Diagnostic>> {
        let locate = |mut findings: Vec<Diagnostic>| {
            config::locate(&self.text, &self.name, &mut findings);
            findings
        };
        let plan = sim::plan(document, &self.files).map_err(locate)?;
        Ok(Plan { warnings: locate(plan.warnings), ..plan })
    }
}

/// Sets single values, then reads the result again with all its checks.
pub fn change(input: Input, changes: &[(String, String)]) -> Result<Input, Failure> {
    if changes.is_empty() {
        return Ok(input);
    }
    let mut json = serde_json::to_value(&input.document).map_err(|error| Failure::Message(error.to_string()))?;
    let mut faults = Vec::new();
    for (path, value) in changes {
        faults.extend(config::set(&mut json, path, value).err());
    }
    if !faults.is_empty() {
        tell("--set", &faults);
        return Err(Failure::Explained);
    }
    let read = config::read_value(&json);
    let name = format!("{} with --set", input.name);
    let Some(document) = read.document else {
        tell(&name, &read.diagnostics);
        return Err(Failure::Explained);
    };
    // What was said about the text stays said; only what the changes brought about is new.
    let news =
        read.diagnostics.into_iter().filter(|new| !input.warnings.iter().any(|old| old.path == new.path && old.message == new.message));
    let warnings = input.warnings.iter().cloned().chain(news).collect();
    Ok(Input { document, warnings, ..input })
}

/// Prints findings to standard error, one or two lines each: `file:line:col: path: message`, then what to do.
pub fn tell(name: &str, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        eprintln!("{}", finding(name, diagnostic));
    }
}

pub fn finding(name: &str, diagnostic: &Diagnostic) -> String {
    let mut text = name.to_string();
    for number in [diagnostic.line, diagnostic.column].into_iter().flatten() {
        text.push_str(&format!(":{number}"));
    }
    text.push_str(if diagnostic.is_error() { ": " } else { ": warning: " });
    if !diagnostic.path.is_empty() {
        text.push_str(&format!("{}: ", diagnostic.path));
    }
    text.push_str(&diagnostic.message);
    if !diagnostic.hint.is_empty() {
        text.push_str(&format!("\n    {}", diagnostic.hint));
    }
    text
}

/// Files as documents name them: relative to the document, not to where the command was called. Documents of the original
/// project expect their model database relative to the working directory: it is looked for there too.
#[derive(Clone, Default)]
pub struct FilesBeside {
    folder: PathBuf,
    model_database: Option<String>,
}

impl Files for FilesBeside {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let place = self.folder.join(path);
        let beside = fs::read(&place);
        if beside.is_err()
            && self.model_database.as_deref() == Some(path)
            && let Ok(bytes) = fs::read(path)
        {
            return Ok(bytes);
        }
        beside.map_err(|error| format!("cannot read {}: {error}", place.display()))
    }
}
