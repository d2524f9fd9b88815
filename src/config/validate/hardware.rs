//! Devices and links.

use std::collections::BTreeMap;

use super::super::check::readable;
use super::super::names::did_you_mean;
use super::super::node::{join_index, join_key};
use super::super::schema::{ComputeDevice, Document, HardwareProfile, NetworkLink};
use super::{ANY_ENTRY, CLIENT, Findings};

/// Precisions with a meaning in `peak_tflops`.
const PRECISIONS: [&str; 9] = ["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4", "int4"];

pub fn hardware(document: &Document, findings: &mut Findings) {
    let hardware = &document.hardware_profile;
    let path = "hardware_profile";
    match (&hardware.node, &hardware.compute_devices) {
        (Some(_), Some(_)) => findings.error(
            path,
            "`node` and `compute_devices` both describe the hardware",
            "keep `node` for a catalog node, or `compute_devices` for devices of your own",
        ),
        (None, None) => {
            findings.error(path, "Missing compute_devices in hardware config", "or name a catalog node, such as `node: 8xH100-SXM`")
        }
        _ => {}
    }
    if hardware.nodes.is_some() && hardware.node.is_none() {
        findings.error(
            join_key(path, "nodes"),
            "`nodes` counts catalog nodes, and no `node` is named",
            "add `node`, such as `node: 8xH100-SXM`",
        );
    }
    let devices = hardware.compute_devices.as_deref().unwrap_or_default();
    let devices_path = join_key(path, "compute_devices");
    findings.unique(&devices_path, "device_id", "device ID", devices.iter().map(|device| device.device_id.as_str()));
    for (index, device) in devices.iter().enumerate() {
        compute_device(device, &join_index(&devices_path, index), findings);
    }
    links(hardware, findings);
}

/// Whether a device can run a model.
pub fn is_gpu(device: &ComputeDevice) -> bool {
    device.device_type.as_deref() != Some("CPU") && device.device_id != CLIENT
}

fn compute_device(device: &ComputeDevice, path: &str, findings: &mut Findings) {
    let id = &device.device_id;
    if let Some(rates) = &device.peak_tflops {
        for (precision, rate) in rates {
            let rate_path = join_key(&join_key(path, "peak_tflops"), precision);
            if !(*rate > 0.0 && *rate <= 1e6) {
                findings.error(
                    &rate_path,
                    format!("Invalid {precision}: {} TFLOP/s (should be above 0, at most 1e6)", readable(*rate)),
                    "",
                );
            }
            if !PRECISIONS.contains(&precision.as_str()) {
                findings.warning(
                    &rate_path,
                    format!("`{precision}` is no known precision: ignored"),
                    format!("known: {}", PRECISIONS.join(", ")),
                );
            }
        }
    }
    if device.device.is_some() || !is_gpu(device) {
        return;
    }
    let parts = [
        ("peak_tflops", device.peak_tflops.is_none()),
        ("memory_capacity_bytes", device.memory_capacity_bytes.is_none()),
        ("memory_gbps", device.memory_gbps.is_none()),
    ];
    let missing: Vec<&str> = parts.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect();
    if !missing.is_empty() {
        let hint = "or name a catalog device, such as `device: H100-SXM`, whose numbers are then used";
        findings.error(path, format!("Device {id} missing fields: {}", missing.join(", ")), hint);
    }
    if let Some(rates) = &device.peak_tflops
        && !rates.contains_key("fp16")
        && !rates.contains_key("bf16")
    {
        findings.error(
            join_key(path, "peak_tflops"),
            format!("Device {id}: Missing fp16 in peak_tflops"),
            "give the dense fp16 or bf16 rate, TFLOP/s",
        );
    }
}

fn links(hardware: &HardwareProfile, findings: &mut Findings) {
    let devices = hardware.compute_devices.as_deref().unwrap_or_default();
    let known = || devices.iter().map(|device| device.device_id.as_str()).chain([CLIENT, ANY_ENTRY]);
    let mut directions: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (index, link) in hardware.network_links.as_deref().unwrap_or_default().iter().enumerate() {
        let path = join_index("hardware_profile.network_links", index);
        let NetworkLink { link_id, source_id, dest_id, bidirectional, .. } = link;
        for (key, what, end) in [("source_id", "source", source_id), ("dest_id", "destination", dest_id)] {
            if !known().any(|id| id == end) {
                let hint = if devices.is_empty() {
                    format!("a catalog node brings its own links; only `{CLIENT}` and `{ANY_ENTRY}` can be joined here")
                } else {
                    did_you_mean(end, known()).unwrap_or_else(|| format!("known: {}", known().collect::<Vec<_>>().join(", ")))
                };
                findings.error(join_key(&path, key), format!("Link {link_id}: Unknown {what} device {end}"), hint);
            }
            if end == ANY_ENTRY && devices.iter().all(|device| device.device_id != ANY_ENTRY) {
                let message =
                    format!("`{ANY_ENTRY}` is no device: taken as the link between the clients and every entry that has none of its own");
                findings.warning(join_key(&path, key), message, "name the entry's device to join just that one");
            }
        }
        if source_id == dest_id {
            findings.error(&path, format!("Link {link_id} joins `{source_id}` to itself"), "name the other end, or take it out");
        }
        let mut both = vec![(source_id.as_str(), dest_id.as_str())];
        if *bidirectional != Some(false) {
            both.push((dest_id, source_id));
        }
        for (from, to) in both {
            if let Some(earlier) = directions.insert((from, to), link_id).filter(|earlier| earlier != link_id) {
                let message = format!("Link {link_id} replaces {earlier} from `{from}` to `{to}`");
                findings.warning(&path, message, "keep one of them, or say `bidirectional: false`");
            }
        }
    }
}
