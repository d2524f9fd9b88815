//! Time series on at most [`MOST_BINS`] bins: when the run outgrows them, bins double in width and neighbours merge.
//!
//! A bin holds what happens after its start and up to its end, the end included. Every bin's content depends only on
//! what happened and on the final width, so neither the order of replicas nor the length of step runs leaves a trace.

use super::ramp::Ramp;
use super::result::Series;
use crate::cost::EnergyRamp;
use crate::units::PS_PER_S;

/// Most bins of a series.
pub const MOST_BINS: usize = 1024;
/// Width of the first bins: 2^-10 s, a whole number of ps.
const FIRST_BIN_PS: u64 = PS_PER_S >> 10;

/// State of one replica between two scheduler decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub running: u32,
    pub waiting: u32,
    pub kv_blocks: u64,
}

/// A series under construction: all its columns have `MOST_BINS` entries.
#[derive(Clone, Debug)]
pub struct Timeline {
    series: Series,
    /// How often the bins have doubled.
    doublings: u32,
    /// The bin that was looked for last, and where it starts and ends.
    latest: usize,
    latest_from_ps: u64,
    latest_to_ps: u64,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline {
            series: Series {
                bin_ps: FIRST_BIN_PS,
                running: vec![0; MOST_BINS],
                waiting: vec![0; MOST_BINS],
                kv_blocks_used: vec![0; MOST_BINS],
                arrivals: vec![0; MOST_BINS],
                finished: vec![0; MOST_BINS],
                output_tokens: vec![0; MOST_BINS],
                prefill_tokens: vec![0; MOST_BINS],
                preemptions: vec![0; MOST_BINS],
                energy_fj: vec![0; MOST_BINS],
            },
            doublings: 0,
            latest: 0,
            latest_from_ps: 0,
            latest_to_ps: FIRST_BIN_PS,
        }
    }
}

/// What a run of steps adds to the series.
pub struct StepsTold<'a> {
    pub running: u32,
    pub waiting: u32,
    /// KV blocks in use after so many of the steps have been scheduled.
    pub kv_blocks_after: &'a dyn Fn(u64) -> u64,
    /// Tokens that come out at the end of each step, and prompt tokens computed in it.
    pub output_tokens: u64,
    pub prefill_tokens: u64,
    /// None where it is not counted.
    pub energy: Option<&'a EnergyRamp>,
}

impl Timeline {
    /// A run of steps, which ends at `end_ps` and takes `energy_fj` in all.
    pub fn steps(&mut self, ramp: &Ramp, end_ps: u64, told: &StepsTold<'_>, energy_fj: u128) {
        if self.lies_in_latest(ramp.start_ps, end_ps) || self.lies_in_one(ramp.start_ps, end_ps) {
            let bin = self.latest;
            self.series.output_tokens[bin] += ramp.steps * told.output_tokens;
            self.series.prefill_tokens[bin] += ramp.steps * told.prefill_tokens;
            self.series.energy_fj[bin] += energy_fj;
            return;
        }
        self.gauges(ramp, told.running, told.waiting, told.kv_blocks_after);
        self.tokens(ramp, told.output_tokens, told.prefill_tokens);
        if let Some(energy) = told.energy {
            self.energy(ramp, energy);
        }
    }

    /// Whether a span lies in the bin that was looked for last, without its ends.
    fn lies_in_latest(&self, from_ps: u64, to_ps: u64) -> bool {
        from_ps >= self.latest_from_ps && to_ps < self.latest_to_ps && from_ps < to_ps
    }

    /// Whether a span lies in one bin without its ends, which then is the one looked for last.
    fn lies_in_one(&mut self, from_ps: u64, to_ps: u64) -> bool {
        self.bin_of(to_ps);
        self.lies_in_latest(from_ps, to_ps)
    }

    pub fn arrival(&mut self, at_ps: u64) {
        let bin = self.bin_of(at_ps);
        self.series.arrivals[bin] += 1;
    }

    pub fn finish_of_request(&mut self, at_ps: u64) {
        let bin = self.bin_of(at_ps);
        self.series.finished[bin] += 1;
    }

    pub fn preemption(&mut self, at_ps: u64) {
        let bin = self.bin_of(at_ps);
        self.series.preemptions[bin] += 1;
    }

    /// Tokens that come out at the end of each step.
    fn tokens(&mut self, ramp: &Ramp, output_tokens: u64, prefill_tokens: u64) {
        let last = self.bin_of(ramp.end());
        let first = if ramp.steps == 1 { last } else { self.bin_of(ramp.end_of(1)) };
        let mut done = 0;
        for bin in first..last {
            let over = ramp.steps_by(self.end_of_bin(bin));
            self.series.output_tokens[bin] += (over - done) * output_tokens;
            self.series.prefill_tokens[bin] += (over - done) * prefill_tokens;
            done = over;
        }
        self.series.output_tokens[last] += (ramp.steps - done) * output_tokens;
        self.series.prefill_tokens[last] += (ramp.steps - done) * prefill_tokens;
    }

    /// Energy of a run of steps, spread evenly over each step. What a bin gets is the difference of two sums, so that neither merged
    /// bins nor the length of runs leave a trace.
    fn energy(&mut self, ramp: &Ramp, energy: &EnergyRamp) {
        let last = self.bin_of(ramp.end());
        let first = self.bin_of(ramp.start_ps + 1).min(last);
        let mut done = 0;
        for bin in first..last {
            let sum = energy_by(ramp, energy, self.end_of_bin(bin));
            self.series.energy_fj[bin] += sum - done;
            done = sum;
        }
        self.series.energy_fj[last] += energy.of_first(ramp.steps) - done;
    }

    /// Samples one replica at every bin end within the run of steps. `kv_blocks_after` is asked for steps scheduled so far.
    fn gauges(&mut self, ramp: &Ramp, running: u32, waiting: u32, kv_blocks_after: &dyn Fn(u64) -> u64) {
        // Makes room first: bins may double here.
        self.bin_of(ramp.end());
        for bin in self.whole_bins(ramp.start_ps)..self.whole_bins(ramp.end()) {
            let over = ramp.steps_by(self.end_of_bin(bin as usize) - 1);
            self.sample(bin as usize, Gauges { running, waiting, kv_blocks: kv_blocks_after(over + 1) });
        }
    }

    /// One replica stays as it is from `from_ps` to the end of the bin of `to_ps`.
    pub fn hold(&mut self, gauges: Gauges, from_ps: u64, to_ps: u64) {
        let last = self.bin_of(to_ps);
        for bin in self.whole_bins(from_ps) as usize..=last {
            self.sample(bin, gauges);
        }
    }

    /// The series, cut at the last bin in which anything was told, or at `end_ps`, whichever is later.
    pub fn finish(mut self, end_ps: u64) -> Series {
        let mut bins = if end_ps == 0 { 0 } else { self.bin_of(end_ps) + 1 };
        let s = &mut self.series;
        let told =
            |bin: usize| s.arrivals[bin] + s.finished[bin] + s.preemptions[bin] > 0 || s.output_tokens[bin] + s.prefill_tokens[bin] > 0;
        if let Some(last) = (bins..MOST_BINS).rev().find(|&bin| told(bin)) {
            bins = last + 1;
        }
        for column in [&mut s.running, &mut s.waiting, &mut s.arrivals, &mut s.finished, &mut s.preemptions] {
            column.truncate(bins);
        }
        for column in [&mut s.kv_blocks_used, &mut s.output_tokens, &mut s.prefill_tokens] {
            column.truncate(bins);
        }
        s.energy_fj.truncate(bins);
        self.series
    }

    fn sample(&mut self, bin: usize, gauges: Gauges) {
        self.series.running[bin] += gauges.running;
        self.series.waiting[bin] += gauges.waiting;
        self.series.kv_blocks_used[bin] += gauges.kv_blocks;
    }

    fn end_of_bin(&self, bin: usize) -> u64 {
        (bin as u64 + 1).saturating_mul(self.series.bin_ps)
    }

    /// Bins that are over at an instant. A shift and a division by a constant, since bins only ever double.
    fn whole_bins(&self, at_ps: u64) -> u64 {
        (at_ps >> self.doublings) / FIRST_BIN_PS
    }

    /// The bin of an instant, after making room for it.
    fn bin_of(&mut self, at_ps: u64) -> usize {
        if self.latest_from_ps < at_ps && at_ps <= self.latest_to_ps {
            return self.latest;
        }
        self.find_bin(at_ps)
    }

    #[inline(never)]
    fn find_bin(&mut self, at_ps: u64) -> usize {
        loop {
            let bin = self.whole_bins(at_ps.saturating_sub(1));
            if bin < MOST_BINS as u64 {
                self.latest = bin as usize;
                self.latest_from_ps = bin * self.series.bin_ps;
                self.latest_to_ps = self.end_of_bin(self.latest);
                return self.latest;
            }
            self.double();
        }
    }

    fn double(&mut self) {
        let s = &mut self.series;
        s.bin_ps *= 2;
        self.doublings += 1;
        for column in [&mut s.arrivals, &mut s.finished, &mut s.preemptions] {
            merge(column, |earlier, later| earlier + later);
        }
        for column in [&mut s.output_tokens, &mut s.prefill_tokens] {
            merge(column, |earlier, later| earlier + later);
        }
        for column in [&mut s.running, &mut s.waiting] {
            merge(column, |_, later| later);
        }
        merge(&mut s.energy_fj, |earlier, later| earlier + later);
        merge(&mut s.kv_blocks_used, |_, later| later);
    }
}

/// Energy that the run of steps has taken at an instant.
fn energy_by(ramp: &Ramp, energy: &EnergyRamp, at_ps: u64) -> u128 {
    let over = ramp.steps_by(at_ps);
    let whole = energy.of_first(over);
    if over >= ramp.steps {
        return whole;
    }
    let (start, end) = (ramp.end_of(over), ramp.end_of(over + 1));
    let part = u128::from(at_ps.saturating_sub(start));
    whole + energy.of_step(over).saturating_mul(part) / u128::from((end - start).max(1))
}

/// Two neighbours become one; the second half is empty again.
fn merge<T: Copy + Default>(column: &mut [T], of: impl Fn(T, T) -> T) {
    let half = column.len() / 2;
    for i in 0..half {
        column[i] = of(column[2 * i], column[2 * i + 1]);
    }
    column[half..].fill(T::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_double_until_the_horizon_fits() {
        let mut timeline = Timeline::default();
        timeline.arrival(0);
        timeline.arrival(FIRST_BIN_PS);
        timeline.arrival(FIRST_BIN_PS + 1);
        timeline.arrival(PS_PER_S);
        assert_eq!(timeline.series.bin_ps, FIRST_BIN_PS);
        assert_eq!(timeline.series.arrivals[..3], [2, 1, 0]);
        timeline.arrival(PS_PER_S + 1);
        assert_eq!(timeline.series.bin_ps, 2 * FIRST_BIN_PS);
        timeline.arrival(600 * PS_PER_S);
        let series = timeline.finish(600 * PS_PER_S);
        assert_eq!(series.bin_ps, PS_PER_S);
        assert_eq!(series.arrivals.len(), 600);
        assert_eq!((series.arrivals[0], series.arrivals[1], series.arrivals[599]), (4, 1, 1));
    }

    #[test]
    fn a_gauge_is_the_state_just_before_the_end_of_its_bin() {
        let mut timeline = Timeline::default();
        let step = FIRST_BIN_PS / 2;
        // Steps end at 0.5, 1, 1.5, 2, 2.5 bins; the second ends exactly with bin 0, the fourth with bin 1.
        let ramp = Ramp { start_ps: 0, first_ps: step, increment_ps: 0, steps: 5 };
        timeline.gauges(&ramp, 3, 1, &|scheduled| 100 + scheduled);
        timeline.tokens(&ramp, 3, 0);
        let series = timeline.finish(5 * step);
        assert_eq!(series.kv_blocks_used, [102, 104, 0]);
        assert_eq!(series.running, [3, 3, 0]);
        assert_eq!(series.output_tokens, [6, 6, 3]);
    }

    #[test]
    fn a_gauge_keeps_the_later_sample_when_bins_merge() {
        let mut timeline = Timeline::default();
        timeline.hold(Gauges { running: 1, ..Gauges::default() }, 0, FIRST_BIN_PS);
        timeline.hold(Gauges { running: 7, ..Gauges::default() }, FIRST_BIN_PS, 2 * FIRST_BIN_PS);
        timeline.arrival(2 * PS_PER_S);
        assert_eq!(timeline.series.running[0], 7);
    }
}
