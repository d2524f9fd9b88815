//! Running one entry of a document in slices, and reading what it leaves behind.

use js_sys::{Float64Array, Map, Uint8Array};
use llmperforacle::metrics::{ByReplica, Encoded, FleetSize, NEVER_PS, NO_SESSION, RequestTimes, RunResult, occupancy};
use llmperforacle::units::Time;
use llmperforacle::{report, sim};
use serde::Serialize;
use serde_json::Value;
use wasm_bindgen::prelude::*;

use crate::documents::{DroppedFiles, document_of};
use crate::js::{self, Thrown};

const PS_PER_MS: f64 = 1e9;
const PS_PER_S: f64 = 1e12;

/// One run of a document's plan.
#[wasm_bindgen]
pub struct Simulation {
    inner: sim::Simulation,
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    done: bool,
    fraction: f64,
    simulated_s: f64,
    requests_ended: u64,
}

#[wasm_bindgen]
impl Simulation {
    /// Makes run number `runIndex` of the document's plan ready. With `fastPath` off every step is taken singly: the same
    /// result, slower.
    #[wasm_bindgen(constructor)]
    pub fn new(
        #[wasm_bindgen(unchecked_param_type = "DocumentObject")] document: JsValue,
        #[wasm_bindgen(js_name = runIndex)] run_index: u32,
        #[wasm_bindgen(unchecked_param_type = "Files")] files: Map,
        #[wasm_bindgen(js_name = fastPath)] fast_path: bool,
    ) -> Thrown<Simulation> {
        let mut run = run_of(&document, run_index, files)?;
        run.fast_path = fast_path;
        let inner = sim::Simulation::new(&run).map_err(|found| js::error("the run cannot be set up", &found))?;
        Ok(Simulation { inner, name: run.name })
    }

    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Does about `budget` units of work.
    #[wasm_bindgen(unchecked_return_type = "Progress")]
    pub fn advance(&mut self, budget: u32) -> Thrown<JsValue> {
        let sim::Progress { done, fraction, simulated_s, requests_ended } = self.inner.advance(budget.into());
        js::to_object(&Progress { done, fraction, simulated_s, requests_ended })
    }

    /// Keeps the steps that run at some time from `fromS` to `toS` for the result's trace. Call it before `advance`.
    #[wasm_bindgen(js_name = keepSteps)]
    pub fn keep_steps(&mut self, #[wasm_bindgen(js_name = fromS)] from_s: f64, #[wasm_bindgen(js_name = toS)] to_s: f64) {
        self.inner.keep_steps(Time::from_s(from_s), Time::from_s(to_s));
    }

    /// What had to be changed in the requests given out so far, beyond what planning has said.
    #[wasm_bindgen(unchecked_return_type = "Diagnostic[]")]
    pub fn warnings(&self) -> Thrown<JsValue> {
        js::to_object(&self.inner.warnings())
    }

    /// Ends the simulation and hands over its result; this object is used up.
    pub fn finish(self) -> Finished {
        Finished { result: self.inner.finish() }
    }
}

fn run_of(document: &JsValue, run_index: u32, files: Map) -> Thrown<sim::RunPlan> {
    let document = document_of(document)?;
    let plan = sim::plan(&document, &DroppedFiles(files)).map_err(|found| js::error("the document cannot be run", &found))?;
    let count = plan.runs.len();
    let run = plan.runs.into_iter().nth(run_index as usize);
    run.ok_or_else(|| js::thrown(format!("there is no run {run_index}: the document has {count}")))
}

/// A run on its way to a moment that is to be looked at.
#[wasm_bindgen]
pub struct Inspection {
    inner: sim::Inspection,
}

#[wasm_bindgen]
impl Inspection {
    #[wasm_bindgen(constructor)]
    pub fn new(
        #[wasm_bindgen(unchecked_param_type = "DocumentObject")] document: JsValue,
        #[wasm_bindgen(js_name = runIndex)] run_index: u32,
        #[wasm_bindgen(unchecked_param_type = "Files")] files: Map,
        #[wasm_bindgen(js_name = atS)] at_s: f64,
    ) -> Thrown<Inspection> {
        let run = run_of(&document, run_index, files)?;
        let inner = sim::Inspection::new(&run, Time::from_s(at_s)).map_err(|found| js::error("the run cannot be set up", &found))?;
        Ok(Inspection { inner })
    }

    /// Does about `budget` units of work; true when the moment has come.
    pub fn advance(&mut self, budget: u32) -> bool {
        self.inner.advance(budget.into())
    }

    /// What there is to see: the object that `explain --json` prints.
    #[wasm_bindgen(unchecked_return_type = "Moment")]
    pub fn moment(&mut self) -> Thrown<JsValue> {
        js::to_object(&report::moment_json(&self.inner.moment().map_err(js::thrown)?))
    }
}

/// The document again for each assumption it rests on and each factor, and what is looked at: name, unit, pointer into the summary.
#[wasm_bindgen(unchecked_return_type = "Variants")]
pub fn variants(#[wasm_bindgen(unchecked_param_type = "DocumentObject")] document: JsValue) -> Thrown<JsValue> {
    let document = document_of(&document)?;
    let tried = sim::sensitivity::ASSUMPTIONS.iter().flat_map(|own| own.factors.map(|factor| (own, factor)));
    // Built as values: types of their own would be written out once more in the module.
    let list = |parts: Vec<Value>| Value::Array(parts);
    let mut variants = Vec::new();
    for (own, factor) in tried {
        if let Some(changed) = own.changed(&document, factor) {
            variants.push(list(vec![own.name.into(), factor.into(), serde_json::to_value(&changed).map_err(js::thrown)?]));
        }
    }
    let metrics = report::SENSITIVITY_METRICS.iter().map(|(name, unit, at)| list(vec![(*name).into(), (*unit).into(), (*at).into()]));
    let mut said = serde_json::Map::new();
    said.insert("metrics".into(), metrics.collect());
    said.insert("variants".into(), list(variants));
    js::to_object(&Value::Object(said))
}

#[derive(serde::Deserialize)]
struct Named {
    name: String,
    summary: Value,
}

#[derive(serde::Deserialize)]
struct Compared {
    results: Vec<Named>,
}

/// What separates the results compared, from their counters, the largest difference first.
#[wasm_bindgen(unchecked_return_type = "Finding[]")]
pub fn why(
    #[wasm_bindgen(unchecked_param_type = "{ results: { name: string, summary: Record<string, any> }[] }")] compared: JsValue,
) -> Thrown<JsValue> {
    let Compared { results } = js::from_object(&compared, "why")?;
    let names: Vec<&str> = results.iter().map(|result| result.name.as_str()).collect();
    let summaries: Vec<&Value> = results.iter().map(|result| &result.summary).collect();
    js::to_object(&report::why(&names, &summaries))
}

/// A finished run. The data stay here until `free()`; each call copies out what it names.
#[wasm_bindgen]
pub struct Finished {
    result: RunResult,
}

#[wasm_bindgen]
impl Finished {
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.result.name.clone()
    }

    /// 16 hexadecimal digits: equal results have equal hashes on every machine.
    #[wasm_bindgen(getter)]
    pub fn hash(&self) -> String {
        format!("{:016x}", self.result.hash())
    }

    /// End of the simulation, s.
    #[wasm_bindgen(getter, js_name = endS)]
    pub fn end_s(&self) -> f64 {
        self.result.end_ps as f64 / PS_PER_S
    }

    /// Width of a series' bin, s.
    #[wasm_bindgen(getter, js_name = binS)]
    pub fn bin_s(&self) -> f64 {
        self.result.series.bin_ps as f64 / PS_PER_S
    }

    #[wasm_bindgen(getter, js_name = kvBlocksTotal)]
    pub fn kv_blocks_total(&self) -> f64 {
        self.result.kv_blocks_total as f64
    }

    #[wasm_bindgen(getter, js_name = requestCount)]
    pub fn request_count(&self) -> f64 {
        self.result.requests.len() as f64
    }

    #[wasm_bindgen(unchecked_return_type = "Record<string, any>")]
    pub fn summary(&self) -> Thrown<JsValue> {
        js::to_object(&self.result.summary)
    }

    /// A column over all requests in order of arrival; NaN where it has no value.
    #[wasm_bindgen(unchecked_return_type = "Float64Array<ArrayBuffer>")]
    pub fn column(&self, #[wasm_bindgen(unchecked_param_type = "ColumnName")] name: &str) -> Thrown<Float64Array> {
        Ok(Float64Array::from(&self.numbers(name)?[..]))
    }

    /// A column's numbers ascending, NaN left out.
    #[wasm_bindgen(js_name = sortedColumn, unchecked_return_type = "Float64Array<ArrayBuffer>")]
    pub fn sorted_column(&self, #[wasm_bindgen(unchecked_param_type = "ColumnName")] name: &str) -> Thrown<Float64Array> {
        let mut numbers = self.numbers(name)?;
        numbers.retain(|v| !v.is_nan());
        numbers.sort_unstable_by(f64::total_cmp);
        Ok(Float64Array::from(&numbers[..]))
    }

    /// 0 unfinished, 1 success, 2 rejected, 3 cancelled by the client.
    #[wasm_bindgen(unchecked_return_type = "Uint8Array<ArrayBuffer>")]
    pub fn status(&self) -> Uint8Array {
        Uint8Array::from(&self.result.requests.status[..])
    }

    /// A time series, one value a bin.
    #[wasm_bindgen(unchecked_return_type = "Float64Array<ArrayBuffer>")]
    pub fn series(&self, #[wasm_bindgen(unchecked_param_type = "SeriesName")] name: &str) -> Thrown<Float64Array> {
        let series = &self.result.series;
        let total = self.result.kv_blocks_total as f64;
        let bin_s = self.bin_s();
        let numbers = match name {
            "running" => floats(&series.running),
            "waiting" => floats(&series.waiting),
            "arrivals" => floats(&series.arrivals),
            "finished" => floats(&series.finished),
            "preemptions" => floats(&series.preemptions),
            "kvBlocksUsed" => counts(&series.kv_blocks_used),
            "outputTokens" => counts(&series.output_tokens),
            "prefillTokens" => counts(&series.prefill_tokens),
            "kvOccupancy" => series.kv_blocks_used.iter().map(|&used| used as f64 / total).collect(),
            "powerW" => self.result.power_w().unwrap_or_default(),
            "outputTokensPerS" => series.output_tokens.iter().map(|&tokens| tokens as f64 / bin_s).collect(),
            "tierHost" => occupancy(&self.result, "host").unwrap_or_default(),
            "tierDisk" => occupancy(&self.result, "disk").unwrap_or_default(),
            "tierRemote" => occupancy(&self.result, "remote").unwrap_or_default(),
            "requestsPerS" => series.finished.iter().map(|&count| f64::from(count) / bin_s).collect(),
            _ => return Err(js::thrown(format!("there is no series `{name}`"))),
        };
        Ok(Float64Array::from(&numbers[..]))
    }

    /// requests.csv, the same text as the command writes.
    #[wasm_bindgen(js_name = requestsCsv)]
    pub fn requests_csv(&self) -> Thrown<String> {
        let mut text = Vec::new();
        report::requests_csv(std::slice::from_ref(&self.result), &mut text).map_err(js::thrown)?;
        String::from_utf8(text).map_err(js::thrown)
    }

    /// The run as a trace for Perfetto; its steps are there when `keepSteps` was called before.
    pub fn perfetto(&self) -> Thrown<String> {
        let mut text = Vec::new();
        report::perfetto(std::slice::from_ref(&self.result), &mut text).map_err(js::thrown)?;
        String::from_utf8(text).map_err(js::thrown)
    }

    fn numbers(&self, name: &str) -> Thrown<Vec<f64>> {
        let r = &self.result.requests;
        let times = |pick: fn(RequestTimes) -> Option<f64>| {
            (0..r.len()).map(|row| pick(RequestTimes::of(r, row)).unwrap_or(f64::NAN)).collect::<Vec<f64>>()
        };
        Ok(match name {
            "id" => floats(&r.id),
            "profile" => floats(&r.profile),
            "session" => r.session.iter().map(|&s| if s == NO_SESSION { f64::NAN } else { f64::from(s) }).collect(),
            "turn" => floats(&r.turn),
            "status" => floats(&r.status),
            "replica" => floats(&r.replica),
            "inputTokens" => floats(&r.input_tokens),
            "maxTokens" => floats(&r.max_tokens),
            "outputTokens" => floats(&r.output_tokens),
            "cachedTokens" => floats(&r.cached_tokens),
            "prefilledTokens" => counts(&r.prefilled_tokens),
            "preemptions" => floats(&r.preemptions),
            "sentMs" => instants_ms(&r.sent_ps),
            "arrivalMs" => instants_ms(&r.arrival_ps),
            "scheduledMs" => instants_ms(&r.scheduled_ps),
            "firstTokenMs" => instants_ms(&r.first_token_ps),
            // The end of what is drawn: the last token, or where the client gave up.
            "finishMs" => {
                let ended: Vec<u64> = r.finish_ps.iter().zip(&r.cancelled_ps).map(|(&finish, &given_up)| finish.min(given_up)).collect();
                instants_ms(&ended)
            }
            "queueMs" => times(|t| t.queue_ms),
            "ttftMs" => times(|t| t.ttft_ms),
            "tpotMs" => times(|t| t.tpot_ms),
            "e2eMs" => times(|t| t.e2e_ms),
            _ => return Err(js::thrown(format!("there is no column `{name}`"))),
        })
    }
}

/// One replica, for the views of a fleet.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicaSaid<'a> {
    entry: &'a str,
    framework: &'a str,
    device: &'a str,
    role: &'a str,
    gpus: u32,
    kv_tokens: u64,
    usd_per_hour: Option<f64>,
    requests: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FleetSaid<'a> {
    bins: usize,
    bin_s: f64,
    replicas: Vec<ReplicaSaid<'a>>,
    /// The fleet's sizes, or those of the prefill and of the decode pool: from when on (s), starting, serving, draining, down.
    sizes: Value,
}

fn sizes(log: &[FleetSize]) -> Value {
    let row = |size: &FleetSize| {
        let counts = [size.starting, size.serving, size.draining, size.down].map(Value::from);
        std::iter::once(Value::from(size.at_ps as f64 / PS_PER_S)).chain(counts).collect::<Value>()
    };
    log.iter().map(row).collect()
}

#[wasm_bindgen]
impl Finished {
    /// Each replica's load over time in so many bins: `running`, `waiting` and `tokens` are `bins` means for each replica in turn.
    #[wasm_bindgen(unchecked_return_type = "FleetLoad")]
    pub fn fleet(&self, bins: u32) -> Thrown<JsValue> {
        let load = ByReplica::new(&self.result, bins.clamp(1, 1024) as usize);
        let mut replicas = Vec::new();
        for (index, info) in self.result.info.replicas.iter().enumerate() {
            replicas.push(ReplicaSaid {
                entry: &info.entry,
                framework: &info.framework,
                device: &info.device,
                role: &info.role,
                gpus: info.gpus,
                kv_tokens: info.kv_blocks * u64::from(info.block_tokens),
                usd_per_hour: info.usd_per_gpu_hour.map(|usd| usd * f64::from(info.gpus)),
                requests: load.requests[index],
                prompt_tokens: load.prompt_tokens[index],
                cached_tokens: load.cached_tokens[index],
                output_tokens: load.output_tokens[index],
            });
        }
        let fleet = &self.result.fleet;
        let sizes = match (fleet.kept, fleet.pools.is_empty()) {
            (false, _) => Value::Array(Vec::new()),
            (true, true) => std::iter::once(sizes(&fleet.sizes)).collect(),
            (true, false) => fleet.pools.iter().map(|pool| sizes(pool)).collect(),
        };
        let object = js::to_object(&FleetSaid { bins: load.bins, bin_s: load.bin_ps as f64 / PS_PER_S, replicas, sizes })?;
        for (name, column) in [("running", &load.running), ("waiting", &load.waiting), ("tokens", &load.tokens)] {
            js_sys::Reflect::set(&object, &name.into(), &Float64Array::from(&column[..]))
                .map_err(|_| js::thrown("the columns cannot be handed over"))?;
        }
        Ok(object)
    }

    /// Requests that a pool of encoders served, four instants each, ms: arrived, started, encoded, with the engines.
    #[wasm_bindgen(unchecked_return_type = "Float64Array<ArrayBuffer>")]
    pub fn encodes(&self) -> Float64Array {
        let instants = |e: &Encoded| [e.arrived_ps, e.started_ps, e.encoded_ps, e.ready_ps].map(|ps| ps as f64 / PS_PER_MS);
        let all: Vec<f64> = self.result.encodes.iter().flat_map(instants).collect();
        Float64Array::from(&all[..])
    }

    /// Engines in the run.
    #[wasm_bindgen(getter, js_name = replicaCount)]
    pub fn replica_count(&self) -> u32 {
        self.result.info.replicas.len() as u32
    }
}

fn floats<T: Copy + Into<f64>>(column: &[T]) -> Vec<f64> {
    column.iter().map(|&value| value.into()).collect()
}

/// Exact up to 2^53.
fn counts(column: &[u64]) -> Vec<f64> {
    column.iter().map(|&value| value as f64).collect()
}

fn instants_ms(column: &[u64]) -> Vec<f64> {
    column.iter().map(|&ps| if ps == NEVER_PS { f64::NAN } else { ps as f64 / PS_PER_MS }).collect()
}
