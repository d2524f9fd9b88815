//! Reduces columns of any length to what the pixels can show.

use std::borrow::Cow;

use super::pen::Point;

/// The points of a line, at most four for every pixel column: its first, least, greatest and last value. A line through
/// these covers the same pixels as one through all (M4: Jugel et al., VLDB 2014).
///
/// `x_at(i)` ascends; `edges_px` are pixel columns' edges in index space: `columns[c]` is the first point at or right of
/// edge c. NaN values end a piece of the line.
pub fn columns_of_line(values: &[f64], columns: &[usize], x_at: &dyn Fn(usize) -> f64) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = vec![Vec::new()];
    let mut push = |index: usize| {
        let value = values[index];
        if value.is_nan() {
            if pieces.last().is_some_and(|piece| !piece.is_empty()) {
                pieces.push(Vec::new());
            }
        } else if let Some(piece) = pieces.last_mut() {
            piece.push((x_at(index), value));
        }
    };
    for pair in columns.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        if end - start <= 4 {
            (start..end).for_each(&mut push);
            continue;
        }
        let (mut least, mut greatest, mut gap) = (start, start, None);
        for index in start..end {
            let value = values[index];
            // A NaN loses every comparison, so a NaN at `start` has to give way explicitly.
            if value < values[least] || values[least].is_nan() {
                least = index;
            }
            if value > values[greatest] || values[greatest].is_nan() {
                greatest = index;
            }
            if value.is_nan() {
                gap = Some(index);
            }
        }
        let mut kept = [start, least, greatest, end - 1, gap.unwrap_or(start)];
        kept.sort_unstable();
        let mut before = None;
        for index in kept {
            if before != Some(index) {
                push(index);
            }
            before = Some(index);
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Values ascending without NaN: borrowed when they are so already.
pub fn ascending(values: &[f64]) -> Cow<'_, [f64]> {
    // NaN compares false, so a NaN anywhere but alone fails the test.
    let sorted = values.windows(2).all(|pair| pair[0] <= pair[1]);
    if sorted && !values.first().is_some_and(|v| v.is_nan()) {
        return Cow::Borrowed(values);
    }
    let mut copy: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    copy.sort_unstable_by(f64::total_cmp);
    Cow::Owned(copy)
}

/// The `share` quantile of ascending values, linear between neighbours (numpy's default; Hyndman and Fan's type 7).
pub fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let rank = share * last as f64;
    let below = rank as usize;
    let (low, high) = (ascending[below], ascending[(below + 1).min(last)]);
    Some(low + (high - low) * (rank - below as f64))
}

/// For each pixel column of a row, how much of it intervals cover, summed over intervals: two may make 2.
pub struct Coverage {
    /// Change of the covered amount from column to column.
    steps: Vec<f64>,
}

impl Coverage {
    pub fn new(columns: usize) -> Coverage {
        Coverage { steps: vec![0.0; columns + 2] }
    }

    /// Adds an interval, in columns from the left edge.
    pub fn add(&mut self, from: f64, to: f64) {
        let end = (self.steps.len() - 2) as f64;
        let (from, to) = (from.clamp(0.0, end), to.clamp(0.0, end));
        if from < to {
            self.edge(from, 1.0);
            self.edge(to, -1.0);
        }
    }

    /// From `at` on, each column is covered by `amount` more: the column that holds `at` by the part right of it.
    fn edge(&mut self, at: f64, amount: f64) {
        let column = at as usize;
        let part = at - column as f64;
        self.steps[column] += amount * (1.0 - part);
        self.steps[column + 1] += amount * part;
    }

    /// Hands out the amounts, column by column, and starts anew.
    pub fn take(&mut self) -> Vec<f64> {
        let mut sum = 0.0;
        let columns = self.steps.len() - 2;
        let amounts = self.steps[..columns]
            .iter()
            .map(|step| {
                sum += step;
                sum
            })
            .collect();
        self.steps.fill(0.0);
        amounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 3, 4], [0, .5, .9, .99, 1])
        let values = [1.0, 2.0, 3.0, 4.0];
        for (share, expected) in [(0.0, 1.0), (0.5, 2.5), (0.9, 3.7), (0.99, 3.97), (1.0, 4.0)] {
            assert!((quantile(&values, share).unwrap() - expected).abs() < 1e-12);
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn sorting_leaves_nan_out() {
        assert_eq!(*ascending(&[3.0, f64::NAN, 1.0]), [1.0, 3.0]);
        assert!(ascending(&[f64::NAN]).is_empty());
        assert!(matches!(ascending(&[1.0, 1.0, 2.0]), Cow::Borrowed(_)));
    }

    #[test]
    fn coverage_counts_parts_of_columns() {
        let mut coverage = Coverage::new(4);
        coverage.add(0.5, 2.25);
        coverage.add(2.0, 3.0);
        coverage.add(-5.0, -1.0);
        coverage.add(3.5, 99.0);
        assert_eq!(coverage.take(), [0.5, 1.0, 1.25, 0.5]);
        assert_eq!(coverage.take(), [0.0; 4]);
    }

    #[test]
    fn a_gap_within_a_column_still_breaks_the_line() {
        let mut values = vec![1.0; 20];
        values[7] = f64::NAN;
        let pieces = columns_of_line(&values, &[0, 20], &|i| i as f64);
        assert_eq!(pieces.len(), 2);
    }

    proptest! {
        /// Peaks and ends of every column survive; nothing is invented.
        #[test]
        fn a_binned_line_keeps_the_extremes(values in prop::collection::vec(-1e3..1e3, 1..400), width in 1usize..20) {
            let columns: Vec<usize> = (0..=width).map(|c| c * values.len() / width).collect();
            let kept: Vec<Point> = columns_of_line(&values, &columns, &|i| i as f64).concat();
            prop_assert!(kept.len() <= 4 * width);
            prop_assert!(kept.iter().all(|(x, y)| values[*x as usize] == *y));
            for pair in columns.windows(2).filter(|pair| pair[0] < pair[1]) {
                let of = |points: &mut dyn Iterator<Item = f64>| points.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
                let all = of(&mut values[pair[0]..pair[1]].iter().copied());
                let drawn = of(&mut kept.iter().filter(|(x, _)| (pair[0]..pair[1]).contains(&(*x as usize))).map(|(_, y)| *y));
                prop_assert_eq!(all, drawn);
            }
        }
    }
}
