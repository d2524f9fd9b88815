//! One serving replica: the step loop, the fast path, and the scheduling policies.
//! Knows nothing of where requests come from, what becomes of them, or other replicas.

pub mod bunches;
mod company;
pub mod core;
pub mod decodes;
mod delayer;
mod encoder;
pub mod handover;
mod hang_ups;
pub mod held;
pub mod job;
mod lanes;
pub mod ledger;
pub mod lockstep;
pub mod lora;
pub mod observer;
pub mod pipeline;
pub mod policies;
pub mod policy;
pub mod probe;
pub mod replica;
mod run;
mod samples;
pub mod speculation;
pub mod swap;
pub mod testing;
mod windows;

pub use bunches::Bunches;
pub use core::{Core, Limits};
pub use delayer::PrefillDelayer;
pub use encoder::Encoder;
pub use handover::{FirstToken, News};
pub use held::{HeldBack, HoldRule};
pub use job::JobId;
pub use lockstep::{Balance, RankRule};
pub use lora::{AdapterEviction, AdapterLoad, AdapterSeats, AdapterUse, LoraSpec};
pub use observer::{Found, Observer, RejectReason, StepRun, Swapped};
pub use pipeline::Pipeline;
pub use policy::{Policy, PolicySpec, Steadiness};
pub use probe::{Doing, Member, Probe, Snapshot, Waiting};
pub use replica::{Backlog, FULL_SPEED, Pace, Replica, UnderWay};
pub use speculation::Speculation;
pub use swap::SwapSpec;
