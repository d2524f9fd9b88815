//! What separates the runs compared, from their counters: findings ranked by how much they differ. Says what was counted and
//! nothing of causes beyond it.

use serde::Serialize;
use serde_json::Value;

use crate::engine::HoldRule;
use crate::engine::ledger::MISS_CAUSES;

/// Findings that are worth a line.
const MOST: usize = 6;

/// A piece of a finding's sentence, so that a page can mark names and numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "text")]
pub enum Part {
    Text(String),
    /// The name of a run.
    Entry(String),
    /// A number with its unit.
    Number(String),
}

/// Something counted that differs between runs, or, of one run alone, stands out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Such as `decode_in_mixed_steps`.
    pub id: &'static str,
    pub title: &'static str,
    /// Index of the run that has the most of it.
    pub entry: usize,
    /// Its value by run, in `unit`; none where the run does not have it.
    pub values: Vec<Option<f64>>,
    /// `share` or `ms`.
    pub unit: &'static str,
    /// Largest difference, as a share: of all time for a share, of the mean time from token to token for ms.
    pub weight: f64,
    pub sentence: Vec<Part>,
}

impl Finding {
    /// The sentence as plain text.
    pub fn text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) | Part::Entry(text) | Part::Number(text) => text.clone(),
        };
        self.sentence.iter().map(text).collect()
    }
}

/// Something to compare.
struct Cause {
    id: &'static str,
    title: &'static str,
    /// What is said before the values.
    says: &'static str,
    unit: &'static str,
    value: fn(&Value) -> Option<f64>,
}

const fn share(id: &'static str, title: &'static str, says: &'static str, value: fn(&Value) -> Option<f64>) -> Cause {
    Cause { id, title, says, unit: "share", value }
}

const fn token_time(id: &'static str, title: &'static str, says: &'static str, value: fn(&Value) -> Option<f64>) -> Cause {
    Cause { id, title, says, unit: "ms", value }
}

fn number(summary: &Value, pointer: &str) -> Option<f64> {
    summary.pointer(pointer)?.as_f64()
}

/// `part / (part + rest)`.
fn fraction(part: Option<f64>, whole: f64) -> Option<f64> {
    part.filter(|_| whole > 0.0).map(|part| part / whole)
}

const CAUSES: [Cause; 15] = [
    token_time(
        "decode_in_mixed_steps",
        "Decodes share steps with prompts",
        "Replies spent time in steps that also computed prompts, per token:",
        |s| number(s, "/waits/per_token_ms/mixed"),
    ),
    token_time(
        "decode_stopped",
        "Decodes stop for prompts",
        "Replies stood still while the engine computed something else, per token:",
        |s| number(s, "/waits/per_token_ms/stopped"),
    ),
    token_time("decode_only_steps", "Decode steps", "Replies spent time in steps without prompts, per token:", |s| {
        number(s, "/waits/per_token_ms/decode_only")
    }),
    share("held_by_kv", "KV memory holds the queue back", "The next request waited for KV memory for this share of the time:", |s| {
        held(s, HoldRule::KvBlocks)
    }),
    share("held_by_seats", "Seats hold the queue back", "The next request waited for a running one to end, as many ran as may:", |s| {
        held(s, HoldRule::Seats)
    }),
    share(
        "held_by_budget",
        "The step budget holds the queue back",
        "The next request waited because the step's token budget was used up, or too small for a prompt that is not cut:",
        |s| Some(held(s, HoldRule::Budget)? + held(s, HoldRule::WholePrompt)? + held(s, HoldRule::ChunkUnderWay)?),
    ),
    share(
        "held_by_rule",
        "A rule of the scheduler holds the queue back",
        "The next request waited for a latch, an interval, a prefix under way, an adapter's place or other ranks:",
        |s| {
            let rules = [HoldRule::Latch, HoldRule::Interval, HoldRule::Delay, HoldRule::Deferral, HoldRule::AdapterSlots, HoldRule::Ranks];
            rules.into_iter().map(|rule| held(s, rule)).sum()
        },
    ),
    share(
        "held_by_preemption",
        "Preemptions hold the queue back",
        "Nobody was admitted because a running request had just lost its KV memory, or waited in host memory to come back:",
        |s| Some(held(s, HoldRule::Preemption)? + held(s, HoldRule::Swapped)?),
    ),
    share("prefix_cache", "Prefix cache", "Prompt tokens found in the cache instead of computed:", |s| {
        number(s, "/prefix_caching/prefill_reduction_ratio")
    }),
    share("lower_tiers", "KV tiers", "Prompt tokens brought up from host memory, disk or a remote store instead of computed:", |s| {
        let below = ["host", "disk", "remote"].into_iter().map(|tier| number(s, &format!("/prefix_caching/by_tier/{tier}")));
        fraction(below.sum(), prompts(s)?)
    }),
    share("evicted", "Evicted prefixes", "Prompt tokens computed again because their KV had made room for others:", |s| {
        fraction(number(s, "/prefix_caching/misses_by_cause/evicted"), prompts(s)?)
    }),
    share("padding", "CUDA-graph padding", "Rows computed only to fill a graph:", |s| {
        let padded = number(s, "/engine/padded_tokens")?;
        let tokens = number(s, "/engine/mean_tokens_per_step")? * number(s, "/engine/steps")?;
        fraction(Some(padded), padded + tokens)
    }),
    share("eager", "Steps without CUDA graph", "Decode steps launched kernel by kernel, because no captured graph has their size:", |s| {
        number(s, "/waits/steps/eager_decode_only")
    }),
    share("host", "Host time", "GPUs waited for the host to schedule or to read tokens:", |s| number(s, "/utilisation/time/host")),
    share("recomputation", "Preemptions", "Prompt tokens computed again because a request had lost its KV memory:", |s| {
        fraction(number(s, "/engine/recomputed_tokens"), number(s, "/engine/prefill_tokens")?)
    }),
];

/// Prompt tokens of first admissions.
fn prompts(summary: &Value) -> Option<f64> {
    let found = number(summary, "/prefix_caching/total_tokens_saved")?;
    MISS_CAUSES.iter().try_fold(found, |sum, cause| Some(sum + number(summary, &format!("/prefix_caching/misses_by_cause/{cause}"))?))
}

fn held(summary: &Value, rule: HoldRule) -> Option<f64> {
    summary.get("waits")?.get("held_back")?.get(rule.word())?.as_f64()
}

/// The findings of runs' summaries, those that differ most first. One run alone is held against having nothing of it. Names and
/// summaries are in the same order.
pub fn why(names: &[&str], summaries: &[&Value]) -> Vec<Finding> {
    // Time from token to token, the yardstick for the parts of it.
    let token_ms = |s: &&Value| {
        ["mixed", "stopped", "decode_only"].iter().filter_map(|key| number(s, &format!("/waits/per_token_ms/{key}"))).sum::<f64>()
    };
    let token_ms = summaries.iter().map(token_ms).fold(0.0, f64::max);
    let mut findings: Vec<Finding> = CAUSES.iter().filter_map(|cause| finding(cause, names, summaries, token_ms)).collect();
    crate::order::sort_by(&mut findings, |a, b| b.weight.total_cmp(&a.weight));
    findings.truncate(MOST);
    findings
}

/// Differences below this are not worth a line.
const LEAST: f64 = 0.01;

fn finding(cause: &Cause, names: &[&str], summaries: &[&Value], token_ms: f64) -> Option<Finding> {
    let values: Vec<Option<f64>> = summaries.iter().map(|summary| (cause.value)(summary)).collect();
    let (entry, most) = values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v))).reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    // One run alone: how much of it there is; a decode step's own time is no finding then.
    let alone = summaries.len() < 2;
    if alone && cause.id == "decode_only_steps" {
        return None;
    }
    // A run of which it is not known is no run without it.
    let known = values.iter().flatten();
    let least = if alone { 0.0 } else { known.copied().fold(f64::INFINITY, f64::min) };
    let scale = if cause.unit == "ms" { token_ms } else { 1.0 };
    let weight = if scale > 0.0 { (most - least) / scale } else { 0.0 };
    if weight < LEAST {
        return None;
    }
    let between = if names.iter().any(|name| name.contains(',')) { "; " } else { ", " };
    let mut sentence = vec![Part::Text(format!("{} ", cause.says))];
    for (i, (name, value)) in names.iter().zip(&values).enumerate() {
        if i > 0 {
            sentence.push(Part::Text(between.into()));
        }
        if !alone {
            sentence.push(Part::Entry((*name).into()));
            sentence.push(Part::Text(" ".into()));
        }
        sentence.push(Part::Number(shown(*value, cause.unit)));
    }
    sentence.push(Part::Text(".".into()));
    Some(Finding { id: cause.id, title: cause.title, entry, values, unit: cause.unit, weight, sentence })
}

fn shown(value: Option<f64>, unit: &str) -> String {
    match (value, unit) {
        (None, _) => "unknown".into(),
        (Some(value), "ms") => format!("{value:.2} ms"),
        (Some(value), _) => format!("{:.1} %", value * 100.0),
    }
}
