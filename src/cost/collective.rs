//! Collectives between the GPUs of a node.
//!
//! `t = latency + bytes/rate + c * sqrt(megabytes)`, constants by GPU count. A count that was not measured takes the nearest smaller
//! one's, with the rate of a ring (2(n-1)/n of the payload over the link) and the latency of a tree (log2 n).

use crate::catalog::calibration::{AllReduceConstants, Calibration, LaunchMode, NcclConstants, NcclOperation, pick};
use crate::catalog::{Confidence, Device, Engine};
use crate::math::{log2, sqrt};

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

    /// The engine's all-reduce among `gpus`, with the confidence of its constants.
    pub fn all_reduce(
        calibration: &Calibration,
        engine: Engine,
        mode: LaunchMode,
        gpus: u32,
        device: &Device,
    ) -> Option<(Collective, Confidence)> {
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
    pub fn all_gather(calibration: &Calibration, gpus: u32, device: &Device) -> Option<(Collective, Confidence)> {
        Collective::nccl(NcclOperation::AllGather, calibration, gpus, device)
    }

    /// A collective of NCCL's among `gpus`.
    pub fn nccl(operation: NcclOperation, calibration: &Calibration, gpus: u32, device: &Device) -> Option<(Collective, Confidence)> {
        let fits = |count: u32| move |row: &&NcclConstants| row.operation == operation && row.gpus == count;
        let (row, measured) = [8, 4, 2]
            .into_iter()
            .filter(|count| *count <= gpus)
            .find_map(|count| calibration.nccl.iter().find(fits(count)).map(|row| (row, count)))?;
        let base = Collective { latency_us: row.latency_us, us_per_byte: 1e-3 / row.gb_per_s, sqrt_us: row.sqrt_us };
        Some(base.adapted(measured, gpus, calibration, device, Confidence::Measured))
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
