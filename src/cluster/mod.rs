//! What happens between replicas: which of them serves a request. Knows engines only by their load.

pub mod network;
pub mod router;

pub use router::Router;
