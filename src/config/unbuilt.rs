//! What Kong would do and this gateway does not yet: said at load, never ignored in silence.
//!
//! The configuration is valid and loads; its author learns which setting has no effect.

use std::collections::HashSet;

use serde_json::Value;
use uuid::Uuid;

use super::draft::Draft;
use super::judge::Judged;
use super::problem::{At, Report};
use crate::schema::Step;

/// Warns about settings of entities that have no effect.
pub(super) fn warn(drafts: &[Draft], judged: &[Judged], report: &mut Report) {
    let authorities = drafts.iter().filter(|draft| draft.kind.name == "ca_certificates");
    let authorities: HashSet<Uuid> = authorities.map(|draft| draft.id).collect();
    for (draft, judged) in drafts.iter().zip(judged) {
        if let Some(text) = unknown_authority(&judged.entity, &authorities) {
            let path = draft.path.field("ca_certificates");
            report.warn(At { path: &path, ..draft.at("ca_certificates") }, text);
        }
        for (field, text) in of_entity(draft.kind.name, &judged.entity) {
            let steps: Vec<Step> =
                field.split('.').map(|name| Step::Field(name.to_owned())).collect();
            let pos = draft.node.locate(&steps);
            let at = At { document: draft.document, path: &draft.path.join(&steps), pos };
            report.warn(at, text);
        }
    }
}

/// The protocols that something is done for.
const PROXIED: [&str; 4] = ["http", "https", "grpc", "grpcs"];

/// Kong looks for authorities when a request comes, and goes on with others if one is not there.
fn unknown_authority(entity: &Value, known: &HashSet<Uuid>) -> Option<String> {
    let ids = entity["ca_certificates"].as_array().into_iter().flatten();
    let unknown = ids
        .filter_map(Value::as_str)
        .find(|id| !Uuid::parse_str(id).is_ok_and(|id| known.contains(&id)))?;
    Some(format!(
        "has no effect: there is no entry in ca_certificates with the id {unknown}, and whom \
         lua_ssl_trusted_certificate names is trusted instead (Kong)"
    ))
}

type Notes = Vec<(&'static str, String)>;

fn of_entity(collection: &str, entity: &Value) -> Notes {
    match collection {
        "services" => service(entity),
        "routes" => route(entity),
        _ => Vec::new(),
    }
}

fn service(entity: &Value) -> Notes {
    let mut notes = Notes::new();
    let protocol = entity["protocol"].as_str().filter(|protocol| !PROXIED.contains(protocol));
    notes.extend(protocol.map(|protocol| ("protocol", format!("'{protocol}' is not proxied yet"))));
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
    let foreign: Vec<&str> = foreign.filter(|protocol| !PROXIED.contains(protocol)).collect();
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

fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_effect_is_named() {
        for protocol in PROXIED {
            assert!(of_entity("services", &json!({"protocol": protocol})).is_empty());
            assert!(of_entity("routes", &json!({"protocols": [protocol]})).is_empty());
        }
        let lax = json!({"protocol": "https", "tls_verify": false, "tls_verify_depth": 1});
        assert_eq!(of_entity("services", &lax)[0].0, "tls_verify_depth");
        let tcp = of_entity("routes", &json!({"protocols": ["tcp", "udp"]}));
        assert_eq!(tcp[0].1, "tcp, udp is not proxied yet");
    }

    #[test]
    fn an_authority_that_is_not_there_is_named() {
        let known = Uuid::from_u128(1);
        let set = HashSet::from([known]);
        let entity = |id: Uuid| json!({"ca_certificates": [known, id]});
        assert_eq!(unknown_authority(&entity(known), &set), None);
        let text = unknown_authority(&entity(Uuid::nil()), &set).unwrap();
        assert!(text.contains(&format!("with the id {}", Uuid::nil())), "{text}");
    }
}
