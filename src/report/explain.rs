//! A moment of a run, for a terminal and for programs: each replica's step, its batch, its cost split, the queue and the rule that
//! held its head back. Formats only.

mod fleet;

use std::fmt::Write;

use serde_json::{Value, json};

use crate::engine::{Doing, HeldBack, Member, Snapshot, Waiting};
use crate::metrics::{ReplicaInfo, Work};
use crate::object::object;
use crate::sim::{Moment, ReplicaMoment};
use crate::units::Time;

/// Members of a batch that the terminal lists before it counts the rest.
const MEMBERS_SHOWN: usize = 12;
const BAR: usize = 30;

/// Requests as everywhere: numbered from 1.
fn name(request: u32) -> String {
    format!("req_{}", u64::from(request) + 1)
}

// ---- for programs ------------------------------------------------------------------------------------------

/// The moment as one object; times in s and ms, requests by name.
pub fn moment_json(moment: &Moment) -> Value {
    object!({
        "run": moment.run,
        "at_s": moment.at.as_s(),
        "replicas": moment.replicas.iter().enumerate().map(|(index, replica)| json!({
            "replica": index,
            "entry": replica.info.entry,
            "framework": replica.info.framework,
            "idle": replica.steps.is_empty(),
            "last_step_ended_s": (replica.last_end > Time::ZERO).then(|| replica.last_end.as_s()),
            "steps": steps_json(&replica.steps, &replica.info),
            "ranks": replica.ranks.iter().map(|steps| steps_json(steps, &replica.info).into()).collect::<Vec<Value>>(),
        })).collect::<Vec<Value>>(),
        "rule": moment.rule,
        "routing": moment.routing.iter().map(fleet::decision_json).collect::<Vec<Value>>(),
        "fleet_events": moment.events.iter().map(fleet::event_json).collect::<Vec<Value>>(),
        "retries": moment.retries.iter().map(fleet::retry_json).collect::<Vec<Value>>(),
    })
}

fn steps_json(steps: &[Snapshot], info: &ReplicaInfo) -> Vec<Value> {
    steps.iter().map(|step| step_json(step, info)).collect()
}

fn step_json(step: &Snapshot, info: &ReplicaInfo) -> Value {
    let parts = parts(step);
    let tokens = Tokens::of(step);
    object!({
        "start_s": step.start.as_s(),
        "end_s": step.end.as_s(),
        "duration_ms": step.end.since(step.start).as_ms(),
        "kind": tokens.kind(),
        "parts": parts.iter().map(|(key, label, ps)| json!({"key": key, "label": label, "ms": *ps as f64 / 1e9})).collect::<Vec<Value>>(),
        "largest_part": parts.iter().max_by_key(|part| part.2).map(|part| part.0),
        "floors": floors(step, &info.work).map(|floors| json!({"compute_ms": floors.compute_ms, "memory_ms": floors.memory_ms})),
        "tokens": object!({
            "prefill": tokens.prefill, "decode": tokens.decode, "padding": step.padded_tokens,
            "budget": step.max_num_batched_tokens,
        }),
        "eager": step.eager,
        "sequences": object!({"prefill": tokens.prefills, "decode": tokens.decode, "left_out": tokens.left_out, "limit": step.max_num_seqs}),
        "members": step.members.iter().map(member_json).collect::<Vec<Value>>(),
        "queue": object!({"length": step.waiting, "first": step.queue.iter().map(|w| waiting_json(w, step.start)).collect::<Vec<Value>>()}),
        "held_back": step.held_back.map(|held| json!({
            "request": name(held.request), "rule": held.rule.word(), "because": held.rule.because(), "unit": held.rule.unit(),
            "needed": held.needed, "available": held.available, "sentence": sentence(held),
        })),
        "kv_blocks": object!({"used": step.kv_blocks_used, "total": step.kv_blocks_total}),
    })
}

fn member_json(member: &Member) -> Value {
    let (doing, new, past) = match member.doing {
        Doing::Prefill { new, past, .. } => ("prefill", new, Some(past)),
        Doing::Decode => ("decode", 1, None),
        Doing::LeftOut => ("left_out", 0, None),
    };
    let completes = matches!(member.doing, Doing::Prefill { completes: true, .. });
    object!({
        "request": name(member.request), "doing": doing, "tokens": new, "past_tokens": past, "completes_prompt": completes,
        "context_tokens": member.context, "generated_tokens": member.generated,
    })
}

fn waiting_json(waiting: &Waiting, now: Time) -> Value {
    object!({
        "request": name(waiting.request), "tokens": waiting.tokens, "waited_ms": now.since(waiting.arrival).as_ms(),
        "preempted": waiting.preempted, "swapped": waiting.swapped,
    })
}

// ---- what the numbers come to ------------------------------------------------------------------------------

/// Key, label and time of each part of a step.
fn parts(step: &Snapshot) -> Vec<(&'static str, &'static str, u64)> {
    let p = &step.parts;
    let mut parts = vec![
        ("gemm", "matrix products", p.gemm_ps),
        ("attention", "attention", p.attention_ps),
        ("communication", "communication", p.communication_ps),
        ("other", "norms, sampling …", p.other_ps),
        ("host", "waiting for the host", p.host_ps),
    ];
    if step.waits_for_ranks_ps > 0 {
        parts.push(("ranks", "waiting for ranks", step.waits_for_ranks_ps));
    }
    parts
}

struct Tokens {
    prefill: u64,
    prefills: usize,
    decode: usize,
    left_out: usize,
    sampled: usize,
}

impl Tokens {
    fn of(step: &Snapshot) -> Tokens {
        let mut tokens = Tokens { prefill: 0, prefills: 0, decode: 0, left_out: 0, sampled: 0 };
        for member in &step.members {
            match member.doing {
                Doing::Prefill { new, completes, .. } => {
                    tokens.prefill += u64::from(new);
                    tokens.prefills += 1;
                    tokens.sampled += usize::from(completes);
                }
                Doing::Decode => {
                    tokens.decode += 1;
                    tokens.sampled += 1;
                }
                Doing::LeftOut => tokens.left_out += 1,
            }
        }
        tokens
    }

    fn kind(&self) -> &'static str {
        match (self.prefills, self.decode) {
            (0, _) => "decode",
            (_, 0) => "prefill",
            _ => "mixed",
        }
    }
}

/// What the data sheet's peaks would allow for this step.
struct Floors {
    compute_ms: f64,
    memory_ms: f64,
}

/// Time for the step's arithmetic at the peak rate, and for its weights and KV at the peak bandwidth; none when a peak is unknown.
fn floors(step: &Snapshot, work: &Work) -> Option<Floors> {
    if work.peak_flops <= 0.0 || work.peak_memory_bytes_per_s <= 0.0 {
        return None;
    }
    let tokens = Tokens::of(step);
    let rows = tokens.prefill as f64 + tokens.decode as f64;
    let flops = rows * work.flops_per_token
        + tokens.sampled as f64 * work.flops_per_sampled_token
        + step.attention_pairs as f64 * work.flops_per_attention_pair;
    // A decode reads its context; a prefill reads what was there before it once, and both write their own.
    let read: u64 = step
        .members
        .iter()
        .map(|member| match member.doing {
            Doing::Prefill { past, .. } => u64::from(past),
            Doing::Decode => member.context,
            Doing::LeftOut => 0,
        })
        .sum();
    let bytes =
        work.weight_bytes_per_step + (read as f64 + rows) * work.kv_bytes_per_token + tokens.decode as f64 * work.state_bytes_per_sequence;
    Some(Floors { compute_ms: flops / work.peak_flops * 1e3, memory_ms: bytes / work.peak_memory_bytes_per_s * 1e3 })
}

/// Why the head of the queue is not in the batch, as a sentence.
fn sentence(held: HeldBack) -> String {
    let unit = held.rule.unit();
    let numbers =
        if unit.is_empty() { String::new() } else { format!(": it asked for {} {unit}, {} were there", held.needed, held.available) };
    format!("{} was held back because {}{numbers}.", name(held.request), held.rule.because())
}

// ---- for a terminal ----------------------------------------------------------------------------------------

/// The moment in words, bars and lists. Of attention ranks a table, and the step of the one asked for (the first that computes anything, if
/// none is).
pub fn moment_text(moment: &Moment, rank: Option<usize>) -> String {
    let mut text = format!("{} at {:.6} s\n", moment.run, moment.at.as_s());
    for (index, replica) in moment.replicas.iter().enumerate() {
        let info = &replica.info;
        let gpus = if info.gpus == 1 { info.device.clone() } else { format!("{} × {}", info.gpus, info.device) };
        let _ = writeln!(text, "\nReplica {index}: {} ({}, {} on {gpus})", info.entry, info.framework, info.model);
        let mut steps = &replica.steps;
        if !replica.ranks.is_empty() {
            push_ranks(&mut text, &replica.ranks);
            let shown = rank.or_else(|| replica.ranks.iter().position(|steps| !steps.is_empty())).unwrap_or(0);
            if let Some(of_rank) = replica.ranks.get(shown) {
                let _ = writeln!(text, "\n  Rank {shown}");
                steps = of_rank;
            }
        }
        if steps.is_empty() {
            text.push_str(&idle(replica));
        }
        for step in steps {
            push_step(&mut text, step, info);
        }
    }
    fleet::push(&mut text, moment);
    text
}

/// A line for each attention rank.
fn push_ranks(text: &mut String, ranks: &[Vec<Snapshot>]) {
    text.push_str("  rank   prompt tokens   decodes   running   waiting   KV blocks in use   own time, ms   waits for ranks, ms\n");
    for (rank, steps) in ranks.iter().enumerate() {
        let Some(step) = steps.first() else {
            let _ = writeln!(text, "  {rank:>4}   nothing to do: one row for nothing where the others compute");
            continue;
        };
        let tokens = Tokens::of(step);
        let waits = Time(step.waits_for_ranks_ps);
        let own_ms = step.end.since(step.start).as_ms() - waits.as_ms();
        let _ = writeln!(
            text,
            "  {rank:>4}   {:>13}   {:>7}   {:>7}   {:>7}   {:>16}   {own_ms:>12.3}   {:>19.3}",
            tokens.prefill,
            tokens.decode,
            step.members.len(),
            step.waiting,
            format!("{} of {}", step.kv_blocks_used, step.kv_blocks_total),
            waits.as_ms(),
        );
    }
}

fn idle(replica: &ReplicaMoment) -> String {
    let before = if replica.last_end == Time::ZERO {
        "no step before".to_owned()
    } else {
        format!("its last step ended at {:.6} s", replica.last_end.as_s())
    };
    format!("  idle: {before}\n")
}

fn push_step(text: &mut String, step: &Snapshot, info: &ReplicaInfo) {
    let tokens = Tokens::of(step);
    let total = step.end.since(step.start);
    // Writing to a string does not fail.
    let _ =
        writeln!(text, "  {} step of {:.3} ms, from {:.6} to {:.6} s", tokens.kind(), total.as_ms(), step.start.as_s(), step.end.as_s());
    let _ = writeln!(
        text,
        "  {} prompt tokens of {} requests, {} decodes; {} of {} tokens of the budget, {} rows of padding{}",
        tokens.prefill,
        tokens.prefills,
        tokens.decode,
        tokens.prefill + tokens.decode as u64,
        step.max_num_batched_tokens,
        step.padded_tokens,
        if step.eager { ", launched kernel by kernel" } else { "" }
    );
    text.push_str("\n  Where its time goes\n");
    let most = parts(step).iter().map(|part| part.2).max().unwrap_or(0);
    for (_, label, ps) in parts(step) {
        let share = ps as f64 / (total.0.max(1)) as f64;
        let bar = "█".repeat((share * BAR as f64 + 0.5) as usize);
        let mark = if ps == most && ps > 0 { "  ← the most" } else { "" };
        let _ = writeln!(text, "    {label:<21} {:>9.3} ms {:>5.1} %  {bar}{mark}", ps as f64 / 1e9, share * 100.0);
    }
    if let Some(floors) = floors(step, &info.work) {
        let bound = if floors.compute_ms > floors.memory_ms { "compute" } else { "memory" };
        let _ = writeln!(
            text,
            "    at the data sheet's peaks: arithmetic {:.3} ms, memory {:.3} ms: bound by {bound}",
            floors.compute_ms, floors.memory_ms
        );
    }
    text.push_str("\n  The batch\n");
    for member in step.members.iter().take(MEMBERS_SHOWN) {
        push_member(text, member);
    }
    if step.members.len() > MEMBERS_SHOWN {
        let _ = writeln!(text, "    … and {} more", step.members.len() - MEMBERS_SHOWN);
    }
    let share = step.kv_blocks_used as f64 / step.kv_blocks_total.max(1) as f64 * 100.0;
    let _ = writeln!(text, "\n  KV memory: {} of {} blocks in use ({share:.1} %)", step.kv_blocks_used, step.kv_blocks_total);
    let _ = writeln!(text, "  Queue: {} waiting", step.waiting);
    for waiting in step.queue.iter().take(MEMBERS_SHOWN) {
        let again = match (waiting.preempted, waiting.swapped) {
            (_, true) => ", in host memory",
            (true, _) => ", was running before",
            _ => "",
        };
        let waited = step.start.since(waiting.arrival).as_ms();
        let _ = writeln!(text, "    {:<10} {:>7} tokens, waiting for {waited:.1} ms{again}", name(waiting.request), waiting.tokens);
    }
    match step.held_back {
        Some(held) => {
            let _ = writeln!(text, "  {}", sentence(held));
        }
        None if step.waiting > 0 => text.push_str("  Nobody was held back: the engine gives no reason for the queue's head.\n"),
        None => {}
    }
}

fn push_member(text: &mut String, member: &Member) {
    let name = name(member.request);
    let _ = match member.doing {
        Doing::Prefill { new, past, completes } => {
            let end = if completes { ", which completes its prompt" } else { "" };
            writeln!(text, "    {name:<10} prefill {new:>6} tokens behind {past}{end}")
        }
        Doing::Decode => {
            writeln!(text, "    {name:<10} decode       1 token, number {}, context {}", u64::from(member.generated) + 1, member.context)
        }
        Doing::LeftOut => writeln!(text, "    {name:<10} gets nothing in this step, context {}", member.context),
    };
}
