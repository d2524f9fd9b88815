//! Holds a tree against the JSON Schema of the document's types: types, unknown keys, ranges, lengths, names, required keys.
//! Finds every fault, not the first. The result is JSON that the types take without complaint.
//!
//! Understands the keywords of JSON Schema that schemars writes for our types and no others; a test holds the two together.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::Diagnostic;
use super::diagnostic::Severity;
use super::names::{did_you_mean, spelling};
use super::node::{Node, Place, Value, integer_to_json, join_index, join_key, shorten};

/// What becomes of a key that the schema does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKeys {
    /// An error.
    Refuse,
    /// A warning a key name: documents of the original project have some, which it ignores in silence, and links of newer versions.
    Ignore,
}

/// The tree as JSON, without the parts at fault, and the faults.
pub fn check(root: &Node, schema: &Json, unknown_keys: UnknownKeys) -> (Json, Vec<Diagnostic>) {
    check_as(root, schema, schema, unknown_keys)
}

/// The same for a part of a document: `part` is its place in `schema`.
pub fn check_as<'a>(root: &Node, schema: &'a Json, part: &'a Json, unknown_keys: UnknownKeys) -> (Json, Vec<Diagnostic>) {
    let mut checker = Checker { schema, unknown_keys, diagnostics: Vec::new(), ignored: BTreeMap::new() };
    let json = checker.value(root, part, "").unwrap_or(Json::Null);
    checker.report_ignored();
    (json, checker.diagnostics)
}

struct Checker<'a> {
    schema: &'a Json,
    unknown_keys: UnknownKeys,
    diagnostics: Vec<Diagnostic>,
    /// Unknown keys by name: the first place, and how many.
    ignored: BTreeMap<String, (Diagnostic, u64)>,
}

/// A schema with references followed.
struct Resolved<'a> {
    schema: &'a Json,
    /// Name of the type, if it has one.
    type_name: &'a str,
}

impl<'a> Checker<'a> {
    fn error(&mut self, place: Place, path: &str, message: String, hint: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(path, message, hint).at(place));
    }

    fn value(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Json> {
        let Resolved { schema, type_name } = resolve(self.schema, schema);
        if let Some(names) = names_of(schema) {
            return self.name(node, &names, type_name, path);
        }
        match type_of(schema) {
            Some("object") => self.map(node, schema, path),
            Some("array") => self.list(node, schema, path),
            Some("string") => self.text(node, schema, path),
            Some("number") => self.number(node, schema, path),
            Some("integer") => self.integer(node, schema, path),
            Some("boolean") => match node.value {
                Value::Bool(value) => Some(value.into()),
                _ => self.wrong_type(node, "true or false", path),
            },
            _ => self.free(node, path),
        }
    }

    /// A value of any shape; only numbers that are none are refused.
    fn free(&mut self, node: &Node, path: &str) -> Option<Json> {
        fn finite(node: &Node) -> bool {
            match &node.value {
                Value::Float(float) => float.is_finite(),
                Value::List(items) => items.iter().all(finite),
                Value::Map(entries) => entries.iter().all(|entry| finite(&entry.value)),
                _ => true,
            }
        }
        if finite(node) {
            return Some(node.to_json());
        }
        self.error(node.place, path, "a number in here is infinite or not a number".into(), "write finite numbers");
        None
    }

    fn wrong_type<T>(&mut self, node: &Node, expected: &str, path: &str) -> Option<T> {
        let hint = match &node.value {
            Value::Text(text) if expected.contains("number") && text.replace('_', "").parse::<f64>().is_ok() => {
                "write the number without quotes and leading zeros"
            }
            Value::Text(text) if expected.contains("true") && ["true", "false", "yes", "no"].contains(&text.as_str()) => {
                "write it without quotes"
            }
            Value::Map(_) if expected.contains("list") => "put `- ` before the entry (YAML) or `[ ]` around it (JSON)",
            Value::Text(_) if expected.contains("number") => "write the number alone, in digits and without a unit",
            Value::Float(_) if expected.contains("number") => "write it without a fraction",
            _ if expected.starts_with("one of") => "write one of these names",
            _ if expected.contains("list") => "write a list, such as `[a, b]`",
            _ if expected.contains("mapping") => "write keys with values, such as `{key: value}`",
            _ if expected.contains("true") => "write `true` or `false`",
            _ => "write this kind of value, or take the key out",
        };
        self.error(node.place, path, format!("{} should be {expected}, found {}", last_key(path), node.describe()), hint);
        None
    }

    fn map(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            return self.wrong_type(node, "a mapping (`key: value`)", path);
        };
        let properties = schema.get("properties").and_then(Json::as_object);
        let additional = schema.get("additionalProperties").filter(|additional| additional.is_object());
        let mut map = Map::new();
        for entry in entries {
            let entry_path = join_key(path, &entry.key);
            match (properties.and_then(|properties| properties.get(&entry.key)), additional) {
                // An empty value is an absent one.
                (Some(_), _) if entry.value.value == Value::Null => {}
                (Some(property), _) | (None, Some(property)) => {
                    if let Some(json) = self.value(&entry.value, property, &entry_path) {
                        map.insert(entry.key.clone(), json);
                    }
                }
                (None, None) => self.unknown_key(&entry.key, entry.key_place, properties, &entry_path),
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        let missing: Vec<&str> =
            required.filter(|key| !entries.iter().any(|entry| entry.key == **key && entry.value.value != Value::Null)).collect();
        if !missing.is_empty() {
            let what = if path.is_empty() { "top-level fields" } else { "fields" };
            let meanings = missing.iter().filter_map(|key| Some(format!("`{key}`: {}", first_sentence(properties?.get(*key)?)?)));
            self.error(node.place, path, format!("Missing {what}: {}", missing.join(", ")), meanings.collect::<Vec<_>>().join(" "));
        }
        Some(Json::Object(map))
    }

    fn unknown_key(&mut self, key: &str, place: Place, properties: Option<&'a Map<String, Json>>, path: &str) {
        let names = || properties.into_iter().flat_map(Map::keys).map(String::as_str);
        let hint = did_you_mean(key, names()).or_else(|| self.home_of(key).map(|home| format!("it belongs in `{home}`")));
        match self.unknown_keys {
            UnknownKeys::Refuse => {
                let hint = hint.unwrap_or_else(|| format!("known here: {}", names().collect::<Vec<_>>().join(", ")));
                self.error(place, path, format!("unknown key `{}`", shorten(key)), hint);
            }
            UnknownKeys::Ignore => {
                let message = format!("unknown key `{}`: ignored", shorten(key));
                let first = Diagnostic::warning(path, message, hint.unwrap_or_default()).at(place);
                self.ignored.entry(key.into()).or_insert((first, 0)).1 += 1;
            }
        }
    }

    fn report_ignored(&mut self) {
        for (mut first, count) in std::mem::take(&mut self.ignored).into_values() {
            if count > 1 {
                first.message += &format!(" ({count} places)");
            }
            self.diagnostics.push(first);
        }
    }

    /// Where in the document a key is known, if it is known anywhere.
    fn home_of(&self, key: &str) -> Option<String> {
        fn search(root: &Json, schema: &Json, key: &str, path: &str, depth: u32) -> Option<String> {
            let schema = resolve(root, schema).schema;
            if let Some(items) = schema.get("items") {
                return search(root, items, key, &format!("{path}[]"), depth);
            }
            let properties = schema.get("properties")?.as_object()?;
            if properties.contains_key(key) {
                return Some(path.into());
            }
            let mut children = properties.iter().filter(|_| depth > 0);
            children.find_map(|(name, child)| search(root, child, key, &join_key(path, name), depth - 1))
        }
        search(self.schema, self.schema, key, "", 5).filter(|home| !home.is_empty())
    }

    fn list(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Json> {
        let Value::List(items) = &node.value else {
            return self.wrong_type(node, "a list", path);
        };
        let (least, most) = (limit(schema, "minItems").unwrap_or(0.0), limit(schema, "maxItems").unwrap_or(f64::INFINITY));
        let count = items.len() as f64;
        if count < least || count > most {
            let allowed = if most.is_finite() { format!("{least} to {most}") } else { format!("at least {least}") };
            self.error(
                node.place,
                path,
                format!("{} has {count} entries (should be {allowed})", last_key(path)),
                if count < least { "add some" } else { "take some out" },
            );
            // Ten thousand entries too many would each be looked at in vain.
            return None;
        }
        let item_schema = schema.get("items").unwrap_or(&Json::Bool(true));
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            list.extend(self.value(item, item_schema, &join_index(path, index)));
        }
        // With an item at fault left out, the others would change places: better no list than a wrong one.
        (list.len() == items.len()).then_some(Json::Array(list))
    }

    fn text(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let text = match (&node.value, &node.plain) {
            (Value::Text(text), _) => text.as_str(),
            (Value::Bool(_) | Value::Integer(_) | Value::Float(_), Some(plain)) => plain,
            _ => return self.wrong_type(node, "text", path),
        };
        let letters = text.chars().count() as f64;
        if let Some(most) = limit(schema, "maxLength").filter(|most| letters > *most) {
            self.error(node.place, path, format!("{} has {letters} letters (should be at most {most})", last_key(path)), "shorten it");
            return None;
        }
        if limit(schema, "minLength").is_some_and(|least| letters < least) {
            self.error(node.place, path, format!("{} is empty", last_key(path)), "write something, or take the key out");
            return None;
        }
        Some(text.into())
    }

    fn name(&mut self, node: &Node, names: &[&str], type_name: &str, path: &str) -> Option<Json> {
        // Versions look like numbers.
        let text = &match (&node.value, &node.plain) {
            (Value::Text(text), _) => text.clone(),
            (Value::Bool(_) | Value::Integer(_) | Value::Float(_), Some(plain)) => plain.to_string(),
            (Value::Float(float), None) => float.to_string(),
            _ => return self.wrong_type(node, &format!("one of {}", names.join(", ")), path),
        };
        if let Some(name) = spelling(text, names) {
            return Some(name.into());
        }
        let what = match (type_name, last_key(path)) {
            ("FrameworkKind", _) => "Unknown framework type",
            ("DistributionKind", _) => "Unknown distribution type",
            ("LevelOfDetail", _) => "Invalid LoD",
            (_, "strategy") => "Invalid parallelism strategy",
            (_, key) => &format!("Unknown {key}"),
        };
        let hint = did_you_mean(text, names.iter().copied()).unwrap_or_else(|| format!("known: {}", names.join(", ")));
        self.error(node.place, path, format!("{what}: {}", shorten(text)), hint);
        None
    }

    fn number(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let value = match node.value {
            Value::Integer(integer) => integer as f64,
            Value::Float(float) => float,
            _ => return self.wrong_type(node, "a number", path),
        };
        self.in_range(node, value, schema, path).then(|| match node.value {
            Value::Integer(integer) => integer_to_json(integer),
            _ => value.into(),
        })
    }

    fn integer(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let value = match node.value {
            Value::Integer(integer) => integer,
            // `1e6` is a whole number. Above 2^53 a float does not say which.
            Value::Float(float) if float == float.trunc() && float.abs() <= 9_007_199_254_740_992.0 => float as i128,
            Value::Float(float) if !float.is_finite() => {
                self.in_range(node, float, schema, path);
                return None;
            }
            _ => return self.wrong_type(node, "a whole number", path),
        };
        let fits = self.in_range(node, value as f64, schema, path);
        fits.then(|| integer_to_json(value))
    }

    fn in_range(&mut self, node: &Node, value: f64, schema: &Json, path: &str) -> bool {
        if !value.is_finite() {
            self.error(node.place, path, format!("Invalid {}: {value}", last_key(path)), "write a finite number");
            return false;
        }
        let (least, most) = (limit(schema, "minimum"), limit(schema, "maximum"));
        let inside = least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most);
        if !inside {
            let allowed = match (least, most) {
                (Some(least), Some(most)) => format!("{}-{}", readable(least), readable(most)),
                (Some(least), None) => format!("at least {}", readable(least)),
                (_, most) => format!("at most {}", readable(most.unwrap_or_default())),
            };
            let hint = schema.get("description").and_then(Json::as_str).unwrap_or_default();
            self.error(node.place, path, format!("Invalid {}: {} (should be {allowed})", last_key(path), readable(value)), hint);
        }
        inside
    }
}

/// Follows `$ref` and the `anyOf` of an optional value.
fn resolve<'a>(root: &'a Json, schema: &'a Json) -> Resolved<'a> {
    let mut resolved = Resolved { schema, type_name: "" };
    // The schema comes from our own types; the bound only keeps a fault there from hanging.
    for _ in 0..8 {
        if let Some(name) = resolved.schema.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
            let Some(target) = root.get("$defs").and_then(|defs| defs.get(name)) else { break };
            resolved = Resolved { schema: target, type_name: name };
        } else if let Some(parts) = resolved.schema.get("anyOf").and_then(Json::as_array) {
            let is_null = |part: &&Json| part.get("type").and_then(Json::as_str) == Some("null");
            let Some(part) = parts.iter().find(|part| !is_null(part)) else { break };
            resolved.schema = part;
        } else {
            break;
        }
    }
    resolved
}

/// The type that a schema asks for, null aside.
fn type_of(schema: &Json) -> Option<&str> {
    match schema.get("type")? {
        Json::String(name) => Some(name),
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

/// The names that a schema allows, if it is a list of names.
fn names_of(schema: &Json) -> Option<Vec<&str>> {
    if let Some(names) = schema.get("enum").and_then(Json::as_array) {
        return Some(names.iter().filter_map(Json::as_str).collect());
    }
    let parts = schema.get("oneOf").and_then(Json::as_array)?.iter();
    Some(
        parts
            .flat_map(|part| match part.get("const") {
                Some(name) => name.as_str().into_iter().collect(),
                None => names_of(part).unwrap_or_default(),
            })
            .collect(),
    )
}

fn limit(schema: &Json, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Json::as_f64)
}

fn first_sentence(schema: &Json) -> Option<&str> {
    let description = schema.get("description")?.as_str()?;
    let end = description.find(". ").map_or(description.len(), |end| end + 1);
    description.get(..end)
}

/// The key a path ends with, for messages.
fn last_key(path: &str) -> &str {
    let last = path.rsplit('.').next().unwrap_or(path);
    if last.is_empty() { "the document" } else { last }
}

/// A number as a person writes it.
pub fn readable(value: f64) -> String {
    if value != 0.0 && (value.abs() >= 1e7 || value.abs() < 1e-4) { format!("{value:e}") } else { value.to_string() }
}

impl Diagnostic {
    /// The same, with a place in the text.
    pub(super) fn at(mut self, place: Place) -> Diagnostic {
        if place != Place::default() {
            self.line = Some(place.line);
            self.column = Some(place.column);
        }
        self
    }

    /// Orders for reading: from the top of the text down, errors before warnings at one place.
    pub(super) fn reading_order(&self) -> (Option<u32>, Option<u32>, bool) {
        (self.line, self.column, self.severity == Severity::Warning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyword that `check` does not know would be a rule that nobody enforces.
    #[test]
    fn the_schema_uses_only_keywords_that_check_understands() {
        const UNDERSTOOD: [&str; 20] = [
            "$schema",
            "title",
            "description",
            "type",
            "properties",
            "additionalProperties",
            "required",
            "$defs",
            "format",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "$ref",
            "items",
            "minItems",
            "maxItems",
            "anyOf",
            "enum",
            "oneOf",
        ];
        fn walk(schema: &Json) {
            let Some(object) = schema.as_object() else { return };
            for (keyword, value) in object {
                match keyword.as_str() {
                    "properties" | "$defs" => value.as_object().unwrap().values().for_each(walk),
                    "items" | "additionalProperties" => walk(value),
                    "anyOf" | "oneOf" => value.as_array().unwrap().iter().for_each(walk),
                    "const" => assert!(object.get("type").is_some_and(|name| name == "string")),
                    other => assert!(UNDERSTOOD.contains(&other), "{other}: {schema}"),
                }
            }
        }
        walk(crate::config::json_schema());
    }
}
