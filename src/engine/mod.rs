//! One serving replica: the step loop, the fast path, and the scheduling policies.

pub mod observer;

pub use observer::{Observer, RejectReason, StepRun};
