//! What configs/ holds, looked up by name: models, devices, nodes, calibration constants, defaults of the frameworks, power and
//! prices.
//! Data only, no formulas about time.

pub mod calibration;
pub mod device;
pub mod dtype;
pub mod economics;
pub mod framework;
pub mod hf;
pub mod linear;
pub mod model;
mod names;
pub mod original;

use std::sync::OnceLock;

pub use calibration::{Calibration, Confidence, Engine};
pub use device::{Device, Interconnect, Node, SheetConfidence};
pub use dtype::Dtype;
pub use framework::{FrameworkDefaults, HostTime, VersionDefaults, framework_defaults, version_defaults};
pub use linear::{LinearKind, LinearLayers};
pub use model::{LatentAttention, MixtureOfExperts, Model, SlidingWindow};
pub use original::original_models;

/// The built-in data, read once.
#[derive(Debug, Default)]
pub struct Catalog {
    pub models: Vec<Model>,
    pub devices: Vec<Device>,
    pub calibrations: Vec<Calibration>,
    pub frameworks: framework::Frameworks,
    pub power: economics::Power,
    pub prices: economics::Prices,
}

/// A name that the catalog does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} called \"{name}\"{}", if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) })]
pub struct UnknownName {
    /// `model`, `device`, `node` or `grid`.
    pub what: &'static str,
    pub name: String,
    /// Names like it, the likeliest first.
    pub near: Vec<String>,
}

use crate::from_json::from_str;

const CALIBRATIONS: [&str; 8] = [
    include_str!("../../configs/calibration/a100_sxm.json"),
    include_str!("../../configs/calibration/h100_sxm.json"),
    include_str!("../../configs/calibration/h200_sxm.json"),
    include_str!("../../configs/calibration/b200_sxm.json"),
    include_str!("../../configs/calibration/gb200.json"),
    include_str!("../../configs/calibration/l40s.json"),
    include_str!("../../configs/calibration/rtx_pro_6000_server.json"),
    include_str!("../../configs/calibration/typical.json"),
];

/// The built-in catalog. Its files are part of the program; tests read every one of them.
pub fn builtin() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let catalog = read();
        debug_assert!(catalog.is_ok(), "{catalog:?}");
        catalog.unwrap_or_default()
    })
}

fn read() -> Result<Catalog, serde_json::Error> {
    Ok(Catalog {
        models: from_str(include_str!("../../configs/models/models.json"))?,
        devices: from_str(include_str!("../../configs/gpus/gpus.json"))?,
        calibrations: CALIBRATIONS.iter().map(|text| from_str(text)).collect::<Result<_, _>>()?,
        frameworks: from_str(include_str!("../../configs/frameworks.json"))?,
        power: from_str(include_str!("../../configs/power.json"))?,
        prices: from_str(include_str!("../../configs/prices.json"))?,
    })
}

impl Catalog {
    /// A model by its catalog name, an alias or its Hugging Face id; case, dashes, the organisation and endings such as
    /// `-Instruct` do not matter.
    pub fn model(&self, name: &str) -> Result<&Model, UnknownName> {
        names::find("model", &self.models, name, |model| (model.name.as_str(), model.aliases.as_slice()))
    }

    /// A device by its catalog name or an alias; case, dashes and spaces do not matter.
    pub fn device(&self, name: &str) -> Result<&Device, UnknownName> {
        names::find("device", &self.devices, name, |device| (device.name.as_str(), device.aliases.as_slice()))
    }

    /// A node, such as `8xH100-SXM`; a device alone is a node of one.
    pub fn node(&self, name: &str) -> Result<Node, UnknownName> {
        let (count, device) = match name.split_once(['x', 'X', '*']) {
            Some((count, device)) => match count.trim().parse::<u32>() {
                Ok(count) if (1..=1024).contains(&count) => (count, device.trim()),
                Ok(_) => return Err(UnknownName { what: "node", name: name.to_owned(), near: vec![format!("8x{device}")] }),
                Err(_) => (1, name),
            },
            None => (1, name),
        };
        let device = self.device(device).map_err(|unknown| UnknownName {
            what: "node",
            name: name.to_owned(),
            near: unknown.near.iter().map(|near| if count == 1 { near.clone() } else { format!("{count}x{near}") }).collect(),
        })?;
        Ok(Node { name: name.to_owned(), devices: count, device: device.clone() })
    }

    /// Names of usual nodes: each device alone, and as many as one machine joins.
    pub fn node_names(&self) -> Vec<String> {
        let whole = |device: &Device| (device.devices_per_node > 1).then(|| format!("{}x{}", device.devices_per_node, device.name));
        self.devices.iter().flat_map(|device| [Some(device.name.clone()), whole(device)]).flatten().collect()
    }

    /// The constants a device uses, and how near they are: its own, those of its architecture, or typical ones.
    pub fn calibration_of(&self, device: &Device) -> Option<(&Calibration, Confidence)> {
        match &device.calibration {
            Some(key) => {
                let found = self.calibrations.iter().find(|calibration| calibration.system == *key)?;
                let own = found.device.as_deref() == Some(device.name.as_str());
                Some((found, if own { Confidence::Measured } else { Confidence::Borrowed }))
            }
            None => {
                self.calibrations.iter().find(|calibration| calibration.device.is_none()).map(|typical| (typical, Confidence::Datasheet))
            }
        }
    }
}
