//! A client that shows every byte, and an upstream that says what it is told to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One message as it was on the wire.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The first line.
    pub first: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The chunks of a chunked body.
    pub chunks: Vec<Vec<u8>>,
    /// The body ended as its framing promised.
    pub complete: bool,
}

impl Message {
    /// The first value of a header, by any case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// Reads messages from a stream.
pub struct Reader<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    async fn fill(&mut self) -> bool {
        self.stream.read_buf(&mut self.buffer).await.is_ok_and(|n| n > 0)
    }

    /// Bytes up to and with `end`; `None` when the peer closed before.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next bytes; `false` when the peer closed before all of them were there.
    pub async fn exactly(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < length {
            if !self.fill().await {
                return (std::mem::take(&mut self.buffer), false);
            }
        }
        (self.buffer.drain(..length).collect(), true)
    }

    /// A head without its body.
    pub async fn head(&mut self) -> Option<Message> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next()?.to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Some(Message { first, headers: headers.collect(), ..Message::default() })
    }

    /// One more chunk of a chunked body; `None` at its end.
    pub async fn chunk(&mut self) -> Option<Result<Vec<u8>, ()>> {
        let Some(line) = self.until(b"\r\n").await else { return Some(Err(())) };
        let size = String::from_utf8_lossy(&line).trim().to_owned();
        let Ok(size) = usize::from_str_radix(&size, 16) else { return Some(Err(())) };
        if size == 0 {
            self.until(b"\r\n").await;
            return None;
        }
        let (data, whole) = self.exactly(size + 2).await;
        Some(if whole { Ok(data[..size].to_vec()) } else { Err(()) })
    }

    /// A whole message. `bodiless`: a response to HEAD.
    pub async fn message(&mut self, bodiless: bool) -> Option<Message> {
        let mut message = self.head().await?;
        while message.first.starts_with("HTTP/1.1 1") {
            message = self.head().await?;
        }
        let is_response = message.first.starts_with("HTTP/");
        let empty = bodiless || matches!(message.status(), 204 | 304) && is_response;
        if empty {
            message.complete = true;
        } else if message.header("transfer-encoding").is_some() {
            message.complete = loop {
                match self.chunk().await {
                    None => break true,
                    Some(Err(())) => break false,
                    Some(Ok(chunk)) => {
                        message.body.extend_from_slice(&chunk);
                        message.chunks.push(chunk);
                    }
                }
            };
        } else if let Some(length) = message.header("content-length") {
            let length = length.parse().unwrap();
            (message.body, message.complete) = self.exactly(length).await;
        } else if is_response {
            while self.fill().await {}
            message.body = std::mem::take(&mut self.buffer);
            message.complete = true;
        } else {
            message.complete = true;
        }
        Some(message)
    }
}

/// Sends raw bytes and reads one response.
pub async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> Option<Message> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut reader = Reader::new(stream);
    reader.stream.write_all(bytes).await.unwrap();
    reader.message(bytes.starts_with(b"HEAD ")).await
}

/// Sends a request on a connection of its own and reads the response.
pub async fn send(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Message {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        bytes.extend_from_slice(b"Host: gw.test\r\n");
    }
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    raw(address, &bytes).await.expect("the gateway closed without an answer")
}

/// An upstream that answers every request with the same bytes and keeps what it got.
#[derive(Clone)]
pub struct Upstream {
    pub address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    /// Starts one that sends `reply` after each request.
    pub async fn replying(reply: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let kept = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let mut reader = Reader::new(stream);
                    while let Some(message) = reader.message(false).await {
                        kept.lock().unwrap().push(message);
                        if reader.stream.write_all(reply).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// What it got, oldest first.
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }
}

/// A port that refuses connections. It is held, since a port that is merely free may be taken by
/// another test while the gateway tries again.
pub fn closed_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}
