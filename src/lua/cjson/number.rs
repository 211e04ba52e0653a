//! Numbers as C's `strtod` reads them, which lua-cjson asks.

/// A number of JSON, and some that are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Real(f64),
}

/// The number at the start of a text, and how many bytes it has.
pub(super) fn read(text: &[u8]) -> Option<(Number, usize)> {
    let sign = usize::from(matches!(text, [b'-' | b'+', ..]));
    let is_negative = text.first() == Some(&b'-');
    let signed = |number: f64| if is_negative { -number } else { number };
    let rest = &text[sign..];
    for (word, number) in [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)] {
        let length = word.len();
        if rest.get(..length).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes())) {
            return Some((Number::Real(signed(number)), sign + length));
        }
    }
    if let [b'0', b'x' | b'X', digits @ ..] = rest
        && let Some((number, length)) = hexadecimal(digits)
    {
        return Some((Number::Real(signed(number)), sign + 2 + length));
    }
    let digits = |from: usize| {
        rest.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let whole = digits(0);
    let mut end = whole;
    let mut is_whole = whole > 0;
    if rest.get(end) == Some(&b'.') && (whole > 0 || digits(1) > 0) {
        end += 1 + digits(end + 1);
        is_whole = false;
    }
    if end == 0 {
        return None;
    }
    if matches!(rest.get(end), Some(b'e' | b'E')) {
        let plus = usize::from(matches!(rest.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(end + 1 + plus);
        if exponent > 0 {
            end += 1 + plus + exponent;
            is_whole = false;
        }
    }
    let spelled = std::str::from_utf8(&rest[..end]).ok()?;
    // What a double cannot hold exactly is no whole number for Lua.
    if is_whole
        && let Ok(number) = spelled.parse::<i64>()
        && number < 1 << 53
    {
        return Some((Number::Whole(if is_negative { -number } else { number }), sign + end));
    }
    let number = spelled.parse::<f64>().ok()?;
    // lua-cjson reads whole numbers with strtoll, which stops at the ends of 64 bits.
    let number = if is_whole { number.min(i64::MAX as f64) } else { number };
    Some((Number::Real(signed(number)), sign + end))
}

/// What lua-cjson calls the number that a text begins with.
pub(super) fn kind(text: &[u8]) -> &'static str {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match digits.get(length) {
        Some(b'.' | b'e' | b'E' | b'x') => "T_NUMBER",
        _ if length == 0 => "invalid number",
        _ => "T_INTEGER",
    }
}

/// A hexadecimal number behind its `0x`: digits, a fraction, and an exponent of two.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let count = |from: usize, is_digit: fn(&u8) -> bool| {
        text.get(from..).unwrap_or_default().iter().take_while(|byte| is_digit(byte)).count()
    };
    let value = |byte: &u8| f64::from(char::from(*byte).to_digit(16).unwrap_or_default());
    let whole = count(0, u8::is_ascii_hexdigit);
    let mut number = text[..whole].iter().fold(0.0, |sum, byte| sum * 16.0 + value(byte));
    let mut end = whole;
    if text.get(end) == Some(&b'.') {
        let length = count(end + 1, u8::is_ascii_hexdigit);
        let digits = text[end + 1..end + 1 + length].iter().rev();
        number += digits.fold(0.0, |sum, byte| (sum + value(byte)) / 16.0);
        end += if whole + length > 0 { 1 + length } else { 0 };
    }
    if end == 0 {
        return None;
    }
    if matches!(text.get(end), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'-' | b'+')));
        let length = count(end + 1 + sign, u8::is_ascii_digit);
        let digits = text.get(end + 1..end + 1 + sign + length).unwrap_or_default();
        if length > 0 {
            let exponent = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
            number *= 2_f64.powi(exponent.unwrap_or(i32::MAX));
            end += 1 + sign + length;
        }
    }
    Some((number, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_ends_where_c_would_end_it() {
        for (text, number, length) in [
            ("12abc", Number::Whole(12), 2),
            ("-0.5e3,", Number::Real(-500.0), 6),
            ("1e", Number::Whole(1), 1),
            ("1.]", Number::Real(1.0), 2),
            ("007", Number::Whole(7), 3),
            ("0x1F", Number::Real(31.0), 4),
            ("0xg", Number::Whole(0), 1),
            ("0x1.8p3", Number::Real(12.0), 7),
            ("0x.4", Number::Real(0.25), 4),
            ("+5", Number::Whole(5), 2),
            ("-Infinity", Number::Real(f64::NEG_INFINITY), 9),
            ("9007199254740993", Number::Real(9_007_199_254_740_992.0), 16),
        ] {
            assert_eq!(read(text.as_bytes()), Some((number, length)), "{text}");
        }
        assert!(matches!(read(b"nan"), Some((Number::Real(number), 3)) if number.is_nan()));
        assert_eq!(read(b"-"), None);
        assert_eq!(read(b".e"), None);
    }
}
