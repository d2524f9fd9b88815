//! Results are the same as natively, to the last bit.

use wasm_bindgen_test::wasm_bindgen_test;

#[path = "../../../../tests/golden/cases.rs"]
mod cases;

use cases::{Golden, HASHES};

#[wasm_bindgen_test]
fn results_have_their_golden_hashes() {
    let golden: Golden = serde_json::from_str(HASHES).unwrap();
    assert!(golden.cases.len() >= 8);
    for case in &golden.cases {
        assert_eq!(case.run().as_ref(), Ok(&case.hashes), "{}", case.label());
    }
}
