//! What an engine asks of its KV memory, whatever the rule by which contents are found again and evicted.

use super::events::KvEvent;
use super::tiers::TierUse;
use crate::units::Time;
use crate::workload::Request;

/// What the prefix cache holds of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// Leading tokens in memory.
    pub tokens: u64,
    /// Blocks of those that nobody holds: holding them makes as many fewer free.
    pub free_blocks: u64,
}

/// Tokens by the tier below the GPU that they were in: host, disk, remote.
pub type Below = [u32; 3];

/// What is in memory of a prompt, tokens: leading ones on the GPU, and those that follow them by tier below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub device: u64,
    pub below: Below,
}

impl Held {
    /// Tokens in any tier.
    pub fn tokens(&self) -> u64 {
        self.device + self.below.iter().map(|&tokens| u64::from(tokens)).sum::<u64>()
    }

    /// Of the first `most` tokens.
    #[must_use]
    pub fn at_most(self, most: u64) -> Held {
        let device = self.device.min(most);
        let mut left = most - device;
        let below = self.below.map(|tokens| {
            let tokens = u64::from(tokens).min(left);
            left -= tokens;
            tokens as u32
        });
        Held { device, below }
    }
}

/// Contents that a cache has given up to take their blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// Tokens `from..to` of a segment, counted from its start. Of a block, its last token stands for all of it.
    Tokens { segment: u32, from: u32, to: u32 },
    /// So many tokens that nobody can ask for.
    Unnamed(u64),
}

/// KV memory of one replica with its prefix cache.
///
/// Whoever holds memory is an *owner*, a small number chosen by the caller and free for another once it has ended. An owner
/// with `computed` tokens in memory owns `blocks_for(computed)` blocks. Blocks for decode steps are taken for many owners at
/// once by `allocate`; the cache learns of each owner's share when it ends or is preempted.
pub trait KvCache {
    /// Tokens in a block.
    fn block_size(&self) -> u32;

    /// Blocks in all.
    fn total(&self) -> u64;

    /// Blocks that can be allocated now: those without contents and those whose contents nobody holds.
    fn free(&self) -> u64;

    /// Changes whenever an allocation or a lookup that failed before might succeed now.
    fn epoch(&self) -> u64;

    /// Takes `count` free blocks, evicting contents that nobody holds. False, and nothing taken, when there are too few.
    fn allocate(&mut self, count: u64) -> bool;

    /// A request has arrived and holds nothing yet.
    fn open(&mut self, owner: u32, request: &Request);

    /// Leading tokens of the owner's prompt (after a preemption: prompt and reply) in memory, at most `limit`.
    fn lookup(&mut self, owner: u32, limit: u64) -> Hit;

    /// Holds the first `tokens` tokens, which a lookup has just found.
    fn acquire(&mut self, owner: u32, tokens: u64);

    /// Takes the blocks that growing from `from` to `to` computed tokens needs. False, and nothing taken, when there are too few.
    fn grow(&mut self, owner: u32, from: u64, to: u64) -> bool;

    /// The request has ended with `computed` tokens in memory: lets go of everything, and what the rule keeps can be found.
    fn end(&mut self, owner: u32, computed: u64, request: &Request);

    /// The request loses its memory of `computed` tokens and stays; what the rule keeps can be found again.
    fn preempt(&mut self, owner: u32, computed: u64, request: &Request);

    /// An owner has been admitted on the condition that it may grow to `tokens`.
    fn reserve(&mut self, _owner: u32, _tokens: u64) {}

    /// Blocks that owners may still take by what was reserved for them.
    fn promised(&self) -> u64 {
        0
    }

    /// The first full block of an owner's prompt that is not in memory, as a number equal for equal contents; `None` when all are or
    /// nobody else can make it.
    fn first_new_block(&mut self, _owner: u32) -> Option<u64> {
        None
    }

    /// The nodes from the root down to where the last lookup of an owner has ended, for caches that are trees: a number for each, and among
    /// children of one node the older has the smaller.
    fn path(&self, _owner: u32) -> Vec<u64> {
        Vec::new()
    }

    /// Whether `computed`, `read` and `awaits_reading` mean anything to this cache.
    fn hears_of_steps(&self) -> bool {
        false
    }

    /// The step that computes an owner's context up to `tokens` is under way, the last one of it when `completes`: later batches find
    /// it in memory.
    fn computed(&mut self, _owner: u32, _tokens: u64, _completes: bool) {}

    /// The results of the step that completed an owner's context have been read.
    fn read(&mut self, _owner: u32) {}

    /// Whether results in flight will change what is free when they are read.
    fn awaits_reading(&self) -> bool {
        false
    }

    /// A batch is about to take `count` blocks: for caches that evict for a batch as a whole.
    fn prepare(&mut self, _count: u64) {}

    /// Contents are found in multiples of so many tokens; 0: never.
    fn granule(&self) -> u64 {
        u64::from(self.block_size())
    }

    /// Leading tokens of a prompt in memory, in full blocks, whether anybody here has opened it or not.
    fn held(&self, request: &Request) -> u64;

    /// Tokens of that prompt in tiers below the GPU, behind the `device` first ones.
    fn held_below(&self, _request: &Request, _device: u64) -> Below {
        Below::default()
    }

    /// Leading tokens are in memory that this cache has not computed: the owner has taken the blocks, and others find them from now on.
    fn loaded(&mut self, _owner: u32, _tokens: u64) {}

    /// Free blocks without contents.
    fn blank(&self) -> u64;

    /// From now on keeps what is evicted, for `take_evicted`. Before anything has been opened.
    fn keep_evicted(&mut self);

    /// Appends what was evicted since the last call.
    fn take_evicted(&mut self, _evicted: &mut Vec<Evicted>) {}

    /// Whether there are tiers below the GPU: contents may be on their way, and time matters.
    fn has_tiers(&self) -> bool {
        false
    }

    /// From now on keeps what becomes and ceases to be findable, for `take_events`. Before anything has been opened.
    fn keep_events(&mut self) {}

    /// What has happened since the last call.
    fn take_events(&mut self) -> std::vec::IntoIter<KvEvent> {
        Vec::new().into_iter()
    }

    /// It is `now`: what is asked for next happens at this instant. For caches with tiers.
    fn at(&mut self, _now: Time) {}

    /// Free blocks that can be taken without anything having to be moved out of them first.
    fn spare(&self) -> u64 {
        self.free()
    }

    /// How much longer a step lasts that would start at `start` and last `span_ps`, because contents are on their way to or from the
    /// blocks of its batch. Forgets them.
    fn delay(&mut self, _start: Time, _span_ps: u64) -> u64 {
        0
    }

    /// Where below the GPU the tokens were that the owner acquired last.
    fn below(&self, _owner: u32) -> Below {
        Below::default()
    }

    /// Whether what the last lookup found for an owner must be fetched before the owner can be admitted.
    fn fetches(&self, _owner: u32) -> bool {
        false
    }

    /// When a waiting owner may be admitted: not before contents that it waits for have arrived.
    fn ready_at(&self, _owner: u32) -> Time {
        Time::ZERO
    }

    /// The next instant after `now` at which contents that a waiting owner waits for have arrived.
    fn next_ready(&self, _now: Time) -> Time {
        Time::NEVER
    }

    /// What the tiers below have done so far.
    fn tiers(&self) -> Vec<TierUse> {
        Vec::new()
    }

    /// Blocks that requests hold.
    fn used(&self) -> u64 {
        self.total() - self.free()
    }

    /// Blocks that an owner holds beside those of its tokens.
    fn beside(&self) -> u64 {
        0
    }

    /// Blocks that an owner of `tokens` tokens holds, the last one perhaps partly full.
    fn blocks_for(&self, tokens: u64) -> u64 {
        tokens.div_ceil(u64::from(self.block_size()))
    }
}
