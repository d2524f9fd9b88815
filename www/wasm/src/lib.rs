//! LLMPerfOracle in the browser: what JavaScript may call. Nothing is decided here; values are carried across.
//!
//! The page makes two kinds of instance: one in each worker, for documents and `simulation`, and one on the main
//! thread, for documents and [`charts`]. The shapes of objects are in `types.d.ts`, which becomes part of the package.
//!
//! Two kinds of thing are thrown. A plain object `{message, diagnostics}` says that a call cannot be honoured; the
//! instance lives on. An `Error` (named `EnginePanic`, or the engine's own `RuntimeError`) is a defect: that instance is
//! dead and must be thrown away.

mod calibration;
mod canvas;
mod catalog;
mod charts;
mod documents;
mod js;
mod links;
mod simulation;

#[cfg(test)]
mod tests;

use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("types.d.ts");

/// A panic leaves the instance as an `Error` that says what and where. Unwinding stops here: nothing runs after it.
#[cfg_attr(not(test), wasm_bindgen(start))]
#[cfg_attr(test, allow(dead_code))]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let error = js_sys::Error::new(&panic.to_string());
        error.set_name("EnginePanic");
        wasm_bindgen::throw_val(error.into());
    }));
}
