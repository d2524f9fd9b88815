//! The tools a checkout needs and how each is had on a machine that has only rustup's cargo: found when the version fits, else installed,
//! and said. Everything goes below `target/tools`, but for what belongs to the machine (a Rust target, a browser) or to `www` (its packages).

use crate::manifest::Tools;
use crate::process::{self, Failure, Outcome, Output, ask, find_on_path, say, succeed};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const WASM: &str = "wasm32-unknown-unknown";
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// `target/tools`.
fn home() -> PathBuf {
    process::work_dir().join("tools")
}

/// A command that finds our tools before any other of the same name.
pub fn command(program: &str) -> Command {
    let mut path: Vec<PathBuf> = vec![home().join("bin")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new(program);
    command.env("PATH", std::env::join_paths(path).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default()));
    command
}

/// Rust's standard library for the browser.
pub fn wasm_target() -> Outcome<String> {
    let present = || {
        let sysroot = ask("rustc", &["--print", "sysroot"])?;
        Path::new(&sysroot).join("lib/rustlib").join(WASM).join("lib").is_dir().then_some(())
    };
    if present().is_some() {
        return Ok("present".into());
    }
    say(&format!("  installing it: rustup target add {WASM}"));
    let hint = format!(
        "rustup needs its download host for this: check the network or proxy and run `rustup target add {WASM}`; \
         without rustup, install the {WASM} standard library of your rustc (a package such as rust-std-static-{WASM})"
    );
    succeed(Command::new("rustup").args(["target", "add", WASM]), "rustup-target", Output::Log, INSTALL_LIMIT, &hint)?;
    match present() {
        Some(()) => Ok("installed".into()),
        None => Err(Failure::new(format!("rustup added {WASM} to another toolchain than the `rustc` on PATH"), hint)),
    }
}

/// rustfmt and clippy, which rustup's minimal profile leaves out.
pub fn rust_component(subcommand: &str, component: &str) -> Outcome<String> {
    if ask("cargo", &[subcommand, "--version"]).is_some() {
        return Ok("present".into());
    }
    say(&format!("  installing it: rustup component add {component}"));
    let hint = format!("run `rustup component add {component}`, or install {component} with the package manager that Rust came from");
    succeed(Command::new("rustup").args(["component", "add", component]), "rustup-component", Output::Log, INSTALL_LIMIT, &hint)?;
    Ok("installed".into())
}

pub fn wasm_bindgen(tools: &Tools) -> Outcome<String> {
    // Its own lock file names versions that can no longer be had together, hence not `--locked`.
    cargo_tool("wasm-bindgen-cli", &["wasm-bindgen", "wasm-bindgen-test-runner"], &tools.wasm_bindgen, &[])
}

pub fn wasm_pack(tools: &Tools) -> Outcome<String> {
    cargo_tool("wasm-pack", &["wasm-pack"], &tools.wasm_pack, &["--locked"])
}

/// Programs of one crate in exactly one version: ours, or those on PATH, or built now.
fn cargo_tool(package: &str, programs: &[&str], version: &str, extra: &[&str]) -> Outcome<String> {
    let fits = |program: &Path| ask(program, &["--version"]).is_some_and(|line| line.split_whitespace().any(|word| word == version));
    let ours = |program: &&str| home().join("bin").join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    if programs.iter().map(ours).all(|program| fits(&program)) {
        return Ok(format!("{version} present"));
    }
    let others: Option<Vec<PathBuf>> = programs.iter().map(|program| find_on_path(&[program])).collect();
    if let Some(others) = others.filter(|others| others.iter().all(|program| fits(program))) {
        // A wrong version of ours would hide the right one on PATH.
        for program in programs.iter().map(ours).filter(|program| program.exists()) {
            fs::remove_file(&program).map_err(|error| Failure::file("remove", &program, &error))?;
        }
        return Ok(format!("{version} found, {}", others[0].display()));
    }
    say(&format!("  building {package} {version} from source into target/tools (minutes, once)"));
    let mut install = Command::new("cargo");
    install.args(["install", package, "--version", version, "--force", "--root"]).arg(home()).args(extra);
    // One directory for both tools, so that what they share is compiled once. They run for seconds: quick to build beats quick to run.
    install.env("CARGO_TARGET_DIR", home().join("build"));
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    let hint = format!("check that crates.io can be reached and a C compiler is installed, or put {package} {version} on PATH yourself");
    succeed(&mut install, package, Output::TerminalOrLog, INSTALL_LIMIT, &hint)?;
    match programs.iter().map(ours).find(|program| !fits(program)) {
        None => Ok(format!("{version} installed")),
        Some(program) => Err(Failure::new(format!("{} is not version {version}", program.display()), "remove target/tools and run again")),
    }
}

/// wasm-opt, which needs Node; `None` without it.
pub fn wasm_opt(tools: &Tools) -> Outcome<(Option<PathBuf>, String)> {
    if find_on_path(&["node"]).is_none() || find_on_path(&["npm"]).is_none() {
        let note = "skipped: it needs Node and npm. The page works without it, its wasm is larger and somewhat slower";
        return Ok((None, note.into()));
    }
    npm_tool("binaryen", "bin/wasm-opt", &tools.binaryen).map(|(program, note)| (Some(program), note))
}

/// The minifier. Needs Node.
pub fn esbuild(tools: &Tools) -> Outcome<(PathBuf, String)> {
    node()?;
    npm_tool("esbuild", "bin/esbuild", &tools.esbuild)
}

/// A program of an npm package in exactly one version, to be run by Node. Each has its own directory: npm removes what it does not know.
fn npm_tool(package: &str, program: &str, version: &str) -> Outcome<(PathBuf, String)> {
    let prefix = home().join(package);
    let installed = prefix.join("node_modules").join(package);
    let program = installed.join(program);
    let wanted = format!("\"version\": \"{version}\"");
    let fits = || fs::read_to_string(installed.join("package.json")).is_ok_and(|text| text.contains(&wanted)) && program.is_file();
    if fits() {
        return Ok((program, format!("{package} {version} present")));
    }
    say(&format!("  installing {package} {version} from npm into target/tools"));
    fs::create_dir_all(&prefix).map_err(|error| Failure::file("create", &prefix, &error))?;
    let mut install = Command::new("npm");
    install.args(["install", "--ignore-scripts", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--prefix"]);
    install.arg(&prefix).arg(format!("{package}@{version}"));
    succeed(&mut install, package, Output::Log, INSTALL_LIMIT, "check that the npm registry can be reached")?;
    if fits() {
        return Ok((program, format!("{package} {version} installed")));
    }
    Err(Failure::new(format!("npm installed no {package} {version} in {}", installed.display()), "remove target/tools and run again"))
}

/// Node and npm, for the page's own tests.
pub fn node() -> Outcome<String> {
    const OLDEST: u32 = 20;
    let hint = format!("install Node {OLDEST} or newer with npm (Debian: `apt-get install nodejs npm`, or nodejs.org)");
    let version = ask("node", &["--version"]).ok_or_else(|| Failure::new("Node is not installed", hint.clone()))?;
    let major: u32 = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < OLDEST {
        return Err(Failure::new(format!("Node {version} is too old"), hint));
    }
    if find_on_path(&["npm"]).is_none() {
        return Err(Failure::new("npm is not installed", hint));
    }
    Ok(format!("Node {version}"))
}

/// The packages of `www/package.json`: the type checker and the browser tests.
pub fn www_packages() -> Outcome<String> {
    let www = process::root().join("www");
    let lock = www.join("package-lock.json");
    let stamp = www.join("node_modules/.xtask-lock");
    let wanted = fs::read(&lock).map_err(|error| Failure::file("read", &lock, &error))?;
    if fs::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok("present".into());
    }
    say("  installing www/node_modules: npm ci");
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&www);
    succeed(&mut install, "npm-ci", Output::Log, INSTALL_LIMIT, "check that the npm registry can be reached")?;
    fs::write(&stamp, wanted).map_err(|error| Failure::file("write", &stamp, &error))?;
    Ok("installed".into())
}

/// A browser and the driver of the same version.
pub struct Browser {
    pub browser: PathBuf,
    pub driver: PathBuf,
}

/// Chromium (or Chrome) and ChromeDriver; on a Debian-like machine they are installed when missing.
pub fn browser() -> Outcome<(Browser, String)> {
    let find = || {
        let browser = find_on_path(&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])?;
        Some(Browser { browser, driver: find_on_path(&["chromedriver", "chromium.chromedriver"])? })
    };
    if let Some(found) = find() {
        let note = found.browser.display().to_string();
        return Ok((found, note));
    }
    let hint =
        "install Chromium and ChromeDriver of the same version and put both on PATH (Debian: `apt-get install chromium chromium-driver`)";
    let missing = || Failure::new("no Chromium with ChromeDriver on PATH", hint);
    let apt = find_on_path(&["apt-get"]).ok_or_else(missing)?;
    let mut prefix: Vec<OsString> = Vec::new();
    if ask("id", &["-u"]).as_deref() != Some("0") {
        // Only where it asks no password: this may run unattended.
        if ask("sudo", &["-n", "true"]).is_none() {
            return Err(missing());
        }
        prefix.extend(["sudo", "-n"].map(OsString::from));
    }
    prefix.push(apt.into());
    say("  installing the packages chromium and chromium-driver: apt-get install");
    let run = |arguments: &[&str], log: &str| {
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        succeed(&mut command, log, Output::Log, INSTALL_LIMIT, hint)
    };
    run(&["update", "-q"], "apt-update")?;
    run(&["install", "-q", "-y", "--no-install-recommends", "chromium", "chromium-driver"], "apt-install")?;
    let found = find().ok_or_else(missing)?;
    let note = format!("{} installed", found.browser.display());
    Ok((found, note))
}
