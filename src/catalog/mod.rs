//! What configs/ holds, looked up by name: models, devices, nodes, links, calibration constants. Data only, no formulas.

pub mod device;
pub mod model;

pub use device::{Device, Interconnect};
pub use model::Model;
