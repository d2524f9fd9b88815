//! What is wrong with a document.

use llmperforacle::config::{self, Diagnostic};
use llmperforacle::sim::{self, NoFiles};

/// Errors of reading and planning.
pub fn errors(text: &str) -> Vec<Diagnostic> {
    let read = config::read(text, "");
    let mut found: Vec<Diagnostic> = read.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    if let Some(document) = read.document.filter(|_| found.is_empty()) {
        found.extend(sim::plan(&document, &NoFiles).err().unwrap_or_default());
    }
    found
}
