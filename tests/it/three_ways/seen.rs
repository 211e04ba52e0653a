//! What a client sees, without what changes from one time to the next; and how two of these differ.

use std::io::Read as _;
use std::sync::LazyLock;

use regex::Regex;

use super::super::http::Message;

/// An answer, and what else was seen.
pub(super) struct Seen {
    first: String,
    headers: Vec<(String, String)>,
    body: String,
    is_complete: bool,
    /// What upstreams got, and the like.
    pub(super) more: Vec<(&'static str, String)>,
}

/// The longest text of a difference, in characters.
const TEXT_MAX: usize = 120;

impl Seen {
    pub(super) fn new(answer: Option<Message>) -> Self {
        let Some(answer) = answer else {
            let (first, body) = ("no answer".to_owned(), String::new());
            return Self { first, headers: Vec::new(), body, is_complete: true, more: Vec::new() };
        };
        let headers = answer.headers.iter().map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let value = match name.as_str() {
                "date" => "some date".to_owned(),
                _ if name.ends_with("-latency") => "some ms".to_owned(),
                "content-length" => length(&answer, value),
                _ => steady(value),
            };
            (name, value)
        });
        let mut headers: Vec<_> = headers.collect();
        headers.sort();
        Self {
            headers,
            body: steady(&bytes(&inflated(&answer))),
            is_complete: answer.complete,
            first: answer.first,
            more: Vec::new(),
        }
    }

    /// An answer whose body was not waited for.
    pub(super) fn head(answer: Option<Message>) -> Self {
        Self::new(answer.map(|head| Message { complete: true, ..head }))
    }

    pub(super) fn with(mut self, what: &'static str, seen: &str) -> Self {
        self.more.push((what, steady(seen)));
        self
    }

    fn status(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or(&self.first)
    }

    /// Whether it comes from Azure, or from what stands in front of it.
    fn is_azures(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == "x-sim-identity")
    }

    pub(super) fn in_short(&self) -> String {
        let status = if self.first == "no answer" { &self.first } else { self.status() };
        if self.is_complete { status.to_owned() } else { format!("{status}, broken off") }
    }

    /// How another answer differs from this one.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut all = Vec::new();
        if self.first != other.first {
            let is_status = self.status() != other.status();
            all.push(if is_status { other.in_short() } else { other.first.clone() });
        }
        if self.is_complete != other.is_complete && self.status() == other.status() {
            let ends = if other.is_complete { "ends" } else { "broken off" };
            all.push(ends.to_owned());
        }
        // Who answers in the place of Azure does not have its headers, but those of an answer.
        let has_headers = self.is_azures() && other.is_azures();
        let kept = |name: &str| has_headers || ["content-type", "retry-after"].contains(&name);
        let names = self.headers.iter().chain(&other.headers).map(|(name, _)| name.as_str());
        let names: std::collections::BTreeSet<_> = names.filter(|name| kept(name)).collect();
        for name in names {
            let values = |seen: &Self| -> Vec<String> {
                let found = seen.headers.iter().filter(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).collect()
            };
            let (own, others) = (values(self), values(other));
            match (own.is_empty(), others.is_empty()) {
                (true, false) => all.push(format!("+{name}")),
                (false, true) => all.push(format!("-{name}")),
                _ if own != others => all.push(format!("{name}: {}", others.join(", "))),
                _ => {}
            }
        }
        if self.body != other.body {
            let is_other = self.status() != other.status() || !has_headers;
            let body = if is_other { shown(&other.body) } else { change(&self.body, &other.body) };
            all.push(format!("body: {body}"));
        }
        for (what, seen) in &self.more {
            let others = other.more.iter().find(|(known, _)| known == what);
            let others = others.map(|(_, seen)| seen.as_str()).unwrap_or_default();
            if seen != others {
                all.push(format!("{what}: {}", change(seen, others)));
            }
        }
        all
    }
}

/// The length of a body is no news where the body is another one.
fn length(answer: &Message, value: &str) -> String {
    match value == answer.body.len().to_string() || answer.body.is_empty() {
        true => "that of the body".to_owned(),
        false => value.to_owned(),
    }
}

/// The body as it was before it was compressed; what ids become there is different each time.
fn inflated(answer: &Message) -> Vec<u8> {
    if answer.header("content-encoding") != Some("gzip") {
        return answer.body.clone();
    }
    let mut plain = b"inflated: ".to_vec();
    let mut zipped = flate2::read::MultiGzDecoder::new(answer.body.as_slice());
    zipped.read_to_end(&mut plain).unwrap();
    plain
}

/// Bytes as text that tells them all apart.
fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{} bytes {}", bytes.len(), bytes.escape_ascii()),
    }
}

/// A text without ids and times.
fn steady(text: &str) -> String {
    static CHANGING: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
        let uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}";
        let ids = "(chatcmpl|cmpl|file|resp|rs|msg|item|event|sess|conv)([-_])[0-9A-Za-z]{8,}";
        let times = r#""(created|created_at|expires_at|completed_at)":( ?)[0-9]+"#;
        let words = [(uuid, "ID"), (ids, "${1}${2}ID"), (times, "\"${1}\":${2}0")];
        let hex = ("[0-9a-f]{24}", "ID");
        [words[0], words[1], words[2], hex].map(|(one, to)| (Regex::new(one).unwrap(), to))
    });
    CHANGING.iter().fold(text.to_owned(), |text, (one, to)| one.replace_all(&text, *to).into())
}

/// What stands in another text, without what both begin and end with.
fn change(own: &str, other: &str) -> String {
    let (own, other): (Vec<char>, Vec<char>) = (own.chars().collect(), other.chars().collect());
    let most = own.len().min(other.len());
    let begin = (0..most).take_while(|at| own[*at] == other[*at]).count();
    let end =
        (0..most - begin).take_while(|at| own[own.len() - 1 - at] == other[other.len() - 1 - at]);
    let end = end.count();
    let middle = |text: &[char]| {
        let text: String = text[begin..text.len() - end].iter().collect();
        shown(&text)
    };
    match (middle(&own), middle(&other)) {
        (own, other) if own.is_empty() => format!("+ {other}"),
        (own, other) if other.is_empty() => format!("- {own}"),
        (own, other) => format!("{own} → {other}"),
    }
}

/// A text as it may stand in a cell.
fn shown(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let text = text.replace('`', "'").replace('|', "\\|");
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
