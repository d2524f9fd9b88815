//! One row a request: the original project's columns first, ours after.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use crate::metrics::{NEVER_PS, NO_SESSION, RequestTimes, RunResult, Status, columns, prefix_cache_event};
use crate::units::Time;

/// Writes the rows of all runs under one header.
///
/// # Errors
/// What the writer answers.
pub fn requests_csv(runs: &[RunResult], out: impl Write) -> io::Result<()> {
    let mut rows = Rows { csv: csv::Writer::from_writer(out), cell: String::new() };
    rows.csv.write_record(columns().iter().map(|column| column.name))?;
    for run in runs {
        for row in 0..run.requests.len() {
            rows.write(run, row)?;
        }
    }
    rows.csv.flush()
}

/// Writes cell by cell through one buffer: a run may have a million rows.
struct Rows<W: Write> {
    csv: csv::Writer<W>,
    cell: String,
}

impl<W: Write> Rows<W> {
    fn write(&mut self, run: &RunResult, row: usize) -> io::Result<()> {
        let r = &run.requests;
        let times = RequestTimes::of(r, row);
        let session = (r.session[row] != NO_SESSION).then_some(r.session[row]);
        let profile = run.info.profiles.get(r.profile[row] as usize).map_or("", String::as_str);
        let client = (u64::from(session.unwrap_or(r.id[row])) + 1) % 100;
        let entry = run.info.replicas.get(r.replica[row] as usize).map_or(run.name.as_str(), |replica| replica.entry.as_str());
        let status = match r.status[row] {
            s if s == Status::Success as u8 => "SUCCESS",
            s if s == Status::Rejected as u8 => "REJECTED",
            s if s == Status::Cancelled as u8 => "CANCELLED",
            s if s == Status::Lost as u8 => "LOST",
            _ => "PENDING",
        };
        self.cell(format_args!("req_{}", u64::from(r.id[row]) + 1))?;
        self.cell(format_args!("client_{profile}_{client}"))?;
        match session {
            Some(session) => self.cell(format_args!("sess_{}", u64::from(session) + 1))?,
            None => self.word("")?,
        }
        self.cell(format_args!("{}", r.input_tokens[row]))?;
        self.cell(format_args!("{}", r.max_tokens[row]))?;
        self.cell(format_args!("{}", r.output_tokens[row]))?;
        self.instant(r.arrival_ps[row])?;
        self.instant(r.first_token_ps[row])?;
        self.instant(r.finish_ps[row])?;
        self.word(status)?;
        self.number(times.ttft_ms)?;
        self.number(times.tpot_ms)?;
        self.number(times.e2e_ms)?;
        self.word(prefix_cache_event(r, row).unwrap_or_default())?;
        self.cell(format_args!("{}", r.cached_tokens[row]))?;
        self.cell(format_args!("{}", r.prefilled_tokens[row]))?;
        self.name(entry)?;
        self.cell(format_args!("{}", r.replica[row]))?;
        self.cell(format_args!("{}", r.turn[row]))?;
        self.instant(r.sent_ps[row])?;
        self.instant(r.scheduled_ps[row])?;
        self.number(times.queue_ms)?;
        self.cell(format_args!("{}", r.preemptions[row]))?;
        self.word(r.reject_reason(row).unwrap_or_default())?;
        self.cell(format_args!("{}", r.lower_tier_tokens[row]))?;
        self.instant(r.cancelled_ps[row])?;
        match run.handovers.of(r.id[row]) {
            Some(handover) => {
                self.cell(format_args!("{}", handover.decode_replica))?;
                self.number(handover.memory_wait_ms())?;
                self.number(handover.transfer_ms())?;
                self.cell(format_args!("{}", handover.bytes))?;
            }
            None => (0..4).try_for_each(|_| self.word(""))?,
        }
        self.cell(format_args!("{}", r.attempts[row].max(1)))?;
        self.cell(format_args!("{}", r.lost_tokens[row]))?;
        self.csv.write_record(None::<&[u8]>)?;
        Ok(())
    }

    fn word(&mut self, word: &str) -> io::Result<()> {
        Ok(self.csv.write_field(word)?)
    }

    fn cell(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.cell.clear();
        // Writing to a string does not fail.
        let _ = self.cell.write_fmt(text);
        Ok(self.csv.write_field(&self.cell)?)
    }

    /// Names come from documents that anyone may have written: a spreadsheet must not take one for a formula.
    fn name(&mut self, name: &str) -> io::Result<()> {
        if name.starts_with(['=', '+', '-', '@', '\t', '\r']) { self.cell(format_args!("'{name}")) } else { self.word(name) }
    }

    /// Shortest text that reads back as the same number, `30.0` for whole ones; empty for none.
    fn number(&mut self, value: Option<f64>) -> io::Result<()> {
        match value {
            Some(value) => self.cell(format_args!("{value:?}")),
            None => self.word(""),
        }
    }

    fn instant(&mut self, ps: u64) -> io::Result<()> {
        self.number((ps != NEVER_PS).then(|| Time(ps).as_s()))
    }
}
