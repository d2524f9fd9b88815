//! What a benchmark's output says, in one form whatever tool wrote it. Metrics have the names of [`crate::accuracy`]'s records:
//! `ttft_mean_ms`, `tpot_p99_ms`, `output_tok_s`.
//!
//! | tool | file | TPOT there |
//! |---|---|---|
//! | `vllm bench serve` | `--save-result`: one JSON object; with `--save-detailed` the requests too | `tpot` |
//! | SGLang `bench_serving` | `--output-file`: a JSON object a run, one a line; with `--output-details` the requests too | `tpot` |
//! | AIPerf, GenAI-Perf | `profile_export_aiperf.json`: an object of metrics | `inter_token_latency` |
//! | AIPerf | `profile_export.jsonl`: an object a request, one a line | `inter_token_latency` |

use serde_json::{Map, Value, json};

use crate::metrics::quantiles;

/// Which tool wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    VllmBenchServe,
    SglangBenchServing,
    AiPerf,
    AiPerfRecords,
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Tool::VllmBenchServe => "vLLM bench serve",
            Tool::SglangBenchServing => "SGLang bench_serving",
            Tool::AiPerf => "AIPerf",
            Tool::AiPerfRecords => "AIPerf, request by request",
        }
    }
}

/// The requests one by one, where the file lists them: columns of equal length, in the order they were sent. NaN where unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    pub input_tokens: Vec<f64>,
    pub output_tokens: Vec<f64>,
    /// From the first request's, s; empty when not told.
    pub sent_s: Vec<f64>,
    pub ttft_ms: Vec<f64>,
    pub tpot_ms: Vec<f64>,
    pub e2e_ms: Vec<f64>,
}

/// A benchmark's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Benchmark {
    pub tool: Tool,
    /// Name to number, units in the names.
    pub measured: Map<String, Value>,
    pub rows: Option<Rows>,
    /// Requests that were answered.
    pub requests: Option<u64>,
    pub mean_input_tokens: Option<f64>,
    pub mean_output_tokens: Option<f64>,
    pub model: Option<String>,
    /// Requests a second; infinite when all were sent at once.
    pub request_rate: Option<f64>,
    pub concurrency: Option<u32>,
    /// What the file says that the reader of the result has to know.
    pub notes: Vec<String>,
}

const KNOWN: &str = "known are the JSON of `vllm bench serve --save-result`, the JSONL of SGLang's `bench_serving --output-file`, and AIPerf's \
                     profile_export_aiperf.json or profile_export.jsonl";

impl Benchmark {
    /// Reads the text of a file, or says in words why it is no benchmark's output. Of several runs in one file the last is taken.
    pub fn read(text: &str) -> Result<Benchmark, String> {
        let values = values(text)?;
        let last = values.last().ok_or_else(|| format!("the file is empty; {KNOWN}"))?;
        let has = |key: &str| last.get(key).is_some_and(|value| !value.is_null());
        let benchmark = if last["metrics"].is_object() {
            ai_perf_records(&values)?
        } else if last["request_latency"].is_object() || last["request_throughput"].is_object() {
            ai_perf(last)?
        } else if has("mean_e2e_latency_ms") || has("total_output_tokens_retokenized") {
            serving(last, Tool::SglangBenchServing)?
        } else if has("mean_ttft_ms") || has("output_throughput") || has("request_throughput") {
            serving(last, Tool::VllmBenchServe)?
        } else {
            let keys: Vec<&str> = last.as_object().into_iter().flat_map(Map::keys).take(6).map(String::as_str).collect();
            let found = if keys.is_empty() { "no object".to_owned() } else { keys.join(", ") };
            return Err(format!("this is no output of a benchmark that is understood (it holds {found}); {KNOWN}"));
        };
        let latency = ["ttft", "tpot", "itl", "e2e"];
        if !benchmark.measured.keys().any(|name| latency.iter().any(|quantity| name.starts_with(quantity))) {
            return Err(format!("{} without TTFT, TPOT or end-to-end latency: there is nothing to fit to", benchmark.tool.name()));
        }
        Ok(match (values.len(), benchmark.tool) {
            (1, _) | (_, Tool::AiPerfRecords) => benchmark,
            (runs, _) => benchmark.noting(format!("the file holds {runs} runs: the last one is taken")),
        })
    }

    fn noting(mut self, note: String) -> Benchmark {
        self.notes.push(note);
        self
    }

    fn empty(tool: Tool) -> Benchmark {
        Benchmark {
            tool,
            measured: Map::new(),
            rows: None,
            requests: None,
            mean_input_tokens: None,
            mean_output_tokens: None,
            model: None,
            request_rate: None,
            concurrency: None,
            notes: Vec::new(),
        }
    }

    fn put(&mut self, name: &str, value: f64) {
        // A mean of nothing is written as 0 by these tools.
        if value.is_finite() && value > 0.0 {
            self.measured.insert(name.to_owned(), json!(value));
        }
    }
}

/// Python writes numbers that JSON does not have as bare words. They become the texts that these tools use elsewhere.
fn without_python(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let word =
            [("-Infinity", "\"-inf\""), ("Infinity", "\"inf\""), ("NaN", "null")].into_iter().find(|(word, _)| rest.starts_with(word));
        if let Some((word, instead)) = word.filter(|_| !inside) {
            plain.push_str(instead);
            rest = &rest[word.len()..];
            continue;
        }
        inside ^= letter == '"' && !escaped;
        escaped = inside && letter == '\\' && !escaped;
        plain.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    plain
}

/// One JSON value, or one a line.
fn values(text: &str) -> Result<Vec<Value>, String> {
    let text = &if text.contains("Infinity") || text.contains("NaN") { without_python(text) } else { text.to_owned() };
    let whole: Result<Value, serde_json::Error> = serde_json::from_str(text);
    if let Ok(value) = whole {
        return Ok(vec![value]);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed: Result<Vec<Value>, String> =
        lines.map(|(index, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))).collect();
    parsed.map_err(|error| format!("this is no JSON and no JSON lines ({error}); {KNOWN}"))
}

fn number(object: &Value, key: &str) -> Option<f64> {
    object.get(key)?.as_f64()
}

/// vLLM's and SGLang's tools have one ancestor and write nearly the same.
fn serving(object: &Value, tool: Tool) -> Result<Benchmark, String> {
    let mut benchmark = Benchmark::empty(tool);
    // Its own name for end-to-end latency.
    for (key, value) in object.as_object().into_iter().flatten() {
        let Some((statistic, quantity)) = key.strip_suffix("_ms").and_then(|rest| rest.split_once('_')) else { continue };
        let quantity = match quantity {
            "ttft" | "tpot" | "itl" => quantity,
            "e2el" | "e2e_latency" => "e2e",
            _ => continue,
        };
        let statistic = if statistic == "median" { "p50" } else { statistic };
        let known = statistic == "mean" || statistic.strip_prefix('p').is_some_and(|percent| percent.parse::<f64>().is_ok());
        if let Some(value) = value.as_f64().filter(|_| known) {
            benchmark.put(&format!("{quantity}_{statistic}_ms"), value);
        }
    }
    for (key, name) in [("output_throughput", "output_tok_s"), ("request_throughput", "req_s"), ("total_token_throughput", "total_tok_s")] {
        if let Some(value) = number(object, key) {
            benchmark.put(name, value);
        }
    }
    let completed = number(object, "completed").ok_or_else(|| missing(tool, "completed"))?;
    if completed < 1.0 {
        return Err(format!("{}: no request was completed", tool.name()));
    }
    benchmark.requests = Some(completed as u64);
    benchmark.mean_input_tokens = number(object, "total_input_tokens").map(|total| total / completed);
    benchmark.mean_output_tokens = number(object, "total_output_tokens").map(|total| total / completed);
    benchmark.model = object.get("model_id").and_then(Value::as_str).map(str::to_owned);
    benchmark.request_rate = match object.get("request_rate") {
        Some(Value::String(text)) if text.eq_ignore_ascii_case("inf") => Some(f64::INFINITY),
        Some(value) => value.as_f64(),
        None => None,
    };
    benchmark.concurrency = number(object, "max_concurrency").filter(|most| *most >= 1.0).map(|most| most as u32);
    if let Some(failed) = number(object, "failed").filter(|failed| *failed > 0.0) {
        benchmark.notes.push(format!("{failed} requests failed and are in none of the measured numbers"));
    }
    benchmark.rows = serving_rows(object);
    Ok(benchmark)
}

fn missing(tool: Tool, key: &str) -> String {
    format!("{}: the key {key} is missing", tool.name())
}

fn column(object: &Value, key: &str) -> Option<Vec<f64>> {
    let list = object.get(key)?.as_array()?;
    Some(list.iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect())
}

/// `ttfts` and `itls` are s. Requests that failed have no first token and are left out.
fn serving_rows(object: &Value) -> Option<Rows> {
    let (input, output) = (column(object, "input_lens")?, column(object, "output_lens")?);
    let ttft = column(object, "ttfts")?;
    let gaps = object.get("itls").and_then(Value::as_array);
    let starts = column(object, "start_times").filter(|starts| starts.len() == ttft.len());
    if input.len() != ttft.len() || output.len() != ttft.len() {
        return None;
    }
    let first = starts.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let mut rows = Rows::default();
    for index in 0..ttft.len() {
        if !(ttft[index] > 0.0 && output[index] >= 1.0) {
            continue;
        }
        rows.input_tokens.push(input[index]);
        rows.output_tokens.push(output[index]);
        rows.ttft_ms.push(ttft[index] * 1e3);
        rows.sent_s.extend(starts.as_ref().map(|starts| starts[index] - first));
        // Gaps are between chunks; their sum is from the first token to the last, however many tokens a chunk has.
        let rest = gaps.and_then(|gaps| gaps.get(index)?.as_array()).map(|gaps| gaps.iter().filter_map(Value::as_f64).sum::<f64>() * 1e3);
        rows.tpot_ms.push(rest.filter(|_| output[index] > 1.0).map_or(f64::NAN, |rest| rest / (output[index] - 1.0)));
        rows.e2e_ms.push(rest.map_or(f64::NAN, |rest| rest + ttft[index] * 1e3));
    }
    (!rows.ttft_ms.is_empty()).then_some(rows)
}

/// AIPerf's metric, and the name here.
const AI_PERF_LATENCIES: [(&str, &str); 3] = [("time_to_first_token", "ttft"), ("inter_token_latency", "tpot"), ("request_latency", "e2e")];
const AI_PERF_RATES: [(&str, &str); 3] =
    [("output_token_throughput", "output_tok_s"), ("request_throughput", "req_s"), ("total_token_throughput", "total_tok_s")];

/// Milliseconds in a unit of time.
fn in_ms(metric: &str, object: &Value) -> Result<f64, String> {
    match object.get("unit").and_then(Value::as_str).unwrap_or("ms") {
        "ms" => Ok(1.0),
        "s" | "sec" => Ok(1e3),
        "us" => Ok(1e-3),
        "ns" => Ok(1e-6),
        other => Err(format!("AIPerf: {metric} has the unknown unit {other:?}")),
    }
}

fn ai_perf(object: &Value) -> Result<Benchmark, String> {
    let mut benchmark = Benchmark::empty(Tool::AiPerf);
    for (metric, name) in AI_PERF_LATENCIES {
        let Some(found) = object.get(metric).filter(|found| found.is_object()) else { continue };
        let ms = in_ms(metric, found)?;
        for statistic in ["avg", "p50", "p90", "p95", "p99"] {
            if let Some(value) = number(found, statistic) {
                benchmark.put(&format!("{name}_{}_ms", if statistic == "avg" { "mean" } else { statistic }), value * ms);
            }
        }
    }
    let average = |metric: &str| object.get(metric).and_then(|found| number(found, "avg"));
    for (metric, name) in AI_PERF_RATES {
        if let Some(value) = average(metric) {
            benchmark.put(name, value);
        }
    }
    benchmark.requests = average("request_count").map(|count| count as u64);
    benchmark.mean_input_tokens = average("input_sequence_length");
    benchmark.mean_output_tokens = average("output_sequence_length");
    let input = &object["input_config"];
    let load = &input["loadgen"];
    benchmark.concurrency = number(load, "concurrency").map(|most| most as u32).filter(|most| *most >= 1);
    benchmark.request_rate = number(load, "request_rate");
    let models = input["endpoint"]["model_names"].as_array();
    benchmark.model = models.and_then(|names| names.first()?.as_str()).map(str::to_owned);
    Ok(benchmark)
}

/// One object a request: `metrics.NAME.{value, unit}`.
fn ai_perf_records(values: &[Value]) -> Result<Benchmark, String> {
    let mut benchmark = Benchmark::empty(Tool::AiPerfRecords);
    let mut rows = Rows::default();
    let mut failed = 0;
    let (mut first_ns, mut last_ns) = (f64::INFINITY, 0.0_f64);
    let mut starts = Vec::new();
    for value in values {
        let metrics = &value["metrics"];
        if value.get("error").is_some_and(|error| !error.is_null()) {
            failed += 1;
            continue;
        }
        let of = |metric: &str| metrics.get(metric).and_then(|found| number(found, "value"));
        let time = |metric: &str| -> Result<f64, String> {
            match metrics.get(metric) {
                Some(found) => Ok(number(found, "value").unwrap_or(f64::NAN) * in_ms(metric, found)?),
                None => Ok(f64::NAN),
            }
        };
        rows.ttft_ms.push(time("time_to_first_token")?);
        rows.tpot_ms.push(time("inter_token_latency")?);
        rows.e2e_ms.push(time("request_latency")?);
        rows.input_tokens.push(of("input_sequence_length").unwrap_or(f64::NAN));
        rows.output_tokens.push(of("output_sequence_length").unwrap_or(f64::NAN));
        let (start, end) = (number(&value["metadata"], "request_start_ns"), number(&value["metadata"], "request_end_ns"));
        first_ns = first_ns.min(start.unwrap_or(f64::INFINITY));
        last_ns = last_ns.max(end.unwrap_or(0.0));
        starts.extend(start);
    }
    if rows.e2e_ms.is_empty() {
        return Err("AIPerf: no request was completed".to_owned());
    }
    for (name, column) in [("ttft", &rows.ttft_ms), ("tpot", &rows.tpot_ms), ("e2e", &rows.e2e_ms)] {
        let mut known: Vec<f64> = column.iter().copied().filter(|value| value.is_finite()).collect();
        if known.is_empty() {
            continue;
        }
        benchmark.put(&format!("{name}_mean_ms"), known.iter().sum::<f64>() / known.len() as f64);
        for (statistic, value) in ["p50", "p90", "p99"].iter().zip(quantiles(&mut known, &[0.5, 0.9, 0.99])) {
            benchmark.put(&format!("{name}_{statistic}_ms"), value);
        }
    }
    let count = rows.e2e_ms.len() as f64;
    let total = |column: &[f64]| column.iter().copied().filter(|value| value.is_finite()).sum::<f64>();
    if last_ns > first_ns {
        let duration_s = (last_ns - first_ns) * 1e-9;
        benchmark.put("output_tok_s", total(&rows.output_tokens) / duration_s);
        benchmark.put("req_s", count / duration_s);
    }
    if starts.len() == rows.e2e_ms.len() {
        rows.sent_s = starts.iter().map(|start| (start - first_ns) * 1e-9).collect();
    }
    benchmark.requests = Some(rows.e2e_ms.len() as u64);
    benchmark.mean_input_tokens = Some(total(&rows.input_tokens) / count).filter(|mean| *mean > 0.0);
    benchmark.mean_output_tokens = Some(total(&rows.output_tokens) / count).filter(|mean| *mean > 0.0);
    if failed > 0 {
        benchmark.notes.push(format!("{failed} requests failed and are in none of the measured numbers"));
    }
    benchmark.rows = Some(rows);
    Ok(benchmark)
}
