//! Dynamo's KV router: its cost, its queue, its books, and its search against scoring all.

use super::*;

/// A worker with something of everything.
fn busy_worker() -> Terms {
    Terms {
        active_prefill_tokens: 320.0,
        prompt_tokens: 640.0,
        device_hit: 10.0,
        host_hit: 8.0,
        disk_hit: 4.0,
        excess_prefill: 20.0,
        potential_decode: 55.0,
        active_requests: 7.0,
    }
}

/// By hand: raw prefill (320 + 640) / 16 = 60 blocks. Decay 1 / (1 + 0.5 * 20 / 40) = 0.8. Credit 1.0 * 0.8 * 10 + 0.75 * 8 +
/// 0.25 * 4 = 15. Cost 2 * (60 - 15) + 55 + 3 * 7 = 166.
#[test]
fn every_term_of_dynamos_cost_counts() {
    let options =
        KvOptions { overlap_score_credit_decay: 0.5, prefill_load_scale: 2.0, decode_active_request_weight: 3.0, ..KvOptions::default() };
    let terms = busy_worker();
    assert_eq!(options.cost(&terms), 166.0);
    // Credit beyond the prefill there is counts for nothing: 2 * 0 + 55 + 21.
    assert_eq!(options.cost(&Terms { device_hit: 1000.0, ..terms }), 76.0);
    // The defaults: 60 - (10 + 6 + 1) + 55.
    assert_eq!(KvOptions::default().cost(&terms), 98.0);
}

/// The same with weights of one's own: 60 - (10 + 0.5 * 8 + 0.125 * 4) + 55.
#[test]
fn weights_of_lower_tiers_are_options() {
    let terms = Terms { excess_prefill: 0.0, active_requests: 0.0, ..busy_worker() };
    let options = KvOptions { host_cache_hit_weight: 0.5, disk_cache_hit_weight: 0.125, ..KvOptions::default() };
    assert_eq!(options.cost(&terms), 100.5);
    assert_eq!(KvOptions { host_cache_hit_weight: 0.0, disk_cache_hit_weight: 0.0, ..options }.cost(&terms), 105.0);
}

/// A prompt of 320 tokens that was sent to all three: one has two of its 20 blocks on the GPU and the rest on the host, one 10 on the GPU,
/// one all on disk (half of it in a remote store, which counts as disk). Costs, of 20 blocks prefill and 20 decode: 40 - 2 - 0.75 * 18 = 24.5,
/// 40 - 10 = 30, 40 - 0.25 * 20 = 35.
#[test]
fn blocks_in_lower_tiers_are_credited_by_their_weights() {
    let options = KvOptions { lower_tiers: true, ..KvOptions::default() };
    let mut router = router(Rule::Kv(options), 3);
    let one = |id| request(id, 320, &[(0, 320)]);
    let mut nothing = Said { held: vec![0; 3], ..Said::default() };
    let mut seen = [false; 3];
    for id in 0..3 {
        seen[router.route(&one(id), Time::ZERO, &mut nothing)] = true;
    }
    assert_eq!(seen, [true; 3]);
    for replica in 0..3 {
        (0..3).for_each(|id| router.ended(replica, id, Time::ZERO));
    }
    let mut fleet = Said { held: vec![32, 160, 0], below: vec![[288, 0, 0], [0; 3], [0, 160, 160]], ..Said::default() };
    let State::Kv(state) = &router.state else { unreachable!() };
    let scores = state.scores(&one(9), Time::ZERO, &mut fleet, &router.ready);
    assert_eq!(scores.iter().map(|score| score.cost).collect::<Vec<_>>(), [24.5, 30.0, 35.0]);
    assert_eq!((scores[2].terms.host_hit, scores[2].terms.disk_hit), (0.0, 20.0));
    // What counts as cached is no prefill in flight: 320 - 32 - 0.75 * 288 = 72 tokens.
    assert_eq!(router.route(&one(9), Time::ZERO, &mut fleet), 0);
    let State::Kv(state) = &router.state else { unreachable!() };
    let again = state.scores(&one(10), Time::ZERO, &mut fleet, &router.ready);
    assert_eq!(again[0].terms.active_prefill_tokens, 72.0);
    // 92 + 72 tokens are 24.5 blocks and the request's own are there: 4.5 + 20 - 15.5 + 20.
    assert_eq!(again[0].cost, 29.0);
}

/// A worker is busy above 0.5 * 2048 tokens of prefill in flight. Requests wait while all are, and no longer when one prompt is computed
/// (or heard to be).
#[test]
fn requests_wait_while_all_workers_are_busy() {
    for delay in [Time::ZERO, Time(50)] {
        let queue = KvQueue { threshold: 0.5, order: queue::QueueOrder::Wspt, max_num_batched_tokens: 2048 };
        let options = KvOptions { queue: Some(queue), ..KvOptions::default() };
        let spec = RouterSpec { event_delay: delay, ..RouterSpec::new(Rule::Kv(options)) };
        let mut router = Router::new(&spec, 2, 7);
        let fleet = &mut Said { held: vec![512, 64], ..Said::default() };
        let mut to = Vec::new();
        for (id, tokens, held_back) in [(0, 1025, false), (1, 1024, false), (2, 1, true)] {
            to.push(router.route(&request(id, tokens, &[]), Time::ZERO, fleet));
            // 1024 tokens are not above the threshold; one more is.
            assert_eq!(router.holds_back(), held_back, "{id}");
        }
        assert_ne!(to[0], to[1]);
        router.prefilled(to[0], 0, Time(100));
        assert_eq!(router.next_news(), if delay == Time::ZERO { Time::NEVER } else { Time(150) });
        assert_eq!(router.holds_back(), delay > Time::ZERO);
        router.hear(Time(149));
        assert_eq!(router.holds_back(), delay > Time::ZERO);
        router.hear(Time(150));
        assert!(!router.holds_back());
        // One that takes no requests is not waited for.
        router.set_available(to[0], false);
        assert!(router.holds_back());
        router.ended(to[1], 1, Time(200));
        router.ended(to[2], 2, Time(200));
        router.ended(to[0], 0, Time(200));
        router.hear(Time(300));
        assert!(!router.holds_back());
        router.set_available(to[0], true);
        // The queue goes by what is to be computed where most of a prompt is: both have had it, one still has 512 tokens of it.
        for id in 10..12 {
            router.route(&request(id, 800, &[(0, 640)]), Time(400), &mut Said { held: vec![0, 0], ..Said::default() });
        }
        assert_eq!(router.new_tokens(&request(20, 800, &[(0, 640)]), Time(400), fleet), 800 - 512);
        assert_eq!(router.new_tokens(&request(21, 800, &[(1, 640)]), Time(400), fleet), 800);
    }
}

#[test]
fn temperature_spreads_over_costs() {
    let found = weights(&[10.0, 20.0, 30.0], 0.5);
    let expected = [1.0, 0.367_879_441_171_442_3, 0.135_335_283_236_612_7];
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    assert_eq!(weights(&[4.0, 4.0], 0.5), [1.0, 1.0]);
}

/// Prompts of 160 equal tokens in blocks of 16; costs by hand.
#[test]
fn dynamo_weighs_cache_against_load() {
    let mut router = router(Rule::Kv(KvOptions::default()), 2);
    let fleet = &mut Said { held: vec![0, 0], ..Said::default() };
    let with = |id| request(id, 160, &[(0, 160)]);
    let a = router.route(&with(0), Time::ZERO, fleet);
    // Nothing is computed yet: A costs 20 + 10, B 10 + 10.
    assert_eq!(router.route(&with(1), Time::ZERO, fleet), 1 - a);
    for (replica, id) in [(a, 0), (1 - a, 1)] {
        router.prefilled(replica, id, Time::ZERO);
    }
    router.ended(1 - a, 1, Time::ZERO);
    // A holds all of it: 10 - 10 + 10, its blocks counted once. B holds half: 10 - 5 + 10.
    fleet.held = vec![80; 2];
    fleet.held[a] = 160;
    assert_eq!(router.route(&with(2), Time::ZERO, fleet), a);
    router.prefilled(a, 2, Time::ZERO);
    // A has evicted it, B still holds half.
    fleet.held[a] = 0;
    router.ended(a, 0, Time::ZERO);
    router.ended(a, 2, Time::ZERO);
    assert_eq!(router.route(&with(3), Time::ZERO, fleet), 1 - a);
}

#[test]
fn dynamos_books_are_empty_when_all_has_ended() {
    let options = KvOptions { kv_events: false, ttl: Time(100), ..KvOptions::default() };
    let mut router = router(Rule::Kv(options), 4);
    let fleet = &mut Said::default();
    let mut stream = Stream::new(5, Purpose::Routing, 1);
    let mut there = Vec::new();
    for id in 0..2000 {
        let first = stream.below(5) as u32;
        let one = request(id, 500, &[(first, 100), (5 + first * 5 + stream.below(5) as u32, 64)]);
        there.push((router.route(&one, Time(u64::from(id)), fleet), id));
        while there.len() > 20 {
            let (replica, id) = there.swap_remove(stream.below(20) as usize);
            if stream.below(2) == 0 {
                router.prefilled(replica, id, Time(u64::from(id)));
            }
            router.ended(replica, id, Time(u64::from(id)));
        }
    }
    for (replica, id) in there {
        router.ended(replica, id, Time(2000));
    }
    let State::Kv(state) = &router.state else { unreachable!() };
    assert!(state.is_idle());
}

/// Engines that have lost some of what was sent there, each in its own way; some have it in lower tiers (`true`).
struct Forgetful(u64, bool);

impl Fleet for Forgetful {
    fn signal(&mut self, _replica: usize) -> Signal {
        Signal::default()
    }

    fn held(&mut self, replica: usize, request: &Request) -> Option<Held> {
        let all: u64 = request.segments.iter().map(|segment| u64::from(segment.tokens)).sum();
        let first = request.segments.first().map_or(0, |segment| u64::from(segment.id.0));
        let device = match (replica as u64 * 7 + first * 3 + self.0 / 50) % 5 {
            0 => 0,
            1 => all / 2 / 16 * 16,
            _ => all,
        };
        let left = (all - device) as u32 / 16 * 16;
        let below = match (replica as u64 + self.0 / 30) % 4 {
            _ if !self.1 => [0; 3],
            0 => [left, 0, 0],
            1 => [0, left, 0],
            2 => [left.min(16), 0, left.saturating_sub(48)],
            _ => [0; 3],
        };
        Some(Held { device, below })
    }
}

/// Dynamo's search finds the replica that scoring all finds, whatever the options, the load and what engines have lost.
#[test]
fn dynamos_search_finds_what_scoring_all_finds() {
    let plain = KvOptions::default();
    let options = [
        plain,
        KvOptions { overlap_score_credit_decay: 0.7, ..plain },
        KvOptions { prefill_load_scale: 0.3, decode_active_request_weight: 5.0, ..plain },
        KvOptions { track_active_blocks: false, overlap_score_credit: 2.5, ..plain },
        KvOptions { kv_events: false, ttl: Time(40), ..plain },
        KvOptions { prefill_load_scale: 0.0, ..plain },
        KvOptions { lower_tiers: true, ..plain },
        KvOptions { lower_tiers: true, overlap_score_credit: 0.2, host_cache_hit_weight: 1.0, overlap_score_credit_decay: 0.7, ..plain },
    ];
    for (case, options) in options.into_iter().enumerate() {
        for (replicas, in_flight) in [(3, 5), (90, 30), (90, 400), (200, 900)] {
            let mut router = router(Rule::Kv(options), replicas);
            let mut draws = Stream::new(7, Purpose::Routing, 0);
            let mut stream = Stream::new(case as u64, Purpose::Routing, 1);
            let mut there: Vec<(usize, u32)> = Vec::new();
            let mut visited_ties = 0;
            for id in 0..1500 {
                let now = Time(u64::from(id));
                let fleet = &mut Forgetful(u64::from(id), options.lower_tiers);
                // A text that all have, one that some have, one of a conversation, and a rest of its own.
                let (some, talk) = (1 + stream.below(12) as u32, 100 + stream.below(150) as u32);
                let one = request(id, 300 + stream.below(300) as u32, &[(0, 64), (some, 40), (talk * 20 + some, 100)]);
                if stream.below(20) == 0 {
                    let replica = stream.below(replicas as u64) as usize;
                    let back = !router.ready.is(replica) || router.available().len() < 2;
                    router.set_available(replica, back);
                }
                let State::Kv(state) = &router.state else { unreachable!() };
                let scores = state.scores(&one, now, fleet, &router.ready);
                let offset = draws.below(replicas as u64) as u32;
                let rank = |replica: u32| (replica + replicas as u32 - offset) % replicas as u32;
                let best = scores.iter().min_by(|a, b| a.cost.total_cmp(&b.cost).then(rank(a.replica).cmp(&rank(b.replica)))).unwrap();
                visited_ties += u32::from(scores.iter().filter(|score| score.cost == best.cost).count() > 1);
                let chosen = router.route(&one, now, fleet);
                assert_eq!(chosen, best.replica as usize, "case {case}, {replicas} replicas, request {id}: {best:?}");
                there.push((chosen, id));
                if stream.below(2) == 0 {
                    let (replica, id) = there[stream.below(there.len() as u64) as usize];
                    router.prefilled(replica, id, now);
                }
                while there.len() > in_flight {
                    let (replica, id) = there.swap_remove(stream.below(there.len() as u64) as usize);
                    router.ended(replica, id, now);
                }
            }
            assert!(replicas < 90 || in_flight > 30 || visited_ties > 0, "ties are tried too");
        }
    }
}
