//! Documents: reading, checking, writing.

use js_sys::{Map, Uint8Array};
use llmperforacle::config::{self, Diagnostic, Document};
use llmperforacle::sim::{self, Files};
use serde::Serialize;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;

use crate::js::{self, Thrown, thrown};

/// Version of the engine.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// JSON Schema of a document, as text.
#[wasm_bindgen]
pub fn schema() -> String {
    config::json_schema().to_string()
}

/// A fresh seed, from 0 to 2^32 - 1: short enough to be read out.
#[wasm_bindgen(js_name = randomSeed)]
pub fn random_seed() -> Thrown<u32> {
    getrandom::u32().map_err(thrown)
}

#[derive(Serialize)]
struct ReadDocument<'a> {
    document: Option<&'a Document>,
    diagnostics: &'a [Diagnostic],
    original: bool,
}

/// Reads YAML or JSON text; all findings at once.
#[wasm_bindgen(js_name = readDocument, unchecked_return_type = "ReadDocument")]
pub fn read_document(text: &str, #[wasm_bindgen(js_name = fileName)] file_name: &str) -> Thrown<JsValue> {
    let read = config::read(text, file_name);
    js::to_object(&ReadDocument { document: read.document.as_ref(), diagnostics: &read.diagnostics, original: read.original })
}

#[derive(Serialize)]
struct RunName {
    name: String,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Check {
    diagnostics: Vec<Diagnostic>,
    runs: Vec<RunName>,
    estimated_work: u64,
}

/// Plans a document without running it.
#[wasm_bindgen(js_name = checkDocument, unchecked_return_type = "DocumentCheck")]
pub fn check_document(
    #[wasm_bindgen(unchecked_param_type = "DocumentObject")] document: JsValue,
    #[wasm_bindgen(unchecked_param_type = "Files")] files: Map,
) -> Thrown<JsValue> {
    let read = read_object(&document)?;
    let mut check = Check { diagnostics: read.diagnostics, ..Check::default() };
    if let Some(document) = &read.document {
        match sim::plan(document, &DroppedFiles(files)) {
            Ok(plan) => {
                check.diagnostics.extend(plan.warnings);
                check.runs = plan.runs.into_iter().map(|run| RunName { name: run.name }).collect();
                check.estimated_work = plan.estimated_work;
            }
            Err(found) => check.diagnostics.extend(found),
        }
    }
    js::to_object(&check)
}

/// A document as YAML text.
#[wasm_bindgen(js_name = writeYaml)]
pub fn write_yaml(#[wasm_bindgen(unchecked_param_type = "DocumentObject")] document: JsValue) -> Thrown<String> {
    Ok(config::write_yaml(&document_of(&document)?))
}

fn read_object(object: &JsValue) -> Thrown<config::Read> {
    Ok(config::read_value(&js::from_object(object, "document")?))
}

/// A document from its JavaScript object.
pub fn document_of(object: &JsValue) -> Thrown<Document> {
    let read = read_object(object)?;
    read.document.ok_or_else(|| js::error("the document has errors", &read.diagnostics))
}

/// Files as the page holds them: a `Map` from name to bytes.
pub struct DroppedFiles(pub Map);

impl Files for DroppedFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let value = self.0.get(&JsValue::from_str(path));
        match value.dyn_ref::<Uint8Array>() {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(format!("`{path}` is not among the files given: drop it on the page")),
        }
    }
}
