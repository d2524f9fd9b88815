//! Which replica serves a request: one file for each family of rules. A router knows what passes through it, and of engines what they
//! tell; both may be old. Which options a document may give is decided in `spec`.

pub mod cache_aware;
pub mod decisions;
pub mod kv;
mod loads;
mod prefix_index;
pub mod queue;
mod ready;
pub mod signals;
mod spec;
pub mod turns;

use std::collections::VecDeque;

use crate::cluster::tournament::Tournament;
use crate::engine::AdapterSeats;
use crate::kv::Held;
use crate::rng::{Purpose, Stream};
use crate::units::Time;
use crate::workload::Request;
use cache_aware::{CacheAware, CacheAwareOptions};
use decisions::{Decision, Decisions, Score};
use kv::{KvOptions, KvRouter};
use loads::Loads;
use queue::KvQueue;
use ready::Ready;
use signals::{ScorerWeights, Scorers, Signal, Signals};
use turns::{Sessions, Turns, Weighted};

/// What engines tell a router, when asked.
pub trait Fleet {
    fn signal(&mut self, replica: usize) -> Signal;

    /// What the replica says of its LoRA adapters, into `told`.
    fn adapters(&mut self, _replica: usize, _told: &mut AdapterSeats) {}

    /// Leading tokens of the prompt in the replica's memory; `None` when its kind of cache does not say.
    fn held(&mut self, replica: usize, request: &Request) -> Option<Held>;
}

/// A rule with its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    RoundRobin,
    Random,
    Weighted(Vec<f64>),
    LeastLoaded,
    PowerOfTwo,
    SessionAffinity,
    PrefixHash { tokens: u32 },
    CacheAware(CacheAwareOptions),
    Kv(KvOptions),
    Scorers(ScorerWeights),
    VllmDp,
}

impl Rule {
    /// Its name in documents.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::RoundRobin => "round_robin",
            Rule::Random => "random",
            Rule::Weighted(_) => "weighted",
            Rule::LeastLoaded => "least_loaded",
            Rule::PowerOfTwo => "power_of_two",
            Rule::SessionAffinity => "session_affinity",
            Rule::PrefixHash { .. } => "prefix_hash",
            Rule::CacheAware(_) => "cache_aware",
            Rule::Kv(_) => "kv",
            Rule::Scorers(_) => "scorers",
            Rule::VllmDp => "vllm_dp",
        }
    }
}

/// A router as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSpec {
    pub rule: Rule,
    /// Time between two looks at the engines; zero is all the time.
    pub snapshot_interval: Time,
    /// Time until the router hears that a prompt is computed or a request has ended.
    pub event_delay: Time,
}

impl RouterSpec {
    pub fn new(rule: Rule) -> RouterSpec {
        RouterSpec { rule, snapshot_interval: Time::ZERO, event_delay: Time::ZERO }
    }

    /// In front of engines with these limits, with tiers of KV below the GPU or without.
    #[must_use]
    pub fn before(mut self, max_num_batched_tokens: u32, lower_tiers: bool) -> RouterSpec {
        if let Rule::Kv(options) = &mut self.rule {
            options.lower_tiers = lower_tiers;
            if let Some(queue) = &mut options.queue {
                queue.max_num_batched_tokens = max_num_batched_tokens;
            }
        }
        self
    }

    /// Whether it matters which LoRA adapters engines serve.
    pub fn weighs_adapters(&self) -> bool {
        matches!(&self.rule, Rule::Scorers(weights) if weights.lora > 0.0)
    }

    /// The queue of its own that the router has.
    pub fn queue(&self) -> Option<KvQueue> {
        match &self.rule {
            Rule::Kv(options) => options.queue,
            _ => None,
        }
    }
}

enum State {
    RoundRobin(Turns),
    Random,
    Weighted(Weighted),
    LeastLoaded,
    PowerOfTwo,
    SessionAffinity(Sessions),
    PrefixHash {
        tokens: u32,
    },
    CacheAware(Box<CacheAware>),
    Kv(Box<KvRouter>),
    Scorers(Box<Scorers>),
    /// By score, in its bits, where signals are of the last snapshot: scores are no less than 0, and so in the order of their bits.
    VllmDp(Option<Tournament>),
}

/// News on their way to the router.
#[derive(Clone, Copy, Debug)]
struct News {
    known: Time,
    replica: usize,
    id: u32,
    ended: bool,
}

/// Chooses a replica for each request, in order of arrival.
pub struct Router {
    state: State,
    replicas: usize,
    /// There is nothing to choose and nothing to wait for.
    idle: bool,
    /// Requests wait in a queue of its own.
    queues: bool,
    ready: Ready,
    stream: Stream,
    loads: Loads,
    signals: Signals,
    event_delay: Time,
    snapshot_interval: Time,
    last_snapshot: Time,
    news: VecDeque<News>,
    /// Kept only when asked for.
    decisions: Option<Decisions>,
}

impl Router {
    /// A router over `replicas` (at least 1) replicas; `Rule::Weighted` has as many weights.
    pub fn new(spec: &RouterSpec, replicas: usize, seed: u64) -> Router {
        let state = match &spec.rule {
            Rule::RoundRobin => State::RoundRobin(Turns::default()),
            Rule::Random => State::Random,
            Rule::Weighted(weights) => State::Weighted(Weighted::new(weights)),
            Rule::LeastLoaded => State::LeastLoaded,
            Rule::PowerOfTwo => State::PowerOfTwo,
            Rule::SessionAffinity => State::SessionAffinity(Sessions::default()),
            Rule::PrefixHash { tokens } => State::PrefixHash { tokens: *tokens },
            Rule::CacheAware(options) => State::CacheAware(Box::new(CacheAware::new(*options, replicas))),
            Rule::Kv(options) => {
                let late = spec.event_delay.max(spec.snapshot_interval) > Time::ZERO;
                State::Kv(Box::new(KvRouter::new(KvOptions { late, ..*options }, replicas)))
            }
            Rule::Scorers(weights) => State::Scorers(Box::new(Scorers::new(*weights, replicas))),
            Rule::VllmDp => State::VllmDp((spec.snapshot_interval > Time::ZERO).then(|| Tournament::new(replicas, 0))),
        };
        let stale = spec.snapshot_interval > Time::ZERO;
        Router {
            state,
            replicas,
            idle: replicas == 1 && spec.queue().is_none(),
            queues: spec.queue().is_some(),
            ready: Ready::new(replicas),
            stream: Stream::new(seed, Purpose::Routing, 0),
            loads: Loads::new(replicas, stale),
            signals: Signals::new(replicas, !stale).of_adapters(spec.weighs_adapters()),
            event_delay: spec.event_delay,
            snapshot_interval: spec.snapshot_interval,
            last_snapshot: Time::ZERO,
            news: VecDeque::new(),
            decisions: None,
        }
    }

    /// Keeps the latest decisions with what was weighed.
    pub fn watch(&mut self) {
        self.decisions = Some(Decisions::default());
    }

    /// The latest decisions, when they are kept.
    pub fn decisions(&self) -> Vec<Decision> {
        self.decisions.iter().flat_map(Decisions::list).cloned().collect()
    }

    /// Keeps a decision that has just been made, before the request counts as in flight.
    fn tell_of(&mut self, request: &Request, now: Time, chosen: usize, costs: Vec<(u32, f64)>, fleet: &mut dyn Fleet) {
        let Some(decisions) = &mut self.decisions else { return };
        let ready = self.ready.list();
        let all = |score: &dyn Fn(usize) -> f64| ready.iter().map(|&replica| (replica, score(replica as usize))).collect::<Vec<_>>();
        let (score, scores) = match &self.state {
            State::LeastLoaded | State::PowerOfTwo | State::CacheAware(_) => {
                (Score::InFlight, all(&|replica| self.loads.seen(replica) as f64))
            }
            State::Kv(_) => (Score::Cost, costs),
            State::Scorers(state) => (Score::Sum, all(&|replica| state.scores().get(replica).copied().unwrap_or(0.0))),
            State::VllmDp(_) => {
                let loads = &self.loads;
                let signals = self.signals.refresh(fleet);
                (Score::Pressure, all(&|replica| signals::vllm_dp_score(loads.now(replica), signals[replica])))
            }
            State::RoundRobin(_) | State::Random | State::Weighted(_) | State::SessionAffinity(_) | State::PrefixHash { .. } => {
                (Score::None, Vec::new())
            }
        };
        let candidates = ready.len() as u32;
        decisions.keep(Decision { request: request.id, at: now, chosen: chosen as u32, score, scores, candidates });
    }

    /// Whether the replica takes requests from now on. What it has in flight stays.
    pub fn set_available(&mut self, replica: usize, available: bool) {
        if !self.ready.set(replica, available) {
            return;
        }
        self.loads.set_available(replica, available);
        self.score(replica);
        if let State::Weighted(weighted) = &mut self.state {
            weighted.choose_among(self.ready.list());
        }
        if let State::Kv(state) = &mut self.state {
            state.set_available(replica, available);
        }
    }

    /// Replicas that take requests.
    pub fn available(&self) -> &[u32] {
        self.ready.list()
    }

    /// The replica has lost its memory: what was sent there is no longer cached.
    pub fn forget(&mut self, replica: usize) {
        match &mut self.state {
            State::CacheAware(state) => state.forget(replica),
            State::Kv(state) => state.forget(replica),
            State::Scorers(state) => state.forget(replica),
            _ => {}
        }
    }

    /// The replica for a request that arrives at `now`, one of those available, of which there is at least one. The request counts as
    /// in flight from here on.
    pub fn route(&mut self, request: &Request, now: Time, fleet: &mut dyn Fleet) -> usize {
        if self.idle {
            return 0;
        }
        self.hear(now);
        // Before the choice: it changes the books.
        let costs = match (&self.decisions, &self.state) {
            (Some(_), State::Kv(state)) => {
                state.scores(request, now, fleet, &self.ready).iter().map(|score| (score.replica, score.cost)).collect()
            }
            _ => Vec::new(),
        };
        let (replicas, loads, ready) = (self.replicas, &self.loads, &self.ready);
        let count = ready.list().len();
        let replica = match &mut self.state {
            State::RoundRobin(turns) => turns.next(ready),
            State::Random => ready.nth(turns::below(&mut self.stream, count as f64) as usize),
            State::Weighted(weighted) => weighted.choose(&mut self.stream),
            State::LeastLoaded => loads.least().1,
            State::PowerOfTwo => {
                let one = self.stream.below(count as u64) as usize;
                let two = self.stream.below((count as u64).saturating_sub(1)) as usize;
                let two = if two < one || count == 1 { two } else { two + 1 };
                let (one, two) = (ready.nth(one), ready.nth(two));
                if loads.seen(two) < loads.seen(one) { two } else { one }
            }
            State::SessionAffinity(sessions) => sessions.choose(request, ready),
            State::PrefixHash { tokens } => turns::hashed(turns::prefix_key(request, *tokens), replicas, ready),
            State::CacheAware(state) => state.choose(request, now, loads, ready),
            State::Kv(state) => state.choose(request, now, fleet, ready, &mut self.stream),
            State::Scorers(state) => state.choose(request, now, &mut self.signals, fleet, ready, &mut self.stream),
            State::VllmDp(Some(scores)) => scores.first().1,
            State::VllmDp(None) => signals::vllm_dp(&mut self.signals, fleet, ready, |replica| loads.now(replica)),
        };
        if self.decisions.is_some() {
            self.tell_of(request, now, replica, costs, fleet);
        }
        self.loads.add(replica);
        self.score(replica);
        replica
    }

    /// What scores a replica by the last snapshot has changed.
    fn score(&mut self, replica: usize) {
        if let State::VllmDp(Some(scores)) = &mut self.state {
            let score = signals::vllm_dp_score(self.loads.now(replica), self.signals.last(replica));
            scores.set(replica, if self.ready.is(replica) { score.to_bits() } else { u64::MAX });
        }
    }

    /// A prompt's first token has come out.
    pub fn prefilled(&mut self, replica: usize, id: u32, now: Time) {
        self.tell(News { known: now + self.event_delay, replica, id, ended: false });
    }

    /// A request has ended, one way or another.
    pub fn ended(&mut self, replica: usize, id: u32, now: Time) {
        self.tell(News { known: now + self.event_delay, replica, id, ended: true });
    }

    /// Whether it matters when prompts are computed.
    pub fn listens_for_prefills(&self) -> bool {
        matches!(self.state, State::Kv(_)) && !self.idle
    }

    /// What caches tell is heard late, or looked at now and then: it has to be kept until then.
    pub fn hears_of_caches_late(&self) -> bool {
        matches!(&self.state, State::Kv(state) if state.is_told())
            && !self.idle
            && (self.event_delay.max(self.snapshot_interval) > Time::ZERO)
    }

    /// Up to when the router knows at `now` what caches have told; none where it knows all.
    pub fn caches_known_by(&self, now: Time) -> Option<Time> {
        let looked = if self.snapshot_interval > Time::ZERO { self.last_snapshot } else { now };
        self.hears_of_caches_late().then(|| Time(looked.0.saturating_sub(self.event_delay.0)))
    }

    fn tell(&mut self, news: News) {
        if self.idle {
        } else if self.event_delay == Time::ZERO {
            self.take(news);
        } else {
            self.news.push_back(news);
        }
    }

    /// Requests have to wait: every replica is busy enough, by what the router knows.
    pub fn holds_back(&self) -> bool {
        matches!(&self.state, State::Kv(state) if state.all_busy())
    }

    /// Tokens of a prompt to compute at the replica that has most of it, as the router's queue counts them.
    pub fn new_tokens(&self, request: &Request, now: Time, fleet: &mut dyn Fleet) -> u64 {
        match &self.state {
            State::Kv(state) => state.new_tokens(request, now, fleet, &self.ready),
            _ => u64::from(request.input_tokens),
        }
    }

    /// When the router hears something next that may let a request out of its queue; [`Time::NEVER`] without one.
    pub fn next_news(&self) -> Time {
        self.news.front().filter(|_| self.queues).map_or(Time::NEVER, |news| news.known)
    }

    /// Takes note of what is known by now.
    pub fn hear(&mut self, now: Time) {
        while let Some(news) = self.news.front().copied().filter(|news| news.known <= now) {
            self.news.pop_front();
            self.take(news);
        }
    }

    fn take(&mut self, news: News) {
        if news.ended {
            self.loads.remove(news.replica);
            self.score(news.replica);
        }
        if let State::Kv(state) = &mut self.state {
            if news.ended { state.ended(news.id, news.known) } else { state.prefilled(news.id) }
        }
    }

    /// Whether the router looks at the engines at times of its own.
    pub fn looks(&self) -> bool {
        self.snapshot_interval > Time::ZERO && !self.idle
    }

    /// When the router must look at the engines next so that it decides about a request at `arrival` by what it saw last;
    /// [`Time::NEVER`] when it does not. `may_come_sooner`: requests before that may become known.
    pub fn next_snapshot(&self, arrival: Time, may_come_sooner: bool) -> Time {
        let interval = self.snapshot_interval;
        if interval == Time::ZERO || self.idle {
            return Time::NEVER;
        }
        let next = self.last_snapshot + interval;
        if may_come_sooner {
            return next;
        }
        if arrival == Time::NEVER {
            return Time::NEVER;
        }
        let last_before = Time(arrival.0 / interval.0 * interval.0);
        if last_before > self.last_snapshot { last_before } else { Time::NEVER }
    }

    /// Looks at the engines.
    pub fn snapshot(&mut self, now: Time, fleet: &mut dyn Fleet) {
        self.hear(now);
        self.last_snapshot = now;
        self.loads.snapshot();
        if matches!(self.state, State::Scorers(_) | State::VllmDp(_)) {
            self.signals.snapshot(fleet);
            (0..self.replicas).for_each(|replica| self.score(replica));
        }
    }
}

#[cfg(test)]
mod tests;
