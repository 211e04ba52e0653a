//! The router against the plainest one that could be: every part of every Route in Kong's order,
//! and the first that agrees.

use proptest::prelude::*;
use regex::Regex;

use super::*;

const HOSTS: [&str; 8] = ["a.b.c", "*.b.c", "a.*", "b.c", "a.b.c:81", "*.c", "x*", "B.c"];
const PATHS: [&str; 12] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/bc",
    "/é",
    "~/a",
    "~/a/\\w+$",
    "~/(a|b)/b",
    "~/a|/b",
    "~.*c",
    "~(?i)/A",
];

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(all), 0..4)
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn routes() -> impl Strategy<Value = Vec<Arc<Route>>> {
    let headers = one_of(vec![
        json!(null),
        json!(null),
        json!({"x-a": ["1"]}),
        json!({"x-a": ["~*^[12]"], "x-b": ["2"]}),
    ]);
    let methods = one_of(vec![json!(null), json!(null), json!(["GET"])]);
    let one = (some_of(&HOSTS), some_of(&PATHS), methods, headers, 0..3i64);
    prop::collection::vec(one, 1..14).prop_map(|all| {
        let fields = |(hosts, paths, methods, headers, regex_priority)| {
            json!({"hosts": hosts, "paths": paths, "methods": methods, "headers": headers,
                "regex_priority": regex_priority})
        };
        let routes = all.into_iter().map(fields).enumerate();
        routes.map(|(n, fields)| route(&format!("r{n}"), fields)).collect()
    })
}

/// What agrees, written down from the criteria without a thought for speed.
fn agrees(route: &Route, paths: &[&str], query: &Query<'_>) -> bool {
    let wildcard =
        |pattern: &str, name: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (_, Some(beginning)) => name.starts_with(beginning),
            _ => name == pattern,
        };
    let host = |host: &String| {
        let (name, port) = split_port(host);
        wildcard(name, query.host) && port.is_none_or(|port| port == query.port)
    };
    let path = |path: &&str| match path.strip_prefix('~') {
        Some(pattern) => Regex::new(&format!("^{pattern}")).unwrap().is_match(query.path),
        None => query.path.starts_with(path),
    };
    let header = |(name, values): (&String, &Vec<String>)| {
        query.headers.get_all(name.as_str()).iter().any(|value| {
            let value = value.to_str().unwrap();
            values.iter().any(|want| match want.strip_prefix("~*") {
                Some(pattern) => Regex::new(pattern).unwrap().is_match(value),
                None => want == value,
            })
        })
    };
    let none_or = |list: Option<&Vec<String>>, one: &dyn Fn(&String) -> bool| {
        list.is_none_or(|list| list.is_empty() || list.iter().any(one))
    };
    none_or(route.hosts.as_ref(), &host)
        && none_or(route.methods.as_ref(), &|method| method == query.method)
        && route.headers.iter().flatten().all(header)
        && (paths.is_empty() || paths.iter().any(path))
}

fn reference(routes: &[Arc<Route>], query: &Query<'_>) -> Option<Uuid> {
    let mut parts: Vec<_> = Vec::new();
    for route in routes {
        for part in priority::split(route) {
            parts.push((priority::word(route, &part), part.id, route, part.paths));
        }
    }
    parts.sort_by_key(|(word, id, ..)| std::cmp::Reverse((*word, *id)));
    let found = parts.iter().find(|(.., route, paths)| agrees(route, paths, query));
    found.map(|(.., route, _)| route.id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_finds_what_trying_every_route_finds(
        routes in routes(),
        host in one_of(vec!["a.b.c", "b.c", "x.b.c", "a.x", "x", "", "a.b.c.", "B.c"]),
        port in one_of(vec![81u32, 8000]),
        path in one_of(vec!["/", "/a", "/a/b", "/a/bc/d", "/b", "/x/b", "/é/c", "/A"]),
        method in one_of(vec!["GET", "POST"]),
        headers in one_of(vec![vec![], vec![("x-a", "1")], vec![("x-a", "2"), ("x-b", "2")]]),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, http::HeaderValue::from_static(value));
        }
        let query = Query {
            path, query: None, host, port, method, tls: false, sni: None, headers: &map,
            source: "10.0.0.1:1".parse().unwrap(), address: "127.0.0.1".parse().unwrap(),
        };
        let want = reference(&routes, &query);
        let snapshot = Snapshot { routes, ..Snapshot::default() };
        let router = Router::new(&snapshot, RouterFlavor::TraditionalCompatible).unwrap();
        prop_assert_eq!(router.find(&query).map(|hit| hit.route.id), want);
        // What is told is what is done.
        let looks = router.explain(&query);
        let first = looks.iter().find(|look| look.agrees);
        prop_assert_eq!(first.map(|look| look.route.id), want);
        prop_assert!(looks.iter().all(|look| look.agrees == (look.misses() == 0)));
        prop_assert!(looks.windows(2).all(|pair| pair[0].priority >= pair[1].priority));
    }
}
