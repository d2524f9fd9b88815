//! The tiers against a reference that keeps every chunk as the list of its tokens and all before them.

use proptest::prelude::*;

use super::*;
use crate::kv::{BlockTree, HashChain, RadixCache, Reuse};
use crate::workload::SegmentId;

/// A tier of the reference: chunks (all tokens up to their end), and when each is complete; least recently used first.
struct Plain {
    capacity: usize,
    held: Vec<(Vec<(u64, u32)>, Time)>,
    read_free: Time,
    write_free: Time,
    chunk_ps: (u64, u64),
    latency: (Time, Time),
}

impl Plain {
    fn of(tier: &Tier) -> Plain {
        Plain {
            capacity: tier.chunks as usize,
            held: Vec::new(),
            read_free: Time::ZERO,
            write_free: Time::ZERO,
            chunk_ps: (tier.read.chunk_ps, tier.write.chunk_ps),
            latency: (tier.read.latency, tier.write.latency),
        }
    }

    fn has(&self, prefix: &[(u64, u32)], now: Time) -> bool {
        self.held.iter().any(|(held, ready)| held == prefix && *ready <= now)
    }

    fn touch(&mut self, prefix: &[(u64, u32)]) {
        if let Some(place) = self.held.iter().position(|(held, _)| held == prefix) {
            let chunk = self.held.remove(place);
            self.held.push(chunk);
        }
    }

    fn read(&mut self, at: Time, first: bool) -> Time {
        let latency = if first { self.latency.0 } else { Time::ZERO };
        self.read_free = at.max(self.read_free) + latency + Time(self.chunk_ps.0);
        self.read_free
    }

    fn put(&mut self, prefix: Vec<(u64, u32)>, ready: Time) {
        while self.held.len() >= self.capacity {
            self.held.remove(0);
        }
        self.held.push((prefix, ready));
    }
}

/// Copies down what is computed, tier after tier.
fn write_through(tiers: &mut [Plain], prefix: &[(u64, u32)], mut at: Time) {
    for tier in tiers {
        if let Some(place) = tier.held.iter().position(|(held, _)| held == prefix) {
            at = tier.held[place].1;
            tier.touch(prefix);
            continue;
        }
        let latency = if at >= tier.write_free { tier.latency.1 } else { Time::ZERO };
        tier.write_free = at.max(tier.write_free) + latency + Time(tier.chunk_ps.1);
        at = tier.write_free;
        tier.put(prefix.to_vec(), at);
    }
}

#[derive(Clone, Debug)]
struct Visit {
    gap_us: u32,
    /// A chain of shared segments: how many of the group's segments the prompt starts with.
    group: u32,
    depth: usize,
    private: u32,
    reply: u32,
    /// Ends this many visits later.
    stays: usize,
    preempted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    HashChain,
    Radix,
    BlockTree,
}

fn device(kind: Kind, blocks: u64, block: u32) -> Box<dyn KvCache> {
    match kind {
        Kind::HashChain => Box::new(HashChain::new(blocks, block, true)),
        Kind::Radix => Box::new(RadixCache::new(blocks, block, true)),
        Kind::BlockTree => Box::new(BlockTree::new(blocks, block, Reuse { partial: false, ..Reuse::default() })),
    }
}

fn visits() -> impl Strategy<Value = Vec<Visit>> {
    let visit = (0u32..400, 0u32..3, 0usize..4, 0u32..20, 1u32..12, 0usize..4, any::<bool>());
    prop::collection::vec(
        visit.prop_map(|(gap_us, group, depth, private, reply, stays, preempted)| Visit {
            gap_us,
            group,
            depth,
            private,
            reply,
            stays,
            preempted,
        }),
        1..60,
    )
}

fn tier(kind: usize, chunks: u64, read_us: u64, write_us: u64, latency_us: u64) -> Tier {
    let rate = |us: u64| Rate { chunk_ps: us * 1_000_000, latency: Time(latency_us * 1_000_000) };
    Tier { kind, chunks, read: rate(read_us), write: rate(write_us), policy: WritePolicy::Through }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn tiers_find_what_a_reference_with_every_token_finds(
        kind in prop_oneof![Just(Kind::HashChain), Just(Kind::Radix), Just(Kind::BlockTree)],
        block in prop_oneof![Just(1u32), Just(4)],
        times in 1u32..4,
        blocks in 30u64..60,
        sizes in (1u64..40, prop::option::of(1u64..80)),
        rates in (1u64..60, 1u64..60, 0u64..30),
        visits in visits(),
    ) {
        let chunk = block * times;
        let mut tiers = vec![tier(0, sizes.0, rates.0, rates.1, rates.2)];
        tiers.extend(sizes.1.map(|chunks| tier(1, chunks, 2 * rates.0, 3 * rates.1, 2 * rates.2)));
        let mut plain: Vec<Plain> = tiers.iter().map(Plain::of).collect();
        let options =
            Tiers { chunk_tokens: chunk, tiers, load: LoadBack::Serial, exclusive: false, promotes: true, prefetch: None };
        let mut cache = Tiered::new(device(kind, blocks * 4 / u64::from(block), block), options);
        // The same memory without tiers, to which the same happens.
        let mut bare = device(kind, blocks * 4 / u64::from(block), block);
        let size = u64::from(chunk);
        // Owner, until when, request, its tokens, how many of them are computed, whether it ends by preemption.
        type There = (u32, usize, Request, Vec<(u64, u32)>, u64, bool);
        let mut there: Vec<There> = Vec::new();
        let mut now = Time::ZERO;
        for (index, visit) in visits.iter().enumerate() {
            now += Time(u64::from(visit.gap_us) * 1_000_000);
            cache.at(now);
            let (leave, stay) = there.into_iter().partition(|(_, until, ..)| *until <= index);
            there = stay;
            for (owner, _, request, tokens, computed, preempted) in leave {
                if preempted {
                    cache.preempt(owner, computed, &request);
                    bare.preempt(owner, computed, &request);
                    cache.end(owner, 0, &request);
                    bare.end(owner, 0, &request);
                } else {
                    cache.end(owner, computed, &request);
                    bare.end(owner, computed, &request);
                }
                // Those of the prompt have been seen to.
                let prompt = u64::from(request.input_tokens);
                for end in (prompt / size + 1..=computed / size).map(|count| (count * size) as usize) {
                    write_through(&mut plain, &tokens[..end], now);
                }
                prop_assert_eq!(cache.free(), bare.free());
            }
            // Segments of 3, 6, 9 tokens: they end within chunks.
            let segments: Vec<Segment> = (0..visit.depth as u32)
                .map(|place| Segment { id: SegmentId(visit.group * 8 + place), tokens: 3 * (place + 1) })
                .collect();
            let shared: u32 = segments.iter().map(|segment| segment.tokens).sum();
            let input = (shared + visit.private).max(1);
            let mut tokens: Vec<(u64, u32)> =
                segments.iter().flat_map(|segment| (0..segment.tokens).map(|offset| (u64::from(segment.id.0), offset))).collect();
            tokens.extend((0..input - shared + visit.reply).map(|offset| (1000 + index as u64, offset)));
            let request = Request { segments: segments.into(), ..Request::new(index as u32, now, input, visit.reply) };
            let owner = index as u32;
            cache.open(owner, &request);
            bare.open(owner, &request);
            let limit = u64::from(input) - 1;
            let plain_hit = bare.lookup(owner, limit);
            let first = plain_hit.tokens / size;
            let mut end = first;
            while (end + 1) * size <= limit && plain.iter().any(|tier| tier.has(&tokens[..((end + 1) * size) as usize], now)) {
                end += 1;
            }
            let expected = plain_hit.tokens.max(end * size);
            let hit = cache.lookup(owner, limit);
            prop_assert_eq!(hit.tokens, expected);
            let all = u64::from(input + visit.reply) - 1;
            // TensorRT-LLM takes the blocks of a whole context at once.
            if cache.blocks_for(all) - cache.blocks_for(hit.tokens) + hit.free_blocks > cache.free() {
                there.push((owner, index, request, tokens, 0, false));
                continue;
            }
            // Reference: uses, brings up and promotes.
            let mut sources = Vec::new();
            for place in (0..expected / size).rev() {
                plain.iter_mut().for_each(|tier| tier.touch(&tokens[..((place + 1) * size) as usize]));
            }
            let mut through = Time::ZERO;
            if expected > plain_hit.tokens {
                for place in first..end {
                    let prefix = &tokens[..((place + 1) * size) as usize];
                    let Some(from) = plain.iter().position(|tier| tier.has(prefix, now)) else { continue };
                    let mut at = now;
                    for level in (0..=from).rev() {
                        at = plain[level].read(at, place == first);
                        if level > 0 && !plain[level - 1].held.iter().any(|(held, _)| held == prefix) {
                            plain[level - 1].put(prefix.to_vec(), at);
                        }
                    }
                    through = through.max(at);
                    sources.push((from, ((place + 1) * size - plain_hit.tokens.max(place * size)) as u32));
                }
            }
            cache.acquire(owner, hit.tokens);
            bare.acquire(owner, plain_hit.tokens);
            if expected > plain_hit.tokens {
                prop_assert!(bare.grow(owner, plain_hit.tokens, expected));
                bare.loaded(owner, expected);
            }
            let below = |level: usize| sources.iter().filter(|(from, _)| *from == level).map(|(_, tokens)| tokens).sum::<u32>();
            let lost = end - first - sources.len() as u64;
            if lost == 0 {
                prop_assert_eq!(cache.below(owner), [below(0), below(1), 0]);
            }
            let span = 1_000_000;
            prop_assert_eq!(cache.delay(now, span), through.since(now).0);
            let prompt = u64::from(input);
            for memory in [&mut cache as &mut dyn KvCache, bare.as_mut()] {
                memory.prepare(memory.blocks_for(prompt) - memory.blocks_for(expected));
                prop_assert!(memory.grow(owner, expected, prompt));
                memory.computed(owner, prompt, true);
                memory.read(owner);
                prop_assert!(memory.grow(owner, prompt, all));
            }
            for end in (1..=prompt / size).map(|count| (count * size) as usize) {
                write_through(&mut plain, &tokens[..end], now);
            }
            prop_assert_eq!(cache.free(), bare.free());
            for (tier, plain) in cache.tiers().iter().zip(&plain) {
                prop_assert_eq!(tier.held as usize, plain.held.len());
            }
            there.push((owner, index + 1 + visit.stays, request, tokens, all, visit.preempted));
        }
    }
}

/// 8 blocks of 16 tokens on the GPU, chunks of 32; copying a chunk takes 1 µs. What is told of a prompt that has not come yet, by hand.
#[test]
fn what_is_held_is_told_by_tier() {
    let rate = Rate { latency: Time::ZERO, chunk_ps: 1_000_000 };
    let tier = |kind, chunks, policy| Tier { kind, chunks, read: rate, write: rate, policy };
    let tiers = vec![tier(0, 3, WritePolicy::Through), tier(1, 100, WritePolicy::Through)];
    let options = Tiers { chunk_tokens: 32, tiers, load: LoadBack::Serial, exclusive: false, promotes: false, prefetch: None };
    let mut cache = Tiered::new(Box::new(HashChain::new(8, 16, true)), options);
    let prompt = |id: u32, segments: &[(u32, u32)]| Request {
        segments: segments.iter().map(|&(id, tokens)| Segment { id: SegmentId(id), tokens }).collect(),
        ..Request::new(id, Time::ZERO, segments.iter().map(|segment| segment.1).sum(), 1)
    };
    let compute = |cache: &mut Tiered, request: &Request, at: Time| {
        cache.at(at);
        cache.open(0, request);
        let tokens = u64::from(request.input_tokens);
        assert_eq!(cache.lookup(0, tokens - 1).tokens, 0);
        assert!(cache.grow(0, 0, tokens));
        cache.computed(0, tokens, true);
        cache.read(0);
        cache.end(0, tokens, request);
    };
    // 100 tokens: 6 full blocks and 3 chunks, in two segments of 40 and 60.
    let one = prompt(0, &[(0, 40), (1, 60)]);
    compute(&mut cache, &one, Time::ZERO);
    assert_eq!((cache.held(&one), cache.held_below(&one, 96)), (96, [0; 3]));
    // Its copies are complete by now. 80 other tokens take its last three blocks, and two of its chunks on the host.
    compute(&mut cache, &prompt(1, &[(2, 80)]), Time(100_000_000));
    cache.at(Time(200_000_000));
    assert_eq!(cache.held(&one), 48);
    // Of its chunks 0..32, 32..64, 64..96 the host gave up those used least recently; the disk has all. 16 of the second are on the GPU.
    let below = cache.held_below(&one, 48);
    assert_eq!(below.iter().sum::<u32>(), 48);
    assert_eq!(below[2], 0);
    // The same as an admission finds.
    cache.open(0, &one);
    let hit = cache.lookup(0, 96);
    assert_eq!(hit.tokens, 96);
    cache.acquire(0, 96);
    assert_eq!(cache.below(0), below);
    // Nothing is known of others.
    assert_eq!(cache.held_below(&prompt(3, &[(9, 400)]), 0), [0; 3]);
}
