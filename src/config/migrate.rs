//! Older versions of the document format, brought up to the newest: one pure function a step, applied in order. Documents
//! and links of every version open for ever.

use super::Diagnostic;
use super::node::{Node, Value};

/// The version that this code writes.
pub const NEWEST: u32 = 1;

/// A step from version n (its index + 1) to n + 1.
type Migration = fn(&mut Node, &mut Vec<Diagnostic>);

/// None yet: version 1 is the first.
const STEPS: [Migration; NEWEST as usize - 1] = [];

/// Brings the tree up to [`NEWEST`], or says that it is from the future.
pub fn migrate(root: &mut Node, diagnostics: &mut Vec<Diagnostic>) {
    let Some(version) = root.get("schema_version").and_then(version_of) else {
        return;
    };
    if version > NEWEST {
        let place = root.get("schema_version").map_or(root.place, |node| node.place);
        let message = format!("the document has format version {version}; this program knows versions up to {NEWEST}");
        diagnostics.push(Diagnostic::error("schema_version", message, "open it with a newer program").at(place));
        root.remove("schema_version");
        return;
    }
    for step in STEPS.iter().skip(version.saturating_sub(1) as usize) {
        step(root, diagnostics);
    }
    if let Some(node) = root.get_mut("schema_version") {
        node.value = Value::Integer(NEWEST.into());
    }
}

/// A version number; anything else is left to the shape check.
fn version_of(node: &Node) -> Option<u32> {
    match node.value {
        Value::Integer(number) if number >= 1 => Some(u32::try_from(number).unwrap_or(u32::MAX)),
        _ => None,
    }
}
