//! Records that are not as they should be: each is replayed or listed with its reason, whatever is missing or odd in it.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeSet;

use llmperforacle::accuracy::{self, Factors, Record};
use llmperforacle::sim::Files;
use serde_json::{Value, json};

struct Truth;

impl Files for Truth {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(format!("{}/configs/truth/{path}", env!("CARGO_MANIFEST_DIR"))).map_err(|error| error.to_string())
    }
}

/// One record of each set, engine and way of load, few requests each.
fn some() -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{}/configs/truth/runs.jsonl", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let load = record["load"].as_object().unwrap().keys().next().cloned();
        let dp = record["dp"].as_u64() > Some(1);
        if seen.insert((record["set"].to_string(), record["framework"].to_string(), load, dp)) {
            record["num_requests"] = json!(6);
            found.push(record);
        }
    }
    assert!(found.len() >= 15, "{}", found.len());
    found
}

/// Replayed, or a reason is given; no third.
fn check(value: &Value) {
    match accuracy::records(&value.to_string()).remove(0) {
        Err(why) => assert!(why.starts_with("line 1: "), "{why}"),
        Ok(record) => {
            let replayed = accuracy::replay(&record, &Truth, Factors::default());
            let predicted = replayed.metrics.iter().filter_map(|metric| metric.predicted);
            assert!(predicted.clone().all(f64::is_finite), "{value}");
            assert!(replayed.reason.is_some() || predicted.count() > 0, "{value}");
        }
    }
}

#[test]
fn a_field_that_is_missing_null_or_odd_ends_no_replay() {
    let odd = [json!(0), json!(-3), json!(1e300), json!("unknown"), json!([]), json!({}), json!(true)];
    for record in some() {
        let keys: Vec<String> = record.as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let mut other = record.clone();
            other.as_object_mut().unwrap().remove(&key);
            check(&other);
            other[&key] = Value::Null;
            check(&other);
            for value in &odd {
                other[&key] = value.clone();
                check(&other);
            }
            // The same one level down.
            for inner in record[&key].as_object().into_iter().flatten().map(|(inner, _)| inner) {
                for value in odd.iter().chain([&Value::Null]) {
                    let mut other = record.clone();
                    other[&key][inner] = value.clone();
                    check(&other);
                }
            }
        }
    }
}

#[test]
fn null_is_as_good_as_absent() {
    let read = |text: &str| -> Record { accuracy::records(text).remove(0).unwrap() };
    let record = read(
        r#"{"id": "a", "framework": "vllm", "load": {"poisson": null, "offline": {}}, "assumed": null, "measured": null, "tp": null}"#,
    );
    assert!(record.load.poisson.is_none() && record.load.offline.is_some() && record.assumed.is_empty() && record.tp.is_none());
}

/// A record of vLLM under a closed loop with something changed, replayed.
fn changed(key: &str, value: Value) -> accuracy::Replayed {
    let mut record = some().into_iter().find(|record| record["framework"] == "vllm" && record["load"]["closed"].is_object()).unwrap();
    record[key] = value;
    match accuracy::records(&record.to_string()).remove(0) {
        Ok(record) => accuracy::replay(&record, &Truth, Factors::default()),
        Err(why) => accuracy::Replayed::unread("here", why),
    }
}

#[test]
fn what_a_record_leaves_open_is_said_and_not_guessed() {
    let why = |key: &str, value: Value| changed(key, value).reason.unwrap_or_default();
    for load in [Value::Null, json!({}), json!({"gamma": {"rate_rps": 3, "cv": 2}})] {
        assert!(why("load", load).contains("poisson"));
    }
    assert!(why("load", json!({"poisson": {"rate_rps": 0}})).contains("no rate"));
    assert!(why("weights_dtype", json!("int3")).contains("int3"));
    assert!(why("gpu", json!("Abacus 9000")).contains("Abacus 9000"));
    assert!(why("tp", json!(3)).contains("heads"));
    // All at once is a rate too, and a lone static batch knows its lengths.
    assert_eq!(why("load", json!({"poisson": {"rate_rps": "inf"}})), "");
    assert_eq!(why("load", json!({"static_batch": {"batch": 3}})), "");
    assert_eq!(why("gpu", json!("NVIDIA H100 80GB HBM3")), "");
    assert_eq!(why("tp", json!(1.0)), "");
}

#[test]
fn engines_are_known_by_their_other_names_and_strange_versions_do_no_harm() {
    let base = some().into_iter().find(|record| record["framework"] == "vllm" && record["load"]["closed"].is_object()).unwrap();
    for framework in ["vLLM", "SGLang", "TensorRT-LLM", "trtllm"] {
        for version in [json!("nightly"), json!("v0.6.3.post1"), json!("0.8.5"), json!("main abc"), json!(""), Value::Null] {
            let mut record = base.clone();
            (record["framework"], record["framework_version"]) = (json!(framework), version);
            let record = accuracy::records(&record.to_string()).remove(0).unwrap();
            let replayed = accuracy::replay(&record, &Truth, Factors::default());
            assert_eq!(replayed.reason, None, "{framework} {:?}", record.framework_version);
        }
    }
    let mut record = base.clone();
    record["framework_version"] = json!(0.11);
    assert_eq!(accuracy::records(&record.to_string()).remove(0).unwrap().framework_version.as_deref(), Some("0.11"));
    let mut record = base;
    record["framework"] = json!("lmdeploy");
    let record = accuracy::records(&record.to_string()).remove(0).unwrap();
    assert!(accuracy::replay(&record, &Truth, Factors::default()).reason.unwrap().contains("lmdeploy"));
}
