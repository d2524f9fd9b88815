//! The cost model as the engine sees it.

/// A piece of a prompt computed in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefill {
    /// Tokens computed in this step.
    pub new_tokens: u32,
    /// Tokens before them whose KV is already there.
    pub past_tokens: u32,
    /// This piece completes the prompt, so its last token is sampled.
    pub completes: bool,
}

/// Where a step's time goes, ps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepParts {
    /// Matrix products: weights against all tokens of the step.
    pub gemm_ps: u64,
    /// Attention, prefill and decode.
    pub attention_ps: u64,
    /// Collectives between GPUs.
    pub communication_ps: u64,
    /// Norms, activations, embedding, sampling.
    pub other_ps: u64,
    /// Host time that the device waits for (all of it when the engine blocks; what exceeds the device's time when it overlaps).
    pub host_ps: u64,
}

/// Cost of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCost {
    /// Time on the device, ps, at least 1: the sum of the device parts.
    pub device_ps: u64,
    /// Time on the host for scheduling this step and reading its tokens, ps.
    pub host_ps: u64,
    /// Time on the host for launching the step's kernels one by one, ps, beside the device's own work; 0 when a CUDA graph is replayed.
    pub launch_ps: u64,
    /// Device parts (`host_ps` of the parts is left 0 here).
    pub parts: StepParts,
    /// Rows that CUDA-graph padding adds to the batch.
    pub padded_tokens: u32,
    /// Launched kernel by kernel from the host, not replayed from a CUDA graph.
    pub eager: bool,
}

/// Cost of decode-only steps with a fixed number of sequences, affine in the sum of their contexts by construction:
/// `device_ps = fixed.device_ps + context_ps * S`, every number an integer, so k steps cost exactly what k single steps cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeCost {
    /// The part that does not depend on the context.
    pub fixed: StepCost,
    /// Attention time for each token of context, summed over the batch, ps.
    pub context_ps: u64,
    /// The cost holds while the sum of contexts is below this; `u64::MAX` when it holds for every context.
    /// (The slow term in log2 of the mean context is held constant between grid lines.)
    pub valid_below_context: u64,
}

/// So many thousandths of a time.
fn thousandths(ps: u64, of: u32) -> u64 {
    (u128::from(ps) * u128::from(of) / 1000) as u64
}

impl StepCost {
    /// The same, after images have been encoded on the device for so long, ps.
    #[must_use]
    pub fn with_encoding(mut self, encoding_ps: u64) -> StepCost {
        self.device_ps += encoding_ps;
        self.parts.other_ps += encoding_ps;
        self
    }

    /// The same work on GPUs that take so many thousandths of the time; host time stays.
    #[must_use]
    pub fn slowed(mut self, of: u32) -> StepCost {
        if of == 1000 {
            return self;
        }
        let parts = &mut self.parts;
        let all = [&mut parts.gemm_ps, &mut parts.attention_ps, &mut parts.communication_ps, &mut parts.other_ps];
        self.device_ps = 0;
        for part in all {
            *part = thousandths(*part, of);
            self.device_ps += *part;
        }
        self.device_ps = self.device_ps.max(1);
        self
    }

    /// Adds the device time of `times` passes of another model; host time, padding and graphs stay those of this step.
    pub fn add_device(&mut self, pass: &StepCost, times: u32) {
        let times = u64::from(times);
        self.device_ps += times * pass.device_ps;
        self.launch_ps += times * pass.launch_ps;
        self.parts.gemm_ps += times * pass.parts.gemm_ps;
        self.parts.attention_ps += times * pass.parts.attention_ps;
        self.parts.communication_ps += times * pass.parts.communication_ps;
        self.parts.other_ps += times * pass.parts.other_ps;
    }
}

impl DecodeCost {
    /// The same work on GPUs that take so many thousandths of the time.
    #[must_use]
    pub fn slowed(self, of: u32) -> DecodeCost {
        if of == 1000 {
            return self;
        }
        DecodeCost { fixed: self.fixed.slowed(of), context_ps: thousandths(self.context_ps, of), ..self }
    }

    /// The step whose contexts add up to `context` tokens.
    pub fn at(&self, context: u64) -> StepCost {
        let mut step = self.fixed;
        let attention_ps = self.context_ps * context;
        step.device_ps += attention_ps;
        step.parts.attention_ps += attention_ps;
        step
    }
}

/// LoRA adapters of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdapterMix {
    /// Tokens of the step that an adapter serves.
    pub rows: u64,
    /// Their ranks, summed over those tokens.
    pub rank_rows: u64,
    /// Ranks of the different adapters, summed.
    pub ranks: u64,
}

/// What the attention ranks of a group compute in a step, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Sequences that decode.
    pub sequences: u64,
    /// Ranks with nothing to do, which compute what one sequence takes, for nothing.
    pub idle: u64,
}

impl Group {
    /// Rows, where each sequence has `of_each`.
    pub fn rows(&self, of_each: u64) -> u64 {
        self.prompt_tokens + (self.sequences + self.idle) * of_each
    }
}

/// Step times of one engine on its GPUs.
pub trait CostModel {
    /// A decode-only step of `sequences` (at least 1) with `context` tokens of KV in all, including the tokens being computed.
    ///
    /// Must give the same answer for every `context` between one grid line and the next, and for equal arguments always.
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost;

    /// What the ranks of a group compute in the step that is asked for next; they share their experts.
    fn of_group(&mut self, _group: Group) {}

    /// LoRA adapters of the step that is asked for next.
    fn of_adapters(&mut self, _mix: AdapterMix) {}

    /// A step with prefill (at least one piece), with or without decodes. `context` is the sum over the decodes.
    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost;
}
