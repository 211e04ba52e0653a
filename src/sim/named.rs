//! The faults with names: a deployment (or a prompt) called `fault-429` fails like that.
//!
//! A name is `fault-`, a word of the table, where the table says so `-` and a number, and at last
//! perhaps `-once`. Bodies and headers are those of Azure, so that a client under test meets the
//! text it must recognise.

use serde_json::Value;

use super::errors;
use super::rule::{DELAY_MAX_MS, Quirk, Rule};

/// One row: the name without `fault-`, what its number means, what it does, and the rule.
pub(super) struct Named {
    pub(super) name: &'static str,
    /// The meaning of the number that may follow, and its default.
    pub(super) number: Option<(&'static str, u64)>,
    pub(super) help: &'static str,
    make: fn(u64) -> Rule,
}

/// The rule of a named fault; none if there is no such name.
pub(super) fn rule(name: &str) -> Option<Rule> {
    let name = name.strip_prefix("fault-")?;
    let (name, once) = match name.strip_suffix("-once") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let mut rule = exact(name).or_else(|| numbered(name)).or_else(|| bare_status(name))?;
    rule.times = once.then_some(1);
    Some(rule)
}

/// The fault that a prompt asks for: the first `[[fault-...]]` in it, without the brackets.
pub(super) fn marker(prompt: &str) -> Option<&str> {
    let rest = &prompt[prompt.find("[[fault-")? + 2..];
    rest.split_once("]]").map(|(name, _)| name)
}

fn exact(name: &str) -> Option<Rule> {
    let row = TABLE.iter().find(|row| row.name == name)?;
    Some((row.make)(row.number.map_or(0, |(_, default)| default)))
}

fn numbered(name: &str) -> Option<Rule> {
    let (name, number) = name.rsplit_once('-')?;
    let row = TABLE.iter().find(|row| row.name == name && row.number.is_some())?;
    Some((row.make)(number.parse().ok()?))
}

/// `fault-502`: any error status with its usual body.
fn bare_status(name: &str) -> Option<Rule> {
    let status = name.parse().ok().filter(|status| (400..=599).contains(status))?;
    Some(Rule { status: Some(status), ..Rule::default() })
}

/// All named faults, in the order of the help page.
pub(super) const TABLE: &[Named] = &[
    Named {
        name: "401",
        number: None,
        help: "the key or token is refused, whatever it is",
        make: |_| status(401),
    },
    Named {
        name: "403-firewall",
        number: None,
        help: "403 Virtual Network/Firewall",
        make: |_| Rule { body: Some(errors::firewall()), ..status(403) },
    },
    Named {
        name: "permission",
        number: None,
        help: "401 PermissionDenied: the token is fine, the role is missing",
        make: |_| Rule { body: Some(errors::permission_denied()), ..status(401) },
    },
    Named {
        name: "429",
        number: Some(("seconds", 2)),
        help: "token rate limit with retry-after",
        make: |secs| Rule { headers: retry_after(secs), ..status(429) },
    },
    Named {
        name: "429-ms",
        number: Some(("milliseconds", 250)),
        help: "429 with retry-after-ms alone",
        make: |ms| Rule { headers: pairs(&[("retry-after-ms", ms.to_string())]), ..status(429) },
    },
    Named {
        name: "429-both",
        number: None,
        help: "429 with retry-after 2 and retry-after-ms 1987, which wins",
        make: |_| Rule { headers: both_waits(), ..status(429) },
    },
    Named {
        name: "429-day",
        number: None,
        help: "429 that asks for a wait of 86400 s",
        make: |_| Rule { headers: retry_after(86_400), ..status(429) },
    },
    Named {
        name: "429-busy",
        number: None,
        help: "429 for want of capacity, not of quota",
        make: |_| Rule { headers: retry_after(20), body: Some(errors::busy()), ..status(429) },
    },
    Named {
        name: "500",
        number: None,
        help: "the server's own error; every 4xx and 5xx number works",
        make: |_| status(500),
    },
    Named {
        name: "503-html",
        number: None,
        help: "the front door's HTML page",
        make: |_| Rule {
            headers: pairs(&[("content-type", "text/html".into())]),
            body: Some(Value::String(errors::FRONT_DOOR_PAGE.into())),
            ..status(503)
        },
    },
    Named {
        name: "html",
        number: None,
        help: "200 with the page of something that is not Azure",
        make: |_| Rule {
            headers: pairs(&[("content-type", "text/html".into())]),
            body: Some(Value::String(errors::PORTAL_PAGE.into())),
            ..Rule::default()
        },
    },
    Named {
        name: "portal",
        number: None,
        help: "302 to a page where the network's users sign in",
        make: |_| Rule {
            headers: pairs(&[
                ("content-type", "text/html".into()),
                ("location", "http://portal.example/".into()),
            ]),
            body: Some(Value::String(errors::PORTAL_PAGE.into())),
            ..status(302)
        },
    },
    Named {
        name: "content-filter",
        number: None,
        help: "400: the prompt is blocked",
        make: |_| Rule { body: Some(errors::content_filter()), ..status(400) },
    },
    Named {
        name: "filtered-output",
        number: None,
        help: "200 with finish_reason content_filter",
        make: |_| quirk(Quirk::FilteredOutput),
    },
    Named {
        name: "context-length",
        number: None,
        help: "400: the prompt is too long",
        make: |_| Rule { body: Some(errors::context_length()), ..status(400) },
    },
    Named {
        name: "slow",
        number: Some(("milliseconds", 2000)),
        help: "wait before the reply",
        make: |ms| Rule { delay_ms: ms.min(DELAY_MAX_MS), ..Rule::default() },
    },
    Named {
        name: "slow-stream",
        number: Some(("milliseconds", 500)),
        help: "wait before each event but the first",
        make: |ms| Rule { chunk_delay_ms: Some(ms.min(DELAY_MAX_MS)), ..Rule::default() },
    },
    Named {
        name: "hang",
        number: None,
        help: "no reply for ten minutes",
        make: |_| Rule { delay_ms: DELAY_MAX_MS, drop: true, ..Rule::default() },
    },
    Named {
        name: "drop",
        number: None,
        help: "close the connection without a reply",
        make: |_| Rule { drop: true, ..Rule::default() },
    },
    Named {
        name: "cut-stream",
        number: Some(("events", 3)),
        help: "close the connection after some events",
        make: |events| Rule {
            cut_after_events: Some(usize::try_from(events).unwrap_or(usize::MAX)),
            ..Rule::default()
        },
    },
    Named {
        name: "cut",
        number: Some(("bytes", 100)),
        help: "close the connection after some bytes of the body",
        make: |bytes| Rule {
            cut_after_bytes: Some(usize::try_from(bytes).unwrap_or(usize::MAX)),
            ..Rule::default()
        },
    },
    Named {
        name: "error-event",
        number: None,
        help: "a stream that breaks off with an error event",
        make: |_| quirk(Quirk::ErrorEvent),
    },
    Named {
        name: "no-done",
        number: None,
        help: "a stream without [DONE]",
        make: |_| quirk(Quirk::NoDone),
    },
    Named {
        name: "malformed",
        number: None,
        help: "broken JSON",
        make: |_| quirk(Quirk::Malformed),
    },
    Named {
        name: "empty",
        number: None,
        help: "200 without a body",
        make: |_| quirk(Quirk::Empty),
    },
    Named {
        name: "json-instead-of-stream",
        number: None,
        help: "a whole reply although a stream was asked for",
        make: |_| quirk(Quirk::JsonInsteadOfStream),
    },
    Named {
        name: "stream-instead-of-json",
        number: None,
        help: "a stream although none was asked for",
        make: |_| quirk(Quirk::StreamInsteadOfJson),
    },
    Named {
        name: "async-filter",
        number: None,
        help: "a stream with filter events that have no delta",
        make: |_| quirk(Quirk::AsyncFilter),
    },
    Named {
        name: "crlf",
        number: None,
        help: "a stream with CRLF line ends",
        make: |_| quirk(Quirk::Crlf),
    },
    Named {
        name: "one-byte",
        number: None,
        help: "a body written byte by byte",
        make: |_| quirk(Quirk::OneByte),
    },
    Named {
        name: "gzip",
        number: None,
        help: "a compressed body, if the request accepts gzip",
        make: |_| quirk(Quirk::Gzip),
    },
];

fn status(status: u16) -> Rule {
    Rule { status: Some(status), ..Rule::default() }
}

fn quirk(quirk: Quirk) -> Rule {
    Rule { quirk: Some(quirk), ..Rule::default() }
}

fn pairs(pairs: &[(&str, String)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn retry_after(secs: u64) -> Vec<(String, String)> {
    pairs(&[("retry-after", secs.to_string())])
}

fn both_waits() -> Vec<(String, String)> {
    let mut headers = retry_after(2);
    headers.extend(pairs(&[("retry-after-ms", "1987".into())]));
    headers
}

/// The help page's lines on named faults.
pub(super) fn help() -> String {
    let line = |row: &Named| {
        let number = row.number.map(|(unit, default)| format!("[-{unit}, else {default}]"));
        format!("  fault-{}{}: {}\n", row.name, number.unwrap_or_default(), row.help)
    };
    TABLE.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_once_are_read_after_the_longest_name() {
        assert_eq!(rule("fault-slow").unwrap().delay_ms, 2000);
        assert_eq!(rule("fault-slow-50").unwrap().delay_ms, 50);
        assert_eq!(rule("fault-slow-stream-50").unwrap().chunk_delay_ms, Some(50));
        assert_eq!(rule("fault-429-ms").unwrap().headers[0].1, "250");
        assert_eq!(rule("fault-429-7-once").unwrap().headers[0].1, "7");
        assert_eq!(rule("fault-429-7-once").unwrap().times, Some(1));
        assert_eq!(rule("fault-502").unwrap().status, Some(502));
    }

    #[test]
    fn other_names_are_no_faults() {
        for name in ["gpt-4o", "fault-", "fault-200", "fault-x", "fault-hang-5", "fault-slow-x"] {
            assert_eq!(rule(name), None, "{name}");
        }
    }

    #[test]
    fn every_row_makes_a_rule_that_passes_the_checks() {
        for row in TABLE {
            let name = format!("fault-{}", row.name);
            assert!(rule(&name).unwrap().resolved().is_ok(), "{name}");
        }
    }

    #[test]
    fn a_marker_is_found_anywhere_and_must_be_closed() {
        assert_eq!(marker("please [[fault-429]] now"), Some("fault-429"));
        assert_eq!(marker("[[fault-429"), None);
        assert_eq!(marker("fault-429"), None);
    }
}
