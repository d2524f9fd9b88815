//! A run in slices and what can be read from it.

use js_sys::{Array, Map};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{get, js, message, number};
use crate::calibration;
use crate::simulation::{Finished, Inspection, Simulation, why};

/// The first preset, cut to 200 requests.
fn document() -> JsValue {
    let presets = get(&crate::catalog::catalog().unwrap(), "presets").unchecked_into::<Array>();
    let document = get(&presets.get(0), "document");
    js_sys::Reflect::set(&get(&document, "workload"), &"total_requests_to_generate".into(), &200.into()).unwrap();
    document
}

fn finished(budget: u32, fast_path: bool) -> Finished {
    let mut simulation = Simulation::new(document(), 0, Map::new(), fast_path).unwrap();
    let mut fraction = 0.0;
    loop {
        let progress = simulation.advance(budget).unwrap();
        assert!(number(&progress, "fraction") >= fraction, "progress does not go back");
        fraction = number(&progress, "fraction");
        if get(&progress, "done") == JsValue::TRUE {
            return simulation.finish();
        }
    }
}

#[wasm_bindgen_test]
fn columns_agree_with_one_another() {
    let run = finished(100, true);
    assert_eq!(run.request_count(), 200.0);
    let column = |name: &str| run.column(name).unwrap().to_vec();
    let (arrival, first, finish) = (column("arrivalMs"), column("firstTokenMs"), column("finishMs"));
    let (ttft, e2e, tpot, tokens) = (column("ttftMs"), column("e2eMs"), column("tpotMs"), column("outputTokens"));
    assert_eq!(run.status().to_vec(), vec![1; 200]);
    for row in 0..200 {
        assert!((first[row] - arrival[row] - ttft[row]).abs() < 1e-6);
        assert!((finish[row] - arrival[row] - e2e[row]).abs() < 1e-6);
        assert!(tokens[row] < 2.0 || (tpot[row] * (tokens[row] - 1.0) - (finish[row] - first[row])).abs() < 1e-6);
    }
    assert!(arrival.is_sorted());
    let sorted = run.sorted_column("ttftMs").unwrap().to_vec();
    assert!(sorted.is_sorted() && sorted.len() == 200);
}

#[wasm_bindgen_test]
fn series_add_up_to_the_columns() {
    let run = finished(1_000_000, true);
    let sum = |name: &str| run.series(name).unwrap().to_vec().iter().sum::<f64>();
    assert_eq!(sum("arrivals"), 200.0);
    assert_eq!(sum("finished"), 200.0);
    assert_eq!(sum("outputTokens"), run.column("outputTokens").unwrap().to_vec().iter().sum::<f64>());
    assert!((sum("outputTokensPerS") * run.bin_s() - sum("outputTokens")).abs() < 1e-6);
    let occupancy = run.series("kvOccupancy").unwrap().to_vec();
    assert!(occupancy.iter().all(|share| (0.0..=1.0).contains(share)) && occupancy.iter().any(|share| *share > 0.0));
    assert!(occupancy.len() as f64 * run.bin_s() >= run.end_s() - run.bin_s());
}

#[wasm_bindgen_test]
fn slices_and_the_fast_path_do_not_show() {
    let hash = finished(1_000_000, true).hash();
    assert_eq!(hash.len(), 16);
    assert_eq!(finished(1, true).hash(), hash);
    assert_eq!(finished(50, false).hash(), hash);
}

#[wasm_bindgen_test]
fn the_csv_has_a_row_for_each_request() {
    let text = finished(1000, true).requests_csv().unwrap();
    assert_eq!(text.lines().count(), 201);
}

#[wasm_bindgen_test]
fn what_is_not_there_is_said() {
    let run = finished(1000, true);
    assert!(message(&run.column("ttft").unwrap_err()).contains("`ttft`"));
    assert!(message(&run.series("latency").unwrap_err()).contains("`latency`"));
    assert!(message(&Simulation::new(document(), 99, Map::new(), true).err().unwrap()).contains("no run 99"));
    let refused = Simulation::new(js("{ simulation: 3 }"), 0, Map::new(), true).err().unwrap();
    assert!(!message(&refused).is_empty());
}

#[wasm_bindgen_test]
fn a_moment_shows_the_step_under_way() {
    let mut inspection = Inspection::new(document(), 0, Map::new(), 5.0).unwrap();
    while !inspection.advance(1000) {}
    let moment = inspection.moment().unwrap();
    assert_eq!(number(&moment, "at_s"), 5.0);
    let replica = get(&moment, "replicas").unchecked_into::<Array>().get(0);
    let steps = get(&replica, "steps").unchecked_into::<Array>();
    assert_eq!(get(&replica, "idle"), JsValue::from_bool(steps.length() == 0));
    for step in steps.iter() {
        assert!(number(&step, "start_s") <= 5.0 && number(&step, "end_s") > 5.0);
        let parts = get(&step, "parts").unchecked_into::<Array>();
        let sum: f64 = parts.iter().map(|part| number(&part, "ms")).sum();
        assert!((sum - number(&step, "duration_ms")).abs() < 1e-3 * number(&step, "duration_ms"), "parts add up to the step");
    }
    let mut late = Inspection::new(document(), 0, Map::new(), 1e6).unwrap();
    while !late.advance(100_000) {}
    assert!(message(&late.moment().unwrap_err()).contains("the simulation ends at"));
}

#[wasm_bindgen_test]
fn findings_are_about_the_results_given() {
    let summaries = [finished(100_000, true), finished(100_000, true)].map(|run| run.summary().unwrap());
    let results = Array::new();
    for (name, summary) in ["one", "two"].into_iter().zip(summaries) {
        let result = js_sys::Object::new();
        js_sys::Reflect::set(&result, &"name".into(), &name.into()).unwrap();
        js_sys::Reflect::set(&result, &"summary".into(), &summary).unwrap();
        results.push(&result);
    }
    let compared = js_sys::Object::new();
    js_sys::Reflect::set(&compared, &"results".into(), &results).unwrap();
    // Equal runs differ in nothing.
    assert_eq!(why(compared.into()).unwrap().unchecked_into::<Array>().length(), 0);
    assert!(message(&why(js("({ resluts: [] })")).unwrap_err()).contains("why: "));
}

#[wasm_bindgen_test]
fn a_trace_holds_the_steps_that_were_asked_for() {
    let mut simulation = Simulation::new(document(), 0, Map::new(), true).unwrap();
    simulation.keep_steps(0.0, 2.0);
    while get(&simulation.advance(100_000).unwrap(), "done") != JsValue::TRUE {}
    let text = simulation.finish().perfetto().unwrap();
    let parsed = js_sys::JSON::parse(&text).unwrap();
    let events = get(&parsed, "traceEvents").unchecked_into::<Array>();
    assert!(events.length() > 200, "a row a request and the steps");
    assert!(events.iter().all(|event| get(&event, "ph").is_string()));
}

#[wasm_bindgen_test]
fn the_load_of_a_fleet_is_the_time_that_requests_spend() {
    let run = finished(100_000, true);
    assert_eq!(run.replica_count(), 4);
    let fleet = run.fleet(50).unwrap();
    assert_eq!((number(&fleet, "bins"), get(&fleet, "replicas").unchecked_into::<Array>().length()), (50.0, 4));
    let running = get(&fleet, "running").unchecked_into::<js_sys::Float64Array>().to_vec();
    let spent: f64 = run
        .column("finishMs")
        .unwrap()
        .to_vec()
        .iter()
        .zip(run.column("scheduledMs").unwrap().to_vec())
        .map(|(end, start)| end - start)
        .sum();
    assert!((running.iter().sum::<f64>() * number(&fleet, "binS") * 1e3 / spent - 1.0).abs() < 1e-6);
}

#[wasm_bindgen_test]
fn a_benchmark_is_read_and_fitted_in_slices() {
    let text = r#"{"completed": 400, "total_input_tokens": 80000, "total_output_tokens": 12000, "request_rate": 4, "mean_ttft_ms": 60, "mean_tpot_ms": 14}"#;
    let said = calibration::read_benchmark(text).unwrap();
    assert_eq!((get(&said, "tool"), number(&said, "requests")), ("vLLM bench serve".into(), 400.0));
    assert_eq!(number(&get(&said, "measured"), "tpot_mean_ms"), 14.0);
    assert!(message(&calibration::read_benchmark("{}").unwrap_err()).contains("no output of a benchmark"));
    let wanted = js("({ text: '', source: 'bench.json', entry: 'vLLM', perRequest: false, ownRequests: true })");
    js_sys::Reflect::set(&wanted, &"text".into(), &text.into()).unwrap();
    let mut fit = calibration::Calibration::new(document(), Map::new(), wanted).unwrap();
    while get(&fit.advance(1000).unwrap(), "done") != JsValue::TRUE {}
    let fitted = fit.finish().unwrap();
    assert!(number(&get(&fitted, "calibration"), "device_time") > 1.0);
    assert!(number(&get(&fitted, "error"), "after") < number(&get(&fitted, "error"), "before"));
}
