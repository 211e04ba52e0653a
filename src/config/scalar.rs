//! What an unquoted YAML word means.
//!
//! Kong and decK both read YAML 1.1: `yes` is a boolean and `017` is fifteen. Where their readers
//! differ (`y`, base-60 numbers such as `10:30`, dates) the word stays a string, which a schema
//! refuses loudly if it wanted something else.

use serde_json::{Number, Value};

/// Why a plain word has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unrepresentable {
    /// JSON, and with it every plugin, has no infinity and no not-a-number.
    #[error("{0} is not a number that a configuration can hold; quote it if it is text")]
    NotFinite(String),
}

/// The value of an unquoted scalar.
pub(super) fn resolve(word: &str) -> Result<Value, Unrepresentable> {
    Ok(match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => match number(word)? {
            Some(number) => Value::Number(number),
            None => Value::String(word.to_owned()),
        },
    })
}

/// The number that a word spells, if it spells one.
pub(super) fn number(word: &str) -> Result<Option<Number>, Unrepresentable> {
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(word, ".nan" | ".NaN" | ".NAN") {
        return Err(Unrepresentable::NotFinite(word.to_owned()));
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(None);
    }
    let negative = word.starts_with('-');
    if let Some(integer) = integer(unsigned, negative) {
        return Ok(Some(integer));
    }
    float(unsigned, negative).transpose().map_err(|()| Unrepresentable::NotFinite(word.to_owned()))
}

/// An integer: decimal, `0x`, `0o`, `0b`, or octal by a leading zero (YAML 1.1); `_` may group.
fn integer(unsigned: &str, negative: bool) -> Option<Number> {
    let digits = unsigned.replace('_', "");
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None; // from_str_radix would take a second sign
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if !negative {
        return Some(magnitude.into());
    }
    // i64::MIN has no positive twin, so the sign goes on in a wider type.
    i64::try_from(-i128::from(magnitude)).ok().map(Number::from)
}

/// A decimal fraction with an optional exponent; `Err` when it is too large for a double.
fn float(unsigned: &str, negative: bool) -> Option<Result<Number, ()>> {
    let text = unsigned.replace('_', "");
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text.as_str(), None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['-', '+']).unwrap_or(e);
        !digits.is_empty() && all_digits(digits)
    });
    let some_digits = !whole.is_empty() || !fraction.is_empty();
    if !(some_digits && all_digits(whole) && all_digits(fraction) && exponent_fits) {
        return None;
    }
    let magnitude: f64 = text.parse().ok()?;
    Some(Number::from_f64(if negative { -magnitude } else { magnitude }).ok_or(()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_mean_what_yaml_1_1_says() {
        let cases = [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("oN", json!("oN")),
            ("y", json!("y")),
            ("80", json!(80)),
            ("+1", json!(1)),
            ("-0x10", json!(-16)),
            ("0o17", json!(15)),
            ("017", json!(15)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("18446744073709551615", json!(18446744073709551615u64)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("-1e3", json!(-1000.0)),
            ("089", json!(89.0)),
            ("123456789012345678901234567890", json!(1.2345678901234568e29)),
            // Not numbers: versions, dates, times, addresses, lone signs.
            ("3.0.1", json!("3.0.1")),
            ("2024-10-21", json!("2024-10-21")),
            ("10:30", json!("10:30")),
            ("127.0.0.1", json!("127.0.0.1")),
            ("-", json!("-")),
            (".", json!(".")),
            ("1e", json!("1e")),
            ("0x", json!("0x")),
            ("0x-1", json!("0x-1")),
            ("--1", json!("--1")),
            ("gpt-4o", json!("gpt-4o")),
        ];
        for (word, value) in cases {
            assert_eq!(resolve(word), Ok(value), "{word}");
        }
    }

    #[test]
    fn infinity_is_refused_by_name() {
        for word in [".inf", "-.Inf", ".nan", "1e999"] {
            assert_eq!(resolve(word), Err(Unrepresentable::NotFinite(word.to_owned())));
        }
    }
}
