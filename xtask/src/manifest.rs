//! `wasm-pack.toml`: what is built for the browser, with which tools, and how large it may be.

use crate::process::{Failure, Outcome};
use serde::Deserialize;
use std::fs;
use std::path::Path;

pub const FILE: &str = "wasm-pack.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    pub tools: Tools,
    pub build: Build,
    pub budget: Budget,
    /// The file as it was read: part of what a build depends on.
    #[serde(skip)]
    pub text: String,
}

/// Exact versions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tools {
    pub wasm_bindgen: String,
    pub wasm_pack: String,
    pub binaryen: String,
    pub esbuild: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Build {
    /// Directory of the crate, from the root of the checkout.
    #[serde(rename = "crate")]
    pub crate_dir: String,
    /// wasm-pack's `--target`.
    pub target: String,
    /// Cargo profile.
    pub profile: String,
    /// Where wasm-pack writes, from the root of the checkout.
    pub out_dir: String,
    /// Arguments of wasm-opt.
    pub wasm_opt: Vec<String>,
}

/// Sizes above which `dist` and the tests fail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Budget {
    pub wasm_gzip_bytes: u64,
    pub first_load_js_gzip_bytes: u64,
}

impl Manifest {
    /// Reads `wasm-pack.toml` below `root` and holds it against `Cargo.lock`.
    pub fn read(root: &Path) -> Outcome<Manifest> {
        let path = root.join(FILE);
        let text = fs::read_to_string(&path).map_err(|error| {
            Failure::new(
                format!("cannot read {}: {error}", path.display()),
                format!("restore it (`git checkout {FILE}`): it says what to build for the browser"),
            )
        })?;
        let mut manifest: Manifest = toml::from_str(&text).map_err(|error| {
            Failure::new(format!("{}: {error}", path.display()), "correct the key; xtask/src/manifest.rs lists them all")
        })?;
        manifest.text = text;
        let locked = locked_version(&root.join("Cargo.lock"), "wasm-bindgen")?;
        if manifest.tools.wasm_bindgen != locked {
            return Err(Failure::new(
                format!("{FILE} names wasm-bindgen {}, Cargo.lock has {locked}", manifest.tools.wasm_bindgen),
                format!("set `wasm-bindgen = \"{locked}\"` in {FILE}, or `cargo update -p wasm-bindgen --precise` the other way"),
            ));
        }
        Ok(manifest)
    }
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// The one version of `package` in a lock file.
fn locked_version(lock: &Path, package: &str) -> Outcome<String> {
    let text = fs::read_to_string(lock).map_err(|error| Failure::file("read", lock, &error))?;
    let lock_file: Lock = toml::from_str(&text)
        .map_err(|error| Failure::new(format!("{}: {error}", lock.display()), "restore it with `git checkout Cargo.lock`"))?;
    let versions: Vec<&Package> = lock_file.package.iter().filter(|entry| entry.name == package).collect();
    match versions[..] {
        [one] => Ok(one.version.clone()),
        _ => Err(Failure::new(
            format!("{} has {} versions of {package}, it must have one", lock.display(), versions.len()),
            format!("`cargo tree -i {package}` shows who asks for it"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;
    use std::path::PathBuf;

    /// A directory with a lock file and, if given, a manifest.
    fn checkout(name: &str, locked: &str, manifest: Option<&str>) -> PathBuf {
        let dir = process::work_dir().join("test-manifest").join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("Cargo.lock"), format!("version = 4\n[[package]]\nname = \"wasm-bindgen\"\nversion = \"{locked}\"\n")).unwrap();
        if let Some(text) = manifest {
            fs::write(dir.join(FILE), text).unwrap();
        }
        dir
    }

    fn ours() -> String {
        fs::read_to_string(process::root().join(FILE)).unwrap()
    }

    #[test]
    fn ours_agrees_with_the_lock_file() {
        let manifest = Manifest::read(&process::root()).unwrap();
        assert!(process::root().join(&manifest.build.crate_dir).join("Cargo.toml").is_file());
        assert!(manifest.budget.wasm_gzip_bytes <= 1_000_000 && manifest.budget.first_load_js_gzip_bytes <= 60_000);
        assert!(manifest.text.lines().next().unwrap().contains("cargo xtask"));
    }

    #[test]
    fn without_it_nothing_is_built() {
        let failure = Manifest::read(&checkout("missing", "0.2.130", None)).unwrap_err().to_string();
        assert!(failure.contains("wasm-pack.toml") && failure.contains("git checkout"), "{failure}");
    }

    #[test]
    fn another_wasm_bindgen_than_the_locked_one_is_refused() {
        let failure = Manifest::read(&checkout("differs", "9.9.9", Some(&ours()))).unwrap_err().to_string();
        assert!(failure.contains("Cargo.lock has 9.9.9") && failure.contains("what to do"), "{failure}");
    }

    #[test]
    fn unknown_and_missing_keys_are_errors() {
        let unknown = ours().replace("[budget]", "[budget]\nspeed = 1");
        let failure = Manifest::read(&checkout("unknown", "0.2.130", Some(&unknown))).unwrap_err().to_string();
        assert!(failure.contains("speed"), "{failure}");
        let missing = ours().replace("target = \"web\"", "");
        let failure = Manifest::read(&checkout("short", "0.2.130", Some(&missing))).unwrap_err().to_string();
        assert!(failure.contains("target"), "{failure}");
    }
}
