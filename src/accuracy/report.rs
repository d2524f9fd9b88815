//! Replays as one document, and their errors by metric, engine, GPU and set.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::experiment::Experiment;
use super::measure::{Comparison, compare, number};
use super::record::Record;
use crate::metrics::RunResult;

/// What a set of records was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Some constant was chosen with it in view.
    Calibration,
    /// Only compared with.
    Check,
}

impl Use {
    pub fn name(self) -> &'static str {
        match self {
            Use::Calibration => "calibration",
            Use::Check => "check",
        }
    }
}

/// Sets whose records may be looked at when a constant is chosen. All others are only ever compared with.
const CALIBRATION_SETS: [&str; 5] = ["09", "10", "11", "13", "16"];

/// What a set is used for, by its number.
pub fn use_of(set: &str) -> Use {
    if CALIBRATION_SETS.contains(&set.split('-').next().unwrap_or_default()) { Use::Calibration } else { Use::Check }
}

/// A record held against its replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub id: String,
    pub set: String,
    pub framework: String,
    pub framework_version: Option<String>,
    pub model: Option<String>,
    pub gpu: Option<String>,
    pub source: String,
    /// `measured`, `borrowed`, `datasheet`: how well founded the step times are; absent when it was not replayed.
    pub confidence: Option<String>,
    pub metrics: Vec<Comparison>,
    /// Why it was not replayed.
    pub reason: Option<String>,
    /// The record itself says not to validate against it.
    pub skip: Option<String>,
    /// Keys of the record filled in without the source saying so.
    pub assumed: Vec<String>,
    pub warnings: Vec<String>,
}

impl Replayed {
    /// What stands in the place of a record that cannot be read.
    pub fn unread(place: &str, why: String) -> Replayed {
        let record = Record { id: place.to_owned(), set: "unread".to_owned(), ..Record::default() };
        Replayed::new(&record, Err(why))
    }

    pub(super) fn new(record: &Record, outcome: Result<(Experiment, RunResult), String>) -> Replayed {
        let measured_only = || {
            let numbers = record.measured.iter().filter_map(|(name, value)| Some((name, number(value)?)));
            numbers.map(|(name, measured)| Comparison { name: name.clone(), measured, predicted: None, statistic: None }).collect()
        };
        let (confidence, metrics, mut reason, warnings) = match outcome {
            Ok((experiment, run)) => {
                let metrics = compare(record, &experiment, &run);
                let unserved = run.requests.status.iter().filter(|status| **status != crate::metrics::Status::Success as u8).count();
                let reason = (unserved > 0).then(|| format!("{unserved} of {} requests were not served", run.requests.len()));
                (Some(run.info.confidence.clone()), metrics, reason, experiment.warnings)
            }
            Err(reason) => (None, measured_only(), Some(reason), Vec::new()),
        };
        if reason.is_none() && metrics.iter().all(|metric| metric.predicted.is_none()) {
            reason = Some("none of its metrics is simulated".to_owned());
        }
        Replayed {
            id: record.id.clone(),
            set: record.set.clone(),
            framework: record.framework.clone(),
            framework_version: record.framework_version.clone(),
            model: record.model.clone(),
            gpu: record.gpu_actual.clone().or(record.gpu.clone()),
            source: record.source.clone(),
            confidence,
            metrics,
            reason,
            skip: record.skip.clone(),
            assumed: record.assumed.clone(),
            warnings,
        }
    }

    fn json(&self) -> Value {
        let metrics: Vec<Value> = self
            .metrics
            .iter()
            .map(|metric| {
                let mut value = json!({"name": metric.name, "predicted": metric.predicted.map(rounded), "measured": metric.measured,
                    "error": metric.error().map(rounded)});
                if let Some(statistic) = metric.statistic {
                    value["statistic"] = json!(statistic);
                }
                value
            })
            .collect();
        json!({
            "id": self.id, "set": self.set, "use": use_of(&self.set).name(), "framework": self.framework,
            "framework_version": self.framework_version, "model": self.model, "gpu": self.gpu, "confidence": self.confidence,
            "reason": self.reason, "skip": self.skip, "source": self.source, "metrics": metrics, "assumed": self.assumed,
            "warnings": self.warnings,
        })
    }

    /// Counts in the summaries.
    pub fn counts(&self) -> bool {
        self.skip.is_none()
    }
}

/// Six significant digits: more are noise, and a committed report should not change in its last bits.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// Linear between the entries of a sorted list.
fn at(list: &[f64], share: f64) -> Option<f64> {
    let place = share * list.len().checked_sub(1)? as f64;
    let (below, above) = (place as usize, (place as usize + 1).min(list.len() - 1));
    Some(list[below] + (list[above] - list[below]) * (place - below as f64))
}

/// Absolute relative errors of many runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    signed: Vec<f64>,
}

impl Errors {
    pub fn add(&mut self, error: f64) {
        self.signed.push(error);
    }

    pub fn count(&self) -> usize {
        self.signed.len()
    }

    /// Median, mean and 90th percentile of the absolute errors, and the median of the signed ones.
    pub fn statistics(&self) -> Option<[f64; 4]> {
        let mut absolute: Vec<f64> = self.signed.iter().map(|error| error.abs()).collect();
        absolute.sort_unstable_by(f64::total_cmp);
        let mean = absolute.iter().sum::<f64>() / absolute.len().max(1) as f64;
        Some([at(&absolute, 0.5)?, mean, at(&absolute, 0.9)?, at(&self.sorted(), 0.5)?])
    }

    /// Between which factors of a prediction four in five measured values lay: 10th and 90th percentile of measured / predicted.
    pub fn interval(&self) -> Option<[f64; 2]> {
        let sorted = self.sorted();
        Some([1.0 / (1.0 + at(&sorted, 0.9)?), 1.0 / (1.0 + at(&sorted, 0.1)?)])
    }

    fn sorted(&self) -> Vec<f64> {
        let mut signed = self.signed.clone();
        signed.sort_unstable_by(f64::total_cmp);
        signed
    }

    fn json(&self) -> Value {
        match self.statistics() {
            Some([median, mean, p90, bias]) => json!({"count": self.count(), "median": rounded(median), "mean": rounded(mean),
                "p90": rounded(p90), "bias": rounded(bias)}),
            None => json!({"count": 0}),
        }
    }
}

/// Errors by quantity within each of some groups.
pub type Grouped = BTreeMap<String, BTreeMap<&'static str, Errors>>;

/// Groups the errors of the runs that count.
pub fn grouped(runs: &[Replayed], group: impl Fn(&Replayed, &Comparison) -> String) -> Grouped {
    let mut groups = Grouped::new();
    for run in runs.iter().filter(|run| run.counts()) {
        for metric in &run.metrics {
            if let Some(error) = metric.error() {
                groups.entry(group(run, metric)).or_default().entry(metric.quantity()).or_default().add(error);
            }
        }
    }
    groups
}

/// By framework, of the runs that were only compared with.
fn checks_by_framework(runs: &[Replayed]) -> Grouped {
    let checks: Vec<Replayed> = runs.iter().filter(|run| use_of(&run.set) == Use::Check).cloned().collect();
    grouped(&checks, |run, _| run.framework.clone())
}

fn json_of(groups: &Grouped) -> Value {
    let inner = |quantities: &BTreeMap<&'static str, Errors>| -> Value {
        Value::Object(quantities.iter().map(|(quantity, errors)| ((*quantity).to_owned(), errors.json())).collect())
    };
    Value::Object(groups.iter().map(|(name, quantities)| (name.clone(), inner(quantities))).collect())
}

/// `{runs: [{id, set, use, …, metrics: [{name, predicted, measured, error}]}], summary: {…}}`.
///
/// Errors are signed and relative. In `summary`, groups hold `{quantity: {count, median, mean, p90, bias}}`: statistics of the absolute
/// errors, and the median of the signed ones. Runs whose record says `skip` are listed and not counted.
pub fn report(runs: &[Replayed]) -> Value {
    let replayed = runs.iter().filter(|run| run.confidence.is_some()).count();
    json!({
        "runs": runs.iter().map(Replayed::json).collect::<Vec<Value>>(),
        "summary": {
            "runs": runs.len(),
            "replayed": replayed,
            "not_replayed": runs.len() - replayed,
            "by_use": json_of(&grouped(runs, |run, _| use_of(&run.set).name().to_owned())),
            "checks_by_framework": json_of(&checks_by_framework(runs)),
            "by_metric": json_of(&grouped(runs, |_, metric| metric.name.clone())),
            "by_framework": json_of(&grouped(runs, |run, _| run.framework.clone())),
            "by_gpu": json_of(&grouped(runs, |run, _| run.gpu.clone().unwrap_or_default())),
            "by_set": json_of(&grouped(runs, |run, _| run.set.clone())),
            "by_confidence": json_of(&grouped(runs, |run, _| run.confidence.clone().unwrap_or_default())),
        },
    })
}

/// The report for a page: `{runs: [{id, set, use, framework, model, gpu, confidence, metrics: [[name, predicted, measured]]}],
/// not_replayed: [[id, reason]], summary}` with `summary` as in [`report`]. Only metrics with a prediction are listed.
pub fn compact(runs: &[Replayed]) -> Value {
    let short = |value: f64| format!("{value:.3e}").parse().unwrap_or(value);
    let kept = runs.iter().filter(|run| run.confidence.is_some() && run.counts()).map(|run| {
        let metrics: Vec<Value> =
            run.metrics.iter().filter_map(|metric| Some(json!([metric.name, short(metric.predicted?), short(metric.measured)]))).collect();
        json!({"id": run.id, "set": run.set, "use": use_of(&run.set).name(), "framework": run.framework, "model": run.model, "gpu": run.gpu,
            "confidence": run.confidence, "metrics": metrics})
    });
    let others = runs.iter().filter(|run| run.confidence.is_none() || !run.counts());
    json!({
        "runs": kept.collect::<Vec<Value>>(),
        "not_replayed": others.map(|run| json!([run.id, run.reason.as_ref().or(run.skip.as_ref())])).collect::<Vec<Value>>(),
        "summary": report(runs)["summary"],
    })
}
