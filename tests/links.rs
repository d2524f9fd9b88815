//! Share links: they come back as they went out, old ones open for ever, and foul ones are turned away in words.
//!
//! `tests/links/NAME.txt` is a link as it was once made, `NAME.json` what it has to open to. Files here are only ever added.

#![allow(clippy::unwrap_used, reason = "a test without its fixtures has to fail")]

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use llmperforacle::config::link::{LinkError, MAX_LINK_CHARS, MAX_UNPACKED_BYTES, Shared, decode, encode};
use llmperforacle::config::{Document, preset, presets, read, set};
use proptest::prelude::*;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "links"].iter().collect()
}

fn link_of(json: &str) -> String {
    format!("v1.{}", URL_SAFE_NO_PAD.encode(miniz_oxide::deflate::compress_to_vec(json.as_bytes(), 9)))
}

fn canonical(shared: &Shared) -> Value {
    json!({"document": shared.document, "view": shared.view, "made_with": shared.made_with})
}

#[test]
fn every_link_ever_made_opens() {
    let mut opened = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let shared = decode(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected: Value = serde_json::from_str(&fs::read_to_string(path.with_extension("json")).unwrap()).unwrap();
        let found: Value = serde_json::from_str(&canonical(&shared).to_string()).unwrap();
        assert_eq!(found, expected, "{}", path.display());
        opened += 1;
    }
    assert!(opened >= 6, "the corpus is not where it should be: {opened} links");
}

#[test]
fn a_preset_is_a_short_link_and_an_edit_costs_little() {
    let document = preset("chat-h100").unwrap();
    let plain = encode(&document, &Value::Null).unwrap();
    assert!(plain.len() < 100, "{} characters", plain.len());
    let mut value = serde_json::to_value(&document).unwrap();
    set(&mut value, "workload.rate_scale", "3").unwrap();
    let edited: Document = serde_json::from_value(value).unwrap();
    let link = encode(&edited, &json!({"tab": "timeline"})).unwrap();
    assert!(link.len() < 180, "{} characters", link.len());
    let shared = decode(&link).unwrap();
    assert_eq!(shared.document, Some(edited));
    assert_eq!(shared.view, json!({"tab": "timeline"}));
    assert_eq!(shared.made_with, env!("CARGO_PKG_VERSION"));
    assert_eq!(shared.diagnostics, []);
}

#[test]
fn every_preset_and_every_original_document_comes_back() {
    let mut documents: Vec<Document> = presets().iter().filter_map(|given| preset(given.name)).collect();
    assert_eq!(documents.len(), presets().len());
    for name in ["conversations.yaml", "cross-request.yaml", "six-profiles.yaml", "pipeline.yaml", "tensor-parallel.yaml"] {
        let text = fs::read_to_string(format!("{}/configs/original/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        documents.extend(read(&text, name).document);
    }
    assert_eq!(documents.len(), presets().len() + 5);
    for document in documents {
        let link = encode(&document, &Value::Null).unwrap();
        assert_eq!(link, encode(&document, &Value::Null).unwrap(), "the same document gives the same link");
        assert!(link.len() < 2000, "chats and mails break longer links: {}", link.len());
        assert_eq!(decode(&link).unwrap().document.as_ref(), Some(&document));
        assert_eq!(decode(&format!("https://example.org/app/#{link}\n")).unwrap().document, Some(document));
    }
}

#[test]
fn an_inline_model_with_nulls_survives() {
    let mut document = preset("chat-h100").unwrap();
    document.frameworks_to_test[0].config.model_profile_id = None;
    document.frameworks_to_test[0].config.model = Some(json!({"hidden_size": 4096, "rope_scaling": null, "layers": [null, 1.5]}));
    assert_eq!(decode(&encode(&document, &Value::Null).unwrap()).unwrap().document, Some(document));
}

#[test]
fn foul_links_are_turned_away_in_words() {
    let good = encode(&preset("chat-h100").unwrap(), &Value::Null).unwrap();
    let bomb = {
        // 50 MB of zeros, as small as deflate makes them.
        let packed = miniz_oxide::deflate::compress_to_vec(&vec![b'0'; 10_000_000], 10);
        format!("v1.{}", URL_SAFE_NO_PAD.encode(packed))
    };
    assert!(bomb.len() <= MAX_LINK_CHARS, "{}", bomb.len());
    let content = |json: &str| decode(&link_of(json)).unwrap_err();
    let bad_content = |part: &str, error: LinkError| match error {
        LinkError::BadContent(message) => assert!(message.contains(part), "{message}"),
        other => panic!("{other:?}"),
    };

    assert_eq!(decode("").unwrap_err(), LinkError::NotALink);
    assert_eq!(decode("#section-2").unwrap_err(), LinkError::NotALink);
    assert_eq!(decode("v1").unwrap_err(), LinkError::NotALink);
    assert_eq!(decode("vx.AAAA").unwrap_err(), LinkError::NotALink);
    assert_eq!(decode("v2.AAAA").unwrap_err(), LinkError::UnknownFormat("v2".into()));
    assert_eq!(decode("v1.").unwrap_err(), LinkError::Damaged);
    assert_eq!(decode("v1.AA AA").unwrap_err(), LinkError::BadCharacter(' '));
    assert_eq!(decode("v1.AA%2F").unwrap_err(), LinkError::BadCharacter('%'));
    assert_eq!(decode(&good.replace("v1.", "v1.+")).unwrap_err(), LinkError::BadCharacter('+'));
    assert_eq!(decode(&good[..good.len() - 8]).unwrap_err(), LinkError::Damaged);
    assert_eq!(decode("v1.A").unwrap_err(), LinkError::Damaged);
    assert_eq!(decode(&format!("v1.{}", "A".repeat(MAX_LINK_CHARS))).unwrap_err(), LinkError::TooLong(MAX_LINK_CHARS + 3));
    assert_eq!(decode(&bomb).unwrap_err(), LinkError::TooLarge);
    assert_eq!(content(&format!("{{\"s\":1,\"cfg\":{}", "[".repeat(40_000))), LinkError::TooDeep);
    assert_eq!(content(&format!("{{\"s\":1,\"cfg\":{{\"a\":{}{}}}}}", "[".repeat(40), "]".repeat(40))), LinkError::TooDeep);
    assert_eq!(content("{\"s\":1,\"preset\":\"chat-h100@99\",\"cfg\":{}}"), LinkError::UnknownPreset("chat-h100@99".into()));
    assert_eq!(content("{\"s\":1,\"preset\":\"chat-h100\",\"cfg\":{}}"), LinkError::UnknownPreset("chat-h100".into()));
    assert_eq!(
        content("{\"s\":1,\"preset\":\"original-quickstart@1\",\"cfg\":{}}"),
        LinkError::UnknownPreset("original-quickstart@1".into())
    );
    bad_content("no object", content("[]"));
    bad_content("`s`", content("{\"cfg\":{}}"));
    bad_content("`cfg`", content("{\"s\":1,\"cfg\":[]}"));
    bad_content("`view`", content("{\"s\":1,\"cfg\":{},\"view\":7}"));
    bad_content("twice", content("{\"s\":1,\"s\":2,\"cfg\":{}}"));
    bad_content("empty", content(""));
    for error in [LinkError::NotALink, LinkError::UnknownFormat("v2".into()), LinkError::Damaged, LinkError::TooLarge] {
        assert!(error.to_string().len() > 20, "an error is said in words");
    }
}

#[test]
fn a_link_whose_document_is_wrong_still_shows_it() {
    let shared =
        decode(&link_of("{\"s\":1,\"preset\":\"chat-h100@1\",\"cfg\":{\"simulation\":{\"random_seed\":\"x\"}},\"e\":\"9.9\"}")).unwrap();
    assert_eq!(shared.document, None);
    assert_eq!(shared.raw["simulation"]["random_seed"], "x");
    assert_eq!(shared.raw["hardware_profile"]["node"], "H100-SXM");
    assert!(shared.diagnostics[0].message.contains("made with version 9.9"));
    assert!(shared.diagnostics.iter().any(|finding| finding.is_error() && finding.path == "simulation.random_seed"));
}

#[test]
fn keys_of_a_newer_version_are_left_out_with_a_warning() {
    let shared =
        decode(&link_of("{\"s\":1,\"preset\":\"chat-h100@1\",\"cfg\":{\"workload\":{\"weather\":\"rain\"}},\"e\":\"9.9\"}")).unwrap();
    assert_eq!(shared.document, preset("chat-h100"));
    assert!(shared.diagnostics.iter().any(|finding| !finding.is_error() && finding.path == "workload.weather"));
    let newer = decode(&link_of("{\"s\":2,\"preset\":\"chat-h100@1\",\"cfg\":{\"schema_version\":2}}")).unwrap();
    assert_eq!(newer.document, None);
    assert!(newer.diagnostics.iter().any(|finding| finding.is_error() && finding.message.contains("format version 2")));
}

#[test]
fn what_does_not_fit_into_a_link_is_refused_when_it_is_made() {
    let mut document = preset("chat-h100").unwrap();
    document.title = Some("x".repeat(MAX_UNPACKED_BYTES));
    assert_eq!(encode(&document, &Value::Null).unwrap_err(), LinkError::TooLarge);
    document.title = None;
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    assert_eq!(encode(&document, &json!({"deep": deep})).unwrap_err(), LinkError::TooDeep);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_fragments_never_panic(fragment in "(v1\\.)?[ -~]{0,60}") {
        let _ = decode(&fragment);
    }

    #[test]
    fn random_bytes_in_a_link_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&format!("v1.{}", URL_SAFE_NO_PAD.encode(bytes)));
    }

    #[test]
    fn damaged_links_never_panic(at in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_-]") {
        let good = encode(&preset("kv-pressure-a100").unwrap(), &Value::Null).unwrap();
        let start = 3 + at.index(good.len() - 3);
        let _ = decode(&format!("{}{letter}{}", &good[..start], &good[start + 1..]));
    }

    #[test]
    fn random_envelopes_never_panic(text in "\\{\"s\":[0-3],\"cfg\":\\{(\"[a-z_]{1,20}\":(1|\\[\\]|\\{\\}|null|\"x\"),?){0,4}\\}\\}") {
        let _ = decode(&link_of(&text));
    }
}
