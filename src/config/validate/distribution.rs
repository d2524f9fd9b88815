//! Random numbers: which parameters a distribution takes, and which values make sense.

use super::super::check::readable;
use super::super::node::{join_index, join_key};
use super::super::schema::{Distribution, DistributionKind, LogNormalSpace};
use super::Findings;

/// What to do about a number out of range.
const WITHIN: &str = "choose one within the range";

/// What a distribution is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    Seconds,
    Tokens,
    Priority,
}

/// Every kind by the name that documents use.
pub const ALL_KINDS: [(&str, DistributionKind); 11] = [
    ("Constant", DistributionKind::Constant),
    ("Fixed", DistributionKind::Fixed),
    ("Exponential", DistributionKind::Exponential),
    ("Uniform", DistributionKind::Uniform),
    ("Normal", DistributionKind::Normal),
    ("LogNormal", DistributionKind::LogNormal),
    ("Pareto", DistributionKind::Pareto),
    ("Weibull", DistributionKind::Weibull),
    ("Gamma", DistributionKind::Gamma),
    ("Mixture", DistributionKind::Mixture),
    ("Quantiles", DistributionKind::Quantiles),
];

/// The parameters that a kind takes, besides `type` and `is_int`.
pub fn parameters(kind: DistributionKind) -> &'static [&'static str] {
    match kind {
        DistributionKind::Constant | DistributionKind::Fixed => &["value"],
        DistributionKind::Exponential => &["rate"],
        DistributionKind::Uniform => &["low", "high"],
        DistributionKind::Normal => &["mean", "std", "sigma"],
        DistributionKind::LogNormal => &["mean", "sigma", "space"],
        DistributionKind::Pareto | DistributionKind::Weibull | DistributionKind::Gamma => &["shape", "scale"],
        DistributionKind::Mixture => &["components", "weights"],
        DistributionKind::Quantiles => &["quantiles", "probabilities"],
    }
}

/// Above this a LogNormal's mean cannot be a logarithm: exp(20) is 4.9e8, no token count and no time.
pub const LARGEST_LOG_MEAN: f64 = 20.0;

/// The space of a LogNormal that does not say it, and what to tell the user. Two meanings are in use: the original project
/// changed from one to the other without changing its documents, and this rule tells all of those apart.
pub fn space_by_mean(mean: f64) -> (&'static str, String) {
    let shown = readable(mean);
    if mean > LARGEST_LOG_MEAN {
        ("value", format!("LogNormal with mean {shown}: taken as the mean of the values, since exp({shown}) would be absurd"))
    } else {
        let median = readable(crate::math::exp(mean).round());
        ("log", format!("LogNormal with mean {shown}: taken as the mean of the logarithm (a median of about {median})"))
    }
}

/// Checks one distribution.
pub fn distribution(given: &Distribution, quantity: Quantity, path: &str, findings: &mut Findings) {
    let kind = given.kind.unwrap_or(DistributionKind::Constant);
    let mut right = true;
    for name in present(given) {
        if !parameters(kind).contains(&name) {
            let hint = match (kind, name) {
                (DistributionKind::Exponential, "mean") => "write `rate`, which is 1/mean".into(),
                (DistributionKind::LogNormal, "std") => "write `sigma`".into(),
                _ => format!("{kind:?} takes {}", parameters(kind).join(", ")),
            };
            findings.error(join_key(path, name), format!("`{name}` does not apply to {kind:?}"), hint);
            right = false;
        }
    }
    if right {
        values(given, kind, quantity, path, findings);
    }
}

/// Names of the parameters that are given.
fn present(given: &Distribution) -> impl Iterator<Item = &'static str> {
    let names = [
        ("value", given.value.is_some()),
        ("rate", given.rate.is_some()),
        ("low", given.low.is_some()),
        ("high", given.high.is_some()),
        ("mean", given.mean.is_some()),
        ("std", given.std.is_some()),
        ("sigma", given.sigma.is_some()),
        ("space", given.space.is_some()),
        ("shape", given.shape.is_some()),
        ("scale", given.scale.is_some()),
        ("components", given.components.is_some()),
        ("weights", given.weights.is_some()),
        ("quantiles", given.quantiles.is_some()),
        ("probabilities", given.probabilities.is_some()),
    ];
    names.into_iter().filter(|(_, present)| *present).map(|(name, _)| name)
}

/// A parameter with the range it has to lie in.
struct Parameter<'a> {
    path: &'a str,
    name: &'a str,
    value: f64,
}

impl Parameter<'_> {
    fn above_zero(&self, findings: &mut Findings) {
        self.check(self.value > 0.0 && self.value <= 1e12, "above 0, at most 1e12", findings);
    }

    fn between(&self, least: f64, most: f64, findings: &mut Findings) {
        self.check((least..=most).contains(&self.value), &format!("{}-{}", readable(least), readable(most)), findings);
    }

    fn check(&self, right: bool, allowed: &str, findings: &mut Findings) {
        if !right {
            let message = format!("Invalid {}: {} (should be {allowed})", self.name, readable(self.value));
            findings.error(join_key(self.path, self.name), message, WITHIN);
        }
    }
}

fn values(given: &Distribution, kind: DistributionKind, quantity: Quantity, path: &str, findings: &mut Findings) {
    let (least, most) = match quantity {
        Quantity::Seconds | Quantity::Tokens => (0.0, 1e7),
        Quantity::Priority => (-1e9, 1e9),
    };
    let parameter = |name: &'static str, value: Option<f64>, absent: f64| Parameter { path, name, value: value.unwrap_or(absent) };
    match kind {
        DistributionKind::Constant | DistributionKind::Fixed => parameter("value", given.value, 1.0).between(least, most, findings),
        DistributionKind::Exponential => parameter("rate", given.rate, 1.0).above_zero(findings),
        DistributionKind::Uniform => {
            let (low, high) = (parameter("low", given.low, 0.0), parameter("high", given.high, 1.0));
            low.between(least, most, findings);
            high.between(least, most, findings);
            if low.value > high.value {
                findings.error(
                    path,
                    format!("`low` is {} and `high` only {}", readable(low.value), readable(high.value)),
                    "exchange the two",
                );
            }
        }
        DistributionKind::Normal => {
            if let (Some(std), Some(sigma)) = (given.std, given.sigma)
                && std != sigma
            {
                findings.error(path, "`std` and `sigma` are two words for one number, and differ", "keep one of them");
            }
            parameter("mean", given.mean, 0.0).between(least, most, findings);
            let name = if given.std.is_some() { "std" } else { "sigma" };
            parameter(name, given.std.or(given.sigma), 1.0).between(0.0, most, findings);
        }
        DistributionKind::LogNormal => log_normal(given, &parameter, most, path, findings),
        DistributionKind::Pareto | DistributionKind::Weibull | DistributionKind::Gamma => {
            let absent = if kind == DistributionKind::Gamma { 2.0 } else { 1.0 };
            let shape = parameter("shape", given.shape, absent);
            shape.above_zero(findings);
            parameter("scale", given.scale, 1.0).above_zero(findings);
            if kind == DistributionKind::Pareto && shape.value > 0.0 && shape.value <= 1.0 {
                let message =
                    format!("a Pareto distribution of shape {} has no finite mean: results will hang on single draws", shape.value);
                findings.warning(join_key(path, "shape"), message, "choose a shape above 1");
            }
        }
        DistributionKind::Mixture => mixture(given, quantity, path, findings),
        DistributionKind::Quantiles => quantiles(given, (least, most), path, findings),
    }
}

fn log_normal<'a>(
    given: &Distribution,
    parameter: &impl Fn(&'static str, Option<f64>, f64) -> Parameter<'a>,
    most: f64,
    path: &str,
    findings: &mut Findings,
) {
    let (mean, sigma) = (parameter("mean", given.mean, 0.0), parameter("sigma", given.sigma, 1.0));
    let (guess, reason) = space_by_mean(mean.value);
    if given.space.is_none() {
        findings.warning(path, reason, "say `space: value` or `space: log` to fix it");
    }
    let of_value = given.space.map_or(guess == "value", |space| space == LogNormalSpace::Value);
    if of_value {
        mean.check(mean.value > 0.0 && mean.value <= most, &format!("above 0, at most {}", readable(most)), findings);
        sigma.between(0.0, most, findings);
    } else {
        mean.between(-LARGEST_LOG_MEAN, LARGEST_LOG_MEAN, findings);
        sigma.between(0.0, 10.0, findings);
    }
}

fn mixture(given: &Distribution, quantity: Quantity, path: &str, findings: &mut Findings) {
    let components = given.components.as_deref().unwrap_or_default();
    if components.is_empty() {
        findings.error(path, "a Mixture needs `components`", "list the distributions to draw from");
    }
    for (index, component) in components.iter().enumerate() {
        distribution(component, quantity, &join_index(&join_key(path, "components"), index), findings);
    }
    if let Some(weights) = &given.weights {
        let weights_path = join_key(path, "weights");
        if weights.len() != components.len() {
            findings.error(
                &weights_path,
                format!("{} weights for {} components", weights.len(), components.len()),
                "give each component one weight",
            );
        }
        check_weights(
            weights.iter().enumerate().map(|(index, weight)| (join_index(&weights_path, index), *weight)),
            &weights_path,
            findings,
        );
    }
}

/// Weights are finite, not negative, and not all zero.
pub fn check_weights(weights: impl Iterator<Item = (String, f64)>, path: &str, findings: &mut Findings) {
    let mut total = 0.0;
    let mut right = true;
    for (weight_path, weight) in weights {
        if !(0.0..=1e9).contains(&weight) {
            findings.error(weight_path, format!("Invalid weight: {} (should be 0-1e9)", readable(weight)), WITHIN);
            right = false;
        }
        total += weight;
    }
    if right && total <= 0.0 {
        findings.error(path, "all weights are zero: nothing can be drawn", "give at least one a weight above 0");
    }
}

fn quantiles(given: &Distribution, (least, most): (f64, f64), path: &str, findings: &mut Findings) {
    let values = given.quantiles.as_deref().unwrap_or_default();
    let values_path = join_key(path, "quantiles");
    if !(2..=1025).contains(&values.len()) {
        let hint = "list values at evenly spaced probabilities from 0 to 1, or give their `probabilities`";
        findings.error(values_path, format!("{} quantiles (should be 2-1025)", values.len()), hint);
        return;
    }
    rising(values, &values_path, "quantiles", findings);
    for (index, value) in values.iter().enumerate().filter(|(_, value)| !(least..=most).contains(*value)) {
        let message = format!("Invalid quantile: {} (should be {}-{})", readable(*value), readable(least), readable(most));
        findings.error(join_index(&values_path, index), message, WITHIN);
    }
    let Some(probabilities) = &given.probabilities else { return };
    let path = join_key(path, "probabilities");
    if probabilities.len() != values.len() {
        let message = format!("{} probabilities for {} quantiles", probabilities.len(), values.len());
        findings.error(&path, message, "give each quantile its probability");
        return;
    }
    rising(probabilities, &path, "probabilities", findings);
    if probabilities.first() != Some(&0.0) || probabilities.last() != Some(&1.0) {
        findings.error(&path, "probabilities go from 0 to 1", "the first quantile is the smallest value, the last the largest");
    }
}

fn rising(values: &[f64], path: &str, what: &str, findings: &mut Findings) {
    for (index, pair) in values.windows(2).enumerate() {
        if let [low, high] = pair
            && low > high
        {
            let message = format!("{} comes after {}: {what} never fall", readable(*high), readable(*low));
            findings.error(join_index(path, index + 1), message, "put them in rising order");
        }
    }
}
