//! The network between nodes as a group of GPUs meets it: how the group lies on nodes, what one GPU's share of the adapters carries, how
//! long a message takes. Which links there are is told by documents and the catalog; flows that share links are `cluster::network`'s.

/// How a group of GPUs lies on nodes, and what joins them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// GPUs of a node that the group may have.
    pub gpus_per_node: u32,
    /// Rate at which one GPU's share of its node's adapters moves data, one way, bytes/s.
    pub bytes_per_s: f64,
    /// From card to card, us.
    pub latency_us: f64,
}

/// Share of an adapter's line rate that collectives reach: 32 MiB between two H100 with a 400 Gbit/s adapter each take 41.4 of 50 GB/s
/// (NVIDIA/nccl issue 1357), ring all-reduces over all adapters of a node 46 to 48 (nccl-tests issue 290).
const EFFICIENCY: f64 = 0.85;
/// From a GPU to its adapter and from the other one to its GPU, with NCCL's threads between, us. All-reduces of a few bytes take 46.5 us over
/// two nodes of eight H20 (nccl issue 1244) and 62 us over sixteen of eight H100 (issue 1469): beside 15 us in a node and 3 us from card
/// to card, two and eight times, that is 25 and 23 us for there and back. Two Grace-Blackwell boards alone take 30 us, two A100 20 us.
const SOFTWARE_US: f64 = 12.5;
/// More for a message on its own: a kernel at either end. 20 us in all between two H100 (Vidur's send_recv).
const MESSAGE_US: f64 = 4.5;

/// Adapters and switches of nodes, in the terms of a fabric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapters {
    /// GPUs of a node.
    pub gpus_per_node: u32,
    pub per_node: u32,
    /// Line rate of one, bytes/s.
    pub bytes_per_s: f64,
    /// From card to card under one leaf, us, and more over a spine.
    pub leaf_us: f64,
    pub spine_us: f64,
    pub nodes_per_leaf: u32,
    /// What hangs below a leaf over what goes up from it, at least 1.
    pub oversubscription: f64,
}

impl Network {
    /// No other node.
    pub const ONE_NODE: Network = Network { gpus_per_node: u32::MAX, bytes_per_s: f64::INFINITY, latency_us: 0.0 };

    /// For a group of `gpus`, which has its nodes' adapters to itself: those near its GPUs.
    pub fn new(adapters: &Adapters, gpus: u32) -> Network {
        let gpus_per_node = adapters.gpus_per_node.max(1);
        let (within, nodes) = spread(gpus, gpus_per_node);
        let cards = adapters.per_node.clamp(1, gpus_per_node);
        let near = (u64::from(within) * u64::from(cards)).div_ceil(u64::from(gpus_per_node));
        let leaves = nodes > adapters.nodes_per_leaf.max(1);
        let up = if leaves { adapters.oversubscription.max(1.0) } else { 1.0 };
        Network {
            gpus_per_node,
            bytes_per_s: EFFICIENCY * adapters.bytes_per_s * near as f64 / f64::from(within) / up,
            latency_us: adapters.leaf_us + if leaves { adapters.spine_us } else { 0.0 },
        }
    }

    /// GPUs of a group of `gpus` that share a node, and nodes of the group. Full nodes, as few as do; evenly.
    pub fn spread(&self, gpus: u32) -> (u32, u32) {
        spread(gpus, self.gpus_per_node)
    }

    /// A pass of `hops` from card to card, one after the other, us.
    pub fn pass_us(&self, hops: u32) -> f64 {
        SOFTWARE_US + f64::from(hops) * self.latency_us
    }

    /// A message on its own, us.
    pub fn message_us(&self) -> f64 {
        MESSAGE_US + self.pass_us(1)
    }
}

fn spread(gpus: u32, gpus_per_node: u32) -> (u32, u32) {
    let gpus = gpus.max(1);
    let nodes = gpus.div_ceil(gpus_per_node.max(1));
    (gpus.div_ceil(nodes), nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HGX: Adapters = Adapters {
        gpus_per_node: 8,
        per_node: 8,
        bytes_per_s: 50e9,
        leaf_us: 3.0,
        spine_us: 1.0,
        nodes_per_leaf: 2,
        oversubscription: 2.0,
    };

    #[test]
    fn a_group_has_the_adapters_near_its_gpus() {
        let rate = |adapters: Adapters, gpus| Network::new(&adapters, gpus).bytes_per_s / (EFFICIENCY * 50e9);
        let of = |per_node| Adapters { per_node, ..HGX };
        assert_eq!([rate(of(8), 16), rate(of(4), 16), rate(of(1), 16)], [1.0, 0.5, 0.125]);
        // Nodes of two GPUs that share the one adapter of both; a lone GPU has it to itself.
        let small = |gpus_per_node, per_node| Adapters { gpus_per_node, per_node, ..HGX };
        assert_eq!([rate(small(2, 1), 4), rate(small(1, 1), 2)], [0.5, 1.0]);
        // Cards beyond one a GPU have nothing to do.
        assert_eq!(rate(of(16), 16), 1.0);
    }

    #[test]
    fn more_nodes_than_a_leaf_has_go_over_spines() {
        let (near, far) = (Network::new(&HGX, 16), Network::new(&HGX, 24));
        assert_eq!(far.bytes_per_s, near.bytes_per_s / 2.0);
        assert_eq!((near.latency_us, far.latency_us), (3.0, 4.0));
    }

    #[test]
    fn groups_lie_on_as_few_nodes_as_do() {
        let network = Network::new(&HGX, 16);
        assert_eq!([1, 8, 9, 16, 24].map(|gpus| network.spread(gpus)), [(1, 1), (8, 1), (5, 2), (8, 2), (8, 3)]);
        assert_eq!(Network::ONE_NODE.spread(64), (64, 1));
    }
}
