//! KV memory of one replica: a pool of fixed-size blocks, and which of them hold contents that can be found again.
//! Knows nothing of steps or policies.

pub mod holding;
pub mod pool;

pub use holding::Holding;
pub use pool::BlockPool;
