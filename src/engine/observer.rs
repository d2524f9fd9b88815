//! What an engine tells the outside while it runs. The engine knows nothing of who listens.

use super::held::HeldBack;
use super::ledger::Causes;
use super::lora::AdapterUse;
use crate::cost::StepParts;
use crate::kv::{Below, TierUse};
use crate::units::Time;
use crate::workload::Request;

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// Prompt plus declared output is longer than the model's context.
    TooLongForModel,
    /// The prompt needs more KV blocks than the pool has in all.
    TooLongForKvPool,
    /// The prompt is longer than the token budget of a step and may not be cut.
    TooLongForStep,
    /// The server's queue was full (HTTP 503).
    QueueFull,
    /// The queue before the replicas was full (HTTP 429).
    AdmissionQueueFull,
    /// Its tenant sent too many requests (HTTP 429).
    RateLimited,
    /// No replica was there to take it, or the router was not (HTTP 503).
    Unavailable,
    /// It was to be swapped out, and host memory had too little room (where vLLM stops altogether).
    NoSwapSpace,
}

/// `steps` consecutive steps of one replica with the same batch (one, unless they are decode-only).
///
/// Step i (from 0) lasts `first_duration_ps + i * duration_increment_ps`, and its device time is
/// `first_device_ps + i * device_increment_ps`; the sum of contexts in it is `first_context + i * decode_sequences`.
/// The tokens of a step come out at its end.
pub struct StepRun<'a> {
    pub replica: u16,
    pub start: Time,
    pub steps: u64,
    pub first_duration_ps: u64,
    pub duration_increment_ps: u64,
    pub first_device_ps: u64,
    pub device_increment_ps: u64,
    /// Device parts of the first step; in later ones only the attention part grows, by `device_increment_ps`.
    pub first_parts: StepParts,
    /// Sequences that decode in each step.
    pub decode_sequences: u32,
    /// Sum of the contexts of the decodes in the first step, tokens.
    pub first_context: u64,
    /// Tokens of prompts computed in the first step (0 when `steps > 1`).
    pub prefill_tokens: u64,
    /// Sum over the pieces of prompt computed of new * past + new * (new + 1) / 2: pairs of tokens that attention looks at.
    pub prefill_pairs: u64,
    /// Images encoded in this (single) step, and the device time that took, ps: part of `first_device_ps`.
    pub encoded_images: u32,
    pub encoding_ps: u64,
    /// Rows that CUDA-graph padding adds to the batch.
    pub padded_tokens: u32,
    /// Launched kernel by kernel from the host, not replayed from a CUDA graph.
    pub eager: bool,
    /// Part of the (single) step's duration in which it waited for KV on its way to or from the GPU.
    pub kv_wait_ps: u64,
    /// LoRA adapters: how many each of the steps has; copies, and the wait for them, of the first.
    pub adapters: AdapterUse,
    /// Decoding sequences that get no token in these steps: left out of the batch.
    pub stopped_decodes: u32,
    /// Why the head of the queue was not admitted; of several steps, that of the first, and the rule is the same in all.
    pub held_back: Option<HeldBack>,
    /// Requests whose first token comes out in this (single) step.
    pub first_tokens: u32,
    /// Sequences of this (single) step that decode for nothing: their end-of-sequence token was in flight when it was formed.
    pub wasted_sequences: u32,
    /// Tokens drafted in this (single) step by speculative decoding, and those of them that came out: part of `other_gaps_ps`, with
    /// a gap of 0.
    pub drafted_tokens: u32,
    pub accepted_tokens: u32,
    /// Tokens a step whose gap from their predecessor is exactly the step's duration.
    pub regular_gaps: u32,
    /// Tokens of this (single) step that go out in a bunch with another: they have no gap of their own.
    pub bunched_tokens: u32,
    /// Gaps of this (single) step's other tokens, ps: those of requests that paused (preempted, starved).
    pub other_gaps_ps: &'a [u64],
    /// Gaps of the tokens of sequences that steps before this (single) one passed over: a gap, ps, and how many have it.
    pub stalled_gaps: &'a [(u64, u32)],
    /// Requests in the running list while these steps run.
    pub running: u32,
    /// Requests waiting, as the scheduler saw them.
    pub waiting: u32,
    /// KV blocks in use after i of these steps have been scheduled (i from 0 to `steps`).
    pub kv_blocks_after: &'a dyn Fn(u64) -> u64,
}

/// What an admission found of a prompt, tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the prefix cache, whatever the tier.
    pub cached: u32,
    /// Of those, brought up from the tiers below the GPU.
    pub below: Below,
    /// It had been admitted before and lost its KV.
    pub again: bool,
    pub causes: Causes,
}

/// KV of a request that has been moved between GPU and host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swapped {
    pub request: u32,
    pub blocks: u64,
    /// To the host, and not back.
    pub out: bool,
}

/// Listens to engines. Replicas run ahead of one another, so calls are in order of time for each replica, not over all.
pub trait Observer {
    /// A request reached a replica.
    fn arrived(&mut self, replica: u16, request: &Request);
    /// First admission, with the prompt tokens found in the prefix cache.
    fn scheduled(&mut self, id: u32, at: Time, cached_tokens: u32);
    /// What an admission found, the first one or a later one.
    fn found(&mut self, _replica: u16, _id: u32, _at: Time, _found: &Found) {}
    /// What the first admission of a prompt of `prompt_tokens` found that shares nothing with others, told apart because it is the
    /// most frequent: nothing.
    fn found_nothing(&mut self, replica: u16, id: u32, at: Time, prompt_tokens: u32) {
        self.found(replica, id, at, &Found { causes: Causes::never_seen(prompt_tokens), ..Found::default() });
    }
    /// Lost its KV and went back to the queue.
    fn preempted(&mut self, replica: u16, id: u32, at: Time);
    /// Its KV has been moved to host memory, which is told as a preemption too, or back.
    fn swapped(&mut self, _replica: u16, _at: Time, _swapped: &Swapped) {}
    fn first_token(&mut self, id: u32, at: Time);
    /// Ended well. `prefilled_tokens` counts every prompt token computed, recomputation after preemption included.
    fn finished(&mut self, replica: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64);
    /// Its client gave it up at `at`. The tokens are those that had come out, and the prompt tokens computed, when the engine let go of it.
    fn cancelled(&mut self, replica: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64);
    fn rejected(&mut self, replica: u16, id: u32, at: Time, reason: RejectReason);
    /// Still there when the simulation ended.
    fn unfinished(&mut self, id: u32, output_tokens: u32, prefilled_tokens: u64);
    fn steps(&mut self, run: &StepRun<'_>);
    /// What the KV tiers of a replica have done, when the simulation ends.
    fn tiers(&mut self, _replica: u16, _tiers: Vec<TierUse>) {}
}
