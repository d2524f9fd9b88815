//! A pipeline of stages, each with some of the layers: when a batch passes through them, and what that looks like from outside.
//!
//! Batch i occupies stage s from the later of (batch i has left stage s-1 and its activations have arrived) and (batch i-1 has left
//! stage s). Activations travel while the sender goes on with the next batch. As many batches are in flight as there are lanes, each lane's
//! next one when its last one has come out; an engine that forms batches ahead has one more in flight: that of the lane whose batch comes out
//! next, which enters the first stage when its tokens are there.

use super::core::Batch;
use crate::cost::{AdapterMix, CostModel, StepCost, StepParts, Transfer};
use crate::units::Time;

/// The stages of one engine.
pub struct Pipeline {
    stages: Vec<Box<dyn CostModel>>,
    /// From each stage to the next.
    transfers: Vec<Transfer>,
    lanes: u16,
    ahead: bool,
    /// When each stage is done with the batches it has been given.
    free_at: Vec<Time>,
    /// End of the last batch.
    last_end: Time,
    /// The next batch waits so long for LoRA adapters, which every stage fetches for its own layers.
    fetch: Time,
}

/// The way of one batch.
pub(super) struct Passage {
    /// From when on its time is told: it was formed, and the batch before it has come out. So told, steps follow one another.
    pub start: Time,
    pub end: Time,
    /// Device time: what each GPU works on average. The rest of the time between outputs is the bubble, counted with the host's.
    pub cost: StepCost,
}

impl Pipeline {
    /// Stages in order, each with the step times of its own layers, and the ways between them; a way that is not given takes no time.
    pub fn new(stages: Vec<Box<dyn CostModel>>, transfers: Vec<Transfer>) -> Pipeline {
        let free_at = vec![Time::ZERO; stages.len()];
        let lanes = stages.len() as u16;
        Pipeline { stages, transfers, lanes, ahead: false, free_at, last_end: Time::ZERO, fetch: Time::ZERO }
    }

    /// With other than as many lanes as stages.
    #[must_use]
    pub fn with_lanes(self, lanes: u16) -> Pipeline {
        Pipeline { lanes: lanes.max(1), ..self }
    }

    /// Forms a lane's next batch while its last one is under way.
    #[must_use]
    pub fn ahead(self, ahead: bool) -> Pipeline {
        Pipeline { ahead, ..self }
    }

    /// Sets of sequences that take turns.
    pub(super) fn lanes(&self) -> u16 {
        self.lanes
    }

    pub(super) fn forms_ahead(&self) -> bool {
        self.ahead
    }

    /// Batches that may be in flight.
    pub(super) fn depth(&self) -> usize {
        usize::from(self.lanes) + usize::from(self.ahead)
    }

    /// LoRA adapters of the batch that is sent next, and how long bringing them to the GPUs takes.
    pub(super) fn of_adapters(&mut self, mix: AdapterMix, fetch: Time) {
        self.stages.iter_mut().for_each(|stage| stage.of_adapters(mix));
        self.fetch = fetch;
    }

    /// Sends a batch, formed at `now`, through the stages: so many decoding sequences, each of so many rows (itself and what is drafted
    /// for it). Its input is there from `input` on.
    pub(super) fn pass(&mut self, now: Time, input: Time, batch: &Batch, (sequences, of_each): (u32, u32), context: u64) -> Passage {
        let decoded = u64::from(sequences) * u64::from(of_each);
        let tokens = decoded + batch.prefills.iter().map(|piece| u64::from(piece.new_tokens)).sum::<u64>();
        let mut ready = now + self.fetch;
        let mut whole = StepCost::default();
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let cost = stage_cost(stage.as_mut(), batch, sequences, context);
            if index == 0 {
                // Scheduling is done once, before the first stage.
                whole.host_ps = cost.host_ps;
                whole.padded_tokens = cost.padded_tokens;
                ready = (ready + Time(cost.host_ps)).max(input);
            } else {
                ready += Time(self.transfers.get(index - 1).map_or(0, |transfer| transfer.ps(tokens)));
            }
            ready = ready.max(self.free_at[index]) + Time(cost.device_ps.max(cost.launch_ps));
            self.free_at[index] = ready;
            whole.add_device(&cost, 1);
        }
        let start = now.max(self.last_end);
        let end = ready;
        self.last_end = end;
        let busy_ps = (whole.device_ps / self.stages.len() as u64).min(end.since(start).0);
        let share = |ps: u64| (u128::from(ps) * u128::from(busy_ps) / u128::from(whole.device_ps.max(1))) as u64;
        let mut parts = StepParts {
            gemm_ps: share(whole.parts.gemm_ps),
            attention_ps: share(whole.parts.attention_ps),
            communication_ps: share(whole.parts.communication_ps),
            other_ps: 0,
            host_ps: end.since(start).0 - busy_ps,
        };
        parts.other_ps = busy_ps - parts.gemm_ps - parts.attention_ps - parts.communication_ps;
        Passage { start, end, cost: StepCost { device_ps: busy_ps, parts, ..whole } }
    }
}

/// Cost of a batch on one stage.
fn stage_cost(stage: &mut dyn CostModel, batch: &Batch, sequences: u32, context: u64) -> StepCost {
    if !batch.prefills.is_empty() {
        return stage.mixed(&batch.prefills, sequences, context);
    }
    stage.decode(sequences, context).at(context)
}
