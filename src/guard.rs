//! The metadata guard: addresses that hand out this machine's identity, refused to whoever is not
//! the operator.
//!
//! Any process on the machine that can call a metadata endpoint gets the machine's tokens, and the
//! gateway is one. A client that fills in a template, or a plugin, must not make it call there.
//! What is asked about is the address of the connection that is about to be made, behind DNS, so a
//! name that points elsewhere the second time is of no use. What the configuration says literally
//! is the operator's word: it is obeyed, with a warning at load.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::HeaderName;
use serde_json::Value;
use thiserror::Error;
use url::{Host, Url};

use crate::settings::Env;
use crate::snapshot::Snapshot;

/// Headers that make a request one to a metadata endpoint, or prove its right to be one.
pub const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("metadata"),
    HeaderName::from_static("x-identity-header"),
    HeaderName::from_static("secret"),
];

/// Who said where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Named {
    /// The configuration, literally.
    #[default]
    Operator,
    /// The client, through a template in the host.
    Client,
    /// A Lua plugin.
    Plugin,
}

impl Named {
    /// Whose fault it is, as log lines say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Client => "client",
            Self::Plugin => "plugin",
        }
    }
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rule {
    /// 169.254.0.0/16 and fe80::/10: IMDS, App Service and their likes in other clouds.
    #[error("link-local addresses belong to metadata services")]
    LinkLocal,
    /// The host's agent on every Azure machine.
    #[error("168.63.129.16 is the platform address of Azure")]
    Platform,
    /// The metadata service of another cloud, over IPv6.
    #[error("fd00:ec2::254 is a metadata service")]
    Ec2,
    /// Azure Arc (40342), Cloud Shell (50342), Service Fabric (2377).
    #[error("ports 40342, 50342 and 2377 of this machine belong to identity agents of Azure")]
    Agent,
    /// An endpoint that this gateway takes tokens from.
    #[error("it is the endpoint of {0}")]
    InForce(&'static str),
}

/// A connection that is not opened. For the operator; the client learns nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the {who} named the upstream {host}, which is {address}: {rule} \
     (silverback_metadata_guard=off lets it through)",
    who = .named.as_str()
)]
pub struct Refused {
    named: Named,
    host: String,
    address: SocketAddr,
    rule: Rule,
}

/// The list in force for one configuration.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    is_off: bool,
    endpoints: Vec<Endpoint>,
}

/// A place that gives this gateway its tokens, and the variable or field that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    name: &'static str,
    host: Host,
    port: u16,
}

/// Variables that name a metadata endpoint. The gateway need not use one to be kept from it.
const VARIABLES: [&str; 5] = [
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
    "IMDS_ENDPOINT",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_INSTANCE_METADATA_HOST",
];
const FIELD: &str = "azure_imds_endpoint";

impl Guard {
    /// The fixed list, and the metadata endpoints that a configuration and its environment name.
    pub fn new(is_on: bool, snapshot: &Snapshot) -> Self {
        let mut endpoints = endpoints_of(&snapshot.env);
        for plugin in snapshot.plugins.iter().filter(|plugin| plugin.enabled) {
            fields(&plugin.config, &mut endpoints);
        }
        Self { is_off: !is_on, endpoints }
    }

    /// Whether a connection to `address` may be opened for the host that somebody named.
    ///
    /// # Errors
    /// It is a metadata endpoint, and not the operator named it.
    pub fn check(&self, named: Named, host: &str, address: SocketAddr) -> Result<(), Refused> {
        if named == Named::Operator || self.is_off {
            return Ok(());
        }
        let in_force = || self.endpoints.iter().find(|endpoint| endpoint.is_at(host, address));
        let rule = fixed(address).or_else(|| in_force().map(|found| Rule::InForce(found.name)));
        match rule {
            Some(rule) => Err(Refused { named, host: host.to_owned(), address, rule }),
            None => Ok(()),
        }
    }
}

/// The rule against a host that is written as an address; a name is not asked for.
pub fn literal(host: &str, port: u16) -> Option<Rule> {
    let address = match host.trim_matches(['[', ']']) {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => text.parse().ok()?,
    };
    fixed(SocketAddr::new(address, port))
}

/// One line for each Service and Target that the operator has put at a metadata endpoint.
pub fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let line = |what: String, rule: Rule| {
        format!("{what}: {rule}; whoever may use it may get tokens of this machine")
    };
    let mut lines = Vec::new();
    for service in snapshot.services.values() {
        if let Some(rule) = literal(&service.host, service.port) {
            let name = service.name.clone().unwrap_or_else(|| service.id.to_string());
            lines.push(line(format!("service '{name}' at {}", service.host), rule));
        }
    }
    for target in snapshot.targets.values().flatten() {
        let (host, port) = match target.target.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (target.target.as_str(), ""),
        };
        if let Some(rule) = literal(host, port.parse().unwrap_or_default()) {
            lines.push(line(format!("target '{}'", target.target), rule));
        }
    }
    lines.sort();
    lines
}

/// The rule of the fixed list against an address.
fn fixed(address: SocketAddr) -> Option<Rule> {
    const PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    const EC2: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match plain(address.ip()) {
        IpAddr::V4(ip) if ip.is_link_local() => Some(Rule::LinkLocal),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(Rule::LinkLocal),
        IpAddr::V4(PLATFORM) => Some(Rule::Platform),
        IpAddr::V6(EC2) => Some(Rule::Ec2),
        ip if is_here(ip) && matches!(address.port(), 40342 | 50342 | 2377) => Some(Rule::Agent),
        _ => None,
    }
}

/// An address without its disguise: IPv6 has several ways to say an IPv4 address.
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = ip else { return ip };
    let [a, b, c, d, e, f, g, h] = six.segments();
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        // Mapped (RFC 4291, section 2.5.5.2) and translated by NAT64 (RFC 6052).
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => four(g, h),
        // 6to4 (RFC 3056).
        (0x2002, high, low, ..) => four(high, low),
        // Compatible (RFC 4291, section 2.5.5.1), but not :: and ::1.
        (0, 0, 0, 0, 0, 0) if g > 0 => four(g, h),
        _ => ip,
    }
}

/// Whether a connection to this address ends on this machine. Linux takes 0.0.0.0 and :: there.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

impl Endpoint {
    fn new(name: &'static str, text: &str) -> Option<Self> {
        let text = text.trim();
        let with_scheme = format!("http://{text}");
        let url = Url::parse(if text.contains("://") { text } else { &with_scheme }).ok()?;
        let host = match url.host()?.to_owned() {
            Host::Domain(domain) if domain == "localhost" => Host::Ipv4(Ipv4Addr::LOCALHOST),
            host => host,
        };
        Some(Self { name, host, port: url.port_or_known_default()? })
    }

    /// Whether a connection for `host` to `address` ends there. An endpoint with a name is known
    /// by its name alone; the platforms name theirs by address or as `localhost`.
    fn is_at(&self, host: &str, address: SocketAddr) -> bool {
        let is_same = |ip: IpAddr| {
            let (own, other) = (plain(ip), plain(address.ip()));
            own == other || is_here(own) && is_here(other)
        };
        let meets = match &self.host {
            Host::Domain(name) => host.trim_end_matches('.').eq_ignore_ascii_case(name),
            Host::Ipv4(ip) => is_same(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => is_same(IpAddr::V6(*ip)),
        };
        meets && self.port == address.port()
    }
}

fn endpoints_of(env: &Env) -> Vec<Endpoint> {
    let endpoint = |name: &&'static str| Endpoint::new(name, env.get(name)?);
    VARIABLES.iter().filter_map(endpoint).collect()
}

/// The endpoints that a plugin's configuration names, at whatever depth.
fn fields(config: &Value, found: &mut Vec<Endpoint>) {
    match config {
        Value::Object(members) => {
            let text = members.get(FIELD).and_then(Value::as_str);
            found.extend(text.and_then(|text| Endpoint::new(FIELD, text)));
            members.values().for_each(|value| fields(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
