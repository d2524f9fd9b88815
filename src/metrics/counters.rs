//! Sums over the steps of one replica. Integers only, so the order of adding does not matter.

use super::ramp::{narrow, pairs, sum_of_ramp};
use super::waits::Waits;
use crate::engine::ledger::{HIT_CAUSES, MISS_CAUSES};
use crate::engine::{AdapterUse, Found, StepRun, Swapped};
use crate::math::{product, times};

/// What one replica did after the warm-up: steps that *end* after it, counted whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub steps: u64,
    /// Steps that computed no prompt tokens.
    pub decode_only_steps: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// Prompt tokens computed, recomputation included.
    pub prefill_tokens: u64,
    /// Images that the engine encoded, and the time that took, ps.
    pub images: u64,
    pub encoding_ps: u64,
    /// Sequences that decoded, summed over steps.
    pub decode_tokens: u64,
    /// Rows that CUDA-graph padding added, summed over steps.
    pub padded_tokens: u64,
    /// Sequences that decoded past their end, summed over steps: part of `decode_tokens`, and no token came out.
    pub wasted_tokens: u64,
    /// Tokens that speculative decoding drafted, and those accepted: part of `output_tokens`.
    pub drafted_tokens: u64,
    pub accepted_tokens: u64,
    /// Contexts of the decodes, summed over sequences and steps: pairs of tokens that decode attention looked at.
    pub context_tokens: u128,
    /// Pairs of tokens that prefill attention looked at.
    pub prefill_pairs: u128,
    /// Durations of all steps, ps.
    pub step_ps: u64,
    /// Time on the device, ps: the four parts below.
    pub device_ps: u64,
    pub gemm_ps: u64,
    pub attention_ps: u64,
    pub communication_ps: u64,
    pub other_ps: u64,
    /// Sequences in the running list times duration, ps.
    pub running_ps: u128,
    /// Energy above idle, fJ.
    pub energy_fj: u128,
    /// How long the first of these steps had been under way when the warm-up ended, ps.
    pub before_window_ps: u64,
    /// Preemptions after the warm-up.
    pub preemptions: u64,
    /// Most KV blocks ever in use, warm-up included.
    pub kv_blocks_peak: u64,
    pub waits: Waits,
    /// What admissions found, of requests that arrived after the warm-up.
    pub found: FoundTokens,
    /// Time that steps waited for KV on its way to or from the GPU, ps: part of `step_ps`.
    pub kv_wait_ps: u64,
    pub adapters: AdapterCounters,
    pub swap: SwapCounters,
}

/// Requests swapped out to host memory and back, and the blocks of both, after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwapCounters {
    pub out: u64,
    pub back: u64,
    pub blocks_out: u64,
    pub blocks_back: u64,
}

impl SwapCounters {
    pub(super) fn add(&mut self, swapped: &Swapped) {
        let (requests, blocks) = if swapped.out { (&mut self.out, &mut self.blocks_out) } else { (&mut self.back, &mut self.blocks_back) };
        *requests += 1;
        *blocks += swapped.blocks;
    }
}

/// LoRA adapters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterCounters {
    /// Copies to the GPU, reads from storage, and adapters that left the GPU for others.
    pub loads: u64,
    pub reads: u64,
    pub evictions: u64,
    /// Admissions of requests with an adapter, and those whose adapter was on the GPU.
    pub admitted: u64,
    pub found: u64,
    /// Time that steps waited for adapters, ps: part of `step_ps`.
    pub wait_ps: u64,
    /// Different adapters in the batch, times duration, ps.
    pub batch_ps: u128,
}

impl AdapterCounters {
    fn add(&mut self, used: &AdapterUse, skipped: u64, step_ps: u64) {
        if used.is_nothing() {
            return;
        }
        self.batch_ps += u128::from(used.adapters) * u128::from(step_ps);
        // What happened, happened in the first step.
        if skipped == 0 {
            self.loads += u64::from(used.loads);
            self.reads += u64::from(used.reads);
            self.evictions += u64::from(used.evictions);
            self.admitted += u64::from(used.admitted);
            self.found += u64::from(used.found);
            self.wait_ps += used.wait_ps;
        }
    }

    /// As of `Counters`; without adapters there is nothing.
    fn words(&self) -> impl Iterator<Item = u64> {
        let wide = [self.batch_ps as u64, (self.batch_ps >> 64) as u64];
        let words = [self.loads, self.reads, self.evictions, self.admitted, self.found, self.wait_ps];
        words.into_iter().chain(wide).filter(|&word| word > 0)
    }
}

/// Tokens of prompts found at admission, and not found, later admissions included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTokens {
    /// GPU, host, disk, remote.
    pub by_tier: [u64; 4],
    /// [`HIT_CAUSES`], which add up to the same.
    pub hits: [u64; HIT_CAUSES.len()],
    /// [`MISS_CAUSES`], of first admissions.
    pub misses: [u64; MISS_CAUSES.len()],
}

impl FoundTokens {
    pub(super) fn add(&mut self, found: &Found) {
        let below: u32 = found.below.iter().sum();
        self.by_tier[0] += u64::from(found.cached.saturating_sub(below));
        let pairs = self.by_tier[1..].iter_mut().zip(found.below);
        let pairs = pairs.chain(self.hits.iter_mut().zip(found.causes.hits)).chain(self.misses.iter_mut().zip(found.causes.misses));
        pairs.for_each(|(sum, tokens)| *sum += u64::from(tokens));
    }

    /// Everything in it as numbers, for a hash; what never happened leaves no trace.
    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_tier.iter().chain(&self.hits).chain(&self.misses).copied().filter(|&tokens| tokens > 0)
    }
}

impl Counters {
    /// Adds the run without its first `skipped` steps.
    pub(super) fn add(&mut self, run: &StepRun<'_>, skipped: u64) {
        let steps = run.steps - skipped;
        if steps == 0 {
            return;
        }
        let step_ps = narrow(sum_of_ramp(run.first_duration_ps + skipped * run.duration_increment_ps, run.duration_increment_ps, steps));
        let growth_ps = narrow(sum_of_ramp(skipped * run.device_increment_ps, run.device_increment_ps, steps));
        let decodes = u64::from(run.decode_sequences);
        let first_context = run.first_context + skipped * decodes;
        self.steps += steps;
        self.decode_only_steps += if run.prefill_tokens == 0 { steps } else { 0 };
        self.output_tokens += tokens_of_first_step(run) + (steps - 1) * run.regular_gaps as u64;
        self.prefill_tokens += run.prefill_tokens;
        self.images += u64::from(run.encoded_images);
        self.encoding_ps += run.encoding_ps;
        self.decode_tokens += steps * run.decode_sequences as u64;
        self.wasted_tokens += run.wasted_sequences as u64;
        self.drafted_tokens += run.drafted_tokens as u64;
        self.accepted_tokens += run.accepted_tokens as u64;
        self.padded_tokens += steps * run.padded_tokens as u64;
        self.context_tokens += product(first_context, steps) + if steps == 1 { 0 } else { times(pairs(steps), decodes) };
        self.prefill_pairs += run.prefill_pairs as u128;
        self.step_ps += step_ps;
        self.device_ps += run.first_device_ps * steps + growth_ps;
        self.gemm_ps += run.first_parts.gemm_ps * steps;
        self.attention_ps += run.first_parts.attention_ps * steps + growth_ps;
        self.communication_ps += run.first_parts.communication_ps * steps;
        self.other_ps += run.first_parts.other_ps * steps;
        self.running_ps += product(u64::from(run.running), step_ps);
        self.waits.add(run, steps, step_ps);
        self.kv_wait_ps += run.kv_wait_ps;
        self.adapters.add(&run.adapters, skipped, step_ps);
    }

    /// Time the device waited for the host, ps.
    pub fn host_ps(&self) -> u64 {
        self.step_ps.saturating_sub(self.device_ps + self.kv_wait_ps + self.adapters.wait_ps)
    }

    /// Everything in it as numbers, for a hash.
    pub(super) fn words(&self) -> Vec<u64> {
        let mut words = vec![
            self.steps,
            self.decode_only_steps,
            self.output_tokens,
            self.prefill_tokens,
            self.decode_tokens,
            self.padded_tokens,
            self.wasted_tokens,
            self.step_ps,
            self.device_ps,
            self.gemm_ps,
            self.attention_ps,
            self.communication_ps,
            self.other_ps,
            self.preemptions,
            self.before_window_ps,
            self.kv_blocks_peak,
        ];
        for wide in [self.context_tokens, self.prefill_pairs, self.running_ps, self.energy_fj] {
            words.extend([wide as u64, (wide >> 64) as u64]);
        }
        words.extend([self.drafted_tokens, self.accepted_tokens, self.kv_wait_ps].into_iter().filter(|&word| word > 0));
        words.extend(self.adapters.words());
        let SwapCounters { out, back, blocks_out, blocks_back } = self.swap;
        words.extend([out, back, blocks_out, blocks_back].into_iter().filter(|&word| word > 0));
        words.extend(self.found.words());
        words.extend(self.waits.words());
        words
    }
}

/// Tokens that come out at the end of a run's first step.
pub(super) fn tokens_of_first_step(run: &StepRun<'_>) -> u64 {
    let stalled: u64 = run.stalled_gaps.iter().map(|&(_, count)| u64::from(count)).sum();
    let bunched = u64::from(run.bunched_tokens);
    run.first_tokens as u64 + run.regular_gaps as u64 + run.other_gaps_ps.len() as u64 + stalled + bunched
}
