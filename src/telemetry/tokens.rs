//! Azure tokens on `/metrics` and `/status`: whose, how long still, how often fetched.

use std::collections::BTreeMap;
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
    let series = merge(tokens);
    head(&mut text, "silverback_azure_token_seconds_to_expiry", "gauge", "0 when there is none");
    for (labels, sum) in &series {
        let left = sum.expires_in_secs;
        let _ = writeln!(text, "silverback_azure_token_seconds_to_expiry{{{labels}}} {left}");
    }
    head(&mut text, "silverback_azure_token_exchanges_total", "counter", "Ended, well or not");
    for (labels, sum) in &series {
        let count = sum.exchanges;
        let _ = writeln!(text, "silverback_azure_token_exchanges_total{{{labels}}} {count}");
    }
    head(&mut text, "silverback_azure_token_failures_total", "counter", "Failed exchanges by code");
    for (labels, sum) in &series {
        for (code, count) in &sum.failures {
            let code = label_text(&[("code", code)]);
            let _ =
                writeln!(text, "silverback_azure_token_failures_total{{{labels},{code}}} {count}");
        }
    }
    text
}

/// What identities with the same labels come to.
#[derive(Default)]
struct Sum<'a> {
    expires_in_secs: u64,
    exchanges: u64,
    failures: BTreeMap<&'a str, u64>,
}

/// One series for each set of labels, since Prometheus takes none twice: two secrets of one
/// application, or two token files, make two identities whose labels are the same. The shorter
/// life counts.
fn merge(tokens: &[Status]) -> BTreeMap<String, Sum<'_>> {
    let mut series: BTreeMap<String, Sum<'_>> = BTreeMap::new();
    for status in tokens {
        let identity = &status.identity;
        let labels = label_text(&[
            ("kind", identity.kind()),
            ("identity", &identity.subject()),
            ("scope", identity.scope()),
        ]);
        let left = status.expires_in_secs.unwrap_or(0);
        let first = || Sum { expires_in_secs: left, ..Sum::default() };
        let sum = series.entry(labels).or_insert_with(first);
        sum.expires_in_secs = sum.expires_in_secs.min(left);
        sum.exchanges += status.exchanges;
        for (code, count) in &status.failures {
            *sum.failures.entry(code).or_default() += count;
        }
    }
    series
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
            "token_refresh_in_secs": status.refresh_in_secs,
            "token_is_inherited": status.is_inherited,
            "last_success_secs_ago": status.succeeded_secs_ago,
            "exchanges": status.exchanges,
            "last_failure": status.last_failure.as_ref().map(ToString::to_string),
        })
    };
    tokens.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::azure::{self, Auth};
    use crate::settings::Env;

    fn status(secret: &str, expires_in_secs: Option<u64>) -> Status {
        let auth = Auth { use_managed_identity: true, ..Auth::default() };
        let env: Env =
            [("AZURE_CLIENT_ID", "a"), ("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_SECRET", secret)]
                .into_iter()
                .collect();
        let identity = azure::resolve(&auth, &env, "foo.openai.azure.com").unwrap().unwrap();
        Status {
            identity: Arc::new(identity),
            expires_in_secs,
            refresh_in_secs: None,
            is_inherited: false,
            succeeded_secs_ago: None,
            exchanges: 2,
            failures: [("AADSTS7000215".to_owned(), 1)].into(),
            last_failure: None,
        }
    }

    #[test]
    fn two_secrets_of_one_application_are_one_series() {
        let text = render(&[status("canary-one", Some(3000)), status("canary-two", Some(70))]);
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = "kind=\"client secret\",identity=\"client id a, tenant t\",\
            scope=\"https://cognitiveservices.azure.com/.default\"";
        assert_eq!(
            values,
            [
                format!("silverback_azure_token_seconds_to_expiry{{{labels}}} 70"),
                format!("silverback_azure_token_exchanges_total{{{labels}}} 4"),
                format!(
                    "silverback_azure_token_failures_total{{{labels},code=\"AADSTS7000215\"}} 2"
                ),
            ]
        );
        assert!(!text.contains("canary"), "{text}");
        let page = describe(&[status("canary-one", None)]).to_string();
        assert!(page.contains("token_is_inherited") && !page.contains("canary"), "{page}");
    }
}
