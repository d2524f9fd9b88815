//! LoRA adapters of a workload: which there are, how often each is asked for, and whose prompts are told apart by them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::config::Diagnostic;
use crate::config::schema::{LoraAdapter, LoraModule, LoraPopularity, LoraWorkload, Workload};
use crate::math;
use crate::rng::{Purpose, Stream};
use crate::workload::request::{Segment, SegmentId};
use crate::workload::sampler::cumulative_weights;
use crate::workload::starts::draw_index;
use crate::workload::trace::Trace;

/// Rank of an adapter that does not say.
const RANK: u32 = 16;
const PATH: &str = "workload.lora";

/// One adapter; its number is its place in the list plus 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    pub name: String,
    pub rank: u32,
    /// Weights it changes, in order, each once.
    pub modules: Vec<LoraModule>,
}

/// The adapters that a workload may ask for; empty where it asks for none.
///
/// # Errors
/// A trace names an adapter that the list does not have, or the list is too long.
pub fn adapters(workload: &Workload, trace: Option<&Trace>) -> Result<Vec<Adapter>, Diagnostic> {
    let named = trace.map(Trace::adapters).unwrap_or_default();
    let own = workload.lora.clone().unwrap_or_default();
    if workload.lora.is_none() && named.is_empty() {
        return Ok(Vec::new());
    }
    let plain = |name: String| LoraAdapter { name, ..LoraAdapter::default() };
    let list = match (&own.adapters, own.count) {
        (Some(list), _) => list.clone(),
        (None, Some(_)) if !named.is_empty() => {
            let message = "the trace names its adapters, and there are as many as it names";
            return Err(Diagnostic::error(format!("{PATH}.count"), message, "take it out, or list them in `adapters`"));
        }
        (None, Some(count)) => (1..=count).map(|number| plain(number.to_string())).collect(),
        (None, None) if !named.is_empty() => named.iter().cloned().map(plain).collect(),
        (None, None) => {
            return Err(Diagnostic::error(PATH, "which adapters there are is not said", "say `count: 8`, or list them in `adapters`"));
        }
    };
    if list.len() >= usize::from(u16::MAX) {
        return Err(Diagnostic::error(PATH, "there are more adapters than can be numbered", "use at most 10000"));
    }
    if let Some(unknown) = named.iter().find(|name| list.iter().all(|adapter| adapter.name != **name)) {
        let message = format!("the trace asks for an adapter {unknown:?} that is not listed");
        return Err(Diagnostic::error(format!("{PATH}.adapters"), message, "list it, or leave the list out"));
    }
    let common = own.target_modules.clone().unwrap_or_else(|| LoraModule::ATTENTION.to_vec());
    let resolve = |adapter: LoraAdapter| {
        let mut modules = adapter.target_modules.unwrap_or_else(|| common.clone());
        modules.sort_unstable();
        modules.dedup();
        Adapter { name: adapter.name, rank: adapter.rank.or(own.rank).unwrap_or(RANK), modules }
    };
    Ok(list.into_iter().map(resolve).collect())
}

/// Which adapter each request asks for.
#[derive(Clone, Debug)]
pub(crate) struct AdapterChoice {
    seed: u64,
    /// Chances summed up, that of no adapter first.
    cumulative: Box<[f64]>,
}

impl AdapterChoice {
    /// Of a workload whose requests do not say themselves; `None` where it has no adapters.
    pub fn new(workload: &Workload, seed: u64, errors: &mut Vec<Diagnostic>) -> Option<AdapterChoice> {
        let own = workload.lora.as_ref().filter(|own| own.count.is_some() || own.adapters.is_some())?;
        let base = own.base_share.unwrap_or(0.0).clamp(0.0, 1.0);
        let weights = popularity(own);
        let all: f64 = weights.iter().sum();
        let chances: Vec<f64> =
            std::iter::once(base).chain(weights.iter().map(|weight| if all > 0.0 { (1.0 - base) * weight / all } else { 0.0 })).collect();
        match cumulative_weights(&chances) {
            Ok(cumulative) => Some(AdapterChoice { seed, cumulative }),
            Err(message) => {
                errors.push(Diagnostic::error(PATH, message, "give at least one adapter a weight above zero"));
                None
            }
        }
    }

    /// The adapter of a request with this key, the same whatever serves it, below 2^56.
    pub fn draw(&self, key: u64) -> u16 {
        draw_index(&self.cumulative, &mut Stream::new(self.seed, Purpose::Adapters, key)) as u16
    }
}

/// How often each adapter is asked for, relative to the others.
fn popularity(own: &LoraWorkload) -> Vec<f64> {
    if let Some(list) = own.adapters.as_ref().filter(|list| own.popularity.is_none() || list.iter().any(|one| one.weight.is_some())) {
        return list.iter().map(|adapter| adapter.weight.unwrap_or(1.0)).collect();
    }
    let count = own.adapters.as_ref().map_or(own.count.unwrap_or(0) as usize, Vec::len);
    let exponent = match own.popularity {
        Some(LoraPopularity::Zipf) => own.zipf_exponent.unwrap_or(1.0),
        _ => 0.0,
    };
    (1..=count).map(|place| math::pow(place as f64, -exponent)).collect()
}

/// Numbers of the adapters that a trace names.
pub(crate) fn numbers_in(adapters: &[Adapter], trace: &Trace) -> Vec<u16> {
    let numbers: BTreeMap<&str, u16> = adapters.iter().zip(1..).map(|(adapter, number)| (adapter.name.as_str(), number)).collect();
    trace.adapters().iter().map(|name| numbers.get(name.as_str()).copied().unwrap_or(0)).collect()
}

/// Segments by the adapter that computes them: equal text under another adapter is other KV.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    of: FxHashMap<(u16, SegmentId), SegmentId>,
}

impl Apart {
    /// Renames what a request served by this adapter shares. `fresh` gives a number that nothing has yet.
    pub fn rename(&mut self, segments: &mut [Segment], adapter: u16, mut fresh: impl FnMut() -> SegmentId) {
        if adapter == 0 {
            return;
        }
        for segment in segments {
            segment.id = *self.of.entry((adapter, segment.id)).or_insert_with(&mut fresh);
        }
    }

    /// Numbers given so far.
    pub fn count(&self) -> u32 {
        self.of.len() as u32
    }
}
