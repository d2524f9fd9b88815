//! A document's runs, from its text to their results.

use llmperforacle::metrics::RunResult;
use llmperforacle::sim::{Files, Simulation, plan};

/// Serves every entry of a right document (YAML or JSON) to the end.
pub fn simulate(text: &str, files: &dyn Files) -> Vec<RunResult> {
    let read = llmperforacle::config::read(text, "document");
    let document = read.document.unwrap_or_else(|| panic!("{:#?}", read.diagnostics));
    let plan = plan(&document, files).unwrap_or_else(|found| panic!("{found:#?}"));
    let run = |run| {
        let mut simulation = Simulation::new(run).expect("a planned run");
        while !simulation.advance(10_000).done {}
        simulation.finish()
    };
    plan.runs.iter().map(run).collect()
}
