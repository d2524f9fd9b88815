//! How an entry's GPUs share its model: tensor parallelism within a stage, stages one after the other.

use super::Parts;
use super::plan::{PipelinePlan, TimingPlan};
use crate::catalog::{Catalog, Engine};
use crate::config::Diagnostic;
use crate::config::schema::FrameworkConfig;
use crate::cost::memory::{DoesNotFit, MemoryBudget, MemorySpec};
use crate::cost::part::stages;
use crate::cost::{Calibrated, CalibratedSpec, Transfer};

/// The degrees of parallelism of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Degrees {
    /// GPUs that share each layer.
    pub tp: u32,
    /// Stages.
    pub pp: u32,
}

impl Degrees {
    /// GPUs of the entry.
    pub(super) fn gpus(self) -> u32 {
        self.tp.saturating_mul(self.pp)
    }

    /// Both as `hardware` wants them.
    pub(super) fn groups(self) -> (u32, u32) {
        (self.tp, self.pp)
    }

    /// What an entry says, in either of two ways.
    pub(super) fn of(config: &FrameworkConfig, path: &str) -> Result<Degrees, Diagnostic> {
        let own = Degrees { tp: config.tensor_parallel_size.unwrap_or(1), pp: config.pipeline_parallel_size.unwrap_or(1) };
        let Some(parallelism) = &config.parallelism else { return Ok(own) };
        let strategy = parallelism.strategy.as_deref().unwrap_or("None");
        let degree = |letters: &str, given: Option<u32>| if strategy.contains(letters) { given.unwrap_or(1) } else { 1 };
        let told = Degrees { tp: degree("TP", parallelism.tp_degree), pp: degree("PP", parallelism.pp_stages) };
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
        if self.config.speculative.is_some() {
            let message = "speculative decoding over a pipeline is not modelled";
            return Err(Diagnostic::error(self.at("speculative"), message, "take it out, or use tensor parallelism"));
        }
        if self.config.timing.as_ref().is_some_and(|timing| timing.polynomial.is_some()) {
            let message = "the polynomial is that of a whole pass, which has no stages";
            return Err(Diagnostic::error(self.at("timing"), message, "give `fixed`, which stages share evenly, or leave it out"));
        }
        Ok(())
    }

    /// The memory of the GPU with the fewest KV blocks: the engine gives all stages as many.
    pub(super) fn memory(&self, whole: &MemorySpec<'_>) -> Result<MemoryBudget, DoesNotFit> {
        if self.degrees.pp <= 1 {
            return MemoryBudget::new(whole);
        }
        let mut tightest: Option<MemoryBudget> = None;
        for (model, part) in stages(self.engine, &self.model, self.degrees.pp) {
            let budget = MemoryBudget::new(&MemorySpec { model: &model, part, ..whole.clone() })?;
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
                    let spec = CalibratedSpec { model, part, ..(**spec).clone() };
                    Calibrated::new(catalog, &spec).map_err(|error| Diagnostic::error(self.path, error.to_string(), ""))?;
                    TimingPlan::Calibrated(Box::new(spec))
                }
                TimingPlan::Fixed(timing) => TimingPlan::Fixed(timing.stage(index as u32, pp)),
                TimingPlan::Polynomial(timing) => TimingPlan::Polynomial(*timing),
            });
        }
        // Step times given by hand leave nothing to the links.
        let transfers = match whole {
            TimingPlan::Calibrated(_) => {
                self.hops.iter().map(|hop| Transfer::between(catalog, &self.device, &self.model, self.degrees.tp, hop)).collect()
            }
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
