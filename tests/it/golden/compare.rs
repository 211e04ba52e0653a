//! What counts as the same: the rules for two messages.
//!
//! Times, ids and what each hop says of itself differ on every run. Kong writes JSON and forms in
//! the order of a Lua table, so they are compared by what they mean; so are server-sent events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::case::{Got, Headers, Payload, Seen};

/// Something that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// From 0.
    pub step: usize,
    /// Its name in the list of deviations: `client header x-kong-llm-model`.
    pub what: String,
    /// Both values.
    pub detail: String,
}

/// The differences of one step.
pub struct Differences {
    step: usize,
    found: Vec<Difference>,
}

/// Headers whose values never count.
const VOLATILE: &[&str] = &[
    "content-encoding",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "transfer-encoding",
    "vary",
    "via",
    "x-kong-admin-latency",
    "x-kong-proxy-latency",
    "x-kong-request-id",
    "x-kong-response-latency",
    "x-kong-total-latency",
    "x-kong-upstream-latency",
];

/// Those of them that the client must get all the same, or must not get.
const PRESENT: &[&str] = &[
    "via",
    "x-kong-proxy-latency",
    "x-kong-request-id",
    "x-kong-response-latency",
    "x-kong-upstream-latency",
];

/// Headers that count the seconds to something.
const CLOCKS: &[&str] = &["age", "ratelimit-reset", "retry-after", "x-ratelimit-reset"];

/// Which side of the gateway a message was seen on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

/// Compares one step: the response, and every request that the upstream saw.
pub fn step(step: usize, want: (&Got, &[Seen]), got: (&Got, &[Seen])) -> Vec<Difference> {
    let mut differences = Differences::new(step);
    let ended = |got: &Got| (got.closed_without_reply, got.timeout);
    if ended(want.0) != ended(got.0) {
        differences.push("reply", &summary(want.0), &summary(got.0));
    } else if ended(want.0) == (false, false) {
        differences.response(want.0, got.0);
        differences.requests(want.1, got.1);
    }
    differences.found
}

fn summary(got: &Got) -> String {
    match (got.status, got.timeout) {
        (Some(status), _) => format!("{status} {:?}", body(got)),
        (None, true) => "none in time".to_owned(),
        (None, false) => "closed without one".to_owned(),
    }
}

fn body(got: &Got) -> Payload {
    got.body_decoded.clone().or_else(|| got.body.clone()).unwrap_or_default()
}

impl Differences {
    /// None so far.
    pub fn new(step: usize) -> Self {
        Self { step, found: Vec::new() }
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Difference> {
        self.found
    }

    /// Notes one.
    pub fn push(&mut self, what: &str, want: &str, got: &str) {
        let detail = format!("want {} got {}", cut(want), cut(got));
        self.found.push(Difference { step: self.step, what: what.to_owned(), detail });
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, want: &T, got: &T) {
        if want != got {
            self.push(what, &format!("{want:?}"), &format!("{got:?}"));
        }
    }

    /// What the probes answer: a line for each thing that they tried.
    fn table(&mut self, want: &Got, got: &Got) {
        let lines = |got: &Got| -> BTreeMap<String, String> {
            let body = body(got);
            let text = without_ids(body.text().unwrap_or_default());
            let pairs = text.lines().filter_map(|line| line.split_once(" = "));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let (want, got) = (lines(want), lines(got));
        for (name, value) in &want {
            let found = got.get(name).map_or("nothing", String::as_str);
            if value != found {
                self.push(name, value, found);
            }
        }
    }

    fn response(&mut self, want: &Got, got: &Got) {
        if want.status != got.status {
            self.push("status", &summary(want), &summary(got));
        }
        self.same("client truncated", &want.truncated, &got.truncated);
        self.headers(Side::Client, &want.headers, &got.headers);
        let kind = by_name(&want.headers).remove("content-type").unwrap_or_default();
        let is_stream = kind.first().is_some_and(|kind| kind.contains("event-stream"));
        let is_table = |got: &Got| by_name(&got.headers).contains_key("x-probe");
        if is_table(want) && is_table(got) {
            return self.table(want, got);
        }
        self.body("client body", &body(want), &body(got), is_stream);
    }

    fn requests(&mut self, want: &[Seen], got: &[Seen]) {
        self.same("upstream requests", &want.len(), &got.len());
        for (want, got) in want.iter().zip(got) {
            self.same("upstream method", &want.method, &got.method);
            self.same("upstream target", &want.target, &got.target);
            self.same("upstream tls", &want.tls_sni, &got.tls_sni);
            self.headers(Side::Upstream, &want.headers, &got.headers);
            let bodies = [want, got].map(|seen| seen.body.clone().unwrap_or_default());
            self.body("upstream body", &bodies[0], &bodies[1], false);
        }
    }

    fn headers(&mut self, side: Side, want: &Headers, got: &Headers) {
        let label = if side == Side::Client { "client" } else { "upstream" };
        let (want, got) = (by_name(want), by_name(got));
        let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
        for name in names {
            let (mine, theirs) = (want.get(name), got.get(name));
            let same = if VOLATILE.contains(&name.as_str()) {
                let matters = side == Side::Client && PRESENT.contains(&name.as_str());
                !matters || mine.is_some() == theirs.is_some()
            } else if CLOCKS.contains(&name.as_str()) {
                mine.is_some() == theirs.is_some()
            } else {
                mine == theirs
            };
            if !same {
                let what = format!("{label} header {name}");
                self.push(&what, &format!("{mine:?}"), &format!("{theirs:?}"));
            }
        }
    }

    fn body(&mut self, what: &str, want: &Payload, got: &Payload, is_stream: bool) {
        if same_body(want, got, is_stream) {
            return;
        }
        let object = |body: &Payload| serde_json::from_slice::<Map<String, Value>>(&body.0).ok();
        match (object(want), object(got)) {
            (Some(want), Some(got)) if !is_stream => self.members(what, &want, &got),
            _ => self.push(what, &format!("{want:?}"), &format!("{got:?}")),
        }
    }

    /// Says which members of two objects differ.
    fn members(&mut self, what: &str, want: &Map<String, Value>, got: &Map<String, Value>) {
        let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
        for name in names {
            let what = format!("{what}.{name}");
            match (want.get(name), got.get(name)) {
                (Some(Value::Object(want)), Some(Value::Object(got))) => {
                    self.members(&what, want, got);
                }
                (want, got) => {
                    let both = want.is_some() && got.is_some();
                    let text = |value: Option<&Value>| {
                        value.map_or_else(|| "nothing".to_owned(), Value::to_string)
                    };
                    let (want, got) = (text(want), text(got));
                    let is_known = MEMBERS.contains(&name.as_str()) && both;
                    if !is_known && !same_text(&want, &got) {
                        self.push(&what, &want, &got);
                    }
                }
            }
        }
    }
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a header's value never counts.
pub fn is_volatile(header: &str) -> bool {
    VOLATILE.contains(&header)
}

/// Values by lower-case name, with their ids taken out.
fn by_name(headers: &Headers) -> BTreeMap<String, Vec<String>> {
    let mut map = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        map.entry(name.to_lowercase()).or_default().push(without_ids(value));
    }
    map
}

/// A text with `<id>` for everything that looks like an id, among it nginx' connection trackers.
pub fn without_ids(text: &str) -> String {
    static ID: LazyLock<Regex> = LazyLock::new(|| {
        let uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(#\d+)?";
        let tracker = r"\d+(\.\d+){3}(-\d+){5}\.\d{3}";
        Regex::new(&format!("[0-9a-f]{{32}}|{uuid}|{tracker}")).unwrap()
    });
    ID.replace_all(text, "<id>").into_owned()
}

fn same_body(want: &Payload, got: &Payload, is_stream: bool) -> bool {
    let (Some(want), Some(got)) = (want.text(), got.text()) else { return want == got };
    if is_stream {
        let (want, got) = (without_ids(want), without_ids(got));
        return want == got || events(&want) == events(&got);
    }
    same_text(want, got)
}

/// Whether two texts mean the same, as JSON, as a form, or letter by letter.
pub fn same_text(want: &str, got: &str) -> bool {
    let (want, got) = (without_ids(want), without_ids(got));
    if want == got {
        return true;
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).ok().map(comparable);
    match (read(&want), read(&got)) {
        (None, _) if want.contains('&') && want.contains('=') => fields(&want) == fields(&got),
        (want, got) => want.is_some() && want == got,
    }
}

/// The fields of a form, in any order.
fn fields(form: &str) -> Vec<&str> {
    let mut fields: Vec<_> = form.split('&').collect();
    fields.sort_unstable();
    fields
}

/// The data of server-sent events; comments and the way lines end do not count.
fn events(text: &str) -> Vec<Value> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let data = |block: &str| {
        let lines = block.split('\n').filter_map(|line| line.strip_prefix("data:"));
        lines.map(str::trim_start).collect::<Vec<_>>().join("\n")
    };
    let events = text.split("\n\n").map(data).filter(|data| !data.is_empty());
    let read = |data: String| serde_json::from_str(&data).map_or(Value::String(data), comparable);
    events.map(read).collect()
}

/// Members of JSON bodies that differ on every machine or run.
const MEMBERS: &[&str] = &["created_at", "hostname", "updated_at", "worker_pid"];

/// JSON in which numbers are equal when they mean the same (`1` and `1.0`), without what differs
/// on every run.
pub fn comparable(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(exact) if exact.abs() < 9e15 => Value::from(exact),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(comparable).collect(),
        Value::Object(object) => {
            let known = |name: &String| MEMBERS.contains(&name.as_str());
            let one = |(name, value)| {
                let value = if known(&name) { Value::Null } else { comparable(value) };
                (name, value)
            };
            object.into_iter().map(one).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(want: &str, got: &str, is_stream: bool) -> bool {
        let payload = |text: &str| Payload(text.as_bytes().to_vec());
        same_body(&payload(want), &payload(got), is_stream)
    }

    #[test]
    fn bodies_are_compared_by_what_they_mean() {
        assert!(same(r#"{"a":1,"b":[]}"#, r#"{"b": [], "a": 1.0}"#, false));
        assert!(!same(r#"{"a":1}"#, r#"{"a":"1"}"#, false));
        assert!(same("a=1&b=2", "b=2&a=1", false));
        assert!(!same("a=1&b=2", "a=1&b=3", false));
        assert!(!same("text", "other", false));
        let id = "0123456789abcdef0123456789abcdef";
        assert!(same(
            &format!("request_id: {id}"),
            &format!("request_id: {}", "f".repeat(32)),
            false
        ));
    }

    #[test]
    fn streams_are_compared_event_by_event() {
        assert!(same(
            "data: {\"a\":1}\n\ndata: [DONE]\n\n",
            ": hi\r\n\r\ndata:{\"a\": 1}\r\n\r\ndata: [DONE]\r\n\r\n",
            true
        ));
        assert!(!same("data: 1\n\ndata: 2\n\n", "data: 2\n\ndata: 1\n\n", true));
    }

    #[test]
    fn volatile_headers_must_be_there_but_may_differ() {
        let got = |headers: &[(&str, &str)]| Got {
            status: Some(200),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Got::default()
        };
        let want = got(&[("Via", "1.1 kong"), ("X-A", "1")]);
        assert_eq!(step(0, (&want, &[]), (&got(&[("via", "x"), ("x-a", "1")]), &[])), []);
        let found = step(0, (&want, &[]), (&got(&[("x-a", "2")]), &[]));
        let found: Vec<&str> = found.iter().map(|found| found.what.as_str()).collect();
        assert_eq!(found, ["client header via", "client header x-a"]);
    }
}
