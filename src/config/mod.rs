//! The document a user edits: its types, reading YAML and JSON, the original project's dialect, validation, presets, links.
//! Knows nothing of engines: what a document means in steps and blocks is decided above.
//!
//! A text becomes a tree whose values know their line (`yaml`, `json`, `node`); the tree is brought to the newest version
//! (`migrate`), out of the original's dialect (`dialect`), held against the types' own schema (`check`), and what the result
//! says is looked at as a whole (`validate`). Every stage adds to one list of findings.

mod check;
pub mod diagnostic;
mod dialect;
mod edit;
mod json;
pub mod link;
mod migrate;
mod names;
mod node;
pub mod presets;
mod reader;
pub mod schema;
mod validate;
mod write;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use edit::set;
pub use names::did_you_mean;
pub use presets::{
    Preset, WorkloadPreset, find_preset, preset, preset_versions, presets, resolve_workload, workload_preset, workload_presets,
};
pub use reader::{MAX_TEXT_BYTES, Read, locate, read, read_value};
pub use schema::Document;
pub use validate::distribution::{LARGEST_LOG_MEAN, parameters as distribution_parameters};
pub use validate::{ANY_ENTRY, CLIENT, validate};
pub use write::{Format, generate_config, write_json, write_yaml, yaml_of};

/// The JSON Schema of a document: the form's labels, the editor's completion and the shape check all follow it.
pub fn json_schema() -> &'static serde_json::Value {
    // Written beforehand, since its maker would be a tenth of the browser's module. A test holds it against the types.
    static SCHEMA: std::sync::OnceLock<serde_json::Value> = std::sync::OnceLock::new();
    SCHEMA.get_or_init(|| serde_json::from_str(include_str!("document.schema.json")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_SCHEMA=1 cargo test the_schema_is_that_of_the_types` writes it anew.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let schema = schemars::schema_for!(Document).to_value();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/document.schema.json");
            std::fs::write(path, format!("{schema:#}\n")).unwrap();
        } else {
            assert_eq!(*json_schema(), schema, "the types changed: UPDATE_SCHEMA=1 cargo test the_schema_is_that_of_the_types");
        }
    }
}
