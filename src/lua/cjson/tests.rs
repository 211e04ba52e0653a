use mlua::Lua;

use super::encode::general;
use super::*;
use crate::lua::{Options, Vm};

/// What code says, on a stack like a worker's.
fn eval(code: &str) -> String {
    let code = code.to_owned();
    let thread = std::thread::Builder::new().stack_size(STACK);
    thread.spawn(move || run(&code)).unwrap().join().unwrap()
}

fn run(code: &str) -> String {
    let vm = Vm::new(&Options::default()).unwrap();
    let lua: &Lua = vm.lua();
    let code = format!("local cjson, safe = require 'cjson', require 'cjson.safe'\n{code}");
    lua.load(code).eval::<Value>().unwrap().to_string().unwrap()
}

#[test]
fn numbers_are_written_as_c_writes_them() {
    for (number, text) in [
        (0.1, "0.1"),
        (1.0, "1"),
        (1e14, "1e+14"),
        (123_456_789_012_345_680_000.0, "1.2345678901235e+20"),
        (1e-5, "1e-05"),
        (0.0001, "0.0001"),
        (1.0 / 3.0, "0.33333333333333"),
        (-2.5, "-2.5"),
    ] {
        assert_eq!(general(number, 14), text);
    }
}

#[test]
fn tables_become_arrays_or_objects() {
    assert_eq!(eval("return cjson.encode({1, 2, {x = cjson.null}})"), r#"[1,2,{"x":null}]"#);
    assert_eq!(eval("return cjson.encode({})"), "{}");
    assert_eq!(eval("return cjson.encode(setmetatable({}, cjson.empty_array_mt))"), "[]");
    assert_eq!(eval("return cjson.encode(setmetatable({}, cjson.array_mt))"), "[]");
    assert_eq!(eval("return cjson.encode({[1] = 1, [3] = 3})"), "[1,null,3]");
    assert_eq!(eval("return cjson.encode('a/b\\0\\127')"), r#""a/b\u0000\u007f""#);
}

#[test]
fn what_cannot_be_written_is_told_in_cjsons_words() {
    let told = |code: &str| eval(&format!("return (select(2, safe.encode({code})))"));
    assert_eq!(told("{f = print}"), "Cannot serialise function: type not supported");
    let sparse = eval("return select(2, pcall(cjson.encode, {[100] = 1}))");
    assert!(sparse.ends_with("Cannot serialise table: excessively sparse array"), "{sparse}");
    assert_eq!(told("0/0"), "Cannot serialise number: must not be NaN or Infinity");
    let deep = "(function() local t = {} t.t = t return t end)()";
    assert_eq!(told(deep), "Cannot serialise, excessive nesting (1001)");
}

#[test]
fn what_is_read_comes_out_as_it_went_in() {
    for text in [r#"{"a":[1,2.5,"x",null,true]}"#, "[]", "-1.5", r#""\u0000é""#] {
        let code = format!("return cjson.encode(cjson.decode([==[{text}]==]))");
        let expected = if text == "[]" { "{}" } else { text };
        assert_eq!(eval(&code), expected);
    }
    assert_eq!(eval(r#"return safe.decode('"\\ud83d\\ude00"')"#), "😀");
    let marked = "cjson.decode_array_with_array_mt(true) return cjson.encode(cjson.decode('[]'))";
    assert_eq!(eval(marked), "[]");
}

#[test]
fn control_characters_in_a_string_are_taken_as_they_stand() {
    assert_eq!(eval(r#"return safe.decode('{"a":"x\n\ty"}').a"#), "x\n\ty");
    let told = eval(r#"return select(2, safe.decode('"a\0b"'))"#);
    assert_eq!(told, "Expected value but found unexpected end of string at character 3");
}

#[test]
fn what_is_no_json_is_told_in_cjsons_words() {
    let told = |text: &str| eval(&format!("return (select(2, safe.decode([==[{text}]==])))"));
    assert_eq!(told("{"), "Expected object key string but found T_END at character 2");
    assert_eq!(told("nope"), "Expected value but found invalid token at character 1");
    assert_eq!(told("[1,]"), "Expected value but found T_ARR_END at character 4");
    assert_eq!(told("1 2"), "Expected the end but found T_INTEGER at character 3");
    assert_eq!(told("1 2.5"), "Expected the end but found T_NUMBER at character 3");
    assert_eq!(told(r#""\x""#), "Expected value but found invalid escape code at character 2");
    let deep = format!("safe.decode(('['):rep({}))", DEPTH + 1);
    let told = eval(&format!("return (select(2, {deep}))"));
    assert_eq!(told, "Found too many nested data structures (1001) at character 1001");
}

#[test]
fn options_tell_what_they_are_and_refuse_what_they_cannot_be() {
    assert_eq!(eval("return cjson.encode_number_precision()"), "14");
    assert_eq!(eval("return safe.encode_number_precision()"), "16");
    assert_eq!(eval("return cjson.encode_max_depth(5) + cjson.encode_max_depth()"), "10");
    assert_eq!(eval("return select(3, cjson.encode_sparse_array(nil, nil, 7))"), "7");
    let told = eval("return select(2, pcall(cjson.encode_number_precision, 17))");
    assert!(told.ends_with("(expected integer between 1 and 16)"), "{told}");
    let told = eval("return select(2, pcall(cjson.encode_invalid_numbers, 'maybe'))");
    assert!(told.ends_with("(invalid option 'maybe')"), "{told}");
    assert_eq!(eval("return tostring(cjson.encode_invalid_numbers('null'))"), "null");
}

#[test]
fn numbers_that_are_none_in_json_are_read_and_written_where_asked() {
    assert_eq!(eval("return cjson.decode('[0x10]')[1] + cjson.decode('[007]')[1]"), "23");
    assert_eq!(eval("return cjson.decode('[Infinity]')[1]"), "inf");
    let strict = "cjson.decode_invalid_numbers(false) return safe and cjson.decode('[007]')[1]";
    let told = eval(&format!("return select(2, pcall(function() {strict} end))"));
    assert!(told.ends_with("Expected value but found invalid number at character 2"), "{told}");
    for word in ["-Infinity", "-nan", "inf"] {
        let strict = format!("cjson.decode_invalid_numbers(false) cjson.decode('[{word}]')");
        let told = eval(&format!("return select(2, pcall(function() {strict} end))"));
        assert!(told.contains("Expected value but found invalid"), "{word}: {told}");
    }
    let written = "cjson.encode_invalid_numbers(true) return cjson.encode({1/0, -1/0, 0/0})";
    assert_eq!(eval(written), "[Infinity,-Infinity,NaN]");
    assert_eq!(eval("cjson.encode_invalid_numbers('null') return cjson.encode({1/0})"), "[null]");
}

#[test]
fn what_cannot_be_written_is_named_or_left_out() {
    let told = eval("return select(2, pcall(cjson.encode, {[true] = 1}))");
    let expected = "Cannot serialise boolean: table key must be a number or string";
    assert!(told.ends_with(expected), "{told}");
    let skips = "cjson.encode_skip_unsupported_value_types(true)";
    let code = format!("{skips} return cjson.encode({{1, print, 3}})");
    assert_eq!(eval(&code), "[1,3]");
    let code = format!("{skips} return cjson.encode({{a = print}})");
    assert_eq!(eval(&code), "{}");
}

#[test]
fn a_table_with_a_length_of_its_own_is_an_array() {
    let code = "local t = setmetatable({}, { __len = function() return 2 end, \
        __index = function(_, i) return i * 10 end }) return cjson.encode(t)";
    assert_eq!(eval(code), "[10,20]");
}

#[test]
fn a_text_may_hold_control_characters_but_no_zero() {
    assert_eq!(eval(r#"return cjson.decode('"a\n\1b"')"#), "a\n\u{1}b");
    let told = |text: &str| eval(&format!("return (select(2, safe.decode({text})))"));
    let expected = "Expected value but found unexpected end of string at character 3";
    assert_eq!(told(r#"'"a\0"'"#), expected);
    assert_eq!(told(r"'[1]\0'"), "Expected EOF but found T_END at character 4");
}

#[test]
fn a_table_marked_as_empty_array_is_one_whatever_it_holds() {
    let code = "return cjson.encode(setmetatable({a = 1}, cjson.empty_array_mt))";
    assert_eq!(eval(code), "[]");
}

#[test]
fn the_safe_module_raises_only_for_the_number_of_arguments() {
    let told = eval("return select(2, pcall(safe.decode))");
    assert!(told.ends_with("(expected 1 argument)"), "{told}");
    let told = eval("return select(2, safe.decode({}))");
    assert_eq!(told, "bad argument #1 to '?' (string expected, got table)");
}
