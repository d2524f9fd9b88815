//! `cargo xtask dist`: the site as files for any static host.
//!
//! A file that others name gets a name with a hash of its content and of all it loads, so that a host may let browsers keep it for ever and
//! a new release is never mixed with an old one. Pages keep their names.

use crate::manifest::{Budget, Manifest};
use crate::process::{self, Failure, Outcome, Output, say, step};
use crate::references::{self, Load, Reference};
use crate::site::{self, fnv1a};
use crate::{server, toolchain};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One file of the site.
struct Asset {
    bytes: Vec<u8>,
    references: Vec<Reference>,
}

/// The site before it is written: files by URL path.
pub struct Graph {
    assets: BTreeMap<String, Asset>,
}

pub fn directory() -> PathBuf {
    process::root().join("dist")
}

pub fn run() -> Outcome {
    let manifest = Manifest::read(&process::root())?;
    site::build(&manifest)?;
    write(&manifest).map(|table| say(&format!("\n{table}")))
}

/// Writes `dist/` from an already built site. Returns the table of sizes; sizes over budget are a failure that shows it.
pub fn write(manifest: &Manifest) -> Outcome<String> {
    let mut files = site::files(&site::mounts(manifest))?;
    step("minified scripts and styles", || {
        let (esbuild, _) = toolchain::esbuild(&manifest.tools)?;
        minify(&esbuild, &mut files).map(|count| ((), format!("{count} files")))
    })?;
    let graph = Graph::read(&files)?;
    if !graph.assets.contains_key("index.html") {
        return Err(Failure::new("the site has no index.html", "restore www/index.html"));
    }
    let written = step("dist", || {
        let written = graph.hashed();
        save(&directory(), &written)?;
        let note = format!("{} files in {}", written.len(), directory().display());
        Ok((written, note))
    })?;
    let sizes = Sizes::of(&graph, &written)?;
    let table = sizes.to_string();
    match sizes.over(&manifest.budget) {
        None => Ok(table),
        Some(over) => Err(Failure::new(
            format!("{table}\n{over}"),
            "take something out, or load it later with `import()`; the budget is in wasm-pack.toml",
        )),
    }
}

/// Minifies scripts and styles, each by itself: modules stay modules, and names stay literals. `files` then point to the results.
fn minify(esbuild: &Path, files: &mut [(String, PathBuf)]) -> Outcome<usize> {
    const LIMIT: Duration = Duration::from_secs(120);
    let out = process::work_dir().join("site/minified");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|error| Failure::file("empty", &out, &error))?;
    }
    // Laid out by URL first, so that one directory is the base of all.
    let source = out.join("source");
    let result = out.join("result");
    let mut command = Command::new("node");
    command.arg(esbuild).args(["--minify", "--charset=utf8", "--target=es2022", "--legal-comments=none", "--log-level=warning"]);
    command.arg(format!("--outbase={}", source.display())).arg(format!("--outdir={}", result.display()));
    let mut count = 0;
    for (url, path) in files.iter_mut().filter(|(url, _)| [".js", ".css"].iter().any(|ending| url.ends_with(ending))) {
        let copy = source.join(&url);
        let parent = copy.parent().unwrap_or(&source);
        fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))?;
        fs::copy(&path, &copy).map_err(|error| Failure::file("copy", path, &error))?;
        command.arg(copy);
        *path = result.join(url);
        count += 1;
    }
    process::succeed(&mut command, "esbuild", Output::Log, LIMIT, "correct the file that esbuild names above")?;
    Ok(count)
}

impl Graph {
    /// Reads files given as URL path and place on disk.
    pub fn read(files: &[(String, PathBuf)]) -> Outcome<Graph> {
        let names: BTreeSet<&str> = files.iter().map(|(url, _)| url.as_str()).collect();
        let mut assets = BTreeMap::new();
        for (url, path) in files {
            if server::content_type(Path::new(url)).is_none() {
                let hint = "keep it out of www, or add its kind to TYPES in xtask/src/server.rs";
                return Err(Failure::new(format!("{} is of a kind that is not served", path.display()), hint));
            }
            let bytes = fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
            let references = match std::str::from_utf8(&bytes) {
                Ok(text) => references::find(url, text, &names)?,
                Err(_) => Vec::new(),
            };
            if assets.insert(url.clone(), Asset { bytes, references }).is_some() {
                return Err(Failure::new(format!("two files are served as /{url}"), "rename the one in www"));
            }
        }
        Ok(Graph { assets })
    }

    /// The files as they are written: new names, and contents that use them.
    fn hashed(&self) -> BTreeMap<String, (String, Vec<u8>)> {
        let named: BTreeSet<&str> =
            self.assets.values().flat_map(|asset| asset.references.iter().map(|found| found.target.as_str())).collect();
        let rename = |url: &str| if named.contains(url) && !keeps_its_name(url) { self.hashed_name(url) } else { url.to_string() };
        let names: BTreeMap<&str, String> = self.assets.keys().map(|url| (url.as_str(), rename(url))).collect();
        let rewrite = |asset: &Asset| {
            let mut bytes = Vec::with_capacity(asset.bytes.len() + 16 * asset.references.len());
            let mut done = 0;
            for reference in &asset.references {
                bytes.extend(&asset.bytes[done..reference.place.start]);
                bytes.extend(file_name(&names[reference.target.as_str()]).bytes());
                done = reference.place.end;
            }
            bytes.extend(&asset.bytes[done..]);
            bytes
        };
        self.assets.iter().map(|(url, asset)| (url.clone(), (names[url.as_str()].clone(), rewrite(asset)))).collect()
    }

    /// `js/app.js` becomes `js/app-0123456789.js`. The hash covers everything the file loads, directly or not, so modules that import each
    /// other need no order.
    fn hashed_name(&self, url: &str) -> String {
        let reachable = self.reachable(url, &|_| true);
        let parts: Vec<&[u8]> = reachable.iter().flat_map(|url| [url.as_bytes(), self.assets[*url].bytes.as_slice()]).collect();
        let hash = format!("{:016x}", fnv1a(&parts));
        let (stem, ending) = url.rsplit_once('.').unwrap_or((url, ""));
        format!("{stem}-{}.{ending}", &hash[..10])
    }

    /// `url` and all that it leads to over references that `follow` accepts.
    fn reachable(&self, url: &str, follow: &dyn Fn(&Reference) -> bool) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = self.assets.get_key_value(url).map(|(url, _)| url.as_str()).into_iter().collect();
        while let Some(url) = open.pop() {
            if found.insert(url) {
                let next = self.assets[url].references.iter().filter(|reference| follow(reference));
                open.extend(next.map(|reference| reference.target.as_str()));
            }
        }
        found
    }

    /// The scripts that `index.html` needs before it is complete.
    fn first_load_scripts(&self) -> BTreeSet<&str> {
        let all = self.reachable("index.html", &|reference| reference.load == Load::First && !reference.target.ends_with(".html"));
        all.into_iter().filter(|url| url.ends_with(".js") || url.ends_with(".mjs")).collect()
    }
}

/// Addresses that people, hosts and browsers know by name.
fn keeps_its_name(url: &str) -> bool {
    url.ends_with(".html") || url.ends_with(".webmanifest") || matches!(url, "sw.js" | "favicon.ico" | "robots.txt")
}

fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn save(dir: &Path, files: &BTreeMap<String, (String, Vec<u8>)>) -> Outcome {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(|error| Failure::file("empty", dir, &error))?;
    }
    for (name, bytes) in files.values() {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))?;
        fs::write(&path, bytes).map_err(|error| Failure::file("write", &path, &error))?;
    }
    Ok(())
}

/// Sizes of the written files, in bytes.
struct Sizes {
    /// Name, raw, gzip, whether it is a script of the first load.
    rows: Vec<(String, u64, u64, bool)>,
    wasm_gzip: u64,
    first_load_js_gzip: u64,
}

impl Sizes {
    fn of(graph: &Graph, written: &BTreeMap<String, (String, Vec<u8>)>) -> Outcome<Sizes> {
        let first = graph.first_load_scripts();
        let mut sizes = Sizes { rows: Vec::new(), wasm_gzip: 0, first_load_js_gzip: 0 };
        for (url, (name, bytes)) in written {
            let gzip = gzip_size(bytes)?;
            let is_first = first.contains(url.as_str());
            sizes.rows.push((name.clone(), bytes.len() as u64, gzip, is_first));
            if url.ends_with(".wasm") {
                sizes.wasm_gzip += gzip;
            }
            if is_first {
                sizes.first_load_js_gzip += gzip;
            }
        }
        sizes.rows.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        Ok(sizes)
    }

    fn over(&self, budget: &Budget) -> Option<String> {
        let over = |what: &str, size: u64, limit: u64| (size > limit).then(|| format!("{what}: {size} bytes gzip, the budget is {limit}"));
        let all = [
            over("wasm", self.wasm_gzip, budget.wasm_gzip_bytes),
            over("scripts of the first load", self.first_load_js_gzip, budget.first_load_js_gzip_bytes),
        ];
        let lines: Vec<String> = all.into_iter().flatten().collect();
        (!lines.is_empty()).then(|| format!("over budget: {}", lines.join("; ")))
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:>10} {:>10}  file (* first load script)", "bytes", "gzip")?;
        for (name, raw, gzip, first) in &self.rows {
            writeln!(f, "{raw:>10} {gzip:>10}  {name}{}", if *first { " *" } else { "" })?;
        }
        let (raw, gzip) = self.rows.iter().fold((0, 0), |sum, row| (sum.0 + row.1, sum.1 + row.2));
        writeln!(f, "{raw:>10} {gzip:>10}  all")?;
        write!(f, "{:>10} {:>10}  first load scripts\n{:>10} {:>10}  wasm", "", self.first_load_js_gzip, "", self.wasm_gzip)
    }
}

fn gzip_size(bytes: &[u8]) -> Outcome<u64> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot compress: {error}"), "run again");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).map_err(failed)?;
    Ok(encoder.finish().map_err(failed)?.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Mount;

    fn graph(name: &str, files: &[(&str, &str)]) -> Graph {
        let dir = process::work_dir().join("test-dist").join(name);
        let _ = fs::remove_dir_all(&dir);
        for (path, text) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mounts = [Mount { at: "pkg", dir: dir.join("pkg") }, Mount { at: "", dir: dir.join("www") }];
        Graph::read(&site::files(&mounts).unwrap()).unwrap()
    }

    const SITE: [(&str, &str); 8] = [
        ("www/index.html", "<link href=\"style.css\"><script type=\"module\" src=\"js/app.js\"></script>"),
        ("www/style.css", "a{}"),
        ("www/js/app.js", "import './a.js'; new Worker(new URL('./worker.js', import.meta.url)); () => import('./lazy.js');"),
        ("www/js/a.js", "import './app.js'; export const name = 'a.js';"),
        ("www/js/worker.js", "import x from '../pkg/x.js';"),
        ("www/js/lazy.js", "1"),
        ("pkg/x.js", "new URL('x_bg.wasm', import.meta.url)"),
        ("pkg/x_bg.wasm", "wasm"),
    ];

    fn names(graph: &Graph) -> BTreeMap<String, String> {
        graph.hashed().into_iter().map(|(url, (name, _))| (url, name)).collect()
    }

    #[test]
    fn written_files_name_each_other_by_their_new_names() {
        let graph = graph("names", &SITE);
        let written = graph.hashed();
        assert_eq!(written["index.html"].0, "index.html");
        let files: BTreeSet<&str> = written.values().map(|(name, _)| name.as_str()).collect();
        assert_eq!(files.len(), SITE.len());
        let mut references = 0;
        for (name, bytes) in written.values() {
            for reference in references::find(name, std::str::from_utf8(bytes).unwrap(), &files).unwrap() {
                assert!(reference.target.contains('-'), "{} in {name}", reference.target);
                references += 1;
            }
        }
        assert_eq!(references, 8);
        assert!(String::from_utf8_lossy(&written["js/a.js"].1).ends_with("name = 'a.js';"));
    }

    #[test]
    fn a_change_renames_what_loads_it_and_nothing_else() {
        let before = names(&graph("before", &SITE));
        let mut changed = SITE;
        changed[7].1 = "other";
        let after = names(&graph("after", &changed));
        let renamed: Vec<&str> = before.iter().filter(|(url, name)| after[*url] != **name).map(|(url, _)| url.as_str()).collect();
        assert_eq!(renamed, ["js/a.js", "js/app.js", "js/worker.js", "pkg/x.js", "pkg/x_bg.wasm"]);
    }

    #[test]
    fn first_load_is_what_index_needs_at_once() {
        let graph = graph("first", &SITE);
        assert_eq!(graph.first_load_scripts().into_iter().collect::<Vec<_>>(), ["js/a.js", "js/app.js", "js/worker.js", "pkg/x.js"]);
        let sizes = Sizes::of(&graph, &graph.hashed()).unwrap();
        assert_eq!(sizes.wasm_gzip, 24, "4 stored bytes, 2 of deflate framing and 18 of gzip");
        assert_eq!(sizes.over(&Budget { wasm_gzip_bytes: 24, first_load_js_gzip_bytes: 600 }), None);
        let over = sizes.over(&Budget { wasm_gzip_bytes: 23, first_load_js_gzip_bytes: 10 }).unwrap();
        assert!(over.contains("wasm: 24 bytes") && over.contains("first load"), "{over}");
    }
}
