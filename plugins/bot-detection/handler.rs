//! Refuses bots, which it knows by the user agent that they send.
//!
//! Expressions see bytes, as in Kong: a header is not always text. What was found out about an
//! agent is kept for the next request, in a bounded number.

use std::cell::RefCell;
use std::collections::HashMap;

use http::StatusCode;
use http::header::USER_AGENT;
use regex::bytes::{Regex, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::Context;
use crate::pdk::Exchange;
use crate::plugin::{Phases, Plugin, Step};
use crate::respond;

#[path = "agents.rs"]
mod agents;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
}

struct BotDetection {
    allow: RegexSet,
    deny: RegexSet,
    bots: Regex,
    known: RefCell<HashMap<Box<[u8]>, bool>>,
}

/// So many agents are kept ...
const KNOWN_MAX: usize = 2000;
/// ... unless they are longer than this, bytes.
const AGENT_MAX: usize = 256;

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(BotDetection::new(&context.config()?)?))
}

impl Plugin for BotDetection {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        let headers = ex.request.headers();
        let mut agents = headers.get_all(USER_AGENT).iter();
        let refused = match (agents.next(), agents.next()) {
            (None, _) => return Step::DONE,
            (Some(_), Some(_)) => {
                Some((StatusCode::BAD_REQUEST, "Only one User-Agent header allowed"))
            }
            (Some(agent), None) => self
                .denies(agent.as_bytes().trim_ascii())
                .then_some((StatusCode::FORBIDDEN, "Forbidden")),
        };
        drop(headers);
        match refused {
            Some((status, message)) => Step::Done(respond::error(ex, status, message)),
            None => Step::DONE,
        }
    }
}

impl BotDetection {
    fn new(config: &Config) -> Result<Self, Vec<String>> {
        let (allow, deny) = (set("allow", &config.allow), set("deny", &config.deny));
        // A copy has a scratch space of its own, so that workers do not wait for each other's.
        let bots = agents::BOTS.clone().map_err(|error| vec![error.to_string()])?;
        match (allow, deny) {
            (Ok(allow), Ok(deny)) => Ok(Self { allow, deny, bots, known: RefCell::default() }),
            (allow, deny) => Err(allow.err().into_iter().chain(deny.err()).collect()),
        }
    }

    fn denies(&self, agent: &[u8]) -> bool {
        if let Some(denied) = self.known.borrow().get(agent) {
            return *denied;
        }
        let denied =
            !self.allow.is_match(agent) && (self.deny.is_match(agent) || self.bots.is_match(agent));
        if agent.len() <= AGENT_MAX {
            let mut known = self.known.borrow_mut();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(agent.into(), denied);
        }
        denied
    }
}

/// The schema has tried each expression; some are only too large, or need what bytes do not have.
fn set(field: &str, expressions: &Option<Vec<String>>) -> Result<RegexSet, String> {
    let expressions = expressions.as_deref().unwrap_or_default();
    let set = RegexSetBuilder::new(expressions).unicode(false).build();
    set.map_err(|error| format!("config.{field}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plugin(config: Value) -> BotDetection {
        BotDetection::new(&serde_json::from_value(config).unwrap()).unwrap()
    }

    fn status(plugin: &BotDetection, agents: &[&str]) -> u16 {
        let headers: Vec<_> = agents.iter().map(|agent| ("user-agent", *agent)).collect();
        let ex = Exchange::for_test("GET", "/", &headers);
        match plugin.access(&ex) {
            Step::Done(Ok(())) => 200,
            _ => ex.response.status().as_u16(),
        }
    }

    #[test]
    fn allow_stands_above_deny_and_deny_above_what_is_known() {
        let config = json!({"allow": ["^good", "Googlebot"], "deny": ["evil", "good evil"]});
        let plugin = plugin(config);
        for (agent, expected) in [
            ("Mozilla/5.0", 200),
            ("evil/1", 403),
            ("good evil", 200),
            ("Googlebot/2.1", 200),
            ("bingbot/2.0", 403),
            ("  Twitterbot/1.0  ", 403),
            ("", 200),
        ] {
            assert_eq!(status(&plugin, &[agent]), expected, "{agent}");
            assert_eq!(status(&plugin, &[agent]), expected, "{agent}, known by now");
        }
        assert_eq!(status(&plugin, &[]), 200);
    }

    #[test]
    fn two_user_agents_are_one_too_many() {
        let plugin = plugin(json!({"allow": [], "deny": []}));
        assert_eq!(status(&plugin, &["a", "b"]), 400);
    }

    #[test]
    fn the_agents_that_are_kept_are_limited_in_number_and_length() {
        let plugin = plugin(json!({"allow": null, "deny": ["x$"]}));
        for n in 0..=KNOWN_MAX {
            assert!(!plugin.denies(format!("a{n}").as_bytes()));
        }
        assert_eq!(plugin.known.borrow().len(), 1);
        assert!(plugin.denies("x".repeat(AGENT_MAX + 1).as_bytes()));
        assert_eq!(plugin.known.borrow().len(), 1);
    }

    #[test]
    fn an_expression_that_cannot_be_used_is_an_error_at_load() {
        let config = json!({"allow": [r"\w{2000}{2000}"], "deny": [r"\p{Greek}"]});
        let errors = BotDetection::new(&serde_json::from_value(config).unwrap()).err().unwrap();
        assert_eq!(errors.len(), 2);
        assert!(errors[0].starts_with("config.allow: "), "{errors:?}");
    }
}
