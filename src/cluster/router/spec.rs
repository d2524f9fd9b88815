//! From a document's words to a router: defaults, and the options that a rule does not have refused.

use super::cache_aware::CacheAwareOptions;
use super::kv::KvOptions;
use super::queue::{KvQueue, QueueOrder};
use super::signals::ScorerWeights;
use super::{RouterSpec, Rule};
use crate::config::Diagnostic;
use crate::config::schema::{DynamoConfig, DynamoRouterMode, KvRouterConfig, LoadBalancing, RouterConfig, RouterPolicy, RouterQueuePolicy};
use crate::units::Time;

/// Of `prefix_hash`, where a document does not say.
const PREFIX_TOKENS: u32 = 256;
/// Of vLLM's balancer (`engine/core_client.py`).
const VLLM_DP_INTERVAL_MS: f64 = 100.0;

impl RouterSpec {
    /// The original project's strategies. Weights count for `weighted_random` only.
    pub fn of_strategy(strategy: LoadBalancing, weights: &[f64]) -> RouterSpec {
        RouterSpec::new(match strategy {
            LoadBalancing::RoundRobin => Rule::RoundRobin,
            LoadBalancing::Random => Rule::Random,
            LoadBalancing::LeastLoaded => Rule::LeastLoaded,
            LoadBalancing::WeightedRandom => Rule::Weighted(weights.to_vec()),
            LoadBalancing::SessionAffinity => Rule::SessionAffinity,
        })
    }

    /// What an entry's `router` says about `replicas` engines with blocks of `block_size` tokens.
    pub fn of_config(config: &RouterConfig, replicas: u32, block_size: u32, path: &str) -> Result<RouterSpec, Diagnostic> {
        let policy = config.policy.unwrap_or(RouterPolicy::RoundRobin);
        foreign_options(config, policy, path)?;
        let own = CacheAwareOptions::default();
        let scorers = ScorerWeights::default();
        let rule = match policy {
            RouterPolicy::RoundRobin => Rule::RoundRobin,
            RouterPolicy::Random => Rule::Random,
            RouterPolicy::Weighted => Rule::Weighted(weights(config, replicas, path)?),
            RouterPolicy::LeastLoaded => Rule::LeastLoaded,
            RouterPolicy::PowerOfTwo => Rule::PowerOfTwo,
            RouterPolicy::SessionAffinity => Rule::SessionAffinity,
            RouterPolicy::PrefixHash => Rule::PrefixHash { tokens: config.prefix_tokens.unwrap_or(PREFIX_TOKENS) },
            RouterPolicy::CacheAware => Rule::CacheAware(CacheAwareOptions {
                cache_threshold: config.cache_threshold.unwrap_or(own.cache_threshold),
                balance_abs_threshold: config.balance_abs_threshold.unwrap_or(own.balance_abs_threshold),
                balance_rel_threshold: config.balance_rel_threshold.unwrap_or(own.balance_rel_threshold),
                eviction_interval: config.eviction_interval_s.map_or(own.eviction_interval, Time::from_s),
                max_tree_tokens: config.max_tree_tokens.unwrap_or(own.max_tree_tokens),
            }),
            RouterPolicy::Kv => Rule::Kv(kv(config.kv.as_ref(), block_size, &format!("{path}.kv"))?),
            RouterPolicy::Scorers => Rule::Scorers(ScorerWeights {
                queue: config.queue_scorer.unwrap_or(scorers.queue),
                kv_utilization: config.kv_cache_utilization_scorer.unwrap_or(scorers.kv_utilization),
                prefix: config.prefix_cache_scorer.unwrap_or(scorers.prefix),
                lora: config.lora_affinity_scorer.unwrap_or(scorers.lora),
            }),
            RouterPolicy::VllmDp => Rule::VllmDp,
        };
        let default = if policy == RouterPolicy::VllmDp { VLLM_DP_INTERVAL_MS } else { 0.0 };
        Ok(RouterSpec {
            rule,
            snapshot_interval: Time::from_ms(config.snapshot_interval_ms.unwrap_or(default)),
            event_delay: Time::from_ms(config.event_delay_ms.unwrap_or(0.0)),
        })
    }

    /// What an entry's `dynamo` says.
    pub fn of_dynamo(config: &DynamoConfig, replicas: u32, block_size: u32, path: &str) -> Result<RouterSpec, Diagnostic> {
        let mode = config.router_mode.unwrap_or_default();
        let as_router = RouterConfig {
            policy: Some(match mode {
                DynamoRouterMode::RoundRobin => RouterPolicy::RoundRobin,
                DynamoRouterMode::Random => RouterPolicy::Random,
                DynamoRouterMode::PowerOfTwoChoices => RouterPolicy::PowerOfTwo,
                DynamoRouterMode::LeastLoaded => RouterPolicy::LeastLoaded,
                DynamoRouterMode::Kv => RouterPolicy::Kv,
            }),
            kv: config.kv.clone(),
            event_delay_ms: config.event_delay_ms,
            ..RouterConfig::default()
        };
        RouterSpec::of_config(&as_router, replicas, block_size, path)
    }
}

fn kv(config: Option<&KvRouterConfig>, block_size: u32, path: &str) -> Result<KvOptions, Diagnostic> {
    let (given, own) = (config.cloned().unwrap_or_default(), KvOptions::default());
    let order = match given.router_queue_policy.unwrap_or_default() {
        RouterQueuePolicy::Fcfs => QueueOrder::Fcfs,
        RouterQueuePolicy::Lcfs => QueueOrder::Lcfs,
        RouterQueuePolicy::Wspt => QueueOrder::Wspt,
    };
    if given.router_queue_policy.is_some() && given.router_queue_threshold.is_none() {
        let message = "has no effect: without a threshold nothing waits in the router";
        return Err(Diagnostic::error(format!("{path}.router_queue_policy"), message, "say `router_queue_threshold`, or take it out"));
    }
    Ok(KvOptions {
        overlap_score_credit: given.overlap_score_credit.unwrap_or(own.overlap_score_credit),
        overlap_score_credit_decay: given.overlap_score_credit_decay.unwrap_or(own.overlap_score_credit_decay),
        host_cache_hit_weight: given.router_host_cache_hit_weight.unwrap_or(own.host_cache_hit_weight),
        disk_cache_hit_weight: given.router_disk_cache_hit_weight.unwrap_or(own.disk_cache_hit_weight),
        prefill_load_scale: given.prefill_load_scale.unwrap_or(own.prefill_load_scale),
        decode_active_request_weight: given.decode_active_request_weight.unwrap_or(own.decode_active_request_weight),
        temperature: given.router_temperature.unwrap_or(own.temperature),
        kv_events: given.use_kv_events.unwrap_or(own.kv_events),
        ttl: given.router_ttl_secs.map_or(own.ttl, Time::from_s),
        track_active_blocks: given.router_track_active_blocks.unwrap_or(own.track_active_blocks),
        block_size: block_size.max(1),
        lower_tiers: false,
        late: false,
        queue: given.router_queue_threshold.map(|threshold| KvQueue { threshold, order, max_num_batched_tokens: u32::MAX }),
    })
}

fn weights(config: &RouterConfig, replicas: u32, path: &str) -> Result<Vec<f64>, Diagnostic> {
    let at = format!("{path}.weights");
    let weights = config.weights.clone().unwrap_or_default();
    if weights.len() as u64 != u64::from(replicas) {
        let message = format!("{} weights for {replicas} replicas", weights.len());
        return Err(Diagnostic::error(at, message, "give one for each replica"));
    }
    let sum: f64 = weights.iter().sum();
    if weights.iter().any(|weight| weight.is_nan() || *weight < 0.0) || !(sum > 0.0 && sum.is_finite()) {
        return Err(Diagnostic::error(at, "these are no weights", "use numbers from 0 up, not all 0"));
    }
    Ok(weights)
}

/// Refuses options of other rules, which would have no effect.
fn foreign_options(config: &RouterConfig, policy: RouterPolicy, path: &str) -> Result<(), Diagnostic> {
    use RouterPolicy::{CacheAware, Kv, LeastLoaded, PowerOfTwo, PrefixHash, Scorers, VllmDp, Weighted};
    let options: [(&str, bool, &[RouterPolicy]); 14] = [
        ("snapshot_interval_ms", config.snapshot_interval_ms.is_some(), &[LeastLoaded, PowerOfTwo, CacheAware, Kv, Scorers, VllmDp]),
        ("event_delay_ms", config.event_delay_ms.is_some(), &[LeastLoaded, PowerOfTwo, CacheAware, Kv, VllmDp]),
        ("weights", config.weights.is_some(), &[Weighted]),
        ("prefix_tokens", config.prefix_tokens.is_some(), &[PrefixHash]),
        ("cache_threshold", config.cache_threshold.is_some(), &[CacheAware]),
        ("balance_abs_threshold", config.balance_abs_threshold.is_some(), &[CacheAware]),
        ("balance_rel_threshold", config.balance_rel_threshold.is_some(), &[CacheAware]),
        ("eviction_interval_s", config.eviction_interval_s.is_some(), &[CacheAware]),
        ("max_tree_tokens", config.max_tree_tokens.is_some(), &[CacheAware]),
        ("kv", config.kv.is_some(), &[Kv]),
        ("queue_scorer", config.queue_scorer.is_some(), &[Scorers]),
        ("kv_cache_utilization_scorer", config.kv_cache_utilization_scorer.is_some(), &[Scorers]),
        ("prefix_cache_scorer", config.prefix_cache_scorer.is_some(), &[Scorers]),
        ("lora_affinity_scorer", config.lora_affinity_scorer.is_some(), &[Scorers]),
    ];
    let by_own_estimate = config.kv.as_ref().is_some_and(|kv| kv.use_kv_events == Some(false));
    if config.snapshot_interval_ms.is_some() && by_own_estimate {
        let message = "has no effect: without KV events the router looks at no engine";
        return Err(Diagnostic::error(format!("{path}.snapshot_interval_ms"), message, "take it out, or `use_kv_events: false`"));
    }
    match options.iter().find(|(_, given, of)| *given && !of.contains(&policy)) {
        Some((key, ..)) => {
            let message = format!("{key} has no meaning for this policy");
            Err(Diagnostic::error(format!("{path}.{key}"), message, "take it out, or choose the policy it belongs to"))
        }
        None => Ok(()),
    }
}
