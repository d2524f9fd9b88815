//! Values across the border: plain objects by serde, columns as typed arrays that are copied, never views of memory that
//! may move.

use js_sys::{Float64Array, JSON, Object, Reflect, Uint8Array};
use llmperforacle::config::Diagnostic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::{JsCast, JsValue};

/// What can go wrong is thrown as this.
pub type Thrown<T> = Result<T, JsValue>;

#[derive(Serialize)]
struct EngineError<'a> {
    message: &'a str,
    diagnostics: &'a [Diagnostic],
}

/// The object to throw: what cannot be done, and what is wrong with the document, if it is the document.
pub fn error(message: &str, diagnostics: &[Diagnostic]) -> JsValue {
    // Strings and small numbers: this cannot fail, and if it did, the message alone would do.
    to_object(&EngineError { message, diagnostics }).unwrap_or_else(|_| JsValue::from_str(message))
}

/// Throws an error's words.
pub fn thrown(failure: impl std::fmt::Display) -> JsValue {
    error(&failure.to_string(), &[])
}

/// A plain object; absent values are `null`.
pub fn to_object(value: &(impl Serialize + ?Sized)) -> Thrown<JsValue> {
    // By way of a JSON value, so that each type is written in one way only: the module is smaller for it.
    // Reached by `error` itself, so no `thrown` here.
    let said = |failure: &dyn std::fmt::Display| JsValue::from_str(&failure.to_string());
    let value = serde_json::to_value(value).map_err(|failure| said(&failure))?;
    value.serialize(&Serializer::json_compatible()).map_err(|failure| said(&failure))
}

/// Reads a plain object, by way of its JSON text: serde-wasm-bindgen looks only at the keys it knows, so a misspelt one would
/// pass unseen. A key whose value is `undefined` is absent.
pub fn from_object<T: DeserializeOwned>(value: &JsValue, what: &str) -> Thrown<T> {
    let read = serde_json::from_str::<serde_json::Value>(&json_text(value, what)?).and_then(llmperforacle::from_json::from_value);
    read.map_err(|failure| thrown(format!("{what}: {failure}")))
}

/// An object's JSON text.
pub fn json_text(value: &JsValue, what: &str) -> Thrown<String> {
    let object = value.dyn_ref::<Object>().ok_or_else(|| thrown(format!("{what}: an object is needed")))?;
    let text = JSON::stringify(object).map_err(|_| thrown(format!("{what}: this cannot be written as JSON")))?;
    text.as_string().ok_or_else(|| thrown(format!("{what}: an object is needed")))
}

fn member(object: &JsValue, key: &str, what: &str) -> Thrown<JsValue> {
    Reflect::get(object, &JsValue::from_str(key)).map_err(|_| thrown(format!("{what}: an object is needed")))
}

pub fn string(object: &JsValue, key: &str, what: &str) -> Thrown<String> {
    member(object, key, what)?.as_string().ok_or_else(|| thrown(format!("{what}.{key}: a string is needed")))
}

pub fn number(object: &JsValue, key: &str, what: &str) -> Thrown<f64> {
    optional_number(object, key, what)?.ok_or_else(|| thrown(format!("{what}.{key}: a number is needed")))
}

pub fn optional_number(object: &JsValue, key: &str, what: &str) -> Thrown<Option<f64>> {
    let value = member(object, key, what)?;
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    value.as_f64().map(Some).ok_or_else(|| thrown(format!("{what}.{key}: a number is needed")))
}

pub fn column(object: &JsValue, key: &str, what: &str) -> Thrown<Vec<f64>> {
    optional_column(object, key, what)?.ok_or_else(|| thrown(format!("{what}.{key}: a Float64Array is needed")))
}

pub fn optional_column(object: &JsValue, key: &str, what: &str) -> Thrown<Option<Vec<f64>>> {
    let value = member(object, key, what)?;
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    match value.dyn_ref::<Float64Array>() {
        Some(array) => Ok(Some(array.to_vec())),
        None => Err(thrown(format!("{what}.{key}: a Float64Array is needed"))),
    }
}

pub fn bytes(object: &JsValue, key: &str, what: &str) -> Thrown<Vec<u8>> {
    let value = member(object, key, what)?;
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec).ok_or_else(|| thrown(format!("{what}.{key}: a Uint8Array is needed")))
}
