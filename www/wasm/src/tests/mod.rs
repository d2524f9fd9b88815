//! Run three times: in Node, in a browser's page and in a browser's worker. The canvas exists only in the page: there its
//! tests draw, elsewhere they have nothing to try.

mod charts;
mod documents;
mod golden;
mod simulation;

use js_sys::{Array, Function, Reflect};
use wasm_bindgen::prelude::*;

/// A JavaScript value from an expression.
fn js(expression: &str) -> JsValue {
    Function::new_no_args(&format!("return ({expression})")).call0(&JsValue::NULL).unwrap()
}

fn get(object: &JsValue, key: &str) -> JsValue {
    Reflect::get(object, &key.into()).unwrap()
}

fn number(object: &JsValue, key: &str) -> f64 {
    get(object, key).as_f64().unwrap_or_else(|| panic!("{key} is no number"))
}

/// The words of a refusal.
fn message(thrown: &JsValue) -> String {
    assert!(!thrown.is_instance_of::<js_sys::Error>(), "a refusal is a plain object: an Error would mean a dead instance");
    assert!(Array::is_array(&get(thrown, "diagnostics")));
    get(thrown, "message").as_string().unwrap()
}
