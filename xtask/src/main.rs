//! `cargo xtask`: what takes a checkout to a running page, a test verdict or a site to upload.
//!
//! This crate starts tools and serves files. Nothing of the simulator belongs here, and it depends on no other crate of the workspace,
//! so that it builds in seconds and still works when they do not compile.

mod dist;
mod manifest;
mod play;
mod process;
mod references;
mod server;
mod site;
mod test;
mod toolchain;

use process::{Failure, Outcome};
use std::process::ExitCode;
use std::time::Duration;

/// Time to compile the library and its test, at most.
const CALIBRATION_LIMIT: Duration = Duration::from_secs(3600);

const USAGE: &str = "\
cargo xtask play [--port N] [--no-open]   build the page and serve it on 127.0.0.1
cargo xtask test [native|wasm|page]...    run every check, or only the named parts
cargo xtask calibration                   write configs/calibration/*.json and their tables in docs/ from kernel-fits.json
cargo xtask dist                          write the static site, with hashed names, to dist/
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Outcome<ExitCode> {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments),
    };
    if rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    match command {
        "play" => play::run(play::Options::parse(rest)?).map(|()| ExitCode::SUCCESS),
        "test" => test::run(&test::Part::parse(rest)?),
        "dist" if rest.is_empty() => dist::run().map(|()| ExitCode::SUCCESS),
        "dist" => Err(usage(&format!("dist takes no arguments, got `{}`", rest.join(" ")))),
        "calibration" if rest.is_empty() => calibration(),
        "calibration" => Err(usage(&format!("calibration takes no arguments, got `{}`", rest.join(" ")))),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(usage(&format!("no command `{other}`"))),
    }
}

/// Has the test that checks the generated files write them: what they are made of is the simulator's, not this crate's.
fn calibration() -> Outcome<ExitCode> {
    let mut command = toolchain::command("cargo");
    command
        .args(["test", "--quiet", "--test", "calibration_fits", "--test", "calibration_generalises", "--", "the_files", "the_documents"])
        .env("UPDATE_CALIBRATION", "1")
        .current_dir(process::root());
    let hint = "the log says which constant no fit has";
    process::succeed(&mut command, "calibration", process::Output::Log, CALIBRATION_LIMIT, hint).map(|_| ExitCode::SUCCESS)
}

/// A mistake in the command line itself.
fn usage(what: &str) -> Failure {
    Failure::new(what, format!("usage:\n{USAGE}"))
}
