//! How names are resolved: Kong's `dns_*`, and `resolver_*` where `new_dns_client` is on.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::layers::Layers;

/// What holds for every name.
#[derive(Debug, Clone)]
pub struct DnsSettings {
    /// Who is asked; empty is whom resolv.conf says.
    pub servers: Vec<SocketAddr>,
    /// The file of fixed names.
    pub hosts_file: PathBuf,
    /// What is asked for, in this order.
    pub order: Vec<RecordKind>,
    /// SRV is asked for names that look like `_service._proto.name`, and for no others; and names
    /// with enough dots are not looked for in search domains. Both as in Kong's newer client.
    pub is_newer: bool,
    /// In place of what answers say.
    pub valid_ttl: Option<Duration>,
    /// How long an answer may serve after its time is over, while it is renewed.
    pub stale_ttl: Duration,
    /// How long a name that does not exist is remembered.
    pub not_found_ttl: Duration,
    /// How long other failures are remembered.
    pub error_ttl: Duration,
    /// Names that are remembered.
    pub cache_size: usize,
    /// Whoever asks what is being asked already waits for that answer.
    pub is_merged: bool,
}

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// The kind that the last answer was of.
    Last,
    /// Hosts and ports with weights.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

const OLDER: [&str; 9] = [
    "dns_resolver",
    "dns_hostsfile",
    "dns_order",
    "dns_valid_ttl",
    "dns_stale_ttl",
    "dns_not_found_ttl",
    "dns_error_ttl",
    "dns_cache_size",
    "dns_no_sync",
];
const NEWER: [&str; 8] = [
    "new_dns_client",
    "resolver_address",
    "resolver_hosts_file",
    "resolver_family",
    "resolver_valid_ttl",
    "resolver_stale_ttl",
    "resolver_error_ttl",
    "resolver_lru_cache_size",
];

/// Names of settings that are read here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OLDER.into_iter().chain(NEWER)
}

impl Layers {
    pub(super) fn dns(&mut self) -> DnsSettings {
        let is_newer = self.flag("new_dns_client", "off");
        // Both are read, so that a wrong value is told of whichever is in force.
        let older = self.older_dns();
        let newer = self.newer_dns();
        if is_newer { newer } else { older }
    }

    fn older_dns(&mut self) -> DnsSettings {
        DnsSettings {
            servers: self.servers("dns_resolver"),
            hosts_file: self.hosts_file("dns_hostsfile"),
            order: self.order("dns_order", "LAST,SRV,A,CNAME", &["LAST", "CNAME"]),
            is_newer: false,
            valid_ttl: self.seconds("dns_valid_ttl", ""),
            stale_ttl: self.seconds("dns_stale_ttl", "3600").unwrap_or_default(),
            not_found_ttl: self.seconds("dns_not_found_ttl", "30").unwrap_or_default(),
            error_ttl: self.seconds("dns_error_ttl", "1").unwrap_or_default(),
            cache_size: self.number("dns_cache_size", 10_000) as usize,
            is_merged: !self.flag("dns_no_sync", "off"),
        }
    }

    fn newer_dns(&mut self) -> DnsSettings {
        let error_ttl = self.seconds("resolver_error_ttl", "1").unwrap_or_default();
        let mut order = self.order("resolver_family", "A,SRV", &[]);
        // A name is asked for one kind or the other; of addresses IPv4 comes first.
        const RANKS: [RecordKind; 3] = [RecordKind::Srv, RecordKind::A, RecordKind::Aaaa];
        order.sort_by_key(|kind| RANKS.iter().position(|ranked| ranked == kind));
        DnsSettings {
            servers: self.servers("resolver_address"),
            hosts_file: self.hosts_file("resolver_hosts_file"),
            order,
            is_newer: true,
            valid_ttl: self.seconds("resolver_valid_ttl", ""),
            stale_ttl: self.seconds("resolver_stale_ttl", "3600").unwrap_or_default(),
            not_found_ttl: error_ttl,
            error_ttl,
            cache_size: self.number("resolver_lru_cache_size", 10_000) as usize,
            is_merged: true,
        }
    }

    fn servers(&mut self, name: &str) -> Vec<SocketAddr> {
        let mut servers = Vec::new();
        for text in self.list(name, "") {
            match server(&text) {
                Some(server) => servers.push(server),
                None => self.errors.push(format!(
                    "{name} must be a comma separated list in the form of IPv4/6 or IPv4/6:port, \
                     got '{text}'"
                )),
            }
        }
        servers
    }

    /// A file that somebody names must be there; a machine without `/etc/hosts` has no such names.
    fn hosts_file(&mut self, name: &str) -> PathBuf {
        let Some(path) = self.optional(name).map(PathBuf::from) else {
            return PathBuf::from("/etc/hosts");
        };
        if !path.is_file() {
            self.errors.push(format!("{name}: file does not exist"));
        }
        path
    }

    fn order(&mut self, name: &str, default: &str, more: &[&str]) -> Vec<RecordKind> {
        let mut order = Vec::new();
        for text in self.list(name, default) {
            let kind = match text.to_ascii_uppercase().as_str() {
                "SRV" => Some(RecordKind::Srv),
                "A" => Some(RecordKind::A),
                "AAAA" => Some(RecordKind::Aaaa),
                "LAST" if more.contains(&"LAST") => Some(RecordKind::Last),
                // Questions for addresses follow aliases; nobody asks for the alias alone.
                "CNAME" if more.contains(&"CNAME") => None,
                _ => {
                    self.errors.push(format!("{name}: invalid entry '{text}'"));
                    None
                }
            };
            order.extend(kind.filter(|kind| !order.contains(kind)));
        }
        order
    }

    /// Kong's numbers may be fractions. An empty default is none at all.
    fn seconds(&mut self, name: &str, default: &str) -> Option<Duration> {
        let read = |text: &str| match text {
            "" => Some(None),
            text => text
                .parse::<f64>()
                .ok()
                .filter(|secs| (0.0..=1e9).contains(secs))
                .map(|secs| Some(Duration::from_secs_f64(secs))),
        };
        self.parse(name, default, "a number of seconds", read).flatten()
    }
}

/// `ip`, `ip:port`, `[ip]` or `[ip]:port`; port 53 if none is named.
fn server(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    text.parse().ok().or_else(|| Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, 53)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Env, Flags, Settings};

    fn read(flags: &[(&str, &str)]) -> Result<DnsSettings, Vec<String>> {
        let flags: Flags =
            flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&flags, Env::default(), None).map(|read| read.settings.dns)
    }

    #[test]
    fn the_defaults_are_those_of_kong() {
        let dns = read(&[]).unwrap();
        assert_eq!(dns.order, [RecordKind::Last, RecordKind::Srv, RecordKind::A]);
        assert_eq!((dns.stale_ttl.as_secs(), dns.not_found_ttl.as_secs()), (3600, 30));
        assert_eq!((dns.error_ttl.as_secs(), dns.cache_size), (1, 10_000));
        assert!(dns.valid_ttl.is_none() && dns.servers.is_empty() && dns.is_merged);
        let dns = read(&[("new_dns_client", "on")]).unwrap();
        assert_eq!(dns.order, [RecordKind::Srv, RecordKind::A]);
        assert_eq!(dns.not_found_ttl.as_secs(), 1);
    }

    #[test]
    fn servers_have_ports_or_53() {
        let dns = read(&[("dns_resolver", "8.8.8.8, 1.1.1.1:54, [::1], [::2]:55, ::3")]).unwrap();
        let texts: Vec<String> = dns.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(texts, ["8.8.8.8:53", "1.1.1.1:54", "[::1]:53", "[::2]:55", "[::3]:53"]);
    }

    #[test]
    fn wrong_values_are_refused_in_the_words_of_kong() {
        let errors = read(&[
            ("dns_resolver", "dns.test"),
            ("dns_hostsfile", "/no/such/file"),
            ("dns_order", "LAST,PTR"),
            ("resolver_family", "A,LAST"),
            ("dns_valid_ttl", "-1"),
        ]);
        let errors = errors.unwrap_err();
        assert_eq!(errors.len(), 5, "{errors:#?}");
        let text = errors.join("\n");
        for part in [
            "dns_resolver must be a comma separated list in the form of IPv4/6 or IPv4/6:port, \
             got 'dns.test'",
            "dns_hostsfile: file does not exist",
            "dns_order: invalid entry 'PTR'",
            "resolver_family: invalid entry 'LAST'",
            "'-1' is not a number of seconds",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn fractions_and_lower_case_are_read() {
        let dns = read(&[("dns_valid_ttl", "0.25"), ("dns_order", "aaaa,a,a")]).unwrap();
        assert_eq!(dns.valid_ttl, Some(Duration::from_millis(250)));
        assert_eq!(dns.order, [RecordKind::Aaaa, RecordKind::A]);
    }
}
