//! A look at one moment of a run: everything is simulated up to it, then each replica's step under way is told.

use super::{RunPlan, Simulation};
use crate::cluster::router::decisions::Decision;
use crate::config::Diagnostic;
use crate::engine::{Probe, Snapshot};
use crate::metrics::ReplicaInfo;
use crate::units::Time;

/// One replica at a moment.
#[derive(Clone, Debug)]
pub struct ReplicaMoment {
    pub info: ReplicaInfo,
    /// The steps under way; none when it was idle.
    pub steps: Vec<Snapshot>,
    /// When its latest step before ended; zero when it had none.
    pub last_end: Time,
    /// When something happens next on it, [`Time::NEVER`] when nothing is left to do but wait for requests.
    pub next: Time,
}

/// A run at a moment.
#[derive(Clone, Debug)]
pub struct Moment {
    pub run: String,
    pub at: Time,
    pub replicas: Vec<ReplicaMoment>,
    /// The latest choices of the router, in order of time.
    pub routing: Vec<Decision>,
}

/// Why there is nothing to see.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoMoment {
    #[error("the simulation ends at {end_s:.3} s, before {at_s:.3} s")]
    AfterTheEnd { at_s: f64, end_s: f64 },
    #[error("the simulation has not come to this moment yet")]
    NotThereYet,
}

/// A simulation on its way to a moment.
pub struct Inspection {
    simulation: Simulation,
    at: Time,
    /// Where the run itself ends, if it says so.
    horizon: Time,
}

impl Inspection {
    /// Sets a run up to be looked at `at` a moment.
    pub fn new(plan: &RunPlan, at: Time) -> Result<Inspection, Vec<Diagnostic>> {
        let mut simulation = Simulation::new(plan)?;
        simulation.replicas.iter_mut().for_each(|replica| replica.watch(at));
        simulation.router.watch();
        let horizon = simulation.horizon;
        simulation.horizon = at.min(horizon);
        Ok(Inspection { simulation, at, horizon })
    }

    /// Does about `budget` units of work; true when the moment has come.
    pub fn advance(&mut self, budget: u64) -> bool {
        self.simulation.advance(budget).done
    }

    /// What there is to see.
    pub fn moment(&mut self) -> Result<Moment, NoMoment> {
        let simulation = &mut self.simulation;
        if !simulation.done {
            return Err(NoMoment::NotThereYet);
        }
        let more = simulation.has_more();
        let end = if more { self.horizon } else { simulation.now };
        if self.at > end {
            return Err(NoMoment::AfterTheEnd { at_s: self.at.as_s(), end_s: end.as_s() });
        }
        let routing = simulation.router.decisions();
        let infos = &simulation.plan.info.replicas;
        let replicas = simulation.replicas.iter().zip(infos).map(|(replica, info)| {
            let (steps, last_end) =
                replica.probe().map_or((Vec::new(), Time::ZERO), |probe| (probe.found().to_vec(), Probe::last_end(probe)));
            ReplicaMoment { info: info.clone(), steps, last_end, next: replica.next_event() }
        });
        Ok(Moment { run: simulation.plan.name.clone(), at: self.at, replicas: replicas.collect(), routing })
    }
}
