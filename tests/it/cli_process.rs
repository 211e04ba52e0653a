//! The binary as its users start it: arguments, variables, signals, and all that it prints.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::stream_ends::{PATIENCE, soon};

/// A process that runs, and its output line by line; it is killed when it is dropped.
pub struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    seen: String,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status; none after a signal.
    pub code: Option<i32>,
    /// Both outputs, in order of arrival; lines of stderr begin with `! `.
    pub output: String,
}

impl Ended {
    /// The lines of stderr.
    pub fn errors(&self) -> Vec<&str> {
        self.output.lines().filter_map(|line| line.strip_prefix("! ")).collect()
    }
}

/// What to start.
pub struct Start<'a> {
    arguments: Vec<&'a str>,
    env: Vec<(&'a str, String)>,
    folder: Option<&'a Path>,
}

/// `silverback` with these arguments and no variables at all.
pub fn silverback<'a>(arguments: &[&'a str]) -> Start<'a> {
    Start { arguments: arguments.to_vec(), env: Vec::new(), folder: None }
}

impl<'a> Start<'a> {
    pub fn env(mut self, name: &'a str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// The folder it is started in.
    pub fn folder(mut self, folder: &'a Path) -> Self {
        self.folder = Some(folder);
        self
    }

    /// `run`'s own: no listener on a port that somebody else may have.
    pub fn on_free_ports(self) -> Self {
        self.env("KONG_PROXY_LISTEN", "127.0.0.1:0").env("KONG_STATUS_LISTEN", "127.0.0.1:0")
    }

    pub fn spawn(self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silverback"));
        command.args(self.arguments).env_clear().envs(self.env);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        collect(child.stdout.take().unwrap(), "", sender.clone());
        collect(child.stderr.take().unwrap(), "! ", sender);
        Process { child, lines, seen: String::new() }
    }

    /// Runs to the end.
    pub async fn ended(self) -> Ended {
        self.spawn().ended().await
    }
}

fn collect(
    stream: impl AsyncRead + Unpin + Send + 'static,
    mark: &'static str,
    lines: mpsc::UnboundedSender<String>,
) {
    let mut reader = BufReader::new(stream).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = reader.next_line().await {
            if lines.send(format!("{mark}{line}")).is_err() {
                return;
            }
        }
    });
}

impl Process {
    /// Waits for a line with this text.
    pub async fn line_with(&mut self, text: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.lines.recv().await {
                self.seen += &format!("{line}\n");
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        });
        match found.await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("it ended without '{text}':\n{}", self.seen),
            Err(_) => panic!("no line with '{text}' within {PATIENCE:?}:\n{}", self.seen),
        }
    }

    /// Waits until it listens, and says where.
    pub async fn proxy(&mut self) -> SocketAddr {
        self.address_after("proxy listens on ").await
    }

    /// The status listener, which is announced after the proxy.
    pub async fn status(&mut self) -> SocketAddr {
        self.address_after("status on http://").await
    }

    /// The address that follows this text in a line.
    pub async fn address_after(&mut self, text: &str) -> SocketAddr {
        let line = self.line_with(text).await;
        let rest = line.split(text).nth(1).unwrap();
        let end = rest.find(['/', '"', ' ']).unwrap_or(rest.len());
        rest[..end].parse().unwrap_or_else(|_| panic!("no address: {line}"))
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap();
        let kill = format!("kill -{name} {pid}");
        let sent = std::process::Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success(), "{kill}");
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        let status = soon("the process ends", self.child.wait()).await.unwrap();
        while let Some(line) = self.lines.recv().await {
            self.seen += &format!("{line}\n");
        }
        Ended { code: status.code(), output: self.seen }
    }
}
