//! What breaks and when: a schedule of failures and repairs, known from seed and document alone, so that every entry and every router
//! meets the same ones. What a failure does to requests is the simulation's.
//!
//! A unit is a piece of hardware (or software) that fails as one. It works for a time with mean MTBF, is repaired for a time with mean
//! MTTR, both exponential, and so on, whatever runs on it; failures at given times are added to that.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::rng::{Purpose, Stream};
use crate::units::Time;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// By its number in the run: the replicas' GPUs in order.
    Gpu(u32),
    /// All replicas with a GPU on it go down.
    Node(u32),
    /// The replica cannot be reached: what is in flight is lost, its memory stays.
    Link(u32),
    /// Nothing reaches any replica.
    Router,
    /// The replica is taken down in an orderly way: it finishes what it has.
    Drain(u32),
    /// All GPUs of a replica slow down by a factor: steps last this many thousandths of their time.
    Slow { replica: u32, thousandths: u32 },
}

/// A change of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultEvent {
    pub at: Time,
    pub unit: Unit,
    /// Broken from now on, or whole again.
    pub fails: bool,
}

/// One failure at a given time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scripted {
    pub at: Time,
    pub unit: Unit,
    /// Until it is repaired; [`Time::NEVER`] when it is not.
    pub lasts: Time,
}

/// Random failures of one kind of unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renewal {
    /// Mean time between repair and failure, s.
    pub mtbf_s: f64,
    /// Mean time to repair, s.
    pub mttr_s: f64,
}

/// Everything that is to go wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultSpec {
    pub scripted: Vec<Scripted>,
    pub gpu: Option<Renewal>,
    pub node: Option<Renewal>,
    pub link: Option<Renewal>,
    pub router: Option<Renewal>,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub gpus: u32,
    pub nodes: u32,
    pub replicas: u32,
}

struct Process {
    unit: Unit,
    renewal: Renewal,
    stream: Stream,
}

/// The schedule, in order of time; at the same time in order of units, failures after repairs.
pub struct Schedule {
    due: BinaryHeap<Reverse<(FaultEvent, u32)>>,
    processes: Vec<Process>,
}

/// Of an event that no process made.
const SCRIPTED: u32 = u32::MAX;
/// Shortest time between two changes of a unit: a schedule must come to an end.
const SHORTEST: Time = Time(1_000_000_000);

impl Schedule {
    pub fn new(spec: &FaultSpec, inventory: Inventory, seed: u64) -> Schedule {
        let mut schedule = Schedule { due: BinaryHeap::new(), processes: Vec::new() };
        for scripted in &spec.scripted {
            let mut add = |at: Time, fails: bool| schedule.due.push(Reverse((FaultEvent { at, unit: scripted.unit, fails }, SCRIPTED)));
            add(scripted.at, true);
            let end = scripted.at + scripted.lasts;
            if end != Time::NEVER {
                add(end, false);
            }
        }
        type Kind = (Option<Renewal>, u32, u64, fn(u32) -> Unit);
        let kinds: [Kind; 4] = [
            (spec.gpu, inventory.gpus, 0, Unit::Gpu),
            (spec.node, inventory.nodes, 1, Unit::Node),
            (spec.link, inventory.replicas, 2, Unit::Link),
            (spec.router, 1, 3, |_| Unit::Router),
        ];
        for (renewal, count, kind, unit) in kinds {
            let Some(renewal) = renewal else { continue };
            for index in 0..count {
                let stream = Stream::new(seed, Purpose::Faults, kind << 32 | u64::from(index));
                schedule.processes.push(Process { unit: unit(index), renewal, stream });
                schedule.go_on((schedule.processes.len() - 1) as u32, Time::ZERO, true);
            }
        }
        schedule
    }

    fn go_on(&mut self, process: u32, from: Time, fails: bool) {
        let Some(it) = self.processes.get_mut(process as usize) else { return };
        let mean_s = if fails { it.renewal.mtbf_s } else { it.renewal.mttr_s };
        let at = from + Time::from_s(mean_s * it.stream.exponential()).max(SHORTEST);
        if at != Time::NEVER {
            self.due.push(Reverse((FaultEvent { at, unit: it.unit, fails }, process)));
        }
    }

    /// When something changes next; [`Time::NEVER`] when nothing does.
    pub fn next(&self) -> Time {
        self.due.peek().map_or(Time::NEVER, |Reverse((event, _))| event.at)
    }

    /// Takes what changes next.
    pub fn take(&mut self) -> Option<FaultEvent> {
        let Reverse((event, process)) = self.due.pop()?;
        if process != SCRIPTED {
            self.go_on(process, event.at, !event.fails);
        }
        Some(event)
    }

    /// When one of these units fails next. A failure while another one of them is broken counts.
    pub fn next_failure(&self, concerns: impl Fn(Unit) -> bool) -> Time {
        let failures = self.due.iter().filter(|Reverse((event, _))| event.fails && concerns(event.unit));
        failures.map(|Reverse((event, _))| event.at).min().unwrap_or(Time::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVENTORY: Inventory = Inventory { gpus: 16, nodes: 2, replicas: 4 };

    fn all_until(schedule: &mut Schedule, end: Time) -> Vec<FaultEvent> {
        std::iter::from_fn(|| if schedule.next() <= end { schedule.take() } else { None }).collect()
    }

    #[test]
    fn scripted_failures_come_and_go_in_order() {
        let s = Time::from_s;
        let spec = FaultSpec {
            scripted: vec![
                Scripted { at: s(20.0), unit: Unit::Router, lasts: s(5.0) },
                Scripted { at: s(10.0), unit: Unit::Node(1), lasts: Time::NEVER },
                Scripted { at: s(10.0), unit: Unit::Gpu(3), lasts: s(10.0) },
            ],
            ..FaultSpec::default()
        };
        let mut schedule = Schedule::new(&spec, INVENTORY, 1);
        let told: Vec<(f64, Unit, bool)> =
            all_until(&mut schedule, s(1e6)).iter().map(|event| (event.at.as_s(), event.unit, event.fails)).collect();
        assert_eq!(
            told,
            [
                (10.0, Unit::Gpu(3), true),
                (10.0, Unit::Node(1), true),
                (20.0, Unit::Gpu(3), false),
                (20.0, Unit::Router, true),
                (25.0, Unit::Router, false)
            ]
        );
    }

    /// Of an alternating renewal process the share of time broken tends to MTTR / (MTBF + MTTR), and each unit has 1 failure in MTBF + MTTR.
    #[test]
    fn random_failures_have_the_rate_and_the_downtime_of_the_renewal_process() {
        let renewal = Renewal { mtbf_s: 900.0, mttr_s: 100.0 };
        let mut schedule = Schedule::new(&FaultSpec { gpu: Some(renewal), ..FaultSpec::default() }, INVENTORY, 7);
        let end = 400_000.0;
        let events = all_until(&mut schedule, Time::from_s(end));
        let failures = events.iter().filter(|event| event.fails).count() as f64;
        let expected = 16.0 * end / 1000.0;
        assert!((failures / expected - 1.0).abs() < 0.05, "{failures} of {expected}");
        let mut down = 0.0;
        for gpu in 0..16 {
            let mut since = None;
            for event in events.iter().filter(|event| event.unit == Unit::Gpu(gpu)) {
                assert_eq!(since.is_none(), event.fails, "failures and repairs alternate");
                match since.take() {
                    None => since = Some(event.at),
                    Some(from) => down += event.at.since(from).as_s(),
                }
            }
        }
        let share = down / (16.0 * end);
        assert!((share - 0.1).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_units_failures_do_not_depend_on_the_other_units() {
        let renewal = Some(Renewal { mtbf_s: 50.0, mttr_s: 5.0 });
        let of = |spec: FaultSpec, inventory: Inventory| -> Vec<FaultEvent> {
            let mut schedule = Schedule::new(&spec, inventory, 3);
            all_until(&mut schedule, Time::from_s(1000.0)).into_iter().filter(|event| event.unit == Unit::Gpu(2)).collect()
        };
        let alone = of(FaultSpec { gpu: renewal, ..FaultSpec::default() }, Inventory { gpus: 3, nodes: 0, replicas: 0 });
        let among = of(FaultSpec { gpu: renewal, node: renewal, link: renewal, router: renewal, scripted: Vec::new() }, INVENTORY);
        assert!(!alone.is_empty());
        assert_eq!(alone, among);
    }

    #[test]
    fn the_next_failure_of_some_units_is_foreseen() {
        let renewal = Some(Renewal { mtbf_s: 50.0, mttr_s: 5.0 });
        let mut schedule = Schedule::new(&FaultSpec { gpu: renewal, ..FaultSpec::default() }, INVENTORY, 3);
        for _ in 0..200 {
            let foreseen = schedule.next_failure(|unit| matches!(unit, Unit::Gpu(2 | 5)));
            let mut copy = Time::NEVER;
            let event = schedule.take().unwrap();
            if event.fails && matches!(event.unit, Unit::Gpu(2 | 5)) {
                copy = event.at;
            }
            assert!(copy == Time::NEVER || copy == foreseen, "{copy:?} {foreseen:?}");
        }
    }
}
