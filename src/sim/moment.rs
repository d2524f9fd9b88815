//! A look at one moment of a run: everything is simulated up to it, then each replica's step under way is told.

use super::operations::Retry;
use super::{RunPlan, Simulation};
use crate::cluster::router::decisions::Decision;
use crate::config::Diagnostic;
use crate::engine::{Probe, Snapshot};
use crate::metrics::{FleetEvent, ReplicaInfo};
use crate::units::Time;

/// Events of a fleet that a moment tells of: the latest.
const EVENTS_TOLD: usize = 24;

/// One replica at a moment.
#[derive(Clone, Debug)]
pub struct ReplicaMoment {
    pub info: ReplicaInfo,
    /// The steps under way; none when it was idle.
    pub steps: Vec<Snapshot>,
    /// Of attention ranks: the step of each, where it computes anything in it; `steps` are the first one's. Else nothing.
    pub ranks: Vec<Vec<Snapshot>>,
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
    /// The router's rule, as documents name it, and its latest choices, in order of time.
    pub rule: &'static str,
    pub routing: Vec<Decision>,
    /// What happened to the fleet last: scaling, failures, drains. In order of time.
    pub events: Vec<FleetEvent>,
    /// The latest tries that failed, and what became of the requests. In order of time.
    pub retries: Vec<Retry>,
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
        if let Some(operations) = &mut simulation.operations {
            operations.watch();
        }
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
            let ranks = replica.rank_probes().iter().map(|probe| probe.found().to_vec()).collect();
            ReplicaMoment { info: info.clone(), steps, ranks, last_end, next: replica.next_event() }
        });
        let replicas = replicas.collect();
        let (run, rule) = (simulation.plan.name.clone(), simulation.plan.router.rule.name());
        let retries = simulation.operations.as_ref().map(|operations| operations.tried_again()).unwrap_or_default();
        let log = &simulation.recorder.fleet_log().events;
        let until = log.partition_point(|event| event.at_ps <= self.at.0);
        let events = log[until.saturating_sub(EVENTS_TOLD)..until].to_vec();
        Ok(Moment { run, at: self.at, replicas, rule, routing, events, retries })
    }
}
