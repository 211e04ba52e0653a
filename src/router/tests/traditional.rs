//! The old router: its rules, and the whole against one that knows no tables.

use proptest::prelude::*;
use regex::Regex;

use super::*;

fn wins(routes: &[(&str, Value)], method: &str, url: &str, headers: &[(&str, &str)]) -> String {
    let router = router(routes, RouterFlavor::Traditional).unwrap();
    let (authority, _) = url.split_once('/').unwrap();
    let headers = [&[("host", authority)], headers].concat();
    let ask = super::ask(&router, &Ask { method, url, headers: &headers, tls: false, sni: None });
    ask.map_or("none".into(), |(name, _)| name)
}

#[test]
fn more_criteria_win_then_hosts_then_headers_then_paths() {
    let path = ("path", json!({"paths": ["/a/b"]}));
    let wild = ("wild", json!({"hosts": ["*.test"]}));
    let both = ("both", json!({"paths": ["/a"], "methods": ["GET"]}));
    let all = [path, wild, both];
    assert_eq!(wins(&all, "GET", "x.test/a/b", &[]), "both");
    assert_eq!(wins(&all, "POST", "x.test/a/b", &[]), "wild", "a wildcard wins over a path");
    assert_eq!(wins(&all, "POST", "x/a/b", &[]), "path");
    assert_eq!(wins(&all, "POST", "x/c", &[]), "none");
}

#[test]
fn a_host_that_is_named_twice_counts_once() {
    let routes = [
        ("twice", json!({"hosts": ["a.*", "a.*"], "paths": ["/"]})),
        ("regex", json!({"hosts": ["*.b.c"], "paths": ["~.*c"]})),
        ("hosts", json!({"hosts": ["*.c:81", "a.*"]})),
    ];
    assert_eq!(wins(&routes, "GET", "a.b.c/a/bc/d", &[]), "twice");
}

#[test]
fn a_regex_wins_over_prefixes_by_priority_and_then_by_age() {
    let routes = [
        ("prefix", json!({"paths": ["/a/bcd"]})),
        ("young", json!({"paths": ["~/a/b"], "created_at": 9})),
        ("old", json!({"paths": ["~/a/"], "created_at": 3})),
    ];
    assert_eq!(wins(&routes, "GET", "h/a/bcd", &[]), "old");
    let mut routes = routes;
    routes[1].1["regex_priority"] = 1.into();
    assert_eq!(wins(&routes, "GET", "h/a/bcd", &[]), "young");
    assert_eq!(wins(&routes, "GET", "h/a", &[]), "none");
}

#[test]
fn every_alternative_of_an_expression_is_bound_to_the_beginning() {
    let routes = [("either", json!({"paths": ["~/a|/b"]}))];
    assert_eq!(wins(&routes, "GET", "h/b/c", &[]), "either");
    assert_eq!(wins(&routes, "GET", "h/x/b", &[]), "none");
}

#[test]
fn a_host_with_a_port_is_for_that_port_and_one_without_for_all() {
    let port = [("port", json!({"hosts": ["p.test:81"]}))];
    assert_eq!(wins(&port, "GET", "p.test:81/", &[]), "port");
    assert_eq!(wins(&port, "GET", "p.test/", &[]), "none");
    let none = [("none_named", json!({"hosts": ["p.test", "*.w.test", "r.*"]}))];
    for host in ["p.test", "p.test:81", "a.w.test:81", "a.w.test", "r.any:9", "xr.any"] {
        assert_eq!(wins(&none, "GET", &format!("{host}/"), &[]), "none_named", "{host}");
    }
    for host in ["w.test", ".w.test", "p.test.x", "P.test"] {
        assert_eq!(wins(&none, "GET", &format!("{host}/"), &[]), "none", "{host}");
    }
    let both = [("wild", json!({"hosts": ["*.test:81"]})), ("plain", json!({"hosts": ["a.test"]}))];
    assert_eq!(wins(&both, "GET", "a.test:81/", &[]), "wild");
    assert_eq!(wins(&both, "GET", "b.test:82/", &[]), "none");
}

#[test]
fn of_header_values_one_that_stands_alone_may_be_an_expression() {
    let routes = [
        ("one", json!({"headers": {"x-a": ["~*^v[0-9]$"]}})),
        ("two", json!({"headers": {"x-a": ["V", "~*^w$"], "x-b": ["1"]}})),
    ];
    assert_eq!(wins(&routes, "GET", "h/", &[("x-a", "V1")]), "one");
    assert_eq!(wins(&routes, "GET", "h/", &[("x-a", "v"), ("x-b", "1")]), "two");
    assert_eq!(wins(&routes, "GET", "h/", &[("x-a", "w"), ("x-b", "1")]), "none");
}

const HOSTS: [&str; 8] = ["a.b.c", "*.b.c", "a.*", "b.c", "a.b.c:81", "*.c:81", "x.*:81", "B.c"];
const PATHS: [&str; 10] =
    ["/", "/a", "/a/b", "/a/bc", "~/a", "~/a/\\w+$", "~/(a|b)/b", "~/a/b|/b", "~/x", "~.*c"];

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(all), 0..3)
}

fn routes() -> impl Strategy<Value = Vec<Arc<Route>>> {
    let headers = prop::sample::select(vec![
        json!(null),
        json!(null),
        json!({"x-a": ["1"]}),
        json!({"x-a": ["~*^[12]$"], "x-b": ["2"]}),
    ]);
    let methods = prop::sample::select(vec![json!(null), json!(["GET"]), json!(["GET", "PUT"])]);
    let one = (some_of(&HOSTS), some_of(&PATHS), methods, headers, 0..3i64);
    prop::collection::vec(one, 1..10).prop_map(|all| {
        let all = all.into_iter().enumerate();
        all.map(|(n, (hosts, paths, methods, headers, regex_priority))| {
            let fields = json!({"hosts": hosts, "paths": paths, "methods": methods,
                "headers": headers, "regex_priority": regex_priority});
            route(&format!("r{n}"), fields)
        })
        .collect()
    })
}

/// A Route with one path at most, and what a request is asked for it.
#[derive(Clone, Copy)]
struct Plain<'r>(&'r Route, Option<&'r str>);

impl Plain<'_> {
    /// Whether it has the criterion, by the weight that the criterion has among equals.
    fn has(&self, criterion: u32) -> bool {
        let Self(route, path) = self;
        match criterion {
            3 => route.hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()),
            2 => route.headers.is_some(),
            1 => path.is_some(),
            _ => route.methods.is_some(),
        }
    }

    fn bits(&self) -> u32 {
        (0..4).filter(|criterion| self.has(*criterion)).map(|criterion| 1 << criterion).sum()
    }

    fn meets(&self, criterion: u32, query: &Query<'_>, sent: &str) -> bool {
        let Self(route, path) = self;
        let header =
            |name: &str| query.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        match criterion {
            3 => route.hosts.iter().flatten().any(|host| host_is(host, sent)),
            2 => route.headers.iter().flatten().all(|(name, values)| {
                header(name).is_some_and(|sent| match values.as_slice() {
                    [one] if one.starts_with("~*") => {
                        Regex::new(&one[2..]).unwrap().is_match(&sent)
                    }
                    values => values.contains(&sent),
                })
            }),
            1 => path_is(path.unwrap(), query.path),
            _ => route.methods.iter().flatten().any(|method| method == query.method),
        }
    }

    fn agrees(&self, query: &Query<'_>, sent: &str) -> bool {
        (0..4).all(|criterion| !self.has(criterion) || self.meets(criterion, query, sent))
    }
}

fn host_is(host: &str, sent: &str) -> bool {
    let name = sent.split(':').next().unwrap();
    if !host.contains('*') {
        return host == sent || host == name;
    }
    let with_port = if sent.contains(':') { sent.to_owned() } else { format!("{sent}:80") };
    let pattern = regex::escape(host).replace("\\*", ".+");
    let port = if host.contains(':') { "" } else { "(:[0-9]+)?" };
    Regex::new(&format!("{pattern}{port}$")).unwrap().is_match(&with_port)
}

fn path_is(path: &str, asked: &str) -> bool {
    match path.strip_prefix('~') {
        Some(pattern) => Regex::new(&format!("^(?:{pattern})")).unwrap().is_match(asked),
        None => asked.starts_with(path),
    }
}

fn text(path: Option<&str>) -> Option<&str> {
    path.map(|path| path.trim_start_matches('~'))
}

/// What a request is found by: a header that somebody asks for, a plain host before a wildcard, an
/// expression before the longest prefix, a method.
struct Found<'a> {
    bits: u32,
    host: &'a str,
    header: Option<&'a String>,
    path: Option<&'a str>,
}

fn found<'a>(all: &[Plain<'a>], query: &Query<'_>, sent: &'a str) -> Found<'a> {
    let headers = || all.iter().flat_map(|plain| plain.0.headers.iter().flatten());
    let header = headers().map(|(name, _)| name).find(|n| query.headers.contains_key(*n));
    let with_port = if sent.contains(':') { sent.to_owned() } else { format!("{sent}:80") };
    let name = sent.split(':').next().unwrap();
    let hosts = || all.iter().flat_map(|plain| plain.0.hosts.iter().flatten());
    let is_plain = hosts().any(|host| *host == with_port || host == name);
    let wild = hosts().find(|host| !is_plain && host.contains('*') && host_is(host, sent));
    let host = wild.map_or(sent, String::as_str);
    let paths = || all.iter().filter_map(|plain| plain.1).filter(|path| path_is(path, query.path));
    let regex = paths().find(|path| path.starts_with('~'));
    let path = regex.or_else(|| paths().max_by_key(|path| path.len()));
    let mut methods = all.iter().flat_map(|plain| plain.0.methods.iter().flatten());
    let has_method = methods.any(|method| method == query.method);
    let bits = [has_method, path.is_some(), header.is_some(), is_plain || wild.is_some()];
    let bits = bits.into_iter().enumerate().map(|(n, is)| u32::from(is) << n).sum();
    Found { bits, host, header, path }
}

/// The entries in the order in which those of a kind are tried.
fn sorted(routes: &[Arc<Route>]) -> Vec<Plain<'_>> {
    let mut all: Vec<Plain<'_>> = Vec::new();
    for route in routes {
        match route.paths.as_deref() {
            Some(paths @ [_, ..]) => all.extend(paths.iter().map(|path| Plain(route, Some(path)))),
            _ => all.push(Plain(route, None)),
        }
    }
    all.sort_by_key(|plain| {
        let hosts = plain.0.hosts.as_ref().unwrap();
        let is_regex = plain.1.is_some_and(|path| path.starts_with('~'));
        std::cmp::Reverse((
            hosts.iter().any(|host| host.contains('*') && host.contains(':')),
            hosts.iter().all(|host| !host.contains('*')),
            is_regex,
            plain.0.headers.as_ref().map_or(0, std::collections::BTreeMap::len),
            if is_regex { plain.0.regex_priority } else { 0 },
            plain.1.filter(|_| !is_regex).map_or(0, str::len),
        ))
    });
    all
}

fn reference(routes: &[Arc<Route>], query: &Query<'_>, sent: &str) -> Option<Uuid> {
    let all = sorted(routes);
    let found = found(&all, query, sent);
    if found.bits == 0 {
        return None;
    }
    let mut kinds: Vec<u32> = all.iter().map(Plain::bits).collect();
    kinds.sort_by_key(|bits| std::cmp::Reverse((bits.count_ones(), *bits)));
    kinds.dedup();
    let begin = kinds.iter().position(|bits| *bits == found.bits).unwrap_or(0);
    kinds[begin..].iter().find_map(|bits| {
        let of_kind: Vec<_> = all.iter().filter(|plain| plain.bits() == *bits).collect();
        let that = |is: &dyn Fn(&Plain<'_>) -> bool| -> Vec<&Plain<'_>> {
            of_kind.iter().copied().filter(|plain| is(plain)).collect()
        };
        let sets = [
            that(&|p| p.0.hosts.iter().flatten().any(|host| host == found.host)),
            // By its text: an expression and a prefix may have the same.
            that(&|p| p.1.is_some() && text(p.1) == text(found.path)),
            that(&|p| p.0.methods.iter().flatten().any(|method| method == query.method)),
        ];
        let has = |p: &Plain<'_>, name| p.0.headers.iter().flatten().any(|(one, _)| one == name);
        let named = that(&|p| found.header.is_some_and(|name| has(p, name)));
        let sets = sets.into_iter().filter(|set| !set.is_empty());
        let first = if named.is_empty() { sets.min_by_key(Vec::len) } else { Some(named) };
        let mut tried = first.into_iter().flatten().chain(of_kind.iter().copied());
        tried.find(|plain| plain.agrees(query, sent)).map(|plain| plain.0.id)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_tables_find_what_trying_everything_finds(
        routes in routes(),
        sent in prop::sample::select(
            vec!["a.b.c", "a.b.c:81", "b.c", "x.b.c", "a.x", "x.y:81", "B.c"],
        ),
        path in prop::sample::select(vec!["/", "/a", "/a/b", "/a/bc/d", "/b", "/x/b", "/c"]),
        method in prop::sample::select(vec!["GET", "PUT", "POST"]),
        headers in prop::sample::select(
            vec![vec![], vec![("x-a", "1")], vec![("x-a", "2"), ("x-b", "2")]],
        ),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers.into_iter().chain([("host", sent)]) {
            map.append(name, http::HeaderValue::from_static(value));
        }
        let (host, port) = split_port(sent);
        let query = Query {
            path, query: None, host, port: port.unwrap_or(80), method, tls: false, sni: None,
            headers: &map, source: "10.0.0.1:1".parse().unwrap(),
            address: "127.0.0.1".parse().unwrap(),
        };
        let want = reference(&routes, &query, sent);
        let snapshot = Snapshot { routes, ..Snapshot::default() };
        let router = Router::new(&snapshot, RouterFlavor::Traditional).unwrap();
        prop_assert_eq!(router.find(&query).map(|hit| hit.route.id), want);
        // What is told is what is done.
        let looks = router.explain(&query);
        let first = looks.iter().find(|look| look.agrees);
        prop_assert_eq!(first.map(|look| look.route.id), want);
    }
}
