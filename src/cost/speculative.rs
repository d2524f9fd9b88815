//! Steps of speculative decoding: the model verifies `1 + K` tokens of each sequence, after something has drafted K.
//!
//! Verification is a decode step with `1 + K` rows a sequence: every row goes through the matrix products and the LM head, while the
//! context's KV is read once for each sequence. Drafting is K decode steps of the drafter, one after the other, over the same
//! contexts; prompts pass through the drafter too, since it needs their KV.

use super::model::{AdapterMix, CostModel, DecodeCost, Prefill, StepCost};

/// A cost model of verification and drafting.
pub struct Speculative {
    verifier: Box<dyn CostModel>,
    /// None where drafting takes no time on the device (n-gram lookup).
    drafter: Option<Box<dyn CostModel>>,
    /// K, at least 1.
    drafted: u32,
}

impl Speculative {
    pub fn new(verifier: Box<dyn CostModel>, drafter: Option<Box<dyn CostModel>>, drafted: u32) -> Speculative {
        Speculative { verifier, drafter, drafted }
    }

    fn rows(&self, sequences: u32) -> u32 {
        sequences.saturating_mul(self.drafted.saturating_add(1))
    }
}

impl CostModel for Speculative {
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost {
        let rows = self.rows(sequences);
        let mut cost = self.verifier.decode(rows, context);
        if let Some(drafter) = &mut self.drafter {
            let draft = drafter.decode(sequences, context);
            cost.fixed.add_device(&draft.fixed, self.drafted);
            cost.context_ps += draft.context_ps * u64::from(self.drafted);
            cost.valid_below_context = cost.valid_below_context.min(draft.valid_below_context);
        }
        cost
    }

    fn of_group(&mut self, rows: u64) {
        self.verifier.of_group(rows);
        // A drafted token of each sequence is one row.
        if let Some(drafter) = &mut self.drafter {
            drafter.of_group(rows.div_ceil(u64::from(self.drafted) + 1));
        }
    }

    fn of_adapters(&mut self, mix: AdapterMix) {
        self.verifier.of_adapters(mix);
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        let mut cost = self.verifier.mixed(prefills, self.rows(sequences), context);
        if let Some(drafter) = &mut self.drafter {
            cost.add_device(&drafter.mixed(prefills, 0, 0), 1);
            if sequences > 0 {
                cost.add_device(&drafter.decode(sequences, context).at(context), self.drafted);
            }
        }
        cost
    }
}
