//! Collectives between GPUs, in a node and over several.
//!
//! `t = latency + bytes/rate + c * sqrt(megabytes)`, constants by GPU count. A count that was not measured takes the nearest smaller
//! one's, with the rate of a ring (2(n-1)/n of the payload over the link) and the latency of a tree (log2 n).
//!
//! Over n nodes with g GPUs of the group each, a payload S is reduced and scattered in every node, the g shards go round the nodes at once,
//! each over its own GPU's share of the adapters, and are gathered in every node: NCCL's collective among g GPUs, and of every GPU
//! `2 (n-1)/n S/g` bytes by network in two passes of `ceil(log2 n)` hops (all-gather and reduce-scatter: half of the bytes in one pass;
//! all-to-all: the share `(n-1)/n` of its payload in one hop). Both ways are cut into chunks and overlap: their times by byte join as a 3-norm, which is
//! less than their sum and more than either. Custom kernels of engines do not leave a node.

use super::network::Network;
use crate::catalog::calibration::{AllReduceConstants, Calibration, LaunchMode, NcclConstants, NcclOperation, pick};
use crate::catalog::{Confidence, Device, Engine};
use crate::math::{log2, p_norm, sqrt};

/// Norm that joins what goes within nodes and between them: one GiB over two nodes of eight H100 or H200 then comes out 5 % too slow, half a
/// GiB 3 % (published: 4.4 to 4.5 and 2.3 to 2.4 ms).
const OVERLAP: f64 = 3.0;

/// A collective over a fixed number of GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Collective {
    pub latency_us: f64,
    /// Time a payload byte, us.
    pub us_per_byte: f64,
    /// Time for each square root of a megabyte, us.
    pub sqrt_us: f64,
}

impl Collective {
    /// Time for a payload of so many bytes a rank, us.
    pub fn us(&self, bytes: f64) -> f64 {
        self.latency_us + bytes * self.us_per_byte + self.sqrt_us * sqrt(bytes * 1e-6)
    }

    /// The engine's all-reduce among `gpus`, with the confidence of its constants; over several nodes NCCL's.
    pub fn all_reduce(
        calibration: &Calibration,
        engine: Engine,
        mode: LaunchMode,
        gpus: u32,
        device: &Device,
        network: &Network,
    ) -> Option<(Collective, Confidence)> {
        let (within, nodes) = network.spread(gpus);
        if nodes > 1 {
            let nccl = |gpus, network| Collective::nccl(NcclOperation::AllReduce, calibration, gpus, device, network);
            let ((mut over, confidence), (in_node, _)) = (nccl(gpus, network)?, nccl(within, &Network::ONE_NODE)?);
            // Launched from the host it is not sooner under way than the engine's own in a node.
            if within > 1 {
                let (own, _) = Collective::all_reduce(calibration, engine, mode, within, device, &Network::ONE_NODE)?;
                over.latency_us += (own.latency_us - in_node.latency_us).max(0.0);
            }
            return Some((over, confidence));
        }
        let fits = |wanted: u32| move |row: &AllReduceConstants| row.mode == mode && row.gpus == wanted;
        let counts = [8, 4, 2].into_iter().filter(|count| *count <= gpus).find_map(|count| {
            pick(&calibration.all_reduce, engine, |row| row.engine, fits(count)).map(|(row, confidence)| (row, count, confidence))
        });
        // Three GPUs and the like: fewer than the smallest measured count never happens, two are the smallest group.
        let (row, measured, confidence) = counts?;
        let base = Collective { latency_us: row.latency_us, us_per_byte: 1e-3 / row.gb_per_s, sqrt_us: row.sqrt_us };
        Some(base.adapted(measured, gpus, calibration, device, confidence))
    }

    /// NCCL's all-gather among `gpus`.
    pub fn all_gather(calibration: &Calibration, gpus: u32, device: &Device, network: &Network) -> Option<(Collective, Confidence)> {
        Collective::nccl(NcclOperation::AllGather, calibration, gpus, device, network)
    }

    /// A collective of NCCL's among `gpus`.
    pub fn nccl(
        operation: NcclOperation,
        calibration: &Calibration,
        gpus: u32,
        device: &Device,
        network: &Network,
    ) -> Option<(Collective, Confidence)> {
        let (within, nodes) = network.spread(gpus);
        let (in_node, confidence) = match within {
            0 | 1 => (Collective::default(), Confidence::Measured),
            _ => Collective::nccl_in_node(operation, calibration, within, device)?,
        };
        let over = in_node.over_nodes(operation, within, nodes, network);
        // No network was measured.
        Some((over, if nodes > 1 { confidence.max(Confidence::Borrowed) } else { confidence }))
    }

    fn nccl_in_node(operation: NcclOperation, calibration: &Calibration, gpus: u32, device: &Device) -> Option<(Collective, Confidence)> {
        let fits = |count: u32| move |row: &&NcclConstants| row.operation == operation && row.gpus == count;
        let (row, measured) = [8, 4, 2]
            .into_iter()
            .filter(|count| *count <= gpus)
            .find_map(|count| calibration.nccl.iter().find(fits(count)).map(|row| (row, count)))?;
        let base = Collective { latency_us: row.latency_us, us_per_byte: 1e-3 / row.gb_per_s, sqrt_us: row.sqrt_us };
        Some(base.adapted(measured, gpus, calibration, device, Confidence::Measured))
    }

    /// With the way between `nodes` of `within` GPUs.
    fn over_nodes(self, operation: NcclOperation, within: u32, nodes: u32, network: &Network) -> Collective {
        if nodes <= 1 {
            return self;
        }
        let hops = u32::BITS - (nodes - 1).leading_zeros();
        let abroad = 1.0 - 1.0 / f64::from(nodes);
        let shard = abroad / f64::from(within.max(1));
        let (bytes, pass_us) = match operation {
            NcclOperation::AllReduce => (2.0 * shard, 2.0 * network.pass_us(hops)),
            NcclOperation::AllGather | NcclOperation::ReduceScatter => (shard, network.pass_us(hops)),
            NcclOperation::AllToAll => (abroad, network.pass_us(1)),
        };
        Collective {
            latency_us: self.latency_us + pass_us,
            us_per_byte: p_norm(self.us_per_byte, bytes * 1e6 / network.bytes_per_s, OVERLAP),
            ..self
        }
    }

    /// Between two GPUs of a node: NCCL's exchange between two, of whose payload half stays where it is.
    pub fn point_to_point(calibration: &Calibration, device: &Device) -> Option<Collective> {
        let fits = |row: &&NcclConstants| row.operation == NcclOperation::AllToAll && row.gpus == 2;
        let row = calibration.nccl.iter().find(fits)?;
        let exchange = Collective { latency_us: row.latency_us, us_per_byte: 2e-3 / row.gb_per_s, sqrt_us: row.sqrt_us * sqrt(2.0) };
        Some(exchange.adapted(2, 2, calibration, device, Confidence::Measured).0)
    }

    /// To another count of GPUs and another link than those measured.
    fn adapted(
        mut self,
        measured: u32,
        gpus: u32,
        calibration: &Calibration,
        device: &Device,
        mut confidence: Confidence,
    ) -> (Collective, Confidence) {
        if measured != gpus {
            let ring = |n: u32| 2.0 * f64::from(n - 1) / f64::from(n);
            self.us_per_byte *= ring(gpus) / ring(measured);
            self.latency_us *= log2(f64::from(gpus)) / log2(f64::from(measured));
            confidence = confidence.max(Confidence::Borrowed);
        }
        let link = device.interconnect.bytes_per_s / calibration.reference.link_bytes_per_s;
        if (link - 1.0).abs() > 0.02 {
            self.us_per_byte /= link;
            self.sqrt_us /= link;
            self.latency_us = self.latency_us.max(device.interconnect.latency_us);
            confidence = confidence.max(Confidence::Borrowed);
        }
        (self, confidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::builtin;
    use crate::cost::network::Adapters;

    fn adapters(gpus_per_node: u32, gbps: f64) -> Adapters {
        Adapters {
            gpus_per_node,
            per_node: gpus_per_node,
            bytes_per_s: gbps * 1e9 / 8.0,
            leaf_us: 3.0,
            spine_us: 1.0,
            nodes_per_leaf: 32,
            oversubscription: 1.0,
        }
    }

    fn over(operation: NcclOperation, device: &str, gpus: u32, network: &Network) -> Collective {
        let device = builtin().device(device).unwrap();
        let (calibration, _) = builtin().calibration_of(device).unwrap();
        Collective::nccl(operation, calibration, gpus, device, network).unwrap().0
    }

    /// NCCL's own constants for eight H100: all-reduce 15.3 us and 288 GB/s, all-gather 10.4 and 422, all-to-all 7.97 and 390.
    #[test]
    fn two_nodes_add_two_passes_and_the_shards_bytes() {
        let network = Network::new(&adapters(8, 400.0), 16);
        let rate = 0.85 * 50e9;
        for (operation, latency, gb_per_s, bytes, passes) in [
            (NcclOperation::AllReduce, 15.3, 288.0, 2.0 * 0.5 / 8.0, 2.0),
            (NcclOperation::AllGather, 10.4, 422.0, 0.5 / 8.0, 1.0),
            (NcclOperation::AllToAll, 7.97, 390.0, 0.5, 1.0),
        ] {
            let found = over(operation, "H100-SXM", 16, &network);
            assert!((found.latency_us - latency - passes * 15.5).abs() < 1e-9, "{operation:?}: {found:?}");
            let (within, between) = (1e-3 / gb_per_s, bytes * 1e6 / rate);
            let cubes = within * within * within + between * between * between;
            assert!((found.us_per_byte * found.us_per_byte * found.us_per_byte / cubes - 1.0).abs() < 1e-9, "{operation:?}: {found:?}");
        }
        // Four nodes: two hops a pass, and three quarters of each shard leave.
        let four = over(NcclOperation::AllReduce, "H100-SXM", 32, &Network::new(&adapters(8, 400.0), 32));
        assert!((four.latency_us - 15.3 - 2.0 * 18.5).abs() < 1e-9, "{four:?}");
    }

    /// Published runs of nccl-tests, of which only the small ones of the two largest groups gave constants. Sources: SkyPilot's documentation (CoreWeave,
    /// Together), NVIDIA/nccl issues 1244, 1357 and 1469, nccl-tests issue 150, lessizzmore/create-a3mega-ztan-fork.
    #[test]
    fn all_reduces_over_nodes_take_what_was_published() {
        const MIB: f64 = 1_048_576.0;
        for (device, gpus_per_node, nodes, gbps, bytes, measured_us, within) in [
            ("H200-SXM", 8, 2, 400.0, 512.0 * MIB, 2356.0, 0.10),
            ("H200-SXM", 8, 2, 400.0, 1024.0 * MIB, 4421.0, 0.10),
            ("H100-SXM", 8, 2, 400.0, 512.0 * MIB, 2394.0, 0.10),
            ("H100-SXM", 8, 2, 400.0, 1024.0 * MIB, 4528.0, 0.10),
            ("H100-SXM", 1, 2, 400.0, 2.0 * MIB, 103.0, 0.25),
            ("H100-SXM", 1, 2, 400.0, 8.0 * MIB, 229.0, 0.10),
            ("H100-SXM", 1, 2, 400.0, 32.0 * MIB, 810.0, 0.10),
            // Eight adapters of 200 Gbit/s, but over TCP: only its large messages compare.
            ("H100-SXM", 8, 2, 200.0, 1024.0 * MIB, 6748.0, 0.20),
            ("H100-SXM", 8, 2, 200.0, 8192.0 * MIB, 47_600.0, 0.20),
            ("H20", 8, 2, 400.0, 8.0, 46.5, 0.05),
            ("H100-SXM", 8, 16, 400.0, 8.0, 62.0, 0.05),
            ("A100-SXM-80GB", 1, 2, 200.0, 8.0, 19.9, 0.60),
        ] {
            let gpus = gpus_per_node * nodes;
            let predicted = over(NcclOperation::AllReduce, device, gpus, &Network::new(&adapters(gpus_per_node, gbps), gpus)).us(bytes);
            let error = predicted / measured_us - 1.0;
            assert!(error.abs() < within, "{gpus} {device}, {bytes} bytes: {predicted:.0} us, measured {measured_us}");
        }
    }

    /// On every device of the catalog: never faster than the adapters or than the node's own part, and never faster for more.
    #[test]
    fn bytes_between_nodes_are_never_free() {
        for device in &builtin().devices {
            let (calibration, _) = builtin().calibration_of(device).unwrap();
            for gpus_per_node in [1, 2, 4, 8].into_iter().filter(|count| *count <= device.devices_per_node) {
                for operation in [NcclOperation::AllReduce, NcclOperation::AllGather, NcclOperation::ReduceScatter, NcclOperation::AllToAll]
                {
                    let us = |nodes: u32, gbps: f64, bytes: f64| {
                        let gpus = gpus_per_node * nodes;
                        let network = Network::new(&adapters(gpus_per_node, gbps), gpus);
                        Collective::nccl(operation, calibration, gpus, device, &network).unwrap().0.us(bytes)
                    };
                    for bytes in [0.0, 8.0, 4e3, 1e5, 1e6, 3e7, 1e9] {
                        let mut before = us(1, 400.0, bytes);
                        for nodes in [2, 3, 4, 8, 32] {
                            let now = us(nodes, 400.0, bytes);
                            let out = if operation == NcclOperation::AllToAll { 1.0 } else { f64::from(gpus_per_node).recip() };
                            let floor = out * (1.0 - 1.0 / f64::from(nodes)) * bytes / 50e9 * 1e6;
                            let what = format!("{} {gpus_per_node} x {nodes} {operation:?} {bytes}", device.name);
                            assert!(now >= before && now >= floor, "{what}: {now} after {before}, at least {floor}");
                            assert!(us(nodes, 100.0, bytes) >= now && us(nodes, 400.0, bytes * 2.0 + 1.0) > now, "{what}");
                            before = now;
                        }
                    }
                }
            }
        }
    }
}
