//! Errors of single kernels: each fitted form against the measured kernels it was fitted to, as the calibrations state them.

use std::fmt::Write;

use crate::catalog::calibration::{Calibration, LaunchMode};
use crate::catalog::{Catalog, Engine, LinearKind};

/// One fit: an operation's constants on one device, and how far they are off.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    pub operation: &'static str,
    pub device: String,
    /// Absent for NCCL.
    pub engine: Option<Engine>,
    /// Number format, or GPUs and how they are launched.
    pub of: String,
    /// Median and 95th percentile of the absolute error, percent.
    pub median: f64,
    pub p95: f64,
}

/// Every fit with a stated error, by operation.
pub fn fits(catalog: &Catalog) -> Vec<Fit> {
    let mut fits: Vec<Fit> = catalog.calibrations.iter().filter(|calibration| calibration.device.is_some()).flat_map(of_device).collect();
    fits.sort_by_key(|fit| fit.operation);
    fits
}

fn of_device(calibration: &Calibration) -> Vec<Fit> {
    let device = calibration.device.as_deref().unwrap_or(&calibration.system);
    let mut fits = Vec::new();
    let mut add = |operation, engine, of: String, error: Option<[f64; 2]>| {
        if let Some([median, p95]) = error {
            fits.push(Fit { operation, device: device.to_owned(), engine, of, median, p95 });
        }
    };
    for row in &calibration.gemm {
        add("matrix product", Some(row.engine), row.dtype.name().to_owned(), row.error_percent);
    }
    for row in &calibration.decode_attention {
        add("attention of decodes", Some(row.engine), format!("KV {}", row.kv_dtype.name()), row.error_percent);
    }
    for row in &calibration.prefill_attention {
        let of = format!("{}, KV {}", row.attention_dtype.name(), row.kv_dtype.name());
        add("attention of prompts", Some(row.engine), of, row.error_percent);
    }
    for row in &calibration.mla_decode {
        add("latent attention of decodes", Some(row.engine), format!("KV {}", row.kv_dtype.name()), row.error_percent);
    }
    for row in &calibration.mla_prefill {
        add("latent attention of prompts", Some(row.engine), format!("KV {}", row.kv_dtype.name()), row.error_percent);
    }
    for row in &calibration.moe {
        add("experts", Some(row.engine), row.dtype.name().to_owned(), row.error_percent);
    }
    for row in &calibration.all_reduce {
        let mode = if row.mode == LaunchMode::Graph { "in a graph" } else { "launched" };
        add("all-reduce", Some(row.engine), format!("{} GPUs, {mode}", row.gpus), row.error_percent);
    }
    for row in &calibration.linear {
        let of = if row.kind == LinearKind::KimiDelta { "Kimi delta" } else { "gated delta net" };
        add("linear attention of decodes", Some(row.engine), of.to_owned(), row.error_percent);
        add("linear attention of prompts", Some(row.engine), of.to_owned(), row.prompt_error_percent);
    }
    for row in &calibration.nccl {
        add("NCCL collectives", None, format!("{:?}, {} GPUs", row.operation, row.gpus), row.error_percent);
    }
    fits
}

/// A table of the operations: of each one's fits, the median ones' errors and the worst median.
pub fn by_operation(fits: &[Fit]) -> String {
    let mut text = String::from("| operation | fits | median | 95th percentile | worst median |\n|---|---|---|---|---|\n");
    let mut rest = fits;
    while let Some(first) = rest.first() {
        let (these, others) = rest.split_at(rest.partition_point(|fit| fit.operation == first.operation));
        rest = others;
        let middle = |value: fn(&Fit) -> f64| {
            let mut values: Vec<f64> = these.iter().map(value).collect();
            values.sort_unstable_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let Some(worst) = these.iter().max_by(|a, b| a.median.total_cmp(&b.median)) else { continue };
        let engine = worst.engine.map_or("NCCL", Engine::label);
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} % | {:.0} % | {:.1} % ({}, {engine}, {}) |",
            first.operation,
            these.len(),
            middle(|fit| fit.median),
            middle(|fit| fit.p95),
            worst.median,
            worst.device,
            worst.of
        );
    }
    text
}

/// Every fit, a line each.
pub fn every_fit(fits: &[Fit]) -> String {
    let mut text = String::from("| operation | device | engine | of | median | 95th percentile |\n|---|---|---|---|---|---|\n");
    for fit in fits {
        let engine = fit.engine.map_or("NCCL", Engine::label);
        let _ = writeln!(text, "| {} | {} | {engine} | {} | {:.1} % | {:.1} % |", fit.operation, fit.device, fit.of, fit.median, fit.p95);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn operations_are_told_apart_and_none_is_left_out() {
        let fits = fits(catalog::builtin());
        let table = by_operation(&fits);
        assert_eq!(table.lines().count(), 2 + 10, "{table}");
        let counted: usize = table.lines().skip(2).filter_map(|line| line.split('|').nth(2)?.trim().parse::<usize>().ok()).sum();
        assert_eq!(counted, fits.len());
        // The committed example: H200's bf16 products through vLLM, 6.0 and 22.3 %.
        assert!(every_fit(&fits).contains("| matrix product | H200-SXM | vLLM | bf16 | 6.0 % | 22.3 % |"));
    }
}
