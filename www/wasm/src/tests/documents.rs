//! Documents across the border.

use js_sys::{Array, Map, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{get, js, message, number};
use crate::{catalog, documents, links};

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
fn every_preset_can_be_planned_and_written() {
    let presets = get(&catalog::catalog().unwrap(), "presets").unchecked_into::<Array>();
    for preset in presets.iter() {
        let name = get(&preset, "name").as_string().unwrap();
        let document = get(&preset, "document");
        let check = documents::check_document(document.clone(), Map::new()).unwrap();
        assert!(length(&get(&check, "runs")) >= 1, "{name}: {:?}", get(&check, "diagnostics"));
        assert!(number(&check, "estimatedWork") > 0.0, "{name}");
        let text = documents::write_yaml(document.clone()).unwrap();
        let again = get(&documents::read_document(&text, "again.yaml").unwrap(), "document");
        let json = |value: &JsValue| js_sys::JSON::stringify(value).unwrap().as_string().unwrap();
        assert_eq!(json(&again), json(&document), "{name}");
    }
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

/// A trace is named by the document and given beside it.
#[wasm_bindgen_test]
fn a_file_is_read_from_the_map() {
    let catalog = catalog::catalog().unwrap();
    let document = get(&get(&catalog, "presets").unchecked_into::<Array>().get(0), "document");
    let trace = js("{ trace: { path: 'mine.csv', format: 'plain_csv' } }");
    Reflect::set(&document, &"workload".into(), &trace).unwrap();
    let files = Map::new();
    let missing = documents::check_document(document.clone(), files.clone()).unwrap();
    assert_eq!(length(&get(&missing, "runs")), 0);
    let said = js_sys::JSON::stringify(&get(&missing, "diagnostics")).unwrap().as_string().unwrap();
    assert!(said.contains("mine.csv"), "{said}");
    files.set(&"mine.csv".into(), &js("new TextEncoder().encode('arrival_s,input_tokens,output_tokens\\n0.5,100,10\\n1.5,200,20\\n')"));
    let found = documents::check_document(document, files).unwrap();
    assert!(length(&get(&found, "runs")) >= 1, "{:?}", get(&found, "diagnostics"));
}

#[wasm_bindgen_test]
fn a_link_brings_back_the_document_and_the_view() {
    let document = get(&get(&catalog::catalog().unwrap(), "presets").unchecked_into::<Array>().get(1), "document");
    let fragment = links::link_encode(document.clone(), js("{ latency: 'ttftMs', hidden: ['SGLang'] }")).unwrap();
    assert!(fragment.starts_with("v1.") && fragment.is_ascii() && fragment.len() < 2000, "{fragment}");
    let opened = links::link_decode(&fragment).unwrap();
    let json = |value: &JsValue| js_sys::JSON::stringify(value).unwrap().as_string().unwrap();
    assert_eq!(json(&get(&opened, "document")), json(&document));
    assert_eq!(json(&get(&opened, "view")), r#"{"latency":"ttftMs","hidden":["SGLang"]}"#);
    assert_eq!(get(&opened, "madeWith").as_string().unwrap(), documents::version());
    assert!(!message(&links::link_decode("v1.nonsense").unwrap_err()).is_empty());
}
