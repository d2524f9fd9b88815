//! Links that hold a document: the part of an address after `#`.

use llmperforacle::config::Diagnostic;
use llmperforacle::config::link::{decode, encode};
use serde::Serialize;
use serde_json::Value;
use wasm_bindgen::prelude::*;

use crate::documents::document_of;
use crate::js::{self, Thrown, thrown};

/// The fragment for a document and what the page shows of it, without the `#`.
#[wasm_bindgen(js_name = linkEncode)]
pub fn link_encode(
    #[wasm_bindgen(unchecked_param_type = "DocumentObject")] document: JsValue,
    #[wasm_bindgen(unchecked_param_type = "object")] view: JsValue,
) -> Thrown<String> {
    let view: Value = js::from_object(&view, "view")?;
    encode(&document_of(&document)?, &view).map_err(thrown)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SharedDocument {
    document: Value,
    view: Value,
    made_with: String,
    diagnostics: Vec<Diagnostic>,
}

/// What a fragment holds. A document that has errors is handed over as the link has it, with its findings.
#[wasm_bindgen(js_name = linkDecode, unchecked_return_type = "SharedDocument")]
pub fn link_decode(fragment: &str) -> Thrown<JsValue> {
    let shared = decode(fragment).map_err(thrown)?;
    let document = match &shared.document {
        Some(document) => serde_json::to_value(document).map_err(thrown)?,
        None => shared.raw,
    };
    js::to_object(&SharedDocument { document, view: shared.view, made_with: shared.made_with, diagnostics: shared.diagnostics })
}
