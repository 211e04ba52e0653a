//! The health of targets, as `/status` and Kong's metric tell it.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::balancer::health::Health;
use crate::metrics::label_text;

const STATES: [&str; 4] = ["HEALTHCHECKS_OFF", "HEALTHY", "UNHEALTHY", "DNS_ERROR"];

/// Upstream names to targets to states.
pub(super) fn describe(healths: &[Arc<Health>]) -> Value {
    let one = |health: &Arc<Health>| {
        let targets = health.targets.iter().enumerate();
        let states = targets.map(|(n, target)| (target.name.clone(), health.state(n).into()));
        (health.upstream.clone(), Value::Object(states.collect::<Map<_, _>>()))
    };
    Value::Object(healths.iter().map(one).collect())
}

/// The metric of Kong's Prometheus plugin: 1 for the state that a target is in.
pub(super) fn render(healths: &[Arc<Health>]) -> String {
    const NAME: &str = "kong_upstream_target_health";
    let mut text = String::new();
    if healths.iter().all(|health| health.targets.is_empty()) {
        return text;
    }
    let help = "Health status of targets of upstream";
    let _ = writeln!(text, "# HELP {NAME} {help}\n# TYPE {NAME} gauge");
    for health in healths {
        for (n, target) in health.targets.iter().enumerate() {
            for state in STATES {
                let labels = label_text(&[
                    ("upstream", &health.upstream),
                    ("target", &target.name),
                    ("address", ""),
                    ("state", &state.to_lowercase()),
                    ("subsystem", "http"),
                ]);
                let _ = writeln!(text, "{NAME}{{{labels}}} {}", u8::from(health.state(n) == state));
            }
        }
    }
    text
}
