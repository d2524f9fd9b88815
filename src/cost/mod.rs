//! How long one step of an engine takes on its GPUs. Formulas only: constants come from the catalog, batches from the engine.

mod attention;
pub mod calibrated;
mod collective;
pub mod energy;
pub mod error;
mod exchange;
pub mod footprint;
mod gemm;
pub mod graphs;
pub mod linear;
pub mod lora;
pub mod memory;
pub mod model;
mod moe;
pub mod part;
mod rates;
mod shapes;
pub mod speculative;
pub mod states;
pub mod timing;
pub mod transfer;

pub use calibrated::{Calibrated, CalibratedSpec};
pub use energy::{EnergyRamp, PowerModel, StepWork};
pub use error::CannotModel;
pub use footprint::Footprint;
pub use graphs::Graphs;
pub use lora::{LoraCost, LoraLayers, WithAdapters};
pub use memory::{DoesNotFit, Drafter, MemoryBudget, MemorySpec};
pub use model::{AdapterMix, CostModel, DecodeCost, Group, Prefill, StepCost, StepParts};
pub use moe::EXPERT_SKEW;
pub use part::Part;
pub use shapes::{weight_bytes_of_part, weight_bytes_per_rank};
pub use speculative::Speculative;
pub use states::StateOptions;
pub use timing::{FixedTiming, PolynomialTiming};
pub use transfer::Transfer;
