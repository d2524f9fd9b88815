//! docs/frameworks.md is true: the tests it names exist, and what it says is left out is refused.

use llmperforacle::config;
use serde_json::json;

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust source below a folder.
fn sources(folder: &str, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path.to_string_lossy(), text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &std::fs::read_to_string(&path).expect("a text");
        }
    }
}

/// Rows of the tables under `### heading`, with the `## section` that each is in.
fn rows(heading: &str) -> Vec<(String, Vec<String>)> {
    let (mut section, mut here, mut found) = (String::new(), false, Vec::new());
    for line in read("docs/frameworks.md").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            (section, here) = (name.to_string(), false);
        } else if let Some(name) = line.strip_prefix("### ") {
            here = name == heading;
        } else if here && line.starts_with('|') && !line.starts_with("|---") {
            let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect();
            found.push((section.clone(), cells));
        }
    }
    assert!(found.len() > 2, "no table under {heading:?}");
    found
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_holds_a_rule_exists() {
    let mut text = String::new();
    sources(concat!(env!("CARGO_MANIFEST_DIR"), "/src"), &mut text);
    sources(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), &mut text);
    for (section, cells) in rows("What is modelled") {
        let Some(held_by) = cells.get(2).filter(|cell| *cell != "Held by") else { continue };
        assert!(quoted(held_by).next().is_some(), "{section}: {} is held by nothing", cells[0]);
        for name in quoted(held_by) {
            assert!(text.contains(&format!("fn {name}(")), "{section}: there is no test {name}");
        }
    }
}

/// Every option of the column "Asked for by" is an error where the stack's own options stand; `right` is none.
fn left_out_is_refused(section: &str, kind: &str, key: &str, right: &str) {
    let with = |option: &str| {
        let document = format!(
            "schema_version: 1
simulation: {{random_seed: 1}}
hardware_profile: {{node: H100-SXM}}
workload: {{preset: chat, total_requests_to_generate: 10}}
frameworks_to_test:
- name: engine
  type: {kind}
  config: {{model_profile_id: Llama-3.1-8B, {key}: {{{option}}}}}
"
        );
        config::read(&document, "").diagnostics.into_iter().find(|finding| finding.is_error())
    };
    assert_eq!(with(right), None, "the document without it is right");
    let mut options = 0;
    for (_, cells) in rows("What is left out").into_iter().filter(|(of, cells)| of == section && cells[0] != "What") {
        for option in quoted(&cells[1]) {
            let finding = with(option).unwrap_or_else(|| panic!("{option} is accepted"));
            assert!(finding.path.contains(key), "{option}: {finding:?}");
            options += 1;
        }
    }
    assert!(options >= 4, "{options} options of {section}");
}

#[test]
fn what_tensorrt_llm_leaves_out_is_refused() {
    left_out_is_refused("TensorRT-LLM", "TRTLLM", "trtllm", "preset: serve");
}

#[test]
fn what_vllm_leaves_out_is_refused() {
    left_out_is_refused("vLLM", "VLLM", "vllm", "version: \"0.9\", prefill_schedule_interval: 2");
}

#[test]
fn what_sglang_leaves_out_is_refused() {
    left_out_is_refused("SGLang", "SGLANG", "sglang", "schedule_policy: lpm");
}

#[test]
fn what_dynamo_leaves_out_is_refused() {
    left_out_is_refused("Dynamo, replicas and routers", "DYNAMO", "dynamo", "router_mode: kv");
}

/// The page's copy: sections with their paragraphs, headings and tables, without the column of tests.
fn as_blocks(text: &str) -> serde_json::Value {
    let mut sections: Vec<serde_json::Value> = Vec::new();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("## ")).peekable();
    let mut blocks = Vec::new();
    let cells = |line: &str| -> Vec<String> { line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(json!({"title": title}));
        } else if let Some(heading) = line.strip_prefix("### ") {
            blocks.push(json!({"heading": heading}));
        } else if line.starts_with('|') {
            let mut table = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                if !row.starts_with("|--") {
                    table.push(cells(row));
                }
            }
            let shown = table[0].iter().position(|cell| cell == "Held by").unwrap_or(table[0].len());
            table.iter_mut().for_each(|row| row.truncate(shown));
            blocks.push(json!({"head": table[0], "rows": table[1..]}));
        } else if !line.trim().is_empty() {
            let mut paragraph = line.trim().to_owned();
            while let Some(more) = lines.next_if(|line| !line.trim().is_empty() && !line.starts_with(['|', '#'])) {
                paragraph += " ";
                paragraph += more.trim();
            }
            blocks.push(json!({"text": paragraph}));
        }
        if lines.peek().is_none_or(|line| line.starts_with("## "))
            && let Some(section) = sections.last_mut()
        {
            section["blocks"] = std::mem::take(&mut blocks).into();
        }
    }
    json!({ "sections": sections })
}

/// The page shows these tables: www/data/frameworks.json is made from them, by this test when UPDATE_FRAMEWORKS is set.
#[test]
fn the_page_shows_these_tables() {
    let made = as_blocks(&read("docs/frameworks.md"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/www/data/frameworks.json");
    if std::env::var_os("UPDATE_FRAMEWORKS").is_some() {
        std::fs::write(path, serde_json::to_string(&made).expect("JSON") + "\n").expect("the page's data can be written");
    }
    let shown: serde_json::Value = serde_json::from_str(&read("www/data/frameworks.json")).expect("JSON");
    assert!(shown == made, "run UPDATE_FRAMEWORKS=1 cargo test --test frameworks_doc and commit www/data/frameworks.json");
    let sections = made["sections"].as_array().expect("sections");
    for stack in ["TensorRT-LLM", "vLLM", "SGLang", "Dynamo, replicas and routers"] {
        let section = sections.iter().find(|section| section["title"] == stack).unwrap_or_else(|| panic!("no section {stack}"));
        let headings: Vec<_> = section["blocks"].as_array().expect("blocks").iter().filter_map(|block| block["heading"].as_str()).collect();
        assert_eq!(headings, ["What is modelled", "What is left out"], "{stack}");
    }
}
