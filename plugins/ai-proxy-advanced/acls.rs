//! `config.acls`: who may use which targets.
//!
//! A rule holds when all its conditions do. A denial counts more than an allowance, and where
//! there are allowances one of them must hold. Rules may name models and providers, so they are
//! asked for each target: what is denied is not there for this client, and when nothing is left
//! the client gets a 403.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use super::targets::Target;
use crate::llm::config::{self, AclMatch, AclType};
use crate::pdk::Exchange;
use crate::pdk::client::Named;
use crate::router::path;

/// The rules of one plugin.
#[derive(Debug)]
pub(super) struct Acls {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

/// The conditions that must all hold.
#[derive(Debug)]
struct Rule(Vec<Condition>);

/// What is compared, and the values of which one must be there.
#[derive(Debug)]
enum Condition {
    Consumer(Who, Vec<String>),
    Group(Who, Vec<String>),
    Header(HeaderName, Vec<String>),
    Ip(Vec<IpNet>),
    Model(Vec<String>),
    Path(Vec<String>),
    Provider(Vec<String>),
}

/// By what an entity is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Any,
    Id,
    Name,
    CustomId,
}

impl Who {
    fn new(
        place: &str,
        key: Option<&str>,
        names: &[(&str, Self)],
        lines: &mut Vec<String>,
    ) -> Self {
        let Some(key) = key.filter(|key| !key.is_empty()) else { return Self::Any };
        if let Some((_, who)) = names.iter().find(|(name, _)| *name == key) {
            return *who;
        }
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        lines.push(format!("{place}.key: '{key}' is none of {}", names.join(", ")));
        Self::Any
    }

    fn is(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

impl Acls {
    /// Compiles the rules; whatever is wrong with them goes to `lines`.
    pub(super) fn new(config: &config::Acls, lines: &mut Vec<String>) -> Option<Self> {
        let mut rules = |list: &str, rules: &Option<Vec<config::AclRule>>| -> Vec<Rule> {
            let rule = |(at, rule): (usize, &config::AclRule)| {
                let place = format!("config.acls.{list}[{at}].match");
                let conditions = rule.r#match.iter().enumerate();
                let conditions = conditions
                    .filter_map(|(n, one)| Condition::new(&format!("{place}[{n}]"), one, lines));
                Rule(conditions.collect())
            };
            rules.iter().flatten().enumerate().map(rule).collect()
        };
        let (allow, deny) = (rules("allow", &config.allow), rules("deny", &config.deny));
        let is_empty = allow.is_empty() && deny.is_empty();
        (!is_empty).then_some(Self { allow, deny })
    }

    /// Whether a client that asks for this model may use a target.
    pub(super) fn admit(&self, ex: &Exchange, model: Option<&str>, target: &Target) -> bool {
        let holds = |rules: &[Rule]| rules.iter().any(|rule| rule.holds(ex, model, target));
        !holds(&self.deny) && (self.allow.is_empty() || holds(&self.allow))
    }
}

impl Rule {
    fn holds(&self, ex: &Exchange, model: Option<&str>, target: &Target) -> bool {
        self.0.iter().all(|condition| condition.holds(ex, model, target))
    }
}

impl Condition {
    fn new(place: &str, config: &AclMatch, lines: &mut Vec<String>) -> Option<Self> {
        let AclMatch { r#type, key, values } = config;
        let (key, values) = (key.as_deref(), values.clone());
        Some(match r#type {
            AclType::Consumer => {
                let names =
                    [("id", Who::Id), ("username", Who::Name), ("custom_id", Who::CustomId)];
                Self::Consumer(Who::new(place, key, &names, lines), values)
            }
            AclType::ConsumerGroup => {
                let names = [("id", Who::Id), ("name", Who::Name)];
                Self::Group(Who::new(place, key, &names, lines), values)
            }
            AclType::Header => {
                let Some(name) = key.and_then(crate::pdk::request::header_name) else {
                    lines.push(format!("{place}.key: must name a header"));
                    return None;
                };
                Self::Header(name, values)
            }
            AclType::Ip => Self::Ip(networks(place, &values, lines)),
            AclType::Model => Self::Model(values),
            AclType::Path => Self::Path(values),
            AclType::Provider => Self::Provider(values),
        })
    }

    fn holds(&self, ex: &Exchange, model: Option<&str>, target: &Target) -> bool {
        let has = |values: &[String], text: &str| values.iter().any(|value| value == text);
        match self {
            Self::Consumer(who, values) => is_consumer(ex, *who, |text| has(values, text)),
            Self::Group(who, values) => ex.client.with_groups(|groups| {
                groups.iter().any(|group| {
                    who.is(Who::Name) && has(values, &group.name)
                        || who.is(Who::Id) && has(values, &group.id.to_string())
                })
            }),
            Self::Header(name, values) => {
                let headers = ex.request.headers();
                let mut texts = headers.get_all(name).iter().filter_map(|text| text.to_str().ok());
                texts.any(|text| has(values, text))
            }
            Self::Ip(networks) => {
                let address = ex.request.connection.client.ip();
                networks.iter().any(|network| network.contains(&address))
            }
            Self::Model(values) => {
                let own = target.plan.name().map(|name| &**name);
                let names = [model, own, target.plan.alias()];
                names.into_iter().flatten().any(|name| has(values, name))
            }
            Self::Path(values) => has(values, &path::normalise(ex.request.raw_path())),
            Self::Provider(values) => has(values, target.plan.provider().as_str()),
        }
    }
}

fn is_consumer(ex: &Exchange, who: Who, has: impl Fn(&str) -> bool) -> bool {
    match ex.client.named() {
        Named::Nobody => false,
        Named::Consumer(consumer) => {
            let is = |wanted, text: Option<&str>| who.is(wanted) && text.is_some_and(&has);
            is(Who::Id, Some(&consumer.id.to_string()))
                || is(Who::Name, consumer.username.as_deref())
                || is(Who::CustomId, consumer.custom_id.as_deref())
        }
        Named::Stranger(id) => who.is(Who::Id) && id.is_some_and(|id| has(&id.to_string())),
    }
}

fn networks(place: &str, values: &[String], lines: &mut Vec<String>) -> Vec<IpNet> {
    let network = |value: &String| {
        let address = value.parse::<IpAddr>().map(IpNet::from);
        let network = value.parse::<IpNet>().or(address);
        if network.is_err() {
            lines.push(format!("{place}.values: '{value}' is no address and no network"));
        }
        network.ok()
    };
    values.iter().filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::super::balance::tests::models;
    use super::*;
    use crate::entity::{Consumer, ConsumerGroup};

    /// A chat of a consumer that is called ada and is in the group research.
    fn of_ada() -> Exchange {
        let headers = [("x-team", "blue"), ("x-team", "red")];
        let ex = Exchange::for_test("POST", "/ai/%63hat", &headers);
        let (id, json) = (Uuid::from_u128(2), Arc::default());
        let group = ConsumerGroup { id, name: "research".to_owned(), tags: None, json };
        let consumer = Consumer {
            id: Uuid::from_u128(1),
            username: Some("ada".into()),
            custom_id: Some("custom".into()),
            tags: None,
            groups: vec![Arc::new(group)],
            json: Arc::default(),
        };
        ex.client.set(Named::Consumer(Arc::new(consumer)), None);
        ex
    }

    fn acls(config: Value) -> Result<Option<Acls>, Vec<String>> {
        let mut lines = Vec::new();
        let acls = Acls::new(&serde_json::from_value(config).unwrap(), &mut lines);
        if lines.is_empty() { Ok(acls) } else { Err(lines) }
    }

    fn is(kind: &str, values: Value) -> Value {
        json!({"type": kind, "key": null, "values": values})
    }

    fn is_at(kind: &str, key: &str, value: &str) -> Value {
        json!({"type": kind, "key": key, "values": [value]})
    }

    #[test]
    fn every_kind_of_condition() {
        let targets = models(&[json!({"name": "gpt-4o", "model_alias": "fast"})]);
        let target = targets.at(0).unwrap();
        let ada = of_ada();
        let address = ada.request.connection.client.ip();
        let id = Uuid::from_u128(1).to_string();
        for (condition, holds) in [
            (is("consumer", json!(["bob", "ada"])), true),
            (is("consumer", json!([id])), true),
            (is_at("consumer", "username", "ada"), true),
            (is_at("consumer", "custom_id", "custom"), true),
            (is_at("consumer", "id", "ada"), false),
            (is("consumer_group", json!(["research"])), true),
            (is_at("consumer_group", "id", "research"), false),
            (is("consumer_group", json!(["sales"])), false),
            (is_at("header", "X-Team", "red"), true),
            (is_at("header", "X-Team", "green"), false),
            (is_at("header", "X-Other", "red"), false),
            (is("ip", json!([address.to_string()])), true),
            (is("ip", json!(["0.0.0.0/0", "::/0"])), true),
            (is("ip", json!(["203.0.113.0/24"])), false),
            (is("model", json!(["gpt-4o"])), true),
            (is("model", json!(["fast"])), true),
            (is("model", json!(["o3"])), false),
            (is("path", json!(["/ai/chat"])), true),
            (is("path", json!(["/ai"])), false),
            (is("provider", json!(["azure"])), true),
            (is("provider", json!(["openai"])), false),
        ] {
            let allowing = acls(json!({"allow": [{"match": [condition]}]})).unwrap().unwrap();
            assert_eq!(allowing.admit(&ada, Some("m"), target), holds, "{condition}");
            let denying = acls(json!({"deny": [{"match": [condition]}]})).unwrap().unwrap();
            assert_eq!(denying.admit(&ada, Some("m"), target), !holds, "{condition}");
            let nobody = Exchange::for_test("POST", "/", &[]);
            if condition["type"].as_str().unwrap().starts_with("consumer") {
                assert!(!allowing.admit(&nobody, None, target), "{condition}");
            }
        }
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold_and_a_denial_wins() {
        let targets = models(&[json!({"name": "a"}), json!({"name": "b"})]);
        let both = json!({"match": [is("consumer", json!(["ada"])), is("model", json!(["a"]))]});
        let other = json!({"match": [is("consumer", json!(["bob"]))]});
        let admits = |config: Value| {
            let acls = acls(config).unwrap().unwrap();
            [0, 1].map(|index| acls.admit(&of_ada(), None, targets.at(index).unwrap()))
        };
        assert_eq!(admits(json!({"allow": [other, both]})), [true, false]);
        assert_eq!(admits(json!({"deny": [other, both]})), [false, true]);
        let everybody = json!({"match": [is("ip", json!(["0.0.0.0/0", "::/0"]))]});
        assert_eq!(admits(json!({"allow": [everybody], "deny": [both]})), [false, true]);
        assert!(acls(json!({"allow": null, "deny": null})).unwrap().is_none());
    }

    #[test]
    fn what_cannot_hold_is_said_with_its_place() {
        let lines = acls(json!({
            "allow": [{"match": [is("header", json!(["x"])), is_at("consumer", "nmae", "x")]}],
            "deny": [{"match": [is("ip", json!(["10.0.0.0/8", "nowhere"]))]}],
        }));
        assert_eq!(
            lines.unwrap_err(),
            [
                "config.acls.allow[0].match[0].key: must name a header",
                "config.acls.allow[0].match[1].key: 'nmae' is none of id, username, custom_id",
                "config.acls.deny[0].match[0].values: 'nowhere' is no address and no network",
            ]
        );
    }
}
