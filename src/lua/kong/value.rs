//! Arguments and results of the PDK: texts, headers, query arguments.

use http::{HeaderMap, HeaderName, HeaderValue};
use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use crate::lua::bind::{Answer, Fault};

/// The most headers or arguments that a caller may ask for, and how many it gets by default.
const MAX: i64 = 1000;
const DEFAULT: i64 = 100;

/// One value, as a row returns it.
pub(super) fn one(lua: &Lua, value: impl IntoLuaMulti) -> Answer {
    Ok(value.into_lua_multi(lua)?)
}

/// The next argument as text; numbers do not count as such, as in Kong.
pub(super) fn text(args: &mut MultiValue, refusal: &str) -> Result<LuaString, Fault> {
    match args.pop_front() {
        Some(Value::String(text)) => Ok(text),
        _ => Err(refusal.into()),
    }
}

/// The same, in UTF-8.
pub(super) fn utf8(args: &mut MultiValue, refusal: &str) -> Result<String, Fault> {
    Ok(text(args, refusal)?.to_string_lossy())
}

/// The next argument as a table.
pub(super) fn table(args: &mut MultiValue, refusal: &str) -> Result<Table, Fault> {
    match args.pop_front() {
        Some(Value::Table(table)) => Ok(table),
        _ => Err(refusal.into()),
    }
}

/// An upper limit of headers or arguments: a whole number from 1 to 1000, 100 if left out.
pub(super) fn limit(args: &mut MultiValue, name: &str) -> Result<usize, Fault> {
    let limit = match args.pop_front() {
        None | Some(Value::Nil) => DEFAULT,
        Some(Value::Integer(limit)) => limit,
        Some(Value::Number(limit)) => limit as i64,
        Some(_) => return Err(format!("{name} must be a number").into()),
    };
    match limit {
        ..1 => Err(format!("{name} must be >= 1").into()),
        1..=MAX => Ok(usize::try_from(limit).unwrap_or_default()),
        _ => Err(format!("{name} must be <= {MAX}").into()),
    }
}

/// A header's name.
pub(super) fn header_name(args: &mut MultiValue, refusal: &str) -> Result<HeaderName, Fault> {
    let name = text(args, refusal)?;
    HeaderName::from_bytes(&name.as_bytes())
        .map_err(|_| format!("invalid header name '{}'", name.display()).into())
}

/// A header's values: text, number or boolean, or a list of them. An empty text becomes a blank
/// (Kong), because nginx would drop the header.
pub(super) fn header_values(name: &HeaderName, value: &Value) -> Result<Vec<HeaderValue>, Fault> {
    let refusal = || {
        let kind = value.type_name();
        format!(
            "invalid value for \"{name}\": got {kind}, \
             expected array of string, string, number or boolean"
        )
    };
    let one = |value: &Value| {
        let text = match value {
            Value::String(text) => text.as_bytes().trim_ascii().to_vec(),
            Value::Integer(_) | Value::Number(_) | Value::Boolean(_) => {
                value.to_string()?.into_bytes()
            }
            _ => return Err(refusal().into()),
        };
        let text = if text.is_empty() { b" ".to_vec() } else { text };
        HeaderValue::from_bytes(&text)
            .map_err(|_| format!("invalid value for \"{name}\": control characters").into())
    };
    match value {
        Value::Table(list) => list.sequence_values::<Value>().map(|value| one(&value?)).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// The headers of a table, name by name, in an order that does not change.
pub(super) fn headers_of(table: &Table) -> Result<Vec<(HeaderName, Vec<HeaderValue>)>, Fault> {
    let mut headers = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let Value::String(name) = name else {
            let kind = name.type_name();
            return Err(format!("invalid name: got {kind}, expected string").into());
        };
        let name = HeaderName::from_bytes(&name.as_bytes())
            .map_err(|_| format!("invalid header name '{}'", name.display()))?;
        let values = header_values(&name, &value)?;
        headers.push((name, values));
    }
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    Ok(headers)
}

/// The first value of a header. nginx reads `x_a` and `x-a` as the same name, and so does Kong.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &LuaString) -> Option<&'a HeaderValue> {
    let name = name.to_string_lossy();
    headers.get(&name).or_else(|| headers.get(name.replace('_', "-")))
}

/// Headers as Kong gives them: lower-case names that are found in any case, several values as a
/// list. The second value says `truncated` when there are more.
pub(super) fn headers(lua: &Lua, headers: &HeaderMap, limit: usize) -> Answer {
    let table = lua.create_table()?;
    let mut left = limit;
    for name in headers.keys() {
        let values = headers.get_all(name).iter().take(left);
        let values: Vec<_> = values.map(|value| lua.create_string(value.as_bytes())).collect();
        left -= values.len();
        let mut values = values.into_iter();
        match (values.next(), values.len()) {
            (None, _) => break,
            (Some(only), 0) => table.raw_set(name.as_str(), only?)?,
            (Some(first), _) => {
                let list = lua.create_table()?;
                for value in std::iter::once(first).chain(values) {
                    list.raw_push(value?)?;
                }
                table.raw_set(name.as_str(), list)?;
            }
        }
    }
    let meta: Table = lua.named_registry_value(ANY_CASE)?;
    table.set_metatable(Some(meta))?;
    let truncated = (headers.len() > limit).then_some("truncated");
    one(lua, (table, truncated))
}

/// The registry's name for the metatable of headers.
const ANY_CASE: &str = "silverback.headers";

/// Prepares the metatable that finds headers in any case.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let index = "local rawget, lower, gsub = rawget, string.lower, string.gsub
        return { __index = function(headers, name)
          if type(name) == 'string' then
            return rawget(headers, (gsub(lower(name), '_', '-')))
          end
        end }";
    lua.set_named_registry_value(ANY_CASE, lua.load(index).eval::<Table>()?)
}

/// Arguments of a query: decoded names and values, a bare one without a value.
pub(super) fn arguments(query: &str) -> impl Iterator<Item = (String, Option<String>)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    query.split('&').filter(|part| !part.is_empty()).map(move |part| match part.split_once('=') {
        Some((name, value)) => (decode(name), Some(decode(value))),
        None => (decode(part), None),
    })
}

/// An argument's value in Lua: `true` for a bare one.
pub(super) fn argument(lua: &Lua, value: Option<String>) -> mlua::Result<Value> {
    match value {
        Some(text) => lua.create_string(text).map(Value::String),
        None => Ok(Value::Boolean(true)),
    }
}
