//! KV tiers against the engine they are below, and an engine's own words for them.

use super::super::node::join_key;
use super::super::schema::{FrameworkConfig, FrameworkKind, KvLoad, KvWritePolicy};
use super::Findings;

pub(super) fn kv_tiers(worker: FrameworkKind, config: &FrameworkConfig, config_path: &str, findings: &mut Findings) {
    let own = own_words(config);
    let caches = config.enable_prefix_caching.unwrap_or(true)
        && config.sglang.as_ref().and_then(|own| own.disable_radix_cache) != Some(true)
        && config.trtllm.as_ref().and_then(|own| own.enable_block_reuse) != Some(false);
    let Some(tiers) = &config.kv_tiers else {
        if let (Some((stack, key)), false) = (own, caches) {
            findings.error(
                join_key(&join_key(config_path, stack), key),
                "nothing can be kept below the GPU: the prefix cache is off",
                "turn it on",
            );
        }
        return;
    };
    let path = join_key(config_path, "kv_tiers");
    if let Some((stack, key)) = own {
        let message = format!("`kv_tiers` and `{stack}.{key}` both describe tiers below the GPU");
        findings.error(join_key(&join_key(config_path, stack), key), message, "keep one of them");
    }
    if !caches {
        findings.error(&path, "nothing can be kept below the GPU: the prefix cache is off", "turn it on, or take `kv_tiers` out");
    }
    if tiers.given().next().is_none() {
        findings.error(&path, "`kv_tiers` names no tier", "say `host: {size_gb: 200}`, `disk: {...}` or `remote: {...}`");
    }
    for (kind, name, tier) in tiers.given() {
        if tier.size_gb.is_none() && !(kind == 0 && worker == FrameworkKind::Sglang) {
            findings.error(join_key(&path, name), "how large the tier is is not said", "say `size_gb`");
        }
    }
    let selective = |policy: Option<KvWritePolicy>| policy == Some(KvWritePolicy::WriteThroughSelective);
    if tiers.write_threshold.is_some() && !selective(tiers.write_policy) && !tiers.given().any(|(.., tier)| selective(tier.write_policy)) {
        let message = "`write_threshold` has no effect without `write_policy: write_through_selective`";
        findings.warning(join_key(&path, "write_threshold"), message, "take it out, or set the policy");
    }
    if tiers.prefetch.is_some() {
        if worker != FrameworkKind::Sglang {
            let hint = "take it out: others look below when a request's turn comes";
            findings.error(join_key(&path, "prefetch"), "only SGLang prefetches when a request arrives", hint);
        } else if tiers.host.is_none() || tiers.given().count() < 2 {
            let message = "`prefetch` brings contents up to host memory: it needs `host` and a tier below it";
            findings.error(join_key(&path, "prefetch"), message, "give both, or take it out");
        }
    }
    if tiers.load == Some(KvLoad::Fetch) && !matches!(worker, FrameworkKind::Vllm | FrameworkKind::ParallelVllm) {
        let message = "only vLLM lets a request wait outside of the batch for its KV";
        findings.error(join_key(&path, "load"), message, "say `layers` or `serial`");
    }
}

/// The key under which an engine's own words ask for tiers.
fn own_words(config: &FrameworkConfig) -> Option<(&'static str, &'static str)> {
    let sglang = config.sglang.as_ref().and_then(|own| own.enable_hierarchical_cache) == Some(true);
    let trtllm = config.trtllm.as_ref().is_some_and(|own| own.host_cache_size.is_some());
    let vllm = config.vllm.as_ref().is_some_and(|own| own.kv_offloading_size.is_some());
    let keys = [
        (sglang, ("sglang", "enable_hierarchical_cache")),
        (trtllm, ("trtllm", "host_cache_size")),
        (vllm, ("vllm", "kv_offloading_size")),
    ];
    keys.into_iter().find(|(given, _)| *given).map(|(_, key)| key)
}
