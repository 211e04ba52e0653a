//! Questions on the wire: which kinds of records, under which names, in which order.
//!
//! The order is that of Kong's client: each kind under every name before the next kind. hickory
//! sends the questions and follows aliases; it remembers nothing, because we do.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;

use super::answer::{Fault, Records, Service};
use crate::settings::{DnsSettings, RecordKind};

/// How long a server has for an answer, and how often it is asked, where resolv.conf does not say
/// so (Kong).
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 5;

/// Asks name servers.
pub(super) struct Resolver {
    client: TokioResolver,
    order: Vec<RecordKind>,
    is_newer: bool,
    ndots: usize,
    search: Vec<String>,
}

impl Resolver {
    /// # Errors
    /// The library refuses the options.
    pub(super) fn new(options: &DnsSettings) -> Result<Self, NetError> {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let (mut config, mut system) = parse_resolv_conf(&text).unwrap_or_else(|_| {
            (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
        });
        if !options.servers.is_empty() {
            let servers = options.servers.iter().map(|address| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                server
            });
            config = ResolverConfig::from_parts(
                config.domain().cloned(),
                config.search().to_vec(),
                servers.collect(),
            );
        }
        if !text.contains("timeout:") {
            system.timeout = TIMEOUT;
        }
        if !text.contains("attempts:") {
            system.attempts = ATTEMPTS;
        }
        // hickory counts the repetitions.
        system.attempts = system.attempts.saturating_sub(1);
        system.cache_size = 0;
        system.positive_max_ttl = Some(Duration::ZERO);
        system.negative_max_ttl = Some(Duration::ZERO);
        system.use_hosts_file = ResolveHosts::Never;
        system.num_concurrent_reqs = 1;
        system.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        let search = config.search().iter().map(Name::to_utf8);
        let search = search.map(|name| name.trim_end_matches('.').to_owned());
        let search = search.filter(|name| !name.is_empty()).collect();
        let (order, is_newer, ndots) = (options.order.clone(), options.is_newer, system.ndots);
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(config, provider).with_options(system);
        Ok(Self { client: builder.build()?, order, is_newer, ndots, search })
    }

    /// The records of a name, and how long they hold. `last` is the kind it had before.
    pub(super) async fn resolve(
        &self,
        name: &str,
        last: Option<RecordKind>,
    ) -> Result<(Records, Duration), Fault> {
        let names = candidates(name, &self.search, self.ndots, self.is_newer);
        let mut fault = Fault::Missing("no kind of record is asked for".to_owned());
        for kind in kinds(&self.order, self.is_newer, name, last) {
            for name in &names {
                match self.ask(name, kind).await {
                    Ok(found) => return Ok(found),
                    Err((why, is_over)) => {
                        fault = why;
                        if is_over {
                            return Err(fault);
                        }
                    }
                }
            }
        }
        Err(fault)
    }

    /// One question. A fault comes with whether it is any use to ask another one.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<(Records, Duration), Asked> {
        let mut query = Name::from_str_relaxed(name)
            .map_err(|error| (Fault::Missing(error.to_string()), true))?;
        query.set_fqdn(true);
        let lookup = self.client.lookup(query, kind).await.map_err(fault)?;
        let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        match records(&lookup, name, kind) {
            Some(records) => Ok((records, Duration::from_secs(ttl.into()))),
            None => Err((Fault::Missing("empty record received".to_owned()), false)),
        }
    }
}

type Asked = (Fault, bool);

/// What is asked for: Kong's order with the kind that was found last in its place.
fn kinds(
    order: &[RecordKind],
    is_newer: bool,
    name: &str,
    last: Option<RecordKind>,
) -> Vec<RecordType> {
    let mut seen = HashSet::new();
    let is_service = is_service(name);
    let is_asked = |kind: &RecordKind| !is_newer || (*kind == RecordKind::Srv) == is_service;
    let kinds = order.iter().filter(|kind| is_asked(kind));
    let kinds = kinds.filter_map(|kind| if *kind == RecordKind::Last { last } else { Some(*kind) });
    let kinds = kinds.filter_map(|kind| match kind {
        RecordKind::Srv => Some(RecordType::SRV),
        RecordKind::A => Some(RecordType::A),
        RecordKind::Aaaa => Some(RecordType::AAAA),
        RecordKind::Last => None,
    });
    kinds.filter(|kind| seen.insert(*kind)).collect()
}

/// `_service._proto.name`
fn is_service(name: &str) -> bool {
    let mut labels = name.split('.');
    let mut starts =
        || labels.next().is_some_and(|label| label.len() > 1 && label.starts_with('_'));
    starts() && starts() && labels.next().is_some_and(|label| !label.is_empty())
}

/// The names that a name may be short for, in the order to try them.
fn candidates(name: &str, search: &[String], ndots: usize, is_newer: bool) -> Vec<String> {
    let bare = name.trim_end_matches('.').to_owned();
    if name.ends_with('.') {
        return vec![bare];
    }
    let has_dots = name.matches('.').count() >= ndots;
    let longer = search.iter().map(|domain| format!("{bare}.{domain}"));
    match (has_dots, is_newer) {
        (true, true) => vec![bare],
        (true, false) => std::iter::once(bare.clone()).chain(longer).collect(),
        (false, _) => longer.chain([bare.clone()]).collect(),
    }
}

fn records(lookup: &Lookup, name: &str, kind: RecordType) -> Option<Records> {
    let answers = lookup.answers().iter().map(|record| &record.data);
    if kind != RecordType::SRV {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for answer in answers {
            let address = match answer {
                RData::A(four) if kind == RecordType::A => IpAddr::V4(four.0),
                RData::AAAA(six) if kind == RecordType::AAAA => IpAddr::V6(six.0),
                _ => continue,
            };
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        return (!addresses.is_empty()).then(|| Records::Addresses(addresses.into()));
    }
    let services = answers.filter_map(|answer| match answer {
        RData::SRV(srv) => Some(srv),
        _ => None,
    });
    let services: Vec<_> = services.collect();
    let best = services.iter().map(|srv| srv.priority).min()?;
    let services = services.iter().filter(|srv| srv.priority == best).map(|srv| {
        let target = srv.target.to_utf8();
        let target: Arc<str> = target.trim_end_matches('.').to_ascii_lowercase().into();
        Service { target, port: srv.port, weight: Some(u32::from(srv.weight).max(1)) }
    });
    let services: Vec<Service> = services.collect();
    // A name that stands for itself leads nowhere (Kong: recursion detected).
    let is_circle = services.iter().all(|service| *service.target == *name);
    (!is_circle).then(|| Records::Services(services.into()))
}

/// What a failure means. Where nobody answers, another question would not be answered either.
fn fault(error: NetError) -> Asked {
    let missing = |reason: &str| (Fault::Missing(reason.to_owned()), false);
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => missing("dns server error: 3 name error"),
            ResponseCode::NoError => missing("dns client error: 101 empty record received"),
            code => (Fault::Failed(format!("dns server error: {code}")), false),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            (Fault::Failed(format!("dns server error: {code}")), false)
        }
        error => (Fault::Failed(error.to_string()), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search() -> Vec<String> {
        vec!["ns.svc".to_owned(), "svc".to_owned()]
    }

    #[test]
    fn short_names_are_looked_for_in_search_domains_first() {
        let of = |name, ndots, newer| candidates(name, &search(), ndots, newer);
        assert_eq!(of("a", 1, false), ["a.ns.svc", "a.svc", "a"]);
        assert_eq!(of("a.b", 1, false), ["a.b", "a.b.ns.svc", "a.b.svc"]);
        assert_eq!(of("a.b", 1, true), ["a.b"]);
        assert_eq!(of("a.b", 5, true), ["a.b.ns.svc", "a.b.svc", "a.b"]);
        assert_eq!(of("a.b.", 5, false), ["a.b"]);
    }

    #[test]
    fn the_kind_that_was_found_last_comes_first() {
        let order = [RecordKind::Last, RecordKind::Srv, RecordKind::A];
        let of = |last| kinds(&order, false, "a.test", last);
        assert_eq!(of(None), [RecordType::SRV, RecordType::A]);
        assert_eq!(of(Some(RecordKind::A)), [RecordType::A, RecordType::SRV]);
    }

    #[test]
    fn the_newer_client_asks_for_services_by_their_form_alone() {
        let order = [RecordKind::Srv, RecordKind::A];
        assert_eq!(kinds(&order, true, "_a._tcp.b.test", None), [RecordType::SRV]);
        for name in ["a.test", "_a.b", "_a._tcp", "_._tcp.b"] {
            assert_eq!(kinds(&order, true, name, None), [RecordType::A], "{name}");
        }
    }
}
