//! The order of changes, types, and which bodies are left alone.

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::respond;

/// A plugin from `{"add": {"json": [...]}}`, everything else empty as the schema leaves it.
fn plugin(changes: Value) -> ResponseTransformer {
    read(changes).unwrap()
}

fn read(changes: Value) -> Result<ResponseTransformer, Vec<String>> {
    let names = json!({"json": [], "headers": []});
    let values = json!({"json": [], "json_types": [], "headers": []});
    let mut config = json!({
        "remove": names, "rename": names, "replace": values, "add": values, "append": values,
    });
    for (part, fields) in changes.as_object().unwrap() {
        for (field, entries) in fields.as_object().unwrap() {
            config[part][field] = entries.clone();
        }
    }
    ResponseTransformer::new(&serde_json::from_value(config).unwrap())
}

/// An exchange with a reply of the upstream.
fn replied(content_type: &str, body: &str) -> Exchange {
    let ex = Exchange::for_test("GET", "/", &[]);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
    headers.insert("content-length", HeaderValue::from(body.len()));
    ex.response.take_head(StatusCode::OK, headers);
    ex.response.hold_body(Bytes::copy_from_slice(body.as_bytes()).into());
    ex
}

fn transformed(changes: Value, body: &str) -> String {
    let ex = replied("application/json", body);
    plugin(changes).header_filter(&ex).unwrap();
    let body = ex.response.body().unwrap();
    assert_eq!(ex.response.header("content-length").unwrap(), body.len().to_string().as_str());
    String::from_utf8(body.into()).unwrap()
}

fn headers_after(changes: Value, before: &[(&str, &str)]) -> Vec<String> {
    let ex = Exchange::for_test("GET", "/", &[]);
    for (name, value) in before {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        ex.response.add_header(name, HeaderValue::from_str(value).unwrap());
    }
    plugin(changes).header_filter(&ex).unwrap();
    let headers = ex.response.headers();
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}:{}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

#[test]
fn headers_change_in_kongs_order() {
    let changes = json!({
        "remove": {"headers": ["X-Gone"]},
        "rename": {"headers": ["x-old:x-new", "x-none:x-no"]},
        "replace": {"headers": ["x-there:2", "x-absent:2"]},
        "add": {"headers": ["x-there:3", "x-a: 1", "x-empty:"]},
        "append": {"headers": ["x-a:2", "x-there:4"]},
    });
    let before =
        [("x-gone", "1"), ("x-old", "1"), ("x-old", "2"), ("x-new", "0"), ("x-there", "1")];
    assert_eq!(
        headers_after(changes, &before),
        ["x-a:1", "x-a:2", "x-new:1", "x-new:2", "x-there:2", "x-there:4"]
    );
}

#[test]
fn what_is_there_is_asked_of_the_head_as_it_came() {
    let changes = json!({"remove": {"headers": ["x"]}, "add": {"headers": ["x:2"]}});
    assert!(headers_after(changes, &[("x", "1")]).is_empty());
    let changes = json!({"remove": {"headers": ["x"]}, "replace": {"headers": ["x:2"]}});
    assert_eq!(headers_after(changes, &[("x", "1")]), ["x:2"]);
}

#[test]
fn json_changes_in_kongs_order_and_keeps_the_rest() {
    let changes = json!({
        "remove": {"json": ["gone"]},
        "rename": {"json": ["old:new"]},
        "replace": {"json": ["there:R", "absent:R", "off:R"]},
        "add": {"json": ["new:A", "fresh:A", "there:A"]},
        "append": {"json": ["list:z", "none:z", "fresh:z", "big:z"]},
    });
    let body = concat!(
        r#"{"gone":1, "old":{"n":1.0}, "there":null, "off":false, "list":[ 1 ], "none":[ ], "#,
        r#""big":12345678901234567890}"#,
    );
    assert_eq!(
        transformed(changes, body),
        concat!(
            r#"{"there":"R", "off":false, "list":[ 1 ,"z"], "none":["z"], "big":["z"],"#,
            r#""new":{"n":1.0},"fresh":["A","z"]}"#,
        )
    );
}

#[test]
fn false_counts_as_absent_and_null_does_not() {
    let changes = json!({"add": {"json": ["off:A", "nil:A"]}});
    assert_eq!(transformed(changes, r#"{"off":false,"nil":null}"#), r#"{"off":"A","nil":null}"#);
}

#[test]
fn values_have_the_type_at_their_place() {
    let changes = json!({"add": {
        "json": ["a:1", "b:true", "c:1.0", "d:1.5e0", "e:no", "f:no", "g:a\"b", "h:", "i:x:y"],
        "json_types": ["number", "boolean", "number", "number", "boolean", "number"],
    }});
    assert_eq!(
        transformed(changes, "{}"),
        r#"{"a":1,"b":true,"c":1,"d":1.5,"e":false,"g":"a\"b","h":"null","i":"x:y"}"#
    );
}

#[test]
fn only_json_that_is_readable_is_held_back_and_changed() {
    let plugin = plugin(json!({"add": {"json": ["a:1"]}}));
    for (kind, encoding, taken, expected) in [
        ("application/json; charset=utf-8", None, false, true),
        ("Application/Problem+JSON", None, false, true),
        ("text/plain, application/json", None, false, true),
        ("application/json", Some("identity"), false, true),
        ("application/json", Some("gzip"), false, false),
        ("application/json", None, true, false),
        ("text/event-stream", None, false, false),
        ("text/json", None, false, false),
    ] {
        let ex = replied(kind, "{}");
        if let Some(encoding) = encoding {
            ex.response.set_header(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        ex.response.body_is_final.set(taken);
        assert_eq!(plugin.buffers(&ex), expected, "{kind}");
        plugin.header_filter(&ex).unwrap();
        assert_eq!(ex.response.body().unwrap() != "{}", expected, "{kind}");
    }
}

#[test]
fn headers_alone_hold_nothing_back() {
    let plugin = plugin(json!({"add": {"headers": ["x-a:1"]}}));
    assert!(!plugin.phases().has(Phases::RESPONSE));
    assert!(!plugin.buffers(&replied("application/json", "{}")));
}

#[test]
fn a_body_that_is_no_object_stays() {
    for body in ["[1]", "{bad", "", "1"] {
        assert_eq!(transformed(json!({"add": {"json": ["a:1"]}}), body), body);
    }
}

#[test]
fn answers_of_the_gateway_change_like_those_of_the_upstream() {
    let ex = Exchange::for_test("GET", "/", &[]);
    ex.response.body_is_final.set(true);
    respond::fail(&ex, respond::Failure::NoService);
    plugin(json!({"add": {"json": ["a:1"]}})).header_filter(&ex).unwrap();
    assert_eq!(ex.answer_json()["a"], "1");
}

#[test]
fn everything_that_cannot_be_a_header_is_said() {
    let errors = read(json!({
        "rename": {"headers": ["a b:c"]},
        "add": {"headers": ["x:a\u{0}b", "transfer-encoding:chunked"]},
    }));
    assert_eq!(
        errors.err().unwrap(),
        [
            "config.rename.headers: 'a b' is no header name",
            "config.add.headers: the value of 'x' is no header text",
        ]
    );
}
