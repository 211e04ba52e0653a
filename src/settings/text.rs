//! How settings are written: flags, lines of kong.conf, sizes, times.

use std::time::Duration;

/// The flag that stands for a property, as the command line calls it.
pub(super) fn flag_of(property: &str) -> String {
    match property {
        "nginx_worker_processes" => "--workers".to_owned(),
        property => {
            format!("--{}", property.trim_start_matches("silverback_").replace('_', "-"))
        }
    }
}

/// `name = value` lines of a kong.conf, as Kong reads them: a backslash at the end of a line goes
/// on with the next one, lines that begin with `#` or `;` are comments and may stand in between,
/// and a value ends before a `#` that has no backslash in front. Quotes are part of the value.
pub(super) fn conf_lines(text: &str) -> impl Iterator<Item = (String, String, String)> + '_ {
    let mut joined: Option<(usize, String)> = None;
    let lines = text.lines().enumerate().filter_map(move |(number, line)| {
        let is_comment = line.trim_start().starts_with(['#', ';']);
        if is_comment || line.trim().is_empty() {
            return None;
        }
        let (first, mut whole) = joined.take().unwrap_or((number + 1, String::new()));
        if let Some(part) = line.trim_end().strip_suffix('\\') {
            whole.push_str(part);
            joined = Some((first, whole));
            return None;
        }
        whole.push_str(line);
        Some((first, whole))
    });
    lines.filter_map(|(number, line)| {
        let (name, value) = line.split_once('=')?;
        let is_word = |c: char| c.is_ascii_alphanumeric();
        let name: String = name.trim().chars().map(|c| if is_word(c) { c } else { '_' }).collect();
        let origin = format!("kong.conf:{number}");
        Some((name.to_ascii_lowercase(), without_comment(value), origin))
    })
}

fn without_comment(value: &str) -> String {
    let bytes = value.as_bytes();
    let begins = |at: &usize| bytes[*at] == b'#' && (*at == 0 || bytes[at - 1] != b'\\');
    let end = (0..bytes.len()).find(begins).unwrap_or(bytes.len());
    value.get(..end).unwrap_or(value).trim().replace("\\#", "#")
}

/// nginx's sizes: bytes, or with `k`, `m`, `g`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.to_ascii_lowercase().chars().last()? {
        'k' => (&text[..text.len() - 1], 1 << 10),
        'm' => (&text[..text.len() - 1], 1 << 20),
        'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// nginx's times: seconds, or numbers with `ms`, `s`, `m`, `h`, `d`, `w`, the larger ones first.
pub(super) fn time(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = match tail.get(..letters)?.trim() {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = tail.get(letters..)?;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Vec<(String, String, String)> {
        conf_lines(text).collect()
    }

    #[test]
    fn a_line_goes_on_behind_a_backslash() {
        let text = "plugins = bundled,\\\n# not a part\n  mine\nlog_level=debug";
        let lines = conf(text);
        assert_eq!(lines[0].1, "bundled,  mine");
        assert_eq!(lines[0].2, "kong.conf:1");
        assert_eq!((lines[1].1.as_str(), lines[1].2.as_str()), ("debug", "kong.conf:4"));
    }

    #[test]
    fn a_value_ends_before_a_hash_that_is_not_escaped() {
        for (line, value) in [
            ("a = b # c", "b"),
            ("a = b#c", "b"),
            ("a = b\\#c # d", "b#c"),
            ("a = \"b\"", "\"b\""),
            ("a = # nothing", ""),
            ("a = b = c", "b = c"),
        ] {
            assert_eq!(conf(line)[0].1, value, "{line}");
        }
        assert_eq!(conf("; a = b\n  # c = d\n\nno assignment\n"), []);
        assert_eq!(conf("proxy-listen = off")[0].0, "proxy_listen");
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in
            [("75", 75_000), ("75s", 75_000), ("1m30s", 90_000), ("500ms", 500), ("1d", 86_400_000)]
        {
            assert_eq!(time(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "x", "5y", "-1", "99999999999999999999"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
