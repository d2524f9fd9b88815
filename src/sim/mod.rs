//! The clock that drives workload and engines, one run at a time; progress and cancel. What a document means is decided in `plan`.

pub mod plan;

pub use plan::{Files, Plan, RunPlan, plan};

use crate::metrics::RunResult;

/// How far a simulation has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub done: bool,
    /// From 0 to 1, by requests or by simulated time, whichever is further.
    pub fraction: f64,
    pub simulated_s: f64,
    pub requests_ended: u64,
}

/// One run of a plan, advanced in slices.
pub struct Simulation {}

impl Simulation {
    pub fn new(_plan: &RunPlan) -> Simulation {
        Simulation {}
    }

    /// Does about `budget` units of work (an arrival, a step or a run of steps each) and returns.
    pub fn advance(&mut self, _budget: u64) -> Progress {
        Progress { done: true, fraction: 1.0, simulated_s: 0.0, requests_ended: 0 }
    }

    /// The result so far: complete when `advance` said done, else as if the simulation ended now.
    pub fn finish(self) -> RunResult {
        RunResult::default()
    }
}
