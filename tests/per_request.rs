//! The run that was published request by request, against its replay; docs/per-request.md and its pictures are what the present program
//! says. `UPDATE_ACCURACY=1` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::PathBuf;

use llmperforacle::accuracy::{self, PerRequest, Record};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn replayed() -> (Record, PerRequest) {
    let records = accuracy::records(&text("configs/truth/runs.jsonl")).into_iter().map(Result::unwrap);
    let record = records.into_iter().find(|record| record.id == "llmss-rtxpro6000-qwen3-32b").unwrap();
    let folder = "configs/truth/per_request";
    let check = accuracy::per_request(&record, &text(&format!("{folder}/requests.csv")), &text(&format!("{folder}/timeseries.csv")));
    (record, check.unwrap())
}

/// Numbers of a page, without the digits that may move.
fn numbers(text: &str) -> Vec<f64> {
    let words = text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split_whitespace());
    words.filter_map(|word| word.parse::<f64>().ok()).collect()
}

#[test]
fn the_committed_page_is_that_of_the_program() {
    let (record, check) = replayed();
    let (page, pictures) = (check.markdown(&record), check.pictures().unwrap());
    if std::env::var_os("UPDATE_ACCURACY").is_some() {
        std::fs::create_dir_all(root().join("docs/per-request")).unwrap();
        std::fs::write(root().join("docs/per-request.md"), &page).unwrap();
        for (name, picture) in &pictures {
            std::fs::write(root().join(format!("docs/per-request/{name}.svg")), picture).unwrap();
        }
    }
    let advice = "run UPDATE_ACCURACY=1 cargo test --test per_request and commit docs/per-request.md and docs/per-request/";
    let (committed, now) = (numbers(&text("docs/per-request.md")), numbers(&page));
    assert_eq!(committed.len(), now.len(), "{advice}");
    for (was, is) in committed.iter().zip(&now) {
        assert!((was - is).abs() <= 1.0, "{is} was {was} percent: {advice}");
    }
    for (name, _) in &pictures {
        assert!(
            page.contains(&format!("per-request/{name}.svg")) && text(&format!("docs/per-request/{name}.svg")).starts_with("<svg"),
            "{name}: {advice}"
        );
    }
}

#[test]
fn the_replay_serves_the_same_requests_and_follows_the_queue() {
    let (_, check) = replayed();
    let (measured, predicted) = (&check.measured, &check.predicted);
    assert_eq!(measured.arrival.len(), 300);
    let [ttft, tpot, finish] = check.errors(&check.scaled);
    assert!(tpot.bias.abs() < 0.005, "the scale is found: {tpot:?}");
    // With one factor for the GPUs, what is left is the scheduler's: every request within a few percent, not only their mean.
    assert!(finish.p90 < 0.05 && tpot.p90 < 0.08 && ttft.p90 < 0.25, "{finish:?} {tpot:?} {ttft:?}");
    assert!(predicted.finish.iter().all(|finish| finish.is_finite()), "every request ends");
    let most = |column: &[f64]| column.iter().copied().fold(0.0, f64::max);
    assert_eq!(most(&measured.running), 128.0);
    assert_eq!(most(&predicted.running), 128.0, "the limit is reached in both");
    let peak = most(&predicted.waiting) / most(&measured.waiting);
    assert!((0.8..1.25).contains(&peak), "the queue's peak is {peak} of the measured one");
}

#[test]
fn what_is_missing_in_the_files_is_said() {
    let (record, _) = replayed();
    let requests = text("configs/truth/per_request/requests.csv");
    let series = text("configs/truth/per_request/timeseries.csv");
    let refused = |requests: &str, series: &str| accuracy::per_request(&record, requests, series).unwrap_err();
    assert!(refused(&requests.replace("first_token_s", "first"), &series).contains("first_token_s"));
    assert!(refused(&requests, &series.replace("waiting", "queued")).contains("waiting"));
    assert!(refused(&requests.replace("2361", "many"), &series).contains("line 2"));
}
