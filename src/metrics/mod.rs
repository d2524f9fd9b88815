//! From what happened to what it means: records, histograms, time series, and the summary.
//! Sees the simulation only through what it is told; decides nothing.

pub mod result;

pub use result::{Requests, RunResult, Series, Status};
