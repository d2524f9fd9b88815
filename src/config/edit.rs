//! Single values set by path, as the command's `--set workload.rate_scale=2` does.

use serde_json::Value as Json;

use super::Diagnostic;
use super::node::{Step, steps};
use super::yaml;

/// Sets the value at `path` to what `value_text` says in YAML (`2`, `true`, `[1, 2]`, `{type: Constant}`, a word). Mappings on the way
/// are made where they are missing, and an index one past a list's end adds to it. Whether the key exists and takes such a
/// value, reading the document says.
pub fn set(document: &mut Json, path: &str, value_text: &str) -> Result<(), Diagnostic> {
    let at_fault = |message: String, hint: &str| Diagnostic::error(path, message, hint);
    let form = "write it like `frameworks_to_test[0].config.max_num_seqs`";
    let steps =
        steps(path).filter(|steps| !steps.is_empty()).ok_or_else(|| at_fault(format!("`{path}` is no path into a document"), form))?;
    let value = if value_text.trim().is_empty() {
        Json::Null
    } else {
        let parsed =
            yaml::parse(value_text).map_err(|error| at_fault(format!("`{value_text}` is no value: {}", error.message), &error.hint))?;
        parsed.to_json()
    };
    let mut target = document;
    for step in &steps {
        target = match (step, target) {
            (Step::Key(key), Json::Object(map)) => map.entry(key.as_str()).or_insert(Json::Null),
            (Step::Key(key), target @ Json::Null) => {
                *target = Json::Object(Default::default());
                match target {
                    Json::Object(map) => map.entry(key.as_str()).or_insert(Json::Null),
                    other => other,
                }
            }
            (Step::Index(index), Json::Array(items)) => {
                let length = items.len();
                if *index == length {
                    items.push(Json::Null);
                }
                items
                    .get_mut(*index)
                    .ok_or_else(|| at_fault(format!("there is no entry {index}: the list has {length}"), "entries count from 0"))?
            }
            (Step::Key(key), _) => return Err(at_fault(format!("`{key}` cannot be set in a value that is no mapping"), form)),
            (Step::Index(index), _) => return Err(at_fault(format!("[{index}] is asked of a value that is no list"), form)),
        };
    }
    *target = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_set_where_the_path_says() {
        let mut document = json!({"a": {"b": [1, {"c": 2}]}});
        set(&mut document, "a.b[1].c", "3_000").unwrap();
        set(&mut document, "a.b[2]", "yes").unwrap();
        set(&mut document, "x.y[\"odd key\"]", "{type: Constant, value: 1e-3}").unwrap();
        set(&mut document, "a.word", "session_affinity").unwrap();
        let expected = json!({"a": {"b": [1, {"c": 3000}, true], "word": "session_affinity"}, "x": {"y": {"odd key": {"type": "Constant", "value": 1e-3}}}});
        assert_eq!(document, expected);
    }

    #[test]
    fn faults_name_the_path() {
        let mut document = json!({"a": {"b": [1]}});
        for (path, value, part) in [
            ("", "1", "no path"),
            ("a..b", "1", "no path"),
            ("a.b[7]", "1", "no entry 7: the list has 1"),
            ("a.b.c", "1", "no mapping"),
            ("a[0]", "1", "no list"),
            ("a.c", "[1", "no value"),
        ] {
            let fault = set(&mut document, path, value).unwrap_err();
            assert!(fault.message.contains(part) && fault.path == path, "{path}: {fault}");
        }
        assert_eq!(document, json!({"a": {"b": [1]}}));
    }
}
