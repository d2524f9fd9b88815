//! Which files of the site a file names, and where in its text: imports, `new URL('…', import.meta.url)`, `src`, `href`, `url(…)`.
//!
//! Only names written out as literals count. A name that is computed cannot be seen, so its file keeps its name in `dist`.

use crate::process::{Failure, Outcome};
use std::collections::BTreeSet;
use std::ops::Range;

/// When the named file is fetched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// With the file that names it.
    First,
    /// By `import(…)`, when the code gets there.
    Later,
}

#[derive(Debug, PartialEq)]
pub struct Reference {
    /// The last segment of the name in the text: what `dist` replaces.
    pub place: Range<usize>,
    /// URL path of the named file, without a leading slash.
    pub target: String,
    pub load: Load,
}

/// The references in the file at URL path `file` to others of `site`. A name of a file that is not there is an error: it would be a 404.
pub fn find(file: &str, text: &str, site: &BTreeSet<&str>) -> Outcome<Vec<Reference>> {
    let names: Vec<(Range<usize>, Load)> = match file.rsplit('.').next() {
        Some("js" | "mjs") => in_script(text),
        Some("html" | "svg") => in_markup(text),
        Some("css") => in_style(text),
        Some("webmanifest") => quoted(text).into_iter().filter(|range| before(text, range).ends_with("\"src\":")).map(first).collect(),
        _ => Vec::new(),
    };
    let mut references = Vec::new();
    for (range, load) in names {
        let name = &text[range.clone()];
        let path = name.split(['?', '#']).next().unwrap_or_default();
        if path.is_empty() || path.ends_with('/') || matches!(path, "." | "..") || has_scheme(path) {
            continue;
        }
        let line = text[..range.start].lines().count().max(1);
        let wrong = |what: &str, hint: &str| Err(Failure::new(format!("{file}:{line}: `{name}` {what}"), hint));
        if path.starts_with('/') {
            return wrong("is absolute", "make it relative: the site may live below a path of its host");
        }
        match resolve(file, path).filter(|target| site.contains(target.as_str())) {
            Some(target) => {
                let segment = range.start + path.rfind('/').map_or(0, |slash| slash + 1);
                references.push(Reference { place: segment..range.start + path.len(), target, load });
            }
            None => return wrong("names a file that is not in the site", "correct the name, or add the file"),
        }
    }
    Ok(references)
}

fn first(range: Range<usize>) -> (Range<usize>, Load) {
    (range, Load::First)
}

fn in_script(text: &str) -> Vec<(Range<usize>, Load)> {
    let load = |range: &Range<usize>| {
        let before = before(text, range);
        if in_comment(before) {
            return None;
        }
        let relative =
            text[range.clone()].starts_with("./") || text[range.clone()].starts_with("../") || text[range.clone()].starts_with('/');
        if before.ends_with("new URL(") {
            let after = text[range.end + 1..].trim_start();
            return after
                .starts_with(',')
                .then(|| after[1..].trim_start())
                .filter(|rest| rest.starts_with("import.meta.url"))
                .map(|_| Load::First);
        }
        // Without ./ it is a package or a word of prose.
        if !relative {
            return None;
        }
        if before.ends_with("import(") {
            return Some(Load::Later);
        }
        let word = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).next();
        matches!(word, Some("import" | "from")).then_some(Load::First)
    };
    quoted(text).into_iter().filter_map(|range| load(&range).map(|load| (range, load))).collect()
}

fn in_markup(text: &str) -> Vec<(Range<usize>, Load)> {
    let named = |range: &Range<usize>| {
        let before = before(text, range).to_ascii_lowercase();
        before.strip_suffix('=').is_some_and(|before| {
            let before = before.trim_end();
            [" src", "\nsrc", " href", "\nhref", "\tsrc", "\thref"].iter().any(|attribute| before.ends_with(attribute))
        })
    };
    quoted(text).into_iter().filter(named).map(first).collect()
}

fn in_style(text: &str) -> Vec<(Range<usize>, Load)> {
    let mut found: Vec<Range<usize>> = quoted(text)
        .into_iter()
        .filter(|range| {
            let before = before(text, range);
            before.ends_with("url(") || before.ends_with("@import")
        })
        .collect();
    for (at, _) in text.match_indices("url(") {
        let start = at + "url(".len();
        if let Some(length) = text[start..].find(')').filter(|_| !text[start..].trim_start().starts_with(['"', '\''])) {
            found.push(start..start + length);
        }
    }
    found.sort_by_key(|range| range.start);
    found.into_iter().map(first).collect()
}

/// What stands between quotes and looks like a file name. Apostrophes in prose are harmless: no name is followed by one.
fn quoted(text: &str) -> Vec<Range<usize>> {
    let part_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"./_-?#=&%:@+~".contains(&byte);
    let bytes = text.as_bytes();
    let quotes = bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'"' | b'\''));
    quotes
        .filter_map(|(open, quote)| {
            let start = open + 1;
            let length = bytes[start..].iter().position(|byte| !part_of_name(*byte))?;
            (length > 0 && bytes[start + length] == *quote).then_some(start..start + length)
        })
        .collect()
}

/// The text before the opening quote of `range`, without trailing space.
fn before<'a>(text: &'a str, range: &Range<usize>) -> &'a str {
    text[..range.start - 1].trim_end()
}

/// Whether a position, given all that is before it, is in a comment as far as its line tells.
fn in_comment(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let open = line.rfind("/*").is_some_and(|open| line.rfind("*/").is_none_or(|close| close < open));
    let line_comment = line.match_indices("//").any(|(at, _)| !line[..at].ends_with(':'));
    open || line_comment || line.trim_start().starts_with('*')
}

fn has_scheme(path: &str) -> bool {
    path.starts_with("//") || path.split_once(':').is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The URL path that `name` means in the file at `file`; `None` above the site's root.
fn resolve(file: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(file: &str, text: &str, site: &[&str]) -> Vec<(String, Load)> {
        let site = site.iter().copied().collect();
        find(file, text, &site).unwrap().into_iter().map(|reference| (reference.target, reference.load)).collect()
    }

    #[test]
    fn scripts() {
        let text = r#"
            import { a } from './a.js';
            import'../b.js'; export * from "./c.js";
            import {
              d,
            } from './d.js'; // it's fine: './not-there.js'
            /** @import {T} from './types.js' */
            /** @type {import('./types.js').T} */ (x);
            * import('./types.js')
            const lazy = () => import('./lazy/e.js');
            new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
            new URL('x_bg.wasm', import.meta.url); new URL('https://example.org/z.js');
            const word = './a.js', other = "from 'lodash'";
        "#;
        let site = ["js/a.js", "b.js", "js/c.js", "js/d.js", "js/lazy/e.js", "js/worker.js", "js/x_bg.wasm"];
        let found = targets("js/app.js", text, &site);
        let expected = [
            ("js/a.js", Load::First),
            ("b.js", Load::First),
            ("js/c.js", Load::First),
            ("js/d.js", Load::First),
            ("js/lazy/e.js", Load::Later),
            ("js/worker.js", Load::First),
            ("js/x_bg.wasm", Load::First),
        ];
        assert_eq!(found, expected.map(|(name, load)| (name.to_string(), load)));
    }

    #[test]
    fn markup_and_styles() {
        let html = r##"<link rel="stylesheet" href="style.css?x"><a href="#top" title="style.css">t</a><a href="https://example.org/a.js">
            <script type="module" src='./js/app.js'></script><img src="data:image/png;base64,AA=="><a href="./">home</a>"##;
        assert_eq!(targets("index.html", html, &["style.css", "js/app.js"]).len(), 2);
        let css = "@import 'base.css'; a { background: url(img/a.svg) } b { src: url(\"img/b.woff2\"), url(data:x) }";
        let names: Vec<String> =
            targets("style.css", css, &["base.css", "img/a.svg", "img/b.woff2"]).into_iter().map(|found| found.0).collect();
        assert_eq!(names, ["base.css", "img/a.svg", "img/b.woff2"]);
    }

    #[test]
    fn the_place_is_the_last_segment() {
        let text = "import '../pkg/x.js?v=1';";
        let found = find("js/app.js", text, &["pkg/x.js"].into_iter().collect()).unwrap();
        assert_eq!(&text[found[0].place.clone()], "x.js");
    }

    #[test]
    fn names_that_would_be_404_are_errors() {
        for text in ["\n\nimport './gone.js';", "import '/js/app.js';", "import '../../up.js';"] {
            let failure = find("js/app.js", text, &["js/app.js"].into_iter().collect()).unwrap_err();
            assert!(failure.what.starts_with("js/app.js:"), "{failure}");
        }
    }
}
