//! Load balancing over replicas: the original project's five strategies, `least_loaded` repaired.

use std::collections::BTreeMap;

use crate::config::schema::LoadBalancing;
use crate::rng::{Purpose, Stream};
use crate::workload::Request;

/// Chooses a replica for each request, in order of arrival.
#[derive(Debug)]
pub struct Router {
    strategy: LoadBalancing,
    /// Sum of weights up to each replica, for `weighted_random`.
    cumulative: Vec<f64>,
    replicas: usize,
    next: usize,
    stream: Stream,
    homes: BTreeMap<u32, usize>,
}

impl Router {
    /// A router over `weights.len()` (at least 1) replicas. Weights count for `weighted_random` only; they are not negative and
    /// not all zero.
    pub fn new(strategy: LoadBalancing, weights: &[f64], seed: u64) -> Router {
        let mut sum = 0.0;
        let cumulative = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Router {
            strategy,
            cumulative,
            replicas: weights.len(),
            next: 0,
            stream: Stream::new(seed, Purpose::Routing, 0),
            homes: BTreeMap::new(),
        }
    }

    /// The replica for a request; `load` gives the requests waiting and running on each.
    pub fn route(&mut self, request: &Request, load: impl Fn(usize) -> u32) -> usize {
        if self.replicas == 1 {
            return 0;
        }
        match self.strategy {
            LoadBalancing::RoundRobin => self.turn(),
            LoadBalancing::Random => self.below(self.replicas as f64) as usize,
            LoadBalancing::LeastLoaded => (0..self.replicas).min_by_key(|&replica| load(replica)).unwrap_or(0),
            LoadBalancing::WeightedRandom => {
                let total = self.cumulative.last().copied().unwrap_or(0.0);
                let point = self.below(total);
                self.cumulative.iter().position(|&sum| point < sum).unwrap_or(self.replicas - 1)
            }
            LoadBalancing::SessionAffinity => {
                let Some(session) = request.session else { return self.turn() };
                if let Some(&home) = self.homes.get(&session) {
                    return home;
                }
                let home = self.turn();
                self.homes.insert(session, home);
                home
            }
        }
    }

    fn turn(&mut self) -> usize {
        let replica = self.next;
        self.next = (self.next + 1) % self.replicas;
        replica
    }

    /// Uniform in `[0, bound)`.
    fn below(&mut self, bound: f64) -> f64 {
        (self.stream.uniform() * bound).min(bound.next_down())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Time;

    fn request(session: u32) -> Request {
        Request {
            id: 0,
            profile: 0,
            session: Some(session),
            turn: 0,
            sent: Time::ZERO,
            arrival: Time::ZERO,
            input_tokens: 1,
            output_tokens: 1,
            max_tokens: 1,
            ignore_eos: true,
            hangs_up: Time::NEVER,
            priority: 0,
            segments: Box::default(),
            output_segment: None,
        }
    }

    fn shares(strategy: LoadBalancing, weights: &[f64]) -> Vec<u32> {
        let mut router = Router::new(strategy, weights, 7);
        let mut shares = vec![0; weights.len()];
        for session in 0..9000 {
            shares[router.route(&request(session), |_| 0)] += 1;
        }
        shares
    }

    #[test]
    fn shares_follow_the_strategy() {
        assert_eq!(shares(LoadBalancing::RoundRobin, &[1.0; 3]), [3000; 3]);
        assert!(shares(LoadBalancing::Random, &[1.0; 3]).iter().all(|&share| (2800..3200).contains(&share)));
        let weighted = shares(LoadBalancing::WeightedRandom, &[1.0, 0.0, 2.0]);
        assert!(weighted[1] == 0 && (2800..3200).contains(&weighted[0]));
    }

    #[test]
    fn least_loaded_looks_at_the_load() {
        let mut router = Router::new(LoadBalancing::LeastLoaded, &[1.0; 3], 7);
        let load = [5, 2, 3];
        assert_eq!(router.route(&request(0), |replica| load[replica]), 1);
    }

    #[test]
    fn a_session_stays_where_it_began() {
        let mut router = Router::new(LoadBalancing::SessionAffinity, &[1.0; 3], 7);
        let first: Vec<usize> = (0..6).map(|session| router.route(&request(session), |_| 0)).collect();
        assert_eq!(first, [0, 1, 2, 0, 1, 2]);
        let second: Vec<usize> = (0..6).rev().map(|session| router.route(&request(session), |_| 0)).collect();
        assert_eq!(second, [2, 1, 0, 2, 1, 0]);
    }
}
