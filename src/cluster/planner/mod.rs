//! How many replicas an entry has: what a planner or a scaler decides from what it sees. Rules alone: starting and stopping replicas is
//! the simulation's, and what a document may say about them is decided where it is planned.

pub mod dynamo;
mod pools;
mod predict;
pub mod threshold;

pub use dynamo::{Capability, DynamoPlanner, DynamoSpec, StepTime, Target, Traffic, WorkerLoad};
pub use pools::PoolPlanner;
pub use predict::{Predictor, PredictorSpec};
pub use threshold::{Threshold, ThresholdSpec};

use crate::units::Time;

/// What a new replica does before it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// Until its GPUs are there.
    pub provision: Time,
    /// Reading the weights.
    pub load: Time,
    /// Compiling and capturing graphs.
    pub compile: Time,
    /// First passes.
    pub warm_up: Time,
}

impl Startup {
    /// From the decision to the first request. The GPUs are paid from the end of the provisioning.
    pub fn total(&self) -> Time {
        self.provision + self.load + self.compile + self.warm_up
    }
}

/// How many replicas, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// None: as many as there are.
    pub replicas: Option<u32>,
    pub reason: &'static str,
}

impl Decision {
    fn stay(reason: &'static str) -> Decision {
        Decision { replicas: None, reason }
    }
}
