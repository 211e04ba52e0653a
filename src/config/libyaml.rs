//! What libyaml, by which Kong reads YAML, says of a text that our scanner refuses.
//!
//! The two have much of their words in common. Kong puts the position of the last event in front
//! of them, and not that of the error.

/// libyaml's word for a byte that no YAML text may hold.
pub(super) const CONTROL: &str = "control characters are not allowed";

/// Line and column, both from 1.
type Place = (usize, usize);

/// What is wrong, after `last` was read, in a text of which our scanner said `info` at `stopped`.
pub(super) fn said(text: &str, info: &str, last: Place, stopped: Place) -> String {
    let problem = match info.split_once(", ") {
        Some((context, problem)) if context.starts_with("while ") => problem,
        _ => info,
    };
    let between = || between(text, last, stopped);
    let (line, column, problem) = match problem {
        "found unknown anchor" => {
            let (line, column) = stopped;
            return format!("{line}:{column}: invalid reference: {}", alias_at(text, stopped));
        }
        "illegal placement of ':' indicator" => flow_item(between(), last),
        "invalid indentation in quoted scalar" => unclosed(text, between(), last, stopped),
        _ if problem.starts_with("invalid trailing content") => {
            let (line, column) = begin_of_quotes(between(), last);
            (line, column, "did not find expected key")
        }
        _ => (last.0, last.1, translated(problem)),
    };
    format!("{line}:{column}: {problem}")
}

/// The place of the first character that YAML does not allow.
pub(super) fn control_character(text: &str) -> Option<Place> {
    let is_allowed = |c: char| match u32::from(c) {
        0x09 | 0x0a | 0x0d | 0x85 => true,
        code => code >= 0xa0 || (0x20..0x7f).contains(&code),
    };
    let at = text.find(|c| !is_allowed(c))?;
    let (before, line) = text[..at].rsplit_once('\n').unwrap_or(("", &text[..at]));
    let lines = if text[..at].contains('\n') { before.matches('\n').count() + 2 } else { 1 };
    Some((lines, line.chars().count() + 1))
}

fn translated(problem: &str) -> &str {
    match problem {
        "expected ',' or ']'" => "did not find expected ',' or ']'",
        "simple key expected" | "simple key expect ':'" => "could not find expected ':'",
        "found a tab" => "found a tab character that violates indentation",
        "did not find expected hexadecimal number" => "did not find expected hexdecimal number",
        "misplaced bracket" => "did not find expected node content",
        _ if problem.starts_with("tab") || problem.starts_with("unexpected character") => {
            "found character that cannot start any token"
        }
        _ => problem,
    }
}

/// A colon behind a text of several lines in a flow collection: that text is the last event.
fn flow_item(between: Vec<(Place, char)>, last: Place) -> (usize, usize, &'static str) {
    let open = between.iter().rposition(|(_, c)| matches!(c, '[' | '{' | ','));
    let rest = &between[open.map_or(0, |at| at + 1)..];
    let (line, column) = rest.iter().find(|(_, c)| !c.is_whitespace()).map_or(last, |(at, _)| *at);
    let in_list = between.iter().rev().find(|(_, c)| matches!(c, '[' | '{'));
    let problem = match in_list {
        Some((_, '{')) => "did not find expected ',' or '}'",
        _ => "did not find expected ',' or ']'",
    };
    (line, column, problem)
}

/// A line within quotes that begins too far left, which libyaml allows: it reads on to the next
/// quote, or to the end.
fn unclosed(
    text: &str,
    between: Vec<(Place, char)>,
    last: Place,
    stopped: Place,
) -> (usize, usize, &'static str) {
    let quote = between.iter().find(|(_, c)| matches!(c, '"' | '\''));
    let rest: String = text.lines().skip(stopped.0 - 1).collect();
    match quote {
        Some(((line, column), quote)) if rest.contains(*quote) => {
            (*line, *column, "did not find expected key")
        }
        _ => (last.0, last.1, "found unexpected end of stream"),
    }
}

fn begin_of_quotes(between: Vec<(Place, char)>, last: Place) -> Place {
    between.iter().find(|(_, c)| matches!(c, '"' | '\'')).map_or(last, |(at, _)| *at)
}

/// The characters from one place to another, each with its place.
fn between(text: &str, from: Place, to: Place) -> Vec<(Place, char)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let lines = lines.skip(from.0.saturating_sub(1)).take((to.0 + 1).saturating_sub(from.0));
    lines
        .flat_map(|(number, line)| {
            line.chars().chain(['\n']).enumerate().map(move |(at, c)| ((number, at + 1), c))
        })
        .filter(|(place, _)| (from..to).contains(place))
        .collect()
}

/// The name of the alias at a place.
fn alias_at(text: &str, (line, column): Place) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let alias = line.chars().skip(column.saturating_sub(1)).skip_while(|c| *c == '*');
    alias.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::env::Origin;
    use crate::config::yaml;

    #[test]
    fn a_text_that_cannot_be_read_is_told_in_the_words_of_kongs_reader() {
        let cases = [
            ("x: [1\ny: }", "1:5: did not find expected ',' or ']'"),
            ("x: [1, 2\ny: 3", "1:8: did not find expected ',' or ']'"),
            ("x: {y: 1\nz: 2", "1:8: did not find expected ',' or '}'"),
            ("x: y: z", "1:4: mapping values are not allowed in this context"),
            ("x: 'y' z", "1:4: did not find expected key"),
            ("x:\n- y: \"z\n  a: b\n", "2:3: found unexpected end of stream"),
            ("x:\n- y\n  z: 1\n", "2:3: mapping values are not allowed in this context"),
            ("x:\n  y: 1\n z: 2\n", "3:2: did not find expected key"),
            ("x: *nothing", "1:4: invalid reference: nothing"),
            ("x: @y", "1:1: found character that cannot start any token"),
            ("x:\n\ty: 1", "1:1: found character that cannot start any token"),
            ("x: ]", "1:1: did not find expected node content"),
            ("x: 1\ny: \u{7}", "0:0: control characters are not allowed"),
        ];
        for (text, said) in cases {
            let fault = yaml::parse(text, &Origin::of_file(0)).unwrap_err().remove(0);
            assert_eq!(fault.kong.as_deref(), Some(said), "{text}");
        }
    }
}
