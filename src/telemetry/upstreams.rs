//! The health of targets, as `/status` and Kong's metric tell it.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::balancer::health::{Health, Place};
use crate::metrics::label_text;

const STATES: [&str; 4] = ["healthchecks_off", "healthy", "unhealthy", "dns_error"];

/// Upstream names to targets to states.
pub(super) fn describe(healths: &[Arc<Health>]) -> Value {
    per_target(healths, |health, place| health.state(place).into())
}

/// The same with the addresses that the names of targets have.
pub(super) fn describe_addresses(healths: &[Arc<Health>]) -> Value {
    per_target(healths, |health, place| {
        let addresses = place.addresses.iter();
        let states = addresses.map(|one| (one.text(), health.address_state(place, one).into()));
        Value::Object(states.collect())
    })
}

fn per_target(healths: &[Arc<Health>], tell: impl Fn(&Health, &Place) -> Value) -> Value {
    let one = |health: &Arc<Health>| {
        let places = health.places();
        let told = places.iter().map(|place| (place.target.to_string(), tell(health, place)));
        (health.upstream.name.clone(), Value::Object(told.collect::<Map<_, _>>()))
    };
    Value::Object(healths.iter().map(one).collect())
}

/// The metric of Kong's Prometheus plugin: for each address 1 at the state that it is in. A target
/// without an address has its own.
pub(super) fn render(healths: &[Arc<Health>]) -> String {
    const NAME: &str = "kong_upstream_target_health";
    let mut text = String::new();
    if healths.iter().all(|health| health.places().is_empty()) {
        return text;
    }
    let help = "Health status of targets of upstream. States = \
                healthchecks_off|healthy|unhealthy|dns_error, value is 1 when state is populated.";
    let _ = writeln!(text, "# HELP {NAME} {help}\n# TYPE {NAME} gauge");
    let mut row = |health: &Health, place: &Place, address: &str, state: &str, value: bool| {
        let labels = label_text(&[
            ("upstream", &health.upstream.name),
            ("target", &place.target),
            ("address", address),
            ("state", state),
            ("subsystem", "http"),
        ]);
        let _ = writeln!(text, "{NAME}{{{labels}}} {}", u8::from(value));
    };
    for health in healths {
        for place in health.places().iter() {
            for state in STATES.iter().filter(|_| place.addresses.is_empty()) {
                row(health, place, "", state, *state == "dns_error");
            }
            for address in &place.addresses {
                let current = health.address_state(place, address).to_lowercase();
                for state in STATES {
                    row(health, place, &address.text(), state, current == state);
                }
            }
        }
    }
    text
}
