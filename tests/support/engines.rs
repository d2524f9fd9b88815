//! Engines driven by hand under random load, and what must hold of any of them.

use proptest::prelude::*;

use llmperforacle::catalog::builtin;
use llmperforacle::config::schema::LoraModule;
use llmperforacle::cost::{CostModel, LoraCost, LoraLayers, WithAdapters};
use llmperforacle::engine::{AdapterEviction, AdapterLoad, LoraSpec, Replica};
use llmperforacle::kv::tiers::{Patience, Prefetch, Rate};
use llmperforacle::kv::{KvCache, LoadBack, Tier, Tiered, Tiers, WritePolicy};
use llmperforacle::metrics::{Recorder, RunInfo, RunResult, Status};
use llmperforacle::units::Time;
use llmperforacle::workload::{Request, Segment, SegmentId};

/// Far more than any case takes: an engine that goes round in circles is a failure, not a hang.
const MOST_EVENTS: u64 = 200_000;

/// Tiers below a KV memory, as sizes and times in whatever blocks it has.
#[derive(Clone, Debug)]
pub struct Below {
    chunk_blocks: u32,
    /// Chunks, us to read one, us to write one, us of latency, policy.
    tiers: Vec<(u64, u64, u64, u64, WritePolicy)>,
    load: LoadBack,
    exclusive: bool,
    promotes: bool,
    prefetch: Option<Prefetch>,
}

impl Below {
    /// A request can wait for its contents while others pass.
    #[allow(dead_code, reason = "not every test that shares this file asks")]
    pub fn fetches(&self) -> bool {
        self.load == LoadBack::Fetch
    }

    /// `memory` with these tiers below it.
    pub fn under(&self, memory: Box<dyn KvCache>) -> Box<dyn KvCache> {
        let rate = |us: u64, latency: u64| Rate { chunk_ps: us * 1_000_000 + 1, latency: Time(latency * 1_000_000) };
        let tier = |(kind, &(chunks, read, write, latency, policy)): (usize, &(u64, u64, u64, u64, WritePolicy))| Tier {
            kind,
            chunks,
            read: rate(read, latency),
            write: rate(write, latency),
            policy,
        };
        let tiers = Tiers {
            chunk_tokens: self.chunk_blocks * memory.block_size(),
            tiers: self.tiers.iter().enumerate().map(tier).collect(),
            load: self.load,
            exclusive: self.exclusive,
            promotes: self.promotes,
            prefetch: self.prefetch,
        };
        Box::new(Tiered::new(memory, tiers))
    }
}

/// Some tiers, half of the time.
pub fn below(load: impl Strategy<Value = LoadBack>, prefetches: bool) -> impl Strategy<Value = Option<Below>> {
    let policy = prop_oneof![3 => Just(WritePolicy::Through), 1 => Just(WritePolicy::Selective(2)), 2 => Just(WritePolicy::Back)];
    let tier = (1u64..200, 0u64..300, 0u64..300, 0u64..100, policy);
    let patience = prop_oneof![
        Just(Patience::BestEffort),
        Just(Patience::Complete),
        (0u64..500, 0u64..5).prop_map(|(base, each)| Patience::Timeout { base: Time(base * 1_000_000), per_token: Time(each * 1_000_000) })
    ];
    let prefetch = prop::option::of((patience, 0u64..100)).prop_map(move |prefetch| prefetch.filter(|_| prefetches));
    let below = (1u32..4, prop::collection::vec(tier, 1..4), load, any::<bool>(), any::<bool>(), prefetch).prop_map(
        |(chunk_blocks, tiers, load, exclusive, promotes, prefetch)| Below {
            chunk_blocks,
            tiers,
            load,
            exclusive,
            promotes,
            prefetch: prefetch.map(|(patience, least_tokens)| Prefetch { patience, least_tokens }),
        },
    );
    prop::option::of(below)
}

/// LoRA adapters, a third of the time: up to four, of which few fit on the GPU or into host memory.
#[allow(dead_code, reason = "not every test that shares this file asks")]
pub fn adapters(by_rank: bool, base_takes_place: bool) -> impl Strategy<Value = Option<LoraSpec>> {
    let adapter =
        (prop_oneof![Just(8u32), Just(16), Just(64)], 0u64..3_000, 0u64..20_000).prop_map(move |(rank, gpu_us, host_us)| AdapterLoad {
            places: if by_rank { u64::from(rank) } else { 1 },
            rank,
            to_gpu: Time(gpu_us * 1_000_000),
            to_host: Time(host_us * 1_000_000),
        });
    let room = (1u64..4, 0u64..5, any::<bool>(), any::<(bool, bool)>());
    let spec = (prop::collection::vec(adapter, 1..5), room).prop_map(move |(adapters, (gpu, more, fifo, (inclusive, on_host)))| LoraSpec {
        adapters,
        gpu_places: if by_rank { 64 * gpu } else { gpu },
        host_places: if more == 4 { u64::MAX } else { (gpu + more) * if by_rank { 64 } else { 1 } },
        eviction: if fifo { AdapterEviction::Fifo } else { AdapterEviction::Lru },
        base_takes_place,
        inclusive,
        on_host_at_start: on_host,
    });
    prop_oneof![2 => Just(None), 1 => spec.prop_map(Some)]
}

/// Every request asks for one of the adapters, or for none; contents are told apart by it.
#[allow(dead_code, reason = "not every test that shares this file asks")]
pub fn with_adapters(mut requests: Vec<Request>, spec: Option<&LoraSpec>) -> Vec<Request> {
    let Some(spec) = spec else { return requests };
    for request in &mut requests {
        request.adapter = (request.input_tokens % (spec.adapters.len() as u32 + 1)) as u16;
        let adapter = u32::from(request.adapter);
        request.segments.iter_mut().for_each(|segment| segment.id = SegmentId(segment.id.0 * 8 + adapter));
    }
    requests
}

/// Step times with those of adapters on an 8B model.
#[allow(dead_code, reason = "not every test that shares this file asks")]
pub fn cost_of_adapters(cost: Box<dyn CostModel>, spec: Option<&LoraSpec>) -> Box<dyn CostModel> {
    if spec.is_none() {
        return cost;
    }
    let catalog = builtin();
    let layers = LoraLayers::new(catalog.model("Llama-3.1-8B").expect("a model"), 1, &LoraModule::all(), 2);
    Box::new(WithAdapters::new(cost, LoraCost::new(layers, catalog.device("H100-SXM").expect("a device"), 5.0, 1.0)))
}

/// What is drawn of a request.
pub struct Draft {
    /// After the one before it.
    pub gap_us: u32,
    pub input_tokens: u32,
    pub output_tokens: u32,
    /// Group of requests that share a prefix, of 4, and its length, which the group's first request sets.
    pub prefix: Option<(u32, u32)>,
    /// Declared beyond what comes.
    pub undeclared: u32,
    pub patience_us: Option<u32>,
    pub ignore_eos: bool,
    pub priority: i32,
    /// Replies to the prompt.
    pub samples: u32,
}

/// Prefix groups have one length each, since a segment does.
pub fn requests(drafts: impl Iterator<Item = Draft>) -> Vec<Request> {
    let mut lengths = [None; 4];
    let mut now = Time::ZERO;
    let request = |(id, draft): (usize, Draft)| {
        now += Time::from_us(f64::from(draft.gap_us));
        let segments = draft.prefix.map(|(group, tokens)| {
            let tokens = *lengths[group as usize].get_or_insert(tokens);
            Segment { id: SegmentId(group), tokens }
        });
        let input_tokens = draft.input_tokens.max(segments.map_or(1, |segment| segment.tokens));
        // Several replies share all of their prompt.
        let own = input_tokens - segments.map_or(0, |segment| segment.tokens);
        let own = (draft.samples > 1 && own > 0).then_some(Segment { id: SegmentId(4 + id as u32), tokens: own });
        Request {
            hangs_up: draft.patience_us.map_or(Time::NEVER, |us| now + Time::from_us(f64::from(us))),
            max_tokens: draft.output_tokens + draft.undeclared,
            ignore_eos: draft.ignore_eos,
            priority: draft.priority,
            samples: draft.samples,
            segments: segments.into_iter().chain(own).collect(),
            ..Request::new(id as u32, now, input_tokens, draft.output_tokens)
        }
    };
    drafts.enumerate().map(request).collect()
}

/// The result, the KV blocks still held, and the number of events.
pub fn drive(mut replica: Replica, mut recorder: Recorder, requests: Vec<Request>, horizon: Time) -> (RunResult, u64, u64) {
    let mut requests = requests.into_iter().peekable();
    let (mut ended, mut events, mut now) = (Vec::new(), 0, Time::ZERO);
    loop {
        let arrival = requests.peek().map_or(Time::NEVER, |request| request.arrival);
        let next = arrival.min(replica.next_event());
        if next == Time::NEVER || next > horizon {
            break;
        }
        assert!(next >= now, "time went back");
        now = next;
        events += 1;
        assert!(events < MOST_EVENTS, "no end in sight");
        if arrival == next {
            replica.arrive(requests.next().expect("peeked"), &mut recorder);
        } else {
            replica.process(arrival, &mut recorder, &mut ended);
        }
    }
    let used = replica.kv_blocks_used();
    replica.close(&mut recorder);
    let end = if horizon == Time::NEVER { now } else { horizon };
    (recorder.finish(RunInfo::default(), end), used, events)
}

/// `run` with the fast path and without it leave the same bits behind.
pub fn equals_single_steps(run: impl Fn(bool) -> (RunResult, u64, u64)) -> Result<(), TestCaseError> {
    let (fast, _, fast_events) = run(true);
    let (single, _, single_events) = run(false);
    prop_assert_eq!(&fast.requests, &single.requests);
    prop_assert_eq!(&fast.series, &single.series);
    prop_assert_eq!(&fast.counters, &single.counters);
    prop_assert_eq!(&fast.tiers, &single.tiers);
    prop_assert_eq!(fast.hash(), single.hash());
    prop_assert!(fast_events <= single_events);
    Ok(())
}

/// A request is rejected, cancelled, or ends with all `output_tokens` of its `samples` replies in order of time. True when it ended well.
pub fn ends(result: &RunResult, row: usize, output_tokens: u32, samples: u32, caching: bool) -> Result<bool, TestCaseError> {
    let r = &result.requests;
    let output_tokens = output_tokens * samples;
    if r.status[row] == Status::Rejected as u8 {
        return Ok(false);
    }
    if r.status[row] == Status::Cancelled as u8 {
        prop_assert!(r.cancelled_ps[row] >= r.arrival_ps[row] && r.output_tokens[row] <= output_tokens);
        prop_assert!(r.finish_ps[row] == u64::MAX);
        return Ok(false);
    }
    prop_assert_eq!(r.status[row], Status::Success as u8);
    prop_assert_eq!(r.output_tokens[row], output_tokens);
    prop_assert!(r.arrival_ps[row] <= r.scheduled_ps[row]);
    prop_assert!(r.scheduled_ps[row] < r.first_token_ps[row]);
    prop_assert!(r.first_token_ps[row] <= r.finish_ps[row]);
    // Every prompt token is computed once or found once, unless a preemption makes it happen again (and a second
    // admission may find what the first did not).
    let known = r.prefilled_tokens[row] + u64::from(r.cached_tokens[row]);
    let input = u64::from(r.input_tokens[row]);
    if samples == 1 {
        prop_assert!(known == input || r.preemptions[row] > 0);
    } else {
        // Each reply computes the last token at least. (One more computes the prompt under SGLang.)
        prop_assert!(known >= input + u64::from(samples) - 1 || r.preemptions[row] > 0);
        prop_assert!(known <= input * u64::from(samples + 1) || r.preemptions[row] > 0);
    }
    if !caching {
        prop_assert_eq!(r.cached_tokens[row], 0);
    }
    Ok(true)
}
