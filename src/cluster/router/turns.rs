//! Rules that look at no load: in turn, at random, by weight, by conversation, by the prompt's beginning.

use std::collections::BTreeMap;

use super::ready::Ready;
use crate::rng::Stream;
use crate::workload::Request;

/// Next in turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turns {
    next: usize,
}

impl Turns {
    /// The next one that is ready.
    pub fn next(&mut self, ready: &Ready) -> usize {
        let list = ready.list();
        let replica = ready.nth(list.partition_point(|&replica| (replica as usize) < self.next) % list.len().max(1));
        self.next = replica + 1;
        replica
    }
}

/// Sums of weights.
#[derive(Clone, Debug)]
pub struct Weighted {
    weights: Vec<f64>,
    cumulative: Vec<f64>,
}

impl Weighted {
    /// Weights are not negative and not all zero.
    pub fn new(weights: &[f64]) -> Weighted {
        Weighted { weights: weights.to_vec(), cumulative: running_sums(weights.iter().copied()) }
    }

    /// Only these are chosen from now on: evenly, if none of them has a weight.
    pub fn choose_among(&mut self, list: &[u32]) {
        let listed = |replica: usize| list.binary_search(&(replica as u32)).is_ok();
        let weighed = self.weights.iter().enumerate().any(|(replica, weight)| listed(replica) && *weight > 0.0);
        let weight = |(replica, weight): (usize, &f64)| match (listed(replica), weighed) {
            (true, true) => *weight,
            (true, false) => 1.0,
            (false, _) => 0.0,
        };
        self.cumulative = running_sums(self.weights.iter().enumerate().map(weight));
    }

    pub fn choose(&self, stream: &mut Stream) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let point = below(stream, total);
        self.cumulative.partition_point(|&sum| sum <= point).min(self.cumulative.len().saturating_sub(1))
    }
}

fn running_sums(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |weight: f64| {
        sum += weight;
        sum
    };
    weights.map(add).collect()
}

/// Uniform in `[0, bound)`.
pub fn below(stream: &mut Stream, bound: f64) -> f64 {
    (stream.uniform() * bound).min(bound.next_down())
}

/// Where conversations began.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    turns: Turns,
    homes: BTreeMap<u32, usize>,
}

impl Sessions {
    pub fn choose(&mut self, request: &Request, ready: &Ready) -> usize {
        let Some(session) = request.session else { return self.turns.next(ready) };
        if let Some(&home) = self.homes.get(&session).filter(|&&home| ready.is(home)) {
            return home;
        }
        let home = self.turns.next(ready);
        self.homes.insert(session, home);
        home
    }
}

/// A number equal for prompts whose first `tokens` tokens are equal.
pub fn prefix_key(request: &Request, tokens: u32) -> u64 {
    let end = tokens.min(request.input_tokens);
    let (mut covered, mut last) = (0, 0);
    for segment in &request.segments {
        if covered >= end {
            break;
        }
        covered += segment.tokens;
        // A segment's identity includes all that is before it.
        last = u64::from(segment.id.0) + 1;
    }
    // What no segment covers occurs nowhere else.
    let private = if covered < end { u64::from(request.id) + 1 } else { 0 };
    mix(last ^ mix(private))
}

/// The finaliser of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hashes spent on a key whose replicas are not ready, before one of the others takes it.
const REHASHES: u32 = 64;

/// The replica of a key: its own by consistent hashing or, while that is not ready, the first ready one of a chain of further hashes, so
/// that no other key moves.
pub fn hashed(key: u64, replicas: usize, ready: &Ready) -> usize {
    let mut hash = key;
    for _ in 0..REHASHES {
        let replica = jump_hash(hash, replicas);
        if ready.is(replica) {
            return replica;
        }
        hash = mix(hash.wrapping_add(0x9e37_79b9_7f4a_7c15));
    }
    ready.nth(jump_hash(key, ready.list().len()))
}

/// Consistent hashing in logarithmic time (Lamping and Veach 2014): one bucket more moves only its own share of keys.
pub fn jump_hash(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0u64, 0u64);
    while next < buckets as u64 {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    bucket as usize
}
