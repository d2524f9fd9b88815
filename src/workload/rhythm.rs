//! Rates that change with the time of day: the clock of arrivals runs faster where the rate is higher.
//!
//! Arrivals are drawn at their mean rate on a clock of their own, and that clock's time is the integral of the factor. So a Poisson process
//! becomes the inhomogeneous one with that rate, and the draws, lengths and order stay those of a constant rate.

use crate::math;
use crate::units::Time;

/// A factor on the rate that changes linearly from point to point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rhythm {
    /// Time, factor and integral of the factor up to there, s.
    points: Vec<(f64, f64, f64)>,
    /// Repeats after so long; none: the last factor stays.
    period_s: Option<f64>,
}

impl Rhythm {
    /// Points in order of time, the first at 0 (two at one time are a step); with a period, the last at its end or before.
    pub fn new(given: &[(f64, f64)], period_s: Option<f64>) -> Rhythm {
        let mut all = given.to_vec();
        if let (Some(period_s), Some(&(last, _)), Some(&(_, first))) = (period_s, all.last(), all.first())
            && last < period_s
        {
            all.push((period_s, first));
        }
        let mut points: Vec<(f64, f64, f64)> = Vec::with_capacity(all.len());
        for (at, factor) in all {
            let area = points.last().map_or(0.0, |&(before, start, area)| area + (at - before) * (start + factor) / 2.0);
            points.push((at, factor, area));
        }
        Rhythm { points, period_s }
    }

    /// When the arrivals' clock shows this.
    pub fn when(&self, shown: Time) -> Time {
        if shown == Time::NEVER {
            return Time::NEVER;
        }
        let Some(&(end, last, area)) = self.points.last() else { return shown };
        let mut left = shown.as_s();
        let mut from = 0.0;
        if let Some(period_s) = self.period_s {
            if area <= 0.0 {
                return Time::NEVER;
            }
            let rounds = (left / area).floor();
            from = rounds * period_s;
            left -= rounds * area;
        } else if left > area {
            return if last > 0.0 { Time::from_s(end + (left - area) / last) } else { Time::NEVER };
        }
        let next = self.points.partition_point(|&(_, _, area)| area < left).clamp(1, self.points.len().max(2) - 1);
        let (Some(&(start, low, before)), Some(&(stop, high, _))) = (self.points.get(next - 1), self.points.get(next)) else {
            return Time::from_s(from + if last > 0.0 { left / last } else { 0.0 });
        };
        let rest = (left - before).max(0.0);
        let slope = if stop > start { (high - low) / (stop - start) } else { 0.0 };
        let root = math::sqrt((low * low + 2.0 * slope * rest).max(0.0));
        let within = if low + root > 0.0 { 2.0 * rest / (low + root) } else { 0.0 };
        Time::from_s(from + start + within.min(stop - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rhythm: &Rhythm, shown_s: f64) -> f64 {
        rhythm.when(Time::from_s(shown_s)).as_s()
    }

    #[test]
    fn a_step_and_a_ramp_by_hand() {
        // 1 until 10 s, then 3 from 10 s on: a step.
        let step = Rhythm::new(&[(0.0, 1.0), (10.0, 1.0), (10.0, 3.0)], None);
        assert!((at(&step, 5.0) - 5.0).abs() < 1e-9);
        assert!((at(&step, 10.0 + 6.0) - 12.0).abs() < 1e-6);
        // From 0 to 2 in 10 s: the integral is t²/10.
        let ramp = Rhythm::new(&[(0.0, 0.0), (10.0, 2.0)], None);
        assert!((at(&ramp, 2.5) - 5.0).abs() < 1e-9);
        assert!((at(&ramp, 12.0) - 11.0).abs() < 1e-9);
        assert_eq!(Rhythm::new(&[(0.0, 1.0), (5.0, 0.0)], None).when(Time::from_s(3.0)), Time::NEVER);
    }

    /// A day of 100 s: from 0.5 up to 1.5 and back, mean 1.
    #[test]
    fn days_repeat() {
        let day = Rhythm::new(&[(0.0, 0.5), (50.0, 1.5)], Some(100.0));
        assert!((at(&day, 50.0) - 50.0).abs() < 1e-9);
        assert!((at(&day, 1250.0) - 1250.0).abs() < 1e-6);
        // 0.5 x + x²/100 = 21.25 at 27.4 s.
        let x = at(&day, 721.25) - 700.0;
        assert!((0.5 * x + x * x / 100.0 - 21.25).abs() < 1e-9, "{x}");
        let mut last = Time::ZERO;
        for i in 1..3000 {
            let next = day.when(Time::from_s(f64::from(i) * 0.37));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn one_point_is_a_constant_rate() {
        assert!((at(&Rhythm::new(&[(0.0, 4.0)], None), 8.0) - 2.0).abs() < 1e-9);
        assert!((at(&Rhythm::new(&[(0.0, 4.0)], Some(3.0)), 14.0) - 3.5).abs() < 1e-9);
    }
}
