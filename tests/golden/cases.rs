//! Runs whose results are known by their hash. The same list is run by `cargo test`, in Node, and in a browser's page and
//! worker (www/wasm/src/tests/golden.rs): every one of them must find the hashes of `hashes.json`, to the last bit.
//!
//! A change of the engine's results changes hashes, and says so in its commit:
//! `UPDATE_GOLDEN=1 cargo test --test golden_hashes` writes them anew.

use llmperforacle::config::{self, Diagnostic};
use llmperforacle::sim::{NoFiles, Simulation, plan};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Serialize, Deserialize)]
pub struct Golden {
    pub cases: Vec<Case>,
}

#[derive(Serialize, Deserialize)]
pub struct Case {
    /// Name of a preset, or a document.
    pub document: Value,
    /// Changes to it: path and value, as `--set` takes them.
    pub set: Map<String, Value>,
    /// Of each run, in the document's order.
    pub hashes: Vec<RunHash>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RunHash {
    pub run: String,
    /// 16 hexadecimal digits of `RunResult::hash`.
    pub hash: String,
    /// What a reader can make something of when hashes differ.
    pub requests: u64,
    pub end_ps: u64,
}

pub const HASHES: &str = include_str!("hashes.json");

/// Works in slices of this size: where a slice ends must not show in the result.
const SLICE: u64 = 777;

impl Case {
    pub fn label(&self) -> String {
        let name = self.document.as_str().or_else(|| self.document.get("title").and_then(Value::as_str)).unwrap_or("untitled");
        format!("{name} {}", Value::Object(self.set.clone()))
    }

    /// Runs the case and returns what it comes to now.
    pub fn run(&self) -> Result<Vec<RunHash>, String> {
        let words = |found: Vec<Diagnostic>| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut document = match self.document.as_str() {
            Some(name) => config::preset(name).map(|preset| serde_json::to_value(preset).map_err(|e| e.to_string())).ok_or(name)??,
            None => self.document.clone(),
        };
        for (path, value) in &self.set {
            config::set(&mut document, path, &value.to_string()).map_err(|wrong| wrong.to_string())?;
        }
        let read = config::read_value(&document);
        let document = read.document.ok_or_else(|| words(read.diagnostics))?;
        let plan = plan(&document, &NoFiles).map_err(words)?;
        let runs = plan.runs.iter().map(|run| {
            let mut simulation = Simulation::new(run).map_err(words)?;
            while !simulation.advance(SLICE).done {}
            let result = simulation.finish();
            let hash = format!("{:016x}", result.hash());
            Ok(RunHash { run: result.name.clone(), hash, requests: result.requests.len() as u64, end_ps: result.end_ps })
        });
        runs.collect()
    }
}
