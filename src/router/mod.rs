//! Matches a request to a Route, by the rules of Kong's `traditional_compatible` flavour, or those
//! of `expressions`, where a Route may have an expression in place of criteria, or of `traditional`
//! ([`traditional`]).
//!
//! Each Route becomes one entry per kind of path, as in Kong ([`priority`]). Entries are ordered
//! once, by priority and id, so a match is the first entry that agrees ([`matcher`]). The
//! [`index`] finds the few that can: ten thousand routes cost little more than ten.

pub mod explain;
pub mod expression;
mod index;
mod matcher;
mod nets;
pub mod path;
mod priority;
mod traditional;

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use smallvec::SmallVec;
use uuid::Uuid;

use self::index::Index;
pub use self::matcher::Criterion;
use self::matcher::Matcher;
use self::traditional::Categories;
use crate::entity::{PathHandling, Route, Service};
use crate::settings::RouterFlavor;
use crate::snapshot::Snapshot;

/// Expressions stand above all criteria (Kong).
const EXPRESSION_FIRST: u64 = 0xFF << 56;

/// The compiled routes of one Snapshot.
pub struct Router {
    /// In Kong's order; the old router has none for all of them.
    entries: Vec<Matcher>,
    search: Search,
}

/// How the entry for a request is found.
enum Search {
    /// The first in Kong's order that agrees.
    First(Index),
    /// In the ways of the old router.
    Traditional(Categories),
}

/// What is matched.
pub struct Query<'a> {
    /// Decoded ([`path::decoded`]), without the query.
    pub path: &'a str,
    /// The query as it was sent.
    pub query: Option<&'a str>,
    /// The host as it was sent, without its port ([`split_port`]). Kong compares case.
    pub host: &'a str,
    /// The port that the client named with the host, else that of the listener.
    pub port: u32,
    /// The method, as sent.
    pub method: &'a str,
    /// The connection is encrypted.
    pub tls: bool,
    /// The name in the TLS hello.
    pub sni: Option<&'a str>,
    /// The request headers.
    pub headers: &'a HeaderMap,
    /// The client.
    pub source: SocketAddr,
    /// Our own address on the connection.
    pub address: IpAddr,
}

impl Query<'_> {
    fn destination(&self) -> (IpAddr, u32) {
        (self.address, self.port)
    }
}

/// The Route that matched, and what of the path it used up.
pub struct Hit<'r> {
    /// The Route.
    pub route: &'r Arc<Route>,
    /// Its Service.
    pub service: Option<&'r Arc<Service>>,
    /// Position among the routes of the Snapshot: the key of per-route plans.
    pub index: usize,
    /// What the Route's prefix or expression matched of the path; `None` if it has neither.
    pub matched: Option<String>,
    /// Groups of the expression, by number and by name.
    pub captures: Vec<(String, String)>,
    /// The paths of Service and Route are put together in the old way.
    pub joins: bool,
}

impl Router {
    /// Compiles the routes of a Snapshot. Routes of disabled services do not exist.
    ///
    /// # Errors
    /// A header's expression, or an expression of the router's own language, that does not
    /// compile, with the route that holds it.
    pub fn new(snapshot: &Snapshot, flavor: RouterFlavor) -> Result<Self, String> {
        if flavor == RouterFlavor::Traditional {
            return Self::traditional(snapshot);
        }
        let mut ranked: Vec<(u64, Uuid, Matcher)> = Vec::new();
        for (index, route, service) in enabled(snapshot) {
            add(&mut ranked, index, route, service, flavor)
                .map_err(|error| format!("route '{}': {error}", name(route)))?;
        }
        // Among equals the greater id wins, as in Kong.
        ranked.sort_by_key(|(word, id, _)| Reverse((*word, *id)));
        let mut index = Index::default();
        let mut entries = Vec::with_capacity(ranked.len());
        for (rank, (word, _, mut matcher)) in (0..).zip(ranked) {
            index.add(rank, &matcher.keys());
            matcher.word = word;
            entries.push(matcher);
        }
        Ok(Self { entries, search: Search::First(index) })
    }

    fn traditional(snapshot: &Snapshot) -> Result<Self, String> {
        let mut categories = Categories::default();
        let mut entries = Vec::new();
        for (rank, part) in (0..).zip(traditional::parts(enabled(snapshot))) {
            let traditional::Part { route, service, index, path } = part;
            let paths: SmallVec<[&str; 1]> = path.into_iter().collect();
            let flavor = RouterFlavor::Traditional;
            let entry = Matcher::of_paths(route, service, index, &paths, flavor)
                .map_err(|error| format!("route '{}': {error}", name(route)))?;
            categories.add(rank, &part);
            entries.push(entry);
        }
        categories.sort();
        Ok(Self { entries, search: Search::Traditional(categories) })
    }

    /// Compiles every path now. Otherwise each is when the first request may need it.
    ///
    /// # Errors
    /// A regular expression that does not compile, with the route that holds it.
    pub fn check(&self) -> Result<(), String> {
        let check = |entry: &Matcher| {
            entry.check().map_err(|error| format!("route '{}': {error}", name(&entry.route)))
        };
        self.entries.iter().try_for_each(check)
    }

    /// The Route for a request.
    pub fn find(&self, query: &Query<'_>) -> Option<Hit<'_>> {
        let entry = self.entries.get(self.rank(query)? as usize)?;
        let matched = entry.matched(query);
        let is_old = matches!(self.search, Search::Traditional(_));
        Some(Hit {
            route: &entry.route,
            service: entry.service.as_ref(),
            index: entry.index,
            matched: matched.text,
            captures: matched.captures,
            joins: is_old && entry.route.path_handling == Some(PathHandling::V1),
        })
    }

    /// The position of the entry for a request.
    fn rank(&self, query: &Query<'_>) -> Option<u32> {
        let agrees =
            |rank: u32| self.entries.get(rank as usize).is_some_and(|entry| entry.agrees(query));
        match &self.search {
            Search::First(index) => index.first(query.host, query.path, agrees),
            Search::Traditional(categories) => categories.find(query, agrees),
        }
    }
}

/// The Routes whose Service is not disabled, with their positions.
fn enabled(
    snapshot: &Snapshot,
) -> impl Iterator<Item = (usize, &Arc<Route>, Option<&Arc<Service>>)> {
    snapshot.routes.iter().enumerate().filter_map(|(index, route)| {
        let service = route.service.and_then(|s| snapshot.services.get(&s.id));
        service.is_none_or(|s| s.enabled).then_some((index, route, service))
    })
}

fn name(route: &Route) -> String {
    route.name.clone().unwrap_or_else(|| route.id.to_string())
}

/// Adds the entries of one Route with their priority and id.
fn add(
    ranked: &mut Vec<(u64, Uuid, Matcher)>,
    index: usize,
    route: &Arc<Route>,
    service: Option<&Arc<Service>>,
    flavor: RouterFlavor,
) -> Result<(), String> {
    let expressions = flavor == RouterFlavor::Expressions;
    if let Some(expression) = route.expression.as_ref().filter(|_| expressions) {
        let word = EXPRESSION_FIRST | route.priority.unwrap_or(0);
        let matcher = Matcher::of_expression(route, service, index, expression)?;
        ranked.push((word, route.id, matcher));
        return Ok(());
    }
    for part in priority::split(route) {
        let matcher = Matcher::of_paths(route, service, index, &part.paths, flavor)?;
        ranked.push((priority::word(route, &part), part.id, matcher));
    }
    Ok(())
}

/// `host` and `port` of `host:port`, by Kong's rule: at the first colon, if a number follows.
pub fn split_port(authority: &str) -> (&str, Option<u32>) {
    let split = authority.split_once(':');
    match split.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// The names under which Kong looks for a header: with underscores, which a client may have sent,
/// then with dashes.
fn header_names(name: &str) -> [String; 2] {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let dashes = name.replace('_', "-");
    [name, dashes]
}

#[cfg(test)]
mod tests;
