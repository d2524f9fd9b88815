//! One serving replica as planned: everything that building it takes, and nothing looked up any more.

use std::sync::Arc;

use super::lora::{LoraKernels, LoraPlan};
use crate::catalog::{Device, Engine};
use crate::cluster::network::KvShape;
use crate::config::Diagnostic;
use crate::cost::{
    Calibrated, CalibratedSpec, CostModel, FixedTiming, LoraCost, LoraLayers, PolynomialTiming, SharedCosts, Speculative, Transfer,
    WithAdapters,
};
use crate::engine::{Balance, Bunches, Core, Encoder, Limits, Pace, Pipeline, PolicySpec, PrefillDelayer, RankRule, Replica, Speculation};
use crate::kv::{BlockTree, Eviction, HashChain, KvCache, RadixCache, Reuse, Tiered, Tiers};
use crate::metrics::ReplicaInfo;
use crate::units::Time;

/// One serving replica, ready to be built.
#[derive(Clone, Debug)]
pub struct ReplicaPlan {
    pub(super) policy: PolicySpec,
    pub(super) limits: Limits,
    pub(super) kv: KvPlan,
    /// Tiers below it.
    pub(super) tiers: Option<Tiers>,
    pub(super) overlap: bool,
    pub(super) timing: TimingPlan,
    pub(super) pipeline: Option<PipelinePlan>,
    pub(super) ranks: Option<RanksPlan>,
    pub(super) drafting: Option<DraftingPlan>,
    pub(super) lora: Option<LoraPlan>,
    pub(super) bunches: Option<Bunches>,
    /// Where it encodes images itself.
    pub(in crate::sim) encoder: Option<Encoder>,
    /// Width of the model.
    pub(in crate::sim) hidden_size: u32,
    pub(in crate::sim) info: ReplicaInfo,
    pub(in crate::sim) api_time: Time,
    pub(in crate::sim) api_time_per_token: Time,
    pub(in crate::sim) confidence: String,
    pub(in crate::sim) device: Device,
    /// GPUs of a node that it is in.
    pub(in crate::sim) node_gpus: u32,
    pub(in crate::sim) kv_shape: KvShape,
}

/// Attention ranks in lockstep.
#[derive(Clone, Copy, Debug)]
pub(super) struct RanksPlan {
    pub(super) count: u32,
    pub(super) rule: RankRule,
    pub(super) balance: Option<Balance>,
    pub(super) delayer: Option<PrefillDelayer>,
}

/// The stages of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct PipelinePlan {
    pub(super) stages: Vec<TimingPlan>,
    pub(super) transfers: Vec<Transfer>,
    /// Sets of requests that take turns.
    pub(super) lanes: u16,
    /// One batch more is formed ahead.
    pub(super) ahead: bool,
}

/// Speculative decoding.
#[derive(Clone, Debug)]
pub(super) struct DraftingPlan {
    pub(super) acceptance: Vec<f64>,
    /// What drafting costs; none when it takes no time on the device, or when step times are given by hand.
    pub(super) drafter: Option<Box<CalibratedSpec>>,
}

/// The KV memory to make.
#[derive(Clone, Debug)]
pub(super) enum KvPlan {
    /// vLLM's: `blocks` that requests can have; each holds `beside` more than those of its tokens. Before V1 it `merges` equal ones.
    HashChain { blocks: u64, block_size: u32, caching: bool, beside: u64, merges: bool },
    /// SGLang's.
    Radix { pages: u64, page: u32, caching: bool, eviction: Eviction },
    /// TensorRT-LLM's.
    BlockTree { blocks: u64, block_size: u32, reuse: Reuse },
}

impl KvPlan {
    fn build(&self) -> Box<dyn KvCache> {
        match *self {
            KvPlan::HashChain { blocks, block_size, caching, beside, merges } => {
                let memory = HashChain::new(blocks, block_size, caching).with_states(beside);
                Box::new(if merges { memory.merging() } else { memory })
            }
            KvPlan::Radix { pages, page, caching, eviction } => Box::new(RadixCache::new(pages, page, caching).evicting(eviction)),
            KvPlan::BlockTree { blocks, block_size, reuse } => Box::new(BlockTree::new(blocks, block_size, reuse)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum TimingPlan {
    Calibrated(Arc<CalibratedSpec>),
    Fixed(FixedTiming),
    Polynomial(PolynomialTiming),
}

impl ReplicaPlan {
    /// Whose rules it serves by.
    pub(in crate::sim) fn engine(&self) -> Engine {
        match self.policy {
            PolicySpec::Vllm(_) => Engine::Vllm,
            PolicySpec::Sglang(_) => Engine::Sglang,
            PolicySpec::Trtllm(_) => Engine::Trtllm,
        }
    }

    /// Its layers lie on several groups of GPUs.
    pub(in crate::sim) fn is_pipeline(&self) -> bool {
        self.pipeline.is_some()
    }

    /// Switches SGLang's radix tree off.
    pub(in crate::sim) fn keep_no_prefixes(&mut self) {
        if let KvPlan::Radix { caching, .. } = &mut self.kv {
            *caching = false;
        }
        if let PolicySpec::Sglang(options) = &mut self.policy {
            options.caching = false;
        }
    }

    /// Forms each batch when the one before has ended.
    pub(in crate::sim) fn form_after_the_last(&mut self) {
        self.overlap = false;
    }

    /// Whether its cache tells what it holds of a prompt.
    pub(in crate::sim) fn tells_what_it_holds(&self) -> bool {
        self.ranks.is_none()
    }

    /// Whether its KV has tiers below the GPU.
    pub(in crate::sim) fn serves_adapters(&self) -> bool {
        self.lora.is_some()
    }

    pub(in crate::sim) fn has_tiers(&self) -> bool {
        self.tiers.is_some()
    }

    pub(in crate::sim) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(in crate::sim) fn overlaps(&self) -> bool {
        self.overlap
    }

    /// It has stages, one after the other.
    pub(in crate::sim) fn is_pipelined(&self) -> bool {
        self.pipeline.is_some()
    }

    /// It is a group of attention ranks.
    pub(in crate::sim) fn has_ranks(&self) -> bool {
        self.ranks.is_some()
    }

    /// Its step times.
    pub(in crate::sim) fn step_costs(&self) -> Result<Box<dyn CostModel>, Diagnostic> {
        self.with_drafts(self.timing.build(self.kernels())?, true)
    }

    /// With the rows that are verified, and where the drafter is with its passes.
    fn with_drafts(&self, cost: Box<dyn CostModel>, drafts: bool) -> Result<Box<dyn CostModel>, Diagnostic> {
        let Some(drafting) = &self.drafting else { return Ok(cost) };
        let drafter = drafting.drafter.as_deref().filter(|_| drafts).map(calibrated).transpose()?;
        Ok(Box::new(Speculative::new(cost, drafter, drafting.acceptance.len() as u32)))
    }

    fn kernels(&self) -> Option<&LoraKernels> {
        self.lora.as_ref().map(|lora| &lora.kernels)
    }

    /// Builds the replica.
    pub(in crate::sim) fn build(&self, index: u16, seed: u64, fast_path: bool, horizon: Time) -> Result<Replica, Diagnostic> {
        self.build_beside(index, seed, fast_path, horizon, None)
    }

    /// Builds one of several replicas; those alike remember step times together.
    pub(in crate::sim) fn build_beside(
        &self,
        index: u16,
        seed: u64,
        fast_path: bool,
        horizon: Time,
        mut costs: Option<&mut SharedCosts>,
    ) -> Result<Replica, Diagnostic> {
        let Some(RanksPlan { count, rule, balance, delayer }) = self.ranks else {
            return self.one(index, 0, seed, fast_path, horizon, costs);
        };
        let rank = |rank| self.one(index, rank, seed, fast_path, horizon, costs.as_deref_mut());
        let ranks = (0..count).map(rank).collect::<Result<Vec<_>, _>>()?;
        let group = Replica::in_lockstep(ranks, rule, balance);
        let mut group = group.ok_or_else(|| Diagnostic::error("frameworks_to_test", "an engine without ranks", ""))?;
        delayer.into_iter().for_each(|rule| group.delay_prompts(rule));
        Ok(group)
    }

    /// One engine, or one rank.
    fn one(
        &self,
        index: u16,
        rank: u32,
        seed: u64,
        fast_path: bool,
        horizon: Time,
        costs: Option<&mut SharedCosts>,
    ) -> Result<Replica, Diagnostic> {
        let cost = match (&self.timing, costs) {
            (TimingPlan::Calibrated(spec), Some(costs)) if self.lora.is_none() && self.drafting.is_none() => {
                costs.of(spec).map_err(|error| Diagnostic::error("frameworks_to_test", error.to_string(), ""))?
            }
            _ => self.step_costs()?,
        };
        let memory = self.kv.build();
        let memory = match &self.tiers {
            Some(tiers) => Box::new(Tiered::new(memory, tiers.clone())),
            None => memory,
        };
        let mut core = Core::new(self.limits.clone(), memory);
        if let Some(lora) = &self.lora {
            core.serve_adapters(lora.spec.clone());
        }
        let mut replica = Replica::new(index, core, self.policy.build(), cost, Pace { overlap: self.overlap, fast_path, horizon });
        if let Some(drafting) = &self.drafting {
            replica.speculate(Speculation::new(&drafting.acceptance, seed, index, rank));
        }
        if let Some(bunches) = self.bunches {
            replica.bunch(bunches);
        }
        if let Some(encoder) = self.encoder {
            replica.encode(encoder);
        }
        if let Some(pipeline) = &self.pipeline {
            // What drafts is beside the last stage, which has the hidden states and the sampled tokens.
            let last = pipeline.stages.len() - 1;
            let stage = |(at, stage): (usize, &TimingPlan)| self.with_drafts(stage.build(self.kernels())?, at == last);
            let stages = pipeline.stages.iter().enumerate().map(stage).collect::<Result<Vec<_>, _>>()?;
            let built = Pipeline::new(stages, pipeline.transfers.clone()).with_lanes(pipeline.lanes).ahead(pipeline.ahead);
            replica = replica.with_pipeline(built);
        }
        Ok(replica)
    }
}

impl TimingPlan {
    /// Step times, with those of LoRA adapters; times given by hand are of everything.
    fn build(&self, adapters: Option<&LoraKernels>) -> Result<Box<dyn CostModel>, Diagnostic> {
        Ok(match self {
            TimingPlan::Calibrated(spec) => match adapters {
                Some(LoraKernels { modules, per_product }) => {
                    let layers = LoraLayers::new(&spec.model, spec.tp, modules, *per_product);
                    let cost = LoraCost::new(layers, &spec.device, spec.host.per_launch_us, spec.device_time);
                    Box::new(WithAdapters::new(calibrated(spec)?, cost))
                }
                None => calibrated(spec)?,
            },
            TimingPlan::Fixed(timing) => Box::new(*timing),
            TimingPlan::Polynomial(timing) => Box::new(*timing),
        })
    }
}

fn calibrated(spec: &CalibratedSpec) -> Result<Box<dyn CostModel>, Diagnostic> {
    let calibrated = Calibrated::new(crate::catalog::builtin(), spec);
    Ok(Box::new(calibrated.map_err(|error| Diagnostic::error("frameworks_to_test", error.to_string(), ""))?))
}
