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

const USAGE: &str = "\
cargo xtask play [--port N] [--no-open]   build the page and serve it on 127.0.0.1
cargo xtask test [native|wasm|page]...    run every check, or only the named parts
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
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(usage(&format!("no command `{other}`"))),
    }
}

/// A mistake in the command line itself.
fn usage(what: &str) -> Failure {
    Failure::new(what, format!("usage:\n{USAGE}"))
}
