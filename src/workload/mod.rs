//! Which requests arrive when: arrivals, lengths, conversations, shared prefixes, traces.
//! Knows nothing of engines; hears only when a request has ended, since a next turn waits for the reply.

pub mod adapters;
mod generate;
mod prefix;
mod profile;
mod replay;
pub mod request;
mod rhythm;
pub mod sampler;
pub mod source;
mod starts;
mod terms;
pub mod trace;

pub use adapters::{Adapter, adapters};
pub use request::{Images, Request, Segment, SegmentId, Source};
pub use sampler::Sampler;
pub use source::{SourceSpec, Upload, source};
pub use trace::Trace;
