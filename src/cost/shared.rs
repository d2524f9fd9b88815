//! Step times that engines alike remember together: what one has worked out is there for the others, and a thousand of them have one table
//! in the processor's caches. The answers are those of a table each.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::calibrated::{Calibrated, CalibratedSpec};
use super::error::CannotModel;
use super::model::{AdapterMix, CostModel, DecodeCost, Group, Prefill, StepCost};

/// The models of a fleet, by what they were made from.
#[derive(Default)]
pub struct SharedCosts(Vec<(Arc<CalibratedSpec>, Rc<RefCell<Calibrated>>)>);

impl SharedCosts {
    /// The step times of one more engine.
    ///
    /// # Errors
    /// A combination that no engine runs or that has no constants.
    pub fn of(&mut self, spec: &Arc<CalibratedSpec>) -> Result<Box<dyn CostModel>, CannotModel> {
        if let Some((_, known)) = self.0.iter().find(|(made_from, _)| Arc::ptr_eq(made_from, spec)) {
            return Ok(Box::new(Shared(known.clone())));
        }
        let made = Rc::new(RefCell::new(Calibrated::new(crate::catalog::builtin(), spec)?));
        self.0.push((spec.clone(), made.clone()));
        Ok(Box::new(Shared(made)))
    }
}

/// One engine's hold on a model. Each call returns before the next is made, so the borrow is always free.
struct Shared(Rc<RefCell<Calibrated>>);

impl CostModel for Shared {
    fn decode(&mut self, sequences: u32, context: u64) -> DecodeCost {
        self.0.borrow_mut().decode(sequences, context)
    }

    fn of_group(&mut self, group: Group) {
        self.0.borrow_mut().of_group(group);
    }

    fn of_adapters(&mut self, mix: AdapterMix) {
        self.0.borrow_mut().of_adapters(mix);
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        self.0.borrow_mut().mixed(prefills, sequences, context)
    }
}
