//! What Kong would do and this gateway does not yet: said at load, never ignored in silence.
//!
//! The configuration is valid and loads; its author learns which setting has no effect.

use serde_json::Value;

use super::draft::Draft;
use super::judge::Judged;
use super::problem::{At, Report};
use crate::schema::Step;

/// Warns about settings of entities that have no effect.
pub(super) fn warn(drafts: &[Draft], judged: &[Judged], report: &mut Report) {
    for (draft, judged) in drafts.iter().zip(judged) {
        for (field, text) in of_entity(draft.kind.name, &judged.entity) {
            let steps: Vec<Step> =
                field.split('.').map(|name| Step::Field(name.to_owned())).collect();
            let pos = draft.node.locate(&steps);
            let at = At { document: draft.document, path: &draft.path.join(&steps), pos };
            report.warn(at, text);
        }
    }
}

type Notes = Vec<(&'static str, String)>;

fn of_entity(collection: &str, entity: &Value) -> Notes {
    match collection {
        "services" => service(entity),
        "routes" => route(entity),
        "upstreams" => upstream(entity),
        _ => Vec::new(),
    }
}

fn service(entity: &Value) -> Notes {
    let mut notes = unless(entity, "protocol", &["http", "https"], "is not proxied yet");
    for field in ["ca_certificates", "tls_verify_depth"] {
        if entity["tls_verify"] == false && !is_unset(&entity[field]) {
            notes.push((field, "has no effect: tls_verify is false".to_owned()));
        }
    }
    notes
}

fn route(entity: &Value) -> Notes {
    let mut notes = Notes::new();
    let protocols = entity["protocols"].as_array();
    let foreign = protocols.into_iter().flatten().filter_map(Value::as_str);
    let foreign: Vec<&str> =
        foreign.filter(|protocol| !matches!(*protocol, "http" | "https")).collect();
    if !foreign.is_empty() {
        notes.push(("protocols", format!("{} is not proxied yet", foreign.join(", "))));
    }
    for field in ["sources", "destinations"] {
        if !is_unset(&entity[field]) {
            notes.push((field, "has no effect: TCP is not proxied".to_owned()));
        }
    }
    notes
}

fn upstream(entity: &Value) -> Notes {
    let mut notes = Notes::new();
    if entity["use_srv_name"] == true {
        notes.push(("use_srv_name", "has no effect yet".to_owned()));
    }
    let checks = &entity["healthchecks"];
    let interval = |group: &str| checks["active"][group]["interval"].as_f64().unwrap_or_default();
    if interval("healthy") > 0.0 || interval("unhealthy") > 0.0 {
        let text = "active health checks are not built yet; no probe is sent, and a target that \
            passive checks took out returns with a restart only";
        notes.push(("healthchecks.active", text.to_owned()));
    }
    notes
}

fn unless(entity: &Value, field: &'static str, built: &[&str], text: &str) -> Notes {
    let value = entity[field].as_str().filter(|value| !built.contains(value));
    value.map(|value| (field, format!("'{value}' {text}"))).into_iter().collect()
}

fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_effect_is_named() {
        let upstream = json!({
            "use_srv_name": true,
            "healthchecks": {"active": {"unhealthy": {"interval": 1}}},
        });
        let notes = of_entity("upstreams", &upstream);
        let fields: Vec<&str> = notes.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["use_srv_name", "healthchecks.active"]);
        assert!(of_entity("services", &json!({"protocol": "https"})).is_empty());
        let lax = json!({"protocol": "https", "tls_verify": false, "tls_verify_depth": 1});
        assert_eq!(of_entity("services", &lax)[0].0, "tls_verify_depth");
        let tcp = of_entity("routes", &json!({"protocols": ["tcp", "udp"]}));
        assert_eq!(tcp[0].1, "tcp, udp is not proxied yet");
    }
}
