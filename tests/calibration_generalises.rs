//! How far step times move when a measured GPU or engine is predicted as if it had not been measured: the error bars of the classes
//! "borrowed" and "datasheet". The table stands in docs/cost-model.md; `cargo xtask calibration` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fmt::Write as _;
use std::path::PathBuf;

use llmperforacle::catalog::{Calibration, Catalog, Confidence, Device, Dtype, Engine, builtin};
use llmperforacle::cost::{Calibrated, CostModel, Prefill};
use serde_json::Value;

#[path = "support/spec.rs"]
mod spec;

use spec::spec;

#[path = "support/calibration.rs"]
#[allow(dead_code, reason = "of the generator only what is typical is used here")]
mod calibration;

/// Models with GPUs that share them and the formats of their weights.
const MODELS: [(&str, u32, Dtype); 6] = [
    ("Llama-3.1-8B", 1, Dtype::Bf16),
    ("Llama-3.1-8B", 1, Dtype::Fp8),
    ("Llama-3.1-70B", 4, Dtype::Bf16),
    ("Llama-3.1-70B", 4, Dtype::Fp8),
    ("Mixtral-8x7B", 2, Dtype::Bf16),
    ("Qwen3-30B-A3B", 1, Dtype::Fp8),
];
/// Sequences that decode, and their contexts; tokens of a prompt.
const DECODES: [(u32, u64); 8] = [(1, 500), (1, 8000), (8, 500), (8, 8000), (64, 500), (64, 4000), (256, 500), (256, 2000)];
const PROMPTS: [u32; 5] = [128, 512, 2048, 8192, 16_384];

/// GPUs of one architecture: each is predicted by the other.
const ALIKE: [(&str, &str); 4] = [("h100_sxm", "h200_sxm"), ("h200_sxm", "h100_sxm"), ("b200_sxm", "gb200"), ("gb200", "b200_sxm")];

fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn fits() -> Value {
    serde_json::from_str(&std::fs::read_to_string(path("configs/calibration/kernel-fits.json")).unwrap()).unwrap()
}

fn measured() -> Vec<&'static Calibration> {
    builtin().calibrations.iter().filter(|calibration| calibration.device.is_some()).collect()
}

fn catalog(calibrations: Vec<Calibration>) -> Catalog {
    Catalog { calibrations, ..Catalog::default() }
}

/// Times of a device's steps, us: decodes, and prompts. Device time alone: the host's does not depend on kernels.
fn times(catalog: &Catalog, device: &Device, engine: Engine, expected: Confidence) -> (Vec<f64>, Vec<f64>) {
    let (mut decodes, mut prompts) = (Vec::new(), Vec::new());
    for (model, tp, dtype) in MODELS.into_iter().filter(|(_, tp, _)| *tp <= device.devices_per_node) {
        let spec = spec(device, builtin().model(model).unwrap(), engine, tp, dtype);
        let mut cost = Calibrated::new(catalog, &spec).unwrap();
        assert!(cost.confidence() >= expected, "{} {engine:?} {model}: {:?}", device.name, cost.confidence());
        for (sequences, context) in DECODES {
            let context = u64::from(sequences) * context;
            let step = cost.decode(sequences, context);
            decodes.push((step.fixed.device_ps + step.context_ps * context) as f64);
        }
        for new_tokens in PROMPTS {
            prompts.push(cost.mixed(&[Prefill { new_tokens, past_tokens: 0, completes: true }], 0, 0).device_ps as f64);
        }
    }
    (decodes, prompts)
}

/// Ratios of predicted to known times.
#[derive(Default)]
struct Ratios {
    decodes: Vec<f64>,
    prompts: Vec<f64>,
}

impl Ratios {
    fn add(&mut self, borrowed: &(Vec<f64>, Vec<f64>), known: &(Vec<f64>, Vec<f64>)) {
        let of = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<f64>>();
        self.decodes.extend(of(&borrowed.0, &known.0));
        self.prompts.extend(of(&borrowed.1, &known.1));
    }

    fn join(&mut self, other: &Ratios) {
        self.decodes.extend(&other.decodes);
        self.prompts.extend(&other.prompts);
    }

    /// Median and 90th percentile of the absolute difference, and the median signed one, percent.
    fn cells(&self) -> String {
        let cell = |ratios: &[f64]| {
            let [median, high, bias] = shares(ratios);
            format!("{median:.1} / {high:.0} | {bias:+.1}")
        };
        format!("{} | {}", cell(&self.decodes), cell(&self.prompts))
    }
}

fn shares(ratios: &[f64]) -> [f64; 3] {
    let at = |mut values: Vec<f64>, share: f64| {
        values.sort_unstable_by(f64::total_cmp);
        values[((values.len() - 1) as f64 * share).round() as usize]
    };
    let signed: Vec<f64> = ratios.iter().map(|ratio| 100.0 * (ratio - 1.0)).collect();
    let absolute: Vec<f64> = signed.iter().map(|share| share.abs()).collect();
    [at(absolute.clone(), 0.5), at(absolute, 0.9), at(signed, 0.5)]
}

/// A GPU's constants without those of an engine.
fn without(calibration: &Calibration, engine: Engine) -> Calibration {
    let mut left = calibration.clone();
    left.gemm.retain(|row| row.engine != engine);
    left.decode_attention.retain(|row| row.engine != engine);
    left.prefill_attention.retain(|row| row.engine != engine);
    // What no other engine measured is not borrowed from one.
    let lent = |mode, gpus| calibration.all_reduce.iter().any(|row| row.engine != engine && (row.mode, row.gpus) == (mode, gpus));
    left.all_reduce.retain(|row| row.engine != engine || !lent(row.mode, row.gpus));
    left.moe.retain(|row| row.engine != engine);
    left.mla_decode.retain(|row| row.engine != engine);
    left.mla_prefill.retain(|row| row.engine != engine);
    left.linear.retain(|row| row.engine != engine);
    left
}

/// What each class of confidence is worth: name, and by device.
fn classes() -> [(&'static str, Vec<(String, Ratios)>); 3] {
    let fits = fits();
    let mut classes = [
        ("borrowed: another engine, same GPU", Vec::new()),
        ("borrowed: another GPU of the architecture", Vec::new()),
        ("datasheet: typical of the other GPUs", Vec::new()),
    ];
    let typical = builtin().calibrations.iter().find(|calibration| calibration.device.is_none()).unwrap();
    for own in measured() {
        let device = builtin().device(own.device.as_ref().unwrap()).unwrap();
        let known = |engine| times(builtin(), device, engine, Confidence::Measured);
        let mut by_class: [Option<Ratios>; 3] = [Some(Ratios::default()), None, Some(Ratios::default())];
        let others: Calibration = serde_json::from_str(&calibration::typical_file(&fits, &own.system)).unwrap();
        let lender = ALIKE.iter().find(|(borrower, _)| *borrower == own.system).map(|(_, lender)| *lender);
        for engine in Engine::ALL {
            let known = known(engine);
            let left = catalog(vec![without(own, engine), typical.clone()]);
            by_class[0].as_mut().unwrap().add(&times(&left, device, engine, Confidence::Borrowed), &known);
            if let Some(lender) = lender {
                let found = measured().into_iter().find(|calibration| calibration.system == lender).unwrap();
                let like = Device { calibration: Some(lender.to_owned()), ..device.clone() };
                let lent = catalog(vec![found.clone(), others.clone()]);
                by_class[1].get_or_insert_default().add(&times(&lent, &like, engine, Confidence::Borrowed), &known);
            }
            let unknown = Device { calibration: None, ..device.clone() };
            by_class[2].as_mut().unwrap().add(&times(&catalog(vec![others.clone()]), &unknown, engine, Confidence::Datasheet), &known);
        }
        for (class, ratios) in classes.iter_mut().zip(by_class) {
            class.1.extend(ratios.map(|ratios| (device.name.clone(), ratios)));
        }
    }
    classes
}

#[test]
fn the_documents_table_says_how_it_generalises() {
    let mut table =
        "| class | predicted as if not measured | decodes: absolute | signed | prompts: absolute | signed |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (class, devices) in classes() {
        let mut all = Ratios::default();
        for (_, ratios) in &devices {
            all.join(ratios);
        }
        writeln!(table, "| {class} | **all** | {} |", all.cells()).unwrap();
        for (device, ratios) in &devices {
            writeln!(table, "| | {device} | {} |", ratios.cells()).unwrap();
        }
    }
    let relative = "docs/cost-model.md";
    let committed = std::fs::read_to_string(path(relative)).unwrap().replace("\r\n", "\n");
    let header = table.lines().next().unwrap();
    let start = committed.find(header).unwrap_or_else(|| panic!("{relative} has no table {header}"));
    let end = committed[start..].find("\n\n").map_or(committed.len(), |end| start + end + 1);
    let mut generated = committed.clone();
    generated.replace_range(start..end, &table);
    if std::env::var_os("UPDATE_CALIBRATION").is_some() {
        std::fs::write(path(relative), &generated).unwrap();
    } else {
        assert!(committed == generated, "{relative} is stale: run cargo xtask calibration. Now:\n{table}");
    }
}

/// A nearer lender is a better one: an architecture's other GPU beats what is typical, on both kinds of steps.
#[test]
fn borrowing_from_the_architecture_beats_the_data_sheet() {
    let [_, (_, alike), (_, typical)] = classes();
    let joined = |devices: &[(String, Ratios)]| {
        let mut all = Ratios::default();
        for (_, ratios) in devices.iter().filter(|(name, _)| alike.iter().any(|(other, _)| other == name)) {
            all.join(ratios);
        }
        all
    };
    let (near, far) = (joined(&alike), joined(&typical));
    assert!(shares(&near.decodes)[0] < shares(&far.decodes)[0]);
    assert!(shares(&near.prompts)[0] < shares(&far.prompts)[0]);
}
