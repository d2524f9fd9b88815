//! configs/calibration against the fits they are made from (configs/calibration/kernel-fits.json): the files and the tables of
//! docs/cost-model.md are what the generator writes; every constant is a fit's, bounded by physics, with the fit's error; the typical ones
//! are medians over the measured GPUs.
//!
//! `cargo xtask calibration` (or `UPDATE_CALIBRATION=1 cargo test --test calibration_fits`) writes them anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::PathBuf;

use serde_json::Value;

#[path = "support/calibration.rs"]
mod calibration;

use calibration::OPERATIONS;

const SYSTEMS: [&str; 7] = ["a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "gb200", "l40s", "rtx_pro_6000_server"];

fn read(path: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn of_system(system: &str) -> Value {
    read(&format!("configs/calibration/{system}.json"))
}

fn rows<'a>(calibration: &'a Value, operation: &str) -> &'a Vec<Value> {
    calibration[operation].as_array().unwrap()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A row's engine and the words that name it.
fn names(row: &Value, keys: &[&str]) -> (String, String) {
    let mut name = keys.iter().map(|key| word(&row[*key])).collect::<Vec<_>>().join("/");
    if let Some(unit) = row["activations"].as_str() {
        name = format!("{name}/{unit}");
    }
    (row["engine"].as_str().unwrap_or_default().to_owned(), name)
}

fn near(a: f64, b: f64) -> bool {
    // Four digits; a constant that the fit left at zero may be written as any tiny number.
    (a - b).abs() <= 1e-3 * a.abs().max(b.abs()) || (a.abs() < 1e-3 && b.abs() < 1e-3)
}

/// Static scales: applied inside the norm, so the launch is that of bf16 and 2 us, the pass one byte a value.
fn has_static_scales(operation: &str, engine: &str, name: &str) -> bool {
    (operation, engine, name) == ("gemm", "trtllm", "fp8")
}

fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Committed text, or with UPDATE_CALIBRATION the generated one, which is written.
fn check(relative: &str, generated: &str) {
    if std::env::var_os("UPDATE_CALIBRATION").is_some() {
        std::fs::write(path(relative), generated).unwrap();
    }
    let committed = std::fs::read_to_string(path(relative)).unwrap().replace("\r\n", "\n");
    assert!(committed == generated, "{relative} is not what the fits make of it: run cargo xtask calibration");
}

#[test]
fn the_files_are_what_the_fits_make() {
    for (name, text) in calibration::files(&read("configs/calibration/kernel-fits.json")) {
        check(&format!("configs/calibration/{name}"), &text);
    }
}

/// The tables of errors stand after their header lines, to the next empty line.
#[test]
fn the_documents_tables_are_those_of_the_fits() {
    let relative = "docs/cost-model.md";
    let committed = std::fs::read_to_string(path(relative)).unwrap().replace("\r\n", "\n");
    let mut generated = committed;
    for table in calibration::tables(&read("configs/calibration/kernel-fits.json")) {
        let header = table.lines().next().unwrap();
        let start = generated.find(header).unwrap_or_else(|| panic!("{relative} has no table {header}"));
        let end = generated[start..].find("\n\n").map_or(generated.len(), |end| start + end + 1);
        generated.replace_range(start..end, &table);
    }
    check(relative, &generated);
}

#[test]
fn every_constant_is_that_of_a_fit() {
    let fits = read("configs/calibration/kernel-fits.json");
    let mut checked = 0;
    for system in SYSTEMS {
        let calibration = of_system(system);
        for (operation, keys, constants) in OPERATIONS {
            for row in rows(&calibration, operation) {
                let (engine, name) = names(row, keys);
                let fit = fits[operation]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|fit| fit[0] == system && fit[1] == engine.as_str() && fit[2] == name.as_str())
                    .unwrap_or_else(|| panic!("{system} {operation} {engine} {name} is no fit's"));
                for (index, key) in constants.iter().enumerate() {
                    let Some(key) = key else { continue };
                    let value = row[*key].as_f64().unwrap();
                    let mut fitted = fit[3][index].as_f64().unwrap();
                    if ["compute", "memory"].contains(key) {
                        fitted = fitted.min(1.0);
                    }
                    if has_static_scales(operation, &engine, &name) && *key == "input_pass" {
                        fitted = 1.0;
                    }
                    if has_static_scales(operation, &engine, &name) && *key == "launch_us" {
                        let plain =
                            rows(&calibration, "gemm").iter().find(|row| row["engine"] == "trtllm" && row["dtype"] == "bf16").unwrap();
                        fitted = plain["launch_us"].as_f64().unwrap() + 2.0;
                    }
                    assert!(near(value, fitted), "{system} {operation} {engine} {name} {key}: {value}, fitted {fitted}");
                }
                if let Some(error) = row["error_percent"].as_array() {
                    for (stated, fitted) in error.iter().zip(fit[4].as_array().unwrap()) {
                        let (stated, fitted) = (stated.as_f64().unwrap(), fitted.as_f64().unwrap());
                        assert!((stated - fitted).abs() < 0.06, "{system} {operation} {engine} {name}: error {stated}, fitted {fitted}");
                    }
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 300, "{checked} rows");
}

#[test]
fn typical_constants_are_medians() {
    let typical = of_system("typical");
    let measured: Vec<Value> = SYSTEMS.iter().map(|system| of_system(system)).collect();
    let mut checked = 0;
    for (operation, keys, constants) in OPERATIONS {
        // Collectives: NVLink only. mxfp4: 16-bit rows of GPUs that use 8 bit too. Static scales follow the launch of bf16.
        for row in rows(&typical, operation).iter().filter(|_| !["all_reduce", "nccl"].contains(&operation)) {
            let (engine, name) = names(row, keys);
            if (operation == "moe" && name == "mxfp4") || has_static_scales(operation, &engine, &name) {
                continue;
            }
            for key in constants.iter().flatten() {
                let of = |calibration: &Value| -> Option<f64> {
                    let row = rows(calibration, operation).iter().find(|row| names(row, keys) == (engine.clone(), name.clone()))?;
                    row[*key].as_f64()
                };
                let mut values: Vec<f64> = measured.iter().filter_map(of).collect();
                values.sort_unstable_by(f64::total_cmp);
                let middle = values.len() / 2;
                let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
                let value = row[*key].as_f64().unwrap();
                assert!(near(value, median), "{operation} {engine} {name} {key}: {value}, median {median}");
                checked += 1;
            }
        }
    }
    assert!(checked > 200, "{checked} constants");
}
