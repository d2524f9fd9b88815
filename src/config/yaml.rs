//! YAML into nodes. Plain words get the types that PyYAML gives them (YAML 1.1: `80_000_000_000`, `yes`), since that is what
//! existing documents were written for; where 1.1 and 1.2 disagree about a number (`1e-6`, a number in both readings of a
//! human), the number wins. Guards: depth, and a budget of values that aliases cannot multiply past.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::node::{Entry, MAX_DEPTH, MAX_NODES, Node, Place, Value, shorten, too_deep, too_many};
use super::reader::SyntaxError;

/// Reads one YAML document.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut builder = Builder::default();
    for item in Parser::new_from_str(text) {
        let (event, span) = item.map_err(scan_error)?;
        builder.event(event, span)?;
    }
    builder.root.ok_or_else(|| {
        SyntaxError::new(Place { line: 1, column: 1 }, "the document is empty")
            .with_hint("start from a preset: `llmperforacle generate-config --preset chat-h100`")
    })
}

fn scan_error(error: ScanError) -> SyntaxError {
    let tab = error.info().contains("tab");
    let hint = if tab { "YAML indents with spaces, never with tabs" } else { "see that quotes, brackets and indents around here match" };
    SyntaxError { place: place_of(error.marker().line(), error.marker().col()), message: error.info().into(), hint: hint.into() }
}

fn place_of(line: usize, column_from_0: usize) -> Place {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { line: narrow(line), column: narrow(column_from_0).saturating_add(1) }
}

/// A list or mapping whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    content: Content,
}

/// A key whose value has not come yet.
struct Key {
    name: String,
    place: Place,
    is_merge: bool,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: BTreeSet<String>, key: Option<Key>, merged: Vec<Node> },
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let place = place_of(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(&text, style, tag.as_deref(), place)?;
                self.put(node, anchor, place)
            }
            Event::SequenceStart(anchor, tag) => self.start(anchor, tag.as_deref(), place, Content::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                let map = Content::Map { entries: Vec::new(), keys: BTreeSet::new(), key: None, merged: Vec::new() };
                self.start(anchor, tag.as_deref(), place, map)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let value = match open.content {
                        Content::List(items) => Value::List(items),
                        Content::Map { entries, merged, .. } => Value::Map(merge(entries, merged)?),
                    };
                    self.put(Node::new(value, open.place), open.anchor, open.place)
                }
                None => Err(SyntaxError::new(place, "a list or mapping ends that did not start")),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let depth = node.depth();
                    let mut node = node.clone();
                    node.place = place;
                    self.nodes = self.nodes.saturating_add(node.size() - 1);
                    if self.open.len() + depth > MAX_DEPTH {
                        return Err(SyntaxError::new(place, &too_deep()).with_hint("nest less"));
                    }
                    self.put(node, 0, place)
                }
                None => Err(SyntaxError::new(place, "an alias refers to a value that contains it").with_hint("write the value out")),
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(SyntaxError::new(place, "the file has a second document after `---`")
                    .with_hint("put each document into a file of its own"))
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => Ok(()),
        }
    }

    fn start(&mut self, anchor: usize, tag: Option<&Tag>, place: Place, content: Content) -> Result<(), SyntaxError> {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && ["map", "seq", "omap"].contains(&tag.suffix.as_str()))
        {
            return Err(foreign_tag(tag, place));
        }
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(SyntaxError::new(place, "a key has to be a word").with_hint("quote it if it starts with `[`, `{` or `?`"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(SyntaxError::new(place, &too_deep()));
        }
        self.open.push(Open { anchor, place, content });
        Ok(())
    }

    /// A value is complete: it becomes a key, the value of a key, an item or the document.
    fn put(&mut self, node: Node, anchor: usize, place: Place) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(SyntaxError::new(place, &too_many()));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, keys, key, merged }) => match key.take() {
                None => {
                    let name = match (&node.plain, &node.value) {
                        (Some(plain), _) => plain.to_string(),
                        (None, Value::Text(text)) => text.clone(),
                        _ => return Err(SyntaxError::new(place, "a key has to be a word")),
                    };
                    let is_merge = name == MERGE && node.plain.is_some();
                    if !is_merge && !keys.insert(name.clone()) {
                        return Err(SyntaxError::duplicate_key(place, &name));
                    }
                    *key = Some(Key { name, place, is_merge });
                }
                Some(Key { is_merge: true, .. }) => merged.push(node),
                Some(Key { name, place, .. }) => entries.push(Entry { key: name, key_place: place, value: node }),
            },
        }
        Ok(())
    }
}

/// YAML 1.1's merge key: `<<: *defaults`.
const MERGE: &str = "<<";

/// Adds the entries of merged mappings whose keys are not there; earlier ones win.
fn merge(mut entries: Vec<Entry>, merged: Vec<Node>) -> Result<Vec<Entry>, SyntaxError> {
    for source in merged {
        let maps = match source.value {
            Value::List(items) => items,
            _ => vec![source],
        };
        for map in maps {
            let Value::Map(added) = map.value else {
                return Err(SyntaxError::new(map.place, "`<<` takes a mapping or a list of mappings")
                    .with_hint("name the anchor of a mapping, such as `<<: *base`"));
            };
            for entry in added {
                if !entries.iter().any(|own| own.key == entry.key) {
                    entries.push(entry);
                }
            }
        }
    }
    Ok(entries)
}

fn foreign_tag(tag: &Tag, place: Place) -> SyntaxError {
    SyntaxError::new(place, &format!("the tag `{}{}` is not understood", tag.handle, shorten(&tag.suffix))).with_hint("leave it out")
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Node, SyntaxError> {
    let text_node = |text: &str| Node::new(Value::Text(text.into()), place);
    match tag {
        None if style != ScalarStyle::Plain => Ok(text_node(text)),
        None => Ok(Node { value: resolve(text), place, plain: Some(text.into()) }),
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" => Ok(text_node(text)),
            "int" | "float" | "bool" | "null" => Ok(Node::new(resolve(text), place)),
            _ => Err(foreign_tag(tag, place)),
        },
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(text_node(text)),
        Some(tag) => Err(foreign_tag(tag, place)),
    }
}

/// The value of a plain word.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::Text(text.into()))
}

fn number(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY })),
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') || unsigned.ends_with('_') {
        return None;
    }
    let digits: String = unsigned.chars().filter(|letter| *letter != '_').collect();
    let sign = |integer: i128| Value::Integer(if negative { -integer } else { integer });
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            // `from_str_radix` would take a second sign.
            let valid = rest.starts_with(|first: char| first.is_digit(radix));
            return valid.then(|| i128::from_str_radix(rest, radix).ok()).flatten().map(sign);
        }
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // `010` is eight in YAML 1.1 and ten in 1.2: left a text, so that a key that wants a number refuses it.
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        return Some(match digits.parse::<i128>() {
            Ok(integer) => sign(integer),
            Err(_) => Value::Float(digits.parse().unwrap_or(f64::INFINITY)),
        });
    }
    let looks_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let float = if looks_decimal { digits.parse::<f64>().ok()? } else { return None };
    Some(Value::Float(if negative { -float } else { float }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        parse(text).unwrap().value
    }

    #[test]
    fn plain_words_have_pyyamls_types() {
        for (text, expected) in [
            ("80_000_000_000", Value::Integer(80_000_000_000)),
            ("1e-6", Value::Float(1e-6)),
            ("1.0e-06", Value::Float(1e-6)),
            ("-.5", Value::Float(-0.5)),
            ("1e10", Value::Float(1e10)),
            ("0x1F", Value::Integer(31)),
            ("yes", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("~", Value::Null),
            ("None", Value::Text("None".into())),
            ("TP_PP", Value::Text("TP_PP".into())),
            ("010", Value::Text("010".into())),
            ("1.2.3", Value::Text("1.2.3".into())),
            ("1-2", Value::Text("1-2".into())),
            ("8xH100", Value::Text("8xH100".into())),
            ("_1", Value::Text("_1".into())),
            ("\"yes\"", Value::Text("yes".into())),
            ("!!str 5", Value::Text("5".into())),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn anchors_and_merge_keys_copy_values() {
        let node = parse("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: *x").unwrap();
        assert_eq!(node.get("b").unwrap().to_json(), serde_json::json!({"q": 3, "p": 1}));
        assert_eq!(node.get("c").unwrap().to_json(), serde_json::json!({"p": 1, "q": 2}));
    }

    #[test]
    fn values_know_line_and_column() {
        let node = parse("a:\n  b: [1, yes]\n  \"c d\": x").unwrap();
        assert_eq!(node.locate("a.b[1]"), Place { line: 2, column: 10 });
        assert_eq!(node.locate("a[\"c d\"]"), Place { line: 3, column: 10 });
    }

    #[test]
    fn faults_have_a_place_and_a_message() {
        for (text, line, part) in [
            ("", 1, "empty"),
            ("a: 1\na: 2", 2, "`a` is there twice"),
            ("a: 1\n---\nb: 2", 2, "second document"),
            ("a: &x [*x]", 1, "refers to a value that contains it"),
            ("a: !!python/object:os.system x", 1, "not understood"),
            ("[a]: 1", 1, "key has to be a word"),
            ("a:\n\t- 1", 2, "tab"),
            ("a: [1, 2", 1, ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text:?}: {}", error.message);
            assert!(error.place.line >= line, "{text:?}: {:?}", error.place);
        }
    }

    #[test]
    fn aliases_cannot_multiply_past_the_budget() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{refs}]\n");
        }
        assert_eq!(parse(&bomb).unwrap_err().message, too_many());
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err());
        let mut ladder = String::from("a0: &a0 [x]\n");
        for level in 1..100 {
            ladder += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
        }
        assert_eq!(parse(&ladder).unwrap_err().message, too_deep());
    }
}
