//! What a fleet did about a moment: choices of its router, scaling and failures, requests tried again. Formats only.

use std::fmt::Write;

use serde_json::{Value, json, to_value};

use super::name;
use crate::cluster::router::decisions::Decision;
use crate::metrics::FleetEvent;
use crate::object::object;
use crate::sim::{Moment, Retry};

/// Lines of each kind, and candidates of a choice, that the terminal lists: the latest, and the best.
const SHOWN: usize = 6;
const CANDIDATES_SHOWN: usize = 8;

pub fn decision_json(decision: &Decision) -> Value {
    object!({
        "request": name(decision.request), "at_s": decision.at.as_s(), "chosen": decision.chosen, "of": decision.candidates,
        "unit": decision.score.word(), "greatest_wins": decision.score.greatest_wins(),
        "scores": decision.scores.iter().map(|(replica, score)| json!([replica, score])).collect::<Vec<Value>>(),
        "sentence": choice(decision),
    })
}

pub fn event_json(event: &FleetEvent) -> Value {
    object!({
        "at_s": seconds(event.at_ps), "kind": to_value(event.kind).unwrap_or_default(), "replica": event.replica, "pool": event.pool,
        "before": event.before, "value": event.value, "reason": event.reason, "sentence": event.sentence(),
    })
}

pub fn retry_json(retry: &Retry) -> Value {
    object!({
        "at_s": retry.at.as_s(), "request": name(retry.request), "refused": retry.refused,
        "next_try": retry.next.map(|(number, at)| json!({"number": number, "at_s": at.as_s()})),
        "sentence": tried_again(retry),
    })
}

fn seconds(ps: u64) -> f64 {
    ps as f64 * 1e-12
}

/// The latest of each kind; nothing where there is no choice and nothing happened.
pub fn push(text: &mut String, moment: &Moment) {
    // Writing to a string does not fail.
    if moment.replicas.len() > 1 && !moment.routing.is_empty() {
        let _ = writeln!(text, "\nRouter: {}", moment.rule);
        for decision in last(&moment.routing) {
            let _ = writeln!(text, "  {:>12.6} s  {}", decision.at.as_s(), choice(decision));
        }
    }
    if !moment.events.is_empty() {
        text.push_str("\nFleet\n");
        for event in last(&moment.events) {
            let _ = writeln!(text, "  {:>12.6} s  {}", seconds(event.at_ps), event.sentence());
        }
    }
    if !moment.retries.is_empty() {
        text.push_str("\nTried again\n");
        for retry in last(&moment.retries) {
            let _ = writeln!(text, "  {:>12.6} s  {}", retry.at.as_s(), tried_again(retry));
        }
    }
}

fn last<T>(all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(SHOWN)..]
}

fn tried_again(retry: &Retry) -> String {
    let what = if retry.refused { "did not get in" } else { "was lost" };
    let next = match retry.next {
        Some((number, at)) => format!("try {number} at {:.6} s", at.as_s()),
        None => "given up".to_owned(),
    };
    format!("{} {what}: {next}", name(retry.request))
}

fn choice(decision: &Decision) -> String {
    let mut text = format!("{} to replica {} of {}", name(decision.request), decision.chosen, decision.candidates);
    if !decision.scores.is_empty() {
        let wins = if decision.score.greatest_wins() { "the most wins" } else { "the least wins" };
        let scores: Vec<String> =
            decision.scores.iter().take(CANDIDATES_SHOWN).map(|(replica, score)| format!("{replica}: {score:.4}")).collect();
        // Writing to a string does not fail.
        let _ = write!(text, "; {} ({wins}): {}", decision.score.word(), scores.join(", "));
        let more = (decision.candidates as usize).saturating_sub(CANDIDATES_SHOWN);
        if more > 0 {
            let _ = write!(text, " … and {more} more");
        }
    }
    text
}
