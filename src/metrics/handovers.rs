//! What was moved between pools: one record a request that was prefilled by one engine and decoded by another. Empty in other runs.

use crate::object::object;
use serde_json::Value;

use super::result::{NEVER_PS, RunResult};
use super::statistics::{PERCENTILES, describe};

/// A request's way from one pool to the other. Instants in ps, [`NEVER_PS`] where it did not come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    pub request: u32,
    /// Replica that decoded it.
    pub decode_replica: u16,
    /// Asked for memory in the decode pool, and got it.
    pub offered_ps: u64,
    pub granted_ps: u64,
    /// Its prompt was computed.
    pub prefilled_ps: u64,
    /// Its first KV was sent, its last arrived.
    pub sent_ps: u64,
    pub arrived_ps: u64,
    /// It got a seat among the decoding ones.
    pub seated_ps: u64,
    /// KV moved, copies for several GPUs counted.
    pub bytes: u64,
}

impl Default for Handover {
    fn default() -> Handover {
        Handover {
            request: 0,
            decode_replica: 0,
            offered_ps: NEVER_PS,
            granted_ps: NEVER_PS,
            prefilled_ps: NEVER_PS,
            sent_ps: NEVER_PS,
            arrived_ps: NEVER_PS,
            seated_ps: NEVER_PS,
            bytes: 0,
        }
    }
}

impl Handover {
    fn span_ms(from: u64, to: u64) -> Option<f64> {
        (from != NEVER_PS && to != NEVER_PS).then(|| to.saturating_sub(from) as f64 / 1e9)
    }

    /// Wait for memory in the decode pool.
    pub fn memory_wait_ms(&self) -> Option<f64> {
        Handover::span_ms(self.offered_ps, self.granted_ps)
    }

    /// From the first KV sent to the last that arrived.
    pub fn transfer_ms(&self) -> Option<f64> {
        Handover::span_ms(self.sent_ps, self.arrived_ps)
    }

    /// The part of the transfer during which nothing else happened to the request: after its prompt was computed and memory was there.
    pub fn exposed_ms(&self) -> Option<f64> {
        let ready = self.prefilled_ps.max(self.granted_ps);
        Handover::span_ms(ready, self.arrived_ps)
    }

    /// Wait for a seat.
    pub fn seat_wait_ms(&self) -> Option<f64> {
        Handover::span_ms(self.arrived_ps, self.seated_ps)
    }
}

/// Handovers of a run, in the order in which they ended, and how busy the network was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handovers {
    pub records: Vec<Handover>,
    /// Bytes that the busiest link carried, and its rate, bytes/s.
    pub busiest_link: Option<(u64, u64)>,
    /// KV that was kept for so long that it was freed before anybody fetched it: how often.
    pub leases_ended: u64,
}

impl Handovers {
    /// The record of a request; the last one of a request that was tried again.
    pub fn of(&self, request: u32) -> Option<&Handover> {
        // Sorted when the run ends.
        let after = self.records.partition_point(|record| record.request <= request);
        self.records[..after].last().filter(|record| record.request == request)
    }
}

/// The section of the summary; null where nothing was handed over.
pub(super) fn section(run: &RunResult) -> Value {
    let handovers = &run.handovers;
    if handovers.busiest_link.is_none() && handovers.records.is_empty() {
        return Value::Null;
    }
    let percentiles: &[f64] = if run.info.percentiles.is_empty() { &PERCENTILES } else { &run.info.percentiles };
    let arrival = |record: &Handover| run.requests.id.binary_search(&record.request).ok().map(|row| run.requests.arrival_ps[row]);
    let counted: Vec<&Handover> =
        handovers.records.iter().filter(|record| arrival(record).is_some_and(|arrival| arrival >= run.warm_up_ps)).collect();
    let times = |of: fn(&Handover) -> Option<f64>| {
        let mut values: Vec<f64> = counted.iter().filter_map(|record| of(record)).collect();
        describe(&mut values, percentiles)
    };
    let seconds = run.end_ps as f64 / 1e12;
    let pool = |role: &str| run.info.replicas.iter().filter(|replica| replica.role == role).count();
    object!({
        "prefill_replicas": pool("prefill"),
        "decode_replicas": pool("decode"),
        "requests": counted.chunk_by(|a, b| a.request == b.request).count(),
        "bytes": counted.iter().map(|record| record.bytes).sum::<u64>(),
        "memory_wait_ms": times(Handover::memory_wait_ms),
        "transfer_ms": times(Handover::transfer_ms),
        "exposed_transfer_ms": times(Handover::exposed_ms),
        "seat_wait_ms": times(Handover::seat_wait_ms),
        "leases_ended": handovers.leases_ended,
        "busiest_link_share": handovers
            .busiest_link
            .filter(|(_, rate)| *rate > 0 && seconds > 0.0)
            .map(|(bytes, rate)| bytes as f64 / rate as f64 / seconds),
    })
}
