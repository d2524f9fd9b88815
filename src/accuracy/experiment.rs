//! From a record to the document a user would write for it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Factors;
use super::lengths::{Counts, Table};
use super::options::{extend, parallel, sglang, speculation, static_batch, trtllm, vllm};
use super::record::Record;
use super::shape::{model, weights};
use crate::catalog::{self, Engine};
use crate::rng::{Purpose, Stream};
use crate::sim::Files;

/// More requests than these add nothing but time (a published run has 1.5 million).
const MOST_REQUESTS: u64 = 60_000;
/// More than any record has.
const MOST_GPUS: u32 = 4096;
/// Taken where neither the record nor a file says how many.
const REQUESTS: u64 = 1000;
/// Between the requests that fill a cache and those that count, s.
const WARM_UP_S: f64 = 60.0;
/// Tokens of a block of hash ids in the trace that is made.
const HASH_TOKENS: u64 = 16;
const TRACE: &str = "requests.csv";

/// A record as a document, with the trace it names.
#[derive(Clone, Debug, Default)]
pub struct Experiment {
    pub document: Value,
    pub files: Made,
    /// The first requests that do not count: a closed loop's ramp where the source measured a steady state.
    pub left_out: usize,
    /// Latencies count from the server, not from the client.
    pub at_server: bool,
    /// Rates count from when so many have a first token until all but so many have ended.
    pub steady_batch: Option<u32>,
    pub gpus: u32,
    pub warnings: Vec<String>,
}

/// Files made in memory.
#[derive(Clone, Debug, Default)]
pub struct Made(pub BTreeMap<String, String>);

impl Files for Made {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| format!("there is no {path}"))
    }
}

/// The experiment a record describes, or what stands in the way.
pub fn experiment(record: &Record, files: &dyn Files, factors: Factors) -> Result<Experiment, String> {
    let engine = record.engine().ok_or_else(|| format!("framework {:?} is not simulated", record.framework))?;
    let requests = Requests::of(record, files)?;
    let (kind, stack) = match engine {
        Engine::Vllm => ("VLLM", vllm(record, requests.longest())),
        Engine::Sglang => ("SGLANG", sglang(record)),
        Engine::Trtllm => ("TRTLLM", trtllm(record)),
    };
    let (model_key, model) = model(record)?;
    if let Some(method) = speculation(record) {
        return Err(format!("speculative decoding ({method}) with an unknown acceptance rate"));
    }
    let load = &record.load;
    let [tp, dp, pp] = [record.tp, record.dp, record.pp].map(|degree| degree.unwrap_or(1).max(1));
    let gpus =
        tp.checked_mul(pp).and_then(|gpus| gpus.checked_mul(dp)).filter(|gpus| *gpus <= MOST_GPUS).ok_or("more GPUs than there are")?;
    let replicas = record.replicas.unwrap_or(1).clamp(1, MOST_GPUS);
    let mut workload = json!({"trace": {"path": TRACE, "format": "plain_csv", "spread_within_step": false}});
    if let Some(closed) = load.closed {
        workload["concurrency"] = json!(closed.concurrency);
    }

    let pools = record.disaggregated.as_ref().filter(|value| !value.is_null());
    let mut config = stack;
    if let Some(pools) = pools {
        config.insert("disaggregation".into(), disaggregation(record, pools)?);
        // Set 13 states 64 sequences where its own rate keeps three times as many running.
        if load.poisson.is_some() {
            config.remove("max_num_seqs");
        }
    }
    config.insert(model_key.into(), model);
    extend(&mut config, parallel(record, tp, pp, dp)?);
    if let Some(dtype) = weights(record)? {
        config.insert("dtype".into(), json!(dtype));
    }
    if let Some(dtype) = record.kv_dtype.as_deref().filter(|dtype| *dtype != "unknown") {
        config.insert("kv_cache_dtype".into(), json!(dtype));
    }
    if let Some(cached) = record.prefix_caching {
        config.insert("enable_prefix_caching".into(), json!(cached));
    }
    if let Some(batch) = load.static_batch {
        static_batch(batch.batch, requests.input.iter().sum(), requests.longest(), &mut config);
    }
    let (mut trace, warm_up_s) = requests.csv(record);
    let at_server = load.trace.is_some() || load.static_batch.is_some();
    let in_process = record.option_flag("server") == Some(false) || engine == Engine::Trtllm && load.offline.is_some();
    let mut calibration = Map::new();
    if factors != Factors::default() {
        let skew = factors.skew * crate::cost::EXPERT_SKEW;
        let given = [("host_time", factors.host), ("device_time", factors.device), ("launch_time", factors.launch), ("expert_skew", skew)];
        calibration.extend(given.map(|(key, factor)| (key.to_owned(), json!(factor))));
    }
    if at_server || in_process {
        calibration.insert("per_request_ms".into(), json!(0));
    }
    if !calibration.is_empty() {
        config.insert("calibration".into(), Value::Object(calibration));
    }
    let entries: Vec<Value> =
        (0..replicas).map(|index| json!({"name": format!("engine {index}"), "type": kind, "config": config})).collect();
    if replicas > 1 {
        workload["load_balancing_strategy"] = json!("round_robin");
    }
    let document = json!({
        "simulation": {"random_seed": 1, "comparison": if replicas > 1 { "shared" } else { "side_by_side" }},
        "hardware_profile": hardware(record, gpus, pools.is_some())?,
        "workload": workload,
        "frameworks_to_test": entries,
        "metrics_config": {"warm_up_duration_s": warm_up_s},
    });
    let steady = load.closed.filter(|_| record.is_assumed("num_requests")).map_or(0, |closed| closed.concurrency as usize);
    let made = BTreeMap::from([(TRACE.to_owned(), std::mem::take(&mut trace))]);
    Ok(Experiment {
        document,
        files: Made(made),
        left_out: steady,
        at_server,
        steady_batch: record.option_count("max_num_seqs").filter(|_| record.measured.contains_key("batch_mean")).map(|batch| batch as u32),
        gpus: record.num_gpus.unwrap_or(gpus.saturating_mul(replicas)),
        warnings: Vec::new(),
    })
}

/// Pools on nodes of their own, and how KV goes between them: `kv_transfer` reads or writes, else as the engine does.
fn disaggregation(record: &Record, pools: &Value) -> Result<Value, String> {
    let pool = |name: &str| -> Result<Value, String> {
        let tp = pools[name]["tp"].as_u64().ok_or_else(|| format!("the {name} pool has no tp"))?;
        Ok(json!({"tensor_parallel_size": tp}))
    };
    let mut transfer = json!({"separate_nodes": true});
    if record.id.starts_with("mooncake") {
        transfer["connector"] = json!("mooncake");
    }
    match record.option_text("kv_transfer") {
        Some("read") => transfer["order"] = json!("pull"),
        Some("write") => transfer["order"] = json!("push"),
        _ => {}
    }
    Ok(json!({"prefill": pool("prefill")?, "decode": pool("decode")?, "transfer": transfer}))
}

fn hardware(record: &Record, gpus: u32, two_pools: bool) -> Result<Value, String> {
    let name = record.gpu.as_deref().ok_or("no GPU is named")?;
    let device = catalog::builtin().device(name).map_err(|unknown| unknown.to_string())?;
    let per_node = device.devices_per_node.max(1);
    let Some(changes) = record.gpu_override.as_ref().filter(|changes| !changes.is_empty() && !two_pools) else {
        let (count, nodes) = match gpus {
            _ if two_pools => (per_node, 2),
            _ if gpus > per_node => (per_node, gpus.div_ceil(per_node)),
            _ => (gpus, 1),
        };
        return Ok(json!({"node": format!("{count}x{}", device.name), "nodes": nodes}));
    };
    let number = |key: &str| changes.get(key).and_then(Value::as_f64);
    let mut described = json!({"device": device.name});
    if let Some(gb) = number("mem_gb") {
        // Cards show about 0.99 of their nominal GiB.
        described["memory_capacity_bytes"] = json!(gb * 0.99 * f64::from(1 << 30));
    }
    if let Some(rate) = number("mem_gbs") {
        described["memory_gbps"] = json!(rate);
    }
    let peaks = [("bf16_tflops_dense", "bf16"), ("fp16_tflops_dense", "fp16"), ("fp8_tflops_dense", "fp8"), ("int8_tops_dense", "int8")];
    let mut peaks: Map<String, Value> =
        peaks.into_iter().filter_map(|(theirs, ours)| number(theirs).map(|value| (ours.to_owned(), json!(value)))).collect();
    // The two formats of 16 bit have one peak wherever both are computed.
    for (one, other) in [("bf16", "fp16"), ("fp16", "bf16")] {
        if let (None, Some(value)) = (peaks.get(one), peaks.get(other)) {
            let value = value.clone();
            peaks.insert(one.to_owned(), value);
        }
    }
    if !peaks.is_empty() {
        described["peak_tflops"] = Value::Object(peaks);
    }
    let devices: Vec<Value> = (0..gpus.max(1))
        .map(|index| {
            let mut one = described.clone();
            one["device_id"] = json!(format!("gpu_{index}"));
            one
        })
        .collect();
    Ok(json!({"compute_devices": devices}))
}

/// The requests of a record: times, lengths and which prompt each has.
struct Requests {
    arrival_s: Vec<f64>,
    input: Vec<u64>,
    output: Vec<u64>,
}

impl Requests {
    /// Most tokens of a request, prompt and reply.
    fn longest(&self) -> u64 {
        self.input.iter().zip(&self.output).map(|(input, output)| input + output).max().unwrap_or(0)
    }

    fn of(record: &Record, files: &dyn Files) -> Result<Requests, String> {
        let table = |path: Option<&String>| -> Result<Option<Table>, String> {
            let Some(path) = path else { return Ok(None) };
            let bytes = files.read(path)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not text"))?;
            Table::parse(&text).map(Some).map_err(|why| format!("{path} {why}"))
        };
        let load = &record.load;
        let open = load.poisson.is_some() || load.constant.is_some() || load.trace.is_some();
        if !open && load.closed.is_none() && load.offline.is_none() && load.static_batch.is_none() {
            return Err("load is none of poisson, constant, closed, offline, static_batch and trace".to_owned());
        }
        let arrivals = match &load.trace {
            Some(trace) => Some(table(trace.file.as_ref())?.ok_or("its trace is not published with it")?),
            None => None,
        };
        let inputs = table(record.input.file.as_ref())?;
        let outputs = table(record.output.file.as_ref())?;
        let input =
            Counts::new(&record.input, inputs.as_ref().map(|table| table.input.as_slice())).map_err(|why| format!("input: {why}"))?;
        let output =
            Counts::new(&record.output, outputs.as_ref().map(|table| table.output.as_slice())).map_err(|why| format!("output: {why}"))?;
        let rows = [input.rows(), output.rows(), arrivals.as_ref().map(|table| table.arrival_s.len())].into_iter().flatten().min();
        let wanted = load.static_batch.map(|batch| u64::from(batch.batch)).or(record.num_requests);
        let count = wanted.or(rows.map(|rows| rows as u64)).unwrap_or(REQUESTS).clamp(1, MOST_REQUESTS) as usize;
        let in_order = rows.is_none_or(|rows| count <= rows);
        let mut stream = Stream::new(1, Purpose::InputLengths, 0);
        let (mut input_tokens, mut output_tokens) = (Vec::with_capacity(count), Vec::with_capacity(count));
        // A list is drawn from row by row: a prompt keeps its reply.
        let paired = record.input.file.is_some() && record.input.file == record.output.file && !in_order;
        for index in 0..count {
            let row = if paired { (stream.uniform() * rows.unwrap_or(1) as f64) as usize } else { index };
            input_tokens.push(input.draw(row, in_order || paired, &mut stream));
            output_tokens.push(output.draw(row, in_order || paired, &mut stream));
        }
        // Lengths drawn around a mean do not go beyond what the engine is said to take, which no benchmark sends.
        let limit = record.option_count("max_model_len").filter(|limit| *limit > 1);
        if let Some(limit) = limit.filter(|_| record.input.mean_only.is_some() || record.output.mean_only.is_some()) {
            for (input, output) in input_tokens.iter_mut().zip(&mut output_tokens) {
                *input = (*input).min(limit - 1);
                *output = (*output).min(limit - *input);
            }
        }
        let mut gaps = Stream::new(1, Purpose::Arrivals, 0);
        let mut now = 0.0;
        let arrival_s = match (load.poisson, load.constant, arrivals) {
            (_, _, Some(table)) => table.arrival_s.into_iter().take(count).collect(),
            (Some(rate), ..) => (0..count)
                .map(|_| {
                    now += gaps.exponential() / rate.rate_rps;
                    now
                })
                .collect(),
            (_, Some(rate), _) => (0..count).map(|index| index as f64 / rate.rate_rps).collect(),
            _ => vec![0.0; count],
        };
        if arrival_s.len() < count {
            return Err("the trace has fewer arrivals than requests".to_owned());
        }
        Ok(Requests { arrival_s, input: input_tokens, output: output_tokens })
    }

    /// The trace, and how long its warm-up lasts. Prompts that recur have equal hash ids.
    fn csv(mut self, record: &Record) -> (String, f64) {
        let prefix = record.prefix.as_ref().filter(|_| record.prefix_caching != Some(false));
        let distinct = prefix.and_then(|prefix| prefix.distinct_prompts).unwrap_or(0) as usize;
        let distinct = distinct.min(self.input.len());
        let Some(prefix) = prefix.filter(|_| distinct > 0) else {
            let mut text = String::from("arrival_s,input_tokens,output_tokens\n");
            for ((arrival, input), output) in self.arrival_s.iter().zip(&self.input).zip(&self.output) {
                let _ = writeln!(text, "{arrival},{input},{output}");
            }
            return (text, 0.0);
        };
        // Each prompt is fixed, so it has the length of its first use.
        let prompts: Vec<u64> = self.input.iter().cycle().take(distinct).copied().collect();
        let groups = prefix.groups.unwrap_or(1).max(1) as usize;
        let shared = u64::from(prefix.shared_prefix_tokens.unwrap_or(0)) / HASH_TOKENS;
        let mut prompt_of: Vec<usize> = (0..self.input.len()).map(|index| index % distinct).collect();
        let warm_up_s = if prefix.warm == Some(true) { WARM_UP_S } else { 0.0 };
        if warm_up_s > 0.0 {
            self.arrival_s.iter_mut().for_each(|arrival| *arrival += warm_up_s);
            self.arrival_s.splice(0..0, std::iter::repeat_n(0.0, distinct));
            self.output.splice(0..0, std::iter::repeat_n(1, distinct));
            prompt_of.splice(0..0, 0..distinct);
        }
        let mut text = String::from("arrival_s,input_tokens,output_tokens,hash_ids\n");
        for ((arrival, output), prompt) in self.arrival_s.iter().zip(&self.output).zip(prompt_of) {
            let tokens = prompts[prompt];
            let blocks = tokens.div_ceil(HASH_TOKENS);
            let common = shared.min(blocks);
            let own = (groups as u64 + prompt as u64) << 20;
            let group = ((prompt % groups) as u64) << 20;
            let mut ids = String::new();
            if common > 0 {
                let _ = write!(ids, "{}-{} ", group, group + common - 1);
            }
            if blocks > common {
                let _ = write!(ids, "{}-{}", own, own + blocks - common - 1);
            }
            let _ = writeln!(text, "{arrival},{tokens},{output},{}", ids.trim_end());
        }
        (text, warm_up_s)
    }
}
