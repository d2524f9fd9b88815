//! From a document's workload to a source of requests: what is absent gets its default, what cannot be honoured is refused.

use std::sync::Arc;

use crate::config::Diagnostic;
use crate::config::schema::{ArrivalModel, ClientProfile, RateOverTime, Workload};
use crate::units::Time;
use crate::workload::adapters;
use crate::workload::generate::{Generated, Rules};
use crate::workload::prefix::{self, Prefixes};
use crate::workload::profile::{self, Profile};
use crate::workload::replay::Replay;
use crate::workload::request::Source;
use crate::workload::rhythm::Rhythm;
use crate::workload::sampler::cumulative_weights;
use crate::workload::starts::{Choice, Starts};
use crate::workload::terms::Terms;
use crate::workload::trace::Trace;

/// The original project's defaults.
const DEFAULT_MAX_TURNS: u32 = 10;
const DEFAULT_CONTINUE_PROBABILITY: f64 = 0.7;

/// Shortest mean time between two requests that may go on without a limit on their number, s.
const SHORTEST_ENDLESS_GAP_S: f64 = 1e-9;

/// Everything a source of requests is made of.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The document's workload, with its preset's keys already filled in.
    pub workload: Workload,
    /// The simulation's seed; the workload's own goes before it.
    pub seed: u64,
    /// The file that `workload.trace` names.
    pub trace: Option<Arc<Trace>>,
    /// How prompts reach the server; absent: at once.
    pub upload: Option<Upload>,
    /// Time from the end of the upload to the scheduler's queue.
    pub api_time: Time,
    /// The same for each token of the prompt.
    pub api_time_per_token: Time,
}

/// The clients' link to the server. Prompts do not delay each other on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Upload {
    pub latency: Time,
    /// Bits a second, above zero.
    pub bits_per_s: f64,
    pub bytes_per_token: f64,
}

/// From sending to arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transit {
    fixed: Time,
    per_token: Time,
    s_per_token: f64,
}

impl Transit {
    fn new(upload: Option<Upload>, api_time: Time, per_token: Time) -> Result<Transit, Diagnostic> {
        let Some(upload) = upload else {
            return Ok(Transit { fixed: api_time, per_token, s_per_token: 0.0 });
        };
        let s_per_token = upload.bytes_per_token * 8.0 / upload.bits_per_s;
        if !(s_per_token.is_finite() && s_per_token >= 0.0) {
            let message =
                format!("an upload of {} bytes a token at {} bits/s takes no time that exists", upload.bytes_per_token, upload.bits_per_s);
            return Err(Diagnostic::error(
                "workload.bytes_per_token_estimate_for_network",
                message,
                "give the link a bandwidth above zero",
            ));
        }
        Ok(Transit { fixed: upload.latency + api_time, per_token, s_per_token })
    }

    /// No request takes less.
    pub fn shortest(&self) -> Time {
        self.fixed
    }

    pub fn arrival(&self, sent: Time, input_tokens: u32) -> Time {
        let served = sent + self.fixed + Time(crate::math::saturating_product(self.per_token.0, u64::from(input_tokens)));
        if self.s_per_token == 0.0 { served } else { served + Time::from_s(self.s_per_token * f64::from(input_tokens)) }
    }
}

/// Makes the source, or says everything that stands in the way.
pub fn source(spec: &SourceSpec) -> Result<Box<dyn Source>, Vec<Diagnostic>> {
    let workload = &spec.workload;
    let mut errors = Vec::new();
    let transit = Transit::new(spec.upload, spec.api_time, spec.api_time_per_token).unwrap_or_else(|error| {
        errors.push(error);
        Transit { fixed: Time::ZERO, per_token: Time::ZERO, s_per_token: 0.0 }
    });
    let rate_scale = workload.rate_scale.unwrap_or(1.0);
    if !(rate_scale > 0.0 && rate_scale.is_finite()) {
        errors.push(Diagnostic::error("workload.rate_scale", format!("{rate_scale} is no rate"), "use a number above zero"));
    }
    let terms = Terms::new(workload, seed(spec), &mut errors);
    match (&workload.trace, &workload.client_profiles) {
        (Some(_), _) => replay(spec, transit, rate_scale, terms, errors),
        (None, Some(profiles)) if !profiles.is_empty() => generated(spec, profiles, transit, rate_scale, terms, errors),
        (None, _) => {
            errors.push(Diagnostic::error("workload", "there are no requests", "give a preset, a trace or client_profiles"));
            Err(errors)
        }
    }
}

fn seed(spec: &SourceSpec) -> u64 {
    spec.workload.random_seed.unwrap_or(spec.seed)
}

/// The time at and after which nothing is sent.
fn end(workload: &Workload) -> Time {
    workload.total_duration.map_or(Time::NEVER, Time::from_s)
}

fn replay(
    spec: &SourceSpec,
    transit: Transit,
    rate_scale: f64,
    terms: Terms,
    mut errors: Vec<Diagnostic>,
) -> Result<Box<dyn Source>, Vec<Diagnostic>> {
    let workload = &spec.workload;
    for (key, present) in [
        ("client_profiles", workload.client_profiles.is_some()),
        ("prefix_patterns", workload.prefix_patterns.is_some()),
        ("arrival_model", workload.arrival_model.is_some()),
    ] {
        if present {
            let message = "has no meaning beside a trace, which states times, lengths and contents itself";
            errors.push(Diagnostic::error(format!("workload.{key}"), message, format!("remove either trace or {key}")));
        }
    }
    match (&workload.trace, &spec.trace) {
        (Some(options), Some(trace)) if errors.is_empty() => {
            let max_requests = options.max_requests.unwrap_or(u64::MAX).min(workload.total_requests_to_generate.unwrap_or(u64::MAX));
            let spread = options.spread_within_step.unwrap_or(trace.coarse_by_nature());
            let contents = workload.generate_prompt_tokens != Some(false);
            let (end, clients) = (end(workload), workload.concurrency);
            let named = adapters::adapters(workload, Some(trace)).map_err(|error| vec![error])?;
            let named = adapters::numbers_in(&named, trace);
            let seed = seed(spec);
            Ok(Box::new(Replay::new(trace, seed, transit, rate_scale, max_requests, end, spread, contents, terms, clients, named)))
        }
        (Some(options), None) => {
            errors.push(Diagnostic::error("workload.trace.path", format!("the trace {:?} was not read", options.path), ""));
            Err(errors)
        }
        _ => Err(errors),
    }
}

fn rhythm(given: &RateOverTime) -> Rhythm {
    let points: Vec<(f64, f64)> = given.points.iter().map(|point| (point.at_s, point.factor)).collect();
    Rhythm::new(&points, given.period_s)
}

fn generated(
    spec: &SourceSpec,
    client_profiles: &[ClientProfile],
    transit: Transit,
    rate_scale: f64,
    terms: Terms,
    mut errors: Vec<Diagnostic>,
) -> Result<Box<dyn Source>, Vec<Diagnostic>> {
    let workload = &spec.workload;
    let seed = seed(spec);
    let mut notes = Vec::new();
    let closed_loop = workload.concurrency.is_some();
    let one_generator = workload.arrival_model == Some(ArrivalModel::OneGenerator);

    let (patterns, prefix_weights) = match &workload.prefix_patterns {
        Some(given) if workload.generate_prompt_tokens == Some(true) => {
            prefix::resolve(&given.patterns, "workload.prefix_patterns.patterns", &mut errors)
        }
        Some(_) => {
            let message = "prefix patterns without generate_prompt_tokens: no prompt has a prefix";
            notes.push(Diagnostic::warning("workload.prefix_patterns", message, "add generate_prompt_tokens: true"));
            Default::default()
        }
        None => Default::default(),
    };
    let mut prefixes = Prefixes::default();
    let mut profiles: Box<[Profile]> = client_profiles
        .iter()
        .enumerate()
        .map(|(i, profile)| profile::resolve(profile, i, closed_loop, seed, &mut prefixes, &patterns, &mut errors))
        .collect();

    let weights: Vec<f64> = client_profiles.iter().map(|profile| profile.weight.unwrap_or(1.0)).collect();
    let cumulative = cumulative_weights(&weights).unwrap_or_else(|message| {
        errors.push(Diagnostic::error("workload.client_profiles", message, "give at least one profile a weight above zero"));
        Box::default()
    });
    if !closed_loop && !one_generator && weights.iter().any(|weight| *weight != weights[0]) {
        let message = "weight has no effect on independent profiles: each sends at its own rate";
        notes.push(Diagnostic::warning("workload.client_profiles", message, "use arrival_model: one_generator, or change the rates"));
    }
    if closed_loop && workload.rate_scale.is_some() {
        notes.push(Diagnostic::warning("workload.rate_scale", "has no effect in a closed loop", "change concurrency"));
    }
    if workload.total_requests_to_generate.is_none() {
        for (i, profile) in profiles.iter().enumerate() {
            if profile.gap_s.as_ref().is_some_and(|gap_s| gap_s.mean() / rate_scale < SHORTEST_ENDLESS_GAP_S) {
                let path = format!("workload.client_profiles[{i}].inter_arrival_time_dist_config");
                errors.push(Diagnostic::error(path, "requests without end at the same instant", "set total_requests_to_generate"));
            }
        }
    }
    let continue_probability = workload.continue_probability.unwrap_or(DEFAULT_CONTINUE_PROBABILITY);
    if !(0.0..=1.0).contains(&continue_probability) {
        errors.push(Diagnostic::error("workload.continue_probability", "is no probability", "use a number from 0 to 1"));
    }
    let max_turns = u16::try_from(workload.max_turns_per_session.unwrap_or(DEFAULT_MAX_TURNS)).unwrap_or_else(|_| {
        errors.push(Diagnostic::error("workload.max_turns_per_session", "is too large", "use at most 10000"));
        1
    });
    if profiles.len() > usize::from(u16::MAX) {
        errors.push(Diagnostic::error("workload.client_profiles", "are too many", "use at most 64"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }

    let starts = if closed_loop {
        Starts::Closed { choice: Choice::new(cumulative, seed) }
    } else if one_generator {
        Starts::one_generator(&mut profiles, rate_scale, Choice::new(cumulative, seed))
    } else {
        Starts::independent(&mut profiles, rate_scale)
    };
    let rules = Rules {
        max_turns: max_turns.max(1),
        continue_probability,
        accumulate: workload.accumulate_conversational_tokens.unwrap_or(true),
        all_in_sessions: one_generator,
        end: end(workload),
        max_requests: workload.total_requests_to_generate,
        rate_scale,
        rhythm: workload.rate_over_time.as_ref().map(rhythm),
    };
    let clients = workload.concurrency.unwrap_or(0);
    Ok(Box::new(Generated::new(seed, profiles, prefix_weights, prefixes.count(), starts, rules, transit, terms, clients, notes)))
}
