//! Requests: exactly one description of them, with everything it needs and nothing it cannot use.

use std::collections::BTreeSet;

use super::super::check::readable;
use super::super::names::did_you_mean;
use super::super::node::{join_index, join_key};
use super::super::presets;
use super::super::schema::{
    ArrivalModel, ClientProfile, Distribution, DistributionKind, Document, LoadBalancing, PrefixKind, PrefixPattern, Workload,
};
use super::distribution::{Quantity, check_weights, distribution};
use super::{Findings, shared};

const PATH: &str = "workload";

pub fn workload(document: &Document, findings: &mut Findings) {
    let workload = &document.workload;
    one_base(workload, findings);
    has_an_end(document, findings);
    routing(document, findings);
    if let Some(profiles) = &workload.client_profiles {
        client_profiles(workload, profiles, findings);
    }
    if let Some(patterns) = &workload.prefix_patterns {
        prefix_patterns(workload, &patterns.patterns, findings);
    }
    rate_over_time(workload, findings);
    terms(workload, findings);
}

fn rate_over_time(workload: &Workload, findings: &mut Findings) {
    let Some(given) = &workload.rate_over_time else { return };
    let path = join_key(PATH, "rate_over_time");
    if workload.trace.is_some() || workload.concurrency.is_some() {
        let message = "`rate_over_time` is for arrivals drawn at a rate: a trace has its own times, and a closed loop has none";
        findings.error(&path, message, "take it out");
    }
    let list = join_key(&path, "points");
    for (index, pair) in given.points.windows(2).enumerate() {
        if pair[1].at_s < pair[0].at_s {
            findings.error(join_index(&list, index + 1), "comes before the point above it", "put the points in order of time");
        }
    }
    if given.points.first().is_some_and(|first| first.at_s != 0.0) {
        findings.error(join_index(&list, 0), "the first point is not at 0", "say what the rate is at `at_s: 0`");
    }
    let last = given.points.last().map_or(0.0, |last| last.at_s);
    if given.period_s.is_some_and(|period| period < last) {
        findings.error(join_key(&path, "period_s"), "is over before the last point", format!("use {} or more", readable(last)));
    }
    if given.points.iter().all(|point| point.factor <= 0.0) {
        findings.error(list, "no point has a rate above zero", "give one a factor above 0");
    }
}

/// What clients ask for beside prompt and reply.
fn terms(workload: &Workload, findings: &mut Findings) {
    if let Some(declared) = &workload.declared_max_tokens_dist_config {
        distribution(declared, Quantity::Tokens, &join_key(PATH, "declared_max_tokens_dist_config"), findings);
        if workload.ignore_eos == Some(true) {
            let message = "`ignore_eos: true` contradicts `declared_max_tokens_dist_config`: such a reply always has its declared length";
            findings.error(join_key(PATH, "ignore_eos"), message, "take one of the two out");
        }
    }
    if let Some(replies) = &workload.n_dist_config {
        distribution(replies, Quantity::Tokens, &join_key(PATH, "n_dist_config"), findings);
        if workload.n.is_some() {
            findings.error(join_key(PATH, "n"), "`n` and `n_dist_config` both say how many replies", "keep one of them");
        }
    }
    if let Some(cancellation) = &workload.cancellation {
        let path = join_key(PATH, "cancellation");
        distribution(&cancellation.after_s_dist_config, Quantity::Seconds, &join_key(&path, "after_s_dist_config"), findings);
    }
}

fn one_base(workload: &Workload, findings: &mut Findings) {
    let bases = [
        ("preset", workload.preset.is_some()),
        ("trace", workload.trace.is_some()),
        ("client_profiles", workload.client_profiles.is_some()),
    ];
    let given: Vec<&str> = bases.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    match given.as_slice() {
        [] => findings.error(PATH, "Workload missing client_profiles", "or name a `preset`, such as `preset: chat`, or a `trace`"),
        [_] => {}
        more => findings.error(PATH, format!("`{}` each describe the requests", more.join("` and `")), "keep one of them"),
    }
    if let Some(name) = &workload.preset
        && presets::workload_preset(name).is_none()
    {
        findings.list.push(presets::unknown_workload(name));
    }
    if workload.trace.is_some() {
        let idle = [
            ("arrival_model", workload.arrival_model.is_some()),
            ("max_turns_per_session", workload.max_turns_per_session.is_some()),
            ("continue_probability", workload.continue_probability.is_some()),
            ("accumulate_conversational_tokens", workload.accumulate_conversational_tokens.is_some()),
            ("prefix_patterns", workload.prefix_patterns.is_some()),
        ];
        for (name, _) in idle.into_iter().filter(|(_, given)| *given) {
            findings.error(join_key(PATH, name), format!("`{name}` does not apply to a trace"), "take it out: the trace says it all");
        }
    }
}

fn has_an_end(document: &Document, findings: &mut Findings) {
    let workload = &document.workload;
    if let Some(name) = &workload.preset
        && presets::workload_preset(name)
            .is_none_or(|preset| preset.total_duration.or(preset.total_requests_to_generate.map(|count| count as f64)).is_some())
    {
        return;
    }
    let ends = workload.total_duration.is_some()
        || workload.total_requests_to_generate.is_some()
        || document.simulation.max_simulation_time.is_some()
        || workload.trace.is_some();
    if !ends {
        findings.error(PATH, "Workload missing total_duration", "say when to stop: `total_duration` or `total_requests_to_generate`");
    }
}

fn routing(document: &Document, findings: &mut Findings) {
    let workload = &document.workload;
    if let Some(strategy) = workload.load_balancing_strategy
        && !shared(document)
    {
        let path = join_key(PATH, "load_balancing_strategy");
        let message = format!("{strategy:?} has no effect: side by side, every entry serves all requests");
        findings.warning(path, message, "say `simulation.comparison: shared` to spread the requests over the entries");
    }
    let Some(weights) = &workload.framework_weights else { return };
    let path = join_key(PATH, "framework_weights");
    if workload.load_balancing_strategy != Some(LoadBalancing::WeightedRandom) {
        findings.warning(
            &path,
            "`framework_weights` has no effect without `load_balancing_strategy: weighted_random`",
            "say it, or take this out",
        );
    }
    let names = || document.frameworks_to_test.iter().map(|entry| entry.name.as_str());
    for name in weights.keys().filter(|name| !names().any(|known| known == name.as_str())) {
        let hint = did_you_mean(name, names()).unwrap_or_else(|| format!("entries: {}", names().collect::<Vec<_>>().join(", ")));
        findings.error(join_key(&path, name), format!("no entry of frameworks_to_test is called `{name}`"), hint);
    }
    check_weights(weights.iter().map(|(name, weight)| (join_key(&path, name), *weight)), &path, findings);
}

fn client_profiles(workload: &Workload, profiles: &[ClientProfile], findings: &mut Findings) {
    let list = join_key(PATH, "client_profiles");
    let one_generator = workload.arrival_model == Some(ArrivalModel::OneGenerator);
    if one_generator && workload.concurrency.is_some() {
        let hint = "take one of the two out: a closed loop has no generator";
        findings.error(join_key(PATH, "concurrency"), "`concurrency` and `arrival_model: one_generator` contradict each other", hint);
    }
    if workload.concurrency.is_some() && workload.rate_scale.is_some() {
        findings.warning(
            join_key(PATH, "rate_scale"),
            "`rate_scale` has no effect with `concurrency`: a closed loop has no rate of its own",
            "",
        );
    }
    if one_generator || workload.concurrency.is_some() {
        check_weights(
            profiles
                .iter()
                .enumerate()
                .map(|(index, profile)| (join_key(&join_index(&list, index), "weight"), profile.weight.unwrap_or(1.0))),
            &list,
            findings,
        );
    }
    let mut names = BTreeSet::new();
    for (index, profile) in profiles.iter().enumerate() {
        let path = join_index(&list, index);
        if !names.insert(&profile.profile_name) {
            let message = format!("two profiles are called `{}`: their requests cannot be told apart in the results", profile.profile_name);
            findings.warning(join_key(&path, "profile_name"), message, "give each a name of its own");
        }
        if !one_generator && workload.concurrency.is_none() && profile.weight.is_some_and(|weight| weight != 1.0) {
            let message = "`weight` has no effect: each profile sends at the rate of its own `inter_arrival_time_dist_config`";
            findings.warning(join_key(&path, "weight"), message, "say `arrival_model: one_generator` to draw profiles by weight");
        }
        client_profile(workload, profile, index, &path, findings);
    }
}

fn client_profile(workload: &Workload, profile: &ClientProfile, index: usize, path: &str, findings: &mut Findings) {
    let arrivals = join_key(path, "inter_arrival_time_dist_config");
    match (&profile.inter_arrival_time_dist_config, workload.concurrency) {
        (None, None) => findings.error(
            path,
            format!("Client profile {index} missing inter_arrival_time_dist_config"),
            "say when requests come, such as `{type: Exponential, rate: 2}`, or give the workload a `concurrency`",
        ),
        (Some(_), Some(_)) if workload.arrival_model == Some(ArrivalModel::OneGenerator) => {}
        (Some(_), Some(_)) => findings.warning(
            &arrivals,
            "`inter_arrival_time_dist_config` has no effect with `concurrency`: a client sends when its last request has ended",
            "take one of the two out",
        ),
        (Some(gap), None) if never_waits(gap) && workload.total_requests_to_generate.is_none() => findings.error(
            &arrivals,
            "requests without any time between them never end",
            "limit them with `workload.total_requests_to_generate`, or give a time between them",
        ),
        _ => {}
    }
    let distributions = [
        (profile.inter_arrival_time_dist_config.as_ref(), Quantity::Seconds, "inter_arrival_time_dist_config"),
        (Some(&profile.prompt_tokens_dist_config), Quantity::Tokens, "prompt_tokens_dist_config"),
        (Some(&profile.max_output_tokens_dist_config), Quantity::Tokens, "max_output_tokens_dist_config"),
        (profile.follow_up_inter_arrival_time_dist_config.as_ref(), Quantity::Seconds, "follow_up_inter_arrival_time_dist_config"),
        (profile.user_priority_dist_config.as_ref(), Quantity::Priority, "user_priority_dist_config"),
    ];
    for (given, quantity, key) in distributions {
        if let Some(given) = given {
            distribution(given, quantity, &join_key(path, key), findings);
        }
    }
}

/// Whether every draw is zero.
fn never_waits(gap: &Distribution) -> bool {
    match gap.kind.unwrap_or(DistributionKind::Constant) {
        _ if gap.is_int == Some(true) => false,
        DistributionKind::Constant | DistributionKind::Fixed => gap.value == Some(0.0),
        DistributionKind::Uniform => gap.high == Some(0.0),
        DistributionKind::Normal => gap.mean.unwrap_or(0.0) == 0.0 && gap.std.or(gap.sigma) == Some(0.0),
        DistributionKind::Mixture => gap.components.as_deref().is_some_and(|parts| !parts.is_empty() && parts.iter().all(never_waits)),
        DistributionKind::Quantiles => gap.quantiles.as_deref().is_some_and(|values| values.iter().all(|value| *value == 0.0)),
        _ => false,
    }
}

/// The original project's named prefixes.
const PREFIX_NAMES: [(PrefixKind, &[&str]); 3] = [
    (PrefixKind::System, &["helpful_assistant", "code_assistant", "translation", "summarization", "creative_writing"]),
    (PrefixKind::FewShot, &["classification_3shot", "qa_5shot", "translation_2shot"]),
    (PrefixKind::Instruction, &["analyze_data", "write_code", "explain_concept"]),
];

fn prefix_patterns(workload: &Workload, patterns: &[PrefixPattern], findings: &mut Findings) {
    let path = join_key(PATH, "prefix_patterns");
    let list = join_key(&path, "patterns");
    if workload.generate_prompt_tokens != Some(true) {
        findings.warning(&path, "`prefix_patterns` has no effect without `generate_prompt_tokens: true`", "say it, or take this out");
    }
    if patterns.is_empty() {
        findings.error(&list, "no prefix pattern is listed", "list at least one, or take `prefix_patterns` out");
        return;
    }
    check_weights(
        patterns.iter().enumerate().map(|(index, pattern)| (join_key(&join_index(&list, index), "weight"), pattern.weight.unwrap_or(1.0))),
        &list,
        findings,
    );
    for (index, pattern) in patterns.iter().enumerate() {
        prefix_pattern(pattern, &join_index(&list, index), findings);
    }
}

fn prefix_pattern(pattern: &PrefixPattern, path: &str, findings: &mut Findings) {
    let components = pattern.components.as_deref().unwrap_or_default();
    match (pattern.kind, components.is_empty()) {
        (PrefixKind::Mixed, true) => findings.error(path, "a mixed prefix needs `components`", "list its parts"),
        (PrefixKind::Mixed, false) | (_, true) => {}
        (_, false) => findings.error(join_key(path, "components"), "only a mixed prefix has `components`", "say `type: mixed`"),
    }
    for (index, component) in components.iter().enumerate() {
        prefix_pattern(component, &join_index(&join_key(path, "components"), index), findings);
    }
    let Some((_, names)) = PREFIX_NAMES.iter().find(|(kind, _)| *kind == pattern.kind) else { return };
    let known = pattern.name.as_deref().is_some_and(|name| names.contains(&name));
    if !known && pattern.tokens.is_none() {
        let given = pattern.name.as_deref().unwrap_or_default();
        let hint = did_you_mean(given, names.iter().copied()).unwrap_or_else(|| format!("known: {}", names.join(", ")));
        findings.error(path, format!("`{given}` is no named prefix, and its length is not given"), format!("{hint}; or say `tokens`"));
    }
}
