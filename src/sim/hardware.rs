//! The document's hardware: which device an entry runs on, and by which links.

use super::disaggregation::{LEAF_US, NODES_PER_LEAF, SPINE_US, USUAL_NIC_GBPS};
use crate::catalog::{Catalog, Device, Interconnect, SheetConfidence};
use crate::config::Diagnostic;
use crate::config::schema::{ComputeDevice, HardwareProfile, NetworkConfig, NetworkLink};
use crate::cost::Network;
use crate::cost::network::Adapters;
use crate::cost::transfer::Hop;
use crate::units::Time;

/// Where the clients are, in the original project's documents.
const CLIENT: &str = "client_node_0";
/// Numbers this near to a catalog device's are taken for that device's.
const SAME_DEVICE: f64 = 0.06;

/// The hardware of a document, looked up.
pub(super) struct Hardware<'a> {
    profile: &'a HardwareProfile,
    /// Devices by id, in the document's order; one without a name for a catalog node.
    devices: Vec<(String, Device)>,
    /// Devices of one kind that one entry may use in all.
    node_devices: Option<u32>,
    /// Those of one node.
    per_node: u32,
}

/// A clients' link, as the workload wants it.
pub(super) struct ClientLink {
    pub latency: Time,
    pub bits_per_s: f64,
}

impl<'a> Hardware<'a> {
    pub(super) fn new(
        profile: &'a HardwareProfile,
        catalog: &Catalog,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<Hardware<'a>, Vec<Diagnostic>> {
        if let Some(name) = &profile.node {
            let node = catalog.node(name).map_err(|unknown| {
                vec![Diagnostic::error("hardware_profile.node", unknown.to_string(), "see `llmperforacle list gpus`")]
            })?;
            let devices = node.devices * profile.nodes.unwrap_or(1);
            return Ok(Hardware {
                profile,
                devices: vec![(String::new(), node.device)],
                node_devices: Some(devices),
                per_node: node.devices,
            });
        }
        let listed = profile.compute_devices.as_deref().unwrap_or_default();
        if listed.is_empty() {
            let hint = "name a node, such as `node: H100-SXM`, or list compute_devices";
            return Err(vec![Diagnostic::error("hardware_profile", "there is no hardware", hint)]);
        }
        let mut errors = Vec::new();
        let mut devices = Vec::new();
        for (index, described) in listed.iter().enumerate() {
            if described.device_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("cpu")) {
                continue;
            }
            match device(described, &format!("hardware_profile.compute_devices[{index}]"), catalog, warnings) {
                Ok(device) => devices.push((described.device_id.clone(), device)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Hardware { profile, devices, node_devices: None, per_node: u32::MAX }) } else { Err(errors) }
    }

    /// The device that each GPU of an entry is: `stages` groups of `tp`. `ids` are those the entry names; `path` is where.
    pub(super) fn device_for(
        &self,
        ids: &[String],
        (tp, stages): (u32, u32),
        path: &str,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<Device, Diagnostic> {
        let gpus = tp.saturating_mul(stages);
        if let Some(devices) = self.node_devices {
            let Some((_, device)) = self.devices.first() else {
                return Err(Diagnostic::error("hardware_profile", "there is no hardware", "name a node"));
            };
            if gpus > devices {
                let hint = match gpus {
                    few if few <= device.devices_per_node => format!("use a node with {few} GPUs, such as `{few}x{}`", device.name),
                    _ => "say `nodes:` in hardware_profile to have more of them".to_owned(),
                };
                return Err(Diagnostic::error(path, format!("needs {gpus} GPUs and the hardware has {devices}"), hint));
            }
            return Ok(device.clone());
        }
        let known = || self.devices.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
        let find = |id: &String| {
            self.devices
                .iter()
                .find(|(known, _)| known == id)
                .ok_or_else(|| Diagnostic::error(path, format!("gpu_id '{id}' not found in hardware"), format!("devices: {}", known())))
        };
        let Some(first) = ids.first().map_or_else(|| self.devices.first().map(|(id, _)| id.clone()), |id| Some(id.clone())) else {
            return Err(Diagnostic::error(path, "there is no GPU in the hardware", "add one to compute_devices"));
        };
        let (_, device) = find(&first)?;
        for id in ids {
            let (_, other) = find(id)?;
            if other.name != device.name || other.memory_bytes != device.memory_bytes {
                let message = format!("GPUs of one entry must be alike: {first} is {} and {id} is {}", device.name, other.name);
                return Err(Diagnostic::error(path, message, "group devices of one kind"));
            }
        }
        if ids.is_empty() && gpus as usize > self.devices.len() {
            let message = format!("needs {gpus} GPUs and the hardware has {}", self.devices.len());
            return Err(Diagnostic::error(path, message, "list more compute_devices"));
        }
        let mut device = device.clone();
        if tp > 1 {
            self.join(&mut device, ids, tp as usize, path, warnings);
        }
        Ok(device)
    }

    /// How a group of GPUs that share layers lies on nodes; `own`: on nodes of its device, not on those of the document.
    pub(super) fn network_of(&self, device: &Device, group: u32, own: bool) -> Network {
        if self.node_devices.is_none() && !own {
            return Network::ONE_NODE;
        }
        let gpus_per_node = if own { device.devices_per_node } else { self.per_node.min(device.devices_per_node) };
        Network::new(&adapters(&self.network(), device, gpus_per_node), group)
    }

    /// What joins each of `stages` groups of `tp` GPUs to the next one.
    pub(super) fn hops(
        &self,
        ids: &[String],
        (tp, stages): (u32, u32),
        device: &Device,
        path: &str,
        warnings: &mut Vec<Diagnostic>,
    ) -> Vec<Hop> {
        // Stages lie on the nodes as they come; none is torn apart.
        let stages_of_node = (self.per_node.min(device.devices_per_node) / tp.max(1)).max(1);
        let mut unlinked = Vec::new();
        let hops = (1..stages).map(|stage| {
            let named = |group: u32| ids.get((group * tp) as usize);
            let (Some(from), Some(to)) = (named(stage - 1), named(stage)) else {
                let within = !stage.is_multiple_of(stages_of_node);
                return if within { Hop::WithinNode } else { Hop::Link(self.between_nodes(device, tp)) };
            };
            match self.link(from, to) {
                Some(link) => Hop::Link(interconnect(link)),
                None => {
                    unlinked.push(format!("{from} and {to}"));
                    Hop::WithinNode
                }
            }
        });
        let hops = hops.collect();
        if !unlinked.is_empty() {
            let message = format!(
                "no network_links join {}, of neighbouring stages; they are taken to be joined by {}",
                unlinked.join(", "),
                device.interconnect.name
            );
            warnings.push(Diagnostic::warning(path, message, "add the links"));
        }
        hops
    }

    /// What a GPU's message to a stage on another node takes.
    fn between_nodes(&self, device: &Device, tp: u32) -> Interconnect {
        let network = Network::new(&adapters(&self.network(), device, self.per_node.min(device.devices_per_node)), tp);
        Interconnect { name: "network".to_owned(), bytes_per_s: network.bytes_per_s, latency_us: network.message_us() }
    }

    /// Takes over the document's links between the GPUs of an entry.
    fn join(&self, device: &mut Device, ids: &[String], group: usize, path: &str, warnings: &mut Vec<Diagnostic>) {
        let groups = || ids.chunks(group);
        let links: Vec<&NetworkLink> =
            groups().flat_map(|group| group.windows(2)).filter_map(|pair| self.link(&pair[0], &pair[1])).collect();
        let wanted: usize = groups().map(|group| group.len() - 1).sum();
        let slowest = links.iter().min_by(|a, b| a.bandwidth_bps.total_cmp(&b.bandwidth_bps));
        match slowest {
            Some(link) if links.len() == wanted => {
                device.interconnect = interconnect(link);
                if device.calibration.is_some() {
                    let message =
                        format!("collectives take the times measured on {}'s own interconnect, not those of the links", device.name);
                    warnings.push(Diagnostic::warning(path, message, "take the links out"));
                }
            }
            _ => {
                let message = format!(
                    "not all of {} are linked in network_links; they are taken to be joined by {}",
                    ids.join(", "),
                    device.interconnect.name
                );
                warnings.push(Diagnostic::warning(path, message, "add the links, or leave all of them out"));
            }
        }
    }

    fn link(&self, from: &str, to: &str) -> Option<&NetworkLink> {
        let links = self.profile.network_links.as_deref().unwrap_or_default();
        links.iter().rev().find(|link| {
            let two_way = link.bidirectional.unwrap_or(true);
            (link.source_id == from && link.dest_id == to) || (two_way && link.source_id == to && link.dest_id == from)
        })
    }

    /// Memory of a node's host, GB, where the document says so.
    pub(super) fn host_memory_gb(&self) -> Option<f64> {
        self.profile.host_memory_gb
    }

    /// Catalog nodes, not single devices.
    pub(super) fn is_nodes(&self) -> bool {
        self.node_devices.is_some()
    }

    /// Nodes that there are, where the document says so.
    pub(super) fn nodes_given(&self) -> Option<u32> {
        self.profile.nodes
    }

    /// Devices of a catalog node of the document; 1 for listed ones.
    pub(super) fn node_gpus(&self) -> u32 {
        self.node_devices.map_or(1, |_| self.per_node)
    }

    /// The network between nodes.
    pub(super) fn network(&self) -> NetworkConfig {
        self.profile.network.clone().unwrap_or_default()
    }

    /// Devices in all, where the document lists them one by one; a catalog node may be had as often as wanted.
    pub(super) fn listed_devices(&self) -> Option<u64> {
        self.node_devices.is_none().then_some(self.devices.len() as u64)
    }

    /// The link by which prompts reach the server: the first from the clients.
    pub(super) fn client_link(&self) -> Option<ClientLink> {
        let links = self.profile.network_links.as_deref().unwrap_or_default();
        let link = links.iter().find(|link| link.source_id == CLIENT)?;
        Some(ClientLink { latency: Time::from_s(link.latency_s), bits_per_s: link.bandwidth_bps })
    }
}

/// Adapters and switches of the document's network; what it leaves open is the usual of the GPU's servers.
fn adapters(network: &NetworkConfig, device: &Device, gpus_per_node: u32) -> Adapters {
    Adapters {
        gpus_per_node,
        per_node: network.nics_per_node.unwrap_or(gpus_per_node),
        bytes_per_s: network.nic_gbps.or(device.nic_gbps).unwrap_or(USUAL_NIC_GBPS) * 1e9 / 8.0,
        leaf_us: network.latency_us.unwrap_or(LEAF_US),
        spine_us: network.spine_latency_us.unwrap_or(SPINE_US),
        nodes_per_leaf: network.nodes_per_leaf.unwrap_or(NODES_PER_LEAF),
        oversubscription: network.oversubscription.unwrap_or(1.0),
    }
}

fn interconnect(link: &NetworkLink) -> Interconnect {
    Interconnect { name: link.link_id.clone(), bytes_per_s: link.bandwidth_bps / 8.0, latency_us: link.latency_s * 1e6 }
}

/// A device as the document describes it: a catalog device with other numbers, or one recognised by its numbers.
fn device(described: &ComputeDevice, path: &str, catalog: &Catalog, warnings: &mut Vec<Diagnostic>) -> Result<Device, Diagnostic> {
    let peak_tflops = |names: [&str; 2]| {
        let peaks = described.peak_tflops.as_ref()?;
        names.iter().find_map(|name| peaks.get(*name)).copied()
    };
    let flops = peak_tflops(["bf16", "fp16"]).map(|tflops| tflops * 1e12);
    let bandwidth = described.memory_gbps.map(|gb_per_s| gb_per_s * 1e9);
    if let Some(name) = &described.device {
        let mut device = catalog
            .device(name)
            .map_err(|unknown| Diagnostic::error(format!("{path}.device"), unknown.to_string(), "see `llmperforacle list gpus`"))?
            .clone();
        device.bf16_flops = flops.unwrap_or(device.bf16_flops);
        device.memory_bytes_per_s = bandwidth.unwrap_or(device.memory_bytes_per_s);
        device.memory_bytes = described.memory_capacity_bytes.unwrap_or(device.memory_bytes);
        return Ok(device);
    }
    let (Some(flops), Some(bandwidth), Some(memory_bytes)) = (flops, bandwidth, described.memory_capacity_bytes) else {
        let hint = "name a catalog device (`device: H100-SXM`), or give peak_tflops.fp16, memory_gbps and memory_capacity_bytes";
        return Err(Diagnostic::error(path, format!("Device {}: not enough is said about it", described.device_id), hint));
    };
    let near = |a: f64, b: f64| (a / b - 1.0).abs() <= SAME_DEVICE;
    let alike = catalog.devices.iter().find(|device| {
        near(flops, device.bf16_flops) && near(bandwidth, device.memory_bytes_per_s) && near(memory_bytes, device.memory_bytes)
    });
    if let Some(alike) = alike {
        let message = format!("Device {}: taken for {} by its numbers, whose calibration is used", described.device_id, alike.name);
        warnings.push(Diagnostic::warning(path, message, format!("say `device: {}` to choose it yourself", alike.name)));
        return Ok(Device { bf16_flops: flops, memory_bytes_per_s: bandwidth, memory_bytes, ..alike.clone() });
    }
    let message =
        format!("Device {}: no device of the catalog has these numbers, so typical efficiencies are assumed", described.device_id);
    warnings.push(Diagnostic::warning(path, message, "say `device: NAME` to use the calibration of a catalog device"));
    Ok(Device {
        name: described.device_id.clone(),
        aliases: Vec::new(),
        bf16_flops: flops,
        fp8_flops: peak_tflops(["fp8", "fp8"]).map(|tflops| tflops * 1e12),
        fp4_flops: None,
        int8_flops: peak_tflops(["int8", "int8"]).map(|tflops| tflops * 1e12),
        memory_bytes,
        memory_bytes_per_s: bandwidth,
        tdp_w: None,
        interconnect: Interconnect { name: "PCIe5".to_owned(), bytes_per_s: 50e9, latency_us: 5.0 },
        devices_per_node: 8,
        nic_gbps: None,
        calibration: None,
        sheet_confidence: SheetConfidence::Low,
        source: "the document".to_owned(),
    })
}
