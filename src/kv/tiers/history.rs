//! How full a tier was over time: a sample at the end of each bin, on at most [`MOST_BINS`] bins that double in width when a run outgrows them.

use crate::units::{PS_PER_S, Time};

const MOST_BINS: usize = 512;
/// Width of the first bins, as of the series of a run: 2^-10 s.
const FIRST_BIN_PS: u64 = PS_PER_S >> 10;

/// Chunks held. What is remembered depends on when they came and went alone, not on how often somebody looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    doublings: u32,
    /// By bin, at its end, up to the latest change.
    held: Vec<u64>,
    /// Since then.
    now: u64,
}

impl History {
    fn bin_ps(&self) -> u64 {
        FIRST_BIN_PS << self.doublings
    }

    /// From `at` on `held` chunks are here. Changes at the very end of a bin are in its sample.
    pub fn change(&mut self, at: Time, held: u64) {
        if held == self.now {
            return;
        }
        let over = |history: &History| at.0.saturating_sub(1) / history.bin_ps();
        while over(self) > MOST_BINS as u64 {
            let pairs = self.held.len() / 2;
            for pair in 0..pairs {
                self.held[pair] = self.held[2 * pair + 1];
            }
            self.held.truncate(pairs);
            self.doublings += 1;
        }
        let over = over(self) as usize;
        if self.held.len() < over {
            self.held.resize(over, self.now);
        }
        self.now = held;
    }

    /// Chunks at an instant, or at the end of the bin it is in.
    pub fn at(&self, at_ps: u64) -> u64 {
        let bin = at_ps.saturating_sub(1) / self.bin_ps();
        usize::try_from(bin).ok().and_then(|bin| self.held.get(bin)).copied().unwrap_or(self.now)
    }

    /// Everything that is remembered, for a hash.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        [u64::from(self.doublings), self.now].into_iter().chain(self.held.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIN: u64 = FIRST_BIN_PS;

    #[test]
    fn samples_are_those_of_the_ends_of_bins() {
        let mut history = History::default();
        // Three come in the middle of the first bin, two more at its very end, and two of five go in the fourth.
        history.change(Time(BIN / 2), 3);
        history.change(Time(BIN), 5);
        history.change(Time(3 * BIN + 1), 3);
        assert_eq!([BIN / 3, BIN, BIN + 1, 3 * BIN].map(|at| history.at(at)), [5; 4]);
        assert_eq!([3 * BIN + 1, 4 * BIN, 99 * BIN].map(|at| history.at(at)), [3; 3]);
    }

    #[test]
    fn wider_bins_keep_the_later_sample_and_looking_without_a_change_leaves_no_trace() {
        let held = |at: u64| at / (7 * BIN) * 7;
        let end = 3 * MOST_BINS as u64 * BIN;
        let (mut often, mut seldom) = (History::default(), History::default());
        for at in (0..=end).step_by(BIN as usize / 4) {
            often.change(Time(at), held(at));
        }
        for at in (0..=end).step_by(7 * BIN as usize) {
            seldom.change(Time(at), held(at));
        }
        assert_eq!(often, seldom);
        assert_eq!(often.bin_ps(), 4 * BIN);
        for bin in 1..often.held.len() as u64 {
            assert_eq!(often.at(bin * 4 * BIN), held(bin * 4 * BIN), "at the end of bin {bin}");
        }
    }
}
