//! A run in slices and what can be read from it.

use js_sys::{Array, Map};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{get, js, message, number};
use crate::simulation::{Finished, Simulation};

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
