//! Paths: how a request path is read, written, and turned into the upstream's.
//!
//! Kong keeps two forms. Routes are matched on the decoded one: every escape is undone but those
//! of reserved characters, dot segments are resolved, slashes merged (RFC 3986, section 6). On
//! the way out it is escaped again, which gives the canonical form, plain ASCII.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a request line may not hold as it is: Kong's rule, with `%` left alone.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The form that Routes are matched on. Nearly all paths have it already and are borrowed.
///
/// Bytes that are no UTF-8 stay escaped; [`is_text`] tells.
pub fn decoded(path: &str) -> Cow<'_, str> {
    if is_decoded(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(merge(&unescape(path)))
}

/// Whether a decoded path is UTF-8 throughout. Kong finds no Route for one that is not.
pub fn is_text(decoded: &str) -> bool {
    // An escape of a reserved character begins with 2, 3, 4 or 5; what is left above is no text.
    let bytes = decoded.as_bytes();
    memchr::memchr_iter(b'%', bytes).all(|at| bytes.get(at + 1).is_none_or(|hex| *hex < b'8'))
}

/// The canonical form: decoded, then escaped. ASCII, and safe on a request line.
pub fn normalise(path: &str) -> Cow<'_, str> {
    match decoded(path) {
        Cow::Borrowed(path) => escape(path),
        Cow::Owned(path) => Cow::Owned(escape(&path).into_owned()),
    }
}

/// Escapes what a request line may not hold. Escapes that are there stay as they are.
pub fn escape(path: &str) -> Cow<'_, str> {
    utf8_percent_encode(path, UNSAFE).into()
}

fn is_decoded(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first() == Some(&b'/')
        && memchr::memchr(b'%', bytes).is_none()
        && memchr::memchr_iter(b'/', bytes)
            .all(|at| !matches!(bytes.get(at + 1), Some(b'/' | b'.')))
}

/// Reserved characters mean something else unescaped (RFC 3986, section 2.2), so they stay.
fn is_reserved(byte: u8) -> bool {
    b"!*'();:@&=+$,/?%#[]".contains(&byte)
}

/// Undoes escapes, once.
fn unescape(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = bytes
            .get(i + 1..i + 3)
            .filter(|hex| bytes[i] == b'%' && hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escaped {
            Some(byte) if is_reserved(byte) => push_escaped(&mut out, byte),
            Some(byte) => out.push(byte),
            None => out.push(bytes[i]),
        }
        i += if escaped.is_some() { 3 } else { 1 };
    }
    let mut text = String::with_capacity(out.len());
    for chunk in out.utf8_chunks() {
        text.push_str(chunk.valid());
        let mut kept = Vec::new();
        chunk.invalid().iter().for_each(|&byte| push_escaped(&mut kept, byte));
        text.extend(kept.into_iter().map(char::from));
    }
    text
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
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

/// Whether some `..` leads above the root, which nginx refuses with 400. It looks at the path with
/// all escapes undone, `%2F` and `%2E` among them.
pub fn climbs_out(path: &str) -> bool {
    if memchr::memmem::find(path.as_bytes(), b"..").is_none() && !path.contains('%') {
        return false;
    }
    let plain: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let mut depth = 0usize;
    plain.split(|byte| *byte == b'/').any(|segment| match segment {
        b"" | b"." => false,
        b".." if depth == 0 => true,
        b".." => {
            depth -= 1;
            false
        }
        _ => {
            depth += 1;
            false
        }
    })
}

/// The path for the upstream, before it is escaped: Kong's `path_handling: v0`.
///
/// `base` is the Service's path, `matched` what the Route matched of the path, if it cuts that off.
pub fn upstream(base: Option<&str>, path: &str, matched: Option<&str>) -> String {
    let base = base.unwrap_or("/");
    let open = base.ends_with('/');
    // A Route without a path uses up the first slash, as one with the path `/` does.
    let Some(postfix) = matched.map(|text| path.get(text.len().max(1)..).unwrap_or_default())
    else {
        return match (open, path) {
            (true, path) => format!("{base}{}", path.get(1..).unwrap_or_default()),
            (false, "/") => base.to_owned(),
            (false, path) => format!("{base}{path}"),
        };
    };
    let postfix = without_dots(postfix);
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

/// The same in `path_handling: v1`, which only the old router knows: one behind the other.
pub fn joined(base: Option<&str>, path: &str, matched: Option<&str>) -> String {
    let base = base.unwrap_or("/");
    let Some(text) = matched else {
        return format!("{base}{}", path.get(1..).unwrap_or_default());
    };
    let postfix = without_dots(path.get(text.len().max(1)..).unwrap_or_default());
    let base = if postfix.starts_with('/') { base.strip_suffix('/').unwrap_or(base) } else { base };
    format!("{base}{postfix}")
}

/// A Route that ends inside a segment may leave dots that would climb out of the Service's path.
fn without_dots(postfix: &str) -> &str {
    match postfix {
        "." | ".." => "",
        _ => postfix.strip_prefix("./").or(postfix.strip_prefix("../")).unwrap_or(postfix),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normalises_as_kong_does() {
        for (raw, matched, sent) in [
            ("/a/./b/../c", "/a/c", "/a/c"),
            ("/a//b", "/a/b", "/a/b"),
            ("//a/b", "/a/b", "/a/b"),
            ("/a/%2e%2e/x", "/x", "/x"),
            ("/n/%7Euser/%41", "/n/~user/A", "/n/~user/A"),
            ("/n/a%2fb", "/n/a%2Fb", "/n/a%2Fb"),
            ("/%c3%a9", "/é", "/%C3%A9"),
            ("/é", "/é", "/%C3%A9"),
            ("/a%20b", "/a b", "/a%20b"),
            ("/{x}|^`%22%5C", "/{x}|^`\"\\", "/%7Bx%7D%7C%5E%60%22%5C"),
            ("/%2541", "/%2541", "/%2541"),
            ("/%ff/%80x", "/%FF/%80x", "/%FF/%80x"),
            ("/../..", "/", "/"),
            ("/a/..", "/", "/"),
            ("/a/b/.", "/a/b/", "/a/b/"),
            ("/a/b/..", "/a/", "/a/"),
            ("/a...", "/a...", "/a..."),
        ] {
            assert_eq!(decoded(raw), matched, "{raw}");
            assert_eq!(normalise(raw), sent, "{raw}");
        }
        assert!(matches!(normalise("/v1/chat.json"), Cow::Borrowed(_)));
    }

    #[test]
    fn no_path_leads_above_the_root() {
        for (path, out) in [
            ("/..", true),
            ("/a/../..", true),
            ("/a/..%2f../x", true),
            ("/%2E%2e/x", true),
            ("/./../x", true),
            ("//../x", true),
            ("/a/../x", false),
            ("/a/..", false),
            ("/..a/...", false),
        ] {
            assert_eq!(climbs_out(path), out, "{path}");
        }
    }

    #[test]
    fn a_path_that_is_no_utf8_is_no_text() {
        for (raw, text) in [("/%C3%A9%2F%5B", true), ("/%FF", false), ("/a%C3", false)] {
            assert_eq!(is_text(&decoded(raw)), text, "{raw}");
        }
    }

    #[test]
    fn builds_the_upstream_path() {
        // service.path, request path, what is cut off, want: from the 224-step matrix, and what
        // Routes without a path and with an expression leave.
        for (base, path, matched, want) in [
            (None, "/r", Some("/r"), "/"),
            (None, "/r/", Some("/r"), "/"),
            (Some("/s"), "/r", Some("/r"), "/s"),
            (Some("/s"), "/r/", Some("/r"), "/s/"),
            (Some("/s/"), "/r", Some("/r"), "/s"),
            (Some("/s/"), "/", Some("/"), "/s/"),
            (Some("/s/"), "/r/x", Some("/r"), "/s/x"),
            (Some("/s"), "/r/x", Some("/r/"), "/s/x"),
            (Some("/s"), "/rest", Some("/r"), "/s/est"),
            (Some("/s"), "/r", None, "/s/r"),
            (Some("/s/"), "/r", None, "/s/r"),
            (Some("/s"), "/", None, "/s"),
            (Some("/s"), "/", Some(""), "/s"),
            (Some("/s/"), "/", Some(""), "/s/"),
            (Some("/s"), "/x", Some(""), "/s/x"),
            (Some("/s"), "/r..", Some("/r"), "/s"),
            (Some("/s"), "/r../x", Some("/r"), "/s/x"),
            (Some("/s"), "/r./x", Some("/r"), "/s/x"),
            (Some("/s"), "/r.../x", Some("/r"), "/s/.../x"),
        ] {
            assert_eq!(upstream(base, path, matched), want, "{base:?} {path} {matched:?}");
        }
    }

    #[test]
    fn the_old_way_leaves_out_one_slash_of_two_and_adds_none() {
        for (base, path, matched, want) in [
            (None, "/r", Some("/r"), "/"),
            (None, "/r", None, "/r"),
            (Some("/s"), "/r", None, "/sr"),
            (Some("/s"), "/r/x", Some("/r/"), "/sx"),
            (Some("/s"), "/r/x", Some("/r"), "/s/x"),
            (Some("/s/"), "/r", Some("/r"), "/s/"),
            (Some("/s/"), "/r/x", Some("/r"), "/s/x"),
            (Some("/s"), "/x", Some(""), "/sx"),
        ] {
            assert_eq!(joined(base, path, matched), want, "{base:?} {path} {matched:?}");
        }
    }

    /// Paths of the pieces that normalising is about.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "//", ".", "..", "/./", "/../", "a", "B", "%2e", "%2F", "%25", "%41", "%c3%a9",
            "é", "%ff", "%20", " ", "{", "%7B", "+", "~", "",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    /// nginx refuses the others.
    fn well_escaped() -> impl Strategy<Value = String> {
        paths().prop_filter("400", |path| is_well_escaped(path))
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_as_it_is(path in well_escaped()) {
            let once = decoded(&path).into_owned();
            prop_assert_eq!(decoded(&once), once.as_str());
            let sent = normalise(&path).into_owned();
            prop_assert_eq!(normalise(&sent), sent.as_str());
            prop_assert_eq!(decoded(&sent), once.as_str());
            prop_assert!(sent.is_ascii() && sent.starts_with('/') && !sent.contains("//"));
            prop_assert!(!sent.split('/').any(|segment| matches!(segment, "." | "..")));
        }

        #[test]
        fn an_upstream_path_never_leaves_the_service(path in paths(), cut in 0usize..6) {
            let path = decoded(&path).into_owned();
            let matched = path.get(..cut.min(path.len())).unwrap_or("/");
            let target = normalise(&upstream(Some("/base"), &path, Some(matched))).into_owned();
            prop_assert!(target.starts_with("/base"), "{target}");
        }
    }
}
