//! Published measurements held against the simulator: what a record of a run says, the document it amounts to, what is predicted.
//!
//! A record becomes an ordinary [document](crate::config) with an ordinary trace, which is read, planned and simulated as a user's.
//! Nothing here knows files, threads or a terminal: lengths files come through [`Files`], and a run is one call.

mod experiment;
pub mod kernels;
mod lengths;
mod markdown;
mod measure;
mod options;
mod per_request;
pub mod record;
mod report;
mod shape;
mod table;

pub use experiment::{Experiment, experiment};
pub use markdown::{Variant, markdown};
pub use measure::{Comparison, compare_with};
pub use per_request::{Errors, PerRequest, Times, per_request};
pub use record::{Record, records};
pub use report::{Replayed, Use, compact, report, use_of};
pub use table::table;

use crate::config;
use crate::metrics::RunResult;
use crate::sim::{self, Files, Simulation};

/// Work units between two looks at whether a run is done.
const SLICE: u64 = 1 << 20;

/// Changes for a study of sensitivity: factors on the host's and the device's times, as a document's `calibration` has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    pub host: f64,
    pub device: f64,
    /// Launches without a graph.
    pub launch: f64,
    /// The experts' skew, over the assumed one.
    pub skew: f64,
}

const AS_IT_IS: Factors = Factors { host: 1.0, device: 1.0, launch: 1.0, skew: 1.0 };

impl Default for Factors {
    fn default() -> Factors {
        AS_IT_IS
    }
}

/// Replays a record, or says why it cannot be.
pub fn replay(record: &Record, files: &dyn Files, factors: Factors) -> Replayed {
    let outcome = simulate(record, files, factors);
    Replayed::new(record, outcome)
}

/// The result of the experiment a record describes.
pub fn simulate(record: &Record, files: &dyn Files, factors: Factors) -> Result<(Experiment, RunResult), String> {
    let mut experiment = experiment(record, files, factors)?;
    let read = config::read_value(&experiment.document);
    let words = |found: Vec<config::Diagnostic>| {
        let errors: Vec<String> =
            found.iter().filter(|each| each.is_error()).map(|each| format!("{}: {}", each.path, each.message)).collect();
        errors.join("; ")
    };
    let Some(document) = read.document else { return Err(words(read.diagnostics)) };
    let plan = sim::plan(&document, &experiment.files).map_err(words)?;
    let Some(run) = plan.runs.first() else { return Err("nothing to run".to_owned()) };
    experiment.warnings.extend(read.diagnostics.iter().chain(&plan.warnings).map(|each| format!("{}: {}", each.path, each.message)));
    let mut simulation = Simulation::new(run).map_err(words)?;
    while !simulation.advance(SLICE).done {}
    Ok((experiment, simulation.finish()))
}

/// What a study of sensitivity changes: a name and the factors.
pub const VARIANTS: [(&str, Factors); 8] = [
    ("host time x 0.5", Factors { host: 0.5, ..AS_IT_IS }),
    ("host time x 2", Factors { host: 2.0, ..AS_IT_IS }),
    ("launches without a graph x 0.5", Factors { launch: 0.5, ..AS_IT_IS }),
    ("launches without a graph x 1.5", Factors { launch: 1.5, ..AS_IT_IS }),
    ("skew of experts x 0.5", Factors { skew: 0.5, ..AS_IT_IS }),
    ("skew of experts x 1.5", Factors { skew: 1.5, ..AS_IT_IS }),
    ("device time - 10 %", Factors { device: 0.9, ..AS_IT_IS }),
    ("device time + 10 %", Factors { device: 1.1, ..AS_IT_IS }),
];
