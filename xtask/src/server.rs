//! A static file server on the loopback address, for a person's browser and for the tests.
//!
//! A browser opens six connections at once, keeps them, and opens some it may never use: each has a thread of its own here, so none waits for
//! another. Requests that carry a body are refused.

use crate::process::{Failure, Outcome};
use crate::site::{Mount, is_published};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bytes a request's line and headers may have.
const LONGEST_HEAD: u64 = 64 * 1024;
/// How long a silent connection is kept, and how long a stuck one is written to.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let address = listener.local_addr().map_err(|error| Failure::new(format!("cannot serve: {error}"), "try another --port"))?;
    let mounts = Arc::new(mounts);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mounts = Arc::clone(&mounts);
            // An error ends this connection only, and the browser that had it has gone.
            std::thread::spawn(move || converse(&stream, &mounts));
        }
    });
    Ok(Running { url: format!("http://{address}/") })
}

/// Answers the requests of one connection until either side ends it.
fn converse(stream: &TcpStream, mounts: &[Mount]) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Head::read(&mut reader)? {
        let mut writer = stream;
        let answer = request.answer(mounts);
        writer.write_all(&answer.bytes)?;
        if answer.closes {
            return Ok(());
        }
    }
    Ok(())
}

/// What matters of a request's head.
struct Head {
    method: String,
    target: String,
    closes: bool,
    has_body: bool,
}

struct Answer {
    bytes: Vec<u8>,
    closes: bool,
}

impl Head {
    /// The next request; `None` at the end of the connection.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut limited = reader.take(LONGEST_HEAD);
        let mut line = String::new();
        if limited.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut words = line.split_whitespace();
        let (method, target, version) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
        let mut head = Head { method: method.into(), target: target.into(), closes: version == "HTTP/1.0", has_body: false };
        loop {
            let mut line = String::new();
            limited.read_line(&mut line)?;
            if !line.ends_with('\n') {
                return Err(bad());
            }
            let Some((name, value)) = line.split_once(':') else { return Ok(Some(head)) };
            match name.trim().to_ascii_lowercase().as_str() {
                "connection" => head.closes |= value.trim().eq_ignore_ascii_case("close"),
                "content-length" => head.has_body |= value.trim() != "0",
                "transfer-encoding" => head.has_body = true,
                _ => {}
            }
        }
    }

    fn answer(&self, mounts: &[Mount]) -> Answer {
        let readable = matches!(self.method.as_str(), "GET" | "HEAD") && !self.has_body;
        let file = || resolve(&self.target, mounts).and_then(|(file, kind)| Some((fs::read(file).ok()?, kind)));
        let (status, kind, body) = match (readable, readable.then(file).flatten()) {
            (true, Some((body, kind))) => ("200 OK", kind, body),
            (true, None) => ("404 Not Found", "text/plain; charset=utf-8", b"not found".to_vec()),
            (false, _) => ("405 Method Not Allowed", "text/plain; charset=utf-8", b"only GET and HEAD, without a body".to_vec()),
        };
        // A body that is not read would be taken for the next request.
        let closes = self.closes || self.has_body;
        let connection = if closes { "close" } else { "keep-alive" };
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-cache\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: {connection}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if self.method != "HEAD" {
            bytes.extend(body);
        }
        Answer { bytes, closes }
    }
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
    fn idle_connections_hold_nobody_up() {
        let running = serve(site("idle"), bind(0).unwrap()).unwrap();
        let address = running.url.trim_start_matches("http://").trim_end_matches('/').to_string();
        let idle: Vec<TcpStream> = (0..32).map(|_| TcpStream::connect(&address).unwrap()).collect();
        let mut kept = TcpStream::connect(&address).unwrap();
        for _ in 0..3 {
            write!(kept, "GET /pkg/x_bg.wasm HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut reader = BufReader::new(&kept);
            let mut line = String::new();
            while !line.ends_with("\r\n\r\n") {
                reader.read_line(&mut line).unwrap();
            }
            let mut body = [0; 4];
            reader.read_exact(&mut body).unwrap();
            assert_eq!((&line[..12], &body), ("HTTP/1.1 200", b"\0asm"));
        }
        assert_eq!(idle.len(), 32);
    }

    #[test]
    fn heads_that_are_no_heads_end_the_connection() {
        let read = |text: &[u8]| Head::read(&mut &text[..]);
        assert!(read(b"").unwrap().is_none());
        assert!(read(b"GET /\r\n\r\n").is_err());
        assert!(read(b"GET / HTTP/1.1\r\nHost: x\r\n").is_err());
        let endless = [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(20_000)].concat();
        assert!(read(&endless).is_err());
        let head = read(b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").unwrap().unwrap();
        assert!(head.has_body && head.answer(&[]).closes);
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
