//! Recorded traces: original files read as they are, known figures of them found again, anything else refused in words.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;

use llmperforacle::config::schema::{TraceFormat, TraceReplay, Workload};
use llmperforacle::units::Time;
use llmperforacle::workload::{Request, Source, SourceSpec, Trace, source};
use proptest::prelude::*;

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/traces/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn read(name: &str) -> Trace {
    Trace::parse(&bytes(name), None).unwrap()
}

fn replay(trace: Trace, workload: Workload) -> Box<dyn Source> {
    let replay = TraceReplay { path: "trace".to_owned(), ..workload.trace.clone().unwrap_or_default() };
    let workload = Workload { trace: Some(replay), ..workload };
    source(&SourceSpec {
        workload,
        seed: 3,
        trace: Some(Arc::new(trace)),
        upload: None,
        api_time: Time::ZERO,
        api_time_per_token: Time::ZERO,
    })
    .unwrap()
}

fn requests(mut source: Box<dyn Source>) -> Vec<Request> {
    let mut all = Vec::new();
    while let Some(arrival) = source.next_arrival() {
        all.push(source.take().unwrap());
        assert_eq!(all[all.len() - 1].arrival, arrival);
    }
    assert_eq!(source.expected_requests(), Some(all.len() as u64));
    assert!(all.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival && pair[0].id + 1 == pair[1].id));
    all
}

fn as_rows(requests: &[Request]) -> Vec<(f64, u32, u32)> {
    requests.iter().map(|request| (request.arrival.as_s(), request.input_tokens, request.output_tokens)).collect()
}

fn plain(rows: &str) -> Result<Trace, String> {
    let text = format!("arrival_s,input_tokens,output_tokens\n{rows}");
    Trace::parse(text.as_bytes(), None).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn azure_files_are_read_as_they_are() {
    for (name, n, second) in [
        ("AzureLLMInferenceTrace_code.head20.csv", 20, (0.052, 3180, 8)),
        ("AzureLLMInferenceTrace_conv.head20.csv", 20, (4.314579, 396, 109)),
        ("AzureLLMInferenceTrace_code_1week.head5.csv", 5, (0.007405, 2399, 6)),
        ("AzureLLMInferenceTrace_conv_1week.head5.csv", 5, (0.04052, 584, 3)),
        ("AzureLMMInferenceTrace_multimodal.head5.csv", 5, (5.55, 949, 126)),
    ] {
        let trace = read(name);
        assert_eq!((trace.format(), trace.len()), (TraceFormat::AzureCsv, n), "{name}");
        let rows = as_rows(&requests(replay(trace, Workload::default())));
        assert!(rows[0].0 == 0.0 && rows[1] == second, "{name}: {:?}", rows[1]);
    }
}

#[test]
fn the_azure_conversation_trace_has_its_known_figures() {
    let trace = read("azure_2023_conv.csv.gz");
    assert_eq!(trace.len(), 19_366);
    // Medians of 1,020 and 129 tokens and a mean rate of 5.53 a second, computed from the published file with another program.
    let rows = requests(replay(trace, Workload::default()));
    let median = |mut lengths: Vec<u32>| {
        lengths.sort_unstable();
        lengths[lengths.len() / 2]
    };
    assert_eq!(median(rows.iter().map(|request| request.input_tokens).collect()), 1020);
    assert_eq!(median(rows.iter().map(|request| request.output_tokens).collect()), 129);
    let rate = rows.len() as f64 / rows[rows.len() - 1].arrival.as_s();
    assert!((rate - 5.53).abs() < 0.01, "{rate}");
}

#[test]
fn scaling_and_limits() {
    let options = |max_requests| Some(TraceReplay { max_requests, ..TraceReplay::default() });
    let whole = requests(replay(read("AzureLLMInferenceTrace_conv.head20.csv"), Workload::default()));
    let scaled = Workload { rate_scale: Some(2.0), trace: options(Some(7)), ..Workload::default() };
    let fast = requests(replay(read("AzureLLMInferenceTrace_conv.head20.csv"), scaled));
    assert_eq!(fast.len(), 7);
    for (fast, whole) in fast.iter().zip(&whole) {
        assert!((2.0 * fast.arrival.as_s() - whole.arrival.as_s()).abs() < 1e-11);
    }
    let cut = Workload { total_duration: Some(4.4), total_requests_to_generate: Some(5), ..Workload::default() };
    assert_eq!(requests(replay(read("AzureLLMInferenceTrace_conv.head20.csv"), cut)).len(), 2);
}

#[test]
fn vidur_and_splitwise_tables_are_plain_ones() {
    let vidur = as_rows(&requests(replay(read("vidur_splitwise_conv.head20.csv"), Workload::default())));
    assert_eq!(vidur[..2], [(0.0, 374, 44), (4.314579, 396, 109)]);
    let trace = read("splitwise_sim_test_trace.csv");
    assert!(trace.warnings()[0].message.contains("request_type"), "{:?}", trace.warnings());
    assert_eq!(as_rows(&requests(replay(trace, Workload::default())))[1], (3.0, 2048, 8));
}

/// Token hit ratio of an endless cold cache in file order.
fn ideal_hit_ratio(requests: &[Request]) -> f64 {
    let mut seen = std::collections::BTreeSet::new();
    let (mut hits, mut all) = (0u64, 0u64);
    for request in requests {
        all += u64::from(request.input_tokens);
        for segment in &request.segments {
            hits += if seen.insert(segment.id) { 0 } else { u64::from(segment.tokens) };
        }
    }
    hits as f64 / all as f64
}

#[test]
fn mooncake_prompts_share_what_their_hashes_say() {
    let trace = read("mooncake_conversation_trace.head20.jsonl");
    assert_eq!(trace.format(), TraceFormat::MooncakeJsonl);
    let rows = requests(replay(trace, Workload::default()));
    // Block 0 is common to all; each prompt's last block is partly filled and its own.
    assert!(rows.iter().all(|request| request.segments.first() == rows[0].segments.first() && request.segments[0].tokens == 512));
    let off = Workload { generate_prompt_tokens: Some(false), ..Workload::default() };
    assert!(requests(replay(read("mooncake_conversation_trace.head20.jsonl"), off)).iter().all(|request| request.segments.is_empty()));

    let trace = read("mooncake_conversation.compact.csv.gz");
    assert_eq!((trace.len(), trace.sessions()), (12_031, 8056));
    let rows = requests(replay(trace, Workload::default()));
    let covered = |request: &Request| request.segments.iter().map(|segment| segment.tokens).sum::<u32>();
    assert!(rows.iter().all(|request| covered(request) <= request.input_tokens));
    // Computed from the trace's hashes block by block with another program: 37.4 %.
    let ratio = ideal_hit_ratio(&rows);
    assert!((ratio - 0.374).abs() < 0.001, "{ratio}");
    // Segments merge blocks that always come together, so there are far fewer of them than of blocks (182,790).
    let most = rows.iter().map(|request| request.segments.len()).max().unwrap();
    assert!(most < 60, "{most}");
}

#[test]
fn coarse_stamps_are_spread_over_their_step() {
    let exact = Workload { trace: Some(TraceReplay { spread_within_step: Some(false), ..TraceReplay::default() }), ..Workload::default() };
    let head = || read("mooncake_conversation_trace.head20.jsonl");
    let (stamps, spread) = (requests(replay(head(), exact)), requests(replay(head(), Workload::default())));
    let step = stamps.iter().map(|request| request.arrival).find(|arrival| *arrival > Time::ZERO).unwrap();
    for (stamp, spread) in stamps.iter().zip(&spread) {
        assert!(spread.arrival >= stamp.arrival && spread.arrival < stamp.arrival + step);
        assert_eq!(spread.input_tokens, stamp.input_tokens);
    }
    assert!(spread.windows(2).all(|pair| pair[0].arrival < pair[1].arrival));
    // The synthetic trace's stamps are fine: at most a few milliseconds change.
    let fine = requests(replay(read("mooncake_synthetic_trace.head20.jsonl"), Workload::default()));
    assert!(fine[2].arrival.as_ms() >= 40.0 && fine[2].arrival.as_ms() < 80.0);
}

#[test]
fn rows_are_sorted_and_zeros_counted() {
    let trace = plain("2.5,10,0\n1,20,3\n1.0,0,4\n").unwrap();
    let told = trace.warnings().iter().map(|warning| warning.message.as_str()).collect::<Vec<_>>().join("; ");
    assert!(told.contains("2 lengths of 0 tokens") && told.contains("sorted"), "{told}");
    assert_eq!(as_rows(&requests(replay(trace, Workload::default()))), [(1.0, 20, 3), (1.0, 1, 4), (2.5, 10, 1)]);
}

#[test]
fn sessions_and_runs_of_hashes() {
    let text = "arrival_s,input_tokens,output_tokens,session_id,hash_ids\n0,1500,5,b,0-2\n1,100,5,a,7\n2,1600,5,b,0 1 9-10\n";
    let rows = requests(replay(Trace::parse(text.as_bytes(), None).unwrap(), Workload::default()));
    assert_eq!(rows.iter().map(|r| (r.session, r.turn)).collect::<Vec<_>>(), [(Some(0), 0), (Some(1), 0), (Some(0), 1)]);
    assert_eq!(rows[0].segments, rows[2].segments);
    assert_eq!(rows[0].segments.iter().map(|segment| segment.tokens).collect::<Vec<_>>(), [1024]);
}

#[test]
fn errors_name_the_line_and_what_to_do() {
    let error = plain("0,1,1\n1,x,1\n-1,1,1\n2,1\n3,99999999,1\n").unwrap_err();
    for part in ["line 3 of the trace", "\"x\" is no whole number", "line 4", "line 5", "line 6", "more than 10000000"] {
        assert!(error.contains(part), "{part} not in {error}");
    }
    assert_eq!(plain(&"bad\n".repeat(50)).unwrap_err().lines().count(), 11);
    assert!(plain("").unwrap_err().contains("no requests"));
    for (content, part) in [
        (bytes("BurstGPT_1.head33.csv"), "BurstGPT"),
        (bytes("qwen_bailian.example2.jsonl"), "Bailian"),
        (Vec::new(), "empty"),
        (b"hello".to_vec(), "no trace"),
        (b"\x28\xb5\x2f\xfd....".to_vec(), "zstd"),
        (b"\x1f\x8b\x08\x00".to_vec(), "cut short"),
        (b"{\"input_length\": 600, \"output_length\": 1, \"timestamp\": 0, \"hash_ids\": [1, 2, 3]}".to_vec(), "512"),
        (b"{\"input_length\": 600, \"output_length\": 1}".to_vec(), "timestamp is missing"),
        (b"{\"input_length\": 600, \"output".to_vec(), "line 1"),
        (b"TIMESTAMP,ContextTokens\n".to_vec(), "generatedtokens"),
    ] {
        let errors = Trace::parse(&content, None).unwrap_err();
        assert!(errors[0].to_string().contains(part), "{part} not in {}", errors[0]);
    }
    let wrong = Trace::parse(&bytes("BurstGPT_1.head33.csv"), Some(TraceFormat::AzureCsv)).unwrap_err();
    assert!(wrong[0].to_string().contains("contexttokens"), "{}", wrong[0]);
}

#[test]
fn a_trace_beside_client_profiles_is_refused() {
    let workload =
        Workload { trace: Some(TraceReplay::default()), client_profiles: Some(Vec::new()), concurrency: Some(1), ..Workload::default() };
    let trace = Some(Arc::new(plain("0,1,1\n").unwrap()));
    let errors =
        source(&SourceSpec { workload, seed: 0, trace, upload: None, api_time: Time::ZERO, api_time_per_token: Time::ZERO }).err().unwrap();
    assert_eq!(errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), ["workload.client_profiles"]);
}

proptest! {
    #[test]
    fn no_bytes_panic(content in proptest::collection::vec(any::<u8>(), 0..400), format in 0..4) {
        let format = [None, Some(TraceFormat::AzureCsv), Some(TraceFormat::MooncakeJsonl), Some(TraceFormat::PlainCsv)][format as usize];
        let _ = Trace::parse(&content, format);
    }

    #[test]
    fn no_damage_panics(file in 0..4usize, place in 0..4000usize, with in any::<u8>(), length in 0..6000usize) {
        let name = ["AzureLLMInferenceTrace_conv.head20.csv", "mooncake_synthetic_trace.head20.jsonl", "splitwise_sim_test_trace.csv",
            "azure_2023_conv.csv.gz"][file];
        let mut content = bytes(name);
        content.truncate(length.max(1));
        let place = place % content.len();
        content[place] = with;
        if let Ok(trace) = Trace::parse(&content, None) {
            prop_assert!(requests(replay(trace, Workload::default())).iter().all(|request| request.input_tokens > 0));
        }
    }

    #[test]
    fn rows_come_back(rows in proptest::collection::vec((0u32..1_000_000, 1u32..100_000, 1u32..10_000), 1..50)) {
        let text: String = rows.iter().map(|(ms, input, output)| format!("{}.{:03},{input},{output}\n", ms / 1000, ms % 1000)).collect();
        let mut expected: Vec<(f64, u32, u32)> = rows.iter().map(|(ms, input, output)| (Time::from_ms(f64::from(*ms)).as_s(), *input, *output)).collect();
        expected.sort_by(|a, b| a.0.total_cmp(&b.0));
        prop_assert_eq!(as_rows(&requests(replay(plain(&text).unwrap(), Workload::default()))), expected);
    }
}
