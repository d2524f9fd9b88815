//! The summary file.

use serde_json::{Map, Value, json};

use crate::metrics::RunResult;

/// One run: its summary, in the original project's form. Several: `{"runs": {NAME: summary, …}}`, in their order.
pub fn summary(runs: &[RunResult]) -> Value {
    match runs {
        [run] => run.summary.clone(),
        _ => {
            let by_name: Map<String, Value> = runs.iter().map(|run| (run.name.clone(), run.summary.clone())).collect();
            json!({ "runs": by_name })
        }
    }
}
