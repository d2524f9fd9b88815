//! The original project's documents: how they are told from ours, and their translation.
//!
//! **The rule.** A document is of the original project when it does not say `schema_version`, describes its hardware as the
//! original does (`hardware_profile.compute_devices` without catalog names) or names a `model_characteristics_db_path`, and
//! uses none of our own forms for hardware or traffic (`node`, `device`, `preset`, `trace`, `concurrency`). Smaller keys of
//! ours, such as `slo` or `space`, may be added to such a document without changing what the rest of it means.
//!
//! The translation spells the original's meaning out in our own keys, so that nothing above needs to know the dialect: the
//! translated document, written and read again, means the same.

use super::Diagnostic;
use super::names::spelling;
use super::node::{Node, Place, Value, join_index, join_key};
use super::schema::DistributionKind;
use super::validate::distribution::{ALL_KINDS, parameters, space_by_mean};

/// Whether the tree is a document of the original project (the rule above).
pub fn is_original(root: &Node) -> bool {
    let has = |path: &str| !select(root, path).is_empty();
    let marked = has("model_characteristics_db_path") || has("hardware_profile.compute_devices");
    const OURS: [&str; 7] = [
        "schema_version",
        "hardware_profile.node",
        "hardware_profile.nodes",
        "hardware_profile.compute_devices[].device",
        "workload.preset",
        "workload.trace",
        "workload.concurrency",
    ];
    marked && !OURS.into_iter().any(has)
}

/// Fragments of documents, and the dialect that no version of the original reads: said once and clearly, instead of a hundred
/// unknown keys.
pub fn refuse_foreign(root: &Node) -> Option<Diagnostic> {
    const TOP: [&str; 4] = ["simulation", "hardware_profile", "workload", "frameworks_to_test"];
    let Value::Map(_) = root.value else { return None };
    let missing: Vec<&str> = TOP.into_iter().filter(|key| root.get(key).is_none()).collect();
    if missing.len() < 2 {
        return None;
    }
    const FOREIGN: [&str; 10] = [
        "memory_capacity_gb",
        "memory_bandwidth_gb_s",
        "network_bandwidth_gb_s",
        "bandwidth_gb_s",
        "fp16_tflops",
        "profile_id",
        "arrival_rate",
        "generated_tokens",
        "session_profile",
        "active_profiles",
    ];
    let hint = match find_key(root, &FOREIGN) {
        Some(key) => format!(
            "this is a fragment in another dialect (it says `{key}`), which no version of the original project reads either: move its numbers \
             into a whole document, which `llmperforacle generate-config` writes"
        ),
        None => "a document has all four; `llmperforacle generate-config` writes a whole one to start from".into(),
    };
    Some(Diagnostic::error("", format!("Missing top-level fields: {}", missing.join(", ")), hint).at(root.place))
}

fn find_key<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a str> {
    let own = node.entries().iter().find(|entry| keys.contains(&entry.key.as_str())).map(|entry| entry.key.as_str());
    own.or_else(|| node.entries().iter().find_map(|entry| find_key(&entry.value, keys)))
        .or_else(|| node.items().iter().find_map(|item| find_key(item, keys)))
}

/// Puts the original's meaning into our keys, and says so.
pub fn translate(root: &mut Node, diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.push(
        Diagnostic::warning(
            "",
            "read as a document of the original project: where it says nothing else, all entries share one stream of requests (`comparison: \
             shared`), one generator draws the profile of each next request by weight (`arrival_model: one_generator`), a prompt takes 2 bytes a \
             token on the network, and an entry has at most 256 sequences and blocks of 16 tokens",
            "say `schema_version: 1` to have this project's defaults instead",
        )
        .at(root.place),
    );
    root.set_default("schema_version", Value::Integer(1));
    if let Some(simulation) = root.get_mut("simulation") {
        simulation.set_default("comparison", Value::Text("shared".into()));
    }
    let single_gpu = default_gpu(root);
    let mut guesses = Vec::new();
    if let Some(workload) = root.get_mut("workload") {
        workload.set_default("arrival_model", Value::Text("one_generator".into()));
        workload.set_default("bytes_per_token_estimate_for_network", Value::Integer(2));
        if let Some(profiles) = workload.get_mut("client_profiles") {
            for (index, profile) in profiles.items_mut().iter_mut().enumerate() {
                distributions(profile, &join_index("workload.client_profiles", index), diagnostics, &mut guesses);
            }
        }
    }
    report_guesses(&guesses, diagnostics);
    if let Some(frameworks) = root.get_mut("frameworks_to_test") {
        for (index, framework) in frameworks.items_mut().iter_mut().enumerate() {
            let is_parallel = framework.get("config").is_some_and(|config| config.get("parallelism").is_some());
            let Some(config) = framework.get_mut("config") else { continue };
            config.set_default("max_num_seqs", Value::Integer(256));
            config.set_default("block_size", Value::Integer(16));
            if let Some(gpu) = single_gpu.as_ref().filter(|_| !is_parallel && config.get("gpu_id").is_none()) {
                let path = join_key(&join_index("frameworks_to_test", index), "config");
                let message = format!("no gpu_id: taken as `{gpu}`, the original project's default");
                diagnostics.push(Diagnostic::warning(path, message, "say `gpu_id`").at(config.place));
                config.set_default("gpu_id", Value::Text(gpu.clone()));
            }
        }
    }
}

/// The space of a LogNormal that did not say it.
struct Guess {
    space: &'static str,
    reason: String,
    path: String,
    place: Place,
}

/// One warning a space, at the first LogNormal it was guessed for: a document can have dozens.
fn report_guesses(guesses: &[Guess], diagnostics: &mut Vec<Diagnostic>) {
    for space in ["value", "log"] {
        let of_space = || guesses.iter().filter(|guess| guess.space == space);
        if let Some(first) = of_space().next() {
            let more = match of_space().count() {
                1 => String::new(),
                count => format!("; {} others likewise", count - 1),
            };
            let hint = "say `space: value` or `space: log` to fix it";
            diagnostics.push(Diagnostic::warning(first.path.clone(), format!("{}{more}", first.reason), hint).at(first.place));
        }
    }
}

/// The device that the original takes when none is named, if it is there.
fn default_gpu(root: &Node) -> Option<String> {
    let devices = root.get("hardware_profile")?.get("compute_devices")?.items();
    devices.iter().any(|device| device.get("device_id").and_then(Node::text) == Some("gpu0")).then(|| "gpu0".into())
}

/// Distributions of a profile: parameters that the original ignores are taken out, and LogNormal's space is written down.
fn distributions(profile: &mut Node, path: &str, diagnostics: &mut Vec<Diagnostic>, guesses: &mut Vec<Guess>) {
    let Value::Map(entries) = &mut profile.value else { return };
    for entry in entries.iter_mut().filter(|entry| entry.key.ends_with("_dist_config")) {
        distribution(&mut entry.value, &join_key(path, &entry.key), diagnostics, guesses);
    }
}

fn distribution(node: &mut Node, path: &str, diagnostics: &mut Vec<Diagnostic>, guesses: &mut Vec<Guess>) {
    let kind = match node.get("type").map(|kind| kind.text()) {
        None => Some(DistributionKind::Constant),
        Some(text) => kind_named(text.unwrap_or_default()),
    };
    let Some(kind) = kind else { return };
    let known: Vec<&str> = ALL_KINDS.iter().flat_map(|(_, kind)| parameters(*kind)).copied().collect();
    let idle: Vec<String> = node
        .entries()
        .iter()
        .map(|entry| entry.key.clone())
        .filter(|key| known.contains(&key.as_str()) && !parameters(kind).contains(&key.as_str()))
        .collect();
    for key in idle {
        if let Some(entry) = node.remove(&key) {
            let message = format!("`{key}` does not apply to {kind:?}: ignored, as the original project does");
            let hint = format!("{kind:?} takes {}", parameters(kind).join(", "));
            diagnostics.push(Diagnostic::warning(join_key(path, &key), message, hint).at(entry.key_place));
        }
    }
    if kind == DistributionKind::Normal && node.get("std").is_some() && node.get("sigma").is_some() {
        node.remove("sigma");
        let message = "both `std` and `sigma`: `sigma` is ignored, as the original project does";
        diagnostics.push(Diagnostic::warning(path, message, "keep one of them").at(node.place));
    }
    if kind == DistributionKind::LogNormal && node.get("space").is_none() {
        let mean = node.get("mean").and_then(Node::number).unwrap_or(0.0);
        let (space, reason) = space_by_mean(mean);
        let place = node.get("mean").map_or(node.place, |mean| mean.place);
        guesses.push(Guess { space, reason, path: path.into(), place });
        node.set_default("space", Value::Text(space.into()));
    }
    if let Some(components) = node.get_mut("components") {
        for (index, component) in components.items_mut().iter_mut().enumerate() {
            distribution(component, &join_index(&join_key(path, "components"), index), diagnostics, guesses);
        }
    }
}

fn kind_named(text: &str) -> Option<DistributionKind> {
    let names: Vec<&str> = ALL_KINDS.iter().map(|(name, _)| *name).collect();
    let name = spelling(text, &names)?;
    ALL_KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

// ---- keys without effect -----------------------------------------------------------------------------------

/// Keys that are accepted because documents have them, and change nothing; with the reason.
const WITHOUT_EFFECT: [(&str, &str); 17] = [
    ("simulation.lod", "there is one level of detail"),
    ("hardware_profile.memory_devices", "no memory outside the compute devices is simulated"),
    ("hardware_profile.compute_devices[].processing_units", "a GPU's rate is `peak_tflops`"),
    ("workload.client_profiles[].streaming_response_probability", "times are those of tokens leaving the server, streamed or not"),
    ("workload.client_profiles[].turn_type_dist_config", "the original project ignores it too"),
    ("workload.client_profiles[].prefix_pattern", "the original project ignores it too; `workload.prefix_patterns` is the key that works"),
    ("frameworks_to_test[].config.lod", "there is one level of detail"),
    ("frameworks_to_test[].config.min_prefix_cache_length", "prefixes are cached by block, as vLLM does"),
    ("frameworks_to_test[].config.max_prefix_cache_size", "prefixes are cached by block, as vLLM does"),
    ("frameworks_to_test[].config.prefix_eviction_policy", "blocks are evicted as vLLM does, least recently used first"),
    ("frameworks_to_test[].config.store_prefix_tokens", "prefixes are cached by block, as vLLM does"),
    ("frameworks_to_test[].config.scheduler_iteration_delay_s", "nothing polls: an idle engine wakes when a request comes"),
    ("frameworks_to_test[].config.bytes_per_token_estimate_for_network", "times are those of tokens leaving the server"),
    ("frameworks_to_test[].config.parallelism.num_microbatches_per_request", "requests are not cut into microbatches"),
    ("metrics_config.log_level", "the original project ignores it too"),
    ("metrics_config.compute_percentiles", "the original project ignores it too; `percentiles_to_calculate` is the key that works"),
    ("metrics_config.compute_token_stats", "the original project ignores it too"),
];

/// One warning a key name.
pub fn warn_without_effect(root: &Node, diagnostics: &mut Vec<Diagnostic>) {
    for (pattern, reason) in WITHOUT_EFFECT {
        let places = select(root, pattern);
        if let Some((path, place)) = places.first() {
            let key = pattern.rsplit('.').next().unwrap_or(pattern);
            let also = if places.len() > 1 { format!(" ({} places)", places.len()) } else { String::new() };
            diagnostics.push(Diagnostic::warning(path.clone(), format!("`{key}` has no effect: {reason}{also}"), "take it out").at(*place));
        }
    }
}

/// Paths and places of the keys that a pattern such as `a.b[].c` matches; empty values do not count.
fn select(root: &Node, pattern: &str) -> Vec<(String, Place)> {
    let mut found = vec![(String::new(), root, root.place)];
    for word in pattern.split('.') {
        let (key, each) = word.strip_suffix("[]").map_or((word, false), |key| (key, true));
        let mut next = Vec::new();
        for (path, node, _) in found {
            let Some(entry) = node.entries().iter().find(|entry| entry.key == key && entry.value.value != Value::Null) else { continue };
            let path = join_key(&path, key);
            if each {
                let items = entry.value.items().iter().enumerate();
                next.extend(items.map(|(index, item)| (join_index(&path, index), item, item.place)));
            } else {
                next.push((path, &entry.value, entry.key_place));
            }
        }
        found = next;
    }
    found.into_iter().map(|(path, _, place)| (path, place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_every_match() {
        let node = crate::config::yaml::parse("a:\n- {b: 1}\n- {c: 1}\n- {b: ~}\n- {b: 2}").unwrap();
        let paths: Vec<String> = select(&node, "a[].b").into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a[0].b", "a[3].b"]);
    }
}
