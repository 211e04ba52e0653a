//! Entities and plugins against the texts of a real Kong.

use serde_json::{Value, json};

use super::*;
use crate::lua::Options;
use crate::schema::Step;

fn schemas() -> LuaSchemas {
    LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"])
}

/// Errors as `path: message`, sorted: Kong's own order is random.
fn told(errors: Vec<Error>) -> Vec<String> {
    let mut told: Vec<_> = errors
        .into_iter()
        .map(|error| {
            let steps = error.path.iter().map(|step| match step {
                Step::Field(name) => name.clone(),
                Step::Index(i) => i.to_string(),
            });
            format!("{}: {}", steps.collect::<Vec<_>>().join("."), error.message)
        })
        .collect();
    told.sort();
    told
}

/// What is wrong with an entity.
fn entity(collection: &str, input: Value) -> Vec<String> {
    told(schemas().entity(collection).unwrap().process(input).1)
}

/// What is wrong with the config of a plugin.
fn plugin(name: &str, input: Value) -> Vec<String> {
    told(schemas().plugin(name).unwrap().process(input).1)
}

/// The filled value of an input that must pass.
fn filled(check: &Rc<dyn Check>, input: Value) -> Value {
    let (value, errors) = check.process(input);
    assert_eq!(told(errors), [""; 0]);
    value
}

#[test]
fn every_embedded_schema_can_be_read() {
    let schemas = schemas();
    for name in bundled_plugins() {
        assert!(schemas.plugin(name).is_ok(), "{name}: {:?}", schemas.plugin(name).err());
    }
    for collection in [
        "services",
        "routes",
        "consumers",
        "consumer_groups",
        "upstreams",
        "targets",
        "plugins",
        "vaults",
        "certificates",
        "snis",
        "ca_certificates",
        "keyauth_credentials",
        "basicauth_credentials",
        "hmacauth_credentials",
        "jwt_secrets",
        "acls",
    ] {
        let (_, errors) = schemas.entity(collection).unwrap().process(json!({"zz": 1}));
        let told = told(errors);
        assert!(told.contains(&"zz: unknown field".to_owned()), "{collection}: {told:?}");
    }
    assert!(schemas.entity("no_such").is_none());
    assert!(schemas.entity("../../etc").is_none());
}

/// What a real Kong said in a recording, as `told` gives it. Nested entities are looked at apart.
fn recorded(case: &str, pointer: &str) -> Vec<String> {
    let path = format!("{}/spec/golden/recorded/{case}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(format!("{path}/response.json")).unwrap();
    let response: Value = serde_json::from_str(&text).unwrap();
    let mut leaves = Vec::new();
    collect(response["post_config"]["body"]["fields"].pointer(pointer).unwrap(), "", &mut leaves);
    leaves.sort();
    leaves
}

fn collect(tree: &Value, path: &str, leaves: &mut Vec<String>) {
    let below = |step: &str| {
        if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") }
    };
    match tree {
        Value::String(message) => leaves.push(format!("{path}: {message}")),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, t)| collect(t, &below(&i.to_string()), leaves));
        }
        Value::Object(fields) => {
            for (name, tree) in fields {
                match name.as_str() {
                    "@entity" => {
                        let texts = tree.as_array().unwrap().iter().filter_map(Value::as_str);
                        leaves.extend(texts.map(|text| format!("{path}: {text}")));
                    }
                    "routes" | "plugins" | "targets" => {}
                    name => collect(tree, &below(name), leaves),
                }
            }
        }
        _ => {}
    }
}

/// Kong lists one error per line of a sequence with holes; null marks what was fine.
#[test]
fn services_are_refused_as_recorded() {
    for (case, pointer, input) in [
        ("cfg-bad-url", "/services/0", json!({"name": "s", "url": "127.0.0.1:80"})),
        ("cfg-bad-url2", "/services/0", json!({"name": "s", "url": "ftp://x/"})),
        ("cfg-deck-env", "/services/0", json!({"name": "s", "url": "${{ env \"DECK_URL\" }}"})),
        ("cfg-bad-uuid", "/services/0", json!({"name": "a", "id": "abc", "url": "http://x"})),
        ("cfg-missing-host", "/services/0", json!({"name": "s"})),
        ("cfg-port-range", "/services/0", json!({"name": "s", "host": "x", "port": 70000})),
        ("cfg-wrong-type-port", "/services/0", json!({"name": "s", "host": "x", "port": "80"})),
        ("cfg-route-bad-name", "/services/0", json!({"name": "a b/c", "url": "http://x"})),
        (
            "cfg-null-fields",
            "/services/0",
            json!({"name": "s", "host": "x", "path": null, "retries": null, "protocol": null,
                   "tags": null}),
        ),
        (
            "cfg-tags-bad",
            "/services/0",
            json!({"name": "s", "url": "http://x", "tags": ["a,b", "", "é", "a/b"]}),
        ),
        (
            "cfg-types-many",
            "/services/0",
            json!({"name": "s", "url": "http://127.0.0.1:19001", "retries": 1.5,
                   "enabled": "true"}),
        ),
    ] {
        assert_eq!(entity("services", input), recorded(case, pointer), "{case}");
    }
}

#[test]
fn routes_are_refused_as_recorded() {
    for (case, pointer, input) in [
        (
            "cfg-route-bad-method",
            "/services/0/routes/0",
            json!({"name": "r", "methods": ["get"], "protocols": ["http", "foo"]}),
        ),
        ("cfg-route-bad-name", "/services/0/routes/1", json!({"name": "x y", "paths": ["/b"]})),
        ("cfg-route-bad-path", "/services/0/routes/0", json!({"name": "a", "paths": ["abc"]})),
        ("cfg-route-bad-path", "/services/0/routes/1", json!({"name": "b", "paths": ["/a//b"]})),
        ("cfg-route-bad-path", "/services/0/routes/2", json!({"name": "c", "paths": ["~/a("]})),
        ("cfg-route-no-matcher", "/services/0/routes/0", json!({"name": "r"})),
        ("cfg-unknown-field-route", "/services/0/routes/0", json!({"name": "r", "path": "/a"})),
        (
            "cfg-fk-table",
            "/routes/0",
            json!({"name": "r", "paths": ["/a"], "service": {"name": "s"}}),
        ),
        (
            "cfg-types-many",
            "/services/0/routes/0",
            json!({"name": "r", "paths": "/a", "strip_path": "yes", "headers": ["a"],
                   "tags": "tag", "regex_priority": "high"}),
        ),
    ] {
        assert_eq!(entity("routes", input), recorded(case, pointer), "{case} {pointer}");
    }
    // Kong let these pass in the same recordings.
    assert_eq!(entity("routes", json!({"name": "é", "paths": ["/a"]})), [""; 0]);
    assert_eq!(entity("routes", json!({"name": "d", "paths": ["/a\\d+"]})), [""; 0]);
}

#[test]
fn the_other_entities_are_refused_as_recorded() {
    let upstream = json!({"id": "00000000-0000-4000-8000-000000000001"});
    for (collection, case, pointer, input) in [
        ("consumers", "cfg-consumer-no-name", "/consumers/0", json!({"tags": ["a"]})),
        ("upstreams", "cfg-upstream-bad", "/upstreams/0", json!({"name": "127.0.0.1"})),
        ("upstreams", "cfg-upstream-bad", "/upstreams/1", json!({"name": "a b"})),
        (
            "upstreams",
            "cfg-upstream-bad",
            "/upstreams/2",
            json!({"name": "u", "algorithm": "foo", "slots": 1}),
        ),
        (
            "targets",
            "cfg-upstream-bad",
            "/upstreams/2/targets/0",
            json!({"target": "bad host:x", "upstream": upstream}),
        ),
        (
            "targets",
            "cfg-upstream-bad",
            "/upstreams/2/targets/1",
            json!({"target": "ok:80", "weight": 70000, "upstream": upstream}),
        ),
        (
            "jwt_secrets",
            "cfg-jwt-bad",
            "/consumers/0/jwt_secrets/0",
            json!({"key": "k", "algorithm": "FOO", "consumer": upstream}),
        ),
        (
            "jwt_secrets",
            "cfg-jwt-bad",
            "/consumers/0/jwt_secrets/1",
            json!({"key": "k2", "algorithm": "RS256", "consumer": upstream}),
        ),
    ] {
        assert_eq!(entity(collection, input), recorded(case, pointer), "{case} {pointer}");
    }
}

#[test]
fn plugins_are_refused_as_recorded() {
    for (name, case, pointer, input) in [
        (
            "request-termination",
            "cfg-termination-bad",
            "/services/0/plugins/0/config",
            json!({"status_code": 99}),
        ),
        (
            "request-termination",
            "cfg-termination-bad",
            "/services/1/plugins/0/config",
            json!({"message": "a", "body": "b"}),
        ),
    ] {
        assert_eq!(plugin(name, input), recorded(case, pointer), "{case} {pointer}");
    }
    let unknown = schemas().plugin("no-such-plugin").err().unwrap();
    let told = recorded("cfg-unknown-plugin", "/services/0/plugins/0");
    assert_eq!(told, [format!("name: {unknown}")]);
}
