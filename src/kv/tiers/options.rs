//! What tiers there are and by which rules they are used, as planned; and what each has done, as told at the end.

use super::channel::Rate;
use crate::units::Time;

/// When contents go down to a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePolicy {
    /// As soon as they are in the tier above.
    Through,
    /// The same, for contents that this many prompts have had.
    Selective(u8),
    /// When the tier above evicts them. From the GPU: before the block is used again, and the step waits for it.
    Back,
}

/// How contents come up to the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBack {
    /// The step that computes the rest of the prompt waits for all of it.
    Serial,
    /// That step computes layer by layer while the next layers arrive.
    Layers(u32),
    /// The request waits outside of the batch until all of it is there.
    Fetch,
}

/// What happens to a waiting request whose chunks come up from a lower tier to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It takes what has arrived when its turn comes.
    BestEffort,
    /// It waits for all of it.
    Complete,
    /// It waits for all of it, but no longer than `base` and `per_token` for each token.
    Timeout { base: Time, per_token: Time },
}

/// Chunks begin to come up to the host when a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    pub patience: Patience,
    /// Fewest tokens worth it.
    pub least_tokens: u64,
}

/// One tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// 0 host, 1 disk, 2 remote: where it is counted.
    pub kind: usize,
    /// Chunks, at least 1.
    pub chunks: u64,
    pub read: Rate,
    pub write: Rate,
    pub policy: WritePolicy,
}

/// Tiers of a replica, the nearest first, and how they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// Tokens in a chunk: a multiple of the KV memory's blocks.
    pub chunk_tokens: u32,
    pub tiers: Vec<Tier>,
    pub load: LoadBack,
    /// What comes up leaves the tier it was in.
    pub exclusive: bool,
    /// What comes up from a lower tier stays in the ones it passes.
    pub promotes: bool,
    pub prefetch: Option<Prefetch>,
}

/// What a tier has done. Chunks and ps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierUse {
    pub kind: usize,
    pub chunk_tokens: u32,
    pub capacity: u64,
    pub held: u64,
    pub peak: u64,
    pub evicted: u64,
    pub read: u64,
    pub written: u64,
    pub read_ps: u64,
    pub write_ps: u64,
    /// What it held over time, copies on their way included.
    pub history: super::History,
}
