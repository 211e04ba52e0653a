//! Which cases are asked for: Lua patterns that can be used, and a word when there is no such case.

use super::super::SpecArgs;

/// Refuses patterns that Lua would refuse in the middle of the run.
pub(super) fn check(args: &SpecArgs) -> Result<(), String> {
    let given = args.filter.iter().map(|pattern| ("--filter", pattern));
    let given = given.chain(args.filter_out.iter().map(|pattern| ("--filter-out", pattern)));
    for (option, pattern) in given {
        if let Some(fault) = fault(pattern.as_bytes()) {
            return Err(format!("{option} '{pattern}' is no Lua pattern: {fault}"));
        }
    }
    Ok(())
}

/// Why no case has run, if that is what the options ask for.
pub(super) fn why_none(args: &SpecArgs) -> Option<String> {
    let lists = [
        ("--filter", &args.filter),
        ("--filter-out", &args.filter_out),
        ("--tags", &args.tags),
        ("--exclude-tags", &args.exclude_tags),
    ];
    let options: Vec<_> = lists
        .iter()
        .flat_map(|(option, values)| values.iter().map(move |value| format!("{option} '{value}'")))
        .collect();
    if options.is_empty() {
        return None;
    }
    let plain = args.filter.iter().find(|pattern| has_plain_hyphen(pattern));
    let hint = match (plain, args.tags.iter().find_map(|tag| tag.strip_prefix('#'))) {
        (Some(pattern), _) => {
            let meant = pattern.replace('-', "%-");
            format!("; '-' has a meaning in Lua patterns, a hyphen is '%-': --filter '{meant}'")
        }
        (None, Some(tag)) => format!("; a tag is given without its '#': --tags {tag}"),
        (None, None) => String::new(),
    };
    let (options, paths) = (options.join(" "), args.paths.join(" "));
    Some(format!("no case in {paths} fits {options}: nothing has run{hint}"))
}

/// Whether a pattern has a `-` behind a letter, where most people mean the letter.
fn has_plain_hyphen(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    bytes.windows(2).any(|pair| pair[0].is_ascii_alphanumeric() && pair[1] == b'-')
        && !pattern.contains(['[', '%'])
}

/// What makes a pattern malformed, by the rules of Lua 5.1. Without any of the signs that begin
/// something it is a plain text.
fn fault(pattern: &[u8]) -> Option<String> {
    if !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte)) {
        return None;
    }
    // For each capture, whether it is still open.
    let mut captures: Vec<bool> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        at = match (byte, pattern.get(at + 1)) {
            (b'(', next) => {
                let is_position = next == Some(&b')');
                captures.push(!is_position);
                at + if is_position { 2 } else { 1 }
            }
            (b')', _) => match captures.iter_mut().rev().find(|open| **open) {
                Some(open) => {
                    *open = false;
                    at + 1
                }
                None => return Some("a ')' without '(' (the sign itself is '%)')".to_owned()),
            },
            (b'%', None) => return Some("it ends with '%' (the sign itself is '%%')".to_owned()),
            (b'%', Some(b'b')) if pattern.len() < at + 4 => {
                return Some("'%b' needs two characters behind it".to_owned());
            }
            (b'%', Some(b'b')) => at + 4,
            (b'%', Some(b'f')) if pattern.get(at + 2) != Some(&b'[') => {
                return Some("'%f' needs a '[' behind it".to_owned());
            }
            (b'%', Some(digit @ b'0'..=b'9')) => {
                let number = usize::from(digit - b'0');
                if number == 0 || captures.get(number - 1) != Some(&false) {
                    return Some(format!("'%{number}' names no capture"));
                }
                at + 2
            }
            (b'%', Some(_)) => at + 2,
            (b'[', _) => match end_of_set(pattern, at) {
                Some(end) => end,
                None => return Some("a '[' without ']' (the sign itself is '%[')".to_owned()),
            },
            _ => at + 1,
        };
    }
    let is_open = captures.contains(&true);
    is_open.then(|| "a '(' without ')' (the sign itself is '%(')".to_owned())
}

/// The place behind the `]` of a set that begins here; the first one in it is a sign of its own.
fn end_of_set(pattern: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    if pattern.get(at) == Some(&b'^') {
        at += 1;
    }
    loop {
        at += if pattern.get(at)? == &b'%' { 2 } else { 1 };
        if pattern.get(at)? == &b']' {
            return Some(at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lua itself looks at a pattern only as far as a text leads it. This one leads it everywhere.
    fn lua_says(pattern: &str) -> bool {
        let vm = crate::lua::Vm::new(&crate::lua::Options::default()).unwrap();
        let find = "local ok = pcall(string.find, 'ab(c)[d]', (...)) return ok";
        vm.lua().load(find).call(pattern).unwrap()
    }

    #[test]
    fn patterns_are_judged_as_lua_does() {
        for pattern in
            ["a", "%a+", "(a)b", "()a", "[]]", "[^]a]", "[%]a]", "(a)%1", "%bab", "a-", ")"]
        {
            assert_eq!(fault(pattern.as_bytes()), None, "{pattern}");
            assert!(lua_says(pattern), "{pattern}");
        }
        for pattern in ["(", "(a))", "[", "[]", "[^", "[a%", "%", "a%", "%1", "%b", "%fa", "(%1)"] {
            assert!(fault(pattern.as_bytes()).is_some(), "{pattern}");
            assert!(!lua_says(pattern), "{pattern}");
        }
    }

    #[test]
    fn a_hyphen_that_was_meant_as_such_is_seen() {
        assert!(has_plain_hyphen("my-plugin"));
        assert!(!has_plain_hyphen("my%-plugin") && !has_plain_hyphen("[a-z]"));
    }
}
