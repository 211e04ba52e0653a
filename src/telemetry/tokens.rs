//! Azure tokens on `/metrics` and `/status`: whose, how long still, how often fetched.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::azure::Status;
use crate::metrics::label_text;

/// The token series in Prometheus' text format.
pub(super) fn render(tokens: &[Status]) -> String {
    let mut text = String::new();
    if tokens.is_empty() {
        return text;
    }
    let labels = |status: &Status, more: &[(&str, &str)]| {
        let identity = &status.identity;
        let (subject, scope) = (identity.subject(), identity.scope().to_owned());
        let mut labels = vec![
            ("kind", identity.kind()),
            ("identity", subject.as_str()),
            ("scope", scope.as_str()),
        ];
        labels.extend_from_slice(more);
        label_text(&labels)
    };
    head(&mut text, "silverback_azure_token_seconds_to_expiry", "gauge", "0 when there is none");
    for status in tokens {
        let left = status.expires_in_secs.unwrap_or(0);
        let labels = labels(status, &[]);
        let _ = writeln!(text, "silverback_azure_token_seconds_to_expiry{{{labels}}} {left}");
    }
    head(&mut text, "silverback_azure_token_exchanges_total", "counter", "Ended, well or not");
    for status in tokens {
        let (labels, count) = (labels(status, &[]), status.exchanges);
        let _ = writeln!(text, "silverback_azure_token_exchanges_total{{{labels}}} {count}");
    }
    head(&mut text, "silverback_azure_token_failures_total", "counter", "Failed exchanges by code");
    for status in tokens {
        for (code, count) in &status.failures {
            let labels = labels(status, &[("code", code)]);
            let _ = writeln!(text, "silverback_azure_token_failures_total{{{labels}}} {count}");
        }
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The identities for `/status`. Nothing here is a secret.
pub(super) fn describe(tokens: &[Status]) -> Value {
    let one = |status: &Status| {
        json!({
            "identity": status.identity.subject(),
            "kind": status.identity.kind(),
            "endpoint": status.identity.endpoint(),
            "scope": status.identity.scope(),
            "token_expires_in_secs": status.expires_in_secs,
            "exchanges": status.exchanges,
            "last_failure": status.last_failure.as_ref().map(ToString::to_string),
        })
    };
    tokens.iter().map(one).collect()
}
