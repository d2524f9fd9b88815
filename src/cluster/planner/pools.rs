//! Dynamo's planner over a prefill pool and a decode pool: each is planned by its role, and both share one budget of GPUs.
//!
//! As in `core/load_scaling.py`, `core/throughput_scaling.py` and `core/budget.py` of `components/planner`: nothing is decided while
//! a change of either pool is under way; what does not fit the budget is scaled down in proportion, prefill first, and decode gets the rest.

use super::{Decision, DynamoPlanner, StepTime, Traffic, WorkerLoad};

/// The planner of two pools: prefill, then decode.
#[derive(Clone, Debug)]
pub struct PoolPlanner {
    pools: [DynamoPlanner; 2],
    max_gpus: Option<u32>,
}

impl PoolPlanner {
    /// Of planners with the roles prefill and decode; the first one's budget is that of both.
    pub fn new(mut pools: [DynamoPlanner; 2]) -> PoolPlanner {
        let max_gpus = pools[0].spec.max_gpus;
        pools.iter_mut().for_each(|pool| pool.spec.max_gpus = None);
        PoolPlanner { pools, max_gpus }
    }

    /// Lengths of the requests seen lately.
    pub fn observe(&mut self, traffic: &Traffic) {
        self.pools.iter_mut().for_each(|pool| pool.observe(traffic));
    }

    /// The reactive loop: one replica more or less in each pool. `expected` counts those on their way too.
    pub fn react(&mut self, workers: [&[WorkerLoad]; 2], expected: [u32; 2], engines: [&mut dyn StepTime; 2]) -> [Decision; 2] {
        let steady = workers.iter().zip(&expected).all(|(workers, expected)| workers.len() as u32 == *expected);
        if !steady {
            return [Decision::stay("scaling in progress"); 2];
        }
        let [one, two] = engines;
        let raw = [self.pools[0].react(workers[0], expected[0], one), self.pools[1].react(workers[1], expected[1], two)];
        self.within_budget(raw, expected)
    }

    /// The predictive loop, after an interval with this traffic.
    pub fn predict(&mut self, traffic: &Traffic, expected: [u32; 2], engines: [&mut dyn StepTime; 2]) -> [Decision; 2] {
        let [one, two] = engines;
        let raw = [self.pools[0].predict(traffic, expected[0], one), self.pools[1].predict(traffic, expected[1], two)];
        self.within_budget(raw, expected)
    }

    fn within_budget(&self, raw: [Decision; 2], now: [u32; 2]) -> [Decision; 2] {
        if raw.iter().all(|decision| decision.replicas.is_none()) {
            return raw;
        }
        let wanted = [raw[0].replicas.unwrap_or(now[0]), raw[1].replicas.unwrap_or(now[1])];
        let gpus = [self.pools[0].capability.gpus.max(1), self.pools[1].capability.gpus.max(1)];
        let least = self.pools[0].spec.min_replicas;
        let shared = self.max_gpus.map_or(wanted, |budget| share(wanted, gpus, least, budget));
        let settle = |pool: usize| {
            let reason = if shared[pool] == wanted[pool] { raw[pool].reason } else { "the budget of GPUs" };
            Decision { replicas: (shared[pool] != now[pool]).then_some(shared[pool]), reason }
        };
        [settle(0), settle(1)]
    }
}

/// Replicas of two pools that fit into `budget` GPUs, of which a replica has `gpus`; at least `least` of each, which fit.
fn share(wanted: [u32; 2], gpus: [u32; 2], least: u32, budget: u32) -> [u32; 2] {
    let required = u64::from(wanted[0]) * u64::from(gpus[0]) + u64::from(wanted[1]) * u64::from(gpus[1]);
    if required <= u64::from(budget) {
        return wanted;
    }
    let scaled = (u64::from(wanted[0]) * u64::from(budget) / required) as u32;
    let most = budget.saturating_sub(least * gpus[1]) / gpus[0];
    let first = scaled.min(most).max(least);
    let second = budget.saturating_sub(first * gpus[0]) / gpus[1];
    [first, second.max(least)]
}

#[cfg(test)]
mod tests {
    use super::share;

    /// `_apply_global_gpu_budget` by hand: 6 prefill of 2 GPUs and 6 decode of 4 want 36 of 24: floor(6 * 24 / 36) = 4 prefill, and the
    /// 16 GPUs left are 4 decode.
    #[test]
    fn the_budget_is_shared_in_proportion_and_decode_gets_the_rest() {
        assert_eq!(share([6, 6], [2, 4], 1, 24), [4, 4]);
        assert_eq!(share([2, 3], [2, 4], 1, 16), [2, 3]);
        // 10 and 1 of one GPU, 8 of them: floor(10 * 8 / 11) = 7, one is left.
        assert_eq!(share([10, 1], [1, 1], 1, 8), [7, 1]);
        // 1 and 10: floor(8 / 11) = 0, but one; seven are left.
        assert_eq!(share([1, 10], [1, 1], 1, 8), [1, 7]);
        // Two of each at least: no more prefill than leave room for two decode of four GPUs.
        assert_eq!(share([9, 2], [1, 4], 2, 12), [4, 2]);
    }
}
