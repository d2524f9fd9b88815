//! A benchmark of the reader's own: read, and factors fitted to it in slices.

use js_sys::{Float64Array, Map, Object, Reflect};
use llmperforacle::calibrate::{Benchmark, Fit, FitError, Options, TRACE, workload};
use serde::{Deserialize, Serialize};
use serde_json::{Map as JsonMap, Value};
use wasm_bindgen::prelude::*;

use crate::documents::{DroppedFiles, document_of};
use crate::js::{self, Thrown};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    tool: &'a str,
    requests: Option<u64>,
    measured: &'a JsonMap<String, Value>,
    notes: &'a [String],
    /// A workload of its requests, and the trace that it names; why not, where there is none.
    workload: Option<Value>,
    trace_name: &'a str,
    trace: String,
    no_workload: Option<String>,
}

/// Reads a benchmark's output. Its requests, where they are listed, come as ascending columns `ttftMs`, `tpotMs`, `e2eMs`.
#[wasm_bindgen(js_name = readBenchmark, unchecked_return_type = "BenchmarkSaid")]
pub fn read_benchmark(text: &str) -> Thrown<JsValue> {
    let benchmark = Benchmark::read(text).map_err(js::thrown)?;
    let (own, trace, why) = match workload(&benchmark) {
        Ok((own, trace)) => (Some(own), trace, None),
        Err(why) => (None, String::new(), Some(why)),
    };
    let said = js::to_object(&Said {
        tool: benchmark.tool.name(),
        requests: benchmark.requests,
        measured: &benchmark.measured,
        notes: &benchmark.notes,
        workload: own,
        trace_name: TRACE,
        trace,
        no_workload: why,
    })?;
    let columns = Object::new();
    if let Some(rows) = &benchmark.rows {
        for (name, column) in [("ttftMs", &rows.ttft_ms), ("tpotMs", &rows.tpot_ms), ("e2eMs", &rows.e2e_ms)] {
            let mut sorted: Vec<f64> = column.iter().copied().filter(|value| value.is_finite()).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let array = Float64Array::from(&sorted[..]);
            Reflect::set(&columns, &name.into(), &array).map_err(|_| js::thrown("the columns cannot be handed over"))?;
        }
    }
    Reflect::set(&said, &"latencies".into(), &columns).map_err(|_| js::thrown("the columns cannot be handed over"))?;
    Ok(said)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    text: String,
    source: String,
    entry: Option<String>,
    per_request: bool,
    own_requests: bool,
}

/// A fit of a document's factors to a benchmark, on its way.
#[wasm_bindgen]
pub struct Calibration {
    inner: Fit,
    source: String,
}

#[wasm_bindgen]
impl Calibration {
    #[wasm_bindgen(constructor)]
    pub fn new(
        #[wasm_bindgen(unchecked_param_type = "DocumentObject")] document: JsValue,
        #[wasm_bindgen(unchecked_param_type = "Files")] files: Map,
        #[wasm_bindgen(unchecked_param_type = "CalibrationWanted")] wanted: JsValue,
    ) -> Thrown<Calibration> {
        let document = document_of(&document)?;
        let wanted: Wanted = js::from_object(&wanted, "calibration")?;
        let benchmark = Benchmark::read(&wanted.text).map_err(js::thrown)?;
        let options = Options { entry: wanted.entry, per_request: wanted.per_request, own_requests: wanted.own_requests };
        let source = format!("fitted to {} ({})", wanted.source, benchmark.tool.name());
        let inner = Fit::new(&document, benchmark, Box::new(DroppedFiles(files)), &options).map_err(thrown)?;
        Ok(Calibration { inner, source })
    }

    /// Does about `budget` units of work, at most one simulation.
    #[wasm_bindgen(unchecked_return_type = "CalibrationProgress")]
    pub fn advance(&mut self, budget: u32) -> Thrown<JsValue> {
        js::to_object(&self.inner.advance(budget.into()).map_err(thrown)?)
    }

    /// The factors found, and each metric before and after; this object is used up.
    #[wasm_bindgen(unchecked_return_type = "Fitted")]
    pub fn finish(self) -> Thrown<JsValue> {
        js::to_object(&self.inner.finish().to_json(&self.source))
    }
}

fn thrown(error: FitError) -> JsValue {
    match error {
        FitError::Document(found) => js::error("the document cannot be replayed", &found),
        FitError::Benchmark(why) => js::thrown(why),
    }
}
