//! Flows over shared links: how fast each goes, and when it ends.
//!
//! Rates are max-min fair, as those of many long-lived streams under fair queueing: all rates rise together until a link is full; the
//! flows over it keep what they have, the others rise on (progressive filling: Bertsekas and Gallager, *Data Networks*, 6.5.2). They
//! are worked out anew whenever a flow starts or ends, and are whole bytes a second: a link loses less than one byte a second for each of
//! its flows. What is left of a flow is counted in bytes times picoseconds over seconds, so nothing is rounded on the way, and a flow
//! ends on the first picosecond by which all of it has gone.

use crate::units::{PS_PER_S, Time};

/// A link in one direction.
pub type LinkId = u32;

/// A flow under way.
#[derive(Clone, Debug)]
struct Flow {
    /// Whose it is.
    owner: u32,
    path: Vec<LinkId>,
    /// Bytes left, times [`PS_PER_S`].
    left: u128,
    /// Bytes a second.
    rate: u64,
    settled: bool,
}

/// Links and the flows over them.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// Bytes a second that each link carries, at least 1.
    capacities: Vec<u64>,
    /// What each link has carried, bytes times [`PS_PER_S`].
    carried: Vec<u128>,
    flows: Vec<Flow>,
    now: Time,
    /// Of links in the filling under way: what is left of the capacity and how many flows still rise; and which links take part.
    spare: Vec<u64>,
    rising: Vec<u32>,
    touched: Vec<LinkId>,
}

impl Flows {
    /// Links without flows. `capacities` are bytes a second; nothing is slower than one.
    pub fn new(capacities: Vec<u64>) -> Flows {
        let links = capacities.len();
        let capacities = capacities.into_iter().map(|capacity| capacity.max(1)).collect();
        Flows { capacities, carried: vec![0; links], spare: vec![0; links], rising: vec![0; links], ..Flows::default() }
    }

    /// A flow of `bytes` starts at `at`, which is not before anything that has happened here. `path` names each link once. One without
    /// bytes or links ends at once.
    pub fn start(&mut self, at: Time, owner: u32, bytes: u64, path: &[LinkId]) {
        self.move_to(at);
        let left = u128::from(if path.is_empty() { 0 } else { bytes }) * u128::from(PS_PER_S);
        self.flows.push(Flow { owner, path: path.to_vec(), left, rate: 0, settled: false });
        self.fill();
    }

    /// When the next flow ends; [`Time::NEVER`] when none is under way.
    pub fn next_end(&self) -> Time {
        self.flows.iter().map(|flow| self.end(flow)).min().unwrap_or(Time::NEVER)
    }

    fn end(&self, flow: &Flow) -> Time {
        if flow.left == 0 {
            return self.now;
        }
        let span = flow.left.div_ceil(u128::from(flow.rate.max(1)));
        self.now + Time(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// Takes the flows that have ended by `at` out, appending their owners in order of start. `at` is not after [`Flows::next_end`].
    pub fn end_by(&mut self, at: Time, ended: &mut Vec<u32>) {
        self.move_to(at);
        let before = self.flows.len();
        self.flows.retain(|flow| {
            if flow.left == 0 {
                ended.push(flow.owner);
            }
            flow.left > 0
        });
        if self.flows.len() < before {
            self.fill();
        }
    }

    /// Stops all flows of an owner at `at`.
    pub fn stop(&mut self, at: Time, owner: u32) {
        self.move_to(at);
        self.flows.retain(|flow| flow.owner != owner);
        self.fill();
    }

    /// Owner and rate, bytes a second, of each flow under way, in order of start.
    pub fn rates(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.flows.iter().map(|flow| (flow.owner, flow.rate))
    }

    /// Bytes that a link has carried so far, rounded down.
    pub fn carried(&self, link: LinkId) -> u64 {
        (self.carried[link as usize] / u128::from(PS_PER_S)) as u64
    }

    /// Bytes that each link has carried, and its bytes a second.
    pub fn links(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..self.capacities.len() as LinkId).map(|link| (self.carried(link), self.capacity(link)))
    }

    /// Bytes a second of a link.
    pub fn capacity(&self, link: LinkId) -> u64 {
        self.capacities[link as usize]
    }

    fn move_to(&mut self, at: Time) {
        let span = u128::from(at.since(self.now).0);
        self.now = self.now.max(at);
        if span == 0 {
            return;
        }
        for flow in &mut self.flows {
            let gone = (u128::from(flow.rate) * span).min(flow.left);
            flow.left -= gone;
            for &link in &flow.path {
                self.carried[link as usize] += gone;
            }
        }
    }

    /// Gives every flow its fair rate.
    fn fill(&mut self) {
        for flow in &mut self.flows {
            flow.settled = flow.path.is_empty();
            for &link in &flow.path {
                let link = link as usize;
                if self.rising[link] == 0 {
                    self.spare[link] = self.capacities[link];
                    self.touched.push(link as LinkId);
                }
                self.rising[link] += 1;
            }
        }
        loop {
            let shares = self.touched.iter().filter(|&&link| self.rising[link as usize] > 0);
            let shares = shares.map(|&link| (self.spare[link as usize] / u64::from(self.rising[link as usize]), link));
            let Some((share, full)) = shares.min() else { break };
            for flow in self.flows.iter_mut().filter(|flow| !flow.settled && flow.path.contains(&full)) {
                flow.settled = true;
                flow.rate = share.max(1);
                for &link in &flow.path {
                    self.spare[link as usize] -= share;
                    self.rising[link as usize] -= 1;
                }
            }
        }
        self.touched.clear();
    }
}
