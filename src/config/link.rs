//! Share links: a document and a view of it in the fragment of an address, `v1.<base64url(deflate-raw(JSON))>`.
//!
//! A fragment never reaches a server. What comes in may come from anyone, so the guards run in order of cost: length, alphabet,
//! size while inflating, depth, and then the same reading as for any document. Links of every version open for ever: `tests/links`
//! keeps old ones.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json, json};

use super::node::{Node, shorten};
use super::reader::read_shared;
use super::{Diagnostic, Document, Preset, find_preset, json as json_text, migrate, preset_versions, write, yaml};

/// Longest fragment that is made or opened, characters.
pub const MAX_LINK_CHARS: usize = 16_384;
/// Longest JSON text that a fragment may unpack to, bytes.
pub const MAX_UNPACKED_BYTES: usize = 64 * 1024;
/// Deepest nesting of that JSON.
pub const MAX_LINK_DEPTH: usize = 32;

/// What a link holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The document; absent when `diagnostics` has errors.
    pub document: Option<Document>,
    /// The document as the link has it, so that it can be kept even when this program cannot read it.
    pub raw: Json,
    /// What the page showed; an object, the page's own affair.
    pub view: Json,
    /// Version of the program that made the link.
    pub made_with: String,
    /// Findings about the document, and a warning when another version made it.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why a link cannot be made or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("this is no share link: it should start with `v1.`")]
    NotALink,
    #[error("this link is of format {0}, which this version does not know: open it with a newer one")]
    UnknownFormat(String),
    #[error("this link has {0} characters; at most {MAX_LINK_CHARS} are allowed: share the document as a file")]
    TooLong(usize),
    #[error("this link is damaged: `{0}` is no character of a link")]
    BadCharacter(char),
    #[error("this link is cut off or damaged")]
    Damaged,
    #[error("this link unpacks to more than {MAX_UNPACKED_BYTES} bytes: share the document as a file")]
    TooLarge,
    #[error("this link is nested more than {MAX_LINK_DEPTH} deep")]
    TooDeep,
    #[error("this link does not hold a document: {0}")]
    BadContent(String),
    #[error("this link builds on the preset `{0}`, which this version does not know: open it with a newer one")]
    UnknownPreset(String),
}

/// The fragment for a document and a view (any JSON object, or null for none). The same input always gives the same link.
pub fn encode(document: &Document, view: &Json) -> Result<String, LinkError> {
    let document = write::to_json(document);
    let envelope = |base: Option<String>, content: Json| {
        let mut envelope = Map::new();
        envelope.insert("s".into(), migrate::NEWEST.into());
        if let Some(name) = base {
            envelope.insert("preset".into(), name.into());
        }
        envelope.insert("cfg".into(), content);
        if view.as_object().is_some_and(|view| !view.is_empty()) {
            envelope.insert("view".into(), view.clone());
        }
        envelope.insert("e".into(), env!("CARGO_PKG_VERSION").into());
        Json::Object(envelope).to_string()
    };
    let mut shortest = envelope(None, document.clone());
    for (base, base_document) in bases() {
        let patch = difference(base_document, &document);
        // A merge patch cannot say null, which an inline model may hold.
        if merged(base_document.clone(), &patch) == document {
            let text = envelope(Some(format!("{}@{}", base.name, base.version)), patch);
            if text.len() < shortest.len() {
                shortest = text;
            }
        }
    }
    if shortest.len() > MAX_UNPACKED_BYTES {
        return Err(LinkError::TooLarge);
    }
    if Node::from_json(&serde_json::from_str(&shortest).unwrap_or(Json::Null)).is_ok_and(|node| node.depth() > MAX_LINK_DEPTH) {
        return Err(LinkError::TooDeep);
    }
    const SMALLEST: u8 = 10;
    let link = format!("v1.{}", URL_SAFE_NO_PAD.encode(miniz_oxide::deflate::compress_to_vec(shortest.as_bytes(), SMALLEST)));
    if link.len() > MAX_LINK_CHARS {
        return Err(LinkError::TooLong(link.len()));
    }
    Ok(link)
}

/// What a fragment holds; a whole address is understood too.
pub fn decode(fragment: &str) -> Result<Shared, LinkError> {
    let fragment = fragment.split_once('#').map_or(fragment, |(_, fragment)| fragment).trim();
    if fragment.len() > MAX_LINK_CHARS {
        return Err(LinkError::TooLong(fragment.chars().count()));
    }
    let (format, packed) = fragment.split_once('.').ok_or(LinkError::NotALink)?;
    match format {
        "v1" => open_v1(packed),
        _ if format.strip_prefix('v').is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) => {
            Err(LinkError::UnknownFormat(shorten(format)))
        }
        _ => Err(LinkError::NotALink),
    }
}

fn open_v1(packed: &str) -> Result<Shared, LinkError> {
    if let Some(foreign) = packed.chars().find(|letter| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'))) {
        return Err(LinkError::BadCharacter(foreign));
    }
    let bytes = URL_SAFE_NO_PAD.decode(packed).map_err(|_| LinkError::Damaged)?;
    let text = miniz_oxide::inflate::decompress_to_vec_with_limit(&bytes, MAX_UNPACKED_BYTES).map_err(|error| match error.status {
        miniz_oxide::inflate::TINFLStatus::HasMoreOutput => LinkError::TooLarge,
        _ => LinkError::Damaged,
    })?;
    let text = String::from_utf8(text).map_err(|_| LinkError::Damaged)?;
    let node = json_text::parse(&text).map_err(|error| {
        if error.message == super::node::too_deep() { LinkError::TooDeep } else { LinkError::BadContent(error.message) }
    })?;
    if node.depth() > MAX_LINK_DEPTH {
        return Err(LinkError::TooDeep);
    }
    let bad = |what: &str| LinkError::BadContent(what.into());
    let Json::Object(envelope) = node.to_json() else {
        return Err(bad("it is no object"));
    };
    let version = envelope.get("s").and_then(Json::as_u64).ok_or_else(|| bad("`s`, the format version, is missing"))?;
    let content = envelope.get("cfg").filter(|content| content.is_object()).ok_or_else(|| bad("`cfg`, the document, is missing"))?;
    let view = match envelope.get("view") {
        None => json!({}),
        Some(view) if view.is_object() => view.clone(),
        Some(_) => return Err(bad("`view` is no object")),
    };
    let made_with = shorten(envelope.get("e").and_then(Json::as_str).unwrap_or_default());
    let mut raw = match envelope.get("preset") {
        None => content.clone(),
        Some(name) => {
            let name = name.as_str().ok_or_else(|| bad("`preset` is no name"))?;
            // Without its number a name could mean another document tomorrow.
            let known = name.contains('@').then(|| find_preset(name)).flatten();
            let base = bases().iter().find(|(base, _)| Some(*base) == known).ok_or_else(|| LinkError::UnknownPreset(shorten(name)))?;
            merged(base.1.clone(), content)
        }
    };
    if let Some(object) = raw.as_object_mut()
        && version != 1
    {
        object.entry("schema_version").or_insert_with(|| version.into());
    }
    let read = read_shared(&raw);
    let mut diagnostics = read.diagnostics;
    if made_with != env!("CARGO_PKG_VERSION") {
        let maker = if made_with.is_empty() { "an unknown version".to_string() } else { format!("version {made_with}") };
        diagnostics.insert(0, Diagnostic::warning("", format!("this link was made with {maker}: its results may have been others"), ""));
    }
    Ok(Shared { document: read.document, raw, view, made_with, diagnostics })
}

/// The documents that differences build on: the presets, except those in the original project's dialect. What such a one means is
/// a translation, which may be improved, and then old differences would build on something else.
fn bases() -> &'static [(&'static Preset, Json)] {
    // Made once, since a page makes a link after every edit: it follows from the presets alone.
    static BASES: OnceLock<Vec<(&'static Preset, Json)>> = OnceLock::new();
    BASES.get_or_init(|| {
        let document = |preset: &'static Preset| {
            let node = yaml::parse(preset.text).ok()?;
            node.get("schema_version")?;
            Some((preset, write::to_json(&read_shared(&node.to_json()).document?)))
        };
        preset_versions().filter_map(document).collect()
    })
}

/// The JSON merge patch (RFC 7396) that makes `new` of `old`.
fn difference(old: &Json, new: &Json) -> Json {
    let (Json::Object(old), Json::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Json::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(same) if same == value => {}
            Some(other) => {
                patch.insert(key.clone(), difference(other, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Json::Object(patch)
}

/// `target` with a JSON merge patch (RFC 7396) applied.
fn merged(target: Json, patch: &Json) -> Json {
    let Json::Object(changes) = patch else { return patch.clone() };
    let mut map = match target {
        Json::Object(map) => map,
        _ => Map::new(),
    };
    for (key, change) in changes {
        if change.is_null() {
            map.shift_remove(key);
        } else {
            let old = map.get(key).cloned().unwrap_or(Json::Null);
            map.insert(key.clone(), merged(old, change));
        }
    }
    Json::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merge_patches_work_as_the_rfc_says() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(target, &patch), result);
        }
    }

    #[test]
    fn a_difference_applied_gives_the_new_document() {
        let old = json!({"a": {"b": 1, "c": [1, 2]}, "d": 3});
        let new = json!({"a": {"b": 2, "c": [1]}, "e": {"f": {}}});
        let patch = difference(&old, &new);
        assert_eq!(merged(old, &patch), new);
    }
}
