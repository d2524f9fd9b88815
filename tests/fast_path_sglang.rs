//! SGLang's scheduler on random engines under random load: the fast path and single steps leave the same bits behind, memory and tokens
//! are conserved, every request ends, and the pooled gaps between tokens are those of the requests one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use llmperforacle::cost::{CostModel, DecodeCost, Prefill, StepCost, StepParts};
use llmperforacle::engine::policies::sglang::{Expectations, Order, Priorities, Sglang, SglangOptions};
use llmperforacle::engine::{Core, Limits, LoraSpec, Pace, Replica};
use llmperforacle::kv::{KvCache, LoadBack, RadixCache};
use llmperforacle::metrics::{Recorder, RunResult};
use llmperforacle::units::Time;
use llmperforacle::workload::{Request, Segment, SegmentId};

#[path = "support/engines.rs"]
mod engines;

/// An affine cost.
#[derive(Clone, Debug)]
struct Affine {
    fixed_ps: u64,
    sequence_ps: u64,
    context_ps: u64,
    host_ps: u64,
}

fn parts(gemm_ps: u64) -> StepParts {
    StepParts { gemm_ps, ..StepParts::default() }
}

impl CostModel for Affine {
    fn decode(&mut self, sequences: u32, _context: u64) -> DecodeCost {
        let device_ps = self.fixed_ps + u64::from(sequences) * self.sequence_ps;
        let fixed = StepCost { device_ps, host_ps: self.host_ps, launch_ps: 0, parts: parts(device_ps), padded_tokens: 1, eager: false };
        DecodeCost { fixed, context_ps: self.context_ps, valid_below_context: u64::MAX }
    }

    fn mixed(&mut self, prefills: &[Prefill], sequences: u32, context: u64) -> StepCost {
        let tokens: u64 = prefills.iter().map(|piece| u64::from(piece.new_tokens)).sum();
        let device_ps = self.fixed_ps + (tokens + u64::from(sequences)) * self.sequence_ps + context * self.context_ps;
        StepCost { device_ps, host_ps: self.host_ps, launch_ps: self.fixed_ps, parts: parts(device_ps), padded_tokens: 0, eager: false }
    }
}

/// Gap before it in us, prompt, output, shared prefix (group, tokens), declared limit beyond the output, us until the client gives up, replies.
type Draft = (u32, u32, u32, Option<(u32, u32)>, u32, Option<u32>, u32);

#[derive(Clone, Debug)]
struct Case {
    limits: Limits,
    options: SglangOptions,
    page: u32,
    pages: u64,
    overlap: bool,
    horizon: Time,
    cost: Affine,
    requests: Vec<Draft>,
    /// Tiers below the KV memory.
    below: Option<engines::Below>,
    lora: Option<LoraSpec>,
}

fn case() -> impl Strategy<Value = Case> {
    let limits = (16u32..600, 1u32..16, any::<bool>()).prop_map(|(budget, seats, chunked_prefill)| Limits {
        speculative_tokens: 0,
        max_num_batched_tokens: budget.next_multiple_of(16),
        max_num_seqs: seats,
        max_model_len: 2000,
        chunked_prefill,
        long_prefill_token_threshold: 0,
        reserve_full_prompt: true,
        watermark_blocks: 0,
    });
    let order = prop_oneof![
        3 => Just(Order::Fcfs),
        2 => Just(Order::Lpm),
        1 => Just(Order::Lof),
        1 => Just(Order::ShortestPrefillFirst),
        1 => Just(Order::Random),
        1 => Just(Order::DfsWeight),
        1 => Just(Order::Hrrn)
    ];
    let priority =
        prop::option::of(
            (any::<bool>(), any::<bool>(), 0u32..3, any::<bool>()).prop_map(|(low_values_first, preempts, threshold, retracts)| {
                Priorities { low_values_first, preempts, threshold, retracts }
            }),
        );
    let options = (order, priority, 50u32..1000, 0.05f64..1.5, any::<bool>(), prop_oneof![3 => Just(0u32), 1 => 1u32..5], any::<bool>())
        .prop_map(|(order, priority, max_prefill_tokens, schedule_conservativeness, mixed_chunk, prefill_decode_interval, caching)| {
            SglangOptions {
                pp_max_micro_batch_size: u32::MAX,
                order,
                priority,
                max_prefill_tokens,
                schedule_conservativeness,
                // Of every third case other expectations, which fall to the floor within the run.
                expectations: match max_prefill_tokens % 3 {
                    0 => Expectations { initial: 0.9, floor: 0.05, steps: 1 + max_prefill_tokens % 40 },
                    _ => Expectations::default(),
                },
                clip: if max_prefill_tokens % 5 == 0 { 1 + max_prefill_tokens % 64 } else { 4096 },
                prefill_max_requests: if max_prefill_tokens % 7 == 0 { 1 + max_prefill_tokens % 3 } else { u32::MAX },
                num_reserved_decode_tokens: 512,
                mixed_chunk,
                prefill_decode_interval,
                latch: max_prefill_tokens % 4 > 0,
                caching,
                seed: 7,
            }
        });
    let cost = (1_000u64..10_000_000, 0u64..200_000, 0u64..3_000, prop_oneof![Just(0u64), 100_000u64..20_000_000])
        .prop_map(|(fixed_ps, sequence_ps, context_ps, host_ps)| Affine { fixed_ps, sequence_ps, context_ps, host_ps });
    let request = (
        prop_oneof![Just(0u32), 0u32..20, 0u32..3000],
        1u32..300,
        1u32..200,
        prop::option::of((0u32..4, 1u32..150)),
        prop_oneof![Just(0u32), 1u32..50],
        prop_oneof![3 => Just(None), 1 => (0u32..30_000).prop_map(Some)],
        prop_oneof![4 => Just(1u32), 1 => 2u32..5],
    );
    let shape = (prop_oneof![Just(1u32), Just(4u32), Just(16u32)], 8u64..120, any::<bool>());
    let horizon = prop_oneof![4 => Just(Time::NEVER), 1 => (1u64..5_000_000_000).prop_map(Time)];
    let load = prop_oneof![Just(LoadBack::Serial), (1u32..40).prop_map(LoadBack::Layers)];
    (
        limits,
        options,
        cost,
        shape,
        horizon,
        prop::collection::vec(request, 1..40),
        engines::below(load, true),
        engines::adapters(false, true),
    )
        .prop_map(|(limits, options, cost, (page, pages, overlap), horizon, requests, below, lora)| Case {
            limits,
            options,
            page,
            pages: pages * 16 / u64::from(page),
            overlap,
            horizon,
            cost,
            requests,
            below,
            lora,
        })
}

fn requests(case: &Case) -> Vec<Request> {
    let requests =
        engines::requests(case.requests.iter().map(|&(gap_us, input_tokens, output_tokens, prefix, undeclared, patience_us, samples)| {
            engines::Draft {
                gap_us,
                input_tokens,
                output_tokens,
                prefix,
                undeclared,
                patience_us,
                ignore_eos: undeclared == 0 && output_tokens % 2 == 0,
                priority: (output_tokens % 3) as i32,
                samples,
            }
        }));
    engines::with_adapters(requests, case.lora.as_ref())
}

fn run(case: &Case, fast_path: bool) -> (RunResult, u64, u64) {
    let memory: Box<dyn KvCache> = Box::new(RadixCache::new(case.pages, case.page, case.options.caching));
    let memory = match &case.below {
        Some(below) if case.options.caching => below.under(memory),
        _ => memory,
    };
    let mut core = Core::new(case.limits.clone(), memory);
    if let Some(lora) = &case.lora {
        core.serve_adapters(lora.clone());
    }
    let pace = Pace { overlap: case.overlap, fast_path, horizon: case.horizon };
    let cost = engines::cost_of_adapters(Box::new(case.cost.clone()), case.lora.as_ref());
    let replica = Replica::new(0, core, Box::new(Sglang::new(case.options.clone())), cost, pace);
    engines::drive(replica, Recorder::new(Time::ZERO, None), requests(case), case.horizon)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_equals_single_steps_to_the_bit(case in case()) {
        engines::equals_single_steps(|fast_path| run(&case, fast_path))?;
    }

    #[test]
    fn every_request_ends_and_everything_is_conserved(mut case in case()) {
        case.horizon = Time::NEVER;
        let (result, used, _) = run(&case, true);
        prop_assert_eq!(used, 0, "memory leaked");
        let r = &result.requests;
        prop_assert_eq!(r.len(), case.requests.len());
        if case.options.order == Order::Fcfs && case.options.priority.is_none() && case.below.is_none() && case.lora.is_none() {
            // First come, first served: nobody is admitted for the first time before an earlier one (but for one whose KV is on its
            // way up from a lower tier).
            let served: Vec<u64> = (0..r.len()).filter(|&row| r.status[row] == 1).map(|row| r.scheduled_ps[row]).collect();
            prop_assert!(served.is_sorted());
        }
        let (mut gaps, mut span_ps) = (0u64, 0u128);
        for row in 0..r.len() {
            if !engines::ends(&result, row, case.requests[row].2, case.requests[row].6, case.options.caching)? {
                continue;
            }
            gaps += u64::from(r.output_tokens[row] - case.requests[row].6);
            span_ps += u128::from(r.finish_ps[row] - r.first_token_ps[row]);
        }
        if case.requests.iter().all(|draft| draft.5.is_none()) {
            // The gaps of all requests are one for each token but the first, and fill the time from first to last token.
            prop_assert_eq!(result.inter_token.count(), gaps);
            if gaps > 0 && case.requests.iter().all(|draft| draft.6 == 1) {
                let mean = result.inter_token.mean().expect("gaps");
                prop_assert!((mean * gaps as f64 - span_ps as f64).abs() <= 1e-9 * span_ps as f64 + 1.0, "{} {}", mean * gaps as f64, span_ps);
            }
        }
    }
}

/// A token of the reference: content and offset.
type Token = (u64, u32);

/// SGLang's radix tree token by token, as slow and as plain as can be.
struct Reference {
    page: usize,
    blank: usize,
    clock: u64,
    nodes: BTreeMap<usize, ReferenceNode>,
    next: usize,
}

struct ReferenceNode {
    parent: usize,
    tokens: Vec<Token>,
    locks: usize,
    stamp: u64,
}

impl Reference {
    fn children(&self, id: usize) -> Vec<usize> {
        self.nodes.iter().filter(|(child, node)| node.parent == id && **child != 0).map(|(child, _)| *child).collect()
    }

    fn free(&self) -> usize {
        self.blank + self.nodes.values().filter(|node| node.locks == 0).map(|node| node.tokens.len()).sum::<usize>() / self.page
    }

    fn walk(&mut self, key: &[Token]) -> (usize, usize) {
        self.clock += 2;
        let (mut at, mut found) = (0, 0);
        'down: while found < key.len() {
            for child in self.children(at) {
                let node = &self.nodes[&child];
                let same = node.tokens.iter().zip(&key[found..]).take_while(|(a, b)| a == b).count() / self.page * self.page;
                if same == 0 {
                    continue;
                }
                found += same;
                self.nodes.get_mut(&child).expect("there").stamp = self.clock;
                if same < self.nodes[&child].tokens.len() {
                    let upper = self.next;
                    self.next += 1;
                    let lower = self.nodes.get_mut(&child).expect("there");
                    let tail = lower.tokens.split_off(same);
                    let head = std::mem::replace(&mut lower.tokens, tail);
                    let (parent, locks) = (lower.parent, lower.locks);
                    lower.parent = upper;
                    self.nodes.insert(upper, ReferenceNode { parent, tokens: head, locks, stamp: self.clock + 1 });
                    return (upper, found);
                }
                at = child;
                continue 'down;
            }
            break;
        }
        (at, found)
    }

    /// Leading tokens that are there, in pages.
    fn held(&self, key: &[Token]) -> usize {
        let (mut at, mut found) = (0, 0);
        loop {
            let same = |child: &usize| self.nodes[child].tokens.iter().zip(&key[found..]).take_while(|(a, b)| a == b).count();
            let next = self.children(at).into_iter().map(|child| (same(&child) / self.page * self.page, child)).max();
            let Some((same, child)) = next.filter(|(same, _)| *same > 0) else { return found };
            found += same;
            if same < self.nodes[&child].tokens.len() {
                return found;
            }
            at = child;
        }
    }

    fn insert(&mut self, key: &[Token]) -> (usize, usize) {
        let (at, found) = self.walk(key);
        if found == key.len() {
            return (at, found);
        }
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, ReferenceNode { parent: at, tokens: key[found..].to_vec(), locks: 0, stamp: self.clock + 1 });
        (id, found)
    }

    fn lock(&mut self, mut id: usize, by: isize) {
        while id != 0 {
            let node = self.nodes.get_mut(&id).expect("there");
            node.locks = node.locks.checked_add_signed(by).expect("balanced");
            id = node.parent;
        }
    }

    fn evict(&mut self, pages: usize) {
        let mut freed = 0;
        while freed < pages {
            let leaf = self.nodes.iter().filter(|(id, node)| **id != 0 && node.locks == 0 && self.children(**id).is_empty());
            let Some((&id, _)) = leaf.min_by_key(|(_, node)| node.stamp) else { break };
            freed += self.nodes.remove(&id).expect("there").tokens.len() / self.page;
        }
        self.blank += freed;
    }
}

/// What one owner does, in order: look up and take what is found, grow to the whole prompt, read, end with a reply or be retracted.
#[derive(Clone, Debug)]
struct Visit {
    /// Shared parts of the prompt, from a tree of segments: group, how deep.
    group: u32,
    depth: u32,
    private: u32,
    reply: u32,
    retracted: bool,
    /// Visits that overlap it before it ends.
    stays: usize,
}

/// A request under way: its owner, visit, contents, and how far it has come.
type Visitor = (u32, usize, Request, Vec<Token>, usize, usize, usize, bool);

fn visit() -> impl Strategy<Value = Visit> {
    (0u32..3, 0u32..4, 0u32..20, 1u32..20, any::<bool>(), 0usize..5).prop_map(|(group, depth, private, reply, retracted, stays)| Visit {
        group,
        depth,
        private,
        reply,
        retracted,
        stays,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_radix_tree_is_that_of_a_token_by_token_reference(
        visits in prop::collection::vec(visit(), 1..60),
        page in prop_oneof![Just(1u32), Just(4u32)],
        pages in 60u64..200,
    ) {
        use llmperforacle::kv::KvCache;
        let mut cache = RadixCache::new(pages, page, true);
        cache.keep_events();
        let mut view = llmperforacle::kv::KvView::default();
        let root = ReferenceNode { parent: usize::MAX, tokens: Vec::new(), locks: 1, stamp: 0 };
        let size = page as usize;
        let mut reference = Reference { page: size, blank: pages as usize, clock: 0, nodes: BTreeMap::from([(0, root)]), next: 1 };
        // Owner, when it ends, its tokens, the node it locks, tokens locked, tokens in memory.
        let mut there: Vec<Visitor> = Vec::new();
        for (index, visit) in visits.iter().enumerate() {
            while let Some(place) = there.iter().position(|&(_, ends, ..)| ends <= index) {
                let (owner, _, request, tokens, node, locked, computed, retracted) = there.remove(place);
                if retracted {
                    cache.preempt(owner, computed as u64, &request);
                    reference.blank += computed.div_ceil(size) - locked / size;
                } else {
                    let whole = computed / size * size;
                    let (_, found) = reference.insert(&tokens[..whole]);
                    reference.blank += (found.max(locked) - locked) / size + (computed.div_ceil(size) - whole / size);
                    cache.end(owner, computed as u64, &request);
                }
                reference.lock(node, -1);
                prop_assert_eq!(cache.free() as usize, reference.free());
            }
            let length = |depth: u32| 3 + 5 * depth + visit.group;
            let segments: Vec<Segment> =
                (0..visit.depth).map(|depth| Segment { id: SegmentId(visit.group * 8 + depth), tokens: length(depth) }).collect();
            let shared: u32 = segments.iter().map(|segment| segment.tokens).sum();
            let input = shared + visit.private + u32::from(shared + visit.private == 0);
            let mut tokens: Vec<Token> =
                segments.iter().flat_map(|segment| (0..segment.tokens).map(|offset| (u64::from(segment.id.0), offset))).collect();
            tokens.extend((0..input - shared + visit.reply).map(|offset| (1000 + index as u64, offset)));
            let request = Request { segments: segments.into(), ..Request::new(index as u32, Time::ZERO, input, visit.reply) };
            let owner = index as u32;
            // Who has heard all knows what is there.
            cache.take_events().for_each(|event| view.hear(event));
            let expected = reference.held(&tokens[..shared as usize]) as u64;
            prop_assert_eq!((view.leading(&request.segments, page), cache.held(&request)), (expected, expected));
            cache.open(owner, &request);
            let hit = cache.lookup(owner, u64::from(input) - 1);
            let limit = (input as usize - 1) / size * size;
            let (node, found) = reference.walk(&tokens[..limit]);
            prop_assert_eq!(hit.tokens as usize, found);
            let all = (input + visit.reply) as usize - 1;
            let needed = (all.div_ceil(size) - found / size) as u64;
            if needed + hit.free_blocks > cache.free() {
                continue;
            }
            cache.acquire(owner, hit.tokens);
            reference.lock(node, 1);
            prop_assert_eq!(cache.free() as usize, reference.free());
            let prompt = (input as usize).div_ceil(size) - found / size;
            cache.prepare(prompt as u64);
            prop_assert!(cache.grow(owner, found as u64, u64::from(input)));
            if reference.blank < prompt {
                reference.evict(prompt);
            }
            reference.blank -= prompt;
            cache.computed(owner, u64::from(input), true);
            cache.read(owner);
            let whole = input as usize / size * size;
            let (last, before) = reference.insert(&tokens[..whole]);
            reference.blank += (before.max(found) - found) / size;
            reference.walk(&tokens[..whole]);
            reference.lock(last, 1);
            reference.lock(node, -1);
            let decode = all.div_ceil(size) - (input as usize).div_ceil(size);
            prop_assert!(cache.allocate(decode as u64));
            if reference.blank < decode {
                reference.evict(decode - reference.blank);
            }
            reference.blank -= decode;
            prop_assert_eq!(cache.free() as usize, reference.free());
            there.push((owner, index + 1 + visit.stays, request, tokens, last, whole, all, visit.retracted));
        }
    }
}
