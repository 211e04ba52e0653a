//! Entities and plugins against the texts of a real Kong.

mod entities;
mod language;

use serde_json::{Value, json};

use super::*;
use crate::llm::config::{AiProxy, AiProxyAdvanced};
use crate::lua::Options;
use crate::schema::Step;
use crate::settings::RouterFlavor;

fn schemas() -> LuaSchemas {
    LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"])
}

/// Errors as `path: message`, sorted: Kong's own order is random.
fn told(errors: Vec<Error>) -> Vec<String> {
    let mut told: Vec<_> = errors
        .into_iter()
        .map(|error| {
            let steps = error.path.iter().map(|step| match step {
                Step::Field(name) | Step::Key(name) => name.clone(),
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
        let (_, errors) =
            schemas.entity(collection).unwrap().process(json!({"name": "env", "zz": 1}));
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
        ("ai-proxy", "cfg-ai-proxy-empty", "/services/0/plugins/0/config", Value::Null),
        (
            "ai-proxy",
            "cfg-ai-proxy-missing",
            "/services/0/plugins/0/config",
            json!({"route_type": "llm/v1/chat", "model": {"provider": "azure", "name": "gpt"}}),
        ),
    ] {
        assert_eq!(plugin(name, input), recorded(case, pointer), "{case} {pointer}");
    }
    let unknown = schemas().plugin("no-such-plugin").err().unwrap();
    let told = recorded("cfg-unknown-plugin", "/services/0/plugins/0");
    assert_eq!(told, [format!("name: {unknown}")]);
}

#[test]
fn filled_entities_are_as_recorded() {
    let schemas = schemas();
    let service = schemas.entity("services").unwrap();
    let path = "cfg-yaml-anchors2";
    let text = std::fs::read_to_string(format!(
        "{}/spec/golden/recorded/{path}/response.json",
        env!("CARGO_MANIFEST_DIR")
    ));
    let response: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let dump = &response["post_config"]["body"]["services"];
    for (id, name) in [
        ("b268827a-8f7f-551f-8769-e6bceb2f3ec6", "s"),
        ("2569c300-2c64-5874-86a5-3b2a60a045ba", "t"),
    ] {
        let mut value = filled(&service, json!({"id": id, "name": name, "url": "http://x"}));
        for stamp in ["created_at", "updated_at"] {
            assert_eq!(value[stamp], Value::Null);
            value[stamp] = dump[id][stamp].clone();
        }
        assert_eq!(value, dump[id]);
    }
}

/// 3.10 knows no `max_request_body_size` of 0; since 3.13 it means no limit, and does here.
#[test]
fn ai_options_out_of_range_are_refused_as_recorded() {
    let input = json!({
        "route_type": "llm/v1/chat",
        "max_request_body_size": 0,
        "model": {"provider": "openai", "options": {
            "temperature": 6, "top_p": 2, "top_k": 501, "max_tokens": 1.5, "input_cost": 0,
            "upstream_url": "nope",
        }},
    });
    let mut recorded = recorded("cfg-ai-proxy-ranges", "/services/0/plugins/0/config");
    recorded.retain(|line| line != "max_request_body_size: value must be greater than 0");
    assert_eq!(plugin("ai-proxy", input), recorded);
}

#[test]
fn azure_identity_is_accepted_where_the_open_kong_refuses_it() {
    let refused = recorded("cfg-ai-proxy-azure-identity", "/services/0/plugins/0/config");
    assert_eq!(refused.len(), 4);
    let input = json!({
        "route_type": "llm/v1/chat",
        "auth": {"azure_use_managed_identity": true, "azure_client_id": "x",
                 "azure_client_secret": "y", "azure_tenant_id": "z"},
        "model": {"provider": "azure",
                  "options": {"azure_instance": "i", "azure_deployment_id": "d"}},
    });
    assert_eq!(plugin("ai-proxy", input), [""; 0]);
}

/// The dump of a config holds every field of 3.10 with the value that Kong gave it.
#[test]
fn a_config_is_filled_as_recorded() {
    let text =
        format!("{}/spec/golden/recorded/cfg-vault-ref/response.json", env!("CARGO_MANIFEST_DIR"));
    let response: Value = serde_json::from_str(&std::fs::read_to_string(text).unwrap()).unwrap();
    let plugins = response["post_config"]["body"]["plugins"].as_object().unwrap();
    let mut dump = plugins.values().next().unwrap()["config"].clone();
    // The 3.13 default, and a field that came later.
    dump["max_request_body_size"] = json!(1_048_576);

    let check = schemas().plugin("ai-proxy").unwrap();
    let value = filled(
        &check,
        json!({
            "route_type": "llm/v1/chat",
            "auth": {"header_name": "a", "header_value": "{vault://env/no-such-var}"},
            "model": {"provider": "openai", "name": "x"},
        }),
    );
    assert_contains(&value, &dump);
}

/// Asserts that every field of `part` is in `whole` with the same value.
fn assert_contains(whole: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, part)| assert_contains(&whole[name], part));
        }
        part => assert_eq!(whole, part),
    }
}

#[test]
fn key_auth_is_filled_as_recorded() {
    let check = schemas().plugin("key-auth").unwrap();
    let expected = json!({
        "key_names": ["apikey"], "hide_credentials": false, "anonymous": null,
        "key_in_header": true, "key_in_query": true, "key_in_body": false,
        "run_on_preflight": true, "realm": null,
    });
    assert_eq!(filled(&check, Value::Null), expected);
    assert_eq!(filled(&check, json!({})), expected);
}

#[test]
fn transformations_are_filled_and_checked() {
    let check = schemas().plugin("response-transformer").unwrap();
    let value = filled(&check, json!({"add": {"headers": ["x-a:1"]}}));
    assert_eq!(value["add"], json!({"json": [], "json_types": [], "headers": ["x-a:1"]}));
    assert_eq!(value["remove"], json!({"json": [], "headers": []}));
    let told = plugin(
        "response-transformer",
        json!({"add": {"headers": ["nocolon"], "json_types": ["list"]},
               "rename": {"headers": ["bad name:x"]}}),
    );
    assert_eq!(
        told,
        [
            "add.headers.0: invalid value: nocolon",
            "add.json_types.0: expected one of: boolean, number, string",
            "rename.headers.0: 'bad name' is not a valid header",
        ]
    );
}

#[test]
fn the_rest_of_the_first_plugins_have_their_defaults_and_rules() {
    let schemas = schemas();
    let correlation = schemas.plugin("correlation-id").unwrap();
    assert_eq!(
        filled(&correlation, json!({})),
        json!({"header_name": "Kong-Request-ID", "generator": "uuid#counter",
               "echo_downstream": false})
    );
    let log = schemas.plugin("file-log").unwrap();
    assert_eq!(
        filled(&log, json!({"path": "/tmp/a.log", "custom_fields_by_lua": {"x": "return 1"}})),
        json!({"path": "/tmp/a.log", "reopen": false, "custom_fields_by_lua": {"x": "return 1"}})
    );
    assert_eq!(plugin("file-log", json!({"path": " a"})), ["path: not a valid filename"]);
    let told = plugin("file-log", json!({"path": "/a.log", "custom_fields_by_lua": {"x": "if"}}));
    assert!(told[0].starts_with("custom_fields_by_lua.x: Error parsing function: "), "{told:?}");
    assert_eq!(
        plugin("request-termination", json!({"content_type": "a/b"})),
        [": content_type requires a body"]
    );
}

fn target() -> Value {
    json!({
        "route_type": "llm/v1/chat",
        "auth": {"header_name": "api-key", "header_value": "k"},
        "model": {"provider": "azure", "name": "gpt-4o",
                  "options": {"azure_instance": "i", "azure_deployment_id": "d"}},
    })
}

#[test]
fn the_only_target_may_be_written_in_place() {
    let check = schemas().plugin("ai-proxy-advanced").unwrap();
    let listed = filled(&check, json!({"targets": [target()], "response_streaming": "deny"}));
    let mut in_place = target();
    in_place["response_streaming"] = json!("deny");
    assert_eq!(filled(&check, in_place), listed);
    assert_eq!(listed["targets"][0]["weight"], 100);
    assert_eq!(listed["targets"][0]["logging"]["log_payloads"], false);
    assert_eq!(listed["balancer"]["failover_criteria"], json!(["error", "timeout"]));
    assert_eq!(listed["vectordb"], Value::Null);
}

#[test]
fn errors_of_a_target_in_place_are_where_it_was_written() {
    let told = plugin("ai-proxy-advanced", json!({"auth": {"header_name": "a"}, "x": 1}));
    assert_eq!(
        told,
        [
            ": all or none of these fields must be set: 'auth.header_name', 'auth.header_value'",
            "model.provider: field required for entity check",
            "route_type: required field missing",
            "x: unknown field",
        ]
    );
    let mut both = json!({"targets": [target()]});
    both["route_type"] = json!("llm/v1/chat");
    assert_eq!(
        plugin("ai-proxy-advanced", both),
        ["route_type: cannot be set beside 'targets': move 'route_type' into each element of \
          'targets', or leave 'targets' out"]
    );
    assert_eq!(plugin("ai-proxy-advanced", json!({})), ["targets: required field missing"]);
}

#[test]
fn the_semantic_balancer_needs_its_stores() {
    let told = plugin(
        "ai-proxy-advanced",
        json!({"targets": [target()], "balancer": {"algorithm": "semantic"}}),
    );
    assert_eq!(
        told,
        [
            ": must set 'embeddings' for balancer algorithm 'semantic'",
            ": must set 'vectordb' for balancer algorithm 'semantic'",
        ]
    );
}

#[test]
fn references_are_known_by_their_paths() {
    let schemas = schemas();
    let of = |name: &str| schemas.plugin(name).unwrap().referenceable().to_vec();
    let has = |paths: &[String], path: &str| paths.iter().any(|p| p == path);
    assert!(has(&of("ai-proxy"), "auth.header_value"));
    assert!(has(&of("ai-proxy"), "auth.azure_client_secret"));
    assert!(has(&of("ai-proxy-advanced"), "targets.*.auth.azure_scope"));
    assert!(has(&of("ai-proxy-advanced"), "vectordb.redis.port"));
    assert!(of("key-auth").is_empty());
    let certificates = schemas.entity("certificates").unwrap();
    assert_eq!(certificates.referenceable(), ["cert", "key", "cert_alt", "key_alt"]);
    // What a reference stands for is not known yet, so nothing is said of it.
    let check = schemas.plugin("ai-proxy-advanced").unwrap();
    let redis = json!({"strategy": "redis", "dimensions": 3, "distance_metric": "cosine",
                       "redis": {"port": "{vault://env/port}"}});
    filled(&check, json!({"targets": [target()], "vectordb": redis}));
}

/// The identity fields that Kong does not have; the native types may take them or not.
const OWN_AUTH_FIELDS: [&str; 10] = [
    "azure_managed_identity_object_id",
    "azure_managed_identity_resource_id",
    "azure_federated_token_file",
    "azure_client_certificate_path",
    "azure_client_certificate",
    "azure_client_certificate_password",
    "azure_client_send_certificate_chain",
    "azure_scope",
    "azure_authority_host",
    "azure_imds_endpoint",
];

fn without_own_fields(auth: &mut Value) {
    let auth = auth.as_object_mut().unwrap();
    for name in OWN_AUTH_FIELDS {
        assert_eq!(auth.shift_remove(name), Some(Value::Null), "{name}");
    }
}

#[test]
fn the_native_types_take_what_the_schemas_give() {
    let schemas = schemas();
    let mut one = filled(&schemas.plugin("ai-proxy").unwrap(), target());
    without_own_fields(&mut one["auth"]);
    serde_json::from_value::<AiProxy>(one).unwrap();
    let advanced = schemas.plugin("ai-proxy-advanced").unwrap();
    let mut many = filled(&advanced, json!({"targets": [target()]}));
    without_own_fields(&mut many["targets"][0]["auth"]);
    serde_json::from_value::<AiProxyAdvanced>(many).unwrap();
}

#[test]
fn the_shorthands_of_upstreams_agree_with_each_other() {
    let check = schemas().entity("upstreams").unwrap();
    let chosen = |input: Value| {
        let value = filled(&check, input);
        (value["algorithm"].clone(), value["hash_on"].clone())
    };
    assert_eq!(chosen(json!({"name": "u"})), (json!("round-robin"), json!("none")));
    assert_eq!(
        chosen(json!({"name": "u", "hash_on": "ip"})),
        (json!("consistent-hashing"), json!("ip"))
    );
    assert_eq!(
        chosen(json!({"name": "u", "algorithm": "least-connections", "hash_on": "ip"})),
        (json!("least-connections"), json!("none"))
    );
    let value = filled(&check, json!({"name": "u", "healthchecks": {"active": {"timeout": 3}}}));
    assert_eq!(value["healthchecks"]["active"]["timeout"], 3);
    assert_eq!(
        value["healthchecks"]["passive"]["unhealthy"]["http_statuses"],
        json!([429, 500, 503])
    );
    assert_eq!(
        entity("upstreams", json!({"name": "u", "hash_on": "header"})),
        [
            ": failed conditional validation given value of field 'hash_on'",
            "hash_on_header: required field missing",
        ]
    );
}

#[test]
fn routes_of_other_protocols_have_other_rules() {
    assert_eq!(
        entity("routes", json!({"protocols": ["grpc"], "methods": ["GET"]})),
        [
            ": must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'",
            "methods: cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'",
        ]
    );
    assert_eq!(
        entity("routes", json!({"protocols": ["http", "tcp"], "paths": ["/a"]})),
        ["protocols: these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp')"]
    );
    assert_eq!(
        entity("routes", json!({"protocols": ["http"], "snis": ["a.test"], "paths": ["/a"]})),
        [
            ": 'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or \
             'tls_passthrough'",
            "snis: length must be 0",
        ]
    );
    let check = schemas().entity("routes").unwrap();
    let grpc = filled(&check, json!({"protocols": ["grpc"], "hosts": ["a.test"]}));
    assert_eq!(grpc["strip_path"], false);
    let both = filled(&check, json!({"protocols": ["http", "http"], "paths": ["/a", "/a"]}));
    assert_eq!((&both["protocols"], &both["paths"]), (&json!(["http"]), &json!(["/a", "/a"])));
}

#[test]
fn hosts_and_paths_of_routes_are_checked() {
    for (field, value, message) in [
        ("hosts", "*.a.*", "invalid wildcard: must have at most one wildcard"),
        ("hosts", "a*.test", "invalid wildcard: must be placed at leftmost or rightmost label"),
        ("hosts", "a..b", "invalid hostname: a..b"),
        ("hosts", "a:99999", "invalid port number"),
        ("hosts", "300.1.1.1", "invalid ipv4 address: 300.1.1.1"),
        ("paths", "/a%4", "invalid url-encoded value: '%4'"),
        ("paths", "/a/../b", "non-normalized path, consider use '/b' instead"),
        ("paths", "/a/%7Eb", "non-normalized path, consider use '/a/~b' instead"),
        ("snis", "10.0.0.1", "must not be an IP"),
    ] {
        let told = entity("routes", json!({field: [value], "methods": ["GET"]}));
        assert_eq!(told, [format!("{field}.0: {message}")]);
    }
    for (field, value) in [
        ("hosts", "*.a.test"),
        ("hosts", "a.*"),
        ("hosts", "a.test:8000"),
        ("hosts", "10.0.0.1"),
        ("hosts", "[::1]:80"),
        ("paths", "/a/b/"),
        ("paths", "/a%2Fb"),
        ("paths", "~/users/(?<id>\\d+)$"),
    ] {
        assert_eq!(entity("routes", json!({field: [value]})), [""; 0], "{value}");
    }
    assert_eq!(
        entity("routes", json!({"headers": {"Host": ["a"]}})),
        ["headers: cannot contain 'host' header, which must be specified in the 'hosts' attribute"]
    );
    assert_eq!(
        entity("routes", json!({"headers": {"x-a": "b"}})),
        ["headers.x-a: expected an array"]
    );
}

#[test]
fn credentials_without_a_key_get_one() {
    let check = schemas().entity("keyauth_credentials").unwrap();
    let consumer = json!({"id": "00000000-0000-4000-8000-000000000001"});
    let one = filled(&check, json!({"consumer": consumer}));
    let two = filled(&check, json!({"consumer": consumer}));
    assert_eq!(one["key"].as_str().unwrap().len(), 32);
    assert_ne!(one["key"], two["key"]);
    assert_eq!(one["id"], Value::Null);
    assert_eq!(filled(&check, json!({"consumer": consumer, "ttl": 60}))["ttl"], 60);
}

#[test]
fn vaults_and_certificates_are_checked() {
    assert_eq!(
        entity("vaults", json!({"name": "aws", "prefix": "env", "config": {"region": "9"}})),
        ["name: vault 'aws' is not installed"]
    );
    assert_eq!(
        entity("vaults", json!({"name": "env", "prefix": "env"})),
        ["prefix: must not be one of: env"]
    );
    assert_eq!(
        entity("vaults", json!({"name": "env", "prefix": "my-env", "config": {"prefix": "9"}})),
        ["config.prefix: invalid value: 9"]
    );
    assert_eq!(
        entity("vaults", json!({"name": "env", "prefix": "my-env", "config": {"prefix": "A_"}})),
        [""; 0]
    );
    let one = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let two = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let key = two.signing_key.serialize_pem();
    assert_eq!(
        entity("certificates", json!({"cert": one.cert.pem(), "key": key})),
        [": certificate does not match key"]
    );
    let reference = "{vault://env/cert}";
    assert_eq!(entity("certificates", json!({"cert": reference, "key": key})), [""; 0]);
    let twice = one.cert.pem().repeat(2);
    assert_eq!(
        entity("ca_certificates", json!({"cert": twice})),
        [": please submit only one certificate at a time"]
    );
}

#[test]
fn routes_take_an_expression_only_where_the_flavour_has_them() {
    let route = |fields: Value| {
        let mut route = json!({"id": "d3b0a1a0-0000-4000-8000-000000000001"});
        route.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        route
    };
    let judge = |flavor, fields: Value| {
        let options = Options { router_flavor: flavor, ..Options::default() };
        let schemas = LuaSchemas::new(Vm::new(&options).unwrap(), &["bundled"]);
        told(schemas.entity("routes").unwrap().process(route(fields)).1)
    };
    let expression = json!({"expression": "http.path ^= \"/a\"", "priority": 7});
    assert_eq!(judge(RouterFlavor::Expressions, expression.clone()), Vec::<String>::new());
    let unknown = judge(RouterFlavor::TraditionalCompatible, expression);
    assert!(unknown.contains(&"expression: unknown field".to_owned()), "{unknown:?}");
    let failed = ": Router Expression failed validation: ";
    for (fields, want) in [
        (json!({"expression": "http.path"}), "--> 1:10"),
        (
            json!({"expression": "net.src.port == 1", "paths": ["/a"]}),
            "cannot set 'expression' with 'methods', 'hosts'",
        ),
        (
            json!({"expression": "net.src.port == 1", "regex_priority": 1}),
            "cannot set 'regex_priority' with 'expression' simultaneously",
        ),
        (json!({"paths": ["/a"], "priority": 1}), "cannot set 'priority' with 'methods'"),
    ] {
        let errors = judge(RouterFlavor::Expressions, fields);
        assert!(errors.len() == 1 && errors[0].starts_with(failed), "{errors:?}");
        assert!(errors[0].contains(want), "{errors:?}");
    }
    let none = judge(RouterFlavor::Expressions, json!({}));
    let want = "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis', 'expression'";
    assert!(none[0].contains(want), "{none:?}");
    let sources = json!({"paths": ["/a"], "sources": [{"ip": "10.0.0.0/8"}]});
    assert_eq!(judge(RouterFlavor::Expressions, sources.clone()), Vec::<String>::new());
    assert_eq!(judge(RouterFlavor::TraditionalCompatible, sources).len(), 1);
}

#[test]
fn bundled_names_those_of_kongs_plugins_that_are_on_the_path() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["statsd", "mine"] {
        let plugin = folder.path().join("kong/plugins").join(name);
        std::fs::create_dir_all(&plugin).unwrap();
        std::fs::write(plugin.join("schema.lua"), "return {}").unwrap();
    }
    let package_path = format!("{}/?.lua", folder.path().display());
    let options = Options { package_path, ..Options::default() };
    let schemas = LuaSchemas::new(Vm::new(&options).unwrap(), &["bundled"]);
    assert!(schemas.plugins().contains("statsd"));
    assert!(!schemas.plugins().contains("syslog") && !schemas.plugins().contains("mine"));
}
