//! Which Route goes first: Kong's split of a Route by its paths, and its priority word.

use uuid::Uuid;

use crate::entity::Route;

/// The namespace of the ids that Kong gives to the parts of a split Route.
const SPLIT: Uuid = Uuid::from_u128(0x7f145bf9_0dce_4f91_98eb_debbce4b9f6b);

/// The part of a Route that is matched as one: prefixes of one length, or all its expressions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'r> {
    /// Decides between parts of equal priority: the greater one wins.
    pub(super) id: Uuid,
    pub(super) paths: Vec<&'r str>,
}

/// Splits a Route as Kong does. The order of its paths counts: it makes the ids of the parts.
pub(super) fn split(route: &Route) -> Vec<Part<'_>> {
    let kind = |path: &str| if path.starts_with('~') { 0 } else { path.len() };
    let mut groups: Vec<(usize, Vec<&str>)> = Vec::new();
    for path in route.paths.iter().flatten().map(String::as_str) {
        match groups.iter_mut().find(|(known, _)| *known == kind(path)) {
            Some((_, paths)) => paths.push(path),
            None => groups.push((kind(path), vec![path])),
        }
    }
    if groups.len() < 2 {
        let paths = groups.pop().map(|(_, paths)| paths).unwrap_or_default();
        return vec![Part { id: route.id, paths }];
    }
    let part = |(n, (_, paths)): (usize, (usize, Vec<_>))| {
        let id = Uuid::new_v5(&SPLIT, format!("{}#{}", route.id, n + 1).as_bytes());
        Part { id, paths }
    };
    groups.into_iter().enumerate().map(part).collect()
}

/// Kong's priority word of a part; the greater one wins.
///
/// The word is meant to hold, from its top bit down: how many criteria a Route has, whether all
/// hosts are plain, how many headers, whether a path is an expression, `regex_priority`, and the
/// length of the prefix. But Kong computes all except the two flags with shifts of 32 bits, so
/// that the flags stand on top: a plain host beats more criteria, and so does an expression. From
/// four criteria on, the sign fills the upper half, which buries the flags.
pub(super) fn word(route: &Route, part: &Part<'_>) -> u64 {
    const PLAIN_HOSTS: u64 = 1 << 60;
    const EXPRESSION: u64 = 1 << 51;
    let is_regex = part.paths.first().is_some_and(|path| path.starts_with('~'));
    let length = part.paths.first().map_or(0, |path| if is_regex { 0 } else { path.len() });
    let headers = route.headers.as_ref().map_or(0, std::collections::BTreeMap::len);
    let has = |list: Option<usize>| i64::from(list.is_some_and(|length| length > 0));
    let criteria = has(route.methods.as_ref().map(Vec::len))
        + has(route.hosts.as_ref().map(Vec::len))
        + has(Some(headers))
        + has(route.snis.as_ref().map(Vec::len))
        + has(route.sources.as_ref().map(Vec::len))
        + has(route.destinations.as_ref().map(Vec::len))
        + has(Some(part.paths.len()));
    let mut word = shifted(criteria, 29) | shifted(headers.min(255) as i64, 20);
    word |= (length & 0x7FFFF) as u64;
    // An empty list has no wildcard either.
    if route.hosts.as_ref().is_some_and(|hosts| hosts.iter().all(|host| !host.contains('*'))) {
        word |= PLAIN_HOSTS;
    }
    if is_regex {
        word |= EXPRESSION | shifted(route.regex_priority, 19);
    }
    word
}

/// `bit.lshift` of LuaJIT: 32 bits, and the sign goes on when the word becomes longer.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn shifted(value: i64, by: u32) -> u64 {
    i64::from((value as i32).wrapping_shl(by)) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::route;
    use super::*;

    #[test]
    fn a_route_is_split_by_the_lengths_of_its_prefixes() {
        let paths = ["~/re", "/long", "/a", "/b", "~/other"];
        let route = route("r", json!({ "paths": paths }));
        let parts = split(&route);
        let of = |n: usize| Uuid::new_v5(&SPLIT, format!("{}#{n}", route.id).as_bytes());
        assert_eq!(
            parts,
            [
                Part { id: of(1), paths: vec!["~/re", "~/other"] },
                Part { id: of(2), paths: vec!["/long"] },
                Part { id: of(3), paths: vec!["/a", "/b"] },
            ]
        );
    }

    #[test]
    fn a_route_with_one_kind_of_path_keeps_its_id() {
        let route = route("r", json!({"paths": ["/a", "/b"]}));
        assert_eq!(split(&route), [Part { id: route.id, paths: vec!["/a", "/b"] }]);
    }

    /// Values that Kong's own arithmetic gives in LuaJIT.
    #[test]
    fn the_word_is_the_one_that_kong_computes() {
        for (fields, want) in [
            (json!({"paths": ["/abcdef"]}), 0x2000_0007),
            (json!({"methods": ["GET"], "paths": ["/abcdef"]}), 0x4000_0007),
            (json!({"hosts": ["h"], "paths": ["/abcdef"]}), 0x1000_0000_4000_0007),
            (json!({"hosts": ["*.h"], "paths": ["/abcdef"]}), 0x4000_0007),
            (json!({"hosts": [], "paths": ["/a"]}), 0x1000_0000_2000_0002),
            (json!({"headers": {"a": ["1"], "b": ["2"]}}), 0x2020_0000),
            (json!({"paths": ["~/a"], "regex_priority": 3}), 0x0008_0000_2018_0000),
            (json!({"paths": ["~/a"], "regex_priority": 8192}), 0x0008_0000_2000_0000),
            (json!({"paths": ["/a"], "regex_priority": 3}), 0x2000_0002),
            (
                json!({"hosts": ["h"], "methods": ["GET"], "headers": {"a": ["1"]},
                    "paths": ["~/a"]}),
                0xFFFF_FFFF_8010_0000,
            ),
        ] {
            let route = route("r", fields.clone());
            assert_eq!(word(&route, &split(&route)[0]), want, "{fields}");
        }
    }
}
