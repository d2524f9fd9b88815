//! Chunks on their way between tiers: down when they are computed or evicted, up when they are asked for. When that happens to which
//! request's chunks is in the parent module.

use super::shelf::Gone;
use super::{Holding, MOST, Tiered, WritePolicy};
use crate::kv::Evicted;
use crate::units::Time;

impl Tiered {
    /// The nearest tier that has a chunk complete.
    pub(super) fn level_of(&self, slot: u32, among: usize) -> Option<usize> {
        self.levels.iter().take(among).position(|level| level.shelf.ready(slot).is_some_and(|ready| ready <= self.now))
    }

    /// The chunk, which is in the tier above (or on the GPU) at `at`, goes down to `level` if the rule says so.
    fn write_down(&mut self, level: usize, slot: u32, at: Time) {
        let Some(here) = self.levels.get(level) else { return };
        let goes = match here.tier.policy {
            WritePolicy::Through => true,
            WritePolicy::Selective(least) => self.names.uses(slot) >= least,
            WritePolicy::Back => false,
        };
        if goes {
            self.write(level, slot, at);
        }
    }

    /// Copies a chunk that is in the tier above at `at`, unless it is here. When the copy is complete.
    fn write(&mut self, level: usize, slot: u32, at: Time) -> Time {
        let here = &mut self.levels[level];
        let ready = match here.shelf.ready(slot) {
            Some(ready) => {
                here.shelf.touch(slot);
                ready
            }
            None => {
                let (_, end) = here.write.send(at, 1, at >= here.write.free_at());
                self.put(level, slot, end);
                end
            }
        };
        self.write_down(level + 1, slot, ready);
        ready
    }

    fn put(&mut self, level: usize, slot: u32, ready: Time) {
        let mut gone = Vec::new();
        self.levels[level].shelf.put(slot, ready, &mut gone);
        self.spill(level, gone);
    }

    /// Copies chunks without names. When the copies are complete.
    fn write_run(&mut self, level: usize, chunks: u64, at: Time) -> Time {
        let Some(here) = self.levels.get_mut(level).filter(|_| chunks > 0) else { return at };
        let (_, end) = here.write.send(at, chunks, at >= here.write.free_at());
        let each_ps = here.tier.write.chunk_ps;
        let mut gone = Vec::new();
        here.shelf.put_run(chunks, &mut gone);
        self.spill(level, gone);
        if self.copies_on(level) {
            // Each goes on as soon as it is here.
            let through = (0..chunks).rev().map(|after| Time(end.0.saturating_sub(after.saturating_mul(each_ps)))).collect();
            self.pass_on(level + 1, through);
        }
        end
    }

    /// The same for chunks that come one after another, at the times given.
    fn pass_on(&mut self, level: usize, mut at: Vec<Time>) {
        let here = &mut self.levels[level];
        for time in &mut at {
            *time = here.write.send(*time, 1, *time >= here.write.free_at()).1;
        }
        let mut gone = Vec::new();
        here.shelf.put_run(at.len() as u64, &mut gone);
        self.spill(level, gone);
        if self.copies_on(level) {
            self.pass_on(level + 1, at);
        }
    }

    fn copies_on(&self, level: usize) -> bool {
        self.levels.get(level + 1).is_some_and(|below| below.tier.policy == WritePolicy::Through)
    }

    /// What a tier has evicted goes down where the next one takes what is evicted.
    fn spill(&mut self, level: usize, gone: Vec<Gone>) {
        let back = self.levels.get(level + 1).is_some_and(|below| below.tier.policy == WritePolicy::Back);
        for gone in gone {
            match gone {
                Gone::Named(slot) if back && !self.orphans.contains(&slot) => {
                    self.write(level + 1, slot, self.now);
                }
                Gone::Named(slot) => {
                    if back {
                        self.write_run(level + 1, 1, self.now);
                    }
                    self.forget_orphan(slot);
                }
                Gone::Run(count) if back => {
                    self.write_run(level + 1, u64::from(count), self.now);
                }
                Gone::Run(_) => {}
            }
        }
    }

    pub(super) fn is_nowhere(&self, slot: u32) -> bool {
        self.levels.iter().all(|level| level.shelf.ready(slot).is_none())
    }

    fn forget_orphan(&mut self, slot: u32) {
        if self.orphans.contains(&slot) && self.is_nowhere(slot) {
            self.orphans.remove(&slot);
            self.names.give_back(slot);
        }
    }

    /// The owner's first `tokens` tokens have been computed: sees to the chunks that are new.
    pub(super) fn store(&mut self, holding: &mut Holding, tokens: u64) {
        let chunks = tokens / self.names.chunk();
        let mut unnamed = 0;
        for position in holding.stored..chunks {
            match holding.chain.get(position as usize) {
                Some(&slot) => {
                    self.names.count_use(slot);
                    self.write_down(0, slot, self.now);
                }
                None => unnamed += 1,
            }
        }
        holding.stored = holding.stored.max(chunks);
        if self.levels.first().is_some_and(|level| level.tier.policy == WritePolicy::Through) {
            self.write_run(0, unnamed, self.now);
        }
    }

    /// What the GPU has just evicted goes to the first tier, where that takes it.
    pub(super) fn drain(&mut self) {
        if !self.writes_back() {
            return;
        }
        let mut evicted = std::mem::take(&mut self.evicted);
        self.device.take_evicted(&mut evicted);
        for what in evicted.drain(..) {
            match what {
                Evicted::Tokens { segment, from, to } => {
                    for slot in self.names.ending_in(segment, from, to) {
                        let copied = self.write(0, slot, self.now);
                        self.moves.copied = self.moves.copied.max(copied);
                    }
                }
                Evicted::Unnamed(tokens) => {
                    self.odd_tokens += tokens;
                    let chunks = self.odd_tokens / self.names.chunk();
                    self.odd_tokens %= self.names.chunk();
                    let copied = self.write_run(0, chunks, self.now);
                    self.moves.copied = self.moves.copied.max(copied);
                }
            }
        }
        self.evicted = evicted;
    }

    /// Tiers that contents come up to the GPU from: where they are prefetched, only the one that they are prefetched to.
    pub(super) fn in_reach(&self) -> usize {
        if self.tiers.prefetch.is_some() { 1 } else { MOST }
    }

    /// Chunks of `chain` from `position` on, up to `limit` tokens, that one of the nearest tiers has.
    pub(super) fn walk(&self, chain: &[u32], position: u64, limit: u64, among: usize) -> u64 {
        let most = (limit / self.names.chunk()).min(chain.len() as u64);
        (position..most).take_while(|&place| self.level_of(chain[place as usize], among).is_some()).count() as u64
    }

    /// Brings a chunk up to the GPU, or to the tier above `to`. When it begins and when it is there.
    pub(super) fn bring(&mut self, slot: u32, to: usize, first: bool) -> Option<(usize, Time, Time)> {
        let from = self.level_of(slot, if to == 0 { self.in_reach() } else { MOST })?;
        let mut span: Option<(Time, Time)> = None;
        let mut at = self.now;
        for level in (to..=from).rev() {
            let (start, end) = self.levels[level].read.send(at, 1, first);
            at = end;
            span = Some((span.map_or(start, |(begun, _)| begun), end));
            if level > 0 && self.tiers.promotes && self.levels[level - 1].shelf.ready(slot).is_none() {
                self.put(level - 1, slot, end);
            }
        }
        if self.tiers.exclusive {
            self.levels[from].shelf.remove(slot);
        }
        span.map(|(start, end)| (from, start, end))
    }
}
