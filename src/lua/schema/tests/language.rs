//! The schema language: what each attribute and each check means.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Reader, filled, schemas, told};
use crate::lua::{Options, Vm};
use crate::schema::{Check, Record, Schemas};

/// Reads a schema from Lua text.
fn read(schema: &str) -> Result<Record, String> {
    let vm = Vm::new(&Options::default()).unwrap();
    let table = vm.lua().load(schema).eval().unwrap();
    Reader::new(&vm).entity(&table)
}

/// What a schema with these fields says of an input.
fn check(fields: &str, input: Value) -> (Value, Vec<String>) {
    let (value, errors) =
        read(&format!("return {{ fields = {{ {fields} }} }}")).unwrap().process(input);
    (value, told(errors))
}

/// What is said of the value of a field `f` with these attributes.
fn said(attributes: &str, value: Value) -> Vec<String> {
    check(&format!("{{ f = {{ {attributes} }} }}"), json!({"f": value})).1
}

#[test]
fn every_rule_has_its_text() {
    for (attributes, value, message) in [
        ("type = 'string'", json!(""), "length must be at least 1"),
        ("type = 'string'", json!(1), "expected a string"),
        ("type = 'number'", json!("1"), "expected a number"),
        ("type = 'integer'", json!(1.5), "expected an integer"),
        ("type = 'boolean'", json!("true"), "expected a boolean"),
        ("type = 'record', fields = {}", json!(1), "expected a record"),
        ("type = 'function'", json!(1), "expected a function"),
        ("type = 'integer', eq = 1", json!(2), "value must be 1"),
        ("type = 'integer', ne = 1", json!(1), "value must not be 1"),
        ("type = 'string', ne = ngx.null", Value::Null, "value must not be null"),
        ("type = 'string', eq = ngx.null", json!("a"), "value must be null"),
        ("type = 'string', eq = 'a'", Value::Null, "value must be a"),
        ("type = 'string', required = true", Value::Null, "required field missing"),
        ("type = 'integer', one_of = { 1, 2 }", json!(3), "expected one of: 1, 2"),
        ("type = 'string', not_one_of = { 'a' }", json!("a"), "must not be one of: a"),
        ("type = 'number', gt = 0.5", json!(0.5), "value must be greater than 0.5"),
        ("type = 'number', between = { 0.5, 2 }", json!(3), "value should be between 0 and 2"),
        ("type = 'integer', timestamp = true", json!(0), "expected a valid timestamp"),
        ("type = 'string', uuid = true", json!("a"), "expected a valid UUID"),
        ("type = 'string', is_regex = true", json!("("), "not a valid regex: ("),
        ("type = 'string', len_eq = 2", json!("a"), "length must be 2"),
        ("type = 'string', len_max = 2", json!("abc"), "length must be at most 2"),
        ("type = 'string', starts_with = '/'", json!("a"), "should start with: /"),
        ("type = 'string', match = '^%d+$'", json!("a"), "invalid value: a"),
        ("type = 'string', not_match = '%d'", json!("1"), "invalid value: 1"),
        ("type = 'string', match_none = { { pattern = 'a', err = 'no a' } }", json!("ba"), "no a"),
        ("type = 'string', match_all = { { pattern = 'a', err = 'an a' } }", json!("b"), "an a"),
        (
            "type = 'string', match_any = { patterns = { 'a', 'b' } }",
            json!("c"),
            "invalid value: c",
        ),
        ("type = 'string', match_any = { patterns = { 'a' }, err = 'x' }", json!("c"), "x"),
        ("type = 'string', match = 'a', err = 'own'", json!("b"), "own"),
        (
            "type = 'string', custom_validator = function() return nil end",
            json!("v"),
            "failed validating: v",
        ),
        (
            "type = 'string', custom_validator = function(v) return false, v .. '!' end",
            json!("v"),
            "v!",
        ),
        ("type = 'foreign', reference = 'x'", json!({"id": null}), "required field missing"),
    ] {
        let path = if attributes.contains("foreign") { "f.id" } else { "f" };
        assert_eq!(said(attributes, value), [format!("{path}: {message}")], "{attributes}");
    }
}

#[test]
fn rules_run_in_kongs_order_and_only_the_first_speaks() {
    let attributes = "type = 'string', custom_validator = function() return nil, 'last' end,
                      match = '^a', one_of = { 'b', 'ab' }, len_min = 2";
    assert_eq!(said(attributes, json!("c")), ["f: expected one of: b, ab"]);
    assert_eq!(said(attributes, json!("b")), ["f: length must be at least 2"]);
    assert_eq!(said(attributes, json!("ab")), ["f: last"]);
}

#[test]
fn lists_report_each_element_and_then_themselves() {
    let list = "type = 'array', len_min = 3, elements = { type = 'integer', gt = 0 }";
    assert_eq!(
        said(list, json!([0, null, 1])),
        ["f.0: value must be greater than 0", "f.1: required field missing"]
    );
    assert_eq!(said(list, json!([1])), ["f: length must be at least 3"]);
    assert_eq!(said(list, json!("a")), ["f: expected an array"]);
    let set = "type = 'set', elements = { type = 'string' }, contains = 'a'";
    assert_eq!(said(set, json!(["b"])), ["f: expected to contain: a"]);
    assert_eq!(said(set, json!({"a": 1})), ["f: expected a set"]);
    let map =
        "type = 'map', keys = { type = 'string', match = '^a' }, values = { type = 'integer' }";
    assert_eq!(
        said(map, json!({"ab": "x", "b": 1})),
        ["f.ab: expected an integer", "f: invalid value: b"]
    );
    assert_eq!(said(map, json!([1])), ["f: expected a string"]);
}

#[test]
fn empty_lists_and_maps_are_what_the_schema_says() {
    let fields = "{ a = { type = 'array', elements = { type = 'string' } } },
                  { m = { type = 'map', keys = { type = 'string' },
                          values = { type = 'string' } } },
                  { r = { type = 'record', fields = { { x = { type = 'integer' } } } } },
                  { d = { type = 'array', default = {}, elements = { type = 'string' } } },
                  { n = { type = 'integer' } }";
    let (value, errors) = check(fields, json!({"a": {}, "m": [], "r": [], "n": 2.0}));
    assert_eq!(errors, [""; 0]);
    assert_eq!(value.to_string(), r#"{"a":[],"m":{},"r":{"x":null},"d":[],"n":2}"#);
}

#[test]
fn what_is_left_out_is_filled() {
    let fields = "{ a = { type = 'string', default = 'x' } },
        { b = { type = 'string' } },
        { r = { type = 'record', fields = {
            { c = { type = 'integer', default = 1 } },
            { s = { type = 'record', required = false,
                    fields = { { d = { type = 'integer', default = 2 } } } } },
        } } },
        { l = { type = 'array', elements = { type = 'record', fields = {
            { e = { type = 'integer', default = 3 } },
            { inner = { type = 'record', fields = { { f = { type = 'integer', default = 4 } } } } },
        } } } }";
    let (value, errors) = check(fields, json!({"l": [{}], "r": {"s": {}}}));
    assert_eq!(errors, [""; 0]);
    // Records are expanded in an entity, but not below a list.
    assert_eq!(
        value,
        json!({"a": "x", "b": null, "r": {"c": 1, "s": {"d": 2}}, "l": [{"e": 3, "inner": null}]})
    );
    assert_eq!(check(fields, json!({"a": null})).0["a"], Value::Null);
    assert_eq!(check(fields, json!({})).0["r"], json!({"c": 1, "s": null}));
}

#[test]
fn validators_see_filled_values() {
    let record = "{ r = { type = 'record', fields = {
            { a = { type = 'string' } }, { b = { type = 'integer', default = 7 } },
        }, custom_validator = function(r)
            return nil, tostring(r.a == ngx.null) .. ' ' .. r.b
        end } }";
    assert_eq!(check(record, json!({})).1, ["r: true 7"]);
}

#[test]
fn a_validator_may_return_a_tree_of_errors() {
    let record = "{ r = { type = 'record', fields = { { a = { type = 'string' } } },
        custom_validator = function()
            return nil, { a = 'bad', list = { 'one', 'two' }, ['@entity'] = { 'all of it' } }
        end } }";
    assert_eq!(
        check(record, json!({})).1,
        ["r.a: bad", "r.list.0: one", "r.list.1: two", "r: all of it"]
    );
}

#[test]
fn a_validator_that_fails_refuses_the_value() {
    let told = said("type = 'string', custom_validator = function(v) return v.x.y end", json!("a"));
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("attempt to index"), "{told:?}");
}

#[test]
fn checks_across_fields_have_their_texts() {
    let abc =
        "{ a = { type = 'string' } }, { b = { type = 'string' } }, { c = { type = 'string' } }";
    let said = |checks: &str, input: Value| {
        let schema = format!("return {{ fields = {{ {abc} }}, entity_checks = {{ {checks} }} }}");
        told(read(&schema).unwrap().process(input).1)
    };
    for (check, input, message) in [
        ("at_least_one_of", json!({}), "at least one of these fields must be non-empty: 'a', 'b'"),
        (
            "only_one_of",
            json!({"a": "x", "b": "y"}),
            "exactly one of these fields must be non-empty: 'a', 'b'",
        ),
        (
            "mutually_required",
            json!({"a": "x"}),
            "all or none of these fields must be set: 'a', 'b'",
        ),
        (
            "mutually_exclusive",
            json!({"a": "x", "b": "y"}),
            "only one or none of these fields must be set: 'a', 'b'",
        ),
        (
            "distinct",
            json!({"a": "x", "b": "x"}),
            "values of these fields must be distinct: 'a', 'b'",
        ),
    ] {
        let text = format!("{{ {check} = {{ 'a', 'b' }} }}");
        assert_eq!(said(&text, input), [format!(": {message}")]);
        assert_eq!(
            said(&text, json!({"a": "x", "b": "y", "c": "z"})).is_empty(),
            !matches!(check, "only_one_of" | "mutually_exclusive")
        );
    }
    let sets = "{ mutually_exclusive_sets = { set1 = { 'a', 'b' }, set2 = { 'c' } } }";
    assert_eq!(
        said(sets, json!({"b": "x", "c": "y"})),
        [": these sets are mutually exclusive: ('b'), ('c')"]
    );
    let custom = "{ custom_entity_check = { field_sources = { 'a' }, fn = function(entity)
        return nil, tostring(entity.a) .. tostring(entity.b) end } }";
    assert_eq!(said(custom, json!({"a": "x", "b": "y"})), [": xnil"]);
    assert_eq!(said(custom, json!({"a": 1})), ["a: expected a string"]);
    let conditional = "{ conditional = { if_field = 'a', if_match = { one_of = { 'x' } },
        then_field = 'b', then_match = { match = '^y' }, then_err = 'see %s' } }";
    assert_eq!(said(conditional, json!({"a": "x", "b": "z"})), [": see a", "b: invalid value: z"]);
    assert_eq!(said(conditional, json!({"a": "q", "b": "z"})), [""; 0]);
}

#[test]
fn references_are_not_checked() {
    let schema = "return { fields = {
            { a = { type = 'string', referenceable = true, one_of = { 'x' } } },
            { b = { type = 'string', one_of = { 'x' } } },
            { l = { type = 'array',
                    elements = { type = 'string', referenceable = true, len_max = 3 } } },
        }, entity_checks = { { mutually_exclusive = { 'a', 'b' } } } }";
    let record = read(schema).unwrap();
    let reference = "{vault://env/a}";
    let input = json!({"a": reference, "b": "x", "l": [reference, "long"]});
    assert_eq!(told(record.process(input).1), ["l.1: length must be at most 3"]);
    assert_eq!(told(record.process(json!({"b": reference})).1), ["b: expected one of: x"]);
    assert_eq!(record.referenceable(), ["a", "l.*"]);
}

#[test]
fn shorthands_stand_for_other_fields() {
    let schema = |deprecation: &str| {
        format!(
            "return {{ fields = {{ {{ r = {{ type = 'record', fields = {{
                    {{ host = {{ type = 'string' }} }},
                    {{ port = {{ type = 'integer', default = 1 }} }},
                }} }} }} }},
                shorthand_fields = {{ {{ old = {{ type = 'string', {deprecation}
                    func = function(value) return {{ r = {{ host = value }} }} end }} }} }} }}"
        )
    };
    let plain = read(&schema("")).unwrap();
    let (value, _) = plain.process(json!({"old": "a", "r": {"host": "b", "port": 2}}));
    assert_eq!(value, json!({"r": {"host": "a", "port": 2}}));
    assert_eq!(told(plain.process(json!({"old": 1})).1), ["old: expected a string"]);

    let deprecated = read(&schema(
        "deprecation = { message = 'old is old', removal_in_version = '5.0',
                         replaced_with = { { path = { 'r', 'host' } } } },",
    ))
    .unwrap();
    let (value, errors) = deprecated.process(json!({"old": "a"}));
    assert_eq!((value, errors), (json!({"r": {"host": "a", "port": 1}}), Vec::new()));
    assert_eq!(
        told(deprecated.process(json!({"old": "a", "r": {"host": "b"}})).1),
        ["old: both deprecated and new field are used but their values mismatch: \
          old = a vs r.host = b"]
    );
}

#[test]
fn mistakes_of_a_schema_are_named() {
    for (schema, reason) in [
        ("{ a = { type = 'strin' } }", "a: invalid type: strin"),
        ("{ a = { type = 'string', requird = true } }", "a: unknown attribute 'requird'"),
        ("{ a = { type = 'array' } }", "a: missing attribute elements"),
        ("{ a = { type = 'string', match = '(' } }", "a: match: (: unfinished capture"),
        ("{ a = { type = 'record', fields = { { b = { type = 1 } } } } }", "a: b: invalid type: 1"),
    ] {
        let error = read(&format!("return {{ fields = {{ {schema} }} }}")).err().unwrap();
        assert!(error.starts_with(reason), "{error}");
    }
    let endless =
        "local r = { type = 'record' } r.fields = { { r = r } } return { fields = { { r = r } } }";
    assert!(read(endless).err().unwrap().contains("nested too deeply"));
}

#[test]
fn typedefs_are_those_of_kong() {
    let vm = Vm::new(&Options::default()).unwrap();
    let error = vm.lua().load("return require('kong.db.schema.typedefs').no_such").exec();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("schema typedef error: definition no_such does not exist"), "{error}");
    let with = "local t = require 'kong.db.schema.typedefs' return { fields = {
        { a = t.port { default = 6379 } }, { b = t.port }, { q = t.queue }, { n = t.no_consumer },
        { v = t.semantic_version }, { c = t.lua_code }, { p = t.propagation { required = false } },
    } }";
    let record = read(with).unwrap();
    let (value, errors) = record.process(json!({"v": "1.2.3"}));
    assert_eq!(told(errors), [""; 0]);
    assert_eq!((&value["a"], &value["b"]), (&json!(6379), &Value::Null));
    assert_eq!(value["q"]["initial_retry_delay"], 0.01);
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "name",
        "config",
        "model",
        "auth",
        "options",
        "targets",
        "protocols",
        "paths",
        "headers",
        "hosts",
        "url",
        "provider",
        "route_type",
        "balancer",
        "id",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["azure", "http", "grpc", "/a", "~/(", "{vault://env/x}"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a file holds: no panic, and what passes is a fixed point.
    #[test]
    fn any_input_is_answered(input in any_json()) {
        thread_local!(static SCHEMAS: super::LuaSchemas = schemas());
        SCHEMAS.with(|schemas| {
            let checks = ["services", "routes", "upstreams", "certificates"]
                .map(|name| schemas.entity(name).unwrap());
            let plugins = ["ai-proxy", "ai-proxy-advanced", "response-transformer"]
                .map(|name| schemas.plugin(name).unwrap());
            for check in checks.iter().chain(&plugins) {
                let (value, errors) = check.process(input.clone());
                if errors.is_empty() {
                    prop_assert_eq!(filled(check, value.clone()), value);
                }
            }
            Ok(())
        })?;
    }
}
