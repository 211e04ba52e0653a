//! Black-box tests over sockets, with a client so small that every byte on the wire is visible.

mod assertion;
mod data_plane;
mod faults;
mod hosts;
mod identity;
mod messages;
mod operations;
mod running;

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Options, Sim};

const CHAT: &str = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
const HELLO: &str = r#"{"messages":[{"role":"user","content":"hello \"there\""}]}"#;
const STREAM: &str = r#"{"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
const KEY: (&str, &str) = ("api-key", "sim-key");

fn start(options: Options) -> Sim {
    Sim::start(options).unwrap()
}

fn chat_path(deployment: &str) -> String {
    format!("/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21")
}

/// A reply as it stood on the wire.
struct Got {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The chunks of a chunked body.
    chunks: Vec<Vec<u8>>,
    /// Whether the body ended as its framing says.
    complete: bool,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The data of the events of a stream.
    fn events(&self) -> Vec<String> {
        let text = self.text();
        let blocks = text.split("\n\n").filter(|block| !block.is_empty());
        blocks.map(|block| block.strip_prefix("data: ").unwrap().to_owned()).collect()
    }

    fn message(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    fn parse(wire: &[u8]) -> Option<Self> {
        let end = wire.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&wire[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let pair = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.into()));
        let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
        let rest = wire[end + 4..].to_vec();
        let mut got = Self { status, headers, body: rest, chunks: Vec::new(), complete: true };
        if got.header("transfer-encoding") == Some("chunked") {
            got.read_chunks();
        } else if let Some(length) = got.header("content-length") {
            got.complete = length.parse() == Ok(got.body.len());
        }
        Some(got)
    }

    fn read_chunks(&mut self) {
        let mut rest = std::mem::take(&mut self.body);
        self.complete = false;
        while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16);
            let (start, end) = (line + 2, line + 2 + size.unwrap());
            if end == start {
                self.complete = true;
                break;
            }
            if rest.len() < end + 2 {
                break;
            }
            self.chunks.push(rest[start..end].to_vec());
            rest.drain(..end + 2);
        }
        self.body = self.chunks.concat();
    }
}

async fn post(sim: &Sim, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
    call(sim, "POST", path, headers, body).await.expect("a reply")
}

async fn get(sim: &Sim, path: &str, headers: &[(&str, &str)]) -> Got {
    call(sim, "GET", path, headers, "").await.expect("a reply")
}

/// One request on a connection of its own; none if it was closed without a reply.
async fn call(
    sim: &Sim,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Got> {
    let stream = TcpStream::connect(sim.addr()).await.unwrap();
    exchange(stream, method, path, headers, body).await
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Got> {
    stream.write_all(&request(method, path, headers, body, "close")).await.unwrap();
    let mut wire = Vec::new();
    // A reset after a cut reply counts as an end too.
    let _ = stream.read_to_end(&mut wire).await;
    Got::parse(&wire)
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
    connection: &str,
) -> Vec<u8> {
    let lines: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: {connection}\r\n{lines}\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A vector of the Azure facts by its file name without `.json`.
fn vector(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/vectors/azure");
    let text = std::fs::read(folder.join(name).with_extension("json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A value with its leaves replaced by their types: two replies of one shape are equal.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(n, v)| (n.clone(), shape(v))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            members.into_iter().collect()
        }
    }
}
