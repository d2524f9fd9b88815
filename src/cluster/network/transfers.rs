//! KV transfers under way on a fabric: when each starts to flow, shares links with others, and ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::flows::Flows;
use super::kv_transfer::{Connector, KvShape, Piece, descriptors, pieces};
use super::topology::Fabric;
use crate::units::Time;

/// How KV goes from one group of ranks to another: the same for all groups of equal make.
#[derive(Clone, Debug, PartialEq)]
pub struct KvRoute {
    pub connector: Connector,
    pub shape: KvShape,
    pub block: u32,
    pieces: Vec<Piece>,
}

impl KvRoute {
    /// Between `prefill_tp` ranks that have KV and `decode_tp` that want it, in blocks of `block` tokens.
    pub fn new(connector: Connector, shape: KvShape, prefill_tp: u32, decode_tp: u32, block: u32) -> KvRoute {
        KvRoute { connector, shape, block, pieces: pieces(shape.heads, prefill_tp, decode_tp) }
    }

    /// Bytes that `tokens` tokens make cross the links, copies counted, efficiency not.
    pub fn bytes(&self, tokens: u64) -> u64 {
        self.pieces.iter().map(|piece| self.piece_bytes(piece, tokens, 1.0)).sum()
    }

    fn piece_bytes(&self, piece: &Piece, tokens: u64, efficiency: f64) -> u64 {
        let per_token = f64::from(piece.heads) * self.shape.head_bytes * f64::from(self.shape.layers);
        (per_token * tokens as f64 / efficiency + 0.5) as u64
    }
}

/// Transfers under way. A transfer is known by a number that its caller chooses and that no other one under way has.
pub struct Transfers {
    fabric: Fabric,
    flows: Flows,
    /// Flows that wait for their posting: when they start, in order of asking, what.
    posted: BinaryHeap<Reverse<(Time, u64, Posted)>>,
    asked: u64,
    /// Flows of each transfer that have not ended.
    open: Vec<u32>,
    ended: Vec<u32>,
}

/// A flow to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Posted {
    transfer: u32,
    bytes: u64,
    from: u32,
    to: u32,
}

impl Transfers {
    pub fn new(fabric: Fabric) -> Transfers {
        let flows = Flows::new(fabric.capacities());
        Transfers { fabric, flows, posted: BinaryHeap::new(), asked: 0, open: Vec::new(), ended: Vec::new() }
    }

    /// A transfer of `tokens` tokens starts at `at`, from the ranks at GPU `from` and after to those at `to` and after.
    pub fn start(&mut self, at: Time, transfer: u32, route: &KvRoute, tokens: u64, from: u32, to: u32) {
        let connector = &route.connector;
        let posts = descriptors(connector, &route.shape, &route.pieces, tokens, route.block);
        if self.open.len() <= transfer as usize {
            self.open.resize(transfer as usize + 1, 0);
        }
        self.open[transfer as usize] = route.pieces.len() as u32;
        for piece in &route.pieces {
            let (from, to) = (from + piece.from, to + piece.to);
            let path = self.fabric.path(from, to);
            let (efficiency, post) = if path.by_network {
                (connector.network_efficiency, connector.network_post)
            } else {
                (connector.node_efficiency, connector.node_post)
            };
            let delay = connector.latency + path.latency + Time(post.0.saturating_mul(posts));
            let bytes = route.piece_bytes(piece, tokens, efficiency);
            self.asked += 1;
            self.posted.push(Reverse((at + delay, self.asked, Posted { transfer, bytes, from, to })));
        }
    }

    /// When something happens next here.
    pub fn next(&self) -> Time {
        self.posted.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at).min(self.flows.next_end())
    }

    /// Does what happens at `at`, which is [`Transfers::next`]; the transfers that end then are appended to `done`.
    pub fn process(&mut self, at: Time, done: &mut Vec<u32>) {
        self.flows.end_by(at, &mut self.ended);
        while let Some(&Reverse((start, _, posted))) = self.posted.peek()
            && start <= at
        {
            self.posted.pop();
            let path = self.fabric.path(posted.from, posted.to);
            self.flows.start(at, posted.transfer, posted.bytes, &path.links);
        }
        for transfer in self.ended.drain(..) {
            let open = &mut self.open[transfer as usize];
            *open = open.saturating_sub(1);
            if *open == 0 {
                done.push(transfer);
            }
        }
    }

    /// Gives a transfer up at `at`.
    pub fn stop(&mut self, at: Time, transfer: u32) {
        self.flows.stop(at, transfer);
        self.posted.retain(|Reverse((_, _, posted))| posted.transfer != transfer);
        if let Some(open) = self.open.get_mut(transfer as usize) {
            *open = 0;
        }
    }

    /// The links and what they carry.
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }
}
