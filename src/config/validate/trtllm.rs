//! TensorRT-LLM's own options against each other, and against the common options that say the same in other words.

use super::super::node::join_key;
use super::super::schema::{CapacitySchedulerPolicy, FrameworkConfig, FrameworkKind, TrtllmConfig, TrtllmPreset, TrtllmVersion};
use super::Findings;
use super::own_options::{differs, of_another_stack, two_words, without_effect};

pub(super) fn trtllm(kind: FrameworkKind, config: &FrameworkConfig, config_path: &str, findings: &mut Findings) {
    if kind == FrameworkKind::Trtllm {
        without_effect("TensorRT-LLM", config, config_path, findings);
    }
    let Some(own) = &config.trtllm else { return };
    let path = join_key(config_path, "trtllm");
    if kind != FrameworkKind::Trtllm {
        of_another_stack(&path, "TensorRT-LLM", "TRTLLM", findings);
        return;
    }
    common_words(config, own, &path, findings);
    if own.use_kv_cache_manager_v2 == Some(true)
        && own.capacity_scheduler_policy.is_some_and(|policy| policy != CapacitySchedulerPolicy::MaxUtilization)
    {
        let hint = "leave `capacity_scheduler_policy` out, or say `use_kv_cache_manager_v2: false`";
        findings.error(join_key(&path, "capacity_scheduler_policy"), "the second scheduler knows MAX_UTILIZATION only", hint);
    }
    let v1 =
        own.use_kv_cache_manager_v2 == Some(false) || own.use_kv_cache_manager_v2.is_none() && own.version != Some(TrtllmVersion::Main);
    if own.max_util_for_resume.is_some() && v1 {
        findings.warning(
            join_key(&path, "max_util_for_resume"),
            "`max_util_for_resume` has no effect without the second scheduler",
            "take it out",
        );
    }
    if own.context_chunking_policy.is_some() && config.enable_chunked_prefill != Some(true) {
        let message = "`context_chunking_policy` has no effect: prompts are not cut";
        findings.warning(join_key(&path, "context_chunking_policy"), message, "say `enable_chunked_prefill: true`");
    }
    if own.batch_wait_timeout_iters.unwrap_or(0) > 0 && own.batch_wait_max_tokens_ratio.unwrap_or(0.0) == 0.0 {
        let message = "prompts never wait: `batch_wait_max_tokens_ratio` is 0";
        findings.warning(join_key(&path, "batch_wait_timeout_iters"), message, "say how many tokens are enough");
    }
    let bench = own.preset == Some(TrtllmPreset::Bench);
    for (key, given) in [("target_input_len", own.target_input_len), ("target_output_len", own.target_output_len)] {
        let tuned = own.max_batch_size.or(config.max_num_seqs).is_none() || own.max_num_tokens.or(config.max_num_batched_tokens).is_none();
        if given.is_none() && bench && tuned {
            let hint = "say the mean length of the requests, or both `max_batch_size` and `max_num_tokens`";
            findings.error(join_key(&path, key), format!("`preset: bench` chooses the batch size by `{key}`, which is missing"), hint);
        } else if given.is_some() && !bench {
            findings.warning(join_key(&path, key), format!("`{key}` has no effect without `preset: bench`"), "take it out");
        }
    }
    if config.cuda_graphs == Some(false) && own.cuda_graph_config.is_some() {
        findings.warning(
            join_key(&path, "cuda_graph_config"),
            "`cuda_graph_config` has no effect: `cuda_graphs` is off",
            "take one of the two out",
        );
    }
}

/// The same said in TensorRT-LLM's words and in the common ones.
fn common_words(config: &FrameworkConfig, own: &TrtllmConfig, path: &str, findings: &mut Findings) {
    let pairs = [
        ("max_batch_size", "max_num_seqs", differs(own.max_batch_size, config.max_num_seqs)),
        ("max_num_tokens", "max_num_batched_tokens", differs(own.max_num_tokens, config.max_num_batched_tokens)),
        ("max_seq_len", "max_model_len", differs(own.max_seq_len, config.max_model_len)),
        ("free_gpu_memory_fraction", "gpu_memory_utilization", differs(own.free_gpu_memory_fraction, config.gpu_memory_utilization)),
        ("tokens_per_block", "block_size", differs(own.tokens_per_block, config.block_size)),
        ("enable_block_reuse", "enable_prefix_caching", differs(own.enable_block_reuse, config.enable_prefix_caching)),
        (
            "disable_overlap_scheduler",
            "async_scheduling",
            differs(own.disable_overlap_scheduler.map(|disabled| !disabled), config.async_scheduling),
        ),
    ];
    two_words(&pairs, path, findings);
}
