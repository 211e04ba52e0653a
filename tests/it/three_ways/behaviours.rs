//! The behaviours that are compared: what clients send, and what Azure does with it.

pub(super) mod deployment;
mod replies;
mod requests;
mod streams;

use std::fmt::Write;

use silverback::sim::Rule;

use super::HOST;

/// One of them.
pub(super) struct Behaviour {
    /// Its row on the page.
    pub(super) name: &'static str,
    /// What Azure does out of the ordinary.
    pub(super) rules: Vec<Rule>,
    pub(super) act: Act,
    /// What the upstream gets is looked at, too.
    pub(super) shows_upstream: bool,
}

/// What a client does.
pub(super) enum Act {
    Ask(Ask),
    /// Again, on the same connection.
    AskTwice(Ask),
    /// With `Expect: 100-continue`.
    Expect(Ask),
    /// Leaves in the middle of the answer.
    HangUp(Ask),
    /// Opens a WebSocket and closes it.
    Session(&'static str),
    /// A method, and what follows the id of a file.
    WithFile(&'static str, &'static str),
}

impl Behaviour {
    fn ask(name: &'static str, ask: Ask) -> Self {
        Self::of(name, Act::Ask(ask))
    }

    fn of(name: &'static str, act: Act) -> Self {
        Self { name, rules: Vec::new(), act, shows_upstream: false }
    }

    /// Azure's reply is this one.
    fn ruled(name: &'static str, ask: Ask, rule: Rule) -> Self {
        let deployment = Some(ask.deployment().to_owned());
        Self { rules: vec![Rule { deployment, ..rule }], ..Self::ask(name, ask) }
    }

    fn with_upstream(self) -> Self {
        Self { shows_upstream: true, ..self }
    }
}

/// A request.
pub(super) struct Ask {
    pub(super) method: &'static str,
    target: String,
    version: &'static str,
    headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    is_chunked: bool,
}

impl Ask {
    pub(super) fn new(method: &'static str, target: &str) -> Self {
        Self {
            method,
            target: target.to_owned(),
            version: "HTTP/1.1",
            headers: vec![("api-key", "sim-key".to_owned())],
            body: Vec::new(),
            is_chunked: false,
        }
    }

    fn json(target: &str, body: &str) -> Self {
        Self { body: body.into(), ..Self::new("POST", target) }
            .header("content-type", "application/json")
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn in_chunks(self) -> Self {
        Self { is_chunked: true, ..self }
    }

    fn version(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    /// The deployment in the path.
    fn deployment(&self) -> &str {
        self.target.split('/').nth(3).unwrap()
    }

    /// As it is on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} {}\r\nHost: {HOST}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.is_chunked {
            head += "Transfer-Encoding: chunked\r\n";
        } else if !self.body.is_empty() || self.method == "POST" {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        if self.is_chunked {
            for chunk in self.body.chunks(7) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }
}

/// All of them.
pub(super) fn all() -> Vec<Behaviour> {
    [
        replies::chats(),
        replies::refusals(),
        replies::oddities(),
        streams::all(),
        requests::bodies(),
        requests::connections(),
        deployment::others(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
