//! From what happened to what it means: records, histograms, time series, and the summary.
//! Sees the simulation only through what it is told; decides nothing.

mod by_replica;
mod counters;
mod definitions;
mod economics;
mod encodes;
mod fleet_log;
mod handovers;
mod histogram;
mod lora;
mod operations;
mod ramp;
mod recorder;
mod result;
mod run_info;
mod statistics;
mod step_log;
mod summary;
mod tally;
mod tiers;
mod timeline;
mod waits;

pub use by_replica::ByReplica;
pub use counters::Counters;
pub use definitions::{Column, Definition, columns, definition, definitions};
pub use encodes::{EncodePool, Encoded, EncoderPower};
pub use fleet_log::{FleetEvent, FleetEventKind, FleetLog, FleetSize, TenantLog};
pub use handovers::{Handover, Handovers};
pub use histogram::Histogram;
pub use recorder::Recorder;
pub use result::{NEVER_PS, NO_SESSION, REJECT_REASONS, Requests, RunResult, Series, Status};
pub use run_info::{MemoryBudget, ReplicaInfo, RunEconomics, RunInfo, Work};
pub use statistics::{PERCENTILES, percentile_name, quantiles};
pub use step_log::{LoggedSteps, StepLog};
pub use summary::{RequestTimes, prefix_cache_event, summary};
pub use tiers::occupancy;
pub use timeline::MOST_BINS;
pub use waits::Waits;
