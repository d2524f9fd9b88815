//! The report for a terminal.

use std::fmt::Write;

use super::report::{Grouped, Replayed, grouped, use_of};

/// Every run with its metrics, set by set, then the summaries.
pub fn table(runs: &[Replayed]) -> String {
    let mut text = String::new();
    let mut set = "";
    for run in runs {
        if run.set != set {
            set = &run.set;
            let _ = writeln!(text, "\n{set} ({})", use_of(set).name());
        }
        let _ = writeln!(text, "  {}{}", run.id, run.confidence.as_ref().map_or(String::new(), |word| format!(" [{word}]")));
        for reason in run
            .reason
            .iter()
            .map(|reason| format!("not simulated: {reason}"))
            .chain(run.skip.iter().map(|skip| format!("not counted: {skip}")))
        {
            let _ = writeln!(text, "      {reason}");
        }
        for metric in &run.metrics {
            let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| significant(value, 5));
            let error = metric.error().map_or_else(|| "-".to_owned(), |error| format!("{:+.1} %", 100.0 * error));
            let _ = writeln!(
                text,
                "      {:<22} predicted {:>10}  measured {:>10}  error {:>9}",
                metric.name,
                number(metric.predicted),
                number(Some(metric.measured)),
                error
            );
        }
    }
    let groups: [(&str, Grouped); 6] = [
        ("By use", grouped(runs, |run, _| use_of(&run.set).name().to_owned())),
        ("By set", grouped(runs, |run, _| run.set.clone())),
        ("By engine", grouped(runs, |run, _| run.framework.clone())),
        ("By GPU", grouped(runs, |run, _| run.gpu.clone().unwrap_or_default())),
        ("By confidence", grouped(runs, |run, _| run.confidence.clone().unwrap_or_default())),
        ("By metric", grouped(runs, |_, metric| metric.name.clone())),
    ];
    for (title, groups) in groups {
        let _ = writeln!(text, "\n{title:<42}{:<12}{:>6}{:>9}{:>9}{:>9}{:>9}", "", "count", "median", "mean", "p90", "bias");
        for (name, quantities) in &groups {
            for (quantity, errors) in quantities {
                let Some(statistics) = errors.statistics() else { continue };
                let _ = write!(text, "  {name:<40}{quantity:<12}{:>6}", errors.count());
                for value in statistics {
                    let _ = write!(text, "{:>7.1} %", 100.0 * value);
                }
                text.push('\n');
            }
        }
    }
    let left_out = runs.iter().filter(|run| run.confidence.is_none()).count();
    let _ =
        writeln!(text, "\n{} runs, {} replayed, {left_out} not (each listed above with its reason).", runs.len(), runs.len() - left_out);
    text
}

/// A number with so many significant digits.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let exponent = crate::math::log10(value.abs()).floor() as i32;
    let decimals = (digits as i32 - 1 - exponent).clamp(0, 9) as usize;
    format!("{value:.decimals$}")
}
