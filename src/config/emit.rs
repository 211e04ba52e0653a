//! JSON as YAML, for people: block style, with quotes only where a word would mean something else.

use std::fmt::Write as _;

use serde_json::Value;

use super::scalar;

/// A document in YAML. It is read back as the same value, also by YAML 1.1.
pub(super) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

/// Writes a value behind `key:` or `-`, with the line's end.
fn write(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 || indent == 0 {
                    let _ = write!(out, "{:indent$}", "");
                }
                let _ = write!(out, "{}:", line(key));
                member(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "{:indent$}-", "");
                element(item, indent, out);
            }
        }
        other => {
            let _ = writeln!(out, "{}", scalar(other, indent));
        }
    }
}

/// The value of a key: a list stands under its key, a map is indented.
fn member(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write(value, indent, out);
        }
        Value::Object(map) if !map.is_empty() => {
            let _ = write!(out, "\n{:inner$}", "", inner = indent + 2);
            write(value, indent + 2, out);
        }
        other => {
            let _ = writeln!(out, " {}", scalar(other, indent + 2));
        }
    }
}

/// An element of a list begins behind its dash.
fn element(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write(value, indent + 2, out);
        }
        other => {
            out.push(' ');
            write(other, indent + 2, out);
        }
    }
}

fn scalar(value: &Value, indent: usize) -> String {
    match value {
        Value::String(text) => block(text, indent).unwrap_or_else(|| line(text)),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// A text of several lines, such as a certificate, as it is.
fn block(text: &str, indent: usize) -> Option<String> {
    let (body, mark) = match text.strip_suffix('\n') {
        Some(body) => (body, "|"),
        None => (text, "|-"),
    };
    let is_plain = |c: char| c == '\n' || !c.is_control();
    let fits = body.contains('\n')
        && body.chars().all(is_plain)
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n');
    let lines = || body.split('\n');
    fits.then(|| {
        lines().fold(mark.to_owned(), |mut out, line| {
            let indent = if line.is_empty() { 0 } else { indent };
            let _ = write!(out, "\n{:indent$}{line}", "");
            out
        })
    })
}

/// A text on one line, quoted if it has to be.
fn line(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_./~-".contains(c);
    // A word that begins with a digit may be a date or a time of day to another reader.
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || "_/".contains(c));
    let is_text = scalar::resolve(text).is_ok_and(|value| value == text);
    // YAML 1.1 has a few words more than are read here.
    let is_other = ["y", "n", "Y", "N"].contains(&text);
    if begins && text.chars().all(is_word) && is_text && !is_other {
        text.to_owned()
    } else if text.chars().any(char::is_control) {
        Value::from(text).to_string()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::config::env::Origin;
    use crate::config::yaml as reader;

    fn read(text: &str) -> Value {
        reader::parse(text, &Origin::of_file(0)).unwrap().to_value()
    }

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({
            "_format_version": "3.0",
            "services": [
                {"name": "s", "port": 80, "tags": [], "path": null, "routes": [{"paths": ["/a"]}]},
                {"name": "yes", "host": "it's", "headers": {"x": ["1", "a b"]}, "nested": [[1, 2]]},
            ],
            "cert": "-----BEGIN\nx\n-----END\n",
            "tab": "a\tb",
        });
        let text = "_format_version: '3.0'
services:
- name: s
  port: 80
  tags: []
  path: null
  routes:
  - paths:
    - /a
- name: 'yes'
  host: 'it''s'
  headers:
    x:
    - '1'
    - 'a b'
  nested:
  -
    - 1
    - 2
cert: |
  -----BEGIN
  x
  -----END
tab: \"a\\tb\"
";
        assert_eq!(yaml(&value), text);
        assert_eq!(read(text), value);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            "[ -~\u{e9}\n\t]{0,12}".prop_map(Value::from),
            prop_oneof![Just("on"), Just("0x1"), Just("~"), Just("<<"), Just("- a"), Just("a: b")]
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[ -~]{0,6}", inner), 0..5)
                    .prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any_value()) {
            prop_assert_eq!(read(&yaml(&value)), value);
        }
    }
}
