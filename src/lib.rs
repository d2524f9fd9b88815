//! LLMPerfOracle predicts how LLM serving stacks perform: a discrete-event simulator, native and in the browser.
//!
//! # The way of a request through the house
//!
//! 1. [`config`] reads a **document** (YAML or JSON) into types and says everything that is wrong with it, with places.
//! 2. [`sim::plan()`] looks up what it names in the [`catalog`] (models, devices, constants), works out each engine's limits and
//!    memory, and refuses what it cannot honour. What is left are runs, one for each entry to compare.
//! 3. A [`workload::Source`] makes the **requests**: when each arrives, how long its prompt and reply are, what it shares.
//! 4. [`sim::Simulation`] is the clock. It hands each request to a replica that a [`cluster::Router`] chooses.
//! 5. The replica, an [`engine::Replica`], forms batches by the rules of a [`engine::Policy`]: vLLM's, for instance. KV memory
//!    comes from a [`kv::KvCache`], which also finds cached prefixes. The **step** takes the time that a
//!    [`cost::CostModel`] says. While nothing changes, many steps are taken at once, exact to the picosecond.
//! 6. What happens is told to an [`engine::Observer`]. [`metrics::Recorder`] is one: columns, histograms, time series, and the
//!    summary.
//! 7. [`report`] writes files, [`plot`] draws; the command in `src/bin` and the page in `www` are the faces.
//!
//! # Running a document
//!
//! ```
//! use llmperforacle::{config, sim};
//!
//! let read = config::read("
//! simulation: {random_seed: 1}
//! hardware_profile: {node: H100-SXM}
//! workload: {preset: chat, total_requests_to_generate: 100}
//! frameworks_to_test:
//! - {name: engine, type: VLLM, config: {model_profile_id: Llama-3.1-8B}}
//! ", "experiment.yaml");
//! let document = read.document.expect("no errors in it");
//! let plan = sim::plan(&document, &sim::NoFiles).expect("nothing in the way");
//! let mut simulation = sim::Simulation::new(&plan.runs[0]).expect("a planned run");
//! while !simulation.advance(1000).done {}
//! let result = simulation.finish();
//! assert_eq!(result.summary["requests"]["successful"], 100);
//! ```
//!
//! # Floors
//!
//! `units math rng queue` < `catalog config` < `workload cost kv` < `engine` < `cluster` < `sim` < `metrics report plot` < faces. A lower
//! floor never imports a higher one, but for the types that carry what happened upwards. Nothing here knows a browser, a clock
//! on the wall or a thread, and equal documents with equal seeds give equal bits on every target.

pub mod accuracy;
pub mod calibrate;
pub mod catalog;
pub mod cluster;
pub mod config;
pub mod cost;
pub mod engine;
pub mod from_json;
pub mod kv;
pub mod math;
pub mod metrics;
mod object;
mod order;
pub mod plot;
mod queue;
pub mod report;
pub mod rng;
pub mod sim;
pub mod units;
pub mod workload;
