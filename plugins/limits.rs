//! What the plugins that limit have in common: whom they count, and where the counters are.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::entity::PluginEntity;
use crate::pdk::Exchange;
use crate::pdk::client::{Id, Named};
use crate::pdk::request::header_name;
use crate::quota::{Scope, Whom};
use crate::redis::{Record, Redis, Short};
use crate::router::path;
use crate::shared::Shared;

/// Where the counters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Policy {
    /// In this process.
    Local,
    /// In a Redis server, for several gateways.
    Redis,
}

/// The way to the server of a policy; `None` counts in this process.
pub(super) fn redis(
    shared: &Arc<Shared>,
    policy: Option<Policy>,
    record: Option<Short>,
) -> Result<Option<Rc<Redis>>, Vec<String>> {
    if policy != Some(Policy::Redis) {
        return Ok(None);
    }
    let record = record.ok_or_else(|| vec!["config.redis: is missing".to_owned()])?;
    Ok(Some(Redis::of(shared, Record::from(record).server("config.redis")?)))
}

/// The scope of a plugin's counters. As in Kong it is that of the plugin, without its Consumer.
pub(super) fn scope(entity: &PluginEntity, name: &str) -> Scope {
    let id = |reference: &Option<crate::entity::Ref>| reference.as_ref().map(|found| found.id);
    Scope { name: name.into(), route: id(&entity.route), service: id(&entity.service) }
}

/// The Consumer, or the credential when it belongs to nobody.
pub(super) fn consumer(ex: &Exchange) -> Option<Whom> {
    match ex.client.named() {
        Named::Nobody => credential(ex),
        named => named.id().map(whom),
    }
}

/// The credential.
pub(super) fn credential(ex: &Exchange) -> Option<Whom> {
    ex.client.credential()?.id.map(whom)
}

fn whom(id: Id) -> Whom {
    match id {
        Id::Known(id) => Whom::Id(id),
        Id::Text(text) => Whom::text(text.as_bytes()),
    }
}

/// The client's address, which stands in for whatever is not known.
pub(super) fn address(ex: &Exchange) -> Whom {
    Whom::Address(ex.request.connection.client.ip())
}

/// Whose use is counted together, as configurations say it. Which of them a plugin takes is for its
/// schema to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Criterion {
    Consumer,
    ConsumerGroup,
    Credential,
    Ip,
    Service,
    Header,
    Path,
}

/// The same with what it needs.
pub(super) enum By {
    Consumer,
    Group,
    Credential,
    Address,
    Service,
    Header(HeaderName),
    Path(String),
}

impl By {
    /// The criterion with its header or path, which the schema requires for it.
    pub(super) fn new(
        criterion: Option<Criterion>,
        header: Option<&str>,
        path: Option<String>,
    ) -> Result<Self, Vec<String>> {
        let missing = |text: &str| vec![text.to_owned()];
        Ok(match criterion.unwrap_or(Criterion::Consumer) {
            Criterion::Consumer => Self::Consumer,
            Criterion::ConsumerGroup => Self::Group,
            Criterion::Credential => Self::Credential,
            Criterion::Ip => Self::Address,
            Criterion::Service => Self::Service,
            Criterion::Header => {
                let name = header.and_then(header_name);
                Self::Header(name.ok_or_else(|| missing("config.header_name: is no header name"))?)
            }
            Criterion::Path => Self::Path(path.ok_or_else(|| missing("config.path: is missing"))?),
        })
    }

    /// Who is limited; the address stands in for whoever is not known.
    pub(super) fn whom(&self, ex: &Exchange) -> Whom {
        self.known(ex).unwrap_or_else(|| address(ex))
    }

    fn known(&self, ex: &Exchange) -> Option<Whom> {
        match self {
            Self::Consumer => consumer(ex),
            Self::Group => {
                ex.client.with_groups(|groups| groups.first().map(|group| Whom::Id(group.id)))
            }
            Self::Credential => credential(ex),
            Self::Address => None,
            Self::Service => Some(Whom::Id(ex.matched()?.service.as_ref()?.id)),
            Self::Header(name) => Some(Whom::text(ex.request.headers().get(name)?.as_bytes())),
            Self::Path(path) => {
                let asked = path::decoded(ex.request.raw_path());
                (*asked == **path).then(|| Whom::text(path.as_bytes()))
            }
        }
    }
}

/// A number as Kong writes it into a header.
pub(super) fn number(number: f64) -> HeaderValue {
    if number.fract() == 0.0 && number.abs() < 1e14 {
        return HeaderValue::from(number as i64);
    }
    HeaderValue::from_str(&number.to_string()).unwrap_or(HeaderValue::from_static("0"))
}

/// A status that Kong can send an error with; its schemas take any number.
pub(super) fn status(number: f64) -> Option<StatusCode> {
    let whole = number.fract() == 0.0 && (100.0..=599.0).contains(&number);
    whole.then(|| StatusCode::from_u16(number as u16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdk::Credential;

    #[test]
    fn clients_that_lua_names_without_a_uuid_do_not_share_a_limit() {
        let known = |named: Option<&str>, id: Option<&str>| {
            let ex = Exchange::for_test("GET", "/", &[]);
            let named = named.map_or(Named::Nobody, |id| Named::Stranger(Some(Id::read(id))));
            let id = id.map(Id::read);
            ex.client.set(named, Some(Credential { id, identifier: None, consumer_id: None }));
            (consumer(&ex), credential(&ex))
        };
        let text = |text: &str| Some(Whom::text(text.as_bytes()));
        assert_eq!(known(Some("a"), Some("k")), (text("a"), text("k")));
        assert_eq!(known(Some("b"), None), (text("b"), None));
        assert_eq!(known(None, Some("l")), (text("l"), text("l")));
        assert_eq!(known(None, None), (None, None), "the address stands in");
    }

    #[test]
    fn numbers_are_written_as_kong_writes_them() {
        for (value, text) in [(2.0, "2"), (0.5, "0.5"), (0.0, "0"), (100_000.0, "100000")] {
            assert_eq!(number(value), text);
        }
    }
}
