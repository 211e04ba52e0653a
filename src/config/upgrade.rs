//! Route paths of the formats 1.1 and 2.1, in which a regular expression had no mark.
//!
//! Kong guesses on load: a path of nothing but plain path characters stays a prefix and is
//! normalised; any other is a regular expression and gets the `~` that 3.0 asks for.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::node::{Data, Node};

/// Rewrites the `paths` of a route.
pub(super) fn paths(route: &mut Node) {
    let Data::Map(entries) = &mut route.data else { return };
    let Some(entry) = entries.iter_mut().find(|entry| entry.key == "paths") else { return };
    let Data::List(paths) = &mut entry.value.data else { return };
    for path in paths {
        if let Data::Scalar(Value::String(text)) = &mut path.data {
            *text = upgraded(text);
        }
    }
}

fn upgraded(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_~/%".contains(c);
    if path.starts_with("~/") {
        path.to_owned()
    } else if path.chars().all(is_plain) {
        normalised(&decoded(path, false))
    } else {
        format!("~{}", decoded(path, true))
    }
}

/// Decodes what needs no percent sign (RFC 3986, unreserved); other escapes become upper-case.
fn decoded(path: &str, is_regex: bool) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3).filter(|e| e[1..].bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(escape) = escape else {
            out.push('%');
            rest = &rest[at + 1..];
            continue;
        };
        match percent_decode_str(escape).next() {
            Some(b'.') if is_regex => out.push_str("\\."),
            Some(b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(b.into()),
            _ => out.push_str(&escape.to_ascii_uppercase()),
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    out
}

/// Resolves `.`, `..` and repeated slashes; a slash at the end stays.
fn normalised(path: &str) -> String {
    let Some(rest) = path.strip_prefix('/') else { return path.to_owned() };
    let mut segments: Vec<&str> = Vec::new();
    let parts: Vec<&str> = rest.split('/').collect();
    for part in &parts {
        match *part {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let ends_open = matches!(parts.last(), Some(&("" | "." | ".."))) && !segments.is_empty();
    format!("/{}{}", segments.join("/"), if ends_open { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_stay_prefixes_and_others_become_regexes() {
        let cases = [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/a//b/./c/../d", "/a/b/d"),
            ("/%61%2f%7e", "/a%2F~"),
            ("/status/\\d+", "~/status/\\d+"),
            ("/users/(?<id>[a-z]+)$", "~/users/(?<id>[a-z]+)$"),
            ("/a%2eb(c)", "~/a\\.b(c)"),
            ("~/already", "~/already"),
            ("/100%", "/100%"),
            ("relative", "relative"),
            ("/ünicode", "~/ünicode"),
        ];
        for (old, new) in cases {
            assert_eq!(upgraded(old), new);
        }
    }
}
