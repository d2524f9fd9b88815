//! One run of which every request was measured: its times, and who was running and waiting each second. The replay is held against it
//! request by request, because errors that cancel in a mean do not cancel here.
//!
//! Times count from a request's arrival at the engine, on both sides.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::experiment::Made;
use super::record::{Lengths, Record, TraceFile};
use super::{Factors, simulate};
use crate::metrics::{NEVER_PS, RunResult};
use crate::plot::{self, Abscissa, CdfSeries, ChartError, ChartOptions, Color, Dash, LineSeries, Theme};

const FILE: &str = "per-request.csv";
const S: f64 = 1e-12;
/// Replays in which the scale is found: TPOT is nearly proportional to it.
const ROUNDS: u32 = 3;

/// Measured or predicted: columns by request, in order of arrival, s, and a sample a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    pub arrival: Vec<f64>,
    pub ttft: Vec<f64>,
    /// NaN for a reply of one token.
    pub tpot: Vec<f64>,
    /// From the first arrival.
    pub finish: Vec<f64>,
    pub running: Vec<f64>,
    pub waiting: Vec<f64>,
}

/// Median, mean and 90th percentile of |predicted / measured - 1|, and the median of the signed one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    pub median: f64,
    pub mean: f64,
    pub p90: f64,
    pub bias: f64,
}

/// A measured run and its replay.
#[derive(Clone, Debug, PartialEq)]
pub struct PerRequest {
    pub measured: Times,
    pub predicted: Times,
    /// With every time on the GPUs multiplied by `scale`, which brings the median TPOT to the measured one: what is left is not the
    /// cost model's.
    pub scaled: Times,
    pub scale: f64,
}

/// Replays the run that `record` describes with the requests of `requests_csv` (arrival_s, input_tokens, output_tokens, scheduled_s,
/// first_token_s, last_token_s) against them and `series_csv` (t, running, waiting: a row a second).
pub fn per_request(record: &Record, requests_csv: &str, series_csv: &str) -> Result<PerRequest, String> {
    let requests = columns(requests_csv, ["arrival_s", "input_tokens", "output_tokens", "first_token_s", "last_token_s"])?;
    let series = columns(series_csv, ["t", "running", "waiting"])?;
    let [arrival, input, output, first, last] = &requests;
    let mut order: Vec<usize> = (0..arrival.len()).collect();
    order.sort_by(|&a, &b| arrival[a].total_cmp(&arrival[b]));
    let mut trace = String::from("arrival_s,input_tokens,output_tokens\n");
    let mut measured = Times { running: series[1].clone(), waiting: series[2].clone(), ..Times::default() };
    for &row in &order {
        let _ = writeln!(trace, "{},{},{}", arrival[row], input[row], output[row]);
        measured.push(arrival[row], first[row], last[row], output[row]);
    }
    let mut record = record.clone();
    record.load.trace = Some(TraceFile { file: Some(FILE.to_owned()) });
    let lengths = || Lengths { file: Some(FILE.to_owned()), ..Lengths::default() };
    (record.input, record.output) = (lengths(), lengths());
    let files = Made(BTreeMap::from([(FILE.to_owned(), trace)]));
    let replay = |device: f64| -> Result<Times, String> {
        let (_, run) = simulate(&record, &files, Factors { device, ..Factors::default() })?;
        if run.requests.len() != measured.arrival.len() {
            return Err(format!("{} requests were measured, {} replayed", measured.arrival.len(), run.requests.len()));
        }
        Ok(predicted(&run, &measured, &series[0]))
    };
    let as_it_is = replay(1.0)?;
    let (mut scale, mut scaled) = (1.0, as_it_is.clone());
    for _ in 0..ROUNDS {
        scale /= 1.0 + errors(&scaled.tpot, &measured.tpot).bias;
        scaled = replay(scale)?;
    }
    Ok(PerRequest { predicted: as_it_is, scaled, scale, measured })
}

impl Times {
    fn push(&mut self, arrival: f64, first: f64, last: f64, tokens: f64) {
        self.arrival.push(arrival);
        self.ttft.push(first - arrival);
        self.tpot.push(if tokens > 1.0 { (last - first) / (tokens - 1.0) } else { f64::NAN });
        self.finish.push(last);
    }
}

/// The replay's times on the measurement's clock, and its samples at the measurement's seconds.
fn predicted(run: &RunResult, measured: &Times, seconds: &[f64]) -> Times {
    let requests = &run.requests;
    let mut times = Times::default();
    for row in 0..requests.len() {
        // The replay's requests come a little later, by the time of the HTTP server.
        let shift = measured.arrival[row] - requests.arrival_ps[row] as f64 * S;
        let at = |ps: u64| if ps == NEVER_PS { f64::NAN } else { ps as f64 * S + shift };
        let tokens = f64::from(requests.output_tokens[row]);
        times.push(measured.arrival[row], at(requests.first_token_ps[row]), at(requests.finish_ps[row]), tokens);
    }
    // A bin's gauge is that of its end.
    let bin_s = run.series.bin_ps as f64 * S;
    let sample =
        |column: &[u32], at: f64| column.get(((at / bin_s).ceil() as usize).saturating_sub(1)).map_or(0.0, |&value| f64::from(value));
    times.running = seconds.iter().map(|&at| sample(&run.series.running, at)).collect();
    times.waiting = seconds.iter().map(|&at| sample(&run.series.waiting, at)).collect();
    times
}

/// Columns of numbers by name.
fn columns<const N: usize>(text: &str, names: [&str; N]) -> Result<[Vec<f64>; N], String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut places = [0; N];
    for (place, name) in places.iter_mut().zip(names) {
        *place = header.iter().position(|found| found == name).ok_or_else(|| format!("there is no column {name}"))?;
    }
    let mut columns = [const { Vec::new() }; N];
    for (index, row) in reader.records().enumerate() {
        let row = row.map_err(|error| error.to_string())?;
        for (column, &place) in columns.iter_mut().zip(&places) {
            let value = row.get(place).and_then(|text| text.parse().ok());
            column.push(value.ok_or_else(|| format!("line {}: {} is no number", index + 2, names[0]))?);
        }
    }
    Ok(columns)
}

impl PerRequest {
    /// Of TTFT, TPOT, and the time of the last token since the first arrival.
    pub fn errors(&self, of: &Times) -> [Errors; 3] {
        let m = &self.measured;
        [errors(&of.ttft, &m.ttft), errors(&of.tpot, &m.tpot), errors(&of.finish, &m.finish)]
    }

    /// Mean distance of the samples, in sequences: running and waiting.
    pub fn samples(&self, of: &Times) -> (f64, f64) {
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len().max(1) as f64;
        (distance(&of.running, &self.measured.running), distance(&of.waiting, &self.measured.waiting))
    }

    /// docs/per-request.md.
    pub fn markdown(&self, record: &Record) -> String {
        let mut text = format!(
            "# One run, request by request\n\nGenerated by `UPDATE_ACCURACY=1 cargo test --test per_request`; a test fails when it is out of date.\n\n\
             A run of vLLM {} with {} on {} x {} of which every request's times were published ({}): {} requests in {:.0} s, at most {} at a \
             time, so that most of them queue. The replay has the same requests and the engine's options. Times count from a request's arrival \
             at the engine.\n\n",
            record.framework_version.as_deref().unwrap_or(""),
            record.model.as_deref().unwrap_or(""),
            record.num_gpus.unwrap_or(1),
            record.gpu.as_deref().unwrap_or(""),
            record.source,
            self.measured.arrival.len(),
            self.measured.finish.iter().copied().fold(0.0, f64::max),
            record.option_count("max_num_seqs").unwrap_or(0),
        );
        text.push_str("| | | median error | mean | p90 | median bias |\n|---|---|---|---|---|---|\n");
        let most = |column: &[f64]| column.iter().copied().fold(0.0, f64::max);
        let mut samples = String::new();
        for (what, times) in [("as it is", &self.predicted), ("GPU times scaled", &self.scaled)] {
            for (name, errors) in ["TTFT", "TPOT", "time of the last token"].iter().zip(self.errors(times)) {
                let Errors { median, mean, p90, bias } = errors;
                let percent = |share: f64| format!("{:.1} %", 100.0 * share);
                let (median, mean, p90) = (percent(median), percent(mean), percent(p90));
                let _ = writeln!(text, "| {what} | {name} | {median} | {mean} | {p90} | {:+.1} % |", 100.0 * bias);
            }
            let (running, waiting) = self.samples(times);
            let _ = write!(samples, "{what}, running is off by {running:.1} sequences in the mean and waiting by {waiting:.1}; ");
        }
        let _ = writeln!(
            text,
            "\n**As it is**, nothing was fitted to this run. **Scaled**: every time on the GPUs multiplied by {:.3}, the one factor that brings the \
             median TPOT to the measured one. The errors that are left are those of the scheduler's rules and of the mix of steps; the factor is the \
             cost model's error on this pair of cards, which have no NVLink. Over time, a sample a second: {}of at most {:.0} running and {:.0} \
             waiting.\n\nDark and solid: measured. Blue, dashed: as it is. Orange, dotted: scaled.\n",
            self.scale,
            samples,
            most(&self.measured.running),
            most(&self.measured.waiting)
        );
        for (name, title) in PICTURES {
            let _ = writeln!(text, "![{title}](per-request/{name}.svg)\n");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    /// The pictures of docs/per-request/, by name.
    pub fn pictures(&self) -> Result<Vec<(&'static str, String)>, ChartError> {
        let of = |pick: fn(&Times) -> &[f64]| [pick(&self.measured), pick(&self.predicted), pick(&self.scaled)];
        let seconds = || Abscissa::Even { start: 1.0, step: 1.0 };
        let arrivals = || Abscissa::Values(&self.measured.arrival);
        Ok(vec![
            ("running", lines(seconds, of(|times| &times.running), &options(("Time", "s"), ("Running", "requests")))?),
            ("waiting", lines(seconds, of(|times| &times.waiting), &options(("Time", "s"), ("Waiting", "requests")))?),
            ("ttft", lines(arrivals, of(|times| &times.ttft), &options(("Arrival", "s"), ("TTFT", "s")))?),
            ("finish", lines(arrivals, of(|times| &times.finish), &options(("Arrival", "s"), ("Last token", "s")))?),
            ("tpot", distribution("Time per output token", of(|times| &times.tpot))?),
        ])
    }
}

const PICTURES: [(&str, &str); 5] = [
    ("running", "Sequences running over time, measured and predicted"),
    ("waiting", "Requests waiting over time, measured and predicted"),
    ("ttft", "TTFT of each request by its arrival, measured and predicted"),
    ("finish", "Time of each request's last token by its arrival, measured and predicted"),
    ("tpot", "Distribution of TPOT, measured and predicted"),
];
const STYLES: [(&str, Color, Dash); 3] = [
    ("measured", Color::rgb(40, 44, 52), Dash::Solid),
    ("as it is", Color::rgb(11, 98, 168), Dash::Dashed),
    ("scaled", Color::rgb(194, 72, 15), Dash::Dotted),
];

fn options(x: (&str, &str), y: (&str, &str)) -> ChartOptions {
    let words = |(label, unit): (&str, &str)| (label.to_owned(), unit.to_owned());
    let ((x_label, x_unit), (y_label, y_unit)) = (words(x), words(y));
    ChartOptions { width: 720.0, height: 260.0, theme: Theme::default(), x_label, x_unit, y_label, y_unit, ..ChartOptions::default() }
}

fn lines<'a>(x: impl Fn() -> Abscissa<'a>, columns: [&'a [f64]; 3], options: &ChartOptions) -> Result<String, ChartError> {
    let series: Vec<LineSeries<'_>> =
        STYLES.iter().zip(columns).map(|(&(name, color, dash), values)| LineSeries { name, color, dash, x: x(), values }).collect();
    plot::svg(options, |surface| plot::lines(surface, &series, options)).map(|(text, _)| text)
}

fn distribution(label: &str, columns: [&[f64]; 3]) -> Result<String, ChartError> {
    let columns = columns.map(|values| values.iter().map(|value| value * 1e3).collect::<Vec<f64>>());
    let options = options((label, "ms"), ("", ""));
    let series: Vec<CdfSeries<'_>> =
        STYLES.iter().zip(&columns).map(|(&(name, color, dash), values)| CdfSeries { name, color, dash, values }).collect();
    plot::svg(&options, |surface| plot::cdf(surface, &series, &options)).map(|(text, _)| text)
}

/// Over the requests where both are known.
fn errors(predicted: &[f64], measured: &[f64]) -> Errors {
    let mut signed: Vec<f64> = predicted
        .iter()
        .zip(measured)
        .filter(|(_, measured)| **measured > 0.0)
        .map(|(p, m)| p / m - 1.0)
        .filter(|error| error.is_finite())
        .collect();
    let mut sizes: Vec<f64> = signed.iter().map(|error| error.abs()).collect();
    if sizes.is_empty() {
        return Errors { median: f64::NAN, mean: f64::NAN, p90: f64::NAN, bias: f64::NAN };
    }
    let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
    let tails = crate::metrics::quantiles(&mut sizes, &[0.5, 0.9]);
    Errors { median: tails[0], mean, p90: tails[1], bias: crate::metrics::quantiles(&mut signed, &[0.5])[0] }
}
