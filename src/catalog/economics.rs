//! What a GPU draws, costs and emits: shares of power by architecture, prices by the hour, grids. Data and their look-up only.

use serde::{Deserialize, Serialize};

use super::{Catalog, Confidence, Device, UnknownName, names};

/// configs/power.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    pub source: String,
    /// The last one is for devices that no other names.
    pub architectures: Vec<PowerShares>,
}

/// Power of a GPU in shares of its limit: `idle + busy * share of time in kernels + compute * share of peak FLOP/s + memory *
/// share of peak bandwidth + link * share of time in collectives`, at most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerShares {
    pub name: String,
    /// Keys of configs/calibration whose devices it is for.
    pub calibrations: Vec<String>,
    pub idle: f64,
    pub busy: f64,
    pub compute: f64,
    pub memory: f64,
    pub link: f64,
    pub confidence: Confidence,
    pub note: String,
}

/// configs/prices.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub gpu_hours: Vec<GpuHour>,
    pub grids: Vec<Grid>,
}

/// An offer, on demand, of one GPU for one hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuHour {
    /// Catalog name.
    pub device: String,
    pub usd: f64,
    pub source: String,
    pub as_of: String,
}

/// What a kilowatt-hour of a country's electricity emits, mean of a year.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    pub name: String,
    pub gco2_per_kwh: f64,
    pub source: String,
    pub as_of: String,
}

impl Catalog {
    /// The power shares of a device's architecture.
    pub fn power_of(&self, device: &Device) -> Option<&PowerShares> {
        let own = |shares: &&PowerShares| device.calibration.as_ref().is_some_and(|key| shares.calibrations.contains(key));
        self.power.architectures.iter().find(own).or(self.power.architectures.last())
    }

    /// What an hour of a device costs, where an offer is known.
    pub fn gpu_hour(&self, device: &Device) -> Option<&GpuHour> {
        self.prices.gpu_hours.iter().find(|offer| offer.device == device.name)
    }

    /// A grid by its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn grid(&self, name: &str) -> Result<&Grid, UnknownName> {
        names::find("grid", &self.prices.grids, name, |grid| (grid.name.as_str(), &[]))
    }
}
