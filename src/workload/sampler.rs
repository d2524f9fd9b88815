//! What a document's `Distribution` means, resolved once into a [`Sampler`] that draws from it.
//!
//! Parameters, defaults and edge cases are those of the original project's documents, except that nothing is guessed: a parameter
//! that the distribution cannot have is an error here, not a 1.0 later. The elementary draws live in `crate::rng`.

use crate::config::LARGEST_LOG_MEAN;
use crate::config::schema::{Distribution, DistributionKind, LogNormalSpace};
use crate::math;
use crate::rng::Stream;

/// Largest length of a prompt, an output or a shared prefix, tokens. Longer draws count as this, and are counted.
pub const MAX_TOKENS: u32 = 10_000_000;

/// A distribution made ready to draw from. A constant draws no random number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    law: Law,
    /// Round half to even, then at least 1.
    whole: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Law {
    Constant(f64),
    Exponential {
        mean: f64,
    },
    Uniform {
        low: f64,
        width: f64,
    },
    /// Cut at zero.
    Normal {
        mean: f64,
        sigma: f64,
    },
    /// `mu` and `sigma` of the logarithm.
    LogNormal {
        mu: f64,
        sigma: f64,
    },
    /// On [scale, infinity).
    Pareto {
        inverse_shape: f64,
        scale: f64,
    },
    Weibull {
        inverse_shape: f64,
        scale: f64,
    },
    Gamma {
        shape: f64,
        scale: f64,
    },
    /// Cumulative weights, the last one 1, and the parts.
    Mixture {
        cumulative: Box<[f64]>,
        parts: Box<[Sampler]>,
    },
    /// Values at rising probabilities from 0 to 1; `None`: evenly spaced ones.
    Quantiles {
        values: Box<[f64]>,
        probabilities: Option<Box<[f64]>>,
    },
}

impl Sampler {
    /// Resolves a distribution, or says in words which parameter it cannot have.
    pub fn new(distribution: &Distribution) -> Result<Sampler, String> {
        let d = distribution;
        let law = match d.kind.unwrap_or(DistributionKind::Constant) {
            DistributionKind::Constant | DistributionKind::Fixed => Law::Constant(finite("value", d.value.unwrap_or(1.0))?),
            DistributionKind::Exponential => Law::Exponential { mean: 1.0 / positive("rate", d.rate.unwrap_or(1.0))? },
            DistributionKind::Uniform => {
                let (low, high) = (finite("low", d.low.unwrap_or(0.0))?, finite("high", d.high.unwrap_or(1.0))?);
                if high < low {
                    return Err(format!("high ({high}) is below low ({low})"));
                }
                if high == low { Law::Constant(low) } else { Law::Uniform { low, width: high - low } }
            }
            DistributionKind::Normal => {
                let mean = finite("mean", d.mean.unwrap_or(0.0))?;
                let sigma = not_negative("std", d.std.or(d.sigma).unwrap_or(1.0))?;
                if sigma == 0.0 { Law::Constant(mean.max(0.0)) } else { Law::Normal { mean, sigma } }
            }
            DistributionKind::LogNormal => log_normal(d)?,
            DistributionKind::Pareto => Law::Pareto { inverse_shape: 1.0 / shape(d, 1.0)?, scale: scale(d)? },
            DistributionKind::Weibull => Law::Weibull { inverse_shape: 1.0 / shape(d, 1.0)?, scale: scale(d)? },
            DistributionKind::Gamma => Law::Gamma { shape: shape(d, 2.0)?, scale: scale(d)? },
            DistributionKind::Mixture => mixture(d)?,
            DistributionKind::Quantiles => quantiles(d)?,
        };
        let mut sampler = Sampler { law, whole: d.is_int.unwrap_or(false) };
        if let Some(value) = sampler.constant() {
            sampler = Sampler { law: Law::Constant(value), whole: false };
        }
        Ok(sampler)
    }

    /// The constant of this value.
    pub fn fixed(value: f64) -> Sampler {
        Sampler { law: Law::Constant(value), whole: false }
    }

    /// The one value it ever gives, if there is only one.
    pub fn constant(&self) -> Option<f64> {
        match self.law {
            Law::Constant(value) => Some(self.finish(value)),
            _ => None,
        }
    }

    /// The next value. May be any finite number, or infinite where a heavy tail exceeds the range of floats.
    pub fn sample(&self, stream: &mut Stream) -> f64 {
        let value = match &self.law {
            Law::Constant(value) => *value,
            Law::Exponential { mean } => mean * stream.exponential(),
            Law::Uniform { low, width } => low + width * stream.uniform(),
            Law::Normal { mean, sigma } => (mean + sigma * stream.normal()).max(0.0),
            Law::LogNormal { mu, sigma } => math::exp(mu + sigma * stream.normal()),
            Law::Pareto { inverse_shape, scale } => scale * math::exp(inverse_shape * stream.exponential()),
            Law::Weibull { inverse_shape, scale } => scale * math::pow(stream.exponential(), *inverse_shape),
            Law::Gamma { shape, scale } => scale * stream.gamma(*shape),
            Law::Mixture { cumulative, parts } => {
                let u = stream.uniform();
                let chosen = cumulative.partition_point(|&below| below <= u);
                // The last cumulative weight is 1, above every u.
                parts.get(chosen).map_or(1.0, |part| part.sample(stream))
            }
            Law::Quantiles { values, probabilities } => interpolate(values, probabilities.as_deref(), stream.uniform()),
        };
        self.finish(value)
    }

    /// The next length, in whole tokens: round half to even, at least 1, at most [`MAX_TOKENS`], which adds one to `clamped`.
    #[inline]
    pub fn sample_tokens(&self, stream: &mut Stream, clamped: &mut u64) -> u32 {
        if let Law::Constant(value) = self.law
            && let whole @ 1..=MAX_TOKENS = value as u32
            && f64::from(whole) == value
        {
            return whole;
        }
        let value = self.sample(stream).round_ties_even();
        if value > f64::from(MAX_TOKENS) {
            *clamped += 1;
        }
        // `as` maps negative numbers to zero.
        (value as u32).clamp(1, MAX_TOKENS)
    }

    /// Expected value before rounding; infinite where the distribution has none.
    pub fn mean(&self) -> f64 {
        match &self.law {
            Law::Constant(value) => *value,
            Law::Exponential { mean } => *mean,
            Law::Uniform { low, width } => low + 0.5 * width,
            Law::Normal { mean, sigma } => {
                let z = mean / sigma;
                let density = math::exp(-0.5 * z * z) / math::sqrt(2.0 * std::f64::consts::PI);
                mean * 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2) + sigma * density
            }
            Law::LogNormal { mu, sigma } => math::exp(mu + 0.5 * sigma * sigma),
            Law::Pareto { inverse_shape, scale } => {
                if *inverse_shape < 1.0 {
                    scale / (1.0 - inverse_shape)
                } else {
                    f64::INFINITY
                }
            }
            Law::Weibull { inverse_shape, scale } => scale * math::exp(math::lgamma(1.0 + inverse_shape)),
            Law::Gamma { shape, scale } => shape * scale,
            Law::Mixture { cumulative, parts } => {
                let mut below = 0.0;
                let mut mean = 0.0;
                for (&up_to, part) in cumulative.iter().zip(parts) {
                    if up_to > below {
                        mean += (up_to - below) * part.mean();
                    }
                    below = up_to;
                }
                mean
            }
            Law::Quantiles { values, probabilities } => {
                let step = 1.0 / (values.len() - 1) as f64;
                let width = |i: usize| probabilities.as_ref().map_or(step, |p| p[i + 1] - p[i]);
                values.windows(2).enumerate().map(|(i, pair)| width(i) * 0.5 * (pair[0] + pair[1])).sum()
            }
        }
    }

    /// Lower end of the values it can give, before rounding.
    pub fn minimum(&self) -> f64 {
        match &self.law {
            Law::Constant(value) => *value,
            Law::Uniform { low, .. } => *low,
            Law::Pareto { scale, .. } => *scale,
            Law::Mixture { parts, .. } => parts.iter().map(Sampler::minimum).fold(f64::INFINITY, f64::min),
            Law::Quantiles { values, .. } => values[0],
            Law::Exponential { .. } | Law::Normal { .. } | Law::LogNormal { .. } | Law::Weibull { .. } | Law::Gamma { .. } => 0.0,
        }
    }

    fn finish(&self, value: f64) -> f64 {
        if self.whole { value.round_ties_even().max(1.0) } else { value }
    }
}

/// Which space a LogNormal's `mean` and `sigma` are in, and whether that had to be told from the size of `mean`.
pub fn log_normal_space(distribution: &Distribution) -> (LogNormalSpace, bool) {
    match distribution.space {
        Some(space) => (space, false),
        None if distribution.mean.unwrap_or(0.0) > LARGEST_LOG_MEAN => (LogNormalSpace::Value, true),
        None => (LogNormalSpace::Log, true),
    }
}

fn log_normal(d: &Distribution) -> Result<Law, String> {
    let mean = finite("mean", d.mean.unwrap_or(0.0))?;
    let sigma = not_negative("sigma", d.sigma.or(d.std).unwrap_or(1.0))?;
    let (mu, sigma) = match log_normal_space(d).0 {
        LogNormalSpace::Log => (mean, sigma),
        LogNormalSpace::Value => {
            positive("mean", mean)?;
            let variation = sigma / mean;
            let log_variance = math::ln_1p(variation * variation);
            (math::ln(mean) - 0.5 * log_variance, math::sqrt(log_variance))
        }
    };
    if mu + 0.5 * sigma * sigma > 700.0 {
        return Err(format!(
            "a mean of exp({:.0}) is beyond every quantity; for numbers of the value itself add space: value",
            mu + 0.5 * sigma * sigma
        ));
    }
    Ok(if sigma == 0.0 { Law::Constant(math::exp(mu)) } else { Law::LogNormal { mu, sigma } })
}

fn mixture(d: &Distribution) -> Result<Law, String> {
    let components = d.components.as_deref().unwrap_or_default();
    if components.is_empty() {
        return Err("a Mixture needs at least one of components".to_owned());
    }
    let mut parts = Vec::with_capacity(components.len());
    for (i, component) in components.iter().enumerate() {
        parts.push(Sampler::new(component).map_err(|message| format!("components[{i}]: {message}"))?);
    }
    let weights = d.weights.clone().unwrap_or_else(|| vec![1.0; parts.len()]);
    if weights.len() != parts.len() {
        return Err(format!("{} weights for {} components", weights.len(), parts.len()));
    }
    let cumulative = cumulative_weights(&weights)?;
    if let [only] = parts.as_slice()
        && !only.whole
    {
        return Ok(only.law.clone());
    }
    Ok(Law::Mixture { cumulative, parts: parts.into() })
}

/// Running sums of the weights, normalised; the last one is exactly 1, so that every uniform number falls below one of them.
pub(crate) fn cumulative_weights(weights: &[f64]) -> Result<Box<[f64]>, String> {
    let mut total = 0.0;
    for (i, &weight) in weights.iter().enumerate() {
        total += not_negative(&format!("weights[{i}]"), weight)?;
    }
    if !(total > 0.0 && total.is_finite()) {
        return Err(format!("the weights sum to {total}"));
    }
    let last_positive = weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0);
    let mut sum = 0.0;
    Ok(weights
        .iter()
        .enumerate()
        .map(|(i, weight)| {
            sum += weight;
            if i >= last_positive { 1.0 } else { sum / total }
        })
        .collect())
}

fn quantiles(d: &Distribution) -> Result<Law, String> {
    let values = d.quantiles.as_deref().unwrap_or_default();
    if values.len() < 2 {
        return Err("quantiles needs at least two values: the smallest and the largest".to_owned());
    }
    for (i, pair) in values.windows(2).enumerate() {
        if !(pair[0].is_finite() && pair[1].is_finite() && pair[0] <= pair[1]) {
            return Err(format!("quantiles[{}] ({}) is below the one before it ({})", i + 1, pair[1], pair[0]));
        }
    }
    if let Some(p) = &d.probabilities {
        if p.len() != values.len() {
            return Err(format!("{} probabilities for {} quantiles", p.len(), values.len()));
        }
        if p[0] != 0.0 || p[p.len() - 1] != 1.0 || p.windows(2).any(|pair| pair[0].partial_cmp(&pair[1]) != Some(std::cmp::Ordering::Less))
        {
            return Err("probabilities must rise from 0 to 1".to_owned());
        }
    }
    if values[0] == values[values.len() - 1] {
        return Ok(Law::Constant(values[0]));
    }
    Ok(Law::Quantiles { values: values.into(), probabilities: d.probabilities.as_deref().map(Into::into) })
}

fn interpolate(values: &[f64], probabilities: Option<&[f64]>, u: f64) -> f64 {
    let (i, fraction) = match probabilities {
        None => {
            let place = u * (values.len() - 1) as f64;
            // u < 1, but the product may round up to the last index.
            let i = (place as usize).min(values.len() - 2);
            (i, place - i as f64)
        }
        Some(p) => {
            // p[0] = 0 <= u < 1 = the last.
            let i = p.partition_point(|&below| below <= u) - 1;
            (i, (u - p[i]) / (p[i + 1] - p[i]))
        }
    };
    values[i] + fraction * (values[i + 1] - values[i])
}

fn shape(d: &Distribution, default: f64) -> Result<f64, String> {
    positive("shape", d.shape.unwrap_or(default))
}

fn scale(d: &Distribution) -> Result<f64, String> {
    positive("scale", d.scale.unwrap_or(1.0))
}

fn finite(name: &str, value: f64) -> Result<f64, String> {
    if value.is_finite() { Ok(value) } else { Err(format!("{name} ({value}) is no number")) }
}

fn positive(name: &str, value: f64) -> Result<f64, String> {
    if finite(name, value)? > 0.0 { Ok(value) } else { Err(format!("{name} ({value}) must be above zero")) }
}

fn not_negative(name: &str, value: f64) -> Result<f64, String> {
    if finite(name, value)? >= 0.0 { Ok(value) } else { Err(format!("{name} ({value}) must not be below zero")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn of(kind: DistributionKind) -> Distribution {
        Distribution { kind: Some(kind), ..Distribution::default() }
    }

    fn draws(distribution: &Distribution, n: usize) -> Vec<f64> {
        let sampler = Sampler::new(distribution).unwrap();
        let mut stream = Stream::new(11, Purpose::InputLengths, 0);
        (0..n).map(|_| sampler.sample(&mut stream)).collect()
    }

    /// Largest distance between the draws' empirical CDF and `cdf`.
    fn kolmogorov_smirnov(mut draws: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
        draws.sort_unstable_by(f64::total_cmp);
        let n = draws.len() as f64;
        draws.iter().enumerate().map(|(i, &x)| (cdf(x) - i as f64 / n).abs().max(((i + 1) as f64 / n - cdf(x)).abs())).fold(0.0, f64::max)
    }

    fn normal_cdf(z: f64) -> f64 {
        0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
    }

    #[test]
    fn draws_follow_their_distribution() {
        use DistributionKind as K;
        let n = 20_000;
        // 1.95/sqrt(n) is exceeded once in a thousand seeds.
        let limit = 1.95 / (n as f64).sqrt();
        let close = |name: &str, distribution: Distribution, cdf: &dyn Fn(f64) -> f64| {
            let distance = kolmogorov_smirnov(draws(&distribution, n), cdf);
            assert!(distance < limit, "{name}: {distance} > {limit}");
        };
        close("exponential", Distribution { rate: Some(4.0), ..of(K::Exponential) }, &|x| 1.0 - math::exp(-4.0 * x));
        close("uniform", Distribution { low: Some(-2.0), high: Some(6.0), ..of(K::Uniform) }, &|x| (x + 2.0) / 8.0);
        close("normal", Distribution { mean: Some(50.0), std: Some(5.0), sigma: Some(99.0), ..of(K::Normal) }, &|x| {
            normal_cdf((x - 50.0) / 5.0)
        });
        close("lognormal", Distribution { mean: Some(2.0), sigma: Some(0.5), ..of(K::LogNormal) }, &|x| {
            normal_cdf((math::ln(x) - 2.0) / 0.5)
        });
        close("pareto", Distribution { shape: Some(2.5), scale: Some(3.0), ..of(K::Pareto) }, &|x| 1.0 - math::pow(3.0 / x, 2.5));
        close("weibull", Distribution { shape: Some(0.7), scale: Some(3.0), ..of(K::Weibull) }, &|x| {
            1.0 - math::exp(-math::pow(x / 3.0, 0.7))
        });
        // A gamma of shape 2 is a sum of two exponentials; one of shape 1/2 is half a squared normal.
        close("gamma 2", Distribution { scale: Some(3.0), ..of(K::Gamma) }, &|x| 1.0 - math::exp(-x / 3.0) * (1.0 + x / 3.0));
        close("gamma 1/2", Distribution { shape: Some(0.5), ..of(K::Gamma) }, &|x| 2.0 * normal_cdf(math::sqrt(2.0 * x)) - 1.0);
        close("even quantiles", Distribution { quantiles: Some(vec![0.0, 10.0, 40.0]), ..of(K::Quantiles) }, &|x| {
            if x < 10.0 { x / 20.0 } else { 0.5 + (x - 10.0) / 60.0 }
        });
        let tail = Distribution { quantiles: Some(vec![0.0, 10.0, 40.0]), probabilities: Some(vec![0.0, 0.9, 1.0]), ..of(K::Quantiles) };
        close("quantiles", tail, &|x| if x < 10.0 { 0.09 * x } else { 0.9 + (x - 10.0) / 300.0 });
        let parts = vec![
            Distribution { rate: Some(1.0), ..of(K::Exponential) },
            Distribution { low: Some(5.0), high: Some(6.0), ..of(K::Uniform) },
        ];
        let mixture = Distribution { components: Some(parts), weights: Some(vec![3.0, 1.0]), ..of(K::Mixture) };
        close("mixture", mixture, &|x| 0.75 * (1.0 - math::exp(-x)) + 0.25 * (x - 5.0).clamp(0.0, 1.0));
    }

    #[test]
    fn the_mean_is_the_mean_of_the_draws() {
        use DistributionKind as K;
        for distribution in [
            Distribution { rate: Some(0.2), ..of(K::Exponential) },
            Distribution { mean: Some(1.0), std: Some(2.0), ..of(K::Normal) },
            Distribution { mean: Some(1.0), sigma: Some(0.5), ..of(K::LogNormal) },
            Distribution { shape: Some(3.5), scale: Some(2.0), ..of(K::Pareto) },
            Distribution { shape: Some(1.7), scale: Some(2.0), ..of(K::Weibull) },
            Distribution { quantiles: Some(vec![1.0, 2.0, 30.0]), probabilities: Some(vec![0.0, 0.75, 1.0]), ..of(K::Quantiles) },
        ] {
            let values = draws(&distribution, 100_000);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let expected = Sampler::new(&distribution).unwrap().mean();
            assert!((mean / expected - 1.0).abs() < 0.02, "{distribution:?}: {mean}, expected {expected}");
        }
    }

    #[test]
    fn a_large_lognormal_mean_is_of_the_value() {
        let value = Distribution { mean: Some(256.0), sigma: Some(128.0), ..of(DistributionKind::LogNormal) };
        let (space, guessed) = log_normal_space(&value);
        assert!(space == LogNormalSpace::Value && guessed);
        let draws = draws(&value, 200_000);
        let mean = draws.iter().sum::<f64>() / 200_000.0;
        let variance = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 200_000.0;
        assert!((mean - 256.0).abs() < 2.0 && (variance.sqrt() - 128.0).abs() < 3.0, "{mean} {}", variance.sqrt());
        assert_eq!(log_normal_space(&Distribution { mean: Some(20.0), ..of(DistributionKind::LogNormal) }), (LogNormalSpace::Log, true));
        let stated =
            Distribution { mean: Some(7.9), sigma: Some(0.17), space: Some(LogNormalSpace::Log), ..of(DistributionKind::LogNormal) };
        assert!((Sampler::new(&stated).unwrap().mean() - math::exp(7.9 + 0.5 * 0.17 * 0.17)).abs() < 1e-6);
    }

    #[test]
    fn constants_draw_nothing() {
        let mut stream = Stream::new(1, Purpose::InputLengths, 0);
        for distribution in [
            Distribution { value: Some(3.0), ..Distribution::default() },
            Distribution { low: Some(3.0), high: Some(3.0), ..of(DistributionKind::Uniform) },
            Distribution { mean: Some(3.0), std: Some(0.0), ..of(DistributionKind::Normal) },
            Distribution { quantiles: Some(vec![3.0, 3.0]), ..of(DistributionKind::Quantiles) },
            Distribution { value: Some(2.5), is_int: Some(true), ..of(DistributionKind::Fixed) },
        ] {
            let sampler = Sampler::new(&distribution).unwrap();
            let value = sampler.sample(&mut stream);
            assert_eq!(sampler.constant(), Some(value));
            assert_eq!(value, if distribution.is_int.is_some() { 2.0 } else { 3.0 });
        }
        assert_eq!(stream.bits(), Stream::new(1, Purpose::InputLengths, 0).bits());
    }

    #[test]
    fn tokens_are_whole_positive_and_bounded() {
        let mut stream = Stream::new(1, Purpose::InputLengths, 0);
        let mut clamped = 0;
        for (value, tokens) in
            [(0.2, 1), (-5.0, 1), (2.5, 2), (3.5, 4), (1e7, 10_000_000), (1e7 + 1.0, 10_000_000), (f64::INFINITY, 10_000_000)]
        {
            assert_eq!(Sampler::fixed(value).sample_tokens(&mut stream, &mut clamped), tokens, "{value}");
        }
        assert_eq!(clamped, 2);
    }

    #[test]
    fn impossible_parameters_are_errors() {
        use DistributionKind as K;
        for (distribution, word) in [
            (Distribution { rate: Some(0.0), ..of(K::Exponential) }, "rate"),
            (Distribution { low: Some(2.0), high: Some(1.0), ..of(K::Uniform) }, "below low"),
            (Distribution { std: Some(-1.0), ..of(K::Normal) }, "std"),
            (Distribution { mean: Some(f64::NAN), ..of(K::Normal) }, "mean"),
            (Distribution { mean: Some(0.0), space: Some(LogNormalSpace::Value), ..of(K::LogNormal) }, "mean"),
            (Distribution { mean: Some(1000.0), space: Some(LogNormalSpace::Log), ..of(K::LogNormal) }, "space: value"),
            (Distribution { shape: Some(0.0), ..of(K::Gamma) }, "shape"),
            (of(K::Mixture), "components"),
            (Distribution { components: Some(vec![of(K::Normal)]), weights: Some(vec![0.0]), ..of(K::Mixture) }, "sum"),
            (
                Distribution { components: Some(vec![Distribution { rate: Some(-1.0), ..of(K::Exponential) }]), ..of(K::Mixture) },
                "components[0]",
            ),
            (Distribution { quantiles: Some(vec![1.0]), ..of(K::Quantiles) }, "two values"),
            (Distribution { quantiles: Some(vec![2.0, 1.0]), ..of(K::Quantiles) }, "quantiles[1]"),
            (Distribution { quantiles: Some(vec![1.0, 2.0]), probabilities: Some(vec![0.0, 0.9]), ..of(K::Quantiles) }, "rise"),
        ] {
            let message = Sampler::new(&distribution).unwrap_err();
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
        let stray = Distribution { mean: Some(1.0), rate: Some(1.0), ..of(K::Exponential) };
        let own = crate::config::distribution_parameters(K::Exponential);
        assert_eq!((stray.mean, own.contains(&"mean"), own.contains(&"rate")), (Some(1.0), false, true));
    }
}
