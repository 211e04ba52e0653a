//! Both ends of a stream, moved by hand: a client that reads piece by piece, an upstream that
//! writes piece by piece, and a log that can be waited for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};

use super::http::{Message, Reader};

/// Nothing here takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen soon.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, event).await;
    waited.unwrap_or_else(|_| panic!("it did not happen within {PATIENCE:?}: {what}"))
}

/// A client that has sent a request and reads the answer piece by piece.
pub struct Client {
    reader: Reader,
    text: String,
}

impl Client {
    /// Sends a POST of JSON.
    pub async fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut reader = Reader::new(stream);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: gw.test\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        reader.stream.write_all(request.as_bytes()).await.unwrap();
        Self { reader, text: String::new() }
    }

    /// The head of the answer.
    pub async fn head(&mut self) -> Message {
        soon("the head of the answer", self.reader.head()).await.expect("the gateway closed")
    }

    /// The next whole event, without its blank line; `None` at the proper end of the body.
    pub async fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            match soon("the next event", self.reader.chunk()).await {
                None => {
                    return Some(std::mem::take(&mut self.text)).filter(|rest| !rest.is_empty());
                }
                Some(Ok(chunk)) => self.text += std::str::from_utf8(&chunk).unwrap(),
                Some(Err(())) => panic!("the body was cut; so far: {}", self.text),
            }
        }
    }

    /// All events to the end of the body.
    pub async fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }
}

/// An upstream whose every write is the test's.
pub struct Upstream {
    listener: TcpListener,
}

impl Upstream {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// The next request, once it has been read to its end.
    pub async fn request(&self) -> Answering {
        let (stream, _) = soon("a connection", self.listener.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut reader = Reader::new(stream);
        soon("a request", reader.message(false)).await.unwrap();
        Answering { reader }
    }
}

/// A request that the upstream is answering.
pub struct Answering {
    reader: Reader,
}

impl Answering {
    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.reader.stream.write_all(bytes).await.unwrap();
    }

    /// Begins a stream of events.
    pub async fn begin(&mut self) {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
            transfer-encoding: chunked\r\n\r\n";
        self.write(head).await;
    }

    /// Sends one event in a chunk of its own.
    pub async fn event(&mut self, data: &str) {
        let event = format!("data: {data}\n\n");
        self.write(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await;
    }

    /// Ends the body.
    pub async fn end(&mut self) {
        self.write(b"0\r\n\r\n").await;
    }

    /// Waits until the gateway lets go of the connection.
    pub async fn abandoned(&mut self) {
        let mut rest = [0; 64];
        let read = soon("the end of the connection", self.reader.stream.read(&mut rest)).await;
        assert!(matches!(read, Ok(0) | Err(_)), "the gateway sent more: {rest:?}");
    }
}

/// What file-log writes, as it writes it.
pub struct LogPipe {
    path: PathBuf,
    lines: Lines<BufReader<pipe::Receiver>>,
    _folder: tempfile::TempDir,
}

impl LogPipe {
    pub fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        // Its own writing end keeps the pipe open between two writers.
        let receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        Self { path, lines: BufReader::new(receiver).lines(), _folder: folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The plugin that writes here.
    pub fn plugin(&self) -> String {
        format!("{{name: file-log, config: {{path: \"{}\"}}}}", self.path.display())
    }

    /// The next record.
    pub async fn record(&mut self) -> Value {
        let line = soon("a log record", self.lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
