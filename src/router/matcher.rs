//! One entry of the router: what a request must look like to be for a Route.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;
use regex::Regex;
use smallvec::SmallVec;

use super::Query;
use super::expression::Expression;
use super::index::{HostKey, Keys, literal};
use super::nets::Net;
use super::traditional;
use crate::entity::{Protocol, Route, Service};
use crate::settings::RouterFlavor;

/// A part of a Route, compiled.
pub(super) struct Matcher {
    pub(super) route: Arc<Route>,
    pub(super) service: Option<Arc<Service>>,
    /// Position of the Route in the Snapshot.
    pub(super) index: usize,
    /// Kong's priority word; the greater one goes first.
    pub(super) word: u64,
    rule: Rule,
    /// The schemes that may match, where they count: in the `expressions` flavour.
    schemes: Option<(bool, bool)>,
}

enum Rule {
    Fields(Fields),
    Expression(Expression),
}

/// The criteria of a Route; all of them must agree.
struct Fields {
    paths: Paths,
    methods: Box<[String]>,
    /// Apart, so that the entries of thousands of Routes that have none are small: each is far from
    /// the processor when a request asks for it.
    rarer: Option<Box<Rarer>>,
}

/// Criteria that few Routes have.
#[derive(Default)]
struct Rarer {
    hosts: Vec<Host>,
    headers: Vec<Header>,
    snis: Vec<Pattern>,
    sources: Vec<Net>,
    destinations: Vec<Net>,
}

enum Paths {
    Any,
    /// Shared with the index, so that a request looks at one copy.
    Prefixes(SmallVec<[Rc<str>; 1]>),
    Regexes(Vec<PathRegex>),
}

/// An expression of a path, compiled when it is first needed: ten thousand of them take seconds,
/// and a worker that compiles serves nobody.
pub(super) struct PathRegex {
    pattern: String,
    compiled: OnceCell<Result<Regex, String>>,
}

/// A name with at most one `*`, at its beginning or its end.
pub(super) enum Pattern {
    Exact(String),
    Suffix(String),
    Prefix(String),
}

/// One of `hosts`.
enum Host {
    /// With or without a port.
    Name(Pattern, Option<u32>),
    /// As the old router reads it.
    Old(traditional::Host),
}

/// One of `headers`: any of its values, some of which may be expressions (`~*`).
struct Header {
    /// As Kong asks for it: with underscores first, which a client may send, then with dashes.
    names: [String; 2],
    values: Vec<String>,
    patterns: Vec<Regex>,
}

/// What of the path a Route matched.
#[derive(Default)]
pub(super) struct Matched {
    pub(super) text: Option<String>,
    pub(super) captures: Vec<(String, String)>,
}

impl Matcher {
    /// Compiles a part of a Route, the one with these paths, from its criteria.
    pub(super) fn of_paths(
        route: &Arc<Route>,
        service: Option<&Arc<Service>>,
        index: usize,
        paths: &[&str],
        flavor: RouterFlavor,
    ) -> Result<Self, String> {
        let rarer = Rarer {
            hosts: route.hosts.iter().flatten().map(|host| Host::new(host, flavor)).collect(),
            headers: headers(route, flavor)?,
            snis: route.snis.iter().flatten().map(|sni| Pattern::of_sni(sni)).collect(),
            sources: route.sources.iter().flatten().map(Net::from).collect(),
            destinations: route.destinations.iter().flatten().map(Net::from).collect(),
        };
        let fields = Fields {
            paths: Paths::new(paths, flavor),
            methods: route.methods.iter().flatten().cloned().collect(),
            rarer: Criterion::ALL.iter().any(|one| rarer.has(*one)).then(|| Box::new(rarer)),
        };
        // The protocols are criteria, too, where there are expressions.
        let schemes = if flavor == RouterFlavor::Expressions { schemes(route) } else { None };
        let (route, service) = (route.clone(), service.cloned());
        Ok(Self { route, service, index, word: 0, rule: Rule::Fields(fields), schemes })
    }

    /// Compiles a Route that has an expression.
    pub(super) fn of_expression(
        route: &Arc<Route>,
        service: Option<&Arc<Service>>,
        index: usize,
        expression: &str,
    ) -> Result<Self, String> {
        let rule = Rule::Expression(Expression::new(expression)?);
        let (schemes, route, service) = (schemes(route), route.clone(), service.cloned());
        Ok(Self { route, service, index, word: 0, rule, schemes })
    }

    pub(super) fn agrees(&self, query: &Query<'_>) -> bool {
        self.takes_scheme(query.tls)
            && match &self.rule {
                Rule::Fields(fields) => fields.agrees(query),
                Rule::Expression(expression) => expression.agrees(query),
            }
    }

    /// Every criterion that the Route has, and whether the request meets it; `None` for a Route
    /// with an expression, which has no parts.
    pub(super) fn criteria(&self, query: &Query<'_>) -> Option<Vec<(Criterion, bool)>> {
        let Rule::Fields(fields) = &self.rule else { return None };
        let has = |criterion: &Criterion| match criterion {
            Criterion::Methods => !fields.methods.is_empty(),
            Criterion::Paths => !matches!(fields.paths, Paths::Any),
            rarer => fields.rarer.as_ref().is_some_and(|fields| fields.has(*rarer)),
        };
        let met = |criterion| (criterion, fields.agrees_in(criterion, query));
        Some(Criterion::ALL.into_iter().filter(has).map(met).collect())
    }

    /// Whether the scheme of the connection is one that the Route takes.
    pub(super) fn takes_scheme(&self, tls: bool) -> bool {
        self.schemes.is_none_or(|(plain, encrypted)| if tls { encrypted } else { plain })
    }

    /// The paths of this part of the Route.
    pub(super) fn paths(&self) -> Vec<String> {
        match &self.rule {
            Rule::Fields(Fields { paths: Paths::Prefixes(prefixes), .. }) => {
                prefixes.iter().map(|prefix| (**prefix).to_owned()).collect()
            }
            Rule::Fields(Fields { paths: Paths::Regexes(regexes), .. }) => {
                let written = |regex: &PathRegex| {
                    format!("~{}", regex.pattern.strip_prefix('^').unwrap_or_default())
                };
                regexes.iter().map(written).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What of the path is used up; the matcher has agreed.
    pub(super) fn matched(&self, query: &Query<'_>) -> Matched {
        match &self.rule {
            Rule::Fields(fields) => fields.paths.matched(query.path),
            Rule::Expression(expression) => expression.matched(query),
        }
    }

    /// Compiles what would be compiled when it is first needed.
    pub(super) fn check(&self) -> Result<(), String> {
        let Rule::Fields(Fields { paths: Paths::Regexes(regexes), .. }) = &self.rule else {
            return Ok(());
        };
        regexes
            .iter()
            .try_for_each(|regex| regex.compile().as_ref().map(drop).map_err(Clone::clone))
    }

    /// Where the index finds it.
    pub(super) fn keys(&self) -> Keys {
        match &self.rule {
            Rule::Fields(fields) => {
                let hosts = fields.rarer.as_ref().map_or(&[][..], |rarer| &rarer.hosts);
                let keys = hosts.iter().map(Host::key).collect();
                let hosts = if hosts.is_empty() { None } else { keys };
                Keys { hosts, paths: fields.paths.keys() }
            }
            Rule::Expression(expression) => expression.keys(),
        }
    }
}

/// Plain and TLS. A Route for HTTPS alone also takes plain requests, to send them away.
fn schemes(route: &Route) -> Option<(bool, bool)> {
    if *route.protocols == [Protocol::Https] {
        return None;
    }
    let has = |tls: bool| route.protocols.iter().any(|protocol| protocol.is_tls() == tls);
    Some((has(false), has(true)))
}

impl Fields {
    fn agrees(&self, query: &Query<'_>) -> bool {
        Criterion::ALL.iter().all(|criterion| self.agrees_in(*criterion, query))
    }

    /// Whether one criterion is met. One that a Route does not have always is.
    fn agrees_in(&self, criterion: Criterion, query: &Query<'_>) -> bool {
        match criterion {
            Criterion::Methods => any_or_none(&self.methods, |method| method == query.method),
            Criterion::Paths => self.paths.agree(query.path),
            rarer => self.rarer.as_ref().is_none_or(|fields| fields.agrees_in(rarer, query)),
        }
    }
}

impl Rarer {
    /// Whether a Route has a criterion that is kept here.
    fn has(&self, criterion: Criterion) -> bool {
        match criterion {
            Criterion::Hosts => !self.hosts.is_empty(),
            Criterion::Headers => !self.headers.is_empty(),
            Criterion::Snis => !self.snis.is_empty(),
            Criterion::Sources => !self.sources.is_empty(),
            Criterion::Destinations => !self.destinations.is_empty(),
            Criterion::Methods | Criterion::Paths => false,
        }
    }

    fn agrees_in(&self, criterion: Criterion, query: &Query<'_>) -> bool {
        match criterion {
            Criterion::Hosts => any_or_none(&self.hosts, |host| host.agrees(query)),
            Criterion::Headers => self.headers.iter().all(|header| header.agrees(query.headers)),
            Criterion::Snis => {
                let agrees = |sni: &Pattern| query.sni.is_some_and(|name| sni.agrees(name));
                !query.tls || any_or_none(&self.snis, agrees)
            }
            Criterion::Sources => any_or_none(&self.sources, |net| {
                net.agrees((query.source.ip(), query.source.port().into()))
            }),
            Criterion::Destinations => {
                any_or_none(&self.destinations, |net| net.agrees(query.destination()))
            }
            Criterion::Methods | Criterion::Paths => true,
        }
    }
}

/// What a Route may ask of a request; the cheap ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Criterion {
    Methods,
    Hosts,
    Headers,
    Snis,
    Sources,
    Destinations,
    Paths,
}

impl Criterion {
    const ALL: [Self; 7] = [
        Self::Methods,
        Self::Hosts,
        Self::Headers,
        Self::Snis,
        Self::Sources,
        Self::Destinations,
        Self::Paths,
    ];

    /// The field of a Route that holds it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Methods => "methods",
            Self::Hosts => "hosts",
            Self::Headers => "headers",
            Self::Snis => "snis",
            Self::Sources => "sources",
            Self::Destinations => "destinations",
            Self::Paths => "paths",
        }
    }
}

fn any_or_none<T>(rules: &[T], agrees: impl Fn(&T) -> bool) -> bool {
    rules.is_empty() || rules.iter().any(agrees)
}

impl Paths {
    fn new(paths: &[&str], flavor: RouterFlavor) -> Self {
        match paths.first() {
            None => Self::Any,
            Some(path) if path.starts_with('~') => {
                Self::Regexes(paths.iter().map(|path| PathRegex::new(path, flavor)).collect())
            }
            Some(_) => Self::Prefixes(paths.iter().map(|&path| path.into()).collect()),
        }
    }

    fn agree(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| path.starts_with(&**prefix)),
            Self::Regexes(regexes) => {
                regexes.iter().filter_map(PathRegex::get).any(|regex| regex.is_match(path))
            }
        }
    }

    fn matched(&self, path: &str) -> Matched {
        match self {
            Self::Any => Matched::default(),
            Self::Prefixes(prefixes) => {
                let prefix = prefixes.iter().find(|prefix| path.starts_with(&***prefix));
                let text = prefix.map(|prefix| (**prefix).to_owned());
                Matched { text, captures: Vec::new() }
            }
            Self::Regexes(regexes) => {
                let mut regexes = regexes.iter().filter_map(PathRegex::get);
                regexes.find_map(|regex| groups(regex, path)).unwrap_or_default()
            }
        }
    }

    fn keys(&self) -> Option<Vec<Rc<str>>> {
        match self {
            Self::Any => None,
            Self::Prefixes(prefixes) => Some(prefixes.to_vec()),
            Self::Regexes(regexes) => {
                Some(regexes.iter().map(|regex| literal(&regex.pattern).into()).collect())
            }
        }
    }
}

impl PathRegex {
    /// Of a path that begins with `~`. Kong binds it to the beginning: the old router all of it,
    /// the others by a `^` in front, which does not reach the second of two alternatives.
    pub(super) fn new(path: &str, flavor: RouterFlavor) -> Self {
        let pattern = path.strip_prefix('~').unwrap_or(path);
        let pattern = match flavor {
            RouterFlavor::Traditional => format!("^(?:{pattern})"),
            _ => format!("^{pattern}"),
        };
        Self { pattern, compiled: OnceCell::new() }
    }

    fn compile(&self) -> &Result<Regex, String> {
        self.compiled.get_or_init(|| {
            let path = self.pattern.get(1..).unwrap_or_default();
            Regex::new(&self.pattern).map_err(|error| format!("path '~{path}': {error}"))
        })
    }

    pub(super) fn get(&self) -> Option<&Regex> {
        self.compile().as_ref().ok()
    }
}

/// The whole match, and its groups under number and name.
fn groups(regex: &Regex, path: &str) -> Option<Matched> {
    let found = regex.captures(path)?;
    let text = found.get(0).map(|whole| whole.as_str().to_owned());
    let mut captures = Vec::new();
    for (number, name) in regex.capture_names().enumerate().skip(1) {
        let Some(group) = found.get(number) else { continue };
        captures.push((number.to_string(), group.as_str().to_owned()));
        captures.extend(name.map(|name| (name.to_owned(), group.as_str().to_owned())));
    }
    Some(Matched { text, captures })
}

impl Pattern {
    fn new(name: &str) -> Self {
        match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(suffix), _) => Self::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Self::Prefix(prefix.to_owned()),
            (None, None) => Self::Exact(name.to_owned()),
        }
    }

    /// The last dot of a full name does not count in an SNI (Kong).
    fn of_sni(name: &str) -> Self {
        Self::new(name.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(name))
    }

    fn agrees(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Suffix(suffix) => name.ends_with(suffix.as_str()),
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// What the index can look up: names, and wildcards that stand for whole labels.
    fn key(&self) -> Option<HostKey> {
        match self {
            Self::Exact(name) => Some(HostKey::Exact(name.clone())),
            Self::Suffix(suffix) if suffix.starts_with('.') => {
                Some(HostKey::Suffix(suffix.clone()))
            }
            Self::Prefix(prefix) if prefix.ends_with('.') => Some(HostKey::Prefix(prefix.clone())),
            _ => None,
        }
    }
}

impl Host {
    fn new(host: &str, flavor: RouterFlavor) -> Self {
        if flavor == RouterFlavor::Traditional {
            return Self::Old(traditional::Host::new(host));
        }
        let (name, port) = super::split_port(host);
        Self::Name(Pattern::new(name), port)
    }

    fn agrees(&self, query: &Query<'_>) -> bool {
        match self {
            Self::Name(name, port) => {
                name.agrees(query.host) && port.is_none_or(|port| port == query.port)
            }
            Self::Old(host) => host.agrees(query),
        }
    }

    fn key(&self) -> Option<HostKey> {
        match self {
            Self::Name(name, _) => name.key(),
            Self::Old(_) => None,
        }
    }
}

fn headers(route: &Route, flavor: RouterFlavor) -> Result<Vec<Header>, String> {
    let header = |(name, values): (&String, &Vec<String>)| {
        let old = flavor == RouterFlavor::Traditional;
        // The old router reads an expression as it is, and only one that is the only value. The
        // other makes the expression itself lower case, too: `\D` becomes `\d`.
        let is_regex = |value: &String| value.starts_with("~*") && !(old && values.len() > 1);
        let as_read = |value: &String| match old && is_regex(value) {
            true => value.clone(),
            false => value.to_ascii_lowercase(),
        };
        let (patterns, values): (Vec<_>, Vec<_>) = values.iter().map(as_read).partition(is_regex);
        let regex = |value: &String| Regex::new(value.get(2..).unwrap_or_default());
        let patterns = patterns.iter().map(regex).collect::<Result<_, _>>();
        let patterns = patterns.map_err(|error| format!("header '{name}': {error}"))?;
        Ok(Header { names: super::header_names(name), values, patterns })
    };
    route.headers.iter().flatten().map(header).collect()
}

impl Header {
    /// Kong compares values in lower case (`any(lower(http.headers.x))`).
    fn agrees(&self, headers: &HeaderMap) -> bool {
        let name = self.names.iter().find(|name| headers.contains_key(name.as_str()));
        let Some(name) = name else { return false };
        headers.get_all(name.as_str()).iter().any(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).to_lowercase();
            self.values.contains(&value)
                || self.patterns.iter().any(|pattern| pattern.is_match(&value))
        })
    }
}
