//! When first requests (those that open a conversation or stand alone) are sent, and by which profile.

use crate::rng::{Purpose, Stream};
use crate::units::Time;
use crate::workload::profile::Profile;

/// The arrival models of a document.
pub(crate) enum Starts {
    /// Each profile is a process of its own, so their rates add. Holds each profile's next time.
    Independent(Box<[Time]>),
    /// One process for all: the profile of each request is drawn by weight, and the gap before it is that profile's.
    OneGenerator { next: Time, profile: usize, choice: Choice },
    /// Clients that each send when their last request (or conversation) has ended; nothing is sent by the clock.
    Closed { choice: Choice },
}

/// Draws profiles by weight.
pub(crate) struct Choice {
    cumulative: Box<[f64]>,
    stream: Stream,
}

impl Choice {
    pub fn new(cumulative: Box<[f64]>, seed: u64) -> Choice {
        Choice { cumulative, stream: Stream::new(seed, Purpose::ProfileChoice, 0) }
    }

    /// Nothing is drawn when there is one profile.
    pub fn draw(&mut self) -> usize {
        if self.cumulative.len() < 2 {
            return 0;
        }
        draw_index(&self.cumulative, &mut self.stream)
    }
}

/// An index with the probabilities whose running sums these are.
pub(crate) fn draw_index(cumulative: &[f64], stream: &mut Stream) -> usize {
    let u = stream.uniform();
    cumulative.partition_point(|&below| below <= u)
}

impl Starts {
    /// Draws the first times.
    pub fn independent(profiles: &mut [Profile], rate_scale: f64) -> Starts {
        Starts::Independent(profiles.iter_mut().map(|profile| gap(profile, rate_scale)).collect())
    }

    /// Draws the first profile and time.
    pub fn one_generator(profiles: &mut [Profile], rate_scale: f64, mut choice: Choice) -> Starts {
        let profile = choice.draw();
        Starts::OneGenerator { next: gap(&mut profiles[profile], rate_scale), profile, choice }
    }

    /// When and by which profile the next first request is sent by the clock.
    pub fn peek(&self) -> Option<(Time, usize)> {
        match self {
            Starts::Independent(next) => {
                // The first of the earliest ones.
                let (profile, time) = next.iter().enumerate().min_by_key(|(_, time)| **time)?;
                Some((*time, profile))
            }
            Starts::OneGenerator { next, profile, .. } => Some((*next, *profile)),
            Starts::Closed { .. } => None,
        }
    }

    /// Goes on to the one after the one that `peek` names.
    pub fn advance(&mut self, profiles: &mut [Profile], rate_scale: f64) {
        let current = self.peek();
        match self {
            Starts::Independent(next) => {
                if let Some((time, profile)) = current {
                    next[profile] = time + gap(&mut profiles[profile], rate_scale);
                }
            }
            Starts::OneGenerator { next, profile, choice } => {
                *profile = choice.draw();
                *next += gap(&mut profiles[*profile], rate_scale);
            }
            Starts::Closed { .. } => {}
        }
    }
}

fn gap(profile: &mut Profile, rate_scale: f64) -> Time {
    match &profile.gap_s {
        Some(gap_s) => Time::from_s(gap_s.sample(&mut profile.arrivals) / rate_scale),
        None => Time::NEVER,
    }
}
