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
pub fn describe(mut values: Vec<f64>, percentiles: &[f64]) -> Value {
    let mut object = Map::new();
    object.insert("count".into(), json!(values.len()));
    if values.is_empty() {
        return Value::Object(object);
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    let (min, max) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &value| (min.min(value), max.max(value)));
    object.insert("mean".into(), json!(mean));
    object.insert("std".into(), json!(crate::math::sqrt(variance)));
    object.insert("min".into(), json!(min));
    object.insert("max".into(), json!(max));
    for &fraction in percentiles {
        object.insert(percentile_name(fraction), json!(quantile(&mut values, fraction)));
    }
    Value::Object(object)
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

/// The quantile `fraction` of a non-empty slice, interpolated linearly between ranks (numpy's default). Reorders the slice:
/// selection is cheaper than sorting.
pub fn quantile(values: &mut [f64], fraction: f64) -> f64 {
    let rank = fraction.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let below = rank as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let weight = rank - below as f64;
    if weight == 0.0 {
        return low;
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    low + (high - low) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn percentiles_have_names_of_their_own() {
        let names: Vec<String> = [0.5, 0.29, 0.99, 0.999, 0.9999, 1.0, 0.0].into_iter().map(percentile_name).collect();
        assert_eq!(names, ["p50", "p29", "p99", "p99.9", "p99.99", "p100", "p0"]);
    }

    #[test]
    fn the_spread_is_the_populations() {
        let described = describe(vec![2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], &PERCENTILES);
        assert_eq!(described["mean"], 5.0);
        assert_eq!(described["std"], 2.0);
        assert_eq!(described["p50"], 4.5);
        assert_eq!(describe(Vec::new(), &PERCENTILES), json!({"count": 0}));
    }
}
