//! Which requests a policy is about.

use http::HeaderName;
use ipnet::IpNet;
use serde::Deserialize;

use crate::pdk::Exchange;
use crate::pdk::client::Named;
use crate::pdk::request::header_name;
use crate::router::path;

/// One condition of the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    kind: Kind,
    key: Option<String>,
    values: Option<Vec<String>>,
    partition_by: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Consumer,
    ConsumerGroup,
    Header,
    Ip,
    Model,
    Path,
    Provider,
}

/// Conditions that must all hold. Without any it is the policy for what no other is about.
#[derive(Default)]
pub(super) struct Match(Vec<Rule>);

struct Rule {
    what: What,
    /// Any of them; none is any value at all.
    values: Vec<String>,
    partitions: bool,
}

enum What {
    Consumer,
    Group,
    Header(HeaderName),
    Ip(Vec<IpNet>),
    Model,
    Path,
    Provider,
}

impl Match {
    pub(super) fn new(conditions: &[Condition]) -> Result<Self, String> {
        let rule = |(at, condition): (usize, &Condition)| {
            Rule::new(condition).map_err(|what| format!("match[{at}].{what}"))
        };
        conditions.iter().enumerate().map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it is for what no other policy is about.
    pub(super) fn is_fallback(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is about a request, and whose counter it then is: the values it tells apart.
    /// The provider is known only later ([`Self::has_provider`]).
    pub(super) fn find(&self, ex: &Exchange, model: Option<&str>) -> Option<String> {
        let mut whom = String::new();
        for rule in &self.0 {
            let found = rule.find(ex, model)?;
            if rule.partitions {
                whom.push_str(&found);
                whom.push('\u{1f}');
            }
        }
        Some(whom)
    }

    /// Whether it is about requests that this provider has answered.
    pub(super) fn has_provider(&self, provider: &str) -> bool {
        let is_it = |rule: &Rule| {
            !matches!(rule.what, What::Provider)
                || rule.values.is_empty()
                || rule.values.iter().any(|value| value == provider)
        };
        self.0.iter().all(is_it)
    }
}

impl Rule {
    fn new(condition: &Condition) -> Result<Self, String> {
        let values = condition.values.clone().unwrap_or_default();
        let what = match condition.kind {
            Kind::Consumer => What::Consumer,
            Kind::ConsumerGroup => What::Group,
            Kind::Model => What::Model,
            Kind::Path => What::Path,
            Kind::Provider => What::Provider,
            Kind::Ip => {
                What::Ip(values.iter().map(|value| network(value)).collect::<Result<_, _>>()?)
            }
            Kind::Header => {
                let name = condition.key.as_deref().and_then(header_name);
                What::Header(name.ok_or("key: must be the name of a header")?)
            }
        };
        Ok(Self { what, values, partitions: condition.partition_by.unwrap_or(false) })
    }

    /// The value of a request that fits.
    fn find(&self, ex: &Exchange, model: Option<&str>) -> Option<String> {
        match &self.what {
            What::Consumer => {
                let Named::Consumer(consumer) = ex.client.named() else { return None };
                let id = consumer.id.to_string();
                let names = [Some(id.as_str()), consumer.username.as_deref()];
                let fits = self.values.is_empty()
                    || names.into_iter().flatten().any(|name| self.has(name));
                fits.then_some(id)
            }
            What::Group => ex.client.with_groups(|groups| {
                let fits =
                    |name: &str, id: &str| self.values.is_empty() || self.has(name) || self.has(id);
                let group = groups.iter().find(|group| fits(&group.name, &group.id.to_string()));
                group.map(|group| group.name.to_string())
            }),
            What::Header(name) => {
                let value = ex.request.header(name)?;
                let value = value.to_str().ok()?;
                (self.values.is_empty() || self.has(value)).then(|| value.to_owned())
            }
            What::Ip(networks) => {
                let ip = ex.request.connection.client.ip().to_canonical();
                let fits = networks.is_empty() || networks.iter().any(|net| net.contains(&ip));
                fits.then(|| ip.to_string())
            }
            What::Model => {
                let model = model?;
                (self.values.is_empty() || self.has(model)).then(|| model.to_owned())
            }
            What::Path => {
                let path = path::decoded(ex.request.raw_path()).into_owned();
                (self.values.is_empty() || self.has(&path)).then_some(path)
            }
            // Judged when it is known who answered.
            What::Provider => Some(String::new()),
        }
    }

    fn has(&self, value: &str) -> bool {
        self.values.iter().any(|known| known == value)
    }
}

fn network(value: &str) -> Result<IpNet, String> {
    let address = || value.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    let network = value.parse().ok().or_else(address);
    network.ok_or_else(|| format!("values: '{value}' is no address or network"))
}
