use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::{Uuid, uuid};

use super::*;
use crate::entity::Protocol;
use crate::schema::{Check, Error};

mod dump;
mod partials;
mod recorded;
mod rules;

/// A schema that fills in defaults, and knows its fields if it has any.
struct Fake {
    defaults: Value,
    required: &'static [&'static str],
    referenceable: Vec<String>,
    /// Takes any field, and makes up what is required.
    lenient: bool,
}

impl Check for Fake {
    fn process(&self, input: Value) -> (Value, Vec<Error>) {
        let Value::Object(input) = input else {
            return (input, vec![error(&[], "expected a record")]);
        };
        let mut errors = Vec::new();
        let mut filled = self.defaults.as_object().cloned().unwrap_or_default();
        for (key, value) in input {
            if !filled.contains_key(&key) && !self.lenient {
                errors.push(error(&[&key], "unknown field"));
            }
            if !value.is_null() {
                let default = filled.remove(&key).unwrap_or_default();
                filled.insert(key, over(default, value));
            }
        }
        let missing: Vec<_> =
            self.required.iter().filter(|field| filled[**field].is_null()).collect();
        for field in missing {
            if self.lenient {
                filled.insert((*field).to_owned(), json!("x"));
            } else {
                errors.push(error(&[field], "required field missing"));
            }
        }
        if filled.get("port") == Some(&json!(70000)) {
            errors.push(error(&["port"], "value should be between 0 and 65535"));
        }
        (Value::Object(filled), errors)
    }

    fn referenceable(&self) -> &[String] {
        &self.referenceable
    }

    fn secrets(&self) -> &[String] {
        &self.referenceable
    }

    fn fields(&self, path: &[Step]) -> Vec<&str> {
        let fields = self.defaults.as_object().filter(|_| path.is_empty());
        fields.into_iter().flat_map(|fields| fields.keys()).map(String::as_str).collect()
    }
}

/// A value, with the defaults of the fields that its records leave out.
fn over(default: Value, value: Value) -> Value {
    match (default, value) {
        (Value::Object(mut filled), Value::Object(given)) => {
            for (key, value) in given {
                let default = filled.remove(&key).unwrap_or_default();
                filled.insert(key, over(default, value));
            }
            Value::Object(filled)
        }
        (_, value) => value,
    }
}

fn error(path: &[&str], message: &str) -> Error {
    let path = path.iter().map(|name| Step::Field((*name).to_owned())).collect();
    Error { path, message: message.to_owned(), of_record: false }
}

/// Schemas like Kong's, with fewer checks.
#[derive(Default)]
struct Fakes {
    lenient: bool,
}

impl Schemas for Fakes {
    fn entity(&self, collection: &str) -> Option<Rc<dyn Check>> {
        let (fields, required): (Value, &[&str]) = match collection {
            "services" => (
                json!({"name": null, "protocol": "http", "host": null, "port": 80, "path": null,
                    "retries": 5, "connect_timeout": 60000, "write_timeout": 60000,
                    "read_timeout": 60000, "enabled": true, "tls_verify": null, "url": null,
                    "client_certificate": null}),
                &["host"],
            ),
            "routes" => (
                json!({"name": null, "protocols": ["http", "https"], "methods": null,
                    "hosts": null, "paths": null, "headers": null, "snis": null,
                    "https_redirect_status_code": 426, "regex_priority": 0, "strip_path": true,
                    "preserve_host": false, "request_buffering": true,
                    "response_buffering": true, "service": null}),
                &[],
            ),
            "plugins" => (
                json!({"name": null, "instance_name": null, "enabled": true, "service": null,
                    "route": null, "consumer": null, "consumer_group": null,
                    "protocols": ["grpc", "grpcs", "http", "https"]}),
                &["name"],
            ),
            "consumers" => (json!({"username": null, "custom_id": null}), &[]),
            "consumer_groups" => (json!({"name": null}), &["name"]),
            "upstreams" => (
                json!({"name": null, "algorithm": "round-robin", "slots": 10000,
                    "host_header": null, "hash_on": "none", "hash_fallback": "none",
                    "healthchecks": healthchecks()}),
                &["name"],
            ),
            "targets" => {
                (json!({"target": null, "weight": 100, "upstream": null}), &["target", "upstream"])
            }
            "keyauth_credentials" => (json!({"key": null, "consumer": null}), &["consumer"]),
            "vaults" => (json!({"name": null, "prefix": null, "config": null}), &["name"]),
            "certificates" => (json!({"cert": null, "key": null}), &["cert"]),
            "snis" => (json!({"name": null, "certificate": null}), &["name", "certificate"]),
            _ if self.lenient => (json!({}), &[]),
            _ => return None,
        };
        let mut fields = fields;
        for field in ["id", "tags", "created_at", "updated_at"] {
            fields[field] = Value::Null;
        }
        Some(self.fake(fields, required, &["cert", "key"]))
    }

    fn plugin(&self, name: &str) -> Result<Rc<dyn Check>, String> {
        match name {
            "key-auth" => {
                Ok(self.fake(json!({"key_names": ["apikey"], "anonymous": null}), &[], &[]))
            }
            "rate-limiting" => Ok(self.fake(json!({"minute": null, "hour": null}), &[], &[])),
            "ai-proxy" => {
                let fields = json!({"route_type": null, "auth": null, "model": null});
                Ok(self.fake(fields, &["route_type"], &["auth.header_value"]))
            }
            _ if self.lenient && name != "no-such-plugin" => Ok(self.fake(json!({}), &[], &[])),
            _ => Err(format!(
                "plugin '{name}' not enabled; add it to the 'plugins' configuration property"
            )),
        }
    }
}

impl Fakes {
    fn fake(
        &self,
        defaults: Value,
        required: &'static [&'static str],
        referenceable: &[&str],
    ) -> Rc<dyn Check> {
        let referenceable = referenceable.iter().map(|field| (*field).to_owned()).collect();
        Rc::new(Fake { defaults, required, referenceable, lenient: self.lenient })
    }
}

fn load_files(files: &[(&str, &str)], env: &Env) -> Result<Loaded, Errors> {
    let source =
        |(name, text): &(&str, &str)| Source { name: (*name).to_owned(), text: (*text).to_owned() };
    let sources: Vec<Source> = files.iter().map(source).collect();
    load(&sources, &Fakes::default(), env)
}

/// Loads the body of a file of format 3.0.
fn loaded(body: &str) -> Loaded {
    let text = format!("_format_version: '3.0'\n{body}");
    load_files(&[("kong.yaml", &text)], &Env::default()).unwrap()
}

/// The errors of the body of a file of format 3.0, which begins in line 2.
fn errors(body: &str) -> Vec<String> {
    errors_of(&format!("_format_version: '3.0'\n{body}"))
}

fn errors_of(text: &str) -> Vec<String> {
    let errors = load_files(&[("k", text)], &Env::default()).unwrap_err();
    errors.problems().iter().map(ToString::to_string).collect()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn nested_and_flat_entities_are_one_configuration() {
    let Snapshot { services, routes, plugins, consumers, keyauth_credentials, .. } = loaded(
        "services:
- name: s
  host: x
  routes:
  - name: a
    paths: [/a]
    plugins:
    - name: key-auth
routes:
- name: b
  service: s
- name: c
  service: {name: s}
- name: d
  service: {id: b268827a-8f7f-551f-8769-e6bceb2f3ec6, tags: [x]}
consumers:
- username: bob
  keyauth_credentials:
  - key: k1
  plugins:
  - name: rate-limiting
    config: {minute: 1.0}
keyauth_credentials:
- key: k2
  consumer: bob
",
    )
    .snapshot;
    // Kong's own ids.
    let s = uuid!("b268827a-8f7f-551f-8769-e6bceb2f3ec6");
    let a = uuid!("f3ef8bde-817d-5a84-b4cd-13f35d3bbb53");
    let bob = uuid!("def4f7d3-9863-5ad2-8fa9-c949bf26f55e");
    assert!(services.contains_key(&s));
    let names: Vec<_> = routes.iter().map(|route| route.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert!(routes.iter().all(|route| route.service.unwrap().id == s));
    assert_eq!(plugins[0].route.unwrap().id, a);
    assert_eq!(plugins[1].consumer.unwrap().id, bob);
    assert_eq!(plugins[1].config, json!({"minute": 1, "hour": null}));
    assert_eq!(consumers[&bob].username.as_deref(), Some("bob"));
    assert!(["k1", "k2"].iter().all(|key| keyauth_credentials[*key].consumer.id == bob));
}

#[test]
fn generated_ids_are_kongs() {
    let plugins = loaded(
        "services:
- {name: s, host: x, plugins: [{name: ai-proxy, config: {route_type: x}}]}
consumers:
- {username: a, plugins: [{name: key-auth}]}
",
    )
    .snapshot
    .plugins;
    assert_eq!(plugins[0].id, uuid!("145403ed-98bf-58fd-9980-4fc20314adcf"));
    assert_eq!(plugins[1].id, uuid!("263b51ee-33d4-5368-865f-7d130f997df5"));
}

#[test]
fn ids_are_the_same_at_every_load() {
    let body = "consumers:\n- username: a\n  keyauth_credentials: [{key: x}, {key: y}]\n\
                services:\n- host: x\n- host: y\n";
    let ids = || {
        let snapshot = loaded(body).snapshot;
        let mut ids: Vec<Uuid> = snapshot.services.keys().copied().collect();
        ids.extend(snapshot.keyauth_credentials.values().map(|credential| credential.id));
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids().len(), 4);
    assert_eq!(ids(), ids());
}

#[test]
fn consumer_groups_are_joined_in_every_dialect() {
    let snapshot = loaded(
        "consumers:
- username: a
  groups: [{name: silver}, {name: gold, tags: [x]}]
- username: b
- username: c
consumer_groups:
- name: gold
  consumers: [{username: b}]
  plugins: [{name: rate-limiting, config: {minute: 5}}]
- name: silver
consumer_group_consumers:
- {consumer: c, consumer_group: gold}
consumer_group_plugins:
- {name: key-auth, consumer_group: silver}
",
    )
    .snapshot;
    let groups = |username: &str| -> Vec<String> {
        let consumer = snapshot.consumer(username).unwrap();
        consumer.groups.iter().map(|group| group.name.clone()).collect()
    };
    assert_eq!(groups("a"), ["gold", "silver"]);
    assert_eq!(groups("b"), ["gold"]);
    assert_eq!(groups("c"), ["gold"]);
    let of_plugins: Vec<_> = snapshot
        .plugins
        .iter()
        .map(|plugin| snapshot.consumer_groups[&plugin.consumer_group.unwrap().id].name.as_str())
        .collect();
    assert_eq!(of_plugins, ["gold", "silver"]);
}

#[test]
fn upstreams_and_certificates_hold_their_children() {
    let snapshot = loaded(
        "upstreams:
- name: u
  targets: [{target: 'a:1'}, {target: 'b:1', weight: 0}]
targets:
- {target: 'c:1', upstream: u}
certificates:
- cert: pem
  snis: [a.test, {name: b.test}]
",
    )
    .snapshot;
    let targets = &snapshot.targets[&snapshot.upstreams["u"].id];
    let names: Vec<_> = targets.iter().map(|target| target.target.as_str()).collect();
    assert_eq!(names, ["a:1", "b:1", "c:1"]);
    let snis: Vec<_> =
        snapshot.records["snis"].iter().map(|sni| sni.json["name"].clone()).collect();
    assert_eq!(snis, [json!("a.test"), json!("b.test")]);
    let certificate = json!({"id": snapshot.records["certificates"][0].id});
    assert_eq!(snapshot.records["snis"][0].json["certificate"], certificate);
}

#[test]
fn log_records_see_entities_as_kong_prints_them() {
    let snapshot = loaded(
        "services: [{name: s, host: x, port: 1.0, routes: [{name: a, paths: [/a]}]}]
consumers: [{username: bob}]",
    )
    .snapshot;
    let service = snapshot.services.values().next().unwrap();
    let now = service.json["created_at"].clone();
    assert!(now.as_i64().unwrap() > 1_700_000_000);
    let expected = json!({
        "name": "s", "protocol": "http", "host": "x", "port": 1, "retries": 5,
        "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000,
        "enabled": true, "id": service.id, "created_at": now, "updated_at": now,
        "ws_id": "0dc6f45b-8f8d-40d2-a504-473544ee190b",
    });
    assert_eq!(*service.json, expected);
    assert_eq!(snapshot.routes[0].json["service"], json!({"id": service.id}));
    let bob = snapshot.consumer("bob").unwrap();
    assert_eq!(bob.json.get("ws_id"), None);
}

#[test]
fn every_error_is_told_at_once_with_its_place() {
    let found = errors(
        "services:
- name: s
  host: x
  port: 70000
  routes:
  - name: r
    path: /a
    service: t
    plugins:
    - name: no-such-plugin
    - name: key-auth
      config:
        key_name: x
  hosst: y
- name: s
routez: []
",
    );
    let expected = [
        "k:5: services[0].port: value should be between 0 and 65535",
        "k:8: services[0].routes[0].path: unknown field (did you mean 'paths'?)",
        "k:9: services[0].routes[0].service: value must be null (the service is the one around it)",
        "k:11: services[0].routes[0].plugins[0].name: plugin 'no-such-plugin' not enabled; \
         add it to the 'plugins' configuration property (silverback has no such plugin; one in \
         Lua is found on lua_package_path)",
        "k:14: services[0].routes[0].plugins[1].config.key_name: unknown field \
         (did you mean 'key_names'?)",
        "k:15: services[0].hosst: unknown field (did you mean 'host'?)",
        "k:16: services[1]: uniqueness violation: 'services' entity with name set to 's' already \
         declared (first in k:3)",
        "k:16: services[1].host: required field missing",
        "k:17: routez: unknown field (did you mean 'routes'?)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn references_that_lead_nowhere_are_kongs_error() {
    let found = errors(
        "plugins:
- name: key-auth
  route: ghost
- name: rate-limiting
  consumer: bop
routes:
- service: {nam: s}
- service: {}
- service: 5
consumers:
- username: bob
  groups: [{name: none}]
",
    );
    let expected = [
        "k:4: plugins[0]: invalid reference 'route: ghost' (no such entry in 'routes')",
        "k:6: plugins[1]: invalid reference 'consumer: bop' (no such entry in 'consumers') \
         (did you mean 'bob'?)",
        "k:8: routes[0].service.nam: unknown field (did you mean 'name'?)",
        "k:9: routes[1].service.id: missing primary key",
        "k:10: routes[2].service: expected a string (a name or an id)",
        "k:13: consumers[0].groups[0]: invalid reference 'consumer_group: none' (no such entry in \
         'consumer_groups')",
    ];
    assert_eq!(found, expected);
}

#[test]
fn ids_keys_and_scopes_are_unique() {
    let found = errors(
        "services:
- {name: a, host: x, id: 00000000-0000-4000-8000-000000000001}
- {name: b, host: x, id: 00000000-0000-4000-8000-000000000001}
consumers:
- {username: u, keyauth_credentials: [{key: secret}]}
- {username: v, keyauth_credentials: [{key: secret}]}
plugins:
- {name: key-auth}
- {name: key-auth, id: 00000000-0000-4000-8000-000000000002}
- {name: rate-limiting}
- {name: rate-limiting}
",
    );
    let violation = |collection: &str, what: &str, line: usize| {
        format!(
            "uniqueness violation: '{collection}' entity with {what} already declared \
             (first in k:{line})"
        )
    };
    let id = "primary key set to '00000000-0000-4000-8000-000000000001'";
    assert_eq!(found[0], format!("k:4: services[1]: {}", violation("services", id, 3)));
    let key = violation("keyauth_credentials", "key set to '***'", 6);
    assert_eq!(found[1], format!("k:7: consumers[1].keyauth_credentials[0]: {key}"));
    let scope = violation("plugins", "name and scope set to 'key-auth'", 9);
    assert_eq!(found[2], format!("k:10: plugins[1]: {scope}"));
    assert!(found[3].starts_with("k:12: plugins[3]: uniqueness violation: "));
    assert!(found[3].contains("'plugins' entity with primary key set to"));
}

#[test]
fn decks_shared_parts_are_filled_in() {
    let snapshot = loaded(
        "_info:
  select_tags: [team]
  defaults: {service: {retries: 2, protocol: https, port: 443}, route: {strip_path: false}}
_plugin_configs:
  limits: {minute: 5, hour: 50}
services:
- name: s
  host: x
  retries: 1
  tags: [own]
  routes: [{name: r, paths: [/]}]
plugins:
- {name: rate-limiting, _config: limits, config: {minute: 1}, _comment: c, _ignore: {}}
",
    )
    .snapshot;
    let service = snapshot.services.values().next().unwrap();
    assert_eq!((service.retries, service.port), (1, 443));
    assert_eq!(service.tags.as_deref().unwrap(), ["own", "team"]);
    assert!(!snapshot.routes[0].strip_path);
    assert_eq!(snapshot.routes[0].tags.as_deref().unwrap(), ["team"]);
    assert_eq!(snapshot.plugins[0].config, json!({"minute": 1, "hour": 50}));
}

#[test]
fn errors_in_shared_parts_point_to_them() {
    let found = errors(
        "_plugin_configs:
  limits: {minuet: 5}
plugins:
- name: rate-limiting
  _config: limits
- name: key-auth
  _config: none
_info: {defaults: {servce: {}}}
",
    );
    let expected = [
        "k:3: plugins[0].config.minuet: unknown field (did you mean 'minute'?)",
        "k:8: plugins[1]._config: _plugin_config \"none\" not found",
        "k:9: _info.defaults.servce: unknown field (did you mean 'service'?)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn older_formats_mark_their_regexes() {
    let text = "_format_version: '1.1'\nroutes:\n- paths: [/a, '/b\\d+']\n";
    let loaded = load_files(&[("k", text)], &Env::default()).unwrap();
    assert_eq!(loaded.snapshot.routes[0].paths.as_deref().unwrap(), ["/a", "~/b\\d+"]);
}

#[test]
fn the_format_version_is_asked_for() {
    let missing = "k:1: _format_version: required field missing \
                   (begin the file with _format_version: \"3.0\")";
    assert_eq!(errors_of("services: []"), [missing]);
    let number = "k:1: _format_version: expected a string \
                  (write it in quotes: _format_version: \"3.0\")";
    assert_eq!(errors_of("_format_version: 3.0"), [number]);
    let unknown = "k:1: _format_version: expected one of: 1.1, 2.1, 3.0";
    assert_eq!(errors_of("_format_version: '4'"), [unknown]);
}

#[test]
fn texts_that_cannot_be_read_are_kongs_error() {
    let prefix = "failed parsing declarative configuration:";
    assert_eq!(errors_of(""), [format!("k:1: {prefix} expected an object")]);
    assert_eq!(errors_of("- a\n- b"), [format!("k:1: {prefix} expected an object")]);
    let said = "did not find expected ',' or ']'";
    let stop = "(the reader stopped at 2:2: illegal placement of ':' indicator)";
    assert_eq!(errors_of("a: [1\nb: }")[0], format!("k:2: {prefix} 1:5: {said} {stop}"));
    let json = load_files(&[("k.json", "{\"a\": 1,}")], &Env::default()).unwrap_err();
    let said = "Expected object key string but found T_OBJ_END at character 9";
    let stop = "(the reader stopped at 1:9: key must be a string)";
    assert_eq!(json.to_string(), format!("k.json:1: {prefix} {said} {stop}"));
    assert_eq!(json.fields(), json!({"error": format!("{prefix} {said}")}));
    assert_eq!(load(&[], &Fakes::default(), &Env::default()).unwrap_err().problems().len(), 1);
}

#[test]
fn what_does_not_run_here_says_so() {
    let found = errors(
        "sessions: [{session_id: x}]
oauth2_tokens: []
acls: []
consumers:
- {username: a, acls: [{group: g}, {group: h}]}
services: x
routes: [1]
",
    );
    let expected = [
        "k:2: sessions: 'sessions' is not supported: state that a plugin stores at run time, not \
         configuration",
        "k:6: consumers[0].acls[0]: 'acls' is not built yet \
         (nothing here would read it; take it out of the file)",
        "k:7: services: expected an array",
        "k:8: routes[0]: expected a record",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_a_control_plane_leaves_in_a_dump_is_ignored_with_a_warning() {
    let loaded = loaded(
        "parameters: [{key: cluster_id, value: x, created_at: 1}]
licenses: [{payload: x}]
services:
- {name: s, host: x, tls_sans: null}
plugins:
- {name: key-auth, ordering: null, partials: [], run_on: first, protocols: [http, ws, wss]}
upstreams:
- {name: u, sticky_sessions_cookie_path: /, targets: [{target: 'a:1', failover: false}]}
",
    );
    let expected = [
        "kong.yaml:2: parameters: ignored: it is the state of a Kong cluster",
        "kong.yaml:3: licenses: ignored: nothing here asks for a licence",
    ];
    assert_eq!(warnings(&loaded), expected);
    assert_eq!(loaded.snapshot.plugins[0].protocols, [Protocol::Http]);
    let asked = errors("plugins:\n- {name: key-auth, ordering: {before: {access: [acl]}}}\n");
    let hint = "plugins run by Kong's static priorities; ordering is not built yet";
    assert_eq!(asked, [format!("k:3: plugins[0].ordering: unknown field ({hint})")]);
}

#[test]
fn remarks_of_another_type_are_refused() {
    let found = errors("_comment: [a]\nservices:\n- {host: x, _ignore: text, _comment: 1}\n");
    let expected = [
        "k:2: _comment: expected a string",
        "k:4: services[0]._ignore: expected an array",
        "k:4: services[0]._comment: expected a string",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_nested_entity_may_name_the_one_around_it() {
    let id = "b268827a-8f7f-551f-8769-e6bceb2f3ec6";
    let body = |service: &str| {
        format!(
            "services:\n- {{name: s, host: x, routes: [{{paths: [/a], service: {service}}}]}}\n"
        )
    };
    for service in ["s", id, "{name: s}", &format!("{{id: {id}}}")] {
        assert_eq!(loaded(&body(service)).snapshot.routes.len(), 1, "{service}");
    }
    let hint = "value must be null (the service is the one around it)";
    assert_eq!(errors(&body("t")), [format!("k:3: services[0].routes[0].service: {hint}")]);
}

#[test]
fn decks_targets_are_ignored_with_a_warning() {
    let loaded = loaded("_workspace: team\n_konnect: {control_plane_name: x}\n_transform: false\n");
    let expected = [
        "kong.yaml:2: _workspace: ignored: everything is loaded into the workspace 'default'",
        "kong.yaml:3: _konnect: ignored: there is no control plane to load into",
    ];
    assert_eq!(warnings(&loaded), expected);
}

#[test]
fn files_are_merged_and_keep_their_lines() {
    let first = "_format_version: '3.0'\nservices:\n- {name: a, host: x}\n- {name: b, host: x}\n";
    let second = "_info: {select_tags: [t]}\nservices:\n- {name: c, host: x}\n";
    let loaded = load_files(&[("1.yaml", first), ("2.yaml", second)], &Env::default()).unwrap();
    assert_eq!(loaded.snapshot.services.len(), 3);
    assert!(loaded.snapshot.services.values().all(|service| service.tags.is_some()));

    let bad = "services:\n- name: c\n- name: a\n  host: x\n";
    let errors = load_files(&[("1.yaml", first), ("2.yaml", bad)], &Env::default()).unwrap_err();
    let expected = "2.yaml:2: services[0].host: required field missing\n2.yaml:3: services[1]: \
                    uniqueness violation: 'services' entity with name set to 'a' already declared \
                    (first in 1.yaml:3)";
    assert_eq!(errors.to_string(), expected);
    let fields = errors.fields();
    assert_eq!(fields["services"][2], json!({"host": "required field missing"}));
    // Kong looks at keys when schemas find nothing.
    assert_eq!(fields["services"].as_array().map(Vec::len), Some(3));
    let taken = "services:\n- name: c\n  host: x\n- name: a\n  host: x\n";
    let errors = load_files(&[("1.yaml", first), ("2.yaml", taken)], &Env::default()).unwrap_err();
    let fields = errors.fields();
    assert!(fields["services"][3].is_string() && fields["services"][0].is_null());
}

#[test]
fn variables_are_put_in_and_kept_out_of_errors() {
    let env = Env::from_iter([("DECK_HOST", "secret-host"), ("DECK_E", "")]);
    let text = "_format_version: '3.0'\nservices:\n- name: s\n  host: ${{ env \"DECK_HOST\" }}\n\
                # ${{ env \"DECK_NONE\" }}\n  path: ${{ env \"DECK_E\" }}\n";
    let loaded = load_files(&[("k", text)], &env).unwrap();
    assert_eq!(loaded.snapshot.services.values().next().unwrap().host, "secret-host");
    assert_eq!(warnings(&loaded), ["k:6: environment variable 'DECK_E' is set but empty"]);

    let text = "_format_version: '3.0'\nplugins: [{name: '${{ env \"DECK_HOST\" }}'}]";
    let errors = load_files(&[("k", text)], &env).unwrap_err().to_string();
    let expected = "k:2: plugins[0].name: plugin '${{ env \"DECK_HOST\" }}' not enabled; add it \
                    to the 'plugins' configuration property (silverback has no such plugin; \
                    one in Lua is found on lua_package_path)";
    assert_eq!(errors, expected);

    // A variable that is not set names itself, the field and the line.
    let text = "_format_version: '3.0'\nservices:\n- name: s\n  \
                url: https://${{ env \"DECK_U\" }}\n  \
                routes: [{paths: ['/a', '${{ env \"DECK_P\" }}']}]\n";
    let errors = load_files(&[("k", text)], &env).unwrap_err().to_string();
    let expected = "k:4: services[0].url: environment variable 'DECK_U' present in state file but \
                    not set\nk:5: services[0].routes[0].paths[1]: environment variable 'DECK_P' \
                    present in state file but not set";
    assert_eq!(errors, expected);

    // One value may begin with another.
    let env = Env::from_iter([("DECK_A", "secret"), ("DECK_B", "secret-and-more")]);
    let text = "_format_version: '3.0'\nconsumers: [{username: '${{ env \"DECK_A\" }}'}]\n\
                plugins: [{name: '${{ env \"DECK_B\" }}'}]";
    let errors = load_files(&[("k", text)], &env).unwrap_err().to_string();
    assert!(errors.contains("DECK_B") && !errors.contains("and-more"), "{errors}");
}

#[test]
fn vault_references_are_resolved_or_stay_as_they_are() {
    let text = "_format_version: '3.0'
vaults: [{name: env, prefix: mine, config: {prefix: app_}}]
plugins:
- name: ai-proxy
  config: {route_type: x, auth: {header_value: '{vault://mine/key}'}}
services:
- name: s
  host: x
  plugins:
  - name: ai-proxy
    config: {route_type: '{vault://env/x}', auth: {header_value: '{vault://env/no-such-var}'}}
";
    let env = Env::from_iter([("APP_KEY", "k")]);
    let loaded = load_files(&[("k", text)], &env).unwrap();
    let plugins = &loaded.snapshot.plugins;
    let value = |at: usize| plugins[at].config["auth"]["header_value"].as_str().unwrap();
    assert_eq!(value(0), "k");
    assert_eq!(value(1), "{vault://env/no-such-var}");
    let expected = [
        "k:11: services[0].plugins[0].config.route_type: this field cannot hold a vault \
         reference; it is taken as it is written",
        "k:11: services[0].plugins[0].config.auth.header_value: the vault reference cannot be \
         resolved, and requests that need it will fail: environment variable 'NO_SUCH_VAR' is not \
         set",
    ];
    assert_eq!(warnings(&loaded), expected);
}

#[test]
fn a_credential_without_key_is_left_out() {
    let loaded = loaded("consumers: [{username: a, keyauth_credentials: [{tags: [x]}]}]");
    assert!(loaded.snapshot.keyauth_credentials.is_empty());
    assert!(warnings(&loaded)[0].contains("ignored: it has no key"));
}

#[test]
fn the_text_of_a_vault_reference_is_no_api_key() {
    let text = "consumers: [{username: a, keyauth_credentials: [{key: '{vault://env/k}'}]}]";
    let loaded = loaded(text);
    assert!(loaded.snapshot.keyauth_credentials.is_empty());
    assert!(warnings(&loaded).iter().any(|w| w.contains("sign in")), "{:?}", warnings(&loaded));
}

#[test]
fn equal_texts_have_equal_hashes() {
    let hash = |body: &str| loaded(body).snapshot.hash;
    assert_eq!(hash("services: []"), hash("services: []"));
    assert_ne!(hash("services: []"), hash("routes: []"));
    assert_eq!(hash("services: []").len(), 32);
}

#[test]
fn a_loaded_configuration_debugs_without_secrets() {
    let loaded = loaded(
        "consumers: [{username: a, keyauth_credentials: [{key: top-secret}]}]
plugins: [{name: ai-proxy, config: {route_type: x, auth: {header_value: top-secret}}}]
certificates: [{cert: pem, key: top-secret}]",
    );
    let snapshot = loaded.snapshot;
    assert!(snapshot.keyauth_credentials.contains_key("top-secret"));
    assert!(!format!("{snapshot:?}").contains("top-secret"));
}

#[test]
fn folders_list_their_configuration_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in
        ["b.yaml", "a.yml", "c.json", "d.txt", ".hidden.yaml", "sub/e.yaml", "..data/b.yaml"]
    {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let files = files_in(folder.path()).unwrap();
    let names: Vec<_> = files
        .iter()
        .map(|file| file.strip_prefix(folder.path()).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["a.yml", "b.yaml", "c.json", "sub/e.yaml"]);
}

/// The recordings of a real Kong: name, configuration and answer to it (null where none is kept).
fn recordings() -> impl Iterator<Item = (String, String, Value)> {
    let folder = FsPath::new(env!("CARGO_MANIFEST_DIR")).join("spec/golden/recorded");
    std::fs::read_dir(folder).unwrap().map(|entry| {
        let case = entry.unwrap();
        let text = std::fs::read_to_string(case.path().join("config.yaml")).unwrap();
        let response = std::fs::read_to_string(case.path().join("response.json")).unwrap();
        let response: Value = serde_json::from_str(&response).unwrap();
        let name = case.file_name().into_string().unwrap();
        (name, text, response.get("post_config").cloned().unwrap_or_default())
    })
}

#[test]
fn what_kong_loads_is_read() {
    let mut count = 0;
    for (name, text, response) in recordings() {
        if response.is_null() || response["status"] == 201 {
            let source = Source { name: name.clone(), text };
            let loaded = load(&[source], &Fakes { lenient: true }, &Env::default());
            assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
            let plugins = &loaded.unwrap().snapshot.plugins;
            let ids = response["body"]["plugins"].as_object().map(|p| p.keys().cloned().collect());
            let ids: Vec<String> = ids.unwrap_or_default();
            assert!(ids.iter().all(|id| plugins.iter().any(|p| p.id.to_string() == *id)), "{name}");
            count += 1;
        }
    }
    assert!(count > 100, "{count} recordings");
}

#[test]
fn what_the_reader_refuses_is_told_as_kong_tells_it() {
    let ours = [
        "cfg-dup-consumer",
        "cfg-dup-id",
        "cfg-dup-service-name",
        "cfg-empty",
        "cfg-unknown-plugin",
        "cfg-yaml-anchors",
    ];
    let mut count = 0;
    for (name, text, response) in recordings() {
        if ours.contains(&name.as_str()) {
            let source = Source { name: name.clone(), text };
            let errors = load(&[source], &Fakes { lenient: true }, &Env::default()).unwrap_err();
            assert_eq!(errors.fields(), response["body"]["fields"], "{name}");
            assert_eq!(errors.message(), response["body"]["message"], "{name}");
            count += 1;
        }
    }
    assert_eq!(count, ours.len());
}

/// A document of the right outline with anything in it.
fn any_document() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("services"),
        Just("routes"),
        Just("plugins"),
        Just("consumers"),
        Just("groups"),
        Just("consumer_groups"),
        Just("name"),
        Just("service"),
        Just("config"),
        Just("id"),
        Just("_info"),
        Just("_config"),
        Just("select_tags"),
        Just("defaults"),
        Just("tags"),
        Just("_plugin_configs"),
        Just("targets"),
        Just("snis"),
        Just("certificates"),
        Just("acls"),
        Just("keyauth_credentials"),
        Just("consumer"),
        Just("url"),
        Just("paths"),
        Just("vaults"),
        Just("consumer_group_consumers"),
        Just("key-auth"),
        Just("{vault://env/X}"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i8>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|entries| {
                let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(Map::from_iter(entries))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_panics(mut document in any_document()) {
        if let Value::Object(map) = &mut document {
            map.insert("_format_version".to_owned(), json!("2.1"));
        }
        if let Err(errors) = load_files(&[("k", &document.to_string())], &Env::default()) {
            prop_assert!(!errors.message().is_empty());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let text = String::from_utf8_lossy(&bytes);
        for name in ["k.yaml", "k.json"] {
            prop_assert!(load_files(&[(name, &text)], &Env::default()).is_err());
        }
    }
}

/// Health checks that check nothing.
fn healthchecks() -> Value {
    let healthy = json!({"interval": 0, "http_statuses": [], "successes": 0});
    let unhealthy = json!({
        "interval": 0, "http_statuses": [], "tcp_failures": 0, "timeouts": 0, "http_failures": 0,
    });
    let active = json!({
        "type": "http", "timeout": 1, "concurrency": 1, "http_path": "/",
        "https_verify_certificate": true, "healthy": healthy, "unhealthy": unhealthy,
    });
    json!({
        "threshold": 0, "active": active,
        "passive": {"healthy": healthy, "unhealthy": unhealthy},
    })
}
