//! The site as files: the wasm package is built here, and it is decided here which files of `www` a visitor may fetch.

use crate::manifest::Manifest;
use crate::process::{self, Failure, Outcome, Output, seconds, step, succeed};
use crate::toolchain;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Directories and files of `www` that are about the page, not part of it.
const NOT_PUBLISHED: [&str; 6] = ["wasm", "e2e", "node_modules", "package.json", "package-lock.json", "tsconfig.json"];
const NOT_PUBLISHED_ENDINGS: [&str; 5] = [".d.ts", ".test.js", ".test.mjs", ".md", ".map"];

/// Whether the file at `path`, relative to `www` or to the wasm package, belongs to the site.
pub fn is_published(path: &Path) -> bool {
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
    let first = parts.next().unwrap_or_default();
    !NOT_PUBLISHED.contains(&&*first)
        && !NOT_PUBLISHED_ENDINGS.iter().any(|ending| name.ends_with(ending))
        && !path.iter().any(|part| part.to_string_lossy().starts_with('.'))
}

/// What a URL path means: `/pkg/…` is the wasm package, everything else `www`.
pub struct Mount {
    /// `""` or `"pkg"`.
    pub at: &'static str,
    pub dir: PathBuf,
}

pub fn mounts(manifest: &Manifest) -> Vec<Mount> {
    let root = process::root();
    vec![Mount { at: "pkg", dir: root.join(&manifest.build.out_dir) }, Mount { at: "", dir: root.join("www") }]
}

/// Every published file with its URL path (no leading slash), sorted.
pub fn files(mounts: &[Mount]) -> Outcome<Vec<(String, PathBuf)>> {
    fn walk(dir: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Outcome {
        let entries = fs::read_dir(dir).map_err(|error| Failure::file("list", dir, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Failure::file("list", dir, &error))?;
            let relative = below.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| Failure::file("read", &entry.path(), &error))?;
            if !is_published(&relative) {
                continue;
            }
            if kind.is_dir() {
                walk(&entry.path(), &relative, found)?;
            } else {
                found.push(relative);
            }
        }
        Ok(())
    }
    let mut all = Vec::new();
    for mount in mounts {
        let mut found = Vec::new();
        walk(&mount.dir, Path::new(""), &mut found)?;
        for file in found {
            let parts: Vec<String> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let inside = parts.join("/");
            let url = if mount.at.is_empty() { inside } else { format!("{}/{inside}", mount.at) };
            all.push((url, mount.dir.join(file)));
        }
    }
    all.sort();
    Ok(all)
}

/// Gets the tools and builds the wasm package. What is already there and unchanged is not done again.
pub fn build(manifest: &Manifest) -> Outcome {
    step("Rust target wasm32-unknown-unknown", || toolchain::wasm_target().map(|note| ((), note)))?;
    step("wasm-bindgen", || toolchain::wasm_bindgen(&manifest.tools).map(|note| ((), note)))?;
    step("wasm-pack", || toolchain::wasm_pack(&manifest.tools).map(|note| ((), note)))?;
    let wasm_opt = step("wasm-opt", || toolchain::wasm_opt(&manifest.tools))?;
    step("wasm package", || package(manifest, wasm_opt.as_deref()).map(|note| ((), note)))
}

/// Compiles, binds, optimises. Returns a few words on what was done.
fn package(manifest: &Manifest, wasm_opt: Option<&Path>) -> Outcome<String> {
    let root = process::root();
    let build = &manifest.build;
    let crate_dir = root.join(&build.crate_dir);
    let hint = "correct the error above; `cargo check -p llmperforacle-wasm --target wasm32-unknown-unknown` shows it alone";
    let start = Instant::now();
    // The same command wasm-pack will give, so that its own is then a matter of milliseconds: cargo decides whether anything changed.
    let mut cargo = toolchain::command("cargo");
    cargo.current_dir(&crate_dir).args(["build", "--lib", "--profile", &build.profile]).env("CARGO_BUILD_TARGET", toolchain::WASM);
    succeed(&mut cargo, "wasm-cargo", Output::TerminalOrLog, BUILD_LIMIT, hint)?;
    let compiled_in = start.elapsed();

    let name = crate_name(&crate_dir)?.replace('-', "_");
    let profile_dir = if build.profile == "dev" { "debug" } else { &build.profile };
    let compiled = process::cargo_target_dir().join(toolchain::WASM).join(profile_dir).join(format!("{name}.wasm"));
    let module = fs::read(&compiled).map_err(|error| Failure::file("read", &compiled, &error))?;
    let state = format!("{:016x}\nwasm-opt: {}\n{}", fnv1a(&[&module]), wasm_opt.is_some(), manifest.text);
    let out_dir = root.join(&build.out_dir);
    let stamp = out_dir.with_extension("stamp");
    let bound = out_dir.join(format!("{name}_bg.wasm"));
    if fs::read_to_string(&stamp).is_ok_and(|have| have == state) && bound.is_file() && out_dir.join(format!("{name}.js")).is_file() {
        return Ok("unchanged".into());
    }

    remove(&stamp)?;
    if out_dir.exists() {
        fs::remove_dir_all(&out_dir).map_err(|error| Failure::file("empty", &out_dir, &error))?;
    }
    let mut pack = toolchain::command("wasm-pack");
    pack.current_dir(&root).args(["build", &build.crate_dir, "--mode", "no-install", "--no-opt", "--no-pack", "--target", &build.target]);
    pack.args(["--profile", &build.profile]).arg("--out-dir").arg(&out_dir);
    succeed(&mut pack, "wasm-pack-build", Output::Log, BUILD_LIMIT, "remove target/tools and run again to get its tools anew")?;
    let raw = size(&bound)?;
    let optimised = match wasm_opt {
        None => "not optimised".to_string(),
        Some(program) => {
            let start = Instant::now();
            let smaller = out_dir.join("optimised.wasm");
            let mut opt = toolchain::command("node");
            opt.arg(program).arg(&bound).arg("-o").arg(&smaller).args(&build.wasm_opt);
            succeed(&mut opt, "wasm-opt", Output::Log, BUILD_LIMIT, "check `wasm-opt` in wasm-pack.toml against the message above")?;
            fs::rename(&smaller, &bound).map_err(|error| Failure::file("replace", &bound, &error))?;
            format!("optimised to {} KB in {}", size(&bound)? / 1000, seconds(start.elapsed()))
        }
    };
    fs::write(&stamp, state).map_err(|error| Failure::file("write", &stamp, &error))?;
    Ok(format!("compiled in {}, {} KB, {optimised}", seconds(compiled_in), raw / 1000))
}

fn crate_name(dir: &Path) -> Outcome<String> {
    #[derive(serde::Deserialize)]
    struct CrateFile {
        package: Package,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        name: String,
    }
    let path = dir.join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
    let parsed: CrateFile = toml::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display()), "correct it"))?;
    Ok(parsed.package.name)
}

fn size(path: &Path) -> Outcome<u64> {
    fs::metadata(path).map(|data| data.len()).map_err(|error| Failure::file("read", path, &error))
}

fn remove(path: &Path) -> Outcome {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::file("remove", path, &error)),
        _ => Ok(()),
    }
}

/// FNV-1a, 64 bits: names contents, guards against nothing.
pub fn fnv1a(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_site_is_published() {
        for yes in ["index.html", "style.css", "js/app.js", "js/wasm/x.js", "lessons/one.json", "llmperforacle_wasm_bg.wasm"] {
            assert!(is_published(Path::new(yes)), "{yes}");
        }
        for no in
            ["wasm/src/lib.rs", "e2e/a.mjs", "node_modules/x/y.js", "package.json", "js/link.test.js", "x.d.ts", ".npmrc", "js/.env", ""]
        {
            assert!(!is_published(Path::new(no)), "{no}");
        }
    }

    #[test]
    fn fnv1a_gives_its_published_values() {
        assert_eq!(fnv1a(&[b""]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(&[b"foo", b"bar"]), 0x8594_4171_f739_67e8);
    }
}
