//! The document a user edits: its types, reading YAML and JSON, the original project's dialect, validation, links.
//! Knows nothing of engines: what a document means in steps and blocks is decided above.

pub mod diagnostic;
pub mod schema;

pub use diagnostic::{Diagnostic, Severity};
pub use schema::Document;
