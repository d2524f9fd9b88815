//! What happens between replicas: which of them serves a request, whose turn it is, how many there are, what breaks. Knows engines only
//! by what they tell.

pub mod admission;
pub mod faults;
pub mod network;
pub mod planner;
pub mod retries;
pub mod router;
pub mod tournament;

pub use router::{Fleet, Router, RouterSpec};
pub use tournament::Tournament;
