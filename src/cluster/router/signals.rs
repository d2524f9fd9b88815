//! Rules over signals that engines publish, weighed: the Gateway API's scorers, vLLM's data-parallel balancer.

use super::Fleet;
use super::prefix_index::PrefixIndex;
use super::ready::Ready;
use crate::engine::AdapterSeats;
use crate::rng::Stream;
use crate::units::Time;
use crate::workload::Request;

/// What an engine says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signal {
    pub waiting: u32,
    pub running: u32,
    /// Share of KV blocks that requests hold.
    pub kv_usage: f64,
}

/// The Gateway API's `lora-affinity-scorer`: 1 where the adapter is active, 0.8 where there is room for one more, 0.6 where it waits, else 0. An
/// adapter that runs and waits counts twice against the room, as it does there; the model as it is is no adapter's name.
pub fn affinity(told: &AdapterSeats, adapter: u16) -> f64 {
    if told.active.contains(&adapter) {
        1.0
    } else if told.taken < told.places {
        0.8
    } else if told.waiting.contains(&adapter) {
        0.6
    } else {
        0.0
    }
}

/// The last signals of all engines.
#[derive(Debug)]
pub struct Signals {
    all: Vec<Signal>,
    /// Kept only for who weighs them.
    adapters: Vec<AdapterSeats>,
    live: bool,
}

impl Signals {
    /// `live` signals are as of now; others are as of the last snapshot.
    pub fn new(replicas: usize, live: bool) -> Signals {
        Signals { all: vec![Signal::default(); replicas], adapters: Vec::new(), live }
    }

    /// Asks for adapters too.
    #[must_use]
    pub fn of_adapters(mut self, asked: bool) -> Signals {
        self.adapters.resize(if asked { self.all.len() } else { 0 }, AdapterSeats::default());
        self
    }

    /// Of the last snapshot.
    pub(super) fn last(&self, replica: usize) -> Signal {
        self.all.get(replica).copied().unwrap_or_default()
    }

    /// How near a replica is to the adapter, by the last signals; 0 where nobody asked.
    fn affinity(&self, replica: usize, adapter: u16) -> f64 {
        self.adapters.get(replica).map_or(0.0, |told| affinity(told, adapter))
    }

    pub fn snapshot(&mut self, fleet: &mut dyn Fleet) {
        for (replica, signal) in self.all.iter_mut().enumerate() {
            *signal = fleet.signal(replica);
        }
        for (replica, told) in self.adapters.iter_mut().enumerate() {
            fleet.adapters(replica, told);
        }
    }

    pub(super) fn refresh(&mut self, fleet: &mut dyn Fleet) -> &[Signal] {
        if self.live {
            self.snapshot(fleet);
        }
        &self.all
    }
}

/// vLLM (`engine/core_client.py`): the smallest of `max(clients * in flight, waiting + running) + 6 * waiting * max(0, kv_usage - 0.5)`,
/// where a client knows its own requests in flight at once and the rest by snapshots. One client here.
pub fn vllm_dp_score(in_flight: u32, signal: Signal) -> f64 {
    let requests = in_flight.max(signal.waiting + signal.running);
    f64::from(requests) + 6.0 * f64::from(signal.waiting) * (signal.kv_usage - 0.5).max(0.0)
}

pub fn vllm_dp(signals: &mut Signals, fleet: &mut dyn Fleet, ready: &Ready, in_flight: impl Fn(usize) -> u32) -> usize {
    let mut best = (f64::INFINITY, 0);
    let signals = signals.refresh(fleet);
    for (replica, signal) in ready.list().iter().map(|&replica| (replica as usize, &signals[replica as usize])) {
        let score = vllm_dp_score(in_flight(replica), *signal);
        if score < best.0 {
            best = (score, replica);
        }
    }
    best.1
}

/// Weights of the Gateway API's scorers, each in [0, 1]; the highest sum wins, ties at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScorerWeights {
    pub queue: f64,
    pub kv_utilization: f64,
    pub prefix: f64,
    pub lora: f64,
}

impl Default for ScorerWeights {
    fn default() -> ScorerWeights {
        ScorerWeights { queue: 2.0, kv_utilization: 2.0, prefix: 3.0, lora: 0.0 }
    }
}

impl ScorerWeights {
    /// `queues` are the shortest and the longest of all; `matched` is the share of the prompt that is cached, `affinity` is [`affinity`]'s.
    pub fn score(&self, signal: Signal, queues: (u32, u32), matched: f64, affinity: f64) -> f64 {
        let (shortest, longest) = queues;
        let queue = if longest == shortest { 1.0 } else { f64::from(longest - signal.waiting) / f64::from(longest - shortest) };
        self.queue * queue + self.kv_utilization * (1.0 - signal.kv_usage) + self.prefix * matched + self.lora * affinity
    }
}

/// The pipeline, with its own memory of what was sent where.
#[derive(Debug)]
pub struct Scorers {
    weights: ScorerWeights,
    index: PrefixIndex,
    best: Vec<u32>,
    /// By replica, of the latest request.
    scores: Vec<f64>,
}

impl Scorers {
    pub fn new(weights: ScorerWeights, replicas: usize) -> Scorers {
        Scorers { weights, index: PrefixIndex::new(replicas, Time::NEVER), best: Vec::new(), scores: vec![0.0; replicas] }
    }

    /// By replica, of the latest request.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    pub fn forget(&mut self, replica: usize) {
        self.index.forget_all(replica);
    }

    pub fn choose(
        &mut self,
        request: &Request,
        now: Time,
        signals: &mut Signals,
        fleet: &mut dyn Fleet,
        ready: &Ready,
        stream: &mut Stream,
    ) -> usize {
        signals.refresh(fleet);
        let signals = &*signals;
        let ready = || ready.list().iter().map(|&replica| (replica as usize, &signals.all[replica as usize]));
        let queues = ready().fold((u32::MAX, 0), |(low, high), (_, signal)| (low.min(signal.waiting), high.max(signal.waiting)));
        self.index.look_up(request, now);
        let mut top = f64::NEG_INFINITY;
        self.best.clear();
        for (replica, signal) in ready() {
            let matched = f64::from(self.index.overlap(replica).cached) / f64::from(request.input_tokens.max(1));
            let score = self.weights.score(*signal, queues, matched, signals.affinity(replica, request.adapter));
            self.scores[replica] = score;
            if score > top {
                top = score;
                self.best.clear();
            }
            if score == top {
                self.best.push(replica as u32);
            }
        }
        let chosen = any(&self.best, stream);
        self.index.sent(&request.segments, chosen, now);
        self.index.ended(&request.segments, chosen);
        chosen
    }
}

/// One of several, all alike; no draw where there is no choice.
pub fn any(among: &[u32], stream: &mut Stream) -> usize {
    match among {
        [] => 0,
        [only] => *only as usize,
        _ => among[stream.below(among.len() as u64) as usize] as usize,
    }
}
