//! Mean, spread and percentiles of a set of numbers.

use serde_json::{Map, Value, json};

use super::histogram::Histogram;

/// Percentiles reported when none are asked for.
pub const PERCENTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

const MS_PER_PS: f64 = 1e-9;

/// `p50`, `p99`, `p99.9`: the percentile's name in the summary. Unlike the original's, no two fractions share one.
pub fn percentile_name(fraction: f64) -> String {
    // Ten digits hide that 0.29 * 100 is 28.999999999999996.
    let digits = format!("{:.10}", fraction * 100.0);
    format!("p{}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// `{count, mean, std (population), min, max, p50, …}`, or `{count: 0}`.
///
/// Reorders the values.
pub fn describe(values: &mut [f64], percentiles: &[f64]) -> Value {
    let mut object = Map::new();
    object.insert("count".into(), json!(values.len()));
    if values.is_empty() {
        return Value::Object(object);
    }
    let count = values.len() as f64;
    let mean = in_lanes(values, 0.0, |sum, value| sum + value).into_iter().sum::<f64>() / count;
    let squares = in_lanes(values, 0.0, |sum, value| sum + (value - mean) * (value - mean));
    let variance = squares.into_iter().sum::<f64>() / count;
    let min = in_lanes(values, f64::INFINITY, |min, value| if value < min { value } else { min }).into_iter().fold(f64::INFINITY, f64::min);
    let max = in_lanes(values, f64::NEG_INFINITY, |max, value| if value > max { value } else { max });
    let max = max.into_iter().fold(f64::NEG_INFINITY, f64::max);
    object.insert("mean".into(), json!(mean));
    object.insert("std".into(), json!(crate::math::sqrt(variance)));
    object.insert("min".into(), json!(min));
    object.insert("max".into(), json!(max));
    for (fraction, value) in percentiles.iter().zip(quantiles(values, percentiles)) {
        object.insert(percentile_name(*fraction), json!(value));
    }
    Value::Object(object)
}

/// Folds every eighth value together, from each of the first eight on: an order as fixed as any, and eight times as fast as one
/// long chain of additions.
fn in_lanes(values: &[f64], start: f64, fold: impl Fn(f64, f64) -> f64) -> [f64; 8] {
    let mut lanes = [start; 8];
    let (rows, rest) = values.as_chunks::<8>();
    for row in rows {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane = fold(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = fold(*lane, *value);
    }
    lanes
}

/// The same of a histogram of ps, in ms. Percentiles are within 1/256 of the exact ones, the rest is exact.
pub fn describe_histogram_ms(histogram: &Histogram, percentiles: &[f64]) -> Value {
    let mut object = Map::new();
    object.insert("count".into(), json!(histogram.count()));
    let exact = [
        ("mean", histogram.mean()),
        ("std", histogram.standard_deviation()),
        ("min", histogram.smallest().map(|ps| ps as f64)),
        ("max", histogram.largest().map(|ps| ps as f64)),
    ];
    for (key, value) in exact {
        if let Some(ps) = value {
            object.insert(key.into(), json!(ps * MS_PER_PS));
        }
    }
    for &fraction in percentiles {
        if let Some(ps) = histogram.quantile(fraction) {
            object.insert(percentile_name(fraction), json!(ps * MS_PER_PS));
        }
    }
    Value::Object(object)
}

/// Quantiles of a non-empty slice, interpolated linearly between ranks (numpy's default). Reorders the slice: selection is cheaper than
/// sorting, and a larger one is looked for only among what lies above a smaller one.
pub fn quantiles(values: &mut [f64], fractions: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..fractions.len()).collect();
    crate::order::sort_by(&mut order, |&a, &b| fractions[a].total_cmp(&fractions[b]));
    let mut found = vec![0.0; fractions.len()];
    let mut smaller = 0;
    for place in order {
        (smaller, found[place]) = quantile_above(values, smaller, fractions[place]);
    }
    found
}

/// The quantile's rank, rounded down, and its value, when all values before `smaller` are no greater than those from there on.
fn quantile_above(values: &mut [f64], smaller: usize, fraction: f64) -> (usize, f64) {
    let rank = fraction.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let below = rank as usize;
    let (_, &mut low, above) = values[smaller..].select_nth_unstable_by(below - smaller, f64::total_cmp);
    let weight = rank - below as f64;
    if weight == 0.0 {
        return (below, low);
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    (below, low + (high - low) * weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(values: &mut [f64], fraction: f64) -> f64 {
        quantiles(values, &[fraction])[0]
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.percentile([1, 2, 4, 8, 16], [0, 25, 50, 90, 99, 100])
        let values = [16.0, 1.0, 8.0, 2.0, 4.0];
        for (fraction, expected) in [(0.0, 1.0), (0.25, 2.0), (0.5, 4.0), (0.9, 12.8), (0.99, 15.68), (1.0, 16.0)] {
            assert!((quantile(&mut values.clone(), fraction) - expected).abs() < 1e-12);
        }
        assert_eq!(quantile(&mut [3.0], 0.99), 3.0);
    }

    #[test]
    fn many_quantiles_are_those_found_one_by_one() {
        let mut stream = crate::rng::Stream::new(5, crate::rng::Purpose::Routing, 0);
        for count in [1, 2, 3, 10, 1000] {
            let values: Vec<f64> = (0..count).map(|_| stream.below(count) as f64).collect();
            let fractions = [0.99, 0.5, 0.0, 0.501, 0.9, 1.0, 0.5];
            let one_by_one = fractions.map(|fraction| quantile(&mut values.clone(), fraction));
            assert_eq!(quantiles(&mut values.clone(), &fractions), one_by_one);
        }
    }

    #[test]
    fn percentiles_have_names_of_their_own() {
        let names: Vec<String> = [0.5, 0.29, 0.99, 0.999, 0.9999, 1.0, 0.0].into_iter().map(percentile_name).collect();
        assert_eq!(names, ["p50", "p29", "p99", "p99.9", "p99.99", "p100", "p0"]);
    }

    #[test]
    fn the_spread_is_the_populations() {
        let described = describe(&mut [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], &PERCENTILES);
        assert_eq!(described["mean"], 5.0);
        assert_eq!(described["std"], 2.0);
        assert_eq!(described["p50"], 4.5);
        assert_eq!(describe(&mut [], &PERCENTILES), json!({"count": 0}));
    }
}
