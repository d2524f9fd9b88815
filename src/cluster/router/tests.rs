mod dynamo;

use super::cache_aware::CacheAwareOptions;
use super::kv::{KvOptions, Terms, weights};
use super::signals::{ScorerWeights, Signal, vllm_dp_score};
use super::turns::{jump_hash, prefix_key};
use super::*;
use crate::workload::{Segment, SegmentId};

/// Engines that hold what a test says.
#[derive(Default)]
struct Said {
    signals: Vec<Signal>,
    held: Vec<u64>,
    /// Host, disk, remote.
    below: Vec<[u32; 3]>,
    adapters: Vec<AdapterSeats>,
}

impl Fleet for Said {
    fn signal(&mut self, replica: usize) -> Signal {
        self.signals.get(replica).copied().unwrap_or_default()
    }

    fn adapters(&mut self, replica: usize, told: &mut AdapterSeats) {
        *told = self.adapters[replica].clone();
    }

    fn held(&mut self, replica: usize, request: &Request) -> Option<Held> {
        let all = request.segments.iter().map(|segment| u64::from(segment.tokens)).sum();
        let device = self.held.get(replica).copied().unwrap_or(u64::MAX).min(all);
        Some(Held { device, below: self.below.get(replica).copied().unwrap_or_default() })
    }
}

fn request(id: u32, input_tokens: u32, segments: &[(u32, u32)]) -> Request {
    Request {
        session: Some(id),
        segments: segments.iter().map(|&(id, tokens)| Segment { id: SegmentId(id), tokens }).collect(),
        ..Request::new(id, Time::ZERO, input_tokens, 1)
    }
}

fn plain(id: u32) -> Request {
    request(id, 160, &[])
}

fn router(rule: Rule, replicas: usize) -> Router {
    Router::new(&RouterSpec::new(rule), replicas, 7)
}

fn shares(rule: Rule, replicas: usize) -> Vec<u32> {
    let mut router = router(rule, replicas);
    let mut shares = vec![0; replicas];
    for id in 0..9000 {
        shares[router.route(&plain(id), Time::ZERO, &mut Said::default())] += 1;
    }
    shares
}

#[test]
fn shares_follow_the_rule() {
    assert_eq!(shares(Rule::RoundRobin, 3), [3000; 3]);
    assert_eq!(shares(Rule::LeastLoaded, 3), [3000; 3]);
    assert!(shares(Rule::Random, 3).iter().all(|&share| (2800..3200).contains(&share)));
    assert!(shares(Rule::PrefixHash { tokens: 256 }, 3).iter().all(|&share| (2800..3200).contains(&share)));
    let weighted = shares(Rule::Weighted(vec![1.0, 0.0, 2.0]), 3);
    assert!(weighted[1] == 0 && (2800..3200).contains(&weighted[0]));
    // Two choices of the requests in flight keep 3,000 each to within a few.
    assert!(shares(Rule::PowerOfTwo, 3).iter().all(|&share| (2990..3010).contains(&share)));
}

#[test]
fn least_loaded_counts_what_is_in_flight() {
    let mut router = router(Rule::LeastLoaded, 3);
    let fleet = &mut Said::default();
    assert_eq!([0, 1, 2, 3].map(|id| router.route(&plain(id), Time::ZERO, fleet)), [0, 1, 2, 0]);
    router.ended(2, 2, Time::ZERO);
    assert_eq!(router.route(&plain(4), Time::ZERO, fleet), 2);
}

#[test]
fn a_stale_router_sends_all_to_the_same() {
    let mut spec = RouterSpec::new(Rule::LeastLoaded);
    spec.snapshot_interval = Time(100);
    let mut router = Router::new(&spec, 3, 7);
    let fleet = &mut Said::default();
    assert_eq!([0, 1, 2].map(|id| router.route(&plain(id), Time(10), fleet)), [0, 0, 0]);
    assert_eq!(router.next_snapshot(Time(350), false), Time(300));
    assert_eq!(router.next_snapshot(Time(350), true), Time(100));
    assert_eq!(router.next_snapshot(Time(99), false), Time::NEVER);
    router.snapshot(Time(100), fleet);
    assert_eq!([3, 4].map(|id| router.route(&plain(id), Time(110), fleet)), [1, 1]);
}

#[test]
fn news_that_are_late_are_not_known_yet() {
    let mut spec = RouterSpec::new(Rule::LeastLoaded);
    spec.event_delay = Time(50);
    let mut router = Router::new(&spec, 2, 7);
    let fleet = &mut Said::default();
    assert_eq!([0, 1].map(|id| router.route(&plain(id), Time(0), fleet)), [0, 1]);
    router.ended(1, 1, Time(10));
    assert_eq!(router.route(&plain(2), Time(59), fleet), 0);
    assert_eq!(router.route(&plain(3), Time(60), fleet), 1);
}

#[test]
fn a_conversation_stays_where_it_began() {
    let mut router = router(Rule::SessionAffinity, 3);
    let fleet = &mut Said::default();
    let first: Vec<usize> = (0..6).map(|id| router.route(&plain(id), Time::ZERO, fleet)).collect();
    assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    let second: Vec<usize> = (0..6).rev().map(|id| router.route(&plain(id), Time::ZERO, fleet)).collect();
    assert_eq!(second, [2, 1, 0, 2, 1, 0]);
}

#[test]
fn equal_beginnings_have_equal_keys() {
    let shared = |id, tail| prefix_key(&request(id, 500, &[(3, 300), (tail, 100)]), 256);
    assert_eq!(shared(1, 4), shared(2, 5));
    // The hash sees past a beginning that is too short, into text of each one's own.
    assert_ne!(prefix_key(&request(1, 500, &[(3, 200)]), 256), prefix_key(&request(2, 500, &[(3, 200)]), 256));
    assert_ne!(prefix_key(&request(1, 500, &[(3, 300)]), 256), prefix_key(&request(1, 500, &[(4, 300)]), 256));
}

#[test]
fn one_bucket_more_moves_its_own_share_only() {
    for buckets in [1, 2, 9, 63] {
        let moved = (0..20_000u64).map(|key| (jump_hash(key << 20, buckets), jump_hash(key << 20, buckets + 1)));
        let mut count = 0;
        for (before, after) in moved {
            assert!(before < buckets && (after == before || after == buckets));
            count += u32::from(after == buckets);
        }
        let expected = 20_000.0 / (buckets + 1) as f64;
        assert!((f64::from(count) - expected).abs() < 6.0 * expected.sqrt(), "{buckets}: {count} moved, {expected} expected");
    }
}

#[test]
fn cache_aware_follows_the_prefix_while_load_is_balanced() {
    let mut router = router(Rule::CacheAware(CacheAwareOptions::default()), 2);
    let fleet = &mut Said::default();
    let with = |id, segment| request(id, 100, &[(segment, 40)]);
    assert_eq!(router.route(&with(0, 0), Time::ZERO, fleet), 0);
    assert_eq!(router.route(&with(1, 1), Time::ZERO, fleet), 1);
    // 40 of 100 is above the threshold of 0.3.
    for id in 2..66 {
        assert_eq!(router.route(&with(id, 0), Time::ZERO, fleet), 0);
    }
    // 65 against 1: a difference of 64 is not above the threshold; 66 against 1 is.
    assert_eq!(router.route(&with(66, 0), Time::ZERO, fleet), 0);
    assert_eq!(router.route(&with(67, 0), Time::ZERO, fleet), 1);
    // 20 of 100 is too little of a match.
    let mut fresh = Router::new(&RouterSpec::new(Rule::CacheAware(CacheAwareOptions::default())), 2, 7);
    assert_eq!(fresh.route(&request(0, 100, &[(0, 20)]), Time::ZERO, fleet), 0);
    assert_eq!(fresh.route(&request(1, 100, &[(0, 20)]), Time::ZERO, fleet), 1);
}

#[test]
fn cache_aware_forgets_the_oldest() {
    let options = CacheAwareOptions { max_tree_tokens: 80, eviction_interval: Time(100), ..CacheAwareOptions::default() };
    let mut router = router(Rule::CacheAware(options), 2);
    let fleet = &mut Said::default();
    // All go to replica 0 while the other is kept busy.
    for _ in 0..10 {
        router.loads.add(1);
    }
    for (id, at) in [(0, 10), (1, 20), (2, 30)] {
        assert_eq!(router.route(&request(id, 100, &[(id, 80)]), Time(at), fleet), 0);
    }
    for _ in 0..20 {
        router.loads.add(0);
    }
    // Of three times 80 tokens, the last sent is left.
    assert_eq!(router.route(&request(3, 100, &[(2, 80)]), Time(150), fleet), 0);
    assert_eq!(router.route(&request(4, 100, &[(0, 80)]), Time(160), fleet), 1);
}

#[test]
fn scorers_weigh_queue_memory_and_prefix() {
    // By hand: queue (8 - 2) / (8 - 0) = 0.75, memory 1 - 0.5, prefix 0.4: 2 * 0.75 + 2 * 0.5 + 3 * 0.4 = 3.7.
    let signal = Signal { waiting: 2, running: 9, kv_usage: 0.5 };
    assert!((ScorerWeights::default().score(signal, (0, 8), 0.4, 1.0) - 3.7).abs() < 1e-12);
    let mut router = router(Rule::Scorers(ScorerWeights::default()), 2);
    let fleet = &mut Said { signals: vec![Signal { waiting: 3, ..signal }, signal], ..Said::default() };
    assert_eq!(router.route(&request(0, 100, &[(0, 90)]), Time::ZERO, fleet), 1);
    // 2 + 1.8 against 0 + 0.2.
    fleet.signals = vec![Signal { kv_usage: 0.1, waiting: 2, running: 0 }, Signal { kv_usage: 0.9, waiting: 3, running: 0 }];
    assert_eq!(router.route(&request(1, 100, &[(1, 90)]), Time::ZERO, fleet), 0);
    // With little memory free, 2 + 0.8 against 0.2 + 2.7.
    fleet.signals[0].kv_usage = 0.6;
    assert_eq!(router.route(&request(2, 100, &[(0, 90)]), Time::ZERO, fleet), 1);
    // With more of it, 2 + 1.8 against 0.2 + 2.7; from then on the prefix counts as cached there too.
    fleet.signals[0].kv_usage = 0.1;
    assert_eq!(router.route(&request(3, 100, &[(0, 90)]), Time::ZERO, fleet), 0);
    fleet.signals[0].kv_usage = 0.6;
    assert_eq!(router.route(&request(4, 100, &[(0, 90)]), Time::ZERO, fleet), 0);
}

/// Two places each. Adapter 7 runs on the first, finds room on the second, waits on the full third and is not on the full fourth; 8 that runs and
/// waits on the fifth fills it alone.
#[test]
fn the_adapters_scorer_has_its_four_values() {
    let seats = |active: &[u16], waiting: &[u16]| AdapterSeats {
        active: active.to_vec(),
        waiting: waiting.to_vec(),
        taken: (active.len() + waiting.len()) as u64,
        places: 2,
    };
    let told = [seats(&[7, 8], &[]), seats(&[8], &[]), seats(&[8], &[7]), seats(&[8, 9], &[10]), seats(&[8], &[8])];
    assert_eq!(told.each_ref().map(|told| signals::affinity(told, 7)), [1.0, 0.8, 0.6, 0.0, 0.0]);
    let weights = ScorerWeights { queue: 1.0, kv_utilization: 0.0, prefix: 0.0, lora: 4.0 };
    let signal = Signal { waiting: 2, ..Signal::default() };
    // 0.75 + 4 * 0.6.
    assert!((weights.score(signal, (0, 8), 0.4, 0.6) - 3.15).abs() < 1e-12);

    let wanting = |id: u32| Request { adapter: 7, ..plain(id) };
    let queues = |waiting: [u32; 2]| waiting.map(|waiting| Signal { waiting, ..Signal::default() }).to_vec();
    let fleet = &mut Said { signals: queues([8, 0]), adapters: vec![told[0].clone(), told[3].clone()], ..Said::default() };
    let mut weighed = router(Rule::Scorers(weights), 2);
    // 0 + 4 against 1 + 0; with 0.6 instead 2.4 against 1; nobody's adapter goes where the queue is short.
    assert_eq!(weighed.route(&wanting(0), Time::ZERO, fleet), 0);
    fleet.adapters[0] = told[2].clone();
    assert_eq!(weighed.route(&wanting(1), Time::ZERO, fleet), 0);
    assert_eq!(weighed.route(&plain(2), Time::ZERO, fleet), 1);
    // Where it runs on both, the queue decides.
    fleet.adapters = vec![told[0].clone(), told[0].clone()];
    assert_eq!(weighed.route(&wanting(3), Time::ZERO, fleet), 1);
}

#[test]
fn vllms_balancer_fears_queues_on_full_memory() {
    // max(3, 2 + 4) + 6 * 2 * (0.75 - 0.5) = 9.
    assert_eq!(vllm_dp_score(3, Signal { waiting: 2, running: 4, kv_usage: 0.75 }), 9.0);
    assert_eq!(vllm_dp_score(30, Signal { waiting: 2, running: 4, kv_usage: 0.4 }), 30.0);
}

/// Choices from the tree of scores are those of a look at all, ties included, while requests come and end, signals change and replicas leave.
#[test]
fn vllms_balancer_finds_what_looking_at_all_finds() {
    for replicas in [2, 5, 16] {
        let spec = RouterSpec { snapshot_interval: Time(100), ..RouterSpec::new(Rule::VllmDp) };
        let mut router = Router::new(&spec, replicas, 7);
        let mut stream = Stream::new(5, Purpose::Routing, replicas as u64);
        let mut said = Said { signals: vec![Signal::default(); replicas], ..Said::default() };
        let mut flights = vec![0u32; replicas];
        for id in 0..3000 {
            let at = stream.below(replicas as u64) as usize;
            match stream.below(4) {
                0 => {
                    let next = |signal: &mut Signal, stream: &mut Stream| {
                        let (waiting, running) = (stream.below(4) as u32, stream.below(6) as u32);
                        *signal = Signal { waiting, running, kv_usage: stream.below(5) as f64 / 4.0 };
                    };
                    said.signals.iter_mut().for_each(|signal| next(signal, &mut stream));
                    router.snapshot(Time(id.into()), &mut said);
                }
                1 if router.available().len() > 1 || !router.ready.is(at) => router.set_available(at, !router.ready.is(at)),
                2 if flights[at] > 0 => {
                    flights[at] -= 1;
                    router.ended(at, id, Time(id.into()));
                }
                _ => {}
            }
            let score = |replica: usize| vllm_dp_score(flights[replica], router.signals.last(replica));
            let mut best = (f64::INFINITY, 0);
            for replica in router.available().iter().map(|&replica| replica as usize) {
                if score(replica) < best.0 {
                    best = (score(replica), replica);
                }
            }
            let to = router.route(&plain(id), Time(id.into()), &mut said);
            assert_eq!(to, best.1, "{replicas}: {id}");
            flights[to] += 1;
            // Half of all end soon, so that there are ties.
            if id % 2 == 0 {
                flights[to] -= 1;
                router.ended(to, id, Time(id.into()));
            }
        }
    }
}

fn every_rule(replicas: usize) -> Vec<Rule> {
    let kv = KvOptions::default();
    vec![
        Rule::RoundRobin,
        Rule::Random,
        Rule::Weighted((0..replicas).map(|replica| replica as f64).collect()),
        Rule::LeastLoaded,
        Rule::PowerOfTwo,
        Rule::SessionAffinity,
        Rule::PrefixHash { tokens: 64 },
        Rule::CacheAware(CacheAwareOptions::default()),
        Rule::Kv(kv),
        Rule::Kv(KvOptions { temperature: 0.7, ..kv }),
        Rule::Scorers(ScorerWeights::default()),
        Rule::VllmDp,
    ]
}

/// Replicas come and go at random under every rule, with and without old news: none is chosen that takes no requests, and in the end
/// the books are as if they had stayed.
#[test]
fn only_available_replicas_are_chosen() {
    for rule in every_rule(6) {
        for (snapshot, delay) in [(Time::ZERO, Time::ZERO), (Time::from_s(3.0), Time::from_s(2.0))] {
            let spec = RouterSpec { rule: rule.clone(), snapshot_interval: snapshot, event_delay: delay };
            let mut router = Router::new(&spec, 6, 7);
            let mut stream = Stream::new(9, Purpose::Routing, 1);
            let mut up = [true; 6];
            let mut there: Vec<(usize, u32)> = Vec::new();
            let mut chosen = [0u32; 6];
            for id in 0..3000 {
                let now = Time::from_s(f64::from(id));
                let replica = stream.below(6) as usize;
                up[replica] = !up[replica] || up.iter().filter(|&&up| up).count() == 1;
                router.set_available(replica, up[replica]);
                if !up[replica] {
                    router.forget(replica);
                }
                if id % 5 == 0 && snapshot > Time::ZERO {
                    router.snapshot(now, &mut Said::default());
                }
                let request = request(id, 160, &[(id % 7, 80), (7 + id % 13, 80)]);
                let to = router.route(&request, now, &mut Said::default());
                assert!(up[to], "{rule:?}: {id} to {to}");
                chosen[to] += 1;
                there.push((to, id));
                if there.len() > 12 {
                    let (from, id) = there.swap_remove(stream.below(12) as usize);
                    router.ended(from, id, now);
                }
            }
            assert!(chosen.iter().all(|&count| count > 20), "{rule:?}: {chosen:?}");
            for (from, id) in there {
                router.ended(from, id, Time::from_s(3001.0));
            }
            (0..6).for_each(|replica| router.set_available(replica, true));
            router.snapshot(Time::from_s(4000.0), &mut Said::default());
            assert_eq!((router.loads.least().0, router.loads.most()), (0, 0), "{rule:?}");
        }
    }
}

/// While one of four is away, keys of the other three stay where they are, and its own come back with it.
#[test]
fn hashed_prefixes_move_only_from_the_replica_that_is_away() {
    let mut router = router(Rule::PrefixHash { tokens: 16 }, 4);
    let homes = |router: &mut Router| -> Vec<usize> {
        (0..400).map(|id| router.route(&request(id, 160, &[(id, 160)]), Time::ZERO, &mut Said::default())).collect()
    };
    let before = homes(&mut router);
    router.set_available(2, false);
    let without = homes(&mut router);
    for (home, moved) in before.iter().zip(&without) {
        assert!(*moved != 2 && (*home == 2 || home == moved));
    }
    // Its keys are spread over all that are left.
    let heirs: Vec<usize> = before.iter().zip(&without).filter(|(home, _)| **home == 2).map(|(_, heir)| *heir).collect();
    assert!([0, 1, 3].iter().all(|heir| heirs.iter().filter(|to| *to == heir).count() > 15));
    router.set_available(2, true);
    assert_eq!(homes(&mut router), before);
}

/// Rules that look at engines by snapshots choose by the last one, whatever engines would say now; a new one changes their mind.
#[test]
fn choices_go_by_the_last_snapshot() {
    let signals = |busy: usize| {
        let signal = |replica| if replica == busy { Signal { waiting: 50, running: 9, kv_usage: 0.9 } } else { Signal::default() };
        Said { signals: (0..2).map(signal).collect(), ..Said::default() }
    };
    for rule in [Rule::Scorers(ScorerWeights::default()), Rule::VllmDp] {
        let spec = RouterSpec { snapshot_interval: Time(100), ..RouterSpec::new(rule) };
        let mut router = Router::new(&spec, 2, 7);
        router.snapshot(Time(100), &mut signals(0));
        for id in 0..10 {
            assert_eq!(router.route(&plain(id), Time(150), &mut signals(1)), 1, "{:?}", spec.rule);
        }
        router.snapshot(Time(200), &mut signals(1));
        assert_eq!(router.route(&plain(10), Time(210), &mut signals(0)), 0, "{:?}", spec.rule);
    }
    for rule in [Rule::LeastLoaded, Rule::PowerOfTwo, Rule::CacheAware(CacheAwareOptions::default())] {
        let spec = RouterSpec { snapshot_interval: Time(100), ..RouterSpec::new(rule) };
        // The same draws: what ends between two looks changes nothing until the second.
        let (mut one, mut other) = (Router::new(&spec, 3, 7), Router::new(&spec, 3, 7));
        let mut there = Vec::new();
        for id in 0..30 {
            let to = one.route(&plain(id), Time(1), &mut Said::default());
            assert_eq!(other.route(&plain(id), Time(1), &mut Said::default()), to);
            there.push((to, id));
        }
        one.snapshot(Time(100), &mut Said::default());
        other.snapshot(Time(100), &mut Said::default());
        there.iter().filter(|(to, _)| *to == 2).for_each(|&(to, id)| other.ended(to, id, Time(120)));
        for id in 30..60 {
            let to = one.route(&plain(id), Time(150), &mut Said::default());
            assert_eq!(other.route(&plain(id), Time(150), &mut Said::default()), to, "{:?}", spec.rule);
        }
        let seen = |router: &Router| (0..3).map(|replica| router.loads.seen(replica)).collect::<Vec<_>>();
        assert_eq!(seen(&one), seen(&other));
        other.snapshot(Time(200), &mut Said::default());
        one.snapshot(Time(200), &mut Said::default());
        assert!(there.iter().all(|(to, _)| *to != 2) || seen(&one) != seen(&other), "{:?}", spec.rule);
    }
}

/// Every rule that counts requests in flight hears of an end when the delay is over, and not before.
#[test]
fn ends_are_heard_after_the_delay_under_every_rule() {
    let rules =
        [Rule::LeastLoaded, Rule::PowerOfTwo, Rule::CacheAware(CacheAwareOptions::default()), Rule::Kv(KvOptions::default()), Rule::VllmDp];
    for rule in rules {
        let spec = RouterSpec { event_delay: Time(1000), ..RouterSpec::new(rule) };
        let mut router = Router::new(&spec, 2, 7);
        let to = router.route(&plain(0), Time(0), &mut Said::default());
        router.ended(to, 0, Time(10));
        router.hear(Time(1009));
        assert_eq!(router.loads.now(to), 1, "{:?}", spec.rule);
        router.hear(Time(1010));
        assert_eq!(router.loads.now(to), 0, "{:?}", spec.rule);
        if let State::Kv(state) = &router.state {
            assert!(state.is_idle());
        }
    }
}
