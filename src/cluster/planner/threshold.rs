//! A threshold scaler: Kubernetes' HorizontalPodAutoscaler with an average-value metric, which is also what KEDA sets up.
//!
//! Every interval: `desired = ceil(total / target)`, unless the average is within the tolerance of the target. Then the stabilisation
//! windows (the least recent recommendation going up, the greatest going down), then the policies that limit the speed
//! (`pkg/controller/podautoscaler/horizontal.go`, v1.30). Scaling to zero is not there: a queue without replicas has no rule to wake.

use std::collections::VecDeque;

use super::Decision;
use crate::units::Time;

/// By how much in how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub limit: Limit,
    pub period: Time,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    Replicas(u32),
    /// Of the replicas at the start of the period.
    Percent(f64),
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The one that allows the largest change.
    Max,
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// How fast in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Speed {
    pub window: Time,
    pub policies: Vec<Policy>,
    pub select: Select,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdSpec {
    /// What one replica should have of the metric.
    pub target: f64,
    /// Share by which the average may differ from it.
    pub tolerance: f64,
    pub interval: Time,
    pub min_replicas: u32,
    pub max_replicas: u32,
    pub up: Speed,
    pub down: Speed,
}

impl Speed {
    /// Up at once, by 4 replicas or 100 % in 15 s.
    pub fn up() -> Speed {
        let period = Time::from_s(15.0);
        let policies = vec![Policy { limit: Limit::Replicas(4), period }, Policy { limit: Limit::Percent(100.0), period }];
        Speed { window: Time::ZERO, policies, select: Select::Max }
    }

    /// Down by what was the most in five minutes, then at once.
    pub fn down() -> Speed {
        let policies = vec![Policy { limit: Limit::Percent(100.0), period: Time::from_s(15.0) }];
        Speed { window: Time::from_s(300.0), policies, select: Select::Max }
    }
}

/// The scaler, with what it remembers.
#[derive(Clone, Debug)]
pub struct Threshold {
    spec: ThresholdSpec,
    recommendations: VecDeque<(Time, u32)>,
    added: VecDeque<(Time, u32)>,
    removed: VecDeque<(Time, u32)>,
}

fn changes_since(changes: &VecDeque<(Time, u32)>, now: Time, period: Time) -> u32 {
    changes.iter().filter(|(at, _)| now.since(*at) < period).map(|(_, count)| count).sum()
}

impl Threshold {
    pub fn new(spec: ThresholdSpec) -> Threshold {
        Threshold { spec, recommendations: VecDeque::new(), added: VecDeque::new(), removed: VecDeque::new() }
    }

    pub fn interval(&self) -> Time {
        self.spec.interval
    }

    /// Decides at `now`, with `current` replicas (those still starting included) that have `total` of the metric together.
    pub fn decide(&mut self, now: Time, current: u32, total: f64) -> Decision {
        let spec = &self.spec;
        let ratio = total / (spec.target * f64::from(current.max(1)));
        let within = (ratio - 1.0).abs() <= spec.tolerance;
        let raw = if within { current } else { (total / spec.target).ceil().min(f64::from(spec.max_replicas)) as u32 };
        let wanted = self.stabilised(now, current, raw.clamp(spec.min_replicas, spec.max_replicas));
        let desired = self.limited(now, current, wanted).clamp(self.spec.min_replicas, self.spec.max_replicas);
        if desired == current {
            let reason = if within {
                "within tolerance"
            } else if wanted == current {
                "stabilised"
            } else {
                "limited"
            };
            return Decision::stay(reason);
        }
        let changes = if desired > current { &mut self.added } else { &mut self.removed };
        changes.push_back((now, desired.abs_diff(current)));
        Decision { replicas: Some(desired), reason: if desired > current { "above target" } else { "below target" } }
    }

    fn stabilised(&mut self, now: Time, current: u32, raw: u32) -> u32 {
        let (up, down) = (self.spec.up.window, self.spec.down.window);
        let longest = up.max(down);
        while self.recommendations.front().is_some_and(|(at, _)| now.since(*at) >= longest) {
            self.recommendations.pop_front();
        }
        let within = |window: Time| self.recommendations.iter().filter(move |(at, _)| now.since(*at) < window).map(|(_, count)| *count);
        let least = within(up).fold(raw, u32::min);
        let most = within(down).fold(raw, u32::max);
        self.recommendations.push_back((now, raw));
        current.max(least).min(most)
    }

    fn limited(&mut self, now: Time, current: u32, wanted: u32) -> u32 {
        let longest = self.spec.up.policies.iter().chain(&self.spec.down.policies).map(|policy| policy.period).max().unwrap_or_default();
        for changes in [&mut self.added, &mut self.removed] {
            while changes.front().is_some_and(|(at, _)| now.since(*at) >= longest) {
                changes.pop_front();
            }
        }
        let start = |policy: &Policy| {
            (current + changes_since(&self.removed, now, policy.period)).saturating_sub(changes_since(&self.added, now, policy.period))
        };
        if wanted > current {
            let up = &self.spec.up;
            let bounds = up.policies.iter().map(|policy| match policy.limit {
                Limit::Replicas(count) => start(policy).saturating_add(count),
                Limit::Percent(percent) => (f64::from(start(policy)) * (1.0 + percent / 100.0)).ceil() as u32,
            });
            let bound = match up.select {
                Select::Max => bounds.max(),
                Select::Min => bounds.min(),
                Select::Disabled => None,
            };
            return wanted.min(bound.unwrap_or(current).max(current));
        }
        let down = &self.spec.down;
        let bounds = down.policies.iter().map(|policy| match policy.limit {
            Limit::Replicas(count) => start(policy).saturating_sub(count),
            Limit::Percent(percent) => (f64::from(start(policy)) * (1.0 - percent / 100.0)) as u32,
        });
        let bound = match down.select {
            Select::Max => bounds.min(),
            Select::Min => bounds.max(),
            Select::Disabled => None,
        };
        wanted.max(bound.unwrap_or(current).min(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ThresholdSpec {
        ThresholdSpec {
            target: 10.0,
            tolerance: 0.1,
            interval: Time::from_s(15.0),
            min_replicas: 1,
            max_replicas: 50,
            up: Speed::up(),
            down: Speed::down(),
        }
    }

    fn s(seconds: f64) -> Time {
        Time::from_s(seconds)
    }

    /// Kubernetes' own example, 50 replicas at 90 of 75: 60. In the default policies' bounds.
    #[test]
    fn ratio_of_total_to_target() {
        let mut scaler = Threshold::new(ThresholdSpec { target: 75.0, max_replicas: 100, ..spec() });
        assert_eq!(scaler.decide(s(0.0), 50, 50.0 * 90.0).replicas, Some(60));
        // Within a tenth nothing changes: 82 / 75 is 1.093.
        let mut scaler = Threshold::new(ThresholdSpec { target: 75.0, ..spec() });
        assert_eq!(scaler.decide(s(0.0), 50, 50.0 * 82.0), Decision::stay("within tolerance"));
    }

    /// One replica may become max(1 + 4, 1 * 2) in 15 s, then max(5 + 4, 5 * 2) in the next 15 s.
    #[test]
    fn growth_is_limited_by_the_more_generous_policy() {
        let mut scaler = Threshold::new(spec());
        assert_eq!(scaler.decide(s(0.0), 1, 400.0).replicas, Some(5));
        // Within the period the start counts, not what was added since.
        assert_eq!(scaler.decide(s(5.0), 5, 400.0), Decision::stay("limited"));
        assert_eq!(scaler.decide(s(15.0), 5, 400.0).replicas, Some(10));
        assert_eq!(scaler.decide(s(30.0), 10, 400.0).replicas, Some(20));
        assert_eq!(scaler.decide(s(45.0), 20, 400.0).replicas, Some(40));
    }

    #[test]
    fn shrinking_waits_for_the_window() {
        let mut scaler = Threshold::new(spec());
        assert_eq!(scaler.decide(s(0.0), 4, 40.0), Decision::stay("within tolerance"));
        for at in 1..20 {
            assert_eq!(scaler.decide(s(f64::from(at) * 15.0), 4, 10.0), Decision::stay("stabilised"), "{at}");
        }
        // Five minutes after the last recommendation of four.
        assert_eq!(scaler.decide(s(300.0), 4, 10.0).replicas, Some(1));
    }

    #[test]
    fn the_slower_policy_and_none_at_all() {
        let period = s(60.0);
        let down = Speed {
            window: Time::ZERO,
            policies: vec![Policy { limit: Limit::Replicas(1), period }, Policy { limit: Limit::Percent(50.0), period }],
            select: Select::Min,
        };
        let mut scaler = Threshold::new(ThresholdSpec { down: down.clone(), ..spec() });
        assert_eq!(scaler.decide(s(0.0), 8, 10.0).replicas, Some(7));
        assert_eq!(scaler.decide(s(30.0), 7, 10.0).replicas, None);
        assert_eq!(scaler.decide(s(60.0), 7, 10.0).replicas, Some(6));
        let mut scaler = Threshold::new(ThresholdSpec { down: Speed { select: Select::Max, ..down.clone() }, ..spec() });
        assert_eq!(scaler.decide(s(0.0), 9, 10.0).replicas, Some(4));
        let mut scaler = Threshold::new(ThresholdSpec { down: Speed { select: Select::Disabled, ..down }, ..spec() });
        assert_eq!(scaler.decide(s(0.0), 9, 10.0).replicas, None);
    }

    #[test]
    fn bounds_hold() {
        let mut scaler = Threshold::new(ThresholdSpec {
            min_replicas: 2,
            max_replicas: 3,
            down: Speed { window: Time::ZERO, ..Speed::down() },
            ..spec()
        });
        assert_eq!(scaler.decide(s(0.0), 2, 1e9).replicas, Some(3));
        assert_eq!(scaler.decide(s(15.0), 3, 0.0).replicas, Some(2));
        assert_eq!(scaler.decide(s(30.0), 2, 0.0).replicas, None);
    }
}
