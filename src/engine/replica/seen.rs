//! What the rest of the house sees of a replica: its load, its cache (as of now, or as its KV events have told) and the step under a probe.
//!
//! Nothing here moves time; whoever puts runs off settles or takes blocks before looking.

use super::{AdapterSeats, Held, Probe, Replica, Request, Time};

impl Replica {
    /// Remembers the step under way at a moment.
    pub fn watch(&mut self, at: Time) {
        self.puts_off = false;
        self.probe = Some(Probe::new(at));
        if let Some(group) = &mut self.lockstep {
            self.probe = Some(Probe::of_rank(at));
            group.watch(at);
        }
    }

    /// What a watch has found on each attention rank, this one first; nothing for an engine without ranks.
    pub fn rank_probes(&self) -> Vec<&Probe> {
        self.lockstep.as_ref().map_or(Vec::new(), |group| group.probes(self))
    }

    /// What a watch has found.
    pub fn probe(&self) -> Option<&Probe> {
        self.probe.as_ref()
    }

    /// Requests waiting and running.
    pub fn load(&self) -> (u32, u32) {
        let Some(group) = &self.lockstep else { return self.own_load() };
        (group.sum(self, |rank| u64::from(rank.own_load().0)) as u32, group.sum(self, |rank| u64::from(rank.own_load().1)) as u32)
    }

    /// Of this rank.
    pub(in crate::engine) fn own_load(&self) -> (u32, u32) {
        (self.core.waiting.len() as u32 + self.core.swapped_len() + self.handovers.unseated(), self.core.running_len())
    }

    /// LoRA adapters of requests that run and wait here, of all ranks of a group together.
    pub fn adapters(&self, told: &mut AdapterSeats) {
        told.clear();
        match &self.lockstep {
            Some(group) => group.each(self, |rank| rank.core.tell_adapters(told)),
            None => self.core.tell_adapters(told),
        }
    }

    /// KV blocks that requests hold now.
    pub fn kv_blocks_used(&self) -> u64 {
        self.lockstep.as_ref().map_or(self.core.pool.used(), |group| group.sum(self, |rank| rank.core.pool.used()))
    }

    /// KV blocks of the pool.
    pub fn kv_blocks_total(&self) -> u64 {
        self.lockstep.as_ref().map_or(self.core.pool.total(), |group| group.sum(self, |rank| rank.core.pool.total()))
    }

    /// Leading tokens in memory of a prompt that is not here yet; `None` of a group of ranks.
    pub fn held(&self, request: &Request) -> Option<Held> {
        if self.lockstep.is_some() {
            return None;
        }
        let device = self.core.pool.held(request);
        Some(Held { device, below: self.core.pool.held_below(request, device) })
    }

    /// The same by what the cache has told until `at`, an instant not before those asked for earlier. Tiers below tell nothing: they are
    /// asked as of now.
    pub fn held_as_of(&mut self, request: &Request, at: Time) -> Option<Held> {
        let Some(log) = self.kv_log.as_mut().filter(|_| self.lockstep.is_none()) else { return self.held(request) };
        let device = log.as_of(at).leading(&request.segments, self.core.pool.block_size());
        Some(Held { device, below: self.core.pool.held_below(request, device) })
    }

    /// From now on keeps what the cache tells, for `held_as_of`. A replica that has not seen a request yet.
    pub fn keep_kv_events(&mut self) {
        self.core.pool.keep_events();
        self.kv_log = Some(Box::default());
    }

    /// Takes down what has happened in the cache at `at`.
    pub(in crate::engine) fn log_kv(&mut self, at: Time) {
        if let Some(log) = &mut self.kv_log {
            log.add(at, self.core.pool.take_events());
        }
    }

    /// From now on keeps whose first token has come out, for `take_prefilled`.
    pub fn keep_prefilled(&mut self) {
        self.prefilled = Some(Vec::new());
    }

    /// Requests whose first token came out in the last `process`.
    pub fn take_prefilled(&mut self) -> impl Iterator<Item = u32> + '_ {
        self.prefilled.iter_mut().flat_map(|ids| ids.drain(..))
    }
}
