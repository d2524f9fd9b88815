//! A run as a trace in Chrome's JSON format, which Perfetto (ui.perfetto.dev) and chrome://tracing open: a process for each replica
//! with its steps and counters, one for the requests of each run.
//!
//! Format: "Trace Event Format" (complete events `X`, nestable async events `b`/`e`, counters `C`, metadata `M`; times in
//! microseconds, to the nanosecond). Bounded: steps are kept for a stretch of time, runs of equal steps become one slice when there are
//! many. Perfetto's trace_processor (58.2) opens the traces of every preset and example without an import error.

use std::io::{self, Write};

use serde_json::Value;

use crate::metrics::{LoggedSteps, NEVER_PS, RunResult, Status};
use crate::object::object;

/// Steps drawn singly at most, over all runs; beyond, a stretch of equal steps is one slice.
const MOST_SLICES: u64 = 200_000;
/// Requests drawn at most, for each run.
const MOST_REQUESTS: usize = 50_000;

/// Writes the runs, whose simulations have kept their steps, as one trace. Answers what was left out, in words.
///
/// # Errors
/// What the writer answers.
pub fn perfetto(runs: &[RunResult], out: impl Write) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    let steps: u64 = runs.iter().flat_map(|run| &run.steps.runs).map(|steps| steps.steps).sum();
    let singly = steps <= MOST_SLICES;
    if !singly {
        notes.push(format!("{steps} steps are more than {MOST_SLICES}: equal ones that follow one another are one slice"));
    }
    let mut trace = Trace { out, first: true };
    trace.out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
    let mut process = 0;
    for run in runs {
        let requests_process = process + 1;
        trace.process(requests_process, &format!("{}: requests", run.name))?;
        notes.extend(trace.requests(requests_process, run)?);
        for (index, info) in run.info.replicas.iter().enumerate() {
            process = requests_process + 1 + index as u64;
            trace.process(process, &format!("{}: replica {index} ({} on {})", run.name, info.framework, info.device))?;
            trace.event(&object!({"ph": "M", "name": "thread_name", "pid": process, "tid": 1, "args": object!({"name": "steps"})}))?;
            for steps in run.steps.runs.iter().filter(|steps| usize::from(steps.replica) == index) {
                trace.steps(process, steps, singly)?;
            }
        }
        process = process.max(requests_process);
        if let Some(cut) = run.steps.cut_at_ps {
            notes.push(format!(
                "{}: the steps from {:.3} s on are left out, there are too many; choose a shorter stretch",
                run.name,
                cut as f64 / 1e12
            ));
        }
    }
    write!(
        trace.out,
        "\n],\"otherData\":{}}}",
        object!({"program": "LLMPerfOracle", "version": env!("CARGO_PKG_VERSION"), "notes": notes})
    )?;
    trace.out.flush()?;
    Ok(notes)
}

struct Trace<W: Write> {
    out: W,
    first: bool,
}

impl<W: Write> Trace<W> {
    fn event(&mut self, event: &Value) -> io::Result<()> {
        if !self.first {
            self.out.write_all(b",\n")?;
        }
        self.first = false;
        serde_json::to_writer(&mut self.out, event).map_err(io::Error::from)
    }

    fn process(&mut self, pid: u64, name: &str) -> io::Result<()> {
        self.event(&object!({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": object!({"name": name})}))
    }

    fn steps(&mut self, pid: u64, steps: &LoggedSteps, singly: bool) -> io::Result<()> {
        let kind = match (steps.prefill_tokens, steps.decode_sequences) {
            (0, decodes) => format!("decode × {decodes}"),
            (tokens, 0) => format!("prefill {tokens}"),
            (tokens, decodes) => format!("prefill {tokens} + decode × {decodes}"),
        };
        let stretches = if singly { steps.steps } else { 1 };
        let steps_each = if singly { 1 } else { steps.steps };
        for index in 0..stretches {
            let (start, end) = (steps.start_of(index * steps_each), steps.start_of((index + 1) * steps_each));
            let name = if steps_each > 1 { format!("{kind}, {steps_each} steps") } else { kind.clone() };
            let parts = &steps.parts;
            let ms = |ps: u64| ps as f64 / 1e9;
            self.event(&object!({
                "ph": "X", "name": name, "cat": "step", "pid": pid, "tid": 1, "ts": us(start), "dur": us_between(start, end),
                "args": object!({
                    "prefill_tokens": steps.prefill_tokens, "decodes": steps.decode_sequences, "padded_tokens": steps.padded_tokens,
                    "running": steps.running, "waiting": steps.waiting, "held_back": steps.held_back.map(|rule| rule.because()),
                    "first_step_ms": object!({
                        "gemm": ms(parts.gemm_ps), "attention": ms(parts.attention_ps), "communication": ms(parts.communication_ps),
                        "other": ms(parts.other_ps), "host": ms(parts.host_ps),
                    }),
                }),
            }))?;
        }
        let end = steps.start_of(steps.steps);
        let counters = [("KV blocks", steps.kv_blocks.0), ("running", steps.running.into()), ("waiting", steps.waiting.into())];
        for (name, value) in counters {
            self.event(&object!({"ph": "C", "name": name, "pid": pid, "ts": us(steps.start_ps), "args": object!({"value": value})}))?;
        }
        if steps.kv_blocks.1 != steps.kv_blocks.0 {
            self.event(
                &object!({"ph": "C", "name": "KV blocks", "pid": pid, "ts": us(end), "args": object!({"value": steps.kv_blocks.1})}),
            )?;
        }
        Ok(())
    }

    /// Requests under way in the stretch of time: queued, prefill and decode, one inside the other's track.
    fn requests(&mut self, pid: u64, run: &RunResult) -> io::Result<Option<String>> {
        let r = &run.requests;
        let (from, to) = run.steps.window_ps();
        let ended = |row: usize| if r.finish_ps[row] == NEVER_PS { run.end_ps } else { r.finish_ps[row] };
        let shown = |row: &usize| r.status[*row] != Status::Rejected as u8 && r.arrival_ps[*row] < to && ended(*row) > from;
        let mut count = 0;
        for row in (0..r.len()).filter(shown) {
            count += 1;
            if count > MOST_REQUESTS {
                continue;
            }
            let id = format!("{pid}.{}", r.id[row]);
            let name = format!("req_{}", u64::from(r.id[row]) + 1);
            let mut async_event = |ph: &str, name: &str, ts: u64, args: Value| {
                self.event(&object!({"ph": ph, "cat": "request", "id": id, "name": name, "pid": pid, "tid": 0, "ts": us(ts), "args": args}))
            };
            let end = ended(row);
            let args = object!({
                "prompt_tokens": r.input_tokens[row], "output_tokens": r.output_tokens[row], "cached_tokens": r.cached_tokens[row],
                "preemptions": r.preemptions[row], "replica": r.replica[row],
            });
            async_event("b", &name, r.arrival_ps[row], args)?;
            let instants = [r.arrival_ps[row], r.scheduled_ps[row], r.first_token_ps[row], end];
            for (phase, pair) in ["queued", "prefill", "decode"].into_iter().zip(instants.windows(2)) {
                // What never came lasts to the end.
                if pair[0] != NEVER_PS && pair[0] < end {
                    async_event("b", phase, pair[0], object!({}))?;
                    async_event("e", phase, pair[1].min(end), object!({}))?;
                }
            }
            async_event("e", &name, end, object!({}))?;
        }
        Ok((count > MOST_REQUESTS).then(|| format!("{}: {MOST_REQUESTS} of {count} requests are drawn", run.name)))
    }
}

/// Whole nanoseconds, which is what Perfetto keeps. It rounds a start and a duration each for itself: with parts of nanoseconds a slice could
/// end after the start of the next, which it counts as an error.
fn ns(ps: u64) -> u64 {
    (ps + 500) / 1000
}

/// Picoseconds to the format's microseconds.
fn us(ps: u64) -> f64 {
    ns(ps) as f64 / 1e3
}

/// The time from one instant to another, such that both end where `us` says.
fn us_between(start_ps: u64, end_ps: u64) -> f64 {
    ns(end_ps).saturating_sub(ns(start_ps)) as f64 / 1e3
}
