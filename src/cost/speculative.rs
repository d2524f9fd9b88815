//! Steps of speculative decoding: the model verifies `1 + K` tokens of each sequence, after something has drafted K.
//!
//! Verification is a decode step with `1 + K` rows a sequence: every row goes through the matrix products and the LM head, while the
//! context's KV is read once for each sequence. Drafting is K decode steps of the drafter, one after the other, over the same
//! contexts; prompts pass through the drafter too, since it needs their KV. Attention ranks draft together, as they verify: a rank takes
//! part in the pass over the others' prompts and in the drafting for their sequences, with a row for nothing where it has none itself.

use super::model::{AdapterMix, CostModel, DecodeCost, Group, Prefill, StepCost};

/// A cost model of verification and drafting.
pub struct Speculative {
    verifier: Box<dyn CostModel>,
    /// None where drafting takes no time on the device (n-gram lookup), or none of this part of a model.
    drafter: Option<Box<dyn CostModel>>,
    /// K, at least 1.
    drafted: u32,
    /// What the ranks of a group compute in the next step; nothing for an engine of one.
    group: Group,
}

impl Speculative {
    pub fn new(verifier: Box<dyn CostModel>, drafter: Option<Box<dyn CostModel>>, drafted: u32) -> Speculative {
        Speculative { verifier, drafter, drafted, group: Group::default() }
    }

    fn rows(&self, sequences: u32) -> u32 {
        sequences.saturating_mul(self.drafted.saturating_add(1))
    }

    /// One draft for each of these sequences.
    fn draft(&mut self, sequences: u32, context: u64) -> Option<DecodeCost> {
        let drafter = self.drafter.as_mut()?;
        let idle = self.group.idle + u64::from(sequences == 0);
        drafter.of_group(Group { prompt_tokens: 0, idle, ..self.group });
        Some(drafter.decode(sequences.max(1), context.max(1)))
    }

    /// The drafter's pass over prompts, if there are any in the group.
    fn read_prompts(&mut self, prefills: &[Prefill]) -> Option<StepCost> {
        let drafter = self.drafter.as_mut()?;
        drafter.of_group(Group { sequences: 0, ..self.group });
        if !prefills.is_empty() {
            return Some(drafter.mixed(prefills, 0, 0));
        }
        (self.group.prompt_tokens > 0).then(|| drafter.decode(1, 1).at(1))
    }
}

impl CostModel for Speculative {
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost {
        let rows = self.rows(sequences);
        let mut cost = self.verifier.decode(rows, context);
        if let Some(prompts) = self.read_prompts(&[]) {
            cost.fixed.add_device(&prompts, 1);
        }
        if let Some(draft) = self.draft(sequences, context) {
            cost.fixed.add_device(&draft.fixed, self.drafted);
            cost.context_ps += draft.context_ps * u64::from(self.drafted);
            cost.valid_below_context = cost.valid_below_context.min(draft.valid_below_context);
        }
        cost
    }

    fn of_group(&mut self, group: Group) {
        let of_each = u64::from(self.drafted) + 1;
        self.verifier.of_group(Group { sequences: group.sequences * of_each, idle: group.idle * of_each, ..group });
        self.group = group;
    }

    fn of_adapters(&mut self, mix: AdapterMix) {
        self.verifier.of_adapters(mix);
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        let mut cost = self.verifier.mixed(prefills, self.rows(sequences), context);
        if let Some(prompts) = self.read_prompts(prefills) {
            cost.add_device(&prompts, 1);
        }
        if (sequences > 0 || self.group.sequences > 0)
            && let Some(draft) = self.draft(sequences, context)
        {
            cost.add_device(&draft.at(context), self.drafted);
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a nanosecond for each row of the group and a microsecond for each of its own.
    struct Rows(Group);

    fn step(device_ps: u64) -> StepCost {
        StepCost { device_ps, ..StepCost::default() }
    }

    impl CostModel for Rows {
        fn decode(&mut self, sequences: u32, _: u64) -> DecodeCost {
            let device_ps = u64::from(sequences) * 1_000_000 + self.0.rows(1) * 1_000;
            DecodeCost { fixed: step(device_ps), context_ps: 0, valid_below_context: u64::MAX }
        }
        fn of_group(&mut self, group: Group) {
            self.0 = group;
        }
        fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
            let tokens: u64 = prefills.iter().map(|piece| u64::from(piece.new_tokens)).sum();
            step(self.decode(sequences, context).fixed.device_ps + tokens * 1_000_000)
        }
    }

    fn three_drafted() -> Speculative {
        Speculative::new(Box::new(Rows(Group::default())), Some(Box::new(Rows(Group::default()))), 3)
    }

    const PIECE: [Prefill; 1] = [Prefill { new_tokens: 100, past_tokens: 0, completes: true }];

    /// A rank with 2 sequences; another has 5, a third none. Verification: 8 rows of the group's (2 + 5 + 1) x 4 = 32; each of 3 drafts:
    /// 2 rows of the group's 8.
    #[test]
    fn ranks_verify_and_draft_for_all_sequences_of_the_group() {
        let mut cost = three_drafted();
        cost.of_group(Group { prompt_tokens: 0, sequences: 7, idle: 1 });
        let ns = 8_000 + 32 + 3 * (2_000 + 8);
        assert_eq!(cost.decode(2, 500).fixed.device_ps, ns * 1_000);
    }

    /// Beside another rank's prompt of 100 tokens, a rank that decodes takes part in the drafter's pass over it with a row, and the rank with
    /// the prompt in the drafting for 2 sequences. Decoding: 8 rows of 100 + 8; the prompt: 1 of 100; drafts: 3 x (2 of 2). The other: 100
    /// of 108; 100 of 100; 3 x (1 of 2 + 1).
    #[test]
    fn a_rank_without_prompts_or_sequences_takes_part_with_a_row() {
        let group = Group { prompt_tokens: 100, sequences: 2, idle: 0 };
        let mut cost = three_drafted();
        cost.of_group(group);
        assert_eq!(cost.decode(2, 500).fixed.device_ps, (8_000 + 108 + 1_000 + 100 + 3 * (2_000 + 2)) * 1_000);
        cost.of_group(group);
        assert_eq!(cost.mixed(&PIECE, 0, 0).device_ps, (100_000 + 108 + 100_000 + 100 + 3 * (1_000 + 3)) * 1_000);
    }

    /// Alone, drafts are for sequences that decode only.
    #[test]
    fn a_prompt_alone_passes_through_the_drafter_once() {
        assert_eq!(three_drafted().mixed(&PIECE, 0, 0).device_ps, 200_000_000);
        assert_eq!(three_drafted().mixed(&PIECE, 1, 500).device_ps, (104_000 + 100_000 + 3_000) * 1_000);
        assert_eq!(three_drafted().decode(1, 500).fixed.device_ps, (4_000 + 3_000) * 1_000);
    }
}
