//! Names the consumer by an API key in a header, in the query or in the body.
//!
//! Kong's order: for each key name the header, then the query, then the body; the first value
//! decides, right or wrong. Without `anonymous` a request without a good key is refused; with it
//! several authentication plugins are alternatives, and the anonymous consumer stands in.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;

use super::Context;
use super::authentication::{Authentication, Challenge};
use crate::entity::KeyAuthCredential;
use crate::llm::splice::Key;
use crate::pdk::service::without_argument;
use crate::pdk::{Credential, Exchange};
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::respond::{self, Failure};
use crate::snapshot::Snapshot;
use fields::{Fields, Held};

mod fields;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    key_names: Vec<String>,
    hide_credentials: bool,
    anonymous: Option<String>,
    key_in_header: bool,
    key_in_query: bool,
    key_in_body: bool,
    run_on_preflight: bool,
    realm: Option<String>,
}

struct KeyAuth {
    names: Vec<Name>,
    config: Config,
    authentication: Authentication,
    challenge: Challenge,
    snapshot: Arc<Snapshot>,
    /// Largest body that is read, bytes.
    body_limit: usize,
}

/// A key name in the spellings of the three places.
struct Name {
    header: HeaderName,
    /// The header with dashes in place of underscores, where Kong looks next.
    dashed: Option<HeaderName>,
    field: Key,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let limit = context.shared.settings.body_limit();
    Ok(Box::new(KeyAuth::new(context.config()?, context.snapshot, limit)?))
}

impl Plugin for KeyAuth {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        self.keep_from_logs(ex);
        if !self.config.run_on_preflight && ex.request.method == Method::OPTIONS {
            return Step::DONE;
        }
        if self.authentication.is_settled(ex) {
            return Step::DONE;
        }
        if self.config.key_in_body && self.wants_body(ex) {
            return Step::wait(self.access_with_body(ex));
        }
        Step::Done(self.settle(ex, self.identify(ex, None)))
    }
}

impl KeyAuth {
    fn new(
        config: Config,
        snapshot: &Arc<Snapshot>,
        body_limit: usize,
    ) -> Result<Self, Vec<String>> {
        let names: Result<_, _> = config.key_names.iter().map(|name| Name::new(name)).collect();
        let challenge = Challenge::new("Key", config.realm.as_deref())?;
        let anonymous = config.anonymous.clone();
        Ok(Self {
            names: names?,
            authentication: Authentication::new("key-auth", anonymous, snapshot),
            challenge,
            snapshot: snapshot.clone(),
            body_limit,
            config,
        })
    }

    /// A key, good or bad, is in no log, also where `hide_credentials` leaves it in the request.
    fn keep_from_logs(&self, ex: &Exchange) {
        for name in &self.names {
            if self.config.key_in_header {
                name.headers().for_each(|header| ex.request.hide_header(header));
            }
            if self.config.key_in_query && ex.request.raw_query().is_some() {
                ex.log.hide_arg(name.field.name());
            }
        }
    }

    /// Whether the body may matter: a key to hide, or no key where it is looked for first.
    fn wants_body(&self, ex: &Exchange) -> bool {
        let is_settled =
            |name| matches!(self.look_under(ex, name, None), Held::One(_) | Held::Several);
        self.config.hide_credentials || !self.names.first().is_some_and(is_settled)
    }

    async fn access_with_body(&self, ex: &Exchange) -> Outcome {
        let body = match ex.request.body(self.body_limit).await {
            Ok(body) => body,
            Err(error) => {
                respond::fail(ex, Failure::from(&error));
                return Err(Stop::Exit);
            }
        };
        let kind = ex.request.header(CONTENT_TYPE);
        let kind = kind.as_ref().and_then(|kind| kind.to_str().ok());
        let fields = kind.and_then(|kind| Fields::read(kind, body));
        self.settle(ex, self.identify(ex, fields.as_ref()))
    }

    /// The credential of the first value that is found under one of the key names.
    fn identify(
        &self,
        ex: &Exchange,
        body: Option<&Fields>,
    ) -> Result<&Arc<KeyAuthCredential>, Refusal> {
        for name in &self.names {
            let held = self.look_under(ex, name, body);
            if self.config.hide_credentials && matches!(held, Held::One(_)) {
                hide(ex, name, body);
            }
            match held {
                Held::One(found) => return found,
                Held::Several => return Err(Refusal::Duplicate),
                Held::Nothing | Held::Other => {}
            }
        }
        Err(Refusal::Missing)
    }

    /// What stands under one name. A place that has anything hides the places after it.
    fn look_under(
        &self,
        ex: &Exchange,
        name: &Name,
        body: Option<&Fields>,
    ) -> Held<Result<&Arc<KeyAuthCredential>, Refusal>> {
        let mut held = Held::Nothing;
        if self.config.key_in_header {
            let headers = ex.request.headers();
            if let Some(header) = name.headers().find(|header| headers.contains_key(*header)) {
                let values = headers.get_all(header).iter().map(HeaderValue::as_bytes);
                held = Held::from_all(values).map(|key| self.credential(key));
            }
        }
        if matches!(held, Held::Nothing) && self.config.key_in_query {
            let query = ex.service.query().unwrap_or_default();
            held = fields::in_query(&query, &name.field).map(|key| self.credential(key.as_bytes()));
        }
        match (held, body) {
            (Held::Nothing, Some(body)) => {
                body.find(&name.field).map(|key| self.credential(key.as_bytes()))
            }
            (held, _) => held,
        }
    }

    fn credential(&self, key: &[u8]) -> Result<&Arc<KeyAuthCredential>, Refusal> {
        if key.is_empty() {
            return Err(Refusal::Missing);
        }
        let key = std::str::from_utf8(key).map_err(|_| Refusal::Unknown)?;
        let credential = self.snapshot.keyauth_credentials.get(key);
        credential.filter(|credential| !has_ended(credential)).ok_or(Refusal::Unknown)
    }

    fn settle(
        &self,
        ex: &Exchange,
        identified: Result<&Arc<KeyAuthCredential>, Refusal>,
    ) -> Outcome {
        let credential = identified.map(|known| Credential::new(known.id, None, known.consumer.id));
        let refuse = |refusal: Refusal| self.challenge.refuse(ex, refusal.message());
        self.authentication.settle(ex, credential, refuse)
    }
}

impl Name {
    fn new(name: &str) -> Result<Self, Vec<String>> {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| vec![format!("config.key_names: '{name}' is no header name")])?;
        let dashed =
            name.contains('_').then(|| HeaderName::from_bytes(name.replace('_', "-").as_bytes()));
        Ok(Self { header, dashed: dashed.and_then(Result::ok), field: Key::new(name) })
    }

    fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        std::iter::once(&self.header).chain(&self.dashed)
    }
}

/// Whether the time of a key is over.
fn has_ended(credential: &KeyAuthCredential) -> bool {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    credential.ttl.is_some_and(|end| now().as_secs_f64() >= end)
}

/// Why a request is refused, in Kong's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    Duplicate,
    Unknown,
}

impl Refusal {
    fn message(self) -> &'static str {
        match self {
            Self::Missing => "No API key found in request",
            Self::Duplicate => "Duplicate API key found",
            Self::Unknown => "Unauthorized",
        }
    }
}

/// Takes a key out of every place, also those it was not found in, as Kong does.
fn hide(ex: &Exchange, name: &Name, body: Option<&Fields>) {
    name.headers().for_each(|header| ex.request.clear_header(header));
    if let Some(query) = ex.service.query().filter(|query| !query.is_empty()) {
        ex.service.set_query(without_argument(&query, name.field.name().as_bytes()));
    }
    if let Some(left) = body.and_then(|body| body.without(&name.field)) {
        ex.request.set_body(left);
    }
}

#[cfg(test)]
mod tests;
