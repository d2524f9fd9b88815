//! TensorRT-LLM's block reuse against a reference that keeps every block with every token in it: on random traffic both find the same
//! tokens and have the same blocks free after every move.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::VecDeque;

use llmperforacle::kv::{BlockTree, KvCache, KvView, Reuse};
use llmperforacle::units::Time;
use llmperforacle::workload::{Request, Segment, SegmentId};
use proptest::prelude::*;

const SIZE: usize = 4;

/// A token is where it comes from and its place there.
type Token = (Source, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Segment(u32),
    Own(u32),
}

/// A block of memory.
#[derive(Clone, Debug, Default)]
struct Block {
    refs: u32,
    stored: Option<Stored>,
}

#[derive(Clone, Debug)]
struct Stored {
    parent: Option<usize>,
    tokens: Vec<Token>,
    stamp: u64,
}

/// What one request holds and knows.
#[derive(Clone, Debug, Default)]
struct Sequence {
    known: Vec<Token>,
    blocks: Vec<usize>,
    computed: usize,
    /// Tokens to compute before the next is sampled.
    context: usize,
}

struct Reference {
    reuse: Reuse,
    blocks: Vec<Block>,
    free: VecDeque<usize>,
    stamps: u64,
}

impl Reference {
    fn new(blocks: usize, reuse: Reuse) -> Reference {
        Reference { reuse, blocks: vec![Block::default(); blocks], free: (0..blocks).collect(), stamps: 0 }
    }

    fn children(&self, parent: Option<usize>) -> impl Iterator<Item = (usize, &Stored)> {
        self.blocks
            .iter()
            .enumerate()
            .filter_map(|(id, block)| block.stored.as_ref().map(|stored| (id, stored)))
            .filter(move |(_, stored)| stored.parent == parent)
    }

    /// Full blocks and the partly matching one (tokens, block).
    fn find(&self, tokens: &[Token]) -> (Vec<usize>, Option<(usize, usize)>) {
        let mut full = Vec::new();
        if !self.reuse.blocks {
            return (full, None);
        }
        let mut parent = None;
        for piece in tokens.chunks(SIZE) {
            let exact = self.children(parent).find(|(_, stored)| piece.len() == SIZE && stored.tokens == piece);
            if let Some((id, _)) = exact {
                full.push(id);
                parent = Some(id);
                continue;
            }
            if !self.reuse.partial {
                return (full, None);
            }
            let common = |stored: &Stored| stored.tokens.iter().zip(piece).take_while(|(a, b)| a == b).count();
            let longest = self.children(parent).map(|(_, stored)| common(stored)).max().unwrap_or(0);
            if longest == 0 {
                return (full, None);
            }
            // Of several, the one with the least beyond in the same segment, then the one that ends there, then the oldest.
            let best = self.children(parent).filter(|(_, stored)| common(stored) == longest).min_by_key(|(_, stored)| {
                let same = stored.tokens.iter().rposition(|token| token.0 == piece[longest - 1].0).unwrap() + 1;
                (same, same < stored.tokens.len(), stored.stamp)
            });
            let part = best.map(|(id, _)| (longest, id)).filter(|&(_, id)| self.reuse.copy || self.free_leaf(id));
            return (full, part);
        }
        (full, None)
    }

    fn free_leaf(&self, id: usize) -> bool {
        self.blocks[id].refs == 0 && self.children(Some(id)).next().is_none()
    }

    fn lookup(&self, tokens: &[Token]) -> (usize, usize) {
        let (full, part) = self.find(tokens);
        let free = full.iter().filter(|&&id| self.blocks[id].refs == 0).count();
        (full.len() * SIZE + part.map_or(0, |(tokens, _)| tokens), free + usize::from(part.is_some()))
    }

    fn forget(&mut self, id: usize) {
        let below: Vec<usize> = self.children(Some(id)).map(|(child, _)| child).collect();
        self.blocks[id].stored = None;
        below.into_iter().for_each(|child| self.forget(child));
    }

    fn take(&mut self) -> usize {
        let id = self.free.pop_front().expect("a free block");
        self.forget(id);
        self.blocks[id].refs = 1;
        id
    }

    fn hold(&mut self, id: usize) {
        self.blocks[id].refs += 1;
        self.free.retain(|&free| free != id);
    }

    fn acquire(&mut self, sequence: &mut Sequence, tokens: usize) {
        let (full, part) = self.find(&sequence.known[..tokens]);
        for &id in &full {
            self.hold(id);
        }
        sequence.blocks = full;
        if let Some((_, id)) = part {
            if self.free_leaf(id) {
                self.forget(id);
                self.hold(id);
                sequence.blocks.push(id);
            } else {
                let copy = self.take();
                sequence.blocks.push(copy);
            }
        }
        sequence.computed = tokens;
    }

    fn grow(&mut self, sequence: &mut Sequence, blocks: usize) {
        while sequence.blocks.len() < blocks {
            let id = self.take();
            sequence.blocks.push(id);
        }
    }

    fn store(&mut self, sequence: &Sequence, tokens: usize, last: bool) {
        let mut parent = None;
        for (place, piece) in sequence.known[..tokens].chunks(SIZE).enumerate() {
            if piece.len() < SIZE && !last {
                break;
            }
            let own = sequence.blocks[place];
            if self.blocks[own].stored.is_some() {
                parent = Some(own);
            } else if let Some((equal, _)) = self.children(parent).find(|(_, stored)| stored.tokens == piece) {
                parent = Some(equal);
            } else {
                self.stamps += 1;
                self.blocks[own].stored = Some(Stored { parent, tokens: piece.to_vec(), stamp: self.stamps });
                parent = Some(own);
            }
        }
    }

    fn release(&mut self, sequence: &mut Sequence) {
        for id in std::mem::take(&mut sequence.blocks).into_iter().rev() {
            self.blocks[id].refs -= 1;
            if self.blocks[id].refs == 0 {
                self.free.push_back(id);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    /// Prompt by its chain of segments, private tokens, reply, whether a later prompt goes on after the reply.
    Arrive(usize, u32, u32, bool),
    /// Start, or compute more of the context or the reply: which, tokens.
    Step(usize, usize),
    Pause(usize),
    End(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let which = 0..64usize;
    let one = prop_oneof![
        3 => (which.clone(), 0..14u32, 1..12u32, any::<bool>()).prop_map(|(chain, own, reply, goes_on)| Move::Arrive(chain, own, reply, goes_on)),
        8 => (which.clone(), 1..24usize).prop_map(|(which, tokens)| Move::Step(which, tokens)),
        1 => which.clone().prop_map(Move::Pause),
        2 => which.prop_map(Move::End),
    ];
    prop::collection::vec(one, 1..120)
}

struct Owner {
    id: u32,
    request: Request,
    sequence: Sequence,
    running: bool,
}

fn check(blocks: usize, reuse: Reuse, moves: &[Move]) -> Result<(), TestCaseError> {
    let mut cache = BlockTree::new(blocks as u64, SIZE as u32, reuse);
    let mut reference = Reference::new(blocks, reuse);
    cache.keep_events();
    let mut view = KvView::default();
    // A tree of segments: each has the chain that leads to it.
    let mut chains: Vec<Vec<Segment>> = vec![Vec::new()];
    let mut segments = 0;
    for (parent, tokens) in [(0, 6), (0, 9), (1, 4), (1, 7), (1, 8), (2, 3), (3, 10)] {
        let mut chain: Vec<Segment> = chains[parent].clone();
        chain.push(Segment { id: SegmentId(segments), tokens });
        segments += 1;
        chains.push(chain);
    }
    let mut owners: Vec<Owner> = Vec::new();
    let (mut next, mut requests) = (0, 0);
    for step in moves {
        match *step {
            Move::Arrive(chain, own, reply, goes_on) => {
                let chain = chains[chain % chains.len()].clone();
                let shared: u32 = chain.iter().map(|segment| segment.tokens).sum();
                // A prompt that a later one contains is all segments.
                let own = if goes_on { 0 } else { own };
                let input = (shared + own).max(1);
                let goes_on = goes_on && shared > 0;
                let segments_here: Vec<Segment> = chain.clone();
                let mut known: Vec<Token> =
                    chain.iter().flat_map(|segment| (0..segment.tokens).map(|place| (Source::Segment(segment.id.0), place))).collect();
                known.extend((shared..input).map(|place| (Source::Own(requests), place)));
                let output_segment = goes_on.then_some(SegmentId(segments));
                if goes_on {
                    let mut longer = chain;
                    longer.push(Segment { id: SegmentId(segments), tokens: reply });
                    known.extend((0..reply).map(|place| (Source::Segment(segments), place)));
                    chains.push(longer);
                    segments += 1;
                } else {
                    known.extend((input..input + reply).map(|place| (Source::Own(requests), place)));
                }
                let request =
                    Request { segments: segments_here.into(), output_segment, ..Request::new(requests, Time::ZERO, input, reply) };
                requests += 1;
                cache.open(next, &request);
                let sequence = Sequence { known, context: input as usize, ..Sequence::default() };
                owners.push(Owner { id: next, request, sequence, running: false });
                next += 1;
            }
            Move::Step(which, tokens) => {
                let count = owners.len().max(1);
                let Some(owner) = owners.get_mut(which % count) else { continue };
                let sequence = &mut owner.sequence;
                if !owner.running {
                    let hit = reference.lookup(&sequence.known[..sequence.context - 1]);
                    let blocks = sequence.context.div_ceil(SIZE) - hit.0.div_ceil(SIZE) + hit.1;
                    if blocks > reference.free.len() {
                        continue;
                    }
                    cache.acquire(owner.id, hit.0 as u64);
                    reference.acquire(sequence, hit.0);
                    owner.running = true;
                }
                let end = if sequence.computed < sequence.context {
                    (sequence.computed + tokens).min(sequence.context)
                } else {
                    (sequence.computed + 1).min(sequence.known.len() - 1).max(sequence.computed)
                };
                if end == sequence.computed {
                    continue;
                }
                let taken = if reuse.whole_context { end.max(sequence.context) } else { end };
                let needed = taken.div_ceil(SIZE).saturating_sub(sequence.blocks.len());
                if needed > reference.free.len() {
                    continue;
                }
                let in_context = sequence.computed < sequence.context;
                if in_context {
                    prop_assert!(cache.grow(owner.id, sequence.computed as u64, end as u64));
                } else {
                    prop_assert!(cache.allocate(needed as u64));
                }
                reference.grow(sequence, taken.div_ceil(SIZE));
                sequence.computed = end;
                if in_context {
                    let completes = end == sequence.context;
                    cache.computed(owner.id, end as u64, completes);
                    if reuse.blocks && (completes || !reuse.whole_context) {
                        let kept = if completes { end - 1 } else { end };
                        reference.store(sequence, kept, false);
                    }
                }
            }
            Move::Pause(which) => {
                let count = owners.len().max(1);
                let Some(owner) =
                    owners.get_mut(which % count).filter(|owner| owner.running && owner.sequence.computed + 1 < owner.sequence.known.len())
                else {
                    continue;
                };
                let sequence = &mut owner.sequence;
                cache.preempt(owner.id, sequence.computed as u64, &owner.request);
                if reuse.blocks {
                    reference.store(sequence, sequence.computed, true);
                }
                reference.release(sequence);
                sequence.context = sequence.context.max(sequence.computed + 1);
                sequence.computed = 0;
                owner.running = false;
            }
            Move::End(which) => {
                if owners.is_empty() {
                    continue;
                }
                let mut owner = owners.swap_remove(which % owners.len());
                cache.end(owner.id, owner.sequence.computed as u64, &owner.request);
                if reuse.blocks {
                    reference.store(&owner.sequence, owner.sequence.computed, true);
                }
                reference.release(&mut owner.sequence);
            }
        }
        prop_assert_eq!(cache.free(), reference.free.len() as u64, "free blocks after {:?}", step);
        // Who has heard all knows what is there: full blocks that segments name.
        cache.take_events().for_each(|event| view.hear(event));
        for chain in &chains {
            let known: Vec<Token> =
                chain.iter().flat_map(|segment| (0..segment.tokens).map(|place| (Source::Segment(segment.id.0), place))).collect();
            let expected = if reuse.blocks { reference.find(&known).0.len() * SIZE } else { 0 };
            let request = Request { segments: chain.clone().into(), ..Request::new(u32::MAX, Time::ZERO, known.len() as u32 + 1, 1) };
            prop_assert_eq!((view.leading(chain, SIZE as u32), cache.held(&request)), (expected as u64, expected as u64), "{:?}", step);
        }
        for owner in owners.iter().filter(|owner| !owner.running) {
            let hit = cache.lookup(owner.id, owner.sequence.context as u64 - 1);
            let expected = reference.lookup(&owner.sequence.known[..owner.sequence.context - 1]);
            prop_assert_eq!((hit.tokens as usize, hit.free_blocks as usize), expected, "found for {} after {:?}", owner.request.id, step);
        }
    }
    for owner in owners {
        cache.end(owner.id, owner.sequence.computed as u64, &owner.request);
    }
    prop_assert_eq!(cache.used(), 0, "blocks leaked");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_finds_what_a_reference_with_every_token_finds(
        blocks in 4usize..60,
        (partial, copy, whole_context) in any::<(bool, bool, bool)>(),
        enabled in prop::bool::weighted(0.95),
        moves in moves(),
    ) {
        check(blocks, Reuse { blocks: enabled, partial, copy, whole_context }, &moves)?;
    }
}
