//! Media types with their parameters (RFC 2045).

use std::sync::LazyLock;

use regex::Regex;

/// A media type; `*` stands for any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Media {
    kind: String,
    subtype: String,
    /// Names in lower case, in their order.
    parameters: Vec<(String, String)>,
}

/// What a token is made of: all but controls and separators.
const TOKEN: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+";

impl Media {
    /// Reads a media type; `None` if it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        static WHOLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let parameter = format!(r#"[ \t]*;[ \t]*{TOKEN}=(?:{TOKEN}|"(?:[^"\\]|\\.)*")"#);
            Regex::new(&format!(r"^(?:({TOKEN})/({TOKEN})|\*)((?:{parameter})*)$")).ok()
        });
        static PARAMETER: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let value = format!(r#"(?:({TOKEN})|"((?:[^"\\]|\\.)*)")"#);
            Regex::new(&format!(r"[ \t]*;[ \t]*({TOKEN})={value}")).ok()
        });
        let parts = WHOLE.as_ref()?.captures(text)?;
        let part = |n| parts.get(n).map_or_else(|| "*".to_owned(), |part| lower(part.as_str()));
        let rest = parts.get(3).map_or("", |rest| rest.as_str());
        let parameter = |found: regex::Captures<'_>| {
            let value = found.get(2).or_else(|| found.get(3));
            let value = value.map_or("", |value| value.as_str());
            (lower(found.get(1).map_or("", |name| name.as_str())), value.to_owned())
        };
        let mut parameters: Vec<_> =
            PARAMETER.as_ref()?.captures_iter(rest).map(parameter).collect();
        parameters.sort_unstable();
        Some(Self { kind: part(1), subtype: part(2), parameters })
    }

    /// Whether a reply of this type is meant. Parameters must be the same; what is no media type is
    /// only meant by `*`.
    pub(super) fn covers(&self, reply: Option<&Self>) -> bool {
        let is = |mine: &str, theirs: Option<&String>| {
            mine == "*" || theirs.is_some_and(|theirs| theirs == mine)
        };
        is(&self.kind, reply.map(|reply| &reply.kind))
            && is(&self.subtype, reply.map(|reply| &reply.subtype))
            && self.parameters == reply.map_or(Vec::new(), |reply| reply.parameters.clone())
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_count_and_case_does_not() {
        for (configured, reply, expected) in [
            ("text/plain", "Text/PLAIN", true),
            ("text/plain", "text/plain; charset=utf-8", false),
            ("text/plain;charset=utf-8", "text/plain ; Charset=utf-8", true),
            ("text/plain;charset=utf-8", "text/plain; charset=UTF-8", false),
            ("a/b; x=1; y=\"2 3\"", "a/b;y=\"2 3\";x=1", true),
            ("*/*", "a/b", true),
            ("*", "a/b", true),
            ("a/*", "a/b", true),
            ("a/*", "b/b", false),
            ("*/*", "a/b; x=1", false),
            ("*/*", "no media type", true),
            ("a/b", "no media type", false),
        ] {
            let read = Media::read(reply);
            let covers = Media::read(configured).unwrap().covers(read.as_ref());
            assert_eq!(covers, expected, "{configured} {reply}");
        }
        for wrong in ["", "a", "a/", "a/b;", "a/b; x", "a/b c"] {
            assert_eq!(Media::read(wrong), None, "{wrong}");
        }
    }
}
