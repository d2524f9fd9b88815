//! Which requests arrive when: arrivals, lengths, conversations, shared prefixes, traces.
//! Knows nothing of engines; hears only when a request has ended, since a next turn waits for the reply.

pub mod request;
pub mod sampler;

pub use request::{Request, Segment, SegmentId, Source};
pub use sampler::Sampler;
