//! Lua values to JSON text.

use std::io::Write as _;

use mlua::{Function, Lua, LuaSerdeExt, Table, Value};

use super::{DEPTH, EMPTY_ARRAY, empty_array};
use crate::lua::bind::Fault;
use crate::lua::kong::value::kind;
use crate::lua::limit;

/// What a caller may change (`cjson.encode_*`).
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// Significant digits of a number.
    precision: usize,
    /// `/` is written as `\/`.
    escape_slash: bool,
    /// An empty table is an object.
    empty_is_object: bool,
    /// Arrays with too many holes become objects instead of an error.
    sparse_converts: bool,
    /// An array is too sparse when its length is more than this times its items; 0 is never.
    sparse_ratio: usize,
    /// Lengths up to this are never too sparse.
    sparse_safe: usize,
    /// Levels of nesting.
    depth: usize,
    invalid: Invalid,
    /// What cannot be written is left out.
    skips: bool,
}

/// What becomes of NaN and the infinities.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            precision: 14,
            escape_slash: false,
            empty_is_object: true,
            sparse_converts: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            depth: DEPTH,
            invalid: Invalid::Refused,
            skips: false,
        }
    }
}

impl Options {
    /// As Kong's core encodes.
    fn of_kong() -> Self {
        Self { precision: 16, sparse_safe: 1 << 15, ..Self::default() }
    }

    pub(super) fn read(table: &Table) -> mlua::Result<Self> {
        let default = Self::default();
        let number = |name: &str, or: usize| -> mlua::Result<usize> {
            Ok(table.get::<Option<usize>>(name)?.unwrap_or(or))
        };
        let flag = |name: &str, or: bool| -> mlua::Result<bool> {
            Ok(table.get::<Option<bool>>(name)?.unwrap_or(or))
        };
        Ok(Self {
            precision: number("precision", default.precision)?.clamp(1, 16),
            escape_slash: flag("escape_slash", default.escape_slash)?,
            empty_is_object: flag("empty_is_object", default.empty_is_object)?,
            sparse_converts: flag("sparse_converts", default.sparse_converts)?,
            sparse_ratio: number("sparse_ratio", default.sparse_ratio)?,
            sparse_safe: number("sparse_safe", default.sparse_safe)?,
            depth: number("depth", default.depth)?.min(DEPTH),
            invalid: match table.get::<Option<String>>("invalid")?.as_deref() {
                Some("on") => Invalid::Written,
                Some("null") => Invalid::Null,
                _ => Invalid::Refused,
            },
            skips: flag("skips", false)?,
        })
    }
}

/// A value as JSON, as the kit's own functions write it.
pub(in crate::lua) fn encode(lua: &Lua, value: &Value) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    write(lua, value, Options::of_kong(), &mut text)?;
    Ok(text)
}

/// Appends a value as JSON.
pub(super) fn write(
    lua: &Lua,
    value: &Value,
    options: Options,
    text: &mut Vec<u8>,
) -> Result<(), Fault> {
    let empty_array: Table = lua.named_registry_value(EMPTY_ARRAY)?;
    let mut writer = Writer { lua, options, array: lua.array_metatable(), empty_array, text };
    if !writer.value(value, 0)? {
        // lua-cjson writes nothing where it leaves the whole value out.
        writer.text.clear();
    }
    Ok(())
}

struct Writer<'t> {
    lua: &'t Lua,
    options: Options,
    array: Table,
    empty_array: Table,
    text: &'t mut Vec<u8>,
}

/// The most items that a table may claim to have.
const LONGEST: usize = 1 << 24;

/// How a table is written.
enum Shape {
    Array(usize),
    Object,
}

impl Writer<'_> {
    /// Writes a value; false if it is one to be left out.
    fn value(&mut self, value: &Value, depth: usize) -> Result<bool, Fault> {
        match value {
            Value::Nil => self.text.extend_from_slice(b"null"),
            Value::LightUserData(data) if data.0.is_null() => self.text.extend_from_slice(b"null"),
            Value::LightUserData(data) if *data == empty_array() => {
                self.text.extend_from_slice(b"[]");
            }
            // Another address is nothing that lua-cjson knows, and it says nothing.
            Value::LightUserData(_) => {}
            Value::Boolean(true) => self.text.extend_from_slice(b"true"),
            Value::Boolean(false) => self.text.extend_from_slice(b"false"),
            Value::Integer(number) => self.integer(*number),
            Value::Number(number) => self.number(*number)?,
            Value::String(string) => self.string(&string.as_bytes()),
            Value::Table(table) => self.table(table, depth + 1)?,
            _ if self.options.skips => return Ok(false),
            other => {
                let kind = kind(other);
                return Err(format!("Cannot serialise {kind}: type not supported").into());
            }
        }
        Ok(true)
    }

    /// Integers beyond the digits of a double are written as C would write the double.
    fn integer(&mut self, number: i64) {
        let digits = u32::try_from(self.options.precision.min(18)).unwrap_or(14);
        if number.unsigned_abs() < 10_u64.pow(digits) {
            // A vector takes every write.
            let _ = write!(self.text, "{number}");
        } else {
            let text = general(number as f64, self.options.precision);
            self.text.extend_from_slice(text.as_bytes());
        }
    }

    fn number(&mut self, number: f64) -> Result<(), Fault> {
        if !number.is_finite() {
            let word: &[u8] = match self.options.invalid {
                Invalid::Refused => {
                    return Err("Cannot serialise number: must not be NaN or Infinity".into());
                }
                Invalid::Null => b"null",
                Invalid::Written if number.is_nan() => b"NaN",
                Invalid::Written if number < 0.0 => b"-Infinity",
                Invalid::Written => b"Infinity",
            };
            self.text.extend_from_slice(word);
            return Ok(());
        }
        let text = general(number, self.options.precision);
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) {
        self.text.push(b'"');
        for &byte in bytes {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'/' if self.options.escape_slash => b"\\/",
                8 => b"\\b",
                b'\t' => b"\\t",
                b'\n' => b"\\n",
                12 => b"\\f",
                b'\r' => b"\\r",
                ..0x20 | 0x7f => {
                    let _ = write!(self.text, "\\u{byte:04x}");
                    continue;
                }
                _ => {
                    self.text.push(byte);
                    continue;
                }
            };
            self.text.extend_from_slice(escape);
        }
        self.text.push(b'"');
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Fault> {
        if depth > self.options.depth {
            return Err(format!("Cannot serialise, excessive nesting ({depth})").into());
        }
        match self.shape(table)? {
            Shape::Array(length) => self.list(table, length, depth),
            Shape::Object => self.object(table, depth),
        }
    }

    fn list(&mut self, table: &Table, length: usize, depth: usize) -> Result<(), Fault> {
        // One with a metatable is read through it, as lua-cjson does.
        let is_raw = table.metatable().is_none_or(|meta| meta == self.array);
        self.text.push(b'[');
        let mut is_first = true;
        for index in 1..=length {
            let item: Value = if is_raw { table.raw_get(index)? } else { table.get(index)? };
            let start = self.text.len();
            if !std::mem::take(&mut is_first) {
                self.text.push(b',');
            }
            if !self.value(&item, depth)? {
                self.text.truncate(start);
                is_first = index == 1;
            }
        }
        self.text.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: usize) -> Result<(), Fault> {
        self.text.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            let start = self.text.len();
            let was_first = std::mem::take(&mut is_first);
            if !was_first {
                self.text.push(b',');
            }
            match &key {
                Value::String(name) => self.string(&name.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    self.text.push(b'"');
                    self.value(&key, depth)?;
                    self.text.push(b'"');
                }
                _ => {
                    let kind = kind(&key);
                    let told = "table key must be a number or string";
                    return Err(format!("Cannot serialise {kind}: {told}").into());
                }
            }
            self.text.push(b':');
            if !self.value(&value, depth)? {
                self.text.truncate(start);
                is_first = was_first;
            }
        }
        self.text.push(b'}');
        Ok(())
    }

    fn shape(&self, table: &Table) -> Result<Shape, Fault> {
        let meta = table.metatable();
        if meta.as_ref() == Some(&self.array) {
            return Ok(Shape::Array(table.raw_len()));
        }
        if let Some(meta) = &meta
            && let Some(measure) = meta.raw_get::<Option<Function>>("__len")?
        {
            let length: f64 = limit::on(self.lua, || measure.call(table))?;
            // It is anybody's function; what it says is not worth all memory.
            return Ok(Shape::Array((length as usize).min(LONGEST)));
        }
        let is_marked = meta.as_ref() == Some(&self.empty_array);
        let (mut longest, mut items) = (0_usize, 0_usize);
        for pair in table.pairs::<Value, Value>() {
            let (key, _) = pair?;
            let index = match key {
                Value::Integer(index) => usize::try_from(index).unwrap_or(0),
                Value::Number(index) if index.fract() == 0.0 && index >= 1.0 => index as usize,
                _ => 0,
            };
            if index == 0 {
                return Ok(match is_marked {
                    true => Shape::Array(table.raw_len()),
                    false => Shape::Object,
                });
            }
            longest = longest.max(index);
            items += 1;
        }
        if items == 0 {
            let is_array = is_marked || !self.options.empty_is_object;
            return Ok(if is_array { Shape::Array(0) } else { Shape::Object });
        }
        let Options { sparse_ratio, sparse_safe, sparse_converts, .. } = self.options;
        let is_sparse = sparse_ratio > 0
            && longest > items.saturating_mul(sparse_ratio)
            && longest > sparse_safe;
        match (is_sparse, sparse_converts) {
            (false, _) => Ok(Shape::Array(longest)),
            (true, true) => Ok(Shape::Object),
            (true, false) => Err("Cannot serialise table: excessively sparse array".into()),
        }
    }
}

/// A number as C's `%.{precision}g` prints it.
pub(in crate::lua) fn general(number: f64, precision: usize) -> String {
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    if !number.is_finite() {
        let word = if number.is_nan() { "nan" } else { "inf" };
        return format!("{}{word}", if number < 0.0 { "-" } else { "" });
    }
    let scientific = format!("{number:.*e}", precision.saturating_sub(1));
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(digits), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}
