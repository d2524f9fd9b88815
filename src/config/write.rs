//! Documents back into text. What is written is read as the same document.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::yaml;
use super::{Document, dialect, find_preset, migrate, node};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
}

/// The document as YAML.
pub fn write_yaml(document: &Document) -> String {
    yaml_of(&to_json(document))
}

/// The document as indented JSON.
pub fn write_json(document: &Document) -> String {
    format!("{:#}\n", to_json(document))
}

/// A preset as a text to start from; the original project's quick start when no name is given. `None` for an unknown name.
pub fn generate_config(preset: Option<&str>, format: Format) -> Option<String> {
    let preset = find_preset(preset.unwrap_or("original-quickstart"))?;
    match format {
        Format::Yaml => Some(preset.text.into()),
        // Not by way of the types: the text shall stay in its own dialect.
        Format::Json => yaml::parse(preset.text).ok().map(|node| format!("{:#}\n", node.to_json())),
    }
}

/// The document as JSON. One that would be taken for a document of the original project says that it is none.
pub(super) fn to_json(document: &Document) -> Json {
    // Every type of a document is a struct with plain keys, which always serialises.
    let json = serde_json::to_value(document).unwrap_or(Json::Null);
    if node::Node::from_json(&json).is_ok_and(|node| dialect::is_original(&node)) {
        let versioned = Document { schema_version: Some(migrate::NEWEST), ..document.clone() };
        return serde_json::to_value(&versioned).unwrap_or(Json::Null);
    }
    json
}

/// Any JSON value as block YAML.
pub fn yaml_of(value: &Json) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// Writes a value whose line starts at `indent`, with its line end.
fn block(value: &Json, indent: usize, text: &mut String) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (index, (key, child)) in map.iter().enumerate() {
                if index > 0 {
                    pad(indent, text);
                }
                text.push_str(&scalar_text(key));
                text.push(':');
                entry(child, indent, text);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    pad(indent, text);
                }
                text.push_str("- ");
                block(item, indent + 2, text);
            }
        }
        scalar => {
            text.push_str(&flow(scalar));
            text.push('\n');
        }
    }
}

/// Writes what follows `key:`.
fn entry(child: &Json, indent: usize, text: &mut String) {
    let (inside, nested) = match child {
        Json::Object(map) => (indent + 2, !map.is_empty()),
        // Numbers read best on one line: percentiles, quantiles, weights.
        Json::Array(items) => (indent, !items.is_empty() && items.iter().any(|item| item.is_object() || item.is_array())),
        _ => (indent, false),
    };
    if nested {
        text.push('\n');
        pad(inside, text);
        block(child, inside, text);
    } else {
        text.push(' ');
        text.push_str(&flow(child));
        text.push('\n');
    }
}

fn pad(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// A value on one line.
fn flow(value: &Json) -> String {
    match value {
        Json::String(word) => scalar_text(word),
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A text, plain where every YAML reader takes it for the same text, else in JSON's quotes, which are YAML's double quotes.
fn scalar_text(word: &str) -> String {
    let first = word.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
    let safe = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/' | ' ' | '+' | '%' | '(' | ')');
    let is_text = matches!(yaml::parse(word), Ok(node::Node { value: node::Value::Text(text), .. }) if text == word);
    // `y` and `n` are booleans to some readers of YAML 1.1.
    if first && word.chars().all(safe) && !word.ends_with([' ', '-']) && is_text && !["y", "Y", "n", "N"].contains(&word) {
        return word.into();
    }
    let mut quoted = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            letter if letter.is_alphanumeric() => quoted.push(letter),
            // Everything else by number, so that no line break or mark of direction stands in the text. Writing to a string cannot fail.
            letter => {
                let _ = write!(quoted, "\\U{:08x}", letter as u32);
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json_value() -> impl Strategy<Value = Json> {
        let text = prop_oneof![".*", "[a-z_ :#-]{0,8}", Just("yes".to_string()), Just("1e5".to_string()), Just("<<".to_string())];
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1e300..1e300).prop_map(Json::from),
            (-1.0..1.0).prop_map(Json::from),
            text.clone().prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::vec((text.clone(), inner), 0..6).prop_map(|entries| Json::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn yaml_is_read_as_it_was_written(value in json_value()) {
            let text = yaml_of(&value);
            let read = yaml::parse(&text).map(|node| node.to_json());
            prop_assert!(read.as_ref().is_ok_and(|read| *read == value), "{text}\n{read:?}");
        }
    }

    #[test]
    fn yaml_reads_well() {
        let value = serde_json::json!({"a": {"b": [1, 2.5], "c": [{"d": "x y", "e": "yes"}, {"f": {}}]}, "g": [], "h": [[1], [2]]});
        let expected = "a:\n  b: [1, 2.5]\n  c:\n  - d: x y\n    e: \"yes\"\n  - f: {}\ng: []\nh:\n- - 1\n- - 2\n";
        assert_eq!(yaml_of(&value), expected);
    }
}
