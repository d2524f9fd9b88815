//! How an entry's GPUs share its model: tensor parallelism within a stage, stages one after the other.

use std::sync::Arc;

use super::Parts;
use super::plan::{PipelinePlan, RanksPlan, TimingPlan};
use crate::catalog::{Catalog, Engine};
use crate::config::Diagnostic;
use crate::config::schema::{All2AllBackend, FrameworkConfig, MoeA2aBackend, SglangLoadBalance};
use crate::cost::memory::{DoesNotFit, Drafter, MemoryBudget, MemorySpec};
use crate::cost::part::stages;
use crate::cost::{Calibrated, CalibratedSpec, Part, Transfer};
use crate::engine::{Balance, PrefillDelayer, RankRule};

/// The degrees of parallelism of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Degrees {
    /// GPUs that share each layer's attention.
    pub tp: u32,
    /// Stages.
    pub pp: u32,
    /// Attention ranks.
    pub ranks: u32,
    /// GPUs over which whole experts are spread.
    pub ep: u32,
}

impl Degrees {
    /// GPUs of the entry.
    pub(super) fn gpus(self) -> u32 {
        self.tp.saturating_mul(self.pp).saturating_mul(self.ranks)
    }

    /// Groups that share layers, as `hardware` wants them.
    pub(super) fn groups(self) -> (u32, u32) {
        (self.tp, self.pp.saturating_mul(self.ranks))
    }

    /// Stages, as `hardware` wants them.
    pub(super) fn stages(self) -> (u32, u32) {
        (self.tp, self.pp)
    }

    /// What an entry says, in its engine's words.
    pub(super) fn of(engine: Option<Engine>, config: &FrameworkConfig, path: &str) -> Result<Degrees, Diagnostic> {
        let plain = Degrees::plain(config, path)?;
        let (ranks, ep) = match engine {
            Some(Engine::Sglang) => {
                let own = config.sglang.clone().unwrap_or_default();
                let ranks = if own.enable_dp_attention == Some(true) { own.dp_size.unwrap_or(1) } else { 1 };
                if ranks == 1 && own.dp_size.unwrap_or(1) > 1 {
                    let message = "data parallelism without attention ranks is several engines";
                    return Err(Diagnostic::error(
                        format!("{path}.config.sglang.dp_size"),
                        message,
                        "say `enable_dp_attention: true`, or `replicas:`",
                    ));
                }
                (ranks, own.ep_size.unwrap_or(1))
            }
            Some(Engine::Trtllm) => {
                let own = config.trtllm.clone().unwrap_or_default();
                (if own.enable_attention_dp == Some(true) { plain.tp } else { 1 }, own.moe_expert_parallel_size.unwrap_or(1))
            }
            _ => {
                let ranks = config.data_parallel_size.unwrap_or(1);
                let all = plain.tp.saturating_mul(ranks);
                return Ok(Degrees { ranks, ep: if config.enable_expert_parallel == Some(true) { all } else { 1 }, ..plain });
            }
        };
        for (key, given) in [
            ("data_parallel_size", config.data_parallel_size.is_some()),
            ("enable_expert_parallel", config.enable_expert_parallel.is_some()),
        ] {
            if given {
                let hint =
                    "say `sglang: {enable_dp_attention, dp_size, ep_size}` or `trtllm: {enable_attention_dp, moe_expert_parallel_size}`";
                return Err(Diagnostic::error(
                    format!("{path}.config.{key}"),
                    "is an option of vLLM, and this entry is another stack",
                    hint,
                ));
            }
        }
        if !plain.tp.is_multiple_of(ranks) || !plain.tp.is_multiple_of(ep) {
            let message = format!("{} GPUs cannot be divided into {ranks} attention ranks and {ep} groups of experts", plain.tp);
            return Err(Diagnostic::error(format!("{path}.config.tensor_parallel_size"), message, "use divisors of it"));
        }
        Ok(Degrees { tp: plain.tp / ranks, ranks, ep, ..plain })
    }

    /// Tensor parallelism and stages, in either of two ways.
    fn plain(config: &FrameworkConfig, path: &str) -> Result<Degrees, Diagnostic> {
        let degrees = |tp, pp| Degrees { tp, pp, ranks: 1, ep: 1 };
        let own = degrees(config.tensor_parallel_size.unwrap_or(1), config.pipeline_parallel_size.unwrap_or(1));
        let Some(parallelism) = &config.parallelism else { return Ok(own) };
        let strategy = parallelism.strategy.as_deref().unwrap_or("None");
        let degree = |letters: &str, given: Option<u32>| if strategy.contains(letters) { given.unwrap_or(1) } else { 1 };
        let told = degrees(degree("TP", parallelism.tp_degree), degree("PP", parallelism.pp_stages));
        for (key, given, told) in [
            ("tensor_parallel_size", config.tensor_parallel_size, told.tp),
            ("pipeline_parallel_size", config.pipeline_parallel_size, told.pp),
        ] {
            if let Some(given) = given.filter(|given| *given != told) {
                let message = format!("says {told} where {key} says {given}");
                return Err(Diagnostic::error(format!("{path}.config.parallelism"), message, "keep one of the two"));
            }
        }
        Ok(told)
    }

    /// The devices that do the work, of those an entry names: the first of each stage, where a pipeline has more than it uses.
    pub(super) fn working(self, ids: Vec<String>, path: &str, warnings: &mut Vec<Diagnostic>) -> Vec<String> {
        let (named, needed) = (ids.len(), self.gpus() as usize);
        if named <= needed || !named.is_multiple_of(self.pp as usize) || self.tp > 1 {
            return ids;
        }
        let message = format!("{} of {named} GPUs are idle: a stage is computed by one GPU", named - needed);
        warnings.push(Diagnostic::warning(path, message, "say `strategy: TP_PP` to have GPUs share the layers of a stage"));
        ids.into_iter().step_by(named / self.pp as usize).collect()
    }
}

impl Parts<'_> {
    /// What an engine does not run over a pipeline, or what is not modelled over one.
    pub(super) fn check_pipeline(&self) -> Result<(), Diagnostic> {
        let pp = self.degrees.pp;
        if pp <= 1 {
            return Ok(());
        }
        let at = if self.config.parallelism.is_some() { self.at("parallelism.pp_stages") } else { self.at("pipeline_parallel_size") };
        if pp > self.model.layers {
            let message = format!("Cannot have more PP stages ({pp}) than model layers ({})", self.model.layers);
            return Err(Diagnostic::error(at, message, "use fewer stages"));
        }
        // SGLang's server_args.py stops at this; TensorRT-LLM's matrix of features says no.
        if self.config.speculative.is_some() && self.engine != Engine::Vllm {
            let message = format!("{} has no speculative decoding over a pipeline", self.engine.label());
            return Err(Diagnostic::error(self.at("speculative"), message, "take it out, or use tensor parallelism"));
        }
        if self.config.timing.as_ref().is_some_and(|timing| timing.polynomial.is_some()) {
            let message = "the polynomial is that of a whole pass, which has no stages";
            return Err(Diagnostic::error(self.at("timing"), message, "give `fixed`, which stages share evenly, or leave it out"));
        }
        Ok(())
    }

    /// What attention ranks and spread experts ask for, and what is not modelled with them.
    pub(super) fn check_ranks(&self) -> Result<(), Diagnostic> {
        let Degrees { ranks, ep, pp, .. } = self.degrees;
        if ep <= 1 && self.config.num_redundant_experts.is_some() {
            let hint = "say `enable_expert_parallel: true` (vLLM), `sglang: {ep_size}` or `trtllm: {moe_expert_parallel_size}`";
            return Err(Diagnostic::error(self.at("num_redundant_experts"), "experts are not spread over GPUs", hint));
        }
        if ranks <= 1 && ep <= 1 {
            return Ok(());
        }
        let at = match self.engine {
            Engine::Vllm => self.at("data_parallel_size"),
            Engine::Sglang => self.at("sglang"),
            Engine::Trtllm => self.at("trtllm"),
        };
        let Some(moe) = self.model.moe else {
            let message = format!("{} has no experts to share", self.model.name);
            return Err(Diagnostic::error(at, message, "say `replicas:` to have several engines"));
        };
        if !moe.experts.is_multiple_of(ep) {
            let message = format!("{} experts cannot be spread evenly over {ep} GPUs", moe.experts);
            return Err(Diagnostic::error(at, message, "use a divisor"));
        }
        if let Some(copies) = self.config.num_redundant_experts.filter(|copies| !copies.is_multiple_of(ep)) {
            let message = format!("{copies} copies cannot be spread evenly over {ep} GPUs");
            return Err(Diagnostic::error(self.at("num_redundant_experts"), message, format!("use a multiple of {ep}")));
        }
        if ranks > 1 {
            let hint = "take one of the two out";
            if pp > 1 {
                return Err(Diagnostic::error(at, "attention ranks over a pipeline are not modelled", hint));
            }
            if self.config.disaggregation.is_some() {
                return Err(Diagnostic::error(self.at("disaggregation"), "pools of engines with attention ranks are not modelled", hint));
            }
        }
        Ok(())
    }

    /// The model in one stage, with the ranks and experts of this entry.
    pub(super) fn part(&self) -> Part {
        let all_to_all = match self.engine {
            Engine::Vllm => {
                let backend = self.config.vllm.as_ref().and_then(|own| own.all2all_backend);
                backend.is_some_and(|backend| backend != All2AllBackend::AllgatherReducescatter)
            }
            Engine::Sglang => self.config.sglang.as_ref().and_then(|own| own.moe_a2a_backend) == Some(MoeA2aBackend::Deepep),
            Engine::Trtllm => false,
        };
        let redundant_experts = self.config.num_redundant_experts;
        Part { ranks: self.degrees.ranks, ep: self.degrees.ep, redundant_experts, network: self.network, all_to_all, ..Part::WHOLE }
    }

    /// The ranks of this entry; none for an engine of one.
    pub(super) fn ranks(&self) -> Option<RanksPlan> {
        let count = self.degrees.ranks;
        let balance = || {
            let own = self.config.trtllm.as_ref()?.attention_dp_config.as_ref().filter(|own| own.enable_balance == Some(true))?;
            Some(Balance { batching_wait_iters: own.batching_wait_iters.unwrap_or(10), timeout_iters: own.timeout_iters.unwrap_or(50) })
        };
        let (rule, balance) = match self.engine {
            Engine::Vllm => (RankRule::Score, None),
            Engine::Sglang => match self.config.sglang.as_ref().and_then(|own| own.load_balance_method) {
                None | Some(SglangLoadBalance::RoundRobin) => (RankRule::RoundRobin, None),
                Some(SglangLoadBalance::TotalRequests) => (RankRule::FewestRequests, None),
                Some(SglangLoadBalance::TotalTokens) => (RankRule::FewestTokens, None),
            },
            Engine::Trtllm => (RankRule::FewestRequests, balance()),
        };
        let own = self.config.sglang.as_ref().filter(|own| own.enable_prefill_delayer == Some(true));
        let delayer = own.map(|own| PrefillDelayer {
            max_delay_passes: own.prefill_delayer_max_delay_passes.unwrap_or(30),
            low_watermark: own.prefill_delayer_token_usage_low_watermark.map(|share| (share * 1e6) as u32),
        });
        (count > 1).then_some(RanksPlan { count, rule, balance, delayer })
    }

    /// The memory of the GPU with the fewest KV blocks: the engine gives all stages as many.
    pub(super) fn memory(&self, whole: &MemorySpec<'_>) -> Result<MemoryBudget, DoesNotFit> {
        if self.degrees.pp <= 1 {
            return MemoryBudget::new(whole);
        }
        let mut tightest: Option<MemoryBudget> = None;
        for (model, part) in stages(self.engine, &self.model, self.degrees.pp) {
            // vLLM has the drafter on the last stage, where there is no embedding to share.
            let drafter = whole.drafter.filter(|_| part.head).map(|drafter| Drafter { embedding_apart: true, ..drafter });
            let part = Part { redundant_experts: whole.part.redundant_experts, ..part };
            let budget = MemoryBudget::new(&MemorySpec { model: &model, part, drafter, ..whole.clone() })?;
            if tightest.is_none_or(|other| budget.blocks < other.blocks) {
                tightest = Some(budget);
            }
        }
        match tightest {
            Some(tightest) => Ok(tightest),
            None => MemoryBudget::new(whole),
        }
    }

    /// Step times of each stage, and what sending between them takes; none for an engine without stages.
    /// `overlap`: the engine forms batches before the last results are known.
    pub(super) fn pipeline(&self, catalog: &Catalog, whole: &TimingPlan, overlap: bool) -> Result<Option<PipelinePlan>, Diagnostic> {
        let pp = self.degrees.pp;
        if pp <= 1 {
            return Ok(None);
        }
        let parts = stages(self.engine, &self.model, pp);
        let mut plans = Vec::with_capacity(parts.len());
        for (index, (model, part)) in parts.into_iter().enumerate() {
            plans.push(match whole {
                TimingPlan::Calibrated(spec) => {
                    let part =
                        Part { ep: spec.part.ep, redundant_experts: spec.part.redundant_experts, network: spec.part.network, ..part };
                    let spec = CalibratedSpec { model, part, ..(**spec).clone() };
                    Calibrated::new(catalog, &spec).map_err(|error| super::cannot_model(self.path, self.config, &error))?;
                    TimingPlan::Calibrated(Arc::new(spec))
                }
                TimingPlan::Fixed(timing) => TimingPlan::Fixed(timing.stage(index as u32, pp)),
                TimingPlan::Polynomial(timing) => TimingPlan::Polynomial(*timing),
            });
        }
        // Step times given by hand leave nothing to the links.
        let transfers = match whole {
            TimingPlan::Calibrated(_) => self
                .hops
                .iter()
                .map(|hop| Transfer::between(catalog, &self.device, &self.model, self.degrees.tp, hop, &self.network))
                .collect(),
            _ => Vec::new(),
        };
        // vLLM forms one batch ahead; TensorRT-LLM and SGLang have further micro-batches of other requests.
        let (more, ahead) = match self.engine {
            Engine::Vllm => (0, overlap),
            Engine::Sglang => (self.config.sglang.as_ref().and_then(|own| own.pp_async_batch_depth).unwrap_or(0), false),
            Engine::Trtllm => (u32::from(overlap), false),
        };
        Ok(Some(PipelinePlan { stages: plans, transfers, lanes: (pp + more) as u16, ahead }))
    }
}
