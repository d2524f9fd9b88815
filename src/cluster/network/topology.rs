//! Where GPUs are and which links lie between two of them.
//!
//! A node is a group of GPUs joined by one interconnect (an NVSwitch domain, or a PCIe tree), with network cards shared evenly among
//! them. Cards go to leaf switches, leaves to spines. On a rail-optimised fabric the cards of equal place in their nodes share a leaf, so
//! that ranks of equal place reach each other over one switch; otherwise all cards of a node go to the same leaf. Every link is two:
//! one each way. Spines are taken to be as wide as the leaves' uplinks ask for.

use super::flows::LinkId;
use crate::units::Time;

/// Bytes a second of PCIe 5.0 x16 one way: 32 GT/s, 16 lanes, 128b/130b coding.
const PCIE5: u64 = 63_000_000_000;

/// Hardware of a fabric. Rates are bytes a second, one way.
#[derive(Clone, Debug, PartialEq)]
pub struct FabricSpec {
    pub nodes: u32,
    pub gpus_per_node: u32,
    /// Each GPU's port to the interconnect of its node.
    pub port: u64,
    /// The interconnect is PCIe, so what leaves the node takes the same lanes.
    pub port_is_pcie: bool,
    pub nics_per_node: u32,
    pub nic: u64,
    pub rail_optimised: bool,
    /// Nodes whose cards share a leaf (or, on rails, a set of leaves).
    pub nodes_per_leaf: u32,
    /// What hangs below a leaf over what goes up from it, at least 1.
    pub oversubscription: f64,
    pub port_latency: Time,
    /// From one card to another under the same leaf.
    pub leaf_latency: Time,
    /// More, when a spine lies between.
    pub spine_latency: Time,
}

/// What lies between two GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Path {
    /// In order; empty from a GPU to itself.
    pub links: Vec<LinkId>,
    pub latency: Time,
    /// It leaves the node.
    pub by_network: bool,
}

/// A fabric: links by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Fabric {
    spec: FabricSpec,
}

/// One way or the other along a link, seen from the GPU.
#[derive(Clone, Copy)]
enum Way {
    Out = 0,
    In = 1,
}

impl Fabric {
    /// Counts and rates of zero are taken for one.
    pub fn new(mut spec: FabricSpec) -> Fabric {
        for count in [&mut spec.nodes, &mut spec.gpus_per_node, &mut spec.nics_per_node, &mut spec.nodes_per_leaf] {
            *count = (*count).max(1);
        }
        spec.nics_per_node = spec.nics_per_node.min(spec.gpus_per_node);
        Fabric { spec }
    }

    pub fn gpus(&self) -> u32 {
        self.spec.nodes * self.spec.gpus_per_node
    }

    /// The node that a GPU is in.
    pub fn node(&self, gpu: u32) -> u32 {
        gpu / self.spec.gpus_per_node
    }

    /// Bytes a second of each link, by number.
    pub fn capacities(&self) -> Vec<u64> {
        let spec = &self.spec;
        let both = |count: u32, rate: u64| std::iter::repeat_n(rate, 2 * count as usize);
        let below = if spec.rail_optimised { spec.nodes_per_leaf } else { spec.nodes_per_leaf * spec.nics_per_node };
        let uplinks = (spec.nic as f64 * f64::from(below) / spec.oversubscription.max(1.0)) as u64;
        both(self.gpus(), spec.port)
            .chain(both(self.gpus(), PCIE5))
            .chain(both(self.nics(), spec.nic))
            .chain(both(self.leaves(), uplinks))
            .collect()
    }

    /// The links from one GPU to another.
    pub fn path(&self, from: u32, to: u32) -> Path {
        let spec = &self.spec;
        if from == to {
            return Path::default();
        }
        if self.node(from) == self.node(to) {
            return Path { links: vec![self.port(from, Way::Out), self.port(to, Way::In)], latency: spec.port_latency, by_network: false };
        }
        let (sender, receiver) = (self.nic_of(from), self.nic_of(to));
        let (leaf, other_leaf) = (self.leaf_of(sender), self.leaf_of(receiver));
        let mut links = vec![self.bus(from, Way::Out), self.nic(sender, Way::Out)];
        let mut latency = spec.leaf_latency;
        if leaf != other_leaf {
            links.extend([self.uplink(leaf, Way::Out), self.uplink(other_leaf, Way::In)]);
            latency += spec.spine_latency;
        }
        links.extend([self.nic(receiver, Way::In), self.bus(to, Way::In)]);
        Path { links, latency, by_network: true }
    }

    /// The slowest link between one GPU and another that nobody else uses, bytes a second; `u64::MAX` to itself.
    pub fn bandwidth(&self, from: u32, to: u32) -> u64 {
        let capacities = self.capacities();
        self.path(from, to).links.iter().map(|&link| capacities[link as usize]).min().unwrap_or(u64::MAX)
    }

    fn nics(&self) -> u32 {
        self.spec.nodes * self.spec.nics_per_node
    }

    fn leaves(&self) -> u32 {
        let groups = self.spec.nodes.div_ceil(self.spec.nodes_per_leaf);
        if self.spec.rail_optimised { groups * self.spec.nics_per_node } else { groups }
    }

    /// The card that a GPU uses: neighbours share one where there are fewer cards than GPUs.
    fn nic_of(&self, gpu: u32) -> u32 {
        let spec = &self.spec;
        let place = (gpu % spec.gpus_per_node) * spec.nics_per_node / spec.gpus_per_node;
        self.node(gpu) * spec.nics_per_node + place
    }

    fn leaf_of(&self, nic: u32) -> u32 {
        let spec = &self.spec;
        let group = nic / spec.nics_per_node / spec.nodes_per_leaf;
        if spec.rail_optimised { group * spec.nics_per_node + nic % spec.nics_per_node } else { group }
    }

    fn port(&self, gpu: u32, way: Way) -> LinkId {
        2 * gpu + way as u32
    }

    /// The way from a GPU to its card.
    fn bus(&self, gpu: u32, way: Way) -> LinkId {
        if self.spec.port_is_pcie { self.port(gpu, way) } else { 2 * (self.gpus() + gpu) + way as u32 }
    }

    fn nic(&self, nic: u32, way: Way) -> LinkId {
        2 * (2 * self.gpus() + nic) + way as u32
    }

    fn uplink(&self, leaf: u32, way: Way) -> LinkId {
        2 * (2 * self.gpus() + self.nics() + leaf) + way as u32
    }
}

/// Hands out GPUs of a fabric to groups of ranks. A group that fits into a node is never spread over two.
#[derive(Clone, Debug)]
pub struct Placement {
    gpus_per_node: u32,
    next: u32,
}

impl Placement {
    pub fn new(gpus_per_node: u32) -> Placement {
        Placement { gpus_per_node: gpus_per_node.max(1), next: 0 }
    }

    /// The GPUs of the next `ranks` ranks, which are neighbours: the number of the first.
    pub fn take(&mut self, ranks: u32) -> u32 {
        let room = self.gpus_per_node - self.next % self.gpus_per_node;
        if ranks > room {
            self.next += room % self.gpus_per_node;
        }
        let first = self.next;
        self.next += ranks;
        first
    }

    /// What follows shares no node with what came before.
    pub fn next_node(&mut self) {
        self.next = self.next.next_multiple_of(self.gpus_per_node);
    }

    /// Nodes that what was handed out takes.
    pub fn nodes(&self) -> u32 {
        self.next.div_ceil(self.gpus_per_node)
    }
}
