//! A static file server on the loopback address, for a person's browser and for the tests.

use crate::process::{Failure, Outcome};
use crate::site::{Mount, is_published};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

const THREADS: usize = 4;

/// Content type by file name ending. A file of any other kind is not served: a browser would guess, and a strict host would not.
const TYPES: [(&str, &str); 14] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("webmanifest", "application/manifest+json"),
    ("wasm", "application/wasm"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
    ("csv", "text/csv; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
];

pub fn content_type(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?;
    TYPES.iter().find(|(name, _)| *name == ending).map(|(_, kind)| *kind)
}

/// A server that answers until the program ends.
pub struct Running {
    pub url: String,
}

/// Binds `port` of 127.0.0.1 (0: any free one).
pub fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}

/// Serves `mounts` from `listener` on threads of its own.
pub fn serve(mounts: Vec<Mount>, listener: TcpListener) -> Outcome<Running> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("cannot serve: {error}"), "try another --port");
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    let server = Arc::new(Server::from_listener(listener, None).map_err(|error| failed(&error))?);
    let mounts = Arc::new(mounts);
    for _ in 0..THREADS {
        let (server, mounts) = (Arc::clone(&server), Arc::clone(&mounts));
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                answer(request, &mounts);
            }
        });
    }
    Ok(Running { url: format!("http://{address}/") })
}

fn answer(request: Request, mounts: &[Mount]) {
    let plain = |status: u16, text: &str| Response::from_string(text).with_status_code(StatusCode(status)).boxed();
    let response = if !matches!(request.method(), Method::Get | Method::Head) {
        plain(405, "only GET and HEAD")
    } else {
        match resolve(request.url(), mounts).and_then(|(file, kind)| Some((File::open(file).ok()?, kind))) {
            None => plain(404, "not found"),
            Some((file, kind)) => {
                let headers = [("Content-Type", kind), ("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff")];
                headers
                    .iter()
                    .filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok())
                    .fold(Response::from_file(file), Response::with_header)
                    .boxed()
            }
        }
    };
    // The browser may have gone away; there is no one to tell.
    let _ = request.respond(response);
}

/// The published file a request target names, and its content type. Nothing outside the mounts is ever named.
fn resolve(target: &str, mounts: &[Mount]) -> Option<(PathBuf, &'static str)> {
    let path = target.split(['?', '#']).next()?;
    let path = percent_decode(path.strip_prefix('/')?)?;
    let path = if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path };
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', ':']);
    if !path.split('/').all(plain) {
        return None;
    }
    let (mount, inside) = mounts.iter().find_map(|mount| {
        let inside = if mount.at.is_empty() { Some(path.as_str()) } else { path.strip_prefix(mount.at)?.strip_prefix('/') };
        Some((mount, inside?))
    })?;
    let relative = Path::new(inside);
    if !is_published(relative) {
        return None;
    }
    let kind = content_type(relative)?;
    // A symbolic link may not lead out of the directory either.
    let base = fs::canonicalize(&mount.dir).ok()?;
    let file = fs::canonicalize(mount.dir.join(relative)).ok()?;
    (file.starts_with(base) && file.is_file()).then_some((file, kind))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// A site in `NAME/site` with a secret beside it.
    fn site(name: &str) -> Vec<Mount> {
        let dir = process::work_dir().join("test-server").join(name);
        let _ = fs::remove_dir_all(&dir);
        for (path, text) in [
            ("secret.txt", "secret"),
            ("site/index.html", "<p>home"),
            ("site/js/a b.js", "1"),
            ("site/package.json", "{}"),
            ("site/notes.rs", "x"),
            ("pkg/x_bg.wasm", "\0asm"),
        ] {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.join("secret.txt"), dir.join("site/link.txt")).unwrap();
        vec![Mount { at: "pkg", dir: dir.join("pkg") }, Mount { at: "", dir: dir.join("site") }]
    }

    fn get(url: &str, request: &str) -> String {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/')).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn files_come_with_their_type_and_are_not_cached() {
        let running = serve(site("types"), bind(0).unwrap()).unwrap();
        let home = get(&running.url, "GET /?x=1");
        assert!(home.starts_with("HTTP/1.1 200") && home.ends_with("<p>home"), "{home}");
        assert!(home.contains("text/html; charset=utf-8") && home.contains("Cache-Control: no-cache"), "{home}");
        assert!(get(&running.url, "GET /pkg/x_bg.wasm").contains("Content-Type: application/wasm\r\n"));
        assert!(get(&running.url, "GET /js/a%20b.js").contains("text/javascript"));
        let head = get(&running.url, "HEAD /index.html");
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("<p>home"), "{head}");
        assert!(get(&running.url, "POST /").starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn nothing_outside_the_site_is_served() {
        let running = serve(site("outside"), bind(0).unwrap()).unwrap();
        let paths = [
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/js/../../secret.txt",
            "/js/..%2f..%2fsecret.txt",
            "/..%5csecret.txt",
            "//secret.txt",
            "/pkg/../secret.txt",
            "/link.txt",
            "/package.json",
            "/notes.rs",
            "/js/",
            "/js",
            "/%ff",
            "/%",
            "/pkgx_bg.wasm",
        ];
        for path in paths {
            let answer = get(&running.url, &format!("GET {path}"));
            assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("secret"), "{path}: {answer}");
        }
    }
}
