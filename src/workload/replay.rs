//! Replay of a recorded trace at its recorded times, scaled; or, in a closed loop, of its lengths and contents in order, each sent
//! when a reply has ended.

use std::sync::Arc;

use crate::config::Diagnostic;
use crate::rng::{Purpose, Stream};
use crate::units::Time;
use crate::workload::adapters::Apart;
use crate::workload::request::{Request, SegmentId, Source};
use crate::workload::source::Transit;
use crate::workload::terms::Terms;
use crate::workload::trace::{Row, Trace};

/// The requests of a trace, none of which waits for a reply.
pub(crate) struct Replay {
    trace: Arc<Trace>,
    /// Arrival, sending and row, in order of arrival.
    order: Vec<(Time, Time, u32)>,
    next: usize,
    /// Requests name what they share.
    contents: bool,
    terms: Terms,
    closed: Option<ClosedLoop>,
    /// Numbers of the adapters that the trace names, in its order.
    named: Vec<u16>,
    apart: Apart,
}

/// What a closed loop still has to send.
struct ClosedLoop {
    transit: Transit,
    end: Time,
    /// The next row that no client has sent.
    row: u32,
    rows: u32,
}

impl Replay {
    #[allow(clippy::too_many_arguments, reason = "called once, by the resolver that made each of them")]
    pub fn new(
        trace: &Arc<Trace>,
        seed: u64,
        transit: Transit,
        rate_scale: f64,
        max_requests: u64,
        end: Time,
        spread: bool,
        contents: bool,
        terms: Terms,
        clients: Option<u32>,
        named: Vec<u16>,
    ) -> Replay {
        let rows = trace.rows();
        let times = if spread { spread_within_step(trace, seed) } else { rows.iter().map(|row| row.time).collect() };
        let kept = rows.len().min(usize::try_from(max_requests).unwrap_or(usize::MAX));
        if let Some(clients) = clients {
            return Replay { named, ..Replay::closed(trace, transit, kept as u32, end, contents, terms, clients) };
        }
        let scaled = |time: Time| if rate_scale == 1.0 { time } else { Time((time.0 as f64 / rate_scale).round_ties_even() as u64) };
        let mut order: Vec<(Time, Time, u32)> = rows[..kept]
            .iter()
            .zip(&times)
            .enumerate()
            .map(|(i, (row, time))| (scaled(*time), row.input_tokens, i as u32))
            .take_while(|(sent, ..)| *sent < end)
            .map(|(sent, input_tokens, i)| (transit.arrival(sent, input_tokens), sent, i))
            .collect();
        // A long prompt takes longer to upload and may be overtaken.
        if !order.is_sorted() {
            order.sort_unstable();
        }
        Replay { trace: Arc::clone(trace), order, next: 0, contents, terms, closed: None, named, apart: Apart::default() }
    }

    /// `clients` of them, each of which sends the next row as soon as it has its reply. Times of the trace count for nothing.
    fn closed(trace: &Arc<Trace>, transit: Transit, rows: u32, end: Time, contents: bool, terms: Terms, clients: u32) -> Replay {
        let closed = ClosedLoop { transit, end, row: 0, rows };
        let order = Vec::with_capacity(rows as usize);
        let (named, apart) = (Vec::new(), Apart::default());
        let mut replay = Replay { trace: Arc::clone(trace), order, next: 0, contents, terms, closed: Some(closed), named, apart };
        for _ in 0..clients.min(rows) {
            replay.send_next(Time::ZERO);
        }
        replay
    }

    fn trace_segments(&self) -> u32 {
        if self.contents { self.trace.segment_count() } else { 0 }
    }

    /// Segments with numbers of the trace's own, or of its rows.
    fn plain_segments(&self) -> u32 {
        self.trace_segments() + if self.terms.several_replies() { self.trace.rows().len() as u32 } else { 0 }
    }

    /// The adapter that serves a row: the one it names, else one for its conversation, or for itself.
    fn adapter(&self, row: &Row, index: u32) -> u16 {
        if !self.named.is_empty() {
            return row.adapter.checked_sub(1).and_then(|place| self.named.get(usize::from(place))).copied().unwrap_or(0);
        }
        self.terms.adapter(row.session.map_or(u64::from(index), |(session, _)| (1 << 40) | u64::from(session)))
    }

    /// A client of a closed loop sends the next row at `now`.
    fn send_next(&mut self, now: Time) {
        let Some(closed) = self.closed.as_mut().filter(|closed| closed.row < closed.rows && now < closed.end) else { return };
        let row = closed.row;
        closed.row += 1;
        let arrival = closed.transit.arrival(now, self.trace.rows()[row as usize].input_tokens);
        let place = self.next + self.order[self.next..].partition_point(|waiting| *waiting <= (arrival, now, row));
        self.order.insert(place, (arrival, now, row));
    }
}

/// Times of a trace whose stamps stand for a span: uniform over the step, which is the smallest distance between two stamps, and in
/// the order of the rows.
fn spread_within_step(trace: &Trace, seed: u64) -> Vec<Time> {
    let stamps: Vec<Time> = trace.rows().iter().map(|row| row.time).collect();
    let distances = stamps.windows(2).map(|pair| pair[1].since(pair[0])).filter(|distance| *distance > Time::ZERO);
    let Some(step) = distances.min() else { return stamps };
    let mut stream = Stream::new(seed, Purpose::TraceJitter, 0);
    let mut times = Vec::with_capacity(stamps.len());
    for together in stamps.chunk_by(|a, b| a == b) {
        let first = times.len();
        times.extend(together.iter().map(|stamp| *stamp + Time(stream.below(step.0))));
        times[first..].sort_unstable();
    }
    times
}

impl Source for Replay {
    fn next_arrival(&mut self) -> Option<Time> {
        self.order.get(self.next).map(|(arrival, ..)| *arrival)
    }

    fn take(&mut self) -> Option<Request> {
        let (arrival, sent, index) = *self.order.get(self.next)?;
        let row = self.trace.rows()[index as usize];
        let id = self.next as u32;
        self.next += 1;
        let mut request = Request {
            session: row.session.map(|(session, _)| session),
            turn: row.session.map_or(0, |(_, turn)| turn),
            sent,
            adapter: self.adapter(&row, index),
            segments: if self.contents { self.trace.segments(&row) } else { Box::default() },
            ..Request::new(id, arrival, row.input_tokens, row.output_tokens)
        };
        self.terms.apply(&mut request, u64::from(index));
        if request.samples > 1 && request.unnamed_tokens() > 0 {
            // One number a row, after the trace's own: none is given twice.
            request.name_rest(SegmentId(self.trace_segments() + index));
        }
        let plain = self.plain_segments();
        let mut next = plain + self.apart.count();
        self.apart.rename(&mut request.segments, request.adapter, || {
            next += 1;
            SegmentId(next - 1)
        });
        Some(request)
    }

    fn ended(&mut self, _request_id: u32, now: Time) {
        self.send_next(now);
    }

    fn waits_for_replies(&self) -> bool {
        self.closed.is_some()
    }

    fn segment_count(&self) -> u32 {
        self.plain_segments() + self.apart.count()
    }

    fn expected_requests(&self) -> Option<u64> {
        Some(self.closed.as_ref().map_or(self.order.len() as u64, |closed| u64::from(closed.rows)))
    }

    fn warnings(&self) -> Vec<Diagnostic> {
        self.trace.warnings().to_vec()
    }
}
