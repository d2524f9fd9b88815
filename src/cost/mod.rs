//! How long one step of an engine takes on its GPUs. Formulas only: constants come from the catalog, batches from the engine.

pub mod model;
pub mod timing;

pub use model::{CostModel, DecodeCost, Prefill, StepCost, StepParts};
pub use timing::{FixedTiming, PolynomialTiming};
