//! From a record to the document a user would write for it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Factors;
use super::lengths::{Counts, Table};
use super::record::Record;
use crate::catalog;
use crate::rng::{Purpose, Stream};
use crate::sim::Files;

/// More requests than these add nothing but time (a published run has 1.5 million).
const MOST_REQUESTS: u64 = 60_000;
/// Taken where neither the record nor a file says how many.
const REQUESTS: u64 = 1000;
/// Between the requests that fill a cache and those that count, s.
const WARM_UP_S: f64 = 60.0;
/// Tokens of a block of hash ids in the trace that is made.
const HASH_TOKENS: u64 = 16;
/// Host time of vLLM before V1, us a step and a sequence. An assumption.
const V0_HOST_US: (f64, f64) = (2500.0, 15.0);
/// That of the prototype of 2023 in set 16, read off its decode steps on A100 and H100.
const PROTOTYPE_HOST_US: (f64, f64) = (22_000.0, 350.0);
/// Launch of a kernel by an engine that Python does not slow down: TensorRT-LLM before its PyTorch back end. An assumption.
const COMPILED_LAUNCH_US: f64 = 5.0;
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
    let (kind, stack) = match record.framework.as_str() {
        "vllm" => ("VLLM", vllm(record)),
        "sglang" => ("SGLANG", sglang(record)),
        "trtllm" => ("TRTLLM", trtllm(record)),
        other => return Err(format!("framework {other:?} is not simulated")),
    };
    let model = record.model.as_deref().ok_or("no model is named")?;
    let shape = shape(model);
    if let Some(method) = speculation(record) {
        return Err(format!("speculative decoding ({method}) with an unknown acceptance rate"));
    }
    let load = &record.load;
    let (tp, dp, pp) = (record.tp.unwrap_or(1), record.dp.unwrap_or(1), record.pp.unwrap_or(1));
    let replicas = record.replicas.unwrap_or(1).max(1);
    let (mut trace, warm_up_s) = Requests::of(record, files)?.csv(record);
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
    config.insert("model_profile_id".into(), json!(shape));
    extend(&mut config, parallel(record, tp, pp, dp)?);
    if let Some(dtype) = weights(record, model) {
        config.insert("dtype".into(), json!(dtype));
    }
    if let Some(dtype) = record.kv_dtype.as_deref().filter(|dtype| *dtype != "unknown") {
        config.insert("kv_cache_dtype".into(), json!(dtype));
    }
    if let Some(cached) = record.prefix_caching {
        config.insert("enable_prefix_caching".into(), json!(cached));
    }
    if let Some(batch) = load.static_batch {
        static_batch(batch.batch, record, &mut config);
    }
    if factors != Factors::default() {
        config.insert("calibration".into(), json!({"host_time": factors.host, "device_time": factors.device}));
    }
    let entries: Vec<Value> =
        (0..replicas).map(|index| json!({"name": format!("engine {index}"), "type": kind, "config": config})).collect();
    if replicas > 1 {
        workload["load_balancing_strategy"] = json!("round_robin");
    }
    let document = json!({
        "simulation": {"random_seed": 1, "comparison": if replicas > 1 { "shared" } else { "side_by_side" }},
        "hardware_profile": hardware(record, tp * pp * dp, pools.is_some())?,
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
        at_server: load.trace.is_some() || load.static_batch.is_some(),
        steady_batch: record.option_count("max_num_seqs").filter(|_| record.measured.contains_key("batch_mean")).map(|batch| batch as u32),
        gpus: record.num_gpus.unwrap_or(tp * pp * dp * replicas),
        warnings: Vec::new(),
    })
}

/// The catalog's model of the same shape: quantised and tuned copies have that of their original.
fn shape(model: &str) -> &str {
    let known = |name: &&str| catalog::builtin().model(name).is_ok();
    let copies = ["-FP8", "-Instruct-2507-FP8", "-Instruct-2507"].into_iter().filter_map(|suffix| model.strip_suffix(suffix));
    std::iter::once(model).chain(copies).find(known).unwrap_or(model)
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

/// The method of speculative decoding, where the record names one.
fn speculation(record: &Record) -> Option<String> {
    let given = record.engine_args.as_ref()?.get("speculative_decoding")?;
    if given.is_null() || given == &json!(false) {
        return None;
    }
    Some(given.get("method").and_then(Value::as_str).unwrap_or("unnamed").to_owned())
}

/// Degrees of parallelism under each stack's own names. vLLM counts the GPUs of one attention rank, the others those of all ranks.
fn parallel(record: &Record, tp: u32, pp: u32, dp: u32) -> Result<Value, String> {
    let gpus = tp.saturating_mul(dp);
    let experts = record.ep.filter(|ep| *ep > 1);
    let mut own = Map::new();
    let mut config = match record.framework.as_str() {
        "sglang" => {
            if dp > 1 {
                own.insert("enable_dp_attention".into(), json!(true));
                own.insert("dp_size".into(), json!(dp));
            }
            own.extend(experts.map(|ep| ("ep_size".to_owned(), json!(ep))));
            own.extend(record.option_text("moe_a2a_backend").map(|way| ("moe_a2a_backend".to_owned(), json!(way))));
            json!({"tensor_parallel_size": gpus, "sglang": own})
        }
        "trtllm" => {
            if dp > 1 {
                if tp > 1 {
                    return Err(format!("TensorRT-LLM has attention ranks of one GPU, not of {tp}"));
                }
                own.insert("enable_attention_dp".into(), json!(true));
                // The published scripts (InferenceX) balance ranks: some give a wait, for the first prompts only and not for more of them;
                // the others leave both waits as the framework has them.
                let scripted = record.option_text("from").is_some_and(|from| from.contains("InferenceX"));
                if let Some(steps) = record.option_count("attention_dp_balance_wait_iters") {
                    let balance = json!({"enable_balance": true, "timeout_iters": steps, "batching_wait_iters": 0});
                    own.insert("attention_dp_config".into(), balance);
                } else if scripted {
                    own.insert("attention_dp_config".into(), json!({"enable_balance": true}));
                }
            }
            own.extend(experts.map(|ep| ("moe_expert_parallel_size".to_owned(), json!(ep))));
            json!({"tensor_parallel_size": gpus, "trtllm": own})
        }
        _ => {
            let mut config = json!({"tensor_parallel_size": tp});
            if dp > 1 {
                config["data_parallel_size"] = json!(dp);
            }
            if let Some(ep) = experts {
                if ep != gpus {
                    return Err(format!("vLLM deals experts out over all {gpus} GPUs, not over {ep}"));
                }
                config["enable_expert_parallel"] = json!(true);
            }
            config
        }
    };
    if pp > 1 {
        config["pipeline_parallel_size"] = json!(pp);
    }
    Ok(config)
}

/// Adds what `more` says, within nested options too.
fn extend(config: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    for (key, value) in more {
        match (config.get_mut(&key), value) {
            (Some(Value::Object(own)), Value::Object(value)) => own.extend(value),
            (_, value) => drop(config.insert(key, value)),
        }
    }
}

/// The weights' format; models published in blockwise fp8 are taken as such.
fn weights(record: &Record, model: &str) -> Option<&'static str> {
    let blockwise = ["deepseek", "-fp8", "minimax", "glm", "kimi"].into_iter().any(|part| model.to_ascii_lowercase().contains(part));
    Some(match record.weights_dtype.as_deref()? {
        "bf16" => "bf16",
        "fp16" => "fp16",
        "fp8" if blockwise && record.framework != "other" => "fp8_block",
        "fp8" => "fp8",
        "nvfp4" => "nvfp4",
        "mxfp4" => "mxfp4",
        "int4" => "int4",
        "int8" => "int8",
        _ => return None,
    })
}

/// Copies options over under the names a document gives them; those of a falsy kind are left out.
fn options(record: &Record, names: &[(&str, &str)]) -> Map<String, Value> {
    let given = record.engine_args.clone().unwrap_or_default();
    let found = names.iter().filter_map(|(theirs, ours)| {
        let value = given.get(*theirs).filter(|value| value.is_number() || value.is_boolean())?;
        Some(((*ours).to_owned(), value.clone()))
    });
    found.collect()
}

fn vllm(record: &Record) -> Map<String, Value> {
    let mut config = options(
        record,
        &[
            ("max_num_seqs", "max_num_seqs"),
            ("max_num_batched_tokens", "max_num_batched_tokens"),
            ("max_model_len", "max_model_len"),
            ("gpu_memory_utilization", "gpu_memory_utilization"),
            ("block_size", "block_size"),
            ("chunked_prefill", "enable_chunked_prefill"),
            ("async_scheduling", "async_scheduling"),
            ("cuda_graph", "cuda_graphs"),
        ],
    );
    if let Some(tokens) = record.option_count("cuda_graph_max_batch") {
        config.insert("vllm".into(), json!({"max_cudagraph_capture_size": tokens}));
    }
    if let Some(tokens) = record.option_count("kv_cache_tokens") {
        let block = record.option_count("block_size").unwrap_or(16);
        config.insert("num_gpu_blocks_override".into(), json!(tokens / block));
    }
    // Chat models that stop by themselves sample as their generation_config says, with top-p; forced lengths are sampled greedily.
    if record.ignore_eos == Some(false) && release(record).is_some_and(|release| release >= (0, 9)) {
        config.insert("sampling".into(), json!("top_p"));
    }
    // The engine before V1: prompts whole and apart from decodes unless it was asked otherwise, and a slow loop on the host, between the
    // 2 and 6 ms at 256 sequences that its developers reported. An assumption.
    let prototype = record.framework_version.as_deref().is_some_and(|version| version.starts_with("2023"));
    if prototype || release(record).is_some_and(|release| release < (0, 8)) {
        config.entry("enable_chunked_prefill").or_insert(json!(false));
        let schedule = record.option_number("num_scheduler_steps").unwrap_or(1.0).max(1.0);
        let (step_us, sequence_us) = if prototype { PROTOTYPE_HOST_US } else { V0_HOST_US };
        config.insert(
            "host_overhead".into(),
            json!({"per_step_us": step_us / schedule, "per_sequence_us": sequence_us / schedule, "per_new_request_us": 100,
                "per_launch_us": if prototype { 0 } else { 50 }}),
        );
    }
    // Batches are formed ahead by default from 0.14.
    if !config.contains_key("async_scheduling") && (prototype || release(record).is_some_and(|release| release < (0, 14))) {
        config.insert("async_scheduling".into(), json!(false));
    }
    config
}

/// Major and minor number of the framework's version, where it has numbers.
fn release(record: &Record) -> Option<(u32, u32)> {
    let mut parts = record.framework_version.as_deref()?.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn sglang(record: &Record) -> Map<String, Value> {
    let mut own = options(record, &[("cuda_graph_max_batch", "cuda_graph_max_bs")]);
    // Batches are formed ahead from 0.4.
    if release(record).is_some_and(|release| release < (0, 4)) {
        own.insert("disable_overlap_schedule".into(), json!(true));
    }
    let mut config = options(
        record,
        &[
            ("max_running_requests", "max_num_seqs"),
            ("chunked_prefill_size", "max_num_batched_tokens"),
            ("chunked_prefill", "enable_chunked_prefill"),
            ("mem_fraction_static", "gpu_memory_utilization"),
            ("cuda_graph", "cuda_graphs"),
        ],
    );
    // Prompts that are not cut are taken whole, however long.
    if record.option_flag("chunked_prefill") == Some(false)
        && let Some(tokens) = record.input.fixed
    {
        config.insert("max_num_batched_tokens".into(), json!((tokens as u64).clamp(16_384, 1_048_576)));
    }
    config.insert("sglang".into(), Value::Object(own));
    config
}

fn trtllm(record: &Record) -> Map<String, Value> {
    let mut config = options(record, &[("chunked_prefill", "enable_chunked_prefill"), ("cuda_graph", "cuda_graphs")]);
    let mut own = options(
        record,
        &[
            ("max_batch_size", "max_batch_size"),
            ("max_num_tokens", "max_num_tokens"),
            ("kv_free_gpu_memory_fraction", "free_gpu_memory_fraction"),
        ],
    );
    // Tables of saturated throughput are trtllm-bench's, static batches have no server either.
    let offline = record.load.offline.is_some() || record.load.static_batch.is_some();
    if offline {
        own.insert("preset".into(), json!("bench"));
        if let Some(tokens) = record.input.fixed {
            own.insert("target_input_len".into(), json!(tokens as u64));
        }
        if let Some(tokens) = record.output.fixed {
            own.insert("target_output_len".into(), json!(tokens as u64));
        }
    }
    // A server whose graphs are configured pads to them: the published scripts that state a largest batch say so.
    if let Some(batch) = record.option_count("cuda_graph_max_batch") {
        own.insert("cuda_graph_config".into(), json!({"enable_padding": true, "max_batch_size": batch}));
    }
    config.insert("trtllm".into(), Value::Object(own));
    if release(record).is_some_and(|release| release < (1, 0)) {
        config.insert(
            "host_overhead".into(),
            json!({"per_step_us": 800, "per_sequence_us": 8, "per_new_request_us": 50, "per_launch_us": COMPILED_LAUNCH_US}),
        );
    }
    config
}

/// One batch, whole prompts in one step, no server in front.
fn static_batch(batch: u32, record: &Record, config: &mut Map<String, Value>) {
    let prompt = record.input.fixed.unwrap_or(0.0).max(1.0) as u64;
    let length = prompt + record.output.fixed.unwrap_or(0.0).max(1.0) as u64;
    let step = (u64::from(batch) * prompt).max(length).clamp(1, 1_048_576);
    let limits = [
        ("max_num_seqs", "max_batch_size", u64::from(batch)),
        ("max_num_batched_tokens", "max_num_tokens", step),
        ("max_model_len", "max_seq_len", length),
    ];
    for (common, trtllm, value) in limits {
        match config.get_mut("trtllm").and_then(Value::as_object_mut) {
            Some(own) => own.insert(trtllm.into(), json!(value)),
            None => config.insert(common.into(), json!(value)),
        };
    }
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
    let peaks: Map<String, Value> =
        peaks.into_iter().filter_map(|(theirs, ours)| number(theirs).map(|value| (ours.to_owned(), json!(value)))).collect();
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
    fn of(record: &Record, files: &dyn Files) -> Result<Requests, String> {
        let table = |path: Option<&String>| -> Result<Option<Table>, String> {
            let Some(path) = path else { return Ok(None) };
            let bytes = files.read(path)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not text"))?;
            Table::parse(&text).map(Some).map_err(|why| format!("{path} {why}"))
        };
        let load = &record.load;
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
        let mut gaps = Stream::new(1, Purpose::Arrivals, 0);
        let mut now = 0.0;
        let arrival_s = match (load.poisson, load.constant, arrivals) {
            (_, _, Some(table)) => table.arrival_s.into_iter().take(count).collect(),
            (Some(rate), ..) if rate.rate_rps > 0.0 => (0..count)
                .map(|_| {
                    now += gaps.exponential() / rate.rate_rps;
                    now
                })
                .collect(),
            (_, Some(rate), _) if rate.rate_rps > 0.0 => (0..count).map(|index| index as f64 / rate.rate_rps).collect(),
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use super::*;

    fn record(framework: &str, ep: u32, options: &Value) -> Record {
        let engine_args = options.as_object().cloned();
        Record { framework: framework.into(), ep: Some(ep), engine_args, ..Record::default() }
    }

    #[test]
    fn ranks_and_experts_are_named_as_each_stack_names_them() {
        let none = json!({});
        let vllm = parallel(&record("vllm", 8, &none), 2, 1, 4);
        assert_eq!(vllm, Ok(json!({"tensor_parallel_size": 2, "data_parallel_size": 4, "enable_expert_parallel": true})));
        let own = json!({"enable_dp_attention": true, "dp_size": 4, "ep_size": 8, "moe_a2a_backend": "deepep"});
        let sglang = parallel(&record("sglang", 8, &json!({"moe_a2a_backend": "deepep"})), 2, 2, 4);
        assert_eq!(sglang, Ok(json!({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "sglang": own})));
        let balance = json!({"enable_balance": true, "timeout_iters": 60, "batching_wait_iters": 0});
        let own = json!({"enable_attention_dp": true, "attention_dp_config": balance, "moe_expert_parallel_size": 4});
        let trtllm = parallel(&record("trtllm", 4, &json!({"attention_dp_balance_wait_iters": 60})), 1, 1, 4);
        assert_eq!(trtllm, Ok(json!({"tensor_parallel_size": 4, "trtllm": own})));
        let scripted = parallel(&record("trtllm", 1, &json!({"from": "SemiAnalysisAI/InferenceX benchmarks/a_trt.sh"})), 1, 1, 4).unwrap();
        assert_eq!(scripted["trtllm"]["attention_dp_config"], json!({"enable_balance": true}));
        assert!(parallel(&record("trtllm", 1, &none), 2, 1, 4).is_err());
        assert!(parallel(&record("vllm", 4, &none), 2, 1, 4).is_err());
    }

    #[test]
    fn what_is_added_leaves_the_rest_of_a_section() {
        let mut config = json!({"trtllm": {"max_batch_size": 8}}).as_object().cloned().unwrap();
        extend(&mut config, json!({"tensor_parallel_size": 4, "trtllm": {"moe_expert_parallel_size": 4}}));
        let both = json!({"tensor_parallel_size": 4, "trtllm": {"max_batch_size": 8, "moe_expert_parallel_size": 4}});
        assert_eq!(Value::Object(config), both);
    }
}
