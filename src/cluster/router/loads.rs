//! Requests in flight by replica, as the router knows them: at once, or as they were at the last snapshot.

use crate::cluster::tournament::Tournament;

/// Requests in flight, and the least of them.
#[derive(Debug)]
pub struct Loads {
    now: Vec<u32>,
    /// What the router sees.
    seen: Tournament,
    /// Counts of replicas by load seen, for the greatest.
    by_load: Vec<u32>,
    most: usize,
    stale: bool,
    /// What was seen of each, whether it takes requests or not.
    known: Vec<u32>,
    away: Vec<bool>,
}

impl Loads {
    /// With `stale`, what is seen changes by `snapshot` only.
    pub fn new(replicas: usize, stale: bool) -> Loads {
        Loads {
            now: vec![0; replicas],
            seen: Tournament::new(replicas, 0),
            by_load: vec![replicas as u32],
            most: 0,
            stale,
            known: vec![0; replicas],
            away: vec![false; replicas],
        }
    }

    pub fn add(&mut self, replica: usize) {
        self.now[replica] += 1;
        if !self.stale {
            self.see(replica);
        }
    }

    pub fn remove(&mut self, replica: usize) {
        self.now[replica] = self.now[replica].saturating_sub(1);
        if !self.stale {
            self.see(replica);
        }
    }

    pub fn snapshot(&mut self) {
        for replica in 0..self.now.len() {
            self.see(replica);
        }
    }

    /// One that takes no requests is neither the least nor the most loaded.
    pub fn set_available(&mut self, replica: usize, available: bool) {
        let load = self.known[replica] as usize;
        self.away[replica] = !available;
        if available {
            self.by_load[load] += 1;
            self.most = self.most.max(load);
            self.seen.set(replica, load as u64);
        } else {
            self.by_load[load] -= 1;
            self.lower_most();
            self.seen.set(replica, u64::MAX);
        }
    }

    fn lower_most(&mut self) {
        while self.most > 0 && self.by_load[self.most] == 0 {
            self.most -= 1;
        }
    }

    fn see(&mut self, replica: usize) {
        let (before, after) = (self.known[replica] as usize, self.now[replica] as usize);
        if before == after {
            return;
        }
        self.known[replica] = after as u32;
        if self.by_load.len() <= after {
            self.by_load.resize(after + 1, 0);
        }
        if self.away[replica] {
            return;
        }
        self.by_load[before] -= 1;
        self.by_load[after] += 1;
        self.most = self.most.max(after);
        self.lower_most();
        self.seen.set(replica, after as u64);
    }

    /// Requests in flight as seen.
    pub fn seen(&self, replica: usize) -> u64 {
        u64::from(self.known[replica])
    }

    /// Requests in flight, whatever the router sees.
    pub fn now(&self, replica: usize) -> u32 {
        self.now[replica]
    }

    /// The least load seen and the first replica that has it.
    pub fn least(&self) -> (u64, usize) {
        self.seen.first()
    }

    /// The greatest load seen.
    pub fn most(&self) -> u64 {
        self.most as u64
    }
}
