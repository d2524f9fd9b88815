//! The document replayed again and again with other factors, in slices, until prediction and measurement are closest.

use serde::Serialize;
use serde_json::{Value, json};

use super::Factors;
use super::benchmark::{Benchmark, Tool};
use super::search::Search;
use crate::accuracy::{Comparison, compare_with};
use crate::config::schema::{FrameworkEntry, FrameworkKind, OwnCalibration};
use crate::config::{Diagnostic, Document};
use crate::math;
use crate::metrics::RunResult;
use crate::sim::{self, Files, RunPlan, Simulation};

/// Bounds of the factors: beyond them a benchmark and a document are about different things.
const DEVICE: (f64, f64) = (0.2, 5.0);
const HOST: (f64, f64) = (0.05, 20.0);
/// The second descent starts with a host so many times slower: at 1, host time can be hidden behind the device's whatever it is.
const SLOW_HOST: f64 = 4.0;
/// It has to be better by so much to be believed.
const BETTER: f64 = 0.7;
/// Default of every engine for a request's host time, ms; only where the search starts.
const REQUEST_MS: f64 = 5.0;
/// The logarithm of predicted over measured is cut off here, so that one metric that is wholly wrong does not decide alone.
const CUT: f64 = 2.0;
/// Document and benchmark may differ by so much in number and length of requests before that is said.
const ALIKE: f64 = 0.1;

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The entry that was measured; absent: the only one, or the only one of the benchmark's framework.
    pub entry: Option<String>,
    /// Fit the host time of a request too.
    pub per_request: bool,
    /// Take the benchmark's own requests for the document's ([`super::workload()`]).
    pub own_requests: bool,
}

/// Why nothing can be fitted.
#[derive(Clone, Debug, PartialEq)]
pub enum FitError {
    Document(Vec<Diagnostic>),
    Benchmark(String),
}

impl From<String> for FitError {
    fn from(words: String) -> FitError {
        FitError::Benchmark(words)
    }
}

/// How far a fit has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub done: bool,
    pub simulations: u32,
    /// From 0 to 1.
    pub fraction: f64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub factors: Factors,
    /// Factors that the benchmark says nothing about, and what became of them.
    pub held: Vec<String>,
    /// With all factors 1, and with those found.
    pub before: Vec<Comparison>,
    pub after: Vec<Comparison>,
    pub entry: String,
    pub notes: Vec<String>,
    pub simulations: u32,
}

impl Fitted {
    /// Root of the weighted mean square of ln(predicted / measured): 0.1 is about a tenth.
    pub fn errors(&self) -> (f64, f64) {
        let of = |comparisons: &[Comparison]| math::sqrt(residuals(comparisons).iter().map(|r| r * r).sum::<f64>());
        (of(&self.before), of(&self.after))
    }

    pub fn to_json(&self, source: &str) -> Value {
        let row = |(before, after): (&Comparison, &Comparison)| json!({"name": before.name, "measured": before.measured, "before": before.predicted, "after": after.predicted, "weight": weight(&before.name, &self.before)});
        let (before, after) = self.errors();
        json!({
            "entry": self.entry,
            "calibration": self.factors.to_json(source),
            "metrics": self.before.iter().zip(&self.after).map(row).collect::<Vec<Value>>(),
            "error": {"before": before, "after": after},
            "held": self.held,
            "notes": self.notes,
            "simulations": self.simulations,
        })
    }
}

/// A fit under way.
pub struct Fit {
    document: Document,
    files: Box<dyn Files>,
    benchmark: Benchmark,
    per_request: bool,
    searches: Vec<Search>,
    /// The search that is on; the better one is gone on with.
    on: usize,
    polished: bool,
    simulation: Option<Simulation>,
    /// The last runs at the start and at each search's best point.
    before: Vec<Comparison>,
    best: Vec<Vec<Comparison>>,
    notes: Vec<String>,
    simulations: u32,
}

impl Fit {
    pub fn new(document: &Document, benchmark: Benchmark, files: Box<dyn Files>, options: &Options) -> Result<Fit, FitError> {
        let mut notes = benchmark.notes.clone();
        let mut document = document.clone();
        let entry = measured_entry(&document, &benchmark, options, &mut notes)?;
        if entry.config.calibration.is_some() {
            notes.push(format!("the calibration of {} is left out of the replays: the factors found take its place", entry.name));
        }
        if entry.config.timing.is_some() {
            let words = format!("{} has step times of its own (config.timing), which no factor changes", entry.name);
            return Err(FitError::Benchmark(words));
        }
        document.frameworks_to_test = vec![entry];
        let files = if options.own_requests { own_requests(&mut document, &benchmark, files)? } else { files };
        let reference_ms = request_scale(&benchmark);
        let mut start = vec![0.0, 0.0];
        let mut bounds = vec![(math::ln(DEVICE.0), math::ln(DEVICE.1)), (math::ln(HOST.0), math::ln(HOST.1))];
        if options.per_request {
            start.push(REQUEST_MS / reference_ms);
            bounds.push((0.0, 1.0_f64.max(REQUEST_MS / reference_ms)));
        }
        let mut slow = start.clone();
        slow[1] = math::ln(SLOW_HOST);
        let searches = vec![Search::new(start, bounds.clone()), Search::new(slow, bounds)];
        let mut fit = Fit {
            document,
            files,
            benchmark,
            per_request: options.per_request,
            searches,
            on: 0,
            polished: false,
            simulation: None,
            before: Vec::new(),
            best: vec![Vec::new(); 2],
            notes,
            simulations: 0,
        };
        fit.next()?;
        Ok(fit)
    }

    /// The factors at a point of the search.
    fn factors(&self, point: &[f64]) -> Factors {
        Factors {
            device_time: math::exp(point[0]),
            host_time: math::exp(point[1]),
            per_request_ms: self.per_request.then(|| point[2] * request_scale(&self.benchmark)),
        }
    }

    fn plan(&self, factors: Factors) -> Result<RunPlan, FitError> {
        let mut document = self.document.clone();
        let Factors { device_time, host_time, per_request_ms } = factors;
        for entry in &mut document.frameworks_to_test {
            entry.config.calibration = Some(OwnCalibration {
                device_time: Some(device_time),
                host_time: Some(host_time),
                per_request_ms,
                ..OwnCalibration::default()
            });
        }
        let plan = sim::plan(&document, self.files.as_ref()).map_err(FitError::Document)?;
        plan.runs.into_iter().next().ok_or_else(|| FitError::Benchmark("nothing to run".to_owned()))
    }

    /// Sets up the simulation of the point that is wanted; false when there is none.
    fn next(&mut self) -> Result<bool, FitError> {
        while self.searches[self.on].done() {
            if self.on + 1 < self.searches.len() && !self.polished {
                self.on += 1;
            } else if !self.polished {
                self.polished = true;
                self.on = self.chosen();
                self.searches[self.on].polish();
            } else {
                return Ok(false);
            }
        }
        let run = self.plan(self.factors(self.searches[self.on].wanted()))?;
        self.simulation = Some(Simulation::new(&run).map_err(FitError::Document)?);
        Ok(true)
    }

    /// Does about `budget` units of work, or one simulation, whichever is less.
    pub fn advance(&mut self, budget: u64) -> Result<Progress, FitError> {
        let Some(mut simulation) = self.simulation.take() else { return Ok(self.progress(true)) };
        if !simulation.advance(budget).done {
            self.simulation = Some(simulation);
            return Ok(self.progress(false));
        }
        let run = simulation.finish();
        self.simulations += 1;
        let comparisons = compare_with(&self.benchmark.measured, &run);
        if self.simulations == 1 {
            self.first(&run, &comparisons)?;
            self.before = comparisons.clone();
        }
        let search = &mut self.searches[self.on];
        let asked = search.wanted().to_vec();
        search.answer(residuals(&comparisons));
        if search.best() == asked.as_slice() {
            self.best[self.on] = comparisons;
        }
        let more = self.next()?;
        Ok(self.progress(!more))
    }

    /// What the first replay shows about document and benchmark.
    fn first(&mut self, run: &RunResult, comparisons: &[Comparison]) -> Result<(), FitError> {
        if comparisons.iter().all(|each| each.predicted.is_none()) {
            return Err("the replay of the document answers no request: nothing can be compared".to_owned().into());
        }
        let requests = &run.requests;
        let mean = |column: &[u32]| column.iter().map(|&tokens| f64::from(tokens)).sum::<f64>() / column.len().max(1) as f64;
        let pairs = [
            ("requests", requests.len() as f64, self.benchmark.requests.map(|count| count as f64)),
            ("prompt tokens a request", mean(&requests.input_tokens), self.benchmark.mean_input_tokens),
            ("output tokens a request", mean(&requests.output_tokens), self.benchmark.mean_output_tokens),
        ];
        let unlike: Vec<String> = pairs
            .into_iter()
            .filter_map(|(what, ours, theirs)| Some((what, ours, theirs?)))
            .filter(|(_, ours, theirs)| (ours / theirs - 1.0).abs() > ALIKE)
            .map(|(what, ours, theirs)| format!("{ours:.0} {what} in the document, {theirs:.0} in the benchmark"))
            .collect();
        if !unlike.is_empty() {
            self.notes.push(format!("the replay is of other requests than the benchmark: {}", unlike.join("; ")));
        }
        Ok(())
    }

    fn progress(&self, done: bool) -> Progress {
        let fraction = self.searches.iter().map(Search::fraction).sum::<f64>() / self.searches.len() as f64;
        Progress { done, simulations: self.simulations, fraction: if done { 1.0 } else { fraction } }
    }

    /// The search that came closest; the one with a slow host only if it is clearly closer.
    fn chosen(&self) -> usize {
        usize::from(self.searches[1].cost() < BETTER * self.searches[0].cost() - 1e-6)
    }

    /// The result, when `advance` has said done.
    pub fn finish(self) -> Fitted {
        let chosen = self.on;
        let search = &self.searches[chosen];
        let mut factors = self.factors(search.best());
        let mut held = Vec::new();
        if !search.decides(0) {
            factors.device_time = 1.0;
            held.push("device_time: the measured numbers hardly depend on it; left at 1".to_owned());
        }
        if !search.decides(1) {
            factors.host_time = 1.0;
            held.push(
                "host_time: hidden behind the GPU's time in this benchmark; left at 1 (a benchmark of few requests at once shows it)"
                    .to_owned(),
            );
        }
        if self.per_request && !search.decides(2) {
            held.push("per_request_ms: small beside the measured TTFT; left out".to_owned());
            factors.per_request_ms = None;
        }
        let mut notes = self.notes;
        for (name, value, (least, most)) in [("device_time", factors.device_time, DEVICE), ("host_time", factors.host_time, HOST)] {
            if value <= least * 1.001 || value >= most * 0.999 {
                notes.push(format!(
                    "{name} is at the end of what is searched ({least} to {most}): document and benchmark are probably of different set-ups"
                ));
            }
        }
        Fitted {
            factors,
            held,
            before: self.before,
            after: self.best.into_iter().nth(chosen).unwrap_or_default(),
            entry: self.document.frameworks_to_test.first().map(|entry| entry.name.clone()).unwrap_or_default(),
            notes,
            simulations: self.simulations,
        }
    }
}

fn own_requests(document: &mut Document, benchmark: &Benchmark, rest: Box<dyn Files>) -> Result<Box<dyn Files>, FitError> {
    let (workload, trace) = super::workload(benchmark)?;
    document.workload = crate::from_json::from_value(workload).map_err(|error| FitError::Benchmark(error.to_string()))?;
    Ok(Box::new(super::OverFiles { trace, rest }))
}

/// TTFT that a request's host time is measured in, ms.
fn request_scale(benchmark: &Benchmark) -> f64 {
    let named = |name: &str| benchmark.measured.get(name).and_then(Value::as_f64);
    named("ttft_p50_ms").or(named("ttft_mean_ms")).or(named("e2e_mean_ms")).unwrap_or(100.0).max(1.0)
}

fn measured_entry(
    document: &Document,
    benchmark: &Benchmark,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<FrameworkEntry, FitError> {
    let entries = &document.frameworks_to_test;
    let names = || entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<&str>>().join(", ");
    if let Some(wanted) = &options.entry {
        let found = entries.iter().find(|entry| entry.name == *wanted);
        return found.cloned().ok_or_else(|| FitError::Benchmark(format!("there is no entry `{wanted}`; there are: {}", names())));
    }
    if let [only] = entries.as_slice() {
        return Ok(only.clone());
    }
    let kind = match benchmark.tool {
        Tool::VllmBenchServe => Some(FrameworkKind::Vllm),
        Tool::SglangBenchServing => Some(FrameworkKind::Sglang),
        Tool::AiPerf | Tool::AiPerfRecords => None,
    };
    let of_kind: Vec<&FrameworkEntry> = entries.iter().filter(|entry| Some(entry.kind) == kind).collect();
    match of_kind.as_slice() {
        [one] => {
            notes.push(format!("{} is taken for what was measured, by the benchmark's tool", one.name));
            Ok((*one).clone())
        }
        _ => Err(FitError::Benchmark(format!("which entry was measured? The document has: {}", names()))),
    }
}

/// Weights of a quantity's statistics: tails are the noisiest.
fn statistic_weight(name: &str) -> f64 {
    let statistic = name.trim_end_matches("_ms").split('_').nth(1).unwrap_or_default();
    match statistic {
        "p99" => 0.3,
        "p95" | "p90" => 0.5,
        "mean" | "p50" | "tok" | "s" => 1.0,
        _ => 0.2,
    }
}

/// Weight of a metric in the sum of squares. Each quantity has 1 in all; what only repeats others has none: gaps between tokens beside
/// TPOT, end to end beside TTFT and TPOT, requests and all tokens beside output tokens.
fn weight(name: &str, all: &[Comparison]) -> f64 {
    let has = |wanted: &str| all.iter().any(|each| quantity(&each.name) == wanted && each.predicted.is_some());
    let own = quantity(name);
    let repeats = match own {
        "itl" => has("tpot"),
        "e2e" => has("tpot") || has("ttft"),
        "throughput" => name != "output_tok_s" && all.iter().any(|each| each.name == "output_tok_s"),
        _ => false,
    };
    if repeats {
        return 0.0;
    }
    let sum: f64 = all
        .iter()
        .filter(|each| quantity(&each.name) == own && (own != "throughput" || each.name == name))
        .map(|each| statistic_weight(&each.name))
        .sum();
    statistic_weight(name) / sum.max(1e-9)
}

fn quantity(name: &str) -> &str {
    match name.split('_').next().unwrap_or_default() {
        "output" | "total" | "req" => "throughput",
        other => other,
    }
}

/// ln(predicted / measured) of each metric times the root of its weight.
fn residuals(comparisons: &[Comparison]) -> Vec<f64> {
    let residual = |each: &Comparison| {
        let ratio = each.predicted.filter(|predicted| *predicted > 0.0).map_or(CUT, |predicted| math::ln(predicted / each.measured));
        math::sqrt(weight(&each.name, comparisons)) * ratio.clamp(-CUT, CUT)
    };
    comparisons.iter().map(residual).collect()
}
