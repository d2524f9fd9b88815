//! One row a request: the original project's columns first, ours after.

use std::io::{self, Write};

use crate::metrics::{NEVER_PS, NO_SESSION, RequestTimes, RunResult, Status, columns, prefix_cache_event};
use crate::units::Time;

/// Writes the rows of all runs under one header.
///
/// # Errors
/// What the writer answers.
pub fn requests_csv(runs: &[RunResult], out: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(columns().iter().map(|column| column.name))?;
    for run in runs {
        for row in 0..run.requests.len() {
            csv.write_record(cells(run, row))?;
        }
    }
    csv.flush()
}

fn cells(run: &RunResult, row: usize) -> [String; 24] {
    let r = &run.requests;
    let times = RequestTimes::of(r, row);
    let session = (r.session[row] != NO_SESSION).then_some(r.session[row]);
    let profile = run.info.profiles.get(r.profile[row] as usize).map_or("", String::as_str);
    let client = (u64::from(session.unwrap_or(r.id[row])) + 1) % 100;
    let entry = run.info.replicas.get(r.replica[row] as usize).map_or(run.name.as_str(), |replica| replica.entry.as_str());
    let status = match r.status[row] {
        s if s == Status::Success as u8 => "SUCCESS",
        s if s == Status::Rejected as u8 => "REJECTED",
        _ => "PENDING",
    };
    [
        format!("req_{}", u64::from(r.id[row]) + 1),
        harmless(&format!("client_{profile}_{client}")),
        session.map_or(String::new(), |session| format!("sess_{}", u64::from(session) + 1)),
        r.input_tokens[row].to_string(),
        r.max_tokens[row].to_string(),
        r.output_tokens[row].to_string(),
        instant(r.arrival_ps[row]),
        instant(r.first_token_ps[row]),
        instant(r.finish_ps[row]),
        status.to_string(),
        number(times.ttft_ms),
        number(times.tpot_ms),
        number(times.e2e_ms),
        prefix_cache_event(r, row).unwrap_or_default().to_string(),
        r.cached_tokens[row].to_string(),
        r.prefilled_tokens[row].to_string(),
        harmless(entry),
        r.replica[row].to_string(),
        r.turn[row].to_string(),
        instant(r.sent_ps[row]),
        instant(r.scheduled_ps[row]),
        number(times.queue_ms),
        r.preemptions[row].to_string(),
        r.reject_reason(row).unwrap_or_default().to_string(),
    ]
}

/// Shortest text that reads back as the same number, `30.0` for whole ones.
fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:?}"))
}

fn instant(ps: u64) -> String {
    number((ps != NEVER_PS).then(|| Time(ps).as_s()))
}

/// Names come from documents that anyone may have written: a spreadsheet must not take one for a formula.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_string() }
}
