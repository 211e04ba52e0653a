//! Lets a client pass by the groups that it is in.
//!
//! The groups are those of its consumer (`acls`), or those that an authentication plugin in Lua
//! found out and left in `kong.ctx.shared.authenticated_groups`. The second count where no
//! consumer, or only the anonymous one, is named, and everywhere with
//! `always_use_authenticated_groups`.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::pdk::Exchange;
use crate::pdk::client::Id;
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::respond;
use crate::snapshot::Snapshot;

const CONSUMER_GROUPS: HeaderName = HeaderName::from_static("x-consumer-groups");
const AUTHENTICATED_GROUPS: HeaderName = HeaderName::from_static("x-authenticated-groups");

/// The name under which Kong's authentication plugins leave groups.
const FOUND_OUT: &str = "authenticated_groups";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    hide_groups_header: bool,
    always_use_authenticated_groups: bool,
}

struct Acl {
    config: Config,
    snapshot: Arc<Snapshot>,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(Acl { config: context.config()?, snapshot: context.snapshot.clone() }))
}

impl Plugin for Acl {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::Done(self.judge(ex))
    }
}

impl Acl {
    fn judge(&self, ex: &Exchange) -> Outcome {
        let (named, credential) = (ex.client.named().id(), ex.client.credential());
        let is_known = credential.is_some();
        let consumer = named.or_else(|| credential?.consumer_id);
        let is_found_out =
            consumer.is_none() || !is_known || self.config.always_use_authenticated_groups;
        if let Some(groups) = Some(()).filter(|()| is_found_out).and_then(|()| found_out(ex)) {
            return self.judge_found_out(ex, &groups);
        }
        let groups = match &consumer {
            Some(Id::Known(id)) => self.snapshot.acls.get(id),
            _ => None,
        };
        if let Some(groups) = groups {
            if self.names_one_of(&groups.names) == self.denies() {
                return forbid(ex);
            }
            return self.pass(ex, CONSUMER_GROUPS, || groups.header.clone());
        }
        // Without any group a deny list lets a consumer pass, and nobody else.
        if consumer.is_some() && self.denies() {
            return self.pass(ex, CONSUMER_GROUPS, || Some(HeaderValue::from_static("")));
        }
        if is_known {
            return forbid(ex);
        }
        respond::error(ex, StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    fn judge_found_out(&self, ex: &Exchange, groups: &[String]) -> Outcome {
        match (self.names_one_of(groups), self.denies()) {
            (true, false) => self.pass(ex, AUTHENTICATED_GROUPS, || {
                HeaderValue::from_bytes(groups.join(", ").as_bytes()).ok()
            }),
            // Kong tells the upstream nothing here.
            (false, true) => Ok(()),
            _ => forbid(ex),
        }
    }

    fn denies(&self) -> bool {
        self.config.deny.as_ref().is_some_and(|groups| !groups.is_empty())
    }

    fn names_one_of<G: AsRef<str>>(&self, groups: &[G]) -> bool {
        let list = if self.denies() { &self.config.deny } else { &self.config.allow };
        let is_listed = |group: &G| list.iter().flatten().any(|listed| listed == group.as_ref());
        groups.iter().any(is_listed)
    }

    fn pass(
        &self,
        ex: &Exchange,
        header: HeaderName,
        groups: impl FnOnce() -> Option<HeaderValue>,
    ) -> Outcome {
        if !self.config.hide_groups_header
            && let Some(groups) = groups()
        {
            ex.request.set_header(header, groups);
        }
        Ok(())
    }
}

fn forbid(ex: &Exchange) -> Outcome {
    respond::error(ex, StatusCode::FORBIDDEN, "You cannot consume this service")
}

/// Groups that another plugin found out.
fn found_out(ex: &Exchange) -> Option<Vec<String>> {
    let groups = match ex.shared.value(FOUND_OUT)? {
        Value::Array(groups) => groups,
        // An empty table of Lua.
        Value::Object(groups) if groups.is_empty() => Vec::new(),
        _ => {
            let message = "invalid authenticated_groups, a table was expected";
            tracing::warn!(request_id = %ex.id, plugin = "acl", "{message}");
            return None;
        }
    };
    Some(groups.iter().filter_map(|group| group.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests;
