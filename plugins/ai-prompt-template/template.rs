//! Templates with `{{placeholders}}`, filled in as Kong fills them in.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::llm::json;
use crate::llm::splice::Object;

/// Kong's pattern `{{([%w_]+)}}`.
static PLACEHOLDER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{\{([A-Za-z0-9_]+)\}\}").ok());

/// Why a template was not filled in; the texts are Kong's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("properties must be an object")]
    NoObject,
    #[error("property values must be a string, got {0}")]
    NoText(&'static str),
    #[error("missing template parameters: {0}")]
    Missing(String),
}

/// The text of a template with these properties: the JSON of the member, if there is one.
pub(super) fn render(template: &str, properties: Option<&[u8]>) -> Result<String, Unfit> {
    let values = values(properties)?;
    let Some(placeholder) = &*PLACEHOLDER else { return Ok(template.to_owned()) };
    let filled = placeholder.replace_all(template, |found: &Captures<'_>| {
        let value = values.iter().rev().find(|(name, _)| name == &found[1]);
        value.map_or_else(|| found[0].to_owned(), |(_, value)| value.clone())
    });
    let mut missing: Vec<String> = Vec::new();
    for found in placeholder.captures_iter(&filled) {
        let name = format!("[{}]", &found[1]);
        if !missing.contains(&name) {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(filled.into_owned());
    }
    Err(Unfit::Missing(missing.join(", ")))
}

/// Names, and values that can stand between the quotes of a JSON string.
fn values(properties: Option<&[u8]>) -> Result<Vec<(String, String)>, Unfit> {
    let Some(properties) = properties.filter(|value| *value != b"false") else {
        return Ok(Vec::new());
    };
    if properties.starts_with(b"[") && json::items(properties).next().is_none() {
        return Ok(Vec::new()); // in Lua an empty list is an empty object
    }
    let object = Object::read(properties).map_err(|_| Unfit::NoObject)?;
    let value = |(name, value): (Cow<'_, str>, &[u8])| match json::text(value) {
        Some(text) => Ok((name.into_owned(), escaped(&text))),
        None => Err(Unfit::NoText(kind(value))),
    };
    object.members().map(value).collect()
}

/// What Lua calls the type of a JSON value.
fn kind(value: &[u8]) -> &'static str {
    match value.first() {
        Some(b'{' | b'[') => "table",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "userdata",
        Some(b'"') => "string",
        _ => "number",
    }
}

/// A text between the quotes of a JSON string, as lua-cjson writes it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, properties: &str) -> Result<String, String> {
        render(template, Some(properties.as_bytes())).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn placeholders_are_filled_in() {
        let ok = |template, properties| rendered(template, properties).unwrap();
        assert_eq!(ok("say {{a}} {{b_1}} {{a}}", r#"{"a":"x","b_1":"y","c":"z"}"#), "say x y x");
        assert_eq!(ok("{{{a}}}", r#"{"a":"x"}"#), "{x}");
        assert_eq!(ok("{{ a }} {{a-b}} {{}}", "{}"), "{{ a }} {{a-b}} {{}}");
        assert_eq!(
            ok("{{a}}", r#"{"a":"q\" \\ / \n \u0001 \u007f é"}"#),
            r#"q\" \\ \/ \n \u0001 \u007f é"#
        );
        assert_eq!(ok("x", "[]"), "x");
        assert_eq!(ok("x", "false"), "x");
        assert_eq!(render("x", None).as_deref(), Ok("x"));
    }

    #[test]
    fn faults_have_the_texts_of_kong() {
        let bad = |properties| rendered("{{b}} {{a}} {{b}}", properties).unwrap_err();
        assert_eq!(bad("{}"), "missing template parameters: [b], [a]");
        assert_eq!(bad(r#"{"b":"x"}"#), "missing template parameters: [a]");
        // Kong looks for what is missing behind the replacement.
        assert_eq!(bad(r#"{"a":"x","b":"{{c}}"}"#), "missing template parameters: [c]");
        for no_object in ["null", "5", "true", "\"x\"", "[1]"] {
            assert_eq!(bad(no_object), "properties must be an object", "{no_object}");
        }
        for (value, kind) in
            [("1", "number"), ("true", "boolean"), ("null", "userdata"), ("{}", "table")]
        {
            let told = rendered("", &format!("{{\"a\":{value}}}")).unwrap_err();
            assert_eq!(told, format!("property values must be a string, got {kind}"));
        }
    }
}
