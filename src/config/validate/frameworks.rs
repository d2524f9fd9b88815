//! Serving stacks: their names, models, devices and options against each other.

use super::super::names::did_you_mean;
use super::super::node::{join_index, join_key};
use super::super::schema::{ComputeDevice, Document, FrameworkConfig, FrameworkEntry, FrameworkKind, MixedStepCost, Parallelism};
use super::Findings;
use super::hardware::is_gpu;
use super::kv_tiers::kv_tiers;
use super::sglang::sglang;
use super::speculative::speculative;
use super::trtllm::trtllm;
use super::vllm::vllm;

pub fn frameworks(document: &Document, findings: &mut Findings) {
    let list = "frameworks_to_test";
    let entries = &document.frameworks_to_test;
    findings.unique(list, "name", "framework name", entries.iter().map(|entry| entry.name.as_str()));
    if entries.iter().all(|entry| entry.is_target_for_workload == Some(false)) {
        findings.error(list, "No frameworks marked as workload targets", "leave `is_target_for_workload` out of at least one entry");
    }
    let devices = document.hardware_profile.compute_devices.as_deref();
    for (index, entry) in entries.iter().enumerate() {
        let path = join_key(&join_index(list, index), "config");
        let config = &entry.config;
        model(config, &path, findings);
        contradictions(config, &path, findings);
        let several_replies = document.workload.n.is_some_and(|n| n > 1) || document.workload.n_dist_config.is_some();
        if config.disaggregation.is_some() && several_replies {
            let message = "several replies to one prompt (`workload.n`) are not modelled where others compute the prompt";
            findings.error(join_key(&path, "disaggregation"), message, "take `workload.n` out");
        }
        if config.dynamo.is_some() && entry.kind != FrameworkKind::Dynamo {
            let hint = "take them out, or say `type: DYNAMO`";
            findings.error(join_key(&path, "dynamo"), "these are options of NVIDIA Dynamo, and this entry is another stack", hint);
        }
        trtllm(entry.worker_kind(), config, &path, findings);
        vllm(entry.worker_kind(), config, &path, findings);
        sglang(entry.worker_kind(), config, &path, findings);
        speculative(config, &path, findings);
        kv_tiers(entry.worker_kind(), config, &path, findings);
        match &config.parallelism {
            Some(parallelism) => parallel(entry, parallelism, devices, &path, findings),
            None if entry.kind == FrameworkKind::ParallelVllm
                && config.tensor_parallel_size.or(config.pipeline_parallel_size).is_none() =>
            {
                findings.error(
                    &path,
                    "ParallelVLLM missing parallelism config",
                    "say `parallelism: {strategy: TP, …}` or `tensor_parallel_size`",
                );
            }
            None => placement(config, devices, &path, findings),
        }
    }
}

fn model(config: &FrameworkConfig, path: &str, findings: &mut Findings) {
    match (&config.model_profile_id, &config.model) {
        (None, None) => {
            findings.error(
                path,
                "Missing model_profile_id in framework config",
                "name a model of the catalog, such as `Llama-3.1-8B`, or give `model`",
            );
        }
        (Some(_), Some(_)) => {
            findings.error(join_key(path, "model"), "`model` and `model_profile_id` both name a model", "keep one of them")
        }
        (None, Some(model)) if !model.is_object() => {
            findings.error(
                join_key(path, "model"),
                "model should be the content of a Hugging Face config.json",
                "a catalog model is named by `model_profile_id`",
            );
        }
        _ => {}
    }
}

fn contradictions(config: &FrameworkConfig, path: &str, findings: &mut Findings) {
    if let (Some(chunk), Some(threshold)) = (config.prefill_chunk_size, config.long_prefill_token_threshold)
        && chunk != threshold
    {
        let message =
            format!("`prefill_chunk_size` ({chunk}) and `long_prefill_token_threshold` ({threshold}) are two words for one number");
        findings.error(join_key(path, "prefill_chunk_size"), message, "keep `long_prefill_token_threshold`");
    }
    if let (Some(_), Some(_)) = (config.num_gpu_blocks_override, config.gpu_memory_utilization) {
        let message = "`gpu_memory_utilization` has no effect: `num_gpu_blocks_override` says how many blocks there are";
        findings.warning(join_key(path, "gpu_memory_utilization"), message, "keep one of them");
    }
    if config.enable_prefix_caching == Some(false) && config.enable_cross_request_caching == Some(true) {
        let message = "`enable_cross_request_caching` has no effect: `enable_prefix_caching` is off";
        findings.warning(join_key(path, "enable_cross_request_caching"), message, "take one of the two out");
    }
    if let Some(timing) = &config.timing
        && timing.fixed.is_some() == timing.polynomial.is_some()
    {
        findings.error(
            join_key(path, "timing"),
            "`timing` takes exactly one of `fixed` and `polynomial`",
            "leave `timing` out for the calibrated cost model",
        );
    }
    if config.timing.is_some() && config.mixed_step_cost == Some(MixedStepCost::Fused) {
        let message = "step times given by `timing` have no fused step: a mixed one takes the sum of both passes";
        findings.error(join_key(path, "mixed_step_cost"), message, "say `sum`, or leave it out");
    }
    let told = config.parallelism.as_ref();
    for (key, size, other, degree) in [
        ("tensor_parallel_size", config.tensor_parallel_size, "tp_degree", told.and_then(|told| told.tp_degree)),
        ("pipeline_parallel_size", config.pipeline_parallel_size, "pp_stages", told.and_then(|told| told.pp_stages)),
    ] {
        if let (Some(size), Some(degree)) = (size, degree)
            && size != degree
        {
            let message = format!("`{key}` ({size}) and `parallelism.{other}` ({degree}) differ");
            findings.error(join_key(path, key), message, "keep one of them");
        }
    }
}

/// Devices of an entry without `parallelism`.
fn placement(config: &FrameworkConfig, devices: Option<&[ComputeDevice]>, path: &str, findings: &mut Findings) {
    let Some(devices) = devices else {
        if let Some(gpu) = &config.gpu_id {
            let hint = "take `gpu_id` out: an entry gets as many GPUs of the node as it needs";
            findings.error(
                join_key(path, "gpu_id"),
                format!("gpu_id '{gpu}' not found in hardware: a catalog node does not name its GPUs"),
                hint,
            );
        }
        return;
    };
    let gpus: Vec<&str> = devices.iter().filter(|device| is_gpu(device)).map(|device| device.device_id.as_str()).collect();
    let (tp, pp) = (config.tensor_parallel_size.unwrap_or(1), config.pipeline_parallel_size.unwrap_or(1));
    let size = tp.saturating_mul(pp);
    let key = if pp > 1 { "pipeline_parallel_size" } else { "tensor_parallel_size" };
    match &config.gpu_id {
        Some(gpu) if !gpus.contains(&gpu.as_str()) => {
            let hint = did_you_mean(gpu, gpus.iter().copied()).unwrap_or_else(|| format!("GPUs: {}", gpus.join(", ")));
            findings.error(join_key(path, "gpu_id"), format!("VLLM gpu_id '{gpu}' not found in hardware"), hint);
        }
        Some(_) if size > 1 => {
            let message = format!("`gpu_id` names one GPU and `{key}` wants {size}");
            findings.error(join_key(path, "gpu_id"), message, "say `parallelism: {strategy: TP, gpu_ids: […]}` to choose them");
        }
        None if size == 1 && gpus.len() > 1 => {
            findings.error(path, "VLLM config missing gpu_id", format!("choose one of {}", gpus.join(", ")));
        }
        None if gpus.len() < size as usize => {
            let degrees =
                if pp > 1 { format!("tensor_parallel_size {tp} times pipeline_parallel_size {pp}") } else { format!("{key} {size}") };
            let message = format!("{degrees} wants {size} GPUs, and the hardware has {}", gpus.len());
            findings.error(join_key(path, key), message, "lower it, or give the hardware more GPUs");
        }
        _ => {}
    }
}

fn parallel(entry: &FrameworkEntry, given: &Parallelism, devices: Option<&[ComputeDevice]>, config_path: &str, findings: &mut Findings) {
    let path = join_key(config_path, "parallelism");
    let strategy = given.strategy.as_deref();
    let parallel_type = entry.kind == FrameworkKind::ParallelVllm;
    if parallel_type && strategy.is_none() {
        findings.error(&path, "Invalid parallelism strategy: (none)", "say `strategy: TP`, `PP` or `TP_PP`");
        return;
    }
    if matches!(strategy, None | Some("None")) {
        if given.tp_degree.unwrap_or(1) > 1 || given.pp_stages.unwrap_or(1) > 1 {
            findings.error(&path, "degrees are given, but `strategy` is None", "say `strategy: TP`, `PP` or `TP_PP`");
        }
        placement(&entry.config, devices, config_path, findings);
        return;
    }
    let ids = given.gpu_ids.as_deref().unwrap_or_default();
    let ids_path = join_key(&path, "gpu_ids");
    let count = ids.len() as u64;
    match (devices, ids) {
        (None, []) => return,
        (None, _) => {
            findings.error(&ids_path, "gpu_ids not found in hardware: a catalog node does not name its GPUs", "take `gpu_ids` out");
            return;
        }
        (Some(_), []) => {
            findings.error(&path, "ParallelVLLM missing gpu_ids", "list the devices, in order of stages");
            return;
        }
        (Some(devices), _) => {
            for (index, id) in ids.iter().enumerate() {
                let gpus = || devices.iter().filter(|device| is_gpu(device)).map(|device| device.device_id.as_str());
                if !gpus().any(|gpu| gpu == id) {
                    let hint = did_you_mean(id, gpus()).unwrap_or_else(|| format!("GPUs: {}", gpus().collect::<Vec<_>>().join(", ")));
                    findings.error(join_index(&ids_path, index), format!("ParallelVLLM gpu_id '{id}' not found in hardware"), hint);
                }
                if ids.get(..index).is_some_and(|before| before.contains(id)) {
                    findings.error(join_index(&ids_path, index), format!("Duplicate GPU IDs found: {id}"), "name each GPU once");
                }
            }
        }
    }
    let (tp, pp) = (u64::from(given.tp_degree.unwrap_or(1)), u64::from(given.pp_stages.unwrap_or(1)));
    match strategy {
        Some("TP") if tp != count => {
            findings.error(&path, format!("TP degree {tp} doesn't match GPU count {count}"), "list as many `gpu_ids` as `tp_degree` says");
        }
        Some("PP") if !count.is_multiple_of(pp) => {
            findings.error(
                &path,
                format!("PP requires GPU count ({count}) to be divisible by stages ({pp})"),
                "list as many `gpu_ids` for each stage",
            );
        }
        Some("TP_PP") if tp * pp != count => {
            findings.error(&path, format!("TP_PP expects {} GPUs (tp={tp} * pp={pp}), got {count}", tp * pp), "list as many `gpu_ids`");
        }
        _ => {}
    }
}
