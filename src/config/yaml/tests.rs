use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(text: &str) -> Result<Node, Vec<Fault>> {
    parse(text, &Origin::of_file(0))
}

fn value(text: &str) -> Value {
    read(text).unwrap().to_value()
}

/// The first fault as `line:column: message`.
fn fault(text: &str) -> String {
    let fault = read(text).unwrap_err().remove(0);
    format!("{}:{}: {}", fault.pos.line, fault.pos.column, fault.message)
}

#[test]
fn block_and_flow_values_are_read() {
    let text = "a:\n- 1\n- {b: [x, 'yes', \"no\", yes]}\nc: |\n  two\n  lines\nd:\non: 1\n";
    let expected = json!({
        "a": [1, {"b": ["x", "yes", "no", true]}], "c": "two\nlines\n", "d": null, "on": 1
    });
    assert_eq!(value(text), expected);
}

#[test]
fn every_value_and_key_has_its_position() {
    let node = read("a:\n  - b: 1\n    'c d': {e: é, f: 2}\n").unwrap();
    let item = &node.field("a").unwrap().items()[0];
    assert_eq!((item.pos.line, item.pos.column), (2, 5));
    let inner = item.entry("c d").unwrap();
    assert_eq!((inner.pos.line, inner.pos.column), (3, 5));
    let f = inner.value.entry("f").unwrap();
    assert_eq!((f.pos.line, f.pos.column, f.value.pos.column), (3, 19, 22));
}

#[test]
fn merge_keys_fill_in_what_is_not_given() {
    let text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\none: {<<: *x, a: 0}\n\
                two: {<<: [*y, *x], c: 3}\nquoted: {'<<': 1}\n";
    let value = value(text);
    assert_eq!(value["one"], json!({"a": 0, "b": 1}));
    assert_eq!(value["two"], json!({"c": 3, "b": 2, "a": 1}));
    assert_eq!(value["quoted"], json!({"<<": 1}));
    let not_a_map = "1:5: map merge requires map or sequence of maps as the value";
    assert_eq!(fault("a: {<<: 1}"), not_a_map);
}

#[test]
fn a_merged_value_points_to_where_it_was_written() {
    let node = read("a: &a\n  port: 1\nb:\n  <<: *a\n").unwrap();
    assert_eq!(node.field("b").unwrap().entry("port").unwrap().pos.line, 2);
}

#[test]
fn a_key_given_twice_is_an_error_with_both_lines() {
    assert_eq!(fault("a: 1\nb: 2\na: 3\n"), "3:1: 'a' is given twice (first in line 1)");
    assert_eq!(value("a:\nb: 1\na: 2\n"), json!({"a": 2, "b": 1}));
    assert_eq!(fault("a:\na: 1\na: 2\n"), "3:1: 'a' is given twice (first in line 2)");
    assert_eq!(fault("a: 1\na:\n"), "2:1: 'a' is given twice (first in line 1)");
    assert_eq!(value("a:\nb: 2\na: 3\n"), json!({"b": 2, "a": 3}));
    assert_eq!(fault("x: {<<: {}, <<: {}}"), "1:13: '<<' is given twice (first in line 1)");
    assert_eq!(read("a: {b: 1, b: 2}\na: 3\n").unwrap_err().len(), 2);
}

#[test]
fn syntax_errors_have_line_and_column() {
    assert!(fault("a: [1\nb: }\n").starts_with("2:"));
    assert!(fault("a: 'open\n").contains(": "));
    assert!(fault("a: *nowhere\n").starts_with("1:"));
    assert!(fault("a: &a [*a]").ends_with("an alias cannot stand inside the value it names"));
    assert!(fault("{[1]: 2}").ends_with("a key must be a string"));
    assert!(fault("a: .inf").contains(".inf is not a number"));
}

#[test]
fn tags_say_the_type() {
    let text = "a: !!str 80\nb: !!int '7'\nc: ! 80\nd: !!null ''\ne: !!float 1";
    assert_eq!(value(text), json!({"a": "80", "b": 7, "c": 80, "d": null, "e": 1}));
    assert!(fault("a: !!int x").contains("invalid 'tag:yaml.org,2002:int' value"));
}

#[test]
fn tags_that_kongs_reader_does_not_know_say_nothing() {
    let text = "a: !secret x\nb: !num 80\nc: !!binary aGk=\nd: !list [1]\ne: !map {f: !!set g}";
    let wanted = json!({"a": "x", "b": 80, "c": "aGk=", "d": [1], "e": {"f": "g"}});
    assert_eq!(value(text), wanted);
}

#[test]
fn tabs_behind_a_colon_are_blanks() {
    let text = "a:\tb\nc:\t\td\ne: \tf\ng:\t1\nh: \"i:\tj\"\nk: |\n  l:\tm\nn:\t- o";
    let wanted = json!({"a": "b", "c": "d", "e": "f", "g": 1, "h": "i:\tj", "k": "l:\tm\n"});
    let (good, bad) = text.rsplit_once('\n').unwrap();
    assert_eq!(value(good), wanted);
    assert!(fault(bad).starts_with("1:"));
    let many: String = (0..2_000).map(|key| format!("k{key}:\tb\n")).collect();
    assert!(fault(&many).contains("too many tabs"));
    let long = format!("{}last:\tone", "#\n".repeat(1 << 20));
    assert_eq!(value(&long), json!({"last": "one"}), "a few tabs are taken wherever they are");
}

#[test]
fn a_second_document_is_refused_unless_it_is_empty() {
    assert_eq!(value("---\na: 1\n---\n"), json!({"a": 1}));
    assert_eq!(fault("a: 1\n---\nb: 2\n"), "3:1: expected a single document; use several files");
    assert_eq!(value(""), json!(null));
}

#[test]
fn alias_bombs_and_deep_nesting_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(fault(&bomb).contains("unfold to too much data"));
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(fault(&chain).contains("nested deeper"));
    assert!(fault(&"- ".repeat(5000)).contains("nested deeper"));
    assert!(fault(&"[".repeat(5000)).contains("deep") || !fault(&"[".repeat(5000)).is_empty());
}

/// JSON documents of moderate size.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)), // exact in both readers
        "[ -~é\u{1F600}\n\t]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z<_ ]{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_is_read_as_json(value in any_json()) {
        let origin = Origin::of_file(0);
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let exact: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read(&text).unwrap().to_value(), &exact);
            prop_assert_eq!(super::super::json::parse(&text, &origin).unwrap().to_value(), exact);
        }
    }

    #[test]
    fn no_text_panics(text in "[-a-c:{}\\[\\],&*!|>'\"#%@`?<~ \n\t0-9.\u{0}\u{fffd}é]{0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}
