//! docs/metrics.md, made of the tables in `metrics`.

use std::fmt::Write;

use crate::metrics::{columns, definitions};

const HEAD: &str = "# Metrics

This file is made from the table in `src/metrics/definitions.rs`, which also feeds the page's help.

Two populations, never mixed in one number:

- *requests* that reached the server at or after the end of the warm-up: the request counts, latency, goodput, prefix caching;
- the *window* from the end of the warm-up to the end of the simulation, whoever the work was for: throughput, engine,
  utilisation. A step belongs to the window when it ends in it; shares of time are over the window and the beginning of the step
  that was under way when the warm-up ended.

Latency is over successful requests. Unfinished and rejected requests are counted as such. Percentiles are interpolated linearly
between ranks, as numpy does by default; `p99.9` is the key of the fraction 0.999. A ratio with nothing to divide by is null.
Time is kept in whole picoseconds; the numbers below are conversions of it.
";

/// The reference of every key of summary.json and every column of requests.csv, as Markdown.
pub fn metrics_reference() -> String {
    let mut text = format!("{HEAD}\n## summary.json\n\n| key | name | unit | meaning | formula |\n|---|---|---|---|---|\n");
    for d in definitions() {
        let formula = if d.formula.is_empty() { String::new() } else { format!("`{}`", d.formula) };
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{}` | {} | {} | {} | {} |", d.key, d.label, d.unit, d.definition, formula);
    }
    text.push_str("\n## requests.csv\n\nAn empty cell is something that did not happen.\n\n| column | unit | meaning |\n|---|---|---|\n");
    for c in columns() {
        let _ = writeln!(text, "| `{}` | {} | {} |", c.name, c.unit, c.definition);
    }
    text
}
