//! Ground floor: the units everything else counts in.
//!
//! Time is an integer number of picoseconds, so that k steps taken in one jump end on exactly the same
//! instant as k steps taken one by one. No floats may enter here except at the two conversions.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// Picoseconds in one second.
pub const PS_PER_S: u64 = 1_000_000_000_000;

/// An instant or a span of simulated time, in picoseconds. The largest value, [`Time::NEVER`], is after
/// every event (213 days), and additions saturate at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The start of every simulation.
    pub const ZERO: Time = Time(0);
    /// Later than anything that happens.
    pub const NEVER: Time = Time(u64::MAX);

    /// Rounds seconds to the nearest picosecond. Negative and NaN give zero, too large gives [`Time::NEVER`].
    pub fn from_s(seconds: f64) -> Time {
        // `as` saturates and maps NaN to zero, the same way on every target.
        Time((seconds * PS_PER_S as f64 + 0.5) as u64)
    }

    /// Rounds milliseconds to the nearest picosecond.
    pub fn from_ms(milliseconds: f64) -> Time {
        Time::from_s(milliseconds * 1e-3)
    }

    /// Rounds microseconds to the nearest picosecond.
    pub fn from_us(microseconds: f64) -> Time {
        Time::from_s(microseconds * 1e-6)
    }

    /// This time in seconds.
    pub fn as_s(self) -> f64 {
        self.0 as f64 / PS_PER_S as f64
    }

    /// This time in milliseconds.
    pub fn as_ms(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// `self - other`, or zero when `other` is later.
    pub fn since(self, other: Time) -> Time {
        Time(self.0.saturating_sub(other.0))
    }
}

impl Add for Time {
    type Output = Time;
    fn add(self, span: Time) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, span: Time) {
        *self = *self + span;
    }
}

impl Sub for Time {
    type Output = Time;
    /// # Panics
    /// In debug builds, when `other` is later: time does not go back.
    fn sub(self, other: Time) -> Time {
        debug_assert!(self >= other, "time went back: {self:?} - {other:?}");
        Time(self.0.saturating_sub(other.0))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ps", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_round_to_the_nearest_picosecond() {
        assert_eq!(Time::from_s(1.5), Time(1_500_000_000_000));
        assert_eq!(Time::from_ms(0.000_000_001_6), Time(2));
        assert_eq!(Time::from_us(3.0).as_ms(), 0.003);
    }

    #[test]
    fn impossible_times_saturate() {
        assert_eq!(Time::from_s(-1.0), Time::ZERO);
        assert_eq!(Time::from_s(f64::NAN), Time::ZERO);
        assert_eq!(Time::from_s(1e30), Time::NEVER);
        assert_eq!(Time::NEVER + Time(1), Time::NEVER);
    }
}
