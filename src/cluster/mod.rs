//! What happens between replicas: which of them serves a request, how many there are, what breaks. Knows engines only by their load.

pub mod admission;
pub mod faults;
pub mod network;
pub mod planner;
pub mod retries;
pub mod router;

pub use router::Router;
