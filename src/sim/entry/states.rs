//! Models with states of constant size in place of KV: what engines do with them, and what is not modelled.

use super::Parts;
use crate::catalog::Engine;
use crate::config::Diagnostic;
use crate::cost::{StateOptions, states};

impl Parts<'_> {
    /// Whether layers of the model keep a state for each sequence.
    pub(super) fn has_states(&self) -> bool {
        self.model.linear.is_some()
    }

    /// What is not modelled with states.
    pub(super) fn check_states(&self) -> Result<(), Diagnostic> {
        if !self.has_states() {
            return Ok(());
        }
        let config = self.config;
        let refused = |key: &str, what: &str| {
            let message = format!("{what} is not modelled for {}, whose layers keep a state for each sequence", self.model.name);
            Err(Diagnostic::error(self.at(key), message, "take it out, or name a model with attention alone"))
        };
        let caching = [
            ("enable_prefix_caching", config.enable_prefix_caching == Some(true)),
            ("sglang.disable_radix_cache", config.sglang.as_ref().and_then(|own| own.disable_radix_cache) == Some(false)),
            ("trtllm.enable_block_reuse", config.trtllm.as_ref().and_then(|own| own.enable_block_reuse) == Some(true)),
        ];
        if let Some((key, _)) = caching.iter().find(|(_, asked)| *asked) {
            return refused(key, "finding prefixes again");
        }
        if config.speculative.is_some() {
            return refused("speculative", "speculative decoding");
        }
        if config.disaggregation.is_some() {
            return refused("disaggregation", "sending states between pools");
        }
        let below = [
            ("kv_tiers", config.kv_tiers.is_some()),
            ("sglang.enable_hierarchical_cache", config.sglang.as_ref().and_then(|own| own.enable_hierarchical_cache) == Some(true)),
            ("vllm.kv_offloading_size", config.vllm.as_ref().is_some_and(|own| own.kv_offloading_size.is_some())),
            ("trtllm.host_cache_size", config.trtllm.as_ref().is_some_and(|own| own.host_cache_size.is_some())),
        ];
        if let Some((key, _)) = below.iter().find(|(_, asked)| *asked) {
            return refused(key, "KV below the GPU");
        }
        Ok(())
    }

    /// Whether the engine finds prefixes again: not with states.
    pub(super) fn caching(&self, wanted: bool, warnings: &mut Vec<Diagnostic>) -> bool {
        if wanted && self.has_states() {
            let message = format!("nothing is found again of earlier prompts: caching the states of {} is not modelled", self.model.name);
            warnings.push(Diagnostic::warning(self.at("enable_prefix_caching"), message, "say false to be rid of this"));
        }
        wanted && !self.has_states()
    }

    /// SGLang's pool of states, as the entry sizes it.
    pub(super) fn state_options(&self, max_num_seqs: u32, warnings: &mut Vec<Diagnostic>) -> StateOptions {
        let Some(own) = self.config.sglang.as_ref().filter(|_| self.engine == Engine::Sglang) else { return StateOptions::default() };
        if !self.has_states() {
            for (key, given) in [
                ("sglang.max_mamba_cache_size", own.max_mamba_cache_size.is_some()),
                ("sglang.mamba_full_memory_ratio", own.mamba_full_memory_ratio.is_some()),
            ] {
                if given {
                    let message = format!("has no effect: no layer of {} keeps a state", self.model.name);
                    warnings.push(Diagnostic::warning(self.at(key), message, "take it out"));
                }
            }
        }
        // Without a prefix cache SGLang makes a state for each request that may run, where their number is given.
        let asked = own.max_running_requests.or(self.config.max_num_seqs).map(|_| max_num_seqs);
        let slots = own.max_mamba_cache_size.or(asked.filter(|_| own.mamba_full_memory_ratio.is_none()));
        StateOptions { slots, ratio: own.mamba_full_memory_ratio.unwrap_or(states::STATE_RATIO) }
    }

    /// The most requests whose states there is room for: the engine's limit, or less.
    pub(super) fn seats_with_states(
        &self,
        max_num_seqs: u32,
        slots: u64,
        blocks: u64,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<u32, Diagnostic> {
        if !self.has_states() {
            return Ok(max_num_seqs);
        }
        let (most, what) = match self.engine {
            Engine::Vllm => (blocks, "blocks that hold a state each"),
            Engine::Sglang => (slots, "states"),
            Engine::Trtllm => (u64::from(max_num_seqs), "states"),
        };
        let seats = u32::try_from(most).unwrap_or(u32::MAX).min(max_num_seqs);
        if seats == 0 {
            return Err(Diagnostic::error(self.path, "no state of a sequence fits into memory", "give the engine more memory"));
        }
        if self.engine == Engine::Vllm && seats < max_num_seqs {
            let message = format!("vLLM refuses {max_num_seqs} sequences: there are {most} {what}");
            let hint = format!("set max_num_seqs to {seats} or less");
            if self.config.max_num_seqs.is_some() {
                return Err(Diagnostic::error(self.at("max_num_seqs"), message, hint));
            }
            warnings.push(Diagnostic::warning(self.at("max_num_seqs"), format!("{message}; {seats} are taken"), hint));
        }
        Ok(seats)
    }
}
