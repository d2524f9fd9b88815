//! What becomes of a document: its plan or why there is none, and a planned run taken to its end.

use llmperforacle::config::{self, Diagnostic};
use llmperforacle::sim::{self, Files, Plan, RunPlan, Simulation};

/// The plan of a document, or what is wrong with it, as `path: message`.
pub fn plan(text: &str, files: &dyn Files) -> Result<Plan, Vec<String>> {
    let read = config::read(text, "document");
    let told = |list: &[Diagnostic]| list.iter().map(|d| format!("{}: {}", d.path, d.message)).collect::<Vec<_>>();
    let document = read.document.ok_or_else(|| told(&read.diagnostics))?;
    sim::plan(&document, files).map_err(|errors| told(&errors))
}

/// Takes a run to its end. One that goes round in circles is a failure, not a hang.
pub fn ended(plan: &RunPlan, fast_path: bool) -> Simulation {
    let mut plan = plan.clone();
    plan.fast_path = fast_path;
    let mut simulation = Simulation::new(&plan).expect("a planned run");
    let mut slices = 0;
    while !simulation.advance(1 << 14).done {
        slices += 1;
        assert!(slices < 2000, "the run does not end");
    }
    simulation
}
