//! Why the next request in the queue was not admitted to a step: the rule that stopped it, with what it asked for and what was
//! there. Policies say it with [`Core::hold_back`](super::Core::hold_back); counters and the step inspector tell it on.

/// A rule that keeps the head of the queue waiting. Units of `needed` and `available` are given with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HoldRule {
    /// The step's token budget is used up. Tokens.
    Budget,
    /// The prompt may not be cut and what is left of the budget is too small for it. Tokens.
    WholePrompt,
    /// As many requests run, or are in the batch of prompts, as may. Seats.
    Seats,
    /// The KV pool cannot hold what admission asks for. Blocks (or tokens, where the engine counts tokens).
    KvBlocks,
    /// Admission failed before and is not tried again until a request ends. No numbers.
    Latch,
    /// A running request computes the same prefix: waiting for it saves computing it twice. No numbers.
    Deferral,
    /// Prefill is allowed only every so many steps. Steps.
    Interval,
    /// A running request lost its KV in this very step; nobody is admitted in such a step. No numbers.
    Preemption,
    /// Another prompt is being computed in pieces, and it takes the step. Tokens.
    ChunkUnderWay,
    /// Every place for LoRA adapters is taken by others in this step. Places.
    AdapterSlots,
    /// Its KV is on its way from a lower tier. Microseconds still to wait.
    KvLoad,
    /// Requests that were swapped out to host memory come first. Requests.
    Swapped,
    /// It waits for prompts on other attention ranks, to be computed together with them. No numbers.
    Ranks,
    /// Prompts wait for a share of the last batch of prompts' time. Microseconds.
    Delay,
}

impl HoldRule {
    /// All of them, in the order of their numbers.
    pub const ALL: [HoldRule; 14] = [
        HoldRule::Budget,
        HoldRule::WholePrompt,
        HoldRule::Seats,
        HoldRule::KvBlocks,
        HoldRule::Latch,
        HoldRule::Deferral,
        HoldRule::Interval,
        HoldRule::Preemption,
        HoldRule::ChunkUnderWay,
        HoldRule::AdapterSlots,
        HoldRule::KvLoad,
        HoldRule::Swapped,
        HoldRule::Ranks,
        HoldRule::Delay,
    ];

    /// The word used in results.
    pub fn word(self) -> &'static str {
        match self {
            HoldRule::Budget => "budget",
            HoldRule::WholePrompt => "whole_prompt",
            HoldRule::Seats => "seats",
            HoldRule::KvBlocks => "kv_blocks",
            HoldRule::Latch => "latch",
            HoldRule::Deferral => "deferral",
            HoldRule::Interval => "interval",
            HoldRule::Preemption => "preemption",
            HoldRule::ChunkUnderWay => "chunk_under_way",
            HoldRule::AdapterSlots => "adapter_slots",
            HoldRule::KvLoad => "kv_load",
            HoldRule::Swapped => "swapped",
            HoldRule::Ranks => "ranks",
            HoldRule::Delay => "delay",
        }
    }

    /// What it means, as the end of "was held back because …".
    pub fn because(self) -> &'static str {
        match self {
            HoldRule::Budget => "the token budget of the step was used up",
            HoldRule::WholePrompt => "its prompt may not be cut and does not fit into what was left of the step's budget",
            HoldRule::Seats => "as many requests were running, or in the batch of prompts, as may",
            HoldRule::KvBlocks => "the KV pool had too little room for it",
            HoldRule::Latch => "admission had failed before and is tried again only when a request ends",
            HoldRule::Deferral => "a running request was computing the same prefix",
            HoldRule::Interval => "prefill is allowed only every so many steps",
            HoldRule::Preemption => "a running request had just lost its KV",
            HoldRule::ChunkUnderWay => "another prompt was being computed in pieces",
            HoldRule::AdapterSlots => "no place was free for its LoRA adapter",
            HoldRule::KvLoad => "its KV was on its way from a lower tier",
            HoldRule::Ranks => "it waited for prompts on the other attention ranks",
            HoldRule::Delay => "prompts wait for a while, so that more of them come together",
            HoldRule::Swapped => "requests swapped out to host memory come first",
        }
    }

    /// The unit of `needed` and `available`, plural; empty where there are no numbers.
    pub fn unit(self) -> &'static str {
        match self {
            HoldRule::Budget | HoldRule::WholePrompt | HoldRule::ChunkUnderWay => "tokens",
            HoldRule::Seats => "seats",
            HoldRule::KvBlocks => "blocks",
            HoldRule::Interval => "steps",
            HoldRule::AdapterSlots => "places",
            HoldRule::KvLoad | HoldRule::Delay => "µs",
            HoldRule::Swapped => "requests",
            HoldRule::Latch | HoldRule::Deferral | HoldRule::Preemption | HoldRule::Ranks => "",
        }
    }
}

/// The head of the queue and what stopped it in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// Id of the request.
    pub request: u32,
    pub rule: HoldRule,
    /// What admission asked for, in the rule's unit; 0 where it has none.
    pub needed: u64,
    /// What was there.
    pub available: u64,
}
