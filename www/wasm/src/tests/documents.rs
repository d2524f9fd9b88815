//! Documents across the border.

use js_sys::{Array, Map};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{get, js, message, number};
use crate::{catalog, documents};

fn length(list: &JsValue) -> u32 {
    assert!(Array::is_array(list));
    list.unchecked_ref::<Array>().length()
}

#[wasm_bindgen_test]
fn seeds_differ() {
    let seeds: Vec<u32> = (0..4).map(|_| documents::random_seed().unwrap()).collect();
    assert!(seeds.windows(2).any(|pair| pair[0] != pair[1]), "{seeds:?}");
}

#[wasm_bindgen_test]
fn the_catalog_is_plain_data() {
    let catalog = catalog::catalog().unwrap();
    for list in ["models", "devices", "nodes", "frameworks", "presets"] {
        assert!(length(&get(&catalog, list)) >= 5, "{list}");
    }
    let h100 = get(&catalog, "devices").unchecked_into::<Array>().iter().find(|d| get(d, "name") == "H100-SXM").unwrap();
    // NVIDIA's data sheet: 80 GB, 989 TFLOP/s dense bf16, 3.35 TB/s.
    assert!((number(&h100, "memoryGb") - 80.0).abs() < 8.0);
    assert!((number(&h100, "bf16Tflops") - 989.0).abs() < 2.0);
    assert!((number(&h100, "memoryGbPerS") - 3350.0).abs() < 20.0);
    assert_eq!(get(&h100, "calibrated"), JsValue::TRUE);
    let schema = documents::schema();
    assert!(schema.contains("frameworks_to_test"));
}

#[wasm_bindgen_test]
fn findings_come_with_their_places() {
    let read = documents::read_document(
        "schema_version: 1\nsimulation: {}\nhardware_profile: {node: H100-SXM}\nworkload:\n  presett: chat\nframeworks_to_test: []\n",
        "x.yaml",
    )
    .unwrap();
    assert_eq!(get(&read, "document"), JsValue::NULL);
    let diagnostics = get(&read, "diagnostics").unchecked_into::<Array>();
    assert!(diagnostics.iter().any(|d| get(&d, "line").as_f64() == Some(5.0) && get(&d, "severity") == "error"), "{diagnostics:?}");
}

#[wasm_bindgen_test]
fn a_wrong_object_is_refused_with_its_findings() {
    let refused = documents::write_yaml(js("{ simulation: { random_sede: 1 } }")).unwrap_err();
    assert!(!message(&refused).is_empty());
    assert!(length(&get(&refused, "diagnostics")) >= 1);
    assert!(message(&documents::write_yaml(JsValue::UNDEFINED).unwrap_err()).contains("object"));
    let check = documents::check_document(js("{ simulation: { random_sede: 1 } }"), Map::new()).unwrap();
    assert!(length(&get(&check, "diagnostics")) >= 1 && length(&get(&check, "runs")) == 0);
}
