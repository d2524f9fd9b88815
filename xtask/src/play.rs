//! `cargo xtask play`: from a checkout to the page in a browser.

use crate::manifest::Manifest;
use crate::process::{self, Failure, Outcome, find_on_path, say, seconds};
use crate::{server, site, usage};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

const FIRST_PORT: u16 = 8080;

#[derive(Debug, PartialEq)]
pub struct Options {
    /// `None`: the first free one from 8080 on.
    port: Option<u16>,
    open: bool,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Outcome<Options> {
        let mut options = Options { port: None, open: true };
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            match argument.split_once('=').unwrap_or((argument, "")) {
                ("--no-open", "") => options.open = false,
                ("--port", value) => {
                    let value = if argument.contains('=') { value } else { rest.next().unwrap_or("") };
                    options.port = Some(value.parse().map_err(|_| usage(&format!("--port takes a number up to 65535, got `{value}`")))?);
                }
                _ => return Err(usage(&format!("play does not know `{argument}`"))),
            }
        }
        Ok(options)
    }
}

pub fn run(options: Options) -> Outcome {
    let start = Instant::now();
    let manifest = Manifest::read(&process::root())?;
    // Before minutes of building, not after them.
    let listener = listen(options.port)?;
    site::build(&manifest)?;
    let running = server::serve(site::mounts(&manifest), listener)?;
    say(&format!("\nReady in {}: {}   (Ctrl-C ends it)", seconds(start.elapsed()), running.url));
    if options.open {
        open(&running.url);
    }
    loop {
        std::thread::park();
    }
}

fn listen(port: Option<u16>) -> Outcome<TcpListener> {
    match port {
        Some(port) => server::bind(port)
            .map_err(|error| Failure::new(format!("port {port}: {error}"), "name another with --port, or none to take a free one")),
        None => (FIRST_PORT..FIRST_PORT + 20)
            .find_map(|port| server::bind(port).ok())
            .ok_or_else(|| Failure::new(format!("no free port from {FIRST_PORT} on"), "name one with --port; --port 0 takes any")),
    }
}

/// Opens a browser where someone can see it.
fn open(url: &str) {
    let opener: &[&str] = match std::env::consts::OS {
        "macos" => &["open"],
        "windows" => &["cmd", "/c", "start"],
        _ if std::env::var_os("DISPLAY").is_none() && std::env::var_os("WAYLAND_DISPLAY").is_none() => {
            return say("There is no display here: open the address yourself.");
        }
        _ => &["xdg-open"],
    };
    let started = find_on_path(&opener[..1]).is_some_and(|program| {
        let mut command = Command::new(program);
        command.args(&opener[1..]).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
    });
    if !started {
        say(&format!("Cannot start a browser ({} is missing): open the address yourself.", opener[0]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Outcome<Options> {
        Options::parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        assert_eq!(parse("").unwrap(), Options { port: None, open: true });
        assert_eq!(parse("--port 9000 --no-open").unwrap(), Options { port: Some(9000), open: false });
        assert_eq!(parse("--port=0").unwrap(), Options { port: Some(0), open: true });
        for wrong in ["--port", "--port x", "--port 70000", "--open", "8080", "--no-open=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_taken_port_is_an_error_when_asked_for() {
        let taken = server::bind(0).unwrap();
        let failure = listen(Some(taken.local_addr().unwrap().port())).unwrap_err().to_string();
        assert!(failure.contains("--port"), "{failure}");
    }
}
