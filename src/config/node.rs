//! A document as a tree of values that remember where they stand in the text. Both formats are read into it.
//! Knows no keys and no rules: that is `check`.

use std::fmt::Write as _;

/// Lists and mappings inside one another, at most. A document needs nine.
pub const MAX_DEPTH: usize = 64;
/// Values of a document, at most, aliases counted as often as they are used.
pub const MAX_NODES: usize = 200_000;

/// A place in a text, line and column counted from 1; (0, 0) for a value that has no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub place: Place,
    /// What stood in the text, where a format without types guessed the type (an unquoted word in YAML). A key that
    /// wants text takes it, so `name: 2026` and `name: on` are names.
    pub plain: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value. Keys of one mapping are unique.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

impl Node {
    pub fn new(value: Value, place: Place) -> Node {
        Node { value, place, plain: None }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value),
            _ => None,
        }
    }

    /// The entries of a mapping, none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list, none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub fn items_mut(&mut self) -> &mut [Node] {
        match &mut self.value {
            Value::List(items) => items,
            _ => &mut [],
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self.value {
            Value::Integer(integer) => Some(integer as f64),
            Value::Float(float) => Some(float),
            _ => None,
        }
    }

    /// Adds an entry with a value that is not in the text, unless the key is there.
    pub fn set_default(&mut self, key: &str, value: Value) {
        let place = self.place;
        if let Value::Map(entries) = &mut self.value
            && !entries.iter().any(|entry| entry.key == key && entry.value.value != Value::Null)
        {
            entries.retain(|entry| entry.key != key);
            entries.push(Entry { key: key.into(), key_place: place, value: Node::new(value, place) });
        }
    }

    /// Takes an entry away.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        match &mut self.value {
            Value::Map(entries) => entries.iter().position(|entry| entry.key == key).map(|at| entries.remove(at)),
            _ => None,
        }
    }

    /// How many values there are in this one, itself included.
    pub fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
            _ => 0,
        }
    }

    /// Depth of the deepest value; a scalar has 0.
    pub fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// What this is, in words, for messages.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => format!("\"{}\"", shorten(text)),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(entries) => format!("a mapping of {} keys", entries.len()),
        }
    }

    /// The tree of a JSON value. Fails on one nested deeper than [`MAX_DEPTH`] or with more values than [`MAX_NODES`].
    pub fn from_json(json: &serde_json::Value) -> Result<Node, String> {
        fn build(json: &serde_json::Value, depth: usize, left: &mut usize) -> Result<Node, String> {
            if depth > MAX_DEPTH {
                return Err(too_deep());
            }
            *left = left.checked_sub(1).ok_or_else(too_many)?;
            let value = match json {
                serde_json::Value::Null => Value::Null,
                serde_json::Value::Bool(value) => Value::Bool(*value),
                serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                    (Some(integer), _) => Value::Integer(integer.into()),
                    (_, Some(integer)) => Value::Integer(integer.into()),
                    _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
                },
                serde_json::Value::String(text) => Value::Text(text.clone()),
                serde_json::Value::Array(items) => {
                    Value::List(items.iter().map(|item| build(item, depth + 1, left)).collect::<Result<_, _>>()?)
                }
                serde_json::Value::Object(map) => {
                    let entry = |(key, item): (&String, &serde_json::Value)| {
                        let value = build(item, depth + 1, left)?;
                        Ok(Entry { key: key.clone(), key_place: Place::default(), value })
                    };
                    Value::Map(map.iter().map(entry).collect::<Result<_, String>>()?)
                }
            };
            Ok(Node::new(value, Place::default()))
        }
        let mut left = MAX_NODES;
        build(json, 0, &mut left)
    }

    /// The same as JSON. Numbers that JSON cannot hold (infinities, not-a-number) become null: `check` refuses them before.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => integer_to_json(*value),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => {
                serde_json::Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }

    /// Where `path` stands: the value's place, or that of the nearest parent that exists.
    pub fn locate(&self, path: &str) -> Place {
        let mut node = self;
        for step in steps(path).unwrap_or_default() {
            let next = match &step {
                Step::Key(key) => node.get(key),
                Step::Index(index) => node.items().get(*index),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.place
    }
}

/// JSON holds 64-bit integers exactly; larger ones as floats.
pub fn integer_to_json(value: i128) -> serde_json::Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(small), _) => small.into(),
        (_, Ok(large)) => large.into(),
        _ => (value as f64).into(),
    }
}

pub fn too_deep() -> String {
    format!("lists and mappings are nested more than {MAX_DEPTH} deep")
}

pub fn too_many() -> String {
    format!("the document has more than {MAX_NODES} values")
}

/// Cuts a text of a message to a length one can read.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into(),
    }
}

// ---- paths -------------------------------------------------------------------------------------------------

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// `path.key`, with quotes around a key that is no plain word.
pub fn join_key(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-');
    match (plain, path.is_empty()) {
        (true, true) => key.into(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{}]", serde_json::Value::from(key)),
    }
}

/// `path[index]`.
pub fn join_index(path: &str, index: usize) -> String {
    let mut joined = String::from(path);
    // Writing to a string cannot fail.
    let _ = write!(joined, "[{index}]");
    joined
}

/// Takes `a.b[0]["odd key"].c` apart. `None` when it is no path.
pub fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            if inside.starts_with('"') {
                let mut stream = serde_json::Deserializer::from_str(inside).into_iter::<String>();
                let key = stream.next()?.ok()?;
                rest = inside.get(stream.byte_offset()..)?.strip_prefix(']')?;
                steps.push(Step::Key(key));
            } else {
                let (index, after) = inside.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                rest = after;
            }
        } else {
            let word = if steps.is_empty() { rest } else { rest.strip_prefix('.')? };
            let end = word.find(['.', '[']).unwrap_or(word.len());
            let (key, after) = word.split_at_checked(end)?;
            if key.is_empty() {
                return None;
            }
            steps.push(Step::Key(key.into()));
            rest = after;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart_as_they_were_joined() {
        let path = join_key(&join_index(&join_key(&join_key("", "workload"), "odd \"key\".x]"), 12), "weight");
        assert_eq!(path, r#"workload["odd \"key\".x]"][12].weight"#);
        let expected = [Step::Key("workload".into()), Step::Key("odd \"key\".x]".into()), Step::Index(12), Step::Key("weight".into())];
        assert_eq!(steps(&path), Some(expected.to_vec()));
        for bad in ["a..b", ".a", "a[", "a[x]", "a[1", "a[\"x]", "a[1]b"] {
            assert_eq!(steps(bad), None, "{bad}");
        }
    }
}
