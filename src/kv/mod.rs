//! KV memory of one replica: fixed-size blocks, and which of them hold contents that can be found again.
//! Knows nothing of steps or policies.

pub mod block_tree;
pub mod cache;
pub mod events;
mod free_queue;
pub mod hash_chain;
mod holding;
mod pool;
pub mod radix;
mod stride;
pub mod tiers;

pub use block_tree::{BlockTree, Reuse};
pub use cache::{Below, Evicted, Held, Hit, KvCache};
pub use events::{KvEvent, KvLog, KvView};
pub use hash_chain::HashChain;
pub use radix::{Eviction, RadixCache};
pub use stride::Stride;
pub use tiers::{LoadBack, Tier, TierUse, Tiered, Tiers, WritePolicy};
