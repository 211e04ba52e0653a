//! Paths: how a request path is normalised, and how the upstream's path is built from it.
//!
//! The canonical form is ASCII: unreserved characters are decoded, everything else that needs it
//! is percent-encoded in upper case, dot segments are resolved and slashes merged (RFC 3986,
//! section 6, as Kong applies it). Both sides of a match are brought into it.

use std::borrow::Cow;

/// Normalises a path. Paths that are canonical already, nearly all of them, are borrowed.
pub fn normalise(path: &str) -> Cow<'_, str> {
    if is_canonical(path) { Cow::Borrowed(path) } else { Cow::Owned(merge(&decode(path))) }
}

fn is_canonical(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first() == Some(&b'/')
        && bytes.iter().enumerate().all(|(i, &b)| match b {
            b'/' => !matches!(bytes.get(i + 1), Some(b'/' | b'.')),
            b'%' => false,
            _ => is_plain(b),
        })
}

/// Bytes that stand for themselves in a path.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || b"/!$&'()*+,;=:@[]|{}^`\"<>\\".contains(&byte)
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Decodes unreserved characters, encodes what may not stand for itself.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(bytes.len() + 8);
    let mut i = 0;
    while i < bytes.len() {
        let escaped = bytes
            .get(i + 1..i + 3)
            .filter(|_| bytes[i] == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escaped {
            Some(byte) if is_unreserved(byte) => out.push(char::from(byte)),
            Some(byte) => push_escaped(&mut out, byte),
            None if bytes[i] == b'%' => out.push_str("%25"),
            None if is_plain(bytes[i]) => out.push(char::from(bytes[i])),
            None => push_escaped(&mut out, bytes[i]),
        }
        i += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// Resolves `.` and `..` and merges slashes.
fn merge(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut open = false; // the path ends in a directory
    for segment in path.split('/') {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if open || kept.is_empty() {
        out.push('/');
    }
    out
}

/// Whether every `%` begins an escape, and none is NUL: nginx refuses the rest with 400.
pub fn is_well_escaped(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr::memchr_iter(b'%', bytes).all(|at| {
        let hex = bytes.get(at + 1..at + 3).unwrap_or_default();
        hex.len() == 2 && hex.iter().all(u8::is_ascii_hexdigit) && hex != b"00"
    })
}

/// The path for the upstream: Kong's `path_handling: v0`.
///
/// `base` is the Service's path, `matched` the length of what the Route matched (0 with
/// `strip_path: false`).
pub fn upstream(base: Option<&str>, path: &str, matched: usize, strip: bool) -> String {
    let base = base.unwrap_or("/");
    let open = base.ends_with('/');
    if !strip {
        return match (open, path) {
            (true, path) => format!("{base}{}", &path[1.min(path.len())..]),
            (false, "/") => base.to_owned(),
            (false, path) => format!("{base}{path}"),
        };
    }
    let postfix = path.get(matched..).unwrap_or_default();
    let postfix = postfix.trim_start_matches("../").trim_start_matches("./");
    let trimmed = base.strip_suffix('/').unwrap_or(base);
    if postfix.is_empty() {
        let slash = path.ends_with('/');
        return match open {
            true if base == "/" || slash => base.to_owned(),
            true => trimmed.to_owned(),
            false if slash && path.len() > 1 => format!("{base}/"),
            false => base.to_owned(),
        };
    }
    let slash = if postfix.starts_with('/') { "" } else { "/" };
    format!("{trimmed}{slash}{postfix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_kong_does() {
        for (raw, want) in [
            ("/a/./b/../c", "/a/c"),
            ("/a//b", "/a/b"),
            ("//a/b", "/a/b"),
            ("/a/%2e%2e/x", "/x"),
            ("/n/%7Euser/%41", "/n/~user/A"),
            ("/n/a%2Fb", "/n/a%2Fb"),
            ("/%c3%a9", "/%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/sp ace", "/sp%20ace"),
            ("/../..", "/"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/100%", "/100%25"),
        ] {
            assert_eq!(normalise(raw), want, "{raw}");
        }
        assert!(matches!(normalise("/v1/chat"), Cow::Borrowed(_)));
    }

    #[test]
    fn builds_the_upstream_path() {
        // service.path, request path, matched length, strip, want: from the 224-step matrix.
        for (base, path, matched, strip, want) in [
            (None, "/r", 2, true, "/"),
            (None, "/r/", 2, true, "/"),
            (Some("/s"), "/r", 2, true, "/s"),
            (Some("/s"), "/r/", 2, true, "/s/"),
            (Some("/s/"), "/r", 2, true, "/s"),
            (Some("/s/"), "/", 1, true, "/s/"),
            (Some("/s/"), "/r/x", 2, true, "/s/x"),
            (Some("/s"), "/r/x", 3, true, "/s/x"),
            (Some("/s"), "/rest", 2, true, "/s/est"),
            (Some("/s"), "/r", 2, false, "/s/r"),
            (Some("/s/"), "/r", 2, false, "/s/r"),
            (Some("/s"), "/", 1, false, "/s"),
        ] {
            assert_eq!(upstream(base, path, matched, strip), want, "{base:?} {path} {strip}");
        }
    }
}
