//! Kong's answers to wrong configurations, by the real schemas: the tree and the flat form.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::lua::schema::LuaSchemas;
use crate::lua::{Options, Vm};

/// Cases whose answer differs on purpose; spec/golden/deviations.txt says why.
const DIFFERENT: [&str; 4] = [
    "cfg-ai-proxy-azure-identity",
    // A max_request_body_size of 0 is no limit, as in later versions.
    "cfg-ai-proxy-ranges",
    "cfg-deck-env",
    "cfg-fk-table",
];

/// Cases with plugins that are not built (spec/golden/pending.txt).
const PENDING: [&str; 4] = ["cfg-function-syntax", "cfg-ip-bad", "cfg-rl-no-limit", "cfg-rt-bad"];

/// What Kong's flat form and ours have in common, without order.
///
/// Kong names an id only where the file does or where it had made one already, and quotes the
/// entity; ours always has the id and never quotes.
fn entities(flattened: &Value) -> BTreeSet<String> {
    let entity = |entity: &Value| {
        let errors: BTreeSet<String> =
            entity["errors"].as_array().unwrap().iter().map(canonical).collect();
        let names = ["entity_type", "entity_name", "entity_tags"];
        format!("{:?} {errors:?}", names.map(|name| canonical(&entity[name])))
    };
    flattened.as_array().into_iter().flatten().map(entity).collect()
}

/// A value as text, whatever the order of its members.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members: BTreeSet<String> =
                map.iter().map(|(name, value)| format!("{name}: {}", canonical(value))).collect();
            format!("{members:?}")
        }
        value => value.to_string(),
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn every_recorded_refusal_is_told_as_kong_tells_it() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/golden/recorded");
    let mut compared = 0;
    for folder in fs::read_dir(recorded).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let left_out = [&DIFFERENT[..], &PENDING[..]].concat().contains(&name.as_str());
        if left_out || !name.starts_with("cfg-") {
            continue;
        }
        let response: Value = serde_json::from_str(&read(&folder, "response.json")).unwrap();
        let source = Source { name: "kong".to_owned(), text: read(&folder, "config.yaml") };
        let loaded = load(&[source], &schemas, &Env::default());
        if response["post_config"]["status"] == 201 {
            assert!(loaded.is_ok(), "{name}: {loaded:?}");
            continue;
        }
        let errors = loaded.unwrap_err();
        let body = &response["post_config"]["body"];
        let flat = &response["post_config_flatten_errors"]["body"]["flattened_errors"];
        if body["fields"].is_null() {
            continue; // Kong crashed
        }
        assert_eq!(errors.fields(), body["fields"], "{name}");
        assert_eq!(errors.message(), body["message"], "{name}");
        assert_eq!(entities(&errors.flattened()), entities(flat), "{name}");
        compared += 1;
    }
    assert!(compared >= 25, "{compared}");
}

#[test]
fn hints_name_the_word_that_was_meant_and_the_quotes_that_are_missing() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let text = "_format_version: '3.0'
services:
- host: a.test
  urll: http://a.test
  protocol: htps
  name: no
  plugins:
  - name: ai-proxy-advanced
    config: {route_typ: llm/v1/chat, auth: {header_nam: x}, model: {options: {max_tokns: 1}}}
  - {name: key-auth, _config: share}
_plugin_configs: {shared: {}}
";
    let source = Source { name: "k".to_owned(), text: text.to_owned() };
    let errors = load(&[source], &schemas, &Env::default()).unwrap_err().to_string();
    for hint in [
        "urll: unknown field (did you mean 'url'?)",
        "tls_passthrough, udp (did you mean 'https'?)",
        "name: expected a string (without quotes it is a boolean)",
        "config.route_typ: unknown field (did you mean 'route_type'?)",
        "config.auth.header_nam: unknown field (did you mean 'header_name'?)",
        "config.model.options.max_tokns: unknown field (did you mean 'max_tokens'?)",
        "_plugin_config \"share\" not found (did you mean 'shared'?)",
    ] {
        assert!(errors.contains(hint), "{hint}\n{errors}");
    }
}
