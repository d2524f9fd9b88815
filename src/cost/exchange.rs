//! Tokens on their way to the experts and back, when attention ranks share experts: once before and once after each layer of experts.
//!
//! Without all-to-all every GPU gets every rank's rows (all-gather) and gives back sums (reduce-scatter). With it (DeepEP) a row goes in
//! 8 bit to each GPU that holds one of its experts, at most k, and comes back in 16 bit. By NCCL's measured constants, and over nodes as
//! its collectives go there.

use super::collective::Collective;
use super::part::Part;
use crate::catalog::calibration::{Calibration, NcclOperation};
use crate::catalog::{Device, Model};

/// Dispatch and combine of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    out: Collective,
    back: Collective,
    /// Payload bytes for each row of the group, there and back, as the collectives count them.
    out_bytes: f64,
    back_bytes: f64,
}

impl Exchange {
    /// Among the `tp * part.ranks` GPUs of a group; none where a collective has no constants.
    pub fn new(calibration: &Calibration, device: &Device, model: &Model, part: &Part, tp: u32) -> Option<Exchange> {
        let gpus = tp * part.ranks;
        let of = |operation| Collective::nccl(operation, calibration, gpus, device, &part.network).map(|(found, _)| found);
        let hidden = f64::from(model.hidden_size);
        let k = model.moe.map_or(1.0, |moe| f64::from(moe.experts_per_token));
        if part.all_to_all {
            let collective = of(NcclOperation::AllToAll)?;
            // Of each GPU: its share of the rows, to as many GPUs as hold their experts.
            let copies = k.min(f64::from(part.ep.max(1))) / f64::from(gpus);
            return Some(Exchange { out: collective, back: collective, out_bytes: copies * hidden, back_bytes: 2.0 * copies * hidden });
        }
        let bytes = 2.0 * hidden;
        Some(Exchange { out: of(NcclOperation::AllGather)?, back: of(NcclOperation::ReduceScatter)?, out_bytes: bytes, back_bytes: bytes })
    }

    /// Time for so many rows of the whole group, us.
    pub fn us(&self, rows: f64) -> f64 {
        self.out.us(self.out_bytes * rows) + self.back.us(self.back_bytes * rows)
    }
}
