//! Results are the same as ever, and the same everywhere: the native half. See `golden/cases.rs`.

#![allow(clippy::unwrap_used)]

#[path = "golden/cases.rs"]
mod cases;

use cases::{Golden, HASHES};

#[test]
fn results_have_their_golden_hashes() {
    let mut golden: Golden = serde_json::from_str(HASHES).unwrap();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in &mut golden.cases {
        let found = case.run().unwrap_or_else(|why| panic!("{}: {why}", case.label()));
        assert!(!found.is_empty() && found.iter().all(|run| run.requests > 0), "{} simulates nothing", case.label());
        if found != case.hashes {
            wrong.push(format!("{}\n  golden {:?}\n  now    {found:?}", case.label(), case.hashes));
            case.hashes = found;
        }
    }
    if update {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hashes.json");
        std::fs::write(path, serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
    } else {
        assert!(wrong.is_empty(), "results changed; if they should, UPDATE_GOLDEN=1 writes them anew\n{}", wrong.join("\n"));
    }
}

/// Every preset is among the cases, so that none can change unseen.
#[test]
fn every_preset_is_golden() {
    let golden: Golden = serde_json::from_str(HASHES).unwrap();
    for preset in llmperforacle::config::preset_versions() {
        let name = format!("{}@{}", preset.name, preset.version);
        assert!(golden.cases.iter().any(|case| case.document.as_str() == Some(&name)), "{name} has no golden case");
    }
}
