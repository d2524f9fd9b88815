//! Token counts of a record's requests, drawn or read.

use super::record::Lengths;
use crate::math::{exp, ln};
use crate::rng::{Stream, normal_quantile};

/// Taken where a record says nothing of its prompts: short chat turns. An assumption.
const UNKNOWN_TOKENS: f64 = 250.0;
/// Spread of ln(length) where only the mean is known: conversations of ShareGPT, whose median lies at 0.6 of the mean. An assumption.
const MEAN_ONLY_SIGMA: f64 = 1.0;

/// A file's columns, with arrivals where it has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub arrival_s: Vec<f64>,
    pub input: Vec<f64>,
    /// Empty where the file lists prompts only.
    pub output: Vec<f64>,
}

impl Table {
    /// `input_tokens,output_tokens`, with `arrival_s` first in traces.
    pub fn parse(text: &str) -> Result<Table, String> {
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
        let column = |name: &str| header.iter().position(|each| *each == name);
        let (arrival, input, output) = (column("arrival_s"), column("input_tokens"), column("output_tokens"));
        let input = input.ok_or("there is no column input_tokens")?;
        let mut table = Table::default();
        for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let number = |column: usize| -> Result<Option<f64>, String> {
                match fields.get(column).copied().unwrap_or_default() {
                    "" => Ok(None),
                    text => text.parse().map(Some).map_err(|_| format!("line {}: {text:?} is no number", index + 2)),
                }
            };
            table.input.push(number(input)?.ok_or_else(|| format!("line {}: no input_tokens", index + 2))?);
            if let Some(tokens) = output.map(number).transpose()?.flatten() {
                table.output.push(tokens);
            }
            if let Some(time) = arrival.map(number).transpose()?.flatten() {
                table.arrival_s.push(time);
            }
        }
        if table.input.is_empty() {
            return Err("has no rows".to_owned());
        }
        if !table.output.is_empty() && table.output.len() != table.input.len() {
            return Err("has output_tokens in some rows only".to_owned());
        }
        Ok(table)
    }
}

/// Where token counts come from.
pub enum Counts {
    Fixed(f64),
    Uniform {
        min: f64,
        max: f64,
    },
    Quantiles {
        p: Vec<f64>,
        v: Vec<f64>,
    },
    LogNormal {
        median: f64,
        sigma: f64,
    },
    /// Exponential of this scale, cut at a cap.
    Capped {
        scale: f64,
        max: f64,
    },
    List(Vec<f64>),
}

impl Counts {
    /// `column` is the file's, where the record names one.
    pub fn new(lengths: &Lengths, column: Option<&[f64]>) -> Result<Counts, String> {
        if let Some(tokens) = lengths.fixed {
            return Ok(Counts::Fixed(tokens));
        }
        if let Some(range) = lengths.uniform {
            return Ok(Counts::Uniform { min: range.min, max: range.max });
        }
        if lengths.file.is_some() {
            let column = column.filter(|column| !column.is_empty()).ok_or("the lengths file does not list them")?;
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            let factor = lengths.mean.map_or(1.0, |wanted| wanted / mean);
            return Ok(Counts::List(column.iter().map(|tokens| tokens * factor).collect()));
        }
        if let Some(quantiles) = &lengths.quantiles {
            let rising = quantiles.p.windows(2).all(|pair| pair[0] <= pair[1]);
            if quantiles.p.is_empty() || quantiles.p.len() != quantiles.v.len() || !rising {
                return Err("quantiles that are none".to_owned());
            }
            return Ok(Counts::Quantiles { p: quantiles.p.clone(), v: quantiles.v.clone() });
        }
        if let Some(mean) = lengths.mean_only {
            return Ok(match lengths.max {
                Some(max) if mean < max => Counts::Capped { scale: capped_scale(mean, max), max },
                Some(max) => Counts::Fixed(max),
                None => Counts::LogNormal { median: mean * exp(-MEAN_ONLY_SIGMA * MEAN_ONLY_SIGMA / 2.0), sigma: MEAN_ONLY_SIGMA },
            });
        }
        if lengths.unknown == Some(true) {
            return Ok(Counts::Fixed(UNKNOWN_TOKENS));
        }
        Err("no lengths".to_owned())
    }

    /// The count of request `index`; a list is read in order while it lasts (`in_order`), else drawn from.
    pub fn draw(&self, index: usize, in_order: bool, stream: &mut Stream) -> u64 {
        let u = stream.uniform_open();
        let tokens = match self {
            Counts::Fixed(tokens) => *tokens,
            Counts::Uniform { min, max } => min + (u * (max - min + 1.0)).floor(),
            Counts::Quantiles { p, v } => interpolate(p, v, u),
            Counts::LogNormal { median, sigma } => median * exp(sigma * normal_quantile(u)),
            Counts::Capped { scale, max } => (-scale * ln(1.0 - u)).min(*max),
            Counts::List(list) if in_order => list[index.min(list.len() - 1)],
            Counts::List(list) => list[((u * list.len() as f64) as usize).min(list.len() - 1)],
        };
        (tokens + 0.5).clamp(1.0, 1e7) as u64
    }

    /// Rows of a list.
    pub fn rows(&self) -> Option<usize> {
        if let Counts::List(list) = self { Some(list.len()) } else { None }
    }
}

fn interpolate(p: &[f64], v: &[f64], u: f64) -> f64 {
    let above = p.partition_point(|each| *each < u).clamp(1, p.len().max(2) - 1);
    let (Some(from), Some(to)) = (p.get(above - 1), p.get(above)) else { return v[0] };
    let share = if to > from { ((u - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
    v[above - 1] + share * (v[above] - v[above - 1])
}

/// Scale of an exponential whose values, cut at `max`, have this mean: `s (1 - e^(-max/s)) = mean`.
fn capped_scale(mean: f64, max: f64) -> f64 {
    let (mut low, mut high) = (mean, 1000.0 * max);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if middle * (1.0 - exp(-max / middle)) < mean { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn mean(counts: &Counts) -> f64 {
        let mut stream = Stream::new(1, Purpose::InputLengths, 0);
        (0..40_000).map(|index| counts.draw(index, false, &mut stream) as f64).sum::<f64>() / 40_000.0
    }

    #[test]
    fn every_form_has_the_mean_that_its_record_states() {
        let lengths = |text: &str| -> Lengths { serde_json::from_str(text).expect("lengths") };
        let cases = [
            (r#"{"fixed": 128}"#, 128.0),
            (r#"{"uniform": {"min": 819, "max": 1024}}"#, 921.5),
            (r#"{"quantiles": {"p": [0, 0.5, 1], "v": [100, 200, 500]}}"#, 250.0),
            (r#"{"mean_only": 350, "max": 512}"#, 350.0),
            (r#"{"mean_only": 202}"#, 202.0),
        ];
        for (text, wanted) in cases {
            let got = mean(&Counts::new(&lengths(text), None).expect("counts"));
            assert!((got / wanted - 1.0).abs() < 0.02, "{text}: {got}");
        }
        let listed = Counts::new(&lengths(r#"{"file": "a.csv", "mean": 30}"#), Some(&[10.0, 20.0])).expect("counts");
        assert!((mean(&listed) / 30.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_list_is_read_in_order() {
        let table = Table::parse("arrival_s,input_tokens,output_tokens\n0.5,10,3\n1.5,20,4\n").expect("a table");
        assert_eq!(table, Table { arrival_s: vec![0.5, 1.5], input: vec![10.0, 20.0], output: vec![3.0, 4.0] });
        assert!(Table::parse("input_tokens,output_tokens\n10,3\nx,4\n").is_err_and(|why| why.contains("line 3")));
    }
}
