//! Kong's old router (`router_flavor = traditional`).
//!
//! It has no single order of Routes. A Route is one entry for each of its paths; entries with the
//! same kinds of criteria are a category. Categories are looked through from the most criteria to
//! the fewest, beginning with the one that the request could be for; and in each of them those
//! entries go first that have what the request was found by.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use http::HeaderMap;

use super::matcher::PathRegex;
use super::{Query, header_names};
use crate::entity::{Route, Service};
use crate::settings::RouterFlavor;

const HOST: u8 = 1 << 6;
const HEADER: u8 = 1 << 5;
const URI: u8 = 1 << 4;
const METHOD: u8 = 1 << 3;
const SNI: u8 = 1 << 2;

/// One path of a Route, or a Route without any.
pub(super) struct Part<'r> {
    pub(super) route: &'r Arc<Route>,
    pub(super) service: Option<&'r Arc<Service>>,
    /// Position of the Route in the Snapshot.
    pub(super) index: usize,
    pub(super) path: Option<&'r str>,
}

/// The entries of all Routes, in the order in which those of a category are tried.
pub(super) fn parts<'r>(
    routes: impl Iterator<Item = (usize, &'r Arc<Route>, Option<&'r Arc<Service>>)>,
) -> Vec<Part<'r>> {
    let mut parts = Vec::new();
    for (index, route, service) in routes {
        let part = |path| Part { route, service, index, path };
        match route.paths.as_deref().unwrap_or_default() {
            [] => parts.push(part(None)),
            paths => parts.extend(paths.iter().map(|path| part(Some(path.as_str())))),
        }
    }
    parts.sort_by(|a, b| Rank::of(b).cmp(&Rank::of(a)));
    parts
}

/// The greater one goes first; among equals, the Route that is older, then the one that the
/// configuration names first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    kind: u8,
    headers: usize,
    regex_priority: i64,
    length: usize,
    created_at: Reverse<u64>,
}

impl Rank {
    fn of(part: &Part<'_>) -> Self {
        const REGEX: u8 = 1;
        const PLAIN_HOSTS: u8 = 2;
        const WILDCARD_WITH_PORT: u8 = 4;
        let route = part.route;
        let hosts = route.hosts.as_deref();
        let is_wild = |host: &String| host.contains('*');
        let is_regex = part.path.is_some_and(|path| path.starts_with('~'));
        let mut kind = if is_regex { REGEX } else { 0 };
        if hosts.is_some_and(|hosts| !hosts.iter().any(is_wild)) {
            kind |= PLAIN_HOSTS;
        }
        let has_port = |host: &String| is_wild(host) && Asked::new(host, 0).has_port;
        if hosts.unwrap_or_default().iter().any(has_port) {
            kind |= WILDCARD_WITH_PORT;
        }
        Self {
            kind,
            headers: route.headers.as_ref().map_or(0, BTreeMap::len),
            regex_priority: if is_regex { route.regex_priority } else { 0 },
            length: part.path.filter(|_| !is_regex).map_or(0, str::len),
            created_at: Reverse(route.created_at.unwrap_or(0)),
        }
    }
}

/// Where the entries are found. They are named by their position among [`parts`].
#[derive(Default)]
pub(super) struct Categories {
    sorted: Vec<Category>,
    plain_hosts: HashSet<String>,
    wildcards: Vec<Host>,
    headers: Vec<[String; 2]>,
    /// Expressions with their text.
    regexes: Vec<(String, PathRegex)>,
    prefixes: HashSet<String>,
    /// The lengths of the prefixes, the longest first.
    lengths: Vec<usize>,
    methods: HashSet<String>,
    snis: HashSet<String>,
}

/// The entries with the same kinds of criteria.
#[derive(Default)]
struct Category {
    bits: u8,
    all: Vec<u32>,
    by_host: HashMap<String, Vec<u32>>,
    by_header: HashMap<String, Vec<u32>>,
    by_path: HashMap<String, Vec<u32>>,
    by_method: HashMap<String, Vec<u32>>,
    by_sni: HashMap<String, Vec<u32>>,
}

/// What a request was found by.
#[derive(Default)]
struct Found<'a> {
    bits: u8,
    /// The host as it was sent, or the wildcard for it.
    host: &'a str,
    header: Option<&'a str>,
    path: Option<&'a str>,
}

impl Categories {
    /// Adds an entry. They must come in the order of [`parts`].
    pub(super) fn add(&mut self, rank: u32, part: &Part<'_>) {
        let bits = self.learn(part);
        let known = self.sorted.iter().position(|category| category.bits == bits);
        let at = known.unwrap_or_else(|| {
            self.sorted.push(Category { bits, ..Category::default() });
            self.sorted.len() - 1
        });
        if let Some(category) = self.sorted.get_mut(at) {
            category.add(rank, part);
        }
    }

    /// To be called behind the last one.
    pub(super) fn sort(&mut self) {
        self.sorted.sort_by_key(|category| Reverse((category.bits.count_ones(), category.bits)));
        self.lengths.sort_unstable_by_key(|length| Reverse(*length));
        self.lengths.dedup();
    }

    /// The entries in the order in which a request is held against all of them.
    pub(super) fn order(&self) -> impl Iterator<Item = u32> {
        self.sorted.iter().flat_map(|category| category.all.iter().copied())
    }

    /// Keeps what a request may be found by; which kinds of criteria there are.
    fn learn(&mut self, part: &Part<'_>) -> u8 {
        let route = part.route;
        let mut bits = 0;
        for host in route.hosts.iter().flatten() {
            bits |= HOST;
            match host.contains('*') {
                true => self.wildcards.push(Host::new(host)),
                false => drop(self.plain_hosts.insert(host.clone())),
            }
        }
        for name in route.headers.iter().flat_map(BTreeMap::keys) {
            bits |= HEADER;
            let names = header_names(name);
            if !self.headers.contains(&names) {
                self.headers.push(names);
            }
        }
        if let Some(path) = part.path {
            bits |= URI;
            if let Some(pattern) = path.strip_prefix('~') {
                self.regexes
                    .push((pattern.to_owned(), PathRegex::new(path, RouterFlavor::Traditional)));
            } else if self.prefixes.insert(path.to_owned()) {
                self.lengths.push(path.len());
            }
        }
        for method in route.methods.iter().flatten() {
            bits |= METHOD;
            self.methods.insert(method.clone());
        }
        for sni in route.snis.iter().flatten() {
            bits |= SNI;
            self.snis.insert(without_dot(sni).to_owned());
        }
        bits
    }

    /// The entry for a request.
    pub(super) fn find(&self, query: &Query<'_>, agrees: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.look_up(query);
        if found.bits == 0 {
            return None;
        }
        // Where there is no such category, Kong looks through all of them.
        let begin = self.sorted.iter().position(|category| category.bits == found.bits);
        self.sorted.get(begin.unwrap_or(0)..)?.iter().find_map(|category| {
            let first = category.first(&found, query).into_iter().flatten();
            first.chain(&category.all).copied().find(|rank| agrees(*rank))
        })
    }

    fn look_up<'a>(&'a self, query: &Query<'a>) -> Found<'a> {
        let mut found = Found { host: authority(query.headers), ..Found::default() };
        let sent = |names: &&[String; 2]| {
            names.iter().any(|name| query.headers.contains_key(name.as_str()))
        };
        if let Some([_, name]) = self.headers.iter().find(sent) {
            (found.header, found.bits) = (Some(name.as_str()), found.bits | HEADER);
        }
        let asked = Asked::of(query);
        if self.plain_hosts.contains(&asked.with_port) || self.plain_hosts.contains(asked.name) {
            found.bits |= HOST;
        } else if let Some(host) = self.wildcards.iter().find(|host| host.is_wild_for(&asked)) {
            (found.host, found.bits) = (&host.text, found.bits | HOST);
        }
        found.path = self.path(query.path);
        let is = |bit, known: bool| if known { bit } else { 0 };
        found.bits |= is(URI, found.path.is_some())
            | is(METHOD, self.methods.contains(query.method))
            | is(SNI, query.sni.is_some_and(|sni| self.snis.contains(sni)));
        found
    }

    /// The expression, or else the longest prefix, that a path was found by.
    fn path(&self, path: &str) -> Option<&str> {
        let matches =
            |one: &&(String, PathRegex)| one.1.get().is_some_and(|regex| regex.is_match(path));
        if let Some((pattern, _)) = self.regexes.iter().find(matches) {
            return Some(pattern);
        }
        let prefixes = self.lengths.iter().filter_map(|length| path.get(..*length));
        prefixes.filter_map(|prefix| self.prefixes.get(prefix)).map(String::as_str).next()
    }
}

impl Category {
    fn add(&mut self, rank: u32, part: &Part<'_>) {
        let route = part.route;
        let put = |map: &mut HashMap<String, Vec<u32>>, key: &str| {
            let entries = map.entry(key.to_owned()).or_default();
            // The lists of a Route are sets: what stands there twice counts once.
            if entries.last() != Some(&rank) {
                entries.push(rank);
            }
        };
        self.all.push(rank);
        route.hosts.iter().flatten().for_each(|host| put(&mut self.by_host, host));
        for name in route.headers.iter().flat_map(BTreeMap::keys) {
            let [_, name] = header_names(name);
            put(&mut self.by_header, &name);
        }
        if let Some(path) = part.path {
            put(&mut self.by_path, path.strip_prefix('~').unwrap_or(path));
        }
        route.methods.iter().flatten().for_each(|method| put(&mut self.by_method, method));
        route.snis.iter().flatten().for_each(|sni| put(&mut self.by_sni, without_dot(sni)));
    }

    /// The entries that are tried before all others: those with the header, if one has it, else
    /// the fewest that have one of the other things.
    fn first(&self, found: &Found<'_>, query: &Query<'_>) -> Option<&Vec<u32>> {
        if let Some(named) = found.header.and_then(|name| self.by_header.get(name)) {
            return Some(named);
        }
        let sets = [
            self.by_host.get(found.host),
            found.path.and_then(|path| self.by_path.get(path)),
            self.by_method.get(query.method),
            query.sni.and_then(|sni| self.by_sni.get(sni)),
        ];
        sets.into_iter().flatten().min_by_key(|set| set.len())
    }
}

/// One of `hosts`.
pub(super) struct Host {
    text: String,
    is_wild: bool,
    has_port: bool,
}

impl Host {
    pub(super) fn new(text: &str) -> Self {
        let has_port = Asked::new(text, 0).has_port;
        Self { text: text.to_owned(), is_wild: text.contains('*'), has_port }
    }

    pub(super) fn agrees(&self, query: &Query<'_>) -> bool {
        if !self.is_wild {
            let sent = authority(query.headers);
            return self.text == sent || self.text == Asked::of(query).name;
        }
        self.is_wild_for(&Asked::of(query))
    }

    /// Kong makes `.+` of the star, and binds the pattern to the end of the name alone. A port may
    /// follow that the pattern does not have.
    fn is_wild_for(&self, asked: &Asked<'_>) -> bool {
        let Some((before, after)) = self.text.split_once('*') else { return false };
        let fits = |name: &str| {
            let rest = name.strip_suffix(after).filter(|rest| !rest.is_empty());
            let rest =
                rest.map(|rest| rest.as_bytes().split_last().map_or(&[][..], |(_, rest)| rest));
            rest.is_some_and(|rest| memchr::memmem::find(rest, before.as_bytes()).is_some())
        };
        let name = asked.with_port.as_str();
        let bare = name.rsplit_once(':').filter(|(_, port)| is_number(port)).map(|(name, _)| name);
        fits(name) || bare.is_some_and(|bare| !self.has_port && fits(bare))
    }
}

/// A host as Kong's old router splits it: without brackets, and with a port in any case.
struct Asked<'a> {
    name: &'a str,
    with_port: String,
    has_port: bool,
}

impl<'a> Asked<'a> {
    fn of(query: &Query<'a>) -> Self {
        Self::new(authority(query.headers), if query.tls { 443 } else { 80 })
    }

    fn new(host: &'a str, default: u16) -> Self {
        let added = |name: &'a str, host: &str| Self {
            name,
            with_port: format!("{host}:{default}"),
            has_port: false,
        };
        let whole = |name: &'a str| Self { name, with_port: host.to_owned(), has_port: true };
        if let Some(inner) = host.strip_prefix('[') {
            return match inner.split_once(']') {
                Some((name, "")) => added(name, host),
                Some((name, port)) if port.strip_prefix(':').is_some_and(is_number) => whole(name),
                _ => added(host, host),
            };
        }
        match host.split_once(':') {
            None => added(host, host),
            Some((name, "")) => added(name, name),
            Some((name, port)) if is_number(port) => whole(name),
            Some(_) => added(host, &format!("[{host}]")),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `Host` as it was sent.
fn authority(headers: &HeaderMap) -> &str {
    headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// The last dot of a full name does not count in an SNI.
fn without_dot(sni: &str) -> &str {
    sni.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(sni)
}
