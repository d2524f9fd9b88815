//! What an hour of a GPU costs and what its electricity emits, as documents write it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Prices and grid. They change no step time.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Economics {
    /// Price of one GPU for an hour, USD. Absent: an offer on demand that the catalog knows for the device (`llmperforacle list gpus`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1e4))]
    pub usd_per_gpu_hour: Option<f64>,
    /// The electricity grid, by country: world, australia, canada, china, finland, france, germany, india, ireland, norway, poland,
    /// sweden. Absent means world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// Emissions of a kilowatt-hour in place of a grid's, g of CO2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2000.0))]
    pub gco2_per_kwh: Option<f64>,
    /// Power usage effectiveness: energy of the whole building over that of the GPUs. Absent means 1, GPUs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 5.0))]
    pub pue: Option<f64>,
    /// Power limit of a GPU, W. Absent: the device's thermal design power. Step times stay those at the full limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10.0, max = 5000.0))]
    pub gpu_power_w: Option<f64>,
}
