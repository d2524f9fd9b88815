//! What a router weighed for the latest requests, for somebody who looks at one moment. Kept only when asked for; changes no choice.

use std::collections::VecDeque;

use crate::units::Time;

/// Decisions kept.
const KEPT: usize = 24;
/// Candidates told of one decision: those with the best scores.
const CANDIDATES: usize = 64;

/// What scores mean: their unit, and whether the least or the greatest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// In requests, the least wins.
    InFlight,
    /// Dynamo's cost in blocks, the least wins.
    Cost,
    /// Sum of weighted scores, the greatest wins.
    Sum,
    /// vLLM's balancer: requests and six times the waiting ones under KV pressure, the least wins.
    Pressure,
    /// The rule looks at no load.
    None,
}

impl Score {
    pub fn word(self) -> &'static str {
        match self {
            Score::InFlight => "requests in flight",
            Score::Cost => "cost, blocks",
            Score::Sum => "sum of scores",
            Score::Pressure => "requests, waiting ones weighted",
            Score::None => "",
        }
    }

    pub fn greatest_wins(self) -> bool {
        self == Score::Sum
    }
}

/// One choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub request: u32,
    pub at: Time,
    pub chosen: u32,
    pub score: Score,
    /// Replica and score, the best first; at most 64 of `candidates`.
    pub scores: Vec<(u32, f64)>,
    /// How many there were to choose from.
    pub candidates: u32,
}

/// The latest ones.
#[derive(Debug, Default)]
pub struct Decisions(VecDeque<Decision>);

impl Decisions {
    pub fn keep(&mut self, mut decision: Decision) {
        let sign = if decision.score.greatest_wins() { -1.0 } else { 1.0 };
        crate::order::sort_by(&mut decision.scores, |a, b| (sign * a.1).total_cmp(&(sign * b.1)).then(a.0.cmp(&b.0)));
        decision.scores.truncate(CANDIDATES);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(decision);
    }

    /// In order of time.
    pub fn list(&self) -> impl Iterator<Item = &Decision> {
        self.0.iter()
    }
}
