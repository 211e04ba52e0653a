//! Lets clients in, or keeps them out, by their address: the one behind trusted proxies.

use std::net::IpAddr;

use http::StatusCode;
use ipnet::IpNet;
use serde::Deserialize;

use super::Context;
use super::limits::status;
use crate::pdk::Exchange;
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::respond;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    status: Option<f64>,
    message: Option<String>,
}

struct IpRestriction {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    status: StatusCode,
    message: Option<String>,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(IpRestriction::new(context.config()?)?))
}

impl Plugin for IpRestriction {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        let address = ex.request.connection.client.ip();
        if self.admits(address) { Step::DONE } else { Step::Done(self.refuse(ex, address)) }
    }
}

impl IpRestriction {
    fn new(config: Config) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let allow = networks("allow", config.allow, &mut errors);
        let deny = networks("deny", config.deny, &mut errors);
        let status = status(config.status.unwrap_or(403.0));
        if status.is_none() {
            errors.push("config.status: must be a status, 100 to 599".to_owned());
        }
        match status {
            Some(status) if errors.is_empty() => {
                Ok(Self { allow, deny, status, message: config.message })
            }
            _ => Err(errors),
        }
    }

    /// `deny` is asked first. An empty list says nothing.
    fn admits(&self, address: IpAddr) -> bool {
        let holds = |list: &[IpNet]| list.iter().any(|network| network.contains(&address));
        !holds(&self.deny) && (self.allow.is_empty() || holds(&self.allow))
    }

    fn refuse(&self, ex: &Exchange, address: IpAddr) -> Outcome {
        let own = format!("IP address not allowed: {address}");
        let message = self.message.as_deref().unwrap_or(&own);
        tracing::warn!(
            plugin = "ip-restriction",
            request_id = %ex.id,
            client = %address,
            fault = "client",
            "{message}"
        );
        respond::error(ex, self.status, message)
    }
}

/// What the schema has checked; an address alone is a range of one.
fn networks(field: &str, texts: Option<Vec<String>>, errors: &mut Vec<String>) -> Vec<IpNet> {
    let parse = |text: String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or(address);
        network.map_err(|_| errors.push(format!("config.{field}: '{text}' cannot be used"))).ok()
    };
    texts.unwrap_or_default().into_iter().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plugin(config: Value) -> IpRestriction {
        IpRestriction::new(serde_json::from_value(config).unwrap()).unwrap()
    }

    #[test]
    fn deny_stands_above_allow_and_an_empty_list_says_nothing() {
        for (config, address, expected) in [
            (json!({"allow": ["10.0.0.0/8"]}), "10.1.2.3", true),
            (json!({"allow": ["10.0.0.0/8"]}), "11.0.0.1", false),
            (json!({"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]}), "10.0.0.1", false),
            (json!({"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]}), "10.0.0.2", true),
            (json!({"allow": [], "deny": ["10.0.0.1"]}), "192.0.2.1", true),
            (json!({"allow": ["10.9.9.9/8"]}), "10.1.2.3", true),
            (json!({"deny": ["2001:db8::/32"]}), "2001:db8:1::7", false),
            (json!({"deny": ["2001:db8::/32"]}), "2001:db9::1", true),
            (json!({"deny": ["::/0"]}), "192.0.2.1", true),
            (json!({"allow": ["::1"]}), "::1", true),
        ] {
            let admitted = plugin(config.clone()).admits(address.parse().unwrap());
            assert_eq!(admitted, expected, "{config} {address}");
        }
    }

    #[test]
    fn a_refusal_names_the_address_unless_it_has_words_of_its_own() {
        for (config, code, message) in [
            (json!({"allow": ["10.0.0.1"]}), 403, "IP address not allowed: 127.0.0.1"),
            (json!({"deny": ["127.0.0.1"], "status": 418, "message": "go"}), 418, "go"),
        ] {
            let ex = Exchange::for_test("GET", "/", &[]);
            let plugin = plugin(config);
            assert!(matches!(plugin.access(&ex), Step::Done(Err(_))));
            assert_eq!(ex.response.status().as_u16(), code);
            assert_eq!(ex.answer_json()["message"], message);
        }
    }

    #[test]
    fn a_status_that_cannot_be_sent_is_an_error_at_load() {
        for number in [99.0, 600.0, 403.5, f64::NAN] {
            assert!(status(number).is_none(), "{number}");
        }
        let config = serde_json::from_value(json!({"allow": ["x"], "status": 0})).unwrap();
        assert_eq!(IpRestriction::new(config).err().unwrap().len(), 2);
    }
}
