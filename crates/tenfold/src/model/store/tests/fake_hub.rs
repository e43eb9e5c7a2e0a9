//! A Hub on this machine, as far as hf-hub asks it anything.

use super::{WEIGHTS, model, sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How the fake Hub misbehaves.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Good,
    /// Takes connections and never answers.
    Silent,
    /// Breaks off the weights after this many bytes.
    Breaks(usize),
    /// Sends other weights than it lists.
    Lies,
    /// Answers with a redirect that leads nowhere.
    Nonsense,
}

/// A Hub on this machine that has one model, "owner/tiny", and answers the few requests that hf-hub makes.
pub(super) struct Hub {
    pub(super) endpoint: String,
    pub(super) mood: Arc<Mutex<Mood>>,
    /// The requests so far: first line and what the Range and Authorization headers said.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    pub(super) fn start(mood: Mood) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (mood, requests) = (Arc::new(Mutex::new(mood)), Arc::new(Mutex::new(Vec::new())));
        let (moods, log) = (mood.clone(), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mood, log) = (*moods.lock().unwrap(), log.clone());
                thread::spawn(move || answer(stream, mood, &log));
            }
        });
        Hub { endpoint, mood, requests }
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, mood: Mood, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let headers: BTreeMap<String, String> = lines
        .map_while(|line| {
            line.ok()?.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned()))
        })
        .collect();
    let header = |key: &str| headers.get(key).cloned().unwrap_or_default();
    let (range, token) = (header("range"), header("authorization"));
    log.lock().unwrap().push(format!("{request} {range} {token}"));
    if mood == Mood::Silent {
        thread::sleep(Duration::from_secs(20));
        return;
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let response = match path.strip_prefix("/owner/tiny/resolve/main/") {
        Some(name) => file(name, &range, mood),
        None if path.starts_with("/api/models/owner/tiny/revision/main") => whole("200 OK", &listing()),
        None => whole("404 Not Found", b"{}"),
    };
    // The other side may have gone away by then.
    let _ = stream.write_all(&response);
}

fn listing() -> Vec<u8> {
    let files = model().into_iter().chain([("README.md", &b"read me"[..])]);
    let siblings: Vec<serde_json::Value> = files
        .map(|(name, content)| match name {
            WEIGHTS => serde_json::json!({"rfilename": name, "size": content.len(), "lfs": {"sha256": sha256(content)}}),
            _ => serde_json::json!({"rfilename": name, "size": content.len()}),
        })
        .collect();
    serde_json::json!({"siblings": siblings, "sha": "c0ffee"}).to_string().into_bytes()
}

fn whole(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn file(name: &str, range: &str, mood: Mood) -> Vec<u8> {
    let Some((_, content)) = model().into_iter().find(|(known, _)| *known == name) else {
        return whole("404 Not Found", b"");
    };
    if mood == Mood::Nonsense {
        return b"HTTP/1.1 302 Found\r\netag: x\r\nx-repo-commit: c0ffee\r\ncontent-length: 0\r\n\r\n"
            .to_vec();
    }
    let mut content = content.to_vec();
    let etag = if name == WEIGHTS { sha256(&content) } else { format!("etag-of-{name}") };
    if mood == Mood::Lies && name == WEIGHTS {
        content[0] ^= 1;
    }
    let size = content.len();
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
    let from = from.parse().unwrap_or(0).min(size);
    let to = to.parse::<usize>().map_or(size, |last| last + 1);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\netag: \"{etag}\"\r\nx-repo-commit: c0ffee\r\n\
         content-range: bytes {from}-{}/{size}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        to.saturating_sub(1),
        to - from
    );
    let broken = match mood {
        Mood::Breaks(after) if name == WEIGHTS && to == size => (from + after).min(size),
        _ => to,
    };
    [head.as_bytes(), &content[from..broken]].concat()
}
