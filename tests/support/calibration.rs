//! Writes configs/calibration/*.json, and the tables of docs/cost-model.md that are about them, from configs/calibration/kernel-fits.json.
//!
//! The fits are constants of closed forms, fitted outside this repository to published kernel tables; what is here is every choice between
//! them and the program: which fits are used, what physics and static scales change in them, and what is typical.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// An operation: keys that name a row, and its constants in the order of the fit, none where the program has no use for one.
pub type Operation = (&'static str, &'static [&'static str], &'static [Option<&'static str>]);

pub const OPERATIONS: [Operation; 9] = [
    (
        "gemm",
        &["dtype"],
        &[Some("compute"), Some("memory"), Some("launch_us"), Some("half_k"), Some("norm"), Some("input_pass"), Some("output_pass")],
    ),
    ("decode_attention", &["kv_dtype"], &[Some("launch_us"), Some("per_octave_us"), Some("memory"), None, Some("per_head_ns")]),
    (
        "prefill_attention",
        &["attention_dtype", "kv_dtype"],
        &[Some("launch_us"), Some("compute"), Some("half_length"), Some("serial_ns_per_token"), Some("memory")],
    ),
    ("all_reduce", &["mode", "gpus"], &[Some("latency_us"), Some("gb_per_s"), Some("sqrt_us")]),
    ("nccl", &["operation", "gpus"], &[Some("latency_us"), Some("gb_per_s"), Some("sqrt_us")]),
    (
        "moe",
        &["dtype"],
        &[Some("launch_us"), Some("compute"), Some("memory"), Some("padding"), Some("activation_memory"), Some("per_expert_ns")],
    ),
    ("mla_decode", &["kv_dtype"], &[Some("launch_us"), Some("per_octave_us"), Some("memory"), Some("compute"), Some("per_sequence_ns")]),
    ("mla_prefill", &["kv_dtype"], &[Some("launch_us"), Some("compute"), Some("memory")]),
    (
        "linear",
        &["kind"],
        &[Some("decode_launch_us"), Some("decode_memory"), Some("launch_us"), Some("compute"), Some("memory"), Some("serial_ns_per_token")],
    ),
];

const SOURCE: &str = "Fitted to the measured kernel tables of ai-dynamo/aiconfigurator (Apache-2.0), commit 095f58a51 of 2026-08-21. Errors are \
                      [median, 95th percentile] in percent on rows the fit did not see; for all-reduce on all rows.";
const TYPICAL_SOURCE: &str = "Medians of the constants of the seven measured GPUs: for devices of which no kernel was measured. All-reduce: \
                              constants of the H100 node, scaled by the link.";
const STATIC_SCALES: &str = "gemm trtllm fp8: launch and passes over the input were those of dynamic quantisation; static scales are applied inside the \
                             norm, so the launch is that of bf16 and 2 us, the pass one byte a value (compared with published sets 09 and 10)";
const TYPICAL_SUSTAINED: &str =
    "That of H100-SXM: not measured here; all boards hold their clocks less long than a short kernel run shows.";

/// A fit: its system, engine (none for NCCL) and name, its constants and errors.
#[derive(Clone, Debug)]
struct Row {
    engine: String,
    version: String,
    /// Words in the order of the operation's keys; experts may have the unit that multiplies after them.
    words: Vec<String>,
    constants: Vec<f64>,
    /// Median and 95th percentile, of decodes and of prompts for layers with a state.
    errors: Option<Vec<f64>>,
}

impl Row {
    fn name(&self) -> String {
        self.words.join("/")
    }
}

/// Rows of one GPU, by operation in the order of [`OPERATIONS`].
type Rows = Vec<Vec<Row>>;

/// The generated files: name and content.
pub fn files(fits: &Value) -> Vec<(String, String)> {
    let systems = fits["systems"].as_array().unwrap();
    let mut files: Vec<(String, String)> = systems
        .iter()
        .map(|system| {
            let dropped: Vec<&str> = system["dropped"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
            let text = file(
                &system["system"],
                &system["device"],
                SOURCE,
                &system["reference"],
                &system["sustained"],
                &rows_of(fits, system),
                &dropped,
            );
            (format!("{}.json", system["system"].as_str().unwrap()), text)
        })
        .collect();
    files.push(("typical.json".to_owned(), typical_file(fits, "")));
    files
}

/// What is typical of the measured GPUs but one (none of that name: of all).
pub fn typical_file(fits: &Value, but: &str) -> String {
    let systems: Vec<&Value> = fits["systems"].as_array().unwrap().iter().filter(|system| system["system"] != but).collect();
    let of_links = ["h100_sxm", "h200_sxm"].into_iter().find(|name| *name != but).unwrap();
    let reference = &systems.iter().find(|system| system["system"] == of_links).unwrap()["reference"];
    let sustained = serde_json::json!({"compute": 0.87, "source": TYPICAL_SUSTAINED});
    let rows = typical(fits, &systems, of_links);
    file(&"typical".into(), &Value::Null, TYPICAL_SOURCE, reference, &sustained, &rows, &[STATIC_SCALES])
}

/// The fits of a GPU that are used, as they are used.
fn rows_of(fits: &Value, system: &Value) -> Rows {
    let of = &system["system"];
    let dropped = |operation: &str, engine: &str, name: &str| {
        let mut all = system["dropped"].as_array().unwrap().iter().flat_map(|pair| pair[1].as_array().unwrap());
        all.any(|row| row[0] == operation && row[1] == engine && row[2] == name)
    };
    let read = |operation: &str| -> Vec<Row> {
        let all = fits[operation].as_array().unwrap().iter().filter(|fit| fit[0] == *of);
        let mut rows: Vec<Row> = all
            .map(|fit| {
                let engine = fit[1].as_str().unwrap().to_owned();
                let words: Vec<String> = fit[2].as_str().unwrap().split('/').map(str::to_owned).collect();
                let other = fits["other_versions"].as_array().unwrap().iter().find(|other| {
                    other[0] == *of
                        && other[1] == operation
                        && other[2] == engine.as_str()
                        && (other[3] == "" || other[3] == words[0].as_str())
                });
                let version = other.map_or_else(|| system["versions"][&engine].as_str(), |other| other[4].as_str()).unwrap_or_default();
                let numbers =
                    |value: &Value| value.as_array().map(|list| list.iter().map(|one| one.as_f64().unwrap()).collect::<Vec<f64>>());
                Row { version: version.to_owned(), engine, words, constants: numbers(&fit[3]).unwrap(), errors: numbers(&fit[4]) }
            })
            .filter(|row| !dropped(operation, &row.engine, &row.name()))
            .collect();
        if operation == "moe" {
            // Where the experts' kernels multiply mxfp4 in 8 bit, those are used.
            let eight: Vec<String> = rows.iter().filter(|row| row.name() == "mxfp4/fp8").map(|row| row.engine.clone()).collect();
            rows.retain(|row| row.name() != "mxfp4" || !eight.contains(&row.engine));
        }
        rows
    };
    let mut rows: Rows = OPERATIONS.iter().map(|(operation, ..)| read(operation)).collect();
    for ((_, _, keys), rows) in OPERATIONS.iter().zip(&mut rows) {
        for row in rows {
            for (key, value) in keys.iter().zip(&mut row.constants) {
                // No unit works above its peak, whatever a fit of launch and rate together says.
                if matches!(key, Some("compute" | "memory")) {
                    *value = value.min(1.0);
                }
            }
        }
    }
    static_scales(&mut rows[0]);
    rows
}

/// TensorRT-LLM's fp8 products have static scales: the launch of bf16 and 2 us, one byte a value over the input.
fn static_scales(gemm: &mut [Row]) {
    let Some(launch_us) = gemm.iter().find(|row| row.engine == "trtllm" && row.name() == "bf16").map(|row| row.constants[2]) else {
        return;
    };
    for row in gemm.iter_mut().filter(|row| row.engine == "trtllm" && row.name() == "fp8") {
        row.constants[2] = four_digits(launch_us + 2.0);
        row.constants[5] = 1.0;
        row.errors = None;
    }
}

/// Medians over measured GPUs; collectives are those of one, whose link scales them.
fn typical(fits: &Value, systems: &[&Value], of_links: &str) -> Rows {
    let all: Vec<(&Value, Rows)> = systems.iter().map(|system| (&system["system"], rows_of(fits, system))).collect();
    let mut rows: Rows = Vec::new();
    for (index, (operation, ..)) in OPERATIONS.iter().enumerate() {
        let linked = &all.iter().find(|(system, _)| **system == of_links).unwrap().1[index];
        let mut names: Vec<Row> = Vec::new();
        if ["all_reduce", "nccl"].contains(operation) {
            names.extend(linked.iter().cloned().map(|row| Row { errors: None, ..row }));
            rows.push(names);
            continue;
        }
        for row in all.iter().flat_map(|(_, rows)| &rows[index]) {
            // Attention in 8 bit is Blackwell's, and so are 8-bit products of mxfp4.
            let special = row.name() == "mxfp4/fp8" || (*operation == "prefill_attention" && row.words[0] == "fp8");
            if !special && !names.iter().any(|other| other.engine == row.engine && other.words == row.words) {
                names.push(row.clone());
            }
        }
        let place = |row: &Row| ["vllm", "sglang", "trtllm"].iter().position(|engine| *engine == row.engine);
        let dtypes = ["bf16", "fp8", "fp8_block", "nvfp4", "mxfp4", "int4"];
        names.sort_by_key(|row| (place(row), dtypes.iter().position(|dtype| row.words[row.words.len() - 1] == *dtype)));
        for name in &mut names {
            for constant in 0..name.constants.len() {
                let values = all.iter().flat_map(|(system, rows)| {
                    let used = rows[index].iter().filter(|row| row.engine == name.engine && row.words == name.words);
                    let used: Vec<f64> = used.map(|row| row.constants[constant]).collect();
                    // In 16 bit mxfp4 is multiplied by GPUs that use 8 bit too; TensorRT-LLM's kernel there, at a fifth of the memory's rate, is left out.
                    match (*operation, name.name().as_str(), name.engine.as_str()) {
                        ("moe", "mxfp4", "vllm" | "sglang") => sixteen_bit(fits, system, &name.engine, constant),
                        _ => used,
                    }
                });
                name.constants[constant] = four_digits(median(values.collect()));
            }
            if *operation != "linear" {
                "median of the measured GPUs".clone_into(&mut name.version);
            }
            name.errors = None;
        }
        if index == 0 {
            static_scales(&mut names);
        }
        rows.push(names);
    }
    rows
}

/// A constant of experts in mxfp4 multiplied in 16 bit, whether used or not.
fn sixteen_bit(fits: &Value, system: &Value, engine: &str, constant: usize) -> Vec<f64> {
    let bounded = ["compute", "memory"].map(Some).contains(&OPERATIONS[5].2[constant]);
    let rows = fits["moe"].as_array().unwrap().iter();
    rows.filter(|fit| fit[0] == *system && fit[1] == engine && fit[2] == "mxfp4")
        .map(|fit| fit[3][constant].as_f64().unwrap())
        .map(|value| if bounded { value.min(1.0) } else { value })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

fn four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap()
}

fn file(system: &Value, device: &Value, source: &str, reference: &Value, sustained: &Value, rows: &Rows, dropped: &[&str]) -> String {
    let mut text = format!("{{\n \"system\": {system},\n \"device\": {device},\n \"source\": {},\n", Value::from(source));
    let peaks = ["bf16_flops", "fp8_flops", "fp4_flops", "memory_bytes_per_s", "link_bytes_per_s"];
    let peaks: Vec<String> = peaks.iter().map(|key| format!("\"{key}\": {}", reference[*key])).collect();
    writeln!(text, " \"reference\": {{{}}},", peaks.join(", ")).unwrap();
    if !sustained.is_null() {
        writeln!(text, " \"sustained\": {{\"compute\": {}, \"source\": {}}},", sustained["compute"], sustained["source"]).unwrap();
    }
    for ((operation, keys, constants), rows) in OPERATIONS.iter().zip(rows) {
        let lines: Vec<String> = rows.iter().map(|row| format!("  {{{}}}", line(operation, keys, constants, row))).collect();
        match lines.as_slice() {
            [] => writeln!(text, " \"{operation}\": [],"),
            lines => writeln!(text, " \"{operation}\": [\n{}\n ],", lines.join(",\n")),
        }
        .unwrap();
    }
    let dropped: Vec<String> = dropped.iter().map(|why| format!("  {}", Value::from(*why))).collect();
    write!(text, " \"dropped\": [\n{}\n ]\n}}\n", dropped.join(",\n")).unwrap();
    text
}

fn line(operation: &str, keys: &[&str], constants: &[Option<&str>], row: &Row) -> String {
    let mut parts = Vec::new();
    if !row.engine.is_empty() {
        parts.push(format!("\"engine\": \"{}\", \"version\": \"{}\"", row.engine, row.version));
    }
    for (key, word) in keys.iter().zip(&row.words) {
        parts.push(if *key == "gpus" { format!("\"{key}\": {word}") } else { format!("\"{key}\": \"{word}\"") });
    }
    let named = constants.iter().zip(&row.constants).filter_map(|(key, value)| key.map(|key| (key, value)));
    parts.extend(named.map(|(key, value)| format!("\"{key}\": {}", number(*value))));
    let pair = |range: std::ops::Range<usize>| {
        let pair = row.errors.as_ref().map(|errors| errors[range].iter().map(|error| number(*error).to_string()).collect::<Vec<_>>());
        pair.map_or_else(|| "null".to_owned(), |pair| format!("[{}]", pair.join(", ")))
    };
    parts.push(format!("\"error_percent\": {}", pair(0..2)));
    if operation == "linear" {
        parts.push(format!("\"prompt_error_percent\": {}", pair(2..4)));
    }
    if let Some(unit) = row.words.get(keys.len()) {
        parts.push(format!("\"activations\": \"{unit}\""));
    }
    parts.join(", ")
}

fn number(value: f64) -> Number {
    Number::from_f64(value).unwrap()
}

/// Errors of the forms against the kernels they were fitted to, as docs/cost-model.md shows them: of kernels, and of layers with a state.
pub fn tables(fits: &Value) -> [String; 2] {
    let label = |engine: &str| match engine {
        "vllm" => "vLLM",
        "sglang" => "SGLang",
        _ => "TensorRT-LLM",
    };
    let columns = [
        ("GEMM bf16", "gemm", "bf16"),
        ("fp8", "gemm", "fp8"),
        ("nvfp4", "gemm", "nvfp4"),
        ("decode attention bf16", "decode_attention", "bf16"),
        ("fp8 KV", "decode_attention", "fp8"),
        ("prompt attention bf16", "prefill_attention", "bf16/bf16"),
        ("fp8 KV", "prefill_attention", "bf16/fp8"),
        ("all-reduce of 4", "all_reduce", "graph/4"),
        ("experts bf16", "moe", "bf16"),
    ];
    let shown = |errors: &[f64]| format!("{:.1} / {:.0}", errors[0], errors[1]);
    let mut kernels =
        format!("| device | engine | {} |\n|---|---|{}\n", columns.map(|column| column.0).join(" | "), "---|".repeat(columns.len()));
    let mut states = "| device | engine | kind | decodes | prompts |\n|---|---|---|---|---|\n".to_owned();
    for system in fits["systems"].as_array().unwrap() {
        let rows = rows_of(fits, system);
        let device = system["device"].as_str().unwrap();
        for engine in ["vllm", "sglang", "trtllm"] {
            let cells = columns.map(|(_, operation, name)| {
                let index = OPERATIONS.iter().position(|(one, ..)| *one == operation).unwrap();
                let find = |name: &str| rows[index].iter().find(|row| row.engine == engine && row.name() == name);
                // Some engines compute over 8-bit KV in 8 bit only.
                let row = find(name).or_else(|| (name == "bf16/fp8").then(|| find("fp8/fp8")).flatten());
                row.and_then(|row| row.errors.as_deref()).map_or_else(|| "-".to_owned(), shown)
            });
            let version = system["versions"][engine].as_str().unwrap();
            writeln!(kernels, "| {device} | {} {version} | {} |", label(engine), cells.join(" | ")).unwrap();
        }
        for row in &rows[OPERATIONS.len() - 1] {
            let kind = if row.name() == "kimi_delta" { "Kimi delta" } else { "gated delta net" };
            let errors = row.errors.as_deref().unwrap();
            let (decodes, prompts) = (shown(&errors[..2]), shown(&errors[2..]));
            writeln!(states, "| {device} | {} {} | {kind} | {decodes} | {prompts} |", label(&row.engine), row.version).unwrap();
        }
    }
    [kernels, states]
}
