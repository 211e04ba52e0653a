//! Kong's rules about a configuration as a whole, by the real schemas.

use super::*;
use crate::lua::schema::LuaSchemas;
use crate::lua::{Options, Vm};

/// Kong's error tree for each body of a file of format 3.0.
fn trees<const N: usize>(bodies: [(&str, Value); N]) {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    for (body, tree) in bodies {
        let text = format!("_format_version: '3.0'\n{body}");
        let source = Source { name: "k".to_owned(), text };
        let errors = load(&[source], &schemas, &Env::default()).unwrap_err();
        assert_eq!(errors.fields(), tree, "{body}\n{errors}");
    }
}

#[test]
fn a_reference_to_nothing_is_told_under_the_name_of_the_entity() {
    let missing =
        |what: &str| json!([format!("invalid reference '{what}' (no such entry in 'services')")]);
    let id = "4e3ad2e4-0bc4-4638-8e34-c84a417ba39b";
    trees([
        (
            "routes: [{name: r, paths: [/], service: s}, {name: q, paths: [/], service: t}]",
            json!({"routes": {"r": missing("service: s"), "q": missing("service: t")}}),
        ),
        (
            &format!("routes: [{{name: r, paths: [/], service: {{id: {id}}}}}]"),
            json!({"routes": {"r": missing(&format!("service: {{\"id\":\"{id}\"}}"))}}),
        ),
        // A target has no name of its own.
        (
            "targets: [{target: 'a:80', upstream: u}]",
            json!({"targets": {"98043a3b-fd13-57c6-aeda-0a256e340fbc":
                ["invalid reference 'upstream: u' (no such entry in 'upstreams')"]}}),
        ),
    ]);
}

#[test]
fn to_a_schema_that_finds_other_errors_a_name_that_leads_nowhere_is_no_key() {
    let bad_path = json!(["should start with: / (fixed path) or ~/ (regex path)"]);
    trees([
        (
            "routes: [{name: r, paths: [a], service: s}]",
            json!({"routes": [{"paths": bad_path, "service": {"id": "missing primary key"}}]}),
        ),
        (
            "routes: [{name: r, paths: [/], service: {id: s}}]",
            json!({"routes": [{"service": {"id": "expected a valid UUID"}}]}),
        ),
        (
            "routes: [{name: r, paths: [/], service: {id: null}}]",
            json!({"routes": [{"service": {"id": "required field missing"}}]}),
        ),
    ]);
}

#[test]
fn keys_are_looked_at_when_schemas_are_content_and_unique_fields_after_them() {
    let taken = |kind: &str, field: &str, value: &str| {
        json!(format!(
            "uniqueness violation: '{kind}' entity with {field} set to '{value}' already declared"
        ))
    };
    trees([
        (
            "services: [{name: s, host: h}, {name: s, host: h, port: x}]",
            json!({"services": [null, {"port": "expected an integer"}]}),
        ),
        (
            "consumers: [{username: a, custom_id: x}, {username: b, custom_id: x}]",
            json!({"consumers": {"b": taken("consumers", "custom_id", "x")}}),
        ),
        // What is nested in a Service comes before the Routes at the top.
        (
            "routes: [{name: r, paths: [/]}]\nservices: [{name: s, host: h, routes: [{name: r, \
             paths: [/]}]}]",
            json!({"routes": [taken("routes", "name", "r")]}),
        ),
        (
            "services: [{name: s, host: h, routes: [{name: r, paths: [/], plugins: [{name: \
             key-auth, instance_name: i}, {name: correlation-id, instance_name: i}]}]}]",
            json!({"routes": [{"plugins": [null, taken("plugins", "instance_name", "i")]}]}),
        ),
    ]);
}

#[test]
fn a_nested_entity_may_have_no_reference_while_anything_else_is_wrong() {
    let no = "value must be null";
    trees([
        (
            "services: [{name: s, host: h, port: x, routes: [{name: r, paths: [/], service: s}]}]",
            json!({"services": [{"port": "expected an integer", "routes": [{"service": no}]}]}),
        ),
        (
            "services: [{name: s, host: h, plugins: [{name: correlation-id, route: none}]}]",
            json!({"services": [{"plugins": [{"route": no}]}]}),
        ),
    ]);
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let text = "_format_version: '3.0'\nservices: [{name: s, host: h, routes: [{paths: [/], \
                service: s}]}]";
    let source = Source { name: "k".to_owned(), text: text.to_owned() };
    assert!(load(&[source], &schemas, &Env::default()).is_ok());
}

#[test]
fn a_plugins_own_schema_narrows_protocols_and_scope() {
    trees([
        (
            "plugins: [{name: correlation-id, protocols: [tcp]}]",
            json!({"plugins": [{"protocols": ["expected one of: grpc, grpcs, http, https"]}]}),
        ),
        (
            "consumers: [{username: a}]\nplugins: [{name: key-auth, consumer: a}]",
            json!({"plugins": [{"consumer": "value must be null"}]}),
        ),
    ]);
}

#[test]
fn of_an_entity_of_no_known_kind_nothing_else_is_told() {
    trees([
        (
            "plugins: [{enabled: x, foo: 1}]",
            json!({"plugins": [{"name": "required field missing"}]}),
        ),
        (
            "plugins: [{name: nope, enabled: x}]",
            json!({"plugins": [{"name":
                "plugin 'nope' not enabled; add it to the 'plugins' configuration property"}]}),
        ),
        (
            "routes: [{paths: [a], protocols: [nope]}, {protocols: []}]",
            json!({"routes": [{"protocols": "unknown type: nope"},
                {"protocols": "unknown type: nil"}]}),
        ),
        (
            "vaults: [{name: aws, prefix: env}]",
            json!({"vaults": [{"name": "vault 'aws' is not installed"}]}),
        ),
    ]);
}

#[test]
fn a_null_or_an_empty_list_is_an_empty_configuration() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let tree = |text: &str| {
        let source = Source { name: "k".to_owned(), text: text.to_owned() };
        load(&[source], &schemas, &Env::default()).unwrap_err().fields()
    };
    for text in ["---\n", "null", "[]", "_format_version: null"] {
        assert_eq!(tree(text), json!({"_format_version": "required field missing"}), "{text}");
    }
    for text in ["", "# a\n \n#b", "5", "true"] {
        let error = "failed parsing declarative configuration: expected an object";
        assert_eq!(tree(text), json!({ "error": error }), "{text}");
    }
    let source = Source {
        name: "k".to_owned(),
        text: "_format_version: '3.0'\n_transform: null".to_owned(),
    };
    assert!(load(&[source], &schemas, &Env::default()).is_ok());
}

#[test]
fn errors_in_what_stands_for_a_reference_are_flattened_as_that_entitys() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let text = "_format_version: '3.0'\nroutes: [{name: r, paths: [/], service: {nam: s}}]";
    let source = Source { name: "k".to_owned(), text: text.to_owned() };
    let flat = load(&[source], &schemas, &Env::default()).unwrap_err().flattened();
    let expected = json!([{"entity_type": "service",
        "errors": [{"type": "field", "field": "nam", "message": "unknown field"}]}]);
    assert_eq!(flat, expected);
}
