//! SGLang's cache-aware router (`policies/cache_aware.rs`, sglang-router 0.3.2).
//!
//! With balanced load the replica that was sent the longest matching beginning takes the request, if enough of it matches; else the
//! least loaded one. What was sent where is the router's own memory, cut back now and then; what the engines evict it does not know.

use super::loads::Loads;
use super::prefix_index::PrefixIndex;
use super::ready::Ready;
use crate::units::Time;
use crate::workload::Request;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CacheAwareOptions {
    /// Share of the prompt that must match.
    pub cache_threshold: f64,
    /// Load is out of balance when the most and the least loaded replica are further apart than this …
    pub balance_abs_threshold: u32,
    /// … and than this factor.
    pub balance_rel_threshold: f64,
    pub eviction_interval: Time,
    /// Tokens remembered for each replica after an eviction.
    pub max_tree_tokens: u64,
}

impl Default for CacheAwareOptions {
    fn default() -> CacheAwareOptions {
        CacheAwareOptions {
            cache_threshold: 0.3,
            balance_abs_threshold: 64,
            balance_rel_threshold: 1.5,
            eviction_interval: Time::from_s(60.0),
            // 2^26 characters, at four a token.
            max_tree_tokens: 1 << 24,
        }
    }
}

#[derive(Debug)]
pub struct CacheAware {
    options: CacheAwareOptions,
    index: PrefixIndex,
    next_eviction: Time,
}

impl CacheAware {
    pub fn new(options: CacheAwareOptions, replicas: usize) -> CacheAware {
        CacheAware { options, index: PrefixIndex::new(replicas, Time::NEVER), next_eviction: options.eviction_interval }
    }

    pub fn forget(&mut self, replica: usize) {
        self.index.forget_all(replica);
    }

    pub fn choose(&mut self, request: &Request, now: Time, loads: &Loads, ready: &Ready) -> usize {
        if now >= self.next_eviction {
            self.index.evict(self.options.max_tree_tokens);
            let periods = now.0 / self.options.eviction_interval.0.max(1) + 1;
            self.next_eviction = Time(periods.saturating_mul(self.options.eviction_interval.0.max(1)));
        }
        let (least, idlest) = loads.least();
        let most = loads.most();
        let apart = most - least > u64::from(self.options.balance_abs_threshold);
        let chosen = if apart && most as f64 > self.options.balance_rel_threshold * least as f64 {
            idlest
        } else {
            self.index.look_up(request, now);
            let found = self.index.found().iter().filter(|&&replica| ready.is(replica as usize));
            let best = found.map(|&replica| (self.index.overlap(replica as usize).cached, replica));
            match best.min_by_key(|&(matched, replica)| (u32::MAX - matched, replica)) {
                Some((matched, replica)) if f64::from(matched) > self.options.cache_threshold * f64::from(request.input_tokens) => {
                    replica as usize
                }
                _ => idlest,
            }
        };
        // Only what is remembered matters here, not what is in flight.
        self.index.sent(&request.segments, chosen, now);
        self.index.ended(&request.segments, chosen);
        chosen
    }
}
