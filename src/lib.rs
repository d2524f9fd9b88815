//! LLMPerfOracle predicts how LLM serving stacks perform.

pub mod catalog;
pub mod cluster;
pub mod config;
pub mod cost;
pub mod engine;
pub mod kv;
pub mod math;
pub mod metrics;
pub mod plot;
pub mod report;
pub mod rng;
pub mod sim;
pub mod units;
pub mod workload;
