//! Second tries: when, and whether at all. What a try keeps of the one before it is the simulation's.
//!
//! The wait grows exponentially with a jitter of a fifth (gRPC's proposal A6); the budget is Envoy's: retries that wait or run may be a
//! share of all requests under way, and a few in any case.

use crate::rng::{Purpose, Stream};
use crate::units::Time;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySpec {
    /// Tries of a request in all, the first included.
    pub max_attempts: u32,
    pub initial_backoff: Time,
    pub multiplier: f64,
    pub max_backoff: Time,
    /// Share of the requests under way that may be retries.
    pub budget: f64,
    /// Retries allowed whatever the share.
    pub min_concurrency: u32,
    /// Requests turned away (queue full, no replica) are tried again too, not only lost ones.
    pub rejected: bool,
    /// What came out is kept: the next try goes on from there (Dynamo's request migration).
    pub keep_tokens: bool,
}

impl Default for RetrySpec {
    fn default() -> RetrySpec {
        RetrySpec {
            max_attempts: 3,
            initial_backoff: Time::from_ms(100.0),
            multiplier: 2.0,
            max_backoff: Time::from_s(10.0),
            budget: 0.2,
            min_concurrency: 3,
            rejected: true,
            keep_tokens: false,
        }
    }
}

/// The rule, and its dice.
#[derive(Debug)]
pub struct Retries {
    spec: RetrySpec,
    stream: Stream,
    /// Retries that wait or run.
    under_way: u32,
}

impl Retries {
    pub fn new(spec: RetrySpec, seed: u64) -> Retries {
        Retries { spec, stream: Stream::new(seed, Purpose::Retries, 0), under_way: 0 }
    }

    pub fn spec(&self) -> &RetrySpec {
        &self.spec
    }

    /// Whether a request that has been tried `attempts` times may be tried again, and after how long. `requests` are under way in all,
    /// this one included. What is granted counts until [`Retries::ended`].
    pub fn grant(&mut self, attempts: u32, requests: u32) -> Option<Time> {
        let allowed = (self.spec.budget * f64::from(requests)).max(f64::from(self.spec.min_concurrency));
        if attempts >= self.spec.max_attempts || f64::from(self.under_way) >= allowed {
            return None;
        }
        self.under_way += 1;
        let mut wait_s = self.spec.initial_backoff.as_s();
        for _ in 1..attempts {
            wait_s = (wait_s * self.spec.multiplier).min(self.spec.max_backoff.as_s());
        }
        Some(Time::from_s(wait_s * (0.8 + 0.4 * self.stream.uniform())))
    }

    /// A retry has ended, one way or another.
    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_within_a_fifth() {
        let spec = RetrySpec { max_attempts: 20, budget: 1.0, max_backoff: Time::from_s(1.0), ..RetrySpec::default() };
        let mut retries = Retries::new(spec, 1);
        for (attempts, expected_s) in [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (9, 1.0)] {
            let (mut least, mut most) = (f64::INFINITY, 0.0f64);
            for _ in 0..200 {
                let wait = retries.grant(attempts, 1000).unwrap().as_s();
                retries.ended();
                (least, most) = (least.min(wait), most.max(wait));
            }
            assert!(least >= 0.8 * expected_s && most <= 1.2 * expected_s, "{attempts}: {least} {most}");
            assert!(least < 0.83 * expected_s && most > 1.17 * expected_s, "{attempts}: {least} {most}");
        }
    }

    #[test]
    fn attempts_and_budget_end() {
        let mut retries = Retries::new(RetrySpec::default(), 1);
        assert!(retries.grant(2, 10).is_some());
        assert!(retries.grant(3, 10).is_none());
        // A fifth of 10 is less than the 3 that are always allowed.
        assert!(retries.grant(1, 10).is_some() && retries.grant(1, 10).is_some());
        assert!(retries.grant(1, 10).is_none());
        // A fifth of 20.
        assert!(retries.grant(1, 20).is_some());
        assert!(retries.grant(1, 20).is_none());
        retries.ended();
        assert!(retries.grant(1, 20).is_some());
    }
}
