use mlua::Lua;

use super::encode::general;
use super::*;
use crate::lua::{Options, Vm};

fn eval(code: &str) -> String {
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
    assert_eq!(told("{[100] = 1}"), "Cannot serialise table: excessively sparse array");
    assert_eq!(told("0/0"), "Cannot serialise number: must not be NaN or Infinity");
    let deep = "(function() local t = {} t.t = t return t end)()";
    assert_eq!(told(deep), "Cannot serialise, excessive depth (129)");
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
fn what_is_no_json_is_told_in_cjsons_words() {
    let told = |text: &str| eval(&format!("return (select(2, safe.decode([==[{text}]==])))"));
    assert_eq!(told("{"), "Expected object key string but found T_END at character 2");
    assert_eq!(told("nope"), "Expected value but found invalid token at character 1");
    assert_eq!(told("[1,]"), "Expected value but found T_ARR_END at character 4");
    assert_eq!(told("1 2"), "Expected the end but found T_NUMBER at character 3");
    assert_eq!(told(r#""\x""#), "Expected value but found invalid escape code at character 2");
    let deep = format!("safe.decode(('['):rep({}))", DEPTH + 1);
    let told = eval(&format!("return (select(2, {deep}))"));
    assert_eq!(told, "Found too many nested data structures (129) at character 129");
}
