//! How a result moves with what it assumes: the same document with one assumption changed at a time.
//!
//! Host times come from no measurement, nor do launches, the skew of experts, the rates of tiers below the GPU and start-up times; step times have the error of
//! their kernels. What a document states itself is no assumption and stays.

use super::operations::plan::{COMPILE_S, PROVISION_S, WARM_UP_S, WEIGHTS_GB_PER_S};
use crate::config::Document;
use crate::config::schema::{FrameworkEntry, OwnCalibration};
use crate::cost::EXPERT_SKEW;

/// One assumption of a document.
#[derive(Clone, Copy, Debug)]
pub struct Assumption {
    /// In words.
    pub name: &'static str,
    /// The factors it is tried at: less, more.
    pub factors: [f64; 2],
    change: fn(&mut FrameworkEntry, f64) -> bool,
}

/// Every assumption that a document may rest on.
pub const ASSUMPTIONS: [Assumption; 6] = [
    Assumption { name: "host time", factors: [0.5, 2.0], change: host },
    Assumption { name: "launches without a graph", factors: [0.5, 1.5], change: launches },
    Assumption { name: "device time", factors: [0.9, 1.1], change: device },
    Assumption { name: "skew of experts", factors: [0.5, 1.5], change: skew },
    Assumption { name: "rates of KV tiers", factors: [0.5, 1.5], change: tiers },
    Assumption { name: "start-up times", factors: [0.5, 1.5], change: startup },
];

impl Assumption {
    /// The document with this assumption multiplied by `factor`; none where no entry rests on it.
    pub fn changed(&self, document: &Document, factor: f64) -> Option<Document> {
        let mut document = document.clone();
        let mut any = false;
        for entry in &mut document.frameworks_to_test {
            any |= (self.change)(entry, factor);
        }
        any.then_some(document)
    }
}

/// The factors of an entry whose step times are the program's; none where they are given or measured.
fn factors(entry: &mut FrameworkEntry) -> Option<&mut OwnCalibration> {
    if entry.config.timing.is_some() {
        return None;
    }
    let own = entry.config.calibration.get_or_insert_with(OwnCalibration::default);
    own.file.is_none().then_some(own)
}

fn host(entry: &mut FrameworkEntry, factor: f64) -> bool {
    if entry.config.host_overhead.is_some() {
        return false;
    }
    factors(entry).filter(|own| own.host_time.is_none()).map(|own| own.host_time = Some(factor)).is_some()
}

fn launches(entry: &mut FrameworkEntry, factor: f64) -> bool {
    if entry.config.host_overhead.as_ref().is_some_and(|given| given.per_launch_us.is_some()) {
        return false;
    }
    factors(entry).filter(|own| own.launch_time.is_none()).map(|own| own.launch_time = Some(factor)).is_some()
}

fn device(entry: &mut FrameworkEntry, factor: f64) -> bool {
    factors(entry).filter(|own| own.device_time.is_none()).map(|own| own.device_time = Some(factor)).is_some()
}

fn skew(entry: &mut FrameworkEntry, factor: f64) -> bool {
    factors(entry).filter(|own| own.expert_skew.is_none()).map(|own| own.expert_skew = Some(EXPERT_SKEW * factor)).is_some()
}

fn tiers(entry: &mut FrameworkEntry, factor: f64) -> bool {
    let config = &entry.config;
    let own = config.sglang.as_ref().is_some_and(|own| own.enable_hierarchical_cache == Some(true));
    let own = own || config.trtllm.as_ref().is_some_and(|own| own.host_cache_size.is_some());
    let own = own || config.vllm.as_ref().is_some_and(|own| own.kv_offloading_size.is_some());
    if config.kv_tiers.is_none() && !own {
        return false;
    }
    factors(entry).filter(|own| own.tier_rate.is_none()).map(|own| own.tier_rate = Some(factor)).is_some()
}

fn startup(entry: &mut FrameworkEntry, factor: f64) -> bool {
    if entry.planner.is_none() && entry.autoscaler.is_none() {
        return false;
    }
    let given = entry.startup.get_or_insert_default();
    let mut assumed = false;
    let mut slower = |value: &mut Option<f64>, default: f64| {
        assumed |= value.is_none();
        value.get_or_insert(default);
    };
    slower(&mut given.provision_s, PROVISION_S * factor);
    slower(&mut given.compile_s, COMPILE_S * factor);
    slower(&mut given.warm_up_s, WARM_UP_S * factor);
    slower(&mut given.weights_gb_per_s, WEIGHTS_GB_PER_S / factor);
    assumed
}
