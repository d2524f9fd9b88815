//! The requests of a benchmark as a document's workload, for when the document has no better.

use std::fmt::Write;

use serde_json::{Value, json};

use super::benchmark::Benchmark;
use crate::rng::{Purpose, Stream};
use crate::sim::Files;

/// The file that the workload names.
pub const TRACE: &str = "benchmark-requests.csv";
/// Of the gaps between requests of which only the rate is known.
const SEED: u64 = 1;

/// A `workload` section and the text of the [`TRACE`] it names: the requests one by one where the file lists them, else as many of
/// mean length; at their times, at the rate, or as many at a time as the benchmark says.
pub fn workload(benchmark: &Benchmark) -> Result<(Value, String), String> {
    let name = benchmark.tool.name();
    let lengths: Vec<(f64, f64)> = match &benchmark.rows {
        Some(rows) if rows.input_tokens.iter().chain(&rows.output_tokens).all(|tokens| tokens.is_finite()) => {
            rows.input_tokens.iter().copied().zip(rows.output_tokens.iter().copied()).collect()
        }
        _ => {
            let missing = |what: &str| format!("{name}: {what} is not said; give a document with the benchmark's requests");
            let count = benchmark.requests.ok_or_else(|| missing("the number of requests"))?;
            let input = benchmark.mean_input_tokens.ok_or_else(|| missing("the prompts' length"))?;
            let output = benchmark.mean_output_tokens.ok_or_else(|| missing("the replies' length"))?;
            vec![(input, output); count as usize]
        }
    };
    let sent = benchmark.rows.as_ref().map(|rows| rows.sent_s.as_slice()).filter(|sent| sent.len() == lengths.len());
    let mut stream = Stream::new(SEED, Purpose::Arrivals, 0);
    let mut clock = 0.0;
    let mut arrivals: Vec<f64> = match (sent, benchmark.request_rate, benchmark.concurrency) {
        // A request of a closed loop comes when another ends, in the simulation as it was in the benchmark.
        (_, _, Some(_)) => vec![0.0; lengths.len()],
        (Some(sent), _, None) => sent.to_vec(),
        (None, Some(rate), None) if rate.is_finite() && rate > 0.0 => lengths
            .iter()
            .map(|_| {
                clock += stream.exponential() / rate;
                clock
            })
            .collect(),
        (None, Some(_), None) => vec![0.0; lengths.len()],
        (None, None, None) => {
            return Err(format!("{name}: neither rate nor concurrency is said; give a document with the benchmark's requests"));
        }
    };
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    crate::order::sort_by(&mut order, |&a, &b| arrivals[a].total_cmp(&arrivals[b]));
    arrivals.iter_mut().for_each(|arrival| *arrival = arrival.max(0.0));
    let mut text = String::from("arrival_s,input_tokens,output_tokens\n");
    for index in order {
        let (input, output) = lengths[index];
        let _ = writeln!(text, "{},{},{}", arrivals[index], input.max(1.0) as u64, output.max(1.0) as u64);
    }
    let mut workload = json!({"trace": {"path": TRACE, "format": "plain_csv", "spread_within_step": false}});
    if let Some(most) = benchmark.concurrency {
        workload["concurrency"] = json!(most);
    }
    Ok((workload, text))
}

/// The [`TRACE`] of a benchmark's requests over other files.
pub struct OverFiles {
    pub trace: String,
    pub rest: Box<dyn Files>,
}

impl Files for OverFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        if path == TRACE { Ok(self.trace.clone().into_bytes()) } else { self.rest.read(path) }
    }
}
