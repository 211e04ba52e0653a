//! Arguments and results of the PDK: texts, headers, query arguments.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use crate::lua::bind::{Answer, Fault};
use crate::lua::cjson::general;
use crate::lua::ngx::header::{self as spelling, safe_value};

/// The most headers or arguments that a caller may ask for, and how many it gets by default.
const MAX: i64 = 1000;
const DEFAULT: i64 = 100;

/// One value, as a row returns it; nothing is a nil, which `tostring(f())` needs.
pub(in crate::lua) fn one(lua: &Lua, value: impl IntoLuaMulti) -> Answer {
    let mut values = value.into_lua_multi(lua)?;
    if values.is_empty() {
        values.push_front(Value::Nil);
    }
    Ok(values)
}

/// What `type()` says of a value.
pub(in crate::lua) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        Value::LightUserData(_) | Value::Error(_) => "userdata",
        Value::Other(_) => "cdata",
        other => other.type_name(),
    }
}

/// A value as Lua's `tostring` shows it: a number has 14 digits.
pub(in crate::lua) fn shown(value: &Value) -> mlua::Result<String> {
    Ok(match value {
        Value::Integer(number) => general(*number as f64, 14),
        Value::Number(number) => general(*number, 14),
        Value::LightUserData(data) if data.0.is_null() => "userdata: NULL".to_owned(),
        other => other.to_string()?,
    })
}

/// The next argument as text; numbers do not count as such, as in Kong.
pub(in crate::lua) fn text(args: &mut MultiValue, refusal: &str) -> Result<LuaString, Fault> {
    match args.pop_front() {
        Some(Value::String(text)) => Ok(text),
        _ => Err(refusal.into()),
    }
}

/// The same, in UTF-8.
pub(in crate::lua) fn utf8(args: &mut MultiValue, refusal: &str) -> Result<String, Fault> {
    Ok(text(args, refusal)?.to_string_lossy())
}

/// The next argument as a table.
pub(in crate::lua) fn table(args: &mut MultiValue, refusal: &str) -> Result<Table, Fault> {
    match args.pop_front() {
        Some(Value::Table(table)) => Ok(table),
        _ => Err(refusal.into()),
    }
}

/// An upper limit of headers or arguments: a whole number from 1 to 1000, 100 if left out.
pub(in crate::lua) fn limit(args: &mut MultiValue, name: &str) -> Result<usize, Fault> {
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

/// A header's name; none for a text that names no header.
pub(in crate::lua) fn header_name(
    args: &mut MultiValue,
    refusal: &str,
) -> Result<Option<HeaderName>, Fault> {
    let name = text(args, refusal)?;
    Ok(HeaderName::from_bytes(&name.as_bytes()).ok())
}

/// What a header may be set to, in Kong's words: one alone, and in a table of headers.
const ONE: &str = "array of string, string, number or boolean";
const OF_TABLE: &str = "string, number, boolean or array of strings";

/// A header's name and its values, as two arguments.
pub(in crate::lua) fn header_and_values(
    args: &mut MultiValue,
) -> Result<(HeaderName, Vec<HeaderValue>), Fault> {
    let name = args.pop_front().unwrap_or(Value::Nil);
    let value = args.pop_front().unwrap_or(Value::Nil);
    pair(&name, &value, ONE)
}

fn pair(
    name: &Value,
    value: &Value,
    expected: &str,
) -> Result<(HeaderName, Vec<HeaderValue>), Fault> {
    let Value::String(text) = name else {
        let (shown, kind) = (shown(name)?, kind(name));
        return Err(format!("invalid header name \"{shown}\": got {kind}, expected string").into());
    };
    let shown = text.display();
    let values = match value {
        Value::Table(list) => {
            let values: Vec<Value> = list.sequence_values().collect::<mlua::Result<_>>()?;
            if let Some(other) = values.iter().find(|value| !value.is_string()) {
                let kind = kind(other);
                let told = format!(
                    "invalid header value in array \"{shown}\": got {kind}, expected string"
                );
                return Err(told.into());
            }
            values
        }
        Value::String(_) | Value::Integer(_) | Value::Number(_) | Value::Boolean(_) => {
            vec![value.clone()]
        }
        other => {
            let kind = kind(other);
            let told =
                format!("invalid header value for \"{shown}\": got {kind}, expected {expected}");
            return Err(told.into());
        }
    };
    let values =
        values.iter().map(|value| header_value(&shown, value)).collect::<Result<_, Fault>>()?;
    let name = spelling::name(name, false)
        .map_err(|_| Fault::from(format!("invalid header name '{shown}'")))?;
    Ok((name, values))
}

/// One value. An empty text becomes a blank (Kong), because nginx would drop the header.
fn header_value(name: &impl fmt::Display, value: &Value) -> Result<HeaderValue, Fault> {
    let made = match value {
        Value::String(text) => match text.as_bytes().trim_ascii() {
            b"" => Some(HeaderValue::from_static(" ")),
            text => safe_value(text),
        },
        value => safe_value(shown(value)?.as_bytes()),
    };
    made.ok_or_else(|| format!("invalid header value for \"{name}\"").into())
}

/// The headers of a table, name by name, in an order that does not change.
pub(in crate::lua) fn headers_of(
    table: &Table,
) -> Result<Vec<(HeaderName, Vec<HeaderValue>)>, Fault> {
    let mut headers = Vec::new();
    for entry in table.pairs::<Value, Value>() {
        let (name, value) = entry?;
        headers.push(pair(&name, &value, OF_TABLE)?);
    }
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    Ok(headers)
}

/// The first value of a header. nginx reads `x_a` and `x-a` as the same name, and so does Kong.
pub(in crate::lua) fn header<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a HeaderValue> {
    let name = std::str::from_utf8(name).ok()?;
    let as_dashes = || headers.get(name.replace('_', "-"));
    headers.get(name).or_else(|| name.contains('_').then(as_dashes).flatten())
}

/// The first value of a client's header: Kong asks nginx' variable for it, which takes a name that
/// was sent with `_` for one with `-`, too.
pub(in crate::lua) fn sent_header<'a>(
    headers: &'a HeaderMap,
    name: &[u8],
) -> Option<&'a HeaderValue> {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    header(headers, name).or_else(|| {
        let mut named = headers.iter().filter(|(key, _)| key.as_str().contains('_'));
        let same =
            |key: &HeaderName| key.as_str().bytes().map(|b| plain(&b)).eq(name.iter().map(plain));
        named.find(|(key, _)| same(key)).map(|(_, value)| value)
    })
}

/// The first value of a header of a response, of which Kong reads the first hundred headers.
pub(in crate::lua) fn header_within<'a>(
    headers: &'a HeaderMap,
    name: &[u8],
) -> Option<&'a HeaderValue> {
    const SEEN: usize = DEFAULT as usize;
    if headers.len() <= SEEN {
        return header(headers, name);
    }
    let name = String::from_utf8_lossy(name).replace('_', "-");
    let mut seen = headers.iter().take(SEEN);
    seen.find(|(key, _)| key.as_str().eq_ignore_ascii_case(&name)).map(|(_, value)| value)
}

/// Headers as Kong gives them: lower-case names that are found in any case, several values as a
/// list. The second value says `truncated` when there are more.
pub(in crate::lua) fn headers(lua: &Lua, headers: &HeaderMap, limit: usize) -> Answer {
    let table = listed(lua, headers, limit, |name| name.as_str().to_owned())?;
    let meta: Table = lua.named_registry_value(ANY_CASE)?;
    table.set_metatable(Some(meta))?;
    one(lua, (table, truncated(headers, limit)))
}

/// Headers by the names that their senders use. Those are not kept; what stands for them is the
/// usual spelling, so that a plugin that writes it replaces what it has read.
pub(in crate::lua) fn raw_headers(lua: &Lua, headers: &HeaderMap, limit: usize) -> Answer {
    one(lua, (listed(lua, headers, limit, spelled)?, truncated(headers, limit)))
}

fn truncated(headers: &HeaderMap, limit: usize) -> Option<&'static str> {
    (headers.len() > limit).then_some("truncated")
}

/// A name with a capital at the start of each word.
fn spelled(name: &HeaderName) -> String {
    match name.as_str() {
        "etag" => return "ETag".to_owned(),
        "te" => return "TE".to_owned(),
        "www-authenticate" => return "WWW-Authenticate".to_owned(),
        _ => {}
    }
    let mut is_start = true;
    let spell = |letter: char| {
        let spelled = if is_start { letter.to_ascii_uppercase() } else { letter };
        is_start = letter == '-';
        spelled
    };
    name.as_str().chars().map(spell).collect()
}

fn listed(
    lua: &Lua,
    headers: &HeaderMap,
    limit: usize,
    shown: fn(&HeaderName) -> String,
) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let mut left = limit;
    for name in headers.keys() {
        let values = headers.get_all(name).iter().take(left);
        let values: Vec<_> = values.map(|value| lua.create_string(value.as_bytes())).collect();
        left -= values.len();
        let mut values = values.into_iter();
        match (values.next(), values.len()) {
            (None, _) => break,
            (Some(only), 0) => table.raw_set(shown(name), only?)?,
            (Some(first), _) => {
                let list = lua.create_table()?;
                for value in std::iter::once(first).chain(values) {
                    list.raw_push(value?)?;
                }
                table.raw_set(shown(name), list)?;
            }
        }
    }
    Ok(table)
}

/// Lets other spellings of a name find the upstream's headers alone (Kong).
pub(in crate::lua) fn hide_added(lua: &Lua, headers: &Table) -> mlua::Result<()> {
    headers.set_metatable(Some(lua.named_registry_value(OF_UPSTREAM)?))
}

/// The registry's names for the metatables of headers.
const OF_UPSTREAM: &str = "silverback.upstream_headers";
const ANY_CASE: &str = "silverback.headers";

/// Prepares the metatable that finds headers in any case.
pub(in crate::lua) fn install(lua: &Lua) -> mlua::Result<()> {
    let index = "local rawget, lower, gsub = rawget, string.lower, string.gsub
        return { __index = function(headers, name)
          if type(name) == 'string' then
            return rawget(headers, (gsub(lower(name), '_', '-')))
          end
        end }";
    lua.set_named_registry_value(ANY_CASE, lua.load(index).eval::<Table>()?)?;
    let index = "local rawget, lower, gsub = rawget, string.lower, string.gsub
        return { __index = function(headers, name)
          if type(name) == 'string' then
            name = gsub(lower(name), '_', '-')
            local own = ngx.var['upstream_http_' .. gsub(name, '-', '_')]
            return own and rawget(headers, name)
          end
        end }";
    lua.set_named_registry_value(OF_UPSTREAM, lua.load(index).eval::<Table>()?)
}
