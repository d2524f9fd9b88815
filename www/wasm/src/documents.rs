//! Documents: reading, checking, sharing.

use js_sys::{Map, Uint8Array};
use llmperforacle::config::Document;
use llmperforacle::sim::Files;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;

use crate::js::{self, Thrown, thrown};

/// Version of the engine.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// A fresh seed, from 0 to 2^32 - 1: short enough to be read out.
#[wasm_bindgen(js_name = randomSeed)]
pub fn random_seed() -> Thrown<u32> {
    getrandom::u32().map_err(thrown)
}

/// A document from its JavaScript object.
pub fn document_of(object: &JsValue) -> Thrown<Document> {
    js::from_object(object, "document")
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
