//! Activations on their way from one stage of a pipeline to the next.
//!
//! A token is two rows of 16 bit: the hidden state and the residual, which engines of all three kinds send apart. Each GPU of a stage sends
//! its share of the rows to its partner, which gathers the others' shares over the links of its stage.
//!
//! Within a node: the measured exchange between two GPUs, in which half of the payload crosses the link. Between nodes: latency and rate of
//! the network; the rate is what one GPU's adapter reaches.

use super::collective::Collective;
use super::network::Network;
use crate::catalog::{Catalog, Device, Interconnect, Model};
use crate::math::sqrt;

/// Time of sending a batch's activations on: `latency + per_token * tokens + per_root_token * sqrt(tokens)`, ps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transfer {
    pub latency_ps: u64,
    pub per_token_ps: u64,
    pub per_root_token_ps: u64,
}

/// What joins two stages.
#[derive(Clone, Debug, PartialEq)]
pub enum Hop {
    /// The node's own interconnect, as calibrated.
    WithinNode,
    /// A link with its own latency and rate.
    Link(Interconnect),
}

/// Picoseconds in a microsecond.
const US: f64 = 1e6;

impl Transfer {
    /// Time for so many tokens, ps.
    pub fn ps(&self, tokens: u64) -> u64 {
        let root = if self.per_root_token_ps == 0 { 0 } else { (sqrt(tokens as f64) * self.per_root_token_ps as f64) as u64 };
        self.latency_ps.saturating_add(self.per_token_ps.saturating_mul(tokens)).saturating_add(root)
    }

    /// Between two stages of `tp` GPUs each.
    pub fn between(catalog: &Catalog, device: &Device, model: &Model, tp: u32, hop: &Hop, network: &Network) -> Transfer {
        let token_bytes = 2.0 * 2.0 * f64::from(model.hidden_size);
        let share = token_bytes / f64::from(tp.max(1));
        let calibration = catalog.calibration_of(device).map(|(calibration, _)| calibration);
        let exchange = calibration.and_then(|calibration| Collective::point_to_point(calibration, device));
        let of_link = |link: &Interconnect| Collective { latency_us: link.latency_us, us_per_byte: US / link.bytes_per_s, sqrt_us: 0.0 };
        let sent = match (hop, exchange) {
            (Hop::Link(link), _) => of_link(link),
            (Hop::WithinNode, Some(measured)) => measured,
            (Hop::WithinNode, None) => of_link(&device.interconnect),
        };
        let gathered = match calibration {
            Some(calibration) if tp > 1 => {
                Collective::all_gather(calibration, tp, device, network).map(|(found, _)| found).unwrap_or_default()
            }
            _ => Collective::default(),
        };
        let ps = |us: f64| (us * US + 0.5) as u64;
        Transfer {
            latency_ps: ps(sent.latency_us + gathered.latency_us),
            per_token_ps: ps(sent.us_per_byte * share + gathered.us_per_byte * token_bytes),
            per_root_token_ps: ps(sent.sqrt_us * sqrt(share * 1e-6) + gathered.sqrt_us * sqrt(token_bytes * 1e-6)),
        }
    }
}
