//! What a scheduling policy is, and which ones there are.

use super::core::Core;
use super::job::JobId;
use super::observer::RejectReason;
use super::policies::sglang::{Sglang, SglangOptions};
use super::policies::trtllm::{Trtllm, TrtllmOptions};
use super::policies::vllm::{Vllm, VllmOptions};
use super::policies::vllm_v0::VllmV0;
use crate::units::Time;
use crate::workload::Request;

/// The rules by which one framework fills its steps.
///
/// A policy sees the queue, the running requests, the KV pool and the limits in [`Core`], and moves requests with its
/// methods; the engine does the rest (time, tokens, the end of requests, metrics). Adding a framework is one file with an
/// implementation and one line in [`PolicySpec`].
///
/// ```
/// use llmperforacle::engine::{Core, Policy, Steadiness};
///
/// /// Serves one request at a time, whole prompt first.
/// struct OneAtATime;
///
/// impl Policy for OneAtATime {
///     fn form(&mut self, core: &mut Core) -> Steadiness {
///         if core.running_len() == 0 && !core.waiting.is_empty() {
///             if let Some(job) = core.admit_front(0) {
///                 let prompt = core.jobs[job].request.input_tokens;
///                 core.schedule_prefill(job, prompt);
///             }
///             return Steadiness::OneStep;
///         }
///         core.schedule_decodes();
///         // Nothing that this policy looks at changes until the sequence ends.
///         Steadiness::UntilEvent
///     }
/// }
///
/// let mut lab = llmperforacle::engine::testing::Lab::new(Box::new(OneAtATime), 1000);
/// lab.arrive(0.0, 100, 3); // at 0 ms: 100 tokens in, 3 out; prefill takes 10 ms, a decode step 1 ms
/// lab.arrive(0.0, 50, 2);
/// assert_eq!(lab.run(), [(10.0, 12.0), (22.0, 23.0)]); // first and last token, ms
/// ```
pub trait Policy {
    /// Fills `core.batch` for the next step. Must be deterministic, and must schedule something whenever something runs.
    fn form(&mut self, core: &mut Core) -> Steadiness;

    /// Whether a request that has just arrived, and would fit, is turned away.
    fn refuses(&self, _core: &Core, _request: &Request) -> Option<RejectReason> {
        None
    }

    /// A request that its client has given up leaves the engine; for policies that remember requests of their own accord.
    fn forget(&mut self, _id: JobId) {}

    /// For engines that wait before they form a batch: how long at most, and how many new requests are enough.
    fn awaits_company(&self, _core: &Core) -> Option<(Time, u32)> {
        None
    }

    /// Whether it would begin a prompt in the batch being formed, memory aside.
    fn wants_prompts(&self, core: &Core) -> bool {
        !core.waiting.is_empty() && core.running_len() < core.limits.max_num_seqs
    }

    /// Whether memory may be taken for a request whose KV comes from another replica, which needs `blocks` for it. By default what
    /// admission keeps free is kept free.
    fn has_room_for(&self, core: &Core, _id: JobId, blocks: u64) -> bool {
        let watermark = if core.running_len() > 0 { core.limits.watermark_blocks } else { 0 };
        blocks + watermark <= core.pool.free()
    }

    /// Tokens up to which such a request may then grow for certain, where the engine promises that.
    fn reserves(&self, _core: &Core, _id: JobId) -> Option<u64> {
        None
    }

    /// Decode steps that a batch without prompts is formed for at once: its tokens come out when all are done.
    fn steps_together(&self) -> u32 {
        1
    }

    /// Whether a request with several replies first has its prompt computed, and the replies are asked for when that is done; else all are
    /// asked for on its arrival.
    fn computes_prompt_before_replies(&self) -> bool {
        false
    }

    /// Why this request can never be served, if so.
    fn unfit(&self, core: &Core, request: &Request) -> Option<RejectReason> {
        core.unfit(request)
    }
}

/// What a policy says about the steps after the one it has just formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steadiness {
    /// Ask again for the next step.
    OneStep,
    /// Until a request arrives, ends or lacks a block, every further step would be the same decode-only batch.
    UntilEvent,
}

/// A policy with its options: the registry. One line and one variant for each engine.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicySpec {
    Sglang(SglangOptions),
    Trtllm(TrtllmOptions),
    Vllm(VllmOptions),
}

impl PolicySpec {
    /// A policy that has not seen a request yet.
    pub fn build(&self) -> Box<dyn Policy> {
        match self {
            PolicySpec::Sglang(options) => Box::new(Sglang::new(options.clone())),
            PolicySpec::Trtllm(options) => Box::new(Trtllm::new(options.clone())),
            PolicySpec::Vllm(options) if options.prompts_first => Box::new(VllmV0::new(options.clone())),
            PolicySpec::Vllm(options) => Box::new(Vllm::new(options.clone())),
        }
    }
}
