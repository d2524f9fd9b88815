//! vLLM's own options: only for vLLM, and none that its version does not have.

use super::super::node::join_key;
use super::super::schema::{FrameworkConfig, FrameworkKind, VllmPreemptionMode, VllmVersion};
use super::Findings;
use super::own_options::of_another_stack;

pub(super) fn vllm(kind: FrameworkKind, config: &FrameworkConfig, config_path: &str, findings: &mut Findings) {
    let Some(own) = &config.vllm else { return };
    let path = join_key(config_path, "vllm");
    if !matches!(kind, FrameworkKind::Vllm | FrameworkKind::ParallelVllm) {
        of_another_stack(&path, "vLLM", "VLLM", findings);
        return;
    }
    if own.long_prefill_token_threshold_adaptive == Some(true)
        && config.long_prefill_token_threshold.or(config.prefill_chunk_size).unwrap_or(0) == 0
    {
        let message = "`long_prefill_token_threshold_adaptive` has no effect without `long_prefill_token_threshold`";
        findings.warning(join_key(&path, "long_prefill_token_threshold_adaptive"), message, "say the threshold, or take this out");
    }
    let before_v1 = [
        ("num_scheduler_steps", own.num_scheduler_steps.is_some()),
        ("scheduler_delay_factor", own.scheduler_delay_factor.is_some()),
        ("preemption_mode", own.preemption_mode.is_some()),
        ("swap_space", own.swap_space.is_some()),
    ];
    for (key, _) in before_v1.into_iter().filter(|(_, given)| *given && own.version != Some(VllmVersion::V0_6)) {
        let message = format!("`{key}` is an option of the scheduler before V1");
        findings.error(join_key(&path, key), message, "take it out, or say `version: \"0.6\"`");
    }
    if own.swap_space.is_some() && own.preemption_mode == Some(VllmPreemptionMode::Recompute) {
        findings.warning(join_key(&path, "swap_space"), "`swap_space` has no effect: nothing is swapped", "say `preemption_mode: swap`");
    }
    if own.version == Some(VllmVersion::V0_6) {
        let newer = [
            ("scheduling_policy", own.scheduling_policy.is_some()),
            ("long_prefill_token_threshold_adaptive", own.long_prefill_token_threshold_adaptive.is_some()),
            ("prefill_schedule_interval", own.prefill_schedule_interval.is_some()),
            ("max_num_active_seqs", own.max_num_active_seqs.is_some()),
        ];
        for (key, _) in newer.into_iter().filter(|(_, given)| *given) {
            findings.error(join_key(&path, key), format!("the scheduler of vLLM 0.6 is modelled without `{key}`"), "take it out");
        }
    }
}
