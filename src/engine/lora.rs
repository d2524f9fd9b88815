//! LoRA adapters of one replica: which ones are on the GPU and in host memory, what a batch has to wait for, and what is left for the
//! policies' rules. Which requests a rule keeps out of a batch is the policies' business; what adapters cost in a step is in `cost::lora`.
//!
//! An adapter that a batch needs and that is not on the GPU is copied there before the step, from host memory or, when it is not there
//! either, from storage first; the step is longer by that time. An adapter of the batch is never evicted for another one of it.

use super::core::Core;
use super::job::JobId;
use crate::cost::AdapterMix;
use crate::units::Time;

/// What holds for one adapter on one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterLoad {
    /// Places it takes on the GPU and in host memory: 1 where places are made for the largest rank, else its rank.
    pub places: u64,
    /// Rank it is computed with.
    pub rank: u32,
    /// Time to copy it from host memory to the GPUs.
    pub to_gpu: Time,
    /// Time to read it from storage into host memory.
    pub to_host: Time,
}

/// What an engine tells of its adapters, as vLLM's `lora_requests_info` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterSeats {
    /// Adapters of requests that run, and of those that wait.
    pub active: Vec<u16>,
    pub waiting: Vec<u16>,
    /// Places that both need, one that runs and waits twice; and places on the GPU.
    pub taken: u64,
    pub places: u64,
}

impl AdapterSeats {
    pub(super) fn clear(&mut self) {
        self.active.clear();
        self.waiting.clear();
        (self.taken, self.places) = (0, 0);
    }
}

/// Which adapter leaves the GPU for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdapterEviction {
    /// The one that no batch has needed for longest.
    #[default]
    Lru,
    /// The one that has been there for longest.
    Fifo,
}

/// Adapters that a replica may be asked for, and its room for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoraSpec {
    /// By number, from 1 on.
    pub adapters: Vec<AdapterLoad>,
    /// Places on the GPU.
    pub gpu_places: u64,
    /// Places in host memory; `u64::MAX` for no limit.
    pub host_places: u64,
    pub eviction: AdapterEviction,
    /// Requests without adapter take a place too (SGLang).
    pub base_takes_place: bool,
    /// What leaves host memory leaves the GPU as well.
    pub inclusive: bool,
    /// As many as fit are in host memory from the start, in order of their numbers.
    pub on_host_at_start: bool,
}

/// What adapters did in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdapterUse {
    /// Different adapters in the batch.
    pub adapters: u32,
    /// Copies to the GPU, reads from storage, and adapters that left the GPU for others.
    pub loads: u32,
    pub reads: u32,
    pub evictions: u32,
    /// Part of the (single) step's duration in which it waited for them.
    pub wait_ps: u64,
    /// Admitted requests with an adapter, and those of them whose adapter was on the GPU.
    pub admitted: u32,
    pub found: u32,
}

impl AdapterUse {
    pub fn is_nothing(&self) -> bool {
        (self.adapters | self.loads | self.reads | self.evictions | self.admitted | self.found) == 0 && self.wait_ps == 0
    }

    /// That of another rank in the same step.
    pub(super) fn join(&mut self, other: &AdapterUse) {
        self.adapters += other.adapters;
        self.loads += other.loads;
        self.reads += other.reads;
        self.evictions += other.evictions;
        self.wait_ps = self.wait_ps.max(other.wait_ps);
        self.admitted += other.admitted;
        self.found += other.found;
    }
}

/// How many have each adapter, and which adapters somebody has.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Vec<u32>,
    present: Vec<u16>,
}

impl Tally {
    #[inline(always)]
    pub(super) fn add(&mut self, adapter: u16) {
        if adapter > 0 {
            self.count_in(adapter);
        }
    }

    fn count_in(&mut self, adapter: u16) {
        let place = usize::from(adapter);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        if self.counts[place] == 1 {
            self.present.push(adapter);
        }
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, adapter: u16) {
        if adapter > 0 {
            self.count_out(adapter);
        }
    }

    fn count_out(&mut self, adapter: u16) {
        let count = &mut self.counts[usize::from(adapter)];
        *count -= 1;
        if *count == 0 {
            self.present.retain(|&other| other != adapter);
        }
    }

    fn count(&self, adapter: u16) -> u32 {
        self.counts.get(usize::from(adapter)).copied().unwrap_or(0)
    }
}

/// One kind of memory for adapters.
#[derive(Debug)]
struct Residence {
    places: u64,
    used: u64,
    /// By adapter: when it was last needed (or, first in first out, came), from 1; 0 when it is not here.
    stamps: Vec<u64>,
}

impl Residence {
    fn new(places: u64, adapters: usize) -> Residence {
        Residence { places, used: 0, stamps: vec![0; adapters + 1] }
    }

    fn has(&self, adapter: u16) -> bool {
        self.stamps[usize::from(adapter)] > 0
    }

    fn enter(&mut self, adapter: u16, places: u64, now: u64) {
        self.used += places;
        self.stamps[usize::from(adapter)] = now;
    }

    fn leave(&mut self, adapter: u16, places: u64) {
        if self.has(adapter) {
            self.used -= places;
            self.stamps[usize::from(adapter)] = 0;
        }
    }

    /// The next to leave for another, if there is one that is not kept.
    fn oldest(&self, kept: &[u16]) -> Option<u16> {
        let here = self.stamps.iter().enumerate().filter(|(adapter, stamp)| **stamp > 0 && !kept.contains(&(*adapter as u16)));
        here.min_by_key(|(adapter, stamp)| (**stamp, *adapter)).map(|(adapter, _)| adapter as u16)
    }
}

/// The adapters of one replica.
#[derive(Debug)]
pub(super) struct Adapters {
    spec: LoraSpec,
    gpu: Residence,
    host: Residence,
    /// Of requests admitted and not ended.
    seated: Tally,
    /// Those of them without adapter.
    plain: u32,
    clock: u64,
    /// What has happened since the last step was told.
    used: AdapterUse,
    /// Of the batch being put together.
    batch: Vec<u16>,
}

impl Adapters {
    pub fn new(spec: LoraSpec) -> Adapters {
        let count = spec.adapters.len();
        let mut adapters = Adapters {
            gpu: Residence::new(spec.gpu_places, count),
            host: Residence::new(spec.host_places, count),
            seated: Tally::default(),
            plain: 0,
            clock: 0,
            used: AdapterUse::default(),
            batch: Vec::new(),
            spec,
        };
        if adapters.spec.on_host_at_start {
            for adapter in 1..=count as u16 {
                let places = adapters.load(adapter).places;
                if adapters.host.places.saturating_sub(adapters.host.used) < places {
                    break;
                }
                adapters.clock += 1;
                adapters.host.enter(adapter, places, adapters.clock);
            }
        }
        adapters
    }

    fn load(&self, adapter: u16) -> AdapterLoad {
        self.spec.adapters[usize::from(adapter) - 1]
    }

    fn evict_from_gpu(&mut self, adapter: u16) {
        let places = self.load(adapter).places;
        self.used.evictions += u32::from(self.gpu.has(adapter));
        self.gpu.leave(adapter, places);
    }

    /// Brings the batch's adapters to the GPU. How long that takes.
    fn fetch(&mut self) -> Time {
        self.clock += 1;
        let now = self.clock;
        let batch = std::mem::take(&mut self.batch);
        let mut wait = Time::ZERO;
        for &adapter in &batch {
            if !self.gpu.has(adapter) {
                continue;
            }
            if self.spec.eviction == AdapterEviction::Lru {
                self.gpu.stamps[usize::from(adapter)] = now;
            }
            if self.host.has(adapter) {
                self.host.stamps[usize::from(adapter)] = now;
            }
        }
        for &adapter in &batch {
            if self.gpu.has(adapter) {
                continue;
            }
            let AdapterLoad { places, to_gpu, to_host, .. } = self.load(adapter);
            if self.host.has(adapter) {
                self.host.stamps[usize::from(adapter)] = now;
            } else {
                wait += to_host;
                self.used.reads += 1;
                self.enter_host(adapter, places, &batch, now);
            }
            while self.gpu.places.saturating_sub(self.gpu.used) < places {
                let Some(oldest) = self.gpu.oldest(&batch) else { break };
                self.evict_from_gpu(oldest);
            }
            self.gpu.enter(adapter, places, now);
            self.used.loads += 1;
            wait += to_gpu;
        }
        self.batch = batch;
        wait
    }

    /// Host memory too small for the batch's own holds only some of them.
    fn enter_host(&mut self, adapter: u16, places: u64, kept: &[u16], now: u64) {
        while self.host.places.saturating_sub(self.host.used) < places {
            let Some(oldest) = self.host.oldest(kept) else { return };
            self.host.leave(oldest, self.load(oldest).places);
            if self.spec.inclusive {
                self.evict_from_gpu(oldest);
            }
        }
        self.host.enter(adapter, places, now);
    }
}

impl Core {
    /// Adapters that requests may ask for. Before any has come.
    pub fn serve_adapters(&mut self, spec: LoraSpec) {
        self.lora = Some(Box::new(Adapters::new(spec)));
    }

    /// Adds this engine's to what is `told` of adapters.
    pub(super) fn tell_adapters(&self, told: &mut AdapterSeats) {
        let Some(lora) = &self.lora else { return };
        let mut waiting: Vec<u16> = self.waiting.iter().map(|&id| self.jobs[id].request.adapter).filter(|&adapter| adapter > 0).collect();
        waiting.sort_unstable();
        waiting.dedup();
        told.taken += lora.seated.present.iter().chain(&waiting).map(|&adapter| lora.load(adapter).places).sum::<u64>();
        told.places += lora.spec.gpu_places;
        told.active.extend_from_slice(&lora.seated.present);
        told.waiting.append(&mut waiting);
    }

    /// A request takes a seat.
    pub(super) fn seat_adapter(&mut self, adapter: u16) {
        let Some(lora) = &mut self.lora else { return };
        lora.seated.add(adapter);
        lora.plain += u32::from(adapter == 0);
    }

    pub(super) fn unseat_adapter(&mut self, adapter: u16) {
        let Some(lora) = &mut self.lora else { return };
        lora.seated.remove(adapter);
        lora.plain -= u32::from(adapter == 0);
    }

    /// A request is admitted: was its adapter there?
    pub(super) fn admit_adapter(&mut self, adapter: u16) {
        let Some(lora) = self.lora.as_mut().filter(|_| adapter > 0) else { return };
        lora.used.admitted += 1;
        lora.used.found += u32::from(lora.gpu.has(adapter));
    }

    /// Whether the adapter of a waiting request has no place in the batch being put together, which may have as many different ones as
    /// there are places on the GPU (vLLM); the number of those in it.
    pub fn lacks_adapter_slot(&self, adapter: u16) -> Option<u64> {
        let lora = self.lora.as_ref().filter(|_| adapter > 0)?;
        let decodes = if self.batch.decodes { self.decodes.adapters.present.as_slice() } else { &[] };
        let prefills = self.batch.prefill_jobs.iter().map(|&id| self.jobs[id].request.adapter);
        lacks(decodes, prefills, adapter, lora.spec.gpu_places)
    }

    /// The same for one that is about to decode, before a batch is put together.
    pub(super) fn lacks_decode_slot(&self, adapter: u16) -> bool {
        let Some(lora) = self.lora.as_ref().filter(|_| adapter > 0) else { return false };
        lacks(&self.decodes.adapters.present, std::iter::empty(), adapter, lora.spec.gpu_places).is_some()
    }

    /// The same where all requests admitted count, whether this batch has them or not, and those without adapter as one (SGLang).
    pub fn lacks_seated_slot(&self, adapter: u16) -> Option<u64> {
        let lora = self.lora.as_ref().filter(|_| adapter > 0)?;
        let places = lora.spec.gpu_places;
        let places = if lora.spec.base_takes_place && lora.plain > 0 { places.saturating_sub(1) } else { places };
        lacks(&lora.seated.present, std::iter::empty(), adapter, places)
    }

    /// Whether a waiting request's adapter does not fit on the GPU beside those of all requests admitted and of those `chosen`
    /// (TensorRT-LLM): the places it needs, and those left.
    pub fn lacks_adapter_places(&self, adapter: u16, chosen: &[(JobId, u64)]) -> Option<(u64, u64)> {
        let lora = self.lora.as_ref().filter(|_| adapter > 0)?;
        let mut others: Vec<u16> = chosen.iter().map(|&(id, _)| self.jobs[id].request.adapter).filter(|&other| other > 0).collect();
        others.extend_from_slice(&lora.seated.present);
        if others.contains(&adapter) {
            return None;
        }
        others.sort_unstable();
        others.dedup();
        let claimed: u64 = others.iter().map(|&other| lora.load(other).places).sum();
        let (needed, left) = (lora.load(adapter).places, lora.spec.gpu_places.saturating_sub(claimed));
        (needed > left).then_some((needed, left))
    }

    /// The batch is put together: what of it asks for adapters. Brings them to the GPU, which takes the time returned.
    pub(super) fn fetch_adapters(&mut self, batch_decodes: bool) -> (AdapterMix, Time) {
        let Some(mut lora) = self.lora.take() else { return (AdapterMix::default(), Time::ZERO) };
        let mut mix = AdapterMix::default();
        lora.batch.clear();
        if batch_decodes {
            lora.batch.extend_from_slice(&self.decodes.adapters.present);
            let tokens = u64::from(self.tokens_per_decode());
            for &adapter in &lora.batch {
                let rows = u64::from(self.decodes.adapters.count(adapter)) * tokens;
                mix.rows += rows;
                mix.rank_rows += rows * u64::from(lora.load(adapter).rank);
            }
        }
        for (piece, &id) in self.batch.prefills.iter().zip(&self.batch.prefill_jobs) {
            let adapter = self.jobs[id].request.adapter;
            if adapter > 0 {
                lora.batch.push(adapter);
                mix.rows += u64::from(piece.new_tokens);
                mix.rank_rows += u64::from(piece.new_tokens) * u64::from(lora.load(adapter).rank);
            }
        }
        lora.batch.sort_unstable();
        lora.batch.dedup();
        mix.ranks = lora.batch.iter().map(|&adapter| u64::from(lora.load(adapter).rank)).sum();
        lora.used.adapters = lora.batch.len() as u32;
        let wait = lora.fetch();
        lora.used.wait_ps = wait.0;
        self.lora = Some(lora);
        (mix, wait)
    }

    /// What adapters did in the step about to be told.
    pub(super) fn take_adapter_use(&mut self) -> AdapterUse {
        self.lora.as_mut().map(|lora| std::mem::take(&mut lora.used)).unwrap_or_default()
    }
}

/// Whether `adapter` is none of those in a batch that has as many as it may.
fn lacks(in_batch: &[u16], more: impl Iterator<Item = u16>, adapter: u16, places: u64) -> Option<u64> {
    if in_batch.contains(&adapter) {
        return None;
    }
    let mut others: Vec<u16> = more.filter(|&other| other > 0 && !in_batch.contains(&other)).collect();
    if others.contains(&adapter) {
        return None;
    }
    others.sort_unstable();
    others.dedup();
    let here = (in_batch.len() + others.len()) as u64;
    (here >= places).then_some(here)
}
