//! Headers as OpenResty sets them: any value counts as its text, bytes that a head cannot hold are
//! escaped, and a header with an empty value is one that is not there.

use http::{HeaderName, HeaderValue};
use mlua::Value;

use crate::lua::bind::Fault;
use crate::lua::kong::value;

/// A header's name; what is no text counts by `tostring`.
pub(in crate::lua) fn name(name: &Value, transform: bool) -> Result<HeaderName, Fault> {
    let text = match name {
        Value::Nil => return Err("bad 'name' argument: string expected, got nil".into()),
        Value::String(text) => text.as_bytes().to_vec(),
        other => value::shown(other)?.into_bytes(),
    };
    let mut safe = escaped(&text, |byte| {
        byte <= b' ' || byte >= 0x7F || b"\"(),/:;<=>?@[\\]{}".contains(&byte)
    });
    if transform {
        safe.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
    }
    HeaderName::from_bytes(&safe).map_err(|_| "failed to set header".into())
}

/// Refuses what nginx does not take for a header of this name: a length is a number.
pub(super) fn check(name: &HeaderName, values: &[HeaderValue]) -> Result<(), Fault> {
    let is_number = |value: &HeaderValue| value.as_bytes().iter().all(u8::is_ascii_digit);
    match *name == http::header::CONTENT_LENGTH && !values.iter().all(is_number) {
        true => Err("failed to set header".into()),
        false => Ok(()),
    }
}

/// The values that a plugin sets; none of them clears the header.
pub(super) fn values(value: &Value) -> Result<Vec<HeaderValue>, Fault> {
    let texts = match value {
        Value::Nil => Vec::new(),
        Value::Table(list) => {
            let parts: mlua::Result<Vec<Value>> = list.sequence_values().collect();
            parts?.iter().map(bytes).collect::<Result<_, _>>()?
        }
        other => vec![bytes(other)?],
    };
    Ok(texts.iter().filter(|text| !text.is_empty()).filter_map(|text| safe_value(text)).collect())
}

fn bytes(value: &Value) -> Result<Vec<u8>, Fault> {
    Ok(match value {
        Value::String(text) => text.as_bytes().to_vec(),
        other => value::shown(other)?.into_bytes(),
    })
}

/// A value with its control characters escaped, so that it stays one line of the head.
pub(in crate::lua) fn safe_value(text: &[u8]) -> Option<HeaderValue> {
    let is_unsafe = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7F;
    HeaderValue::from_bytes(&escaped(text, is_unsafe)).ok()
}

fn escaped(text: &[u8], is_unsafe: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if is_unsafe(byte) {
            out.extend(format!("%{byte:02X}").into_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}
