//! From text to a document: syntax, dialect, shape, meaning, in this order. Nothing here knows a single key.

use super::check::{UnknownKeys, check};
use super::node::{Node, Place};
use super::{Diagnostic, Document, dialect, json, json_schema, migrate, validate, yaml};
use crate::from_json::from_value;
use crate::order::sort_by_key;

/// Longest text that is read, bytes.
pub const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Findings that are listed, at most.
const MAX_DIAGNOSTICS: usize = 100;

/// What came of reading a text.
#[derive(Clone, Debug)]
pub struct Read {
    /// The document; absent when there is an error among `diagnostics`.
    pub document: Option<Document>,
    /// All errors and warnings, from the top of the text down.
    pub diagnostics: Vec<Diagnostic>,
    /// The text was in the original project's dialect: `document` is its translation.
    pub original: bool,
}

impl Read {
    fn failed(diagnostic: Diagnostic) -> Read {
        Read { document: None, diagnostics: vec![diagnostic], original: false }
    }
}

/// A text that is no YAML or JSON at all.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub place: Place,
    pub message: String,
    pub hint: String,
}

impl SyntaxError {
    pub fn new(place: Place, message: &str) -> SyntaxError {
        SyntaxError { place, message: message.into(), hint: "see that quotes, brackets and indents around here match".into() }
    }

    pub fn with_hint(mut self, hint: &str) -> SyntaxError {
        self.hint = hint.into();
        self
    }

    pub fn duplicate_key(place: Place, key: &str) -> SyntaxError {
        SyntaxError::new(place, &format!("the key `{}` is there twice", super::node::shorten(key))).with_hint("keep one of the two")
    }
}

/// Reads a document from YAML or JSON text. JSON is recognised by its first letter, `{`, or by a file name that ends in `.json`.
pub fn read(text: &str, file_name: &str) -> Read {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_TEXT_BYTES} are read", text.len());
        return Read::failed(Diagnostic::error("", message, "a trace belongs into a file of its own, named by `workload.trace.path`"));
    }
    match parse(text, file_name) {
        Ok(node) => read_node(node, Origin::Here),
        Err(error) => Read::failed(Diagnostic::error("", error.message, error.hint).at(error.place)),
    }
}

/// Gives findings that know only their path the place of that path in the text (or of the nearest part of it that is there).
pub fn locate(text: &str, file_name: &str, findings: &mut [Diagnostic]) {
    let Ok(node) = parse(text, file_name) else { return };
    for finding in findings.iter_mut().filter(|finding| finding.line.is_none() && !finding.path.is_empty()) {
        *finding = finding.clone().at(node.locate(&finding.path));
    }
}

/// Reads a document from a JSON value, as forms and links hold it. There are no lines; the rest is as in [`read`].
pub fn read_value(value: &serde_json::Value) -> Read {
    match Node::from_json(value) {
        Ok(node) => read_node(node, Origin::Here),
        Err(message) => Read::failed(Diagnostic::error("", message, "start from a preset")),
    }
}

/// As [`read_value`], for a document that another version of this program may have written: unknown keys are warnings.
pub(super) fn read_shared(value: &serde_json::Value) -> Read {
    match Node::from_json(value) {
        Ok(node) => read_node(node, Origin::Link),
        Err(message) => Read::failed(Diagnostic::error("", message, "start from a preset")),
    }
}

/// Where a document comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Here,
    Link,
}

fn parse(text: &str, file_name: &str) -> Result<Node, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let named_json = file_name.to_ascii_lowercase().ends_with(".json");
    let looks_like_json = text.trim_start().starts_with(['{', '/']);
    if !named_json && !looks_like_json {
        return yaml::parse(text);
    }
    // `{a: 1}` is YAML too: only where JSON was promised is the JSON error the right one to show.
    json::parse(text).or_else(|error| if named_json { Err(error) } else { yaml::parse(text).map_err(|_| error) })
}

fn read_node(mut node: Node, origin: Origin) -> Read {
    let mut diagnostics = Vec::new();
    migrate::migrate(&mut node, &mut diagnostics);
    let original = dialect::is_original(&node);
    if let Some(refusal) = dialect::refuse_foreign(&node) {
        return Read { document: None, diagnostics: vec![refusal], original };
    }
    if original {
        dialect::translate(&mut node, &mut diagnostics);
    }
    dialect::warn_without_effect(&node, &mut diagnostics);
    let unknown_keys = if original || origin == Origin::Link { UnknownKeys::Ignore } else { UnknownKeys::Refuse };
    let (json, faults) = check(&node, json_schema(), unknown_keys);
    diagnostics.extend(faults);

    let shape_is_right = !diagnostics.iter().any(Diagnostic::is_error);
    let mut document = None;
    match from_value::<Document>(json) {
        Ok(read) => {
            let findings = validate::validate(&read).into_iter().map(|finding| {
                let place = node.locate(&finding.path);
                finding.at(place)
            });
            // A part that the shape check has taken out already has its error.
            let known: Vec<String> = diagnostics.iter().filter(|known| known.is_error()).map(|known| known.path.clone()).collect();
            let news = findings.filter(|finding| !known.iter().any(|path| related(path, &finding.path)));
            diagnostics.extend(news);
            document = Some(read);
        }
        Err(error) if shape_is_right => {
            diagnostics.push(Diagnostic::error("", format!("the document cannot be taken over: {error}"), "please report this document"));
        }
        Err(_) => {}
    }

    sort_by_key(&mut diagnostics, Diagnostic::reading_order);
    if diagnostics.iter().any(Diagnostic::is_error) {
        document = None;
    }
    if diagnostics.len() > MAX_DIAGNOSTICS {
        sort_by_key(&mut diagnostics, |finding| !finding.is_error());
        let more = diagnostics.split_off(MAX_DIAGNOSTICS);
        let errors = more.iter().filter(|finding| finding.is_error()).count();
        let rest = format!("… and {} more, {errors} of them errors", more.len());
        diagnostics.push(if errors > 0 { Diagnostic::error("", rest, "") } else { Diagnostic::warning("", rest, "") });
    }
    Read { document, diagnostics, original }
}

/// One path is the other or lies inside it.
fn related(a: &str, b: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with(['.', '[']))
    };
    inside(a, b) || inside(b, a)
}
