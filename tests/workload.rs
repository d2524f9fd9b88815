//! The requests a document asks for: rates, conversations, shared prefixes, closed loops, and independence from what serves them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;

use llmperforacle::config::schema::{
    ArrivalModel, ClientProfile, Distribution, DistributionKind, PrefixKind, PrefixPattern, PrefixPatterns, Workload,
};
use llmperforacle::units::Time;
use llmperforacle::workload::{Request, Source, SourceSpec, Upload, source};

fn constant(value: f64) -> Distribution {
    Distribution { value: Some(value), ..Distribution::default() }
}

fn exponential(rate: f64) -> Distribution {
    Distribution { kind: Some(DistributionKind::Exponential), rate: Some(rate), ..Distribution::default() }
}

fn profile(gap: Distribution, prompt: Distribution, output: Distribution) -> ClientProfile {
    ClientProfile {
        profile_name: "p".to_owned(),
        inter_arrival_time_dist_config: Some(gap),
        prompt_tokens_dist_config: prompt,
        max_output_tokens_dist_config: output,
        ..ClientProfile::default()
    }
}

fn chat(rate: f64) -> ClientProfile {
    ClientProfile {
        conversational_probability: Some(0.5),
        follow_up_inter_arrival_time_dist_config: Some(exponential(0.2)),
        ..profile(exponential(rate), exponential(0.01), exponential(0.02))
    }
}

fn workload(profiles: Vec<ClientProfile>) -> Workload {
    Workload { client_profiles: Some(profiles), ..Workload::default() }
}

fn spec(workload: Workload) -> SourceSpec {
    SourceSpec { workload, seed: 7, trace: None, upload: None, api_time: Time::ZERO, api_time_per_token: Time::ZERO }
}

fn make(workload: Workload) -> Box<dyn Source> {
    source(&spec(workload)).unwrap()
}

/// Serves every request in the time `serve` says, in order of time, and returns them as they arrived, with the end of each.
fn run(mut requests: Box<dyn Source>, mut serve: impl FnMut(&Request) -> Time) -> Vec<(Request, Time)> {
    let mut served: Vec<(Request, Time)> = Vec::new();
    let mut open: BTreeMap<(Time, u32), ()> = BTreeMap::new();
    loop {
        let next_end = open.keys().next().copied();
        match (requests.next_arrival(), next_end) {
            (Some(arrival), end) if end.is_none_or(|(end, _)| arrival <= end) => {
                let request = requests.take().unwrap();
                assert_eq!(request.arrival, arrival);
                assert_eq!(request.id as usize, served.len(), "ids are dense");
                let end = arrival + serve(&request);
                open.insert((end, request.id), ());
                served.push((request, end));
            }
            (_, Some((end, id))) => {
                open.remove(&(end, id));
                requests.ended(id, end);
            }
            (_, None) => {
                assert!(requests.take().is_none());
                return served;
            }
        }
    }
}

fn at_once(_: &Request) -> Time {
    Time::ZERO
}

/// Lengths by conversation and turn; requests outside conversations by their order among themselves.
fn lengths(served: &[(Request, Time)]) -> BTreeMap<(Option<u32>, u32), (u32, u32)> {
    let mut alone = 0;
    served
        .iter()
        .map(|(request, _)| {
            let turn = if request.session.is_some() { u32::from(request.turn) } else { alone };
            alone += u32::from(request.session.is_none());
            ((request.session, turn), (request.input_tokens, request.output_tokens))
        })
        .collect()
}

#[test]
fn engines_do_not_change_the_requests() {
    let document = || Workload { total_requests_to_generate: Some(3000), ..workload(vec![chat(3.0), chat(5.0)]) };
    let fast = run(make(document()), at_once);
    let slow = run(make(document()), |request| Time::from_s(0.05 * f64::from(request.output_tokens)));
    let erratic = run(make(document()), |request| Time::from_s(f64::from(request.id.wrapping_mul(2_654_435_761) >> 24)));
    assert_eq!(fast.len(), 3000);
    assert_eq!(lengths(&fast), lengths(&slow));
    assert_eq!(lengths(&fast), lengths(&erratic));
    assert_ne!(
        fast.iter().map(|(request, _)| request.arrival).collect::<Vec<_>>(),
        slow.iter().map(|(request, _)| request.arrival).collect::<Vec<_>>()
    );
}

#[test]
fn one_distribution_leaves_the_draws_of_the_others() {
    let first = run(make(Workload { total_duration: Some(300.0), ..workload(vec![chat(3.0)]) }), at_once);
    let mut changed = chat(3.0);
    changed.max_output_tokens_dist_config = constant(9.0);
    changed.follow_up_inter_arrival_time_dist_config = Some(constant(1.0));
    changed.user_priority_dist_config = Some(exponential(1.0));
    let second = run(make(Workload { total_duration: Some(300.0), ..workload(vec![changed]) }), at_once);
    let firsts = |served: &[(Request, Time)]| {
        served.iter().filter(|(r, _)| r.turn == 0).map(|(r, _)| (r.arrival, r.input_tokens, r.session)).collect::<Vec<_>>()
    };
    assert_eq!(firsts(&first), firsts(&second));
}

#[test]
fn seeds_differ_and_repeat() {
    let document = |seed| Workload { random_seed: seed, total_requests_to_generate: Some(50), ..workload(vec![chat(3.0)]) };
    let arrivals = |seed| run(make(document(seed)), at_once).into_iter().map(|(request, _)| request).collect::<Vec<_>>();
    assert_eq!(arrivals(None), arrivals(Some(7)));
    assert_ne!(arrivals(None), arrivals(Some(8)));
}

#[test]
fn arrivals_are_poisson_and_rates_add() {
    let document = Workload {
        total_duration: Some(1000.0),
        rate_scale: Some(2.0),
        ..workload(vec![profile(exponential(1.0), constant(1.0), constant(1.0)), profile(exponential(20.0), constant(1.0), constant(1.0))])
    };
    let served = run(make(document), at_once);
    let n = served.len() as f64;
    // 42 a second for 1000 s; five standard deviations of a Poisson count.
    assert!((n - 42_000.0).abs() < 5.0 * 42_000f64.sqrt(), "{n}");
    let slow = served.iter().filter(|(request, _)| request.profile == 0).count() as f64;
    assert!((slow - 2000.0).abs() < 5.0 * 2000f64.sqrt(), "{slow}");
    // The sum of Poisson processes is one: gaps vary as much as their mean, counts as much as theirs.
    let gaps: Vec<f64> = served.windows(2).map(|pair| pair[1].0.arrival.since(pair[0].0.arrival).as_s()).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean) * (gap - mean)).sum::<f64>() / gaps.len() as f64;
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{}", variance.sqrt() / mean);
    let mut counts = vec![0f64; 1000];
    served.iter().for_each(|(request, _)| counts[request.arrival.as_s() as usize] += 1.0);
    let dispersion = counts.iter().map(|count| (count - n / 1000.0) * (count - n / 1000.0)).sum::<f64>() / n;
    assert!((dispersion - 1.0).abs() < 0.25, "{dispersion}");
    assert!(served.iter().all(|(request, _)| request.arrival < Time::from_s(1000.0)));
}

#[test]
fn one_generator_has_the_harmonic_rate() {
    let slow = ClientProfile { weight: Some(1.0), ..profile(exponential(1.0), constant(1.0), constant(1.0)) };
    let fast = ClientProfile { weight: Some(3.0), ..profile(exponential(20.0), constant(1.0), constant(1.0)) };
    let document = Workload { total_duration: Some(4000.0), arrival_model: Some(ArrivalModel::OneGenerator), ..workload(vec![slow, fast]) };
    let served = run(make(document), at_once);
    // 1 / (0.25 / 1 + 0.75 / 20)
    let expected = 4000.0 / (0.25 + 0.75 / 20.0);
    assert!((served.len() as f64 / expected - 1.0).abs() < 0.04, "{} {expected}", served.len());
    let share = served.iter().filter(|(request, _)| request.profile == 1).count() as f64 / served.len() as f64;
    assert!((share - 0.75).abs() < 0.02, "{share}");
    assert!(served.iter().enumerate().all(|(i, (request, _))| request.session == Some(i as u32)));
}

#[test]
fn conversations_wait_for_the_reply_and_grow() {
    let mut client = profile(constant(10.0), constant(100.0), constant(40.0));
    client.conversational_probability = Some(1.0);
    client.follow_up_inter_arrival_time_dist_config = Some(constant(3.0));
    client.shared_prefix_tokens = Some(60);
    let document = Workload {
        total_requests_to_generate: Some(9),
        continue_probability: Some(1.0),
        max_turns_per_session: Some(4),
        ..workload(vec![client])
    };
    let requests = make(document);
    assert!(requests.waits_for_replies());
    assert_eq!(requests.expected_requests(), Some(9));
    let served = run(requests, |_| Time::from_s(25.0));
    assert_eq!(served.len(), 9);
    let of = |session: u32| served.iter().filter(|(request, _)| request.session == Some(session)).collect::<Vec<_>>();
    let first = of(0);
    assert_eq!(first.iter().map(|(request, _)| request.input_tokens).collect::<Vec<_>>(), [100, 240, 380, 520]);
    for pair in first.windows(2) {
        let ((before, reply), (after, _)) = (pair[0], pair[1]);
        assert_eq!(after.sent, *reply + Time::from_s(3.0));
        // The next turn begins with the prompt and the reply before it.
        let mut expected = before.segments.to_vec();
        expected.push(llmperforacle::workload::Segment { id: before.output_segment.unwrap(), tokens: before.output_tokens });
        assert_eq!(after.segments[..expected.len()], expected);
        let covered: u32 = after.segments.iter().map(|segment| segment.tokens).sum();
        assert!(covered <= after.input_tokens);
        assert!(after.output_segment.is_none() || covered == after.input_tokens);
    }
    assert_eq!(first[3].0.output_segment, None);
    // The limit cuts the last conversation to one turn; the shared prefix is the first segment of all.
    assert_eq!((of(1).len(), served.iter().filter(|(request, _)| request.session.is_none()).count()), (4, 1));
    assert!(served.iter().all(|(request, _)| request.segments[0] == served[0].0.segments[0] && request.segments[0].tokens == 60));
}

#[test]
fn conversations_without_accumulation_send_only_the_new_input() {
    let document =
        Workload { total_requests_to_generate: Some(500), accumulate_conversational_tokens: Some(false), ..workload(vec![chat(5.0)]) };
    let served = run(make(document), at_once);
    assert!(served.iter().any(|(request, _)| request.turn > 2));
    assert!(served.iter().all(|(request, _)| request.segments.is_empty() && request.output_segment.is_none()));
    let mean = |turn: fn(u16) -> bool| {
        let inputs: Vec<f64> = served.iter().filter(|(r, _)| turn(r.turn)).map(|(r, _)| f64::from(r.input_tokens)).collect();
        inputs.iter().sum::<f64>() / inputs.len() as f64
    };
    assert!((mean(|turn| turn == 0) / mean(|turn| turn > 0) - 1.0).abs() < 0.25);
}

#[test]
fn turns_follow_the_continue_probability() {
    let mut client = chat(10.0);
    client.conversational_probability = Some(1.0);
    let document = Workload { total_requests_to_generate: Some(60_000), max_turns_per_session: Some(1000), ..workload(vec![client]) };
    let served = run(make(document), at_once);
    let sessions = served.iter().filter(|(request, _)| request.turn == 0).count() as f64;
    // Two turns, and 0.7 / 0.3 more on average.
    let mean = served.len() as f64 / sessions;
    assert!((mean - (2.0 + 0.7 / 0.3)).abs() < 0.1, "{mean}");
}

#[test]
fn closed_loops_keep_their_clients_busy() {
    let document = || Workload {
        concurrency: Some(8),
        total_requests_to_generate: Some(100),
        ..workload(vec![profile(constant(1.0), exponential(0.01), exponential(0.02))])
    };
    let served = run(make(document()), |request| Time::from_s(f64::from(request.output_tokens)));
    assert_eq!(served.len(), 100);
    assert_eq!(served.iter().filter(|(request, _)| request.arrival == Time::ZERO).count(), 8);
    for (request, _) in &served[8..] {
        // Sent the moment a client became free, so eight are at the server until the last ones.
        assert!(served.iter().any(|(_, end)| *end == request.arrival));
        assert_eq!(served.iter().filter(|(other, end)| other.arrival <= request.arrival && *end > request.arrival).count(), 8);
    }
    assert_eq!(lengths(&served), lengths(&run(make(document()), at_once)));
}

#[test]
fn closed_loop_clients_finish_a_conversation_before_the_next() {
    let document = Workload { concurrency: Some(3), total_requests_to_generate: Some(200), ..workload(vec![chat(1.0)]) };
    let served = run(make(document), |_| Time::from_s(1.0));
    assert_eq!(served.len(), 200);
    for (request, _) in &served {
        let at_server = served.iter().filter(|(other, end)| other.arrival <= request.arrival && *end > request.arrival).count();
        assert!(at_server <= 3);
    }
    // Conversations open at any time, from first request to last reply, are at most three.
    let mut spans: BTreeMap<u32, (Time, Time)> = BTreeMap::new();
    for (request, end) in &served {
        if let Some(session) = request.session {
            let span = spans.entry(session).or_insert((request.arrival, *end));
            span.1 = *end;
        }
    }
    let open_at = |time: Time| spans.values().filter(|(from, to)| *from <= time && *to > time).count();
    assert!(spans.values().all(|(from, _)| open_at(*from) <= 3) && spans.len() > 10);
}

#[test]
fn uploads_delay_only_their_own_request() {
    let long = profile(constant(1.0), constant(1_000_000.0), constant(1.0));
    let short = profile(constant(1.1), constant(10.0), constant(1.0));
    let mut with_upload = spec(Workload { total_duration: Some(3.3), ..workload(vec![long, short]) });
    // 2 bytes a token at 8 Mbit/s: 2 s for the long ones, 20 us for the short ones.
    with_upload.upload = Some(Upload { latency: Time::from_ms(5.0), bits_per_s: 8e6, bytes_per_token: 2.0 });
    with_upload.api_time = Time::from_ms(1.0);
    let served = run(source(&with_upload).unwrap(), at_once);
    let order: Vec<(u16, f64, f64)> = served.iter().map(|(r, _)| (r.profile, r.sent.as_s(), r.arrival.as_s())).collect();
    let expected = [(1, 1.1, 1.10602), (1, 2.2, 2.20602), (0, 1.0, 3.006), (0, 2.0, 4.006), (0, 3.0, 5.006)];
    assert_eq!(order.len(), expected.len());
    for (got, wanted) in order.iter().zip(expected) {
        assert!(got.0 == wanted.0 && (got.1 - wanted.1).abs() < 1e-9 && (got.2 - wanted.2).abs() < 1e-9, "{order:?}");
    }
}

#[test]
fn prefix_patterns_are_shared_by_weight() {
    let system =
        PrefixPattern { kind: PrefixKind::System, name: Some("code_assistant".to_owned()), weight: Some(3.0), ..Default::default() };
    let random = PrefixPattern { weight: Some(1.0), ..Default::default() };
    let document = |tokens| Workload {
        total_requests_to_generate: Some(4000),
        generate_prompt_tokens: tokens,
        prefix_patterns: Some(PrefixPatterns { patterns: vec![system.clone(), random.clone()] }),
        ..workload(vec![profile(constant(1.0), constant(200.0), constant(1.0)), profile(constant(1.0), constant(20.0), constant(1.0))])
    };
    let mut requests = make(document(Some(true)));
    let mut shared = 0;
    while let Some(request) = requests.take() {
        // A prompt of 20 tokens holds no whole prefix of 50.
        assert!(request.profile == 0 || request.segments.is_empty());
        shared += request.segments.iter().filter(|segment| segment.tokens == 50).count();
    }
    assert!((shared as f64 - 1500.0).abs() < 5.0 * (2000.0f64 * 0.75 * 0.25).sqrt(), "{shared}");
    assert_eq!(requests.segment_count(), 1);
    assert!(requests.warnings().iter().any(|warning| warning.message.contains("shorter than their prefix")));
    let mut without = make(document(None));
    assert!(without.take().unwrap().segments.is_empty());
    assert!(without.warnings().iter().any(|warning| warning.message.contains("generate_prompt_tokens")));
}

#[test]
fn what_cannot_be_honoured_is_refused_all_at_once() {
    let mut bad = profile(exponential(-1.0), constant(1.0), Distribution { kind: Some(DistributionKind::Mixture), ..Default::default() });
    bad.follow_up_inter_arrival_time_dist_config = Some(constant(-2.0));
    bad.conversational_probability = Some(1.5);
    let endless = profile(constant(0.0), constant(1.0), constant(1.0));
    let mut none = profile(constant(1.0), constant(1.0), constant(1.0));
    none.inter_arrival_time_dist_config = None;
    let errors = source(&spec(Workload { rate_scale: Some(0.0), ..workload(vec![bad, endless, none]) })).err().unwrap();
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    for path in [
        "workload.rate_scale",
        "workload.client_profiles[0].inter_arrival_time_dist_config",
        "workload.client_profiles[0].max_output_tokens_dist_config",
        "workload.client_profiles[0].follow_up_inter_arrival_time_dist_config",
        "workload.client_profiles[0].conversational_probability",
        "workload.client_profiles[2]",
    ] {
        assert!(paths.contains(&path), "{path} not in {paths:?}");
    }
    assert!(source(&spec(workload(vec![profile(constant(0.0), constant(1.0), constant(1.0))]))).is_err());
    assert!(source(&spec(Workload::default())).is_err());
}
